/*
 * Fidelity: stored scores of the same selectors.
 *
 * A score counts for a selector if it is of the very cells that were compared here: the same
 * weights, prompts, data, decoder, cache, lengths, backend and results version, by the cell's key.
 * And scores are set side by side only over the same items. Runs of one cell may hold other items
 * (--limit, --samples), so for each task the set of items is taken that uses most answers: items of
 * the set times selectors that have them all in one run.
 */
#include <math.h>
#include <string.h>

#include "harness/fidelity.h"
#include "harness/paths.h"
#include "results/results.h"

struct held {
    struct cell_scores *runs; /* (n_runs) newest first */
    size_t n_runs;
};

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory for scores");
}

/* The sum of a run's scores over items (n), ascending; NaN where it lacks one. */
static double sum_over(const struct cell_scores *r, const int64_t *items, size_t n)
{
    double sum = 0;
    size_t k = 0;

    for (size_t i = 0; i < n; i++) {
        while (k < r->n && r->items[k] < items[i])
            k++;
        if (k == r->n || r->items[k] != items[i])
            return NAN;
        sum += r->scores[k];
    }
    return sum;
}

/* Likewise of the newest run that has all of them. */
static double newest_sum(const struct held *h, const struct cell_scores *set)
{
    double sum = NAN;

    for (size_t i = 0; i < h->n_runs && isnan(sum); i++)
        sum = sum_over(&h->runs[i], set->items, set->n);
    return sum;
}

/* The set of items that uses most answers; NULL: no selector has any. */
static const struct cell_scores *choose_items(const struct held *held, size_t n_selectors)
{
    const struct cell_scores *best = NULL;
    size_t most = 0;

    for (size_t i = 0; i < n_selectors; i++)
        for (size_t r = 0; r < held[i].n_runs; r++) {
            const struct cell_scores *set = &held[i].runs[r];
            size_t n = 0;

            for (size_t k = 0; k < n_selectors; k++)
                n += !isnan(newest_sum(&held[k], set));
            if (n * set->n > most) {
                most = n * set->n;
                best = set;
            }
        }
    return best;
}

/* Cells of these selectors and weights that are stored, but under another key. */
static enum status count_others(const struct fidelity *f, struct store *store, struct arena *a,
                                size_t *ret, struct error *err)
{
    struct cell_summary *cells = NULL;
    size_t n = 0;
    enum status st = store_summarise_cells(store, a, &cells, &n, err);

    *ret = 0;
    for (size_t i = 0; i < n && !st; i++) {
        bool is_task = false, is_selector = false, is_own = false;

        for (size_t t = 0; t < f->n_tasks; t++)
            is_task |= strcmp(cells[i].task, f->tasks[t]) == 0;
        for (size_t k = 0; k < f->n_selectors; k++)
            is_selector |= strcmp(cells[i].selector, f->selectors[k].name) == 0;
        for (size_t k = 0; k < f->n_tasks * f->n_selectors; k++)
            is_own |= strcmp(cells[i].cell_key, f->cell_keys[k]) == 0;
        *ret += is_task && is_selector && !is_own &&
                strcmp(cells[i].weights_sha256, f->weights_sha256) == 0;
    }
    return st;
}

static enum status read_scores(const struct fidelity *f, struct store *store, struct arena *a,
                               struct fidelity_scores *ret, struct error *err)
{
    struct held *held = arena_array(a, f->n_selectors, sizeof(*held));

    if (!held)
        return no_memory(err);
    for (size_t t = 0; t < f->n_tasks; t++) {
        const struct cell_scores *set;

        for (size_t k = 0; k < f->n_selectors; k++) {
            enum status st = store_cell_scores(store, f->cell_keys[t * f->n_selectors + k], a,
                                               &held[k].runs, &held[k].n_runs, err);

            if (st)
                return st;
        }
        set = choose_items(held, f->n_selectors);
        for (size_t k = 0; k < f->n_selectors; k++)
            ret->scores[k] += set ? newest_sum(&held[k], set) : (double)NAN;
        ret->n_items += set ? set->n : 0;
    }
    for (size_t k = 0; k < f->n_selectors; k++)
        ret->scores[k] /= (double)ret->n_items;
    return count_others(f, store, a, &ret->n_other_cells, err);
}

/* The results file; *ret is NULL where it could not be opened. */
static enum status open_results(const struct fidelity *f, struct store **ret, struct error *err)
{
    struct arena a = { 0 };
    const char *path;
    enum status st = path_results(f->c, false, &a, &path, err);

    *ret = NULL;
    if (!st)
        st = store_open(path, STORE_READ, ret, err);
    arena_release(&a);
    return st;
}

enum status fidelity_check_results(const struct fidelity *f, struct error *err)
{
    struct store *store = NULL;
    enum status st = fidelity_has_results(f) ? open_results(f, &store, err) : ST_OK;

    store_close(store);
    return st;
}

enum status fidelity_read_scores(struct fidelity *f, struct fidelity_scores *ret, struct error *err)
{
    struct arena a = { 0 };
    struct store *store;
    enum status st = open_results(f, &store, err);

    *ret = (struct fidelity_scores){ 0 };
    ret->scores = arena_array(&f->arena, f->n_selectors, sizeof(*ret->scores));
    if (!st && !ret->scores)
        st = no_memory(err);
    if (!st)
        st = read_scores(f, store, &a, ret, err);
    store_close(store);
    arena_release(&a);
    return st;
}
