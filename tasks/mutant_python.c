/*
 * First-order mutants of Python source: one token, or one short stretch, changed.
 *
 * Each token offers at most one change. A change keeps the program well-formed; whether it
 * changes what the program does nobody can tell in general, so that a mutant may live because it
 * is equivalent.
 *
 *   compare    < and <=, > and >=, == and !=, in and not in, is and is not swapped
 *   arithmetic + and -, * and //, / to *, % to *, ** to *, << and >>, & and |, ^ to &; += and so on
 *   constant   n to n + 1
 *   string     'text' to '', '' to 'x'; docstrings stay
 *   logic      and and or, True and False swapped; not dropped
 *   negate     the condition of an if, elif or while
 *   return     None is returned
 *   range      its end is one less
 *   minmax     min and max, any and all swapped
 *   jump       break and continue to pass
 *
 * Source: the classes of R. A. DeMillo, R. J. Lipton, F. G. Sayward, "Hints on test data
 * selection", IEEE Computer 11 (4), 1978, in the spelling of Python.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "tasks/mutant.h"
#include "tasks/python.h"
#include "tasks/python_token.h"

enum change { COMPARE, ARITHMETIC, CONSTANT, STRING, LOGIC, NEGATE, RETURN, RANGE, MINMAX, JUMP };
enum { N_CHANGES = JUMP + 1 };

static const char *const change_names[N_CHANGES] = {
    "compare", "arithmetic", "constant", "string", "logic",
    "negate",  "return",     "range",    "minmax", "jump",
};

static const struct swap {
    const char *old, *new;
    enum change change;
    bool is_binary; /* only where it stands between two operands */
} swaps[] = {
    { "<", "<=", COMPARE, true },       { "<=", "<", COMPARE, true },
    { ">", ">=", COMPARE, true },       { ">=", ">", COMPARE, true },
    { "==", "!=", COMPARE, true },      { "!=", "==", COMPARE, true },
    { "+", "-", ARITHMETIC, true },     { "-", "+", ARITHMETIC, false },
    { "*", "//", ARITHMETIC, true },    { "//", "*", ARITHMETIC, true },
    { "/", "*", ARITHMETIC, true },     { "%", "*", ARITHMETIC, true },
    { "**", "*", ARITHMETIC, true },    { "<<", ">>", ARITHMETIC, true },
    { ">>", "<<", ARITHMETIC, true },   { "&", "|", ARITHMETIC, true },
    { "|", "&", ARITHMETIC, true },     { "^", "&", ARITHMETIC, true },
    { "+=", "-=", ARITHMETIC, true },   { "-=", "+=", ARITHMETIC, true },
    { "*=", "//=", ARITHMETIC, true },  { "//=", "*=", ARITHMETIC, true },
    { "/=", "*=", ARITHMETIC, true },   { "%=", "*=", ARITHMETIC, true },
    { "&=", "|=", ARITHMETIC, true },   { "|=", "&=", ARITHMETIC, true },
    { "^=", "&=", ARITHMETIC, true },   { "<<=", ">>=", ARITHMETIC, true },
    { ">>=", "<<=", ARITHMETIC, true }, { "and", "or", LOGIC, true },
    { "or", "and", LOGIC, true },       { "True", "False", LOGIC, false },
    { "False", "True", LOGIC, false },  { "not", "", LOGIC, false },
    { "break", "pass", JUMP, false },   { "continue", "pass", JUMP, false },
};

/* One change: at most two stretches of the source replaced. */
struct site {
    enum change change;
    int line;
    bool is_entry; /* within the tested function */
    size_t rank;   /* among those of its kind; then place: what the order goes by */
    size_t place;
    size_t n_edits;
    struct edit {
        size_t from, to;
        const char *text;
    } edits[2];
};

