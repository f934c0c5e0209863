/*
 * lm-evaluation-harness's form of a run: results_DATE.json and a samples_TASK_DATE.jsonl a cell,
 * with the members that version 0.4.13 writes, in its order.
 *
 * A line is an item. Where it has several answers, `resps` and `filtered_resps` hold all of them
 * and the metric is their mean, as lm-eval's `repeats` has it. Hashes are lm-eval's: SHA-256 of the
 * document as Python's json.dumps(doc, indent=2, ensure_ascii=False) has it, of the prompt and of
 * the target. One member is ours: `desbench`, a list with what else is known of each answer, by
 * which `import` reads the file back. Not known, as no lm-eval ran: lm_eval_version is null.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "base/json.h"
#include "harness/export.h"
#include "harness/verb.h"

static const char filter_name[] = "desbench";

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory exporting a run");
}

static const char *metric_of(const struct export_cell *c)
{
    return c->task->def->kind == TASK_CODE ? "pass@1" : "exact_match";
}

static void put_str(struct buf *b, const char *s)
{
    if (s)
        json_put_str(b, s, strlen(s));
    else
        buf_puts(b, "null");
}

static void put_member(struct buf *b, const char *name, const char *s)
{
    buf_printf(b, ", \"%s\": ", name);
    put_str(b, s);
}

/* ---- a line of samples ---------------------------------------------------------------------- */

/* What a right answer is held against: the tests, or the gold answer. */
static enum status find_target(const struct export_cell *c, size_t item, struct arena *a,
                               const char **ret, struct error *err)
{
    struct extraction x = { .text = "pass", .len = 4, .method = "none" };
    struct task_program p;
    enum status st;

    if (c->task->def->kind == TASK_ANSWER) {
        *ret = task_gold(c->task->task, item);
        return ST_OK;
    }
    st = task_make_program(c->task->task, item, NULL, &x, a, &p, err);
    if (!st)
        *ret = p.tests;
    return st;
}

/* {"gen_args_0": {"arg_0": prompt, "arg_1": {...}}} */
static enum status put_arguments(const struct export_cell *c, const struct export_sample *s,
                                 struct arena *a, struct buf *b, struct error *err)
{
    const struct task_form *form = task_form_find(c->task->def, c->row.prompt_form);
    struct task_prompt prompt = { 0 };
    enum status st;

    if (form) {
        st = task_make_prompt(c->task->task, s->item, form->name, a, &prompt, err);
        if (st)
            return st;
    }
    buf_puts(b, ", \"arguments\": {\"gen_args_0\": {\"arg_0\": ");
    put_str(b, s->s.prompt);
    buf_puts(b, ", \"arg_1\": {\"until\": [");
    for (size_t i = 0; prompt.stops && prompt.stops[i]; i++) {
        buf_puts(b, i ? ", " : "");
        put_str(b, prompt.stops[i]);
    }
    buf_puts(b, "]");
    if (isfinite(c->row.temperature)) {
        buf_printf(
            b, ", \"do_sample\": %s, \"temperature\": ", c->row.temperature > 0 ? "true" : "false");
        json_put_num(b, c->row.temperature);
    }
    if (c->row.gen_length)
        buf_printf(b, ", \"max_gen_toks\": %d", c->row.gen_length);
    buf_puts(b, "}}}");
    return ST_OK;
}

/* The answers as extracted: one string, or a list of programs, as lm-eval's filters leave them. */
static enum status put_filtered(const struct exporting *x, const struct export_cell *c,
                                const struct export_sample *s, size_t n, struct arena *a,
                                struct buf *b, struct error *err)
{
    bool is_code = c->task->def->kind == TASK_CODE;
    enum status st = ST_OK;

    buf_puts(b, is_code ? ", \"filtered_resps\": [[" : ", \"filtered_resps\": [");
    for (size_t i = 0; i < n && !st; i++) {
        struct task_program p;
        bool has = s[i].s.extracted != NULL;

        buf_puts(b, i ? ", " : "");
        if (is_code && has)
            st = export_program(x, &s[i], a, &p, &has, err);
        if (st)
            break;
        if (is_code && has)
            json_put_str(b, p.code, p.code_len);
        else
            put_str(b, has ? s[i].s.extracted : is_code ? "" : "[invalid]");
    }
    buf_puts(b, is_code ? "]]" : "]");
    return st;
}

static enum status put_hash(struct buf *b, const char *name, const char *data, size_t len,
                            struct buf *all, struct error *err)
{
    char hash[SHA256_HEX_SIZE];
    enum status st = sha256_hex(data, len, hash, err);

