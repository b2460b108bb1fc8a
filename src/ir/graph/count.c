#include "ir/graph/graph.h"

#include <string.h>

int deft_node_weight(const deft_graph *graph, const deft_node *node) {
    if (node->op != DEFT_OP_GEMM && node->op != DEFT_OP_MATMUL && node->op != DEFT_OP_CONV) return DEFT_NO_VALUE;
    if (node->in_count < 2 || node->in[1] == DEFT_NO_VALUE) return DEFT_NO_VALUE;
    return graph->values[node->in[1]].desc.data ? node->in[1] : DEFT_NO_VALUE;
}

/* Saturates: a file may declare shapes that could never be computed. */
static int64_t multiply(int64_t a, int64_t b) {
    int64_t product;
    return __builtin_mul_overflow(a, b, &product) ? INT64_MAX : product;
}

/* Multiply-accumulates for one element of the output. */
static int64_t inner_size(const deft_graph *graph, const deft_node *node) {
    const deft_tensor *a = &graph->values[node->in[0]].desc, *w = &graph->values[node->in[1]].desc;
    switch (node->op) {
    case DEFT_OP_GEMM:
        return a->rank == 2 ? a->dims[deft_attr_int(&node->attrs, "transA", 0) ? 0 : 1] : 0;
    case DEFT_OP_MATMUL:
        return a->rank ? a->dims[a->rank - 1] : 0;
    case DEFT_OP_CONV:
        return w->rank && w->dims[0] ? deft_tensor_count(w) / w->dims[0] : 0;
    default:
        return 0;
    }
}

int64_t deft_node_macs(const deft_graph *graph, const deft_node *node) {
    if (node->op != DEFT_OP_GEMM && node->op != DEFT_OP_MATMUL && node->op != DEFT_OP_CONV) return 0;
    const deft_value *out = &graph->values[node->out[0]];
    return out->known ? multiply(deft_tensor_count(&out->desc), inner_size(graph, node)) : 0;
}

/* ---- work ---------------------------------------------------------------------------------------------------- */

