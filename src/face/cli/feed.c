#include "face/cli/feed.h"

#include "base/tensor/npy.h"
#include "face/report/shape.h"

#include <string.h>

static const deft_value *input_value(const deft_feed *feed, int index) {
    return &feed->graph->values[feed->graph->inputs[index]];
}

/* The input that "NAME=FILE" names, else the first that has no array yet; *path is set to the file. -1: none is left.
 */
static int find_input(const deft_feed *feed, const char *argument, const char **path) {
    const char *equals = strchr(argument, '=');
    *path = argument;
    for (int i = 0; equals && i < feed->count; i++) {
        const char *name = input_value(feed, i)->name;
        if (strlen(name) != (size_t)(equals - argument) || strncmp(name, argument, strlen(name)) != 0) continue;
        *path = equals + 1;
        return i;
    }
    for (int i = 0; i < feed->count; i++)
        if (!feed->tensors[i].data) return i;
    return -1;
}

static deft_status check_shape(const deft_feed *feed, int index, const char *path) {
    const deft_value *value = input_value(feed, index);
    const deft_tensor *given = &feed->tensors[index];
    bool fits = given->rank == value->desc.rank;
    for (int i = 0; fits && i < given->rank; i++)
        fits = value->dim_names[i] ? given->dims[i] > 0 : given->dims[i] == value->desc.dims[i];
    if (fits) return DEFT_OK;
    char shape[DEFT_SHAPE_TEXT_BYTES], wanted[DEFT_SHAPE_TEXT_BYTES];
    return deft_fail(feed->ctx, DEFT_INVALID, "%s: its shape is %s, but input '%.64s' takes %s: reshape it", path,
                     deft_shape_text(given, shape, sizeof shape), value->name,
                     deft_shape_symbols(value, wanted, sizeof wanted));
}

/* f64, which NumPy makes unless told otherwise, and u8, which pictures are, may be given for f32. */
static bool convertible(deft_dtype from, deft_dtype to) {
    return from == to || (to == DEFT_F32 && (from == DEFT_F64 || from == DEFT_U8));
}

static void convert(const deft_tensor *from, deft_tensor *to) {
    int64_t count = deft_tensor_count(to);
    if (from->dtype == to->dtype)
        memcpy(to->data, from->data, deft_tensor_bytes(to));
    else if (from->dtype == DEFT_F64)
        for (int64_t i = 0; i < count; i++)
            ((float *)to->data)[i] = (float)((const double *)from->data)[i];
    else
        for (int64_t i = 0; i < count; i++)
            ((float *)to->data)[i] = ((const uint8_t *)from->data)[i];
}

static deft_status read_input(deft_feed *feed, const char *argument) {
    const char *path;
    int index = find_input(feed, argument, &path);
    if (index < 0)
        return deft_fail(feed->ctx, DEFT_INVALID, "--input %s: the model has %d inputs, and each has its array already",
                         argument, feed->count);
    deft_tensor *tensor = &feed->tensors[index];
    const deft_value *value = input_value(feed, index);
    if (tensor->data)
        return deft_fail(feed->ctx, DEFT_INVALID, "--input %s: '%.64s' has an array already: give each input once",
                         argument, value->name);
    DEFT_TRY(deft_npy_load(feed->ctx, path, tensor));
    if (!convertible(tensor->dtype, value->desc.dtype))
        return deft_fail(feed->ctx, DEFT_INVALID, "%s: its type is %s, but input '%.64s' takes %s: convert it", path,
                         deft_dtype_name(tensor->dtype), value->name, deft_dtype_name(value->desc.dtype));
    DEFT_TRY(check_shape(feed, index, path));
    deft_binding *binding = &feed->bindings[index];
    *binding = (deft_binding){.input = value->name, .rank = tensor->rank};
    memcpy(binding->dims, tensor->dims, sizeof binding->dims);
    return DEFT_OK;
}

deft_status deft_feed_read(deft_context *ctx, const deft_graph *graph, const deft_texts *arguments, deft_feed *feed) {
    *feed = (deft_feed){.ctx = ctx, .graph = graph, .count = graph->input_count};
    size_t count = (size_t)feed->count;
    DEFT_TRY(deft_allocate_zeroed(feed->ctx, count, sizeof *feed->tensors, &feed->tensors));
    DEFT_TRY(deft_allocate_zeroed(feed->ctx, count, sizeof *feed->bindings, &feed->bindings));
    for (int i = 0; i < arguments->count; i++)
        DEFT_TRY(read_input(feed, arguments->items[i]));
    for (int i = 0; i < feed->count; i++)
        if (!feed->tensors[i].data)
            return deft_fail(feed->ctx, DEFT_INVALID, "input '%.64s' has no array: add --input %.64s=FILE.npy",
                             input_value(feed, i)->name, input_value(feed, i)->name);
    return DEFT_OK;
}

void deft_feed_copy(const deft_feed *feed, deft_session *session) {
    for (int i = 0; i < feed->count; i++)
        convert(&feed->tensors[i], deft_program_input(session->program, i));
}

void deft_feed_done(deft_feed *feed) {
    for (int i = 0; feed->tensors && i < feed->count; i++)
        deft_release(feed->ctx, feed->tensors[i].data);
    deft_release(feed->ctx, feed->tensors);
    deft_release(feed->ctx, feed->bindings);
}
