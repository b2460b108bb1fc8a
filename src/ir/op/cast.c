/* Cast and CastLike. A float becomes an integer towards 0; narrower integers keep the low bits. */
#include "ir/op/element.h"
#include "ir/op/emit.h"
#include "ir/op/rule.h"

static deft_status set_type(const deft_op_call *call, deft_dtype dtype) {
    if (deft_dtype_bytes(dtype) == 0)
        return deft_rule_fail(call, DEFT_UNSUPPORTED, "to ONNX's data type %d, which Deft does not have", (int)dtype);
    return deft_rule_set_out(call, 0, dtype, call->in[0]->rank, call->in[0]->dims);
}

deft_status deft_shape_cast(const deft_op_call *call) {
    int64_t to = deft_attr_int(call->attrs, "to", 0);
    return set_type(call, to > 0 && to < 64 ? (deft_dtype)to : (deft_dtype)0);
}

deft_status deft_shape_cast_like(const deft_op_call *call) {
    return set_type(call, call->in[1]->dtype);
}

/* What becomes f32 most often, without asking for the types of each element; false for other types. */
static bool cast_to_f32(const deft_tensor *x, int64_t count, float *y, int threads) {
#define CAST(TYPE)                                                                                                     \
    {                                                                                                                  \
        const TYPE *from = x->data;                                                                                    \
        _Pragma("omp parallel for simd num_threads(threads)") for (int64_t i = 0; i < count; i++) y[i] =               \
            (float)(double)from[i];                                                                                    \
        return true;                                                                                                   \
    }
    switch (x->dtype) {
    case DEFT_BOOL:
    case DEFT_U8:
        CAST(uint8_t)
    case DEFT_I32:
        CAST(int32_t)
    case DEFT_I64:
        CAST(int64_t)
    case DEFT_F64:
        CAST(double)
    default:
        return false;
    }
#undef CAST
}

deft_status deft_forward_cast(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    int64_t count = deft_tensor_count(x);
    if (x->dtype == call->out[0]->dtype) return deft_forward_copy(call);
    bool reals = deft_dtype_is_float(x->dtype) || deft_dtype_is_float(call->out[0]->dtype);
    int threads = deft_rule_threads(call, count);
    if (call->out[0]->dtype == DEFT_F32 && cast_to_f32(x, count, call->out[0]->data, threads)) return DEFT_OK;
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < count; i++) {
        if (reals)
            deft_element_set_real(call->out[0], i, deft_element_real(x, i));
        else
            deft_element_set_integer(call->out[0], i, deft_element_integer(x, i));
    }
    return DEFT_OK;
}

/* The same bits as another type of as many. */
deft_status deft_shape_bit_cast(const deft_op_call *call) {
    int64_t to = deft_attr_int(call->attrs, "to", 0);
    DEFT_TRY(set_type(call, to > 0 && to < 64 ? (deft_dtype)to : (deft_dtype)0));
    if (deft_dtype_bytes((deft_dtype)to) == deft_dtype_bytes(call->in[0]->dtype)) return DEFT_OK;
    return deft_rule_fail(call, DEFT_INVALID, "%s and %s have different sizes", deft_dtype_name(call->in[0]->dtype),
                          deft_dtype_name((deft_dtype)to));
}

deft_status deft_gradient_cast(deft_gradient *gradient) {
    if (!gradient->wanted[0]) return DEFT_OK;
    return deft_emit_cast(gradient, gradient->out_grad[0], gradient->in_desc[0]->dtype, &gradient->in_grad[0]);
}
