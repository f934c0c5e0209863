/*
 * The numbers of a report: what is covered, groups and names of policies, sums of answers and their
 * intervals. What policies of a group are to each other stands in report_groups.c.
 *
 * A score's interval is Wilson's where every item has one answer and none shares a parent with
 * another; else it comes from a bootstrap over items, or over parents. Costs (unique experts,
 * bytes, seconds) always have theirs from the bootstrap of their group.
 */
#include "results/report.h"

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
    free(r->rooflines);
    free(r->fits);
    free(r->classes);
    free(r->policies);
    free(r->runs.p);
    arena_release(&r->arena);
    free(r);
}

bool report_grow(void **array, size_t n, size_t n_more, size_t size)
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
    if (!run || !report_grow(&runs, r->runs.n, 1, sizeof(*r->runs.p)))
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

    if (!source || !report_grow(&policies, r->n_policies, n, sizeof(*r->policies)))
        return no_memory(err);
    r->policies = policies;
    st = store_cover(s, sets, n, err);
    if (!st)
        st = store_sample_facts(s, &r->arena, &source->facts, &source->n_facts, err);
    if (!st)
        st = store_forward_facts(s, &r->arena, &source->forwards, err);
    if (!st)
        st = store_measured_facts(s, &r->arena, &source->measured, err);
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

double report_cost(const struct report_tally *t, enum report_cost cost)
{
    switch (cost) {
    case COST_UNIQUE: return report_unique(t);
    case COST_BYTES: return t->sum_bytes ? divide((double)t->sum_bytes, (double)t->n_samples) : NAN;
    case COST_SECONDS:
        return t->sum_ns ? divide((double)t->sum_ns * 1e-9, (double)t->n_forwards) : NAN;
    default: return NAN;
    }
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

bool report_is_internal(const struct answer_row *a)
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
    t->sum_ns += a->total_ns;
}

static void add_commits(const struct report_policy *p, size_t cell, struct report_tally *t)
{
    for (size_t k = 0; k < p->set->n_cells; k++)
        for (size_t i = 0; i < p->source->forwards.n_commits && (cell == SIZE_MAX || cell == k);
             i++) {
            const struct commit_count *c = &p->source->forwards.commits[i];

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
        if (report_is_internal(a)) {
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
        if (report_is_internal(&s->rows[i]))
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

/* Policies by group, groups in the order of their first policies. */
static enum status find_groups(struct report *r, struct error *err)
{
    struct report_policy *sorted = malloc(r->n_policies * sizeof(*sorted));
    size_t n = 0;

    r->groups = arena_array(&r->arena, r->n_policies, sizeof(*r->groups));
    if (!sorted || !r->groups) {
        free(sorted);
        return no_memory(err);
    }
    for (size_t i = 0; i < r->n_policies; i++) {
        size_t j = 0;

        while (j < i && !is_comparable(r->policies[i].set, r->policies[j].set))
            j++;
        r->policies[i].group = j < i ? r->policies[j].group : r->n_groups++;
    }
    for (size_t g = 0; g < r->n_groups; g++) {
        r->groups[g].first = n;
        for (size_t i = 0; i < r->n_policies; i++)
            if (r->policies[i].group == g)
                sorted[n++] = r->policies[i];
        r->groups[g].n = n - r->groups[g].first;
    }
    memcpy(r->policies, sorted, r->n_policies * sizeof(*sorted));
    free(sorted);
    return ST_OK;
}

static bool is_same_model(const struct answer_set *a, const struct answer_set *b)
{
    return strcmp(a->cells[0].model, b->cells[0].model) == 0;
}

/* What tells a policy from the others of its model; where that is nothing, its run too. */
static enum status find_names(struct report *r, struct error *err)
{
    const struct answer_set **sets = arena_array(&r->arena, r->n_policies, sizeof(void *));
    bool *with_run = arena_array(&r->arena, r->n_policies, sizeof(*with_run));

    if (!sets || !with_run)
        return no_memory(err);
    for (size_t i = 0; i < r->n_policies; i++) {
        struct report_policy *p = &r->policies[i];
        size_t n = 0, at = 0;

        for (size_t k = 0; k < r->n_policies; k++)
            if (is_same_model(r->policies[k].set, p->set)) {
                at = k == i ? n : at;
                sets[n++] = r->policies[k].set;
            }
        p->name = answer_set_label(sets, n, at, &r->arena);
        if (!p->name)
            return no_memory(err);
    }
    for (size_t i = 0; i < r->n_policies; i++) {
        const struct report_policy *p = &r->policies[i];

        for (size_t k = 0; k < r->n_policies && !with_run[i]; k++)
            with_run[i] = k != i && is_same_model(r->policies[k].set, p->set) &&
                          strcmp(r->policies[k].set->run_id, p->set->run_id) != 0 &&
                          strcmp(r->policies[k].name, p->name) == 0;
    }
    for (size_t i = 0; i < r->n_policies; i++) {
        struct report_policy *p = &r->policies[i];

        if (with_run[i])
            p->name = arena_printf(&r->arena, "%s, run %s", p->name, p->set->run_id);
        if (!p->name)
            return no_memory(err);
    }
    return ST_OK;
}

/* The model; of several groups of one model also how many items of which tasks. */
static enum status find_titles(struct report *r, struct error *err)
{
    for (size_t g = 0; g < r->n_groups; g++) {
        const struct answer_set *set = r->policies[r->groups[g].first].set;
        struct buf b = { 0 };
        size_t n_like = 0, n_before = 0;

        for (size_t k = 0; k < r->n_groups; k++) {
            bool is_like = is_same_model(r->policies[r->groups[k].first].set, set);

            n_like += is_like;
            n_before += is_like && k < g;
        }
        buf_puts(&b, set->cells[0].model);
        if (n_like > 1) {
            buf_printf(&b, " (%zu): %zu answers to", n_before + 1, set->n_rows);
            for (size_t k = 0; k < set->n_cells; k++)
                buf_printf(&b, "%s %s", k ? "," : "", set->cells[k].task);
        }
        r->groups[g].title = buf_ok(&b) ? arena_strdup(&r->arena, buf_str(&b), b.len) : NULL;
        buf_release(&b);
        if (!r->groups[g].title)
            return no_memory(err);
    }
    return ST_OK;
}

/* The length of a policy's name before its settings. */
static size_t family(const struct report_policy *p)
{
    return strcspn(p->set->cells[0].selector, ":");
}

static void find_colors(struct report *r)
{
    size_t n = 0;

    for (size_t i = 0; i < r->n_policies; i++) {
        struct report_policy *p = &r->policies[i];
        size_t k = 0;

        while (k < i && (family(&r->policies[k]) != family(p) ||
                         memcmp(r->policies[k].set->cells[0].selector, p->set->cells[0].selector,
                                family(p)) != 0))
            k++;
        p->color = k < i ? r->policies[k].color : n++;
    }
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
        struct report_tally t = { 0 };
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
        if (!report_grow(&classes, r->n_classes, 1, sizeof(*r->classes)))
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
    st = find_groups(r, err);
    if (!st)
        st = find_names(r, err);
    if (!st)
        st = find_titles(r, err);
    find_colors(r);
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
        st = report_compare_groups(r, err);
    return st;
}
