/*
 * Rational values, exactly, on GMP. Numbers are kept below MATH_MAX_BITS, so that no input makes
 * them slow or large: what would be larger has no exact value (VALUE_NONE).
 */
#include "tasks/math/ast.h"

#include <string.h>

static enum value eval(struct eval *ev, const struct node *n, mpq_t ret);

static size_t bits(const mpq_t q)
{
    size_t num = mpz_sizeinbase(mpq_numref(q), 2), den = mpz_sizeinbase(mpq_denref(q), 2);

    return num > den ? num : den;
}

/* Pay for an operation on q and see that it has not grown too large. */
static enum value check(struct eval *ev, const mpq_t q)
{
    size_t n = bits(q);

    eval_spend(ev, 1 + (long)(n * n / 500000));
    return n <= MATH_MAX_BITS ? VALUE_OK : VALUE_NONE;
}

static bool is_integer(const mpq_t q)
{
    return mpz_cmp_ui(mpq_denref(q), 1) == 0;
}

/* The value of q if it is an integer of at most max in size. */
static bool get_small(const mpq_t q, long max, long *ret)
{
    if (!is_integer(q) || !mpz_fits_slong_p(mpq_numref(q)))
        return false;
    *ret = mpz_get_si(mpq_numref(q));
    return *ret <= max && *ret >= -max;
}

static enum value eval_number(struct eval *ev, const struct node *n, mpq_t ret)
{
    const char *point = memchr(n->text, '.', n->len);
    size_t n_frac = point ? n->len - (size_t)(point - n->text) - 1 : 0, whole = n->len - n_frac;
    char *digits;

    if (n->len > MATH_MAX_BITS / 4 || !eval_spend(ev, (long)n->len / 16))
        return VALUE_NONE;
    if (!point) {
        mpz_set_str(mpq_numref(ret), n->text, 10);
        mpz_set_ui(mpq_denref(ret), 1);
        return check(ev, ret);
    }
    digits = arena_alloc(ev->arena, n->len + 1);
    if (!digits) {
        ev->is_nomem = true;
        return VALUE_NONE;
    }
    digits[0] = '0'; /* for .5 */
    memcpy(digits + 1, n->text, whole - 1);
    memcpy(digits + whole, point + 1, n_frac);
    mpz_set_str(mpq_numref(ret), digits, 10);
    mpz_ui_pow_ui(mpq_denref(ret), 10, n_frac);
    mpq_canonicalize(ret);
    return check(ev, ret);
}

static enum value eval_many(struct eval *ev, const struct node *n, mpq_t ret)
{
    enum value v = VALUE_OK;
    mpq_t x;

    mpq_init(x);
    mpq_set_ui(ret, n->kind == N_MUL, 1);
    for (const struct node *c = n->child; c && v == VALUE_OK; c = c->next) {
        v = eval(ev, c, x);
        if (v)
            break;
        if (n->kind == N_MUL)
            mpq_mul(ret, ret, x);
        else
            mpq_add(ret, ret, x);
        v = check(ev, ret);
    }
    mpq_clear(x);
    return v;
}

static enum value invert(mpq_t q)
{
    if (mpq_sgn(q) == 0)
        return VALUE_UNDEFINED;
    mpq_inv(q, q);
    return VALUE_OK;
}

/* q to an integer power. */
static enum value raise(struct eval *ev, mpq_t q, long power)
{
    unsigned long n = power < 0 ? -(unsigned long)power : (unsigned long)power;

    if (mpq_sgn(q) == 0)
        return power > 0 ? VALUE_OK : VALUE_UNDEFINED;
    if (mpz_cmpabs_ui(mpq_numref(q), 1) == 0 && is_integer(q))
        n &= 1; /* 1 and -1 have all powers */
    else if (n > MATH_MAX_BITS || n * bits(q) > 2 * MATH_MAX_BITS)
        return VALUE_NONE;
    mpz_pow_ui(mpq_numref(q), mpq_numref(q), n);
    mpz_pow_ui(mpq_denref(q), mpq_denref(q), n);
    if (power < 0)
        mpq_inv(q, q);
    return check(ev, q);
}

/* The real root, if it is rational. Of negative numbers only odd ones are. */
static enum value take_root(mpq_t q, unsigned long index)
{
    if (mpq_sgn(q) < 0 && index % 2 == 0)
        return VALUE_NONE;
    return mpz_root(mpq_numref(q), mpq_numref(q), index) &&
                   mpz_root(mpq_denref(q), mpq_denref(q), index)
               ? VALUE_OK
               : VALUE_NONE;
}

static enum value eval_power(struct eval *ev, const struct node *n, mpq_t ret)
{
    enum value v;
    mpq_t e;
    long num, den = 1;

