/* Conv and its gradients of one floating type, planes and taps as plain loops: see each_real.h. A plane is one image's
 * channel; a tap is one weight's position (ky, kx), and meets a rectangle of the output. */

/* y += weight * x at the tap. */
static void TYPED(add_tap)(const deft_window *w, int64_t ky, int64_t kx, REAL weight, const REAL *x, REAL *y) {
    rectangle r = tap_rectangle(w, ky, kx);
    for (int64_t i = 0; i < r.height; i++) {
        const REAL *restrict x_row = x + (r.in_y + i * w->stride[0]) * w->in[1] + r.in_x;
        REAL *restrict y_row = y + (r.y + i) * w->out[1] + r.x;
        if (w->stride[1] == 1) {
#pragma omp simd
            for (int64_t j = 0; j < r.width; j++)
                y_row[j] += weight * x_row[j];
        } else {
            for (int64_t j = 0; j < r.width; j++)
                y_row[j] += weight * x_row[j * w->stride[1]];
        }
    }
}

/* x at the tap += weight * dy. */
static void TYPED(add_tap_back)(const deft_window *w, int64_t ky, int64_t kx, REAL weight, const REAL *dy, REAL *dx) {
    rectangle r = tap_rectangle(w, ky, kx);
    for (int64_t i = 0; i < r.height; i++) {
        REAL *restrict dx_row = dx + (r.in_y + i * w->stride[0]) * w->in[1] + r.in_x;
        const REAL *restrict dy_row = dy + (r.y + i) * w->out[1] + r.x;
        if (w->stride[1] == 1) {
#pragma omp simd
            for (int64_t j = 0; j < r.width; j++)
                dx_row[j] += weight * dy_row[j];
        } else {
            for (int64_t j = 0; j < r.width; j++)
                dx_row[j * w->stride[1]] += weight * dy_row[j];
        }
    }
}

/* The sum of dy * x at the tap. */
static REAL TYPED(dot_tap)(const deft_window *w, int64_t ky, int64_t kx, const REAL *dy, const REAL *x) {
    rectangle r = tap_rectangle(w, ky, kx);
    REAL sum = 0;
    for (int64_t i = 0; i < r.height; i++) {
        const REAL *x_row = x + (r.in_y + i * w->stride[0]) * w->in[1] + r.in_x;
        const REAL *dy_row = dy + (r.y + i) * w->out[1] + r.x;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < r.width; j++)
            sum += dy_row[j] * x_row[j * w->stride[1]];
    }
    return sum;
}

static deft_status TYPED(conv)(const deft_op_call *call) {
    deft_window w;
    DEFT_TRY(deft_window_of_conv(call, call->in[0], call->in[1], &w));
    const REAL *x = call->in[0]->data, *weights = call->in[1]->data;
    const REAL *bias = call->in_count > 2 && call->in[2] ? call->in[2]->data : NULL;
    REAL *y = call->out[0]->data;
    int64_t in_plane = w.in[0] * w.in[1], out_plane = w.out[0] * w.out[1], taps = w.kernel[0] * w.kernel[1];
    int64_t depth = w.channels / w.groups;
    int threads = deft_rule_threads(call, w.batch * w.filters * out_plane);
#pragma omp parallel for num_threads(threads)
    for (int64_t plane = 0; plane < w.batch * w.filters; plane++) {
        int64_t image = plane / w.filters, filter = plane % w.filters;
        int64_t first = filter / (w.filters / w.groups) * depth;
        REAL *to = y + plane * out_plane;
        for (int64_t i = 0; i < out_plane; i++)
            to[i] = bias ? bias[filter] : 0;
        for (int64_t c = 0; c < depth; c++)
            for (int64_t tap = 0; tap < taps; tap++)
                TYPED(add_tap)
        (&w, tap / w.kernel[1], tap % w.kernel[1], weights[(filter * depth + c) * taps + tap],
         x + (image * w.channels + first + c) * in_plane, to);
    }
    return DEFT_OK;
}

