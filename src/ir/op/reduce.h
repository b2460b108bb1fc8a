/* Reductions: a tensor's dimensions told apart into those that are kept and those that are reduced away. */
#ifndef DEFT_IR_OP_REDUCE_H
#define DEFT_IR_OP_REDUCE_H

#include "ir/op/nest.h"
#include "ir/op/op.h"

/* For each element of the kept dimensions, in order, outer gives the offset of the first element that is reduced to it,
 * and inner those of all, counted from there. */
typedef struct deft_reduction {
    deft_nest outer, inner;
} deft_reduction;

/* reduced[tensor->rank]: which dimensions. */
void deft_reduction_init(deft_reduction *reduction, const deft_tensor *tensor, const bool *reduced);

/* Which dimensions of its input a reduction reduces: reduced[rank]. Without axes all, or none where
 * noop_with_empty_axes is set. Error: DEFT_INVALID. */
DEFT_MUST_CHECK deft_status deft_reduction_axes(const deft_op_call *call, bool *reduced);

#endif
