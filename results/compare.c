/* Pairing the answers of two runs, and what follows from the pairs. */
#include "results/compare.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "results/compare_impl.h"

enum {
    FEW_CHANGES = 10 /* fewer do not tell how much the answers of a cluster depend on each other */
};

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory comparing runs");
}

/* ---- sets ------------------------------------------------------------------------------- */

static int order(const struct answer_row *a, const struct answer_row *b)
{
    int r = strcmp(a->task, b->task);

    if (!r)
        r = strcmp(a->task_id, b->task_id);
    return r ? r : (a->sample_idx > b->sample_idx) - (a->sample_idx < b->sample_idx);
}

static int by_item(const void *a, const void *b)
{
    return order(a, b);
}

void answer_set_sort(struct answer_set *s)
{
    if (s->n_rows)
        qsort(s->rows, s->n_rows, sizeof(*s->rows), by_item);
}

enum status answer_set_keep_tasks(struct answer_set *s, const char *tasks, struct error *err)
{
    size_t n = 0;

    for (const char *p = tasks; *p; p += strcspn(p, ","), p += *p == ',') {
        size_t len = strcspn(p, ",");
        bool is_there = false;

        for (size_t i = 0; i < s->n_cells && !is_there; i++)
            is_there = strlen(s->cells[i].task) == len && memcmp(s->cells[i].task, p, len) == 0;
        if (!is_there)
            return error_set(err, ST_INVALID, "run '%s' has no task '%.*s'", s->run_id, (int)len,
                             p);
    }
    for (size_t i = 0; i < s->n_rows; i++) {
        size_t len = strlen(s->rows[i].task);
        bool is_kept = false;

        for (const char *p = tasks; *p && !is_kept; p += strcspn(p, ","), p += *p == ',')
            is_kept = strcspn(p, ",") == len && memcmp(s->rows[i].task, p, len) == 0;
        if (is_kept)
            s->rows[n++] = s->rows[i];
    }
    s->n_rows = n;
    return ST_OK;
}

/* ---- pairs ------------------------------------------------------------------------------ */

/* What may not differ, how often it does, and where first. */
enum mismatch { MISSING, ADDED, ITEM, REFERENCE, PROMPT, CHECKER, JUDGE, N_MISMATCHES };

struct pairing {
    struct comparison *c;
    size_t n_mismatched[N_MISMATCHES], n_internal;
    const struct answer_row *base[N_MISMATCHES], *cand[N_MISMATCHES]; /* the first of each */
};

static void mismatch(struct pairing *x, enum mismatch what, const struct answer_row *base,
                     const struct answer_row *cand)
{
    if (!x->n_mismatched[what]++) {
        x->base[what] = base;
        x->cand[what] = cand;
    }
}

static void check_pair(struct pairing *x, const struct answer_row *b, const struct answer_row *c)
{
    if (strcmp(b->item_sha256, c->item_sha256) != 0)
        mismatch(x, ITEM, b, c);
    else if (strcmp(b->reference_sha256, c->reference_sha256) != 0)
        mismatch(x, REFERENCE, b, c);
    if (strcmp(b->prompt_sha256, c->prompt_sha256) != 0)
        mismatch(x, PROMPT, b, c);
    if (strcmp(b->checker_version, c->checker_version) != 0)
        mismatch(x, CHECKER, b, c);
    if (strcmp(b->judge_mode, c->judge_mode) != 0)
        mismatch(x, JUDGE, b, c);
}

