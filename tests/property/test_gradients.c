/* Every gradient rule against central differences, in f64 and with sign: random shapes and attributes; and the
 * comparison is shown to catch a wrong sign, a missing term and a wrong factor. */
#include "tests/support.h"

#include "base/core/rng.h"
#include "ir/grad/grad.h"

#include <math.h>
#include <string.h>

enum { MAX_WRT = 4, TRIALS = 200 };
static const double STEP = 1e-5, TOLERANCE = 2e-7;

/* A graph of constants and nodes, and the constants whose gradients are checked. */
typedef struct problem {
    deft_context *ctx;
    deft_graph *graph;
    deft_rng rng;
    int wrt[MAX_WRT], wrt_count;
} problem;

/* ---- building ---- */

static int64_t pick(problem *p, int64_t low, int64_t high) {
    return low + (int64_t)deft_rng_below(&p->rng, (uint64_t)(high - low + 1));
}

static bool coin(problem *p) {
    return pick(p, 0, 1) == 1;
}

/* A constant whose elements all differ, none near 0 or near another: no function with corners, such as Relu and
 * MaxPool, is tested on one. */
static int make_constant(problem *p, int rank, const int64_t *dims, bool wrt) {
    deft_tensor tensor = {.dtype = DEFT_F64, .rank = rank};
    for (int i = 0; i < rank; i++)
        tensor.dims[i] = dims[i];
    int64_t count = deft_tensor_count(&tensor);
    int64_t *order = malloc(sizeof *order * (size_t)count);
    double *data = malloc(sizeof *data * (size_t)count);
    for (int64_t i = 0; i < count; i++)
        order[i] = i;
    deft_rng_shuffle(&p->rng, order, count);
    for (int64_t i = 0; i < count; i++)
        data[i] = 2.5 * ((double)order[i] + 0.5 + 0.3 * (double)deft_rng_uniform(&p->rng)) / (double)count - 1.27;
    tensor.data = data;
    int value;
    assert_int_equal(deft_graph_add_constant(p->graph, NULL, &tensor, &value), DEFT_OK);
    if (wrt) p->wrt[p->wrt_count++] = value;
    free(order);
    free(data);
    return value;
}

#define DIMS(...)                                                                                                      \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]) {                                           \
        __VA_ARGS__                                                                                                    \
    }
#define VARIABLE(P, ...) make_constant(P, DIMS(__VA_ARGS__), true)
#define FIXED(P, ...)    make_constant(P, DIMS(__VA_ARGS__), false)

static int add_nodes(problem *p, deft_op op, const deft_attr *attrs, int attr_count, const int *in, int in_count,
                     int out_count) {
    int out[3], node;
    for (int i = 0; i < out_count; i++)
        assert_int_equal(deft_graph_add_value(p->graph, NULL, &out[i]), DEFT_OK);
    assert_int_equal(
        deft_graph_add_node(p->graph, op, "tested", attrs, attr_count, in, in_count, out, out_count, &node), DEFT_OK);
    if (deft_graph_infer_node(p->graph, node) != DEFT_OK) fail_msg("%s", deft_context_message(p->ctx));
    return out[0];
}

static int add_node(problem *p, deft_op op, const deft_attr *attrs, int attr_count, int a, int b, int c) {
    int in[] = {a, b, c}, count = c >= 0 ? 3 : b >= 0 ? 2 : 1;
    return add_nodes(p, op, attrs, attr_count, in, count, 1);
}

static deft_attr ints(const char *name, int count, const int64_t *values) {
    return (deft_attr){.name = name, .type = DEFT_ATTR_INTS, .count = count, .ints = values};
}

static deft_attr one_int(const char *name, int64_t value) {
    return (deft_attr){.name = name, .type = DEFT_ATTR_INT, .i = value};
}

static deft_attr one_float(const char *name, float value) {
    return (deft_attr){.name = name, .type = DEFT_ATTR_FLOAT, .f = value};
}

