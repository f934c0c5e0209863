/* `desbench grade` and `desbench extract`: JSON lines in, one JSON line each out, in order. The
 * answer to "why was this marked wrong?" */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "harness/judging.h"
#include "harness/paths.h"
#include "harness/verb.h"
#include "tasks/task.h"

enum { MAX_LINE = 64 << 20 };

typedef enum status (*line_fn)(void *arg, const json_t *obj, const char *where, struct buf *ret,
                               struct error *err);

/* Each line of stdin through fn, what it makes to stdout. Blank lines are skipped. */
static enum status each_line(line_fn fn, void *arg, struct error *err)
{
    char *line = NULL, where[64];
    size_t cap = 0, n = 0;
    struct buf out = { 0 };
    enum status st = ST_OK;
    ssize_t len;

    while (!st && (len = getline(&line, &cap, stdin)) >= 0) {
        json_t *obj = NULL;

        n++;
        if (strspn(line, " \t\r\n") == (size_t)len)
            continue;
        if (len > MAX_LINE) {
            st = error_set(err, ST_INVALID, "standard input line %zu is longer than %d bytes", n,
                           MAX_LINE);
            break;
        }
        snprintf(where, sizeof(where), "standard input line %zu", n);
        buf_clear(&out);
        st = json_parse(line, (size_t)len, "standard input", n, &obj, err);
        if (!st)
            st = fn(arg, obj, where, &out, err);
        if (!st)
            st = verb_print(&out, err);
        json_decref(obj);
    }
    if (!st && !feof(stdin)) /* getline() may also have run out of memory */
        st = error_set(err, errno == ENOMEM ? ST_NOMEM : ST_IO, "cannot read standard input: %s",
                       strerror(errno));
    free(line);
    buf_release(&out);
    return st;
}

static enum status find_task(const char *name, const struct task_def **ret, struct error *err)
{
    *ret = task_find(name);
    if (!*ret)
        return error_set(err, ST_INVALID, "unknown task '%s'; `desbench ls tasks` lists them",
                         name);
    return ST_OK;
}

static enum status grade_line(void *arg, const json_t *obj, const char *where, struct buf *ret,
                              struct error *err)
{
    const struct task_def *def = arg;
    const char *pred, *gold;
    size_t pred_len, gold_len;
    bool is_equal;
    enum status st;

    st = json_get_str(obj, where, "pred", &pred, &pred_len, err);
    if (!st)
        st = json_get_str(obj, where, "gold", &gold, &gold_len, err);
    if (!st)
        st = task_equal(def, pred, pred_len, gold, gold_len, &is_equal, err);
    if (st)
        return st;
    buf_printf(ret, "{\"equal\": %s}\n", is_equal ? "true" : "false");
    return ST_OK;
}

static enum status run_grade(const struct options *c, enum exit_code *ret_exit, struct error *err)
{
    const struct task_def *def;
    enum status st = find_task(c->args[0], &def, err);

    (void)ret_exit;
    if (!st && def->kind == TASK_CODE)
        st = error_set(err, ST_INVALID,
                       "task '%s' is graded by running tests, not by comparing two answers",
                       def->name);
    return st ? st : each_line(grade_line, (void *)(uintptr_t)def, err);
}

struct extracting {
    const struct task_def *def;
    struct task *task;            /* NULL: no data, rules that need the item are refused */
    const struct task_form *form; /* that outputs answer; NULL: they stand alone */
    unsigned compat;
    struct arena arena;
};

/* The item a line names, by string or integer; absent is fine for tasks with answers. */
static enum status find_problem(const struct extracting *x, const json_t *obj, const char *where,
                                size_t *ret, struct error *err)
{
    const json_t *problem = json_object_get(obj, "problem");
    char number[32];
    const char *id = number;

    *ret = 0;
    if (!problem && x->def->kind == TASK_ANSWER)
        return ST_OK;
    if (!problem)
        return error_set(err, ST_INVALID, "%s: field 'problem' is missing (task '%s' needs it)",
                         where, x->def->name);
    if (json_is_string(problem))
        id = json_string_value(problem);
    else if (json_is_integer(problem))
        snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(problem));
    else
        return error_set(err, ST_INVALID, "%s: field 'problem' must be a string or an integer",
                         where);
    if (x->task && !task_find_item(x->task, id, ret))
        return error_set(err, ST_INVALID, "%s: task '%s' has no problem '%s'", where, x->def->name,
                         id);
    return ST_OK;
}

