/* cpu ops that choose experts: router scores, routing. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"

struct score_job {
    const struct inner *inner;
    float *s;
    size_t n_exp;
    enum router_score score;
};

static void score_unit(void *arg, int unit, int thread)
{
    const struct score_job *j = arg;
    float *s = j->s + (size_t)unit * j->n_exp;

    (void)thread;
    if (j->score == ROUTER_SOFTMAX)
        j->inner->softmax(s, j->n_exp);
    else
        j->inner->sigmoid(s, j->n_exp);
}

enum status cpu_router(struct kernels *k, const float *x, const struct weight *w, int n_tok,
                       enum router_score score, float *ret_s, struct error *err)
{
    struct cpu *c = (struct cpu *)k;
    struct score_job j = { c->inner, ret_s, (size_t)w->m.rows, score };
    enum status st = cpu_matmul_f32(k, x, w, n_tok, ret_s, err);

    if (st)
        return st;
    for (int t = 0; t < n_tok; t++) /* less work than waking a thread */
        score_unit(&j, t, 0);
    return ST_OK;
}

/* The n best experts of a token in best-first order, ties to the lower id; NaN and -inf left
 * out. Returns how many there are. */
static int best_experts(const float *s, int n_exp, int n, int32_t *ret)
{
    int count = 0;

    for (int32_t e = 0; e < n_exp; e++) {
        int i;

        if (!(s[e] > -INFINITY) || (count == n && !(s[e] > s[ret[n - 1]])))
            continue;
        i = count < n ? count++ : n - 1;
        for (; i > 0 && s[e] > s[ret[i - 1]]; i--) /* equal ones that came first stay first */
            ret[i] = ret[i - 1];
        ret[i] = e;
    }
    return count;
}

static void sort_ids(int32_t *ids, int n)
{
    for (int i = 1; i < n; i++) {
        int32_t id = ids[i];
        int j = i;

        for (; j > 0 && ids[j - 1] > id; j--)
            ids[j] = ids[j - 1];
        ids[j] = id;
    }
}

static bool contains(const int32_t *ids, int n, int32_t id)
{
    for (int i = 0; i < n; i++)
        if (ids[i] == id)
            return true;
    return false;
}

/* f64 sum of the scores of some experts, in the order given. */
static double mass(const float *s, const int32_t *ids, int n)
{
    double sum = 0;

    for (int i = 0; i < n; i++)
        sum += s[ids[i]];
    return sum;
}

static void route_token(const float *s, const struct route_params *p, int32_t *ret_ids,
                        float *ret_w)
{
    int n = best_experts(s, p->n_exp, p->top_k, ret_ids);
    double sum;

    sort_ids(ret_ids, n);
    sum = mass(s, ret_ids, n);
    for (int i = 0; i < n; i++) {
        double w = p->renorm ? s[ret_ids[i]] / (sum + 1e-20) : s[ret_ids[i]];

        ret_w[i] = (float)(w * p->scale);
    }
    for (int i = n; i < p->top_k; i++) {
        ret_ids[i] = -1;
        ret_w[i] = 0;
    }
}

static void count_token(const float *s, const struct route_params *p, const int32_t *ids,
                        struct route_stats *stats, int32_t *tokens_per_expert)
{
    int32_t natural[KERNEL_MAX_EXPERTS];
    int n_natural = best_experts(s, p->n_exp, p->top_k_base, natural), n = 0;
    int32_t top1 = n_natural ? natural[0] : -1;
    double natural_mass;

    sort_ids(natural, n_natural);
    natural_mass = mass(s, natural, n_natural);
    for (; n < p->top_k && ids[n] >= 0; n++) {
        stats->n_rerouted += !contains(natural, n_natural, ids[n]);
        stats->n_unique += tokens_per_expert[ids[n]]++ == 0;
    }
    stats->n_lost_top1 += top1 < 0 || !contains(ids, n, top1);
    stats->kept_mass += natural_mass > 0 ? mass(s, ids, n) / natural_mass : 1;
}

enum status cpu_route(struct kernels *k, const float *scores, const struct route_params *p,
                      const struct segment *segs, int n_segs, int n_tok, int32_t *ret_ids,
                      float *ret_w, struct route_stats *ret_stats, int32_t *ret_tokens_per_expert,
                      struct error *err)
{
    size_t n_exp = (size_t)p->n_exp, top_k = (size_t)p->top_k;

    (void)k;
    (void)err;
    for (size_t t = 0; t < (size_t)n_tok; t++)
        route_token(scores + t * n_exp, p, ret_ids + t * top_k, ret_w + t * top_k);
    for (int i = 0; i < n_segs; i++) {
        const struct segment *seg = &segs[i];
        int32_t *counts = ret_tokens_per_expert + (size_t)i * n_exp;

        memset(counts, 0, n_exp * sizeof(*counts));
        ret_stats[i] = (struct route_stats){ 0 };
        for (size_t t = (size_t)seg->row; t < (size_t)(seg->row + seg->n_tok); t++)
            count_token(scores + t * n_exp, p, ret_ids + t * top_k, &ret_stats[i], counts);
        if (seg->n_tok)
            ret_stats[i].kept_mass /= seg->n_tok;
    }
    return ST_OK;
}
