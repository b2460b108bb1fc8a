#include "learn/data/dataset.h"

#include "base/core/rng.h"
#include "base/tensor/npy.h"
#include "learn/data/digits.h"
#include "learn/data/idx.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MNIST_CLASSES = 10,
    MNIST_VALIDATION = 5000,
    DIGITS_DEFAULT = 20000,
    DIGITS_MIN = 10,
    DIGITS_MAX = 1000000,
    CLASSES_MAX = 1000000, /* of an npz: a larger label is a mistake and not a class */
    NPZ_MIN = 3
};
/* Of the built-in pictures and of the shuffle of an npz: fixed, so that the splits are. */
static const uint64_t DATA_SEED = 0xdef7da7a;

/* What a data set's `memory` slots hold. */
enum { X_SLOT, Y_SLOT, X_TEST_SLOT, Y_TEST_SLOT };

static void set_sample_shape(deft_dataset *set, int rank, const int64_t *dims) {
    set->sample_rank = rank;
    set->sample_count = 1;
    for (int i = 0; i < rank; i++) {
        set->sample_dims[i] = dims[i];
        set->sample_count *= dims[i];
    }
}

/* Gives a split its samples: `count` from the `first` on, of arrays x and y (which may be NULL). */
static void set_split(deft_dataset *set, deft_split split, const float *x, const int32_t *y, int64_t first,
                      int64_t count) {
    set->split[split] = (deft_samples){.count = count, .x = x + first * set->sample_count, .y = y ? y + first : NULL};
}

/* 80/10/10, none empty for three samples or more. */
static int64_t tenth(int64_t count) {
    return count < 10 ? 1 : count / 10;
}

/* ---- mnist ----------------------------------------------------------------------------------------------------- */

/* Loads DIR/NAME, of the given rank and not empty. The caller releases the tensor's data, after a failure too. */
static deft_status load_idx(deft_context *ctx, const char *dir, const char *name, int rank, deft_tensor *tensor) {
    char path[4096], text[DEFT_SHAPE_TEXT_BYTES];
    if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
        return deft_fail(ctx, DEFT_INVALID, "mnist: the folder's name is too long");
    DEFT_TRY(deft_idx_load(ctx, path, tensor));
    if (tensor->rank == rank && deft_tensor_count(tensor) > 0) return DEFT_OK;
    return deft_fail(ctx, DEFT_INVALID, "%s: shape %s: expected %s, none of them 0", path,
                     deft_shape_text(tensor, text, sizeof text),
                     rank == 3 ? "pictures (count x height x width)" : "labels (count)");
}

static deft_status check_mnist_pair(deft_context *ctx, const char *dir, const char *stem, const deft_tensor *images,
                                    const deft_tensor *labels) {
    if (images->dims[0] != labels->dims[0])
        return deft_fail(ctx, DEFT_INVALID,
                         "%s: %s-images has %" PRId64 " pictures but %s-labels %" PRId64
                         " labels; take both files from one source",
                         dir, stem, images->dims[0], stem, labels->dims[0]);
    const uint8_t *y = labels->data;
    for (int64_t i = 0; i < labels->dims[0]; i++)
        if (y[i] >= MNIST_CLASSES)
            return deft_fail(ctx, DEFT_INVALID,
                             "%s: label %" PRId64 " of %s-labels is %d, not 0 to 9; for other classes use npz:FILE",
                             dir, i, stem, y[i]);
    return DEFT_OK;
}

