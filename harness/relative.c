/* Relative: cells paired with those of the baseline, and a row for each policy. */
#include "harness/relative.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "harness/listing.h"
#include "harness/paths.h"
#include "results/relative.h"
#include "results/stats.h"

enum { MAX_MODELS = 64 };

struct row {
    const struct cell_summary *first; /* cell: what it says holds for all but the task */
    const char *tasks[64];            /* (n_tasks) it has */
    size_t n_tasks;
    size_t model; /* index; of all together: MAX_MODELS */
    struct relative_list list;
    struct relative r;
};

struct job {
    const struct options *c;
    struct arena arena;
    struct store *store;
    const char *base;          /* canonical selector */
    const char *const *wanted; /* (n_wanted) --selector */
    size_t n_wanted, n_unpaired;
    const struct cell_summary *models[MAX_MODELS]; /* (n_models) a cell of each */
    size_t n_models;
    struct row *rows; /* (n_rows) */
    size_t n_rows;
};

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory listing");
}

/* ---- what is asked ---------------------------------------------------------------------- */

static enum status canonical(struct job *j, const char *text, const char **ret, struct error *err)
{
    struct buf b = { 0 };
    enum status st = engine_selector_text(text, &b, err);

    if (!st) {
        *ret = arena_strdup(&j->arena, buf_str(&b), b.len);
        if (!buf_ok(&b) || !*ret)
            st = no_memory(err);
    }
    buf_release(&b);
    return st;
}

/* A policy by its name alone means all its settings, which are in the order of the table. */
static enum status read_wanted(struct job *j, struct error *err)
{
    const struct option_value *v = &j->c->values[OPT_LS_SELECTOR];
    const char **wanted = arena_array(&j->arena, v->n, sizeof(*wanted));
    enum status st = wanted ? ST_OK : no_memory(err);

    for (size_t i = 0; i < v->n && !st; i++)
        st = strchr(v->texts[i], ':') ? canonical(j, v->texts[i], &wanted[i], err)
                                      : ((wanted[i] = v->texts[i]), ST_OK);
    j->wanted = wanted;
    j->n_wanted = v->n;
    return st;
}

static bool is_wanted(const struct job *j, const char *selector)
{
    for (size_t i = 0; i < j->n_wanted; i++) {
        size_t len = strlen(j->wanted[i]);

        if (strncmp(selector, j->wanted[i], len) == 0 &&
            (!selector[len] || (selector[len] == ':' && !strchr(j->wanted[i], ':'))))
            return true;
    }
    return !j->n_wanted;
}

/* ---- rows ------------------------------------------------------------------------------- */

static bool is_same_model(const struct cell_summary *a, const struct cell_summary *b)
{
    return strcmp(a->model, b->model) == 0 && strcmp(a->load_format, b->load_format) == 0 &&
           strcmp(a->weights_sha256, b->weights_sha256) == 0;
}

static bool is_same_setting(const struct cell_summary *a, const struct cell_summary *b)
{
    return strcmp(a->selector, b->selector) == 0 && strcmp(a->decoder, b->decoder) == 0 &&
           strcmp(a->cache, b->cache) == 0 && strcmp(a->backend, b->backend) == 0 &&
           strcmp(a->numeric_mode, b->numeric_mode) == 0 && a->block_length == b->block_length;
}

static bool has_task(const struct row *r, const char *task)
{
    for (size_t i = 0; i < r->n_tasks; i++)
        if (strcmp(r->tasks[i], task) == 0)
            return true;
    return r->n_tasks == sizeof(r->tasks) / sizeof(r->tasks[0]);
}

static enum status find_model(struct job *j, const struct cell_summary *c, size_t *ret,
                              struct error *err)
{
    size_t m = 0;

    while (m < j->n_models && !is_same_model(j->models[m], c))
        m++;
    if (m == MAX_MODELS)
        return error_set(err, ST_INVALID, "the file has more than %d models", MAX_MODELS);
    if (m == j->n_models)
        j->models[j->n_models++] = c;
    *ret = m;
    return ST_OK;
}

/* Pair a cell with the one that differs from it in the selector alone. */
static enum status add_cell(struct job *j, const struct cell_summary *c, struct error *err)
{
    struct relative_list list;
    struct cell_row cell;
    struct row *r;
    size_t i = 0, model = 0;
    char key[65];
    enum status st = find_model(j, c, &model, err);

    if (!st)
        st = store_get_cell(j->store, c->cell_key, &j->arena, &cell, err);
    if (st)
        return st;
    cell.selector = j->base;
    cell_key(&cell, key);
    if (!*key)
        return no_memory(err);
    while (i < j->n_rows && (j->rows[i].model != model || !is_same_setting(j->rows[i].first, c) ||
                             has_task(&j->rows[i], c->task)))
        i++;
    r = &j->rows[i];
    if (i == j->n_rows)
        *r = (struct row){ .first = c, .model = model };
    list = r->list;
    st = store_cell_pairs(j->store, key, c->cell_key, 0, &j->arena, &list, err);
    if (st)
        return st;
    if (list.n == r->list.n) {
        j->n_unpaired++;
        return ST_OK;
    }
    r->list = list;
    r->tasks[r->n_tasks++] = c->task;
    j->n_rows += i == j->n_rows;
    return ST_OK;
}