static void put_mismatch(struct buf *b, const struct pairing *x, enum mismatch what)
{
    const struct answer_row *p = x->base[what], *q = x->cand[what], *any = p ? p : q;
    size_t n = x->n_mismatched[what];

    switch (what) {
    case MISSING:
        buf_printf(b, "%zu answer%s of the baseline without a counterpart", n, n == 1 ? "" : "s");
        break;
    case ADDED:
        buf_printf(b, "%zu answer%s without a counterpart in the baseline", n, n == 1 ? "" : "s");
        break;
    case ITEM: buf_printf(b, "%zu other item%s by SHA-256", n, n == 1 ? "" : "s"); break;
    case REFERENCE: buf_printf(b, "%zu other reference%s", n, n == 1 ? "" : "s"); break;
    case PROMPT: buf_printf(b, "%zu other prompt%s", n, n == 1 ? "" : "s"); break;
    case CHECKER:
        buf_printf(b, "%zu answer%s graded by '%s' and '%s'", n, n == 1 ? "" : "s",
                   p->checker_version, q->checker_version);
        break;
    default:
        buf_printf(b, "%zu answer%s judged in mode '%s' and '%s'", n, n == 1 ? "" : "s",
                   p->judge_mode, q->judge_mode);
        break;
    }
    buf_printf(b, " (%s %s)\n", any->task, any->task_id);
}

void answer_put_cluster(struct buf *b, const struct answer_row *r)
{
    /* CodeEval-Pro numbers its items as HumanEval does, whose ids are "HumanEval/N" */
    if (strcmp(r->task, "humaneval_pro") == 0)
        buf_printf(b, "humaneval\nHumanEval/%s", r->task_id);
    else
        buf_printf(b, "%s\n%s", r->task, r->task_id);
}

struct clustered {
    const char *name;
    struct compare_pair pair;
};

static int by_cluster(const void *a, const void *b)
{
    const struct clustered *x = a, *y = b;
    int r = strcmp(x->name, y->name);

    if (!r)
        r = strcmp(x->pair.base->task, y->pair.base->task);
    return r ? r : order(x->pair.base, y->pair.base);
}

/* Pairs in the order of their clusters, which are numbered. */
static enum status make_clusters(struct comparison *c, struct arena *arena, struct error *err)
{
    struct clustered *list = calloc(c->n_pairs ? c->n_pairs : 1, sizeof(*list));
    struct buf name = { 0 };
    enum status st = ST_OK;

    if (!list)
        return no_memory(err);
    for (size_t i = 0; i < c->n_pairs && !st; i++) {
        buf_clear(&name);
        answer_put_cluster(&name, c->pairs[i].base);
        list[i].pair = c->pairs[i];
        list[i].name = buf_ok(&name) ? arena_strdup(arena, buf_str(&name), name.len) : NULL;
        if (!list[i].name)
            st = no_memory(err);
    }
    buf_release(&name);
    if (!st && c->n_pairs)
        qsort(list, c->n_pairs, sizeof(*list), by_cluster);
    for (size_t i = 0; i < c->n_pairs && !st; i++) {
        c->pairs[i] = list[i].pair;
        c->pairs[i].cluster =
            i && strcmp(list[i].name, list[i - 1].name) == 0 ? c->pairs[i - 1].cluster : (int64_t)i;
    }
    free(list);
    return st;
}

/* Rows are sorted, so one walk over both finds the pairs. */
static enum status make_pairs(struct pairing *x, struct arena *arena, struct error *err)
{
    struct comparison *c = x->c;
    const struct answer_set *base = c->base, *cand = c->cand;
    size_t i = 0, k = 0, n_most = base->n_rows < cand->n_rows ? base->n_rows : cand->n_rows;

