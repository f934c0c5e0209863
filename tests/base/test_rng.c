/* Random streams against published values, and their distributions. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "base/rng.h"

Test(rng, splitmix64_gives_the_published_stream)
{
    /* seed 1234567: the values that implementations of Vigna's splitmix64.c agree on */
    static const uint64_t want[] = { 6457827717110365317u, 3203168211198807973u,
                                     9817491932198370423u, 4593380528125082431u,
                                     16408922859458223821u };
    uint64_t state = 1234567, zero = 0;

    for (int i = 0; i < 5; i++)
        cr_expect_eq(splitmix64(&state), want[i], "value %d", i);
    cr_expect_eq(splitmix64(&zero), 0xe220a8397b1dcdafu);
}

Test(rng, xoshiro_gives_the_published_stream)
{
    /* state 1, 2, 3, 4: the values that tests of xoshiro256starstar.c use */
    static const uint64_t want[] = { 11520u,
                                     0u,
                                     1509978240u,
                                     1215971899390074240u,
                                     1216172134540287360u,
                                     607988272756665600u,
                                     16172922978634559625u,
                                     8476171486693032832u,
                                     10595114339597558777u,
                                     2904607092377533576u };
    struct rng r = { { 1, 2, 3, 4 } };

    for (int i = 0; i < 10; i++)
        cr_expect_eq(rng_u64(&r), want[i], "value %d", i);
}

Test(rng, a_seed_is_four_splitmix_steps)
{
    struct rng r;
    uint64_t state = 42;

    rng_seed(&r, 42);
    for (int i = 0; i < 4; i++)
        cr_expect_eq(r.s[i], splitmix64(&state));
}

Test(rng, hash_is_fnv_1a)
{
    cr_expect_eq(rng_hash("", 0), 0xcbf29ce484222325u);
    cr_expect_eq(rng_hash("a", 1), 0xaf63dc4c8601ec8cu);
    cr_expect_eq(rng_hash("foobar", 6), 0x85944171f73967e8u);
    cr_expect_eq(rng_hash("\xff", 1), (0xcbf29ce484222325u ^ 0xff) * 0x100000001b3u);
}

Test(rng, below_is_in_range_and_even)
{
    struct rng r;
    int counts[6] = { 0 };
    double chi2 = 0;

    rng_seed(&r, 1);
    for (int i = 0; i < 60000; i++) {
        uint64_t v = rng_below(&r, 6);
        cr_assert_lt(v, 6);
        counts[v]++;
    }
    for (int i = 0; i < 6; i++)
        chi2 += (counts[i] - 10000.0) * (counts[i] - 10000.0) / 10000;
    cr_expect_lt(chi2, 20.5, "chi square %g, 5 degrees of freedom, p = 0.001", chi2);
    for (int i = 0; i < 100; i++)
        cr_assert_eq(rng_below(&r, 1), 0);
}

Test(rng, below_refuses_the_values_that_would_be_drawn_too_often)
{
    /* of 3 * 2^62 values a quarter of all draws lies above; without refusal the low third of the
     * range would come twice as often as the rest */
    uint64_t n = 3ull << 62;
    struct rng r;
    int low = 0;

    rng_seed(&r, 2);
    for (int i = 0; i < 30000; i++)
        low += rng_below(&r, n) < n / 3;
    cr_expect(abs(low - 10000) < 350, "%d of 30000 in the low third", low); /* 4 sigma: 327 */
}

Test(rng, uniform_is_in_the_half_open_interval_with_53_bits)
{
    struct rng r;
    double sum = 0;
    bool has_odd = false;

    rng_seed(&r, 3);
    for (int i = 0; i < 100000; i++) {
        double u = rng_uniform(&r);
        cr_assert(0 <= u && u < 1);
        has_odd |= fmod(u * 0x1p53, 2) == 1;
        sum += u;
    }
    cr_expect_float_eq(sum / 100000, 0.5, 0.004);
    cr_expect(has_odd, "the last bit is used");
}

Test(rng, normal_has_mean_zero_variance_one_and_thin_tails)
{
    enum { N = 200000 };
    struct rng r;
    double sum = 0, sum2 = 0, sum4 = 0;
    int beyond2 = 0;

    rng_seed(&r, 4);
    for (int i = 0; i < N; i++) {
        double z = rng_normal(&r);
        cr_assert(isfinite(z));
        sum += z;
        sum2 += z * z;
        sum4 += z * z * z * z;
        beyond2 += fabs(z) > 2;
    }
    cr_expect_float_eq(sum / N, 0, 0.01);
    cr_expect_float_eq(sum2 / N, 1, 0.015);
    cr_expect_float_eq(sum4 / N, 3, 0.12);
    cr_expect_float_eq(beyond2 / (double)N, 0.0455, 0.002);
}
