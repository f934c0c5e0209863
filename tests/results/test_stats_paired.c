/* The gate and what it rests on: published values, and properties that hold for all counts. */
#include "tests/results/fixture.h"

Test(stats_paired, tango_and_mcnemar_give_published_values)
{
    /* 95 % intervals of Fagerland, Lydersen and Laake, "Statistical Analysis of Contingency Tables"
     * (2017), tables 8.1 and 8.2: airway hyper-responsiveness (Bentur 2009), complete response
     * (Cavo 2012); and mid-p and exact p-values of the second */
    struct stats_mcnemar m = stats_mcnemar(6, 16);

    cr_expect_float_eq(stats_tango_bound(1, 7, 21, 1.959964), -0.5172, 5e-5);
    cr_expect_float_eq(stats_tango_bound(1, 7, 21, -1.959964), -0.0260, 5e-5);
    cr_expect_float_eq(stats_tango_bound(6, 16, 161, 1.959964), -0.1240, 5e-5);
    cr_expect_float_eq(stats_tango_bound(6, 16, 161, -1.959964), -0.0054, 5e-5);
    cr_expect_float_eq(m.p_two_sided, 0.052479, 5e-7);
    cr_expect_float_eq(m.midp_two_sided, 0.034690, 5e-7);
}

Test(stats_paired, without_changes_the_upper_bound_has_a_closed_form)
{
    const double z = stats_normal_upper_quantile(0.05);

    for (int n = 1; n < 5000; n += 37)
        cr_expect_float_eq(stats_tango_bound(0, 0, n, -z), z * z / (n + z * z), 1e-14, "n %d", n);
    cr_expect_float_eq(100 * stats_tango_bound(0, 0, 164, -z), 1.62, 0.005);
    cr_expect_float_eq(100 * stats_tango_bound(0, 0, 256, -z), 1.05, 0.005);
    cr_expect(stats_tango_bound(0, 0, 268, -z) < 0.01 && stats_tango_bound(0, 0, 267, -z) > 0.01);
}

Test(stats_paired, mcnemar_needs_the_known_margins)
{
    /* smallest b - c that is significant one-sided at .05 and .01; 0: none is */
    static const int rows[][3] = { { 4, 0, 0 },    { 5, 5, 0 },    { 10, 8, 10 },  { 20, 10, 12 },
                                   { 30, 10, 14 }, { 50, 14, 18 }, { 100, 18, 26 } };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (int k = 0; k < 2; k++) {
            int m = rows[i][0], found = 0;

            for (int b = m; b >= (m + 1) / 2; b--)
                if (stats_mcnemar(b, m - b).p_worse <= (k ? 0.01 : 0.05))
                    found = 2 * b - m;
            cr_expect_eq(found, rows[i][1 + k], "m %d: %d", m, found);
        }
}

Test(stats_paired, exchanging_the_runs_exchanges_the_bounds)
{
    for (int n = 1; n < 200; n = n * 2 + 1)
        for (int b = 0; b <= n && b < 12; b++)
            for (int c = 0; b + c <= n && c < 12; c++) {
                struct stats_mcnemar x = stats_mcnemar(b, c), y = stats_mcnemar(c, b);
                double low = stats_tango_bound(b, c, n, 1.96);

                cr_expect_float_eq(low, -stats_tango_bound(c, b, n, -1.96), 1e-14);
                cr_expect(low <= (double)(b - c) / n && low >= -1);
                cr_expect_float_eq(x.p_worse, y.p_better, 1e-15);
                cr_expect_float_eq(x.midp_worse + x.midp_better, b + c ? 1 : 2, 1e-12);
            }
}

