/* Pooling and its gradients of one floating type, a plane (one image's channel) at a time: see each_real.h. */

/* The first maximum of a window, or the first NaN; -1, and -inf, where the window holds padding only. Without branches
 * on the values, which no processor would predict. */
static inline int64_t TYPED(first_maximum)(const deft_window *w, span y, span x, const REAL *from, REAL *maximum) {
    *maximum = -INFINITY;
    if (y.begin >= y.end || x.begin >= x.end) return -1;
    int64_t best = y.begin * w->in[1] + x.begin;
    REAL value = from[best];
    for (int64_t iy = y.begin; iy < y.end; iy += w->dilation[0])
        for (int64_t ix = x.begin; ix < x.end; ix += w->dilation[1]) {
            int64_t at = iy * w->in[1] + ix;
            REAL candidate = from[at];
            bool better = (candidate > value) | ((candidate != candidate) & (value == value));
            best = better ? at : best;
            value = better ? candidate : value;
        }
    *maximum = value;
    return best;
}

/* The greater of two numbers, or the one that is NaN. */
static inline REAL TYPED(greater)(REAL a, REAL b) {
    REAL greater = b > a ? b : a;
    return b != b ? b : greater;
}

/* y = the greater of y and x. */
static inline __attribute__((always_inline)) void TYPED(raise_row)(const REAL *restrict x, int64_t stride,
                                                                   REAL *restrict y, int64_t count) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++)
        y[i] = TYPED(greater)(y[i], x[i * stride]);
}

static void TYPED(max_pool_row)(const deft_window *w, int64_t oy, const REAL *x, REAL *y) {
    span rows = window_span(w, 0, oy);
    for (int64_t i = 0; i < w->out[1]; i++)
        y[i] = -INFINITY;
    for (int64_t iy = rows.begin; iy < rows.end; iy += w->dilation[0])
        for (int64_t kx = 0; kx < w->kernel[1]; kx++) {
            span seen = tap_span(w, kx);
            const REAL *from = x + iy * w->in[1] + tap_position(w, kx, seen.begin);
            if (w->stride[1] == 1)
                TYPED(raise_row)(from, 1, y + seen.begin, seen.end - seen.begin);
            else if (w->stride[1] == 2)
                TYPED(raise_row)(from, 2, y + seen.begin, seen.end - seen.begin);
            else
                TYPED(raise_row)(from, w->stride[1], y + seen.begin, seen.end - seen.begin);
        }
}

/* The same, an output at a time, for wide kernels. */
static void TYPED(max_pool_wide_row)(const deft_window *w, int64_t oy, const REAL *x, REAL *y) {
    for (int64_t ox = 0; ox < w->out[1]; ox++)
        TYPED(first_maximum)(w, window_span(w, 0, oy), window_span(w, 1, ox), x, &y[ox]);
}

/* The same for windows of 2x2 side by side, whose rows are `top` and `bottom`. */
static void TYPED(max_pool_halved_row)(const REAL *restrict top, const REAL *restrict bottom, REAL *restrict y,
                                       int64_t count) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++)
        y[i] = TYPED(greater)(TYPED(greater)(top[2 * i], top[2 * i + 1]),
                              TYPED(greater)(bottom[2 * i], bottom[2 * i + 1]));
}

static deft_status TYPED(max_pool)(const deft_op_call *call) {
    deft_window w;
    DEFT_TRY(deft_window_of_pool(call, call->in[0], &w));
    bool wide = is_wide(&w), halved = halves(&w);
    int threads = deft_rule_threads(call, deft_tensor_count(call->in[0]));
#pragma omp parallel for num_threads(threads)
    for (int64_t plane = 0; plane < w.batch * w.channels; plane++)
        for (int64_t oy = 0; oy < w.out[0]; oy++) {
            const REAL *x = (const REAL *)call->in[0]->data + plane * w.in[0] * w.in[1];
            REAL *y = (REAL *)call->out[0]->data + (plane * w.out[0] + oy) * w.out[1];
            if (halved)
                TYPED(max_pool_halved_row)(x + 2 * oy * w.in[1], x + (2 * oy + 1) * w.in[1], y, w.out[1]);
            else if (wide)
                TYPED(max_pool_wide_row)(&w, oy, x, y);
            else
                TYPED(max_pool_row)(&w, oy, x, y);
        }
    return DEFT_OK;
}

