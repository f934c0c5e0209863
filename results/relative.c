/* What a candidate keeps and saves: pairs from the store, and estimates from pairs. */
#include "results/relative.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "results/compare_impl.h"
#include "results/stats.h"

enum {
    FEW_CHANGES = 10, /* as in compare.c */
    N_COSTS = 8       /* of a model in a unit: relative_cost of baseline and candidate */
};

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory for what is kept and saved");
}

/* An answer and what it belongs to. */
struct member {
    const struct relative_answer *x;
    char *item;  /* equal: answers to one item, or its parent */
    size_t part; /* task of a model */
};

struct sample_of {
    struct member *members; /* (n) those of an item together */
    size_t n, n_parts, n_models;
};

static int by_item(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    int r = strcmp(x->item, y->item);

    return r ? r : (x->part > y->part) - (x->part < y->part);
}

static bool is_same_part(const struct relative_answer *a, const struct relative_answer *b)
{
    return a->model == b->model && strcmp(a->task, b->task) == 0;
}

static enum status group(const struct relative_answer *x, size_t n, struct sample_of *ret,
                         struct error *err)
{
    const struct relative_answer **firsts = calloc(n, sizeof(*firsts)); /* (n_parts) */
    struct buf name = { 0 };
    enum status st = ST_OK;

    *ret = (struct sample_of){ .members = calloc(n, sizeof(*ret->members)), .n = n };
    if (!firsts || !ret->members)
        st = no_memory(err);
    for (size_t i = 0; i < n && !st; i++) {
        size_t part = 0;

        while (part < ret->n_parts && !is_same_part(firsts[part], &x[i]))
            part++;
        if (part == ret->n_parts)
            firsts[ret->n_parts++] = &x[i];
        if (x[i].model >= ret->n_models)
            ret->n_models = x[i].model + 1;
        buf_clear(&name);
        answer_put_cluster(&name,
                           &(struct answer_row){ .task = x[i].task, .task_id = x[i].task_id });
        ret->members[i] = (struct member){ &x[i], NULL, part };
        if (buf_ok(&name))
            ret->members[i].item = strdup(buf_str(&name));
        if (!ret->members[i].item)
            st = no_memory(err);
    }
    if (!st)
        qsort(ret->members, n, sizeof(*ret->members), by_item);
    buf_release(&name);
    free(firsts);
    return st;
}

static void ungroup(struct sample_of *s)
{
    for (size_t i = 0; s->members && i < s->n; i++)
        free(s->members[i].item);
    free(s->members);
}

/* ---- accuracy --------------------------------------------------------------------------- */

static void count(const struct sample_of *s, struct relative *r)
{
    for (size_t i = 0; i < s->n; i++) {
        bool x = s->members[i].x->is_base_right, y = s->members[i].x->is_cand_right;

        r->a += x && y;
        r->b += x && !y;
        r->c += !x && y;
        r->d += !x && !y;
    }
    r->n = (int64_t)s->n;
}

static enum status bound_kept(const struct sample_of *s, double alpha, struct relative *r,
                              struct error *err)
{
    struct stats_value *v = calloc(s->n, sizeof(*v));
    double z = stats_normal_upper_quantile(alpha / 2), n, a, b, c;
    struct stats_clustered m;
    enum status st;

    if (!v)
        return no_memory(err);
    for (size_t i = 0; i < s->n; i++) {
        const struct member *x = &s->members[i];
        bool is_new = !i || strcmp(x->item, s->members[i - 1].item) != 0;

        v[i] = (struct stats_value){ (double)x->x->is_base_right - x->x->is_cand_right,
                                     (int32_t)x->part, is_new ? (int64_t)i : v[i - 1].cluster };
    }
    st = stats_clustered_mean(v, s->n, s->n_parts, &m, err);
    free(v);
    if (st)
        return st;
    r->deff = r->b + r->c < FEW_CHANGES ? m.deff_max : fmax(1, m.deff);
    n = (double)r->n / r->deff;
    a = (double)r->a / r->deff;
    b = (double)r->b / r->deff;
    c = (double)r->c / r->deff;
    r->kept = r->a + r->b ? (a + c) / (a + b) : (double)NAN;
    r->kept_low = stats_ratio_bound(a, b, c, n, z);
    r->kept_high = stats_ratio_bound(a, b, c, n, -z);
    return ST_OK;
}

/* ---- bootstrap -------------------------------------------------------------------------- */

enum { S_ACCURACY, S_SAVED, S_SAVED_BLOCK, N_S };

/* Sums of a unit: baseline's and candidate's right answers of each part, then the costs of each
 * model. */
static void statistics(const void *arg, const double *sums, double *ret)
{
    const struct sample_of *s = arg;
    const double *k = sums + 2 * s->n_parts;
    double all = 0, block = 0;

    stats_relative_accuracy(&s->n_parts, sums, &ret[S_ACCURACY]);
    for (size_t m = 0; m < s->n_models; m++, k += N_COSTS) {
        all += (k[4] / k[5]) / (k[0] / k[1]); /* 0 / 0 of what was not measured */
        block += (k[6] / k[7]) / (k[2] / k[3]);
    }
    ret[S_SAVED] = 1 - all / (double)s->n_models;
    ret[S_SAVED_BLOCK] = 1 - block / (double)s->n_models;
    for (int i = S_SAVED; i < N_S; i++)
        if (!isfinite(ret[i]))
            ret[i] = NAN;
}

