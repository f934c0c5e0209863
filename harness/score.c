/*
 * `desbench score`: judge answers that no engine of ours made, or those of a stored run anew.
 *
 *   answers of a file --\
 *                        extraction -> program -> judge -> store as a run -> table
 *   samples of a run ---/         \-> grade -----------/
 *
 * A file is read and checked whole before its first answer is judged. What is judged is stored at
 * once, so an interruption loses nothing of it.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "harness/answers.h"
#include "harness/judging.h"
#include "harness/paths.h"
#include "harness/plan.h"
#include "harness/progress.h"
#include "harness/record.h"
#include "harness/run_print.h"
#include "harness/stops.h"
#include "harness/verb.h"

/* An answer on its way; spent ones are kept for reuse with their arenas. */
struct scored {
    struct scored *next;
    struct arena arena;
    struct sample_row row;
    struct answer answer;
    const struct plan_task *task;
    struct task_item facts;
    int64_t sample_id;       /* of the sample scored anew, or 0 */
    const char *old_verdict; /* of that sample */
};

struct scoring {
    const struct options *c;
    struct arena arena;
    struct plan plan;
    bool **is_chosen; /* (n_tasks)(items) by --samples and --limit */
    struct judge *judge;
    struct store *store;
    const char *results_path, *run_id, *parent_run;
    const volatile sig_atomic_t *n_stops;
    struct judging queue;
    struct scored *spent;
    struct progress progress;
    struct runner_totals totals;
    size_t n_work, n_missing, n_asked; /* answers to judge; items without one, of all asked for */
    int64_t start_ns;
    const char *model, *load_format, *source;
    const char *invalid; /* why the score must not be used, or NULL */

    struct buf changes; /* JSON objects or lines, of verdicts that are not what they were */
    size_t n_changes;
};

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory scoring");
}

/* ---- judging ------------------------------------------------------------------------------ */

static struct scored *scored_take(struct scoring *x)
{
    struct scored *s = x->spent;

    if (s) {
        struct arena arena = s->arena;

        x->spent = s->next;
        arena_clear(&arena);
        *s = (struct scored){ .arena = arena };
    } else {
        s = calloc(1, sizeof(*s));
    }
    return s;
}

static void scored_give(struct scoring *x, struct scored *s)
{
    s->next = x->spent;
    x->spent = s;
}

static void note_change(struct scoring *x, const struct scored *s)
{
    const char *task = s->task->def->name, *now = s->row.verdict.verdict;

    if (!s->old_verdict || strcmp(s->old_verdict, now) == 0)
        return;
    if (verb_wants_json(x->c)) {
        buf_puts(&x->changes, x->n_changes ? ",\n {\"task\":" : "\n {\"task\":");
        json_put_str(&x->changes, task, strlen(task));
        buf_puts(&x->changes, ",\"task_id\":");
        json_put_str(&x->changes, s->facts.id, strlen(s->facts.id));
        buf_printf(&x->changes, ",\"sample_idx\":%d,\"old\":", s->row.sample_idx);
        json_put_str(&x->changes, s->old_verdict, strlen(s->old_verdict));
        buf_puts(&x->changes, ",\"new\":");
        json_put_str(&x->changes, now, strlen(now));
        buf_putc(&x->changes, '}');
    } else {
        buf_printf(&x->changes, "  %s %s", task, s->facts.id);
        if (s->row.sample_idx)
            buf_printf(&x->changes, " (answer %d)", s->row.sample_idx);
        buf_printf(&x->changes, ": %s, was %s\n", now, s->old_verdict);
    }
    x->n_changes++;
}

/* An answer has its verdict; the queue's. */
static enum status scored_store(void *owner, void *arg, struct error *err)
{
    struct scored *s = owner;
    struct scoring *x = arg;
    const struct verdict_row *v = &s->row.verdict;
    enum status st;

