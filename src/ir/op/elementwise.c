/* Arithmetic of two numbers with broadcasting: Add, Sub, Mul, Div, Pow, Mod, PRelu, BitShift. Reals are computed in
 * their own type, halves and powers of mixed types in f64, integers as 64 bits whose low ones are kept: overflow wraps.
 */
#include "ir/op/element.h"
#include "ir/op/emit.h"
#include "ir/op/nest.h"
#include "ir/op/rule.h"

#include <math.h>
#include <string.h>

static deft_status fail_broadcast(const deft_op_call *call, const deft_tensor *a, const deft_tensor *b) {
    char a_text[DEFT_SHAPE_TEXT_BYTES], b_text[DEFT_SHAPE_TEXT_BYTES];
    return deft_rule_fail(call, DEFT_INVALID,
                          "shapes %s and %s do not broadcast: aligned at the right, each pair of dimensions must be "
                          "equal or have a 1",
                          deft_shape_text(a, a_text, sizeof a_text), deft_shape_text(b, b_text, sizeof b_text));
}

deft_status deft_shape_broadcast(const deft_op_call *call) {
    const deft_tensor *a = call->in[0], *b = call->in[1];
    deft_tensor out = {.dtype = a->dtype};
    DEFT_TRY(deft_rule_require_types(call, 0, 1, DEFT_TYPES_NUMBER));
    if (!deft_broadcast(a, b, &out)) return fail_broadcast(call, a, b);
    return deft_rule_set_out_like(call, 0, &out);
}

/* Pow: the exponent may be of another type. */
deft_status deft_shape_pow(const deft_op_call *call) {
    const deft_tensor *a = call->in[0], *b = call->in[1];
    deft_tensor out = {.dtype = a->dtype};
    DEFT_TRY(deft_rule_require_types(call, 0, 0, DEFT_TYPES_NUMBER));
    DEFT_TRY(deft_rule_require_types(call, 1, 1, DEFT_TYPES_NUMBER));
    if (!deft_broadcast(a, b, &out)) return fail_broadcast(call, a, b);
    return deft_rule_set_out_like(call, 0, &out);
}

/* In Python's way, or C's with fmod. */
static bool is_floored(const deft_op_call *call) {
    return call->op == DEFT_OP_MOD && deft_attr_int(call->attrs, "fmod", 0) == 0;
}

deft_status deft_shape_bitwise(const deft_op_call *call) {
    DEFT_TRY(deft_rule_require_types(call, 0, 1, DEFT_TYPES_INTEGER));
    return deft_shape_broadcast(call);
}

deft_status deft_shape_bitwise_not(const deft_op_call *call) {
    DEFT_TRY(deft_rule_require_types(call, 0, 0, DEFT_TYPES_INTEGER));
    return deft_rule_set_out_like(call, 0, call->in[0]);
}

deft_status deft_forward_bitwise_not(const deft_op_call *call) {
    const uint8_t *x = call->in[0]->data;
    uint8_t *y = call->out[0]->data;
    size_t bytes = deft_tensor_bytes(call->in[0]);
    for (size_t i = 0; i < bytes; i++)
        y[i] = (uint8_t)~x[i];
    return DEFT_OK;
}

static bool shifts_right(const deft_op_call *call) {
    return strcmp(deft_attr_string(call->attrs, "direction", ""), "RIGHT") == 0;
}

deft_status deft_shape_bit_shift(const deft_op_call *call) {
    DEFT_TRY(deft_rule_require_types(call, 0, 1, DEFT_TYPES_INTEGER));
    if (!shifts_right(call) && strcmp(deft_attr_string(call->attrs, "direction", ""), "LEFT") != 0)
        return deft_rule_fail(call, DEFT_INVALID, "the attribute direction must be LEFT or RIGHT");
    return deft_shape_broadcast(call);
}

