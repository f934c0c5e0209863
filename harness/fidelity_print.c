/* Fidelity: tables, intervals, and how scores go with it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "harness/fidelity.h"
#include "harness/listing.h"
#include "results/stats.h"

/* Part of the sums: of a task (-1: all), a bucket (-1: all) and, if not -1, a layer. */
struct part {
    const char *by, *value;
    int task, bucket, layer;
};

enum { S_KL, S_DELTA_P, S_SAME, S_FLIPS, S_ERROR, S_UNIQUE, N_S };

/* Rates from sums, for stats_bootstrap(). */
static void rates(const void *arg, const double *sums, double *ret)
{
    double n = sums[FID_POSITIONS], layers = sums[FID_LAYERS];

    (void)arg;
    ret[S_KL] = sums[FID_KL] / n; /* 0 / 0 where there are none */
    ret[S_DELTA_P] = sums[FID_DELTA_P] / n;
    ret[S_SAME] = sums[FID_SAME] / n;
    ret[S_FLIPS] = sums[FID_FLIPS] / n;
    ret[S_ERROR] = sums[FID_ERROR] / layers;
    ret[S_UNIQUE] = sums[FID_UNIQUE] / layers;
}

static void item_sums(const struct fidelity_item *x, const struct part *p, double *ret)
{
    memset(ret, 0, N_FID * sizeof(*ret));
    if (p->layer >= 0) {
        memcpy(ret, x->layers + (size_t)p->layer * N_FID, N_FID * sizeof(*ret));
        return;
    }
    for (int b = 0; b < FIDELITY_BUCKETS; b++)
        for (int k = 0; k < N_FID && (p->bucket < 0 || p->bucket == b); k++)
            ret[k] += x->buckets[b][k];
}

/* ---- quantiles -------------------------------------------------------------------------- */

struct quantiles {
    double median, p90, p99, most;
};

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static enum status find_quantiles(const struct fidelity_selector *s, const struct part *p,
                                  struct quantiles *ret, struct error *err)
{
    double *v;
    size_t n = 0;

    *ret = (struct quantiles){ NAN, NAN, NAN, NAN };
    if (p->layer >= 0 || !s->n_kls)
        return ST_OK;
    v = calloc(s->n_kls, sizeof(*v));
    if (!v)
        return error_set(err, ST_NOMEM, "out of memory sorting %zu divergences", s->n_kls);
    for (size_t i = 0; i < s->n_kls; i++)
        if ((p->task < 0 || s->kls[i].task == p->task) &&
            (p->bucket < 0 || s->kls[i].bucket == p->bucket))
            v[n++] = (double)s->kls[i].kl;
    if (n) {
        qsort(v, n, sizeof(*v), by_value);
        *ret = (struct quantiles){ stats_quantile(v, n, 0.5), stats_quantile(v, n, 0.9),
                                   stats_quantile(v, n, 0.99), v[n - 1] };
    }
    free(v);
    return ST_OK;
}

/* ---- a row ------------------------------------------------------------------------------ */

struct estimate {
    double mean[N_S], low[N_S], high[N_S];
    double sums[N_FID];
    size_t n_items;
};

