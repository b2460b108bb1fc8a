/* Element-wise kernels and kernels over rows against the operators' own forwards in float64, within their stated
 * bounds. */
#include "tests/support.h"

#include <math.h>
#include <string.h>

#include "base/core/cpu.h"
#include "base/core/rng.h"
#include "codegen/kernel/vector.h"

static const deft_isa isas[] = {DEFT_ISA_C, DEFT_ISA_AVX2, DEFT_ISA_AVX512};
static const double half_ulp = 0x1p-24;

/* ---- functions of one number --------------------------------------------------------------------------------- */

static double gelu64(double x) {
    return x / 2 * (1 + erf(x / sqrt(2)));
}

static double sigmoid64(double x) {
    return 1 / (1 + exp(-x));
}

/* In units of 2^-23 of the result, or of the least normal number, or for `absolute` of x. */
static double error_of(double got, double expected, double x, bool absolute) {
    double size = absolute ? fabs(x) : fabs(expected);
    return fabs(got - expected) / fmax(size * 0x1p-23, 0x1p-149);
}

static void test_functions_keep_their_bounds(void **state) {
    (void)state;
    static const struct {
        deft_unary function;
        double (*exact)(double);
        double low, high, bound;
        bool absolute;
    } table[] = {
        {DEFT_UNARY_EXP, exp, -87.33, 88.7, 2.5, false}, {DEFT_UNARY_SIGMOID, sigmoid64, -80, 100, 4, false},
        {DEFT_UNARY_TANH, tanh, -20, 20, 4, false},      {DEFT_UNARY_ERF, erf, -6, 6, 4, false},
        {DEFT_UNARY_GELU, gelu64, -10, 10, 4, true},     {DEFT_UNARY_TANH, tanh, -0.01, 0.01, 4, false},
        {DEFT_UNARY_ERF, erf, -0.01, 0.01, 4, false},
    };
    enum { COUNT = 20011 };
    float *x = malloc(2 * COUNT * sizeof *x), *y = x + COUNT;
    for (int i = 0; i < 3; i++)
        for (size_t t = 0; deft_cpu_has(isas[i]) && t < sizeof table / sizeof *table; t++) {
            double worst = 0;
            for (int j = 0; j < COUNT; j++)
                x[j] = (float)(table[t].low + (table[t].high - table[t].low) * j / (COUNT - 1));
            deft_vector_loops_of(isas[i])->unary[table[t].function](x, y, COUNT, 0, 0);
            for (int j = 0; j < COUNT; j++)
                worst = fmax(worst, error_of(y[j], table[t].exact(x[j]), x[j], table[t].absolute));
            if (worst > table[t].bound) fail_msg("isa %d, row %zu: %g units", (int)isas[i], t, worst);
            assert_true(worst > 0.1); /* it was measured */
        }
    free(x);
}

/* Half the least normal number, and what the bound where they become 0 is rounded by: 2^-13 of it. */
static void test_powers_that_are_not_normal(void **state) {
    (void)state;
    enum { COUNT = 20011 };
    float *x = malloc(2 * COUNT * sizeof *x), *y = x + COUNT;
    for (int j = 0; j < COUNT; j++)
        x[j] = -87.33f - 17.0f * (float)j / (COUNT - 1);
    for (int i = 0; i < 3; i++) {
        if (!deft_cpu_has(isas[i])) continue;
        deft_vector_loops_of(isas[i])->unary[DEFT_UNARY_EXP](x, y, COUNT, 0, 0);
        for (int j = 0; j < COUNT; j++)
            assert_true(fabs(y[j] - exp(x[j])) <= 0x1.0008p-127);
    }
    free(x);
}

