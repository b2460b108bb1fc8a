#include "fuzz.h"

#include "base/core/cpu.h"
#include "exec/run/executor.h"
#include "ir/model/onnx.h"
#include "mutate_onnx.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Models that read well are planned and run; small enough ones only. */
enum { SMALL_BYTES = 1 << 16, SMALL_MACS = 1 << 20, SMALL_NODES = 40 };
/* The kernels' bounds hold for each sum; through a whole network of moderate numbers, this is far more than they leave.
 */
static const double MODERATE = 16, TOLERANCE = 1e-3;

static void require(bool holds) {
    if (!holds) abort();
}

static bool is_small(const deft_graph *graph) {
    for (int i = 0; i < graph->value_count; i++)
        if (!graph->values[i].known || deft_tensor_bytes(&graph->values[i].desc) > SMALL_BYTES) return false;
    return graph->node_count < SMALL_NODES && deft_graph_count(graph).macs < SMALL_MACS;
}

/* Where a number is large or missing, the order of a sum decides what comes out. */
static bool is_moderate(const deft_tensor *tensor) {
    if (tensor->dtype != DEFT_F32) return false;
    for (int64_t i = 0; i < deft_tensor_count(tensor); i++)
        if (!(fabs((double)((const float *)tensor->data)[i]) <= MODERATE)) return false;
    return true;
}

static void fill(deft_tensor *tensor, deft_rng *rng) {
    int64_t count = deft_tensor_count(tensor);
    if (tensor->dtype != DEFT_F32) memset(tensor->data, 1, deft_tensor_bytes(tensor));
    for (int64_t i = 0; tensor->dtype == DEFT_F32 && i < count; i++)
        ((float *)tensor->data)[i] = deft_rng_normal(rng);
}

/* Runs the graph node by node, in place; false where the numbers on the way are not ones to compare. */
static bool run_reference(deft_context *ctx, deft_graph *graph) {
    deft_rng rng;
    deft_rng_init(&rng, 1, 1);
    bool comparable = true;
    for (int i = 0; i < graph->input_count; i++) {
        deft_tensor *desc = &graph->values[graph->inputs[i]].desc;
        require(deft_tensor_allocate(ctx, desc) == DEFT_OK);
        fill(desc, &rng);
    }
    for (int i = 0; i < graph->node_count; i++) {
        if (deft_graph_evaluate_node(graph, i) != DEFT_OK) return false;
        comparable &= graph->nodes[i].op != DEFT_OP_DIV; /* by nearly nothing, it enlarges any error */
    }
    for (int i = 0; i < graph->value_count; i++)
        comparable &= graph->values[i].desc.dtype == DEFT_I64 || is_moderate(&graph->values[i].desc);
    return comparable;
}

static void compare(const deft_tensor *got, const deft_tensor *expected) {
    require(got->dtype == expected->dtype && deft_shape_equal(got, expected));
    if (expected->dtype != DEFT_F32) return;
    for (int64_t i = 0; i < deft_tensor_count(expected); i++) {
        double error = fabs((double)((const float *)got->data)[i] - (double)((const float *)expected->data)[i]);
        require(error <= TOLERANCE * MODERATE);
    }
}

static void run_plan(deft_context *ctx, deft_graph *graph) {
    deft_plan *plan = NULL;
    deft_executor *executor = NULL;
    deft_graph *reference = NULL;
    require(deft_graph_clone(ctx, graph, &reference) == DEFT_OK);
    bool comparable = run_reference(ctx, reference);
    if (deft_plan_new(ctx, graph, &(deft_plan_options){.batch = 1}, &plan) != DEFT_OK) goto done;
    require(deft_executor_new(plan, &executor) == DEFT_OK);
    deft_rng rng;
    deft_rng_init(&rng, 1, 1);
    for (int i = 0; i < plan->graph->input_count; i++)
        fill(deft_executor_tensor(executor, plan->graph->inputs[i]), &rng);
    require(deft_executor_run(executor) == DEFT_OK || !comparable);
    for (int i = 0; comparable && i < plan->graph->output_count; i++)
        compare(deft_executor_tensor(executor, plan->graph->outputs[i]),
                &reference->values[reference->outputs[i]].desc);
done:
    deft_executor_free(executor);
    deft_plan_free(plan);
    deft_graph_free(reference);
}

/* One for each input, so that all are tried: by the sum of its bytes. */
static deft_isa isa_of(const uint8_t *data, size_t bytes) {
    static const deft_isa all[] = {DEFT_ISA_C, DEFT_ISA_AVX2, DEFT_ISA_AVX512};
    unsigned sum = 0;
    for (size_t i = 0; i < bytes; i++)
        sum += data[i];
    return deft_cpu_has(all[sum % 3]) ? all[sum % 3] : DEFT_ISA_BEST;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    deft_context *ctx;
    deft_graph *graph;
    deft_context_options options = {.cache_directory = "", .threads = 1, .isa = isa_of(data, bytes)};
    if (deft_context_new(&options, &ctx) != DEFT_OK) return 0;
    if (deft_onnx_parse(ctx, data, bytes, &graph) == DEFT_OK) {
        if (is_small(graph)) run_plan(ctx, graph);
        deft_graph_free(graph);
    }
    require(atomic_load(&ctx->live_bytes) == 0);
    deft_context_free(ctx);
    return 0;
}
