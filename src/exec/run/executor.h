/* Runs a plan. One executor serves inference, calibration and training. */
#ifndef DEFT_EXEC_RUN_EXECUTOR_H
#define DEFT_EXEC_RUN_EXECUTOR_H

#include "exec/plan/plan.h"

typedef struct deft_executor deft_executor;

/* The plan must outlive the executor. */
DEFT_MUST_CHECK deft_status deft_executor_new(const deft_plan *plan, deft_executor **executor);
void deft_executor_free(deft_executor *executor);
const deft_plan *deft_executor_plan(const deft_executor *executor);

/* The tensor of a graph input, output or constant, in ROWS: its data is the executor's (a constant's: the graph's).
 * NULL for any other value. */
deft_tensor *deft_executor_tensor(deft_executor *executor, int value);

/* Allocates nothing through the context's allocator. */
DEFT_MUST_CHECK deft_status deft_executor_run(deft_executor *executor);
/* Steps [first, past) alone. */
DEFT_MUST_CHECK deft_status deft_executor_run_steps(deft_executor *executor, int first, int past);
/* All, adding each step's time to step_ns[step] (plan->step_count long). */
DEFT_MUST_CHECK deft_status deft_executor_run_timed(deft_executor *executor, int64_t *step_ns);

#endif
