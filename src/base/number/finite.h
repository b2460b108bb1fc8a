/* Whether floats are numbers, at the speed of memory. */
#ifndef DEFT_BASE_NUMBER_FINITE_H
#define DEFT_BASE_NUMBER_FINITE_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* The largest magnitude, 0 where there is none; NaN is the largest of all, then infinity: magnitudes are ordered as
 * their bits are. */
static inline float deft_largest(const float *x, int64_t count) {
    uint32_t largest = 0;
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7fffffff;
        largest = bits > largest ? bits : largest;
    }
    float result;
    memcpy(&result, &largest, sizeof result);
    return result;
}

static inline bool deft_all_finite(const float *x, int64_t count) {
    return isfinite(deft_largest(x, count));
}

#endif
