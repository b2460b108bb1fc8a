/* Small graphs for tests, a line a node. */
#ifndef DEFT_TESTS_UNIT_GRAPHS_H
#define DEFT_TESTS_UNIT_GRAPHS_H

#include "tests/support.h"

#include <string.h>

#include "base/core/rng.h"
#include "ir/graph/graph.h"

/* By name; made where there is none yet. */
static inline int value_named(deft_graph *graph, const char *name) {
    int value = deft_graph_find(graph, name);
    if (value < 0) assert_int_equal(deft_graph_add_value(graph, name, &value), DEFT_OK);
    return value;
}

static inline int add_node(deft_graph *graph, deft_op op, const deft_attr *attrs, int attr_count, const char *const *in,
                           int in_count, const char *out) {
    int ids[8], out_id = value_named(graph, out), node;
    for (int i = 0; i < in_count; i++)
        ids[i] = value_named(graph, in[i]);
    assert_int_equal(deft_graph_add_node(graph, op, out, attrs, attr_count, ids, in_count, &out_id, 1, &node), DEFT_OK);
    return node;
}
#define NODE(GRAPH, OP, OUT, ...)                                                                                      \
    add_node(GRAPH, DEFT_OP_##OP, NULL, 0, (const char *const[]){__VA_ARGS__},                                         \
             (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)), OUT)

/* The first dimension is the batch where it is -1. */
static inline void add_graph_input(deft_graph *graph, const char *name, int rank, const int64_t *dims) {
    int value;
    assert_int_equal(deft_graph_add_input(graph, name, DEFT_F32, rank, dims, NULL, &value), DEFT_OK);
}

/* Random, with about this share of zeros. */
static inline void add_weight(deft_graph *graph, const char *name, int rank, const int64_t *dims, double zeros) {
    deft_tensor tensor = {.dtype = DEFT_F32, .rank = rank};
    deft_rng rng;
    int value;
    if (rank) memcpy(tensor.dims, dims, sizeof *dims * (size_t)rank);
    assert_int_equal(deft_tensor_allocate(graph->ctx, &tensor), DEFT_OK);
    deft_rng_init(&rng, 11, (uint64_t)graph->value_count);
    for (int64_t i = 0; i < deft_tensor_count(&tensor); i++)
        ((float *)tensor.data)[i] = deft_rng_uniform(&rng) < zeros ? 0 : 0.2f * deft_rng_normal(&rng);
    assert_int_equal(deft_graph_add_constant(graph, name, &tensor, &value), DEFT_OK);
    deft_release(graph->ctx, tensor.data);
}
#define DIMS(...)                                                                                                      \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]) {                                           \
        __VA_ARGS__                                                                                                    \
    }

static inline deft_graph *new_graph(deft_context *ctx) {
    deft_graph *graph = NULL;
    assert_int_equal(deft_graph_new(ctx, &graph), DEFT_OK);
    graph->opset = 13;
    return graph;
}

static inline void finish_graph(deft_graph *graph, const char *output) {
    assert_int_equal(deft_graph_add_output(graph, value_named(graph, output)), DEFT_OK);
    assert_int_equal(deft_graph_verify(graph), DEFT_OK);
}

#endif
