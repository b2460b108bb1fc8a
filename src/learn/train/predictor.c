#include "learn/train/predictor.h"

#include "learn/train/feed.h"

#include <string.h>

enum { MAX_BATCH = 256 };
static const int64_t MAX_ELEMENTS = 1 << 21; /* of a batch of samples: activations of large pictures must fit */

static int64_t batch_for(const deft_dataset *data) {
    int64_t batch = MAX_ELEMENTS / data->sample_count, longest = 1;
    for (int split = 0; split < DEFT_SPLITS; split++)
        if (data->split[split].count > longest) longest = data->split[split].count;
    if (batch > MAX_BATCH) batch = MAX_BATCH;
    if (batch > longest) batch = longest;
    return batch < 1 ? 1 : batch;
}

static deft_status check_output(deft_context *ctx, const deft_value *output, int64_t batch) {
    const deft_tensor *desc = &output->desc;
    char text[DEFT_SHAPE_TEXT_BYTES];
    if (desc->dtype == DEFT_F32 && desc->rank >= 1 && desc->dims[0] == batch && deft_tensor_count(desc) > 0)
        return DEFT_OK;
    return deft_fail(ctx, DEFT_INVALID, "output '%.64s' is %s %s; expected f32 with the batch, here %lld, in front",
                     output->name, deft_dtype_name(desc->dtype), deft_shape_text(desc, text, sizeof text),
                     (long long)batch);
}

deft_status deft_predictor_init(deft_context *ctx, const deft_graph *graph, const deft_dataset *data, int64_t batch,
                                deft_predictor *predictor) {
    *predictor = (deft_predictor){.sample_count = data->sample_count};
    deft_binding binding;
    DEFT_TRY(deft_feed_bind(ctx, graph, data, batch ? batch : batch_for(data), &binding));
    batch = predictor->batch = binding.dims[0];
    deft_plan_options options = {.batch = batch, .bindings = &binding, .binding_count = 1};
    /* Not changed: a plan that is not for training clones it. */
    DEFT_TRY(deft_plan_new(ctx, (deft_graph *)graph, &options, &predictor->plan));
    const deft_graph *planned = predictor->plan->graph;
    if (planned->output_count < 1) return deft_fail(ctx, DEFT_INVALID, "the model has no output");
    DEFT_TRY(check_output(ctx, &planned->values[planned->outputs[0]], batch));
    DEFT_TRY(deft_executor_new(predictor->plan, &predictor->executor));
    const deft_tensor *y = deft_executor_tensor(predictor->executor, planned->outputs[0]);
    predictor->x = deft_executor_tensor(predictor->executor, planned->inputs[0])->data;
    predictor->y = y->data;
    predictor->outputs = deft_tensor_count(y) / batch;
    return DEFT_OK;
}

void deft_predictor_done(deft_predictor *predictor) {
    deft_executor_free(predictor->executor);
    deft_plan_free(predictor->plan);
}

deft_status deft_predictor_run(deft_predictor *predictor, int64_t count) {
    size_t bytes = (size_t)predictor->sample_count * sizeof *predictor->x;
    for (int64_t i = count; i < predictor->batch; i++)
        memcpy((char *)predictor->x + (size_t)i * bytes, predictor->x, bytes);
    return deft_executor_run(predictor->executor);
}

deft_op deft_graph_head(const deft_graph *graph) {
    const deft_value *output = &graph->values[graph->outputs[0]];
    if (output->producer < 0 || output->desc.rank != 2) return DEFT_OP_COUNT;
    const deft_node *node = &graph->nodes[output->producer];
    if (node->op != DEFT_OP_SOFTMAX && node->op != DEFT_OP_LOG_SOFTMAX) return DEFT_OP_COUNT;
    int64_t axis = deft_attr_int(&node->attrs, "axis", -1);
    return axis == 1 || axis == -1 ? node->op : DEFT_OP_COUNT;
}
