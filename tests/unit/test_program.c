/* Programs: control flow and shapes that depend on values do what the operators say, in stages, whatever the values. */
#include "tests/unit/graphs.h"

#include "base/number/half.h"
#include "exec/run/program.h"
#include "ir/model/onnx.h"

/* ---- building ------------------------------------------------------------------------------------------------ */

static int add_input_of(deft_graph *graph, const char *name, deft_dtype dtype, int rank, const int64_t *dims) {
    int value;
    assert_int_equal(deft_graph_add_input(graph, name, dtype, rank, dims, NULL, &value), DEFT_OK);
    return value;
}

static void add_scalar(deft_graph *graph, const char *name, float number) {
    deft_tensor tensor = {.dtype = DEFT_F32, .data = &number};
    int value;
    assert_int_equal(deft_graph_add_constant(graph, name, &tensor, &value), DEFT_OK);
}

/* A graph of control flow; its inputs are named "a b c", the first `given` of them given by the operator. */
static deft_graph *new_body(deft_context *ctx, const char *const *inputs, int count) {
    deft_graph *body = new_graph(ctx);
    for (int i = 0; i < count; i++)
        assert_int_equal(deft_graph_declare_input(body, value_named(body, inputs[i])), DEFT_OK);
    return body;
}
#define BODY(CTX, ...)                                                                                                 \
    new_body(CTX, (const char *const[]){__VA_ARGS__},                                                                  \
             (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)))

static deft_attr attr_of(deft_graph *graph, const char *name, deft_graph *body, int given) {
    assert_int_equal(deft_graph_verify(body), DEFT_OK);
    assert_int_equal(deft_graph_adopt_body(graph, body), DEFT_OK);
    return (deft_attr){.name = name, .type = DEFT_ATTR_GRAPH, .graph = body, .i = given};
}

