/*
 * `desbench sweep`: carry out the runs of a plan file that the results file does not hold yet.
 *
 *   plan all runs -> for each model: load it -> for each of its runs:
 *       unfinished in the file? go on with it : begin one -> leave out stored cells -> carry out
 *
 * Each run is what `run --skip-stored` would make of its options, row by row, and `resume` goes on
 * with it; all that a sweep adds is their order, and a model and a results file that stay open.
 */
#include <stdlib.h>

#include "base/log.h"
#include "harness/paths.h"
#include "harness/record.h"
#include "harness/resume.h"
#include "harness/run_lock.h"
#include "harness/stored.h"
#include "harness/sweep_print.h"
#include "harness/verb.h"

struct course {
    struct sweep *sweep;
    const char *results_path;
    struct store *store;
    struct runner_series series; /* of the run that comes next */
    enum exit_code exit;
};

/* Runs after this one, as far as is known: the cells of a model that is not open may be stored. */
static void count_rest(struct course *x, size_t group, size_t run)
{
    struct runner_series *s = &x->series;

    s->n_samples_after = 0;
    s->n_cells_after = 0;
    s->n_positions_after = 0;
    for (size_t i = 0; i < x->sweep->n_runs; i++) {
        const struct sweep_run *r = &x->sweep->runs[i];

        if (r->why_not || r->group < group || (r->group == group && i <= run))
            continue;
        s->n_samples_after += r->session.plan.n_work;
        s->n_cells_after += r->session.plan.n_cells;
        s->n_positions_after += r->session.plan.n_positions;
    }
}

/* Take up the run that was begun under these options, if there is one, else a new one. */
static enum status take_run(struct course *x, struct sweep_run *r, bool *ret_is_begun,
                            struct error *err)
{
    struct session *s = &r->session;
    struct run_row row;
    bool is_found = false;
    enum status st = stored_find_unfinished(x->store, &r->options, &s->arena, &is_found, &row, err);

    if (!st && is_found) {
        st = session_begin(s, row.run_id, err);
        if (!st)
            st = resume_check(s, &row, err);
        if (st == ST_MISMATCH) {
            log_warn("%s; a new run takes its place", err->text);
            run_lock_release(s->lock);
            s->lock = NULL;
            is_found = false;
            st = ST_OK;
        }
    }
    if (!st && !is_found)
        st = session_begin(s, NULL, err);
    *ret_is_begun = is_found;
    return st;
}

static enum status carry_out(struct course *x, size_t at, struct error *err)
{
    struct sweep_run *r = &x->sweep->runs[at];
    struct session *s = &r->session;
    bool is_begun = false;
    enum exit_code code = EXIT_DONE;
    enum status st;

    s->engine = x->sweep->groups[r->group].engine;
    s->store = x->store;
    s->results_path = x->results_path;
    st = take_run(x, r, &is_begun, err);
    if (!st)
        st = stored_skip(s, err);
    count_rest(x, r->group, at);
    x->series.n_cells_before += s->n_cells - s->plan.n_cells;
    s->series = x->series;
    if (!st && (s->plan.n_cells || is_begun)) {
        st = is_begun ? record_resume(x->store, s->run_id, err)
                      : record_begin(x->store, &r->options, s->run_id, NULL, s->judge, err);
        for (size_t i = 0; i < s->n_cells && !st; i++)
            if (!s->cells[i].run_id)
                s->cells[i].run_id = s->run_id;
        if (!st)
            st = session_execute(s, &code, err);
        x->series.n_samples_before += s->totals.n_stored;
        x->series.n_cells_before += s->plan.n_cells;
    }
    if (code != EXIT_DONE)
        x->exit = code;
    judge_close(s->judge);
    s->judge = NULL;
    run_lock_release(s->lock);
    s->lock = NULL;
    return st;
}

/* All runs of a model. */
static enum status carry_out_group(struct course *x, size_t group, struct error *err)
{
    struct sweep *w = x->sweep;
    struct sweep_group *g = &w->groups[group];
    bool has_any = false;
    enum status st = ST_OK;

    for (size_t i = 0; i < w->n_runs && !st; i++) {
        if (w->runs[i].group == group && !w->runs[i].why_not) {
            has_any = true;
            st = session_open_judge(&w->runs[i].session, err); /* before the model */
        }
    }
    if (st || !has_any)
        return st;
    engine_close(g->engine);
    g->engine = NULL;
    log_info("loading %s (%s weights)", g->options.model_dir, g->options.load_format);
    st = engine_open(&g->options, &g->engine, err);
    for (size_t i = 0; i < w->n_runs && !st; i++)
        if (w->runs[i].group == group && !w->runs[i].why_not)
            st = carry_out(x, i, err);
    engine_close(g->engine);
    g->engine = NULL;
    return st;
}

