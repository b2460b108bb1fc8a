#include "ir/op/window.h"

#include "ir/op/rule.h"

#include <string.h>

typedef enum auto_pad { AUTO_NOTSET, AUTO_SAME_UPPER, AUTO_SAME_LOWER, AUTO_VALID, AUTO_COUNT } auto_pad;

static deft_status read_auto_pad(const deft_op_call *call, auto_pad *out) {
    static const char *const names[] = {"NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"};
    const char *text = deft_attr_string(call->attrs, "auto_pad", "NOTSET");
    for (int i = 0; i < AUTO_COUNT; i++)
        if (strcmp(text, names[i]) == 0) {
            *out = (auto_pad)i;
            return DEFT_OK;
        }
    return deft_rule_fail(call, DEFT_INVALID, "auto_pad must be NOTSET, SAME_UPPER, SAME_LOWER or VALID, got '%.40s'",
                          text);
}

/* Reads `count` ints, each in [low, 2^31): small enough that no product of two of them overflows. */
static deft_status read_sizes(const deft_op_call *call, const char *name, int count, int64_t low, int64_t fallback,
                              int64_t *out) {
    int found = deft_attr_ints(call->attrs, name, out, count);
    if (found == 0) {
        for (int i = 0; i < count; i++)
            out[i] = fallback;
        return DEFT_OK;
    }
    if (found != count)
        return deft_rule_fail(call, DEFT_INVALID, "%s must have %d entries, got %d", name, count, found);
    for (int i = 0; i < count; i++)
        if (out[i] < low || out[i] > INT32_MAX)
            return deft_rule_fail(call, DEFT_INVALID, "%s[%d] must be in [%lld, 2^31), got %lld", name, i,
                                  (long long)low, (long long)out[i]);
    return DEFT_OK;
}

static deft_status read_kernel(const deft_op_call *call, int spatial, const int64_t *kernel_dims, int64_t *kernel) {
    DEFT_TRY(read_sizes(call, "kernel_shape", spatial, 1, 0, kernel));
    for (int i = 0; i < spatial; i++) {
        if (!kernel_dims && kernel[i] == 0)
            return deft_rule_fail(call, DEFT_INVALID, "kernel_shape is missing; it needs %d entries", spatial);
        if (!kernel_dims) continue;
        if (kernel_dims[i] < 1 || kernel_dims[i] > INT32_MAX)
            return deft_rule_fail(call, DEFT_INVALID,
                                  "spatial dimension %d of the weight must be in [1, 2^31), got %lld", i,
                                  (long long)kernel_dims[i]);
        if (kernel[i] != 0 && kernel[i] != kernel_dims[i])
            return deft_rule_fail(call, DEFT_INVALID, "kernel_shape[%d] is %lld, but the weight has %lld there", i,
                                  (long long)kernel[i], (long long)kernel_dims[i]);
        kernel[i] = kernel_dims[i];
    }
    return DEFT_OK;
}

/* Pads, if they are automatic, and the output size of one axis. */
static deft_status resolve_axis(const deft_op_call *call, int axis, auto_pad mode, bool pooling, deft_window *window) {
    int64_t in = window->in[axis], stride = window->stride[axis];
    int64_t extent = (window->kernel[axis] - 1) * window->dilation[axis] + 1;
    if (mode == AUTO_VALID) window->pad_begin[axis] = window->pad_end[axis] = 0;
    if (mode == AUTO_SAME_UPPER || mode == AUTO_SAME_LOWER) {
        int64_t out = (in + stride - 1) / stride, total = (out - 1) * stride + extent - in;
        if (total < 0 || in == 0) total = 0;
        window->pad_begin[axis] = mode == AUTO_SAME_UPPER ? total / 2 : total - total / 2;
        window->pad_end[axis] = total - window->pad_begin[axis];
    }
    int64_t begin = window->pad_begin[axis], end = window->pad_end[axis], room = in + begin + end - extent;
    if (room < 0)
        return deft_rule_fail(
            call, DEFT_INVALID,
            "the kernel spans %lld positions (kernel %lld, dilation %lld) of axis %d, but the input has "
            "%lld there with padding %lld+%lld",
            (long long)extent, (long long)window->kernel[axis], (long long)window->dilation[axis],
            axis + window->spatial, (long long)in, (long long)begin, (long long)end);
    if (pooling && (begin >= extent || end >= extent))
        return deft_rule_fail(call, DEFT_INVALID, "pads %lld+%lld must be smaller than the kernel, which spans %lld",
                              (long long)begin, (long long)end, (long long)extent);
    window->out[axis] = room / stride + 1;
    /* With ceil_mode, a last window may hang over the end, if it does not start in the padding there. */
    bool ceil_mode = pooling && deft_attr_int(call->attrs, "ceil_mode", 0) != 0;
    if (ceil_mode && room % stride != 0 && window->out[axis] * stride < in + begin) window->out[axis]++;
    return DEFT_OK;
}

