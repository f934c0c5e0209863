/* Python values to JSON: recursive descent over the tokens of python_token.h. */
#include "tasks/python_literal.h"

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "tasks/python_token.h"

enum { MAX_DEPTH = 64 };

struct reader {
    struct span source;
    const char *file;
    const struct python_token *at; /* of an array that ends in PYTHON_END */
    struct error *err;
};

static enum status no_memory(const struct reader *r)
{
    return error_set(r->err, ST_NOMEM, "out of memory reading '%s'", r->file);
}

static struct span text_of(const struct reader *r, const struct python_token *t)
{
    return span_sub(r->source, t->at, t->at + t->len);
}

static bool is(const struct reader *r, const struct python_token *t, enum python_kind kind,
               const char *text)
{
    return t->kind == kind && span_equal(text_of(r, t), text);
}

static bool is_op(const struct reader *r, const char *op)
{
    return is(r, r->at, PYTHON_OP, op);
}

/* Something else than `want` stands at the current token. */
static enum status unexpected(const struct reader *r, const char *want)
{
    struct span found = text_of(r, r->at);

    if (r->at->kind == PYTHON_END || r->at->kind == PYTHON_NEWLINE)
        return error_set(r->err, ST_INVALID, "'%s' line %d: %s is needed, the %s ends", r->file,
                         r->at->line, want, r->at->kind == PYTHON_END ? "file" : "line");
    return error_set(r->err, ST_INVALID, "'%s' line %d: %s is needed, found '%.*s'", r->file,
                     r->at->line, want, (int)(found.len < 40 ? found.len : 40), found.s);
}

/* ---- strings ---------------------------------------------------------------------------- */

/* The value of up to max digits of a base, moving *at behind them; -1 if there are fewer than
 * min. */
static int64_t read_digits(struct span s, size_t *at, size_t min, size_t max, unsigned base)
{
    int64_t v = 0;
    size_t n = 0;

    for (; n < max && *at < s.len; n++, (*at)++) {
        static const char digits[] = "0123456789abcdef";
        char c = s.s[*at];
        const char *p = strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c);

        if (!c || !p || p - digits >= (int)base)
            break;
        v = v * base + (p - digits);
    }
    return n < min ? -1 : v;
}

/* One escape; *at is behind its backslash. Unknown ones keep the backslash, as in Python. */
static enum status read_escape(const struct reader *r, struct span s, size_t *at, struct buf *ret)
{
    static const char simple[] = "\\'\"abfnrtv", values[] = "\\'\"\a\b\f\n\r\t\v";
    char c = s.s[*at];
    const char *p = strchr(simple, c);
    int64_t v;

    if (c && p) {
        buf_putc(ret, values[p - simple]);
        ++*at;
        return ST_OK;
    }
    if (c == '\n') { /* the line goes on */
        ++*at;
        return ST_OK;
    }
    if (c >= '0' && c <= '7') {
        v = read_digits(s, at, 1, 3, 8);
    } else if (c == 'x' || c == 'u' || c == 'U') {
        size_t n = c == 'x' ? 2 : c == 'u' ? 4 : 8;

        ++*at;
        v = read_digits(s, at, n, n, 16);
        if (v < 0 || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff))
            return error_set(r->err, ST_INVALID, "'%s' line %d: '\\%c' does not name a character",
                             r->file, r->at->line, c);
    } else if (c == 'N') {
        return error_set(r->err, ST_INVALID, "'%s' line %d: '\\N' is not understood", r->file,
                         r->at->line);
    } else {
        buf_putc(ret, '\\');
        return ST_OK;
    }
    buf_put_utf8(ret, (unsigned)v);
    return ST_OK;
}

/* Append the value of the string token that the reader is at. */
static enum status read_string(const struct reader *r, struct buf *ret)
{
    struct span s = text_of(r, r->at);
    size_t prefix = 0, n_quotes;
    bool is_raw = false;

