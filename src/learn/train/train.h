/* Training and evaluation: the loss and its backward graph run on the same executor as inference. */
#ifndef DEFT_LEARN_TRAIN_TRAIN_H
#define DEFT_LEARN_TRAIN_TRAIN_H

#include "ir/graph/graph.h"
#include "learn/data/dataset.h"
#include "learn/train/schedule.h"

typedef struct deft_epoch {
    int epoch, epochs;        /* 1-based */
    double loss;              /* mean over the steps, each before its update */
    double accuracy;          /* validation, 0 to 1; of targets, 1 - relative error; where there are no labels either:
                                 agreement with the teacher for outputs [N, classes], else 1 - relative error */
    double learning_rate;     /* of its first step */
    double images_per_second; /* of the training steps alone */
    double seconds;           /* with the validation */
} deft_epoch;

/* What looks on while a graph is trained, and may change weights and masks through the trainer. */
struct deft_trainer;
typedef struct deft_train_hook {
    /* After step number `step`, from 1, of `steps` in all epochs; the gradients are still those of the step. */
    deft_status (*after_step)(void *user, struct deft_trainer *trainer, int64_t step, int64_t steps);
    void *user;
    void *state; /* what it remembers from step to step: kept in the checkpoint */
    size_t state_bytes;
    uint64_t print; /* of all that decides what it does to the weights: a checkpoint of another one is refused */
} deft_train_hook;

typedef struct deft_train_options {
    int epochs;         /* default 10 */
    int64_t first_step; /* steps of the schedule that are left out: they are taken as done; default 0 */
    int64_t batch;      /* default 64; a model of a fixed batch keeps its own */
    deft_optimizer_options optimizer;
    float learning_rate; /* default 0.05; Adam, AdamW: 0.001 */
    deft_schedule_kind schedule;
    float step_factor;           /* STEPS: learning rate times this ... default 0.1 */
    int step_epochs;             /* ... every so many epochs; default: after 1/2 and 3/4 of them */
    float warmup_epochs;         /* the learning rate rises from 0 over them; may be a part of one; default 0 */
    deft_loss loss;              /* default: cross-entropy where there are labels, or no targets and the graph ends in a
                                    Softmax, else squared error */
    float label_smoothing;       /* this share of a label's weight goes to all classes alike; default 0 */
    bool keep_zeros;             /* weights of Gemm, MatMul and Conv that are zero now stay exactly zero */
    const deft_graph *teacher;   /* distil from it: for cross-entropy its softmax is the target, for the other losses
                                    its outputs. It sees what the graph sees: samples as the data set's augmentation
                                    changed them */
    float teacher_share;         /* of the loss, where there are labels or targets too, above 0 to 1; default 0.5 */
    float teacher_temperature;   /* for cross-entropy: its logits and the graph's are divided by it; default 1.
                                    source: HINTON2015, 2 */
    const char *checkpoint;      /* written at the start and after each epoch, resumed from where it is; or NULL */
    const deft_train_hook *hook; /* or NULL */
    /* After each epoch, before its checkpoint is written: of a log, nothing is missing then when training goes on from
     * the checkpoint. Training stops where it does not return DEFT_OK. */
    deft_status (*on_epoch)(void *user, const deft_epoch *epoch);
    void *user;
} deft_train_options;

/* Trains every f32 constant of `graph` that the loss, on its first output, has a gradient for, in place; a
 * Softmax at the end of the graph is taken into a cross-entropy. Scalars, and what
 * element-wise operators apply to the input before the first layer (preprocessing), are left as they are;
 * BatchNormalization normalises by the batch and updates its running statistics. Each epoch sees the samples in an
 * order that follows from the context's seed; those that do not fill a last batch are left out. The graph changes after
 * whole epochs only: where training fails or is cancelled, it is as after the last one. The result depends on the
 * threads and the instruction set, but not on the run. A checkpoint (version field, checksum) resumes to the same
 * weights, bit for bit, as an uninterrupted run; one of another graph, data, seed or options is refused with
 * DEFT_INVALID. Errors: DEFT_INVALID (shapes of data and graph, options, no labels or targets and no teacher, a loss
 * that is not finite or does not fit), DEFT_UNSUPPORTED (an operator without a gradient), DEFT_IO (the checkpoint),
 * DEFT_CANCELLED.
 */
DEFT_MUST_CHECK deft_status deft_train(deft_context *ctx, deft_graph *graph, const deft_dataset *data,
                                       const deft_train_options *options);

typedef struct deft_quality {
    double accuracy;         /* share of samples whose top answer is the label's; NaN without labels */
    double agreement;        /* share whose top answer is the reference's; NaN without a reference, or for one output */
    double loss;             /* mean softmax cross-entropy with the labels, of outputs [N, classes]; NaN for others */
    double relative_error;   /* |y - y_reference|_2 / |y_reference|_2 over all outputs; NaN without a reference */
    double target_error;     /* |y - target|_2 / |target|_2 over all outputs; NaN without targets */
    double percentage_error; /* mean of |y - target| / max(|target|, 1e-7); 1 is 100%; NaN without targets */
    int64_t correct, count;
} deft_quality;

/* Evaluates the first output of `graph` on every sample of a split; `reference` (may be NULL) is the original to agree
 * with. The top answer is the index of the largest output, the first of equals; NaN is never one.
 * Errors: DEFT_INVALID (shapes), DEFT_CANCELLED. */
DEFT_MUST_CHECK deft_status deft_evaluate(deft_context *ctx, const deft_graph *graph, const deft_graph *reference,
                                          const deft_dataset *data, deft_split split, deft_quality *quality);

#endif
