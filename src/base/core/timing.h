/* Time, and statistics of repeated measurements. */
#ifndef DEFT_BASE_CORE_TIMING_H
#define DEFT_BASE_CORE_TIMING_H

#include <stdint.h>

/* Monotonic clock, nanoseconds. */
int64_t deft_time_ns(void);

typedef struct deft_timing {
    int64_t runs;
    double mean, min, p50, p75, p90, p99, max; /* the unit of the samples */
    double spread;                        /* interquartile range over the median */
} deft_timing;

/* Sorts `samples` in place. `count` > 0. */
deft_timing deft_timing_of(double *samples, int64_t count);

/* Clocks rise and fall by a fifth within milliseconds, for all who run at the time. samples[i * stride + r] > 0 is what
 * contestant i took in round r. Writes how slow round r was for all, relative to the median round: the median over
 * contestants of what each took, beside what it takes in a round on the whole. A contestant whose samples are infinite
 * does not count; where none does, paces are 1. scratch: `count` + max(count, rounds) doubles. */
void deft_timing_paces(const double *samples, int count, int64_t rounds, int64_t stride, double *scratch,
                       double *paces);

#endif
