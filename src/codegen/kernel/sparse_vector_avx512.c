#include "codegen/kernel/sparse_vector.h"

#include <immintrin.h>

enum { LANES = 16, SUMS = 4 };

/* Of the two, max and min return the second where one is NaN. */
static inline __m512 clamp(__m512 sum, deft_activation activation) {
    sum = _mm512_max_ps(_mm512_set1_ps(activation.low), sum);
    return _mm512_min_ps(_mm512_set1_ps(activation.high), sum);
}

/* ---- slices -------------------------------------------------------------------------------------------------- */

typedef __m512 floats;
typedef __m512i positions;

static inline positions no_positions(void) {
    return _mm512_setzero_si512();
}

static inline positions add_distances(positions before, const void *from) {
    return _mm512_add_epi32(before, _mm512_cvtepu8_epi32(_mm_loadu_si128(from)));
}

static inline positions load_columns_2(const void *from) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(from));
}

static inline positions load_columns_4(const void *from) {
    return _mm512_loadu_si512(from);
}

static inline floats load_upper_halves(const void *from) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(from)), 16));
}

static inline floats load(const float *from) {
    return _mm512_loadu_ps(from);
}

static inline void store(float *to, floats v) {
    _mm512_storeu_ps(to, v);
}

static inline floats zero(void) {
    return _mm512_setzero_ps();
}

static inline floats add(floats a, floats b) {
    return _mm512_add_ps(a, b);
}

static inline floats multiply_add(floats a, floats b, floats sum) {
    return _mm512_fmadd_ps(a, b, sum);
}

static inline floats gather(const float *x, positions columns) {
    return _mm512_i32gather_ps(columns, x, 4);
}

/* 0 beyond the first so many lanes. */
static inline floats gather_first(const float *x, positions columns, int lanes) {
    return _mm512_mask_i32gather_ps(_mm512_setzero_ps(), (__mmask16)((1u << lanes) - 1), columns, x, 4);
}

static inline void fetch_ahead(const void *from) {
    _mm_prefetch(from, _MM_HINT_T0);
}

#define RUN_SLICES deft_sell_run_avx512
#include "codegen/kernel/sparse_vector_body.h"

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
