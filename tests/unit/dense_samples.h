/* Samples for dense kernels, which are compared with the operators' own forwards in float64, within gamma(k + 2)
 * sum|w||x|. */
#ifndef DEFT_TESTS_UNIT_DENSE_SAMPLES_H
#define DEFT_TESTS_UNIT_DENSE_SAMPLES_H

#include "tests/support.h"

#include <math.h>
#include <string.h>

#include "base/core/cpu.h"
#include "base/core/rng.h"
#include "codegen/kernel/activation.h"
#include "codegen/kernel/linear.h"

enum { MAX_IN = 4 };

/* One application of an operator on random tensors, beside the same in float64. */
typedef struct sample {
    deft_context *ctx;
    deft_attr attr_items[8];
    deft_attrs attrs;
    deft_op op;
    int in_count;
    deft_tensor in[MAX_IN], in64[MAX_IN], in_abs[MAX_IN];
    deft_tensor out, out64, out_abs;
    bool constant[MAX_IN], in_rows[MAX_IN]; /* in rows, whatever in_layout says */
    deft_activation activation;
    deft_function function; /* of alpha 0.25 or, of Swish, 1.25 */
    deft_layout in_layout, out_layout;
    bool residual, not_finite; /* the last input is a residual; inputs are NaN or infinite: a run may allocate */
    int64_t terms;             /* products summed for an element */
    bool winograd;             /* whose bound is another */
} sample;

static inline sample new_sample(deft_op op) {
    return (sample){.ctx = test_context(), .op = op, .activation = deft_activation_none};
}

static inline void add_int(sample *s, const char *name, int64_t value) {
    s->attr_items[s->attrs.count++] = (deft_attr){.name = name, .type = DEFT_ATTR_INT, .i = value};
}

static inline void add_float(sample *s, const char *name, float value) {
    s->attr_items[s->attrs.count++] = (deft_attr){.name = name, .type = DEFT_ATTR_FLOAT, .f = value};
}

static inline void add_ints(sample *s, const char *name, const int64_t *values, int count) {
    s->attr_items[s->attrs.count++] = (deft_attr){.name = name, .type = DEFT_ATTR_INTS, .ints = values, .count = count};
}

static inline void add_input(sample *s, bool constant, int rank, const int64_t *dims) {
    int i = s->in_count++;
    deft_rng rng;
    deft_rng_init(&rng, 7, (uint64_t)i);
    s->constant[i] = constant;
    s->in[i] = (deft_tensor){.dtype = DEFT_F32, .rank = rank};
    if (rank) memcpy(s->in[i].dims, dims, sizeof *dims * (size_t)rank);
    s->in64[i] = s->in_abs[i] = s->in[i];
    s->in64[i].dtype = s->in_abs[i].dtype = DEFT_F64;
    assert_int_equal(deft_tensor_allocate(s->ctx, &s->in[i]), DEFT_OK);
    assert_int_equal(deft_tensor_allocate(s->ctx, &s->in64[i]), DEFT_OK);
    assert_int_equal(deft_tensor_allocate(s->ctx, &s->in_abs[i]), DEFT_OK);
    for (int64_t j = 0; j < deft_tensor_count(&s->in[i]); j++) {
        float value = deft_rng_normal(&rng);
        ((float *)s->in[i].data)[j] = value;
        ((double *)s->in64[i].data)[j] = value;
        ((double *)s->in_abs[i].data)[j] = fabs((double)value);
    }
}

static inline deft_op_call call_of(sample *s, const deft_tensor **in_pointers, const deft_tensor *in,
                                   deft_tensor **out) {
    s->attrs.items = s->attr_items;
    for (int i = 0; i < s->in_count; i++)
        in_pointers[i] = &in[i];
    return (deft_op_call){.ctx = s->ctx,
                          .name = "sample",
                          .op = s->op,
                          .attrs = &s->attrs,
                          .opset = 13,
                          .in_count = s->in_count - s->residual,
                          .out_count = 1,
                          .in = in_pointers,
                          .out = out,
                          .threads = 2};
}

/* Scalars of the product only make the bound larger where they are positive. */
static inline void make_scalars_positive(sample *s) {
    for (int i = 0; i < s->attrs.count; i++)
        s->attr_items[i].f = fabsf(s->attr_items[i].f);
}

static inline void forward(sample *s, const deft_tensor *in, deft_dtype dtype, deft_tensor *out) {
    const deft_tensor *in_pointers[MAX_IN];
    deft_op_call call = call_of(s, in_pointers, in, &out);
    *out = (deft_tensor){0};
    assert_int_equal(deft_ops[s->op].shape(&call), DEFT_OK);
    assert_int_equal(out->dtype, dtype);
    assert_int_equal(deft_tensor_allocate(s->ctx, out), DEFT_OK);
    if (dtype != DEFT_F64) return;
    assert_int_equal(deft_ops[s->op].forward(&call), DEFT_OK);
    for (int64_t i = 0; s->residual && i < deft_tensor_count(out); i++)
        ((double *)out->data)[i] += ((const double *)in[s->in_count - 1].data)[i];
}

