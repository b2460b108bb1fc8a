/* The executor: whatever is planned, the results are those of the reference, node by node; a run allocates nothing. */
#include "tests/unit/graphs.h"

#include <math.h>
#include <string.h>

#include "exec/run/executor.h"

typedef struct runnable {
    deft_plan *plan;
    deft_executor *executor;
} runnable;

static deft_status choose_reference(void *user, deft_context *ctx, const deft_request *request, deft_choice *choice) {
    (void)user;
    (void)ctx;
    (void)request;
    *choice = (deft_choice){.kernel = DEFT_KERNEL_REFERENCE, .why = "for comparison"};
    return DEFT_OK;
}

static deft_status make_runnable(deft_graph *graph, const deft_plan_options *options, runnable *r) {
    DEFT_TRY(deft_plan_new(graph->ctx, graph, options, &r->plan));
    return deft_executor_new(r->plan, &r->executor);
}

static void free_runnable(runnable *r) {
    deft_executor_free(r->executor);
    deft_plan_free(r->plan);
}

static deft_tensor *tensor_of(runnable *r, const char *name) {
    return deft_executor_tensor(r->executor, deft_graph_find(r->plan->graph, name));
}

static void fill_input(runnable *r, const char *name) {
    deft_tensor *x = tensor_of(r, name);
    deft_rng rng;
    deft_rng_init(&rng, 3, 1);
    for (int64_t i = 0; i < deft_tensor_count(x); i++)
        ((float *)x->data)[i] = deft_rng_normal(&rng);
}

/* A picture through two convolutions, pooling, reshapes, products with and without bias, a branch, a softmax. */
static deft_graph *picture_network(deft_context *ctx) {
    static const int64_t two[] = {2, 2};
    const deft_attr pool[] = {{.name = "kernel_shape", .type = DEFT_ATTR_INTS, .ints = two, .count = 2},
                              {.name = "strides", .type = DEFT_ATTR_INTS, .ints = two, .count = 2}};
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(-1, 1, 16, 16));
    add_weight(graph, "w1", DIMS(8, 1, 5, 5), 0);
    add_weight(graph, "b1", DIMS(8), 0);
    add_weight(graph, "w2", DIMS(16, 8, 3, 3), 0.9);
    add_weight(graph, "w3", DIMS(256, 40), 0.9);
    add_weight(graph, "b3", DIMS(40), 0);
    add_weight(graph, "w4", DIMS(40, 40), 0.9);
    add_weight(graph, "w5", DIMS(40, 10), 0.5);
    NODE(graph, CONV, "c1", "x", "w1", "b1");
    NODE(graph, RELU, "r1", "c1");
    add_node(graph, DEFT_OP_MAX_POOL, pool, 2, (const char *const[]){"r1"}, 1, "p1");
    NODE(graph, CONV, "c2", "p1", "w2");
    NODE(graph, FLATTEN, "f", "c2");
    NODE(graph, MATMUL, "m", "f", "w3");
    NODE(graph, ADD, "a", "m", "b3");
    NODE(graph, RELU, "r", "a");
    NODE(graph, GEMM, "g", "r", "w4");
    NODE(graph, RELU, "rg", "g");
    NODE(graph, ADD, "s", "rg", "r");
    NODE(graph, GEMM, "l", "s", "w5");
    NODE(graph, SOFTMAX, "y", "l");
    finish_graph(graph, "y");
    return graph;
}

