#include "tests/support.h"

#include "ir/graph/graph.h"
#include "ir/model/zoo.h"

#include <string.h>

static deft_graph *new_graph(deft_context *ctx) {
    deft_graph *graph = NULL;
    assert_int_equal(deft_graph_new(ctx, &graph), DEFT_OK);
    return graph;
}

static int add_value(deft_graph *graph, const char *name) {
    int value = DEFT_NO_VALUE;
    assert_int_equal(deft_graph_add_value(graph, name, &value), DEFT_OK);
    return value;
}

/* f32 [?, 4], its first dimension called N. */
static int add_input(deft_graph *graph, const char *name) {
    static const char *const names[] = {"N", NULL};
    int value = DEFT_NO_VALUE;
    assert_int_equal(deft_graph_add_input(graph, name, DEFT_F32, 2, (int64_t[]){-1, 4}, names, &value), DEFT_OK);
    return value;
}

static int add_i64(deft_graph *graph, const char *name, int count, const int64_t *data) {
    deft_tensor tensor = {.dtype = DEFT_I64, .rank = 1, .dims = {count}, .data = (void *)data};
    int value = DEFT_NO_VALUE;
    assert_int_equal(deft_graph_add_constant(graph, name, &tensor, &value), DEFT_OK);
    return value;
}

static void add_unary(deft_graph *graph, deft_op op, const char *name, int in, int out) {
    int node;
    assert_int_equal(deft_graph_add_node(graph, op, name, NULL, 0, &in, 1, &out, 1, &node), DEFT_OK);
}

static void add_output(deft_graph *graph, int value) {
    assert_int_equal(deft_graph_add_output(graph, value), DEFT_OK);
}

static void assert_fails(deft_graph *graph, deft_status got, deft_status expected, const char *message) {
    assert_int_equal(got, expected);
    if (!strstr(deft_context_message(graph->ctx), message)) fail_msg("%s", deft_context_message(graph->ctx));
}

/* ---- names --------------------------------------------------------------------------------------------------- */

static void test_names(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph = new_graph(ctx);
    assert_int_equal(deft_graph_find(graph, "x"), DEFT_NO_VALUE);
    char name[32];
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "value %d", i);
        assert_int_equal(add_value(graph, name), i);
    }
    for (int i = 0; i < 5000; i++) {
        snprintf(name, sizeof name, "value %d", i);
        assert_int_equal(deft_graph_find(graph, name), i);
    }
    assert_int_equal(deft_graph_find(graph, "value 5000"), DEFT_NO_VALUE);
    int value;
    assert_fails(graph, deft_graph_add_value(graph, "value 7", &value), DEFT_INVALID, "value 7");
    assert_int_equal(graph->value_count, 5000);
    add_value(graph, "v0");
    int fresh = add_value(graph, NULL), another = add_value(graph, "");
    assert_string_equal(graph->values[fresh].name, "v1");
    assert_string_equal(graph->values[another].name, "v2");
    deft_graph_free(graph);
    test_context_free(ctx);
}

static void test_metadata(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph = new_graph(ctx);
    assert_null(deft_graph_metadata(graph, "recipe"));
    assert_int_equal(deft_graph_set_metadata(graph, "recipe", "old"), DEFT_OK);
    assert_int_equal(deft_graph_set_metadata(graph, "author", "me"), DEFT_OK);
    assert_int_equal(deft_graph_set_metadata(graph, "recipe", "new"), DEFT_OK);
    assert_int_equal(graph->metadata_count, 2);
    assert_string_equal(deft_graph_metadata(graph, "recipe"), "new");
    assert_string_equal(deft_graph_metadata(graph, "author"), "me");
    deft_graph_free(graph);
    test_context_free(ctx);
}

