/* Questions with a yes or no for an answer: comparisons and logic with broadcasting, Not, IsNaN, IsInf; and Where,
 * which chooses by them. */
#include "ir/op/element.h"
#include "ir/op/emit.h"
#include "ir/op/nest.h"
#include "ir/op/rule.h"

#include <math.h>

static deft_status set_broadcast(const deft_op_call *call, const deft_tensor *a, const deft_tensor *b,
                                 deft_tensor *out) {
    char a_text[DEFT_SHAPE_TEXT_BYTES], b_text[DEFT_SHAPE_TEXT_BYTES];
    if (deft_broadcast(a, b, out)) return DEFT_OK;
    return deft_rule_fail(call, DEFT_INVALID, "shapes %s and %s do not broadcast",
                          deft_shape_text(a, a_text, sizeof a_text), deft_shape_text(b, b_text, sizeof b_text));
}

deft_status deft_shape_compare(const deft_op_call *call) {
    deft_tensor out = {.dtype = DEFT_BOOL};
    bool equal = call->op == DEFT_OP_EQUAL;
    DEFT_TRY(deft_rule_require_types(call, 0, 1, equal ? DEFT_TYPES_ANY : DEFT_TYPES_NUMBER));
    DEFT_TRY(set_broadcast(call, call->in[0], call->in[1], &out));
    return deft_rule_set_out_like(call, 0, &out);
}

deft_status deft_shape_logic(const deft_op_call *call) {
    deft_tensor out = {.dtype = DEFT_BOOL};
    DEFT_TRY(deft_rule_require_types(call, 0, 1, DEFT_TYPES_BOOL));
    DEFT_TRY(set_broadcast(call, call->in[0], call->in[1], &out));
    return deft_rule_set_out_like(call, 0, &out);
}

static bool decide(deft_op op, const deft_tensor *a, int64_t i, const deft_tensor *b, int64_t j) {
    int found = deft_element_order(a, i, b, j);
    switch (op) {
    case DEFT_OP_EQUAL:
        return found == 0;
    case DEFT_OP_GREATER:
        return found == 1;
    case DEFT_OP_LESS:
        return found == -1;
    case DEFT_OP_GREATER_OR_EQUAL:
        return found == 0 || found == 1;
    case DEFT_OP_LESS_OR_EQUAL:
        return found == 0 || found == -1;
    case DEFT_OP_AND:
        return ((const uint8_t *)a->data)[i] && ((const uint8_t *)b->data)[j];
    case DEFT_OP_OR:
        return ((const uint8_t *)a->data)[i] || ((const uint8_t *)b->data)[j];
    default: /* Xor */
        return !((const uint8_t *)a->data)[i] != !((const uint8_t *)b->data)[j];
    }
}

/* Rows of one type, without asking for it at each element; false for other types and operators. NaN is neither equal
 * nor in order. */
static bool compare_row(deft_op op, const deft_tensor *a, int64_t i, int64_t a_stride, const deft_tensor *b, int64_t j,
                        int64_t b_stride, int64_t length, uint8_t *y) {
#define EACH(OPERATOR)                                                                                                 \
    {                                                                                                                  \
        for (int64_t at = 0; at < length; at++)                                                                        \
            y[at] = p[at * a_stride] OPERATOR q[at * b_stride];                                                        \
        return true;                                                                                                   \
    }
#define COMPARE(TYPE)                                                                                                  \
    {                                                                                                                  \
        const TYPE *p = (const TYPE *)a->data + i, *q = (const TYPE *)b->data + j;                                     \
        if (op == DEFT_OP_EQUAL) EACH(==)                                                                              \
        if (op == DEFT_OP_GREATER) EACH(>)                                                                             \
        if (op == DEFT_OP_LESS) EACH(<)                                                                                \
        return false;                                                                                                  \
    }
    if (a->dtype != b->dtype) return false;
    switch (a->dtype) {
    case DEFT_F32:
        COMPARE(float)
    case DEFT_I32:
        COMPARE(int32_t)
    case DEFT_I64:
        COMPARE(int64_t)
    default:
        return false;
    }
#undef COMPARE
#undef EACH
}

