/* UTF-8 against the definition, for every code point and every short byte string. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/buf.h"
#include "base/utf8.h"

Test(utf8, every_code_point_comes_back_and_surrogates_do_not)
{
    for (unsigned c = 0; c <= 0x10ffff; c++) {
        struct buf b = { 0 };
        uint32_t got = 0xdead;
        int n;

        buf_put_utf8(&b, c);
        n = utf8_decode(b.data, b.len, &got);
        if (c >= 0xd800 && c <= 0xdfff) {
            cr_assert_eq(n, 0, "U+%04X", c);
        } else {
            cr_assert_eq(n, (int)b.len, "U+%04X", c);
            cr_assert_eq(got, c, "U+%04X", c);
            for (size_t cut = 1; cut < b.len; cut++)
                cr_assert_eq(utf8_decode(b.data, cut, &got), 0, "U+%04X cut to %zu", c, cut);
        }
        buf_release(&b);
    }
}

/* Table 3-7 of the Unicode standard, written out: the length of the well-formed sequence at s. */
static int by_the_table(const unsigned char *s, int len)
{
#define IN(i, lo, hi) ((i) < len && s[i] >= (lo) && s[i] <= (hi))
    if (IN(0, 0x00, 0x7f))
        return 1;
    if (IN(0, 0xc2, 0xdf) && IN(1, 0x80, 0xbf))
        return 2;
    if (((IN(0, 0xe0, 0xe0) && IN(1, 0xa0, 0xbf)) || (IN(0, 0xe1, 0xec) && IN(1, 0x80, 0xbf)) ||
         (IN(0, 0xed, 0xed) && IN(1, 0x80, 0x9f)) || (IN(0, 0xee, 0xef) && IN(1, 0x80, 0xbf))) &&
        IN(2, 0x80, 0xbf))
        return 3;
    if (((IN(0, 0xf0, 0xf0) && IN(1, 0x90, 0xbf)) || (IN(0, 0xf1, 0xf3) && IN(1, 0x80, 0xbf)) ||
         (IN(0, 0xf4, 0xf4) && IN(1, 0x80, 0x8f))) &&
        IN(2, 0x80, 0xbf) && IN(3, 0x80, 0xbf))
        return 4;
#undef IN
    return 0;
}

Test(utf8, decoding_accepts_exactly_the_well_formed_sequences)
{
    static const unsigned char edges[] = { 0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf,
                                           0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xec, 0xed, 0xee,
                                           0xef, 0xf0, 0xf1, 0xf3, 0xf4, 0xf5, 0xff };
    enum { N = sizeof(edges) };

    for (int a = 0; a < 256; a++)
        for (int b = 0; b < 256; b++)
            for (int c = 0; c < N; c++)
                for (int d = 0; d < N; d += a < 0xf0 ? N : 1) {
                    unsigned char s[4] = { (unsigned char)a, (unsigned char)b, edges[c], edges[d] };
                    uint32_t ignored;
                    cr_assert_eq(utf8_decode((char *)s, 4, &ignored), by_the_table(s, 4),
                                 "%02x %02x %02x %02x", a, b, s[2], s[3]);
                }
}

Test(utf8, check_finds_the_first_bad_byte)
{
    cr_expect_eq(utf8_check("", 0), 0);
    cr_expect_eq(utf8_check("caf\xc3\xa9", 5), 5);
    cr_expect_eq(utf8_check("caf\xc3", 4), 3);
    cr_expect_eq(utf8_check("a\0b\xff", 4), 3, "NUL is a character");
    cr_expect_eq(utf8_check("\xed\xa0\x80", 3), 0);
    cr_expect_eq(utf8_check("\xf4\x90\x80\x80", 4), 0);
}

Test(utf8, made_visible_a_text_cannot_drive_a_terminal)
{
    static const char *const cases[][2] = {
        { "", "" },
        { "plain caf\xc3\xa9 \xf0\x9f\x98\x80", "plain caf\xc3\xa9 \xf0\x9f\x98\x80" },
        { "a\nb\r\tc\x1b[31m\x7f", "a?b??c?[31m?" },
        { "\xc2\x9b"
          "31m",
          "??31m" }, /* CSI as one C1 character */
        { "\xc2\xa0", "\xc2\xa0" },
        { "\x9b"
          "31m\xff\xc3",
          "?31m??" },
        { "\xe2\x82", "??" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char s[64];
        strcpy(s, cases[i][0]);
        utf8_make_visible(s);
        cr_expect_str_eq(s, cases[i][1], "case %zu: %s", i, s);
    }
}
