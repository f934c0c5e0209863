/* Claims: reading them, and what rows say of them. */
#include "results/claims.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/size.h"
#include "base/yaml.h"
#include "results/compare_impl.h"

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory answering claims");
}

const char *claim_verdict_name(enum claim_verdict v)
{
    static const char *const names[] = { [CLAIM_SUPPORTED] = "supported",
                                         [CLAIM_REFUTED] = "refuted",
                                         [CLAIM_NOT_TESTABLE] = "not testable here",
                                         [CLAIM_ILL_POSED] = "ill-posed" };

    return names[v];
}

/* ---- reading ---------------------------------------------------------------------------- */

static const char *const statistics[] = { [CLAIM_RATE] = "rate",
                                          [CLAIM_RATIO] = "ratio",
                                          [CLAIM_RELATIVE_ACCURACY] = "relative-accuracy",
                                          [CLAIM_GAP] = "gap" };
static const char *const expectations[] = { [CLAIM_ABOVE] = "above",
                                            [CLAIM_BELOW] = "below",
                                            [CLAIM_ABOUT] = "about",
                                            [CLAIM_EXACTLY] = "exactly" };
#define N_OF(x) (sizeof(x) / sizeof((x)[0]))

/* A key's text in the arena; of one that may be left out NULL. */
static enum status read_text(const json_t *o, const char *where, const char *key, bool is_needed,
                             struct arena *arena, const char **ret, struct error *err)
{
    const char *s = NULL;
    size_t len;
    enum status st;

    if (!is_needed && !json_object_get(o, key))
        return ST_OK;
    st = json_get_str(o, where, key, &s, NULL, err);
    if (st)
        return st;
    len = strlen(s);
    while (len && strchr(" \n", s[len - 1])) /* a folded text ends in a line break */
        len--;
    if (!len)
        return error_set(err, ST_INVALID, "%s: '%s' is empty", where, key);
    *ret = arena_strdup(arena, s, len);
    return *ret ? ST_OK : no_memory(err);
}

/* `expect: {above: 1}`; about takes within as well. */
static enum status read_expect(const json_t *o, const char *where, struct claim *ret,
                               struct error *err)
{
    json_t *e = NULL;
    enum status st = json_get_object(o, where, "expect", &e, err);
    size_t i = 0;

    if (st)
        return st;
    while (i < N_OF(expectations) && !json_object_get(e, expectations[i]))
        i++;
    if (i == N_OF(expectations))
        return error_set(err, ST_INVALID, "%s: 'expect' takes one of above, below, about, exactly",
                         where);
    ret->expect = (enum claim_expect)i;
    st = json_get_num(e, where, expectations[i], &ret->x, err);
    if (!st && ret->expect == CLAIM_ABOUT) {
        st = json_get_num(e, where, "within", &ret->within, err);
        if (!st && !(ret->within > 0))
            st = error_set(err, ST_INVALID, "%s: 'within' is %g, not above 0", where, ret->within);
    }
    if (!st && json_object_size(e) != (ret->expect == CLAIM_ABOUT ? 2 : 1))
        st = error_set(err, ST_INVALID, "%s: 'expect' has a key too many beside '%s'", where,
                       expectations[i]);
    return st;
}

static enum status check_keys(json_t *o, const char *where, struct error *err)
{
    static const char *const keys[] = { "id",    "claim",     "metric",       "query",
                                        "needs", "statistic", "expect",       "holds",
                                        "note",  "ill-posed", "not-testable", NULL };
    const char *key;
    json_t *v;

    json_object_foreach(o, key, v)
    {
        size_t i = 0;

        while (keys[i] && strcmp(keys[i], key) != 0)
            i++;
        if (!keys[i])
            return error_set(err, ST_INVALID, "%s: unknown key '%s'", where, key);
    }
    return ST_OK;
}

static enum status read_claim(json_t *o, const char *name, size_t index, struct arena *arena,
                              struct claim *ret, struct error *err)
{
    const char *statistic = NULL, *holds = NULL;
    char where[300];
    size_t i = 0;
    enum status st;

