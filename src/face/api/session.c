#include "face/api/model.h"

#include <string.h>

deft_status deft_session_take(deft_graph *graph, const deft_plan_options *options, bool tune, deft_session **session) {
    deft_context *ctx = graph->ctx;
    deft_session *made = NULL;
    deft_plan_options with_tuner = *options;
    deft_status status;
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(ctx, 1, sizeof *made, &made));
    made->ctx = ctx;
    if (!options->choose) {
        DEFT_TRY_OR_FAIL(deft_tuner_new(ctx, tune ? DEFT_TUNE_QUICK : DEFT_TUNE_NEVER, &made->tuner));
        with_tuner.choose = deft_tuner_choose;
        with_tuner.choose_user = made->tuner;
    }
    status = deft_program_take(graph, &with_tuner, &made->program);
    graph = NULL;
    if (status == DEFT_OK) {
        *session = made;
        return DEFT_OK;
    }
fail:
    deft_graph_free(graph);
    deft_session_free(made);
    return status;
}

deft_status deft_session_plan(const deft_model *model, const deft_plan_options *options, bool tune,
                              deft_session **session) {
    deft_graph *copy;
    DEFT_TRY(deft_graph_clone_sharing(model->file.graph, &copy));
    return deft_session_take(copy, options, tune, session);
}

static deft_status read_options(deft_context *ctx, const deft_session_options *options, deft_plan_options *planning) {
    *planning = (deft_plan_options){.batch = 1};
    if (!options) return DEFT_OK;
    if (options->batch < 0)
        return deft_fail(ctx, DEFT_INVALID, "the batch of a session is %lld; it must be positive, or 0 for 1",
                         (long long)options->batch);
    if (options->batch) planning->batch = options->batch;
    planning->bindings = options->bindings;
    planning->binding_count = options->binding_count;
    return DEFT_OK;
}

deft_status deft_session_new(const deft_model *model, const deft_session_options *options, deft_session **session) {
    deft_plan_options planning;
    DEFT_TRY(read_options(model->ctx, options, &planning));
    return deft_session_plan(model, &planning, options && options->tune, session);
}

deft_status deft_session_load(deft_context *context, const char *path, const deft_session_options *options,
                              deft_session **session) {
    deft_plan_options planning;
    deft_model_file file;
    DEFT_TRY(read_options(context, options, &planning));
    DEFT_TRY(deft_model_file_load(context, path, &file));
    deft_release(context, file.frontier);
    deft_status status = deft_session_take(file.graph, &planning, options && options->tune, session);
    return status == DEFT_OK ? DEFT_OK : deft_fail_in(context, status, "%s", path);
}

void deft_session_free(deft_session *session) {
    if (!session) return;
    deft_program_free(session->program);
    deft_tuner_free(session->tuner);
    deft_release(session->ctx, session);
}

int deft_session_input_count(const deft_session *session) {
    return deft_program_input_count(session->program);
}

int deft_session_output_count(const deft_session *session) {
    return deft_program_output_count(session->program);
}

const char *deft_session_input_name(const deft_session *session, int index) {
    return deft_program_input_name(session->program, index);
}

const char *deft_session_output_name(const deft_session *session, int index) {
    return deft_program_output_name(session->program, index);
}

/* The index of a name, which `name_at` lists. */
static deft_status find_name(const deft_session *session, const char *what, int count,
                             const char *(*name_at)(const deft_session *session, int index), const char *name,
                             int *found) {
    for (*found = 0; *found < count; (*found)++)
        if (strcmp(name_at(session, *found), name) == 0) return DEFT_OK;
    return deft_fail(session->ctx, DEFT_INVALID, "the model has no %s '%s'; its first of %d is '%s'", what, name, count,
                     count > 0 ? name_at(session, 0) : "");
}

deft_status deft_session_input(deft_session *session, const char *name, deft_tensor *tensor) {
    int index, count = deft_session_input_count(session);
    DEFT_TRY(find_name(session, "input", count, deft_session_input_name, name, &index));
    *tensor = *deft_program_input(session->program, index);
    return DEFT_OK;
}

deft_status deft_session_output(deft_session *session, const char *name, deft_tensor *tensor) {
    int index, count = deft_session_output_count(session);
    DEFT_TRY(find_name(session, "output", count, deft_session_output_name, name, &index));
    const deft_tensor *output = deft_program_output(session->program, index);
    if (!output)
        return deft_fail(session->ctx, DEFT_INVALID,
                         "output '%s': its shape depends on values of the inputs: run the session first", name);
    *tensor = *output;
    return DEFT_OK;
}

deft_status deft_session_run(deft_session *session) {
    return deft_program_run(session->program);
}
