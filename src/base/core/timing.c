#include "base/core/timing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
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
        .p75 = quantile(samples, count, 0.75),
        .p90 = quantile(samples, count, 0.9),
        .p99 = quantile(samples, count, 0.99),
        .max = samples[count - 1],
    };
    double range = timing.p75 - quantile(samples, count, 0.25);
    timing.spread = timing.p50 > 0 ? range / timing.p50 : 0;
    return timing;
}

static double median(double *samples, int64_t count) {
    qsort(samples, (size_t)count, sizeof *samples, compare_doubles);
    return quantile(samples, count, 0.5);
}

/* The geometric mean of what those who count took in a round. */
static double mean_of_round(const double *samples, int count, int64_t stride) {
    double sum = 0;
    int known = 0;
    for (int i = 0; i < count; i++) {
        if (!isfinite(samples[i * stride])) continue;
        sum += log(samples[i * stride]);
        known++;
    }
    return known ? exp(sum / known) : 1;
}

/* One sweep of a median polish. It begins with means of rounds: medians of contestants, each for itself, may belong to
 * different states of the clock. */
void deft_timing_paces(const double *samples, int count, int64_t rounds, int64_t stride, double *scratch,
                       double *paces) {
    double *levels = scratch, *sorted = scratch + count;
    for (int64_t r = 0; r < rounds; r++)
        paces[r] = mean_of_round(samples + r, count, stride);
    for (int i = 0; i < count; i++) {
        for (int64_t r = 0; r < rounds; r++)
            sorted[r] = samples[i * stride + r] / paces[r];
        levels[i] = median(sorted, rounds);
    }
    for (int64_t r = 0; r < rounds; r++) {
        int64_t known = 0;
        for (int i = 0; i < count; i++)
            if (isfinite(levels[i])) sorted[known++] = samples[i * stride + r] / levels[i];
        paces[r] = known ? median(sorted, known) : 1;
    }
    memcpy(sorted, paces, (size_t)rounds * sizeof *sorted);
    double usual = median(sorted, rounds);
    for (int64_t r = 0; r < rounds; r++)
        paces[r] /= usual;
}
