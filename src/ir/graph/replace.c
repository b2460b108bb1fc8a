#include "ir/graph/replace.h"

#include <string.h>

enum { MAX_REPLACED = 1 << 27 /* nodes moved in all, under a second's work */ };

void deft_replacement_begin(deft_graph *graph, int node, deft_replacement *r) {
    *r =
        (deft_replacement){.graph = graph, .node = graph->nodes[node], .index = node, .first_added = graph->node_count};
    deft_node_label(graph, &r->node, r->label, sizeof r->label);
    deft_arena_init(&r->scratch, graph->ctx);
}

deft_status deft_replacement_add(deft_replacement *r, deft_op op, const deft_attr *attrs, int attr_count, const int *in,
                                 int in_count, int *out) {
    int node;
    if (*out == DEFT_NO_VALUE) DEFT_TRY(deft_graph_add_value(r->graph, NULL, out));
    return deft_graph_add_node(r->graph, op, r->node.name, attrs, attr_count, in, in_count, out, 1, &node);
}

static deft_status move_into_place(deft_replacement *r) {
    deft_graph *graph = r->graph;
    int added = graph->node_count - r->first_added, after = r->first_added - r->index - 1;
    graph->replaced += added + after;
    if (graph->replaced > MAX_REPLACED)
        return deft_fail(graph->ctx, DEFT_UNSUPPORTED, "%s: it has more iterations than Deft can unroll", r->label);
    deft_node *nodes;
    DEFT_TRY(deft_arena_copy(&r->scratch, graph->nodes + r->first_added, (size_t)added * sizeof *nodes, &nodes));
    memmove(graph->nodes + r->index + added, graph->nodes + r->index + 1, (size_t)after * sizeof *nodes);
    memcpy(graph->nodes + r->index, nodes, (size_t)added * sizeof *nodes);
    graph->node_count = r->index + added + after;
    return DEFT_OK;
}

deft_status deft_replacement_end(deft_replacement *r, deft_status status, bool replace) {
    if (status == DEFT_OK && replace) status = move_into_place(r);
    deft_arena_done(&r->scratch);
    return status;
}