/* The slope as it broadcasts: before opset 7, a vector of one for each channel. */
static deft_tensor prelu_slope(const deft_op_call *call) {
    deft_tensor slope = *call->in[1];
    int rank = call->in[0]->rank;
    if (call->opset >= 7 || slope.rank != 1 || rank < 3 || slope.dims[0] == 1) return slope;
    slope.rank = rank - 1;
    for (int i = 1; i < slope.rank; i++)
        slope.dims[i] = 1;
    return slope;
}

deft_status deft_shape_prelu(const deft_op_call *call) {
    deft_tensor slope, out = {.rank = 0};
    DEFT_TRY(deft_rule_require_types(call, 0, 1, DEFT_TYPES_NUMBER));
    slope = prelu_slope(call);
    if (!deft_broadcast(call->in[0], &slope, &out) || !deft_shape_equal(&out, call->in[0]))
        return fail_broadcast(call, call->in[0], &slope);
    return deft_rule_set_out_like(call, 0, call->in[0]);
}

static void init_nest(const deft_op_call *call, deft_nest *nest) {
    const deft_tensor *out = call->out[0];
    deft_tensor right = call->op == DEFT_OP_PRELU ? prelu_slope(call) : *call->in[1];
    int64_t a[DEFT_MAX_RANK], b[DEFT_MAX_RANK];
    deft_broadcast_strides(call->in[0], out, a);
    deft_broadcast_strides(&right, out, b);
    deft_nest_init(nest, out->rank, out->dims, a, b);
}

#define BODY "ir/op/elementwise_body.h"
#include "ir/op/each_real.h"

