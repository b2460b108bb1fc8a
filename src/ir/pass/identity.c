#include "ir/pass/pass.h"

/* What each value is replaced by, and who needs its name. By value id. */
typedef struct aliases {
    int *of;
    bool *output, *used;
} aliases;

static int resolve(const aliases *a, int id) {
    while (id != DEFT_NO_VALUE && a->of[id] != id)
        id = a->of[id];
    return id;
}

static bool is_no_op(const deft_graph *graph, const deft_node *node, const aliases *a) {
    const deft_value *in = &graph->values[node->in[0]], *out = &graph->values[node->out[0]];
    switch (node->op) {
    case DEFT_OP_IDENTITY:
        return true;
    case DEFT_OP_DROPOUT:
        return node->out_count < 2 || node->out[1] == DEFT_NO_VALUE || !a->used[node->out[1]];
    case DEFT_OP_FLATTEN:
    case DEFT_OP_RESHAPE:
    case DEFT_OP_SQUEEZE:
    case DEFT_OP_UNSQUEEZE:
        return deft_shape_equal(&in->desc, &out->desc);
    default:
        return false;
    }
}

/* Lets the uses of one value use the other. Where the graph's output is made, its name must stay: then its maker makes
 * it directly, unless that makes another output, or is an input or a constant. */
static bool remove_no_op(deft_graph *graph, const deft_node *node, aliases *a) {
    int in = resolve(a, node->in[0]), out = node->out[0];
    const deft_value *source = &graph->values[in];
    if (!a->output[out]) {
        a->of[out] = in;
        return true;
    }
    if (a->output[in] || source->producer < 0) return false;
    deft_node *producer = &graph->nodes[source->producer];
    for (int i = 0; i < producer->out_count; i++)
        if (producer->out[i] == in) producer->out[i] = out;
    graph->values[out].producer = source->producer;
    a->of[in] = out;
    return true;
}

static deft_status init_aliases(const deft_graph *graph, deft_arena *arena, aliases *a) {
    size_t count = (size_t)graph->value_count;
    DEFT_TRY(deft_arena_array(arena, count, sizeof *a->of, &a->of));
    DEFT_TRY(deft_arena_array(arena, count, sizeof *a->output, &a->output));
    DEFT_TRY(deft_arena_array(arena, count, sizeof *a->used, &a->used));
    for (int i = 0; i < graph->value_count; i++)
        a->of[i] = i;
    for (int i = 0; i < graph->output_count; i++)
        a->output[graph->outputs[i]] = a->used[graph->outputs[i]] = true;
    for (int i = 0; i < graph->node_count; i++)
        for (int j = 0; j < graph->nodes[i].in_count; j++)
            if (graph->nodes[i].in[j] != DEFT_NO_VALUE) a->used[graph->nodes[i].in[j]] = true;
    return DEFT_OK;
}

deft_status deft_pass_identity(deft_graph *graph) {
    deft_arena scratch;
    deft_arena_init(&scratch, graph->ctx);
    deft_status status;
    aliases a;
    bool *keep;
    DEFT_TRY_OR_FAIL(init_aliases(graph, &scratch, &a));
    DEFT_TRY_OR_FAIL(deft_arena_array(&scratch, (size_t)graph->node_count, sizeof *keep, &keep));
    for (int i = 0; i < graph->node_count; i++)
        keep[i] = !is_no_op(graph, &graph->nodes[i], &a) || !remove_no_op(graph, &graph->nodes[i], &a);
    for (int i = 0; i < graph->node_count; i++)
        for (int j = 0; j < graph->nodes[i].in_count; j++)
            graph->nodes[i].in[j] = resolve(&a, graph->nodes[i].in[j]);
    deft_graph_keep(graph, keep);
fail:
    deft_arena_done(&scratch);
    return status;
}
