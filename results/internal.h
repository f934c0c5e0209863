/*
 * What the files of results/ share, and what tests reach into. Not for other folders.
 */
#ifndef RESULTS_INTERNAL_H
#define RESULTS_INTERNAL_H

#include "results/results.h"

/* store_open() with another patience for a locked file than 10 s. */
MUST_CHECK enum status store_open_patience(const char *path, enum store_mode mode, int busy_ms,
                                           struct store **ret, struct error *err);

/*
 * env_capture_json() of a system whose /proc, /sys and /etc lie under root ("" for this one).
 * Facts that are not files (host name, kernel, processors allowed) are this system's.
 */
MUST_CHECK enum status env_capture_root(const char *root, struct buf *ret, struct error *err);

#endif
