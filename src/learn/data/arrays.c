#include "learn/data/arrays.h"

#include "learn/data/format.h"

#include <string.h>

void deft_arrays_convert(deft_dtype dtype, const void *from, int64_t count, float *x) {
    if (dtype == DEFT_F32) {
        memcpy(x, from, (size_t)count * sizeof *x);
    } else if (dtype == DEFT_F64) {
        for (int64_t i = 0; i < count; i++)
            x[i] = (float)((const double *)from)[i];
    } else {
        for (int64_t i = 0; i < count; i++)
            x[i] = (float)((const uint8_t *)from)[i];
    }
}

static deft_status read_array(const deft_dataset *set, deft_context *ctx, deft_split split, int64_t index, float *x) {
    (void)ctx;
    const deft_arrays *arrays = set->source.state;
    const int64_t *order = arrays->split[split].order;
    int64_t count = set->sample_count, first = (order ? order[index] : index) * count;
    const char *from = (const char *)arrays->split[split].x + (size_t)first * deft_dtype_bytes(arrays->dtype);
    if (arrays->pixels)
        deft_data_pixels((const uint8_t *)from, count, x);
    else
        deft_arrays_convert(arrays->dtype, from, count, x);
    return DEFT_OK;
}

static void close_arrays(deft_dataset *set) {
    deft_arrays *arrays = set->source.state;
    for (size_t i = 0; i < sizeof arrays->owned / sizeof *arrays->owned; i++)
        deft_release(set->ctx, arrays->owned[i]);
}

deft_status deft_arrays_attach(deft_dataset *set, deft_arrays **arrays) {
    DEFT_TRY(deft_arena_array(&set->arena, 1, sizeof **arrays, arrays));
    set->source = (deft_source){.read = read_array, .close = close_arrays, .state = *arrays, .in_memory = true};
    return DEFT_OK;
}
