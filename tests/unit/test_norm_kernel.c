/* BatchNormalization in blocks, while training, and its gradient, against the reference in float64, within bounds that
 * follow from sums of SUMMED = 64 numbers in f32. */
#include "tests/support.h"

#include <math.h>
#include <string.h>

#include "base/core/cpu.h"
#include "base/core/rng.h"
#include "codegen/kernel/kernel.h"

static const double unit = 0x1p-24, summed = 64;

enum { INPUTS = 5, OUTPUTS = 3, DY = 0, X, SCALE, THIRD, VARIANCE };

/* A gradient's inputs dy, x, scale, mean, variance; a forward's x, scale, shift begin at its X. */
typedef struct problem {
    deft_context *ctx;
    bool gradient;
    int64_t n, c, pixels;
    deft_tensor in[INPUTS], in64[INPUTS], out[OUTPUTS], out64[OUTPUTS];
} problem;

static int first_input(const problem *p) {
    return p->gradient ? DY : X;
}

static int input_count(const problem *p) {
    return p->gradient ? 5 : 3;
}

static void add_tensor(problem *p, int i, int rank, const int64_t *dims) {
    deft_rng rng;
    deft_tensor *t = &p->in[i];
    deft_rng_init(&rng, 5, (uint64_t)i);
    *t = (deft_tensor){.dtype = DEFT_F32, .rank = rank};
    memcpy(t->dims, dims, sizeof *dims * (size_t)rank);
    p->in64[i] = *t;
    p->in64[i].dtype = DEFT_F64;
    assert_int_equal(deft_tensor_allocate(p->ctx, t), DEFT_OK);
    assert_int_equal(deft_tensor_allocate(p->ctx, &p->in64[i]), DEFT_OK);
    for (int64_t j = 0; j < deft_tensor_count(t); j++) {
        float value = deft_rng_normal(&rng);
        if (i == X) value = 3 * value + (float)(j / p->pixels % p->c); /* means far from 0 */
        if (i == VARIANCE) value = 0.5f + fabsf(value);
        ((float *)t->data)[j] = value;
        ((double *)p->in64[i].data)[j] = (double)value;
    }
}

static deft_op_call call_of(problem *p, bool wide, const deft_tensor **in, deft_tensor **out) {
    static const deft_attr epsilon = {.name = "epsilon", .type = DEFT_ATTR_FLOAT, .f = 1e-3f};
    static const deft_attrs attrs = {.items = (deft_attr *)&epsilon, .count = 1};
    for (int i = 0; i < input_count(p); i++)
        in[i] = &(wide ? p->in64 : p->in)[first_input(p) + i];
    for (int i = 0; i < OUTPUTS; i++)
        out[i] = &(wide ? p->out64 : p->out)[i];
    return (deft_op_call){.ctx = p->ctx,
                          .name = "norm",
                          .op = p->gradient ? DEFT_OP_BATCH_NORM_GRAD : DEFT_OP_BATCH_NORM_TRAINING,
                          .attrs = &attrs,
                          .opset = 13,
                          .in_count = input_count(p),
                          .out_count = OUTPUTS,
                          .in = in,
                          .out = out,
                          .threads = 1};
}

static void make_problem(problem *p, bool gradient, const int64_t *dims) {
    *p =
        (problem){.ctx = test_context(), .gradient = gradient, .n = dims[0], .c = dims[1], .pixels = dims[2] * dims[3]};
    for (int i = first_input(p); i < first_input(p) + input_count(p); i++)
        add_tensor(p, i, i <= X ? 4 : 1, i <= X ? dims : &dims[1]);
    for (int wide = 0; wide < 2; wide++) {
        const deft_tensor *in[INPUTS];
        deft_tensor *out[OUTPUTS];
        deft_op_call call = call_of(p, wide, in, out);
        assert_int_equal(deft_ops[call.op].shape(&call), DEFT_OK);
        for (int i = 0; i < OUTPUTS; i++)
            assert_int_equal(deft_tensor_allocate(p->ctx, out[i]), DEFT_OK);
        if (wide) assert_int_equal(deft_ops[call.op].forward(&call), DEFT_OK);
    }
}

