/* Batches of a data set, read ahead by threads in the background. */
#ifndef DEFT_LEARN_DATA_LOADER_H
#define DEFT_LEARN_DATA_LOADER_H

#include "learn/data/dataset.h"

typedef struct deft_loader deft_loader;

/* Where samples come from files and the context has several threads, as many fill two batches in the background, one
 * while the other is used; elsewhere, or where the system has no more threads, samples are read when they are asked
 * for. What a batch holds does not depend on it. Threads allocate with the C library what they need to read a sample.
 * `augment`: samples are changed as the data set says. Error: DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_loader_new(deft_context *ctx, const deft_dataset *dataset, deft_split split,
                                            int64_t batch, bool augment, deft_loader **loader);
/* Accepts NULL. */
void deft_loader_free(deft_loader *loader);

/* Begins with samples order[first .. first + count), which must stay until the last batch is taken; NULL: 0, 1, 2, ...
 * What was read ahead is dropped. The context's seed and `epoch` decide how samples are changed. */
void deft_loader_start(deft_loader *loader, const int64_t *order, int64_t first, int64_t count, int epoch);
/* Writes the next `batch` samples to x; the last time, those that are left. Errors: those of deft_dataset_read, of the
 * first sample of the batch that has one. */
DEFT_MUST_CHECK deft_status deft_loader_next(deft_loader *loader, float *x);

#endif
