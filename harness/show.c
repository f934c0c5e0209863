/* `desbench show`: a run, or its samples: prompt, answer, denoising steps, experts, verdict. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"
#include "harness/kernels_print.h"
#include "harness/listing.h"
#include "harness/paths.h"
#include "harness/popularity.h"
#include "harness/strata.h"
#include "harness/table.h"
#include "harness/verb.h"
#include "results/results.h"

struct showing {
    const struct options *c;
    bool is_json, is_full;
    size_t n;
};

/* Print a text that holds outside text: control characters, which could drive a terminal, and bytes
 * that are not UTF-8 are shown as codes. */
static enum status print_visible(const struct buf *text, struct error *err)
{
    const char *p = buf_str(text);
    struct buf b = { 0 };
    enum status st;
    uint32_t c;
    int n;

    for (size_t i = 0; i < text->len; i += (size_t)n) {
        n = utf8_decode(p + i, text->len - i, &c);
        if (!n) {
            n = 1;
            buf_printf(&b, "\\x%02x", (unsigned char)p[i]);
        } else if ((c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7f && c < 0xa0)) {
            buf_printf(&b, "\\x%02x", (unsigned)c);
        } else {
            buf_append(&b, p + i, (size_t)n);
        }
    }
    st = buf_ok(text) ? verb_print(&b, err)
                      : error_set(err, ST_NOMEM, "out of memory showing a sample");
    buf_release(&b);
    return st;
}

static size_t length(const char *s)
{
    return s ? strlen(s) : 0;
}

/* Text between marker lines; the middle of a long one is left out unless --full. */
static void put_text(struct buf *b, const char *title, const char *text, size_t len, bool is_full)
{
    enum { HEAD = 600, TAIL = 300 };

    buf_printf(b, "--- %s%s\n", title, text ? "" : ": none");
    if (!text)
        return;
    if (is_full || len <= HEAD + TAIL) {
        buf_append(b, text, len);
    } else {
        size_t head = HEAD, tail = len - TAIL;

        while (head < len && ((unsigned char)text[head] & 0xc0) == 0x80)
            head++; /* never inside a character */
        while (tail < len && ((unsigned char)text[tail] & 0xc0) == 0x80)
            tail++;
        buf_append(b, text, head);
        buf_printf(b, "\n[... %zu bytes left out, --full shows them ...]\n", tail - head);
        buf_append(b, text + tail, len - tail);
    }
    if (len && text[len - 1] != '\n')
        buf_putc(b, '\n');
}

/* Mean, least and most unique experts of each layer over the sample's forwards. */
static bool put_layers(struct buf *b, const struct telemetry *t, int64_t n_exp)
{
    struct table table;
    bool is_ok;

    table_init(&table, ">layer|>unique experts|>least|>most|>of|>vanilla|>coreset|>rerouted|>lost "
                       "top-1|>kept mass|>output error");
    for (int l = 0; l < t->n_layer; l++) {
        double unique = 0, natural = 0, core = 0, rerouted = 0, lost = 0, kept = 0, error = 0;
        int least = INT32_MAX, most = 0, n = t->n_forwards ? t->n_forwards : 1;

        for (int f = 0; f < t->n_forwards; f++) {
            const struct telemetry_layer *x = &t->layers[f * t->n_layer + l];

            unique += x->n_unique;
            natural += x->n_natural;
            core += x->n_core;
            error += (double)x->output_error;
            rerouted += x->n_rerouted;
            lost += x->n_lost_top1;
            kept += (double)x->kept_mass;
            least = x->n_unique < least ? x->n_unique : least;
            most = x->n_unique > most ? x->n_unique : most;
        }
        table_row(&table);
        table_cell(&table, "%d", l);
        table_cell(&table, "%.2f", unique / n);
        table_cell(&table, "%d", t->n_forwards ? least : 0);
        table_cell(&table, "%d", most);
        table_cell(&table, "%" PRId64, n_exp);
        table_cell(&table, "%.2f", natural / n);
        table_cell(&table, core > 0 ? "%.2f" : "-", core / n);
        table_cell(&table, "%.2f", rerouted / n);
        table_cell(&table, "%.2f", lost / n);
        table_cell(&table, "%.4f", kept / n);
        table_cell(&table, t->has_output_error ? "%.4f" : "-", error / n);
    }
    buf_puts(b, "--- experts by layer (means over forwards; vanilla: what the model's own routing "
                "would have read)\n");
    is_ok = table_put(&table, b);
    table_release(&table);
    return is_ok;
}

