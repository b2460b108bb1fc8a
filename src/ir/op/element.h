/* One element of a tensor of any type, widened: for operators that are too rarely the bottleneck to be written for
 * every type. Reals as f64, integers as i64 (a u64 by its bits). */
#ifndef DEFT_IR_OP_ELEMENT_H
#define DEFT_IR_OP_ELEMENT_H

#include "base/number/half.h"
#include "base/tensor/tensor.h"

#include <math.h>
#include <string.h>

static inline bool deft_dtype_is_float(deft_dtype dtype) {
    return dtype == DEFT_F32 || dtype == DEFT_F64 || dtype == DEFT_F16 || dtype == DEFT_BF16;
}

/* An element of an integer type, or a bool; floats are for deft_element_real. */
static inline int64_t deft_element_integer(const deft_tensor *tensor, int64_t i) {
    switch (tensor->dtype) {
    case DEFT_I8:
        return ((const int8_t *)tensor->data)[i];
    case DEFT_I16:
        return ((const int16_t *)tensor->data)[i];
    case DEFT_U16:
        return ((const uint16_t *)tensor->data)[i];
    case DEFT_I32:
        return ((const int32_t *)tensor->data)[i];
    case DEFT_U32:
        return ((const uint32_t *)tensor->data)[i];
    case DEFT_I64:
    case DEFT_U64:
        return ((const int64_t *)tensor->data)[i];
    default:
        return ((const uint8_t *)tensor->data)[i];
    }
}

/* An element of any type. */
static inline double deft_element_real(const deft_tensor *tensor, int64_t i) {
    switch (tensor->dtype) {
    case DEFT_F32:
        return (double)((const float *)tensor->data)[i];
    case DEFT_F64:
        return ((const double *)tensor->data)[i];
    case DEFT_F16:
        return (double)deft_f16_decode(((const uint16_t *)tensor->data)[i]);
    case DEFT_BF16:
        return (double)deft_bf16_decode(((const uint16_t *)tensor->data)[i]);
    case DEFT_U64:
        return (double)((const uint64_t *)tensor->data)[i];
    default:
        return (double)deft_element_integer(tensor, i);
    }
}

/* Keeps the low bits, as a conversion to a narrower integer does; a bool is whether it is not 0. */
static inline void deft_element_set_integer(deft_tensor *tensor, int64_t i, int64_t value) {
    size_t bytes = deft_dtype_bytes(tensor->dtype);
    if (tensor->dtype == DEFT_BOOL) value = value != 0;
    memcpy((char *)tensor->data + (size_t)i * bytes, &value, bytes); /* little-endian: the first bytes are the lowest */
}

/* To an integer type: towards 0, what it cannot hold as i64 or u64 saturated first; NaN becomes 0. */
static inline void deft_element_set_real(deft_tensor *tensor, int64_t i, double value) {
    switch (tensor->dtype) {
    case DEFT_F32:
        ((float *)tensor->data)[i] = (float)value;
        return;
    case DEFT_F64:
        ((double *)tensor->data)[i] = value;
        return;
    case DEFT_F16:
        ((uint16_t *)tensor->data)[i] = deft_f16_encode((float)value);
        return;
    case DEFT_BF16:
        ((uint16_t *)tensor->data)[i] = deft_bf16_encode((float)value);
        return;
    case DEFT_BOOL:
        ((uint8_t *)tensor->data)[i] = value != 0;
        return;
    default:
        break;
    }
    int64_t integer = 0;
    if (tensor->dtype == DEFT_U64 && value >= 0x1p63)
        integer = (int64_t)(value < 0x1p64 ? (uint64_t)value : UINT64_MAX);
    else if (value >= 0x1p63)
        integer = INT64_MAX;
    else if (value > -0x1p63)
        integer = (int64_t)value;
    else if (value <= -0x1p63)
        integer = INT64_MIN;
    deft_element_set_integer(tensor, i, integer);
}

/* -1, 0 or 1 as a[i] is less than, equal to or greater than b[j], of one type; 2 where they do not compare (NaN). */
static inline int deft_element_order(const deft_tensor *a, int64_t i, const deft_tensor *b, int64_t j) {
    if (deft_dtype_is_float(a->dtype)) {
        double x = deft_element_real(a, i), y = deft_element_real(b, j);
        return isnan(x) || isnan(y) ? 2 : (x > y) - (x < y);
    }
    int64_t x = deft_element_integer(a, i), y = deft_element_integer(b, j);
    if (a->dtype == DEFT_U64) return ((uint64_t)x > (uint64_t)y) - ((uint64_t)x < (uint64_t)y);
    return (x > y) - (x < y);
}

/* to[i] = from[j], of one type. */
static inline void deft_element_copy(const deft_tensor *from, int64_t j, deft_tensor *to, int64_t i) {
    size_t bytes = deft_dtype_bytes(from->dtype);
    memcpy((char *)to->data + (size_t)i * bytes, (const char *)from->data + (size_t)j * bytes, bytes);
}

#endif
