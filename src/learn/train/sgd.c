#include "learn/train/sgd.h"

#include <math.h>
#include <stddef.h>

/* Where gradients have ceased, momentum would decay into denormals, which cost a hundred cycles each, and stay there.
 */
static const float TINY = 1e-30f;
static const int64_t PARALLEL_COUNT = 1 << 16; /* below, starting threads takes longer than they save */

static inline float next_velocity(const deft_sgd *sgd, float w, float v, float g) {
    float next = sgd->momentum * v + (sgd->scale * g + sgd->decay * w);
    return fabsf(next) < TINY ? 0 : next;
}

static void step_all(const deft_sgd *sgd, int64_t count, float *restrict w, float *restrict v,
                     const float *restrict g) {
    const deft_sgd rule = *sgd;
#pragma omp parallel for simd num_threads(rule.threads) if (count >= PARALLEL_COUNT)
    for (int64_t i = 0; i < count; i++) {
        v[i] = next_velocity(&rule, w[i], v[i], g[i]);
        w[i] -= rule.rate * v[i];
    }
}

static void step_kept(const deft_sgd *sgd, int64_t count, float *restrict w, float *restrict v, const float *restrict g,
                      const uint8_t *restrict keep) {
    const deft_sgd rule = *sgd;
#pragma omp parallel for simd num_threads(rule.threads) if (count >= PARALLEL_COUNT)
    for (int64_t i = 0; i < count; i++) {
        float next = next_velocity(&rule, w[i], v[i], g[i]);
        v[i] = keep[i] ? next : 0;
        w[i] -= rule.rate * v[i];
    }
}

void deft_sgd_step(const deft_sgd *sgd, int64_t count, float *w, float *v, const float *g, const uint8_t *keep) {
    if (keep)
        step_kept(sgd, count, w, v, g, keep);
    else
        step_all(sgd, count, w, v, g);
}

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
double deft_sgd_square(const float *g, const uint8_t *keep, int64_t count, int threads) {
    enum { PARTS = 64 };
    double sums[PARTS], sum = 0;
#pragma omp parallel for schedule(static) num_threads(threads) if (count >= PARALLEL_COUNT)
    for (int part = 0; part < PARTS; part++)
        sums[part] = square_part(g, keep, count * part / PARTS, count * (part + 1) / PARTS);
    for (int part = 0; part < PARTS; part++)
        sum += sums[part];
    return sum;
}
