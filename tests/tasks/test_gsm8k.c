/* GSM8K: grading, and the rules of other harnesses. */
#include "support.h"

#include "tasks/gsm8k_rivals.h"

static struct arena arena;

Test(gsm8k, rival_rules_are_kept_with_their_quirks)
{
    /* results as the regular expressions give them in Python */
    static const struct {
        const char *output, *gold;
        bool strict, flexible, oc;
    } cases[] = {
        { "#### 18", "18", true, true, true },
        { "####18", "18", false, true, true },
        { "#### 18.", "18", true, true, true },
        { "#### 18..", "18", false, false, true },
        { "#### 18.00", "18", false, false, true },
        { "#### $18", "18", false, true, true },
        { "#### 1,234", "1234", true, true, false },
        { "#### 1,234", "234", false, false, true },
        { "#### 1 #### 2", "1", true, false, false },
        { "#### x #### 2", "2", true, true, true },
        { "#### -7", "-7", true, true, true },
        { "#### --7", "-7", false, true, true },
        { "10-3", "-3", false, true, true },
        { "10-3", "3", false, false, false },
        { "10-33", "-33", false, true, true },
        { "It is 5...", "5", false, false, true },
        { "It is 5. So...", "5", false, false, true },
        { "See Q.2", "2", false, false, true },
        { "Cost: $5", "5", false, true, true },
        { "The answer is $1,000.", "1000", false, true, false },
        { "18", "18", false, true, true },
        { "8", "8", false, true, true },
        { "18 $", "18", false, true, true },
        { "18 $$", "18", false, false, true },
        { "18.,", "18", false, true, true },
        { "3.0000001", "3", false, false, true },
        { "3.00001", "3", false, false, false },
        { "000000000000000000000000000000000000000018.0", "18", false, false, true },
        { "18.000000000000000000000000000000000000000000000000000000000000", "18", false, false,
          true },
        { "99999999999999999999999999999999999999999999999999999999999999999", "18", false, false,
          false },
        { "#### 18\nQuestion: next\n#### 19", "18", true, true, true },
        { "#### 18<|eot_id|>19", "18", true, true, true },
        { "#### 18</s>19", "18", true, true, true },
        { "#### .", "18", false, false, false },
        { "none", "18", false, false, false },
        { "", "18", false, false, false },
        { "-", "18", false, false, false },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct span t = span_of(cases[i].output);

        cr_expect_eq(gsm8k_lm_eval_strict(t, cases[i].gold), cases[i].strict, "strict: %s",
                     cases[i].output);
        cr_expect_eq(gsm8k_lm_eval_flexible(t, cases[i].gold), cases[i].flexible, "flexible: %s",
                     cases[i].output);
        cr_expect_eq(gsm8k_opencompass(t, cases[i].gold), cases[i].oc, "oc: %s", cases[i].output);
    }
}

static bool is_right(const struct task *t, size_t i, const char *output, struct task_grade *g)
{
    struct extraction x;
    struct error err;

    cr_assert_eq(task_extract(t, i, NULL, output, strlen(output), &arena, &x, &err), ST_OK);
    cr_assert_eq(task_grade_answer(t, i, NULL, &x, output, strlen(output), &arena, g, &err), ST_OK);
    arena_clear(&arena);
    return g->is_right;
}

Test(gsm8k, every_gold_answer_is_right_however_it_is_stated)
{
    struct task *t = support_open("gsm8k");
    const char *dir = support_data_dir();
    struct buf file = { 0 };
    struct error err;
    char path[4096], output[4096];
    const char *line, *end;
    size_t n = task_n_items(t), n_reference = 0, n_as_is = 0, n_box = 0, n_strict = 0, n_other = 0;
    struct task_grade g;

    snprintf(path, sizeof(path), "%s/gsm8k_test.jsonl", dir);
    cr_assert_eq(file_read(path, 1 << 24, &file, &err), ST_OK);
    line = buf_str(&file);
    for (size_t i = 0; i < n; i++, line = end + 1) {
        const char *reference;
        size_t len;
        json_t *record;

        end = strchr(line, '\n');
        cr_assert_eq(json_parse(line, (size_t)(end - line), path, i, &record, &err), ST_OK);
        n_reference += is_right(t, i, json_string_value(json_object_get(record, "answer")), &g);
        n_strict += g.also[0].is_right && g.also[1].is_right;
        json_decref(record);

        cr_assert_eq(task_make_reference(t, i, &arena, &reference, &len, &err), ST_OK);
        snprintf(output, sizeof(output), "The answer is %s", task_gold(t, i));
        cr_expect_str_eq(reference, output);
        n_as_is += is_right(t, i, output, &g);
        n_other += g.also[1].is_right && g.also[2].is_right;
        snprintf(output, sizeof(output), "So $\\boxed{%s}$.", task_gold(t, i));
        n_box += is_right(t, i, output, &g);
    }
    cr_expect_eq(n_reference, n, "reference texts: %zu", n_reference);
    cr_expect_eq(n_strict, n, "lm-eval on reference texts: %zu", n_strict);
    cr_expect_eq(n_as_is, n, "the answer is N: %zu", n_as_is);
    cr_expect_eq(n_other, n, "flexible and OpenCompass: %zu", n_other);
    cr_expect_eq(n_box, n, "boxed: %zu", n_box);
    buf_release(&file);
    arena_release(&arena);
    task_close(t);
}