/* A residual network whose pictures can stay in blocks in part: a stem, a block, a branch that only rows can serve. */
static deft_graph *residual_network(deft_context *ctx) {
    static const int64_t pads[] = {1, 1, 1, 1}, two[] = {2, 2};
    const deft_attr conv = {.name = "pads", .type = DEFT_ATTR_INTS, .ints = pads, .count = 4};
    const deft_attr pool[] = {{.name = "kernel_shape", .type = DEFT_ATTR_INTS, .ints = two, .count = 2},
                              {.name = "strides", .type = DEFT_ATTR_INTS, .ints = two, .count = 2}};
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(-1, 3, 18, 18));
    add_weight(graph, "w1", DIMS(20, 3, 3, 3), 0);
    add_weight(graph, "w2", DIMS(20, 20, 3, 3), 0);
    add_weight(graph, "w3", DIMS(20, 20, 3, 3), 0);
    add_weight(graph, "w4", DIMS(20, 10), 0);
    add_node(graph, DEFT_OP_CONV, &conv, 1, (const char *const[]){"x", "w1"}, 2, "c1");
    NODE(graph, RELU, "r1", "c1");
    add_node(graph, DEFT_OP_MAX_POOL, pool, 2, (const char *const[]){"r1"}, 1, "p1");
    add_node(graph, DEFT_OP_CONV, &conv, 1, (const char *const[]){"p1", "w2"}, 2, "c2");
    NODE(graph, RELU, "r2", "c2");
    add_node(graph, DEFT_OP_CONV, &conv, 1, (const char *const[]){"r2", "w3"}, 2, "c3");
    NODE(graph, ADD, "s", "c3", "p1");
    NODE(graph, RELU, "r3", "s");
    NODE(graph, TANH, "t", "r2");
    NODE(graph, ADD, "u", "t", "r3");
    NODE(graph, GLOBAL_AVERAGE_POOL, "g", "u");
    NODE(graph, FLATTEN, "f", "g");
    NODE(graph, GEMM, "y", "f", "w4");
    finish_graph(graph, "y");
    return graph;
}

/* Every sparse kernel wherever it can, so that layouts change too. */
static deft_status choose_any_sparse(void *user, deft_context *ctx, const deft_request *request, deft_choice *choice) {
    for (int id = 0; id < DEFT_KERNEL_COUNT; id++) {
        const char *why;
        if (!deft_kernels[id].sparse || !deft_kernels[id].accepts(request, &why)) continue;
        *choice = (deft_choice){.kernel = (deft_kernel_id)id, .why = "sparse"};
        if (id != DEFT_KERNEL_SPARSE_C) return DEFT_OK;
    }
    return choice->why[0] ? DEFT_OK : choose_reference(user, ctx, request, choice);
}

static double largest_difference(const deft_tensor *a, const deft_tensor *b) {
    double largest = 0;
    assert_true(deft_shape_equal(a, b));
    for (int64_t i = 0; i < deft_tensor_count(a); i++)
        largest = fmax(largest, fabs((double)((float *)a->data)[i] - ((float *)b->data)[i]));
    return largest;
}

static void test_agrees_with_the_reference(void **state) {
    (void)state;
    static const deft_chooser choosers[] = {NULL, deft_choose_by_estimate, deft_choose_dense, choose_any_sparse};
    static const int64_t batches[] = {1, 3, 64};
    deft_context *ctx = test_context();
    for (int b = 0; b < 6; b++) {
        runnable exact, planned;
        deft_graph *graph = b < 3 ? picture_network(ctx) : residual_network(ctx);
        deft_plan_options options = {.batch = batches[b % 3], .choose = choose_reference};
        assert_int_equal(make_runnable(graph, &options, &exact), DEFT_OK);
        fill_input(&exact, "x");
        assert_int_equal(deft_executor_run(exact.executor), DEFT_OK);
        for (int c = 0; c < 4; c++) {
            options.choose = choosers[c];
            assert_int_equal(make_runnable(graph, &options, &planned), DEFT_OK);
            fill_input(&planned, "x");
            for (int run = 0; run < 2; run++)
                assert_int_equal(deft_executor_run(planned.executor), DEFT_OK);
            assert_true(largest_difference(tensor_of(&exact, "y"), tensor_of(&planned, "y")) < 1e-5);
            ((float *)tensor_of(&planned, "y")->data)[0] += 0.01f; /* the comparison can fail */
            assert_true(largest_difference(tensor_of(&exact, "y"), tensor_of(&planned, "y")) > 1e-3);
            free_runnable(&planned);
        }
        free_runnable(&exact);
        deft_graph_free(graph);
    }
    test_context_free(ctx);
}

/* Element-wise operators of values of any age, with broadcasting and views, some of them outputs: what is written in
 * place must not be needed any more. */
