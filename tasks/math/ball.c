/*
 * Complex values with a bound of their error, for what is not rational: roots, logarithms,
 * trigonometry. Each operation adds what rounding may add and carries over the errors of its
 * operands by the size of its derivative; a value whose error has grown past its use (a
 * difference of large numbers, a zero divisor) thereby says so. Functions of libm are taken to
 * be good to 8 units in the last place.
 *
 * Powers, roots and logarithms are principal values, but odd roots of negative real numbers are
 * real, as in school.
 */
#include "tasks/math/ast.h"

#include <complex.h>
#include <float.h>
#include <math.h>

typedef long double complex cld;

static const long double ulp = LDBL_EPSILON;
static const long double huge = 1e4000L, tiny = 1e-4000L;

static const long double pi_value = 3.14159265358979323846264338327950288L;
static const long double e_value = 2.71828182845904523536028747135266250L;

/* What CMPLXL() of C11 does, which glibc keeps from clang. Layout: C17 6.2.5, 13. */
static cld complex_of(long double re, long double im)
{
    const union {
        long double part[2];
        cld z;
    } u = { .part = { re, im } };

    return u.z;
}

static cld get(struct ball a)
{
    return complex_of(a.re, a.im);
}

static long double size(struct ball a)
{
    return hypotl(a.re, a.im);
}

static struct ball make(cld z, long double err)
{
    /* + 0: negative zeros would choose the other side of a branch cut */
    return (struct ball){ .re = creall(z) + 0.0L, .im = cimagl(z) + 0.0L, .err = err };
}

/* The result of a step, if it stayed within range. */
static enum value finish(struct ball a, struct ball *ret)
{
    long double s = size(a);

    if (!isfinite(s) || !isfinite(a.err) || s > huge || (s > 0 && s < tiny))
        return VALUE_UNDEFINED;
    *ret = a;
    return VALUE_OK;
}

struct ball ball_add(struct ball a, struct ball b)
{
    struct ball r = make(get(a) + get(b), 0);

    r.err = a.err + b.err + ulp * size(r);
    return r;
}

struct ball ball_mul(struct ball a, struct ball b)
{
    struct ball r = { .re = a.re * b.re - a.im * b.im, .im = a.re * b.im + a.im * b.re };

    r.err = size(a) * b.err + size(b) * a.err + a.err * b.err;
    if (a.im != 0 || b.im != 0 || a.err != 0 || b.err != 0 || fabsl(r.re) > 0x1p63L ||
        r.re != truncl(r.re)) /* small integers multiply exactly */
        r.err += 4 * ulp * size(a) * size(b);
    return r;
}

static enum value invert(struct ball a, struct ball *ret)
{
    long double s = size(a);
    struct ball r;

    if (s <= 2 * a.err)
        return VALUE_UNDEFINED;
    r = a.im == 0 ? make(1 / a.re, 0) : make(1 / get(a), 0);
    r.err = a.err / (s * (s - a.err)) + 4 * ulp * size(r);
    return finish(r, ret);
}

static enum value raise(struct ball a, long n, struct ball *ret)
{
    unsigned long k = n < 0 ? -(unsigned long)n : (unsigned long)n;
    struct ball r = { .re = 1 };

    if (n <= 0 && size(a) <= 2 * a.err)
        return VALUE_UNDEFINED;
    for (; k; k >>= 1) {
        if (k & 1 && finish(ball_mul(r, a), &r))
            return VALUE_UNDEFINED;
        if (k > 1 && finish(ball_mul(a, a), &a))
            return VALUE_UNDEFINED;
    }
    return n < 0 ? invert(r, ret) : finish(r, ret);
}

/* An imaginary part that may be zero is zero: what lies on a branch cut stays on it. */
static struct ball snap(struct ball a)
{
    if (fabsl(a.im) <= a.err)
        a.im = 0;
    return a;
}

static enum value take_log(struct ball a, struct ball *ret)
{
    long double s = size(a);
    struct ball r;

