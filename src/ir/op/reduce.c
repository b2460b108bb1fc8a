/* Reductions over axes: ReduceSum, ReduceMean, ReduceMax, ReduceMin, ReduceProd, ReduceL1, ReduceL2, ReduceSumSquare,
 * ReduceLogSum, ReduceLogSumExp; and MeanVarianceNormalization, which is made of them. Floats are summed in f64,
 * integers as 64 bits whose low ones are kept. */
#include "ir/op/reduce.h"

#include "ir/op/element.h"
#include "ir/op/emit.h"
#include "ir/op/rule.h"

#include <math.h>

void deft_reduction_init(deft_reduction *reduction, const deft_tensor *tensor, const bool *reduced) {
    int64_t strides[DEFT_MAX_RANK], dims[2][DEFT_MAX_RANK], apart[2][DEFT_MAX_RANK];
    int rank[2] = {0, 0};
    deft_rule_strides(tensor, strides);
    for (int i = 0; i < tensor->rank; i++) {
        int side = reduced[i];
        dims[side][rank[side]] = tensor->dims[i];
        apart[side][rank[side]++] = strides[i];
    }
    deft_nest_init(&reduction->outer, rank[0], dims[0], apart[0], NULL);
    deft_nest_init(&reduction->inner, rank[1], dims[1], apart[1], NULL);
}

deft_status deft_reduction_axes(const deft_op_call *call, bool *reduced) {
    int rank = call->in[0]->rank;
    bool given, any = false;
    DEFT_TRY(deft_rule_read_axes(call, 1, rank, reduced, &given));
    for (int i = 0; i < rank; i++)
        any |= reduced[i];
    if (any || deft_attr_int(call->attrs, "noop_with_empty_axes", 0)) return DEFT_OK;
    for (int i = 0; i < rank; i++)
        reduced[i] = true;
    return DEFT_OK;
}

deft_status deft_shape_reduce(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    bool reduced[DEFT_MAX_RANK], keep = deft_attr_int(call->attrs, "keepdims", 1) != 0;
    deft_tensor out = {.dtype = x->dtype};
    DEFT_TRY(deft_rule_require_types(call, 0, 0, DEFT_TYPES_NUMBER));
    DEFT_TRY(deft_reduction_axes(call, reduced));
    for (int i = 0; i < x->rank; i++)
        if (keep || !reduced[i]) out.dims[out.rank++] = reduced[i] ? 1 : x->dims[i];
    return deft_rule_set_out_like(call, 0, &out);
}

/* What of an element is summed. */
static inline double term(deft_op op, double x, double maximum) {
    switch (op) {
    case DEFT_OP_REDUCE_L1:
        return fabs(x);
    case DEFT_OP_REDUCE_L2:
    case DEFT_OP_REDUCE_SUM_SQUARE:
        return x * x;
    case DEFT_OP_REDUCE_LOG_SUM_EXP:
        return exp(x - maximum);
    default:
        return x;
    }
}

/* What the sum of `count` terms becomes. */
static double finish(deft_op op, double sum, int64_t count, double maximum) {
    switch (op) {
    case DEFT_OP_REDUCE_MEAN:
        return sum / (double)count;
    case DEFT_OP_REDUCE_L2:
        return sqrt(sum);
    case DEFT_OP_REDUCE_LOG_SUM:
        return log(sum);
    case DEFT_OP_REDUCE_LOG_SUM_EXP:
        return log(sum) + maximum;
    default:
        return sum;
    }
}

/* NaN wins. */
static inline double larger(double a, double b) {
    return b > a || isnan(b) ? b : a;
}

/* Of MeanVarianceNormalization: by default all dimensions but the channels. */
static deft_status read_normalized(const deft_op_call *call, bool *reduced) {
    int rank = call->in[0]->rank;
    bool given;
    DEFT_TRY(deft_rule_read_axes(call, -1, rank, reduced, &given));
    if (given) return DEFT_OK;
    for (int i = 0; i < rank; i++)
        reduced[i] = i != 1;
    return DEFT_OK;
}

