/*
 * Routing: exact properties of the selection policies, on every backend in host memory, over random
 * and adversarial router scores. What is expected is worked out here apart from any backend: by
 * sorting (score, id) pairs.
 */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "kernels/kernels.h"

enum { MAX_TOK = 48, MAX_EXP = 256, MAX_K = 16, N_SEEDS = 25 };

static const struct kernel_ops *ops;
static struct kernels *k;

/* Run what follows with `ops` and `k` of each backend that lies in host memory. */
#define FOR_EACH_BACKEND                                                                           \
    for (int b_ = 0; b_ < 2 && backend_open(b_ ? "cpu" : "ref"); ops->close(k), b_++)

static bool backend_open(const char *name)
{
    const struct kernel_params params = { .n_threads = 1 };

    ops = kernel_backend_find(name);
    cr_assert_eq(ops->open(&params, &k, NULL), ST_OK);
    return true;
}

/* ---- scores ------------------------------------------------------------------------------ */

enum shape { SHAPE_SOFTMAX, SHAPE_TIES, SHAPE_SAME, SHAPE_DISJOINT, SHAPE_PEAKED, N_SHAPES };

struct scores {
    int n_tok, n_exp, top_k;
    float s[MAX_TOK * MAX_EXP];
};

/* Softmax of noise; few distinct values; one row for all tokens; tokens that agree on nothing, one
 * after the other; one expert far above the rest. */
static void make_scores(uint64_t seed, struct scores *x)
{
    static const int sizes[][2] = { { 8, 2 }, { 64, 8 }, { 17, 3 }, { 32, 4 }, { 16, 16 } };
    struct rng r;
    enum shape shape = (enum shape)(seed % N_SHAPES);
    const int *size = sizes[seed / N_SHAPES % 5];

    rng_seed(&r, seed);
    x->n_exp = size[0];
    x->top_k = size[1];
    x->n_tok = (int[]){ 1, 2, 5, 16, 32 }[rng_below(&r, 5)];
    for (int t = 0; t < x->n_tok; t++) {
        float *s = x->s + t * x->n_exp;
        double sum = 0;

        for (int e = 0; e < x->n_exp; e++) {
            double z = rng_normal(&r);

            if (shape == SHAPE_TIES)
                z = (double)rng_below(&r, 3);
            if (shape == SHAPE_DISJOINT)
                z = (double)((e + t * x->top_k) % x->n_exp) / 4;
            if (shape == SHAPE_PEAKED)
                z = e == (int)(seed % (uint64_t)x->n_exp) ? 30 : z;
            s[e] = (float)exp(z);
            sum += (double)s[e];
        }
        for (int e = 0; e < x->n_exp; e++)
            s[e] = (float)((double)s[e] / sum);
        if (shape == SHAPE_SAME)
            memcpy(s, x->s, (size_t)x->n_exp * sizeof(*s));
    }
}

static struct route_params vanilla_of(const struct scores *x)
{
    return (struct route_params){
        .n_exp = x->n_exp, .top_k = x->top_k, .top_k_base = x->top_k, .scale = 1
    };
}

static struct route_params vote_of(const struct scores *x, int n_core)
{
    struct route_params p = vanilla_of(x);

    p.size = SIZE_FIXED;
    p.n_core = n_core;
    p.mask = x->top_k;
    return p;
}

/* ---- routing ----------------------------------------------------------------------------- */

struct routed {
    int32_t ids[MAX_TOK * MAX_K], counts[MAX_EXP];
    float w[MAX_TOK * MAX_K];
    uint8_t core[MAX_EXP];
    struct route_stats stats;
};

static const struct weight *bias_of(const float *bias, int n_exp)
{
    struct weight *w = NULL;

    if (bias)
        cr_assert_eq(ops->weight_load(k, &(struct host_matrix){ bias, DT_F32, 1, n_exp }, &w, NULL),
                     ST_OK);
    return w;
}

static double popularity[MAX_EXP];

static void route_with(const struct scores *x, const struct route_params *p, const float *bias,
                       struct routed *ret)
{
    const struct route_input in = { .scores = x->s,
                                    .logits = x->s,
                                    .importance = x->s,
                                    .popularity = popularity,
                                    .bias = bias_of(bias, x->n_exp) };
    const struct route_segment seg = { .n_tok = x->n_tok,
                                       .key = 42,
                                       .ret_core = ret->core,
                                       .stats = &ret->stats,
                                       .tokens_per_expert = ret->counts };

