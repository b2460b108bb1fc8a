#include "ir/graph/graph.h"

#include <string.h>

enum {
    EVALUATED_BYTES = 1024,  /* shape arithmetic is small; more is left to the fold pass */
    EVALUATED_WORK = 1 << 16 /* and quick */
};

/* What rules call a node in messages: its name, else what it makes. */
static const char *name_of(const deft_graph *graph, const deft_node *node) {
    if (*node->name || node->out_count == 0 || node->out[0] == DEFT_NO_VALUE) return node->name;
    return graph->values[node->out[0]].name;
}

/* An op call with the arrays that it points to. */
typedef struct node_call {
    deft_op_call call;
    const deft_tensor *in[DEFT_MAX_ARITY];
    deft_tensor out_descs[DEFT_MAX_ARITY], *out[DEFT_MAX_ARITY];
    char label[DEFT_NODE_LABEL_BYTES];
    int waits_for;
} node_call;

static deft_status prepare_call(deft_graph *graph, const deft_node *node, node_call *prepared) {
    deft_node_label(graph, node, prepared->label, sizeof prepared->label);
    if (node->in_count > DEFT_MAX_ARITY || node->out_count > DEFT_MAX_ARITY)
        return deft_fail(graph->ctx, DEFT_INVALID, "%s has more than %d inputs or outputs", prepared->label,
                         DEFT_MAX_ARITY);
    for (int i = 0; i < node->in_count; i++) {
        prepared->in[i] = NULL;
        if (node->in[i] == DEFT_NO_VALUE) continue;
        const deft_value *value = &graph->values[node->in[i]];
        if (!value->known)
            return deft_fail(graph->ctx, DEFT_INVALID, "%s: the shape of its input '%.64s' is not known",
                             prepared->label, value->name);
        prepared->in[i] = &value->desc;
    }
    for (int i = 0; i < node->out_count; i++) {
        prepared->out_descs[i] = (deft_tensor){0};
        prepared->out[i] = node->out[i] == DEFT_NO_VALUE ? NULL : &prepared->out_descs[i];
    }
    prepared->call = (deft_op_call){.ctx = graph->ctx,
                                    .name = name_of(graph, node),
                                    .op = node->op,
                                    .attrs = &node->attrs,
                                    .opset = graph->opset,
                                    .in_count = node->in_count,
                                    .out_count = node->out_count,
                                    .in = prepared->in,
                                    .out = prepared->out,
                                    .threads = 1,
                                    .waits_for = &prepared->waits_for};
    prepared->waits_for = -1;
    return DEFT_OK;
}

static deft_status store_shapes(deft_graph *graph, const deft_node *node, const node_call *done) {
    for (int i = 0; i < node->out_count; i++) {
        if (node->out[i] == DEFT_NO_VALUE) continue;
        deft_tensor desc = done->out_descs[i];
        if (!deft_shape_valid(desc.dtype, desc.rank, desc.dims))
            return deft_fail(graph->ctx, DEFT_INVALID, "%s: its output %d has a size that memory cannot hold",
                             done->label, i);
        deft_value *value = &graph->values[node->out[i]];
        deft_release(graph->ctx, value->desc.data);
        desc.data = NULL;
        value->desc = desc;
        value->known = true;
    }
    return DEFT_OK;
}

/* *waits is the value that the shapes depend on where it is not known, else DEFT_NO_VALUE; the status is then that of
 * the rule, which says so. */
static deft_status infer_node(deft_graph *graph, int node, int *waits) {
    node_call prepared;
    *waits = DEFT_NO_VALUE;
    DEFT_TRY(prepare_call(graph, &graph->nodes[node], &prepared));
    deft_status status = deft_ops[graph->nodes[node].op].shape(&prepared.call);
    if (status == DEFT_UNSUPPORTED && prepared.waits_for >= 0) *waits = graph->nodes[node].in[prepared.waits_for];
    return status == DEFT_OK ? store_shapes(graph, &graph->nodes[node], &prepared) : status;
}

deft_status deft_graph_infer_node(deft_graph *graph, int node) {
    int waits;
    return infer_node(graph, node, &waits);
}

deft_status deft_graph_evaluate_node(deft_graph *graph, int node) {
    const deft_node *evaluated = &graph->nodes[node];
    node_call prepared;
    DEFT_TRY(prepare_call(graph, evaluated, &prepared));
    deft_status status = DEFT_OK;
    for (int i = 0; i < evaluated->out_count; i++) {
        if (!prepared.out[i]) continue;
        prepared.out_descs[i] = graph->values[evaluated->out[i]].desc;
        prepared.out_descs[i].data = NULL;
    }
    for (int i = 0; i < evaluated->out_count; i++)
        if (prepared.out[i]) DEFT_TRY_OR_FAIL(deft_tensor_allocate(graph->ctx, prepared.out[i]));
    prepared.call.threads = graph->ctx->threads;
    DEFT_TRY_OR_FAIL(deft_op_forward(&prepared.call));
    for (int i = 0; i < evaluated->out_count; i++) {
        if (!prepared.out[i]) continue;
        deft_value *value = &graph->values[evaluated->out[i]];
        deft_release(graph->ctx, value->desc.data);
        value->desc.data = prepared.out_descs[i].data;
    }
    return DEFT_OK;
fail:
    for (int i = 0; i < evaluated->out_count; i++)
        if (prepared.out[i]) deft_release(graph->ctx, prepared.out_descs[i].data);
    return status;
}

