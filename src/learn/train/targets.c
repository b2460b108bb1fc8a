#include "learn/train/targets.h"

#include "learn/data/loader.h"
#include "learn/train/predictor.h"

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

static deft_status ask(deft_targets *targets, deft_loss kind, deft_predictor *teacher, deft_loader *loader) {
    const deft_samples *samples = targets->samples;
    deft_op head = deft_graph_head(teacher->plan->graph);
    deft_loader_start(loader, NULL, 0, samples->count, 0);
    for (int64_t first = 0; first < samples->count; first += teacher->batch) {
        int64_t left = samples->count - first, count = left < teacher->batch ? left : teacher->batch;
        DEFT_TRY(deft_progress(targets->ctx, "asking the teacher", (double)first / (double)samples->count));
        DEFT_TRY(deft_loader_next(loader, teacher->x));
        DEFT_TRY(deft_predictor_run(teacher, count));
        for (int64_t i = 0; i < count; i++) {
            const float *y = teacher->y + i * targets->outputs;
            float *row = targets->rows + (first + i) * targets->outputs;
            bool shares = kind == DEFT_LOSS_CROSS_ENTROPY;
            if (shares)
                to_shares(head, y, targets->outputs, row);
            else
                memcpy(row, y, (size_t)targets->outputs * sizeof *row);
            if (samples->y && shares)
                mix_in_label(samples->y[first + i], targets->outputs, targets->smoothing, 0.5f, row);
            if (samples->targets)
                mix_in_targets(samples->targets + (first + i) * targets->outputs, targets->outputs, row);
        }
    }
    return DEFT_OK;
}

deft_status deft_targets_init(deft_context *ctx, const deft_loss_graph *net, const deft_dataset *data,
                              const deft_graph *teacher, float smoothing, deft_targets *targets) {
    *targets = (deft_targets){
        .ctx = ctx, .samples = &data->split[DEFT_TRAIN], .outputs = net->outputs, .smoothing = smoothing};
    if (!teacher) return DEFT_OK;
    deft_predictor predictor;
    deft_loader *loader = NULL;
    deft_status status;
    status = deft_predictor_init(ctx, teacher, data, &predictor);
    if (status != DEFT_OK) status = deft_fail_in(ctx, status, "the teacher");
    DEFT_TRY_OR_FAIL(status);
    if (predictor.outputs != net->outputs) {
        status =
            deft_fail(ctx, DEFT_INVALID, "the teacher gives %" PRId64 " outputs for a sample, but the model %" PRId64,
                      predictor.outputs, net->outputs);
        goto fail;
    }
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(ctx, (size_t)targets->samples->count,
                                          (size_t)net->outputs * sizeof *targets->rows, &targets->rows));
    DEFT_TRY_OR_FAIL(deft_loader_new(ctx, data, DEFT_TRAIN, predictor.batch, false, &loader));
    DEFT_TRY_OR_FAIL(ask(targets, net->kind, &predictor, loader));
fail:
    deft_loader_free(loader);
    deft_predictor_done(&predictor);
    return status;
}

void deft_targets_done(deft_targets *targets) {
    if (targets->rows) deft_release(targets->ctx, targets->rows);
}

/* ---- batches ------------------------------------------------------------------------------------------------- */

void deft_targets_gather(const deft_targets *targets, const int64_t *order, int64_t first, int64_t count, float *out) {
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
}
