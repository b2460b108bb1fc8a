/* Functions of one element of one floating type: see each_real.h. a and b are the operator's parameters. */

static inline REAL TYPED(gelu)(REAL x, bool tangent) {
    const REAL root = (REAL)0.7978845608028654; /* sqrt(2 / pi) */
    if (tangent) return x / 2 * (1 + tanh(root * (x + (REAL)0.044715 * x * x * x)));
    return x / 2 * (1 + erf(x * (REAL)0.7071067811865476));
}

/* log(1 + exp(x)), which for large x is x. */
static inline REAL TYPED(softplus)(REAL x) {
    return x > 20 ? x + log1p(exp(-x)) : log1p(exp(x));
}

static inline REAL TYPED(hard_sigmoid)(REAL x, REAL slope, REAL offset) {
    REAL y = slope * x + offset;
    return y < 0 ? 0 : y > 1 ? 1 : y;
}

static inline REAL TYPED(apply_activation)(deft_op op, REAL x, REAL a, REAL b) {
    switch (op) {
    case DEFT_OP_LEAKY_RELU:
        return x < 0 ? a * x : x;
    case DEFT_OP_ELU:
        return x < 0 ? a * expm1(x) : x;
    case DEFT_OP_SELU:
        return b * (x < 0 ? a * expm1(x) : x);
    case DEFT_OP_CELU:
        return x < 0 ? a * expm1(x / a) : x;
    case DEFT_OP_THRESHOLDED_RELU:
        return x <= a ? 0 : x;
    case DEFT_OP_HARD_SIGMOID:
        return TYPED(hard_sigmoid)(x, a, b);
    case DEFT_OP_HARD_SWISH:
        return x * TYPED(hard_sigmoid)(x, (REAL)1 / 6, (REAL)0.5);
    case DEFT_OP_SOFTPLUS:
        return TYPED(softplus)(x);
    case DEFT_OP_SOFTSIGN:
        return x / (1 + fabs(x));
    case DEFT_OP_GELU:
        return TYPED(gelu)(x, a != 0);
    case DEFT_OP_MISH:
        return x * tanh(TYPED(softplus)(x));
    case DEFT_OP_SWISH:
        return x / (1 + exp(-a * x));
    default: /* Shrink */
        return x < -a ? x + b : x > a ? x - b : isnan(x) ? x : 0;
    }
}

static inline REAL TYPED(apply_trigonometric)(deft_op op, REAL x, REAL a, REAL b) {
    switch (op) {
    case DEFT_OP_SIN:
        return sin(x);
    case DEFT_OP_COS:
        return cos(x);
    case DEFT_OP_TAN:
        return tan(x);
    case DEFT_OP_ASIN:
        return asin(x);
    case DEFT_OP_ACOS:
        return acos(x);
    case DEFT_OP_ATAN:
        return atan(x);
    case DEFT_OP_SINH:
        return sinh(x);
    case DEFT_OP_COSH:
        return cosh(x);
    case DEFT_OP_ASINH:
        return asinh(x);
    case DEFT_OP_ACOSH:
        return acosh(x);
    case DEFT_OP_ATANH:
        return atanh(x);
    default:
        return TYPED(apply_activation)(op, x, a, b);
    }
}

static inline REAL TYPED(apply)(deft_op op, REAL x, REAL a, REAL b) {
    switch (op) {
    case DEFT_OP_ABS:
        return fabs(x);
    case DEFT_OP_NEG:
        return -x;
    case DEFT_OP_SIGN:
        return isnan(x) ? x : (REAL)((x > 0) - (x < 0));
    case DEFT_OP_RECIPROCAL:
        return 1 / x;
    case DEFT_OP_SQRT:
        return sqrt(x);
    case DEFT_OP_EXP:
        return exp(x);
    case DEFT_OP_LOG:
        return log(x);
    case DEFT_OP_ERF:
        return erf(x);
    case DEFT_OP_CEIL:
        return ceil(x);
    case DEFT_OP_FLOOR:
        return floor(x);
    case DEFT_OP_ROUND: /* halves to even */
        return rint(x);
    default:
        return TYPED(apply_trigonometric)(op, x, a, b);
    }
}

static deft_status TYPED(unary)(const deft_op_call *call) {
    const REAL *restrict x = call->in[0]->data;
    REAL *restrict y = call->out[0]->data;
    float parameter[2];
    read_parameters(call->op, call->attrs, parameter);
    REAL a = (REAL)parameter[0], b = (REAL)parameter[1];
    int64_t count = deft_tensor_count(call->out[0]);
    int threads = deft_rule_threads(call, count);
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < count; i++)
        y[i] = TYPED(apply)(call->op, x[i], a, b);
    return DEFT_OK;
}
