/* The backward graph of a graph: reverse-mode differentiation, appending nodes. */
#ifndef DEFT_IR_GRAD_GRAD_H
#define DEFT_IR_GRAD_GRAD_H

#include "ir/graph/graph.h"

/* Appends to `graph` (verified, shapes inferred) the nodes that compute d loss / d wrt[i] for a scalar value `loss`,
 * and sets grads[i] to the value ids (DEFT_NO_VALUE where loss does not depend on it). Gradients of a value used more
 * than once are summed. Errors: DEFT_UNSUPPORTED, naming an operator on the way that has no gradient. */
DEFT_MUST_CHECK deft_status deft_grad_build(deft_graph *graph, int loss, const int *wrt, int wrt_count, int *grads);

/* The same from outputs[i] whose gradients seeds[i] are values of the graph, of the same shapes, or DEFT_NO_VALUE:
 * of sum outputs seeds. */
DEFT_MUST_CHECK deft_status deft_grad_build_from(deft_graph *graph, const int *outputs, const int *seeds,
                                                 int output_count, const int *wrt, int wrt_count, int *grads);

/* Replaces every BatchNormalization by BatchNormTraining. `stats` (arena of the graph) lists, for each, the constants
 * that hold the running statistics and the values that hold the batch's. */
typedef struct deft_batch_stats {
    int running_mean, running_var, batch_mean, batch_var;
    float momentum; /* running = momentum * running + (1 - momentum) * batch */
} deft_batch_stats;
DEFT_MUST_CHECK deft_status deft_grad_use_batch_statistics(deft_graph *graph, deft_batch_stats **stats, int *count);

#endif
