/* Inference over the samples of a split, a batch at a time. */
#ifndef DEFT_LEARN_TRAIN_PREDICTOR_H
#define DEFT_LEARN_TRAIN_PREDICTOR_H

#include "exec/run/executor.h"
#include "learn/data/dataset.h"

typedef struct deft_predictor {
    deft_plan *plan;
    deft_executor *executor;
    int64_t sample_count; /* elements of a sample */
    int64_t batch;
    int64_t outputs; /* elements of the graph's first output for one sample */
    float *x;        /* [batch][sample], for the caller to fill */
    const float *y;  /* [batch][outputs] after a run */
} deft_predictor;

/* Plans `graph` for batches of `batch` of the data set's samples (0: as many as are good), or of its own fixed size. To
 * be done with after a failure too.
 * Errors: DEFT_INVALID (shapes that do not fit, an output without the batch in front), and those of planning. */
DEFT_MUST_CHECK deft_status deft_predictor_init(deft_context *ctx, const deft_graph *graph, const deft_dataset *data,
                                                int64_t batch, deft_predictor *predictor);
void deft_predictor_done(deft_predictor *predictor);

/* Runs the graph on the `count` samples that x begins with, 1 <= count <= batch; the rest of the batch repeats the
 * first of them. */
DEFT_MUST_CHECK deft_status deft_predictor_run(deft_predictor *predictor, int64_t count);

/* DEFT_OP_SOFTMAX or DEFT_OP_LOG_SOFTMAX where such a node, over classes, makes the graph's first output [N, classes];
 * DEFT_OP_COUNT elsewhere. Shapes must be known. */
deft_op deft_graph_head(const deft_graph *graph);

#endif
