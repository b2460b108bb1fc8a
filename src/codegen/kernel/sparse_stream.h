/* Sparse products with 2 columns or more, as a loop over a stream of (weight, where its row of x lies): 6 bytes a
 * nonzero where generated code takes 11 (AVX-512) or 20 (AVX2), so that the loop wins where code is used but a few
 * times. Columns come in panels, in which a row of x is some vectors side by side, as many lanes as there are columns;
 * what lanes beyond the last column hold is never stored. The inner dimension is cut into depths, so that those rows of
 * a panel stay in L1; sums between depths lie in scratch memory. source: KREUTZER2014 (rows sorted by length) */
#ifndef DEFT_CODEGEN_KERNEL_SPARSE_STREAM_H
#define DEFT_CODEGEN_KERNEL_SPARSE_STREAM_H

#include "codegen/kernel/linear.h"

enum { DEFT_STREAM_UNIT = 2 }; /* floats: what offsets count */

typedef struct deft_stream deft_stream;
/* Places [begin, end) of the order of a depth, of one panel: x as [k of the depth][s->lanes], sums as [m][s->lanes], y
 * as [m][s->y_pitch]. */
typedef void (*deft_stream_engine)(const deft_stream *stream, int64_t depth, int64_t begin, int64_t end, const float *x,
                                   float *sums, float *y);

/* How threads share the work: one does it all; each takes panels of images; or rows. */
typedef enum deft_stream_split { DEFT_STREAM_ALONE, DEFT_STREAM_PANELS, DEFT_STREAM_ROWS } deft_stream_split;

struct deft_stream {
    deft_stream_engine engine, last_engine; /* of a panel, and of the last one of an image */
    deft_isa isa;
    deft_activation activation;
    bool bounded; /* by the activation */
    int threads;
    deft_stream_split split;
    int input; /* of the node: x */
    int64_t images, n, m, k;
    int lanes, last_lanes; /* of panels; the last one may be narrower */
    int64_t panels;        /* of an image */
    int64_t depths;
    bool by_columns;         /* x and y are [k][n] and [m][n] where they are row-major; otherwise [n][k] and [n][m] */
    bool x_direct, y_direct; /* used where they are */
    int64_t y_pitch;
    int64_t stored;       /* columns of a panel, unless all of its lanes are */
    int shares;           /* of the rows, one a thread or one for all */
    int64_t *share_begin; /* [shares + 1]: rows of y, and as many places of every depth's order */
    int32_t *rows;        /* [depths][m] of the output, in order */
    float *bias;          /* [m], in the order of the last depth */
    int64_t *begin;       /* [depths][m + 1] into the stream, in order */
    float *values;        /* of all nonzeros */
    uint16_t *offsets;    /* of their rows of x, from the first of the depth */
    char detail[96];
};

/* For 4, 8, 16, 24 or 32 lanes. */
deft_stream_engine deft_stream_engine_avx512(int lanes);
deft_stream_engine deft_stream_engine_avx2(int lanes);
deft_stream_engine deft_stream_engine_c(int lanes);

#endif