/* Of a window with this maximum; NaN where there is a NaN. */
static inline bool TYPED(is_maximum)(REAL value, REAL maximum) {
    return (value == maximum) | (value != value);
}

/* Positions [begin, begin + count) of a row of the picture; padding is -inf. */
static void TYPED(copy_padded)(const REAL *row, int64_t width, int64_t begin, int64_t count, REAL *copy) {
    int64_t before = begin < 0 ? least(-begin, count) : 0, past = least(count, width - begin);
    for (int64_t i = 0; i < before; i++)
        copy[i] = -INFINITY;
    if (past > before) memcpy(copy + before, row + begin + before, (size_t)(past - before) * sizeof *copy);
    for (int64_t i = past > before ? past : before; i < count; i++)
        copy[i] = -INFINITY;
}

/* Brings what is `stride` apart in a row side by side: [stride][count]. */
static void TYPED(split_row)(const REAL *restrict row, int64_t stride, int64_t count, REAL *restrict split) {
    if (stride == 2) {
#pragma omp simd
        for (int64_t i = 0; i < count; i++) {
            split[i] = row[2 * i];
            split[count + i] = row[2 * i + 1];
        }
    } else {
        for (int64_t phase = 0; phase < stride; phase++)
            for (int64_t i = 0; i < count; i++)
                split[phase * count + i] = row[i * stride + phase];
    }
}

/* Raises the maxima so far of `count` windows to x where that is greater; at[i] is then where it lies: here, and
 * `stride` further for each window. */
static void TYPED(raise_maxima)(const REAL *restrict x, int here, int stride, REAL *restrict maximum, int *restrict at,
                                int64_t count) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        REAL value = x[i];
        bool more = (value > maximum[i]) | ((value != value) & (maximum[i] == maximum[i]));
        maximum[i] = more ? value : maximum[i];
        at[i] = more ? here + (int)i * stride : at[i];
    }
}

/* Where the first maxima of the outputs [first, first + count) of row oy lie in the plane; -1 where all is -inf. */
static void TYPED(find_maxima)(const deft_window *w, int64_t oy, int64_t first, int64_t count, const REAL *x, int *at) {
    REAL maximum[OUTPUTS_AT_ONCE], row[ROW_AT_ONCE], split[ROW_AT_ONCE];
    span rows = window_span(w, 0, oy);
    int64_t begin = tap_position(w, 0, first), stride = w->stride[1], pitch = reach_of(w, count) / stride;
    for (int64_t i = 0; i < count; i++) {
        maximum[i] = -INFINITY;
        at[i] = -1;
    }
    for (int64_t iy = rows.begin; iy < rows.end; iy += w->dilation[0]) {
        TYPED(copy_padded)(x + iy * w->in[1], w->in[1], begin, pitch * stride, row);
        if (stride > 1) TYPED(split_row)(row, stride, pitch, split);
        for (int64_t kx = 0; kx < w->kernel[1]; kx++) {
            int64_t tap = kx * w->dilation[1];
            const REAL *from = stride > 1 ? split + tap % stride * pitch + tap / stride : row + tap;
            TYPED(raise_maxima)(from, (int)(iy * w->in[1] + begin + tap), (int)stride, maximum, at, count);
        }
    }
}

/* The first of several maxima takes the slope. */
static void TYPED(max_pool_grad_row)(const deft_window *w, int64_t oy, const REAL *dy, const REAL *x, REAL *dx) {
    int at[OUTPUTS_AT_ONCE];
    for (int64_t first = 0, count; first < w->out[1]; first += count) {
        count = outputs_at_once(w, first);
        TYPED(find_maxima)(w, oy, first, count, x, at);
        for (int64_t i = 0; i < count; i++) {
            int64_t best = at[i] >= 0 ? at[i] : first_of(w, oy, first + i);
            if (best >= 0) dx[best] += dy[first + i];
        }
    }
}

/* The same, an output at a time, for wide kernels and huge planes. */
static void TYPED(max_pool_grad_wide_row)(const deft_window *w, int64_t oy, const REAL *dy, const REAL *x, REAL *dx) {
    span rows = window_span(w, 0, oy);
    for (int64_t ox = 0; ox < w->out[1]; ox++) {
        REAL maximum;
        int64_t best = TYPED(first_maximum)(w, rows, window_span(w, 1, ox), x, &maximum);
        if (best >= 0) dx[best] += dy[ox];
    }
}

