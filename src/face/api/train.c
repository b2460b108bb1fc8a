#include "face/api/model.h"
#include "learn/train/fingerprint.h"
#include "learn/train/trainer.h"

#include <math.h>
#include <string.h>

struct deft_train_session {
    deft_context *ctx;
    deft_graph *graph; /* the model as it was given: what deft_train_session_model copies */
    deft_loss_graph net;
    deft_trainer trainer;
    deft_loss_function function;
    void *user;
    deft_tensor *outputs, *gradients; /* for the function */
    uint64_t print;                   /* of all that decides what a state means */
};

/* ---- the caller's loss --------------------------------------------------------------------------------------- */

static deft_status ask_function(void *user, float *loss) {
    deft_train_session *session = user;
    double value = NAN;
    for (int i = 0; i < session->net.model_outputs; i++)
        if (session->gradients[i].data)
            memset(session->gradients[i].data, 0, deft_tensor_bytes(&session->gradients[i]));
    if (!session->function(session->user, session->net.model_outputs, session->outputs, session->gradients, &value))
        return deft_fail(session->ctx, DEFT_CANCELLED, "the loss function stopped the training");
    *loss = (float)value;
    return DEFT_OK;
}

static deft_status list_tensors(deft_train_session *session) {
    deft_arena *arena = &session->trainer.arena;
    size_t count = (size_t)session->net.model_outputs;
    DEFT_TRY(deft_arena_array(arena, count, sizeof *session->outputs, &session->outputs));
    DEFT_TRY(deft_arena_array(arena, count, sizeof *session->gradients, &session->gradients));
    for (size_t i = 0; i < count; i++) {
        session->outputs[i] = *deft_executor_tensor(session->trainer.executor, session->net.graph->outputs[i]);
        session->gradients[i] = session->outputs[i];
        session->gradients[i].data = NULL;
        if (session->net.seeds[i] != DEFT_NO_VALUE)
            session->gradients[i] = *deft_executor_tensor(session->trainer.executor, session->net.seeds[i]);
    }
    session->trainer.own_loss = ask_function;
    session->trainer.own_user = session;
    return DEFT_OK;
}

/* ---- sessions ------------------------------------------------------------------------------------------------ */

static deft_status check_options(deft_context *ctx, const deft_train_session_options *o) {
    int losses = (o->function != NULL) + (o->loss_model != NULL) + (o->loss != DEFT_LOSS_DEFAULT);
    if (o->batch < 0 || o->loss < DEFT_LOSS_DEFAULT || o->loss > DEFT_LOSS_PERCENTAGE_ERROR)
        return deft_fail(ctx, DEFT_INVALID,
                         "the batch of a training session is %lld, its loss %d: expected 0 (the "
                         "default) or more, and one of deft_loss",
                         (long long)o->batch, (int)o->loss);
    if (losses <= 1) return DEFT_OK;
    return deft_fail(ctx, DEFT_INVALID, "a training session has one loss: a function, a model or a kind; %d are given",
                     losses);
}

static deft_status take_print(deft_train_session *session, const deft_train_session_options *o) {
    const uint8_t keeps = o->keep_zeros;
    session->print = deft_fingerprint_optimizer(DEFT_FINGERPRINT_START, &session->trainer.options);
    session->print = deft_fingerprint_bytes(session->print, &keeps, sizeof keeps);
    return deft_fingerprint_structure(session->ctx, session->net.graph, &session->print);
}

static deft_status make(deft_train_session *session, const deft_model *model, const deft_train_session_options *o) {
    deft_context *ctx = session->ctx;
    deft_own_loss loss = {
        .by_caller = o->function != NULL, .graph = o->loss_model ? o->loss_model->file.graph : NULL, .kind = o->loss};
    deft_optimizer_options optimizer;
    DEFT_TRY(check_options(ctx, o));
    DEFT_TRY(deft_optimizer_fill_in(ctx, &o->optimizer, &optimizer));
    DEFT_TRY(deft_graph_clone(ctx, model->file.graph, &session->graph));
    DEFT_TRY(deft_loss_graph_init_own(ctx, session->graph, o->batch ? o->batch : 1, &loss, &session->net));
    DEFT_TRY(deft_trainer_init(ctx, &session->net, &optimizer, o->keep_zeros, &session->trainer));
    session->function = o->function;
    session->user = o->user;
    if (o->function) DEFT_TRY(list_tensors(session));
    return take_print(session, o);
}

