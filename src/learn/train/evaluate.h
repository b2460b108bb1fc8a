/* Evaluation as training uses it. */
#ifndef DEFT_LEARN_TRAIN_EVALUATE_H
#define DEFT_LEARN_TRAIN_EVALUATE_H

#include "learn/train/train.h"

/* deft_evaluate, reporting progress as `what`, or not at all where it is NULL. */
DEFT_MUST_CHECK deft_status deft_evaluate_as(deft_context *ctx, const char *what, const deft_graph *graph,
                                             const deft_graph *reference, const deft_dataset *data, deft_split split,
                                             deft_quality *quality);

#endif
