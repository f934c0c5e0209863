/*
 * Forms of `desbench export` but lm-eval's. docs/interchange.md describes them field by field.
 *
 * jsonl and csv hold the same columns, one sample a row. In jsonl the answer stands under the name
 * of its kind (output, completion, solution), which is how `score` knows how to read it; csv has
 * the kind in a column of its own.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/csv.h"
#include "base/json.h"
#include "base/utf8.h"
#include "harness/export.h"
#include "tasks/task.h"

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory exporting a run");
}

/* ---- rows ----------------------------------------------------------------------------------- */

/* A row under construction, as a JSON line or a CSV record; with names, the head of a CSV file. */
struct row {
    struct buf *b;
    bool is_json, is_head;
    size_t n;
};

static void put_name(struct row *r, const char *name)
{
    if (r->is_json)
        buf_printf(r->b, "%s\"%s\":", r->n++ ? "," : "{", name);
    else if (r->n++)
        buf_putc(r->b, ',');
    if (r->is_head)
        buf_puts(r->b, name);
}

/* NULL is null, or an empty field. */
static void put_bytes(struct row *r, const char *name, const char *s, size_t len)
{
    put_name(r, name);
    if (r->is_head)
        return;
    if (r->is_json && s)
        json_put_str(r->b, s, len);
    else if (r->is_json)
        buf_puts(r->b, "null");
    else if (s)
        csv_put_field(r->b, s, len);
}

static void put_text(struct row *r, const char *name, const char *s)
{
    put_bytes(r, name, s, s ? strlen(s) : 0);
}

static void put_int(struct row *r, const char *name, int64_t v)
{
    put_name(r, name);
    if (!r->is_head)
        buf_printf(r->b, "%" PRId64, v);
}

static void put_real(struct row *r, const char *name, double v)
{
    put_name(r, name);
    if (!r->is_head && (r->is_json || isfinite(v)))
        json_put_num(r->b, v);
}

static void put_bool(struct row *r, const char *name, bool v)
{
    if (r->is_json) {
        put_name(r, name);
        buf_puts(r->b, v ? "true" : "false");
    } else {
        put_int(r, name, v);
    }
}

static void end_row(struct row *r)
{
    buf_puts(r->b, r->is_json ? "}\n" : "\n");
    r->n = 0;
    r->is_head = false;
}

/* Bytes that JSON and readers of CSV can hold as they are? */
static bool is_plain(const struct row *r, const char *s, size_t len)
{
    return utf8_check(s, len) == len && (r->is_json || !memchr(s, 0, len));
}

/* The answer under `name`, or in hexadecimal digits under name_hex where it is not text. A CSV row
 * has both columns. */
static void put_answer(struct row *r, const char *name, const char *s, size_t len)
{
    bool is_text = is_plain(r, s, len);
    struct buf hex = { 0 };
    char name_hex[32];

    snprintf(name_hex, sizeof(name_hex), "%s_hex", name);
    for (size_t i = 0; i < len && !is_text; i++)
        buf_printf(&hex, "%02x", (unsigned char)s[i]);
    if (is_text || !r->is_json)
        put_bytes(r, name, is_text ? s : "", is_text ? len : 0);
    if (!is_text || !r->is_json)
        put_bytes(r, name_hex, buf_str(&hex), hex.len);
    r->b->is_failed |= hex.is_failed;
    buf_release(&hex);
}

