/*
 * Baseline files: what a gate needs of a run, small enough to keep in a repository.
 *
 *   {"format": "desbench-baseline", "version": 1,
 *    "run_id": ..., "started": ..., "program": ..., "commit": ... or null, "label": ...,
 *    "tasks": [
 *     {"dataset": {"name", "sha256", "licence", "source", "n_items"},
 *      "cell_key": ..., "cell": {...},      every column of the table `cell`
 *      "checker": ..., "judge_mode": ...,   "": graded without running anything
 *      "seconds": ...,                      generating took; 0: not known
 *      "items": [
 *       [id, sample_idx, verdict, item_sha256, reference_sha256, prompt_sha256, tokens_sha256],
 *       ...]}, ...]}
 *
 * An item a line, so that a version control system shows which answers changed. Cells are checked
 * against their keys: what decided the tokens cannot be edited by accident.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "results/compare_impl.h"

enum { VERSION = 1, MAX_BYTES = 256 << 20, MAX_TASKS = 4096 };

/* Text columns of a cell and integers, by their names in the file and the table. */
#define TEXTS(X)                                                                                   \
    X(task)                                                                                        \
    X(dataset_sha256)                                                                              \
    X(prompt_form)                                                                                 \
    X(prompt_sha256)                                                                               \
    X(model)                                                                                       \
    X(architecture)                                                                                \
    X(load_format)                                                                                 \
    X(weights_sha256)                                                                              \
    X(config_sha256)                                                                               \
    X(tokenizer_sha256)                                                                            \
    X(template_sha256)                                                                             \
    X(selector)                                                                                    \
    X(budget) X(decoder) X(cache) X(backend) X(numeric_mode) X(answers_sha256)
#define INTEGERS(X)                                                                                \
    X(gen_length)                                                                                  \
    X(block_length)                                                                                \
    X(engine_results_version)                                                                      \
    X(n_layer) X(n_moe_layer) X(n_exp) X(top_k) X(expert_bytes) X(weight_bytes)

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory for a baseline");
}

/* ---- writing ---------------------------------------------------------------------------- */

static void put_value(struct buf *b, const char *s)
{
    if (s)
        json_put_str(b, s, strlen(s));
    else
        buf_puts(b, "null");
}

static void put_member(struct buf *b, const char *name, const char *s)
{
    buf_printf(b, "\"%s\": ", name);
    put_value(b, s);
}

