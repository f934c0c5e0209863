/* Programs for the judge: what stands in them and in which order. */
#include "support.h"

#include "tasks/python.h"

static struct arena arena;

static struct task_program make(const struct task *t, const char *id, const char *output)
{
    size_t index = support_index(t, id);
    struct extraction x;
    struct task_program p;
    struct error err;

    cr_assert_eq(task_extract(t, index, NULL, output, strlen(output), &arena, &x, &err), ST_OK);
    cr_assert_not_null(x.text);
    cr_assert_eq(task_make_program(t, index, NULL, &x, &arena, &p, &err), ST_OK);
    cr_expect_eq(p.code_len, strlen(p.code));
    cr_expect_eq(p.tests_len, strlen(p.tests));
    cr_expect_eq(p.code[p.code_len - 1], '\n');
    cr_expect_eq(p.tests[p.tests_len - 1], '\n');
    return p;
}

/* The program of the reference solution. */
static struct task_program make_reference(const struct task *t, const char *id)
{
    const char *text;
    size_t len;
    struct error err;

    cr_assert_eq(task_make_reference(t, support_index(t, id), &arena, &text, &len, &err), ST_OK);
    return make(t, id, text);
}

#define LAMP                                                                                       \
    "def count_switches(states: list) -> int:\n"                                                   \
    "    \"\"\"A lamp is logged once a minute as True (on) or False (off). Return how often\n"     \
    "    its state changed from one entry to the next.\n"                                          \
    "    >>> count_switches([True, True, False, True])\n"                                          \
    "    2\n"                                                                                      \
    "    >>> count_switches([])\n"                                                                 \
    "    0\n"                                                                                      \
    "    \"\"\"\n"

static void expect_code(const char *task, const char *id, const char *output, const char *code)
{
    struct task *t = support_open(task);

    cr_expect_str_eq(make(t, id, output).code, code);
    task_close(t);
    arena_release(&arena);
}

Test(program, humaneval_full_function_stands_behind_the_prompt)
{
    expect_code("sample_humaneval", "Sample/0",
                "```python\ndef count_switches(s):\n  return 0\n```",
                LAMP "\ndef count_switches(s):\n  return 0\n");
}

Test(program, humaneval_body_continues_the_prompt)
{
    expect_code("sample_humaneval", "Sample/0", "    n = 0\n    return n\n",
                LAMP "    n = 0\n    return n\n");
}

Test(program, humaneval_body_without_indentation_is_indented)
{
    expect_code("sample_humaneval", "Sample/0", "```\nn = 0\n\nif n:\n    n = 1\nreturn n\n```",
                LAMP "    n = 0\n\n    if n:\n        n = 1\n    return n\n");
}

Test(program, humaneval_body_with_a_short_first_line_is_padded)
{
    expect_code("sample_humaneval", "Sample/0", "  n = 0\n    return n",
                LAMP "    n = 0\n    return n\n");
    expect_code("sample_humaneval", "Sample/0", "```\n\tn = 0\n\treturn n\n```",
                LAMP "\tn = 0\n\treturn n\n");
}

Test(program, humaneval_tests_call_check)
{
    struct task *t = support_open("sample_humaneval");
    struct task_program p = make(t, "Sample/3", "return 0");

    cr_expect_str_eq(p.entry_point, "best_pile");
    cr_expect_str_eq(p.tests,
                     "def check(candidate):\n    assert candidate([6, 4, 2]) == 4\n"
                     "    assert candidate([]) == 0\n    assert candidate([3, 5, 7]) == 0\n"
                     "    assert candidate([1]) == 1\n"
                     "    assert candidate([1024, 1000]) == 1024\n\ncheck(best_pile)\n");
    cr_expect(strstr(p.code, "def is_even_split"), "the prompt's helper stays");
    task_close(t);
    arena_release(&arena);
}

Test(program, humaneval_keeps_helpers_that_tests_need)
{
    static const struct {
        const char *id, *helper;
    } cases[] = {
        { "HumanEval/10", "def is_palindrome(" },
        { "HumanEval/32", "def poly(" },
        { "HumanEval/38", "def encode_cyclic(" },
        { "HumanEval/50", "def encode_shift(" },
    };
    struct task *t = support_open("humaneval");

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t index = support_index(t, cases[i].id);
        struct extraction x = { .text = "def f(): pass", .len = 13 };
        struct task_program p;
        struct error err;

        cr_assert_eq(task_make_program(t, index, NULL, &x, &arena, &p, &err), ST_OK);
        cr_expect(strstr(p.code, cases[i].helper), "%s", cases[i].id);
        cr_expect(!strstr(cases[i].helper, p.entry_point), "%s tests the helper", cases[i].id);
    }
    task_close(t);
    arena_release(&arena);
}

