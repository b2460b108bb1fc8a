#include "codegen/kernel/vector.h"

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

void deft_vector_apply(const deft_vector_loops *loops, deft_function function, float alpha, float *y, int64_t count,
                       int threads) {
    if (function == DEFT_FUNCTION_NONE) return;
    deft_unary_loop loop = loops->unary[unary_of(function)];
#pragma omp parallel for num_threads(threads) if (count >= ELEMENTS_WORTH_THREADS)
    for (int64_t i = 0; i < count; i += UNIT)
        loop(y + i, y + i, count - i < UNIT ? count - i : UNIT, alpha, 0);
}
