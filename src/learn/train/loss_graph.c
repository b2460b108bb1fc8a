#include "learn/train/loss_graph.h"

#include "ir/pass/pass.h"
#include "learn/train/feed.h"
#include "learn/train/predictor.h"

#include <inttypes.h>

/* ---- the model ----------------------------------------------------------------------------------------------- */

static deft_status choose_loss(deft_context *ctx, const deft_dataset *data, deft_loss loss, deft_loss_graph *made) {
    const deft_graph *graph = made->graph;
    const deft_value *output = &graph->values[graph->outputs[0]];
    const deft_tensor *y = &output->desc;
    bool labelled = data->classes > 0, numbers = data->target_count > 0, teacher = made->temperature != 0;
    bool classes = labelled || (!numbers && deft_graph_head(graph) != DEFT_OP_COUNT);
    char text[DEFT_SHAPE_TEXT_BYTES];
    if (!labelled && !numbers && !teacher)
        return deft_fail(ctx, DEFT_INVALID,
                         "%s has no labels or targets to train on; add them, or distil from a teacher", data->spec);
    if (loss == DEFT_LOSS_PERCENTAGE_ERROR && !numbers && !teacher)
        return deft_fail(ctx, DEFT_INVALID,
                         "a percentage error is relative to outputs to learn, but %s has labels: take another loss, or "
                         "distil from a teacher",
                         data->spec);
    if (loss == DEFT_LOSS_CROSS_ENTROPY && y->rank != 2)
        return deft_fail(ctx, DEFT_INVALID, "output '%.64s' is %s; cross-entropy needs the batch and the classes",
                         output->name, deft_shape_text(y, text, sizeof text));
    if (labelled && (y->rank != 2 || y->dims[1] < data->classes))
        return deft_fail(ctx, DEFT_INVALID, "output '%.64s' is %s; the %d classes of %s need %" PRId64 "x%d or more",
                         output->name, deft_shape_text(y, text, sizeof text), data->classes, data->spec, made->batch,
                         data->classes);
    if (y->rank < 1 || y->dims[0] != made->batch || deft_tensor_count(y) == 0)
        return deft_fail(ctx, DEFT_INVALID, "output '%.64s' is %s; expected the batch, here %" PRId64 ", in front",
                         output->name, deft_shape_text(y, text, sizeof text), made->batch);
    made->kind = loss != DEFT_LOSS_DEFAULT ? loss : classes ? DEFT_LOSS_CROSS_ENTROPY : DEFT_LOSS_SQUARED_ERROR;
    made->outputs = deft_tensor_count(y) / made->batch;
    if (teacher && made->temperature != 1 && made->kind != DEFT_LOSS_CROSS_ENTROPY)
        return deft_fail(ctx, DEFT_INVALID, "a temperature of %g is of classes: it needs cross-entropy as the loss",
                         (double)made->temperature);
    if (!numbers || data->target_count == made->outputs) return DEFT_OK;
    return deft_fail(ctx, DEFT_INVALID, "output '%.64s' is %s; %s has %" PRId64 " targets for each sample",
                     output->name, deft_shape_text(y, text, sizeof text), data->spec, data->target_count);
}

/* The model at the batch, its first output alone, and without the Softmax that the loss takes in. */
static deft_status prepare_model(deft_context *ctx, const deft_graph *original, const deft_dataset *data, int64_t batch,
                                 deft_loss loss, deft_loss_graph *made) {
    deft_binding binding;
    DEFT_TRY(deft_feed_bind(ctx, original, data, batch, &binding));
    made->batch = binding.dims[0];
    DEFT_TRY(deft_graph_clone(ctx, original, &made->graph));
    deft_graph *graph = made->graph;
    DEFT_TRY(deft_graph_infer(graph, made->batch, &binding, 1));
    if (graph->output_count < 1) return deft_fail(ctx, DEFT_INVALID, "the model has no output");
    graph->output_count = 1;
    DEFT_TRY(deft_pass_identity(graph));
    DEFT_TRY(choose_loss(ctx, data, loss, made));
    if (made->kind == DEFT_LOSS_CROSS_ENTROPY && deft_graph_head(graph) != DEFT_OP_COUNT)
        graph->outputs[0] = graph->nodes[graph->values[graph->outputs[0]].producer].in[0];
    return deft_pass_dead(graph);
}

