/* Prompt forms and extraction together: an answer that continues what a form has begun. */
#include "support.h"

#include "tasks/text.h"

static struct arena arena;

static void put_field(struct buf *b, const json_t *record, const char *key)
{
    const char *s = json_string_value(json_object_get(record, key));

    cr_assert_not_null(s, "%s", key);
    for (; *s; s++)
        if (*s != '\r')
            buf_putc(b, *s);
}

/* The parts of a record's reference solution, in order; `is_asked` parts are in the prompt, too. */
struct part {
    const char *key;
    bool is_asked;
};
static const struct {
    const char *prefix; /* of task names, behind "sample_" if there is that */
    struct part parts[5];
} references[] = {
    { "humaneval_pro",
      { { "raw_problem", true },
        { "raw_solution", false },
        { "new_problem", true },
        { "new_solution", false } } },
    { "humaneval", { { "prompt", true }, { "canonical_solution", false } } },
    { "mbpp", { { "code", false } } },
};

static const struct part *find_parts(const char *task)
{
    task += strncmp(task, "sample_", 7) == 0 ? 7 : 0;
    for (size_t i = 0; i < sizeof(references) / sizeof(references[0]); i++)
        if (strncmp(task, references[i].prefix, strlen(references[i].prefix)) == 0)
            return references[i].parts;
    return NULL;
}

/* Append what a model would write that knows the reference and goes on from the prompt. */
static void put_output(const struct task_prompt *p, const struct part *parts, const json_t *record,
                       struct buf *b)
{
    struct buf whole = { 0 };
    struct span code, begun = { p->prefix, p->prefix_len };
    size_t at;

    for (; parts->key; parts++)
        put_field(&whole, record, parts->key);
    code = (struct span){ buf_str(&whole), whole.len };
    if (span_find_last(begun, "```python\n", &at))
        begun = span_sub(begun, at + strlen("```python\n"), begun.len);
    else if (span_equal(begun, "[BEGIN]\n") || p->is_code)
        begun.len = 0;
    if (!p->is_chat && p->prefix_len == 0)
        begun = (struct span){ p->msgs[0].text, p->msgs[0].len };
    if (p->is_chat && p->prefix_len == 0)
        buf_puts(b, "Here it is:\n```python\n");
    if (begun.len) { /* it may end in a line break more or less than the reference's */
        bool is_line_begun = begun.s[begun.len - 1] == '\n';

        cr_assert(
            span_find(code, arena_strdup(&arena, span_trim(begun).s, span_trim(begun).len), &at));
        code = span_sub(code, at + span_trim(begun).len, code.len);
        while (is_line_begun && code.len && code.s[0] == '\n')
            code = span_sub(code, 1, code.len);
    }
    buf_append(b, code.s, code.len);
    if (span_find((struct span){ p->prefix, p->prefix_len }, "[BEGIN]", &at))
        buf_puts(b, "\n[DONE]\n\nYou are an expert Python programmer, and here is your task:");
    else if (p->is_chat || p->prefix_len)
        buf_puts(b, "\n```\nThis is how it works: it is called.\n```python\nprint(1)\n```\n");
    else
        buf_puts(b, "\n\nprint(broken(\n");
    buf_release(&whole);
}

static const struct part no_parts;