Test(stats_paired, the_score_decreases_and_is_z_at_its_bound)
{
    for (int n = 2; n < 3000; n = n * 3)
        for (int b = 0; b <= n && b < 30; b += 3)
            for (int c = 0; b + c <= n && c < 30; c += 5) {
                double last = INFINITY;

                for (double d = -0.99; d < 1; d += 0.01) {
                    double t = stats_tango_score(b, c, n, d);

                    cr_expect(t <= last + 1e-12, "n %d b %d c %d loss %g: %g after %g", n, b, c, d,
                              t, last);
                    last = t;
                }
                if (b < n)
                    cr_expect_float_eq(stats_tango_score(b, c, n, stats_tango_bound(b, c, n, -1.5)),
                                       -1.5, 1e-6, "n %d b %d c %d", n, b, c);
            }
}

Test(stats_paired, the_outcome_is_what_the_bounds_say)
{
    static const int ns[] = { 5, 10, 164, 640, 2647 };
    static const double margins[] = { 0.005, 0.01, 0.02, 0.05 };
    int counts[4] = { 0 };

    for (size_t i = 0; i < 5; i++)
        for (size_t k = 0; k < 4; k++)
            for (int b = 0; b <= ns[i] && b < 90; b++)
                for (int c = 0; b + c <= ns[i] && c < 40; c++) {
                    struct stats_gate g = stats_gate(b, c, ns[i], margins[k]);
                    enum stats_outcome want = g.high < margins[k] ? STATS_PASS
                                              : g.low > 0         ? STATS_FAIL
                                                                  : STATS_UNDECIDED;

                    counts[g.outcome]++;
                    cr_expect_eq(g.outcome, want, "n %d b %d c %d: %.17g .. %.17g", ns[i], b, c,
                                 g.low, g.high);
                }
    cr_expect(counts[STATS_PASS] > 100 && counts[STATS_FAIL] > 100 &&
              counts[STATS_UNDECIDED] > 100);
    cr_expect_eq(counts[STATS_IDENTICAL], 0);
}

Test(stats_paired, ten_items_decide_nothing_at_two_points)
{
    for (int c = 0; c <= 2; c++)
        for (int b = 0; b <= 5; b++)
            cr_expect_eq(stats_gate(b, c, 10, 0.02).outcome, STATS_UNDECIDED, "b %d c %d", b, c);
    cr_expect_eq(stats_gate(10, 0, 10, 0.02).outcome, STATS_FAIL); /* unless all are lost */
}

Test(stats_paired, a_real_but_tolerable_loss_passes)
{
    struct stats_gate g = stats_gate(30, 8, 2647, 0.02);

    cr_expect_eq(g.outcome, STATS_PASS);
    cr_expect(g.low > 0 && g.high < 0.02, "%g .. %g", g.low, g.high);
}

Test(stats_paired, power_adds_up_and_gives_the_known_sizes)
{
    /* items for 80 % power to pass at margins of 3, 2, 1 points, when 2 % of items change */
    cr_expect_float_eq(stats_gate_power(210, 0.01, 0.01, 0.03).pass, 0.8, 0.01);
    cr_expect_float_eq(stats_gate_power(400, 0.01, 0.01, 0.02).pass, 0.8, 0.01);
    cr_expect_float_eq(stats_gate_power(1370, 0.01, 0.01, 0.01).pass, 0.8, 0.01);
    for (int n = 1; n < 4000; n = n * 5 + 3)
        for (double churn = 0; churn < 0.3; churn += 0.07) {
            struct stats_gate_power p = stats_gate_power(n, churn / 2 + 0.01, churn / 2, 0.02);

            cr_expect_float_eq(p.pass + p.fail + p.undecided, 1, 1e-10, "n %d churn %g", n, churn);
        }
}

Test(stats_paired, a_detectable_loss_is_detected)
{
    for (int n = 20; n < 3000; n *= 4) {
        double loss = stats_gate_detectable(n, 0.02, 0.8);

        cr_expect(loss > 0 && loss < 0.98, "n %d: %g", n, loss);
        cr_expect(stats_gate_power(n, 0.01 + loss, 0.01, 1e-12).fail >= 0.8);
        cr_expect(stats_gate_power(n, 0.01 + 0.9 * loss, 0.01, 1e-12).fail < 0.8);
    }
    cr_expect(isnan(stats_gate_detectable(4, 0.02, 0.8)));
}

