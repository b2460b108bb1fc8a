/* Gradients of normalisations of one floating type: see each_real.h. With h the normalised x: y = scale h + B. Sums are
 * in f64. */

/* The mean of x, or 0 where it stays, and 1 / its deviation from that. */
static void TYPED(center_of)(const REAL *x, int64_t length, bool centered, double epsilon, REAL *mean, REAL *inverse) {
    double sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < length; i++)
        sum += (double)x[i];
    double center = centered ? sum / (double)length : 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < length; i++)
        squares += ((double)x[i] - center) * ((double)x[i] - center);
    *mean = (REAL)center;
    *inverse = (REAL)(1 / sqrt(squares / (double)length + epsilon));
}

/* One row, whose scale is one for each element, or (stride 0) one: with g = dy scale,
 * dx = (g - mean(g) - h mean(g h)) / deviation, without mean(g) where the mean stays. */
static inline __attribute__((always_inline)) void TYPED(normalized_row)(const REAL *restrict dy, const REAL *restrict x,
                                                                        const REAL *restrict scale, int64_t stride,
                                                                        int64_t length, bool centered, double epsilon,
                                                                        REAL *restrict dx) {
    REAL mean, inverse;
    double sum = 0, product = 0;
    TYPED(center_of)(x, length, centered, epsilon, &mean, &inverse);
#pragma omp simd reduction(+ : sum, product)
    for (int64_t i = 0; i < length; i++) {
        double g = (double)(dy[i] * scale[i * stride]);
        sum += g;
        product += g * (double)((x[i] - mean) * inverse);
    }
    REAL level = centered ? (REAL)(sum / (double)length) : 0, slope = (REAL)(product / (double)length);
#pragma omp simd
    for (int64_t i = 0; i < length; i++)
        dx[i] = inverse * (dy[i] * scale[i * stride] - level - (x[i] - mean) * inverse * slope);
}

static deft_status TYPED(norm_input_grad)(const deft_op_call *call) {
    const REAL *dy = call->in[0]->data, *x = call->in[1]->data, *scale = call->in[2]->data;
    REAL *dx = call->out[0]->data;
    double epsilon = epsilon_of(call);
    rows all;
    DEFT_TRY(find_rows(call, &all));
    int threads = deft_rule_threads(call, all.count * all.length);
#pragma omp parallel for num_threads(threads)
    for (int64_t row = 0; row < all.count; row++) {
        int64_t at = row * all.length;
        if (all.channels) TYPED(normalized_row)
        (dy + at, x + at, scale + row % all.channels, 0, all.length, all.centered, epsilon, dx + at);
        else TYPED(normalized_row)(dy + at, x + at, scale, 1, all.length, all.centered, epsilon, dx + at);
    }
    return DEFT_OK;
}

/* sum dy h, over all rows for each column, or over the rows of each channel. */
static deft_status TYPED(norm_scale_grad)(const deft_op_call *call) {
    REAL *restrict dscale = call->out[0]->data;
    double epsilon = epsilon_of(call);
    rows all;
    DEFT_TRY(find_rows(call, &all));
    for (int64_t i = 0; i < scale_count(&all); i++)
        dscale[i] = 0;
    for (int64_t row = 0; row < all.count; row++) {
        const REAL *restrict dy = (const REAL *)call->in[0]->data + row * all.length;
        const REAL *restrict x = (const REAL *)call->in[1]->data + row * all.length;
        REAL mean, inverse;
        double sum = 0;
        TYPED(center_of)(x, all.length, all.centered, epsilon, &mean, &inverse);
        if (!all.channels) {
#pragma omp simd
            for (int64_t i = 0; i < all.length; i++)
                dscale[i] += dy[i] * ((x[i] - mean) * inverse);
            continue;
        }
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < all.length; i++)
            sum += (double)(dy[i] * ((x[i] - mean) * inverse));
        dscale[row % all.channels] += (REAL)sum;
    }
    return DEFT_OK;
}