    if (st)
        return st;
    put_member(b, name, hash);
    buf_puts(all, hash);
    return ST_OK;
}

/* What lm-eval's members cannot say of each answer. */
static void put_own(const struct export_cell *c, const struct export_sample *s, size_t n,
                    struct buf *b)
{
    buf_puts(b, ", \"desbench\": [");
    for (size_t i = 0; i < n; i++) {
        const struct verdict_row *v = &s[i].s.verdict;

        buf_printf(b, "%s{\"task\": ", i ? ", " : "");
        put_str(b, s[i].s.task);
        put_member(b, "problem", s[i].s.task_id);
        put_member(b, "selector", c->row.selector);
        put_member(b, "prompt_form", c->row.prompt_form);
        buf_printf(b, ", \"sample_idx\": %d", s[i].s.sample_idx);
        put_member(b, "kind", answer_kind_name(s[i].kind));
        put_member(b, "verdict", v->verdict);
        put_member(b, "extracted", s[i].s.extracted);
        put_member(b, "extraction_method", s[i].s.extraction_method);
        put_member(b, "checker_version", v->checker_version);
        put_member(b, "details", v->details);
        buf_printf(b, ", \"also\": %s}", v->also_json ? v->also_json : "null");
    }
    buf_puts(b, "]");
}

/* The n answers to one item. ret_mean: share of right ones. all: hashes so far, for the task's. */
static enum status put_line(const struct exporting *x, const struct export_cell *c,
                            const struct export_sample *s, size_t n, struct arena *a, struct buf *b,
                            struct buf *all, double *ret_mean, struct error *err)
{
    const struct task *task = c->task->task;
    const char *target;
    struct buf doc = { 0 };
    size_t n_right = 0;
    enum status st = find_target(c, s->item, a, &target, err);

    if (st)
        return st;
    for (size_t i = 0; i < n; i++)
        n_right += s[i].s.verdict.is_passed;
    *ret_mean = (double)n_right / (double)n;
    buf_printf(b, "{\"doc_id\": %zu, \"doc\": ", s->item);
    st = task_put_record(task, s->item, false, b, err);
    if (!st) {
        put_member(b, "target", target);
        st = put_arguments(c, s, a, b, err);
    }
    if (st)
        return st;
    buf_puts(b, ", \"resps\": [[");
    for (size_t i = 0; i < n; i++) {
        buf_puts(b, i ? ", " : "");
        json_put_str(b, s[i].s.raw_output, s[i].s.raw_output_len);
    }
    buf_puts(b, "]]");
    st = put_filtered(x, c, s, n, a, b, err);
    if (st)
        return st;
    put_member(b, "filter", filter_name);
    buf_printf(b, ", \"metrics\": [\"%s\"]", metric_of(c));
    st = task_put_record(task, s->item, true, &doc, err);
    if (!st)
        st = put_hash(b, "doc_hash", buf_str(&doc), doc.len, all, err);
    if (!st)
        st = put_hash(b, "prompt_hash", s->s.prompt, strlen(s->s.prompt), all, err);
    if (!st)
        st = put_hash(b, "target_hash", target, strlen(target), all, err);
    b->is_failed |= doc.is_failed;
    buf_release(&doc);
    if (st)
        return st;
    buf_printf(b, ", \"%s\": ", metric_of(c));
    json_put_num(b, *ret_mean);
    put_own(c, s, n, b);
    buf_puts(b, "}\n");
    return ST_OK;
}

/* ---- the files ------------------------------------------------------------------------------ */

/* What results_DATE.json says of a cell. */
struct score {
    const char *checker;  /* version that judged its first answer */
    double mean, stderr_; /* stderr_ NaN: one item only */
    size_t n_items, n_repeats;
    int n_shots;
    char task_hash[SHA256_HEX_SIZE];
};

static enum status put_cell(struct exporting *x, const struct export_cell *c, const char *date,
                            struct score *ret, struct error *err)
{
    const char *name = arena_printf(&x->arena, "samples_%s_%s.jsonl", c->file_name, date);
    struct buf *b = name ? export_add_file(x, name) : NULL, all = { 0 };
    struct arena a = { 0 };
    double sum = 0, sum2 = 0, mean, variance;
    enum status st = b ? ST_OK : no_memory(err);