    a = snap(a);
    if (s <= 2 * a.err)
        return VALUE_UNDEFINED;
    if (a.im == 0)
        r = make(complex_of(logl(fabsl(a.re)), a.re < 0 ? pi_value : 0), 0);
    else
        r = make(clogl(get(a)), 0);
    r.err = 1.2L * a.err / (s - a.err) + 8 * ulp * (size(r) + (a.err > 0));
    return finish(r, ret);
}

static enum value take_exp(struct ball a, struct ball *ret)
{
    struct ball r;

    if (a.re > 9000 || a.re < -9000 || a.err > 0.1L)
        return VALUE_UNDEFINED;
    r = a.im == 0 ? make(expl(a.re), 0) : make(cexpl(get(a)), 0);
    r.err = size(r) * (1.2L * a.err + 8 * ulp);
    return finish(r, ret);
}

static enum value take_root(struct ball a, long index, struct ball *ret)
{
    long double s = size(a);
    struct ball r;
    cld z;

    a = snap(a);
    if (s == 0 && a.err == 0)
        return finish(a, ret);
    if (s <= 2 * a.err)
        return VALUE_UNDEFINED;
    if (a.im == 0 && (a.re > 0 || index % 2 == 1)) {
        long double x = index == 2   ? sqrtl(fabsl(a.re))
                        : index == 3 ? cbrtl(fabsl(a.re))
                                     : powl(fabsl(a.re), 1.0L / (long double)index);
        z = a.re < 0 ? -x : x;
    } else if (index == 2) {
        z = a.im == 0 ? complex_of(0, sqrtl(-a.re)) : csqrtl(get(a));
    } else {
        z = cexpl(clogl(get(a)) / (long double)index);
    }
    r = make(z, 0);
    r.err =
        size(r) * (1.2L * a.err / ((long double)index * (s - a.err)) + ulp * (8 + fabsl(logl(s))));
    return finish(r, ret);
}

/* The value of an exact integer subtree of at most max in size. */
static enum value get_integer(struct eval *ev, const struct node *n, unsigned long max, long *ret)
{
    enum value v;
    mpq_t q;

    mpq_init(q);
    v = exact_eval(ev, n, q);
    if (!v) {
        if (mpz_cmp_ui(mpq_denref(q), 1) != 0 || mpz_cmpabs_ui(mpq_numref(q), max) > 0)
            v = VALUE_NONE;
        else
            *ret = mpz_get_si(mpq_numref(q));
    }
    mpq_clear(q);
    return v;
}

static enum value eval_power(struct eval *ev, const struct node *n, struct ball *ret)
{
    struct ball base, e, t;
    enum value v;
    long k;

    v = get_integer(ev, n->last, MATH_MAX_EXPONENT, &k);
    if (v == VALUE_OK) {
        v = ball_eval(ev, n->child, &base);
        return v ? v : raise(base, k, ret);
    }
    if (v == VALUE_UNDEFINED)
        return v;
    v = ball_eval(ev, n->last, &e);
    if (v)
        return v;
    if (n->child->kind == N_E)
        return take_exp(e, ret);
    v = ball_eval(ev, n->child, &base);
    if (v)
        return v;
    if (size(base) == 0 && base.err == 0 && e.re > e.err)
        return finish(base, ret);
    v = take_log(base, &t);
    return v ? v : take_exp(ball_mul(t, e), ret);
}

static enum value eval_root(struct eval *ev, const struct node *n, struct ball *ret)
{
    enum value v;
    long index = 0;

    v = get_integer(ev, n->last, 1000, &index);
    if (v || index < 1)
        return v ? v : VALUE_NONE;
    v = ball_eval(ev, n->child, ret);
    return v ? v : take_root(*ret, index, ret);
}

/* n choose k as a polynomial in n; factorials and other integers through their exact value. */
static enum value eval_exact_kind(struct eval *ev, const struct node *n, struct ball *ret)
{
    struct ball top, r = { .re = 1 };
    enum value v;
    long k;
    mpq_t q;

