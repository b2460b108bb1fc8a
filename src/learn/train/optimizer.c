#include "learn/train/optimizer.h"

#include <math.h>
#include <stddef.h>

/* Where gradients have ceased, moments would decay into denormals, which cost a hundred cycles each, and stay there. */
static const float TINY = 1e-30f;
static const int64_t PARALLEL_COUNT = 1 << 16; /* below, starting threads takes longer than they save */
enum { CHUNK = 1 << 12 };                      /* elements, so that a second pass finds them in a cache */

/* ---- options ------------------------------------------------------------------------------------------------- */

static float filled(float given, float otherwise, float none) {
    return given == 0 ? otherwise : given < 0 ? none : given;
}

deft_status deft_optimizer_fill_in(deft_context *ctx, const deft_optimizer_options *given,
                                   deft_optimizer_options *options) {
    bool known = given->kind >= DEFT_OPTIMIZER_SGD && given->kind <= DEFT_OPTIMIZER_ADAMW;
    *options = (deft_optimizer_options){
        .kind = given->kind,
        .momentum = filled(given->momentum, 0.9f, 0),
        .beta2 = filled(given->beta2, 0.999f, 0),
        .epsilon = filled(given->epsilon, 1e-8f, 0),
        .weight_decay = filled(given->weight_decay, given->kind == DEFT_OPTIMIZER_ADAMW ? 0.01f : 5e-4f, 0),
        .max_gradient_norm = filled(given->max_gradient_norm, 1, INFINITY),
        .average = given->average};
    bool valid = options->momentum < 1 && options->beta2 < 1 && options->average >= 0 && options->average < 1 &&
                 options->epsilon < INFINITY && options->weight_decay < INFINITY && options->max_gradient_norm > 0;
    if (known && valid) return DEFT_OK;
    return deft_fail(ctx, DEFT_INVALID,
                     "optimiser %d: momentum %g, beta2 %g, epsilon %g, weight decay %g, largest gradient norm %g, "
                     "average %g: expected 0 to 3, shares below 1, and finite numbers",
                     (int)given->kind, (double)options->momentum, (double)options->beta2, (double)options->epsilon,
                     (double)options->weight_decay, (double)options->max_gradient_norm, (double)options->average);
}

/* ---- rules --------------------------------------------------------------------------------------------------- */

/* The numbers of a step. */
typedef struct rule {
    float rate, scale, decay; /* of the gradient and to it */
    float momentum, beta2, epsilon;
    float shrink;         /* of the weight, beside the gradient's step: AdamW's decay */
    float second_scale;   /* of the square root of the second moment */
    float average_change; /* what the average takes of the weight */
    bool nesterov, adam;
} rule;

static rule rule_of(const deft_update *update) {
    const deft_optimizer_options *options = update->options;
    bool adamw = options->kind == DEFT_OPTIMIZER_ADAMW, adam = adamw || options->kind == DEFT_OPTIMIZER_ADAM;
    float decay = update->decays ? options->weight_decay : 0;
    double step = (double)update->step, share = fmin((double)options->average, (1 + step) / (10 + step));
    rule made = {.rate = update->rate,
                 .scale = update->scale,
                 .decay = adamw ? 0 : decay,
                 .momentum = options->momentum,
                 .beta2 = options->beta2,
                 .epsilon = fmaxf(options->epsilon, TINY), /* 0 / 0 is none */
                 .shrink = adamw ? update->rate * decay : 0,
                 .average_change = (float)(1 - share),
                 .nesterov = options->kind == DEFT_OPTIMIZER_NESTEROV,
                 .adam = adam};
    if (!adam) return made;
    made.rate = (float)((double)update->rate / (1 - pow((double)options->momentum, step + 1)));
    made.second_scale = (float)(1 / sqrt(1 - pow((double)options->beta2, step + 1)));
    return made;
}

static inline float without_tiny(float x) {
    return fabsf(x) < TINY ? 0 : x;
}

static inline float gradient_at(const rule *r, const float *g, const float *w, int64_t i) {
    return r->scale * g[i] + r->decay * w[i];
}

/* What becomes of a moment: where the weight stays zero, it is zero too, and moves nothing. */
static inline float kept(const uint8_t *keep, int64_t i, float next) {
    return !keep || keep[i] ? without_tiny(next) : 0;
}

