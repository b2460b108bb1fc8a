#include "base/core/timing.h"

#include <stdlib.h>
#include <time.h>

int64_t deft_time_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * (int64_t)1000000000 + now.tv_nsec;
}

static int compare_doubles(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Linear interpolation between the order statistics. */
static double quantile(const double *sorted, int64_t count, double share) {
    double place = share * (double)(count - 1);
    int64_t below = (int64_t)place;
    if (below + 1 >= count) return sorted[count - 1];
    return sorted[below] + (place - (double)below) * (sorted[below + 1] - sorted[below]);
}

deft_timing deft_timing_of(double *samples, int64_t count) {
    qsort(samples, (size_t)count, sizeof *samples, compare_doubles);
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += samples[i];
    deft_timing timing = {
        .runs = count,
        .mean = sum / (double)count,
        .min = samples[0],
        .p50 = quantile(samples, count, 0.5),
        .p90 = quantile(samples, count, 0.9),
        .p99 = quantile(samples, count, 0.99),
        .max = samples[count - 1],
    };
    double range = quantile(samples, count, 0.75) - quantile(samples, count, 0.25);
    timing.spread = timing.p50 > 0 ? range / timing.p50 : 0;
    return timing;
}
