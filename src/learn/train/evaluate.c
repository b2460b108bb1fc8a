#include "learn/train/train.h"

#include "learn/train/runner.h"

#include <math.h>
#include <string.h>

enum { BATCH = 128 };

/* The sums over a split so far. */
typedef struct tally {
    int64_t correct, agreeing;
    double error_squares, reference_squares;
} tally;

static void compare_outputs(const float *y, const float *reference, int64_t count, tally *sums) {
    for (int64_t i = 0; i < count; i++) {
        double difference = (double)y[i] - reference[i];
        sums->error_squares += difference * difference;
        sums->reference_squares += (double)reference[i] * reference[i];
    }
}

/* Counts `rows` samples; `reference` and `labels` may be NULL. */
static void add_batch(const float *y, const float *reference, const int32_t *labels, int64_t rows, int64_t columns,
                      tally *sums) {
    for (int64_t i = 0; i < rows; i++) {
        int64_t top = deft_top(y + i * columns, columns);
        if (labels) sums->correct += top == labels[i];
        if (reference) sums->agreeing += top == deft_top(reference + i * columns, columns);
    }
    if (reference) compare_outputs(y, reference, rows * columns, sums);
}

static deft_status check_labels(deft_context *ctx, const deft_dataset *data, int64_t columns) {
    if (data->classes > columns)
        return deft_fail(ctx, DEFT_INVALID, "%s has %d classes, but the model has %lld outputs", data->spec,
                         data->classes, (long long)columns);
    return DEFT_OK;
}

static deft_status run_split(deft_runner *model, deft_runner *reference, const deft_dataset *data, deft_split split,
                             tally *sums) {
    int32_t labels[BATCH];
    const deft_samples *samples = &data->split[split];
    for (int64_t first = 0; first < samples->count; first += BATCH) {
        int64_t rows = samples->count - first < BATCH ? samples->count - first : BATCH;
        DEFT_TRY(deft_progress(data->ctx, "evaluating", (double)first / (double)samples->count));
        deft_dataset_gather(data, split, NULL, first, rows, model->x, labels);
        DEFT_TRY(deft_executor_run(model->executor));
        if (reference) {
            memcpy(reference->x, model->x, sizeof *model->x * (size_t)(rows * data->sample_count));
            DEFT_TRY(deft_executor_run(reference->executor));
        }
        add_batch(model->y, reference ? reference->y : NULL, samples->y ? labels : NULL, rows, model->columns, sums);
    }
    return DEFT_OK;
}

deft_status deft_evaluate(deft_context *ctx, const deft_graph *graph, const deft_graph *reference,
                          const deft_dataset *data, deft_split split, deft_quality *quality) {
    deft_runner model = {0}, original = {0};
    deft_status status;
    DEFT_TRY_OR_FAIL(deft_runner_init(ctx, graph, data, BATCH, &model));
    DEFT_TRY_OR_FAIL(check_labels(ctx, data, model.columns));
    if (reference) DEFT_TRY_OR_FAIL(deft_runner_init(ctx, reference, data, BATCH, &original));
    tally sums = {0};
    DEFT_TRY_OR_FAIL(run_split(&model, reference ? &original : NULL, data, split, &sums));
    double count = (double)data->split[split].count;
    *quality = (deft_quality){
        .accuracy = data->split[split].y ? (double)sums.correct / count : NAN,
        .agreement = reference ? (double)sums.agreeing / count : NAN,
        .relative_error = reference ? sqrt(sums.error_squares / sums.reference_squares) : NAN,
        .correct = sums.correct,
        .count = data->split[split].count,
    };
fail:
    deft_runner_done(&model);
    deft_runner_done(&original);
    return status;
}
