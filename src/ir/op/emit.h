/* What gradient rules share: shorthands for emitting nodes. */
#ifndef DEFT_IR_OP_EMIT_H
#define DEFT_IR_OP_EMIT_H

#include "ir/op/op.h"

/* Emits a node without attributes; the variable arguments are its in_count (at most 8) input value ids. */
deft_status deft_emit(deft_gradient *gradient, deft_op op, int *out, int in_count, ...);
/* The same, with the attributes of the node that is differentiated. */
deft_status deft_emit_with_attrs(deft_gradient *gradient, deft_op op, int *out, int in_count, ...);
/* `value`, of the shape of the node's first output, summed to the shape of input `input`: no node where they are equal.
 */
deft_status deft_emit_sum_to(deft_gradient *gradient, int value, int input, int *out);
/* value * factor; dtype is that of `value`, f32 or f64. */
deft_status deft_emit_scaled(deft_gradient *gradient, int value, deft_dtype dtype, double factor, int *out);

#endif
