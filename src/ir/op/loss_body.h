/* Losses and their gradients of one floating type: see each_real.h. Sums are f64. */

static REAL TYPED(maximum)(const REAL *x, int64_t count) {
    REAL value = x[0];
    for (int64_t i = 1; i < count; i++)
        value = x[i] > value ? x[i] : value;
    return value;
}

/* (logits, targets): mean over rows of sum targets (log sum exp(logits) - logits) */
static deft_status TYPED(softmax_cross_entropy)(const deft_op_call *call) {
    int64_t rows = call->in[0]->dims[0], classes = call->in[0]->dims[1];
    const REAL *logits = call->in[0]->data, *targets = call->in[1]->data;
    double loss = 0;
    for (int64_t row = 0; row < rows; row++, logits += classes, targets += classes) {
        REAL shift = TYPED(maximum)(logits, classes);
        double sum = 0, weighted = 0, weight = 0;
        for (int64_t i = 0; i < classes; i++) {
            sum += (double)exp(logits[i] - shift);
            weighted += (double)(targets[i] * (logits[i] - shift));
            weight += (double)targets[i];
        }
        loss += weight * log(sum) - weighted;
    }
    *(REAL *)call->out[0]->data = (REAL)(loss / (double)rows);
    return DEFT_OK;
}

/* (dloss, logits, targets) */
static deft_status TYPED(softmax_cross_entropy_grad)(const deft_op_call *call) {
    int64_t rows = call->in[1]->dims[0], classes = call->in[1]->dims[1];
    REAL factor = *(const REAL *)call->in[0]->data / (REAL)rows;
    int threads = deft_rule_threads(call, rows * classes);
#pragma omp parallel for num_threads(threads)
    for (int64_t row = 0; row < rows; row++) {
        const REAL *logits = (const REAL *)call->in[1]->data + row * classes;
        const REAL *targets = (const REAL *)call->in[2]->data + row * classes;
        REAL *dx = (REAL *)call->out[0]->data + row * classes;
        REAL shift = TYPED(maximum)(logits, classes), sum = 0, weight = 0;
        for (int64_t i = 0; i < classes; i++) {
            dx[i] = exp(logits[i] - shift);
            sum += dx[i];
            weight += targets[i];
        }
        for (int64_t i = 0; i < classes; i++)
            dx[i] = factor * (dx[i] * (weight / sum) - targets[i]);
    }
    return DEFT_OK;
}

static deft_status TYPED(mean_squared_error)(const deft_op_call *call) {
    const REAL *y = call->in[0]->data, *target = call->in[1]->data;
    int64_t count = deft_tensor_count(call->in[0]);
    double loss = 0;
#pragma omp simd reduction(+ : loss)
    for (int64_t i = 0; i < count; i++) {
        double error = (double)y[i] - (double)target[i];
        loss += error * error;
    }
    *(REAL *)call->out[0]->data = (REAL)(loss / (double)count);
    return DEFT_OK;
}

/* (dloss, y, target) */
static deft_status TYPED(mean_squared_error_grad)(const deft_op_call *call) {
    const REAL *restrict y = call->in[1]->data, *restrict target = call->in[2]->data;
    REAL *restrict dx = call->out[0]->data;
    int64_t count = deft_tensor_count(call->in[1]);
    REAL factor = 2 * *(const REAL *)call->in[0]->data / (REAL)count;
    int threads = deft_rule_threads(call, count);
#pragma omp parallel for simd num_threads(threads)
    for (int64_t i = 0; i < count; i++)
        dx[i] = factor * (y[i] - target[i]);
    return DEFT_OK;
}

static deft_status TYPED(mean_percentage_error)(const deft_op_call *call) {
    const REAL *y = call->in[0]->data, *target = call->in[1]->data;
    int64_t count = deft_tensor_count(call->in[0]);
    double loss = 0;
#pragma omp simd reduction(+ : loss)
    for (int64_t i = 0; i < count; i++)
        loss += fabs((double)y[i] - (double)target[i]) / fmax(fabs((double)target[i]), SMALLEST_TARGET);
    *(REAL *)call->out[0]->data = (REAL)(loss / (double)count);
    return DEFT_OK;
}

/* (dloss, y, target) */
static deft_status TYPED(mean_percentage_error_grad)(const deft_op_call *call) {
    const REAL *restrict y = call->in[1]->data, *restrict target = call->in[2]->data;
    REAL *restrict dx = call->out[0]->data;
    int64_t count = deft_tensor_count(call->in[1]);
    REAL factor = *(const REAL *)call->in[0]->data / (REAL)count;
    int threads = deft_rule_threads(call, count);
#pragma omp parallel for simd num_threads(threads)
    for (int64_t i = 0; i < count; i++) {
        REAL error = y[i] - target[i], sign = (REAL)((error > 0) - (error < 0));
        dx[i] = factor * (error == error ? sign : error) / fmax(fabs(target[i]), (REAL)SMALLEST_TARGET);
    }
    return DEFT_OK;
}
