/* Reverse-mode differentiation: the nodes are visited from the last to the first; each turns the gradients of its
 * outputs into nodes for those of its inputs. */
#include "ir/grad/grad.h"

#include "ir/op/element.h"

#include <stddef.h>
#include <string.h>

typedef struct reverse_sweep {
    deft_graph *graph;
    int value_count; /* before any node was added */
    bool *needed;    /* by value: whether it depends on a value of wrt */
    int *grads;      /* by value: the id of its gradient so far, or DEFT_NO_VALUE */
} reverse_sweep;

/* What a rule sees of one node, with the arrays that it points to. */
typedef struct rule_call {
    deft_gradient gradient;
    deft_graph *graph;
    int in[DEFT_MAX_ARITY], out[DEFT_MAX_ARITY], out_grad[DEFT_MAX_ARITY], in_grad[DEFT_MAX_ARITY];
    bool wanted[DEFT_MAX_ARITY];
    /* copies: the graph's own move as nodes are added */
    deft_tensor in_descs[DEFT_MAX_ARITY], out_descs[DEFT_MAX_ARITY];
    const deft_tensor *in_desc[DEFT_MAX_ARITY], *out_desc[DEFT_MAX_ARITY];
    deft_attrs attrs;
} rule_call;

/* What is made from nothing, or from integers that are known, is known ahead of a run. Real constants may be learned.
 */
static bool is_settled(const deft_graph *graph, const int *in, int in_count) {
    for (int i = 0; i < in_count; i++) {
        if (in[i] == DEFT_NO_VALUE) continue;
        const deft_tensor *desc = &graph->values[in[i]].desc;
        if (!desc->data || deft_dtype_is_float(desc->dtype)) return false;
    }
    return true;
}

/* Appends a node, whose outputs' value ids go to out[out_count]. */
static deft_status append(deft_graph *graph, deft_op op, const char *name, const deft_attr *attrs, int attr_count,
                          const int *in, int in_count, int *out, int out_count) {
    int values[DEFT_MAX_ARITY], node;
    for (int i = 0; i < out_count; i++)
        DEFT_TRY(deft_graph_add_value(graph, NULL, &values[i]));
    DEFT_TRY(deft_graph_add_node(graph, op, name, attrs, attr_count, in, in_count, values, out_count, &node));
    DEFT_TRY(deft_graph_infer_node(graph, node));
    if (is_settled(graph, in, in_count)) DEFT_TRY(deft_graph_evaluate_node(graph, node));
    memcpy(out, values, (size_t)out_count * sizeof *out);
    return DEFT_OK;
}

static deft_status emit(deft_gradient *gradient, deft_op op, const deft_attr *attrs, int attr_count, const int *in,
                        int in_count, int *out, int out_count) {
    rule_call *call = (rule_call *)((char *)gradient - offsetof(rule_call, gradient));
    return append(call->graph, op, gradient->name, attrs, attr_count, in, in_count, out, out_count);
}

static void prepare_call(const reverse_sweep *sweep, const deft_node *node, rule_call *call) {
    deft_graph *graph = sweep->graph;
    for (int i = 0; i < node->in_count; i++) {
        int id = node->in[i];
        call->in[i] = id;
        call->in_grad[i] = DEFT_NO_VALUE;
        call->wanted[i] = id != DEFT_NO_VALUE && sweep->needed[id];
        if (id != DEFT_NO_VALUE) call->in_descs[i] = graph->values[id].desc;
        call->in_desc[i] = id != DEFT_NO_VALUE ? &call->in_descs[i] : NULL;
    }
    for (int i = 0; i < node->out_count; i++) {
        int id = node->out[i];
        call->out[i] = id;
        call->out_grad[i] = id != DEFT_NO_VALUE ? sweep->grads[id] : DEFT_NO_VALUE;
        if (id != DEFT_NO_VALUE) call->out_descs[i] = graph->values[id].desc;
        call->out_desc[i] = id != DEFT_NO_VALUE ? &call->out_descs[i] : NULL;
    }
    call->graph = graph;
    call->attrs = node->attrs;
    call->gradient = (deft_gradient){.ctx = graph->ctx,
                                     .name = node->name,
                                     .op = node->op,
                                     .opset = graph->opset,
                                     .attrs = &call->attrs,
                                     .in_count = node->in_count,
                                     .out_count = node->out_count,
                                     .in = call->in,
                                     .out = call->out,
                                     .in_desc = call->in_desc,
                                     .out_desc = call->out_desc,
                                     .out_grad = call->out_grad,
                                     .wanted = call->wanted,
                                     .in_grad = call->in_grad,
                                     .emit = emit};
}