#define BODY "ir/op/reduce_body.h"
#include "ir/op/each_real.h"

static double reduce_half(deft_op op, const deft_nest *inner, const deft_tensor *x, int64_t offset) {
    double sum = op == DEFT_OP_REDUCE_PROD ? 1 : 0, maximum = -INFINITY, minimum = INFINITY;
    int64_t stride = inner->strides[0][inner->rank - 1];
    for (int pass = op == DEFT_OP_REDUCE_LOG_SUM_EXP ? 0 : 1; pass < 2; pass++)
        for (int64_t done = 0; done < inner->count;) {
            deft_nest_row row = deft_nest_row_at(inner, done, inner->count);
            for (int64_t i = 0; i < row.length; i++) {
                double value = deft_element_real(x, offset + row.offset[0] + i * stride);
                if (pass == 0 || op == DEFT_OP_REDUCE_MAX) maximum = larger(maximum, value);
                if (op == DEFT_OP_REDUCE_MIN) minimum = -larger(-minimum, -value);
                if (op == DEFT_OP_REDUCE_PROD)
                    sum *= value;
                else if (pass == 1)
                    sum += term(op, value, maximum);
            }
            done += row.length;
        }
    if (op == DEFT_OP_REDUCE_MAX) return maximum;
    return op == DEFT_OP_REDUCE_MIN ? minimum : finish(op, sum, inner->count, maximum);
}

/* The smallest or largest number of an integer type. */
static int64_t limit_of(deft_dtype dtype, bool largest) {
    int bits = 8 * (int)deft_dtype_bytes(dtype);
    if (deft_rule_types(dtype) == DEFT_TYPES_UNSIGNED) return largest ? (int64_t)(UINT64_MAX >> (64 - bits)) : 0;
    int64_t most = INT64_MAX >> (64 - bits);
    return largest ? most : -most - 1;
}

static int64_t fold_integer(deft_op op, bool is_unsigned, int64_t so_far, int64_t x) {
    uint64_t a = (uint64_t)so_far, b = (uint64_t)x;
    bool less = is_unsigned ? b < a : x < so_far;
    switch (op) {
    case DEFT_OP_REDUCE_MAX:
        return less ? so_far : x;
    case DEFT_OP_REDUCE_MIN:
        return less ? x : so_far;
    case DEFT_OP_REDUCE_PROD:
        return (int64_t)(a * b);
    case DEFT_OP_REDUCE_L1:
        return (int64_t)(a + (x < 0 && !is_unsigned ? 0 - b : b));
    case DEFT_OP_REDUCE_SUM_SQUARE:
        return (int64_t)(a + b * b);
    default: /* Sum, Mean */
        return (int64_t)(a + b);
    }
}

static int64_t reduce_integer(deft_op op, const deft_nest *inner, const deft_tensor *x, int64_t offset) {
    bool is_unsigned = deft_rule_types(x->dtype) == DEFT_TYPES_UNSIGNED;
    int64_t result = op == DEFT_OP_REDUCE_PROD ? 1 : 0, stride = inner->strides[0][inner->rank - 1];
    if (op == DEFT_OP_REDUCE_MAX || op == DEFT_OP_REDUCE_MIN) result = limit_of(x->dtype, op == DEFT_OP_REDUCE_MIN);
    for (int64_t done = 0; done < inner->count;) {
        deft_nest_row row = deft_nest_row_at(inner, done, inner->count);
        for (int64_t i = 0; i < row.length; i++)
            result =
                fold_integer(op, is_unsigned, result, deft_element_integer(x, offset + row.offset[0] + i * stride));
        done += row.length;
    }
    if (op == DEFT_OP_REDUCE_MEAN && inner->count > 0)
        return is_unsigned ? (int64_t)((uint64_t)result / (uint64_t)inner->count) : result / inner->count;
    return result;
}