/* (dy, W, ...): the input's gradient; with a bias for each of its channels, where that is not NULL. */
static void TYPED(convolve_back)(const deft_op_call *call, const deft_window *window, const REAL *bias) {
    const deft_window w = *window;
    const REAL *dy = call->in[0]->data, *weights = call->in[1]->data;
    REAL *dx = call->out[0]->data;
    int64_t in_plane = w.in[0] * w.in[1], out_plane = w.out[0] * w.out[1], taps = w.kernel[0] * w.kernel[1];
    int64_t depth = w.channels / w.groups, breadth = w.filters / w.groups;
    int threads = deft_rule_threads(call, w.batch * w.channels * in_plane);
#pragma omp parallel for num_threads(threads)
    for (int64_t plane = 0; plane < w.batch * w.channels; plane++) {
        int64_t image = plane / w.channels, channel = plane % w.channels, first = channel / depth * breadth;
        REAL *to = dx + plane * in_plane;
        for (int64_t i = 0; i < in_plane; i++)
            to[i] = bias ? bias[channel] : 0;
        for (int64_t filter = first; filter < first + breadth; filter++)
            for (int64_t tap = 0; tap < taps; tap++)
                TYPED(add_tap_back)
        (&w, tap / w.kernel[1], tap % w.kernel[1], weights[(filter * depth + channel % depth) * taps + tap],
         dy + (image * w.filters + filter) * out_plane, to);
    }
}

/* (dy, W, x) */
static deft_status TYPED(conv_input_grad)(const deft_op_call *call) {
    deft_window w;
    DEFT_TRY(deft_window_of_conv(call, call->in[2], call->in[1], &w));
    TYPED(convolve_back)(call, &w, NULL);
    return DEFT_OK;
}

/* (x, W, bias) */
static deft_status TYPED(conv_transpose)(const deft_op_call *call) {
    deft_window w;
    const deft_tensor *bias = deft_rule_in(call, 2);
    DEFT_TRY(deft_window_of_transpose(call, call->in[0], call->in[1], &w));
    TYPED(convolve_back)(call, &w, bias ? bias->data : NULL);
    return DEFT_OK;
}

/* (dy, x, W) */
static deft_status TYPED(conv_weight_grad)(const deft_op_call *call) {
    deft_window w;
    DEFT_TRY(deft_window_of_conv(call, call->in[1], call->in[2], &w));
    const REAL *dy = call->in[0]->data, *x = call->in[1]->data;
    REAL *dw = call->out[0]->data;
    int64_t in_plane = w.in[0] * w.in[1], out_plane = w.out[0] * w.out[1], taps = w.kernel[0] * w.kernel[1];
    int64_t depth = w.channels / w.groups;
    int threads = deft_rule_threads(call, w.batch * w.filters * out_plane);
#pragma omp parallel for num_threads(threads)
    for (int64_t kernel = 0; kernel < w.filters * depth; kernel++) {
        int64_t filter = kernel / depth, channel = filter / (w.filters / w.groups) * depth + kernel % depth;
        for (int64_t tap = 0; tap < taps; tap++) {
            REAL sum = 0;
            for (int64_t image = 0; image < w.batch; image++)
                sum += TYPED(dot_tap)(&w, tap / w.kernel[1], tap % w.kernel[1],
                                      dy + (image * w.filters + filter) * out_plane,
                                      x + (image * w.channels + channel) * in_plane);
            dw[kernel * taps + tap] = sum;
        }
    }
    return DEFT_OK;
}

static deft_status TYPED(conv_bias_grad)(const deft_op_call *call) {
    const deft_tensor *in = call->in[0];
    const REAL *dy = in->data;
    REAL *db = call->out[0]->data;
    int64_t channels = in->dims[1], plane = deft_rule_product(in->dims, 2, in->rank);
    int64_t batch = plane > 0 ? in->dims[0] : 0; /* no loop over nothing */
    int threads = deft_rule_threads(call, batch * channels * plane);
#pragma omp parallel for num_threads(threads)
    for (int64_t c = 0; c < channels; c++) {
        double total = 0;
        for (int64_t image = 0; image < batch; image++) {
            const REAL *from = dy + (image * channels + c) * plane;
            REAL sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int64_t i = 0; i < plane; i++)
                sum += from[i];
            total += sum;
        }
        db[c] = (REAL)total;
    }
    return DEFT_OK;
}

