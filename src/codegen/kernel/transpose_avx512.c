#include "codegen/kernel/transpose.h"

#include <immintrin.h>

/* Rows i, i + 4, i + 8 and i + 12, four elements of each. Inserts from memory leave the shuffle port free. */
static inline __m512 load_quarters(const float *from, int64_t stride) {
    __m512 v = _mm512_castps128_ps512(_mm_loadu_ps(from));
    v = _mm512_insertf32x4(v, _mm_loadu_ps(from + 4 * stride), 1);
    v = _mm512_insertf32x4(v, _mm_loadu_ps(from + 8 * stride), 2);
    return _mm512_insertf32x4(v, _mm_loadu_ps(from + 12 * stride), 3);
}

void deft_transpose_tile_avx512(const float *from, int64_t from_stride, float *to, int64_t to_stride) {
    for (int j = 0; j < 16; j += 4, from += 4, to += 4 * to_stride) {
        __m512 a = load_quarters(from, from_stride), b = load_quarters(from + from_stride, from_stride);
        __m512 c = load_quarters(from + 2 * from_stride, from_stride);
        __m512 d = load_quarters(from + 3 * from_stride, from_stride);
        __m512d ab_low = _mm512_castps_pd(_mm512_unpacklo_ps(a, b)),
                ab_high = _mm512_castps_pd(_mm512_unpackhi_ps(a, b));
        __m512d cd_low = _mm512_castps_pd(_mm512_unpacklo_ps(c, d)),
                cd_high = _mm512_castps_pd(_mm512_unpackhi_ps(c, d));
        _mm512_storeu_ps(to, _mm512_castpd_ps(_mm512_unpacklo_pd(ab_low, cd_low)));
        _mm512_storeu_ps(to + to_stride, _mm512_castpd_ps(_mm512_unpackhi_pd(ab_low, cd_low)));
        _mm512_storeu_ps(to + 2 * to_stride, _mm512_castpd_ps(_mm512_unpacklo_pd(ab_high, cd_high)));
        _mm512_storeu_ps(to + 3 * to_stride, _mm512_castpd_ps(_mm512_unpackhi_pd(ab_high, cd_high)));
    }
}
