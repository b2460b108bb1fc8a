/* The loop over a stream for rows of x that are COUNT vectors of type VECTOR: see sparse_stream_each.h. */

/* Comparisons with NaN are false: it stays. */
static inline void LANED(clamp)(VECTOR values[COUNT], deft_activation activation) {
    VECTOR low = activation.low - (VECTOR){0}, high = activation.high - (VECTOR){0};
#pragma GCC unroll 4
    for (int i = 0; i < COUNT; i++) {
        VECTOR v = values[i];
        MASK below = v < low;
        v = (VECTOR)((below & (MASK)low) | (~below & (MASK)v));
        MASK above = v > high;
        values[i] = (VECTOR)((above & (MASK)high) | (~above & (MASK)v));
    }
}

static inline VECTOR LANED(load)(const float *from, int v) {
    VECTOR vector;
    memcpy(&vector, (const char *)from + (size_t)v * sizeof vector, sizeof vector);
    return vector;
}

static inline void LANED(store)(float *to, const VECTOR *from) {
#pragma GCC unroll 4
    for (int v = 0; v < COUNT; v++)
        memcpy((char *)to + (size_t)v * sizeof *from, from + v, sizeof *from);
}

/* The address is computed once, where the compiler would have each multiply-add index: two operations instead of one
 * (a sixth of the time of four vectors). */
static inline void LANED(add)(VECTOR sums[COUNT], float weight, const float *x, uint64_t offset) {
    x += DEFT_STREAM_UNIT * offset;
    if (COUNT > 1) __asm__("" : "+r"(x));
#pragma GCC unroll 4
    for (int v = 0; v < COUNT; v++)
        sums[v] += weight * LANED(load)(x, v);
}

/* As many independent sums as latency asks for. */
enum { LANED(SUMS) = COUNT == 1 ? 4 : COUNT <= 4 ? 2 : 1, LANED(WIDTH) = sizeof(VECTOR) / sizeof(float) * COUNT };

/* The sums of the place `at` of a depth's order. */
static inline void LANED(sum)(const deft_stream *s, const int64_t *at, const float *x, VECTOR total[COUNT]) {
    VECTOR sums[LANED(SUMS)][COUNT] = {{{0}}};
    int64_t i = at[0], past = at[1];
    for (; i + STEP <= past; i += STEP) {
        offsets four = load_offsets(s->offsets + i);
#pragma GCC unroll 4
        for (int j = 0; j < STEP; j++)
            LANED(add)(sums[j % LANED(SUMS)], s->values[i + j], x, four.of[j]);
    }
    for (; i < past; i++)
        LANED(add)(sums[0], s->values[i], x, s->offsets[i]);
#pragma GCC unroll 4
    for (int v = 0; v < COUNT; v++) {
        total[v] = sums[0][v];
#pragma GCC unroll 4
        for (int j = 1; j < LANED(SUMS); j++)
            total[v] += sums[j][v];
    }
}

static void LANED(run)(const deft_stream *s, int64_t depth, int64_t begin, int64_t end, const float *x, float *sums,
                       float *y) {
    const int32_t *rows = s->rows + depth * s->m;
    const int64_t *starts = s->begin + depth * (s->m + 1);
    for (int64_t i = begin; i < end; i++) {
        VECTOR total[COUNT];
        float *kept = sums + rows[i] * s->lanes, *to = y + rows[i] * s->y_pitch;
        LANED(sum)(s, starts + i, x, total);
        if (depth > 0) {
#pragma GCC unroll 4
            for (int v = 0; v < COUNT; v++)
                total[v] += LANED(load)(kept, v);
        }
        if (depth < s->depths - 1) {
            LANED(store)(kept, total);
            continue;
        }
#pragma GCC unroll 4
        for (int v = 0; v < COUNT; v++)
            total[v] += s->bias[i];
        if (s->bounded) LANED(clamp)(total, s->activation);
        if (s->stored >= LANED(WIDTH)) {
            LANED(store)(to, total);
            continue;
        }
        float lanes[LANED(WIDTH)];
        LANED(store)(lanes, total);
        store_lanes(to, lanes, s->stored);
    }
}