/* A row of all models that have the first one's selector and way of decoding. */
static enum status add_family(struct job *j, size_t first, size_t n, struct error *err)
{
    struct row *to = &j->rows[j->n_rows];
    size_t n_models = 0;

    *to = (struct row){ .first = j->rows[first].first, .model = MAX_MODELS };
    for (size_t i = 0; i < n; i++) {
        const struct relative_list *x = &j->rows[i].list;
        struct relative_answer *both;

        if (!is_same_setting(j->rows[i].first, to->first))
            continue;
        if (i < first)
            return ST_OK; /* made already */
        both = arena_array(&j->arena, to->list.n + x->n, sizeof(*both));
        if (!both)
            return no_memory(err);
        if (to->list.n)
            memcpy(both, to->list.answers, to->list.n * sizeof(*both));
        for (size_t k = 0; k < x->n; k++) {
            both[to->list.n + k] = x->answers[k];
            both[to->list.n + k].model = n_models;
        }
        to->list.answers = both;
        to->list.n += x->n;
        n_models++;
    }
    j->n_rows += n_models > 1;
    return ST_OK;
}

static int by_model_and_experts(const void *a, const void *b)
{
    const struct row *x = a, *y = b;

    if (x->model != y->model)
        return x->model < y->model ? -1 : 1;
    if (x->r.saved_block != y->r.saved_block) /* NaN: as it stands */
        return (x->r.saved_block > y->r.saved_block) - (x->r.saved_block < y->r.saved_block);
    return x->first < y->first ? -1 : x->first > y->first;
}

/* Every row by itself at 95 %; what decides, for all rows of its model at once (Bonferroni). */
static enum status estimate(struct job *j, struct error *err)
{
    enum status st = ST_OK;

    for (size_t i = 0; i < j->n_rows && !st; i++) {
        struct row *r = &j->rows[i];
        size_t n_like = 0;

        for (size_t k = 0; k < j->n_rows; k++)
            n_like += j->rows[k].model == r->model;
        st = relative_estimate(r->list.answers, r->list.n, 0.05 / (double)n_like, STATS_MIN_DRAWS,
                               0, &r->r, err);
    }
    return st;
}

static enum status make_rows(struct job *j, const struct cell_summary *cells, size_t n,
                             struct error *err)
{
    enum status st = ST_OK;
    size_t n_own;

    j->rows = arena_array(&j->arena, 2 * n + 1, sizeof(*j->rows)); /* one a cell, and families */
    if (!j->rows)
        return no_memory(err);
    for (size_t i = 0; i < n && !st; i++)
        if (strcmp(cells[i].selector, j->base) != 0 && is_wanted(j, cells[i].selector))
            st = add_cell(j, &cells[i], err);
    n_own = j->n_rows;
    for (size_t i = 0; i < n_own && !st; i++)
        st = add_family(j, i, n_own, err);
    if (!st)
        st = estimate(j, err);
    if (!st && j->n_rows)
        qsort(j->rows, j->n_rows, sizeof(*j->rows), by_model_and_experts);
    return st;
}

/* ---- printing --------------------------------------------------------------------------- */

static const char *const answers[] = {
    [RELATIVE_YES] = "yes", [RELATIVE_NO] = "no", [RELATIVE_OPEN] = "open"
};

static double percent(double share)
{
    return 100 * share;
}

static enum relative_answers decide(const struct job *j, const struct row *r)
{
    return relative_decide(&r->r, options_real(j->c, OPT_KEEP), options_real(j->c, OPT_SAVE));
}

static const char *model_of(struct job *j, const struct row *r)
{
    return r->model < MAX_MODELS ? r->first->model
                                 : arena_printf(&j->arena, "all %zu models", j->n_models);
}

