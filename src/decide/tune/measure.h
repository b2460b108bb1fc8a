/* Latency of what can be run, measured against each other. */
#ifndef DEFT_DECIDE_TUNE_MEASURE_H
#define DEFT_DECIDE_TUNE_MEASURE_H

#include "base/core/timing.h"
#include "base/core/context.h"

/* What is timed. */
typedef struct deft_runnable {
    deft_status (*run)(void *subject);
    void *subject;
} deft_runnable;

/* Runs them in alternation (a, b, a, b, ...) after warm-up, each as often as the others: at least `min_runs`
 * times, and until `seconds` times `count` have gone by. Gives the latency of a run in microseconds. Inputs hold what
 * the caller put there. Errors: those of a run, DEFT_CANCELLED by the progress callback, which is called between runs.
 */
DEFT_MUST_CHECK deft_status deft_measure(deft_context *ctx, const deft_runnable *runnables, int count, double seconds,
                                         int64_t min_runs, deft_timing *timings);

#endif
