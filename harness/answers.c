/* Answers made elsewhere: reading and checking. */
#include "harness/answers.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

static enum status no_memory(const char *name, struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory reading '%s'", name);
}

static enum status read_stdin(struct buf *ret, struct error *err)
{
    enum { STEP = 1 << 16 };

    for (;;) {
        char *p = buf_reserve(ret, STEP);
        size_t n;

        if (!p)
            return no_memory("standard input", err);
        n = fread(p, 1, STEP, stdin);
        ret->len += n;
        if (ferror(stdin))
            return error_set(err, ST_IO, "cannot read standard input: %s", strerror(errno));
        if (ret->len > ANSWERS_BYTES_MAX)
            return error_set(err, ST_INVALID, "standard input is longer than %d bytes",
                             ANSWERS_BYTES_MAX);
        if (!n)
            return ST_OK;
    }
}

enum status answers_read_bytes(const char *path, struct buf *ret, char ret_sha256[65],
                               struct error *err)
{
    size_t len = strlen(path);
    struct buf raw = { 0 };
    enum status st;

    st = strcmp(path, "-") == 0 ? read_stdin(&raw, err)
                                : file_read(path, ANSWERS_BYTES_MAX, &raw, err);
    if (!st)
        st = sha256_hex(buf_str(&raw), raw.len, ret_sha256, err);
    if (!st && len > 3 && strcmp(path + len - 3, ".gz") == 0) {
        st = file_gunzip(buf_str(&raw), raw.len, path, ANSWERS_BYTES_MAX, ret, err);
    } else if (!st) {
        *ret = raw;
        raw = (struct buf){ 0 };
    }
    buf_release(&raw);
    if (!st && ret->len >= 3 && memcmp(ret->data, "\xef\xbb\xbf", 3) == 0) {
        ret->len -= 3;
        memmove(ret->data, ret->data + 3, ret->len + 1); /* with its NUL */
    }
    return st;
}

enum status answers_each_line(const struct buf *text, const char *name, answers_line_fn fn,
                              void *arg, struct error *err)
{
    struct buf where = { 0 };
    size_t line = 0;
    enum status st = ST_OK;

    for (size_t at = 0; !st && at < text->len;) {
        const char *start = text->data + at, *end = memchr(start, '\n', text->len - at);
        size_t len = end ? (size_t)(end - start) : text->len - at;
        json_t *obj = NULL;

        line++;
        at += len + 1;
        if (strspn(start, " \t\r") >= len)
            continue;
        buf_clear(&where);
        buf_printf(&where, "'%s' line %zu", name, line);
        st = buf_ok(&where) ? json_parse(start, len, name, line, &obj, err) : no_memory(name, err);
        if (!st && !json_is_object(obj))
            st = error_set(err, ST_INVALID, "%s: must be an object", buf_str(&where));
        if (!st)
            st = fn(arg, obj, buf_str(&where), line, err);
        json_decref(obj);
    }
    buf_release(&where);
    return st;
}

const char *answers_model_name(struct arena *a, const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t len = strcspn(name, ".");

    return arena_strdup(a, name, len ? len : strlen(name));
}

enum answer_kind answers_kind(const char *extraction_method)
{
    for (enum answer_kind kind = ANSWER_COMPLETION; kind <= ANSWER_SOLUTION; kind++)
        if (extraction_method && strcmp(extraction_method, answer_kind_name(kind)) == 0)
            return kind;
    return ANSWER_OUTPUT;
}

enum status answers_get_optional(const json_t *obj, const char *where, const char *key,
                                 struct arena *a, const char **ret, struct error *err)
{
    const json_t *v = json_object_get(obj, key);
    const char *s;
    enum status st;

    if (!v || json_is_null(v))
        return ST_OK;
    st = json_get_str(obj, where, key, &s, NULL, err);
    if (st)
        return st;
    s = arena_strdup(a, s, strlen(s));
    if (!s)
        return error_set(err, ST_NOMEM, "out of memory for %s", where);
    *ret = s;
    return ST_OK;
}

enum status answers_find_item(const struct task *t, const json_t *id, const char *where,
                              const char *field, size_t *ret, struct error *err)
{
    static const char *const prefixes[] = { "Mbpp/", "HumanEvalPro/" };
    const struct task_def *def = task_get_def(t);
    char number[32];
    const char *s = number;

    if (json_is_string(id) && strlen(json_string_value(id)) == json_string_length(id))
        s = json_string_value(id);
    else if (json_is_integer(id))
        snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(id));
    else
        return error_set(err, ST_INVALID,
                         "%s: field '%s' must be a string without NUL or an integer", where, field);
    if (task_find_item(t, s, ret))
        return ST_OK;
    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++) {
        size_t len = strlen(prefixes[i]);

        if (strncmp(s, prefixes[i], len) == 0 && task_find_item(t, s + len, ret))
            return ST_OK;
    }
    return error_set(err, ST_INVALID, "%s: field '%s': task '%s' has no item '%.80s'", where, field,
                     def->name, s);
}

