/* Evaluation: on models whose outputs are their inputs, so that every count can be made by hand. */
#include "tests/unit/samples.h"

#include <math.h>

#include "learn/train/train.h"

/* y = x I, so that a sample is its own output. */
static deft_graph *echo(deft_context *ctx, int64_t batch, int64_t size) {
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(batch, size));
    add_weight(graph, "w", DIMS(size, size), 1);
    for (int64_t i = 0; i < size; i++)
        ((float *)constant_of(graph, "w")->data)[i * size + i] = 1;
    NODE(graph, MATMUL, "y", "x", "w");
    finish_graph(graph, "y");
    return graph;
}

static int64_t count_by_hand(const deft_dataset *data, deft_split split) {
    int64_t correct = 0;
    const deft_samples *samples = &data->split[split];
    const float *x = samples_of(data, split);
    for (int64_t i = 0; i < samples->count; i++) {
        int64_t top = 0;
        for (int64_t j = 1; j < data->sample_count; j++)
            if (x[i * data->sample_count + j] > x[i * data->sample_count + top]) top = j;
        correct += top == samples->y[i];
    }
    return correct;
}

/* Of the outputs, which are the samples: in f64, by the definition. */
static double loss_by_hand(const deft_dataset *data, deft_split split) {
    const deft_samples *samples = &data->split[split];
    double loss = 0;
    for (int64_t i = 0; i < samples->count; i++) {
        const float *y = samples_of(data, split) + i * data->sample_count;
        double sum = 0;
        for (int64_t j = 0; j < data->sample_count; j++)
            sum += exp((double)y[j]);
        loss -= log(exp((double)y[samples->y[i]]) / sum);
    }
    return loss / (double)samples->count;
}

static void check_counts(deft_context *ctx, int64_t batch, int64_t samples) {
    deft_dataset *data = make_samples(ctx, 1, (int64_t[]){5}, 5, COUNTS(samples, 1, samples + 3));
    deft_graph *graph = echo(ctx, batch, 5);
    static const deft_split splits[] = {DEFT_TRAIN, DEFT_VALIDATION, DEFT_TEST};
    for (int i = 0; i < 3; i++) {
        deft_quality quality;
        int64_t count = data->split[splits[i]].count, correct = count_by_hand(data, splits[i]);
        assert_int_equal(deft_evaluate(ctx, graph, NULL, data, splits[i], &quality), DEFT_OK);
        assert_int_equal(quality.count, count);
        assert_int_equal(quality.correct, correct);
        assert_true(quality.accuracy == (double)correct / (double)count);
        assert_true(fabs(quality.loss - loss_by_hand(data, splits[i])) < 1e-12);
        assert_true(isnan(quality.agreement) && isnan(quality.relative_error));
    }
    deft_graph_free(graph);
    deft_dataset_free(data);
}

static void test_every_sample_counts_once(void **state) {
    (void)state;
    static const int64_t counts[] = {1, 2, 255, 256, 257, 700};
    deft_context *ctx = test_context();
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        check_counts(ctx, -1, counts[i]); /* any batch */
        check_counts(ctx, 7, counts[i]);  /* a model of a fixed batch */
    }
    test_context_free(ctx);
}

/* The reference is 2x, the model x: the same answers, half the size. */
static void test_against_a_reference(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_dataset *data = make_samples(ctx, 1, (int64_t[]){5}, 0, COUNTS(10, 300, 10));
    deft_graph *graph = echo(ctx, -1, 5), *reference = echo(ctx, 3, 5);
    float *weights = constant_of(reference, "w")->data;
    for (int i = 0; i < 25; i++)
        weights[i] *= 2;
    deft_quality quality;
    assert_int_equal(deft_evaluate(ctx, graph, reference, data, DEFT_VALIDATION, &quality), DEFT_OK);
    assert_true(isnan(quality.accuracy));
    assert_true(quality.agreement == 1);
    assert_true(fabs(quality.relative_error - 0.5) < 1e-12);
    assert_int_equal(deft_evaluate(ctx, graph, graph, data, DEFT_VALIDATION, &quality), DEFT_OK);
    assert_true(quality.agreement == 1 && quality.relative_error == 0);
    for (int i = 0; i < 25; i++)
        weights[i] *= -1; /* the largest becomes the smallest */
    assert_int_equal(deft_evaluate(ctx, graph, reference, data, DEFT_VALIDATION, &quality), DEFT_OK);
    assert_true(quality.agreement == 0);
    assert_true(fabs(quality.relative_error - 1.5) < 1e-12);
    deft_graph_free(reference);
    deft_graph_free(graph);
    deft_dataset_free(data);
    test_context_free(ctx);
}

