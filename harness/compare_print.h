/*
 * What `compare` and `gate` print: tables for people (text, Markdown), CSV, one JSON object.
 */
#ifndef HARNESS_COMPARE_PRINT_H
#define HARNESS_COMPARE_PRINT_H

#include "harness/options.h"
#include "results/compare.h"

/* An item whose verdict changed. */
struct flip {
    const struct compare_pair *pair;
    struct compare_parting parting;
};

/* One comparison with its flips: losses first. */
struct told {
    struct comparison c;
    struct flip *flips;
    size_t n_flips;
};

/* How much neutral changes change: runs that --noise named, against the baseline. */
struct noise {
    int64_t n_runs, n, n_changed, n_other_tokens;
    double low, high; /* Wilson, 95 %, of n_changed / n */
};

struct telling {
    const struct options *options;
    bool is_gate;
    bool is_fixed_suite;
    struct told *told;
    size_t n_told;
    struct noise noise;    /* n_runs 0: not measured */
    const char *undecided; /* what --undecided says, or is by default */
    int exit_code;
};

/* On stdout, in the form of --format. */
MUST_CHECK enum status compare_print(const struct telling *t, struct error *err);

/* As Markdown, for a step summary. */
MUST_CHECK enum status compare_put_markdown(const struct telling *t, struct buf *ret,
                                            struct error *err);

#endif
