/* `desbench validate`: every reference solution through the same extraction, sandbox and grading
 * that a model's answers go through. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "harness/judging.h"
#include "harness/plan.h"
#include "harness/progress.h"
#include "harness/verb.h"

static const char real_sets[] = "humaneval,humaneval_pro,mbpp_all,mbpp_sanitized,gsm8k,math500";

struct outcome {
    size_t n_ok, n_items;
    double slowest_s;
    int64_t cpu_ns;
};

struct validation {
    const struct options *c;
    struct plan plan;
    struct judge *judge;
    struct outcome *outcomes; /* (n_tasks) */
    struct progress progress;
    size_t n_done, n_internal;
};

static void report_failure(const struct plan_task *t, size_t item, const char *verdict,
                           const char *details)
{
    struct task_item facts;

    task_get_item(t->task, item, &facts);
    log_warn("%s %s: %s%s%s", t->def->name, facts.id, verdict, *details ? ": " : "", details);
}

/* One verdict, if there is one within timeout_ns. Job ids are task << 32 | item. */
static enum status collect(struct validation *v, int64_t timeout_ns, bool *ret_has,
                           struct error *err)
{
    struct judge_result r;
    struct outcome *o;
    enum status st = judge_wait(v->judge, timeout_ns, &r, ret_has, err);

    if (st || !*ret_has)
        return st;
    if (r.id >> 32 >= v->plan.n_tasks)
        return error_set(err, ST_INTERNAL, "the judge returned unknown job %" PRIu64, r.id);
    o = &v->outcomes[r.id >> 32];
    o->n_ok += r.verdict == VERDICT_PASS;
    o->cpu_ns += r.cpu_ns;
    if ((double)r.cpu_ns * 1e-9 > o->slowest_s)
        o->slowest_s = (double)r.cpu_ns * 1e-9;
    v->n_internal += r.verdict == VERDICT_INTERNAL;
    if (r.verdict != VERDICT_PASS)
        report_failure(&v->plan.tasks[r.id >> 32], (size_t)(r.id & UINT32_MAX),
                       verdict_name(r.verdict), r.details);
    v->n_done++;
    return ST_OK;
}

/* Grade an answer at once, or hand a program to the judge. */
static enum status validate_item(struct validation *v, size_t task, size_t item, struct arena *a,
                                 struct error *err)
{
    const struct plan_task *t = &v->plan.tasks[task];
    struct task_program program;
    struct task_grade grade;
    struct extraction x;
    const char *text;
    size_t len;
    enum status st;

    st = task_make_reference(t->task, item, a, &text, &len, err);
    if (!st)
        st = task_extract(t->task, item, NULL, text, len, a, &x, err);
    if (st)
        return st;
    if (t->def->kind == TASK_ANSWER) {
        st = task_grade_answer(t->task, item, &x, text, len, a, &grade, err);
        if (st)
            return st;
        v->outcomes[task].n_ok += grade.is_right;
        v->n_done++;
        if (!grade.is_right)
            report_failure(t, item, "gold answer not recovered, found",
                           x.text ? x.text : "nothing");
        return ST_OK;
    }
    if (!x.text) {
        report_failure(t, item, verdict_name(VERDICT_NO_CODE), "");
        v->n_done++;
        return ST_OK;
    }
    st = task_make_program(t->task, item, NULL, &x, a, &program, err);
    if (st)
        return st;
    return judge_submit(v->judge,
                        &(struct judge_job){ .id = (uint64_t)task << 32 | item,
                                             .code = program.code,
                                             .code_len = program.code_len,
                                             .tests = program.tests,
                                             .tests_len = program.tests_len,
                                             .entry_point = program.entry_point },
                        err);
}

static enum status validate_all(struct validation *v, struct error *err)
{
    struct arena a = { 0 };
    bool has = true;
    enum status st = ST_OK;