/* a modulo b as Python has it, with the sign of b; as C has it, with the sign of a, where `fmod` is set. */
static int64_t modulo(int64_t a, int64_t b, bool fmod) {
    if (b == -1) return 0;
    int64_t rest = a % b;
    return !fmod && rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

static uint64_t power(uint64_t base, uint64_t exponent) {
    uint64_t result = 1;
    for (; exponent; exponent >>= 1, base *= base)
        if (exponent & 1) result *= base;
    return result;
}

/* What integers of one type become. */
typedef struct integer_rule {
    deft_op op;
    bool is_unsigned, fmod, right;
    int bits;
} integer_rule;

/* b is not 0 in a division. The smallest number divided by -1 is itself. A negative power is 0, but of 1 and -1. */
static int64_t apply_integer(const integer_rule *rule, int64_t a, int64_t b) {
    uint64_t x = (uint64_t)a, y = (uint64_t)b;
    switch (rule->op) {
    case DEFT_OP_ADD:
        return (int64_t)(x + y);
    case DEFT_OP_SUB:
        return (int64_t)(x - y);
    case DEFT_OP_MUL:
        return (int64_t)(x * y);
    case DEFT_OP_DIV:
        if (rule->is_unsigned) return (int64_t)(x / y);
        return b == -1 ? (int64_t)(0 - x) : a / b;
    case DEFT_OP_MOD:
        return rule->is_unsigned ? (int64_t)(x % y) : modulo(a, b, rule->fmod);
    case DEFT_OP_POW:
        if (b >= 0 || rule->is_unsigned) return (int64_t)power(x, y);
        return a == 1 || (a == -1 && b % 2 == 0) ? 1 : a == -1 ? -1 : 0;
    case DEFT_OP_PRELU:
        return a < 0 && !rule->is_unsigned ? (int64_t)(x * y) : a;
    case DEFT_OP_BITWISE_AND:
        return (int64_t)(x & y);
    case DEFT_OP_BITWISE_OR:
        return (int64_t)(x | y);
    case DEFT_OP_BITWISE_XOR:
        return (int64_t)(x ^ y);
    default: /* BitShift, of signed numbers with the sign moving in; a shift by less than 0 is one by more than there
                are */
        if (y >= (uint64_t)rule->bits) return rule->right && a < 0 && !rule->is_unsigned ? -1 : 0;
        if (!rule->right) return (int64_t)(x << y);
        return rule->is_unsigned ? (int64_t)(x >> y) : a >> y;
    }
}

static deft_status arithmetic_integer(const deft_op_call *call) {
    deft_dtype dtype = call->in[0]->dtype;
    integer_rule rule = {.op = call->op,
                         .is_unsigned = deft_rule_types(dtype) == DEFT_TYPES_UNSIGNED,
                         .fmod = !is_floored(call),
                         .right = shifts_right(call),
                         .bits = 8 * (int)deft_dtype_bytes(dtype)};
    bool divides = call->op == DEFT_OP_DIV || call->op == DEFT_OP_MOD;
    deft_nest nest;
    init_nest(call, &nest);
    int last = nest.rank - 1;
    for (int64_t done = 0; done < nest.count;) {
        deft_nest_row row = deft_nest_row_at(&nest, done, nest.count);
        for (int64_t i = 0; i < row.length; i++) {
            int64_t a = deft_element_integer(call->in[0], row.offset[0] + i * nest.strides[0][last]);
            int64_t b = deft_element_integer(call->in[1], row.offset[1] + i * nest.strides[1][last]);
            if (divides && b == 0) return deft_rule_fail(call, DEFT_INVALID, "division of an integer by 0");
            deft_element_set_integer(call->out[0], row.begin + i, apply_integer(&rule, a, b));
        }
        done += row.length;
    }
    return DEFT_OK;
}

/* Halves, and powers of mixed types. */
static deft_status arithmetic_mixed(const deft_op_call *call) {
    bool floored = is_floored(call);
    deft_nest nest;
    init_nest(call, &nest);
    int last = nest.rank - 1;
    for (int64_t done = 0; done < nest.count;) {
        deft_nest_row row = deft_nest_row_at(&nest, done, nest.count);
        for (int64_t i = 0; i < row.length; i++) {
            double a = deft_element_real(call->in[0], row.offset[0] + i * nest.strides[0][last]);
            double b = deft_element_real(call->in[1], row.offset[1] + i * nest.strides[1][last]);
            double y = floored ? modulo_f64(a, b) : apply_f64(call->op, a, b);
            deft_element_set_real(call->out[0], row.begin + i, y);
        }
        done += row.length;
    }
    return DEFT_OK;
}

deft_status deft_forward_arithmetic(const deft_op_call *call) {
    int types = deft_rule_types(call->in[0]->dtype);
    if (types == DEFT_TYPES_HALF || call->in[0]->dtype != call->in[1]->dtype) return arithmetic_mixed(call);
    if (types & DEFT_TYPES_INTEGER) return arithmetic_integer(call);
    return deft_rule_by_real(call, arithmetic_f32, arithmetic_f64);
}

deft_status deft_gradient_add(deft_gradient *gradient) {
    for (int i = 0; i < 2; i++)
        if (gradient->wanted[i]) DEFT_TRY(deft_emit_sum_to(gradient, gradient->out_grad[0], i, &gradient->in_grad[i]));
    return DEFT_OK;
}

deft_status deft_gradient_sub(deft_gradient *gradient) {
    DEFT_TRY(deft_gradient_add(gradient));
    if (!gradient->wanted[1]) return DEFT_OK;
    return deft_emit_scaled(gradient, gradient->in_grad[1], gradient->in_desc[1]->dtype, -1, &gradient->in_grad[1]);
}

deft_status deft_gradient_mul(deft_gradient *gradient) {
    for (int i = 0; i < 2; i++) {
        if (!gradient->wanted[i]) continue;
        int product;
        DEFT_TRY(deft_emit(gradient, DEFT_OP_MUL, &product, 2, gradient->out_grad[0], gradient->in[1 - i]));
        DEFT_TRY(deft_emit_sum_to(gradient, product, i, &gradient->in_grad[i]));
    }
    return DEFT_OK;
}

/* y = a / b: da = dy / b, db = -dy y / b. */
deft_status deft_gradient_div(deft_gradient *gradient) {
    int dy = gradient->out_grad[0], b = gradient->in[1], product, quotient;
    if (gradient->wanted[0]) {
        DEFT_TRY(deft_emit(gradient, DEFT_OP_DIV, &quotient, 2, dy, b));
        DEFT_TRY(deft_emit_sum_to(gradient, quotient, 0, &gradient->in_grad[0]));
    }
    if (!gradient->wanted[1]) return DEFT_OK;
    DEFT_TRY(deft_emit(gradient, DEFT_OP_MUL, &product, 2, dy, gradient->out[0]));
    DEFT_TRY(deft_emit(gradient, DEFT_OP_DIV, &quotient, 2, product, b));
    DEFT_TRY(deft_emit_sum_to(gradient, quotient, 1, &gradient->in_grad[1]));
    return deft_emit_scaled(gradient, gradient->in_grad[1], gradient->in_desc[1]->dtype, -1, &gradient->in_grad[1]);
}

/* y = a^b: da = dy b a^(b - 1), db = dy y log(a). */
deft_status deft_gradient_pow(deft_gradient *gradient) {
    int dy = gradient->out_grad[0], a = gradient->in[0], b = gradient->in[1], one, value;
    deft_dtype dtype = gradient->in_desc[0]->dtype;
    if (gradient->in_desc[1]->dtype != dtype) DEFT_TRY(deft_emit_cast(gradient, b, dtype, &b));
    if (gradient->wanted[0]) {
        DEFT_TRY(deft_emit_number(gradient, dtype, 1, &one));
        DEFT_TRY(deft_emit(gradient, DEFT_OP_SUB, &value, 2, b, one));
        DEFT_TRY(deft_emit(gradient, DEFT_OP_POW, &value, 2, a, value));
        DEFT_TRY(deft_emit(gradient, DEFT_OP_MUL, &value, 2, value, b));
        DEFT_TRY(deft_emit(gradient, DEFT_OP_MUL, &value, 2, value, dy));
        DEFT_TRY(deft_emit_sum_to(gradient, value, 0, &gradient->in_grad[0]));
    }
    if (!gradient->wanted[1]) return DEFT_OK;
    DEFT_TRY(deft_emit(gradient, DEFT_OP_LOG, &value, 1, a));
    DEFT_TRY(deft_emit(gradient, DEFT_OP_MUL, &value, 2, value, gradient->out[0]));
    DEFT_TRY(deft_emit(gradient, DEFT_OP_MUL, &value, 2, value, dy));
    return deft_emit_sum_to(gradient, value, 1, &gradient->in_grad[1]);
}

/* dx = dy, times the slope where x < 0; dslope = dy min(x, 0). */
deft_status deft_gradient_prelu(deft_gradient *gradient) {
    int dy = gradient->out_grad[0], x = gradient->in[0], zero, value, negative;
    deft_op_call call = deft_gradient_call(gradient);
    deft_tensor slope = prelu_slope(&call);
    if (!deft_shape_equal(&slope, gradient->in_desc[1]))
        return deft_fail(gradient->ctx, DEFT_UNSUPPORTED, "a slope for each channel has one from opset 7 on");
    DEFT_TRY(deft_emit_number(gradient, gradient->in_desc[0]->dtype, 0, &zero));
    if (gradient->wanted[0]) {
        DEFT_TRY(deft_emit(gradient, DEFT_OP_LESS, &negative, 2, x, zero));
        DEFT_TRY(deft_emit(gradient, DEFT_OP_MUL, &value, 2, dy, gradient->in[1]));
        DEFT_TRY(deft_emit(gradient, DEFT_OP_WHERE, &gradient->in_grad[0], 3, negative, value, dy));
    }
    if (!gradient->wanted[1]) return DEFT_OK;
    DEFT_TRY(deft_emit(gradient, DEFT_OP_MIN, &value, 2, x, zero));
    DEFT_TRY(deft_emit(gradient, DEFT_OP_MUL, &value, 2, value, dy));
    return deft_emit_sum_to(gradient, value, 1, &gradient->in_grad[1]);
}
