/* Session: plan, open, carry out, close. */
#include "harness/session.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "harness/paths.h"
#include "harness/record.h"
#include "harness/runner.h"
#include "harness/stops.h"

/*
 * What is asked where nothing is said: the suites that the bundled model was made for. Dummy
 * weights try the plumbing only, for which a few items and the smallest shape will do.
 */
static const struct defaults {
    const char *model, *tasks;
} real_defaults = { "mini-e64", "mini-humaneval,mini-humaneval_pro,mini-mbpp,mini-gsm8k,"
                                "mini-math500" },
  dummy_defaults = { "tiny-llada-moe", "sample_humaneval,sample_humaneval_pro,sample_mbpp,"
                                       "sample_gsm8k,sample_math500" };

static const struct defaults *defaults_of(const struct options *c)
{
    return strcmp(options_text(c, OPT_LOAD_FORMAT), "dummy") == 0 ? &dummy_defaults
                                                                  : &real_defaults;
}

struct run_facts session_facts(const struct session *s)
{
    return (struct run_facts){ .plan = &s->plan,
                               .engine = s->engine,
                               .judge = s->judge,
                               .run_id = s->run_id,
                               .results_path = s->results_path,
                               .load_format = s->engine_options.load_format,
                               .memory = s->has_memory ? &s->memory : NULL,
                               .max_batch = s->engine_options.max_batch,
                               .is_json = verb_wants_json(s->c) };
}

/* A stop that came while nothing could be lost: between two steps of opening. */
static enum status check_stop(const struct session *s, struct error *err)
{
    if (!*s->n_stops)
        return ST_OK;
    if (s->is_resumed)
        return error_set(err, ST_INTERRUPTED, "interrupted before run '%s' went on", s->run_id);
    return error_set(err, ST_INTERRUPTED, "interrupted before the run began");
}

enum status session_model(const struct options *c, struct arena *a, struct engine_options *ret,
                          struct error *err)
{
    const char *name = options_text(c, OPT_MODEL), *dir;
    enum status st = path_model(name ? name : defaults_of(c)->model, a, &dir, err);

    if (st == ST_NOT_FOUND && !name)
        error_prefix(err, st,
                     "this copy of the program has no weights of its default model, and no --model "
                     "is given");
    if (st)
        return st;
    *ret = (struct engine_options){
        .model_dir = dir,
        .load_format = options_text(c, OPT_LOAD_FORMAT),
        .dummy_seed = (uint64_t)options_int(c, OPT_DUMMY_SEED),
        .backend = options_text(c, OPT_BACKEND),
        .isa = options_text(c, OPT_ISA),
        .is_fast = strcmp(options_text(c, OPT_NUMERIC), "fast") == 0,
        .n_threads = options_has(c, OPT_THREADS) ? (int)options_int(c, OPT_THREADS) : 0,
        .is_unpinned = options_flag(c, OPT_UNPINNED),
        .is_diagnosed = options_flag(c, OPT_DIAGNOSE),
        .max_batch = options_has(c, OPT_BATCH_SIZE) ? (int)options_int(c, OPT_BATCH_SIZE) : 1,
        .overrides = c->values[OPT_OVERRIDE].texts,
        .n_overrides = c->values[OPT_OVERRIDE].n,
    };
    return ST_OK;
}

const char *session_default_tasks(const struct options *c)
{
    return defaults_of(c)->tasks;
}

enum status session_plan(struct session *s, struct error *err)
{
    struct engine_options text_only;
    struct engine *e = s->engine;
    enum status st;

    s->n_stops = stops_catch();
    st = session_model(s->c, &s->arena, &s->engine_options, err);
    if (st)
        return st;
    s->engine_options.n_stops = s->n_stops;
    text_only = s->engine_options;
    text_only.is_text_only = true;
    st = plan_tasks(s->c, session_default_tasks(s->c), &s->plan, err);
    if (!st && !e)
        st = engine_open(&text_only, &e, err);
    if (!st)
        st = plan_decode(s->c, e, &s->plan, err);
    if (!st)
        st = check_stop(s, err);
    s->engine_options.max_canvas = s->plan.max_canvas;
    s->engine_options.max_block = s->plan.max_block;
    s->engine = e;
    return st;
}

enum status session_plan_memory(struct session *s, struct error *err)
{
    enum status st = engine_plan_memory(&s->engine_options, &s->memory, err);

    s->has_memory = !st;
    return st == ST_NOT_FOUND ? ST_OK : st; /* a plan is of use without; loading tells */
}

static enum status load_model(struct session *s, struct error *err)
{
    enum status st;

    engine_close(s->engine);
    s->engine = NULL;
    st = session_plan_memory(s, err);
    if (st)
        return st;
    if (s->has_memory && s->memory.available_bytes < SIZE_MAX)
        log_info("loading %s (%s weights): %.3f GB of memory of %.3f GB available",
                 s->engine_options.model_dir, s->engine_options.load_format,
                 (double)s->memory.total_bytes * 1e-9, (double)s->memory.available_bytes * 1e-9);
    else
        log_info("loading %s (%s weights)", s->engine_options.model_dir,
                 s->engine_options.load_format);
    st = engine_open(&s->engine_options, &s->engine, err);
    if (st)
        return st == ST_INTERRUPTED ? check_stop(s, err) : st;
    log_info("backend %s (%s), sandbox %s; results in %s", engine_info(s->engine)->backend,
             engine_info(s->engine)->backend_details,
             s->judge ? sandbox_level_name(judge_level(s->judge)) : "not needed", s->results_path);
    if (strcmp(s->engine_options.load_format, "dummy") == 0)
        log_warn("dummy weights: speed and plumbing are real, the answers are noise");
    return check_stop(s, err);
}