static bool put_steps(struct buf *b, const struct telemetry *t, bool is_full)
{
    enum { SHORT = 16 };
    struct table table;
    bool is_ok;

    table_init(
        &table,
        ">forward|>block|>step|>tokens|>masked|>committed|>edited|>unique experts|>ms|cache");
    for (int f = 0; f < t->n_forwards; f++) {
        const struct telemetry_forward *x = &t->forwards[f];
        double unique = 0;

        if (!is_full && f >= SHORT)
            break;
        for (int l = 0; l < t->n_layer; l++)
            unique += t->layers[f * t->n_layer + l].n_unique;
        table_row(&table);
        table_cell(&table, "%d", f);
        table_cell(&table, "%d", x->block);
        table_cell(&table, "%d", x->step);
        table_cell(&table, "%d", x->n_tok);
        table_cell(&table, "%d", x->n_masked_before);
        table_cell(&table, "%d", x->n_committed);
        table_cell(&table, "%d", x->n_edited);
        table_cell(&table, "%.2f", t->n_layer ? unique / t->n_layer : 0.0);
        table_cell(&table, "%.3f", (double)x->wall_ns * 1e-6);
        table_cell(&table, "%s", x->is_cache_refresh ? "refresh" : "");
    }
    buf_puts(b, "--- denoising steps\n");
    is_ok = table_put(&table, b);
    if (!is_full && t->n_forwards > SHORT)
        buf_printf(b, "[... %d more, --full shows them ...]\n", t->n_forwards - SHORT);
    table_release(&table);
    return is_ok;
}

static bool put_sample_text(const struct showing *x, const struct stored_sample *s, struct buf *b)
{
    const struct verdict_row *v = &s->verdict;
    bool is_ok;

    buf_printf(b, "%s %s, sample %d of run %s: %s\n", s->task, s->task_id, s->sample_idx, s->run_id,
               v->verdict);
    if (strcmp(s->load_format, "external") == 0) {
        buf_printf(b, "model %s, answers made elsewhere%s%s\n", s->model,
                   *s->selector ? ", selector " : "", s->selector);
    } else {
        buf_printf(
            b,
            "model %s (%s weights), backend %s, selector %s, decoder %s, cache %s, seed %" PRId64
            "\n",
            s->model, s->load_format, s->backend, s->selector, s->decoder, s->cache, s->seed);
        buf_printf(b,
                   "%" PRId64 " prompt tokens, %" PRId64 " positions denoised, %" PRId64
                   " tokens before end-of-text, %" PRId64 " after; stop: %s\n",
                   s->n_prompt, s->n_gen_positions, s->n_tokens_before_eos, s->n_tokens_after_stop,
                   s->stop_reason);
        buf_printf(b,
                   "%" PRId64 " forwards (%" PRId64
                   " cache refreshes), %.3f s, first block %.3f s; "
                   "tokens sha256 %.16s\n",
                   s->n_forwards, s->n_forwards_cache, (double)s->total_ns * 1e-9,
                   (double)s->first_block_ns * 1e-9, s->tokens_sha256);
    }
    put_text(b, "prompt", *s->prompt ? s->prompt : NULL, length(s->prompt), x->is_full);
    put_text(b, "output", s->raw_output, s->raw_output_len, x->is_full);
    buf_printf(b, "--- extracted by rule '%s'\n", s->extraction_method);
    put_text(b, "extracted", s->extracted, length(s->extracted), x->is_full);
    is_ok = !s->telemetry.n_forwards ||
            (put_steps(b, &s->telemetry, x->is_full) && put_layers(b, &s->telemetry, s->n_exp));
    buf_printf(b, "--- verdict: %s (checker %s", v->verdict, v->checker_version);
    if (v->judge_mode)
        buf_printf(b, ", judge %s, sandbox %s, %.3f s CPU, %.3f s wall, %.1f MiB", v->judge_mode,
                   v->sandbox_level, (double)v->cpu_ns * 1e-9, (double)v->wall_ns * 1e-9,
                   (double)v->max_rss_bytes / 1048576.0);
    if (v->attempts > 1)
        buf_printf(b, ", second attempt after %s", v->first_verdict);
    buf_puts(b, ")\n");
    if (v->details && *v->details)
        buf_printf(b, "%s\n", v->details);
    if (v->also_json)
        buf_printf(b, "other rules: %s\n", v->also_json);
    if (v->stdout_tail && *v->stdout_tail)
        put_text(b, "end of its standard output", v->stdout_tail, length(v->stdout_tail),
                 x->is_full);
    if (v->stderr_tail && *v->stderr_tail)
        put_text(b, "end of its standard error", v->stderr_tail, length(v->stderr_tail),
                 x->is_full);
    return is_ok;
}