    st = s->sample_id ? store_put_rescored(x->store, s->sample_id, x->run_id, s->row.extracted,
                                           s->row.extraction_method, v, err)
                      : store_put_sample(x->store, &s->row, err);
    if (st)
        return st;
    x->totals.n_stored++;
    x->totals.n_passed += v->is_passed;
    x->totals.n_internal += strcmp(v->verdict, verdict_name(VERDICT_INTERNAL)) == 0;
    note_change(x, s);
    if (!v->is_passed)
        log_debug("%s %s, answer %d: %s%s%s", s->task->def->name, s->facts.id, s->row.sample_idx,
                  v->verdict, v->details && *v->details ? ": " : "", v->details ? v->details : "");
    scored_give(x, s);
    return ST_OK;
}

static void show(struct scoring *x)
{
    progress_update(&x->progress, x->totals.n_stored, (double)x->totals.n_stored,
                    "%zu passed, %zu being judged", x->totals.n_passed, x->queue.n_waiting);
}

/* Take verdicts until no more than n_room answers wait, but only as long as nobody stops it. */
static enum status drain(struct scoring *x, size_t n_room, int n_stops, struct error *err)
{
    const int64_t poll_ns = 100000000; /* in turns, so that a signal is seen */
    bool has = true;
    enum status st = ST_OK;

    while (has && !st)
        st = judging_collect(&x->queue, 0, &has, err);
    while (x->queue.n_waiting > n_room && *x->n_stops < n_stops && !st) {
        st = judging_collect(&x->queue, poll_ns, &has, err);
        show(x);
    }
    show(x);
    return st;
}

/* Judge an answer whose row is filled in. It is given back whatever comes of it. */
static enum status judge_answer(struct scoring *x, struct scored *s, const char *form,
                                enum answer_kind kind, struct error *err)
{
    struct task_prompt prompt;
    enum status st = ST_OK;

    s->answer = (struct answer){ .owner = s,
                                 .task = s->task->task,
                                 .item = s->answer.item,
                                 .how = { .kind = kind, .compat = judging_compat(x->c) },
                                 .arena = &s->arena,
                                 .row = &s->row };
    if (form && kind == ANSWER_OUTPUT) {
        st = task_make_prompt(s->task->task, s->answer.item, form, &s->arena, &prompt, err);
        s->answer.how.prompt = &prompt;
    }
    if (!st)
        st = judging_put(&x->queue, &s->answer, err);
    if (st) {
        error_prefix(err, st, "task '%s' item '%s'", s->task->def->name, s->facts.id);
        scored_give(x, s);
        return st;
    }
    return drain(x, judging_room(&x->queue), 1, err);
}

/* The form by its name in the task's own list, NULL if it is not there. */
static const char *find_form(const struct task_def *def, const char *name)
{
    const struct task_form *form = task_form_find(def, name);

    return form ? form->name : NULL;
}

/* --prompt-form, *ret NULL when it is not given. */
static enum status asked_form(const struct options *c, const struct task_def *def, const char **ret,
                              struct error *err)
{
    const char *name = options_text(c, OPT_PROMPT_FORM);

    *ret = name ? find_form(def, name) : NULL;
    if (name && !*ret)
        return error_set(
            err, ST_INVALID,
            "task '%s' has no prompt form '%s' (--prompt-form); `desbench ls forms %s` "
            "lists its forms",
            def->name, name, def->name);
    return ST_OK;
}

/* ---- a file ------------------------------------------------------------------------------- */

