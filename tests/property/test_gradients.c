/* Every gradient rule against central differences, in f64 and with sign: random shapes and attributes; and the
 * comparison is shown to catch a wrong sign, a missing term and a wrong factor. */
#include "tests/property/gradient_problems.h"

enum { TRIALS = 200 };
static const double STEP = 1e-5, TOLERANCE = 2e-7;

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

/* Of the product that takes a recurrent gradient from a step to the one before. */
static void test_catches_wrong_sign_in_steps(void **state) {
    (void)state;
    for (int op = DEFT_OP_RNN; op <= DEFT_OP_LSTM; op++) {
        problem p;
        int grads[MAX_WRT], rows = op == DEFT_OP_LSTM ? 8 : op == DEFT_OP_GRU ? 6 : 2;
        double worst;
        problem_init(&p, 8, (uint64_t)op);
        int in[] = {VARIABLE(&p, 3, 2, 2), VARIABLE(&p, 1, rows, 2), VARIABLE(&p, 1, rows, 2)};
        int out = add_nodes(&p, (deft_op)op, NULL, 0, in, 3, op == DEFT_OP_LSTM ? 3 : 2);
        int loss = add_loss(&p, out), nodes = p.graph->node_count;
        int wrong = FIXED(&p, 1, rows, 2);
        build(&p, loss, grads);
        assert_true(gradients_agree(&p, loss, nodes, grads, &worst));
        const double *right = p.graph->values[in[2]].desc.data;
        for (int i = 0; i < 2 * rows; i++)
            ((double *)p.graph->values[wrong].desc.data)[i] = -right[i];
        find_node(&p, nodes, DEFT_OP_RECURRENT_GRAD)->in[2] = wrong;
        assert_false(gradients_agree(&p, loss, nodes, grads, &worst));
        problem_done(&p);
    }
}

/* ---- refusals and failures ---- */

static void test_refusals(void **state) {
    (void)state;
    problem p;
    int grads[MAX_WRT];
    problem_init(&p, 6, 0);
    int x = VARIABLE(&p, 2);
    deft_attr axis = one_int("axis", 0);
    int joined = add_node(&p, DEFT_OP_HARDMAX, &axis, 1, x, -1, -1);
    assert_int_equal(deft_grad_build(p.graph, joined, p.wrt, 1, grads), DEFT_INVALID);
    assert_non_null(strstr(deft_context_message(p.ctx), "must be one number"));
    assert_int_equal(deft_grad_build(p.graph, add_loss(&p, joined), p.wrt, 1, grads), DEFT_UNSUPPORTED);
    assert_non_null(strstr(deft_context_message(p.ctx), "Hardmax 'tested'"));
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
        cmocka_unit_test(test_catches_wrong_sign_in_steps),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_batch_statistics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
