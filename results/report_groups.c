/*
 * What policies of a group are to each other: intervals and frontiers from one bootstrap, paired
 * tests against vanilla, lines of time against experts.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "results/compare_impl.h"
#include "results/report_impl.h"

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory making a report");
}

static double divide(double a, double b)
{
    return b > 0 ? a / b : NAN;
}

static bool is_same_item(const struct answer_row *a, const struct answer_row *b)
{
    return strcmp(a->task, b->task) == 0 && strcmp(a->task_id, b->task_id) == 0 &&
           strcmp(a->item_sha256, b->item_sha256) == 0;
}

/* ---- the bootstrap ---------------------------------------------------------------------- */

/* Sums of a unit: items, answers, then of each policy these. */
enum { U_ITEMS, U_ANSWERS, U_FIRST };
enum { U_SCORE, U_UNIQUE, U_LAYERS, U_BYTES, U_NS, U_FORWARDS, U_PER_POLICY };
enum { S_SCORE, S_COSTS, S_FORWARDS = S_COSTS + N_COSTS, S_PER_POLICY };

struct drawing {
    size_t n;          /* policies */
    int64_t n_draws;   /* still to come */
    int64_t *on_front; /* (n, N_COSTS) draws in which nothing beat it */
    bool *is_on_front; /* (n, N_COSTS) in the last call, which is the sample itself */
};

/* Does a beat b: no worse in both, better in one? Not where one has no such cost. */
static bool beats(const double *a, const double *b, size_t cost)
{
    return a[S_SCORE] >= b[S_SCORE] && a[S_COSTS + cost] <= b[S_COSTS + cost] &&
           (a[S_SCORE] > b[S_SCORE] || a[S_COSTS + cost] < b[S_COSTS + cost]);
}

static void draw(const void *arg, const double *sums, double *ret)
{
    struct drawing *d = *(struct drawing *const *)arg;

    for (size_t i = 0; i < d->n; i++) {
        const double *x = sums + U_FIRST + i * U_PER_POLICY;
        double *y = ret + i * S_PER_POLICY;

        y[S_SCORE] = divide(x[U_SCORE], sums[U_ITEMS]);
        y[S_COSTS + COST_UNIQUE] = divide(x[U_UNIQUE], x[U_LAYERS]);
        y[S_COSTS + COST_BYTES] = x[U_BYTES] > 0 ? divide(x[U_BYTES], sums[U_ANSWERS]) : NAN;
        y[S_COSTS + COST_SECONDS] = x[U_NS] > 0 ? divide(x[U_NS] * 1e-9, x[U_FORWARDS]) : NAN;
        y[S_FORWARDS] = divide(x[U_FORWARDS], sums[U_ANSWERS]);
    }
    for (size_t i = 0; i < d->n; i++)
        for (size_t c = 0; c < N_COSTS; c++) {
            bool is_beaten = false;

            for (size_t j = 0; j < d->n && !is_beaten; j++)
                is_beaten = beats(ret + j * S_PER_POLICY, ret + i * S_PER_POLICY, c);
            d->is_on_front[i * N_COSTS + c] = !is_beaten;
            if (d->n_draws > 0)
                d->on_front[i * N_COSTS + c] += !is_beaten;
        }
    d->n_draws--;
}

/* Items of one parent, as rows of any of the group's sets. */
struct unit {
    const char *name;
    uint64_t tasks; /* a bit each; beyond 64 the last ones share one */
    size_t row;
};

static int by_name(const void *a, const void *b)
{
    const struct unit *x = a, *y = b;
    int c = strcmp(x->name, y->name);

    return c ? c : (x->row > y->row) - (x->row < y->row);
}

static int by_tasks(const void *a, const void *b)
{
    const struct unit *x = a, *y = b;

    if (x->tasks != y->tasks)
        return x->tasks < y->tasks ? -1 : 1;
    return by_name(a, b);
}

/* The set's rows in units: each row's unit has the tasks of all rows of that name, and rows of one
 * unit stand together. */
static enum status make_units(const struct answer_set *s, struct arena *arena, struct unit **ret,
                              struct error *err)
{
    struct unit *u = arena_array(arena, s->n_rows, sizeof(*u));
    struct buf name = { 0 };

