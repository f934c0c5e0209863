/*
 * Are two answers equal? Structure first (lists, sets, tuples, intervals, matrices, relations,
 * words, bases), expressions by value, and by structure again where there is no value (infinity,
 * n!). Every comparison spends from one budget; when it is gone, the rest is unequal.
 */
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "tasks/math/ast.h"
#include "tasks/math/math.h"

enum { WORK = 60000, MAX_RETRIES = 3 * MATH_N_POINTS, SEED = 20240229, MIN_WORD = 4 };

/* A side of an inequality, or an interval. */
struct interval {
    const struct node *low, *high;
    bool has_low, has_high; /* closed there */
    const char *var;        /* of an inequality, else NULL */
};

static bool nodes_equal(struct eval *ev, const struct node *a, const struct node *b);

int eval_var(struct eval *ev, const char *name)
{
    for (int i = 0; i < ev->n_vars; i++)
        if (strcmp(ev->var[i], name) == 0)
            return i;
    if (ev->n_vars == MATH_MAX_VARS)
        return -1;
    ev->var[ev->n_vars] = name;
    return ev->n_vars++;
}

/* ---- values ---- */

/* New values for all variables: modulo the prime, and in the ring 0.6 <= |z| < 1.8. */
static void draw_point(struct eval *ev, struct rng *rng)
{
    ev->pi = 1 + rng_below(rng, MODP - 1);
    ev->e = 1 + rng_below(rng, MODP - 1);
    for (int i = 0; i < MATH_MAX_VARS; i++) {
        double r = 0.6 + 1.2 * rng_uniform(rng), angle = 6.283185307179586 * rng_uniform(rng);

        ev->residue[i] = 1 + rng_below(rng, MODP - 1);
        ev->point[i][0] = (long double)(r * cos(angle));
        ev->point[i][1] = (long double)(r * sin(angle));
    }
}

/* Mark in a set of bits the variables of a tree. */
static void find_vars(struct eval *ev, const struct node *n, uint64_t *vars)
{
    int v = n->kind == N_VAR ? eval_var(ev, n->text) : -1;

    eval_spend(ev, 1);
    if (v >= 0)
        *vars |= UINT64_C(1) << v;
    for (const struct node *c = n->child; c && ev->work > 0; c = c->next)
        find_vars(ev, c, vars);
}

static bool has_vars(struct eval *ev, const struct node *n)
{
    uint64_t vars = 0;

    find_vars(ev, n, &vars);
    return vars != 0;
}

/* A decimal literal that shows six places or more, maybe with a sign. */
static bool is_long_decimal(const struct node *n)
{
    const char *point;

    if (n->kind == N_NEG)
        n = n->child;
    if (n->kind != N_NUM)
        return false;
    point = memchr(n->text, '.', n->len);
    return point && n->len - (size_t)(point - n->text) - 1 >= 6;
}

static bool is_decimal(const struct node *n)
{
    if (n->kind == N_NEG)
        n = n->child;
    return n->kind == N_NUM && memchr(n->text, '.', n->len);
}

/* q becomes q rounded to six places, halves away from zero, in units of the sixth place. */
static void round_to_six(mpq_t q)
{
    int sign = mpq_sgn(q);

    mpq_abs(q, q);
    mpz_mul_ui(mpq_numref(q), mpq_numref(q), 2000000);
    mpz_add(mpq_numref(q), mpq_numref(q), mpq_denref(q));
    mpz_mul_ui(mpq_denref(q), mpq_denref(q), 2);
    mpz_fdiv_q(mpq_numref(q), mpq_numref(q), mpq_denref(q));
    mpz_set_ui(mpq_denref(q), 1);
    if (sign < 0)
        mpq_neg(q, q);
}

/* Is a decimal the rounding of a rational number that has no six places? Both are spoiled. */
static bool is_rounding_of(mpq_t decimal, mpq_t value)
{
    mpz_t x;
    bool is_short, is_small;

    mpz_init_set_ui(x, 1000000);
    is_short = mpz_divisible_p(x, mpq_denref(value)) != 0;
    mpz_mul_ui(x, mpq_numref(value), 1000);
    is_small = mpz_cmpabs(x, mpq_denref(value)) < 0;
    mpz_clear(x);
    if (is_short || is_small)
        return false;
    round_to_six(decimal);
    round_to_six(value);
    return mpq_equal(decimal, value) != 0;
}

