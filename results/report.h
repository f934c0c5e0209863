/*
 * The report of one or several runs: a page, figures and tables as the texts of files. The door of
 * results/ for the verb `report`.
 *
 *   report_new -> report_add (a run each) ... -> report_make -> report_free
 *
 * The same results give the same bytes: nothing in it depends on when or where it is made. What
 * was not measured is left out: an empty field of CSV, no bar, no row, no figure.
 */
#ifndef RESULTS_REPORT_H
#define RESULTS_REPORT_H

#include "results/compare.h"

struct report;

struct report_options {
    const char *version; /* of the program that makes it */
    /* A task's own word for the level of its items ("depth"); NULL: it has none. */
    const char *(*level_name)(const char *task);
    int64_t n_draws; /* of the bootstrap, STATS_MIN_DRAWS at least */
    uint64_t seed;
    bool has_png; /* of each figure there will be NAME.png as well: the page points at it */
};

/* ST_NOMEM. The options' texts are borrowed. */
MUST_CHECK enum status report_new(const struct report_options *o, struct report **ret,
                                  struct error *err);
void report_free(struct report *r); /* accepts NULL */

/*
 * Add n settings of one run of a store. They are borrowed until report_free(), the store only
 * during the call. Answers with verdict `internal` are counted, and in no score or rate.
 */
MUST_CHECK enum status report_add(struct report *r, struct store *s, const struct answer_set *sets,
                                  size_t n, struct error *err);

/*
 * Ask claims (results/claims.h) of what the last report_add() added, whose store is still open: the
 * text of a file of claims, and its name for messages. Once for a report. ret_text: what was found,
 * for a terminal.
 */
MUST_CHECK enum status report_answer_claims(struct report *r, struct store *s, const char *text,
                                            size_t len, const char *name, struct buf *ret_text,
                                            struct error *err);

/*
 * Add a record of `desbench bench --json`: its text, and a name for messages. ST_INVALID names the
 * field. Records without ceilings make no figure.
 */
MUST_CHECK enum status report_add_bench(struct report *r, const char *text, size_t len,
                                        const char *name, struct error *err);

/* One file: a name without a folder, and its bytes, which live until report_free(). */
struct report_file {
    const char *name;
    struct buf text;
};

/* report.html; cells.csv and runs.csv; claims.csv where claims were asked; of each figure NAME.svg
 * and NAME.csv. Once for a report. */
MUST_CHECK enum status report_make(struct report *r, const struct report_file **ret, size_t *ret_n,
                                   struct error *err);

#endif
