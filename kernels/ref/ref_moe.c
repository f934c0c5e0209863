/* Reference ops of the mixture of experts: router scores, routing, experts. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/dtype.h"
#include "kernels/ref/ref.h"

static void softmax(const double *z, size_t n, float *ret)
{
    double max = -INFINITY, sum = 0;

    for (size_t i = 0; i < n; i++)
        if (z[i] > max)
            max = z[i];
    for (size_t i = 0; i < n; i++)
        sum += exp(z[i] - max);
    for (size_t i = 0; i < n; i++)
        ret[i] = (float)(exp(z[i] - max) / sum);
}

enum status ref_router(struct kernels *k, const float *x, const struct weight *w, int n_tok,
                       enum router_score score, float *ret_s, struct error *err)
{
    size_t n_exp = (size_t)w->m.rows, d = (size_t)w->m.cols;
    double z[KERNEL_MAX_EXPERTS];

    (void)k;
    (void)err;
    for (int t = 0; t < n_tok; t++, x += d, ret_s += n_exp) {
        for (size_t e = 0; e < n_exp; e++) {
            const void *row = host_row(&w->m, (int64_t)e);

            z[e] = 0;
            for (size_t i = 0; i < d; i++)
                z[e] += (double)x[i] * dtype_get(row, w->m.dtype, i);
        }
        if (score == ROUTER_SOFTMAX) {
            softmax(z, n_exp, ret_s);
        } else {
            for (size_t e = 0; e < n_exp; e++)
                ret_s[e] = (float)(1 / (1 + exp(-z[e])));
        }
    }
    return ST_OK;
}

/* Place of each expert among the scores of a token, from 0: larger first, ties to the lower id.
 * NaN and -inf can never be chosen; they get n_exp. */
static void rank_experts(const float *s, int n_exp, int *ret_rank)
{
    for (int e = 0; e < n_exp; e++) {
        ret_rank[e] = 0;
        for (int f = 0; f < n_exp; f++)
            ret_rank[e] += s[f] > s[e] || (s[f] == s[e] && f < e);
        if (!(s[e] > -INFINITY))
            ret_rank[e] = n_exp;
    }
}

/* Choose for one token; the slots it cannot fill get id -1 and weight 0. */
static void choose(const float *s, const int *rank, const struct route_params *p, int32_t *ret_ids,
                   float *ret_w)
{
    double sum = 0;
    int n = 0;

    for (int e = 0; e < p->n_exp; e++) {
        if (rank[e] < p->top_k) {
            ret_ids[n++] = e;
            sum += s[e];
        }
    }
    for (int i = 0; i < p->top_k; i++) {
        if (i < n) {
            /* 1e-20 as LLaDA2's own code has it: all scores 0 give weights 0 */
            double w = p->renorm ? s[ret_ids[i]] / (sum + 1e-20) : s[ret_ids[i]];

            ret_w[i] = (float)(w * p->scale);
        } else {
            ret_ids[i] = -1;
            ret_w[i] = 0;
        }
    }
}

/* Add one token's part to the statistics; kept_mass is a sum here. */
static void count(const float *s, const int *rank, const struct route_params *p, const int32_t *ids,
                  struct route_stats *stats, int32_t *tokens_per_expert)
{
    double natural = 0, kept = 0;
    bool has_top1 = false;

    for (int e = 0; e < p->n_exp; e++)
        if (rank[e] < p->top_k_base)
            natural += s[e];
    for (int i = 0; i < p->top_k && ids[i] >= 0; i++) {
        int rank_i = rank[ids[i]];

        kept += s[ids[i]];
        stats->n_rerouted += rank_i >= p->top_k_base;
        has_top1 |= rank_i == 0;
        stats->n_unique += tokens_per_expert[ids[i]]++ == 0;
    }
    stats->n_lost_top1 += !has_top1;
    stats->kept_mass += natural > 0 ? kept / natural : 1;
}

enum status ref_route(struct kernels *k, const float *scores, const struct route_params *p,
                      const struct segment *segs, int n_segs, int n_tok, int32_t *ret_ids,
                      float *ret_w, struct route_stats *ret_stats, int32_t *ret_tokens_per_expert,
                      struct error *err)
{
    size_t n_exp = (size_t)p->n_exp, top_k = (size_t)p->top_k;
    int rank[KERNEL_MAX_EXPERTS];

    (void)k;
    (void)err;
    for (size_t t = 0; t < (size_t)n_tok; t++) {
        rank_experts(scores + t * n_exp, p->n_exp, rank);
        choose(scores + t * n_exp, rank, p, ret_ids + t * top_k, ret_w + t * top_k);
    }
    for (int i = 0; i < n_segs; i++) {
        const struct segment *seg = &segs[i];
        int32_t *counts = ret_tokens_per_expert + (size_t)i * n_exp;

        memset(counts, 0, n_exp * sizeof(*counts));
        ret_stats[i] = (struct route_stats){ 0 };
        for (size_t t = (size_t)seg->row; t < (size_t)(seg->row + seg->n_tok); t++) {
            rank_experts(scores + t * n_exp, p->n_exp, rank);
            count(scores + t * n_exp, rank, p, ret_ids + t * top_k, &ret_stats[i], counts);
        }
        if (seg->n_tok)
            ret_stats[i].kept_mass /= seg->n_tok;
    }
    return ST_OK;
}

static double dot(const double *x, const struct host_matrix *m, int64_t row)
{
    const void *w = host_row(m, row);
    double sum = 0;

    for (size_t i = 0; i < (size_t)m->cols; i++)
        sum += x[i] * dtype_get(w, m->dtype, i);
    return sum;
}

/* ret_y += w * down(silu(gate x) * up x); h has room for d_ff. */
static void run_expert(const struct experts *e, int id, double w, const double *x, double *h,
                       double *ret_y)
{
    for (int64_t f = 0; f < e->d_ff; f++) {
        double g = dot(x, &e->gate[id], f), u = dot(x, &e->up[id], f);

        h[f] = g / (1 + exp(-g)) * u;
    }
    for (int64_t o = 0; o < e->d_model; o++)
        ret_y[o] += w * dot(h, &e->down[id], o);
}

enum status ref_moe(struct kernels *k, const float *x, const struct experts *e, const int32_t *ids,
                    const float *w, int n_tok, int top_k, float *ret_y, struct error *err)
{
    struct ref *r = (struct ref *)k;
    size_t d_model = (size_t)e->d_model, d_ff = (size_t)e->d_ff;
    double *x64, *h, *y;
    enum status st = scratch_reserve(&r->scratch, (2 * d_model + d_ff) * sizeof(double), err);

    if (st)
        return st;
    x64 = r->scratch.data;
    y = x64 + d_model;
    h = y + d_model;
    for (int t = 0; t < n_tok; t++, x += d_model, ret_y += d_model, ids += top_k, w += top_k) {
        for (size_t i = 0; i < d_model; i++) {
            x64[i] = x[i];
            y[i] = 0;
        }
        for (int id = 0; id < e->n_exp; id++) /* ascending expert id, then slot */
            for (int i = 0; i < top_k; i++)
                if (ids[i] == id)
                    run_expert(e, id, w[i], x64, h, y);
        for (size_t i = 0; i < d_model; i++)
            ret_y[i] = (float)y[i];
    }
    return ST_OK;
}
