/* What the judge's tests share. */
#ifndef TESTS_HARNESS_JUDGE_SUPPORT_H
#define TESTS_HARNESS_JUDGE_SUPPORT_H

#include <criterion/criterion.h>
#include <string.h>

#include "harness/judge/judge.h"

/* Small limits; workers as given. */
static inline struct judge_options small_options(int n_workers)
{
    struct judge_options o;

    judge_default_options(&o);
    o.n_workers = n_workers;
    o.cpu_limit_ns = 3LL * 1000000000;
    o.wall_limit_ns = 20LL * 1000000000; /* the machine may be busy */
    o.memory_bytes = 128 << 20;
    o.max_pids = 16;
    o.output_bytes = 64 << 10;
    o.disk_bytes = 4 << 20;
    return o;
}

/* Open a judge, or skip the test with the reason why this machine has none. */
static inline struct judge *open_or_skip(const struct judge_options *opts)
{
    struct judge *j = NULL;
    struct error err;
    enum status st = judge_open(opts, &j, &err);

    if (st == ST_UNSUPPORTED || st == ST_NOT_FOUND)
        cr_skip_test("%s", err.text);
    cr_assert(st == ST_OK, "%s", err.text);
    return j;
}

/* Tests see the program's add(), if it has one. */
static inline struct judge_job make_job(uint64_t id, const char *code, const char *tests)
{
    return (struct judge_job){ .id = id,
                               .code = code,
                               .code_len = strlen(code),
                               .tests = tests,
                               .tests_len = strlen(tests),
                               .entry_point = "add" };
}

static inline void submit_job(struct judge *j, const struct judge_job *job)
{
    struct error err;

    cr_assert(judge_submit(j, job, &err) == ST_OK, "%s", err.text);
}

static inline void submit(struct judge *j, uint64_t id, const char *code, const char *tests)
{
    const struct judge_job job = make_job(id, code, tests);

    submit_job(j, &job);
}

static inline struct judge_result collect(struct judge *j)
{
    struct judge_result r = { 0 };
    struct error err;
    bool has = false;

    cr_assert(judge_wait(j, -1, &r, &has, &err) == ST_OK, "%s", err.text);
    cr_assert(has);
    return r;
}

static inline struct judge_result run(struct judge *j, const char *code, const char *tests)
{
    submit(j, 1, code, tests);
    return collect(j);
}

#define expect_verdict(r, v)                                                                       \
    cr_expect((r).verdict == (v), "%s, not %s: %s | %s", verdict_name((r).verdict),                \
              verdict_name(v), (r).details, (r).stderr_tail)

#endif
