#include "codegen/kernel/sparse_vector.h"

#include <immintrin.h>

enum { LANES = 16, SUMS = 4 };
/* Bytes that are fetched ahead: the processor's own prefetching stops at the end of each page, and gathers keep it from
 * looking far enough. Matrices in memory are read a third faster, those in caches no slower. */
enum { VALUES_AHEAD = 2048, INDICES_AHEAD = 512 };

/* Of the two, max and min return the second where one is NaN. */
static inline __m512 clamp(__m512 sum, deft_activation activation) {
    sum = _mm512_max_ps(_mm512_set1_ps(activation.low), sum);
    return _mm512_min_ps(_mm512_set1_ps(activation.high), sum);
}

/* ---- slices -------------------------------------------------------------------------------------------------- */

/* Where a slice is read. */
typedef struct cursor {
    const unsigned char *index;
    const float *value;
    const uint16_t *short_value;
    __m512i columns;
} cursor;

/* The columns and weights of the next step; inlined with constants. */
static inline __attribute__((always_inline)) __m512 next_step(cursor *c, int index_bytes, bool is_short) {
    if (index_bytes == 1)
        c->columns = _mm512_add_epi32(c->columns,
                                      _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)c->index)));
    else if (index_bytes == 2)
        c->columns = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)c->index));
    else
        c->columns = _mm512_loadu_si512(c->index);
    c->index += LANES * index_bytes;
    _mm_prefetch((const char *)c->index + INDICES_AHEAD, _MM_HINT_T0);
    if (is_short) {
        __m256i halves = _mm256_loadu_si256((const __m256i *)(const void *)c->short_value);
        c->short_value += LANES;
        _mm_prefetch((const char *)c->short_value + VALUES_AHEAD / 2, _MM_HINT_T0);
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
    }
    c->value += LANES;
    _mm_prefetch((const char *)c->value + VALUES_AHEAD, _MM_HINT_T0);
    return _mm512_loadu_ps(c->value - LANES);
}

static inline __attribute__((always_inline)) __m512 sum_slice(const deft_sell *sell, const deft_sell_slice *s,
                                                              const float *x, __m512 bias, int index_bytes,
                                                              bool is_short) {
    cursor c = {.index = sell->indices + s->index_at, .columns = _mm512_setzero_si512()};
    if (is_short)
        c.short_value = sell->short_values + s->step * LANES;
    else
        c.value = sell->values + s->step * LANES;
    __m512 even = bias, odd = _mm512_setzero_ps();
    int64_t step = 0;
    for (; step + 2 <= s->full; step += 2) {
        __m512 a = next_step(&c, index_bytes, is_short);
        even = _mm512_fmadd_ps(a, _mm512_i32gather_ps(c.columns, x, 4), even);
        __m512 b = next_step(&c, index_bytes, is_short);
        odd = _mm512_fmadd_ps(b, _mm512_i32gather_ps(c.columns, x, 4), odd);
    }
    for (; step < s->last; step++) {
        int rows = step < s->full ? LANES : sell->active[s->partial + step - s->full];
        __mmask16 mask = (__mmask16)((1u << rows) - 1);
        __m512 a = next_step(&c, index_bytes, is_short);
        __m512 gathered = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), mask, c.columns, x, 4);
        even = _mm512_fmadd_ps(a, gathered, even);
    }
    return _mm512_add_ps(even, odd);
}

static inline __m512 sum_any_slice(const deft_sell *sell, const deft_sell_slice *s, const float *x, __m512 bias) {
    bool is_short = sell->short_values != NULL;
    switch (s->index_bytes) {
    case 1:
        return is_short ? sum_slice(sell, s, x, bias, 1, true) : sum_slice(sell, s, x, bias, 1, false);
    case 2:
        return is_short ? sum_slice(sell, s, x, bias, 2, true) : sum_slice(sell, s, x, bias, 2, false);
    default:
        return is_short ? sum_slice(sell, s, x, bias, 4, true) : sum_slice(sell, s, x, bias, 4, false);
    }
}

void deft_sell_run_avx512(const deft_vector *vector, int64_t begin, int64_t end, const float *x, float *y) {
    const deft_sell *sell = vector->sell;
    for (int64_t slice = begin; slice < end; slice++) {
        float values[LANES];
        __m512 sum = sum_any_slice(sell, &sell->slices[slice], x, _mm512_loadu_ps(sell->bias + slice * LANES));
        _mm512_storeu_ps(values, clamp(sum, vector->activation));
        const int32_t *rows = sell->rows + slice * LANES;
        for (int lane = 0; lane < LANES && rows[lane] >= 0; lane++)
            y[rows[lane]] = values[lane];
    }
}

/* ---- bitmaps ------------------------------------------------------------------------------------------------- */

/* 16 positions: their weights brought to their places, the rest left out, whatever x holds there. Only the last word
 * may reach beyond x. */
static inline __m512 add_positions(__m512 sum, __mmask16 mask, const float **values, const float *x, bool last) {
    __m512 weights = _mm512_maskz_expand_ps(mask, _mm512_loadu_ps(*values));
    *values += __builtin_popcount(mask);
    return _mm512_mask3_fmadd_ps(weights, last ? _mm512_maskz_loadu_ps(mask, x) : _mm512_loadu_ps(x), sum, mask);
}

static inline __attribute__((always_inline)) void add_word(__m512 sums[SUMS], uint64_t bits, const float **values,
                                                           const float *x, bool last) {
#pragma GCC unroll 4
    for (int i = 0; i < SUMS; i++)
        sums[i] = add_positions(sums[i], (__mmask16)(bits >> i * LANES), values, x + i * LANES, last);
}

void deft_bitmap_run_avx512(const deft_vector *vector, int64_t begin, int64_t end, const float *x, float *y) {
    const deft_bitmap *bitmap = vector->bitmap;
    for (int64_t row = begin; row < end; row++) {
        const float *values = bitmap->values + bitmap->begin[row], *at = x;
        const uint64_t *bits = bitmap->bits + row * bitmap->words, *last = bits + bitmap->words - 1;
        __m512 sums[SUMS] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
        for (; bits < last; bits++, at += DEFT_BITMAP_BITS)
            add_word(sums, *bits, &values, at, false);
        add_word(sums, *last, &values, at, true);
        __m512 sum = _mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3]));
        sum = clamp(_mm512_set1_ps(_mm512_reduce_add_ps(sum) + bitmap->bias[row]), vector->activation);
        y[row] = _mm512_cvtss_f32(sum);
    }
}