static int i64_vector(problem *p, int count, const int64_t *values) {
    deft_tensor tensor = {.dtype = DEFT_I64, .rank = 1, .dims = {count}, .data = (void *)values};
    int value;
    assert_int_equal(deft_graph_add_constant(p->graph, NULL, &tensor, &value), DEFT_OK);
    return value;
}

/* ---- one problem for each operator that has a gradient; each returns the operator's output ---- */

/* Dimensions of which some operand has a 1 or nothing. */
static int make_binary(problem *p, deft_op op) {
    int64_t full[3], a[3], b[3];
    for (int i = 0; i < 3; i++) {
        full[i] = pick(p, 1, 4);
        int thin = (int)pick(p, 0, 3);
        a[i] = thin == 1 ? 1 : full[i];
        b[i] = thin == 2 ? 1 : full[i];
    }
    int a_skip = (int)pick(p, 0, 3), b_skip = a_skip ? 0 : (int)pick(p, 0, 3);
    int left = make_constant(p, 3 - a_skip, a + a_skip, true);
    if (op == DEFT_OP_MUL && coin(p)) return add_node(p, op, NULL, 0, left, left, -1); /* a square */
    int right = make_constant(p, 3 - b_skip, b + b_skip, true);
    double *divisor = p->graph->values[right].desc.data; /* far from 0, where differences are of no use */
    for (int64_t i = 0; op == DEFT_OP_DIV && i < deft_tensor_count(&p->graph->values[right].desc); i++)
        divisor[i] += copysign(0.5, divisor[i]);
    return add_node(p, op, NULL, 0, left, right, -1);
}

static int make_unary(problem *p, deft_op op) {
    return add_node(p, op, NULL, 0, VARIABLE(p, pick(p, 1, 4), pick(p, 1, 5)), -1, -1);
}

static int make_clip(problem *p, deft_op op) {
    int x = VARIABLE(p, pick(p, 1, 4), pick(p, 1, 5));
    if (coin(p)) {
        p->graph->opset = 6;
        deft_attr attrs[] = {one_float("min", -0.43217f), one_float("max", 0.61819f)};
        return add_node(p, op, attrs, 2, x, -1, -1);
    }
    double low = -0.43217, high = 0.61819;
    deft_tensor low_tensor = {.dtype = DEFT_F64, .data = &low}, high_tensor = {.dtype = DEFT_F64, .data = &high};
    int in[3] = {x, -1, -1};
    if (coin(p)) assert_int_equal(deft_graph_add_constant(p->graph, NULL, &low_tensor, &in[1]), DEFT_OK);
    if (coin(p)) assert_int_equal(deft_graph_add_constant(p->graph, NULL, &high_tensor, &in[2]), DEFT_OK);
    return add_nodes(p, op, NULL, 0, in, 3, 1);
}

static int make_reshape(problem *p, deft_op op) {
    int64_t a = pick(p, 1, 3), b = pick(p, 1, 3), axis = 1;
    int x = VARIABLE(p, a, 1, b);
    if (op == DEFT_OP_FLATTEN) return add_node(p, op, (deft_attr[]){one_int("axis", pick(p, 0, 3))}, 1, x, -1, -1);
    if (op == DEFT_OP_RESHAPE) return add_node(p, op, NULL, 0, x, i64_vector(p, 2, (int64_t[]){b, -1}), -1);
    if (coin(p)) return add_node(p, op, NULL, 0, x, i64_vector(p, 1, &axis), -1);
    p->graph->opset = 11;
    return add_node(p, op, (deft_attr[]){ints("axes", 1, &axis)}, 1, x, -1, -1);
}

static int make_transpose(problem *p, deft_op op) {
    int64_t perm[] = {0, 1, 2};
    deft_rng_shuffle(&p->rng, perm, 3);
    deft_attr attr = ints("perm", 3, perm);
    return add_node(p, op, &attr, coin(p), VARIABLE(p, pick(p, 1, 4), pick(p, 1, 4), pick(p, 1, 4)), -1, -1);
}

