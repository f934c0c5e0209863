/* Experts dealt to tokens. */
#include <criterion/criterion.h>
#include <string.h>

#include "kernels/deal.h"

enum { MAX_EXP = 256, MAX_SLOTS = 2048 * 8 };

/* The shapes of LLaDA-MoE and LLaDA2.0-mini, and small ones. */
static const struct deal cases[] = {
    { .n_exp = 64, .top_k = 8, .n_tok = 32, .n_active = 64, .skew = 0.7 },
    { .n_exp = 64, .top_k = 8, .n_tok = 32, .n_active = 25, .skew = 0.7 },
    { .n_exp = 64, .top_k = 8, .n_tok = 32, .n_active = 8, .skew = 0.7 },
    { .n_exp = 64, .top_k = 8, .n_tok = 8, .n_active = 64, .skew = 0.7 },
    { .n_exp = 256, .top_k = 8, .n_tok = 32, .n_active = 163, .skew = 0.7 },
    { .n_exp = 256, .top_k = 8, .n_tok = 32, .n_active = 84, .skew = 0.7 },
    { .n_exp = 256, .top_k = 8, .n_tok = 32, .n_group = 8, .topk_group = 4, .n_active = 84 },
    { .n_exp = 256, .top_k = 8, .n_tok = 32, .n_group = 8, .topk_group = 4, .n_active = 128 },
    { .n_exp = 256, .top_k = 8, .n_tok = 2048, .n_active = 25, .skew = 0.7 },
    { .n_exp = 8, .top_k = 2, .n_tok = 1, .n_active = 2 },
    { .n_exp = 8, .top_k = 8, .n_tok = 5, .n_active = 8, .skew = 2 },
};

static int32_t ids[MAX_SLOTS];

static void deal_case(const struct deal *d, uint64_t seed)
{
    struct error err = { 0 };
    struct rng rng;

    rng_seed(&rng, seed);
    cr_assert_eq(deal_experts(d, &rng, ids, &err), ST_OK, "%s", err.text);
}

Test(deal, as_many_experts_as_asked_for_each_once_a_token)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (uint64_t seed = 0; seed < 20; seed++) {
            const struct deal *d = &cases[i];
            int count[MAX_EXP] = { 0 }, n = 0;

            deal_case(d, seed);
            for (int t = 0; t < d->n_tok; t++)
                for (int k = 0; k < d->top_k; k++) {
                    int32_t e = ids[t * d->top_k + k];

                    cr_assert(e >= 0 && e < d->n_exp);
                    for (int j = 0; j < k; j++)
                        cr_assert_neq(ids[t * d->top_k + j], e, "case %zu, token %d", i, t);
                    n += count[e]++ == 0;
                }
            cr_assert_eq(n, d->n_active, "case %zu, seed %d", i, (int)seed);
        }
}

Test(deal, experts_are_of_the_groups_that_a_token_may_use)
{
    const struct deal *d = &cases[7];

    for (uint64_t seed = 0; seed < 20; seed++) {
        bool is_used[MAX_EXP] = { false };
        int n = 0;

        deal_case(d, seed);
        for (int s = 0; s < d->n_tok * d->top_k; s++)
            is_used[ids[s] / (d->n_exp / d->n_group)] = true;
        for (int g = 0; g < d->n_group; g++)
            n += is_used[g];
        cr_assert_eq(n, d->topk_group);
    }
}

Test(deal, a_seed_deals_the_same_and_another_one_differently)
{
    int32_t before[32 * 8];

    deal_case(&cases[1], 3);
    memcpy(before, ids, sizeof(before));
    deal_case(&cases[1], 3);
    cr_assert_eq(memcmp(before, ids, sizeof(before)), 0);
    deal_case(&cases[1], 4);
    cr_assert_neq(memcmp(before, ids, sizeof(before)), 0);
}

Test(deal, skew_makes_favourites)
{
    int count[MAX_EXP] = { 0 }, most = 0;

    deal_case(&cases[8], 1);
    for (int s = 0; s < 2048 * 8; s++)
        count[ids[s]]++;
    for (int e = 0; e < 256; e++)
        most = count[e] > most ? count[e] : most;
    cr_assert_gt(most, 2 * 2048 * 8 / 25); /* an even deal: 655 each */
}

Test(deal, numbers_that_cannot_be_are_refused)
{
    static const struct {
        struct deal d;
        int most;
    } bad[] = {
        { { .n_exp = 64, .top_k = 8, .n_tok = 32, .n_active = 7 }, 64 },
        { { .n_exp = 64, .top_k = 8, .n_tok = 32, .n_active = 65 }, 64 },
        { { .n_exp = 64, .top_k = 8, .n_tok = 4, .n_active = 33 }, 32 },
        { { .n_exp = 256, .top_k = 8, .n_tok = 32, .n_group = 8, .topk_group = 4, .n_active = 129 },
          128 },
        { { .n_exp = 64, .top_k = 8, .n_tok = 0, .n_active = 8 }, 0 },
        { { .n_exp = 17, .top_k = 3, .n_tok = 5, .n_active = 16 }, 15 },
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error err = { 0 };
        struct rng rng;

        rng_seed(&rng, 1);
        cr_assert_eq(deal_max_active(&bad[i].d), bad[i].most);
        cr_assert_eq(deal_experts(&bad[i].d, &rng, ids, &err), ST_INVALID, "%zu", i);
        cr_assert_not_null(strstr(err.text, "cannot go to"), "%s", err.text);
    }
}
