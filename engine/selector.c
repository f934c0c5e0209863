/*
 * Expert selectors: parser, printer and what settings mean for a model. All of them walk the tables
 * of selector_table.c and know no policy by name.
 */
#include "engine/selector.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A piece of the text: not NUL-terminated. */
struct span {
    const char *at;
    size_t len;
};

enum { SHOWN_MAX = 64, NUMBER_MAX = 31 }; /* bytes of a user's text: repeated; of a number */

static int shown(struct span s)
{
    return s.len < SHOWN_MAX ? (int)s.len : SHOWN_MAX;
}

static bool span_is(struct span s, const char *name)
{
    return name && strlen(name) == s.len && memcmp(name, s.at, s.len) == 0;
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
    for (const struct selector_alias *a = selector_aliases; a->name; a++)
        if (span_is(name, a->name)) {
            name = (struct span){ a->of, strlen(a->of) };
            break;
        }
    for (const struct selector_policy *p = selector_policies; p->name; p++)
        if (span_is(name, p->name))
            return p;
    return NULL;
}

/* "a, b, c" of the policies, or of the fields in a set. */
static const char *list_policies(struct buf *b)
{
    for (const struct selector_policy *p = selector_policies; p->name; p++)
        buf_printf(b, "%s%s", b->len ? ", " : "", p->name);
    return buf_str(b);
}

static const char *list_fields(unsigned set, struct buf *b)
{
    for (unsigned i = 0; i < N_SELECTOR_FIELDS; i++)
        if (set & 1U << i)
            buf_printf(b, "%s%s", b->len ? ", " : "", selector_fields[i].name);
    return buf_str(b);
}

static int int_of(const struct selector *s, enum selector_field f)
{
    return (int)s->v[f];
}

/* ---- which settings are read ------------------------------------------------------------- */

static bool has_votes(const struct selector *s)
{
    return int_of(s, SEL_SIZE) == SIZE_TOP_P ||
           (int_of(s, SEL_SIZE) == SIZE_FIXED && int_of(s, SEL_ELECT) == ELECT_VOTES);
}

bool selector_reads(const struct selector *s, enum selector_field f)
{
    int size = int_of(s, SEL_SIZE), keep = int_of(s, SEL_KEEP);
    bool has_core = size != SIZE_NONE;

    switch (f) {
    case SEL_K:
    case SEL_KEEP:
    case SEL_SIZE:
    case SEL_RENORM: return true;
    case SEL_BETA:
    case SEL_M:
    case SEL_ELECT: return size == SIZE_FIXED;
    case SEL_P: return size == SIZE_TOP_P || keep == KEEP_TOP_P;
    case SEL_P_OF: return keep == KEEP_TOP_P;
    case SEL_TAIL: return keep == KEEP_TAIL;
    case SEL_PROTECT: return keep != KEEP_ALL;
    case SEL_FLOOR: return size == SIZE_TOP_P;
    case SEL_VOTE:
    case SEL_VOTE_NORM:
    case SEL_MASK:
    case SEL_MASK_GROUP: return has_votes(s);
    case SEL_VOTERS:
        return has_core && (has_votes(s) || int_of(s, SEL_K0) ||
                            (size == SIZE_FIXED && int_of(s, SEL_ELECT) == ELECT_MASS));
    case SEL_K0:
    case SEL_SCOPE:
    case SEL_LAG:
    case SEL_OUTSIDE: return has_core;
    case SEL_PREFILL:
        return has_core || keep != KEEP_ALL || int_of(s, SEL_K) || int_of(s, SEL_RENORM);
    case SEL_GROUP: return has_core && !int_of(s, SEL_OUTSIDE);
    case SEL_GUARD:
        return has_core && !int_of(s, SEL_OUTSIDE) && int_of(s, SEL_GROUP) != INSIDE_LIFTED;
    case SEL_SEED: return size == SIZE_FIXED && int_of(s, SEL_ELECT) == ELECT_RANDOM;
    case SEL_FILE: return size == SIZE_FIXED && int_of(s, SEL_ELECT) == ELECT_STATIC;
    case N_SELECTOR_FIELDS: break;
    }
    return false;
}