static deft_graph *random_elements(deft_context *ctx, deft_rng *rng) {
    enum { NODES = 14 };
    static const deft_op unary[] = {DEFT_OP_TANH, DEFT_OP_SIGMOID, DEFT_OP_SIN, DEFT_OP_SOFTMAX, DEFT_OP_FLATTEN},
                         binary[] = {DEFT_OP_ADD, DEFT_OP_SUB, DEFT_OP_MUL, DEFT_OP_MAX};
    char names[NODES + 3][8] = {"x", "row", "column"};
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(4, 6));
    add_graph_input(graph, "row", DIMS(1, 6));
    add_graph_input(graph, "column", DIMS(4, 1));
    for (int i = 3; i < NODES + 3; i++) {
        int from = i > 6 && deft_rng_below(rng, 2) ? i - 4 : 0;
        const char *in[] = {names[from + (int)deft_rng_below(rng, (uint64_t)(i - from))],
                            names[from + (int)deft_rng_below(rng, (uint64_t)(i - from))]};
        bool pair = deft_rng_below(rng, 3) > 0;
        snprintf(names[i], sizeof names[i], "v%d", i);
        add_node(graph, pair ? binary[deft_rng_below(rng, 4)] : unary[deft_rng_below(rng, 5)], NULL, 0, in, 1 + pair,
                 names[i]);
        if (deft_rng_below(rng, 5) == 0 && i < NODES + 2)
            assert_int_equal(deft_graph_add_output(graph, value_named(graph, names[i])), DEFT_OK);
    }
    finish_graph(graph, names[NODES + 2]);
    return graph;
}

static void test_written_in_place(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_rng rng;
    deft_rng_init(&rng, 11, 0);
    int in_place = 0;
    for (int g = 0; g < 300; g++) {
        runnable exact, planned;
        deft_graph *graph = random_elements(ctx, &rng);
        deft_plan_options options = {.choose = choose_reference};
        assert_int_equal(make_runnable(graph, &options, &exact), DEFT_OK);
        options.choose = NULL;
        assert_int_equal(make_runnable(graph, &options, &planned), DEFT_OK);
        runnable *both[] = {&exact, &planned};
        for (int i = 0; i < 2; i++) {
            fill_input(both[i], "x");
            fill_input(both[i], "row");
            fill_input(both[i], "column");
            for (int run = 0; run < 2; run++) /* inputs stay as they are */
                assert_int_equal(deft_executor_run(both[i]->executor), DEFT_OK);
        }
        for (int i = 0; i < graph->output_count; i++) {
            const char *name = graph->values[graph->outputs[i]].name;
            assert_true(largest_difference(tensor_of(&exact, name), tensor_of(&planned, name)) < 1e-4);
        }
        for (int i = 0; i < planned.plan->step_count; i++) {
            const deft_step *step = &planned.plan->steps[i];
            const deft_placement *places = planned.plan->placements;
            for (int j = 0; j < step->in_count; j++)
                in_place += places[step->in[j]].offset == places[step->out[0]].offset;
        }
        free_runnable(&planned);
        free_runnable(&exact);
        deft_graph_free(graph);
    }
    assert_true(in_place > 300);
    test_context_free(ctx);
}

static void test_a_run_allocates_nothing(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph = picture_network(ctx);
    runnable r;
    int64_t step_ns[32] = {0};
    assert_int_equal(make_runnable(graph, &(deft_plan_options){.batch = 4}, &r), DEFT_OK);
    deft_graph_free(graph); /* the plan has its own */
    fill_input(&r, "x");
    long long before = atomic_load(&ctx->allocation_count);
    for (int i = 0; i < 3; i++)
        assert_int_equal(deft_executor_run(r.executor), DEFT_OK);
    assert_int_equal(deft_executor_run_timed(r.executor, step_ns), DEFT_OK);
    assert_int_equal(atomic_load(&ctx->allocation_count), before);
    for (int i = 0; i < r.plan->step_count; i++)
        assert_true(step_ns[i] > 0);
    free_runnable(&r);
    test_context_free(ctx);
}

static void test_shows_inputs_outputs_and_constants_only(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph = picture_network(ctx);
    runnable r;
    assert_int_equal(make_runnable(graph, &(deft_plan_options){.choose = deft_choose_reference}, &r), DEFT_OK);
    assert_non_null(tensor_of(&r, "x"));
    assert_non_null(tensor_of(&r, "y"));
    assert_ptr_equal(tensor_of(&r, "w1")->data, r.plan->graph->values[deft_graph_find(r.plan->graph, "w1")].desc.data);
    assert_null(tensor_of(&r, "p1"));
    assert_null(deft_executor_tensor(r.executor, -1));
    assert_null(deft_executor_tensor(r.executor, r.plan->graph->value_count));
    free_runnable(&r);
    deft_graph_free(graph);
    test_context_free(ctx);
}

