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

typedef __m256 floats;
typedef __m256i positions;

static inline positions no_positions(void) {
    return _mm256_setzero_si256();
}

static inline positions add_distances(positions before, const void *from) {
    return _mm256_add_epi32(before, _mm256_cvtepu8_epi32(_mm_loadl_epi64(from)));
}

static inline positions load_columns_2(const void *from) {
    return _mm256_cvtepu16_epi32(_mm_loadu_si128(from));
}

static inline positions load_columns_4(const void *from) {
    return _mm256_loadu_si256(from);
}

static inline floats load_upper_halves(const void *from) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(from)), 16));
}

static inline floats load(const float *from) {
    return _mm256_loadu_ps(from);
}

static inline void store(float *to, floats v) {
    _mm256_storeu_ps(to, v);
}

static inline floats zero(void) {
    return _mm256_setzero_ps();
}

static inline floats add(floats a, floats b) {
    return _mm256_add_ps(a, b);
}

static inline floats multiply_add(floats a, floats b, floats sum) {
    return _mm256_fmadd_ps(a, b, sum);
}

static inline floats gather(const float *x, positions columns) {
    return _mm256_i32gather_ps(x, columns, 4);
}

/* 0 beyond the first so many lanes. */
static inline floats gather_first(const float *x, positions columns, int lanes) {
    return _mm256_mask_i32gather_ps(_mm256_setzero_ps(), x, columns, mask_of(lanes), 4);
}

static inline void fetch_ahead(const void *from) {
    _mm_prefetch(from, _MM_HINT_T0);
}

#define RUN_SLICES deft_sell_run_avx2
#include "codegen/kernel/sparse_vector_body.h"
