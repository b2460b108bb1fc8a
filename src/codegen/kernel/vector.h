/* What the vector kernels share. */
#ifndef DEFT_CODEGEN_KERNEL_VECTOR_H
#define DEFT_CODEGEN_KERNEL_VECTOR_H

#include "codegen/kernel/activation.h"
#include "codegen/kernel/vector_loops.h"

/* The loops for an instruction set that the CPU has. */
const deft_vector_loops *deft_vector_loops_of(deft_isa isa);

/* y = f(y) */
void deft_vector_apply(const deft_vector_loops *loops, deft_function function, float alpha, float *y, int64_t count,
                       int threads);

#endif
