/* A sparse matrix times a vector, which is bound by reading the matrix: what is read for a nonzero is as small as can
 * be. Two forms:
 *
 * Slices (SELL-C-sigma): rows sorted by length and laid side by side, 8 or 16 of them, so that a step takes one nonzero
 * of each row, its x gathered by index. An index is the distance from the nonzero before in its row, 1 byte, where all
 * of a slice's are below 256; else the column, in 2 or 4 bytes.
 *
 * Bitmaps: a bit for each position, whose weights are expanded to where they belong beside 16 neighbours in x. Smaller
 * than slices where more than one weight in eight is there, and faster above one in two.
 *
 * Weights of which all have 16 zero bits at their end (Deft-16: the upper half of a float) are kept as 16 bits,
 * exactly, in slices. source: KREUTZER2014 */
#ifndef DEFT_CODEGEN_KERNEL_SPARSE_VECTOR_H
#define DEFT_CODEGEN_KERNEL_SPARSE_VECTOR_H

#include "codegen/kernel/sparse_rows.h"

/* Rows in descending order of length: those that are still there at a step are the first so many. */
typedef struct deft_sell_slice {
    int64_t step;       /* its first step, among those of all slices */
    int64_t partial;    /* its first step with fewer than all rows, among those of all slices */
    int64_t full, last; /* steps with all rows; all steps */
    int64_t index_at;   /* bytes: its first index */
    int index_bytes;    /* 1: distances; 2, 4: columns */
} deft_sell_slice;

typedef struct deft_sell {
    int lanes; /* rows of a slice */
    int64_t slice_count, step_count;
    deft_sell_slice *slices;
    int32_t *rows;          /* [slice_count * lanes] of the output; -1 beyond the last */
    float *bias;            /* [slice_count * lanes] */
    float *values;          /* [step_count * lanes]; NULL where they are short */
    uint16_t *short_values; /* the upper halves of the same; or NULL */
    unsigned char *indices; /* of a slice: [last][lanes] */
    int64_t index_bytes;    /* of all slices */
    int64_t *begin;         /* [slice_count + 1]: steps, for sharing */
    uint8_t *active;        /* rows that are there, of each partial step */
} deft_sell;

enum { DEFT_BITMAP_BITS = 64 };

typedef struct deft_bitmap {
    int64_t words;  /* of a row: ceil(k / 64) */
    uint64_t *bits; /* [m][words]; none beyond k */
    float *bias;    /* [m] */
    float *values;  /* [begin[m] + 16]: what is read beyond the last is never used */
    int64_t *begin; /* [m + 1] */
} deft_bitmap;

/* Exactly one of the two is there. */
typedef struct deft_vector {
    deft_isa isa;
    int threads;
    deft_activation activation;
    int input; /* of the node: x */
    int64_t m, k;
    deft_sell *sell;
    deft_bitmap *bitmap;
    char detail[64];
} deft_vector;

/* Make a form of the matrix; on failure nothing is left. Errors: DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_sell_new(deft_context *ctx, const deft_linear *l, int lanes, deft_sell **sell);
void deft_sell_free(deft_context *ctx, deft_sell *sell);
DEFT_MUST_CHECK deft_status deft_bitmap_new(deft_context *ctx, const deft_linear *l, deft_bitmap **bitmap);
void deft_bitmap_free(deft_context *ctx, deft_bitmap *bitmap);

/* y for the rows of slices, or of rows, [begin, end). */
void deft_sell_run_avx512(const deft_vector *vector, int64_t begin, int64_t end, const float *x, float *y);
void deft_sell_run_avx2(const deft_vector *vector, int64_t begin, int64_t end, const float *x, float *y);
void deft_bitmap_run_avx512(const deft_vector *vector, int64_t begin, int64_t end, const float *x, float *y);

#endif