    memset(ret, 0, sizeof(*ret));
    cr_assert_eq(
        ops->route(k, p, &in, &seg, 1, &(struct route_output){ ret->ids, ret->w, p->top_k }, NULL),
        ST_OK);
}

static void route(const struct scores *x, const struct route_params *p, struct routed *ret)
{
    route_with(x, p, NULL, ret);
}

/* ---- what is expected -------------------------------------------------------------------- */

struct pair {
    double v;
    int id;
};

static int by_value(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;

    return x->v != y->v ? (x->v < y->v ? 1 : -1) : x->id - y->id;
}

/* A token's experts, best first. */
static void ranking(const struct scores *x, int t, struct pair *ret)
{
    for (int e = 0; e < x->n_exp; e++)
        ret[e] = (struct pair){ (double)x->s[t * x->n_exp + e], e };
    qsort(ret, (size_t)x->n_exp, sizeof(*ret), by_value);
}

static int by_id(const void *a, const void *b)
{
    return *(const int32_t *)a - *(const int32_t *)b;
}

/* The row's experts, in any order, are those expected; w is their score. */
static void assert_row(const struct scores *x, const struct routed *r, int t, int32_t *want, int n,
                       uint64_t seed)
{
    const int32_t *ids = r->ids + t * x->top_k;

    qsort(want, (size_t)n, sizeof(*want), by_id);
    for (int i = 0; i < x->top_k; i++) {
        cr_assert_eq(ids[i], i < n ? want[i] : -1, "%s seed %llu token %d slot %d: %d", ops->name,
                     (unsigned long long)seed, t, i, ids[i]);
        cr_assert_eq(r->w[t * x->top_k + i], i < n ? x->s[t * x->n_exp + want[i]] : 0);
    }
}

static int natural_union(const struct scores *x, int depth, bool *is_in)
{
    struct pair rank[MAX_EXP];
    int n = 0;

    memset(is_in, 0, MAX_EXP);
    for (int t = 0; t < x->n_tok; t++) {
        ranking(x, t, rank);
        for (int i = 0; i < depth; i++)
            is_in[rank[i].id] = true;
    }
    for (int e = 0; e < x->n_exp; e++)
        n += is_in[e];
    return n;
}

/* Every slot holds a member, and the number of distinct experts is what is told. */
static void assert_inside(const struct scores *x, const struct route_params *p,
                          const struct routed *r, uint64_t seed)
{
    bool ran[MAX_EXP] = { false };
    int n = 0;

    for (int i = 0; i < x->n_tok * p->top_k; i++)
        if (r->ids[i] >= 0) {
            cr_assert(r->core[r->ids[i]], "%s seed %llu: expert %d ran outside the coreset",
                      ops->name, (unsigned long long)seed, r->ids[i]);
            n += !ran[r->ids[i]];
            ran[r->ids[i]] = true;
        } else {
            cr_assert_eq(r->w[i], 0);
        }
    cr_assert_eq(r->stats.n_unique, n);
}

/* Experts by the scores that tokens give to their first top_k. */
static void count_votes(const struct scores *x, struct pair *ret)
{
    struct pair rank[MAX_EXP];

    for (int e = 0; e < x->n_exp; e++)
        ret[e] = (struct pair){ 0, e };
    for (int t = 0; t < x->n_tok; t++) {
        ranking(x, t, rank);
        for (int i = 0; i < x->top_k; i++)
            ret[rank[i].id].v += rank[i].v;
    }
    qsort(ret, (size_t)x->n_exp, sizeof(*ret), by_value);
}

/* ---- properties -------------------------------------------------------------------------- */

Test(route, des_vote_is_votes_summed_sorted_and_routed_inside)
{
    static struct scores x;
    static struct routed r;

    FOR_EACH_BACKEND
    for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
        struct pair votes[MAX_EXP], rank[MAX_EXP];
        bool in_core[MAX_EXP] = { false };
        struct route_params p;

        make_scores(seed, &x);
        p = vote_of(&x, 1 + (int)(seed * 7 % (uint64_t)x.n_exp));
        route(&x, &p, &r);
        count_votes(&x, votes);
        for (int i = 0; i < p.n_core; i++)
            in_core[votes[i].id] = true;
        for (int e = 0; e < x.n_exp; e++)
            cr_assert_eq(r.core[e], in_core[e], "%s seed %llu expert %d", ops->name,
                         (unsigned long long)seed, e);
        for (int t = 0; t < x.n_tok; t++) {
            int32_t want[MAX_EXP];
            int n = 0;

            ranking(&x, t, rank);
            for (int i = 0; i < x.n_exp && n < x.top_k; i++)
                if (in_core[rank[i].id])
                    want[n++] = rank[i].id;
            assert_row(&x, &r, t, want, n, seed);
        }
    }
}