static int make_gemm(problem *p, deft_op op) {
    int64_t m = pick(p, 1, 4), n = pick(p, 1, 4), k = pick(p, 1, 4);
    bool a_turned = coin(p), b_turned = coin(p);
    deft_attr attrs[] = {one_int("transA", a_turned), one_int("transB", b_turned), one_float("alpha", 0.75f),
                         one_float("beta", coin(p) ? 1 : -1.5f)};
    int a = a_turned ? VARIABLE(p, k, m) : VARIABLE(p, m, k), b = b_turned ? VARIABLE(p, n, k) : VARIABLE(p, k, n),
        c = -1;
    switch (pick(p, 0, 4)) {
    case 0:
        c = VARIABLE(p, n);
        break;
    case 1:
        c = VARIABLE(p, m, 1);
        break;
    case 2:
        c = VARIABLE(p, m, n);
        break;
    case 3:
        c = VARIABLE(p, 1);
    }
    return add_node(p, op, attrs, 4, a, b, c);
}

static int make_matmul(problem *p, deft_op op) {
    int64_t m = pick(p, 1, 3), n = pick(p, 1, 3), k = pick(p, 1, 3), s = pick(p, 1, 3), t = pick(p, 1, 3);
    switch (pick(p, 0, 7)) {
    case 0:
        return add_node(p, op, NULL, 0, VARIABLE(p, k), VARIABLE(p, k), -1);
    case 1:
        return add_node(p, op, NULL, 0, VARIABLE(p, k), VARIABLE(p, s, k, n), -1);
    case 2:
        return add_node(p, op, NULL, 0, VARIABLE(p, s, m, k), VARIABLE(p, k), -1);
    case 3:
        return add_node(p, op, NULL, 0, VARIABLE(p, s, m, k), VARIABLE(p, k, n), -1);
    case 4:
        return add_node(p, op, NULL, 0, VARIABLE(p, m, k), VARIABLE(p, s, k, n), -1);
    case 5:
        return add_node(p, op, NULL, 0, VARIABLE(p, s, 1, m, k), VARIABLE(p, t, k, n), -1);
    case 6:
        return add_node(p, op, NULL, 0, VARIABLE(p, k), VARIABLE(p, k, n), -1);
    default:
        return add_node(p, op, NULL, 0, VARIABLE(p, m, k), VARIABLE(p, k, n), -1);
    }
}

/* Random windows that fit a picture of 5x6, or a line of 6: strides, dilations and pads for `spatial` dimensions. */
typedef struct window_attrs {
    int64_t kernel[2], strides[2], dilations[2], pads[4];
    deft_attr attrs[6];
    int count;
} window_attrs;

static void make_window(problem *p, int spatial, bool dilated, window_attrs *out) {
    static const char *const modes[] = {"SAME_UPPER", "SAME_LOWER", "VALID"};
    *out = (window_attrs){.count = 0};
    for (int i = 0; i < spatial; i++) {
        out->kernel[i] = pick(p, 1, 3);
        out->strides[i] = pick(p, 1, 3);
        out->dilations[i] = dilated ? pick(p, 1, 2) : 1;
        out->pads[i] = pick(p, 0, out->kernel[i] - 1);
        out->pads[spatial + i] = pick(p, 0, out->kernel[i] - 1);
    }
    out->attrs[out->count++] = ints("kernel_shape", spatial, out->kernel);
    out->attrs[out->count++] = ints("strides", spatial, out->strides);
    out->attrs[out->count++] = ints("dilations", spatial, out->dilations);
    if (pick(p, 0, 2) == 0)
        out->attrs[out->count++] = (deft_attr){.name = "auto_pad", .type = DEFT_ATTR_STRING, .s = modes[pick(p, 0, 2)]};
    else
        out->attrs[out->count++] = ints("pads", 2 * spatial, out->pads);
}