static bool any_needed(const reverse_sweep *sweep, const int *ids, int count) {
    for (int i = 0; i < count; i++)
        if (ids[i] != DEFT_NO_VALUE && sweep->needed[ids[i]]) return true;
    return false;
}

static bool any_gradient(const reverse_sweep *sweep, const int *ids, int count) {
    for (int i = 0; i < count; i++)
        if (ids[i] != DEFT_NO_VALUE && sweep->grads[ids[i]] != DEFT_NO_VALUE) return true;
    return false;
}

static deft_status accumulate(reverse_sweep *sweep, int value, int grad) {
    int *sum = &sweep->grads[value];
    if (*sum == DEFT_NO_VALUE) {
        *sum = grad;
        return DEFT_OK;
    }
    return append(sweep->graph, DEFT_OP_ADD, "", NULL, 0, (int[]){*sum, grad}, 2, sum, 1);
}

/* Adds what node `index` passes back to the gradients of its inputs. */
static deft_status visit(reverse_sweep *sweep, int index) {
    deft_graph *graph = sweep->graph;
    const deft_node *node = &graph->nodes[index];
    if (!any_gradient(sweep, node->out, node->out_count)) return DEFT_OK;
    if (!any_needed(sweep, node->in, node->in_count)) return DEFT_OK;
    rule_call call;
    prepare_call(sweep, node, &call);
    deft_op op = node->op;
    deft_status status = deft_ops[op].gradient(&call.gradient);
    if (status != DEFT_OK) {
        char label[DEFT_NODE_LABEL_BYTES];
        deft_node_label(graph, &graph->nodes[index], label, sizeof label);
        return deft_fail_in(graph->ctx, status, "the gradient of %s", label);
    }
    for (int i = 0; i < call.gradient.in_count; i++)
        if (call.wanted[i] && call.in_grad[i] != DEFT_NO_VALUE)
            DEFT_TRY(accumulate(sweep, call.in[i], call.in_grad[i]));
    return DEFT_OK;
}

static void mark_needed(reverse_sweep *sweep, const int *wrt, int wrt_count) {
    const deft_graph *graph = sweep->graph;
    for (int i = 0; i < sweep->value_count; i++)
        sweep->grads[i] = DEFT_NO_VALUE;
    for (int i = 0; i < wrt_count; i++)
        sweep->needed[wrt[i]] = true;
    for (int i = 0; i < graph->node_count; i++) {
        const deft_node *node = &graph->nodes[i];
        if (!any_needed(sweep, node->in, node->in_count)) continue;
        for (int j = 0; j < node->out_count; j++)
            if (node->out[j] != DEFT_NO_VALUE) sweep->needed[node->out[j]] = true;
    }
}

/* d loss / d loss = 1. */
static deft_status seed(reverse_sweep *sweep, int loss) {
    deft_graph *graph = sweep->graph;
    float one = 1;
    double wide_one = 1;
    deft_tensor tensor = graph->values[loss].desc;
    tensor.data = tensor.dtype == DEFT_F64 ? (void *)&wide_one : (void *)&one;
    return deft_graph_add_constant(graph, NULL, &tensor, &sweep->grads[loss]);
}

static deft_status check_loss(const deft_graph *graph, int loss) {
    const deft_value *value = &graph->values[loss];
    bool real = value->desc.dtype == DEFT_F32 || value->desc.dtype == DEFT_F64;
    if (value->known && real && deft_tensor_count(&value->desc) == 1) return DEFT_OK;
    char text[DEFT_SHAPE_TEXT_BYTES];
    return deft_fail(graph->ctx, DEFT_INVALID,
                     "the loss '%.64s' must be one number of a known floating type, got %s %s", value->name,
                     deft_dtype_name(value->desc.dtype), deft_shape_text(&value->desc, text, sizeof text));
}

