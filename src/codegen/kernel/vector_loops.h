/* The inner loops of the vector kernels, compiled once for each instruction set (vector_loops_each.h). */
#ifndef DEFT_CODEGEN_KERNEL_VECTOR_LOOPS_H
#define DEFT_CODEGEN_KERNEL_VECTOR_LOOPS_H

#include <deft/deft.h>

/* y[i] = f(x[i]) for i in [0, count); a and b are the operator's parameters. y may be x. */
typedef void (*deft_unary_loop)(const float *x, float *y, int64_t count, float a, float b);
/* y[r * y_row + i] = f(a[r * a_row + i * a_step], b[...]) for r in [0, rows), i in [0, count); steps are 0 or 1. */
typedef struct deft_binary_operand {
    const float *data;
    int64_t row, step;
} deft_binary_operand;
typedef void (*deft_binary_loop)(deft_binary_operand a, deft_binary_operand b, float *y, int64_t y_row, int64_t rows,
                                 int64_t count);

/* name, function of x, a and b */
#define DEFT_UNARY_LOOPS(LOOP)                                                                                         \
    LOOP(ABS, x < 0 ? -x : x + 0.0f)                                                                                   \
    LOOP(NEG, -x)                                                                                                      \
    LOOP(RECIPROCAL, 1.0f / x)                                                                                         \
    LOOP(SQRT, __builtin_sqrtf(x))                                                                                     \
    LOOP(EXP, deft_vector_exp(x))                                                                                      \
    LOOP(ERF, deft_vector_erf(x))                                                                                      \
    LOOP(SIGMOID, deft_vector_sigmoid(x))                                                                              \
    LOOP(TANH, deft_vector_tanh(x))                                                                                    \
    LOOP(GELU, deft_vector_gelu(x))                                                                                    \
    LOOP(GELU_TANH, deft_vector_gelu_tanh(x))                                                                          \
    LOOP(CLAMP, (x < a ? a : x) > b ? b : (x < a ? a : x))                                                             \
    LOOP(LEAKY, x < 0 ? a * x : x)                                                                                     \
    LOOP(HARD_SIGMOID, deft_vector_unit(a *x + b))                                                                     \
    LOOP(HARD_SWISH, x *deft_vector_unit(x *(1.0f / 6) + 0.5f))                                                        \
    LOOP(SWISH, x *deft_vector_sigmoid(a *x))                                                                          \
    LOOP(SQUARE, x *x)                                                                                                 \
    LOOP(ELU, x < 0 ? a * (deft_vector_exp(x) - 1.0f) : x)

/* name, function of x and y, the operands */
#define DEFT_BINARY_LOOPS(LOOP)                                                                                        \
    LOOP(ADD, x + y)                                                                                                   \
    LOOP(SUB, x - y)                                                                                                   \
    LOOP(MUL, x *y)                                                                                                    \
    LOOP(DIV, x / y)                                                                                                   \
    LOOP(PRELU, x < 0 ? x * y : x)                                                                                     \
    LOOP(MAX, ((y > x) | (y != y)) ? y : x)                                                                            \
    LOOP(RELU_GRAD, y > 0 ? x : 0.0f)

typedef enum deft_unary {
#define LOOP(NAME, ...) DEFT_UNARY_##NAME,
    DEFT_UNARY_LOOPS(LOOP)
#undef LOOP
        DEFT_UNARY_COUNT
} deft_unary;

typedef enum deft_binary {
#define LOOP(NAME, ...) DEFT_BINARY_##NAME,
    DEFT_BINARY_LOOPS(LOOP)
#undef LOOP
        DEFT_BINARY_COUNT
} deft_binary;

enum { DEFT_PRODUCT_WIDTH = 32 };

/* An LRN of beta 3/4 over pixels in blocks, whose blocks are `block` apart; `channels`: those of whole blocks. The sum
 * of a channel is over `before` channels before it and `after` behind it, alpha / size times that is the share. */
