/* Finding the answer in a text: which rule applies, and what it takes. */
#include "tasks/math/math.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buf.h"

struct expected {
    const char *output, *answer, *method; /* answer NULL: none */
};

static void check(const struct expected *e, size_t n)
{
    struct arena arena = { 0 };
    struct error err = { 0 };

    for (size_t i = 0; i < n; i++) {
        const char *text = "unset", *method = "unset";
        size_t len = 99;

        cr_assert_eq(
            math_extract(e[i].output, strlen(e[i].output), &arena, &text, &len, &method, &err),
            ST_OK, "%s", err.text);
        if (!e[i].answer) {
            cr_expect_null(text, "'%s' gave '%s'", e[i].output, text);
            cr_expect_null(method);
            continue;
        }
        cr_assert_not_null(text, "nothing in '%s'", e[i].output);
        cr_expect_str_eq(text, e[i].answer, "'%s' gave '%s'", e[i].output, text);
        cr_expect_str_eq(method, e[i].method, "'%s' by '%s'", e[i].output, method);
        cr_expect_eq(len, strlen(text));
    }
    arena_release(&arena);
}

#define CHECK(...)                                                                                 \
    do {                                                                                           \
        static const struct expected expected[] = { __VA_ARGS__ };                                 \
        check(expected, sizeof(expected) / sizeof(expected[0]));                                   \
    } while (0)

Test(math_extract, the_last_balanced_box_wins)
{
    CHECK({ "so \\boxed{42}.", "42", "boxed" }, { "\\boxed{1} then \\boxed{2}", "2", "boxed" },
          { "\\boxed{\\frac{1}{2}}", "\\frac{1}{2}", "boxed" }, { "\\fbox{7}", "7", "boxed" },
          { "\\boxed {7}", "7", "boxed" }, { "$\\boxed 7$ is it", "7", "boxed" },
          { "\\boxed 7 and", "7", "boxed" }, { "\\boxed{3} and \\boxed{4", "3", "boxed" },
          { "\\boxed{\\boxed{5}}", "5", "boxed" }, { "\\boxed{\\{1,2\\}}", "\\{1,2\\}", "boxed" },
          { "\\boxed{\\left\\{1\\right.}", "\\left\\{1\\right", "boxed" },
          { "\\boxed{$9$.}", "9", "boxed" }, { "\\boxed{{24}}", "24", "boxed" },
          { "\\boxed{{1},{2}}", "{1},{2}", "boxed" }, { "\\boxed{\\$36}", "\\$36", "boxed" },
          { "\\boxed{6}, put it in \\boxed{}", "6", "boxed" },
          { "\\boxedtext{1} \\boxed{2}", "2", "boxed" },
          { "\\boxed{a \\\\ b}", "a \\\\ b", "boxed" }, { "\\boxed{x\\\\}", "x\\\\", "boxed" });
}

Test(math_extract, phrases_are_next)
{
    CHECK({ "Final Answer: The final answer is $\\frac12$. I hope it is correct.", "\\frac12",
            "final-answer" },
          { "The answer is 42.", "42", "answer-is" },
          { "The answer is 4.25. Done", "4.25", "answer-is" },
          { "ANSWER: x = 5\nThanks", "x = 5", "answer-is" },
          { "**Answer:** 12", "12", "answer-is" },
          { "The answer is $42$, because of that.", "42", "answer-is" },
          { "The answer is $3$ and $5$.", "3$ and $5", "answer-is" },
          { "The answer is:\n\\[ 17 \\]\n", "17", "answer-is" },
          { "the answer is .5", ".5", "answer-is" },
          { "answer is 1. No, the answer is 2.", "2", "answer-is" },
          { "\\boxed{1 and the answer is 8", "8", "answer-is" });
}

Test(math_extract, formulas_and_numbers_come_last)
{
    CHECK({ "we get $x=1$ and then $y=2$", "y=2", "math" },
          { "so \\(a\\) and \\[ b \\]", "b", "math" }, { "$$ 12 $$", "12", "math" },
          { "it costs \\$5 or 6", "6", "number" },
          { "in all 1,234.5 of them", "1,234.5", "number" }, { "it is -7", "-7", "number" },
          { "pages 3-7", "7", "number" }, { "a chance of 3/4!", "3/4", "number" },
          { "so 12.", "12", "number" }, { "no idea", NULL, NULL }, { "", NULL, NULL },
          { "\\boxed{}", NULL, NULL }, { "$$", NULL, NULL });
}

Test(math_extract, an_invented_next_problem_is_cut_off)
{
    CHECK({ "It is \\boxed{1}.\nProblem: 2\n\\boxed{2}", "1", "boxed" },
          { "\nProblem: \\boxed{2}", "2", "boxed" }, { "Problem: \\boxed{2}", "2", "boxed" });
}

/* What a text of n bytes made of a repeated piece costs. */
static double milliseconds(const char *piece, size_t n)
{
    struct arena arena = { 0 };
    struct buf b = { 0 };
    struct timespec t0, t1;
    const char *text, *method;
    size_t len;

    while (b.len < n)
        buf_puts(&b, piece);
    cr_assert(buf_ok(&b));
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t0);
    cr_assert_eq(math_extract(b.data, b.len, &arena, &text, &len, &method, NULL), ST_OK);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t1);
    arena_release(&arena);
    buf_release(&b);
    return (double)(t1.tv_sec - t0.tv_sec) * 1e3 + (double)(t1.tv_nsec - t0.tv_nsec) * 1e-6;
}

Test(math_extract, time_grows_with_the_text_only)
{
    static const char *const pieces[] = {
        "\\boxed{",
        "\\boxed{}",
        "\\boxed ",
        "{",
        "}",
        "$",
        "$ ",
        "\\(",
        "\\[",
        "\\",
        "answer is ",
        "answer is. ",
        "\n",
        "1",
        "1,",
        "1/",
        "** ",
        "\\$",
        ". I hope it is correct",
        "\\) \\]",
        "{a** ",
        "$$ $",
        "\nProblem",
        "\\boxed{{** ",
    };

    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        double ms = milliseconds(pieces[i], 1 << 20);

        cr_expect_lt(ms, 1000.0, "1 MiB of '%s' took %.0f ms", pieces[i], ms);
    }
}
