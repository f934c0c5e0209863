/* Conversion of weight types. */
#include <criterion/criterion.h>
#include <math.h>

#include "kernels/dtype.h"

Test(dtype, names_and_sizes)
{
    cr_assert_str_eq(dtype_name(DT_BF16), "bf16");
    cr_assert_eq(dtype_size(DT_F32), 4);
    cr_assert_eq(dtype_size(DT_BF16), 2);
    cr_assert_eq(dtype_size(DT_F16), 2);
}

Test(dtype, f16_widens_exactly)
{
    static const struct {
        uint16_t h;
        float f;
    } cases[] = {
        { 0x0000, 0 },         { 0x3c00, 1 },
        { 0xc000, -2 },        { 0x3555, 0.333251953125f },
        { 0x0001, 0x1p-24f },  { 0x03ff, 0x3ffp-24f },
        { 0x8001, -0x1p-24f }, { 0x0400, 0x1p-14f },
        { 0x7bff, 65504 },     { 0x7c00, INFINITY },
        { 0xfc00, -INFINITY },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        cr_assert_eq(f16_to_f32(cases[i].h), cases[i].f, "0x%04x", cases[i].h);
    cr_assert(signbit(f16_to_f32(0x8000)));
    cr_assert(isnan(f16_to_f32(0x7c01)) && isnan(f16_to_f32(0xffff)));
}

Test(dtype, f16_narrows_to_nearest_even)
{
    static const struct {
        float f;
        uint16_t h;
    } cases[] = {
        { 1 + 0x1p-11f, 0x3c00 },                          /* half way: even */
        { 1 + 0x3p-11f, 0x3c02 },                          /* half way: even is above */
        { 1 + 0x1.1p-11f, 0x3c01 },                        /* a bit more than half */
        { 65519.996f, 0x7bff },                            /* rounds down to the largest */
        { 65520, 0x7c00 },                                 /* half way to 65536 overflows */
        { 1e30f, 0x7c00 },           { 0x1p-25f, 0x0000 }, /* half of the smallest: even is zero */
        { 0x1.000002p-25f, 0x0001 }, { 0x3p-25f, 0x0002 },
        { 0x7ffp-25f, 0x0400 }, /* subnormal rounds up into a normal */
        { -INFINITY, 0xfc00 },       { -0.0f, 0x8000 },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        cr_assert_eq(f32_to_f16(cases[i].f), cases[i].h, "%a gave 0x%04x", (double)cases[i].f,
                     f32_to_f16(cases[i].f));
    cr_assert(isnan(f16_to_f32(f32_to_f16(f32_from_bits(0x7f800001)))));
}

Test(dtype, bf16_narrows_to_nearest_even)
{
    static const struct {
        uint32_t bits;
        uint16_t b;
    } cases[] = {
        { 0x3f808000, 0x3f80 }, { 0x3f818000, 0x3f82 }, { 0x3f808001, 0x3f81 },
        { 0x7f7fffff, 0x7f80 }, { 0x00000001, 0x0000 }, { 0x00018000, 0x0002 },
        { 0xff800000, 0xff80 }, { 0x80000000, 0x8000 },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        cr_assert_eq(f32_to_bf16(f32_from_bits(cases[i].bits)), cases[i].b, "0x%08x",
                     cases[i].bits);
    cr_assert(isnan(bf16_to_f32(f32_to_bf16(f32_from_bits(0x7f800001)))));
    cr_assert(isnan(bf16_to_f32(f32_to_bf16(f32_from_bits(0xffffffff)))));
}

Test(dtype, every_half_value_survives_the_round_trip)
{
    for (uint32_t i = 0; i < 65536; i++) {
        uint16_t h = (uint16_t)i;

        if (!isnan(f16_to_f32(h)))
            cr_assert_eq(f32_to_f16(f16_to_f32(h)), h, "0x%04x", h);
        if (!isnan(bf16_to_f32(h)))
            cr_assert_eq(f32_to_bf16(bf16_to_f32(h)), h, "0x%04x", h);
    }
}

Test(dtype, arrays_convert_as_their_elements_do)
{
    const float f[] = { 1, -2.5f, 0x1p-20f };

    for (enum dtype t = DT_F32; t <= DT_F16; t++) {
        char data[sizeof(f)];
        float back[3];

        dtype_from_f32(f, t, 3, data);
        dtype_to_f32(data, t, 3, back);
        for (size_t i = 0; i < 3; i++) {
            cr_assert_eq(back[i], f[i]);
            cr_assert_eq(dtype_get(data, t, i), f[i]);
        }
    }
}