enum { DEFT_RESPONSE_NEIGHBOURS = 16, DEFT_RESPONSE_CHANNELS = 1024 };
typedef struct deft_response {
    float share, bias;
    int64_t before, after, channels, block;
} deft_response;

typedef struct deft_vector_loops {
    deft_unary_loop unary[DEFT_UNARY_COUNT];
    deft_binary_loop binary[DEFT_BINARY_COUNT];
    /* y[i] = exp(x[i] - max x) / sum; count > 0. */
    void (*softmax)(const float *x, float *y, int64_t count);
    /* y[i] = (x[i] - mean) / sqrt(variance + epsilon) scale[i] + shift[i], by two passes; shift may be NULL. */
    void (*layer_norm)(const float *x, const float *scale, const float *shift, float epsilon, float *y, int64_t count);
    float (*sum)(const float *x, int64_t count);
    float (*largest)(const float *x, int64_t count); /* -infinity of none; NaN where one is */
    /* Y[rows, panels * width] += X[rows, inner] W, row r of X at x + r * x_row, of Y at y + r * y_row; W in panels
     * [panels][inner][width], 64-byte aligned. error: gamma(inner + 1) (sum|x||w| + |y|). */
    void (*product)(const float *x, int64_t x_row, int64_t rows, int64_t inner, const float *w, int64_t panels,
                    float *y, int64_t y_row);
    int64_t product_width; /* of a panel: at most DEFT_PRODUCT_WIDTH */
    /* y[i] += sigmoid(gate[i]) * x[i]; */
    void (*add_gated)(const float *gate, const float *x, float *y, int64_t count);
    /* cell[i] = sigmoid(f) cell[i] + sigmoid(i) tanh(c), h[i] = sigmoid(o) tanh(cell[i]); the gates i, o, f, c of unit
     * i are gates[i + {0, 1, 2, 3} * stride]. */
    void (*lstm)(const float *gates, int64_t stride, float *cell, float *h, int64_t count);
    /* h[i] = (1 - sigmoid(update[i])) tanh(candidate[i]) + sigmoid(update[i]) before[i]; before may be NULL, for 0. */
    void (*gru)(const float *update, const float *candidate, const float *before, float *h, int64_t count);
    /* Of pixels in blocks, by lane; NULL where a block is not a vector. Adds sum a, and sum a (b - center);
     * a may be NULL, for b - center. */
    void (*lane_sums)(const float *a, const float *b, const float *center, int64_t pixels, double *sum,
                      double *product);
    /* y = a a_factor + b b_factor + level; a may be NULL, for 0. */
    void (*lane_scale)(const float *a, const float *b, const float *a_factor, const float *b_factor, const float *level,
                       float *y, int64_t pixels);
    /* At the first of the largest of x[taps[i]], by lane, of which NaN is the largest, dx += dy. */
    void (*lane_max_slopes)(const float *x, const int64_t *taps, int count, const float *dy, float *dx);
    /* x[taps[i]] += a, of lanes */
    void (*lane_add)(const float *a, const int64_t *taps, int count, float *x);
    /* y, or dx where there is a dy, of pixels from block to block. */
    void (*lrn)(const deft_response *response, const float *dy, const float *x, float *out, int64_t pixels);
    /* Winograd's passes, of a block of channels; NULL where a block is not a vector. Points of a tile are `point`
     * apart. The window of 6x6 pixels at x, rows x_row apart; 3x3 weights of filters that are `filter` apart; of sums,
     * and the bias, y[4][4][block]. NaN is added to not_finite[block] where one is not finite. */
    void (*winograd_in)(const float *x, int64_t x_row, float *to, int64_t point);
    void (*winograd_weights)(const float *w, int64_t filter, float *to, int64_t point);
    void (*winograd_out)(const float *sums, int64_t point, const float *bias, float *y, float *not_finite);
} deft_vector_loops;

extern const deft_vector_loops deft_vector_loops_avx512, deft_vector_loops_avx2, deft_vector_loops_c;

#endif