static inline void compute_oracle(sample *s) {
    float scalars[8];
    forward(s, s->in, DEFT_F32, &s->out);
    forward(s, s->in64, DEFT_F64, &s->out64);
    for (int i = 0; i < s->attrs.count; i++)
        scalars[i] = s->attr_items[i].f;
    make_scalars_positive(s);
    forward(s, s->in_abs, DEFT_F64, &s->out_abs);
    for (int i = 0; i < s->attrs.count; i++)
        s->attr_items[i].f = scalars[i];
}

static inline void free_sample(sample *s) {
    for (int i = 0; i < s->in_count; i++) {
        deft_release(s->ctx, s->in[i].data);
        deft_release(s->ctx, s->in64[i].data);
        deft_release(s->ctx, s->in_abs[i].data);
    }
    deft_release(s->ctx, s->out.data);
    deft_release(s->ctx, s->out64.data);
    deft_release(s->ctx, s->out_abs.data);
    test_context_free(s->ctx);
}

static inline double gamma_of(int64_t n) {
    double nu = (double)n * 0x1p-24;
    return nu / (1 - nu);
}

static inline float alpha_of(deft_function function) {
    return function == DEFT_FUNCTION_SWISH ? 1.25f : 0.25f;
}

static inline double apply(deft_function function, double x) {
    switch (function) {
    case DEFT_FUNCTION_LEAKY_RELU:
        return x < 0 ? 0.25 * x : x;
    case DEFT_FUNCTION_SWISH:
        return x / (1 + exp(-1.25 * x));
    case DEFT_FUNCTION_HARD_SWISH:
        return x * fmin(fmax(x / 6 + 0.5, 0), 1);
    default:
        return x;
    }
}

/* The slopes of the functions are at most 1.5, and they are computed to within 16 units of x. */
static inline double function_error(const sample *s, double x, double bound) {
    return s->function ? 1.5 * bound + 16 * 0x1p-24 * fabs(x) : bound;
}

/* The largest of row `row` of a matrix whose elements are not negative. */
static inline double largest_of(const double *matrix, int64_t row, int64_t width) {
    double largest = 0;
    for (int64_t i = row * width; i < (row + 1) * width; i++)
        largest = fmax(largest, matrix[i]);
    return largest;
}

enum { WINOGRAD_GROWTH = 564, WINOGRAD_ROUNDINGS = 40 }; /* kernel/dense_conv.c derives them */

/* Of a filter and a picture: the sum over channels of the largest weight times the largest pixel. */
static inline double largest_products(const sample *s, int64_t image, int64_t filter) {
    const int64_t *x = s->in[0].dims;
    double sum = 0;
    for (int64_t c = 0; c < x[1]; c++)
        sum += largest_of(s->in_abs[1].data, filter * x[1] + c, 9) *
               largest_of(s->in_abs[0].data, image * x[1] + c, x[2] * x[3]);
    return sum;
}

/* The error that each element of the output may have. */
static inline void find_bounds(const sample *s, double *bounds) {
    const int64_t *y = s->out.dims, plane = s->winograd ? y[2] * y[3] : 1, channels = s->in[0].dims[1];
    const double *y_abs = s->out_abs.data;
    double products = 0;
    for (int64_t i = 0; i < deft_tensor_count(&s->out); i++) {
        if (s->winograd && i % plane == 0) products = largest_products(s, i / plane / y[1], i / plane % y[1]);
        /* y_abs: the bias and the residual are of it */
        bounds[i] = s->winograd ? gamma_of(channels + WINOGRAD_ROUNDINGS) * (WINOGRAD_GROWTH * products + y_abs[i])
                                : gamma_of(s->terms + 2) * y_abs[i];
    }
}

static inline int count_wrong(const sample *s) {
    int wrong = 0;
    const float *y = s->out.data;
    const double *y64 = s->out64.data;
    double *bounds = malloc((size_t)deft_tensor_count(&s->out) * sizeof *bounds);
    find_bounds(s, bounds);
    for (int64_t i = 0; i < deft_tensor_count(&s->out); i++) {
        double expected = apply(s->function, fmin(fmax(y64[i], s->activation.low), s->activation.high));
        if (!(fabs(y[i] - expected) <= function_error(s, y64[i], bounds[i]))) wrong++;
    }
    free(bounds);
    return wrong;
}