    c->pairs = arena_array(arena, n_most, sizeof(*c->pairs));
    c->tasks = arena_array(arena, base->n_cells, sizeof(*c->tasks));
    if (!c->pairs || !c->tasks)
        return no_memory(err);
    while (i < base->n_rows || k < cand->n_rows) {
        const struct answer_row *b = i < base->n_rows ? &base->rows[i] : NULL;
        const struct answer_row *d = k < cand->n_rows ? &cand->rows[k] : NULL;
        int r = !b ? 1 : !d ? -1 : order(b, d);

        i += r <= 0;
        k += r >= 0;
        if (r) {
            mismatch(x, r < 0 ? MISSING : ADDED, r < 0 ? b : NULL, r < 0 ? NULL : d);
            c->n_left_out++;
            continue;
        }
        check_pair(x, b, d);
        if (strcmp(b->verdict, "internal") == 0 || strcmp(d->verdict, "internal") == 0) {
            x->n_internal++;
            c->n_left_out++;
            continue;
        }
        if (!c->n_tasks || strcmp(c->tasks[c->n_tasks - 1].task, b->task) != 0)
            c->tasks[c->n_tasks++].task = b->task;
        c->pairs[c->n_pairs++] =
            (struct compare_pair){ .base = b, .cand = d, .task = c->n_tasks - 1 };
    }
    return make_clusters(c, arena, err);
}

/* ---- counts ----------------------------------------------------------------------------- */

static void count(struct compare_task *t, const struct compare_pair *p)
{
    bool x = p->base->is_passed, y = p->cand->is_passed;

    t->n++;
    t->a += x && y;
    t->b += x && !y;
    t->c += !x && y;
    t->d += !x && !y;
    if (strcmp(p->base->tokens_sha256, p->cand->tokens_sha256) == 0) {
        t->n_same++;
        t->n_noise += x != y;
    }
}

/* The design effect over the pairs of task t, or over all of them for t = SIZE_MAX. */
static enum status design_effect(const struct comparison *c, size_t t, struct stats_value *values,
                                 int64_t n_changed, double *ret, struct error *err)
{
    struct stats_clustered s;
    size_t n = 0;
    enum status st;

    for (size_t i = 0; i < c->n_pairs; i++) {
        const struct compare_pair *p = &c->pairs[i];

        if (t == SIZE_MAX || p->task == t)
            values[n++] = (struct stats_value){ (double)p->base->is_passed - p->cand->is_passed,
                                                t == SIZE_MAX ? (int32_t)p->task : 0, p->cluster };
    }
    st = stats_clustered_mean(values, n, t == SIZE_MAX ? c->n_tasks : 1, &s, err);
    *ret = n_changed < FEW_CHANGES ? s.deff_max : fmax(1, s.deff);
    return st;
}

static void decide(struct compare_task *t, double margin)
{
    double n = (double)t->n / t->deff, b = (double)t->b / t->deff, c = (double)t->c / t->deff;
    double z = stats_normal_upper_quantile(0.025);

    t->mcnemar = stats_mcnemar(t->b, t->c);
    t->gate = stats_gate(b, c, n, margin);
    t->delta_low = stats_tango_bound(c, b, n, z);
    t->delta_high = stats_tango_bound(c, b, n, -z);
}

static enum status count_all(struct comparison *c, struct error *err)
{
    struct stats_value *values = calloc(c->n_pairs, sizeof(*values));
    double *p = calloc(c->n_tasks, sizeof(*p)), *holm = calloc(c->n_tasks, sizeof(*holm));
    enum status st = values && p && holm ? ST_OK : no_memory(err);

    for (size_t i = 0; i < c->n_pairs && !st; i++) {
        count(&c->tasks[c->pairs[i].task], &c->pairs[i]);
        count(&c->all, &c->pairs[i]);
    }
    for (size_t t = 0; t < c->n_tasks && !st; t++) {
        struct compare_task *x = &c->tasks[t];

        st = design_effect(c, t, values, x->b + x->c, &x->deff, err);
        if (!st)
            decide(x, c->margin);
        p[t] = x->gate.p_worse;
    }
    if (!st)
        st = design_effect(c, SIZE_MAX, values, c->all.b + c->all.c, &c->all.deff, err);
    if (!st)
        decide(&c->all, c->margin);
    if (!st)
        st = stats_holm(p, c->n_tasks, holm, err);
    for (size_t t = 0; t < c->n_tasks && !st; t++)
        c->tasks[t].p_worse_holm = holm[t];
    c->all.p_worse_holm = c->all.gate.p_worse;
    free(holm);
    free(p);
    free(values);
    return st;
}

