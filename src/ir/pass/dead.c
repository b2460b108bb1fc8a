#include "ir/pass/pass.h"

deft_status deft_pass_dead(deft_graph *graph) {
    deft_arena scratch;
    deft_arena_init(&scratch, graph->ctx);
    deft_status status;
    bool *wanted, *keep; /* by value, by node */
    DEFT_TRY_OR_FAIL(deft_arena_array(&scratch, (size_t)graph->value_count, sizeof *wanted, &wanted));
    DEFT_TRY_OR_FAIL(deft_arena_array(&scratch, (size_t)graph->node_count, sizeof *keep, &keep));
    for (int i = 0; i < graph->output_count; i++)
        wanted[graph->outputs[i]] = true;
    for (int i = graph->node_count - 1; i >= 0; i--) {
        const deft_node *node = &graph->nodes[i];
        for (int j = 0; j < node->out_count; j++)
            keep[i] |= node->out[j] != DEFT_NO_VALUE && wanted[node->out[j]];
        for (int j = 0; keep[i] && j < node->in_count; j++)
            if (node->in[j] != DEFT_NO_VALUE) wanted[node->in[j]] = true;
    }
    deft_graph_keep(graph, keep);
fail:
    deft_arena_done(&scratch);
    return status;
}
