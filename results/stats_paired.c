/* Statistics of two runs on the same items: McNemar's test, Tango's score, the gate. */
#include <assert.h>
#include <math.h>

#include "results/stats.h"

/* ---- McNemar ---------------------------------------------------------------------------- */

/* Natural logarithm of the binomial probability of k in n; 0 < p < 1. lgamma_r() rather than
 * lgamma(), which writes a global. */
static double log_binomial(int64_t k, int64_t n, double p)
{
    int sign;
    double choose = lgamma_r((double)n + 1, &sign) - lgamma_r((double)k + 1, &sign) -
                    lgamma_r((double)(n - k) + 1, &sign);

    return choose + (double)k * log(p) + (double)(n - k) * log1p(-p);
}

struct stats_mcnemar stats_mcnemar(int64_t b, int64_t c)
{
    int64_t m = b + c, high = b > c ? b : c;
    double point, term, tail = 0; /* P(B >= high), summed from its far end: smallest terms first */
    double other, larger, smaller;
    struct stats_mcnemar r;

    assert(b >= 0 && c >= 0);
    if (m == 0)
        return (struct stats_mcnemar){ 1, 1, 1, 1, 1, 1 };
    term = m < 2000 ? ldexp(1, (int)-m) : 0; /* P(B = m) */
    if (term > 1e-290) {
        for (int64_t i = m; i > high; i--) {
            tail += term;
            term *= (double)i / (double)(m - i + 1);
        }
        point = term;
    } else {
        point = exp(log_binomial(high, m, 0.5));
        term = point;
        for (int64_t i = high + 1; i <= m && term > 1e-20 * point; i++) {
            term *= (double)(m - i + 1) / (double)i;
            tail += term;
        }
    }
    tail += point;
    tail = fmin(tail, 1);
    other = fmin(1, 1 - tail + point); /* P(B <= high) */
    larger = b == c ? tail : other;
    smaller = tail;
    r.p_worse = b >= c ? smaller : larger;
    r.p_better = b >= c ? larger : smaller;
    r.p_two_sided = fmin(1, 2 * smaller);
    r.midp_worse = r.p_worse - point / 2;
    r.midp_better = r.p_better - point / 2;
    r.midp_two_sided = fmin(1, 2 * fmin(r.midp_worse, r.midp_better));
    return r;
}

/* ---- Tango ------------------------------------------------------------------------------ */

double stats_tango_score(double b, double c, double n, double loss)
{
    double k, product, root, q, var;

    if (loss < 0) /* the same question with the runs exchanged */
        return -stats_tango_score(c, b, n, -loss);
    /* 2n q^2 + k q - product = 0, its positive root in the form without cancellation */
    k = (2 * n - b + c) * loss - b - c;
    product = c * loss * (1 - loss);
    root = sqrt(k * k + 8 * n * product);
    q = k > 0 ? (product > 0 ? 2 * product / (k + root) : 0) : (root - k) / (4 * n);
    var = n * (2 * q + loss * (1 - loss));
    if (var <= 0)
        return b - c - n * loss > 0 ? INFINITY : b - c - n * loss < 0 ? -INFINITY : 0;
    return (b - c - n * loss) / sqrt(var);
}

double stats_tango_bound(double b, double c, double n, double z)
{
    double estimate = (b - c) / n, low = z > 0 ? -1 : estimate, high = z > 0 ? estimate : 1;

    assert(b >= 0 && c >= 0 && n > 0);
    /* the score decreases from >= z at low to <= z at high; 60 halvings exhaust a double */
    for (int i = 0; i < 60; i++) {
        double middle = (low + high) / 2;

        if (stats_tango_score(b, c, n, middle) > z)
            low = middle;
        else
            high = middle;
    }
    return (low + high) / 2;
}

/* ---- ratio ------------------------------------------------------------------------------ */

double stats_ratio_score(double a, double b, double c, double n, double ratio)
{
    double s = a + b + c, x = n * (1 + ratio), y = (a + b) * ratio * ratio - (a + c + 2 * b);
    double z = b * (1 - ratio) * s / n, root = sqrt(fmax(0, y * y - 4 * x * z)), q, var;
    double t = a + c - ratio * (a + b);

    /* x q^2 + y q + z = 0, its larger root in the form without cancellation */
    q = y > 0 ? -2 * z / (y + root) : (root - y) / (2 * x);
    var = n * (1 + ratio) * q + s * (ratio - 1);
    if (var <= 0)
        return t > 0 ? INFINITY : t < 0 ? -INFINITY : 0;
    return t / sqrt(var);
}

