/* Plans: what is fused, what shares memory, in which layout values lie. That the results stay right is test_executor's.
 */
#include "tests/unit/graphs.h"

#include <math.h>

#include "base/core/cpu.h"
#include "exec/plan/plan.h"

static deft_plan *plan_of(deft_graph *graph, const deft_plan_options *options) {
    deft_plan *plan = NULL;
    deft_status status = deft_plan_new(graph->ctx, graph, options, &plan);
    if (status != DEFT_OK) print_message("%s\n", deft_context_message(graph->ctx));
    assert_int_equal(status, DEFT_OK);
    return plan;
}

static void check_step(const deft_plan *plan, int index, deft_op op, float low, float high) {
    const deft_step *step = &plan->steps[index];
    assert_true(index < plan->step_count);
    assert_int_equal(plan->graph->nodes[step->node].op, op);
    assert_true(step->activation.low == low && step->activation.high == high);
    assert_true(step->choice.why[0] != 0);
    assert_non_null(step->kernel.def);
}

static void free_all(deft_plan *plan, deft_graph *graph) {
    deft_context *ctx = graph->ctx;
    deft_plan_free(plan);
    deft_graph_free(graph);
    test_context_free(ctx);
}

static void test_fuses_activations(void **state) {
    (void)state;
    deft_graph *graph = new_graph(test_context());
    add_graph_input(graph, "x", DIMS(-1, 8));
    add_weight(graph, "w1", DIMS(8, 6), 0);
    add_weight(graph, "w2", DIMS(6, 4), 0);
    add_weight(graph, "low", 0, NULL, 1);
    NODE(graph, GEMM, "a", "x", "w1");
    NODE(graph, RELU, "b", "a");
    NODE(graph, MATMUL, "c", "b", "w2");
    NODE(graph, CLIP, "y", "c", "low");
    finish_graph(graph, "y");
    deft_plan *plan = plan_of(graph, &(deft_plan_options){.batch = 5});
    assert_int_equal(plan->step_count, 2);
    check_step(plan, 0, DEFT_OP_GEMM, 0, INFINITY);
    check_step(plan, 1, DEFT_OP_MATMUL, 0, INFINITY);
    assert_int_equal(plan->steps[0].macs, 5 * 8 * 6);
    free_all(plan, graph);
}

/* A value that someone else needs before the activation stays. */
static void test_keeps_what_is_used_elsewhere(void **state) {
    (void)state;
    for (int as_output = 0; as_output < 2; as_output++) {
        deft_graph *graph = new_graph(test_context());
        add_graph_input(graph, "x", DIMS(-1, 8));
        add_weight(graph, "w", DIMS(8, 8), 0);
        NODE(graph, GEMM, "a", "x", "w");
        NODE(graph, RELU, "b", "a");
        if (as_output)
            assert_int_equal(deft_graph_add_output(graph, value_named(graph, "a")), DEFT_OK);
        else
            NODE(graph, ADD, "c", "a", "b");
        finish_graph(graph, as_output ? "b" : "c");
        deft_plan *plan = plan_of(graph, NULL);
        assert_int_equal(plan->step_count, as_output ? 2 : 3);
        check_step(plan, 0, DEFT_OP_GEMM, -INFINITY, INFINITY);
        free_all(plan, graph);
    }
}

static void test_fuses_bias(void **state) {
    (void)state;
    deft_graph *graph = new_graph(test_context());
    add_graph_input(graph, "x", DIMS(-1, 8));
    add_weight(graph, "w", DIMS(8, 6), 0);
    add_weight(graph, "bias", DIMS(6), 0);
    add_weight(graph, "wide", DIMS(3, 1, 6), 0);
    NODE(graph, MATMUL, "a", "x", "w");
    NODE(graph, ADD, "b", "bias", "a");
    NODE(graph, RELU, "c", "b");
    NODE(graph, MATMUL, "d", "x", "w");
    NODE(graph, ADD, "e", "d", "wide"); /* makes it larger: not a bias */
    assert_int_equal(deft_graph_add_output(graph, value_named(graph, "e")), DEFT_OK);
    finish_graph(graph, "c");
    deft_plan *plan = plan_of(graph, &(deft_plan_options){.batch = 2});
    assert_int_equal(plan->step_count, 3);
    int biased = 0;
    for (int i = 0; i < 3; i++)
        biased += plan->steps[i].in_count == 3;
    assert_int_equal(biased, 1);
    free_all(plan, graph);
}

