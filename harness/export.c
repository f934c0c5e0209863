/* `desbench export`: a stored run as the files of other tools. */
#include "harness/export.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/utf8.h"
#include "harness/answers.h"
#include "harness/paths.h"
#include "harness/verb.h"

enum { NAME_BYTES_MAX = 120 }; /* of a task and selector in a file's name */

static const struct export_form forms[] = {
    { "jsonl", false, EXPORT_ALL, export_make_jsonl },
    { "csv", false, EXPORT_ALL, export_make_csv },
    { "summary-csv", false, EXPORT_ALL, export_make_summary },
    { "llama-bench", false, EXPORT_ALL, export_make_llama_bench },
    { "lm-eval", true, EXPORT_ALL, export_make_lm_eval },
    { "evalplus", true, EXPORT_EVALPLUS, export_make_evalplus },
    { "evalplus-raw", true, EXPORT_EVALPLUS, export_make_evalplus_raw },
    { "human-eval", true, EXPORT_HUMANEVAL, export_make_human_eval },
};

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory exporting a run");
}

/* ---- what the forms use --------------------------------------------------------------------- */

struct buf *export_add_file(struct exporting *x, const char *name)
{
    struct export_file *files = realloc(x->files, (x->n_files + 1) * sizeof(*files));
    char *copy = arena_strdup(&x->arena, name, strlen(name));

    if (files)
        x->files = files;
    if (!files || !copy)
        return NULL;
    files[x->n_files] = (struct export_file){ .name = copy };
    return &files[x->n_files++].text;
}

enum status export_program(const struct exporting *x, const struct export_sample *s,
                           struct arena *a, struct task_program *ret, bool *ret_has,
                           struct error *err)
{
    const struct plan_task *t = x->cells[s->cell].task;
    struct task_reading how = { .kind = s->kind };
    struct extraction found = { .text = s->s.extracted, .method = s->s.extraction_method };

    *ret_has = found.text != NULL;
    if (!found.text)
        return ST_OK;
    if (!task_takes(t->def, s->kind))
        return error_set(err, ST_MISMATCH, "task '%s' item '%s': the task does not take a %s",
                         s->s.task, s->s.task_id, answer_kind_name(s->kind));
    found.len = strlen(found.text);
    return task_make_program(t->task, s->item, &how, &found, a, ret, err);
}

/* ---- reading the run ------------------------------------------------------------------------ */

static const char *keep(struct exporting *x, const char *s, bool *ret_is_ok)
{
    char *copy = s ? arena_strdup(&x->arena, s, strlen(s)) : NULL;

    *ret_is_ok &= !s || copy;
    return copy;
}

/* A copy that outlives the store's own. */
static bool keep_sample(struct exporting *x, const struct stored_sample *s,
                        struct stored_sample *ret)
{
    const char **texts[] = { &ret->run_id,
                             &ret->task,
                             &ret->task_id,
                             &ret->prompt,
                             &ret->extracted,
                             &ret->extraction_method,
                             &ret->stop_reason,
                             &ret->tokens_sha256,
                             &ret->cell_key,
                             &ret->item.item_sha256,
                             &ret->verdict.checker_version,
                             &ret->verdict.verdict,
                             &ret->verdict.first_verdict,
                             &ret->verdict.judge_mode,
                             &ret->verdict.sandbox_level,
                             &ret->verdict.details,
                             &ret->verdict.also_json };
    bool is_ok = true;

    *ret = *s;
    ret->tokens = NULL;
    ret->n_tokens_blob = 0;
    ret->telemetry = (struct telemetry){ 0 };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        *texts[i] = keep(x, *texts[i], &is_ok);
    ret->raw_output = arena_strdup(&x->arena, s->raw_output, s->raw_output_len);
    return is_ok && ret->raw_output;
}

/* Can the form hold answers to the task? */
static bool has_form(const struct exporting *x, const char *task)
{
    switch (x->form->tasks) {
    case EXPORT_ALL: return true;
    case EXPORT_HUMANEVAL: return task_find(task) && task_takes(task_find(task), ANSWER_COMPLETION);
    case EXPORT_EVALPLUS:
        return strstr(task, "mbpp") ||
               (task_find(task) && task_takes(task_find(task), ANSWER_COMPLETION));
    }
    return false;
}

/* Is the sample among those that --tasks and --selector ask for? */
static bool is_asked(const struct exporting *x, const struct stored_sample *s)
{
    const char *tasks = options_text(x->c, OPT_TASKS); /* separated by commas */
    const char *selector = options_text(x->c, OPT_EXPORT_SELECTOR);
    bool is_found = !tasks;

    for (const char *p = tasks; p && *p && !is_found; p += strcspn(p, ","), p += *p == ',')
        is_found = strcspn(p, ",") == strlen(s->task) && strncmp(p, s->task, strlen(s->task)) == 0;
    return is_found && (!selector || strcmp(selector, s->selector) == 0);
}

