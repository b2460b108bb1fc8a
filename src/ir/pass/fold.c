#include "ir/pass/pass.h"

/* What folding may make in all: this, and twice what constants the graph has; and the operations that it may take: so
 * many, and for each byte of constants. Nodes that are over it stay: a small file can broadcast vectors, or join a
 * constant with itself again and again, until the memory is full, or ask for the sum of any number of products. */
enum { FREE_BYTES = 16 * 1024 * 1024, FREE_WORK = 1 << 26, WORK_PER_BYTE = 8 };

typedef struct budget {
    size_t bytes;
    int64_t work;
} budget;

static size_t constant_bytes(const deft_graph *graph) {
    size_t bytes = 0;
    for (int i = 0; i < graph->value_count; i++)
        if (graph->values[i].desc.data) bytes += deft_tensor_bytes(&graph->values[i].desc);
    return bytes;
}

static bool has_constant_inputs(const deft_graph *graph, const deft_node *node) {
    for (int i = 0; i < node->in_count; i++) {
        if (node->in[i] == DEFT_NO_VALUE) continue;
        const deft_value *value = &graph->values[node->in[i]];
        if (!value->desc.data || value->variable) return false;
    }
    return true;
}

static size_t output_bytes(const deft_graph *graph, const deft_node *node) {
    size_t bytes = 0;
    for (int i = 0; i < node->out_count; i++)
        if (node->out[i] != DEFT_NO_VALUE) bytes += deft_tensor_bytes(&graph->values[node->out[i]].desc);
    return bytes;
}

/* An operator without a forward for these types is left to who runs the graph. */
static deft_status fold_node(deft_graph *graph, int node, budget *left, bool *folded) {
    size_t bytes = output_bytes(graph, &graph->nodes[node]);
    *folded = false;
    int64_t work = deft_node_work(graph, &graph->nodes[node]);
    if (bytes > left->bytes || work > left->work || !has_constant_inputs(graph, &graph->nodes[node])) return DEFT_OK;
    deft_status status = deft_graph_evaluate_node(graph, node);
    if (status == DEFT_UNSUPPORTED) return DEFT_OK;
    DEFT_TRY(status);
    left->bytes -= bytes;
    left->work -= work;
    *folded = true;
    return DEFT_OK;
}

/* An evaluated value whose node goes is a constant. */
deft_status deft_pass_fold(deft_graph *graph) {
    deft_arena scratch;
    deft_arena_init(&scratch, graph->ctx);
    deft_status status;
    bool *keep, folded;
    size_t bytes = constant_bytes(graph);
    budget left = {2 * bytes + FREE_BYTES, WORK_PER_BYTE * (int64_t)bytes + FREE_WORK};
    DEFT_TRY_OR_FAIL(deft_arena_array(&scratch, (size_t)graph->node_count, sizeof *keep, &keep));
    for (int i = 0; i < graph->node_count; i++) {
        DEFT_TRY_OR_FAIL(fold_node(graph, i, &left, &folded));
        keep[i] = !folded;
    }
    deft_graph_keep(graph, keep);
fail:
    deft_arena_done(&scratch);
    return status;
}
