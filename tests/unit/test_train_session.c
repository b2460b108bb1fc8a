/* Training through the public functions: with a loss of the caller's, one that a model computes, and those built in,
 * which must agree; states that come back to the bit; and every way to refuse. */
#include "tests/unit/samples.h"

#include <math.h>
#include <stdio.h>

#include "face/api/model.h"

enum { BATCH = 8, FEATURES = 6, CLASSES = 3, STEPS = 12 };

/* ---- helpers ------------------------------------------------------------------------------------------------- */

static deft_model *wrapped(deft_context *ctx, deft_graph *graph) {
    deft_model *model = NULL;
    assert_int_equal(deft_model_wrap(ctx, graph, NULL, &model), DEFT_OK);
    return model;
}

static deft_model *two_layer_model(deft_context *ctx) {
    return wrapped(ctx, two_layers(ctx, -1, false));
}

static deft_train_session *open_session(const deft_model *model, deft_train_session_options options) {
    deft_train_session *session = NULL;
    if (!options.batch) options.batch = BATCH;
    if (deft_train_session_new(model, &options, &session) != DEFT_OK) fail_msg("%s", deft_context_message(model->ctx));
    return session;
}

static deft_tensor input_named(deft_train_session *session, const char *name) {
    deft_tensor tensor;
    assert_int_equal(deft_train_session_input(session, name, &tensor), DEFT_OK);
    return tensor;
}

static float element(int i, int step) {
    return (float)((i * 37 + step * 11) % 19) / 19 - 0.4f;
}

static void fill_inputs(deft_train_session *session, int step) {
    deft_tensor x = input_named(session, "x");
    for (int i = 0; i < BATCH * FEATURES; i++)
        ((float *)x.data)[i] = element(i, step);
}

static float target(int i, int step) {
    return element(3 * i + 1, step);
}

/* Trains from step `first` on; the loss after the last. */
static double train(deft_train_session *session, int first, int past) {
    double loss = NAN;
    for (int step = first; step < past; step++) {
        fill_inputs(session, step);
        if (deft_train_session_step(session, 0.05, &loss) != DEFT_OK) fail_msg("step %d", step);
    }
    return loss;
}

static deft_model *learnt(const deft_train_session *session) {
    deft_model *model = NULL;
    assert_int_equal(deft_train_session_model(session, &model), DEFT_OK);
    return model;
}

static double apart(const deft_model *a, const deft_model *b) {
    static const char *const names[] = {"w1", "b1", "w2", "b2"};
    double largest = 0;
    for (int n = 0; n < 4; n++) {
        const deft_tensor *x = constant_of(a->file.graph, names[n]), *y = constant_of(b->file.graph, names[n]);
        for (int64_t i = 0; i < deft_tensor_count(x); i++)
            largest = fmax(largest, fabs((double)((float *)x->data)[i] - (double)((float *)y->data)[i]));
    }
    return largest;
}

/* ---- three ways to say the same loss ------------------------------------------------------------------------- */

typedef struct caller {
    int step;    /* whose targets are learned */
    bool wrong;  /* the derivative has the wrong sign */
    int stop_at; /* the step at which it stops, or -1 */
    double spoil;
} caller;

static bool squared_error(void *user, int count, const deft_tensor *outputs, deft_tensor *gradients, double *loss) {
    caller *c = user;
    assert_int_equal(count, 1);
    assert_true(deft_shape_equal(&outputs[0], &gradients[0]) && outputs[0].dims[1] == CLASSES);
    *loss = c->spoil;
    for (int i = 0; i < BATCH * CLASSES; i++) {
        float error = ((float *)outputs[0].data)[i] - target(i, c->step);
        assert_true(((float *)gradients[0].data)[i] == 0);
        *loss += (double)(error * error) / (BATCH * CLASSES);
        ((float *)gradients[0].data)[i] = (c->wrong ? -2 : 2) * error / (BATCH * CLASSES);
    }
    return c->step++ != c->stop_at;
}

/* mean((logits - wanted)^2), the model's output being "logits". */
static deft_model *squared_error_model(deft_context *ctx) {
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "logits", DIMS(-1, CLASSES));
    add_graph_input(graph, "wanted", DIMS(-1, CLASSES));
    NODE(graph, SUB, "error", "logits", "wanted");
    NODE(graph, MUL, "square", "error", "error");
    const deft_attr keep = {.name = "keepdims", .type = DEFT_ATTR_INT, .i = 0};
    add_node(graph, DEFT_OP_REDUCE_MEAN, &keep, 1, (const char *const[]){"square"}, 1, "loss");
    finish_graph(graph, "loss");
    assert_int_equal(deft_graph_infer(graph, 1, NULL, 0), DEFT_OK);
    return wrapped(ctx, graph);
}

