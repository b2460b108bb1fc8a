/* 16-bit floats, as bits: IEEE half precision (f16) and bfloat16 (bf16). */
#ifndef DEFT_BASE_NUMBER_HALF_H
#define DEFT_BASE_NUMBER_HALF_H

#include <stdint.h>

/* Exact. */
float deft_f16_decode(uint16_t bits);
float deft_bf16_decode(uint16_t bits);
/* Rounded to nearest, ties to even; what is too large becomes infinite, NaN stays NaN (quiet). */
uint16_t deft_f16_encode(float value);
uint16_t deft_bf16_encode(float value);

#endif
