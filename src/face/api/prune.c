#include "face/api/model.h"
#include "learn/approx/second_order.h"

enum { SAMPLES = 512 };

static deft_status calibrate(deft_context *ctx, deft_graph *graph, const deft_prune_options *options,
                             const char *spec) {
    deft_calibration calibration;
    deft_second_order_options second = {.prune = *options};
    deft_status status = deft_calibration_open(ctx, spec, graph, SAMPLES, &calibration);
    if (status == DEFT_OK) status = deft_prune_second_order(ctx, graph, &calibration, &second);
    deft_calibration_done(&calibration);
    return status;
}

deft_status deft_prune(const deft_model *model, const deft_prune_options *options, const char *calibration,
                       deft_model **pruned) {
    deft_context *ctx = model->ctx;
    deft_prune_options wanted = options ? *options : (deft_prune_options){0};
    deft_graph *graph;
    DEFT_TRY(deft_graph_clone(ctx, model->file.graph, &graph));
    deft_status status =
        calibration ? calibrate(ctx, graph, &wanted, calibration) : deft_prune_graph(ctx, graph, &wanted);
    if (status == DEFT_OK) return deft_model_wrap(ctx, graph, NULL, pruned);
    deft_graph_free(graph);
    return status;
}
