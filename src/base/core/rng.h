/* Random numbers: xoshiro256** seeded by splitmix64 (Blackman and Vigna, "Scrambled linear pseudorandom number
 * generators", 2021). A (seed, stream) pair names a sequence, the same on every machine. */
#ifndef DEFT_BASE_CORE_RNG_H
#define DEFT_BASE_CORE_RNG_H

#include <stdint.h>

typedef struct deft_rng {
    uint64_t state[4];
} deft_rng;

void deft_rng_init(deft_rng *rng, uint64_t seed, uint64_t stream);
uint64_t deft_rng_u64(deft_rng *rng);
/* Uniform in [0, 1), 24 bits. */
float deft_rng_uniform(deft_rng *rng);
/* Uniform in [0, bound), without bias; bound > 0. */
uint64_t deft_rng_below(deft_rng *rng, uint64_t bound);
/* Standard normal (Box-Muller). */
float deft_rng_normal(deft_rng *rng);
/* A uniformly random order of the `count` indices (Fisher-Yates). */
void deft_rng_shuffle(deft_rng *rng, int64_t *indices, int64_t count);

#endif