static void test_functions_at_the_ends(void **state) {
    (void)state;
    const float x[] = {NAN, INFINITY, -INFINITY, 0, -200, 200, 1e-42f};
    enum { COUNT = sizeof x / sizeof *x };
    for (int i = 0; i < 3; i++) {
        float y[COUNT];
        if (!deft_cpu_has(isas[i])) continue;
        const deft_vector_loops *loops = deft_vector_loops_of(isas[i]);
        for (int f = 0; f < DEFT_UNARY_COUNT; f++) {
            loops->unary[f](x, y, COUNT, 0.5f, 1);
            assert_true(isnan(y[0]));
        }
        loops->unary[DEFT_UNARY_EXP](x, y, COUNT, 0, 0);
        assert_true(y[1] == INFINITY && y[2] == 0 && y[3] == 1 && y[4] == 0 && y[5] == INFINITY);
        loops->unary[DEFT_UNARY_TANH](x, y, COUNT, 0, 0);
        assert_true(y[1] == 1 && y[2] == -1 && y[3] == 0);
        loops->unary[DEFT_UNARY_ERF](x, y, COUNT, 0, 0);
        assert_true(y[1] == 1 && y[2] == -1 && y[3] == 0);
        loops->unary[DEFT_UNARY_SIGMOID](x, y, COUNT, 0, 0);
        assert_true(y[1] == 1 && y[2] == 0 && y[3] == 0.5f);
        loops->unary[DEFT_UNARY_CLAMP](x, y, COUNT, 0, INFINITY);
        assert_true(y[1] == INFINITY && y[2] == 0 && y[4] == 0 && y[5] == 200);
    }
}

/* ---- kernels ------------------------------------------------------------------------------------------------- */

enum { MAX_IN = 3 };

typedef struct sample {
    deft_context *ctx;
    deft_op op;
    deft_attr attr_items[4];
    deft_attrs attrs;
    int in_count;
    deft_tensor in[MAX_IN], in64[MAX_IN], out, out64;
    bool constant[MAX_IN];
    deft_layout layout;
    bool whole_vectors; /* a block must be one: not in portable C */
    int opset;
} sample;

static sample new_sample(deft_op op) {
    return (sample){.ctx = test_context(), .op = op, .opset = 13};
}

static void add_input(sample *s, bool constant, int rank, const int64_t *dims) {
    int i = s->in_count++;
    deft_rng rng;
    deft_rng_init(&rng, 5, (uint64_t)i);
    s->constant[i] = constant;
    s->in[i] = (deft_tensor){.dtype = DEFT_F32, .rank = rank};
    if (rank) memcpy(s->in[i].dims, dims, sizeof *dims * (size_t)rank);
    s->in64[i] = s->in[i];
    s->in64[i].dtype = DEFT_F64;
    assert_int_equal(deft_tensor_allocate(s->ctx, &s->in[i]), DEFT_OK);
    assert_int_equal(deft_tensor_allocate(s->ctx, &s->in64[i]), DEFT_OK);
    for (int64_t j = 0; j < deft_tensor_count(&s->in[i]); j++)
        ((double *)s->in64[i].data)[j] = ((float *)s->in[i].data)[j] = 2 * deft_rng_normal(&rng);
}

static deft_op_call call_of(sample *s, const deft_tensor **pointers, const deft_tensor *in, deft_tensor **out) {
    s->attrs.items = s->attr_items;
    for (int i = 0; i < s->in_count; i++)
        pointers[i] = &in[i];
    return (deft_op_call){.ctx = s->ctx,
                          .name = "sample",
                          .op = s->op,
                          .attrs = &s->attrs,
                          .opset = s->opset,
                          .threads = 2,
                          .in_count = s->in_count,
                          .out_count = s->op == DEFT_OP_LRN_GRAD ? 2 : 1,
                          .in = pointers,
                          .out = out};
}

static void forward(sample *s, const deft_tensor *in, deft_tensor *out) {
    const deft_tensor *pointers[MAX_IN];
    deft_tensor room = {0}, *outputs[] = {out, &room};
    deft_op_call call = call_of(s, pointers, in, outputs);
    assert_int_equal(deft_ops[s->op].shape(&call), DEFT_OK);
    for (int i = 0; i < call.out_count; i++)
        assert_int_equal(deft_tensor_allocate(s->ctx, outputs[i]), DEFT_OK);
    assert_int_equal(deft_ops[s->op].forward(&call), DEFT_OK);
    deft_release(s->ctx, room.data);
}

