/*
 * bf16 matrices whose values are made up, element by element, from a number: what dummy weights
 * are made of (engine/weights.h), for backends that make them where they lie.
 */
#ifndef KERNELS_MADE_H
#define KERNELS_MADE_H

#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#define MADE_FN static __host__ __device__ __forceinline__
#else
#define MADE_FN static inline
#endif

/* Elements first, first + 1, ... of a stream, row by row. */
struct made_matrix {
    int64_t rows, cols;
    uint64_t stream;
    int64_t first;
    float scale;
};

/* Element i of a stream: the sum of the four parts of splitmix64's i-th number, which is nearly
 * normal, times scale, to nearest even. scale * 131070 is finite. */
MADE_FN uint16_t made_value(uint64_t stream, int64_t i, float scale)
{
    uint64_t z = stream + ((uint64_t)i + 1) * 0x9e3779b97f4a7c15u;
    uint32_t bits;
    int32_t u;
    float v;

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    u = (int32_t)(z & 0xffff) + (int32_t)(z >> 16 & 0xffff) + (int32_t)(z >> 32 & 0xffff) +
        (int32_t)(z >> 48) - 131070;
    v = (float)u * scale;
    memcpy(&bits, &v, sizeof(bits));
    bits += 0x7fff + (bits >> 16 & 1);
    return (uint16_t)(bits >> 16);
}

#endif
