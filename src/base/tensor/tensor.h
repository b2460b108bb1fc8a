/* Tensors: sizes with overflow checks, allocation, comparison, broadcasting. */
#ifndef DEFT_BASE_TENSOR_TENSOR_H
#define DEFT_BASE_TENSOR_TENSOR_H

#include "base/core/context.h"

/* Bytes of one element; 0 for a type that Deft does not know. */
size_t deft_dtype_bytes(deft_dtype dtype);
/* "f32", "i64", ...; "?" for an unknown one. */
const char *deft_dtype_name(deft_dtype dtype);

/* Number of elements; 1 for a scalar. The dims must have been checked (deft_shape_check). */
int64_t deft_tensor_count(const deft_tensor *tensor);
size_t deft_tensor_bytes(const deft_tensor *tensor);
/* True where every dim is >= 0 and the bytes fit in 2^47. */
bool deft_shape_valid(deft_dtype dtype, int rank, const int64_t *dims);
bool deft_shape_equal(const deft_tensor *a, const deft_tensor *b);
/* Same dtype, shape and bit pattern. */
bool deft_tensor_equal(const deft_tensor *a, const deft_tensor *b);
/* The index of the first element that is infinite or no number, or -1; integers all are numbers. */
int64_t deft_tensor_find_not_finite(const deft_tensor *tensor);
/* "2x3x224x224", "scalar": for messages. Returns `out`. */
const char *deft_shape_text(const deft_tensor *tensor, char *out, size_t bytes);
#define DEFT_SHAPE_TEXT_BYTES 192

/* Allocates zeroed data for the dtype and dims that are set. Released with deft_release(ctx, tensor->data).
 * Errors: DEFT_MEMORY, DEFT_INVALID (a size that overflows). */
DEFT_MUST_CHECK deft_status deft_tensor_allocate(deft_context *ctx, deft_tensor *tensor);

/* The shape of a broadcast with b (ONNX/NumPy rules), into `out` (rank and dims only); false where they do not fit. */
bool deft_broadcast(const deft_tensor *a, const deft_tensor *b, deft_tensor *out);
/* Element strides of `tensor` seen at the shape `out`: 0 along broadcast dimensions. strides[out->rank]. */
void deft_broadcast_strides(const deft_tensor *tensor, const deft_tensor *out, int64_t *strides);

#endif
