/* The second moments of what a layer takes in: H = X X^T, where the columns of X are what an output is a sum over. */
#ifndef DEFT_LEARN_APPROX_HESSIAN_H
#define DEFT_LEARN_APPROX_HESSIAN_H

#include "ir/op/window.h"
#include "learn/approx/calibration.h"
#include "learn/approx/weights.h"

/* Columns that are correlated with each other: of one group of a convolution, 2,048 at most. */
typedef struct deft_hessian_part {
    int64_t group, first, count; /* columns [first, first + count) */
    double *matrix;              /* [count][count]; the upper triangle */
} deft_hessian_part;

typedef struct deft_hessian {
    const deft_weight *weight;
    deft_window window;    /* of a Conv */
    bool conv, transposed; /* transposed: a Gemm's transA */
    int64_t groups, rows;  /* rows: outputs of a group */
    int64_t *order;        /* [inner]: the element of inner that a column is */
    deft_hessian_part *parts;
    int part_count;
    int64_t positions; /* columns of X that were summed */
} deft_hessian;

/* Runs the graph on the calibration data and sums, over all nodes that use the weight as its first one does. With `of`
 * above 1, columns are in an order in which groups of N:M are neighbours, and no part ends within one. *supported is
 * false, and nothing was done, for MatMul with weights of more than two dimensions, convolutions of volumes and inputs
 * that are not f32. Memory is the arena's. Errors: DEFT_CANCELLED, DEFT_MEMORY, those of planning and running. */
DEFT_MUST_CHECK deft_status deft_hessian_sum(deft_context *ctx, const deft_graph *graph, const deft_weight *weight,
                                             const deft_calibration *calibration, int of, deft_arena *arena,
                                             deft_hessian *hessian, bool *supported);

#endif