/* The same for windows of 2x2 side by side, of two rows of x, `width` apart. */
static void TYPED(max_pool_halved_grad_row)(const REAL *restrict dy, const REAL *restrict x, REAL *restrict dx,
                                            int64_t width, int64_t count) {
    const REAL *bottom = x + width;
    REAL *restrict dx_bottom = dx + width;
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        REAL a = x[2 * i], b = x[2 * i + 1], c = bottom[2 * i], d = bottom[2 * i + 1], slope = dy[i];
        REAL maximum = TYPED(greater)(TYPED(greater)(a, b), TYPED(greater)(c, d));
        /* each takes what the ones before it left */
        REAL at_a = TYPED(is_maximum)(a, maximum) ? slope : 0, left = TYPED(is_maximum)(a, maximum) ? 0 : slope;
        REAL at_b = TYPED(is_maximum)(b, maximum) ? left : 0, rest = TYPED(is_maximum)(b, maximum) ? 0 : left;
        dx[2 * i] = at_a;
        dx[2 * i + 1] = at_b;
        dx_bottom[2 * i] = TYPED(is_maximum)(c, maximum) ? rest : 0;
        dx_bottom[2 * i + 1] = TYPED(is_maximum)(c, maximum) ? 0 : rest;
    }
}

static deft_status TYPED(max_pool_grad)(const deft_op_call *call) {
    deft_window w;
    DEFT_TRY(deft_window_of_pool(call, call->in[1], &w));
    int64_t in_plane = w.in[0] * w.in[1];
    bool wide = is_wide(&w) || reach_of(&w, 1) > ROW_AT_ONCE || in_plane > INT_MAX, halved = halves(&w);
    int threads = deft_rule_threads(call, deft_tensor_count(call->in[1]));
#pragma omp parallel for num_threads(threads)
    for (int64_t plane = 0; plane < w.batch * w.channels; plane++) {
        const REAL *x = (const REAL *)call->in[1]->data + plane * in_plane;
        REAL *dx = (REAL *)call->out[0]->data + plane * in_plane;
        for (int64_t i = 0; i < in_plane; i++)
            dx[i] = 0;
        for (int64_t oy = 0; oy < w.out[0]; oy++) {
            const REAL *dy = (const REAL *)call->in[0]->data + (plane * w.out[0] + oy) * w.out[1];
            int64_t row = 2 * oy * w.in[1];
            if (halved)
                TYPED(max_pool_halved_grad_row)(dy, x + row, dx + row, w.in[1], w.out[1]);
            else if (wide)
                TYPED(max_pool_grad_wide_row)(&w, oy, dy, x, dx);
            else
                TYPED(max_pool_grad_row)(&w, oy, dy, x, dx);
        }
    }
    return DEFT_OK;
}

static void TYPED(average_pool_plane)(const deft_window *w, bool include_pad, const REAL *x, REAL *y) {
    for (int64_t oy = 0; oy < w->out[0]; oy++) {
        span rows = window_span(w, 0, oy);
        for (int64_t ox = 0; ox < w->out[1]; ox++) {
            span columns = window_span(w, 1, ox);
            REAL sum = 0;
            for (int64_t iy = rows.begin; iy < rows.end; iy += w->dilation[0])
                for (int64_t ix = columns.begin; ix < columns.end; ix += w->dilation[1])
                    sum += x[iy * w->in[1] + ix];
            y[oy * w->out[1] + ox] = sum / (REAL)divisor(w, include_pad, oy, ox, rows, columns);
        }
    }
}

static deft_status TYPED(average_pool)(const deft_op_call *call) {
    deft_window w;
    DEFT_TRY(deft_window_of_pool(call, call->in[0], &w));
    bool include_pad = deft_attr_int(call->attrs, "count_include_pad", 0) != 0;
    const REAL *x = call->in[0]->data;
    REAL *y = call->out[0]->data;
    int threads = deft_rule_threads(call, deft_tensor_count(call->in[0]));
#pragma omp parallel for num_threads(threads)
    for (int64_t plane = 0; plane < w.batch * w.channels; plane++)
        TYPED(average_pool_plane)(&w, include_pad, x + plane * w.in[0] * w.in[1], y + plane * w.out[0] * w.out[1]);
    return DEFT_OK;
}

