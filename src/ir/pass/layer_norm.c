#include "ir/pass/match.h"
#include "ir/pass/pass.h"

#include <math.h>

/* d = x - mean(x); d / sqrt(mean(d^2) + epsilon) scale + shift, the means over the last dimension. */

static bool is_last_axis(const deft_match *match, const deft_node *mean) {
    const deft_tensor *x = &match->graph->values[mean->in[0]].desc;
    int64_t axis = 0;
    int count = deft_attr_ints(&mean->attrs, "axes", &axis, 1);
    if (mean->in_count > 1 && mean->in[1] != DEFT_NO_VALUE) {
        const deft_tensor *axes = &match->graph->values[mean->in[1]].desc;
        if (!axes->data || axes->dtype != DEFT_I64 || deft_tensor_count(axes) != 1) return false;
        axis = *(const int64_t *)axes->data;
        count = 1;
    }
    return count == 1 && (axis == -1 || axis == x->rank - 1) && deft_attr_int(&mean->attrs, "keepdims", 1);
}

/* x, where `value` is mean(x). */
static int averaged(const deft_match *match, int value) {
    const deft_node *mean = deft_match_maker(match, value, DEFT_OP_REDUCE_MEAN);
    return mean && is_last_axis(match, mean) ? mean->in[0] : DEFT_NO_VALUE;
}

/* x, where `value` is x - mean(x). */
static int centred(const deft_match *match, int value) {
    const deft_node *sub = deft_match_maker(match, value, DEFT_OP_SUB);
    return sub && averaged(match, sub->in[1]) == sub->in[0] ? sub->in[0] : DEFT_NO_VALUE;
}

/* d, where `value` is d^2. */
static int square_root(const deft_match *match, int value) {
    const deft_node *power = deft_match_maker(match, value, DEFT_OP_POW);
    if (power && deft_match_scalar(match, power->in[1], 2, NULL)) return power->in[0];
    const deft_node *product = deft_match_maker(match, value, DEFT_OP_MUL);
    return product && product->in[0] == product->in[1] ? product->in[0] : DEFT_NO_VALUE;
}

/* x, where `value` is sqrt(mean((x - mean(x))^2) + epsilon). */
static int deviating(const deft_match *match, int value, float *epsilon) {
    const deft_node *root = deft_match_maker(match, value, DEFT_OP_SQRT);
    const deft_node *sum = root ? deft_match_maker(match, root->in[0], DEFT_OP_ADD) : NULL;
    for (int i = 0; sum && i < 2; i++) {
        if (!deft_match_scalar(match, sum->in[i], NAN, epsilon)) continue;
        int squares = averaged(match, sum->in[1 - i]);
        int difference = squares == DEFT_NO_VALUE ? DEFT_NO_VALUE : square_root(match, squares);
        return difference == DEFT_NO_VALUE ? DEFT_NO_VALUE : centred(match, difference);
    }
    return DEFT_NO_VALUE;
}

/* The node of that operator that alone uses `value`, with a constant for each element of a row, into *factor; or -1. */
static int find_by_row(const deft_match *match, int value, deft_op op, int64_t columns, int *factor) {
    int user = deft_match_sole_user(match, value, op);
    if (user < 0) return -1;
    *factor = deft_match_other(&match->graph->nodes[user], value);
    if (*factor == DEFT_NO_VALUE) return -1;
    const deft_value *constant = &match->graph->values[*factor];
    bool fits = constant->desc.data && !constant->variable && constant->desc.dtype == DEFT_F32 &&
                constant->desc.rank == 1 && constant->desc.dims[0] == columns;
    return fits ? user : -1;
}

static deft_status visit(deft_match *match, int div) {
    const deft_graph *graph = match->graph;
    const deft_node *node = &graph->nodes[div];
    float epsilon = 0;
    if (node->op != DEFT_OP_DIV) return DEFT_OK;
    int x = centred(match, node->in[0]);
    if (x == DEFT_NO_VALUE || deviating(match, node->in[1], &epsilon) != x) return DEFT_OK;
    const deft_tensor *desc = &graph->values[x].desc;
    int64_t columns = desc->rank > 0 ? desc->dims[desc->rank - 1] : 1;
    int in[] = {x, DEFT_NO_VALUE, DEFT_NO_VALUE};
    int scaled = find_by_row(match, node->out[0], DEFT_OP_MUL, columns, &in[1]);
    if (desc->dtype != DEFT_F32 || scaled < 0 || !(epsilon > 0)) return DEFT_OK;
    int shifted = find_by_row(match, graph->nodes[scaled].out[0], DEFT_OP_ADD, columns, &in[2]);
    const deft_attr attrs[] = {{.name = "axis", .type = DEFT_ATTR_INT, .i = -1},
                               {.name = "epsilon", .type = DEFT_ATTR_FLOAT, .f = epsilon}};
    return deft_match_replace(match, shifted >= 0 ? shifted : scaled, DEFT_OP_LAYER_NORM, in, shifted >= 0 ? 3 : 2,
                              attrs, 2);
}

deft_status deft_pass_layer_norm(deft_graph *graph) {
    return deft_match_each(graph, visit);
}
