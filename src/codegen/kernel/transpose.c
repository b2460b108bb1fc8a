#include "codegen/kernel/transpose.h"

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