static enum status add_cell(struct exporting *x, const struct stored_sample *s, size_t *ret,
                            struct error *err)
{
    struct export_cell *cells;
    bool is_ok = true;

    for (*ret = 0; *ret < x->n_cells; ++*ret)
        if (strcmp(x->cells[*ret].key, s->cell_key) == 0)
            return ST_OK;
    cells = realloc(x->cells, (x->n_cells + 1) * sizeof(*cells));
    if (!cells)
        return no_memory(err);
    x->cells = cells;
    cells[x->n_cells] = (struct export_cell){ .key = keep(x, s->cell_key, &is_ok) };
    if (!is_ok)
        return no_memory(err);
    return store_get_cell(x->store, s->cell_key, &x->arena, &cells[x->n_cells++].row, err);
}

static enum status add_sample(void *arg, const struct stored_sample *s, struct error *err)
{
    struct exporting *x = arg;
    struct export_sample *e;
    enum status st;

    if (!is_asked(x, s))
        return ST_OK;
    if (!has_form(x, s->task)) {
        x->n_left_out++;
        return ST_OK;
    }
    if (x->n_samples == x->cap_samples) {
        size_t cap = x->cap_samples ? 2 * x->cap_samples : 256;

        e = realloc(x->samples, cap * sizeof(*e));
        if (!e)
            return no_memory(err);
        x->samples = e;
        x->cap_samples = cap;
    }
    e = &x->samples[x->n_samples];
    *e = (struct export_sample){ .kind = answers_kind(s->extraction_method) };
    st = add_cell(x, s, &e->cell, err);
    if (!st && !keep_sample(x, s, &e->s))
        st = no_memory(err);
    x->n_samples += !st;
    return st;
}

/* As part of a file's name, where selectors and tasks hold what that had better not. */
static const char *make_file_name(struct exporting *x, const char *name)
{
    size_t len = strlen(name);
    char *copy = arena_strdup(&x->arena, name, len < NAME_BYTES_MAX ? len : NAME_BYTES_MAX);

    for (char *p = copy; copy && *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("._-+", *p))
            *p = '-';
    return copy;
}

/* The cell before cell i that has the same file name, or NULL. */
static const struct export_cell *find_same_name(const struct exporting *x, size_t i,
                                                const char *file_name)
{
    for (size_t k = 0; k < i; k++)
        if (strcasecmp(x->cells[k].file_name, file_name) == 0) /* some file systems do not mind */
            return &x->cells[k];
    return NULL;
}

/* A name for each cell, no two alike; the task's own where there is one cell of it. */
static enum status name_cells(struct exporting *x, struct error *err)
{
    for (size_t i = 0; i < x->n_cells; i++) {
        struct export_cell *c = &x->cells[i];
        size_t n_same = 0;
        const char *base;

        for (size_t k = 0; k < x->n_cells; k++)
            n_same += strcmp(x->cells[k].row.task, c->row.task) == 0;
        base = n_same == 1 ? c->row.task
                           : arena_printf(&x->arena, "%s-%s", c->row.task, c->row.selector);
        c->name = base;
        c->file_name = base ? make_file_name(x, base) : NULL;
        for (size_t n = 2; c->file_name && find_same_name(x, i, c->file_name); n++) {
            const char *clean = make_file_name(x, base);

            c->name = arena_printf(&x->arena, "%s-%zu", base, n);
            c->file_name = clean ? arena_printf(&x->arena, "%s-%zu", clean, n) : NULL;
        }
        if (!c->name || !c->file_name)
            return no_memory(err);
    }
    return ST_OK;
}

/* Open the data of the cells' tasks, which must be what was answered. */
static enum status open_data(struct exporting *x, struct error *err)
{
    x->plan.tasks = arena_array(&x->plan.arena, x->n_cells, sizeof(*x->plan.tasks));
    if (!x->plan.tasks)
        return no_memory(err);
    for (size_t i = 0; i < x->n_cells; i++) {
        struct export_cell *c = &x->cells[i];
        struct plan_task *t = NULL;
        const char *dir;
        enum status st;

        for (size_t k = 0; k < x->plan.n_tasks; k++)
            if (strcmp(x->plan.tasks[k].def->name, c->row.task) == 0)
                t = &x->plan.tasks[k];
        if (!t) {
            t = &x->plan.tasks[x->plan.n_tasks];
            t->def = task_find(c->row.task);
            if (!t->def)
                return error_set(err, ST_INVALID, "the run has samples of unknown task '%s'",
                                 c->row.task);
            st = path_task_dir(x->c, t->def, &x->arena, &dir, err);
            if (!st)
                st = task_open(t->def, dir, !options_flag(x->c, OPT_NO_DATA_CHECK), &t->task, err);
            if (st)
                return st;
            x->plan.n_tasks++;
        }
        c->task = t;
        if (strcmp(task_sha256(t->task), c->row.dataset_sha256) != 0)
            return error_set(err, ST_MISMATCH,
                             "data of task '%s' are not those that were answered: SHA-256 %.12s, "
                             "was %.12s",
                             c->row.task, task_sha256(t->task), c->row.dataset_sha256);
    }
    return ST_OK;
}

