#include "ir/model/zoo.h"

#include "base/core/rng.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_LAYERS = 64,
    MAX_SIZE = 1000 * 1000,
    RNG_STREAM = 0x7a6f6f /* "zoo" */
};
static const int64_t MAX_PARAMETERS = (int64_t)1 << 30;

/* The network so far: what the next layer takes. */
typedef struct builder {
    deft_graph *graph;
    deft_rng rng;
    int value;         /* what the last layer makes */
    int64_t channels;  /* of it, or its features when it is flat */
    int64_t positions; /* height x width, or 1 */
} builder;

/* The shape, then normal with the given deviation; zeros for a deviation of 0. */
static deft_status add_parameter(builder *b, const char *layer, const char *part, int rank, const int64_t *dims,
                                 float deviation, int *value) {
    char name[64];
    snprintf(name, sizeof name, "%s.%s", layer, part);
    deft_tensor tensor = {.dtype = DEFT_F32, .rank = rank};
    memcpy(tensor.dims, dims, (size_t)rank * sizeof *dims);
    DEFT_TRY(deft_tensor_allocate(b->graph->ctx, &tensor));
    float *data = tensor.data;
    int64_t count = deft_tensor_count(&tensor);
    for (int64_t i = 0; deviation > 0 && i < count; i++)
        data[i] = deviation * deft_rng_normal(&b->rng);
    deft_status status = deft_graph_add_constant(b->graph, name, &tensor, value);
    deft_release(b->graph->ctx, tensor.data);
    return status;
}

/* A node with one output. */
static deft_status add_node(builder *b, deft_op op, const char *name, const char *out_name, const deft_attr *attrs,
                            int attr_count, const int *in, int in_count) {
    int out, node;
    DEFT_TRY(deft_graph_add_value(b->graph, out_name, &out));
    DEFT_TRY(deft_graph_add_node(b->graph, op, name, attrs, attr_count, in, in_count, &out, 1, &node));
    b->value = out;
    return DEFT_OK;
}

/* Kaiming initialisation for a ReLU behind it. source: HE2015 */
static float kaiming_deviation(int64_t fan_in) {
    return sqrtf(2.0f / (float)fan_in);
}

static deft_status add_linear(builder *b, const char *name, const char *out_name, int64_t size) {
    int64_t fan_in = b->channels * b->positions;
    int in[3] = {b->value};
    DEFT_TRY(add_parameter(b, name, "weight", 2, (int64_t[]){size, fan_in}, kaiming_deviation(fan_in), &in[1]));
    DEFT_TRY(add_parameter(b, name, "bias", 1, &size, 0, &in[2]));
    const deft_attr transposed = {.name = "transB", .type = DEFT_ATTR_INT, .i = 1};
    DEFT_TRY(add_node(b, DEFT_OP_GEMM, name, out_name, &transposed, 1, in, 3));
    b->channels = size;
    b->positions = 1;
    return DEFT_OK;
}

/* Without padding, stride 1. */
static deft_status add_conv(builder *b, const char *name, int64_t channels, int64_t kernel) {
    int64_t fan_in = b->channels * kernel * kernel, side = (int64_t)sqrt((double)b->positions) - kernel + 1;
    int64_t dims[] = {channels, b->channels, kernel, kernel}, window[] = {kernel, kernel};
    int in[3] = {b->value};
    DEFT_TRY(add_parameter(b, name, "weight", 4, dims, kaiming_deviation(fan_in), &in[1]));
    DEFT_TRY(add_parameter(b, name, "bias", 1, &channels, 0, &in[2]));
    const deft_attr shape = {.name = "kernel_shape", .type = DEFT_ATTR_INTS, .count = 2, .ints = window};
    DEFT_TRY(add_node(b, DEFT_OP_CONV, name, name, &shape, 1, in, 3));
    b->channels = channels;
    b->positions = side * side;
    return DEFT_OK;
}

static deft_status add_max_pool(builder *b, const char *name) {
    static const int64_t window[] = {2, 2};
    const deft_attr attrs[] = {{.name = "kernel_shape", .type = DEFT_ATTR_INTS, .count = 2, .ints = window},
                               {.name = "strides", .type = DEFT_ATTR_INTS, .count = 2, .ints = window}};
    DEFT_TRY(add_node(b, DEFT_OP_MAX_POOL, name, name, attrs, 2, &b->value, 1));
    b->positions /= 4;
    return DEFT_OK;
}

static deft_status add_flatten(builder *b) {
    return add_node(b, DEFT_OP_FLATTEN, "flatten", "flatten", NULL, 0, &b->value, 1);
}