static void train_on(deft_train_session *session, const char *targets) {
    deft_tensor wanted = input_named(session, targets);
    for (int step = 0; step < STEPS; step++) {
        for (int i = 0; i < BATCH * CLASSES; i++)
            ((float *)wanted.data)[i] = target(i, step);
        train(session, step, step + 1);
    }
}

static void test_losses_agree(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_model *model = two_layer_model(ctx), *loss = squared_error_model(ctx);
    caller c = {.stop_at = -1}, wrong = {.stop_at = -1, .wrong = true};
    deft_train_session *sessions[] = {
        open_session(model, (deft_train_session_options){.loss = DEFT_LOSS_SQUARED_ERROR}),
        open_session(model, (deft_train_session_options){.loss_model = loss}),
        open_session(model, (deft_train_session_options){.function = squared_error, .user = &c}),
        open_session(model, (deft_train_session_options){.function = squared_error, .user = &wrong})};
    deft_model *models[4];
    deft_model_free(loss);
    train_on(sessions[0], "targets");
    train_on(sessions[1], "wanted");
    train(sessions[2], 0, STEPS);
    train(sessions[3], 0, STEPS);
    for (int i = 0; i < 4; i++)
        models[i] = learnt(sessions[i]);
    assert_true(apart(models[0], model) > 1e-2);
    assert_true(apart(models[0], models[1]) < 1e-5);
    assert_true(apart(models[0], models[2]) < 1e-5);
    assert_true(apart(models[0], models[3]) > 1e-2); /* a wrong derivative is seen */
    for (int i = 0; i < 4; i++) {
        deft_train_session_free(sessions[i]);
        deft_model_free(models[i]);
    }
    deft_model_free(model);
    test_context_free(ctx);
}

/* Labels that a loss's model takes, against shares of classes that the built-in loss takes. */
static void test_labels(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_model *model = two_layer_model(ctx);
    deft_graph *graph = new_graph(ctx);
    int labels;
    add_graph_input(graph, "logits", DIMS(-1, CLASSES));
    assert_int_equal(deft_graph_add_input(graph, "labels", DEFT_I64, 1, (int64_t[]){-1}, NULL, &labels), DEFT_OK);
    NODE(graph, SOFTMAX_CROSS_ENTROPY_LOSS, "loss", "logits", "labels");
    finish_graph(graph, "loss");
    deft_model *loss = wrapped(ctx, graph);
    deft_train_session *by_label = open_session(model, (deft_train_session_options){.loss_model = loss});
    deft_train_session *by_share = open_session(model, (deft_train_session_options){.loss = DEFT_LOSS_CROSS_ENTROPY});
    deft_tensor label = input_named(by_label, "labels"), share = input_named(by_share, "targets");
    assert_true(label.dtype == DEFT_I64 && label.rank == 1 && label.dims[0] == BATCH);
    for (int i = 0; i < BATCH; i++) {
        ((int64_t *)label.data)[i] = i % CLASSES;
        ((float *)share.data)[i * CLASSES + i % CLASSES] = 1;
    }
    double a = train(by_label, 0, STEPS), b = train(by_share, 0, STEPS);
    assert_true(fabs(a - b) < 1e-5);
    deft_model *first = learnt(by_label), *second = learnt(by_share);
    assert_true(apart(first, second) < 1e-5 && apart(first, model) > 1e-2);
    ((int64_t *)label.data)[2] = CLASSES; /* out of range */
    assert_int_equal(deft_train_session_step(by_label, 0.05, NULL), DEFT_INVALID);
    assert_non_null(strstr(deft_context_message(ctx), "the label 3 is none of 3 classes"));
    deft_model_free(second);
    deft_model_free(first);
    deft_train_session_free(by_share);
    deft_train_session_free(by_label);
    deft_model_free(loss);
    deft_model_free(model);
    test_context_free(ctx);
}