deft_status deft_forward_compare(const deft_op_call *call) {
    const deft_tensor *a = call->in[0], *b = call->in[1], *out = call->out[0];
    uint8_t *y = out->data;
    int64_t strides[2][DEFT_MAX_RANK];
    deft_nest nest;
    deft_broadcast_strides(a, out, strides[0]);
    deft_broadcast_strides(b, out, strides[1]);
    deft_nest_init(&nest, out->rank, out->dims, strides[0], strides[1]);
    int last = nest.rank - 1;
    for (int64_t done = 0; done < nest.count;) {
        deft_nest_row row = deft_nest_row_at(&nest, done, nest.count);
        bool typed = compare_row(call->op, a, row.offset[0], nest.strides[0][last], b, row.offset[1],
                                 nest.strides[1][last], row.length, y + row.begin);
        for (int64_t i = 0; i < row.length && !typed; i++)
            y[row.begin + i] = decide(call->op, a, row.offset[0] + i * nest.strides[0][last], b,
                                      row.offset[1] + i * nest.strides[1][last]);
        done += row.length;
    }
    return DEFT_OK;
}

/* ---- of one element ---- */

deft_status deft_shape_question(const deft_op_call *call) {
    int types = call->op == DEFT_OP_NOT ? DEFT_TYPES_BOOL : DEFT_TYPES_FLOAT;
    DEFT_TRY(deft_rule_require_types(call, 0, 0, types));
    return deft_rule_set_out(call, 0, DEFT_BOOL, call->in[0]->rank, call->in[0]->dims);
}

deft_status deft_forward_question(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    uint8_t *y = call->out[0]->data;
    int64_t count = deft_tensor_count(x);
    bool negative = deft_attr_int(call->attrs, "detect_negative", 1) != 0;
    bool positive = deft_attr_int(call->attrs, "detect_positive", 1) != 0;
    for (int64_t i = 0; i < count; i++) {
        double value = deft_element_real(x, i);
        if (call->op == DEFT_OP_NOT)
            y[i] = value == 0;
        else if (call->op == DEFT_OP_IS_NAN)
            y[i] = isnan(value) != 0;
        else
            y[i] = isinf(value) && (value > 0 ? positive : negative);
    }
    return DEFT_OK;
}

/* ---- Where ---- */

deft_status deft_shape_where(const deft_op_call *call) {
    deft_tensor pair = {.rank = 0}, out = {.dtype = call->in[1]->dtype};
    DEFT_TRY(deft_rule_require_types(call, 0, 0, DEFT_TYPES_BOOL));
    DEFT_TRY(deft_rule_require_types(call, 1, 2, DEFT_TYPES_ANY));
    DEFT_TRY(set_broadcast(call, call->in[1], call->in[2], &pair));
    DEFT_TRY(set_broadcast(call, call->in[0], &pair, &out));
    return deft_rule_set_out_like(call, 0, &out);
}

deft_status deft_forward_where(const deft_op_call *call) {
    deft_tensor *y = call->out[0];
    int64_t strides[3][DEFT_MAX_RANK];
    deft_nest nest;
    for (int i = 0; i < 3; i++)
        deft_broadcast_strides(call->in[i], y, strides[i]);
    deft_nest_init_many(&nest, y->rank, y->dims, 3, (const int64_t(*)[DEFT_MAX_RANK])strides);
    int last = nest.rank - 1;
    for (int64_t done = 0; done < nest.count;) {
        deft_nest_row row = deft_nest_row_at(&nest, done, nest.count);
        const uint8_t *condition = (const uint8_t *)call->in[0]->data + row.offset[0];
        for (int64_t i = 0; i < row.length; i++) {
            int chosen = condition[i * nest.strides[0][last]] ? 1 : 2;
            deft_element_copy(call->in[chosen], row.offset[chosen] + i * nest.strides[chosen][last], y, row.begin + i);
        }
        done += row.length;
    }
    return DEFT_OK;
}

deft_status deft_gradient_where(deft_gradient *gradient) {
    int zero, value;
    DEFT_TRY(deft_emit_number(gradient, gradient->out_desc[0]->dtype, 0, &zero));
    for (int i = 1; i <= 2; i++) {
        if (!gradient->wanted[i]) continue;
        int dy = gradient->out_grad[0], chosen[] = {i == 1 ? dy : zero, i == 1 ? zero : dy};
        DEFT_TRY(deft_emit(gradient, DEFT_OP_WHERE, &value, 3, gradient->in[0], chosen[0], chosen[1]));
        DEFT_TRY(deft_emit_sum_to(gradient, value, i, &gradient->in_grad[i]));
    }
    return DEFT_OK;
}
