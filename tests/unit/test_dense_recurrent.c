/* LSTM, GRU and RNN, and their steps back, on oneDNN with weights that change, against the operators' own forwards in
 * float64. The weights of a state add up to at most 1/4 over what they are multiplied with, so that errors shrink from
 * step to step; those of cells and of their gradients are sums over the steps, which |dY| <= 1 keeps below 2 a step. */
#include "tests/support.h"

#include <math.h>
#include <string.h>

#include "base/core/rng.h"
#include "codegen/kernel/kernel.h"
#include "ir/op/recurrent.h"

enum { INPUTS = 12, OUTPUTS = 6, MOST_STEPS = 5, SEEDS = 60 };
enum { ZX, ZH, Y = 8, DY, DYH, DYC }; /* of RecurrentGrad, beside those of the forward operators */

typedef struct problem {
    deft_context *ctx;
    deft_rng rng;
    deft_op op, of;
    deft_attr attr_items[5];
    deft_attrs attrs;
    int64_t steps, batch, inputs, hidden, directions, width;
    bool batch_first;
    int in_count, out_count;
    deft_tensor in[INPUTS], in64[INPUTS], out[OUTPUTS], out64[OUTPUTS]; /* absent ones are of rank 0 */
} problem;

static int64_t any(problem *p, int64_t low, int64_t high) {
    return low + (int64_t)deft_rng_below(&p->rng, (uint64_t)(high - low + 1));
}

static void add_lengths(problem *p) {
    deft_tensor lengths = {.dtype = DEFT_I32, .rank = 1, .dims = {p->batch}};
    assert_int_equal(deft_tensor_allocate(p->ctx, &lengths), DEFT_OK);
    for (int64_t i = 0; i < p->batch; i++)
        ((int32_t *)lengths.data)[i] = (int32_t)any(p, 0, p->steps);
    p->in[DEFT_RNN_LENGTHS] = p->in64[DEFT_RNN_LENGTHS] = lengths;
}

/* Uniform within +-size. */
static void add_input(problem *p, int index, double size, deft_tensor shape) {
    deft_tensor *narrow = &p->in[index], *wide = &p->in64[index];
    *narrow = *wide = shape;
    narrow->dtype = DEFT_F32;
    wide->dtype = DEFT_F64;
    assert_int_equal(deft_tensor_allocate(p->ctx, narrow), DEFT_OK);
    assert_int_equal(deft_tensor_allocate(p->ctx, wide), DEFT_OK);
    for (int64_t i = 0; i < deft_tensor_count(&shape); i++)
        ((double *)wide->data)[i] = ((float *)narrow->data)[i] =
            (float)(size * (2 * (double)deft_rng_uniform(&p->rng) - 1));
}

static deft_tensor shape3(int64_t a, int64_t b, int64_t c) {
    return (deft_tensor){.rank = 3, .dims = {a, b, c}};
}

static deft_tensor state_shape(const problem *p) {
    return p->batch_first ? shape3(p->batch, p->directions, p->hidden) : shape3(p->directions, p->batch, p->hidden);
}

static deft_tensor y_shape(const problem *p) {
    if (p->batch_first) return (deft_tensor){.rank = 4, .dims = {p->batch, p->steps, p->directions, p->hidden}};
    return (deft_tensor){.rank = 4, .dims = {p->steps, p->directions, p->batch, p->hidden}};
}