Test(route, des_vote_runs_as_many_experts_as_its_budget_or_the_natural_union)
{
    static struct scores x;
    static struct routed r;
    bool is_in[MAX_EXP];

    FOR_EACH_BACKEND
    for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
        make_scores(seed, &x);
        for (int m = 1; m <= x.n_exp; m += m < 10 ? 1 : 7) {
            struct route_params p = vote_of(&x, m);
            int natural = natural_union(&x, x.top_k, is_in);

            route(&x, &p, &r);
            cr_assert_eq(r.stats.n_natural, natural);
            cr_assert_eq(r.stats.n_unique, m < natural ? m : natural, "%s seed %llu m %d: %d, %d",
                         ops->name, (unsigned long long)seed, m, r.stats.n_unique, natural);
            assert_inside(&x, &p, &r, seed);
        }
    }
}

Test(route, des_seq_is_a_walk_of_oea)
{
    static struct scores x;
    static struct routed r;

    FOR_EACH_BACKEND
    for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
        make_scores(seed, &x);
        for (int k0 = 1; k0 <= x.top_k; k0++) {
            struct route_params p = vanilla_of(&x);
            bool base[MAX_EXP];

            p.size = SIZE_UNION;
            p.warm = k0;
            route(&x, &p, &r);
            natural_union(&x, k0, base);
            for (int t = 0; t < x.n_tok; t++) { /* its first k0, then those of others, by rank */
                struct pair rank[MAX_EXP];
                int32_t want[MAX_EXP];
                int n = 0;

                ranking(&x, t, rank);
                for (; n < k0; n++)
                    want[n] = rank[n].id;
                for (int i = k0; i < x.n_exp && n < x.top_k; i++)
                    if (base[rank[i].id])
                        want[n++] = rank[i].id;
                assert_row(&x, &r, t, want, n, seed);
            }
            assert_inside(&x, &p, &r, seed);
        }
    }
}

/* Group-limited sigmoid routing with a bias, as LLaDA2.x has it. */
static void make_llada2(uint64_t seed, struct scores *x, struct route_params *p, float *bias)
{
    struct rng r;

    rng_seed(&r, seed);
    x->n_exp = 256;
    x->top_k = 8;
    x->n_tok = 12;
    for (int i = 0; i < x->n_tok * x->n_exp; i++)
        x->s[i] = (float)(1 / (1 + exp(-rng_normal(&r) * 2)));
    for (int e = 0; e < x->n_exp; e++)
        bias[e] = (float)rng_normal(&r) * 0.05F;
    *p = vanilla_of(x);
    p->renorm = true;
    p->scale = 2.5F;
    p->n_group = 8;
    p->topk_group = 4;
}

/* All policies with their whole budget; ELECT_RANDOM and others need not vote. */
static size_t full_budgets(const struct route_params *own, struct route_params *ret)
{
    size_t n = 0;

    for (int elect = ELECT_VOTES; elect <= ELECT_STATIC; elect++)
        for (int vote = VOTE_PROB; vote <= (elect == ELECT_VOTES ? VOTE_COUNT : VOTE_PROB); vote++)
            for (int form = 0; form < 3; form++) {
                struct route_params p = *own;

                p.size = SIZE_FIXED;
                p.n_core = p.n_exp;
                p.elect = (enum route_elect)elect;
                p.vote = (enum route_vote)vote;
                p.mask = form == 1 ? p.n_exp : p.top_k;
                p.warm = form == 1;
                p.is_truncated = form == 2;
                ret[n++] = p;
            }
    ret[n] = *own; /* dmoe, with all the votes */
    ret[n].size = SIZE_TOP_P;
    ret[n].core_p = 1;
    ret[n++].mask = own->top_k;
    ret[n] = *own; /* des-seq */
    ret[n].size = SIZE_UNION;
    ret[n++].warm = own->top_k;
    ret[n] = *own; /* topp, naee */
    ret[n].keep = KEEP_TAIL;
    ret[n++].tail = 0;
    return n;
}

