/* Normalisations with statistics of the input itself: Instance, Layer, Lp. Sums are in f64. */
#include "ir/op/rule.h"

#include <math.h>

static double epsilon_of(const deft_op_call *call) {
    return (double)deft_attr_float(call->attrs, "epsilon", 1e-5f);
}

static deft_status read_axis(const deft_op_call *call, int *axis) {
    return deft_rule_axis(call, deft_attr_int(call->attrs, "axis", -1), call->in[0]->rank, axis);
}

#define BODY "ir/op/norm_body.h"
#include "ir/op/each_real.h"

/* (x, scale, B) */
deft_status deft_shape_instance_norm(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    DEFT_TRY(deft_rule_require_real(call, 0, 2));
    DEFT_TRY(deft_rule_require_rank(call, 0, 3, false));
    deft_tensor channels = {.dtype = x->dtype, .rank = 1, .dims = {x->dims[1]}};
    for (int i = 1; i <= 2; i++)
        DEFT_TRY(deft_rule_require_shape(call, i, &channels, "one number for each channel,"));
    return deft_rule_set_out_like(call, 0, x);
}

deft_status deft_forward_instance_norm(const deft_op_call *call) {
    return deft_rule_by_real(call, instance_norm_f32, instance_norm_f64);
}

/* (x, scale, B) to (y, mean, 1 / deviation), over the dimensions from axis on. */
deft_status deft_shape_layer_norm(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    deft_tensor scale = {.dtype = x->dtype}, statistics = *x;
    int axis;
    DEFT_TRY(deft_rule_require_real(call, 0, 2));
    DEFT_TRY(read_axis(call, &axis));
    for (int i = axis; i < x->rank; i++) {
        scale.dims[scale.rank++] = x->dims[i];
        statistics.dims[i] = 1;
    }
    for (int i = 1; i <= 2; i++)
        if (deft_rule_in(call, i))
            DEFT_TRY(deft_rule_require_shape(call, i, &scale, "of the shape that is normalised,"));
    for (int i = 1; i <= 2; i++)
        DEFT_TRY(deft_rule_set_out_like(call, i, &statistics));
    return deft_rule_set_out_like(call, 0, x);
}

deft_status deft_forward_layer_norm(const deft_op_call *call) {
    return deft_rule_by_real(call, layer_norm_f32, layer_norm_f64);
}

/* (x, scale), over the dimensions from axis on. */
deft_status deft_shape_rms_norm(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    deft_tensor scale = {.dtype = x->dtype};
    int axis;
    DEFT_TRY(deft_rule_require_real(call, 0, 1));
    DEFT_TRY(read_axis(call, &axis));
    for (int i = axis; i < x->rank; i++)
        scale.dims[scale.rank++] = x->dims[i];
    DEFT_TRY(deft_rule_require_shape(call, 1, &scale, "of the shape that is normalised,"));
    return deft_rule_set_out_like(call, 0, x);
}

deft_status deft_forward_rms_norm(const deft_op_call *call) {
    return deft_rule_by_real(call, rms_norm_f32, rms_norm_f64);
}

/* (x, scale, B): a number for each channel; before opset 21, for each group. */
deft_status deft_shape_group_norm(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    int64_t groups = deft_attr_int(call->attrs, "num_groups", 0);
    DEFT_TRY(deft_rule_require_real(call, 0, 2));
    DEFT_TRY(deft_rule_require_rank(call, 0, 2, false));
    if (groups < 1 || x->dims[1] % groups != 0)
        return deft_rule_fail(call, DEFT_INVALID, "%lld channels are not %lld groups", (long long)x->dims[1],
                              (long long)groups);
    deft_tensor numbers = {.dtype = x->dtype, .rank = 1, .dims = {call->opset < 21 ? groups : x->dims[1]}};
    for (int i = 1; i <= 2; i++)
        DEFT_TRY(deft_rule_require_shape(call, i, &numbers, "a number for each channel (before opset 21, group),"));
    return deft_rule_set_out_like(call, 0, x);
}

deft_status deft_forward_group_norm(const deft_op_call *call) {
    return deft_rule_by_real(call, group_norm_f32, group_norm_f64);
}

deft_status deft_shape_lp_norm(const deft_op_call *call) {
    int64_t p = deft_attr_int(call->attrs, "p", 2);
    int axis;
    DEFT_TRY(deft_rule_require_real(call, 0, 0));
    DEFT_TRY(read_axis(call, &axis));
    if (p != 1 && p != 2) return deft_rule_fail(call, DEFT_INVALID, "p is %lld; it must be 1 or 2", (long long)p);
    return deft_rule_set_out_like(call, 0, call->in[0]);
}

deft_status deft_forward_lp_norm(const deft_op_call *call) {
    return deft_rule_by_real(call, lp_norm_f32, lp_norm_f64);
}
