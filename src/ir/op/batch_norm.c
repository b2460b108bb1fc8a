/* BatchNormalization with stored statistics, and BatchNormTraining with the batch's. x is [N, C, ...]. */
#include "ir/op/emit.h"
#include "ir/op/rule.h"

/* x as [batch][count][plane]; batch is 0 where planes are empty, so that no loop runs over nothing. */
typedef struct channels {
    int64_t batch, count, plane;
} channels;

static channels find_channels(const deft_tensor *x) {
    int64_t plane = deft_rule_product(x->dims, 2, x->rank);
    return (channels){plane > 0 ? x->dims[0] : 0, x->dims[1], plane};
}

static double read_epsilon(const deft_op_call *call) {
    return (double)deft_attr_float(call->attrs, "epsilon", 1e-5f);
}

#define BODY "ir/op/batch_norm_body.h"
#include "ir/op/each_real.h"

/* x in input `x`, and a number for each of its channels in the inputs [first, last]. */
static deft_status check_channels(const deft_op_call *call, int x, int first, int last) {
    DEFT_TRY(deft_rule_require_real(call, 0, call->in_count - 1));
    DEFT_TRY(deft_rule_require_rank(call, x, 2, false));
    deft_tensor expected = {.dtype = call->in[x]->dtype, .rank = 1, .dims = {call->in[x]->dims[1]}};
    for (int i = first; i <= last; i++)
        DEFT_TRY(deft_rule_require_shape(call, i, &expected, "a vector with an element for each channel"));
    return DEFT_OK;
}

deft_status deft_shape_batch_norm(const deft_op_call *call) {
    DEFT_TRY(check_channels(call, 0, 1, 4));
    if (deft_attr_int(call->attrs, "training_mode", 0) != 0)
        return deft_rule_fail(call, DEFT_UNSUPPORTED, "training_mode is 1; export the model in inference mode");
    if (call->opset < 9 && deft_attr_int(call->attrs, "spatial", 1) != 1)
        return deft_rule_fail(call, DEFT_UNSUPPORTED, "spatial is 0; only statistics of whole channels are supported");
    return deft_rule_set_out_like(call, 0, call->in[0]);
}

deft_status deft_shape_batch_norm_training(const deft_op_call *call) {
    DEFT_TRY(check_channels(call, 0, 1, 2));
    if (deft_tensor_count(call->in[0]) == 0)
        return deft_rule_fail(call, DEFT_INVALID, "the batch is empty: it has no statistics");
    DEFT_TRY(deft_rule_set_out_like(call, 0, call->in[0]));
    DEFT_TRY(deft_rule_set_out_like(call, 1, call->in[1]));
    return deft_rule_set_out_like(call, 2, call->in[1]);
}

deft_status deft_shape_batch_norm_grad(const deft_op_call *call) {
    DEFT_TRY(check_channels(call, 1, 2, 4));
    DEFT_TRY(deft_rule_require_same(call, 0, 1));
    DEFT_TRY(deft_rule_set_out_like(call, 0, call->in[1]));
    DEFT_TRY(deft_rule_set_out_like(call, 1, call->in[2]));
    return deft_rule_set_out_like(call, 2, call->in[2]);
}

deft_status deft_forward_batch_norm(const deft_op_call *call) {
    return deft_rule_by_real(call, batch_norm_f32, batch_norm_f64);
}

deft_status deft_forward_batch_norm_training(const deft_op_call *call) {
    return deft_rule_by_real(call, batch_norm_training_f32, batch_norm_training_f64);
}

deft_status deft_forward_batch_norm_grad(const deft_op_call *call) {
    return deft_rule_by_real(call, batch_norm_grad_f32, batch_norm_grad_f64);
}

/* One node for all three: they share the sums over each channel. */
deft_status deft_gradient_batch_norm_training(deft_gradient *gradient) {
    const int *in = gradient->in, *out = gradient->out;
    if (gradient->out_grad[1] >= 0 || gradient->out_grad[2] >= 0)
        return deft_fail(gradient->ctx, DEFT_UNSUPPORTED, "no gradient flows through the batch's mean and variance");
    return gradient->emit(gradient, DEFT_OP_BATCH_NORM_GRAD, gradient->attrs->items, gradient->attrs->count,
                          (int[]){gradient->out_grad[0], in[0], in[1], out[1], out[2]}, 5, gradient->in_grad, 3);
}
