/* The graph that training runs: the model at a fixed batch, a loss at its end, and the gradients of all that is
 * learned. */
#ifndef DEFT_LEARN_TRAIN_LOSS_GRAPH_H
#define DEFT_LEARN_TRAIN_LOSS_GRAPH_H

#include "ir/grad/grad.h"
#include "learn/data/dataset.h"

/* A constant that training changes. */
typedef struct deft_learned {
    int value;     /* in the training graph */
    int original;  /* in the graph that is trained */
    int grad;      /* in the training graph; DEFT_NO_VALUE for running statistics */
    int64_t count; /* elements, f32 */
    bool prunable; /* the weight of a Gemm, MatMul or Conv */
    bool decays;   /* of two dimensions or more: a weight and not a bias or scale */
} deft_learned;

typedef struct deft_loss_graph {
    deft_graph *graph; /* its outputs: the model's, where the caller wants them; the loss; the gradients; the batch's
                          statistics */
    deft_loss kind;    /* not the default, but what it is */
    float temperature; /* of the teacher, or 0 */
    int64_t batch;
    int64_t outputs;          /* elements of the model's output for one sample */
    int input, targets, loss; /* loss: DEFT_NO_VALUE where the caller computes it */
    int soft_targets; /* of the cross-entropy of the logits over the teacher's temperature; DEFT_NO_VALUE where there is
                         none */
    int model_outputs; /* of the graph's outputs, the first so many are the model's */
    int *seeds;        /* by model output: the input that is its gradient (DEFT_NO_VALUE where that is not f32), where
                          the caller computes the loss */
    int forward_nodes; /* the graph's first so many nodes are the model */
    deft_learned *learned; /* arena of the graph */
    int learned_count;
    deft_batch_stats *stats;
    int stat_count;
} deft_loss_graph;

/* Builds the training graph of `original`. A Softmax or LogSoftmax that makes the model's output is taken into the
 * cross-entropy. Learned is every f32 constant (but scalars) that the loss has a gradient for, without those that
 * element-wise operators apply to the input before the first layer: they are preprocessing.
 * `temperature` is the teacher's, 0 where there is none. One that is not 1 adds a second cross-entropy, of the logits
 * over it, and is for cross-entropy alone.
 * By default the loss is cross-entropy where there are labels, or no targets and the graph ends in a
 * Softmax, else squared error. To be done with after a failure too. Errors: DEFT_INVALID (shapes; no labels or targets
 * and no teacher; a loss that does not fit them; nothing to learn), DEFT_UNSUPPORTED (an operator without a gradient).
 */
DEFT_MUST_CHECK deft_status deft_loss_graph_init(deft_context *ctx, const deft_graph *original,
                                                 const deft_dataset *data, int64_t batch, float temperature,
                                                 deft_loss loss, deft_loss_graph *made);
/* A loss that is not a data set's: what the caller computes, else a graph, else the one of this kind against an input
 * named "targets". */
typedef struct deft_own_loss {
    bool by_caller;
    const deft_graph *graph; /* its inputs are the model's outputs by name, or new inputs; its first output the loss */
    deft_loss kind;          /* by default cross-entropy where the model ends in a Softmax, else squared error */
} deft_own_loss;

/* The same with symbolic dimensions bound to `batch`, any number of inputs, and all of the model's outputs. */
DEFT_MUST_CHECK deft_status deft_loss_graph_init_own(deft_context *ctx, const deft_graph *original, int64_t batch,
                                                     const deft_own_loss *loss, deft_loss_graph *made);
void deft_loss_graph_done(deft_loss_graph *made);

#endif