static int make_conv(problem *p, deft_op op) {
    int64_t groups = pick(p, 1, 2), channels = groups * pick(p, 1, 2), filters = groups * pick(p, 1, 2);
    int64_t batch = pick(p, 1, 2);
    int spatial = (int)pick(p, 1, 2);
    window_attrs w;
    make_window(p, spatial, true, &w);
    w.attrs[w.count++] = one_int("group", groups);
    int x = spatial == 2 ? VARIABLE(p, batch, channels, 5, 6) : VARIABLE(p, batch, channels, 6);
    int64_t depth = channels / groups;
    int weight =
        spatial == 2 ? VARIABLE(p, filters, depth, w.kernel[0], w.kernel[1]) : VARIABLE(p, filters, depth, w.kernel[0]);
    return add_node(p, op, w.attrs, w.count, x, weight, coin(p) ? VARIABLE(p, filters) : -1);
}

static int make_pool(problem *p, deft_op op) {
    int spatial = (int)pick(p, 1, 2);
    window_attrs w;
    make_window(p, spatial, op == DEFT_OP_MAX_POOL, &w);
    w.attrs[w.count++] = one_int("ceil_mode", pick(p, 0, 1));
    if (op == DEFT_OP_AVERAGE_POOL) w.attrs[w.count++] = one_int("count_include_pad", pick(p, 0, 1));
    int x = spatial == 2 ? VARIABLE(p, 2, 2, 5, 6) : VARIABLE(p, 2, 2, 6);
    if (spatial == 2 && coin(p)) { /* windows of 2x2 side by side have loops of their own */
        static const int64_t twos[] = {2, 2};
        return add_node(p, op, (deft_attr[]){ints("kernel_shape", 2, twos), ints("strides", 2, twos)}, 2, x, -1, -1);
    }
    return add_node(p, op, w.attrs, w.count, x, -1, -1);
}

static int make_global_pool(problem *p, deft_op op) {
    return add_node(p, op, NULL, 0, VARIABLE(p, 2, pick(p, 1, 3), pick(p, 1, 3), pick(p, 1, 3)), -1, -1);
}

static int make_softmax(problem *p, deft_op op) {
    p->graph->opset = coin(p) ? 17 : 11;
    deft_attr axis = one_int("axis", pick(p, -3, 2));
    return add_node(p, op, &axis, coin(p), VARIABLE(p, pick(p, 1, 3), pick(p, 1, 3), pick(p, 2, 4)), -1, -1);
}

static int make_batch_norm(problem *p, deft_op op) {
    int64_t channels = pick(p, 1, 3);
    deft_attr epsilon = one_float("epsilon", 0.01f);
    int in[] = {coin(p) ? VARIABLE(p, 3, channels, 2, 2) : VARIABLE(p, 5, channels), VARIABLE(p, channels),
                VARIABLE(p, channels)};
    return add_nodes(p, op, &epsilon, coin(p), in, 3, 3);
}

/* Targets are weights of the classes that need not sum to 1. */
static int make_loss(problem *p, deft_op op) {
    int64_t rows = pick(p, 1, 4), classes = pick(p, 2, 4);
    return add_node(p, op, NULL, 0, VARIABLE(p, rows, classes), FIXED(p, rows, classes), -1);
}

