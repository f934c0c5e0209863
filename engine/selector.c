/*
 * Expert selectors: the table of policies and their fields, and the parser over it.
 *
 * `fields` describes every setting of struct selector once (name, where it lives, range);
 * `policies` says which of them a policy has and what they are when not given. The parser and
 * the printer walk these two tables and know no policy by name.
 */
#include "engine/selector.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum field_id { FIELD_K, N_FIELDS };

static const struct field {
    const char *name;
    size_t offset; /* of an int in struct selector */
    int min, max;  /* whatever the model; selector_route() narrows them */
} fields[N_FIELDS] = {
    [FIELD_K] = { "k", offsetof(struct selector, k), 1, KERNEL_MAX_TOP_K },
};

enum policy_id { POLICY_VANILLA, POLICY_TOPK, N_POLICIES };

static const struct engine_choice choices[N_POLICIES + 1] = {
    [POLICY_VANILLA] = { "vanilla", "the model's own routing", "the checkpoint's config.json" },
    [POLICY_TOPK] = { "topk", "each token keeps its k best experts (k <= the model's own top-k)",
                      "top-k reduction, a baseline of arXiv:2602.00879" },
};

struct selector_policy {
    const struct engine_choice *about;
    unsigned has;         /* fields it takes: bits 1 << field_id */
    unsigned needs;       /* of them, those that have no default */
    struct selector init; /* settings where the text says nothing */
};

static const struct selector_policy policies[N_POLICIES] = {
    [POLICY_VANILLA] = { .about = &choices[POLICY_VANILLA] },
    [POLICY_TOPK] = { .about = &choices[POLICY_TOPK],
                      .has = 1U << FIELD_K,
                      .needs = 1U << FIELD_K },
};

const struct engine_choice *engine_selectors(void)
{
    return choices;
}

/* A piece of the text: not NUL-terminated. */
struct span {
    const char *at;
    size_t len;
};

enum { SHOWN_MAX = 64 }; /* bytes of a user's text that a message repeats */

static int shown(struct span s)
{
    return s.len < SHOWN_MAX ? (int)s.len : SHOWN_MAX;
}

static bool span_is(struct span s, const char *name)
{
    return strlen(name) == s.len && memcmp(name, s.at, s.len) == 0;
}

/* Up to the first of stop (or the end); *text moves past it. */
static struct span span_until(const char **text, char stop)
{
    const char *end = strchr(*text, stop);
    struct span s = { *text, end ? (size_t)(end - *text) : strlen(*text) };

    *text = end ? end + 1 : *text + s.len;
    return s;
}

static const struct selector_policy *policy_find(struct span name)
{
    for (size_t i = 0; i < N_POLICIES; i++)
        if (span_is(name, policies[i].about->name))
            return &policies[i];
    return NULL;
}

/* "a, b, c" of the policies, or of the fields in a set. */
static const char *list_policies(struct buf *b)
{
    for (size_t i = 0; i < N_POLICIES; i++)
        buf_printf(b, "%s%s", i ? ", " : "", policies[i].about->name);
    return buf_str(b);
}

static const char *list_fields(unsigned set, struct buf *b)
{
    for (unsigned i = 0; i < N_FIELDS; i++)
        if (set & 1U << i)
            buf_printf(b, "%s%s", b->len ? ", " : "", fields[i].name);
    return b->len ? buf_str(b) : "none";
}

static int *field_at(const struct field *f, struct selector *s)
{
    return (int *)(void *)((char *)s + f->offset);
}

static bool parse_int(struct span s, int *ret)
{
    char *end;
    long v;

    if (!s.len || (!isdigit((unsigned char)s.at[0]) && s.at[0] != '-'))
        return false;
    errno = 0;
    v = strtol(s.at, &end, 10);
    if (end != s.at + s.len || errno || v < -1000000000 || v > 1000000000)
        return false;
    *ret = (int)v;
    return true;
}