static void TYPED(average_pool_grad_plane)(const deft_window *w, bool include_pad, const REAL *dy, REAL *dx) {
    for (int64_t i = 0; i < w->in[0] * w->in[1]; i++)
        dx[i] = 0;
    for (int64_t oy = 0; oy < w->out[0]; oy++) {
        span rows = window_span(w, 0, oy);
        for (int64_t ox = 0; ox < w->out[1]; ox++) {
            span columns = window_span(w, 1, ox);
            REAL share = dy[oy * w->out[1] + ox] / (REAL)divisor(w, include_pad, oy, ox, rows, columns);
            for (int64_t iy = rows.begin; iy < rows.end; iy += w->dilation[0])
                for (int64_t ix = columns.begin; ix < columns.end; ix += w->dilation[1])
                    dx[iy * w->in[1] + ix] += share;
        }
    }
}

static deft_status TYPED(average_pool_grad)(const deft_op_call *call) {
    deft_window w;
    DEFT_TRY(deft_window_of_pool(call, call->in[1], &w));
    bool include_pad = deft_attr_int(call->attrs, "count_include_pad", 0) != 0;
    int64_t in_plane = w.in[0] * w.in[1], out_plane = w.out[0] * w.out[1];
    int threads = deft_rule_threads(call, deft_tensor_count(call->in[1]));
#pragma omp parallel for num_threads(threads)
    for (int64_t plane = 0; plane < w.batch * w.channels; plane++)
        TYPED(average_pool_grad_plane)
    (&w, include_pad, (const REAL *)call->in[0]->data + plane * out_plane,
     (REAL *)call->out[0]->data + plane * in_plane);
    return DEFT_OK;
}

static deft_status TYPED(global_average_pool)(const deft_op_call *call) {
    const deft_tensor *in = call->in[0];
    const REAL *x = in->data;
    REAL *y = call->out[0]->data;
    int64_t planes = in->dims[0] * in->dims[1], plane = deft_rule_product(in->dims, 2, in->rank);
    int threads = deft_rule_threads(call, planes * plane);
#pragma omp parallel for num_threads(threads)
    for (int64_t p = 0; p < planes; p++) {
        REAL sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < plane; i++)
            sum += x[p * plane + i];
        y[p] = sum / (REAL)plane;
    }
    return DEFT_OK;
}

static deft_status TYPED(global_average_pool_grad)(const deft_op_call *call) {
    const deft_tensor *in = call->in[1];
    const REAL *dy = call->in[0]->data;
    REAL *dx = call->out[0]->data;
    int64_t planes = in->dims[0] * in->dims[1], plane = deft_rule_product(in->dims, 2, in->rank);
    int threads = deft_rule_threads(call, planes * plane);
#pragma omp parallel for num_threads(threads)
    for (int64_t p = 0; p < planes; p++) {
        REAL share = dy[p] / (REAL)plane;
        for (int64_t i = 0; i < plane; i++)
            dx[p * plane + i] = share;
    }
    return DEFT_OK;
}

static deft_status TYPED(global_max_pool)(const deft_op_call *call) {
    const deft_tensor *tensor = call->in[0];
    int64_t planes = tensor->dims[0] * tensor->dims[1], plane = deft_rule_product(tensor->dims, 2, tensor->rank);
    REAL *y = call->out[0]->data;
    int threads = deft_rule_threads(call, planes * plane);
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < planes; i++) {
        const REAL *x = (const REAL *)tensor->data + i * plane;
        REAL most = -(REAL)INFINITY;
        for (int64_t j = 0; j < plane; j++)
            most = x[j] > most || isnan(x[j]) ? x[j] : most;
        y[i] = most;
    }
    return DEFT_OK;
}

/* The sum of a box, or its maximum, of which NaN is the largest. */
static REAL TYPED(pool_box)(const deft_window *w, const box *b, bool maximum, const REAL *x) {
    REAL result = maximum ? -(REAL)INFINITY : 0;
    for (int64_t z = b->z.begin; z < b->z.end; z += w->dilation[2])
        for (int64_t y = b->y.begin; y < b->y.end; y += w->dilation[0])
            for (int64_t i = b->x.begin; i < b->x.end; i += w->dilation[1]) {
                REAL value = x[(z * w->in[0] + y) * w->in[1] + i];
                if (!maximum)
                    result += value;
                else if (value > result || isnan(value))
                    result = value;
            }
    return result;
}