static int (*const makers[DEFT_OP_COUNT])(problem *p, deft_op op) = {
    [DEFT_OP_ADD] = make_binary,
    [DEFT_OP_SUB] = make_binary,
    [DEFT_OP_MUL] = make_binary,
    [DEFT_OP_DIV] = make_binary,
    [DEFT_OP_RELU] = make_unary,
    [DEFT_OP_CLIP] = make_clip,
    [DEFT_OP_SIGMOID] = make_unary,
    [DEFT_OP_TANH] = make_unary,
    [DEFT_OP_IDENTITY] = make_unary,
    [DEFT_OP_DROPOUT] = make_unary,
    [DEFT_OP_FLATTEN] = make_reshape,
    [DEFT_OP_RESHAPE] = make_reshape,
    [DEFT_OP_SQUEEZE] = make_reshape,
    [DEFT_OP_UNSQUEEZE] = make_reshape,
    [DEFT_OP_TRANSPOSE] = make_transpose,
    [DEFT_OP_GEMM] = make_gemm,
    [DEFT_OP_MATMUL] = make_matmul,
    [DEFT_OP_CONV] = make_conv,
    [DEFT_OP_MAX_POOL] = make_pool,
    [DEFT_OP_AVERAGE_POOL] = make_pool,
    [DEFT_OP_GLOBAL_AVERAGE_POOL] = make_global_pool,
    [DEFT_OP_SOFTMAX] = make_softmax,
    [DEFT_OP_LOG_SOFTMAX] = make_softmax,
    [DEFT_OP_BATCH_NORM_TRAINING] = make_batch_norm,
    [DEFT_OP_SOFTMAX_CROSS_ENTROPY] = make_loss,
    [DEFT_OP_MEAN_SQUARED_ERROR] = make_loss,
    [DEFT_OP_MEAN_PERCENTAGE_ERROR] = make_loss,
};

/* ---- checking ---- */

static void evaluate(problem *p, int first, int past) {
    for (int i = first; i < past; i++)
        if (deft_graph_evaluate_node(p->graph, i) != DEFT_OK) fail_msg("%s", deft_context_message(p->ctx));
}

static double scalar_of(const problem *p, int value) {
    return *(const double *)p->graph->values[value].desc.data;
}

/* The loss with element `i` of constant `value` moved by `by`; runs the first `nodes` nodes. */
static double loss_at(problem *p, int loss, int nodes, int value, int64_t i, double by) {
    double *element = (double *)p->graph->values[value].desc.data + i, before = *element;
    *element = before + by;
    evaluate(p, 0, nodes);
    *element = before;
    return scalar_of(p, loss);
}

/* Whether the gradients that the graph computes agree with central differences of the loss, sign included. The forward
 * part is the first `nodes` nodes. The worst difference goes to *worst. */
static bool gradients_agree(problem *p, int loss, int nodes, const int *grads, double *worst) {
    *worst = 0;
    evaluate(p, 0, p->graph->node_count);
    for (int w = 0; w < p->wrt_count; w++) {
        const deft_tensor *x = &p->graph->values[p->wrt[w]].desc;
        if (grads[w] == DEFT_NO_VALUE || !deft_shape_equal(x, &p->graph->values[grads[w]].desc)) return false;
        for (int64_t i = 0; i < deft_tensor_count(x); i++) {
            double analytic = ((const double *)p->graph->values[grads[w]].desc.data)[i];
            double above = loss_at(p, loss, nodes, p->wrt[w], i, STEP);
            double below = loss_at(p, loss, nodes, p->wrt[w], i, -STEP);
            double numeric = (above - below) / (2 * STEP);
            double error = fabs(analytic - numeric) / (1 + fabs(numeric));
            if (!(error <= *worst)) *worst = error;
        }
    }
    return *worst <= TOLERANCE;
}

static void problem_init(problem *p, uint64_t seed, uint64_t stream) {
    *p = (problem){.ctx = test_context()};
    deft_rng_init(&p->rng, seed, stream);
    assert_int_equal(deft_graph_new(p->ctx, &p->graph), DEFT_OK);
}

static void problem_done(problem *p) {
    deft_graph_free(p->graph);
    test_context_free(p->ctx);
}

