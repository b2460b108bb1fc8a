#include "base/core/cpu.h"

#include <cpuid.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* __builtin_cpu_supports also asks whether the operating system saves the registers. */
bool deft_cpu_has(deft_isa isa) {
    switch (isa) {
    case DEFT_ISA_BEST:
    case DEFT_ISA_C:
        return true;
    case DEFT_ISA_AVX2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case DEFT_ISA_AVX512:
        return deft_cpu_has(DEFT_ISA_AVX2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
    }
    return false;
}

deft_isa deft_cpu_best_isa(void) {
    if (deft_cpu_has(DEFT_ISA_AVX512)) return DEFT_ISA_AVX512;
    return deft_cpu_has(DEFT_ISA_AVX2) ? DEFT_ISA_AVX2 : DEFT_ISA_C;
}

const char *deft_isa_name(deft_isa isa) {
    switch (isa) {
    case DEFT_ISA_BEST:
        return "best";
    case DEFT_ISA_C:
        return "c";
    case DEFT_ISA_AVX2:
        return "avx2";
    case DEFT_ISA_AVX512:
        return "avx512";
    }
    return "unknown";
}

void deft_cpu_name(char *out, size_t bytes) {
    unsigned words[12] = {0}, highest = __get_cpuid_max(0x80000000u, NULL);
    char text[sizeof words + 1] = "unknown";
    if (highest >= 0x80000004u) {
        for (unsigned i = 0; i < 3; i++)
            __get_cpuid(0x80000002u + i, &words[4 * i], &words[4 * i + 1], &words[4 * i + 2], &words[4 * i + 3]);
        memcpy(text, words, sizeof words);
        text[sizeof words] = 0;
    }
    const char *start = text + strspn(text, " ");
    size_t length = strlen(start);
    if (length >= bytes) length = bytes - 1;
    memcpy(out, start, length);
    out[length] = 0;
}

int deft_cpu_count(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    int count = CPU_COUNT(&set);
    return count > 0 ? count : 1;
}

/* A limit that a container sets; SIZE_MAX / 2 where there is none, which the file calls "max". */
static size_t container_memory_bytes(void) {
    unsigned long long bytes;
    FILE *file = fopen("/sys/fs/cgroup/memory.max", "r");
    if (!file) return SIZE_MAX / 2;
    bool limited = fscanf(file, "%llu", &bytes) == 1 && bytes < SIZE_MAX / 2;
    fclose(file);
    return limited ? (size_t)bytes : SIZE_MAX / 2;
}

size_t deft_machine_memory_bytes(void) {
    long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGESIZE);
    size_t container = container_memory_bytes();
    if (pages <= 0 || page_bytes <= 0) return container;
    size_t machine = (size_t)pages * (size_t)page_bytes;
    return machine < container ? machine : container;
}

bool deft_cpu_pin(int index) {
    cpu_set_t allowed, one;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return false;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed) || index-- > 0) continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        return sched_setaffinity(0, sizeof one, &one) == 0;
    }
    return false;
}
