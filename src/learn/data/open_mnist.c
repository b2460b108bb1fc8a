/* MNIST, and what comes in its files: four IDX files. */
#include "learn/data/arrays.h"
#include "learn/data/format.h"
#include "learn/data/idx.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { CLASSES = 10 };

bool deft_data_at_mnist(const char *path) {
    return deft_data_has(path, "train-images-idx3-ubyte") || deft_data_has(path, "train-images-idx3-ubyte.gz");
}

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

static deft_status check_pair(deft_context *ctx, const char *dir, const char *stem, const deft_tensor *images,
                              const deft_tensor *labels) {
    if (images->dims[0] != labels->dims[0])
        return deft_fail(ctx, DEFT_INVALID,
                         "%s: %s-images has %" PRId64 " pictures but %s-labels %" PRId64
                         " labels; take both files from one source",
                         dir, stem, images->dims[0], stem, labels->dims[0]);
    const uint8_t *y = labels->data;
    for (int64_t i = 0; i < labels->dims[0]; i++)
        if (y[i] >= CLASSES)
            return deft_fail(ctx, DEFT_INVALID,
                             "%s: label %" PRId64 " of %s-labels is %d, not 0 to 9; for other classes use npz:FILE",
                             dir, i, stem, y[i]);
    return DEFT_OK;
}

/* Loads STEM-images, whose pixels the set's arrays then own, and STEM-labels. */
static deft_status load_pair(deft_dataset *set, const char *dir, const char *stem, deft_tensor *images, void **owner,
                             int32_t **y) {
    deft_tensor labels = {0};
    char name[64];
    deft_status status;
    snprintf(name, sizeof name, "%s-images-idx3-ubyte", stem);
    status = load_idx(set->ctx, dir, name, 3, images);
    *owner = images->data;
    DEFT_TRY(status);
    snprintf(name, sizeof name, "%s-labels-idx1-ubyte", stem);
    DEFT_TRY_OR_FAIL(load_idx(set->ctx, dir, name, 1, &labels));
    DEFT_TRY_OR_FAIL(check_pair(set->ctx, dir, stem, images, &labels));
    DEFT_TRY_OR_FAIL(deft_arena_array(&set->arena, (size_t)labels.dims[0], sizeof **y, y));
    for (int64_t i = 0; i < labels.dims[0]; i++)
        (*y)[i] = ((const uint8_t *)labels.data)[i];
fail:
    deft_release(set->ctx, labels.data);
    return status;
}

deft_status deft_data_open_mnist(deft_dataset *set, const char *dir) {
    deft_tensor train = {0}, test = {0};
    int32_t *y, *y_test;
    deft_arrays *arrays;
    DEFT_TRY(deft_arrays_attach(set, &arrays));
    DEFT_TRY(load_pair(set, dir, "train", &train, &arrays->owned[0], &y));
    DEFT_TRY(load_pair(set, dir, "t10k", &test, &arrays->owned[1], &y_test));
    if (train.dims[1] != test.dims[1] || train.dims[2] != test.dims[2])
        return deft_fail(set->ctx, DEFT_INVALID,
                         "%s: the training pictures are %" PRId64 "x%" PRId64 ", the test pictures %" PRId64 "x%" PRId64
                         "; take all files from one source",
                         dir, train.dims[1], train.dims[2], test.dims[1], test.dims[2]);
    if (train.dims[0] < 2)
        return deft_fail(set->ctx, DEFT_INVALID,
                         "%s: one training picture; two or more are needed, for a validation split", dir);
    deft_data_set_shape(set, 3, (const int64_t[]){1, train.dims[1], train.dims[2]});
    set->classes = CLASSES;
    deft_data_set_splits(set, train.dims[0], y, test.dims[0], y_test);
    arrays->dtype = DEFT_U8;
    arrays->pixels = true;
    arrays->split[DEFT_TRAIN].x = train.data;
    arrays->split[DEFT_VALIDATION].x = (const uint8_t *)train.data + set->split[DEFT_TRAIN].count * set->sample_count;
    arrays->split[DEFT_TEST].x = test.data;
    return DEFT_OK;
}
