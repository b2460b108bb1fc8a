/* LSTM, GRU and RNN on vectors against the operator's own forward in float64. The weights of a row add up to at most
 * 1/2, so that an error of a state shrinks from step to step: sigmoid' <= 1/4 and tanh' <= 1 times 1/2, and what a gate
 * adds of the other factors, which are at most 1. A cell sums errors up over the steps. */
#include "tests/support.h"

#include <math.h>
#include <string.h>

#include "base/core/cpu.h"
#include "base/core/rng.h"
#include "codegen/kernel/kernel.h"

enum { INPUTS = 7, OUTPUTS = 3, H = 5, C = 6, MOST_STEPS = 6 };

typedef struct layer {
    deft_context *ctx;
    deft_op op;
    deft_rng rng;
    deft_attr attr_items[4];
    deft_attrs attrs;
    int in_count, out_count;
    bool given[INPUTS];
    deft_tensor in[INPUTS], in64[INPUTS], out[OUTPUTS], out64[OUTPUTS];
} layer;

static int64_t any(layer *l, int64_t low, int64_t high) {
    return low + (int64_t)deft_rng_below(&l->rng, (uint64_t)(high - low + 1));
}

/* Uniform within +-size. */
static void add_input(layer *l, int index, double size, int rank, int64_t a, int64_t b, int64_t c) {
    l->given[index] = true;
    if (index >= l->in_count) l->in_count = index + 1;
    l->in[index] = (deft_tensor){.dtype = DEFT_F32, .rank = rank, .dims = {a, b, c}};
    l->in64[index] = l->in[index];
    l->in64[index].dtype = DEFT_F64;
    assert_int_equal(deft_tensor_allocate(l->ctx, &l->in[index]), DEFT_OK);
    assert_int_equal(deft_tensor_allocate(l->ctx, &l->in64[index]), DEFT_OK);
    for (int64_t i = 0; i < deft_tensor_count(&l->in[index]); i++)
        ((double *)l->in64[index].data)[i] = ((float *)l->in[index].data)[i] =
            (float)(size * (2 * (double)deft_rng_uniform(&l->rng) - 1));
}

static layer sized_layer(uint64_t seed, int64_t steps, int64_t batch, int64_t inputs, int64_t hidden) {
    static const deft_op ops[] = {DEFT_OP_LSTM, DEFT_OP_GRU, DEFT_OP_RNN};
    static const char *const ways[] = {"forward", "reverse", "bidirectional"};
    layer l = {.ctx = test_context(), .op = ops[seed % 3]};
    deft_rng_init(&l.rng, seed, 9);
    int64_t way = any(&l, 0, 2), directions = way == 2 ? 2 : 1, layout = any(&l, 0, 1);
    int64_t gates = l.op == DEFT_OP_LSTM ? 4 : l.op == DEFT_OP_GRU ? 3 : 1;
    l.attr_items[0] = (deft_attr){.name = "direction", .type = DEFT_ATTR_STRING, .s = ways[way]};
    l.attr_items[1] = (deft_attr){.name = "layout", .type = DEFT_ATTR_INT, .i = layout};
    l.attr_items[2] = (deft_attr){.name = "linear_before_reset", .type = DEFT_ATTR_INT, .i = any(&l, 0, 1)};
    l.attrs = (deft_attrs){.items = l.attr_items, .count = 3};
    add_input(&l, 0, 2, 3, layout ? batch : steps, layout ? steps : batch, inputs);
    add_input(&l, 1, 0.5 / (double)inputs, 3, directions, gates * hidden, inputs);
    add_input(&l, 2, 0.5 / (double)hidden, 3, directions, gates * hidden, hidden);
    if (any(&l, 0, 1)) add_input(&l, 3, 1, 2, directions, 2 * gates * hidden, 1);
    if (any(&l, 0, 1)) add_input(&l, H, 1, 3, layout ? batch : directions, layout ? directions : batch, hidden);
    if (l.op == DEFT_OP_LSTM && any(&l, 0, 1))
        add_input(&l, C, 1, 3, layout ? batch : directions, layout ? directions : batch, hidden);
    l.out_count = l.op == DEFT_OP_LSTM ? 3 : 2;
    return l;
}

static layer random_layer(uint64_t seed) {
    layer sizes;
    deft_rng_init(&sizes.rng, seed, 10);
    int64_t steps = any(&sizes, 1, MOST_STEPS), batch = any(&sizes, 1, 5), inputs = any(&sizes, 1, 40);
    return sized_layer(seed, steps, batch, inputs, any(&sizes, 1, 70));
}

