#include "learn/train/feed.h"

#include <string.h>

static deft_status fail_shapes(deft_context *ctx, const deft_value *input, const deft_dataset *data) {
    char expected[DEFT_SHAPE_TEXT_BYTES], got[DEFT_SHAPE_TEXT_BYTES];
    deft_tensor wanted = input->desc, sample = {.rank = data->sample_rank};
    for (int i = 0; i < wanted.rank; i++)
        if (input->dim_names[i]) wanted.dims[i] = -1;
    memcpy(sample.dims, data->sample_dims, sizeof sample.dims);
    return deft_fail(ctx, DEFT_INVALID, "input '%.64s' is %s (-1: any, the batch first), but a sample of %s is %s",
                     input->name, deft_shape_text(&wanted, expected, sizeof expected), data->spec,
                     deft_shape_text(&sample, got, sizeof got));
}

/* The size of dimension `i`; -1 where nothing says it. */
static int64_t bound_dim(const deft_value *input, int i, const deft_dataset *data, int64_t batch) {
    if (!input->dim_names[i]) return input->desc.dims[i];
    if (i == 0) return batch;
    return input->desc.rank == data->sample_rank + 1 ? data->sample_dims[i - 1] : -1;
}

deft_status deft_feed_bind(deft_context *ctx, const deft_graph *graph, const deft_dataset *data, int64_t batch,
                           deft_binding *binding) {
    if (graph->input_count != 1)
        return deft_fail(ctx, DEFT_INVALID, "the model has %d inputs; data feeds exactly one", graph->input_count);
    const deft_value *input = &graph->values[graph->inputs[0]];
    if (input->desc.dtype != DEFT_F32)
        return deft_fail(ctx, DEFT_INVALID, "input '%.64s' is of type %s; data feeds f32", input->name,
                         deft_dtype_name(input->desc.dtype));
    int64_t elements = 1;
    *binding = (deft_binding){.input = input->name, .rank = input->desc.rank};
    for (int i = 0; i < binding->rank; i++) {
        int64_t dim = binding->dims[i] = bound_dim(input, i, data, batch);
        bool overflows = i > 0 && __builtin_mul_overflow(elements, dim, &elements);
        if (dim < 1 || overflows) return fail_shapes(ctx, input, data);
    }
    if (binding->rank < 1 || elements != data->sample_count) return fail_shapes(ctx, input, data);
    return DEFT_OK;
}