static int64_t place(const deft_tensor *t, int64_t i, deft_layout layout, int lanes) {
    if (layout == DEFT_LAYOUT_ROWS) return i;
    int64_t pixels = t->dims[2] * t->dims[3], c = i / pixels % t->dims[1], n = i / pixels / t->dims[1];
    return ((n * ((t->dims[1] + lanes - 1) / lanes) + c / lanes) * pixels + i % pixels) * lanes + c % lanes;
}

static deft_tensor lay_out(sample *s, const deft_tensor *from, deft_layout layout) {
    deft_tensor to = *from;
    int lanes = deft_block_lanes(s->ctx->isa);
    assert_int_equal(deft_allocate_zeroed(s->ctx, 1, deft_layout_bytes(from, layout, s->ctx->isa), &to.data), DEFT_OK);
    for (int64_t i = 0; i < deft_tensor_count(from); i++)
        ((float *)to.data)[place(from, i, layout, lanes)] = ((const float *)from->data)[i];
    return to;
}

/* Runs the kernel into s->out; false where it does not accept the sample. */
static bool run_kernel(sample *s, deft_kernel_id id) {
    const deft_tensor *pointers[MAX_IN], *run_in[MAX_IN];
    deft_tensor in[MAX_IN], moved[MAX_IN], *outputs[] = {&s->out, NULL};
    for (int i = 0; i < s->in_count; i++) {
        in[i] = s->in[i];
        if (!s->constant[i]) in[i].data = NULL;
    }
    deft_request request = {.call = call_of(s, pointers, in, outputs),
                            .activation = deft_activation_none,
                            .in_layout = s->layout,
                            .out_layout = s->layout,
                            .isa = s->ctx->isa};
    const char *why;
    if (!deft_kernels[id].accepts(&request, &why)) return false;
    deft_kernel kernel;
    assert_int_equal(deft_kernel_prepare(s->ctx, id, &request, &kernel), DEFT_OK);
    assert_int_equal(kernel.scratch_bytes, 0);
    deft_tensor y = lay_out(s, &s->out, s->layout), *run_out = &y;
    for (int i = 0; i < s->in_count; i++) {
        moved[i] = lay_out(s, &s->in[i], s->constant[i] ? DEFT_LAYOUT_ROWS : s->layout);
        run_in[i] = &moved[i];
    }
    size_t count = deft_layout_bytes(&s->out, s->layout, s->ctx->isa) / sizeof(float);
    memset(y.data, 0xff, count * sizeof(float));
    assert_int_equal(kernel.def->run(s->ctx, &kernel, run_in, &run_out, NULL), DEFT_OK);
    int64_t nonzero = 0;
    for (size_t i = 0; i < count; i++)
        nonzero += ((float *)y.data)[i] != 0;
    for (int64_t i = 0; i < deft_tensor_count(&s->out); i++) {
        float value = ((float *)y.data)[place(&s->out, i, s->layout, deft_block_lanes(s->ctx->isa))];
        ((float *)s->out.data)[i] = value;
        nonzero -= value != 0;
    }
    assert_int_equal(nonzero, 0); /* lanes past the channels are 0 */
    for (int i = 0; i < s->in_count; i++)
        deft_release(s->ctx, moved[i].data);
    deft_release(s->ctx, y.data);
    deft_kernel_done(s->ctx, &kernel);
    return true;
}

static void free_sample(sample *s) {
    for (int i = 0; i < s->in_count; i++) {
        deft_release(s->ctx, s->in[i].data);
        deft_release(s->ctx, s->in64[i].data);
    }
    deft_release(s->ctx, s->out.data);
    deft_release(s->ctx, s->out64.data);
    test_context_free(s->ctx);
}