/* True for a small node over known values, as exporters write to compute a Reshape's shape. Shape and Size need to know
 * no values. */
static bool is_shape_arithmetic(const deft_graph *graph, const deft_node *node) {
    bool of_shapes = node->op == DEFT_OP_SHAPE || node->op == DEFT_OP_SIZE;
    for (int i = 0; i < node->in_count + node->out_count; i++) {
        bool is_input = i < node->in_count;
        int id = is_input ? node->in[i] : node->out[i - node->in_count];
        if (id == DEFT_NO_VALUE) continue;
        const deft_value *value = &graph->values[id];
        if (is_input && of_shapes) continue;
        if (is_input && (!value->desc.data || value->variable)) return false;
        if (deft_tensor_bytes(&value->desc) > EVALUATED_BYTES) return false;
    }
    return of_shapes || deft_node_work(graph, node) <= EVALUATED_WORK;
}

/* ---- symbolic dimensions ------------------------------------------------------------------------------------- */

static deft_status bind_input(deft_graph *graph, const deft_binding *binding) {
    int id = deft_graph_find(graph, binding->input);
    if (id == DEFT_NO_VALUE || !graph->values[id].input)
        return deft_fail(graph->ctx, DEFT_INVALID, "the model has no input '%.64s'", binding->input);
    deft_value *value = &graph->values[id];
    deft_tensor given = {.dtype = value->desc.dtype, .rank = binding->rank};
    bool fits = binding->rank == value->desc.rank;
    for (int i = 0; fits && i < binding->rank; i++) {
        given.dims[i] = binding->dims[i];
        fits = given.dims[i] >= 0 && (value->dim_names[i] || given.dims[i] == value->desc.dims[i]);
    }
    if (!fits || !deft_shape_valid(given.dtype, given.rank, given.dims)) {
        char expected[DEFT_SHAPE_TEXT_BYTES], got[DEFT_SHAPE_TEXT_BYTES];
        given.rank = binding->rank < 0 ? 0 : binding->rank > DEFT_MAX_RANK ? DEFT_MAX_RANK : binding->rank;
        memcpy(given.dims, binding->dims, sizeof given.dims);
        return deft_fail(graph->ctx, DEFT_INVALID, "input '%.64s' has the shape %s (-1: any); it cannot be %s",
                         value->name, deft_shape_text(&value->desc, expected, sizeof expected),
                         deft_shape_text(&given, got, sizeof got));
    }
    memcpy(value->desc.dims, given.dims, sizeof given.dims);
    return DEFT_OK;
}

/* The size that another input's dimension of this name was bound to, or -1. */
static int64_t size_of_name(const deft_graph *graph, const char *name) {
    for (int i = 0; *name && i < graph->input_count; i++) {
        const deft_value *value = &graph->values[graph->inputs[i]];
        for (int j = 0; j < value->desc.rank; j++)
            if (value->dim_names[j] && strcmp(value->dim_names[j], name) == 0 && value->desc.dims[j] != -1)
                return value->desc.dims[j];
    }
    return -1;
}

static deft_status bind_rest(deft_graph *graph, deft_value *value, int64_t batch) {
    for (int i = 0; i < value->desc.rank; i++) {
        if (value->desc.dims[i] != -1) continue;
        int64_t same = size_of_name(graph, value->dim_names[i]);
        value->desc.dims[i] = same != -1 ? same : batch;
    }
    if (!deft_shape_valid(value->desc.dtype, value->desc.rank, value->desc.dims)) {
        char text[DEFT_SHAPE_TEXT_BYTES];
        return deft_fail(graph->ctx, DEFT_INVALID, "input '%.64s': the shape %s is one that memory cannot hold",
                         value->name, deft_shape_text(&value->desc, text, sizeof text));
    }
    value->known = true;
    return DEFT_OK;
}

void deft_graph_forget_shapes(deft_graph *graph) {
    for (int i = 0; i < graph->value_count; i++) {
        deft_value *value = &graph->values[i];
        for (int j = 0; value->input && j < value->desc.rank; j++) {
            if (!value->dim_names[j]) continue;
            value->desc.dims[j] = -1;
            value->known = false;
        }
        if (value->producer < 0) continue;
        deft_release(graph->ctx, value->desc.data);
        value->desc.data = NULL;
        value->known = false;
    }
}

