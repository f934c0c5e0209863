/*
 * What `desbench run` prints on stdout: its plan or its results, as a table or as JSON.
 */
#ifndef HARNESS_RUN_PRINT_H
#define HARNESS_RUN_PRINT_H

#include "harness/runner.h"

/* Borrowed: all of it is the caller's. */
struct run_facts {
    const struct plan *plan;
    const struct engine *engine;
    const struct judge *judge; /* NULL: nothing needs one */
    const char *run_id, *results_path;
    const char *load_format;
    const struct engine_memory *memory; /* for a plan; NULL: there are no weights to count */
    int max_batch;                      /* sequences at once */
    bool is_json;

    /* when the engine made none of the answers; engine is NULL then */
    const char *source; /* where they are from, in words: "answers of 'x.jsonl'" */
    const char *model;
    const char *parent_run;  /* or NULL */
    const struct buf *notes; /* lines below the table, or, with is_json, members: ",\"a\":1" */
};

/* For --dry-run; run_id and results_path are not looked at. */
MUST_CHECK enum status run_print_plan(const struct run_facts *f, struct error *err);

/* A row (table) or an entry (JSON) for each of the n summaries. status: "done", "interrupted". */
MUST_CHECK enum status run_print_results(const struct run_facts *f,
                                         const struct runner_totals *totals,
                                         const struct task_summary *rows, size_t n,
                                         const char *status, struct error *err);

#endif
