#include "codegen/kernel/linear.h"
#include "exec/plan/planner.h"

#include <math.h>

static const deft_tensor *desc_of(const deft_planner *p, int value) {
    return &p->graph->values[value].desc;
}

/* The node that alone uses what `node` makes, or -1. */
static int sole_user(const deft_planner *p, int node) {
    int out = p->fusions[node].out;
    return p->use_count[out] == 1 && !p->pinned[out] ? p->user[out] : -1;
}

static void absorb(deft_planner *p, int node, int follower) {
    p->fusions[node].out = p->graph->nodes[follower].out[0];
    p->maker[p->fusions[node].out] = node;
    p->absorbed[follower] = true;
}

/* A product [n, m] without a bias. */
static bool takes_bias(const deft_planner *p, const deft_node *node) {
    if (desc_of(p, node->out[0])->rank != 2 || desc_of(p, node->out[0])->dtype != DEFT_F32) return false;
    if (node->op == DEFT_OP_MATMUL) return desc_of(p, node->in[0])->rank == 2 && desc_of(p, node->in[1])->rank == 2;
    if (node->op != DEFT_OP_GEMM || deft_attr_float(&node->attrs, "beta", 1) != 1) return false;
    return node->in_count < 3 || node->in[2] == DEFT_NO_VALUE;
}

/* A constant that is added to the product becomes the bias of a Gemm. */
static void fuse_bias(deft_planner *p, int index) {
    const deft_node *node = &p->graph->nodes[index];
    int follower = sole_user(p, index);
    if (follower < 0 || !takes_bias(p, node)) return;
    const deft_node *add = &p->graph->nodes[follower];
    if (add->op != DEFT_OP_ADD) return;
    int bias = add->in[0] == node->out[0] ? add->in[1] : add->in[0];
    if (bias == node->out[0] || !deft_planner_is_fixed(p, bias) || desc_of(p, bias)->rank > 2) return;
    if (!deft_shape_equal(desc_of(p, add->out[0]), desc_of(p, node->out[0]))) return;
    p->fusions[index].bias = bias;
    absorb(p, index, follower);
}

int64_t deft_planner_count_nonzeros(deft_planner *p, int value) {
    const deft_tensor *tensor = desc_of(p, value);
    if (p->nonzeros[value] < 0)
        p->nonzeros[value] = deft_linear_count_nonzeros(tensor->data, deft_tensor_count(tensor));
    return p->nonzeros[value];
}

bool deft_planner_has_zeros(deft_planner *p, const deft_node *conv) {
    static const double share_of_zeros = 0.3;
    int64_t count = deft_tensor_count(desc_of(p, conv->in[1]));
    int64_t zeros = count - deft_planner_count_nonzeros(p, conv->in[1]);
    return (double)zeros > share_of_zeros * (double)count;
}

/* Another picture that is added to a convolution's, where it is made before. */
static void fuse_residual(deft_planner *p, int index) {
    const deft_node *node = &p->graph->nodes[index];
    int follower = sole_user(p, index), made = p->fusions[index].out;
    if (node->op != DEFT_OP_CONV || follower < 0 || !deft_planner_is_fixed(p, node->in[1])) return;
    const deft_node *add = &p->graph->nodes[follower];
    if (add->op != DEFT_OP_ADD || desc_of(p, made)->dtype != DEFT_F32) return;
    int other = add->in[0] == made ? add->in[1] : add->in[0];
    if (other == made || deft_planner_is_constant(p, other) || p->maker[other] >= index) return;
    if (!deft_shape_equal(desc_of(p, other), desc_of(p, made)) || deft_planner_has_zeros(p, node)) return;
    p->fusions[index].residual = other;
    absorb(p, index, follower);
}

static bool read_bound(const deft_planner *p, const deft_node *clip, int input, const char *attr, float fallback,
                       float *bound) {
    *bound = deft_attr_float(&clip->attrs, attr, fallback);
    if (clip->in_count <= input || clip->in[input] == DEFT_NO_VALUE) return true;
    if (!deft_planner_is_fixed(p, clip->in[input])) return false;
    *bound = *(const float *)desc_of(p, clip->in[input])->data;
    return true;
}

