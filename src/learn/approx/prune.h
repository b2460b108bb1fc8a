/* Pruning by magnitude: small weights become zeros. */
#ifndef DEFT_LEARN_APPROX_PRUNE_H
#define DEFT_LEARN_APPROX_PRUNE_H

#include "learn/approx/weights.h"

#define DEFT_PRUNE_MAX_GROUP 64 /* of N:M */

/* Sets the smallest weights of Gemm, MatMul and Conv to zero, round(zeros * their number) of them, or that many of the
 * blocks (those at an edge may be smaller). Zeros that are there stay and count. Of equal magnitudes the first goes
 * first, in the order of the weights and of their elements. NaN counts as the largest. In a group of M at an edge, with
 * fewer members, up to N stay. Time is linear in the weights; memory is constant, with blocks a float for each. Errors:
 * with nothing changed, DEFT_INVALID (options), DEFT_UNSUPPORTED (weights that are not f32); DEFT_MEMORY. source:
 * HAN2015 (section 3), CARBIN (pruning), MISHRA2021 (N:M) */
DEFT_MUST_CHECK deft_status deft_prune_graph(deft_context *ctx, deft_graph *graph, const deft_prune_options *options);
/* The same with a share alone: single weights, all together. */
DEFT_MUST_CHECK deft_status deft_prune_magnitude(deft_context *ctx, deft_graph *graph, double zeros);
/* The same for weights that are listed already. */
DEFT_MUST_CHECK deft_status deft_prune_weights(deft_context *ctx, const deft_weights *weights,
                                               const deft_prune_options *options);
/* Error: DEFT_INVALID. */
DEFT_MUST_CHECK deft_status deft_prune_check(deft_context *ctx, const deft_prune_options *options);

/* Single weights of one layer, by scores [count] instead of their own magnitudes. */
DEFT_MUST_CHECK deft_status deft_prune_by_scores(deft_context *ctx, const deft_weight *weight, const float *scores,
                                                 double zeros);

#endif
