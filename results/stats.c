/* Statistics of one score, and what several tests share. */
#include "results/stats.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

double stats_normal_upper_tail(double z)
{
    return 0.5 * erfc(z * M_SQRT1_2);
}

/*
 * The rational start of Abramowitz and Stegun 26.2.23 is within 4.5e-4; each Newton step about
 * doubles the digits.
 */
double stats_normal_upper_quantile(double p)
{
    double t, z;

    assert(0 < p && p < 1);
    if (p > 0.5)
        return -stats_normal_upper_quantile(1 - p);
    t = sqrt(-2.0 * log(p));
    z = t - (2.515517 + t * (0.802853 + t * 0.010328)) /
                (1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308)));
    for (int i = 0; i < 4; i++) {
        double density = exp(-0.5 * z * z) * 0.3989422804014327; /* 1 / sqrt(2 pi) */
        double step = (stats_normal_upper_tail(z) - p) / density;

        if (!isfinite(step))
            break;
        z += step;
    }
    return z;
}

void stats_wilson(int64_t k, int64_t n, double alpha, double *ret_low, double *ret_high)
{
    double z, p, nn, centre, half, scale;

    assert(0 <= k && k <= n);
    assert(0 < alpha && alpha < 1);
    if (n == 0) {
        *ret_low = 0;
        *ret_high = 1;
        return;
    }
    z = stats_normal_upper_quantile(alpha / 2);
    nn = (double)n;
    p = (double)k / nn;
    scale = 1 + z * z / nn;
    centre = p + z * z / (2 * nn);
    half = z * sqrt(p * (1 - p) / nn + z * z / (4 * nn * nn));
    /* at 0 and n the bound is exact; rounding may leave it a hair off */
    *ret_low = k == 0 ? 0 : fmax(0, (centre - half) / scale);
    *ret_high = k == n ? 1 : fmin(1, (centre + half) / scale);
}

double stats_pass_at_k(int64_t n, int64_t c, int64_t k)
{
    double miss = 1; /* that none of k drawn without replacement is right */

    assert(k >= 1 && 0 <= c && c <= n);
    if (n < k)
        return NAN;
    if (n - c < k)
        return 1;
    for (int64_t i = n - c + 1; i <= n; i++)
        miss *= 1 - (double)k / (double)i;
    return 1 - miss;
}

double stats_quantile(const double *sorted, size_t n, double q)
{
    double at, part;
    size_t i;

    assert(n >= 1 && 0 <= q && q <= 1);
    at = (double)(n - 1) * q;
    i = (size_t)at;
    part = at - (double)i;
    return i + 1 < n ? sorted[i] + part * (sorted[i + 1] - sorted[i]) : sorted[n - 1];
}

enum status stats_clustered_mean(const struct stats_value *v, size_t n, size_t n_strata,
                                 struct stats_clustered *ret, struct error *err)
{
    struct stratum {
        double sum, squares;
        size_t n;
    } *strata = calloc(n_strata ? n_strata : 1, sizeof(*strata));
    double sum = 0, var_clt = 0, cross = 0, sizes = 0, nn = (double)n;

    if (!strata)
        return error_set(err, ST_NOMEM, "out of memory for %zu strata", n_strata);
    for (size_t i = 0; i < n; i++) {
        assert(v[i].stratum >= 0 && (size_t)v[i].stratum < n_strata);
        sum += v[i].x;
        strata[v[i].stratum].sum += v[i].x;
        strata[v[i].stratum].n++;
    }
    for (size_t i = 0, end; i < n; i = end) {
        double e_sum = 0, e_squares = 0;

        for (end = i; end < n && v[end].cluster == v[i].cluster; end++) {
            struct stratum *s = &strata[v[end].stratum];
            double e = v[end].x - s->sum / (double)s->n;

            e_sum += e;
            e_squares += e * e;
            s->squares += e * e;
        }
        cross += e_sum * e_sum - e_squares; /* sum over i != j of e_i e_j */
        sizes += (double)(end - i) * (double)(end - i);
    }
    for (size_t s = 0; s < n_strata; s++)
        if (strata[s].n > 1)
            var_clt += strata[s].squares * (double)strata[s].n / (double)(strata[s].n - 1);
    free(strata);
    *ret = (struct stats_clustered){ .mean = n ? sum / nn : NAN,
                                     .se = NAN,
                                     .se_clt = NAN,
                                     .deff = 1,
                                     .deff_max = n ? sizes / nn : 1 };
    if (n > 1) {
        ret->se_clt = sqrt(var_clt) / nn;
        ret->se = sqrt(fmax(0, var_clt + cross)) / nn;
        if (var_clt > 0)
            ret->deff = fmax(0, var_clt + cross) / var_clt;
    }
    return ST_OK;
}

struct ranked {
    double p;
    size_t at;
};

static int by_p(const void *x, const void *y)
{
    const struct ranked *a = x, *b = y;

    return a->p != b->p ? (a->p > b->p) - (a->p < b->p) : (a->at > b->at) - (a->at < b->at);
}

enum status stats_holm(const double *p, size_t n, double *ret, struct error *err)
{
    struct ranked *r = calloc(n ? n : 1, sizeof(*r));
    size_t m = 0;
    double least = 0;

    if (!r)
        return error_set(err, ST_NOMEM, "out of memory for %zu p-values", n);
    for (size_t i = 0; i < n; i++) {
        ret[i] = NAN;
        if (!isnan(p[i]))
            r[m++] = (struct ranked){ p[i], i };
    }
    qsort(r, m, sizeof(*r), by_p);
    for (size_t i = 0; i < m; i++) {
        least = fmax(least, fmin(1, (double)(m - i) * r[i].p)); /* p-values stay in order */
        ret[r[i].at] = least;
    }
    free(r);
    return ST_OK;
}
