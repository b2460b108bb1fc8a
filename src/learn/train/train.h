/* Training and evaluation: the loss and its backward graph run on the same executor as inference. */
#ifndef DEFT_LEARN_TRAIN_TRAIN_H
#define DEFT_LEARN_TRAIN_TRAIN_H

#include "ir/graph/graph.h"
#include "learn/data/dataset.h"

typedef struct deft_epoch {
    int epoch, epochs; /* 1-based */
    double loss;       /* mean over the training samples */
    double accuracy;   /* validation, 0 to 1 (agreement with the teacher where there are no labels) */
    double learning_rate;
    double images_per_second;
    double seconds;
} deft_epoch;

typedef struct deft_train_options {
    int epochs;                /* default 10 */
    int64_t batch;             /* default 64 */
    float learning_rate;       /* default 0.05 */
    float momentum;            /* default 0.9; negative for none */
    float weight_decay;        /* default 0 */
    float step_factor;         /* learning rate times this ... default 0.1 */
    int step_epochs;           /* ... every so many epochs; default: after 1/2 and 3/4 of them */
    bool keep_zeros;           /* weights that are zero now stay exactly zero: fine-tuning under a mask */
    const deft_graph *teacher; /* distil from it: its softmax is the target; where there are labels, half and half */
    const char *checkpoint;    /* written after each epoch, resumed from where it exists and fits; or NULL */
    void (*on_epoch)(void *user, const deft_epoch *epoch);
    void *user;
} deft_train_options;

/* Trains every float constant of `graph` that the loss has a gradient for, in place: SGD with momentum, softmax
 * cross-entropy (a Softmax at the end of the graph is taken into the loss), shuffled by the context's seed. A
 * checkpoint (version field, checksum) resumes to the same weights, bit for bit, as an uninterrupted run; one of
 * another graph, data or options is refused with DEFT_INVALID. Errors: DEFT_INVALID (shapes of data and graph, loss not
 * finite), DEFT_CANCELLED. */
DEFT_MUST_CHECK deft_status deft_train(deft_context *ctx, deft_graph *graph, const deft_dataset *data,
                                       const deft_train_options *options);

typedef struct deft_quality {
    double accuracy;       /* share of samples whose top answer is the label's; NaN without labels */
    double agreement;      /* share whose top answer is the reference's; NaN without a reference */
    double relative_error; /* |y - y_reference|_2 / |y_reference|_2 over all outputs; NaN without a reference */
    int64_t correct, count;
} deft_quality;

/* Evaluates `graph` on a split; `reference` (may be NULL) is the original to agree with. Errors: DEFT_INVALID (shapes).
 */
DEFT_MUST_CHECK deft_status deft_evaluate(deft_context *ctx, const deft_graph *graph, const deft_graph *reference,
                                          const deft_dataset *data, deft_split split, deft_quality *quality);

#endif
