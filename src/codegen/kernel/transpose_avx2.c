#include "codegen/kernel/transpose.h"

#include <immintrin.h>

/* Rows i and i + 4, four elements of each. Inserts from memory leave the shuffle port free. */
static inline __m256 load_halves(const float *from, int64_t stride) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(from)), _mm_loadu_ps(from + 4 * stride), 1);
}

void deft_transpose_tile_avx2(const float *from, int64_t from_stride, float *to, int64_t to_stride) {
    for (int j = 0; j < 8; j += 4, from += 4, to += 4 * to_stride) {
        __m256 a = load_halves(from, from_stride), b = load_halves(from + from_stride, from_stride);
        __m256 c = load_halves(from + 2 * from_stride, from_stride);
        __m256 d = load_halves(from + 3 * from_stride, from_stride);
        __m256d ab_low = _mm256_castps_pd(_mm256_unpacklo_ps(a, b)),
                ab_high = _mm256_castps_pd(_mm256_unpackhi_ps(a, b));
        __m256d cd_low = _mm256_castps_pd(_mm256_unpacklo_ps(c, d)),
                cd_high = _mm256_castps_pd(_mm256_unpackhi_ps(c, d));
        _mm256_storeu_ps(to, _mm256_castpd_ps(_mm256_unpacklo_pd(ab_low, cd_low)));
        _mm256_storeu_ps(to + to_stride, _mm256_castpd_ps(_mm256_unpackhi_pd(ab_low, cd_low)));
        _mm256_storeu_ps(to + 2 * to_stride, _mm256_castpd_ps(_mm256_unpacklo_pd(ab_high, cd_high)));
        _mm256_storeu_ps(to + 3 * to_stride, _mm256_castpd_ps(_mm256_unpackhi_pd(ab_high, cd_high)));
    }
}
