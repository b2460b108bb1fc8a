#include "base/core/rng.h"

#include <math.h>

static uint64_t splitmix64(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t rotate_left(uint64_t x, int bits) {
    return (x << bits) | (x >> (64 - bits));
}

void deft_rng_init(deft_rng *rng, uint64_t seed, uint64_t stream) {
    uint64_t state = seed;
    state = splitmix64(&state) ^ stream;
    for (int i = 0; i < 4; i++)
        rng->state[i] = splitmix64(&state);
}

uint64_t deft_rng_u64(deft_rng *rng) {
    uint64_t *s = rng->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

float deft_rng_uniform(deft_rng *rng) {
    return (float)(deft_rng_u64(rng) >> 40) * 0x1p-24f;
}

uint64_t deft_rng_below(deft_rng *rng, uint64_t bound) {
    uint64_t limit = UINT64_MAX - UINT64_MAX % bound;
    uint64_t x;
    do
        x = deft_rng_u64(rng);
    while (x >= limit);
    return x % bound;
}

float deft_rng_normal(deft_rng *rng) {
    float u = 1.0f - deft_rng_uniform(rng), v = deft_rng_uniform(rng);
    return sqrtf(-2.0f * logf(u)) * cosf(6.28318530717958647692f * v);
}

void deft_rng_shuffle(deft_rng *rng, int64_t *indices, int64_t count) {
    for (int64_t i = count - 1; i > 0; i--) {
        int64_t j = (int64_t)deft_rng_below(rng, (uint64_t)i + 1);
        int64_t swapped = indices[i];
        indices[i] = indices[j];
        indices[j] = swapped;
    }
}