struct search {
    struct span source;
    const struct python_token *v; /* (n + 1) */
    size_t n;
    struct arena *arena;
    size_t entry_from, entry_to; /* the tested function's definition */
    size_t n_for;                /* `for` whose `in` is still to come */
};

static struct span text_of(const struct search *s, size_t i)
{
    return span_sub(s->source, s->v[i].at, s->v[i].at + s->v[i].len);
}

static bool is_token(const struct search *s, size_t i, const char *text)
{
    return span_equal(text_of(s, i), text);
}

/* Is token i the end of an operand? */
static bool is_operand_end(const struct search *s, size_t i)
{
    switch (s->v[i].kind) {
    case PYTHON_NUMBER:
    case PYTHON_STRING: return true;
    case PYTHON_OP: return is_token(s, i, ")") || is_token(s, i, "]") || is_token(s, i, "}");
    case PYTHON_NAME:
        return python_is_name(text_of(s, i)) || is_token(s, i, "True") || is_token(s, i, "False") ||
               is_token(s, i, "None");
    case PYTHON_END:
    case PYTHON_NEWLINE: break;
    }
    return false;
}

static bool edit(struct site *ret, enum change change, size_t from, size_t to, const char *text)
{
    ret->change = change;
    ret->edits[ret->n_edits++] = (struct edit){ from, to, text };
    return true;
}

static bool replace(const struct search *s, struct site *ret, enum change change, size_t i,
                    const char *text)
{
    return edit(ret, change, s->v[i].at, s->v[i].at + s->v[i].len, text);
}

static bool find_swap(const struct search *s, size_t i, struct site *ret)
{
    for (size_t k = 0; k < sizeof(swaps) / sizeof(swaps[0]); k++)
        if (is_token(s, i, swaps[k].old) &&
            (!swaps[k].is_binary || (i > 0 && is_operand_end(s, i - 1))))
            return replace(s, ret, swaps[k].change, i, swaps[k].new);
    return false;
}

/* First token from i on at a depth that is one of the texts; s->n if the statement ends before. */
static size_t find_at_depth(const struct search *s, size_t i, size_t depth,
                            const char *const *texts)
{
    for (; i < s->n && (s->v[i].kind != PYTHON_NEWLINE || s->v[i].depth > depth); i++)
        for (size_t k = 0; texts[k] && s->v[i].depth == depth; k++)
            if (is_token(s, i, texts[k]))
                return i;
    return s->n;
}

static bool find_negation(const struct search *s, size_t i, struct site *ret)
{
    static const char *const ends[] = { ":", "lambda", NULL }; /* whose own colon comes first */
    size_t end = find_at_depth(s, i + 1, s->v[i].depth, ends);
    size_t after = s->v[i].at + s->v[i].len;

    if (!s->v[i].is_first || end == s->n || !is_token(s, end, ":"))
        return false;
    edit(ret, NEGATE, after, after, " not (");
    return edit(ret, NEGATE, s->v[end].at, s->v[end].at, ")");
}

static bool find_return(const struct search *s, size_t i, struct site *ret)
{
    size_t end = i + 1;

    while (end < s->n && s->v[end].kind != PYTHON_NEWLINE &&
           (s->v[end].depth > 0 || !is_token(s, end, ";")))
        end++;
    if (end == i + 1 || (end == i + 2 && is_token(s, i + 1, "None")))
        return false;
    return edit(ret, RETURN, s->v[i].at + s->v[i].len, s->v[end - 1].at + s->v[end - 1].len,
                " None"); /* `return(x)` has no space */
}

/* The comma or bracket that ends an argument which begins at token i, within brackets at a depth.
 */
static size_t find_argument_end(const struct search *s, size_t i, size_t depth)
{
    while (i < s->n && (s->v[i].depth != depth || !is_token(s, i, ",")) &&
           (s->v[i].depth != depth - 1 || !is_token(s, i, ")")))
        i++;
    return i;
}

