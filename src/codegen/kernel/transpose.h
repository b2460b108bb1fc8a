/* Transposition, which is what turns rows into panels and back. */
#ifndef DEFT_CODEGEN_KERNEL_TRANSPOSE_H
#define DEFT_CODEGEN_KERNEL_TRANSPOSE_H

#include <deft/deft.h>

/* to[j * to_stride + i] = from[i * from_stride + j] for i in [0, rows), j in [0, columns); 0 for i in [rows, filled),
 * where rows <= filled. */
void deft_transpose(deft_isa isa, const float *from, int64_t from_stride, int64_t rows, int64_t columns, float *to,
                    int64_t to_stride, int64_t filled);

/* Rows cut into panels: to[u * to_unit + 16 i + lane] = from[i * from_stride + 16 u + lane] for i in [0, rows), u in
 * [0, units). */
void deft_cut_panels(deft_isa isa, const float *from, int64_t from_stride, int64_t rows, int64_t units, float *to,
                     int64_t to_unit);
void deft_cut_panels_avx512(const float *from, int64_t from_stride, int64_t rows, int64_t units, float *to,
                            int64_t to_unit);
void deft_cut_panels_avx2(const float *from, int64_t from_stride, int64_t rows, int64_t units, float *to,
                          int64_t to_unit);

/* The same as deft_transpose for filled and columns up to 16 and 8; only full rows and columns are fast. */
void deft_transpose_tile_avx512(const float *from, int64_t from_stride, int64_t rows, int64_t columns, float *to,
                                int64_t to_stride, int64_t filled);
void deft_transpose_tile_avx2(const float *from, int64_t from_stride, int64_t rows, int64_t columns, float *to,
                              int64_t to_stride, int64_t filled);

#endif
