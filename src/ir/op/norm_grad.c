/* Gradients of the normalisations in norm.c, which find the statistics anew; and of LRN. */
#include "ir/op/emit.h"
#include "ir/op/rule.h"

#include <math.h>

static double epsilon_of(const deft_op_call *call) {
    return (double)deft_attr_float(call->attrs, "epsilon", 1e-5f);
}

/* x as rows that are normalised, each by itself. The scale is one for each column of a row (Layer), or one for each row
 * modulo `channels` (Instance). */
typedef struct rows {
    int64_t count, length, channels; /* channels: 0 where the scale goes by columns */
} rows;

/* Of LayerNorm or of InstanceNorm, by the attribute "of"; dy in input 0, x in input 1. */
static deft_status find_rows(const deft_op_call *call, rows *out) {
    const deft_tensor *x = call->in[1];
    bool layer = deft_attr_int(call->attrs, "of", 0) == DEFT_OP_LAYER_NORM;
    int axis = 2;
    if (layer) DEFT_TRY(deft_rule_axis(call, deft_attr_int(call->attrs, "axis", -1), x->rank, &axis));
    if (!layer) DEFT_TRY(deft_rule_require_rank(call, 1, 3, false));
    int64_t length = deft_rule_product(x->dims, axis, x->rank);
    *out = (rows){.count = length > 0 ? deft_rule_product(x->dims, 0, axis) : 0, /* no loop runs over nothing */
                  .length = length,
                  .channels = layer ? 0 : x->dims[1]};
    return DEFT_OK;
}

static int64_t scale_count(const rows *all) {
    return all->channels ? all->channels : all->length;
}

#define BODY "ir/op/norm_grad_body.h"
#include "ir/op/each_real.h"

/* (dy, x, scale): the scale has an element for each column, or channel. */
static deft_status check(const deft_op_call *call) {
    rows all;
    char text[DEFT_SHAPE_TEXT_BYTES];
    DEFT_TRY(deft_rule_require_real(call, 0, 2));
    DEFT_TRY(deft_rule_require_same(call, 0, 1));
    DEFT_TRY(find_rows(call, &all));
    if (deft_tensor_count(call->in[2]) == scale_count(&all)) return DEFT_OK;
    return deft_rule_fail(call, DEFT_INVALID, "the scale is %s; %lld elements were expected",
                          deft_shape_text(call->in[2], text, sizeof text), (long long)scale_count(&all));
}

deft_status deft_shape_norm_input_grad(const deft_op_call *call) {
    DEFT_TRY(check(call));
    return deft_rule_set_out_like(call, 0, call->in[1]);
}

deft_status deft_shape_norm_scale_grad(const deft_op_call *call) {
    DEFT_TRY(check(call));
    return deft_rule_set_out_like(call, 0, call->in[2]);
}

deft_status deft_forward_norm_input_grad(const deft_op_call *call) {
    return deft_rule_by_real(call, norm_input_grad_f32, norm_input_grad_f64);
}

deft_status deft_forward_norm_scale_grad(const deft_op_call *call) {
    return deft_rule_by_real(call, norm_scale_grad_f32, norm_scale_grad_f64);
}

/* (x, scale, B) */
static deft_status emit_norm(deft_gradient *gradient) {
    int dy = gradient->out_grad[0], in[] = {dy, gradient->in[0], gradient->in[1]};
    for (int i = 1; i < gradient->out_count; i++)
        if (gradient->out_grad[i] >= 0)
            return deft_fail(gradient->ctx, DEFT_UNSUPPORTED, "no gradient flows through the statistics");
    if (gradient->wanted[0]) DEFT_TRY(deft_emit_of(gradient, DEFT_OP_NORM_INPUT_GRAD, in, 3, &gradient->in_grad[0], 1));
    if (!gradient->wanted[1]) return DEFT_OK;
    return deft_emit_of(gradient, DEFT_OP_NORM_SCALE_GRAD, in, 3, &gradient->in_grad[1], 1);
}

deft_status deft_gradient_layer_norm(deft_gradient *gradient) {
    DEFT_TRY(emit_norm(gradient));
    if (gradient->in_count < 3 || !gradient->wanted[2]) return DEFT_OK;
    return deft_emit_sum_to(gradient, gradient->out_grad[0], 2, &gradient->in_grad[2]);
}

deft_status deft_gradient_instance_norm(deft_gradient *gradient) {
    DEFT_TRY(emit_norm(gradient));
    if (!gradient->wanted[2]) return DEFT_OK;
    return deft_emit(gradient, DEFT_OP_CONV_BIAS_GRAD, &gradient->in_grad[2], 1, gradient->out_grad[0]);
}
