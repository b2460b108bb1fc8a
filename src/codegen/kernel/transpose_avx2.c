#include "codegen/kernel/transpose.h"

#include <immintrin.h>

/* In each 128-bit lane, the transposed four rows of it. */
static inline void transpose_lanes(__m256 v[4]) {
    __m256d ab_low = _mm256_castps_pd(_mm256_unpacklo_ps(v[0], v[1]));
    __m256d ab_high = _mm256_castps_pd(_mm256_unpackhi_ps(v[0], v[1]));
    __m256d cd_low = _mm256_castps_pd(_mm256_unpacklo_ps(v[2], v[3]));
    __m256d cd_high = _mm256_castps_pd(_mm256_unpackhi_ps(v[2], v[3]));
    v[0] = _mm256_castpd_ps(_mm256_unpacklo_pd(ab_low, cd_low));
    v[1] = _mm256_castpd_ps(_mm256_unpackhi_pd(ab_low, cd_low));
    v[2] = _mm256_castpd_ps(_mm256_unpacklo_pd(ab_high, cd_high));
    v[3] = _mm256_castpd_ps(_mm256_unpackhi_pd(ab_high, cd_high));
}

/* Four elements of rows 0 and 4. Inserts from memory leave the shuffle port free. */
static inline __m256 load_halves(const float *from, int64_t stride) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(from)), _mm_loadu_ps(from + 4 * stride), 1);
}

static void transpose_full(const float *from, int64_t from_stride, float *to, int64_t to_stride) {
    for (int j = 0; j < 8; j += 4, from += 4, to += 4 * to_stride) {
        __m256 v[4];
        for (int i = 0; i < 4; i++)
            v[i] = load_halves(from + i * from_stride, from_stride);
        transpose_lanes(v);
        for (int i = 0; i < 4; i++)
            _mm256_storeu_ps(to + i * to_stride, v[i]);
    }
}

/* The first `count` lanes of eight. */
static inline __m256i mask_of(int64_t count) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

/* Four elements of a row, or zeros. Masked lanes do not fault. */
static inline __m128 load_four(const float *from, bool there, __m256i present) {
    return there ? _mm_maskload_ps(from, _mm256_castsi256_si128(present)) : _mm_setzero_ps();
}

static void transpose_edge(const float *from, int64_t from_stride, int64_t rows, int64_t columns, float *to,
                           int64_t to_stride, int64_t filled) {
    const __m256i kept = mask_of(filled);
    for (int64_t j = 0; j < columns; j += 4) {
        __m256i present = mask_of(columns - j);
        __m256 v[4];
        for (int i = 0; i < 4; i++)
            v[i] = _mm256_set_m128(load_four(from + (i + 4) * from_stride + j, i + 4 < rows, present),
                                   load_four(from + i * from_stride + j, i < rows, present));
        transpose_lanes(v);
        for (int i = 0; i < 4 && j + i < columns; i++)
            _mm256_maskstore_ps(to + (j + i) * to_stride, kept, v[i]);
    }
}

void deft_transpose_tile_avx2(const float *from, int64_t from_stride, int64_t rows, int64_t columns, float *to,
                              int64_t to_stride, int64_t filled) {
    if (rows == 8 && columns == 8)
        transpose_full(from, from_stride, to, to_stride);
    else
        transpose_edge(from, from_stride, rows, columns, to, to_stride, filled);
}

void deft_cut_panels_avx2(const float *from, int64_t from_stride, int64_t rows, int64_t units, float *to,
                          int64_t to_unit) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t u = 0; u < units; u++)
            for (int half = 0; half < 16; half += 8)
                _mm256_storeu_ps(to + u * to_unit + i * 16 + half,
                                 _mm256_loadu_ps(from + i * from_stride + u * 16 + half));
}
