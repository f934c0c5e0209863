/*
 * What the files of the verb `trace` share.
 */
#ifndef HARNESS_TRACE_H
#define HARNESS_TRACE_H

#include "base/status.h"
#include "engine/engine.h"
#include "harness/options.h"
#include "harness/trace_file.h"

/* `trace record`: ask a model items and write what its routers say to --output. */
MUST_CHECK enum status trace_record(const struct options *c, struct error *err);

/* `trace replay FILE`: what selectors make of its scores, as a table. */
MUST_CHECK enum status trace_replay(const struct options *c, struct error *err);

/* A trace for replay_new() and replay_begin(); both borrow. number: of the forward in its sequence,
 * from 0. */
struct replay_model trace_replay_model(const struct trace_header *h);
struct replay_forward trace_replay_forward(const struct trace_sequence *s, int number,
                                           const struct trace_forward *f);

#endif