#define TOTAL "def total_minutes(shifts):\n    return 0"

Test(program, pro_adds_nothing_to_code_that_stands_alone)
{
    struct task *t = support_open("sample_humaneval_pro");
    struct task_program p = make(t, "1", "```python\n" TOTAL "\n```");

    cr_expect_str_eq(p.code, TOTAL "\n");
    cr_expect_str_eq(p.entry_point, "total_minutes");
    cr_expect_eq(strncmp(p.tests, "\nassert total_minutes([", 23), 0);
    task_close(t);
    arena_release(&arena);
}

Test(program, pro_puts_the_raw_problem_before_a_body)
{
    expect_code("sample_humaneval_pro", "1", "    return 0\n\n" TOTAL "\n```\n",
                "def minutes(clock: str) -> int:\n"
                "    \"\"\"Minutes since midnight of a time such as \"07:45\".\n"
                "    >>> minutes(\"01:30\")\n    90\n    \"\"\"\n"
                "    return 0\n\n" TOTAL "\n");
}

Test(program, pro_targets_are_the_functions_under_test)
{
    /* records whose prompt does not name the target: docs/grading.md, "HumanEval Pro" */
    static const struct {
        const char *id, *name;
    } cases[] = {
        { "3", "any_account_below_zero" },        { "5", "double_intersperse" },
        { "14", "all_prefixes_for_list" },        { "20", "find_closest_pair_across_lists" },
        { "21", "rescale_nested_lists" },         { "22", "filter_nested_lists" },
        { "28", "concatenate_lists_of_strings" }, { "46", "sum_fib4_values" },
        { "63", "sum_fibfib_positions" },         { "112", "process_strings" },
    };
    struct task *t = support_open("humaneval_pro");

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        cr_expect_str_eq(make(t, cases[i].id, "x = 1").entry_point, cases[i].name);
    task_close(t);
    arena_release(&arena);
}

Test(program, mbpp_sets_up_after_the_solution)
{
    struct task *t = support_open("sample_mbpp");
    struct task_program p = make_reference(t, "3");

    cr_expect_eq(strncmp(p.code, "class Branch:\n", 14), 0);
    cr_expect_str_eq(p.tests, "twig = Branch(2)\nlimb = Branch(3, [twig, Branch(4)])\n"
                              "trunk = Branch(10, [limb, twig])\n"
                              "assert total_length(twig) == 2\nassert total_length(limb) == 9\n"
                              "assert total_length(trunk) == 21\n");
    task_close(t);
    arena_release(&arena);
}

Test(program, mbpp_367_and_927_get_their_trees)
{
    struct task *t = support_open("mbpp_all");
    struct task_program p = make_reference(t, "367");

    cr_expect_str_eq(p.entry_point, "is_tree_balanced");
    cr_expect_eq(strncmp(p.code, "class Node: \n\tdef __init__", 26), 0);
    cr_expect_eq(strncmp(p.tests, "root = Node(1) \nroot.left = Node(2) \n", 37), 0);
    cr_expect(strstr(p.tests, "\nassert is_tree_balanced(root) == False\n"));
    cr_expect(!strchr(p.code, '\r') && !strchr(p.tests, '\r'));
    p = make_reference(t, "927");
    cr_expect_eq(strncmp(p.tests, "root = Node(1)", 14), 0);
    cr_expect_str_eq(p.entry_point, "max_height");
    p = make_reference(t, "126");
    cr_expect_str_eq(p.entry_point, "sum");
    p = make_reference(t, "123");
    cr_expect_str_eq(p.entry_point, "amicable_numbers_sum");
    task_close(t);
    arena_release(&arena);
}