/* Data set and cell of the file's answers. */
static enum status put_file_cell(struct scoring *x, const struct answers *a, const char *form,
                                 char ret_key[65], struct error *err)
{
    const struct plan_task *t = &x->plan.tasks[0];
    char empty_sha256[SHA256_HEX_SIZE];
    enum status st;

    st = store_put_dataset(x->store,
                           &(struct dataset_row){ .name = t->def->name,
                                                  .sha256 = task_sha256(t->task),
                                                  .licence = t->def->licence,
                                                  .source = task_source(t->def),
                                                  .n_items = (int64_t)task_n_items(t->task) },
                           err);
    if (!st)
        st = sha256_hex("", 0, empty_sha256, err);
    if (st)
        return st;
    return store_put_cell(x->store,
                          &(struct cell_row){
                              .task = t->def->name,
                              .dataset_sha256 = task_sha256(t->task),
                              .prompt_form = form              ? form
                                             : *a->prompt_form ? a->prompt_form
                                                               : "unknown",
                              .prompt_sha256 = "",
                              .model = x->model,
                              .architecture = "",
                              .load_format = "external",
                              .weights_sha256 = "",
                              .config_sha256 = "",
                              .tokenizer_sha256 = "",
                              .template_sha256 = "",
                              .selector = a->selector,
                              .budget = "",
                              .decoder = a->decoder,
                              .cache = a->cache,
                              .backend = a->backend,
                              .numeric_mode = "",
                              .answers_sha256 = a->sha256,
                              .temperature = (double)NAN,
                          },
                          ret_key, err);
}

/* The answer's row, but for what the item and the cell say. */
static enum status fill_row(struct scored *s, const struct given_answer *g, struct error *err)
{
    char *output_sha256 = arena_alloc(&s->arena, SHA256_HEX_SIZE);
    char *prompt_sha256 = arena_alloc(&s->arena, SHA256_HEX_SIZE);
    enum status st;

    if (!output_sha256 || !prompt_sha256)
        return no_memory(err);
    s->row = (struct sample_row){ .sample_idx = g->sample_idx,
                                  .prompt = g->prompt,
                                  .prompt_sha256 = prompt_sha256,
                                  .raw_output = g->text,
                                  .raw_output_len = g->len,
                                  .stop_reason = "unknown",
                                  .tokens_sha256 = output_sha256 };
    st = sha256_hex(g->text, g->len, output_sha256, err);
    return st ? st : sha256_hex(g->prompt, strlen(g->prompt), prompt_sha256, err);
}

static enum status score_given(struct scoring *x, const struct given_answer *g, const char *form,
                               const char *cell_key, struct error *err)
{
    struct scored *s = scored_take(x);
    enum status st;

    if (!s)
        return no_memory(err);
    s->task = &x->plan.tasks[0];
    s->answer.item = g->item;
    task_get_item(s->task->task, g->item, &s->facts);
    st = fill_row(s, g, err);
    if (st) {
        scored_give(x, s);
        return st;
    }
    s->row.run_id = x->run_id;
    s->row.cell_key = cell_key;
    s->row.item = (struct item_row){ .dataset_sha256 = task_sha256(s->task->task),
                                     .task_id = s->facts.id,
                                     .item_sha256 = s->facts.sha256,
                                     .reference_sha256 = s->facts.reference_sha256,
                                     .subject = s->facts.subject,
                                     .level = s->facts.level };
    return judge_answer(x, s, form, g->kind, err);
}

static enum status score_answers(struct scoring *x, const struct answers *a, const char *form,
                                 struct error *err)
{
    char cell_key[65];
    enum status st = put_file_cell(x, a, form, cell_key, err);

    for (size_t i = 0; i < a->n && !st && !*x->n_stops; i++)
        if (x->is_chosen[0][a->list[i].item])
            st = score_given(x, &a->list[i], form, cell_key, err);
    return st;
}

/* Items without an answer, answers that --samples and --limit leave out. */
static enum status count_missing(struct scoring *x, const struct answers *a, struct error *err)
{
    const struct plan_task *t = &x->plan.tasks[0];
    size_t n_items = task_n_items(t->task), n_out = 0;
    bool *has_answer = arena_array(&x->arena, n_items, sizeof(*has_answer));
    const char *first = NULL;
    struct task_item facts;

