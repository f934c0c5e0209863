/*
 * Run lock: one process at a time writes a run.
 *
 * A run that was killed says "running" in the results file for ever; whether anybody still works
 * on it is told by a lock on the file "RESULTS-RUN_ID.lock" beside the results file. It is a POSIX
 * record lock: the kernel drops it with the process, however that ends, children do not inherit
 * it, and it holds between containers and hosts that share the folder, where process ids mean
 * nothing. The file is empty and removed with the lock; one left behind by a killed process is
 * taken over by the next.
 */
#ifndef HARNESS_RUN_LOCK_H
#define HARNESS_RUN_LOCK_H

#include "base/status.h"

struct run_lock;

/* Lock a run of a results file. ST_IO: another process has it, which the message names where that
 * is known, or no file can be made there. */
MUST_CHECK enum status run_lock_take(const char *results_path, const char *run_id,
                                     struct run_lock **ret, struct error *err);

void run_lock_release(struct run_lock *l); /* accepts NULL */

/* Remove what a process left that was killed when its run was done. Nothing where there is no such
 * file, another process holds it, or it cannot be removed. */
void run_lock_clear(const char *results_path, const char *run_id);

#endif
