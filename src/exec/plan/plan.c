#include "exec/plan/planner.h"

#include "codegen/kernel/linear.h"
#include "ir/pass/pass.h"

#include <stdlib.h>

static const deft_attrs no_attributes = {0};

/* Shapes bound, passes run; a training graph is taken as it is. */
static deft_status prepare_graph(deft_planner *p, deft_graph *graph) {
    deft_plan *plan = p->plan;
    plan->graph = graph;
    plan->owns_graph = p->options->inferred;
    if (!p->options->training && !p->options->inferred) {
        DEFT_TRY(deft_graph_clone(p->ctx, graph, &plan->graph));
        plan->owns_graph = true;
        int64_t batch = p->options->batch ? p->options->batch : 1;
        DEFT_TRY(deft_graph_infer(plan->graph, batch, p->options->bindings, p->options->binding_count));
    }
    if (!p->options->training) DEFT_TRY(deft_pass_run_all(plan->graph));
    p->graph = plan->graph;
    for (int i = 0; i < p->graph->value_count; i++)
        if (!p->graph->values[i].known)
            return deft_fail(p->ctx, DEFT_INVALID, "the shape of '%s' is not known: infer the graph's shapes first",
                             p->graph->values[i].name);
    return DEFT_OK;
}

static deft_status allocate_arrays(deft_planner *p) {
    size_t values = (size_t)p->graph->value_count, nodes = (size_t)p->graph->node_count;
    deft_arena *scratch = &p->scratch, *kept = &p->plan->arena;
    DEFT_TRY(deft_arena_array(scratch, values, sizeof *p->use_count, &p->use_count));
    DEFT_TRY(deft_arena_array(scratch, values, sizeof *p->user, &p->user));
    DEFT_TRY(deft_arena_array(scratch, values, sizeof *p->pinned, &p->pinned));
    DEFT_TRY(deft_arena_array(scratch, values, sizeof *p->home, &p->home));
    DEFT_TRY(deft_arena_array(scratch, values, sizeof *p->maker, &p->maker));
    DEFT_TRY(deft_arena_array(scratch, values, sizeof *p->viewed, &p->viewed));
    DEFT_TRY(deft_arena_array(scratch, values, sizeof *p->nonzeros, &p->nonzeros));
    DEFT_TRY(deft_arena_array(scratch, nodes, sizeof *p->absorbed, &p->absorbed));
    DEFT_TRY(deft_arena_array(scratch, nodes, sizeof *p->fusions, &p->fusions));
    DEFT_TRY(deft_arena_array(scratch, nodes, sizeof *p->requests, &p->requests));
    DEFT_TRY(deft_arena_array(kept, values, sizeof *p->plan->placements, &p->plan->placements));
    return deft_arena_array(kept, nodes, sizeof *p->plan->steps, &p->plan->steps);
}

/* Inference has evaluated all that the node makes. */
static bool is_evaluated(const deft_planner *p, const deft_node *node) {
    for (int i = 0; i < node->out_count; i++)
        if (node->out[i] != DEFT_NO_VALUE && !deft_planner_is_constant(p, node->out[i])) return false;
    return true;
}

static void survey(deft_planner *p) {
    const deft_graph *graph = p->graph;
    for (int i = 0; i < graph->value_count; i++) {
        p->home[i] = i;
        p->maker[i] = -1;
        p->nonzeros[i] = -1;
        p->plan->placements[i] = (deft_placement){.offset = -1};
    }
    for (int i = 0; i < graph->node_count; i++) {
        const deft_node *node = &graph->nodes[i];
        p->fusions[i] = (deft_fusion){
            .bias = DEFT_NO_VALUE, .residual = DEFT_NO_VALUE, .out = node->out[0], .activation = deft_activation_none};
        for (int j = 0; j < node->out_count; j++)
            if (node->out[j] != DEFT_NO_VALUE) p->maker[node->out[j]] = i;
        p->absorbed[i] = is_evaluated(p, node);
        for (int j = 0; j < node->in_count && !p->absorbed[i]; j++) {
            if (node->in[j] == DEFT_NO_VALUE) continue;
            p->use_count[node->in[j]]++;
            p->user[node->in[j]] = i;
        }
    }
    for (int i = 0; i < graph->input_count; i++)
        p->pinned[graph->inputs[i]] = true;
    for (int i = 0; i < graph->output_count; i++) {
        p->pinned[graph->outputs[i]] = true;
        p->use_count[graph->outputs[i]]++;
    }
}

/* ---- steps --------------------------------------------------------------------------------------------------- */

static deft_status copy_ids(deft_arena *arena, const int *ids, int count, int capacity, int **out) {
    DEFT_TRY(deft_arena_array(arena, (size_t)capacity, sizeof *ids, out));
    for (int i = 0; i < capacity; i++)
        (*out)[i] = i < count ? ids[i] : DEFT_NO_VALUE;
    return DEFT_OK;
}

