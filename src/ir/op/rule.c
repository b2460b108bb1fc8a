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
    memcpy(shape.dims, dims, sizeof *dims * (size_t)rank);
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
