/* Equations, inequalities, and the intervals that they say. */
#include "tasks/math/compare.h"

#include <math.h>
#include <string.h>

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

/* Points name lines and angles: AB, ABC, m ABC. */
static bool is_points(const struct node *n)
{
    for (const struct node *c = n->child; c; c = c->next) {
        bool is_measure = c == n->child && strcmp(c->text ? c->text : "", "m") == 0;

        if (c->kind != N_VAR || !(is_measure || (*c->text >= 'A' && *c->text <= 'Z')))
            return false;
    }
    return n->kind == N_MUL;
}

/* A value of a function: f(x), f(2), P(A); but x(x + 1) is a product. */
static bool is_call(const struct node *n)
{
    return n->kind == N_MUL && n->n_children == 2 && n->child->kind == N_VAR &&
           (n->last->kind == N_VAR || strchr("fghpquvABCDEFGHLMNPQRSTUV", *n->child->text)) &&
           (n->last->is_bracket || (n->last->kind == N_TUPLE && n->last->arg == '('));
}

bool relation_is_name(const struct node *n)
{
    switch (n->kind) {
    case N_VAR:
    case N_TEXT: return true;
    case N_MUL: return is_points(n) || is_call(n);
    case N_ABS: return is_points(n->child);
    case N_FUNC: return n->child->kind == N_VAR || is_points(n->child);
    case N_TUPLE:
        for (const struct node *c = n->child; c; c = c->next)
            if (c->kind != N_VAR)
                return false;
        return true;
    default: return false;
    }
}

bool relation_is_naming(const struct node *n)
{
    return n->kind == N_REL && relation_is_name(n->child) &&
           (n->child->next->rel == REL_EQ || (n->child->next->rel == REL_IN && n->n_children == 2));
}

bool relation_is_chain(const struct node *n)
{
    if (n->kind != N_REL || relation_is_naming(n))
        return n->kind == N_REL;
    for (const struct node *c = n->child->next; c; c = c->next)
        if (c->rel != REL_EQ)
            return false;
    return true;
}

bool relation_sides_equal(struct eval *ev, const struct node *rel, const struct node *other)
{
    const struct node *c = relation_is_naming(rel) ? rel->child->next : rel->child;

    for (; c; c = c->next)
        if ((c->rel != REL_EQ && c->rel != REL_IN && c != rel->child) || !nodes_equal(ev, c, other))
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
    values_find_vars(ev, f, &va);
    values_find_vars(ev, g, &vb);
    if (!va || va != vb || values_compare_functions(ev, f, g, true, &is_same) != VALUE_OK ||
        !is_same)
        return false;
    if (!is_inequality(rel))
        return rel == b->last->rel && (rel == REL_EQ || rel == REL_NE);
    sign = sign_of_ratio(ev, f, g);
    return sign && b->last->rel == (sign > 0 ? rel : mirror(rel));
}

bool relations_equal(struct eval *ev, const struct node *a, const struct node *b)
{
    const struct node *x, *y;
    struct node *reversed;

    if (a->n_children != b->n_children)
        return false;
    if (children_equal(ev, a, b))
        return true;
    if (a->n_children == 2 && a->last->rel != REL_IN && a->last->rel != REL_RATIO)
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

const struct node *interval_make(struct eval *ev, const struct node *low, const struct node *high)
{
    struct node *n = node_new(ev->arena, N_TUPLE), *a = node_new(ev->arena, N_ADD),
                *b = node_new(ev->arena, N_ADD);

    if (!n || !a || !b) {
        ev->is_nomem = true;
        return NULL;
    }
    *a = low ? *low : minus_infinity;
    *b = high ? *high : infinity;
    a->rel = b->rel = REL_NONE;
    node_add(n, a);
    node_add(n, b);
    n->arg = n->arg2 = '(';
    return n;
}

/* The interval that a node says: (a, b], a < x <= b, x > a, all reals. */
bool interval_get(struct eval *ev, const struct node *n, struct interval *ret)
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
        n->last->kind != N_REL && interval_get(ev, n->last, ret)) {
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
        if (values_has_vars(ev, b))
            return false;
        ret->var = a->text;
        ret->low = rel == REL_GT || rel == REL_GE ? b : &minus_infinity;
        ret->high = rel == REL_LT || rel == REL_LE ? b : &infinity;
        ret->has_low = rel == REL_GE;
        ret->has_high = rel == REL_LE;
        return true;
    }
    if (n->n_children != 3 || b->kind != N_VAR || values_has_vars(ev, a) || values_has_vars(ev, c))
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
bool interval_is_said(const struct node *n)
{
    return n->kind == N_REL || n->kind == N_SYM;
}

bool intervals_equal(struct eval *ev, const struct interval *a, const struct interval *b)
{
    return a->has_low == b->has_low && a->has_high == b->has_high &&
           (!a->var || !b->var || strcmp(a->var, b->var) == 0) && nodes_equal(ev, a->low, b->low) &&
           nodes_equal(ev, a->high, b->high);
}
