/*
 * Expressions compared by value: rational numbers exactly, rational functions modulo a prime,
 * all else as complex numbers with error bounds.
 */
#include "tasks/math/compare.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "base/rng.h"

enum { MAX_RETRIES = 3 * MATH_N_POINTS, MAX_TERMS = 32, SEED = 20240229 };

/* A term of a sum without variables. */
struct term {
    const struct node *node;
    struct ball value; /* with its sign */
    int side;          /* 0 or 1: whose it is */
    bool is_negative;
    bool is_done; /* rational, or the same as one of the other side */
};

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

/*
 * New values for all variables met: modulo the prime, and in the ring 0.6 <= |z| < 1.8. They
 * follow from the variable's name, not from which was met first, as a comparison must come out
 * the same with its sides exchanged: whether 0^s is defined depends on s.
 */
static void draw_point(struct eval *ev, struct rng *rng)
{
    uint64_t seed = rng_u64(rng);

    ev->pi = 1 + rng_below(rng, MODP - 1);
    ev->e = 1 + rng_below(rng, MODP - 1);
    eval_spend(ev, 1 + ev->n_vars);
    for (int i = 0; i < ev->n_vars; i++) {
        struct rng own;
        double r, angle;

        rng_seed(&own, seed ^ rng_hash(ev->var[i], strlen(ev->var[i])));
        r = 0.6 + 1.2 * rng_uniform(&own);
        angle = 6.283185307179586 * rng_uniform(&own);
        ev->residue[i] = 1 + rng_below(&own, MODP - 1);
        ev->point[i][0] = (long double)(r * cos(angle));
        ev->point[i][1] = (long double)(r * sin(angle));
    }
}

/* Mark in a set of bits the variables of a tree. */
void values_find_vars(struct eval *ev, const struct node *n, uint64_t *vars)
{
    int v = n->kind == N_VAR ? eval_var(ev, n->text) : -1;

    eval_spend(ev, 1);
    if (v >= 0)
        *vars |= UINT64_C(1) << v;
    for (const struct node *c = n->child; c && ev->work > 0; c = c->next)
        values_find_vars(ev, c, vars);
}

