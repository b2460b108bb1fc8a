/* Which of many values are the smallest by magnitude. */
#ifndef DEFT_LEARN_APPROX_RANK_H
#define DEFT_LEARN_APPROX_RANK_H

#include "base/core/context.h"

#include <string.h>

typedef struct deft_ranked {
    const float *values;
    int64_t count;
} deft_ranked;

/* Below `key` all are taken, and of those at it the first `ties`. */
typedef struct deft_threshold {
    uint32_t key;
    int64_t ties;
} deft_threshold;

/* Sorts as magnitudes do; the same for every NaN, above infinity. */
static inline uint32_t deft_magnitude_key(float value) {
    static const uint32_t NAN_KEY = 0x7f800001u;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits &= 0x7fffffffu;
    return bits < NAN_KEY ? bits : NAN_KEY;
}

/* The threshold that takes the `wanted` smallest of all parts together, 0 to their number. Of equal magnitudes the
 * first is taken first. Three passes over the values and 512 KiB, for any number of them. Error: DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_rank_smallest(deft_context *ctx, const deft_ranked *parts, int part_count,
                                               int64_t wanted, deft_threshold *threshold);

/* Whether the threshold takes this value: to be asked of each once, in their order. */
static inline bool deft_threshold_takes(deft_threshold *threshold, float value) {
    uint32_t key = deft_magnitude_key(value);
    return key < threshold->key || (key == threshold->key && threshold->ties-- > 0);
}

#endif