static bool stays_integer(deft_op op, deft_dtype dtype) {
    return !deft_dtype_is_float(dtype) && op != DEFT_OP_REDUCE_L2 && op != DEFT_OP_REDUCE_LOG_SUM &&
           op != DEFT_OP_REDUCE_LOG_SUM_EXP;
}

deft_status deft_forward_reduce(const deft_op_call *call) {
    const deft_tensor *x = call->in[0];
    if (deft_rule_types(x->dtype) == DEFT_TYPES_REAL) return deft_rule_by_real(call, reduce_f32, reduce_f64);
    bool reduced[DEFT_MAX_RANK];
    deft_reduction all;
    DEFT_TRY(deft_reduction_axes(call, reduced));
    deft_reduction_init(&all, x, reduced);
    for (int64_t i = 0; i < all.outer.count; i++) {
        int64_t offset = deft_nest_row_at(&all.outer, i, i + 1).offset[0];
        if (stays_integer(call->op, x->dtype))
            deft_element_set_integer(call->out[0], i, reduce_integer(call->op, &all.inner, x, offset));
        else
            deft_element_set_real(call->out[0], i, reduce_half(call->op, &all.inner, x, offset));
    }
    return DEFT_OK;
}

/* ---- MeanVarianceNormalization ---- */

deft_status deft_shape_mean_variance(const deft_op_call *call) {
    bool reduced[DEFT_MAX_RANK];
    DEFT_TRY(deft_rule_require_real(call, 0, 0));
    DEFT_TRY(read_normalized(call, reduced));
    return deft_rule_set_out_like(call, 0, call->in[0]);
}

deft_status deft_forward_mean_variance(const deft_op_call *call) {
    return deft_rule_by_real(call, mean_variance_f32, mean_variance_f64);
}

/* ---- gradients ---- */

/* dy and y with the reduced dimensions as 1, so that they broadcast to x. */
static deft_status emit_kept(deft_gradient *gradient, const bool *reduced, int *dy, int *y) {
    const deft_tensor *x = gradient->in_desc[0];
    int64_t dims[DEFT_MAX_RANK];
    for (int i = 0; i < x->rank; i++)
        dims[i] = reduced[i] ? 1 : x->dims[i];
    DEFT_TRY(deft_emit_reshaped(gradient, gradient->out_grad[0], x->rank, dims, dy));
    return deft_emit_reshaped(gradient, gradient->out[0], x->rank, dims, y);
}

/* `value` repeated to the shape of x. */
static deft_status emit_expanded(deft_gradient *gradient, int value) {
    const deft_tensor *x = gradient->in_desc[0];
    return deft_emit_expanded(gradient, value, x->rank, x->dims, &gradient->in_grad[0]);
}

/* dy shared by those elements that are the extremum. */
static deft_status emit_extremum(deft_gradient *gradient, const bool *reduced, int dy, int y) {
    deft_dtype dtype = gradient->in_desc[0]->dtype;
    int chosen, sum, share;
    DEFT_TRY(deft_emit(gradient, DEFT_OP_EQUAL, &chosen, 2, gradient->in[0], y));
    DEFT_TRY(deft_emit_cast(gradient, chosen, dtype, &chosen));
    DEFT_TRY(deft_emit_reduced(gradient, DEFT_OP_REDUCE_SUM, chosen, gradient->in_desc[0]->rank, reduced, &sum));
    DEFT_TRY(deft_emit(gradient, DEFT_OP_DIV, &share, 2, dy, sum));
    return deft_emit(gradient, DEFT_OP_MUL, &gradient->in_grad[0], 2, chosen, share);
}

/* k times the product of all others: of those before and of those after it, so that a zero is no trouble. The reduced
 * dimensions go to the end, as one. */