bool values_has_vars(struct eval *ev, const struct node *n)
{
    uint64_t vars = 0;

    values_find_vars(ev, n, &vars);
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

/* What holds of two values, whichever comes first: one that is out of reach may be equal by other
 * means, even where the other is undefined. */
static enum value both(enum value v, enum value w)
{
    return v == VALUE_NONE || w == VALUE_NONE ? VALUE_NONE : v == VALUE_OK ? w : v;
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
        if (v != VALUE_NONE)
            v = both(v, modp_eval(ev, b, &y));
        if (v == VALUE_OK) {
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
        if (v != VALUE_NONE)
            v = both(v, ball_eval(ev, b, &y));
        if (v == VALUE_OK) {
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

enum value values_compare_functions(struct eval *ev, const struct node *a, const struct node *b,
                                    bool is_scaled, bool *ret)
{
    enum value v = compare_modp(ev, a, b, is_scaled, ret);

    return v == VALUE_NONE ? compare_balls(ev, a, b, is_scaled, ret) : v;
}

/* Take a sum apart into its terms; false if there are too many. */
static bool get_terms(const struct node *n, bool is_negative, int side, struct term *terms,
                      int *n_terms)
{
    if (n->kind == N_NEG)
        return get_terms(n->child, !is_negative, side, terms, n_terms);
    if (n->kind == N_ADD) {
        for (const struct node *c = n->child; c; c = c->next)
            if (!get_terms(c, is_negative, side, terms, n_terms))
                return false;
        return true;
    }
    if (*n_terms == MAX_TERMS)
        return false;
    terms[(*n_terms)++] = (struct term){ .node = n, .is_negative = is_negative, .side = side };
    return true;
}

/* A rational number as a long double: two doubles hold all of its bits. */
static struct ball ball_of(const mpq_t q)
{
    double high = mpq_get_d(q), low = 0;
    mpq_t rest;

    if (isfinite(high)) {
        mpq_init(rest);
        mpq_set_d(rest, high);
        mpq_sub(rest, q, rest);
        low = mpq_get_d(rest);
        mpq_clear(rest);
    }
    return (struct ball){ .re = (long double)high + (long double)low,
                          .err = LDBL_EPSILON * fabsl((long double)high) };
}

/*
 * Two sums, after taking away what they have in common: 10^{30}+\sqrt2 and 10^{30}+\sqrt3
 * differ, though not in their first thirty digits. Rational terms are added up exactly.
 */
static enum value compare_sums(struct eval *ev, struct term *terms, int n_terms, bool *ret)
{
    struct ball sides[2] = { { .re = 0 }, { .re = 0 } };
    bool is_rational = true;
    enum value v = VALUE_OK;
    mpq_t sum, x;

    mpq_init(sum);
    mpq_init(x);
    for (int i = 0; i < n_terms && v == VALUE_OK; i++) {
        struct term *t = &terms[i];

        v = exact_eval(ev, t->node, x);
        if (v == VALUE_OK) {
            if (t->is_negative != t->side)
                mpq_neg(x, x);
            mpq_add(sum, sum, x);
            t->is_done = true;
        } else if (v == VALUE_NONE) {
            v = ball_eval(ev, t->node, &t->value);
            if (t->is_negative) {
                t->value.re = -t->value.re;
                t->value.im = -t->value.im;
            }
            for (int k = 0; k < i && v == VALUE_OK && !t->is_done; k++)
                if (!terms[k].is_done && terms[k].side != t->side &&
                    ball_is_same(terms[k].value, t->value))
                    t->is_done = terms[k].is_done = true;
        }
    }
    for (int i = 0; i < n_terms && v == VALUE_OK; i++)
        if (!terms[i].is_done) {
            is_rational = false;
            sides[terms[i].side] = ball_add(sides[terms[i].side], terms[i].value);
        }
    if (v == VALUE_OK && is_rational) {
        *ret = mpq_sgn(sum) == 0;
    } else if (v == VALUE_OK) {
        /* on either side: a rational part that dwarfs the rest of one shows in the other */
        *ret = ball_is_same(ball_add(sides[0], ball_of(sum)), sides[1]);
        mpq_neg(sum, sum);
        *ret = *ret && ball_is_same(sides[0], ball_add(sides[1], ball_of(sum)));
    }
    mpq_clear(sum);
    mpq_clear(x);
    return v;
}

/* Two values without variables. */
static enum value compare_constants(struct eval *ev, const struct node *a, const struct node *b,
                                    bool *ret)
{
    enum value v = compare_exact(ev, a, b, ret);
    struct term terms[MAX_TERMS];
    struct ball x, y;
    bool is_decided;
    int n_terms = 0;

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
    if (v)
        return v;
    *ret = false;
    if (!is_decided && get_terms(a, false, 0, terms, &n_terms) &&
        get_terms(b, false, 1, terms, &n_terms))
        v = compare_sums(ev, terms, n_terms, ret);
    else if (!is_decided)
        *ret = ball_is_same(x, y);
    *ret = *ret || (is_long_decimal(a) && is_rounding_of_real(x, y)) ||
           (is_long_decimal(b) && is_rounding_of_real(y, x));
    return v;
}

/* Two expressions by value. */
enum value values_compare(struct eval *ev, const struct node *a, const struct node *b, bool *ret)
{
    uint64_t va = 0, vb = 0;

    values_find_vars(ev, a, &va);
    values_find_vars(ev, b, &vb);
    if (va != vb) {
        *ret = false;
        return VALUE_OK;
    }
    return va ? values_compare_functions(ev, a, b, false, ret) : compare_constants(ev, a, b, ret);
}