static void add_member(const struct sample_of *s, const struct member *m, double *row)
{
    const struct relative_cost *costs[2] = { &m->x->base, &m->x->cand };

    row[2 * m->part] += m->x->is_base_right;
    row[2 * m->part + 1] += m->x->is_cand_right;
    row += 2 * s->n_parts + N_COSTS * m->x->model;
    for (int i = 0; i < 2; i++, row += N_COSTS / 2) {
        row[0] += costs[i]->unique;
        row[1] += costs[i]->layers;
        row[2] += costs[i]->block_unique;
        row[3] += costs[i]->block_layers;
    }
}

/* Units are items; a stratum holds those that the same parts have. Beyond 64 parts the last ones
 * share a bit. */
struct unit {
    uint64_t parts;
    size_t first, end; /* members */
};

static int by_parts(const void *a, const void *b)
{
    const struct unit *x = a, *y = b;

    if (x->parts != y->parts)
        return x->parts < y->parts ? -1 : 1;
    return (x->first > y->first) - (x->first < y->first);
}

static size_t make_units(const struct sample_of *s, struct unit *units)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n; i++) {
        const struct member *m = &s->members[i];

        if (!n || strcmp(m->item, s->members[i - 1].item) != 0)
            units[n++].first = i;
        units[n - 1].end = i + 1;
        units[n - 1].parts |= (uint64_t)1 << (m->part < 64 ? m->part : 63);
    }
    qsort(units, n, sizeof(*units), by_parts);
    return n;
}

static enum status draw(const struct sample_of *s, double alpha, int64_t n_draws, uint64_t seed,
                        struct relative *r, struct error *err)
{
    size_t n_values = 2 * s->n_parts + N_COSTS * s->n_models, bytes = 0;
    struct unit *units = calloc(s->n, sizeof(*units));
    size_t *ends = calloc(s->n, sizeof(*ends)), n_units;
    double *values = size_mul(s->n, n_values, &bytes) ? calloc(bytes, sizeof(*values)) : NULL;
    double *sums = calloc(n_values, sizeof(*sums)), mean[N_S], low[N_S], high[N_S];
    struct stats_bootstrap b = { .values = values,
                                 .n_values = n_values,
                                 .stratum_end = ends,
                                 .n_stats = N_S,
                                 .fn = statistics,
                                 .arg = s,
                                 .n_draws = n_draws,
                                 .seed = seed,
                                 .alpha = 0.05 };
    enum status st = units && ends && values && sums ? ST_OK : no_memory(err);

    if (st)
        goto out;
    n_units = make_units(s, units);
    for (size_t u = 0; u < n_units; u++) {
        if (u && units[u].parts != units[u - 1].parts)
            ends[b.n_strata++] = u;
        for (size_t i = units[u].first; i < units[u].end; i++) {
            add_member(s, &s->members[i], values + u * n_values);
            add_member(s, &s->members[i], sums);
        }
    }
    ends[b.n_strata++] = b.n_units = n_units;
    statistics(s, sums, mean);
    st = stats_bootstrap(&b, low, high, err);
    if (st)
        goto out;
    r->accuracy = mean[S_ACCURACY];
    r->accuracy_low = low[S_ACCURACY];
    r->accuracy_high = high[S_ACCURACY];
    r->saved = mean[S_SAVED];
    r->saved_low = low[S_SAVED];
    r->saved_high = high[S_SAVED];
    r->saved_block = mean[S_SAVED_BLOCK];
    r->saved_block_low[0] = low[S_SAVED_BLOCK];
    r->saved_block_high[0] = high[S_SAVED_BLOCK];
    b.alpha = alpha;
    st = stats_bootstrap(&b, low, high, err);
    r->saved_block_low[1] = low[S_SAVED_BLOCK];
    r->saved_block_high[1] = high[S_SAVED_BLOCK];
out:
    free(sums);
    free(values);
    free(ends);
    free(units);
    return st;
}

/* ---- all of it -------------------------------------------------------------------------- */

enum status relative_estimate(const struct relative_answer *x, size_t n, double alpha,
                              int64_t n_draws, uint64_t seed, struct relative *ret,
                              struct error *err)
{
    struct sample_of s = { 0 };
    struct relative r = { 0 };
    enum status st;

    assert(n >= 1 && alpha > 0 && alpha <= 0.05);
    st = group(x, n, &s, err);
    if (!st) {
        count(&s, &r);
        st = bound_kept(&s, alpha, &r, err);
    }
    if (!st)
        st = draw(&s, alpha, n_draws, seed, &r, err);
    ungroup(&s);
    if (!st)
        *ret = r;
    return st;
}

enum relative_answers relative_decide(const struct relative *r, double keep, double save)
{
    if (r->kept_low >= keep && r->saved_block_low[1] >= save)
        return RELATIVE_YES;
    if (r->kept_high < keep || r->saved_block_high[1] < save)
        return RELATIVE_NO;
    return RELATIVE_OPEN; /* NaN too */
}