/* The same for a value that is not rational. */
static bool is_rounding_of_real(struct ball decimal, struct ball value)
{
    if (fabsl(value.im) > 8 * value.err || fabsl(value.re) < 1e-3L || fabsl(value.re) > 1e9L)
        return false;
    return roundl(decimal.re * 1e6L) == roundl(value.re * 1e6L);
}

/* Two rational numbers. *ret only if VALUE_OK, as in all that follow. */
static enum value compare_exact(struct eval *ev, const struct node *a, const struct node *b,
                                bool *ret)
{
    enum value v;
    mpq_t p, q;

    mpq_init(p);
    mpq_init(q);
    v = exact_eval(ev, a, p);
    if (v != VALUE_UNDEFINED) {
        enum value w = exact_eval(ev, b, q);

        v = w == VALUE_OK ? v : w;
    }
    if (v == VALUE_OK) {
        *ret = mpq_equal(p, q) != 0;
        if (!*ret && is_long_decimal(a) && !is_decimal(b))
            *ret = is_rounding_of(p, q);
        else if (!*ret && is_long_decimal(b) && !is_decimal(a))
            *ret = is_rounding_of(q, p);
    }
    mpq_clear(p);
    mpq_clear(q);
    return v;
}

/*
 * Two functions at random points, modulo a prime: decides where both are rational functions of
 * variables, pi and e. is_scaled: equal up to a constant factor that is not zero, by comparing
 * f(z) g(z0) with g(z) f(z0).
 */
static enum value compare_modp(struct eval *ev, const struct node *a, const struct node *b,
                               bool is_scaled, bool *ret)
{
    struct rng rng;
    uint64_t x, y, x0 = 1, y0 = 1;
    bool has_first = !is_scaled;
    int n_points = 0;
    enum value v;

    rng_seed(&rng, SEED);
    for (int i = 0; i < MAX_RETRIES && n_points < MATH_N_POINTS && ev->work > 0; i++) {
        draw_point(ev, &rng);
        v = modp_eval(ev, a, &x);
        if (v != VALUE_NONE && (v = modp_eval(ev, b, &y)) == VALUE_OK) {
            if (!has_first && x && y) {
                has_first = true;
                x0 = x;
                y0 = y;
            } else if (has_first && modp_mul(x, y0) != modp_mul(y, x0)) {
                *ret = false;
                return VALUE_OK;
            } else if (has_first) {
                n_points++;
            }
        }
        if (v == VALUE_NONE)
            return v;
    }
    *ret = n_points == MATH_N_POINTS;
    return *ret ? VALUE_OK : VALUE_UNDEFINED;
}

/* The same with complex numbers, for all functions. */
static enum value compare_balls(struct eval *ev, const struct node *a, const struct node *b,
                                bool is_scaled, bool *ret)
{
    struct rng rng;
    struct ball x, y, x0 = { .re = 1 }, y0 = { .re = 1 };
    bool has_first = !is_scaled;
    int n_points = 0;
    enum value v;

    rng_seed(&rng, SEED);
    for (int i = 0; i < MAX_RETRIES && n_points < MATH_N_POINTS && ev->work > 0; i++) {
        draw_point(ev, &rng);
        v = ball_eval(ev, a, &x);
        if (v != VALUE_NONE && (v = ball_eval(ev, b, &y)) == VALUE_OK) {
            if (!has_first && !ball_is_zero(x) && !ball_is_zero(y)) {
                has_first = true;
                x0 = x;
                y0 = y;
            } else if (has_first && !ball_is_same(ball_mul(x, y0), ball_mul(y, x0))) {
                *ret = false;
                return VALUE_OK;
            } else if (has_first) {
                n_points++;
            }
        }
        if (v == VALUE_NONE)
            return v;
    }
    *ret = n_points == MATH_N_POINTS;
    return *ret ? VALUE_OK : VALUE_UNDEFINED;
}

static enum value compare_identity(struct eval *ev, const struct node *a, const struct node *b,
                                   bool is_scaled, bool *ret)
{
    enum value v = compare_modp(ev, a, b, is_scaled, ret);

    return v == VALUE_NONE ? compare_balls(ev, a, b, is_scaled, ret) : v;
}