static int count_wrong(const sample *s, double relative, double absolute) {
    int wrong = 0;
    for (int64_t i = 0; i < deft_tensor_count(&s->out); i++) {
        double y = ((float *)s->out.data)[i], expected = ((double *)s->out64.data)[i];
        wrong += !(fabs(y - expected) <= relative * fabs(expected) + absolute);
    }
    return wrong;
}

/* By every instruction set. The sample is freed. */
static void check(sample *s, deft_kernel_id id, double relative, double absolute) {
    forward(s, s->in, &s->out);
    forward(s, s->in64, &s->out64);
    for (int i = 0; i < 3; i++) {
        if (!deft_cpu_has(isas[i])) continue;
        s->ctx->isa = isas[i];
        memset(s->out.data, 0, deft_tensor_bytes(&s->out));
        bool ran = run_kernel(s, id);
        assert_true(ran || (s->whole_vectors && isas[i] == DEFT_ISA_C));
        int wrong = ran ? count_wrong(s, relative, absolute) : 0;
        if (wrong) fail_msg("%s, isa %d: %d wrong", deft_ops[s->op].name, (int)isas[i], wrong);
    }
    if (deft_tensor_count(&s->out)) {
        ((float *)s->out.data)[0] += (float)(4 * (relative * fabs(((double *)s->out64.data)[0]) + absolute) + 1e-6);
        assert_true(count_wrong(s, relative, absolute) == 1); /* the comparison can fail */
    }
    free_sample(s);
}

#define DIMS(...)                                                                                                      \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]) {                                           \
        __VA_ARGS__                                                                                                    \
    }

static void test_unary_operators(void **state) {
    (void)state;
    static const deft_op ops[] = {DEFT_OP_ABS,        DEFT_OP_NEG,        DEFT_OP_RECIPROCAL, DEFT_OP_EXP,
                                  DEFT_OP_ERF,        DEFT_OP_SIGMOID,    DEFT_OP_TANH,       DEFT_OP_GELU,
                                  DEFT_OP_RELU,       DEFT_OP_LEAKY_RELU, DEFT_OP_ELU,        DEFT_OP_HARD_SIGMOID,
                                  DEFT_OP_HARD_SWISH, DEFT_OP_SWISH};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        for (int blocks = 0; blocks < 2; blocks++) {
            sample s = new_sample(ops[i]);
            s.layout = blocks ? DEFT_LAYOUT_BLOCKS : DEFT_LAYOUT_ROWS;
            add_input(&s, false, DIMS(2, 21, 7, 131));
            check(&s, DEFT_KERNEL_VECTOR_ELEMENT, 8 * half_ulp, 8 * 8 * half_ulp); /* |x| < 8, for Gelu and Elu */
        }
    sample s = new_sample(DEFT_OP_GELU);
    s.attr_items[s.attrs.count++] = (deft_attr){.name = "approximate", .type = DEFT_ATTR_STRING, .s = "tanh"};
    add_input(&s, false, DIMS(1000));
    check(&s, DEFT_KERNEL_VECTOR_ELEMENT, 8 * half_ulp, 8 * 16 * half_ulp);
    s = new_sample(DEFT_OP_CLIP);
    add_input(&s, false, DIMS(37));
    add_input(&s, true, 0, NULL);
    check(&s, DEFT_KERNEL_VECTOR_ELEMENT, 0, 0);
}

static void check_binary(deft_layout layout, bool constant, int a_rank, const int64_t *a, int b_rank,
                         const int64_t *b) {
    static const deft_op ops[] = {DEFT_OP_ADD, DEFT_OP_SUB, DEFT_OP_MUL, DEFT_OP_DIV, DEFT_OP_MAX};
    for (int i = 0; i < 5; i++)
        for (int swapped = 0; swapped < 2; swapped++) {
            sample s = new_sample(ops[i]);
            s.layout = layout;
            add_input(&s, constant && swapped, swapped ? b_rank : a_rank, swapped ? b : a);
            add_input(&s, constant && !swapped, swapped ? a_rank : b_rank, swapped ? a : b);
            check(&s, DEFT_KERNEL_VECTOR_ELEMENT, half_ulp, 0x1p-149);
        }
}

