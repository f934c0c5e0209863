/*
 * The numbers of a report: sums of answers, their intervals, and who is on the frontier.
 *
 * A score's interval is Wilson's where every item has one answer and none shares a parent with
 * another; else it comes from a bootstrap over items, or over parents. Rates (unique experts,
 * forwards) always come from that bootstrap. Policies of a group answered the same items, and are
 * drawn together: one draw takes the same items for all of them, so that the probability of being
 * on the frontier is one of paired differences.
 */
#include "results/report.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "results/compare_impl.h"
#include "results/report_impl.h"

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory making a report");
}

/* ---- gathering -------------------------------------------------------------------------- */

enum status report_new(const struct report_options *o, struct report **ret, struct error *err)
{
    struct report *r = calloc(1, sizeof(*r));

    if (!r)
        return no_memory(err);
    r->options = *o;
    *ret = r;
    return ST_OK;
}

void report_free(struct report *r)
{
    if (!r)
        return;
    for (size_t i = 0; i < r->n_files; i++)
        buf_release(&r->files[i].text);
    free(r->classes);
    free(r->policies);
    free(r->runs.p);
    arena_release(&r->arena);
    free(r);
}

/* Room for n more elements at the end of a heap array. */
static bool grow(void **array, size_t n, size_t n_more, size_t size)
{
    size_t bytes;
    void *p;

    if (!size_add(n, n_more, &bytes) || !size_mul(bytes, size, &bytes))
        return false;
    p = realloc(*array, bytes ? bytes : 1);
    if (!p)
        return false;
    *array = p;
    return true;
}

/* The run of a cell among those of the report; new ones are read. */
static enum status add_run(struct report *r, struct store *s, const char *source,
                           const char *run_id, const struct cell_row *cell, struct error *err)
{
    struct report_run *run;
    void *runs = r->runs.p;
    enum status st;

    for (size_t i = 0; i < r->runs.n; i++)
        if (strcmp(r->runs.p[i]->row.run_id, run_id) == 0)
            return ST_OK;
    run = arena_alloc(&r->arena, sizeof(*run));
    if (!run || !grow(&runs, r->runs.n, 1, sizeof(*r->runs.p)))
        return no_memory(err);
    r->runs.p = runs;
    run->source = source;
    run->cell = cell;
    st = store_get_run(s, run_id, &r->arena, &run->row, &run->summary, err);
    if (!st)
        r->runs.p[r->runs.n++] = run;
    return st;
}

enum status report_add(struct report *r, struct store *s, const struct answer_set *sets, size_t n,
                       struct error *err)
{
    struct report_source *source = arena_alloc(&r->arena, sizeof(*source));
    void *policies = r->policies;
    enum status st;

    if (!source || !grow(&policies, r->n_policies, n, sizeof(*r->policies)))
        return no_memory(err);
    r->policies = policies;
    st = store_cover(s, sets, n, err);
    if (!st)
        st = store_sample_facts(s, &r->arena, &source->facts, &source->n_facts, err);
    if (!st)
        st = store_layer_uses(s, &r->arena, &source->layers, &source->n_layers, err);
    if (!st)
        st = store_commit_counts(s, &r->arena, &source->commits, &source->n_commits, err);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < sets[i].n_cells && !st; k++)
            st = add_run(r, s, sets[i].source, sets[i].run_ids[k], &sets[i].cells[k], err);
    for (size_t i = 0; i < n && !st; i++)
        r->policies[r->n_policies++] =
            (struct report_policy){ .set = &sets[i], .source = source, .name = sets[i].label };
    return st;
}

enum status report_answer_claims(struct report *r, struct store *s, const char *text, size_t len,
                                 const char *name, struct buf *ret_text, struct error *err)
{
    enum status st = claims_read(text, len, name, &r->arena, &r->claims, err);

    if (!st)
        st = claims_answer(&r->claims, s, r->options.n_draws, r->options.seed, &r->arena,
                           &r->answers, err);
    if (st)
        return st;
    claims_put_text(r->answers, r->claims.n, ret_text);
    return buf_ok(ret_text) ? ST_OK : no_memory(err);
}

const struct cell_row *report_cell_row(const struct report *r, const struct report_cell *c)
{
    return &r->policies[c->policy].set->cells[c->cell];
}

/* ---- rates ------------------------------------------------------------------------------ */

static double divide(double a, double b)
{
    return b > 0 ? a / b : NAN;
}

double report_unique(const struct report_tally *t)
{
    return divide((double)t->sum_unique, (double)t->n_layer_forwards);
}

