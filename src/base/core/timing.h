/* Time, and statistics of repeated measurements. */
#ifndef DEFT_BASE_CORE_TIMING_H
#define DEFT_BASE_CORE_TIMING_H

#include <stdint.h>

/* Monotonic clock, nanoseconds. */
int64_t deft_time_ns(void);

typedef struct deft_timing {
    int64_t runs;
    double mean, min, p50, p90, p99, max; /* the unit of the samples */
    double spread;                        /* interquartile range over the median */
} deft_timing;

/* Sorts `samples` in place. `count` > 0. */
deft_timing deft_timing_of(double *samples, int64_t count);

#endif
