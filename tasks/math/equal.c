/*
 * Are two answers equal? By structure (lists, sets, tuples, intervals, matrices, words, bases),
 * expressions by value, and by structure again where there is no value (infinity, n!). Every
 * comparison spends from one budget; when it is gone, the rest is unequal.
 */
#include "tasks/math/math.h"

#include <math.h>
#include <string.h>

#include "tasks/math/compare.h"
#include "tasks/math/memory.h"

enum { WORK = 60000, MIN_WORD = 4 };

/* ---- words ---- */

/* The letters and digits a node was made of, in order and in lower case, or false if it is made
 * of other things too. Brackets do not count: (C) is C. */
static bool spell(const struct node *n, char *out, size_t size, size_t *ret_len)
{
    size_t len = 0;

    if (!n->tok)
        return false;
    for (size_t i = 0; i < n->n_tok; i++) {
        const struct token *t = &n->tok[i];

        if (t->kind == T_GROUP || t->kind == T_UNGROUP ||
            ((t->kind == T_OPEN || t->kind == T_CLOSE) && t->arg == '('))
            continue;
        if ((t->kind != T_VAR && t->kind != T_WORD && t->kind != T_NUM) || t->len > size - len)
            return false;
        for (size_t k = 0; k < t->len; k++)
            out[len++] =
                t->text[k] >= 'A' && t->text[k] <= 'Z' ? (char)(t->text[k] + 32) : t->text[k];
    }
    *ret_len = len;
    return len > 0;
}

/* A run of letters long enough to be a word rather than a product. */
static bool is_bare_word(const struct node *n)
{
    if (!n->tok || n->n_tok < MIN_WORD)
        return false;
    for (size_t i = 0; i < n->n_tok; i++)
        if (n->tok[i].kind != T_VAR || n->tok[i].len != 1 || (i && n->tok[i].is_spaced))
            return false;
    return true;
}

static bool words_equal(const struct node *a, const struct node *b)
{
    char x[256], y[256];
    size_t n, m;

    return spell(a, x, sizeof(x), &n) && spell(b, y, sizeof(y), &m) && n == m &&
           memcmp(x, y, n) == 0;
}

/* ---- lists ---- */

/* A copy with each "plus or minus" made a plus or minus, as the bits of signs say. Without any
 * "minus or plus" each has a bit of its own; with one, all share bit 0. */
static struct node *copy_with_signs(struct eval *ev, const struct node *n, unsigned signs,
                                    bool is_shared, int *i)
{
    struct node *r, *c;
    bool is_minus;

    if (!eval_spend(ev, 1))
        return NULL;
    if (n->kind == N_PM || n->kind == N_MP) {
        is_minus = ((signs >> (is_shared ? 0 : *i)) & 1) ^ (n->kind == N_MP);
        ++*i;
        r = copy_with_signs(ev, n->child, signs, is_shared, i);
        if (!r || !is_minus)
            return r;
        c = node_new(ev->arena, N_NEG);
        ev->is_nomem |= !c;
        if (c)
            node_add(c, r);
        return c;
    }
    r = node_new(ev->arena, n->kind);
    ev->is_nomem |= !r;
    if (!r)
        return NULL;
    *r = *n;
    r->child = r->last = r->next = NULL;
    r->n_children = 0;
    r->has_pm = false;
    for (const struct node *k = n->child; k; k = k->next) {
        int rel = k->rel;

        c = copy_with_signs(ev, k, signs, is_shared, i);
        if (!c)
            return NULL;
        c->rel = rel;
        node_add(r, c);
    }
    return r;
}

static void count_signs(struct eval *ev, const struct node *n, int *n_pm, int *n_mp)
{
    eval_spend(ev, 1);
    *n_pm += n->kind == N_PM;
    *n_mp += n->kind == N_MP;
    for (const struct node *c = n->child; c && ev->work > 0; c = c->next)
        if (c->has_pm)
            count_signs(ev, c, n_pm, n_mp);
}

struct elements {
    const struct node *v[MATH_MAX_ELEMENTS];
    size_t n;
};

