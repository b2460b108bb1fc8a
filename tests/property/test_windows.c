/* Convolution and pooling over random geometries, f32 and f64, against loops that ask for every tap whether it lies in
 * the picture; and the geometry's own promises. */
#include "tests/op_support.h"

#include "base/core/rng.h"
#include "ir/op/window.h"

enum { TRIALS = 600 };

static int64_t pick(deft_rng *rng, int64_t low, int64_t high) {
    return low + (int64_t)deft_rng_below(rng, (uint64_t)(high - low + 1));
}

/* Attributes as a model would have them, for 2 spatial dimensions. */
typedef struct geometry {
    int64_t kernel[2], strides[2], dilations[2], pads[4];
} geometry;

static void make_geometry(deft_rng *rng, geometry *g, op_case *test) {
    for (int i = 0; i < 2; i++) {
        g->kernel[i] = pick(rng, 1, 4);
        g->strides[i] = pick(rng, 1, 3);
        g->dilations[i] = pick(rng, 1, 3);
        int64_t extent = (g->kernel[i] - 1) * g->dilations[i] + 1;
        g->pads[i] = pick(rng, 0, extent - 1);
        g->pads[2 + i] = pick(rng, 0, extent - 1);
    }
    test->attrs[0] = (deft_attr){.name = "kernel_shape", .type = DEFT_ATTR_INTS, .count = 2, .ints = g->kernel};
    test->attrs[1] = (deft_attr){.name = "strides", .type = DEFT_ATTR_INTS, .count = 2, .ints = g->strides};
    test->attrs[2] = (deft_attr){.name = "dilations", .type = DEFT_ATTR_INTS, .count = 2, .ints = g->dilations};
    test->attrs[3] = (deft_attr){.name = "pads", .type = DEFT_ATTR_INTS, .count = 4, .ints = g->pads};
}

static void fill(deft_context *ctx, deft_rng *rng, deft_dtype dtype, deft_tensor *tensor) {
    tensor->dtype = dtype;
    assert_int_equal(deft_tensor_allocate(ctx, tensor), DEFT_OK);
    for (int64_t i = 0; i < deft_tensor_count(tensor); i++) {
        double value = (double)deft_rng_normal(rng);
        if (dtype == DEFT_F64)
            ((double *)tensor->data)[i] = value;
        else
            ((float *)tensor->data)[i] = (float)value;
    }
}

/* x[image][channel][y][x] of f64 or f32, and whether it is there. */
static bool inside(const deft_tensor *x, int64_t image, int64_t channel, int64_t iy, int64_t ix, double *value) {
    if (iy < 0 || iy >= x->dims[2] || ix < 0 || ix >= x->dims[3]) return false;
    *value = op_element(x, ((image * x->dims[1] + channel) * x->dims[2] + iy) * x->dims[3] + ix);
    return true;
}

typedef enum reduction { SUM_OF_PRODUCTS, MAXIMUM, MEAN, MEAN_WITH_PADDING } reduction;

/* One output, the plain way. For the pooling reductions `w` is NULL. */
static double naive(reduction how, const geometry *g, const deft_tensor *x, const deft_tensor *w, int64_t group_in,
                    int64_t image, int64_t channel, int64_t filter, int64_t oy, int64_t ox) {
    double sum = 0, maximum = -INFINITY, value;
    int64_t count = 0, padded = 0;
    for (int64_t c = 0; c < group_in; c++)
        for (int64_t ky = 0; ky < g->kernel[0]; ky++)
            for (int64_t kx = 0; kx < g->kernel[1]; kx++) {
                int64_t iy = oy * g->strides[0] + ky * g->dilations[0] - g->pads[0];
                int64_t ix = ox * g->strides[1] + kx * g->dilations[1] - g->pads[1];
                padded += iy < x->dims[2] + g->pads[2] && ix < x->dims[3] + g->pads[3];
                if (!inside(x, image, channel + c, iy, ix, &value)) continue;
                count++;
                maximum = fmax(maximum, value);
                double weight =
                    w ? op_element(w, ((filter * group_in + c) * g->kernel[0] + ky) * g->kernel[1] + kx) : 1;
                sum += weight * value;
            }
    if (how == MAXIMUM) return maximum;
    if (how == MEAN) return count ? sum / (double)count : 0;
    return how == MEAN_WITH_PADDING ? sum / (double)padded : sum;
}

