/* One training step after another: the training graph on its executor, and what the optimiser keeps. */
#ifndef DEFT_LEARN_TRAIN_TRAINER_H
#define DEFT_LEARN_TRAIN_TRAINER_H

#include "exec/run/executor.h"
#include "learn/train/checkpoint.h"
#include "learn/train/sgd.h"
#include "learn/train/targets.h"

typedef struct deft_trainer {
    deft_context *ctx;
    const deft_dataset *data;
    deft_loss_graph net;
    deft_targets targets;
    deft_plan *plan;
    deft_executor *executor;
    deft_arena arena;
    float **velocity;            /* by what is learned; NULL for running statistics */
    uint8_t **keep;              /* by what is learned: 0 where a weight stays zero; NULL where all may change */
    deft_checkpoint_part *parts; /* all of the state; the first net.learned_count are the weights */
    int part_count;
} deft_trainer;

/* `keep_zeros`: the weights of Gemm, MatMul and Conv that are zero now stay zero. To be done with after a failure too.
 * Errors: those of deft_loss_graph_init, deft_targets_init and planning. */
DEFT_MUST_CHECK deft_status deft_trainer_init(deft_context *ctx, const deft_graph *graph, const deft_dataset *data,
                                              int64_t batch, const deft_graph *teacher, bool keep_zeros,
                                              deft_trainer *trainer);
void deft_trainer_done(deft_trainer *trainer);

/* Makes memory of someone else's, once, part of the state that checkpoints keep. */
void deft_trainer_remember(deft_trainer *trainer, void *state, size_t bytes);
/* The weights [count] of what is learned, number `index`, and its gradient of the last step (NULL for running
 * statistics). A weight that is taken back under a mask (keep) has the velocity 0. */
float *deft_trainer_weights(const deft_trainer *trainer, int index);
const float *deft_trainer_gradient(const deft_trainer *trainer, int index);

/* One step on samples order[first .. first + batch) of the training split; *loss is their mean loss before it, or what
 * the gradient's norm is where that is not finite; then, nothing changes. The gradient, all of it together, is scaled
 * down to the norm `max_norm` where it is larger; of `sgd`, the scale is not used. source: PASCANU2013 */
DEFT_MUST_CHECK deft_status deft_trainer_step(deft_trainer *trainer, const deft_sgd *sgd, float max_norm,
                                              const int64_t *order, int64_t first, float *loss);

/* Whether no weight is NaN or infinite. */
bool deft_trainer_is_finite(const deft_trainer *trainer);
/* Copies all that is learned into the graph that the trainer was made from. */
void deft_trainer_store(const deft_trainer *trainer, deft_graph *graph);

#endif
