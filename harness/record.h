/*
 * Record: a run's own row in the results file, from its beginning to its scores. Shared by every
 * verb that stores samples.
 */
#ifndef HARNESS_RECORD_H
#define HARNESS_RECORD_H

#include "base/arena.h"
#include "base/buf.h"
#include "base/status.h"
#include "harness/judge/judge.h"
#include "harness/options.h"
#include "results/results.h"

/*
 * An id for a new run, in the arena: time of day and a random tail, so that ids sort by time; of
 * no other run in the store.
 */
MUST_CHECK enum status record_new_id(struct store *s, struct arena *a, const char **ret,
                                     struct error *err);

/* Store the run's row: command line, options, program and machine. parent_run and judge (nothing
 * is judged) may be NULL. */
MUST_CHECK enum status record_begin(struct store *s, const struct options *c, const char *run_id,
                                    const char *parent_run, const struct judge *judge,
                                    struct error *err);

/* Append this process' command line, shell-quoted. */
void record_put_command(struct buf *b);

/* Store that this process goes on with a run that another one began. */
MUST_CHECK enum status record_resume(struct store *s, const char *run_id, struct error *err);

/*
 * Store how it ended and its scores, the default one of each task first; the summaries that they
 * come from are left in the arena. The end is stored last: a run that says so has its scores.
 * invalid: why its scores must not be used, or NULL. Call it also when the run failed, with what
 * was stored by then.
 */
MUST_CHECK enum status record_finish(struct store *s, const char *run_id, const char *status,
                                     const char *invalid, struct arena *a,
                                     struct task_summary **ret, size_t *ret_n, struct error *err);

#endif
