#include "learn/train/evaluate.h"

#include "learn/data/loader.h"
#include "learn/train/predictor.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* What is counted over a split. */
typedef struct tally {
    int64_t correct, agreeing;
    double error, norm;                           /* sums of squares */
    double loss;                                  /* sum of cross-entropies */
    double target_error, target_norm, percentage; /* sums of squares; of shares */
} tally;

/* The index of the largest element, the first of equals; NaN is never it, and -1 says that all are. */
static int64_t top_answer(const float *y, int64_t count) {
    int64_t best = -1;
    for (int64_t i = 0; i < count; i++)
        if (y[i] == y[i] && (best < 0 || y[i] > y[best])) best = i;
    return best;
}

/* -log of the share that the softmax of `y` gives to the label; `head` is what the graph did to it already. */
static double cross_entropy(const float *y, int64_t count, int32_t label, deft_op head) {
    if (head == DEFT_OP_LOG_SOFTMAX) return -(double)y[label];
    if (head == DEFT_OP_SOFTMAX) return -log((double)y[label]);
    double largest = (double)y[0], sum = 0;
    for (int64_t i = 1; i < count; i++)
        largest = fmax(largest, (double)y[i]);
    for (int64_t i = 0; i < count; i++)
        sum += exp((double)y[i] - largest);
    return log(sum) + largest - (double)y[label];
}

static void compare_outputs(const float *y, const float *reference, int64_t count, tally *t) {
    int64_t top = top_answer(y, count);
    t->agreeing += top >= 0 && top == top_answer(reference, count);
    for (int64_t i = 0; i < count; i++) {
        double error = (double)y[i] - (double)reference[i];
        t->error += error * error;
        t->norm += (double)reference[i] * (double)reference[i];
    }
}

static void compare_targets(const float *y, const float *targets, int64_t count, tally *t) {
    for (int64_t i = 0; i < count; i++) {
        double target = (double)targets[i], error = (double)y[i] - target;
        t->target_error += error * error;
        t->target_norm += target * target;
        t->percentage += fabs(error) / fmax(fabs(target), 1e-7);
    }
}

static deft_status check_outputs(deft_context *ctx, const deft_predictor *model, const deft_predictor *reference,
                                 const deft_dataset *data) {
    if (data->classes > model->outputs)
        return deft_fail(ctx, DEFT_INVALID, "%s has %d classes, but the model gives %" PRId64 " outputs for a sample",
                         data->spec, data->classes, model->outputs);
    if (data->target_count && data->target_count != model->outputs)
        return deft_fail(ctx, DEFT_INVALID,
                         "%s has %" PRId64 " targets for a sample, but the model gives %" PRId64 " outputs", data->spec,
                         data->target_count, model->outputs);
    if (reference && reference->outputs != model->outputs)
        return deft_fail(ctx, DEFT_INVALID,
                         "the model gives %" PRId64 " outputs for a sample, but its reference %" PRId64, model->outputs,
                         reference->outputs);
    return DEFT_OK;
}

/* Counts the next samples, from number `first` on; no more than either batch holds. */
static deft_status count_samples(deft_predictor *model, deft_predictor *reference, deft_loader *loader,
                                 const deft_samples *samples, int64_t first, int64_t count, tally *t) {
    const int32_t *labels = samples->y ? samples->y + first : NULL;
    const float *targets = samples->targets ? samples->targets + first * model->outputs : NULL;
    deft_op head = deft_graph_head(model->plan->graph);
    DEFT_TRY(deft_loader_next(loader, model->x));
    if (reference) memcpy(reference->x, model->x, (size_t)(count * model->sample_count) * sizeof *model->x);
    DEFT_TRY(deft_predictor_run(model, count));
    if (reference) DEFT_TRY(deft_predictor_run(reference, count));
    for (int64_t i = 0; i < count; i++) {
        const float *y = model->y + i * model->outputs;
        if (labels) t->correct += top_answer(y, model->outputs) == labels[i];
        if (labels) t->loss += cross_entropy(y, model->outputs, labels[i], head);
        if (targets) compare_targets(y, targets + i * model->outputs, model->outputs, t);
        if (reference) compare_outputs(y, reference->y + i * model->outputs, model->outputs, t);
    }
    return DEFT_OK;
}

static deft_status count_split(deft_context *ctx, const char *what, deft_predictor *model, deft_predictor *reference,
                               const deft_dataset *data, deft_split split, tally *t) {
    const deft_samples *samples = &data->split[split];
    int64_t total = samples->count, batch = model->batch;
    if (reference && reference->batch < batch) batch = reference->batch;
    deft_loader *loader;
    deft_status status = DEFT_OK;
    DEFT_TRY(deft_loader_new(ctx, data, split, batch, false, &loader));
    deft_loader_start(loader, NULL, 0, total, 0);
    for (int64_t first = 0; first < total && status == DEFT_OK; first += batch) {
        int64_t count = total - first < batch ? total - first : batch;
        status = count_samples(model, reference, loader, samples, first, count, t);
        if (what && status == DEFT_OK) status = deft_progress(ctx, what, (double)(first + count) / (double)total);
    }
    deft_loader_free(loader);
    return status;
}

static deft_quality quality_of(const tally *t, const deft_samples *samples, bool compared, int64_t outputs) {
    deft_quality quality = {.accuracy = NAN,
                            .agreement = NAN,
                            .loss = NAN,
                            .relative_error = NAN,
                            .target_error = NAN,
                            .percentage_error = NAN,
                            .count = samples->count};
    if (samples->y) {
        quality.correct = t->correct;
        quality.accuracy = (double)t->correct / (double)samples->count;
        quality.loss = t->loss / (double)samples->count;
    }
    if (samples->targets) {
        quality.target_error = t->target_error == 0 ? 0 : sqrt(t->target_error / t->target_norm);
        quality.percentage_error = t->percentage / (double)(samples->count * outputs);
    }
    if (compared && outputs > 1) quality.agreement = (double)t->agreeing / (double)samples->count;
    if (compared) quality.relative_error = t->error == 0 ? 0 : sqrt(t->error / t->norm);
    return quality;
}

deft_status deft_evaluate_as(deft_context *ctx, const char *what, const deft_graph *graph, const deft_graph *reference,
                             const deft_dataset *data, deft_split split, deft_quality *quality) {
    deft_predictor model = {0}, original = {0}, *other = reference ? &original : NULL;
    tally t = {0};
    deft_status status;
    if (data->split[split].count < 1) return deft_fail(ctx, DEFT_INVALID, "%s: the split is empty", data->spec);
    DEFT_TRY_OR_FAIL(deft_predictor_init(ctx, graph, data, 0, &model));
    if (other) DEFT_TRY_OR_FAIL(deft_predictor_init(ctx, reference, data, 0, other));
    DEFT_TRY_OR_FAIL(check_outputs(ctx, &model, other, data));
    DEFT_TRY_OR_FAIL(count_split(ctx, what, &model, other, data, split, &t));
    *quality = quality_of(&t, &data->split[split], other, model.outputs);
fail:
    deft_predictor_done(&original);
    deft_predictor_done(&model);
    return status;
}

deft_status deft_evaluate(deft_context *ctx, const deft_graph *graph, const deft_graph *reference,
                          const deft_dataset *data, deft_split split, deft_quality *quality) {
    return deft_evaluate_as(ctx, "evaluating", graph, reference, data, split, quality);
}