Test(route, a_full_budget_is_vanilla_bit_for_bit)
{
    static struct scores x;
    static struct routed r, want;
    struct route_params own, list[64];
    float bias[MAX_EXP];

    FOR_EACH_BACKEND
    for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
        bool is_llada2 = seed % 3 == 0;
        size_t n;

        if (is_llada2) {
            make_llada2(seed, &x, &own, bias);
        } else {
            make_scores(seed, &x);
            own = vanilla_of(&x);
        }
        route_with(&x, &own, is_llada2 ? bias : NULL, &want);
        n = full_budgets(&own, list);
        for (size_t i = 0; i < n; i++) {
            if (is_llada2 && list[i].elect == ELECT_MASS && seed)
                continue; /* it takes the reference long */
            route_with(&x, &list[i], is_llada2 ? bias : NULL, &r);
            cr_assert_eq(memcmp(r.ids, want.ids, sizeof(r.ids)), 0, "%s seed %llu: policy %zu",
                         ops->name, (unsigned long long)seed, i);
            cr_assert_eq(memcmp(r.w, want.w, sizeof(r.w)), 0);
            cr_assert_eq(r.stats.n_unique, want.stats.n_unique);
            cr_assert_eq(r.stats.n_rerouted, 0);
            cr_assert_eq(r.stats.n_lost_top1, 0);
            cr_assert_eq(r.stats.kept_mass, 1);
        }
    }
}

Test(route, a_coreset_lies_inside_the_next_larger_one)
{
    static struct scores x;
    static struct routed r;

    FOR_EACH_BACKEND
    for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
        struct rng rng;

        rng_seed(&rng, seed);
        make_scores(seed, &x);
        for (int e = 0; e < x.n_exp; e++)
            popularity[e] = (double)rng_below(&rng, 5);
        for (int elect = ELECT_VOTES; elect <= ELECT_STATIC; elect++) {
            uint8_t before[MAX_EXP] = { 0 };
            int step = elect == ELECT_MASS ? 5 : 1;

            for (int m = 1; m <= x.n_exp; m += step) {
                struct route_params p = vote_of(&x, m);
                int n = 0;

                p.elect = (enum route_elect)elect;
                p.vote = (enum route_vote)(seed % 5);
                p.warm = seed % 4 == 3;
                route(&x, &p, &r);
                for (int e = 0; e < x.n_exp; e++) {
                    cr_assert(r.core[e] || !before[e], "%s seed %llu elect %d m %d expert %d",
                              ops->name, (unsigned long long)seed, elect, m, e);
                    n += r.core[e];
                }
                cr_assert(n == m || (p.warm && n > m));
                cr_assert_eq(r.stats.n_core, n);
                assert_inside(&x, &p, &r, seed);
                memcpy(before, r.core, sizeof(before));
            }
        }
    }
}

Test(route, a_greedy_maximum_keeps_at_least_what_votes_keep_of_one_expert)
{
    static struct scores x;
    static struct routed by_mass, by_votes;

    FOR_EACH_BACKEND
    for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
        struct route_params p;

        make_scores(seed, &x);
        p = vote_of(&x, 1);
        route(&x, &p, &by_votes);
        p.elect = ELECT_MASS;
        route(&x, &p, &by_mass);
        for (int round = 0; round < 1; round++) {
            double a = 0, b = 0;

            for (int t = 0; t < x.n_tok; t++) {
                a += (double)by_mass.w[t * x.top_k];
                b += (double)by_votes.w[t * x.top_k];
            }
            cr_assert_geq(a, b * (1 - 1e-12), "%s seed %llu", ops->name, (unsigned long long)seed);
        }
    }
}

