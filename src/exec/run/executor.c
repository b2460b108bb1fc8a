#include "exec/run/executor.h"

#include "base/core/timing.h"

#include <string.h>

struct deft_executor {
    const deft_plan *plan;
    deft_context *ctx;
    deft_arena arena;
    deft_tensor *tensors;          /* by value id */
    bool *visible;                 /* by value id: inputs, outputs and constants */
    const deft_tensor *const **in; /* by step, as its kernel wants them */
    deft_tensor *const **out;
    void *memory, *scratch;
};

static void place_tensors(deft_executor *executor) {
    const deft_plan *plan = executor->plan;
    for (int i = 0; i < plan->graph->value_count; i++) {
        deft_tensor *tensor = &executor->tensors[i];
        *tensor = plan->graph->values[i].desc;
        executor->visible[i] = tensor->data != NULL;
        if (plan->placements[i].offset >= 0) tensor->data = (char *)executor->memory + plan->placements[i].offset;
    }
    for (int i = 0; i < plan->graph->input_count; i++)
        executor->visible[plan->graph->inputs[i]] = true;
    for (int i = 0; i < plan->graph->output_count; i++)
        executor->visible[plan->graph->outputs[i]] = true;
}

static deft_status list_tensors(deft_executor *executor, const int *values, int count, deft_tensor ***list) {
    DEFT_TRY(deft_arena_array(&executor->arena, (size_t)count, sizeof **list, list));
    for (int i = 0; i < count; i++)
        (*list)[i] = values[i] == DEFT_NO_VALUE ? NULL : &executor->tensors[values[i]];
    return DEFT_OK;
}

static deft_status list_operands(deft_executor *executor) {
    for (int i = 0; i < executor->plan->step_count; i++) {
        const deft_step *step = &executor->plan->steps[i];
        deft_tensor **in, **out;
        DEFT_TRY(list_tensors(executor, step->in, step->in_count, &in));
        DEFT_TRY(list_tensors(executor, step->out, step->out_count, &out));
        executor->in[i] = (const deft_tensor *const *)in;
        executor->out[i] = out;
    }
    return DEFT_OK;
}

static deft_status allocate(deft_executor *executor) {
    const deft_plan *plan = executor->plan;
    size_t values = (size_t)plan->graph->value_count, steps = (size_t)plan->step_count;
    deft_arena *arena = &executor->arena;
    DEFT_TRY(deft_arena_array(arena, values, sizeof *executor->tensors, &executor->tensors));
    DEFT_TRY(deft_arena_array(arena, values, sizeof *executor->visible, &executor->visible));
    DEFT_TRY(deft_arena_array(arena, steps, sizeof *executor->in, &executor->in));
    DEFT_TRY(deft_arena_array(arena, steps, sizeof *executor->out, &executor->out));
    DEFT_TRY(deft_allocate(executor->ctx, plan->memory_bytes, &executor->memory));
    return deft_allocate(executor->ctx, plan->scratch_bytes, &executor->scratch);
}

/* What a caller may look at before it is set: the rest is not touched until a run needs it. */
static void clear(const deft_executor *executor, const int *values, int count) {
    for (int i = 0; i < count; i++) {
        const deft_placement *placement = &executor->plan->placements[values[i]];
        if (placement->offset >= 0) memset((char *)executor->memory + placement->offset, 0, placement->bytes);
    }
}

deft_status deft_executor_new(const deft_plan *plan, deft_executor **executor) {
    deft_executor *made;
    deft_status status;
    DEFT_TRY(deft_allocate_zeroed(plan->ctx, 1, sizeof *made, &made));
    made->plan = plan;
    made->ctx = plan->ctx;
    deft_arena_init(&made->arena, plan->ctx);
    DEFT_TRY_OR_FAIL(allocate(made));
    clear(made, plan->graph->inputs, plan->graph->input_count);
    clear(made, plan->graph->outputs, plan->graph->output_count);
    place_tensors(made);
    DEFT_TRY_OR_FAIL(list_operands(made));
    *executor = made;
    return DEFT_OK;
fail:
    deft_executor_free(made);
    return status;
}

void deft_executor_free(deft_executor *executor) {
    if (!executor) return;
    deft_release(executor->ctx, executor->memory);
    deft_release(executor->ctx, executor->scratch);
    deft_arena_done(&executor->arena);
    deft_release(executor->ctx, executor);
}

const deft_plan *deft_executor_plan(const deft_executor *executor) {
    return executor->plan;
}

deft_tensor *deft_executor_tensor(deft_executor *executor, int value) {
    if (value < 0 || value >= executor->plan->graph->value_count || !executor->visible[value]) return NULL;
    return &executor->tensors[value];
}

static deft_status run_step(deft_executor *executor, int index) {
    const deft_plan *plan = executor->plan;
    const deft_kernel *kernel = &plan->steps[index].kernel;
    deft_status status =
        kernel->def->run(executor->ctx, kernel, executor->in[index], executor->out[index], executor->scratch);
    if (status == DEFT_OK) return DEFT_OK;
    char label[DEFT_NODE_LABEL_BYTES];
    const deft_node *node = &plan->graph->nodes[plan->steps[index].node];
    return deft_fail_in(executor->ctx, status, "%s", deft_node_label(plan->graph, node, label, sizeof label));
}

deft_status deft_executor_run_steps(deft_executor *executor, int first, int past) {
    for (int i = first; i < past; i++)
        DEFT_TRY(run_step(executor, i));
    return DEFT_OK;
}

deft_status deft_executor_run(deft_executor *executor) {
    return deft_executor_run_steps(executor, 0, executor->plan->step_count);
}

deft_status deft_executor_run_timed(deft_executor *executor, int64_t *step_ns) {
    for (int i = 0; i < executor->plan->step_count; i++) {
        int64_t start = deft_time_ns();
        DEFT_TRY(run_step(executor, i));
        step_ns[i] += deft_time_ns() - start;
    }
    return DEFT_OK;
}