static enum status estimate_part(const struct fidelity *f, const struct fidelity_selector *s,
                                 const struct part *p, struct estimate *ret, struct error *err)
{
    size_t first = p->task > 0 ? f->task_end[p->task - 1] : 0;
    size_t end = p->task >= 0 ? f->task_end[p->task] : f->n_items, n = end - first;
    struct stats_bootstrap b = { .n_units = n,
                                 .n_values = N_FID,
                                 .stratum_end = f->task_end,
                                 .n_strata = f->n_tasks,
                                 .n_stats = N_S,
                                 .fn = rates,
                                 .n_draws = STATS_MIN_DRAWS,
                                 .seed = 1,
                                 .alpha = 0.05 };
    double *values = calloc(n, N_FID * sizeof(*values));
    enum status st;

    if (!values)
        return error_set(err, ST_NOMEM, "out of memory for an interval");
    memset(ret->sums, 0, sizeof(ret->sums));
    for (size_t i = 0; i < n; i++) {
        item_sums(&s->items[first + i], p, values + i * N_FID);
        for (int k = 0; k < N_FID; k++)
            ret->sums[k] += values[i * N_FID + (size_t)k];
    }
    if (p->task >= 0) {
        b.stratum_end = &n;
        b.n_strata = 1;
    }
    b.values = values;
    ret->n_items = n;
    rates(NULL, ret->sums, ret->mean);
    for (int k = 0; k < N_S; k++)
        ret->low[k] = ret->high[k] = NAN; /* one item says nothing of others */
    st = n > 1 ? stats_bootstrap(&b, ret->low, ret->high, err) : ST_OK;
    free(values);
    return st;
}

static void put_estimate(struct listing *l, const struct estimate *e, int k, int decimals)
{
    listing_real(l, e->mean[k], decimals);
    listing_interval(l, e->low[k], e->high[k], decimals);
}

static enum status put_row(struct listing *l, const struct fidelity *f,
                           const struct fidelity_selector *s, const struct part *p,
                           struct error *err)
{
    struct estimate e;
    struct quantiles q;
    enum status st = estimate_part(f, s, p, &e, err);

    if (!st)
        st = find_quantiles(s, p, &q, err);
    if (st)
        return st;
    listing_row(l);
    listing_cell(l, s->name);
    listing_cell(l, p->by);
    listing_cell(l, p->value);
    listing_number(l, (int64_t)e.n_items);
    listing_number(l, (int64_t)e.sums[FID_POSITIONS]);
    put_estimate(l, &e, S_KL, 4);
    listing_real(l, q.median, 4);
    listing_real(l, q.p90, 4);
    listing_real(l, q.p99, 4);
    listing_real(l, q.most, 4);
    put_estimate(l, &e, S_DELTA_P, 4);
    put_estimate(l, &e, S_SAME, 4);
    put_estimate(l, &e, S_FLIPS, 4);
    put_estimate(l, &e, S_ERROR, 4);
    put_estimate(l, &e, S_UNIQUE, 2);
    return ST_OK;
}

static enum status put_selector(struct listing *l, const struct fidelity *f,
                                const struct fidelity_selector *s, struct error *err)
{
    static const char *const quarters[FIDELITY_BUCKETS] = { "0-25 %", "25-50 %", "50-75 %",
                                                            "75-100 %" };
    struct part all = { "all", "", -1, -1, -1 };
    enum status st = put_row(l, f, s, &all, err);

    for (size_t t = 0; t < f->n_tasks && !st; t++)
        st = put_row(l, f, s, &(struct part){ "task", f->tasks[t], (int)t, -1, -1 }, err);
    for (int b = 0; b < FIDELITY_BUCKETS && !st; b++)
        st = put_row(l, f, s, &(struct part){ "masked", quarters[b], -1, b, -1 }, err);
    for (int n = 0; n < f->n_layer && !st; n++) {
        char name[32];

        snprintf(name, sizeof(name), "%d", n);
        st = put_row(l, f, s, &(struct part){ "layer", name, -1, -1, n }, err);
    }
    return st;
}

/* ---- scores ----------------------------------------------------------------------------- */

/* For programs, a row of its own; people read it below the table. */
static void put_correlation(struct listing *l, size_t n, size_t n_items,
                            const struct stats_correlation *c)
{
    char count[32];

    snprintf(count, sizeof(count), "%zu", n);
    listing_row(l);
    listing_cell(l, NULL);
    listing_cell(l, "rank correlation with score");
    listing_cell(l, count);
    listing_number(l, (int64_t)n_items);
    listing_cell(l, NULL);
    listing_real(l, c->rho, 4);
    listing_interval(l, c->low, c->high, 4);
    for (int i = 0; i < 4; i++) /* quantiles */
        listing_real(l, NAN, 4);
    for (int i = 0; i < N_S - 1; i++) {
        listing_real(l, NAN, 4);
        listing_interval(l, NAN, NAN, 4);
    }
}

