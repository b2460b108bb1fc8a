/* MaxPool, AveragePool, GlobalAveragePool and their gradients. A window with a NaN has the maximum NaN, as in PyTorch;
 * of padding only, -inf. */
#include "ir/op/emit.h"
#include "ir/op/pool_index.h"
#include "ir/op/rule.h"
#include "ir/op/window.h"

#include <limits.h>
#include <string.h>

/* The input positions begin, begin + dilation, ... < end that one output reads along an axis. */
typedef struct span {
    int64_t begin, end;
} span;

static inline span window_span(const deft_window *w, int axis, int64_t output) {
    int64_t first, past, start = output * w->stride[axis] - w->pad_begin[axis];
    deft_window_taps(w, axis, output, &first, &past);
    return (span){start + first * w->dilation[axis], start + past * w->dilation[axis]};
}

static inline int64_t span_count(span s, int64_t dilation) {
    return deft_window_divide_up(s.end - s.begin, dilation);
}

/* Taps of a window along an axis that lie on the input or its padding, not beyond as ceil_mode has it. */
static inline int64_t padded_count(const deft_window *w, int axis, int64_t output) {
    int64_t room = w->in[axis] + w->pad_begin[axis] + w->pad_end[axis] - output * w->stride[axis];
    int64_t taps = deft_window_divide_up(room, w->dilation[axis]);
    return taps < w->kernel[axis] ? taps : w->kernel[axis];
}

/* What a window's sum is divided by; at least 1. */
static inline int64_t divisor(const deft_window *w, bool include_pad, int64_t oy, int64_t ox, span rows, span columns) {
    int64_t count = include_pad ? padded_count(w, 0, oy) * padded_count(w, 1, ox)
                                : span_count(rows, w->dilation[0]) * span_count(columns, w->dilation[1]);
    return count > 0 ? count : 1;
}

/* One output's window in a volume: spans of z, y, x. */
typedef struct box {
    span z, y, x;
} box;

/* What a box's sum is divided by; at least 1. */
static int64_t box_divisor(const deft_window *w, bool include_pad, int64_t oz, int64_t oy, int64_t ox, const box *b) {
    int64_t planes = include_pad ? padded_count(w, 2, oz) : span_count(b->z, w->dilation[2]);
    return planes > 0 ? planes * divisor(w, include_pad, oy, ox, b->y, b->x) : 1;
}

/* True for windows of 2x2 side by side, which most networks have. */
static bool halves(const deft_window *w) {
    for (int i = 0; i < 2; i++)
        if (w->kernel[i] != 2 || w->stride[i] != 2 || w->dilation[i] != 1 || w->pad_begin[i] ||
            w->out[i] * 2 > w->in[i])
            return false;
    return true;
}

/* Most of its taps meet padding alone. */
static bool is_wide(const deft_window *w) {
    return w->kernel[1] > w->in[1];
}

/* The outputs of a row that see the picture through tap kx. */
static inline span tap_span(const deft_window *w, int64_t kx) {
    span seen;
    deft_window_outputs(w, 1, kx, &seen.begin, &seen.end);
    return seen;
}