/* Put the gold answer where the template has a `@`. */
static void fill(char *ret, size_t size, const char *template, const char *gold)
{
    int n = (int)strcspn(template, "@");

    snprintf(ret, size, "%.*s%s%s", n, template, gold, template + n + 1);
}

Test(gsm8k, mechanical_rewrites_of_the_gold_are_judged_right)
{
    static const char *const accepted[] = {
        "The answer is @.00",
        "#### @.0",
        "**Answer:** $@.",
        "\\boxed{x = @}",
        "The answer is @/1.",
        "It makes @.",
        "#### 7 + 9 = @",
        "#### @ apples (of 5)",
        "The answer is @.\nQuestion: And 5?\nThe answer is 5",
    };
    static const char *const rejected[] = {
        "The answer is 1@",  "The answer is @.5",        "#### @1",
        "The answer is @/3", "\\boxed{@} \\boxed{0.25}",
    };
    struct task *t = support_open("gsm8k");
    struct task_grade g;
    char output[512];

    for (size_t i = 0; i < task_n_items(t); i++) {
        const char *gold = task_gold(t, i);
        long long value = atoll(gold);

        for (size_t k = 0; k < sizeof(accepted) / sizeof(accepted[0]); k++) {
            fill(output, sizeof(output), accepted[k], gold);
            cr_expect(is_right(t, i, output, &g), "%zu: %s", i, output);
        }
        for (size_t k = 0; k < sizeof(rejected) / sizeof(rejected[0]); k++) {
            fill(output, sizeof(output), rejected[k], gold);
            cr_expect(value <= 0 || !is_right(t, i, output, &g), "%zu: %s", i, output);
        }
        snprintf(output, sizeof(output), "#### %lld", value + 1);
        cr_expect(!is_right(t, i, output, &g), "%zu: %s", i, output);
        snprintf(output, sizeof(output), "The answer is %lld.", -value);
        cr_expect(value == 0 || !is_right(t, i, output, &g), "%zu: %s", i, output);
        cr_expect(!is_right(t, i, "", &g) && !is_right(t, i, "none", &g));
    }
    arena_release(&arena);
    task_close(t);
}

Test(gsm8k, two_answers_are_compared_without_data)
{
    static const struct {
        const char *pred, *gold;
        bool is_equal;
    } cases[] = {
        { "18", "18", true },
        { "18.0", "18", true },
        { "$1,080.00", "1080", true },
        { " -7 ", "-7", true },
        { "7", "-7", false },
        { "18 dollars", "18", true },
        { "x = 3", "3", true },
        { "#### 5", "5", true },
        { "5", "ab #### 5", true },
        { "1/2", "0.5", true },
        { "0.3333333", "1/3", true },
        { "0.3333", "1/3", false },
        { "18.0000001", "18", true },
        { "18.00001", "18", false },
        { "", "18", false },
        { "none", "none", false },
        { "", "", false },
        { "2,880,000", "2880000", true },
    };
    const struct task_def *def = task_find("gsm8k");
    struct error err;
    char digits[400];
    bool is_equal;

    memset(digits, '7', sizeof(digits)); /* infinite as a double */
    cr_expect_eq(task_equal(def, digits, 400, digits, 400, &is_equal, &err), ST_OK);
    cr_expect(is_equal);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        cr_assert_eq(task_equal(def, cases[i].pred, strlen(cases[i].pred), cases[i].gold,
                                strlen(cases[i].gold), &is_equal, &err),
                     ST_OK);
        cr_expect_eq(is_equal, cases[i].is_equal, "'%s' and '%s'", cases[i].pred, cases[i].gold);
    }
    cr_expect_eq(task_equal(task_find("mbpp"), "1", 1, "1", 1, &is_equal, &err), ST_UNSUPPORTED);
}