/* The index of the i-th spatial dimension: z comes first in a volume. */
static int axis_of(int spatial, int i) {
    return spatial == 3 ? (i + 2) % 3 : 2 - spatial + i;
}

static deft_status resolve(const deft_op_call *call, const int64_t *in_dims, int rank, const int64_t *kernel_dims,
                           int most, deft_window *window) {
    int spatial = rank - 2;
    if (spatial < 1)
        return deft_rule_fail(call, DEFT_INVALID, "the input must have 3 or 4 dimensions, [N, C, (H,) W], got %d",
                              rank);
    if (spatial > most)
        return deft_rule_fail(call, DEFT_UNSUPPORTED, "%d spatial dimensions; at most %d are supported", spatial, most);

    int64_t kernel[3], stride[3], dilation[3], pads[6];
    auto_pad mode = AUTO_NOTSET;
    DEFT_TRY(read_kernel(call, spatial, kernel_dims, kernel));
    DEFT_TRY(read_sizes(call, "strides", spatial, 1, 1, stride));
    DEFT_TRY(read_sizes(call, "dilations", spatial, 1, 1, dilation));
    DEFT_TRY(read_sizes(call, "pads", 2 * spatial, 0, 0, pads));
    DEFT_TRY(read_auto_pad(call, &mode));

    *window = (deft_window){.spatial = spatial,
                            .batch = in_dims[0],
                            .channels = in_dims[1],
                            .filters = in_dims[1],
                            .groups = 1,
                            .in = {1, 1, 1},
                            .out = {1, 1, 1},
                            .kernel = {1, 1, 1},
                            .stride = {1, 1, 1},
                            .dilation = {1, 1, 1}};
    for (int i = 0; i < spatial; i++) {
        int axis = axis_of(spatial, i);
        window->in[axis] = in_dims[2 + i];
        window->kernel[axis] = kernel[i];
        window->stride[axis] = stride[i];
        window->dilation[axis] = dilation[i];
        window->pad_begin[axis] = pads[i];
        window->pad_end[axis] = pads[spatial + i];
        DEFT_TRY(resolve_axis(call, axis, mode, kernel_dims == NULL, window));
    }
    return DEFT_OK;
}

static deft_status resolve_conv(const deft_op_call *call, const deft_tensor *x, const deft_tensor *w, int most,
                                deft_window *window) {
    char x_text[DEFT_SHAPE_TEXT_BYTES], w_text[DEFT_SHAPE_TEXT_BYTES];
    if (x->rank != w->rank || x->rank < 3)
        return deft_rule_fail(call, DEFT_INVALID,
                              "the input and the weight must have the same number of dimensions, 3 or 4, got %s and %s",
                              deft_shape_text(x, x_text, sizeof x_text), deft_shape_text(w, w_text, sizeof w_text));
    DEFT_TRY(resolve(call, x->dims, x->rank, w->dims + 2, most, window));
    int64_t groups = deft_attr_int(call->attrs, "group", 1);
    bool whole = groups >= 1 && x->dims[1] % groups == 0 && w->dims[0] % groups == 0;
    if (!whole || w->dims[1] != x->dims[1] / groups)
        return deft_rule_fail(
            call, DEFT_INVALID,
            "input [N, C, ...] = %s, weight [M, C / group, ...] = %s and group %lld do not fit: group "
            "must divide C and M",
            deft_shape_text(x, x_text, sizeof x_text), deft_shape_text(w, w_text, sizeof w_text), (long long)groups);
    window->groups = groups;
    window->filters = w->dims[0];
    return DEFT_OK;
}

deft_status deft_window_resolve(const deft_op_call *call, const int64_t *in_dims, int rank, const int64_t *kernel_dims,
                                deft_window *window) {
    return resolve(call, in_dims, rank, kernel_dims, 2, window);
}

/* Pads, if they are automatic or follow from the output's size, and the output's size of one axis. */
static deft_status resolve_transposed_axis(const deft_op_call *call, int axis, auto_pad mode, int64_t output_padding,
                                           int64_t output_size, deft_window *window) {
    const int64_t most = (int64_t)1 << 40;
    int64_t in = window->out[axis], stride = window->stride[axis], span = 0;
    int64_t extent = (window->kernel[axis] - 1) * window->dilation[axis] + 1;
    if (in < 1 || in > INT32_MAX || output_size > most || extent > most)
        return deft_rule_fail(call, DEFT_INVALID, "spatial dimension %d of the input is %lld, of the output %lld", axis,
                              (long long)in, (long long)output_size);
    span = stride * (in - 1) + output_padding + extent;
    if (mode == AUTO_VALID) window->pad_begin[axis] = window->pad_end[axis] = 0;
    bool same = mode == AUTO_SAME_UPPER || mode == AUTO_SAME_LOWER;
    if (same && output_size == 0) output_size = in * stride;
    if (output_size > 0) {
        int64_t total = span > output_size ? span - output_size : 0;
        window->pad_begin[axis] = mode == AUTO_SAME_UPPER ? total / 2 : total - total / 2;
        window->pad_end[axis] = total - window->pad_begin[axis];
    }
    window->in[axis] = output_size > 0 ? output_size : span - window->pad_begin[axis] - window->pad_end[axis];
    if (window->in[axis] > 0) return DEFT_OK;
    return deft_rule_fail(call, DEFT_INVALID, "the pads leave nothing of spatial dimension %d of the output", axis);
}

