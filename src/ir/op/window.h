/* The geometry of sliding windows, of convolutions and pooling: attributes and shapes resolved into plain numbers, once
 * and for all: shape rules, reference forwards and kernels use this. */
#ifndef DEFT_IR_OP_WINDOW_H
#define DEFT_IR_OP_WINDOW_H

#include "ir/op/op.h"

/* Index 0 is y, index 1 is x, index 2 is z, the first dimension of a volume, of size 1 else; with one spatial
 * dimension, that is x, and y has size 1. Output o of an axis reads the inputs o * stride + tap * dilation - pad_begin
 * for tap in [0, kernel), those outside of [0, in) being padding. */
typedef struct deft_window {
    int spatial;             /* dimensions of the model's tensors besides batch and channels: 1, 2, or 3 in a volume */
    int64_t batch, channels; /* of the input */
    int64_t filters;         /* channels of the output */
    int64_t groups;          /* of a convolution; 1 for pooling */
    int64_t in[3], out[3], kernel[3], stride[3], dilation[3], pad_begin[3], pad_end[3];
} deft_window;

/* Reads kernel_shape, strides, dilations, pads, auto_pad and, for pooling, ceil_mode. in_dims[rank] are [N, C, (H,) W];
 * kernel_dims[rank - 2] those of a convolution's weight, against which kernel_shape is checked, or NULL for pooling,
 * where kernel_shape must be given and pads must be smaller than the (dilated) kernel. Sets filters = channels and
 * groups = 1. Every size is at least 1 but in and batch and channels; pads are not negative. Errors: DEFT_INVALID
 * (sizes that are nonsense or do not fit), DEFT_UNSUPPORTED (three or more spatial dimensions). */
DEFT_MUST_CHECK deft_status deft_window_resolve(const deft_op_call *call, const int64_t *in_dims, int rank,
                                                const int64_t *kernel_dims, deft_window *window);

/* The window of a convolution of x [N, C, (H,) W] with w [M, C / group, (kH,) kW]; filters = M. Also for ConvInputGrad
 * (x = in[2], w = in[1]) and ConvWeightGrad (x = in[1], w = in[2]). */
DEFT_MUST_CHECK deft_status deft_window_of_conv(const deft_op_call *call, const deft_tensor *x, const deft_tensor *w,
                                                deft_window *window);

/* The window of the convolution whose transpose is ConvTranspose of x [N, C, (H,) W] with w [C, M / group, (kH,) kW]:
 * its input is the output y [N, M, ...] (so in and channels are y's), its output is x. Reads output_padding and
 * output_shape too. */
DEFT_MUST_CHECK deft_status deft_window_of_transpose(const deft_op_call *call, const deft_tensor *x,
                                                     const deft_tensor *w, deft_window *window);

/* The window of a pooling operator over x. */
DEFT_MUST_CHECK deft_status deft_window_of_pool(const deft_op_call *call, const deft_tensor *x, deft_window *window);

/* The same, with three spatial dimensions: for the reference alone. Kernels do not know volumes, so that the functions
 * above refuse them. */
DEFT_MUST_CHECK deft_status deft_window_of_conv_volume(const deft_op_call *call, const deft_tensor *x,
                                                       const deft_tensor *w, deft_window *window);
DEFT_MUST_CHECK deft_status deft_window_of_transpose_volume(const deft_op_call *call, const deft_tensor *x,
                                                            const deft_tensor *w, deft_window *window);
DEFT_MUST_CHECK deft_status deft_window_of_pool_volume(const deft_op_call *call, const deft_tensor *x,
                                                       deft_window *window);
static inline bool deft_window_is_volume(const deft_tensor *x) {
    return x->rank == 5;
}

/* Rank and dims of the output, [N, filters, (H,) W]. */
void deft_window_out_shape(const deft_window *window, deft_tensor *out);
/* The same of the input, [N, channels, (H,) W]. */
void deft_window_in_shape(const deft_window *window, deft_tensor *in);

/* a / b rounded up, for a >= 0; b is mostly 1, and a division is slow. */
static inline int64_t deft_window_divide_up(int64_t a, int64_t b) {
    return b == 1 ? a : (a + b - 1) / b;
}

/* The outputs [*begin, *end) of an axis for which `tap` reads an input and no padding; begin <= end. */
static inline void deft_window_outputs(const deft_window *window, int axis, int64_t tap, int64_t *begin, int64_t *end) {
    int64_t stride = window->stride[axis], offset = tap * window->dilation[axis] - window->pad_begin[axis];
    int64_t first = offset >= 0 ? 0 : deft_window_divide_up(-offset, stride);
    int64_t in = window->in[axis], past = window->out[axis];
    /* a division takes longer than a short row */
    if ((past - 1) * stride + offset >= in) past = in > offset ? deft_window_divide_up(in - offset, stride) : 0;
    *end = past;
    *begin = first < past ? first : past;
}

/* The taps [*begin, *end) with which `output` of an axis reads an input and no padding; begin <= end. */
static inline void deft_window_taps(const deft_window *window, int axis, int64_t output, int64_t *begin, int64_t *end) {
    int64_t dilation = window->dilation[axis], start = output * window->stride[axis] - window->pad_begin[axis];
    int64_t first = start >= 0 ? 0 : deft_window_divide_up(-start, dilation);
    int64_t past = window->in[axis] > start ? deft_window_divide_up(window->in[axis] - start, dilation) : 0;
    *end = past < window->kernel[axis] ? past : window->kernel[axis];
    *begin = first < *end ? first : *end;
}

#endif