static bool activation_of(const deft_planner *p, const deft_node *node, deft_activation *activation) {
    if (node->op != DEFT_OP_RELU && node->op != DEFT_OP_CLIP) return false;
    if (desc_of(p, node->out[0])->dtype != DEFT_F32) return false;
    *activation = (deft_activation){0, INFINITY};
    if (node->op == DEFT_OP_RELU) return true;
    return read_bound(p, node, 1, "min", -INFINITY, &activation->low) &&
           read_bound(p, node, 2, "max", INFINITY, &activation->high) && activation->low <= activation->high;
}

static void fuse_activation(deft_planner *p, int index) {
    int follower = sole_user(p, index);
    deft_activation activation;
    if (follower < 0 || !activation_of(p, &p->graph->nodes[follower], &activation)) return;
    if (p->graph->nodes[follower].in[0] != p->fusions[index].out) return;
    p->fusions[index].activation = activation;
    absorb(p, index, follower);
}

/* Into a dense convolution only: sparse kernels know none. */
static void fuse_function(deft_planner *p, int index) {
    static const struct {
        deft_op op;
        deft_function function;
        float alpha; /* by default */
    } table[] = {{DEFT_OP_LEAKY_RELU, DEFT_FUNCTION_LEAKY_RELU, 0.01f},
                 {DEFT_OP_SWISH, DEFT_FUNCTION_SWISH, 1},
                 {DEFT_OP_HARD_SWISH, DEFT_FUNCTION_HARD_SWISH, 0}};
    const deft_node *node = &p->graph->nodes[index];
    int follower = sole_user(p, index);
    if (node->op != DEFT_OP_CONV || follower < 0 || !deft_planner_is_fixed(p, node->in[1])) return;
    const deft_node *next = &p->graph->nodes[follower];
    if (desc_of(p, next->out[0])->dtype != DEFT_F32) return;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (next->op != table[i].op || deft_planner_has_zeros(p, node)) continue;
        p->fusions[index].function = table[i].function;
        p->fusions[index].alpha = deft_attr_float(&next->attrs, "alpha", table[i].alpha);
        absorb(p, index, follower);
        return;
    }
}

void deft_planner_fuse(deft_planner *p) {
    for (int i = 0; i < p->graph->node_count; i++) {
        deft_op op = p->graph->nodes[i].op;
        bool product = op == DEFT_OP_GEMM || op == DEFT_OP_MATMUL;
        if (p->absorbed[i] || (!product && op != DEFT_OP_CONV && op != DEFT_OP_CONV_TRANSPOSE)) continue;
        fuse_bias(p, i);
        fuse_residual(p, i);
        fuse_function(p, i);
        if (!p->fusions[i].function) fuse_activation(p, i);
    }
}

/* ---- views --------------------------------------------------------------------------------------------------- */

static bool is_view(const deft_planner *p, const deft_node *node) {
    switch (node->op) {
    case DEFT_OP_IDENTITY:
    case DEFT_OP_FLATTEN:
    case DEFT_OP_RESHAPE:
    case DEFT_OP_SQUEEZE:
    case DEFT_OP_UNSQUEEZE:
    case DEFT_OP_RESHAPE_LIKE:
        return true;
    case DEFT_OP_DROPOUT:
        return node->out_count < 2 || node->out[1] == DEFT_NO_VALUE || p->use_count[node->out[1]] == 0;
    default:
        return false;
    }
}

void deft_planner_alias_views(deft_planner *p) {
    for (int i = 0; i < p->graph->node_count; i++) {
        const deft_node *node = &p->graph->nodes[i];
        if (p->absorbed[i] || !is_view(p, node) || deft_planner_is_constant(p, node->in[0])) continue;
        int home = p->home[node->in[0]], out = node->out[0];
        if (p->pinned[home] && p->pinned[out]) continue; /* each has its own memory: this is a copy */
        p->home[out] = home;
        p->viewed[home] = true;
        p->pinned[home] |= p->pinned[out];
        p->absorbed[i] = true;
    }
}
