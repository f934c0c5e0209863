/*
 * `desbench validate`: are the data sets what they should be, and do their tests tell right from
 * wrong?
 *
 * Every reference goes through the same extraction, sandbox and grading as a model's answer, and
 * must pass. Then its mutants do (tasks/task.h): for code, stubs of the tested function, which
 * must fail, and programs with one operator changed, of which an item's tests should kill one
 * at least; for answers, other values, which must be rejected, and other spellings, which must be
 * accepted.
 *
 *     reference --pass--> stubs and the first N operator mutants --none killed--> more of them
 *
 * A mutant that loops for ever should not cost what a model's program may: it gets its reference's
 * CPU time four times over and half a second, once.
 */
#include "harness/validate.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "harness/judging.h"
#include "harness/verb.h"

static const char real_sets[] = "humaneval,humaneval_pro,mbpp_all,mbpp_sanitized,gsm8k,math500";

enum {
    MAX_OPERATORS = 32, /* mutants of an item that are tried while none is killed */
    MUTANT_CPU_FACTOR = 4,
    MUTANT_CPU_NS = 500000000
};

/* Job ids: task << 48 | item's position << 16 | 0 for the reference, 1 + n for a mutant. */
static uint64_t job_id(size_t task, size_t item, size_t job)
{
    return (uint64_t)task << 48 | (uint64_t)item << 16 | job;
}

static void warn(const struct plan_task *t, size_t k, const char *verdict, const char *details)
{
    struct task_item facts;

    task_get_item(t->task, t->items[k], &facts);
    log_warn("%s %s: %s%s%s", t->def->name, facts.id, verdict, *details ? ": " : "", details);
}

/* The program of an output, to the judge. */
static enum status submit(struct validation *v, uint64_t id, size_t task, size_t k,
                          const struct task_mutant *m, const char *text, size_t len,
                          bool *ret_is_submitted, struct error *err)
{
    const struct plan_task *t = &v->plan.tasks[task];
    struct validation_item *it = &v->outcomes[task].items[k];
    struct task_program program;
    struct extraction x;
    struct task_reading how = { .compat = judging_compat(v->c) };
    enum status st = task_extract(t->task, t->items[k], &how, text, len, &v->scratch, &x, err);

    *ret_is_submitted = false;
    if (st || !x.text)
        return st;
    st = task_make_program(t->task, t->items[k], &how, &x, &v->scratch, &program, err);
    if (!st) {
        struct judge_job job = judging_job(&program);

        job.id = id;
        job.cpu_limit_ns = m ? it->cpu_ns * MUTANT_CPU_FACTOR + MUTANT_CPU_NS : 0;
        job.is_tried_once = m != NULL;
        st = judge_submit(v->judge, &job, err);
    }
    if (!st) {
        it->n_pending++;
        *ret_is_submitted = true;
    }
    return st;
}

/* A mutant that did not end as it should. */
static enum status add_survivor(struct validation *v, size_t task, size_t k,
                                const struct task_mutant *m, const char *what, struct error *err)
{
    const struct plan_task *t = &v->plan.tasks[task];
    struct outcome *o = &v->outcomes[task];
    struct survivor *s = arena_alloc(&v->kept, sizeof(*s));
    struct task_item facts;

    if (s)
        *s = (struct survivor){ .item = k,
                                .kind = m->kind,
                                .name = m->name,
                                .details = arena_strdup(&v->kept, m->details, strlen(m->details)) };
    if (!s || !s->details)
        return error_set(err, ST_NOMEM, "out of memory for a survivor");
    *o->last_survivor = s;
    o->last_survivor = &s->next;
    task_get_item(t->task, t->items[k], &facts);
    log_write(m->kind == MUTANT_OPERATOR || m->is_let_through ? LOG_DEBUG : LOG_WARN,
              "%s %s: mutant %s%s%s %s", t->def->name, facts.id, m->name, *m->details ? ", " : "",
              m->details, what);
    return ST_OK;
}