/* Loads STEM-images and STEM-labels as numbers into memory slots `slot` and `slot` + 1. */
static deft_status load_mnist_pair(deft_dataset *set, const char *dir, const char *stem, int slot, int64_t dims[3]) {
    deft_context *ctx = set->ctx;
    deft_tensor images = {0}, labels = {0};
    float *x = NULL;
    int32_t *y = NULL;
    char name[64];
    deft_status status;
    snprintf(name, sizeof name, "%s-images-idx3-ubyte", stem);
    DEFT_TRY_OR_FAIL(load_idx(ctx, dir, name, 3, &images));
    snprintf(name, sizeof name, "%s-labels-idx1-ubyte", stem);
    DEFT_TRY_OR_FAIL(load_idx(ctx, dir, name, 1, &labels));
    DEFT_TRY_OR_FAIL(check_mnist_pair(ctx, dir, stem, &images, &labels));
    int64_t pixels = deft_tensor_count(&images), count = images.dims[0];
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(ctx, (size_t)pixels, sizeof *x, &x));
    set->memory[slot] = x;
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(ctx, (size_t)count, sizeof *y, &y));
    set->memory[slot + 1] = y;
    for (int64_t i = 0; i < pixels; i++)
        x[i] = (float)((const uint8_t *)images.data)[i] / 255.0f;
    for (int64_t i = 0; i < count; i++)
        y[i] = ((const uint8_t *)labels.data)[i];
    memcpy(dims, images.dims, 3 * sizeof *dims);
fail:
    deft_release(ctx, images.data);
    deft_release(ctx, labels.data);
    return status;
}

static deft_status open_mnist(deft_dataset *set, const char *dir) {
    int64_t train[3], test[3];
    DEFT_TRY(load_mnist_pair(set, dir, "train", X_SLOT, train));
    DEFT_TRY(load_mnist_pair(set, dir, "t10k", X_TEST_SLOT, test));
    if (train[1] != test[1] || train[2] != test[2])
        return deft_fail(set->ctx, DEFT_INVALID,
                         "%s: the training pictures are %" PRId64 "x%" PRId64 ", the test pictures %" PRId64 "x%" PRId64
                         "; take all files from one source",
                         dir, train[1], train[2], test[1], test[2]);
    if (train[0] < 2)
        return deft_fail(set->ctx, DEFT_INVALID,
                         "%s: one training picture; two or more are needed, for a validation split", dir);
    set_sample_shape(set, 3, (const int64_t[]){1, train[1], train[2]});
    set->classes = MNIST_CLASSES;
    int64_t validation = train[0] >= 10 * MNIST_VALIDATION ? MNIST_VALIDATION : tenth(train[0]);
    set_split(set, DEFT_TRAIN, set->memory[X_SLOT], set->memory[Y_SLOT], 0, train[0] - validation);
    set_split(set, DEFT_VALIDATION, set->memory[X_SLOT], set->memory[Y_SLOT], train[0] - validation, validation);
    set_split(set, DEFT_TEST, set->memory[X_TEST_SLOT], set->memory[Y_TEST_SLOT], 0, test[0]);
    return DEFT_OK;
}

/* ---- npz ------------------------------------------------------------------------------------------------------- */

