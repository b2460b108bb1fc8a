/* Checkpoints: what a training run needs to go on, bit for bit, after the epoch that wrote it. */
#ifndef DEFT_LEARN_TRAIN_CHECKPOINT_H
#define DEFT_LEARN_TRAIN_CHECKPOINT_H

#include "learn/data/dataset.h"
#include "learn/train/sgd.h"
#include "learn/train/train.h"

/* Names a run: the model with its first weights, the data, and every option that changes a weight. */
uint64_t deft_checkpoint_fingerprint(const deft_graph *model, const deft_dataset *data,
                                     const deft_train_options *options);

/* Layout (little-endian): "DEFTCKPT", u32 version, u32 epochs done, u64 fingerprint, u64 floats, the floats (weights
 * and velocities by parameter, then running means and variances), u64 FNV-1a of all before. Errors: DEFT_IO,
 * DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_checkpoint_save(const char *path, uint64_t fingerprint, int epochs_done,
                                                 const deft_training *training, const deft_sgd *sgd);
/* Sets *epochs_done to 0 where the file does not exist. Errors: DEFT_INVALID (not a checkpoint, damaged, of another
 * run), DEFT_IO. Nothing is changed on failure. */
DEFT_MUST_CHECK deft_status deft_checkpoint_load(const char *path, uint64_t fingerprint, deft_training *training,
                                                 deft_sgd *sgd, int *epochs_done);

#endif
