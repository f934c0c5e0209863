/* What `desbench run` prints: plans and results, as tables and as JSON. */
#include "harness/run_print.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "harness/table.h"
#include "harness/verb.h"

static void put_text_member(struct buf *b, const char *name, const char *text)
{
    buf_printf(b, ",\"%s\":", name);
    json_put_str(b, text, strlen(text));
}

static void put_memory_json(struct buf *b, const struct engine_memory *m)
{
    if (!m) {
        buf_puts(b, ",\"memory\":null");
        return;
    }
    buf_printf(b,
               ",\"memory\":{\"of\":\"%s\",\"weights_bytes\":%zu,\"caches_bytes\":%zu"
               ",\"workspace_bytes\":%zu,\"total_bytes\":%zu,\"available_bytes\":",
               m->is_device ? "device" : "host", m->weights_bytes, m->caches_bytes,
               m->workspace_bytes, m->total_bytes);
    if (m->available_bytes == SIZE_MAX)
        buf_puts(b, "null}");
    else
        buf_printf(b, "%zu}", m->available_bytes);
}

static void put_memory(struct buf *b, const struct engine_memory *m)
{
    if (!m) {
        buf_puts(b, "memory: not known, as there are no weights\n");
        return;
    }
    buf_printf(b, "%smemory %.3f GB: weights %.3f, caches %.3f, workspace %.3f; ",
               m->is_device ? "GPU " : "", (double)m->total_bytes * 1e-9,
               (double)m->weights_bytes * 1e-9, (double)m->caches_bytes * 1e-9,
               (double)m->workspace_bytes * 1e-9);
    if (m->available_bytes == SIZE_MAX)
        buf_puts(b, "what is available cannot be told\n");
    else
        buf_printf(b, "%.3f GB are available\n", (double)m->available_bytes * 1e-9);
}

/* All that the selector's text stands for. */
static enum status put_settings(struct buf *b, const char *selector, struct error *err)
{
    struct buf settings = { 0 };
    enum status st = engine_selector_settings(selector, &settings, err);

    if (!st)
        put_text_member(b, "selector_settings", buf_str(&settings));
    buf_release(&settings);
    return st;
}

/* For --dry-run --json. */
static enum status print_plan_json(const struct run_facts *f, struct error *err)
{
    const struct model_info *m = engine_info(f->engine);
    struct buf b = { 0 };
    enum status st = ST_OK;

    buf_puts(&b, "{\"model\":");
    json_put_str(&b, m->name, strlen(m->name));
    put_text_member(&b, "architecture", m->architecture);
    put_text_member(&b, "load_format", f->load_format);
    buf_printf(&b,
               ",\"n_params\":%" PRId64 ",\"weight_bytes\":%" PRId64
               ",\"n_layers\":%d,\"n_experts\":%d,\"top_k\":%d,\"max_prompt\":%zu"
               ",\"max_canvas\":%d,\"n_samples\":%zu",
               m->n_params, m->weight_bytes, m->n_layer, m->n_exp, m->top_k, f->plan->max_prompt,
               f->plan->max_canvas, f->plan->n_work);
    put_memory_json(&b, f->memory);
    buf_puts(&b, ",\"cells\":[");
    for (size_t i = 0; i < f->plan->n_cells; i++) {
        const struct plan_cell *cell = &f->plan->cells[i];

        buf_puts(&b, i ? ",\n {\"task\":" : "\n {\"task\":");
        json_put_str(&b, cell->task->def->name, strlen(cell->task->def->name));
        put_text_member(&b, "prompt_form", cell->task->form);
        put_text_member(&b, "selector", cell->decode.selector);
        if (!st)
            st = put_settings(&b, cell->decode.selector, err);
        put_text_member(&b, "decoder", cell->decode.decoder);
        put_text_member(&b, "cache", cell->decode.cache);
        buf_printf(&b,
                   ",\"shots\":%d,\"block_length\":%d,\"gen_length\":%d,\"n_items\":%zu"
                   ",\"n_samples\":%zu}",
                   task_form_find(cell->task->def, cell->task->form)->n_shots,
                   cell->decode.block_length, cell->decode.gen_length, cell->task->n_items,
                   cell->task->n_items * (size_t)f->plan->n_samples);
    }
    buf_puts(&b, "\n]}\n");
    if (!st)
        st = verb_print(&b, err);
    buf_release(&b);
    return st;
}