static enum status execute(struct sweep *w, const struct options *c, enum exit_code *ret_exit,
                           struct error *err)
{
    struct course x = { .sweep = w, .exit = EXIT_DONE };
    size_t n_not = 0;
    enum status ran = path_results(c, true, &w->arena, &x.results_path, err), st;

    for (size_t i = 0; i < w->n_runs; i++) {
        if (w->runs[i].why_not) {
            log_warn("not runnable: %s", w->runs[i].why_not);
            n_not++;
        }
    }
    if (!ran && n_not == w->n_runs)
        return error_set(err, ST_NOT_FOUND, "no run of the plan can be carried out here: %s",
                         w->runs[0].why_not);
    if (!ran)
        ran = store_open(x.results_path, STORE_WRITE, &x.store, err);
    for (size_t g = 0; g < w->n_groups && !ran; g++)
        ran = carry_out_group(&x, g, err);
    st = ran;
    if (x.store && (!ran || ran == ST_INTERRUPTED))
        st = sweep_print_results(w, x.store, verb_wants_json(c), ran ? NULL : err);
    store_close(x.store);
    if (n_not)
        *ret_exit = EXIT_INCOMPLETE;
    if (x.exit != EXIT_DONE)
        *ret_exit = x.exit;
    return ran ? ran : st;
}

static enum status show_config(const struct sweep *w, bool is_json, struct error *err)
{
    struct buf b = { 0 };
    enum status st;

    for (size_t i = 0; i < w->n_runs; i++) {
        if (is_json) {
            buf_puts(&b, i ? ",\n" : "[");
            options_put_json(&w->runs[i].options, &b);
        } else {
            buf_printf(&b, "%srun %zu of %zu\n", i ? "\n" : "", i + 1, w->n_runs);
            options_put_text(&w->runs[i].options, &b);
        }
    }
    if (is_json)
        buf_puts(&b, "]\n");
    st = verb_print(&b, err);
    buf_release(&b);
    return st;
}

static enum status dry_run(struct sweep *w, const struct options *c, struct error *err)
{
    struct store *store = NULL;
    const char *path;
    enum status st = path_results(c, false, &w->arena, &path, err);

    if (!st) {
        st = store_open(path, STORE_READ, &store, err);
        if (st == ST_NOT_FOUND)
            st = ST_OK;
    }
    if (!st)
        st = sweep_print_plan(w, store, verb_wants_json(c), err);
    store_close(store);
    return st;
}

static enum status run(const struct options *c, enum exit_code *ret_exit, struct error *err)
{
    struct sweep w;
    enum status st = sweep_plan(c, &w, err);

    if (!st && options_flag(c, OPT_SHOW_CONFIG))
        st = show_config(&w, verb_wants_json(c), err);
    else if (!st && options_flag(c, OPT_DRY_RUN))
        st = dry_run(&w, c, err);
    else if (!st)
        st = execute(&w, c, ret_exit, err);
    sweep_release(&w);
    return st;
}

const struct verb verb_sweep = {
    .name = "sweep",
    .bit = VERB_SWEEP,
    .args = "PLAN",
    .min_args = 1,
    .max_args = 1,
    .summary = "carry out a plan of many runs, whatever interrupts it",
    .help =
        "Carries out the cells of a plan file (docs/plans.md), all combinations of its models, "
        "tasks,\n"
        "selectors, lengths, thresholds and seeds, that the results file does not hold yet, and "
        "prints a row\n"
        "for each. Begun again after an interruption or a crash, it goes on exactly where it was; "
        "begun\n"
        "again when all is done, it prints the table. A model is loaded once for all its runs, and "
        "a prompt\n"
        "tokenized once for all cells of its task in a run.\n\n"
        "  desbench sweep mini-ci -o runs           a bundled plan\n"
        "  desbench sweep my.yaml --dry-run         its cells, sizes and expected time\n"
        "  desbench sweep my.yaml -L 10             ten items of each task only\n"
        "  desbench sweep my.yaml --cells 1/4       a quarter of each run's cells, for one of 4 "
        "machines\n\n"
        "Options given here win over the plan in all its runs. Lists are written 8,16,32 or 8-12 "
        "or "
        "8-64+8\n"
        "or 8-64*2, in the fields of a selector too: des-vote:beta=0.2,0.4. Runs that need what is "
        "not here\n"
        "are told as not runnable, and left out: the exit code is 6 then.\n",
    .run = run,
};
