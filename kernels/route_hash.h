/*
 * The numbers that ELECT_RANDOM elects by, the same on every backend.
 */
#ifndef KERNELS_ROUTE_HASH_H
#define KERNELS_ROUTE_HASH_H

#include "base/rng.h"

/* In [0, 1), 53 bits: of a segment's key, the number of the group of tokens in it, and the expert.
 */
static inline double route_hash(uint64_t key, int group, int expert)
{
    uint64_t x = key + (uint64_t)group * 0x9e3779b97f4a7c15U;

    x = splitmix64(&x) + (uint64_t)expert;
    return (double)(splitmix64(&x) >> 11) * 0x1p-53;
}

#endif