double report_tok_per_s(const struct report_tally *t)
{
    return divide((double)t->n_tokens, t->seconds);
}

double report_tok_per_forward(const struct report_tally *t)
{
    return divide((double)t->n_tokens, (double)t->n_forwards);
}

double report_forwards(const struct report_tally *t)
{
    return t->n_forwards ? divide((double)t->n_forwards, (double)t->n_samples) : NAN;
}

double report_bytes_per_commit(const struct report_tally *t)
{
    return t->sum_bytes ? divide((double)t->sum_bytes, (double)t->n_committed) : NAN;
}

double report_bytes_per_right(const struct report_tally *t)
{
    return t->sum_bytes ? divide((double)t->sum_bytes, (double)t->n_passed) : NAN;
}

/* ---- sums ------------------------------------------------------------------------------- */

static bool is_internal(const struct answer_row *a)
{
    return strcmp(a->verdict, "internal") == 0;
}

static bool is_same_item(const struct answer_row *a, const struct answer_row *b)
{
    return strcmp(a->task, b->task) == 0 && strcmp(a->task_id, b->task_id) == 0 &&
           strcmp(a->item_sha256, b->item_sha256) == 0;
}

static int by_id(const void *key, const void *element)
{
    int64_t a = *(const int64_t *)key, b = ((const struct sample_facts *)element)->sample_id;

    return (a > b) - (a < b);
}

static const struct sample_facts *facts_of(const struct report_source *source,
                                           const struct answer_row *a)
{
    return source->n_facts ? bsearch(&a->sample_id, source->facts, source->n_facts,
                                     sizeof(*source->facts), by_id)
                           : NULL;
}

static int by_value(const void *x, const void *y)
{
    double a = *(const double *)x, b = *(const double *)y;

    return (a > b) - (a < b);
}

static void quantiles(double *x, size_t n, double *ret_p50, double *ret_p95)
{
    *ret_p50 = *ret_p95 = NAN;
    if (!n)
        return;
    qsort(x, n, sizeof(*x), by_value);
    *ret_p50 = stats_quantile(x, n, 0.50);
    *ret_p95 = stats_quantile(x, n, 0.95);
}

static void mean_score(const void *arg, const double *sums, double *ret)
{
    (void)arg;
    *ret = divide(sums[0], sums[1]);
}

/* Of n items with their shares of right answers, one stratum. */
static enum status score_interval(const struct report *r, const double *shares, size_t n,
                                  bool is_single, struct report_value *ret, struct error *err)
{
    struct stats_bootstrap b = { .n_units = n,
                                 .n_values = 2,
                                 .stratum_end = &n,
                                 .n_strata = 1,
                                 .n_stats = 1,
                                 .fn = mean_score,
                                 .n_draws = r->options.n_draws,
                                 .seed = r->options.seed,
                                 .alpha = 0.05 };
    double total = 0, *values;
    enum status st;

    for (size_t i = 0; i < n; i++)
        total += shares[i];
    *ret = (struct report_value){ divide(total, (double)n), NAN, NAN, "" };
    if (!n)
        return ST_OK;
    if (is_single) {
        ret->method = "wilson-95";
        stats_wilson((int64_t)llround(total), (int64_t)n, 0.05, &ret->low, &ret->high);
        return ST_OK;
    }
    values = calloc(n, 2 * sizeof(*values));
    if (!values)
        return no_memory(err);
    for (size_t i = 0; i < n; i++) {
        values[2 * i] = shares[i];
        values[2 * i + 1] = 1;
    }
    b.values = values;
    ret->method = "bootstrap-95";
    st = stats_bootstrap(&b, &ret->low, &ret->high, err);
    free(values);
    return st;
}

/* Which answers: of one cell, or of all (SIZE_MAX); of one level, or of all (0). */
struct chosen {
    size_t cell;
    int level;
};

static bool is_chosen(const struct report_policy *p, const struct answer_row *a,
                      const struct chosen *c)
{
    const struct sample_facts *f;

    if (c->cell != SIZE_MAX && a->cell != c->cell)
        return false;
    if (!c->level)
        return true;
    f = facts_of(p->source, a);
    return f && f->level == c->level;
}

static void add_answer(struct report_tally *t, const struct answer_row *a)
{
    t->n_samples++;
    t->n_passed += a->is_passed;
    t->n_tokens += a->n_tokens_before_eos;
    t->n_forwards += a->n_forwards;
    t->n_layer_forwards += a->n_layer_forwards;
    t->sum_unique += a->sum_unique;
    t->sum_bytes += a->sum_expert_bytes;
}

