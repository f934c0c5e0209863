/* What `desbench sweep` prints. */
#include "harness/sweep_print.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "harness/progress.h"
#include "harness/table.h"
#include "harness/verb.h"

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory printing");
}

static enum status print(struct buf *b, struct error *err)
{
    enum status st = buf_ok(b) ? verb_print(b, err) : no_memory(err);

    buf_release(b);
    return st;
}

static void put_member(struct buf *b, const char *name, const char *text)
{
    buf_printf(b, ",\"%s\":", name);
    json_put_str(b, text, strlen(text));
}

/* The model of a run: as asked for, or the default one's name. */
static const char *model_name(const struct sweep_run *r)
{
    return *r->model ? r->model : "the default model";
}

/* Settings of a cell that JSON and tables both have. */
static void put_cell_json(struct buf *b, const struct sweep_run *r, const struct plan_cell *c)
{
    const struct decode_options *d = &c->decode;

    buf_puts(b, "{\"model\":");
    json_put_str(b, r->model, strlen(r->model));
    put_member(b, "task", c->task->def->name);
    put_member(b, "prompt_form", c->task->form);
    put_member(b, "selector", d->selector);
    put_member(b, "decoder", d->decoder);
    put_member(b, "cache", d->cache);
    buf_printf(b, ",\"block_length\":%d,\"gen_length\":%d,\"threshold\":", d->block_length,
               d->gen_length);
    json_put_num(b, d->threshold);
    buf_printf(b, ",\"seed\":%" PRId64 ",\"n_items\":%zu", options_int(&r->options, OPT_SEED),
               c->task->n_items);
}

/* ---- the plan --------------------------------------------------------------------------- */

/* Time of a sample of the cell, from the stored cell that is most like it; NaN: none is of its
 * model. */
static double expect_ns(const struct cell_time *times, size_t n, const char *model,
                        const struct plan_cell *c)
{
    const struct decode_options *d = &c->decode;
    double ns = NAN;
    int best = -1;

    for (size_t i = 0; i < n; i++) {
        const struct cell_time *t = &times[i];
        int likeness =
            8 * (strcmp(t->task, c->task->def->name) == 0) + 4 * (t->gen_length == d->gen_length) +
            2 * (t->block_length == d->block_length) + (strcmp(t->selector, d->selector) == 0);

        if (strcmp(t->model, model) != 0 || likeness < best) /* of equals the newest */
            continue;
        best = likeness;
        ns = t->sample_ns * d->gen_length / t->gen_length;
    }
    return ns;
}

static void put_duration(struct buf *b, double ns)
{
    char text[32];

    progress_duration(ns < 0x1p62 ? (int64_t)ns : -1, text, sizeof(text));
    buf_puts(b, text);
}

static void put_option(struct buf *b, const struct options *o, enum option_id id)
{
    const struct option_value *v = &o->values[id];

    for (size_t i = 0; i < v->n; i++)
        buf_printf(b, "%s%s", i ? " " : "", v->texts[i]);
}

/* What a run that cannot be planned was to do. */
static void put_not_runnable(struct buf *b, const struct sweep_run *r, bool is_json)
{
    if (is_json) {
        buf_puts(b, "{\"model\":");
        json_put_str(b, r->model, strlen(r->model));
        put_member(b, "why", r->why_not);
        buf_putc(b, '}');
        return;
    }
    buf_printf(b, "  not runnable: %s\n  tasks ", r->why_not);
    put_option(b, &r->options, OPT_TASKS);
    buf_puts(b, "; selectors ");
    put_option(b, &r->options, OPT_SELECTOR);
    buf_putc(b, '\n');
}

struct plan_sums {
    size_t n_cells, n_samples, n_unknown; /* the last: cells without an expected time */
    double expected_ns;
};

static enum status put_run_table(struct buf *b, const struct sweep_run *r, const char *model,
                                 const struct cell_time *times, size_t n, struct plan_sums *sums,
                                 struct error *err)
{
    const struct plan *p = &r->session.plan;
    struct table t;
    bool is_ok;

