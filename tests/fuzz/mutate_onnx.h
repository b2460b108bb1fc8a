/* Mutation of ONNX models, for the fuzz targets that read them: includes libFuzzer's LLVMFuzzerCustomMutator. */
#ifndef DEFT_TESTS_FUZZ_MUTATE_ONNX_H
#define DEFT_TESTS_FUZZ_MUTATE_ONNX_H

#include "base/core/rng.h"
#include "ir/model/onnx_wire.h"
#include "ir/op/op.h"
#include "onnx.pb-c.h"

/* libFuzzer's; not there in a replay, which mutates nothing. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t bytes, size_t max_bytes) __attribute__((weak));
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t max_bytes, unsigned seed);

static const int64_t numbers[] = {-1, 0, 1, 2, 3, 4, 7, 8, 64, 1000, INT32_MAX, -2, INT64_MIN, INT64_MAX};

static size_t below(deft_rng *rng, size_t bound) {
    return (size_t)deft_rng_below(rng, bound);
}

static inline int64_t any_number(deft_rng *rng) {
    return numbers[below(rng, sizeof numbers / sizeof *numbers)];
}

/* The name of some value of the graph; never NULL, which protobuf-c cannot pack. */
static char *any_name(Onnx__GraphProto *graph, deft_rng *rng) {
    char *name = NULL;
    const Onnx__NodeProto *node = graph->n_node ? graph->node[below(rng, graph->n_node)] : NULL;
    if (graph->n_initializer && below(rng, 3) == 0)
        name = graph->initializer[below(rng, graph->n_initializer)]->name;
    else if (node && node->n_output)
        name = node->output[below(rng, node->n_output)];
    return name ? name : "x";
}

static void mutate_attribute(Onnx__AttributeProto *attr, deft_rng *rng) {
    attr->i = any_number(rng);
    if (attr->n_ints) attr->ints[below(rng, attr->n_ints)] = any_number(rng);
    if (attr->n_ints && below(rng, 8) == 0) attr->n_ints--;
    if (attr->t && attr->t->n_dims) attr->t->dims[below(rng, attr->t->n_dims)] = any_number(rng);
    attr->f = (float)any_number(rng);
}

static void mutate_node(Onnx__GraphProto *graph, Onnx__NodeProto *node, deft_rng *rng) {
    switch (below(rng, 5)) {
    case 0:
        node->op_type = (char *)deft_ops[below(rng, DEFT_OP_COUNT)].name;
        return;
    case 1:
        if (node->n_input) node->input[below(rng, node->n_input)] = any_name(graph, rng);
        return;
    case 2:
        if (node->n_input) node->n_input--;
        return;
    case 3:
        if (node->n_output) node->output[below(rng, node->n_output)] = any_name(graph, rng);
        return;
    default:
        if (node->n_attribute) mutate_attribute(node->attribute[below(rng, node->n_attribute)], rng);
        return;
    }
}

static void mutate_tensor(Onnx__TensorProto *tensor, deft_rng *rng) {
    switch (below(rng, 4)) {
    case 0:
        tensor->data_type = (int32_t)below(rng, 18);
        return;
    case 1:
        if (tensor->n_dims) tensor->dims[below(rng, tensor->n_dims)] = any_number(rng);
        return;
    case 2:
        if (tensor->n_dims) tensor->n_dims--;
        return;
    default:
        if (tensor->raw_data.len) tensor->raw_data.data[below(rng, tensor->raw_data.len)] = (uint8_t)below(rng, 256);
        return;
    }
}

static void mutate_model(Onnx__ModelProto *model, deft_rng *rng) {
    Onnx__GraphProto *graph = model->graph;
    size_t what = below(rng, 8);
    if (what == 0 && model->n_opset_import) model->opset_import[0]->version = 6 + (int64_t)below(rng, 17);
    if (!graph) return;
    if (what == 1 && graph->n_input && graph->input[0]->type && graph->input[0]->type->tensor_type) {
        Onnx__TypeProto__Tensor *type = graph->input[0]->type->tensor_type;
        if (below(rng, 4) == 0) type->elem_type = (int32_t)below(rng, 18);
        Onnx__TensorShapeProto__Dimension *dim =
            type->shape && type->shape->n_dim ? type->shape->dim[below(rng, type->shape->n_dim)] : NULL;
        if (!dim) return;
        dim->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        dim->dim_value = any_number(rng);
    } else if (what == 2 && graph->n_initializer) {
        mutate_tensor(graph->initializer[below(rng, graph->n_initializer)], rng);
    } else if (what == 3 && graph->n_output) {
        graph->output[below(rng, graph->n_output)]->name = any_name(graph, rng);
    } else if (graph->n_node) {
        mutate_node(graph, graph->node[below(rng, graph->n_node)], rng);
    }
}

/* Bytes changed blindly seldom get past protobuf's lengths: so mostly changes the messages. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t max_bytes, unsigned seed) {
    deft_rng rng;
    deft_rng_init(&rng, seed, 0);
    deft_context *ctx;
    if (below(&rng, 5) == 0 || deft_context_new(&(deft_context_options){.cache_directory = ""}, &ctx) != DEFT_OK)
        return LLVMFuzzerMutate(data, bytes, max_bytes);
    deft_arena arena;
    deft_arena_init(&arena, ctx);
    Onnx__ModelProto *model;
    size_t packed = 0;
    if (deft_wire_unpack(&arena, &onnx__model_proto__descriptor, data, bytes, &model) == DEFT_OK) {
        for (size_t i = below(&rng, 3) + 1; i > 0; i--)
            mutate_model(model, &rng);
        packed = onnx__model_proto__get_packed_size(model);
        if (packed <= max_bytes) onnx__model_proto__pack(model, data);
    }
    deft_arena_done(&arena);
    deft_context_free(ctx);
    return packed && packed <= max_bytes ? packed : LLVMFuzzerMutate(data, bytes, max_bytes);
}

#endif
