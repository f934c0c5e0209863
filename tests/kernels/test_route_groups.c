/*
 * Routing as LLaDA2.x has it: a bias for the choice alone, groups, weights that are divided by
 * their sum and scaled. By hand, and against the rule as the reference class states it, worked out
 * here by sorting. On every backend in host memory.
 */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "kernels/kernels.h"

enum { MAX_TOK = 33, MAX_EXP = 256, MAX_K = 8 };

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

struct routed {
    int32_t ids[MAX_TOK * MAX_K], counts[MAX_EXP];
    float w[MAX_TOK * MAX_K];
    struct route_stats stats;
};

static struct route_params params_of(int n_exp, int n_group, int topk_group, int top_k)
{
    return (struct route_params){ .n_exp = n_exp,
                                  .top_k = top_k,
                                  .top_k_base = top_k,
                                  .renorm = true,
                                  .scale = 2.5F,
                                  .n_group = n_group,
                                  .topk_group = topk_group };
}

static void route(const struct route_params *p, const float *scores, const float *bias, int n_tok,
                  struct routed *ret)
{
    const struct host_matrix m = { bias, DT_F32, 1, p->n_exp };
    const struct route_segment seg = { .n_tok = n_tok,
                                       .stats = &ret->stats,
                                       .tokens_per_expert = ret->counts };
    struct weight *w = NULL;

    memset(ret, 0, sizeof(*ret));
    cr_assert_eq(ops->weight_load(k, &m, &w, NULL), ST_OK);
    cr_assert_eq(ops->route(k, p, &(struct route_input){ .scores = scores, .bias = w }, &seg, 1,
                            &(struct route_output){ ret->ids, ret->w, p->top_k }, NULL),
                 ST_OK);
}

/* ---- by hand: 12 experts in 3 groups of 4, of which 2 are kept, 3 a token -------------------- */

struct by_hand {
    const char *what;
    float scores[12], bias[12];
    int32_t ids[3];
};

static const struct by_hand cases[] = {
    { "the best expert's group is not kept, as its second is weak",
      { 0.9F, 0, 0, 0, 0.5F, 0.5F, 0, 0, 0.6F, 0.4F, 0, 0 },
      { 0 },
      { 4, 5, 8 } },
    { "two values count of a group, and no third",
      { 0.5F, 0.4F, 0, 0, 0.4F, 0.4F, 0.4F, 0.4F, 0.6F, 0.6F, 0, 0 },
      { 0 },
      { 0, 8, 9 } },
    { "groups that are equal: the lower one",
      { 0.3F, 0.3F, 0.1F, 0, 0.3F, 0.3F, 0.2F, 0, 0.3F, 0.3F, 0.25F, 0 },
      { 0 },
      { 0, 1, 4 } },
    { "experts that are equal: the lower ones",
      { 0.2F, 0.2F, 0.2F, 0.2F, 0.1F, 0.1F, 0.1F, 0.1F, 0, 0, 0, 0 },
      { 0 },
      { 0, 1, 2 } },
    { "the bias chooses groups and experts",
      { 0.9F, 0.9F, 0.9F, 0.9F, 0.1F, 0.1F, 0.1F, 0.1F, 0.2F, 0.2F, 0.2F, 0.2F },
      { 0, 0, 0, 0, 1, 1, 0, 0, 0, 2, 1, 0 },
      { 4, 9, 10 } },
    { "below 0 none of the groups left out comes in",
      { 0.5F, 0.5F, 0.5F, 0.5F, 0.1F, 0.1F, 0.1F, 0.1F, 0.4F, 0.4F, 0.4F, 0.4F },
      { -9, -9, -9, -9, -9, -9, -9, -9, -9, -9, -9, -9 },
      { 0, 1, 2 } },
    { "below 0, too, where the groups kept have but one good expert each",
      { 0.5F, 0.5F, 0.5F, 0.5F, 0.5F, 0.5F, 0.5F, 0.5F, 0.5F, 0.5F, 0.5F, 0.5F },
      { -2, -3, -3, -3, -4, -4, -4, -4, -1, -9, -5, -7 },
      { 0, 1, 8 } },
    { "a score of 0 is chosen where the bias says so",
      { 0, 0, 0, 0.9F, 0.1F, 0.1F, 0, 0, 0, 0, 0, 0 },
      { 5, 4, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0 },
      { 0, 1, 2 } },
    { "what is not a number counts nothing, and with one number a group is none",
      { NAN, NAN, NAN, 0.9F, 0.1F, 0.1F, 0, 0, 0.2F, 0.3F, NAN, 0 },
      { 0 },
      { 4, 8, 9 } },
};