static enum status parse_field(struct span item, struct selector *s, unsigned *seen,
                               struct error *err)
{
    const struct selector_policy *p = s->policy;
    const char *eq = memchr(item.at, '=', item.len);
    struct span name = { item.at, eq ? (size_t)(eq - item.at) : item.len };
    struct span value = { eq ? eq + 1 : NULL, eq ? item.len - name.len - 1 : 0 };
    struct buf list = { 0 };
    unsigned i;
    int v;

    for (i = 0; i < N_FIELDS; i++)
        if ((p->has & 1U << i) && span_is(name, fields[i].name))
            break;
    if (i == N_FIELDS) {
        error_set(err, ST_INVALID, "selector '%s' has no field '%.*s'; its fields: %s",
                  p->about->name, shown(name), name.at, list_fields(p->has, &list));
        buf_release(&list);
        return ST_INVALID;
    }
    if (!eq)
        return error_set(err, ST_INVALID, "selector '%s': field '%s' has no value: write '%s=...'",
                         p->about->name, fields[i].name, fields[i].name);
    if (*seen & 1U << i)
        return error_set(err, ST_INVALID, "selector '%s': field '%s' is given twice",
                         p->about->name, fields[i].name);
    if (!parse_int(value, &v))
        return error_set(err, ST_INVALID, "selector '%s': field '%s' is not an integer: '%.*s'",
                         p->about->name, fields[i].name, shown(value), value.at);
    if (v < fields[i].min || v > fields[i].max)
        return error_set(err, ST_INVALID, "selector '%s': need %d <= %s %d <= %d", p->about->name,
                         fields[i].min, fields[i].name, v, fields[i].max);
    *field_at(&fields[i], s) = v;
    *seen |= 1U << i;
    return ST_OK;
}

enum status selector_parse(const char *text, struct selector *ret, struct error *err)
{
    const char *rest = text;
    bool has_list = strchr(text, ':') != NULL;
    struct span name = span_until(&rest, ':');
    const struct selector_policy *p = policy_find(name);
    struct buf list = { 0 };
    struct selector s;
    unsigned seen = 0;
    enum status st;

    if (!p) {
        error_set(err, ST_INVALID, "unknown selector '%.*s'; known: %s", shown(name), name.at,
                  list_policies(&list));
        buf_release(&list);
        return ST_INVALID;
    }
    s = p->init;
    s.policy = p;
    while (has_list) { /* every ',' has something on both sides */
        has_list = strchr(rest, ',') != NULL;
        st = parse_field(span_until(&rest, ','), &s, &seen, err);
        if (st)
            return st;
    }
    if (p->needs & ~seen) {
        error_set(err, ST_INVALID, "selector '%s' needs a value of: %s", p->about->name,
                  list_fields(p->needs & ~seen, &list));
        buf_release(&list);
        return ST_INVALID;
    }
    *ret = s;
    return ST_OK;
}

enum status selector_route(const struct selector *s, const struct route_params *model,
                           struct route_params *ret, struct error *err)
{
    struct route_params r = *model;

    if (s->k > model->top_k)
        return error_set(err, ST_INVALID,
                         "selector '%s': k %d is more than the model's own top-k %d",
                         s->policy->about->name, s->k, model->top_k);
    if (s->k)
        r.top_k = s->k;
    *ret = r;
    return ST_OK;
}

void selector_put(const struct selector *s, struct buf *ret)
{
    struct selector copy = *s;
    char sep = ':';

    buf_puts(ret, s->policy->about->name);
    for (unsigned i = 0; i < N_FIELDS; i++)
        if (s->policy->has & 1U << i) {
            buf_printf(ret, "%c%s=%d", sep, fields[i].name, *field_at(&fields[i], &copy));
            sep = ',';
        }
}

enum status engine_selector_text(const char *selector, struct buf *ret, struct error *err)
{
    struct selector s;
    enum status st = selector_parse(selector, &s, err);

    if (st)
        return st;
    selector_put(&s, ret);
    return buf_ok(ret) ? ST_OK : error_set(err, ST_NOMEM, "out of memory");
}
