#include "ir/pass/match.h"
#include "ir/pass/pass.h"

#include <math.h>

/* x (1 + erf(x / sqrt(2))) / 2, or with tanh(sqrt(2 / pi) (x + 0.044715 x^3)) for erf; exporters take the products in
 * one order or another. */

static const float root_of_half = 0.70710678f, root_of_two = 1.41421356f, root_of_two_by_pi = 0.79788456f;

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

/* What a product is made of: how often x, and the constants; false where anything else. */
static bool read_factors(const deft_match *match, int value, int x, int depth, int *power, float *scale) {
    float constant;
    if (value == x) {
        *power += 1;
        return true;
    }
    if (deft_match_scalar(match, value, NAN, &constant)) {
        *scale *= constant;
        return true;
    }
    const deft_node *node = deft_match_maker(match, value, DEFT_OP_POW);
    if (node && node->in[0] == x && deft_match_scalar(match, node->in[1], 3, NULL)) {
        *power += 3;
        return true;
    }
    node = deft_match_maker(match, value, DEFT_OP_MUL);
    return node && depth > 0 && read_factors(match, node->in[0], x, depth - 1, power, scale) &&
           read_factors(match, node->in[1], x, depth - 1, power, scale);
}

static bool is_cube(const deft_match *match, int value, int x) {
    int power = 0;
    float scale = 1;
    return read_factors(match, value, x, 4, &power, &scale) && power == 3 && fabsf(scale - 0.044715f) < 1e-6f;
}

/* x, where `value` is sqrt(2 / pi) (x + 0.044715 x^3). */
static int uncurved(const deft_match *match, int value) {
    const deft_node *product = deft_match_maker(match, value, DEFT_OP_MUL), *sum = NULL;
    for (int i = 0; product && i < 2; i++)
        if (deft_match_scalar(match, product->in[i], root_of_two_by_pi, NULL))
            sum = deft_match_maker(match, product->in[1 - i], DEFT_OP_ADD);
    for (int i = 0; sum && i < 2; i++)
        if (is_cube(match, sum->in[i], sum->in[1 - i])) return sum->in[1 - i];
    return DEFT_NO_VALUE;
}

static deft_status visit(deft_match *match, int index) {
    const deft_graph *graph = match->graph;
    const deft_node *node = &graph->nodes[index];
    static const deft_attr by_tanh = {.name = "approximate", .type = DEFT_ATTR_STRING, .s = "tanh"};
    bool erf = node->op == DEFT_OP_ERF;
    if (!erf && node->op != DEFT_OP_TANH) return DEFT_OK;
    int x = erf ? unscaled(match, node->in[0]) : uncurved(match, node->in[0]);
    int add = deft_match_sole_user(match, node->out[0], DEFT_OP_ADD);
    if (x == DEFT_NO_VALUE || add < 0) return DEFT_OK;
    const deft_node *sum = &graph->nodes[add];
    if (!deft_match_scalar(match, deft_match_other(sum, node->out[0]), 1, NULL)) return DEFT_OK;
    int whole = find_whole(match, sum->out[0], x);
    if (whole < 0 || !deft_shape_equal(&graph->values[x].desc, &graph->values[graph->nodes[whole].out[0]].desc))
        return DEFT_OK;
    return deft_match_replace(match, whole, DEFT_OP_GELU, &x, 1, &by_tanh, !erf);
}

deft_status deft_pass_gelu(deft_graph *graph) {
    return deft_match_each(graph, visit);
}