static deft_status emit_products(deft_gradient *gradient, const bool *reduced, int k) {
    const deft_tensor *x = gradient->in_desc[0];
    int64_t perm[DEFT_MAX_RANK], back[DEFT_MAX_RANK], dims[DEFT_MAX_RANK], flat[2] = {1, 1}, last = 1;
    int at = 0, axis, value, before, after;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < x->rank; i++) {
            if (reduced[i] != (pass == 1)) continue;
            perm[at] = i;
            dims[at] = x->dims[i];
            back[i] = at++;
            flat[pass] *= x->dims[i];
        }
    const deft_attr order = {.name = "perm", .type = DEFT_ATTR_INTS, .count = x->rank, .ints = perm};
    const deft_attr undo = {.name = "perm", .type = DEFT_ATTR_INTS, .count = x->rank, .ints = back};
    const deft_attr others[] = {{.name = "exclusive", .type = DEFT_ATTR_INT, .i = 1},
                                {.name = "reverse", .type = DEFT_ATTR_INT, .i = 1}};
    DEFT_TRY(gradient->emit(gradient, DEFT_OP_TRANSPOSE, &order, 1, gradient->in, 1, &value, 1));
    DEFT_TRY(deft_emit_reshaped(gradient, value, 2, flat, &value));
    DEFT_TRY(deft_emit_integers(gradient, 1, &last, &axis));
    const int in[] = {value, axis};
    DEFT_TRY(gradient->emit(gradient, DEFT_OP_CUM_PROD, others, 1, in, 2, &before, 1));
    DEFT_TRY(gradient->emit(gradient, DEFT_OP_CUM_PROD, others, 2, in, 2, &after, 1));
    DEFT_TRY(deft_emit(gradient, DEFT_OP_MUL, &value, 2, before, after));
    DEFT_TRY(deft_emit_reshaped(gradient, value, x->rank, dims, &value));
    DEFT_TRY(gradient->emit(gradient, DEFT_OP_TRANSPOSE, &undo, 1, &value, 1, &value, 1));
    return deft_emit(gradient, DEFT_OP_MUL, &gradient->in_grad[0], 2, value, k);
}

/* With k = dy, and y, as wide as x where it is not reduced. */
static deft_status emit_reduce(deft_gradient *gradient, const bool *reduced, int k, int y) {
    int x = gradient->in[0], value, *dx = &gradient->in_grad[0];
    deft_dtype dtype = gradient->in_desc[0]->dtype;
    switch (gradient->op) {
    case DEFT_OP_REDUCE_SUM:
        return emit_expanded(gradient, k);
    case DEFT_OP_REDUCE_MEAN: {
        double count =
            (double)deft_tensor_count(gradient->in_desc[0]) / (double)deft_tensor_count(gradient->out_desc[0]);
        DEFT_TRY(deft_emit_scaled(gradient, k, dtype, 1 / count, &k));
        return emit_expanded(gradient, k);
    }
    case DEFT_OP_REDUCE_L1: /* k sign(x) */
        DEFT_TRY(deft_emit(gradient, DEFT_OP_SIGN, &value, 1, x));
        return deft_emit(gradient, DEFT_OP_MUL, dx, 2, value, k);
    case DEFT_OP_REDUCE_L2: /* k x / y */
        DEFT_TRY(deft_emit(gradient, DEFT_OP_DIV, &value, 2, k, y));
        return deft_emit(gradient, DEFT_OP_MUL, dx, 2, x, value);
    case DEFT_OP_REDUCE_SUM_SQUARE: /* 2 k x */
        DEFT_TRY(deft_emit_scaled(gradient, k, dtype, 2, &value));
        return deft_emit(gradient, DEFT_OP_MUL, dx, 2, x, value);
    case DEFT_OP_REDUCE_PROD:
        return emit_products(gradient, reduced, k);
    case DEFT_OP_REDUCE_LOG_SUM: /* k / exp(y) */
        DEFT_TRY(deft_emit(gradient, DEFT_OP_EXP, &value, 1, y));
        DEFT_TRY(deft_emit(gradient, DEFT_OP_DIV, &value, 2, k, value));
        return emit_expanded(gradient, value);
    case DEFT_OP_REDUCE_LOG_SUM_EXP: /* k exp(x - y) */
        DEFT_TRY(deft_emit(gradient, DEFT_OP_SUB, &value, 2, x, y));
        DEFT_TRY(deft_emit(gradient, DEFT_OP_EXP, &value, 1, value));
        return deft_emit(gradient, DEFT_OP_MUL, dx, 2, value, k);
    default: /* Max, Min */
        return emit_extremum(gradient, reduced, k, y);
    }
}

