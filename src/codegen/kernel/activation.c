#include "codegen/kernel/activation.h"

/* Below this, starting threads takes longer than the work. */
enum { ELEMENTS_WORTH_THREADS = 1 << 16 };

void deft_activation_apply(deft_activation activation, float *y, int64_t count, int threads) {
    if (deft_activation_is_none(activation)) return;
    float low = activation.low, high = activation.high;
#pragma omp parallel for simd num_threads(threads) if (count >= ELEMENTS_WORTH_THREADS)
    for (int64_t i = 0; i < count; i++) {
        float value = y[i] < low ? low : y[i];
        y[i] = value > high ? high : value;
    }
}

static void add_row(deft_activation activation, float *y, const float *bias, float scale, int64_t columns) {
    float low = activation.low, high = activation.high;
#pragma omp simd
    for (int64_t j = 0; j < columns; j++) {
        float value = y[j] + scale * bias[j];
        value = value < low ? low : value;
        y[j] = value > high ? high : value;
    }
}

static void add_scalar(deft_activation activation, float *y, float bias, int64_t columns) {
    float low = activation.low, high = activation.high;
#pragma omp simd
    for (int64_t j = 0; j < columns; j++) {
        float value = y[j] + bias;
        value = value < low ? low : value;
        y[j] = value > high ? high : value;
    }
}

void deft_activation_apply_biased(deft_activation activation, const deft_bias *bias, float *y, int64_t rows,
                                  int64_t columns, int threads) {
    if (!bias->data) {
        deft_activation_apply(activation, y, rows * columns, threads);
        return;
    }
#pragma omp parallel for num_threads(threads) if (rows * columns >= ELEMENTS_WORTH_THREADS)
    for (int64_t i = 0; i < rows; i++) {
        const float *row = bias->data + i * bias->row_stride;
        if (bias->column_stride)
            add_row(activation, y + i * columns, row, bias->scale, columns);
        else
            add_scalar(activation, y + i * columns, bias->scale * row[0], columns);
    }
}
