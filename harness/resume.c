/*
 * `desbench resume`: go on with a run that was interrupted, failed or was killed.
 *
 * The configuration is the one stored with the run. Before the first new sample everything that
 * decides answers and verdicts is held against what the run's samples were made under: cells by
 * their keys (weights, tokenizer, data, prompts, decoding, the engine's results version), the rules
 * of grading, the judge. So a resumed run is the run that was begun, or is refused (exit code 4).
 */
#include "harness/resume.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "harness/paths.h"
#include "harness/record.h"
#include "harness/run_lock.h"
#include "harness/runner.h"
#include "harness/session.h"
#include "harness/stored.h"

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory resuming");
}

/* ---- the stored configuration ----------------------------------------------------------- */

/* A stored value as the text that gave it; NULL: it has none. */
static const char *value_text(const json_t *v, struct arena *a)
{
    if (json_is_true(v))
        return "true";
    if (json_is_string(v))
        return json_string_value(v);
    if (json_is_integer(v))
        return arena_printf(a, "%lld", (long long)json_integer_value(v));
    if (json_is_real(v))
        return arena_printf(a, "%.17g", json_real_value(v));
    return NULL;
}

static enum status restore_option(const char *name, const json_t *entry, struct arena *a,
                                  struct options *ret, struct error *err)
{
    int id = options_find(VERB_RUN, name, strlen(name));
    const json_t *value = json_object_get(entry, "value");
    const char *source = json_string_value(json_object_get(entry, "source"));
    size_t n = json_is_array(value) ? json_array_size(value) : 1;
    const char **texts = arena_array(a, n, sizeof(*texts));

    if (id == N_OPTIONS)
        return error_set(err, ST_MISMATCH, "its option '%s' is unknown to this program", name);
    if (!texts)
        return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        texts[i] = value_text(json_is_array(value) ? json_array_get(value, i) : value, a);
        if (!texts[i])
            return error_set(err, ST_INVALID, "its option '%s' has no usable value", name);
    }
    /* whoever gave it, it is given now: only defaults may be read as such */
    return options_set(
        ret, (enum option_id)id, texts, n,
        source && strcmp(source, "default") == 0 ? SOURCE_DEFAULT : SOURCE_COMMAND_LINE, NULL, err);
}

/* What this call says about itself, and where things lie now or how fast they go. */
static enum status lay_over(const struct options *c, struct options *ret, struct error *err)
{
    static const enum option_id own[] = { OPT_OUTPUT,   OPT_FORMAT, OPT_JSON,
                                          OPT_PROGRESS, OPT_QUIET,  OPT_VERBOSE };
    static const enum option_id free_ones[] = { OPT_MODEL,      OPT_DATA_DIR, OPT_THREADS,
                                                OPT_BATCH_SIZE, OPT_JOBS,     OPT_ISA };
    enum status st = ST_OK;

    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]) && !st; i++)
        st = options_set(ret, own[i], c->values[own[i]].texts, c->values[own[i]].n,
                         SOURCE_COMMAND_LINE, NULL, err);
    for (size_t i = 0; i < sizeof(free_ones) / sizeof(free_ones[0]) && !st; i++)
        if (options_is_given(c, free_ones[i]))
            st = options_set(ret, free_ones[i], c->values[free_ones[i]].texts,
                             c->values[free_ones[i]].n, SOURCE_COMMAND_LINE, NULL, err);
    return st;
}

enum status resume_options(const struct run_row *row, struct options *ret, struct error *err)
{
    struct options o = { 0 };
    struct arena a = { 0 };
    json_t *config = NULL, *entry;
    const char *name;
    enum status st = options_defaults(VERB_RUN, &o, err);

    if (!st)
        st = json_parse(row->config_json, strlen(row->config_json), "its configuration", 0, &config,
                        err);
    if (!st && !json_object_get(config, "load-format"))
        st = error_set(err, ST_INVALID, "it was not made by `run`: %s", row->command);
    if (!st) {
        json_object_foreach(config, name, entry)
        {
            st = restore_option(name, entry, &a, &o, err);
            if (st)
                break;
        }
    }
    /* the level that was found then, not the best that is found now */
    if (!st && row->sandbox_level)
        st = options_set(&o, OPT_SANDBOX_LEVEL, &row->sandbox_level, 1, SOURCE_COMMAND_LINE, NULL,
                         err);
    json_decref(config);
    arena_release(&a);
    if (st)
        options_release(&o);
    else
        *ret = o;
    return st;
}

