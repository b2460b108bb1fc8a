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

enum { VECTOR = 16 /* floats: one, two or four */ };

static float add_up(const float *x, int64_t count) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; i++)
        sum += x[i];
    return sum;
}

/* Fewer elements than a vector has, and what changes nothing behind them. */
static inline __attribute__((always_inline)) void take_rest(const float *x, int64_t count, float *row) {
#pragma omp simd
    for (int64_t i = 0; i < VECTOR; i++)
        row[i] = i < count ? x[i] : -__builtin_inff();
}

/* y = exp(x - largest); returns their sum. */
static inline __attribute__((always_inline)) float raise(const float *x, float largest, float *y, int64_t count) {
    int64_t whole = count / VECTOR * VECTOR, rest = count - whole;
    float sum = 0, row[VECTOR];
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < whole; i++)
        sum += y[i] = deft_vector_exp(x[i] - largest);
    if (rest == 0) return sum;
    take_rest(x + whole, rest, row);
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < VECTOR; i++)
        sum += row[i] = deft_vector_exp(row[i] - largest);
    memcpy(y + whole, row, (size_t)rest * sizeof *y);
    return sum;
}

/* Inlined with a constant count for short rows. */
static inline __attribute__((always_inline)) void softmax_of(const float *x, float *y, int64_t count) {
    float largest = x[0];
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < count; i++)
        largest = x[i] > largest ? x[i] : largest;
    float scale = 1.0f / raise(x, largest, y, count);
#pragma omp simd
    for (int64_t i = 0; i < count; i++)
        y[i] *= scale;
}

/* A row that is shorter than a vector is computed as a whole one. In place, a store through a mask would keep the next
 * row's load waiting, whose bytes follow. */
static void softmax(const float *x, float *y, int64_t count) {
    if (count >= VECTOR) {
        softmax_of(x, y, count);
        return;
    }
    float row[VECTOR];
    take_rest(x, count, row);
    softmax_of(row, row, VECTOR);
    memcpy(y, row, (size_t)count * sizeof *y);
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

/* ---- products with packed weights ---- */

#if defined(__AVX512F__)
enum { LANES = 16, MOST_ROWS = 8 };
#elif defined(__AVX2__)
enum { LANES = 8, MOST_ROWS = 6 };
#else
enum { LANES = 4, MOST_ROWS = 6 };
#endif
enum { WIDTH = 2 * LANES, DEPTH = 64 /* rows of a panel that stay in L1 while all rows of X pass */ };
typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* Inlined with constant rows and turns: rows * turns pairs of sums are kept in registers. Several turns of one row hide
 * the latency of additions. What the next rows of the panel are is fetched ahead: past the end of the last one too,
 * which reads nothing. */
static inline __attribute__((always_inline)) void add_rows(int rows, int turns, const float *x, int64_t x_row,
                                                           int64_t inner, const float *w, float *y, int64_t y_row) {
    lanes sums[MOST_ROWS][2];
#pragma GCC unroll 8
    for (int i = 0; i < rows * turns; i++)
        sums[i][0] = sums[i][1] = (lanes){0};
    int64_t k = 0;
    for (; k + turns <= inner; k += turns) {
#pragma GCC unroll 8
        for (int t = 0; t < turns; t++) {
            __builtin_prefetch(w + (k + t + DEPTH) * WIDTH);
            if (LANES == 16) __builtin_prefetch(w + (k + t + DEPTH) * WIDTH + LANES);
            lanes low = *(const lanes *)(w + (k + t) * WIDTH), high = *(const lanes *)(w + (k + t) * WIDTH + LANES);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                sums[t * rows + r][0] += x[r * x_row + k + t] * low;
                sums[t * rows + r][1] += x[r * x_row + k + t] * high;
            }
        }
    }
    for (; k < inner; k++) {
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            sums[r][0] += x[r * x_row + k] * *(const lanes *)(w + k * WIDTH);
            sums[r][1] += x[r * x_row + k] * *(const lanes *)(w + k * WIDTH + LANES);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 8
        for (int t = 1; t < turns; t++) {
            sums[r][0] += sums[t * rows + r][0];
            sums[r][1] += sums[t * rows + r][1];
        }
        *(lanes *)(y + r * y_row) += sums[r][0];
        *(lanes *)(y + r * y_row + LANES) += sums[r][1];
    }
}

