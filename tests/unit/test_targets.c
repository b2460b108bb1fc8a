/* What a teacher is asked about: every sample once, where samples stay as they are; else what the model sees of them.
 */
#include "tests/unit/samples.h"

#include "learn/train/targets.h"
#include "learn/train/trainer.h"

#include <math.h>
#include <string.h>

enum { SAMPLES = 20, ELEMENTS = 18, OUTPUTS = 2, BATCH = 7 };

/* Pictures of 2x3x3 -> Flatten -> MatMul -> 2 numbers, or shares; batch -1 is any. */
static deft_graph *sums_or_shares(deft_context *ctx, int64_t batch, bool softmax) {
    deft_graph *graph = new_graph(ctx);
    add_graph_input(graph, "x", DIMS(batch, 2, 3, 3));
    add_weight(graph, "w", DIMS(ELEMENTS, OUTPUTS), 0);
    NODE(graph, FLATTEN, "f", "x");
    NODE(graph, MATMUL, "y", "f", "w");
    if (softmax) NODE(graph, SOFTMAX, "p", "y");
    finish_graph(graph, softmax ? "p" : "y");
    assert_int_equal(deft_graph_infer(graph, 1, NULL, 0), DEFT_OK);
    return graph;
}

static deft_graph *sums(deft_context *ctx, int64_t batch) {
    return sums_or_shares(ctx, batch, false);
}

static double output_of(deft_graph *graph, const float *x, int output) {
    const float *w = constant_of(graph, "w")->data;
    double sum = 0;
    for (int i = 0; i < ELEMENTS; i++)
        sum += (double)x[i] * (double)w[i * OUTPUTS + output];
    return sum;
}

static void tear_down(deft_targets *targets, deft_loss_graph *net, deft_graph *teacher, deft_graph *graph,
                      deft_dataset *data) {
    deft_context *ctx = targets->ctx;
    deft_targets_done(targets);
    deft_loss_graph_done(net);
    deft_graph_free(teacher);
    deft_graph_free(graph);
    deft_dataset_free(data);
    test_context_free(ctx);
}

