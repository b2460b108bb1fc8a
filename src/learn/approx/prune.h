/* Pruning: small weights become zeros. */
#ifndef DEFT_LEARN_APPROX_PRUNE_H
#define DEFT_LEARN_APPROX_PRUNE_H

#include "ir/graph/graph.h"

/* Sets to zero the smallest weights by magnitude of all prunable ones together (weights of Gemm, MatMul and Conv) until the
 * share `zeros` of them is zero: the knob; 0 is the identity. Zeros that are there stay and count. Ties go to the lower index.
 * NaN counts as the largest. Errors: DEFT_INVALID (zeros outside 0..1). source: HAN2015 (section 3), CARBIN (pruning) */
DEFT_MUST_CHECK deft_status deft_prune_magnitude(deft_context *ctx, deft_graph *graph, double zeros);

#endif
