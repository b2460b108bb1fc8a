/* The digits that Deft draws. */
#include "learn/data/arrays.h"
#include "learn/data/digits.h"
#include "learn/data/format.h"

#include <stdlib.h>

enum { COUNT_DEFAULT = 20000, COUNT_MIN = 10, COUNT_MAX = 1000000 };

bool deft_data_at_digits(const char *path) {
    (void)path;
    return false;
}

/* A split draws from numbers of its own, so that the test pictures of digits:N are never trained on by digits:M. */
static deft_status draw_split(deft_dataset *set, deft_split split, float *x, int32_t *y) {
    enum { CHUNK = 2000 };
    uint64_t number = (uint64_t)split << 32;
    int64_t count = set->split[split].count;
    for (int64_t from = 0; from < count; from += CHUNK) {
        int64_t to = from + CHUNK < count ? from + CHUNK : count;
#pragma omp parallel for schedule(static) num_threads(set->ctx->threads)
        for (int64_t i = from; i < to; i++)
            deft_digits_draw(DEFT_DATA_SEED, number + (uint64_t)i, x + i * set->sample_count, &y[i]);
        DEFT_TRY(deft_progress(set->ctx, "drawing digits", (double)to / (double)count));
    }
    return DEFT_OK;
}

deft_status deft_data_open_digits(deft_dataset *set, const char *number) {
    int64_t count = COUNT_DEFAULT;
    if (number) {
        char *end;
        count = *number >= '0' && *number <= '9' ? strtoll(number, &end, 10) : -1;
        if (count < COUNT_MIN || count > COUNT_MAX || *end)
            return deft_fail(set->ctx, DEFT_INVALID, "data 'digits:%s': expected a number of pictures, %d to %d",
                             number, COUNT_MIN, COUNT_MAX);
    }
    deft_arrays *arrays;
    float *x;
    int32_t *y;
    deft_data_set_shape(set, 3, (const int64_t[]){1, DEFT_DIGITS_SIZE, DEFT_DIGITS_SIZE});
    set->classes = 10;
    DEFT_TRY(deft_arrays_attach(set, &arrays));
    DEFT_TRY(deft_allocate(set->ctx, (size_t)(count * set->sample_count) * sizeof *x, &arrays->owned[0]));
    DEFT_TRY(deft_arena_array(&set->arena, (size_t)count, sizeof *y, &y));
    deft_data_split_evenly(set, count, y);
    arrays->dtype = DEFT_F32;
    x = arrays->owned[0];
    for (int split = 0; split < DEFT_SPLITS; split++) {
        arrays->split[split].x = x;
        DEFT_TRY(draw_split(set, (deft_split)split, x, y));
        x += set->split[split].count * set->sample_count;
        y += set->split[split].count;
    }
    return DEFT_OK;
}