/* A JSON string, or null. */
static void put_value(struct buf *b, const char *s)
{
    if (s)
        json_put_str(b, s, strlen(s));
    else
        buf_puts(b, "null");
}

static void put_str(struct buf *b, const char *name, const char *s)
{
    buf_printf(b, ",\"%s\":", name);
    put_value(b, s);
}

static void put_sample_json(const struct stored_sample *s, struct buf *b)
{
    const struct telemetry *t = &s->telemetry;
    const struct verdict_row *v = &s->verdict;

    buf_puts(b, "{\"task\":");
    put_value(b, s->task);
    put_str(b, "task_id", s->task_id);
    put_str(b, "run_id", s->run_id);
    put_str(b, "model", s->model);
    put_str(b, "selector", s->selector);
    put_str(b, "decoder", s->decoder);
    put_str(b, "cache", s->cache);
    put_str(b, "backend", s->backend);
    put_str(b, "stop_reason", s->stop_reason);
    put_str(b, "prompt", s->prompt);
    buf_puts(b, ",\"output\":");
    json_put_str(b, s->raw_output, s->raw_output_len);
    put_str(b, "extracted", s->extracted);
    put_str(b, "extraction_method", s->extraction_method);
    put_str(b, "tokens_sha256", s->tokens_sha256);
    put_str(b, "verdict", v->verdict);
    put_str(b, "details", v->details);
    put_str(b, "sandbox_level", v->sandbox_level);
    buf_printf(b,
               ",\"passed\":%s,\"sample_idx\":%d,\"seed\":%" PRId64 ",\"n_prompt\":%" PRId64
               ",\"n_gen_positions\":%" PRId64 ",\"n_tokens_before_eos\":%" PRId64
               ",\"n_tokens_after_stop\":%" PRId64 ",\"n_forwards\":%" PRId64
               ",\"n_forwards_cache\":%" PRId64 ",\"first_block_ns\":%" PRId64
               ",\"total_ns\":%" PRId64 ",\"tokens\":[",
               v->is_passed ? "true" : "false", s->sample_idx, s->seed, s->n_prompt,
               s->n_gen_positions, s->n_tokens_before_eos, s->n_tokens_after_stop, s->n_forwards,
               s->n_forwards_cache, s->first_block_ns, s->total_ns);
    for (int64_t i = 0; i < s->n_tokens_blob; i++)
        buf_printf(b, "%s%d", i ? "," : "", s->tokens[i]);
    buf_puts(b, "],\"commit_forward\":[");
    for (int i = 0; i < t->n_positions; i++)
        buf_printf(b, "%s%d", i ? "," : "", t->commit_step[i]);
    buf_puts(b, "],\"forwards\":[");
    for (int f = 0; f < t->n_forwards; f++) {
        const struct telemetry_forward *x = &t->forwards[f];

        buf_printf(b,
                   "%s{\"block\":%d,\"step\":%d,\"n_tok\":%d,\"n_masked_before\":%d,"
                   "\"n_committed\":%d,\"n_edited\":%d,\"cache_refresh\":%s,\"wall_ns\":%" PRId64
                   ",\"unique_experts\":[",
                   f ? "," : "", x->block, x->step, x->n_tok, x->n_masked_before, x->n_committed,
                   x->n_edited, x->is_cache_refresh ? "true" : "false", x->wall_ns);
        for (int l = 0; l < t->n_layer; l++)
            buf_printf(b, "%s%d", l ? "," : "", t->layers[f * t->n_layer + l].n_unique);
        buf_puts(b, "],\"vanilla_experts\":[");
        for (int l = 0; l < t->n_layer; l++)
            buf_printf(b, "%s%d", l ? "," : "", t->layers[f * t->n_layer + l].n_natural);
        if (t->has_output_error)
            buf_puts(b, "],\"output_errors\":[");
        for (int l = 0; t->has_output_error && l < t->n_layer; l++) {
            if (l)
                buf_putc(b, ',');
            json_put_num(b, (double)t->layers[f * t->n_layer + l].output_error);
        }
        buf_puts(b, "]}");
    }
    buf_puts(b, "]}\n");
}