/* ---- parsing ----------------------------------------------------------------------------- */

/* The number that a whole span is; false if it is none. Decimal only. */
static bool parse_number(struct span s, double *ret)
{
    char text[NUMBER_MAX + 1], *end;

    if (!s.len || s.len > NUMBER_MAX || !(isdigit((unsigned char)s.at[0]) || s.at[0] == '.'))
        return false;
    memcpy(text, s.at, s.len);
    text[s.len] = '\0';
    if (strspn(text, "0123456789.eE+-") != s.len)
        return false;
    errno = 0;
    *ret = strtod(text, &end);
    return end == text + s.len && isfinite(*ret);
}

static bool parse_int(struct span s, double *ret)
{
    char text[NUMBER_MAX + 1], *end;
    long long v;

    if (!s.len || s.len > NUMBER_MAX || !(isdigit((unsigned char)s.at[0]) || s.at[0] == '-'))
        return false;
    memcpy(text, s.at, s.len);
    text[s.len] = '\0';
    errno = 0;
    v = strtoll(text, &end, 10);
    if (end != text + s.len || errno || llabs(v) > 1000000000)
        return false;
    *ret = (double)v;
    return true;
}

static enum status parse_word(const struct selector_policy *p, const struct selector_field_row *f,
                              struct span value, double *ret, struct error *err)
{
    const char *words = f->words;

    for (int i = 0; *words; i++) {
        struct span word = span_until(&words, '|');

        if (word.len == value.len && memcmp(word.at, value.at, value.len) == 0) {
            *ret = i;
            return ST_OK;
        }
    }
    return error_set(err, ST_INVALID, "selector '%s': field '%s' is one of %s, not '%.*s'", p->name,
                     f->name, f->words, shown(value), value.at);
}

/* "PATH@sha256:0123456789abcdef": what the file has to hold. */
static void split_sha256(struct selector *s)
{
    static const char mark[] = "@sha256:";
    size_t n = sizeof(mark) - 1 + SELECTOR_SHA_LEN;
    const char *at = s->file + s->file_len - n;

    if (s->file_len <= n || memcmp(at, mark, sizeof(mark) - 1) != 0)
        return;
    s->file_sha256 = at + sizeof(mark) - 1;
    for (int i = 0; i < SELECTOR_SHA_LEN; i++)
        if (!strchr("0123456789abcdef", s->file_sha256[i])) {
            s->file_sha256 = NULL;
            return;
        }
    s->file_len -= n;
}

static enum status parse_value(const struct selector_policy *p, const struct selector_field_row *f,
                               struct span value, struct selector *s, struct error *err)
{
    double *ret = &s->v[f - selector_fields], v = 0;

    switch (f->kind) {
    case FIELD_WORD: return parse_word(p, f, value, ret, err);
    case FIELD_TEXT:
        if (!value.len)
            return error_set(err, ST_INVALID, "selector '%s': field '%s' is empty", p->name,
                             f->name);
        s->file = value.at;
        s->file_len = value.len;
        split_sha256(s);
        return ST_OK;
    case FIELD_INT:
        if (span_is(value, f->zero) || span_is(value, f->full)) {
            *ret = span_is(value, f->zero) ? 0 : f->max;
            return ST_OK;
        }
        if (!parse_int(value, &v))
            return error_set(err, ST_INVALID, "selector '%s': field '%s' is not an integer: '%.*s'",
                             p->name, f->name, shown(value), value.at);
        if (v < f->min || v > f->max)
            return error_set(err, ST_INVALID, "selector '%s': need %.0f <= %s %.0f <= %.0f",
                             p->name, f->min, f->name, v, f->max);
        break;
    case FIELD_NUMBER:
        if (!parse_number(value, &v))
            return error_set(err, ST_INVALID, "selector '%s': field '%s' is not a number: '%.*s'",
                             p->name, f->name, shown(value), value.at);
        if (v < f->min || v > f->max)
            return error_set(err, ST_INVALID, "selector '%s': need %g <= %s %g <= %g", p->name,
                             f->min, f->name, v, f->max);
        break;
    }
    *ret = v;
    return ST_OK;
}