/* Two values without variables. */
static enum value compare_constants(struct eval *ev, const struct node *a, const struct node *b,
                                    bool *ret)
{
    enum value v = compare_exact(ev, a, b, ret);
    struct ball x, y;
    bool is_decided;

    if (v != VALUE_NONE)
        return v;
    v = compare_modp(ev, a, b, false, ret);
    is_decided = v == VALUE_OK;
    if (v == VALUE_UNDEFINED ||
        (is_decided && (*ret || (!is_long_decimal(a) && !is_long_decimal(b)))))
        return v;
    v = ball_eval(ev, a, &x);
    if (v != VALUE_UNDEFINED) {
        enum value w = ball_eval(ev, b, &y);

        v = w == VALUE_OK ? v : w;
    }
    if (v == VALUE_OK)
        *ret = (!is_decided && ball_is_same(x, y)) ||
               (is_long_decimal(a) && is_rounding_of_real(x, y)) ||
               (is_long_decimal(b) && is_rounding_of_real(y, x));
    return v;
}

/* Two expressions by value. */
static enum value compare_values(struct eval *ev, const struct node *a, const struct node *b,
                                 bool *ret)
{
    uint64_t va = 0, vb = 0;

    find_vars(ev, a, &va);
    find_vars(ev, b, &vb);
    if (va != vb) {
        *ret = false;
        return VALUE_OK;
    }
    return va ? compare_identity(ev, a, b, false, ret) : compare_constants(ev, a, b, ret);
}

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
    struct elements *x = arena_alloc(ev->arena, 2 * sizeof(*x));

    if (!x) {
        ev->is_nomem = true;
        return false;
    }
    return get(ev, a, &x[0]) && get(ev, b, &x[1]) && multisets_equal(ev, &x[0], &x[1]);
}

static bool children_equal(struct eval *ev, const struct node *a, const struct node *b)
{
    const struct node *x = a->child, *y = b->child;

    for (; x && y && x->rel == y->rel && nodes_equal(ev, x, y); x = x->next)
        y = y->next;
    return !x && !y;
}

/* ---- relations ---- */

static int mirror(int rel)
{
    switch (rel) {
    case REL_LT: return REL_GT;
    case REL_LE: return REL_GE;
    case REL_GT: return REL_LT;
    case REL_GE: return REL_LE;
    default: return rel;
    }
}

/* What may stand left of = as the name of the answer: x, Area, f(x), (x, y). */
static bool is_name(const struct node *n)
{
    switch (n->kind) {
    case N_VAR:
    case N_TEXT: return true;
    case N_MUL:
        return n->n_children == 2 && n->child->kind == N_VAR && n->last->kind == N_VAR &&
               n->last->is_bracket;
    case N_TUPLE:
        for (const struct node *c = n->child; c; c = c->next)
            if (c->kind != N_VAR)
                return false;
        return true;
    default: return false;
    }
}

static bool is_naming(const struct node *n)
{
    return n->kind == N_REL && is_name(n->child) &&
           (n->child->next->rel == REL_EQ || (n->child->next->rel == REL_IN && n->n_children == 2));
}

/* x = a, or x = a = b, against an answer without a name. */
static bool named_equal(struct eval *ev, const struct node *rel, const struct node *other)
{
    for (const struct node *c = rel->child->next; c; c = c->next)
        if ((c->rel != REL_EQ && c->rel != REL_IN) || !nodes_equal(ev, c, other))
            return false;
    return true;
}

/* lhs - rhs of a relation of two sides. */
static struct node *difference(struct eval *ev, const struct node *lhs, const struct node *rhs)
{
    struct node *add = node_new(ev->arena, N_ADD), *neg = node_new(ev->arena, N_NEG);
    struct node *l = node_new(ev->arena, N_ADD), *r = node_new(ev->arena, N_ADD);

    if (!add || !neg || !l || !r) {
        ev->is_nomem = true;
        return NULL;
    }
    *l = *lhs;
    *r = *rhs;
    node_add(add, l);
    node_add(neg, r);
    node_add(add, neg);
    return add;
}

static bool is_inequality(int rel)
{
    return rel >= REL_LT && rel <= REL_GE;
}

