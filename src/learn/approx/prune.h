/* Pruning: small weights become zeros. */
#ifndef DEFT_LEARN_APPROX_PRUNE_H
#define DEFT_LEARN_APPROX_PRUNE_H

#include "ir/graph/graph.h"

/* Sets to zero the smallest weights by magnitude of all prunable ones together (weights of Gemm, MatMul and Conv; one
 * that several nodes share counts once) until round(zeros * their number) of them are zero: the knob; 0 is the
 * identity. Zeros that are there stay and count. Of equal magnitudes the first goes first, in the order of the nodes
 * and of the elements. NaN counts as the largest. Time is linear in the weights, memory constant. Errors, with nothing
 * changed: DEFT_INVALID (zeros outside 0..1), DEFT_UNSUPPORTED (weights that are not f32). source: HAN2015 (section 3),
 * CARBIN (pruning) */
DEFT_MUST_CHECK deft_status deft_prune_magnitude(deft_context *ctx, deft_graph *graph, double zeros);

#endif
