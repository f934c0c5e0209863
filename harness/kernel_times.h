/*
 * Times of the parts of forwards, of some steps of a run: histograms by cell, part, layer and
 * number of tokens (table kernel of results/schema.sql).
 */
#ifndef HARNESS_KERNEL_TIMES_H
#define HARNESS_KERNEL_TIMES_H

#include "base/status.h"
#include "engine/engine.h"
#include "results/results.h"

struct kernel_times; /* what is not stored yet */

/* *ret is freed by kernel_times_free(). ST_NOMEM. */
MUST_CHECK enum status kernel_times_new(struct kernel_times **ret, struct error *err);
void kernel_times_free(struct kernel_times *t); /* accepts NULL */

/* Count the last step that was timed, of a cell; cell_key is borrowed until it is stored. */
MUST_CHECK enum status kernel_times_add(struct kernel_times *t, const char *cell_key,
                                        const struct step_times *step, struct error *err);

/* Store all that was counted, and forget it. */
MUST_CHECK enum status kernel_times_store(struct kernel_times *t, struct store *s,
                                          const char *run_id, struct error *err);

#endif