/* One output of a volume, of one channel: w is the kernel there. */
static REAL TYPED(dot_volume)(const deft_window *w, int64_t oz, int64_t oy, int64_t ox, const REAL *x,
                              const REAL *weights) {
    int64_t z_begin, z_end, y_begin, y_end, x_begin, x_end;
    REAL sum = 0;
    deft_window_taps(w, 2, oz, &z_begin, &z_end);
    deft_window_taps(w, 0, oy, &y_begin, &y_end);
    deft_window_taps(w, 1, ox, &x_begin, &x_end);
    for (int64_t kz = z_begin; kz < z_end; kz++)
        for (int64_t ky = y_begin; ky < y_end; ky++) {
            int64_t iz = oz * w->stride[2] + kz * w->dilation[2] - w->pad_begin[2];
            int64_t iy = oy * w->stride[0] + ky * w->dilation[0] - w->pad_begin[0];
            int64_t row = (iz * w->in[0] + iy) * w->in[1] + ox * w->stride[1] - w->pad_begin[1];
            const REAL *taps = weights + (kz * w->kernel[0] + ky) * w->kernel[1];
            for (int64_t kx = x_begin; kx < x_end; kx++)
                sum += taps[kx] * x[row + kx * w->dilation[1]];
        }
    return sum;
}

static deft_status TYPED(conv_volume)(const deft_op_call *call) {
    deft_window w;
    DEFT_TRY(deft_window_of_conv_volume(call, call->in[0], call->in[1], &w));
    const deft_tensor *bias = deft_rule_in(call, 2);
    const REAL *x = call->in[0]->data, *weights = call->in[1]->data;
    REAL *y = call->out[0]->data;
    int64_t plane = w.out[0] * w.out[1], volume = w.out[2] * plane, in_volume = w.in[0] * w.in[1] * w.in[2];
    int64_t taps = w.kernel[0] * w.kernel[1] * w.kernel[2], depth = w.channels / w.groups;
    int64_t count = w.batch * w.filters * volume;
    int threads = deft_rule_threads(call, count);
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < count; i++) {
        int64_t image = i / volume / w.filters, filter = i / volume % w.filters;
        int64_t first = image * w.channels + filter / (w.filters / w.groups) * depth;
        REAL sum = bias ? ((const REAL *)bias->data)[filter] : 0;
        for (int64_t c = 0; c < depth; c++)
            sum += TYPED(dot_volume)(&w, i % volume / plane, i % plane / w.out[1], i % w.out[1],
                                     x + (first + c) * in_volume, weights + (filter * depth + c) * taps);
        y[i] = sum;
    }
    return DEFT_OK;
}

/* What one plane of a volume's output gets through one tap, of one channel of x: y[i] += weight * x[o], where the
 * convolution's output o reads its input i. */
static void TYPED(add_tap_volume)(const deft_window *w, int64_t tap, REAL weight, const REAL *x, REAL *y) {
    tap_box b = tap_box_of(w, tap);
    for (int64_t oz = b.begin[2]; oz < b.end[2]; oz++)
        for (int64_t oy = b.begin[0]; oy < b.end[0]; oy++) {
            int64_t iz = oz * w->stride[2] + b.shift[2], iy = oy * w->stride[0] + b.shift[0];
            const REAL *from = x + (oz * w->out[0] + oy) * w->out[1];
            REAL *to = y + (iz * w->in[0] + iy) * w->in[1] + b.shift[1];
            for (int64_t ox = b.begin[1]; ox < b.end[1]; ox++)
                to[ox * w->stride[1]] += weight * from[ox];
        }
}