static bool elements_add(struct eval *ev, struct elements *e, const struct node *n)
{
    int n_pm = 0, n_mp = 0, n_signs, i;
    struct node *copy;

    if (!n->has_pm) {
        if (e->n == MATH_MAX_ELEMENTS)
            return false;
        e->v[e->n++] = n;
        return true;
    }
    count_signs(ev, n, &n_pm, &n_mp);
    n_signs = n_mp ? 1 : n_pm;
    if (n_signs > 4)
        return false;
    for (unsigned signs = 0; signs < 1u << n_signs; signs++) {
        i = 0;
        copy = copy_with_signs(ev, n, signs, n_mp > 0, &i);
        if (!copy || e->n == MATH_MAX_ELEMENTS)
            return false;
        e->v[e->n++] = copy;
    }
    return true;
}

static bool is_list(const struct node *n)
{
    return n->kind == N_LIST || n->kind == N_SET || n->has_pm;
}

static bool elements_of_children(struct eval *ev, const struct node *n, struct elements *e)
{
    e->n = 0;
    for (const struct node *c = n->child; c; c = c->next)
        if (!elements_add(ev, e, c))
            return false;
    return true;
}

static bool elements_get(struct eval *ev, const struct node *n, struct elements *e)
{
    if (n->kind == N_LIST || n->kind == N_SET)
        return elements_of_children(ev, n, e);
    e->n = 0;
    return elements_add(ev, e, n);
}

/* Equal in some order. */
static bool multisets_equal(struct eval *ev, const struct elements *a, const struct elements *b)
{
    bool is_used[MATH_MAX_ELEMENTS] = { false };
    size_t j;

    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++) {
        for (j = 0; j < b->n; j++)
            if (!is_used[j] && nodes_equal(ev, a->v[i], b->v[j]))
                break;
        if (j == b->n)
            return false;
        is_used[j] = true;
    }
    return true;
}

/* Equal as multisets of what get() finds in them. */
static bool equal_in_any_order(struct eval *ev, const struct node *a, const struct node *b,
                               bool (*get)(struct eval *, const struct node *, struct elements *))
{
    struct elements *x = eval_spend(ev, 32) ? arena_alloc(ev->arena, 2 * sizeof(*x)) : NULL;

    if (!x) {
        ev->is_nomem |= ev->work >= 0;
        return false;
    }
    return get(ev, a, &x[0]) && get(ev, b, &x[1]) && multisets_equal(ev, &x[0], &x[1]);
}

bool children_equal(struct eval *ev, const struct node *a, const struct node *b)
{
    const struct node *x = a->child, *y = b->child;

    for (; x && y && x->rel == y->rel && nodes_equal(ev, x, y); x = x->next)
        y = y->next;
    return !x && !y;
}

/* All reals but some points, said as a difference of sets; x \ne 3 says it too, but means a
 * number as often. */
static bool is_punctured(const struct node *n)
{
    return n->kind == N_MINUS_SET && n->child->kind == N_SYM && n->child->arg == SYM_REALS &&
           n->last->kind == N_SET;
}

static bool is_union(const struct node *n)
{
    return n->kind == N_UNION || is_punctured(n);
}

/* The open intervals that points without variables leave of the reals. */
static bool get_gaps(struct eval *ev, const struct node *const *points, size_t n,
                     struct elements *e)
{
    enum { MAX_POINTS = 8 };
    const struct node *sorted[MAX_POINTS];
    long double at[MAX_POINTS];
    struct ball value;

    if (n == 0 || n > MAX_POINTS)
        return false;
    for (size_t i = 0; i < n; i++) {
        size_t k = i;

        if (values_has_vars(ev, points[i]) || ball_eval(ev, points[i], &value) ||
            fabsl(value.im) > value.err)
            return false;
        for (; k > 0 && at[k - 1] > value.re; k--) {
            at[k] = at[k - 1];
            sorted[k] = sorted[k - 1];
        }
        at[k] = value.re;
        sorted[k] = points[i];
    }
    for (size_t i = 0; i <= n; i++) {
        e->v[i] = interval_make(ev, i > 0 ? sorted[i - 1] : NULL, i < n ? sorted[i] : NULL);
        if (!e->v[i])
            return false;
    }
    e->n = n + 1;
    return true;
}

