/* What is behind the handles of deft.h: for the commands, which look deeper than a user of the library. */
#ifndef DEFT_FACE_API_MODEL_H
#define DEFT_FACE_API_MODEL_H

#include "decide/tune/choose.h"
#include "exec/run/program.h"
#include "ir/model/file.h"

struct deft_model {
    deft_context *ctx;
    deft_model_file file;
};

/* Makes a model of a graph and the text of a frontier (or NULL). Takes both over, also where it fails.
 * Error: DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_model_wrap(deft_context *ctx, deft_graph *graph, char *frontier, deft_model **model);

struct deft_session {
    deft_context *ctx;
    deft_tuner *tuner; /* NULL where the caller chose the kernels */
    deft_program *program;
};

/* Makes a session of a graph that is taken over, also where it fails; else as deft_session_plan. */
DEFT_MUST_CHECK deft_status deft_session_take(deft_graph *graph, const deft_plan_options *options, bool tune,
                                              deft_session **session);
/* deft_session_new with the planner's options; where `options->choose` is not set, a tuner chooses, and measures where
 * `tune` is set. */
DEFT_MUST_CHECK deft_status deft_session_plan(const deft_model *model, const deft_plan_options *options, bool tune,
                                              deft_session **session);

#endif