static enum status parse_field(struct span item, struct selector *s, unsigned *seen,
                               struct error *err)
{
    const struct selector_policy *p = s->policy;
    const char *eq = memchr(item.at, '=', item.len);
    struct span name = { item.at, eq ? (size_t)(eq - item.at) : item.len };
    struct span value = { eq ? eq + 1 : NULL, eq ? item.len - name.len - 1 : 0 };
    const struct selector_field_row *f = NULL;
    struct buf list = { 0 };

    for (int i = 0; i < N_SELECTOR_FIELDS && !f; i++)
        if (span_is(name, selector_fields[i].name))
            f = &selector_fields[i];
    if (!f) {
        error_set(err, ST_INVALID, "selector '%s' has no field '%.*s'; its fields: %s", p->name,
                  shown(name), name.at, list_fields(~0U, &list));
        buf_release(&list);
        return ST_INVALID;
    }
    if (!eq)
        return error_set(err, ST_INVALID, "selector '%s': field '%s' has no value: write '%s=...'",
                         p->name, f->name, f->name);
    if (*seen & 1U << (f - selector_fields))
        return error_set(err, ST_INVALID, "selector '%s': field '%s' is given twice", p->name,
                         f->name);
    *seen |= 1U << (f - selector_fields);
    return parse_value(p, f, value, s, err);
}

/* Settings that are missing or contradict each other. */
static enum status check(const struct selector *s, unsigned seen, struct error *err)
{
    const char *name = s->policy->name;
    int size = int_of(s, SEL_SIZE), vote = int_of(s, SEL_VOTE);

    for (int i = 0; i < N_SELECTOR_FIELDS; i++)
        if ((seen & 1U << i) && !selector_reads(s, (enum selector_field)i))
            return error_set(err, ST_INVALID,
                             "selector '%s': nothing reads field '%s' here; it goes with %s", name,
                             selector_fields[i].name, selector_fields[i].read_with);
    if (size == SIZE_FIXED && s->v[SEL_BETA] > 0 && s->v[SEL_M] > 0)
        return error_set(err, ST_INVALID, "selector '%s': give beta or m, not both", name);
    if (size == SIZE_FIXED && !(s->v[SEL_BETA] > 0) && !(s->v[SEL_M] > 0))
        return error_set(err, ST_INVALID, "selector '%s' needs a value above 0 of: beta or m",
                         name);
    if (selector_reads(s, SEL_P) && !(s->v[SEL_P] > 0))
        return error_set(err, ST_INVALID, "selector '%s' needs a value above 0 of: p", name);
    if (size == SIZE_UNION && !int_of(s, SEL_K0))
        return error_set(err, ST_INVALID, "selector '%s' needs a value above 0 of: k0", name);
    if (selector_reads(s, SEL_FILE) && !s->file)
        return error_set(err, ST_INVALID, "selector '%s' needs a value of: file", name);
    if (has_votes(s) && int_of(s, SEL_VOTE_NORM) && vote != VOTE_PROB && vote != VOTE_BIASED)
        return error_set(err, ST_INVALID,
                         "selector '%s': vote_norm=topk goes with vote=prob or vote=biased", name);
    if (size == SIZE_TOP_P && vote == VOTE_LOGIT)
        return error_set(err, ST_INVALID,
                         "selector '%s': size=topp needs votes that are not negative, vote=logit "
                         "may be",
                         name);
    if (int_of(s, SEL_SCOPE) == SCOPE_BATCH &&
        (int_of(s, SEL_LAG) || int_of(s, SEL_PREFILL) == PREFILL_BLOCKS))
        return error_set(err, ST_INVALID,
                         "selector '%s': scope=batch goes neither with lag=1 nor with "
                         "prefill=blocks",
                         name);
    return ST_OK;
}