    if (!has_answer)
        return no_memory(err);
    for (size_t i = 0; i < a->n; i++) {
        has_answer[a->list[i].item] = true;
        if (x->is_chosen[0][a->list[i].item])
            x->n_work++;
        else
            n_out++;
    }
    for (size_t i = 0; i < n_items; i++) {
        if (!x->is_chosen[0][i])
            continue;
        x->n_asked++;
        if (has_answer[i])
            continue;
        task_get_item(t->task, i, &facts);
        first = first ? first : facts.id;
        x->n_missing++;
    }
    if (!x->n_work)
        return error_set(err, ST_INVALID, "'%s' has no answer to any of the %zu items asked for",
                         a->name, x->n_asked);
    if (n_out)
        log_info("'%s': %zu answers are to items that were not asked for", a->name, n_out);
    if (a->n_other_tasks)
        log_info("'%s': %zu answers are to other tasks", a->name, a->n_other_tasks);
    if (x->n_missing)
        log_warn("%zu of %zu items have no answer, '%s' first: the score is over the %zu others",
                 x->n_missing, x->n_asked, first, x->n_asked - x->n_missing);
    if (x->n_missing && !options_flag(x->c, OPT_PARTIAL)) {
        x->invalid =
            arena_printf(&x->arena, "%zu of %zu items have no answer", x->n_missing, x->n_asked);
        if (!x->invalid)
            return no_memory(err);
    }
    return ST_OK;
}

/* ---- a stored run ------------------------------------------------------------------------- */

static enum status find_stored_item(const struct scoring *x, const struct stored_sample *old,
                                    struct scored *s, struct error *err)
{
    for (size_t i = 0; i < x->plan.n_tasks; i++)
        if (strcmp(x->plan.tasks[i].def->name, old->task) == 0)
            s->task = &x->plan.tasks[i];
    if (!s->task) /* plan_tasks() left it out: none of its items is asked for */
        return ST_NOT_FOUND;
    if (!task_find_item(s->task->task, old->task_id, &s->answer.item))
        return error_set(err, ST_MISMATCH, "task '%s' has no item '%s' any more, which the run has",
                         old->task, old->task_id);
    if (!x->is_chosen[s->task - x->plan.tasks][s->answer.item])
        return ST_NOT_FOUND;
    task_get_item(s->task->task, s->answer.item, &s->facts);
    if (!task_takes(s->task->def, answers_kind(old->extraction_method)))
        return error_set(err, ST_MISMATCH, "task '%s' item '%s': the task does not take a %s",
                         old->task, old->task_id, old->extraction_method);
    if (strcmp(s->facts.sha256, old->item.item_sha256) != 0)
        return error_set(err, ST_MISMATCH,
                         "task '%s' item '%s' is not the one that was answered: its SHA-256 is "
                         "%.12s, was %.12s",
                         old->task, old->task_id, s->facts.sha256, old->item.item_sha256);
    return ST_OK;
}

/* Counts what score_stored() will judge. */
static enum status count_stored(void *arg, const struct stored_sample *old, struct error *err)
{
    struct scoring *x = arg;
    struct scored s = { 0 };
    enum status st = find_stored_item(x, old, &s, err);

    x->n_work += !st;
    return st == ST_NOT_FOUND ? ST_OK : st;
}

static enum status score_stored(void *arg, const struct stored_sample *old, struct error *err)
{
    struct scoring *x = arg;
    struct scored *s = scored_take(x);
    const char *form;
    char *output, *verdict;
    enum status st;