    for (size_t i = 0; u && i < s->n_rows; i++) {
        size_t cell = s->rows[i].cell;

        buf_clear(&name);
        answer_put_cluster(&name, &s->rows[i]);
        u[i].name = buf_ok(&name) ? arena_strdup(arena, buf_str(&name), name.len) : NULL;
        u[i].tasks = (uint64_t)1 << (cell < 64 ? cell : 63);
        u[i].row = i;
        if (!u[i].name)
            u = NULL;
    }
    buf_release(&name);
    if (!u)
        return no_memory(err);
    qsort(u, s->n_rows, sizeof(*u), by_name);
    for (size_t i = 0, end; i < s->n_rows; i = end) {
        uint64_t tasks = 0;

        for (end = i; end < s->n_rows && strcmp(u[end].name, u[i].name) == 0; end++)
            tasks |= u[end].tasks;
        for (size_t k = i; k < end; k++)
            u[k].tasks = tasks;
    }
    qsort(u, s->n_rows, sizeof(*u), by_tasks);
    *ret = u;
    return ST_OK;
}

/* How many answers the item of a row has, `internal` ones left out. */
static size_t n_answers(const struct answer_set *s, size_t row)
{
    size_t first = row, n = 0;

    while (first && is_same_item(&s->rows[first - 1], &s->rows[row]))
        first--;
    for (size_t i = first; i < s->n_rows && is_same_item(&s->rows[i], &s->rows[row]); i++)
        n += !report_is_internal(&s->rows[i]);
    return n;
}

static void add_row(double *values, const struct report_policy *p, size_t n, size_t row)
{
    double share = 1.0 / (double)n_answers(p[0].set, row);

    values[U_ITEMS] += share;
    values[U_ANSWERS] += 1;
    for (size_t i = 0; i < n; i++) {
        const struct answer_row *a = &p[i].set->rows[row];
        double *x = values + U_FIRST + i * U_PER_POLICY;

        x[U_SCORE] += a->is_passed ? share : 0;
        x[U_UNIQUE] += (double)a->sum_unique;
        x[U_LAYERS] += (double)a->n_layer_forwards;
        x[U_BYTES] += (double)a->sum_expert_bytes;
        x[U_NS] += (double)a->total_ns;
        x[U_FORWARDS] += (double)a->n_forwards;
    }
}

static struct report_value with_interval(double value, double low, double high)
{
    if (isnan(value))
        return (struct report_value){ NAN, NAN, NAN, "" };
    return (struct report_value){ value, low, high, "bootstrap-95" };
}

static void take_intervals(struct report_policy *p, size_t n, const struct drawing *d,
                           int64_t n_draws, const double *low, const double *high, bool is_single)
{
    for (size_t i = 0; i < n; i++) {
        const double *l = low + i * S_PER_POLICY, *h = high + i * S_PER_POLICY;
        struct report_tally *t = &p[i].t;

        if (!is_single) {
            t->score.low = l[S_SCORE];
            t->score.high = h[S_SCORE];
            t->score.method = "bootstrap-95";
        }
        p[i].forwards = with_interval(report_forwards(t), l[S_FORWARDS], h[S_FORWARDS]);
        for (size_t c = 0; c < N_COSTS; c++) {
            p[i].costs[c] =
                with_interval(report_cost(t, (enum report_cost)c), l[S_COSTS + c], h[S_COSTS + c]);
            p[i].frontier[c] = NAN;
            if (n > 1 && !isnan(p[i].costs[c].value)) {
                p[i].frontier[c] = (double)d->on_front[i * N_COSTS + c] / (double)n_draws;
                p[i].is_on_front[c] = d->is_on_front[i * N_COSTS + c];
            }
        }
    }
}

static enum status bootstrap_group(struct report *r, struct report_policy *p, size_t n,
                                   struct error *err)
{
    const struct answer_set *s = p[0].set;
    size_t n_values = U_FIRST + n * U_PER_POLICY, n_units = 0, n_strata = 0;
    double *values = calloc(s->n_rows, n_values * sizeof(*values)),
           *low = calloc(n, 2 * S_PER_POLICY * sizeof(*low));
    size_t *ends = calloc(s->n_rows, sizeof(*ends));
    int64_t *on_front = calloc(n, N_COSTS * sizeof(*on_front));
    bool *is_on_front = calloc(n, N_COSTS * sizeof(*is_on_front)),
         is_single = p[0].t.max_per_item == 1;
    struct drawing d = { n, r->options.n_draws, on_front, is_on_front }, *arg = &d;
    struct arena arena = { 0 };
    struct unit *u = NULL;
    enum status st = ST_OK;