/* ---- clusters --------------------------------------------------------------------------- */

Test(stats_paired, equal_answers_in_a_cluster_count_once)
{
    /* 40 values, then each of them twice: the error must be that of 40, not that of 80 */
    struct stats_value one[40], two[80];
    struct stats_clustered a, b;
    struct error err = { 0 };
    struct rng rng;

    rng_seed(&rng, 3);
    for (int i = 0; i < 40; i++) {
        one[i] = (struct stats_value){ (double)rng_below(&rng, 2), 0, i };
        two[2 * i] = one[i];
        two[2 * i + 1] = one[i];
        two[2 * i + 1].stratum = 1;
    }
    cr_assert_eq(stats_clustered_mean(one, 40, 1, &a, &err), ST_OK);
    cr_assert_eq(stats_clustered_mean(two, 80, 2, &b, &err), ST_OK);
    cr_expect_float_eq(a.se, a.se_clt, 1e-15);
    cr_expect_float_eq(a.deff_max, 1, 1e-15);
    cr_expect_float_eq(b.mean, a.mean, 1e-15);
    cr_expect_float_eq(b.se, a.se, 0.01 * a.se);
    cr_expect_float_eq(b.deff, 2, 0.03);
    cr_expect_float_eq(b.deff_max, 2, 1e-15);
}

Test(stats_paired, few_values_have_no_error)
{
    struct stats_value v = { 1, 0, 0 };
    struct stats_clustered c;
    struct error err = { 0 };

    cr_assert_eq(stats_clustered_mean(&v, 1, 1, &c, &err), ST_OK);
    cr_expect(c.mean == 1 && isnan(c.se) && c.deff == 1 && c.deff_max == 1);
    cr_assert_eq(stats_clustered_mean(NULL, 0, 0, &c, &err), ST_OK);
    cr_expect(isnan(c.mean) && isnan(c.se));
}

/* ---- bootstrap -------------------------------------------------------------------------- */

Test(stats_paired, the_bootstrap_repeats_and_stays_within_strata)
{
    /* stratum 0 always right in both, stratum 1 half lost: relative accuracy 1 and about 0.5 */
    enum { N = 60 };
    double values[2 * N][4] = { 0 }, low[2], high[2], low2[2], high2[2];
    size_t ends[] = { N, 2 * N }, n_tasks = 2;
    struct stats_bootstrap b = { .values = values[0],
                                 .n_units = 2 * N,
                                 .n_values = 4,
                                 .stratum_end = ends,
                                 .n_strata = 2,
                                 .n_stats = 1,
                                 .fn = stats_relative_accuracy,
                                 .arg = &n_tasks,
                                 .n_draws = STATS_MIN_DRAWS,
                                 .seed = 7,
                                 .alpha = 0.05 };
    struct error err = { 0 };

    for (int i = 0; i < N; i++) {
        values[i][0] = values[i][1] = 1;
        values[N + i][2] = 1;
        values[N + i][3] = i % 2;
    }
    cr_assert_eq(stats_bootstrap(&b, low, high, &err), ST_OK);
    cr_assert_eq(stats_bootstrap(&b, low2, high2, &err), ST_OK);
    cr_expect(low[0] == low2[0] && high[0] == high2[0]);
    /* mean of 1 and Binomial(60, 1/2)/60: 0.75 +- 1.96 * 0.5 * 0.0645 */
    cr_expect_float_eq(low[0], 0.75 - 0.0632, 0.006, "%g", low[0]);
    cr_expect_float_eq(high[0], 0.75 + 0.0632, 0.006, "%g", high[0]);
    for (int i = 0; i < N; i++)
        values[N + i][2] = i == 0; /* one right in all: a draw often has none */
    cr_assert_eq(stats_bootstrap(&b, low, high, &err), ST_OK);
    cr_expect(isnan(low[0]) && isnan(high[0]));
}

