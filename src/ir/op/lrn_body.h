/* LRN and its gradient of one floating type: see each_real.h. */

/* s of `lanes` positions of channel c; x is the image's first channel there. */
static inline void TYPED(sum_squares)(const response *r, const REAL *x, int64_t c, int64_t lanes, REAL *restrict s) {
    int64_t first = c > r->before ? c - r->before : 0;
    int64_t last = r->lines.length - 1 - c > r->after ? c + r->after : r->lines.length - 1;
    for (int64_t i = 0; i < lanes; i++)
        s[i] = 0;
    for (int64_t channel = first; channel <= last; channel++) {
        const REAL *restrict from = x + channel * r->lines.inner;
#pragma omp simd
        for (int64_t i = 0; i < lanes; i++)
            s[i] += from[i] * from[i];
    }
    REAL bias = (REAL)r->bias, share = (REAL)r->share;
#pragma omp simd
    for (int64_t i = 0; i < lanes; i++)
        s[i] = bias + share * s[i];
}

/* s^-beta; 3/4, which all networks have, by roots. */
static inline void TYPED(powers)(const response *r, const REAL *restrict s, int64_t lanes, REAL *restrict power) {
    if (r->beta == 0.75) {
#pragma omp simd
        for (int64_t i = 0; i < lanes; i++) {
            REAL root = sqrt(s[i]);
            power[i] = 1 / (root * sqrt(root));
        }
        return;
    }
    for (int64_t i = 0; i < lanes; i++)
        power[i] = (REAL)pow((double)s[i], -r->beta);
}

static deft_status TYPED(lrn)(const deft_op_call *call) {
    response r = resolve(call, call->in[0]);
    int64_t blocks = (r.lines.inner + LANES - 1) / LANES, image = r.lines.length * r.lines.inner;
    int threads = deft_rule_threads(call, deft_tensor_count(call->in[0]));
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < r.lines.outer * blocks; i++) {
        int64_t at = i % blocks * LANES, lanes = r.lines.inner - at < LANES ? r.lines.inner - at : LANES;
        const REAL *x = (const REAL *)call->in[0]->data + i / blocks * image + at;
        REAL *y = (REAL *)call->out[0]->data + i / blocks * image + at;
        REAL s[LANES], power[LANES];
        for (int64_t c = 0; c < r.lines.length; c++) {
            TYPED(sum_squares)(&r, x, c, lanes, s);
            TYPED(powers)(&r, s, lanes, power);
            for (int64_t j = 0; j < lanes; j++)
                y[c * r.lines.inner + j] = x[c * r.lines.inner + j] * power[j];
        }
    }
    return DEFT_OK;
}

/* One block of positions: first dx = dy s^-beta and t = dy x s^(-beta - 1), then dx -= 2 beta share x sum t, over the
 * channels in whose sums x is. */
static void TYPED(lrn_grad_block)(const response *r, const REAL *dy, const REAL *x, REAL *dx, REAL *t, int64_t lanes) {
    int64_t inner = r->lines.inner, channels = r->lines.length;
    REAL s[LANES], power[LANES];
    for (int64_t c = 0; c < channels; c++) {
        TYPED(sum_squares)(r, x, c, lanes, s);
        TYPED(powers)(r, s, lanes, power);
#pragma omp simd
        for (int64_t i = c * inner; i < c * inner + lanes; i++) {
            dx[i] = dy[i] * power[i - c * inner];
            t[i] = dx[i] * x[i] / s[i - c * inner];
        }
    }
    REAL factor = (REAL)(2 * r->beta * r->share);
    for (int64_t c = 0; c < channels; c++) {
        int64_t first = c > r->after ? c - r->after : 0,
                last = channels - 1 - c > r->before ? c + r->before : channels - 1;
        for (int64_t i = 0; i < lanes; i++)
            s[i] = 0;
        for (int64_t channel = first; channel <= last; channel++)
#pragma omp simd
            for (int64_t i = 0; i < lanes; i++)
                s[i] += t[channel * inner + i];
#pragma omp simd
        for (int64_t i = 0; i < lanes; i++)
            dx[c * inner + i] -= factor * x[c * inner + i] * s[i];
    }
}

static deft_status TYPED(lrn_grad)(const deft_op_call *call) {
    response r = resolve(call, call->in[1]);
    int64_t blocks = (r.lines.inner + LANES - 1) / LANES, image = r.lines.length * r.lines.inner;
    int threads = deft_rule_threads(call, deft_tensor_count(call->in[1]));
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < r.lines.outer * blocks; i++) {
        int64_t at = i % blocks * LANES, place = i / blocks * image + at;
        TYPED(lrn_grad_block)
        (&r, (const REAL *)call->in[0]->data + place, (const REAL *)call->in[1]->data + place,
         (REAL *)call->out[0]->data + place, (REAL *)call->out[1]->data + place,
         r.lines.inner - at < LANES ? r.lines.inner - at : LANES);
    }
    return DEFT_OK;
}
