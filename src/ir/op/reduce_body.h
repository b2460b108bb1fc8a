/* Reductions of one floating type: see each_real.h. */

/* The largest (sign 1) or, negated, the smallest (sign -1). */
static double TYPED(extreme)(const deft_nest *inner, const REAL *x, double sign) {
    double result = -INFINITY;
    int64_t stride = inner->strides[0][inner->rank - 1];
    for (int64_t done = 0; done < inner->count;) {
        deft_nest_row row = deft_nest_row_at(inner, done, inner->count);
        for (int64_t i = 0; i < row.length; i++)
            result = larger(result, sign * (double)x[row.offset[0] + i * stride]);
        done += row.length;
    }
    return result;
}

static double TYPED(product)(const deft_nest *inner, const REAL *x) {
    double result = 1;
    int64_t stride = inner->strides[0][inner->rank - 1];
    for (int64_t done = 0; done < inner->count;) {
        deft_nest_row row = deft_nest_row_at(inner, done, inner->count);
        for (int64_t i = 0; i < row.length; i++)
            result *= (double)x[row.offset[0] + i * stride];
        done += row.length;
    }
    return result;
}

static double TYPED(sum)(deft_op op, const deft_nest *inner, const REAL *x, double maximum) {
    double result = 0;
    int64_t stride = inner->strides[0][inner->rank - 1];
    for (int64_t done = 0; done < inner->count;) {
        deft_nest_row row = deft_nest_row_at(inner, done, inner->count);
        for (int64_t i = 0; i < row.length; i++)
            result += term(op, (double)x[row.offset[0] + i * stride], maximum);
        done += row.length;
    }
    return result;
}

static double TYPED(reduce_one)(deft_op op, const deft_nest *inner, const REAL *x) {
    double maximum = 0;
    if (op == DEFT_OP_REDUCE_MAX) return TYPED(extreme)(inner, x, 1);
    if (op == DEFT_OP_REDUCE_MIN) return -TYPED(extreme)(inner, x, -1);
    if (op == DEFT_OP_REDUCE_PROD) return TYPED(product)(inner, x);
    if (op == DEFT_OP_REDUCE_LOG_SUM_EXP) maximum = TYPED(extreme)(inner, x, 1);
    if (isinf(maximum)) return maximum; /* of nothing, or of infinities */
    return finish(op, TYPED(sum)(op, inner, x, maximum), inner->count, maximum);
}

static deft_status TYPED(reduce)(const deft_op_call *call) {
    bool reduced[DEFT_MAX_RANK];
    deft_reduction all;
    DEFT_TRY(deft_reduction_axes(call, reduced));
    deft_reduction_init(&all, call->in[0], reduced);
    REAL *y = call->out[0]->data;
    int threads = deft_rule_threads(call, deft_tensor_count(call->in[0]));
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < all.outer.count; i++) {
        int64_t offset = deft_nest_row_at(&all.outer, i, i + 1).offset[0];
        y[i] = (REAL)TYPED(reduce_one)(call->op, &all.inner, (const REAL *)call->in[0]->data + offset);
    }
    return DEFT_OK;
}

/* y = (x - mean) / (deviation + 1e-9) */
static void TYPED(normalize_one)(const deft_nest *inner, const REAL *x, REAL *y) {
    int64_t stride = inner->strides[0][inner->rank - 1];
    double mean = TYPED(sum)(DEFT_OP_REDUCE_SUM, inner, x, 0) / (double)inner->count, square = 0;
    for (int pass = 0; pass < 2; pass++) {
        double scale = 1 / (sqrt(square / (double)inner->count) + 1e-9);
        for (int64_t done = 0; done < inner->count;) {
            deft_nest_row row = deft_nest_row_at(inner, done, inner->count);
            for (int64_t i = 0; i < row.length; i++) {
                int64_t at = row.offset[0] + i * stride;
                double centered = (double)x[at] - mean;
                square += pass == 0 ? centered * centered : 0;
                if (pass == 1) y[at] = (REAL)(centered * scale);
            }
            done += row.length;
        }
    }
}

static deft_status TYPED(mean_variance)(const deft_op_call *call) {
    bool reduced[DEFT_MAX_RANK];
    deft_reduction all;
    DEFT_TRY(read_normalized(call, reduced));
    deft_reduction_init(&all, call->in[0], reduced);
    int threads = deft_rule_threads(call, deft_tensor_count(call->in[0]));
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < all.outer.count; i++) {
        int64_t offset = deft_nest_row_at(&all.outer, i, i + 1).offset[0];
        TYPED(normalize_one)
        (&all.inner, (const REAL *)call->in[0]->data + offset, (REAL *)call->out[0]->data + offset);
    }
    return DEFT_OK;
}
