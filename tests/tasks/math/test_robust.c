/* Hostile answers: any bytes, in bounded time, without a fault. */
#include "tasks/math/math.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

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

/* Read the first len bytes of a text where no byte follows them: before a page that is closed. */
static void read_at_the_end(char *end, const char *text, size_t len)
{
    char *s = memcpy(end - len, text, len);
    struct arena arena = { 0 };
    const char *found, *method;
    struct error err = { 0 };
    bool r;

    cr_assert_eq(math_equal(s, len, "5", 1, &r, &err), ST_OK);
    cr_assert_eq(math_extract(s, len, &arena, &found, &len, &method, &err), ST_OK);
    arena_release(&arena);
}

Test(math_robust, nothing_behind_an_answer_is_read)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *pages, *end, text[64];

    pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert(pages != MAP_FAILED);
    end = pages + page;
    cr_assert_eq(mprotect(end, page, PROT_NONE), 0);
    for (size_t i = 0; i < N_SEEDS; i++)
        for (size_t len = strlen(seeds[i]) + 1; len-- > 0;)
            read_at_the_end(end, seeds[i], len);
    for (size_t i = 0; i < N_PIECES; i++)
        for (size_t k = 0; k < N_PIECES; k++) {
            int len = snprintf(text, sizeof(text), "5%s%s\\", pieces[i], pieces[k]);

            read_at_the_end(end, text, (size_t)len - 1);
            read_at_the_end(end, text, (size_t)len);
        }
    munmap(pages, 2 * page);
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

/* ---- bounds on memory too ---- */

/* Sanitizers map terabytes and are slow. The time is a guard against what hangs, no measure. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const bool has_memory_limit = false;
enum { MAX_SECONDS = 30 };
#else
static const bool has_memory_limit = true;
enum { MAX_SECONDS = 2 };
#endif
enum { MEMORY_LIMIT = 24 << 20 };

/* From here on the process may map so much more than it has. It ends with the test. */
static void limit_memory(void)
{
    struct rlimit l = { 0 };
    unsigned long n_pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");

    cr_assert_not_null(f);
    cr_assert_eq(fscanf(f, "%lu", &n_pages), 1);
    fclose(f);
    l.rlim_cur = l.rlim_max = n_pages * (rlim_t)sysconf(_SC_PAGESIZE) + MEMORY_LIMIT;
    if (has_memory_limit)
        cr_assert_eq(setrlimit(RLIMIT_AS, &l), 0);
}

static double seconds_since(const struct timespec *t0)
{
    struct timespec t1;

    clock_gettime(CLOCK_MONOTONIC, &t1);
    return (double)(t1.tv_sec - t0->tv_sec) + (double)(t1.tv_nsec - t0->tv_nsec) * 1e-9;
}

/* Compare both ways: ends in time, and not for want of memory. Returns whether they are equal. */
static bool expect_bounded(const struct buf *a, const struct buf *b, const char *what)
{
    struct timespec t0;
    bool r = false, s = false;

    clock_gettime(CLOCK_MONOTONIC, &t0);
    cr_expect_eq(math_equal(buf_str(a), a->len, buf_str(b), b->len, &r, NULL), ST_OK, "%s", what);
    cr_expect_eq(math_equal(buf_str(b), b->len, buf_str(a), a->len, &s, NULL), ST_OK, "%s", what);
    cr_expect_lt(seconds_since(&t0), MAX_SECONDS, "%zu bytes of %s", a->len, what);
    cr_expect_eq(r, s, "%s is not symmetric", what);
    return r;
}

static void expect_extraction_bounded(const struct buf *a, const char *what)
{
    struct arena arena = { 0 };
    struct timespec t0;
    const char *text, *method;
    size_t len;

    clock_gettime(CLOCK_MONOTONIC, &t0);
    cr_expect_eq(math_extract(buf_str(a), a->len, &arena, &text, &len, &method, NULL), ST_OK, "%s",
                 what);
    cr_expect_lt(seconds_since(&t0), MAX_SECONDS, "%zu bytes of %s", a->len, what);
    arena_release(&arena);
}

