/* A node being replaced by others during inference, which goes on with them. */
#ifndef DEFT_IR_GRAPH_REPLACE_H
#define DEFT_IR_GRAPH_REPLACE_H

#include "ir/graph/graph.h"

typedef struct deft_replacement {
    deft_graph *graph;
    deft_arena scratch;
    deft_node node; /* a copy: adding moves the graph's */
    char label[DEFT_NODE_LABEL_BYTES];
    int index, first_added;
} deft_replacement;

void deft_replacement_begin(deft_graph *graph, int node, deft_replacement *r);
/* Adds a node with one output, at the end of the graph's; where *out is DEFT_NO_VALUE, to a new value. */
DEFT_MUST_CHECK deft_status deft_replacement_add(deft_replacement *r, deft_op op, const deft_attr *attrs,
                                                 int attr_count, const int *in, int in_count, int *out);
/* Where all went well, moves what was added to the place of the node; `replace` says whether to. Producers are to be
 * set anew afterwards. Returns `status`, or DEFT_UNSUPPORTED where nodes are moved about without end. */
DEFT_MUST_CHECK deft_status deft_replacement_end(deft_replacement *r, deft_status status, bool replace);

#endif
