/* Kernel choice by measurement, remembered in the process and on disk. */
#ifndef DEFT_DECIDE_TUNE_CHOOSE_H
#define DEFT_DECIDE_TUNE_CHOOSE_H

#include "exec/plan/plan.h"

typedef struct deft_tuner deft_tuner;

/* NEVER times; takes the file's choice, else the estimate. QUICK and FULL time every request once, whatever the file
 * says: of schedules those that the estimate does not rule out, in less than a second a request, or all. */
typedef enum deft_tuning { DEFT_TUNE_NEVER, DEFT_TUNE_QUICK, DEFT_TUNE_FULL } deft_tuning;

/* Choices are kept in the tuner, and under the context's cache directory in a file by CPU and version, keyed by a hash
 * of the operator, attributes, shapes, nonzero pattern, layouts, isa and threads. The file is written when the tuner is
 * freed. One that cannot be read or does not check out is ignored; one that cannot be written costs a warning.
 * */
DEFT_MUST_CHECK deft_status deft_tuner_new(deft_context *ctx, deft_tuning tuning, deft_tuner **tuner);
void deft_tuner_free(deft_tuner *tuner);
/* A deft_chooser; `user` is the tuner. Times each kernel that accepts the request, alternating, and takes the best
 * time; about 50 ms a request, and up to 800 ms where there are many schedules to choose from. */
deft_status deft_tuner_choose(void *tuner, deft_context *ctx, const deft_request *request, deft_choice *choice);

#endif
