#include "ir/op/rule.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

deft_status deft_rule_fail(const deft_op_call *call, deft_status status, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(call->ctx->message, sizeof call->ctx->message, format, arguments);
    va_end(arguments);
    return deft_fail_in(call->ctx, status, "%s '%s'", deft_ops[call->op].name, call->name ? call->name : "");
}

static bool is_real(deft_dtype dtype) {
    return dtype == DEFT_F32 || dtype == DEFT_F64;
}

deft_status deft_rule_require_real(const deft_op_call *call, int first, int last) {
    deft_dtype expected = call->in[first]->dtype;
    for (int i = first; i <= last && i < call->in_count; i++) {
        if (!call->in[i]) continue;
        deft_dtype dtype = call->in[i]->dtype;
        if (!is_real(dtype))
            return deft_rule_fail(call, DEFT_UNSUPPORTED, "input %d is %s; only f32 and f64 are supported", i,
                                  deft_dtype_name(dtype));
        if (dtype != expected)
            return deft_rule_fail(call, DEFT_INVALID, "inputs %d and %d must be of one type, got %s and %s", first, i,
                                  deft_dtype_name(expected), deft_dtype_name(dtype));
    }
    return DEFT_OK;
}

int deft_rule_types(deft_dtype dtype) {
    switch (dtype) {
    case DEFT_F32:
    case DEFT_F64:
        return DEFT_TYPES_REAL;
    case DEFT_F16:
    case DEFT_BF16:
        return DEFT_TYPES_HALF;
    case DEFT_I8:
    case DEFT_I16:
    case DEFT_I32:
    case DEFT_I64:
        return DEFT_TYPES_SIGNED;
    case DEFT_U8:
    case DEFT_U16:
    case DEFT_U32:
    case DEFT_U64:
        return DEFT_TYPES_UNSIGNED;
    case DEFT_BOOL:
        return DEFT_TYPES_BOOL;
    }
    return 0;
}

deft_status deft_rule_require_types(const deft_op_call *call, int first, int last, int types) {
    deft_dtype expected = call->in[first]->dtype;
    for (int i = first; i <= last && i < call->in_count; i++) {
        if (!call->in[i]) continue;
        deft_dtype dtype = call->in[i]->dtype;
        if (!(deft_rule_types(dtype) & types))
            return deft_rule_fail(call, DEFT_UNSUPPORTED, "input %d is %s; Deft does not have the operator for it", i,
                                  deft_dtype_name(dtype));
        if (dtype != expected)
            return deft_rule_fail(call, DEFT_INVALID, "inputs %d and %d must be of one type, got %s and %s", first, i,
                                  deft_dtype_name(expected), deft_dtype_name(dtype));
    }
    return DEFT_OK;
}

deft_status deft_rule_require_index(const deft_op_call *call, int i) {
    const deft_tensor *in = deft_rule_in(call, i);
    if (!in || in->dtype == DEFT_I64 || in->dtype == DEFT_I32) return DEFT_OK;
    return deft_rule_fail(call, DEFT_INVALID, "input %d must be i64 or i32, got %s", i, deft_dtype_name(in->dtype));
}

deft_status deft_rule_require_scalar(const deft_op_call *call, int i) {
    const deft_tensor *in = deft_rule_in(call, i);
    char text[DEFT_SHAPE_TEXT_BYTES];
    if (!in || deft_tensor_count(in) == 1) return DEFT_OK;
    return deft_rule_fail(call, DEFT_INVALID, "input %d must be a scalar, got shape %s", i,
                          deft_shape_text(in, text, sizeof text));
}

const deft_tensor *deft_rule_in(const deft_op_call *call, int i) {
    return i >= 0 && i < call->in_count ? call->in[i] : NULL;
}

deft_tensor *deft_rule_out(const deft_op_call *call, int i) {
    return i < call->out_count ? call->out[i] : NULL;
}

deft_status deft_rule_require_known(const deft_op_call *call, int i, const char *what) {
    const deft_tensor *in = call->in[i];
    if (in->data || deft_tensor_count(in) == 0) return DEFT_OK;
    if (call->waits_for) *call->waits_for = i;
    return deft_rule_fail(call, DEFT_UNSUPPORTED, "%s is computed from the inputs of the model; it must be constant",
                          what);
}

deft_status deft_rule_read_integers(const deft_op_call *call, int i, const char *what, int64_t *values, int max,
                                    int *count) {
    const deft_tensor *in = call->in[i];
    bool integers = in->dtype == DEFT_I64 || in->dtype == DEFT_I32;
    if (!integers || in->rank > 1 || deft_tensor_count(in) > max) {
        char text[DEFT_SHAPE_TEXT_BYTES];
        return deft_rule_fail(call, DEFT_INVALID, "%s must be a vector of at most %d i64, got %s %s", what, max,
                              deft_dtype_name(in->dtype), deft_shape_text(in, text, sizeof text));
    }
    DEFT_TRY(deft_rule_require_known(call, i, what));
    *count = (int)deft_tensor_count(in);
    for (int j = 0; j < *count; j++)
        values[j] = in->dtype == DEFT_I64 ? ((const int64_t *)in->data)[j] : ((const int32_t *)in->data)[j];
    return DEFT_OK;
}

deft_status deft_rule_read_list(const deft_op_call *call, int i, const char *name, int64_t *values, int max, int *count,
                                bool *given) {
    *given = true;
    if (deft_rule_in(call, i)) return deft_rule_read_integers(call, i, name, values, max, count);
    const deft_attr *attr = deft_attr_find(call->attrs, name);
    *given = attr != NULL;
    *count = 0;
    if (!attr) return DEFT_OK;
    if (attr->type != DEFT_ATTR_INTS || attr->count > max)
        return deft_rule_fail(call, DEFT_INVALID, "the attribute %s must be a list of at most %d integers", name, max);
    *count = deft_attr_ints(call->attrs, name, values, max);
    return DEFT_OK;
}

