/*
 * Stored: what finished runs of a results file have of a plan, so that nothing is computed twice.
 *
 * A cell is stored where one finished, valid run holds all its samples: cells with the same key
 * (all that decides tokens), the same items, repetitions and seed of the run, graded by the same
 * rules under the same limits. Parts of a cell are not put together from several runs.
 */
#ifndef HARNESS_STORED_H
#define HARNESS_STORED_H

#include "harness/session.h"

/*
 * Find them for an open session whose run has its id, or none yet (run_id NULL). Fills s->cells,
 * and leaves in the plan the cells that are not stored, and those that the run has samples of
 * already.
 */
MUST_CHECK enum status stored_skip(struct session *s, struct error *err);

/*
 * The newest run of the file that was to do what these options ask for, if it came to no end; with
 * its configuration alike but for where things lie, how fast they go and what is printed.
 * *ret_found says whether there is one; *ret lies in the arena.
 */
MUST_CHECK enum status stored_find_unfinished(struct store *store, const struct options *c,
                                              struct arena *a, bool *ret_found, struct run_row *ret,
                                              struct error *err);

#endif
