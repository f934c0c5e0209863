/*
 * Seeded random numbers: splitmix64 for keys and streams that Python tools reproduce bit
 * for bit, xoshiro256** for draws.
 *
 * Sources: Steele, Lea, Flood 2014 (splitmix64); Blackman, Vigna 2018 (xoshiro256**).
 */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus /* device code */
extern "C" {
#endif

struct rng {
    uint64_t s[4];
};

/* One step of splitmix64: advances *state, returns the next value. */
uint64_t splitmix64(uint64_t *state);

/* FNV-1a (64 bit) of a name: the stream key of a tensor or an item. */
uint64_t rng_hash(const void *data, size_t len);

/* State from a seed by four splitmix64 steps. The same seed gives the same stream anywhere. */
void rng_seed(struct rng *r, uint64_t seed);

uint64_t rng_u64(struct rng *r);

/* Uniform in [0, 1): 53 random bits. */
double rng_uniform(struct rng *r);

/* Uniform integer in [0, n), n >= 1, without modulo bias. */
uint64_t rng_below(struct rng *r, uint64_t n);

/* Standard normal (Box-Muller, one value a call). */
double rng_normal(struct rng *r);

#ifdef __cplusplus
}
#endif

#endif