static deft_status make_step(deft_planner *p, int index) {
    const deft_node *node = &p->graph->nodes[index];
    const deft_fusion *fusion = &p->fusions[index];
    deft_arena *arena = &p->plan->arena;
    deft_step *step = &p->plan->steps[p->plan->step_count++];
    bool biased = fusion->bias != DEFT_NO_VALUE, added = fusion->residual != DEFT_NO_VALUE;
    int operands = biased ? 3 : node->in_count;
    *step = (deft_step){.node = index,
                        .in_count = operands + added,
                        .residual = added,
                        .out_count = node->out_count,
                        .activation = fusion->activation,
                        .function = fusion->function,
                        .alpha = fusion->alpha,
                        .macs = deft_node_macs(p->graph, node)};
    DEFT_TRY(copy_ids(arena, node->in, node->in_count, step->in_count, &step->in));
    DEFT_TRY(copy_ids(arena, node->out, node->out_count, step->out_count, &step->out));
    if (biased) step->in[2] = fusion->bias;
    if (added) step->in[operands] = fusion->residual;
    step->out[0] = fusion->out;
    return DEFT_OK;
}

/* A tensor as a request shows it: with data only where no run changes it. */
static deft_status describe(deft_planner *p, int value, deft_tensor **out) {
    *out = NULL;
    if (value == DEFT_NO_VALUE) return DEFT_OK;
    DEFT_TRY(deft_arena_copy(&p->scratch, &p->graph->values[value].desc, sizeof **out, out));
    if (!deft_planner_is_fixed(p, value)) (*out)->data = NULL;
    return DEFT_OK;
}

/* All kernels that are asked for want to know. */
static int64_t count_nonzeros(deft_planner *p, const deft_step *step, const deft_op_call *call) {
    int weight = deft_linear_weight(call);
    if (weight < 0 || (call->op != DEFT_OP_GEMM && call->op != DEFT_OP_MATMUL && call->op != DEFT_OP_CONV)) return 0;
    return call->in[weight]->dtype == DEFT_F32 ? deft_planner_count_nonzeros(p, step->in[weight]) : 0;
}

/* What a step asks of a kernel. A MatMul with a bias fused into it is a Gemm. */
static deft_status make_request(deft_planner *p, const deft_step *step, deft_request *request) {
    const deft_node *node = &p->graph->nodes[step->node];
    bool as_gemm = node->op == DEFT_OP_MATMUL && p->fusions[step->node].bias != DEFT_NO_VALUE;
    deft_tensor **in, **out;
    DEFT_TRY(deft_arena_array(&p->scratch, (size_t)step->in_count, sizeof *in, &in));
    DEFT_TRY(deft_arena_array(&p->scratch, (size_t)step->out_count, sizeof *out, &out));
    for (int i = 0; i < step->in_count; i++)
        DEFT_TRY(describe(p, step->in[i], &in[i]));
    for (int i = 0; i < step->out_count; i++)
        DEFT_TRY(describe(p, step->out[i], &out[i]));
    *request = (deft_request){.call = {.ctx = p->ctx,
                                       .name = node->name,
                                       .op = as_gemm ? DEFT_OP_GEMM : node->op,
                                       .attrs = as_gemm ? &no_attributes : &node->attrs,
                                       .opset = p->graph->opset,
                                       .in_count = step->in_count - step->residual,
                                       .out_count = step->out_count,
                                       .in = (const deft_tensor *const *)in,
                                       .out = out,
                                       .threads = p->ctx->threads},
                              .residual = step->residual ? in[step->in_count - 1] : NULL,
                              .activation = step->activation,
                              .function = step->function,
                              .alpha = step->alpha,
                              .isa = p->ctx->isa,
                              .memo = p->memo};
    request->nonzeros = count_nonzeros(p, step, &request->call);
    return DEFT_OK;
}

static deft_status in_node(deft_planner *p, const deft_step *step, deft_status status) {
    char label[DEFT_NODE_LABEL_BYTES];
    if (status == DEFT_OK) return DEFT_OK;
    return deft_fail_in(p->ctx, status, "%s",
                        deft_node_label(p->graph, &p->graph->nodes[step->node], label, sizeof label));
}

static deft_status make_steps(deft_planner *p) {
    deft_chooser choose = p->options->choose;
    for (int i = 0; i < p->graph->node_count; i++) {
        if (p->absorbed[i]) continue;
        int index = p->plan->step_count;
        DEFT_TRY(make_step(p, i));
        deft_step *step = &p->plan->steps[index];
        DEFT_TRY(make_request(p, step, &p->requests[index]));
        DEFT_TRY(in_node(p, step, choose(p->options->choose_user, p->ctx, &p->requests[index], &step->choice)));
    }
    return DEFT_OK;
}

/* ---- kernels ------------------------------------------------------------------------------------------------- */

/* How many operands of steps a constant is, and outputs of the graph. */
static void count_readers(const deft_planner *p, int *readers) {
    for (int i = 0; i < p->plan->step_count; i++) {
        const deft_step *step = &p->plan->steps[i];
        for (int j = 0; j < step->in_count; j++)
            if (step->in[j] != DEFT_NO_VALUE) readers[step->in[j]]++;
    }
    for (int i = 0; i < p->graph->output_count; i++)
        readers[p->graph->outputs[i]]++;
}

