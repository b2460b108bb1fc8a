/* Checkpoints: the state of a training run after an epoch, in one file.
 *
 * Little-endian: the header below, the parts' bytes one after the other, and a CRC-32 of all before it (as 8 bytes).
 * The order of the samples and the learning rate follow from the seed, the options and the epoch, and are not kept. */
#ifndef DEFT_LEARN_TRAIN_CHECKPOINT_H
#define DEFT_LEARN_TRAIN_CHECKPOINT_H

#include "base/core/context.h"

typedef struct deft_checkpoint_part {
    void *data;
    size_t bytes;
} deft_checkpoint_part;

typedef struct deft_checkpoint {
    uint64_t run;   /* fingerprint of the graph, the data and the options */
    uint64_t start; /* fingerprint of the weights that the run began with */
    int epoch;      /* epochs done */
    const deft_checkpoint_part *parts;
    int part_count;
    int weight_count; /* of the parts, the first that many are weights */
} deft_checkpoint;

/* Writes beside the target and renames. Errors: DEFT_IO, DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_checkpoint_write(deft_context *ctx, const char *path,
                                                  const deft_checkpoint *checkpoint);

/* Fills the parts, `start` and `epoch` from a file of the same run; *found is false, and nothing changed, where there
 * is no file, or a device. The weights that the run began with may also be those that the file holds: the run goes on
 * in the process that was interrupted. Errors, with nothing changed: DEFT_INVALID (no checkpoint, truncated, damaged,
 * or of another model, data or options; the message says which), DEFT_IO, DEFT_MEMORY. */
DEFT_MUST_CHECK deft_status deft_checkpoint_read(deft_context *ctx, const char *path, deft_checkpoint *checkpoint,
                                                 bool *found);

#endif