deft_status deft_gradient_reduce(deft_gradient *gradient) {
    bool reduced[DEFT_MAX_RANK];
    int dy, y;
    deft_op_call call = deft_gradient_call(gradient);
    DEFT_TRY(deft_reduction_axes(&call, reduced));
    DEFT_TRY(emit_kept(gradient, reduced, &dy, &y));
    return emit_reduce(gradient, reduced, dy, y);
}

deft_status deft_gradient_global_max_pool(deft_gradient *gradient) {
    const bool reduced[DEFT_MAX_RANK] = {false, false, true, true, true, true, true, true};
    return emit_extremum(gradient, reduced, gradient->out_grad[0], gradient->out[0]);
}

/* (dy - mean(dy)) / (deviation + 1e-9) - y mean(dy y) / deviation; where the deviation is 0, so is y. */
deft_status deft_gradient_mean_variance(deft_gradient *gradient) {
    bool reduced[DEFT_MAX_RANK];
    deft_op_call call = deft_gradient_call(gradient);
    deft_dtype dtype = gradient->in_desc[0]->dtype;
    int rank = gradient->in_desc[0]->rank, x = gradient->in[0], y = gradient->out[0], dy = gradient->out_grad[0];
    int value, deviation, least, scale, centred, along;
    DEFT_TRY(read_normalized(&call, reduced));
    DEFT_TRY(deft_emit_reduced(gradient, DEFT_OP_REDUCE_MEAN, x, rank, reduced, &value));
    DEFT_TRY(deft_emit(gradient, DEFT_OP_SUB, &value, 2, x, value));
    DEFT_TRY(deft_emit(gradient, DEFT_OP_MUL, &value, 2, value, value));
    DEFT_TRY(deft_emit_reduced(gradient, DEFT_OP_REDUCE_MEAN, value, rank, reduced, &value));
    DEFT_TRY(deft_emit(gradient, DEFT_OP_SQRT, &deviation, 1, value));
    DEFT_TRY(deft_emit_number(gradient, dtype, 1e-9, &least));
    DEFT_TRY(deft_emit(gradient, DEFT_OP_ADD, &scale, 2, deviation, least));
    DEFT_TRY(deft_emit_reduced(gradient, DEFT_OP_REDUCE_MEAN, dy, rank, reduced, &value));
    DEFT_TRY(deft_emit(gradient, DEFT_OP_SUB, &value, 2, dy, value));
    DEFT_TRY(deft_emit(gradient, DEFT_OP_DIV, &centred, 2, value, scale));
    DEFT_TRY(deft_emit(gradient, DEFT_OP_MUL, &value, 2, dy, y));
    DEFT_TRY(deft_emit_reduced(gradient, DEFT_OP_REDUCE_MEAN, value, rank, reduced, &along));
    DEFT_TRY(deft_emit(gradient, DEFT_OP_MAX, &deviation, 2, deviation, least));
    DEFT_TRY(deft_emit(gradient, DEFT_OP_DIV, &along, 2, along, deviation));
    DEFT_TRY(deft_emit(gradient, DEFT_OP_MUL, &value, 2, y, along));
    return deft_emit(gradient, DEFT_OP_SUB, &gradient->in_grad[0], 2, centred, value);
}
