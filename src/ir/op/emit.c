#include "ir/op/emit.h"

#include <stdarg.h>

enum { MAX_EMITTED_INPUTS = 8 };

static void collect(va_list arguments, int count, int *in) {
    for (int i = 0; i < count; i++)
        in[i] = va_arg(arguments, int);
}

deft_status deft_emit(deft_gradient *gradient, deft_op op, int *out, int in_count, ...) {
    int in[MAX_EMITTED_INPUTS];
    va_list arguments;
    va_start(arguments, in_count);
    collect(arguments, in_count, in);
    va_end(arguments);
    return gradient->emit(gradient, op, NULL, 0, in, in_count, out, 1);
}

deft_status deft_emit_with_attrs(deft_gradient *gradient, deft_op op, int *out, int in_count, ...) {
    int in[MAX_EMITTED_INPUTS];
    va_list arguments;
    va_start(arguments, in_count);
    collect(arguments, in_count, in);
    va_end(arguments);
    return gradient->emit(gradient, op, gradient->attrs->items, gradient->attrs->count, in, in_count, out, 1);
}

deft_status deft_emit_sum_to(deft_gradient *gradient, int value, int input, int *out) {
    if (deft_shape_equal(gradient->in_desc[input], gradient->out_desc[0])) {
        *out = value;
        return DEFT_OK;
    }
    return deft_emit(gradient, DEFT_OP_SUM_TO, out, 2, value, gradient->in[input]);
}

deft_status deft_emit_tensor(deft_gradient *gradient, const deft_tensor *tensor, int *out) {
    deft_attr attr = {.name = "value", .type = DEFT_ATTR_TENSOR, .tensor = *tensor};
    return gradient->emit(gradient, DEFT_OP_CONSTANT, &attr, 1, NULL, 0, out, 1);
}

deft_status deft_emit_number(deft_gradient *gradient, deft_dtype dtype, double number, int *out) {
    float narrow = (float)number;
    deft_tensor tensor = {.dtype = dtype, .data = dtype == DEFT_F64 ? (void *)&number : (void *)&narrow};
    return deft_emit_tensor(gradient, &tensor, out);
}

deft_status deft_emit_integers(deft_gradient *gradient, int count, const int64_t *integers, int *out) {
    deft_tensor tensor = {.dtype = DEFT_I64, .rank = 1, .dims = {count}, .data = (void *)integers};
    return deft_emit_tensor(gradient, &tensor, out);
}

deft_status deft_emit_scaled(deft_gradient *gradient, int value, deft_dtype dtype, double factor, int *out) {
    int constant;
    DEFT_TRY(deft_emit_number(gradient, dtype, factor, &constant));
    return deft_emit(gradient, DEFT_OP_MUL, out, 2, value, constant);
}

deft_status deft_emit_cast(deft_gradient *gradient, int value, deft_dtype dtype, int *out) {
    deft_attr to = {.name = "to", .type = DEFT_ATTR_INT, .i = dtype};
    return gradient->emit(gradient, DEFT_OP_CAST, &to, 1, &value, 1, out, 1);
}

enum { MAX_ATTRS = 16 };

deft_status deft_emit_of(deft_gradient *gradient, deft_op op, const int *in, int in_count, int *out, int out_count) {
    deft_attr attrs[MAX_ATTRS];
    int count = gradient->attrs->count;
    if (count >= MAX_ATTRS)
        return deft_fail(gradient->ctx, DEFT_UNSUPPORTED, "%d attributes; at most %d are expected", count,
                         MAX_ATTRS - 1);
    for (int i = 0; i < count; i++)
        attrs[i] = gradient->attrs->items[i];
    attrs[count] = (deft_attr){.name = "of", .type = DEFT_ATTR_INT, .i = gradient->op};
    return gradient->emit(gradient, op, attrs, count + 1, in, in_count, out, out_count);
}

deft_op_call deft_gradient_call(const deft_gradient *gradient) {
    return (deft_op_call){.ctx = gradient->ctx,
                          .name = gradient->name,
                          .op = gradient->op,
                          .attrs = gradient->attrs,
                          .opset = gradient->opset,
                          .in_count = gradient->in_count,
                          .in = gradient->in_desc,
                          .threads = 1};
}

deft_status deft_emit_turned(deft_gradient *gradient, int value, int rank, int *out) {
    int64_t perm[DEFT_MAX_RANK];
    for (int i = 0; i < rank; i++)
        perm[i] = i;
    perm[rank - 1] = rank - 2;
    perm[rank - 2] = rank - 1;
    deft_attr attr = {.name = "perm", .type = DEFT_ATTR_INTS, .count = rank, .ints = perm};
    return gradient->emit(gradient, DEFT_OP_TRANSPOSE, &attr, 1, &value, 1, out, 1);
}

deft_status deft_emit_reshaped(deft_gradient *gradient, int value, int rank, const int64_t *dims, int *out) {
    int shape;
    DEFT_TRY(deft_emit_integers(gradient, rank, dims, &shape));
    return deft_emit(gradient, DEFT_OP_RESHAPE, out, 2, value, shape);
}

deft_status deft_emit_expanded(deft_gradient *gradient, int value, int rank, const int64_t *dims, int *out) {
    int shape;
    DEFT_TRY(deft_emit_integers(gradient, rank, dims, &shape));
    return deft_emit(gradient, DEFT_OP_EXPAND, out, 2, value, shape);
}

deft_status deft_emit_reduced(deft_gradient *gradient, deft_op op, int value, int rank, const bool *reduced, int *out) {
    int64_t axes[DEFT_MAX_RANK], count = 0;
    for (int i = 0; i < rank; i++)
        if (reduced[i]) axes[count++] = i;
    const deft_attr attrs[] = {{.name = "axes", .type = DEFT_ATTR_INTS, .count = count, .ints = axes},
                               {.name = "noop_with_empty_axes", .type = DEFT_ATTR_INT, .i = 1}};
    return gradient->emit(gradient, op, attrs, 2, &value, 1, out, 1);
}

deft_status deft_emit_slice(deft_gradient *gradient, int value, int64_t axis, int64_t start, int64_t end, int *out) {
    int starts, ends, axes;
    if (gradient->opset < 10) {
        const deft_attr attrs[] = {{.name = "starts", .type = DEFT_ATTR_INTS, .count = 1, .ints = &start},
                                   {.name = "ends", .type = DEFT_ATTR_INTS, .count = 1, .ints = &end},
                                   {.name = "axes", .type = DEFT_ATTR_INTS, .count = 1, .ints = &axis}};
        return gradient->emit(gradient, DEFT_OP_SLICE, attrs, 3, &value, 1, out, 1);
    }
    DEFT_TRY(deft_emit_integers(gradient, 1, &start, &starts));
    DEFT_TRY(deft_emit_integers(gradient, 1, &end, &ends));
    DEFT_TRY(deft_emit_integers(gradient, 1, &axis, &axes));
    return deft_emit(gradient, DEFT_OP_SLICE, out, 4, value, starts, ends, axes);
}
