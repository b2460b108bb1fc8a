/* Conv, its gradients, and ConvTranspose, which is the gradient for the input. |Y - Y64| <= gamma(C / group * kH * kW)
 * sum |w||x|, of f32 sums in any order. */
#include "ir/op/emit.h"
#include "ir/op/rule.h"
#include "ir/op/window.h"

/* The outputs that one tap contributes to, from (y, x) on, and the first input that it reads there. */
typedef struct rectangle {
    int64_t y, x, height, width, in_y, in_x;
} rectangle;

static rectangle tap_rectangle(const deft_window *w, int64_t ky, int64_t kx) {
    int64_t y_begin, y_end, x_begin, x_end;
    deft_window_outputs(w, 0, ky, &y_begin, &y_end);
    deft_window_outputs(w, 1, kx, &x_begin, &x_end);
    if (y_begin == y_end || x_begin == x_end) return (rectangle){.height = 0};
    return (rectangle){.y = y_begin,
                       .x = x_begin,
                       .height = y_end - y_begin,
                       .width = x_end - x_begin,
                       .in_y = y_begin * w->stride[0] + ky * w->dilation[0] - w->pad_begin[0],
                       .in_x = x_begin * w->stride[1] + kx * w->dilation[1] - w->pad_begin[1]};
}

/* The outputs of a volume that one tap contributes to, and where it reads for output 0; axes as in deft_window. */
typedef struct tap_box {
    int64_t begin[3], end[3], shift[3];
} tap_box;

static tap_box tap_box_of(const deft_window *w, int64_t tap) {
    const int64_t at[3] = {tap / w->kernel[1] % w->kernel[0], tap % w->kernel[1], tap / w->kernel[1] / w->kernel[0]};
    tap_box b;
    for (int axis = 0; axis < 3; axis++) {
        deft_window_outputs(w, axis, at[axis], &b.begin[axis], &b.end[axis]);
        b.shift[axis] = at[axis] * w->dilation[axis] - w->pad_begin[axis];
    }
    return b;
}

#define BODY "ir/op/conv_body.h"
#include "ir/op/each_real.h"

deft_status deft_shape_conv(const deft_op_call *call) {
    deft_window window;
    deft_tensor out = {.dtype = call->in[0]->dtype};
    DEFT_TRY(deft_rule_require_real(call, 0, 2));
    DEFT_TRY(deft_window_of_conv_volume(call, call->in[0], call->in[1], &window));
    deft_window_out_shape(&window, &out);
    DEFT_TRY(deft_rule_set_out_like(call, 0, &out));
    if (call->in_count < 3 || !call->in[2]) return DEFT_OK;
    deft_tensor bias = {.dtype = out.dtype, .rank = 1, .dims = {window.filters}};
    return deft_rule_require_shape(call, 2, &bias, "the bias, one for each filter");
}

deft_status deft_shape_conv_transpose(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    deft_window w;
    DEFT_TRY(deft_rule_require_real(call, 0, 2));
    DEFT_TRY(deft_window_of_transpose_volume(call, x, call->in[1], &w));
    deft_tensor out = {.dtype = x->dtype};
    deft_window_in_shape(&w, &out);
    DEFT_TRY(deft_rule_set_out_like(call, 0, &out));
    deft_tensor bias = {.dtype = x->dtype, .rank = 1, .dims = {w.channels}};
    return deft_rule_in(call, 2) ? deft_rule_require_shape(call, 2, &bias, "the bias, one for each filter") : DEFT_OK;
}

deft_status deft_forward_conv_transpose(const deft_op_call *call) {
    if (deft_window_is_volume(call->in[0]))
        return deft_rule_by_real(call, conv_transpose_volume_f32, conv_transpose_volume_f64);
    return deft_rule_by_real(call, conv_transpose_f32, conv_transpose_f64);
}

/* Gradients have dy in input 0; x and the weight are inputs x and w. */
static deft_status check_gradient(const deft_op_call *call, int x, int w) {
    deft_window window;
    deft_tensor out = {.dtype = call->in[0]->dtype};
    DEFT_TRY(deft_rule_require_real(call, 0, 2));
    DEFT_TRY(deft_window_of_conv_volume(call, call->in[x], call->in[w], &window));
    deft_window_out_shape(&window, &out);
    return deft_rule_require_shape(call, 0, &out, "the gradient of the output");
}

deft_status deft_shape_conv_input_grad(const deft_op_call *call) {
    DEFT_TRY(check_gradient(call, 2, 1));
    return deft_rule_set_out_like(call, 0, call->in[2]);
}