static deft_status check_npz(deft_context *ctx, const deft_tensor *x, const deft_tensor *y) {
    char text[DEFT_SHAPE_TEXT_BYTES];
    if (!x) return deft_fail(ctx, DEFT_INVALID, "no array 'x'; write it with numpy.savez(FILE, x=samples, y=labels)");
    if (x->dtype != DEFT_F32 && x->dtype != DEFT_F64 && x->dtype != DEFT_U8)
        return deft_fail(ctx, DEFT_UNSUPPORTED, "x is of type %s; convert to float32, float64 or uint8",
                         deft_dtype_name(x->dtype));
    if (x->rank < 2 || deft_tensor_count(x) == 0 || x->dims[0] < NPZ_MIN)
        return deft_fail(ctx, DEFT_INVALID,
                         "x has shape %s: expected count x sample dimensions, with %d samples or more",
                         deft_shape_text(x, text, sizeof text), NPZ_MIN);
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

static deft_status copy_labels(deft_dataset *set, const deft_tensor *tensor, const int64_t *order) {
    int32_t *y;
    DEFT_TRY(deft_allocate_zeroed(set->ctx, (size_t)tensor->dims[0], sizeof *y, &y));
    set->memory[Y_SLOT] = y;
    for (int64_t i = 0; i < tensor->dims[0]; i++) {
        double value;
        if (!read_label(tensor, order[i], &value))
            return deft_fail(set->ctx, DEFT_INVALID,
                             "y[%" PRId64 "] is %.17g (%s): expected a class, a whole number from 0 up", order[i],
                             value, deft_dtype_name(tensor->dtype));
        y[i] = (int32_t)value;
        if (y[i] >= set->classes) set->classes = y[i] + 1;
    }
    return DEFT_OK;
}

static deft_status copy_samples(deft_dataset *set, const deft_tensor *tensor, const int64_t *order) {
    float *x;
    DEFT_TRY(deft_allocate_zeroed(set->ctx, (size_t)deft_tensor_count(tensor), sizeof *x, &x));
    set->memory[X_SLOT] = x;
    for (int64_t i = 0; i < tensor->dims[0]; i++)
        for (int64_t j = 0; j < set->sample_count; j++) {
            int64_t from = order[i] * set->sample_count + j;
            float value = tensor->dtype == DEFT_U8    ? (float)((const uint8_t *)tensor->data)[from]
                          : tensor->dtype == DEFT_F32 ? ((const float *)tensor->data)[from]
                                                      : (float)((const double *)tensor->data)[from];
            if (!isfinite(value))
                return deft_fail(set->ctx, DEFT_INVALID,
                                 "x: sample %" PRId64 ", element %" PRId64 " is not a finite float32; clean the data",
                                 order[i], j);
            *x++ = value;
        }
    return DEFT_OK;
}

static deft_status open_npz_arrays(deft_dataset *set, const deft_npz *npz) {
    const deft_tensor *x = deft_npz_find(npz, "x"), *y = deft_npz_find(npz, "y");
    DEFT_TRY(check_npz(set->ctx, x, y));
    int64_t count = x->dims[0], held = tenth(count), *order;
    set_sample_shape(set, x->rank - 1, x->dims + 1);
    DEFT_TRY(deft_allocate_zeroed(set->ctx, (size_t)count, sizeof *order, &order));
    for (int64_t i = 0; i < count; i++)
        order[i] = i;
    deft_rng rng;
    deft_rng_init(&rng, DATA_SEED, 0);
    deft_rng_shuffle(&rng, order, count);
    deft_status status = copy_samples(set, x, order);
    if (status == DEFT_OK && y) status = copy_labels(set, y, order);
    deft_release(set->ctx, order);
    DEFT_TRY(status);
    set_split(set, DEFT_TRAIN, set->memory[X_SLOT], set->memory[Y_SLOT], 0, count - 2 * held);
    set_split(set, DEFT_VALIDATION, set->memory[X_SLOT], set->memory[Y_SLOT], count - 2 * held, held);
    set_split(set, DEFT_TEST, set->memory[X_SLOT], set->memory[Y_SLOT], count - held, held);
    return DEFT_OK;
}

static deft_status open_npz(deft_dataset *set, const char *path) {
    deft_npz npz;
    DEFT_TRY(deft_npz_load(set->ctx, path, &npz));
    deft_status status = open_npz_arrays(set, &npz);
    deft_npz_done(&npz);
    return status == DEFT_OK ? DEFT_OK : deft_fail_in(set->ctx, status, "%s", path);
}

/* ---- digits ---------------------------------------------------------------------------------------------------- */

/* A split draws from numbers of its own, so that the test pictures of digits:N are never trained on by digits:M. */
static deft_status draw_split(deft_dataset *set, deft_split split, int64_t first, int64_t count) {
    enum { CHUNK = 2000 };
    float *x = (float *)set->memory[X_SLOT] + first * set->sample_count;
    int32_t *y = (int32_t *)set->memory[Y_SLOT] + first;
    uint64_t number = (uint64_t)split << 32;
    for (int64_t from = 0; from < count; from += CHUNK) {
        int64_t to = from + CHUNK < count ? from + CHUNK : count;
#pragma omp parallel for schedule(static) num_threads(set->ctx->threads)
        for (int64_t i = from; i < to; i++)
            deft_digits_draw(DATA_SEED, number + (uint64_t)i, x + i * set->sample_count, &y[i]);
        DEFT_TRY(deft_progress(set->ctx, "drawing digits", (double)to / (double)count));
    }
    set_split(set, split, set->memory[X_SLOT], set->memory[Y_SLOT], first, count);
    return DEFT_OK;
}

static deft_status open_digits(deft_dataset *set, const char *number) {
    int64_t count = DIGITS_DEFAULT;
    if (number) {
        char *end;
        count = *number >= '0' && *number <= '9' ? strtoll(number, &end, 10) : -1;
        if (count < DIGITS_MIN || count > DIGITS_MAX || *end)
            return deft_fail(set->ctx, DEFT_INVALID, "data 'digits:%s': expected a number of pictures, %d to %d",
                             number, DIGITS_MIN, DIGITS_MAX);
    }
    set_sample_shape(set, 3, (const int64_t[]){1, DEFT_DIGITS_SIZE, DEFT_DIGITS_SIZE});
    set->classes = 10;
    DEFT_TRY(deft_allocate_zeroed(set->ctx, (size_t)(count * set->sample_count), sizeof(float), &set->memory[X_SLOT]));
    DEFT_TRY(deft_allocate_zeroed(set->ctx, (size_t)count, sizeof(int32_t), &set->memory[Y_SLOT]));
    int64_t held = tenth(count);
    DEFT_TRY(draw_split(set, DEFT_TRAIN, 0, count - 2 * held));
    DEFT_TRY(draw_split(set, DEFT_VALIDATION, count - 2 * held, held));
    return draw_split(set, DEFT_TEST, count - held, held);
}

/* ---- any ------------------------------------------------------------------------------------------------------- */

static deft_status open_spec(deft_dataset *set, const char *spec) {
    if (strncmp(spec, "mnist:", 6) == 0 && spec[6]) return open_mnist(set, spec + 6);
    if (strncmp(spec, "npz:", 4) == 0 && spec[4]) return open_npz(set, spec + 4);
    if (strcmp(spec, "digits") == 0) return open_digits(set, NULL);
    if (strncmp(spec, "digits:", 7) == 0) return open_digits(set, spec + 7);
    return deft_fail(set->ctx, DEFT_INVALID, "data '%s': expected mnist:DIR, npz:FILE or digits[:N]", spec);
}

deft_status deft_dataset_open(deft_context *ctx, const char *spec, deft_dataset **dataset) {
    deft_dataset *set = NULL;
    deft_status status;
    DEFT_TRY_OR_FAIL(deft_allocate_zeroed(ctx, 1, sizeof *set, &set));
    set->ctx = ctx;
    DEFT_TRY_OR_FAIL(deft_duplicate_string(ctx, spec, &set->spec));
    DEFT_TRY_OR_FAIL(open_spec(set, spec));
    *dataset = set;
    return DEFT_OK;
fail:
    deft_dataset_free(set);
    return status;
}

void deft_dataset_free(deft_dataset *set) {
    if (!set) return;
    for (size_t i = 0; i < sizeof set->memory / sizeof *set->memory; i++)
        deft_release(set->ctx, set->memory[i]);
    deft_release(set->ctx, set->spec);
    deft_release(set->ctx, set);
}

void deft_dataset_gather(const deft_dataset *set, deft_split split, const int64_t *order, int64_t first, int64_t count,
                         float *x, int32_t *y) {
    const deft_samples *samples = &set->split[split];
    for (int64_t i = 0; i < count; i++) {
        int64_t from = order ? order[first + i] : first + i;
        memcpy(x + i * set->sample_count, samples->x + from * set->sample_count, (size_t)set->sample_count * sizeof *x);
        if (y && samples->y) y[i] = samples->y[from];
    }
}