/* What both directions of the computation have. */
static problem start(uint64_t seed, bool back) {
    static const deft_op ops[] = {DEFT_OP_LSTM, DEFT_OP_GRU, DEFT_OP_RNN};
    static const char *const ways[] = {"forward", "reverse", "bidirectional"};
    problem p = {.ctx = test_context(), .of = ops[seed % 3]};
    deft_rng_init(&p.rng, seed, back);
    p.op = back ? DEFT_OP_RECURRENT_GRAD : p.of;
    p.steps = any(&p, 1, MOST_STEPS);
    p.batch = any(&p, 1, 5);
    p.inputs = any(&p, 1, 9);
    p.hidden = any(&p, 1, 33);
    p.batch_first = any(&p, 0, 1);
    int64_t way = any(&p, 0, 2), gates = p.of == DEFT_OP_LSTM ? 4 : p.of == DEFT_OP_GRU ? 3 : 1;
    p.directions = way == 2 ? 2 : 1;
    p.width = gates * p.hidden;
    p.attr_items[0] = (deft_attr){.name = "direction", .type = DEFT_ATTR_STRING, .s = ways[way]};
    p.attr_items[1] = (deft_attr){.name = "layout", .type = DEFT_ATTR_INT, .i = p.batch_first};
    p.attr_items[2] = (deft_attr){.name = "linear_before_reset", .type = DEFT_ATTR_INT, .i = 1};
    p.attr_items[3] = (deft_attr){.name = "of", .type = DEFT_ATTR_INT, .i = p.of};
    p.attrs.count = 4;
    add_input(&p, DEFT_RNN_R, 0.25 / (double)p.width, shape3(p.directions, p.width, p.hidden));
    if (any(&p, 0, 1)) add_input(&p, DEFT_RNN_B, 1, (deft_tensor){.rank = 2, .dims = {p.directions, 2 * p.width}});
    if (any(&p, 0, 1)) add_lengths(&p);
    if (any(&p, 0, 1)) add_input(&p, DEFT_RNN_H, 1, state_shape(&p));
    if (p.of == DEFT_OP_LSTM && any(&p, 0, 1)) add_input(&p, DEFT_RNN_C, 1, state_shape(&p));
    return p;
}

static problem random_problem(uint64_t seed, bool back) {
    problem p = start(seed, back);
    if (!back) {
        add_input(&p, DEFT_RNN_X, 1,
                  p.batch_first ? shape3(p.batch, p.steps, p.inputs) : shape3(p.steps, p.batch, p.inputs));
        add_input(&p, DEFT_RNN_W, 1 / (double)p.inputs, shape3(p.directions, p.width, p.inputs));
        p.in_count = p.of == DEFT_OP_LSTM ? 7 : 6;
        p.out_count = p.of == DEFT_OP_LSTM ? 3 : 2;
        return p;
    }
    add_input(&p, ZX, 1, shape3(p.directions, p.steps * p.batch, p.width));
    add_input(&p, ZH, 1, shape3(p.directions, p.steps * p.batch, p.width));
    add_input(&p, Y, 1, y_shape(&p));
    add_input(&p, DY, 1, y_shape(&p));
    if (any(&p, 0, 1)) add_input(&p, DYH, 1, state_shape(&p));
    if (p.of == DEFT_OP_LSTM && any(&p, 0, 1)) add_input(&p, DYC, 1, state_shape(&p));
    p.in_count = INPUTS;
    p.out_count = p.of == DEFT_OP_LSTM ? 6 : p.of == DEFT_OP_GRU ? 4 : 3;
    return p;
}

/* Shapes the outputs, and fills the lists. */
static deft_op_call call_of(problem *p, const deft_tensor *in, deft_tensor *out, const deft_tensor **in_list,
                            deft_tensor **out_list) {
    for (int i = 0; i < p->in_count; i++)
        in_list[i] = in[i].rank ? &in[i] : NULL;
    for (int i = 0; i < p->out_count; i++)
        out_list[i] = &out[i];
    p->attrs.items = p->attr_items;
    deft_op_call call = {.ctx = p->ctx,
                         .name = "tested",
                         .op = p->op,
                         .attrs = &p->attrs,
                         .opset = 14,
                         .threads = 2,
                         .in_count = p->in_count,
                         .out_count = p->out_count,
                         .in = in_list,
                         .out = out_list};
    if (deft_ops[p->op].shape(&call) != DEFT_OK) fail_msg("%s", deft_context_message(p->ctx));
    for (int i = 0; i < p->out_count; i++)
        if (!out[i].data) assert_int_equal(deft_tensor_allocate(p->ctx, &out[i]), DEFT_OK);
    return call;
}

static void free_problem(problem *p) {
    for (int i = 0; i < INPUTS; i++) {
        if (p->in64[i].data != p->in[i].data) deft_release(p->ctx, p->in64[i].data);
        deft_release(p->ctx, p->in[i].data);
    }
    for (int i = 0; i < OUTPUTS; i++) {
        deft_release(p->ctx, p->out[i].data);
        deft_release(p->ctx, p->out64[i].data);
    }
    test_context_free(p->ctx);
}

