/* Which values are the smallest is found by counting: the bits of a magnitude sort as the magnitude does, so the
 * threshold follows from a histogram of their upper halves and one of the lower halves within the right bin. */
#include "learn/approx/rank.h"

enum { HALF_BITS = 16, BINS = 1 << HALF_BITS };

/* bins[upper half of the key]++ for every value. */
static void count_upper(const deft_ranked *parts, int part_count, int64_t *bins) {
    memset(bins, 0, BINS * sizeof *bins);
    for (int p = 0; p < part_count; p++)
        for (int64_t i = 0; i < parts[p].count; i++)
            bins[deft_magnitude_key(parts[p].values[i]) >> HALF_BITS]++;
}

/* bins[lower half of the key]++ for every value of this upper half. */
static void count_lower(const deft_ranked *parts, int part_count, uint32_t upper, int64_t *bins) {
    memset(bins, 0, BINS * sizeof *bins);
    for (int p = 0; p < part_count; p++)
        for (int64_t i = 0; i < parts[p].count; i++) {
            uint32_t key = deft_magnitude_key(parts[p].values[i]);
            if (key >> HALF_BITS == upper) bins[key & (BINS - 1)]++;
        }
}

/* The bin that holds the element numbered *rank in ascending order; *rank becomes its number within the bin. */
static uint32_t find_bin(const int64_t *bins, int64_t *rank) {
    uint32_t bin = 0;
    for (; *rank >= bins[bin]; bin++)
        *rank -= bins[bin];
    return bin;
}

deft_status deft_rank_smallest(deft_context *ctx, const deft_ranked *parts, int part_count, int64_t wanted,
                               deft_threshold *threshold) {
    int64_t *bins, rank = wanted - 1; /* of the largest that is taken */
    *threshold = (deft_threshold){0};
    if (wanted <= 0) return DEFT_OK;
    DEFT_TRY(deft_allocate(ctx, BINS * sizeof *bins, &bins));
    count_upper(parts, part_count, bins);
    uint32_t upper = find_bin(bins, &rank);
    count_lower(parts, part_count, upper, bins);
    uint32_t lower = find_bin(bins, &rank);
    *threshold = (deft_threshold){upper << HALF_BITS | lower, rank + 1};
    deft_release(ctx, bins);
    return DEFT_OK;
}
