#include "base/number/finite.h"
#include "ir/pass/match.h"
#include "ir/pass/pass.h"

#include <math.h>

/* A BatchNormalization behind a linear node, y = scale (x - mean) / sqrt(var + epsilon) + B, is y = a x + b by channel:
 * a goes into the weights and b into the bias. */
typedef struct folding {
    deft_graph *graph;
    const int *uses; /* of each value that was there before the pass, by nodes and as outputs */
    int use_count;
    deft_node *linear;
    const deft_node *norm;
    int64_t channels;
    deft_arena *scratch;
    double *factors; /* by channel */
} folding;

static const float *constant_of(const deft_graph *graph, int id, int64_t count) {
    const deft_value *value = &graph->values[id];
    bool usable = value->desc.data && !value->variable && value->desc.dtype == DEFT_F32;
    return usable && deft_tensor_count(&value->desc) == count ? value->desc.data : NULL;
}

static bool has_bias(const deft_node *node) {
    return node->in_count > 2 && node->in[2] != DEFT_NO_VALUE;
}

static bool is_linear(const folding *f) {
    if (f->linear->op == DEFT_OP_CONV) return true;
    /* With another beta the bias would have to be divided by it. */
    return f->linear->op == DEFT_OP_GEMM && deft_attr_float(&f->linear->attrs, "beta", 1) == 1.0f;
}

/* What each channel is multiplied by. */
static deft_status find_factors(folding *f) {
    const deft_value *values = f->graph->values;
    const float *scale = values[f->norm->in[1]].desc.data, *variance = values[f->norm->in[4]].desc.data;
    double epsilon = (double)deft_attr_float(&f->norm->attrs, "epsilon", 1e-5f);
    DEFT_TRY(deft_arena_array(f->scratch, (size_t)f->channels, sizeof *f->factors, &f->factors));
    for (int64_t c = 0; c < f->channels; c++)
        f->factors[c] = (double)scale[c] / sqrt((double)variance[c] + epsilon);
    return DEFT_OK;
}

/* A weight's channel is its row for Conv and a transposed Gemm, else its column. */
static bool has_columns(const folding *f) {
    return f->linear->op == DEFT_OP_GEMM && !deft_attr_int(&f->linear->attrs, "transB", 0);
}

static int64_t row_of(const folding *f, int64_t count) {
    return has_columns(f) ? f->channels : count / f->channels;
}

/* Each weight times the factor of its channel. */
static void scale_weights(const folding *f, float *weights, int64_t count) {
    int64_t row = row_of(f, count);
    bool columns = has_columns(f);
    for (int64_t begin = 0; row && begin < count; begin += row) {
        const double *factors = f->factors, factor = columns ? 1 : factors[begin / row];
        float *w = weights + begin;
        if (columns) {
#pragma omp simd
            for (int64_t j = 0; j < row; j++)
                w[j] = (float)((double)w[j] * factors[j]);
        } else {
#pragma omp simd
            for (int64_t j = 0; j < row; j++)
                w[j] = (float)((double)w[j] * factor);
        }
    }
}

/* Whether all scaled weights are within the range of floats. */
static bool scales(const folding *f, const float *weights, int64_t count) {
    int64_t row = row_of(f, count);
    double largest = 0;
    for (int64_t c = 0; c < f->channels; c++)
        largest = fmax(largest, fabs(f->factors[c]));
    if (isfinite((float)(largest * (double)deft_largest(weights, count)))) return true; /* no matter which is where */
    for (int64_t i = 0; row && i < count; i++)
        if (!isfinite((float)((double)weights[i] * f->factors[has_columns(f) ? i % row : i / row]))) return false;
    return true;
}

/* A negative variance, or a weight that leaves the range of floats, is left to the normalisation. */
static bool stays_finite(const folding *f) {
    const deft_tensor *weight = &f->graph->values[f->linear->in[1]].desc;
    for (int64_t c = 0; c < f->channels; c++)
        if (!isfinite(f->factors[c])) return false;
    return scales(f, weight->data, deft_tensor_count(weight));
}

static bool is_foldable(const folding *f) {
    const deft_graph *graph = f->graph;
    const deft_node *linear = f->linear, *norm = f->norm;
    int weight = deft_node_weight(graph, linear);
    if (!is_linear(f) || f->uses[linear->out[0]] != 1 || weight == DEFT_NO_VALUE) return false;
    if (!constant_of(graph, weight, deft_tensor_count(&graph->values[weight].desc))) return false;
    /* A bias of more or fewer elements is broadcast in another way than by channel. */
    if (has_bias(linear) && !constant_of(graph, linear->in[2], f->channels)) return false;
    if (has_bias(linear) && graph->values[linear->in[2]].desc.rank > 1 &&
        graph->values[linear->in[2]].desc.dims[graph->values[linear->in[2]].desc.rank - 1] != f->channels)
        return false;
    if (deft_attr_int(&norm->attrs, "training_mode", 0) || !deft_attr_int(&norm->attrs, "spatial", 1)) return false;
    for (int i = 1; i < 5; i++)
        if (!constant_of(graph, norm->in[i], f->channels)) return false;
    return true;
}

