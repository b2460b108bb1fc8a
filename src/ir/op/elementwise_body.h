/* Arithmetic of two numbers of one floating type: see each_real.h. */

static inline REAL TYPED(apply)(deft_op op, REAL a, REAL b) {
    switch (op) {
    case DEFT_OP_ADD:
        return a + b;
    case DEFT_OP_SUB:
        return a - b;
    case DEFT_OP_MUL:
        return a * b;
    case DEFT_OP_DIV:
        return a / b;
    case DEFT_OP_POW:
        return pow(a, b);
    case DEFT_OP_MOD:
        return fmod(a, b);
    default: /* PRelu */
        return a < 0 ? a * b : a;
    }
}

/* a modulo b with the sign of b. */
static inline REAL TYPED(modulo)(REAL a, REAL b) {
    REAL rest = fmod(a, b);
    if (rest == 0) return copysign(rest, b);
    return (rest < 0) != (b < 0) ? rest + b : rest;
}

static void TYPED(modulo_row)(const REAL *a, int64_t a_stride, const REAL *b, int64_t b_stride, REAL *y,
                              int64_t count) {
    for (int64_t i = 0; i < count; i++)
        y[i] = TYPED(modulo)(a[i * a_stride], b[i * b_stride]);
}

/* y[i] = a[i] op b[i]; the strides are 0 or 1. `op` is a constant where this is inlined. */
static inline __attribute__((always_inline)) void TYPED(apply_row)(deft_op op, const REAL *restrict a, int64_t a_stride,
                                                                   const REAL *restrict b, int64_t b_stride,
                                                                   REAL *restrict y, int64_t count) {
    if (a_stride && b_stride) {
#pragma omp simd
        for (int64_t i = 0; i < count; i++)
            y[i] = TYPED(apply)(op, a[i], b[i]);
    } else if (a_stride) {
        REAL only = b[0];
#pragma omp simd
        for (int64_t i = 0; i < count; i++)
            y[i] = TYPED(apply)(op, a[i], only);
    } else {
        REAL only = a[0];
#pragma omp simd
        for (int64_t i = 0; i < count; i++)
            y[i] = TYPED(apply)(op, only, b[i * b_stride]);
    }
}

static void TYPED(apply_range)(const deft_op_call *call, const deft_nest *nest, int64_t begin, int64_t end) {
    int64_t a_stride = nest->strides[0][nest->rank - 1], b_stride = nest->strides[1][nest->rank - 1];
    while (begin < end) {
        deft_nest_row row = deft_nest_row_at(nest, begin, end);
        const REAL *a = (const REAL *)call->in[0]->data + row.offset[0];
        const REAL *b = (const REAL *)call->in[1]->data + row.offset[1];
        REAL *y = (REAL *)call->out[0]->data + row.begin;
        switch (call->op) {
        case DEFT_OP_ADD:
            TYPED(apply_row)(DEFT_OP_ADD, a, a_stride, b, b_stride, y, row.length);
            break;
        case DEFT_OP_SUB:
            TYPED(apply_row)(DEFT_OP_SUB, a, a_stride, b, b_stride, y, row.length);
            break;
        case DEFT_OP_MUL:
            TYPED(apply_row)(DEFT_OP_MUL, a, a_stride, b, b_stride, y, row.length);
            break;
        case DEFT_OP_DIV:
            TYPED(apply_row)(DEFT_OP_DIV, a, a_stride, b, b_stride, y, row.length);
            break;
        case DEFT_OP_POW:
            TYPED(apply_row)(DEFT_OP_POW, a, a_stride, b, b_stride, y, row.length);
            break;
        case DEFT_OP_MOD:
            if (is_floored(call)) {
                TYPED(modulo_row)(a, a_stride, b, b_stride, y, row.length);
                break;
            }
            TYPED(apply_row)(DEFT_OP_MOD, a, a_stride, b, b_stride, y, row.length);
            break;
        default:
            TYPED(apply_row)(DEFT_OP_PRELU, a, a_stride, b, b_stride, y, row.length);
        }
        begin += row.length;
    }
}

static deft_status TYPED(arithmetic)(const deft_op_call *call) {
    deft_nest nest;
    init_nest(call, &nest);
    int threads = deft_rule_threads(call, nest.count);
#pragma omp parallel for num_threads(threads)
    for (int i = 0; i < threads; i++)
        TYPED(apply_range)(call, &nest, nest.count * i / threads, nest.count * (i + 1) / threads);
    return DEFT_OK;
}