static void test_binary_operators(void **state) {
    (void)state;
    for (int constant = 0; constant < 2; constant++) {
        check_binary(DEFT_LAYOUT_ROWS, constant, DIMS(3, 5, 7), DIMS(3, 5, 7));
        check_binary(DEFT_LAYOUT_ROWS, constant, DIMS(3, 5, 7), DIMS(7));
        check_binary(DEFT_LAYOUT_ROWS, constant, DIMS(3, 5, 7), DIMS(5, 1));
        check_binary(DEFT_LAYOUT_ROWS, constant, DIMS(3, 5, 7), DIMS(3, 1, 7));
        check_binary(DEFT_LAYOUT_ROWS, constant, DIMS(3, 1, 7), DIMS(1, 5, 1));
        check_binary(DEFT_LAYOUT_ROWS, constant, DIMS(2, 3, 1, 5, 2), DIMS(3, 4, 1, 2));
        check_binary(DEFT_LAYOUT_ROWS, constant, DIMS(3, 20011), DIMS(3, 1));
        check_binary(DEFT_LAYOUT_ROWS, constant, DIMS(70, 500), 0, NULL);
        check_binary(DEFT_LAYOUT_BLOCKS, constant, DIMS(2, 21, 5, 6), DIMS(2, 21, 5, 6));
        check_binary(DEFT_LAYOUT_BLOCKS, constant, DIMS(2, 21, 5, 6), DIMS(1, 21, 1, 1));
        check_binary(DEFT_LAYOUT_BLOCKS, constant, DIMS(2, 32, 5, 6), DIMS(2, 32, 1, 1));
        check_binary(DEFT_LAYOUT_BLOCKS, constant, DIMS(2, 21, 5, 6), DIMS(2, 1, 5, 6));
        check_binary(DEFT_LAYOUT_BLOCKS, constant, DIMS(2, 21, 1, 6), DIMS(1, 21, 5, 1));
    }
    check_binary(DEFT_LAYOUT_BLOCKS, true, DIMS(2, 21, 5, 6), DIMS(21, 1, 1));
    check_binary(DEFT_LAYOUT_BLOCKS, true, DIMS(2, 21, 5, 6), DIMS(6));
    check_binary(DEFT_LAYOUT_BLOCKS, true, DIMS(2, 21, 5, 6), 0, NULL);
}

static void test_slopes_of_relu(void **state) {
    (void)state;
    for (int blocks = 0; blocks < 2; blocks++) {
        sample s = new_sample(DEFT_OP_RELU_GRAD);
        s.layout = blocks ? DEFT_LAYOUT_BLOCKS : DEFT_LAYOUT_ROWS;
        add_input(&s, false, DIMS(2, 21, 5, 131));
        add_input(&s, false, DIMS(2, 21, 5, 131));
        check(&s, DEFT_KERNEL_VECTOR_ELEMENT, 0, 0);
    }
}

/* The bound's derivation: vector_lrn.c; what its gradient adds to dy s^-3/4 is at most 8^3 in size here. */
static void test_lrn_in_blocks(void **state) {
    (void)state;
    for (int size = 1; size < 7; size += 2)
        for (int gradient = 0; gradient < 2; gradient++) {
            sample s = new_sample(gradient ? DEFT_OP_LRN_GRAD : DEFT_OP_LRN);
            s.layout = DEFT_LAYOUT_BLOCKS;
            s.whole_vectors = true;
            s.attr_items[s.attrs.count++] = (deft_attr){.name = "size", .type = DEFT_ATTR_INT, .i = size + 1};
            s.attr_items[s.attrs.count++] = (deft_attr){.name = "alpha", .type = DEFT_ATTR_FLOAT, .f = 0.5f};
            add_input(&s, false, DIMS(2, 37, 5, 3));
            if (gradient) add_input(&s, false, DIMS(2, 37, 5, 3));
            check(&s, DEFT_KERNEL_VECTOR_LRN, (0.75 * (size + 1) + 8) * half_ulp,
                  gradient ? (size + 17) * 512 * half_ulp : 0x1p-126);
        }
}

