/* One training step after another: the training graph on its executor, and what the optimiser keeps. */
#ifndef DEFT_LEARN_TRAIN_TRAINER_H
#define DEFT_LEARN_TRAIN_TRAINER_H

#include "exec/run/executor.h"
#include "learn/train/checkpoint.h"
#include "learn/train/loss_graph.h"
#include "learn/train/optimizer.h"

typedef struct deft_trainer {
    deft_context *ctx;
    const deft_loss_graph *net;
    deft_optimizer_options options;
    deft_plan *plan;
    deft_executor *executor;
    deft_arena arena;
    deft_moments *moments; /* by what is learned; nothing in them for running statistics */
    int64_t steps;         /* done */
    int forward_steps;     /* of the plan, those of the model */
    /* Where the caller computes the loss (net->seeds): called between the forward and the backward pass. */
    deft_status (*own_loss)(void *user, float *loss);
    void *own_user;
    deft_checkpoint_part *parts; /* all of the state; the first net->learned_count are what is kept in the end */
    int part_count;
} deft_trainer;

/* `net` must outlive the trainer. `options` are filled in. `keep_zeros`: the weights of Gemm, MatMul and Conv that are
 * zero now stay zero. To be done with after a failure too. Errors: those of planning. */
DEFT_MUST_CHECK deft_status deft_trainer_init(deft_context *ctx, const deft_loss_graph *net,
                                              const deft_optimizer_options *options, bool keep_zeros,
                                              deft_trainer *trainer);
void deft_trainer_done(deft_trainer *trainer);

/* The f32 elements of an input or output of the training graph, by its value id. */
float *deft_trainer_data(const deft_trainer *trainer, int value);

/* The weights [count] of what is learned, number `index`, and its gradient of the last step (NULL for running
 * statistics). Where a weight is taken back under a mask (its moments' keep), its moments become 0 in the next step. */
float *deft_trainer_weights(const deft_trainer *trainer, int index);
const float *deft_trainer_gradient(const deft_trainer *trainer, int index);
/* Makes memory of someone else's, once, part of the state that checkpoints keep. */
void deft_trainer_remember(deft_trainer *trainer, void *state, size_t bytes);

/* One step on what the inputs hold; *loss is the loss before it, or what the gradient's norm is where that is not
 * finite; then, nothing changes. The gradient, all of it together, is scaled down to the options' norm where it is
 * larger. source: PASCANU2013 */
DEFT_MUST_CHECK deft_status deft_trainer_step(deft_trainer *trainer, float rate, float *loss);

/* Whether no weight is NaN or infinite. */
bool deft_trainer_is_finite(const deft_trainer *trainer);
/* Copies all that is learned, the weights' averages where they are kept, into the graph that the trainer's was made
 * from. */
void deft_trainer_store(const deft_trainer *trainer, deft_graph *graph);

#endif
