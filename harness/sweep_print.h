/*
 * What `desbench sweep` prints on stdout: its plan or its results, as a table or as JSON.
 */
#ifndef HARNESS_SWEEP_PRINT_H
#define HARNESS_SWEEP_PRINT_H

#include "harness/sweep_plan.h"

/* For --dry-run; store: for times and what is there already, or NULL. */
MUST_CHECK enum status sweep_print_plan(const struct sweep *w, struct store *store, bool is_json,
                                        struct error *err);

/* A row for each cell that has samples. */
MUST_CHECK enum status sweep_print_results(const struct sweep *w, struct store *store, bool is_json,
                                           struct error *err);

#endif