    for (; s.s[prefix] != '"' && s.s[prefix] != '\''; prefix++) {
        is_raw |= s.s[prefix] == 'r' || s.s[prefix] == 'R';
        if (strchr("bBfF", s.s[prefix]))
            return error_set(r->err, ST_INVALID, "'%s' line %d: a string with prefix '%c'", r->file,
                             r->at->line, s.s[prefix]);
    }
    s = span_sub(s, prefix, s.len);
    n_quotes = s.len >= 3 && s.s[1] == s.s[0] && s.s[2] == s.s[0] ? 3 : 1;
    if (s.len < 2 * n_quotes || memcmp(s.s, s.s + s.len - n_quotes, n_quotes) != 0)
        return error_set(r->err, ST_INVALID, "'%s' line %d: a string that does not end", r->file,
                         r->at->line);
    s = span_sub(s, n_quotes, s.len - n_quotes);
    for (size_t i = 0; i < s.len;) {
        char c = s.s[i++];
        enum status st;

        if (c == '\\' && !is_raw) {
            if (i == s.len) /* the quote that seemed to end it is part of it */
                return error_set(r->err, ST_INVALID, "'%s' line %d: a string that does not end",
                                 r->file, r->at->line);
            st = read_escape(r, s, &i, ret);
            if (st)
                return st;
        } else {
            buf_putc(ret, c);
        }
    }
    return ST_OK;
}

static enum status read_strings(struct reader *r, json_t **ret)
{
    struct buf b = { 0 };
    enum status st = ST_OK;

    for (; !st && r->at->kind == PYTHON_STRING; r->at++)
        st = read_string(r, &b);
    if (!st) {
        *ret = buf_ok(&b) ? json_stringn(buf_str(&b), b.len) : NULL;
        if (!*ret)
            st = no_memory(r);
    }
    buf_release(&b);
    return st;
}

/* ---- values ----------------------------------------------------------------------------- */

static enum status read_value(struct reader *r, int depth, json_t **ret);

/* Decimal, `_` between digits as Python allows it. */
static enum status read_number(struct reader *r, bool is_negative, json_t **ret)
{
    struct span s = text_of(r, r->at);
    char text[64];
    size_t n = 0;
    char *end;
    bool is_real = false, is_plain = r->at->kind == PYTHON_NUMBER && s.len < sizeof(text) - 1;

    text[n++] = is_negative ? '-' : '+';
    for (size_t i = 0; is_plain && i < s.len; i++) {
        is_real |= strchr(".eE", s.s[i]) != NULL;
        is_plain = strchr("0123456789.eE+-_", s.s[i]) != NULL;
        if (s.s[i] != '_')
            text[n++] = s.s[i];
    }
    text[n] = '\0';
    if (is_plain) {
        errno = 0;
        if (is_real) {
            double x = strtod(text, &end);

            is_plain = !*end && isfinite(x);
            *ret = is_plain ? json_real(x) : NULL;
        } else {
            long long x = strtoll(text, &end, 10);

            is_plain = !*end && !errno;
            *ret = is_plain ? json_integer(x) : NULL;
        }
    }
    if (!is_plain)
        return unexpected(r, "a decimal number");
    if (!*ret)
        return no_memory(r);
    r->at++;
    return ST_OK;
}

/* Behind a part of a container: a comma, or its end; *ret_end says which. */
static enum status read_separator(struct reader *r, const char *close, bool *ret_end)
{
    *ret_end = is_op(r, close);
    if (!*ret_end && !is_op(r, ",")) {
        char want[16] = "',' or ' '";

        want[8] = *close;
        return unexpected(r, want);
    }
    r->at++;
    if (!*ret_end && is_op(r, close)) { /* a comma behind the last part */
        *ret_end = true;
        r->at++;
    }
    return ST_OK;
}

/* [a, b], or with parentheses a tuple, or (a), which is a. The reader is behind the bracket. */
static enum status read_list(struct reader *r, const char *close, int depth, json_t **ret)
{
    json_t *list = json_array(), *v = NULL;
    bool is_end = is_op(r, close), is_paren = *close == ')';
    enum status st = list ? ST_OK : no_memory(r);

    if (is_end)
        r->at++;
    while (!st && !is_end) {
        st = read_value(r, depth, &v);
        if (!st && is_paren && is_op(r, close) && json_array_size(list) == 0) {
            r->at++;
            *ret = v;
            json_decref(list);
            return ST_OK;
        }
        if (!st && json_array_append_new(list, v) != 0)
            st = no_memory(r);
        if (!st)
            st = read_separator(r, close, &is_end);
    }
    if (st)
        json_decref(list);
    else
        *ret = list;
    return st;
}