deft_status deft_train_session_new(const deft_model *model, const deft_train_session_options *options,
                                   deft_train_session **session) {
    static const deft_train_session_options none = {0};
    deft_train_session *made;
    DEFT_TRY(deft_allocate_zeroed(model->ctx, 1, sizeof *made, &made));
    made->ctx = model->ctx;
    deft_status status = make(made, model, options ? options : &none);
    if (status == DEFT_OK)
        *session = made;
    else
        deft_train_session_free(made);
    return status;
}

void deft_train_session_free(deft_train_session *session) {
    if (!session) return;
    deft_trainer_done(&session->trainer);
    deft_loss_graph_done(&session->net);
    deft_graph_free(session->graph);
    deft_release(session->ctx, session);
}

static deft_status find(const deft_train_session *session, const char *what, const int *values, int count,
                        const char *name, deft_tensor *tensor) {
    const deft_graph *graph = session->net.graph;
    for (int i = 0; i < count; i++)
        if (strcmp(graph->values[values[i]].name, name) == 0) {
            *tensor = *deft_executor_tensor(session->trainer.executor, values[i]);
            return DEFT_OK;
        }
    return deft_fail(session->ctx, DEFT_INVALID, "the training session has no %s '%s'; its first of %d is '%s'", what,
                     name, count, count > 0 ? graph->values[values[0]].name : "");
}

deft_status deft_train_session_input(deft_train_session *session, const char *name, deft_tensor *tensor) {
    const deft_graph *graph = session->net.graph;
    return find(session, "input", graph->inputs, graph->input_count, name, tensor);
}

deft_status deft_train_session_output(deft_train_session *session, const char *name, deft_tensor *tensor) {
    return find(session, "output", session->net.graph->outputs, session->net.model_outputs, name, tensor);
}

deft_status deft_train_session_step(deft_train_session *session, double learning_rate, double *loss) {
    float value = NAN;
    if (!(learning_rate > 0 && learning_rate < INFINITY))
        return deft_fail(session->ctx, DEFT_INVALID, "the learning rate is %g; expected a positive number",
                         learning_rate);
    DEFT_TRY(deft_trainer_step(&session->trainer, (float)learning_rate, &value));
    if (!isfinite(value))
        return deft_fail(session->ctx, DEFT_INVALID,
                         "step %lld: the loss or a gradient is not finite (%g): the learning rate %g may be too high, "
                         "or the model or the data hold huge values; nothing has changed",
                         (long long)session->trainer.steps + 1, (double)value, learning_rate);
    if (loss) *loss = (double)value;
    return DEFT_OK;
}

deft_status deft_train_session_model(const deft_train_session *session, deft_model **model) {
    deft_graph *graph;
    DEFT_TRY(deft_graph_clone(session->ctx, session->graph, &graph));
    deft_trainer_store(&session->trainer, graph);
    return deft_model_wrap(session->ctx, graph, NULL, model);
}

/* ---- states -------------------------------------------------------------------------------------------------- */

/* As of a run whose first epoch is done: one of none would hold nothing. */
static deft_checkpoint checkpoint_of(const deft_train_session *session) {
    return (deft_checkpoint){
        .run = session->print, .epoch = 1, .parts = session->trainer.parts, .part_count = session->trainer.part_count};
}

deft_status deft_train_session_save(const deft_train_session *session, const char *path) {
    deft_checkpoint checkpoint = checkpoint_of(session);
    return deft_checkpoint_write(session->ctx, path, &checkpoint);
}

deft_status deft_train_session_resume(deft_train_session *session, const char *path) {
    deft_checkpoint checkpoint = checkpoint_of(session);
    bool found;
    DEFT_TRY(deft_checkpoint_read(session->ctx, path, &checkpoint, &found));
    return found ? DEFT_OK : deft_fail(session->ctx, DEFT_INVALID, "%s: there is no such state of a session", path);
}