static inline __attribute__((always_inline)) void momentum_steps(const rule *given, int64_t count, float *restrict w,
                                                                 const float *restrict g, float *restrict v,
                                                                 const uint8_t *restrict keep) {
    const rule r = *given;
    const float ahead = r.nesterov ? r.momentum : 1, now = r.nesterov ? 1 : 0;
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        float gradient = kept(keep, i, gradient_at(&r, g, w, i));
        v[i] = kept(keep, i, r.momentum * v[i] + gradient);
        w[i] -= r.rate * (ahead * v[i] + now * gradient);
    }
}

static inline __attribute__((always_inline)) void adam_steps(const rule *given, int64_t count, float *restrict w,
                                                             const float *restrict g, float *restrict m,
                                                             float *restrict v, const uint8_t *restrict keep) {
    const rule r = *given;
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        float gradient = gradient_at(&r, g, w, i);
        m[i] = kept(keep, i, r.momentum * m[i] + (1 - r.momentum) * gradient);
        v[i] = kept(keep, i, r.beta2 * v[i] + (1 - r.beta2) * gradient * gradient);
        w[i] -= r.rate * m[i] / (r.second_scale * sqrtf(v[i]) + r.epsilon) + r.shrink * w[i];
    }
}

static void average_steps(float change, int64_t count, const float *restrict w, float *restrict average,
                          const uint8_t *restrict keep) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++)
        average[i] += change * (w[i] - average[i]);
    for (int64_t i = 0; keep && i < count; i++)
        average[i] = keep[i] ? average[i] : w[i];
}

static void steps(const rule *r, int64_t count, float *w, const float *g, const deft_moments *at) {
    if (r->adam && at->keep)
        adam_steps(r, count, w, g, at->first, at->second, at->keep);
    else if (r->adam)
        adam_steps(r, count, w, g, at->first, at->second, NULL);
    else if (at->keep)
        momentum_steps(r, count, w, g, at->first, at->keep);
    else
        momentum_steps(r, count, w, g, at->first, NULL);
    if (at->average) average_steps(r->average_change, count, w, at->average, at->keep);
}

static deft_moments moments_from(const deft_moments *moments, int64_t at) {
    return (deft_moments){.first = moments->first + at,
                          .second = moments->second ? moments->second + at : NULL,
                          .average = moments->average ? moments->average + at : NULL,
                          .keep = moments->keep ? moments->keep + at : NULL};
}

void deft_optimizer_update(const deft_update *update, int64_t count, float *w, const float *g,
                           const deft_moments *moments) {
    const rule r = rule_of(update);
    int64_t chunks = (count + CHUNK - 1) / CHUNK;
#pragma omp parallel for schedule(static) num_threads(update->threads) if (count >= PARALLEL_COUNT)
    for (int64_t chunk = 0; chunk < chunks; chunk++) {
        int64_t first = chunk * CHUNK, left = count - first;
        deft_moments at = moments_from(moments, first);
        steps(&r, left < CHUNK ? left : CHUNK, w + first, g + first, &at);
    }
}

/* ---- the gradient's norm ------------------------------------------------------------------------------------- */

static float square_all(const float *restrict g, int64_t count) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; i++)
        sum += g[i] * g[i];
    return sum;
}

static float square_kept(const float *restrict g, const uint8_t *restrict keep, int64_t count) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; i++) {
        float kept = keep[i] ? g[i] : 0;
        sum += kept * kept;
    }
    return sum;
}

/* f32 within a short block, which is a few times as fast, f64 between them. */
static double square_part(const float *g, const uint8_t *keep, int64_t begin, int64_t end) {
    enum { BLOCK = 1024 };
    double sum = 0;
    for (int64_t first = begin; first < end; first += BLOCK) {
        int64_t count = first + BLOCK < end ? BLOCK : end - first;
        sum += (double)(keep ? square_kept(g + first, keep + first, count) : square_all(g + first, count));
    }
    return sum;
}

/* Parts that do not depend on the threads are summed side by side, and then in their order. */
double deft_optimizer_square(const float *g, const uint8_t *keep, int64_t count, int threads) {
    enum { PARTS = 64 };
    double sums[PARTS], sum = 0;
#pragma omp parallel for schedule(static) num_threads(threads) if (count >= PARALLEL_COUNT)
    for (int part = 0; part < PARTS; part++)
        sums[part] = square_part(g, keep, count * part / PARTS, count * (part + 1) / PARTS);
    for (int part = 0; part < PARTS; part++)
        sum += sums[part];
    return sum;
}
