/*
 * What proposing a token needs, for the op and for the head that picks while it multiplies: noise,
 * and the best of several.
 */
#ifndef KERNELS_CUDA_PICK_CUH
#define KERNELS_CUDA_PICK_CUH

#include <stdint.h>

/* The best of some tokens; id < 0: none. */
struct best {
    double score;
    int32_t id;
};

/* Larger scores first, then lower ids. */
static __device__ __forceinline__ struct best better(struct best a, struct best b)
{
    if (b.id < 0)
        return a;
    if (a.id < 0 || b.score > a.score || (b.score == a.score && b.id < a.id))
        return b;
    return a;
}

/* As base/rng.h. */
static __device__ __forceinline__ uint64_t splitmix64_step(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* As kernels/gumbel.h: the noise of a row, and of a token in it. */
static __device__ __forceinline__ uint64_t row_key(uint64_t seed, uint64_t draw, int32_t position)
{
    uint64_t s = seed;

    s = splitmix64_step(&s) ^ draw;
    s = splitmix64_step(&s) ^ (uint32_t)position;
    return splitmix64_step(&s);
}

static __device__ __forceinline__ double token_noise(uint64_t key, int32_t token)
{
    uint64_t s = key + (uint64_t)(uint32_t)token * 0x9e3779b97f4a7c15u;
    uint64_t bits = splitmix64_step(&s) >> 12;

    return -log(-log(((double)bits + 0.5) * 0x1p-52));
}

#endif
