/* Ranges: numbers are kept as whole multiples of a power of ten, so that steps are exact. */
#include "harness/ranges.h"

#include <inttypes.h>
#include <stdint.h>
#include <string.h>

enum { MAX_DIGITS = 15 }; /* of a number, point aside: fits int64 with room for a sum */

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory reading a list");
}

/* Texts that grow. */
struct texts {
    struct arena *a;
    const char **items;
    size_t n, cap;
};

static enum status add(struct texts *t, const char *text, size_t len, struct error *err)
{
    const char *kept = arena_strdup(t->a, text, len);

    if (t->n == RANGES_MAX_VALUES)
        return error_set(err, ST_INVALID, "a list of more than %d values", RANGES_MAX_VALUES);
    if (t->n == t->cap) {
        size_t cap = t->cap ? 2 * t->cap : 8;
        const char **items = arena_array(t->a, cap, sizeof(*items));

        if (!items)
            return no_memory(err);
        if (t->n)
            memcpy(items, t->items, t->n * sizeof(*items));
        t->items = items;
        t->cap = cap;
    }
    if (!kept)
        return no_memory(err);
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->items[i], kept) == 0)
            return error_set(err, ST_INVALID, "value '%s' is listed twice", kept);
    t->items[t->n++] = kept;
    return ST_OK;
}

/* A number without its point: digits / 10^n_decimals. */
struct number {
    int64_t digits;
    int n_decimals;
};

/* The number at *at, which is moved behind it. */
static bool read_number(const char **at, const char *end, struct number *ret)
{
    const char *p = *at;
    struct number x = { 0 };
    int n = 0;
    bool has_point = false;

    for (; p < end && ((*p >= '0' && *p <= '9') || (*p == '.' && !has_point)); p++) {
        if (*p == '.') {
            has_point = true;
            continue;
        }
        if (++n > MAX_DIGITS)
            return false;
        x.digits = 10 * x.digits + (*p - '0');
        x.n_decimals += has_point;
    }
    if (!n || p[-1] == '.')
        return false;
    *at = p;
    *ret = x;
    return true;
}

/* FIRST-LAST, FIRST-LAST+STEP or FIRST-LAST*FACTOR */
struct range {
    struct number first, last, by;
    char op; /* '+', '*' */
};

static bool read_range(const char *text, size_t len, struct range *ret)
{
    const char *end = text + len;

    *ret = (struct range){ .by = { 1, 0 }, .op = '+' };
    if (!read_number(&text, end, &ret->first) || text == end || *text++ != '-' ||
        !read_number(&text, end, &ret->last))
        return false;
    if (text == end)
        return true;
    ret->op = *text++;
    return (ret->op == '+' || ret->op == '*') && read_number(&text, end, &ret->by) && text == end;
}

/* To n_decimals, or false: too many digits. */
static bool widen(struct number *x, int n_decimals)
{
    for (; x->n_decimals < n_decimals; x->n_decimals++) {
        if (x->digits > INT64_MAX / 100)
            return false;
        x->digits *= 10;
    }
    return true;
}

static const char *number_text(struct arena *a, struct number x)
{
    int64_t unit = 1;

    for (; x.n_decimals > 0 && x.digits % 10 == 0; x.n_decimals--)
        x.digits /= 10;
    for (int i = 0; i < x.n_decimals; i++)
        unit *= 10;
    if (!x.n_decimals)
        return arena_printf(a, "%" PRId64, x.digits);
    return arena_printf(a, "%" PRId64 ".%0*" PRId64, x.digits / unit, x.n_decimals,
                        x.digits % unit);
}

static enum status add_range(struct texts *t, const char *text, size_t len, struct range r,
                             struct error *err)
{
    int n_decimals = r.first.n_decimals, n = (int)len;
    enum status st = ST_OK;

