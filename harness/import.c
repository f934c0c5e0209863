/*
 * `desbench import`: results of other tools into the store, so that they can be compared, and
 * scored anew by our rules. Files are told apart by what is in them.
 */
#include "harness/import.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "harness/judge/judge.h"
#include "harness/paths.h"
#include "harness/record.h"
#include "harness/run_print.h"
#include "harness/stops.h"
#include "harness/verb.h"

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory importing");
}

/* ---- what the readers use ------------------------------------------------------------------- */

const char *import_keep(struct importing *x, const char *s, size_t len, bool *ret_is_ok)
{
    char *copy = s ? arena_strdup(&x->arena, s, len) : NULL;

    *ret_is_ok &= !s || copy;
    return copy;
}

enum status import_task(struct importing *x, const char *name, const char *what,
                        const struct plan_task **ret, struct error *err)
{
    const struct task_def *def = task_find(name);
    struct plan_task *t;
    const char *dir;
    size_t n_all = 0;
    enum status st;

    if (!def)
        return error_set(err, ST_INVALID,
                         "%s: '%.80s' is no task of ours; `-t TASK` says which it is, `desbench ls "
                         "tasks` lists them",
                         what, name);
    for (size_t i = 0; i < x->plan.n_tasks; i++) {
        if (x->plan.tasks[i].def == def) {
            *ret = &x->plan.tasks[i];
            return ST_OK;
        }
    }
    while (task_table()[n_all])
        n_all++;
    if (!x->plan.tasks) /* room for all: pointers to them stay */
        x->plan.tasks = arena_array(&x->plan.arena, n_all, sizeof(*x->plan.tasks));
    if (!x->plan.tasks)
        return no_memory(err);
    t = &x->plan.tasks[x->plan.n_tasks];
    st = path_task_dir(x->c, def, &x->arena, &dir, err);
    if (!st)
        st = task_open(def, dir, !options_flag(x->c, OPT_NO_DATA_CHECK), &t->task, err);
    if (st)
        return st;
    t->def = def;
    x->plan.n_tasks++;
    *ret = t;
    return ST_OK;
}

