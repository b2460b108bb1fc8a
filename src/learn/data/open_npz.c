/* NumPy's archives: samples x and, optionally, labels y or targets. Where x is stored, as numpy.savez does, samples are
 * read when they are asked for; where it is compressed, it is held in memory. */
#include "base/tensor/npy.h"
#include "learn/data/arrays.h"
#include "learn/data/format.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>

enum {
    CLASSES_MAX = 1000000, /* a larger label is a mistake and not a class */
    SAMPLES_MIN = 3
};

bool deft_data_at_npz(const char *path) {
    struct stat info;
    size_t length = strlen(path);
    return length > 4 && strcmp(path + length - 4, ".npz") == 0 && stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

static deft_status check_shapes(deft_context *ctx, const deft_tensor *x, const deft_tensor *y) {
    char text[DEFT_SHAPE_TEXT_BYTES];
    if (!x) return deft_fail(ctx, DEFT_INVALID, "no array 'x'; write it with numpy.savez(FILE, x=samples, y=labels)");
    if (x->dtype != DEFT_F32 && x->dtype != DEFT_F64 && x->dtype != DEFT_U8)
        return deft_fail(ctx, DEFT_UNSUPPORTED, "x is of type %s; convert to float32, float64 or uint8",
                         deft_dtype_name(x->dtype));
    if (x->rank < 2 || deft_tensor_count(x) == 0 || x->dims[0] < SAMPLES_MIN)
        return deft_fail(ctx, DEFT_INVALID,
                         "x has shape %s: expected count x sample dimensions, with %d samples or more",
                         deft_shape_text(x, text, sizeof text), SAMPLES_MIN);
    if (y && (y->rank != 1 || y->dims[0] != x->dims[0]))
        return deft_fail(ctx, DEFT_INVALID,
                         "y has shape %s: expected one label for each of the %" PRId64 " samples of x",
                         deft_shape_text(y, text, sizeof text), x->dims[0]);
    return DEFT_OK;
}

/* Element `i` of a tensor of integers or of floats that are whole; false where it is no class. */
static bool read_label(const deft_tensor *y, int64_t i, double *value) {
    *value = NAN;
    switch (y->dtype) {
    case DEFT_U8:
    case DEFT_BOOL:
        *value = ((const uint8_t *)y->data)[i];
        break;
    case DEFT_I8:
        *value = ((const int8_t *)y->data)[i];
        break;
    case DEFT_U16:
        *value = ((const uint16_t *)y->data)[i];
        break;
    case DEFT_I16:
        *value = ((const int16_t *)y->data)[i];
        break;
    case DEFT_U32:
        *value = ((const uint32_t *)y->data)[i];
        break;
    case DEFT_I32:
        *value = ((const int32_t *)y->data)[i];
        break;
    case DEFT_U64:
        *value = (double)((const uint64_t *)y->data)[i];
        break;
    case DEFT_I64:
        *value = (double)((const int64_t *)y->data)[i];
        break;
    case DEFT_F32:
        *value = (double)((const float *)y->data)[i];
        break;
    case DEFT_F64:
        *value = ((const double *)y->data)[i];
        break;
    case DEFT_F16:
    case DEFT_BF16:
        break;
    }
    return *value >= 0 && *value < CLASSES_MAX && *value == floor(*value);
}

static deft_status copy_labels(deft_dataset *set, const deft_tensor *tensor, const int64_t *order, int32_t **y) {
    DEFT_TRY(deft_arena_array(&set->arena, (size_t)tensor->dims[0], sizeof **y, y));
    for (int64_t i = 0; i < tensor->dims[0]; i++) {
        double value;
        if (!read_label(tensor, order[i], &value))
            return deft_fail(set->ctx, DEFT_INVALID,
                             "y[%" PRId64 "] is %.17g (%s): expected a class, a whole number from 0 up; numbers to "
                             "learn go into an array 'targets'",
                             order[i], value, deft_dtype_name(tensor->dtype));
        (*y)[i] = (int32_t)value;
        if ((*y)[i] >= set->classes) set->classes = (*y)[i] + 1;
    }
    return DEFT_OK;
}

/* Of x, from number `first` on. */
static deft_status check_finite(const deft_dataset *set, deft_dtype dtype, const void *values, int64_t first,
                                int64_t count) {
    for (int64_t i = 0; i < count && dtype != DEFT_U8; i++) {
        float value = dtype == DEFT_F32 ? ((const float *)values)[i] : (float)((const double *)values)[i];
        if (!isfinite(value))
            return deft_fail(set->ctx, DEFT_INVALID,
                             "x: sample %" PRId64 ", element %" PRId64 " is not a finite float32; clean the data",
                             (first + i) / set->sample_count, (first + i) % set->sample_count);
    }
    return DEFT_OK;
}

/* Reads all of x, in order, so that its checksum is compared. */
static deft_status check_file(deft_dataset *set, const deft_tensor *x, deft_npz_array *array) {
    enum { PART = 1 << 18 };
    int64_t total = deft_tensor_count(x);
    size_t bytes = deft_dtype_bytes(x->dtype);
    void *part;
    deft_status status = DEFT_OK;
    DEFT_TRY(deft_allocate(set->ctx, PART * bytes, &part));
    for (int64_t first = 0; first < total && status == DEFT_OK; first += PART) {
        int64_t count = total - first < PART ? total - first : PART;
        DEFT_TRY_OR_FAIL(deft_npz_array_read(array, set->ctx, (size_t)first * bytes, (size_t)count * bytes, part));
        DEFT_TRY_OR_FAIL(check_finite(set, x->dtype, part, first, count));
        DEFT_TRY_OR_FAIL(deft_progress(set->ctx, "checking samples", (double)(first + count) / (double)total));
    }
fail:
    deft_release(set->ctx, part);
    return status;
}

static deft_status check_targets(deft_context *ctx, const deft_tensor *x, const deft_tensor *targets,
                                 const deft_tensor *labels) {
    char text[DEFT_SHAPE_TEXT_BYTES];
    if (labels) return deft_fail(ctx, DEFT_INVALID, "there are labels 'y' and 'targets': leave one of them out");
    if (targets->dtype != DEFT_F32 && targets->dtype != DEFT_F64)
        return deft_fail(ctx, DEFT_UNSUPPORTED, "targets is of type %s; convert to float32 or float64",
                         deft_dtype_name(targets->dtype));
    if (targets->rank >= 1 && targets->dims[0] == x->dims[0] && deft_tensor_count(targets) > 0) return DEFT_OK;
    return deft_fail(ctx, DEFT_INVALID,
                     "targets has shape %s: expected numbers to learn for each of the %" PRId64 " samples of x",
                     deft_shape_text(targets, text, sizeof text), x->dims[0]);
}

static deft_status copy_targets(deft_dataset *set, const deft_tensor *tensor, const int64_t *order, float **targets) {
    int64_t width = set->target_count = deft_tensor_count(tensor) / tensor->dims[0];
    DEFT_TRY(deft_arena_array(&set->arena, (size_t)deft_tensor_count(tensor), sizeof **targets, targets));
    for (int64_t i = 0; i < deft_tensor_count(tensor); i++) {
        int64_t from = order[i / width] * width + i % width;
        float value = tensor->dtype == DEFT_F32 ? ((const float *)tensor->data)[from]
                                                : (float)((const double *)tensor->data)[from];
        if (!isfinite(value))
            return deft_fail(set->ctx, DEFT_INVALID,
                             "targets: sample %" PRId64 ", element %" PRId64 " is not a finite float32; clean the data",
                             from / width, from % width);
        (*targets)[i] = value;
    }
    return DEFT_OK;
}

/* ---- samples --------------------------------------------------------------------------------------------------- */

/* Samples that are read from the file as they are asked for. */
typedef struct stored {
    deft_npz_array *array;
    deft_dtype dtype;
    const int64_t *order;
} stored;

static deft_status read_stored(const deft_dataset *set, deft_context *ctx, deft_split split, int64_t index, float *x) {
    const stored *s = set->source.state;
    size_t bytes = (size_t)set->sample_count * deft_dtype_bytes(s->dtype);
    size_t offset = (size_t)s->order[deft_data_number(set, split, index)] * bytes;
    void *values = x;
    if (s->dtype != DEFT_F32) DEFT_TRY(deft_allocate(ctx, bytes, &values));
    deft_status status = deft_npz_array_read(s->array, ctx, offset, bytes, values);
    if (s->dtype != DEFT_F32) {
        if (status == DEFT_OK) deft_arrays_convert(s->dtype, values, set->sample_count, x);
        deft_release(ctx, values);
    }
    return status == DEFT_OK ? DEFT_OK : deft_fail_in(ctx, status, "%s", set->spec);
}

static void close_stored(deft_dataset *set) {
    const stored *s = set->source.state;
    deft_npz_array_close(set->ctx, s->array);
}

/* Takes *array over. */
static deft_status open_stored(deft_dataset *set, const deft_tensor *x, deft_npz_array **array, const int64_t *order) {
    stored *s;
    DEFT_TRY(check_file(set, x, *array));
    DEFT_TRY(deft_arena_array(&set->arena, 1, sizeof *s, &s));
    *s = (stored){*array, x->dtype, order};
    *array = NULL;
    set->source = (deft_source){.read = read_stored, .close = close_stored, .state = s};
    return DEFT_OK;
}

/* The set's arrays take x over. */
static void take_samples(deft_arrays *arrays, deft_npz *npz, const deft_tensor *x) {
    for (int i = 0; i < npz->count; i++) {
        if (&npz->entries[i].tensor != x) continue;
        arrays->owned[0] = npz->entries[i].tensor.data;
        npz->entries[i].tensor.data = NULL;
    }
}

static deft_status open_in_memory(deft_dataset *set, const deft_tensor *x, deft_npz *npz, const int64_t *order) {
    deft_arrays *arrays;
    DEFT_TRY(check_finite(set, x->dtype, x->data, 0, deft_tensor_count(x)));
    DEFT_TRY(deft_arrays_attach(set, &arrays));
    arrays->dtype = x->dtype;
    for (int split = 0; split < DEFT_SPLITS; split++) {
        arrays->split[split].x = x->data;
        arrays->split[split].order = order + deft_data_number(set, (deft_split)split, 0);
    }
    take_samples(arrays, npz, x);
    return DEFT_OK;
}

static deft_status open_archive(deft_dataset *set, deft_npz *npz, deft_npz_array **array) {
    const deft_tensor *x = deft_npz_find(npz, "x"), *labels = deft_npz_find(npz, "y");
    const deft_tensor *numbers = deft_npz_find(npz, "targets");
    int64_t *order;
    int32_t *y = NULL;
    float *targets = NULL;
    DEFT_TRY(check_shapes(set->ctx, x, labels));
    if (numbers) DEFT_TRY(check_targets(set->ctx, x, numbers, labels));
    deft_data_set_shape(set, x->rank - 1, x->dims + 1);
    DEFT_TRY(deft_data_shuffle(set, x->dims[0], &order));
    if (labels) DEFT_TRY(copy_labels(set, labels, order, &y));
    if (numbers) DEFT_TRY(copy_targets(set, numbers, order, &targets));
    deft_data_split_evenly(set, x->dims[0], y);
    for (int split = 0; split < DEFT_SPLITS && targets; split++)
        set->split[split].targets = targets + deft_data_number(set, (deft_split)split, 0) * set->target_count;
    return *array ? open_stored(set, x, array, order) : open_in_memory(set, x, npz, order);
}

deft_status deft_data_open_npz(deft_dataset *set, const char *path) {
    deft_npz npz;
    deft_npz_array *array;
    DEFT_TRY(deft_npz_open(set->ctx, path, "x", &npz, &array));
    deft_status status = open_archive(set, &npz, &array);
    deft_npz_array_close(set->ctx, array);
    deft_npz_done(&npz);
    return status == DEFT_OK ? DEFT_OK : deft_fail_in(set->ctx, status, "%s", path);
}
