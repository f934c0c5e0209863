/*
 * Strata: the scores of a run by class of item or answer.
 */
#ifndef HARNESS_STRATA_H
#define HARNESS_STRATA_H

#include "base/status.h"
#include "harness/options.h"
#include "results/results.h"

/*
 * Print a row for each task, selector and class, and, where several tasks have the class, one for
 * all of them together, which counts each item alike. `field` is a stored one (level, subject,
 * stop_reason, extraction_method) or a task's own word for one (struct task_def); tasks that know
 * no such field are left out. Intervals are Wilson's at 95 %, where an item has one answer.
 * ST_INVALID, with the fields there are: no task of the run has this one.
 */
MUST_CHECK enum status strata_print(const struct options *c, struct store *s, const char *run_id,
                                    const char *field, struct error *err);

#endif