    for (size_t i = c->first, n; i < c->first + c->n && !st; i += n) {
        const struct export_sample *s = &x->samples[i];

        for (n = 1; i + n < c->first + c->n && s[n].item == s->item; n++)
            ;
        arena_clear(&a);
        st = put_line(x, c, s, n, &a, b, &all, &mean, err);
        if (st)
            break;
        sum += mean;
        sum2 += mean * mean;
        ret->n_items++;
        ret->n_repeats = n > ret->n_repeats ? n : ret->n_repeats;
    }
    if (!st)
        st = sha256_hex(buf_str(&all), all.len, ret->task_hash, err);
    if (!st && !buf_ok(&all))
        st = no_memory(err);
    ret->checker = x->samples[c->first].s.verdict.checker_version;
    ret->mean = sum / (double)ret->n_items;
    variance = sum2 / (double)ret->n_items - ret->mean * ret->mean;
    ret->stderr_ =
        ret->n_items > 1 ? sqrt(fmax(variance, 0) / (double)(ret->n_items - 1)) : (double)NAN;
    arena_release(&a);
    buf_release(&all);
    return st;
}

/* Examples before the question in the prompt form, 0 when it is not known. */
static enum status find_shots(const struct export_cell *c, struct score *ret, struct error *err)
{
    const struct task_form *form = task_form_find(c->task->def, c->row.prompt_form);
    struct task_prompt prompt;
    struct arena a = { 0 };
    enum status st = ST_OK;

    if (form) {
        st = task_make_prompt(c->task->task, 0, form->name, &a, &prompt, err);
        ret->n_shots = st ? 0 : prompt.n_shots;
    }
    arena_release(&a);
    return st;
}

static void put_config(const struct export_cell *c, const struct score *s, struct buf *b)
{
    const struct task_def *def = c->task->def;

    buf_puts(b, "{\"task\": ");
    put_str(b, c->name);
    put_member(b, "dataset_path", def->name);
    buf_puts(b, ", \"output_type\": \"generate_until\"");
    buf_printf(b, ", \"num_fewshot\": %d, \"repeats\": %zu", s->n_shots, s->n_repeats);
    buf_printf(
        b,
        ", \"metric_list\": [{\"metric\": \"%s\", \"aggregation\": \"mean\", "
        "\"higher_is_better\": true}], \"filter_list\": [{\"name\": \"%s\", \"filter\": []}]",
        metric_of(c), filter_name);
    buf_puts(b, ", \"metadata\": {\"version\": ");
    put_str(b, s->checker);
    put_member(b, "prompt_form", c->row.prompt_form);
    put_member(b, "dataset_sha256", c->row.dataset_sha256);
    put_member(b, "selector", c->row.selector);
    put_member(b, "decoder", c->row.decoder);
    put_member(b, "cache", c->row.cache);
    buf_printf(b, ", \"gen_length\": %d, \"block_length\": %d}}", c->row.gen_length,
               c->row.block_length);
}

static void put_score(const struct export_cell *c, const struct score *s, struct buf *b)
{
    const char *metric = metric_of(c);

    buf_puts(b, "{\"name\": ");
    put_str(b, c->name);
    put_member(b, "alias", c->name);
    buf_printf(b, ", \"sample_len\": %zu, \"%s,%s\": ", s->n_items, metric, filter_name);
    json_put_num(b, s->mean);
    buf_printf(b, ", \"%s_stderr,%s\": ", metric, filter_name);
    if (isnan(s->stderr_))
        buf_puts(b, "\"N/A\"");
    else
        json_put_num(b, s->stderr_);
    buf_puts(b, "}");
}

enum result_part {
    PART_RESULTS,
    PART_CONFIGS,
    PART_VERSIONS,
    PART_SHOTS,
    PART_BETTER,
    PART_SAMPLES,
    PART_HASHES
};

static void put_part(const struct exporting *x, const struct score *scores, const char *name,
                     enum result_part part, struct buf *b)
{
    bool is_first = true;

    buf_printf(b, "\"%s\": {", name);
    for (size_t i = 0; i < x->n_cells; i++) {
        const struct export_cell *c = &x->cells[i];
        const struct score *s = &scores[i];

        if (!c->n)
            continue;
        buf_puts(b, is_first ? "\n  " : ",\n  ");
        is_first = false;
        put_str(b, c->name);
        buf_puts(b, ": ");
        switch (part) {
        case PART_RESULTS: put_score(c, s, b); break;
        case PART_CONFIGS: put_config(c, s, b); break;
        case PART_VERSIONS: put_str(b, s->checker); break;
        case PART_SHOTS: buf_printf(b, "%d", s->n_shots); break;
        case PART_BETTER: buf_printf(b, "{\"%s\": true}", metric_of(c)); break;
        case PART_SAMPLES:
            buf_printf(b, "{\"original\": %zu, \"effective\": %zu}", task_n_items(c->task->task),
                       s->n_items);
            break;
        case PART_HASHES: put_str(b, s->task_hash); break;
        }
    }
    buf_puts(b, is_first ? "},\n" : "\n },\n");
}