static enum status show_sample(void *arg, const struct stored_sample *s, struct error *err)
{
    struct showing *x = arg;
    struct buf b = { 0 };
    bool is_ok = true;
    enum status st;

    if (x->n++ && !x->is_json)
        buf_putc(&b, '\n');
    if (x->is_json)
        put_sample_json(s, &b);
    else
        is_ok = put_sample_text(x, s, &b);
    if (!is_ok)
        st = error_set(err, ST_NOMEM, "out of memory showing a sample");
    else
        st = x->is_json ? verb_print(&b, err) : print_visible(&b, err);
    buf_release(&b);
    return st;
}

struct row_list {
    struct table table;
    struct buf json;
    size_t n;
};

static enum status add_line(void *arg, const struct stored_sample *s, struct error *err)
{
    struct row_list *l = arg;

    (void)err;
    table_row(&l->table);
    table_cell(&l->table, "%s", s->task);
    table_cell(&l->table, "%s", s->task_id);
    table_cell(&l->table, "%d", s->sample_idx);
    table_cell(&l->table, "%s", s->selector);
    table_cell(&l->table, "%s", s->verdict.verdict);
    table_cell(&l->table, "%" PRId64, s->n_prompt);
    table_cell(&l->table, "%" PRId64, s->n_tokens_before_eos);
    table_cell(&l->table, "%" PRId64, s->n_forwards);
    table_cell(&l->table, "%.2f", (double)s->total_ns * 1e-9);
    buf_printf(&l->json, "%s{\"task\":", l->n++ ? ",\n " : "\n ");
    put_value(&l->json, s->task);
    put_str(&l->json, "task_id", s->task_id);
    put_str(&l->json, "selector", s->selector);
    put_str(&l->json, "verdict", s->verdict.verdict);
    put_str(&l->json, "tokens_sha256", s->tokens_sha256);
    buf_printf(&l->json, ",\"sample_idx\":%d,\"n_forwards\":%" PRId64 "}", s->sample_idx,
               s->n_forwards);
    return ST_OK;
}

/* A run without a task: what it was, and a line a sample. */
static enum status show_run(const struct showing *x, struct store *store, const char *run_id,
                            struct arena *a, struct error *err)
{
    struct row_list l = { 0 };
    struct run_summary sum;
    struct run_row row;
    struct buf b = { 0 };
    enum status st;