static void add_control(deft_graph *graph, deft_op op, const deft_attr *attrs, int attr_count, const char *const *in,
                        int in_count, const char *const *out, int out_count) {
    int ins[8], outs[8], node;
    for (int i = 0; i < in_count; i++)
        ins[i] = in[i] ? value_named(graph, in[i]) : DEFT_NO_VALUE;
    for (int i = 0; i < out_count; i++)
        outs[i] = value_named(graph, out[i]);
    assert_int_equal(
        deft_graph_add_node(graph, op, "control", attrs, attr_count, ins, in_count, outs, out_count, &node), DEFT_OK);
}
#define NAMES(...)                                                                                                     \
    (const char *const[]){__VA_ARGS__}, (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static deft_program *new_program(deft_graph *graph) {
    deft_program *program = NULL;
    deft_status status = deft_program_new(graph, NULL, &program);
    if (status != DEFT_OK) fail_msg("%s", deft_context_message(graph->ctx));
    return program;
}

static void set_floats(deft_program *program, int input, const float *values) {
    deft_tensor *tensor = deft_program_input(program, input);
    assert_int_equal(tensor->dtype, DEFT_F32);
    memcpy(tensor->data, values, deft_tensor_bytes(tensor));
}
#define FLOATS(...)                                                                                                    \
    (const float[]) {                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

static void run(deft_program *program, deft_context *ctx) {
    deft_status status = deft_program_run(program);
    if (status != DEFT_OK) fail_msg("%s", deft_context_message(ctx));
}

static void expect_floats(deft_program *program, int output, int rank, const int64_t *dims, const float *expected) {
    const deft_tensor *tensor = deft_program_output(program, output);
    assert_non_null(tensor);
    assert_int_equal(tensor->dtype, DEFT_F32);
    assert_true(deft_shape_equal(
        tensor, &(deft_tensor){.rank = rank, .dims = {rank > 0 ? dims[0] : 0, rank > 1 ? dims[1] : 0}}));
    for (int64_t i = 0; i < deft_tensor_count(tensor); i++)
        assert_float_equal(((const float *)tensor->data)[i], expected[i], 1e-6);
}

/* The graph as it is after it has been written and read; its outputs are f32. */
static deft_graph *read_again(deft_graph *graph) {
    void *data;
    size_t bytes;
    deft_graph *copy = NULL;
    for (int i = 0; i < graph->output_count; i++)
        graph->values[graph->outputs[i]].desc.dtype = DEFT_F32;
    assert_int_equal(deft_onnx_serialize(graph, &data, &bytes), DEFT_OK);
    deft_status status = deft_onnx_parse(graph->ctx, data, bytes, &copy);
    if (status != DEFT_OK) fail_msg("%s", deft_context_message(graph->ctx));
    deft_release(graph->ctx, data);
    deft_graph_free(graph);
    return copy;
}

/* ---- If ------------------------------------------------------------------------------------------------------ */

/* y = flag ? x + one : x * x; z = |y|; w = x, which is computed by neither. */
static deft_graph *branching(deft_context *ctx) {
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(3));
    add_input_of(graph, "flag", DEFT_BOOL, 0, NULL);
    deft_graph *then_body = BODY(ctx, "around"), *else_body = BODY(ctx, "x");
    add_scalar(then_body, "one", 1);
    NODE(then_body, ADD, "sum", "around", "one");
    assert_int_equal(deft_graph_add_output(then_body, value_named(then_body, "sum")), DEFT_OK);
    NODE(else_body, MUL, "product", "x", "x");
    assert_int_equal(deft_graph_add_output(else_body, value_named(else_body, "product")), DEFT_OK);
    deft_attr attrs[] = {attr_of(graph, "then_branch", then_body, 0), attr_of(graph, "else_branch", else_body, 0)};
    add_control(graph, DEFT_OP_IF, attrs, 2, NAMES("flag", "x", "x"), NAMES("y"));
    NODE(graph, ABS, "z", "y");
    assert_int_equal(deft_graph_add_output(graph, value_named(graph, "y")), DEFT_OK);
    assert_int_equal(deft_graph_add_output(graph, value_named(graph, "x")), DEFT_OK);
    finish_graph(graph, "z");
    return graph;
}

static void check_if(deft_context *ctx, deft_graph *graph) {
    int values = graph->value_count, nodes = graph->node_count;
    deft_program *program = new_program(graph);
    assert_string_equal(deft_program_waits_for(program), "flag");
    assert_null(deft_program_output(program, 0));
    assert_int_equal(deft_program_input_count(program), 2);
    assert_int_equal(deft_program_output_count(program), 3);
    assert_string_equal(deft_program_output_name(program, 2), "z");
    assert_string_equal(deft_program_input_name(program, 1), "flag");
    assert_null(deft_program_input_name(program, 2));
    long long allocated = 0;
    for (int i = 0; i < 6; i++) {
        float x[] = {-3, (float)i, 0.5f};
        bool flag = i % 2;
        set_floats(program, 0, x);
        *(uint8_t *)deft_program_input(program, 1)->data = flag;
        run(program, ctx);
        if (i == 1) allocated = atomic_load(&ctx->allocation_count);
        expect_floats(program, 0, DIMS(3), flag ? FLOATS(-2, x[1] + 1, 1.5f) : FLOATS(9, x[1] * x[1], 0.25f));
        expect_floats(program, 1, DIMS(3), x);
        expect_floats(program, 2, DIMS(3), flag ? FLOATS(2, x[1] + 1, 1.5f) : FLOATS(9, x[1] * x[1], 0.25f));
    }
    assert_int_equal(atomic_load(&ctx->allocation_count), allocated); /* both branches were met at first */
    assert_int_equal(graph->value_count, values);
    assert_int_equal(graph->node_count, nodes);
    deft_program_free(program);
    deft_graph_free(graph);
}

static void test_if(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    check_if(ctx, branching(ctx));
    check_if(ctx, read_again(branching(ctx)));
    test_context_free(ctx);
}

/* Where the condition is known ahead, there is one stage. */
static void test_if_known(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(2));
    uint8_t no = 0;
    int value;
    assert_int_equal(deft_graph_add_constant(graph, "flag", &(deft_tensor){.dtype = DEFT_BOOL, .data = &no}, &value),
                     DEFT_OK);
    deft_graph *then_body = BODY(ctx, "x"), *else_body = BODY(ctx, "x");
    assert_int_equal(deft_graph_add_output(then_body, value_named(then_body, "x")), DEFT_OK);
    add_scalar(else_body, "seven", 7);
    assert_int_equal(deft_graph_add_output(else_body, value_named(else_body, "seven")), DEFT_OK);
    deft_attr attrs[] = {attr_of(graph, "then_branch", then_body, 0), attr_of(graph, "else_branch", else_body, 0)};
    add_control(graph, DEFT_OP_IF, attrs, 2, NAMES("flag", "x", "x"), NAMES("y"));
    finish_graph(graph, "y");
    deft_program *program = new_program(graph);
    assert_null(deft_program_waits_for(program));
    run(program, ctx);
    expect_floats(program, 0, 0, NULL, FLOATS(7));
    deft_program_free(program);
    deft_graph_free(graph);
    test_context_free(ctx);
}