/* range(n) to range((n) - 1), range(a, n, ..) to range(a, (n) - 1, ..) */
static bool find_range(const struct search *s, size_t i, struct site *ret)
{
    size_t depth = s->v[i + 1].depth + 1, first = i + 2, end;

    if (!is_token(s, i + 1, "("))
        return false;
    end = find_argument_end(s, first, depth);
    if (end < s->n && is_token(s, end, ",")) {
        first = end + 1;
        end = find_argument_end(s, first, depth);
    }
    if (end == s->n || end == first || is_token(s, first, "*"))
        return false;
    edit(ret, RANGE, s->v[first].at, s->v[first].at, "(");
    return edit(ret, RANGE, s->v[end].at, s->v[end].at, ") - 1");
}

static bool find_constant(const struct search *s, size_t i, struct site *ret)
{
    struct span t = text_of(s, i);
    bool is_plain = t.len <= 18; /* fits, with one added */
    const char *text;
    uint64_t v = 0;

    for (size_t k = 0; k < t.len && is_plain; k++) {
        is_plain = t.s[k] >= '0' && t.s[k] <= '9';
        v = 10 * v + (uint64_t)(t.s[k] - '0');
    }
    if (is_plain)
        text = arena_printf(s->arena, "%llu", (unsigned long long)v + 1);
    else
        text = arena_printf(s->arena, "(%.*s + 1)", (int)t.len, t.s);
    return replace(s, ret, CONSTANT, i, text);
}

static bool find_string(const struct search *s, size_t i, struct site *ret)
{
    struct span t = text_of(s, i);
    bool is_bytes = false;
    size_t n = 0;

    if (s->v[i].is_first) /* a docstring */
        return false;
    for (; t.s[n] != '"' && t.s[n] != '\''; n++)
        is_bytes = is_bytes || t.s[n] == 'b' || t.s[n] == 'B';
    if (t.len - n == 2)
        return replace(s, ret, STRING, i, is_bytes ? "b'x'" : "'x'");
    return replace(s, ret, STRING, i, is_bytes ? "b''" : "''");
}

/* The change that token i offers; false if it offers none. */
static bool find_site(struct search *s, size_t i, struct site *ret)
{
    const struct python_token *t = &s->v[i];
    bool is_attribute = i > 0 && is_token(s, i - 1, ".");

    *ret =
        (struct site){ .line = t->line, .is_entry = t->at >= s->entry_from && t->at < s->entry_to };
    if (t->kind == PYTHON_NUMBER)
        return find_constant(s, i, ret);
    if (t->kind == PYTHON_STRING)
        return find_string(s, i, ret);
    if (is_token(s, i, "for"))
        s->n_for++;
    if (is_token(s, i, "in")) {
        if (s->n_for > 0) {
            s->n_for--;
            return false;
        }
        return i > 0 && is_operand_end(s, i - 1) && replace(s, ret, COMPARE, i, "not in");
    }
    if (is_token(s, i, "is"))
        return !is_token(s, i + 1, "not") && replace(s, ret, COMPARE, i, "is not");
    if (is_token(s, i, "if") || is_token(s, i, "elif") || is_token(s, i, "while"))
        return find_negation(s, i, ret);
    if (is_token(s, i, "return"))
        return find_return(s, i, ret);
    if (is_token(s, i, "range") && !is_attribute)
        return find_range(s, i, ret);
    if (!is_attribute && is_token(s, i + 1, "(")) {
        static const char *const pairs[][2] = {
            { "min", "max" }, { "max", "min" }, { "any", "all" }, { "all", "any" }
        };

        for (size_t k = 0; k < sizeof(pairs) / sizeof(pairs[0]); k++)
            if (is_token(s, i, pairs[k][0]))
                return replace(s, ret, MINMAX, i, pairs[k][1]);
    }
    return find_swap(s, i, ret);
}