    table_init(&t, "task|prompt form|selector|decoder|cache|>threshold|>block|>gen length|>items|"
                   ">samples|>expected");
    for (size_t i = 0; i < p->n_cells; i++) {
        const struct plan_cell *c = &p->cells[i];
        size_t n_samples = c->task->n_items * (size_t)p->n_samples;
        double ns = expect_ns(times, n, model, c) * (double)n_samples;
        char text[32] = "?";

        if (isnan(ns)) {
            sums->n_unknown++;
        } else {
            progress_duration((int64_t)ns, text, sizeof(text));
            sums->expected_ns += ns;
        }
        sums->n_cells++;
        sums->n_samples += n_samples;
        table_row(&t);
        table_cell(&t, "%s", c->task->def->name);
        table_cell(&t, "%s", c->task->form);
        table_cell(&t, "%s", c->decode.selector);
        table_cell(&t, "%s", c->decode.decoder);
        table_cell(&t, "%s", c->decode.cache);
        table_cell(&t, "%g", c->decode.threshold);
        table_cell(&t, "%d", c->decode.block_length);
        table_cell(&t, "%d", c->decode.gen_length);
        table_cell(&t, "%zu", c->task->n_items);
        table_cell(&t, "%zu", n_samples);
        table_cell(&t, "%s", text);
    }
    is_ok = table_put(&t, b);
    table_release(&t);
    return is_ok ? ST_OK : no_memory(err);
}

static void put_run_json(struct buf *b, const struct sweep_run *r, const char *model,
                         const struct cell_time *times, size_t n, struct plan_sums *sums)
{
    const struct plan *p = &r->session.plan;

    for (size_t i = 0; i < p->n_cells; i++) {
        size_t n_samples = p->cells[i].task->n_items * (size_t)p->n_samples;
        double ns = expect_ns(times, n, model, &p->cells[i]) * (double)n_samples;

        buf_puts(b, sums->n_cells++ ? ",\n " : "\n ");
        put_cell_json(b, r, &p->cells[i]);
        buf_printf(b, ",\"n_samples\":%zu,\"expected_s\":", n_samples);
        json_put_num(b, ns * 1e-9);
        buf_putc(b, '}');
        sums->n_samples += n_samples;
        if (isnan(ns))
            sums->n_unknown++;
        else
            sums->expected_ns += ns;
    }
}

static enum status print_plan_text(const struct sweep *w, const struct cell_time *times, size_t n,
                                   struct error *err)
{
    struct plan_sums sums = { 0 };
    struct buf b = { 0 };
    size_t n_not = 0;
    enum status st = ST_OK;

    for (size_t i = 0; i < w->n_runs && !st; i++) {
        const struct sweep_run *r = &w->runs[i];
        const struct plan *p = &r->session.plan;

        buf_printf(&b, "%srun %zu of %zu: model %s, seed %s", i ? "\n" : "", i + 1, w->n_runs,
                   model_name(r), options_text(&r->options, OPT_SEED));
        if (r->why_not) {
            buf_putc(&b, '\n');
            put_not_runnable(&b, r, false);
            n_not++;
            continue;
        }
        buf_printf(&b, ": %zu cells, %zu samples, prompts up to %zu tokens, %.3f GB of memory\n",
                   p->n_cells, p->n_work, p->max_prompt,
                   (double)r->session.memory.total_bytes * 1e-9);
        st = put_run_table(&b, r, engine_info(w->groups[r->group].engine)->name, times, n, &sums,
                           err);
    }
    buf_printf(&b, "\nin all %zu runs (%zu not runnable here), %zu cells, %zu samples", w->n_runs,
               n_not, sums.n_cells, sums.n_samples);
    if (sums.n_cells > sums.n_unknown) {
        buf_puts(&b, "; about ");
        put_duration(&b, sums.expected_ns);
        buf_puts(&b, " by the times in the results file");
    }
    if (sums.n_unknown)
        buf_printf(&b, "; %zu cells of models that it has no times of", sums.n_unknown);
    buf_puts(&b,
             "\nwhat finished runs of the results file hold is left out when the sweep begins\n");
    if (st) {
        buf_release(&b);
        return st;
    }
    return print(&b, err);
}