enum { CHAIN = 8 };

/* Of a picture of 64 numbers. */
static deft_plan *plan_of_chain(deft_graph *graph, deft_op op) {
    add_graph_input(graph, "v0", DIMS(-1, 64));
    for (int i = 0; i < CHAIN; i++) {
        char in[8], out[8];
        snprintf(in, sizeof in, "v%d", i);
        snprintf(out, sizeof out, "v%d", i + 1);
        add_node(graph, op, NULL, 0, (const char *const[]){in}, 1, out);
    }
    finish_graph(graph, "v8");
    deft_plan *plan = plan_of(graph, &(deft_plan_options){.batch = 16});
    assert_int_equal(plan->step_count, CHAIN);
    return plan;
}

/* A chain of equal layers needs two buffers beside the input's and output's, however long it is, and none where each
 * may write over what it has read. */
static void test_reuses_memory(void **state) {
    (void)state;
    enum { BYTES = 4 * 16 * 64 };
    deft_graph *graph = new_graph(test_context());
    deft_plan *plan = plan_of_chain(graph, DEFT_OP_SIGMOID);
    assert_int_equal(plan->memory_bytes, 2 * BYTES);
    free_all(plan, graph);
    graph = new_graph(test_context());
    plan = plan_of_chain(graph, DEFT_OP_SIN); /* by the reference */
    assert_int_equal(plan->memory_bytes, 4 * BYTES);
    for (int i = 0; i < plan->step_count; i++) { /* what a step reads and what it writes lie apart */
        const deft_placement *in = &plan->placements[plan->steps[i].in[0]],
                             *out = &plan->placements[plan->steps[i].out[0]];
        assert_true(in->offset + (int64_t)in->bytes <= out->offset || out->offset + (int64_t)out->bytes <= in->offset);
        assert_int_equal(in->offset % 64, 0);
    }
    free_all(plan, graph);
}

/* Nothing in planning or running takes time in the square of the nodes. */
static void test_many_nodes(void **state) {
    (void)state;
    enum { LAYERS = 30000 };
    deft_graph *graph = new_graph(test_context());
    add_graph_input(graph, "v0", DIMS(-1, 4));
    for (int i = 0; i < LAYERS; i++) {
        char in[16], out[16];
        snprintf(in, sizeof in, "v%d", i);
        snprintf(out, sizeof out, "v%d", i + 1);
        NODE(graph, RELU, out, in);
    }
    finish_graph(graph, "v30000");
    deft_plan *plan = plan_of(graph, NULL);
    assert_int_equal(plan->step_count, LAYERS);
    free_all(plan, graph);
}

static void test_views_share_memory(void **state) {
    (void)state;
    deft_graph *graph = new_graph(test_context());
    add_graph_input(graph, "x", DIMS(-1, 2, 3, 4));
    NODE(graph, FLATTEN, "flat", "x");
    NODE(graph, SIGMOID, "a", "flat");
    NODE(graph, IDENTITY, "b", "a");
    NODE(graph, TANH, "y", "b");
    finish_graph(graph, "y");
    assert_int_equal(deft_graph_add_output(graph, value_named(graph, "flat")), DEFT_OK);
    deft_plan *plan = plan_of(graph, &(deft_plan_options){.batch = 2, .training = false});
    /* The flat input is an output too, so it has memory of its own and is a copy. */
    assert_int_equal(plan->step_count, 3);
    free_all(plan, graph);

    graph = new_graph(test_context());
    add_graph_input(graph, "x", DIMS(-1, 2, 3, 4));
    NODE(graph, FLATTEN, "flat", "x");
    NODE(graph, SIGMOID, "a", "flat");
    NODE(graph, FLATTEN, "y", "a");
    finish_graph(graph, "y");
    plan = plan_of(graph, &(deft_plan_options){.batch = 2});
    assert_int_equal(plan->step_count, 1);
    int x = deft_graph_find(plan->graph, "x"), flat = deft_graph_find(plan->graph, "flat");
    assert_true(plan->placements[x].offset >= 0);
    assert_int_equal(plan->placements[flat].offset, plan->placements[x].offset);
    free_all(plan, graph);
}