static deft_status TYPED(pool_volume)(const deft_op_call *call) {
    deft_window w;
    DEFT_TRY(deft_window_of_pool_volume(call, call->in[0], &w));
    bool maximum = call->op == DEFT_OP_MAX_POOL, include_pad = deft_attr_int(call->attrs, "count_include_pad", 0) != 0;
    const REAL *x = call->in[0]->data;
    REAL *y = call->out[0]->data;
    int64_t plane = w.out[0] * w.out[1], volume = w.out[2] * plane, in_volume = w.in[0] * w.in[1] * w.in[2];
    int64_t count = w.batch * w.channels * volume;
    int threads = deft_rule_threads(call, count);
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < count; i++) {
        int64_t oz = i % volume / plane, oy = i % plane / w.out[1], ox = i % w.out[1];
        box b = {window_span(&w, 2, oz), window_span(&w, 0, oy), window_span(&w, 1, ox)};
        REAL result = TYPED(pool_box)(&w, &b, maximum, x + i / volume * in_volume);
        y[i] = maximum ? result : result / (REAL)box_divisor(&w, include_pad, oz, oy, ox, &b);
    }
    return DEFT_OK;
}

/* dx[i] += dy at the first maximum of a box. */
static void TYPED(add_at_maximum)(const deft_window *w, const box *b, REAL dy, const REAL *x, REAL *dx) {
    REAL most = -(REAL)INFINITY;
    int64_t at = -1;
    for (int64_t z = b->z.begin; z < b->z.end; z += w->dilation[2])
        for (int64_t y = b->y.begin; y < b->y.end; y += w->dilation[0])
            for (int64_t i = b->x.begin; i < b->x.end; i += w->dilation[1]) {
                int64_t here = (z * w->in[0] + y) * w->in[1] + i;
                if (at >= 0 && !(x[here] > most)) continue;
                most = x[here];
                at = here;
            }
    if (at >= 0) dx[at] += dy;
}

static void TYPED(add_to_box)(const deft_window *w, const box *b, REAL share, REAL *dx) {
    for (int64_t z = b->z.begin; z < b->z.end; z += w->dilation[2])
        for (int64_t y = b->y.begin; y < b->y.end; y += w->dilation[0])
            for (int64_t i = b->x.begin; i < b->x.end; i += w->dilation[1])
                dx[(z * w->in[0] + y) * w->in[1] + i] += share;
}

/* (dy, x) */
static deft_status TYPED(pool_grad_volume)(const deft_op_call *call) {
    deft_window w;
    DEFT_TRY(deft_window_of_pool_volume(call, call->in[1], &w));
    bool include_pad = deft_attr_int(call->attrs, "count_include_pad", 0) != 0;
    int64_t plane = w.out[0] * w.out[1], volume = w.out[2] * plane, in_volume = w.in[0] * w.in[1] * w.in[2];
    int threads = deft_rule_threads(call, w.batch * w.channels * in_volume);
#pragma omp parallel for num_threads(threads)
    for (int64_t image = 0; image < w.batch * w.channels; image++) {
        const REAL *dy = (const REAL *)call->in[0]->data + image * volume;
        const REAL *x = (const REAL *)call->in[1]->data + image * in_volume;
        REAL *dx = (REAL *)call->out[0]->data + image * in_volume;
        for (int64_t i = 0; i < in_volume; i++)
            dx[i] = 0;
        for (int64_t i = 0; i < volume; i++) {
            int64_t oz = i / plane, oy = i % plane / w.out[1], ox = i % w.out[1];
            box b = {window_span(&w, 2, oz), window_span(&w, 0, oy), window_span(&w, 1, ox)};
            if (call->op == DEFT_OP_MAX_POOL_GRAD)
                TYPED(add_at_maximum)(&w, &b, dy[i], x, dx);
            else
                TYPED(add_to_box)(&w, &b, dy[i] / (REAL)box_divisor(&w, include_pad, oz, oy, ox, &b), dx);
        }
    }
    return DEFT_OK;
}