static void test_constants(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph = new_graph(ctx);
    int64_t numbers[] = {1, 2, 3};
    int value = add_i64(graph, "c", 3, numbers), input = add_input(graph, "x");
    numbers[0] = 9;
    assert_int_equal(((int64_t *)graph->values[value].desc.data)[0], 1);
    deft_tensor other = {.dtype = DEFT_I64, .rank = 0, .data = numbers};
    assert_int_equal(deft_graph_set_constant(graph, value, &other), DEFT_OK);
    assert_int_equal(graph->values[value].desc.rank, 0);
    assert_int_equal(((int64_t *)graph->values[value].desc.data)[0], 9);
    assert_fails(graph, deft_graph_set_constant(graph, input, &other), DEFT_INVALID, "'x'");
    int bad;
    assert_fails(graph, deft_graph_add_input(graph, "y", DEFT_F32, 2, (int64_t[]){1ll << 40, 1ll << 40}, NULL, &bad),
                 DEFT_INVALID, "'y'");
    deft_graph_free(graph);
    test_context_free(ctx);
}

/* ---- verifying ----------------------------------------------------------------------------------------------- */

static void test_sorts_stably(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph = new_graph(ctx);
    int x = add_input(graph, "x"), a = add_value(graph, "a"), b = add_value(graph, "b"), c = add_value(graph, "c");
    add_unary(graph, DEFT_OP_RELU, "third", b, c);
    add_unary(graph, DEFT_OP_RELU, "first", x, a);
    add_unary(graph, DEFT_OP_RELU, "second", a, b);
    add_output(graph, c);
    assert_int_equal(deft_graph_verify(graph), DEFT_OK);
    assert_string_equal(graph->nodes[0].name, "first");
    assert_string_equal(graph->nodes[1].name, "second");
    assert_string_equal(graph->nodes[2].name, "third");
    assert_int_equal(graph->values[c].producer, 2);
    assert_int_equal(graph->values[x].producer, -1);
    assert_int_equal(deft_graph_verify(graph), DEFT_OK);
    assert_string_equal(graph->nodes[0].name, "first");
    deft_graph_free(graph);
    test_context_free(ctx);
}

static void test_deep_graph(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph = new_graph(ctx);
    enum { DEPTH = 100000 };
    int value = add_input(graph, "x");
    int *values = calloc(DEPTH, sizeof *values);
    for (int i = 0; i < DEPTH; i++)
        values[i] = add_value(graph, NULL);
    /* Backwards, so that sorting walks all the way up from the first node. */
    for (int i = DEPTH - 1; i >= 0; i--)
        add_unary(graph, DEFT_OP_RELU, "", i ? values[i - 1] : value, values[i]);
    add_output(graph, values[DEPTH - 1]);
    assert_int_equal(deft_graph_verify(graph), DEFT_OK);
    assert_int_equal(graph->nodes[0].in[0], value);
    assert_int_equal(graph->nodes[DEPTH - 1].out[0], values[DEPTH - 1]);
    free(values);
    deft_graph_free(graph);
    test_context_free(ctx);
}

/* x -> 'good' -> y, and what `spoil` does to it. */
static void check_refused(void (*spoil)(deft_graph *graph, int x, int y), const char *message) {
    deft_context *ctx = test_context();
    deft_graph *graph = new_graph(ctx);
    int x = add_input(graph, "x"), y = add_value(graph, "y");
    add_unary(graph, DEFT_OP_RELU, "good", x, y);
    add_output(graph, y);
    assert_int_equal(deft_graph_verify(graph), DEFT_OK);
    spoil(graph, x, y);
    assert_fails(graph, deft_graph_verify(graph), DEFT_INVALID, message);
    deft_graph_free(graph);
    test_context_free(ctx);
}

static void make_cycle(deft_graph *graph, int x, int y) {
    (void)x;
    int a = add_value(graph, "a"), b = add_value(graph, "b");
    add_unary(graph, DEFT_OP_RELU, "one", b, a);
    add_unary(graph, DEFT_OP_RELU, "two", a, b);
    (void)y;
}

static void make_self_loop(deft_graph *graph, int x, int y) {
    (void)x;
    (void)y;
    int a = add_value(graph, "a");
    add_unary(graph, DEFT_OP_RELU, "self", a, a);
}

static void make_dangling(deft_graph *graph, int x, int y) {
    (void)x;
    (void)y;
    add_unary(graph, DEFT_OP_RELU, "lost", add_value(graph, "nowhere"), add_value(graph, "z"));
}

static void make_output_of_nothing(deft_graph *graph, int x, int y) {
    (void)x;
    (void)y;
    add_output(graph, add_value(graph, "promised"));
}