    if (!values || !low || !ends || !on_front || !is_on_front)
        st = no_memory(err);
    if (!st)
        st = make_units(s, &arena, &u, err);
    for (size_t i = 0; i < s->n_rows && !st; i++) {
        bool is_new = !i || strcmp(u[i].name, u[i - 1].name) != 0;

        if (is_new && i && u[i].tasks != u[i - 1].tasks)
            ends[n_strata++] = n_units;
        n_units += is_new;
        is_single &= is_new;
        if (!report_is_internal(&s->rows[u[i].row]))
            add_row(values + (n_units - 1) * n_values, p, n, u[i].row);
    }
    if (!st) {
        struct stats_bootstrap b = { .values = values,
                                     .n_units = n_units,
                                     .n_values = n_values,
                                     .stratum_end = ends,
                                     .n_stats = n * S_PER_POLICY,
                                     .fn = draw,
                                     .arg = &arg,
                                     .n_draws = r->options.n_draws,
                                     .seed = r->options.seed,
                                     .alpha = 0.05 };

        ends[n_strata++] = n_units;
        b.n_strata = n_strata;
        st = stats_bootstrap(&b, low, low + n * S_PER_POLICY, err);
    }
    if (!st)
        take_intervals(p, n, &d, r->options.n_draws, low, low + n * S_PER_POLICY, is_single);
    arena_release(&arena);
    free(is_on_front);
    free(on_front);
    free(ends);
    free(low);
    free(values);
    return st;
}

/* ---- siblings --------------------------------------------------------------------------- */

bool report_is_sibling(const struct report_policy *a, const struct report_policy *b)
{
    const struct cell_row *x = &a->set->cells[0], *y = &b->set->cells[0];

    return a->group == b->group && strcmp(x->decoder, y->decoder) == 0 &&
           strcmp(x->cache, y->cache) == 0 && strcmp(x->backend, y->backend) == 0 &&
           strcmp(x->numeric_mode, y->numeric_mode) == 0 && x->block_length == y->block_length &&
           (x->temperature == y->temperature || (isnan(x->temperature) && isnan(y->temperature)));
}

const struct report_policy *report_vanilla(const struct report *r, const struct report_policy *p)
{
    const struct report_group *g = &r->groups[p->group];

    for (size_t i = g->first; i < g->first + g->n; i++)
        if (strcmp(r->policies[i].set->cells[0].selector, "vanilla") == 0 &&
            report_is_sibling(&r->policies[i], p))
            return &r->policies[i] == p ? NULL : &r->policies[i];
    return NULL;
}

/* ---- marks ------------------------------------------------------------------------------ */

/* Exact where pairs do not depend on each other; else the score test of the counts over their
 * design effect. */
static struct report_mark mark_of(const struct compare_task *t)
{
    double p =
        t->deff > 1 ? 2 * fmin(t->gate.p_worse, 1 - t->gate.p_worse) : t->mcnemar.p_two_sided;

    return (struct report_mark){ t->b, t->c, t->b + t->c ? fmin(p, 1) : 1 };
}

/* The tests of a policy against vanilla: of each task, and of all together. */
static enum status test_policy(struct report *r, struct report_policy *p,
                               const struct report_policy *vanilla, struct error *err)
{
    struct compare_options o = { .margin = 0.02 };
    struct comparison c;
    struct arena arena = { 0 };
    enum status st = compare_sets(vanilla->set, p->set, &o, &arena, &c, err);

    if (!st) {
        p->mark = mark_of(&c.all);
        for (size_t i = 0; i < r->n_cells; i++)
            for (size_t t = 0; t < c.n_tasks && &r->policies[r->cells[i].policy] == p; t++)
                if (strcmp(c.tasks[t].task, report_cell_row(r, &r->cells[i])->task) == 0)
                    r->cells[i].mark = mark_of(&c.tasks[t]);
        compare_release(&c);
    }
    arena_release(&arena);
    /* what may not be compared, as it was judged otherwise, has no mark */
    return st == ST_MISMATCH || st == ST_INTERNAL ? ST_OK : st;
}

/* Holm over the pooled tests of a group, and over those of its tasks. */
static enum status correct_group(struct report *r, size_t g, struct error *err)
{
    double *p = calloc(r->n_policies + r->n_cells + 1, 2 * sizeof(*p)), *adjusted;
    size_t n = 0;
    enum status st = p ? ST_OK : no_memory(err);