static enum status print_plan_json(const struct sweep *w, const struct cell_time *times, size_t n,
                                   struct error *err)
{
    struct plan_sums sums = { 0 };
    struct buf b = { 0 };
    const char *sep = "";

    buf_puts(&b, "{\"cells\":[");
    for (size_t i = 0; i < w->n_runs; i++)
        if (!w->runs[i].why_not)
            put_run_json(&b, &w->runs[i], engine_info(w->groups[w->runs[i].group].engine)->name,
                         times, n, &sums);
    buf_puts(&b, "],\n\"not_runnable\":[");
    for (size_t i = 0; i < w->n_runs; i++) {
        if (w->runs[i].why_not) {
            buf_puts(&b, sep);
            put_not_runnable(&b, &w->runs[i], true);
            sep = ",\n ";
        }
    }
    buf_printf(&b,
               "],\n\"n_runs\":%zu,\"n_cells\":%zu,\"n_samples\":%zu,\"n_cells_without_time\":%zu,"
               "\"expected_s\":",
               w->n_runs, sums.n_cells, sums.n_samples, sums.n_unknown);
    json_put_num(&b, sums.expected_ns * 1e-9);
    buf_puts(&b, "}\n");
    return print(&b, err);
}

enum status sweep_print_plan(const struct sweep *w, struct store *store, bool is_json,
                             struct error *err)
{
    struct arena a = { 0 };
    struct cell_time *times = NULL;
    size_t n = 0;
    enum status st = store ? store_cell_times(store, &a, &times, &n, err) : ST_OK;

    if (!st)
        st = is_json ? print_plan_json(w, times, n, err) : print_plan_text(w, times, n, err);
    arena_release(&a);
    return st;
}

/* ---- results ---------------------------------------------------------------------------- */

/* Summaries of runs, read once each. */
struct summaries {
    struct store *store;
    struct arena *arena;
    const char *run_id; /* of the rows at hand */
    struct task_summary *rows;
    size_t n;
};

/* The summary of a cell; NULL: the run has no samples of it. */
static enum status find_summary(struct summaries *x, const struct session_cell *c,
                                const struct task_summary **ret, struct error *err)
{
    enum status st = ST_OK;

    *ret = NULL;
    if (!c->run_id)
        return ST_OK;
    if (!x->run_id || strcmp(x->run_id, c->run_id) != 0) {
        st = store_summarise(x->store, c->run_id, x->arena, &x->rows, &x->n, err);
        x->run_id = st ? NULL : c->run_id;
    }
    for (size_t i = 0; i < x->n && !st; i++)
        if (strcmp(x->rows[i].cell_key, c->key) == 0)
            *ret = &x->rows[i];
    return st;
}

static void put_interval(const struct task_summary *t, double *ret_low, double *ret_high)
{
    *ret_low = *ret_high = NAN;
    if (t->n_items && t->max_per_item == 1)
        stats_wilson(t->n_passed, t->n_items, 0.05, ret_low, ret_high);
}

static double per(int64_t a, double b)
{
    return b > 0 ? (double)a / b : NAN;
}

static void put_number(struct table *t, double v, int n_decimals)
{
    if (isnan(v))
        table_cell(t, "-");
    else
        table_cell(t, "%.*f", n_decimals, v);
}

