/*
 * Import: runs of other tools, with the verdicts that those gave. What its readers share: cells and
 * answers as they are read, everything checked before the first is stored.
 */
#ifndef HARNESS_IMPORT_H
#define HARNESS_IMPORT_H

#include "base/json.h"
#include "harness/answers.h"
#include "harness/options.h"
#include "harness/plan.h"
#include "results/results.h"

/* A file being read. */
struct import_file {
    const char *name;
    char sha256[65];
    struct buf text;
};

/* An answer and its verdict. Strings live in importing.arena; cell_key and item's hashes are
 * filled in when it is stored. */
struct imported {
    size_t cell, item;
    size_t before; /* 1 + the answer to the same item that came before it, 0: none */
    struct sample_row row;
    const char *where; /* "'x.jsonl' line 3" */
};

/* The answers to an item of a cell so far. */
struct import_place {
    int n;
    size_t last; /* 1 + the last of them, chained by `before` */
};

enum { IMPORT_CELLS_MAX = 4096 };

struct import_cell {
    struct cell_row row;
    const struct plan_task *task;
    struct import_place *places; /* (items of the task) */
    char key[65];
};

struct importing {
    const struct options *c;
    struct arena arena;
    struct plan plan; /* tasks opened so far */
    struct import_file *files;
    size_t n_files;
    struct import_cell *cells;
    size_t n_cells, cap_cells;
    struct imported *list;
    size_t n, cap;
    const char *model;   /* as a results file of lm-eval says, or NULL */
    const char *lm_eval; /* "lm-eval 0.4.13": who gave its verdicts */
};

/* The task by our name, opened once. what: where the name stood, for messages. */
MUST_CHECK enum status import_task(struct importing *x, const char *name, const char *what,
                                   const struct plan_task **ret, struct error *err);

/* The cell of these answers, made when it is new. row: texts that are not known NULL; task, data
 * set, file, load format are filled in here. ST_INVALID: more than IMPORT_CELLS_MAX of them. */
MUST_CHECK enum status import_cell(struct importing *x, const struct import_file *f,
                                   const struct plan_task *t, const struct cell_row *row,
                                   size_t *ret, struct error *err);

/* Take an answer over; row's texts that are not known are NULL. Its extraction method is its kind's
 * name when it is code as it is. sample_idx < 0: the next one of its item. The texts must be in the
 * arena. ST_INVALID: a kind that the task does not take. */
MUST_CHECK enum status import_add(struct importing *x, size_t cell, size_t item, int sample_idx,
                                  const char *where, const struct sample_row *row,
                                  struct error *err);

/* The optional member 'also' of an object, results of rival rules, as JSON text in the arena. */
MUST_CHECK enum status import_also(struct importing *x, const json_t *obj, const char *where,
                                   const char **ret, struct error *err);

/* Is it a verdict that a judge of ours gives? ST_INVALID names the field. */
MUST_CHECK enum status import_check_verdict(const char *verdict, const char *where,
                                            struct error *err);

/* Copies into the arena, NULL for NULL; *ret_is_ok becomes false when out of memory. */
const char *import_keep(struct importing *x, const char *s, size_t len, bool *ret_is_ok);

/* One reader a kind of line or file. Each checks all it uses: ST_INVALID names where and field. */
MUST_CHECK enum status import_own_line(struct importing *x, const struct import_file *f,
                                       const json_t *obj, const char *where, struct error *err);
MUST_CHECK enum status import_own_csv(struct importing *x, const struct import_file *f,
                                      struct error *err);
MUST_CHECK enum status import_lm_eval_line(struct importing *x, const struct import_file *f,
                                           const json_t *obj, const char *where, struct error *err);
MUST_CHECK enum status import_lm_eval_results(struct importing *x, const struct import_file *f,
                                              const json_t *obj, struct error *err);
MUST_CHECK enum status import_evalplus(struct importing *x, const struct import_file *f,
                                       const json_t *obj, struct error *err);
MUST_CHECK enum status import_human_eval_line(struct importing *x, const struct import_file *f,
                                              const json_t *obj, const char *where,
                                              struct error *err);

#endif
