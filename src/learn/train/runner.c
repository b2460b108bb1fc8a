#include "learn/train/runner.h"

deft_status deft_check_input(const deft_graph *graph, int input, const deft_dataset *data, int64_t batch) {
    const deft_value *x = &graph->values[input];
    char wanted[DEFT_SHAPE_TEXT_BYTES], got[DEFT_SHAPE_TEXT_BYTES];
    if (x->desc.dtype == DEFT_F32 && x->desc.rank >= 1 && x->desc.dims[0] == batch &&
        deft_tensor_count(&x->desc) == batch * data->sample_count)
        return DEFT_OK;
    deft_tensor sample = {.rank = data->sample_rank};
    for (int i = 0; i < data->sample_rank; i++)
        sample.dims[i] = data->sample_dims[i];
    return deft_fail(graph->ctx, DEFT_INVALID,
                     "%s has samples of %s in f32, which do not fit the model's input '%s' of %s in %s", data->spec,
                     deft_shape_text(&sample, got, sizeof got), x->name,
                     deft_shape_text(&x->desc, wanted, sizeof wanted), deft_dtype_name(x->desc.dtype));
}

static deft_status check_output(const deft_graph *graph, int64_t batch) {
    const deft_value *y = &graph->values[graph->outputs[0]];
    if (y->desc.dtype == DEFT_F32 && y->desc.rank >= 1 && y->desc.dims[0] == batch) return DEFT_OK;
    return deft_fail(graph->ctx, DEFT_INVALID, "output '%s' is not f32 with the batch as its first dimension", y->name);
}

deft_status deft_runner_init(deft_context *ctx, const deft_graph *model, const deft_dataset *data, int64_t batch,
                             deft_runner *runner) {
    *runner = (deft_runner){0};
    if (model->input_count != 1 || model->output_count < 1)
        return deft_fail(ctx, DEFT_INVALID, "the model has %d inputs; data can be fed to one", model->input_count);
    deft_status status;
    /* Cloned, not changed: the plan is not for training. */
    DEFT_TRY_OR_FAIL(deft_plan_new(ctx, (deft_graph *)model, &(deft_plan_options){.batch = batch}, &runner->plan));
    const deft_graph *graph = runner->plan->graph;
    DEFT_TRY_OR_FAIL(deft_check_input(graph, graph->inputs[0], data, batch));
    DEFT_TRY_OR_FAIL(check_output(graph, batch));
    DEFT_TRY_OR_FAIL(deft_executor_new(runner->plan, &runner->executor));
    runner->x = deft_executor_tensor(runner->executor, graph->inputs[0])->data;
    const deft_tensor *y = deft_executor_tensor(runner->executor, graph->outputs[0]);
    runner->y = y->data;
    runner->columns = deft_tensor_count(y) / batch;
    return DEFT_OK;
fail:
    deft_runner_done(runner);
    return status;
}

void deft_runner_done(deft_runner *runner) {
    deft_executor_free(runner->executor);
    deft_plan_free(runner->plan);
    *runner = (deft_runner){0};
}

int64_t deft_top(const float *values, int64_t count) {
    int64_t top = 0;
    for (int64_t i = 1; i < count; i++)
        if (values[i] > values[top] || (values[top] != values[top] && values[i] == values[i])) top = i;
    return top;
}
