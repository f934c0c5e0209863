/* Rank correlation. */
#include "results/stats.h"

#include <math.h>
#include <stdlib.h>

/* Ranks from 1; equal numbers share the mean of theirs. */
static void rank(const double *x, size_t n, double *ret)
{
    for (size_t i = 0; i < n; i++) {
        size_t below = 0, equal = 0;

        for (size_t k = 0; k < n; k++) {
            below += x[k] < x[i];
            equal += x[k] == x[i];
        }
        ret[i] = (double)below + ((double)equal + 1) / 2;
    }
}

enum status stats_spearman(const double *x, const double *y, size_t n, double alpha,
                           struct stats_correlation *ret, struct error *err)
{
    struct stats_correlation c = { NAN, NAN, NAN };
    double *r = calloc(2 * n + 1, sizeof(*r)), xy = 0, xx = 0, yy = 0;
    double mean = ((double)n + 1) / 2;

    if (!r)
        return error_set(err, ST_NOMEM, "out of memory ranking %zu numbers", n);
    rank(x, n, r);
    rank(y, n, r + n);
    for (size_t i = 0; i < n; i++) {
        xy += (r[i] - mean) * (r[n + i] - mean);
        xx += (r[i] - mean) * (r[i] - mean);
        yy += (r[n + i] - mean) * (r[n + i] - mean);
    }
    free(r);
    if (n >= 2 && xx > 0 && yy > 0) {
        c.rho = xy / sqrt(xx * yy);
        c.rho = c.rho > 1 ? 1 : c.rho < -1 ? -1 : c.rho;
    }
    if (n >= 4 && fabs(c.rho) < 1) {
        double half = stats_normal_upper_quantile(alpha / 2) *
                      sqrt((1 + c.rho * c.rho / 2) / ((double)n - 3));

        c.low = tanh(atanh(c.rho) - half);
        c.high = tanh(atanh(c.rho) + half);
    }
    *ret = c;
    return ST_OK;
}