/* ---- is it the same experiment? --------------------------------------------------------- */

static void differ(struct buf *b, const char *what, const char *was, const char *is)
{
    if (strcmp(was, is) != 0)
        buf_printf(b, "%s%s was '%s', is '%s'", b->len ? "; " : "", what, was, is);
}

static void differ_int(struct buf *b, const char *what, int was, int is)
{
    if (was != is)
        buf_printf(b, "%s%s was %d, is %d", b->len ? "; " : "", what, was, is);
}

/* In the columns that decide a cell (results/cell.c). */
static void put_differences(const struct cell_row *was, const struct cell_row *is, struct buf *b)
{
    static const struct {
        const char *what;
        size_t at;
    } texts[] = {
        { "weights_sha256", offsetof(struct cell_row, weights_sha256) },
        { "config_sha256", offsetof(struct cell_row, config_sha256) },
        { "tokenizer_sha256", offsetof(struct cell_row, tokenizer_sha256) },
        { "dataset_sha256", offsetof(struct cell_row, dataset_sha256) },
        { "template_sha256", offsetof(struct cell_row, template_sha256) },
        { "prompt_form", offsetof(struct cell_row, prompt_form) },
        { "prompt_sha256", offsetof(struct cell_row, prompt_sha256) },
        { "load_format", offsetof(struct cell_row, load_format) },
        { "decoder", offsetof(struct cell_row, decoder) },
        { "cache", offsetof(struct cell_row, cache) },
        { "backend", offsetof(struct cell_row, backend) },
        { "numeric_mode", offsetof(struct cell_row, numeric_mode) },
    };

    differ_int(b, "engine_results_version", was->engine_results_version,
               is->engine_results_version);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        differ(b, texts[i].what, *(const char *const *)((const char *)was + texts[i].at),
               *(const char *const *)((const char *)is + texts[i].at));
    differ_int(b, "gen_length", was->gen_length, is->gen_length);
    differ_int(b, "block_length", was->block_length, is->block_length);
    if (was->temperature != is->temperature)
        buf_printf(b, "%stemperature was %g, is %g", b->len ? "; " : "", was->temperature,
                   is->temperature);
}

/* The cell of a stored sample must be one of those planned now. */
static enum status check_cell(const struct cell_row *was, const struct cell_row *now, size_t n_now,
                              struct error *err)
{
    struct buf b = { 0 };
    char key[65], other[65];
    enum status st;

    cell_key(was, key);
    for (size_t i = 0; i < n_now; i++) {
        cell_key(&now[i], other);
        if (*key && strcmp(key, other) == 0)
            return ST_OK;
    }
    for (size_t i = 0; i < n_now && !b.len; i++)
        if (strcmp(was->task, now[i].task) == 0 && strcmp(was->selector, now[i].selector) == 0)
            put_differences(was, &now[i], &b);
    if (!b.len)
        buf_puts(&b, "its configuration does not lead to it any more");
    st = error_set(err, ST_MISMATCH, "task '%s', selector '%s': %s", was->task, was->selector,
                   buf_str(&b));
    buf_release(&b);
    return st;
}

enum status resume_check(const struct session *s, const struct run_row *row, struct error *err)
{
    struct cell_row *was, *now;
    const char *checkers, *checker = NULL;
    struct arena a = { 0 };
    struct buf b = { 0 };
    size_t n_was;
    enum status st = store_run_cells(s->store, row->run_id, &a, &was, &n_was, &checkers, err);

    if (!st)
        st = runner_cells(&s->plan, s->engine, &a, &now, err);
    for (size_t i = 0; !st && i < n_was; i++)
        st = check_cell(&was[i], now, s->plan.n_cells, err);
    if (!st) {
        checker = judging_checker(judging_compat(s->c), &a);
        st = checker ? ST_OK : no_memory(err);
    }
    if (!st && *checkers)
        differ(&b, "the version of grading", checkers, checker);
    if (!st && s->judge && row->judge_mode && row->sandbox_level && row->python_version) {
        differ(&b, "judge_mode", row->judge_mode, judge_mode_name(JUDGE_TWO_PROCESS));
        differ(&b, "sandbox_level", row->sandbox_level, sandbox_level_name(judge_level(s->judge)));
        differ(&b, "python_version", row->python_version, judge_python_version(s->judge));
    }
    if (!st && b.len)
        st = error_set(err, ST_MISMATCH, "%s", buf_str(&b));
    if (st)
        error_prefix(err, st, "cannot resume run '%s'", row->run_id);
    buf_release(&b);
    arena_release(&a);
    return st;
}

