#include "ir/pass/match.h"
#include "ir/pass/pass.h"

/* x clip(x + 3, 0, 6) / 6, whose factors exporters take in one order or another. */

static bool has_bounds(const deft_match *match, const deft_node *clip) {
    float low = deft_attr_float(&clip->attrs, "min", -1), high = deft_attr_float(&clip->attrs, "max", -1);
    if (clip->in_count > 1) deft_match_scalar(match, clip->in[1], 0, &low);
    if (clip->in_count > 2) deft_match_scalar(match, clip->in[2], 6, &high);
    return low == 0 && high == 6;
}

/* Where `node` makes a sixth of `value`. */
static bool takes_sixth(const deft_match *match, const deft_node *node, int value) {
    if (node->op == DEFT_OP_DIV) return node->in[0] == value && deft_match_scalar(match, node->in[1], 6, NULL);
    return deft_match_scalar(match, deft_match_other(node, value), 1.0f / 6, NULL);
}

static int sole_product(const deft_match *match, int value) {
    int div = deft_match_sole_user(match, value, DEFT_OP_DIV);
    return div >= 0 ? div : deft_match_sole_user(match, value, DEFT_OP_MUL);
}

/* The node that makes the whole from clip(x + 3, 0, 6) by a product with x and a sixth; -1 where none does. */
static int find_whole(const deft_match *match, int clipped, int x) {
    const deft_node *nodes = match->graph->nodes;
    int first = sole_product(match, clipped);
    if (first < 0) return -1;
    int made = nodes[first].out[0], second = sole_product(match, made);
    if (second < 0) return -1;
    bool by_x_first = nodes[first].op == DEFT_OP_MUL && deft_match_other(&nodes[first], clipped) == x;
    if (by_x_first) return takes_sixth(match, &nodes[second], made) ? second : -1;
    bool by_x_last = nodes[second].op == DEFT_OP_MUL && deft_match_other(&nodes[second], made) == x;
    return by_x_last && takes_sixth(match, &nodes[first], clipped) ? second : -1;
}

static deft_status visit(deft_match *match, int index) {
    const deft_graph *graph = match->graph;
    const deft_node *clip = &graph->nodes[index];
    if (clip->op != DEFT_OP_CLIP || !has_bounds(match, clip)) return DEFT_OK;
    const deft_node *add = deft_match_maker(match, clip->in[0], DEFT_OP_ADD);
    int x = DEFT_NO_VALUE;
    for (int i = 0; add && i < 2; i++)
        if (deft_match_scalar(match, add->in[i], 3, NULL)) x = add->in[1 - i];
    if (x == DEFT_NO_VALUE) return DEFT_OK;
    int whole = find_whole(match, clip->out[0], x);
    if (whole < 0 || !deft_shape_equal(&graph->values[x].desc, &graph->values[graph->nodes[whole].out[0]].desc))
        return DEFT_OK;
    return deft_match_replace(match, whole, DEFT_OP_HARD_SWISH, &x, 1, NULL, 0);
}

deft_status deft_pass_hard_swish(deft_graph *graph) {
    return deft_match_each(graph, visit);
}
