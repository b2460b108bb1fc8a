#include "ir/pass/match.h"
#include "ir/pass/pass.h"

/* x (1 + erf(x / sqrt(2))) / 2, whose products exporters take in one order or another. */

static const float root_of_half = 0.70710678f, root_of_two = 1.41421356f;

/* x, where `value` is x / sqrt(2). */
static int unscaled(const deft_match *match, int value) {
    const deft_node *node = deft_match_maker(match, value, DEFT_OP_DIV);
    if (node && deft_match_scalar(match, node->in[1], root_of_two, NULL)) return node->in[0];
    node = deft_match_maker(match, value, DEFT_OP_MUL);
    for (int i = 0; node && i < 2; i++)
        if (deft_match_scalar(match, node->in[i], root_of_half, NULL)) return node->in[1 - i];
    return DEFT_NO_VALUE;
}

/* Whether `value` is x / 2. */
static bool is_half_of(const deft_match *match, int value, int x) {
    const deft_node *node = deft_match_maker(match, value, DEFT_OP_MUL);
    return node && deft_match_scalar(match, deft_match_other(node, x), 0.5f, NULL);
}

/* The node that makes the whole from 1 + erf(...), by one product more or two; -1 where none does. */
static int find_whole(const deft_match *match, int sum, int x) {
    const deft_node *nodes = match->graph->nodes;
    int product = deft_match_sole_user(match, sum, DEFT_OP_MUL);
    if (product < 0) return -1;
    int factor = deft_match_other(&nodes[product], sum);
    if (factor == DEFT_NO_VALUE) return -1;
    if (is_half_of(match, factor, x)) return product;
    bool by_half = deft_match_scalar(match, factor, 0.5f, NULL);
    if (!by_half && factor != x) return -1;
    int made = nodes[product].out[0], last = deft_match_sole_user(match, made, DEFT_OP_MUL);
    if (last < 0) return -1;
    int rest = deft_match_other(&nodes[last], made);
    bool fits = by_half ? rest == x : deft_match_scalar(match, rest, 0.5f, NULL);
    return fits ? last : -1;
}

static deft_status visit(deft_match *match, int erf) {
    const deft_graph *graph = match->graph;
    const deft_node *node = &graph->nodes[erf];
    if (node->op != DEFT_OP_ERF) return DEFT_OK;
    int x = unscaled(match, node->in[0]), add = deft_match_sole_user(match, node->out[0], DEFT_OP_ADD);
    if (x == DEFT_NO_VALUE || add < 0) return DEFT_OK;
    const deft_node *sum = &graph->nodes[add];
    if (!deft_match_scalar(match, deft_match_other(sum, node->out[0]), 1, NULL)) return DEFT_OK;
    int whole = find_whole(match, sum->out[0], x);
    if (whole < 0 || !deft_shape_equal(&graph->values[x].desc, &graph->values[graph->nodes[whole].out[0]].desc))
        return DEFT_OK;
    return deft_match_replace(match, whole, DEFT_OP_GELU, &x, 1, NULL, 0);
}

deft_status deft_pass_gelu(deft_graph *graph) {
    return deft_match_each(graph, visit);
}
