/* Relu, Clip, Sigmoid, Tanh. NaN stays NaN, as in NumPy and ONNX Runtime; a gradient where the function has a corner is
 * that of its flat side. */
#include "ir/op/element.h"
#include "ir/op/emit.h"
#include "ir/op/rule.h"

#define BODY "ir/op/activation_body.h"
#include "ir/op/each_real.h"

deft_status deft_shape_activation(const deft_op_call *call) {
    DEFT_TRY(deft_rule_require_real(call, 0, 0));
    return deft_rule_set_out_like(call, 0, call->in[0]);
}

/* (dy, x or y) */
deft_status deft_shape_activation_grad(const deft_op_call *call) {
    DEFT_TRY(deft_rule_require_real(call, 0, 1));
    DEFT_TRY(deft_rule_require_same(call, 0, 1));
    return deft_rule_set_out_like(call, 0, call->in[1]);
}

/* The bounds, from input `first` on, must be scalars. */
static deft_status check_bounds(const deft_op_call *call, int first) {
    DEFT_TRY(deft_rule_require_real(call, 0, call->in_count - 1));
    for (int i = first; i < call->in_count; i++) {
        if (!call->in[i] || deft_tensor_count(call->in[i]) == 1) continue;
        char text[DEFT_SHAPE_TEXT_BYTES];
        return deft_rule_fail(call, DEFT_INVALID, "the bound in input %d must be a scalar, got shape %s", i,
                              deft_shape_text(call->in[i], text, sizeof text));
    }
    return DEFT_OK;
}

deft_status deft_shape_clip(const deft_op_call *call) {
    if (deft_rule_types(call->in[0]->dtype) & DEFT_TYPES_INTEGER) {
        DEFT_TRY(deft_rule_require_types(call, 0, 2, DEFT_TYPES_INTEGER));
        DEFT_TRY(deft_rule_require_scalar(call, 1));
        DEFT_TRY(deft_rule_require_scalar(call, 2));
        return deft_rule_set_out_like(call, 0, call->in[0]);
    }
    DEFT_TRY(check_bounds(call, 1));
    return deft_rule_set_out_like(call, 0, call->in[0]);
}

deft_status deft_shape_clip_grad(const deft_op_call *call) {
    DEFT_TRY(check_bounds(call, 2));
    return deft_shape_activation_grad(call);
}

deft_status deft_forward_relu(const deft_op_call *call) {
    return deft_rule_by_real(call, relu_f32, relu_f64);
}

deft_status deft_forward_relu_grad(const deft_op_call *call) {
    return deft_rule_by_real(call, relu_grad_f32, relu_grad_f64);
}

/* From opset 12 on; the bounds are inputs. */
static deft_status clip_integer(const deft_op_call *call) {
    const deft_tensor *x = call->in[0], *low = deft_rule_in(call, 1), *high = deft_rule_in(call, 2);
    int64_t count = deft_tensor_count(x);
    for (int64_t i = 0; i < count; i++) {
        const deft_tensor *chosen = x;
        if (low && deft_element_order(x, i, low, 0) < 0) chosen = low;
        if (high && deft_element_order(chosen, chosen == x ? i : 0, high, 0) > 0) chosen = high;
        deft_element_copy(chosen, chosen == x ? i : 0, call->out[0], i);
    }
    return DEFT_OK;
}

deft_status deft_forward_clip(const deft_op_call *call) {
    if (deft_rule_types(call->in[0]->dtype) & DEFT_TYPES_INTEGER) return clip_integer(call);
    return deft_rule_by_real(call, clip_f32, clip_f64);
}

deft_status deft_forward_clip_grad(const deft_op_call *call) {
    return deft_rule_by_real(call, clip_grad_f32, clip_grad_f64);
}

deft_status deft_forward_sigmoid(const deft_op_call *call) {
    return deft_rule_by_real(call, sigmoid_f32, sigmoid_f64);
}

deft_status deft_forward_sigmoid_grad(const deft_op_call *call) {
    return deft_rule_by_real(call, sigmoid_grad_f32, sigmoid_grad_f64);
}

deft_status deft_forward_tanh(const deft_op_call *call) {
    return deft_rule_by_real(call, tanh_forward_f32, tanh_forward_f64);
}

deft_status deft_forward_tanh_grad(const deft_op_call *call) {
    return deft_rule_by_real(call, tanh_grad_f32, tanh_grad_f64);
}

/* These gradients are functions of the output, which is kept anyway. */
static deft_status emit_from_output(deft_gradient *gradient, deft_op op) {
    return deft_emit(gradient, op, &gradient->in_grad[0], 2, gradient->out_grad[0], gradient->out[0]);
}

deft_status deft_gradient_relu(deft_gradient *gradient) {
    return emit_from_output(gradient, DEFT_OP_RELU_GRAD);
}

deft_status deft_gradient_sigmoid(deft_gradient *gradient) {
    return emit_from_output(gradient, DEFT_OP_SIGMOID_GRAD);
}

deft_status deft_gradient_tanh(deft_gradient *gradient) {
    return emit_from_output(gradient, DEFT_OP_TANH_GRAD);
}

/* The bounds themselves get no gradient. */
deft_status deft_gradient_clip(deft_gradient *gradient) {
    int low = gradient->in_count > 1 ? gradient->in[1] : -1, high = gradient->in_count > 2 ? gradient->in[2] : -1;
    if (!gradient->wanted[0]) return DEFT_OK;
    return deft_emit_with_attrs(gradient, DEFT_OP_CLIP_GRAD, &gradient->in_grad[0], 4, gradient->out_grad[0],
                                gradient->in[0], low, high);
}