/* Makes an operand a constant that may be changed: a copy where something else, or another graph, uses it too. */
static deft_status own_operand(folding *f, int operand) {
    int id = f->linear->in[operand];
    deft_tensor shared = f->graph->values[id].desc;
    if (id >= f->use_count || f->uses[id] == 1)
        return deft_is_shared(shared.data) ? deft_graph_set_constant(f->graph, id, &shared) : DEFT_OK;
    return deft_graph_add_constant(f->graph, NULL, &shared, &f->linear->in[operand]);
}

static deft_status add_bias(folding *f) {
    deft_graph *graph = f->graph;
    deft_tensor zeros = {.dtype = DEFT_F32, .rank = 1, .dims = {f->channels}};
    int *in, bias;
    DEFT_TRY(deft_tensor_allocate(graph->ctx, &zeros));
    deft_status status = deft_graph_add_constant(graph, NULL, &zeros, &bias);
    deft_release(graph->ctx, zeros.data);
    DEFT_TRY(status);
    DEFT_TRY(deft_arena_array(&graph->arena, 3, sizeof *in, &in));
    in[0] = f->linear->in[0];
    in[1] = f->linear->in[1];
    in[2] = bias;
    f->linear->in = in;
    f->linear->in_count = 3;
    return DEFT_OK;
}

static void scale_operands(folding *f) {
    const deft_value *values = f->graph->values;
    const float *shift = values[f->norm->in[2]].desc.data, *mean = values[f->norm->in[3]].desc.data;
    const deft_tensor *weight = &values[f->linear->in[1]].desc;
    float *bias = values[f->linear->in[2]].desc.data;
    scale_weights(f, weight->data, deft_tensor_count(weight));
    for (int64_t c = 0; c < f->channels; c++)
        bias[c] = (float)(((double)bias[c] - (double)mean[c]) * f->factors[c] + (double)shift[c]);
}

/* Afterwards the linear node makes what the normalisation made. */
static deft_status fold(folding *f) {
    if (has_bias(f->linear))
        DEFT_TRY(own_operand(f, 2));
    else
        DEFT_TRY(add_bias(f));
    DEFT_TRY(own_operand(f, 1));
    scale_operands(f);
    f->linear->out[0] = f->norm->out[0];
    return DEFT_OK;
}

static deft_status visit(deft_graph *graph, int node, const int *uses, int use_count, deft_arena *scratch, bool *keep) {
    const deft_node *norm = &graph->nodes[node];
    keep[node] = true;
    if (norm->op != DEFT_OP_BATCH_NORM || graph->values[norm->in[0]].producer < 0) return DEFT_OK;
    const deft_tensor *made = &graph->values[norm->out[0]].desc;
    folding f = {.graph = graph,
                 .uses = uses,
                 .use_count = use_count,
                 .linear = &graph->nodes[graph->values[norm->in[0]].producer],
                 .norm = norm,
                 .channels = made->rank > 1 ? made->dims[1] : 0,
                 .scratch = scratch};
    if (f.channels == 0 || !is_foldable(&f)) return DEFT_OK;
    DEFT_TRY(find_factors(&f));
    if (!stays_finite(&f)) return DEFT_OK;
    DEFT_TRY(fold(&f));
    keep[node] = false;
    graph->values[norm->out[0]].producer = graph->values[norm->in[0]].producer;
    return DEFT_OK;
}

deft_status deft_pass_batch_norm(deft_graph *graph) {
    deft_arena scratch;
    deft_arena_init(&scratch, graph->ctx);
    deft_status status;
    int *uses, use_count = graph->value_count;
    bool *keep;
    DEFT_TRY_OR_FAIL(deft_arena_array(&scratch, (size_t)graph->value_count, sizeof *uses, &uses));
    DEFT_TRY_OR_FAIL(deft_arena_array(&scratch, (size_t)graph->node_count, sizeof *keep, &keep));
    deft_match_count_uses(graph, uses);
    for (int i = 0; i < graph->node_count; i++)
        DEFT_TRY_OR_FAIL(visit(graph, i, uses, use_count, &scratch, keep));
    deft_graph_keep(graph, keep);
fail:
    deft_arena_done(&scratch);
    return status;
}
