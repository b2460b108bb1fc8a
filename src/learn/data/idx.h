/* IDX files, the format of MNIST: big-endian, gz or not. */
#ifndef DEFT_LEARN_DATA_IDX_H
#define DEFT_LEARN_DATA_IDX_H

#include "base/tensor/tensor.h"

/* Type u8 only. The data is copied: release it with deft_release. Errors: DEFT_INVALID (magic, truncated, trailing
 * bytes, sizes that overflow), DEFT_UNSUPPORTED (another type). */
DEFT_MUST_CHECK deft_status deft_idx_parse(deft_context *ctx, const void *data, size_t bytes, deft_tensor *tensor);
/* `path`, or `path`.gz where that is what exists. */
DEFT_MUST_CHECK deft_status deft_idx_load(deft_context *ctx, const char *path, deft_tensor *tensor);

#endif
