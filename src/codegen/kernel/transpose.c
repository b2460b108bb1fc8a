#include "codegen/kernel/transpose.h"

#include <string.h>

enum { LARGEST_TILE = 16 };

typedef void (*tile_fn)(const float *from, int64_t from_stride, float *to, int64_t to_stride);

static void transpose_tile_c(const float *from, int64_t from_stride, float *to, int64_t to_stride) {
    for (int64_t j = 0; j < 8; j++)
        for (int64_t i = 0; i < 8; i++)
            to[j * to_stride + i] = from[i * from_stride + j];
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* A tile at an edge goes through full ones on the stack. */
static void transpose_edge(tile_fn tile, int64_t size, const float *from, int64_t from_stride, int64_t rows,
                           int64_t columns, float *to, int64_t to_stride, int64_t filled) {
    float in[LARGEST_TILE * LARGEST_TILE] = {0}, out[LARGEST_TILE * LARGEST_TILE];
    for (int64_t i = 0; i < rows; i++)
        memcpy(in + i * size, from + i * from_stride, (size_t)columns * sizeof(float));
    tile(in, size, out, size);
    for (int64_t j = 0; j < columns; j++)
        memcpy(to + j * to_stride, out + j * size, (size_t)filled * sizeof(float));
}

void deft_transpose(deft_isa isa, const float *from, int64_t from_stride, int64_t rows, int64_t columns, float *to,
                    int64_t to_stride, int64_t filled) {
    int64_t size = isa == DEFT_ISA_AVX512 ? 16 : 8;
    tile_fn tile = isa == DEFT_ISA_AVX512 ? deft_transpose_tile_avx512
                   : isa == DEFT_ISA_AVX2 ? deft_transpose_tile_avx2
                                          : transpose_tile_c;
    for (int64_t i = 0; i < filled; i += size)
        for (int64_t j = 0; j < columns; j += size) {
            int64_t tile_columns = least(size, columns - j), tile_filled = least(size, filled - i);
            int64_t tile_rows = i < rows ? least(size, rows - i) : 0;
            const float *source = tile_rows ? from + i * from_stride + j : from;
            float *target = to + j * to_stride + i;
            if (tile_rows == size && tile_columns == size)
                tile(source, from_stride, target, to_stride);
            else
                transpose_edge(tile, size, source, from_stride, tile_rows, tile_columns, target, to_stride,
                               tile_filled);
        }
}
