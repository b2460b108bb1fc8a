/* Data sets: samples, labels, and three fixed, disjoint splits. */
#ifndef DEFT_LEARN_DATA_DATASET_H
#define DEFT_LEARN_DATA_DATASET_H

#include "base/core/arena.h"
#include "base/tensor/tensor.h"

typedef enum deft_split { DEFT_TRAIN, DEFT_VALIDATION, DEFT_TEST, DEFT_SPLITS } deft_split;

typedef struct deft_samples {
    int64_t count;
    const int32_t *y;     /* [count], 0 to classes-1; NULL without labels */
    const float *targets; /* [count][target_count]; NULL without them */
} deft_samples;

typedef struct deft_dataset deft_dataset;

/* Where samples come from: memory, or files as they are asked for. */
typedef struct deft_source {
    /* Writes sample `index` of a split, f32, to x [sample]. Several threads call it at once, each with a context of its
     * own, for messages and for memory until it returns. Errors: DEFT_INVALID, DEFT_IO, naming the file. */
    deft_status (*read)(const deft_dataset *dataset, deft_context *ctx, deft_split split, int64_t index, float *x);
    void (*close)(deft_dataset *dataset); /* releases `state` */
    void *state;
    bool in_memory; /* so that there is nothing to read ahead */
} deft_source;

/* How training changes pictures, so that it does not see the same ones again. All zero: not at all. */
typedef struct deft_augment {
    int crop;   /* moved by up to so many pixels each way; what comes in from outside is 0 */
    bool flip;  /* left and right, half of the time */
    int cutout; /* the side in pixels of a square that is set to 0, centred anywhere in the picture. source:
                   DEVRIES2017 */
} deft_augment;

struct deft_dataset {
    deft_context *ctx;
    deft_arena arena; /* spec, labels, the format's own */
    char *spec;       /* as it was opened */
    int sample_rank;
    int64_t sample_dims[DEFT_MAX_RANK]; /* of one sample, e.g. 1x28x28 */
    int64_t sample_count;               /* elements of one sample */
    int64_t validation;                 /* training samples to hold back, as was asked for; 0: a tenth, up to 5,000 */
    int64_t size[3];                    /* height, width and channels of pictures that were asked for; 0: as they are */
    int classes;                        /* 0 without labels */
    int64_t target_count;               /* numbers to learn for each sample; 0 without targets, or with labels */
    deft_samples split[DEFT_SPLITS];
    deft_source source;
    const float *mean, *deviation; /* of each channel, which samples are standardised by; NULL: they are not */
    deft_augment augment;
};

/* `spec` is one of
 *   mnist:DIR      IDX files, gz or not, by their official names (train-images-idx3-ubyte, ...): MNIST, or a set like
 *                  it. Ten classes. Pixels / 255, 1xHxW.
 *   cifar10:DIR    data_batch_1.bin to data_batch_5.bin and test_batch.bin, records of a label and 3x32x32 pixels,
 *                  / 255; read from the files as they are needed. source: KRIZHEVSKY2009
 *   cifar100:DIR   train.bin and test.bin, records of a coarse label, which is not used, a fine one, and the pixels
 *   npz:FILE       arrays x [count, ...] (f32, f64 or u8, taken as it is; finite) and, optionally, y [count] (whole
 *                  numbers below 1,000,000; classes is the largest + 1), or targets [count, ...] (f32 or f64; finite),
 *                  numbers to learn for each sample; 3 samples or more. An x that is not compressed is read as
 *                  samples are needed
 *   pictures:DIR   PNG and JPEG files, in a folder for each class, whose order is that of their names: DIR/train/CLASS
 *                  and DIR/test/CLASS (or val, or both, where val is the validation split), or DIR/CLASS; read when
 *                  they are needed; pixels / 255. Their size and whether they are grey is the first one's
 *   digits[:N]     N (default 20,000; 10 to 1,000,000) pictures that Deft draws, deft_digits_draw, of fixed seed; a
 *                  picture is in the same split for every N
 * or a folder or file alone, whose format is then recognised. Where files have no validation split, it is the last
 * 5,000 training samples (a tenth, where there are fewer than 50,000); where they have no test split either, a shuffle
 * of fixed seed is split 80/10/10. The splits are disjoint, none is empty, and they depend on nothing but `spec` and
 * the files. Before any of these, once each,
 *   normalize:     subtracts from each channel (the first of three dimensions) the mean over the training samples and
 *                  divides by its deviation (over 10,000 samples spread evenly, where there are more)
 *   normalize=MEAN,...,MEAN/DEVIATION,...,DEVIATION:    the same with these, one for each channel
 *   size=HEIGHTxWIDTH, size=HEIGHTxWIDTHxCHANNELS:    pictures are scaled to cover that, and cut; 1 or 3 channels
 *   augment=WORD,...,WORD:    changes training pictures at random: crop, crop=PIXELS (default 4), flip, cutout,
 *                  cutout=PIXELS (default 8)
 *   validation=N:    holds so many training samples back, in place of the number above; of files without a split of
 *                  their own for it
 * Errors: DEFT_IO, DEFT_INVALID (malformed, empty, a label out of range or not whole, counts that differ, a value that
 * is not finite), DEFT_UNSUPPORTED (x of another type), DEFT_CANCELLED. The message names the file and the place. */
DEFT_MUST_CHECK deft_status deft_dataset_open(deft_context *ctx, const char *spec, deft_dataset **dataset);
void deft_dataset_free(deft_dataset *dataset);

/* Reads sample `index` of a split into x [sample], standardised, not augmented. As for deft_source.read. */
DEFT_MUST_CHECK deft_status deft_dataset_read(const deft_dataset *dataset, deft_context *ctx, deft_split split,
                                              int64_t index, float *x);
/* Reads samples order[first .. first+count) of a split (order may be NULL: 0, 1, 2, ...) into x [count][sample]. */
DEFT_MUST_CHECK deft_status deft_dataset_gather(const deft_dataset *dataset, deft_split split, const int64_t *order,
                                                int64_t first, int64_t count, float *x);

#endif