/* A table of vectors, looked up by tokens, is learned too. */
static void test_embeddings_are_learned(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_graph *graph = new_graph(ctx);
    int tokens;
    assert_int_equal(deft_graph_add_input(graph, "tokens", DEFT_I64, 2, (int64_t[]){-1, 4}, NULL, &tokens), DEFT_OK);
    add_weight(graph, "table", DIMS(5, 6), 0);
    add_weight(graph, "w", DIMS(6, 2), 0);
    NODE(graph, GATHER, "vectors", "table", "tokens");
    NODE(graph, GELU, "bent", "vectors");
    NODE(graph, MATMUL, "products", "bent", "w");
    const deft_attr axis = {.name = "axes", .type = DEFT_ATTR_INTS, .count = 1, .ints = (int64_t[]){1}};
    add_node(graph, DEFT_OP_REDUCE_MEAN, &axis, 1, (const char *const[]){"products"}, 1, "y");
    finish_graph(graph, "y");
    deft_model *model = wrapped(ctx, graph);
    deft_train_session *session =
        open_session(model, (deft_train_session_options){.optimizer = {.kind = DEFT_OPTIMIZER_ADAM}});
    deft_tensor x = input_named(session, "tokens"), y = input_named(session, "targets");
    for (int i = 0; i < BATCH * 4; i++)
        ((int64_t *)x.data)[i] = i % 4; /* token 4 does not occur */
    ((float *)y.data)[0] = 1;
    double first, last;
    assert_int_equal(deft_train_session_step(session, 0.02, &first), DEFT_OK);
    for (int i = 0; i < 50; i++)
        assert_int_equal(deft_train_session_step(session, 0.02, &last), DEFT_OK);
    assert_true(last < first);
    deft_model *after = learnt(session);
    const float *old = constant_of(graph, "table")->data, *new = constant_of(after->file.graph, "table")->data;
    for (int i = 0; i < 24; i++)
        assert_true(new[i] != old[i]);
    deft_model_free(after);
    deft_train_session_free(session);
    deft_model_free(model);
    test_context_free(ctx);
}

/* ---- states -------------------------------------------------------------------------------------------------- */

static const char path[] = "session.state";

static void test_states_come_back_to_the_bit(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_model *model = two_layer_model(ctx);
    for (int kind = DEFT_OPTIMIZER_SGD; kind <= DEFT_OPTIMIZER_ADAMW; kind++) {
        caller c[] = {{.stop_at = -1}, {.stop_at = -1}};
        deft_train_session_options options = {.optimizer = {.kind = (deft_optimizer)kind, .average = 0.8f},
                                              .function = squared_error};
        options.user = &c[0];
        deft_train_session *whole = open_session(model, options);
        options.user = &c[1];
        deft_train_session *resumed = open_session(model, options);
        train(whole, 0, STEPS / 2);
        assert_int_equal(deft_train_session_save(whole, path), DEFT_OK);
        train(whole, STEPS / 2, STEPS);
        assert_int_equal(deft_train_session_resume(resumed, path), DEFT_OK);
        c[1].step = STEPS / 2;
        train(resumed, STEPS / 2, STEPS);
        deft_model *a = learnt(whole), *b = learnt(resumed);
        assert_true(same_constants(a->file.graph, b->file.graph) && apart(a, model) > 1e-3);
        assert_int_equal(deft_train_session_save(whole, "/dev/full"), DEFT_IO);
        assert_int_equal(deft_train_session_resume(whole, "none.state"), DEFT_INVALID);

        options.optimizer.average = 0.7f;
        deft_train_session *other = open_session(model, options);
        assert_int_equal(deft_train_session_resume(other, path), DEFT_INVALID);
        deft_model *untouched = learnt(other);
        assert_true(same_constants(untouched->file.graph, model->file.graph));
        deft_model_free(untouched);
        deft_train_session_free(other);
        deft_model_free(b);
        deft_model_free(a);
        deft_train_session_free(resumed);
        deft_train_session_free(whole);
    }
    remove(path);
    deft_model_free(model);
    test_context_free(ctx);
}

static void test_a_step_allocates_nothing(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_model *model = two_layer_model(ctx);
    caller c = {.stop_at = -1};
    deft_train_session *session =
        open_session(model, (deft_train_session_options){.function = squared_error, .user = &c});
    long long made = atomic_load(&ctx->allocation_count);
    train(session, 0, 3);
    assert_int_equal(atomic_load(&ctx->allocation_count), made);
    deft_tensor y;
    assert_int_equal(deft_train_session_output(session, "logits", &y), DEFT_OK);
    assert_true(y.dims[0] == BATCH && y.dims[1] == CLASSES);
    deft_train_session_free(session);
    deft_model_free(model);
    test_context_free(ctx);
}

/* ---- refusing ------------------------------------------------------------------------------------------------ */

