/* Strata: a stored field, or a task's own word for it, and the table by it. */
#include "harness/strata.h"

#include <string.h>

#include "harness/listing.h"
#include "tasks/task.h"

static const char *const fields[] = {
    [STRATUM_LEVEL] = "level",
    [STRATUM_SUBJECT] = "subject",
    [STRATUM_STOP_REASON] = "stop_reason",
    [STRATUM_EXTRACTION_METHOD] = "extraction_method",
};
enum { N_FIELDS = sizeof(fields) / sizeof(fields[0]) };

/* A task's own word for a stored field, or NULL. */
static const char *own_word(const char *task, int field)
{
    const struct task_def *def = task_find(task);

    if (!def)
        return NULL;
    return field == STRATUM_LEVEL     ? def->level_name
           : field == STRATUM_SUBJECT ? def->subject_name
                                      : NULL;
}

/* Does the task's data have this field by this name? */
static bool has_field(const char *task, int field, const char *name)
{
    const char *own = own_word(task, field);

    return strcmp(fields[field], name) == 0 || (own && strcmp(own, name) == 0);
}

/* The stored field that some task calls by this name; N_FIELDS: none does. */
static int find_field(const char *name)
{
    for (int f = 0; f < N_FIELDS; f++) {
        if (strcmp(fields[f], name) == 0)
            return f;
        for (const struct task_def *const *d = task_table(); *d; d++)
            if (has_field((*d)->name, f, name))
                return f;
    }
    return N_FIELDS;
}

/* Names of what a run's tasks can be told apart by. */
static enum status no_such_field(struct store *s, const char *run_id, const char *name,
                                 struct arena *a, struct error *err)
{
    struct buf list = { 0 };
    struct cell_row *cells;
    const char *checkers;
    size_t n;
    enum status st = store_run_cells(s, run_id, a, &cells, &n, &checkers, err);

    if (st)
        return st;
    for (int f = 0; f < N_FIELDS; f++) {
        buf_printf(&list, "%s%s", f ? ", " : "", fields[f]);
        for (size_t i = 0; i < n; i++) {
            const char *own = own_word(cells[i].task, f);

            if (own && !strstr(buf_str(&list), own))
                buf_printf(&list, ", %s", own);
        }
    }
    error_set(err, ST_INVALID, "no item or answer of run '%s' has a '%s' (--by); there are: %s",
              run_id, name, buf_str(&list));
    buf_release(&list);
    return ST_INVALID;
}

static void put_row(struct listing *l, const char *task, const struct stratum_summary *row)
{
    const struct score_sums *x = &row->sums;
    double low, high, forwards = (double)x->n_forwards;

    score_sums_interval(x, &low, &high);
    listing_row(l);
    listing_cell(l, task);
    listing_cell(l, row->selector);
    listing_cell(l, row->value);
    listing_number(l, x->n_items);
    listing_number(l, x->n_samples);
    listing_number(l, x->n_passed);
    listing_real(l, x->sum_score / (double)x->n_items, 3);
    listing_interval(l, low, high, 3);
    listing_real(l, (double)x->n_tokens_before_eos / forwards, 2); /* none: NaN */
    listing_real(l, score_sums_unique(x), 1);
    listing_real(l, score_sums_unique_block(x), 1);
}

static bool is_same_class(const struct stratum_summary *a, const struct stratum_summary *b)
{
    return strcmp(a->selector, b->selector) == 0 && strcmp(a->value, b->value) == 0;
}

/* Rows of all tasks together, at the first row of each class. */
static void put_pooled(struct listing *l, const struct stratum_summary *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct stratum_summary sum = rows[i];
        size_t first = 0, n_tasks = 1;

        while (!is_same_class(&rows[first], &rows[i]))
            first++;
        for (size_t j = i + 1; j < n && first == i; j++) {
            if (!is_same_class(&rows[j], &rows[i]))
                continue;
            n_tasks++;
            score_sums_add(&sum.sums, &rows[j].sums);
        }
        if (n_tasks > 1)
            put_row(l, "all", &sum);
    }
}

enum status strata_print(const struct options *c, struct store *s, const char *run_id,
                         const char *field, struct error *err)
{
    struct stratum_summary *rows = NULL;
    struct arena a = { 0 };
    struct buf columns = { 0 };
    int f = find_field(field);
    size_t n = 0, n_kept = 0;
    struct listing l;
    enum status st = ST_OK;

    if (f < N_FIELDS)
        st = store_summarise_by(s, run_id, (enum stratum_by)f, &a, &rows, &n, err);
    for (size_t i = 0; i < n; i++)
        if (has_field(rows[i].task, f, field))
            rows[n_kept++] = rows[i];
    if (!st && !n_kept)
        st = no_such_field(s, run_id, field, &a, err);
    buf_printf(&columns,
               "task|selector|%s|>n_items=items|>n_samples=samples|>n_passed=right|>score|"
               ">ci=95 %% interval|>tok_per_forward=tok/forward|"
               ">mean_unique_experts=experts a layer|>mean_unique_block=in a block",
               field);
    if (!st && !buf_ok(&columns))
        st = error_set(err, ST_NOMEM, "out of memory listing");
    if (!st) {
        listing_start(&l, c, buf_str(&columns));
        for (size_t i = 0; i < n_kept; i++)
            put_row(&l, rows[i].task, &rows[i]);
        put_pooled(&l, rows, n_kept);
        st = listing_end(&l, ST_OK, err);
    }
    buf_release(&columns);
    arena_release(&a);
    return st;
}