/* ---- a line ------------------------------------------------------------------------------- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum status read_hex(const char *s, size_t len, const char *where, const char *field,
                            struct arena *arena, struct given_answer *ret, struct error *err)
{
    char *p = arena_alloc(arena, len / 2 + 1);

    if (!p)
        return error_set(err, ST_NOMEM, "out of memory for %s", where);
    for (size_t i = 0; i < len; i++) {
        int v = hex_digit(s[i]);

        if (v < 0 || len % 2)
            return error_set(err, ST_INVALID,
                             "%s: field '%s' must be pairs of lower-case hexadecimal digits", where,
                             field);
        p[i / 2] = (char)(unsigned char)((unsigned char)p[i / 2] << 4 | v);
    }
    ret->text = p;
    ret->len = len / 2;
    return ST_OK;
}

enum status answers_get_text(const json_t *obj, const char *where, const struct task_def *def,
                             struct arena *arena, struct given_answer *ret, struct error *err)
{
    static const char *const fields[] = { "output",         "output_hex", "completion",
                                          "completion_hex", "solution",   "solution_hex" };
    const char *found = NULL, *s;
    size_t len;
    enum status st;

    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        if (!json_object_get(obj, fields[i]))
            continue;
        if (found)
            return error_set(err, ST_INVALID,
                             "%s: fields '%s' and '%s' both hold an answer, one must", where, found,
                             fields[i]);
        found = fields[i];
        ret->kind = (enum answer_kind)(i / 2);
    }
    if (!found)
        return error_set(
            err, ST_INVALID, "%s: field 'output', 'completion' or 'solution' is missing%s", where,
            json_object_get(obj, "resps") ? "; `desbench import` reads lm-eval's files" : "");
    if (!task_takes(def, ret->kind))
        return error_set(err, ST_INVALID, "%s: field '%s': answers to task '%s' are %s", where,
                         found, def->name,
                         def->kind == TASK_CODE ? "'output' or 'solution', no code is given to "
                                                  "complete"
                                                : "'output', not code");
    st = json_get_str(obj, where, found, &s, &len, err);
    if (st)
        return st;
    if (strchr(found, '_'))
        return read_hex(s, len, where, found, arena, ret, err);
    ret->text = arena_strdup(arena, s, len);
    ret->len = len;
    return ret->text ? ST_OK : error_set(err, ST_NOMEM, "out of memory for %s", where);
}

static enum status read_id(const json_t *obj, const char *where, const struct task *t, size_t *ret,
                           struct error *err)
{
    static const char *const fields[] = { "task_id", "problem", "id" };

    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        const json_t *v = json_object_get(obj, fields[i]);

        if (v)
            return answers_find_item(t, v, where, fields[i], ret, err);
    }
    return error_set(err, ST_INVALID, "%s: field 'task_id', 'problem' or 'id' is missing", where);
}

struct reading {
    struct answers *a;
    const struct task *t;
    size_t cap;
    int *n_given;         /* (items) answers to it so far */
    const char *cell_key; /* of the answers; "" when they have none */
};

/* What the file says of its making, from its first answer: it is one cell, so all say the same. */
static enum status read_origin(struct reading *r, const json_t *obj, const char *where,
                               struct error *err)
{
    struct answers *a = r->a;
    const struct {
        const char *key;
        const char **ret;
    } texts[] = { { "cell_key", &r->cell_key }, { "model", &a->model },
                  { "selector", &a->selector }, { "prompt_form", &a->prompt_form },
                  { "decoder", &a->decoder },   { "cache", &a->cache },
                  { "backend", &a->backend } };

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        const json_t *v = json_object_get(obj, texts[i].key);
        const char *s = "";
        enum status st;

        if (!a->n) {
            st = answers_get_optional(obj, where, texts[i].key, &a->arena, texts[i].ret, err);
            if (st)
                return st;
            continue;
        }
        if (v && !json_is_null(v)) {
            st = json_get_str(obj, where, texts[i].key, &s, NULL, err);
            if (st)
                return st;
        }
        if (strcmp(s, *texts[i].ret) != 0)
            return error_set(err, ST_INVALID,
                             "%s: field '%s' is '%.40s', it was '%.40s' before: the file holds "
                             "answers under two settings, which are two files to score (`export "
                             "--selector`)",
                             where, texts[i].key, s, *texts[i].ret);
    }
    return ST_OK;
}