enum status run_print_plan(const struct run_facts *f, struct error *err)
{
    const struct model_info *m = engine_info(f->engine);
    struct table t;
    struct buf b = { 0 };
    enum status st = ST_OK;

    if (f->is_json)
        return print_plan_json(f, err);
    table_init(&t, "task|prompt form|selector|decoder|cache|>block|>gen length|>items|>samples");
    for (size_t i = 0; i < f->plan->n_cells; i++) {
        const struct plan_cell *cell = &f->plan->cells[i];

        table_row(&t);
        table_cell(&t, "%s", cell->task->def->name);
        table_cell(&t, "%s", cell->task->form);
        table_cell(&t, "%s", cell->decode.selector);
        table_cell(&t, "%s", cell->decode.decoder);
        table_cell(&t, "%s", cell->decode.cache);
        table_cell(&t, "%d", cell->decode.block_length);
        table_cell(&t, "%d", cell->decode.gen_length);
        table_cell(&t, "%zu", cell->task->n_items);
        table_cell(&t, "%zu", cell->task->n_items * (size_t)f->plan->n_samples);
    }
    buf_printf(&b,
               "model %s (%s, %s weights): %" PRId64 " parameters, %d layers, %d experts, "
               "top-%d\n",
               m->name, m->architecture, f->load_format, m->n_params, m->n_layer, m->n_exp,
               m->top_k);
    buf_printf(&b, "longest prompt %zu tokens, canvas %d positions, %zu samples in all\n",
               f->plan->max_prompt, f->plan->max_canvas, f->plan->n_work);
    put_memory(&b, f->memory);
    buf_putc(&b, '\n');
    if (!table_put(&t, &b))
        st = error_set(err, ST_NOMEM, "out of memory printing");
    table_release(&t);
    if (!st)
        st = verb_print(&b, err);
    buf_release(&b);
    return st;
}

/* ---- results ---------------------------------------------------------------------------- */

/* Interval of a score: Wilson over items when there is one sample each. */
static void interval(const struct task_summary *t, double *ret_low, double *ret_high)
{
    *ret_low = *ret_high = NAN;
    if (t->n_items && t->max_per_item == 1)
        stats_wilson(t->n_passed, t->n_items, 0.05, ret_low, ret_high);
}

static double ratio(double a, double b)
{
    return b > 0 ? a / b : NAN;
}

static void put_rate(struct table *t, double v, const char *fmt_ok)
{
    if (isnan(v))
        table_cell(t, "-");
    else if (strcmp(fmt_ok, "%.1f") == 0)
        table_cell(t, "%.1f", v);
    else
        table_cell(t, "%.3f", v);
}

/* 0 stands for what is not known of answers made elsewhere. */
static void put_count(struct table *t, int64_t n)
{
    if (n)
        table_cell(t, "%" PRId64, n);
    else
        table_cell(t, "-");
}

/* A text from outside, for a terminal. */
static void put_visible(struct buf *b, const char *s)
{
    size_t at = b->len;

    buf_puts(b, s);
    if (buf_ok(b) && b->len > at)
        utf8_make_visible(b->data + at);
}