/* Parts of a union; "x < 1 or x > 2" is one, and so is "x \ne 3". */
static bool get_parts(struct eval *ev, const struct node *n, struct elements *e)
{
    const struct node *points[MATH_MAX_ELEMENTS];
    struct interval unused;
    size_t n_points = 0;

    e->n = 0;
    if (is_punctured(n)) {
        for (const struct node *c = n->last->child; c; c = c->next) {
            if (n_points == MATH_MAX_ELEMENTS)
                return false;
            points[n_points++] = c;
        }
        return get_gaps(ev, points, n_points, e);
    }
    if (n->kind == N_REL && n->n_children == 2 && n->last->rel == REL_NE &&
        n->child->kind == N_VAR) {
        points[0] = n->last;
        return get_gaps(ev, points, 1, e);
    }
    if (n->kind == N_LIST) {
        if (n->arg != T_OR)
            return false;
        for (const struct node *c = n->child; c; c = c->next)
            if (!interval_get(ev, c, &unused))
                return false;
    } else if (n->kind != N_UNION) {
        return false;
    }
    for (const struct node *c = n->child; c; c = c->next) {
        if (e->n == MATH_MAX_ELEMENTS)
            return false;
        e->v[e->n++] = c;
    }
    return true;
}

/* ---- matrices ---- */

/* A matrix times a number, or its negative, as a matrix; others as they are. */
static const struct node *scale_matrix(struct eval *ev, const struct node *n)
{
    const struct node *m = NULL;
    struct node *r;

    if (n->kind != N_NEG && n->kind != N_MUL)
        return n;
    for (const struct node *c = n->child; c; c = c->next)
        if (c->kind == N_MATRIX && c->arg2 == 'm') {
            if (m)
                return n;
            m = c;
        }
    if (!m)
        return n;
    r = node_new(ev->arena, N_MATRIX);
    ev->is_nomem |= !r;
    if (!r)
        return n;
    r->arg = m->arg;
    r->arg2 = m->arg2;
    for (const struct node *cell = m->child; cell; cell = cell->next) {
        struct node *product = node_new(ev->arena, n->kind);

        for (const struct node *c = n->child; c && product; c = c->next) {
            struct node *k = node_new(ev->arena, N_NUM);

            if (!k || !eval_spend(ev, 1)) {
                product = NULL;
                break;
            }
            *k = c == m ? *cell : *c;
            node_add(product, k);
        }
        if (!product)
            return n;
        node_add(r, product);
    }
    return r;
}

/* ---- points ---- */

/* x = {1, 2}: the name is one of the whole answer, not of each of two values. */
static bool is_naming_all(const struct node *n)
{
    return relation_is_naming(n) && n->n_children == 2 && (!n->has_pm || n->last->kind == N_SET);
}

/* "x = 3, y = 4" against (3, 4). Coordinates are in their own order, other names as written. */
static bool point_equal(struct eval *ev, const struct node *list, const struct node *tuple)
{
    enum { MAX_COORDINATES = 8 };
    const struct node *v[MAX_COORDINATES], *c = list->child, *y = tuple->child;
    bool is_xyz = true;

    if (list->kind != N_LIST || list->arg == T_OR || list->n_children != tuple->n_children ||
        list->n_children > MAX_COORDINATES || tuple->arg != '(' || tuple->arg2 != '(')
        return false;
    for (size_t n = 0; c; c = c->next, n++) {
        if (!relation_is_naming(c) || c->n_children != 2 || c->child->kind != N_VAR ||
            c->last->rel != REL_EQ)
            return false;
        for (size_t i = 0; i < n; i++)
            if (strcmp(v[i]->child->text, c->child->text) == 0)
                return false;
        is_xyz = is_xyz && c->child->len == 1 && strchr("xyz", *c->child->text);
        v[n] = c;
    }
    for (size_t n = 1; is_xyz && n < list->n_children; n++)
        for (size_t i = n; i > 0 && *v[i - 1]->child->text > *v[i]->child->text; i--) {
            c = v[i];
            v[i] = v[i - 1];
            v[i - 1] = c;
        }
    for (size_t i = 0; y; y = y->next, i++)
        if (!nodes_equal(ev, v[i]->last, y))
            return false;
    return true;
}