static void add_commits(const struct report_policy *p, size_t cell, struct report_tally *t)
{
    for (size_t k = 0; k < p->set->n_cells; k++)
        for (size_t i = 0; i < p->source->n_commits && (cell == SIZE_MAX || cell == k); i++) {
            const struct commit_count *c = &p->source->commits[i];

            if (strcmp(c->cell_key, p->set->cell_keys[k]) != 0)
                continue;
            t->n_committed += c->n_committed * c->n_forwards;
            t->n_commit_forwards += c->n_forwards;
        }
}

/* Rows of a set are by task, item and answer: an item's answers stand together. */
static enum status tally(const struct report *r, const struct report_policy *p, struct chosen which,
                         struct report_tally *ret, struct error *err)
{
    const struct answer_set *s = p->set;
    double *shares = calloc(3 * s->n_rows + 1, sizeof(*shares)), *gen = shares + s->n_rows,
           *judge = gen + s->n_rows;
    const struct answer_row *last = NULL;
    size_t n_gen = 0, n_judge = 0, n_items = 0;
    int64_t n_answers = 0;
    struct report_tally t = { 0 };
    enum status st;

    if (!shares)
        return no_memory(err);
    for (size_t i = 0; i < s->n_rows; i++) {
        const struct answer_row *a = &s->rows[i];
        const struct sample_facts *f = facts_of(p->source, a);

        if (!is_chosen(p, a, &which))
            continue;
        if (is_internal(a)) {
            t.n_internal++;
            continue;
        }
        if (!last || !is_same_item(last, a)) {
            n_answers = 0;
            n_items++;
        }
        last = a;
        add_answer(&t, a);
        shares[n_items - 1] = /* mean of the answers so far */
            (shares[n_items - 1] * (double)n_answers + a->is_passed) / (double)(n_answers + 1);
        n_answers++;
        t.max_per_item = n_answers > t.max_per_item ? n_answers : t.max_per_item;
        if (a->total_ns > 0)
            gen[n_gen++] = (double)a->total_ns * 1e-9;
        if (f && f->judge_ns > 0)
            judge[n_judge++] = (double)f->judge_ns * 1e-9;
    }
    t.n_items = (int64_t)n_items;
    for (size_t i = 0; i < n_items; i++)
        t.sum_score += shares[i];
    for (size_t k = 0; k < s->n_cells; k++)
        if (!which.level && (which.cell == SIZE_MAX || which.cell == k))
            t.seconds += s->seconds[k];
    if (!which.level)
        add_commits(p, which.cell, &t);
    quantiles(gen, n_gen, &t.gen_p50, &t.gen_p95);
    quantiles(judge, n_judge, &t.judge_p50, &t.judge_p95);
    st = score_interval(r, shares, n_items, t.max_per_item == 1, &t.score, err);
    free(shares);
    *ret = t;
    return st;
}

/* ---- groups ----------------------------------------------------------------------------- */

static bool has_internal(const struct answer_set *s)
{
    for (size_t i = 0; i < s->n_rows; i++)
        if (is_internal(&s->rows[i]))
            return true;
    return false;
}

/* The same answers wanted of the same model. */
static bool is_comparable(const struct answer_set *a, const struct answer_set *b)
{
    const struct cell_row *x = &a->cells[0], *y = &b->cells[0];

    if (a->n_rows != b->n_rows || strcmp(x->load_format, y->load_format) != 0 ||
        strcmp(x->weights_sha256, y->weights_sha256) != 0 ||
        strcmp(x->config_sha256, y->config_sha256) != 0 || strcmp(x->model, y->model) != 0 ||
        has_internal(a) || has_internal(b))
        return false;
    for (size_t i = 0; i < a->n_rows; i++)
        if (!is_same_item(&a->rows[i], &b->rows[i]) ||
            a->rows[i].sample_idx != b->rows[i].sample_idx ||
            strcmp(a->rows[i].reference_sha256, b->rows[i].reference_sha256) != 0 ||
            strcmp(a->rows[i].prompt_sha256, b->rows[i].prompt_sha256) != 0 ||
            strcmp(a->rows[i].checker_version, b->rows[i].checker_version) != 0)
            return false;
    return true;
}

static void find_groups(struct report *r)
{
    for (size_t i = 0; i < r->n_policies; i++) {
        size_t j = 0;

        while (j < i && !is_comparable(r->policies[i].set, r->policies[j].set))
            j++;
        r->policies[i].group = j < i ? r->policies[j].group : r->n_groups++;
    }
}