static enum status make_mutants(struct validation *v, size_t task, size_t k,
                                const struct task_mutant **ret, size_t *ret_n, struct error *err)
{
    const struct plan_task *t = &v->plan.tasks[task];

    return task_make_mutants(t->task, t->items[k], MAX_OPERATORS, &v->scratch, ret, ret_n, err);
}

/* Submit an item's next mutants: the stubs and n_operators others. */
static enum status submit_mutants(struct validation *v, size_t task, size_t k, struct error *err)
{
    struct validation_item *it = &v->outcomes[task].items[k];
    const struct task_mutant *m;
    int n_left = v->n_operators;
    bool is_submitted;
    enum status st = make_mutants(v, task, k, &m, &it->n_mutants, err);

    for (; !st && it->n_next < it->n_mutants; it->n_next++) {
        if (m[it->n_next].kind == MUTANT_OPERATOR && n_left-- <= 0)
            break;
        st = submit(v, job_id(task, k, 1 + it->n_next), task, k, &m[it->n_next], m[it->n_next].text,
                    m[it->n_next].len, &is_submitted, err);
        if (!st && !is_submitted) /* a mutant is a reference's text, in which code was found */
            st = error_set(err, ST_INTERNAL, "no code found in mutant '%s'", m[it->n_next].name);
    }
    arena_clear(&v->scratch);
    return st;
}

static void judged_reference(struct validation *v, size_t task, size_t k,
                             const struct judge_result *r)
{
    struct outcome *o = &v->outcomes[task];

    o->items[k].is_ok = r->verdict == VERDICT_PASS;
    o->items[k].cpu_ns = r->cpu_ns;
    o->n_ok += r->verdict == VERDICT_PASS;
    o->cpu_ns += r->cpu_ns;
    if ((double)r->cpu_ns * 1e-9 > o->slowest_s)
        o->slowest_s = (double)r->cpu_ns * 1e-9;
    if (r->verdict != VERDICT_PASS)
        warn(&v->plan.tasks[task], k, verdict_name(r->verdict), r->details);
}

static enum status judged_mutant(struct validation *v, size_t task, size_t k, size_t n,
                                 const struct judge_result *r, struct error *err)
{
    struct outcome *o = &v->outcomes[task];
    const struct task_mutant *m;
    size_t n_mutants;
    enum status st = make_mutants(v, task, k, &m, &n_mutants, err);

    if (st)
        return st;
    m += n;
    o->mutants_cpu_ns += r->cpu_ns;
    if (r->verdict == VERDICT_INTERNAL) {
        warn(&v->plan.tasks[task], k, "internal", r->details);
    } else if (r->verdict == VERDICT_SYNTAX && m->kind == MUTANT_OPERATOR) {
        o->n_broken++;
        warn(&v->plan.tasks[task], k, "a mutant is no Python", m->details);
    } else {
        bool is_killed = r->verdict != VERDICT_PASS;

        o->mutants[m->kind].n++;
        o->mutants[m->kind].n_good += is_killed;
        o->mutants[m->kind].n_known += !is_killed && m->is_let_through;
        o->mutants[m->kind].n_timeout +=
            r->verdict == VERDICT_TIMEOUT_CPU || r->verdict == VERDICT_TIMEOUT_WALL;
        if (m->kind == MUTANT_OPERATOR) {
            o->items[k].n_operators++;
            o->items[k].n_killed += is_killed;
        }
        if (!is_killed)
            st = add_survivor(v, task, k, m, "passes the tests", err);
    }
    arena_clear(&v->scratch);
    return st;
}

/* One verdict, if there is one within timeout_ns, and what follows from it. */
static enum status collect(struct validation *v, int64_t timeout_ns, bool *ret_has,
                           struct error *err)
{
    struct judge_result r;
    struct validation_item *it;
    size_t task, k, job;
    enum status st = judge_wait(v->judge, timeout_ns, &r, ret_has, err);

