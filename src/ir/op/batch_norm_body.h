/* Batch normalisation of one floating type, a channel at a time: see each_real.h. */

/* y = x * factor + offset over all planes of channel c. */
static void TYPED(scale_channel)(const channels *shape, int64_t c, const REAL *x, REAL factor, REAL offset, REAL *y) {
    for (int64_t image = 0; image < shape->batch; image++) {
        const REAL *restrict from = x + (image * shape->count + c) * shape->plane;
        REAL *restrict to = y + (image * shape->count + c) * shape->plane;
#pragma omp simd
        for (int64_t i = 0; i < shape->plane; i++)
            to[i] = from[i] * factor + offset;
    }
}

static deft_status TYPED(batch_norm)(const deft_op_call *call) {
    channels shape = find_channels(call->in[0]);
    const REAL *scale = call->in[1]->data, *shift = call->in[2]->data, *mean = call->in[3]->data,
               *variance = call->in[4]->data;
    REAL epsilon = (REAL)read_epsilon(call);
    int threads = deft_rule_threads(call, shape.batch * shape.count * shape.plane);
#pragma omp parallel for num_threads(threads)
    for (int64_t c = 0; c < shape.count; c++) {
        REAL factor = scale[c] / sqrt(variance[c] + epsilon);
        TYPED(scale_channel)(&shape, c, call->in[0]->data, factor, shift[c] - mean[c] * factor, call->out[0]->data);
    }
    return DEFT_OK;
}

/* The sums of a, and of a * (b - center), over channel c; in f64, as they may be long. */
static void TYPED(channel_sums)(const channels *shape, int64_t c, const REAL *a, const REAL *b, double center,
                                double *sum, double *product) {
    double total = 0, total_product = 0;
    for (int64_t image = 0; image < shape->batch; image++) {
        const REAL *a_plane = a + (image * shape->count + c) * shape->plane;
        const REAL *b_plane = b + (image * shape->count + c) * shape->plane;
#pragma omp simd reduction(+ : total, total_product)
        for (int64_t i = 0; i < shape->plane; i++) {
            total += (double)a_plane[i];
            total_product += (double)a_plane[i] * ((double)b_plane[i] - center);
        }
    }
    *sum = total;
    *product = total_product;
}

/* (x, scale, B) to (y, mean, var) */
static deft_status TYPED(batch_norm_training)(const deft_op_call *call) {
    channels shape = find_channels(call->in[0]);
    const REAL *x = call->in[0]->data, *scale = call->in[1]->data, *shift = call->in[2]->data;
    REAL *mean = call->out[1]->data, *variance = call->out[2]->data;
    double epsilon = read_epsilon(call), size = (double)(shape.batch * shape.plane);
    int threads = deft_rule_threads(call, shape.batch * shape.count * shape.plane);
#pragma omp parallel for num_threads(threads)
    for (int64_t c = 0; c < shape.count; c++) {
        double sum, squares, unused;
        TYPED(channel_sums)(&shape, c, x, x, 0, &sum, &unused);
        double center = sum / size;
        /* sum x (x - mean) = sum (x - mean)^2, where the sums cancel less than in the textbook's sum x^2 - n mean^2 */
        TYPED(channel_sums)(&shape, c, x, x, center, &sum, &squares);
        double factor = (double)scale[c] / sqrt(squares / size + epsilon);
        mean[c] = (REAL)center;
        variance[c] = (REAL)(squares / size);
        TYPED(scale_channel)
        (&shape, c, x, (REAL)factor, (REAL)((double)shift[c] - center * factor), call->out[0]->data);
    }
    return DEFT_OK;
}

/* (dy, x, scale, mean, var): dx = scale / s (dy - mean(dy) - h mean(dy h)), with h = (x - mean) / s, s = sqrt(var +
 * eps) */
static deft_status TYPED(batch_norm_input_grad)(const deft_op_call *call) {
    channels shape = find_channels(call->in[1]);
    const REAL *dy = call->in[0]->data, *x = call->in[1]->data, *scale = call->in[2]->data, *mean = call->in[3]->data,
               *variance = call->in[4]->data;
    REAL *dx = call->out[0]->data;
    double epsilon = read_epsilon(call), size = (double)(shape.batch * shape.plane);
    int threads = deft_rule_threads(call, shape.batch * shape.count * shape.plane);
#pragma omp parallel for num_threads(threads)
    for (int64_t c = 0; c < shape.count; c++) {
        double sum, product, spread = (double)variance[c] + epsilon;
        TYPED(channel_sums)(&shape, c, dy, x, (double)mean[c], &sum, &product);
        REAL factor = (REAL)((double)scale[c] / sqrt(spread)), level = (REAL)(sum / size), center = mean[c];
        REAL slope = (REAL)(product / size / spread);
        for (int64_t image = 0; image < shape.batch; image++) {
            int64_t plane = (image * shape.count + c) * shape.plane;
#pragma omp simd
            for (int64_t i = plane; i < plane + shape.plane; i++)
                dx[i] = factor * (dy[i] - level - (x[i] - center) * slope);
        }
    }
    return DEFT_OK;
}

/* (dy, x, mean, var): sum dy h */
static deft_status TYPED(batch_norm_scale_grad)(const deft_op_call *call) {
    channels shape = find_channels(call->in[1]);
    const REAL *dy = call->in[0]->data, *x = call->in[1]->data, *mean = call->in[2]->data,
               *variance = call->in[3]->data;
    REAL *dscale = call->out[0]->data;
    double epsilon = read_epsilon(call);
    int threads = deft_rule_threads(call, shape.batch * shape.count * shape.plane);
#pragma omp parallel for num_threads(threads)
    for (int64_t c = 0; c < shape.count; c++) {
        double sum, product;
        TYPED(channel_sums)(&shape, c, dy, x, (double)mean[c], &sum, &product);
        dscale[c] = (REAL)(product / sqrt((double)variance[c] + epsilon));
    }
    return DEFT_OK;
}
