/* Tails of output and their visible form. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/utf8.h"
#include "harness/judge/text.h"

#define SIZED(s) (s), sizeof(s) - 1

Test(text, control_characters_and_bad_bytes_are_spelled_out)
{
    static const struct {
        const char *in;
        size_t len;
        const char *out;
    } cases[] = {
        { SIZED(""), "" },
        { SIZED("plain\n\ttext"), "plain\n\ttext" },
        { SIZED("\x1b[31mred\r\n"), "\\x1b[31mred\\x0d\n" },
        { SIZED("a\0b"), "a\\x00b" },
        { SIZED("\x7f"), "\\x7f" },
        { SIZED("\xc2\x9b"), "\\x9b" },       /* C1: CSI in one character */
        { SIZED("\xe2\x80\xae"), "\\u202e" }, /* right-to-left override */
        { SIZED("caf\xc3\xa9"), "caf\xc3\xa9" },
        { SIZED("\xff\xc3"), "\\xff\\xc3" },
        { SIZED("\xed\xa0\x80"), "\\xed\\xa0\\x80" }, /* a surrogate */
        { SIZED("\xf0\x9f\x98\x80"), "\xf0\x9f\x98\x80" },
    };
    char out[64];

    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        for (int is_end_kept = 0; is_end_kept < 2; is_end_kept++) {
            text_visible(cases[i].in, cases[i].len, is_end_kept, out, sizeof(out));
            cr_expect_str_eq(out, cases[i].out, "case %zu: '%s'", i, out);
        }
}

Test(text, what_does_not_fit_is_cut_between_characters)
{
    char out[6];

    text_visible(SIZED("abcdefgh"), 0, out, sizeof(out));
    cr_expect_str_eq(out, "abcde");
    text_visible(SIZED("abcdefgh"), 1, out, sizeof(out));
    cr_expect_str_eq(out, "defgh");
    text_visible(SIZED("abcd\xc3\xa9"), 0, out, sizeof(out));
    cr_expect_str_eq(out, "abcd");
    text_visible(SIZED("\xc3\xa9"
                       "bcde"),
                 1, out, sizeof(out));
    cr_expect_str_eq(out, "bcde");
    text_visible(SIZED("\x01\x02"), 1, out, sizeof(out));
    cr_expect_str_eq(out, "\\x02");
    text_visible(SIZED("ab"), 0, out, 1);
    cr_expect_str_eq(out, "");
}

Test(text, a_tail_keeps_the_last_bytes_however_they_came)
{
    enum { N = 5000 };
    static char data[N], out[TAIL_BYTES * 4 + 1];
    struct rng rng;

    rng_seed(&rng, 7);
    for (int i = 0; i < N; i++)
        data[i] = (char)('a' + rng_below(&rng, 26));
    for (int round = 0; round < 50; round++) {
        struct tail t = { 0 };
        size_t n = 0;
        while (n < N) {
            size_t step = 1 + (size_t)rng_below(&rng, round % 2 ? 3000 : 300);
            step = step < N - n ? step : N - n;
            tail_add(&t, data + n, step);
            n += step;
        }
        tail_visible(&t, out, sizeof(out));
        cr_expect(t.n_total == N && strlen(out) == TAIL_BYTES &&
                  memcmp(out, data + N - TAIL_BYTES, TAIL_BYTES) == 0);
    }
}

Test(text, a_character_cut_by_the_ring_is_dropped)
{
    struct tail t = { 0 };
    char out[TAIL_BYTES + 1];

    for (int i = 0; i < TAIL_BYTES; i++)
        tail_add(&t, SIZED("\xe2\x82\xac")); /* 2048 is no multiple of 3 */
    tail_visible(&t, out, sizeof(out));
    cr_expect(utf8_check(out, strlen(out)) == strlen(out));
    cr_expect(strlen(out) == TAIL_BYTES / 3 * 3 && !strchr(out, '\\'));
}