static void test_training_changes_nothing(void **state) {
    (void)state;
    deft_graph *graph = new_graph(test_context());
    add_graph_input(graph, "x", DIMS(4, 64));
    add_weight(graph, "w", DIMS(64, 48), 0);
    NODE(graph, GEMM, "a", "x", "w");
    NODE(graph, RELU, "y", "a");
    finish_graph(graph, "y");
    deft_plan *plan;
    deft_plan_options options = {.training = true};
    assert_int_equal(deft_plan_new(graph->ctx, graph, &options, &plan), DEFT_INVALID); /* shapes are not known yet */
    assert_int_equal(deft_graph_infer(graph, 4, NULL, 0), DEFT_OK);
    graph->values[deft_graph_find(graph, "w")].variable = true;
    plan = plan_of(graph, &options);
    assert_ptr_equal(plan->graph, graph);
    assert_int_equal(plan->step_count, 2);
    assert_int_equal(plan->steps[0].choice.kernel, DEFT_KERNEL_DENSE_MATMUL); /* the weight may not be packed */
    free_all(plan, graph);
}

static void test_dense_chooser_takes_no_sparse_kernel(void **state) {
    (void)state;
    deft_graph *graph = new_graph(test_context());
    add_graph_input(graph, "x", DIMS(-1, 3, 10, 10));
    add_weight(graph, "w", DIMS(8, 3, 3, 3), 0.95);
    add_weight(graph, "v", DIMS(512, 20), 0.95);
    NODE(graph, CONV, "a", "x", "w");
    NODE(graph, RELU, "b", "a");
    NODE(graph, FLATTEN, "c", "b");
    NODE(graph, GEMM, "d", "c", "v");
    NODE(graph, SOFTMAX, "y", "d");
    finish_graph(graph, "y");
    deft_plan *plan = plan_of(graph, &(deft_plan_options){.batch = 3, .choose = deft_choose_dense});
    assert_int_equal(plan->step_count, 3);
    for (int i = 0; i < 3; i++) {
        assert_false(plan->steps[i].kernel.def->sparse);
        assert_int_not_equal(plan->steps[i].choice.kernel, DEFT_KERNEL_REFERENCE);
    }
    assert_true(plan->steps[0].macs_nonzero < plan->steps[0].macs / 4);
    free_all(plan, graph);
}

static void test_reference_chooser_takes_nothing_else(void **state) {
    (void)state;
    deft_graph *graph = new_graph(test_context());
    add_graph_input(graph, "x", DIMS(-1, 64));
    add_weight(graph, "w", DIMS(64, 64), 0.95);
    add_weight(graph, "v", DIMS(64, 64), 0);
    NODE(graph, GEMM, "a", "x", "w");
    NODE(graph, GEMM, "y", "a", "v");
    finish_graph(graph, "y");
    deft_plan *plan = plan_of(graph, &(deft_plan_options){.batch = 3, .choose = deft_choose_reference});
    assert_int_equal(plan->step_count, 2);
    for (int i = 0; i < 2; i++)
        assert_int_equal(plan->steps[i].choice.kernel, DEFT_KERNEL_REFERENCE);
    free_all(plan, graph);
}

/* By estimate, sparse kernels are for zeros: no code is generated for a weight that has hardly any. */
static void test_few_zeros_take_no_sparse_kernel(void **state) {
    (void)state;
    static const double zeros[] = {0, 0.1, 0.95};
    for (int i = 0; i < 3; i++) {
        deft_graph *graph = new_graph(test_context());
        add_graph_input(graph, "x", DIMS(64, 256));
        add_weight(graph, "w", DIMS(256, 256), zeros[i]);
        NODE(graph, MATMUL, "y", "x", "w");
        finish_graph(graph, "y");
        deft_plan *plan = plan_of(graph, NULL);
        assert_int_equal(deft_kernels[plan->steps[0].choice.kernel].sparse, i == 2);
        free_all(plan, graph);
    }
}