/* Slopes are at most 10 in size, and at most 9 meet. */
static void test_slopes_of_pools_in_blocks(void **state) {
    (void)state;
    static const int64_t kernels[][2] = {{3, 3}, {2, 2}, {3, 2}}, strides[][2] = {{2, 2}, {2, 2}, {1, 3}};
    static const int64_t pads[][4] = {{1, 1, 1, 1}, {0, 0, 0, 0}, {0, 1, 2, 0}}, out[][2] = {{5, 6}, {4, 5}, {9, 4}};
    for (int i = 0; i < 6; i++) {
        sample s = new_sample(i / 3 ? DEFT_OP_AVERAGE_POOL_GRAD : DEFT_OP_MAX_POOL_GRAD);
        int c = i % 3;
        s.layout = DEFT_LAYOUT_BLOCKS;
        s.whole_vectors = true;
        s.attr_items[s.attrs.count++] =
            (deft_attr){.name = "kernel_shape", .type = DEFT_ATTR_INTS, .ints = kernels[c], .count = 2};
        s.attr_items[s.attrs.count++] =
            (deft_attr){.name = "strides", .type = DEFT_ATTR_INTS, .ints = strides[c], .count = 2};
        s.attr_items[s.attrs.count++] =
            (deft_attr){.name = "pads", .type = DEFT_ATTR_INTS, .ints = pads[c], .count = 4};
        s.attr_items[s.attrs.count++] = (deft_attr){.name = "count_include_pad", .type = DEFT_ATTR_INT, .i = c == 2};
        add_input(&s, false, DIMS(2, 21, out[c][0], out[c][1]));
        add_input(&s, false, DIMS(2, 21, 9, 11));
        check(&s, DEFT_KERNEL_VECTOR_POOL_GRAD, 0, 9 * 9 * 10 * half_ulp);
    }
}

static void test_rows(void **state) {
    (void)state;
    static const int64_t lengths[] = {1, 2, 15, 16, 17, 70, 1000};
    for (int i = 0; i < 7; i++) {
        double terms = (double)lengths[i] / 16 + 8;
        sample s = new_sample(DEFT_OP_SOFTMAX);
        add_input(&s, false, DIMS(3, 19, lengths[i]));
        check(&s, DEFT_KERNEL_VECTOR_ROWS, terms * 0x1p-23, 0x1p-126);
        for (int shifted = 0; shifted < 2; shifted++) {
            s = new_sample(DEFT_OP_LAYER_NORM);
            s.attr_items[s.attrs.count++] = (deft_attr){.name = "epsilon", .type = DEFT_ATTR_FLOAT, .f = 1e-3f};
            add_input(&s, false, DIMS(3, 19, lengths[i]));
            add_input(&s, true, DIMS(lengths[i]));
            if (shifted) add_input(&s, true, DIMS(lengths[i]));
            /* |scale|, |shift| < 8; |mean| / deviation + 1 < 8 where there are elements enough, else < 8 / sqrt(1e-3)
             */
            double spread = lengths[i] > 8 ? 8 : 8 / sqrt(1e-3);
            check(&s, DEFT_KERNEL_VECTOR_ROWS, (terms + 8) * 0x1p-23, (terms + 8) * 0x1p-23 * (8 * spread + 8));
        }
    }
}

static void test_rows_keep_nan(void **state) {
    (void)state;
    for (int op = 0; op < 2; op++) {
        sample s = new_sample(op ? DEFT_OP_LAYER_NORM : DEFT_OP_SOFTMAX);
        add_input(&s, false, DIMS(3, 40));
        if (op) add_input(&s, true, DIMS(40));
        forward(&s, s.in, &s.out);
        ((float *)s.in[0].data)[45] = NAN;
        assert_true(run_kernel(&s, DEFT_KERNEL_VECTOR_ROWS));
        for (int i = 0; i < 120; i++)
            assert_int_equal(isnan(((float *)s.out.data)[i]) != 0, i / 40 == 1);
        free_sample(&s);
    }
}

