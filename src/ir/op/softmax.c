/* Softmax and LogSoftmax: from opset 13 on along one axis (by default the last), before over all dimensions from axis
 * (by default 1) on, taken together. A NaN anywhere in a line makes the line NaN. */
#include "ir/op/emit.h"
#include "ir/op/rule.h"

/* A tensor as [outer][length][inner]: sums go over length. */
typedef struct line_set {
    int64_t outer, length, inner;
} line_set;

static deft_status find_lines(const deft_op_call *call, const deft_tensor *x, line_set *out) {
    bool coerced = call->opset < 13;
    int axis;
    DEFT_TRY(deft_rule_axis(call, deft_attr_int(call->attrs, "axis", coerced ? 1 : -1), x->rank, &axis));
    int past = coerced ? x->rank : axis + 1;
    out->outer = deft_rule_product(x->dims, 0, axis);
    out->length = deft_rule_product(x->dims, axis, past);
    out->inner = out->length > 0 ? deft_rule_product(x->dims, past, x->rank) : 0;
    return DEFT_OK;
}

static inline int64_t line_offset(const line_set *lines, int64_t line) {
    return line / lines->inner * lines->length * lines->inner + line % lines->inner;
}

#define BODY "ir/op/softmax_body.h"
#include "ir/op/each_real.h"

deft_status deft_shape_softmax(const deft_op_call *call) {
    line_set lines;
    DEFT_TRY(deft_rule_require_real(call, 0, 0));
    DEFT_TRY(find_lines(call, call->in[0], &lines));
    return deft_rule_set_out_like(call, 0, call->in[0]);
}

/* (dy, y) */
deft_status deft_shape_softmax_grad(const deft_op_call *call) {
    DEFT_TRY(deft_shape_softmax(call));
    DEFT_TRY(deft_rule_require_real(call, 0, 1));
    return deft_rule_require_same(call, 0, 1);
}

deft_status deft_forward_softmax(const deft_op_call *call) {
    return deft_rule_by_real(call, softmax_f32, softmax_f64);
}

deft_status deft_forward_log_softmax(const deft_op_call *call) {
    return deft_rule_by_real(call, log_softmax_f32, log_softmax_f64);
}

/* 1 at the first maximum of a line, else 0. */
deft_status deft_forward_hardmax(const deft_op_call *call) {
    return deft_rule_by_real(call, hardmax_f32, hardmax_f64);
}

deft_status deft_forward_softmax_grad(const deft_op_call *call) {
    return deft_rule_by_real(call, softmax_grad_f32, softmax_grad_f64);
}

deft_status deft_forward_log_softmax_grad(const deft_op_call *call) {
    return deft_rule_by_real(call, log_softmax_grad_f32, log_softmax_grad_f64);
}

static deft_status emit_from_output(deft_gradient *gradient, deft_op op) {
    return deft_emit_with_attrs(gradient, op, &gradient->in_grad[0], 2, gradient->out_grad[0], gradient->out[0]);
}

deft_status deft_gradient_softmax(deft_gradient *gradient) {
    return emit_from_output(gradient, DEFT_OP_SOFTMAX_GRAD);
}

deft_status deft_gradient_log_softmax(deft_gradient *gradient) {
    return emit_from_output(gradient, DEFT_OP_LOG_SOFTMAX_GRAD);
}