static int64_t add(int64_t a, int64_t b) {
    int64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

/* 0 for an operand that is not there. */
static int64_t elements_of(const deft_graph *graph, const int *ids, int count, int i) {
    return i < count && ids[i] != DEFT_NO_VALUE ? deft_tensor_count(&graph->values[ids[i]].desc) : 0;
}

/* Elements of input i for each index of its dimension `dim`, counted from the end where it is negative. */
static int64_t elements_per(const deft_graph *graph, const deft_node *node, int i, int dim) {
    if (i >= node->in_count || node->in[i] == DEFT_NO_VALUE) return 0;
    const deft_tensor *desc = &graph->values[node->in[i]].desc;
    int at = dim < 0 ? dim + desc->rank : dim;
    return at >= 0 && at < desc->rank && desc->dims[at] > 0 ? deft_tensor_count(desc) / desc->dims[at] : 0;
}

/* Elements that a pooling window covers, no more than there are. */
static int64_t window_elements(const deft_graph *graph, const deft_node *node) {
    int64_t kernel[DEFT_MAX_RANK] = {0}, covered = 1, all = elements_of(graph, node->in, node->in_count, 0);
    int count = deft_attr_ints(&node->attrs, "kernel_shape", kernel, DEFT_MAX_RANK);
    for (int i = 0; i < count && i < DEFT_MAX_RANK; i++)
        covered = multiply(covered, kernel[i] > 0 ? kernel[i] : 1);
    return covered < all ? covered : all;
}

/* An upper bound: as if no two operands had a label in common. */
static int64_t einsum_work(const deft_graph *graph, const deft_node *node) {
    int64_t work = 1;
    for (int i = 0; i < node->in_count; i++)
        work = multiply(work, elements_of(graph, node->in, node->in_count, i));
    return work;
}

/* Steps times batch, times the weights. */
static int64_t recurrent_work(const deft_graph *graph, const deft_node *node) {
    int64_t weights =
        add(elements_of(graph, node->in, node->in_count, 1), elements_of(graph, node->in, node->in_count, 2));
    return multiply(elements_per(graph, node, 0, -1), weights);
}

/* What a node does beyond reading its inputs and writing its outputs once. */
static int64_t product_work(const deft_graph *graph, const deft_node *node) {
    int64_t in = elements_of(graph, node->in, node->in_count, 0),
            out = elements_of(graph, node->out, node->out_count, 0);
    switch (node->op) {
    case DEFT_OP_GEMM:
    case DEFT_OP_MATMUL:
    case DEFT_OP_CONV:
        return deft_node_macs(graph, node);
    case DEFT_OP_CONV_INTEGER:
        return multiply(out, elements_per(graph, node, 1, 0));
    case DEFT_OP_QLINEAR_CONV:
        return multiply(out, elements_per(graph, node, 3, 0));
    case DEFT_OP_CONV_TRANSPOSE:
        return multiply(in, elements_per(graph, node, 1, 0));
    case DEFT_OP_MATMUL_INTEGER:
    case DEFT_OP_QLINEAR_MATMUL:
        return multiply(out, in);
    case DEFT_OP_EINSUM:
        return einsum_work(graph, node);
    case DEFT_OP_MAX_POOL:
    case DEFT_OP_AVERAGE_POOL:
        return multiply(out, window_elements(graph, node));
    case DEFT_OP_NON_MAX_SUPPRESSION:
        return multiply(elements_of(graph, node->in, node->in_count, 1), elements_per(graph, node, 0, -1));
    case DEFT_OP_LRN:
        return multiply(in, in);
    case DEFT_OP_RNN:
    case DEFT_OP_GRU:
    case DEFT_OP_LSTM:
        return recurrent_work(graph, node);
    default:
        return 0;
    }
}

int64_t deft_node_work(const deft_graph *graph, const deft_node *node) {
    int64_t work = product_work(graph, node);
    for (int i = 0; i < node->in_count; i++)
        work = add(work, elements_of(graph, node->in, node->in_count, i));
    for (int i = 0; i < node->out_count; i++)
        work = add(work, elements_of(graph, node->out, node->out_count, i));
    return work;
}

/* ---- the whole graph ----------------------------------------------------------------------------------------- */

static int64_t count_zeros(const deft_tensor *weight) {
    int64_t count = deft_tensor_count(weight), zeros = 0;
    if (weight->dtype != DEFT_F32) return 0;
    const float *values = weight->data;
    for (int64_t i = 0; i < count; i++)
        zeros += values[i] == 0.0f;
    return zeros;
}

static bool is_float(deft_dtype dtype) {
    return dtype == DEFT_F32 || dtype == DEFT_F64 || dtype == DEFT_F16 || dtype == DEFT_BF16;
}

/* A weight that several nodes share counts once. `seen` remembers, by value, which were asked for; where there was no
 * memory for it, the nodes before are searched. */
static bool is_first_use(const deft_graph *graph, int node, int weight, bool *seen) {
    if (seen) {
        bool before = seen[weight];
        seen[weight] = true;
        return !before;
    }
    for (int i = 0; i < node; i++)
        if (deft_node_weight(graph, &graph->nodes[i]) == weight) return false;
    return true;
}

deft_graph_stats deft_graph_count(const deft_graph *graph) {
    deft_graph_stats stats = {0};
    bool *seen;
    if (deft_allocate_zeroed(graph->ctx, (size_t)graph->value_count, sizeof *seen, &seen) != DEFT_OK) seen = NULL;
    for (int i = 0; i < graph->value_count; i++) {
        const deft_value *value = &graph->values[i];
        if (value->desc.data && is_float(value->desc.dtype)) stats.parameters += deft_tensor_count(&value->desc);
    }
    for (int i = 0; i < graph->body_count; i++)
        stats.parameters += deft_graph_count(graph->bodies[i]).parameters;
    for (int i = 0; i < graph->node_count; i++) {
        const deft_node *node = &graph->nodes[i];
        int64_t macs = deft_node_macs(graph, node), nonzero = macs;
        int weight = deft_node_weight(graph, node);
        if (weight != DEFT_NO_VALUE) {
            const deft_tensor *desc = &graph->values[weight].desc;
            int64_t count = deft_tensor_count(desc), zeros = count_zeros(desc);
            /* Each weight is used equally often. */
            nonzero = count ? multiply(macs / count, count - zeros) : 0;
            if (is_first_use(graph, i, weight, seen)) {
                stats.prunable += count;
                stats.prunable_zeros += zeros;
            }
        }
        if (__builtin_add_overflow(stats.macs, macs, &stats.macs)) stats.macs = INT64_MAX;
        if (__builtin_add_overflow(stats.macs_nonzero, nonzero, &stats.macs_nonzero)) stats.macs_nonzero = INT64_MAX;
    }
    deft_release(graph->ctx, seen);
    return stats;
}
