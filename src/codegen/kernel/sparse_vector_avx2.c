#include "codegen/kernel/sparse_vector.h"

#include <immintrin.h>

enum { LANES = 8 };

/* Of the two, max and min return the second where one is NaN. */
static inline __m256 clamp(__m256 sum, deft_activation activation) {
    sum = _mm256_max_ps(_mm256_set1_ps(activation.low), sum);
    return _mm256_min_ps(_mm256_set1_ps(activation.high), sum);
}

static inline __m256 mask_of(int rows) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(rows), lanes));
}

/* Where a slice is read. */
typedef struct cursor {
    const unsigned char *index;
    const float *value;
    const uint16_t *short_value;
    __m256i columns;
} cursor;

/* The columns and weights of the next step; inlined with constants. */
static inline __attribute__((always_inline)) __m256 next_step(cursor *c, int index_bytes, bool is_short) {
    if (index_bytes == 1)
        c->columns = _mm256_add_epi32(c->columns,
                                      _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)c->index)));
    else if (index_bytes == 2)
        c->columns = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)c->index));
    else
        c->columns = _mm256_loadu_si256((const __m256i *)(const void *)c->index);
    c->index += LANES * index_bytes;
    if (is_short) {
        __m128i halves = _mm_loadu_si128((const __m128i *)(const void *)c->short_value);
        c->short_value += LANES;
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(halves), 16));
    }
    c->value += LANES;
    return _mm256_loadu_ps(c->value - LANES);
}

static inline __attribute__((always_inline)) __m256 sum_slice(const deft_sell *sell, const deft_sell_slice *s,
                                                              const float *x, __m256 bias, int index_bytes,
                                                              bool is_short) {
    cursor c = {.index = sell->indices + s->index_at, .columns = _mm256_setzero_si256()};
    if (is_short)
        c.short_value = sell->short_values + s->step * LANES;
    else
        c.value = sell->values + s->step * LANES;
    __m256 even = bias, odd = _mm256_setzero_ps();
    int64_t step = 0;
    for (; step + 2 <= s->full; step += 2) {
        __m256 a = next_step(&c, index_bytes, is_short);
        even = _mm256_fmadd_ps(a, _mm256_i32gather_ps(x, c.columns, 4), even);
        __m256 b = next_step(&c, index_bytes, is_short);
        odd = _mm256_fmadd_ps(b, _mm256_i32gather_ps(x, c.columns, 4), odd);
    }
    for (; step < s->last; step++) {
        __m256 mask = mask_of(step < s->full ? LANES : sell->active[s->partial + step - s->full]);
        __m256 a = next_step(&c, index_bytes, is_short);
        __m256 gathered = _mm256_mask_i32gather_ps(_mm256_setzero_ps(), x, c.columns, mask, 4);
        even = _mm256_fmadd_ps(a, gathered, even);
    }
    return _mm256_add_ps(even, odd);
}

static inline __m256 sum_any_slice(const deft_sell *sell, const deft_sell_slice *s, const float *x, __m256 bias) {
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

void deft_sell_run_avx2(const deft_vector *vector, int64_t begin, int64_t end, const float *x, float *y) {
    const deft_sell *sell = vector->sell;
    for (int64_t slice = begin; slice < end; slice++) {
        float values[LANES];
        __m256 sum = sum_any_slice(sell, &sell->slices[slice], x, _mm256_loadu_ps(sell->bias + slice * LANES));
        _mm256_storeu_ps(values, clamp(sum, vector->activation));
        const int32_t *rows = sell->rows + slice * LANES;
        for (int lane = 0; lane < LANES && rows[lane] >= 0; lane++)
            y[rows[lane]] = values[lane];
    }
}