/* ---- what is learned ----------------------------------------------------------------------------------------- */

/* What values depend on; by value id. */
typedef struct dependence {
    bool *input; /* on the graph's input */
    bool *layer; /* on the output of a layer, which has weights */
    bool *preprocessing;
} dependence;

static bool is_layer(const deft_graph *graph, const deft_node *node) {
    switch (node->op) {
    case DEFT_OP_GEMM:
    case DEFT_OP_MATMUL:
    case DEFT_OP_CONV:
    case DEFT_OP_CONV_TRANSPOSE:
    case DEFT_OP_BATCH_NORM:
    case DEFT_OP_INSTANCE_NORM:
    case DEFT_OP_LAYER_NORM:
    case DEFT_OP_RMS_NORM:
    case DEFT_OP_GROUP_NORM:
    case DEFT_OP_EINSUM:
    case DEFT_OP_ATTENTION:
    case DEFT_OP_RNN:
    case DEFT_OP_GRU:
    case DEFT_OP_LSTM:
        return true;
    case DEFT_OP_GATHER: /* of an embedding, by the input */
        return graph->values[node->in[0]].desc.data != NULL;
    default:
        return false;
    }
}

static bool any_of(const bool *property, const deft_node *node) {
    for (int i = 0; i < node->in_count; i++)
        if (node->in[i] != DEFT_NO_VALUE && property[node->in[i]]) return true;
    return false;
}

static deft_status find_dependence(const deft_graph *graph, deft_arena *scratch, dependence *d) {
    size_t count = (size_t)graph->value_count;
    DEFT_TRY(deft_arena_array(scratch, count, sizeof(bool), &d->input));
    DEFT_TRY(deft_arena_array(scratch, count, sizeof(bool), &d->layer));
    DEFT_TRY(deft_arena_array(scratch, count, sizeof(bool), &d->preprocessing));
    for (int i = 0; i < graph->input_count; i++)
        d->input[graph->inputs[i]] = true;
    for (int i = 0; i < graph->node_count; i++) {
        const deft_node *node = &graph->nodes[i];
        bool input = any_of(d->input, node), layer = input && (is_layer(graph, node) || any_of(d->layer, node));
        for (int j = 0; j < node->out_count; j++) {
            if (node->out[j] == DEFT_NO_VALUE) continue;
            d->input[node->out[j]] = input;
            d->layer[node->out[j]] = layer;
        }
        for (int j = 0; j < node->in_count && input && !layer; j++)
            if (node->in[j] != DEFT_NO_VALUE) d->preprocessing[node->in[j]] = true;
    }
    return DEFT_OK;
}

static bool is_learnable(const deft_value *value) {
    return value->desc.data && value->producer < 0 && value->desc.dtype == DEFT_F32 && value->desc.rank > 0 &&
           deft_tensor_count(&value->desc) > 0;
}

/* Lists the constants that may be learned, and marks those that pruning prunes. */
static deft_status list_learned(const deft_graph *original, deft_loss_graph *made, deft_arena *scratch) {
    deft_graph *graph = made->graph;
    dependence d;
    bool *prunable; /* by value */
    DEFT_TRY(find_dependence(graph, scratch, &d));
    DEFT_TRY(deft_arena_array(scratch, (size_t)graph->value_count, sizeof *prunable, &prunable));
    DEFT_TRY(deft_arena_array(&graph->arena, (size_t)graph->value_count, sizeof *made->learned, &made->learned));
    for (int i = 0; i < graph->node_count; i++) {
        int weight = deft_node_weight(graph, &graph->nodes[i]);
        if (weight != DEFT_NO_VALUE) prunable[weight] = true;
    }
    for (int i = 0; i < graph->value_count; i++) {
        const deft_value *value = &graph->values[i];
        if (!is_learnable(value) || d.preprocessing[i]) continue;
        made->learned[made->learned_count++] = (deft_learned){.value = i,
                                                              .original = deft_graph_find(original, value->name),
                                                              .grad = DEFT_NO_VALUE,
                                                              .count = deft_tensor_count(&value->desc),
                                                              .prunable = prunable[i],
                                                              .decays = value->desc.rank > 1};
    }
    return DEFT_OK;
}

