/* Import of our own files: a line or record of `desbench export`, harness/export_forms.c. */
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/csv.h"
#include "harness/import.h"

/* An optional count or time: so small that sums of a good many fit 64 bits. */
static enum status get_int(const json_t *obj, const char *where, const char *key, int64_t *ret,
                           struct error *err)
{
    const int64_t max = (int64_t)1 << 48; /* ns: three days */

    return json_object_get(obj, key) ? json_get_int(obj, where, key, 0, max, ret, err) : ST_OK;
}

static enum status get_int32(const json_t *obj, const char *where, const char *key, int *ret,
                             struct error *err)
{
    int64_t v = *ret;
    enum status st =
        json_object_get(obj, key) ? json_get_int(obj, where, key, 0, INT_MAX, &v, err) : ST_OK;

    *ret = (int)v;
    return st;
}

/* What was it made under? */
static enum status read_cell(struct importing *x, const struct import_file *f,
                             const struct plan_task *t, const json_t *obj, const char *where,
                             size_t *ret, struct error *err)
{
    struct cell_row row = { .temperature = (double)NAN };
    const struct {
        const char *key;
        const char **ret;
    } texts[] = { { "model", &row.model },       { "architecture", &row.architecture },
                  { "backend", &row.backend },   { "prompt_form", &row.prompt_form },
                  { "selector", &row.selector }, { "decoder", &row.decoder },
                  { "cache", &row.cache } };
    const json_t *temperature = json_object_get(obj, "temperature");
    enum status st = ST_OK;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]) && !st; i++)
        st = answers_get_optional(obj, where, texts[i].key, &x->arena, texts[i].ret, err);
    if (!st)
        st = get_int32(obj, where, "gen_length", &row.gen_length, err);
    if (!st)
        st = get_int32(obj, where, "block_length", &row.block_length, err);
    if (!st && temperature && !json_is_null(temperature))
        st = json_get_num(obj, where, "temperature", &row.temperature, err);
    return st ? st : import_cell(x, f, t, &row, ret, err);
}

static enum status read_verdict(struct importing *x, const json_t *obj, const char *where,
                                struct verdict_row *v, struct error *err)
{
    const struct {
        const char *key;
        const char **ret;
    } texts[] = { { "checker_version", &v->checker_version },
                  { "verdict", &v->verdict },
                  { "judge_mode", &v->judge_mode },
                  { "sandbox_level", &v->sandbox_level },
                  { "details", &v->details } };
    enum status st = ST_OK;

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]) && !st; i++)
        st = answers_get_optional(obj, where, texts[i].key, &x->arena, texts[i].ret, err);
    if (!st)
        st = json_get_bool(obj, where, "passed", &v->is_passed, err);
    if (!st)
        st = get_int32(obj, where, "attempts", &v->attempts, err);
    if (!st)
        st = get_int(obj, where, "judge_cpu_ns", &v->cpu_ns, err);
    if (!st)
        st = get_int(obj, where, "judge_wall_ns", &v->wall_ns, err);
    if (!st && (!v->verdict || !v->checker_version))
        st = error_set(err, ST_INVALID, "%s: field '%s' is missing", where,
                       v->verdict ? "checker_version" : "verdict");
    if (!st && v->is_passed != (strcmp(v->verdict, "pass") == 0))
        st = error_set(err, ST_INVALID, "%s: field 'passed' is %s, 'verdict' is '%.40s'", where,
                       v->is_passed ? "true" : "false", v->verdict);
    if (!st)
        st = import_check_verdict(v->verdict, where, err);
    return st ? st : import_also(x, obj, where, &v->also_json, err);
}

