/* The dense kernels against the operators' own forwards in float64, within gamma(k + 2) sum|w||x|. */
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
    bool constant[MAX_IN];
    deft_activation activation;
    deft_function function; /* of alpha 0.25 or, of Swish, 1.25 */
    deft_layout in_layout, out_layout;
    bool residual, not_finite; /* the last input is a residual; inputs are NaN or infinite: a run may allocate */
    int64_t terms;             /* products summed for an element */
    bool winograd;             /* whose bound is another */
} sample;

static sample new_sample(deft_op op) {
    return (sample){.ctx = test_context(), .op = op, .activation = deft_activation_none};
}

static void add_int(sample *s, const char *name, int64_t value) {
    s->attr_items[s->attrs.count++] = (deft_attr){.name = name, .type = DEFT_ATTR_INT, .i = value};
}

static void add_float(sample *s, const char *name, float value) {
    s->attr_items[s->attrs.count++] = (deft_attr){.name = name, .type = DEFT_ATTR_FLOAT, .f = value};
}

static void add_ints(sample *s, const char *name, const int64_t *values, int count) {
    s->attr_items[s->attrs.count++] = (deft_attr){.name = name, .type = DEFT_ATTR_INTS, .ints = values, .count = count};
}

static void add_input(sample *s, bool constant, int rank, const int64_t *dims) {
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

static deft_op_call call_of(sample *s, const deft_tensor **in_pointers, const deft_tensor *in, deft_tensor **out) {
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
static void make_scalars_positive(sample *s) {
    for (int i = 0; i < s->attrs.count; i++)
        s->attr_items[i].f = fabsf(s->attr_items[i].f);
}

static void forward(sample *s, const deft_tensor *in, deft_dtype dtype, deft_tensor *out) {
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

static void compute_oracle(sample *s) {
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

static void free_sample(sample *s) {
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

static double gamma_of(int64_t n) {
    double nu = (double)n * 0x1p-24;
    return nu / (1 - nu);
}

static float alpha_of(deft_function function) {
    return function == DEFT_FUNCTION_SWISH ? 1.25f : 0.25f;
}

static double apply(deft_function function, double x) {
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
static double function_error(const sample *s, double x, double bound) {
    return s->function ? 1.5 * bound + 16 * 0x1p-24 * fabs(x) : bound;
}

/* The largest of row `row` of a matrix whose elements are not negative. */
static double largest_of(const double *matrix, int64_t row, int64_t width) {
    double largest = 0;
    for (int64_t i = row * width; i < (row + 1) * width; i++)
        largest = fmax(largest, matrix[i]);
    return largest;
}

enum { WINOGRAD_GROWTH = 564, WINOGRAD_ROUNDINGS = 40 }; /* kernel/dense_conv.c derives them */

/* Of a filter and a picture: the sum over channels of the largest weight times the largest pixel. */
static double largest_products(const sample *s, int64_t image, int64_t filter) {
    const int64_t *x = s->in[0].dims;
    double sum = 0;
    for (int64_t c = 0; c < x[1]; c++)
        sum += largest_of(s->in_abs[1].data, filter * x[1] + c, 9) *
               largest_of(s->in_abs[0].data, image * x[1] + c, x[2] * x[3]);
    return sum;
}

/* The error that each element of the output may have. */
static void find_bounds(const sample *s, double *bounds) {
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

static int count_wrong(const sample *s) {
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

static deft_request request_of(sample *s, const deft_tensor **in_pointers, deft_tensor *in, deft_tensor **out) {
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
                          .out_layout = s->out_layout,
                          .isa = s->ctx->isa};
}

/* Where the element of a picture in ROWS lies in BLOCKS. */
static int64_t block_index(const deft_tensor *t, int64_t i, int lanes) {
    int64_t pixels = t->dims[2] * t->dims[3], c = i / pixels % t->dims[1], n = i / pixels / t->dims[1];
    int64_t blocks = (t->dims[1] + lanes - 1) / lanes;
    return ((n * blocks + c / lanes) * pixels + i % pixels) * lanes + c % lanes;
}

/* The tensor in another layout, in memory of its own; the lanes past the channels are 0. */
static deft_tensor laid_out(sample *s, const deft_tensor *from, deft_layout layout) {
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
static int collect(sample *s, const deft_tensor *from, deft_tensor *to) {
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

static void show_weight(const sample *s, const deft_tensor *hidden, const deft_tensor *saved) {
    if (!hidden) return;
    memcpy(hidden->data, saved->data, deft_tensor_bytes(saved));
    deft_release(s->ctx, saved->data);
}

/* Runs one kernel over the sample; false where it does not accept it. */
static bool run_kernel(sample *s, deft_kernel_id id) {
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
        deft_layout layout = s->constant[i] ? DEFT_LAYOUT_ROWS : residual ? s->out_layout : s->in_layout;
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

/* Checks every dense kernel that accepts the sample, in all activations and functions; returns how many there were. */
static int check_all(sample *s) {
    static const deft_activation activations[] = {{-INFINITY, INFINITY}, {0, INFINITY}, {-0.5f, 1.5f}};
    const bool activated = s->op == DEFT_OP_GEMM || s->op == DEFT_OP_MATMUL || s->op == DEFT_OP_CONV_TRANSPOSE;
    const int ways = s->op == DEFT_OP_CONV ? 6 : activated ? 3 : 1;
    int ran = 0;
    compute_oracle(s);
    for (int id = DEFT_KERNEL_DENSE_MATMUL; id <= DEFT_KERNEL_DENSE_POOL; id++)
        for (int a = 0; a < ways; a++) {
            s->activation = activations[a < 3 ? a : 0];
            s->function = a < 3 ? DEFT_FUNCTION_NONE : (deft_function)(a - 2);
            s->winograd = id == DEFT_KERNEL_DENSE_WINOGRAD;
            if (!run_kernel(s, (deft_kernel_id)id)) continue;
            assert_int_equal(count_wrong(s), 0);
            ran += a == 0;
        }
    free_sample(s);
    return ran;
}

/* ---- matrix products ----------------------------------------------------------------------------------------- */

/* Which operand is constant. */
enum { NONE, RIGHT, LEFT };

static int check_gemm(int64_t m, int64_t k, int64_t n, int transposes, int constant, int bias) {
    static const float alphas[] = {1, -0.5f}, betas[] = {1, 2};
    sample s = new_sample(DEFT_OP_GEMM);
    bool ta = transposes & 1, tb = transposes & 2;
    add_int(&s, "transA", ta);
    add_int(&s, "transB", tb);
    add_float(&s, "alpha", alphas[bias % 2]);
    add_float(&s, "beta", betas[bias % 2]);
    add_input(&s, constant == LEFT, 2, ta ? (int64_t[]){k, m} : (int64_t[]){m, k});
    add_input(&s, constant == RIGHT, 2, tb ? (int64_t[]){n, k} : (int64_t[]){k, n});
    if (bias == 1) add_input(&s, constant, 1, (int64_t[]){n});
    if (bias == 2) add_input(&s, false, 2, (int64_t[]){m, 1});
    if (bias == 3) add_input(&s, constant, 2, (int64_t[]){m, n});
    if (bias == 4) add_input(&s, constant, 0, NULL);
    if (bias == 5) add_input(&s, constant, 2, (int64_t[]){1, n});
    s.terms = k;
    return check_all(&s);
}

static void test_gemm(void **state) {
    (void)state;
    static const int64_t sizes[][3] = {{1, 1, 1}, {1, 7, 5}, {3, 2, 1}, {33, 100, 10}, {64, 30, 17}, {17, 300, 100}};
    int ran[3] = {0};
    for (int i = 0; i < 6; i++)
        for (int transposes = 0; transposes < 4; transposes++)
            for (int bias = 0; bias < 6; bias++)
                for (int constant = NONE; constant <= LEFT; constant++)
                    ran[constant] += check_gemm(sizes[i][0], sizes[i][1], sizes[i][2], transposes, constant, bias);
    assert_int_equal(ran[NONE], 6 * 24);
    assert_true(ran[RIGHT] > 6 * 24 && ran[LEFT] > 6 * 24); /* the packed kernel took its share */
}

static void check_matmul(int a_rank, const int64_t *a, int b_rank, const int64_t *b, int constant) {
    sample s = new_sample(DEFT_OP_MATMUL);
    add_input(&s, constant == LEFT, a_rank, a);
    add_input(&s, constant == RIGHT, b_rank, b);
    s.terms = a[a_rank - 1];
    assert_in_range(check_all(&s), 1, 2);
}

#define DIMS(...)                                                                                                      \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]) {                                           \
        __VA_ARGS__                                                                                                    \
    }

static void test_matmul_broadcasts(void **state) {
    (void)state;
    for (int constant = NONE; constant <= LEFT; constant++) {
        check_matmul(DIMS(5, 7), DIMS(7, 3), constant);
        check_matmul(DIMS(7), DIMS(7, 3), constant);
        check_matmul(DIMS(5, 7), DIMS(7), constant);
        check_matmul(DIMS(7), DIMS(7), constant);
        check_matmul(DIMS(2, 5, 7), DIMS(7, 3), constant);
        check_matmul(DIMS(2, 5, 7), DIMS(7), constant);
        check_matmul(DIMS(7), DIMS(4, 7, 3), constant);
        check_matmul(DIMS(4, 5, 7), DIMS(4, 7, 3), constant);
        check_matmul(DIMS(2, 1, 5, 7), DIMS(4, 7, 3), constant);
        check_matmul(DIMS(2, 4, 5, 7), DIMS(2, 1, 7, 3), constant);
    }
}

/* ---- convolutions -------------------------------------------------------------------------------------------- */

typedef struct conv_case {
    int64_t n, c, h, w, m, kh, kw, groups;
    int64_t strides[2], dilations[2], pads[4];
    bool one_d;
} conv_case;

static const conv_case conv_cases[] = {
    {1, 1, 28, 28, 20, 5, 5, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, false},
    {3, 20, 12, 12, 50, 5, 5, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, false},
    {2, 16, 14, 14, 32, 3, 3, 1, {1, 1}, {1, 1}, {1, 1, 1, 1}, false},
    {2, 5, 9, 11, 7, 3, 2, 1, {2, 1}, {1, 2}, {0, 1, 2, 0}, false},
    {1, 8, 10, 10, 8, 3, 3, 8, {1, 1}, {1, 1}, {1, 1, 1, 1}, false},
    {2, 6, 7, 8, 9, 3, 3, 3, {2, 2}, {1, 1}, {1, 0, 1, 0}, false},
    {2, 32, 8, 8, 16, 1, 1, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, false},
    {4, 3, 1, 30, 8, 1, 5, 1, {1, 2}, {1, 1}, {0, 2, 0, 2}, true},
    {1, 1, 1, 700, 1, 1, 64, 1, {1, 2}, {1, 1}, {0, 0, 0, 0}, true},
    {1, 8, 20, 20, 1, 3, 3, 1, {1, 1}, {1, 1}, {1, 1, 1, 1}, false},
};
enum { CONV_CASES = sizeof conv_cases / sizeof *conv_cases };

/* Spatial attributes of a case, the x part alone where there is one spatial dimension. */
static void add_conv_attrs(sample *s, const conv_case *c, int64_t *pads) {
    int spatial = c->one_d ? 1 : 2, first = 2 - spatial;
    memcpy(pads, c->pads, sizeof c->pads);
    if (c->one_d) pads[0] = c->pads[1], pads[1] = c->pads[3];
    add_ints(s, "strides", c->strides + first, spatial);
    add_ints(s, "dilations", c->dilations + first, spatial);
    add_ints(s, "pads", pads, 2 * spatial);
    add_int(s, "group", c->groups);
}

static void add_picture(sample *s, const conv_case *c, bool constant) {
    add_input(s, constant, c->one_d ? 3 : 4,
              c->one_d ? (int64_t[]){c->n, c->c, c->w} : (int64_t[]){c->n, c->c, c->h, c->w});
}

static void add_filters(sample *s, const conv_case *c, bool constant) {
    int64_t in_group = c->c / c->groups;
    add_input(s, constant, c->one_d ? 3 : 4,
              c->one_d ? (int64_t[]){c->m, in_group, c->kw} : (int64_t[]){c->m, in_group, c->kh, c->kw});
}

static int64_t out_size(int64_t in, int64_t begin, int64_t end, int64_t kernel, int64_t dilation, int64_t stride) {
    return (in + begin + end - (kernel - 1) * dilation - 1) / stride + 1;
}

static void add_out_gradient(sample *s, const conv_case *c) {
    int64_t oh = out_size(c->h, c->pads[0], c->pads[2], c->kh, c->dilations[0], c->strides[0]);
    int64_t ow = out_size(c->w, c->pads[1], c->pads[3], c->kw, c->dilations[1], c->strides[1]);
    add_input(s, false, c->one_d ? 3 : 4, c->one_d ? (int64_t[]){c->n, c->m, ow} : (int64_t[]){c->n, c->m, oh, ow});
}

static void test_conv(void **state) {
    (void)state;
    int total = 0;
    for (int i = 0; i < CONV_CASES; i++)
        for (int constant = 0; constant < 2; constant++)
            for (int bias = 0; bias < 2; bias++) {
                const conv_case *c = &conv_cases[i];
                int64_t pads[4];
                sample s = new_sample(DEFT_OP_CONV);
                add_conv_attrs(&s, c, pads);
                add_picture(&s, c, false);
                add_filters(&s, c, constant);
                if (bias) add_input(&s, constant, 1, (int64_t[]){c->m});
                s.terms = c->c / c->groups * c->kh * c->kw;
                int ran = check_all(&s);
                assert_in_range(ran, 1, 3);
                total += ran;
            }
    assert_true(total > CONV_CASES * 4); /* more than one of the kernels took part */
}

static void test_conv_gradients(void **state) {
    (void)state;
    for (int i = 0; i < CONV_CASES; i++) {
        const conv_case *c = &conv_cases[i];
        int64_t pads[4];
        sample s = new_sample(DEFT_OP_CONV_INPUT_GRAD);
        add_conv_attrs(&s, c, pads);
        add_out_gradient(&s, c);
        add_filters(&s, c, false);
        add_picture(&s, c, false);
        s.terms = c->m / c->groups * c->kh * c->kw;
        assert_int_equal(check_all(&s), 1);

        s = new_sample(DEFT_OP_CONV_WEIGHT_GRAD);
        add_conv_attrs(&s, c, pads);
        add_out_gradient(&s, c);
        add_picture(&s, c, false);
        add_filters(&s, c, false);
        s.terms = c->n * c->h * c->w;
        assert_int_equal(check_all(&s), 1);
    }
}

static void test_conv_transpose(void **state) {
    (void)state;
    for (int i = 0; i < CONV_CASES; i++)
        for (int bias = 0; bias < 2; bias++) {
            const conv_case *c = &conv_cases[i];
            int64_t pads[4];
            sample s = new_sample(DEFT_OP_CONV_TRANSPOSE);
            add_conv_attrs(&s, c, pads);
            add_out_gradient(&s, c);
            add_filters(&s, c, bias);
            if (bias) add_input(&s, true, 1, (int64_t[]){c->c});
            s.terms = c->m / c->groups * c->kh * c->kw;
            assert_int_equal(check_all(&s), 1);
        }
}

/* ---- pooling ------------------------------------------------------------------------------------------------- */

static int check_pool(deft_op op, const conv_case *c, bool ceil_mode, bool include_pad) {
    int64_t pads[4], kernel[2] = {c->kh, c->kw};
    sample s = new_sample(op);
    if (c->one_d) kernel[0] = c->kw;
    memcpy(pads, c->pads, sizeof c->pads);
    if (c->one_d) pads[0] = c->pads[1], pads[1] = c->pads[3];
    add_ints(&s, "kernel_shape", kernel, c->one_d ? 1 : 2);
    add_ints(&s, "strides", c->strides + c->one_d, c->one_d ? 1 : 2);
    add_ints(&s, "pads", pads, c->one_d ? 2 : 4);
    add_int(&s, "ceil_mode", ceil_mode);
    add_int(&s, "count_include_pad", include_pad);
    add_picture(&s, c, false);
    s.terms = op == DEFT_OP_MAX_POOL ? 0 : c->kh * c->kw;
    return check_all(&s);
}

static void test_pool(void **state) {
    (void)state;
    static const conv_case cases[] = {
        {2, 20, 24, 24, 0, 2, 2, 1, {2, 2}, {1, 1}, {0, 0, 0, 0}, false},
        {3, 5, 9, 7, 0, 3, 2, 1, {1, 2}, {1, 1}, {1, 0, 0, 1}, false},
        {1, 16, 10, 10, 0, 3, 3, 1, {2, 2}, {1, 1}, {1, 1, 1, 1}, false},
        {2, 3, 1, 17, 0, 1, 4, 1, {1, 3}, {1, 1}, {0, 1, 0, 1}, true},
    };
    int ran = 0, tried = 0;
    for (int i = 0; i < 4; i++)
        for (int ceil_mode = 0; ceil_mode < 2; ceil_mode++) {
            ran += check_pool(DEFT_OP_MAX_POOL, &cases[i], ceil_mode, false);
            ran += check_pool(DEFT_OP_AVERAGE_POOL, &cases[i], ceil_mode, false);
            ran += check_pool(DEFT_OP_AVERAGE_POOL, &cases[i], ceil_mode, true);
            tried += 3;
        }
    if (!deft_cpu_has(DEFT_ISA_AVX512)) skip(); /* oneDNN has no fast row-major pooling for less */
    assert_true(ran > tried / 2);               /* means over padding of windows that hang over are refused */
}

/* ---- blocks -------------------------------------------------------------------------------------------------- */

/* Runs every dense kernel that accepts the sample between blocks, into them and out of them; returns how many did. */
static int check_layouts(sample *s) {
    static const deft_layout layouts[][2] = {{DEFT_LAYOUT_BLOCKS, DEFT_LAYOUT_BLOCKS},
                                             {DEFT_LAYOUT_ROWS, DEFT_LAYOUT_BLOCKS},
                                             {DEFT_LAYOUT_BLOCKS, DEFT_LAYOUT_ROWS},
                                             {DEFT_LAYOUT_ROWS, DEFT_LAYOUT_ROWS}};
    static const deft_isa isas[] = {DEFT_ISA_AVX512, DEFT_ISA_AVX2};
    int ran = 0;
    compute_oracle(s);
    for (int i = 0; i < 2; i++)
        for (int id = DEFT_KERNEL_DENSE_CONV; id <= DEFT_KERNEL_VECTOR_WINOGRAD; id++)
            for (int l = 0; l < 4 && (id <= DEFT_KERNEL_DENSE_POOL || id == DEFT_KERNEL_VECTOR_WINOGRAD); l++)
                for (int way = 0; way < (s->op == DEFT_OP_CONV ? 3 : 1); way++) {
                    s->ctx->isa = isas[i];
                    s->in_layout = layouts[l][0];
                    s->out_layout = layouts[l][1];
                    s->activation = way == 1 ? (deft_activation){0, 6} : deft_activation_none;
                    s->function = way == 2 ? DEFT_FUNCTION_SWISH : DEFT_FUNCTION_NONE;
                    s->winograd = id == DEFT_KERNEL_DENSE_WINOGRAD || id == DEFT_KERNEL_VECTOR_WINOGRAD;
                    if (!deft_cpu_has(isas[i]) || !run_kernel(s, (deft_kernel_id)id)) continue;
                    assert_int_equal(count_wrong(s), 0);
                    ran++;
                }
    free_sample(s);
    return ran;
}

static const conv_case block_cases[] = {
    {2, 16, 5, 7, 48, 3, 3, 1, {1, 1}, {1, 1}, {1, 0, 0, 2}, false},
    {1, 48, 33, 26, 16, 3, 3, 1, {1, 1}, {1, 1}, {0, 1, 1, 1}, false},
    {1, 3, 20, 20, 24, 3, 3, 1, {2, 2}, {1, 1}, {1, 1, 1, 1}, false},
    {2, 24, 9, 7, 40, 1, 1, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, false},
    {1, 32, 15, 17, 48, 3, 3, 1, {1, 1}, {1, 1}, {1, 1, 1, 1}, false},
    {1, 20, 11, 11, 20, 3, 3, 20, {1, 1}, {1, 1}, {1, 1, 1, 1}, false},
    {1, 32, 8, 9, 64, 5, 5, 1, {2, 1}, {1, 1}, {2, 2, 2, 2}, false},
};

static void test_conv_in_blocks(void **state) {
    (void)state;
    if (!deft_cpu_has(DEFT_ISA_AVX512)) skip();
    for (int i = 0; i < (int)(sizeof block_cases / sizeof *block_cases); i++)
        for (int residual = 0; residual < 2; residual++) {
            const conv_case *c = &block_cases[i];
            int64_t pads[4];
            sample s = new_sample(DEFT_OP_CONV);
            add_conv_attrs(&s, c, pads);
            add_picture(&s, c, false);
            add_filters(&s, c, true);
            add_input(&s, true, 1, (int64_t[]){c->m});
            if (residual) add_out_gradient(&s, c);
            s.residual = residual;
            s.terms = c->c / c->groups * c->kh * c->kw + residual;
            assert_true(check_layouts(&s) >= 18); /* a kernel at the least, in three combinations, three ways, twice */
        }
}

static void test_pool_in_blocks(void **state) {
    (void)state;
    if (!deft_cpu_has(DEFT_ISA_AVX512)) skip();
    static const deft_op ops[] = {DEFT_OP_MAX_POOL, DEFT_OP_AVERAGE_POOL, DEFT_OP_GLOBAL_AVERAGE_POOL};
    static const int64_t three[] = {3, 3}, two[] = {2, 2}, pads[] = {1, 1, 1, 1};
    for (int i = 0; i < 3; i++) {
        sample s = new_sample(ops[i]);
        if (i < 2) add_ints(&s, "kernel_shape", three, 2);
        if (i < 2) add_ints(&s, "strides", two, 2);
        if (i < 2) add_ints(&s, "pads", pads, 4);
        add_input(&s, false, 4, (int64_t[]){2, 20, 11, 12});
        s.terms = i == 0 ? 0 : i == 1 ? 9 : 132;
        assert_true(check_layouts(&s) >= (i == 0 ? 3 : 5));
    }
}

/* NaN and infinities come through as the operator defines, fused Relu or not: Relu keeps NaN. */
static void check_not_finite(sample *s, deft_kernel_id id) {
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

/* ---- large pictures, long rows, and what oneDNN is asked ----------------------------------------------------- */

/* Winograd's weights of a large picture are transformed in every run, so the packed ones are the model's own. */
static sample large_picture(void) {
    static const int64_t pads[] = {1, 1, 1, 1};
    sample s = new_sample(DEFT_OP_CONV);
    add_ints(&s, "pads", pads, 4);
    add_input(&s, false, 4, (int64_t[]){1, 16, 128, 132});
    add_input(&s, true, 4, (int64_t[]){16, 16, 3, 3});
    s.terms = 16 * 9;
    s.in_layout = s.out_layout = DEFT_LAYOUT_BLOCKS;
    return s;
}

static void test_winograd_of_a_large_picture(void **state) {
    (void)state;
    if (!deft_cpu_has(DEFT_ISA_AVX512)) skip();
    sample s = large_picture();
    s.winograd = true;
    compute_oracle(&s);
    const deft_tensor *in_pointers[MAX_IN];
    deft_tensor in[MAX_IN], *out = &s.out;
    deft_request request = request_of(&s, in_pointers, in, &out);
    deft_kernel kernel;
    assert_int_equal(deft_kernel_prepare(s.ctx, DEFT_KERNEL_DENSE_WINOGRAD, &request, &kernel), DEFT_OK);
    assert_non_null(strstr(kernel.detail, "wino_4x3"));
    assert_true(kernel.packed);
    assert_int_equal(kernel.weight_bytes, deft_tensor_bytes(&s.in[1]));
    deft_kernel_done(s.ctx, &kernel);
    assert_true(run_kernel(&s, DEFT_KERNEL_DENSE_WINOGRAD));
    assert_int_equal(count_wrong(&s), 0);
    free_sample(&s);
    s = large_picture();
    check_not_finite(&s, DEFT_KERNEL_DENSE_WINOGRAD);
}

/* Prepared, run, and run again on what is not finite, for which another kernel is prepared. */
static deft_status run_winograd(deft_context *ctx, void *user) {
    const sample *s = user;
    sample own = *s;
    const deft_tensor *in_pointers[MAX_IN];
    deft_tensor in[MAX_IN], *out = &own.out;
    deft_request request = request_of(&own, in_pointers, in, &out);
    deft_kernel kernel;
    void *scratch = NULL;
    deft_status status;
    request.call.ctx = ctx;
    DEFT_TRY(deft_kernel_prepare(ctx, DEFT_KERNEL_VECTOR_WINOGRAD, &request, &kernel));
    DEFT_TRY_OR_FAIL(deft_allocate(ctx, kernel.scratch_bytes, &scratch));
    const deft_tensor *run_in[] = {&s->in[0], &s->in[1]};
    DEFT_TRY_OR_FAIL(kernel.def->run(ctx, &kernel, run_in, &out, scratch));
fail:
    deft_release(ctx, scratch);
    deft_kernel_done(ctx, &kernel);
    return status;
}

static void test_winograd_out_of_memory(void **state) {
    (void)state;
    if (!deft_cpu_has(DEFT_ISA_AVX512)) skip();
    sample s = new_sample(DEFT_OP_CONV);
    add_input(&s, false, 4, (int64_t[]){1, 16, 8, 8});
    add_input(&s, true, 4, (int64_t[]){16, 16, 3, 3});
    s.in_layout = s.out_layout = DEFT_LAYOUT_BLOCKS;
    compute_oracle(&s);
    ((float *)s.in[0].data)[5] = NAN; /* 16 channels in blocks of 16 are as large as in rows */
    check_every_allocation_failure(run_winograd, &s);
    free_sample(&s);
}

/* Which of them Winograd's own kernel computes. */
static void test_what_winograd_accepts(void **state) {
    (void)state;
    static const int64_t two[] = {2, 2};
    if (!deft_cpu_has(DEFT_ISA_AVX512)) skip();
    for (int way = 0; way < 6; way++) {
        sample s = new_sample(DEFT_OP_CONV);
        if (way == 1) add_ints(&s, "strides", two, 2);
        if (way == 2) add_ints(&s, "dilations", two, 2);
        add_input(&s, false, 4, (int64_t[]){1, way == 3 ? 20 : 32, 9, 9});
        add_input(&s, way != 4, 4, (int64_t[]){16, way == 3 ? 20 : 32, 3, 3});
        s.in_layout = s.out_layout = way == 5 ? DEFT_LAYOUT_ROWS : DEFT_LAYOUT_BLOCKS;
        s.winograd = true;
        compute_oracle(&s);
        assert_int_equal(run_kernel(&s, DEFT_KERNEL_VECTOR_WINOGRAD), way == 0);
        if (way == 0) assert_int_equal(count_wrong(&s), 0);
        free_sample(&s);
    }
}

/* The implementation that generates code for each length of a row is not taken where one is long. */
static void test_long_rows_take_little_code(void **state) {
    (void)state;
    sample s = new_sample(DEFT_OP_CONV);
    add_input(&s, false, 3, (int64_t[]){1, 1, 2000});
    add_input(&s, true, 3, (int64_t[]){1, 1, 64});
    compute_oracle(&s);
    const deft_tensor *in_pointers[MAX_IN];
    deft_tensor in[MAX_IN], *out = &s.out;
    deft_request request = request_of(&s, in_pointers, in, &out);
    deft_kernel kernel;
    assert_int_equal(deft_kernel_prepare(s.ctx, DEFT_KERNEL_DENSE_CONV, &request, &kernel), DEFT_OK);
    assert_null(strstr(kernel.detail, "brgconv"));
    assert_int_equal(kernel.scratch_bytes, 0); /* neither x nor y is reordered */
    deft_kernel_done(s.ctx, &kernel);
    free_sample(&s);
}

static deft_status ask_again(deft_context *ctx, void *user) {
    deft_request request = *(const deft_request *)user;
    deft_kernel kernels[2] = {{0}};
    const char *why;
    deft_status status;
    DEFT_TRY(deft_kernel_memo_new(ctx, &request.memo));
    for (int i = 0; i < 3; i++)
        assert_true(deft_kernels[DEFT_KERNEL_DENSE_CONV].accepts(&request, &why));
    assert_int_equal(deft_kernel_memo_searches(request.memo), 1);
    assert_false(deft_kernels[DEFT_KERNEL_DENSE_PACKED].accepts(&request, &why));
    assert_int_equal(deft_kernel_memo_searches(request.memo), 1); /* no question for oneDNN */
    DEFT_TRY_OR_FAIL(deft_kernel_prepare(ctx, DEFT_KERNEL_DENSE_CONV, &request, &kernels[0]));
    assert_int_equal(deft_kernel_memo_searches(request.memo), 1);
    DEFT_TRY_OR_FAIL(deft_kernel_prepare(ctx, DEFT_KERNEL_DENSE_CONV, &request, &kernels[1]));
    assert_int_equal(deft_kernel_memo_searches(request.memo), 2); /* the one that was found is the first kernel's */
    assert_true(deft_kernels[DEFT_KERNEL_DENSE_NCHW].accepts(&request, &why));
    assert_int_equal(deft_kernel_memo_searches(request.memo), 3);
fail:
    deft_kernel_memo_free(request.memo);
    for (int i = 0; i < 2; i++)
        deft_kernel_done(ctx, &kernels[i]);
    return status;
}

static void test_answers_are_remembered(void **state) {
    (void)state;
    sample s = new_sample(DEFT_OP_CONV);
    add_input(&s, false, 4, (int64_t[]){2, 16, 14, 14});
    add_input(&s, true, 4, (int64_t[]){32, 16, 3, 3});
    compute_oracle(&s);
    const deft_tensor *in_pointers[MAX_IN];
    deft_tensor in[MAX_IN], *out = &s.out;
    deft_request request = request_of(&s, in_pointers, in, &out);
    assert_int_equal(ask_again(s.ctx, &request), DEFT_OK);
    free_sample(&s);
}

/* Winograd's algorithm computes in blocks: the layouts outside are no other question. */
static void test_layouts_outside_are_no_question(void **state) {
    (void)state;
    if (!deft_cpu_has(DEFT_ISA_AVX512)) skip();
    static const int64_t pads[] = {1, 1, 1, 1};
    sample s = new_sample(DEFT_OP_CONV);
    add_ints(&s, "pads", pads, 4);
    add_input(&s, false, 4, (int64_t[]){1, 32, 14, 14});
    add_input(&s, true, 4, (int64_t[]){32, 32, 3, 3});
    compute_oracle(&s);
    const deft_tensor *in_pointers[MAX_IN];
    deft_tensor in[MAX_IN], *out = &s.out;
    deft_request request = request_of(&s, in_pointers, in, &out);
    const char *why;
    assert_int_equal(deft_kernel_memo_new(s.ctx, &request.memo), DEFT_OK);
    for (int i = 0; i < 4; i++) {
        request.in_layout = i % 2 ? DEFT_LAYOUT_BLOCKS : DEFT_LAYOUT_ROWS;
        request.out_layout = i / 2 ? DEFT_LAYOUT_BLOCKS : DEFT_LAYOUT_ROWS;
        assert_true(deft_kernels[DEFT_KERNEL_DENSE_WINOGRAD].accepts(&request, &why));
    }
    assert_int_equal(deft_kernel_memo_searches(request.memo), 1);
    deft_kernel_memo_free(request.memo);
    free_sample(&s);
}

/* ---- edges --------------------------------------------------------------------------------------------------- */

static void test_checker_sees_a_wrong_value(void **state) {
    (void)state;
    sample s = new_sample(DEFT_OP_MATMUL);
    add_input(&s, false, 2, (int64_t[]){4, 50});
    add_input(&s, false, 2, (int64_t[]){50, 3});
    s.terms = 50;
    compute_oracle(&s);
    assert_true(run_kernel(&s, DEFT_KERNEL_DENSE_MATMUL));
    assert_int_equal(count_wrong(&s), 0);
    float *y = s.out.data;
    y[5] += 4 * (float)(gamma_of(52) * ((double *)s.out_abs.data)[5]);
    assert_int_equal(count_wrong(&s), 1);
    y[6] = NAN;
    assert_int_equal(count_wrong(&s), 2);
    free_sample(&s);
}

static void test_not_finite_values_survive(void **state) {
    (void)state;
    const deft_kernel_id matmuls[] = {DEFT_KERNEL_DENSE_MATMUL, DEFT_KERNEL_DENSE_PACKED};
    for (int i = 0; i < 2; i++) {
        sample s = new_sample(DEFT_OP_MATMUL);
        add_input(&s, false, 2, (int64_t[]){8, 20});
        add_input(&s, true, 2, (int64_t[]){20, 16});
        check_not_finite(&s, matmuls[i]);
    }
    const deft_kernel_id convs[] = {DEFT_KERNEL_DENSE_CONV, DEFT_KERNEL_DENSE_NCHW};
    for (int i = 0; i < 2; i++) {
        sample s = new_sample(DEFT_OP_CONV);
        add_input(&s, false, 4, (int64_t[]){2, 3, 8, 8});
        add_input(&s, true, 4, (int64_t[]){16, 3, 3, 3});
        check_not_finite(&s, convs[i]);
    }
}

static void test_not_finite_values_survive_in_blocks(void **state) {
    (void)state;
    if (!deft_cpu_has(DEFT_ISA_AVX512)) skip();
    const deft_kernel_id kernels[] = {DEFT_KERNEL_DENSE_CONV, DEFT_KERNEL_DENSE_WINOGRAD};
    for (int i = 0; i < 2; i++) {
        sample s = new_sample(DEFT_OP_CONV);
        static const int64_t pads[] = {1, 1, 1, 1};
        add_ints(&s, "pads", pads, 4);
        add_input(&s, false, 4, (int64_t[]){1, 20, 8, 8});
        add_input(&s, true, 4, (int64_t[]){24, 20, 3, 3});
        s.in_layout = s.out_layout = DEFT_LAYOUT_BLOCKS;
        check_not_finite(&s, kernels[i]);
    }
    for (int infinite = 0; infinite < 2; infinite++) {
        sample s = new_sample(DEFT_OP_CONV);
        add_input(&s, false, 4, (int64_t[]){1, 32, 8, 8});
        add_input(&s, true, 4, (int64_t[]){16, 32, 3, 3});
        if (infinite) ((float *)s.in[1].data)[7] = (float)(((double *)s.in64[1].data)[7] = -INFINITY);
        s.in_layout = s.out_layout = DEFT_LAYOUT_BLOCKS;
        check_not_finite(&s, DEFT_KERNEL_VECTOR_WINOGRAD);
    }
    static const int64_t two[] = {2, 2};
    sample s = new_sample(DEFT_OP_MAX_POOL);
    add_ints(&s, "kernel_shape", two, 2);
    add_input(&s, false, 4, (int64_t[]){1, 20, 4, 4});
    s.in_layout = s.out_layout = DEFT_LAYOUT_BLOCKS;
    compute_oracle(&s);
    ((float *)s.in[0].data)[5] = NAN;
    assert_true(run_kernel(&s, DEFT_KERNEL_DENSE_POOL));
    for (int i = 0; i < 9; i++) /* of the 3 x 3 windows of 2 x 2, the first four see pixel (1, 1) */
        assert_int_equal(isnan(((float *)s.out.data)[i]) != 0, i / 3 < 2 && i % 3 < 2);
    assert_false(isnan(((float *)s.out.data)[9]));
    free_sample(&s);
}

static void test_maximum_keeps_nan(void **state) {
    (void)state;
    static const int64_t two[] = {2, 2};
    if (!deft_cpu_has(DEFT_ISA_AVX512)) skip();
    sample s = new_sample(DEFT_OP_MAX_POOL);
    add_ints(&s, "kernel_shape", two, 2);
    add_ints(&s, "strides", two, 2);
    add_input(&s, false, 4, (int64_t[]){1, 16, 4, 4});
    compute_oracle(&s);
    ((float *)s.in[0].data)[0] = NAN;
    assert_true(run_kernel(&s, DEFT_KERNEL_DENSE_POOL));
    assert_true(isnan(((float *)s.out.data)[0]));
    assert_false(isnan(((float *)s.out.data)[1]));
    free_sample(&s);
}

static void test_what_is_refused(void **state) {
    (void)state;
    sample s = new_sample(DEFT_OP_MATMUL);
    add_input(&s, false, 2, (int64_t[]){4, 0});
    add_input(&s, true, 2, (int64_t[]){0, 3});
    compute_oracle(&s);
    assert_false(run_kernel(&s, DEFT_KERNEL_DENSE_MATMUL));
    assert_false(run_kernel(&s, DEFT_KERNEL_DENSE_PACKED));
    assert_false(run_kernel(&s, DEFT_KERNEL_DENSE_CONV));
    assert_true(run_kernel(&s, DEFT_KERNEL_REFERENCE));
    const deft_tensor *in_pointers[MAX_IN];
    deft_tensor in[MAX_IN], *out = &s.out;
    deft_request request = request_of(&s, in_pointers, in, &out);
    deft_kernel kernel;
    assert_int_equal(deft_kernel_prepare(s.ctx, DEFT_KERNEL_DENSE_CONV, &request, &kernel), DEFT_UNSUPPORTED);
    assert_non_null(strstr(deft_context_message(s.ctx), "'sample'"));
    assert_null(kernel.def);
    request.in_layout = DEFT_LAYOUT_PANELS;
    const char *why;
    assert_false(deft_kernels[DEFT_KERNEL_REFERENCE].accepts(&request, &why));
    free_sample(&s);
}

static void test_threads_setting_does_not_leak(void **state) {
    (void)state;
    extern int omp_get_max_threads(void);
    int before = omp_get_max_threads();
    check_matmul(DIMS(5, 7), DIMS(7, 3), true);
    assert_int_equal(omp_get_max_threads(), before);
}

static deft_status measure_matmul(deft_context *ctx, void *user) {
    (void)user;
    float weight[20 * 16];
    for (int i = 0; i < 20 * 16; i++)
        weight[i] = (float)i;
    deft_tensor x = {DEFT_F32, 2, {8, 20}, NULL}, w = {DEFT_F32, 2, {20, 16}, weight}, y = {DEFT_F32, 2, {8, 16}, NULL};
    const deft_tensor *in[] = {&x, &w};
    deft_tensor *out[] = {&y};
    deft_attrs none = {0};
    deft_request request = {.call = {.ctx = ctx,
                                     .name = "layer",
                                     .op = DEFT_OP_MATMUL,
                                     .attrs = &none,
                                     .opset = 13,
                                     .in_count = 2,
                                     .out_count = 1,
                                     .in = in,
                                     .out = out,
                                     .threads = 1},
                            .activation = deft_activation_none,
                            .isa = ctx->isa};
    const deft_candidate all[] = {
        {DEFT_KERNEL_REFERENCE, 0}, {DEFT_KERNEL_DENSE_MATMUL, 0}, {DEFT_KERNEL_DENSE_PACKED, 0}};
    double ns[3];
    DEFT_TRY(deft_kernel_measure(ctx, &request, all, 3, 0.001, ns));
    for (int i = 0; i < 3; i++)
        assert_true(ns[i] > 0 && isfinite(ns[i]));
    return DEFT_OK;
}

static void test_measure(void **state) {
    (void)state;
    check_every_allocation_failure(measure_matmul, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gemm),
        cmocka_unit_test(test_matmul_broadcasts),
        cmocka_unit_test(test_conv),
        cmocka_unit_test(test_conv_gradients),
        cmocka_unit_test(test_conv_transpose),
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_checker_sees_a_wrong_value),
        cmocka_unit_test(test_not_finite_values_survive),
        cmocka_unit_test(test_maximum_keeps_nan),
        cmocka_unit_test(test_conv_in_blocks),
        cmocka_unit_test(test_pool_in_blocks),
        cmocka_unit_test(test_not_finite_values_survive_in_blocks),
        cmocka_unit_test(test_winograd_of_a_large_picture),
        cmocka_unit_test(test_what_winograd_accepts),
        cmocka_unit_test(test_winograd_out_of_memory),
        cmocka_unit_test(test_long_rows_take_little_code),
        cmocka_unit_test(test_answers_are_remembered),
        cmocka_unit_test(test_layouts_outside_are_no_question),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_threads_setting_does_not_leak),
        cmocka_unit_test(test_measure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