    for (size_t i = 0; i < v->plan.n_tasks && !st; i++) {
        v->outcomes[i].n_items = v->plan.tasks[i].n_items;
        for (size_t k = 0; k < v->plan.tasks[i].n_items && !st; k++) {
            st = validate_item(v, i, v->plan.tasks[i].items[k], &a, err);
            arena_clear(&a);
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
    arena_release(&a);
    return st;
}

static enum status print(const struct validation *v, struct error *err)
{
    bool is_json = verb_wants_json(v->c);
    struct buf b = { 0 };
    enum status st;

    if (is_json)
        buf_puts(&b, "[");
    for (size_t i = 0; i < v->plan.n_tasks; i++) {
        const struct plan_task *t = &v->plan.tasks[i];
        const struct outcome *o = &v->outcomes[i];
        const char *what = t->def->kind == TASK_CODE ? "references pass" : "gold answers recovered";

        if (is_json) {
            buf_printf(&b,
                       "%s{\"task\":\"%s\",\"n_items\":%zu,\"n_ok\":%zu,\"sha256\":\"%s\","
                       "\"cpu_s\":%.3f,\"slowest_s\":%.3f}",
                       i ? "," : "", t->def->name, o->n_items, o->n_ok, task_sha256(t->task),
                       (double)o->cpu_ns * 1e-9, o->slowest_s);
            continue;
        }
        buf_printf(&b, "%-15s %4zu/%zu %s", t->def->name, o->n_ok, o->n_items, what);
        if (t->def->kind == TASK_CODE)
            buf_printf(&b, "  (%.1f s of CPU time, slowest %.2f s)", (double)o->cpu_ns * 1e-9,
                       o->slowest_s);
        buf_putc(&b, '\n');
    }
    if (is_json)
        buf_puts(&b, "]\n");
    st = verb_print(&b, err);
    buf_release(&b);
    return st;
}

static enum status run(const struct options *c, enum exit_code *ret_exit, struct error *err)
{
    struct validation v = { .c = c };
    size_t n_total = 0;
    bool has_code = false, is_ok = true;
    enum status st;

    st = plan_tasks(c, real_sets, &v.plan, err);
    for (size_t i = 0; i < v.plan.n_tasks; i++) {
        has_code |= v.plan.tasks[i].def->kind == TASK_CODE;
        n_total += v.plan.tasks[i].n_items;
    }
    if (!st) {
        v.outcomes = calloc(v.plan.n_tasks, sizeof(*v.outcomes));
        if (!v.outcomes)
            st = error_set(err, ST_NOMEM, "out of memory validating");
    }
    if (!st && has_code)
        st = judging_open(c, &v.judge, err);
    if (!st) {
        progress_start(&v.progress, options_text(c, OPT_PROGRESS), options_flag(c, OPT_QUIET),
                       n_total, (double)n_total);
        st = validate_all(&v, err);
        progress_stop(&v.progress);
    }
    if (!st)
        st = print(&v, err);
    for (size_t i = 0; v.outcomes && i < v.plan.n_tasks; i++)
        is_ok &= v.outcomes[i].n_ok == v.outcomes[i].n_items;
    if (!is_ok)
        *ret_exit = v.n_internal ? EXIT_INTERNAL : EXIT_CHECK_FAILED;
    judge_close(v.judge);
    free(v.outcomes);
    plan_release(&v.plan);
    return st;
}

const struct verb verb_validate = {
    .name = "validate",
    .bit = VERB_VALIDATE,
    .args = "",
    .summary = "prove the data sets: hashes, and every reference solution in the sandbox",
    .help =
        "Feeds every reference solution and gold answer through extraction, sandbox and grading "
        "as\n"
        "if a model had written it. All must pass; a line per set says so, each failure is named\n"
        "on stderr, and the exit code is 1 when any failed.\n\n"
        "  desbench validate --data-dir DIR\n"
        "  desbench validate -t sample_humaneval       the bundled samples, without data\n",
    .run = run,
};
