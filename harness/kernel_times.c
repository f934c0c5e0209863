/* Times of parts, counted and stored: harness/kernel_times.h. */
#include "harness/kernel_times.h"

#include <stdlib.h>
#include <string.h>

#include "base/size.h"

struct kernel_times {
    struct kernel_row *rows; /* (max), n of them used; run_id is set when they are stored */
    size_t n, max;
    size_t next; /* where the next part is found as a rule: parts come in the same order */
};

enum status kernel_times_new(struct kernel_times **ret, struct error *err)
{
    struct kernel_times *t = calloc(1, sizeof(*t));

    if (!t)
        return error_set(err, ST_NOMEM, "out of memory for times of kernels");
    *ret = t;
    return ST_OK;
}

void kernel_times_free(struct kernel_times *t)
{
    if (!t)
        return;
    free(t->rows);
    free(t);
}

static bool is_row(const struct kernel_row *r, const char *cell_key, const char *name, int layer,
                   int max_tok)
{
    return r->layer == layer && r->max_tok == max_tok && strcmp(r->name, name) == 0 &&
           strcmp(r->cell_key, cell_key) == 0;
}

/* The row of a key, made if there is none; NULL: out of memory. */
static struct kernel_row *find_row(struct kernel_times *t, const char *cell_key, const char *name,
                                   int layer, int max_tok)
{
    for (size_t i = 0; i < t->n; i++) {
        size_t at = (t->next + i) % t->n;

        if (is_row(&t->rows[at], cell_key, name, layer, max_tok)) {
            t->next = at + 1;
            return &t->rows[at];
        }
    }
    if (t->n == t->max) {
        size_t max = t->max ? 2 * t->max : 64, bytes;
        struct kernel_row *rows =
            size_mul(max, sizeof(*rows), &bytes) ? realloc(t->rows, bytes) : NULL;

        if (!rows)
            return NULL;
        t->rows = rows;
        t->max = max;
    }
    t->next = t->n + 1;
    t->rows[t->n] = (struct kernel_row){
        .cell_key = cell_key, .name = name, .layer = layer, .max_tok = max_tok, .sum_unique = -1
    };
    return &t->rows[t->n++];
}

static enum status count(struct kernel_times *t, const char *cell_key, const char *name, int layer,
                         int n_tok, int64_t ns, int n_unique, struct error *err)
{
    struct kernel_row *r;
    int max_tok = 1;

    while (max_tok < n_tok)
        max_tok *= 2;
    r = find_row(t, cell_key, name, layer, max_tok);
    if (!r)
        return error_set(err, ST_NOMEM, "out of memory for times of kernels");
    histogram_add(&r->ns, ns);
    r->sum_tok += n_tok;
    if (strcmp(name, "moe") == 0)
        r->sum_unique = (r->sum_unique < 0 ? 0 : r->sum_unique) + n_unique;
    return ST_OK;
}

enum status kernel_times_add(struct kernel_times *t, const char *cell_key,
                             const struct step_times *step, struct error *err)
{
    int64_t all_ns = 0;
    enum status st = ST_OK;

    for (size_t i = 0; i < step->n_parts && !st; i++) {
        const struct part_time *p = &step->parts[i];
        int64_t sum_ns = 0;
        int n_unique = 0;
        bool is_first = true;

        all_ns += p->ns;
        st = count(t, cell_key, p->part, p->layer, step->n_tok, p->ns, p->n_unique, err);
        for (size_t k = 0; k < step->n_parts; k++)
            if (strcmp(step->parts[k].part, p->part) == 0) {
                is_first = is_first && k >= i;
                sum_ns += step->parts[k].ns;
                n_unique += step->parts[k].n_unique;
            }
        if (!st && is_first && p->layer >= 0) /* all layers together, once */
            st = count(t, cell_key, p->part, -1, step->n_tok, sum_ns, n_unique, err);
    }
    return st ? st : count(t, cell_key, "forward", -1, step->n_tok, all_ns, 0, err);
}

enum status kernel_times_store(struct kernel_times *t, struct store *s, const char *run_id,
                               struct error *err)
{
    enum status st = ST_OK;

    for (size_t i = 0; i < t->n; i++)
        t->rows[i].run_id = run_id;
    if (t->n)
        st = store_put_kernels(s, t->rows, t->n, err);
    if (!st)
        t->n = t->next = 0;
    return st;
}