/* ---- rates ------------------------------------------------------------------------------ */

/* Numerators and denominators of one answer, in the order of enum compare_rate_id. */
static void rate_parts(const struct answer_row *r, double num[N_RATES], double den[N_RATES])
{
    num[RATE_UNIQUE] = (double)r->sum_unique;
    den[RATE_UNIQUE] = (double)r->n_layer_forwards;
    num[RATE_EXPERT_BYTES] = (double)r->sum_expert_bytes;
    den[RATE_EXPERT_BYTES] = (double)r->n_forwards;
    num[RATE_FORWARDS] = (double)r->n_forwards;
    den[RATE_FORWARDS] = 1;
    num[RATE_TOKENS] = (double)r->n_tokens_before_eos;
    den[RATE_TOKENS] = (double)r->n_forwards;
    num[RATE_SECONDS] = (double)r->total_ns * 1e-9;
    den[RATE_SECONDS] = 1;
}

/* Columns of a unit: base's and cand's right answers of each task, then of each rate base's
 * numerator and denominator and cand's. */
struct layout {
    size_t n_tasks;
};

static double divide(double a, double b)
{
    return b > 0 ? a / b : NAN;
}

/* Relative accuracy, then each rate's ratio cand / base. */
static void statistics(const void *arg, const double *sums, double *ret)
{
    const struct layout *l = arg;
    const double *r = sums + 2 * l->n_tasks;

    stats_relative_accuracy(&l->n_tasks, sums, &ret[0]);
    for (size_t i = 0; i < N_RATES; i++, r += 4)
        ret[1 + i] = divide(divide(r[2], r[3]), divide(r[0], r[1]));
}

/* The pairs of a cluster as one row of sums. */
static void add_pair(double *row, const struct compare_pair *p, size_t n_tasks)
{
    double num[N_RATES], den[N_RATES];

    row[2 * p->task] += p->base->is_passed;
    row[2 * p->task + 1] += p->cand->is_passed;
    row += 2 * n_tasks;
    rate_parts(p->base, num, den);
    for (size_t i = 0; i < N_RATES; i++) {
        row[4 * i] += num[i];
        row[4 * i + 1] += den[i];
    }
    rate_parts(p->cand, num, den);
    for (size_t i = 0; i < N_RATES; i++) {
        row[4 * i + 2] += num[i];
        row[4 * i + 3] += den[i];
    }
}

/*
 * Units are clusters; a stratum holds those that touch the same tasks: with HumanEval and its Pro
 * both there, their parents are one stratum, every other task is its own. Strata are found by the
 * set of tasks, as a bit each; beyond 64 tasks the last ones share a bit.
 */
struct unit {
    uint64_t tasks;
    size_t first, end; /* pairs */
};

static int by_tasks(const void *a, const void *b)
{
    const struct unit *x = a, *y = b;

    if (x->tasks != y->tasks)
        return x->tasks < y->tasks ? -1 : 1;
    return (x->first > y->first) - (x->first < y->first);
}

static enum status bootstrap(struct comparison *c, const struct compare_options *o,
                             struct error *err)
{
    struct layout layout = { c->n_tasks };
    size_t n_values = 2 * c->n_tasks + (size_t)4 * N_RATES, n_units = 0, n_strata = 0;
    struct unit *units = calloc(c->n_pairs, sizeof(*units));
    size_t *ends = calloc(c->n_pairs, sizeof(*ends));
    double *values = calloc(c->n_pairs, n_values * sizeof(*values));
    double low[1 + N_RATES], high[1 + N_RATES], sums[4], *row;
    enum status st = units && ends && values ? ST_OK : no_memory(err);