    if (r.last.n_decimals > n_decimals)
        n_decimals = r.last.n_decimals;
    if (r.op == '+' && r.by.n_decimals > n_decimals)
        n_decimals = r.by.n_decimals;
    if (r.op == '*' && (r.by.n_decimals || r.by.digits < 2 || !r.first.digits))
        return error_set(err, ST_INVALID,
                         "range '%.*s' needs a whole factor of 2 or more, and not to begin with 0",
                         n, text);
    if (!widen(&r.first, n_decimals) || !widen(&r.last, n_decimals) ||
        (r.op == '+' && !widen(&r.by, n_decimals)))
        return error_set(err, ST_INVALID, "range '%.*s' has too many digits", n, text);
    if (r.last.digits < r.first.digits)
        return error_set(err, ST_INVALID, "range '%.*s' ends before it begins", n, text);
    if (!r.by.digits)
        return error_set(err, ST_INVALID, "range '%.*s' takes no steps", n, text);
    for (struct number x = r.first; x.digits <= r.last.digits && !st;) {
        const char *value = number_text(t->a, x);

        st = value ? add(t, value, strlen(value), err) : no_memory(err);
        if (r.op == '+')
            x.digits += r.by.digits;
        else if (x.digits > r.last.digits / r.by.digits)
            break;
        else
            x.digits *= r.by.digits;
    }
    return st;
}

static enum status add_entry(struct texts *t, const char *text, size_t len, struct error *err)
{
    struct range r;

    if (!len)
        return error_set(err, ST_INVALID, "a list has an empty entry");
    return read_range(text, len, &r) ? add_range(t, text, len, r, err) : add(t, text, len, err);
}

enum status ranges_expand(const char *text, struct arena *a, const char *const **ret, size_t *ret_n,
                          struct error *err)
{
    struct texts t = { .a = a };
    enum status st;

    for (;; text++) {
        size_t len = strcspn(text, ",");

        st = add_entry(&t, text, len, err);
        text += len;
        if (st || !*text)
            break;
    }
    if (st)
        return st;
    *ret = t.items;
    *ret_n = t.n;
    return ST_OK;
}

/* Every text of t with every value of a field behind it. */
static enum status multiply(struct texts *t, const char *sep, const char *name, size_t name_len,
                            const struct texts *values, struct error *err)
{
    struct texts out = { .a = t->a };
    enum status st = ST_OK;

    for (size_t i = 0; i < t->n && !st; i++) {
        for (size_t k = 0; k < values->n && !st; k++) {
            const char *text = arena_printf(t->a, "%s%s%.*s%s", t->items[i], sep, (int)name_len,
                                            name, values->items[k]);

            st = text ? add(&out, text, strlen(text), err) : no_memory(err);
        }
    }
    *t = out;
    return st;
}

/* Has the word at p, up to the next comma, a "="? */
static bool begins_field(const char *p)
{
    return p[strcspn(p, "=,")] == '=';
}

enum status ranges_expand_selector(const char *text, struct arena *a, const char *const **ret,
                                   size_t *ret_n, struct error *err)
{
    struct texts t = { .a = a };
    size_t len = strcspn(text, ":");
    const char *p = text + len, *sep = ":";
    enum status st = add(&t, text, len, err);

    while (*p && !st) {
        struct texts values = { .a = a };
        const char *name = ++p;
        size_t name_len = strcspn(p, "=,");

        /* a field's name with its "="; what has none is left to the engine to refuse */
        name_len = p[name_len] == '=' ? name_len + 1 : 0;
        p += name_len;
        for (;;) {
            len = strcspn(p, ",");
            st = name_len && len ? add_entry(&values, p, len, err) : add(&values, p, len, err);
            p += len;
            if (st || !*p || begins_field(p + 1))
                break;
            p++;
        }
        if (!st)
            st = multiply(&t, sep, name, name_len, &values, err);
        sep = ",";
    }
    if (st)
        return error_prefix(err, st, "selector '%s'", text);
    *ret = t.items;
    *ret_n = t.n;
    return ST_OK;
}
