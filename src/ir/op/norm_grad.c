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
    bool centered;                   /* the mean is taken off */
} rows;

/* Of LayerNorm, RMSNorm or InstanceNorm, by the attribute "of"; dy in input 0, x in input 1. */
static deft_status find_rows(const deft_op_call *call, rows *out) {
    const deft_tensor *x = call->in[1];
    int64_t of = deft_attr_int(call->attrs, "of", 0);
    bool layer = of == DEFT_OP_LAYER_NORM || of == DEFT_OP_RMS_NORM;
    int axis = 2;
    if (layer) DEFT_TRY(deft_rule_axis(call, deft_attr_int(call->attrs, "axis", -1), x->rank, &axis));
    if (!layer) DEFT_TRY(deft_rule_require_rank(call, 1, 3, false));
    int64_t length = deft_rule_product(x->dims, axis, x->rank);
    *out = (rows){.count = length > 0 ? deft_rule_product(x->dims, 0, axis) : 0, /* no loop runs over nothing */
                  .length = length,
                  .channels = layer ? 0 : x->dims[1],
                  .centered = of != DEFT_OP_RMS_NORM};
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

deft_status deft_gradient_rms_norm(deft_gradient *gradient) {
    return emit_norm(gradient);
}

/* ---- GroupNormalization: InstanceNormalization of the groups, then scaled ------------------------------------- */

static deft_status emit_shaped(deft_gradient *gradient, int value, int64_t a, int64_t b, int64_t c, int *out) {
    return deft_emit_reshaped(gradient, value, 3, (int64_t[]){a, b, c}, out);
}

/* As many of a number as there are groups. */
static deft_status emit_for_groups(deft_gradient *gradient, double number, int64_t groups, int *out) {
    int value;
    DEFT_TRY(deft_emit_number(gradient, gradient->in_desc[0]->dtype, number, &value));
    return deft_emit_expanded(gradient, value, 1, &groups, out);
}

/* x, dy and h, the normalised x, are seen by groups [N, groups, ...] and by what has a scale [N, numbers, ...]. */
deft_status deft_gradient_group_norm(deft_gradient *gradient) {
    const deft_tensor *desc = gradient->in_desc[0];
    int64_t groups = deft_attr_int(gradient->attrs, "num_groups", 1), numbers = gradient->in_desc[1]->dims[0];
    int64_t n = desc->dims[0], each = groups > 0 && n > 0 ? deft_tensor_count(desc) / n : 0;
    deft_attr epsilon = {
        .name = "epsilon", .type = DEFT_ATTR_FLOAT, .f = deft_attr_float(gradient->attrs, "epsilon", 1e-5f)};
    const deft_attr attrs[] = {epsilon, {.name = "of", .type = DEFT_ATTR_INT, .i = DEFT_OP_INSTANCE_NORM}};
    int x, dy, h, ones, zeros, scale, value;
    if (each == 0) return deft_fail(gradient->ctx, DEFT_UNSUPPORTED, "there is nothing to normalise");
    DEFT_TRY(emit_for_groups(gradient, 1, groups, &ones));
    DEFT_TRY(emit_for_groups(gradient, 0, groups, &zeros));
    DEFT_TRY(emit_shaped(gradient, gradient->in[0], n, groups, each / groups, &x));
    DEFT_TRY(gradient->emit(gradient, DEFT_OP_INSTANCE_NORM, &epsilon, 1, (int[]){x, ones, zeros}, 3, &h, 1));
    DEFT_TRY(emit_shaped(gradient, h, n, numbers, each / numbers, &h));
    DEFT_TRY(emit_shaped(gradient, gradient->out_grad[0], n, numbers, each / numbers, &dy));
    if (gradient->wanted[2]) DEFT_TRY(deft_emit(gradient, DEFT_OP_CONV_BIAS_GRAD, &gradient->in_grad[2], 1, dy));
    if (gradient->wanted[1]) {
        DEFT_TRY(deft_emit(gradient, DEFT_OP_MUL, &value, 2, dy, h));
        DEFT_TRY(deft_emit(gradient, DEFT_OP_CONV_BIAS_GRAD, &gradient->in_grad[1], 1, value));
    }
    if (!gradient->wanted[0]) return DEFT_OK;
    DEFT_TRY(emit_shaped(gradient, gradient->in[1], 1, numbers, 1, &scale));
    DEFT_TRY(deft_emit(gradient, DEFT_OP_MUL, &value, 2, dy, scale));
    DEFT_TRY(emit_shaped(gradient, value, n, groups, each / groups, &value));
    DEFT_TRY(gradient->emit(gradient, DEFT_OP_NORM_INPUT_GRAD, attrs, 2, (int[]){value, x, ones}, 3, &value, 1));
    return deft_emit(gradient, DEFT_OP_RESHAPE_LIKE, &gradient->in_grad[0], 2, value, gradient->in[0]);
}

/* (dy - t sum(dy y)) / norm, with t = y of the 2-norm and sign(x) of the 1-norm; 0 where the norm is, as y is. */
deft_status deft_gradient_lp_norm(deft_gradient *gradient) {
    const deft_tensor *desc = gradient->in_desc[0];
    bool squares = deft_attr_int(gradient->attrs, "p", 2) == 2, reduced[DEFT_MAX_RANK] = {false};
    int64_t axis = deft_attr_int(gradient->attrs, "axis", -1);
    int x = gradient->in[0], y = gradient->out[0], dy = gradient->out_grad[0];
    int norm, zero, infinity, is_zero, value, along, turn = y;
    reduced[axis < 0 ? axis + desc->rank : axis] = true;
    DEFT_TRY(
        deft_emit_reduced(gradient, squares ? DEFT_OP_REDUCE_L2 : DEFT_OP_REDUCE_L1, x, desc->rank, reduced, &norm));
    DEFT_TRY(deft_emit_number(gradient, desc->dtype, 0, &zero));
    DEFT_TRY(deft_emit_number(gradient, desc->dtype, INFINITY, &infinity));
    DEFT_TRY(deft_emit(gradient, DEFT_OP_EQUAL, &is_zero, 2, norm, zero));
    DEFT_TRY(deft_emit(gradient, DEFT_OP_WHERE, &norm, 3, is_zero, infinity, norm));
    DEFT_TRY(deft_emit(gradient, DEFT_OP_MUL, &value, 2, dy, y));
    DEFT_TRY(deft_emit_reduced(gradient, DEFT_OP_REDUCE_SUM, value, desc->rank, reduced, &along));
    if (!squares) DEFT_TRY(deft_emit(gradient, DEFT_OP_SIGN, &turn, 1, x));
    DEFT_TRY(deft_emit(gradient, DEFT_OP_MUL, &value, 2, turn, along));
    DEFT_TRY(deft_emit(gradient, DEFT_OP_SUB, &value, 2, dy, value));
    return deft_emit(gradient, DEFT_OP_DIV, &gradient->in_grad[0], 2, value, norm);
}
