/* Policies: cells of one model and policy put together. */
#include "harness/policies.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "harness/listing.h"
#include "harness/paths.h"
#include "results/results.h"
#include "tasks/task.h"

enum { MAX_TASKS = 16 }; /* columns of a table */

struct policy {
    const struct cell_summary *first;            /* cell: what it says holds for all but the task */
    const struct cell_summary *cells[MAX_TASKS]; /* by task; NULL: not run */
    struct score_sums sums;
    size_t model; /* order of its model's first cell */
};

struct pool {
    const char *tasks[MAX_TASKS];
    size_t n_tasks;
    struct policy *policies;
    size_t n_policies;
};

static bool is_same_model(const struct cell_summary *a, const struct cell_summary *b)
{
    return strcmp(a->model, b->model) == 0 && strcmp(a->load_format, b->load_format) == 0 &&
           strcmp(a->weights_sha256, b->weights_sha256) == 0;
}

static bool is_same_policy(const struct cell_summary *a, const struct cell_summary *b)
{
    return is_same_model(a, b) && strcmp(a->selector, b->selector) == 0 &&
           strcmp(a->decoder, b->decoder) == 0 && strcmp(a->cache, b->cache) == 0 &&
           strcmp(a->backend, b->backend) == 0 && strcmp(a->numeric_mode, b->numeric_mode) == 0 &&
           a->block_length == b->block_length;
}

static enum status find_task(struct pool *p, const char *task, size_t *ret, struct error *err)
{
    size_t t = 0;

    while (t < p->n_tasks && strcmp(p->tasks[t], task) != 0)
        t++;
    if (t == MAX_TASKS)
        return error_set(err, ST_INVALID,
                         "a table of policies has room for %d tasks, the file has more: '%s'",
                         MAX_TASKS, task);
    if (t == p->n_tasks)
        p->tasks[p->n_tasks++] = task;
    *ret = t;
    return ST_OK;
}

static enum status add_cell(struct pool *p, const struct cell_summary *c, struct error *err)
{
    size_t t = 0, i = 0;
    struct policy *x;
    enum status st = find_task(p, c->task, &t, err);

    if (st)
        return st;
    while (i < p->n_policies &&
           (p->policies[i].cells[t] || !is_same_policy(p->policies[i].first, c)))
        i++;
    x = &p->policies[i];
    if (i == p->n_policies) {
        *x = (struct policy){ .first = c, .model = i };
        for (size_t j = i; j-- > 0;)
            if (is_same_model(p->policies[j].first, c))
                x->model = p->policies[j].model;
        p->n_policies++;
    }
    x->cells[t] = c;
    score_sums_add(&x->sums, &c->sums);
    return ST_OK;
}

static int by_model_and_experts(const void *a, const void *b)
{
    const struct policy *x = a, *y = b;
    double u = x->sums.n_layer_forwards ? score_sums_unique(&x->sums) : -1;
    double v = y->sums.n_layer_forwards ? score_sums_unique(&y->sums) : -1;

    if (x->model != y->model)
        return x->model < y->model ? -1 : 1;
    if (u != v)
        return u > v ? -1 : 1;
    return x->first < y->first ? -1 : 1;
}

/* Columns in the order in which `ls tasks` has the tasks. */
static void sort_tasks(struct pool *p)
{
    size_t n = 0;

    for (const struct task_def *const *d = task_table(); *d; d++)
        for (size_t t = n; t < p->n_tasks; t++) {
            const char *task = p->tasks[t];

            if (strcmp(task, (*d)->name) != 0)
                continue;
            for (size_t i = 0; i < p->n_policies; i++) {
                const struct cell_summary **cells = p->policies[i].cells, *cell = cells[t];

                memmove(cells + n + 1, cells + n, (t - n) * sizeof(*cells));
                cells[n] = cell;
            }
            memmove(p->tasks + n + 1, p->tasks + n, (t - n) * sizeof(*p->tasks));
            p->tasks[n++] = task;
        }
}

