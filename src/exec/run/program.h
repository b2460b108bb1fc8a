/* A graph made ready to run for given shapes of its inputs. Where shapes, or which branch is taken, depend on values
 * that only a run computes, it runs in stages: a stage computes such a value, and the stage after it is planned with
 * the value as a constant, once for each value that is seen; the latest are kept. Most graphs have one stage. */
#ifndef DEFT_EXEC_RUN_PROGRAM_H
#define DEFT_EXEC_RUN_PROGRAM_H

#include "exec/run/executor.h"

typedef struct deft_program deft_program;

/* Plans the first stage. The graph may be freed before the program, which shares its constants: they are not to be
 * changed in place while both live. Of `options`, `training` and `inferred` do not apply; the chooser is
 * asked for later stages too. Errors: those of deft_plan_new. */
DEFT_MUST_CHECK deft_status deft_program_new(const deft_graph *graph, const deft_plan_options *options,
                                             deft_program **program);
/* The same of a graph that is taken over, also where it fails: weights that kernels pack are not kept beside that. */
DEFT_MUST_CHECK deft_status deft_program_take(deft_graph *graph, const deft_plan_options *options,
                                              deft_program **program);
void deft_program_free(deft_program *program);

int deft_program_input_count(const deft_program *program);
int deft_program_output_count(const deft_program *program);
/* In the graph's order; NULL when `index` is out of range. */
const char *deft_program_input_name(const deft_program *program, int index);
const char *deft_program_output_name(const deft_program *program, int index);
/* The input's tensor, to fill: at the same address for the program's life. */
deft_tensor *deft_program_input(deft_program *program, int index);
/* The output's tensor as the last run left it; NULL before the first run of a program of several stages. */
deft_tensor *deft_program_output(const deft_program *program, int index);

/* Allocates nothing through the context's allocator, unless a stage meets a value that is new to it. */
DEFT_MUST_CHECK deft_status deft_program_run(deft_program *program);
/* The name of the value that the stage after the first depends on; NULL where there is one stage. */
const char *deft_program_waits_for(const deft_program *program);
/* The executor of the first stage. */
deft_executor *deft_program_executor(const deft_program *program);

#endif
