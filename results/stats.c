/* Statistics of scores. */
#include <assert.h>
#include <math.h>

#include "results/results.h"

/*
 * z with P(Z > z) = p for a standard normal Z, 0 < p <= 1/2. The rational start of Abramowitz
 * and Stegun 26.2.23 is within 4.5e-4; each Newton step about doubles the digits.
 */
static double normal_upper_quantile(double p)
{
    double t = sqrt(-2.0 * log(p));
    double z = t - (2.515517 + t * (0.802853 + t * 0.010328)) /
                       (1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308)));

    for (int i = 0; i < 4; i++) {
        double tail = 0.5 * erfc(z * M_SQRT1_2);
        double density = exp(-0.5 * z * z) * 0.3989422804014327; /* 1 / sqrt(2 pi) */
        double step = (tail - p) / density;

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
    z = normal_upper_quantile(alpha / 2);
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