    if (st)
        return st;
    adjusted = p + r->n_policies + r->n_cells;
    for (size_t i = 0; i < r->n_policies; i++)
        if (r->policies[i].group == g)
            p[n++] = r->policies[i].mark.p;
    st = stats_holm(p, n, adjusted, err);
    n = 0;
    for (size_t i = 0; i < r->n_policies && !st; i++)
        if (r->policies[i].group == g)
            r->policies[i].mark.p = adjusted[n++];
    n = 0;
    for (size_t i = 0; i < r->n_cells; i++)
        if (r->policies[r->cells[i].policy].group == g)
            p[n++] = r->cells[i].mark.p;
    if (!st)
        st = stats_holm(p, n, adjusted, err);
    n = 0;
    for (size_t i = 0; i < r->n_cells && !st; i++)
        if (r->policies[r->cells[i].policy].group == g)
            r->cells[i].mark.p = adjusted[n++];
    free(p);
    return st;
}

static enum status mark_all(struct report *r, struct error *err)
{
    enum status st = ST_OK;

    for (size_t i = 0; i < r->n_cells; i++)
        r->cells[i].mark.p = NAN;
    for (size_t i = 0; i < r->n_policies && !st; i++) {
        const struct report_policy *vanilla = report_vanilla(r, &r->policies[i]);

        r->policies[i].mark.p = NAN;
        if (vanilla)
            st = test_policy(r, &r->policies[i], vanilla, err);
    }
    for (size_t g = 0; g < r->n_groups && !st; g++)
        st = correct_group(r, g, err);
    return st;
}

/* ---- fits ------------------------------------------------------------------------------- */

/* Sums of points: 1, x, y, x x, x y. Slope, then intercept, of least squares. */
static void fit_line(const void *arg, const double *s, double *ret)
{
    double d = s[0] * s[3] - s[1] * s[1];

    (void)arg;
    /* one point alone, drawn again and again, leaves rounding in d */
    ret[0] = d > 1e-9 * s[0] * s[3] ? (s[0] * s[4] - s[1] * s[2]) / d : NAN;
    ret[1] = (s[2] - ret[0] * s[1]) / s[0];
}

/* Of policy i and its siblings after it, where there are three or more. */
static enum status fit_siblings(struct report *r, size_t i, struct error *err)
{
    const struct report_policy *p = &r->policies[i];
    const struct report_group *g = &r->groups[p->group];
    double *values = calloc(g->n, 5 * sizeof(*values)), sums[5] = { 0 }, fit[2], low[2], high[2];
    void *fits = r->fits;
    size_t n = 0;
    enum status st = values ? ST_OK : no_memory(err);

    for (size_t k = i; k < g->first + g->n && !st; k++) {
        const struct report_policy *q = &r->policies[k];
        double x = q->costs[COST_UNIQUE].value, y = q->costs[COST_SECONDS].value,
               *v = values + 5 * n;

        if (!report_is_sibling(p, q) || isnan(x) || isnan(y))
            continue;
        v[0] = 1, v[1] = x, v[2] = y, v[3] = x * x, v[4] = x * y;
        for (size_t j = 0; j < 5; j++)
            sums[j] += v[j];
        n++;
    }
    if (!st && n >= 3) {
        struct stats_bootstrap b = { .values = values,
                                     .n_units = n,
                                     .n_values = 5,
                                     .stratum_end = &n,
                                     .n_strata = 1,
                                     .n_stats = 2,
                                     .fn = fit_line,
                                     .n_draws = r->options.n_draws,
                                     .seed = r->options.seed,
                                     .alpha = 0.05 };

        st = stats_bootstrap(&b, low, high, err);
        fit_line(NULL, sums, fit);
        if (!st && !isnan(fit[0])) {
            st = report_grow(&fits, r->n_fits, 1, sizeof(*r->fits)) ? ST_OK : no_memory(err);
            r->fits = fits;
        }
        if (!st && !isnan(fit[0]))
            r->fits[r->n_fits++] =
                (struct report_fit){ i, n, with_interval(fit[0], low[0], high[0]),
                                     with_interval(fit[1], low[1], high[1]) };
    }
    free(values);
    return st;
}

static enum status fit_all(struct report *r, struct error *err)
{
    enum status st = ST_OK;

    for (size_t i = 0; i < r->n_policies && !st; i++) {
        size_t k = r->groups[r->policies[i].group].first;

        while (k < i && !report_is_sibling(&r->policies[k], &r->policies[i]))
            k++;
        if (k == i)
            st = fit_siblings(r, i, err);
    }
    return st;
}

/* ---- all -------------------------------------------------------------------------------- */

enum status report_compare_groups(struct report *r, struct error *err)
{
    enum status st = ST_OK;

    for (size_t g = 0; g < r->n_groups && !st; g++)
        st = bootstrap_group(r, r->policies + r->groups[g].first, r->groups[g].n, err);
    if (!st)
        st = mark_all(r, err);
    return st ? st : fit_all(r, err);
}