    if (!s)
        return no_memory(err);
    st = find_stored_item(x, old, s, err);
    if (!st)
        st = asked_form(x->c, s->task->def, &form, err);
    if (st) {
        scored_give(x, s);
        return st == ST_NOT_FOUND ? ST_OK : st; /* not asked for */
    }
    output = arena_strdup(&s->arena, old->raw_output, old->raw_output_len);
    verdict = arena_strdup(&s->arena, old->verdict.verdict, strlen(old->verdict.verdict));
    if (!output || !verdict) {
        scored_give(x, s);
        return no_memory(err);
    }
    s->sample_id = old->sample_id;
    s->old_verdict = verdict;
    s->row = (struct sample_row){ .sample_idx = old->sample_idx,
                                  .raw_output = output,
                                  .raw_output_len = old->raw_output_len };
    st = judge_answer(x, s, form ? form : find_form(s->task->def, old->prompt_form),
                      answers_kind(old->extraction_method), err);
    if (!st && *x->n_stops)
        st = error_set(err, ST_INTERRUPTED, "interrupted"); /* said in full by finish() */
    return st;
}

/* ---- the verb ------------------------------------------------------------------------------ */

/* Tasks opened, items chosen, the judge where programs are to run, results and a run id. */
static enum status open_tasks(struct scoring *x, const char *tasks, struct error *err)
{
    bool has_code = false;
    enum status st = plan_tasks(x->c, tasks, &x->plan, err);

    if (st)
        return st;
    x->is_chosen = arena_array(&x->arena, x->plan.n_tasks, sizeof(*x->is_chosen));
    if (!x->is_chosen)
        return no_memory(err);
    for (size_t i = 0; i < x->plan.n_tasks; i++) {
        const struct plan_task *t = &x->plan.tasks[i];

        x->is_chosen[i] = arena_array(&x->arena, task_n_items(t->task), sizeof(bool));
        if (!x->is_chosen[i])
            return no_memory(err);
        for (size_t k = 0; k < t->n_items; k++)
            x->is_chosen[i][t->items[k]] = true;
        has_code |= t->def->kind == TASK_CODE;
    }
    return has_code ? judging_open(x->c, &x->judge, err) : ST_OK;
}

static enum status open_results(struct scoring *x, bool is_new, struct error *err)
{
    enum status st = path_results(x->c, is_new, &x->arena, &x->results_path, err);

    /* a stored run is looked for before anything is made */
    if (!st && !is_new) {
        st = store_open(x->results_path, STORE_READ, &x->store, err);
        store_close(x->store);
        x->store = NULL;
    }
    if (!st)
        st = store_open(x->results_path, STORE_WRITE, &x->store, err);
    return st;
}

static enum status begin(struct scoring *x, struct error *err)
{
    enum status st = record_new_id(x->store, &x->arena, &x->run_id, err);

    if (st)
        return st;
    x->queue = (struct judging){ .judge = x->judge, .done = scored_store, .arg = x };
    x->n_stops = stops_catch();
    x->start_ns = clock_mono_ns();
    progress_start(&x->progress, options_text(x->c, OPT_PROGRESS), options_flag(x->c, OPT_QUIET),
                   x->n_work, (double)x->n_work);
    return record_begin(x->store, x->c, x->run_id, x->parent_run, x->judge, err);
}

static void put_notes(struct scoring *x, struct buf *b)
{
    if (verb_wants_json(x->c)) {
        if (x->parent_run)
            buf_printf(b, ",\"changes\":[%s]", buf_str(&x->changes));
        else
            buf_printf(b, ",\"n_items\":%zu,\"n_missing\":%zu", x->n_asked, x->n_missing);
    } else if (x->parent_run) {
        buf_printf(b, "\n%zu of %zu verdicts changed\n%s", x->n_changes, x->totals.n_stored,
                   buf_str(&x->changes));
    } else if (x->n_missing) {
        buf_printf(b, "\nINCOMPLETE: answers to %zu of %zu items\n", x->n_asked - x->n_missing,
                   x->n_asked);
    }
}

/* The rest of the verdicts, the run's end, the table. scored: how feeding the queue went. */
static enum status finish(struct scoring *x, enum status scored, enum exit_code *ret_exit,
                          struct error *err)
{
    struct buf notes = { 0 };
    struct task_summary *rows;
    const char *status, *invalid = x->invalid;
    char text[64];
    size_t n;
    enum status st;