/* ---- the verb --------------------------------------------------------------------------- */

static bool is_done(const struct run_summary *summary)
{
    return strcmp(summary->status, "done") == 0 && summary->n_internal == 0;
}

/* The run as it is stored; read only, so that a wrong name makes no file. */
static enum status find(const struct options *c, const char *name, struct arena *a,
                        const char **ret_path, struct run_row *ret, struct run_summary *ret_summary,
                        struct error *err)
{
    struct store *store = NULL;
    const char *run_id;
    enum status st = path_results(c, false, a, ret_path, err);

    if (!st)
        st = store_open(*ret_path, STORE_READ, &store, err);
    if (!st)
        st = store_find_run(store, name, a, &run_id, err);
    if (!st)
        st = store_get_run(store, run_id, a, ret, ret_summary, err);
    store_close(store);
    return st;
}

static enum status go_on(struct session *s, const struct run_row *row, enum exit_code *ret_exit,
                         struct error *err)
{
    struct run_summary summary;
    enum status st = session_plan(s, err);

    if (!st)
        st = session_open(s, row->run_id, err);
    if (!st) /* under the lock: another process may have been at it until now */
        st = store_get_run(s->store, row->run_id, &s->arena, NULL, &summary, err);
    if (!st)
        st = resume_check(s, row, err);
    if (!st && options_flag(s->c, OPT_SKIP_STORED))
        st = stored_skip(s, err);
    if (!st && !is_done(&summary))
        st = record_resume(s->store, row->run_id, err);
    return st ? st : session_execute(s, ret_exit, err);
}

static enum status run(const struct options *c, enum exit_code *ret_exit, struct error *err)
{
    struct options restored = { 0 };
    struct session s = { .c = &restored };
    struct arena a = { 0 };
    struct run_row row;
    struct run_summary summary;
    const char *path;
    enum status st = find(c, c->n_args ? c->args[0] : "last", &a, &path, &row, &summary, err);

    if (!st && is_done(&summary)) {
        run_lock_clear(path, row.run_id);
        log_info("run '%s' is done: `desbench show %s` shows it", row.run_id, row.run_id);
        arena_release(&a);
        return ST_OK;
    }
    if (!st) {
        st = resume_options(&row, &restored, err);
        if (st)
            error_prefix(err, st, "cannot resume run '%s'", row.run_id);
    }
    if (!st)
        st = lay_over(c, &restored, err);
    if (!st) {
        log_info("run '%s' (%s) has %" PRId64 " samples", row.run_id, summary.status,
                 summary.n_samples);
        st = go_on(&s, &row, ret_exit, err);
    }
    session_close(&s);
    options_release(&restored);
    arena_release(&a);
    return st;
}

const struct verb verb_resume = {
    .name = "resume",
    .bit = VERB_RESUME,
    .args = "[RUN]",
    .max_args = 1,
    .summary = "go on with a run that was interrupted, failed or killed",
    .help =
        "Carries out what a run still lacks, under the configuration stored with it and into the "
        "same run, so\n"
        "that its rows are those of a run that nothing disturbed. RUN is an id, the beginning of "
        "one, or\n"
        "`last`, which is also what it goes by without one. Samples that are stored stay, but for "
        "those\n"
        "whose verdict is `internal` (the judge's own fault), which are made again.\n\n"
        "  desbench resume                    the last run in ./runs\n"
        "  desbench resume 20261122 -o DIR    the run whose id begins so\n"
        "  desbench resume -m DIR2            its checkpoint has moved\n\n"
        "Refused with exit code 4, naming what differs, when the program, the weights, the "
        "tokenizer, the\n"
        "data, the prompts, the judge or its Python are not those that the stored samples were "
        "made with.\n"
        "Options given here say only where things lie and how fast to go. A run that another "
        "process is\n"
        "still writing is refused (exit code 3).\n\n",
    .run = run,
};
