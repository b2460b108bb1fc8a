/* The prunable weights of a graph: those of Gemm, MatMul and Conv, each seen as matrices [rows][inner]. */
#ifndef DEFT_LEARN_APPROX_WEIGHTS_H
#define DEFT_LEARN_APPROX_WEIGHTS_H

#include "ir/graph/graph.h"

/* Element (m, r, i) is data[m * matrix_stride + r * row_stride + i * inner_stride]: the weight of output r for the
 * i-th of what it sums over. A Conv's inner is [input channels of its group][taps]. */
typedef struct deft_weight {
    float *data; /* the graph's own, [count] */
    int64_t count;
    int value; /* id of the constant */
    int node;  /* the first that uses it */
    int64_t matrices, rows, inner;
    int64_t matrix_stride, row_stride, inner_stride;
    int64_t taps; /* positions of a Conv's kernel; else 1 */
} deft_weight;

typedef struct deft_weights {
    deft_weight *items; /* in the order of their first use; a weight that several nodes share is one */
    int count;
    int64_t total; /* elements of all */
} deft_weights;

/* Lists them in the arena; empty weights are left out. Error: DEFT_UNSUPPORTED (a weight that is not f32), naming it.
 */
DEFT_MUST_CHECK deft_status deft_weights_find(const deft_graph *graph, deft_arena *arena, deft_weights *weights);

/* Elements that are zero. */
int64_t deft_weight_zeros(const deft_weight *weight);
int64_t deft_weights_zeros(const deft_weights *weights);

#endif