/* A scalar of any output: the mean squared distance to random targets, so that every element has its own gradient. */
static int add_loss(problem *p, int out) {
    deft_tensor desc = p->graph->values[out].desc;
    if (desc.rank == 0) return out;
    return add_node(p, DEFT_OP_MEAN_SQUARED_ERROR, NULL, 0, out, make_constant(p, desc.rank, desc.dims, false), -1);
}

static void build(problem *p, int loss, int *grads) {
    if (deft_grad_build(p->graph, loss, p->wrt, p->wrt_count, grads) != DEFT_OK)
        fail_msg("%s", deft_context_message(p->ctx));
    if (deft_graph_verify(p->graph) != DEFT_OK) fail_msg("%s", deft_context_message(p->ctx));
}

static void test_every_operator(void **state) {
    (void)state;
    for (int op = 0; op < DEFT_OP_COUNT; op++) {
        bool differentiable = deft_ops[op].gradient != deft_gradient_none;
        if (differentiable != (makers[op] != NULL))
            fail_msg("%s has a gradient or a test, but not both", deft_ops[op].name);
        for (uint64_t trial = 0; differentiable && trial < TRIALS; trial++) {
            problem p;
            int grads[MAX_WRT];
            double worst;
            problem_init(&p, trial, (uint64_t)op);
            int loss = add_loss(&p, makers[op](&p, (deft_op)op)), nodes = p.graph->node_count;
            build(&p, loss, grads);
            if (!gradients_agree(&p, loss, nodes, grads, &worst))
                fail_msg("%s, trial %d: gradients and differences are %g apart", deft_ops[op].name, (int)trial, worst);
            problem_done(&p);
        }
    }
}

/* A small network with a weight that is used twice and one that is not used. */
static int make_network(problem *p) {
    int shared = VARIABLE(p, 4, 4);
    int x = FIXED(p, 3, 4);
    int first = add_node(p, DEFT_OP_TANH, NULL, 0, add_node(p, DEFT_OP_MATMUL, NULL, 0, x, shared, -1), -1, -1);
    int second = add_node(p, DEFT_OP_GEMM, NULL, 0, first, shared, VARIABLE(p, 4));
    return add_node(p, DEFT_OP_SUB, NULL, 0, second, first, -1);
}

static void test_network(void **state) {
    (void)state;
    problem p;
    int grads[MAX_WRT];
    double worst;
    problem_init(&p, 1, 0);
    int loss = add_loss(&p, make_network(&p)), nodes = p.graph->node_count;
    int unused = VARIABLE(&p, 2);
    build(&p, loss, grads);
    assert_int_equal(grads[2], DEFT_NO_VALUE);
    assert_int_equal(p.wrt[2], unused);
    p.wrt_count = 2;
    assert_true(gradients_agree(&p, loss, nodes, grads, &worst));
    problem_done(&p);
}

static void test_only_what_is_wanted(void **state) {
    (void)state;
    problem p;
    int grad;
    problem_init(&p, 2, 0);
    int loss = add_loss(&p, make_network(&p)), nodes = p.graph->node_count;
    assert_int_equal(deft_grad_build(p.graph, loss, &p.wrt[1], 1, &grad), DEFT_OK);
    /* of the bias alone: through the loss and Sub, then one SumTo */
    for (int i = nodes; i < p.graph->node_count; i++)
        assert_true(p.graph->nodes[i].op != DEFT_OP_GEMM && p.graph->nodes[i].op != DEFT_OP_TANH_GRAD);
    problem_done(&p);
}

/* ---- planted mistakes ---- */

static deft_node *find_node(problem *p, int from, deft_op op) {
    for (int i = from; i < p->graph->node_count; i++)
        if (p->graph->nodes[i].op == op) return &p->graph->nodes[i];
    fail_msg("no %s among the gradient's nodes", deft_ops[op].name);
    return NULL;
}