/* A line a task and selector that has other scores. */
static void put_also(const struct task_summary *rows, size_t n, struct buf *b)
{
    for (size_t i = 0; i < n; i++) {
        const struct task_summary *r = &rows[i];

        for (size_t k = 0; k < r->n_also; k++) {
            if (!k) {
                buf_printf(b, "\n%s%s", r->task, *r->selector ? " " : "");
                put_visible(b, r->selector);
                buf_puts(b, ", other scores:");
            }
            buf_putc(b, ' ');
            put_visible(b, r->also[k].name);
            buf_printf(b, " %.3f", r->also[k].value);
        }
        if (r->n_also)
            buf_putc(b, '\n');
        if (r->n_not_data)
            buf_printf(b,
                       "\n%s: %" PRId64 " programs failed as they returned what is no data; `show` "
                       "has the types\n",
                       r->task, r->n_not_data);
    }
}

/* The line above the table: whose answers these are, and what judged them. */
static void put_headline(const struct run_facts *f, struct buf *b)
{
    const char *level = f->judge ? sandbox_level_name(judge_level(f->judge)) : "not needed";
    const struct model_info *m = f->engine ? engine_info(f->engine) : NULL;

    if (m) {
        buf_printf(b, "model %s (%s%s), backend %s (%s)", m->name, m->architecture,
                   strcmp(m->load_format, "dummy") == 0 ? ", DUMMY WEIGHTS: scores mean nothing"
                                                        : "",
                   m->backend, m->backend_details);
    } else {
        put_visible(b, f->source);
        buf_puts(b, ", model ");
        put_visible(b, f->model);
    }
    buf_printf(b, ", sandbox %s, run %s\n\n", level, f->run_id);
}

/* How answers were decoded, where a table's rows do not have that in common: options that take
 * lists. A task's length differs from another's anyway. */
struct varying {
    bool has_decoder, has_cache, has_block, has_length, has_temperature;
};

static struct varying find_varying(const struct task_summary *rows, size_t n)
{
    struct varying v = { 0 };

    for (size_t i = 1; i < n; i++) {
        const struct task_summary *x = &rows[i];

        v.has_decoder |= strcmp(x->decoder, rows->decoder) != 0;
        v.has_cache |= strcmp(x->cache, rows->cache) != 0;
        v.has_block |= x->block_length != rows->block_length;
        v.has_temperature |= x->temperature != rows->temperature && !isnan(x->temperature);
        for (size_t k = 0; k < i; k++)
            v.has_length |=
                strcmp(x->task, rows[k].task) == 0 && x->gen_length != rows[k].gen_length;
    }
    return v;
}

static void init_table(struct table *t, const struct varying *v)
{
    char headings[256];

    snprintf(headings, sizeof(headings),
             "task|selector%s%s%s%s%s|>samples|>score|>95 %% interval|>tok/s|>tok/forward|"
             ">forwards|>experts a layer|>of|>%% of vanilla|>MB a forward",
             v->has_decoder ? "|decoder" : "", v->has_cache ? "|cache" : "",
             v->has_block ? "|>block" : "", v->has_length ? "|>gen length" : "",
             v->has_temperature ? "|>temperature" : "");
    table_init(t, headings);
}

static void put_varying(struct table *t, const struct varying *v, const struct task_summary *r)
{
    if (v->has_decoder)
        table_cell(t, "%s", r->decoder);
    if (v->has_cache)
        table_cell(t, "%s", r->cache);
    if (v->has_block)
        table_cell(t, "%d", r->block_length);
    if (v->has_length)
        table_cell(t, "%d", r->gen_length);
    if (v->has_temperature)
        table_cell(t, "%g", r->temperature);
}

