#include "tests/support.h"

#include "base/core/rng.h"
#include "ir/pass/pass.h"

#include <math.h>
#include <string.h>

/* ---- graphs by hand ------------------------------------------------------------------------------------------ */

typedef struct sketch {
    deft_context *ctx;
    deft_graph *graph;
    deft_rng rng;
} sketch;

static sketch new_sketch(void) {
    sketch s = {.ctx = test_context()};
    assert_int_equal(deft_graph_new(s.ctx, &s.graph), DEFT_OK);
    deft_rng_init(&s.rng, 7, 0);
    return s;
}

static void free_sketch(sketch *s) {
    deft_graph_free(s->graph);
    test_context_free(s->ctx);
}

static int input(sketch *s, const char *name, int rank, const int64_t *dims) {
    int value;
    assert_int_equal(deft_graph_add_input(s->graph, name, DEFT_F32, rank, dims, NULL, &value), DEFT_OK);
    return value;
}

/* Random numbers from 0.5 to 1.5. */
static int weights(sketch *s, const char *name, int rank, const int64_t *dims) {
    deft_tensor tensor = {.dtype = DEFT_F32, .rank = rank};
    memcpy(tensor.dims, dims, (size_t)rank * sizeof *dims);
    assert_int_equal(deft_tensor_allocate(s->ctx, &tensor), DEFT_OK);
    for (int64_t i = 0; i < deft_tensor_count(&tensor); i++)
        ((float *)tensor.data)[i] = 0.5f + deft_rng_uniform(&s->rng);
    int value;
    assert_int_equal(deft_graph_add_constant(s->graph, name, &tensor, &value), DEFT_OK);
    deft_release(s->ctx, tensor.data);
    return value;
}

static int apply(sketch *s, deft_op op, const char *out_name, const int *in, int in_count, const deft_attr *attrs,
                 int attr_count) {
    int out, node;
    assert_int_equal(deft_graph_add_value(s->graph, out_name, &out), DEFT_OK);
    assert_int_equal(
        deft_graph_add_node(s->graph, op, out_name ? out_name : "", attrs, attr_count, in, in_count, &out, 1, &node),
        DEFT_OK);
    return out;
}

static int apply_one(sketch *s, deft_op op, const char *out_name, int in) {
    return apply(s, op, out_name, &in, 1, NULL, 0);
}

static int batch_norm(sketch *s, const char *name, int in, int64_t channels) {
    static const char *const parts[] = {"scale", "shift", "mean", "variance"};
    int all[5] = {in};
    for (int i = 0; i < 4; i++) {
        char text[64];
        snprintf(text, sizeof text, "%s.%s", name, parts[i]);
        all[i + 1] = weights(s, text, 1, &channels);
    }
    const deft_attr epsilon = {.name = "epsilon", .type = DEFT_ATTR_FLOAT, .f = 0.125f};
    return apply(s, DEFT_OP_BATCH_NORM, name, all, 5, &epsilon, 1);
}

static void finish(sketch *s, int output) {
    assert_int_equal(deft_graph_add_output(s->graph, output), DEFT_OK);
    assert_int_equal(deft_graph_verify(s->graph), DEFT_OK);
    assert_int_equal(deft_graph_infer(s->graph, 1, NULL, 0), DEFT_OK);
}

/* ---- running them -------------------------------------------------------------------------------------------- */

enum { MAX_OUT = 4096 };

/* Runs a copy of the graph node by node and copies its outputs, one after the other; returns how many floats they are.
 */
static int run(sketch *s, float *out) {
    deft_graph *copy;
    assert_int_equal(deft_graph_clone(s->ctx, s->graph, &copy), DEFT_OK);
    deft_rng rng;
    deft_rng_init(&rng, 5, 0);
    for (int i = 0; i < copy->input_count; i++) {
        deft_tensor *desc = &copy->values[copy->inputs[i]].desc;
        assert_int_equal(deft_tensor_allocate(s->ctx, desc), DEFT_OK);
        for (int64_t j = 0; j < deft_tensor_count(desc); j++)
            ((float *)desc->data)[j] = deft_rng_normal(&rng);
    }
    for (int i = 0; i < copy->node_count; i++)
        assert_int_equal(deft_graph_evaluate_node(copy, i), DEFT_OK);
    int count = 0;
    for (int i = 0; i < copy->output_count; i++) {
        const deft_tensor *desc = &copy->values[copy->outputs[i]].desc;
        assert_int_equal(desc->dtype, DEFT_F32);
        assert_true(count + deft_tensor_count(desc) <= MAX_OUT);
        memcpy(out + count, desc->data, deft_tensor_bytes(desc));
        count += (int)deft_tensor_count(desc);
    }
    deft_graph_free(copy);
    return count;
}

