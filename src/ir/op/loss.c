/* Losses, which end a training graph, and their gradients. */
#include "ir/op/emit.h"
#include "ir/op/rule.h"

/* Of a target that is, or nearly is, 0, the error relative to this is taken. */
static const double SMALLEST_TARGET = 1e-7;

#define BODY "ir/op/loss_body.h"
#include "ir/op/each_real.h"

/* Predictions and targets of one shape, in inputs i and i + 1. */
static deft_status check_pair(const deft_op_call *call, int i) {
    DEFT_TRY(deft_rule_require_real(call, 0, call->in_count - 1));
    DEFT_TRY(deft_rule_require_same(call, i + 1, i));
    bool classes = call->op == DEFT_OP_SOFTMAX_CROSS_ENTROPY || call->op == DEFT_OP_SOFTMAX_CROSS_ENTROPY_GRAD;
    if (classes) DEFT_TRY(deft_rule_require_rank(call, i, 2, true));
    if (deft_tensor_count(call->in[i]) == 0)
        return deft_rule_fail(call, DEFT_INVALID, "the batch is empty: a mean over it does not exist");
    return DEFT_OK;
}

deft_status deft_shape_loss(const deft_op_call *call) {
    deft_tensor scalar = {.dtype = call->in[0]->dtype};
    DEFT_TRY(check_pair(call, 0));
    return deft_rule_set_out_like(call, 0, &scalar);
}

/* (dloss, prediction, target) */
deft_status deft_shape_loss_grad(const deft_op_call *call) {
    deft_tensor scalar = {.dtype = call->in[1]->dtype};
    DEFT_TRY(check_pair(call, 1));
    DEFT_TRY(deft_rule_require_shape(call, 0, &scalar, "the gradient of the loss"));
    return deft_rule_set_out_like(call, 0, call->in[1]);
}

deft_status deft_forward_softmax_cross_entropy(const deft_op_call *call) {
    return deft_rule_by_real(call, softmax_cross_entropy_f32, softmax_cross_entropy_f64);
}

deft_status deft_forward_softmax_cross_entropy_grad(const deft_op_call *call) {
    return deft_rule_by_real(call, softmax_cross_entropy_grad_f32, softmax_cross_entropy_grad_f64);
}

deft_status deft_forward_mean_squared_error(const deft_op_call *call) {
    return deft_rule_by_real(call, mean_squared_error_f32, mean_squared_error_f64);
}

deft_status deft_forward_mean_squared_error_grad(const deft_op_call *call) {
    return deft_rule_by_real(call, mean_squared_error_grad_f32, mean_squared_error_grad_f64);
}

deft_status deft_forward_mean_percentage_error(const deft_op_call *call) {
    return deft_rule_by_real(call, mean_percentage_error_f32, mean_percentage_error_f64);
}

deft_status deft_forward_mean_percentage_error_grad(const deft_op_call *call) {
    return deft_rule_by_real(call, mean_percentage_error_grad_f32, mean_percentage_error_grad_f64);
}

static deft_status emit_loss_grad(deft_gradient *gradient, deft_op op) {
    if (gradient->wanted[1])
        return deft_fail(gradient->ctx, DEFT_UNSUPPORTED, "a loss has no gradient for its targets");
    return deft_emit(gradient, op, &gradient->in_grad[0], 3, gradient->out_grad[0], gradient->in[0], gradient->in[1]);
}

deft_status deft_gradient_softmax_cross_entropy(deft_gradient *gradient) {
    return emit_loss_grad(gradient, DEFT_OP_SOFTMAX_CROSS_ENTROPY_GRAD);
}

deft_status deft_gradient_mean_squared_error(deft_gradient *gradient) {
    return emit_loss_grad(gradient, DEFT_OP_MEAN_SQUARED_ERROR_GRAD);
}

deft_status deft_gradient_mean_percentage_error(deft_gradient *gradient) {
    return emit_loss_grad(gradient, DEFT_OP_MEAN_PERCENTAGE_ERROR_GRAD);
}
