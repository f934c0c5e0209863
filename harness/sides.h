/*
 * The sides of a comparison: runs as the command line names them, and which of their settings are
 * held against which.
 */
#ifndef HARNESS_SIDES_H
#define HARNESS_SIDES_H

#include "harness/options.h"
#include "harness/verb.h"
#include "results/compare.h"

/* A run, or a baseline file. */
struct side {
    struct store *store; /* NULL: a baseline file */
    const char *path;
    struct answer_set *sets; /* (n_sets) its settings, those asked for */
    size_t n_sets;
};

/*
 * Open what "[RESULTS:]RUN[@SETTING]" names. RESULTS: a folder or file of results, --results where
 * it is left out; RUN: id, beginning of one, or `last`; RESULTS alone means its last run. SETTING:
 * a selector, the beginning of a cell's key, or a setting's whole label. Or a baseline file.
 * --tasks narrows it. Strings live in the arena. side_close() also after a failure.
 */
MUST_CHECK enum status side_open(const struct options *c, const char *spec, struct arena *arena,
                                 struct side *ret, struct error *err);
/* The same, but RESULTS alone, or spec NULL for --results, means all cells of the file: each of the
 * newest run that is done and valid. Settings that lack one of --tasks are left out. */
MUST_CHECK enum status side_open_newest(const struct options *c, const char *spec,
                                        struct arena *arena, struct side *ret, struct error *err);
void side_close(struct side *s);

/* What is compared with what: candidates' sets and for each the baseline's. */
struct matchup {
    const struct answer_set *base, *cand;
};

/*
 * A baseline of one setting is held against every setting of the candidate but itself; of several,
 * each against its like. ST_INVALID: a setting without its like, or several.
 */
MUST_CHECK enum status sides_match(const struct side *base, const struct side *cand,
                                   struct arena *arena, struct matchup **ret, size_t *ret_n,
                                   struct error *err);

/*
 * Can the answers be used? ST_INTERNAL: `internal` verdicts; ST_MISMATCH: a run marked INVALID.
 * Of a run that is not done, *ret_exit is EXIT_INCOMPLETE and a message is logged.
 */
MUST_CHECK enum status side_check(const struct answer_set *s, enum exit_code *ret_exit,
                                  struct error *err);

#endif