static void check_form(const struct task *t, const struct task_form *f, size_t index)
{
    const struct task_def *def = task_get_def(t);
    const struct part *parts = find_parts(def->name);
    struct task_prompt p;
    struct task_reading how = { .prompt = &p };
    struct task_program program;
    struct extraction x;
    struct task_item facts;
    struct buf output = { 0 }, text = { 0 };
    struct error err = { 0 };
    json_t *record;

    task_get_item(t, index, &facts);
    cr_assert_eq(task_put_record(t, index, false, &text, &err), ST_OK);
    cr_assert_eq(json_parse(text.data, text.len, "record", 1, &record, &err), ST_OK);
    cr_assert_eq(task_make_prompt(t, index, f->name, &arena, &p, &err), ST_OK, "%s", err.text);
    put_output(&p, parts, record, &output);
    cr_assert_eq(task_extract(t, index, &how, output.data, output.len, &arena, &x, &err), ST_OK);
    cr_assert_not_null(x.text, "%s %s %s", def->name, f->name, facts.id);
    cr_assert_eq(task_make_program(t, index, &how, &x, &arena, &program, &err), ST_OK);
    /* bigcode stops at a class, which this reference begins in its second line */
    if (strcmp(f->name, "complete-bigcode") == 0 && strcmp(facts.id, "342") == 0) {
        cr_expect(!strstr(program.code, "class"));
        parts = &no_parts;
    }
    for (; parts->key; parts++) {
        struct buf part = { 0 };
        struct span s;

        put_field(&part, record, parts->key);
        s = (struct span){ part.data, part.len };
        s = parts->is_asked ? span_trim(s) : span_trim_lines(s);
        cr_expect(strstr(program.code, arena_strdup(&arena, s.s, s.len)),
                  "%s %s %s: '%s' is not in the program:\n%s\n--- output:\n%s", def->name, f->name,
                  facts.id, parts->key, program.code, output.data);
        buf_release(&part);
    }
    cr_expect(!strstr(program.code, "broken("), "%s %s %s", def->name, f->name, facts.id);
    cr_expect(!strstr(program.code, "This is how"), "%s %s %s", def->name, f->name, facts.id);
    cr_expect(!strstr(program.code, "```"), "%s %s %s", def->name, f->name, facts.id);
    json_decref(record);
    buf_release(&output);
    buf_release(&text);
    arena_clear(&arena);
}

static void check_task(const struct task_def *def)
{
    struct task *t = support_open(def->name);
    const struct task_form *f;

    for (size_t i = 0; (f = task_form_get(def, i)) != NULL; i++)
        for (size_t k = 0; k < task_n_items(t); k++)
            check_form(t, f, k);
    task_close(t);
    arena_release(&arena);
}

static bool has_reference(const struct task_def *def)
{
    return def->kind == TASK_CODE && find_parts(def->name);
}

Test(forms, a_sample_reference_continues_every_form)
{
    size_t n = 0;

    for (const struct task_def *const *d = task_table(); *d; d++)
        if (has_reference(*d) && (*d)->is_bundled) {
            check_task(*d);
            n++;
        }
    cr_expect_geq(n, 3);
}

Test(forms, every_real_reference_continues_every_form)
{
    if (!support_data_dir())
        cr_skip_test("no data folder: set DESBENCH_DATA");
    for (const struct task_def *const *d = task_table(); *d; d++)
        if (has_reference(*d) && !(*d)->is_bundled)
            check_task(*d);
}

/* ---- habits of other harnesses ---------------------------------------------------------- */

struct read {
    struct task *t;
    struct extraction x;
    struct task_program p;
};

static struct read read_as(const char *task, const char *id, const char *form, unsigned compat,
                           const char *output)
{
    struct read r = { .t = support_open(task) };
    struct task_prompt prompt;
    struct task_reading how = { .compat = compat };
    struct error err = { 0 };
    size_t i = support_index(r.t, id);

    if (form) {
        cr_assert_eq(task_make_prompt(r.t, i, form, &arena, &prompt, &err), ST_OK, "%s", err.text);
        how.prompt = &prompt;
    }
    cr_assert_eq(task_extract(r.t, i, &how, output, strlen(output), &arena, &r.x, &err), ST_OK);
    cr_assert_not_null(r.x.text);
    if (task_get_def(r.t)->kind == TASK_CODE)
        cr_assert_eq(task_make_program(r.t, i, &how, &r.x, &arena, &r.p, &err), ST_OK);
    return r;
}

static void read_release(struct read *r)
{
    task_close(r->t);
    arena_release(&arena);
}