    snprintf(where, sizeof(where), "%.200s: claim number %zu", name, index + 1);
    if (!json_is_object(o))
        return error_set(err, ST_INVALID, "%s is no mapping", where);
    st = json_get_int(o, where, "id", 1, 1000000, &ret->id, err);
    if (!st)
        st = check_keys(o, where, err);
    if (!st)
        st = read_text(o, where, "claim", true, arena, &ret->text, err);
    if (!st)
        st = read_text(o, where, "metric", true, arena, &ret->metric, err);
    if (!st)
        st = read_text(o, where, "query", true, arena, &ret->query, err);
    if (!st)
        st = read_text(o, where, "needs", true, arena, &ret->needs, err);
    if (!st)
        st = read_text(o, where, "note", false, arena, &ret->note, err);
    if (!st)
        st = read_text(o, where, "ill-posed", false, arena, &ret->ill_posed, err);
    if (!st)
        st = read_text(o, where, "not-testable", false, arena, &ret->not_testable, err);
    if (!st)
        st = read_text(o, where, "statistic", true, arena, &statistic, err);
    if (!st)
        st = read_text(o, where, "holds", false, arena, &holds, err);
    if (!st)
        st = read_expect(o, where, ret, err);
    if (st)
        return st;
    while (i < N_OF(statistics) && strcmp(statistics[i], statistic) != 0)
        i++;
    if (i == N_OF(statistics))
        return error_set(err, ST_INVALID,
                         "%s: 'statistic' is '%s', not rate, ratio, relative-accuracy or gap",
                         where, statistic);
    ret->statistic = (enum claim_statistic)i;
    ret->is_some = holds && strcmp(holds, "some") == 0;
    if (holds && !ret->is_some && strcmp(holds, "every") != 0)
        return error_set(err, ST_INVALID, "%s: 'holds' is '%s', not every or some", where, holds);
    if (ret->ill_posed && ret->not_testable)
        return error_set(err, ST_INVALID, "%s: both 'ill-posed' and 'not-testable'", where);
    if (ret->expect == CLAIM_EXACTLY && ret->statistic != CLAIM_RATE)
        return error_set(err, ST_INVALID, "%s: 'exactly' is of a rate, not of '%s'", where,
                         statistic);
    return ST_OK;
}

enum status claims_read(const char *text, size_t len, const char *name, struct arena *arena,
                        struct claims *ret, struct error *err)
{
    json_t *root = NULL, *list = NULL;
    struct claims c = { 0 };
    enum status st = yaml_parse(text, len, name, &root, err);

    if (!st && (!json_is_object(root) || json_object_size(root) != 1))
        st = error_set(err, ST_INVALID, "%s: takes one key, 'claims'", name);
    if (!st)
        st = json_get_array(root, name, "claims", &list, err);
    if (!st) {
        c.n = json_array_size(list);
        c.items = arena_array(arena, c.n, sizeof(*c.items));
        if (!c.items)
            st = no_memory(err);
    }
    for (size_t i = 0; i < c.n && !st; i++) {
        st = read_claim(json_array_get(list, i), name, i, arena, &c.items[i], err);
        for (size_t k = 0; k < i && !st; k++)
            if (c.items[k].id == c.items[i].id)
                st = error_set(err, ST_INVALID, "%s: claim %lld is there twice", name,
                               (long long)c.items[i].id);
    }
    json_decref(root);
    if (!st)
        *ret = c;
    return st;
}

/* ---- statistics ------------------------------------------------------------------------- */

static double divide(double a, double b)
{
    return b > 0 ? a / b : NAN;
}

static void rate(const void *arg, const double *sums, double *ret)
{
    (void)arg;
    *ret = divide(sums[0], sums[1]);
}

static void ratio(const void *arg, const double *sums, double *ret)
{
    (void)arg;
    *ret = divide(divide(sums[0], sums[1]), divide(sums[2], sums[3]));
}

