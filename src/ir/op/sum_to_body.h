/* SumTo of one floating type: see each_real.h. */

static deft_status TYPED(sum_to)(const deft_op_call *call) {
    const deft_tensor *x = call->in[0], *y = call->out[0];
    int64_t strides[DEFT_MAX_RANK], count = deft_tensor_count(y);
    REAL *to = y->data;
    deft_nest nest;
    deft_broadcast_strides(y, x, strides);
    deft_nest_init(&nest, x->rank, x->dims, strides, NULL);
    for (int64_t i = 0; i < count; i++)
        to[i] = 0;
    bool spread = nest.strides[0][nest.rank - 1] != 0;
    for (int64_t done = 0; done < nest.count;) {
        deft_nest_row row = deft_nest_row_at(&nest, done, nest.count);
        const REAL *restrict from = (const REAL *)x->data + done;
        REAL *restrict out = to + row.offset[0], sum = 0;
        if (spread) {
#pragma omp simd
            for (int64_t i = 0; i < row.length; i++)
                out[i] += from[i];
        } else {
#pragma omp simd reduction(+ : sum)
            for (int64_t i = 0; i < row.length; i++)
                sum += from[i];
            out[0] += sum;
        }
        done += row.length;
    }
    return DEFT_OK;
}
