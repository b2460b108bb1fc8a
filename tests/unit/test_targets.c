/* What a teacher is asked about: every sample once, where samples stay as they are; else what the model sees of them.
 */
#include "tests/unit/samples.h"

#include "learn/train/targets.h"

enum { SAMPLES = 20, ELEMENTS = 18, OUTPUTS = 2, BATCH = 7 };

/* Pictures of 2x3x3 -> Flatten -> MatMul -> 2 numbers; batch -1 is any. */
static deft_graph *sums(deft_context *ctx, int64_t batch) {
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(batch, 2, 3, 3));
    add_weight(graph, "w", DIMS(ELEMENTS, OUTPUTS), 0);
    NODE(graph, FLATTEN, "f", "x");
    NODE(graph, MATMUL, "y", "f", "w");
    finish_graph(graph, "y");
    assert_int_equal(deft_graph_infer(graph, 1, NULL, 0), DEFT_OK);
    return graph;
}

static double output_of(deft_graph *graph, const float *x, int output) {
    const float *w = constant_of(graph, "w")->data;
    double sum = 0;
    for (int i = 0; i < ELEMENTS; i++)
        sum += (double)x[i] * (double)w[i * OUTPUTS + output];
    return sum;
}

/* Gathers the targets of some samples in reverse order; the model sees something else than the set has. */
static void check_targets(int64_t teacher_batch, bool changed) {
    deft_context *ctx = test_context();
    deft_dataset *data = make_samples(ctx, 3, (int64_t[]){2, 3, 3}, 0, COUNTS(SAMPLES, 4, 4));
    data->augment.flip = changed;
    deft_graph *graph = sums(ctx, -1), *teacher = sums(ctx, teacher_batch);
    deft_loss_graph net;
    deft_targets targets;
    assert_int_equal(deft_loss_graph_init(ctx, graph, data, BATCH, true, DEFT_LOSS_DEFAULT, &net), DEFT_OK);
    assert_int_equal(deft_targets_init(ctx, &net, data, teacher, 0, &targets), DEFT_OK);

    const float *samples = samples_of(data, DEFT_TRAIN);
    float seen[BATCH * ELEMENTS], out[BATCH * OUTPUTS];
    int64_t order[SAMPLES];
    for (int i = 0; i < SAMPLES; i++)
        order[i] = SAMPLES - 1 - i;
    for (int i = 0; i < BATCH * ELEMENTS; i++)
        seen[i] = (float)(i % 5) - 2;
    assert_int_equal(deft_targets_gather(&targets, order, 3, BATCH, seen, out), DEFT_OK);
    for (int i = 0; i < BATCH; i++)
        for (int j = 0; j < OUTPUTS; j++) {
            const float *x = changed ? seen + i * ELEMENTS : samples + order[3 + i] * ELEMENTS;
            assert_float_equal(out[i * OUTPUTS + j], output_of(teacher, x, j), 1e-5);
        }

    deft_targets_done(&targets);
    deft_loss_graph_done(&net);
    deft_graph_free(teacher);
    deft_graph_free(graph);
    deft_dataset_free(data);
    test_context_free(ctx);
}

static void test_samples_that_stay(void **state) {
    (void)state;
    check_targets(-1, false);
}

static void test_samples_that_change(void **state) {
    (void)state;
    check_targets(-1, true);
}

static void test_a_teacher_of_a_fixed_batch(void **state) {
    (void)state;
    check_targets(3, false);
    check_targets(3, true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples_that_stay),
        cmocka_unit_test(test_samples_that_change),
        cmocka_unit_test(test_a_teacher_of_a_fixed_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