enum status import_own_line(struct importing *x, const struct import_file *f, const json_t *obj,
                            const char *where, struct error *err)
{
    struct sample_row row = { 0 };
    const struct plan_task *t;
    struct given_answer g = { 0 };
    struct task_item facts;
    const char *task, *item_sha256 = NULL;
    const struct {
        const char *key;
        const char **ret;
    } texts[] = { { "prompt", &row.prompt },
                  { "extracted", &row.extracted },
                  { "extraction_method", &row.extraction_method },
                  { "stop_reason", &row.stop_reason },
                  { "tokens_sha256", &row.tokens_sha256 },
                  { "item_sha256", &item_sha256 } };
    const struct {
        const char *key;
        int64_t *ret;
    } numbers[] = { { "n_prompt", &row.n_prompt },
                    { "n_gen_positions", &row.n_gen_positions },
                    { "n_tokens_before_eos", &row.n_tokens_before_eos },
                    { "n_tokens_after_stop", &row.n_tokens_after_stop },
                    { "n_forwards", &row.n_forwards },
                    { "n_forwards_cache", &row.n_forwards_cache },
                    { "first_block_ns", &row.first_block_ns },
                    { "total_ns", &row.total_ns } };
    size_t cell;
    int idx = 0;
    enum status st = json_get_str(obj, where, "task", &task, NULL, err);

    if (!st)
        st = import_task(x, task, where, &t, err);
    if (!st && !json_object_get(obj, "problem"))
        st = error_set(err, ST_INVALID, "%s: field 'problem' is missing", where);
    if (!st)
        st = answers_find_item(t->task, json_object_get(obj, "problem"), where, "problem", &g.item,
                               err);
    if (!st)
        st = answers_get_text(obj, where, t->def, &x->arena, &g, err);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]) && !st; i++)
        st = answers_get_optional(obj, where, texts[i].key, &x->arena, texts[i].ret, err);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]) && !st; i++)
        st = get_int(obj, where, numbers[i].key, numbers[i].ret, err);
    if (!st && json_object_get(obj, "seed"))
        st = json_get_int(obj, where, "seed", INT64_MIN, INT64_MAX, &row.seed, err);
    if (!st)
        st = get_int32(obj, where, "sample_idx", &idx, err);
    if (!st)
        st = read_verdict(x, obj, where, &row.verdict, err);
    if (st)
        return st;
    task_get_item(t->task, g.item, &facts);
    if (item_sha256 && strcmp(item_sha256, facts.sha256) != 0)
        return error_set(err, ST_INVALID,
                         "%s: field 'item_sha256': item '%s' is another one here: %.12s, not %.12s",
                         where, facts.id, facts.sha256, item_sha256);
    row.raw_output = g.text;
    row.raw_output_len = g.len;
    if (g.kind == ANSWER_OUTPUT && answers_kind(row.extraction_method) != ANSWER_OUTPUT)
        return error_set(err, ST_INVALID,
                         "%s: field 'extraction_method' is '%s', the answer is an output", where,
                         row.extraction_method);
    if (g.kind != ANSWER_OUTPUT)
        row.extraction_method = answer_kind_name(g.kind);
    st = read_cell(x, f, t, obj, where, &cell, err);
    return st ? st : import_add(x, cell, g.item, idx, where, &row, err);
}

/* ---- CSV ------------------------------------------------------------------------------------ */

struct csv_reading {
    struct importing *x;
    const struct import_file *f;
    char **names; /* (n) of the columns */
    size_t n;
};

/* Columns that are numbers in the JSON form. */
static bool is_number(const char *name)
{
    static const char *const names[] = { "sample_idx",   "gen_length",    "block_length",
                                         "temperature",  "seed",          "attempts",
                                         "judge_cpu_ns", "judge_wall_ns", "n_prompt",
                                         "total_ns",     "first_block_ns" };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return strncmp(name, "n_", 2) == 0;
}

/* The JSON value of a field; an empty one is null. */
static enum status field_value(const char *name, const char *s, size_t len, const char *where,
                               json_t **ret, struct error *err)
{
    char *end;
    long long v;

    if (strcmp(name, "passed") == 0) {
        if (strcmp(s, "0") != 0 && strcmp(s, "1") != 0)
            return error_set(err, ST_INVALID, "%s: field 'passed' must be 0 or 1, found '%.40s'",
                             where, s);
        *ret = json_boolean(s[0] == '1');
    } else if (is_number(name) && len) {
        errno = 0;
        v = strtoll(s, &end, 10);
        if (!errno && end == s + len)
            *ret = json_integer(v);
        else if (strcmp(name, "temperature") == 0 && isfinite(strtod(s, &end)) && end == s + len)
            *ret = json_real(strtod(s, NULL));
        else
            return error_set(err, ST_INVALID, "%s: field '%s' must be a number, found '%.40s'",
                             where, name, s);
    } else if (strcmp(name, "also") == 0 && len) {
        enum status st = json_parse(s, len, where, 0, ret, err);

        return st == ST_INVALID ? error_set(err, st, "%s: field 'also' is not JSON", where) : st;
    } else if (is_number(name) || (!len && strcmp(name, "answer") != 0)) {
        *ret = json_null();
    } else {
        *ret = json_stringn(s, len);
        if (!*ret)
            return error_set(err, ST_INVALID, "%s: field '%s' is not UTF-8", where, name);
    }
    return *ret ? ST_OK : error_set(err, ST_NOMEM, "out of memory for %s", where);
}

