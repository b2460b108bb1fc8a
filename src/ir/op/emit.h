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
/* A constant: with the tensor's data; a scalar, f32 or f64; a vector of i64. */
deft_status deft_emit_tensor(deft_gradient *gradient, const deft_tensor *tensor, int *out);
deft_status deft_emit_number(deft_gradient *gradient, deft_dtype dtype, double number, int *out);
deft_status deft_emit_integers(deft_gradient *gradient, int count, const int64_t *integers, int *out);
deft_status deft_emit_cast(deft_gradient *gradient, int value, deft_dtype dtype, int *out);
/* `value` in another shape; repeated to a shape. */
deft_status deft_emit_reshaped(deft_gradient *gradient, int value, int rank, const int64_t *dims, int *out);
deft_status deft_emit_expanded(deft_gradient *gradient, int value, int rank, const int64_t *dims, int *out);
/* `value`, of `rank` dimensions, with the last two swapped. */
deft_status deft_emit_turned(deft_gradient *gradient, int value, int rank, int *out);
/* A reduction of `value`, of `rank` dimensions, of which the reduced ones stay as 1. */
deft_status deft_emit_reduced(deft_gradient *gradient, deft_op op, int value, int rank, const bool *reduced, int *out);
/* Elements [start, end) along an axis. */
deft_status deft_emit_slice(deft_gradient *gradient, int value, int64_t axis, int64_t start, int64_t end, int *out);
/* A node with the attributes of the one that is differentiated, and its operator as the attribute "of": for backward
 * operators that several forward ones share. */
deft_status deft_emit_of(deft_gradient *gradient, deft_op op, const int *in, int in_count, int *out, int out_count);
/* The node that is differentiated as a shape rule sees it, without outputs: to read its attributes by the same
 * functions. */
deft_op_call deft_gradient_call(const deft_gradient *gradient);
/* value * factor; dtype is that of `value`, f32 or f64. */
deft_status deft_emit_scaled(deft_gradient *gradient, int value, deft_dtype dtype, double factor, int *out);

#endif