static deft_status resolve_transpose(const deft_op_call *call, const deft_tensor *x, const deft_tensor *w, int most,
                                     deft_window *window) {
    int64_t groups = deft_attr_int(call->attrs, "group", 1), channels;
    int spatial = x->rank - 2;
    if (x->rank != w->rank || spatial < 1)
        return deft_rule_fail(call, DEFT_INVALID, "the input and the weight must have the same number of dimensions");
    if (spatial > most)
        return deft_rule_fail(call, DEFT_UNSUPPORTED, "%d spatial dimensions; at most %d are supported", spatial, most);
    if (groups < 1 || x->dims[1] != w->dims[0] || x->dims[1] % groups != 0 ||
        __builtin_mul_overflow(w->dims[1], groups, &channels))
        return deft_rule_fail(call, DEFT_INVALID, "input [N, C, ...], weight [C, M / group, ...] and group do not fit");
    int64_t kernel[3], stride[3], dilation[3], pads[6], padding[3], sizes[3];
    auto_pad mode = AUTO_NOTSET;
    DEFT_TRY(read_kernel(call, spatial, w->dims + 2, kernel));
    DEFT_TRY(read_sizes(call, "strides", spatial, 1, 1, stride));
    DEFT_TRY(read_sizes(call, "dilations", spatial, 1, 1, dilation));
    DEFT_TRY(read_sizes(call, "pads", 2 * spatial, 0, 0, pads));
    DEFT_TRY(read_sizes(call, "output_padding", spatial, 0, 0, padding));
    DEFT_TRY(read_sizes(call, "output_shape", spatial, 1, 0, sizes));
    DEFT_TRY(read_auto_pad(call, &mode));
    *window = (deft_window){.spatial = spatial,
                            .batch = x->dims[0],
                            .channels = channels,
                            .filters = x->dims[1],
                            .groups = groups,
                            .in = {1, 1, 1},
                            .out = {1, 1, 1},
                            .kernel = {1, 1, 1},
                            .stride = {1, 1, 1},
                            .dilation = {1, 1, 1}};
    for (int i = 0; i < spatial; i++) {
        int axis = axis_of(spatial, i);
        window->out[axis] = x->dims[2 + i];
        window->kernel[axis] = kernel[i];
        window->stride[axis] = stride[i];
        window->dilation[axis] = dilation[i];
        window->pad_begin[axis] = pads[i];
        window->pad_end[axis] = pads[spatial + i];
        DEFT_TRY(resolve_transposed_axis(call, axis, mode, padding[i], sizes[i], window));
    }
    return DEFT_OK;
}

deft_status deft_window_of_transpose(const deft_op_call *call, const deft_tensor *x, const deft_tensor *w,
                                     deft_window *window) {
    return resolve_transpose(call, x, w, 2, window);
}

deft_status deft_window_of_transpose_volume(const deft_op_call *call, const deft_tensor *x, const deft_tensor *w,
                                            deft_window *window) {
    return resolve_transpose(call, x, w, 3, window);
}

deft_status deft_window_of_conv(const deft_op_call *call, const deft_tensor *x, const deft_tensor *w,
                                deft_window *window) {
    return resolve_conv(call, x, w, 2, window);
}

deft_status deft_window_of_conv_volume(const deft_op_call *call, const deft_tensor *x, const deft_tensor *w,
                                       deft_window *window) {
    return resolve_conv(call, x, w, 3, window);
}

deft_status deft_window_of_pool_volume(const deft_op_call *call, const deft_tensor *x, deft_window *window) {
    return resolve(call, x->dims, x->rank, NULL, 3, window);
}

deft_status deft_window_of_pool(const deft_op_call *call, const deft_tensor *x, deft_window *window) {
    return deft_window_resolve(call, x->dims, x->rank, NULL, window);
}

void deft_window_in_shape(const deft_window *window, deft_tensor *in) {
    in->rank = window->spatial + 2;
    in->dims[0] = window->batch;
    in->dims[1] = window->channels;
    for (int i = 0; i < window->spatial; i++)
        in->dims[2 + i] = window->in[axis_of(window->spatial, i)];
}

void deft_window_out_shape(const deft_window *window, deft_tensor *out) {
    out->rank = window->spatial + 2;
    out->dims[0] = window->batch;
    out->dims[1] = window->filters;
    for (int i = 0; i < window->spatial; i++)
        out->dims[2 + i] = window->out[axis_of(window->spatial, i)];
}