/* Every column of a sample. Read back by harness/answers.c (jsonl) and harness/import_own.c. */
static void put_sample(struct row *r, const struct exporting *x, const struct export_sample *e)
{
    const struct stored_sample *s = &e->s;
    const struct cell_row *c = &x->cells[e->cell].row;
    const struct verdict_row *v = &s->verdict;

    put_text(r, "run_id", x->run_id);
    put_text(r, "task", s->task);
    put_text(r, "problem", s->task_id);
    put_int(r, "sample_idx", s->sample_idx);
    put_text(r, "model", c->model);
    put_text(r, "architecture", c->architecture);
    put_text(r, "load_format", c->load_format);
    put_text(r, "backend", c->backend);
    put_text(r, "prompt_form", c->prompt_form);
    put_text(r, "selector", c->selector);
    put_text(r, "decoder", c->decoder);
    put_text(r, "cache", c->cache);
    put_int(r, "gen_length", c->gen_length);
    put_int(r, "block_length", c->block_length);
    put_real(r, "temperature", c->temperature);
    put_int(r, "seed", s->seed);
    put_text(r, "prompt", s->prompt);
    if (r->is_json) {
        put_answer(r, answer_kind_name(e->kind), s->raw_output, s->raw_output_len);
    } else {
        put_text(r, "answer_kind", answer_kind_name(e->kind));
        put_answer(r, "answer", s->raw_output, s->raw_output_len);
    }
    put_text(r, "extracted", s->extracted);
    put_text(r, "extraction_method", s->extraction_method);
    put_text(r, "verdict", v->verdict);
    put_bool(r, "passed", v->is_passed);
    put_text(r, "checker_version", v->checker_version);
    put_text(r, "judge_mode", v->judge_mode);
    put_text(r, "sandbox_level", v->sandbox_level);
    put_int(r, "attempts", v->attempts);
    put_text(r, "details", v->details);
    if (r->is_json && v->also_json) {
        put_name(r, "also");
        buf_puts(r->b, v->also_json); /* JSON, the schema sees to it */
    } else {
        put_text(r, "also", v->also_json);
    }
    put_text(r, "stop_reason", s->stop_reason);
    put_int(r, "n_prompt", s->n_prompt);
    put_int(r, "n_gen_positions", s->n_gen_positions);
    put_int(r, "n_tokens_before_eos", s->n_tokens_before_eos);
    put_int(r, "n_tokens_after_stop", s->n_tokens_after_stop);
    put_int(r, "n_forwards", s->n_forwards);
    put_int(r, "n_forwards_cache", s->n_forwards_cache);
    put_int(r, "first_block_ns", s->first_block_ns);
    put_int(r, "total_ns", s->total_ns);
    put_int(r, "judge_cpu_ns", v->cpu_ns);
    put_int(r, "judge_wall_ns", v->wall_ns);
    put_text(r, "tokens_sha256", s->tokens_sha256);
    put_text(r, "item_sha256", s->item.item_sha256);
    put_text(r, "dataset_sha256", c->dataset_sha256);
    put_text(r, "weights_sha256", c->weights_sha256);
    put_text(r, "cell_key", s->cell_key);
    end_row(r);
}

/* A file of the run's own name. */
static struct buf *add_run_file(struct exporting *x, const char *suffix)
{
    const char *name = arena_printf(&x->arena, "%s%s", x->run_id, suffix);

    return name ? export_add_file(x, name) : NULL;
}

static enum status make_rows(struct exporting *x, bool is_json, struct error *err)
{
    struct row r = { .is_json = is_json, .is_head = !is_json };

    r.b = add_run_file(x, is_json ? ".jsonl" : ".csv");
    if (!r.b)
        return no_memory(err);
    if (r.is_head)
        put_sample(&r, x, &x->samples[0]);
    for (size_t i = 0; i < x->n_samples; i++)
        put_sample(&r, x, &x->samples[i]);
    return ST_OK;
}

enum status export_make_jsonl(struct exporting *x, struct error *err)
{
    return make_rows(x, true, err);
}

enum status export_make_csv(struct exporting *x, struct error *err)
{
    return make_rows(x, false, err);
}

/* ---- scores --------------------------------------------------------------------------------- */

static void put_score(struct row *r, const struct exporting *x, const struct task_summary *t,
                      const char *model, const char *metric, double value, int64_t n_passed,
                      int64_t n)
{
    double low = (double)NAN, high = (double)NAN;

    if (t->max_per_item == 1 && n_passed >= 0 && n)
        stats_wilson(n_passed, n, 0.05, &low, &high);
    put_text(r, "run_id", x->run_id);
    put_text(r, "task", t->task);
    put_text(r, "model", model);
    put_text(r, "selector", t->selector);
    put_text(r, "decoder", t->decoder);
    put_text(r, "metric", metric);
    put_real(r, "value", value);
    put_real(r, "ci_low", low);
    put_real(r, "ci_high", high);
    put_int(r, "n_items", t->n_items);
    put_int(r, "n_samples", t->n_samples);
    put_int(r, "n_passed", n_passed >= 0 ? n_passed : t->n_passed);
    put_int(r, "n_internal", t->n_internal);
    put_int(r, "n_no_answer", t->n_no_answer);
    put_int(r, "n_timeouts", t->n_timeouts);
    put_int(r, "n_tokens_before_eos", t->n_tokens_before_eos);
    put_int(r, "n_forwards", t->n_forwards);
    put_int(r, "gen_ns", t->gen_ns);
    put_real(r, "mean_unique_experts", t->n_forwards ? t->mean_unique : (double)NAN);
    put_real(r, "mean_expert_bytes_per_forward",
             t->n_forwards ? t->mean_expert_bytes : (double)NAN);
    put_text(r, "cell_key", t->cell_key);
    end_row(r);
}

