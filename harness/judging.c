/* Opening the judge from options, and the way of an answer from its text to a verdict. */
#include "harness/judging.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"

static const char checker_version[] = "checks-2";

unsigned judging_compat(const struct options *c)
{
    static const struct {
        enum option_id option;
        enum task_compat habit;
    } habits[] = {
        { OPT_HUMANEVAL_LSTRIP, COMPAT_HUMANEVAL_LSTRIP },
        { OPT_PRO_FIRST_BLOCK, COMPAT_PRO_FIRST_BLOCK },
        { OPT_PRO_SANITIZED, COMPAT_PRO_SANITIZED },
        { OPT_MBPP_NO_SETUP, COMPAT_MBPP_NO_SETUP },
    };
    unsigned compat = 0;

    for (size_t i = 0; i < sizeof(habits) / sizeof(habits[0]); i++)
        if (options_flag(c, habits[i].option))
            compat |= habits[i].habit;
    return compat;
}

enum status judging_options(const struct options *c, struct judge_options *ret, struct error *err)
{
    double cpu = options_real(c, OPT_TIMEOUT), wall = 2 * cpu;

    if (options_has(c, OPT_WALL_TIMEOUT))
        wall = options_real(c, OPT_WALL_TIMEOUT);
    if (wall < cpu)
        return error_set(err, ST_INVALID,
                         "option '--wall-timeout' %g is less than '--timeout' %g: processor time "
                         "would never decide",
                         wall, cpu);
    judge_default_options(ret);
    ret->n_workers = options_has(c, OPT_JOBS) ? (int)options_int(c, OPT_JOBS) : 0;
    ret->cpu_limit_ns = (int64_t)(cpu * 1e9);
    ret->wall_limit_ns = (int64_t)(wall * 1e9);
    ret->memory_bytes = options_int(c, OPT_MEMORY) << 20;
    if (options_has(c, OPT_SANDBOX_LEVEL)) {
        ret->is_level_auto = false;
        if (!sandbox_level_parse(options_text(c, OPT_SANDBOX_LEVEL), &ret->level))
            return error_set(err, ST_INVALID, "option '--sandbox-level': unknown level '%s'",
                             options_text(c, OPT_SANDBOX_LEVEL));
    }
    return ST_OK;
}

enum status judging_open_with(const struct judge_options *o, struct judge **ret, struct error *err)
{
    enum status st = judge_open(o, ret, err);

    if (st == ST_UNSUPPORTED) /* the machine lacks it: an environment fault, not a usage one */
        st = error_prefix(err, ST_NOT_FOUND,
                          "cannot judge safely here; `desbench sandbox check` says more");
    return st;
}

enum status judging_open(const struct options *c, struct judge **ret, struct error *err)
{
    struct judge_options o;
    enum status st = judging_options(c, &o, err);

    return st ? st : judging_open_with(&o, ret, err);
}

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory judging an answer");
}

const char *judging_checker(unsigned compat, struct arena *arena)
{
    struct buf b = { 0 };
    const char *text;

    buf_puts(&b, checker_version);
    task_compat_put(compat, &b);
    text = buf_ok(&b) ? arena_strdup(arena, buf_str(&b), b.len) : NULL;
    buf_release(&b);
    return text;
}

static enum status grade(struct judging *q, struct answer *a, const struct extraction *x,
                         struct error *err)
{
    struct verdict_row *v = &a->row->verdict;
    struct buf also = { 0 };
    struct task_grade result;
    int64_t start_ns = clock_mono_ns();
    enum status st;

    st = task_grade_answer(a->task, a->item, &a->how, x, a->row->raw_output, a->row->raw_output_len,
                           a->arena, &result, err);
    if (st)
        return st;
    v->verdict = verdict_name(result.is_right ? VERDICT_PASS : VERDICT_FAIL);
    v->is_passed = result.is_right;
    v->attempts = 1;
    v->wall_ns = clock_mono_ns() - start_ns;
    for (size_t i = 0; i < result.n_also; i++)
        buf_printf(&also, "%s\"%s\":%s", i ? "," : "{", result.also[i].name,
                   result.also[i].is_right ? "true" : "false");
    if (result.n_also) {
        buf_putc(&also, '}');
        v->also_json = buf_ok(&also) ? arena_strdup(a->arena, also.data, also.len) : NULL;
        if (!v->also_json)
            st = no_memory(err);
    }
    buf_release(&also);
    return st ? st : q->done(a->owner, q->arg, err);
}

