#include "ir/graph/graph.h"

/* Which nodes compute the value, and what the others need of what these, and the inputs, have. */
typedef struct cut {
    deft_graph *graph;
    int value;
    deft_arena scratch;
    bool *in_head, *in_rest; /* by node */
    bool *made;              /* by value: in the head, and not known ahead of a run */
    int *shared;             /* value ids */
    int shared_count;
} cut;

static void mark_head(cut *c) {
    const deft_graph *graph = c->graph;
    bool *wanted = c->made; /* for now */
    wanted[c->value] = true;
    for (int i = graph->node_count - 1; i >= 0; i--) {
        const deft_node *node = &graph->nodes[i];
        for (int j = 0; j < node->out_count; j++)
            c->in_head[i] |= node->out[j] != DEFT_NO_VALUE && wanted[node->out[j]];
        c->in_rest[i] = !c->in_head[i];
        for (int j = 0; c->in_head[i] && j < node->in_count; j++)
            if (node->in[j] != DEFT_NO_VALUE && !graph->values[node->in[j]].desc.data) wanted[node->in[j]] = true;
    }
    for (int i = 0; i < graph->value_count; i++)
        c->made[i] = graph->values[i].input;
    for (int i = 0; i < graph->node_count; i++)
        for (int j = 0; c->in_head[i] && j < graph->nodes[i].out_count; j++)
            if (graph->nodes[i].out[j] != DEFT_NO_VALUE && !graph->values[graph->nodes[i].out[j]].desc.data)
                c->made[graph->nodes[i].out[j]] = true;
    c->made[c->value] = false;
}

static void share(cut *c, int value) {
    if (value == DEFT_NO_VALUE || !c->made[value]) return;
    c->made[value] = false; /* listed once */
    c->shared[c->shared_count++] = value;
}

static void list_shared(cut *c) {
    const deft_graph *graph = c->graph;
    for (int i = 0; i < graph->node_count; i++)
        for (int j = 0; c->in_rest[i] && j < graph->nodes[i].in_count; j++)
            share(c, graph->nodes[i].in[j]);
    for (int i = 0; i < graph->output_count; i++)
        share(c, graph->outputs[i]);
}

static deft_status find_cut(cut *c) {
    size_t nodes = (size_t)c->graph->node_count, values = (size_t)c->graph->value_count;
    DEFT_TRY(deft_arena_array(&c->scratch, nodes, sizeof *c->in_head, &c->in_head));
    DEFT_TRY(deft_arena_array(&c->scratch, nodes, sizeof *c->in_rest, &c->in_rest));
    DEFT_TRY(deft_arena_array(&c->scratch, values, sizeof *c->made, &c->made));
    DEFT_TRY(deft_arena_array(&c->scratch, values, sizeof *c->shared, &c->shared));
    mark_head(c);
    list_shared(c);
    return DEFT_OK;
}

static deft_status make_head(const cut *c, deft_graph **out) {
    deft_graph *head;
    deft_status status;
    DEFT_TRY(deft_graph_clone_sharing(c->graph, &head));
    head->output_count = 0;
    DEFT_TRY_OR_FAIL(deft_graph_add_output(head, c->value));
    for (int i = 0; i < c->shared_count; i++)
        DEFT_TRY_OR_FAIL(deft_graph_add_output(head, c->shared[i]));
    deft_graph_keep(head, c->in_head);
    *out = head;
    return DEFT_OK;
fail:
    deft_graph_free(head);
    return status;
}

/* Cannot fail. The inputs are those in `inputs`, which has room for them. */
static void leave_rest(const cut *c, int *inputs) {
    deft_graph *graph = c->graph;
    for (int i = 0; i < graph->input_count; i++)
        graph->values[graph->inputs[i]].input = false;
    deft_release(graph->ctx, graph->inputs);
    graph->inputs = inputs;
    graph->input_count = c->shared_count;
    for (int i = 0; i < c->shared_count; i++) {
        deft_value *value = &graph->values[c->shared[i]];
        inputs[i] = c->shared[i];
        value->input = true;
        for (int j = 0; j < DEFT_MAX_RANK; j++)
            value->dim_names[j] = NULL;
    }
    deft_graph_keep(graph, c->in_rest);
}

deft_status deft_graph_split(deft_graph *graph, int value, deft_graph **head, int *rest_value) {
    cut c = {.graph = graph, .value = value};
    const char *name = graph->values[value].name; /* the arena's, so it stays */
    int *inputs;
    deft_status status;
    deft_arena_init(&c.scratch, graph->ctx);
    DEFT_TRY_OR_FAIL(find_cut(&c));
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(graph->ctx, 2 * (size_t)c.shared_count + 1, sizeof *inputs, &inputs));
    status = make_head(&c, head);
    if (status == DEFT_OK)
        leave_rest(&c, inputs);
    else
        deft_release(graph->ctx, inputs);
    if (status == DEFT_OK) *rest_value = deft_graph_find(graph, name);
fail:
    deft_arena_done(&c.scratch);
    return status;
}