static void free_problem(problem *p) {
    for (int i = 0; i < INPUTS; i++) {
        deft_release(p->ctx, p->in[i].data);
        deft_release(p->ctx, p->in64[i].data);
    }
    for (int i = 0; i < OUTPUTS; i++) {
        deft_release(p->ctx, p->out[i].data);
        deft_release(p->ctx, p->out64[i].data);
    }
    test_context_free(p->ctx);
}

/* Where an element of a picture lies in blocks. */
static int64_t place_of(const problem *p, int64_t i) {
    int64_t lanes = deft_block_lanes(p->ctx->isa), blocks = (p->c + lanes - 1) / lanes;
    int64_t c = i / p->pixels % p->c, n = i / p->pixels / p->c;
    return ((n * blocks + c / lanes) * p->pixels + i % p->pixels) * lanes + c % lanes;
}

static deft_tensor to_blocks(const problem *p, const deft_tensor *rows) {
    deft_tensor blocks = *rows;
    size_t bytes = deft_layout_bytes(rows, DEFT_LAYOUT_BLOCKS, p->ctx->isa);
    assert_int_equal(deft_allocate_zeroed(p->ctx, 1, bytes, &blocks.data), DEFT_OK);
    for (int64_t i = 0; i < deft_tensor_count(rows); i++)
        ((float *)blocks.data)[place_of(p, i)] = ((const float *)rows->data)[i];
    return blocks;
}

/* Runs the kernel in blocks, twice; false where it does not accept that. */
static bool run_kernel(problem *p, int threads) {
    const deft_tensor *in[INPUTS];
    deft_tensor *out[OUTPUTS], moved[2], y;
    deft_request request = {.call = call_of(p, false, in, out),
                            .activation = deft_activation_none,
                            .in_layout = DEFT_LAYOUT_BLOCKS,
                            .out_layout = DEFT_LAYOUT_BLOCKS,
                            .isa = p->ctx->isa};
    deft_kernel kernel;
    const char *why;
    void *scratch;
    request.call.threads = threads;
    if (!deft_kernels[DEFT_KERNEL_VECTOR_NORM].accepts(&request, &why)) return false;
    assert_int_equal(deft_kernel_prepare(p->ctx, DEFT_KERNEL_VECTOR_NORM, &request, &kernel), DEFT_OK);
    assert_int_equal(deft_allocate(p->ctx, kernel.scratch_bytes, &scratch), DEFT_OK);
    int pictures = p->gradient ? 2 : 1;
    for (int i = 0; i < pictures; i++) {
        moved[i] = to_blocks(p, in[i]);
        in[i] = &moved[i];
    }
    y = to_blocks(p, &p->out[0]);
    out[0] = &y;
    size_t count = deft_layout_bytes(&y, DEFT_LAYOUT_BLOCKS, p->ctx->isa) / sizeof(float), not_zero = 0;
    for (int turn = 0; turn < 2; turn++) {
        memset(y.data, 0xff, count * sizeof(float));
        memset(scratch, 0xff, kernel.scratch_bytes);
        long long before = atomic_load(&p->ctx->allocation_count);
        assert_int_equal(kernel.def->run(p->ctx, &kernel, in, out, scratch), DEFT_OK);
        assert_int_equal(atomic_load(&p->ctx->allocation_count), before);
    }
    for (int64_t i = 0; i < deft_tensor_count(&y); i++) {
        float *value = &((float *)y.data)[place_of(p, i)];
        ((float *)p->out[0].data)[i] = *value;
        *value = 0;
    }
    for (size_t i = 0; i < count; i++)
        not_zero += ((const float *)y.data)[i] != 0;
    assert_int_equal(not_zero, 0); /* the lanes past the channels */
    for (int i = 0; i < pictures; i++)
        deft_release(p->ctx, moved[i].data);
    deft_release(p->ctx, y.data);
    deft_release(p->ctx, scratch);
    deft_kernel_done(p->ctx, &kernel);
    return true;
}

static double at(const deft_tensor *t, int64_t i) {
    return t->dtype == DEFT_F64 ? ((const double *)t->data)[i] : (double)((const float *)t->data)[i];
}

/* Of a channel of a gradient: mean |dy|, mean |dy h|. */
static void means_of(const problem *p, int64_t c, double mean, double deviation, double *dy, double *product) {
    *dy = *product = 0;
    for (int64_t i = 0; i < p->n * p->pixels; i++) {
        int64_t at_i = (i / p->pixels * p->c + c) * p->pixels + i % p->pixels;
        double slope = fabs(at(&p->in64[DY], at_i)) / (double)(p->n * p->pixels);
        *dy += slope;
        *product += slope * fabs(at(&p->in64[X], at_i) - mean) / deviation;
    }
}