Test(route, dmoe_takes_the_shortest_prefix_of_votes_beyond_its_share)
{
    static struct scores x;
    static struct routed r;

    FOR_EACH_BACKEND
    for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
        struct pair votes[MAX_EXP];
        struct route_params p;
        double total = 0, sum = 0;
        int n = 0, n_core = 0;

        make_scores(seed, &x);
        p = vote_of(&x, 0);
        p.size = SIZE_TOP_P;
        p.core_p = 0.05 + (double)(seed % 10) / 10;
        p.floor = (int)(seed % 4) * 3;
        route(&x, &p, &r);
        count_votes(&x, votes);
        for (int e = 0; e < x.n_exp; e++)
            total += votes[e].v;
        do
            sum += votes[n++].v;
        while (n < x.n_exp && (sum <= p.core_p * total || n < p.floor));
        for (int e = 0; e < x.n_exp; e++)
            n_core += r.core[e];
        cr_assert_eq(n_core, n, "%s seed %llu: %d, want %d", ops->name, (unsigned long long)seed,
                     n_core, n);
        for (int i = 0; i < n; i++)
            cr_assert(r.core[votes[i].id]);
    }
}

Test(route, ties_go_to_the_lower_id_in_votes_and_slots)
{
    static struct scores x;
    static struct routed r;

    x = (struct scores){ .n_tok = 3, .n_exp = 8, .top_k = 2 };
    for (int i = 0; i < 24; i++)
        x.s[i] = 0.125F;
    FOR_EACH_BACKEND
    {
        struct route_params p = vote_of(&x, 1);

        p.mask = 8;
        route(&x, &p, &r);
        cr_assert(r.core[0] && r.stats.n_core == 1);
        for (int t = 0; t < 3; t++)
            cr_assert(r.ids[t * 2] == 0 && r.ids[t * 2 + 1] == -1);
        p.n_core = 5;
        route(&x, &p, &r);
        for (int e = 0; e < 8; e++)
            cr_assert_eq(r.core[e], e < 5);
        cr_assert(r.ids[0] == 0 && r.ids[1] == 1);
    }
}

Test(route, a_coreset_smaller_than_top_k_is_all_that_a_token_runs)
{
    static struct scores x;
    static struct routed r;

    FOR_EACH_BACKEND
    for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
        make_scores(seed, &x);
        for (int m = 1; m < x.top_k; m++) {
            struct route_params p = vote_of(&x, m);

            route(&x, &p, &r);
            for (int t = 0; t < x.n_tok; t++)
                for (int i = 0; i < x.top_k; i++)
                    cr_assert_eq(r.ids[t * x.top_k + i] >= 0, i < m, "%s seed %llu", ops->name,
                                 (unsigned long long)seed);
            assert_inside(&x, &p, &r, seed);
        }
    }
}

/* Small budgets under a limit of groups: nothing leaks in, and with `widen` every slot that the
 * coreset can fill is filled. */
Test(route, no_expert_leaks_in_through_the_limit_of_groups)
{
    static struct scores x;
    static struct routed r;
    float bias[MAX_EXP];
    int n_dropped = 0;

    FOR_EACH_BACKEND
    for (uint64_t seed = 0; seed < 2; seed++) {
        for (int m = 1; m <= 40; m += m < 16 ? 1 : 8) {
            for (int form = 0; form < 12; form++) {
                struct route_params p;
                int n_empty = 0;

                make_llada2(seed, &x, &p, bias);
                p.size = SIZE_FIXED;
                p.n_core = m;
                p.mask = form % 2 ? 8 : 256;
                p.vote = form % 3 ? VOTE_PROB : VOTE_BIASED;
                p.is_mask_ungrouped = form % 4 < 2;
                p.is_guard_drop = form < 6;
                p.inside = (enum route_inside)(form % 3);
                route_with(&x, &p, bias, &r);
                assert_inside(&x, &p, &r, seed);
                for (int t = 0; t < x.n_tok; t++) {
                    double sum = 0;

                    for (int i = 0; i < 8; i++) {
                        n_empty += r.ids[t * 8 + i] < 0;
                        sum += (double)r.w[t * 8 + i];
                    }
                    cr_assert(sum == 0 || fabs(sum - 2.5) < 1e-5);
                }
                if (!p.is_guard_drop || p.inside == INSIDE_LIFTED)
                    cr_assert_eq(n_empty, m < 8 ? x.n_tok * (8 - m) : 0, "%s seed %llu m %d",
                                 ops->name, (unsigned long long)seed, m);
                else if (m >= 8)
                    n_dropped += n_empty;
            }
        }
    }
    cr_assert_gt(n_dropped, 0, "the guard had nothing to do");
}

