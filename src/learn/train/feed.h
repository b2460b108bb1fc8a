/* How the samples of a data set enter a graph. */
#ifndef DEFT_LEARN_TRAIN_FEED_H
#define DEFT_LEARN_TRAIN_FEED_H

#include "ir/graph/graph.h"
#include "learn/data/dataset.h"

/* The shape of the graph's input for batches of samples: its first dimension is the batch (`batch`, or the graph's own
 * where that is fixed), the others hold the elements of one sample, in any shape; symbolic ones are the sample's.
 * Errors: DEFT_INVALID (several inputs, another type or number of elements), naming the input and both shapes. */
DEFT_MUST_CHECK deft_status deft_feed_bind(deft_context *ctx, const deft_graph *graph, const deft_dataset *data,
                                           int64_t batch, deft_binding *binding);

#endif
