/*
 * Memory that runs out: every call returns ST_NOMEM, or succeeds without what failed, and frees
 * what it had. The allocations of tasks/ and base/ fail one after the other (the linker wraps
 * them); those of jansson do not.
 */
#include "support.h"

static size_t n_left = SIZE_MAX; /* allocations that still succeed */

static bool is_spent(void)
{
    if (n_left == SIZE_MAX)
        return false;
    if (n_left == 0)
        return true;
    n_left--;
    return false;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);

void *__wrap_malloc(size_t size)
{
    return is_spent() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return is_spent() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return is_spent() ? NULL : __real_realloc(p, size);
}

/* All that is done with an item. */
static enum status use(const struct task *t, struct arena *arena, struct error *err)
{
    static const char output[] = "```python\ndef minutes(c): pass\n```\n"
                                 "  ```python\n  def total_minutes(s): pass\n  ```\n{\\boxed{5}}";
    struct task_prompt prompt;
    struct extraction x;
    struct task_program program;
    struct task_grade grade;
    const char *reference;
    size_t len;
    bool is_equal;
    enum status st;

    st = task_make_prompt(t, 1, NULL, arena, &prompt, err);
    if (!st)
        st = task_extract(t, 1, NULL, output, sizeof(output) - 1, arena, &x, err);
    if (!st)
        st = task_make_reference(t, 1, arena, &reference, &len, err);
    if (st)
        return st;
    if (task_get_def(t)->kind == TASK_CODE)
        return task_make_program(t, 1, NULL, &x, arena, &program, err);
    st = task_grade_answer(t, 1, &x, output, sizeof(output) - 1, arena, &grade, err);
    return st ? st : task_equal(task_get_def(t), "1/2", 3, "0.5", 3, &is_equal, err);
}

static void run(const char *name)
{
    const char *dir = support_path("DESBENCH_SOURCE", "tasks/sample");
    size_t n_failed = 0;

    for (size_t n = 0;; n++) {
        struct arena arena = { 0 };
        struct task *t = NULL;
        struct error err = { 0 };
        enum status st;

        n_left = n;
        st = task_open(task_find(name), dir, true, &t, &err);
        if (!st)
            st = use(t, &arena, &err);
        n_left = SIZE_MAX;
        task_close(t);
        arena_release(&arena);
        if (!st)
            break;
        cr_assert_eq(st, ST_NOMEM, "%s, allocation %zu: %s", name, n, err.text);
        cr_assert_eq(err.status, ST_NOMEM);
        n_failed++;
    }
    cr_expect_gt(n_failed, 10, "%s: only %zu allocations", name, n_failed);
}

Test(nomem, every_allocation_of_a_task_may_fail)
{
    run("sample_humaneval");
    run("sample_humaneval_pro");
    run("sample_mbpp");
    run("sample_gsm8k");
    run("sample_math500");
}