    if (!scored || scored == ST_INTERRUPTED)
        st = drain(x, 0, 2, err);
    else
        st = scored;
    progress_stop(&x->progress);
    if (!st && x->totals.n_stored < x->n_work)
        st = error_set(err, ST_INTERRUPTED, "interrupted: %zu of %zu answers stored in run '%s'",
                       x->totals.n_stored, x->n_work, x->run_id);
    scored = st;
    x->totals.wall_ns = clock_mono_ns() - x->start_ns;
    status = !st ? "done" : st == ST_INTERRUPTED ? "interrupted" : "failed";
    if (x->totals.n_internal) {
        snprintf(text, sizeof(text), "%zu internal verdicts", x->totals.n_internal);
        invalid = text;
    } else if (st) {
        invalid = status;
    }
    /* the failure itself comes first: what fails while tidying up after it is not told */
    st = record_finish(x->store, x->run_id, status, invalid, &x->arena, &rows, &n,
                       scored ? NULL : err);
    if (!st && (!scored || scored == ST_INTERRUPTED)) {
        put_notes(x, &notes);
        if (!buf_ok(&notes) || !buf_ok(&x->changes))
            st = no_memory(scored ? NULL : err);
        if (!st)
            st = run_print_results(&(struct run_facts){ .plan = &x->plan,
                                                        .judge = x->judge,
                                                        .run_id = x->run_id,
                                                        .results_path = x->results_path,
                                                        .load_format = x->load_format,
                                                        .max_batch = 1,
                                                        .is_json = verb_wants_json(x->c),
                                                        .source = x->source,
                                                        .model = x->model,
                                                        .parent_run = x->parent_run,
                                                        .notes = &notes },
                                   &x->totals, rows, n, status, scored ? NULL : err);
    }
    buf_release(&notes);
    if (!scored && x->n_missing && !options_flag(x->c, OPT_PARTIAL))
        *ret_exit = EXIT_INCOMPLETE;
    if (x->totals.n_internal)
        *ret_exit = EXIT_INTERNAL;
    return scored ? scored : st;
}

static enum status score_file(struct scoring *x, const char *task, const char *path,
                              enum exit_code *ret_exit, struct error *err)
{
    struct answers a = { 0 };
    const char *form = NULL;
    enum status st;

    if (!task_find(task))
        return error_set(err, ST_INVALID, "unknown task '%s'; `desbench ls tasks` lists them",
                         task);
    st = open_tasks(x, task, err);
    if (!st)
        st = asked_form(x->c, x->plan.tasks[0].def, &form, err);
    if (!st)
        st = answers_read(path, x->plan.tasks[0].task, &a, err);
    if (!st)
        st = count_missing(x, &a, err);
    if (!st)
        st = open_results(x, true, err);
    if (st)
        goto out;
    if (!form) /* our own file says which prompt it answers */
        form = find_form(x->plan.tasks[0].def, a.prompt_form);
    x->load_format = "external";
    x->source = arena_printf(&x->arena, "answers of '%s'", a.name);
    x->model = options_has(x->c, OPT_MODEL_NAME) ? options_text(x->c, OPT_MODEL_NAME)
               : *a.model                        ? a.model
                                                 : answers_model_name(&x->arena, a.name);
    st = x->source && x->model ? begin(x, err) : no_memory(err);
    if (!st) {
        st = score_answers(x, &a, form, err);
        st = finish(x, st, ret_exit, err);
    }
out:
    answers_release(&a);
    return st;
}

static enum status score_run(struct scoring *x, const char *prefix, enum exit_code *ret_exit,
                             struct error *err)
{
    struct run_summary parent;
    enum status st = open_results(x, false, err);

