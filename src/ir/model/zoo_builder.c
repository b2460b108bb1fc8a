#include "ir/model/zoo_builder.h"

#include <math.h>
#include <string.h>

static const char *const stems[DEFT_ZOO_KINDS] = {
    [DEFT_ZOO_CONV] = "conv",        [DEFT_ZOO_BATCH_NORM] = "bn", [DEFT_ZOO_RELU] = "relu",
    [DEFT_ZOO_LRN] = "norm",         [DEFT_ZOO_MAX_POOL] = "pool", [DEFT_ZOO_AVERAGE_POOL] = "pool",
    [DEFT_ZOO_GLOBAL_POOL] = "pool",
};
enum { NAME_BYTES = 32 };

/* ---- parameters and nodes ------------------------------------------------------------------------------------- */

static deft_status add_parameter(deft_zoo_builder *b, const char *layer, const char *part, deft_tensor tensor,
                                 float deviation, float constant, int *value) {
    char name[64];
    snprintf(name, sizeof name, "%s.%s", layer, part);
    tensor.dtype = DEFT_F32;
    DEFT_TRY(deft_tensor_allocate(b->graph->ctx, &tensor));
    float *data = tensor.data;
    int64_t count = deft_tensor_count(&tensor);
    for (int64_t i = 0; i < count; i++)
        data[i] = deviation > 0 ? deviation * deft_rng_normal(&b->rng) : constant;
    deft_status status = deft_graph_add_constant(b->graph, name, &tensor, value);
    deft_release(b->graph->ctx, tensor.data);
    return status;
}

/* Normal, for a ReLU behind it. source: HE2015 */
static deft_status add_weight(deft_zoo_builder *b, const char *layer, deft_tensor shape, int *value) {
    float fan_in = (float)(deft_tensor_count(&shape) / shape.dims[0]);
    return add_parameter(b, layer, "weight", shape, sqrtf(2.0f / fan_in), 0, value);
}

static deft_status add_vector(deft_zoo_builder *b, const char *layer, const char *part, int64_t size, float constant,
                              int *value) {
    return add_parameter(b, layer, part, (deft_tensor){.rank = 1, .dims = {size}}, 0, constant, value);
}

/* A node with one output, which is what the next layer takes. */
static deft_status add_node(deft_zoo_builder *b, deft_op op, const char *name, const char *out_name,
                            const deft_attr *attrs, int attr_count, const int *in, int in_count) {
    int out, node;
    DEFT_TRY(deft_graph_add_value(b->graph, out_name, &out));
    DEFT_TRY(deft_graph_add_node(b->graph, op, name, attrs, attr_count, in, in_count, &out, 1, &node));
    b->value = out;
    return DEFT_OK;
}

static deft_attr int_attr(const char *name, int64_t i) {
    return (deft_attr){.name = name, .type = DEFT_ATTR_INT, .i = i};
}

static deft_attr float_attr(const char *name, float f) {
    return (deft_attr){.name = name, .type = DEFT_ATTR_FLOAT, .f = f};
}

/* ---- windows -------------------------------------------------------------------------------------------------- */

enum { WINDOW_ATTRS = 5 };

/* The attributes of a square window that are not the default; `ints` is what they point to. */
static int window_attrs(const deft_zoo_layer *layer, int64_t ints[8], deft_attr attrs[WINDOW_ATTRS]) {
    int count = 0;
    for (int i = 0; i < 2; i++)
        ints[i] = layer->kernel, ints[2 + i] = layer->stride, ints[4 + i] = ints[6 + i] = layer->pad;
    attrs[count++] = (deft_attr){.name = "kernel_shape", .type = DEFT_ATTR_INTS, .count = 2, .ints = ints};
    if (layer->stride > 1)
        attrs[count++] = (deft_attr){.name = "strides", .type = DEFT_ATTR_INTS, .count = 2, .ints = ints + 2};
    if (layer->pad > 0)
        attrs[count++] = (deft_attr){.name = "pads", .type = DEFT_ATTR_INTS, .count = 4, .ints = ints + 4};
    return count;
}

static deft_status add_conv(deft_zoo_builder *b, const deft_zoo_layer *layer, const char *name) {
    int64_t groups = layer->groups ? layer->groups : 1, stride = layer->stride ? layer->stride : 1, ints[8];
    deft_tensor shape = {.rank = 4, .dims = {layer->channels, b->channels / groups, layer->kernel, layer->kernel}};
    deft_attr attrs[WINDOW_ATTRS];
    int in[3] = {b->value}, attr_count = window_attrs(layer, ints, attrs);
    if (groups > 1) attrs[attr_count++] = int_attr("group", groups);
    DEFT_TRY(add_weight(b, name, shape, &in[1]));
    if (!layer->unbiased) DEFT_TRY(add_vector(b, name, "bias", layer->channels, 0, &in[2]));
    DEFT_TRY(add_node(b, DEFT_OP_CONV, name, name, attrs, attr_count, in, layer->unbiased ? 2 : 3));
    b->channels = layer->channels;
    b->side = (b->side + 2 * layer->pad - layer->kernel) / stride + 1;
    return DEFT_OK;
}

static deft_status add_pool(deft_zoo_builder *b, const deft_zoo_layer *layer, const char *name) {
    int64_t ints[8], room = b->side + 2 * layer->pad - layer->kernel;
    deft_attr attrs[WINDOW_ATTRS];
    int attr_count = window_attrs(layer, ints, attrs);
    bool hangs_over = layer->pad == 0 && room % layer->stride != 0;
    if (hangs_over) attrs[attr_count++] = int_attr("ceil_mode", 1);
    deft_op op = layer->kind == DEFT_ZOO_MAX_POOL ? DEFT_OP_MAX_POOL : DEFT_OP_AVERAGE_POOL;
    DEFT_TRY(add_node(b, op, name, name, attrs, attr_count, &b->value, 1));
    b->side = room / layer->stride + hangs_over + 1;
    return DEFT_OK;
}