static void test_ties_and_nan(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_dataset *data = make_samples(ctx, 1, (int64_t[]){3}, 3, COUNTS(4, 1, 1));
    static const float rows[4][3] = {{1, 1, 0}, {2, 2, 2}, {NAN, 0, 1}, {NAN, NAN, NAN}};
    static const int32_t labels[4] = {0, 0, 0, 0};
    memcpy(samples_of(data, DEFT_TRAIN), rows, sizeof rows);
    data->split[DEFT_TRAIN].y = labels;
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(-1, 3));
    NODE(graph, IDENTITY, "y", "x");
    finish_graph(graph, "y");
    deft_quality quality;
    /* the first of equals; NaN is no answer */
    assert_int_equal(deft_evaluate(ctx, graph, graph, data, DEFT_TRAIN, &quality), DEFT_OK);
    assert_int_equal(quality.correct, 2);
    assert_true(quality.agreement == 0.75);
    assert_true(isnan(quality.relative_error));
    deft_graph_free(graph);
    deft_dataset_free(data);
    test_context_free(ctx);
}

/* Pictures of any size: a symbolic height and width take the sample's. */
static void test_symbolic_pictures(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_dataset *data = make_samples(ctx, 3, (int64_t[]){4, 3, 5}, 4, COUNTS(2, 20, 2));
    deft_graph *graph = new_graph(ctx);
    static const char *const names[] = {"N", NULL, "H", "W"};
    int x;
    assert_int_equal(deft_graph_add_input(graph, "x", DEFT_F32, 4, (int64_t[]){-1, 4, -1, -1}, names, &x), DEFT_OK);
    NODE(graph, GLOBAL_AVERAGE_POOL, "p", "x");
    NODE(graph, FLATTEN, "y", "p");
    finish_graph(graph, "y");
    deft_quality quality;
    assert_int_equal(deft_evaluate(ctx, graph, NULL, data, DEFT_VALIDATION, &quality), DEFT_OK);
    assert_int_equal(quality.count, 20);
    deft_graph_free(graph);
    deft_dataset_free(data);
    test_context_free(ctx);
}

/* Fails, with DEFT_INVALID and `part` in the message. */
static void expect_refused(deft_context *ctx, deft_graph *graph, const deft_graph *reference, deft_dataset *data,
                           const char *part) {
    deft_quality quality;
    assert_int_equal(deft_evaluate(ctx, graph, reference, data, DEFT_TEST, &quality), DEFT_INVALID);
    if (!strstr(deft_context_message(ctx), part)) fail_msg("message: %s", deft_context_message(ctx));
    deft_graph_free(graph);
}

static void test_errors(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    deft_dataset *data = make_samples(ctx, 1, (int64_t[]){6}, 6, COUNTS(3, 3, 3));
    deft_dataset *empty = make_samples(ctx, 1, (int64_t[]){6}, 6, COUNTS(3, 3, 0));
    expect_refused(ctx, echo(ctx, -1, 5), NULL, data, "a sample of made:samples is 6");
    expect_refused(ctx, echo(ctx, -1, 6), NULL, empty, "empty");
    expect_refused(ctx, two_layers(ctx, -1, false), NULL, data, "6 classes");
    deft_graph *reference = two_layers(ctx, -1, false);
    expect_refused(ctx, echo(ctx, -1, 6), reference, data, "its reference 3");
    deft_graph_free(reference);

    deft_graph *two_inputs = new_graph(ctx);
    add_graph_input(two_inputs, "a", DIMS(-1, 6));
    add_graph_input(two_inputs, "b", DIMS(-1, 6));
    NODE(two_inputs, ADD, "y", "a", "b");
    finish_graph(two_inputs, "y");
    expect_refused(ctx, two_inputs, NULL, data, "2 inputs");

    deft_graph *symbolic = new_graph(ctx);
    add_graph_input(symbolic, "x", DIMS(-1, 2, -1));
    NODE(symbolic, FLATTEN, "y", "x");
    finish_graph(symbolic, "y");
    expect_refused(ctx, symbolic, NULL, data, "-1x2x-1");

    deft_graph *no_batch = new_graph(ctx);
    add_graph_input(no_batch, "x", DIMS(-1, 6));
    NODE(no_batch, TRANSPOSE, "y", "x");
    finish_graph(no_batch, "y");
    expect_refused(ctx, no_batch, NULL, data, "in front");
    deft_dataset_free(empty);
    deft_dataset_free(data);
    test_context_free(ctx);
}

typedef struct subject {
    deft_graph *graph;
    deft_dataset *data;
} subject;

static deft_status evaluate_subject(deft_context *ctx, void *user) {
    subject *s = user;
    deft_quality quality;
    return deft_evaluate(ctx, s->graph, s->graph, s->data, DEFT_TRAIN, &quality);
}

static void test_out_of_memory(void **state) {
    (void)state;
    deft_context *ctx = test_context();
    subject s = {echo(ctx, -1, 5), make_samples(ctx, 1, (int64_t[]){5}, 5, COUNTS(9, 1, 1))};
    check_every_allocation_failure(evaluate_subject, &s);
    deft_graph_free(s.graph);
    deft_dataset_free(s.data);
    test_context_free(ctx);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_sample_counts_once),
        cmocka_unit_test(test_against_a_reference),
        cmocka_unit_test(test_ties_and_nan),
        cmocka_unit_test(test_symbolic_pictures),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
