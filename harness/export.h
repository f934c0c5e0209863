/*
 * Export: a stored run as the files of other tools. What the forms share: the run's samples read
 * into memory, in the order of their cells, items and numbers, and a list of files to be written.
 */
#ifndef HARNESS_EXPORT_H
#define HARNESS_EXPORT_H

#include "harness/options.h"
#include "harness/plan.h"
#include "results/results.h"

/* A cell of the run, and what its files and tasks are called: the task, with the selector behind
 * it where the run has several cells of the task. */
struct export_cell {
    const char *key, *name;
    const char *file_name; /* name without what file names had better not hold; unique too */
    struct cell_row row;
    const struct plan_task *task; /* NULL: the form needs no data */
    size_t first, n;              /* its samples */
};

struct export_sample {
    struct stored_sample s; /* without tokens and telemetry */
    enum answer_kind kind;
    size_t cell, item; /* item: index into the data, or order of appearance */
};

struct export_file {
    const char *name;
    struct buf text;
};

struct exporting;

/* A form of files; make() adds them. */
struct export_form {
    const char *name;
    bool needs_data;
    enum { EXPORT_ALL, EXPORT_HUMANEVAL, EXPORT_EVALPLUS } tasks; /* that it can hold */
    enum status (*make)(struct exporting *x, struct error *err);
};

struct exporting {
    const struct options *c;
    const struct export_form *form;
    struct arena arena;
    struct plan plan; /* tasks with their data, where the form needs them */
    struct store *store;
    const char *run_id;
    struct run_row run;
    struct run_summary summary;
    struct export_cell *cells;
    size_t n_cells;
    struct export_sample *samples;
    size_t n_samples, cap_samples, n_left_out;
    struct export_file *files;
    size_t n_files;
};

/* Add an empty file of this name, which is copied; of what a run holds, only run_id and file_name
 * may be part of it. NULL when out of memory. */
struct buf *export_add_file(struct exporting *x, const char *name);

enum status export_make_jsonl(struct exporting *x, struct error *err);
enum status export_make_csv(struct exporting *x, struct error *err);
enum status export_make_summary(struct exporting *x, struct error *err);
enum status export_make_llama_bench(struct exporting *x, struct error *err);
enum status export_make_lm_eval(struct exporting *x, struct error *err);
enum status export_make_evalplus(struct exporting *x, struct error *err);
enum status export_make_evalplus_raw(struct exporting *x, struct error *err);
enum status export_make_human_eval(struct exporting *x, struct error *err);

/* The program that was judged, or is to be: *ret_has false where no code was found. Needs data. */
MUST_CHECK enum status export_program(const struct exporting *x, const struct export_sample *s,
                                      struct arena *a, struct task_program *ret, bool *ret_has,
                                      struct error *err);

#endif