static void put_row(struct table *t, const struct sweep_run *r, const struct session_cell *c,
                    const struct task_summary *s)
{
    const struct decode_options *d = &c->cell.decode;
    double low, high;

    put_interval(s, &low, &high);
    table_row(t);
    table_cell(t, "%s", model_name(r));
    table_cell(t, "%s", s->task);
    table_cell(t, "%s", s->selector);
    table_cell(t, "%s", s->decoder);
    table_cell(t, "%s", d->cache);
    table_cell(t, "%d", d->block_length);
    table_cell(t, "%d", d->gen_length);
    table_cell(t, "%s", options_text(&r->options, OPT_SEED));
    table_cell(t, "%" PRId64, s->n_samples);
    put_number(t, s->score, 3);
    if (isnan(low))
        table_cell(t, "-");
    else
        table_cell(t, "%.3f-%.3f", low, high);
    put_number(t, per(s->n_tokens_before_eos, (double)s->gen_ns * 1e-9), 1);
    put_number(t, per(s->n_tokens_before_eos, (double)s->n_forwards), 3);
    put_number(t, s->mean_unique, 1);
    table_cell(t, "%" PRId64, s->n_exp);
    put_number(t, s->mean_expert_bytes * 1e-6, 3);
    table_cell(t, "%s", c->run_id);
}

static void put_row_json(struct buf *b, const struct sweep_run *r, const struct session_cell *c,
                         const struct task_summary *s)
{
    double low, high;

    put_interval(s, &low, &high);
    put_cell_json(b, r, &c->cell);
    put_member(b, "metric", s->metric_name ? s->metric_name : "");
    put_member(b, "run_id", c->run_id);
    put_member(b, "cell_key", c->key);
    buf_printf(b, ",\"is_stored_before\":%s,\"n_samples\":%" PRId64 ",\"n_passed\":%" PRId64,
               c->is_stored ? "true" : "false", s->n_samples, s->n_passed);
    buf_puts(b, ",\"value\":");
    json_put_num(b, s->score);
    buf_puts(b, ",\"ci_low\":");
    json_put_num(b, low);
    buf_puts(b, ",\"ci_high\":");
    json_put_num(b, high);
    buf_puts(b, ",\"mean_unique\":");
    json_put_num(b, s->mean_unique);
    buf_printf(b, ",\"n_experts\":%" PRId64 ",\"mean_expert_bytes\":", s->n_exp);
    json_put_num(b, s->mean_expert_bytes);
    buf_printf(b,
               ",\"n_tokens_before_eos\":%" PRId64 ",\"n_forwards\":%" PRId64 ",\"gen_ns\":%" PRId64
               "}",
               s->n_tokens_before_eos, s->n_forwards, s->gen_ns);
}

enum status sweep_print_results(const struct sweep *w, struct store *store, bool is_json,
                                struct error *err)
{
    struct arena a = { 0 };
    struct summaries x = { .store = store, .arena = &a };
    struct buf b = { 0 };
    struct table t;
    size_t n_rows = 0;
    enum status st = ST_OK;

    table_init(&t, "model|task|selector|decoder|cache|>block|>gen length|>seed|>samples|>score|"
                   ">95 % interval|>tok/s|>tok/forward|>experts a layer|>of|>MB a forward|run");
    if (is_json)
        buf_puts(&b, "{\"cells\":[");
    for (size_t i = 0; i < w->n_runs && !st; i++) {
        const struct sweep_run *r = &w->runs[i];

        for (size_t k = 0; k < r->session.n_cells && !st; k++) {
            const struct session_cell *c = &r->session.cells[k];
            const struct task_summary *s = NULL;

            st = find_summary(&x, c, &s, err);
            if (st || !s)
                continue;
            if (is_json) {
                buf_puts(&b, n_rows ? ",\n " : "\n ");
                put_row_json(&b, r, c, s);
            } else {
                put_row(&t, r, c, s);
            }
            n_rows++;
        }
    }
    if (is_json)
        buf_puts(&b, "\n]}\n");
    else if (!table_put(&t, &b))
        st = st ? st : no_memory(err);
    if (!is_json)
        buf_puts(&b, "\nscore: pass@1 or accuracy; tok/s: by the time of each sequence, whatever "
                     "shares its batch;\nexperts a layer: unique routed experts read in a forward, "
                     "mean over layers and forwards\n");
    table_release(&t);
    arena_release(&a);
    if (!st && n_rows)
        return print(&b, err);
    buf_release(&b);
    return st;
}
