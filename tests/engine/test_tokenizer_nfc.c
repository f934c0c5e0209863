/* Unicode normalization form C. */
#include <criterion/criterion.h>
#include <string.h>
#include <time.h>
#include <utf8proc.h>

#include "base/rng.h"
#include "engine/tokenizer_nfc.h"

static void check(const char *text, const char *want)
{
    struct buf b = { 0 };

    cr_assert_eq(nfc_normalize(text, strlen(text), &b, NULL), ST_OK);
    cr_expect_str_eq(buf_str(&b), want);
    buf_release(&b);
}

Test(tokenizer_nfc, examples_of_the_standard)
{
    check("", "");
    check("abc", "abc");
    check("e\u0301", "\u00e9");
    check("\u212b", "\u00c5");             /* a singleton */
    check("\u1e9b\u0323", "\u1e9b\u0323"); /* UAX 15, figure 6 */
    check("s\u0323\u0307", "\u1e69");      /* UAX 15, table 3 */
    check("s\u0307\u0323", "\u1e69");      /* marks are put in order */
    check("\u0958", "\u0915\u093c");       /* a composition exclusion */
    check("\u1112\u1161\u11ab", "\ud55c"); /* Hangul */
    check("\uac00\u11a7", "\uac00\u11a7"); /* no trailing consonant, though next to them */
    check("\u1100\u1161\u11a7\u11a8", "\uac00\u11a7\u11a8");
    check("a\u0315\u0300\u05ae\u0300b", "\u00e0\u05ae\u0300\u0315b"); /* NormalizationTest.txt */
}

Test(tokenizer_nfc, only_low_code_points_are_trivial)
{
    cr_assert(nfc_is_trivial("\u02ff", 2));
    cr_assert_not(nfc_is_trivial("a\u0300", 3));
    cr_assert_not(nfc_is_trivial("\U0001f642", 4));
}

Test(tokenizer_nfc, agrees_with_utf8proc_on_random_piles_of_marks)
{
    static const uint32_t marks[] = { 0x300, 0x301,  0x327, 0x315,  0x316,  0x334, 0x345,
                                      0x5b0, 0x3099, 0x93c, 0x1161, 0x11a8, 'e',   0x1100 };
    struct buf text = { 0 }, got = { 0 };
    struct rng r;

    rng_seed(&r, 5);
    for (int i = 0; i < 2000; i++) {
        size_t n = rng_below(&r, i % 50 == 0 ? 300 : 12);
        utf8proc_uint8_t *want;

        buf_clear(&text);
        for (size_t k = 0; k < n; k++)
            buf_put_utf8(&text, marks[rng_below(&r, sizeof(marks) / sizeof(marks[0]))]);
        cr_assert_eq(nfc_normalize(buf_str(&text), text.len, &got, NULL), ST_OK);
        want = utf8proc_NFC((const utf8proc_uint8_t *)buf_str(&text));
        cr_assert_str_eq(buf_str(&got), (const char *)want, "case %d", i);
        free(want);
    }
    buf_release(&text);
    buf_release(&got);
}

Test(tokenizer_nfc, a_megabyte_of_marks_takes_no_time)
{
    struct buf text = { 0 }, got = { 0 };
    clock_t start;

    buf_puts(&text, "x");
    for (int i = 0; i < 250000; i++)
        buf_puts(&text, "\u0315\u0327"); /* classes 232 and 202: never in order */
    start = clock();
    cr_assert_eq(nfc_normalize(buf_str(&text), text.len, &got, NULL), ST_OK);
    /* neighbour swaps would need 3e10 steps, a minute at the least */
    cr_assert_lt((double)(clock() - start) / CLOCKS_PER_SEC, 10);
    cr_assert_eq(got.len, text.len);
    cr_assert_eq(memcmp(got.data, "x\u0327\u0327", 5), 0);
    buf_release(&text);
    buf_release(&got);
}
