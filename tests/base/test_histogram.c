/* Histograms of durations. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "base/histogram.h"
#include "base/rng.h"

Test(histogram, quantiles_are_within_a_bucket)
{
    static const double shares[] = { 0.5, 0.9, 0.99 };
    struct histogram h = { 0 };

    for (int64_t v = 1000; v <= 101000; v += 10) /* uniform */
        histogram_add(&h, v);
    for (size_t i = 0; i < 3; i++) {
        double want = 1000 + 100000 * shares[i], got = (double)histogram_quantile(&h, shares[i]);

        cr_assert_lt(fabs(got / want - 1), 0.05, "%g: %g, not %g", shares[i], got, want);
    }
    cr_assert_lt(fabs((double)histogram_quantile(&h, 1) / 101000 - 1), 0.05);
    cr_assert_eq(h.min, 1000);
    cr_assert_eq(h.max, 101000);
    cr_assert_eq(h.n, 10001);
    cr_assert_eq(h.sum, (int64_t)10001 * 51000);
}

Test(histogram, one_value_is_every_quantile)
{
    struct histogram h = { 0 };

    cr_assert_eq(histogram_quantile(&h, 0.5), 0);
    histogram_add(&h, 12345);
    cr_assert_eq(histogram_quantile(&h, 0), 12345);
    cr_assert_eq(histogram_quantile(&h, 0.5), 12345);
    cr_assert_eq(histogram_quantile(&h, 1), 12345);
}

Test(histogram, extremes_stay_within_it)
{
    struct histogram h = { 0 };

    histogram_add(&h, INT64_MAX);
    histogram_add(&h, 0);
    histogram_add(&h, -5);
    cr_assert_eq(h.n, 3);
    cr_assert_eq(h.counts[0], 2);
    cr_assert_eq(h.counts[HISTOGRAM_BUCKETS - 1], 1);
}

Test(histogram, halves_merge_to_the_whole)
{
    struct histogram all = { 0 }, a = { 0 }, b = { 0 };
    struct rng r;

    rng_seed(&r, 1);
    for (int i = 0; i < 1000; i++) {
        int64_t v = (int64_t)rng_below(&r, 1 << 20);

        histogram_add(&all, v);
        histogram_add(i % 3 ? &a : &b, v);
    }
    histogram_merge(&a, &b);
    cr_assert_eq(memcmp(&a, &all, sizeof(a)), 0);
    histogram_merge(&a, &(struct histogram){ 0 });
    cr_assert_eq(memcmp(&a, &all, sizeof(a)), 0);
}

Test(histogram, text_reads_back)
{
    struct histogram h = { 0 }, back;
    struct buf text = { 0 };
    struct error err = { 0 };

    for (int64_t v = 1; v < INT64_C(1) << 40; v = v * 3 + 1)
        histogram_add(&h, v);
    histogram_put_json(&h, &text);
    cr_assert_eq(histogram_read_json(buf_str(&text), text.len, &back, &err), ST_OK, "%s", err.text);
    cr_assert_eq(memcmp(back.counts, h.counts, sizeof(h.counts)), 0);
    cr_assert_eq(back.n, h.n);
    buf_release(&text);
}

Test(histogram, bad_text_is_refused)
{
    static const char *const bad[] = {
        "",          "{}",       "[1]",       "[[1]]", "[[-1,1]]",
        "[[352,1]]", "[[1,-1]]", "[[1,1.5]]", "[[1,2", "[[0,9223372036854775807]]"
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct histogram h;
        struct error err = { 0 };

        cr_assert_eq(histogram_read_json(bad[i], strlen(bad[i]), &h, &err), ST_INVALID, "%s",
                     bad[i]);
        cr_assert(*err.text);
    }
}

Test(histogram, more_entries_than_buckets_are_refused)
{
    struct buf text = { 0 };
    struct histogram h;
    struct error err;

    for (int i = 0; i <= HISTOGRAM_BUCKETS; i++) /* their sum would overflow */
        buf_printf(&text, "%s[0,%lld]", i ? "," : "[", (long long)(INT64_MAX / HISTOGRAM_BUCKETS));
    buf_putc(&text, ']');
    cr_assert(buf_ok(&text));
    cr_assert_eq(histogram_read_json(buf_str(&text), text.len, &h, &err), ST_INVALID);
    buf_release(&text);
}