/* Of the last line of the prompt on. */
static void expect_code(const char *task, const char *id, unsigned compat, const char *output,
                        const char *want)
{
    struct read r = read_as(task, id, NULL, compat, output);
    size_t n = strlen(r.p.code), m = strlen(want);

    cr_expect(n >= m && strcmp(r.p.code + n - m, want) == 0, "%s", r.p.code);
    read_release(&r);
}

Test(forms, opencompass_spoils_a_fenced_body)
{
    static const char body[] = "```python\n    n = 0\n    return n\n```";

    expect_code("sample_humaneval", "Sample/0", 0, body, "    \"\"\"\n    n = 0\n    return n\n");
    expect_code("sample_humaneval", "Sample/0", COMPAT_HUMANEVAL_LSTRIP, body,
                "    \"\"\"\n\nn = 0\n    return n\n");
    expect_code("sample_humaneval", "Sample/0", 0, "```\nreturn 0\n```",
                "    \"\"\"\n    return 0\n");
    expect_code("sample_humaneval", "Sample/0", COMPAT_HUMANEVAL_LSTRIP, "```\nreturn 0\n```",
                "    \"\"\"\n\nreturn 0\n");
}

Test(forms, opencompass_does_not_spoil_functions_and_plain_bodies)
{
    static const char *const outputs[] = {
        "```python\n\n def count_switches(states):\n    return 0\n```",
        "    n = 0\n    return n\n",
    };

    expect_code("sample_humaneval", "Sample/0", COMPAT_HUMANEVAL_LSTRIP, outputs[0],
                "\ndef count_switches(states):\n    return 0\n");
    expect_code("sample_humaneval", "Sample/0", COMPAT_HUMANEVAL_LSTRIP, outputs[1],
                "    \"\"\"\n\n    n = 0\n    return n\n");
}

Test(forms, only_the_first_block_counts_where_asked)
{
    static const char output[] = "```python\ndef minutes(clock):\n    return 0\n```\nand\n"
                                 "```python\ndef total_minutes(shifts):\n    return 1\n```\n";

    expect_code("sample_humaneval_pro", "1", 0, output,
                "def minutes(clock):\n    return 0\n\ndef total_minutes(shifts):\n    return 1\n");
    expect_code("sample_humaneval_pro", "1", COMPAT_PRO_FIRST_BLOCK, output,
                "def minutes(clock):\n    return 0\n");
    expect_code("sample_humaneval_pro", "1", COMPAT_PRO_FIRST_BLOCK,
                "```text\nminutes\n```\n```py\ndef total_minutes(s): pass\n```",
                "def total_minutes(s): pass\n");
    expect_code("sample_humaneval_pro", "1", COMPAT_PRO_FIRST_BLOCK, "```text\nminutes\n```\n",
                "minutes\n");
    expect_code("sample_humaneval_pro", "1", COMPAT_PRO_FIRST_BLOCK, "    return 0\n",
                "    \"\"\"\n    return 0\n");
}

Test(forms, a_tail_is_cut_at_the_first_mark_of_the_first_kind)
{
    static const struct {
        const char *code, *want;
    } cases[] = {
        { "def f(): pass\n# Test\nassert 1\nif __name__ == 'x':\n    f()\n",
          "def f(): pass\n# Test\nassert 1\n\n" },
        { "def f(): pass\n# Test\n# Example 1\nf()\n", "def f(): pass\n\n" },
        { "def f(): pass\n# Example usage\nf()\n", "def f(): pass\n\n" },
        { "def f(): pass\n# Examples\nf()\n", "def f(): pass\n# Examples\nf()\n" },
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *output = arena_printf(&arena, "```python\n%s```\n", cases[i].code);

        expect_code("sample_humaneval_pro", "1", COMPAT_PRO_SANITIZED, output, cases[i].want);
    }
}

