#include "face/api/model.h"

#include <string.h>

deft_status deft_session_plan(const deft_model *model, const deft_plan_options *options, bool tune,
                              deft_session **session) {
    deft_session *made;
    DEFT_TRY(deft_allocate_zeroed(model->ctx, 1, sizeof *made, &made));
    made->ctx = model->ctx;
    deft_plan_options with_tuner = *options;
    deft_status status;
    if (!options->choose) {
        DEFT_TRY_OR_FAIL(deft_tuner_new(model->ctx, tune ? DEFT_TUNE_QUICK : DEFT_TUNE_NEVER, &made->tuner));
        with_tuner.choose = deft_tuner_choose;
        with_tuner.choose_user = made->tuner;
    }
    DEFT_TRY_OR_FAIL(deft_plan_new(model->ctx, model->file.graph, &with_tuner, &made->plan));
    DEFT_TRY_OR_FAIL(deft_executor_new(made->plan, &made->executor));
    *session = made;
    return DEFT_OK;
fail:
    deft_session_free(made);
    return status;
}

deft_status deft_session_new(const deft_model *model, const deft_session_options *options, deft_session **session) {
    if (options && options->batch < 0)
        return deft_fail(model->ctx, DEFT_INVALID, "the batch of a session is %lld; it must be positive, or 0 for 1",
                         (long long)options->batch);
    deft_plan_options planning = {.batch = options && options->batch ? options->batch : 1};
    return deft_session_plan(model, &planning, options && options->tune, session);
}

void deft_session_free(deft_session *session) {
    if (!session) return;
    deft_executor_free(session->executor);
    deft_plan_free(session->plan);
    deft_tuner_free(session->tuner);
    deft_release(session->ctx, session);
}

int deft_session_input_count(const deft_session *session) {
    return session->plan->graph->input_count;
}

int deft_session_output_count(const deft_session *session) {
    return session->plan->graph->output_count;
}

static const char *name_at(const deft_graph *graph, const int *values, int count, int index) {
    return index >= 0 && index < count ? graph->values[values[index]].name : NULL;
}

const char *deft_session_input_name(const deft_session *session, int index) {
    const deft_graph *graph = session->plan->graph;
    return name_at(graph, graph->inputs, graph->input_count, index);
}

const char *deft_session_output_name(const deft_session *session, int index) {
    const deft_graph *graph = session->plan->graph;
    return name_at(graph, graph->outputs, graph->output_count, index);
}

static deft_status tensor_named(deft_session *session, const char *what, const int *values, int count, const char *name,
                                deft_tensor *tensor) {
    const deft_graph *graph = session->plan->graph;
    for (int i = 0; i < count; i++) {
        if (strcmp(graph->values[values[i]].name, name) != 0) continue;
        *tensor = *deft_executor_tensor(session->executor, values[i]);
        return DEFT_OK;
    }
    return deft_fail(session->ctx, DEFT_INVALID, "the model has no %s '%s'; its first of %d is '%s'", what, name, count,
                     count > 0 ? graph->values[values[0]].name : "");
}

deft_status deft_session_input(deft_session *session, const char *name, deft_tensor *tensor) {
    const deft_graph *graph = session->plan->graph;
    return tensor_named(session, "input", graph->inputs, graph->input_count, name, tensor);
}

deft_status deft_session_output(deft_session *session, const char *name, deft_tensor *tensor) {
    const deft_graph *graph = session->plan->graph;
    return tensor_named(session, "output", graph->outputs, graph->output_count, name, tensor);
}

deft_status deft_session_run(deft_session *session) {
    return deft_executor_run(session->executor);
}
