/* Stochastic gradient descent with momentum and weight decay, under a mask. */
#ifndef DEFT_LEARN_TRAIN_SGD_H
#define DEFT_LEARN_TRAIN_SGD_H

#include "learn/train/loss.h"

typedef struct deft_sgd_slot {
    int64_t count;
    float *weights;        /* the constant itself */
    const float *gradient; /* the executor's output */
    float *velocity;       /* starts at zero */
    float *mask;           /* 0 or 1; NULL: all are trained */
    bool decays;
} deft_sgd_slot;

typedef struct deft_sgd {
    deft_context *ctx;
    deft_arena arena;
    deft_sgd_slot *slots; /* one a parameter */
    int count;
    float momentum, weight_decay;
} deft_sgd;

/* `keep_zeros`: what is zero now in a prunable weight stays exactly zero. Weight decay is for parameters of rank 2 and
 * more, not for biases. */
DEFT_MUST_CHECK deft_status deft_sgd_init(deft_sgd *sgd, deft_training *training, float momentum, float weight_decay,
                                          bool keep_zeros);
void deft_sgd_done(deft_sgd *sgd);
/* v = momentum v + g + decay w; w = w - rate v. */
void deft_sgd_step(deft_sgd *sgd, float rate);
/* running = momentum running + (1 - momentum) batch, for the statistics of batch normalisation. */
void deft_sgd_update_statistics(deft_training *training);

#endif
