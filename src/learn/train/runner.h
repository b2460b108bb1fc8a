/* A model ready to run over a data set's batches. */
#ifndef DEFT_LEARN_TRAIN_RUNNER_H
#define DEFT_LEARN_TRAIN_RUNNER_H

#include "exec/run/executor.h"
#include "learn/data/dataset.h"

typedef struct deft_runner {
    deft_plan *plan;
    deft_executor *executor;
    float *x;        /* [batch][sample]: to fill */
    const float *y;  /* [batch][columns]: the first output */
    int64_t columns; /* elements of the output for one sample */
} deft_runner;

/* Errors: DEFT_INVALID where the model's input is not one f32 tensor of [batch, elements of a sample], or its output is
 * not f32 with the batch first; those of planning. */
DEFT_MUST_CHECK deft_status deft_runner_init(deft_context *ctx, const deft_graph *model, const deft_dataset *data,
                                             int64_t batch, deft_runner *runner);
/* Accepts a zeroed one. */
void deft_runner_done(deft_runner *runner);

/* Whether samples of `data` fit an input [batch, ...] of the graph; else DEFT_INVALID with both shapes. */
DEFT_MUST_CHECK deft_status deft_check_input(const deft_graph *graph, int input, const deft_dataset *data,
                                             int64_t batch);

/* Index of the largest of `count` values, the first of equals; a NaN is never it. */
int64_t deft_top(const float *values, int64_t count);

#endif