enum status selector_parse(const char *text, struct selector *ret, struct error *err)
{
    const char *rest = text;
    bool has_list = strchr(text, ':') != NULL;
    struct span name = span_until(&rest, ':');
    const struct selector_policy *p = policy_find(name);
    struct buf list = { 0 };
    struct selector s = { .policy = p };
    unsigned seen = 0;
    enum status st;

    if (!p) {
        error_set(err, ST_INVALID, "unknown selector '%.*s'; known: %s", shown(name), name.at,
                  list_policies(&list));
        buf_release(&list);
        return ST_INVALID;
    }
    memcpy(s.v, p->v, sizeof(s.v));
    while (has_list) { /* every ',' has something on both sides */
        has_list = strchr(rest, ',') != NULL;
        st = parse_field(span_until(&rest, ','), &s, &seen, err);
        if (st)
            return st;
    }
    if (p->needs & ~seen) {
        error_set(err, ST_INVALID, "selector '%s' needs a value of: %s", p->name,
                  list_fields(p->needs & ~seen, &list));
        buf_release(&list);
        return ST_INVALID;
    }
    st = check(&s, seen, err);
    if (!st)
        *ret = s;
    return st;
}

/* ---- what it means for a model ----------------------------------------------------------- */

/* Experts of a fixed coreset; 1e-9 makes up for the rounding of decimals: 0.29 of 100 is 29. */
static enum status core_size(const struct selector *s, int n_exp, int *ret, struct error *err)
{
    const char *name = s->policy->name;
    int n = s->v[SEL_M] > 0 ? int_of(s, SEL_M) : (int)floor(s->v[SEL_BETA] * n_exp + 1e-9);

    if (n < 1)
        return error_set(err, ST_INVALID, "selector '%s': beta %g of %d experts is none", name,
                         s->v[SEL_BETA], n_exp);
    if (n > n_exp)
        return error_set(err, ST_INVALID, "selector '%s': m %d is more than the model's %d experts",
                         name, n, n_exp);
    *ret = n;
    return ST_OK;
}

enum status selector_route(const struct selector *s, const struct route_params *model,
                           struct route_params *ret, struct error *err)
{
    struct route_params r = *model;
    int k = int_of(s, SEL_K), k0 = int_of(s, SEL_K0), mask = int_of(s, SEL_MASK);
    enum status st = ST_OK;

    if (k > model->top_k)
        return error_set(err, ST_INVALID,
                         "selector '%s': k %d is more than the model's own top-k %d",
                         s->policy->name, k, model->top_k);
    if (k0 > model->top_k)
        return error_set(err, ST_INVALID,
                         "selector '%s': k0 %d is more than the model's own top-k %d",
                         s->policy->name, k0, model->top_k);
    if (k)
        r.top_k = k;
    r.keep = (enum route_keep)int_of(s, SEL_KEEP);
    r.keep_p = s->v[SEL_P];
    r.is_keep_p_of_top_k = int_of(s, SEL_P_OF);
    r.tail = s->v[SEL_TAIL];
    r.protect = s->v[SEL_PROTECT];
    r.size = (enum route_size)int_of(s, SEL_SIZE);
    r.warm = k0;
    r.core_p = s->v[SEL_P];
    r.floor = int_of(s, SEL_FLOOR);
    r.elect = (enum route_elect)int_of(s, SEL_ELECT);
    r.vote = (enum route_vote)int_of(s, SEL_VOTE);
    r.mask = !mask ? model->top_k : mask < model->n_exp ? mask : model->n_exp;
    r.is_mask_ungrouped = int_of(s, SEL_MASK_GROUP);
    r.is_vote_normed = int_of(s, SEL_VOTE_NORM);
    r.is_joint = int_of(s, SEL_SCOPE) == SCOPE_BATCH;
    r.is_lagged = int_of(s, SEL_LAG);
    r.is_truncated = int_of(s, SEL_OUTSIDE);
    r.inside = (enum route_inside)int_of(s, SEL_GROUP);
    r.is_guard_drop = int_of(s, SEL_GUARD);
    r.is_renormed = int_of(s, SEL_RENORM);
    if (r.size == SIZE_FIXED)
        st = core_size(s, model->n_exp, &r.n_core, err);
    if (!st)
        *ret = r;
    return st;
}