Test(route_groups, experts_are_chosen_by_score_and_bias_in_the_best_groups)
{
    static struct routed r;

    FOR_EACH_BACKEND
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct route_params p = params_of(12, 3, 2, 3);
        const float *s = cases[i].scores;
        double sum = 0;

        route(&p, s, cases[i].bias, 1, &r);
        for (int j = 0; j < 3; j++) {
            cr_expect_eq(r.ids[j], cases[i].ids[j], "%s: %s: slot %d: %d", ops->name, cases[i].what,
                         j, r.ids[j]);
            sum += (double)s[cases[i].ids[j]];
        }
        for (int j = 0; j < 3 && sum > 0; j++) /* of the score, without the bias */
            cr_expect_float_eq(r.w[j], 2.5 * (double)s[cases[i].ids[j]] / sum, 1e-6,
                               "%s: %s: weight %d", ops->name, cases[i].what, j);
        for (int j = 0; j < 3 && sum == 0; j++)
            cr_expect_eq(r.w[j], 0, "%s: %s", ops->name, cases[i].what);
    }
}

/* ---- the rule as the reference class states it ----------------------------------------------- */

struct key {
    double v;
    int id;
};

static int by_key(const void *a, const void *b)
{
    const struct key *x = a, *y = b;

    return x->v != y->v ? (x->v < y->v ? 1 : -1) : x->id - y->id;
}

static int by_id(const void *a, const void *b)
{
    return *(const int32_t *)a - *(const int32_t *)b;
}

/* Keys of the groups left out are -inf, what is left is sorted. */
static void expected(const struct route_params *p, const float *s, const float *bias, int32_t *ids)
{
    int size = p->n_exp / p->n_group;
    struct key keys[MAX_EXP], groups[MAX_EXP], in[MAX_EXP];

    for (int g = 0; g < p->n_group; g++) {
        for (int i = 0; i < size; i++) {
            keys[g * size + i] = in[i] =
                (struct key){ (double)(s[g * size + i] + bias[g * size + i]), g * size + i };
        }
        qsort(in, (size_t)size, sizeof(*in), by_key);
        groups[g] = (struct key){ in[0].v + in[1].v, g };
    }
    qsort(groups, (size_t)p->n_group, sizeof(*groups), by_key);
    for (int g = p->topk_group; g < p->n_group; g++)
        for (int i = 0; i < size; i++)
            keys[groups[g].id * size + i].v = -INFINITY;
    qsort(keys, (size_t)p->n_exp, sizeof(*keys), by_key);
    for (int i = 0; i < p->top_k; i++)
        ids[i] = keys[i].id;
    qsort(ids, (size_t)p->top_k, sizeof(*ids), by_id);
}

/* Sigmoids of noise; few distinct ones, in eighths, so that sums are exact; the bias about 0, or
 * far below, or nothing. */
static void make_scores(struct rng *r, int form, const struct route_params *p, int n_tok,
                        float *scores, float *bias)
{
    for (int i = 0; i < n_tok * p->n_exp; i++)
        scores[i] =
            form % 2 ? (float)rng_below(r, 9) / 8 : (float)(1 / (1 + exp(-rng_normal(r) * 2)));
    for (int e = 0; e < p->n_exp; e++) {
        bias[e] = form % 2 ? (float)rng_below(r, 5) / 8 : (float)rng_normal(r) * 0.1F;
        if (form % 3 == 1)
            bias[e] -= 2;
        if (form % 3 == 2)
            bias[e] = 0;
    }
}

Test(route_groups, routes_are_those_of_the_rule_and_weights_sum_to_the_scale)
{
    static const int shapes[][4] = { { 256, 8, 4, 8 }, { 16, 4, 2, 4 },  { 12, 2, 1, 3 },
                                     { 64, 8, 8, 8 },  { 64, 16, 2, 6 }, { 32, 2, 2, 1 } };
    static float scores[MAX_TOK * MAX_EXP], bias[MAX_EXP];
    static struct routed r;

    FOR_EACH_BACKEND
    for (int i = 0; i < 60; i++) {
        const int *shape = shapes[i % 6];
        const struct route_params p = params_of(shape[0], shape[1], shape[2], shape[3]);
        int n_tok = i % 2 ? MAX_TOK : 5, n_unique = 0;
        struct rng rng;

        rng_seed(&rng, (uint64_t)i);
        make_scores(&rng, i / 6, &p, n_tok, scores, bias);
        route(&p, scores, bias, n_tok, &r);
        for (int t = 0; t < n_tok; t++) {
            const int32_t *ids = r.ids + t * p.top_k;
            int32_t want[MAX_K];
            double sum = 0, mass = 0;

            expected(&p, scores + t * p.n_exp, bias, want);
            for (int j = 0; j < p.top_k; j++) {
                cr_assert_eq(ids[j], want[j], "%s case %d token %d slot %d: %d, not %d", ops->name,
                             i, t, j, ids[j], want[j]);
                sum += (double)r.w[t * p.top_k + j];
                mass += (double)scores[t * p.n_exp + ids[j]];
            }
            cr_assert(mass == 0 ? sum == 0 : fabs(sum - 2.5) < 1e-6, "%s case %d token %d: %g",
                      ops->name, i, t, sum);
        }
        for (int e = 0; e < p.n_exp; e++)
            n_unique += r.counts[e] > 0;
        cr_assert(r.stats.n_unique == n_unique && r.stats.n_natural == n_unique);
        cr_assert(r.stats.n_rerouted == 0 && r.stats.n_lost_top1 == 0);
    }
}
