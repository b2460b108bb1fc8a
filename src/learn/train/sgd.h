/* Stochastic gradient descent with momentum and weight decay. */
#ifndef DEFT_LEARN_TRAIN_SGD_H
#define DEFT_LEARN_TRAIN_SGD_H

#include <stdint.h>

typedef struct deft_sgd {
    float rate, momentum, decay;
    int threads;
} deft_sgd;

/* v = momentum v + g + decay w; w = w - rate v; all f32 [count]. Where `keep` (may be NULL) is 0, w is left as it is
 * and v becomes 0. The result does not depend on the threads. */
void deft_sgd_step(const deft_sgd *sgd, int64_t count, float *w, float *v, const float *g, const uint8_t *keep);

#endif