    mpq_init(q);
    v = exact_eval(ev, n, q);
    if (!v) {
        r.re = (long double)mpq_get_d(q);
        r.err = fabsl(r.re) < 0x1p53L && !mpz_cmp_ui(mpq_denref(q), 1)
                    ? 0
                    : fabsl(r.re) * (long double)DBL_EPSILON;
    }
    mpq_clear(q);
    if (!v)
        return finish(r, ret);
    if (v != VALUE_NONE || n->kind != N_BINOM)
        return v;
    v = get_integer(ev, n->last, 30, &k);
    if (!v)
        v = ball_eval(ev, n->child, &top);
    if (v || k < 0)
        return v ? v : VALUE_NONE;
    for (long i = 0; i < k; i++) {
        struct ball d = { .re = 1.0L / (long double)(i + 1), .err = ulp };

        if (finish(ball_mul(ball_mul(r, ball_add(top, (struct ball){ .re = -(long double)i })), d),
                   &r))
            return VALUE_UNDEFINED;
    }
    return finish(r, ret);
}

static enum value eval_rounded(struct eval *ev, const struct node *n, struct ball *ret)
{
    struct ball a;
    enum value v = ball_eval(ev, n->child, &a);

    if (v)
        return v;
    if (fabsl(a.im) > a.err)
        return VALUE_NONE;
    if (floorl(a.re - a.err) != floorl(a.re + a.err) || ceill(a.re - a.err) != ceill(a.re + a.err))
        return VALUE_UNDEFINED;
    return finish(make(n->kind == N_FLOOR ? floorl(a.re) : ceill(a.re), 0), ret);
}

static enum value take_sin_cos(struct ball a, bool is_sin, bool is_hyperbolic, struct ball *ret)
{
    cld s, c;
    struct ball r;
    long double slope;

    if (a.err > 0.1L)
        return VALUE_UNDEFINED;
    if (is_hyperbolic) {
        s = csinhl(get(a));
        c = ccoshl(get(a));
    } else if (a.im == 0) {
        s = sinl(a.re);
        c = cosl(a.re);
    } else {
        s = csinl(get(a));
        c = ccosl(get(a));
    }
    r = make(is_sin ? s : c, 0);
    slope = cabsl(is_sin ? c : s) + a.err * size(r);
    r.err = 1.2L * slope * a.err + 8 * ulp * size(r);
    return finish(r, ret);
}

static enum value divide(struct ball a, struct ball b, struct ball *ret)
{
    enum value v = invert(b, &b);

    return v ? v : finish(ball_mul(a, b), ret);
}

/* arcsin and arccos (is_atan false) or arctan of a. */
static enum value take_inverse(struct ball a, enum func f, struct ball *ret)
{
    cld z = get(a = snap(a));
    long double room = cabsl(f == FN_ATAN ? 1 + z * z : 1 - z * z), slope;
    struct ball r;

    if (a.err > 0 && room <= 16 * a.err)
        return VALUE_UNDEFINED;
    slope = f == FN_ATAN ? 1 / room : 1 / sqrtl(room);
    if (a.im == 0 && (f == FN_ATAN || fabsl(a.re) <= 1))
        z = f == FN_ATAN ? atanl(a.re) : f == FN_ASIN ? asinl(a.re) : acosl(a.re);
    else
        z = f == FN_ATAN ? catanl(z) : f == FN_ASIN ? casinl(z) : cacosl(z);
    r = make(z, 0);
    r.err = (a.err > 0 ? 1.5L * slope * a.err : 0) + 8 * ulp * size(r);
    return finish(r, ret);
}

static enum value eval_func(struct eval *ev, const struct node *n, struct ball *ret)
{
    static const struct ball one = { .re = 1 };
    bool is_trig = n->arg <= FN_CSC, is_hyperbolic = n->arg >= FN_SINH && n->arg <= FN_TANH;
    struct ball a, s, c;
    enum value v;

    eval_spend(ev, 6);
    ev->n_trig += is_trig;
    v = ball_eval(ev, n->child, &a);
    ev->n_trig -= is_trig;
    if (v)
        return v;
    if (is_trig || is_hyperbolic) {
        if (take_sin_cos(a, true, is_hyperbolic, &s) || take_sin_cos(a, false, is_hyperbolic, &c))
            return VALUE_UNDEFINED;
    }
    switch ((enum func)n->arg) {
    case FN_SIN:
    case FN_SINH: return finish(s, ret);
    case FN_COS:
    case FN_COSH: return finish(c, ret);
    case FN_TAN:
    case FN_TANH: return divide(s, c, ret);
    case FN_COT: return divide(c, s, ret);
    case FN_SEC: return divide(one, c, ret);
    case FN_CSC: return divide(one, s, ret);
    case FN_ASIN:
    case FN_ACOS:
    case FN_ATAN: return take_inverse(a, (enum func)n->arg, ret);
    case FN_LN: return take_log(a, ret);
    case FN_EXP: return take_exp(a, ret);
    }
    return VALUE_NONE;
}