static void add_panel(const float *x, int64_t x_row, int64_t rows, int64_t inner, const float *w, float *y,
                      int64_t y_row) {
    int64_t r = 0;
    for (; r + MOST_ROWS <= rows; r += MOST_ROWS)
        add_rows(MOST_ROWS, 1, x + r * x_row, x_row, inner, w, y + r * y_row, y_row);
    for (; r + 4 <= rows; r += 4)
        add_rows(4, 1, x + r * x_row, x_row, inner, w, y + r * y_row, y_row);
    for (; r + 2 <= rows; r += 2)
        add_rows(2, 2, x + r * x_row, x_row, inner, w, y + r * y_row, y_row);
    if (r < rows) add_rows(1, 4, x + r * x_row, x_row, inner, w, y + r * y_row, y_row);
}

static void product(const float *x, int64_t x_row, int64_t rows, int64_t inner, const float *w, int64_t panels,
                    float *y, int64_t y_row) {
    for (int64_t p = 0; p < panels; p++, w += inner * WIDTH, y += WIDTH)
        for (int64_t k = 0; k < inner; k += DEPTH)
            add_panel(x + k, x_row, rows, inner - k < DEPTH ? inner - k : DEPTH, w + k * WIDTH, y, y_row);
}

/* ---- maxima ---- */

/* Comparisons with NaN are false, so one that is kept stays; one that comes is seen by x != x. */
static inline lanes larger(lanes best, lanes x) {
    typedef int32_t masks __attribute__((vector_size(4 * LANES)));
    masks taken = (masks)((x > best) | (x != x));
    return (lanes)((taken & (masks)x) | (~taken & (masks)best));
}

static float largest(const float *x, int64_t count) {
    lanes best[4];
    float result = -__builtin_inff();
    for (int j = 0; j < 4; j++)
        best[j] = (lanes){0} - __builtin_inff();
    int64_t i = 0;
    for (; i + 4 * LANES <= count; i += 4 * LANES) {
#pragma GCC unroll 4
        for (int j = 0; j < 4; j++)
            best[j] = larger(best[j], *(const lanes *)(x + i + j * LANES));
    }
    best[0] = larger(larger(best[0], best[1]), larger(best[2], best[3]));
    for (int j = 0; j < LANES; j++)
        result = binary_of_MAX(result, best[0][j]);
    for (; i < count; i++)
        result = binary_of_MAX(result, x[i]);
    return result;
}

/* ---- recurrent networks ---- */

static void add_gated(const float *gate, const float *x, float *y, int64_t count) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++)
        y[i] += deft_vector_sigmoid(gate[i]) * x[i];
}

static void lstm(const float *gates, int64_t stride, float *cell, float *h, int64_t count) {
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        float kept = deft_vector_sigmoid(gates[i + 2 * stride]) * cell[i];
        float added = deft_vector_sigmoid(gates[i]) * deft_vector_tanh(gates[i + 3 * stride]);
        cell[i] = kept + added;
        h[i] = deft_vector_sigmoid(gates[i + stride]) * deft_vector_tanh(cell[i]);
    }
}

static void gru(const float *update, const float *candidate, const float *before, float *h, int64_t count) {
    if (!before) {
#pragma omp simd
        for (int64_t i = 0; i < count; i++)
            h[i] = (1.0f - deft_vector_sigmoid(update[i])) * deft_vector_tanh(candidate[i]);
        return;
    }
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        float share = deft_vector_sigmoid(update[i]);
        h[i] = (1.0f - share) * deft_vector_tanh(candidate[i]) + share * before[i];
    }
}

#if defined(__AVX2__)
#include "codegen/kernel/vector_lane_loops.h"
#include "codegen/kernel/vector_winograd_loops.h"
#endif

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
    .largest = largest,
    .product = product,
    .product_width = WIDTH,
    .add_gated = add_gated,
    .lstm = lstm,
    .gru = gru,
#if defined(__AVX2__)
    .lane_sums = lane_sums,
    .lane_scale = lane_scale,
    .lane_max_slopes = lane_max_slopes,
    .lane_add = lane_add,
    .lrn = lrn,
    .winograd_in = winograd_in,
    .winograd_weights = winograd_weights,
    .winograd_out = winograd_out,
#endif
};
