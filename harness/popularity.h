/*
 * Popularity: tokens that each expert of each layer got in a stored run, for the selector `static`.
 */
#ifndef HARNESS_POPULARITY_H
#define HARNESS_POPULARITY_H

#include "base/status.h"
#include "results/results.h"

/* Print the sums over the run's samples (of one task, or with NULL of all) as the JSON file that
 * engine/popularity.h describes. ST_INVALID: samples of several models, or without telemetry. */
MUST_CHECK enum status popularity_print(struct store *s, const char *run_id, const char *task,
                                        struct error *err);

#endif
