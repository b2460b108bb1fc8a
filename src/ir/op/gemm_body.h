/* Gemm of one floating type: see each_real.h. */

static void TYPED(add_bias)(const deft_op_call *call, REAL *y, int64_t m, int64_t n) {
    REAL alpha = (REAL)deft_attr_float(call->attrs, "alpha", 1), beta = (REAL)deft_attr_float(call->attrs, "beta", 1);
    const deft_tensor *c = call->in_count > 2 && beta != 0 ? call->in[2] : NULL;
    int64_t strides[2] = {0, 0};
    if (c) deft_broadcast_strides(c, call->out[0], strides);
    for (int64_t i = 0; i < m; i++, y += n) {
        const REAL *bias = c ? (const REAL *)c->data + i * strides[0] : NULL;
        for (int64_t j = 0; j < n; j++)
            y[j] = alpha * y[j] + (bias ? beta * bias[j * strides[1]] : 0);
    }
}

static deft_status TYPED(gemm)(const deft_op_call *call) {
    deft_product product = {.y = call->out[0]->data};
    DEFT_TRY(resolve(call, &product));
    product.a = call->in[0]->data;
    product.b = call->in[1]->data;
    deft_product_run(call, call->in[0]->dtype, &product);
    TYPED(add_bias)(call, product.y, product.m, product.n);
    return DEFT_OK;
}
