#include "learn/train/sgd.h"

#include <math.h>
#include <stddef.h>

/* Where gradients have ceased, momentum would decay into denormals, which cost a hundred cycles each, and stay there.
 */
static const float TINY = 1e-30f;
static const int64_t PARALLEL_COUNT = 1 << 16; /* below, starting threads takes longer than they save */

static inline float next_velocity(const deft_sgd *sgd, float w, float v, float g) {
    float next = sgd->momentum * v + (g + sgd->decay * w);
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
