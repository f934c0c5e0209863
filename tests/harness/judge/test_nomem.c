/* The judge with each allocation of this process failing once. */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/base/fail_malloc.h"
#include "tests/harness/judge/support.h"

static enum status judge_one(struct judge *j, struct error *err)
{
    static const char code[] = "def add(a, b):\n    return a + b\n",
                      tests[] = "assert add(2, 3) == 5";
    struct judge_job job = { .id = 7,
                             .code = code,
                             .code_len = sizeof(code) - 1,
                             .tests = tests,
                             .tests_len = sizeof(tests) - 1,
                             .entry_point = "add" };
    struct judge_result r;
    bool has = false;
    enum status st = judge_submit(j, &job, err);

    if (st)
        return st;
    st = judge_wait(j, INT64_C(60000000000), &r, &has, err);
    cr_expect(st || (has && r.id == 7 && r.verdict == VERDICT_PASS));
    return st;
}

static enum status try_submit(void *arg, struct error *err)
{
    return judge_one(arg, err);
}

Test(judge_nomem, submitting_to_an_open_judge)
{
    struct judge_options o = small_options(1);
    struct judge *j = open_or_skip(&o);
    struct fail_sweep s = { .what = "judge_submit", .f = try_submit, .arg = j };

    cr_expect_eq(fail_malloc_sweep(&s), 0);
    judge_close(j);
}

static enum status try_open(void *arg, struct error *err)
{
    const struct judge_options *o = arg;
    struct judge *j = NULL;
    enum status st = judge_open(o, &j, err);

    if (!st)
        st = judge_one(j, err);
    judge_close(j);
    return st;
}

Test(judge_nomem, opening)
{
    struct judge_options o = small_options(1);
    struct fail_sweep s = { .what = "judge_open", .f = try_open, .arg = &o };

    judge_close(open_or_skip(&o));
    cr_expect_gt(fail_malloc_sweep(&s), 0);
}