static void make_second_producer(deft_graph *graph, int x, int y) {
    add_unary(graph, DEFT_OP_RELU, "again", x, y);
}

static void make_input_twice(deft_graph *graph, int x, int y) {
    add_unary(graph, DEFT_OP_RELU, "over", y, x);
}

static void make_same_output_twice(deft_graph *graph, int x, int y) {
    (void)y;
    int z = add_value(graph, "z"), node;
    assert_int_equal(deft_graph_add_node(graph, DEFT_OP_DROPOUT, "twin", NULL, 0, &x, 1, (int[]){z, z}, 2, &node),
                     DEFT_OK);
}

static void make_too_few_inputs(deft_graph *graph, int x, int y) {
    (void)y;
    int z = add_value(graph, "z"), node;
    assert_int_equal(deft_graph_add_node(graph, DEFT_OP_ADD, "lonely", NULL, 0, &x, 1, &z, 1, &node), DEFT_OK);
}

static void make_absent_input(deft_graph *graph, int x, int y) {
    (void)y;
    int z = add_value(graph, "z"), node;
    assert_int_equal(
        deft_graph_add_node(graph, DEFT_OP_ADD, "gap", NULL, 0, (int[]){x, DEFT_NO_VALUE}, 2, &z, 1, &node), DEFT_OK);
}

static void make_too_many_outputs(deft_graph *graph, int x, int y) {
    (void)y;
    int out[] = {add_value(graph, "z"), add_value(graph, "w")}, node;
    assert_int_equal(deft_graph_add_node(graph, DEFT_OP_RELU, "wide", NULL, 0, &x, 1, out, 2, &node), DEFT_OK);
}

static void test_verifier_refuses(void **state) {
    (void)state;
    check_refused(make_cycle, "cycle");
    check_refused(make_self_loop, "Relu 'self'");
    check_refused(make_dangling, "Relu 'lost': its input 'nowhere'");
    check_refused(make_output_of_nothing, "'promised'");
    check_refused(make_second_producer, "Relu 'again' makes 'y'");
    check_refused(make_input_twice, "Relu 'over' makes 'x'");
    check_refused(make_same_output_twice, "Dropout 'twin' makes 'z'");
    check_refused(make_too_few_inputs, "Add 'lonely' has 1 inputs");
    check_refused(make_absent_input, "Add 'gap': input 1 is missing");
    check_refused(make_too_many_outputs, "Relu 'wide' has 2 outputs");
}

/* ---- inference ----------------------------------------------------------------------------------------------- */

/* x [N, 4], y [N, 4] -> sum -> relu */
static deft_graph *new_sum(deft_context *ctx) {
    deft_graph *graph = new_graph(ctx);
    int in[] = {add_input(graph, "x"), add_input(graph, "y")}, sum = add_value(graph, "sum"), node;
    int relu = add_value(graph, "relu");
    assert_int_equal(deft_graph_add_node(graph, DEFT_OP_ADD, "add", NULL, 0, in, 2, &sum, 1, &node), DEFT_OK);
    add_unary(graph, DEFT_OP_RELU, "act", sum, relu);
    add_output(graph, relu);
    assert_int_equal(deft_graph_verify(graph), DEFT_OK);
    return graph;
}

static int64_t dim_of(const deft_graph *graph, const char *name, int dim) {
    const deft_value *value = &graph->values[deft_graph_find(graph, name)];
    assert_true(value->known);
    return value->desc.dims[dim];
}