/* The sum of dy x over a tap's outputs. */
static REAL TYPED(dot_tap_volume)(const deft_window *w, int64_t tap, const REAL *dy, const REAL *x) {
    tap_box b = tap_box_of(w, tap);
    REAL sum = 0;
    for (int64_t oz = b.begin[2]; oz < b.end[2]; oz++)
        for (int64_t oy = b.begin[0]; oy < b.end[0]; oy++) {
            int64_t iz = oz * w->stride[2] + b.shift[2], iy = oy * w->stride[0] + b.shift[0];
            const REAL *dy_row = dy + (oz * w->out[0] + oy) * w->out[1];
            const REAL *x_row = x + (iz * w->in[0] + iy) * w->in[1] + b.shift[1];
            for (int64_t ox = b.begin[1]; ox < b.end[1]; ox++)
                sum += dy_row[ox] * x_row[ox * w->stride[1]];
        }
    return sum;
}

/* (x, W, ...): convolve_back in a volume. */
static void TYPED(convolve_volume_back)(const deft_op_call *call, const deft_window *window, const REAL *bias) {
    const deft_window w = *window;
    const REAL *x = call->in[0]->data, *weights = call->in[1]->data;
    REAL *y = call->out[0]->data;
    int64_t in_volume = w.in[0] * w.in[1] * w.in[2], out_volume = w.out[0] * w.out[1] * w.out[2];
    int64_t taps = w.kernel[0] * w.kernel[1] * w.kernel[2];
    int64_t depth = w.channels / w.groups, breadth = w.filters / w.groups;
    int threads = deft_rule_threads(call, w.batch * w.channels * in_volume);
#pragma omp parallel for num_threads(threads)
    for (int64_t plane = 0; plane < w.batch * w.channels; plane++) {
        int64_t image = plane / w.channels, channel = plane % w.channels, first = channel / depth * breadth;
        REAL *to = y + plane * in_volume;
        for (int64_t i = 0; i < in_volume; i++)
            to[i] = bias ? bias[channel] : 0;
        for (int64_t filter = first; filter < first + breadth; filter++)
            for (int64_t tap = 0; tap < taps; tap++)
                TYPED(add_tap_volume)
        (&w, tap, weights[(filter * depth + channel % depth) * taps + tap],
         x + (image * w.filters + filter) * out_volume, to);
    }
}

/* (x, W, bias) */
static deft_status TYPED(conv_transpose_volume)(const deft_op_call *call) {
    deft_window w;
    const deft_tensor *bias = deft_rule_in(call, 2);
    DEFT_TRY(deft_window_of_transpose_volume(call, call->in[0], call->in[1], &w));
    TYPED(convolve_volume_back)(call, &w, bias ? bias->data : NULL);
    return DEFT_OK;
}

/* (dy, W, x) */
static deft_status TYPED(conv_input_grad_volume)(const deft_op_call *call) {
    deft_window w;
    DEFT_TRY(deft_window_of_conv_volume(call, call->in[2], call->in[1], &w));
    TYPED(convolve_volume_back)(call, &w, NULL);
    return DEFT_OK;
}

/* (dy, x, W) */
static deft_status TYPED(conv_weight_grad_volume)(const deft_op_call *call) {
    deft_window w;
    DEFT_TRY(deft_window_of_conv_volume(call, call->in[1], call->in[2], &w));
    const REAL *dy = call->in[0]->data, *x = call->in[1]->data;
    REAL *dw = call->out[0]->data;
    int64_t in_volume = w.in[0] * w.in[1] * w.in[2], out_volume = w.out[0] * w.out[1] * w.out[2];
    int64_t taps = w.kernel[0] * w.kernel[1] * w.kernel[2], depth = w.channels / w.groups;
    int threads = deft_rule_threads(call, w.batch * w.filters * out_volume);
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < w.filters * depth * taps; i++) {
        int64_t filter = i / taps / depth, channel = filter / (w.filters / w.groups) * depth + i / taps % depth;
        REAL sum = 0;
        for (int64_t image = 0; image < w.batch; image++)
            sum += TYPED(dot_tap_volume)(&w, i % taps, dy + (image * w.filters + filter) * out_volume,
                                         x + (image * w.channels + channel) * in_volume);
        dw[i] = sum;
    }
    return DEFT_OK;
}