Test(forms, setup_code_is_left_out_where_asked)
{
    struct read r = read_as("mbpp", "367", NULL, 0, "def is_tree_balanced(root): return True\n");

    cr_expect(strstr(r.p.tests, "root = Node(1)"), "%s", r.p.tests);
    read_release(&r);
    r = read_as("mbpp", "367", NULL, COMPAT_MBPP_NO_SETUP,
                "def is_tree_balanced(root): return True\n");
    cr_expect(!strstr(r.p.tests, "root = Node(1)"), "%s", r.p.tests);
    cr_expect(strstr(r.p.tests, "assert is_tree_balanced(root) == False"), "%s", r.p.tests);
    read_release(&r);
}

Test(forms, habits_are_named_in_the_checkers_version)
{
    struct buf b = { 0 };

    task_compat_put(0, &b);
    cr_expect_str_eq(buf_str(&b), "");
    task_compat_put(COMPAT_MBPP_NO_SETUP | COMPAT_HUMANEVAL_LSTRIP, &b);
    cr_expect_str_eq(buf_str(&b), "+humaneval-lstrip+mbpp-no-setup");
    buf_clear(&b);
    task_compat_put(COMPAT_PRO_SANITIZED | COMPAT_PRO_FIRST_BLOCK, &b);
    cr_expect_str_eq(buf_str(&b), "+pro-first-block+pro-sanitized");
    buf_release(&b);
}

/* ---- where answers end ------------------------------------------------------------------ */

Test(forms, code_that_a_prompt_began_is_not_searched_for)
{
    static const char output[] = "MOD = 7\n\ndef alternate(a, b):\n    return MOD\n\nassert 0\n";
    struct read r = read_as("sample_mbpp", "2", "complete-bigcode", 0, output);

    cr_expect_str_eq(r.x.method, "continued");
    cr_expect(strncmp(r.p.code, "\"\"\"\nWrite a function", 20) == 0, "%s", r.p.code);
    cr_expect(strstr(r.p.code, "\"\"\"\nMOD = 7\n\ndef alternate(a, b):\n    return MOD\n"), "%s",
              r.p.code);
    cr_expect(!strstr(r.p.code, "assert 0"));
    read_release(&r);
    r = read_as("sample_mbpp", "2", NULL, 0, output);
    cr_expect_str_eq(r.x.method, "plain");
    read_release(&r);
}

Test(forms, an_answer_with_a_number_ends_at_the_forms_stops)
{
    static const char output[] = "6 - 1 = 5, so 245.\n\nIt is over. Q: How many are 3 and 4?\nA: 7";
    struct task *t = support_open("sample_gsm8k");
    struct task_prompt prompt;
    struct task_reading how = { .prompt = &prompt };
    struct task_grade grade;
    struct extraction x;
    struct error err = { 0 };

    cr_assert_eq(task_make_prompt(t, 0, "complete-cot-0shot", &arena, &prompt, &err), ST_OK);
    cr_assert_eq(task_extract(t, 0, &how, output, strlen(output), &arena, &x, &err), ST_OK);
    cr_expect_str_eq(x.text, "245");
    cr_assert_eq(task_grade_answer(t, 0, &how, &x, output, strlen(output), &arena, &grade, &err),
                 ST_OK);
    cr_expect(grade.is_right);
    for (size_t i = 0; i < grade.n_also; i++)
        cr_expect_eq(grade.also[i].is_right, strcmp(grade.also[i].name, "strict") != 0, "%s",
                     grade.also[i].name);
    cr_assert_eq(
        task_extract_answer(task_find("gsm8k"), &how, output, strlen(output), &arena, &x, &err),
        ST_OK);
    cr_expect_str_eq(x.text, "245");
    cr_assert_eq(task_grade_answer(t, 0, NULL, &x, output, strlen(output), &arena, &grade, &err),
                 ST_OK);
    cr_expect(!grade.also[1].is_right, "without stops, the last number is the invented one");
    task_close(t);
    arena_release(&arena);
}