static void test_binding(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph = new_sum(ctx);
    assert_false(graph->values[0].known);
    assert_int_equal(deft_graph_infer(graph, 3, NULL, 0), DEFT_OK);
    assert_int_equal(dim_of(graph, "relu", 0), 3);
    assert_int_equal(dim_of(graph, "relu", 1), 4);
    assert_string_equal(graph->values[0].dim_names[0], "N");
    assert_int_equal(deft_graph_infer(graph, 64, NULL, 0), DEFT_OK);
    assert_int_equal(dim_of(graph, "relu", 0), 64);
    /* The name that y was bound to binds x too. */
    deft_binding binding = {.input = "y", .rank = 2, .dims = {7, 4}};
    assert_int_equal(deft_graph_infer(graph, 3, &binding, 1), DEFT_OK);
    assert_int_equal(dim_of(graph, "x", 0), 7);
    assert_int_equal(dim_of(graph, "relu", 0), 7);

    binding.dims[1] = 5;
    assert_fails(graph, deft_graph_infer(graph, 3, &binding, 1), DEFT_INVALID, "'y' has the shape -1x4");
    binding.rank = 1;
    assert_fails(graph, deft_graph_infer(graph, 3, &binding, 1), DEFT_INVALID, "'y'");
    binding.rank = 1000;
    assert_fails(graph, deft_graph_infer(graph, 3, &binding, 1), DEFT_INVALID, "'y'");
    binding = (deft_binding){.input = "sum", .rank = 2, .dims = {7, 4}};
    assert_fails(graph, deft_graph_infer(graph, 3, &binding, 1), DEFT_INVALID, "no input 'sum'");
    deft_binding both[] = {{"x", 2, {2, 4}}, {"y", 2, {3, 4}}};
    assert_fails(graph, deft_graph_infer(graph, 3, both, 2), DEFT_INVALID, "add");
    assert_fails(graph, deft_graph_infer(graph, -1, NULL, 0), DEFT_INVALID, "batch");
    assert_fails(graph, deft_graph_infer(graph, INT64_MAX / 8, NULL, 0), DEFT_INVALID, "memory");
    assert_int_equal(deft_graph_infer(graph, 2, NULL, 0), DEFT_OK);
    assert_int_equal(dim_of(graph, "relu", 0), 2);
    deft_graph_free(graph);
    test_context_free(ctx);
}

/* Reshape by a shape that nodes compute from constants, as exporters write it. */
static void test_shape_arithmetic(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph = new_graph(ctx);
    int parts[] = {add_i64(graph, "rows", 1, (int64_t[]){-1}), add_i64(graph, "columns", 1, (int64_t[]){2})};
    int x = add_input(graph, "x"), shape = add_value(graph, "shape"), y = add_value(graph, "y"), node;
    deft_attr axis = {.name = "axis", .type = DEFT_ATTR_INT, .i = 0};
    assert_int_equal(deft_graph_add_node(graph, DEFT_OP_CONCAT, "join", &axis, 1, parts, 2, &shape, 1, &node), DEFT_OK);
    assert_int_equal(deft_graph_add_node(graph, DEFT_OP_RESHAPE, "", NULL, 0, (int[]){x, shape}, 2, &y, 1, &node),
                     DEFT_OK);
    add_output(graph, y);
    assert_int_equal(deft_graph_verify(graph), DEFT_OK);
    for (int batch = 1; batch < 4; batch++) {
        assert_int_equal(deft_graph_infer(graph, batch, NULL, 0), DEFT_OK);
        assert_int_equal(dim_of(graph, "y", 0), 2 * batch);
        assert_int_equal(dim_of(graph, "y", 1), 2);
        assert_int_equal(((int64_t *)graph->values[shape].desc.data)[1], 2);
    }
    /* Not where it is not known ahead of time. */
    graph->values[parts[0]].variable = true;
    assert_int_not_equal(deft_graph_infer(graph, 1, NULL, 0), DEFT_OK);
    deft_graph_free(graph);
    test_context_free(ctx);
}

/* ---- copying, removing --------------------------------------------------------------------------------------- */

static void assert_same_node(const deft_node *a, const deft_node *b) {
    assert_int_equal(a->op, b->op);
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->in_count, b->in_count);
    assert_int_equal(a->out_count, b->out_count);
    assert_memory_equal(a->in, b->in, sizeof *a->in * (size_t)a->in_count);
    assert_memory_equal(a->out, b->out, sizeof *a->out * (size_t)a->out_count);
    assert_int_equal(a->attrs.count, b->attrs.count);
    for (int i = 0; i < a->attrs.count; i++) {
        assert_string_equal(a->attrs.items[i].name, b->attrs.items[i].name);
        assert_ptr_not_equal(a->attrs.items[i].name, b->attrs.items[i].name);
        assert_int_equal(a->attrs.items[i].type, b->attrs.items[i].type);
        assert_int_equal(a->attrs.items[i].count, b->attrs.items[i].count);
    }
}