/* Gathers the targets of some samples in reverse order; the model sees something else than the set has. */
static void check_targets(int64_t teacher_batch, bool changed) {
    deft_context *ctx = test_context();
    deft_dataset *data = make_samples(ctx, 3, (int64_t[]){2, 3, 3}, 0, COUNTS(SAMPLES, 4, 4));
    data->augment.flip = changed;
    deft_graph *graph = sums(ctx, -1), *teacher = sums(ctx, teacher_batch);
    deft_loss_graph net;
    deft_targets targets;
    assert_int_equal(deft_loss_graph_init(ctx, graph, data, BATCH, 1, DEFT_LOSS_DEFAULT, &net), DEFT_OK);
    assert_int_equal(deft_targets_init(ctx, &net, data, teacher, 0.5f, 0, &targets), DEFT_OK);

    const float *samples = samples_of(data, DEFT_TRAIN);
    float seen[BATCH * ELEMENTS], out[BATCH * OUTPUTS];
    int64_t order[SAMPLES];
    for (int i = 0; i < SAMPLES; i++)
        order[i] = SAMPLES - 1 - i;
    for (int i = 0; i < BATCH * ELEMENTS; i++)
        seen[i] = (float)(i % 5) - 2;
    assert_int_equal(deft_targets_gather(&targets, order, 3, BATCH, seen, out, NULL), DEFT_OK);
    for (int i = 0; i < BATCH; i++)
        for (int j = 0; j < OUTPUTS; j++) {
            const float *x = changed ? seen + i * ELEMENTS : samples + order[3 + i] * ELEMENTS;
            assert_float_equal(out[i * OUTPUTS + j], output_of(teacher, x, j), 1e-5);
        }

    tear_down(&targets, &net, teacher, graph, data);
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

/* ---- a temperature ------------------------------------------------------------------------------------------- */

static const double SHARE = 0.75, TEMPERATURE = 2;

/* The share of the first of two classes. */
static double first_share(deft_graph *graph, const float *x, double temperature) {
    return 1 / (1 + exp((output_of(graph, x, 1) - output_of(graph, x, 0)) / temperature));
}

/* What the loss of one sample and its gradient at the first logit are, by HINTON2015, 2. */
static double loss_of(deft_graph *graph, deft_graph *teacher, const float *x, int label, double *gradient) {
    double p = first_share(graph, x, 1), warm = first_share(graph, x, TEMPERATURE);
    double wanted = first_share(teacher, x, TEMPERATURE), first = label == 0;
    *gradient = (1 - SHARE) * (p - first) + SHARE * TEMPERATURE * (warm - wanted);
    return -(1 - SHARE) * log(first != 0 ? p : 1 - p) -
           SHARE * TEMPERATURE * TEMPERATURE * (wanted * log(warm) + (1 - wanted) * log(1 - warm));
}

/* One step of training on a batch, x [BATCH][ELEMENTS]: the loss and the weight's gradient. */
static void check_step(deft_context *ctx, const deft_loss_graph *net, deft_targets *targets, deft_graph *graph,
                       deft_graph *teacher, const int64_t *order, const float *x) {
    deft_optimizer_options options;
    deft_trainer trainer;
    float loss;
    double wanted = 0, slopes[ELEMENTS] = {0};
    assert_int_equal(deft_optimizer_fill_in(ctx, &(deft_optimizer_options){0}, &options), DEFT_OK);
    assert_int_equal(deft_trainer_init(ctx, net, &options, false, &trainer), DEFT_OK);
    memcpy(deft_trainer_data(&trainer, net->input), x, sizeof(float) * BATCH * ELEMENTS);
    assert_int_equal(deft_targets_gather(targets, order, 0, BATCH, x, deft_trainer_data(&trainer, net->targets),
                                         deft_trainer_data(&trainer, net->soft_targets)),
                     DEFT_OK);
    assert_int_equal(deft_trainer_step(&trainer, 0.1f, &loss), DEFT_OK);
    for (int i = 0; i < BATCH; i++) {
        double gradient;
        wanted += loss_of(graph, teacher, x + i * ELEMENTS, targets->samples->y[order[i]], &gradient) / BATCH;
        for (int j = 0; j < ELEMENTS; j++)
            slopes[j] += gradient * (double)x[i * ELEMENTS + j] / BATCH;
    }
    assert_float_equal(loss, wanted, 1e-5);
    for (int j = 0; j < ELEMENTS; j++)
        assert_float_equal(deft_trainer_gradient(&trainer, 0)[j * OUTPUTS], slopes[j], 1e-5);
    deft_trainer_done(&trainer);
}

static void check_temperature(bool softmax, bool changed) {
    deft_context *ctx = test_context();
    deft_dataset *data = make_samples(ctx, 3, (int64_t[]){2, 3, 3}, OUTPUTS, COUNTS(SAMPLES, 4, 4));
    data->augment.flip = changed;
    deft_graph *graph = sums(ctx, -1), *teacher = sums_or_shares(ctx, -1, softmax);
    float *w = constant_of(teacher, "w")->data, x[BATCH * ELEMENTS];
    for (int i = 0; i < ELEMENTS * OUTPUTS; i++)
        w[i] *= -0.5f;
    deft_loss_graph net;
    deft_targets targets;
    assert_int_equal(deft_loss_graph_init(ctx, graph, data, BATCH, (float)TEMPERATURE, DEFT_LOSS_DEFAULT, &net),
                     DEFT_OK);
    assert_int_equal(deft_targets_init(ctx, &net, data, teacher, (float)SHARE, 0, &targets), DEFT_OK);
    const int64_t order[BATCH] = {5, 0, 19, 3, 7, 11, 2};
    for (int i = 0; i < BATCH; i++)
        memcpy(x + i * ELEMENTS, samples_of(data, DEFT_TRAIN) + order[i] * ELEMENTS, sizeof(float) * ELEMENTS);
    check_step(ctx, &net, &targets, graph, teacher, order, x);
    tear_down(&targets, &net, teacher, graph, data);
}

static void test_a_temperature(void **state) {
    (void)state;
    check_temperature(false, false);
    check_temperature(false, true);
    check_temperature(true, false);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples_that_stay),
        cmocka_unit_test(test_samples_that_change),
        cmocka_unit_test(test_a_teacher_of_a_fixed_batch),
        cmocka_unit_test(test_a_temperature),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
