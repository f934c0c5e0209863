/* Hostile answers: any bytes, in bounded time, without a fault. */
#include "tasks/math/math.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/rng.h"

/* Sanitizers slow everything down. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const double limit_ms = 1000;
#else
static const double limit_ms = 50;
#endif

static const char *const seeds[] = {
    "\\left( 3, \\frac{\\pi}{2} \\right)",
    "\\frac{\\frac12}{\\sqrt[3]{x+1}}",
    "\\begin{pmatrix} -1/3 \\\\ 2/3 & 5 \\end{pmatrix}",
    "(-\\infty, 2) \\cup [3, \\infty)",
    "\\{1\\pm\\sqrt{5},-2\\}",
    "864 \\mbox{ inches}^2",
    "\\$32,\\!348",
    "x \\in [-2,7]",
    "137 \\frac{1}{2}",
    "4210_{5}",
    "1 \\pm \\sqrt{19} \\mp 3!",
    "\\text{(E)} \\text{ and } B",
    "5x - 7y + 11z + 4 = 0 \\le 3",
    "0.1\\overline{6} \\binom{5}{2} 90^\\circ 20\\%",
    "\\sin^{-1} x \\log_2 8 |x-|y||",
    "\\lfloor 2.5 \\rfloor ^{10^{10}} 12,345.6",
};
static const char *const pieces[] = {
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    "\\{",
    "\\}",
    "^",
    "_",
    "\\frac",
    "\\sqrt",
    "\\text{",
    ",",
    "=",
    "<",
    "|",
    "!",
    "\\pm",
    "\\cup",
    "-",
    "+",
    "/",
    "&",
    "\\\\",
    "10",
    "x",
    "'",
    "\\infty",
    "\\sin",
    "\\log",
    "\\pi",
    ".",
    "\\left",
    "\\%",
    "$",
    "\\$",
    "\\begin{pmatrix}",
    "\\end{pmatrix}",
    "\\binom",
    "\\overline",
    "cm",
    "^\\circ",
    "\\mathbb",
    "\\operatorname{",
    " and ",
    "\\in",
    "\u03c0",
    "A0_{16}",
    "e",
    "i",
    "999999999999",
};
enum { N_SEEDS = sizeof(seeds) / sizeof(seeds[0]), N_PIECES = sizeof(pieces) / sizeof(pieces[0]) };

/* An answer with a few of its bytes changed, or a heap of pieces, or just bytes. */
static void make_answer(struct rng *rng, struct buf *b)
{
    uint64_t kind = rng_below(rng, 8), n;
    const char *s;

    buf_clear(b);
    if (kind == 0) {
        for (n = rng_below(rng, 64); n > 0; n--)
            buf_putc(b, (char)rng_below(rng, 256));
    } else if (kind < 4) {
        for (n = 1 + rng_below(rng, 24); n > 0; n--)
            buf_puts(b, pieces[rng_below(rng, N_PIECES)]);
    } else {
        s = seeds[rng_below(rng, N_SEEDS)];
        for (size_t i = 0; s[i]; i++) {
            switch (rng_below(rng, 24)) {
            case 0: break;
            case 1: buf_putc(b, (char)(32 + rng_below(rng, 95))); break;
            case 2: buf_puts(b, pieces[rng_below(rng, N_PIECES)]); /* fall through */
            default: buf_putc(b, s[i]);
            }
        }
    }
    cr_assert(buf_ok(b));
}

Test(math_robust, twenty_thousand_mutants_neither_fail_nor_break_symmetry)
{
    struct rng rng;
    struct buf b[2] = { 0 };
    struct arena arena = { 0 };
    const char *text, *method;
    size_t len;
    bool r, s;

    rng_seed(&rng, 7);
    for (int i = 0; i < 20000; i++) {
        make_answer(&rng, &b[i & 1]);
        const struct buf *x = &b[i & 1], *y = &b[~i & 1];

        cr_assert_eq(math_equal(buf_str(x), x->len, buf_str(y), y->len, &r, NULL), ST_OK);
        cr_assert_eq(math_equal(buf_str(y), y->len, buf_str(x), x->len, &s, NULL), ST_OK);
        cr_assert_eq(r, s, "'%s' and '%s'", buf_str(x), buf_str(y));
        y = x; /* against one of the originals too, which shares its structure */
        text = seeds[rng_below(&rng, N_SEEDS)];
        cr_assert_eq(math_equal(buf_str(y), y->len, text, strlen(text), &r, NULL), ST_OK);
        cr_assert_eq(math_equal(text, strlen(text), buf_str(y), y->len, &s, NULL), ST_OK);
        cr_assert_eq(r, s, "'%s' and '%s'", buf_str(y), text);
        cr_assert_eq(math_extract(buf_str(x), x->len, &arena, &text, &len, &method, NULL), ST_OK);
        arena_clear(&arena);
    }
    arena_release(&arena);
    buf_release(&b[0]);
    buf_release(&b[1]);
}

static double milliseconds(const struct buf *a, const struct buf *b, bool *ret)
{
    struct timespec t0, t1;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t0);
    cr_assert_eq(math_equal(buf_str(a), a->len, buf_str(b), b->len, ret, NULL), ST_OK);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t1);
    return (double)(t1.tv_sec - t0.tv_sec) * 1e3 + (double)(t1.tv_nsec - t0.tv_nsec) * 1e-6;
}

