/*
 * Resume: what a stored run was made under, for those who go on with it.
 */
#ifndef HARNESS_RESUME_H
#define HARNESS_RESUME_H

#include "harness/options.h"
#include "harness/session.h"
#include "results/results.h"

/* The options of a stored run, as `run` would have them now. *ret is released with
 * options_release(). ST_INVALID: it was not made by `run`, or `sweep`; ST_MISMATCH: by one with
 * other options. */
MUST_CHECK enum status resume_options(const struct run_row *row, struct options *ret,
                                      struct error *err);

/* Hold everything that decides answers and verdicts in an open session against what the stored
 * samples of the run were made under. ST_MISMATCH names what differs. */
MUST_CHECK enum status resume_check(const struct session *s, const struct run_row *row,
                                    struct error *err);

#endif