/* Says which shape the inputs have that were given none: a network for pictures is refused with pictures of one pixel.
 */
static deft_status blame_defaults(deft_graph *graph, deft_status status, const deft_binding *bindings, int count) {
    for (int i = 0; status != DEFT_OK && i < graph->input_count; i++) {
        const deft_value *input = &graph->values[graph->inputs[i]];
        bool given = true;
        for (int j = 0; j < input->desc.rank; j++)
            given &= !input->dim_names[j];
        for (int j = 0; j < count; j++)
            given |= strcmp(bindings[j].input, input->name) == 0;
        char text[DEFT_SHAPE_TEXT_BYTES];
        if (!given)
            return deft_fail_in(graph->ctx, status, "with input '%.64s' at %s", input->name,
                                deft_shape_text(&input->desc, text, sizeof text));
    }
    return status;
}

static deft_status fail_waiting(deft_graph *graph, int node, int value) {
    char label[DEFT_NODE_LABEL_BYTES];
    return deft_fail(graph->ctx, DEFT_UNSUPPORTED,
                     "%s: '%.64s' decides what it does, and is known only when the model runs",
                     deft_node_label(graph, &graph->nodes[node], label, sizeof label), graph->values[value].name);
}

static deft_status infer_and_evaluate(deft_graph *graph, int node, int *waits) {
    DEFT_TRY(infer_node(graph, node, waits));
    if (!is_shape_arithmetic(graph, &graph->nodes[node])) return DEFT_OK;
    deft_status status = deft_graph_evaluate_node(graph, node);
    return status == DEFT_UNSUPPORTED ? DEFT_OK : status;
}

/* Stops at the first node whose shapes wait for a value, with the status that says so. */
static deft_status infer_nodes(deft_graph *graph, int *waits) {
    for (int i = 0; i < graph->node_count;) {
        if (deft_node_is_control(&graph->nodes[i])) {
            DEFT_TRY(deft_graph_replace_control(graph, i, waits));
            if (*waits != DEFT_NO_VALUE) return fail_waiting(graph, i, *waits);
            continue; /* with what has taken its place */
        }
        deft_status status = infer_and_evaluate(graph, i, waits);
        bool half = *waits == DEFT_NO_VALUE && deft_node_has_half_inputs(graph, &graph->nodes[i]);
        if (status == DEFT_UNSUPPORTED && half) {
            DEFT_TRY(deft_graph_widen_node(graph, i));
            continue;
        }
        DEFT_TRY(status);
        i++;
    }
    return DEFT_OK;
}

static deft_status bind(deft_graph *graph, int64_t batch, const deft_binding *bindings, int binding_count) {
    if (batch < 0)
        return deft_fail(graph->ctx, DEFT_INVALID, "a batch of %lld; at least 0 is expected", (long long)batch);
    deft_graph_forget_shapes(graph);
    for (int i = 0; i < binding_count; i++)
        DEFT_TRY(bind_input(graph, &bindings[i]));
    for (int i = 0; i < graph->input_count; i++)
        DEFT_TRY(bind_rest(graph, &graph->values[graph->inputs[i]], batch));
    return DEFT_OK;
}

static deft_status bind_and_infer(deft_graph *graph, int64_t batch, const deft_binding *bindings, int binding_count,
                                  int *waits) {
    *waits = DEFT_NO_VALUE;
    DEFT_TRY(bind(graph, batch, bindings, binding_count));
    deft_status status = infer_nodes(graph, waits);
    deft_graph_set_producers(graph);
    return blame_defaults(graph, status, bindings, binding_count);
}

deft_status deft_graph_infer(deft_graph *graph, int64_t batch, const deft_binding *bindings, int binding_count) {
    int waits;
    return bind_and_infer(graph, batch, bindings, binding_count, &waits);
}

deft_status deft_graph_infer_until(deft_graph *graph, int64_t batch, const deft_binding *bindings, int binding_count,
                                   int *waits) {
    deft_status status = bind_and_infer(graph, batch, bindings, binding_count, waits);
    return status == DEFT_UNSUPPORTED && *waits != DEFT_NO_VALUE ? DEFT_OK : status;
}

deft_status deft_graph_infer_unchanged(deft_graph *graph, bool *complete) {
    int waits;
    *complete = false;
    DEFT_TRY(bind(graph, 1, NULL, 0));
    for (int i = 0; i < graph->node_count; i++) {
        if (deft_node_is_control(&graph->nodes[i])) return DEFT_OK;
        deft_status status = infer_and_evaluate(graph, i, &waits);
        bool half = deft_node_has_half_inputs(graph, &graph->nodes[i]);
        if (status == DEFT_UNSUPPORTED && (waits != DEFT_NO_VALUE || half)) return DEFT_OK;
        DEFT_TRY(status);
    }
    *complete = true;
    return DEFT_OK;
}
