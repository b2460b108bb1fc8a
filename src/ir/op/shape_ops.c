/* Operators that name, copy and reshape: the elements stay in order. */
#include "ir/op/emit.h"
#include "ir/op/rule.h"

#include <string.h>

deft_status deft_shape_same(const deft_op_call *call) {
    return deft_rule_set_out_like(call, 0, call->in[0]);
}

deft_status deft_forward_copy(const deft_op_call *call) {
    size_t bytes = deft_tensor_bytes(call->out[0]);
    if (bytes > 0) memcpy(call->out[0]->data, call->in[0]->data, bytes);
    return DEFT_OK;
}

deft_status deft_gradient_identity(deft_gradient *gradient) {
    gradient->in_grad[0] = gradient->out_grad[0];
    return DEFT_OK;
}

deft_status deft_gradient_reshape_like(deft_gradient *gradient) {
    return deft_emit(gradient, DEFT_OP_RESHAPE_LIKE, &gradient->in_grad[0], 2, gradient->out_grad[0], gradient->in[0]);
}

/* ---- Dropout ---- */

/* In training mode (opset 12, input 2) Dropout draws random numbers: Deft has the inference mode alone. */
deft_status deft_shape_dropout(const deft_op_call *call) {
    const deft_tensor *training = call->in_count > 2 ? call->in[2] : NULL;
    bool inference = !training || (training->data && training->dtype == DEFT_BOOL && deft_tensor_count(training) == 1 &&
                                   !*(const uint8_t *)training->data);
    if (!inference)
        return deft_rule_fail(call, DEFT_UNSUPPORTED,
                              "training_mode is not a constant false; export the model in inference mode");
    if (call->out_count > 1 && call->out[1] && call->opset < 10)
        return deft_rule_fail(call, DEFT_UNSUPPORTED, "the mask output is supported from opset 10 on, this is %d",
                              call->opset);
    DEFT_TRY(deft_rule_set_out_like(call, 0, call->in[0]));
    return deft_rule_set_out(call, 1, DEFT_BOOL, call->in[0]->rank, call->in[0]->dims);
}

deft_status deft_forward_dropout(const deft_op_call *call) {
    deft_tensor *mask = call->out_count > 1 ? call->out[1] : NULL;
    if (mask) memset(mask->data, 1, deft_tensor_bytes(mask));
    return call->out[0] ? deft_forward_copy(call) : DEFT_OK;
}

/* ---- Constant ---- */

/* The value of the attribute that is there, as a tensor whose data is the attribute's. */
static deft_status read_constant(const deft_op_call *call, deft_tensor *value) {
    for (int i = 0; i < call->attrs->count; i++) {
        const deft_attr *attr = &call->attrs->items[i];
        if (strcmp(attr->name, "value") == 0 && attr->type == DEFT_ATTR_TENSOR) {
            *value = attr->tensor;
            return DEFT_OK;
        }
        *value = (deft_tensor){.rank = attr->type == DEFT_ATTR_INTS || attr->type == DEFT_ATTR_FLOATS,
                               .dims = {attr->count}};
        if (strcmp(attr->name, "value_int") == 0 && attr->type == DEFT_ATTR_INT)
            value->dtype = DEFT_I64, value->data = (void *)&attr->i;
        if (strcmp(attr->name, "value_ints") == 0 && attr->type == DEFT_ATTR_INTS)
            value->dtype = DEFT_I64, value->data = (void *)attr->ints;
        if (strcmp(attr->name, "value_float") == 0 && attr->type == DEFT_ATTR_FLOAT)
            value->dtype = DEFT_F32, value->data = (void *)&attr->f;
        if (strcmp(attr->name, "value_floats") == 0 && attr->type == DEFT_ATTR_FLOATS)
            value->dtype = DEFT_F32, value->data = (void *)attr->floats;
        if (value->dtype != 0) return DEFT_OK;
    }
    return deft_rule_fail(call, DEFT_UNSUPPORTED,
                          "needs one of the attributes value, value_int, value_ints, value_float, value_floats");
}

deft_status deft_shape_constant(const deft_op_call *call) {
    deft_tensor value;
    DEFT_TRY(read_constant(call, &value));
    return deft_rule_set_out_like(call, 0, &value);
}

deft_status deft_forward_constant(const deft_op_call *call) {
    deft_tensor value;
    DEFT_TRY(read_constant(call, &value));
    size_t bytes = deft_tensor_bytes(call->out[0]);
    if (bytes > 0) memcpy(call->out[0]->data, value.data, bytes);
    return DEFT_OK;
}

/* ---- Flatten, Reshape ---- */