/* ---- all of it ---- */

/* Equal by structure, for what has no value. */
static bool structures_equal(struct eval *ev, const struct node *a, const struct node *b)
{
    if (a->kind != b->kind || a->arg != b->arg || a->arg2 != b->arg2 ||
        a->n_children != b->n_children)
        return false;
    switch (a->kind) {
    case N_VAR: return strcmp(a->text, b->text) == 0;
    case N_SYM: return true;
    case N_NUM:
    case N_PI:
    case N_E:
    case N_I: return false; /* these have a value */
    case N_ADD:
    case N_CAP: return equal_in_any_order(ev, a, b, elements_of_children);
    default: return children_equal(ev, a, b);
    }
}

static bool is_percentage(const struct node *n)
{
    return n->unit.n == 1 && n->unit.is_known && n->unit.id[0] == UNIT_PERCENT &&
           n->unit.power[0] == 1;
}

/* A percentage against a plain number, as a part of one: 3% is 0.03. */
static bool percentage_equal(struct eval *ev, const struct node *a, const struct node *b)
{
    struct node *percent = node_new(ev->arena, N_PERCENT), *n = node_new(ev->arena, N_ADD);
    bool is_same = false;

    if (!percent || !n) {
        ev->is_nomem = true;
        return false;
    }
    *n = *a;
    node_add(percent, n);
    return values_compare(ev, percent, b, &is_same) == VALUE_OK && is_same;
}

/* N_BASE of base ten is the plain number. */
static const struct node *without_base(struct eval *ev, const struct node *n)
{
    struct node *r;

    if (n->kind != N_BASE || n->arg != 10)
        return n;
    for (size_t i = 0; i < n->len; i++)
        if (n->text[i] < '0' || n->text[i] > '9')
            return n;
    r = node_number(ev->arena, n->text, n->len);
    ev->is_nomem |= !r;
    return r ? r : n;
}

static bool expressions_equal(struct eval *ev, const struct node *a, const struct node *b)
{
    bool is_same = false;
    enum value v;

    if (unit_is_conflict(&a->unit, &b->unit))
        return false;
    v = values_compare(ev, a, b, &is_same);
    if (v == VALUE_OK && !is_same && is_percentage(a) && !b->unit.n)
        return percentage_equal(ev, a, b);
    if (v == VALUE_OK && !is_same && is_percentage(b) && !a->unit.n)
        return percentage_equal(ev, b, a);
    if (v == VALUE_OK)
        return is_same;
    return v == VALUE_NONE && structures_equal(ev, a, b);
}

bool nodes_equal(struct eval *ev, const struct node *a, const struct node *b)
{
    struct interval x, y;

    if (!eval_spend(ev, 1))
        return false;
    if (relation_is_naming(a) && relation_is_naming(b) && a->n_children == 2 &&
        b->n_children == 2 && nodes_equal(ev, a->child, b->child) &&
        nodes_equal(ev, a->last, b->last))
        return true;
    if (relation_is_chain(a) && b->kind != N_REL && !is_list(b))
        return relation_sides_equal(ev, a, b);
    if (relation_is_chain(b) && a->kind != N_REL && !is_list(a))
        return relation_sides_equal(ev, b, a);
    if (is_union(a) || is_union(b))
        return equal_in_any_order(ev, a, b, get_parts);
    if (is_list(a) || is_list(b)) {
        if (is_naming_all(a))
            return nodes_equal(ev, a->last, b); /* x = {1, 2} */
        if (is_naming_all(b))
            return nodes_equal(ev, a, b->last);
        if ((b->kind == N_TUPLE && point_equal(ev, a, b)) ||
            (a->kind == N_TUPLE && point_equal(ev, b, a)))
            return true;
        return equal_in_any_order(ev, a, b, elements_get);
    }
    if (a->kind == N_TEXT || b->kind == N_TEXT || (is_bare_word(a) && is_bare_word(b)))
        return words_equal(a, b);
    if ((interval_is_said(a) || interval_is_said(b)) && interval_get(ev, a, &x) &&
        interval_get(ev, b, &y))
        return intervals_equal(ev, &x, &y);
    if (a->kind == N_REL && b->kind == N_REL)
        return relations_equal(ev, a, b);
    a = without_base(ev, scale_matrix(ev, a));
    b = without_base(ev, scale_matrix(ev, b));
    switch (a->kind) {
    case N_REL: return false;
    case N_BASE:
        return b->kind == N_BASE && a->arg == b->arg && a->len == b->len &&
               memcmp(a->text, b->text, a->len) == 0;
    case N_TUPLE:
    case N_MATRIX: return structures_equal(ev, a, b);
    default: return expressions_equal(ev, a, b);
    }
}

