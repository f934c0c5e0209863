/*
 * Policies: accuracy against experts, a row for each model and way of decoding.
 */
#ifndef HARNESS_POLICIES_H
#define HARNESS_POLICIES_H

#include "base/status.h"
#include "harness/options.h"

/*
 * Print a row for each model, selector and way of decoding of the results file that --output names:
 * its score on each task, and on all of them together, where each item counts alike; unique experts
 * a layer and forward. Of a cell, the newest run that is done and valid counts. A cell of a task
 * that the row has already (asked in another way, with another length) begins another row. Rows of
 * a model stand together, by unique experts, most first.
 */
MUST_CHECK enum status policies_print(const struct options *c, struct error *err);

#endif
