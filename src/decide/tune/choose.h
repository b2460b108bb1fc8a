/* Kernel choice by measurement, remembered in the process and on disk. */
#ifndef DEFT_DECIDE_TUNE_CHOOSE_H
#define DEFT_DECIDE_TUNE_CHOOSE_H

#include "exec/plan/plan.h"

typedef struct deft_tuner deft_tuner;

/* Choices are kept under the context's cache directory, in a file by CPU and version, keyed by a hash of the operator, shapes,
 * nonzero pattern, layouts, isa and threads. A cache that cannot be read or does not check out is ignored; one that cannot be
 * written costs a warning. `measure` false: never times, uses the cache, else the estimate. */
DEFT_MUST_CHECK deft_status deft_tuner_new(deft_context *ctx, bool measure, deft_tuner **tuner);
void deft_tuner_free(deft_tuner *tuner);
/* A deft_chooser; `user` is the tuner. Times each kernel that accepts the request, alternating, and takes the best median. */
deft_status deft_tuner_choose(void *tuner, deft_context *ctx, const deft_request *request, deft_choice *choice);

#endif
