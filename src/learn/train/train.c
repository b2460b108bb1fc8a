#include "learn/train/train.h"

#include "base/core/rng.h"
#include "base/core/timing.h"
#include "learn/train/checkpoint.h"
#include "learn/train/runner.h"

#include <math.h>
#include <string.h>

/* Share of the teacher in the targets where there are labels too. source: HINTON2015 */
static const float teacher_share = 0.5f;

typedef struct run {
    deft_context *ctx;
    deft_graph *model;
    const deft_dataset *data;
    deft_train_options options; /* with the defaults filled in */
    bool classify;
    deft_training training;
    deft_sgd sgd;
    deft_runner teacher; /* zeroed without one */
    uint64_t fingerprint;
    int64_t *order;  /* of the training samples in this epoch */
    int32_t *labels; /* of the batch */
    float *x, *targets, *loss;
    int64_t columns; /* of the targets */
} run;

static deft_train_options with_defaults(const deft_train_options *given, int64_t samples) {
    deft_train_options options = given ? *given : (deft_train_options){0};
    if (options.epochs == 0) options.epochs = 10;
    if (options.batch == 0) options.batch = 64;
    if (options.batch > samples) options.batch = samples;
    if (options.learning_rate == 0) options.learning_rate = 0.05f;
    if (options.momentum == 0) options.momentum = 0.9f;
    if (options.momentum < 0) options.momentum = 0;
    if (options.step_factor == 0) options.step_factor = 0.1f;
    return options;
}

static deft_status check_options(deft_context *ctx, const deft_train_options *options) {
    if (options->epochs < 0 || options->batch < 0 || options->step_epochs < 0)
        return deft_fail(ctx, DEFT_INVALID,
                         "epochs, batch and step epochs are %d, %lld and %d; they must not be negative",
                         options->epochs, (long long)options->batch, options->step_epochs);
    if (!(options->learning_rate > 0) || !(options->momentum < 1) || !(options->weight_decay >= 0))
        return deft_fail(ctx, DEFT_INVALID,
                         "learning rate %g, momentum %g, weight decay %g: expected above 0, below 1, 0 or more",
                         (double)options->learning_rate, (double)options->momentum, (double)options->weight_decay);
    return DEFT_OK;
}

/* By default the rate falls after a half and after three quarters of the epochs. `epoch` counts from 0. */
static float learning_rate(const deft_train_options *options, int epoch) {
    int steps = options->step_epochs ? epoch / options->step_epochs
                                     : (2 * epoch >= options->epochs) + (4 * epoch >= 3 * options->epochs);
    return options->learning_rate * powf(options->step_factor, (float)steps);
}

/* ---- targets ------------------------------------------------------------------------------------------------- */

static void softmax(const float *logits, int64_t count, float *out) {
    float top = logits[deft_top(logits, count)], sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += out[i] = expf(logits[i] - top);
    for (int64_t i = 0; i < count; i++)
        out[i] /= sum;
}

/* Labels as one-hot rows, the teacher's probabilities, or a mix; for a regression, the teacher's outputs. */
static void fill_targets(run *r) {
    const float *taught = r->teacher.y;
    for (int64_t i = 0; i < r->options.batch; i++) {
        float *row = r->targets + i * r->columns;
        if (!r->classify) {
            memcpy(row, taught + i * r->columns, sizeof *row * (size_t)r->columns);
            continue;
        }
        if (taught)
            softmax(taught + i * r->columns, r->columns, row);
        else
            memset(row, 0, sizeof *row * (size_t)r->columns);
        if (!r->data->classes) continue;
        float share = taught ? teacher_share : 0;
        for (int64_t j = 0; j < r->columns; j++)
            row[j] *= share;
        row[r->labels[i]] += 1 - share;
    }
}

/* ---- epochs -------------------------------------------------------------------------------------------------- */

static deft_status run_batch(run *r, int64_t first, float rate, double *loss_sum) {
    deft_dataset_gather(r->data, DEFT_TRAIN, r->order, first, r->options.batch, r->x, r->labels);
    if (r->teacher.executor) {
        memcpy(r->teacher.x, r->x, sizeof *r->x * (size_t)(r->options.batch * r->data->sample_count));
        DEFT_TRY(deft_executor_run(r->teacher.executor));
    }
    fill_targets(r);
    DEFT_TRY(deft_executor_run(r->training.executor));
    if (!isfinite(*r->loss))
        return deft_fail(r->ctx, DEFT_INVALID, "the loss is no longer finite: the learning rate, %g, may be too high",
                         (double)rate);
    *loss_sum += (double)*r->loss;
    deft_sgd_step(&r->sgd, rate);
    deft_sgd_update_statistics(&r->training);
    return DEFT_OK;
}

/* The order of an epoch follows from the seed and its number, so that a resumed run sees the same batches. */
static void shuffle(run *r, int epoch) {
    int64_t count = r->data->split[DEFT_TRAIN].count;
    for (int64_t i = 0; i < count; i++)
        r->order[i] = i;
    deft_rng rng;
    deft_rng_init(&rng, r->ctx->seed, (uint64_t)epoch);
    deft_rng_shuffle(&rng, r->order, count);
}

