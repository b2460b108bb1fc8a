#include "ir/pass/match.h"

#include <math.h>

void deft_match_count_uses(const deft_graph *graph, int *uses) {
    for (int i = 0; i < graph->output_count; i++)
        uses[graph->outputs[i]]++;
    for (int i = 0; i < graph->node_count; i++)
        for (int j = 0; j < graph->nodes[i].in_count; j++)
            if (graph->nodes[i].in[j] != DEFT_NO_VALUE) uses[graph->nodes[i].in[j]]++;
}

deft_status deft_match_init(deft_graph *graph, deft_arena *arena, deft_match *match) {
    match->graph = graph;
    DEFT_TRY(deft_arena_array(arena, (size_t)graph->value_count, sizeof *match->uses, &match->uses));
    DEFT_TRY(deft_arena_array(arena, (size_t)graph->value_count, sizeof *match->user, &match->user));
    deft_match_count_uses(graph, match->uses);
    for (int i = 0; i < graph->value_count; i++)
        match->user[i] = -1;
    for (int i = 0; i < graph->node_count; i++)
        for (int j = 0; j < graph->nodes[i].in_count; j++)
            if (graph->nodes[i].in[j] != DEFT_NO_VALUE) match->user[graph->nodes[i].in[j]] = i;
    return DEFT_OK;
}

const deft_node *deft_match_maker(const deft_match *match, int value, deft_op op) {
    int maker = value == DEFT_NO_VALUE ? -1 : match->graph->values[value].producer;
    return maker >= 0 && match->graph->nodes[maker].op == op ? &match->graph->nodes[maker] : NULL;
}

int deft_match_sole_user(const deft_match *match, int value, deft_op op) {
    int user = match->user[value];
    return user >= 0 && match->uses[value] == 1 && match->graph->nodes[user].op == op ? user : -1;
}

bool deft_match_scalar(const deft_match *match, int value, float wanted, float *found) {
    if (value == DEFT_NO_VALUE) return false;
    const deft_value *v = &match->graph->values[value];
    if (!v->desc.data || v->variable || v->desc.dtype != DEFT_F32 || deft_tensor_count(&v->desc) != 1) return false;
    float got = *(const float *)v->desc.data;
    if (found) *found = got;
    return isnan(wanted) || fabsf(got - wanted) <= 1e-6f * fabsf(wanted);
}

int deft_match_other(const deft_node *node, int value) {
    if (node->in_count != 2 || (node->in[0] == value) == (node->in[1] == value)) return DEFT_NO_VALUE;
    return node->in[node->in[0] == value];
}

deft_status deft_match_replace(deft_match *match, int node, deft_op op, const int *in, int in_count,
                               const deft_attr *attrs, int attr_count) {
    deft_arena *arena = &match->graph->arena;
    int *inputs;
    deft_attr *items = NULL;
    DEFT_TRY(deft_arena_copy(arena, in, sizeof *in * (size_t)in_count, &inputs));
    if (attr_count > 0) DEFT_TRY(deft_arena_copy(arena, attrs, sizeof *attrs * (size_t)attr_count, &items));
    deft_node *n = &match->graph->nodes[node];
    n->op = op;
    n->in = inputs;
    n->in_count = in_count;
    n->attrs = (deft_attrs){items, attr_count};
    return DEFT_OK;
}

deft_status deft_match_each(deft_graph *graph, deft_match_visitor visit) {
    deft_arena scratch;
    deft_arena_init(&scratch, graph->ctx);
    deft_match match;
    deft_status status = deft_match_init(graph, &scratch, &match);
    for (int i = 0; status == DEFT_OK && i < graph->node_count; i++)
        status = visit(&match, i);
    deft_arena_done(&scratch);
    return status;
}
