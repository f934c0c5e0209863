/* Routing facts, on routers made up so that the answer is known. */
#include <criterion/criterion.h>
#include <math.h>

#include "harness/routing_facts.h"
#include "tests/base/fail_malloc.h"

static struct routing_facts *facts(int n_exp, int top_k)
{
    struct routing_facts *f = NULL;
    struct error err = { 0 };

    cr_assert_eq(routing_facts_new(2, n_exp, top_k, &f, &err), ST_OK, "%s", err.text);
    return f;
}

Test(routing_facts, the_uniform_expectation_is_that_of_the_formula)
{
    cr_expect_float_eq(routing_uniform(1, 64, 8), 8, 1e-12);
    cr_expect_float_eq(routing_uniform(2, 64, 8), 15, 1e-12);
    cr_expect_float_eq(routing_uniform(32, 64, 8), 63.1, 0.05, "LLaDA-MoE: 59 of it are 0.94");
    cr_expect_float_eq(routing_uniform(32, 256, 8), 163, 0.5, "LLaDA2.0-mini: 70 of it are 0.43");
    cr_expect_float_eq(routing_uniform(1000000, 8, 8), 8, 1e-12);
}

Test(routing_facts, a_sample_is_counted_by_hand)
{
    /* two tokens, top-2 of 4: {0, 1} and {1, 3} */
    static const float scores[] = { 0.5f, 0.25f, 0.125f, 0.125f, 0.125f, 0.5f, 0, 0.375f };
    static const int32_t experts[] = { 0, 1, 1, 3 };
    struct routing_facts *f = facts(4, 2);
    const struct layer_facts *x = &f->layers[1];

    routing_facts_add(f, 1, true, 2, 2, scores, experts);
    cr_expect(x->n_samples == 1 && x->n_tok == 2 && x->n_pairs == 0);
    cr_expect_eq(x->sum_unique, 3);
    cr_expect_float_eq(x->sum_top1, 0.5 + 0.5, 1e-12);
    cr_expect_float_eq(x->sum_topk, 0.75 + 0.875, 1e-12);
    cr_expect(x->load[0] == 1 && x->load[1] == 2 && x->load[2] == 0 && x->load[3] == 1);
    cr_expect_eq(f->layers[0].n_samples, 0);
    routing_facts_free(f);
}

Test(routing_facts, shares_do_not_depend_on_the_scale_of_the_scores)
{
    static const float sigmoid[] = { 0.9f, 0.6f, 0.3f, 0.2f };
    static const int32_t experts[] = { 0, 1 };
    struct routing_facts *f = facts(4, 2);

    routing_facts_add(f, 0, true, 1, 2, sigmoid, experts);
    cr_expect_float_eq(f->layers[0].sum_top1, 0.45, 1e-6);
    cr_expect_float_eq(f->layers[0].sum_topk, 0.75, 1e-6);
    routing_facts_free(f);
}

Test(routing_facts, overlap_is_between_forwards_of_one_block_and_layer)
{
    static const float scores[] = { 0.25f, 0.25f, 0.25f, 0.25f };
    static const int32_t a[] = { 0, 1 }, b[] = { 1, 2 };
    struct routing_facts *f = facts(4, 2);
    const struct layer_facts *x = &f->layers[0];

    routing_facts_add(f, 0, true, 1, 2, scores, a);
    routing_facts_add(f, 1, true, 1, 2, scores, b); /* another layer is no pair */
    routing_facts_add(f, 0, false, 1, 2, scores, b);
    cr_expect_eq(x->n_pairs, 1);
    cr_expect_float_eq(x->sum_overlap, 1.0 / 3, 1e-12);
    routing_facts_add(f, 0, true, 1, 2, scores, a); /* the next block */
    cr_expect_eq(x->n_pairs, 1);
    routing_facts_add(f, 0, false, 1, 2, scores, a);
    cr_expect_float_eq(x->sum_overlap, 1.0 / 3 + 1, 1e-12);
    routing_facts_free(f);
}

Test(routing_facts, a_slot_that_none_fills_is_no_expert)
{
    static const float scores[] = { 0.25f, 0.25f, 0.25f, 0.25f };
    static const int32_t experts[] = { -1, 2 };
    struct routing_facts *f = facts(4, 2);

    routing_facts_add(f, 0, true, 1, 2, scores, experts);
    cr_expect_eq(f->layers[0].sum_unique, 1);
    cr_expect_eq(f->layers[0].load[2], 1);
    routing_facts_free(f);
}

Test(routing_facts, votes_by_weight_and_by_count_can_elect_others)
{
    /* top-1 of 8: one token is sure of expert 7; three doubt, for 1 twice and for 2; coresets hold
     * 1 to 5 experts, 3 are voted for */
    float scores[4][8] = { { 0 } };
    static const int32_t experts[] = { 7, 1, 1, 2 };
    struct routing_facts *f = facts(8, 1);
    const struct vote_gap *g = f->layers[0].votes;

    scores[0][7] = 0.875f;
    scores[1][1] = scores[2][1] = 0.25f;
    scores[3][2] = 0.125f;
    routing_facts_add(f, 0, true, 4, 1, &scores[0][0], experts);
    /* one: 7 by weight, 1 by count */
    cr_expect(g[0].n_samples == 1 && g[0].sum_differs == 1);
    cr_expect_float_eq(g[0].sum_mass_lost, 1 - 0.5 / 0.875, 1e-12);
    /* two: {7, 1} by weight; {1, 2} by count: of those with one vote the lower id */
    cr_expect(g[1].n_samples == 1 && g[1].sum_differs == 0.5);
    cr_expect_float_eq(g[1].sum_mass_lost, 1 - 0.625 / 1.375, 1e-12);
    /* three and more hold all that were voted for: nothing to tell apart */
    for (int c = 2; c < ROUTING_N_CORES; c++)
        cr_expect_eq(g[c].n_samples, 0);
    routing_facts_free(f);
}

static enum status try_new(void *arg, struct error *err)
{
    struct routing_facts *f = NULL;
    enum status st = routing_facts_new(3, 16, 4, &f, err);

    (void)arg;
    cr_expect_eq(st == ST_OK, f != NULL);
    routing_facts_free(f);
    return st;
}

Test(routing_facts, a_failed_allocation_is_reported_and_leaks_nothing)
{
    struct fail_sweep s = { .what = "routing_facts_new", .f = try_new };

    cr_expect_geq(fail_malloc_sweep(&s), 9);
}