/* Labels are of one run: where two runs have the same, they say which model or run it was. */
static enum status find_names(struct report *r, struct error *err)
{
    for (size_t i = 0; i < r->n_policies; i++) {
        struct report_policy *p = &r->policies[i];
        bool has_other_model = false, has_other_run = false;

        for (size_t j = 0; j < r->n_policies; j++) {
            const struct answer_set *o = r->policies[j].set;

            if (j == i || strcmp(o->label, p->set->label) != 0)
                continue;
            if (strcmp(o->cells[0].model, p->set->cells[0].model) == 0)
                has_other_run = true;
            else
                has_other_model = true;
        }
        if (has_other_model || has_other_run)
            p->name =
                arena_printf(&r->arena, "%s%s%s%s%s", p->set->label, has_other_model ? ", " : "",
                             has_other_model ? p->set->cells[0].model : "",
                             has_other_run ? ", run " : "", has_other_run ? p->set->run_id : "");
        if (!p->name)
            return no_memory(err);
    }
    return ST_OK;
}

/* ---- the bootstrap of a group ----------------------------------------------------------- */

/* Sums of a unit: items, answers, then of each policy these. */
enum { U_ITEMS, U_ANSWERS, U_FIRST };
enum { U_SCORE, U_UNIQUE, U_LAYERS, U_FORWARDS, U_PER_POLICY };
enum { S_SCORE, S_UNIQUE, S_FORWARDS, S_PER_POLICY };

struct drawing {
    size_t n;          /* policies */
    int64_t n_draws;   /* still to come */
    int64_t *on_front; /* (n) draws in which nothing beat it */
    bool *is_on_front; /* (n) in the last call, which is the sample itself */
};

/* Does a beat b: no worse in both, better in one? */
static bool beats(const double *a, const double *b)
{
    return a[S_SCORE] >= b[S_SCORE] && a[S_UNIQUE] <= b[S_UNIQUE] &&
           (a[S_SCORE] > b[S_SCORE] || a[S_UNIQUE] < b[S_UNIQUE]);
}

static void draw(const void *arg, const double *sums, double *ret)
{
    struct drawing *d = *(struct drawing *const *)arg;

    for (size_t i = 0; i < d->n; i++) {
        const double *x = sums + U_FIRST + i * U_PER_POLICY;
        double *y = ret + i * S_PER_POLICY;

        y[S_SCORE] = divide(x[U_SCORE], sums[U_ITEMS]);
        y[S_UNIQUE] = divide(x[U_UNIQUE], x[U_LAYERS]);
        y[S_FORWARDS] = divide(x[U_FORWARDS], sums[U_ANSWERS]);
    }
    for (size_t i = 0; i < d->n; i++) {
        bool is_beaten = false;

        for (size_t j = 0; j < d->n && !is_beaten; j++)
            is_beaten = beats(ret + j * S_PER_POLICY, ret + i * S_PER_POLICY);
        d->is_on_front[i] = !is_beaten;
        if (d->n_draws > 0)
            d->on_front[i] += !is_beaten;
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
        n += !is_internal(&s->rows[i]);
    return n;
}

static void add_row(double *values, struct report_policy *const *p, size_t n, size_t row)
{
    double share = 1.0 / (double)n_answers(p[0]->set, row);

    values[U_ITEMS] += share;
    values[U_ANSWERS] += 1;
    for (size_t i = 0; i < n; i++) {
        const struct answer_row *a = &p[i]->set->rows[row];
        double *x = values + U_FIRST + i * U_PER_POLICY;

        x[U_SCORE] += a->is_passed ? share : 0;
        x[U_UNIQUE] += (double)a->sum_unique;
        x[U_LAYERS] += (double)a->n_layer_forwards;
        x[U_FORWARDS] += (double)a->n_forwards;
    }
}

static void take_intervals(struct report_policy *const *p, size_t n, const struct drawing *d,
                           int64_t n_draws, const double *low, const double *high, bool is_single)
{
    for (size_t i = 0; i < n; i++) {
        const double *l = low + i * S_PER_POLICY, *h = high + i * S_PER_POLICY;
        struct report_tally *t = &p[i]->t;

        if (!is_single) {
            t->score.low = l[S_SCORE];
            t->score.high = h[S_SCORE];
            t->score.method = "bootstrap-95";
        }
        p[i]->unique = (struct report_value){ report_unique(t), NAN, NAN, "" };
        p[i]->forwards = (struct report_value){ report_forwards(t), NAN, NAN, "" };
        if (!isnan(p[i]->unique.value))
            p[i]->unique = (struct report_value){ p[i]->unique.value, l[S_UNIQUE], h[S_UNIQUE],
                                                  "bootstrap-95" };
        if (!isnan(p[i]->forwards.value))
            p[i]->forwards = (struct report_value){ p[i]->forwards.value, l[S_FORWARDS],
                                                    h[S_FORWARDS], "bootstrap-95" };
        p[i]->frontier = NAN;
        if (n > 1 && !isnan(p[i]->unique.value)) {
            p[i]->frontier = (double)d->on_front[i] / (double)n_draws;
            p[i]->is_on_front = d->is_on_front[i];
        }
    }
}

static enum status bootstrap_group(struct report *r, struct report_policy *const *p, size_t n,
                                   struct error *err)
{
    const struct answer_set *s = p[0]->set;
    size_t n_values = U_FIRST + n * U_PER_POLICY, n_units = 0, n_strata = 0;
    double *values = calloc(s->n_rows, n_values * sizeof(*values)),
           *low = calloc(n, 2 * S_PER_POLICY * sizeof(*low)), *high = low + n * S_PER_POLICY;
    size_t *ends = calloc(s->n_rows, sizeof(*ends));
    int64_t *on_front = calloc(n, sizeof(*on_front));
    bool *is_on_front = calloc(n, sizeof(*is_on_front)), is_single = p[0]->t.max_per_item == 1;
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
        if (!is_internal(&s->rows[u[i].row]))
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
        st = stats_bootstrap(&b, low, high, err);
    }
    if (!st)
        take_intervals(p, n, &d, r->options.n_draws, low, high, is_single);
    arena_release(&arena);
    free(is_on_front);
    free(on_front);
    free(ends);
    free(low);
    free(values);
    return st;
}

