/*
 * Identities of rational functions, without rounding: evaluated modulo a prime at random
 * residues. Two different functions of degree d agree at one point with probability d / 2^61
 * (Schwartz 1980, Zippel 1979), so ten points leave no room for doubt. pi and e count as
 * indeterminates, i is a square root of -1 in the field.
 */
#include "tasks/math/ast.h"

static const uint64_t root_of_minus_1 = UINT64_C(583529827753931384);

__extension__ typedef unsigned __int128 uint128;

uint64_t modp_mul(uint64_t a, uint64_t b)
{
    return (uint64_t)((uint128)a * b % MODP);
}

static uint64_t power(uint64_t a, uint64_t n)
{
    uint64_t r = 1;

    for (; n; n >>= 1) {
        if (n & 1)
            r = modp_mul(r, a);
        a = modp_mul(a, a);
    }
    return r;
}

static uint64_t inverse(uint64_t a)
{
    return power(a, MODP - 2);
}

/* A subtree without variables that is a rational number. */
static enum value eval_rational(struct eval *ev, const struct node *n, uint64_t *ret)
{
    enum value v;
    mpq_t q;
    uint64_t den;

    mpq_init(q);
    v = exact_eval(ev, n, q);
    if (!v) {
        *ret = mpz_fdiv_ui(mpq_numref(q), MODP);
        den = mpz_fdiv_ui(mpq_denref(q), MODP);
        v = den ? VALUE_OK : VALUE_UNDEFINED;
        if (den != 1)
            *ret = modp_mul(*ret, inverse(den));
    }
    mpq_clear(q);
    return v;
}

static enum value eval_power(struct eval *ev, const struct node *n, uint64_t *ret)
{
    enum value v;
    mpq_t e;
    long k = 0;

    mpq_init(e);
    v = exact_eval(ev, n->last, e);
    if (!v) {
        if (mpz_cmp_ui(mpq_denref(e), 1) != 0 ||
            mpz_cmpabs_ui(mpq_numref(e), MATH_MAX_EXPONENT) > 0)
            v = VALUE_NONE;
        else
            k = mpz_get_si(mpq_numref(e));
    }
    mpq_clear(e);
    if (!v)
        v = modp_eval(ev, n->child, ret);
    if (v)
        return v == VALUE_NONE ? eval_rational(ev, n, ret) : v;
    if (k <= 0 && !*ret)
        return VALUE_UNDEFINED;
    *ret = power(k < 0 ? inverse(*ret) : *ret, k < 0 ? (uint64_t)-k : (uint64_t)k);
    return VALUE_OK;
}

enum value modp_eval(struct eval *ev, const struct node *n, uint64_t *ret)
{
    enum value v;
    uint64_t x;
    int var;

    if (!eval_spend(ev, 1))
        return VALUE_UNDEFINED;
    switch (n->kind) {
    case N_PI: *ret = ev->pi; return VALUE_OK;
    case N_E: *ret = ev->e; return VALUE_OK;
    case N_I: *ret = root_of_minus_1; return VALUE_OK;
    case N_VAR:
        var = eval_var(ev, n->text);
        *ret = var >= 0 ? ev->residue[var] : 0;
        return var >= 0 ? VALUE_OK : VALUE_NONE;
    case N_ADD:
    case N_MUL:
        *ret = n->kind == N_MUL;
        for (const struct node *c = n->child; c; c = c->next) {
            v = modp_eval(ev, c, &x);
            if (v)
                return v;
            *ret = n->kind == N_MUL ? modp_mul(*ret, x) : (*ret + x) % MODP;
        }
        return VALUE_OK;
    case N_NEG:
    case N_INV:
    case N_DEGREE:
    case N_PERCENT:
        v = modp_eval(ev, n->child, ret);
        if (v)
            return v;
        if (n->kind == N_NEG)
            *ret = *ret ? MODP - *ret : 0;
        else if (n->kind == N_PERCENT)
            *ret = modp_mul(*ret, inverse(100));
        else if (n->kind == N_INV) {
            eval_spend(ev, 4);
            if (!*ret)
                return VALUE_UNDEFINED;
            *ret = inverse(*ret);
        }
        return VALUE_OK;
    case N_POW: eval_spend(ev, 4); return eval_power(ev, n, ret);
    default: return eval_rational(ev, n, ret);
    }
}
