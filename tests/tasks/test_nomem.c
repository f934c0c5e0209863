/*
 * Memory that runs out: everything that is done with an item, for every format and prompt form,
 * with each allocation failing once, those of jansson, zlib and GMP among them.
 */
#include "support.h"

#include <unistd.h>
#include <zlib.h>

#include "tasks/python_literal.h"
#include "tests/base/fail_malloc.h"

/* A folder with the files of the public data sets, made of two bundled items each. */
static char dir[64];

static const char sanitized[] =
    "[{\"source_file\":\"x\",\"task_id\":11,\"prompt\":\"Add one.\",\"code\":\"def f(x):\\n    "
    "return x + 1\",\"test_imports\":[\"import math\"],\"test_list\":[\"assert f(1) == 2\"]},\n"
    "{\"source_file\":\"x\",\"task_id\":12,\"prompt\":\"Add two.\",\"code\":\"def f(x):\\n    "
    "return x + 2\",\"test_imports\":[],\"test_list\":[\"assert f(1) == 3\"]}]";

static void write_file(const char *name, const void *data, size_t len)
{
    struct error err = { 0 };
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    cr_assert_eq(file_write_atomic(path, data, len, &err), ST_OK, "%s", err.text);
}

static void write_gzip(const char *name, const struct buf *b)
{
    char path[256];
    gzFile f;

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = gzopen(path, "wb");
    cr_assert_eq(gzwrite(f, b->data, (unsigned)b->len), (int)b->len);
    cr_assert_eq(gzclose(f), Z_OK);
}

static void write_sample(const char *sample, const char *name)
{
    struct error err = { 0 };
    struct buf b = { 0 };
    char *second;

    cr_assert_eq(file_read(support_path("DESBENCH_SOURCE", sample), 1 << 20, &b, &err), ST_OK, "%s",
                 err.text);
    if (b.data[0] == '{' && strcmp(name, "mbpp.jsonl") != 0) { /* of lines, the first two */
        second = strchr(strchr(b.data, '\n') + 1, '\n');
        b.len = (size_t)(second - b.data);
    }
    if (strstr(name, ".gz"))
        write_gzip(name, &b);
    else
        write_file(name, b.data, b.len);
    buf_release(&b);
}

static void put_turns(struct buf *b, const char *key, int n)
{
    buf_printf(b, "\"%s\":{\"turns\":[", key);
    for (int i = 0; i < n; i++)
        buf_printf(b, "%s{\"role\":\"HUMAN\",\"text\":\"q%d\"},{\"role\":\"BOT\",\"text\":\"a\"}",
                   i ? "," : "", i);
    buf_puts(b, "]}");
}

static void put_shots(struct buf *b, const char *key, const char *shot, int n)
{
    buf_printf(b, ",\"%s\":{\"shots\":[", key);
    for (int i = 0; i < n; i++)
        buf_printf(b, "%s%s", i ? "," : "", shot);
    buf_puts(b, "]}");
}

static void set_up(void)
{
    struct buf b = { 0 };

    snprintf(dir, sizeof(dir), "/tmp/desbench-nomem-XXXXXX");
    cr_assert_not_null(mkdtemp(dir));
    write_sample("tasks/sample/humaneval.jsonl", "HumanEval.jsonl.gz");
    write_sample("tasks/sample/humaneval_pro.json", "humaneval_pro.json");
    write_sample("tasks/sample/mbpp.jsonl", "mbpp.jsonl");
    write_sample("tasks/sample/gsm8k.jsonl", "gsm8k_test.jsonl");
    for (int i = 0; i < 6; i++)
        buf_puts(&b, "{\"question\":\"q\",\"answer\":\"#### 1\"}\n");
    write_file("gsm8k_train.jsonl", b.data, b.len);
    buf_clear(&b);
    write_sample("tasks/sample/math500.jsonl", "math500.jsonl");
    write_file("sanitized-mbpp.json", sanitized, sizeof(sanitized) - 1);
    buf_puts(&b, "{");
    put_turns(&b, "mbpp_opencompass_3shot", 3);
    buf_puts(&b, ",");
    put_turns(&b, "gsm8k_opencompass_4shot", 4);
    buf_puts(&b, ",");
    put_turns(&b, "mbpp_opencompass_mdblock_3shot", 3);
    buf_puts(&b, ",");
    put_turns(&b, "math_opencompass_4shot", 4);
    put_shots(&b, "gsm8k_dinfer_4shot", "{\"question\":\"q\",\"answer\":\"a\"}", 4);
    put_shots(&b, "gsm8k_cot_lm_eval_8shot", "{\"question\":\"q\",\"target\":\"The answer is 1.\"}",
              8);
    put_shots(&b, "minerva_math_lm_eval_4shot", "{\"problem\":\"p\",\"solution\":\"s\"}", 4);
    buf_puts(&b, "}");
    write_file("fewshot.json", b.data, b.len);
    buf_release(&b);
}