enum status session_open_judge(struct session *s, struct error *err)
{
    bool has_code = false;

    for (size_t i = 0; i < s->plan.n_tasks; i++)
        has_code |= s->plan.tasks[i].def->kind == TASK_CODE;
    return has_code ? judging_open(s->c, &s->judge, err) : ST_OK;
}

enum status session_begin(struct session *s, const char *resumed_id, struct error *err)
{
    enum status st = ST_OK;

    s->is_resumed = resumed_id != NULL;
    s->run_id = resumed_id;
    if (!s->is_resumed)
        st = record_new_id(s->store, &s->arena, &s->run_id, err);
    if (!st)
        st = run_lock_take(s->results_path, s->run_id, &s->lock, err);
    if (!st)
        log_info("run %s", s->run_id);
    return st;
}

enum status session_open(struct session *s, const char *resumed_id, struct error *err)
{
    enum status st;

    s->is_resumed = resumed_id != NULL;
    s->run_id = resumed_id;
    st = path_results(s->c, !s->is_resumed, &s->arena, &s->results_path, err);
    if (!st) /* before the model: it refuses quickly */
        st = session_open_judge(s, err);
    if (!st)
        st = store_open(s->results_path, STORE_WRITE, &s->store, err);
    if (!st && s->is_resumed) /* before the model too */
        st = session_begin(s, resumed_id, err);
    if (!st)
        st = check_stop(s, err);
    if (!st)
        st = load_model(s, err);
    if (!st && !s->is_resumed)
        st = session_begin(s, NULL, err);
    return st;
}

void session_close(struct session *s)
{
    judge_close(s->judge);
    if (!s->is_shared)
        store_close(s->store);
    run_lock_release(s->lock); /* after the last word is written */
    if (!s->is_shared)
        engine_close(s->engine);
    plan_release(&s->plan);
    arena_release(&s->arena);
}

/* Rows come as their first samples were stored, which judging decides: put them in the plan's
 * order, those of cells that the plan no longer has last. */
static enum status sort_rows(const struct session *s, struct arena *a, struct task_summary *rows,
                             size_t n, struct error *err)
{
    struct cell_row *cells;
    size_t n_placed = 0;
    char key[65];
    enum status st = runner_cells(&s->plan, s->engine, a, &cells, err);

    for (size_t i = 0; i < s->plan.n_cells && !st; i++) {
        size_t k = n_placed;

        cell_key(&cells[i], key);
        while (k < n && strcmp(rows[k].cell_key, key) != 0)
            k++;
        if (k < n) {
            struct task_summary row = rows[k];

            memmove(&rows[n_placed + 1], &rows[n_placed], (k - n_placed) * sizeof(*rows));
            rows[n_placed++] = row;
        }
    }
    return st;
}

enum status session_execute(struct session *s, enum exit_code *ret_exit, struct error *err)
{
    struct runner_options o = { .plan = &s->plan,
                                .engine = s->engine,
                                .judge = s->judge,
                                .store = s->store,
                                .run_id = s->run_id,
                                .is_resumed = s->is_resumed,
                                .seed = (uint64_t)options_int(s->c, OPT_SEED),
                                .compat = judging_compat(s->c),
                                .n_slots = s->engine_options.max_batch,
                                .kernel_times = (int)options_int(s->c, OPT_KERNEL_TIMES),
                                .series = s->series,
                                .progress = options_text(s->c, OPT_PROGRESS),
                                .is_quiet = options_flag(s->c, OPT_QUIET),
                                .n_stops = s->n_stops };
    struct run_summary summary = { 0 };
    struct task_summary *rows;
    char invalid[64] = "";
    const char *status;
    size_t n;
    enum status ran, st;

    ran = runner_run(&o, &s->totals, err);
    status = !ran ? "done" : ran == ST_INTERRUPTED ? "interrupted" : "failed";
    /* the run's own error comes first: what fails while tidying up after it is not told */
    st = store_get_run(s->store, s->run_id, &s->arena, NULL, &summary, ran ? NULL : err);
    if (summary.n_internal)
        snprintf(invalid, sizeof(invalid), "%" PRId64 " internal verdicts", summary.n_internal);
    else if (ran)
        snprintf(invalid, sizeof(invalid), "%s", status);
    if (!st)
        st = record_finish(s->store, s->run_id, status, *invalid ? invalid : NULL, &s->arena, &rows,
                           &n, ran ? NULL : err);
    if (!st && !s->is_shared && (!ran || ran == ST_INTERRUPTED)) {
        struct run_facts facts = session_facts(s);

        st = sort_rows(s, &s->arena, rows, n, ran ? NULL : err);
        if (!st)
            st = run_print_results(&facts, &s->totals, rows, n, status, ran ? NULL : err);
    }
    if (summary.n_internal)
        *ret_exit = EXIT_INTERNAL;
    return ran ? ran : st;
}