/* Sums of a unit for a gap: of each policy its right answers by task, unique experts and layers. */
struct gap_policy {
    const char *name;
    bool is_claimed, is_vanilla;
    size_t n_rows;
};
struct gap {
    struct gap_policy *policies; /* (n) */
    size_t n, n_tasks;
    struct gap_point {
        double unique, accuracy;
        bool is_claimed;
    } * points; /* (n) scratch */
};

static size_t gap_width(const struct gap *g)
{
    return g->n_tasks + 2;
}

static int by_unique(const void *a, const void *b)
{
    const struct gap_point *x = a, *y = b;

    if (x->unique != y->unique)
        return x->unique < y->unique ? -1 : 1;
    return (x->accuracy < y->accuracy) - (x->accuracy > y->accuracy);
}

/* The frontier of rivals at u; points are by unique experts. NaN: there is no rival. *ret_is_left:
 * u is less than any of them has. */
static double frontier_at(const struct gap *g, double u, bool *ret_is_left)
{
    const struct gap_point *left = NULL;

    *ret_is_left = false;
    for (size_t i = 0; i < g->n; i++) {
        const struct gap_point *p = &g->points[i];

        if (p->is_claimed || (left && p->accuracy <= left->accuracy))
            continue; /* another is as good with no more experts */
        if (!left && p->unique > u) {
            *ret_is_left = true;
            return p->accuracy;
        }
        if (p->unique > u)
            return left->accuracy +
                   (p->accuracy - left->accuracy) * (u - left->unique) / (p->unique - left->unique);
        left = p;
    }
    return left ? left->accuracy : NAN;
}

static void gap_statistic(const void *arg, const double *sums, double *ret)
{
    const struct gap *g = *(struct gap *const *)arg;
    const double *vanilla = NULL;
    double total = 0;
    size_t n = 0;

    for (size_t i = 0; i < g->n; i++)
        if (g->policies[i].is_vanilla)
            vanilla = sums + i * gap_width(g);
    for (size_t i = 0; i < g->n; i++) {
        const double *x = sums + i * gap_width(g);
        struct gap_point *p = &g->points[i];

        *p = (struct gap_point){ divide(x[g->n_tasks], x[g->n_tasks + 1]), 0,
                                 g->policies[i].is_claimed };
        for (size_t t = 0; t < g->n_tasks; t++)
            p->accuracy += vanilla ? divide(x[t], vanilla[t]) / (double)g->n_tasks : NAN;
        if (isnan(p->accuracy) || isnan(p->unique)) {
            *ret = NAN;
            return;
        }
    }
    qsort(g->points, g->n, sizeof(*g->points), by_unique);
    for (size_t i = 0; i < g->n; i++) {
        bool is_left;
        double d;

        if (!g->points[i].is_claimed)
            continue;
        d = g->points[i].accuracy - frontier_at(g, g->points[i].unique, &is_left);
        total += is_left && d < 0 ? 0 : d;
        n++;
    }
    *ret = n ? total / (double)n : NAN;
}

/* ---- rows to units ---------------------------------------------------------------------- */

struct keyed {
    const struct claim_row *row;
    size_t subject, task, policy; /* numbers of their first rows' order */
    const char *cluster;
    uint64_t tasks; /* of the cluster, a bit each; beyond 64 the last ones share one */
};

struct rows {
    struct keyed *k; /* (n) */
    size_t n;
    const char **subjects, **tasks;
    size_t n_subjects, n_tasks;
};

static int by_subject_and_cluster(const void *a, const void *b)
{
    const struct keyed *x = a, *y = b;
    int c;

    if (x->subject != y->subject)
        return x->subject < y->subject ? -1 : 1;
    c = strcmp(x->cluster, y->cluster);
    return c ? c : (x->row > y->row) - (x->row < y->row);
}

static int by_tasks(const void *a, const void *b)
{
    const struct keyed *x = a, *y = b;

    if (x->subject == y->subject && x->tasks != y->tasks)
        return x->tasks < y->tasks ? -1 : 1;
    return by_subject_and_cluster(a, b);
}

/* The number of a name, which is put at the end of the list where it is new. The last one is looked
 * at first: rows come in runs. */
