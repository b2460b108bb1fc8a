/* Operators whose output's elements come from shapes, positions and few values: Shape, Size, ConstantOfShape, EyeLike,
 * Range, OneHot, NonZero. */
#include "ir/op/element.h"
#include "ir/op/rule.h"

#include <math.h>
#include <string.h>

/* ---- Shape, Size ---- */

/* From opset 15 on a slice of the dims; bounds outside of them are moved to their ends. */
static void shape_range(const deft_op_call *call, int *start, int *end) {
    int rank = call->in[0]->rank;
    int64_t bounds[] = {deft_attr_int(call->attrs, "start", 0), deft_attr_int(call->attrs, "end", rank)};
    for (int i = 0; i < 2; i++) {
        if (bounds[i] < 0) bounds[i] += rank;
        bounds[i] = bounds[i] < 0 ? 0 : bounds[i] > rank ? rank : bounds[i];
    }
    *start = (int)bounds[0];
    *end = (int)(bounds[1] < bounds[0] ? bounds[0] : bounds[1]);
}

deft_status deft_shape_shape(const deft_op_call *call) {
    int start, end;
    shape_range(call, &start, &end);
    return deft_rule_set_out(call, 0, DEFT_I64, 1, &(int64_t){end - start});
}

deft_status deft_forward_shape(const deft_op_call *call) {
    int start, end;
    shape_range(call, &start, &end);
    for (int i = start; i < end; i++)
        ((int64_t *)call->out[0]->data)[i - start] = call->in[0]->dims[i];
    return DEFT_OK;
}

deft_status deft_shape_size(const deft_op_call *call) {
    return deft_rule_set_out(call, 0, DEFT_I64, 0, NULL);
}

deft_status deft_forward_size(const deft_op_call *call) {
    *(int64_t *)call->out[0]->data = deft_tensor_count(call->in[0]);
    return DEFT_OK;
}

/* ---- ConstantOfShape, EyeLike ---- */

deft_status deft_shape_constant_of_shape(const deft_op_call *call) {
    const deft_attr *value = deft_attr_find(call->attrs, "value");
    deft_tensor out = {.dtype = DEFT_F32};
    if (value && (value->type != DEFT_ATTR_TENSOR || deft_tensor_count(&value->tensor) != 1))
        return deft_rule_fail(call, DEFT_INVALID, "the attribute value must be a tensor of one element");
    if (value) out.dtype = value->tensor.dtype;
    DEFT_TRY(deft_rule_read_integers(call, 0, "the shape", out.dims, DEFT_MAX_RANK, &out.rank));
    return deft_rule_set_out_like(call, 0, &out);
}

deft_status deft_forward_constant_of_shape(const deft_op_call *call) {
    const deft_attr *value = deft_attr_find(call->attrs, "value");
    int64_t count = deft_tensor_count(call->out[0]);
    if (!value) memset(call->out[0]->data, 0, deft_tensor_bytes(call->out[0]));
    for (int64_t i = 0; value && i < count; i++)
        deft_element_copy(&value->tensor, 0, call->out[0], i);
    return DEFT_OK;
}

deft_status deft_shape_eye_like(const deft_op_call *call) {
    int64_t dtype = deft_attr_int(call->attrs, "dtype", call->in[0]->dtype);
    DEFT_TRY(deft_rule_require_rank(call, 0, 2, true));
    if (dtype < 1 || dtype > 64 || deft_dtype_bytes((deft_dtype)dtype) == 0)
        return deft_rule_fail(call, DEFT_UNSUPPORTED, "in ONNX's data type %lld, which Deft does not have",
                              (long long)dtype);
    return deft_rule_set_out(call, 0, (deft_dtype)dtype, 2, call->in[0]->dims);
}

deft_status deft_forward_eye_like(const deft_op_call *call) {
    deft_tensor *y = call->out[0];
    int64_t k = deft_attr_int(call->attrs, "k", 0);
    memset(y->data, 0, deft_tensor_bytes(y));
    for (int64_t row = 0; row < y->dims[0]; row++) {
        if (k < -row || k >= y->dims[1] - row) continue;
        deft_element_set_real(y, row * y->dims[1] + row + k, 1);
    }
    return DEFT_OK;
}

/* ---- Range ---- */

