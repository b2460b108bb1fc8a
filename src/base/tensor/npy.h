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
/* An array in a file, of which parts are read when they are asked for. */
typedef struct deft_npz_array deft_npz_array;
/* As deft_npz_load, but where the array `name` is stored in a regular file, and not deflated, its tensor has no data:
 * *array reads it, and is released with deft_npz_array_close. Otherwise *array is NULL. */
DEFT_MUST_CHECK deft_status deft_npz_open(deft_context *ctx, const char *path, const char *name, deft_npz *npz,
                                          deft_npz_array **array);
/* Reads bytes [offset, offset + bytes) of the values. Several threads may call it at once, each with a context of its
 * own. Once all have been read in order the checksum is compared. Error: DEFT_INVALID (damaged, or changed since). */
DEFT_MUST_CHECK deft_status deft_npz_array_read(deft_npz_array *array, deft_context *ctx, size_t offset, size_t bytes,
                                                void *data);
/* Accepts NULL. `ctx` is that of deft_npz_open. */
void deft_npz_array_close(deft_context *ctx, deft_npz_array *array);
/* Stored, not compressed, with a fixed date: equal arrays make equal files. `count` > 0; names differ.
 * Errors: DEFT_IO, DEFT_INVALID, DEFT_UNSUPPORTED (bf16). */
DEFT_MUST_CHECK deft_status deft_npz_save(deft_context *ctx, const char *path, const deft_npz_entry *entries,
                                          int count);
/* NULL where there is none of that name. */
const deft_tensor *deft_npz_find(const deft_npz *npz, const char *name);
/* Accepts a zeroed one. */
void deft_npz_done(deft_npz *npz);

#endif
