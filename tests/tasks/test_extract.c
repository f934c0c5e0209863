/* Extraction: a table of outputs, and what holds for any output. */
#include "support.h"

#include <time.h>

#include "base/rng.h"

static struct arena arena;

/* Rows of tests/data/extraction.jsonl: task, id, output, extracted (null: no answer), method. */
static json_t *read_rows(void)
{
    struct buf b = { 0 };
    struct error err = { 0 };
    json_t *rows = json_array(), *row;
    const char *p, *end;
    size_t line = 0;

    cr_assert_eq(
        file_read(support_path("DESBENCH_TESTS", "data/extraction.jsonl"), 1 << 24, &b, &err),
        ST_OK, "%s", err.text);
    for (p = buf_str(&b); *p; p = end + 1) {
        end = strchr(p, '\n');
        cr_assert_eq(json_parse(p, (size_t)(end - p), "extraction.jsonl", ++line, &row, &err),
                     ST_OK, "%s", err.text);
        json_array_append_new(rows, row);
    }
    buf_release(&b);
    return rows;
}

static const char *get(const json_t *row, const char *key)
{
    return json_string_value(json_object_get(row, key));
}

static struct extraction extract(const struct task *t, size_t index, const char *output, size_t len)
{
    struct extraction x = { .text = "unset", .method = NULL };
    struct error err = { 0 };

    cr_assert_eq(task_extract(t, index, NULL, output, len, &arena, &x, &err), ST_OK, "%s",
                 err.text);
    cr_assert_not_null(x.method);
    if (x.text)
        cr_assert(x.text[x.len] == '\0' && x.len > 0);
    else
        cr_assert_eq(x.len, 0);
    return x;
}

static void expect_row(const json_t *row, const char *before, const char *after)
{
    struct task *t = support_open(get(row, "task"));
    const json_t *output = json_object_get(row, "output");
    struct buf b = { 0 };
    struct extraction x;
    const char *want = get(row, "extracted");

    buf_puts(&b, before);
    buf_append(&b, json_string_value(output), json_string_length(output));
    buf_puts(&b, after);
    x = extract(t, support_index(t, get(row, "id")), buf_str(&b), b.len);
    cr_expect(want ? x.text && strcmp(x.text, want) == 0 : !x.text,
              "%s, %s:\n--- found\n%s\n--- wanted\n%s\n---", get(row, "task"), get(row, "name"),
              x.text ? x.text : "(null)", want ? want : "(null)");
    cr_expect_str_eq(x.method, get(row, "method"), "%s, %s: %s", get(row, "task"), get(row, "name"),
                     x.method);
    buf_release(&b);
    task_close(t);
}

Test(extract, finds_what_the_table_says)
{
    json_t *rows = read_rows(), *row;
    size_t i;

    cr_assert_geq(json_array_size(rows), 130);
    json_array_foreach(rows, i, row) expect_row(row, "", "");
    json_decref(rows);
    arena_release(&arena);
}

Test(extract, white_space_around_changes_nothing)
{
    json_t *rows = read_rows(), *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        expect_row(row, "\n", "\n");
        expect_row(row, "\r\n \t \n\n", "  \n\t\n ");
    }
    json_decref(rows);
    arena_release(&arena);
}

Test(extract, extracting_what_was_extracted_from_a_fence_gives_it_again)
{
    json_t *rows = read_rows(), *row;
    size_t i;

    json_array_foreach(rows, i, row)
    {
        struct task *t = support_open(get(row, "task"));
        size_t index = support_index(t, get(row, "id"));
        const char *text = get(row, "extracted");
        struct buf b = { 0 };

        if (text && task_get_def(t)->kind == TASK_CODE) {
            buf_printf(&b, "```python\n%s\n```", text);
            cr_expect_str_eq(extract(t, index, buf_str(&b), b.len).text, text, "%s",
                             get(row, "name"));
        } else if (text) {
            buf_printf(&b, "The answer is %s.", text);
            cr_expect_str_eq(extract(t, index, buf_str(&b), b.len).text, text, "%s",
                             get(row, "name"));
        }
        buf_release(&b);
        task_close(t);
    }
    json_decref(rows);
    arena_release(&arena);
}

Test(extract, answers_need_no_data)
{
    struct extraction x;
    struct error err = { 0 };
    const char *output = "#### 1,080";

    cr_assert_eq(
        task_extract_answer(task_find("gsm8k"), NULL, output, strlen(output), &arena, &x, &err),
        ST_OK);
    cr_expect_str_eq(x.text, "1080");
    cr_expect_eq(
        task_extract_answer(task_find("mbpp"), NULL, output, strlen(output), &arena, &x, &err),
        ST_UNSUPPORTED);
    cr_expect(strstr(err.text, "'mbpp'"), "%s", err.text);
    arena_release(&arena);
}

Test(extract, math_answers_come_from_their_own_rule)
{
    struct task *t = support_open("sample_math500");
    const char *output = "So $x=3$. \\boxed{\\frac{4}{9}}<|eot_id|> \\boxed{5}";

    cr_expect_str_eq(extract(t, 1, output, strlen(output)).text, "\\frac{4}{9}");
    cr_expect_null(extract(t, 1, "<|eot_id|>5", 11).text);
    cr_expect_str_eq(extract(t, 1, "<|eot_id|>5", 11).method, "none");
    task_close(t);
    arena_release(&arena);
}

