/* What the loss compares the model's outputs with. */
#ifndef DEFT_LEARN_TRAIN_TARGETS_H
#define DEFT_LEARN_TRAIN_TARGETS_H

#include "learn/train/loss_graph.h"
#include "learn/train/predictor.h"

typedef struct deft_targets {
    deft_context *ctx;
    const deft_samples *samples; /* of the training split */
    int64_t outputs, sample;     /* for one sample; elements of one */
    int64_t width;               /* of the targets of one sample: outputs, and as many again where some are soft */
    float share, temperature;    /* of the teacher */
    float smoothing;             /* of the labels */
    deft_loss kind;
    bool asks;              /* the teacher about each batch */
    deft_predictor teacher; /* of such batches */
    float *rows;            /* or what it has said of every sample, [samples][width]; of batches, room for one row */
} deft_targets;

/* Without a teacher, 1 - smoothing at the label, and smoothing shared by all classes. With one, `share` of its softmax,
 * and the rest the label's or the targets, where there are such, else all of it, for cross-entropy; else its outputs,
 * in the same way. At a temperature T that is not 1 its softmax, of the logits / T, is the soft target, times T^2, so
 * that its gradients weigh what they did. It sees what the model sees: every sample once, ahead, or each batch where
 * samples are changed at random. To be done with after a failure too. Errors: DEFT_INVALID (the teacher's shapes),
 * DEFT_CANCELLED, DEFT_MEMORY. source: HINTON2015, SZEGEDY2016, BEYER2022 (the same view for both) */
DEFT_MUST_CHECK deft_status deft_targets_init(deft_context *ctx, const deft_loss_graph *net, const deft_dataset *data,
                                              const deft_graph *teacher, float share, float smoothing,
                                              deft_targets *targets);
void deft_targets_done(deft_targets *targets);

/* The targets of samples order[first .. first + count), which x [count][sample] holds, into out [count][outputs], and
 * the soft ones, where there are such, into soft [count][outputs]. */
DEFT_MUST_CHECK deft_status deft_targets_gather(deft_targets *targets, const int64_t *order, int64_t first,
                                                int64_t count, const float *x, float *out, float *soft);

#endif
