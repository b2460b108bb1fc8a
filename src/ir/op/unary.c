/* Functions of one element: y[i] = f(x[i]), f perhaps with two parameters. Floats; Abs, Neg and Sign of integers too.
 * Relu, Clip, Sigmoid and Tanh, which training needs, are in activation.c. */
#include "ir/op/element.h"
#include "ir/op/emit.h"
#include "ir/op/rule.h"

#include <math.h>

/* The attributes of an operator, in the order in which its formula names them, and their defaults. */
typedef struct parameters {
    const char *names[2];
    float defaults[2];
} parameters;

static parameters parameters_of(deft_op op) {
    switch (op) {
    case DEFT_OP_LEAKY_RELU:
        return (parameters){{"alpha"}, {0.01f}};
    case DEFT_OP_ELU:
    case DEFT_OP_THRESHOLDED_RELU:
    case DEFT_OP_CELU:
    case DEFT_OP_SWISH:
        return (parameters){{"alpha"}, {1}};
    case DEFT_OP_SELU:
        return (parameters){{"alpha", "gamma"}, {1.67326319217681884765625f, 1.05070102214813232421875f}};
    case DEFT_OP_HARD_SIGMOID:
        return (parameters){{"alpha", "beta"}, {0.2f, 0.5f}};
    case DEFT_OP_SHRINK:
        return (parameters){{"lambd", "bias"}, {0.5f, 0}};
    default:
        return (parameters){{NULL}, {0}};
    }
}

static void read_parameters(deft_op op, const deft_attrs *attrs, float out[2]) {
    parameters wanted = parameters_of(op);
    for (int i = 0; i < 2; i++)
        out[i] = wanted.names[i] ? deft_attr_float(attrs, wanted.names[i], wanted.defaults[i]) : 0;
    if (op == DEFT_OP_GELU) out[0] = deft_attr_string(attrs, "approximate", "none")[0] == 't';
}

/* Which operator a UnaryGrad is of. */
static deft_op differentiated(const deft_op_call *call) {
    return (deft_op)deft_attr_int(call->attrs, "of", DEFT_OP_COUNT);
}

#define BODY "ir/op/unary_body.h"
#include "ir/op/each_real.h"

#define BODY "ir/op/unary_grad_body.h"
#include "ir/op/each_real.h"

deft_status deft_shape_unary(const deft_op_call *call) {
    bool integers = call->op == DEFT_OP_ABS || call->op == DEFT_OP_NEG || call->op == DEFT_OP_SIGN;
    DEFT_TRY(deft_rule_require_types(call, 0, 0, integers ? DEFT_TYPES_NUMBER : DEFT_TYPES_FLOAT));
    return deft_rule_set_out_like(call, 0, call->in[0]);
}

static void unary_half(const deft_op_call *call) {
    float parameter[2];
    read_parameters(call->op, call->attrs, parameter);
    int64_t count = deft_tensor_count(call->in[0]);
    for (int64_t i = 0; i < count; i++) {
        float x = (float)deft_element_real(call->in[0], i);
        deft_element_set_real(call->out[0], i, (double)apply_f32(call->op, x, parameter[0], parameter[1]));
    }
}

/* Negation wraps: the smallest number stays what it is. */
static int64_t apply_integer(deft_op op, int64_t x) {
    if (op == DEFT_OP_SIGN) return (x > 0) - (x < 0);
    return op == DEFT_OP_NEG || x < 0 ? (int64_t)(0 - (uint64_t)x) : x;
}

static void unary_integer(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    int64_t count = deft_tensor_count(x);
    bool positive = call->op != DEFT_OP_NEG && x->dtype == DEFT_U64; /* seen as i64, it may look negative */
    for (int64_t i = 0; i < count; i++) {
        int64_t value = deft_element_integer(x, i);
        if (positive)
            value = call->op == DEFT_OP_SIGN ? value != 0 : value;
        else
            value = apply_integer(call->op, value);
        deft_element_set_integer(call->out[0], i, value);
    }
}

deft_status deft_forward_unary(const deft_op_call *call) {
    int types = deft_rule_types(call->in[0]->dtype);
    if (types == DEFT_TYPES_REAL) return deft_rule_by_real(call, unary_f32, unary_f64);
    if (types == DEFT_TYPES_HALF)
        unary_half(call);
    else
        unary_integer(call);
    return DEFT_OK;
}

deft_status deft_shape_unary_grad(const deft_op_call *call) {
    deft_op op = differentiated(call);
    if (op < DEFT_OP_ABS || op >= DEFT_OP_COUNT || deft_ops[op].gradient != deft_gradient_unary)
        return deft_rule_fail(call, DEFT_INVALID, "the attribute of must be an operator of one element");
    return deft_shape_activation_grad(call);
}

deft_status deft_forward_unary_grad(const deft_op_call *call) {
    return deft_rule_by_real(call, unary_grad_f32, unary_grad_f64);
}

deft_status deft_gradient_unary(deft_gradient *gradient) {
    return deft_emit_of(gradient, DEFT_OP_UNARY_GRAD, (int[]){gradient->out_grad[0], gradient->in[0]}, 2,
                        &gradient->in_grad[0], 1);
}
