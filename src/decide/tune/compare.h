/* A faster graph against the original: latency, in one run, alternating. */
#ifndef DEFT_DECIDE_TUNE_COMPARE_H
#define DEFT_DECIDE_TUNE_COMPARE_H

#include "decide/tune/choose.h"
#include "decide/tune/measure.h"
#include "learn/data/dataset.h"

typedef struct deft_comparison {
    deft_timing dense, fast; /* microseconds */
    double speedup;          /* ratio of the medians */
} deft_comparison;

/* `dense` runs on its best dense kernels, `fast` on what the tuner chooses; both on the context's threads, on the first
 * samples of the validation split (repeated where it is shorter than the batch). A model of a fixed batch keeps its
 * own. Error: DEFT_INVALID (shapes). */
DEFT_MUST_CHECK deft_status deft_compare(deft_context *ctx, deft_graph *dense, deft_graph *fast, deft_tuner *tuner,
                                         const deft_dataset *data, int64_t batch, deft_comparison *comparison);

#endif