/* Where in a row of the picture an output looks through tap kx. */
static inline int64_t tap_position(const deft_window *w, int64_t kx, int64_t output) {
    return output * w->stride[1] + kx * w->dilation[1] - w->pad_begin[1];
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

enum { OUTPUTS_AT_ONCE = 128, ROW_AT_ONCE = 512 };

/* How much of a row the windows of `count` outputs span, in whole strides. */
static inline int64_t reach_of(const deft_window *w, int64_t count) {
    int64_t taps = deft_window_divide_up((w->kernel[1] - 1) * w->dilation[1] + 1, w->stride[1]);
    return (count - 1 + taps) * w->stride[1];
}

/* As many outputs of a row from `first` on as there is room for, if there is any for one. */
static inline int64_t outputs_at_once(const deft_window *w, int64_t first) {
    int64_t count = least(w->out[1] - first, OUTPUTS_AT_ONCE), room = ROW_AT_ONCE - reach_of(w, 1);
    return least(count, room / w->stride[1] + 1);
}

/* Where the window of an output begins in the plane, or -1 where it holds padding only. */
static int64_t first_of(const deft_window *w, int64_t oy, int64_t ox) {
    span rows = window_span(w, 0, oy), columns = window_span(w, 1, ox);
    return rows.begin < rows.end && columns.begin < columns.end ? rows.begin * w->in[1] + columns.begin : -1;
}

#define BODY "ir/op/pool_body.h"
#include "ir/op/each_real.h"

static deft_status pooled_shape(const deft_op_call *call, const deft_tensor *x, deft_tensor *out) {
    deft_window window;
    DEFT_TRY(deft_window_of_pool_volume(call, x, &window));
    *out = (deft_tensor){.dtype = x->dtype};
    deft_window_out_shape(&window, out);
    return DEFT_OK;
}

deft_status deft_shape_pool(const deft_op_call *call) {
    deft_window window;
    deft_tensor out = {.dtype = call->in[0]->dtype};
    DEFT_TRY(deft_rule_require_real(call, 0, 0));
    DEFT_TRY(deft_window_of_pool_volume(call, call->in[0], &window));
    deft_window_out_shape(&window, &out);
    return deft_rule_set_out_like(call, 0, &out);
}

/* (dy, x) */
deft_status deft_shape_pool_grad(const deft_op_call *call) {
    deft_tensor out;
    DEFT_TRY(deft_rule_require_real(call, 0, 1));
    DEFT_TRY(pooled_shape(call, call->in[1], &out));
    DEFT_TRY(deft_rule_require_shape(call, 0, &out, "the gradient of the output"));
    return deft_rule_set_out_like(call, 0, call->in[1]);
}

static void global_shape(const deft_tensor *x, deft_tensor *out) {
    *out = *x;
    for (int i = 2; i < x->rank; i++)
        out->dims[i] = 1;
}

deft_status deft_shape_global_average_pool(const deft_op_call *call) {
    deft_tensor out;
    DEFT_TRY(deft_rule_require_real(call, 0, 0));
    DEFT_TRY(deft_rule_require_rank(call, 0, 3, false));
    global_shape(call->in[0], &out);
    return deft_rule_set_out_like(call, 0, &out);
}

/* (dy, x) */
deft_status deft_shape_global_average_pool_grad(const deft_op_call *call) {
    deft_tensor out;
    DEFT_TRY(deft_rule_require_real(call, 0, 1));
    DEFT_TRY(deft_rule_require_rank(call, 1, 3, false));
    global_shape(call->in[1], &out);
    DEFT_TRY(deft_rule_require_shape(call, 0, &out, "the gradient of the output"));
    return deft_rule_set_out_like(call, 0, call->in[1]);
}

deft_status deft_shape_max_pool(const deft_op_call *call) {
    deft_window window;
    deft_tensor out = {.dtype = call->in[0]->dtype};
    DEFT_TRY(deft_rule_require_types(call, 0, 0, DEFT_TYPES_NUMBER));
    DEFT_TRY(deft_window_of_pool_volume(call, call->in[0], &window));
    deft_window_out_shape(&window, &out);
    DEFT_TRY(deft_rule_set_out_like(call, 0, &out));
    return deft_rule_set_out(call, 1, DEFT_I64, out.rank, out.dims);
}

/* Integers are as rare as models that ask where the maximum was. */
deft_status deft_forward_max_pool(const deft_op_call *call) {
    if (deft_rule_out(call, 1) || !(deft_rule_types(call->in[0]->dtype) & DEFT_TYPES_REAL))
        return deft_pool_max_indexed(call);
    if (deft_window_is_volume(call->in[0])) return deft_rule_by_real(call, pool_volume_f32, pool_volume_f64);
    return deft_rule_by_real(call, max_pool_f32, max_pool_f64);
}

deft_status deft_forward_max_pool_grad(const deft_op_call *call) {
    if (deft_window_is_volume(call->in[1])) return deft_rule_by_real(call, pool_grad_volume_f32, pool_grad_volume_f64);
    return deft_rule_by_real(call, max_pool_grad_f32, max_pool_grad_f64);
}

deft_status deft_forward_average_pool(const deft_op_call *call) {
    if (deft_window_is_volume(call->in[0])) return deft_rule_by_real(call, pool_volume_f32, pool_volume_f64);
    return deft_rule_by_real(call, average_pool_f32, average_pool_f64);
}

deft_status deft_forward_average_pool_grad(const deft_op_call *call) {
    if (deft_window_is_volume(call->in[1])) return deft_rule_by_real(call, pool_grad_volume_f32, pool_grad_volume_f64);
    return deft_rule_by_real(call, average_pool_grad_f32, average_pool_grad_f64);
}

deft_status deft_forward_global_average_pool(const deft_op_call *call) {
    return deft_rule_by_real(call, global_average_pool_f32, global_average_pool_f64);
}

deft_status deft_forward_global_max_pool(const deft_op_call *call) {
    return deft_rule_by_real(call, global_max_pool_f32, global_max_pool_f64);
}

deft_status deft_forward_global_average_pool_grad(const deft_op_call *call) {
    return deft_rule_by_real(call, global_average_pool_grad_f32, global_average_pool_grad_f64);
}

/* (dy, x), with the attributes. */
static deft_status emit_pool_grad(deft_gradient *gradient, deft_op op) {
    return deft_emit_with_attrs(gradient, op, &gradient->in_grad[0], 2, gradient->out_grad[0], gradient->in[0]);
}

deft_status deft_gradient_max_pool(deft_gradient *gradient) {
    return emit_pool_grad(gradient, DEFT_OP_MAX_POOL_GRAD);
}

deft_status deft_gradient_average_pool(deft_gradient *gradient) {
    return emit_pool_grad(gradient, DEFT_OP_AVERAGE_POOL_GRAD);
}

deft_status deft_gradient_global_average_pool(deft_gradient *gradient) {
    return emit_pool_grad(gradient, DEFT_OP_GLOBAL_AVERAGE_POOL_GRAD);
}
