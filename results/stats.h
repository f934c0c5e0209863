/*
 * Statistics of scores: pure functions on counts and numbers, no store and no I/O.
 *
 * Words: an item is one problem; a pair is the answers of two runs to it. Of n pairs, b are losses
 * (only the baseline was right), c gains (only the candidate was right), b + c changed, and the
 * loss of the candidate is (b - c) / n. All shares and losses are fractions, not points.
 *
 * Every function is checked against published values and against SciPy and statsmodels:
 * tests/vectors/stats/, tools/make_stats_vectors.py.
 */
#ifndef RESULTS_STATS_H
#define RESULTS_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* ---- the normal distribution ------------------------------------------------------------ */

/* z with P(Z > z) = p for a standard normal Z, 0 < p < 1; relative error below 1e-12. */
double stats_normal_upper_quantile(double p);

/* P(Z > z). */
double stats_normal_upper_tail(double z);

/* ---- one score -------------------------------------------------------------------------- */

/* Wilson score interval of k successes in n trials at two-sided confidence 1 - alpha (Wilson
 * 1927): (p + z^2/2n +- z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n). n = 0 gives 0, 1. */
void stats_wilson(int64_t k, int64_t n, double alpha, double *ret_low, double *ret_high);

/* Unbiased pass@k of n samples with c right, 1 - C(n-c, k) / C(n, k) (Chen et al. 2021, eq. 1), in
 * product form; NaN for n < k. */
double stats_pass_at_k(int64_t n, int64_t c, int64_t k);

/* The q-quantile, 0 <= q <= 1, of n >= 1 numbers sorted ascending: linear interpolation between the
 * order statistics at (n - 1) q (Hyndman and Fan 1996, type 7; numpy's default). */
double stats_quantile(const double *sorted, size_t n, double q);

/*
 * Mean of n values and its standard error when values of one cluster may depend on each other
 * (answers to HumanEval and HumanEval Pro share a parent; several answers share an item):
 *
 *   SE^2 = SE_CLT^2 + (1/n^2) sum over clusters of sum over i != j of e_i e_j
 *
 * with e_i the value less the mean of its stratum (Miller 2024, arXiv:2411.00640, section 2.2, for
 * one stratum). SE_CLT^2 = (1/n^2) sum over strata of n_s/(n_s - 1) sum of e_i^2, which for one
 * stratum is the sample variance over n. Values of a cluster stand together, in any order of
 * clusters; strata are 0 .. n_strata - 1 and may be mixed within a cluster.
 */
struct stats_value {
    double x;
    int32_t stratum;
    int64_t cluster;
};
struct stats_clustered {
    double mean, se, se_clt; /* NaN where n < 2 */
    double deff;             /* (se / se_clt)^2, the design effect; 1 where se_clt is 0 or NaN */
    double deff_max; /* sum m^2 / n over clusters of m: the effect of equal values in them */
};
/* ST_NOMEM. */
MUST_CHECK enum status stats_clustered_mean(const struct stats_value *v, size_t n, size_t n_strata,
                                            struct stats_clustered *ret, struct error *err);

/* ---- two runs on the same items --------------------------------------------------------- */

/*
 * Exact McNemar test: given m = b + c changed items, b is Binomial(m, 1/2) if nothing changed
 * (McNemar 1947). p_worse = P(B >= b), p_better = P(B <= b), p_two_sided = min(1, 2 min of both).
 * The mid-p forms subtract half of the point probability from each tail (Fagerland, Lydersen and
 * Laake 2013) and are better calibrated for few changes. m = 0: all are 1.
 */
struct stats_mcnemar {
    double p_worse, p_better, p_two_sided;
    double midp_worse, midp_better, midp_two_sided;
};
struct stats_mcnemar stats_mcnemar(int64_t b, int64_t c);

/*
 * Score statistic of the hypothesis that the paired loss is `loss` (Tango 1998, Statistics in
 * Medicine 17, 891-908):
 *
 *   T = (b - c - n loss) / sqrt(n (2 q + loss (1 - loss)))
 *
 * with q the maximum-likelihood share of gains under that hypothesis. Standard normal there, and
 * decreasing in loss. Counts may be fractions: effective counts of clustered items are n, b and c
 * over the design effect. b, c >= 0, n > 0, b + c <= n, -1 < loss < 1.
 */
double stats_tango_score(double b, double c, double n, double loss);

/* The loss at which the score is z: for z > 0 the lower bound of confidence P(Z < z), for z < 0 the
 * upper one. Without changes the upper bound is z^2 / (n + z^2). */
double stats_tango_bound(double b, double c, double n, double z);

/*
 * Score statistic of the hypothesis that the candidate keeps the share `ratio` of what the baseline
 * has right (Tang, Tang and Chan 2003, Statistics in Medicine 22, 1217-1233): with a pairs that
 * both have right, s = a + b + c and r for the ratio,
 *
 *   T = (a + c - r (a + b)) / sqrt(n (1 + r) q + s (r - 1))
 *
 * with q the maximum-likelihood share of losses under that hypothesis. Standard normal there, and
 * decreasing in the ratio. Counts may be fractions, as for stats_tango_score(). a + b > 0, ratio >
 * 0.
 */
