/* JSON through jansson. */
#include "base/json.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/utf8.h"

/*
 * jansson reports some failed allocations as syntax errors or without a message, and goes on
 * with a string cut short after others. It is told to allocate through here, where a failure is
 * noted for the parse under way in this thread.
 */
static _Thread_local bool is_out_of_memory;

static void *alloc_noting(size_t size)
{
    void *p = malloc(size);

    if (!p)
        is_out_of_memory = true;
    return p;
}

static void watch_allocations(void)
{
    json_set_alloc_funcs(alloc_noting, free);
}

enum status json_parse(const char *data, size_t len, const char *name, size_t line, json_t **ret,
                       struct error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    json_error_t je;
    json_t *v;

    pthread_once(&once, watch_allocations);
    is_out_of_memory = false;
    v = json_loadb(data, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &je);
    if (is_out_of_memory || (!v && json_error_code(&je) == json_error_out_of_memory)) {
        json_decref(v);
        return error_set(err, ST_NOMEM, "out of memory parsing '%s'", name);
    }
    if (!v) {
        if (line)
            return error_set(err, ST_INVALID, "'%s' line %zu: not valid JSON at byte %d: %s", name,
                             line, je.position, je.text);
        return error_set(err, ST_INVALID, "'%s' line %d: not valid JSON at byte %d: %s", name,
                         je.line, je.position, je.text);
    }
    *ret = v;
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
    char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);

    error_set(err, ST_INVALID, "%s: field '%s' must be %s, found %s: %.80s", where, key, want,
              type_name(v), text ? text : "?");
    free(text);
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
