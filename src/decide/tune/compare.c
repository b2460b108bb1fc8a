#include "decide/tune/compare.h"

#include "exec/run/executor.h"
#include "learn/train/feed.h"

static const double seconds = 0.25;
enum { MIN_RUNS = 30 };

typedef struct contender {
    deft_plan *plan;
    deft_executor *executor;
} contender;

static deft_status fill_inputs(contender *r, const deft_dataset *data) {
    deft_tensor *x = deft_executor_tensor(r->executor, r->plan->graph->inputs[0]);
    const deft_samples *samples = &data->split[DEFT_VALIDATION];
    for (int64_t i = 0; i < x->dims[0]; i++) {
        int64_t from = i % samples->count;
        DEFT_TRY(deft_dataset_gather(data, DEFT_VALIDATION, &from, 0, 1, (float *)x->data + i * data->sample_count));
    }
    return DEFT_OK;
}

static deft_status make_runnable(deft_context *ctx, deft_graph *graph, const deft_plan_options *wanted,
                                 const deft_dataset *data, contender *r) {
    deft_plan_options options = *wanted;
    deft_binding binding;
    DEFT_TRY(deft_feed_bind(ctx, graph, data, options.batch, &binding));
    options.bindings = &binding;
    options.binding_count = 1;
    DEFT_TRY(deft_plan_new(ctx, graph, &options, &r->plan));
    DEFT_TRY(deft_executor_new(r->plan, &r->executor));
    return fill_inputs(r, data);
}

static deft_status run_executor(void *executor) {
    return deft_executor_run(executor);
}

deft_status deft_compare(deft_context *ctx, deft_graph *dense, deft_graph *fast, deft_tuner *tuner,
                         const deft_dataset *data, int64_t batch, deft_comparison *comparison) {
    contender both[2] = {{0}};
    deft_timing timings[2];
    deft_status status;
    DEFT_TRY_OR_FAIL(
        make_runnable(ctx, dense, &(deft_plan_options){.batch = batch, .choose = deft_choose_dense}, data, &both[0]));
    DEFT_TRY_OR_FAIL(make_runnable(
        ctx, fast, &(deft_plan_options){.batch = batch, .choose = deft_tuner_choose, .choose_user = tuner}, data,
        &both[1]));
    const deft_runnable runnables[] = {{run_executor, both[0].executor}, {run_executor, both[1].executor}};
    DEFT_TRY_OR_FAIL(deft_measure(ctx, runnables, 2, seconds, MIN_RUNS, timings));
    comparison->dense = timings[0];
    comparison->fast = timings[1];
    comparison->speedup = timings[0].p50 / timings[1].p50;
fail:
    for (int i = 0; i < 2; i++) {
        deft_executor_free(both[i].executor);
        deft_plan_free(both[i].plan);
    }
    return status;
}
