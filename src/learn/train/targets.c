#include "learn/train/targets.h"

#include "learn/data/augment.h"
#include "learn/data/loader.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- the teacher --------------------------------------------------------------------------------------------- */

/* weight softmax(logits / temperature), from the teacher's outputs, whatever its last node leaves of them. */
static void to_shares(const deft_targets *targets, const float *y, float weight, float *out) {
    bool shares = deft_graph_head(targets->teacher.plan->graph) == DEFT_OP_SOFTMAX;
    int64_t count = targets->outputs;
    float top = -INFINITY, sum = 0;
    for (int64_t i = 0; i < count; i++) {
        out[i] = (shares ? logf(y[i]) : y[i]) / targets->temperature;
        top = out[i] > top ? out[i] : top;
    }
    for (int64_t i = 0; i < count; i++)
        sum += out[i] = expf(out[i] - top);
    for (int64_t i = 0; i < count; i++)
        out[i] *= weight / sum;
}

/* shares += weight (the label's, smoothed) */
static void add_label(int32_t label, int64_t classes, float smoothing, float weight, float *shares) {
    for (int64_t i = 0; i < classes; i++)
        shares[i] += weight * smoothing / (float)classes;
    shares[label] += weight * (1 - smoothing);
}

/* The targets of a training sample from what the teacher says of it: row [width]. */
static void blend(const deft_targets *targets, const float *y, int64_t sample, float *row) {
    const deft_samples *samples = targets->samples;
    int64_t count = targets->outputs;
    bool classes = targets->kind == DEFT_LOSS_CROSS_ENTROPY, labelled = samples->y && classes;
    float share = labelled || samples->targets ? targets->share : 1, heat = targets->temperature;
    const float *numbers = samples->targets ? samples->targets + sample * count : NULL;
    memset(row, 0, (size_t)count * sizeof *row);
    if (classes) to_shares(targets, y, share * heat * heat, row + targets->width - count);
    for (int64_t i = 0; i < count && !classes; i++)
        row[i] = share * y[i];
    for (int64_t i = 0; i < count && numbers; i++)
        row[i] += (1 - share) * numbers[i];
    if (labelled) add_label(samples->y[sample], count, targets->smoothing, 1 - share, row);
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
            blend(targets, teacher->y + i * targets->outputs, first + i, targets->rows + (first + i) * targets->width);
    }
    return DEFT_OK;
}

static deft_status make_rows(deft_targets *targets, const deft_dataset *data) {
    size_t row_bytes = (size_t)targets->width * sizeof *targets->rows;
    deft_loader *loader;
    DEFT_TRY(deft_allocate_zeroed(targets->ctx, (size_t)targets->samples->count, row_bytes, &targets->rows));
    DEFT_TRY(deft_loader_new(targets->ctx, data, DEFT_TRAIN, targets->teacher.batch, false, &loader));
    deft_status status = ask_ahead(targets, loader);
    deft_loader_free(loader);
    return status;
}

deft_status deft_targets_init(deft_context *ctx, const deft_loss_graph *net, const deft_dataset *data,
                              const deft_graph *teacher, float share, float smoothing, deft_targets *targets) {
    *targets = (deft_targets){.ctx = ctx,
                              .samples = &data->split[DEFT_TRAIN],
                              .outputs = net->outputs,
                              .width = net->outputs * (net->soft_targets == DEFT_NO_VALUE ? 1 : 2),
                              .sample = data->sample_count,
                              .share = share,
                              .temperature = net->temperature,
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
    if (targets->asks) return deft_allocate_zeroed(ctx, (size_t)targets->width, sizeof *targets->rows, &targets->rows);
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

/* Row number `index` of a batch. */
static void put(const deft_targets *targets, const float *row, int64_t index, float *out, float *soft) {
    size_t bytes = (size_t)targets->outputs * sizeof *out;
    memcpy(out + index * targets->outputs, row, bytes);
    if (targets->width > targets->outputs) memcpy(soft + index * targets->outputs, row + targets->outputs, bytes);
}

static deft_status ask(deft_targets *targets, const int64_t *order, int64_t count, const float *x, float *out,
                       float *soft) {
    deft_predictor *teacher = &targets->teacher;
    for (int64_t first = 0; first < count; first += teacher->batch) {
        int64_t left = count - first, some = left < teacher->batch ? left : teacher->batch;
        memcpy(teacher->x, x + first * targets->sample, (size_t)(some * targets->sample) * sizeof *x);
        DEFT_TRY(deft_predictor_run(teacher, some));
        for (int64_t i = 0; i < some; i++) {
            blend(targets, teacher->y + i * targets->outputs, order[first + i], targets->rows);
            put(targets, targets->rows, first + i, out, soft);
        }
    }
    return DEFT_OK;
}

deft_status deft_targets_gather(deft_targets *targets, const int64_t *order, int64_t first, int64_t count,
                                const float *x, float *out, float *soft) {
    if (targets->asks) return ask(targets, order + first, count, x, out, soft);
    const float *rows = targets->rows ? targets->rows : targets->samples->targets;
    for (int64_t i = 0; i < count; i++) {
        int64_t sample = order[first + i];
        float *row = out + i * targets->outputs;
        if (rows) {
            put(targets, rows + sample * targets->width, i, out, soft);
            continue;
        }
        memset(row, 0, (size_t)targets->outputs * sizeof *row);
        add_label(targets->samples->y[sample], targets->outputs, targets->smoothing, 1, row);
    }
    return DEFT_OK;
}