static enum status put_member(struct reader *r, json_t *object, const struct python_token *at,
                              const char *key, int depth)
{
    json_t *v = NULL;
    enum status st;

    if (json_object_get(object, key))
        return error_set(r->err, ST_INVALID, "'%s' line %d: key '%s' is there twice", r->file,
                         at->line, key);
    st = read_value(r, depth, &v);
    if (!st && json_object_set_new(object, key, v) != 0)
        st = no_memory(r);
    return st;
}

/* One `key: value` of a display. */
static enum status read_item(struct reader *r, json_t *object, int depth)
{
    const struct python_token *at = r->at;
    json_t *key = NULL;
    enum status st;

    if (at->kind != PYTHON_STRING)
        return unexpected(r, "a string as key");
    st = read_strings(r, &key);
    if (!st && strlen(json_string_value(key)) != json_string_length(key))
        st = error_set(r->err, ST_INVALID, "'%s' line %d: a key with a NUL character", r->file,
                       at->line);
    if (!st && !is_op(r, ":"))
        st = unexpected(r, "':'");
    if (!st) {
        r->at++;
        st = put_member(r, object, at, json_string_value(key), depth);
    }
    json_decref(key);
    return st;
}

/* One `key=value` of a call. */
static enum status read_keyword(struct reader *r, json_t *object, int depth)
{
    const struct python_token *at = r->at;
    struct span name = text_of(r, at);
    struct buf key = { 0 };
    enum status st;

    if (at->kind != PYTHON_NAME)
        return unexpected(r, "NAME=VALUE");
    r->at++;
    if (!is_op(r, "="))
        return unexpected(r, "'='");
    r->at++;
    buf_append(&key, name.s, name.len);
    st = buf_ok(&key) ? put_member(r, object, at, buf_str(&key), depth) : no_memory(r);
    buf_release(&key);
    return st;
}

/* The members of {...} or dict(...); the reader is behind the bracket. */
static enum status read_object(struct reader *r, const char *close, int depth, json_t **ret)
{
    json_t *object = json_object();
    bool is_end = is_op(r, close);
    enum status st = object ? ST_OK : no_memory(r);

    if (is_end)
        r->at++;
    while (!st && !is_end) {
        st = *close == '}' ? read_item(r, object, depth) : read_keyword(r, object, depth);
        if (!st)
            st = read_separator(r, close, &is_end);
    }
    if (st)
        json_decref(object);
    else
        *ret = object;
    return st;
}

/* The arguments of a call that is not made: read, so that its end is found, and dropped. */
static enum status skip_arguments(struct reader *r, int depth)
{
    bool is_end = is_op(r, ")");
    enum status st = ST_OK;

    if (is_end)
        r->at++;
    while (!st && !is_end) {
        json_t *v = NULL;

        if (r->at->kind == PYTHON_NAME && is(r, r->at + 1, PYTHON_OP, "="))
            r->at += 2;
        st = read_value(r, depth, &v);
        json_decref(v);
        if (!st)
            st = read_separator(r, ")", &is_end);
    }
    return st;
}

static enum status read_name(struct reader *r, int depth, json_t **ret)
{
    static const char *const operators[] = { "not", "lambda", "await", "yield", "if", "for" };
    struct span name = text_of(r, r->at);
    enum status st = ST_OK;

    for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++)
        if (span_equal(name, operators[i]))
            return unexpected(r, "a value");
    r->at++;
    if (span_equal(name, "True") || span_equal(name, "False")) {
        *ret = json_boolean(name.len == strlen("True"));
        return ST_OK;
    }
    if (span_equal(name, "dict") && is_op(r, "(")) {
        r->at++;
        return read_object(r, ")", depth, ret);
    }
    while (is_op(r, ".") && (r->at + 1)->kind == PYTHON_NAME)
        r->at += 2;
    if (is_op(r, "(")) {
        r->at++;
        st = skip_arguments(r, depth);
    }
    if (!st)
        *ret = json_null(); /* None too */
    return st;
}