static size_t number_of(const char **names, size_t *n, const char *name)
{
    for (size_t i = *n; i-- > 0;)
        if (strcmp(names[i], name) == 0)
            return i;
    names[*n] = name;
    return (*n)++;
}

/* Sort rows by subject, stratum and cluster. */
static enum status sort_rows(const struct claim_row *rows, size_t n, struct arena *arena,
                             struct rows *ret, struct error *err)
{
    struct rows r = { .n = n,
                      .k = arena_array(arena, n, sizeof(*r.k)),
                      .subjects = arena_array(arena, n, sizeof(char *)),
                      .tasks = arena_array(arena, n, sizeof(char *)) };
    struct buf name = { 0 };
    bool is_ok = r.k && r.subjects && r.tasks;

    for (size_t i = 0; i < n && is_ok; i++) {
        struct answer_row a = { .task = rows[i].task, .task_id = rows[i].item };

        buf_clear(&name);
        answer_put_cluster(&name, &a);
        r.k[i].row = &rows[i];
        r.k[i].subject = number_of(r.subjects, &r.n_subjects, rows[i].subject);
        r.k[i].task = number_of(r.tasks, &r.n_tasks, rows[i].task);
        r.k[i].cluster = buf_ok(&name) ? arena_strdup(arena, buf_str(&name), name.len) : NULL;
        is_ok = r.k[i].cluster != NULL;
    }
    buf_release(&name);
    if (!is_ok)
        return no_memory(err);
    if (n)
        qsort(r.k, n, sizeof(*r.k), by_subject_and_cluster);
    for (size_t i = 0, end; i < n; i = end) {
        uint64_t tasks = 0;

        for (end = i; end < n && r.k[end].subject == r.k[i].subject &&
                      strcmp(r.k[end].cluster, r.k[i].cluster) == 0;
             end++)
            tasks |= (uint64_t)1 << (r.k[end].task < 64 ? r.k[end].task : 63);
        for (size_t j = i; j < end; j++)
            r.k[j].tasks = tasks;
    }
    if (n)
        qsort(r.k, n, sizeof(*r.k), by_tasks);
    *ret = r;
    return ST_OK;
}

/* ---- one subject ------------------------------------------------------------------------ */

/* The rows of one subject as sums of units, and the function that they go through. */
struct evaluation {
    double *values; /* (n_units, n_values) */
    size_t *ends;   /* (n_strata) */
    size_t n_units, n_values, n_strata, n_tasks;
    struct gap gap, *gap_arg;
    stats_statistic_fn fn;
    const void *arg;
};

/* The policies of a gap, less those that lack rows. */
static enum status find_policies(struct keyed *k, size_t n, size_t n_tasks, struct arena *arena,
                                 struct gap *ret, struct error *err)
{
    struct gap g = { .policies = arena_array(arena, n, sizeof(*g.policies)), .n_tasks = n_tasks };
    const char **names = arena_array(arena, n, sizeof(char *));
    size_t *kept = arena_array(arena, n, sizeof(*kept)), n_most = 0, n_kept = 0;

    if (!g.policies || !names || !kept)
        return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        const struct claim_row *row = k[i].row;
        struct gap_policy *p;

        k[i].policy = number_of(names, &g.n, row->policy);
        p = &g.policies[k[i].policy];
        p->name = row->policy;
        p->is_claimed = strcmp(row->role, "claimed") == 0;
        p->is_vanilla = strcmp(row->role, "vanilla") == 0;
        if (!p->is_claimed && !p->is_vanilla && strcmp(row->role, "rival") != 0)
            return error_set(err, ST_INVALID, "role '%s' is not claimed, rival or vanilla",
                             row->role);
        p->n_rows++;
        n_most = p->n_rows > n_most ? p->n_rows : n_most;
    }
    for (size_t i = 0; i < g.n; i++) {
        kept[i] = g.policies[i].n_rows == n_most ? n_kept : SIZE_MAX;
        if (kept[i] != SIZE_MAX)
            g.policies[n_kept++] = g.policies[i];
    }
    for (size_t i = 0; i < n; i++)
        k[i].policy = kept[k[i].policy];
    g.n = n_kept;
    g.points = arena_array(arena, g.n, sizeof(*g.points));
    if (!g.points)
        return no_memory(err);
    *ret = g;
    return ST_OK;
}

