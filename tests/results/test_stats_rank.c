/* Rank correlation against published and hand-made values. */
#include <criterion/criterion.h>
#include <math.h>

#include "results/stats.h"

static struct stats_correlation of(const double *x, const double *y, size_t n)
{
    struct stats_correlation c;
    struct error err = { 0 };

    cr_assert_eq(stats_spearman(x, y, n, 0.05, &c, &err), ST_OK, "%s", err.text);
    return c;
}

/* IQ and hours of television: the worked example of most textbooks, rho = -29/165. */
Test(stats_rank, the_textbook_example_comes_out)
{
    static const double iq[] = { 106, 100, 86, 101, 99, 103, 97, 113, 112, 110 };
    static const double tv[] = { 7, 27, 2, 50, 28, 29, 20, 12, 6, 17 };
    struct stats_correlation c = of(iq, tv, 10);

    cr_assert(fabs(c.rho + 29.0 / 165) < 1e-12, "%.15g", c.rho);
    /* atanh(rho) -+ 1.959964 sqrt((1 + rho^2 / 2) / 7), and tanh of that */
    cr_assert(fabs(c.low + 0.727830) < 1e-4 && fabs(c.high - 0.514547) < 1e-4, "%g %g", c.low,
              c.high);
}

Test(stats_rank, ties_share_their_ranks)
{
    static const double x[] = { 1, 2, 2, 3 }, y[] = { 1, 3, 2, 4 };

    /* ranks 1 2.5 2.5 4 and 1 3 2 4: 4.5 / sqrt(4.5 * 5) */
    cr_assert(fabs(of(x, y, 4).rho - 4.5 / sqrt(22.5)) < 1e-12);
}

Test(stats_rank, any_increasing_map_changes_nothing)
{
    static const double x[] = { 0.3, -1, 7, 2, 5 };
    double y[5], z[5];

    for (int i = 0; i < 5; i++) {
        y[i] = exp(x[i]);
        z[i] = -y[i] * y[i];
    }
    cr_assert_eq(of(x, y, 5).rho, 1);
    cr_assert_eq(of(x, z, 5).rho, -1);
    cr_assert(isnan(of(x, y, 5).low));
}

Test(stats_rank, what_is_not_defined_is_nan)
{
    static const double x[] = { 1, 2, 3, 4 }, same[] = { 5, 5, 5, 5 }, y[] = { 2, 1, 3, 0 };

    cr_assert(isnan(of(x, same, 4).rho));
    cr_assert(isnan(of(x, y, 1).rho));
    cr_assert(isnan(of(x, y, 3).low) && isfinite(of(x, y, 3).rho));
    cr_assert(isfinite(of(x, y, 4).low));
}
