/* What the rules of the operators share: failures that name the node, checks of inputs, the type of a forward. */
#ifndef DEFT_IR_OP_RULE_H
#define DEFT_IR_OP_RULE_H

#include "ir/op/op.h"

/* deft_fail with "Conv 'name': " before the message. */
deft_status deft_rule_fail(const deft_op_call *call, deft_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* DEFT_UNSUPPORTED unless in[i], for i in [first, last], is f32 or f64, all of them the same; absent ones pass. */
deft_status deft_rule_require_real(const deft_op_call *call, int first, int last);
/* DEFT_INVALID unless in[i] and in[j] have the same type and shape. */
deft_status deft_rule_require_same(const deft_op_call *call, int i, int j);
/* DEFT_INVALID unless in[i] has the shape and type of `expected`, which is `what`. */
deft_status deft_rule_require_shape(const deft_op_call *call, int i, const deft_tensor *expected, const char *what);
/* DEFT_INVALID unless in[i] has at least `rank` dimensions, or exactly so many. */
deft_status deft_rule_require_rank(const deft_op_call *call, int i, int rank, bool exactly);

/* Sets the shape of an output, where it is not absent. DEFT_INVALID for a size that memory cannot hold. */
deft_status deft_rule_set_out(const deft_op_call *call, int index, deft_dtype dtype, int rank, const int64_t *dims);
deft_status deft_rule_set_out_like(const deft_op_call *call, int index, const deft_tensor *tensor);

/* An axis in [-rank, rank) as one in [0, rank). Error: DEFT_INVALID. */
deft_status deft_rule_axis(const deft_op_call *call, int64_t axis, int rank, int *out);

/* Product of dims[first] .. dims[last - 1]. */
int64_t deft_rule_product(const int64_t *dims, int first, int last);

/* Runs the f32 or the f64 body of a forward (each_real.h), by the type of in[0]. */
deft_status deft_rule_by_real(const deft_op_call *call, deft_op_forward_fn f32, deft_op_forward_fn f64);

/* How many threads `work` elementary operations are worth: 1 where starting them would take longer. */
int deft_rule_threads(const deft_op_call *call, int64_t work);

#endif
