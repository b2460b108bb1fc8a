#include "codegen/kernel/transpose.h"

#include <immintrin.h>

/* In each 128-bit lane, the transposed four rows of it. */
static inline void transpose_lanes(__m512 v[4]) {
    __m512d ab_low = _mm512_castps_pd(_mm512_unpacklo_ps(v[0], v[1]));
    __m512d ab_high = _mm512_castps_pd(_mm512_unpackhi_ps(v[0], v[1]));
    __m512d cd_low = _mm512_castps_pd(_mm512_unpacklo_ps(v[2], v[3]));
    __m512d cd_high = _mm512_castps_pd(_mm512_unpackhi_ps(v[2], v[3]));
    v[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab_low, cd_low));
    v[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab_low, cd_low));
    v[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab_high, cd_high));
    v[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab_high, cd_high));
}

/* Four elements of rows 0, 4, 8 and 12. Inserts from memory leave the shuffle port free. */
static inline __m512 load_quarters(const float *from, int64_t stride) {
    __m512 v = _mm512_castps128_ps512(_mm_loadu_ps(from));
    v = _mm512_insertf32x4(v, _mm_loadu_ps(from + 4 * stride), 1);
    v = _mm512_insertf32x4(v, _mm_loadu_ps(from + 8 * stride), 2);
    return _mm512_insertf32x4(v, _mm_loadu_ps(from + 12 * stride), 3);
}

static void transpose_full(const float *from, int64_t from_stride, float *to, int64_t to_stride) {
    for (int j = 0; j < 16; j += 4, from += 4, to += 4 * to_stride) {
        __m512 v[4];
        for (int i = 0; i < 4; i++)
            v[i] = load_quarters(from + i * from_stride, from_stride);
        transpose_lanes(v);
        for (int i = 0; i < 4; i++)
            _mm512_storeu_ps(to + i * to_stride, v[i]);
    }
}

/* Loads and stores of nothing may point anywhere: masked lanes do not fault. */
static void transpose_edge(const float *from, int64_t from_stride, int64_t rows, int64_t columns, float *to,
                           int64_t to_stride, int64_t filled) {
    const __mmask16 kept = (__mmask16)((1u << filled) - 1);
    for (int64_t j = 0; j < columns; j += 4) {
        unsigned present = columns - j < 4 ? (1u << (columns - j)) - 1 : 15u;
        __m512 v[4];
        for (int i = 0; i < 4; i++) {
            v[i] = _mm512_setzero_ps();
            for (int lane = 0; lane < 4 && i + 4 * lane < rows; lane++) {
                /* the four elements in each lane, of which the mask takes this one's */
                const float *row = from + (i + 4 * lane) * from_stride + j;
                __m128 four = _mm_maskz_loadu_ps((__mmask8)present, row);
                v[i] = _mm512_mask_broadcast_f32x4(v[i], (__mmask16)(0xFu << 4 * lane), four);
            }
        }
        transpose_lanes(v);
        for (int i = 0; i < 4 && j + i < columns; i++)
            _mm512_mask_storeu_ps(to + (j + i) * to_stride, kept, v[i]);
    }
}

void deft_transpose_tile_avx512(const float *from, int64_t from_stride, int64_t rows, int64_t columns, float *to,
                                int64_t to_stride, int64_t filled) {
    if (rows == 16 && columns == 16)
        transpose_full(from, from_stride, to, to_stride);
    else
        transpose_edge(from, from_stride, rows, columns, to, to_stride, filled);
}

void deft_cut_panels_avx512(const float *from, int64_t from_stride, int64_t rows, int64_t units, float *to,
                            int64_t to_unit) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t u = 0; u < units; u++)
            _mm512_storeu_ps(to + u * to_unit + i * 16, _mm512_loadu_ps(from + i * from_stride + u * 16));
}