static inline deft_request request_of(sample *s, const deft_tensor **in_pointers, deft_tensor *in, deft_tensor **out) {
    for (int i = 0; i < s->in_count; i++) {
        in[i] = s->in[i];
        if (!s->constant[i]) in[i].data = NULL;
    }
    return (deft_request){.call = call_of(s, in_pointers, in, out),
                          .residual = s->residual ? &in[s->in_count - 1] : NULL,
                          .activation = s->activation,
                          .function = s->function,
                          .alpha = alpha_of(s->function),
                          .in_layout = s->in_layout,
                          .in_rows = s->op == DEFT_OP_CONV_WEIGHT_GRAD ? s->in_rows[0] | s->in_rows[1] << 1 : 0,
                          .out_layout = s->out_layout,
                          .isa = s->ctx->isa};
}

/* Where the element of a picture in ROWS lies in BLOCKS. */
static inline int64_t block_index(const deft_tensor *t, int64_t i, int lanes) {
    int64_t pixels = t->dims[2] * t->dims[3], c = i / pixels % t->dims[1], n = i / pixels / t->dims[1];
    int64_t blocks = (t->dims[1] + lanes - 1) / lanes;
    return ((n * blocks + c / lanes) * pixels + i % pixels) * lanes + c % lanes;
}

/* The tensor in another layout, in memory of its own; the lanes past the channels are 0. */
static inline deft_tensor laid_out(sample *s, const deft_tensor *from, deft_layout layout) {
    deft_tensor to = *from;
    size_t bytes = deft_layout_bytes(from, layout, s->ctx->isa);
    int lanes = deft_block_lanes(s->ctx->isa);
    assert_int_equal(deft_allocate_zeroed(s->ctx, 1, bytes, &to.data), DEFT_OK);
    for (int64_t i = 0; i < deft_tensor_count(from); i++) {
        int64_t at = layout == DEFT_LAYOUT_BLOCKS ? block_index(from, i, lanes) : i;
        ((float *)to.data)[at] = ((const float *)from->data)[i];
    }
    return to;
}

/* And back into rows; counts the lanes past the channels that are not 0. */
static inline int collect(sample *s, const deft_tensor *from, deft_tensor *to) {
    int lanes = deft_block_lanes(s->ctx->isa), wrong = 0;
    const float *values = from->data;
    size_t count = deft_layout_bytes(from, s->out_layout, s->ctx->isa) / sizeof(float);
    for (size_t i = 0; i < count; i++)
        wrong += values[i] != 0;
    for (int64_t i = 0; i < deft_tensor_count(to); i++) {
        float value = values[s->out_layout == DEFT_LAYOUT_BLOCKS ? block_index(to, i, lanes) : i];
        ((float *)to->data)[i] = value;
        wrong -= value != 0;
    }
    return wrong;
}

/* Nothing may read a weight that its kernel has packed: it is made NaN, and kept in `saved` meanwhile. */
static const deft_tensor *hide_weight(const sample *s, const deft_request *request, const deft_kernel *kernel,
                                      deft_tensor *saved) {
    if (!kernel->packed) return NULL;
    const deft_tensor *weight = &s->in[deft_linear_weight(&request->call)];
    size_t bytes = deft_tensor_bytes(weight);
    *saved = *weight;
    assert_int_equal(deft_allocate(s->ctx, bytes, &saved->data), DEFT_OK);
    memcpy(saved->data, weight->data, bytes);
    memset(weight->data, 0xff, bytes);
    return weight;
}

static inline void show_weight(const sample *s, const deft_tensor *hidden, const deft_tensor *saved) {
    if (!hidden) return;
    memcpy(hidden->data, saved->data, deft_tensor_bytes(saved));
    deft_release(s->ctx, saved->data);
}