static void run_kernel(problem *p) {
    const deft_kernel_def *def = &deft_kernels[DEFT_KERNEL_DENSE_RECURRENT];
    const deft_tensor *in_list[INPUTS], *shown_list[INPUTS];
    deft_tensor *out_list[OUTPUTS], shown[INPUTS];
    const char *why = "";
    void *scratch;
    deft_kernel kernel;
    deft_op_call call = call_of(p, p->in, p->out, in_list, out_list);
    deft_request request = {.call = call, .activation = deft_activation_none, .isa = p->ctx->isa};
    for (int i = 0; i < p->in_count; i++) { /* nothing is constant */
        shown[i] = p->in[i];
        shown[i].data = NULL;
        shown_list[i] = in_list[i] ? &shown[i] : NULL;
    }
    request.call.in = shown_list;
    if (!def->accepts(&request, &why)) fail_msg("%s", why);
    assert_true(isfinite(def->estimate_ns(&request)));
    assert_int_equal(deft_kernel_prepare(p->ctx, DEFT_KERNEL_DENSE_RECURRENT, &request, &kernel), DEFT_OK);
    assert_int_equal(deft_allocate(p->ctx, kernel.scratch_bytes + 1, &scratch), DEFT_OK);
    memset(scratch, 0xff, kernel.scratch_bytes); /* NaN: nothing is read before it is written */
    for (int i = 0; i < p->out_count; i++)
        memset(p->out[i].data, 0xff, deft_tensor_bytes(&p->out[i]));
    assert_int_equal(def->run(p->ctx, &kernel, in_list, out_list, scratch), DEFT_OK);
    deft_release(p->ctx, scratch);
    deft_kernel_done(p->ctx, &kernel);
}

/* Of each of the steps: gamma of the products' terms, and 64 units for functions and what is multiplied with them, of
 * numbers up to 2 a step. */
static double bound_of(const problem *p) {
    double terms = (double)(p->width + p->hidden + p->inputs + 64);
    return 2 * MOST_STEPS * MOST_STEPS * terms * 0x1p-24;
}

/* Without what is left in output 2 of a gradient, which is for work. */
static double largest_difference(const problem *p) {
    double worst = 0;
    for (int i = 0; i < p->out_count; i++)
        for (int64_t j = 0; j < deft_tensor_count(&p->out[i]) && (p->op == p->of || i != 2); j++) {
            double error = fabs((double)((const float *)p->out[i].data)[j] - ((const double *)p->out64[i].data)[j]);
            if (!(error <= worst)) worst = error;
        }
    return worst;
}

static void check_random(bool back) {
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        problem p = random_problem(seed, back);
        const deft_tensor *in_list[INPUTS];
        deft_tensor *out_list[OUTPUTS];
        deft_op_call call = call_of(&p, p.in64, p.out64, in_list, out_list);
        assert_int_equal(deft_op_forward(&call), DEFT_OK);
        run_kernel(&p);
        double error = largest_difference(&p);
        if (!(error <= bound_of(&p))) fail_msg("seed %d: %g, at most %g", (int)seed, error, bound_of(&p));
        ((double *)p.out64[0].data)[0] += 0.01; /* a wrong result is seen */
        assert_true(largest_difference(&p) > bound_of(&p));
        free_problem(&p);
    }
}

static void test_forward(void **state) {
    (void)state;
    check_random(false);
}

static void test_back(void **state) {
    (void)state;
    check_random(true);
}

static void test_what_it_refuses(void **state) {
    (void)state;
    for (int back = 0; back < 2; back++) {
        problem p = random_problem(1, back); /* a GRU */
        const deft_kernel_def *def = &deft_kernels[DEFT_KERNEL_DENSE_RECURRENT];
        const deft_tensor *in_list[INPUTS];
        deft_tensor *out_list[OUTPUTS];
        const char *why;
        deft_request request = {
            .call = call_of(&p, p.in, p.out, in_list, out_list), .activation = deft_activation_none, .isa = p.ctx->isa};
        assert_true(def->accepts(&request, &why));
        p.attr_items[2].i = 0;
        assert_false(def->accepts(&request, &why));
        p.attr_items[2].i = 1;
        request.activation.low = 0;
        assert_false(def->accepts(&request, &why));
        request.activation = deft_activation_none;
        request.call.op = DEFT_OP_MATMUL;
        assert_false(def->accepts(&request, &why));
        free_problem(&p);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forward),
        cmocka_unit_test(test_back),
        cmocka_unit_test(test_what_it_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
