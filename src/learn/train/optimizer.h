/* How weights follow their gradients: SGD with momentum, Nesterov, Adam, AdamW; and the moving average of weights.
 * source: SUTSKEVER2013, KINGMA2015, LOSHCHILOV2019, POLYAK1992 */
#ifndef DEFT_LEARN_TRAIN_OPTIMIZER_H
#define DEFT_LEARN_TRAIN_OPTIMIZER_H

#include "base/core/context.h"

/* Fills in the defaults; afterwards every field is what is used: none is 0, and no limit infinite.
 * Error: DEFT_INVALID, naming the numbers. */
DEFT_MUST_CHECK deft_status deft_optimizer_fill_in(deft_context *ctx, const deft_optimizer_options *given,
                                                   deft_optimizer_options *options);

/* What the rule keeps for some weights; all f32 [count], and zeros at the start but for the average. */
typedef struct deft_moments {
    float *first;   /* the velocity, or Adam's mean of the gradient */
    float *second;  /* Adam's mean of its square; NULL for the others */
    float *average; /* of the weights, at the start equal to them; NULL where none is kept */
    uint8_t *keep;  /* 0 where a weight is zero and stays it; NULL where all may change */
} deft_moments;

/* One step for some weights. */
typedef struct deft_update {
    const deft_optimizer_options *options; /* filled in */
    int64_t step;                          /* from 0 */
    float rate;
    float scale; /* of the gradient */
    bool decays;
    int threads;
} deft_update;

/* w and g are f32 [count]. The result does not depend on the threads. */
void deft_optimizer_update(const deft_update *update, int64_t count, float *w, const float *g,
                           const deft_moments *moments);

/* Sum of the squares of g [count] where `keep` (may be NULL) is not 0; the same for any number of threads;
 * infinite where an element is beyond 1e19. */
double deft_optimizer_square(const float *g, const uint8_t *keep, int64_t count, int threads);

#endif