/* ---- loss and gradients -------------------------------------------------------------------------------------- */

static deft_status add_node(deft_graph *graph, deft_op op, const char *name, int a, int b, int *out) {
    int node;
    DEFT_TRY(deft_graph_add_value(graph, NULL, out));
    DEFT_TRY(deft_graph_add_node(graph, op, name, NULL, 0, (int[]){a, b}, 2, out, 1, &node));
    return deft_graph_infer_node(graph, node);
}

/* Adds a loss of value `output`, and an input for its targets. */
static deft_status add_loss(deft_loss_graph *made, int output, const char *name, int *targets, int *loss) {
    static const deft_op ops[] = {[DEFT_LOSS_CROSS_ENTROPY] = DEFT_OP_SOFTMAX_CROSS_ENTROPY,
                                  [DEFT_LOSS_SQUARED_ERROR] = DEFT_OP_MEAN_SQUARED_ERROR,
                                  [DEFT_LOSS_PERCENTAGE_ERROR] = DEFT_OP_MEAN_PERCENTAGE_ERROR};
    deft_tensor y = made->graph->values[output].desc;
    DEFT_TRY(deft_graph_add_input(made->graph, name, DEFT_F32, y.rank, y.dims, NULL, targets));
    return add_node(made->graph, ops[made->kind], "loss", output, *targets, loss);
}

static bool is_running_statistic(const deft_loss_graph *made, int value) {
    for (int i = 0; i < made->stat_count; i++)
        if (made->stats[i].running_mean == value || made->stats[i].running_var == value) return true;
    return false;
}

/* Adds the gradients, and keeps of what may be learned that which has one, and the running statistics. */
static deft_status add_gradients(deft_loss_graph *made, deft_arena *scratch) {
    deft_graph *graph = made->graph;
    int *wrt, *grads, kept = 0;
    DEFT_TRY(deft_arena_array(scratch, (size_t)made->learned_count, sizeof *wrt, &wrt));
    DEFT_TRY(deft_arena_array(scratch, (size_t)made->learned_count, sizeof *grads, &grads));
    for (int i = 0; i < made->learned_count; i++)
        wrt[i] = made->learned[i].value;
    if (made->seeds)
        DEFT_TRY(deft_grad_build_from(graph, graph->outputs, made->seeds, made->model_outputs, wrt, made->learned_count,
                                      grads));
    else
        DEFT_TRY(deft_grad_build(graph, made->loss, wrt, made->learned_count, grads));
    bool any = false;
    for (int i = 0; i < made->learned_count; i++) {
        deft_learned learned = made->learned[i];
        learned.grad = grads[i];
        if (grads[i] == DEFT_NO_VALUE && !is_running_statistic(made, learned.value)) continue;
        graph->values[learned.value].variable = true;
        any |= grads[i] != DEFT_NO_VALUE;
        if (grads[i] != DEFT_NO_VALUE) DEFT_TRY(deft_graph_add_output(graph, grads[i]));
        made->learned[kept++] = learned;
    }
    made->learned_count = kept;
    if (any) return DEFT_OK;
    return deft_fail(graph->ctx, DEFT_INVALID, "there is nothing to train: the loss has a gradient for no constant");
}

static deft_status add_statistics(deft_loss_graph *made) {
    for (int i = 0; i < made->stat_count; i++) {
        DEFT_TRY(deft_graph_add_output(made->graph, made->stats[i].batch_mean));
        DEFT_TRY(deft_graph_add_output(made->graph, made->stats[i].batch_var));
    }
    return DEFT_OK;
}

