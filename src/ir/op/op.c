#include "ir/op/op.h"

#include <string.h>

const deft_op_info deft_ops[DEFT_OP_COUNT] = {
#define DEFT_OP(ENUM, NAME, DOMAIN, MIN_IN, MAX_IN, MIN_OUT, MAX_OUT, SHAPE, FORWARD, GRADIENT, SUMMARY)               \
    [DEFT_OP_##ENUM] = {NAME,                                                                                          \
                        DOMAIN,                                                                                        \
                        MIN_IN,                                                                                        \
                        MAX_IN,                                                                                        \
                        MIN_OUT,                                                                                       \
                        MAX_OUT,                                                                                       \
                        deft_shape_##SHAPE,                                                                            \
                        deft_forward_##FORWARD,                                                                        \
                        deft_gradient_##GRADIENT,                                                                      \
                        SUMMARY},
#include "ir/op/ops.def"
#undef DEFT_OP
};

#define DEFT_OP(ENUM, NAME, DOMAIN, MIN_IN, MAX_IN, MIN_OUT, MAX_OUT, ...)                                             \
    _Static_assert(((MAX_IN) <= DEFT_MAX_ARITY || (MAX_IN) == DEFT_ANY_ARITY) &&                                       \
                       ((MAX_OUT) <= DEFT_MAX_ARITY || (MAX_OUT) == DEFT_ANY_ARITY),                                   \
                   "arity of " NAME);
#include "ir/op/ops.def"
#undef DEFT_OP

deft_op deft_op_find(const char *domain, const char *name) {
    if (strcmp(domain, "ai.onnx") == 0) domain = "";
    for (int i = 0; i < DEFT_OP_COUNT; i++)
        if (strcmp(deft_ops[i].name, name) == 0 && strcmp(deft_ops[i].domain, domain) == 0) return (deft_op)i;
    return DEFT_OP_COUNT;
}

deft_status deft_op_forward(const deft_op_call *call) {
    bool empty = true;
    for (int i = 0; i < call->out_count; i++)
        empty &= !call->out[i] || deft_tensor_count(call->out[i]) == 0;
    return empty ? DEFT_OK : deft_ops[call->op].forward(call);
}

deft_status deft_gradient_none(deft_gradient *gradient) {
    return deft_fail(gradient->ctx, DEFT_UNSUPPORTED,
                     "the operator has no gradient: nothing can be trained through it");
}
