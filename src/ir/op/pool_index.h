/* Max pooling of any type that tells where it found the maxima. */
#ifndef DEFT_IR_OP_POOL_INDEX_H
#define DEFT_IR_OP_POOL_INDEX_H

#include "ir/op/op.h"

/* MaxPool's forward for in[0] of any number type, in one to three spatial dimensions; out[1], the positions, may be
 * absent. A window of padding alone has the least value of the type, and the position -1. */
deft_status deft_pool_max_indexed(const deft_op_call *call);

#endif