/* How many outputs differ from the plain way's. */
static int64_t count_wrong(deft_context *ctx, op_case *test, reduction how, const geometry *g, int64_t groups) {
    op_run run;
    if (op_apply(ctx, test, &run) != DEFT_OK) fail_msg("%s", deft_context_message(ctx));
    const deft_tensor *y = run.out[0], *x = &test->in[0], *w = how == SUM_OF_PRODUCTS ? &test->in[1] : NULL;
    int64_t group_in = w ? w->dims[1] : 1, filters = y->dims[1] / groups, wrong = 0;
    double tolerance = y->dtype == DEFT_F64 ? 1e-12 : 1e-5;
    for (int64_t i = 0; i < deft_tensor_count(y); i++) {
        int64_t ox = i % y->dims[3], oy = i / y->dims[3] % y->dims[2],
                filter = i / y->dims[3] / y->dims[2] % y->dims[1];
        int64_t image = i / y->dims[3] / y->dims[2] / y->dims[1], channel = w ? filter / filters * group_in : filter;
        double expected = naive(how, g, x, w, group_in, image, channel, filter, oy, ox), got = op_element(y, i);
        wrong += got != expected && !(fabs(got - expected) <= tolerance * (1 + fabs(expected)));
    }
    op_release(ctx, &run);
    return wrong;
}

static void test_conv(void **state) {
    (void)state;
    for (uint64_t trial = 0; trial < TRIALS; trial++) {
        deft_context *ctx = test_context();
        deft_rng rng;
        deft_rng_init(&rng, trial, 1);
        geometry g;
        op_case test = {.op = DEFT_OP_CONV};
        make_geometry(&rng, &g, &test);
        int64_t groups = pick(&rng, 1, 3), depth = pick(&rng, 1, 2), filters = groups * pick(&rng, 1, 2);
        test.attrs[4] = (deft_attr){.name = "group", .type = DEFT_ATTR_INT, .i = groups};
        test.in[0] = (deft_tensor){DIMS(pick(&rng, 1, 2), groups * depth, pick(&rng, 10, 13), pick(&rng, 10, 13))};
        test.in[1] = (deft_tensor){DIMS(filters, depth, g.kernel[0], g.kernel[1])};
        deft_dtype dtype = trial % 2 ? DEFT_F32 : DEFT_F64;
        fill(ctx, &rng, dtype, &test.in[0]);
        fill(ctx, &rng, dtype, &test.in[1]);
        assert_int_equal(count_wrong(ctx, &test, SUM_OF_PRODUCTS, &g, groups), 0);
        geometry other = g; /* the comparison sees a padding that is off by one */
        other.pads[1]++;
        assert_true(count_wrong(ctx, &test, SUM_OF_PRODUCTS, &other, groups) > 0);
        deft_release(ctx, test.in[0].data);
        deft_release(ctx, test.in[1].data);
        test_context_free(ctx);
    }
}

