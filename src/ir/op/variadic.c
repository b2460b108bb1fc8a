/* Max, Min, Sum and Mean of any number of tensors, with broadcasting: one input after the other is folded into the
 * output. */
#include "ir/op/element.h"
#include "ir/op/emit.h"
#include "ir/op/nest.h"
#include "ir/op/rule.h"

#include <math.h>

static void init_nest(const deft_op_call *call, int input, deft_nest *nest) {
    const deft_tensor *out = call->out[0];
    int64_t strides[DEFT_MAX_RANK];
    deft_broadcast_strides(call->in[input], out, strides);
    deft_nest_init(nest, out->rank, out->dims, strides, NULL);
}

#define BODY "ir/op/variadic_body.h"
#include "ir/op/each_real.h"

deft_status deft_shape_variadic(const deft_op_call *call) {
    bool integers = call->op == DEFT_OP_MAX || call->op == DEFT_OP_MIN;
    deft_tensor out = *call->in[0];
    DEFT_TRY(deft_rule_require_types(call, 0, call->in_count - 1, integers ? DEFT_TYPES_NUMBER : DEFT_TYPES_FLOAT));
    for (int i = 1; i < call->in_count; i++) {
        deft_tensor so_far = out;
        char a[DEFT_SHAPE_TEXT_BYTES], b[DEFT_SHAPE_TEXT_BYTES];
        if (!call->in[i]) return deft_rule_fail(call, DEFT_INVALID, "input %d is missing", i);
        if (!deft_broadcast(&so_far, call->in[i], &out))
            return deft_rule_fail(call, DEFT_INVALID, "shapes %s and %s do not broadcast",
                                  deft_shape_text(&so_far, a, sizeof a), deft_shape_text(call->in[i], b, sizeof b));
    }
    return deft_rule_set_out_like(call, 0, &out);
}

static int64_t fold_integer(deft_op op, bool is_unsigned, int64_t so_far, int64_t x) {
    bool less = is_unsigned ? (uint64_t)x < (uint64_t)so_far : x < so_far;
    return less == (op == DEFT_OP_MIN) ? x : so_far;
}

/* Integers and halves, an element of the output at a time from each input. */
static void fold_elements(const deft_op_call *call, int input) {
    deft_tensor *y = call->out[0];
    const deft_tensor *x = call->in[input];
    int types = deft_rule_types(y->dtype);
    deft_nest nest;
    init_nest(call, input, &nest);
    int64_t stride = nest.strides[0][nest.rank - 1];
    for (int64_t done = 0; done < nest.count;) {
        deft_nest_row row = deft_nest_row_at(&nest, done, nest.count);
        for (int64_t i = 0; i < row.length; i++) {
            int64_t from = row.offset[0] + i * stride, to = row.begin + i;
            if (input == 0)
                deft_element_copy(x, from, y, to);
            else if (types & DEFT_TYPES_INTEGER)
                deft_element_set_integer(y, to,
                                         fold_integer(call->op, types == DEFT_TYPES_UNSIGNED,
                                                      deft_element_integer(y, to), deft_element_integer(x, from)));
            else
                deft_element_set_real(y, to, fold_f64(call->op, deft_element_real(y, to), deft_element_real(x, from)));
        }
        done += row.length;
    }
}

static void halve_mean(const deft_op_call *call) {
    int64_t count = deft_tensor_count(call->out[0]);
    for (int64_t i = 0; i < count; i++)
        deft_element_set_real(call->out[0], i, deft_element_real(call->out[0], i) / call->in_count);
}

deft_status deft_forward_variadic(const deft_op_call *call) {
    if (deft_rule_types(call->in[0]->dtype) == DEFT_TYPES_REAL)
        return deft_rule_by_real(call, variadic_f32, variadic_f64);
    for (int i = 0; i < call->in_count; i++)
        fold_elements(call, i);
    if (call->op == DEFT_OP_MEAN) halve_mean(call);
    return DEFT_OK;
}

/* The gradient goes to the first input that is the extremum; what it leaves, to those after it. */
static deft_status emit_extremum(deft_gradient *gradient) {
    int left = gradient->out_grad[0], zero, chosen, taken;
    DEFT_TRY(deft_emit_number(gradient, gradient->out_desc[0]->dtype, 0, &zero));
    for (int i = 0; i < gradient->in_count; i++) {
        DEFT_TRY(deft_emit(gradient, DEFT_OP_EQUAL, &chosen, 2, gradient->in[i], gradient->out[0]));
        if (gradient->wanted[i]) {
            DEFT_TRY(deft_emit(gradient, DEFT_OP_WHERE, &taken, 3, chosen, left, zero));
            DEFT_TRY(deft_emit_sum_to(gradient, taken, i, &gradient->in_grad[i]));
        }
        if (i + 1 < gradient->in_count) DEFT_TRY(deft_emit(gradient, DEFT_OP_WHERE, &left, 3, chosen, zero, left));
    }
    return DEFT_OK;
}

deft_status deft_gradient_variadic(deft_gradient *gradient) {
    int dy = gradient->out_grad[0];
    if (gradient->op == DEFT_OP_MAX || gradient->op == DEFT_OP_MIN) return emit_extremum(gradient);
    if (gradient->op == DEFT_OP_MEAN)
        DEFT_TRY(deft_emit_scaled(gradient, dy, gradient->out_desc[0]->dtype, 1.0 / gradient->in_count, &dy));
    for (int i = 0; i < gradient->in_count; i++)
        if (gradient->wanted[i]) DEFT_TRY(deft_emit_sum_to(gradient, dy, i, &gradient->in_grad[i]));
    return DEFT_OK;
}
