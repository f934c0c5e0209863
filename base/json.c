/* JSON through jansson. */
#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/guard.h"
#include "base/utf8.h"

/*
 * Memory of jansson. Its parser (2.14, load.c) does not look at whether a byte of the text being
 * scanned could be saved: short of memory it goes on with a token cut short, and then asserts, or
 * reads on behind it. So it parses under a guard. It holds no lock and no file there: the parser
 * keeps its state on the stack, and the only state of the library, the seed of its hash tables, is
 * made without allocating. Outside of a parse a failed allocation is NULL as ever, which
 * jansson's other calls report.
 */
static _Thread_local struct guard *parse_under_way;

static void *alloc_guarded(size_t size)
{
    return guard_alloc(parse_under_way, size);
}

/* Before main(), so that no value is ever made by one allocator and freed by the other. */
__attribute__((constructor)) static void set_alloc_funcs(void)
{
    json_set_alloc_funcs(alloc_guarded, guard_free);
}

struct load {
    const char *data;
    size_t len;
    json_t *value; /* or NULL, and: */
    json_error_t error;
};

static void load(void *arg)
{
    struct load *l = arg;

    l->value = json_loadb(l->data, l->len,
                          JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &l->error);
}

enum status json_parse(const char *data, size_t len, const char *name, size_t line, json_t **ret,
                       struct error *err)
{
    struct load l = { .data = data, .len = len };

    /* jansson skips one behind a number or a word */
    if (len && memchr(data, '\0', len)) {
        size_t at = (size_t)((const char *)memchr(data, '\0', len) - data);
        if (line)
            return error_set(err, ST_INVALID, "'%s' line %zu: not valid JSON at byte %zu: NUL",
                             name, line, at);
        return error_set(err, ST_INVALID, "'%s': not valid JSON at byte %zu: NUL", name, at);
    }
    if (!guard_run(&parse_under_way, load, &l))
        return error_set(err, ST_NOMEM, "out of memory parsing '%s'", name);
    if (!l.value) {
        if (line)
            return error_set(err, ST_INVALID, "'%s' line %zu: not valid JSON at byte %d: %s", name,
                             line, l.error.position, l.error.text);
        return error_set(err, ST_INVALID, "'%s' line %d: not valid JSON at byte %d: %s", name,
                         l.error.line, l.error.position, l.error.text);
    }
    *ret = l.value;
    return ST_OK;
}

enum status json_read(const char *path, size_t max_bytes, json_t **ret, struct error *err)
{
    struct buf b = { 0 };
    enum status st = file_read(path, max_bytes, &b, err);

    if (!st)
        st = json_parse(buf_str(&b), b.len, path, 0, ret, err);
    buf_release(&b);
    return st;
}

static const char *type_name(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a number";
    case JSON_TRUE: return "true";
    case JSON_FALSE: return "false";
    case JSON_NULL: return "null";
    }
    return "something unknown";
}

/* The member, or NULL with err set. `want` says the type in words. */
static json_t *member(const json_t *obj, const char *where, const char *key, const char *want,
                      struct error *err)
{
    json_t *v;

    if (!json_is_object(obj)) {
        error_set(err, ST_INVALID, "%s: an object is needed, found %s", where,
                  obj ? type_name(obj) : "nothing");
        return NULL;
    }
    v = json_object_get(obj, key);
    if (!v)
        error_set(err, ST_INVALID, "%s: field '%s' (%s) is missing", where, key, want);
    return v;
}

static enum status wrong(const json_t *v, const char *where, const char *key, const char *want,
                         struct error *err)
{
    struct buf text = { 0 };

    json_put_value(&text, v, JSON_COMPACT);
    error_set(err, ST_INVALID, "%s: field '%s' must be %s, found %s: %.80s", where, key, want,
              type_name(v), buf_ok(&text) ? buf_str(&text) : "?");
    buf_release(&text);
    return ST_INVALID;
}

