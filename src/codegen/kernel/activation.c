#include "codegen/kernel/activation.h"
#include "codegen/kernel/share.h"

/* Below this, starting threads takes longer than the work. */
enum { ELEMENTS_WORTH_THREADS = 1 << 16, UNIT = 1 << 12 };

/* y [rows, columns]; without a bias one row. */
typedef struct finish {
    deft_activation activation;
    const deft_bias *bias;
    float *y;
    int64_t columns;
} finish;

static void clamp_unit(const void *job, int64_t index) {
    const finish *f = job;
    float low = f->activation.low, high = f->activation.high, *y = f->y + index * UNIT;
    int64_t rest = f->columns - index * UNIT, count = rest < UNIT ? rest : UNIT;
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        float value = y[i] < low ? low : y[i];
        y[i] = value > high ? high : value;
    }
}

void deft_activation_apply(deft_activation activation, float *y, int64_t count, int threads) {
    if (deft_activation_is_none(activation)) return;
    finish job = {.activation = activation, .y = y, .columns = count};
    deft_share_units((count + UNIT - 1) / UNIT, threads, count >= ELEMENTS_WORTH_THREADS, clamp_unit, &job);
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

static void finish_row(const void *job, int64_t index) {
    const finish *f = job;
    const float *bias = f->bias->data + index * f->bias->row_stride;
    if (f->bias->column_stride)
        add_row(f->activation, f->y + index * f->columns, bias, f->bias->scale, f->columns);
    else
        add_scalar(f->activation, f->y + index * f->columns, f->bias->scale * bias[0], f->columns);
}

void deft_activation_apply_biased(deft_activation activation, const deft_bias *bias, float *y, int64_t rows,
                                  int64_t columns, int threads) {
    if (!bias->data) {
        deft_activation_apply(activation, y, rows * columns, threads);
        return;
    }
    finish job = {activation, bias, y, columns};
    deft_share_units(rows, threads, rows * columns >= ELEMENTS_WORTH_THREADS, finish_row, &job);
}
