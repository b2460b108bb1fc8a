/* What the formats of data sets share. */
#ifndef DEFT_LEARN_DATA_FORMAT_H
#define DEFT_LEARN_DATA_FORMAT_H

#include "learn/data/dataset.h"

/* Opens what is at `where` into a set that has its context, arena and spec: sets the shape, classes, splits and source.
 * What it has put into `source` is closed even where it fails. */
#define DEFT_DATA_FORMAT(NAME, USAGE, FILES)                                                                           \
    DEFT_MUST_CHECK deft_status deft_data_open_##NAME(deft_dataset *set, const char *where);                           \
    bool deft_data_at_##NAME(const char *path);
#include "learn/data/data.def"
#undef DEFT_DATA_FORMAT

/* Of built-in pictures and of the shuffle that splits what comes unsplit: fixed, so that the splits are. */
#define DEFT_DATA_SEED UINT64_C(0xdef7da7a)

void deft_data_set_shape(deft_dataset *set, int rank, const int64_t *dims);
/* Sets the training and validation splits of `train` samples with labels y (or NULL), and the test split. */
void deft_data_set_splits(deft_dataset *set, int64_t train, const int32_t *y, int64_t test, const int32_t *y_test);
/* A random order of [0, count), of fixed seed, in the set's arena. */
DEFT_MUST_CHECK deft_status deft_data_shuffle(deft_dataset *set, int64_t count, int64_t **order);
/* Splits samples 80/10/10, none empty for three or more. y: their labels, or NULL. */
void deft_data_split_evenly(deft_dataset *set, int64_t count, const int32_t *y);
/* The number of a sample where those of training, validation and test follow each other. */
int64_t deft_data_number(const deft_dataset *set, deft_split split, int64_t index);

/* Whether DIR/NAME is there. */
bool deft_data_has(const char *dir, const char *name);
/* Pixels from 0 to 255 as numbers from 0 to 1. */
void deft_data_pixels(const uint8_t *pixels, int64_t count, float *x);

/* Standardises the set's samples, by what `numbers` says ("MEAN,.../DEVIATION,..."), or, where it is NULL, by what the
 * training samples are. Errors: DEFT_INVALID, those of reading, DEFT_CANCELLED. */
DEFT_MUST_CHECK deft_status deft_data_normalize(deft_dataset *set, const char *numbers);

#endif
