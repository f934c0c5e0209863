/* Bootstrap by units within strata. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "base/size.h"
#include "results/stats.h"

static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;

    return (a > b) - (a < b);
}

static void add(double *sums, const double *values, size_t n)
{
    for (size_t i = 0; i < n; i++)
        sums[i] += values[i];
}

/* The interval from the draws of one statistic, which are sorted in place, NaN left out. */
static void interval(double *x, size_t n, double alpha, double *ret_low, double *ret_high)
{
    size_t n_defined = 0;

    for (size_t i = 0; i < n; i++)
        if (!isnan(x[i]))
            x[n_defined++] = x[i];
    *ret_low = *ret_high = NAN;
    if (n_defined == 0 || (double)(n - n_defined) > alpha / 2 * (double)n)
        return;
    qsort(x, n_defined, sizeof(*x), by_value);
    *ret_low = stats_quantile(x, n_defined, alpha / 2);
    *ret_high = stats_quantile(x, n_defined, 1 - alpha / 2);
}

enum status stats_bootstrap(const struct stats_bootstrap *b, double *ret_low, double *ret_high,
                            struct error *err)
{
    size_t n_draws = (size_t)b->n_draws, bytes;
    double *sums = NULL, *stats = NULL, *draws = NULL; /* draws (n_stats, n_draws) */
    enum status st = ST_OK;
    struct rng rng;

    assert(b->n_draws >= STATS_MIN_DRAWS && b->n_stats >= 1 && b->n_values >= 1);
    assert(b->n_strata == 0 || b->stratum_end[b->n_strata - 1] == b->n_units);
    if (!size_mul(n_draws, b->n_stats, &bytes) || !size_mul(bytes, sizeof(*draws), &bytes))
        return error_set(err, ST_NOMEM, "%zu draws are too many", n_draws);
    sums = calloc(b->n_values, sizeof(*sums));
    stats = calloc(b->n_stats, sizeof(*stats));
    draws = malloc(bytes);
    if (!sums || !stats || !draws) {
        st = error_set(err, ST_NOMEM, "out of memory for %zu bootstrap draws", n_draws);
        goto out;
    }
    rng_seed(&rng, b->seed);
    for (size_t d = 0; d < n_draws; d++) {
        memset(sums, 0, b->n_values * sizeof(*sums));
        for (size_t s = 0, start = 0; s < b->n_strata; start = b->stratum_end[s++]) {
            size_t n = b->stratum_end[s] - start;

            for (size_t i = 0; i < n; i++)
                add(sums, b->values + (start + rng_below(&rng, n)) * b->n_values, b->n_values);
        }
        b->fn(b->arg, sums, stats);
        for (size_t k = 0; k < b->n_stats; k++)
            draws[k * n_draws + d] = stats[k];
    }
    memset(sums, 0, b->n_values * sizeof(*sums));
    for (size_t i = 0; i < b->n_units; i++)
        add(sums, b->values + i * b->n_values, b->n_values);
    b->fn(b->arg, sums, stats);
    for (size_t k = 0; k < b->n_stats; k++) {
        interval(draws + k * n_draws, n_draws, b->alpha, &ret_low[k], &ret_high[k]);
        if (isnan(stats[k]))
            ret_low[k] = ret_high[k] = NAN;
    }
out:
    free(draws);
    free(stats);
    free(sums);
    return st;
}

void stats_relative_accuracy(const void *n_tasks, const double *sums, double *ret)
{
    size_t n = *(const size_t *)n_tasks;
    double total = 0;

    for (size_t t = 0; t < n; t++)
        total += sums[2 * t] > 0 ? sums[2 * t + 1] / sums[2 * t] : NAN;
    *ret = n ? total / (double)n : NAN;
}