static enum status print_table(const struct run_facts *f, const struct runner_totals *totals,
                               const struct task_summary *rows, size_t n, struct error *err)
{
    struct varying v = find_varying(rows, n);
    struct table t;
    struct buf b = { 0 };
    enum status st = ST_OK;

    init_table(&t, &v);
    for (size_t i = 0; i < n; i++) {
        const struct task_summary *r = &rows[i];
        double low, high;

        interval(r, &low, &high);
        table_row(&t);
        table_cell(&t, "%s", r->task);
        table_cell(&t, "%s", *r->selector ? r->selector : "-");
        put_varying(&t, &v, r);
        table_cell(&t, "%" PRId64, r->n_samples);
        put_rate(&t, r->score, "%.3f");
        if (isnan(low))
            table_cell(&t, "-");
        else
            table_cell(&t, "%.3f-%.3f", low, high);
        put_rate(&t, ratio((double)r->n_tokens_before_eos, (double)r->gen_ns * 1e-9), "%.1f");
        put_rate(&t, ratio((double)r->n_tokens_before_eos, (double)r->n_forwards), "%.3f");
        put_count(&t, r->n_forwards);
        put_rate(&t, r->n_forwards ? r->mean_unique : NAN, "%.1f");
        put_count(&t, r->n_exp);
        put_rate(&t, r->n_forwards ? 100 * ratio(r->mean_unique, r->mean_natural) : NAN, "%.1f");
        put_rate(&t, r->n_forwards ? r->mean_expert_bytes * 1e-6 : NAN, "%.3f");
    }
    put_headline(f, &b);
    if (!table_put(&t, &b))
        st = error_set(err, ST_NOMEM, "out of memory printing");
    put_also(rows, n, &b);
    buf_puts(
        &b,
        "\nscore: pass@1 or accuracy; tok: tokens before the first end-of-text, by the time of "
        "their own\nsequence, whatever shares its batch; experts a layer: unique routed experts "
        "read in a forward,\nmean over layers and forwards; of vanilla: of what the model's own "
        "routing would have "
        "read of the same\nrouter scores\n");
    if (f->notes)
        buf_append(&b, f->notes->data, f->notes->len);
    if (f->max_batch > 1)
        buf_printf(&b, "all sequences together, %d at once: %.1f tok/s\n", f->max_batch,
                   ratio((double)totals->n_tokens_before_eos, (double)totals->step_ns * 1e-9));
    table_release(&t);
    if (!st)
        st = verb_print(&b, err);
    buf_release(&b);
    return st;
}

static void put_member(struct buf *b, const char *name, double v)
{
    buf_printf(b, ",\"%s\":", name);
    json_put_num(b, v);
}

/* One entry a task and selector; `value` is the default metric as a fraction, the same of other
 * rules and of pass@N under `also`. Rates of an entry are by the time of its own sequences, that of
 * the run by the time of steps, which a batch shares. Numbers that cannot be told are null. */
static enum status print_json(const struct run_facts *f, const struct runner_totals *totals,
                              const struct task_summary *rows, size_t n, const char *status,
                              struct error *err)
{
    const struct model_info *m = f->engine ? engine_info(f->engine) : NULL;
    struct buf b = { 0 };
    enum status st;