Test(route, what_shares_a_call_changes_nothing_but_with_a_joint_coreset)
{
    static struct scores x;
    static struct routed alone;
    static int32_t ids[MAX_TOK * MAX_K], counts[3][MAX_EXP];
    static float w[MAX_TOK * MAX_K];
    int n_joint_differs = 0;

    FOR_EACH_BACKEND
    for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
        make_scores(seed * N_SHAPES, &x); /* softmax of noise */
        for (int elect = ELECT_VOTES; elect <= 2 * ELECT_STATIC + 1; elect++) {
            struct route_params p = vote_of(&x, 1 + x.n_exp / 3);
            const struct route_input in = { .scores = x.s, .popularity = popularity };
            struct route_segment segs[3];
            struct route_stats stats[3];
            int n = x.n_tok / 3, differs = 0;

            p.elect = (enum route_elect)(elect % (ELECT_STATIC + 1));
            p.is_joint = elect > ELECT_STATIC;
            for (int i = 0; i < 3; i++)
                segs[i] = (struct route_segment){ .row = i * n,
                                                  .n_tok = i < 2 ? n : x.n_tok - 2 * n,
                                                  .key = 7 + (uint64_t)i,
                                                  .stats = &stats[i],
                                                  .tokens_per_expert = counts[i] };
            cr_assert_eq(
                ops->route(k, &p, &in, segs, 3, &(struct route_output){ ids, w, p.top_k }, NULL),
                ST_OK);
            for (int i = 0; i < 3; i++) {
                struct route_segment one = segs[i];
                size_t at = (size_t)(segs[i].row * p.top_k);
                size_t bytes = (size_t)(segs[i].n_tok * p.top_k) * 4;

                one.stats = &alone.stats;
                one.tokens_per_expert = alone.counts;
                cr_assert_eq(ops->route(k, &p, &in, &one, 1,
                                        &(struct route_output){ alone.ids, alone.w, p.top_k },
                                        NULL),
                             ST_OK);
                differs += memcmp(alone.ids + at, ids + at, bytes) != 0 ||
                           memcmp(alone.w + at, w + at, bytes) != 0;
            }
            if (p.is_joint)
                n_joint_differs += differs;
            else
                cr_assert_eq(differs, 0, "%s seed %llu elect %d", ops->name,
                             (unsigned long long)seed, elect);
        }
    }
    cr_assert_gt(n_joint_differs, 0);
}

Test(route, chance_depends_on_its_key_alone_and_elects_all_alike)
{
    static struct scores x;
    static struct routed r;
    int n_times[64] = { 0 };

    x = (struct scores){ .n_tok = 1, .n_exp = 64, .top_k = 8 };
    for (int e = 0; e < 64; e++)
        x.s[e] = 1.0F / 64;
    FOR_EACH_BACKEND
    {
        struct route_params p = vote_of(&x, 16);
        const struct route_input in = { .scores = x.s };

        p.elect = ELECT_RANDOM;
        for (uint64_t key = 0; key < 4000; key++) {
            const struct route_segment seg = { .n_tok = 1,
                                               .key = key,
                                               .ret_core = r.core,
                                               .stats = &r.stats,
                                               .tokens_per_expert = r.counts };

            cr_assert_eq(
                ops->route(k, &p, &in, &seg, 1, &(struct route_output){ r.ids, r.w, 8 }, NULL),
                ST_OK);
            cr_assert_eq(r.stats.n_core, 16);
            for (int e = 0; e < 64; e++)
                n_times[e] += r.core[e];
        }
    }
    for (int e = 0; e < 64; e++) /* 2000 of 8000, give or take 5 standard deviations */
        cr_assert(abs(n_times[e] - 2000) < 195, "expert %d: %d times", e, n_times[e]);
}

Test(route, only_voters_elect_and_without_any_all_do)
{
    static struct scores x;
    static struct routed some, first, all;
    uint8_t is_voter[MAX_TOK] = { 1, 1, 1, 1 };

    FOR_EACH_BACKEND
    for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
        struct route_params p;
        struct route_input in = { .scores = x.s };
        struct route_segment seg = { .is_voter = is_voter,
                                     .ret_core = some.core,
                                     .stats = &some.stats,
                                     .tokens_per_expert = some.counts };
        int n_tok;

        make_scores(seed, &x);
        n_tok = x.n_tok;
        p = vote_of(&x, 1 + x.n_exp / 4);
        seg.n_tok = n_tok;
        is_voter[0] = 1;
        cr_assert_eq(ops->route(k, &p, &in, &seg, 1,
                                &(struct route_output){ some.ids, some.w, p.top_k }, NULL),
                     ST_OK);
        x.n_tok = n_tok < 4 ? n_tok : 4;
        route(&x, &p, &first);
        cr_assert_eq(memcmp(some.core, first.core, (size_t)x.n_exp), 0);
        x.n_tok = n_tok;
        route(&x, &p, &all);
        seg.is_voter = is_voter + 4; /* none */
        if (n_tok <= MAX_TOK - 4) {
            cr_assert_eq(ops->route(k, &p, &in, &seg, 1,
                                    &(struct route_output){ some.ids, some.w, p.top_k }, NULL),
                         ST_OK);
            cr_assert_eq(memcmp(some.core, all.core, (size_t)x.n_exp), 0);
        }
    }
}