/* Both texts as trees, compared. is_joined: read commas as digit groups there. */
static enum status compare(struct eval *ev, const struct tokens *a, bool is_a_joined,
                           const struct tokens *b, bool is_b_joined, bool *ret, struct error *err)
{
    const struct tokens *in[2] = { a, b };
    const bool is_joined[2] = { is_a_joined, is_b_joined };
    struct node *tree[2];
    enum status st;

    *ret = false;
    for (int i = 0; i < 2; i++) {
        struct tokens t = *in[i]; /* the parser shortens tokens */

        t.v = arena_array(ev->arena, t.n + 2, sizeof(*t.v));
        if (!t.v)
            return error_set(err, ST_NOMEM, "out of memory comparing answers");
        memcpy(t.v, in[i]->v, (t.n + 1) * sizeof(*t.v));
        if (is_joined[i] && !math_lex_join(&t, ev->arena))
            return error_set(err, ST_NOMEM, "out of memory comparing answers");
        st = math_parse(&t, ev->arena, &tree[i], err);
        if (st)
            return st;
        if (!tree[i])
            return ST_OK;
    }
    *ret = nodes_equal(ev, tree[0], tree[1]);
    if (ev->is_nomem)
        return error_set(err, ST_NOMEM, "out of memory comparing answers");
    return ST_OK;
}

static enum status equal_in(struct arena *arena, const char *pred, size_t pred_len,
                            const char *gold, size_t gold_len, bool *ret, struct error *err)
{
    struct eval *ev = arena_alloc(arena, sizeof(*ev));
    struct tokens a, b;
    bool is_same;
    enum status st;

    if (!ev)
        return error_set(err, ST_NOMEM, "out of memory comparing answers");
    ev->arena = arena;
    ev->work = WORK;
    st = math_lex(pred, pred_len, arena, &a, err);
    if (!st)
        st = math_lex(gold, gold_len, arena, &b, err);
    if (st)
        return st;
    is_same = a.n && math_tokens_equal(&a, &b);
    if (!is_same && a.n && b.n) {
        st = compare(ev, &a, true, &b, true, &is_same, err);
        if (!st && !is_same && a.has_groups != b.has_groups) /* 100,200 may be a list after all */
            st = compare(ev, &a, false, &b, false, &is_same, err);
    }
    if (!st)
        *ret = is_same;
    return st;
}

struct question {
    struct arena arena;
    const char *pred, *gold;
    size_t pred_len, gold_len;
    bool *ret;
    struct error *err;
    enum status st;
};

static void answer(void *arg)
{
    struct question *q = arg;

    q->st = equal_in(&q->arena, q->pred, q->pred_len, q->gold, q->gold_len, q->ret, q->err);
}

enum status math_equal(const char *pred, size_t pred_len, const char *gold, size_t gold_len,
                       bool *ret, struct error *err)
{
    struct question q = { .pred = pred,
                          .gold = gold,
                          .pred_len = pred_len,
                          .gold_len = gold_len,
                          .ret = ret,
                          .err = err };

    if (pred_len > MATH_MAX_BYTES || gold_len > MATH_MAX_BYTES) {
        *ret = pred_len == gold_len && memcmp(pred, gold, pred_len) == 0;
        return ST_OK;
    }
    if (!gmp_run(answer, &q))
        q.st = error_set(err, ST_NOMEM, "out of memory comparing answers");
    arena_release(&q.arena);
    return q.st;
}