static const char *const samples[] = { "sample_humaneval", "sample_humaneval_pro", "sample_mbpp",
                                       "sample_gsm8k", "sample_math500" };
enum { N_SAMPLES = sizeof(samples) / sizeof(samples[0]) };

/* Everything that is done with an output, whatever it is. */
static void survive(const struct task *t, const char *output, size_t len)
{
    struct error err = { 0 };

    struct extraction x = extract(t, 0, output, len);
    struct task_program p;
    struct task_grade g;

    if (task_get_def(t)->kind == TASK_ANSWER)
        cr_assert_eq(task_grade_answer(t, 0, NULL, &x, output, len, &arena, &g, &err), ST_OK);
    else if (x.text)
        cr_assert_eq(task_make_program(t, 0, NULL, &x, &arena, &p, &err), ST_OK);
    arena_clear(&arena);
}

Test(extract, survives_random_bytes_and_fragments)
{
    static const char *const fragments[] = {
        "```",
        "```python\n",
        "\n",
        "\n\n",
        " ",
        "    ",
        "def ",
        "count_switches(",
        "wettest_towns(",
        ":",
        "[BEGIN]",
        "[DONE]",
        "'",
        "\"",
        "'''",
        "\"\"\"",
        "\\",
        "{",
        "}",
        "\\boxed{",
        "(",
        ")",
        "[",
        "]",
        "####",
        "#### ",
        "answer is",
        "answer",
        "=",
        "$",
        "-",
        "1",
        "23",
        ",",
        ".",
        "/",
        "\r",
        "<|eot_id|>",
        "</think>",
        "<|mask|>",
        "<",
        "Question:",
        "\nQ:",
        "class A:",
        "import x",
        "@",
        "#",
        "\xff",
        "\xe2\x88",
        "\xe2\x88\x92",
        "text",
        "\t",
        "return 1",
        "NaN",
        "\\frac",
        "$$",
    };
    struct rng rng;

    rng_seed(&rng, 20260101);
    for (int s = 0; s < N_SAMPLES; s++) {
        struct task *t = support_open(samples[s]);

        for (int round = 0; round < 3000; round++) {
            struct buf b = { 0 };
            uint64_t n = rng_below(&rng, 40);

            for (uint64_t i = 0; i < n; i++) {
                if (rng_below(&rng, 8) == 0)
                    buf_putc(&b, (char)rng_below(&rng, 256));
                else
                    buf_puts(&b, fragments[rng_below(&rng, sizeof(fragments) / //
                                                               sizeof(fragments[0]))]);
            }
            survive(t, b.len ? b.data : "", b.len);
            buf_release(&b);
        }
        task_close(t);
    }
    arena_release(&arena);
}

static double now_s(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

/* Half a megabyte of what quadratic scanners choke on. Linear work takes milliseconds; a quadratic
 * rule would take minutes. */
Test(extract, takes_linear_time_on_long_outputs, .timeout = 300)
{
    static const char *const units[] = {
        "`",
        "```\n",
        "```x```\n",
        "```python\n",
        "x```\n",
        "{",
        "}",
        "\\boxed{",
        "\\boxed{}",
        "\\",
        "\\{",
        "####",
        "#### -",
        "answer",
        "answer:",
        "answer ** $ :",
        "=",
        "1",
        "1,",
        "1,234",
        ".",
        ".5",
        "1/",
        "1/0",
        "-",
        "<",
        "<|eot_id|",
        "<|mask|>",
        "</think>",
        "Question",
        "\nQ",
        "[BEGIN]",
        "[DONE]",
        "'",
        "\"\"\"",
        "(",
        "def f(",
        "def f(x):\n",
        "\ndef ",
        "\n",
        " ",
        "\t",
        "\n    x",
        "\r",
        "count_switches",
        "async ",
        "\nprint(\"\n",
        "\\_",
        "$",
        "\\(",
        "a.b(",
        "0",
        "1\\,",
        "\xe2\x88\x92",
        "``` \n",
        "   ```\n x\n",
        "import x\n",
        "\\boxed ",
        "answer is ",
        "x=1 ",
    };
    const size_t size = 1 << 19;
    double worst = 0;

    for (int s = 0; s < N_SAMPLES; s++) {
        struct task *t = support_open(samples[s]);

        for (size_t u = 0; u < sizeof(units) / sizeof(units[0]); u++) {
            struct buf b = { 0 };
            double start = now_s(), took;

            while (b.len < size)
                buf_puts(&b, units[u]);
            survive(t, b.data, b.len);
            took = now_s() - start;
            worst = took > worst ? took : worst;
            cr_expect_lt(took, 5.0, "%s: 512 KiB of '%s' took %.1f s", samples[s], units[u], took);
            buf_release(&b);
        }
        task_close(t);
    }
    cr_log_info("slowest: %.3f s", worst);
    arena_release(&arena);
}