static void test_pools(void **state) {
    (void)state;
    for (uint64_t trial = 0; trial < TRIALS; trial++) {
        deft_context *ctx = test_context();
        deft_rng rng;
        deft_rng_init(&rng, trial, 2);
        geometry g;
        reduction how = MAXIMUM + (reduction)(trial % 3);
        op_case test = {.op = how == MAXIMUM ? DEFT_OP_MAX_POOL : DEFT_OP_AVERAGE_POOL};
        make_geometry(&rng, &g, &test);
        test.attrs[4] = (deft_attr){.name = "ceil_mode", .type = DEFT_ATTR_INT, .i = pick(&rng, 0, 1)};
        test.attrs[5] = (deft_attr){.name = "count_include_pad", .type = DEFT_ATTR_INT, .i = how == MEAN_WITH_PADDING};
        test.in[0] = (deft_tensor){DIMS(pick(&rng, 1, 2), pick(&rng, 1, 2), pick(&rng, 10, 13), pick(&rng, 10, 13))};
        if (trial % 7 && trial % 5 == 0) { /* the kernel wider than the picture */
            test.in[0].dims[3] = pick(&rng, 1, 3);
            g.kernel[1] = 4;
            g.pads[1] = g.pads[3] = 2 * g.dilations[1];
        }
        if (trial % 7 == 0) /* windows of 2x2 side by side have loops of their own */
            g = (geometry){.kernel = {2, 2}, .strides = {2, 2}, .dilations = {1, 1}};
        fill(ctx, &rng, trial % 2 ? DEFT_F32 : DEFT_F64, &test.in[0]);
        assert_int_equal(count_wrong(ctx, &test, how, &g, test.in[0].dims[1]), 0);
        deft_release(ctx, test.in[0].data);
        test_context_free(ctx);
    }
}

/* Adds an output's slope where its window's first maximum is. */
static void give_to_maximum(const geometry *g, const deft_tensor *x, int64_t plane, int64_t oy, int64_t ox,
                            double slope, double *dx) {
    int64_t best = -1, offset = plane * x->dims[2] * x->dims[3];
    double maximum = 0, value;
    for (int64_t ky = 0; ky < g->kernel[0]; ky++)
        for (int64_t kx = 0; kx < g->kernel[1]; kx++) {
            int64_t iy = oy * g->strides[0] + ky * g->dilations[0] - g->pads[0];
            int64_t ix = ox * g->strides[1] + kx * g->dilations[1] - g->pads[1];
            if (!inside(x, 0, plane, iy, ix, &value) || (best >= 0 && !(value > maximum))) continue;
            best = offset + iy * x->dims[3] + ix;
            maximum = value;
        }
    if (best >= 0) dx[best] += slope;
}

static int64_t count_wrong_slopes(deft_context *ctx, op_case *test, const geometry *g) {
    enum { MOST = 8192 };
    static double expected[MOST];
    const deft_tensor *dy = &test->in[0], *x = &test->in[1];
    op_run run;
    if (op_apply(ctx, test, &run) != DEFT_OK) fail_msg("%s", deft_context_message(ctx));
    assert_true(deft_tensor_count(x) <= MOST);
    memset(expected, 0, sizeof expected);
    for (int64_t i = 0; i < deft_tensor_count(dy); i++)
        give_to_maximum(g, x, i / dy->dims[3] / dy->dims[2], i / dy->dims[3] % dy->dims[2], i % dy->dims[3],
                        op_element(dy, i), expected);
    int64_t wrong = 0;
    for (int64_t i = 0; i < deft_tensor_count(x); i++)
        wrong += !(fabs(op_element(run.out[0], i) - expected[i]) <= 1e-5 * (1 + fabs(expected[i])));
    op_release(ctx, &run);
    return wrong;
}