/* ---- printing ---------------------------------------------------------------------------- */

/* The shortest decimal that reads back as v. */
static void put_number(double v, struct buf *ret)
{
    char text[32];

    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    buf_puts(ret, text);
}

static void put_field(const struct selector *s, enum selector_field f, struct buf *ret)
{
    const struct selector_field_row *row = &selector_fields[f];
    const char *words = row->words;
    struct span word = { "", 0 };

    buf_printf(ret, "%s=", row->name);
    switch (row->kind) {
    case FIELD_INT:
        if (row->zero && s->v[f] == 0)
            buf_puts(ret, row->zero);
        else if (row->full && s->v[f] == row->max)
            buf_puts(ret, row->full);
        else
            buf_printf(ret, "%d", int_of(s, f));
        break;
    case FIELD_NUMBER: put_number(s->v[f], ret); break;
    case FIELD_WORD:
        for (int i = 0; i <= int_of(s, f); i++)
            word = span_until(&words, '|');
        buf_append(ret, word.at, word.len);
        break;
    case FIELD_TEXT:
        if (s->file)
            buf_append(ret, s->file, s->file_len);
        if (s->file_sha256)
            buf_printf(ret, "@sha256:%.*s", SELECTOR_SHA_LEN, s->file_sha256);
        break;
    }
}

/* Of what may be left open, is there a value? */
static bool is_given(const struct selector *s, enum selector_field f)
{
    switch (f) {
    case SEL_BETA:
    case SEL_M:
    case SEL_P: return s->v[f] > 0;
    case SEL_FILE: return s->file;
    default: return true;
    }
}

void selector_put(const struct selector *s, struct buf *ret)
{
    const struct selector_policy *p = s->policy;
    char sep = ':';

    buf_puts(ret, p->name);
    for (int i = 0; i < N_SELECTOR_FIELDS; i++) {
        enum selector_field f = (enum selector_field)i;

        if (!selector_reads(s, f) || !is_given(s, f) ||
            (s->v[f] == p->v[f] && !(p->budget & 1U << f) && f != SEL_FILE))
            continue;
        buf_putc(ret, sep);
        put_field(s, f, ret);
        sep = ',';
    }
}

void selector_put_settings(const struct selector *s, struct buf *ret)
{
    size_t start = ret->len;

    for (int i = 0; i < N_SELECTOR_FIELDS; i++) {
        enum selector_field f = (enum selector_field)i;

        if (!selector_reads(s, f) || !is_given(s, f))
            continue;
        if (ret->len > start)
            buf_putc(ret, ',');
        put_field(s, f, ret);
    }
}

void selector_put_budget(const struct selector *s, struct buf *ret)
{
    size_t start = ret->len;

    for (int i = 0; i < N_SELECTOR_FIELDS; i++) {
        enum selector_field f = (enum selector_field)i;

        if (!(s->policy->budget & 1U << f) || !selector_reads(s, f) || !is_given(s, f))
            continue;
        if (ret->len > start)
            buf_putc(ret, ',');
        put_field(s, f, ret);
    }
}

void selector_put_row(const struct selector_policy *p, struct buf *ret)
{
    struct selector s = { .policy = p };
    size_t start = ret->len;

    memcpy(s.v, p->v, sizeof(s.v));
    for (int i = 0; i < N_SELECTOR_FIELDS; i++)
        if (p->needs & 1U << i)
            s.v[i] = 1; /* any value: others are read beside it */
    for (int i = 0; i < N_SELECTOR_FIELDS; i++) {
        enum selector_field f = (enum selector_field)i;

        if (!selector_reads(&s, f) || f == SEL_M) /* beta stands for both */
            continue;
        if (ret->len > start)
            buf_putc(ret, ',');
        if (f == SEL_BETA)
            buf_puts(ret, "beta=? or m=?");
        else if ((p->needs & 1U << f) || !is_given(&s, f))
            buf_printf(ret, "%s=?", selector_fields[f].name);
        else
            put_field(&s, f, ret);
    }
}