static enum value eval_log(struct eval *ev, const struct node *n, struct ball *ret)
{
    struct ball a, b;
    enum value v = ball_eval(ev, n->child, &a);

    if (!v)
        v = ball_eval(ev, n->last, &b);
    if (!v)
        v = take_log(a, &a);
    if (!v)
        v = take_log(b, &b);
    return v ? v : divide(a, b, ret);
}

static enum value eval_many(struct eval *ev, const struct node *n, struct ball *ret)
{
    bool is_mul = n->kind == N_MUL;
    struct ball x, r = { .re = is_mul };
    enum value v;

    for (const struct node *c = n->child; c; c = c->next) {
        v = ball_eval(ev, c, &x);
        if (v)
            return v;
        if (finish(is_mul ? ball_mul(r, x) : ball_add(r, x), &r))
            return VALUE_UNDEFINED;
    }
    *ret = r;
    return VALUE_OK;
}

enum value ball_eval(struct eval *ev, const struct node *n, struct ball *ret)
{
    struct ball a;
    enum value v;
    int var;

    if (!eval_spend(ev, 2))
        return VALUE_UNDEFINED;
    switch (n->kind) {
    case N_NUM: return finish(make(n->value, n->is_value_exact ? 0 : 4 * ulp * n->value), ret);
    case N_PI: return finish(make(pi_value, 2 * ulp), ret);
    case N_E: return finish(make(e_value, 2 * ulp), ret);
    case N_I: return finish(make(complex_of(0, 1), 0), ret);
    case N_VAR:
        var = eval_var(ev, n->text);
        if (var < 0)
            return VALUE_NONE;
        return finish(make(complex_of(ev->point[var][0], ev->point[var][1]), 0), ret);
    case N_ADD:
    case N_MUL: return eval_many(ev, n, ret);
    case N_NEG: v = ball_eval(ev, n->child, &a); return v ? v : finish(make(-get(a), a.err), ret);
    case N_INV: v = ball_eval(ev, n->child, &a); return v ? v : invert(a, ret);
    case N_POW: eval_spend(ev, 6); return eval_power(ev, n, ret);
    case N_ROOT: eval_spend(ev, 4); return eval_root(ev, n, ret);
    case N_FUNC: return eval_func(ev, n, ret);
    case N_LOG: eval_spend(ev, 6); return eval_log(ev, n, ret);
    case N_ABS:
        v = ball_eval(ev, n->child, &a);
        return v ? v : finish(make(size(a), a.err + 2 * ulp * size(a)), ret);
    case N_FLOOR:
    case N_CEIL: return eval_rounded(ev, n, ret);
    case N_FACTORIAL:
    case N_BINOM: return eval_exact_kind(ev, n, ret);
    case N_DEGREE:
        v = ball_eval(ev, n->child, &a);
        if (v || !ev->n_trig)
            return v ? v : finish(a, ret);
        return finish(ball_mul(a, (struct ball){ .re = pi_value / 180, .err = ulp }), ret);
    case N_PERCENT:
        v = ball_eval(ev, n->child, &a);
        return v ? v : finish(ball_mul(a, (struct ball){ .re = 0.01L, .err = ulp }), ret);
    default: return VALUE_NONE;
    }
}

bool ball_is_same(struct ball a, struct ball b)
{
    long double err = 8 * (a.err + b.err), distance = hypotl(a.re - b.re, a.im - b.im);
    long double largest = fmaxl(size(a), size(b));

    if (!(distance <= err))
        return false;
    return largest > err ? err <= 1e-9L * largest : err <= 1e-12L;
}

bool ball_is_zero(struct ball a)
{
    return size(a) <= 8 * a.err;
}