deft_status deft_shape_range(const deft_op_call *call) {
    static const char *const names[] = {"start", "limit", "delta"};
    DEFT_TRY(deft_rule_require_types(call, 0, 2, DEFT_TYPES_NUMBER));
    double values[3];
    for (int i = 0; i < 3; i++) {
        DEFT_TRY(deft_rule_require_scalar(call, i));
        DEFT_TRY(deft_rule_require_known(call, i, names[i]));
        values[i] = deft_element_real(call->in[i], 0);
    }
    double count = ceil((values[1] - values[0]) / values[2]);
    if (!(count < 0x1p47) || values[2] == 0)
        return deft_rule_fail(call, DEFT_INVALID, "from %g to %g by %g does not end", values[0], values[1], values[2]);
    return deft_rule_set_out(call, 0, call->in[0]->dtype, 1, &(int64_t){count > 0 ? (int64_t)count : 0});
}

deft_status deft_forward_range(const deft_op_call *call) {
    deft_tensor *y = call->out[0];
    bool reals = deft_dtype_is_float(y->dtype);
    double start = deft_element_real(call->in[0], 0), delta = deft_element_real(call->in[2], 0);
    uint64_t first = reals ? 0 : (uint64_t)deft_element_integer(call->in[0], 0);
    uint64_t step = reals ? 0 : (uint64_t)deft_element_integer(call->in[2], 0);
    for (int64_t i = 0; i < y->dims[0]; i++) {
        if (reals)
            deft_element_set_real(y, i, start + (double)i * delta);
        else
            deft_element_set_integer(y, i, (int64_t)(first + (uint64_t)i * step));
    }
    return DEFT_OK;
}

/* ---- OneHot ---- */

deft_status deft_shape_one_hot(const deft_op_call *call) {
    const deft_tensor *indices = call->in[0];
    int axis, rank = indices->rank + 1;
    DEFT_TRY(deft_rule_require_types(call, 0, 0, DEFT_TYPES_NUMBER));
    DEFT_TRY(deft_rule_require_types(call, 1, 1, DEFT_TYPES_NUMBER));
    DEFT_TRY(deft_rule_require_scalar(call, 1));
    DEFT_TRY(deft_rule_require_known(call, 1, "the depth"));
    if (deft_tensor_count(call->in[2]) != 2)
        return deft_rule_fail(call, DEFT_INVALID, "input 2 must have two values, off and on");
    DEFT_TRY(deft_rule_axis(call, deft_attr_int(call->attrs, "axis", -1), rank, &axis));
    double depth = deft_element_real(call->in[1], 0);
    if (!(depth >= 0 && depth < 0x1p47))
        return deft_rule_fail(call, DEFT_INVALID, "the depth is %g; it must not be negative", depth);
    int64_t dims[DEFT_MAX_RANK + 1];
    for (int i = 0; i < rank; i++)
        dims[i] = i < axis ? indices->dims[i] : i == axis ? (int64_t)depth : indices->dims[i - 1];
    return deft_rule_set_out(call, 0, call->in[2]->dtype, rank, dims);
}

/* An index in [-depth, depth); others are off everywhere. */
deft_status deft_forward_one_hot(const deft_op_call *call) {
    deft_tensor *y = call->out[0];
    int axis;
    DEFT_TRY(deft_rule_axis(call, deft_attr_int(call->attrs, "axis", -1), y->rank, &axis));
    deft_lines lines = deft_rule_lines(y, axis);
    for (int64_t i = 0; i < deft_tensor_count(y); i++)
        deft_element_copy(call->in[2], 0, y, i);
    for (int64_t line = 0; line < lines.outer * lines.inner; line++) {
        double index = deft_element_real(call->in[0], line);
        if (index < 0) index += (double)lines.length;
        if (!(index >= 0 && index < (double)lines.length)) continue;
        deft_element_copy(call->in[2], 1, y, deft_rule_line(&lines, line) + (int64_t)index * lines.inner);
    }
    return DEFT_OK;
}

/* ---- NonZero ---- */

/* The output's shape depends on the values, so that these must be known. */
deft_status deft_shape_non_zero(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    int64_t found = 0;
    DEFT_TRY(deft_rule_require_types(call, 0, 0, DEFT_TYPES_ANY));
    DEFT_TRY(deft_rule_require_known(call, 0, "the tensor, whose values its shape depends on,"));
    for (int64_t i = 0; i < deft_tensor_count(x); i++)
        found += deft_element_real(x, i) != 0;
    return deft_rule_set_out(call, 0, DEFT_I64, 2, (int64_t[]){x->rank, found});
}

deft_status deft_forward_non_zero(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    int64_t *y = call->out[0]->data, columns = call->out[0]->dims[1], column = 0;
    for (int64_t i = 0; i < deft_tensor_count(x) && column < columns; i++) {
        if (deft_element_real(x, i) == 0) continue;
        int64_t rest = i;
        for (int dim = x->rank - 1; dim >= 0; dim--) {
            y[dim * columns + column] = rest % x->dims[dim];
            rest /= x->dims[dim];
        }
        column++;
    }
    return DEFT_OK;
}
