/*
 * Pool of threads that share the units of one loop.
 *
 * The caller takes part; n_threads - 1 workers wait between loops, first spinning (a forward
 * pass is a chain of loops a few microseconds apart), then asleep on a condition. Who computes
 * a unit is decided as they go; what a unit computes must not depend on who.
 *
 * A loop is closed by the caller when no unit is left. Only workers that joined it by then are
 * waited for, so one that the system did not schedule in time delays nothing.
 */
#ifndef KERNELS_CPU_POOL_H
#define KERNELS_CPU_POOL_H

#include <stdbool.h>

#include "base/status.h"

struct pool;

/* One unit of a loop. thread is 0 .. n_threads - 1, one unit a thread at a time. */
typedef void (*pool_fn)(void *arg, int unit, int thread);

/* The same, knowing the unit that the thread will take after this one (-1: none), so that it can
 * fetch its data meanwhile. */
typedef void (*pool_ahead_fn)(void *arg, int unit, int next, int thread);

/* n_threads >= 1, the caller's among them. is_pinned: each of the others stays on a processor of
 * its own of those that the caller may run on, if there are n_threads of them; the caller keeps
 * what it has (its children inherit it). ST_NOMEM if a thread cannot be started. */
MUST_CHECK enum status pool_new(int n_threads, bool is_pinned, struct pool **ret,
                                struct error *err);
void pool_free(struct pool *p); /* accepts NULL; joins the workers */

int pool_n_threads(const struct pool *p);

/* Run fn for units 0 .. n_units - 1 and return when all are done. From one thread at a time. */
void pool_run(struct pool *p, pool_fn fn, void *arg, int n_units);
void pool_run_ahead(struct pool *p, pool_ahead_fn fn, void *arg, int n_units);

#endif
