/* What this machine is and has. */
#ifndef DEFT_BASE_CORE_CPU_H
#define DEFT_BASE_CORE_CPU_H

#include <deft/deft.h>

/* The best instruction set of this CPU that the operating system lets us use; never DEFT_ISA_BEST. */
deft_isa deft_cpu_best_isa(void);
bool deft_cpu_has(deft_isa isa);
/* "avx512", "avx2", "c". */
const char *deft_isa_name(deft_isa isa);
/* The brand string, or "unknown": at least 49 bytes. */
void deft_cpu_name(char *out, size_t bytes);
/* Cores that this process may use. */
int deft_cpu_count(void);
/* Memory that the machine has, or its container where that has less; SIZE_MAX / 2 where neither says. */
size_t deft_machine_memory_bytes(void);
/* Binds the calling thread to the index-th core that the process may use. */
bool deft_cpu_pin(int index);

#endif