/* What element i of out[0] may be off by. A sum of 64 numbers in f32 is off by 64 units of the sum of their sizes; what
 * is multiplied and added then, by a few units of its terms. */
static double bound_of(const problem *p, int64_t i) {
    int64_t c = i / p->pixels % p->c;
    double x = at(&p->in64[X], i), scale = fabs(at(&p->in64[SCALE], c));
    double mean = at(p->gradient ? &p->in64[THIRD] : &p->out64[1], c);
    double deviation = sqrt(at(p->gradient ? &p->in64[VARIANCE] : &p->out64[2], c) + 1e-3), factor = scale / deviation;
    double h = fabs(x - mean) / deviation;
    if (!p->gradient)
        return unit *
               (2 * summed * scale * (1 + h) + 4 * (factor * (fabs(x) + fabs(mean)) + fabs(at(&p->in64[THIRD], c))));
    double slopes, products;
    means_of(p, c, mean, deviation, &slopes, &products);
    double tilt = products / deviation;
    return unit * factor *
           (2 * summed * (slopes + h * products) +
            4 * (fabs(at(&p->in64[DY], i)) + slopes + tilt * (fabs(x) + fabs(mean))));
}

/* Of a channel's statistic, or slope: 64 units of what is summed, which for the mean is what pictures are apart. */
static double channel_bound_of(const problem *p, int output, int64_t c) {
    double size = (double)(p->n * p->pixels), slopes, products;
    if (!p->gradient) {
        double deviation = sqrt(at(&p->out64[2], c) + 1e-3);
        double apart = 4 * deviation + fabs(at(&p->out64[1], c)) / summed;
        return output == 1 ? 2 * unit * summed * apart : 4 * unit * summed * deviation * apart;
    }
    means_of(p, c, at(&p->in64[THIRD], c), sqrt(at(&p->in64[VARIANCE], c) + 1e-3), &slopes, &products);
    return 2 * unit * summed * size * (output == 1 ? products : slopes);
}

static int count_wrong(const problem *p) {
    int wrong = 0;
    for (int64_t i = 0; i < deft_tensor_count(&p->out[0]); i++)
        wrong += !(fabs(at(&p->out[0], i) - at(&p->out64[0], i)) <= bound_of(p, i));
    for (int o = 1; o < OUTPUTS; o++)
        for (int64_t c = 0; c < p->c; c++)
            wrong += !(fabs(at(&p->out[o], c) - at(&p->out64[o], c)) <= channel_bound_of(p, o, c));
    return wrong;
}

static void test_agrees_with_the_reference(void **state) {
    (void)state;
    static const int64_t shapes[][4] = {{3, 20, 5, 7}, {2, 16, 1, 1}, {1, 48, 9, 9}, {5, 3, 40, 33}, {7, 33, 3, 2}};
    static const deft_isa isas[] = {DEFT_ISA_AVX512, DEFT_ISA_AVX2};
    for (int i = 0; i < 5; i++)
        for (int gradient = 0; gradient < 2; gradient++)
            for (int way = 0; way < 4; way++) {
                problem p;
                if (!deft_cpu_has(isas[way / 2])) continue;
                make_problem(&p, gradient, shapes[i]);
                p.ctx->isa = isas[way / 2];
                assert_true(run_kernel(&p, 1 + way % 2));
                int wrong = count_wrong(&p);
                if (wrong) fail_msg("shape %d, gradient %d, way %d: %d wrong", i, gradient, way, wrong);
                ((float *)p.out[0].data)[0] += (float)(3 * bound_of(&p, 0));
                ((float *)p.out[1].data)[0] += (float)(3 * channel_bound_of(&p, 1, 0));
                assert_int_equal(count_wrong(&p), 2); /* the comparison can fail */
                free_problem(&p);
            }
}

static void test_what_it_refuses(void **state) {
    (void)state;
    problem p;
    make_problem(&p, false, (const int64_t[]){2, 16, 3, 3});
    p.ctx->isa = DEFT_ISA_C; /* whose vectors are no blocks */
    assert_false(run_kernel(&p, 1));
    free_problem(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_agrees_with_the_reference),
                                       cmocka_unit_test(test_what_it_refuses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