enum status json_get_str(const json_t *obj, const char *where, const char *key, const char **ret,
                         size_t *ret_len, struct error *err)
{
    json_t *v = member(obj, where, key, "a string", err);

    if (!v)
        return ST_INVALID;
    if (!json_is_string(v))
        return wrong(v, where, key, "a string", err);
    if (!ret_len && strlen(json_string_value(v)) != json_string_length(v))
        return error_set(err, ST_INVALID, "%s: field '%s' holds a NUL character", where, key);
    *ret = json_string_value(v);
    if (ret_len)
        *ret_len = json_string_length(v);
    return ST_OK;
}

enum status json_get_int(const json_t *obj, const char *where, const char *key, int64_t min,
                         int64_t max, int64_t *ret, struct error *err)
{
    json_t *v = member(obj, where, key, "an integer", err);
    int64_t x;

    if (!v)
        return ST_INVALID;
    if (!json_is_integer(v))
        return wrong(v, where, key, "an integer", err);
    x = json_integer_value(v);
    if (x < min || x > max)
        return error_set(err, ST_INVALID, "%s: field '%s' must be %lld .. %lld, found %lld", where,
                         key, (long long)min, (long long)max, (long long)x);
    *ret = x;
    return ST_OK;
}

enum status json_get_num(const json_t *obj, const char *where, const char *key, double *ret,
                         struct error *err)
{
    json_t *v = member(obj, where, key, "a number", err);

    if (!v)
        return ST_INVALID;
    if (!json_is_number(v))
        return wrong(v, where, key, "a number", err);
    *ret = json_number_value(v);
    return ST_OK;
}

enum status json_get_bool(const json_t *obj, const char *where, const char *key, bool *ret,
                          struct error *err)
{
    json_t *v = member(obj, where, key, "true or false", err);

    if (!v)
        return ST_INVALID;
    if (!json_is_boolean(v))
        return wrong(v, where, key, "true or false", err);
    *ret = json_is_true(v);
    return ST_OK;
}

enum status json_get_array(const json_t *obj, const char *where, const char *key, json_t **ret,
                           struct error *err)
{
    json_t *v = member(obj, where, key, "an array", err);

    if (!v)
        return ST_INVALID;
    if (!json_is_array(v))
        return wrong(v, where, key, "an array", err);
    *ret = v;
    return ST_OK;
}

enum status json_get_object(const json_t *obj, const char *where, const char *key, json_t **ret,
                            struct error *err)
{
    json_t *v = member(obj, where, key, "an object", err);

    if (!v)
        return ST_INVALID;
    if (!json_is_object(v))
        return wrong(v, where, key, "an object", err);
    *ret = v;
    return ST_OK;
}

static int append(const char *text, size_t len, void *b)
{
    buf_append(b, text, len);
    return buf_ok(b) ? 0 : -1;
}

void json_put_value(struct buf *b, const json_t *v, size_t flags)
{
    if (v && json_dump_callback(v, append, b, flags | JSON_ENCODE_ANY) != 0)
        b->is_failed = true;
}

void json_put_str(struct buf *b, const char *s, size_t len)
{
    buf_putc(b, '"');
    for (size_t i = 0; i < len;) {
        unsigned char c = (unsigned char)s[i];
        uint32_t cp;
        int n;

        if (c == '"' || c == '\\') {
            buf_putc(b, '\\');
            buf_putc(b, (char)c);
            i++;
        } else if (c == '\n') {
            buf_puts(b, "\\n");
            i++;
        } else if (c < 0x20 || c == 0x7f) {
            buf_printf(b, "\\u%04x", c);
            i++;
        } else if ((n = utf8_decode(s + i, len - i, &cp)) > 0) {
            buf_append(b, s + i, (size_t)n);
            i += (size_t)n;
        } else {
            buf_puts(b, "\xef\xbf\xbd");
            i++;
        }
    }
    buf_putc(b, '"');
}

void json_put_num(struct buf *b, double v)
{
    char s[40];

    if (!isfinite(v)) {
        buf_puts(b, "null");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        double back;
        snprintf(s, sizeof(s), "%.*g", digits, v);
        if (sscanf(s, "%lf", &back) == 1 && back == v)
            break;
    }
    buf_puts(b, s);
}
