#include "ir/graph/graph.h"

#include <string.h>

static deft_status check_count(const deft_graph *graph, const deft_node *node, const char *what, int count, int min,
                               int max) {
    if (count >= min && count <= max) return DEFT_OK;
    char label[DEFT_NODE_LABEL_BYTES];
    return deft_fail(graph->ctx, DEFT_INVALID, "%s has %d %s; %d to %d are expected",
                     deft_node_label(graph, node, label, sizeof label), count, what, min, max);
}

/* The first `required` ids must be there; the rest may be absent. */
static deft_status check_ids(const deft_graph *graph, const deft_node *node, const char *what, const int *ids,
                             int count, int required) {
    char label[DEFT_NODE_LABEL_BYTES];
    for (int i = 0; i < count; i++) {
        if (ids[i] < DEFT_NO_VALUE || ids[i] >= graph->value_count)
            return deft_fail(graph->ctx, DEFT_BUG, "%s: %s %d is the value %d, which does not exist",
                             deft_node_label(graph, node, label, sizeof label), what, i, ids[i]);
        if (ids[i] == DEFT_NO_VALUE && i < required)
            return deft_fail(graph->ctx, DEFT_INVALID, "%s: %s %d is missing",
                             deft_node_label(graph, node, label, sizeof label), what, i);
    }
    return DEFT_OK;
}

static deft_status check_node(const deft_graph *graph, const deft_node *node) {
    const deft_op_info *info = &deft_ops[node->op];
    DEFT_TRY(check_ids(graph, node, "output", node->out, node->out_count, info->min_out));
    DEFT_TRY(check_ids(graph, node, "input", node->in, node->in_count, info->min_in));
    DEFT_TRY(check_count(graph, node, "inputs", node->in_count, info->min_in, info->max_in));
    return check_count(graph, node, "outputs", node->out_count, info->min_out, info->max_out);
}

/* Each value is made once: by a node, or it is an input, or a constant. Needs the producers. */
static deft_status check_single_producers(const deft_graph *graph, int index) {
    const deft_node *node = &graph->nodes[index];
    for (int i = 0; i < node->out_count; i++) {
        if (node->out[i] == DEFT_NO_VALUE) continue;
        const deft_value *value = &graph->values[node->out[i]];
        bool repeated = false;
        for (int j = 0; j < i; j++)
            repeated |= node->out[j] == node->out[i];
        char label[DEFT_NODE_LABEL_BYTES];
        if (value->producer != index || value->input || repeated)
            return deft_fail(graph->ctx, DEFT_INVALID, "%s makes '%.64s', which %s makes too; names must be unique",
                             deft_node_label(graph, node, label, sizeof label), value->name,
                             value->input ? "an input" : "a node");
    }
    return DEFT_OK;
}

static bool is_made(const deft_value *value) {
    return value->producer >= 0 || value->input || value->desc.data;
}

static deft_status check_uses(const deft_graph *graph) {
    char label[DEFT_NODE_LABEL_BYTES];
    for (int i = 0; i < graph->node_count; i++) {
        const deft_node *node = &graph->nodes[i];
        for (int j = 0; j < node->in_count; j++)
            if (node->in[j] != DEFT_NO_VALUE && !is_made(&graph->values[node->in[j]]))
                return deft_fail(graph->ctx, DEFT_INVALID,
                                 "%s: its input '%.64s' is no input or constant of the graph, and no node makes it",
                                 deft_node_label(graph, node, label, sizeof label), graph->values[node->in[j]].name);
    }
    for (int i = 0; i < graph->output_count; i++)
        if (!is_made(&graph->values[graph->outputs[i]]))
            return deft_fail(graph->ctx, DEFT_INVALID, "output '%.64s': no node makes it",
                             graph->values[graph->outputs[i]].name);
    return DEFT_OK;
}

/* A walk from each node up to those it depends on, with a stack of its own: a deep graph must not exhaust the thread's.
 */
typedef struct sorter {
    int *stack, depth;
    int *next_in; /* of each node: the input to look at next */
    enum { UNSEEN, OPEN, DONE } * state;
    deft_node *sorted;
    int count;
} sorter;

static deft_status walk_from(deft_graph *graph, sorter *sort, int start) {
    if (sort->state[start] != UNSEEN) return DEFT_OK;
    sort->stack[sort->depth++] = start;
    sort->state[start] = OPEN;
    while (sort->depth) {
        int index = sort->stack[sort->depth - 1];
        const deft_node *node = &graph->nodes[index];
        if (sort->next_in[index] == node->in_count) {
            sort->state[index] = DONE;
            sort->sorted[sort->count++] = *node;
            sort->depth--;
            continue;
        }
        int value = node->in[sort->next_in[index]++];
        int producer = value == DEFT_NO_VALUE ? -1 : graph->values[value].producer;
        if (producer < 0 || sort->state[producer] == DONE) continue;
        if (sort->state[producer] == OPEN) {
            char label[DEFT_NODE_LABEL_BYTES];
            return deft_fail(graph->ctx, DEFT_INVALID, "%s: its input '%.64s' depends on its own output: a cycle",
                             deft_node_label(graph, node, label, sizeof label), graph->values[value].name);
        }
        sort->state[producer] = OPEN;
        sort->stack[sort->depth++] = producer;
    }
    return DEFT_OK;
}

static deft_status sort_nodes(deft_graph *graph) {
    size_t count = (size_t)graph->node_count;
    if (count == 0) return DEFT_OK;
    deft_arena scratch;
    deft_arena_init(&scratch, graph->ctx);
    deft_status status;
    sorter sort = {0};
    DEFT_TRY_OR_FAIL(deft_arena_array(&scratch, count, sizeof *sort.stack, &sort.stack));
    DEFT_TRY_OR_FAIL(deft_arena_array(&scratch, count, sizeof *sort.next_in, &sort.next_in));
    DEFT_TRY_OR_FAIL(deft_arena_array(&scratch, count, sizeof *sort.state, &sort.state));
    DEFT_TRY_OR_FAIL(deft_arena_array(&scratch, count, sizeof *sort.sorted, &sort.sorted));
    for (int i = 0; i < graph->node_count; i++)
        DEFT_TRY_OR_FAIL(walk_from(graph, &sort, i));
    memcpy(graph->nodes, sort.sorted, count * sizeof *graph->nodes);
    deft_graph_set_producers(graph);
fail:
    deft_arena_done(&scratch);
    return status;
}

deft_status deft_graph_verify(deft_graph *graph) {
    for (int i = 0; i < graph->node_count; i++)
        DEFT_TRY(check_node(graph, &graph->nodes[i]));
    deft_graph_set_producers(graph);
    for (int i = 0; i < graph->node_count; i++)
        DEFT_TRY(check_single_producers(graph, i));
    DEFT_TRY(check_uses(graph));
    return sort_nodes(graph);
}