static enum status bootstrap_groups(struct report *r, struct error *err)
{
    struct report_policy **p = calloc(r->n_policies + 1, sizeof(struct report_policy *));
    enum status st = p ? ST_OK : no_memory(err);

    for (size_t g = 0; g < r->n_groups && !st; g++) {
        size_t n = 0;

        for (size_t i = 0; i < r->n_policies; i++)
            if (r->policies[i].group == g)
                p[n++] = &r->policies[i];
        st = bootstrap_group(r, p, n, err);
    }
    free(p);
    return st;
}

/* ---- classes ---------------------------------------------------------------------------- */

static enum status find_classes(struct report *r, const struct report_cell *c, struct error *err)
{
    const struct report_policy *p = &r->policies[c->policy];
    int level = 0;
    enum status st = ST_OK;

    if (!r->options.level_name(report_cell_row(r, c)->task))
        return ST_OK;
    for (;;) { /* the next higher level */
        int next = 0;
        struct report_tally t;
        void *classes = r->classes;

        for (size_t i = 0; i < p->source->n_facts; i++) {
            int x = p->source->facts[i].level;

            next = x > level && (!next || x < next) ? x : next;
        }
        if (!next)
            return ST_OK;
        level = next;
        st = tally(r, p, (struct chosen){ c->cell, level }, &t, err);
        if (st)
            return st;
        if (!t.n_items)
            continue;
        if (!grow(&classes, r->n_classes, 1, sizeof(*r->classes)))
            return no_memory(err);
        r->classes = classes;
        r->classes[r->n_classes++] =
            (struct report_class){ c->policy, c->cell, level, t.n_items, t.score };
    }
}

enum status report_compute(struct report *r, struct error *err)
{
    size_t n_cells = 0;
    enum status st;

    for (size_t i = 0; i < r->n_policies; i++)
        n_cells += r->policies[i].set->n_cells;
    r->cells = arena_array(&r->arena, n_cells, sizeof(*r->cells));
    if (!r->cells)
        return no_memory(err);
    find_groups(r);
    st = find_names(r, err);
    for (size_t i = 0; i < r->n_policies && !st; i++) {
        struct report_policy *p = &r->policies[i];

        st = tally(r, p, (struct chosen){ SIZE_MAX, 0 }, &p->t, err);
        for (size_t k = 0; k < p->set->n_cells && !st; k++) {
            struct report_cell *c = &r->cells[r->n_cells++];

            *c = (struct report_cell){ .policy = i, .cell = k };
            st = tally(r, p, (struct chosen){ k, 0 }, &c->t, err);
            if (!st && !c->t.n_items && !c->t.n_internal)
                r->n_cells--; /* of a task that was not asked for */
            else if (!st)
                st = find_classes(r, c, err);
        }
    }
    if (!st)
        st = bootstrap_groups(r, err);
    return st;
}