/* An allocator of memory that is not zero. */
static void *allocate_dirty(void *user, size_t bytes) {
    (void)user;
    void *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (memory) memset(memory, 0xa5, bytes);
    return memory;
}

static void release_dirty(void *user, void *memory, size_t bytes) {
    (void)user;
    (void)bytes;
    free(memory);
}

/* What nobody has set is 0, and the memory between layers may hold anything. */
static void test_starts_from_zeros(void **state) {
    (void)state;
    deft_context *ctx, *clean = test_context();
    deft_context_options options = {.cache_directory = "", .allocator = {allocate_dirty, release_dirty, NULL}};
    assert_int_equal(deft_context_new(&options, &ctx), DEFT_OK);
    deft_context *const contexts[] = {ctx, clean};
    float results[2][10];
    for (int i = 0; i < 2; i++) {
        deft_graph *graph = picture_network(contexts[i]);
        runnable r;
        assert_int_equal(make_runnable(graph, NULL, &r), DEFT_OK);
        const deft_tensor *shown[] = {tensor_of(&r, "x"), tensor_of(&r, "y")};
        for (int j = 0; j < 2; j++)
            for (int64_t k = 0; k < deft_tensor_count(shown[j]); k++)
                assert_true(((const float *)shown[j]->data)[k] == 0);
        fill_input(&r, "x");
        assert_int_equal(deft_executor_run(r.executor), DEFT_OK);
        memcpy(results[i], shown[1]->data, sizeof results[i]);
        free_runnable(&r);
        deft_graph_free(graph);
        test_context_free(contexts[i]);
    }
    assert_memory_equal(results[0], results[1], sizeof results[0]);
}

/* A training plan sees a weight that changes between runs. */
static void test_variables_may_change(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(2, 3));
    add_weight(graph, "w", DIMS(3, 2), 0);
    NODE(graph, MATMUL, "y", "x", "w");
    finish_graph(graph, "y");
    assert_int_equal(deft_graph_infer(graph, 1, NULL, 0), DEFT_OK);
    int w = deft_graph_find(graph, "w");
    graph->values[w].variable = true;
    runnable r;
    assert_int_equal(make_runnable(graph, &(deft_plan_options){.training = true}, &r), DEFT_OK);
    fill_input(&r, "x");
    float *weight = graph->values[w].desc.data;
    for (int i = 0; i < 6; i++)
        weight[i] = 0;
    assert_int_equal(deft_executor_run(r.executor), DEFT_OK);
    assert_true(((float *)tensor_of(&r, "y")->data)[0] == 0);
    for (int i = 0; i < 6; i++)
        weight[i] = i % 2 ? 0 : 1;
    assert_int_equal(deft_executor_run(r.executor), DEFT_OK);
    const float *x = tensor_of(&r, "x")->data, *y = tensor_of(&r, "y")->data;
    assert_true(fabsf(y[0] - (x[0] + x[1] + x[2])) < 1e-5f && y[1] == 0);
    free_runnable(&r);
    deft_graph_free(graph);
    test_context_free(ctx);
}

static deft_status plan_and_run(deft_context *ctx, void *user) {
    deft_graph *graph = NULL;
    runnable r = {0};
    deft_status status;
    DEFT_TRY(deft_graph_clone(ctx, user, &graph));
    DEFT_TRY_OR_FAIL(make_runnable(graph, &(deft_plan_options){.batch = 3}, &r));
    fill_input(&r, "x");
    status = deft_executor_run(r.executor);
fail:
    free_runnable(&r);
    deft_graph_free(graph);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph = picture_network(ctx);
    check_every_allocation_failure(plan_and_run, graph);
    deft_graph_free(graph);
    test_context_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_agrees_with_the_reference),
        cmocka_unit_test(test_written_in_place),
        cmocka_unit_test(test_a_run_allocates_nothing),
        cmocka_unit_test(test_shows_inputs_outputs_and_constants_only),
        cmocka_unit_test(test_starts_from_zeros),
        cmocka_unit_test(test_variables_may_change),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
