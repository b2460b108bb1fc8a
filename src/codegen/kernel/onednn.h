/* oneDNN 2.6 behind the few calls that the dense kernels need: onednn.c and onednn_sgemm.c alone know its C API, which
 * changes in 3.x. It mallocs inside its calls, outside of the context's allocator. Error everywhere: DEFT_MEMORY, or
 * DEFT_BUG with its status. */
#ifndef DEFT_CODEGEN_KERNEL_ONEDNN_H
#define DEFT_CODEGEN_KERNEL_ONEDNN_H

#include "codegen/kernel/kernel.h"
#include "ir/op/window.h"

/* C[m, n] = alpha op(A)[m, k] op(B)[k, n], row-major. error: gamma(k + 1) |alpha| sum|a||b|. */
typedef struct deft_sgemm {
    bool transpose_a, transpose_b;
    int64_t m, n, k;
    float alpha;
    int threads;
} deft_sgemm;
DEFT_MUST_CHECK deft_status deft_onednn_sgemm(deft_context *ctx, const deft_sgemm *sgemm, const float *a,
                                              const float *b, float *c);

/* As many of them: operand i of A begins at the strides times the indices of i in `dims`, in elements; of C, they lie
 * one after the other. */
typedef struct deft_sgemm_batch {
    int64_t count; /* the product of dims */
    int rank;
    int64_t dims[DEFT_MAX_RANK];
    int64_t a_strides[DEFT_MAX_RANK], b_strides[DEFT_MAX_RANK]; /* 0 where broadcast */
} deft_sgemm_batch;
DEFT_MUST_CHECK deft_status deft_onednn_sgemms(deft_context *ctx, const deft_sgemm *sgemm,
                                               const deft_sgemm_batch *batch, const float *a, const float *b, float *c);

typedef enum deft_onednn_kind {
    DEFT_ONEDNN_MATMUL,           /* Y[rows, columns] = X[rows, inner] W[inner, columns] + B[columns] */
    DEFT_ONEDNN_CONV,             /* Y = conv(X, W) + B */
    DEFT_ONEDNN_CONV_INPUT_GRAD,  /* X from Y, W */
    DEFT_ONEDNN_CONV_WEIGHT_GRAD, /* W from X, Y */
    DEFT_ONEDNN_MAX_POOL,         /* Y = pool(X) */
    DEFT_ONEDNN_AVERAGE_POOL,
    DEFT_ONEDNN_KINDS
} deft_onednn_kind;

typedef enum deft_onednn_operand {
    DEFT_ONEDNN_X,
    DEFT_ONEDNN_W,
    DEFT_ONEDNN_B,
    DEFT_ONEDNN_Y,
    DEFT_ONEDNN_R, /* of a convolution: added to Y before the activation; laid out as Y */
    DEFT_ONEDNN_OPERANDS
} deft_onednn_operand;

/* A primitive with operands as its problem says outside, in whatever layout it wants inside. */
typedef struct deft_onednn deft_onednn;

/* Without padding, since it is compared as bytes. */
typedef struct deft_onednn_problem {
    deft_onednn_kind kind;
    int threads;
    int64_t rows, columns, inner;                    /* of a matrix product */
    int64_t weight_row_stride, weight_column_stride; /* of W[inner, columns], in elements */
    deft_window window;                              /* of a convolution or pooling */
    int64_t lanes;              /* not 0: pictures are [N][C / lanes][H][W][lanes] inside, but for an X of 1 or 3
                                   channels that is read */
    deft_activation activation; /* of a convolution; a NaN becomes `low` */
    deft_function function;     /* of a convolution without an activation; not Winograd's */
    float alpha;
    const float *weight;       /* a constant, reordered once; NULL: given to every run ... */
    const deft_onednn *packed; /* ... or the exact weight of this one: of a primitive of the same shapes, which
                                  outlives the one that is made */
    bool has_bias, has_residual;
    bool plain;                /* X and Y stay row-major inside, so that they are never reordered */
    bool x_blocked, y_blocked; /* outside too */
    bool own_layouts; /* X, Y and a weight that is not constant are in the layouts that it asks for, outside too: for
                         benchmarks, which then give memory of deft_onednn_operand_bytes */
    bool winograd;
    bool include_padding; /* in the mean */
} deft_onednn_problem;

/* Whether there is an implementation other than oneDNN's "ref:" and "simple" ones, which are tens to hundreds of
 * times slower. `memo` remembers it; it may be NULL, here and below. */
bool deft_onednn_supports(deft_kernel_memo *memo, const deft_onednn_problem *problem);
DEFT_MUST_CHECK deft_status deft_onednn_new(deft_context *ctx, deft_kernel_memo *memo,
                                            const deft_onednn_problem *problem, deft_onednn **primitive);
void deft_onednn_free(deft_context *ctx, deft_onednn *primitive);
/* operands: by deft_onednn_operand; those that are constant or absent are not read. */
DEFT_MUST_CHECK deft_status deft_onednn_run(deft_context *ctx, const deft_onednn *primitive,
                                            const void *const operands[DEFT_ONEDNN_OPERANDS], void *scratch);

size_t deft_onednn_scratch_bytes(const deft_onednn *primitive);
/* Of an operand in the primitive's own layout; 0 where it has none. */
size_t deft_onednn_operand_bytes(const deft_onednn *primitive, deft_onednn_operand which);
/* Of the reordered copy of a constant weight. */
size_t deft_onednn_weight_bytes(const deft_onednn *primitive);
/* Whether that copy holds the weight's own values: not what Winograd's algorithm makes of them ahead. */
bool deft_onednn_has_exact_weight(const deft_onednn *primitive);
/* oneDNN's name of what it chose; lives as long as the primitive. */
const char *deft_onednn_implementation(const deft_onednn *primitive);

#endif