static void add_row(struct evaluation *e, const struct claim *c, const struct keyed *k, size_t task)
{
    double *to = e->values + (e->n_units - 1) * e->n_values;
    const double *x = k->row->x;

    switch (c->statistic) {
    case CLAIM_RATE:
    case CLAIM_RATIO:
        for (size_t i = 0; i < e->n_values; i++)
            to[i] += x[i];
        break;
    case CLAIM_RELATIVE_ACCURACY: /* the baseline first */
        to[2 * task] += x[1];
        to[2 * task + 1] += x[0];
        break;
    case CLAIM_GAP:
        if (k->policy == SIZE_MAX)
            break;
        to += k->policy * gap_width(&e->gap);
        to[task] += x[0];
        to[e->n_tasks] += x[1];
        to[e->n_tasks + 1] += x[2];
        break;
    }
}

static bool is_new_unit(const struct keyed *k, size_t i)
{
    return !i || strcmp(k[i].cluster, k[i - 1].cluster) != 0;
}

static enum status make_units(const struct claim *c, struct keyed *k, size_t n, struct arena *arena,
                              struct evaluation *ret, struct error *err)
{
    const char **tasks = arena_array(arena, n, sizeof(char *));
    size_t *task_of = arena_array(arena, n, sizeof(*task_of)), bytes, n_units = 0;
    struct evaluation *e = ret;

    *e = (struct evaluation){ 0 };
    e->ends = arena_array(arena, n, sizeof(*e->ends));
    if (!tasks || !task_of || !e->ends)
        return no_memory(err);
    for (size_t i = 0; i < n; i++)
        task_of[i] = number_of(tasks, &e->n_tasks, k[i].row->task);
    if (c->statistic == CLAIM_RATE || c->statistic == CLAIM_RATIO) {
        e->n_values = c->statistic == CLAIM_RATE ? 2 : 4;
        e->fn = c->statistic == CLAIM_RATE ? rate : ratio;
    } else if (c->statistic == CLAIM_RELATIVE_ACCURACY) {
        e->n_values = 2 * e->n_tasks;
        e->fn = stats_relative_accuracy;
        e->arg = &e->n_tasks;
    } else {
        enum status st = find_policies(k, n, e->n_tasks, arena, &e->gap, err);

        if (st)
            return st;
        e->n_values = e->gap.n * gap_width(&e->gap);
        e->fn = gap_statistic;
        e->gap_arg = &e->gap;
        e->arg = &e->gap_arg;
    }
    for (size_t i = 0; i < n; i++)
        n_units += is_new_unit(k, i);
    e->values =
        size_mul(e->n_values, sizeof(double), &bytes) ? arena_array(arena, n_units, bytes) : NULL;
    if (!e->values)
        return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        if (i && k[i].tasks != k[i - 1].tasks)
            e->ends[e->n_strata++] = e->n_units;
        e->n_units += is_new_unit(k, i);
        add_row(e, c, &k[i], task_of[i]);
    }
    e->ends[e->n_strata++] = e->n_units;
    return ST_OK;
}

/* Where the interval lies. */
static enum claim_verdict judge(const struct claim *c, const struct claim_case *x)
{
    if (isnan(x->value))
        return CLAIM_NOT_TESTABLE;
    if (c->expect == CLAIM_EXACTLY)
        return x->value == c->x ? CLAIM_SUPPORTED : CLAIM_REFUTED;
    if (isnan(x->low) || isnan(x->high))
        return CLAIM_NOT_TESTABLE;
    if (c->expect == CLAIM_ABOUT)
        return x->low >= c->x - c->within && x->high <= c->x + c->within ? CLAIM_SUPPORTED
               : x->high < c->x - c->within || x->low > c->x + c->within ? CLAIM_REFUTED
                                                                         : CLAIM_NOT_TESTABLE;
    if (c->expect == CLAIM_ABOVE)
        return x->low > c->x    ? CLAIM_SUPPORTED
               : x->high < c->x ? CLAIM_REFUTED
                                : CLAIM_NOT_TESTABLE;
    return x->high < c->x ? CLAIM_SUPPORTED : x->low > c->x ? CLAIM_REFUTED : CLAIM_NOT_TESTABLE;
}