static enum status read_value(struct reader *r, int depth, json_t **ret)
{
    if (depth >= MAX_DEPTH)
        return error_set(r->err, ST_INVALID, "'%s' line %d: nested more than %d levels deep",
                         r->file, r->at->line, MAX_DEPTH);
    if (r->at->kind == PYTHON_STRING)
        return read_strings(r, ret);
    if (r->at->kind == PYTHON_NUMBER)
        return read_number(r, false, ret);
    if (r->at->kind == PYTHON_NAME)
        return read_name(r, depth + 1, ret);
    if (is_op(r, "-") || is_op(r, "+")) {
        r->at++;
        return read_number(r, is(r, r->at - 1, PYTHON_OP, "-"), ret);
    }
    if (is_op(r, "[")) {
        r->at++;
        return read_list(r, "]", depth + 1, ret);
    }
    if (is_op(r, "(")) {
        r->at++;
        return read_list(r, ")", depth + 1, ret);
    }
    if (is_op(r, "{")) {
        r->at++;
        return read_object(r, "}", depth + 1, ret);
    }
    return unexpected(r, "a value");
}

/* ---- places ----------------------------------------------------------------------------- */

/* Does a statement begin here, at column 0? */
static bool is_top(const struct reader *r, const struct python_token *t)
{
    return t->is_first && t->depth == 0 && t->kind != PYTHON_END &&
           (t->at == 0 || r->source.s[t->at - 1] == '\n');
}

/* The token where the value begins, or NULL. */
static const struct python_token *find_assigned(const struct reader *r, const char *name)
{
    const struct python_token *found = NULL;

    for (const struct python_token *t = r->at; t->kind != PYTHON_END; t++)
        if (is_top(r, t) && is(r, t, PYTHON_NAME, name) && is(r, t + 1, PYTHON_OP, "="))
            found = t + 2;
    return found;
}

static const struct python_token *find_returned(const struct reader *r, const char *name)
{
    const struct python_token *t = r->at;

    while (t->kind != PYTHON_END &&
           !(is_top(r, t) && is(r, t, PYTHON_NAME, "def") && is(r, t + 1, PYTHON_NAME, name)))
        t++;
    if (t->kind == PYTHON_END)
        return NULL;
    for (t++; t->kind != PYTHON_END && !is_top(r, t); t++)
        if (t->is_first && is(r, t, PYTHON_NAME, "return"))
            return t + 1;
    return NULL;
}

/* The source with its line ends as Python sees them: \n, whatever they are in the file. */
static bool read_lines(struct span source, struct arena *arena, struct span *ret)
{
    char *copy = arena_strdup(arena, source.s, source.len);
    size_t n = 0;

    for (size_t i = 0; copy && i < source.len; i++) {
        bool is_cr = source.s[i] == '\r';

        copy[n++] = is_cr ? '\n' : source.s[i];
        i += is_cr && i + 1 < source.len && source.s[i + 1] == '\n';
    }
    *ret = (struct span){ copy, n };
    return copy != NULL;
}

enum status python_literal_read(struct span source, const char *file, enum python_place place,
                                const char *name, json_t **ret, struct error *err)
{
    struct reader r = { .file = file, .err = err };
    struct python_token *tokens;
    struct arena arena = { 0 };
    size_t n, bad = utf8_check(source.s, source.len);
    json_t *v = NULL;
    enum status st;

    if (bad < source.len)
        return error_set(err, ST_INVALID, "'%s' byte %zu: not valid UTF-8", file, bad);
    if (!read_lines(source, &arena, &r.source)) {
        st = no_memory(&r);
        goto out;
    }
    st = python_tokenize(r.source, &arena, &tokens, &n, err);
    if (st)
        goto out;
    r.at = tokens;
    r.at = place == PYTHON_ASSIGNED ? find_assigned(&r, name) : find_returned(&r, name);
    if (!r.at && place == PYTHON_ASSIGNED)
        st = error_set(err, ST_INVALID, "'%s': nothing is assigned to '%s'", file, name);
    else if (!r.at)
        st = error_set(err, ST_INVALID, "'%s': there is no function '%s' that returns a value",
                       file, name);
    else
        st = read_value(&r, 0, &v);
    if (!st && r.at->kind != PYTHON_NEWLINE && r.at->kind != PYTHON_END && !is_op(&r, ";"))
        st = unexpected(&r, "the end of the line");
    if (st)
        json_decref(v);
    else
        *ret = v;
out:
    arena_release(&arena);
    return st;
}