/* Linear layers with ReLU between them; the last one makes the output, logits [N, classes]. */
static deft_status add_linear_layers(builder *b, const int64_t *sizes, int count) {
    for (int i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof name, "fc%d", i + 1);
        DEFT_TRY(add_linear(b, name, i + 1 < count ? name : "logits", sizes[i]));
        if (i + 1 == count) break;
        snprintf(name, sizeof name, "relu%d", i + 1);
        DEFT_TRY(add_node(b, DEFT_OP_RELU, name, name, NULL, 0, &b->value, 1));
    }
    b->graph->values[b->value].dim_names[0] = "N";
    return deft_graph_add_output(b->graph, b->value);
}

static deft_status add_input(builder *b, int rank, const int64_t *dims) {
    static const char *const names[] = {"N", NULL, NULL, NULL};
    b->channels = dims[1];
    b->positions = rank == 4 ? dims[2] * dims[3] : 1;
    return deft_graph_add_input(b->graph, "x", DEFT_F32, rank, dims, names, &b->value);
}

/* source: LECUN1998 */
static deft_status build_lenet_300_100(builder *b) {
    DEFT_TRY(add_input(b, 4, (int64_t[]){-1, 1, 28, 28}));
    DEFT_TRY(add_flatten(b));
    return add_linear_layers(b, (int64_t[]){300, 100, 10}, 3);
}

/* Caffe's variant, whose only nonlinearity is behind the first linear layer. source: HAN2015 */
static deft_status build_lenet_5(builder *b) {
    DEFT_TRY(add_input(b, 4, (int64_t[]){-1, 1, 28, 28}));
    DEFT_TRY(add_conv(b, "conv1", 20, 5));
    DEFT_TRY(add_max_pool(b, "pool1"));
    DEFT_TRY(add_conv(b, "conv2", 50, 5));
    DEFT_TRY(add_max_pool(b, "pool2"));
    DEFT_TRY(add_flatten(b));
    return add_linear_layers(b, (int64_t[]){500, 10}, 2);
}

static deft_status fail_spec(deft_context *ctx, const char *spec, const char *why) {
    return deft_fail(ctx, DEFT_INVALID,
                     "'%.64s' is no network that Deft knows%s; choose lenet-300-100, lenet-5, or mlp: and two or more "
                     "layer sizes from 1 to %d with commas between, as in mlp:784,300,100,10",
                     spec, why, MAX_SIZE);
}

/* "784,300,100,10" */
static deft_status parse_sizes(deft_context *ctx, const char *spec, const char *text, int64_t *sizes, int *count) {
    int found = 0;
    int64_t parameters = 0;
    for (const char *at = text;; at++) {
        if (found == MAX_LAYERS) return fail_spec(ctx, spec, " (too many layers)");
        if (*at < '0' || *at > '9') return fail_spec(ctx, spec, " (a size is missing)");
        char *end;
        errno = 0;
        long long size = strtoll(at, &end, 10);
        if (errno || size < 1 || size > MAX_SIZE) return fail_spec(ctx, spec, " (a size is out of range)");
        sizes[found++] = size;
        if (found > 1) parameters += (sizes[found - 2] + 1) * size;
        at = end;
        if (*at == 0) break;
        if (*at != ',') return fail_spec(ctx, spec, " (sizes are numbers)");
    }
    if (found < 2) return fail_spec(ctx, spec, " (one size is no layer)");
    if (parameters > MAX_PARAMETERS) return fail_spec(ctx, spec, " (it has more than 2^30 parameters)");
    *count = found;
    return DEFT_OK;
}

static deft_status build_spec(builder *b, const char *spec) {
    if (strcmp(spec, "lenet-300-100") == 0) return build_lenet_300_100(b);
    if (strcmp(spec, "lenet-5") == 0) return build_lenet_5(b);
    if (strncmp(spec, "mlp:", 4) != 0) return fail_spec(b->graph->ctx, spec, "");
    int64_t sizes[MAX_LAYERS];
    int count = 0;
    DEFT_TRY(parse_sizes(b->graph->ctx, spec, spec + 4, sizes, &count));
    DEFT_TRY(add_input(b, 2, (int64_t[]){-1, sizes[0]}));
    return add_linear_layers(b, sizes + 1, count - 1);
}

deft_status deft_zoo_build(deft_context *ctx, const char *spec, deft_graph **graph) {
    builder b = {0};
    deft_status status;
    char *name;
    DEFT_TRY_OR_FAIL(deft_graph_new(ctx, &b.graph));
    deft_rng_init(&b.rng, ctx->seed, RNG_STREAM);
    DEFT_TRY_OR_FAIL(build_spec(&b, spec));
    DEFT_TRY_OR_FAIL(deft_arena_string(&b.graph->arena, spec, &name));
    b.graph->name = name;
    DEFT_TRY_OR_FAIL(deft_graph_verify(b.graph));
    DEFT_TRY_OR_FAIL(deft_graph_infer(b.graph, 1, NULL, 0));
    *graph = b.graph;
    return DEFT_OK;
fail:
    deft_graph_free(b.graph);
    return status;
}
