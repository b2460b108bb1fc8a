#include "fuzz.h"

#include "ir/model/file.h"
#include "ir/model/onnx.h"
#include "ir/pass/pass.h"
#include "mutate_onnx.h"

#include <stdlib.h>

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

/* A model whose symbolic dimensions cannot be 1 is read without shapes. */
static bool has_shapes(const deft_graph *graph) {
    int known = 0;
    for (int i = 0; i < graph->value_count; i++)
        known += graph->values[i].known;
    return known == graph->value_count;
}

/* What was read can be written, and is then read as the same. Folding may make weights that are not finite. */
static void write_and_read(deft_context *ctx, const deft_graph *graph, bool folded) {
    void *data;
    size_t bytes;
    deft_graph *back;
    deft_status status = deft_onnx_serialize(graph, &data, &bytes);
    if (status == DEFT_INVALID && !has_shapes(graph)) return; /* nor is the type of an output declared */
    require(status == DEFT_OK);
    status = deft_onnx_parse(ctx, data, bytes, &back);
    deft_release(ctx, data);
    if (folded && status == DEFT_INVALID) return;
    require(status == DEFT_OK);
    require(back->node_count == graph->node_count && back->input_count == graph->input_count &&
            back->output_count == graph->output_count);
    deft_graph_free(back);
}

static void use(deft_context *ctx, deft_graph *graph) {
    write_and_read(ctx, graph, false);
    if (!has_shapes(graph)) return;
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