/* first, then piece n times, then last. */
static void repeat(struct buf *b, const char *first, const char *piece, size_t n, const char *last)
{
    buf_clear(b);
    buf_puts(b, first);
    for (; n > 0; n--)
        buf_puts(b, piece);
    buf_puts(b, last);
    cr_assert(buf_ok(b));
}

Test(math_robust, no_answer_takes_long)
{
    static const char *const texts[] = {
        "10^{10^{10}}",
        "2^{10^9}",
        "9^{9^{9^{9}}}",
        "(10^{10})!",
        "1500!",
        "1499!\\cdot1500",
        "10^{4000}\\cdot10^{-4000}",
        "\\binom{1000000}{500000}",
        "\\binom{100000}{700}",
        "\\sin(10^{4000})",
        "x^{10^6}-1",
        "x^{10^9}",
        "(x^{1000})^{1000}",
        "e^{e^{e^{e^e}}}",
        "\\sqrt[1000000]{2}",
        "2^{1/64}\\sqrt[64]{2}",
        "0.0000000000000000000000000001^{500}",
        "\\pm1\\pm1\\pm1\\pm1\\pm1\\pm1",
        "0.\\overline{123456789}",
        "(3/7)^{5000}",
        "i^{999999}",
        "\\tan 90^\\circ",
        "\\ln(-1)",
        "\\sqrt{\\sqrt{\\sqrt{\\sqrt{2}}}}",
    };
    static const struct {
        const char *first, *piece, *last;
    } repeats[] = {
        { "", "(", "" },
        { "", "{", "" },
        { "", "\\frac{1}{1+", "1" },
        { "", "\\sqrt{", "2" },
        { "", "-", "5" },
        { "5", "!", "" },
        { "2", "^2", "" },
        { "x", "^x", "" },
        { "1", "+1", "" },
        { "x", "+x", "" },
        { "x", "\\cdot x", "" },
        { "1", "/2", "" },
        { "1", ",2", "" },
        { "x", ",x", "" },
        { "", "9", "" },
        { "0.", "0", "1" },
        { "1", " 2", "" },
        { "1", " 000", "" },
        { "x", "'", "" },
        { "x", "_x", "" },
        { "", "|", "" },
        { "", "\\pm1,", "2" },
        { "\\pi", "+\\pi", "" },
        { "", "\\sin ", "x" },
        { "\\sin x", "+\\sin x", "" },
        { "\\sqrt2", "\\sqrt3", "" },
        { "\\text{a", " a", "} 1" },
        { "5", "\\text{ cm }", "+" },
        { "x=1", "=1", "" },
        { "(0,1)", "\\cup(0,1)", "" },
        { "\\{", "\\sin x,", "y\\}" },
        { "\\begin{pmatrix}1", "&1", "\\end{pmatrix}" },
        { "", "\\mathrm{", "" },
        { "", "A", "_{16}" },
        { "", "A1", "_{16}" },
        { "", "\\left", "" },
        { "", "\\", "" },
        { "x", "^{1000000}+x", "" },
        { "", "(1,", "2" },
        { "9", "9999999\\cdot 9", "" },
        { "1", "/9973+1", "" },
    };
    struct buf a = { 0 }, b = { 0 };
    double ms;
    bool r;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        for (size_t k = 0; k < sizeof(texts) / sizeof(texts[0]); k++) {
            repeat(&a, texts[i], "", 0, "+0");
            repeat(&b, texts[k], "", 0, "");
            ms = milliseconds(&a, &b, &r);
            cr_expect_lt(ms, limit_ms, "'%s' and '%s' took %.0f ms", texts[i], texts[k], ms);
        }
    for (size_t i = 0; i < sizeof(repeats) / sizeof(repeats[0]); i++)
        for (size_t n = 4; n < 100000; n *= n < 64 ? 2 : 4) {
            repeat(&a, repeats[i].first, repeats[i].piece, n, repeats[i].last);
            repeat(&b, repeats[i].first, repeats[i].piece, n, repeats[i].last);
            buf_puts(&b, "+0"); /* or they would be equal as they stand */
            ms = milliseconds(&a, &b, &r);
            cr_expect_lt(ms, limit_ms, "%zu of '%s' took %.0f ms", n, repeats[i].piece, ms);
            ms = milliseconds(&a, &a, &r);
            cr_expect_lt(ms, limit_ms, "%zu of '%s' took %.0f ms", n, repeats[i].piece, ms);
        }
    buf_release(&a);
    buf_release(&b);
}

Test(math_robust, long_answers_are_compared_as_bytes)
{
    struct buf a = { 0 }, b = { 0 };
    double ms;
    bool r;

    repeat(&a, "1", "+1", 1 << 20, "");
    repeat(&b, "1", "+1", 1 << 20, "");
    ms = milliseconds(&a, &b, &r);
    cr_expect(r);
    cr_expect_lt(ms, limit_ms);
    buf_puts(&b, " ");
    ms = milliseconds(&a, &b, &r);
    cr_expect_not(r);
    cr_expect_lt(ms, limit_ms);
    buf_release(&a);
    buf_release(&b);
}
