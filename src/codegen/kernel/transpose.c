#include "codegen/kernel/transpose.h"

#include <string.h>

typedef void (*tile_fn)(const float *from, int64_t from_stride, int64_t rows, int64_t columns, float *to,
                        int64_t to_stride, int64_t filled);

static void transpose_tile_c(const float *from, int64_t from_stride, int64_t rows, int64_t columns, float *to,
                             int64_t to_stride, int64_t filled) {
    for (int64_t j = 0; j < columns; j++) {
        for (int64_t i = 0; i < rows; i++)
            to[j * to_stride + i] = from[i * from_stride + j];
        for (int64_t i = rows; i < filled; i++)
            to[j * to_stride + i] = 0;
    }
}

/* Some panels at a time: whole pages of a row would be better for reading, single panels for writing. */
enum { LANES = 16, SOME_PANELS = 8 };

static void cut_panels_c(const float *from, int64_t from_stride, int64_t rows, int64_t units, float *to,
                         int64_t to_unit) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t u = 0; u < units; u++)
            memcpy(to + u * to_unit + i * LANES, from + i * from_stride + u * LANES, LANES * sizeof(float));
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

void deft_transpose(deft_isa isa, const float *from, int64_t from_stride, int64_t rows, int64_t columns, float *to,
                    int64_t to_stride, int64_t filled) {
    int64_t size = isa == DEFT_ISA_AVX512 ? 16 : 8;
    tile_fn tile = isa == DEFT_ISA_AVX512 ? deft_transpose_tile_avx512
                   : isa == DEFT_ISA_AVX2 ? deft_transpose_tile_avx2
                                          : transpose_tile_c;
    for (int64_t i = 0; i < filled; i += size) {
        int64_t tile_rows = i < rows ? least(size, rows - i) : 0;
        const float *source = tile_rows ? from + i * from_stride : from;
        for (int64_t j = 0; j < columns; j += size)
            tile(source + j, from_stride, tile_rows, least(size, columns - j), to + j * to_stride + i, to_stride,
                 least(size, filled - i));
    }
}

void deft_cut_panels(deft_isa isa, const float *from, int64_t from_stride, int64_t rows, int64_t units, float *to,
                     int64_t to_unit) {
    for (int64_t u = 0; u < units; u += SOME_PANELS)
        (isa == DEFT_ISA_AVX512 ? deft_cut_panels_avx512
         : isa == DEFT_ISA_AVX2 ? deft_cut_panels_avx2
                                : cut_panels_c)(from + u * LANES, from_stride, rows, least(SOME_PANELS, units - u),
                                                to + u * to_unit, to_unit);
}