/* Shapes the outputs, and fills the lists. */
static deft_op_call call_of(layer *l, deft_tensor *in, deft_tensor *out, const deft_tensor **in_list,
                            deft_tensor **out_list) {
    for (int i = 0; i < l->in_count; i++)
        in_list[i] = l->given[i] ? &in[i] : NULL;
    for (int i = 0; i < l->out_count; i++)
        out_list[i] = &out[i];
    l->attrs.items = l->attr_items;
    deft_op_call call = {.ctx = l->ctx,
                         .name = "layer",
                         .op = l->op,
                         .attrs = &l->attrs,
                         .opset = 14,
                         .threads = 2,
                         .in_count = l->in_count,
                         .out_count = l->out_count,
                         .in = in_list,
                         .out = out_list};
    assert_int_equal(deft_ops[l->op].shape(&call), DEFT_OK);
    for (int i = 0; i < l->out_count; i++)
        if (!out[i].data) assert_int_equal(deft_tensor_allocate(l->ctx, &out[i]), DEFT_OK);
    return call;
}

static void free_layer(layer *l) {
    for (int i = 0; i < INPUTS; i++) {
        deft_release(l->ctx, l->in[i].data);
        deft_release(l->ctx, l->in64[i].data);
    }
    for (int i = 0; i < OUTPUTS; i++) {
        deft_release(l->ctx, l->out[i].data);
        deft_release(l->ctx, l->out64[i].data);
    }
    test_context_free(l->ctx);
}

/* A request of constant weights, on which X and the states change. */
static deft_request request_of(layer *l, const deft_op_call *call, deft_isa isa, deft_tensor *shown,
                               const deft_tensor **shown_list) {
    deft_request request = {.call = *call, .activation = deft_activation_none, .isa = isa};
    for (int i = 0; i < l->in_count; i++) {
        shown_list[i] = l->given[i] ? &shown[i] : NULL;
        shown[i] = l->in[i];
        if (i == 0 || i == H || i == C) shown[i].data = NULL;
    }
    request.call.in = shown_list;
    return request;
}

/* Nothing may read the weights and biases that the kernel has packed: they are made NaN, and kept meanwhile. */
static void hide_packed(layer *l, const deft_kernel *kernel, void **saved) {
    assert_int_equal(kernel->packed, l->given[3] ? 0xe : 0x6);
    for (int i = 1; i <= 3; i++) {
        if (!l->given[i]) continue;
        size_t bytes = deft_tensor_bytes(&l->in[i]);
        assert_int_equal(deft_allocate(l->ctx, bytes, &saved[i]), DEFT_OK);
        memcpy(saved[i], l->in[i].data, bytes);
        memset(l->in[i].data, 0xff, bytes);
    }
}

static void show_packed(layer *l, void **saved) {
    for (int i = 1; i <= 3; i++) {
        if (!l->given[i]) continue;
        memcpy(l->in[i].data, saved[i], deft_tensor_bytes(&l->in[i]));
        deft_release(l->ctx, saved[i]);
    }
}

static void run_kernel(layer *l, deft_isa isa) {
    const deft_tensor *in_list[INPUTS], *shown_list[INPUTS];
    deft_tensor *out_list[OUTPUTS], shown[INPUTS];
    const char *why;
    void *scratch, *saved[4];
    deft_kernel kernel;
    deft_op_call call = call_of(l, l->in, l->out, in_list, out_list);
    deft_request request = request_of(l, &call, isa, shown, shown_list);
    assert_true(deft_kernels[DEFT_KERNEL_VECTOR_RECURRENT].accepts(&request, &why));
    assert_true(isfinite(deft_kernels[DEFT_KERNEL_VECTOR_RECURRENT].estimate_ns(&request)));
    assert_int_equal(deft_kernel_prepare(l->ctx, DEFT_KERNEL_VECTOR_RECURRENT, &request, &kernel), DEFT_OK);
    assert_int_equal(deft_allocate(l->ctx, kernel.scratch_bytes, &scratch), DEFT_OK);
    memset(scratch, 0xff, kernel.scratch_bytes); /* NaN: nothing is read before it is written */
    for (int i = 0; i < l->out_count; i++)
        memset(l->out[i].data, 0xff, deft_tensor_bytes(&l->out[i]));
    hide_packed(l, &kernel, saved);
    assert_int_equal(kernel.def->run(l->ctx, &kernel, in_list, out_list, scratch), DEFT_OK);
    show_packed(l, saved);
    deft_release(l->ctx, scratch);
    deft_kernel_done(l->ctx, &kernel);
}