    for (size_t i = 0; i < c->n_pairs && !st; i++) {
        if (!n_units || c->pairs[i].cluster != c->pairs[units[n_units - 1].first].cluster)
            units[n_units++].first = i;
        units[n_units - 1].end = i + 1;
        units[n_units - 1].tasks |= (uint64_t)1 << (c->pairs[i].task < 64 ? c->pairs[i].task : 63);
    }
    if (!st)
        qsort(units, n_units, sizeof(*units), by_tasks);
    for (size_t u = 0; u < n_units && !st; u++) {
        if (u && units[u].tasks != units[u - 1].tasks)
            ends[n_strata++] = u;
        for (size_t i = units[u].first; i < units[u].end; i++)
            add_pair(values + u * n_values, &c->pairs[i], c->n_tasks);
    }
    if (!st) {
        struct stats_bootstrap b = { .values = values,
                                     .n_units = n_units,
                                     .n_values = n_values,
                                     .stratum_end = ends,
                                     .n_stats = 1 + N_RATES,
                                     .fn = statistics,
                                     .arg = &layout,
                                     .n_draws = o->n_draws,
                                     .seed = o->seed,
                                     .alpha = 0.05 };

        ends[n_strata++] = n_units;
        b.n_strata = n_strata;
        st = stats_bootstrap(&b, low, high, err);
    }
    if (!st) {
        c->rel_low = low[0];
        c->rel_high = high[0];
        for (size_t i = 0; i < N_RATES; i++) {
            memset(sums, 0, sizeof(sums));
            row = values + 2 * c->n_tasks + 4 * i;
            for (size_t u = 0; u < n_units; u++, row += n_values)
                for (size_t k = 0; k < 4; k++)
                    sums[k] += row[k];
            /* nothing is measured as zero: answers made elsewhere have no forwards */
            c->rates[i].base = sums[0] > 0 ? divide(sums[0], sums[1]) : NAN;
            c->rates[i].cand = sums[2] > 0 ? divide(sums[2], sums[3]) : NAN;
            c->rates[i].ratio = divide(c->rates[i].cand, c->rates[i].base);
            c->rates[i].low = isnan(c->rates[i].ratio) ? NAN : low[1 + i];
            c->rates[i].high = isnan(c->rates[i].ratio) ? NAN : high[1 + i];
        }
        c->seed = o->seed;
        c->n_draws = o->n_draws;
    }
    free(values);
    free(ends);
    free(units);
    return st;
}

/* ---- all of it -------------------------------------------------------------------------- */

static enum status refuse(const struct pairing *x, struct error *err)
{
    struct buf text = { 0 };
    enum status st;

    buf_append(&text, x->c->mismatches.data, x->c->mismatches.len);
    for (size_t i = 0; i + 1 < text.len; i++)
        if (text.data[i] == '\n')
            text.data[i] = ';';
    st = error_set(err, ST_MISMATCH, "run '%s' cannot be compared with baseline '%s': %.*s",
                   x->c->cand->run_id, x->c->base->run_id, (int)(text.len ? text.len - 1 : 0),
                   buf_str(&text));
    buf_release(&text);
    return st;
}

static enum stats_outcome outcome_of_suite(const struct comparison *c)
{
    return (double)(c->all.b - c->all.c) > c->margin * (double)c->all.n ? STATS_FAIL : STATS_PASS;
}

enum status compare_sets(const struct answer_set *base, const struct answer_set *cand,
                         const struct compare_options *o, struct arena *arena,
                         struct comparison *ret, struct error *err)
{
    static const char *const rate_names[N_RATES] = {
        [RATE_UNIQUE] = "unique experts a layer", [RATE_EXPERT_BYTES] = "expert bytes a forward",
        [RATE_FORWARDS] = "forwards an answer",   [RATE_TOKENS] = "tokens a forward",
        [RATE_SECONDS] = "seconds an answer",
    };
    struct comparison *c = ret;
    struct pairing x = { .c = c };
    double sum = 0;
    bool is_comparable = true;
    enum status st;