double stats_ratio_score(double a, double b, double c, double n, double ratio);

/* The ratio at which that score is z: for z > 0 the lower bound, for z < 0 the upper one. Without
 * changes the lower bound is a / (a + z^2). NaN where a + b is 0. */
double stats_ratio_bound(double a, double b, double c, double n, double z);

/*
 * The gate: is a loss of `margin` excluded, or is there a loss at all?
 *
 * - pass: U < margin, U the one-sided upper bound of the loss at confidence 1 - STATS_GATE_PASS
 * - fail: not pass and L > 0, L the lower bound at confidence 1 - STATS_GATE_FAIL
 * - undecided: neither
 *
 * p_worse < STATS_GATE_FAIL is the same as L > 0, p_not_inferior < STATS_GATE_PASS the same as
 * U < margin: the p-values of the two tests, for corrections over several gates.
 */
#define STATS_GATE_PASS 0.05
#define STATS_GATE_FAIL 0.01
enum stats_outcome { STATS_IDENTICAL, STATS_PASS, STATS_FAIL, STATS_UNDECIDED };
struct stats_gate {
    double loss, low, high;         /* (b - c) / n, L, U */
    double p_worse, p_not_inferior; /* P(Z >= T(0)), P(Z <= T(margin)) */
    enum stats_outcome outcome;     /* never STATS_IDENTICAL, which counts do not show */
};
struct stats_gate stats_gate(double b, double c, double n, double margin);

const char *stats_outcome_name(enum stats_outcome o); /* "identical", "pass", ... */

/* What the gate says of n items of which each is lost with probability p_loss and gained with
 * p_gain: the probabilities of its outcomes, exact (multinomial sums, tails below 1e-13 left
 * out). */
struct stats_gate_power {
    double pass, fail, undecided;
};
struct stats_gate_power stats_gate_power(int64_t n, double p_loss, double p_gain, double margin);

/* The smallest loss on top of a symmetric churn (each of loss and gain with probability churn / 2)
 * that the gate fails with at least the given power; NaN where none below 1 - churn does. */
double stats_gate_detectable(int64_t n, double churn, double power);

/* Holm's step-down adjustment (Holm 1979) of n p-values: ret[i] may be compared with alpha as it
 * is. A NaN stays one and is not counted. ST_NOMEM. */
MUST_CHECK enum status stats_holm(const double *p, size_t n, double *ret, struct error *err);

/* ---- ranks ------------------------------------------------------------------------------ */

/*
 * Spearman's rank correlation of n pairs, ties by mean ranks, and its two-sided interval at
 * confidence 1 - alpha: atanh(rho) +- z sqrt((1 + rho^2 / 2) / (n - 3)) (Bonett and Wright 2000,
 * Psychometrika 65, 23-28). rho is NaN where all x, or all y, are equal; the bounds are NaN too
 * where n < 4 or |rho| = 1. ST_NOMEM.
 */
struct stats_correlation {
    double rho, low, high;
};
MUST_CHECK enum status stats_spearman(const double *x, const double *y, size_t n, double alpha,
                                      struct stats_correlation *ret, struct error *err);

/* ---- bootstrap -------------------------------------------------------------------------- */

/*
 * Percentile intervals of statistics that are functions of sums over units, by drawing whole units
 * with replacement, as many from each stratum as it has (Efron and Tibshirani 1993, ch. 13). A unit
 * holds what must stay together: both runs' numbers of an item, all items of a parent.
 *
 *   values       (n_units, n_values), units of a stratum together, strata in order
 *   stratum_end  (n_strata) index one past the last unit of each
 *   fn           from sums (n_values) to ret (n_stats); NaN where it is not defined
 *   n_draws      STATS_MIN_DRAWS at least; with seed it makes the result repeatable, bit for bit
 *   alpha        two-sided
 *
 * ret_low, ret_high (n_stats); both NaN where a share of more than alpha / 2 of the draws left the
 * statistic undefined, or where the sample itself does. ST_NOMEM.
 */
enum { STATS_MIN_DRAWS = 10000 };
typedef void (*stats_statistic_fn)(const void *arg, const double *sums, double *ret);
struct stats_bootstrap {
    const double *values;
    size_t n_units, n_values;
    const size_t *stratum_end;
    size_t n_strata, n_stats;
    stats_statistic_fn fn;
    const void *arg;
    int64_t n_draws;
    uint64_t seed;
    double alpha;
};
MUST_CHECK enum status stats_bootstrap(const struct stats_bootstrap *b, double *ret_low,
                                       double *ret_high, struct error *err);

/* Relative accuracy, for fn above: sums holds for each task the baseline's and then the candidate's
 * right answers, n_tasks pairs; arg is a const size_t * to n_tasks. The mean over tasks of
 * candidate / baseline, both on the same items; NaN where a baseline has none right. */
void stats_relative_accuracy(const void *n_tasks, const double *sums, double *ret);

#endif
