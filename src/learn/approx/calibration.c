#include "learn/approx/calibration.h"

#include "learn/data/dataset.h"
#include "learn/train/feed.h"

#include <string.h>

enum { BATCH = 32 };

/* ---- arrays by name ------------------------------------------------------------------------------------------ */

static bool has_all_inputs(const deft_graph *graph, const deft_npz *npz) {
    for (int i = 0; i < graph->input_count; i++)
        if (!deft_npz_find(npz, graph->values[graph->inputs[i]].name)) return false;
    return true;
}

static deft_status check_array(const deft_calibration *c, const deft_value *input, const deft_tensor *array) {
    char got[DEFT_SHAPE_TEXT_BYTES], expected[DEFT_SHAPE_TEXT_BYTES];
    deft_tensor wanted = input->desc;
    bool fits = array->dtype == wanted.dtype && array->rank == wanted.rank && array->rank > 0 && array->dims[0] > 0;
    for (int i = 0; i < wanted.rank; i++) {
        if (input->dim_names[i]) wanted.dims[i] = -1;
        if (fits && i > 0 && wanted.dims[i] >= 0) fits = array->dims[i] == wanted.dims[i];
    }
    if (fits && c->samples && array->dims[0] != c->samples) fits = false;
    if (fits) return DEFT_OK;
    return deft_fail(
        c->ctx, DEFT_INVALID,
        "array '%.64s' is %s %s; expected %s %s (-1: any), and as many samples, the first dimension, in each",
        input->name, deft_dtype_name(array->dtype), deft_shape_text(array, got, sizeof got),
        deft_dtype_name(wanted.dtype), deft_shape_text(&wanted, expected, sizeof expected));
}

/* The batch that the graph's inputs allow: their own where it is fixed. */
static int64_t batch_of(const deft_graph *graph, int64_t samples) {
    for (int i = 0; i < graph->input_count; i++) {
        const deft_value *input = &graph->values[graph->inputs[i]];
        if (!input->dim_names[0]) return input->desc.dims[0];
    }
    return samples < BATCH ? samples : BATCH;
}

static deft_status take_arrays(deft_calibration *c, const deft_graph *graph) {
    for (int i = 0; i < graph->input_count; i++) {
        const deft_value *input = &graph->values[graph->inputs[i]];
        const deft_tensor *array = deft_npz_find(&c->npz, input->name);
        DEFT_TRY(check_array(c, input, array));
        c->samples = array->dims[0];
        c->inputs[i] = *array;
        c->bindings[i] = (deft_binding){.input = input->name, .rank = array->rank};
        memcpy(c->bindings[i].dims, array->dims, sizeof array->dims);
    }
    c->batch = batch_of(graph, c->samples);
    for (int i = 0; i < graph->input_count; i++)
        c->bindings[i].dims[0] = c->batch;
    return DEFT_OK;
}

/* ---- a data set ---------------------------------------------------------------------------------------------- */

static deft_status take_samples(deft_calibration *c, const deft_graph *graph, const deft_dataset *data,
                                int64_t samples) {
    int64_t count = data->split[DEFT_TRAIN].count, *order;
    c->samples = samples < count ? samples : count;
    DEFT_TRY(deft_feed_bind(c->ctx, graph, data, c->samples < BATCH ? c->samples : BATCH, &c->bindings[0]));
    c->batch = c->bindings[0].dims[0];
    c->inputs[0] = (deft_tensor){.dtype = DEFT_F32, .rank = 2, .dims = {c->samples, data->sample_count}};
    DEFT_TRY(deft_arena_array(&c->arena, (size_t)c->samples, sizeof *order, &order));
    DEFT_TRY(deft_arena_array(&c->arena, (size_t)(c->samples * data->sample_count), sizeof(float), &c->inputs[0].data));
    for (int64_t i = 0; i < c->samples; i++)
        order[i] = i * count / c->samples;
    return deft_dataset_gather(data, DEFT_TRAIN, order, 0, c->samples, c->inputs[0].data);
}

/* ---- both ---------------------------------------------------------------------------------------------------- */

static deft_status take(deft_calibration *c, const char *spec, const deft_graph *graph, int64_t samples) {
    deft_dataset *data;
    DEFT_TRY(deft_arena_array(&c->arena, (size_t)graph->input_count, sizeof *c->inputs, &c->inputs));
    DEFT_TRY(deft_arena_array(&c->arena, (size_t)graph->input_count, sizeof *c->bindings, &c->bindings));
    c->input_count = graph->input_count;
    if (strncmp(spec, "npz:", 4) == 0) {
        DEFT_TRY(deft_npz_load(c->ctx, spec + 4, &c->npz));
        if (has_all_inputs(graph, &c->npz)) return take_arrays(c, graph);
        deft_npz_done(&c->npz);
        c->npz = (deft_npz){0};
    }
    DEFT_TRY(deft_dataset_open(c->ctx, spec, &data));
    deft_status status = take_samples(c, graph, data, samples);
    deft_dataset_free(data);
    return status;
}

deft_status deft_calibration_open(deft_context *ctx, const char *spec, const deft_graph *graph, int64_t samples,
                                  deft_calibration *calibration) {
    *calibration = (deft_calibration){.ctx = ctx};
    deft_arena_init(&calibration->arena, ctx);
    DEFT_TRY(take(calibration, spec, graph, samples));
    if (calibration->samples < calibration->batch)
        return deft_fail(ctx, DEFT_INVALID, "%.64s: %lld samples do not fill the model's fixed batch of %lld", spec,
                         (long long)calibration->samples, (long long)calibration->batch);
    calibration->samples -= calibration->samples % calibration->batch;
    return DEFT_OK;
}

void deft_calibration_done(deft_calibration *calibration) {
    deft_npz_done(&calibration->npz);
    deft_arena_done(&calibration->arena);
}
