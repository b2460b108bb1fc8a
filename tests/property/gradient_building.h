/* What problems for gradients are built of. */
#ifndef DEFT_TESTS_PROPERTY_GRADIENT_BUILDING_H
#define DEFT_TESTS_PROPERTY_GRADIENT_BUILDING_H

#include "tests/support.h"

#include "base/core/rng.h"
#include "ir/grad/grad.h"

#include <math.h>
#include <string.h>

enum { MAX_WRT = 8 };

/* A graph of constants and nodes, and the constants whose gradients are checked. */
typedef struct problem {
    deft_context *ctx;
    deft_graph *graph;
    deft_rng rng;
    int wrt[MAX_WRT], wrt_count;
} problem;

static int64_t pick(problem *p, int64_t low, int64_t high) {
    return low + (int64_t)deft_rng_below(&p->rng, (uint64_t)(high - low + 1));
}

static bool coin(problem *p) {
    return pick(p, 0, 1) == 1;
}

/* A constant whose elements all differ, none near 0 or near another: no function with corners, such as Relu and
 * MaxPool, is tested on one. */
static int make_constant(problem *p, int rank, const int64_t *dims, bool wrt) {
    deft_tensor tensor = {.dtype = DEFT_F64, .rank = rank};
    for (int i = 0; i < rank; i++)
        tensor.dims[i] = dims[i];
    int64_t count = deft_tensor_count(&tensor);
    int64_t *order = malloc(sizeof *order * (size_t)count);
    double *data = malloc(sizeof *data * (size_t)count);
    for (int64_t i = 0; i < count; i++)
        order[i] = i;
    deft_rng_shuffle(&p->rng, order, count);
    for (int64_t i = 0; i < count; i++)
        data[i] = 2.5 * ((double)order[i] + 0.5 + 0.3 * (double)deft_rng_uniform(&p->rng)) / (double)count - 1.27;
    tensor.data = data;
    int value;
    assert_int_equal(deft_graph_add_constant(p->graph, NULL, &tensor, &value), DEFT_OK);
    if (wrt) p->wrt[p->wrt_count++] = value;
    free(order);
    free(data);
    return value;
}

#define DIMS(...)                                                                                                      \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]) {                                           \
        __VA_ARGS__                                                                                                    \
    }
#define VARIABLE(P, ...) make_constant(P, DIMS(__VA_ARGS__), true)
#define FIXED(P, ...)    make_constant(P, DIMS(__VA_ARGS__), false)

/* Elements brought to where the function has a derivative and differences are of use: low + (high - low) t, where the
 * constant's are t in [-1.27, 1.23]. */
static void move_into(problem *p, int value, double low, double high) {
    double *x = p->graph->values[value].desc.data;
    for (int64_t i = 0; i < deft_tensor_count(&p->graph->values[value].desc); i++)
        x[i] = low + (high - low) * (x[i] + 1.27) / 2.5;
}

static int add_nodes(problem *p, deft_op op, const deft_attr *attrs, int attr_count, const int *in, int in_count,
                     int out_count) {
    int out[3], node;
    for (int i = 0; i < out_count; i++)
        assert_int_equal(deft_graph_add_value(p->graph, NULL, &out[i]), DEFT_OK);
    assert_int_equal(
        deft_graph_add_node(p->graph, op, "tested", attrs, attr_count, in, in_count, out, out_count, &node), DEFT_OK);
    if (deft_graph_infer_node(p->graph, node) != DEFT_OK) fail_msg("%s", deft_context_message(p->ctx));
    return out[0];
}

static int add_node(problem *p, deft_op op, const deft_attr *attrs, int attr_count, int a, int b, int c) {
    int in[] = {a, b, c}, count = c >= 0 ? 3 : b >= 0 ? 2 : 1;
    return add_nodes(p, op, attrs, attr_count, in, count, 1);
}

static deft_attr ints(const char *name, int count, const int64_t *values) {
    return (deft_attr){.name = name, .type = DEFT_ATTR_INTS, .count = count, .ints = values};
}

static deft_attr one_int(const char *name, int64_t value) {
    return (deft_attr){.name = name, .type = DEFT_ATTR_INT, .i = value};
}

static deft_attr one_float(const char *name, float value) {
    return (deft_attr){.name = name, .type = DEFT_ATTR_FLOAT, .f = value};
}

static int i64_vector(problem *p, int count, const int64_t *values) {
    deft_tensor tensor = {.dtype = DEFT_I64, .rank = 1, .dims = {count}, .data = (void *)values};
    int value;
    assert_int_equal(deft_graph_add_constant(p->graph, NULL, &tensor, &value), DEFT_OK);
    return value;
}
static int of_type(problem *p, deft_dtype dtype, int rank, const int64_t *dims, const void *data) {
    deft_tensor tensor = {.dtype = dtype, .rank = rank, .data = (void *)data};
    int value;
    for (int i = 0; i < rank; i++)
        tensor.dims[i] = dims[i];
    assert_int_equal(deft_graph_add_constant(p->graph, NULL, &tensor, &value), DEFT_OK);
    return value;
}

#endif