    if (!st)
        st = store_find_run(x->store, prefix, &x->arena, &x->parent_run, err);
    if (!st)
        st = store_get_run(x->store, x->parent_run, &x->arena, NULL, &parent, err);
    if (!st && !parent.n_samples)
        st = error_set(err, ST_NOT_FOUND, "run '%s' has no samples", x->parent_run);
    if (!st)
        st = open_tasks(x, parent.tasks, err);
    if (st)
        return st;
    if (strcmp(parent.status, "done") != 0)
        x->invalid = arena_printf(&x->arena, "run %s is %s", x->parent_run, parent.status);
    else if (strncmp(parent.validity, "INVALID: ", 9) == 0 && !parent.n_internal)
        x->invalid = parent.validity + 9; /* verdicts can be made good, missing items cannot */
    x->source = arena_printf(&x->arena, "answers of run '%s'", x->parent_run);
    x->load_format = "stored";
    x->model = parent.model;
    if (!x->source || (strcmp(parent.status, "done") != 0 && !x->invalid))
        return no_memory(err);
    st = store_each_sample(x->store, x->parent_run, NULL, NULL, count_stored, x, err);
    if (!st && !x->n_work)
        st = error_set(err, ST_INVALID, "run '%s' has no answer to any of the items asked for",
                       x->parent_run);
    if (!st)
        st = begin(x, err);
    if (st)
        return st;
    st = store_each_sample(x->store, x->parent_run, NULL, NULL, score_stored, x, err);
    return finish(x, st, ret_exit, err);
}

static void free_scored(struct scored *s)
{
    arena_release(&s->arena);
    free(s);
}

static void close_all(struct scoring *x)
{
    judge_close(x->judge);
    store_close(x->store);
    plan_release(&x->plan);
    for (struct answer *a = x->queue.waiting, *next; a; a = next) {
        next = a->next;
        free_scored(a->owner);
    }
    for (struct scored *s = x->spent, *next; s; s = next) {
        next = s->next;
        free_scored(s);
    }
    buf_release(&x->changes);
    arena_release(&x->arena);
}

static enum status run(const struct options *c, enum exit_code *ret_exit, struct error *err)
{
    struct scoring x = { .c = c };
    enum status st = c->n_args == 1 ? score_run(&x, c->args[0], ret_exit, err)
                                    : score_file(&x, c->args[0], c->args[1], ret_exit, err);

    close_all(&x);
    return st;
}

const struct verb verb_score = {
    .name = "score",
    .bit = VERB_SCORE,
    .args = "TASK FILE | RUN",
    .min_args = 1,
    .max_args = 2,
    .summary = "judge answers made elsewhere, or those of a stored run anew",
    .help =
        "FILE holds one answer a line as JSON, - is standard input. The item is named by "
        "`task_id`, `id` or\n"
        "`problem`; the field of the answer says how it is read: `output` is a model's text, "
        "`completion`\n"
        "continues the item's code (human-eval), `solution` is a whole program (evalplus). Several "
        "lines for\n"
        "an item are several answers to it, and give pass@k. The file is checked whole before "
        "anything is\n"
        "judged; a line that cannot be used is named, exit code 2. Every answer is stored, as "
        "`run` "
        "does.\n"
        "Items without an answer make the score incomplete, exit code 6, unless --partial says "
        "that they\n"
        "are meant to be missing, or --samples and --limit ask for others.\n\n"
        "  desbench score humaneval samples.jsonl            human-eval's or evalplus's file\n"
        "  desbench score gsm8k answers.jsonl --model-name MyModel --prompt-form chat-oc-4shot\n"
        "  desbench export last | desbench score sample_mbpp -\n\n"
        "RUN is a stored run (id, beginning of one, `last`): its answers are read and judged by "
        "today's rules\n"
        "as a new run, whose parent it is, and every verdict that changed is listed.\n\n"
        "  desbench score last --timeout 3\n",
    .run = run,
};