static enum status read_line(void *arg, const json_t *obj, const char *where, size_t line,
                             struct error *err)
{
    struct reading *r = arg;
    struct answers *a = r->a;
    const struct task_def *def = task_get_def(r->t);
    struct given_answer g = { .prompt = "", .line = line };
    const char *task = def->name;
    int64_t idx;
    enum status st;

    st = answers_get_optional(obj, where, "task", &a->arena, &task, err);
    if (st)
        return st;
    if (strcmp(task, def->name) != 0) {
        if (!task_find(task))
            return error_set(err, ST_INVALID, "%s: field 'task': unknown task '%.80s'", where,
                             task);
        a->n_other_tasks++;
        return ST_OK;
    }
    st = read_id(obj, where, r->t, &g.item, err);
    if (!st)
        st = answers_get_text(obj, where, def, &a->arena, &g, err);
    if (!st)
        st = answers_get_optional(obj, where, "prompt", &a->arena, &g.prompt, err);
    if (!st)
        st = read_origin(r, obj, where, err);
    if (st)
        return st;
    g.sample_idx = r->n_given[g.item]++;
    if (json_object_get(obj, "sample_idx")) {
        st = json_get_int(obj, where, "sample_idx", 0, INT_MAX, &idx, err);
        if (st)
            return st;
        g.sample_idx = (int)idx;
    }
    if (a->n == r->cap) {
        size_t cap = r->cap ? r->cap * 2 : 256;
        struct given_answer *list = arena_array(&a->arena, cap, sizeof(*list));

        if (!list)
            return no_memory(a->name, err);
        if (a->n)
            memcpy(list, a->list, a->n * sizeof(*list));
        a->list = list;
        r->cap = cap;
    }
    a->list[a->n++] = g;
    return ST_OK;
}

/* ---- the file ------------------------------------------------------------------------------ */

static int compare_place(const void *x, const void *y)
{
    const struct given_answer *a = *(const struct given_answer *const *)x,
                              *b = *(const struct given_answer *const *)y;

    if (a->item != b->item)
        return a->item < b->item ? -1 : 1;
    if (a->sample_idx != b->sample_idx)
        return a->sample_idx < b->sample_idx ? -1 : 1;
    return a->line < b->line ? -1 : a->line > b->line;
}

/* No two answers may have the same number. */
static enum status check_twice(const struct answers *a, const struct task *t, struct error *err)
{
    const struct given_answer **order = calloc(a->n, sizeof(*order));
    enum status st = ST_OK;

    if (!order)
        return no_memory(a->name, err);
    for (size_t i = 0; i < a->n; i++)
        order[i] = &a->list[i];
    qsort(order, a->n, sizeof(*order), compare_place);
    for (size_t i = 1; i < a->n && !st; i++) {
        const struct given_answer *x = order[i - 1], *y = order[i];
        struct task_item facts;

        if (x->item != y->item || x->sample_idx != y->sample_idx)
            continue;
        task_get_item(t, x->item, &facts);
        st = error_set(err, ST_INVALID,
                       "'%s' line %zu: item '%s' has sample_idx %d already in line %zu", a->name,
                       y->line, facts.id, y->sample_idx, x->line);
    }
    free(order);
    return st;
}

enum status answers_read(const char *path, const struct task *t, struct answers *ret,
                         struct error *err)
{
    struct answers a = { .name = strcmp(path, "-") == 0 ? "standard input" : path,
                         .model = "",
                         .prompt_form = "",
                         .selector = "",
                         .decoder = "",
                         .cache = "",
                         .backend = "" };
    struct reading r = { .a = &a, .t = t, .cell_key = "" };
    struct buf text = { 0 };
    enum status st = answers_read_bytes(path, &text, a.sha256, err);

    if (!st) {
        r.n_given = calloc(task_n_items(t), sizeof(*r.n_given));
        if (!r.n_given)
            st = no_memory(a.name, err);
    }
    if (!st)
        st = answers_each_line(&text, a.name, read_line, &r, err);
    if (!st && !a.n)
        st = error_set(err, ST_INVALID, "'%s' holds no answers to task '%s'", a.name,
                       task_get_def(t)->name);
    if (!st)
        st = check_twice(&a, t, err);
    free(r.n_given);
    buf_release(&text);
    if (st)
        answers_release(&a);
    else
        *ret = a;
    return st;
}

void answers_release(struct answers *a)
{
    arena_release(&a->arena);
    *a = (struct answers){ 0 };
}