    buf_puts(&b, "{\"run_id\":");
    json_put_str(&b, f->run_id, strlen(f->run_id));
    buf_puts(&b, ",\"results\":");
    json_put_str(&b, f->results_path, strlen(f->results_path));
    buf_printf(&b, ",\"status\":\"%s\",\"version\":\"%s\",\"commit\":\"%s\"", status, build_version,
               build_commit);
    put_text_member(&b, "model", m ? m->name : f->model);
    put_text_member(&b, "load_format", m ? m->load_format : f->load_format);
    if (m) {
        put_text_member(&b, "backend", m->backend);
        put_text_member(&b, "weights_sha256", m->weights_sha256);
    } else {
        put_text_member(&b, "source", f->source);
        buf_puts(&b, ",\"parent_run\":");
        if (f->parent_run)
            json_put_str(&b, f->parent_run, strlen(f->parent_run));
        else
            buf_puts(&b, "null");
    }
    buf_puts(&b, ",\"sandbox_level\":");
    if (f->judge)
        buf_printf(&b, "\"%s\"", sandbox_level_name(judge_level(f->judge)));
    else
        buf_puts(&b, "null");
    put_member(&b, "wall_s", (double)totals->wall_ns * 1e-9);
    if (f->notes)
        buf_append(&b, f->notes->data, f->notes->len);
    put_member(&b, "step_s", (double)totals->step_ns * 1e-9);
    put_member(&b, "tokens_before_eos_per_step_s",
               ratio((double)totals->n_tokens_before_eos, (double)totals->step_ns * 1e-9));
    buf_puts(&b, ",\"tasks\":[");
    for (size_t i = 0; i < n; i++) {
        const struct task_summary *r = &rows[i];
        const char *metric = task_find(r->task)->metric;
        double low, high;

        interval(r, &low, &high);
        buf_puts(&b, i ? ",{\"task\":" : "{\"task\":");
        json_put_str(&b, r->task, strlen(r->task));
        buf_puts(&b, ",\"selector\":");
        json_put_str(&b, r->selector, strlen(r->selector));
        put_text_member(&b, "decoder", r->decoder);
        put_text_member(&b, "cache", r->cache);
        buf_printf(&b, ",\"block_length\":%d,\"gen_length\":%d", r->block_length, r->gen_length);
        put_member(&b, "temperature", r->temperature);
        buf_puts(&b, ",\"metric\":");
        json_put_str(&b, metric, strlen(metric));
        put_member(&b, "value", r->score);
        put_member(&b, "ci_low", low);
        put_member(&b, "ci_high", high);
        buf_puts(&b, ",\"also\":{");
        for (size_t k = 0; k < r->n_also; k++) {
            if (k)
                buf_putc(&b, ',');
            json_put_str(&b, r->also[k].name, strlen(r->also[k].name));
            buf_putc(&b, ':');
            json_put_num(&b, r->also[k].value);
        }
        buf_putc(&b, '}');
        buf_printf(&b,
                   ",\"n_samples\":%" PRId64 ",\"n_passed\":%" PRId64 ",\"n_internal\":%" PRId64
                   ",\"n_no_answer\":%" PRId64 ",\"n_timeouts\":%" PRId64 ",\"n_not_data\":%" PRId64
                   ",\"n_prompt\":%" PRId64 ",\"n_gen_positions\":%" PRId64
                   ",\"n_tokens_before_eos\":%" PRId64 ",\"n_forwards\":%" PRId64
                   ",\"n_forwards_cache\":%" PRId64 ",\"gen_ns\":%" PRId64,
                   r->n_samples, r->n_passed, r->n_internal, r->n_no_answer, r->n_timeouts,
                   r->n_not_data, r->n_prompt, r->n_gen_positions, r->n_tokens_before_eos,
                   r->n_forwards, r->n_forwards_cache, r->gen_ns);
        put_member(&b, "tokens_before_eos_per_s",
                   ratio((double)r->n_tokens_before_eos, (double)r->gen_ns * 1e-9));
        put_member(&b, "gen_positions_per_s",
                   ratio((double)r->n_gen_positions, (double)r->gen_ns * 1e-9));
        put_member(&b, "tokens_before_eos_per_forward",
                   ratio((double)r->n_tokens_before_eos, (double)r->n_forwards));
        put_member(&b, "mean_unique_experts", r->n_forwards ? r->mean_unique : NAN);
        put_member(&b, "mean_vanilla_experts", r->n_forwards ? r->mean_natural : NAN);
        put_member(&b, "mean_expert_bytes_per_forward", r->n_forwards ? r->mean_expert_bytes : NAN);
        buf_printf(&b, ",\"n_experts\":%" PRId64 "}", r->n_exp);
    }
    buf_puts(&b, "]}\n");
    st = verb_print(&b, err);
    buf_release(&b);
    return st;
}

enum status run_print_results(const struct run_facts *f, const struct runner_totals *totals,
                              const struct task_summary *rows, size_t n, const char *status,
                              struct error *err)
{
    return f->is_json ? print_json(f, totals, rows, n, status, err)
                      : print_table(f, totals, rows, n, err);
}
