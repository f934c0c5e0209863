/*
 * cpu ops of the mixture of experts: router scores, routing, experts.
 *
 * The experts run in two loops. Tokens are first gathered by expert: a pair is one (token, slot)
 * with an expert, pairs are sorted by expert, then token, then slot.
 *
 *   1. unit = (active expert, FF_ROWS rows of gate and up): h = silu(gate x) * up x for all its
 *      pairs, kept packed as the input of down.
 *   2. unit = OUT_ROWS rows of d_model: for each active expert in ascending order, its down rows
 *      times h of its pairs, times the slot's weight, added to the tokens' outputs. The unit
 *      owns these outputs, so the sum needs neither a buffer nor an order among threads.
 *
 * Either loop reads each weight of an active expert once and no other expert at all.
 */
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"

/* Rows of a unit and pairs of a block inside it; INNER_MAX_PAD divides FF_ROWS. */
enum { FF_ROWS = 32, OUT_ROWS = 32, PAIR_BLOCK = 48 };

_Static_assert(FF_ROWS % (int)INNER_MAX_PAD == 0, "a unit writes whole packed runs");

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
    enum status st = cpu_matmul(k, x, w, n_tok, ret_s, err);

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

struct moe_job {
    const struct inner *inner;
    const struct experts *e;
    int n_tok, n_active, n_pairs;
    size_t x_padded, h_padded; /* floats of a packed row */

    /* In scratch. Pairs of active expert number i are first[i] .. first[i + 1] - 1. */
    int32_t *active;                /* (n_active) expert ids, ascending */
    int32_t *first;                 /* (n_active + 1) */
    int32_t *token;                 /* (n_pairs) */
    float *weight;                  /* (n_pairs) */
    float *packed;                  /* (n_tok, x_padded) */
    float *h;                       /* (n_pairs, h_padded) */
    const float **x_rows, **h_rows; /* (n_pairs) rows of packed and h */
    float *y;                       /* (n_tok, d_model), the result */
};

/* Rows [r, r + n_rows) of m times n packed rows x, into ret with stride FF_ROWS or OUT_ROWS. */
static void run_rows(const struct moe_job *j, const struct host_matrix *m, size_t r, int n_rows,
                     const float *const *x, int n, float *ret, size_t stride)
{
    j->inner->panel(host_row(m, (int64_t)r), m->dtype, (size_t)m->cols * dtype_size(m->dtype),
                    (size_t)m->cols, n_rows, x, n, ret, stride);
}

static void gate_up_unit(void *arg, int unit, int thread)
{
    const struct moe_job *j = arg;
    const struct experts *e = j->e;
    size_t n_blocks = ((size_t)e->d_ff + FF_ROWS - 1) / FF_ROWS;
    size_t i = (size_t)unit / n_blocks, r = (size_t)unit % n_blocks * FF_ROWS;
    size_t left = (size_t)e->d_ff - r;
    int id = j->active[i], n_rows = left < FF_ROWS ? (int)left : FF_ROWS;
    float g[PAIR_BLOCK * FF_ROWS], u[PAIR_BLOCK * FF_ROWS];

    (void)thread;
    for (int p = j->first[i]; p < j->first[i + 1]; p += PAIR_BLOCK) {
        int n = j->first[i + 1] - p < PAIR_BLOCK ? j->first[i + 1] - p : PAIR_BLOCK;

        run_rows(j, &e->gate[id], r, n_rows, j->x_rows + p, n, g, FF_ROWS);
        run_rows(j, &e->up[id], r, n_rows, j->x_rows + p, n, u, FF_ROWS);
        for (int q = 0; q < n; q++) {
            float *gq = g + q * FF_ROWS;

            j->inner->silu_mul(gq, u + q * FF_ROWS, (size_t)n_rows);
            j->inner->pack(gq, (size_t)n_rows, e->down[id].dtype,
                           j->h + (size_t)(p + q) * j->h_padded + r);
        }
    }
}

