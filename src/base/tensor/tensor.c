#include "base/tensor/tensor.h"

#include "base/number/finite.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

size_t deft_dtype_bytes(deft_dtype dtype) {
    switch (dtype) {
    case DEFT_U8:
    case DEFT_I8:
    case DEFT_BOOL:
        return 1;
    case DEFT_U16:
    case DEFT_I16:
    case DEFT_F16:
    case DEFT_BF16:
        return 2;
    case DEFT_F32:
    case DEFT_I32:
    case DEFT_U32:
        return 4;
    case DEFT_F64:
    case DEFT_I64:
    case DEFT_U64:
        return 8;
    }
    return 0;
}

const char *deft_dtype_name(deft_dtype dtype) {
    switch (dtype) {
    case DEFT_F32:
        return "f32";
    case DEFT_U8:
        return "u8";
    case DEFT_I8:
        return "i8";
    case DEFT_U16:
        return "u16";
    case DEFT_I16:
        return "i16";
    case DEFT_I32:
        return "i32";
    case DEFT_I64:
        return "i64";
    case DEFT_BOOL:
        return "bool";
    case DEFT_F16:
        return "f16";
    case DEFT_F64:
        return "f64";
    case DEFT_U32:
        return "u32";
    case DEFT_U64:
        return "u64";
    case DEFT_BF16:
        return "bf16";
    }
    return "?";
}

int64_t deft_tensor_count(const deft_tensor *tensor) {
    int64_t count = 1;
    for (int i = 0; i < tensor->rank; i++)
        count *= tensor->dims[i];
    return count;
}

size_t deft_tensor_bytes(const deft_tensor *tensor) {
    return (size_t)deft_tensor_count(tensor) * deft_dtype_bytes(tensor->dtype);
}

bool deft_shape_valid(deft_dtype dtype, int rank, const int64_t *dims) {
    int64_t bytes = (int64_t)deft_dtype_bytes(dtype);
    if (bytes == 0 || rank < 0 || rank > DEFT_MAX_RANK) return false;
    /* A zero must not hide dims whose product overflows: strides are computed from these too. */
    for (int i = 0; i < rank; i++) {
        if (dims[i] < 0) return false;
        if (__builtin_mul_overflow(bytes, dims[i] ? dims[i] : 1, &bytes) || bytes > (int64_t)1 << 47) return false;
    }
    return true;
}

bool deft_shape_equal(const deft_tensor *a, const deft_tensor *b) {
    return a->rank == b->rank && memcmp(a->dims, b->dims, sizeof *a->dims * (size_t)a->rank) == 0;
}

bool deft_tensor_equal(const deft_tensor *a, const deft_tensor *b) {
    if (a->dtype != b->dtype || !deft_shape_equal(a, b)) return false;
    size_t bytes = deft_tensor_bytes(a);
    return bytes == 0 || memcmp(a->data, b->data, bytes) == 0;
}

static bool is_finite(deft_dtype dtype, const void *data, int64_t i) {
    switch (dtype) {
    case DEFT_F32:
        return isfinite(((const float *)data)[i]);
    case DEFT_F64:
        return isfinite(((const double *)data)[i]);
    case DEFT_F16:
        return (((const uint16_t *)data)[i] & 0x7c00) != 0x7c00;
    case DEFT_BF16:
        return (((const uint16_t *)data)[i] & 0x7f80) != 0x7f80;
    default:
        return true;
    }
}

int64_t deft_tensor_find_not_finite(const deft_tensor *tensor) {
    int64_t count = deft_tensor_count(tensor);
    if (tensor->dtype == DEFT_F32 && deft_all_finite(tensor->data, count)) return -1;
    for (int64_t i = 0; i < count; i++)
        if (!is_finite(tensor->dtype, tensor->data, i)) return i;
    return -1;
}

const char *deft_shape_text(const deft_tensor *tensor, char *out, size_t bytes) {
    if (tensor->rank == 0) snprintf(out, bytes, "scalar");
    size_t used = 0;
    for (int i = 0; i < tensor->rank && used < bytes; i++)
        used += (size_t)snprintf(out + used, bytes - used, "%s%lld", i ? "x" : "", (long long)tensor->dims[i]);
    return out;
}

deft_status deft_tensor_allocate(deft_context *ctx, deft_tensor *tensor) {
    if (!deft_shape_valid(tensor->dtype, tensor->rank, tensor->dims)) {
        char text[DEFT_SHAPE_TEXT_BYTES];
        return deft_fail(ctx, DEFT_INVALID, "a tensor of shape %s and type %s is not a size that memory can hold",
                         deft_shape_text(tensor, text, sizeof text), deft_dtype_name(tensor->dtype));
    }
    return deft_allocate_zeroed(ctx, 1, deft_tensor_bytes(tensor), &tensor->data);
}

bool deft_broadcast(const deft_tensor *a, const deft_tensor *b, deft_tensor *out) {
    int rank = a->rank > b->rank ? a->rank : b->rank;
    out->rank = rank;
    for (int i = 0; i < rank; i++) {
        int ai = i - (rank - a->rank), bi = i - (rank - b->rank);
        int64_t x = ai < 0 ? 1 : a->dims[ai], y = bi < 0 ? 1 : b->dims[bi];
        if (x != y && x != 1 && y != 1) return false;
        out->dims[i] = x == 1 ? y : x;
    }
    return true;
}

void deft_broadcast_strides(const deft_tensor *tensor, const deft_tensor *out, int64_t *strides) {
    int64_t stride = 1;
    for (int i = out->rank - 1; i >= 0; i--) {
        int own = i - (out->rank - tensor->rank);
        strides[i] = own < 0 || tensor->dims[own] == 1 ? 0 : stride;
        if (own >= 0) stride *= tensor->dims[own];
    }
}
