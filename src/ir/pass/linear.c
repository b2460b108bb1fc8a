#include "ir/pass/match.h"
#include "ir/pass/pass.h"

#include <string.h>

/* A MatMul of many dimensions by a constant matrix, with a constant row added, is a Gemm of two between two Reshapes,
 * which cost nothing; every kernel of a Gemm adds the bias itself. */

static const deft_tensor *desc_of(const deft_match *match, int value) {
    return &match->graph->values[value].desc;
}

static bool is_constant_f32(const deft_match *match, int value) {
    const deft_value *v = &match->graph->values[value];
    return v->desc.data && !v->variable && v->desc.dtype == DEFT_F32;
}

/* Whether `value` is a row [columns] or [1, columns]. */
static bool is_row(const deft_match *match, int value, int64_t columns) {
    const deft_tensor *row = desc_of(match, value);
    return is_constant_f32(match, value) && row->rank >= 1 && row->rank <= 2 && deft_tensor_count(row) == columns &&
           row->dims[row->rank - 1] == columns;
}

/* The Add behind a MatMul that this is about, and its constant; -1 where there is none. */
static int find_add(const deft_match *match, const deft_node *product, int *bias) {
    if (product->op != DEFT_OP_MATMUL || !is_constant_f32(match, product->in[1])) return -1;
    const deft_tensor *x = desc_of(match, product->in[0]), *y = desc_of(match, product->out[0]);
    if (x->rank < 3 || desc_of(match, product->in[1])->rank != 2) return -1;
    if (deft_tensor_count(x) == 0 || deft_tensor_count(y) == 0) return -1;
    int add = deft_match_sole_user(match, product->out[0], DEFT_OP_ADD);
    if (add < 0) return -1;
    const deft_node *sum = &match->graph->nodes[add];
    *bias = deft_match_other(sum, product->out[0]);
    bool found = *bias != DEFT_NO_VALUE && is_row(match, *bias, y->dims[y->rank - 1]);
    return found && deft_shape_equal(desc_of(match, sum->out[0]), y) ? add : -1;
}

/* All dimensions but the last as one. */
static deft_tensor flattened(const deft_tensor *tensor) {
    deft_tensor flat = {.dtype = tensor->dtype, .rank = 2};
    flat.dims[1] = tensor->dims[tensor->rank - 1];
    flat.dims[0] = deft_tensor_count(tensor) / flat.dims[1];
    return flat;
}

/* A constant for Reshape, of this tensor's shape. */
static deft_status add_shape(deft_graph *graph, const deft_tensor *tensor, int *value) {
    int64_t dims[DEFT_MAX_RANK];
    memcpy(dims, tensor->dims, sizeof dims);
    deft_tensor shape = {.dtype = DEFT_I64, .rank = 1, .dims = {tensor->rank}, .data = dims};
    return deft_graph_add_constant(graph, NULL, &shape, value);
}

static deft_status add_flattened(deft_graph *graph, int value, int *out) {
    deft_tensor flat = flattened(&graph->values[value].desc);
    int shape, node;
    DEFT_TRY(add_shape(graph, &flat, &shape));
    DEFT_TRY(deft_graph_add_value(graph, NULL, out));
    graph->values[*out].desc = flat;
    graph->values[*out].known = true;
    return deft_graph_add_node(graph, DEFT_OP_RESHAPE, NULL, NULL, 0, (int[]){value, shape}, 2, out, 1, &node);
}

static deft_status visit(deft_match *match, int index) {
    deft_graph *graph = match->graph;
    const deft_node product = graph->nodes[index]; /* adding moves the graph's */
    int bias, rows, shape, add = find_add(match, &product, &bias);
    if (add < 0) return DEFT_OK;
    int made = product.out[0];
    DEFT_TRY(add_shape(graph, &graph->values[made].desc, &shape));
    DEFT_TRY(add_flattened(graph, product.in[0], &rows));
    graph->values[made].desc = flattened(&graph->values[made].desc);
    DEFT_TRY(deft_match_replace(match, index, DEFT_OP_GEMM, (int[]){rows, product.in[1], bias}, 3, NULL, 0));
    return deft_match_replace(match, add, DEFT_OP_RESHAPE, (int[]){made, shape}, 2, NULL, 0);
}

deft_status deft_pass_linear(deft_graph *graph) {
    DEFT_TRY(deft_match_each(graph, visit));
    return deft_graph_verify(graph);
}