/* The sign that makes a positive multiple of b out of a, or 0: from one real point. */
static int sign_of_ratio(struct eval *ev, const struct node *a, const struct node *b)
{
    struct ball f, g;

    for (int i = 0; i < MATH_MAX_VARS; i++) {
        ev->point[i][0] = 1.25L + 0.37L * (long double)i;
        ev->point[i][1] = 0;
    }
    if (ball_eval(ev, a, &f) || ball_eval(ev, b, &g) || ball_is_zero(f) || ball_is_zero(g))
        return 0;
    return (f.re > 0) == (g.re > 0) ? 1 : -1;
}

/* Two relations of two sides each: the same up to a factor. */
static bool scaled_equal(struct eval *ev, const struct node *a, const struct node *b)
{
    int rel = a->last->rel;
    struct node *f, *g;
    uint64_t va = 0, vb = 0;
    bool is_same = false;
    int sign;

    f = difference(ev, a->child, a->last);
    g = difference(ev, b->child, b->last);
    if (!f || !g)
        return false;
    find_vars(ev, f, &va);
    find_vars(ev, g, &vb);
    if (!va || va != vb || compare_identity(ev, f, g, true, &is_same) != VALUE_OK || !is_same)
        return false;
    if (!is_inequality(rel))
        return rel == b->last->rel && (rel == REL_EQ || rel == REL_NE);
    sign = sign_of_ratio(ev, f, g);
    return sign && b->last->rel == (sign > 0 ? rel : mirror(rel));
}

static bool relations_equal(struct eval *ev, const struct node *a, const struct node *b)
{
    const struct node *x, *y;
    struct node *reversed;

    if (a->n_children != b->n_children)
        return false;
    if (children_equal(ev, a, b))
        return true;
    if (a->n_children == 2 && a->last->rel != REL_IN && a->last->rel != REL_RATIO &&
        a->last->rel != REL_OTHER)
        return scaled_equal(ev, a, b);
    x = a->child->next;
    if (!is_inequality(x->rel))
        return false;
    reversed = node_new(ev->arena, N_REL); /* a < x < b as b > x > a */
    ev->is_nomem |= !reversed;
    for (y = b->child; y && reversed; y = y->next) {
        struct node *c = node_new(ev->arena, N_ADD);

        ev->is_nomem |= !c;
        if (!c)
            return false;
        *c = *y;
        c->rel = y->next ? mirror(y->next->rel) : REL_NONE;
        c->next = reversed->child;
        reversed->child = c;
    }
    return reversed && children_equal(ev, a, reversed);
}

static const struct node infinity = { .kind = N_SYM, .arg = SYM_INFINITY };
static const struct node minus_infinity = { .kind = N_NEG,
                                            .child = (struct node *)&infinity,
                                            .last = (struct node *)&infinity,
                                            .n_children = 1 };

/* The interval that a node says: (a, b], a < x <= b, x > a, all reals. */
static bool get_interval(struct eval *ev, const struct node *n, struct interval *ret)
{
    const struct node *a = n->child, *b, *c;
    int rel;

    *ret = (struct interval){ 0 };
    if (n->kind == N_SYM && n->arg == SYM_REALS) {
        *ret = (struct interval){ .low = &minus_infinity, .high = &infinity };
        return true;
    }
    if (n->kind == N_TUPLE && n->n_children == 2 && n->arg != '<') {
        *ret = (struct interval){
            .low = a, .high = a->next, .has_low = n->arg == '[', .has_high = n->arg2 == '['
        };
        return true;
    }
    if (n->kind != N_REL)
        return false;
    if (a->next->rel == REL_IN && a->kind == N_VAR && n->n_children == 2 &&
        n->last->kind != N_REL && get_interval(ev, n->last, ret)) {
        ret->var = a->text;
        return true;
    }
    if (!is_inequality(a->next->rel))
        return false;
    b = a->next;
    c = b->next;
    rel = b->rel;
    if (n->n_children == 2 && (a->kind == N_VAR || b->kind == N_VAR)) {
        if (a->kind != N_VAR) { /* 2 < x */
            const struct node *swap = a;

            a = b;
            b = swap;
            rel = mirror(rel);
        }
        if (has_vars(ev, b))
            return false;
        ret->var = a->text;
        ret->low = rel == REL_GT || rel == REL_GE ? b : &minus_infinity;
        ret->high = rel == REL_LT || rel == REL_LE ? b : &infinity;
        ret->has_low = rel == REL_GE;
        ret->has_high = rel == REL_LE;
        return true;
    }
    if (n->n_children != 3 || b->kind != N_VAR || has_vars(ev, a) || has_vars(ev, c))
        return false;
    ret->var = b->text;
    if ((rel == REL_LT || rel == REL_LE) && (c->rel == REL_LT || c->rel == REL_LE)) {
        ret->low = a;
        ret->high = c;
        ret->has_low = rel == REL_LE;
        ret->has_high = c->rel == REL_LE;
        return true;
    }
    if ((rel == REL_GT || rel == REL_GE) && (c->rel == REL_GT || c->rel == REL_GE)) {
        ret->low = c;
        ret->high = a;
        ret->has_low = c->rel == REL_GE;
        ret->has_high = rel == REL_GE;
        return true;
    }
    return false;
}

