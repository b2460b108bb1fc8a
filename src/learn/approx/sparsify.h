/* Pruning while training: zeros that grow by a schedule, and masks that move. */
#ifndef DEFT_LEARN_APPROX_SPARSIFY_H
#define DEFT_LEARN_APPROX_SPARSIFY_H

#include "learn/approx/prune.h"
#include "learn/train/train.h"

typedef struct deft_sparsify_options {
    deft_prune_options prune; /* the outcome */
    bool cubic;  /* the zeros grow from what is there: z(t) = z1 + (z0 - z1) (1 - t)^3; else all are made at the start.
                    Not for N:M. source: ZHU2017 */
    double move; /* at each update this share of a layer's weights, falling to 0 along a cosine, is dropped by
                    magnitude, and as many grow, from 0, where the gradient is largest; 0: none. For single weights.
                    source: EVCI2020 */
    int64_t every; /* steps between updates; default 100 */
    double until;  /* of the training: after this share of its steps the mask stays; default 0.75 */
} deft_sparsify_options;

/* Prunes the graph in place while it is trained, as deft_train does, with `keep_zeros` set: weights under the mask are
 * exactly zero after every step. `training->hook` must be NULL. With neither a schedule nor movement it is
 * deft_prune_graph and deft_train. A checkpoint resumes to the same weights, bit for bit.
 * Errors: DEFT_INVALID (options), those of deft_prune_graph and deft_train. */
DEFT_MUST_CHECK deft_status deft_sparsify_train(deft_context *ctx, deft_graph *graph, const deft_dataset *data,
                                                const deft_sparsify_options *options,
                                                const deft_train_options *training);

#endif
