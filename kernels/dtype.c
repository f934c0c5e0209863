/* Weight types: names, sizes and conversion. */
#include "kernels/dtype.h"

size_t dtype_size(enum dtype t)
{
    return t == DT_F32 ? 4 : 2;
}

const char *dtype_name(enum dtype t)
{
    static const char *const names[] = { [DT_F32] = "f32", [DT_BF16] = "bf16", [DT_F16] = "f16" };

    return names[t];
}

uint16_t f32_to_bf16(float f)
{
    uint32_t bits = f32_to_bits(f);

    if ((bits & 0x7fffffffu) > 0x7f800000u) /* rounding could carry a NaN into infinity */
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

uint16_t f32_to_f16(float f)
{
    uint32_t bits = f32_to_bits(f), mag = bits & 0x7fffffffu, man, half, shift;
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);

    if (mag > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00);
    if (mag >= 0x47800000u) /* 65536 and above; 65520 .. 65536 carry into infinity below */
        return (uint16_t)(sign | 0x7c00);
    if (mag < 0x33000000u) /* below 2^-25: half of the smallest subnormal, ties to even */
        return sign;
    if (mag < 0x38800000u) { /* below 2^-14: a subnormal, in units of 2^-24 */
        shift = 126 - (mag >> 23);
        man = (mag & 0x7fffffu) | 0x800000u;
    } else { /* rebias the exponent; mantissa and exponent round as one number */
        shift = 13;
        man = mag - (112u << 23);
    }
    half = (1u << (shift - 1)) - 1;
    return (uint16_t)(sign | (man + half + (man >> shift & 1)) >> shift);
}

void dtype_to_f32(const void *data, enum dtype t, size_t n, float *ret)
{
    const uint16_t *half = data;

    switch (t) {
    case DT_F32: memcpy(ret, data, n * sizeof(*ret)); break;
    case DT_BF16:
        for (size_t i = 0; i < n; i++)
            ret[i] = bf16_to_f32(half[i]);
        break;
    case DT_F16:
        for (size_t i = 0; i < n; i++)
            ret[i] = f16_to_f32(half[i]);
        break;
    }
}

void dtype_from_f32(const float *data, enum dtype t, size_t n, void *ret)
{
    uint16_t *half = ret;

    switch (t) {
    case DT_F32: memcpy(ret, data, n * sizeof(*data)); break;
    case DT_BF16:
        for (size_t i = 0; i < n; i++)
            half[i] = f32_to_bf16(data[i]);
        break;
    case DT_F16:
        for (size_t i = 0; i < n; i++)
            half[i] = f32_to_f16(data[i]);
        break;
    }
}
