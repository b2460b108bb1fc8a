/* Elements moved by strides: what Transpose, Slice, Expand and their like come down to. */
#ifndef DEFT_IR_OP_MOVE_H
#define DEFT_IR_OP_MOVE_H

#include "ir/op/op.h"

/* Fills `to`, row-major of these dims, with to[i0, i1, ...] = from[i0 * strides[0] + i1 * strides[1] + ...]: elements
 * of `bytes` (1, 2, 4 or 8), strides in elements, also 0 or negative. */
void deft_move_strided(const deft_op_call *call, size_t bytes, const void *from, int rank, const int64_t *dims,
                       const int64_t *strides, void *to);

#endif