static enum status put_scores(struct fidelity *f, struct listing *l, struct buf *note,
                              struct error *err)
{
    struct fidelity_scores x;
    struct stats_correlation c;
    double *kl = arena_array(&f->arena, f->n_selectors, sizeof(*kl));
    double *score = arena_array(&f->arena, f->n_selectors, sizeof(*score));
    size_t n = 0;
    enum status st = fidelity_read_scores(f, &x, err);

    if (!st && (!kl || !score))
        st = error_set(err, ST_NOMEM, "out of memory for scores");
    for (size_t i = 0; i < f->n_selectors && !st; i++) {
        const struct part all = { "all", "", -1, -1, -1 };
        struct estimate e;

        st = estimate_part(f, &f->selectors[i], &all, &e, err);
        if (!st && isfinite(x.scores[i]) && isfinite(e.mean[S_KL])) {
            kl[n] = e.mean[S_KL];
            score[n++] = x.scores[i];
        }
    }
    if (!st)
        st = stats_spearman(kl, score, n, 0.05, &c, err);
    if (st)
        return st;
    if (l->form == PRINT_JSON || l->form == PRINT_CSV)
        put_correlation(l, n, x.n_items, &c);
    buf_printf(note,
               "\nDivergence and score over %zu of %zu selectors, those with stored scores of "
               "all tasks in the same settings,\non the same %zu items: ",
               n, f->n_selectors, x.n_items);
    if (isfinite(c.rho))
        buf_printf(note, "rank correlation %.3f", c.rho);
    else
        buf_puts(note, "no rank correlation");
    if (isfinite(c.low))
        buf_printf(note, ", 95 %% interval %.3f to %.3f", c.low, c.high);
    if (x.n_other_cells)
        buf_printf(note,
                   ". %zu stored cells of these\nselectors and weights have other settings (`ls "
                   "policies --json` names them) and do not count",
                   x.n_other_cells);
    return ST_OK;
}

enum status fidelity_print(struct fidelity *f, struct error *err)
{
    bool has_results = fidelity_has_results(f);
    struct buf note = { 0 };
    struct listing l;
    enum status st = ST_OK;

    listing_start(
        &l, f->c,
        "selector|by|value|>n_items=items|>n_positions=positions|>kl=KL"
        "|>kl_ci=95 % interval|>kl_median=median|>kl_p90=90 %|>kl_p99=99 %|>kl_max=largest"
        "|->delta_p|->delta_p_ci|>same_token=same token|->same_token_ci|>flips=flips"
        "|>flips_ci=95 % interval|>output_error=output error|->output_error_ci"
        "|>mean_unique=U|->mean_unique_ci");
    buf_printf(
        &note,
        "KL: of the model's own distribution to the selector's, nats, at masked positions; "
        "same token: share\nof them at which both propose it; flips: share at which one "
        "commits and the other does not, or\nanother token; output error: of what a layer's "
        "experts add, relative L2, to the model's own\nrouting of the same input; U: distinct "
        "experts of a layer. masked: share of the block before the\nforward. Intervals are "
        "drawn over items. %lld of %lld forwards fill a cache and count like the others.",
        (long long)f->n_refresh, (long long)f->n_forwards);
    for (size_t i = 0; i < f->n_selectors && !st; i++)
        st = put_selector(&l, f, &f->selectors[i], err);
    if (!st && has_results)
        st = put_scores(f, &l, &note, err);
    listing_note(&l, buf_str(&note));
    if (!st && !buf_ok(&note))
        st = error_set(err, ST_NOMEM, "out of memory listing");
    buf_release(&note);
    return listing_end(&l, st, err);
}
