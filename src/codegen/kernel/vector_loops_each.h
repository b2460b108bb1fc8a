/* The loops of vector_loops.h. Who includes this defines LOOPS, the name of their table. */
#include "codegen/kernel/vector_loops.h"
#include "codegen/kernel/vector_math.h"

static inline float deft_vector_unit(float x) {
    float raised = x < 0 ? 0 : x;
    return raised > 1 ? 1 : raised;
}

#define LOOP(NAME, FORMULA)                                                                                            \
    static void unary_##NAME(const float *from, float *to, int64_t count, float a, float b) {                          \
        (void)a, (void)b;                                                                                              \
        _Pragma("omp simd") for (int64_t i = 0; i < count; i++) {                                                      \
            float x = from[i];                                                                                         \
            to[i] = FORMULA;                                                                                           \
        }                                                                                                              \
    }
DEFT_UNARY_LOOPS(LOOP)
#undef LOOP

/* An operand that is the same all along the loop is read once. */
#define LOOP(NAME, FORMULA)                                                                                            \
    static inline float binary_of_##NAME(float x, float y) {                                                           \
        return FORMULA;                                                                                                \
    }                                                                                                                  \
    static void binary_##NAME(deft_binary_operand a, deft_binary_operand b, float *to, int64_t to_row, int64_t rows,   \
                              int64_t count) {                                                                         \
        for (int64_t r = 0; r < rows; r++, to += to_row) {                                                             \
            const float *x = a.data + r * a.row, *y = b.data + r * b.row;                                              \
            if (a.step && b.step) {                                                                                    \
                _Pragma("omp simd") for (int64_t i = 0; i < count; i++) to[i] = binary_of_##NAME(x[i], y[i]);          \
            } else if (a.step) {                                                                                       \
                float fixed = y[0];                                                                                    \
                _Pragma("omp simd") for (int64_t i = 0; i < count; i++) to[i] = binary_of_##NAME(x[i], fixed);         \
            } else if (b.step) {                                                                                       \
                float fixed = x[0];                                                                                    \
                _Pragma("omp simd") for (int64_t i = 0; i < count; i++) to[i] = binary_of_##NAME(fixed, y[i]);         \
            } else {                                                                                                   \
                float fixed = binary_of_##NAME(x[0], y[0]);                                                            \
                for (int64_t i = 0; i < count; i++)                                                                    \
                    to[i] = fixed;                                                                                     \
            }                                                                                                          \
        }                                                                                                              \
    }
DEFT_BINARY_LOOPS(LOOP)
#undef LOOP

static float add_up(const float *x, int64_t count) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; i++)
        sum += x[i];
    return sum;
}

static void softmax(const float *x, float *y, int64_t count) {
    float largest = x[0], sum = 0;
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < count; i++)
        largest = x[i] > largest ? x[i] : largest;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; i++) {
        float power = deft_vector_exp(x[i] - largest);
        y[i] = power;
        sum += power;
    }
    float scale = 1.0f / sum;
#pragma omp simd
    for (int64_t i = 0; i < count; i++)
        y[i] *= scale;
}

static void layer_norm(const float *x, const float *scale, const float *shift, float epsilon, float *y, int64_t count) {
    float mean = add_up(x, count) / (float)count, squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t i = 0; i < count; i++)
        squares += (x[i] - mean) * (x[i] - mean);
    float factor = 1.0f / __builtin_sqrtf(squares / (float)count + epsilon);
    if (!shift) {
#pragma omp simd
        for (int64_t i = 0; i < count; i++)
            y[i] = (x[i] - mean) * factor * scale[i];
        return;
    }
#pragma omp simd
    for (int64_t i = 0; i < count; i++)
        y[i] = DEFT_MULTIPLY_ADD((x[i] - mean) * factor, scale[i], shift[i]);
}

const deft_vector_loops LOOPS = {
    .unary =
        {
#define LOOP(NAME, ...) [DEFT_UNARY_##NAME] = unary_##NAME,
            DEFT_UNARY_LOOPS(LOOP)
#undef LOOP
        },
    .binary =
        {
#define LOOP(NAME, ...) [DEFT_BINARY_##NAME] = binary_##NAME,
            DEFT_BINARY_LOOPS(LOOP)
#undef LOOP
        },
    .softmax = softmax,
    .layer_norm = layer_norm,
    .sum = add_up,
};