/* What is learned, the loss that `add` adds, and the gradients. */
static deft_status complete(deft_context *ctx, const deft_graph *original, const deft_own_loss *own,
                            deft_status (*add)(deft_loss_graph *made, const deft_own_loss *own),
                            deft_loss_graph *made) {
    deft_arena scratch;
    deft_arena_init(&scratch, ctx);
    deft_status status;
    DEFT_TRY_OR_FAIL(list_learned(original, made, &scratch));
    DEFT_TRY_OR_FAIL(deft_grad_use_batch_statistics(made->graph, &made->stats, &made->stat_count));
    made->forward_nodes = made->graph->node_count;
    DEFT_TRY_OR_FAIL(add(made, own));
    DEFT_TRY_OR_FAIL(add_gradients(made, &scratch));
    DEFT_TRY_OR_FAIL(add_statistics(made));
fail:
    deft_arena_done(&scratch);
    return status;
}

/* Adds to the loss the cross-entropy of the logits over the temperature. source: HINTON2015, 2 */
static deft_status add_soft_loss(deft_loss_graph *made, int logits) {
    deft_graph *graph = made->graph;
    float inverse = 1 / made->temperature;
    int factor, scaled, loss;
    DEFT_TRY(deft_graph_add_constant(graph, NULL, &(deft_tensor){.dtype = DEFT_F32, .data = &inverse}, &factor));
    DEFT_TRY(add_node(graph, DEFT_OP_MUL, NULL, logits, factor, &scaled));
    DEFT_TRY(add_loss(made, scaled, NULL, &made->soft_targets, &loss));
    return add_node(graph, DEFT_OP_ADD, NULL, made->loss, loss, &made->loss);
}

/* The loss is the first output then. */
static deft_status add_data_loss(deft_loss_graph *made, const deft_own_loss *own) {
    (void)own;
    int output = made->graph->outputs[0];
    DEFT_TRY(add_loss(made, output, NULL, &made->targets, &made->loss));
    if (made->temperature != 0 && made->temperature != 1) DEFT_TRY(add_soft_loss(made, output));
    made->graph->outputs[0] = made->loss;
    return DEFT_OK;
}

deft_status deft_loss_graph_init(deft_context *ctx, const deft_graph *original, const deft_dataset *data, int64_t batch,
                                 float temperature, deft_loss loss, deft_loss_graph *made) {
    *made = (deft_loss_graph){.temperature = temperature, .soft_targets = DEFT_NO_VALUE};
    DEFT_TRY(prepare_model(ctx, original, data, batch, loss, made));
    made->input = made->graph->inputs[0];
    return complete(ctx, original, NULL, add_data_loss, made);
}

/* ---- losses of the caller's ---------------------------------------------------------------------------------- */

/* An input for the gradient of each output that is f32. */
static deft_status add_seeds(deft_loss_graph *made) {
    deft_graph *graph = made->graph;
    made->loss = made->targets = DEFT_NO_VALUE;
    DEFT_TRY(deft_arena_array(&graph->arena, (size_t)made->model_outputs, sizeof *made->seeds, &made->seeds));
    for (int i = 0; i < made->model_outputs; i++) {
        deft_tensor y = graph->values[graph->outputs[i]].desc;
        made->seeds[i] = DEFT_NO_VALUE;
        if (y.dtype != DEFT_F32) continue;
        DEFT_TRY(deft_graph_add_input(graph, NULL, DEFT_F32, y.rank, y.dims, NULL, &made->seeds[i]));
    }
    return DEFT_OK;
}

/* The value of the training graph that value `id` of the loss's graph is: an output of the model or an input, by name;
 * a copy of a constant; else a new value. */
static deft_status map_value(deft_loss_graph *made, const deft_graph *loss, int id, int *mapped) {
    deft_graph *graph = made->graph;
    const deft_value *value = &loss->values[id];
    if (value->desc.data) return deft_graph_add_constant(graph, NULL, &value->desc, mapped);
    if (!value->input) return deft_graph_add_value(graph, NULL, mapped);
    *mapped = deft_graph_find(graph, value->name);
    if (*mapped == DEFT_NO_VALUE) {
        DEFT_TRY(deft_graph_add_input(graph, value->name, value->desc.dtype, value->desc.rank, value->desc.dims, NULL,
                                      mapped));
        graph->values[*mapped].known = true;
        return DEFT_OK;
    }
    for (int i = 0; i < made->model_outputs; i++)
        if (graph->outputs[i] == *mapped) return DEFT_OK;
    if (graph->values[*mapped].input) return DEFT_OK;
    return deft_fail(graph->ctx, DEFT_INVALID, "the loss's input '%.64s' has the name of a value that is no output",
                     value->name);
}

