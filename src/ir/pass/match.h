/* Finding patterns of nodes. */
#ifndef DEFT_IR_PASS_MATCH_H
#define DEFT_IR_PASS_MATCH_H

#include "ir/graph/graph.h"

typedef struct deft_match {
    deft_graph *graph;
    int *uses; /* of each value, by nodes and as outputs */
    int *user; /* the last node that uses it, or -1 */
} deft_match;

/* How often each value is used, by nodes and as an output: uses[value_count], zeroed before. */
void deft_match_count_uses(const deft_graph *graph, int *uses);
/* Its arrays are the arena's. They tell of the graph as it is now. */
DEFT_MUST_CHECK deft_status deft_match_init(deft_graph *graph, deft_arena *arena, deft_match *match);

/* The node of that operator that makes the value, or NULL. */
const deft_node *deft_match_maker(const deft_match *match, int value, deft_op op);
/* The node of that operator that alone uses the value, or -1. */
int deft_match_sole_user(const deft_match *match, int value, deft_op op);
/* Whether the value is a constant f32 of one element within a millionth of `wanted`; NAN: any, into *found. */
bool deft_match_scalar(const deft_match *match, int value, float wanted, float *found);
/* Of a node of two inputs, the one that is not `value`; DEFT_NO_VALUE where both or none are. */
int deft_match_other(const deft_node *node, int value);
/* Makes the node another one, of inputs and attributes that are copied. */
DEFT_MUST_CHECK deft_status deft_match_replace(deft_match *match, int node, deft_op op, const int *in, int in_count,
                                               const deft_attr *attrs, int attr_count);
/* Calls `visit` for each node, as the graph is when its turn comes. */
typedef deft_status (*deft_match_visitor)(deft_match *match, int node);
DEFT_MUST_CHECK deft_status deft_match_each(deft_graph *graph, deft_match_visitor visit);

#endif
