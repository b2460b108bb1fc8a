/* What the loss compares the model's outputs with. */
#ifndef DEFT_LEARN_TRAIN_TARGETS_H
#define DEFT_LEARN_TRAIN_TARGETS_H

#include "learn/train/loss_graph.h"

typedef struct deft_targets {
    deft_context *ctx;
    const deft_samples *samples; /* of the training split */
    int64_t outputs;             /* for one sample */
    float smoothing;             /* of the labels */
    float *rows;                 /* [samples][outputs]; NULL where they follow from the labels or targets alone */
} deft_targets;

/* Without a teacher, 1 - smoothing at the label, and smoothing shared by all classes. With one, its softmax (half, and
 * half the label's or the targets, where there are such) for cross-entropy, else its outputs (in the same way): it sees
 * every sample once, ahead. To be done with after a failure too. Errors: DEFT_INVALID (the teacher's shapes),
 * DEFT_CANCELLED, DEFT_MEMORY. source: HINTON2015, SZEGEDY2016 */
DEFT_MUST_CHECK deft_status deft_targets_init(deft_context *ctx, const deft_loss_graph *net, const deft_dataset *data,
                                              const deft_graph *teacher, float smoothing, deft_targets *targets);
void deft_targets_done(deft_targets *targets);

/* The targets of samples order[first .. first + count), into out [count][outputs]. */
void deft_targets_gather(const deft_targets *targets, const int64_t *order, int64_t first, int64_t count, float *out);

#endif