/* ---- shapes that depend on values ---------------------------------------------------------------------------- */

/* y = the positive elements of x + x, times scale, found by NonZero in the midst; then reshaped as the input shape
 * says. */
static deft_graph *selecting(deft_context *ctx) {
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(6));
    add_graph_input(graph, "scale", DIMS(1));
    add_input_of(graph, "shape", DEFT_I64, DIMS(2));
    add_scalar(graph, "zero", 0);
    NODE(graph, ADD, "twice", "x", "x");
    NODE(graph, GREATER, "positive", "twice", "zero");
    NODE(graph, COMPRESS, "some", "twice", "positive");
    NODE(graph, MUL, "scaled", "some", "scale");
    NODE(graph, RESHAPE, "y", "scaled", "shape");
    finish_graph(graph, "y");
    return graph;
}

static void test_value_dependent_shapes(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph = selecting(ctx);
    deft_program *program = new_program(graph);
    assert_string_equal(deft_program_waits_for(program), "positive");
    set_floats(program, 1, FLOATS(10));
    int64_t *shape = deft_program_input(program, 2)->data;
    for (int i = 0; i < 20; i++) { /* more patterns than are kept */
        float x[6], expected[6];
        int count = 0;
        for (int j = 0; j < 6; j++) {
            x[j] = (i + 1) >> j & 1 ? (float)(j + 1) : -1;
            if (x[j] > 0) expected[count++] = 20 * x[j];
        }
        shape[0] = i % 2 ? 1 : -1;
        shape[1] = i % 2 ? -1 : 1;
        set_floats(program, 0, x);
        for (int again = 0; again < 2; again++) {
            run(program, ctx);
            expect_floats(program, 0, 2, i % 2 ? (int64_t[]){1, count} : (int64_t[]){count, 1}, expected);
        }
    }
    shape[1] = 1;
    shape[0] = 4; /* no run with it is possible; the next one is */
    assert_int_equal(deft_program_run(program), DEFT_INVALID);
    assert_null(deft_program_output(program, 0));
    shape[0] = -1;
    run(program, ctx);
    deft_program_free(program);
    deft_graph_free(graph);
    test_context_free(ctx);
}

/* ---- Loop ---------------------------------------------------------------------------------------------------- */

