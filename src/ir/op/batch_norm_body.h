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

/* Adds the sums of a, and of a * (b - center), over a plane: in REAL over a few elements at a time, which the processor
 * does side by side, and in f64 between, as planes may be large. */
static void TYPED(add_plane_sums)(const REAL *restrict a, const REAL *restrict b, REAL center, int64_t plane,
                                  double *sum, double *product) {
    enum { BLOCK = 256 };
    for (int64_t first = 0; first < plane; first += BLOCK) {
        int64_t past = first + BLOCK < plane ? first + BLOCK : plane;
        REAL block_sum = 0, block_product = 0;
#pragma omp simd reduction(+ : block_sum, block_product)
        for (int64_t i = first; i < past; i++) {
            block_sum += a[i];
            block_product += a[i] * (b[i] - center);
        }
        *sum += (double)block_sum;
        *product += (double)block_product;
    }
}

/* The same for the sums of x - near, and of its square. */
static void TYPED(add_plane_spread)(const REAL *restrict x, REAL near, int64_t plane, double *sum, double *squares) {
    enum { BLOCK = 256 };
    for (int64_t first = 0; first < plane; first += BLOCK) {
        int64_t past = first + BLOCK < plane ? first + BLOCK : plane;
        REAL block_sum = 0, block_squares = 0;
#pragma omp simd reduction(+ : block_sum, block_squares)
        for (int64_t i = first; i < past; i++) {
            REAL apart = x[i] - near;
            block_sum += apart;
            block_squares += apart * apart;
        }
        *sum += (double)block_sum;
        *squares += (double)block_squares;
    }
}

/* The sums of dy, and of dy * (x - mean), over channel c. */
static void TYPED(channel_sums)(const channels *shape, int64_t c, const REAL *dy, const REAL *x, REAL mean, double *sum,
                                double *product) {
    *sum = *product = 0;
    for (int64_t image = 0; image < shape->batch; image++) {
        int64_t plane = (image * shape->count + c) * shape->plane;
        TYPED(add_plane_sums)(dy + plane, x + plane, mean, shape->plane, sum, product);
    }
}

/* The mean of channel c, and its variance: about the mean of the first picture, near which the others are, so that
 * little cancels when that is corrected. */
static void TYPED(channel_statistics)(const channels *shape, int64_t c, const REAL *x, double *mean, double *variance) {
    double sum = 0, squares = 0, size = (double)(shape->batch * shape->plane), unused = 0;
    const REAL *first = x + c * shape->plane;
    TYPED(add_plane_sums)(first, first, 0, shape->plane, &sum, &unused);
    REAL near = (REAL)(sum / (double)shape->plane);
    sum = 0;
    for (int64_t image = 0; image < shape->batch; image++)
        TYPED(add_plane_spread)(x + (image * shape->count + c) * shape->plane, near, shape->plane, &sum, &squares);
    double apart = sum / size;
    *mean = (double)near + apart;
    *variance = fmax(0, squares / size - apart * apart);
}

/* (x, scale, B) to (y, mean, var) */
static deft_status TYPED(batch_norm_training)(const deft_op_call *call) {
    channels shape = find_channels(call->in[0]);
    const REAL *x = call->in[0]->data, *scale = call->in[1]->data, *shift = call->in[2]->data;
    REAL *mean = call->out[1]->data, *variance = call->out[2]->data;
    double epsilon = read_epsilon(call);
    int threads = deft_rule_threads(call, shape.batch * shape.count * shape.plane);
#pragma omp parallel for num_threads(threads)
    for (int64_t c = 0; c < shape.count; c++) {
        double center, spread;
        TYPED(channel_statistics)(&shape, c, x, &center, &spread);
        double factor = (double)scale[c] / sqrt(spread + epsilon);
        mean[c] = (REAL)center;
        variance[c] = (REAL)spread;
        TYPED(scale_channel)
        (&shape, c, x, (REAL)factor, (REAL)((double)shift[c] - center * factor), call->out[0]->data);
    }
    return DEFT_OK;
}

/* (dy, x, scale, mean, var): with s = sqrt(var + epsilon) and h = (x - mean) / s, dx = scale / s (dy - mean(dy) - h
 * mean(dy h)), dscale = sum dy h, dB = sum dy */
static deft_status TYPED(batch_norm_grad)(const deft_op_call *call) {
    channels shape = find_channels(call->in[1]);
    const REAL *dy = call->in[0]->data, *x = call->in[1]->data, *scale = call->in[2]->data, *mean = call->in[3]->data,
               *variance = call->in[4]->data;
    REAL *dx = call->out[0]->data, *dscale = call->out[1]->data, *dshift = call->out[2]->data;
    double epsilon = read_epsilon(call), size = (double)(shape.batch * shape.plane);
    int threads = deft_rule_threads(call, shape.batch * shape.count * shape.plane);
#pragma omp parallel for num_threads(threads)
    for (int64_t c = 0; c < shape.count; c++) {
        double sum, product, spread = (double)variance[c] + epsilon;
        TYPED(channel_sums)(&shape, c, dy, x, mean[c], &sum, &product);
        dscale[c] = (REAL)(product / sqrt(spread));
        dshift[c] = (REAL)sum;
        /* dx = factor dy + tilt x + offset */
        double factor = (double)scale[c] / sqrt(spread), tilt = -factor * product / size / spread;
        double offset = -factor * sum / size - tilt * (double)mean[c];
        REAL dy_factor = (REAL)factor, x_factor = (REAL)tilt, level = (REAL)offset;
        for (int64_t image = 0; image < shape.batch; image++) {
            int64_t plane = (image * shape.count + c) * shape.plane;
#pragma omp simd
            for (int64_t i = plane; i < plane + shape.plane; i++)
                dx[i] = dy_factor * dy[i] + x_factor * x[i] + level;
        }
    }
    return DEFT_OK;
}
