/* Pruning by the second order: which weights go, and what the others become, by the least change of each layer's
 * outputs on calibration data. */
#ifndef DEFT_LEARN_APPROX_SECOND_ORDER_H
#define DEFT_LEARN_APPROX_SECOND_ORDER_H

#include "learn/approx/calibration.h"
#include "learn/approx/prune.h"

typedef struct deft_second_order_options {
    deft_prune_options prune; /* zeros and scope, or N:M; no blocks */
    double damping;           /* share of the mean diagonal that is added to it; default 0.01 */
} deft_second_order_options;

/* Prunes layer after layer. With X, the inputs of a layer in the network as pruned so far, [inner][positions], the
 * change of its outputs is, row by row, dw H dw^T with H = X X^T + damping mean(diag X X^T) I. The columns of W are
 * visited in order; of those that are reached, the weights with the least w^2 / [H^-1]jj, of the part of H that is
 * left, become zero, and what is not yet visited takes over their part: with H^-1 = U^T U, w -= (w_j / U_jj) U_j. How
 * many go is settled first, for each 128 columns, by the same measure over the layer, and with the scope GLOBAL the
 * number for each layer by magnitude over all. Zeros that are there stay and count. X has 16,384 positions at most,
 * evenly spread. Where inner is beyond 2,048, columns further apart are taken as uncorrelated, which bounds the memory
 * to 8 x 2,048 x inner bytes for the largest layer. Weights of MatMul with more than two dimensions and of convolutions
 * of volumes are pruned by magnitude. The result does not depend on the threads but through the network's runs. Errors:
 * DEFT_INVALID (options; activations that are not finite), DEFT_CANCELLED, those of planning; layers that were done
 * stay so. source: HASSIBI1993, FRANTAR2022, FRANTAR2023 */
DEFT_MUST_CHECK deft_status deft_prune_second_order(deft_context *ctx, deft_graph *graph,
                                                    const deft_calibration *calibration,
                                                    const deft_second_order_options *options);

#endif