static void down_unit(void *arg, int unit, int thread)
{
    const struct moe_job *j = arg;
    size_t d_model = (size_t)j->e->d_model, r = (size_t)unit * OUT_ROWS, left = d_model - r;
    size_t n_rows = left < OUT_ROWS ? left : OUT_ROWS;
    float d[PAIR_BLOCK * OUT_ROWS];

    (void)thread;
    for (int t = 0; t < j->n_tok; t++)
        memset(j->y + (size_t)t * d_model + r, 0, n_rows * sizeof(float));
    for (int i = 0; i < j->n_active; i++) {
        const struct host_matrix *down = &j->e->down[j->active[i]];

        for (int p = j->first[i]; p < j->first[i + 1]; p += PAIR_BLOCK) {
            int n = j->first[i + 1] - p < PAIR_BLOCK ? j->first[i + 1] - p : PAIR_BLOCK;

            run_rows(j, down, r, (int)n_rows, j->h_rows + p, n, d, OUT_ROWS);
            for (int q = 0; q < n; q++)
                j->inner->axpy(j->y + (size_t)j->token[p + q] * d_model + r, j->weight[p + q],
                               d + q * OUT_ROWS, n_rows);
        }
    }
}

/* Place the parts of j in scratch, or add up their bytes if there is no base. */
static void place(struct moe_job *j, struct layout *l)
{
    size_t n_tok = (size_t)j->n_tok, n_pairs = (size_t)j->n_pairs, n_exp = (size_t)j->e->n_exp;

    j->active = layout_take(l, n_exp, sizeof(*j->active));
    j->first = layout_take(l, n_exp + 1, sizeof(*j->first));
    j->token = layout_take(l, n_pairs, sizeof(*j->token));
    j->weight = layout_take(l, n_pairs, sizeof(*j->weight));
    j->packed = layout_take(l, n_tok * j->x_padded, sizeof(*j->packed));
    j->h = layout_take(l, n_pairs * j->h_padded, sizeof(*j->h));
    j->x_rows = layout_take(l, n_pairs, sizeof(*j->x_rows));
    j->h_rows = layout_take(l, n_pairs, sizeof(*j->h_rows));
}

/* Sort the pairs by expert (a counting sort, so token and slot order stay). */
static void gather(struct moe_job *j, const int32_t *ids, const float *w, int top_k)
{
    int32_t next[KERNEL_MAX_EXPERTS] = { 0 };
    int total = j->n_tok * top_k, sum = 0;

    for (int i = 0; i < total; i++)
        if (ids[i] >= 0)
            next[ids[i]]++;
    j->n_active = 0;
    for (int e = 0; e < j->e->n_exp; e++) {
        int n = next[e];

        next[e] = sum;
        if (n) {
            j->active[j->n_active] = e;
            j->first[j->n_active++] = sum;
        }
        sum += n;
    }
    j->first[j->n_active] = sum;
    for (int i = 0; i < total; i++) {
        int p, t = i / top_k;

        if (ids[i] < 0)
            continue;
        p = next[ids[i]]++;
        j->token[p] = t;
        j->weight[p] = w[i];
        j->x_rows[p] = j->packed + (size_t)t * j->x_padded;
        j->h_rows[p] = j->h + (size_t)p * j->h_padded;
    }
}

enum status cpu_moe(struct kernels *k, const float *x, const struct experts *e, const int32_t *ids,
                    const float *w, int n_tok, int top_k, float *ret_y, struct error *err)
{
    struct cpu *c = (struct cpu *)k;
    size_t d_model = (size_t)e->d_model, d_ff = (size_t)e->d_ff;
    struct moe_job j = {
        .inner = c->inner,
        .e = e,
        .n_tok = n_tok,
        .n_pairs = n_tok * top_k,
        .x_padded = cpu_padded(c, d_model),
        .h_padded = cpu_padded(c, d_ff),
        .y = ret_y,
    };
    struct layout l = { 0 };
    enum status st;

    place(&j, &l);
    st = scratch_reserve(&c->scratch, l.used, err);
    if (st)
        return st;
    l = (struct layout){ c->scratch.data, 0 };
    place(&j, &l);
    gather(&j, ids, w, top_k);
    cpu_pack(c, x, n_tok, d_model, e->gate[0].dtype, j.packed);
    pool_run(c->pool, gate_up_unit, &j, j.n_active * (int)((d_ff + FF_ROWS - 1) / FF_ROWS));
    pool_run(c->pool, down_unit, &j, (int)((d_model + OUT_ROWS - 1) / OUT_ROWS));
    return ST_OK;
}
