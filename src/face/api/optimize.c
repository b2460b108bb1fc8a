#include "decide/tune/optimize.h"
#include "face/api/model.h"

static deft_status check_options(deft_context *ctx, const deft_optimize_options *options) {
    if (!(options->max_drop >= 0 && options->max_drop <= 100))
        return deft_fail(ctx, DEFT_INVALID, "max_drop is %g; it must be from 0 to 100 percentage points",
                         options->max_drop);
    if (options->epochs < 0)
        return deft_fail(ctx, DEFT_INVALID, "epochs is %d; it must be positive, or 0 for the default", options->epochs);
    return DEFT_OK;
}

deft_status deft_optimize(const deft_model *model, const char *data, const deft_optimize_options *options,
                          deft_model **fast, deft_point *chosen) {
    deft_context *ctx = model->ctx;
    deft_optimize_options checked = options ? *options : (deft_optimize_options){0};
    DEFT_TRY(check_options(ctx, &checked));
    deft_dataset *dataset;
    DEFT_TRY(deft_dataset_open(ctx, data, &dataset));
    deft_graph *graph;
    char *frontier;
    deft_point point;
    deft_status status = deft_optimize_graph(ctx, model->file.graph, dataset, &checked, &graph, &frontier, &point);
    deft_dataset_free(dataset);
    if (status != DEFT_OK && status != DEFT_NO) return status;
    DEFT_TRY(deft_model_wrap(ctx, graph, frontier, fast));
    if (chosen) *chosen = point;
    return status;
}
