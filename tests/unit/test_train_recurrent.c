/* Recurrent networks learn what needs memory: the value of the one step of a sequence that was marked, asked for at its
 * end. */
#include "tests/unit/graphs.h"

#include "face/api/model.h"

enum { BATCH = 32, STEPS = 6, HIDDEN = 8, UPDATES = 150 };

/* x [STEPS, BATCH, 2] (a value of -1 or 1, a mark) -> operator -> the last state -> two classes. */
static deft_model *make_model(deft_context *ctx, deft_op op, const char *direction) {
    deft_graph *graph = new_graph(ctx);
    int directions = strcmp(direction, "bidirectional") == 0 ? 2 : 1;
    int gates = op == DEFT_OP_LSTM ? 4 : op == DEFT_OP_GRU ? 3 : 1, outs = op == DEFT_OP_LSTM ? 3 : 2, node;
    const deft_attr attrs[] = {{.name = "direction", .type = DEFT_ATTR_STRING, .s = direction},
                               {.name = "hidden_size", .type = DEFT_ATTR_INT, .i = HIDDEN},
                               {.name = "linear_before_reset", .type = DEFT_ATTR_INT, .i = 1}};
    const deft_attr perm = {.name = "perm", .type = DEFT_ATTR_INTS, .count = 3, .ints = (const int64_t[]){1, 0, 2}};
    add_graph_input(graph, "x", DIMS(STEPS, BATCH, 2));
    add_weight(graph, "w", DIMS(directions, gates * HIDDEN, 2), 0);
    add_weight(graph, "r", DIMS(directions, gates * HIDDEN, HIDDEN), 0);
    add_weight(graph, "b", DIMS(directions, 2 * gates * HIDDEN), 0);
    add_weight(graph, "out_w", DIMS(directions * HIDDEN, 2), 0);
    add_weight(graph, "out_b", DIMS(2), 0);
    int in[] = {value_named(graph, "x"), value_named(graph, "w"), value_named(graph, "r"), value_named(graph, "b")};
    int out[] = {value_named(graph, "y"), value_named(graph, "state"), value_named(graph, "cell")};
    assert_int_equal(deft_graph_add_node(graph, op, "recurrent", attrs, 3, in, 4, out, outs, &node), DEFT_OK);
    add_node(graph, DEFT_OP_TRANSPOSE, &perm, 1, (const char *const[]){"state"}, 1, "by sample");
    NODE(graph, FLATTEN, "flat", "by sample");
    NODE(graph, GEMM, "logits", "flat", "out_w", "out_b");
    finish_graph(graph, "logits");
    assert_int_equal(deft_graph_infer(graph, 1, NULL, 0), DEFT_OK);
    deft_model *model = NULL;
    assert_int_equal(deft_model_wrap(ctx, graph, NULL, &model), DEFT_OK);
    return model;
}

/* New sequences, and the class of each. */
static void make_sequences(deft_rng *rng, float *x, int *classes) {
    for (int b = 0; b < BATCH; b++) {
        int marked = (int)deft_rng_below(rng, STEPS);
        for (int t = 0; t < STEPS; t++) {
            float value = deft_rng_below(rng, 2) ? 1 : -1;
            x[(t * BATCH + b) * 2] = value;
            x[(t * BATCH + b) * 2 + 1] = t == marked;
            if (t == marked) classes[b] = value > 0;
        }
    }
}

static double accuracy_of(deft_model *model) {
    deft_session *session = NULL;
    deft_tensor x, logits;
    deft_rng rng;
    int classes[BATCH], correct = 0;
    enum { BATCHES = 8 };
    deft_rng_init(&rng, 2, 0);
    assert_int_equal(deft_session_new(model, NULL, &session), DEFT_OK);
    assert_int_equal(deft_session_input(session, "x", &x), DEFT_OK);
    for (int i = 0; i < BATCHES; i++) {
        make_sequences(&rng, x.data, classes);
        assert_int_equal(deft_session_run(session), DEFT_OK);
        assert_int_equal(deft_session_output(session, "logits", &logits), DEFT_OK);
        const float *y = logits.data;
        for (int b = 0; b < BATCH; b++)
            correct += (y[2 * b + 1] > y[2 * b]) == classes[b];
    }
    deft_session_free(session);
    return (double)correct / (BATCHES * BATCH);
}

static void check_learns(deft_op op, const char *direction) {
    deft_context *ctx = test_context();
    deft_model *model = make_model(ctx, op, direction), *learnt = NULL;
    deft_train_session *session = NULL;
    deft_tensor x, targets;
    deft_rng rng;
    int classes[BATCH];
    const deft_train_session_options options = {
        .loss = DEFT_LOSS_CROSS_ENTROPY,
        .optimizer = {.kind = DEFT_OPTIMIZER_ADAM, .weight_decay = -1},
    };
    assert_true(accuracy_of(model) < 0.8);
    if (deft_train_session_new(model, &options, &session) != DEFT_OK) fail_msg("%s", deft_context_message(ctx));
    assert_int_equal(deft_train_session_input(session, "x", &x), DEFT_OK);
    assert_int_equal(deft_train_session_input(session, "targets", &targets), DEFT_OK);
    deft_rng_init(&rng, 1, 0);
    for (int i = 0; i < UPDATES; i++) {
        make_sequences(&rng, x.data, classes);
        for (int b = 0; b < BATCH; b++) {
            ((float *)targets.data)[2 * b] = !classes[b];
            ((float *)targets.data)[2 * b + 1] = (float)classes[b];
        }
        assert_int_equal(deft_train_session_step(session, 0.03, NULL), DEFT_OK);
    }
    assert_int_equal(deft_train_session_model(session, &learnt), DEFT_OK);
    double accuracy = accuracy_of(learnt);
    if (accuracy < 0.97) fail_msg("%s, %s: %.3f", deft_ops[op].name, direction, accuracy);
    deft_train_session_free(session);
    deft_model_free(learnt);
    deft_model_free(model);
    test_context_free(ctx);
}

static void test_lstm(void **state) {
    (void)state;
    check_learns(DEFT_OP_LSTM, "forward");
}

static void test_lstm_both_ways(void **state) {
    (void)state;
    check_learns(DEFT_OP_LSTM, "bidirectional");
}

static void test_gru(void **state) {
    (void)state;
    check_learns(DEFT_OP_GRU, "reverse");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lstm),
        cmocka_unit_test(test_lstm_both_ways),
        cmocka_unit_test(test_gru),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