/* ---- the other layers ----------------------------------------------------------------------------------------- */

static deft_status add_batch_norm(deft_zoo_builder *b, const char *name) {
    static const struct {
        const char *part;
        float value;
    } parts[] = {{"scale", 1}, {"bias", 0}, {"mean", 0}, {"var", 1}};
    int in[5] = {b->value};
    for (int i = 0; i < 4; i++)
        DEFT_TRY(add_vector(b, name, parts[i].part, b->channels, parts[i].value, &in[1 + i]));
    return add_node(b, DEFT_OP_BATCH_NORM, name, name, NULL, 0, in, 5);
}

static deft_status add_lrn(deft_zoo_builder *b, const deft_zoo_layer *layer, const char *name) {
    const deft_attr attrs[] = {int_attr("size", layer->kernel), float_attr("alpha", layer->alpha),
                               float_attr("beta", 0.75f), float_attr("bias", layer->bias)};
    return add_node(b, DEFT_OP_LRN, name, name, attrs, 4, &b->value, 1);
}

static deft_status add_flatten(deft_zoo_builder *b) {
    DEFT_TRY(add_node(b, DEFT_OP_FLATTEN, "flatten", "flatten", NULL, 0, &b->value, 1));
    b->channels *= b->side * b->side;
    b->side = 1;
    return DEFT_OK;
}

static deft_status add_layer(deft_zoo_builder *b, const deft_zoo_layer *layer) {
    bool pools = layer->kind == DEFT_ZOO_AVERAGE_POOL || layer->kind == DEFT_ZOO_GLOBAL_POOL;
    int number = ++b->count[pools ? DEFT_ZOO_MAX_POOL : layer->kind];
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "%s%d", stems[layer->kind], number);
    switch (layer->kind) {
    case DEFT_ZOO_CONV:
        return add_conv(b, layer, name);
    case DEFT_ZOO_BATCH_NORM:
        return add_batch_norm(b, name);
    case DEFT_ZOO_LRN:
        return add_lrn(b, layer, name);
    case DEFT_ZOO_MAX_POOL:
    case DEFT_ZOO_AVERAGE_POOL:
        return add_pool(b, layer, name);
    case DEFT_ZOO_GLOBAL_POOL:
        b->side = 1;
        return add_node(b, DEFT_OP_GLOBAL_AVERAGE_POOL, name, name, NULL, 0, &b->value, 1);
    case DEFT_ZOO_RELU:
    case DEFT_ZOO_KINDS:
        break;
    }
    return add_node(b, DEFT_OP_RELU, name, name, NULL, 0, &b->value, 1);
}

/* ---- networks ------------------------------------------------------------------------------------------------- */

deft_status deft_zoo_add_input(deft_zoo_builder *b, int64_t channels, int64_t side) {
    static const char *const names[] = {"N", NULL, NULL, NULL};
    b->channels = channels;
    b->side = side ? side : 1;
    return deft_graph_add_input(b->graph, "x", DEFT_F32, side ? 4 : 2, (int64_t[]){-1, channels, side, side}, names,
                                &b->value);
}

deft_status deft_zoo_add_layers(deft_zoo_builder *b, const deft_zoo_layer *layers, int count) {
    for (int i = 0; i < count; i++)
        DEFT_TRY(add_layer(b, &layers[i]));
    return DEFT_OK;
}

deft_status deft_zoo_add_conv_bn(deft_zoo_builder *b, deft_zoo_layer conv, bool relu) {
    conv.kind = DEFT_ZOO_CONV;
    conv.unbiased = true;
    const deft_zoo_layer layers[] = {conv, {.kind = DEFT_ZOO_BATCH_NORM}, {.kind = DEFT_ZOO_RELU}};
    return deft_zoo_add_layers(b, layers, relu ? 3 : 2);
}

deft_status deft_zoo_add_sum_relu(deft_zoo_builder *b, int first, int second) {
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "add%d", ++b->sum_count);
    DEFT_TRY(add_node(b, DEFT_OP_ADD, name, name, NULL, 0, (int[]){first, second}, 2));
    return add_layer(b, &(deft_zoo_layer){.kind = DEFT_ZOO_RELU});
}

static deft_status add_linear(deft_zoo_builder *b, int64_t size, const char *name, const char *out_name) {
    int in[3] = {b->value};
    DEFT_TRY(add_weight(b, name, (deft_tensor){.rank = 2, .dims = {size, b->channels}}, &in[1]));
    DEFT_TRY(add_vector(b, name, "bias", size, 0, &in[2]));
    const deft_attr transposed = int_attr("transB", 1);
    DEFT_TRY(add_node(b, DEFT_OP_GEMM, name, out_name, &transposed, 1, in, 3));
    b->channels = size;
    return DEFT_OK;
}

deft_status deft_zoo_add_classifier(deft_zoo_builder *b, const int64_t *sizes, int count) {
    if (b->graph->values[b->value].desc.rank != 2) DEFT_TRY(add_flatten(b));
    for (int i = 0; i < count; i++) {
        bool last = i + 1 == count;
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "fc%d", i + 1);
        DEFT_TRY(add_linear(b, sizes[i], name, last ? "logits" : name));
        if (!last) DEFT_TRY(add_layer(b, &(deft_zoo_layer){.kind = DEFT_ZOO_RELU}));
    }
    b->graph->values[b->value].dim_names[0] = "N";
    return deft_graph_add_output(b->graph, b->value);
}
