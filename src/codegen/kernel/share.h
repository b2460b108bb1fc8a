/* Loops that threads share where that is worth it. */
#ifndef DEFT_CODEGEN_KERNEL_SHARE_H
#define DEFT_CODEGEN_KERNEL_SHARE_H

#include <stdbool.h>
#include <stdint.h>

typedef void (*deft_unit)(const void *job, int64_t index);

/* unit(job, i) for 0 <= i < count, by `threads` threads where the work is worth that. A parallel region of one thread,
 * with an `if` that is false or without, takes 0.25 us, as much as a small layer: there is none here. */
static inline void deft_share_units(int64_t count, int threads, bool worth, deft_unit unit, const void *job) {
    if (threads <= 1 || !worth) {
        for (int64_t i = 0; i < count; i++)
            unit(job, i);
        return;
    }
#pragma omp parallel for num_threads(threads)
    for (int64_t i = 0; i < count; i++)
        unit(job, i);
}

#endif