double stats_ratio_bound(double a, double b, double c, double n, double z)
{
    double estimate = (a + c) / (a + b), low = z > 0 ? 0 : estimate, high = estimate;

    assert(a >= 0 && b >= 0 && c >= 0 && n > 0);
    if (a + b <= 0)
        return NAN;
    if (z < 0)
        for (high = fmax(1, 2 * estimate); stats_ratio_score(a, b, c, n, high) > z;)
            high *= 2;
    for (int i = 0; i < 60; i++) {
        double middle = (low + high) / 2;

        if (stats_ratio_score(a, b, c, n, middle) > z)
            low = middle;
        else
            high = middle;
    }
    return (low + high) / 2;
}

/* ---- the gate --------------------------------------------------------------------------- */

static enum stats_outcome decide(double p_worse, double p_not_inferior)
{
    if (p_not_inferior < STATS_GATE_PASS)
        return STATS_PASS;
    return p_worse < STATS_GATE_FAIL ? STATS_FAIL : STATS_UNDECIDED;
}

static enum stats_outcome outcome_of(double b, double c, double n, double margin,
                                     double *ret_p_worse, double *ret_p_not_inferior)
{
    *ret_p_worse = stats_normal_upper_tail(stats_tango_score(b, c, n, 0));
    *ret_p_not_inferior = stats_normal_upper_tail(-stats_tango_score(b, c, n, margin));
    return decide(*ret_p_worse, *ret_p_not_inferior);
}

struct stats_gate stats_gate(double b, double c, double n, double margin)
{
    struct stats_gate g = { .loss = (b - c) / n };

    assert(margin > 0 && margin < 1);
    g.low = stats_tango_bound(b, c, n, stats_normal_upper_quantile(STATS_GATE_FAIL));
    g.high = stats_tango_bound(b, c, n, -stats_normal_upper_quantile(STATS_GATE_PASS));
    g.outcome = outcome_of(b, c, n, margin, &g.p_worse, &g.p_not_inferior);
    return g;
}

const char *stats_outcome_name(enum stats_outcome o)
{
    static const char *const names[] = { "identical", "pass", "fail", "undecided" };

    return names[o];
}

/* The values of a binomial that carry all but about 1e-13 of its probability. */
static void binomial_range(int64_t n, double p, int64_t *ret_low, int64_t *ret_high)
{
    double mean = (double)n * p, spread = 8 * sqrt(mean * (1 - p)) + 30;

    *ret_low = mean > spread ? (int64_t)(mean - spread) : 0;
    *ret_high = mean + spread < (double)n ? (int64_t)(mean + spread) : n;
}

static double binomial(int64_t k, int64_t n, double p)
{
    if (p <= 0)
        return k == 0;
    if (p >= 1)
        return k == n;
    return exp(log_binomial(k, n, p));
}

struct stats_gate_power stats_gate_power(int64_t n, double p_loss, double p_gain, double margin)
{
    struct stats_gate_power r = { 0 };
    double churn = p_loss + p_gain, p_worse, p_not_inferior;
    int64_t m_low, m_high;

    assert(n >= 1 && p_loss >= 0 && p_gain >= 0 && churn <= 1);
    binomial_range(n, churn, &m_low, &m_high);
    for (int64_t m = m_low; m <= m_high; m++) {
        double p_m = binomial(m, n, churn), share = churn > 0 ? p_loss / churn : 0;
        int64_t b_low, b_high;

        binomial_range(m, share, &b_low, &b_high);
        for (int64_t b = b_low; b <= b_high; b++) {
            double p = p_m * binomial(b, m, share);

            switch (outcome_of((double)b, (double)(m - b), (double)n, margin, &p_worse,
                               &p_not_inferior)) {
            case STATS_PASS: r.pass += p; break;
            case STATS_FAIL: r.fail += p; break;
            default: r.undecided += p; break;
            }
        }
    }
    return r;
}

double stats_gate_detectable(int64_t n, double churn, double power)
{
    double low = 0, high = 1 - churn;

    /* how a loss is told from none does not depend on the margin: one that nothing passes */
    if (!(stats_gate_power(n, churn / 2 + high, churn / 2, 1e-12).fail >= power))
        return NAN;
    for (int i = 0; i < 30; i++) {
        double middle = (low + high) / 2;

        if (stats_gate_power(n, churn / 2 + middle, churn / 2, 1e-12).fail >= power)
            high = middle;
        else
            low = middle;
    }
    return high;
}