enum status export_make_summary(struct exporting *x, struct error *err)
{
    struct row r = { .b = add_run_file(x, "-summary.csv"), .is_head = true };
    struct task_summary *rows;
    size_t n;
    enum status st;

    if (!r.b)
        return no_memory(err);
    st = store_summarise(x->store, x->run_id, &x->arena, &rows, &n, err);
    for (size_t i = 0; i < n && !st; i++) {
        const struct task_summary *t = &rows[i];
        const struct export_cell *c = NULL;
        const struct task_def *def = task_find(t->task);
        const char *metric = def ? def->metric : "accuracy";

        for (size_t k = 0; k < x->n_cells; k++)
            if (strcmp(x->cells[k].key, t->cell_key) == 0)
                c = &x->cells[k];
        if (!c)
            continue; /* not asked for */
        if (r.is_head)
            put_score(&r, x, t, "", "", 0, 0, 0);
        put_score(&r, x, t, c->row.model, metric, t->score, t->n_passed, t->n_items);
        for (size_t k = 0; k < t->n_also; k++)
            put_score(&r, x, t, c->row.model, t->also[k].name, t->also[k].value,
                      t->also[k].n_passed, t->also[k].n);
    }
    return st;
}

/* ---- llama-bench ---------------------------------------------------------------------------- */

enum bench_form { BENCH_JSONL, BENCH_CSV, BENCH_SQL };

struct bench {
    struct exporting *x;
    struct buf *b;
    enum bench_form form;
    size_t n;
};

static void put_sql_text(struct buf *b, const char *s)
{
    buf_putc(b, '\'');
    for (; *s; s++) {
        if (*s == '\'')
            buf_putc(b, '\'');
        buf_putc(b, *s);
    }
    buf_putc(b, '\'');
}

static void put_sql_head(struct buf *b, size_t n, const char *const *names,
                         const char *const *values, const bool *is_text)
{
    buf_puts(b, "CREATE TABLE IF NOT EXISTS llama_bench (");
    for (size_t i = 0; i < n; i++)
        buf_printf(b, "%s\n  %s %s", i ? "," : "", names[i],
                   is_text[i]               ? "TEXT"
                   : strchr(values[i], '.') ? "REAL"
                                            : "INTEGER");
    buf_puts(b, "\n);\n");
}

static enum status put_bench_row(void *arg, size_t n_columns, const char *const *names,
                                 const char *const *values, const bool *is_text, struct error *err)
{
    struct bench *x = arg;
    size_t n = STORE_N_LLAMA_BENCH;
    bool is_asked = false;
    struct buf *b = x->b;

    (void)err;
    for (size_t k = 0; k < x->x->n_cells; k++)
        is_asked |= strcmp(x->x->cells[k].key, values[n_columns - 1]) == 0; /* its cell_key */
    if (!is_asked)
        return ST_OK;
    if (!x->n++ && x->form == BENCH_SQL)
        put_sql_head(b, n, names, values, is_text);
    else if (x->n == 1 && x->form == BENCH_CSV)
        csv_put_row(b, names, n);
    if (x->form == BENCH_SQL)
        buf_puts(b, "INSERT INTO llama_bench VALUES (");
    for (size_t i = 0; i < n; i++) {
        const char *v = values[i] ? values[i] : "";

        if (x->form == BENCH_JSONL)
            buf_printf(b, "%s\"%s\": ", i ? ", " : "{", names[i]);
        else if (i)
            buf_puts(b, x->form == BENCH_SQL ? ", " : ",");
        if (x->form == BENCH_CSV)
            csv_put_field(b, v, strlen(v));
        else if (!is_text[i])
            buf_puts(b, v);
        else if (x->form == BENCH_SQL)
            put_sql_text(b, v);
        else
            json_put_str(b, v, strlen(v));
    }
    buf_puts(b, x->form == BENCH_SQL ? ");\n" : x->form == BENCH_JSONL ? "}\n" : "\n");
    return ST_OK;
}

static bool has_suffix(const char *s, const char *suffix)
{
    size_t n = s ? strlen(s) : 0, m = strlen(suffix);

    return n >= m && strcmp(s + n - m, suffix) == 0;
}

enum status export_make_llama_bench(struct exporting *x, struct error *err)
{
    static const char *const suffixes[] = { ".jsonl", ".csv", ".sql" };
    const char *out = options_text(x->c, OPT_EXPORT_OUTPUT);
    struct bench b = { .x = x };
    enum status st;

