#include "codegen/kernel/vector.h"

const deft_vector_loops *deft_vector_loops_of(deft_isa isa) {
    return isa == DEFT_ISA_AVX512 ? &deft_vector_loops_avx512
           : isa == DEFT_ISA_AVX2 ? &deft_vector_loops_avx2
                                  : &deft_vector_loops_c;
}
