/*
 * Data set files: gzip, JSON lines or one JSON array, hashes, fields, duplicate ids.
 *
 * The bytes of a file are pinned by SHA-256, some files by their records as well (tasks/data.c): a
 * file with other bytes and those records is the same set in another layout, and taken.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "tasks/internal.h"

/* The largest of the sets has 4 MB. */
enum { FILE_BYTES_MAX = 64 << 20, TEXT_BYTES_MAX = 256 << 20 };

static bool has_suffix(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);

    return n >= m && strcmp(s + n - m, suffix) == 0;
}

enum status hash_json(const json_t *v, char ret[65], struct error *err)
{
    struct buf text = { 0 };
    enum status st;

    json_put_value(&text, v, JSON_SORT_KEYS | JSON_COMPACT);
    if (buf_ok(&text))
        st = sha256_hex(text.data, text.len, ret, err);
    else
        st = error_set(err, ST_NOMEM, "out of memory hashing a record");
    buf_release(&text);
    return st;
}

static enum status set_mismatch(const struct task *t, const char *path, struct error *err)
{
    return error_set(err, ST_MISMATCH,
                     "'%s' is not the %s that scores are compared on: its SHA-256 is %s, "
                     "expected %s",
                     path, t->def->title, t->sha256, t->def->data->sha256);
}

static enum status read_file(const struct task_def *def, const char *path, struct buf *ret,
                             struct error *err)
{
    enum status st = file_read(path, FILE_BYTES_MAX, ret, err);

    if (st == ST_NOT_FOUND && def->is_bundled)
        st = error_set(err, st, "no file '%s' with %s, which comes with the program", path,
                       def->title);
    else if (st == ST_NOT_FOUND)
        st = error_set(err, st,
                       "no file '%s' with %s: `desbench data fetch` gets it from %s; --data-dir or "
                       "DESBENCH_DATA names another folder",
                       path, def->title, task_source(def));
    return st;
}

/* The text of a file's bytes, inflated into *b if need be; they are hashed into t->sha256 and, if
 * need_sha256 is not NULL, must have that hash. */
static enum status get_text(struct task *t, const char *path, struct span raw,
                            const char *need_sha256, struct buf *b, struct span *ret,
                            struct error *err)
{
    enum status st = sha256_hex(raw.s, raw.len, t->sha256, err);

    if (!st && need_sha256 && strcmp(t->sha256, need_sha256) != 0)
        st = set_mismatch(t, path, err);
    *ret = raw;
    if (!st && has_suffix(t->def->file, ".gz")) {
        st = file_gunzip(raw.s, raw.len, path, TEXT_BYTES_MAX, b, err);
        *ret = (struct span){ buf_str(b), b->len };
    }
    return st;
}

/* Parse a record a line. Blank lines may stand only at the end, as ids may count lines. */
static enum status parse_lines(struct span text, const char *path, json_t *records,
                               struct error *err)
{
    struct span line;
    enum status st;
    json_t *v;

    for (size_t number = 1; span_next_line(&text, &line); number++) {
        if (span_is_blank(line)) {
            if (span_is_blank(text))
                break;
            return error_set(err, ST_INVALID, "'%s' line %zu: empty, a record is needed", path,
                             number);
        }
        st = json_parse(line.s, line.len, path, number, &v, err);
        if (st)
            return st;
        if (json_array_append_new(records, v) != 0)
            return error_set(err, ST_NOMEM, "out of memory reading '%s'", path);
    }
    return ST_OK;
}

