/*
 * Gumbel noise that is a function of (seed, draw, position, token) alone.
 *
 * Token i at a row gets value number i of the splitmix64 stream whose state is the row's key,
 * so the noise depends neither on the batch nor on the order in which a backend looks at
 * tokens. A backend draws by taking the largest logit + temperature * gumbel, all in f64: the
 * logarithm of the form exp(logit) / (-ln u)^temperature that LLaDA's generate.py maximises
 * (arXiv:2502.09992), without its overflow.
 */
#ifndef KERNELS_GUMBEL_H
#define KERNELS_GUMBEL_H

#include <math.h>
#include <stdint.h>

#include "base/rng.h"

/* Key of one row. */
static inline uint64_t gumbel_row_key(uint64_t seed, uint64_t draw, int32_t position)
{
    uint64_t s = seed;

    s = splitmix64(&s) ^ draw;
    s = splitmix64(&s) ^ (uint32_t)position;
    return splitmix64(&s);
}

/* 52 random bits of a token. */
static inline uint64_t gumbel_bits(uint64_t row_key, int32_t token)
{
    uint64_t s = row_key + (uint64_t)(uint32_t)token * 0x9e3779b97f4a7c15u;

    return splitmix64(&s) >> 12;
}

/* The noise those bits stand for: -ln(-ln u), u = (bits + 1/2) / 2^52, exact and inside (0, 1). */
static inline double gumbel_noise(uint64_t bits)
{
    return -log(-log(((double)bits + 0.5) * 0x1p-52));
}

#endif
