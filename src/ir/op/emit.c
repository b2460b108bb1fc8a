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
    return gradient->emit(gradient, op, NULL, 0, in, in_count, out);
}

deft_status deft_emit_with_attrs(deft_gradient *gradient, deft_op op, int *out, int in_count, ...) {
    int in[MAX_EMITTED_INPUTS];
    va_list arguments;
    va_start(arguments, in_count);
    collect(arguments, in_count, in);
    va_end(arguments);
    return gradient->emit(gradient, op, gradient->attrs->items, gradient->attrs->count, in, in_count, out);
}

deft_status deft_emit_sum_to(deft_gradient *gradient, int value, int input, int *out) {
    if (deft_shape_equal(gradient->in_desc[input], gradient->out_desc[0])) {
        *out = value;
        return DEFT_OK;
    }
    return deft_emit(gradient, DEFT_OP_SUM_TO, out, 2, value, gradient->in[input]);
}

deft_status deft_emit_scaled(deft_gradient *gradient, int value, deft_dtype dtype, double factor, int *out) {
    float narrow = (float)factor;
    deft_attr attr = {.name = "value",
                      .type = DEFT_ATTR_TENSOR,
                      .tensor = {.dtype = dtype, .data = dtype == DEFT_F64 ? (void *)&factor : (void *)&narrow}};
    int constant;
    DEFT_TRY(gradient->emit(gradient, DEFT_OP_CONSTANT, &attr, 1, NULL, 0, &constant));
    return deft_emit(gradient, DEFT_OP_MUL, out, 2, value, constant);
}
