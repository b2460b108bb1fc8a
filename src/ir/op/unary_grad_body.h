/* Derivatives of functions of one element of one floating type: see each_real.h. a and b are the parameters. */

/* Of x P(X <= x), or its approximation by a tangent. */
static inline REAL TYPED(gelu_slope)(REAL x, bool tangent) {
    const REAL root = (REAL)0.7978845608028654, cube = (REAL)0.044715; /* sqrt(2 / pi) */
    if (tangent) {
        REAL t = tanh(root * (x + cube * x * x * x));
        return (1 + t) / 2 + x / 2 * (1 - t * t) * root * (1 + 3 * cube * x * x);
    }
    REAL density = (REAL)0.3989422804014327 * exp(-x * x / 2); /* 1 / sqrt(2 pi) */
    return (1 + erf(x * (REAL)0.7071067811865476)) / 2 + x * density;
}

static inline REAL TYPED(sigmoid_of)(REAL x) {
    return 1 / (1 + exp(-x));
}

/* Of x tanh(softplus(x)). */
static inline REAL TYPED(mish_slope)(REAL x) {
    REAL softplus = x > 20 ? x + log1p(exp(-x)) : log1p(exp(x)), t = tanh(softplus);
    return t + x * (1 - t * t) * TYPED(sigmoid_of)(x);
}

static inline REAL TYPED(activation_slope)(deft_op op, REAL x, REAL a, REAL b) {
    switch (op) {
    case DEFT_OP_LEAKY_RELU:
        return x < 0 ? a : 1;
    case DEFT_OP_ELU:
        return x < 0 ? a * exp(x) : 1;
    case DEFT_OP_SELU:
        return b * (x < 0 ? a * exp(x) : 1);
    case DEFT_OP_CELU:
        return x < 0 ? exp(x / a) : 1;
    case DEFT_OP_THRESHOLDED_RELU:
        return x > a;
    case DEFT_OP_HARD_SIGMOID:
        return a * x + b > 0 && a * x + b < 1 ? a : 0;
    case DEFT_OP_HARD_SWISH:
        return x <= -3 ? 0 : x >= 3 ? 1 : x / 3 + (REAL)0.5;
    case DEFT_OP_SOFTPLUS:
        return TYPED(sigmoid_of)(x);
    case DEFT_OP_SOFTSIGN:
        return 1 / ((1 + fabs(x)) * (1 + fabs(x)));
    case DEFT_OP_GELU:
        return TYPED(gelu_slope)(x, a != 0);
    case DEFT_OP_MISH:
        return TYPED(mish_slope)(x);
    case DEFT_OP_SWISH: {
        REAL sigmoid = TYPED(sigmoid_of)(a * x);
        return sigmoid * (1 + a * x * (1 - sigmoid));
    }
    default: /* Shrink */
        return x < -a || x > a;
    }
}

static inline REAL TYPED(trigonometric_slope)(deft_op op, REAL x, REAL a, REAL b) {
    switch (op) {
    case DEFT_OP_SIN:
        return cos(x);
    case DEFT_OP_COS:
        return -sin(x);
    case DEFT_OP_TAN:
        return 1 + tan(x) * tan(x);
    case DEFT_OP_ASIN:
        return 1 / sqrt(1 - x * x);
    case DEFT_OP_ACOS:
        return -1 / sqrt(1 - x * x);
    case DEFT_OP_ATAN:
        return 1 / (1 + x * x);
    case DEFT_OP_SINH:
        return cosh(x);
    case DEFT_OP_COSH:
        return sinh(x);
    case DEFT_OP_ASINH:
        return 1 / sqrt(x * x + 1);
    case DEFT_OP_ACOSH:
        return 1 / sqrt(x * x - 1);
    case DEFT_OP_ATANH:
        return 1 / (1 - x * x);
    default:
        return TYPED(activation_slope)(op, x, a, b);
    }
}

static inline REAL TYPED(slope)(deft_op op, REAL x, REAL a, REAL b) {
    switch (op) {
    case DEFT_OP_ABS:
        return (REAL)((x > 0) - (x < 0));
    case DEFT_OP_NEG:
        return -1;
    case DEFT_OP_RECIPROCAL:
        return -1 / (x * x);
    case DEFT_OP_SQRT:
        return 1 / (2 * sqrt(x));
    case DEFT_OP_EXP:
        return exp(x);
    case DEFT_OP_LOG:
        return 1 / x;
    case DEFT_OP_ERF:
        return (REAL)1.1283791670955126 * exp(-x * x); /* 2 / sqrt(pi) */
    default:
        return TYPED(trigonometric_slope)(op, x, a, b);
    }
}

static deft_status TYPED(unary_grad)(const deft_op_call *call) {
    const REAL *restrict dy = call->in[0]->data, *restrict x = call->in[1]->data;
    REAL *restrict dx = call->out[0]->data;
    deft_op op = differentiated(call);
    float parameter[2];
    read_parameters(op, call->attrs, parameter);
    REAL a = (REAL)parameter[0], b = (REAL)parameter[1];
    int64_t count = deft_tensor_count(call->out[0]);
    int threads = deft_rule_threads(call, count);
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < count; i++)
        dx[i] = dy[i] * TYPED(slope)(op, x[i], a, b);
    return DEFT_OK;
}
