/* `desbench show RUN --popularity`. */
#include "harness/popularity.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/json.h"
#include "harness/verb.h"

/* Sums over samples. */
struct counting {
    int32_t n_layer, n_exp;
    int64_t *tokens; /* (n_layer, n_exp) */
    int64_t n_samples;
};

static enum status add_sample(void *arg, const struct stored_sample *s, struct error *err)
{
    struct counting *x = arg;
    const struct telemetry *t = &s->telemetry;
    size_t n = (size_t)t->n_layer * (size_t)t->n_exp;

    if (!t->n_forwards)
        return error_set(err, ST_INVALID, "sample '%s' of task '%s' has no telemetry", s->task_id,
                         s->task);
    if (!x->tokens) {
        x->tokens = calloc(n ? n : 1, sizeof(*x->tokens));
        if (!x->tokens)
            return error_set(err, ST_NOMEM, "out of memory counting tokens");
        x->n_layer = t->n_layer;
        x->n_exp = t->n_exp;
    }
    if (t->n_layer != x->n_layer || t->n_exp != x->n_exp)
        return error_set(err, ST_INVALID, "the run has samples of models of different shape");
    for (int f = 0; f < t->n_forwards; f++)
        for (size_t i = 0; i < n; i++)
            x->tokens[i] += t->tokens_per_expert[(size_t)f * n + i];
    x->n_samples++;
    return ST_OK;
}

static void put_counts(const struct counting *x, const struct cell_row *cell, struct buf *b)
{
    buf_puts(b, "{\"format\":\"desbench popularity 1\",\"model\":");
    json_put_str(b, cell->model, strlen(cell->model));
    buf_puts(b, ",\"weights_sha256\":");
    json_put_str(b, cell->weights_sha256, strlen(cell->weights_sha256));
    buf_printf(b, ",\"n_samples\":%" PRId64 ",\"tokens\":[", x->n_samples);
    for (int l = 0; l < x->n_layer; l++) {
        buf_puts(b, l ? ",\n [" : "\n [");
        for (int e = 0; e < x->n_exp; e++)
            buf_printf(b, "%s%" PRId64, e ? "," : "", x->tokens[l * x->n_exp + e]);
        buf_putc(b, ']');
    }
    buf_puts(b, "\n]}\n");
}

enum status popularity_print(struct store *s, const char *run_id, const char *task,
                             struct error *err)
{
    struct counting x = { 0 };
    struct cell_row *cells;
    struct arena a = { 0 };
    struct buf b = { 0 };
    const char *versions;
    size_t n;
    enum status st = store_run_cells(s, run_id, &a, &cells, &n, &versions, err);

    for (size_t i = 1; i < n && !st; i++)
        if (strcmp(cells[i].weights_sha256, cells[0].weights_sha256) != 0)
            st = error_set(err, ST_INVALID, "run '%s' has samples of several models", run_id);
    if (!st)
        st = store_each_sample(s, run_id, task, NULL, add_sample, &x, err);
    if (!st && !x.n_samples)
        st = error_set(err, ST_NOT_FOUND, "run '%s' has no sample%s%s", run_id,
                       task ? " of task " : "", task ? task : "");
    if (!st) {
        put_counts(&x, &cells[0], &b);
        st = verb_print(&b, err);
    }
    buf_release(&b);
    free(x.tokens);
    arena_release(&a);
    return st;
}