/* From the last `def ENTRY` at column 0 to the next statement there. */
static void find_entry(struct search *s, const char *entry)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct python_token *t = &s->v[i];
        size_t def = is_token(s, i, "async") ? i + 1 : i;

        if (!t->is_first || (t->at > 0 && s->source.s[t->at - 1] != '\n'))
            continue;
        if (s->entry_to == SIZE_MAX)
            s->entry_to = t->at;
        if (is_token(s, def, "def") && is_token(s, def + 1, entry)) {
            s->entry_from = t->at;
            s->entry_to = SIZE_MAX;
        }
    }
}

/* Fisher and Yates; then ranks in that order. */
static void shuffle(struct site *v, size_t n, uint64_t seed)
{
    size_t n_of[2][N_CHANGES] = { { 0 } };
    struct rng rng;

    rng_seed(&rng, seed);
    for (size_t i = n; i > 1; i--) {
        size_t k = (size_t)rng_below(&rng, i);
        struct site t = v[i - 1];

        v[i - 1] = v[k];
        v[k] = t;
    }
    for (size_t i = 0; i < n; i++) {
        v[i].rank = n_of[v[i].is_entry][v[i].change]++;
        v[i].place = i;
    }
}

static int by_order(const void *pa, const void *pb)
{
    const struct site *a = pa, *b = pb;

    if (a->is_entry != b->is_entry)
        return a->is_entry ? -1 : 1;
    if (a->rank != b->rank)
        return a->rank < b->rank ? -1 : 1;
    return a->place < b->place ? -1 : 1;
}

static enum status add_site(struct mutants *m, const struct search *s, const struct site *site,
                            struct error *err)
{
    const struct edit *e = &site->edits[0];
    struct buf b = { 0 }, details = { 0 };
    size_t at = 0;
    enum status st;

    buf_puts(&b, "```python\n");
    for (size_t i = 0; i < site->n_edits; i++) {
        buf_append(&b, s->source.s + at, site->edits[i].from - at);
        buf_puts(&b, site->edits[i].text);
        at = site->edits[i].to;
    }
    buf_append(&b, s->source.s + at, s->source.len - at);
    buf_puts(&b, "\n```\n");
    buf_printf(&details, "line %d: ", site->line);
    if (site->change == NEGATE)
        buf_puts(&details, "condition negated");
    else if (site->change == RANGE)
        buf_puts(&details, "range ends one earlier");
    else if (site->change == RETURN)
        buf_puts(&details, "None returned");
    else
        buf_printf(&details, "'%.*s' becomes '%s'",
                   e->to - e->from > 60 ? 60 : (int)(e->to - e->from), s->source.s + e->from,
                   e->text);
    st = mutants_add(m, MUTANT_OPERATOR, change_names[site->change], buf_str(&details), &b, err);
    buf_release(&details);
    return st;
}

enum status mutants_of_python(struct mutants *m, struct span source, size_t from, const char *entry,
                              uint64_t seed, size_t n_max, struct error *err)
{
    struct search s = { .source = source, .arena = m->arena };
    struct python_token *v;
    struct site *sites;
    size_t n = 0;
    enum status st = python_tokenize(source, m->arena, &v, &s.n, err);

    if (st)
        return st;
    s.v = v;
    find_entry(&s, entry);
    sites = arena_array(m->arena, s.n + 1, sizeof(*sites));
    if (!sites)
        return error_set(err, ST_NOMEM, "out of memory for %zu places to mutate", s.n);
    for (size_t i = 0; i < s.n; i++)
        if (find_site(&s, i, &sites[n]) && v[i].at >= from) {
            if (!sites[n].edits[0].text)
                return error_set(err, ST_NOMEM, "out of memory for a mutant");
            n++;
        }
    shuffle(sites, n, seed);
    qsort(sites, n, sizeof(*sites), by_order);
    for (size_t i = 0; i < n && i < n_max && !st; i++)
        st = add_site(m, &s, &sites[i], err);
    return st;
}
