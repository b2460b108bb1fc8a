/* Sparse products with 2 to 16 columns, as a loop over a stream of (weight, where its row of x lies): 6 bytes a nonzero
 * where generated code takes 11, so that the loop wins wherever each nonzero is used but once. A row of x is a vector
 * of 4, 8 or 16 lanes, one for each column; what the lanes beyond the last column hold is never stored. source:
 * KREUTZER2014 (rows sorted by length) */
#ifndef DEFT_CODEGEN_KERNEL_SPARSE_STREAM_H
#define DEFT_CODEGEN_KERNEL_SPARSE_STREAM_H

#include "codegen/kernel/linear.h"

enum { DEFT_STREAM_UNIT = 2 }; /* floats: what offsets count */

typedef struct deft_stream deft_stream;
/* Rows [begin, end) of the order, of one image: x as [k][x_pitch], y as [m][y_pitch], of which `stored` columns. */
typedef void (*deft_stream_engine)(const deft_stream *stream, int64_t begin, int64_t end, const float *x, float *y);

struct deft_stream {
    deft_stream_engine engine;
    int threads;
    deft_isa isa;
    deft_activation activation;
    int input; /* of the node: x */
    int64_t images, n, m, k;
    int lanes;
    bool by_columns; /* x and y are [k][n] and [m][n] where they are row-major; otherwise [n][k] and [n][m] */
    bool x_direct, y_direct;
    int64_t x_pitch, y_pitch, stored;
    int32_t *rows;           /* [m] of the output, in order */
    float *bias;             /* [m], in order */
    int64_t *begin;          /* [m + 1] into the stream, in order */
    float *values;           /* [begin[m]] */
    uint16_t *short_offsets; /* [begin[m]] of rows of x; NULL where they need more bits */
    int32_t *offsets;        /* the same, otherwise */
    char detail[64];
};

/* For 4, 8 or 16 lanes, and short offsets or not. */
deft_stream_engine deft_stream_engine_avx512(int lanes, bool is_short);
deft_stream_engine deft_stream_engine_avx2(int lanes, bool is_short);
deft_stream_engine deft_stream_engine_c(int lanes, bool is_short);

#endif