deft_status deft_shape_conv_weight_grad(const deft_op_call *call) {
    DEFT_TRY(check_gradient(call, 1, 2));
    return deft_rule_set_out_like(call, 0, call->in[2]);
}

deft_status deft_shape_conv_bias_grad(const deft_op_call *call) {
    DEFT_TRY(deft_rule_require_real(call, 0, 0));
    DEFT_TRY(deft_rule_require_rank(call, 0, 2, false));
    return deft_rule_set_out(call, 0, call->in[0]->dtype, 1, &call->in[0]->dims[1]);
}

deft_status deft_forward_conv(const deft_op_call *call) {
    if (deft_window_is_volume(call->in[0])) return deft_rule_by_real(call, conv_volume_f32, conv_volume_f64);
    return deft_rule_by_real(call, conv_f32, conv_f64);
}

deft_status deft_forward_conv_input_grad(const deft_op_call *call) {
    if (deft_window_is_volume(call->in[2]))
        return deft_rule_by_real(call, conv_input_grad_volume_f32, conv_input_grad_volume_f64);
    return deft_rule_by_real(call, conv_input_grad_f32, conv_input_grad_f64);
}

deft_status deft_forward_conv_weight_grad(const deft_op_call *call) {
    if (deft_window_is_volume(call->in[1]))
        return deft_rule_by_real(call, conv_weight_grad_volume_f32, conv_weight_grad_volume_f64);
    return deft_rule_by_real(call, conv_weight_grad_f32, conv_weight_grad_f64);
}

deft_status deft_forward_conv_bias_grad(const deft_op_call *call) {
    return deft_rule_by_real(call, conv_bias_grad_f32, conv_bias_grad_f64);
}

deft_status deft_gradient_conv(deft_gradient *gradient) {
    int dy = gradient->out_grad[0], x = gradient->in[0], w = gradient->in[1], *in_grad = gradient->in_grad;
    if (gradient->wanted[0])
        DEFT_TRY(deft_emit_with_attrs(gradient, DEFT_OP_CONV_INPUT_GRAD, &in_grad[0], 3, dy, w, x));
    if (gradient->wanted[1])
        DEFT_TRY(deft_emit_with_attrs(gradient, DEFT_OP_CONV_WEIGHT_GRAD, &in_grad[1], 3, dy, x, w));
    if (gradient->in_count < 3 || !gradient->wanted[2]) return DEFT_OK;
    return deft_emit(gradient, DEFT_OP_CONV_BIAS_GRAD, &in_grad[2], 1, dy);
}

/* ConvTranspose is the gradient of a convolution W for its input; so its own, for x, is that convolution. */
deft_status deft_gradient_conv_transpose(deft_gradient *gradient) {
    int dy = gradient->out_grad[0], x = gradient->in[0], w = gradient->in[1], *in_grad = gradient->in_grad;
    deft_op_call call = deft_gradient_call(gradient);
    deft_window window;
    int64_t strides[3], dilations[3], pads[6];
    DEFT_TRY(deft_window_of_transpose_volume(&call, gradient->in_desc[0], gradient->in_desc[1], &window));
    int spatial = window.spatial;
    for (int i = 0; i < spatial; i++) {
        int axis = spatial == 3 ? (i + 2) % 3 : 2 - spatial + i; /* z comes first in a volume */
        strides[i] = window.stride[axis];
        dilations[i] = window.dilation[axis];
        pads[i] = window.pad_begin[axis];
        pads[spatial + i] = window.pad_end[axis];
    }
    const deft_attr attrs[] = {{.name = "strides", .type = DEFT_ATTR_INTS, .count = spatial, .ints = strides},
                               {.name = "dilations", .type = DEFT_ATTR_INTS, .count = spatial, .ints = dilations},
                               {.name = "pads", .type = DEFT_ATTR_INTS, .count = 2 * spatial, .ints = pads},
                               {.name = "group", .type = DEFT_ATTR_INT, .i = window.groups}};
    if (gradient->wanted[0])
        DEFT_TRY(gradient->emit(gradient, DEFT_OP_CONV, attrs, 4, (int[]){dy, w}, 2, &in_grad[0], 1));
    if (gradient->wanted[1])
        DEFT_TRY(gradient->emit(gradient, DEFT_OP_CONV_WEIGHT_GRAD, attrs, 4, (int[]){x, dy, w}, 3, &in_grad[1], 1));
    if (gradient->in_count < 3 || !gradient->wanted[2]) return DEFT_OK;
    return deft_emit(gradient, DEFT_OP_CONV_BIAS_GRAD, &in_grad[2], 1, dy);
}