static enum status extract_line(void *arg, const json_t *obj, const char *where, struct buf *ret,
                                struct error *err)
{
    struct extracting *x = arg;
    struct task_prompt prompt = { .prefix = "" };
    struct task_reading how = { .prompt = x->form ? &prompt : NULL, .compat = x->compat };
    struct extraction found;
    const char *output;
    size_t len, item = 0;
    enum status st;

    arena_clear(&x->arena);
    st = json_get_str(obj, where, "output", &output, &len, err);
    if (!st)
        st = find_problem(x, obj, where, &item, err);
    if (!st && x->form && x->task)
        st = task_make_prompt(x->task, item, x->form->name, &x->arena, &prompt, err);
    else if (!st && x->form) /* no form of a task with answers begins the answer */
        prompt.stops = x->form->stops;
    if (!st)
        st = x->task ? task_extract(x->task, item, &how, output, len, &x->arena, &found, err)
                     : task_extract_answer(x->def, &how, output, len, &x->arena, &found, err);
    if (st)
        return st;
    buf_puts(ret, "{\"extracted\": ");
    if (found.text)
        json_put_str(ret, found.text, found.len);
    else
        buf_puts(ret, "null");
    buf_puts(ret, ", \"method\": ");
    json_put_str(ret, found.method, strlen(found.method));
    buf_puts(ret, "}\n");
    return ST_OK;
}

static enum status run_extract(const struct options *c, enum exit_code *ret_exit, struct error *err)
{
    struct extracting x = { .compat = judging_compat(c) };
    struct arena paths = { 0 };
    const char *dir, *form = options_text(c, OPT_PROMPT_FORM);
    enum status st = find_task(c->args[0], &x.def, err);

    (void)ret_exit;
    if (!st && form && !(x.form = task_form_find(x.def, form)))
        st = error_set(err, ST_INVALID,
                       "task '%s' has no prompt form '%s' (--prompt-form); `desbench ls forms %s` "
                       "lists its forms",
                       x.def->name, form, x.def->name);
    if (!st && x.def->kind == TASK_CODE) {
        st = path_task_dir(c, x.def, &paths, &dir, err);
        if (!st)
            st = task_open(x.def, dir, !options_flag(c, OPT_NO_DATA_CHECK), &x.task, err);
    }
    if (!st)
        st = each_line(extract_line, &x, err);
    task_close(x.task);
    arena_release(&x.arena);
    arena_release(&paths);
    return st;
}

const struct verb verb_grade = {
    .name = "grade",
    .bit = VERB_GRADE,
    .args = "TASK",
    .min_args = 1,
    .max_args = 1,
    .summary = "compare answers by a task's rule: JSON lines on stdin, verdicts on stdout",
    .help =
        "Reads {\"pred\": \"...\", \"gold\": \"...\"} lines and writes {\"equal\": true|false} "
        "lines, in\n"
        "order. A line that cannot be used stops it with exit code 2, naming line and field.\n\n"
        "  echo '{\"pred\": \"0.5\", \"gold\": \"\\\\frac{1}{2}\"}' | desbench grade math500\n",
    .run = run_grade,
};

const struct verb verb_extract = {
    .name = "extract",
    .bit = VERB_EXTRACT,
    .args = "TASK",
    .min_args = 1,
    .max_args = 1,
    .summary = "find the answer in outputs by a task's rule: JSON lines in and out",
    .help = "Reads {\"output\": \"...\", \"problem\": ID} lines and writes {\"extracted\": \"...\" "
            "| null,\n"
            "\"method\": \"...\"} lines, in order. `problem` is the data set's own id; only tasks "
            "with code\n"
            "need it (and the data, --data-dir).\n\n"
            "  echo '{\"output\": \"so \\\\boxed{42}.\"}' | desbench extract math500\n\n"
            "With --prompt-form an output is read as `run` reads it: it ends where the form's "
            "harness stops,\n"
            "and goes on from what the form has already begun of the answer.\n",
    .run = run_extract,
};