/* state = state + x, until it is over 10; the states are stacked. */
static deft_graph *looping(deft_context *ctx, bool limited) {
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(1));
    add_graph_input(graph, "start", DIMS(1));
    if (limited) add_input_of(graph, "most", DEFT_I64, 0, NULL);
    deft_graph *body = BODY(ctx, "i", "go", "s", "x");
    add_scalar(body, "ten", 10);
    NODE(body, ADD, "next", "s", "x");
    NODE(body, LESS_OR_EQUAL, "small", "next", "ten");
    NODE(body, SQUEEZE, "again", "small");
    const char *const outputs[] = {"again", "next", "s"};
    for (int i = 0; i < 3; i++)
        assert_int_equal(deft_graph_add_output(body, value_named(body, outputs[i])), DEFT_OK);
    deft_attr attr = attr_of(graph, "body", body, 3);
    add_control(graph, DEFT_OP_LOOP, &attr, 1, NAMES(limited ? "most" : NULL, NULL, "start", "x"),
                NAMES("last", "all"));
    assert_int_equal(deft_graph_add_output(graph, value_named(graph, "last")), DEFT_OK);
    finish_graph(graph, "all");
    return graph;
}

static void check_loop(deft_context *ctx, deft_graph *graph) {
    deft_program *program = new_program(graph);
    int64_t *most = deft_program_input(program, 2)->data;
    set_floats(program, 0, FLOATS(3));
    set_floats(program, 1, FLOATS(0));
    *most = 2;
    run(program, ctx);
    expect_floats(program, 0, DIMS(1), FLOATS(6));
    expect_floats(program, 1, DIMS(2, 1), FLOATS(0, 3));
    *most = 100;
    run(program, ctx);
    expect_floats(program, 0, DIMS(1), FLOATS(12));
    expect_floats(program, 1, DIMS(4, 1), FLOATS(0, 3, 6, 9));
    set_floats(program, 1, FLOATS(8));
    run(program, ctx);
    expect_floats(program, 0, DIMS(1), FLOATS(11));
    expect_floats(program, 1, DIMS(1, 1), FLOATS(8));
    *most = 0; /* nothing says which shape the empty stack has */
    assert_int_equal(deft_program_run(program), DEFT_UNSUPPORTED);
    deft_program_free(program);
    deft_graph_free(graph);
}

static void test_loop(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    check_loop(ctx, looping(ctx, true));
    check_loop(ctx, read_again(looping(ctx, true)));
    test_context_free(ctx);
}

/* Iterations whose number is known need no stage of their own; one that never ends is refused. */
static void test_loop_known(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    for (int endless = 0; endless < 2; endless++) {
        deft_graph *graph = new_graph(ctx);
        add_graph_input(graph, "x", DIMS(2));
        int64_t most = 30;
        int value;
        assert_int_equal(
            deft_graph_add_constant(graph, "most", &(deft_tensor){.dtype = DEFT_I64, .data = &most}, &value), DEFT_OK);
        deft_graph *body = BODY(ctx, "i", "go", "s", "x");
        NODE(body, ADD, "next", "s", "x");
        assert_int_equal(deft_graph_add_output(body, value_named(body, "go")), DEFT_OK);
        assert_int_equal(deft_graph_add_output(body, value_named(body, "next")), DEFT_OK);
        deft_attr attr = attr_of(graph, "body", body, 3);
        add_control(graph, DEFT_OP_LOOP, &attr, 1, NAMES(endless ? NULL : "most", NULL, "x", "x"), NAMES("y"));
        finish_graph(graph, "y");
        deft_program *program = NULL;
        deft_status status = deft_program_new(graph, NULL, &program);
        assert_int_equal(status, endless ? DEFT_UNSUPPORTED : DEFT_OK);
        if (endless) assert_non_null(strstr(deft_context_message(ctx), "Loop 'control'"));
        if (!endless) {
            assert_null(deft_program_waits_for(program));
            set_floats(program, 0, FLOATS(1, -2));
            run(program, ctx);
            expect_floats(program, 0, DIMS(2), FLOATS(31, -62));
        }
        deft_program_free(program);
        deft_graph_free(graph);
    }
    test_context_free(ctx);
}

/* ---- Scan ---------------------------------------------------------------------------------------------------- */

