#include "ir/pass/match.h"
#include "ir/pass/pass.h"

/* x sigmoid(x), which operator sets before 24 have no operator for. */
static deft_status visit(deft_match *match, int index) {
    const deft_node *sigmoid = &match->graph->nodes[index];
    if (sigmoid->op != DEFT_OP_SIGMOID) return DEFT_OK;
    int x = sigmoid->in[0], product = deft_match_sole_user(match, sigmoid->out[0], DEFT_OP_MUL);
    if (product < 0 || deft_match_other(&match->graph->nodes[product], sigmoid->out[0]) != x) return DEFT_OK;
    return deft_match_replace(match, product, DEFT_OP_SWISH, &x, 1, NULL, 0);
}

deft_status deft_pass_swish(deft_graph *graph) {
    return deft_match_each(graph, visit);
}