    if (st || !*ret_has)
        return st;
    task = (size_t)(r.id >> 48);
    k = (size_t)(r.id >> 16 & UINT32_MAX);
    job = (size_t)(r.id & UINT16_MAX);
    if (task >= v->plan.n_tasks || k >= v->outcomes[task].n_items)
        return error_set(err, ST_INTERNAL, "the judge returned unknown job %" PRIu64, r.id);
    it = &v->outcomes[task].items[k];
    it->n_pending--;
    v->n_internal += r.verdict == VERDICT_INTERNAL;
    if (job)
        st = judged_mutant(v, task, k, job - 1, &r, err);
    else
        judged_reference(v, task, k, &r);
    /* until one operator mutant is killed, or there are no more */
    if (!st && it->n_pending == 0 && it->is_ok && v->n_operators >= 0 &&
        (job == 0 || (v->n_operators > 0 && it->n_killed == 0 && it->n_next < it->n_mutants)))
        st = submit_mutants(v, task, k, err);
    v->n_done += !st && it->n_pending == 0;
    return st;
}

/* Grade an answer, and what is to be told from it. */
static enum status validate_answer(struct validation *v, size_t task, size_t k, struct error *err)
{
    const struct plan_task *t = &v->plan.tasks[task];
    struct outcome *o = &v->outcomes[task];
    const struct task_mutant *m;
    struct task_grade grade;
    struct extraction x;
    const char *text;
    size_t len, n;
    enum status st = task_make_reference(t->task, t->items[k], &v->scratch, &text, &len, err);

    if (!st)
        st = task_extract(t->task, t->items[k], NULL, text, len, &v->scratch, &x, err);
    if (!st)
        st = task_grade_answer(t->task, t->items[k], NULL, &x, text, len, &v->scratch, &grade, err);
    if (st)
        return st;
    o->items[k].is_ok = grade.is_right;
    o->n_ok += grade.is_right;
    if (!grade.is_right)
        warn(t, k, "gold answer not recovered, found", x.text ? x.text : "nothing");
    if (v->n_operators < 0)
        return ST_OK;
    st = make_mutants(v, task, k, &m, &n, err);
    for (size_t i = 0; i < n && !st; i++) {
        bool is_good;

        st = task_extract(t->task, t->items[k], NULL, m[i].text, m[i].len, &v->scratch, &x, err);
        if (!st)
            st = task_grade_answer(t->task, t->items[k], NULL, &x, m[i].text, m[i].len, &v->scratch,
                                   &grade, err);
        if (st)
            return st;
        is_good = grade.is_right == (m[i].kind == MUTANT_REWRITE);
        o->mutants[m[i].kind].n++;
        o->mutants[m[i].kind].n_good += is_good;
        if (!is_good)
            st = add_survivor(v, task, k, &m[i],
                              m[i].kind == MUTANT_REWRITE ? "is rejected" : "is accepted", err);
    }
    return st;
}

static enum status validate_item(struct validation *v, size_t task, size_t k, struct error *err)
{
    const struct plan_task *t = &v->plan.tasks[task];
    const char *text;
    bool is_submitted = false;
    size_t len;
    enum status st;

    if (t->def->kind == TASK_ANSWER) {
        st = validate_answer(v, task, k, err);
        v->n_done++;
    } else {
        st = task_make_reference(t->task, t->items[k], &v->scratch, &text, &len, err);
        if (!st)
            st = submit(v, job_id(task, k, 0), task, k, NULL, text, len, &is_submitted, err);
        if (!st && !is_submitted) {
            warn(t, k, verdict_name(VERDICT_NO_CODE), "");
            v->n_done++;
        }
    }
    arena_clear(&v->scratch);
    return st;
}