/* A weight that its kernels have packed is in memory twice, unless this graph lets go of it: it stays known, without
 * its data. */
static void let_go_of_weight(deft_planner *p, int value, int *readers) {
    if (--readers[value] > 0) return;
    deft_tensor *desc = &p->graph->values[value].desc;
    deft_release(p->graph->ctx, desc->data);
    desc->data = NULL;
}

typedef struct turn {
    int step;
    size_t constant_bytes;
} turn;

static int by_bytes(const void *left, const void *right) {
    const turn *a = left, *b = right;
    if (a->constant_bytes != b->constant_bytes) return a->constant_bytes < b->constant_bytes ? 1 : -1;
    return (a->step > b->step) - (a->step < b->step);
}

/* A weight that is packed is in memory twice for a while: the largest is the first, when nothing else is packed yet. */
static deft_status take_turns(deft_planner *p, turn **turns) {
    size_t count = (size_t)p->plan->step_count;
    DEFT_TRY(deft_arena_array(&p->scratch, count, sizeof **turns, turns));
    for (int i = 0; i < p->plan->step_count; i++) {
        const deft_op_call *call = &p->requests[i].call;
        (*turns)[i].step = i;
        for (int j = 0; j < call->in_count; j++)
            if (call->in[j] && call->in[j]->data) (*turns)[i].constant_bytes += deft_tensor_bytes(call->in[j]);
    }
    qsort(*turns, count, sizeof **turns, by_bytes);
    return DEFT_OK;
}

static deft_status prepare_kernel(deft_planner *p, int index, int *readers) {
    deft_step *step = &p->plan->steps[index];
    deft_request *request = &p->requests[index];
    request->schedule = step->choice.schedule;
    DEFT_TRY(in_node(p, step, deft_kernel_prepare(p->ctx, step->choice.kernel, request, &step->kernel)));
    if (step->kernel.scratch_bytes > p->plan->scratch_bytes) p->plan->scratch_bytes = step->kernel.scratch_bytes;
    double share = step->kernel.weights ? (double)step->kernel.nonzeros / (double)step->kernel.weights : 1;
    step->macs_nonzero = (int64_t)((double)step->macs * share);
    uint32_t packed = p->options->training ? 0 : step->kernel.packed;
    for (int i = 0; packed; packed >>= 1, i++)
        if (packed & 1) let_go_of_weight(p, step->in[i], readers);
    return DEFT_OK;
}

static deft_status prepare_kernels(deft_planner *p) {
    int *readers;
    turn *turns;
    DEFT_TRY(deft_arena_array(&p->scratch, (size_t)p->graph->value_count, sizeof *readers, &readers));
    count_readers(p, readers);
    DEFT_TRY(take_turns(p, &turns));
    for (int i = 0; i < p->plan->step_count; i++)
        DEFT_TRY(prepare_kernel(p, turns[i].step, readers));
    return DEFT_OK;
}

static deft_status make_plan(deft_planner *p, deft_graph *graph) {
    DEFT_TRY(prepare_graph(p, graph));
    DEFT_TRY(deft_kernel_memo_new(p->ctx, &p->memo));
    DEFT_TRY(allocate_arrays(p));
    survey(p);
    if (!p->options->training) deft_planner_fuse(p);
    deft_planner_alias_views(p);
    DEFT_TRY(make_steps(p));
    DEFT_TRY(deft_planner_lay_out(p));
    DEFT_TRY(deft_planner_block(p));
    DEFT_TRY(deft_planner_place(p)); /* knows constants by their data */
    return prepare_kernels(p);
}

deft_status deft_plan_new(deft_context *ctx, deft_graph *graph, const deft_plan_options *options, deft_plan **plan) {
    deft_plan_options with_chooser = {0};
    if (options) with_chooser = *options;
    if (!with_chooser.choose) with_chooser.choose = deft_choose_by_estimate;
    deft_plan *made;
    deft_status status = deft_allocate_zeroed(ctx, 1, sizeof *made, &made);
    if (status != DEFT_OK) {
        if (with_chooser.inferred) deft_graph_free(graph);
        return status;
    }
    made->ctx = ctx;
    deft_arena_init(&made->arena, ctx);
    deft_planner planner = {.ctx = ctx, .options = &with_chooser, .plan = made};
    deft_arena_init(&planner.scratch, ctx);
    status = make_plan(&planner, graph);
    made->searches = planner.memo ? deft_kernel_memo_searches(planner.memo) : 0;
    deft_kernel_memo_free(planner.memo);
    deft_arena_done(&planner.scratch);
    if (status != DEFT_OK) {
        deft_plan_free(made);
        return status;
    }
    *plan = made;
    return DEFT_OK;
}

void deft_plan_free(deft_plan *plan) {
    if (!plan) return;
    for (int i = 0; i < plan->step_count; i++)
        deft_kernel_done(plan->ctx, &plan->steps[i].kernel);
    if (plan->owns_graph) deft_graph_free(plan->graph);
    deft_arena_done(&plan->arena);
    deft_release(plan->ctx, plan);
}
