#include "codegen/kernel/dense.h"

#include "base/tensor/tensor.h"

double deft_dense_estimate_ns(deft_isa isa, double macs, double bytes, double efficiency) {
    static const double bytes_per_ns = 50; /* of a cache */
    double macs_per_ns = isa == DEFT_ISA_AVX512 ? 55 : isa == DEFT_ISA_AVX2 ? 28 : 7;
    return macs / (macs_per_ns * efficiency) + bytes / bytes_per_ns;
}

void deft_dense_count_weights(const deft_tensor *weight, deft_kernel *kernel) {
    const float *values = weight->data;
    if (!values) return;
    kernel->weights = deft_tensor_count(weight);
    for (int64_t i = 0; i < kernel->weights; i++)
        kernel->nonzeros += values[i] != 0.0f;
}
