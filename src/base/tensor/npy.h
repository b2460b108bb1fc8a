/* NumPy's .npy (versions 1.0-3.0, C order, little-endian) and .npz (a zip of them). */
#ifndef DEFT_BASE_TENSOR_NPY_H
#define DEFT_BASE_TENSOR_NPY_H

#include "base/tensor/tensor.h"

/* Reads an array out of memory. The data is copied: release it with deft_release(ctx, tensor->data).
 * Errors: DEFT_INVALID (malformed, truncated, trailing bytes, sizes that overflow, a bool that is neither 0 nor 1),
 * DEFT_UNSUPPORTED (Fortran order, big-endian, types that deft_dtype has not, more than DEFT_MAX_RANK dimensions). */
DEFT_MUST_CHECK deft_status deft_npy_parse(deft_context *ctx, const void *data, size_t bytes, deft_tensor *tensor);
DEFT_MUST_CHECK deft_status deft_npy_load(deft_context *ctx, const char *path, deft_tensor *tensor);
/* The bytes that numpy.save writes. Errors: DEFT_IO, DEFT_UNSUPPORTED (bf16, which NumPy has not). */
DEFT_MUST_CHECK deft_status deft_npy_save(deft_context *ctx, const char *path, const deft_tensor *tensor);

typedef struct deft_npz_entry {
    char *name; /* without ".npy" */
    deft_tensor tensor;
} deft_npz_entry;
typedef struct deft_npz {
    deft_context *ctx;
    deft_npz_entry *entries;
    int count;
} deft_npz;

/* Released with deft_npz_done. Memory is bounded by what `bytes` of stored or deflated arrays can hold: an entry that
 * states more is refused before it is unpacked. Errors: as deft_npy_parse; DEFT_INVALID (not a zip, a wrong checksum,
 * two arrays of one name, something that is not an array), DEFT_UNSUPPORTED (encrypted, other compression). */
DEFT_MUST_CHECK deft_status deft_npz_parse(deft_context *ctx, const void *data, size_t bytes, deft_npz *npz);
DEFT_MUST_CHECK deft_status deft_npz_load(deft_context *ctx, const char *path, deft_npz *npz);
/* Stored, not compressed, with a fixed date: equal arrays make equal files. `count` > 0; names differ.
 * Errors: DEFT_IO, DEFT_INVALID, DEFT_UNSUPPORTED (bf16). */
DEFT_MUST_CHECK deft_status deft_npz_save(deft_context *ctx, const char *path, const deft_npz_entry *entries,
                                          int count);
/* NULL where there is none of that name. */
const deft_tensor *deft_npz_find(const deft_npz *npz, const char *name);
/* Accepts a zeroed one. */
void deft_npz_done(deft_npz *npz);

#endif
