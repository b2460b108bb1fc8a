/* Elementary functions of one float without branches, so that loops over them become vector code in every file that is
 * compiled for an instruction set. NaN stays NaN. Errors are against float64, checked by tests over the whole range. */
#ifndef DEFT_CODEGEN_KERNEL_VECTOR_MATH_H
#define DEFT_CODEGEN_KERNEL_VECTOR_MATH_H

#include <stdint.h>
#include <string.h>

/* a b + c, fused where that is an instruction. */
#ifdef __FMA__
#define DEFT_MULTIPLY_ADD(A, B, C) __builtin_fmaf(A, B, C)
#else
#define DEFT_MULTIPLY_ADD(A, B, C) ((A) * (B) + (C))
#endif

static inline __attribute__((always_inline)) float deft_vector_of_bits(int32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline __attribute__((always_inline)) int32_t deft_vector_bits(float value) {
    int32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* error: 2.5 ulp where the result is normal, half the least normal number below, where it is that number or 0: what is
 * not normal takes the CPU a hundred times as long. Overflows to infinity.
 * x = n ln 2 + r; exp(r) = 1 + r + r^2 p(r) on |r| <= ln 2 / 2, p by least maximum error; 2^n in two factors, since n
 * may be past the range of exponents. */
static inline __attribute__((always_inline)) float deft_vector_exp(float x) {
    const float magic = 12582912.0f; /* 1.5 2^23: adding it rounds to an integer, which is in the low bits */
    const float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    const float least = -87.3365f /* whose power is the least normal number */, zero = -88.0296f /* half of it */;
    int32_t lost = x < zero;
    x = x < least ? least : x;
    x = x > 89.0f ? 89.0f : x;
    float shifted = DEFT_MULTIPLY_ADD(x, 1.44269504f, magic);
    int32_t n = deft_vector_bits(shifted) - deft_vector_bits(magic);
    float whole = shifted - magic;
    float r = DEFT_MULTIPLY_ADD(whole, -ln2_high, x);
    r = DEFT_MULTIPLY_ADD(whole, -ln2_low, r);
    float p = DEFT_MULTIPLY_ADD(1.991787136e-04f, r, 1.394611705e-03f);
    p = DEFT_MULTIPLY_ADD(p, r, 8.333265344e-03f);
    p = DEFT_MULTIPLY_ADD(p, r, 4.166626927e-02f);
    p = DEFT_MULTIPLY_ADD(p, r, 1.666666686e-01f);
    p = DEFT_MULTIPLY_ADD(p, r, 5.000000078e-01f);
    p = DEFT_MULTIPLY_ADD(p, r * r, r) + 1.0f;
    int32_t half = n >> 1;
    float scale = deft_vector_of_bits((int32_t)((uint32_t)(half + 127) << 23));
    float rest = deft_vector_of_bits((int32_t)((uint32_t)(n - half + 127) << 23));
    return lost ? 0.0f : p * scale * rest;
}

/* error: 4 ulp. */
static inline __attribute__((always_inline)) float deft_vector_sigmoid(float x) {
    return 1.0f / (1.0f + deft_vector_exp(-x));
}

/* error: 4 ulp. x + x^3 p(x^2) near 0, 1 - 2 / (exp(2 |x|) + 1) further out. */
static inline __attribute__((always_inline)) float deft_vector_tanh(float x) {
    float size = x < 0 ? -x : x, square = x * x;
    float p = DEFT_MULTIPLY_ADD(-5.717036552e-03f, square, 2.065057899e-02f);
    p = DEFT_MULTIPLY_ADD(p, square, -5.374349526e-02f);
    p = DEFT_MULTIPLY_ADD(p, square, 1.333149125e-01f);
    p = DEFT_MULTIPLY_ADD(p, square, -3.333328392e-01f);
    float near = DEFT_MULTIPLY_ADD(p * square, x, x);
    float far = 1.0f - 2.0f / (deft_vector_exp(2.0f * size) + 1.0f);
    far = x < 0 ? -far : far;
    return size < 0.625f ? near : far;
}

/* error: 4 ulp. x + x p(x^2) up to 1, 1 - exp(q(|x|)) beyond, where q is log(erfc) up to 4 and erf is 1 from there on;
 * p and q by least maximum error. */
static inline __attribute__((always_inline)) float deft_vector_erf(float x) {
    float size = x < 0 ? -x : x, square = x * x;
    float p = DEFT_MULTIPLY_ADD(7.889119510e-05f, square, -8.020841273e-04f);
    p = DEFT_MULTIPLY_ADD(p, square, 5.189535339e-03f);
    p = DEFT_MULTIPLY_ADD(p, square, -2.685444459e-02f);
    p = DEFT_MULTIPLY_ADD(p, square, 1.128360018e-01f);
    p = DEFT_MULTIPLY_ADD(p, square, -3.761262714e-01f);
    p = DEFT_MULTIPLY_ADD(p, square, 1.283791659e-01f);
    float near = DEFT_MULTIPLY_ADD(p, x, x);
    float t = size > 4.0f ? 4.0f : size;
    float q = DEFT_MULTIPLY_ADD(-2.168684997e-05f, t, 4.413363772e-04f);
    q = DEFT_MULTIPLY_ADD(q, t, -4.204561874e-03f);
    q = DEFT_MULTIPLY_ADD(q, t, 2.520825674e-02f);
    q = DEFT_MULTIPLY_ADD(q, t, -1.084185773e-01f);
    q = DEFT_MULTIPLY_ADD(q, t, -6.332198931e-01f);
    q = DEFT_MULTIPLY_ADD(q, t, -1.129578424f);
    q = DEFT_MULTIPLY_ADD(q, t, 1.880402277e-04f);
    float far = 1.0f - deft_vector_exp(q);
    far = x < 0 ? -far : far;
    return size > 1.0f ? far : near;
}

/* error: 4 |x| 2^-23. */
static inline __attribute__((always_inline)) float deft_vector_gelu(float x) {
    return 0.5f * x * (1.0f + deft_vector_erf(x * 0.70710678f));
}

static inline __attribute__((always_inline)) float deft_vector_gelu_tanh(float x) {
    return 0.5f * x * (1.0f + deft_vector_tanh(0.79788456f * DEFT_MULTIPLY_ADD(0.044715f * x * x, x, x)));
}

#endif
