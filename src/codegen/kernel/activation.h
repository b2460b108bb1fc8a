/* The activation at the end of a kernel. */
#ifndef DEFT_CODEGEN_KERNEL_ACTIVATION_H
#define DEFT_CODEGEN_KERNEL_ACTIVATION_H

#include "codegen/kernel/kernel.h"

static inline bool deft_activation_is_none(deft_activation activation) {
    return activation.low == -__builtin_inff() && activation.high == __builtin_inff();
}

static inline float deft_activate(deft_activation activation, float y) {
    y = y < activation.low ? activation.low : y;
    return y > activation.high ? activation.high : y;
}

/* y[0..count) = activation(y) */
void deft_activation_apply(deft_activation activation, float *y, int64_t count, int threads);

/* y[i][j] = activation(y[i][j] + scale * bias[i * row_stride + j * column_stride]), y [rows, columns]; `bias` may be
 * NULL. */
typedef struct deft_bias {
    const float *data;
    float scale;
    int64_t row_stride, column_stride; /* 0 where broadcast; else column_stride is 1 */
} deft_bias;
void deft_activation_apply_biased(deft_activation activation, const deft_bias *bias, float *y, int64_t rows,
                                  int64_t columns, int threads);

#endif