/* A choice by estimate takes for granted that oneDNN can compute a convolution; where it cannot, another is made. */
static void test_what_onednn_refuses(void **state) {
    (void)state;
    static const int64_t dilations[] = {8, 1}, pads[] = {16, 5, 47, 4}; /* some taps see nothing but padding */
    const deft_attr attrs[] = {{.name = "dilations", .type = DEFT_ATTR_INTS, .count = 2, .ints = dilations},
                               {.name = "pads", .type = DEFT_ATTR_INTS, .count = 4, .ints = pads}};
    deft_graph *graph = new_graph(test_context());
    add_graph_input(graph, "x", DIMS(1, 7, 15, 79));
    add_weight(graph, "w", DIMS(1, 7, 5, 10), 0);
    add_node(graph, DEFT_OP_CONV, attrs, 2, (const char *const[]){"x", "w"}, 2, "y");
    finish_graph(graph, "y");
    deft_plan *plan = plan_of(graph, NULL);
    const deft_step *step = &plan->steps[0];
    const deft_tensor *in[] = {&plan->graph->values[step->in[0]].desc,
                               &graph->values[deft_graph_find(graph, "w")].desc};
    deft_tensor *out = &plan->graph->values[step->out[0]].desc;
    deft_request request = {.call = {.op = DEFT_OP_CONV,
                                     .attrs = &plan->graph->nodes[0].attrs,
                                     .in_count = 2,
                                     .out_count = 1,
                                     .in = in,
                                     .out = &out,
                                     .threads = 1},
                            .activation = deft_activation_none,
                            .isa = plan->ctx->isa,
                            .presumed = true};
    const char *why;
    assert_true(deft_kernels[DEFT_KERNEL_DENSE_NCHW].accepts(&request, &why));
    request.presumed = false;
    assert_false(deft_kernels[DEFT_KERNEL_DENSE_NCHW].accepts(&request, &why));
    assert_true(deft_kernels[step->choice.kernel].accepts(&request, &why));
    assert_null(strstr(step->choice.why, "dense-nchw"));
    free_all(plan, graph);
}

static deft_status choose_sparse(void *user, deft_context *ctx, const deft_request *request, deft_choice *choice) {
    (void)ctx;
    const char *why;
    deft_kernel_id wanted = *(const deft_kernel_id *)user;
    bool accepted = deft_kernels[wanted].accepts(request, &why);
    *choice = (deft_choice){.kernel = accepted ? wanted : DEFT_KERNEL_REFERENCE, .why = "told to"};
    return DEFT_OK;
}

/* Three sparse layers in a row keep what is between them in PANELS; what comes in, goes out, or is read by someone else
 * stays in ROWS. */
static void test_panels_between_sparse_layers(void **state) {
    (void)state;
    deft_kernel_id kernel = DEFT_KERNEL_SPARSE_X86;
    if (!deft_cpu_has(DEFT_ISA_AVX2)) skip();
    for (int branch = 0; branch < 2; branch++) {
        deft_graph *graph = new_graph(test_context());
        add_graph_input(graph, "x", DIMS(-1, 64));
        add_weight(graph, "w1", DIMS(64, 48), 0.9);
        add_weight(graph, "w2", DIMS(48, 32), 0.9);
        add_weight(graph, "w3", DIMS(32, 10), 0.9);
        NODE(graph, GEMM, "a", "x", "w1");
        NODE(graph, RELU, "b", "a");
        NODE(graph, GEMM, "c", "b", "w2");
        NODE(graph, GEMM, "y", "c", "w3");
        if (branch) {
            NODE(graph, TANH, "t", "c");
            assert_int_equal(deft_graph_add_output(graph, value_named(graph, "t")), DEFT_OK);
        }
        finish_graph(graph, "y");
        deft_plan_options options = {.batch = 33, .choose = choose_sparse, .choose_user = &kernel};
        deft_plan *plan = plan_of(graph, &options);
        assert_int_equal(plan->step_count, 3 + branch);
        assert_int_equal(plan->steps[0].in_layout, DEFT_LAYOUT_ROWS);
        assert_int_equal(plan->steps[0].out_layout, DEFT_LAYOUT_PANELS);
        assert_int_equal(plan->steps[1].in_layout, DEFT_LAYOUT_PANELS);
        assert_int_equal(plan->steps[1].out_layout, branch ? DEFT_LAYOUT_ROWS : DEFT_LAYOUT_PANELS);
        assert_int_equal(plan->steps[2].in_layout, branch ? DEFT_LAYOUT_ROWS : DEFT_LAYOUT_PANELS);
        assert_int_equal(plan->steps[2].out_layout, DEFT_LAYOUT_ROWS);
        const deft_placement *between = &plan->placements[plan->steps[0].out[0]];
        assert_int_equal(between->layout, DEFT_LAYOUT_PANELS);
        assert_int_equal(between->bytes, 3 * 48 * 16 * sizeof(float)); /* 33 rows take three panels */
        free_all(plan, graph);
    }
}