static double max_error(const float *a, const float *b, int count) {
    double most = 0;
    for (int i = 0; i < count; i++)
        most = fmax(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

/* Runs a pass and checks that the graph is whole, keeps its interface, and computes the same. */
static void check_pass(sketch *s, deft_status (*pass)(deft_graph *graph), int nodes_left, double tolerance) {
    float before[MAX_OUT], after[MAX_OUT];
    const char *output = s->graph->values[s->graph->outputs[0]].name;
    int count = run(s, before), input_count = s->graph->input_count;
    assert_int_equal(pass(s->graph), DEFT_OK);
    assert_int_equal(s->graph->node_count, nodes_left);
    assert_int_equal(s->graph->input_count, input_count);
    assert_string_equal(s->graph->values[s->graph->outputs[0]].name, output);
    assert_int_equal(deft_graph_verify(s->graph), DEFT_OK);
    assert_int_equal(deft_graph_infer(s->graph, 1, NULL, 0), DEFT_OK);
    assert_int_equal(run(s, after), count);
    assert_true(max_error(before, after, count) <= tolerance);
}

/* ---- fold ---------------------------------------------------------------------------------------------------- */

static void test_fold(void **state) {
    (void)state;
    sketch s = new_sketch();
    int x = input(&s, "x", 2, (int64_t[]){2, 3});
    int a = weights(&s, "a", 1, (int64_t[]){3}), b = weights(&s, "b", 1, (int64_t[]){3});
    int sum = apply(&s, DEFT_OP_ADD, "sum", (int[]){a, b}, 2, NULL, 0);
    int relu = apply_one(&s, DEFT_OP_RELU, "relu", sum);
    finish(&s, apply(&s, DEFT_OP_MUL, "y", (int[]){x, relu}, 2, NULL, 0));
    check_pass(&s, deft_pass_fold, 1, 0);
    const deft_value *folded = &s.graph->values[deft_graph_find(s.graph, "relu")];
    assert_non_null(folded->desc.data);
    assert_int_equal(folded->producer, -1);
    free_sketch(&s);
}

static void test_fold_leaves(void **state) {
    (void)state;
    sketch s = new_sketch();
    int x = input(&s, "x", 1, (int64_t[]){1});
    int trained = weights(&s, "trained", 1, (int64_t[]){1});
    s.graph->values[trained].variable = true;
    int relu = apply_one(&s, DEFT_OP_RELU, "relu", trained);
    finish(&s, apply(&s, DEFT_OP_ADD, "y", (int[]){x, relu}, 2, NULL, 0));
    assert_int_equal(deft_pass_fold(s.graph), DEFT_OK);
    assert_int_equal(s.graph->node_count, 2);
    free_sketch(&s);
}

/* A constant joined with itself, again and again: 4 bytes become 4 GiB. */
static void test_fold_is_bounded(void **state) {
    (void)state;
    enum { DOUBLINGS = 30 };
    sketch s = new_sketch();
    int joined = weights(&s, "one", 1, (int64_t[]){1});
    const deft_attr axis = {.name = "axis", .type = DEFT_ATTR_INT};
    for (int i = 0; i < DOUBLINGS; i++)
        joined = apply(&s, DEFT_OP_CONCAT, NULL, (int[]){joined, joined}, 2, &axis, 1);
    finish(&s, joined);
    assert_int_equal(deft_pass_fold(s.graph), DEFT_OK);
    assert_true(s.graph->node_count > 5 && s.graph->node_count < DOUBLINGS);
    assert_true(atomic_load(&s.ctx->live_bytes) < 64 << 20);
    free_sketch(&s);
}

static void test_fold_output(void **state) {
    (void)state;
    sketch s = new_sketch();
    finish(&s, apply_one(&s, DEFT_OP_RELU, "y", weights(&s, "a", 1, (int64_t[]){3})));
    check_pass(&s, deft_pass_fold, 0, 0);
    free_sketch(&s);
}

/* ---- identity ------------------------------------------------------------------------------------------------ */

static void test_identity(void **state) {
    (void)state;
    sketch s = new_sketch();
    int x = input(&s, "x", 2, (int64_t[]){2, 3});
    int a = apply_one(&s, DEFT_OP_IDENTITY, "a", x);
    int b = apply_one(&s, DEFT_OP_DROPOUT, "b", a);
    int c = apply_one(&s, DEFT_OP_FLATTEN, "c", b); /* a matrix already */
    int d = apply_one(&s, DEFT_OP_RELU, "d", c);
    int e = apply(&s, DEFT_OP_ADD, "e", (int[]){d, b}, 2, NULL, 0);
    finish(&s, apply_one(&s, DEFT_OP_IDENTITY, "y", e));
    check_pass(&s, deft_pass_identity, 2, 0);
    assert_int_equal(s.graph->nodes[0].in[0], deft_graph_find(s.graph, "x"));
    free_sketch(&s);
}

/* The value before the output is used elsewhere, before and behind the Identity. */
static void test_identity_at_output(void **state) {
    (void)state;
    sketch s = new_sketch();
    int x = input(&s, "x", 2, (int64_t[]){2, 3});
    int a = apply_one(&s, DEFT_OP_TANH, "a", x);
    int b = apply_one(&s, DEFT_OP_RELU, "b", a);
    int y = apply_one(&s, DEFT_OP_IDENTITY, "y", a);
    int z = apply(&s, DEFT_OP_ADD, "z", (int[]){a, b}, 2, NULL, 0);
    assert_int_equal(deft_graph_add_output(s.graph, y), DEFT_OK);
    finish(&s, z);
    check_pass(&s, deft_pass_identity, 3, 0);
    assert_string_equal(s.graph->values[s.graph->outputs[1]].name, "z");
    free_sketch(&s);
}

/* Outputs that are copies of an input, of a constant, and of another output keep their nodes: their names must stay. */
static void test_identity_keeps_names(void **state) {
    (void)state;
    sketch s = new_sketch();
    int x = input(&s, "x", 2, (int64_t[]){2, 3});
    int a = apply_one(&s, DEFT_OP_RELU, "a", x);
    assert_int_equal(deft_graph_add_output(s.graph, apply_one(&s, DEFT_OP_IDENTITY, "copy of x", x)), DEFT_OK);
    int w = weights(&s, "w", 1, (int64_t[]){3});
    assert_int_equal(deft_graph_add_output(s.graph, apply_one(&s, DEFT_OP_IDENTITY, "copy of w", w)), DEFT_OK);
    assert_int_equal(deft_graph_add_output(s.graph, a), DEFT_OK);
    finish(&s, apply_one(&s, DEFT_OP_IDENTITY, "copy of a", a));
    check_pass(&s, deft_pass_identity, 4, 0);
    free_sketch(&s);
}

static void test_identity_keeps_masks(void **state) {
    (void)state;
    sketch s = new_sketch();
    int x = input(&s, "x", 2, (int64_t[]){2, 3}), out[2], node;
    assert_int_equal(deft_graph_add_value(s.graph, "y", &out[0]), DEFT_OK);
    assert_int_equal(deft_graph_add_value(s.graph, "mask", &out[1]), DEFT_OK);
    assert_int_equal(deft_graph_add_node(s.graph, DEFT_OP_DROPOUT, "drop", NULL, 0, &x, 1, out, 2, &node), DEFT_OK);
    assert_int_equal(deft_graph_add_output(s.graph, out[1]), DEFT_OK);
    finish(&s, apply_one(&s, DEFT_OP_RELU, "z", out[0]));
    assert_int_equal(deft_pass_identity(s.graph), DEFT_OK);
    assert_int_equal(s.graph->node_count, 2);
    free_sketch(&s);
}

static void test_identity_keeps_reshapes(void **state) {
    (void)state;
    sketch s = new_sketch();
    int x = input(&s, "x", 3, (int64_t[]){2, 3, 1});
    finish(&s, apply_one(&s, DEFT_OP_FLATTEN, "y", x));
    check_pass(&s, deft_pass_identity, 1, 0);
    free_sketch(&s);
}

/* ---- batch normalisation ------------------------------------------------------------------------------------- */

static int conv(sketch *s, const char *name, int x, int64_t channels, int64_t from, bool bias) {
    int64_t dims[] = {channels, from, 3, 3};
    char text[64];
    snprintf(text, sizeof text, "%s.weight", name);
    int in[3] = {x, weights(s, text, 4, dims)};
    snprintf(text, sizeof text, "%s.bias", name);
    if (bias) in[2] = weights(s, text, 1, &channels);
    return apply(s, DEFT_OP_CONV, name, in, bias ? 3 : 2, NULL, 0);
}

static void check_conv(bool bias) {
    sketch s = new_sketch();
    int x = input(&s, "x", 4, (int64_t[]){2, 3, 5, 5});
    finish(&s, batch_norm(&s, "y", conv(&s, "conv", x, 4, 3, bias), 4));
    check_pass(&s, deft_pass_batch_norm, 1, 1e-4);
    assert_int_equal(s.graph->nodes[0].in_count, 3);
    assert_int_not_equal(deft_graph_find(s.graph, "conv.weight"), DEFT_NO_VALUE);
    assert_int_equal(deft_graph_find(s.graph, "y.scale"), DEFT_NO_VALUE);
    free_sketch(&s);
}

static void check_gemm(int64_t transposed, bool bias, float alpha) {
    sketch s = new_sketch();
    int x = input(&s, "x", 2, (int64_t[]){2, 5});
    int64_t rows[] = {4, 5}, columns[] = {5, 4}, flat[] = {1, 4};
    int in[3] = {x, weights(&s, "weight", 2, transposed ? rows : columns)};
    if (bias) in[2] = weights(&s, "bias", 2, flat);
    const deft_attr attrs[] = {{.name = "transB", .type = DEFT_ATTR_INT, .i = transposed},
                               {.name = "alpha", .type = DEFT_ATTR_FLOAT, .f = alpha}};
    finish(&s, batch_norm(&s, "y", apply(&s, DEFT_OP_GEMM, "gemm", in, bias ? 3 : 2, attrs, 2), 4));
    check_pass(&s, deft_pass_batch_norm, 1, 1e-4);
    free_sketch(&s);
}

static void test_batch_norm(void **state) {
    (void)state;
    check_conv(true);
    check_conv(false);
    check_gemm(1, true, 1);
    check_gemm(0, true, 0.5f);
    check_gemm(0, false, 1);
}

static void test_batch_norm_twice(void **state) {
    (void)state;
    sketch s = new_sketch();
    int x = input(&s, "x", 4, (int64_t[]){2, 3, 5, 5});
    int first = batch_norm(&s, "first", conv(&s, "conv", x, 4, 3, false), 4);
    finish(&s, batch_norm(&s, "y", first, 4));
    check_pass(&s, deft_pass_batch_norm, 1, 1e-3);
    free_sketch(&s);
}

/* Two convolutions share weights and only one is normalised. */
static void test_batch_norm_shared_weights(void **state) {
    (void)state;
    sketch s = new_sketch();
    int x = input(&s, "x", 4, (int64_t[]){2, 3, 5, 5}), w = weights(&s, "w", 4, (int64_t[]){4, 3, 3, 3});
    int a = apply(&s, DEFT_OP_CONV, "a", (int[]){x, w}, 2, NULL, 0);
    int b = apply(&s, DEFT_OP_CONV, "b", (int[]){x, w}, 2, NULL, 0);
    finish(&s, apply(&s, DEFT_OP_ADD, "y", (int[]){batch_norm(&s, "norm", a, 4), b}, 2, NULL, 0));
    check_pass(&s, deft_pass_batch_norm, 3, 1e-4);
    free_sketch(&s);
}

/* A clone that shares its constants gets its own where the pass changes them. */
static void test_batch_norm_of_shared_constants(void **state) {
    (void)state;
    sketch s = new_sketch();
    int x = input(&s, "x", 4, (int64_t[]){1, 3, 5, 5});
    int conv = apply(&s, DEFT_OP_CONV, "conv", (int[]){x, weights(&s, "w", 4, (int64_t[]){4, 3, 3, 3})}, 2, NULL, 0);
    finish(&s, batch_norm(&s, "y", conv, 4));
    float before[MAX_OUT], after[MAX_OUT];
    int count = run(&s, before);
    deft_graph *copy;
    assert_int_equal(deft_graph_clone_sharing(s.graph, &copy), DEFT_OK);
    int w = deft_graph_find(s.graph, "w");
    assert_ptr_equal(copy->values[w].desc.data, s.graph->values[w].desc.data);
    assert_int_equal(deft_pass_batch_norm(copy), DEFT_OK);
    assert_int_equal(copy->node_count, 1);
    assert_ptr_not_equal(copy->values[deft_graph_find(copy, "w")].desc.data, s.graph->values[w].desc.data);
    assert_int_equal(run(&s, after), count);
    assert_true(max_error(before, after, count) == 0);
    deft_graph_free(s.graph); /* the clone lives on */
    s.graph = copy;
    assert_int_equal(run(&s, after), count);
    assert_true(max_error(before, after, count) < 1e-5);
    free_sketch(&s);
}

static void test_batch_norm_leaves(void **state) {
    (void)state;
    sketch s = new_sketch();
    int x = input(&s, "x", 4, (int64_t[]){2, 3, 5, 5});
    /* used elsewhere */
    int a = conv(&s, "a", x, 4, 3, true);
    int b = batch_norm(&s, "b", a, 4);
    /* behind an input, behind something else */
    int c = batch_norm(&s, "c", x, 3);
    int d = batch_norm(&s, "d", apply_one(&s, DEFT_OP_RELU, "relu", c), 3);
    /* trained */
    int e = conv(&s, "e", d, 4, 3, true);
    s.graph->values[deft_graph_find(s.graph, "e.weight")].variable = true;
    int f = batch_norm(&s, "f", e, 4);
    /* of a variance that has no root */
    int g = batch_norm(&s, "g", conv(&s, "h", x, 4, 3, true), 4);
    ((float *)s.graph->values[deft_graph_find(s.graph, "g.variance")].desc.data)[1] = -1;
    assert_int_equal(deft_graph_add_output(s.graph, g), DEFT_OK);
    int sum = apply(&s, DEFT_OP_ADD, "sum", (int[]){a, b}, 2, NULL, 0);
    finish(&s, apply(&s, DEFT_OP_ADD, "y", (int[]){sum, f}, 2, NULL, 0));
    int nodes = s.graph->node_count;
    assert_int_equal(deft_pass_batch_norm(s.graph), DEFT_OK);
    assert_int_equal(s.graph->node_count, nodes);
    free_sketch(&s);
}

/* ---- dead ---------------------------------------------------------------------------------------------------- */

static void test_dead(void **state) {
    (void)state;
    sketch s = new_sketch();
    int x = input(&s, "x", 2, (int64_t[]){2, 3}), unused = input(&s, "unused", 2, (int64_t[]){2, 3});
    int w = weights(&s, "w", 1, (int64_t[]){3});
    apply(&s, DEFT_OP_ADD, "nobody's", (int[]){apply_one(&s, DEFT_OP_RELU, "idle", unused), w}, 2, NULL, 0);
    finish(&s, apply_one(&s, DEFT_OP_RELU, "y", x));
    check_pass(&s, deft_pass_dead, 1, 0);
    assert_int_equal(s.graph->value_count, 3);
    assert_int_equal(deft_graph_find(s.graph, "w"), DEFT_NO_VALUE);
    free_sketch(&s);
}

/* ---- all ----------------------------------------------------------------------------------------------------- */

static sketch new_net(void) {
    sketch s = new_sketch();
    int x = input(&s, "x", 4, (int64_t[]){2, 3, 6, 6});
    int a = apply_one(&s, DEFT_OP_RELU, "a", batch_norm(&s, "norm", conv(&s, "conv", x, 4, 3, false), 4));
    int b = apply_one(&s, DEFT_OP_FLATTEN, "b", apply_one(&s, DEFT_OP_DROPOUT, "drop", a));
    int scale = apply_one(&s, DEFT_OP_TANH, "scale", weights(&s, "raw", 1, (int64_t[]){64}));
    finish(&s, apply(&s, DEFT_OP_MUL, "y", (int[]){b, scale}, 2, NULL, 0));
    return s;
}

static void test_all(void **state) {
    (void)state;
    sketch s = new_net();
    check_pass(&s, deft_pass_run_all, 4, 1e-4);
    free_sketch(&s);
}

static deft_status run_passes(deft_context *ctx, void *user) {
    const sketch *s = user;
    deft_graph *copy;
    DEFT_TRY(deft_graph_clone(ctx, s->graph, &copy));
    deft_status status = deft_pass_run_all(copy);
    deft_graph_free(copy);
    return status;
}

/* ---- patterns of exporters ----------------------------------------------------------------------------------- */

static int scalar(sketch *s, float value) {
    deft_tensor tensor = {.dtype = DEFT_F32, .data = &value};
    int id;
    assert_int_equal(deft_graph_add_constant(s->graph, NULL, &tensor, &id), DEFT_OK);
    return id;
}

static int apply_two(sketch *s, deft_op op, const char *name, int a, int b) {
    return apply(s, op, name, (int[]){a, b}, 2, NULL, 0);
}

/* The operators of the graph's nodes, as the text dump names them, with spaces between. */
static void list_operators(const sketch *s, char *out, size_t bytes) {
    char *text = NULL;
    size_t length;
    FILE *file = open_memstream(&text, &length);
    assert_non_null(file);
    deft_graph_dump(s->graph, file);
    fclose(file);
    out[0] = 0;
    for (const char *at = text; (at = strstr(at, " = ")); at++)
        snprintf(out + strlen(out), bytes - strlen(out), "%.*s ", (int)strcspn(at + 3, "("), at + 3);
    free(text);
}

static void check_operators(const sketch *s, const char *expected) {
    char text[512];
    list_operators(s, text, sizeof text);
    assert_string_equal(text, expected);
}

/* x (1 + erf(x / sqrt 2)) / 2: the products in each order, the scale as a product or a quotient. */
static sketch new_gelu(int order, float one) {
    sketch s = new_sketch();
    int x = input(&s, "x", 2, (int64_t[]){3, 40});
    int scaled = order % 2 ? apply_two(&s, DEFT_OP_DIV, "scaled", x, scalar(&s, 1.41421354f))
                           : apply_two(&s, DEFT_OP_MUL, "scaled", scalar(&s, 0.707106769f), x);
    int sum = apply_two(&s, DEFT_OP_ADD, "sum", apply_one(&s, DEFT_OP_ERF, "erf", scaled), scalar(&s, one));
    int half = scalar(&s, 0.5f);
    if (order / 2 == 0) finish(&s, apply_two(&s, DEFT_OP_MUL, "y", apply_two(&s, DEFT_OP_MUL, "p", x, sum), half));
    if (order / 2 == 1) finish(&s, apply_two(&s, DEFT_OP_MUL, "y", apply_two(&s, DEFT_OP_MUL, "p", x, half), sum));
    if (order / 2 == 2) finish(&s, apply_two(&s, DEFT_OP_MUL, "y", x, apply_two(&s, DEFT_OP_MUL, "p", half, sum)));
    return s;
}

static deft_status find_gelu(deft_graph *graph) {
    DEFT_TRY(deft_pass_gelu(graph));
    return deft_pass_dead(graph);
}

static void test_gelu(void **state) {
    (void)state;
    for (int order = 0; order < 6; order++) {
        sketch s = new_gelu(order, 1);
        char before[512];
        list_operators(&s, before, sizeof before);
        assert_non_null(strstr(before, "Erf Add Mul "));
        check_pass(&s, find_gelu, 1, 1e-6);
        check_operators(&s, "Gelu ");
        free_sketch(&s);
    }
}

/* With tanh: the cube as products or a power. */
static sketch new_gelu_tanh(bool power, float factor) {
    sketch s = new_sketch();
    int x = input(&s, "x", 2, (int64_t[]){3, 40}), cube;
    if (power)
        cube = apply_two(&s, DEFT_OP_MUL, "c", apply_two(&s, DEFT_OP_POW, "p", x, scalar(&s, 3)), scalar(&s, factor));
    else
        cube = apply_two(&s, DEFT_OP_MUL, "c", x,
                         apply_two(&s, DEFT_OP_MUL, "b", x, apply_two(&s, DEFT_OP_MUL, "a", scalar(&s, factor), x)));
    int inner = apply_two(&s, DEFT_OP_MUL, "i", scalar(&s, 0.7978845608f), apply_two(&s, DEFT_OP_ADD, "d", x, cube));
    int sum = apply_two(&s, DEFT_OP_ADD, "sum", scalar(&s, 1), apply_one(&s, DEFT_OP_TANH, "t", inner));
    finish(&s, apply_two(&s, DEFT_OP_MUL, "y", x, apply_two(&s, DEFT_OP_MUL, "h", scalar(&s, 0.5f), sum)));
    return s;
}

static void test_gelu_tanh(void **state) {
    (void)state;
    for (int power = 0; power < 2; power++) {
        sketch s = new_gelu_tanh(power, 0.044715f);
        check_pass(&s, find_gelu, 1, 1e-6);
        check_operators(&s, "Gelu ");
        free_sketch(&s);
    }
    sketch s = new_gelu_tanh(false, 0.05f);
    check_pass(&s, find_gelu, 9, 0);
    free_sketch(&s);
}

static deft_status find_swish(deft_graph *graph) {
    DEFT_TRY(deft_pass_swish(graph));
    return deft_pass_dead(graph);
}

static sketch new_swish(bool of_itself) {
    sketch s = new_sketch();
    int x = input(&s, "x", 2, (int64_t[]){3, 40}), y = apply_one(&s, DEFT_OP_SIGMOID, "g", x);
    finish(&s, apply_two(&s, DEFT_OP_MUL, "y", y, of_itself ? x : apply_one(&s, DEFT_OP_TANH, "t", x)));
    return s;
}

static void test_swish(void **state) {
    (void)state;
    sketch s = new_swish(true);
    check_pass(&s, find_swish, 1, 1e-6);
    check_operators(&s, "Swish ");
    free_sketch(&s);
    s = new_swish(false); /* of something else */
    check_pass(&s, find_swish, 3, 0);
    free_sketch(&s);
}

static void test_gelu_leaves(void **state) {
    (void)state;
    sketch s = new_gelu(1, 2); /* 2 + erf(...) */
    check_pass(&s, find_gelu, 5, 0);
    free_sketch(&s);
    s = new_gelu(1, 1); /* something else needs the sum */
    assert_int_equal(deft_graph_add_output(s.graph, deft_graph_find(s.graph, "sum")), DEFT_OK);
    check_pass(&s, find_gelu, 5, 0);
    free_sketch(&s);
}

/* As exporters write it; the axes of the second mean, and how d is squared, are given. */
static sketch new_layer_norm(int64_t second_axis, bool power, bool shifted) {
    static const int64_t last = -1;
    const deft_attr axes = {.name = "axes", .type = DEFT_ATTR_INTS, .ints = &last, .count = 1};
    const deft_attr others = {.name = "axes", .type = DEFT_ATTR_INTS, .ints = &second_axis, .count = 1};
    sketch s = new_sketch();
    int x = input(&s, "x", 3, (int64_t[]){2, 5, 24});
    int centred = apply_two(&s, DEFT_OP_SUB, "d", x, apply(&s, DEFT_OP_REDUCE_MEAN, "m", &x, 1, &axes, 1));
    int squares = power ? apply_two(&s, DEFT_OP_POW, "s", centred, scalar(&s, 2))
                        : apply_two(&s, DEFT_OP_MUL, "s", centred, centred);
    int variance = apply(&s, DEFT_OP_REDUCE_MEAN, "v", &squares, 1, &others, 1);
    int deviation = apply_one(&s, DEFT_OP_SQRT, "r", apply_two(&s, DEFT_OP_ADD, "e", variance, scalar(&s, 0.01f)));
    int y = apply_two(&s, DEFT_OP_MUL, "z", apply_two(&s, DEFT_OP_DIV, "q", centred, deviation),
                      weights(&s, "scale", 1, (int64_t[]){24}));
    if (shifted) y = apply_two(&s, DEFT_OP_ADD, "y", weights(&s, "shift", 1, (int64_t[]){24}), y);
    finish(&s, y);
    return s;
}

static deft_status find_layer_norm(deft_graph *graph) {
    DEFT_TRY(deft_pass_layer_norm(graph));
    return deft_pass_dead(graph);
}

static void test_layer_norm(void **state) {
    (void)state;
    for (int power = 0; power < 2; power++)
        for (int shifted = 0; shifted < 2; shifted++) {
            sketch s = new_layer_norm(2, power, shifted);
            if (power && shifted) check_operators(&s, "ReduceMean Sub Pow ReduceMean Add Sqrt Div Mul Add ");
            check_pass(&s, find_layer_norm, 1, 1e-5);
            check_operators(&s, "LayerNormalization ");
            free_sketch(&s);
        }
}

static void test_layer_norm_leaves(void **state) {
    (void)state;
    sketch s = new_layer_norm(1, true, true); /* another axis: its result has another shape */
    check_pass(&s, find_layer_norm, 9, 0);
    free_sketch(&s);
}

/* x clip(x + 3, 0, 6) / 6: by x first or last, the sixth as a quotient or a product. */
static sketch new_hard_swish(int order, float high) {
    sketch s = new_sketch();
    int x = input(&s, "x", 2, (int64_t[]){3, 40});
    int sum = apply_two(&s, DEFT_OP_ADD, "sum", x, scalar(&s, 3));
    int clip = apply(&s, DEFT_OP_CLIP, "clip", (int[]){sum, scalar(&s, 0), scalar(&s, high)}, 3, NULL, 0);
    deft_op by = order % 2 ? DEFT_OP_DIV : DEFT_OP_MUL;
    int sixth = scalar(&s, order % 2 ? 6 : 1.0f / 6);
    if (order / 2)
        finish(&s, apply_two(&s, DEFT_OP_MUL, "y", x, apply_two(&s, by, "p", clip, sixth)));
    else
        finish(&s, apply_two(&s, by, "y", apply_two(&s, DEFT_OP_MUL, "p", x, clip), sixth));
    return s;
}

static deft_status find_hard_swish(deft_graph *graph) {
    DEFT_TRY(deft_pass_hard_swish(graph));
    return deft_pass_dead(graph);
}

static void test_hard_swish(void **state) {
    (void)state;
    for (int order = 0; order < 4; order++) {
        sketch s = new_hard_swish(order, 6);
        if (order == 1) check_operators(&s, "Add Clip Mul Div ");
        check_pass(&s, find_hard_swish, 1, 1e-6);
        check_operators(&s, "HardSwish ");
        free_sketch(&s);
    }
    sketch s = new_hard_swish(1, 5);
    check_pass(&s, find_hard_swish, 4, 0);
    free_sketch(&s);
}

/* Two tokens of three pictures by a matrix, and a bias [bias_dims], twice: the first result is used once or twice. */
static sketch new_linear(int bias_rank, const int64_t *bias_dims, bool used_twice) {
    sketch s = new_sketch();
    int x = input(&s, "x", 3, (int64_t[]){3, 2, 4});
    int w = weights(&s, "w", 2, (int64_t[]){4, 5}), w2 = weights(&s, "w2", 2, (int64_t[]){5, 6});
    int product = apply_two(&s, DEFT_OP_MATMUL, "p", x, w);
    int sum = apply_two(&s, DEFT_OP_ADD, "s", weights(&s, "b", bias_rank, bias_dims), product);
    if (used_twice) sum = apply_two(&s, DEFT_OP_SUB, "d", sum, product);
    int second = apply_two(&s, DEFT_OP_MATMUL, "p2", sum, w2);
    finish(&s, apply_two(&s, DEFT_OP_ADD, "y", second, weights(&s, "b2", 1, (int64_t[]){6})));
    return s;
}

/* Products of nothing: the bias alone. */
static void test_linear_of_nothing(void **state) {
    (void)state;
    sketch s = new_sketch();
    int x = input(&s, "x", 3, (int64_t[]){3, 2, 0}), w = weights(&s, "w", 2, (int64_t[]){0, 5});
    int product = apply_two(&s, DEFT_OP_MATMUL, "p", x, w);
    finish(&s, apply_two(&s, DEFT_OP_ADD, "y", product, weights(&s, "b", 1, (int64_t[]){5})));
    check_pass(&s, deft_pass_linear, 2, 0);
    free_sketch(&s);
}

static void test_linear(void **state) {
    (void)state;
    static const int64_t row[] = {1, 5}, other[] = {2, 5}, row_of_three[] = {1, 1, 5};
    sketch s = new_linear(1, row + 1, false);
    check_pass(&s, deft_pass_linear, 6, 1e-6);
    check_operators(&s, "Reshape Gemm Reshape Reshape Gemm Reshape ");
    free_sketch(&s);
    s = new_linear(2, row, false);
    check_pass(&s, deft_pass_linear, 6, 1e-6);
    free_sketch(&s);
    s = new_linear(2, row, true); /* only the second */
    check_pass(&s, deft_pass_linear, 6, 1e-6);
    check_operators(&s, "MatMul Add Sub Reshape Gemm Reshape ");
    free_sketch(&s);
    s = new_linear(2, other, false);
    check_pass(&s, deft_pass_linear, 5, 1e-6);
    free_sketch(&s);
    s = new_linear(3, row_of_three, false);
    check_pass(&s, deft_pass_linear, 5, 1e-6);
    free_sketch(&s);
}

static void test_out_of_memory(void **state) {
    (void)state;
    sketch s = new_net();
    check_every_allocation_failure(run_passes, &s);
    free_sketch(&s);
}

static deft_status run_patterns(deft_context *ctx, void *user) {
    const sketch *from = user;
    deft_graph *graph;
    DEFT_TRY(deft_graph_clone(ctx, from->graph, &graph));
    deft_status status = deft_pass_gelu(graph);
    if (status == DEFT_OK) status = deft_pass_layer_norm(graph);
    if (status == DEFT_OK) status = deft_pass_hard_swish(graph);
    if (status == DEFT_OK) status = deft_pass_swish(graph);
    if (status == DEFT_OK) status = deft_pass_linear(graph);
    deft_graph_free(graph);
    return status;
}

static void test_patterns_out_of_memory(void **state) {
    (void)state;
    sketch s = new_gelu(0, 1);
    check_every_allocation_failure(run_patterns, &s);
    free_sketch(&s);
    s = new_swish(true);
    check_every_allocation_failure(run_patterns, &s);
    free_sketch(&s);
    s = new_gelu_tanh(true, 0.044715f);
    check_every_allocation_failure(run_patterns, &s);
    free_sketch(&s);
    s = new_layer_norm(2, true, true);
    check_every_allocation_failure(run_patterns, &s);
    free_sketch(&s);
    s = new_linear(1, (int64_t[]){5}, false);
    assert_int_equal(deft_graph_infer(s.graph, 1, NULL, 0), DEFT_OK);
    check_every_allocation_failure(run_patterns, &s);
    free_sketch(&s);
}

static void test_comparison_sees_a_difference(void **state) {
    (void)state;
    sketch s = new_net();
    float before[MAX_OUT], after[MAX_OUT];
    int count = run(&s, before);
    ((float *)s.graph->values[deft_graph_find(s.graph, "norm.mean")].desc.data)[0] += 0.01f;
    assert_int_equal(run(&s, after), count);
    assert_true(max_error(before, after, count) > 1e-4);
    free_sketch(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fold),
        cmocka_unit_test(test_fold_leaves),
        cmocka_unit_test(test_fold_is_bounded),
        cmocka_unit_test(test_fold_output),
        cmocka_unit_test(test_identity),
        cmocka_unit_test(test_identity_at_output),
        cmocka_unit_test(test_identity_keeps_names),
        cmocka_unit_test(test_identity_keeps_masks),
        cmocka_unit_test(test_identity_keeps_reshapes),
        cmocka_unit_test(test_batch_norm),
        cmocka_unit_test(test_batch_norm_twice),
        cmocka_unit_test(test_batch_norm_shared_weights),
        cmocka_unit_test(test_batch_norm_of_shared_constants),
        cmocka_unit_test(test_batch_norm_leaves),
        cmocka_unit_test(test_dead),
        cmocka_unit_test(test_all),
        cmocka_unit_test(test_gelu),
        cmocka_unit_test(test_gelu_leaves),
        cmocka_unit_test(test_gelu_tanh),
        cmocka_unit_test(test_swish),
        cmocka_unit_test(test_layer_norm),
        cmocka_unit_test(test_layer_norm_leaves),
        cmocka_unit_test(test_hard_swish),
        cmocka_unit_test(test_linear),
        cmocka_unit_test(test_linear_of_nothing),
        cmocka_unit_test(test_patterns_out_of_memory),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_comparison_sees_a_difference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