/* Said otherwise than by brackets. */
static bool is_interval_spelling(const struct node *n)
{
    return n->kind == N_REL || n->kind == N_SYM;
}

static bool intervals_equal(struct eval *ev, const struct interval *a, const struct interval *b)
{
    return a->has_low == b->has_low && a->has_high == b->has_high &&
           (!a->var || !b->var || strcmp(a->var, b->var) == 0) && nodes_equal(ev, a->low, b->low) &&
           nodes_equal(ev, a->high, b->high);
}

/* Parts of a union; "x < 1 or x > 2" is one. */
static bool get_parts(struct eval *ev, const struct node *n, struct elements *e)
{
    struct interval unused;

    e->n = 0;
    if (n->kind == N_LIST) {
        if (n->arg != T_OR)
            return false;
        for (const struct node *c = n->child; c; c = c->next)
            if (!get_interval(ev, c, &unused))
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

static bool expressions_equal(struct eval *ev, const struct node *a, const struct node *b)
{
    bool is_same = false;
    enum value v;

    if (unit_is_conflict(&a->unit, &b->unit))
        return false;
    v = compare_values(ev, a, b, &is_same);
    if (v == VALUE_OK)
        return is_same;
    return v == VALUE_NONE && structures_equal(ev, a, b);
}

static bool nodes_equal(struct eval *ev, const struct node *a, const struct node *b)
{
    struct interval x, y;

    if (!eval_spend(ev, 1))
        return false;
    if (is_naming(a) && is_naming(b) && a->n_children == 2 && b->n_children == 2 &&
        nodes_equal(ev, a->child, b->child) && nodes_equal(ev, a->last, b->last))
        return true;
    if (is_naming(a) && b->kind != N_REL && !is_list(b))
        return named_equal(ev, a, b);
    if (is_naming(b) && a->kind != N_REL && !is_list(a))
        return named_equal(ev, b, a);
    if (a->kind == N_UNION || b->kind == N_UNION)
        return equal_in_any_order(ev, a, b, get_parts);
    if (is_list(a) || is_list(b)) {
        if (is_naming(a) && !a->has_pm && a->n_children == 2)
            return nodes_equal(ev, a->last, b); /* x = {1, 2} */
        if (is_naming(b) && !b->has_pm && b->n_children == 2)
            return nodes_equal(ev, a, b->last);
        return equal_in_any_order(ev, a, b, elements_get);
    }
    if (a->kind == N_TEXT || b->kind == N_TEXT || (is_bare_word(a) && is_bare_word(b)))
        return words_equal(a, b);
    if ((is_interval_spelling(a) || is_interval_spelling(b)) && get_interval(ev, a, &x) &&
        get_interval(ev, b, &y))
        return intervals_equal(ev, &x, &y);
    if (a->kind == N_REL && b->kind == N_REL)
        return relations_equal(ev, a, b);
    a = scale_matrix(ev, a);
    b = scale_matrix(ev, b);
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

enum status math_equal(const char *pred, size_t pred_len, const char *gold, size_t gold_len,
                       bool *ret, struct error *err)
{
    struct arena arena = { 0 };
    enum status st;

    if (pred_len > MATH_MAX_BYTES || gold_len > MATH_MAX_BYTES) {
        *ret = pred_len == gold_len && memcmp(pred, gold, pred_len) == 0;
        return ST_OK;
    }
    st = equal_in(&arena, pred, pred_len, gold, gold_len, ret, err);
    arena_release(&arena);
    return st;
}
