#include "learn/approx/weights.h"

/* As a matrix product has it: [..., inner, rows], or [rows, inner] where it is transposed; a vector is one row. */
static void lay_out_product(const deft_tensor *tensor, bool transposed, deft_weight *weight) {
    int64_t columns = tensor->rank > 0 ? tensor->dims[tensor->rank - 1] : 1;
    int64_t lines = tensor->rank > 1 ? tensor->dims[tensor->rank - 2] : columns;
    if (tensor->rank < 2) columns = 1;
    weight->rows = transposed ? lines : columns;
    weight->inner = transposed ? columns : lines;
    weight->row_stride = transposed ? columns : 1;
    weight->inner_stride = transposed ? 1 : columns;
    weight->matrix_stride = lines * columns;
    weight->matrices = weight->count / weight->matrix_stride;
    weight->taps = 1;
}

/* [rows, channels of a group, kernel...] */
static void lay_out_conv(const deft_tensor *tensor, deft_weight *weight) {
    weight->rows = tensor->dims[0];
    weight->inner = weight->row_stride = weight->count / weight->rows;
    weight->inner_stride = 1;
    weight->matrices = 1;
    weight->matrix_stride = weight->count;
    weight->taps = tensor->rank > 1 ? weight->inner / tensor->dims[1] : 1;
}

deft_status deft_weights_find(const deft_graph *graph, deft_arena *arena, deft_weights *weights) {
    bool *seen; /* by value */
    *weights = (deft_weights){0};
    DEFT_TRY(deft_arena_array(arena, (size_t)graph->value_count, sizeof *seen, &seen));
    DEFT_TRY(deft_arena_array(arena, (size_t)graph->node_count, sizeof *weights->items, &weights->items));
    for (int i = 0; i < graph->node_count; i++) {
        const deft_node *node = &graph->nodes[i];
        int id = deft_node_weight(graph, node);
        if (id == DEFT_NO_VALUE || seen[id]) continue;
        seen[id] = true;
        const deft_tensor *tensor = &graph->values[id].desc;
        if (tensor->dtype != DEFT_F32)
            return deft_fail(graph->ctx, DEFT_UNSUPPORTED, "weight '%.64s' is of type %s; only f32 can be pruned",
                             graph->values[id].name, deft_dtype_name(tensor->dtype));
        deft_weight weight = {.data = tensor->data, .count = deft_tensor_count(tensor), .value = id, .node = i};
        if (weight.count == 0) continue;
        if (node->op == DEFT_OP_CONV)
            lay_out_conv(tensor, &weight);
        else
            lay_out_product(tensor, node->op == DEFT_OP_GEMM && deft_attr_int(&node->attrs, "transB", 0), &weight);
        weights->items[weights->count++] = weight;
        weights->total += weight.count;
    }
    return DEFT_OK;
}

int64_t deft_weight_zeros(const deft_weight *weight) {
    int64_t zeros = 0;
    for (int64_t i = 0; i < weight->count; i++)
        zeros += weight->data[i] == 0.0f;
    return zeros;
}

int64_t deft_weights_zeros(const deft_weights *weights) {
    int64_t zeros = 0;
    for (int i = 0; i < weights->count; i++)
        zeros += deft_weight_zeros(&weights->items[i]);
    return zeros;
}
