/* What the dense kernels share. */
#ifndef DEFT_CODEGEN_KERNEL_DENSE_H
#define DEFT_CODEGEN_KERNEL_DENSE_H

#include "codegen/kernel/kernel.h"

/* Of `macs` multiply-accumulates at the dense peak of the instruction set, times `efficiency`, beside `bytes` read or
 * written once. */
double deft_dense_estimate_ns(deft_isa isa, double macs, double bytes, double efficiency);

/* The schedules of the dense kernels: on all threads, which 0 means too, or on one, which is faster where waking the
 * others takes longer than the layer. */
enum { DEFT_DENSE_ALL_THREADS = 1, DEFT_DENSE_ONE_THREAD = 2 };
int deft_dense_threads(const deft_request *request);
bool deft_dense_schedule_exists(uint64_t schedule, const char **why);

/* Sets the counts of weights and nonzeros; a weight that is not constant has none. */
void deft_dense_count_weights(const deft_request *request, const deft_tensor *weight, deft_kernel *kernel);

/* oneDNN lets a NaN become a number in a maximum, where Deft keeps it. The CPU notes an invalid operation where a NaN
 * is made of numbers, and where one meets a maximum. */
void deft_dense_forget_invalid(void);
/* Whether there was one since on any of the threads of an OpenMP team, maybe before; forgets it. */
bool deft_dense_met_invalid(int threads);
bool deft_dense_all_finite(const float *x, int64_t count, int threads);

#endif
