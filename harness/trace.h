/*
 * What the files of the verb `trace` share.
 */
#ifndef HARNESS_TRACE_H
#define HARNESS_TRACE_H

#include "base/status.h"
#include "harness/options.h"

/* `trace record`: ask a model items and write what its routers say to --output. */
MUST_CHECK enum status trace_record(const struct options *c, struct error *err);

/* `trace replay FILE`: what selectors make of its scores, as a table. */
MUST_CHECK enum status trace_replay(const struct options *c, struct error *err);

#endif