static void put_row(struct listing *l, const struct pool *p, const struct policy *x)
{
    const struct cell_summary *c = x->first;
    const struct score_sums *s = &x->sums;
    double low, high;

    score_sums_interval(s, &low, &high);
    listing_row(l);
    listing_cell(l, c->model);
    listing_cell(l, *c->selector ? c->selector : NULL);
    for (size_t t = 0; t < p->n_tasks; t++) {
        const struct cell_summary *cell = x->cells[t];

        listing_real(l, cell ? cell->sums.sum_score / (double)cell->sums.n_items : NAN, 3);
    }
    listing_number(l, s->n_samples);
    listing_real(l, s->sum_score / (double)s->n_items, 3);
    listing_interval(l, low, high, 3);
    listing_real(l, score_sums_unique(s), 1);
    listing_real(l, score_sums_unique_block(s), 1);
    listing_number(l, c->n_exp);
    listing_real(l, (double)s->n_tokens_before_eos / (double)s->n_forwards, 2);
    listing_real(l, (double)s->sum_expert_bytes / (double)s->n_forwards * 1e-6, 2);
    listing_number(l, s->n_passed);
    listing_number(l, s->n_forwards);
    listing_cell(l, c->decoder);
    listing_cell(l, c->cache);
    listing_number(l, c->block_length);
    listing_cell(l, c->backend);
    listing_cell(l, c->numeric_mode);
    listing_cell(l, c->load_format);
    listing_cell(l, c->weights_sha256);
    listing_cell(l, c->run_id);
    listing_cell(l, c->git_commit);
}

/* How the answers were made, for the rows of a table, which do not say it. */
static void put_note(struct listing *l, const struct pool *p)
{
    struct buf b = { 0 };

    buf_puts(&b, "score: of all samples; experts a layer: unique routed experts read in a forward, "
                 "mean over layers\nand forwards; in a block: in forwards that fill no cache; "
                 "interval: Wilson");
    for (size_t i = 0; i < p->n_policies; i++) {
        const struct cell_summary *c = p->policies[i].first;
        size_t j = 0;

        while (strcmp(p->policies[j].first->decoder, c->decoder) != 0 ||
               strcmp(p->policies[j].first->cache, c->cache) != 0 ||
               p->policies[j].first->block_length != c->block_length ||
               strcmp(p->policies[j].first->backend, c->backend) != 0)
            j++;
        if (j == i)
            buf_printf(&b, "; decoder %s, cache %s, block %d, backend %s", c->decoder, c->cache,
                       c->block_length, c->backend);
    }
    listing_note(l, buf_str(&b));
    l->table.is_failed |= !buf_ok(&b);
    buf_release(&b);
}

static enum status print_pool(const struct options *c, const struct pool *p, struct error *err)
{
    struct buf columns = { 0 };
    struct listing l;
    enum status st;

    buf_puts(&columns, "model|selector");
    for (size_t t = 0; t < p->n_tasks; t++)
        buf_printf(&columns, "|>%s", p->tasks[t]);
    buf_puts(&columns,
             "|>n_samples=samples|>score|>ci=95 % interval|>mean_unique_experts=experts a layer"
             "|>mean_unique_block=in a block|>n_experts=of|>tok_per_forward=tok/forward"
             "|>mb_per_forward=MB a forward"
             "|->n_passed|->n_forwards|-decoder|-cache|->block_length|-backend|-numeric_mode"
             "|-load_format|-weights_sha256|-run|-git_commit");
    if (!buf_ok(&columns)) {
        buf_release(&columns);
        return error_set(err, ST_NOMEM, "out of memory listing");
    }
    listing_start(&l, c, buf_str(&columns));
    for (size_t i = 0; i < p->n_policies; i++)
        put_row(&l, p, &p->policies[i]);
    put_note(&l, p);
    st = listing_end(&l, ST_OK, err);
    buf_release(&columns);
    return st;
}

enum status policies_print(const struct options *c, struct error *err)
{
    struct cell_summary *cells = NULL;
    struct arena a = { 0 };
    struct store *store = NULL;
    struct pool p = { 0 };
    const char *path;
    size_t n = 0;
    enum status st = path_results(c, false, &a, &path, err);

    if (!st)
        st = store_open(path, STORE_READ, &store, err);
    if (!st)
        st = store_summarise_cells(store, &a, &cells, &n, err);
    p.policies = arena_array(&a, n, sizeof(*p.policies)); /* one a cell at most */
    if (!st && !p.policies)
        st = error_set(err, ST_NOMEM, "out of memory listing");
    for (size_t i = 0; i < n && !st; i++)
        st = add_cell(&p, &cells[i], err);
    if (!st && p.n_policies)
        qsort(p.policies, p.n_policies, sizeof(*p.policies), by_model_and_experts);
    sort_tasks(&p);
    if (!st)
        st = print_pool(c, &p, err);
    store_close(store);
    arena_release(&a);
    return st;
}
