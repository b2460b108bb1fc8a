/* A sparse matrix for products with few columns, which are bound by reading it: rows sorted by length and sliced, 8 or
 * 16 side by side (SELL-C-sigma), so that a step takes one nonzero of each row, its x gathered by index. source:
 * KREUTZER2014 */
#ifndef DEFT_CODEGEN_KERNEL_SPARSE_VECTOR_H
#define DEFT_CODEGEN_KERNEL_SPARSE_VECTOR_H

#include "codegen/kernel/linear.h"

enum { DEFT_SELL_COLUMNS = 4 }; /* of x that share one pass over the matrix */

/* Rows in descending order of length: those that are still there at a step are the first so many. */
typedef struct deft_sell_slice {
    int64_t step;       /* its first step, among those of all slices */
    int64_t partial;    /* its first step with fewer than all rows, among those of all slices */
    int64_t full, last; /* steps with all rows; all steps */
} deft_sell_slice;

typedef struct deft_sell {
    deft_isa isa;
    int threads;
    deft_activation activation;
    int input; /* of the node: x */
    int64_t n, m, k;
    int lanes; /* rows of a slice */
    int64_t slice_count, step_count;
    deft_sell_slice *slices;
    int32_t *rows;           /* [slice_count * lanes] of the output; -1 beyond the last */
    float *bias;             /* [slice_count * lanes] */
    float *values;           /* [step_count * lanes] */
    uint16_t *short_columns; /* [step_count * lanes]; NULL where k > 65536 */
    int32_t *columns;        /* the same, otherwise */
    uint8_t *active;         /* rows that are there, of each partial step */
} deft_sell;

/* y[n][m] for the rows of slices [begin, end). */
void deft_sell_run_avx512(const deft_sell *sell, int64_t begin, int64_t end, const float *x, float *y);
void deft_sell_run_avx2(const deft_sell *sell, int64_t begin, int64_t end, const float *x, float *y);

#endif