static void test_catches_wrong_sign(void **state) {
    (void)state;
    problem p;
    int grads[MAX_WRT];
    double worst;
    problem_init(&p, 3, 0);
    int out = add_node(&p, DEFT_OP_SUB, NULL, 0, VARIABLE(&p, 3), VARIABLE(&p, 3), -1);
    int loss = add_loss(&p, out), nodes = p.graph->node_count;
    build(&p, loss, grads);
    assert_true(gradients_agree(&p, loss, nodes, grads, &worst));
    double *factor = find_node(&p, nodes, DEFT_OP_CONSTANT)->attrs.items[0].tensor.data;
    assert_true(*factor == -1);
    *factor = 1;
    assert_false(gradients_agree(&p, loss, nodes, grads, &worst));
    *factor = -1.00001; /* a little wrong is wrong, too */
    assert_false(gradients_agree(&p, loss, nodes, grads, &worst));
    problem_done(&p);
}

static void test_catches_missing_term(void **state) {
    (void)state;
    problem p;
    int grads[MAX_WRT];
    double worst;
    problem_init(&p, 4, 0);
    int loss = add_loss(&p, make_network(&p)), nodes = p.graph->node_count;
    build(&p, loss, grads);
    assert_true(gradients_agree(&p, loss, nodes, grads, &worst));
    deft_node *sum = find_node(&p, nodes, DEFT_OP_ADD);
    sum->op = DEFT_OP_IDENTITY;
    sum->in_count = 1;
    assert_false(gradients_agree(&p, loss, nodes, grads, &worst));
    problem_done(&p);
}

static void test_catches_wrong_operand(void **state) {
    (void)state;
    problem p;
    int grads[MAX_WRT];
    double worst;
    problem_init(&p, 5, 0);
    int loss = add_loss(&p, add_node(&p, DEFT_OP_MATMUL, NULL, 0, VARIABLE(&p, 3, 3), VARIABLE(&p, 3, 3), -1));
    int nodes = p.graph->node_count;
    build(&p, loss, grads);
    assert_true(gradients_agree(&p, loss, nodes, grads, &worst));
    find_node(&p, nodes, DEFT_OP_TRANSPOSE)->op = DEFT_OP_IDENTITY; /* square: the shapes still fit */
    assert_false(gradients_agree(&p, loss, nodes, grads, &worst));
    problem_done(&p);
}

/* ---- refusals and failures ---- */

static void test_refusals(void **state) {
    (void)state;
    problem p;
    int grads[MAX_WRT];
    problem_init(&p, 6, 0);
    int x = VARIABLE(&p, 2);
    deft_attr axis = one_int("axis", 0);
    int joined = add_node(&p, DEFT_OP_CONCAT, &axis, 1, x, x, -1);
    assert_int_equal(deft_grad_build(p.graph, joined, p.wrt, 1, grads), DEFT_INVALID);
    assert_non_null(strstr(deft_context_message(p.ctx), "must be one number"));
    assert_int_equal(deft_grad_build(p.graph, add_loss(&p, joined), p.wrt, 1, grads), DEFT_UNSUPPORTED);
    assert_non_null(strstr(deft_context_message(p.ctx), "Concat 'tested'"));
    problem_done(&p);

    problem_init(&p, 6, 1);
    int target = VARIABLE(&p, 2);
    int loss = add_node(&p, DEFT_OP_MEAN_SQUARED_ERROR, NULL, 0, FIXED(&p, 2), target, -1);
    assert_int_equal(deft_grad_build(p.graph, loss, p.wrt, 1, grads), DEFT_UNSUPPORTED);
    assert_non_null(strstr(deft_context_message(p.ctx), "targets"));
    problem_done(&p);
}