/* Lines on which the n elements of a valid file's one array begin, for messages. */
static void find_array_lines(struct span text, size_t *ret_lines, size_t n)
{
    size_t line = 1, depth = 0, k = 0;
    bool is_string = false, is_due = false; /* an element is due */

    for (size_t i = 0; i < text.len && k < n; i++) {
        char c = text.s[i];

        if (is_string) {
            if (c == '\\')
                i++;
            is_string = c != '"';
            continue;
        }
        if (c == '\n')
            line++;
        if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
            continue;
        if (is_due)
            ret_lines[k++] = line;
        is_due = (c == '[' && depth == 0) || (c == ',' && depth == 1);
        is_string = c == '"';
        if (c == '[' || c == '{')
            depth++;
        else if (c == ']' || c == '}')
            depth--;
    }
}

/* Check one field's type and that it is not empty where it may not be. */
static enum status check_field(const json_t *record, const char *where, const struct field *f,
                               struct error *err)
{
    const char *s;
    json_t *list;
    int64_t n;
    enum status st;

    switch (f->kind) {
    case FIELD_INT: return json_get_int(record, where, f->key, 0, INT_MAX, &n, err);
    case FIELD_STR:
    case FIELD_STR_EMPTY:
        st = json_get_str(record, where, f->key, &s, NULL, err);
        if (!st && f->kind == FIELD_STR && !*s)
            st = error_set(err, ST_INVALID, "%s: field '%s' is empty", where, f->key);
        return st;
    case FIELD_LIST:
    case FIELD_LIST_EMPTY: break;
    }
    st = json_get_array(record, where, f->key, &list, err);
    if (st)
        return st;
    if (f->kind == FIELD_LIST && json_array_size(list) == 0)
        return error_set(err, ST_INVALID, "%s: field '%s' is empty", where, f->key);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);

        if (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v))
            return error_set(err, ST_INVALID,
                             "%s: field '%s' must be a list of strings without NUL, element %zu "
                             "is not",
                             where, f->key, i);
    }
    return ST_OK;
}

/* Note the item's id; a second one is refused. */
static enum status add_id(struct task *t, const char *id, const char *where, json_int_t index,
                          struct error *err)
{
    if (json_object_get(t->index, id))
        return error_set(err, ST_INVALID, "%s: id '%s' was used by an earlier record", where, id);
    if (json_object_set_new(t->index, id, json_integer(index)) != 0)
        return error_set(err, ST_NOMEM, "out of memory for id '%s'", id);
    return ST_OK;
}

/* Does the task's split contain the record? */
static bool is_in_split(const struct task *t, const struct item *it)
{
    int64_t id;

    if (t->def->first_id == 0 && t->def->last_id == 0)
        return true;
    id = item_int(it, "task_id");
    return id >= t->def->first_id && id <= t->def->last_id;
}

static enum status hash_item(struct task *t, struct item *it, struct error *err)
{
    struct buf b = { 0 };
    enum status st = hash_json(it->record, it->sha256, err);

    item_put_reference(t->format, it, &b);
    if (!st && !buf_ok(&b))
        st = error_set(err, ST_NOMEM, "out of memory hashing a reference");
    if (!st)
        st = sha256_hex(buf_str(&b), b.len, it->reference_sha256, err);
    buf_release(&b);
    return st;
}

/* What to report an item by, where the record says so and the format has no rule of its own:
 * our own suites have "subject" and "level" as MATH500 does. */
static void read_class(struct item *it)
{
    const json_t *level = json_object_get(it->record, "level");

    if (!it->subject)
        it->subject = json_string_value(json_object_get(it->record, "subject"));
    if (!it->level && json_integer_value(level) > 0 && json_integer_value(level) <= 100)
        it->level = (int)json_integer_value(level);
}

static enum status read_record(struct task *t, size_t k, size_t line, const char *path,
                               struct error *err)
{
    struct item it = { .record = json_array_get(t->records, k) };
    const char *where = arena_printf(&t->arena, "'%s' line %zu", path, line);
    enum status st = ST_OK;
    bool is_in;

