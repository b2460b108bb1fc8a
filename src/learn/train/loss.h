/* A model as a training graph: with its loss, the backward graph, and a plan that runs both. */
#ifndef DEFT_LEARN_TRAIN_LOSS_H
#define DEFT_LEARN_TRAIN_LOSS_H

#include "exec/run/executor.h"
#include "ir/grad/grad.h"

typedef struct deft_training {
    deft_context *ctx;
    deft_graph *graph; /* a clone of the model with a fixed batch: value ids of constants are the model's */
    int x, targets, loss;
    int *parameters, *gradients; /* value ids */
    int parameter_count;
    deft_batch_stats *stats;
    int stats_count;
    deft_plan *plan;
    deft_executor *executor;
} deft_training;

/* `classify`: softmax cross-entropy against targets [batch, classes], taking a Softmax at the end of the model into the
 * loss; else the mean squared error against targets of the output's shape. The parameters are the f32 constants of rank
 * 1 and more that the loss depends on. Errors: DEFT_INVALID (not one output, nothing to train), DEFT_UNSUPPORTED (no
 * gradient). */
DEFT_MUST_CHECK deft_status deft_training_init(deft_context *ctx, const deft_graph *model, int64_t batch, bool classify,
                                               deft_training *training);
void deft_training_done(deft_training *training);

/* Copies parameters and running statistics into the model that the training was made from. */
void deft_training_store(const deft_training *training, deft_graph *model);

/* The value of the logits: the input of a last Softmax or LogSoftmax, else the first output. */
int deft_logits(const deft_graph *graph);

#endif