Test(math_robust, values_too_large_to_write_take_neither_time_nor_memory)
{
    static const char *const texts[] = {
        "9^{9^{9^{9}}}",
        "9^9^9^9",
        "2^{2^{2^{2^{2^{2^{2}}}}}}",
        "(10^6)!",
        "10^{6}!",
        "((((((9!)!)!)!)!)!)!",
        "9!!",
        "\\binom{10^9}{5\\cdot10^8}",
        "\\binom{10^{18}}{3}",
        "\\binom{\\binom{1000}{500}}{\\binom{1000}{500}}",
        "10^{10^6}-10^{10^6}+1",
        "(1/3)^{10^6}",
        "(\\frac{1234567}{7654321})^{3000}",
        "\\sqrt[10^9]{10^{10^9}}",
        "x^{10^{18}}y^{10^{18}}",
        "(a+b+c+d+f+g+h+j+k+l+m+n+o+p+q+r+s+t+u+v+w+x+y+z)^{60}",
        "((a+b+c+d+f+g)^{60}+(h+j+k+l+m+n)^{60})^{60}",
        "(x+1)^{1000000}",
        "((x+1)^{1000})^{1000}",
        "\\frac{(x^{1000}-1)(x^{999}-1)}{(x-1)(x-1)}",
        "\\lfloor 10^{10^5} \\rfloor",
        "\\lfloor \\pi 10^{4000} \\rfloor",
        "\\log_{10^{4000}} 10^{4000}",
        "\\sin(10^{10^{4}})",
        "e^{10^9}",
        "e^{-10^9}",
        "i^{i^{i^{i^i}}}",
        "\\ln\\ln\\ln\\ln 10^{4000}",
        "0.\\overline{9}^{10^9}",
        "10^{-4900}+10^{4900}",
        "(-1)^{10^{18}+1}",
        "\\pm1\\pm2\\pm3\\pm4\\pm5\\pm6\\pm7\\pm8\\pm9",
        "\\{\\pm1\\pm2\\pm3\\pm4,\\pm1\\pm2\\pm3\\pm5,\\pm1\\pm2\\pm3\\pm6\\}",
        "Z99999999999999999999999999999999999999999999999999999999_{36}",
        "{{10^{4000} \\over 3} \\choose {10^{4000} \\over 7}}",
        "99999999999999999999999\\%",
        "\\mathbb{R}\\setminus\\{10^{4000},\\pi,10^{10^{10}}\\}",
    };
    struct buf a = { 0 }, b = { 0 };

    limit_memory();
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        for (size_t k = 0; k < sizeof(texts) / sizeof(texts[0]); k++) {
            repeat(&a, texts[i], "", 0, "+0");
            repeat(&b, texts[k], "", 0, "");
            expect_bounded(&a, &b, texts[i]);
        }
    buf_release(&a);
    buf_release(&b);
}

/* Up to what is still parsed, where quadratic time would hurt, and far beyond. */
Test(math_robust, a_megabyte_of_anything_takes_neither_time_nor_memory)
{
    static const char *const more[] = {
        "\\frac{1}{",
        "1 \\over ",
        "{1\\over 2}",
        "\\sqrt{",
        "\\sqrt[3]{2}+",
        "\\approx 1",
        "\\frac12",
        "1,",
        "x,",
        "\\sqrt2,",
        "\\pi,",
        "x=1,",
        "x=1=",
        "(1,2),",
        "(1,2)\\cup",
        "x\\ne 1,",
        "\\{1,2\\},",
        "1&",
        "1\\\\",
        "\\begin{pmatrix}1\\end{pmatrix}",
        "\\{x \\mid ",
        "\\mathbb{R}\\setminus\\{",
        "^{th}",
        "5^{\\text{th}}",
        "\\text{a}",
        "\\mathrm{~m}",
        "5\\mathrm{~m}",
        "AB=",
        "\\overline{AB}",
        "1{,}000",
        "1,000",
        "\\boxed{",
        "\\boxed{1}",
        "$",
        "$$",
        "\\(",
        "\\)",
        "\\[",
        "answer is ",
        "answer: ",
        "####",
        "final answer is ",
        "\\binom{9}{4}",
        "9!",
        "x!",
        "|x",
        "||",
        "a_",
        "a_{b",
        "0.1\\overline{3}",
        "\\pm",
        "1\\pm2,",
        "\\sin",
        "\\log_2",
        "\\left(",
        "\\right)",
        "\n",
        "Problem:",
        "\\u",
        "\xff",
        "\u2248",
        "\u00bd",
        "million ",
        "5 cm ",
        "\\$5",
        "5\\%",
    };
    struct buf a = { 0 }, b = { 0 };

    limit_memory();
    for (size_t i = 0; i < N_PIECES + sizeof(more) / sizeof(more[0]); i++) {
        const char *piece = i < N_PIECES ? pieces[i] : more[i - N_PIECES];

        size_t n = 8000 / strlen(piece);

        repeat(&a, "", piece, n, "1");
        repeat(&b, "", piece, n, "2");
        cr_expect(expect_bounded(&a, &a, piece), "'%s' differs from itself", piece);
        expect_bounded(&a, &b, piece);
        repeat(&b, "1+", piece, n, "1");
        expect_bounded(&a, &b, piece);
        repeat(&a, "\\{", piece, n, "1\\}");
        repeat(&b, "\\{1,", piece, n, "1\\}");
        expect_bounded(&a, &b, piece);
        repeat(&a, "", piece, (1 << 20) / strlen(piece), "");
        expect_bounded(&a, &b, piece);
        cr_expect(expect_bounded(&a, &a, piece), "'%s' differs from itself", piece);
        expect_extraction_bounded(&a, piece);
    }
    buf_release(&a);
    buf_release(&b);
}

