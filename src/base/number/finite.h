/* Whether floats are numbers. */
#ifndef DEFT_BASE_NUMBER_FINITE_H
#define DEFT_BASE_NUMBER_FINITE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* At the speed of memory. The exponent of infinities and NaN is all ones: |x| as an integer is at least infinity's. */
static inline bool deft_all_finite(const float *x, int64_t count) {
    uint32_t largest = 0;
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7fffffff;
        largest = bits > largest ? bits : largest;
    }
    return largest < 0x7f800000;
}

#endif
