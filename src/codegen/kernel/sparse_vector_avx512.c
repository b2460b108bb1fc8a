#include "codegen/kernel/sparse_vector.h"

#include <immintrin.h>

enum { LANES = 16 };

static inline __m512i load_columns(const deft_sell *sell, int64_t at) {
    if (!sell->short_columns) return _mm512_loadu_si512(sell->columns + at);
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(sell->short_columns + at)));
}

static inline void store_rows(const deft_sell *sell, int64_t slice, __m512 sum, float *y) {
    float values[LANES];
    /* of the two, max and min return the second where one is NaN */
    sum = _mm512_max_ps(_mm512_set1_ps(sell->activation.low), sum);
    _mm512_storeu_ps(values, _mm512_min_ps(_mm512_set1_ps(sell->activation.high), sum));
    const int32_t *rows = sell->rows + slice * LANES;
    for (int lane = 0; lane < LANES && rows[lane] >= 0; lane++)
        y[rows[lane]] = values[lane];
}

/* One slice times `count` columns of x, a constant. */
static inline void run_slice(const deft_sell *sell, int64_t slice, const float *x, float *y, int count) {
    const deft_sell_slice *s = &sell->slices[slice];
    __m512 even[DEFT_SELL_COLUMNS], odd[DEFT_SELL_COLUMNS];
    for (int c = 0; c < count; c++) {
        even[c] = _mm512_loadu_ps(sell->bias + slice * LANES);
        odd[c] = _mm512_setzero_ps();
    }
    int64_t at = s->step * LANES, step = 0;
    for (; step + 2 <= s->full; step += 2, at += 2 * LANES) {
        __m512i i = load_columns(sell, at), j = load_columns(sell, at + LANES);
        __m512 a = _mm512_loadu_ps(sell->values + at), b = _mm512_loadu_ps(sell->values + at + LANES);
        for (int c = 0; c < count; c++) {
            even[c] = _mm512_fmadd_ps(a, _mm512_i32gather_ps(i, x + c * sell->k, 4), even[c]);
            odd[c] = _mm512_fmadd_ps(b, _mm512_i32gather_ps(j, x + c * sell->k, 4), odd[c]);
        }
    }
    for (; step < s->last; step++, at += LANES) {
        int rows = step < s->full ? LANES : sell->active[s->partial + step - s->full];
        __mmask16 mask = (__mmask16)((1u << rows) - 1);
        __m512i i = load_columns(sell, at);
        __m512 a = _mm512_loadu_ps(sell->values + at);
        for (int c = 0; c < count; c++) {
            __m512 gathered = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), mask, i, x + c * sell->k, 4);
            even[c] = _mm512_fmadd_ps(a, gathered, even[c]);
        }
    }
    for (int c = 0; c < count; c++)
        store_rows(sell, slice, _mm512_add_ps(even[c], odd[c]), y + c * sell->m);
}

void deft_sell_run_avx512(const deft_sell *sell, int64_t begin, int64_t end, const float *x, float *y) {
    for (int64_t slice = begin; slice < end; slice++) {
        int64_t c = 0;
        for (; c + DEFT_SELL_COLUMNS <= sell->n; c += DEFT_SELL_COLUMNS)
            run_slice(sell, slice, x + c * sell->k, y + c * sell->m, DEFT_SELL_COLUMNS);
        for (; c < sell->n; c++)
            run_slice(sell, slice, x + c * sell->k, y + c * sell->m, 1);
    }
}
