/* Relu, Clip, Sigmoid, Tanh and their gradients of one floating type: see each_real.h. */

static deft_status TYPED(relu)(const deft_op_call *call) {
    const REAL *restrict x = call->in[0]->data;
    REAL *restrict y = call->out[0]->data;
    int64_t count = deft_tensor_count(call->out[0]);
    int threads = deft_rule_threads(call, count);
#pragma omp parallel for simd num_threads(threads)
    for (int64_t i = 0; i < count; i++)
        y[i] = x[i] < 0 ? 0 : x[i];
    return DEFT_OK;
}

static deft_status TYPED(relu_grad)(const deft_op_call *call) {
    const REAL *restrict dy = call->in[0]->data, *restrict y = call->in[1]->data;
    REAL *restrict dx = call->out[0]->data;
    int64_t count = deft_tensor_count(call->out[0]);
    int threads = deft_rule_threads(call, count);
#pragma omp parallel for simd num_threads(threads)
    for (int64_t i = 0; i < count; i++) {
        REAL slope = dy[i]; /* read in any case: a load under a condition is not vectorised */
        dx[i] = y[i] > 0 ? slope : 0;
    }
    return DEFT_OK;
}

/* The bound in input `index` or, before opset 11, in an attribute. */
static REAL TYPED(bound)(const deft_op_call *call, int index, const char *attribute, float fallback) {
    if (index < call->in_count && call->in[index]) return *(const REAL *)call->in[index]->data;
    return (REAL)deft_attr_float(call->attrs, attribute, fallback);
}

static deft_status TYPED(clip)(const deft_op_call *call) {
    const REAL *restrict x = call->in[0]->data;
    REAL *restrict y = call->out[0]->data;
    REAL low = TYPED(bound)(call, 1, "min", -INFINITY), high = TYPED(bound)(call, 2, "max", INFINITY);
    int64_t count = deft_tensor_count(call->out[0]);
    int threads = deft_rule_threads(call, count);
#pragma omp parallel for simd num_threads(threads)
    for (int64_t i = 0; i < count; i++) {
        REAL raised = x[i] < low ? low : x[i];
        y[i] = raised > high ? high : raised;
    }
    return DEFT_OK;
}

static deft_status TYPED(clip_grad)(const deft_op_call *call) {
    const REAL *restrict dy = call->in[0]->data, *restrict x = call->in[1]->data;
    REAL *restrict dx = call->out[0]->data;
    REAL low = TYPED(bound)(call, 2, "min", -INFINITY), high = TYPED(bound)(call, 3, "max", INFINITY);
    int64_t count = deft_tensor_count(call->out[0]);
    int threads = deft_rule_threads(call, count);
#pragma omp parallel for simd num_threads(threads)
    for (int64_t i = 0; i < count; i++) {
        REAL slope = dy[i], above = x[i] > low ? slope : 0;
        dx[i] = x[i] < high ? above : 0;
    }
    return DEFT_OK;
}

static deft_status TYPED(sigmoid)(const deft_op_call *call) {
    const REAL *restrict x = call->in[0]->data;
    REAL *restrict y = call->out[0]->data;
    int64_t count = deft_tensor_count(call->out[0]);
    int threads = deft_rule_threads(call, count);
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < count; i++)
        y[i] = 1 / (1 + exp(-x[i]));
    return DEFT_OK;
}

static deft_status TYPED(sigmoid_grad)(const deft_op_call *call) {
    const REAL *restrict dy = call->in[0]->data, *restrict y = call->in[1]->data;
    REAL *restrict dx = call->out[0]->data;
    int64_t count = deft_tensor_count(call->out[0]);
    int threads = deft_rule_threads(call, count);
#pragma omp parallel for simd num_threads(threads)
    for (int64_t i = 0; i < count; i++)
        dx[i] = dy[i] * y[i] * (1 - y[i]);
    return DEFT_OK;
}

static deft_status TYPED(tanh_forward)(const deft_op_call *call) {
    const REAL *restrict x = call->in[0]->data;
    REAL *restrict y = call->out[0]->data;
    int64_t count = deft_tensor_count(call->out[0]);
    int threads = deft_rule_threads(call, count);
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < count; i++)
        y[i] = tanh(x[i]);
    return DEFT_OK;
}

static deft_status TYPED(tanh_grad)(const deft_op_call *call) {
    const REAL *restrict dy = call->in[0]->data, *restrict y = call->in[1]->data;
    REAL *restrict dx = call->out[0]->data;
    int64_t count = deft_tensor_count(call->out[0]);
    int threads = deft_rule_threads(call, count);
#pragma omp parallel for simd num_threads(threads)
    for (int64_t i = 0; i < count; i++)
        dx[i] = dy[i] * (1 - y[i] * y[i]);
    return DEFT_OK;
}