Test(program, sanitized_mbpp_imports_first)
{
    static const char *const ids[] = { "82",  "85",  "98",  "124", "137", "139", "163",
                                       "233", "246", "248", "276", "300", "312" };
    struct task *t = support_open("mbpp_sanitized");
    size_t n = 0;

    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        struct task_program p = make(t, ids[i], "def f():\n    return 1\n");

        cr_expect_str_eq(p.code, "import math\ndef f():\n    return 1\n", "%s", ids[i]);
        cr_expect_eq(strncmp(p.tests, "import math\nassert ", 19), 0, "%s", ids[i]);
    }
    for (size_t i = 0; i < task_n_items(t); i++) {
        struct task_item item;

        task_get_item(t, i, &item);
        n += strncmp(make(t, item.id, "def f(): 1").code, "import ", 7) == 0;
    }
    cr_expect_eq(n, 13);
    cr_expect_str_eq(make_reference(t, "82").entry_point, "volume_sphere");
    task_close(t);
    arena_release(&arena);
}

/* That the programs pass is the judge's to say; here, that each holds its solution and tests. */
Test(program, every_reference_is_found_again_in_its_program)
{
    static const char *const names[] = { "sample_humaneval", "sample_humaneval_pro", "sample_mbpp",
                                         "humaneval",        "humaneval_pro",        "mbpp_all",
                                         "mbpp_sanitized" };

    for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
        struct task *t = support_open(names[k]);

        for (size_t i = 0; i < task_n_items(t); i++) {
            struct task_item item;
            struct task_program p;
            struct extraction x;
            struct error err;
            const char *text;
            size_t len;

            task_get_item(t, i, &item);
            cr_assert_eq(task_make_reference(t, i, &arena, &text, &len, &err), ST_OK);
            cr_assert_eq(task_extract(t, i, NULL, text, len, &arena, &x, &err), ST_OK);
            cr_expect_str_eq(x.method, "fence", "%s %s", names[k], item.id);
            p = make_reference(t, item.id);
            cr_expect(python_defines(span_of(x.text), p.entry_point), "%s %s: %s", names[k],
                      item.id, p.entry_point);
            cr_expect(strstr(p.code, x.text), "%s %s", names[k], item.id);
            cr_expect(strstr(p.tests, "assert"), "%s %s", names[k], item.id);
            arena_clear(&arena);
        }
        task_close(t);
    }
    arena_release(&arena);
}

static void expect_as_is(const char *task, const char *id, enum answer_kind kind,
                         const char *answer, const char *code)
{
    struct task *t = support_open(task);
    struct task_reading how = { .kind = kind };
    size_t index = support_index(t, id);
    struct extraction x;
    struct task_program p, same_tests;
    struct error err;

    cr_assert(task_takes(task_get_def(t), kind));
    cr_assert_eq(task_extract(t, index, &how, answer, strlen(answer), &arena, &x, &err), ST_OK);
    cr_expect_str_eq(x.text, answer);
    cr_expect_str_eq(x.method, answer_kind_name(kind));
    cr_assert_eq(task_make_program(t, index, &how, &x, &arena, &p, &err), ST_OK);
    cr_expect_str_eq(p.code, code);
    same_tests = make(t, id, "```python\ndef f():\n    pass\n```");
    cr_expect_str_eq(p.tests, same_tests.tests);
    cr_expect_str_eq(p.entry_point, same_tests.entry_point);
    task_close(t);
    arena_release(&arena);
}

Test(program, a_completion_continues_the_prompt_untouched)
{
    expect_as_is("sample_humaneval", "Sample/0", ANSWER_COMPLETION, "  return 1 # ```\nassert 0",
                 LAMP "  return 1 # ```\nassert 0\n");
}

Test(program, a_solution_runs_alone_and_untouched)
{
    expect_as_is("sample_humaneval", "Sample/0", ANSWER_SOLUTION, "  x = '<|eot_id|>'\r\n",
                 "  x = '<|eot_id|>'\r\n\n");
    expect_as_is("sample_humaneval_pro", "0", ANSWER_SOLUTION, "    x = 1", "    x = 1\n");
    expect_as_is("sample_mbpp", "1", ANSWER_SOLUTION, "x = 1", "x = 1\n");
}

Test(program, only_tasks_with_code_take_code)
{
    cr_expect(task_takes(task_find("humaneval"), ANSWER_COMPLETION));
    cr_expect(!task_takes(task_find("mbpp"), ANSWER_COMPLETION));
    cr_expect(!task_takes(task_find("humaneval_pro"), ANSWER_COMPLETION));
    cr_expect(!task_takes(task_find("gsm8k"), ANSWER_SOLUTION));
    cr_expect(!task_takes(task_find("math500"), ANSWER_COMPLETION));
    cr_expect(task_takes(task_find("math500"), ANSWER_OUTPUT));
}
