/* Normalisations of one floating type: see each_real.h. */

/* The mean of x, and its (biased) variance. */
static void TYPED(statistics)(const REAL *x, int64_t count, double *mean, double *variance) {
    double sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; i++)
        sum += (double)x[i];
    double center = sum / (double)count;
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < count; i++)
        squares += ((double)x[i] - center) * ((double)x[i] - center);
    *mean = center;
    *variance = squares / (double)count;
}

static deft_status TYPED(instance_norm)(const deft_op_call *call) {
    const deft_tensor *tensor = call->in[0];
    const REAL *scale = call->in[1]->data, *shift = call->in[2]->data;
    int64_t channels = tensor->dims[1], plane = deft_rule_product(tensor->dims, 2, tensor->rank);
    int64_t planes = tensor->dims[0] * channels;
    double epsilon = epsilon_of(call);
    int threads = deft_rule_threads(call, planes * plane);
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < planes; i++) {
        const REAL *x = (const REAL *)tensor->data + i * plane;
        REAL *y = (REAL *)call->out[0]->data + i * plane;
        double mean, variance;
        TYPED(statistics)(x, plane, &mean, &variance);
        double factor = (double)scale[i % channels] / sqrt(variance + epsilon);
        for (int64_t j = 0; j < plane; j++)
            y[j] = (REAL)(((double)x[j] - mean) * factor + (double)shift[i % channels]);
    }
    return DEFT_OK;
}

static deft_status TYPED(layer_norm)(const deft_op_call *call) {
    const deft_tensor *tensor = call->in[0], *bias = deft_rule_in(call, 2);
    deft_tensor *means = deft_rule_out(call, 1), *inverses = deft_rule_out(call, 2);
    const REAL *scale = call->in[1]->data, *shift = bias ? bias->data : NULL;
    int axis;
    DEFT_TRY(read_axis(call, &axis));
    int64_t rows = deft_rule_product(tensor->dims, 0, axis),
            length = deft_rule_product(tensor->dims, axis, tensor->rank);
    double epsilon = epsilon_of(call);
    int threads = deft_rule_threads(call, rows * length);
#pragma omp parallel for num_threads(threads)
    for (int64_t row = 0; row < rows; row++) {
        const REAL *x = (const REAL *)tensor->data + row * length;
        REAL *y = call->out[0] ? (REAL *)call->out[0]->data + row * length : NULL;
        double mean, variance;
        TYPED(statistics)(x, length, &mean, &variance);
        double inverse = 1 / sqrt(variance + epsilon);
        REAL center = (REAL)mean, factor = (REAL)inverse;
        for (int64_t i = 0; y && i < length; i++)
            y[i] = (x[i] - center) * factor * scale[i] + (shift ? shift[i] : 0);
        if (means) ((REAL *)means->data)[row] = center;
        if (inverses) ((REAL *)inverses->data)[row] = factor;
    }
    return DEFT_OK;
}

static deft_status TYPED(rms_norm)(const deft_op_call *call) {
    const deft_tensor *tensor = call->in[0];
    const REAL *scale = call->in[1]->data;
    int axis;
    DEFT_TRY(read_axis(call, &axis));
    int64_t rows = deft_rule_product(tensor->dims, 0, axis),
            length = deft_rule_product(tensor->dims, axis, tensor->rank);
    double epsilon = epsilon_of(call);
    int threads = deft_rule_threads(call, rows * length);
#pragma omp parallel for num_threads(threads)
    for (int64_t row = 0; row < rows; row++) {
        const REAL *x = (const REAL *)tensor->data + row * length;
        REAL *y = (REAL *)call->out[0]->data + row * length;
        double squares = 0;
        for (int64_t i = 0; i < length; i++)
            squares += (double)x[i] * (double)x[i];
        REAL factor = (REAL)(1 / sqrt(squares / (double)length + epsilon));
        for (int64_t i = 0; i < length; i++)
            y[i] = x[i] * factor * scale[i];
    }
    return DEFT_OK;
}

static deft_status TYPED(group_norm)(const deft_op_call *call) {
    const deft_tensor *tensor = call->in[0];
    const REAL *scale = call->in[1]->data, *shift = call->in[2]->data;
    int64_t groups = deft_attr_int(call->attrs, "num_groups", 1), channels = tensor->dims[1] / groups;
    int64_t plane = deft_rule_product(tensor->dims, 2, tensor->rank), length = channels * plane;
    double epsilon = epsilon_of(call);
    int threads = deft_rule_threads(call, tensor->dims[0] * groups * length);
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < tensor->dims[0] * groups; i++) {
        const REAL *x = (const REAL *)tensor->data + i * length;
        REAL *y = (REAL *)call->out[0]->data + i * length;
        double mean, variance;
        TYPED(statistics)(x, length, &mean, &variance);
        double inverse = 1 / sqrt(variance + epsilon);
        for (int64_t j = 0; j < length; j++) {
            int64_t at = call->opset < 21 ? i % groups : i % groups * channels + j / plane;
            y[j] = (REAL)(((double)x[j] - mean) * inverse * (double)scale[at] + (double)shift[at]);
        }
    }
    return DEFT_OK;
}

static deft_status TYPED(lp_norm)(const deft_op_call *call) {
    int axis;
    DEFT_TRY(read_axis(call, &axis));
    deft_lines lines = deft_rule_lines(call->in[0], axis);
    bool squares = deft_attr_int(call->attrs, "p", 2) == 2;
    for (int64_t line = 0; line < lines.outer * lines.inner; line++) {
        int64_t offset = deft_rule_line(&lines, line);
        const REAL *x = (const REAL *)call->in[0]->data + offset;
        REAL *y = (REAL *)call->out[0]->data + offset;
        double sum = 0;
        for (int64_t i = 0; i < lines.length; i++) {
            double value = (double)x[i * lines.inner];
            sum += squares ? value * value : fabs(value);
        }
        double norm = squares ? sqrt(sum) : sum;
        for (int64_t i = 0; i < lines.length; i++)
            y[i * lines.inner] = norm == 0 ? 0 : (REAL)((double)x[i * lines.inner] / norm);
    }
    return DEFT_OK;
}
