#include "learn/train/targets.h"

#include "learn/data/augment.h"
#include "learn/data/loader.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- the teacher --------------------------------------------------------------------------------------------- */

/* Shares of classes from a teacher's outputs, whatever its last node leaves of them. */
static void to_shares(deft_op head, const float *y, int64_t count, float *out) {
    if (head == DEFT_OP_SOFTMAX) {
        memcpy(out, y, (size_t)count * sizeof *out);
        return;
    }
    float top = y[0], sum = 0;
    for (int64_t i = 1; i < count; i++)
        top = y[i] > top ? y[i] : top;
    for (int64_t i = 0; i < count; i++)
        sum += out[i] = expf(y[i] - top);
    for (int64_t i = 0; i < count; i++)
        out[i] /= sum;
}

/* shares = (1 - part) shares + part (the label's, smoothed) */
static void mix_in_label(int32_t label, int64_t classes, float smoothing, float part, float *shares) {
    for (int64_t i = 0; i < classes; i++)
        shares[i] = (1 - part) * shares[i] + part * smoothing / (float)classes;
    shares[label] += part * (1 - smoothing);
}

/* Half and half. */
static void mix_in_targets(const float *targets, int64_t count, float *row) {
    for (int64_t i = 0; i < count; i++)
        row[i] = 0.5f * (row[i] + targets[i]);
}

/* The target of a training sample from what the teacher says of it. */
static void blend(const deft_targets *targets, const float *y, int64_t sample, float *row) {
    const deft_samples *samples = targets->samples;
    bool shares = targets->kind == DEFT_LOSS_CROSS_ENTROPY;
    if (shares)
        to_shares(deft_graph_head(targets->teacher.plan->graph), y, targets->outputs, row);
    else
        memcpy(row, y, (size_t)targets->outputs * sizeof *row);
    if (samples->y && shares) mix_in_label(samples->y[sample], targets->outputs, targets->smoothing, 0.5f, row);
    if (samples->targets) mix_in_targets(samples->targets + sample * targets->outputs, targets->outputs, row);
}

/* About every sample, in their order. */
static deft_status ask_ahead(deft_targets *targets, deft_loader *loader) {
    deft_predictor *teacher = &targets->teacher;
    int64_t samples = targets->samples->count;
    deft_loader_start(loader, NULL, 0, samples, 0);
    for (int64_t first = 0; first < samples; first += teacher->batch) {
        int64_t left = samples - first, count = left < teacher->batch ? left : teacher->batch;
        DEFT_TRY(deft_progress(targets->ctx, "asking the teacher", (double)first / (double)samples));
        DEFT_TRY(deft_loader_next(loader, teacher->x));
        DEFT_TRY(deft_predictor_run(teacher, count));
        for (int64_t i = 0; i < count; i++)
            blend(targets, teacher->y + i * targets->outputs, first + i,
                  targets->rows + (first + i) * targets->outputs);
    }
    return DEFT_OK;
}

static deft_status make_rows(deft_targets *targets, const deft_dataset *data) {
    size_t row_bytes = (size_t)targets->outputs * sizeof *targets->rows;
    deft_loader *loader;
    DEFT_TRY(deft_allocate_zeroed(targets->ctx, (size_t)targets->samples->count, row_bytes, &targets->rows));
    DEFT_TRY(deft_loader_new(targets->ctx, data, DEFT_TRAIN, targets->teacher.batch, false, &loader));
    deft_status status = ask_ahead(targets, loader);
    deft_loader_free(loader);
    return status;
}

deft_status deft_targets_init(deft_context *ctx, const deft_loss_graph *net, const deft_dataset *data,
                              const deft_graph *teacher, float smoothing, deft_targets *targets) {
    *targets = (deft_targets){.ctx = ctx,
                              .samples = &data->split[DEFT_TRAIN],
                              .outputs = net->outputs,
                              .sample = data->sample_count,
                              .smoothing = smoothing,
                              .kind = net->kind};
    if (!teacher) return DEFT_OK;
    targets->asks = deft_augment_is_any(&data->augment);
    deft_status status = deft_predictor_init(ctx, teacher, data, targets->asks ? net->batch : 0, &targets->teacher);
    if (status != DEFT_OK) return deft_fail_in(ctx, status, "the teacher");
    if (targets->teacher.outputs != net->outputs)
        return deft_fail(ctx, DEFT_INVALID,
                         "the teacher gives %" PRId64 " outputs for a sample, but the model %" PRId64,
                         targets->teacher.outputs, net->outputs);
    if (targets->asks) return DEFT_OK;
    status = make_rows(targets, data);
    deft_predictor_done(&targets->teacher);
    targets->teacher = (deft_predictor){0};
    return status;
}

void deft_targets_done(deft_targets *targets) {
    deft_predictor_done(&targets->teacher);
    if (targets->rows) deft_release(targets->ctx, targets->rows);
}

/* ---- batches ------------------------------------------------------------------------------------------------- */

static deft_status ask(deft_targets *targets, const int64_t *order, int64_t count, const float *x, float *out) {
    deft_predictor *teacher = &targets->teacher;
    for (int64_t first = 0; first < count; first += teacher->batch) {
        int64_t left = count - first, some = left < teacher->batch ? left : teacher->batch;
        memcpy(teacher->x, x + first * targets->sample, (size_t)(some * targets->sample) * sizeof *x);
        DEFT_TRY(deft_predictor_run(teacher, some));
        for (int64_t i = 0; i < some; i++)
            blend(targets, teacher->y + i * targets->outputs, order[first + i], out + (first + i) * targets->outputs);
    }
    return DEFT_OK;
}

deft_status deft_targets_gather(deft_targets *targets, const int64_t *order, int64_t first, int64_t count,
                                const float *x, float *out) {
    if (targets->asks) return ask(targets, order + first, count, x, out);
    size_t bytes = (size_t)targets->outputs * sizeof *out;
    for (int64_t i = 0; i < count; i++, out += targets->outputs) {
        int64_t sample = order[first + i];
        const float *rows = targets->rows ? targets->rows : targets->samples->targets;
        if (rows) {
            memcpy(out, rows + sample * targets->outputs, bytes);
            continue;
        }
        memset(out, 0, bytes);
        mix_in_label(targets->samples->y[sample], targets->outputs, targets->smoothing, 1, out);
    }
    return DEFT_OK;
}