static void test_clone(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph, *copy;
    assert_int_equal(deft_zoo_build(ctx, "lenet-5", &graph), DEFT_OK);
    assert_int_equal(deft_graph_set_metadata(graph, "recipe", "none"), DEFT_OK);
    graph->values[3].variable = true;
    assert_int_equal(deft_graph_clone(ctx, graph, &copy), DEFT_OK);
    assert_int_equal(copy->value_count, graph->value_count);
    assert_int_equal(copy->node_count, graph->node_count);
    assert_int_equal(copy->opset, graph->opset);
    for (int i = 0; i < graph->value_count; i++) {
        const deft_value *a = &graph->values[i], *b = &copy->values[i];
        assert_string_equal(a->name, b->name);
        assert_ptr_not_equal(a->name, b->name);
        assert_int_equal(a->producer, b->producer);
        assert_int_equal(a->known, b->known);
        assert_int_equal(a->input, b->input);
        assert_int_equal(a->variable, b->variable);
        assert_true(a->desc.dtype == b->desc.dtype && deft_shape_equal(&a->desc, &b->desc));
        assert_true(!a->desc.data == !b->desc.data);
        if (!a->desc.data) continue;
        assert_ptr_not_equal(a->desc.data, b->desc.data);
        assert_true(deft_tensor_equal(&a->desc, &b->desc));
    }
    for (int i = 0; i < graph->node_count; i++)
        assert_same_node(&graph->nodes[i], &copy->nodes[i]);
    assert_int_equal(copy->input_count, 1);
    assert_int_equal(copy->outputs[0], graph->outputs[0]);
    deft_graph_free(graph);
    assert_string_equal(deft_graph_metadata(copy, "recipe"), "none");
    assert_int_equal(deft_graph_verify(copy), DEFT_OK);
    assert_int_equal(deft_graph_infer(copy, 5, NULL, 0), DEFT_OK);
    assert_int_equal(dim_of(copy, "logits", 0), 5);
    deft_graph_free(copy);
    test_context_free(ctx);
}

static void test_keep(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph = new_sum(ctx);
    add_i64(graph, "unused", 1, (int64_t[]){1});
    int tail = add_value(graph, "tail");
    add_unary(graph, DEFT_OP_RELU, "extra", deft_graph_find(graph, "sum"), tail);
    deft_graph_keep(graph, (bool[]){true, true, false});
    assert_int_equal(graph->node_count, 2);
    assert_int_equal(graph->value_count, 4);
    assert_int_equal(deft_graph_find(graph, "unused"), DEFT_NO_VALUE);
    assert_int_equal(deft_graph_find(graph, "tail"), DEFT_NO_VALUE);
    assert_int_equal(graph->outputs[0], deft_graph_find(graph, "relu"));
    assert_int_equal(graph->values[graph->outputs[0]].producer, 1);
    assert_int_equal(deft_graph_verify(graph), DEFT_OK);
    assert_int_equal(deft_graph_infer(graph, 2, NULL, 0), DEFT_OK);
    assert_int_equal(add_value(graph, "tail"), 4);
    deft_graph_free(graph);
    test_context_free(ctx);
}

static deft_status build_and_clone(deft_context *ctx, void *user) {
    (void)user;
    deft_graph *graph = NULL, *copy = NULL;
    deft_status status = DEFT_OK;
    DEFT_TRY_OR_FAIL(deft_zoo_build(ctx, "mlp:5,4,3", &graph));
    DEFT_TRY_OR_FAIL(deft_graph_set_metadata(graph, "key", "value"));
    DEFT_TRY_OR_FAIL(deft_graph_clone(ctx, graph, &copy));
fail:
    deft_graph_free(graph);
    deft_graph_free(copy);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    check_every_allocation_failure(build_and_clone, NULL);
}

/* ---- text and counts ----------------------------------------------------------------------------------------- */

static void test_dump(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph;
    assert_int_equal(deft_zoo_build(ctx, "mlp:3,2", &graph), DEFT_OK);
    char text[1024] = {0};
    FILE *file = fmemopen(text, sizeof text, "w");
    deft_graph_dump(graph, file);
    fclose(file);
    assert_string_equal(text, "graph mlp:3,2 opset 17 (%x:f32[1x3])\n"
                              "  %logits:f32[1x2] = Gemm(%x:f32[1x3], $fc1.weight:f32[2x3], $fc1.bias:f32[2]) "
                              "transB=1  # fc1\n"
                              "  return %logits:f32[1x2]\n");
    deft_graph_free(graph);
    test_context_free(ctx);
}

