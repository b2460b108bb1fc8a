/* Max, Min, Sum and Mean of one floating type: see each_real.h. */

/* NaN wins, as in NumPy. */
static inline REAL TYPED(fold)(deft_op op, REAL so_far, REAL x) {
    switch (op) {
    case DEFT_OP_MAX:
        return x > so_far || isnan(x) ? x : so_far;
    case DEFT_OP_MIN:
        return x < so_far || isnan(x) ? x : so_far;
    default: /* Sum, Mean */
        return so_far + x;
    }
}

static void TYPED(fold_input)(const deft_op_call *call, int input) {
    deft_nest nest;
    init_nest(call, input, &nest);
    int64_t stride = nest.strides[0][nest.rank - 1];
    for (int64_t done = 0; done < nest.count;) {
        deft_nest_row row = deft_nest_row_at(&nest, done, nest.count);
        const REAL *x = (const REAL *)call->in[input]->data + row.offset[0];
        REAL *y = (REAL *)call->out[0]->data + row.begin;
        for (int64_t i = 0; i < row.length; i++)
            y[i] = input == 0 ? x[i * stride] : TYPED(fold)(call->op, y[i], x[i * stride]);
        done += row.length;
    }
}

static deft_status TYPED(variadic)(const deft_op_call *call) {
    for (int i = 0; i < call->in_count; i++)
        TYPED(fold_input)(call, i);
    if (call->op != DEFT_OP_MEAN) return DEFT_OK;
    REAL *y = call->out[0]->data;
    int64_t count = deft_tensor_count(call->out[0]);
    for (int64_t i = 0; i < count; i++)
        y[i] /= (REAL)call->in_count;
    return DEFT_OK;
}