static deft_status build_in(deft_context *ctx, void *user) {
    (void)user;
    deft_status status;
    deft_graph *graph = NULL;
    int grads[2], value, out, node;
    double data[4] = {1, 2, 3, 4};
    deft_tensor tensor = {.dtype = DEFT_F64, .rank = 2, .dims = {2, 2}, .data = data};
    DEFT_TRY_OR_FAIL(deft_graph_new(ctx, &graph));
    DEFT_TRY_OR_FAIL(deft_graph_add_constant(graph, "x", &tensor, &value));
    DEFT_TRY_OR_FAIL(deft_graph_add_value(graph, NULL, &out));
    DEFT_TRY_OR_FAIL(deft_graph_add_node(graph, DEFT_OP_MUL, "", NULL, 0, (int[]){value, value}, 2, &out, 1, &node));
    DEFT_TRY_OR_FAIL(deft_graph_infer_node(graph, node));
    int product = out;
    DEFT_TRY_OR_FAIL(deft_graph_add_value(graph, NULL, &out));
    DEFT_TRY_OR_FAIL(deft_graph_add_node(graph, DEFT_OP_MEAN_SQUARED_ERROR, "", NULL, 0, (int[]){product, value}, 2,
                                         &out, 1, &node));
    DEFT_TRY_OR_FAIL(deft_graph_infer_node(graph, node));
    DEFT_TRY_OR_FAIL(deft_grad_build(graph, out, (int[]){product}, 1, grads));
fail:
    deft_graph_free(graph);
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    check_every_allocation_failure(build_in, NULL);
}

/* ---- batch statistics ---- */

static void test_batch_statistics(void **state) {
    (void)state;
    problem p;
    int grads[MAX_WRT];
    double worst;
    problem_init(&p, 7, 0);
    int in[] = {FIXED(&p, 4, 2, 3), VARIABLE(&p, 2), VARIABLE(&p, 2), FIXED(&p, 2), FIXED(&p, 2)};
    deft_attr momentum = one_float("momentum", 0.75f);
    int out = add_nodes(&p, DEFT_OP_BATCH_NORM, &momentum, 1, in, 5, 1), count;
    deft_batch_stats *stats;
    assert_int_equal(deft_grad_use_batch_statistics(p.graph, &stats, &count), DEFT_OK);
    assert_int_equal(count, 1);
    assert_true(stats->running_mean == in[3] && stats->running_var == in[4] && stats->momentum == 0.75f);
    assert_int_equal(deft_graph_verify(p.graph), DEFT_OK);
    int loss = add_loss(&p, out), nodes = p.graph->node_count;
    build(&p, loss, grads);
    assert_true(gradients_agree(&p, loss, nodes, grads, &worst));
    const double *x = p.graph->values[in[0]].desc.data;
    double mean = 0, var = 0;
    for (int i = 0; i < 12; i++)
        mean += x[i / 3 * 6 + i % 3] / 12;
    for (int i = 0; i < 12; i++)
        var += pow(x[i / 3 * 6 + i % 3] - mean, 2) / 12;
    assert_true(fabs(scalar_of(&p, stats->batch_mean) - mean) < 1e-12);
    assert_true(fabs(scalar_of(&p, stats->batch_var) - var) < 1e-12);
    assert_int_equal(deft_grad_use_batch_statistics(p.graph, &stats, &count), DEFT_OK);
    assert_int_equal(count, 0);
    problem_done(&p);

    problem_init(&p, 7, 1);
    int computed[] = {FIXED(&p, 4, 2), FIXED(&p, 2), FIXED(&p, 2),
                      add_node(&p, DEFT_OP_RELU, NULL, 0, FIXED(&p, 2), -1, -1), FIXED(&p, 2)};
    add_nodes(&p, DEFT_OP_BATCH_NORM, NULL, 0, computed, 5, 1);
    assert_int_equal(deft_grad_use_batch_statistics(p.graph, &stats, &count), DEFT_UNSUPPORTED);
    problem_done(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_operator),
        cmocka_unit_test(test_network),
        cmocka_unit_test(test_only_what_is_wanted),
        cmocka_unit_test(test_catches_wrong_sign),
        cmocka_unit_test(test_catches_missing_term),
        cmocka_unit_test(test_catches_wrong_operand),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_batch_statistics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
