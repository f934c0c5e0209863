/*
 * Opening the judge from options: shared by the verbs that run programs.
 */
#ifndef HARNESS_JUDGING_H
#define HARNESS_JUDGING_H

#include "base/status.h"
#include "harness/judge/judge.h"
#include "harness/options.h"

/* Limits and level from options. ST_INVALID: limits that contradict each other. */
MUST_CHECK enum status judging_options(const struct options *c, struct judge_options *ret,
                                       struct error *err);

/* The same, opened. A level that this machine lacks is ST_NOT_FOUND (environment), with the
 * missing layers named and what to do. */
MUST_CHECK enum status judging_open(const struct options *c, struct judge **ret, struct error *err);

#endif