static bool is_same(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

enum status import_cell(struct importing *x, const struct import_file *f, const struct plan_task *t,
                        const struct cell_row *row, size_t *ret, struct error *err)
{
    const char *model = options_has(x->c, OPT_MODEL_NAME) ? options_text(x->c, OPT_MODEL_NAME)
                        : row->model                      ? row->model
                        : x->model                        ? x->model
                                                          : answers_model_name(&x->arena, f->name);
    struct import_cell *cells;
    struct cell_row *r;

    if (!model)
        return no_memory(err);
    for (size_t i = x->n_cells; i-- > 0;) { /* the last is the likeliest */
        const struct import_cell *c = &x->cells[i];

        if (c->task == t && strcmp(c->row.answers_sha256, f->sha256) == 0 &&
            is_same(c->row.prompt_form, row->prompt_form ? row->prompt_form : "unknown") &&
            is_same(c->row.selector, row->selector) && is_same(c->row.decoder, row->decoder) &&
            is_same(c->row.cache, row->cache) && is_same(c->row.backend, row->backend) &&
            c->row.gen_length == row->gen_length && c->row.block_length == row->block_length &&
            is_same(c->row.model, model)) {
            *ret = i;
            return ST_OK;
        }
    }
    if (x->n_cells == IMPORT_CELLS_MAX)
        return error_set(err, ST_INVALID, "'%s' has answers under more than %d settings", f->name,
                         IMPORT_CELLS_MAX);
    if (x->n_cells == x->cap_cells) {
        size_t cap = x->cap_cells ? 2 * x->cap_cells : 16;

        cells = realloc(x->cells, cap * sizeof(*cells));
        if (!cells)
            return no_memory(err);
        x->cells = cells;
        x->cap_cells = cap;
    }
    cells = &x->cells[x->n_cells];
    *cells = (struct import_cell){ .row = *row, .task = t };
    cells->places = arena_array(&x->arena, task_n_items(t->task), sizeof(*cells->places));
    if (!cells->places)
        return no_memory(err);
    *ret = x->n_cells++;
    r = &cells->row;
    r->task = t->def->name;
    r->dataset_sha256 = task_sha256(t->task);
    r->model = model;
    r->load_format = "external";
    r->answers_sha256 = f->sha256;
    r->prompt_form = row->prompt_form ? row->prompt_form : "unknown";
    r->architecture = row->architecture ? row->architecture : "";
    r->selector = row->selector ? row->selector : "";
    r->decoder = row->decoder ? row->decoder : "";
    r->cache = row->cache ? row->cache : "";
    r->backend = row->backend ? row->backend : "";
    r->prompt_sha256 = r->weights_sha256 = r->config_sha256 = r->tokenizer_sha256 = "";
    r->template_sha256 = r->budget = r->numeric_mode = "";
    return ST_OK;
}

enum status import_add(struct importing *x, size_t cell, size_t item, int sample_idx,
                       const char *where, const struct sample_row *row, struct error *err)
{
    const struct task_def *def = x->cells[cell].task->def;
    enum answer_kind kind = answers_kind(row->extraction_method);
    struct import_place *place = &x->cells[cell].places[item];
    struct imported *e;
    struct sample_row *r;
    char *output_sha256 = arena_alloc(&x->arena, SHA256_HEX_SIZE);
    char *prompt_sha256 = arena_alloc(&x->arena, SHA256_HEX_SIZE);
    bool is_ok = output_sha256 && prompt_sha256;
    enum status st;

    if (!task_takes(def, kind))
        return error_set(err, ST_INVALID, "%s: task '%s' does not take a %s", where, def->name,
                         answer_kind_name(kind));
    if (x->n == x->cap) {
        size_t cap = x->cap ? 2 * x->cap : 256;

        e = realloc(x->list, cap * sizeof(*e));
        if (!e)
            return no_memory(err);
        x->list = e;
        x->cap = cap;
    }
    e = &x->list[x->n];
    *e = (struct imported){ .cell = cell, .item = item, .before = place->last, .row = *row };
    e->where = import_keep(x, where, strlen(where), &is_ok);
    if (!is_ok)
        return no_memory(err);
    r = &e->row;
    r->sample_idx = sample_idx < 0 ? place->n : sample_idx;
    r->prompt = row->prompt ? row->prompt : "";
    r->stop_reason = row->stop_reason ? row->stop_reason : "unknown";
    r->prompt_sha256 = prompt_sha256;
    r->verdict.attempts = row->verdict.attempts > 0 ? row->verdict.attempts : 1;
    st = sha256_hex(r->prompt, strlen(r->prompt), prompt_sha256, err);
    if (!st && !row->tokens_sha256) {
        r->tokens_sha256 = output_sha256;
        st = sha256_hex(r->raw_output, r->raw_output_len, output_sha256, err);
    }
    if (st)
        return st;
    place->n++;
    place->last = ++x->n;
    return ST_OK;
}

enum status import_also(struct importing *x, const json_t *obj, const char *where, const char **ret,
                        struct error *err)
{
    const json_t *also = json_object_get(obj, "also");
    struct buf text = { 0 };
    bool is_ok = true;

    if (!also || json_is_null(also))
        return ST_OK;
    if (!json_is_object(also))
        return error_set(err, ST_INVALID, "%s: field 'also' must be an object", where);
    json_put_value(&text, also, JSON_COMPACT);
    *ret = import_keep(x, buf_str(&text), text.len, &is_ok);
    is_ok &= buf_ok(&text);
    buf_release(&text);
    return is_ok ? ST_OK : error_set(err, ST_NOMEM, "out of memory for %s", where);
}

enum status import_check_verdict(const char *verdict, const char *where, struct error *err)
{
    const char *signal = verdict_name(VERDICT_SIGNAL);
    size_t len = strcspn(verdict, ":"); /* the signal's number stands behind it */

    for (int i = 0; i < N_VERDICTS; i++)
        if (strcmp(verdict_name((enum verdict)i), verdict) == 0)
            return ST_OK;
    if (len == strlen(signal) && strncmp(verdict, signal, len) == 0)
        return ST_OK;
    return error_set(err, ST_INVALID, "%s: field 'verdict': '%.40s' is no verdict", where, verdict);
}

/* ---- files ---------------------------------------------------------------------------------- */

typedef enum status (*line_fn)(struct importing *x, const struct import_file *f, const json_t *obj,
                               const char *where, struct error *err);

struct line_reader {
    struct importing *x;
    const struct import_file *f;
    line_fn fn;
};

static enum status read_line(void *arg, const json_t *obj, const char *where, size_t line,
                             struct error *err)
{
    const struct line_reader *r = arg;

    (void)line;
    return r->fn(r->x, r->f, obj, where, err);
}

static bool has(const json_t *obj, const char *key)
{
    return json_object_get(obj, key) != NULL;
}

/* The reader of a file of lines, by the first of them. */
static enum status find_line_reader(const json_t *first, const char *name, line_fn *ret,
                                    struct error *err)
{
    if (has(first, "doc_id") && has(first, "resps"))
        *ret = import_lm_eval_line;
    else if (has(first, "verdict") && has(first, "task"))
        *ret = import_own_line;
    else if (has(first, "passed") && has(first, "completion"))
        *ret = import_human_eval_line;
    else if (has(first, "solution") || has(first, "completion") || has(first, "output"))
        return error_set(err, ST_INVALID,
                         "'%s' line 1: no field says whether the answer is right; `desbench score "
                         "TASK FILE` judges it",
                         name);
    else
        return error_set(err, ST_INVALID,
                         "'%s' line 1: field 'doc_id', 'verdict' or 'passed' is missing: not a "
                         "file of lm-eval, desbench or human-eval",
                         name);
    return ST_OK;
}

/* Read a file, or, with is_about, only what it says about others (lm-eval's results). */
static enum status read_file(struct importing *x, struct import_file *f, bool is_about,
                             struct error *err)
{
    size_t blank = strspn(buf_str(&f->text), " \t\r\n"), n_lines = 1;
    const char *text = buf_str(&f->text) + blank, *eol = strchr(text, '\n');
    size_t first_len = eol ? (size_t)(eol - text) : f->text.len - blank;
    json_t *obj = NULL;
    line_fn fn = NULL;
    bool is_whole = false; /* one JSON value */
    enum status st;

    for (size_t i = 0; i < blank; i++)
        n_lines += f->text.data[i] == '\n';
    if (blank == f->text.len)
        return error_set(err, ST_INVALID, "'%s' holds no answers", f->name);
    if (strncmp(text, "run_id,", 7) == 0)
        return is_about ? ST_OK : import_own_csv(x, f, err);
    st = json_parse(text, first_len, f->name, n_lines, &obj, err);
    if (st == ST_INVALID) {
        is_whole = json_parse(text, f->text.len - blank, f->name, 0, &obj, NULL) == ST_OK;
        st = is_whole ? ST_OK : st;
    }
    if (st)
        return st;
    if (has(obj, "results") && (has(obj, "configs") || has(obj, "versions")))
        st = is_about ? import_lm_eval_results(x, f, obj, err) : ST_OK;
    else if (is_about)
        st = ST_OK;
    else if (has(obj, "eval"))
        st = import_evalplus(x, f, obj, err);
    else if (is_whole && !json_is_object(obj))
        st = error_set(err, ST_INVALID, "'%s' line 1: must be an object", f->name);
    else if (!(st = find_line_reader(obj, f->name, &fn, err)))
        st =
            answers_each_line(&f->text, f->name, read_line, &(struct line_reader){ x, f, fn }, err);
    json_decref(obj);
    return st;
}

static int compare_places(const void *a, const void *b)
{
    const struct imported *x = *(const struct imported *const *)a,
                          *y = *(const struct imported *const *)b;

    if (x->cell != y->cell)
        return x->cell < y->cell ? -1 : 1;
    if (x->item != y->item)
        return x->item < y->item ? -1 : 1;
    if (x->row.sample_idx != y->row.sample_idx)
        return x->row.sample_idx < y->row.sample_idx ? -1 : 1;
    return x < y ? -1 : x > y;
}

static enum status check_twice(const struct importing *x, struct error *err)
{
    const struct imported **order = calloc(x->n, sizeof(*order));
    enum status st = ST_OK;

    if (!order)
        return no_memory(err);
    for (size_t i = 0; i < x->n; i++)
        order[i] = &x->list[i];
    qsort(order, x->n, sizeof(*order), compare_places);
    for (size_t i = 1; i < x->n && !st; i++) {
        const struct imported *a = order[i - 1], *b = order[i];
        struct task_item facts;

        if (a->cell != b->cell || a->item != b->item || a->row.sample_idx != b->row.sample_idx)
            continue;
        task_get_item(x->cells[a->cell].task->task, a->item, &facts);
        st = error_set(err, ST_INVALID, "%s: item '%s' has answer %d already in %s", b->where,
                       facts.id, a->row.sample_idx, a->where);
    }
    free(order);
    return st;
}

/* ---- storing -------------------------------------------------------------------------------- */

/* *ret_n: answers that were stored. ST_INTERRUPTED: a signal asked for an end. */
static enum status put_all(struct importing *x, struct store *store, const char *run_id,
                           const volatile sig_atomic_t *n_stops, size_t *ret_n, struct error *err)
{
    enum status st = ST_OK;

    *ret_n = 0;

    for (size_t i = 0; i < x->n_cells && !st; i++) {
        struct import_cell *c = &x->cells[i];
        const struct task_def *def = c->task->def;

        st = store_put_dataset(
            store,
            &(struct dataset_row){ .name = def->name,
                                   .sha256 = task_sha256(c->task->task),
                                   .licence = def->licence,
                                   .source = task_source(def),
                                   .n_items = (int64_t)task_n_items(c->task->task) },
            err);
        if (!st)
            st = store_put_cell(store, &c->row, c->key, err);
    }
    for (size_t i = 0; i < x->n && !st; i++) {
        struct imported *e = &x->list[i];
        const struct import_cell *c = &x->cells[e->cell];
        struct task_item facts;

        if (*n_stops)
            return error_set(err, ST_INTERRUPTED,
                             "interrupted: %zu of %zu answers stored in run '%s'", i, x->n, run_id);
        task_get_item(c->task->task, e->item, &facts);
        e->row.run_id = run_id;
        e->row.cell_key = c->key;
        e->row.item = (struct item_row){ .dataset_sha256 = task_sha256(c->task->task),
                                         .task_id = facts.id,
                                         .item_sha256 = facts.sha256,
                                         .reference_sha256 = facts.reference_sha256,
                                         .subject = facts.subject,
                                         .level = facts.level };
        st = store_put_sample(store, &e->row, err);
        *ret_n += !st;
    }
    return st;
}

static enum status store_run(struct importing *x, struct error *err)
{
    struct store *store = NULL;
    struct task_summary *rows;
    struct runner_totals totals = { 0 };
    const volatile sig_atomic_t *n_stops;
    const char *path, *run_id, *source, *status;
    size_t n;
    enum status put, st = path_results(x->c, true, &x->arena, &path, err);

    if (!st)
        st = store_open(path, STORE_WRITE, &store, err);
    if (!st)
        st = record_new_id(store, &x->arena, &run_id, err);
    n_stops = stops_catch(); /* until here an end loses nothing */
    if (!st)
        st = record_begin(store, x->c, run_id, NULL, NULL, err);
    if (st)
        goto out;
    put = put_all(x, store, run_id, n_stops, &totals.n_stored, err);
    status = !put ? "done" : put == ST_INTERRUPTED ? "interrupted" : "failed";
    /* the failure itself comes first: what fails while tidying up after it is not told */
    st = record_finish(store, run_id, status, put ? status : NULL, &x->arena, &rows, &n,
                       put ? NULL : err);
    if (st || (put && put != ST_INTERRUPTED)) {
        st = put ? put : st;
        goto out;
    }
    source = x->n_files == 1 ? arena_printf(&x->arena, "results of '%s'", x->files[0].name)
                             : arena_printf(&x->arena, "results of %zu files", x->n_files);
    if (!source) {
        st = put ? put : no_memory(err);
        goto out;
    }
    st = run_print_results(&(struct run_facts){ .plan = &x->plan,
                                                .run_id = run_id,
                                                .results_path = path,
                                                .load_format = "external",
                                                .max_batch = 1,
                                                .is_json = verb_wants_json(x->c),
                                                .source = source,
                                                .model = x->cells[0].row.model },
                           &totals, rows, n, status, put ? NULL : err);
    st = put ? put : st;
out:
    store_close(store);
    return st;
}

static enum status run(const struct options *c, enum exit_code *ret_exit, struct error *err)
{
    struct importing x = { .c = c, .lm_eval = "lm-eval" };
    enum status st = ST_OK;

    (void)ret_exit;
    x.files = calloc(c->n_args, sizeof(*x.files));
    if (!x.files)
        return no_memory(err);
    for (; x.n_files < c->n_args && !st; x.n_files++) {
        struct import_file *f = &x.files[x.n_files];

        f->name = strcmp(c->args[x.n_files], "-") == 0 ? "standard input" : c->args[x.n_files];
        st = answers_read_bytes(c->args[x.n_files], &f->text, f->sha256, err);
    }
    for (int is_about = 1; is_about >= 0; is_about--)
        for (size_t i = 0; i < x.n_files && !st; i++)
            st = read_file(&x, &x.files[i], is_about, err);
    if (!st && !x.n)
        st = error_set(err, ST_INVALID, "'%s' holds no answers", x.files[0].name);
    if (!st)
        st = check_twice(&x, err);
    if (!st)
        st = store_run(&x, err);
    for (size_t i = 0; i < c->n_args; i++)
        buf_release(&x.files[i].text);
    free(x.files);
    free(x.list);
    free(x.cells);
    plan_release(&x.plan);
    arena_release(&x.arena);
    return st;
}

const struct verb verb_import = {
    .name = "import",
    .bit = VERB_IMPORT,
    .args = "FILE...",
    .min_args = 1,
    .max_args = -1,
    .summary = "store results of other tools with the verdicts they gave",
    .help =
        "Files are told apart by what is in them, and become one run:\n\n"
        "  lm-eval       samples_TASK_DATE.jsonl (--log_samples); results_DATE.json beside it "
        "names model\n"
        "                and version\n"
        "  evalplus      SAMPLES_eval_results.json; the verdict is that of the base tests\n"
        "  human-eval    SAMPLES_results.jsonl\n"
        "  desbench      .jsonl and .csv of `export`\n\n"
        "- is standard input, .gz is inflated.\n"
        "Verdicts are stored as given, with who gave them; `desbench score RUN` judges the answers "
        "by our\n"
        "rules. A file without verdicts is for `desbench score TASK FILE`. Nothing is stored when "
        "a line\n"
        "cannot be used: it is named, exit code 2.\n\n"
        "  desbench import out/samples_gsm8k_*.jsonl out/results_*.json\n"
        "  desbench import samples_my_gsm8k.jsonl -t gsm8k --model-name MyModel\n",
    .run = run,
};