/* Running sums of the columns of x [2, 3], from the last to the first, stacked along axis 1 in front. */
static void test_scan(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(2, 3));
    add_graph_input(graph, "start", DIMS(2));
    deft_graph *body = BODY(ctx, "s", "column");
    NODE(body, ADD, "next", "s", "column");
    for (int i = 0; i < 2; i++)
        assert_int_equal(deft_graph_add_output(body, value_named(body, "next")), DEFT_OK);
    static const int64_t one = 1;
    deft_attr attrs[] = {attr_of(graph, "body", body, 2),
                         {.name = "num_scan_inputs", .type = DEFT_ATTR_INT, .i = 1},
                         {.name = "scan_input_axes", .type = DEFT_ATTR_INTS, .count = 1, .ints = &one},
                         {.name = "scan_input_directions", .type = DEFT_ATTR_INTS, .count = 1, .ints = &one},
                         {.name = "scan_output_axes", .type = DEFT_ATTR_INTS, .count = 1, .ints = &one},
                         {.name = "scan_output_directions", .type = DEFT_ATTR_INTS, .count = 1, .ints = &one}};
    add_control(graph, DEFT_OP_SCAN, attrs, 6, NAMES("start", "x"), NAMES("last", "all"));
    assert_int_equal(deft_graph_add_output(graph, value_named(graph, "last")), DEFT_OK);
    finish_graph(graph, "all");
    deft_program *program = new_program(graph);
    set_floats(program, 0, FLOATS(1, 2, 3, 10, 20, 30));
    set_floats(program, 1, FLOATS(0, 100));
    run(program, ctx);
    expect_floats(program, 0, DIMS(2), FLOATS(6, 160));
    expect_floats(program, 1, DIMS(2, 3), FLOATS(6, 5, 3, 160, 150, 130));
    deft_program_free(program);
    deft_graph_free(graph);
    test_context_free(ctx);
}

/* An optional input that is left out is no value to scan. */
static void test_scan_of_nothing(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(2, 3));
    deft_graph *body = BODY(ctx, "column");
    NODE(body, RELU, "next", "column");
    assert_int_equal(deft_graph_add_output(body, value_named(body, "next")), DEFT_OK);
    deft_attr attrs[] = {attr_of(graph, "body", body, 1), {.name = "num_scan_inputs", .type = DEFT_ATTR_INT, .i = 1}};
    add_control(graph, DEFT_OP_SCAN, attrs, 2, NAMES("x"), NAMES("all"));
    finish_graph(graph, "all");
    graph->nodes[graph->node_count - 1].in[0] = DEFT_NO_VALUE;
    deft_program *program = NULL;
    assert_int_equal(deft_program_new(graph, NULL, &program), DEFT_INVALID);
    assert_non_null(strstr(deft_context_message(ctx), "missing"));
    deft_graph_free(graph);
    test_context_free(ctx);
}

/* ---- 16-bit floats -------------------------------------------------------------------------------------------- */

/* A product, which Deft has in f32, and a sum, which it has in f16: both make f16; the positions of TopK stay integers.
 */
