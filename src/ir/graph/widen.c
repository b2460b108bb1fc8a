/* Operators that Deft has for f32 and not for 16-bit floats run in f32 between casts, as on a CPU they do anyway. */
#include "ir/graph/replace.h"

static bool is_half(const deft_graph *graph, int value) {
    if (value == DEFT_NO_VALUE) return false;
    deft_dtype dtype = graph->values[value].desc.dtype;
    return graph->values[value].known && (dtype == DEFT_F16 || dtype == DEFT_BF16);
}

bool deft_node_has_half_inputs(const deft_graph *graph, const deft_node *node) {
    for (int i = 0; i < node->in_count; i++)
        if (is_half(graph, node->in[i])) return true;
    return false;
}

/* The value in another type; its shape is inferred, for the nodes that use it. */
static deft_status add_cast(deft_replacement *r, int value, deft_dtype to, int *out) {
    deft_attr attr = {.name = "to", .type = DEFT_ATTR_INT, .i = to};
    DEFT_TRY(deft_replacement_add(r, DEFT_OP_CAST, &attr, 1, &value, 1, out));
    return deft_graph_infer_node(r->graph, r->graph->node_count - 1);
}

/* The node with f32 in place of 16-bit floats, all its outputs new values. */
static deft_status add_widened(deft_replacement *r, int **outs) {
    const deft_node *node = &r->node;
    int *in, index;
    DEFT_TRY(deft_arena_copy(&r->scratch, node->in, (size_t)node->in_count * sizeof *in, &in));
    DEFT_TRY(deft_arena_copy(&r->scratch, node->out, (size_t)node->out_count * sizeof **outs, outs));
    for (int i = 0; i < node->in_count; i++) {
        if (!is_half(r->graph, node->in[i])) continue;
        in[i] = DEFT_NO_VALUE;
        DEFT_TRY(add_cast(r, node->in[i], DEFT_F32, &in[i]));
    }
    for (int i = 0; i < node->out_count; i++)
        if (node->out[i] != DEFT_NO_VALUE) DEFT_TRY(deft_graph_add_value(r->graph, NULL, &(*outs)[i]));
    DEFT_TRY(deft_graph_add_node(r->graph, node->op, node->name, node->attrs.items, node->attrs.count, in,
                                 node->in_count, *outs, node->out_count, &index));
    return deft_graph_infer_node(r->graph, index);
}

static deft_status widen(deft_replacement *r) {
    deft_dtype half = DEFT_F16;
    int *outs;
    for (int i = r->node.in_count - 1; i >= 0; i--)
        if (is_half(r->graph, r->node.in[i])) half = r->graph->values[r->node.in[i]].desc.dtype;
    DEFT_TRY(add_widened(r, &outs));
    for (int i = 0; i < r->node.out_count; i++) {
        int to = r->node.out[i];
        if (to == DEFT_NO_VALUE) continue;
        if (r->graph->values[outs[i]].desc.dtype == DEFT_F32)
            DEFT_TRY(add_cast(r, outs[i], half, &to));
        else
            DEFT_TRY(deft_replacement_add(r, DEFT_OP_IDENTITY, NULL, 0, &outs[i], 1, &to));
    }
    return DEFT_OK;
}

deft_status deft_graph_widen_node(deft_graph *graph, int node) {
    deft_replacement r;
    deft_replacement_begin(graph, node, &r);
    return deft_replacement_end(&r, widen(&r), true);
}