static sample new_reduction(deft_op op, int rank, const int64_t *dims, const int64_t *axes, int axis_count) {
    sample s = new_sample(op);
    add_input(&s, false, rank, dims);
    if (axis_count)
        s.attr_items[s.attrs.count++] =
            (deft_attr){.name = "axes", .type = DEFT_ATTR_INTS, .ints = axes, .count = axis_count};
    s.opset = 11; /* axes are an attribute */
    return s;
}

static void test_reductions(void **state) {
    (void)state;
    static const deft_op ops[] = {DEFT_OP_REDUCE_SUM, DEFT_OP_REDUCE_MEAN, DEFT_OP_REDUCE_MAX};
    static const int64_t axes[][3] = {{0, 0, 0}, {1, 0, 0}, {3, 0, 0}, {2, 3, 0}, {1, 2, 3}, {0, 1, 2}};
    static const int counts[] = {1, 1, 1, 2, 3, 3};
    for (int op = 0; op < 3; op++)
        for (int i = 0; i < 6; i++) {
            sample s = new_reduction(ops[op], DIMS(3, 5, 70, 131), axes[i], counts[i]);
            double terms = 5 * 70 * 131; /* at most, of |x| < 10 */
            check(&s, DEFT_KERNEL_VECTOR_REDUCE, 0,
                  op == 2   ? 0
                  : op == 1 ? 10 * terms * half_ulp
                            : 10 * terms * terms * half_ulp);
        }
    sample s = new_reduction(DEFT_OP_REDUCE_SUM, DIMS(4, 3), NULL, 0);
    check(&s, DEFT_KERNEL_VECTOR_REDUCE, 0, 12 * 12 * 10 * half_ulp);
    s = new_reduction(DEFT_OP_GLOBAL_MAX_POOL, DIMS(2, 3, 5, 7), NULL, 0);
    check(&s, DEFT_KERNEL_VECTOR_REDUCE, 0, 0);
    s = new_reduction(DEFT_OP_REDUCE_SUM, DIMS(4, 3, 5), (int64_t[]){0, 2}, 2);
    forward(&s, s.in, &s.out);
    assert_false(run_kernel(&s, DEFT_KERNEL_VECTOR_REDUCE)); /* what is kept is between */
    free_sample(&s);
}

static void test_maxima_keep_nan(void **state) {
    (void)state;
    for (int axis = 0; axis < 2; axis++)
        for (int at = 0; at < 300; at += 37) {
            sample s = new_reduction(DEFT_OP_REDUCE_MAX, DIMS(3, 100), (int64_t[]){axis}, 1);
            forward(&s, s.in, &s.out);
            ((float *)s.in[0].data)[at] = NAN;
            assert_true(run_kernel(&s, DEFT_KERNEL_VECTOR_REDUCE));
            for (int i = 0; i < (axis ? 3 : 100); i++)
                assert_int_equal(isnan(((float *)s.out.data)[i]) != 0, i == (axis ? at / 100 : at % 100));
            free_sample(&s);
        }
}

static void add_scales(sample *s, float by_y, float by_x) {
    const float scales[] = {1, 1, by_y, by_x};
    int i = s->in_count;
    add_input(s, true, DIMS(4));
    for (int j = 0; j < 4; j++)
        ((double *)s->in64[i].data)[j] = ((float *)s->in[i].data)[j] = scales[j];
}

static sample new_upscale(deft_op op, float by_y, float by_x) {
    sample s = new_sample(op);
    add_input(&s, false, DIMS(2, 21, 5, 7));
    if (op == DEFT_OP_RESIZE) add_input(&s, true, DIMS(0)); /* no region */
    add_scales(&s, by_y, by_x);
    return s;
}