static void test_half(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph = new_graph(ctx);
    int x = add_input_of(graph, "x", DEFT_F16, DIMS(2, 2)), node;
    const int64_t one = 1;
    int k, outs[] = {value_named(graph, "best"), value_named(graph, "where")};
    assert_int_equal(
        deft_graph_add_constant(graph, "k",
                                &(deft_tensor){.dtype = DEFT_I64, .rank = 1, .dims = {1}, .data = (void *)&one}, &k),
        DEFT_OK);
    NODE(graph, MATMUL, "product", "x", "x");
    NODE(graph, ADD, "sum", "product", "x");
    assert_int_equal(deft_graph_add_node(graph, DEFT_OP_TOP_K, "top", NULL, 0, (int[]){x, k}, 2, outs, 2, &node),
                     DEFT_OK);
    assert_int_equal(deft_graph_add_output(graph, value_named(graph, "where")), DEFT_OK);
    finish_graph(graph, "sum");
    bool complete;
    int nodes = graph->node_count;
    assert_int_equal(deft_graph_infer_unchanged(graph, &complete), DEFT_OK);
    assert_false(complete);
    assert_int_equal(graph->node_count, nodes);
    deft_program *program = new_program(graph);
    static const float values[] = {1, 2, -3, 0.5f},
                       expected[] = {1 - 6 + 1, 2 + 1 + 2, -3 - 1.5f - 3, -6 + 0.25f + 0.5f};
    for (int i = 0; i < 4; i++)
        ((uint16_t *)deft_program_input(program, 0)->data)[i] = deft_f16_encode(values[i]);
    run(program, ctx);
    const deft_tensor *where = deft_program_output(program, 0), *sum = deft_program_output(program, 1);
    assert_int_equal(where->dtype, DEFT_I64);
    assert_int_equal(((const int64_t *)where->data)[0], 1);
    assert_int_equal(((const int64_t *)where->data)[1], 1);
    assert_int_equal(sum->dtype, DEFT_F16);
    for (int i = 0; i < 4; i++)
        assert_float_equal(deft_f16_decode(((const uint16_t *)sum->data)[i]), expected[i], 0);
    deft_program_free(program);
    deft_graph_free(graph);
    test_context_free(ctx);
}

/* ---- bad input, no memory ------------------------------------------------------------------------------------ */

static void test_malformed(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    static const deft_op ops[] = {DEFT_OP_IF, DEFT_OP_LOOP, DEFT_OP_SCAN};
    for (int i = 0; i < 3; i++) {
        deft_graph *graph = new_graph(ctx);
        uint8_t yes = 1;
        int value;
        assert_int_equal(
            deft_graph_add_constant(graph, "flag", &(deft_tensor){.dtype = DEFT_BOOL, .data = &yes}, &value), DEFT_OK);
        add_control(graph, ops[i], NULL, 0, NAMES("flag"), NAMES("y"));
        finish_graph(graph, "y");
        deft_program *program = NULL;
        assert_int_equal(deft_program_new(graph, NULL, &program), DEFT_INVALID);
        assert_non_null(strstr(deft_context_message(ctx), "control"));
        deft_graph_free(graph);
    }
    test_context_free(ctx);
}

static deft_status run_once(deft_context *ctx, void *user) {
    deft_graph *graph;
    deft_program *program;
    DEFT_TRY(deft_graph_clone(ctx, user, &graph));
    DEFT_TRY(deft_program_take(graph, NULL, &program));
    deft_tensor *shape = deft_program_input_count(program) > 2 ? deft_program_input(program, 2) : NULL;
    for (int i = 0; i < 2; i++) {
        float *x = deft_program_input(program, i)->data;
        for (int64_t j = 0;
             deft_program_input(program, i)->dtype == DEFT_F32 && j < deft_tensor_count(deft_program_input(program, i));
             j++)
            x[j] = 4;
    }
    for (int64_t i = 0; shape && i < deft_tensor_count(shape); i++)
        ((int64_t *)shape->data)[i] = 2 + i;
    deft_status status = deft_program_run(program);
    deft_program_free(program);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graphs[] = {branching(ctx), selecting(ctx), looping(ctx, true)};
    for (int i = 0; i < 3; i++) {
        check_every_allocation_failure(run_once, graphs[i]);
        deft_graph_free(graphs[i]);
    }
    test_context_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_if),         cmocka_unit_test(test_if_known),
        cmocka_unit_test(test_loop),       cmocka_unit_test(test_value_dependent_shapes),
        cmocka_unit_test(test_scan),       cmocka_unit_test(test_scan_of_nothing),
        cmocka_unit_test(test_loop_known), cmocka_unit_test(test_half),
        cmocka_unit_test(test_malformed),  cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