    if (!where)
        return error_set(err, ST_NOMEM, "out of memory reading '%s'", path);
    for (const struct field *f = t->format->fields; !st && f->key; f++)
        st = check_field(it.record, where, f, err);
    if (!st)
        st = t->format->read(t, &it, where, k, err);
    if (st)
        return st;
    read_class(&it);
    is_in = is_in_split(t, &it);
    st = add_id(t, it.id, where, is_in ? (json_int_t)t->n_items : -1, err);
    if (!st && is_in) {
        st = hash_item(t, &it, err);
        t->items[t->n_items++] = it;
    }
    return st;
}

enum status records_parse(struct span text, bool is_lines, const char *path, json_t **ret,
                          struct error *err)
{
    json_t *records;
    enum status st;

    if (!is_lines)
        return json_parse(text.s, text.len, path, 0, ret, err);
    records = json_array();
    if (!records)
        return error_set(err, ST_NOMEM, "out of memory reading '%s'", path);
    st = parse_lines(text, path, records, err);
    if (st)
        json_decref(records);
    else
        *ret = records;
    return st;
}

/* Fill t->records from the text. */
static enum status parse_text(struct task *t, struct span text, const char *path, struct error *err)
{
    enum status st = records_parse(text, t->format->is_lines, path, &t->records, err);

    if (!st && !json_is_array(t->records))
        st = error_set(err, ST_INVALID, "'%s' line 1: an array of records is needed", path);
    if (!st && json_array_size(t->records) == 0)
        st = error_set(err, ST_INVALID, "'%s' holds no records", path);
    return st;
}

/* The bytes are not the pinned ones: if the records are, the set is known by its pinned hash. */
static enum status check_records(struct task *t, const char *path, bool is_sha_checked,
                                 struct error *err)
{
    const struct data_file *f = t->def->data;
    char sha256[65];
    enum status st = hash_json(t->records, sha256, err);

    if (st)
        return st;
    if (strcmp(sha256, f->record_sha256) == 0)
        memcpy(t->sha256, f->sha256, sizeof(t->sha256));
    else if (is_sha_checked)
        return set_mismatch(t, path, err);
    return ST_OK;
}

enum status dataset_parse(struct task *t, const char *path, const char *data, size_t len,
                          bool is_sha_checked, struct error *err)
{
    const struct data_file *f = t->def->data;
    bool is_pinned = f && f->record_sha256; /* by its records too */
    struct buf inflated = { 0 };
    struct span text;
    size_t *lines = NULL;
    size_t n;
    enum status st;

    st = get_text(t, path, (struct span){ data, len },
                  f && is_sha_checked && !is_pinned ? f->sha256 : NULL, &inflated, &text, err);
    if (!st)
        st = parse_text(t, text, path, err);
    if (!st && is_pinned && strcmp(t->sha256, f->sha256) != 0)
        st = check_records(t, path, is_sha_checked, err);
    if (st)
        goto out;
    n = json_array_size(t->records);
    lines = calloc(n, sizeof(*lines));
    t->items = calloc(n, sizeof(*t->items));
    t->index = json_object();
    if (!lines || !t->items || !t->index) {
        st = error_set(err, ST_NOMEM, "out of memory for %zu records of '%s'", n, path);
        goto out;
    }
    if (!t->format->is_lines)
        find_array_lines(text, lines, n);
    for (size_t k = 0; !st && k < n; k++)
        st = read_record(t, k, t->format->is_lines ? k + 1 : lines[k], path, err);
out:
    buf_release(&inflated);
    free(lines);
    return st;
}

enum status dataset_read(struct task *t, const char *dir, bool is_sha_checked, struct error *err)
{
    const char *path = arena_printf(&t->arena, "%s/%s", dir, t->def->file);
    struct buf raw = { 0 };
    enum status st;

    if (!path)
        return error_set(err, ST_NOMEM, "out of memory reading '%s'", t->def->file);
    st = read_file(t->def, path, &raw, err);
    if (!st)
        st = dataset_parse(t, path, buf_str(&raw), raw.len, is_sha_checked, err);
    buf_release(&raw);
    return st;
}
