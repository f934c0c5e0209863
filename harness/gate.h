/*
 * What `gate` and `gate plan` share.
 */
#ifndef HARNESS_GATE_H
#define HARNESS_GATE_H

#include "harness/compare_print.h"
#include "harness/sides.h"

/* --margin as a fraction: "2pt", "1.5pt", or "0.02". ST_INVALID. */
MUST_CHECK enum status gate_margin(const struct options *c, double *ret, struct error *err);

/* How much the runs of --noise differ from the baseline; n_runs 0: there are none. */
MUST_CHECK enum status gate_noise(const struct options *c, const struct side *base,
                                  struct arena *arena, struct noise *ret, struct error *err);

/* `gate plan`: what a gate against this baseline can tell, and what it costs. */
MUST_CHECK enum status gate_plan(const struct options *c, enum exit_code *ret_exit,
                                 struct error *err);

#endif
