/* Softmax, LogSoftmax and their gradients of one floating type, a line at a time: see each_real.h. */

/* y = softmax(x) along one line, or its logarithm; shifted by the maximum, so that exp does not overflow. */
static void TYPED(soften)(const REAL *x, REAL *y, int64_t length, int64_t stride, bool logarithm) {
    REAL maximum = x[0], sum = 0;
    for (int64_t i = 1; i < length; i++)
        maximum = x[i * stride] > maximum ? x[i * stride] : maximum;
    for (int64_t i = 0; i < length; i++) {
        REAL shifted = x[i * stride] - maximum, power = exp(shifted);
        sum += power;
        y[i * stride] = logarithm ? shifted : power;
    }
    REAL log_sum = log(sum);
    for (int64_t i = 0; i < length; i++)
        y[i * stride] = logarithm ? y[i * stride] - log_sum : y[i * stride] / sum;
}

static deft_status TYPED(soften_lines)(const deft_op_call *call, bool logarithm) {
    line_set lines;
    DEFT_TRY(find_lines(call, call->in[0], &lines));
    int threads = deft_rule_threads(call, lines.outer * lines.length * lines.inner);
#pragma omp parallel for num_threads(threads)
    for (int64_t line = 0; line < lines.outer * lines.inner; line++) {
        int64_t offset = line_offset(&lines, line);
        TYPED(soften)
        ((const REAL *)call->in[0]->data + offset, (REAL *)call->out[0]->data + offset, lines.length, lines.inner,
         logarithm);
    }
    return DEFT_OK;
}

static deft_status TYPED(softmax)(const deft_op_call *call) {
    return TYPED(soften_lines)(call, false);
}

static deft_status TYPED(hardmax)(const deft_op_call *call) {
    line_set lines;
    DEFT_TRY(find_lines(call, call->in[0], &lines));
    for (int64_t line = 0; line < lines.outer * lines.inner; line++) {
        const REAL *x = (const REAL *)call->in[0]->data + line_offset(&lines, line);
        REAL *y = (REAL *)call->out[0]->data + line_offset(&lines, line);
        int64_t best = 0;
        for (int64_t i = 0; i < lines.length; i++) {
            if (x[i * lines.inner] > x[best * lines.inner]) best = i;
            y[i * lines.inner] = 0;
        }
        y[best * lines.inner] = 1;
    }
    return DEFT_OK;
}

static deft_status TYPED(log_softmax)(const deft_op_call *call) {
    return TYPED(soften_lines)(call, true);
}

/* Softmax: dx = y (dy - sum dy y). LogSoftmax: dx = dy - exp(y) sum dy. */
static void TYPED(soften_back)(const REAL *dy, const REAL *y, REAL *dx, int64_t length, int64_t stride,
                               bool logarithm) {
    REAL sum = 0;
    for (int64_t i = 0; i < length; i++)
        sum += logarithm ? dy[i * stride] : dy[i * stride] * y[i * stride];
    for (int64_t i = 0; i < length; i++) {
        REAL value = y[i * stride];
        dx[i * stride] = logarithm ? dy[i * stride] - exp(value) * sum : value * (dy[i * stride] - sum);
    }
}

static deft_status TYPED(soften_lines_back)(const deft_op_call *call, bool logarithm) {
    line_set lines;
    DEFT_TRY(find_lines(call, call->in[1], &lines));
    int threads = deft_rule_threads(call, lines.outer * lines.length * lines.inner);
#pragma omp parallel for num_threads(threads)
    for (int64_t line = 0; line < lines.outer * lines.inner; line++) {
        int64_t offset = line_offset(&lines, line);
        TYPED(soften_back)
        ((const REAL *)call->in[0]->data + offset, (const REAL *)call->in[1]->data + offset,
         (REAL *)call->out[0]->data + offset, lines.length, lines.inner, logarithm);
    }
    return DEFT_OK;
}

static deft_status TYPED(softmax_grad)(const deft_op_call *call) {
    return TYPED(soften_lines_back)(call, false);
}

static deft_status TYPED(log_softmax_grad)(const deft_op_call *call) {
    return TYPED(soften_lines_back)(call, true);
}