/* Number the items: by the data, or as they come. */
static enum status number_items(struct exporting *x, struct error *err)
{
    json_t *seen = json_object();
    struct buf key = { 0 };
    enum status st = seen ? ST_OK : no_memory(err);

    for (size_t i = 0; i < x->n_samples && !st; i++) {
        struct export_sample *s = &x->samples[i];
        const struct plan_task *t = x->cells[s->cell].task;
        const json_t *v;

        if (t) {
            if (!task_find_item(t->task, s->s.task_id, &s->item))
                st = error_set(err, ST_MISMATCH, "task '%s' has no item '%s', which the run has",
                               s->s.task, s->s.task_id);
            continue;
        }
        buf_clear(&key);
        buf_printf(&key, "%s %s", s->s.task, s->s.task_id);
        v = json_object_get(seen, buf_str(&key));
        s->item = v ? (size_t)json_integer_value(v) : json_object_size(seen);
        if (!v && (!buf_ok(&key) ||
                   json_object_set_new(seen, buf_str(&key), json_integer((json_int_t)s->item))))
            st = no_memory(err);
    }
    json_decref(seen);
    buf_release(&key);
    return st;
}

static int compare_samples(const void *a, const void *b)
{
    const struct export_sample *x = a, *y = b;

    if (x->cell != y->cell)
        return x->cell < y->cell ? -1 : 1;
    if (x->item != y->item)
        return x->item < y->item ? -1 : 1;
    return x->s.sample_idx < y->s.sample_idx ? -1 : x->s.sample_idx > y->s.sample_idx;
}

static void find_ranges(struct exporting *x)
{
    qsort(x->samples, x->n_samples, sizeof(*x->samples), compare_samples);
    for (size_t i = 0; i < x->n_samples; i++) {
        struct export_cell *c = &x->cells[x->samples[i].cell];

        if (!c->n++)
            c->first = i;
    }
}

/* What the files do not say, or not as it is. */
static void warn(const struct exporting *x)
{
    size_t n_bytes = 0;

    if (strcmp(x->summary.status, "done") != 0)
        log_warn("run '%s' is %s: what it has is written", x->run_id, x->summary.status);
    else if (strcmp(x->summary.validity, "VALID") != 0)
        log_warn("run '%s' is %s", x->run_id, x->summary.validity);
    for (size_t i = 0; i < x->n_samples; i++) {
        const struct stored_sample *s = &x->samples[i].s;

        n_bytes += utf8_check(s->raw_output, s->raw_output_len) < s->raw_output_len;
    }
    if (n_bytes && x->form->needs_data) /* jsonl and csv have hexadecimal digits for them */
        log_warn("%zu answers are not UTF-8: U+FFFD stands for what this form cannot hold",
                 n_bytes);
}

static enum status read_run(struct exporting *x, struct error *err)
{
    enum status st = store_get_run(x->store, x->run_id, &x->arena, &x->run, &x->summary, err);

    if (!st)
        st = store_each_sample(x->store, x->run_id, NULL, NULL, add_sample, x, err);
    if (!st && x->n_left_out && !x->n_samples)
        st = error_set(err, ST_UNSUPPORTED, "form '%s' holds answers to %s only, run '%s' has none",
                       x->form->name,
                       x->form->tasks == EXPORT_HUMANEVAL ? "HumanEval" : "HumanEval and MBPP",
                       x->run_id);
    else if (!st && x->n_left_out)
        log_info("%zu samples of other tasks are left out", x->n_left_out);
    if (!st && !x->n_samples)
        st = error_set(err, ST_NOT_FOUND, "run '%s' has no samples%s", x->run_id,
                       options_has(x->c, OPT_TASKS) || options_has(x->c, OPT_EXPORT_SELECTOR)
                           ? " of those asked for"
                           : "");
    if (!st)
        st = name_cells(x, err);
    if (!st && x->form->needs_data)
        st = open_data(x, err);
    if (!st)
        st = number_items(x, err);
    if (!st)
        find_ranges(x);
    if (!st)
        warn(x);
    return st;
}

/* ---- writing -------------------------------------------------------------------------------- */

static enum status check_free(const struct options *c, const char *path, struct error *err)
{
    struct stat sb;

