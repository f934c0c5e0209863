/* Statistics against SciPy, statsmodels and numerical optimisation: tests/vectors/stats/. */
#include "base/json.h"
#include "tests/results/fixture.h"

static json_t *load(void)
{
    char path[1024];
    struct error err = { 0 };
    json_t *v = NULL;

    snprintf(path, sizeof(path), "%s/vectors/stats/vectors.json", getenv("DESBENCH_TESTS"));
    cr_assert_eq(json_read(path, 1 << 20, &v, &err), ST_OK, "%s", err.text);
    return v;
}

/* Element i of an array, a number. */
static double at(const json_t *row, size_t i)
{
    cr_assert(json_is_number(json_array_get(row, i)));
    return json_number_value(json_array_get(row, i));
}

static double member(const json_t *obj, const char *key)
{
    cr_assert(json_is_number(json_object_get(obj, key)), "%s", key);
    return json_number_value(json_object_get(obj, key));
}

/* Equal but for a share rel, or for abs. */
static void same(double got, double want, double rel, double abs, const char *what, size_t i)
{
    cr_expect(got == want || fabs(got - want) <= abs + rel * fabs(want), "%s %zu: %.17g, not %.17g",
              what, i, got, want);
}

#define EACH(v, key, row, i)                                                                       \
    json_t *rows_##i = json_object_get(v, key), *row = NULL;                                       \
    cr_assert(json_array_size(rows_##i) > 0, "no '%s'", key);                                      \
    for (size_t i = 0; i < json_array_size(rows_##i) && (row = json_array_get(rows_##i, i)); i++)

Test(stats_vectors, one_score)
{
    json_t *v = load();

    EACH(v, "normal", row, i)
    {
        same(stats_normal_upper_quantile(at(row, 0)), at(row, 1), 1e-12, 1e-15, "normal", i);
        same(stats_normal_upper_tail(at(row, 1)), at(row, 0), 1e-12, 0, "tail", i);
    }
    EACH(v, "wilson", w, j)
    {
        double low, high;

        stats_wilson((int64_t)at(w, 0), (int64_t)at(w, 1), at(w, 2), &low, &high);
        same(low, at(w, 3), 1e-12, 1e-15, "wilson low", j);
        same(high, at(w, 4), 1e-12, 1e-15, "wilson high", j);
    }
    EACH(v, "pass_at_k", p, k)
    same(stats_pass_at_k((int64_t)at(p, 0), (int64_t)at(p, 1), (int64_t)at(p, 2)), at(p, 3), 1e-13,
         1e-15, "pass@k", k);
    json_decref(v);
}

Test(stats_vectors, quantiles_interpolate)
{
    json_t *v = load(), *q = json_object_get(v, "quantile"), *list = json_object_get(q, "x");
    double x[64];
    size_t n = json_array_size(list);

    cr_assert(n > 2 && n <= 64);
    for (size_t i = 0; i < n; i++)
        x[i] = at(list, i);
    EACH(q, "q", row, i)
    same(stats_quantile(x, n, at(row, 0)), at(row, 1), 1e-14, 1e-15, "quantile", i);
    json_decref(v);
}

Test(stats_vectors, mcnemar)
{
    json_t *v = load();

    EACH(v, "mcnemar", row, i)
    {
        struct stats_mcnemar m = stats_mcnemar((int64_t)at(row, 0), (int64_t)at(row, 1));

        same(m.p_worse, at(row, 2), 1e-10, 1e-300, "worse", i);
        same(m.p_better, at(row, 3), 1e-10, 1e-300, "better", i);
        same(m.p_two_sided, at(row, 4), 1e-10, 1e-300, "two-sided", i);
        same(m.midp_worse, at(row, 5), 1e-10, 1e-300, "mid-p worse", i);
        same(m.midp_better, at(row, 6), 1e-10, 1e-300, "mid-p better", i);
        same(m.midp_two_sided, at(row, 7), 1e-10, 1e-300, "mid-p", i);
    }
    json_decref(v);
}

Test(stats_vectors, tango)
{
    json_t *v = load();

    EACH(v, "tango_score", row, i)
    {
        same(stats_tango_score(at(row, 0), at(row, 1), at(row, 2), at(row, 3)), at(row, 4), 1e-6,
             1e-9, "score", i);
    }
    EACH(v, "tango", b, j)
    same(stats_tango_bound(at(b, 0), at(b, 1), at(b, 2), at(b, 3)), at(b, 4), 1e-7, 1e-10, "bound",
         j);
    json_decref(v);
}

Test(stats_vectors, power_of_the_gate)
{
    json_t *v = load();

    EACH(v, "power", row, i)
    {
        struct stats_gate_power p =
            stats_gate_power((int64_t)at(row, 0), at(row, 1), at(row, 2), at(row, 3));

        same(p.pass, at(row, 4), 1e-8, 1e-9, "pass", i);
        same(p.fail, at(row, 5), 1e-8, 1e-9, "fail", i);
        same(p.undecided, at(row, 6), 1e-8, 1e-9, "undecided", i);
    }
    json_decref(v);
}

Test(stats_vectors, holm)
{
    json_t *v = load();

    EACH(v, "holm", row, i)
    {
        json_t *in = json_array_get(row, 0), *want = json_array_get(row, 1);
        size_t n = json_array_size(in);
        double p[16], got[16];
        struct error err = { 0 };

        cr_assert(n && n <= 16);
        for (size_t k = 0; k < n; k++)
            p[k] = at(in, k);
        cr_assert_eq(stats_holm(p, n, got, &err), ST_OK);
        for (size_t k = 0; k < n; k++)
            same(got[k], at(want, k), 1e-14, 0, "holm", i);
    }
    json_decref(v);
}

Test(stats_vectors, clustered_errors)
{
    json_t *v = load();

    EACH(v, "clustered", row, i)
    {
        json_t *list = json_object_get(row, "rows");
        size_t n = json_array_size(list);
        struct stats_value x[256];
        struct stats_clustered c;
        struct error err = { 0 };

        cr_assert(n > 2 && n <= 256);
        for (size_t k = 0; k < n; k++) {
            json_t *r = json_array_get(list, k);

            x[k] = (struct stats_value){ at(r, 0), (int32_t)at(r, 1), (int64_t)at(r, 2) };
        }
        cr_assert_eq(stats_clustered_mean(x, n, (size_t)member(row, "n_strata"), &c, &err), ST_OK);
        same(c.mean, member(row, "mean"), 1e-13, 0, "mean", i);
        same(c.se_clt, member(row, "se_clt"), 1e-12, 0, "CLT error", i);
        same(c.se, member(row, "se"), 1e-10, 0, "clustered error", i);
        same(c.deff_max, member(row, "deff_max"), 1e-13, 0, "most design effect", i);
        cr_expect(c.se > 1.02 * c.se_clt, "the values do depend: %g, %g", c.se, c.se_clt);
    }
    json_decref(v);
}

static void ratio(const void *arg, const double *sums, double *ret)
{
    (void)arg;
    ret[0] = sums[1] / sums[0];
}

Test(stats_vectors, bootstrap)
{
    static const char *const names[] = { "boot_ratio", "boot_rate" };
    json_t *v = load();

    for (size_t i = 0; i < 2; i++) {
        json_t *b = json_object_get(v, names[i]), *base = json_object_get(b, "base"),
               *cand = json_object_get(b, "cand");
        size_t n = json_array_size(base);
        double values[512], low, high, want_low = member(b, "low"), want_high = member(b, "high");
        struct stats_bootstrap boot = { .values = values,
                                        .n_units = n,
                                        .n_values = 2,
                                        .stratum_end = &n,
                                        .n_strata = 1,
                                        .n_stats = 1,
                                        .fn = ratio,
                                        .n_draws = 100000,
                                        .seed = 1,
                                        .alpha = 0.05 };
        struct error err = { 0 };

        cr_assert(n > 2 && n <= 256);
        for (size_t k = 0; k < n; k++) {
            values[2 * k] = at(base, k);
            values[2 * k + 1] = at(cand, k);
        }
        cr_assert_eq(stats_bootstrap(&boot, &low, &high, &err), ST_OK);
        /* a quantile of 1e5 draws is within 1 % of the interval's width: four standard errors */
        cr_expect_float_eq(low, want_low, 0.01 * (want_high - want_low), "%s: %g, not %g", names[i],
                           low, want_low);
        cr_expect_float_eq(high, want_high, 0.01 * (want_high - want_low), "%s: %g, not %g",
                           names[i], high, want_high);
    }
    json_decref(v);
}