/* The score by its definition: the likelihood of the counts, maximised under the hypothesis by
 * thirds. */
static double ratio_score_by_search(double a, double b, double c, double n, double r)
{
    double s = (a + b + c) / n, low = 0, high = s / (1 + r), q, p;

    for (int i = 0; i < 200; i++) {
        double l[2];

        for (int k = 0; k < 2; k++) {
            q = low + (high - low) * (k + 1) / 3;
            p = (s - (1 + r) * q) / r; /* both right */
            l[k] = (a > 0 ? a * log(fmax(p, 1e-300)) : 0) + (b > 0 ? b * log(fmax(q, 1e-300)) : 0) +
                   (c > 0 ? c * log(fmax(s - p - q, 1e-300)) : 0);
            if (p < 0 || s - p - q < 0)
                l[k] = -INFINITY;
        }
        if (l[0] < l[1] || (l[0] == l[1] && s - (s - (1 + r) * low) / r - low < 0))
            low += (high - low) / 3;
        else
            high -= (high - low) / 3;
    }
    q = (low + high) / 2;
    p = (s - (1 + r) * q) / r;
    return (a + c - r * (a + b)) /
           sqrt(n * ((1 - r) * (1 - r) * p + r * r * q + fmax(0, s - p - q)));
}

Test(stats_paired, the_score_of_a_ratio_is_that_of_its_definition)
{
    static const double rows[][4] = { { 37, 1, 4, 88 },   { 61, 24, 13, 250 },
                                      { 93, 0, 16, 236 }, { 130, 25, 2, 275 },
                                      { 9, 2, 2, 20 },    { 183, 32, 27, 389 },
                                      { 5.5, 1.5, 1, 16 } };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const double *x = rows[i];
        double last = INFINITY;

        for (double r = 0.5; r < 2; r += 0.0625) {
            double t = stats_ratio_score(x[0], x[1], x[2], x[3], r);

            cr_expect(t <= last, "row %zu ratio %g", i, r);
            cr_expect_float_eq(t, ratio_score_by_search(x[0], x[1], x[2], x[3], r),
                               1e-5 * (1 + fabs(t)), "row %zu ratio %g: %g", i, r, t);
            last = t;
        }
        for (double z = -3; z < 4; z += 2)
            cr_expect_float_eq(stats_ratio_score(x[0], x[1], x[2], x[3],
                                                 stats_ratio_bound(x[0], x[1], x[2], x[3], z)),
                               z, 1e-6, "row %zu z %g", i, z);
    }
}

Test(stats_paired, a_ratio_without_changes_has_a_lower_bound_in_closed_form)
{
    const double z = stats_normal_upper_quantile(0.05);

    for (int a = 1; a < 3000; a = 2 * a + 1) {
        cr_expect_float_eq(stats_ratio_bound(a, 0, 0, 3000, z), a / (a + z * z), 1e-12);
        cr_expect_gt(stats_ratio_bound(a, 0, 0, 3000, -z), 1);
    }
    cr_expect(isnan(stats_ratio_bound(0, 0, 3, 10, z)), "a baseline with none right");
    cr_expect_lt(stats_ratio_bound(5, 5, 0, 10, z), 0.5);
    cr_expect_eq(stats_ratio_bound(0, 5, 0, 10, z), 0);
}

Test(stats_paired, exchanging_the_runs_inverts_the_ratio)
{
    for (int b = 0; b < 20; b += 3)
        for (int c = 0; c < 20; c += 4)
            cr_expect_float_eq(stats_ratio_bound(90, b, c, 160, 1.96) *
                                   stats_ratio_bound(90, c, b, 160, -1.96),
                               1, 1e-9, "b %d c %d", b, c);
}
