/* Stored: a walk over the runs of the file, newest first. */
#include "harness/stored.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "harness/resume.h"
#include "harness/runner.h"

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory looking for stored cells");
}

/* ---- configurations --------------------------------------------------------------------- */

static bool is_same_text(const char *a, const char *b)
{
    char *end_a, *end_b;
    double x = strtod(a, &end_a), y = strtod(b, &end_b);

    if (end_a != a && !*end_a && end_b != b && !*end_b)
        return x == y;
    return strcmp(a, b) == 0;
}

static bool is_same_value(const struct options *a, const struct options *b, enum option_id id)
{
    const struct option_value *x = &a->values[id], *y = &b->values[id];

    if (x->n != y->n)
        return false;
    for (size_t i = 0; i < x->n; i++)
        if (!is_same_text(x->texts[i], y->texts[i]))
            return false;
    return true;
}

static bool is_one_of(enum option_id id, const enum option_id *ids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

/* Do two configurations of `run` ask for the same samples? What decides tokens or verdicts but does
 * not stand here (the weights, the instruction set) is held against the cells. */
static bool is_same_work(const struct options *a, const struct options *b)
{
    static const enum option_id free_ones[] = { OPT_CONFIG,  OPT_DATA_DIR,      OPT_ISA,
                                                OPT_THREADS, OPT_UNPINNED,      OPT_BATCH_SIZE,
                                                OPT_JOBS,    OPT_SANDBOX_LEVEL, OPT_OUTPUT,
                                                OPT_FORMAT,  OPT_JSON,          OPT_PROGRESS,
                                                OPT_QUIET,   OPT_VERBOSE };

    for (int i = 0; i < N_OPTIONS; i++)
        if (!is_one_of((enum option_id)i, free_ones, sizeof(free_ones) / sizeof(free_ones[0])) &&
            !is_same_value(a, b, (enum option_id)i))
            return false;
    return true;
}

/* Would they seed and grade a sample alike? */
static bool is_same_judging(const struct options *a, const struct options *b)
{
    static const enum option_id ids[] = {
        OPT_SEED,          OPT_TIMEOUT,          OPT_WALL_TIMEOUT,
        OPT_MEMORY,        OPT_HUMANEVAL_LSTRIP, OPT_PRO_FIRST_BLOCK,
        OPT_PRO_SANITIZED, OPT_MBPP_NO_SETUP
    };

    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
        if (!is_same_value(a, b, ids[i]))
            return false;
    return true;
}

static bool is_finished(const struct run_summary *r)
{
    return strcmp(r->status, "done") == 0 && strcmp(r->validity, "VALID") == 0;
}

/* The options of a run. *ret_is: it is one of `run` or `sweep` that this program understands. */
static enum status read_run(struct store *store, const char *run_id, struct arena *a,
                            struct run_row *ret_row, struct options *ret, bool *ret_is,
                            struct error *err)
{
    enum status st = store_get_run(store, run_id, a, ret_row, NULL, err);

    *ret_is = false;
    if (st)
        return st;
    st = resume_options(ret_row, ret, err);
    *ret_is = !st;
    return st == ST_NOMEM ? st : ST_OK;
}

enum status stored_find_unfinished(struct store *store, const struct options *c, struct arena *a,
                                   bool *ret_found, struct run_row *ret, struct error *err)
{
    struct run_summary *runs;
    size_t n = 0;
    enum status st = store_list_runs(store, a, &runs, &n, err);
    bool is_same = false;

    *ret_found = false;
    for (size_t i = 0; i < n && !is_same && !st; i++) {
        struct options o = { 0 };
        struct run_row row;
        bool is_run;

        st = read_run(store, runs[i].run_id, a, &row, &o, &is_run, err);
        if (st || !is_run)
            continue;
        is_same = is_same_work(c, &o);
        options_release(&o);
        if (is_same && !is_finished(&runs[i])) {
            *ret_found = true;
            *ret = row;
        }
    }
    return st;
}

/* ---- cells ------------------------------------------------------------------------------ */

/* All samples of a cell in one run? */
static enum status is_complete(struct session *s, size_t cell, const char *run_id, bool *ret,
                               struct error *err)
{
    const struct plan_task *t = s->cells[cell].cell.task;
    enum status st = ST_OK;
    bool has = true;

    for (size_t i = 0; i < t->n_items && has && !st; i++) {
        struct task_item facts;
        struct item_row row = runner_item(t, t->items[i], &facts);

        for (int k = 0; k < s->plan.n_samples && has && !st; k++)
            st = store_has_sample(s->store, run_id, s->cells[cell].key, &row, k, &has, err);
    }
    if (st == ST_MISMATCH) { /* an item that read otherwise then */
        has = false;
        st = ST_OK;
    }
    *ret = has && !st;
    return st;
}

/* Which cells of the plan does this run hold? */
static enum status look_into(struct session *s, const char *run_id, bool is_own, struct arena *a,
                             struct error *err)
{
    struct cell_row *held;
    const char *checkers, *checker;
    size_t n = 0;
    enum status st = store_run_cells(s->store, run_id, a, &held, &n, &checkers, err);

    if (st)
        return st;
    checker = judging_checker(judging_compat(s->c), a);
    if (!checker)
        return no_memory(err);
    if (!is_own && strcmp(checkers, checker) != 0)
        return ST_OK;
    for (size_t i = 0; i < n && !st; i++) {
        char key[65];
        bool is_all = true;

        cell_key(&held[i], key);
        for (size_t k = 0; k < s->n_cells && !st; k++) {
            struct session_cell *c = &s->cells[k];

            if (c->run_id || !*key || strcmp(c->key, key) != 0)
                continue;
            if (!is_own)
                st = is_complete(s, k, run_id, &is_all, err);
            if (!st && is_all) {
                c->run_id = run_id;
                c->is_stored = !is_own;
            }
        }
    }
    return st;
}

/* Is what was judged there judged alike here? */
static bool is_same_judge(const struct session *s, const struct run_row *row)
{
    return !s->judge || !row->python_version ||
           strcmp(row->python_version, judge_python_version(s->judge)) == 0;
}

static enum status list_cells(struct session *s, struct arena *a, struct error *err)
{
    struct cell_row *rows;
    enum status st = runner_cells(&s->plan, s->engine, a, &rows, err);

    if (st)
        return st;
    s->n_cells = s->plan.n_cells;
    s->cells = arena_array(&s->arena, s->n_cells, sizeof(*s->cells));
    if (!s->cells)
        return no_memory(err);
    for (size_t i = 0; i < s->n_cells; i++) {
        s->cells[i].cell = s->plan.cells[i];
        cell_key(&rows[i], s->cells[i].key);
        if (!*s->cells[i].key)
            return no_memory(err);
    }
    return ST_OK;
}

enum status stored_skip(struct session *s, struct error *err)
{
    struct arena a = { 0 };
    struct run_summary *runs;
    bool *is_stored = NULL;
    size_t n = 0, n_stored = 0;
    enum status st = list_cells(s, &a, err);

    if (!st)
        st = store_list_runs(s->store, &s->arena, &runs, &n, err);
    if (!st && s->is_resumed)
        st = look_into(s, s->run_id, true, &a, err);
    for (size_t i = 0; i < n && !st; i++) {
        struct options o = { 0 };
        struct run_row row;
        bool is_run;

        if (!is_finished(&runs[i]))
            continue;
        st = read_run(s->store, runs[i].run_id, &a, &row, &o, &is_run, err);
        if (st || !is_run)
            continue;
        if (is_same_judging(s->c, &o) && is_same_judge(s, &row))
            st = look_into(s, runs[i].run_id, false, &a, err);
        options_release(&o);
    }
    is_stored = arena_array(&a, s->n_cells, sizeof(*is_stored));
    if (!st && !is_stored)
        st = no_memory(err);
    if (!st) {
        for (size_t i = 0; i < s->n_cells; i++)
            n_stored += is_stored[i] = s->cells[i].is_stored;
        plan_drop_cells(&s->plan, is_stored);
        if (n_stored)
            log_info("%zu of %zu cells are in finished runs of %s", n_stored, s->n_cells,
                     s->results_path);
    }
    arena_release(&a);
    return st;
}