/* y = (x W) W: its parameters count once, its multiplications twice; also where there is no memory to remember by. */
static void test_shared_weight_counts_once(void **state) {
    (void)state;
    failing_allocator memory = {.fail_at = -1};
    deft_context_options options = {.cache_directory = "", .allocator = {failing_allocate, failing_release, &memory}};
    deft_context *ctx = NULL;
    assert_int_equal(deft_context_new(&options, &ctx), DEFT_OK);
    deft_graph *graph = new_graph(ctx);
    deft_tensor eye = {.dtype = DEFT_F32, .rank = 2, .dims = {4, 4}, .data = calloc(16, sizeof(float))};
    int values[] = {add_input(graph, "x"), add_value(graph, "y"), add_value(graph, "z")}, weight, node;
    assert_int_equal(deft_graph_add_constant(graph, "w", &eye, &weight), DEFT_OK);
    for (int i = 0; i < 2; i++)
        assert_int_equal(deft_graph_add_node(graph, DEFT_OP_MATMUL, "", NULL, 0, (int[]){values[i], weight}, 2,
                                             &values[i + 1], 1, &node),
                         DEFT_OK);
    add_output(graph, values[2]);
    assert_int_equal(deft_graph_infer(graph, 1, NULL, 0), DEFT_OK);
    for (int i = 0; i < 2; i++) {
        deft_graph_stats stats = deft_graph_count(graph);
        assert_int_equal(stats.parameters, 16);
        assert_int_equal(stats.prunable, 16);
        assert_int_equal(stats.prunable_zeros, 16);
        assert_int_equal(stats.macs, 32);
        assert_int_equal(stats.macs_nonzero, 0);
        memory.fail_at = memory.made;
    }
    free(eye.data);
    deft_graph_free(graph);
    test_context_free(ctx);
    assert_int_equal(memory.live, 0);
}

static void test_counts(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph;
    assert_int_equal(deft_zoo_build(ctx, "lenet-5", &graph), DEFT_OK);
    deft_graph_stats stats = deft_graph_count(graph);
    assert_int_equal(stats.parameters, 431080);
    assert_int_equal(stats.prunable, 430500);
    assert_int_equal(stats.prunable_zeros, 0);
    int64_t macs = 24 * 24 * 20 * 25 + 8 * 8 * 50 * 500 + 400000 + 5000;
    assert_int_equal(stats.macs, macs);
    assert_int_equal(stats.macs_nonzero, macs);
    /* A zero in the first convolution saves a multiplication at each of its 24 x 24 positions; in fc2, one. */
    ((float *)graph->values[deft_graph_find(graph, "conv1.weight")].desc.data)[3] = 0;
    ((float *)graph->values[deft_graph_find(graph, "fc2.weight")].desc.data)[10] = -0.0f;
    stats = deft_graph_count(graph);
    assert_int_equal(stats.prunable_zeros, 2);
    assert_int_equal(stats.macs_nonzero, macs - 24 * 24 - 1);
    assert_int_equal(deft_graph_infer(graph, 10, NULL, 0), DEFT_OK);
    assert_int_equal(deft_graph_count(graph).macs, 10 * macs);
    const deft_node *conv = &graph->nodes[0], *pool = &graph->nodes[1];
    assert_int_equal(deft_node_weight(graph, conv), deft_graph_find(graph, "conv1.weight"));
    assert_int_equal(deft_node_weight(graph, pool), DEFT_NO_VALUE);
    assert_int_equal(deft_node_macs(graph, pool), 0);
    deft_graph_free(graph);
    test_context_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),         cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_constants),     cmocka_unit_test(test_sorts_stably),
        cmocka_unit_test(test_deep_graph),    cmocka_unit_test(test_verifier_refuses),
        cmocka_unit_test(test_binding),       cmocka_unit_test(test_shape_arithmetic),
        cmocka_unit_test(test_clone),         cmocka_unit_test(test_keep),
        cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_dump),
        cmocka_unit_test(test_counts),        cmocka_unit_test(test_shared_weight_counts_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
