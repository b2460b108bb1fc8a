/* Stochastic gradient descent with momentum and weight decay. */
#ifndef DEFT_LEARN_TRAIN_SGD_H
#define DEFT_LEARN_TRAIN_SGD_H

#include <stdint.h>

typedef struct deft_sgd {
    float rate, momentum, decay;
    float scale; /* of the gradient */
    int threads;
} deft_sgd;

/* v = momentum v + scale g + decay w; w = w - rate v; all f32 [count]. Where `keep` (may be NULL) is 0, w is left as it
 * is and v becomes 0. The result does not depend on the threads. */
void deft_sgd_step(const deft_sgd *sgd, int64_t count, float *w, float *v, const float *g, const uint8_t *keep);

/* Sum of the squares of g [count] where `keep` (may be NULL) is not 0; the same for any number of threads;
 * infinite where an element is beyond 1e19. */
double deft_sgd_square(const float *g, const uint8_t *keep, int64_t count, int threads);

#endif