/* A step that is stopped, or whose loss is no number, changes nothing. */
static void test_steps_that_fail(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_model *model = two_layer_model(ctx);
    caller c = {.stop_at = 0};
    deft_train_session *session =
        open_session(model, (deft_train_session_options){.function = squared_error, .user = &c});
    double loss = 5;
    fill_inputs(session, 0);
    assert_int_equal(deft_train_session_step(session, 0.05, &loss), DEFT_CANCELLED);
    c.stop_at = -1;
    c.spoil = NAN;
    assert_int_equal(deft_train_session_step(session, 0.05, &loss), DEFT_INVALID);
    assert_non_null(strstr(deft_context_message(ctx), "step 1: the loss or a gradient is not finite"));
    c.spoil = 0;
    ((float *)input_named(session, "x").data)[3] = NAN; /* the loss, and every gradient */
    assert_int_equal(deft_train_session_step(session, 0.05, &loss), DEFT_INVALID);
    const double rates[] = {0, -1, NAN, INFINITY};
    for (int i = 0; i < 4; i++)
        assert_int_equal(deft_train_session_step(session, rates[i], &loss), DEFT_INVALID);
    assert_true(loss == 5);
    deft_model *after = learnt(session);
    assert_true(same_constants(after->file.graph, model->file.graph));
    fill_inputs(session, 0);
    assert_int_equal(deft_train_session_step(session, 0.05, &loss), DEFT_OK);
    deft_model_free(after);
    deft_train_session_free(session);
    deft_model_free(model);
    test_context_free(ctx);
}

static void expect_refused(const deft_model *model, deft_train_session_options options, const char *part) {
    deft_train_session *session = NULL;
    assert_int_equal(deft_train_session_new(model, &options, &session), DEFT_INVALID);
    assert_null(session);
    if (!strstr(deft_context_message(model->ctx), part)) fail_msg("message: %s", deft_context_message(model->ctx));
}

static void test_bad_requests(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_model *model = two_layer_model(ctx), *loss = squared_error_model(ctx);
    caller c = {0};
    expect_refused(model, (deft_train_session_options){.batch = -1}, "batch");
    expect_refused(model, (deft_train_session_options){.loss = (deft_loss)4}, "deft_loss");
    expect_refused(model, (deft_train_session_options){.optimizer = {.momentum = 1}}, "momentum");
    expect_refused(model, (deft_train_session_options){.function = squared_error, .user = &c, .loss_model = loss},
                   "one loss");
    expect_refused(model, (deft_train_session_options){.loss_model = model}, "must be one number");
    deft_graph *hidden = new_graph(ctx); /* "h" is a value of the model, but no output */
    add_graph_input(hidden, "h", DIMS(-1, 12));
    NODE(hidden, REDUCE_SUM, "loss", "h");
    finish_graph(hidden, "loss");
    deft_model *inner = wrapped(ctx, hidden);
    expect_refused(model, (deft_train_session_options){.loss_model = inner}, "'h' has the name");
    deft_model_free(inner);

    deft_train_session *session = open_session(model, (deft_train_session_options){0});
    deft_tensor tensor;
    assert_int_equal(deft_train_session_input(session, "nothing", &tensor), DEFT_INVALID);
    assert_non_null(strstr(deft_context_message(ctx), "no input 'nothing'"));
    assert_int_equal(deft_train_session_output(session, "x", &tensor), DEFT_INVALID);
    deft_train_session_free(session);
    deft_train_session_free(NULL);
    deft_model_free(loss);
    deft_model_free(model);
    test_context_free(ctx);
}

/* ---- out of memory ------------------------------------------------------------------------------------------- */

static deft_status train_a_little(deft_context *ctx, void *user) {
    deft_train_session *session = NULL;
    deft_model *model = user, *after = NULL;
    deft_context *other = model->ctx;
    model->ctx = ctx; /* what is made of it is this context's */
    caller c = {.stop_at = -1};
    deft_train_session_options options = {.batch = BATCH,
                                          .optimizer = {.kind = DEFT_OPTIMIZER_ADAM, .average = 0.9f},
                                          .keep_zeros = true,
                                          .function = squared_error,
                                          .user = &c};
    deft_status status = deft_train_session_new(model, &options, &session);
    if (status == DEFT_OK) status = deft_train_session_step(session, 0.01, NULL);
    if (status == DEFT_OK) status = deft_train_session_save(session, path);
    if (status == DEFT_OK) status = deft_train_session_resume(session, path);
    if (status == DEFT_OK) status = deft_train_session_model(session, &after);
    deft_model_free(after);
    deft_train_session_free(session);
    model->ctx = other;
    return status;
}

static void test_out_of_memory(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_model *model = two_layer_model(ctx);
    check_every_allocation_failure(train_a_little, model);
    remove(path);
    deft_model_free(model);
    test_context_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_losses_agree),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_embeddings_are_learned),
        cmocka_unit_test(test_states_come_back_to_the_bit),
        cmocka_unit_test(test_a_step_allocates_nothing),
        cmocka_unit_test(test_steps_that_fail),
        cmocka_unit_test(test_bad_requests),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
