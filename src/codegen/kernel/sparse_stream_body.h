/* The loop over a stream for rows of x that are COUNT vectors of type VECTOR: see sparse_stream_each.h. */

/* Comparisons with NaN are false: it stays. */
static inline VECTOR LANED(clamp)(VECTOR v, deft_activation activation) {
    VECTOR low = activation.low - (VECTOR){0}, high = activation.high - (VECTOR){0};
    MASK below = v < low;
    v = (VECTOR)((below & (MASK)low) | (~below & (MASK)v));
    MASK above = v > high;
    return (VECTOR)((above & (MASK)high) | (~above & (MASK)v));
}

static inline void LANED(add)(VECTOR sums[COUNT], float weight, const float *x, uint64_t offset) {
    VECTOR row[COUNT];
    memcpy(row, x + DEFT_STREAM_UNIT * offset, sizeof row);
#pragma GCC unroll 4
    for (int v = 0; v < COUNT; v++)
        sums[v] += weight * row[v];
}

/* As many independent sums as latency asks for. */
enum { LANED(SUMS) = COUNT == 1 ? 4 : COUNT == 2 ? 2 : 1 };

/* Inlined with a constant is_short. */
static inline __attribute__((always_inline)) void LANED(run)(const deft_stream *s, int64_t begin, int64_t end,
                                                             const float *x, float *y, bool is_short) {
    for (int64_t i = begin; i < end; i++) {
        VECTOR sums[LANED(SUMS)][COUNT] = {{{0}}};
        int64_t at = s->begin[i], past = s->begin[i + 1];
        for (; at + STEP <= past; at += STEP) {
            offsets four = is_short ? load_short(s->short_offsets + at) : load_long(s->offsets + at);
#pragma GCC unroll 4
            for (int j = 0; j < STEP; j++)
                LANED(add)(sums[j % LANED(SUMS)], s->values[at + j], x, four.of[j]);
        }
        for (; at < past; at++)
            LANED(add)(sums[0], s->values[at], x, is_short ? s->short_offsets[at] : (uint64_t)s->offsets[at]);
#pragma GCC unroll 4
        for (int v = 0; v < COUNT; v++) {
#pragma GCC unroll 4
            for (int j = 1; j < LANED(SUMS); j++)
                sums[0][v] += sums[j][v];
            sums[0][v] = LANED(clamp)(sums[0][v] + s->bias[i], s->activation);
        }
        float lanes[MOST_LANES];
        memcpy(lanes, sums[0], sizeof sums[0]);
        store_lanes(y + s->rows[i] * s->y_pitch, lanes, s->stored);
    }
}

static void LANED(run_short)(const deft_stream *s, int64_t begin, int64_t end, const float *x, float *y) {
    LANED(run)(s, begin, end, x, y, true);
}

static void LANED(run_long)(const deft_stream *s, int64_t begin, int64_t end, const float *x, float *y) {
    LANED(run)(s, begin, end, x, y, false);
}