deft_status deft_shape_flatten(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    int64_t axis = deft_attr_int(call->attrs, "axis", 1);
    if (axis < -x->rank || axis > x->rank)
        return deft_rule_fail(call, DEFT_INVALID, "axis %lld is outside of [%d, %d]", (long long)axis, -x->rank,
                              x->rank);
    int split = (int)(axis < 0 ? axis + x->rank : axis);
    int64_t dims[] = {deft_rule_product(x->dims, 0, split), deft_rule_product(x->dims, split, x->rank)};
    return deft_rule_set_out(call, 0, x->dtype, 2, dims);
}

static deft_status fail_reshape(const deft_op_call *call, const deft_tensor *wanted) {
    char from[DEFT_SHAPE_TEXT_BYTES], to[DEFT_SHAPE_TEXT_BYTES];
    return deft_rule_fail(call, DEFT_INVALID, "shape %s cannot become %s: the number of elements differs",
                          deft_shape_text(call->in[0], from, sizeof from), deft_shape_text(wanted, to, sizeof to));
}

/* A 0 copies the input's dimension, unless allowzero (opset 14); one -1 takes what is left. */
deft_status deft_shape_reshape(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    int64_t wanted[DEFT_MAX_RANK];
    deft_tensor out = {.dtype = x->dtype};
    bool allow_zero = deft_attr_int(call->attrs, "allowzero", 0) != 0;
    int open = -1;
    int64_t known = 1;
    DEFT_TRY(deft_rule_read_integers(call, 1, "the shape", wanted, DEFT_MAX_RANK, &out.rank));
    for (int i = 0; i < out.rank; i++) {
        out.dims[i] = wanted[i];
        if (wanted[i] == 0 && !allow_zero) {
            if (i >= x->rank)
                return deft_rule_fail(call, DEFT_INVALID, "shape[%d] is 0, but the input has only %d dimensions", i,
                                      x->rank);
            out.dims[i] = x->dims[i];
        }
        if (out.dims[i] == -1 && open < 0) {
            open = i;
            continue;
        }
        if (out.dims[i] < 0)
            return deft_rule_fail(call, DEFT_INVALID, "shape[%d] is %lld; one entry may be -1, the others not negative",
                                  i, (long long)out.dims[i]);
        if (__builtin_mul_overflow(known, out.dims[i], &known)) return fail_reshape(call, &out);
    }
    int64_t count = deft_tensor_count(x);
    if (open >= 0) {
        if (known == 0 || count % known != 0) return fail_reshape(call, &out);
        out.dims[open] = count / known;
    } else if (known != count) {
        return fail_reshape(call, &out);
    }
    return deft_rule_set_out_like(call, 0, &out);
}

deft_status deft_shape_reshape_like(const deft_op_call *call) {
    deft_tensor out = *call->in[1];
    out.dtype = call->in[0]->dtype;
    if (deft_tensor_count(&out) != deft_tensor_count(call->in[0])) return fail_reshape(call, &out);
    return deft_rule_set_out_like(call, 0, &out);
}

/* ---- Squeeze, Unsqueeze ---- */

deft_status deft_shape_squeeze(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    deft_tensor out = {.dtype = x->dtype};
    bool flags[DEFT_MAX_RANK] = {false}, given;
    DEFT_TRY(deft_rule_read_axes(call, 1, x->rank, flags, &given));
    for (int i = 0; i < x->rank; i++) {
        bool squeezed = given ? flags[i] : x->dims[i] == 1;
        if (squeezed && x->dims[i] != 1)
            return deft_rule_fail(call, DEFT_INVALID, "dimension %d is %lld; only dimensions of 1 can be squeezed", i,
                                  (long long)x->dims[i]);
        if (!squeezed) out.dims[out.rank++] = x->dims[i];
    }
    return deft_rule_set_out_like(call, 0, &out);
}

deft_status deft_shape_unsqueeze(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    const deft_tensor *input = call->in_count > 1 ? call->in[1] : NULL;
    const deft_attr *attribute = deft_attr_find(call->attrs, "axes");
    if (!input && (!attribute || attribute->type != DEFT_ATTR_INTS))
        return deft_rule_fail(call, DEFT_INVALID, "axes are missing");
    int64_t count = input ? deft_tensor_count(input) : attribute->count;
    if (count > DEFT_MAX_RANK - x->rank)
        return deft_rule_fail(call, DEFT_UNSUPPORTED, "the output would have more than %d dimensions", DEFT_MAX_RANK);
    bool flags[DEFT_MAX_RANK] = {false}, given;
    deft_tensor out = {.dtype = x->dtype, .rank = x->rank + (int)count};
    DEFT_TRY(deft_rule_read_axes(call, 1, out.rank, flags, &given));
    for (int i = 0, next = 0; i < out.rank; i++)
        out.dims[i] = flags[i] ? 1 : x->dims[next++];
    return deft_rule_set_out_like(call, 0, &out);
}