/* Runs one kernel over the sample; false where it does not accept it. */
static inline bool run_kernel(sample *s, deft_kernel_id id) {
    const deft_tensor *in_pointers[MAX_IN];
    deft_tensor in[MAX_IN], *out = &s->out;
    deft_request request = request_of(s, in_pointers, in, &out);
    const char *why = NULL;
    if (!deft_kernels[id].accepts(&request, &why)) {
        assert_non_null(why);
        return false;
    }
    deft_kernel kernel;
    void *scratch;
    assert_int_equal(deft_kernel_prepare(s->ctx, id, &request, &kernel), DEFT_OK);
    assert_true(isfinite(deft_kernels[id].estimate_ns(&request)));
    assert_int_equal(deft_allocate(s->ctx, kernel.scratch_bytes, &scratch), DEFT_OK);
    const deft_tensor *run_in[MAX_IN];
    deft_tensor moved[MAX_IN], y = laid_out(s, &s->out, s->out_layout), *run_out = &y;
    for (int i = 0; i < s->in_count; i++) {
        bool residual = s->residual && i == s->in_count - 1;
        bool rows = s->constant[i] || s->in_rows[i];
        deft_layout layout = rows ? DEFT_LAYOUT_ROWS : residual ? s->out_layout : s->in_layout;
        moved[i] = laid_out(s, &s->in[i], layout);
        run_in[i] = s->constant[i] ? &s->in[i] : &moved[i];
    }
    deft_tensor saved;
    const deft_tensor *hidden = hide_weight(s, &request, &kernel, &saved);
    for (int run = 0; run < 2; run++) { /* nothing is left behind by the first run */
        memset(y.data, 0xff, deft_layout_bytes(&s->out, s->out_layout, s->ctx->isa));
        memset(scratch, 0xff, kernel.scratch_bytes);
        long long before = atomic_load(&s->ctx->allocation_count);
        assert_int_equal(kernel.def->run(s->ctx, &kernel, run_in, &run_out, scratch), DEFT_OK);
        if (!s->not_finite) assert_int_equal(atomic_load(&s->ctx->allocation_count), before);
    }
    show_weight(s, hidden, &saved);
    assert_int_equal(collect(s, &y, &s->out), 0);
    for (int i = 0; i < s->in_count; i++)
        deft_release(s->ctx, moved[i].data);
    deft_release(s->ctx, y.data);
    deft_release(s->ctx, scratch);
    deft_kernel_done(s->ctx, &kernel);
    return true;
}

/* NaN and infinities come through as the operator defines, fused Relu or not: Relu keeps NaN. */
static inline void check_not_finite(sample *s, deft_kernel_id id) {
    s->not_finite = true;
    s->activation = (deft_activation){0, INFINITY};
    compute_oracle(s);
    ((float *)s->in[0].data)[1] = NAN;
    ((double *)s->in64[0].data)[1] = NAN;
    ((float *)s->in[0].data)[30] = -INFINITY;
    ((double *)s->in64[0].data)[30] = -INFINITY;
    deft_release(s->ctx, s->out64.data);
    forward(s, s->in64, DEFT_F64, &s->out64);
    assert_true(run_kernel(s, id));
    int nans = 0;
    for (int64_t i = 0; i < deft_tensor_count(&s->out); i++) {
        double expected = ((double *)s->out64.data)[i];
        float y = ((float *)s->out.data)[i];
        nans += isnan(expected) != 0;
        if (isnan(expected)) assert_true(isnan(y));
        if (expected == INFINITY) assert_true(y == INFINITY);
        if (expected == -INFINITY) assert_true(y == 0);
    }
    assert_true(nans > 0);
    free_sample(s);
}

/* ---- convolutions ---- */

typedef struct conv_case {
    int64_t n, c, h, w, m, kh, kw, groups;
    int64_t strides[2], dilations[2], pads[4];
    bool one_d;
} conv_case;

/* Spatial attributes of a case, the x part alone where there is one spatial dimension. */
static inline void add_conv_attrs(sample *s, const conv_case *c, int64_t *pads) {
    int spatial = c->one_d ? 1 : 2, first = 2 - spatial;
    memcpy(pads, c->pads, sizeof c->pads);
    if (c->one_d) pads[0] = c->pads[1], pads[1] = c->pads[3];
    add_ints(s, "strides", c->strides + first, spatial);
    add_ints(s, "dilations", c->dilations + first, spatial);
    add_ints(s, "pads", pads, 2 * spatial);
    add_int(s, "group", c->groups);
}

static inline void add_picture(sample *s, const conv_case *c, bool constant) {
    add_input(s, constant, c->one_d ? 3 : 4,
              c->one_d ? (int64_t[]){c->n, c->c, c->w} : (int64_t[]){c->n, c->c, c->h, c->w});
}

static inline void add_filters(sample *s, const conv_case *c, bool constant) {
    int64_t in_group = c->c / c->groups;
    add_input(s, constant, c->one_d ? 3 : 4,
              c->one_d ? (int64_t[]){c->m, in_group, c->kw} : (int64_t[]){c->m, in_group, c->kh, c->kw});
}

static inline int64_t out_size(int64_t in, int64_t begin, int64_t end, int64_t kernel, int64_t dilation,
                               int64_t stride) {
    return (in + begin + end - (kernel - 1) * dilation - 1) / stride + 1;
}

static inline void add_out_gradient(sample *s, const conv_case *c) {
    int64_t oh = out_size(c->h, c->pads[0], c->pads[2], c->kh, c->dilations[0], c->strides[0]);
    int64_t ow = out_size(c->w, c->pads[1], c->pads[3], c->kw, c->dilations[1], c->strides[1]);
    add_input(s, false, c->one_d ? 3 : 4, c->one_d ? (int64_t[]){c->n, c->m, ow} : (int64_t[]){c->n, c->m, oh, ow});
}

#endif
