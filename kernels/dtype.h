/*
 * Weight types: one element to f32 and back.
 *
 * bf16 is the upper half of an f32; f16 is IEEE binary16 with subnormals. Widening is exact;
 * narrowing rounds to nearest, ties to even, overflows to infinity and keeps NaN a (quiet) NaN.
 */
#ifndef KERNELS_DTYPE_H
#define KERNELS_DTYPE_H

#include <stdint.h>
#include <string.h>

#include "kernels/kernels.h"

static inline float f32_from_bits(uint32_t bits)
{
    float f;

    memcpy(&f, &bits, sizeof(f));
    return f;
}

static inline uint32_t f32_to_bits(float f)
{
    uint32_t bits;

    memcpy(&bits, &f, sizeof(bits));
    return bits;
}

static inline float bf16_to_f32(uint16_t b)
{
    return f32_from_bits((uint32_t)b << 16);
}

static inline float f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exp = h >> 10 & 0x1f, man = h & 0x3ff;

    if (exp == 0) /* zero and subnormals: man * 2^-24, exact in f32 */
        return f32_from_bits(sign | f32_to_bits((float)man * 0x1p-24f));
    if (exp == 31) /* infinity; NaN made quiet, as the F16C instruction does */
        return f32_from_bits(sign | 0x7f800000u | man << 13 | (man ? 0x400000u : 0));
    return f32_from_bits(sign | (exp + 112) << 23 | man << 13);
}

uint16_t f32_to_bf16(float f);
uint16_t f32_to_f16(float f);

/* Element i of an array of type t. */
static inline float dtype_get(const void *data, enum dtype t, size_t i)
{
    if (t == DT_F32)
        return ((const float *)data)[i];
    if (t == DT_BF16)
        return bf16_to_f32(((const uint16_t *)data)[i]);
    return f16_to_f32(((const uint16_t *)data)[i]);
}

/* The reverse of dtype_to_f32(), rounding; ret holds n elements of type t. */
void dtype_from_f32(const float *data, enum dtype t, size_t n, void *ret);

#endif