static void put_cell(struct buf *b, const struct cell_row *c)
{
    buf_puts(b, "{");
#define PUT_TEXT(x)                                                                                \
    put_member(b, #x, c->x ? c->x : "");                                                           \
    buf_puts(b, ", ");
    TEXTS(PUT_TEXT)
#undef PUT_TEXT
#define PUT_INTEGER(x) buf_printf(b, "\"" #x "\": %lld, ", (long long)c->x);
    INTEGERS(PUT_INTEGER)
#undef PUT_INTEGER
    buf_puts(b, "\"temperature\": ");
    json_put_num(b, c->temperature);
    buf_puts(b, "}");
}

static void put_item(struct buf *b, const struct answer_row *r)
{
    const char *const hashes[] = { r->item_sha256, r->reference_sha256, r->prompt_sha256,
                                   r->tokens_sha256 };

    buf_puts(b, "[");
    put_value(b, r->task_id);
    buf_printf(b, ", %d, ", r->sample_idx);
    put_value(b, r->verdict);
    for (size_t i = 0; i < 4; i++) {
        buf_puts(b, ", ");
        put_value(b, hashes[i]);
    }
    buf_puts(b, "]");
}

static enum status put_task(struct store *s, const struct answer_set *set, size_t cell,
                            struct buf *b, struct error *err)
{
    struct arena arena = { 0 };
    struct dataset_row dataset;
    const struct answer_row *first = NULL;
    enum status st = store_get_dataset(s, set->cells[cell].dataset_sha256, &arena, &dataset, err);

    if (!st) {
        buf_puts(b, " {\"dataset\": {");
        put_member(b, "name", dataset.name);
        buf_puts(b, ", ");
        put_member(b, "sha256", dataset.sha256);
        buf_puts(b, ", ");
        put_member(b, "licence", dataset.licence);
        buf_puts(b, ", ");
        put_member(b, "source", dataset.source);
        buf_printf(b, ", \"n_items\": %" PRId64 "},\n  ", dataset.n_items);
        put_member(b, "cell_key", set->cell_keys[cell]);
        buf_puts(b, ",\n  \"cell\": ");
        put_cell(b, &set->cells[cell]);
    }
    for (size_t i = 0; i < set->n_rows && !st; i++) {
        const struct answer_row *r = &set->rows[i];

        if (r->cell != cell)
            continue;
        if (strcmp(r->verdict, "internal") == 0) {
            st = error_set(err, ST_MISMATCH,
                           "run '%s' has no verdict for %s %s, as the judge failed: it is no "
                           "baseline; `desbench resume` judges it again",
                           set->run_id, r->task, r->task_id);
        } else if (!first) {
            first = r;
            buf_puts(b, ",\n  ");
            put_member(b, "checker", r->checker_version);
            buf_puts(b, ", ");
            put_member(b, "judge_mode", r->judge_mode);
            buf_puts(b, ", \"seconds\": ");
            json_put_num(b, set->seconds[cell]);
            buf_puts(b, ",\n  \"items\": [\n   ");
            put_item(b, r);
        } else if (strcmp(r->checker_version, first->checker_version) != 0 ||
                   strcmp(r->judge_mode, first->judge_mode) != 0) {
            st = error_set(err, ST_MISMATCH,
                           "run '%s' graded task '%s' by '%s' and by '%s' ('%s', '%s'): `desbench "
                           "score` grades all of it alike",
                           set->run_id, r->task, first->checker_version, r->checker_version,
                           first->judge_mode, r->judge_mode);
        } else {
            buf_puts(b, ",\n   ");
            put_item(b, r);
        }
    }
    buf_puts(b, "]}");
    arena_release(&arena);
    return st;
}

enum status baseline_write(struct store *s, const struct answer_set *set, struct buf *ret,
                           struct error *err)
{
    struct buf b = { 0 };
    enum status st = ST_OK;
    bool is_first = true;

    buf_printf(&b, "{\"format\": \"desbench-baseline\", \"version\": %d,\n ", VERSION);
    put_member(&b, "run_id", set->run_id);
    buf_puts(&b, ", ");
    put_member(&b, "started", set->started);
    buf_puts(&b, ",\n ");
    put_member(&b, "program", set->version);
    buf_puts(&b, ", ");
    put_member(&b, "commit", set->git_commit);
    buf_puts(&b, ",\n ");
    put_member(&b, "label", set->label);
    buf_puts(&b, ",\n \"tasks\": [\n");
    for (size_t i = 0; i < set->n_cells && !st; i++) {
        bool has_rows = false;

        for (size_t k = 0; k < set->n_rows && !has_rows; k++)
            has_rows = set->rows[k].cell == i; /* --tasks may have left it out */
        if (!has_rows)
            continue;
        if (!is_first)
            buf_puts(&b, ",\n");
        is_first = false;
        st = put_task(s, set, i, &b, err);
    }
    buf_puts(&b, "]}\n");
    if (!st && !buf_ok(&b))
        st = no_memory(err);
    if (!st)
        buf_append(ret, buf_str(&b), b.len);
    buf_release(&b);
    return st ? st : buf_ok(ret) ? ST_OK : no_memory(err);
}

/* ---- reading ---------------------------------------------------------------------------- */

/* A member's text in the arena. */
static enum status get_text(const json_t *obj, const char *where, const char *key, bool may_be_null,
                            struct arena *arena, const char **ret, struct error *err)
{
    const char *s;
    enum status st;

    *ret = NULL;
    if (may_be_null && json_is_null(json_object_get(obj, key)))
        return ST_OK;
    st = json_get_str(obj, where, key, &s, NULL, err);
    if (st)
        return st;
    *ret = arena_strdup(arena, s, strlen(s));
    return *ret ? ST_OK : no_memory(err);
}

static bool is_sha256(const char *s)
{
    return s && strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

static enum status get_cell(const json_t *obj, const char *where, struct arena *arena,
                            struct cell_row *c, struct error *err)
{
    enum status st = ST_OK;
    int64_t v;

#define GET_TEXT(x)                                                                                \
    if (!st)                                                                                       \
        st = get_text(obj, where, #x, false, arena, &c->x, err);
    TEXTS(GET_TEXT)
#undef GET_TEXT
#define GET_INTEGER(x)                                                                             \
    if (!st && !(st = json_get_int(obj, where, #x, 0,                                              \
                                   sizeof(c->x) == sizeof(int) ? INT32_MAX : INT64_MAX, &v, err))) \
        c->x = (__typeof__(c->x))v;
    INTEGERS(GET_INTEGER)
#undef GET_INTEGER
    c->temperature = NAN;
    if (!st && !json_is_null(json_object_get(obj, "temperature")))
        st = json_get_num(obj, where, "temperature", &c->temperature, err);
    return st;
}

static enum status get_item(const json_t *item, const char *where, size_t i, struct arena *arena,
                            struct answer_row *r, struct error *err)
{
    const char **const texts[] = { &r->task_id,          NULL,
                                   &r->verdict,          &r->item_sha256,
                                   &r->reference_sha256, &r->prompt_sha256,
                                   &r->tokens_sha256 };
    const size_t n = sizeof(texts) / sizeof(texts[0]);
    json_int_t idx;

    if (!json_is_array(item) || json_array_size(item) != n)
        return error_set(err, ST_INVALID, "%s: items[%zu] must be an array of %zu", where, i, n);
    for (size_t k = 0; k < n; k++) {
        const json_t *v = json_array_get(item, k);

        if (!texts[k])
            continue;
        if (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v))
            return error_set(err, ST_INVALID, "%s: items[%zu][%zu] must be a string", where, i, k);
        if (k > 2 && !is_sha256(json_string_value(v)))
            return error_set(err, ST_INVALID,
                             "%s: items[%zu][%zu] must be a SHA-256 of 64 digits, found '%.80s'",
                             where, i, k, json_string_value(v));
        *texts[k] = arena_strdup(arena, json_string_value(v), json_string_length(v));
        if (!*texts[k])
            return no_memory(err);
    }
    idx = json_integer_value(json_array_get(item, 1));
    if (!json_is_integer(json_array_get(item, 1)) || idx < 0 || idx > INT32_MAX)
        return error_set(err, ST_INVALID, "%s: items[%zu][1] must be a whole number from 0", where,
                         i);
    r->sample_idx = (int)idx;
    r->is_passed = strcmp(r->verdict, "pass") == 0;
    return ST_OK;
}

static enum status get_task(const json_t *obj, const char *where, struct arena *arena,
                            struct answer_set *set, size_t cell, struct dataset_row *dataset,
                            struct error *err)
{
    struct cell_row *c = &set->cells[cell];
    const char *checker = NULL, *judge_mode = NULL;
    json_t *sub = NULL, *items = NULL;
    char key[65];
    enum status st = json_get_object(obj, where, "dataset", &sub, err);

    if (!st)
        st = get_text(sub, where, "name", false, arena, &dataset->name, err);
    if (!st)
        st = get_text(sub, where, "sha256", false, arena, &dataset->sha256, err);
    if (!st)
        st = get_text(sub, where, "licence", true, arena, &dataset->licence, err);
    if (!st)
        st = get_text(sub, where, "source", true, arena, &dataset->source, err);
    if (!st)
        st = json_get_int(sub, where, "n_items", 0, INT64_MAX, &dataset->n_items, err);
    if (!st)
        st = get_text(obj, where, "cell_key", false, arena, &set->cell_keys[cell], err);
    if (!st)
        st = json_get_object(obj, where, "cell", &sub, err);
    if (!st)
        st = get_cell(sub, where, arena, c, err);
    if (st)
        return st;
    cell_key(c, key);
    if (strcmp(key, set->cell_keys[cell]) != 0)
        return error_set(err, ST_INVALID,
                         "%s: member 'cell_key' is '%.80s', but the cell's key is '%s': the file "
                         "was edited or is of another version",
                         where, set->cell_keys[cell], key);
    if (strcmp(c->dataset_sha256, dataset->sha256) != 0)
        return error_set(err, ST_INVALID, "%s: the dataset is not the cell's", where);
    st = get_text(obj, where, "checker", false, arena, &checker, err);
    if (!st)
        st = get_text(obj, where, "judge_mode", false, arena, &judge_mode, err);
    if (!st)
        st = json_get_num(obj, where, "seconds", &set->seconds[cell], err);
    if (!st && set->seconds[cell] < 0)
        st = error_set(err, ST_INVALID, "%s: member 'seconds' must not be negative, found %g",
                       where, set->seconds[cell]);
    if (!st)
        st = json_get_array(obj, where, "items", &items, err);
    for (size_t i = 0; i < json_array_size(items) && !st; i++) {
        struct answer_row *r = &set->rows[set->n_rows];

        st = get_item(json_array_get(items, i), where, i, arena, r, err);
        r->cell = cell;
        r->task = c->task;
        r->checker_version = checker;
        r->judge_mode = judge_mode;
        set->n_rows += !st;
    }
    return st;
}

/* Items of all tasks; 0 where the file is not as it should be, which is found later. */
static size_t count_items(const json_t *tasks)
{
    size_t n = 0;

    for (size_t i = 0; i < json_array_size(tasks); i++)
        n += json_array_size(json_object_get(json_array_get(tasks, i), "items"));
    return n;
}

static enum status check_unique(const struct answer_set *s, struct error *err)
{
    for (size_t i = 1; i < s->n_rows; i++)
        if (strcmp(s->rows[i].task, s->rows[i - 1].task) == 0 &&
            strcmp(s->rows[i].task_id, s->rows[i - 1].task_id) == 0 &&
            s->rows[i].sample_idx == s->rows[i - 1].sample_idx)
            return error_set(err, ST_INVALID, "'%s': task '%s' has item '%s' twice", s->source,
                             s->rows[i].task, s->rows[i].task_id);
    return ST_OK;
}

static enum status read_file(const char *path, struct arena *arena, struct answer_set *ret,
                             struct dataset_row **ret_datasets, struct error *err)
{
    struct answer_set s = { .status = "done", .validity = "VALID" };
    struct dataset_row *datasets = NULL;
    json_t *root = NULL, *tasks = NULL;
    char where[512], at[640];
    const char *format = NULL;
    int64_t version;
    enum status st = json_read(path, MAX_BYTES, &root, err);

    if (st)
        return st;
    snprintf(where, sizeof(where), "'%s'", path);
    st = json_is_object(root) ? get_text(root, where, "format", false, arena, &format, err)
                              : error_set(err, ST_INVALID, "%s is not a JSON object", where);
    if (!st && strcmp(format, "desbench-baseline") != 0)
        st = error_set(err, ST_INVALID, "%s: member 'format' is '%.80s', not 'desbench-baseline'",
                       where, format);
    if (!st)
        st = json_get_int(root, where, "version", 1, INT32_MAX, &version, err);
    if (!st && version > VERSION)
        st = error_set(err, ST_UNSUPPORTED, "%s has version %lld, this program knows up to %d",
                       where, (long long)version, VERSION);
    if (!st)
        st = get_text(root, where, "run_id", false, arena, &s.run_id, err);
    if (!st)
        st = get_text(root, where, "started", false, arena, &s.started, err);
    if (!st)
        st = get_text(root, where, "program", false, arena, &s.version, err);
    if (!st)
        st = get_text(root, where, "commit", true, arena, &s.git_commit, err);
    if (!st)
        st = get_text(root, where, "label", false, arena, &s.label, err);
    if (!st)
        st = json_get_array(root, where, "tasks", &tasks, err);
    if (!st && (!json_array_size(tasks) || json_array_size(tasks) > MAX_TASKS))
        st = error_set(err, ST_INVALID, "%s: member 'tasks' must have 1 .. %d entries, found %zu",
                       where, MAX_TASKS, json_array_size(tasks));
    if (!st) {
        s.n_cells = json_array_size(tasks);
        s.source = arena_strdup(arena, path, strlen(path));
        s.cells = arena_array(arena, s.n_cells, sizeof(*s.cells));
        s.cell_keys = arena_array(arena, s.n_cells, sizeof(*s.cell_keys));
        s.seconds = arena_array(arena, s.n_cells, sizeof(*s.seconds));
        s.rows = arena_array(arena, count_items(tasks), sizeof(*s.rows));
        datasets = arena_array(arena, s.n_cells, sizeof(*datasets));
        if (!s.source || !s.cells || !s.cell_keys || !s.seconds || !s.rows || !datasets)
            st = no_memory(err);
    }
    for (size_t i = 0; i < s.n_cells && !st; i++) {
        snprintf(at, sizeof(at), "%s: tasks[%zu]", where, i);
        st = json_is_object(json_array_get(tasks, i))
                 ? get_task(json_array_get(tasks, i), at, arena, &s, i, &datasets[i], err)
                 : error_set(err, ST_INVALID, "%s must be an object", at);
    }
    json_decref(root);
    if (!st) {
        answer_set_sort(&s);
        st = check_unique(&s, err);
    }
    if (st)
        return st;
    *ret = s;
    *ret_datasets = datasets;
    return ST_OK;
}

enum status baseline_read(const char *path, struct arena *arena, struct answer_set *ret,
                          struct error *err)
{
    struct dataset_row *datasets;

    return read_file(path, arena, ret, &datasets, err);
}

bool baseline_is_file(const char *path)
{
    char head[16] = "";
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(head, 1, sizeof(head) - 1, f) : 0;
    const char *p = head;

    if (f)
        fclose(f);
    p += strspn(p, " \t\r\n");
    return n > 0 && *p == '{';
}

/* ---- into a store ----------------------------------------------------------------------- */

enum status baseline_store(struct store *s, const char *path, struct answer_set *ret,
                           struct arena *arena, struct error *err)
{
    struct dataset_row *datasets;
    struct answer_set set;
    char sha256[SHA256_HEX_SIZE], key[65];
    struct run_row run;
    enum status st = read_file(path, arena, &set, &datasets, err);

    if (!st)
        st = sha256_file(path, sha256, err);
    if (st)
        return st;
    run = (struct run_row){ .run_id = set.run_id,
                            .started = set.started,
                            .command = arena_printf(arena, "baseline %s, sha256 %s", path, sha256),
                            .config_json = "{}",
                            .version = set.version,
                            .git_commit = set.git_commit,
                            .build_flags = "",
                            .compiler = "",
                            .env_json = "{}" };
    if (!run.command)
        return no_memory(err);
    st = sha256_hex("{}", 2, sha256, err);
    run.config_sha256 = sha256;
    if (!st)
        st = store_begin_run(s, &run, err);
    for (size_t i = 0; i < set.n_cells && !st; i++) {
        st = store_put_dataset(s, &datasets[i], err);
        if (!st)
            st = store_put_cell(s, &set.cells[i], key, err);
    }
    for (size_t i = 0; i < set.n_rows && !st; i++) {
        const struct answer_row *r = &set.rows[i];
        struct sample_row row = {
            .run_id = set.run_id,
            .cell_key = set.cell_keys[r->cell],
            .item = { .dataset_sha256 = set.cells[r->cell].dataset_sha256,
                      .task_id = r->task_id,
                      .item_sha256 = r->item_sha256,
                      .reference_sha256 = r->reference_sha256 },
            .sample_idx = r->sample_idx,
            .prompt = "",
            .prompt_sha256 = r->prompt_sha256,
            .raw_output = "",
            .extraction_method = "baseline",
            .stop_reason = "unknown",
            .tokens_sha256 = r->tokens_sha256,
            .verdict = { .checker_version = r->checker_version,
                         .verdict = r->verdict,
                         .is_passed = r->is_passed,
                         .attempts = 1,
                         .judge_mode = *r->judge_mode ? r->judge_mode : NULL },
        };

        st = store_put_sample(s, &row, err);
    }
    if (!st)
        st = store_finish_run(s, set.run_id, "done", "VALID", err);
    if (!st)
        *ret = set;
    return st;
}