static deft_status add_graph_loss(deft_loss_graph *made, const deft_graph *loss, int *map) {
    deft_graph *graph = made->graph;
    for (int i = 0; i < loss->value_count; i++)
        DEFT_TRY(map_value(made, loss, i, &map[i]));
    for (int i = 0; i < loss->node_count; i++) {
        const deft_node *node = &loss->nodes[i];
        int in[DEFT_MAX_ARITY], out[DEFT_MAX_ARITY], added;
        if (node->out[0] != DEFT_NO_VALUE && loss->values[node->out[0]].desc.data) continue; /* inference did it */
        for (int j = 0; j < node->in_count; j++)
            in[j] = node->in[j] == DEFT_NO_VALUE ? DEFT_NO_VALUE : map[node->in[j]];
        for (int j = 0; j < node->out_count; j++)
            out[j] = node->out[j] == DEFT_NO_VALUE ? DEFT_NO_VALUE : map[node->out[j]];
        DEFT_TRY(deft_graph_add_node(graph, node->op, node->name, node->attrs.items, node->attrs.count, in,
                                     node->in_count, out, node->out_count, &added));
        DEFT_TRY(deft_graph_infer_node(graph, added));
    }
    made->loss = map[loss->outputs[0]];
    return DEFT_OK;
}

/* The batch is bound in a copy of the loss's graph first. */
static deft_status splice_loss(deft_loss_graph *made, const deft_graph *given) {
    deft_graph *loss = NULL;
    int *map = NULL;
    deft_context *ctx = made->graph->ctx;
    deft_status status;
    DEFT_TRY_OR_FAIL(deft_graph_clone(ctx, given, &loss));
    DEFT_TRY_OR_FAIL(deft_graph_infer(loss, made->batch, NULL, 0));
    if (loss->output_count < 1) {
        status = deft_fail(ctx, DEFT_INVALID, "the loss's model has no output");
        goto fail;
    }
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(ctx, (size_t)loss->value_count, sizeof *map, &map));
    DEFT_TRY_OR_FAIL(add_graph_loss(made, loss, map));
fail:
    deft_release(ctx, map);
    deft_graph_free(loss);
    return status;
}

static deft_status add_own_loss(deft_loss_graph *made, const deft_own_loss *own) {
    deft_graph *graph = made->graph;
    if (own->by_caller) return add_seeds(made);
    if (own->graph) {
        DEFT_TRY(splice_loss(made, own->graph));
    } else {
        bool head = deft_graph_head(graph) != DEFT_OP_COUNT;
        int output = graph->outputs[0];
        made->kind = own->kind != DEFT_LOSS_DEFAULT ? own->kind
                     : head                         ? DEFT_LOSS_CROSS_ENTROPY
                                                    : DEFT_LOSS_SQUARED_ERROR;
        if (made->kind == DEFT_LOSS_CROSS_ENTROPY && head) output = graph->nodes[graph->values[output].producer].in[0];
        DEFT_TRY(add_loss(made, output, "targets", &made->targets, &made->loss));
    }
    return deft_graph_add_output(graph, made->loss);
}

deft_status deft_loss_graph_init_own(deft_context *ctx, const deft_graph *original, int64_t batch,
                                     const deft_own_loss *loss, deft_loss_graph *made) {
    *made = (deft_loss_graph){
        .batch = batch, .input = DEFT_NO_VALUE, .targets = DEFT_NO_VALUE, .soft_targets = DEFT_NO_VALUE};
    DEFT_TRY(deft_graph_clone(ctx, original, &made->graph));
    DEFT_TRY(deft_graph_infer(made->graph, batch, NULL, 0));
    made->model_outputs = made->graph->output_count;
    if (made->model_outputs < 1) return deft_fail(ctx, DEFT_INVALID, "the model has no output");
    DEFT_TRY(deft_pass_identity(made->graph));
    DEFT_TRY(deft_pass_dead(made->graph));
    return complete(ctx, original, loss, add_own_loss, made);
}

void deft_loss_graph_done(deft_loss_graph *made) {
    deft_graph_free(made->graph);
}
