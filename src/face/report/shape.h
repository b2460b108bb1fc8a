/* Shapes and nodes as people know them. */
#ifndef DEFT_FACE_REPORT_SHAPE_H
#define DEFT_FACE_REPORT_SHAPE_H

#include "ir/graph/graph.h"

/* The shape of a value with symbolic dimensions by their names: "Nx1x28x28", "scalar". Cut where it is too long.
 * Returns `out`. */
const char *deft_shape_symbols(const deft_value *value, char *out, size_t bytes);
/* What a node is called: its name, or where it has none that of its first output. */
const char *deft_layer_name(const deft_graph *graph, const deft_node *node);

#endif
