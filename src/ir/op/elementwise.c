/* Add, Sub, Mul, Div with broadcasting: f32 and f64, and i32 and i64 for the arithmetic of shapes. */
#include "ir/op/emit.h"
#include "ir/op/nest.h"
#include "ir/op/rule.h"

deft_status deft_shape_broadcast(const deft_op_call *call) {
    const deft_tensor *a = call->in[0], *b = call->in[1];
    deft_tensor out = {.dtype = a->dtype};
    char a_text[DEFT_SHAPE_TEXT_BYTES], b_text[DEFT_SHAPE_TEXT_BYTES];
    if (a->dtype != b->dtype)
        return deft_rule_fail(call, DEFT_INVALID, "both inputs must be of one type, got %s and %s",
                              deft_dtype_name(a->dtype), deft_dtype_name(b->dtype));
    if (a->dtype != DEFT_F32 && a->dtype != DEFT_F64 && a->dtype != DEFT_I32 && a->dtype != DEFT_I64)
        return deft_rule_fail(call, DEFT_UNSUPPORTED, "the inputs are %s; only f32, f64, i32 and i64 are supported",
                              deft_dtype_name(a->dtype));
    if (!deft_broadcast(a, b, &out))
        return deft_rule_fail(
            call, DEFT_INVALID,
            "shapes %s and %s do not broadcast: aligned at the right, each pair of dimensions must be "
            "equal or have a 1",
            deft_shape_text(a, a_text, sizeof a_text), deft_shape_text(b, b_text, sizeof b_text));
    return deft_rule_set_out_like(call, 0, &out);
}

static void init_nest(const deft_op_call *call, deft_nest *nest) {
    const deft_tensor *out = call->out[0];
    int64_t a[DEFT_MAX_RANK], b[DEFT_MAX_RANK];
    deft_broadcast_strides(call->in[0], out, a);
    deft_broadcast_strides(call->in[1], out, b);
    deft_nest_init(nest, out->rank, out->dims, a, b);
}

#define BODY "ir/op/elementwise_body.h"
#include "ir/op/each_real.h"

static int64_t load_integer(const deft_tensor *tensor, int64_t i) {
    return tensor->dtype == DEFT_I64 ? ((const int64_t *)tensor->data)[i] : ((const int32_t *)tensor->data)[i];
}

/* Overflow wraps; the smallest number divided by -1 is itself. b is not 0 in a division. */
static int64_t apply_integer(deft_op op, int64_t a, int64_t b) {
    uint64_t x = (uint64_t)a, y = (uint64_t)b;
    switch (op) {
    case DEFT_OP_ADD:
        return (int64_t)(x + y);
    case DEFT_OP_SUB:
        return (int64_t)(x - y);
    case DEFT_OP_MUL:
        return (int64_t)(x * y);
    default:
        return b == -1 ? (int64_t)(0 - x) : a / b;
    }
}

static deft_status arithmetic_integer(const deft_op_call *call) {
    deft_nest nest;
    init_nest(call, &nest);
    int last = nest.rank - 1;
    for (int64_t done = 0; done < nest.count;) {
        deft_nest_row row = deft_nest_row_at(&nest, done, nest.count);
        for (int64_t i = 0; i < row.length; i++) {
            int64_t a = load_integer(call->in[0], row.offset[0] + i * nest.strides[0][last]);
            int64_t b = load_integer(call->in[1], row.offset[1] + i * nest.strides[1][last]);
            if (call->op == DEFT_OP_DIV && b == 0)
                return deft_rule_fail(call, DEFT_INVALID, "division of an integer by 0");
            int64_t y = apply_integer(call->op, a, b);
            if (call->out[0]->dtype == DEFT_I64)
                ((int64_t *)call->out[0]->data)[row.begin + i] = y;
            else
                ((int32_t *)call->out[0]->data)[row.begin + i] = (int32_t)y;
        }
        done += row.length;
    }
    return DEFT_OK;
}

deft_status deft_forward_arithmetic(const deft_op_call *call) {
    deft_dtype dtype = call->in[0]->dtype;
    if (dtype == DEFT_I32 || dtype == DEFT_I64) return arithmetic_integer(call);
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