/* Of small whole numbers, so that windows have several maxima; at times in rows that are computed in parts. */
static void test_max_pool_slopes(void **state) {
    (void)state;
    for (uint64_t trial = 0; trial < TRIALS; trial++) {
        deft_context *ctx = test_context();
        deft_rng rng;
        deft_rng_init(&rng, trial, 5);
        geometry g;
        op_case test = {.op = DEFT_OP_MAX_POOL_GRAD};
        make_geometry(&rng, &g, &test);
        int64_t height = pick(&rng, 10, 13), width = trial % 6 ? pick(&rng, 10, 40) : pick(&rng, 130, 300);
        if (trial % 5 == 0) { /* the kernel wider than the picture */
            width = pick(&rng, 1, 3);
            g.kernel[1] = 4;
            g.pads[1] = g.pads[3] = 2 * g.dilations[1];
        }
        deft_tensor *dy = &test.in[0], *x = &test.in[1];
        *x = (deft_tensor){DIMS(1, 2, height, width)};
        *dy = (deft_tensor){DIMS(1, 2, 0, 0)};
        for (int i = 0; i < 2; i++) {
            int64_t extent = (g.kernel[i] - 1) * g.dilations[i] + 1;
            dy->dims[2 + i] = (x->dims[2 + i] + g.pads[i] + g.pads[2 + i] - extent) / g.strides[i] + 1;
        }
        fill(ctx, &rng, DEFT_F32, dy);
        fill(ctx, &rng, DEFT_F32, x);
        for (int64_t i = 0; i < deft_tensor_count(x); i++)
            ((float *)x->data)[i] = roundf(((float *)x->data)[i]);
        assert_int_equal(count_wrong_slopes(ctx, &test, &g), 0);
        deft_release(ctx, dy->data);
        deft_release(ctx, x->data);
        test_context_free(ctx);
    }
}

/* deft_window_outputs and deft_window_taps say exactly which (output, tap) pairs read an input. */
static void test_ranges(void **state) {
    (void)state;
    deft_rng rng;
    deft_rng_init(&rng, 3, 0);
    for (int trial = 0; trial < 4 * TRIALS; trial++) {
        deft_window w = {.in = {1, pick(&rng, 0, 9)}, .kernel = {1, pick(&rng, 1, 5)}};
        w.out[1] = pick(&rng, 1, 9);
        w.stride[1] = pick(&rng, 1, 4);
        w.dilation[1] = pick(&rng, 1, 4);
        w.pad_begin[1] = pick(&rng, 0, 9);
        for (int64_t tap = 0; tap < w.kernel[1]; tap++)
            for (int64_t o = 0; o < w.out[1]; o++) {
                int64_t at = o * w.stride[1] + tap * w.dilation[1] - w.pad_begin[1], begin, end;
                bool reads = at >= 0 && at < w.in[1];
                deft_window_outputs(&w, 1, tap, &begin, &end);
                assert_true(begin <= end && (o >= begin && o < end) == reads);
                deft_window_taps(&w, 1, o, &begin, &end);
                assert_true(begin <= end && (tap >= begin && tap < end) == reads);
            }
    }
}

/* SAME pads so that out = ceil(in / stride), the odd one at the end or at the beginning. */
static void test_same_padding(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_rng rng;
    deft_rng_init(&rng, 4, 0);
    for (int trial = 0; trial < TRIALS; trial++) {
        geometry g;
        bool upper = trial % 2;
        op_case test = {.op = DEFT_OP_AVERAGE_POOL};
        make_geometry(&rng, &g, &test);
        test.attrs[3] = (deft_attr)STRING("auto_pad", upper ? "SAME_UPPER" : "SAME_LOWER");
        op_run run;
        op_prepare(ctx, &test, &run);
        deft_window w;
        deft_tensor x = {DIMS(1, 1, pick(&rng, 1, 20), pick(&rng, 1, 20))};
        deft_status status = deft_window_of_pool(&run.call, &x, &w);
        if (status != DEFT_OK) fail_msg("%s", deft_context_message(ctx));
        for (int axis = 0; axis < 2; axis++) {
            assert_int_equal(w.out[axis], (w.in[axis] + w.stride[axis] - 1) / w.stride[axis]);
            int64_t odd = upper ? w.pad_end[axis] - w.pad_begin[axis] : w.pad_begin[axis] - w.pad_end[axis];
            assert_true(odd == 0 || odd == 1);
        }
    }
    test_context_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conv),   cmocka_unit_test(test_pools),        cmocka_unit_test(test_max_pool_slopes),
        cmocka_unit_test(test_ranges), cmocka_unit_test(test_same_padding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
