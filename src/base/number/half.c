#include "base/number/half.h"

#include <math.h>
#include <string.h>

static float float_of(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

float deft_f16_decode(uint16_t bits) {
    uint32_t sign = (uint32_t)(bits >> 15) << 31, exponent = bits >> 10 & 31, fraction = bits & 1023;
    if (exponent == 31) return float_of(sign | 0x7f800000 | fraction << 13);
    if (exponent > 0) return float_of(sign | (exponent + 112) << 23 | fraction << 13);
    float tiny = (float)fraction * 0x1p-24f;
    return sign ? -tiny : tiny;
}

/* `value` shifted right by `bits` (1 to 31), to nearest, ties to even. */
static uint32_t shift_rounded(uint32_t value, unsigned bits) {
    uint32_t kept = value >> bits, rest = value & ((1u << bits) - 1), half = 1u << (bits - 1);
    return kept + (rest > half || (rest == half && (kept & 1)));
}

uint16_t deft_f16_encode(float value) {
    uint32_t bits = bits_of(value), sign = bits >> 31 << 15, rest = bits & 0x7fffffff;
    if (rest > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (rest >> 13 & 1023));
    if (rest >= 0x477ff000) return (uint16_t)(sign | 0x7c00); /* at least 65520, which rounds to infinity */
    if (rest >= 0x38800000) return (uint16_t)(sign | shift_rounded(rest - (112u << 23), 13));
    unsigned shift = 126 - (rest >> 23); /* of the 24-bit significand to units of 2^-24 */
    if (shift > 24 + 1) return (uint16_t)sign;
    return (uint16_t)(sign | shift_rounded((rest & 0x7fffff) | 0x800000, shift));
}

float deft_bf16_decode(uint16_t bits) {
    return float_of((uint32_t)bits << 16);
}

uint16_t deft_bf16_encode(float value) {
    uint32_t bits = bits_of(value);
    if (isnan(value)) return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)shift_rounded(bits, 16);
}