static int add_picture_conv(deft_graph *graph, const char *out, const char *x, const char *weight) {
    static const int64_t pads[] = {1, 1, 1, 1};
    const deft_attr attr = {.name = "pads", .type = DEFT_ATTR_INTS, .ints = pads, .count = 4};
    return add_node(graph, DEFT_OP_CONV, &attr, 1, (const char *const[]){x, weight}, 2, out);
}

/* A block of a residual network: what is added and the activation become part of the second convolution. */
static deft_graph *residual_block(double zeros) {
    deft_graph *graph = new_graph(test_context());
    add_graph_input(graph, "x", DIMS(-1, 32, 16, 16));
    add_weight(graph, "w1", DIMS(32, 32, 3, 3), zeros);
    add_weight(graph, "w2", DIMS(32, 32, 3, 3), zeros);
    add_picture_conv(graph, "a", "x", "w1");
    NODE(graph, RELU, "b", "a");
    add_picture_conv(graph, "c", "b", "w2");
    NODE(graph, ADD, "d", "b", "c");
    NODE(graph, RELU, "e", "d");
    NODE(graph, GLOBAL_AVERAGE_POOL, "f", "e");
    NODE(graph, FLATTEN, "y", "f");
    finish_graph(graph, "y");
    return graph;
}

static void test_blocks_between_convolutions(void **state) {
    (void)state;
    if (!deft_cpu_has(DEFT_ISA_AVX512)) skip();
    deft_graph *graph = residual_block(0);
    deft_plan *plan = plan_of(graph, NULL);
    assert_int_equal(plan->step_count, 3);
    const deft_step *first = &plan->steps[0], *second = &plan->steps[1], *pool = &plan->steps[2];
    assert_int_equal(first->in_layout, DEFT_LAYOUT_ROWS);
    assert_int_equal(first->out_layout, DEFT_LAYOUT_BLOCKS);
    assert_false(first->residual);
    assert_int_equal(second->in_layout, DEFT_LAYOUT_BLOCKS);
    assert_int_equal(second->out_layout, DEFT_LAYOUT_BLOCKS);
    assert_true(second->residual && second->activation.low == 0);
    assert_int_equal(second->in_count, 3);
    assert_int_equal(second->in[2], first->out[0]);
    assert_int_equal(pool->in_layout, DEFT_LAYOUT_BLOCKS);
    assert_int_equal(pool->out_layout, DEFT_LAYOUT_ROWS);
    free_all(plan, graph);
}

static int searches_of_chain(int length) {
    static const char *const names[] = {"x", "a", "b", "c", "d", "e", "y"};
    deft_graph *graph = new_graph(test_context());
    add_graph_input(graph, "x", DIMS(-1, 32, 16, 16));
    add_weight(graph, "w", DIMS(32, 32, 3, 3), 0);
    for (int i = 0; i < length; i++)
        add_picture_conv(graph, i == length - 1 ? "y" : names[i + 1], names[i], "w");
    finish_graph(graph, "y");
    deft_plan *plan = plan_of(graph, NULL);
    int searches = plan->searches;
    assert_true(searches > 0);
    free_all(plan, graph);
    return searches;
}

/* Three more layers are not asked for in all kernels and layouts again: each is made, at most. */
static void test_layers_that_are_alike_are_asked_for_once(void **state) {
    (void)state;
    assert_in_range(searches_of_chain(6), searches_of_chain(3), searches_of_chain(3) + 3);
}