    b.form = has_suffix(out, ".csv")   ? BENCH_CSV
             : has_suffix(out, ".sql") ? BENCH_SQL
                                       : BENCH_JSONL;
    b.b = add_run_file(x, suffixes[b.form]);
    if (!b.b)
        return no_memory(err);
    st = store_each_bench_row(x->store, x->run_id, put_bench_row, &b, err);
    if (!st && !b.n)
        st = error_set(err, ST_UNSUPPORTED,
                       "run '%s' has no times: its answers were made elsewhere", x->run_id);
    return st;
}

/* ---- code ----------------------------------------------------------------------------------- */

/* evalplus calls MBPP's 2 "Mbpp/2". */
static const char *foreign_id(struct arena *a, const struct stored_sample *s)
{
    return strstr(s->task, "mbpp") ? arena_printf(a, "Mbpp/%s", s->task_id) : s->task_id;
}

static void put_pair(struct buf *b, const char *id, const char *name, const char *s, size_t len)
{
    buf_puts(b, "{\"task_id\": ");
    json_put_str(b, id, strlen(id));
    buf_printf(b, ", \"%s\": ", name);
    json_put_str(b, s, len);
    buf_puts(b, "}\n");
}

/* What follows the item's code in a program that begins with it; a newline and the program
 * otherwise, which then defines its function once more. */
static enum status completion_of(const struct exporting *x, const struct export_sample *s,
                                 const struct task_program *p, struct arena *a, const char **ret,
                                 size_t *ret_len, struct error *err)
{
    struct task_reading how = { .kind = ANSWER_COMPLETION };
    struct extraction nothing = { .text = "", .method = "completion" };
    struct task_program prompt;
    enum status st =
        task_make_program(x->cells[s->cell].task->task, s->item, &how, &nothing, a, &prompt, err);
    size_t len;

    if (st)
        return st;
    len = prompt.code_len - 1; /* of the prompt; the newline behind the code is not its own */
    if (p->code_len >= len && memcmp(p->code, prompt.code, len) == 0) {
        *ret = p->code + len;
        *ret_len = p->code_len - len;
        return ST_OK;
    }
    *ret = arena_printf(a, "\n%s", p->code);
    *ret_len = p->code_len + 1;
    return *ret ? ST_OK : no_memory(err);
}

static enum status put_code(const struct exporting *x, const struct export_sample *s,
                            bool is_completion, struct arena *a, struct buf *b, struct error *err)
{
    const char *id = foreign_id(a, &s->s), *text = "";
    struct task_program p;
    size_t len = 0;
    bool has;
    enum status st = id ? export_program(x, s, a, &p, &has, err) : no_memory(err);

    if (!st && has && is_completion) {
        st = completion_of(x, s, &p, a, &text, &len, err);
    } else if (!st && has) {
        text = p.code;
        len = p.code_len;
    }
    if (!st)
        put_pair(b, id, is_completion ? "completion" : "solution", text, len);
    return st;
}

static enum status put_raw(const struct export_sample *s, struct arena *a, struct buf *b,
                           struct error *err)
{
    const char *id = foreign_id(a, &s->s);

    if (!id)
        return no_memory(err);
    put_pair(b, id, "solution", s->s.raw_output, s->s.raw_output_len);
    return ST_OK;
}

/* A file a cell: their readers take one set of answers. */
static enum status make_code(struct exporting *x, bool is_completion, bool is_raw,
                             struct error *err)
{
    struct arena a = { 0 };
    enum status st = ST_OK;

    for (size_t i = 0; i < x->n_cells && !st; i++) {
        const struct export_cell *c = &x->cells[i];
        const char *name;
        struct buf *b;

        if (!c->n || (is_completion && !task_takes(c->task->def, ANSWER_COMPLETION)))
            continue;
        name =
            arena_printf(&x->arena, "%s_%s%s.jsonl", x->run_id, c->file_name, is_raw ? ".raw" : "");
        b = name ? export_add_file(x, name) : NULL;
        if (!b) {
            st = no_memory(err);
            break;
        }
        for (size_t k = c->first; k < c->first + c->n && !st; k++) {
            const struct export_sample *s = &x->samples[k];

            arena_clear(&a);
            st = is_raw ? put_raw(s, &a, b, err) : put_code(x, s, is_completion, &a, b, err);
        }
    }
    arena_release(&a);
    if (!st && !x->n_files)
        st = error_set(err, ST_UNSUPPORTED, "run '%s' has no answers to HumanEval", x->run_id);
    return st;
}

enum status export_make_evalplus(struct exporting *x, struct error *err)
{
    return make_code(x, false, false, err);
}

enum status export_make_evalplus_raw(struct exporting *x, struct error *err)
{
    return make_code(x, false, true, err);
}

enum status export_make_human_eval(struct exporting *x, struct error *err)
{
    return make_code(x, true, false, err);
}