/* Seconds since 1970 of "2026-11-22T06:51:19Z"; NaN if it is not of that form. */
static double seconds_of(const char *utc)
{
    struct tm tm = { 0 };
    const char *end = utc ? strptime(utc, "%Y-%m-%dT%H:%M:%SZ", &tm) : NULL;

    return end && !*end ? (double)timegm(&tm) : (double)NAN;
}

static void put_results(const struct exporting *x, const struct score *scores, struct buf *b)
{
    const struct cell_row *row = &x->cells[0].row;
    double start = seconds_of(x->run.started), end = seconds_of(x->summary.finished);

    buf_puts(b, "{\n ");
    put_part(x, scores, "results", PART_RESULTS, b);
    buf_puts(b, " \"group_subtasks\": {},\n ");
    put_part(x, scores, "configs", PART_CONFIGS, b);
    buf_puts(b, " ");
    put_part(x, scores, "versions", PART_VERSIONS, b);
    buf_puts(b, " ");
    put_part(x, scores, "n-shot", PART_SHOTS, b);
    buf_puts(b, " ");
    put_part(x, scores, "higher_is_better", PART_BETTER, b);
    buf_puts(b, " ");
    put_part(x, scores, "n-samples", PART_SAMPLES, b);
    buf_puts(b, " \"config\": {\"model\": \"desbench\", \"model_args\": {\"pretrained\": ");
    put_str(b, row->model);
    put_member(b, "architecture", row->architecture);
    put_member(b, "weights_sha256", row->weights_sha256);
    put_member(b, "backend", row->backend);
    buf_puts(b, "}, \"batch_size\": null, \"device\": ");
    put_str(b, row->backend);
    buf_printf(b, ", \"options\": %s},\n \"git_hash\": ", x->run.config_json);
    put_str(b, x->run.git_commit);
    buf_puts(b, ",\n \"date\": ");
    json_put_num(b, start);
    buf_printf(b, ",\n \"pretty_env_info\": ");
    put_str(b, x->run.env_json);
    buf_puts(b, ",\n \"transformers_version\": null,\n \"lm_eval_version\": null,\n"
                " \"desbench_version\": ");
    put_str(b, x->run.version);
    buf_puts(b, ",\n \"desbench_run\": ");
    put_str(b, x->run_id);
    buf_puts(b, ",\n \"desbench_validity\": ");
    put_str(b, x->summary.validity);
    buf_puts(b, ",\n \"upper_git_hash\": null,\n ");
    put_part(x, scores, "task_hashes", PART_HASHES, b);
    buf_puts(b, " \"model_source\": \"desbench\",\n \"model_name\": ");
    put_str(b, row->model);
    buf_puts(b, ",\n \"model_name_sanitized\": ");
    put_str(b, row->model);
    buf_puts(b, ",\n \"system_instruction\": null,\n \"system_instruction_sha\": null,\n"
                " \"fewshot_as_multiturn\": null,\n \"chat_template\": null,\n"
                " \"chat_template_sha\": ");
    put_str(b, *row->template_sha256 ? row->template_sha256 : NULL);
    buf_puts(b, ",\n \"total_evaluation_time_seconds\": ");
    if (isfinite(end - start))
        buf_printf(b, "\"%.0f\"\n}\n", end - start);
    else
        buf_puts(b, "null\n}\n");
}

enum status export_make_lm_eval(struct exporting *x, struct error *err)
{
    struct score *scores = arena_array(&x->arena, x->n_cells, sizeof(*scores));
    char *date = arena_strdup(&x->arena, x->run.started, strcspn(x->run.started, "Z"));
    const char *name;
    struct buf text = { 0 }, *b;
    enum status st = ST_OK;

    if (!scores || !date)
        return no_memory(err);
    for (char *p = date; *p; p++)
        if (*p == ':') /* lm-eval's file names have none */
            *p = '-';
    date = arena_printf(&x->arena, "%s.000000", date); /* and count microseconds */
    name = date ? arena_printf(&x->arena, "results_%s.json", date) : NULL;
    if (!name)
        return no_memory(err);
    for (size_t i = 0; i < x->n_cells && !st; i++) {
        if (!x->cells[i].n)
            continue;
        st = put_cell(x, &x->cells[i], date, &scores[i], err);
        if (!st)
            st = find_shots(&x->cells[i], &scores[i], err);
    }
    if (st)
        return st;
    put_results(x, scores, &text);
    b = export_add_file(x, name);
    if (!b)
        st = no_memory(err);
    else
        *b = text;
    if (st)
        buf_release(&text);
    return st;
}
