/* Intervals and pass@k against published and separately computed values. */
#include "tests/results/fixture.h"

Test(stats, wilson_gives_the_known_half_widths)
{
    /* half-widths in points at 95 %, rounded: rows n, columns p = .50 .70 .80 .90 .95 */
    static const struct {
        int n;
        double half[5];
    } rows[] = { { 164, { 7.6, 6.9, 6.1, 4.6, 3.5 } },
                 { 378, { 5.0, 4.6, 4.0, 3.0, 2.2 } },
                 { 500, { 4.4, 4.0, 3.5, 2.6, 1.9 } },
                 { 1319, { 2.7, 2.5, 2.2, 1.6, 1.2 } } };
    static const double p[5] = { .50, .70, .80, .90, .95 };

    for (int r = 0; r < 4; r++)
        for (int c = 0; c < 5; c++) {
            double low, high, low2, high2; /* p * n lies between two counts */
            stats_wilson((int64_t)floor(p[c] * rows[r].n), rows[r].n, 0.05, &low, &high);
            stats_wilson((int64_t)ceil(p[c] * rows[r].n), rows[r].n, 0.05, &low2, &high2);
            cr_expect((high2 - low2) * 50 < rows[r].half[c] + 0.05 &&
                          (high - low) * 50 > rows[r].half[c] - 0.05,
                      "n %d p %g: %g .. %g", rows[r].n, p[c], (high2 - low2) * 50,
                      (high - low) * 50);
        }
}

Test(stats, wilson_agrees_with_exact_values)
{
    /* (k, n, alpha): Newcombe 1998, table I, method 3 (81/263, 15/148, 0/20, 1/29) */
    static const struct {
        int k, n;
        double low, high;
    } cases[] = { { 81, 263, 0.2553, 0.3662 },
                  { 15, 148, 0.0624, 0.1605 },
                  { 0, 20, 0.0000, 0.1611 },
                  { 1, 29, 0.0061, 0.1718 } };

    for (int i = 0; i < 4; i++) {
        double low, high;
        stats_wilson(cases[i].k, cases[i].n, 0.05, &low, &high);
        cr_expect_float_eq(low, cases[i].low, 5e-5, "case %d: %.5f", i, low);
        cr_expect_float_eq(high, cases[i].high, 5e-5, "case %d: %.5f", i, high);
    }
}

Test(stats, wilson_inverts_the_score_test_at_any_confidence)
{
    /* at either bound p0 the score |k/n - p0| is z standard errors under p0 */
    static const struct {
        double alpha, z;
    } zs[] = { { 0.5, 0.6744897501960817 },
               { 0.1, 1.6448536269514722 },
               { 0.05, 1.959963984540054 },
               { 0.01, 2.5758293035489004 },
               { 1e-6, 4.891638475699412 } };

    for (int i = 0; i < 5; i++)
        for (int k = 1; k < 20; k++) {
            double b[2];
            stats_wilson(k, 20, zs[i].alpha, &b[0], &b[1]);
            cr_expect(b[0] < k / 20.0 && k / 20.0 < b[1]);
            for (int j = 0; j < 2; j++)
                cr_expect_float_eq(fabs(k / 20.0 - b[j]) / sqrt(b[j] * (1 - b[j]) / 20), zs[i].z,
                                   1e-9 * zs[i].z, "alpha %g k %d", zs[i].alpha, k);
        }
}

Test(stats, wilson_at_the_ends_is_exact_and_symmetric)
{
    for (int n = 1; n < 2000; n += 7) {
        double low, high, low2, high2;
        stats_wilson(0, n, 0.05, &low, &high);
        stats_wilson(n, n, 0.05, &low2, &high2);
        cr_expect_eq(low, 0.0);
        cr_expect_eq(high2, 1.0);
        cr_expect_float_eq(high, 1 - low2, 1e-12);
        cr_expect(high > 0 && high < 1);
    }
    double low = 5, high = 5;
    stats_wilson(0, 0, 0.05, &low, &high);
    cr_expect_eq(low, 0.0);
    cr_expect_eq(high, 1.0);
}

Test(stats, pass_at_k_gives_the_known_values)
{
    static const struct {
        int n, c, k;
        double want;
    } cases[] = { { 10, 3, 1, 0.3 },
                  { 10, 3, 5, 0.9166666667 },
                  { 200, 20, 10, 0.6602256238 },
                  { 200, 1, 100, 0.5 },
                  { 20, 4, 10, 0.9566563467 },
                  { 5, 0, 5, 0 },
                  { 5, 5, 5, 1 },
                  { 1, 1, 1, 1 },
                  { 1, 0, 1, 0 } };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        cr_expect_float_eq(stats_pass_at_k(cases[i].n, cases[i].c, cases[i].k), cases[i].want,
                           1e-10, "case %zu", i);
    cr_expect(isnan(stats_pass_at_k(4, 4, 5)));
    cr_expect(isnan(stats_pass_at_k(0, 0, 1)));
}

Test(stats, pass_at_k_counts_the_draws)
{
    /* against all subsets of 10 samples, c of them right */
    for (int c = 0; c <= 10; c++)
        for (int k = 1; k <= 10; k++) {
            int n_all = 0, n_hit = 0;
            for (unsigned set = 0; set < 1024; set++)
                if (__builtin_popcount(set) == k) {
                    n_all++;
                    n_hit += (set & ((1u << c) - 1)) != 0;
                }
            cr_expect_float_eq(stats_pass_at_k(10, c, k), (double)n_hit / n_all, 1e-12);
        }
}