deft_status deft_rule_read_axes(const deft_op_call *call, int i, int rank, bool *flags, bool *given) {
    int64_t axes[DEFT_MAX_RANK];
    int count;
    DEFT_TRY(deft_rule_read_list(call, i, "axes", axes, DEFT_MAX_RANK, &count, given));
    if (count > rank)
        return deft_rule_fail(call, DEFT_INVALID, "%d axes are given, but there are %d dimensions", count, rank);
    for (int j = 0; j < rank; j++)
        flags[j] = false;
    for (int j = 0; j < count; j++) {
        int axis = 0;
        DEFT_TRY(deft_rule_axis(call, axes[j], rank, &axis));
        if (flags[axis]) return deft_rule_fail(call, DEFT_INVALID, "axis %d is given twice", axis);
        flags[axis] = true;
    }
    return DEFT_OK;
}

deft_status deft_rule_require_shape(const deft_op_call *call, int i, const deft_tensor *expected, const char *what) {
    const deft_tensor *got = call->in[i];
    if (got->dtype == expected->dtype && deft_shape_equal(got, expected)) return DEFT_OK;
    char expected_text[DEFT_SHAPE_TEXT_BYTES], got_text[DEFT_SHAPE_TEXT_BYTES];
    return deft_rule_fail(call, DEFT_INVALID, "input %d must be %s, %s %s, got %s %s", i, what,
                          deft_dtype_name(expected->dtype),
                          deft_shape_text(expected, expected_text, sizeof expected_text), deft_dtype_name(got->dtype),
                          deft_shape_text(got, got_text, sizeof got_text));
}

deft_status deft_rule_require_same(const deft_op_call *call, int i, int j) {
    char what[32];
    snprintf(what, sizeof what, "like input %d", j);
    return deft_rule_require_shape(call, i, call->in[j], what);
}

deft_status deft_rule_require_rank(const deft_op_call *call, int i, int rank, bool exactly) {
    const deft_tensor *in = call->in[i];
    if (exactly ? in->rank == rank : in->rank >= rank) return DEFT_OK;
    char text[DEFT_SHAPE_TEXT_BYTES];
    return deft_rule_fail(call, DEFT_INVALID, "input %d must have %s %d dimensions, got shape %s", i,
                          exactly ? "exactly" : "at least", rank, deft_shape_text(in, text, sizeof text));
}

deft_status deft_rule_set_out(const deft_op_call *call, int index, deft_dtype dtype, int rank, const int64_t *dims) {
    if (rank > DEFT_MAX_RANK)
        return deft_rule_fail(call, DEFT_UNSUPPORTED, "output %d would have %d dimensions; at most %d are supported",
                              index, rank, DEFT_MAX_RANK);
    deft_tensor shape = {.dtype = dtype, .rank = rank};
    for (int i = 0; i < rank; i++)
        shape.dims[i] = dims[i];
    if (!deft_shape_valid(dtype, rank, dims)) {
        char text[DEFT_SHAPE_TEXT_BYTES];
        return deft_rule_fail(call, DEFT_INVALID, "output %d would be %s %s, not a size that memory can hold", index,
                              deft_dtype_name(dtype), deft_shape_text(&shape, text, sizeof text));
    }
    if (index >= call->out_count || !call->out[index]) return DEFT_OK;
    shape.data = call->out[index]->data;
    *call->out[index] = shape;
    return DEFT_OK;
}

deft_status deft_rule_set_out_like(const deft_op_call *call, int index, const deft_tensor *tensor) {
    return deft_rule_set_out(call, index, tensor->dtype, tensor->rank, tensor->dims);
}

deft_status deft_rule_axis(const deft_op_call *call, int64_t axis, int rank, int *out) {
    if (axis < -rank || axis >= rank)
        return deft_rule_fail(call, DEFT_INVALID, "axis %lld is outside of [%d, %d), the input's dimensions",
                              (long long)axis, -rank, rank);
    *out = (int)(axis < 0 ? axis + rank : axis);
    return DEFT_OK;
}

void deft_rule_strides(const deft_tensor *tensor, int64_t *strides) {
    int64_t stride = 1;
    for (int i = tensor->rank - 1; i >= 0; i--) {
        strides[i] = stride;
        stride *= tensor->dims[i];
    }
}

deft_lines deft_rule_lines(const deft_tensor *tensor, int axis) {
    return (deft_lines){deft_rule_product(tensor->dims, 0, axis), tensor->dims[axis],
                        deft_rule_product(tensor->dims, axis + 1, tensor->rank)};
}

int64_t deft_rule_product(const int64_t *dims, int first, int last) {
    int64_t product = 1;
    for (int i = first; i < last; i++)
        product *= dims[i];
    return product;
}

deft_status deft_rule_by_real(const deft_op_call *call, deft_op_forward_fn f32, deft_op_forward_fn f64) {
    switch (call->in[0]->dtype) {
    case DEFT_F32:
        return f32(call);
    case DEFT_F64:
        return f64(call);
    default:
        return deft_rule_fail(call, DEFT_UNSUPPORTED, "no implementation for %s; only f32 and f64 are supported",
                              deft_dtype_name(call->in[0]->dtype));
    }
}

int deft_rule_threads(const deft_op_call *call, int64_t work) {
    enum { WORTH_A_TEAM = 1 << 15 };
    return work < WORTH_A_TEAM || call->threads < 1 ? 1 : call->threads;
}