    if (lstat(path, &sb) != 0)
        return ST_OK;
    if (stat(path, &sb) == 0 && !S_ISREG(sb.st_mode)) /* a device, which renaming would replace */
        return error_set(err, ST_INVALID, "'%s' is there and not a regular file", path);
    if (options_flag(c, OPT_FORCE))
        return ST_OK;
    return error_set(err, ST_INVALID, "'%s' is there already; --force writes over it", path);
}

/* Into a folder, made when it is missing. Nothing is written if a file is in the way. */
static enum status write_folder(struct exporting *x, const char *dir, struct error *err)
{
    const char **paths = arena_array(&x->arena, x->n_files, sizeof(*paths));
    enum status st = ST_OK;

    if (!paths)
        return no_memory(err);
    for (size_t i = 0; i < x->n_files && !st; i++) {
        paths[i] = arena_printf(&x->arena, "%s%s%s", dir, dir[strlen(dir) - 1] == '/' ? "" : "/",
                                x->files[i].name);
        st = paths[i] ? check_free(x->c, paths[i], err) : no_memory(err);
    }
    if (!st)
        st = file_make_dirs(dir, err);
    for (size_t i = 0; i < x->n_files && !st; i++) {
        st = file_write_atomic(paths[i], x->files[i].text.data, x->files[i].text.len, err);
        if (!st)
            log_info("wrote '%s'", paths[i]);
    }
    return st;
}

static enum status write_files(struct exporting *x, struct error *err)
{
    const char *out = options_text(x->c, OPT_EXPORT_OUTPUT);
    size_t len = out ? strlen(out) : 0;
    enum status st;

    for (size_t i = 0; i < x->n_files; i++)
        if (!buf_ok(&x->files[i].text))
            return no_memory(err);
    if ((!out || strcmp(out, "-") == 0) && x->n_files > 1)
        return error_set(err, ST_INVALID,
                         "run '%s' becomes %zu files in this form: option '--output' must name a "
                         "folder",
                         x->run_id, x->n_files);
    if (!out || strcmp(out, "-") == 0)
        return verb_print(&x->files[0].text, err);
    if (x->n_files > 1 || out[len - 1] == '/' || file_is_dir(out))
        return write_folder(x, out, err);
    st = check_free(x->c, out, err);
    if (!st)
        st = file_write_atomic(out, x->files[0].text.data, x->files[0].text.len, err);
    if (!st)
        log_info("wrote '%s'", out);
    return st;
}

static enum status run(const struct options *c, enum exit_code *ret_exit, struct error *err)
{
    struct exporting x = { .c = c, .form = forms };
    const char *name = options_text(c, OPT_EXPORT_FORMAT), *path;
    enum status st;

    (void)ret_exit;
    while (strcmp(x.form->name, name) != 0)
        x.form++; /* one of them: the option's choices are these */
    st = path_results(c, false, &x.arena, &path, err);
    if (!st)
        st = store_open(path, STORE_READ, &x.store, err);
    if (!st)
        st = store_find_run(x.store, c->args[0], &x.arena, &x.run_id, err);
    if (!st)
        st = read_run(&x, err);
    if (!st)
        st = x.form->make(&x, err);
    if (!st)
        st = write_files(&x, err);
    for (size_t i = 0; i < x.n_files; i++)
        buf_release(&x.files[i].text);
    free(x.files);
    free(x.cells);
    free(x.samples);
    store_close(x.store);
    plan_release(&x.plan);
    arena_release(&x.arena);
    return st;
}

const struct verb verb_export = {
    .name = "export",
    .bit = VERB_EXPORT,
    .args = "RUN",
    .min_args = 1,
    .max_args = 1,
    .summary = "write a stored run as files of other tools",
    .help =
        "RUN is a run's id, the beginning of one, or `last`. Forms:\n\n"
        "  jsonl         a sample a line with all that scoring it again needs; `score` and "
        "`import` read it\n"
        "  csv           the same as a table; summary-csv: a row a score\n"
        "  lm-eval       results_DATE.json and samples_TASK_DATE.jsonl, as lm-evaluation-harness "
        "has them\n"
        "  evalplus      task_id and solution, the program that was judged; evalplus-raw: the "
        "model's text\n"
        "  human-eval    task_id and completion\n"
        "  llama-bench   speed under llama-bench's names: .jsonl, .csv or .sql by --output's "
        "ending\n\n"
        "One file goes to standard output unless --output names a file or folder; several need a "
        "folder.\n"
        "Files appear whole or not at all. docs/interchange.md says what each field holds.\n\n"
        "  desbench export last -o last.jsonl\n"
        "  desbench export last --format lm-eval -o out/\n"
        "  desbench export last --format evalplus -t humaneval | head -1\n",
    .run = run,
};