/* What is left over after the last full batch is not trained on in this epoch. */
static deft_status run_batches(run *r, int epoch, deft_epoch *result) {
    int64_t batches = r->data->split[DEFT_TRAIN].count / r->options.batch;
    int64_t start = deft_time_ns();
    double loss_sum = 0;
    shuffle(r, epoch);
    for (int64_t i = 0; i < batches; i++) {
        double done = (epoch + (double)i / (double)batches) / r->options.epochs;
        DEFT_TRY(deft_progress(r->ctx, "training", done));
        DEFT_TRY(run_batch(r, i * r->options.batch, (float)result->learning_rate, &loss_sum));
    }
    result->seconds = (double)(deft_time_ns() - start) * 1e-9;
    result->images_per_second = (double)(batches * r->options.batch) / result->seconds;
    result->loss = loss_sum / (double)batches;
    return DEFT_OK;
}

static deft_status run_epoch(run *r, int epoch) {
    deft_epoch result = {
        .epoch = epoch + 1, .epochs = r->options.epochs, .learning_rate = (double)learning_rate(&r->options, epoch)};
    DEFT_TRY(run_batches(r, epoch, &result));
    deft_training_store(&r->training, r->model);
    if (r->options.checkpoint)
        DEFT_TRY(deft_checkpoint_save(r->options.checkpoint, r->fingerprint, epoch + 1, &r->training, &r->sgd));
    if (!r->options.on_epoch) return DEFT_OK;
    deft_quality quality;
    DEFT_TRY(deft_evaluate(r->ctx, r->model, r->options.teacher, r->data, DEFT_VALIDATION, &quality));
    result.accuracy = r->data->classes ? quality.accuracy
                      : r->classify    ? quality.agreement
                                       : 1 - quality.relative_error;
    r->options.on_epoch(r->options.user, &result);
    return DEFT_OK;
}

/* ---- the run ------------------------------------------------------------------------------------------------- */

static deft_status init_teacher(run *r) {
    if (!r->options.teacher) return DEFT_OK;
    deft_graph *teacher;
    DEFT_TRY(deft_graph_clone(r->ctx, r->options.teacher, &teacher));
    if (r->classify) teacher->outputs[0] = deft_logits(teacher);
    deft_status status = deft_runner_init(r->ctx, teacher, r->data, r->options.batch, &r->teacher);
    deft_graph_free(teacher);
    if (status == DEFT_OK && r->teacher.columns != r->columns)
        status = deft_fail(r->ctx, DEFT_INVALID, "the teacher has %lld outputs, the model %lld",
                           (long long)r->teacher.columns, (long long)r->columns);
    return status;
}

static deft_status init_buffers(run *r) {
    const deft_training *t = &r->training;
    r->x = deft_executor_tensor(t->executor, t->x)->data;
    r->loss = deft_executor_tensor(t->executor, t->loss)->data;
    deft_tensor *targets = deft_executor_tensor(t->executor, t->targets);
    r->targets = targets->data;
    r->columns = deft_tensor_count(targets) / r->options.batch;
    if (r->data->classes > r->columns)
        return deft_fail(r->ctx, DEFT_INVALID, "%s has %d classes, but the model has %lld outputs", r->data->spec,
                         r->data->classes, (long long)r->columns);
    int64_t samples = r->data->split[DEFT_TRAIN].count;
    DEFT_TRY(deft_allocate_zeroed(r->ctx, (size_t)samples, sizeof *r->order, &r->order));
    return deft_allocate_zeroed(r->ctx, (size_t)r->options.batch, sizeof *r->labels, &r->labels);
}

static deft_status init_run(run *r) {
    const deft_train_options *options = &r->options;
    DEFT_TRY(check_options(r->ctx, options));
    if (!r->data->classes && !options->teacher)
        return deft_fail(r->ctx, DEFT_INVALID, "%s has no labels: there is nothing to train for", r->data->spec);
    const deft_tensor *y = &r->model->values[r->model->outputs[0]].desc;
    r->classify = r->data->classes || (y->rank == 2 && y->dims[1] > 1);
    DEFT_TRY(deft_training_init(r->ctx, r->model, options->batch, r->classify, &r->training));
    DEFT_TRY(deft_check_input(r->training.graph, r->training.x, r->data, options->batch));
    DEFT_TRY(deft_sgd_init(&r->sgd, &r->training, options->momentum, options->weight_decay, options->keep_zeros));
    DEFT_TRY(init_buffers(r));
    return init_teacher(r);
}

static deft_status run_epochs(run *r) {
    int epoch = 0;
    DEFT_TRY(init_run(r));
    if (r->options.checkpoint) {
        r->fingerprint = deft_checkpoint_fingerprint(r->model, r->data, &r->options);
        DEFT_TRY(deft_checkpoint_load(r->options.checkpoint, r->fingerprint, &r->training, &r->sgd, &epoch));
        deft_training_store(&r->training, r->model);
    }
    for (; epoch < r->options.epochs; epoch++)
        DEFT_TRY(run_epoch(r, epoch));
    return DEFT_OK;
}

deft_status deft_train(deft_context *ctx, deft_graph *graph, const deft_dataset *data,
                       const deft_train_options *options) {
    run r = {
        .ctx = ctx, .model = graph, .data = data, .options = with_defaults(options, data->split[DEFT_TRAIN].count)};
    deft_status status = run_epochs(&r);
    deft_runner_done(&r.teacher);
    if (r.sgd.ctx) deft_sgd_done(&r.sgd);
    deft_training_done(&r.training);
    deft_release(ctx, r.order);
    deft_release(ctx, r.labels);
    return status;
}
