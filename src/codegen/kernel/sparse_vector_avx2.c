#include "codegen/kernel/sparse_vector.h"

#include <immintrin.h>

enum { LANES = 8 };

static inline __m256i load_columns(const deft_sell *sell, int64_t at) {
    if (!sell->short_columns) return _mm256_loadu_si256((const __m256i *)(sell->columns + at));
    return _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(sell->short_columns + at)));
}

static inline void store_rows(const deft_sell *sell, int64_t slice, __m256 sum, float *y) {
    float values[LANES];
    /* of the two, max and min return the second where one is NaN */
    sum = _mm256_max_ps(_mm256_set1_ps(sell->activation.low), sum);
    _mm256_storeu_ps(values, _mm256_min_ps(_mm256_set1_ps(sell->activation.high), sum));
    const int32_t *rows = sell->rows + slice * LANES;
    for (int lane = 0; lane < LANES && rows[lane] >= 0; lane++)
        y[rows[lane]] = values[lane];
}

static inline __m256 mask_of(int rows) {
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(_mm256_set1_epi32(rows), lanes));
}

/* One slice times `count` columns of x, a constant. */
static inline void run_slice(const deft_sell *sell, int64_t slice, const float *x, float *y, int count) {
    const deft_sell_slice *s = &sell->slices[slice];
    __m256 even[DEFT_SELL_COLUMNS], odd[DEFT_SELL_COLUMNS];
    for (int c = 0; c < count; c++) {
        even[c] = _mm256_loadu_ps(sell->bias + slice * LANES);
        odd[c] = _mm256_setzero_ps();
    }
    int64_t at = s->step * LANES, step = 0;
    for (; step + 2 <= s->full; step += 2, at += 2 * LANES) {
        __m256i i = load_columns(sell, at), j = load_columns(sell, at + LANES);
        __m256 a = _mm256_loadu_ps(sell->values + at), b = _mm256_loadu_ps(sell->values + at + LANES);
        for (int c = 0; c < count; c++) {
            even[c] = _mm256_fmadd_ps(a, _mm256_i32gather_ps(x + c * sell->k, i, 4), even[c]);
            odd[c] = _mm256_fmadd_ps(b, _mm256_i32gather_ps(x + c * sell->k, j, 4), odd[c]);
        }
    }
    for (; step < s->last; step++, at += LANES) {
        __m256 mask = mask_of(step < s->full ? LANES : sell->active[s->partial + step - s->full]);
        __m256i i = load_columns(sell, at);
        __m256 a = _mm256_loadu_ps(sell->values + at);
        for (int c = 0; c < count; c++) {
            __m256 gathered = _mm256_mask_i32gather_ps(_mm256_setzero_ps(), x + c * sell->k, i, mask, 4);
            even[c] = _mm256_fmadd_ps(a, gathered, even[c]);
        }
    }
    for (int c = 0; c < count; c++)
        store_rows(sell, slice, _mm256_add_ps(even[c], odd[c]), y + c * sell->m);
}

void deft_sell_run_avx2(const deft_sell *sell, int64_t begin, int64_t end, const float *x, float *y) {
    for (int64_t slice = begin; slice < end; slice++) {
        int64_t c = 0;
        for (; c + DEFT_SELL_COLUMNS <= sell->n; c += DEFT_SELL_COLUMNS)
            run_slice(sell, slice, x + c * sell->k, y + c * sell->m, DEFT_SELL_COLUMNS);
        for (; c < sell->n; c++)
            run_slice(sell, slice, x + c * sell->k, y + c * sell->m, 1);
    }
}
