#include "codegen/kernel/dense.h"

#include "base/number/finite.h"
#include "base/tensor/tensor.h"
#include "codegen/kernel/linear.h"

#include <immintrin.h>
#include <string.h>

/* Measured on a Xeon with AVX-512 at 3.3 GHz. */
double deft_dense_estimate_ns(deft_isa isa, double macs, double bytes, double efficiency) {
    static const double cache_bytes = 32e6;
    double bytes_per_ns = bytes < cache_bytes ? 50 : 16;
    double macs_per_ns = isa == DEFT_ISA_AVX512 ? 105 : isa == DEFT_ISA_AVX2 ? 52 : 13;
    return macs / (macs_per_ns * efficiency) + bytes / bytes_per_ns;
}

void deft_dense_count_weights(const deft_request *request, const deft_tensor *weight, deft_kernel *kernel) {
    if (!weight->data) return;
    kernel->weights = deft_tensor_count(weight);
    kernel->nonzeros =
        request->nonzeros ? request->nonzeros : deft_linear_count_nonzeros(weight->data, kernel->weights);
}

void deft_dense_forget_invalid(void) {
    _mm_setcsr(_mm_getcsr() & ~(unsigned)_MM_EXCEPT_INVALID);
}

/* Each thread has flags of its own. */
bool deft_dense_met_invalid(int threads) {
    bool met = false;
#pragma omp parallel num_threads(threads) reduction(|| : met) if (threads > 1)
    {
        met = _mm_getcsr() & _MM_EXCEPT_INVALID;
        deft_dense_forget_invalid();
    }
    return met;
}

enum { FINITE_CHUNK = 1 << 14 };

bool deft_dense_all_finite(const float *x, int64_t count, int threads) {
    int64_t chunks = (count + FINITE_CHUNK - 1) / FINITE_CHUNK;
    bool finite = true;
#pragma omp parallel for reduction(&& : finite) num_threads(threads) if (chunks > 4)
    for (int64_t i = 0; i < chunks; i++) {
        int64_t rest = count - i * FINITE_CHUNK;
        finite = finite && deft_all_finite(x + i * FINITE_CHUNK, rest < FINITE_CHUNK ? rest : FINITE_CHUNK);
    }
    return finite;
}

int deft_dense_schedules(const deft_request *request, int most, uint64_t *schedules) {
    if (request->call.threads <= 1 || most < 2) return 0;
    schedules[0] = DEFT_DENSE_ALL_THREADS;
    schedules[1] = DEFT_DENSE_ONE_THREAD;
    return 2;
}

int deft_dense_threads(const deft_request *request) {
    return request->schedule == DEFT_DENSE_ONE_THREAD ? 1 : request->call.threads;
}

bool deft_dense_schedule_exists(uint64_t schedule, const char **why) {
    *why = "it has no such schedule";
    return schedule <= DEFT_DENSE_ONE_THREAD;
}