/* Of a step: gamma of the products, whose terms add up to at most 2 of inputs (|x| <= 2, sum|w| <= 1/2), 1 of biases
 * and 1/2 of the state; and 16 units for the functions. */
static double bound_of(const layer *l) {
    double terms = (double)(l->in[1].dims[2] + l->in[2].dims[2] + 2);
    return 4 * MOST_STEPS * (terms * 4 + 16) * 0x1p-24;
}

static double largest_difference(const layer *l) {
    double worst = 0;
    for (int i = 0; i < l->out_count; i++)
        for (int64_t j = 0; j < deft_tensor_count(&l->out[i]); j++) {
            double error = fabs((double)((const float *)l->out[i].data)[j] - ((const double *)l->out64[i].data)[j]);
            if (!(error <= worst)) worst = error;
        }
    return worst;
}

/* By every instruction set. */
static void compare_on(layer *l, int seed) {
    static const deft_isa isas[] = {DEFT_ISA_C, DEFT_ISA_AVX2, DEFT_ISA_AVX512};
    const deft_tensor *in_list[INPUTS];
    deft_tensor *out_list[OUTPUTS];
    deft_op_call call = call_of(l, l->in64, l->out64, in_list, out_list);
    assert_int_equal(deft_op_forward(&call), DEFT_OK);
    for (int i = 0; i < 3; i++) {
        if (!deft_cpu_has(isas[i])) continue;
        run_kernel(l, isas[i]);
        double error = largest_difference(l);
        if (!(error <= bound_of(l)))
            fail_msg("seed %d, isa %d: %g, at most %g", seed, (int)isas[i], error, bound_of(l));
    }
    ((double *)l->out64[0].data)[0] += 0.01; /* a wrong result is seen */
    assert_true(largest_difference(l) > bound_of(l));
}

static void test_random_layers(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 90; seed++) {
        layer l = random_layer(seed);
        compare_on(&l, (int)seed);
        free_layer(&l);
    }
}

/* Enough units that two threads share each sequence: the weights of a direction are more than a megabyte. */
static void test_shared_sequences(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 6; seed++) {
        layer l = sized_layer(seed, 3, 1 + (int64_t)(seed / 3), 9, seed % 3 == 2 ? 530 : 300);
        compare_on(&l, (int)seed);
        free_layer(&l);
    }
}

static void test_what_it_refuses(void **state) {
    (void)state;
    layer l = random_layer(0);
    const deft_tensor *in_list[INPUTS], *shown_list[INPUTS];
    deft_tensor *out_list[OUTPUTS], shown[INPUTS];
    const deft_kernel_def *def = &deft_kernels[DEFT_KERNEL_VECTOR_RECURRENT];
    const char *why;
    deft_op_call call = call_of(&l, l.in, l.out, in_list, out_list);
    deft_request request = request_of(&l, &call, l.ctx->isa, shown, shown_list);
    assert_true(def->accepts(&request, &why));
    shown[2].data = NULL;
    assert_false(def->accepts(&request, &why));
    shown[2] = l.in[2];
    l.attr_items[3] = (deft_attr){.name = "clip", .type = DEFT_ATTR_FLOAT, .f = 1};
    l.attrs.count = 4;
    assert_false(def->accepts(&request, &why));
    l.attrs.count = 3;
    request.activation.low = 0;
    assert_false(def->accepts(&request, &why));
    free_layer(&l);
}

static deft_status prepare_once(deft_context *ctx, void *user) {
    layer *l = user;
    const deft_tensor *in_list[INPUTS], *shown_list[INPUTS];
    deft_tensor *out_list[OUTPUTS], shown[INPUTS];
    deft_kernel kernel;
    deft_op_call call = call_of(l, l->in, l->out, in_list, out_list);
    deft_request request = request_of(l, &call, ctx->isa, shown, shown_list);
    DEFT_TRY(deft_kernel_prepare(ctx, DEFT_KERNEL_VECTOR_RECURRENT, &request, &kernel));
    deft_kernel_done(ctx, &kernel);
    return DEFT_OK;
}

static void test_allocations_may_fail(void **state) {
    (void)state;
    layer l = random_layer(1);
    check_every_allocation_failure(prepare_once, &l);
    free_layer(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_layers), cmocka_unit_test(test_shared_sequences),
                                       cmocka_unit_test(test_what_it_refuses),
                                       cmocka_unit_test(test_allocations_may_fail)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