struct judge_job judging_job(const struct task_program *p)
{
    return (struct judge_job){ .code = p->code,
                               .code_len = p->code_len,
                               .tests = p->tests,
                               .tests_len = p->tests_len,
                               .helpers = p->helpers,
                               .helpers_len = p->helpers_len,
                               .entry_point = p->entry_point,
                               .mode = p->is_shared ? JUDGE_ONE_PROCESS : JUDGE_TWO_PROCESS };
}

enum status judging_put(struct judging *q, struct answer *a, struct error *err)
{
    struct verdict_row *v = &a->row->verdict;
    struct task_program program;
    struct judge_job job;
    struct extraction x;
    enum status st = task_extract(a->task, a->item, &a->how, a->row->raw_output,
                                  a->row->raw_output_len, a->arena, &x, err);

    if (st)
        return st;
    a->row->extracted = x.text;
    a->row->extraction_method = x.method;
    *v = (struct verdict_row){ .checker_version = judging_checker(a->how.compat, a->arena) };
    if (!v->checker_version)
        return no_memory(err);
    if (task_get_def(a->task)->kind == TASK_ANSWER)
        return grade(q, a, &x, err);
    assert(q->judge);
    v->judge_mode = judge_mode_name(JUDGE_TWO_PROCESS);
    v->sandbox_level = sandbox_level_name(judge_level(q->judge));
    if (!x.text) {
        v->verdict = verdict_name(VERDICT_NO_CODE);
        v->attempts = 1;
        return q->done(a->owner, q->arg, err);
    }
    st = task_make_program(a->task, a->item, &a->how, &x, a->arena, &program, err);
    if (st)
        return st;
    a->id = q->next_id++;
    job = judging_job(&program);
    job.id = a->id;
    v->judge_mode = judge_mode_name(job.mode);
    st = judge_submit(q->judge, &job, err);
    if (st)
        return st;
    a->next = q->waiting;
    q->waiting = a;
    q->n_waiting++;
    return ST_OK;
}

enum status judging_collect(struct judging *q, int64_t timeout_ns, bool *ret_has, struct error *err)
{
    struct judge_result result;
    struct answer **link = &q->waiting, *a;
    struct verdict_row *v;
    enum status st;

    *ret_has = false;
    if (!q->n_waiting)
        return ST_OK;
    st = judge_wait(q->judge, timeout_ns, &result, ret_has, err);
    if (st || !*ret_has)
        return st;
    while (*link && (*link)->id != result.id)
        link = &(*link)->next;
    a = *link;
    if (!a)
        return error_set(err, ST_INTERNAL, "the judge returned unknown job %" PRIu64, result.id);
    *link = a->next;
    q->n_waiting--;
    v = &a->row->verdict;
    v->verdict = result.verdict == VERDICT_SIGNAL
                     ? arena_printf(a->arena, "signal:%d", result.signal)
                     : verdict_name(result.verdict);
    v->first_verdict = result.attempts > 1 ? verdict_name(result.first_verdict) : NULL;
    v->is_passed = result.verdict == VERDICT_PASS;
    v->is_near_limit = result.is_near_limit;
    v->attempts = result.attempts;
    v->signal = result.signal;
    v->details = result.details;
    v->stdout_tail = result.stdout_tail;
    v->stderr_tail = result.stderr_tail;
    v->cpu_ns = result.cpu_ns;
    v->wall_ns = result.wall_ns;
    v->max_rss_bytes = result.max_rss_bytes;
    st = v->verdict ? q->done(a->owner, q->arg, err) : no_memory(err);
    if (st) {
        a->next = q->waiting; /* for the caller to find */
        q->waiting = a;
    }
    return st;
}

size_t judging_room(const struct judging *q)
{
    return q->judge ? 64 + 4 * (size_t)judge_n_workers(q->judge) : 0;
}
