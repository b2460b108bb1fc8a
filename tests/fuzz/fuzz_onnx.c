#include "fuzz.h"

#include "base/core/rng.h"
#include "ir/model/file.h"
#include "ir/model/onnx.h"
#include "ir/model/onnx_wire.h"
#include "ir/pass/pass.h"
#include "onnx.pb-c.h"

#include <stdlib.h>
#include <string.h>

/* ---- what must hold ------------------------------------------------------------------------------------------ */

static void require(bool holds) {
    if (!holds) abort();
}

/* Memory and work for which a graph is computed node by node. */
enum { SMALL_BYTES = 1 << 16, SMALL_MACS = 1 << 20 };

static bool is_small(const deft_graph *graph) {
    for (int i = 0; i < graph->value_count; i++)
        if (deft_tensor_bytes(&graph->values[i].desc) > SMALL_BYTES) return false;
    return graph->node_count < 100 && deft_graph_count(graph).macs < SMALL_MACS;
}

/* Computes a graph on zeros with the reference forwards. */
static void evaluate(deft_context *ctx, const deft_graph *graph) {
    deft_graph *copy;
    require(deft_graph_clone(ctx, graph, &copy) == DEFT_OK);
    for (int i = 0; i < copy->input_count; i++) {
        deft_tensor *desc = &copy->values[copy->inputs[i]].desc;
        if (!desc->data) require(deft_tensor_allocate(ctx, desc) == DEFT_OK);
    }
    deft_status status = DEFT_OK;
    for (int i = 0; i < copy->node_count && status == DEFT_OK; i++)
        status = deft_graph_evaluate_node(copy, i);
    require(status == DEFT_OK || status == DEFT_UNSUPPORTED || status == DEFT_INVALID);
    deft_graph_free(copy);
}

/* What was read can be written, and is then read as the same. Folding may make weights that are not finite. */
static void write_and_read(deft_context *ctx, const deft_graph *graph, bool folded) {
    void *data;
    size_t bytes;
    deft_graph *back;
    require(deft_onnx_serialize(graph, &data, &bytes) == DEFT_OK);
    deft_status status = deft_onnx_parse(ctx, data, bytes, &back);
    deft_release(ctx, data);
    if (folded && status == DEFT_INVALID) return;
    require(status == DEFT_OK);
    require(back->node_count == graph->node_count && back->input_count == graph->input_count &&
            back->output_count == graph->output_count);
    deft_graph_free(back);
}

static void use(deft_context *ctx, deft_graph *graph) {
    for (int i = 0; i < graph->value_count; i++)
        require(graph->values[i].known);
    write_and_read(ctx, graph, false);
    bool small = is_small(graph);
    if (small) evaluate(ctx, graph);
    int inputs = graph->input_count, outputs = graph->output_count;
    require(deft_pass_run_all(graph) == DEFT_OK);
    require(graph->input_count == inputs && graph->output_count == outputs);
    require(deft_graph_verify(graph) == DEFT_OK);
    if (small) evaluate(ctx, graph);
    write_and_read(ctx, graph, true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    deft_context *ctx;
    deft_model_file file;
    if (deft_context_new(&(deft_context_options){.cache_directory = "", .threads = 1}, &ctx) != DEFT_OK) return 0;
    deft_status status = deft_model_file_parse(ctx, data, bytes, &file);
    if (status == DEFT_OK) {
        use(ctx, file.graph);
        deft_release(ctx, file.frontier);
        deft_graph_free(file.graph);
    } else {
        require(status == DEFT_INVALID || status == DEFT_UNSUPPORTED || status == DEFT_MEMORY);
        require(deft_context_message(ctx)[0] != 0);
    }
    require(atomic_load(&ctx->live_bytes) == 0);
    deft_context_free(ctx);
    return 0;
}

/* ---- mutation ------------------------------------------------------------------------------------------------ */

/* libFuzzer's; not there in a replay, which mutates nothing. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t bytes, size_t max_bytes) __attribute__((weak));
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t bytes, size_t max_bytes, unsigned seed);

static const int64_t numbers[] = {-1, 0, 1, 2, 3, 4, 7, 8, 64, 1000, INT32_MAX, -2, INT64_MIN, INT64_MAX};

static size_t below(deft_rng *rng, size_t bound) {
    return (size_t)deft_rng_below(rng, bound);
}

static int64_t any_number(deft_rng *rng) {
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