    *c = (struct comparison){ .base = base,
                              .cand = cand,
                              .margin = o->margin,
                              .all.task = "all",
                              .rel = NAN,
                              .rel_low = NAN,
                              .rel_high = NAN };
    st = make_pairs(&x, arena, err);
    if (st)
        goto out;
    for (int i = 0; i < N_MISMATCHES; i++)
        if (x.n_mismatched[i]) {
            put_mismatch(&c->mismatches, &x, (enum mismatch)i);
            is_comparable = false;
        }
    if (!buf_ok(&c->mismatches)) {
        st = no_memory(err);
    } else if (!is_comparable && !o->allow_mismatch) {
        st = refuse(&x, err);
    } else if (!c->n_pairs && !x.n_internal) {
        st = error_set(err, ST_MISMATCH, "runs '%s' and '%s' have no item in common", base->run_id,
                       cand->run_id);
    } else if (x.n_internal && (!o->allow_mismatch || !c->n_pairs)) {
        st = error_set(err, ST_INTERNAL,
                       "%zu answers of '%s' or '%s' have no verdict, as the judge failed; "
                       "`desbench resume` judges them again",
                       x.n_internal, base->run_id, cand->run_id);
    }
    if (st)
        goto out;
    if (x.n_internal)
        buf_printf(&c->mismatches, "%zu answers have no verdict, as the judge failed\n",
                   x.n_internal);
    st = count_all(c, err);
    if (st)
        goto out;
    for (size_t t = 0; t < c->n_tasks; t++)
        sum += divide((double)(c->tasks[t].a + c->tasks[t].c),
                      (double)(c->tasks[t].a + c->tasks[t].b));
    c->rel = sum / (double)c->n_tasks;
    for (size_t i = 0; i < N_RATES; i++)
        c->rates[i] = (struct compare_rate){ rate_names[i], NAN, NAN, NAN, NAN, NAN };
    if (o->has_intervals)
        st = bootstrap(c, o, err);
    c->is_identical = c->all.n_same == c->all.n;
    c->is_too_few = c->all.b + c->all.c < 5;
    c->outcome = c->is_identical     ? STATS_IDENTICAL
                 : o->is_fixed_suite ? outcome_of_suite(c)
                                     : c->all.gate.outcome;
    c->p_worse_holm = c->all.gate.p_worse;
    c->p_not_inferior_holm = c->all.gate.p_not_inferior;
out:
    if (st)
        compare_release(c);
    return st;
}

void compare_release(struct comparison *c)
{
    if (c)
        buf_release(&c->mismatches);
}

enum status compare_correct(struct comparison *const *c, size_t n, struct error *err)
{
    double *p = calloc(n ? n : 1, 4 * sizeof(*p));
    enum status st = p ? ST_OK : no_memory(err);

    /* an identical run is a fact and no test */
    for (size_t i = 0; i < n && !st; i++) {
        p[i] = c[i]->is_identical ? NAN : c[i]->all.gate.p_worse;
        p[n + i] = c[i]->is_identical ? NAN : c[i]->all.gate.p_not_inferior;
    }
    if (!st)
        st = stats_holm(p, n, p + 2 * n, err);
    if (!st)
        st = stats_holm(p + n, n, p + 3 * n, err);
    for (size_t i = 0; i < n && !st; i++) {
        if (c[i]->is_identical)
            continue;
        c[i]->p_worse_holm = p[2 * n + i];
        c[i]->p_not_inferior_holm = p[3 * n + i];
        c[i]->outcome = c[i]->p_not_inferior_holm < STATS_GATE_PASS ? STATS_PASS
                        : c[i]->p_worse_holm < STATS_GATE_FAIL      ? STATS_FAIL
                                                                    : STATS_UNDECIDED;
    }
    free(p);
    return st;
}
