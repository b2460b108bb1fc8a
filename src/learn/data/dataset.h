/* Data sets: samples, labels, and three fixed, disjoint splits. */
#ifndef DEFT_LEARN_DATA_DATASET_H
#define DEFT_LEARN_DATA_DATASET_H

#include "base/tensor/tensor.h"

typedef enum deft_split { DEFT_TRAIN, DEFT_VALIDATION, DEFT_TEST, DEFT_SPLITS } deft_split;

typedef struct deft_samples {
    int64_t count;
    const float *x;   /* [count][sample], f32 */
    const int32_t *y; /* [count], 0 to classes-1; NULL without labels */
} deft_samples;

typedef struct deft_dataset {
    deft_context *ctx;
    char *spec; /* as it was opened */
    int sample_rank;
    int64_t sample_dims[DEFT_MAX_RANK]; /* of one sample, e.g. 1x28x28 */
    int64_t sample_count;               /* elements of one sample */
    int classes;                        /* 0 without labels */
    deft_samples split[DEFT_SPLITS];
    void *memory[4]; /* what the above points to */
} deft_dataset;

/* `spec` is one of
 *   mnist:DIR    IDX files, gz or not, by their official names (train-images-idx3-ubyte, ...): MNIST, or a set like
 *                it. Ten classes. Pixels / 255, 1xHxW. The last 5,000 of the training file (a tenth, where it has
 *                fewer than 50,000) are the validation split.
 *   npz:FILE     arrays x [count, ...] (f32, f64 or u8, taken as it is; finite) and, optionally, y [count] (whole
 *                numbers below 1,000,000; classes is the largest + 1). Split 80/10/10 after a shuffle of fixed seed;
 *                3 samples or more.
 *   digits[:N]   N (default 20,000; 10 to 1,000,000) pictures that Deft draws, deft_digits_draw, of fixed seed. Split
 *                80/10/10; a picture is in the same split for every N.
 * The splits are disjoint, none is empty, and they depend on nothing but `spec` and the files.
 * Errors: DEFT_IO, DEFT_INVALID (malformed, empty, a label out of range or not whole, counts that differ, a value that
 * is not finite), DEFT_UNSUPPORTED (x of another type), DEFT_CANCELLED. The message names the file and the place. */
DEFT_MUST_CHECK deft_status deft_dataset_open(deft_context *ctx, const char *spec, deft_dataset **dataset);
void deft_dataset_free(deft_dataset *dataset);

/* Copies samples order[first .. first+count) of a split (order may be NULL: 0, 1, 2, ...) into x [count][sample] and labels into y (may be NULL; left as
 * it is where there are no labels). */
void deft_dataset_gather(const deft_dataset *dataset, deft_split split, const int64_t *order, int64_t first,
                         int64_t count, float *x, int32_t *y);

#endif