    table_init(&l.table, "task|item|>sample|selector|verdict|>prompt|>tokens|>forwards|>s");
    st = store_get_run(store, run_id, a, &row, &sum, err);
    if (!st)
        st = store_each_sample(store, run_id, NULL, NULL, add_line, &l, err);
    if (!st && x->is_json) {
        buf_puts(&b, "{\"run_id\":");
        put_value(&b, run_id);
        put_str(&b, "started", row.started);
        put_str(&b, "finished", sum.finished);
        put_str(&b, "status", sum.status);
        put_str(&b, "validity", sum.validity);
        put_str(&b, "command", row.command);
        put_str(&b, "version", row.version);
        put_str(&b, "git_commit", row.git_commit);
        buf_printf(&b, ",\"config\":%s,\"environment\":%s,\"samples\":[%s]}\n", row.config_json,
                   row.env_json, buf_str(&l.json));
    } else if (!st) {
        buf_printf(&b, "run %s: %s, %s\nstarted %s, finished %s\n%s\nprogram %s, commit %s%s\n\n",
                   run_id, sum.status, sum.validity ? sum.validity : "not finished", row.started,
                   sum.finished ? sum.finished : "-", row.command, row.version,
                   row.git_commit ? row.git_commit : "unknown", row.git_dirty ? " (changed)" : "");
        if (x->is_full)
            buf_printf(&b, "configuration %s\nenvironment %s\n\n", row.config_json, row.env_json);
        if (!table_put(&l.table, &b))
            st = error_set(err, ST_NOMEM, "out of memory showing a run");
    }
    if (!st)
        st = x->is_json ? verb_print(&b, err) : print_visible(&b, err);
    buf_release(&b);
    buf_release(&l.json);
    table_release(&l.table);
    return st;
}

/* Samples are no table, and a table of classes is of a run. */
static enum status check_form(const struct options *c, struct error *err)
{
    enum print_form form = print_form_of(c);

    if (options_text(c, OPT_BY) && c->n_args > 1)
        return error_set(err, ST_INVALID, "--by is of a whole run, found task '%s'", c->args[1]);
    if (!options_text(c, OPT_BY) && (form == PRINT_MARKDOWN || form == PRINT_CSV))
        return error_set(err, ST_INVALID,
                         "option '--format': '%s' is for tables (--by), samples are shown as text "
                         "or json",
                         options_text(c, OPT_TABLE_FORMAT));
    return ST_OK;
}

static enum status run(const struct options *c, enum exit_code *ret_exit, struct error *err)
{
    struct showing x = { .c = c,
                         .is_json = verb_wants_json(c),
                         .is_full = options_flag(c, OPT_FULL) };
    const char *task = c->n_args > 1 ? c->args[1] : NULL, *id = c->n_args > 2 ? c->args[2] : NULL;
    const char *by = options_text(c, OPT_BY);
    struct arena a = { 0 };
    struct store *store = NULL;
    const char *path, *run_id;
    enum status st;

    (void)ret_exit;
    st = check_form(c, err);
    if (!st)
        st = path_results(c, false, &a, &path, err);
    if (!st)
        st = store_open(path, STORE_READ, &store, err);
    if (!st)
        st = store_find_run(store, c->args[0], &a, &run_id, err);
    if (!st && options_flag(c, OPT_POPULARITY)) {
        st = popularity_print(store, run_id, task, err);
    } else if (!st && by && kernels_is_field(by)) {
        st = kernels_print(c, store, run_id, by, err);
    } else if (!st && by) {
        st = strata_print(c, store, run_id, by, err);
    } else if (!st && !task) {
        st = show_run(&x, store, run_id, &a, err);
    } else if (!st) {
        st = store_each_sample(store, run_id, task, id, show_sample, &x, err);
        if (!st && !x.n)
            st = error_set(err, ST_NOT_FOUND, "run '%s' has no sample of task '%s'%s%s%s", run_id,
                           task, id ? " item '" : "", id ? id : "", id ? "'" : "");
    }
    store_close(store);
    arena_release(&a);
    return st;
}

const struct verb verb_show = {
    .name = "show",
    .bit = VERB_SHOW,
    .args = "RUN [TASK [ITEM]]",
    .min_args = 1,
    .max_args = 3,
    .summary = "show a stored run, or samples of it with steps, experts and verdict",
    .help = "RUN is a run's id, the beginning of one, or `last`. With a task, every sample of it "
            "is shown:\n"
            "prompt, output, what was extracted, denoising steps, unique experts of each layer and "
            "the\n"
            "verdict with the end of what the program printed.\n\n"
            "  desbench show last\n"
            "  desbench show last humaneval HumanEval/0\n"
            "  desbench show last gsm8k --json | jq .forwards\n"
            "  desbench show last --by depth                  scores by class of item\n"
            "  desbench show last --by kernel                 times of a forward's parts; layer, "
            "energy\n"
            "  desbench show last --popularity > counts.json  for `--selector static`\n",
    .run = run,
};