static void put_row(struct listing *l, struct job *j, const struct row *r)
{
    const struct relative *x = &r->r;
    double unit = l->form == PRINT_TEXT || l->form == PRINT_MARKDOWN ? 100 : 1; /* people: % */

    listing_row(l);
    listing_cell(l, model_of(j, r));
    listing_cell(l, r->first->selector);
    listing_number(l, x->n);
    listing_real(l, unit * (double)(x->a + x->b) / (double)x->n, 1);
    listing_real(l, unit * (double)(x->a + x->c) / (double)x->n, 1);
    listing_number(l, x->b);
    listing_number(l, x->c);
    listing_real(l, unit * x->accuracy, 1);
    listing_interval(l, unit * x->accuracy_low, unit * x->accuracy_high, 1);
    listing_interval(l, unit * x->kept_low, unit * x->kept_high, 1);
    listing_real(l, unit * x->saved_block, 1);
    listing_interval(l, unit * x->saved_block_low[0], unit * x->saved_block_high[0], 1);
    listing_real(l, unit * x->saved, 1);
    listing_interval(l, unit * x->saved_low, unit * x->saved_high, 1);
    listing_cell(l, answers[decide(j, r)]);
    listing_real(l, x->kept, 4);
    listing_real(l, x->deff, 4);
    listing_cell(l, r->first->decoder);
    listing_cell(l, r->first->cache);
    listing_number(l, r->first->block_length);
    listing_cell(l, r->first->backend);
    listing_cell(l, r->model < MAX_MODELS ? r->first->weights_sha256 : NULL);
    listing_cell(l, r->model < MAX_MODELS ? r->list.answers->cand_run : NULL); /* the first one */
}

/* "mini-e64: yes (des-vote:beta=0.4), 3 no, 2 open": the rows from i on that are of one model;
 * returns where the next begin. */
static size_t put_answer(struct buf *b, struct job *j, size_t i)
{
    const struct row *first = &j->rows[i];
    size_t n[3] = { 0 };

    buf_printf(b, "\n%s: ", model_of(j, first));
    for (; i < j->n_rows && j->rows[i].model == first->model; i++) {
        enum relative_answers a = decide(j, &j->rows[i]);

        if (a == RELATIVE_YES)
            buf_printf(b, "%s%s", n[a] ? ", " : "yes with ", j->rows[i].first->selector);
        n[a]++;
    }
    if (n[RELATIVE_YES])
        buf_puts(b, "; ");
    buf_printf(b, "no with %zu, open with %zu selector%s", n[RELATIVE_NO], n[RELATIVE_OPEN],
               n[RELATIVE_OPEN] == 1 ? "" : "s");
    return i;
}

static void put_note(struct listing *l, struct job *j)
{
    struct buf b = { 0 };

    buf_printf(&b,
               "Shares in %%. relative accuracy: mean over tasks of the score over %s's, by a "
               "bootstrap over "
               "items; kept: of all\nright answers, score bounds that hold for all rows of a model "
               "at once (95 %%, Bonferroni); fewer\nexperts: unique experts of a layer and forward "
               "than %s reads, in forwards that fill no cache\n\nAt least %g %% of %s's accuracy "
               "with at least %g %% fewer unique experts in a block?",
               j->base, j->base, percent(options_real(j->c, OPT_KEEP)), j->base,
               percent(options_real(j->c, OPT_SAVE)));
    for (size_t i = 0; i < j->n_rows;)
        i = put_answer(&b, j, i);
    if (j->n_unpaired)
        buf_printf(&b,
                   "\n%zu cells have no answers of %s to the same items under the same settings",
                   j->n_unpaired, j->base);
    listing_note(l, buf_str(&b));
    l->table.is_failed |= !buf_ok(&b);
    buf_release(&b);
}

static enum status print(struct job *j, struct error *err)
{
    struct listing l;

    listing_start(
        &l, j->c,
        "model|selector|>n_answers=answers|>base_score=baseline|>score|>n_lost=lost|>n_gained="
        "gained"
        "|>relative_accuracy=relative accuracy|>relative_accuracy_ci=95 % interval|>kept_ci=kept"
        "|>saved_block=fewer experts|>saved_block_ci=95 % interval|>saved=in all forwards"
        "|>saved_ci=95 % interval|keeps=keeps and saves|->kept|->design_effect|-decoder|-cache"
        "|->block_length|-backend|-weights_sha256|-run");
    for (size_t i = 0; i < j->n_rows; i++)
        put_row(&l, j, &j->rows[i]);
    put_note(&l, j);
    return listing_end(&l, ST_OK, err);
}

enum status relative_print(const struct options *c, struct error *err)
{
    struct job j = { .c = c };
    struct cell_summary *cells = NULL;
    const char *path;
    size_t n = 0;
    enum status st = canonical(&j, options_text(c, OPT_AGAINST), &j.base, err);

    if (!st)
        st = read_wanted(&j, err);
    if (!st)
        st = path_results(c, false, &j.arena, &path, err);
    if (!st)
        st = store_open(path, STORE_READ, &j.store, err);
    if (!st)
        st = store_summarise_cells(j.store, &j.arena, &cells, &n, err);
    if (!st)
        st = make_rows(&j, cells, n, err);
    if (!st && !j.n_rows)
        st = error_set(err, ST_NOT_FOUND,
                       "'%s' has no selector with answers to the same items as selector '%s'", path,
                       j.base);
    if (!st)
        st = print(&j, err);
    store_close(j.store);
    arena_release(&j.arena);
    return st;
}