Test(route, a_lagged_segment_runs_by_the_coreset_before)
{
    static struct scores x;
    static struct routed first, now, want;

    FOR_EACH_BACKEND
    for (uint64_t seed = 0; seed < N_SEEDS; seed++) {
        struct route_params p, plain;
        struct route_input in = { .scores = x.s };
        struct route_segment seg = { .ret_core = now.core,
                                     .core_before = first.core,
                                     .stats = &now.stats,
                                     .tokens_per_expert = now.counts };

        make_scores(seed, &x);
        p = plain = vote_of(&x, 1 + x.n_exp / 4);
        p.is_lagged = true;
        route(&x, &p, &first); /* nothing before: by its own */
        route(&x, &plain, &want);
        cr_assert_eq(memcmp(first.ids, want.ids, sizeof(want.ids)), 0);
        for (int i = 0; i < x.n_tok * x.n_exp / 2; i++) {
            float s = x.s[i];

            x.s[i] = x.s[x.n_tok * x.n_exp - 1 - i];
            x.s[x.n_tok * x.n_exp - 1 - i] = s;
        }
        seg.n_tok = x.n_tok;
        cr_assert_eq(ops->route(k, &p, &in, &seg, 1,
                                &(struct route_output){ now.ids, now.w, p.top_k }, NULL),
                     ST_OK);
        for (int i = 0; i < x.n_tok * p.top_k; i++)
            cr_assert(now.ids[i] < 0 || first.core[now.ids[i]]);
        route(&x, &plain, &want);
        cr_assert_eq(memcmp(now.core, want.core, (size_t)x.n_exp), 0);
    }
}

Test(route, tokens_drop_slots_by_their_own_scores)
{
    /* of 1: 0.5, 0.25, 0.125, 0.125 */
    static struct scores x = {
        .n_tok = 1, .n_exp = 4, .top_k = 3, .s = { .125F, .5F, .125F, .25F }
    };
    static struct routed r;
    static const struct {
        struct route_params p;
        int n;
    } cases[] = {
        { { .keep = KEEP_TOP_P, .keep_p = 0.5 }, 1 },
        { { .keep = KEEP_TOP_P, .keep_p = 0.51 }, 2 },
        { { .keep = KEEP_TOP_P, .keep_p = 0.75 }, 2 },
        { { .keep = KEEP_TOP_P, .keep_p = 0.999 }, 3 }, /* no more than top_k */
        { { .keep = KEEP_TOP_P, .keep_p = 0.85, .is_keep_p_of_top_k = true }, 2 }, /* of 0.875 */
        { { .keep = KEEP_TOP_P, .keep_p = 0.86, .is_keep_p_of_top_k = true }, 3 },
        { { .keep = KEEP_TAIL, .tail = 0.14 }, 3 }, /* the last is 0.125 of 0.875: 0.143 */
        { { .keep = KEEP_TAIL, .tail = 0.15 }, 2 },
        { { .keep = KEEP_TAIL, .tail = 0.43 }, 1 }, /* the last two: 0.429 */
        { { .keep = KEEP_TAIL, .tail = 1 }, 1 },
        { { .keep = KEEP_TAIL, .tail = 1, .protect = 1 }, 3 },
    };

    FOR_EACH_BACKEND
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct route_params p = cases[i].p;
        int n = 0;

        p.n_exp = 4;
        p.top_k = p.top_k_base = 3;
        p.scale = 1;
        route(&x, &p, &r);
        while (n < 3 && r.ids[n] >= 0)
            n++;
        cr_assert_eq(n, cases[i].n, "%s case %zu: %d", ops->name, i, n);
    }
}
