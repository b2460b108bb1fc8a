#include "face/api/model.h"

deft_status deft_model_wrap(deft_context *ctx, deft_graph *graph, char *frontier, deft_model **model) {
    deft_model *wrapped;
    deft_status status = deft_allocate_zeroed(ctx, 1, sizeof *wrapped, &wrapped);
    if (status != DEFT_OK) {
        deft_graph_free(graph);
        deft_release(ctx, frontier);
        return status;
    }
    *wrapped = (deft_model){ctx, {graph, frontier}};
    *model = wrapped;
    return DEFT_OK;
}

deft_status deft_model_load(deft_context *context, const char *path, deft_model **model) {
    deft_model_file file = {0};
    DEFT_TRY(deft_model_file_load(context, path, &file));
    return deft_model_wrap(context, file.graph, file.frontier, model);
}

deft_status deft_model_load_memory(deft_context *context, const void *data, size_t bytes, deft_model **model) {
    deft_model_file file = {0};
    DEFT_TRY(deft_model_file_parse(context, data, bytes, &file));
    return deft_model_wrap(context, file.graph, file.frontier, model);
}

deft_status deft_model_save(const deft_model *model, const char *path) {
    return deft_model_file_save(model->ctx, path, model->file.graph, model->file.frontier);
}

void deft_model_free(deft_model *model) {
    if (!model) return;
    deft_graph_free(model->file.graph);
    deft_release(model->ctx, model->file.frontier);
    deft_release(model->ctx, model);
}