static void tear_down(void)
{
    static const char *const files[] = { "HumanEval.jsonl.gz",  "humaneval_pro.json",
                                         "mbpp.jsonl",          "gsm8k_test.jsonl",
                                         "math500.jsonl",       "fewshot.json",
                                         "sanitized-mbpp.json", "gsm8k_train.jsonl" };
    char path[256];

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, files[i]);
        unlink(path);
    }
    rmdir(dir);
}

TestSuite(nomem, .init = set_up, .fini = tear_down);

/* All that is done with an item. */
static enum status use(const struct task *t, const char *form, struct arena *arena,
                       struct error *err)
{
    static const char output[] = "```python\ndef minutes(c): pass\n```\n"
                                 "  ```python\n  def total_minutes(s): pass\n  ```\n{\\boxed{5}}";
    const struct task_def *def = task_get_def(t);
    struct task_prompt prompt;
    struct task_reading how = { .prompt = &prompt };
    struct extraction x;
    struct task_program program;
    struct task_grade grade;
    const struct task_mutant *mutants;
    struct buf record = { 0 };
    const char *reference;
    size_t len, n_mutants;
    bool is_equal;
    enum status st;

    st = task_make_prompt(t, 1, form, arena, &prompt, err);
    if (!st)
        st = task_extract(t, 1, &how, output, sizeof(output) - 1, arena, &x, err);
    if (!st)
        st = task_make_reference(t, 1, arena, &reference, &len, err);
    if (!st)
        st = task_put_record(t, 1, true, &record, err);
    buf_release(&record);
    if (!st)
        st = task_make_mutants(t, 1, 8, arena, &mutants, &n_mutants, err);
    if (st)
        return st;
    if (!x.text) /* a stop of the form cut it all */
        x = (struct extraction){ .text = "pass", .len = 4, .method = "fence" };
    if (def->kind == TASK_CODE)
        return task_make_program(t, 1, &how, &x, arena, &program, err);
    st = task_grade_answer(t, 1, &how, &x, output, sizeof(output) - 1, arena, &grade, err);
    return st ? st : task_equal(def, "2^{100}\\sqrt{2}/3", 17, "0.5", 3, &is_equal, err);
}

struct use {
    const struct task_def *def;
    const char *form;
};

static enum status open_and_use(void *arg, struct error *err)
{
    const struct use *u = arg;
    struct arena arena = { 0 };
    struct task *t = NULL;
    enum status st = task_open(u->def, dir, false, &t, err);

    if (!st)
        st = use(t, u->form, &arena, err);
    task_close(t);
    arena_release(&arena);
    return st;
}

Test(nomem, every_allocation_of_a_task_may_fail)
{
    static const char *const names[] = { "humaneval",           "humaneval_pro", "mbpp_all",
                                         "mbpp_sanitized_test", "gsm8k",         "math500" };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct use u = { .def = task_find(names[i]) };
        struct fail_sweep s = { .f = open_and_use, .arg = &u };
        const struct task_form *form;
        char what[100];

        for (size_t k = 0; (form = task_form_get(u.def, k)) != NULL; k++) {
            u.form = form->name;
            snprintf(what, sizeof(what), "%s, %s", names[i], form->name);
            s.what = what;
            cr_expect_gt(fail_malloc_sweep(&s), 50);
        }
    }
}

static enum status try_python_literal(void *arg, struct error *err)
{
    static const char source[] = "x = [dict(role='HUMAN', text=\"a\\n\" 'b'), ('t', 1, None)]\n"
                                 "def f():\n    return {'k': \"\"\"long\ntext\"\"\"}\n";
    enum python_place place = *(enum python_place *)arg;
    json_t *v = NULL;
    enum status st = python_literal_read(span_of(source), "x.py", place,
                                         place == PYTHON_ASSIGNED ? "x" : "f", &v, err);

    if (st)
        cr_expect_null(v);
    json_decref(v);
    return st;
}

Test(nomem, every_allocation_of_a_python_literal_may_fail)
{
    for (enum python_place place = PYTHON_ASSIGNED; place <= PYTHON_RETURNED; place++) {
        struct fail_sweep s = { "python_literal_read", try_python_literal, &place, 0, NULL };

        cr_expect_gt(fail_malloc_sweep(&s), 3);
    }
}
