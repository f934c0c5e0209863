/*
 * Relative: what policies keep and save against one of them.
 */
#ifndef HARNESS_RELATIVE_H
#define HARNESS_RELATIVE_H

#include "base/status.h"
#include "harness/options.h"

/*
 * Print a row for each model, selector and way of decoding of the results file that --output names,
 * but for the selector that --against names: what it keeps of that one's accuracy and how many
 * fewer experts it reads, each with an interval, and whether these are --keep and --save. Only
 * answers to the same items under the same settings but for the selector are held against each
 * other. Where several models have a selector, a row of all of them follows. With --selector, only
 * these.
 */
MUST_CHECK enum status relative_print(const struct options *c, struct error *err);

#endif
