#include "ir/pass/pass.h"

/* A node that makes more than this above what it reads stays: broadcasting two vectors must not fill the memory. */
enum { GROWTH_BYTES = 1024 * 1024 };

static bool is_foldable(const deft_graph *graph, const deft_node *node) {
    size_t in_bytes = 0, out_bytes = 0;
    for (int i = 0; i < node->in_count; i++) {
        if (node->in[i] == DEFT_NO_VALUE) continue;
        const deft_value *value = &graph->values[node->in[i]];
        if (!value->desc.data || value->variable) return false;
        in_bytes += deft_tensor_bytes(&value->desc);
    }
    for (int i = 0; i < node->out_count; i++)
        if (node->out[i] != DEFT_NO_VALUE) out_bytes += deft_tensor_bytes(&graph->values[node->out[i]].desc);
    return out_bytes <= in_bytes + GROWTH_BYTES;
}

/* False where the operator has no forward for these types. */
static deft_status evaluate(deft_graph *graph, int node, bool *evaluated) {
    deft_status status = deft_graph_evaluate_node(graph, node);
    *evaluated = status == DEFT_OK;
    return status == DEFT_UNSUPPORTED ? DEFT_OK : status;
}

/* An evaluated value whose node goes is a constant. */
deft_status deft_pass_fold(deft_graph *graph) {
    deft_arena scratch;
    deft_arena_init(&scratch, graph->ctx);
    deft_status status;
    bool *keep;
    DEFT_TRY_OR_FAIL(deft_arena_array(&scratch, (size_t)graph->node_count, sizeof *keep, &keep));
    for (int i = 0; i < graph->node_count; i++) {
        bool evaluated = false;
        if (is_foldable(graph, &graph->nodes[i])) DEFT_TRY_OR_FAIL(evaluate(graph, i, &evaluated));
        keep[i] = !evaluated;
    }
    deft_graph_keep(graph, keep);
fail:
    deft_arena_done(&scratch);
    return status;
}