/* A normal's half-width holds z standard errors; a difference of z + z(20 %) of them shows in four
 * samples of five. */
static double resolution(const struct claim_case *x, double alpha)
{
    double z = stats_normal_upper_quantile(alpha / 2);

    return (x->high - x->low) / (2 * z) * (z + stats_normal_upper_quantile(0.2));
}

/*
 * Without a changed answer, or with few, a bootstrap of relative accuracy is too sure of itself: a
 * draw cannot show what no row does. Tango's bounds of the paired loss, over all rows, can: they
 * widen the interval to what they leave open.
 */
static void widen_by_tango(const struct keyed *k, size_t n, double alpha, struct claim_case *x)
{
    double z = stats_normal_upper_quantile(alpha / 2), lost = 0, gained = 0, base = 0, low, high;

    for (size_t i = 0; i < n; i++) {
        lost += k[i].row->x[1] > k[i].row->x[0];
        gained += k[i].row->x[1] < k[i].row->x[0];
        base += k[i].row->x[1];
    }
    if (isnan(x->value) || isnan(x->low) || isnan(x->high))
        return;
    base /= (double)n;
    low = 1 - stats_tango_bound(lost, gained, (double)n, -z) / base;
    high = 1 - stats_tango_bound(lost, gained, (double)n, z) / base;
    x->low = low < x->low ? low : x->low;
    x->high = high > x->high ? high : x->high;
}

static enum status evaluate(const struct claim *c, struct keyed *k, size_t n, double alpha,
                            int64_t n_draws, uint64_t seed, struct claim_case *ret,
                            struct error *err)
{
    struct arena arena = { 0 };
    struct evaluation e;
    struct claim_case x = { .n_items = n, .value = NAN, .low = NAN, .high = NAN };
    enum status st = make_units(c, k, n, &arena, &e, err);
    double *sums = st ? NULL : arena_array(&arena, e.n_values, sizeof(*sums));

    if (!st && !sums)
        st = no_memory(err);
    if (!st) {
        struct stats_bootstrap b = { .values = e.values,
                                     .n_units = e.n_units,
                                     .n_values = e.n_values,
                                     .stratum_end = e.ends,
                                     .n_strata = e.n_strata,
                                     .n_stats = 1,
                                     .fn = e.fn,
                                     .arg = e.arg,
                                     .n_draws = n_draws,
                                     .seed = seed,
                                     .alpha = alpha };

        for (size_t u = 0; u < e.n_units; u++)
            for (size_t i = 0; i < e.n_values; i++)
                sums[i] += e.values[u * e.n_values + i];
        e.fn(e.arg, sums, &x.value);
        if (e.n_units > 1)
            st = stats_bootstrap(&b, &x.low, &x.high, err);
        if (c->statistic == CLAIM_RELATIVE_ACCURACY)
            widen_by_tango(k, n, alpha, &x);
        if (c->expect != CLAIM_EXACTLY && x.low == x.high)
            x.low = x.high = NAN; /* rows all alike say nothing of others */
        x.resolution = c->expect == CLAIM_EXACTLY ? divide(1, sums[1]) : resolution(&x, alpha);
    }
    arena_release(&arena);
    if (st)
        return st;
    x.subject = k[0].row->subject;
    x.verdict = judge(c, &x);
    *ret = x;
    return ST_OK;
}

/* ---- one claim -------------------------------------------------------------------------- */

/* The subjects of one verdict, at most three by name. */
static void put_subjects(struct buf *b, const struct claim_answer *a, enum claim_verdict v)
{
    size_t n = 0;

    for (size_t i = 0; i < a->n; i++) {
        if (a->cases[i].verdict != v)
            continue;
        if (n < 3)
            buf_printf(b, "%s%s", n ? ", " : "", a->cases[i].subject);
        n++;
    }
    if (n > 3)
        buf_printf(b, " and %zu more", n - 3);
}