/* A function becomes part of a dense convolution; of one for sparse kernels it stays a step. */
static void test_fuses_functions(void **state) {
    (void)state;
    static const deft_attr slope = {.name = "alpha", .type = DEFT_ATTR_FLOAT, .f = 0.3f};
    for (int sparse = 0; sparse < 2; sparse++) {
        deft_graph *graph = new_graph(test_context());
        add_graph_input(graph, "x", DIMS(1, 16, 8, 8));
        add_weight(graph, "w", DIMS(16, 16, 3, 3), sparse ? 0.9 : 0);
        add_picture_conv(graph, "a", "x", "w");
        add_node(graph, DEFT_OP_LEAKY_RELU, &slope, 1, (const char *const[]){"a"}, 1, "b");
        add_picture_conv(graph, "c", "b", "w");
        NODE(graph, SIGMOID, "d", "c");
        NODE(graph, MUL, "y", "d", "c"); /* Swish */
        finish_graph(graph, "y");
        deft_plan *plan = plan_of(graph, NULL);
        assert_int_equal(plan->step_count, sparse ? 4 : 2);
        const deft_step *first = &plan->steps[0], *second = &plan->steps[1];
        assert_int_equal(first->function, sparse ? DEFT_FUNCTION_NONE : DEFT_FUNCTION_LEAKY_RELU);
        if (!sparse) assert_true(first->alpha == 0.3f && second->alpha == 1);
        if (!sparse) assert_int_equal(second->function, DEFT_FUNCTION_SWISH);
        free_all(plan, graph);
    }
}

/* Where sparse kernels are faster, they read and write rows, and what they cannot add is a step of its own. */
static void test_no_blocks_around_sparse_convolutions(void **state) {
    (void)state;
    if (!deft_cpu_has(DEFT_ISA_AVX512)) skip();
    deft_graph *graph = residual_block(0.97);
    deft_plan *plan = plan_of(graph, NULL);
    for (int i = 0; i < plan->step_count; i++) {
        assert_false(plan->steps[i].residual);
        assert_int_equal(plan->steps[i].in_layout, DEFT_LAYOUT_ROWS);
        if (plan->graph->nodes[plan->steps[i].node].op == DEFT_OP_CONV)
            assert_true(deft_kernels[plan->steps[i].choice.kernel].sparse);
    }
    free_all(plan, graph);
}

static deft_status fail_to_choose(void *user, deft_context *ctx, const deft_request *request, deft_choice *choice) {
    (void)user;
    (void)request;
    (void)choice;
    return deft_fail(ctx, DEFT_CANCELLED, "stopped");
}

static void test_errors_name_the_node(void **state) {
    (void)state;
    deft_graph *graph = new_graph(test_context());
    add_graph_input(graph, "x", DIMS(-1, 8));
    NODE(graph, SIGMOID, "y", "x");
    finish_graph(graph, "y");
    deft_plan *plan;
    deft_plan_options options = {.choose = fail_to_choose};
    assert_int_equal(deft_plan_new(graph->ctx, graph, &options, &plan), DEFT_CANCELLED);
    assert_string_equal(deft_context_message(graph->ctx), "Sigmoid 'y': stopped");
    deft_binding binding = {.input = "x", .rank = 1, .dims = {3}};
    options = (deft_plan_options){.bindings = &binding, .binding_count = 1};
    assert_int_equal(deft_plan_new(graph->ctx, graph, &options, &plan), DEFT_INVALID);
    free_all(NULL, graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fuses_activations),
        cmocka_unit_test(test_few_zeros_take_no_sparse_kernel),
        cmocka_unit_test(test_what_onednn_refuses),
        cmocka_unit_test(test_layers_that_are_alike_are_asked_for_once),
        cmocka_unit_test(test_fuses_functions),
        cmocka_unit_test(test_keeps_what_is_used_elsewhere),
        cmocka_unit_test(test_fuses_bias),
        cmocka_unit_test(test_reuses_memory),
        cmocka_unit_test(test_many_nodes),
        cmocka_unit_test(test_views_share_memory),
        cmocka_unit_test(test_training_changes_nothing),
        cmocka_unit_test(test_dense_chooser_takes_no_sparse_kernel),
        cmocka_unit_test(test_reference_chooser_takes_nothing_else),
        cmocka_unit_test(test_panels_between_sparse_layers),
        cmocka_unit_test(test_blocks_between_convolutions),
        cmocka_unit_test(test_no_blocks_around_sparse_convolutions),
        cmocka_unit_test(test_errors_name_the_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
