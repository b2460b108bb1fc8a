#include "codegen/kernel/vector.h"
#include "codegen/kernel/share.h"

enum { UNIT = 4096, ELEMENTS_WORTH_THREADS = 1 << 15 };

const deft_vector_loops *deft_vector_loops_of(deft_isa isa) {
    return isa == DEFT_ISA_AVX512 ? &deft_vector_loops_avx512
           : isa == DEFT_ISA_AVX2 ? &deft_vector_loops_avx2
                                  : &deft_vector_loops_c;
}

static deft_unary unary_of(deft_function function) {
    return function == DEFT_FUNCTION_LEAKY_RELU ? DEFT_UNARY_LEAKY
           : function == DEFT_FUNCTION_SWISH    ? DEFT_UNARY_SWISH
                                                : DEFT_UNARY_HARD_SWISH;
}

typedef struct application {
    deft_unary_loop loop;
    float *y;
    int64_t count;
    float alpha;
} application;

static void apply_unit(const void *job, int64_t index) {
    const application *a = job;
    int64_t rest = a->count - index * UNIT;
    float *y = a->y + index * UNIT;
    a->loop(y, y, rest < UNIT ? rest : UNIT, a->alpha, 0);
}

void deft_vector_apply(const deft_vector_loops *loops, deft_function function, float alpha, float *y, int64_t count,
                       int threads) {
    if (function == DEFT_FUNCTION_NONE) return;
    application job = {loops->unary[unary_of(function)], y, count, alpha};
    deft_share_units((count + UNIT - 1) / UNIT, threads, count >= ELEMENTS_WORTH_THREADS, apply_unit, &job);
}
