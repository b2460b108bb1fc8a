/* What Gemm, MatMul and Conv have in common: Y = act(W X + b). */
#ifndef DEFT_CODEGEN_KERNEL_LINEAR_H
#define DEFT_CODEGEN_KERNEL_LINEAR_H

#include "codegen/kernel/kernel.h"

/* A request seen as a linear layer with a constant weight. Matrix product: Y[n][m] = X[n][k] W[m][k]^T + b[m].
 * Convolution, in each of `groups` groups: m output channels, k = input channels of the group * kernel taps. A product
 * whose left operand is the weight, Y[i][m][c] = W[m][k] X[i][k][c] + b[m], is a convolution of one tap over pictures
 * of one row of c pixels; with one column it is a product again. */
typedef struct deft_linear {
    bool conv;
    int input;           /* of the node: X; the weight is the other one of the first two */
    int64_t n;           /* rows of X; images for a convolution */
    int64_t m, k;        /* of one group */
    const float *weight; /* element (i, j) of group g at weight[g*m*k + i*row_stride + j*column_stride] */
    int64_t row_stride, column_stride;
    float scale;       /* of the product (Gemm's alpha) */
    const float *bias; /* of row i of group g at bias[(g*m + i)*bias_stride]; or NULL */
    int64_t bias_stride;
    float bias_scale; /* Gemm's beta */
    /* convolutions: NCHW; 1-d ones have height 1 */
    int64_t groups, channels_in; /* of all groups */
    int64_t in_height, in_width, out_height, out_width;
    int64_t kernel_height, kernel_width, stride_y, stride_x, dilation_y, dilation_x;
    int64_t pad_top, pad_left, pad_bottom, pad_right;
    int64_t weights, nonzeros; /* of all groups */
} deft_linear;

/* False, with the reason, where the request is not a Gemm, MatMul or Conv of f32 with a constant weight and a bias that
 * is constant and depends alone on the output column (on the row or channel, where the weight is on the left). Where
 * the request does not say how many nonzeros there are, they are counted. */
bool deft_linear_of(const deft_request *request, deft_linear *linear, const char **why);

/* The weights of a row of all groups, unscaled: weight j at [j * column_stride]. */
const float *deft_linear_row(const deft_linear *linear, int64_t row);

/* At the speed of memory. */
int64_t deft_linear_count_nonzeros(const float *values, int64_t count);

/* Which of the first two inputs is the constant weight: the right one where both are, -1 where none is. */
int deft_linear_weight(const deft_op_call *call);
/* As a bit of a kernel's `packed`; 0 where none is. */
static inline uint32_t deft_linear_weight_bit(const deft_op_call *call) {
    int weight = deft_linear_weight(call);
    return weight < 0 ? 0 : 1u << weight;
}

#endif
