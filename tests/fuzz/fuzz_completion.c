/*
 * Model outputs: what each task's rule takes from any text is a NUL-terminated text no longer than
 * what it came from, the same each time; code makes a program that holds it.
 *
 * First byte: the task and enum answer_kind. Second: enum task_compat, whether a prompt is
 * answered, and its form. The rest: the output.
 */
#include <string.h>

#include "tasks/task.h"
#include "tests/fuzz/fuzz.h"

static const struct {
    const char *task, *file;
} sources[] = {
    { "sample_humaneval",
      "{\"task_id\":\"T/0\",\"prompt\":\"import math\\n\\ndef helper(x):\\n    return "
      "x\\n\\n\\ndef "
      "f(x: int) -> int:\\n    \\\"\\\"\\\"Add one.\\n    >>> f(1)\\n    2\\n    \\\"\\\"\\\"\\n\","
      "\"entry_point\":\"f\",\"canonical_solution\":\"    return x + 1\\n\",\"test\":\"def "
      "check(candidate):\\n    assert candidate(1) == 2\\n\"}\n" },
    { "sample_humaneval_pro",
      "[{\"id\":0,\"raw_problem\":\"def f(x):\\n    \\\"\\\"\\\"Add one.\\\"\\\"\\\"\\n\","
      "\"raw_solution\":\"    return x + 1\\n\",\"new_problem\":\"def g(xs):\\n    "
      "\\\"\\\"\\\"Add one to each.\\\"\\\"\\\"\\n\",\"new_solution\":\"    return [f(x) for x in "
      "xs]\\n\",\"test_code\":\"assert g([1]) == [2]\\n\"}]\n" },
    { "sample_mbpp",
      "{\"text\":\"Write a function to add one.\",\"code\":\"def f(x):\\n    return x + 1\","
      "\"task_id\":1,\"test_setup_code\":\"import math\",\"test_list\":[\"assert f(1) == 2\"],"
      "\"challenge_test_list\":[]}\n" },
    { "mbpp_sanitized",
      "[{\"source_file\":\"x\",\"task_id\":11,\"prompt\":\"Add one.\",\"code\":\"def f(x):\\n    "
      "return x + 1\",\"test_imports\":[\"import math\"],\"test_list\":[\"assert f(1) == 2\"]}]" },
    { "sample_gsm8k", "{\"question\":\"1+1?\",\"answer\":\"1+1=2\\n#### 2\"}\n" },
    { "sample_math500",
      "{\"problem\":\"1+1?\",\"solution\":\"\\\\boxed{2}\",\"answer\":\"2\",\"subject\":"
      "\"Algebra\",\"level\":1,\"unique_id\":\"test/1.json\"}\n" },
};
enum { N_SOURCES = sizeof(sources) / sizeof(sources[0]) };

static struct task *tasks[N_SOURCES];

static void open_tasks(void)
{
    struct error err = { 0 };

    for (int i = 0; i < N_SOURCES; i++) {
        const struct task_def *def = task_find(sources[i].task);

        if (task_open_bytes(def, "x", sources[i].file, strlen(sources[i].file), false, &tasks[i],
                            &err))
            fprintf(stderr, "%s\n", err.text);
        REQUIRE(tasks[i]);
    }
}

/* Is x, but for its first line's indentation, in code? */
static void check_program(const struct task *t, const struct task_reading *how,
                          const struct extraction *x, struct arena *arena)
{
    struct task_program p;
    struct error err = { 0 };

    REQUIRE(task_make_program(t, 0, how, x, arena, &p, &err) == ST_OK);
    REQUIRE(p.code[p.code_len] == '\0' && p.tests[p.tests_len] == '\0' && p.tests_len > 0);
    REQUIRE(p.code_len >= x->len / 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct arena arena = { 0 };
    struct error err = { 0 };
    struct task_prompt prompt;
    struct task_reading how = { 0 };
    struct extraction x, again;
    struct task_grade grade;
    const struct task *t;
    const char *output = (const char *)data + 2;
    size_t n_forms = 0, max;

    if (!tasks[0])
        open_tasks();
    if (len < 2)
        return 0;
    t = tasks[data[0] % N_SOURCES];
    len -= 2;
    max = len;
    how.compat = data[1] & 7;
    how.kind = (enum answer_kind)(data[0] / N_SOURCES % 3);
    if (!task_takes(task_get_def(t), how.kind))
        how.kind = ANSWER_OUTPUT;
    if (data[1] & 8 && how.kind == ANSWER_OUTPUT) {
        while (task_form_get(task_get_def(t), n_forms))
            n_forms++;
        if (task_make_prompt(t, 0, task_form_get(task_get_def(t), (data[1] >> 4) % n_forms)->name,
                             &arena, &prompt, &err) == ST_OK) {
            how.prompt = &prompt;
            max += prompt.prefix_len;
        }
    }
    REQUIRE(task_extract(t, 0, &how, output, len, &arena, &x, &err) == ST_OK);
    REQUIRE(task_extract(t, 0, &how, output, len, &arena, &again, &err) == ST_OK);
    REQUIRE(!x.text == !again.text && x.method == again.method);
    if (x.text) {
        REQUIRE(x.text[x.len] == '\0' && x.len > 0 && x.method);
        /* of an answer, a quotient becomes a decimal */
        REQUIRE(x.len <= max + (task_get_def(t)->kind == TASK_ANSWER ? 24 : 1));
        REQUIRE(x.len == again.len && memcmp(x.text, again.text, x.len) == 0);
    }
    if (task_get_def(t)->kind == TASK_ANSWER) {
        REQUIRE(task_grade_answer(t, 0, &how, &x, output, len, &arena, &grade, &err) == ST_OK);
        REQUIRE(grade.n_also <= 4);
    } else if (x.text) {
        check_program(t, &how, &x, &arena);
    }
    arena_release(&arena);
    return 0;
}
