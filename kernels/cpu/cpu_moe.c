/*
 * cpu op: the experts.
 *
 * They run in two loops. Tokens are first gathered by expert: a pair is one (token, slot) with an
 * expert, pairs are sorted by expert, then token, then slot. A shared expert has a pair with every
 * token; its number is above all routed ones, so it comes last.
 *
 *   1. unit = (active expert, FF_ROWS rows of gate and up): h = silu(gate x) * up x for all its
 *      pairs, kept in the form that down wants.
 *   2. unit = OUT_ROWS rows of d_model: for each active expert in ascending order, its down rows
 *      times h of its pairs, times the slot's weight, added to the tokens' outputs. The unit
 *      owns these outputs, so the sum needs neither a buffer nor an order among threads.
 *
 * Either loop reads each weight of an active expert once and no other expert at all. Very many
 * tokens come in parts, so that working space has a bound.
 *
 * Here: gathering, and the loops over experts as they lie. Those over packed ones are in
 * cpu_moe_packed.c.
 */
#include "kernels/cpu/cpu_moe.h"

#include <string.h>

/* Rows of a unit and pairs of a block inside it; INNER_MAX_PAD divides FF_ROWS. */
enum { FF_ROWS = 32, OUT_ROWS = 32, PAIR_BLOCK = 48 };

/* Pairs of a part: enough for every expert of 64 to be busy with arithmetic, not memory. */
enum { MAX_PAIRS = 4096 };

_Static_assert(FF_ROWS % (int)INNER_MAX_PAD == 0, "a unit writes whole packed runs");

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
            j->inner->pack(gq, (size_t)n_rows, j->h + (size_t)(p + q) * j->h_padded + r);
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
    size_t n_tok = (size_t)j->n_tok, n_pairs = (size_t)j->n_pairs;
    size_t n_exp = (size_t)j->e->n_exp + (size_t)j->e->n_shared;

    j->active = layout_take(l, n_exp, sizeof(*j->active));
    j->first = layout_take(l, n_exp + 1, sizeof(*j->first));
    j->token = layout_take(l, n_pairs, sizeof(*j->token));
    j->weight = layout_take(l, n_pairs, sizeof(*j->weight));
    if (j->e->packed.data) {
        j->prepared_x = layout_take(l, n_pairs, j->x_bytes);
        j->prepared_h = layout_take(l, n_pairs, j->h_bytes);
        return;
    }
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
    for (int e = j->e->n_exp; e < j->e->n_exp + j->e->n_shared; e++) {
        j->active[j->n_active] = e;
        j->first[j->n_active++] = sum;
        for (int t = 0; t < j->n_tok; t++, sum++) {
            j->token[sum] = t;
            j->weight[sum] = 1;
        }
    }
    j->first[j->n_active] = sum;
    for (int i = 0; i < total; i++) {
        int p, t = i / top_k;

        if (ids[i] < 0)
            continue;
        p = next[ids[i]]++;
        j->token[p] = t;
        j->weight[p] = w[i];
    }
}

/* y of all tokens by the loops of this file. */
static void run_rows_of_all(struct moe_job *j)
{
    int n_ff = (int)((j->e->d_ff + FF_ROWS - 1) / FF_ROWS);
    int n_out = (int)((j->e->d_model + OUT_ROWS - 1) / OUT_ROWS);

    for (int p = 0; p < j->first[j->n_active]; p++) {
        j->x_rows[p] = j->packed + (size_t)j->token[p] * j->x_padded;
        j->h_rows[p] = j->h + (size_t)p * j->h_padded;
    }
    cpu_pack(j->cpu, j->x, j->n_tok, (size_t)j->e->d_model, j->packed);
    pool_run(j->cpu->pool, gate_up_unit, j, j->n_active * n_ff);
    pool_run(j->cpu->pool, down_unit, j, n_out);
}

/* The first n_tok tokens of a call; scratch is large enough. */
static void run_part(struct moe_job *j, const int32_t *ids, const float *w, int top_k)
{
    struct layout l = { j->cpu->scratch.data, 0 };

    place(j, &l);
    gather(j, ids, w, top_k);
    if (j->e->packed.data)
        moe_run_packed(j);
    else
        run_rows_of_all(j);
}

enum status cpu_moe(struct kernels *k, const float *x, const struct experts *e, const int32_t *ids,
                    const float *w, int n_tok, int top_k, float *ret_y, struct error *err)
{
    struct cpu *c = (struct cpu *)k;
    size_t d_model = (size_t)e->d_model, d_ff = (size_t)e->d_ff;
    int each = top_k + e->n_shared, most = MAX_PAIRS / (each ? each : 1);
    int part = n_tok < most ? n_tok : most;
    struct moe_job j = {
        .cpu = c,
        .inner = c->inner,
        .e = e,
        .n_tok = part,
        .n_pairs = part * each,
        .x_padded = cpu_padded(c, d_model),
        .h_padded = cpu_padded(c, d_ff),
        .x_bytes = cpu_prepared(c, d_model),
        .h_bytes = cpu_prepared(c, d_ff),
    };
    struct layout l = { 0 };
    enum status st;

    place(&j, &l);
    st = scratch_reserve(&c->scratch, l.used, err);
    for (int t = 0; t < n_tok && !st; t += part) {
        j.n_tok = n_tok - t < part ? n_tok - t : part;
        j.n_pairs = j.n_tok * each;
        j.x = x + (size_t)t * d_model;
        j.y = ret_y + (size_t)t * d_model;
        run_part(&j, top_k ? ids + (size_t)t * (size_t)top_k : NULL,
                 top_k ? w + (size_t)t * (size_t)top_k : NULL, top_k);
    }
    return st;
}
