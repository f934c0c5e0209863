/* MATH500 from data to grade; tests/tasks/math/ has the rules themselves. */
#include "support.h"

static struct arena arena;

static bool is_right(const struct task *t, size_t i, const char *output, size_t len)
{
    struct extraction x;
    struct task_grade g;
    struct error err;

    cr_assert_eq(task_extract(t, i, NULL, output, len, &arena, &x, &err), ST_OK);
    cr_assert_eq(task_grade_answer(t, i, NULL, &x, output, len, &arena, &g, &err), ST_OK);
    cr_expect_eq(g.n_also, 0);
    return g.is_right;
}

static void expect_all(const char *name)
{
    struct task *t = support_open(name);
    size_t n = task_n_items(t), n_reference = 0, n_boxed = 0, n_wrong = 0;
    const char *text;
    size_t len;
    struct error err;

    for (size_t i = 0; i < n; i++) {
        cr_assert_eq(task_make_reference(t, i, &arena, &text, &len, &err), ST_OK);
        n_reference += is_right(t, i, text, len);
        text = arena_printf(&arena, "So the answer is $\\boxed{%s}$.<|eot_id|>", task_gold(t, i));
        n_boxed += is_right(t, i, text, strlen(text));
        text = "The answer is \\boxed{-98765}.";
        n_wrong += is_right(t, i, text, strlen(text)) + is_right(t, i, "", 0);
        arena_clear(&arena);
    }
    cr_expect_eq(n_reference, n, "%s: %zu reference solutions are right", name, n_reference);
    cr_expect_eq(n_boxed, n, "%s: %zu boxed golds are right", name, n_boxed);
    cr_expect_eq(n_wrong, 0, "%s: %zu wrong answers are right", name, n_wrong);
    task_close(t);
    arena_release(&arena);
}

Test(math500, references_and_boxed_golds_of_the_sample_are_right)
{
    expect_all("sample_math500");
}

Test(math500, references_and_boxed_golds_are_right)
{
    expect_all("math500");
}

Test(math500, answers_are_compared_without_data)
{
    const struct task_def *def = task_find("math500");
    struct error err;
    bool is_equal;

    cr_assert_eq(task_equal(def, "0.5", 3, "\\frac12", 7, &is_equal, &err), ST_OK);
    cr_expect(is_equal);
    cr_assert_eq(task_equal(def, "0.5", 3, "\\frac13", 7, &is_equal, &err), ST_OK);
    cr_expect(!is_equal);
}
