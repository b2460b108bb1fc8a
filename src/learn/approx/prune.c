/* Which weights are the smallest is found by counting: the bits of a magnitude sort as the magnitude does, so the
 * threshold follows from a histogram of their upper halves and one of the lower halves within the right bin. Three
 * passes over the weights and 512 KiB, for any number of them. */
#include "learn/approx/prune.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { HALF_BITS = 16, BINS = 1 << HALF_BITS };
static const uint32_t NAN_KEY = 0x7f800001u;

/* The prunable weights of a graph, each once, in the order of their first use. */
typedef struct weights {
    deft_tensor **tensors;
    int count;
    int64_t total; /* elements of all */
} weights;

/* Sorts as magnitudes do; the same for every NaN, above infinity. */
static inline uint32_t magnitude_key(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    bits &= 0x7fffffffu;
    return bits < NAN_KEY ? bits : NAN_KEY;
}

static deft_status find_weights(deft_graph *graph, deft_arena *arena, weights *w) {
    bool *seen; /* by value */
    DEFT_TRY(deft_arena_array(arena, (size_t)graph->value_count, sizeof *seen, &seen));
    DEFT_TRY(deft_arena_array(arena, (size_t)graph->node_count, sizeof(deft_tensor *), &w->tensors));
    for (int i = 0; i < graph->node_count; i++) {
        int id = deft_node_weight(graph, &graph->nodes[i]);
        if (id == DEFT_NO_VALUE || seen[id]) continue;
        seen[id] = true;
        deft_value *value = &graph->values[id];
        if (value->desc.dtype != DEFT_F32)
            return deft_fail(graph->ctx, DEFT_UNSUPPORTED, "weight '%.64s' is of type %s; only f32 can be pruned",
                             value->name, deft_dtype_name(value->desc.dtype));
        w->tensors[w->count++] = &value->desc;
        w->total += deft_tensor_count(&value->desc);
    }
    return DEFT_OK;
}

/* bins[upper half of the key]++ for every weight. */
static void count_upper(const weights *w, int64_t *bins) {
    memset(bins, 0, BINS * sizeof *bins);
    for (int t = 0; t < w->count; t++) {
        const float *values = w->tensors[t]->data;
        int64_t count = deft_tensor_count(w->tensors[t]);
        for (int64_t i = 0; i < count; i++)
            bins[magnitude_key(values[i]) >> HALF_BITS]++;
    }
}

/* bins[lower half of the key]++ for every weight of this upper half. */
static void count_lower(const weights *w, uint32_t upper, int64_t *bins) {
    memset(bins, 0, BINS * sizeof *bins);
    for (int t = 0; t < w->count; t++) {
        const float *values = w->tensors[t]->data;
        int64_t count = deft_tensor_count(w->tensors[t]);
        for (int64_t i = 0; i < count; i++) {
            uint32_t key = magnitude_key(values[i]);
            if (key >> HALF_BITS == upper) bins[key & (BINS - 1)]++;
        }
    }
}

/* The bin that holds the element numbered *rank in ascending order; *rank becomes its number within the bin. */
static uint32_t find_bin(const int64_t *bins, int64_t *rank) {
    uint32_t bin = 0;
    for (; *rank >= bins[bin]; bin++)
        *rank -= bins[bin];
    return bin;
}

/* Zeroes every weight below the key, and of those at it the first `ties`. */
static void zero_smallest(const weights *w, uint32_t key, int64_t ties) {
    for (int t = 0; t < w->count; t++) {
        float *values = w->tensors[t]->data;
        int64_t count = deft_tensor_count(w->tensors[t]);
        for (int64_t i = 0; i < count; i++) {
            uint32_t own = magnitude_key(values[i]);
            if (own < key || (own == key && ties-- > 0)) values[i] = 0;
        }
    }
}

deft_status deft_prune_magnitude(deft_context *ctx, deft_graph *graph, double zeros) {
    if (!(zeros >= 0 && zeros <= 1)) return deft_fail(ctx, DEFT_INVALID, "a share of %g zeros: expected 0 to 1", zeros);
    deft_arena arena;
    deft_arena_init(&arena, ctx);
    weights w = {0};
    int64_t *bins;
    deft_status status;
    DEFT_TRY_OR_FAIL(find_weights(graph, &arena, &w));
    DEFT_TRY_OR_FAIL(deft_arena_array(&arena, BINS, sizeof *bins, &bins));
    int64_t wanted = llround(zeros * (double)w.total);
    if (wanted > 0) {
        int64_t rank = wanted - 1; /* of the largest weight that goes */
        count_upper(&w, bins);
        uint32_t upper = find_bin(bins, &rank);
        count_lower(&w, upper, bins);
        uint32_t lower = find_bin(bins, &rank);
        zero_smallest(&w, upper << HALF_BITS | lower, rank + 1);
    }
fail:
    deft_arena_done(&arena);
    return status;
}