/* Depth, length and width of what is nested, up to 10^5. */
Test(math_robust, towers_of_anything_take_neither_time_nor_memory)
{
    static const struct {
        const char *open, *middle, *close;
    } towers[] = {
        { "{", "1", "}" },
        { "(", "1", ")" },
        { "\\{", "1", "\\}" },
        { "[", "1,2", "]" },
        { "|", "x", "|" },
        { "\\sqrt{", "2", "}" },
        { "\\sqrt[\\sqrt{2}]{", "2", "}" },
        { "\\frac{1}{1+", "1", "}" },
        { "\\frac{", "1", "}{2}" },
        { "2^{", "2", "}" },
        { "x^{", "x", "}" },
        { "\\sin(", "1", ")" },
        { "\\sin{", "x", "}" },
        { "\\ln ", "x", "" },
        { "(", "1", ")!" },
        { "\\binom{", "4", "}{2}" },
        { "{", "1", "\\over 2}" },
        { "(", "1", ",1)" },
        { "\\{\\pm", "1", "\\}" },
        { "\\begin{pmatrix}", "1", "\\end{pmatrix}" },
        { "\\lfloor ", "1", "\\rfloor" },
        { "\\text{", "a", "}" },
        { "\\boxed{", "1", "}" },
        { "\\{x \\mid ", "x > 1", "\\}" },
        { "-(", "x", ")" },
        { "(x+1)(", "x", ")" },
        { "((x+1)^2+", "x", ")" },
        { "(x^2+", "x", ")^2" },
    };
    struct buf a = { 0 }, b = { 0 };

    limit_memory();
    for (size_t i = 0; i < sizeof(towers) / sizeof(towers[0]); i++)
        for (size_t n = 8; n <= 100000; n *= 5) {
            buf_clear(&b);
            for (size_t k = 0; k < n; k++)
                buf_puts(&b, towers[i].open);
            buf_puts(&b, towers[i].middle);
            for (size_t k = 0; k < n; k++)
                buf_puts(&b, towers[i].close);
            repeat(&a, buf_str(&b), "", 0, "+0");
            expect_bounded(&a, &b, towers[i].open);
            repeat(&a, "0+", "", 0, buf_str(&b));
            expect_bounded(&a, &b, towers[i].open);
        }
    buf_release(&a);
    buf_release(&b);
}

/* Lists whose elements are told apart only by work: n^2 comparisons of what is not equal. */
Test(math_robust, lists_in_any_order_take_neither_time_nor_memory)
{
    static const char *const elements[] = {
        "%d",       "\\sqrt{%d}", "\\sqrt{2}+%d",    "x^{%d}",        "(x+1)^{%d}",
        "\\sin %d", "(%d,x)",     "\\{%d,%d+1\\}",   "\\pm %d",       "x=%d",
        "%d!",      "2^{%d}",     "\\binom{99}{%d}", "\\frac{%d}{7}", "\\log_2 %d",
        "%d^{999}", "\\pi^{%d}",
    };
    struct buf a = { 0 }, b = { 0 };

    limit_memory();
    for (size_t i = 0; i < sizeof(elements) / sizeof(elements[0]); i++)
        for (int n = 10; n <= 640; n *= 4) {
            buf_clear(&a);
            buf_clear(&b);
            for (int k = 0; k < n; k++) {
                const char *at = strchr(elements[i], '%');

                for (int side = 0; side < 2; side++) {
                    struct buf *to = side ? &b : &a;
                    int v = side ? n - k : k + 1;

                    buf_puts(to, k ? "," : "");
                    buf_append(to, elements[i], (size_t)(at - elements[i]));
                    buf_printf(to, "%d", v);
                    for (const char *s = at + 2; *s; s++)
                        if (*s == '%' && s[1] == 'd') {
                            buf_printf(to, "%d", v);
                            s++;
                        } else {
                            buf_putc(to, *s);
                        }
                }
            }
            cr_expect(expect_bounded(&a, &b, elements[i]) || n > 10, "ten of '%s' differ",
                      elements[i]);
        }
    buf_release(&a);
    buf_release(&b);
}