static enum status conclude(struct claim_answer *a, struct arena *arena, struct error *err)
{
    const struct claim *c = a->claim;
    struct buf why = { 0 };
    size_t counts[CLAIM_ILL_POSED + 1] = { 0 };

    for (size_t i = 0; i < a->n; i++)
        counts[a->cases[i].verdict]++;
    if (c->ill_posed || c->not_testable) {
        a->verdict = c->ill_posed ? CLAIM_ILL_POSED : CLAIM_NOT_TESTABLE;
        buf_puts(&why, c->ill_posed ? c->ill_posed : c->not_testable);
    } else if (!a->n) {
        a->verdict = CLAIM_NOT_TESTABLE;
        buf_printf(&why, "these results have no %s", c->needs);
    } else if (c->is_some ? counts[CLAIM_SUPPORTED] : counts[CLAIM_SUPPORTED] == a->n) {
        a->verdict = CLAIM_SUPPORTED;
        buf_printf(&why, "by %zu of %zu: ", counts[CLAIM_SUPPORTED], a->n);
        put_subjects(&why, a, CLAIM_SUPPORTED);
    } else if (c->is_some ? counts[CLAIM_REFUTED] == a->n : counts[CLAIM_REFUTED] > 0) {
        a->verdict = CLAIM_REFUTED;
        buf_printf(&why, "by %zu of %zu: ", counts[CLAIM_REFUTED], a->n);
        put_subjects(&why, a, CLAIM_REFUTED);
    } else {
        a->verdict = CLAIM_NOT_TESTABLE;
        buf_puts(&why, "these data leave it open for ");
        put_subjects(&why, a, CLAIM_NOT_TESTABLE);
    }
    a->why = buf_ok(&why) ? arena_strdup(arena, buf_str(&why), why.len) : NULL;
    buf_release(&why);
    return a->why ? ST_OK : no_memory(err);
}

static enum status answer_claim(const struct claim *c, struct store *s, int64_t n_draws,
                                uint64_t seed, struct arena *arena, struct claim_answer *ret,
                                struct error *err)
{
    static const int n_numbers[] = {
        [CLAIM_RATE] = 2, [CLAIM_RATIO] = 4, [CLAIM_RELATIVE_ACCURACY] = 2, [CLAIM_GAP] = 3
    };
    struct claim_row *rows = NULL;
    struct rows sorted = { 0 };
    size_t n = 0;
    enum status st = store_claim_rows(s, c->query, c->statistic == CLAIM_GAP ? 2 : 0,
                                      n_numbers[c->statistic], arena, &rows, &n, err);

    *ret = (struct claim_answer){ .claim = c };
    if (!st)
        st = sort_rows(rows, n, arena, &sorted, err);
    if (!st) {
        ret->n = sorted.n_subjects;
        ret->cases = arena_array(arena, ret->n, sizeof(*ret->cases));
        if (!ret->cases)
            st = no_memory(err);
    }
    for (size_t i = 0, end; i < n && !st; i = end) {
        for (end = i; end < n && sorted.k[end].subject == sorted.k[i].subject; end++)
            continue;
        st = evaluate(c, sorted.k + i, end - i, 0.05 / (double)ret->n, n_draws, seed,
                      &ret->cases[sorted.k[i].subject], err);
    }
    if (!st)
        st = conclude(ret, arena, err);
    return st ? error_prefix(err, st, "claim %lld", (long long)c->id) : ST_OK;
}

enum status claims_answer(const struct claims *claims, struct store *s, int64_t n_draws,
                          uint64_t seed, struct arena *arena, struct claim_answer **ret,
                          struct error *err)
{
    struct claim_answer *a = arena_array(arena, claims->n, sizeof(*a));
    enum status st = a ? ST_OK : no_memory(err);

    for (size_t i = 0; i < claims->n && !st; i++)
        st = answer_claim(&claims->items[i], s, n_draws, seed, arena, &a[i], err);
    if (!st)
        *ret = a;
    return st;
}
