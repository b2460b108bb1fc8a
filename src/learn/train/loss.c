#include "learn/train/loss.h"

#include <string.h>

int deft_logits(const deft_graph *graph) {
    int output = graph->outputs[0], producer = graph->values[output].producer;
    if (producer < 0) return output;
    const deft_node *node = &graph->nodes[producer];
    return node->op == DEFT_OP_SOFTMAX || node->op == DEFT_OP_LOG_SOFTMAX ? node->in[0] : output;
}

static deft_status add_loss(deft_training *t, bool classify) {
    deft_graph *graph = t->graph;
    int y = classify ? deft_logits(graph) : graph->outputs[0], node;
    const deft_tensor shape = graph->values[y].desc;
    if (shape.dtype != DEFT_F32)
        return deft_fail(t->ctx, DEFT_INVALID, "output '%s' is %s; training needs f32", graph->values[y].name,
                         deft_dtype_name(shape.dtype));
    DEFT_TRY(deft_graph_add_input(graph, NULL, DEFT_F32, shape.rank, shape.dims, NULL, &t->targets));
    DEFT_TRY(deft_graph_add_value(graph, NULL, &t->loss));
    DEFT_TRY(deft_graph_add_node(graph, classify ? DEFT_OP_SOFTMAX_CROSS_ENTROPY : DEFT_OP_MEAN_SQUARED_ERROR, "loss",
                                 NULL, 0, (int[]){y, t->targets}, 2, &t->loss, 1, &node));
    return deft_graph_infer_node(graph, node);
}

static bool is_parameter(const deft_value *value) {
    return value->desc.data && value->desc.dtype == DEFT_F32 && value->desc.rank >= 1 && value->producer < 0;
}

/* Lists the constants that could be trained and asks for their gradients; keeps those that have one. */
static deft_status add_gradients(deft_training *t) {
    deft_graph *graph = t->graph;
    int count = 0, kept = 0;
    DEFT_TRY(deft_arena_array(&graph->arena, (size_t)graph->value_count, sizeof(int), &t->parameters));
    DEFT_TRY(deft_arena_array(&graph->arena, (size_t)graph->value_count, sizeof(int), &t->gradients));
    for (int i = 0; i < graph->value_count; i++)
        if (is_parameter(&graph->values[i])) t->parameters[count++] = i;
    DEFT_TRY(deft_grad_build(graph, t->loss, t->parameters, count, t->gradients));
    for (int i = 0; i < count; i++) {
        if (t->gradients[i] == DEFT_NO_VALUE) continue;
        graph->values[t->parameters[i]].variable = true;
        t->parameters[kept] = t->parameters[i];
        t->gradients[kept++] = t->gradients[i];
    }
    t->parameter_count = kept;
    return kept ? DEFT_OK : deft_fail(t->ctx, DEFT_INVALID, "the model has no weights that its output depends on");
}

/* What a training step needs: the loss, the gradients, the statistics of the batch. */
static deft_status set_outputs(deft_training *t) {
    deft_graph *graph = t->graph;
    graph->output_count = 0;
    DEFT_TRY(deft_graph_add_output(graph, t->loss));
    for (int i = 0; i < t->parameter_count; i++)
        DEFT_TRY(deft_graph_add_output(graph, t->gradients[i]));
    for (int i = 0; i < t->stats_count; i++) {
        DEFT_TRY(deft_graph_add_output(graph, t->stats[i].batch_mean));
        DEFT_TRY(deft_graph_add_output(graph, t->stats[i].batch_var));
    }
    return deft_graph_verify(graph);
}

static deft_status build(deft_training *t, int64_t batch, bool classify) {
    deft_graph *graph = t->graph;
    if (graph->input_count != 1 || graph->output_count != 1)
        return deft_fail(t->ctx, DEFT_INVALID, "the model has %d inputs and %d outputs; training needs one of each",
                         graph->input_count, graph->output_count);
    t->x = graph->inputs[0];
    DEFT_TRY(deft_graph_infer(graph, batch, NULL, 0));
    DEFT_TRY(deft_grad_use_batch_statistics(graph, &t->stats, &t->stats_count));
    DEFT_TRY(deft_graph_verify(graph));
    DEFT_TRY(deft_graph_infer(graph, batch, NULL, 0));
    DEFT_TRY(add_loss(t, classify));
    DEFT_TRY(deft_graph_verify(graph));
    DEFT_TRY(add_gradients(t));
    DEFT_TRY(set_outputs(t));
    DEFT_TRY(deft_plan_new(t->ctx, graph, &(deft_plan_options){.batch = batch, .training = true}, &t->plan));
    return deft_executor_new(t->plan, &t->executor);
}

deft_status deft_training_init(deft_context *ctx, const deft_graph *model, int64_t batch, bool classify,
                               deft_training *training) {
    *training = (deft_training){.ctx = ctx};
    deft_status status = deft_graph_clone(ctx, model, &training->graph);
    if (status == DEFT_OK) status = build(training, batch, classify);
    if (status != DEFT_OK) deft_training_done(training);
    return status;
}

void deft_training_done(deft_training *training) {
    deft_executor_free(training->executor);
    deft_plan_free(training->plan);
    deft_graph_free(training->graph);
    *training = (deft_training){.ctx = training->ctx};
}

static void store(const deft_training *training, deft_graph *model, int value) {
    const deft_tensor *from = &training->graph->values[value].desc;
    memcpy(model->values[value].desc.data, from->data, deft_tensor_bytes(from));
}

void deft_training_store(const deft_training *training, deft_graph *model) {
    for (int i = 0; i < training->parameter_count; i++)
        store(training, model, training->parameters[i]);
    for (int i = 0; i < training->stats_count; i++) {
        store(training, model, training->stats[i].running_mean);
        store(training, model, training->stats[i].running_var);
    }
}
