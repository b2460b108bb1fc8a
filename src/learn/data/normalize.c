/* Standardisation: each channel less its mean, over its deviation. */
#include "learn/data/format.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

enum { SAMPLES_MAX = 10000 };

static deft_status fail_numbers(deft_context *ctx, const char *numbers, int64_t channels) {
    return deft_fail(ctx, DEFT_INVALID,
                     "normalize=%.128s: expected, for each of the %" PRId64
                     " channels, a mean and a positive deviation: MEAN,.../DEVIATION,...",
                     numbers, channels);
}

/* "MEAN,...,MEAN/DEVIATION,...,DEVIATION" into numbers [2][channels]. */
static deft_status parse_numbers(deft_context *ctx, const char *text, int64_t channels, float *numbers) {
    const char *at = text;
    for (int64_t i = 0; i < 2 * channels; i++) {
        char *end;
        double value = strtod(at, &end);
        char expected = i + 1 == 2 * channels ? 0 : i + 1 == channels ? '/' : ',';
        bool usable = isfinite((float)value) && (i < channels || (float)value > 0);
        if (end == at || *end != expected || !usable) return fail_numbers(ctx, text, channels);
        numbers[i] = (float)value;
        at = end + 1;
    }
    return DEFT_OK;
}

typedef struct moments {
    double sum, squares;
} moments;

static void add_moments(const float *x, int64_t channels, int64_t plane, moments *of) {
    for (int64_t c = 0; c < channels; c++)
        for (int64_t i = 0; i < plane; i++, x++) {
            of[c].sum += (double)*x;
            of[c].squares += (double)*x * (double)*x;
        }
}

static deft_status finish(deft_dataset *set, const moments *of, int64_t channels, double count, float *numbers) {
    for (int64_t c = 0; c < channels; c++) {
        double mean = of[c].sum / count, variance = of[c].squares / count - mean * mean;
        numbers[c] = (float)mean;
        numbers[channels + c] = (float)sqrt(variance > 0 ? variance : 0);
        if (!(numbers[channels + c] > 0))
            return deft_fail(set->ctx, DEFT_INVALID,
                             "%s: channel %" PRId64 " is the same everywhere, so it cannot be standardised", set->spec,
                             c);
    }
    return DEFT_OK;
}

static deft_status measure(deft_dataset *set, int64_t channels, float *numbers) {
    int64_t total = set->split[DEFT_TRAIN].count, count = total < SAMPLES_MAX ? total : SAMPLES_MAX;
    moments *of;
    float *x;
    DEFT_TRY(deft_arena_array(&set->arena, (size_t)channels, sizeof *of, &of));
    DEFT_TRY(deft_arena_array(&set->arena, (size_t)set->sample_count, sizeof *x, &x));
    for (int64_t i = 0; i < count; i++) {
        /* No overflow: a data set's samples number far below 2^63 / 10,000. */
        DEFT_TRY(set->source.read(set, set->ctx, DEFT_TRAIN, i * total / count, x));
        add_moments(x, channels, set->sample_count / channels, of);
        if (i % 100 == 0) DEFT_TRY(deft_progress(set->ctx, "measuring the data", (double)i / (double)count));
    }
    return finish(set, of, channels, (double)(count * (set->sample_count / channels)), numbers);
}

deft_status deft_data_normalize(deft_dataset *set, const char *numbers) {
    int64_t channels = set->sample_dims[0];
    float *all;
    if (set->sample_rank != 3)
        return deft_fail(
            set->ctx, DEFT_INVALID,
            "%s: samples of %d dimensions have no channels to normalize; expected channels x height x width", set->spec,
            set->sample_rank);
    DEFT_TRY(deft_arena_array(&set->arena, 2 * (size_t)channels, sizeof *all, &all));
    DEFT_TRY(numbers ? parse_numbers(set->ctx, numbers, channels, all) : measure(set, channels, all));
    set->mean = all;
    set->deviation = all + channels;
    return DEFT_OK;
}