/* A record as the object that the JSON form has for it. */
static enum status make_object(const struct csv_reading *r, char *const *fields, const size_t *lens,
                               const char *where, json_t *obj, struct error *err)
{
    const char *kind = NULL, *hex = "";
    json_t *answer = NULL;
    char key[32];

    for (size_t i = 0; i < r->n; i++) {
        json_t *v = NULL;
        enum status st;

        if (strcmp(r->names[i], "answer_kind") == 0) {
            kind = fields[i];
            continue;
        }
        if (strcmp(r->names[i], "answer_hex") == 0) {
            hex = fields[i];
            continue;
        }
        st = field_value(r->names[i], fields[i], lens[i], where, &v, err);
        if (!st && strcmp(r->names[i], "answer") == 0)
            answer = v; /* once: names differ */
        else if (!st && json_object_set_new(obj, r->names[i], v) != 0)
            st = error_set(err, ST_NOMEM, "out of memory for %s", where);
        if (st) {
            json_decref(answer);
            return st;
        }
    }
    if (!kind || !answer ||
        (strcmp(kind, "output") != 0 && strcmp(kind, "completion") != 0 &&
         strcmp(kind, "solution") != 0)) {
        json_decref(answer);
        return error_set(err, ST_INVALID,
                         "%s: field 'answer_kind' must be output, completion or solution, found "
                         "'%.40s', and 'answer' be there",
                         where, kind ? kind : "");
    }
    if (*hex) {
        json_decref(answer);
        answer = json_string(hex);
    }
    snprintf(key, sizeof(key), "%s%s", kind, *hex ? "_hex" : "");
    return answer && json_object_set_new(obj, key, answer) == 0
               ? ST_OK
               : error_set(err, ST_NOMEM, "out of memory for %s", where);
}

static enum status read_head(struct csv_reading *r, char *const *fields, const size_t *lens,
                             size_t n, struct error *err)
{
    r->names = arena_array(&r->x->arena, n, sizeof(*r->names));
    r->n = n;
    for (size_t i = 0; i < n && r->names; i++) {
        r->names[i] = arena_strdup(&r->x->arena, fields[i], lens[i]);
        if (!r->names[i])
            break;
        for (size_t k = 0; k < i; k++)
            if (strcmp(r->names[k], r->names[i]) == 0)
                return error_set(err, ST_INVALID, "'%s' record 1: field '%.40s' stands there twice",
                                 r->f->name, fields[i]);
    }
    return r->names && r->names[n - 1]
               ? ST_OK
               : error_set(err, ST_NOMEM, "out of memory reading '%s'", r->f->name);
}

static enum status read_record(void *arg, size_t record, char *const *fields, const size_t *lens,
                               size_t n_fields, struct error *err)
{
    struct csv_reading *r = arg;
    struct buf where = { 0 };
    json_t *obj;
    enum status st;

    if (!r->names)
        return read_head(r, fields, lens, n_fields, err);
    if (n_fields != r->n)
        return error_set(err, ST_INVALID, "'%s' record %zu: %zu fields, the first record names %zu",
                         r->f->name, record, n_fields, r->n);
    buf_printf(&where, "'%s' record %zu", r->f->name, record);
    obj = json_object();
    st = obj ? make_object(r, fields, lens, buf_str(&where), obj, err)
             : error_set(err, ST_NOMEM, "out of memory reading '%s'", r->f->name);
    if (!st)
        st = import_own_line(r->x, r->f, obj, buf_str(&where), err);
    json_decref(obj);
    buf_release(&where);
    return st;
}

enum status import_own_csv(struct importing *x, const struct import_file *f, struct error *err)
{
    struct csv_reading r = { .x = x, .f = f };

    return csv_read(f->text.data, f->text.len, f->name, read_record, &r, err);
}