static void test_upscale(void **state) {
    (void)state;
    for (int blocks = 0; blocks < 2; blocks++)
        for (int by_y = 1; by_y < 5; by_y++) {
            sample s = new_upscale(DEFT_OP_UPSAMPLE, (float)by_y, 3);
            s.layout = blocks ? DEFT_LAYOUT_BLOCKS : DEFT_LAYOUT_ROWS;
            check(&s, DEFT_KERNEL_VECTOR_UPSCALE, 0, 0);
            s = new_upscale(DEFT_OP_RESIZE, (float)by_y, 2); /* half pixels, by default */
            s.layout = blocks ? DEFT_LAYOUT_BLOCKS : DEFT_LAYOUT_ROWS;
            check(&s, DEFT_KERNEL_VECTOR_UPSCALE, 0, 0);
        }
    static const char *const refused[][2] = {{"mode", "linear"}, {"coordinate_transformation_mode", "align_corners"}};
    for (int i = 0; i < 3; i++) {
        sample s = new_upscale(DEFT_OP_RESIZE, i == 2 ? 2.1f : 2, 2); /* 5 times 2.1 is 10, but from other pixels */
        if (i < 2)
            s.attr_items[s.attrs.count++] =
                (deft_attr){.name = refused[i][0], .type = DEFT_ATTR_STRING, .s = refused[i][1]};
        forward(&s, s.in, &s.out);
        assert_false(run_kernel(&s, DEFT_KERNEL_VECTOR_UPSCALE));
        free_sample(&s);
    }
}

static void test_what_is_refused(void **state) {
    (void)state;
    sample s = new_sample(DEFT_OP_POW); /* only squares */
    add_input(&s, false, DIMS(5));
    add_input(&s, true, 0, NULL);
    forward(&s, s.in, &s.out);
    assert_false(run_kernel(&s, DEFT_KERNEL_VECTOR_ELEMENT));
    *(float *)s.in[1].data = 2;
    assert_true(run_kernel(&s, DEFT_KERNEL_VECTOR_ELEMENT));
    float x = ((float *)s.in[0].data)[3];
    assert_true(((float *)s.out.data)[3] == x * x);
    assert_false(run_kernel(&s, DEFT_KERNEL_VECTOR_ROWS));
    free_sample(&s);
    s = new_sample(DEFT_OP_PRELU); /* old slopes are of channels */
    s.opset = 6;
    add_input(&s, false, DIMS(2, 3, 3, 3));
    add_input(&s, true, DIMS(3));
    forward(&s, s.in, &s.out);
    assert_false(run_kernel(&s, DEFT_KERNEL_VECTOR_ELEMENT));
    s.opset = 7;
    assert_true(run_kernel(&s, DEFT_KERNEL_VECTOR_ELEMENT));
    free_sample(&s);
    s = new_sample(DEFT_OP_SOFTMAX); /* along columns */
    s.attr_items[s.attrs.count++] = (deft_attr){.name = "axis", .type = DEFT_ATTR_INT, .i = 0};
    add_input(&s, false, DIMS(5, 3));
    forward(&s, s.in, &s.out);
    assert_false(run_kernel(&s, DEFT_KERNEL_VECTOR_ROWS));
    free_sample(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_functions_keep_their_bounds),
        cmocka_unit_test(test_powers_that_are_not_normal),
        cmocka_unit_test(test_functions_at_the_ends),
        cmocka_unit_test(test_unary_operators),
        cmocka_unit_test(test_binary_operators),
        cmocka_unit_test(test_slopes_of_relu),
        cmocka_unit_test(test_lrn_in_blocks),
        cmocka_unit_test(test_slopes_of_pools_in_blocks),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_rows_keep_nan),
        cmocka_unit_test(test_reductions),
        cmocka_unit_test(test_maxima_keep_nan),
        cmocka_unit_test(test_upscale),
        cmocka_unit_test(test_what_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