/* The sweep, from gradients that are given (seeds), or 1 where `seeds` is NULL and there is one output, the loss. */
static deft_status sweep_back(deft_graph *graph, const int *outputs, const int *seeds, int output_count, const int *wrt,
                              int wrt_count, int *grads) {
    deft_status status;
    reverse_sweep sweep = {.graph = graph, .value_count = graph->value_count};
    int node_count = graph->node_count;
    size_t count = (size_t)graph->value_count;
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(graph->ctx, count, sizeof *sweep.needed, &sweep.needed));
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(graph->ctx, count, sizeof *sweep.grads, &sweep.grads));
    mark_needed(&sweep, wrt, wrt_count);
    for (int i = 0; i < output_count; i++) {
        if (!sweep.needed[outputs[i]] || (seeds && seeds[i] == DEFT_NO_VALUE)) continue;
        if (seeds)
            DEFT_TRY_OR_FAIL(accumulate(&sweep, outputs[i], seeds[i]));
        else
            DEFT_TRY_OR_FAIL(seed(&sweep, outputs[i]));
    }
    for (int i = node_count - 1; i >= 0; i--)
        DEFT_TRY_OR_FAIL(visit(&sweep, i));
    for (int i = 0; i < wrt_count; i++)
        grads[i] = sweep.grads[wrt[i]];
fail:
    deft_release(graph->ctx, sweep.needed);
    deft_release(graph->ctx, sweep.grads);
    return status;
}

deft_status deft_grad_build(deft_graph *graph, int loss, const int *wrt, int wrt_count, int *grads) {
    DEFT_TRY(check_loss(graph, loss));
    return sweep_back(graph, &loss, NULL, 1, wrt, wrt_count, grads);
}

deft_status deft_grad_build_from(deft_graph *graph, const int *outputs, const int *seeds, int output_count,
                                 const int *wrt, int wrt_count, int *grads) {
    return sweep_back(graph, outputs, seeds, output_count, wrt, wrt_count, grads);
}

/* ---- batch statistics ---------------------------------------------------------------------------------------- */

/* BatchNormalization(x, scale, B, mean, var) becomes BatchNormTraining(x, scale, B), with the batch's statistics as
 * further outputs. */
static deft_status use_batch(deft_graph *graph, int index, deft_batch_stats *stats) {
    char label[DEFT_NODE_LABEL_BYTES];
    int *out, batch_mean, batch_var;
    deft_node *node = &graph->nodes[index];
    *stats = (deft_batch_stats){.running_mean = node->in[3],
                                .running_var = node->in[4],
                                .momentum = deft_attr_float(&node->attrs, "momentum", 0.9f)};
    if (!graph->values[node->in[3]].desc.data || !graph->values[node->in[4]].desc.data)
        return deft_fail(graph->ctx, DEFT_UNSUPPORTED,
                         "%s: its mean and variance must be constants to be trained; they are computed",
                         deft_node_label(graph, node, label, sizeof label));
    DEFT_TRY(deft_arena_array(&graph->arena, 3, sizeof *out, &out));
    DEFT_TRY(deft_graph_add_value(graph, NULL, &batch_mean));
    DEFT_TRY(deft_graph_add_value(graph, NULL, &batch_var));
    out[0] = node->out[0];
    out[1] = stats->batch_mean = batch_mean;
    out[2] = stats->batch_var = batch_var;
    graph->values[batch_mean].producer = graph->values[batch_var].producer = index;
    node->op = DEFT_OP_BATCH_NORM_TRAINING;
    node->in_count = 3;
    node->out = out;
    node->out_count = 3;
    return deft_graph_infer_node(graph, index);
}

deft_status deft_grad_use_batch_statistics(deft_graph *graph, deft_batch_stats **stats, int *count) {
    int found = 0, next = 0;
    for (int i = 0; i < graph->node_count; i++)
        found += graph->nodes[i].op == DEFT_OP_BATCH_NORM;
    DEFT_TRY(deft_arena_array(&graph->arena, (size_t)found, sizeof **stats, stats));
    for (int i = 0; i < graph->node_count; i++)
        if (graph->nodes[i].op == DEFT_OP_BATCH_NORM) DEFT_TRY(use_batch(graph, i, &(*stats)[next++]));
    *count = found;
    return DEFT_OK;
}
