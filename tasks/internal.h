/*
 * What the files of tasks/ share and others do not see: a task, its items and the formats.
 *
 * A format is how the records of one upstream file look and what is done with them. Several
 * tasks may have one format (the splits of MBPP, the bundled samples).
 */
#ifndef TASKS_INTERNAL_H
#define TASKS_INTERNAL_H

#include <jansson.h>

#include "tasks/task.h"
#include "tasks/text.h"

enum task_format {
    FORMAT_HUMANEVAL,
    FORMAT_HUMANEVAL_PRO,
    FORMAT_MBPP,
    FORMAT_MBPP_SANITIZED,
    FORMAT_GSM8K,
    FORMAT_MATH,
    N_FORMATS
};

struct item {
    const json_t *record; /* every field of the format is there and has its type */
    const char *id;
    char sha256[65], reference_sha256[65];
    const char *entry_point;    /* TASK_CODE: the function that the tests call */
    const char *first_function; /* HUMANEVAL_PRO: the function that it builds on */
    const char *gold;           /* TASK_ANSWER */
    const char *subject;        /* or NULL */
    int level;                  /* or 0 */
};

struct task {
    const struct task_def *def;
    const struct format *format;
    char sha256[65];
    json_t *records; /* array of all records of the file, also those of other splits */
    json_t *index;   /* id -> index into items; -1: a record of another split */
    struct item *items;
    size_t n_items;
    struct arena arena; /* ids and derived strings */

    /* Examples for prompts, from files beside the data set. */
    struct examples_file {
        json_t *records; /* or NULL and why */
        struct error error;
    } fewshot, train;
};

enum field_kind {
    FIELD_STR,       /* not empty */
    FIELD_STR_EMPTY, /* may be empty */
    FIELD_INT,
    FIELD_LIST,      /* of strings, not empty */
    FIELD_LIST_EMPTY /* of strings, may be empty */
};

struct field {
    const char *key; /* NULL ends the list */
    enum field_kind kind;
};

struct mutants;

struct format {
    bool is_lines;           /* a record a line; else one JSON array */
    const char *code_prompt; /* field that a completion continues; NULL: there is none */
    const struct field *fields;

    /* Fill in what is derived from a record whose fields are all there. Strings made here go
     * into t->arena. `where` names the record for messages, `number` counts it from 0. */
    enum status (*read)(struct task *t, struct item *it, const char *where, size_t number,
                        struct error *err);

    /* The other calls of task.h; `compat` is of enum task_compat. The output to extract from is
     * cleaned; `it` may be NULL there for TASK_ANSWER. */
    enum status (*extract)(const struct item *it, unsigned compat, struct span output,
                           struct arena *arena, struct extraction *ret, struct error *err);
    enum status (*make_program)(const struct item *it, unsigned compat, struct span code,
                                struct arena *arena, struct task_program *ret, struct error *err);
    /* The same for a whole program, to be run as it is. NULL: make_program() does just that. */
    enum status (*make_solution)(const struct item *it, struct span code, struct arena *arena,
                                 struct task_program *ret, struct error *err);
    enum status (*grade)(const struct item *it, const struct extraction *x, struct span output,
                         struct arena *arena, struct task_grade *ret, struct error *err);
    enum status (*equal)(struct span pred, struct span gold, bool *ret, struct error *err);

    /* TASK_CODE: append the reference program; returns where the solution begins, behind what
     * the prompt gives. TASK_ANSWER: append a text that ends in the gold answer. */
    size_t (*put_solution)(const struct item *it, struct buf *b);
    void (*put_answer)(const struct item *it, struct buf *b);

    /* TASK_ANSWER: wrong answers and right spellings of one; next is another item's gold. */
    enum status (*make_mutants)(struct mutants *m, const char *gold, const char *next,
                                struct error *err);
};

extern const struct format format_humaneval, format_humaneval_pro, format_mbpp,
    format_mbpp_sanitized, format_gsm8k, format_math;

const struct format *format_get(const struct task_def *def);

/* A field of an item, known to be there. */
struct span item_str(const struct item *it, const char *key);
const json_t *item_list(const struct item *it, const char *key);
int64_t item_int(const struct item *it, const char *key);

/* Append the strings of a list joined by newlines. */
void item_put_list(const struct item *it, const char *key, struct buf *b);

/* Append the reference as a model might write it: see task_make_reference(). */
void item_put_reference(const struct format *f, const struct item *it, struct buf *b);

/* Read the file, check it and fill t->records, index and items; t->def and format are set. */
MUST_CHECK enum status dataset_read(struct task *t, const char *dir, bool is_sha_checked,
                                    struct error *err);

/* The same of its bytes. */
MUST_CHECK enum status dataset_parse(struct task *t, const char *path, const char *data, size_t len,
                                     bool is_sha_checked, struct error *err);

/* The data files, for the table of tasks. */
enum data_id {
    DATA_HUMANEVAL,
    DATA_HUMANEVAL_PRO,
    DATA_MBPP,
    DATA_MBPP_SANITIZED,
    DATA_GSM8K,
    DATA_GSM8K_TRAIN,
    DATA_MATH500,
    DATA_FEWSHOT,
    N_DATA_FILES
};
extern const struct data_file data_files[N_DATA_FILES];

/* SHA-256 of a value's canonical form: keys sorted, no white space, UTF-8. */
MUST_CHECK enum status hash_json(const json_t *v, char ret[65], struct error *err);

/* Parse records: a record a line, or one array or object. */
MUST_CHECK enum status records_parse(struct span text, bool is_lines, const char *path,
                                     json_t **ret, struct error *err);

/* Read the files with examples that forms of the task may need; a failure is kept for the prompt
 * that needs one. */
void examples_read(struct task *t, const char *dir, bool is_sha_checked);

/* A form's examples as an array of records. *ret is the caller's. */
struct form;
MUST_CHECK enum status examples_get(const struct task *t, const struct form *form, json_t **ret,
                                    struct error *err);

/* Move a buffer's content into an arena and release the buffer. NULL when out of memory. */
const char *buf_to_arena(struct buf *b, struct arena *arena, size_t *ret_len);

/* An extraction of a span: a copy in the arena, or no answer if it is blank. */
MUST_CHECK enum status extraction_set(struct extraction *ret, struct span text, const char *method,
                                      struct arena *arena, struct error *err);

/* Move the two halves of a program into the arena; both buffers are released. */
MUST_CHECK enum status program_set(struct task_program *ret, const char *entry_point,
                                   struct buf *code, struct buf *tests, struct arena *arena,
                                   struct error *err);

#endif
