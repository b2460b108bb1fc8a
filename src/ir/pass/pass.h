/* Graph passes, a file each: each takes a verified graph with inferred shapes and leaves one, for the shapes that are
 * bound now. Names of inputs and outputs stay; value ids and node indices change. In this order they are what
 * deft_pass_run_all runs before planning. */
#ifndef DEFT_IR_PASS_PASS_H
#define DEFT_IR_PASS_PASS_H

#include "ir/graph/graph.h"

/* name, function suffix, summary */
#define DEFT_PASSES(PASS)                                                                                              \
    PASS(fold, "evaluates nodes whose inputs are all constant")                                                        \
    PASS(identity, "removes Identity, Dropout and reshapes to the same shape")                                         \
    PASS(batch_norm, "folds BatchNormalization into the Conv or Gemm before it")                                       \
    PASS(layer_norm, "finds LayerNormalization in the nodes that exporters write for it")                              \
    PASS(gelu, "finds Gelu in the nodes that exporters write for it")                                                  \
    PASS(hard_swish, "finds HardSwish in the nodes that exporters write for it")                                       \
    PASS(swish, "finds Swish in the nodes that exporters write for it")                                                \
    PASS(linear, "makes a Gemm of a MatMul of many dimensions and the bias added to it")                               \
    PASS(dead, "removes nodes and constants that no output depends on")

#define DEFT_PASS(NAME, SUMMARY) DEFT_MUST_CHECK deft_status deft_pass_##NAME(deft_graph *graph);
DEFT_PASSES(DEFT_PASS)
#undef DEFT_PASS

DEFT_MUST_CHECK deft_status deft_pass_run_all(deft_graph *graph);
/* Runs those up to the one of this name; NULL: all. Error: DEFT_INVALID where there is none, naming those there are. */
DEFT_MUST_CHECK deft_status deft_pass_run_until(deft_graph *graph, const char *last);

#endif