static enum status validate_all(struct validation *v, struct error *err)
{
    bool has = true;
    enum status st = ST_OK;

    for (size_t i = 0; i < v->plan.n_tasks && !st; i++) {
        for (size_t k = 0; k < v->plan.tasks[i].n_items && !st; k++) {
            st = validate_item(v, i, k, err);
            if (st) {
                error_prefix(err, st, "task '%s'", v->plan.tasks[i].def->name);
                break;
            }
            for (has = v->judge != NULL; has && !st;)
                st = collect(v, judge_n_pending(v->judge) > 256 ? -1 : 0, &has, err);
            progress_update(&v->progress, v->n_done, (double)v->n_done, "%s",
                            v->plan.tasks[i].def->name);
        }
    }
    while (!st && v->judge && judge_n_pending(v->judge)) {
        st = collect(v, 200000000, &has, err);
        progress_update(&v->progress, v->n_done, (double)v->n_done, "judging");
    }
    return st;
}

static enum status make_outcomes(struct validation *v, struct error *err)
{
    v->outcomes = arena_array(&v->kept, v->plan.n_tasks, sizeof(*v->outcomes));
    for (size_t i = 0; v->outcomes && i < v->plan.n_tasks; i++) {
        struct outcome *o = &v->outcomes[i];

        o->n_items = v->plan.tasks[i].n_items;
        o->last_survivor = &o->survivors;
        o->items = arena_array(&v->kept, o->n_items, sizeof(*o->items));
        if (!o->items)
            v->outcomes = NULL;
    }
    return v->outcomes ? ST_OK : error_set(err, ST_NOMEM, "out of memory validating");
}

static enum status run(const struct options *c, enum exit_code *ret_exit, struct error *err)
{
    struct validation v = { .c = c, .n_operators = (int)options_int(c, OPT_MUTANTS) };
    size_t n_total = 0;
    bool has_code = false;
    enum status st;

    st = plan_tasks(c, real_sets, &v.plan, err);
    for (size_t i = 0; i < v.plan.n_tasks; i++) {
        has_code |= v.plan.tasks[i].def->kind == TASK_CODE;
        n_total += v.plan.tasks[i].n_items;
    }
    if (!st)
        st = make_outcomes(&v, err);
    if (!st && has_code)
        st = judging_open(c, &v.judge, err);
    if (!st) {
        progress_start(&v.progress, options_text(c, OPT_PROGRESS), options_flag(c, OPT_QUIET),
                       n_total, (double)n_total);
        st = validate_all(&v, err);
        progress_stop(&v.progress);
    }
    if (!st)
        st = validation_print(&v, err);
    if (!st && v.n_internal)
        *ret_exit = EXIT_INTERNAL;
    else if (!st && !validation_is_ok(&v))
        *ret_exit = EXIT_CHECK_FAILED;
    judge_close(v.judge);
    plan_release(&v.plan);
    arena_release(&v.kept);
    arena_release(&v.scratch);
    return st;
}

const struct verb verb_validate = {
    .name = "validate",
    .bit = VERB_VALIDATE,
    .args = "",
    .summary = "prove the data sets: hashes, references that pass, mutants that fail",
    .help =
        "Feeds every reference solution and gold answer through extraction, sandbox and grading\n"
        "as if a model had written it: all must pass. Then the same with mutants: stubs of the\n"
        "tested function and wrong answers, which must all fail; other spellings of an answer,\n"
        "which must not; and references with one operator changed, of which an item's tests\n"
        "should kill one. Items where they kill none are named as too weak; -v names every\n"
        "mutant that survives. A line or two per set say what came of it, each failure is named\n"
        "on stderr, and the exit code is 1 when any failed.\n\n"
        "  desbench validate --data-dir DIR\n"
        "  desbench validate -t sample_humaneval       the bundled samples, without data\n"
        "  desbench validate -t mbpp --mutants 20 -v   look closely at the tests\n",
    .run = run,
};