    mpq_init(e);
    v = eval(ev, n->last, e);
    if (!v)
        v = eval(ev, n->child, ret);
    if (!v && mpz_fits_slong_p(mpq_numref(e)) && mpz_cmp_ui(mpq_denref(e), 64) <= 0) {
        num = mpz_get_si(mpq_numref(e));
        den = mpz_get_si(mpq_denref(e));
        if (den > 1 && mpq_sgn(ret) < 0)
            v = VALUE_NONE; /* the principal value is complex */
        else if (den > 1)
            v = take_root(ret, (unsigned long)den);
        if (!v)
            v = raise(ev, ret, num);
    } else if (!v) {
        v = VALUE_NONE;
    }
    mpq_clear(e);
    return v;
}

static enum value eval_root(struct eval *ev, const struct node *n, mpq_t ret)
{
    enum value v;
    mpq_t index;
    long i = 0;

    mpq_init(index);
    v = eval(ev, n->last, index);
    if (!v && (!get_small(index, 64, &i) || i < 1))
        v = VALUE_NONE;
    mpq_clear(index);
    if (!v)
        v = eval(ev, n->child, ret);
    return v ? v : take_root(ret, (unsigned long)i);
}

static enum value eval_factorial(struct eval *ev, const struct node *n, mpq_t ret)
{
    enum value v = eval(ev, n->child, ret);
    long i;

    if (v)
        return v;
    if (mpq_sgn(ret) < 0 && is_integer(ret))
        return VALUE_UNDEFINED;
    if (!get_small(ret, MATH_MAX_FACTORIAL, &i))
        return VALUE_NONE;
    if (n->arg == 2)
        mpz_2fac_ui(mpq_numref(ret), (unsigned long)i);
    else
        mpz_fac_ui(mpq_numref(ret), (unsigned long)i);
    return check(ev, ret);
}

static enum value eval_binomial(struct eval *ev, const struct node *n, mpq_t ret)
{
    enum value v;
    mpq_t k;
    long i, j;

    mpq_init(k);
    v = eval(ev, n->last, k);
    if (!v)
        v = eval(ev, n->child, ret);
    if (!v && (!get_small(ret, 1000000, &i) || !get_small(k, 1000000, &j) || i < 0))
        v = VALUE_NONE;
    if (!v) {
        if (j > i / 2)
            j = i - j;
        if (j > MATH_MAX_FACTORIAL / 2)
            v = VALUE_NONE;
        else if (j < 0)
            mpz_set_ui(mpq_numref(ret), 0);
        else
            mpz_bin_uiui(mpq_numref(ret), (unsigned long)i, (unsigned long)j);
    }
    mpq_clear(k);
    return v ? v : check(ev, ret);
}

static enum value eval_rounded(struct eval *ev, const struct node *n, mpq_t ret)
{
    enum value v = eval(ev, n->child, ret);

    if (v)
        return v;
    if (n->kind == N_FLOOR)
        mpz_fdiv_q(mpq_numref(ret), mpq_numref(ret), mpq_denref(ret));
    else
        mpz_cdiv_q(mpq_numref(ret), mpq_numref(ret), mpq_denref(ret));
    mpz_set_ui(mpq_denref(ret), 1);
    return VALUE_OK;
}

static enum value eval(struct eval *ev, const struct node *n, mpq_t ret)
{
    enum value v;

    if (!eval_spend(ev, 1))
        return VALUE_UNDEFINED;
    switch (n->kind) {
    case N_NUM: return eval_number(ev, n, ret);
    case N_ADD:
    case N_MUL: return eval_many(ev, n, ret);
    case N_POW: return eval_power(ev, n, ret);
    case N_ROOT: return eval_root(ev, n, ret);
    case N_FACTORIAL: return eval_factorial(ev, n, ret);
    case N_BINOM: return eval_binomial(ev, n, ret);
    case N_FLOOR:
    case N_CEIL: return eval_rounded(ev, n, ret);
    case N_DEGREE: return eval(ev, n->child, ret);
    case N_NEG:
    case N_ABS:
    case N_INV:
    case N_PERCENT:
        v = eval(ev, n->child, ret);
        if (v)
            return v;
        if (n->kind == N_INV)
            return invert(ret);
        if (n->kind == N_NEG)
            mpq_neg(ret, ret);
        else if (n->kind == N_ABS)
            mpq_abs(ret, ret);
        else {
            mpz_mul_ui(mpq_denref(ret), mpq_denref(ret), 100);
            mpq_canonicalize(ret);
        }
        return VALUE_OK;
    default: return VALUE_NONE;
    }
}

enum value exact_eval(struct eval *ev, const struct node *n, mpq_t ret)
{
    return eval(ev, n, ret);
}
