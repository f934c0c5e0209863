/*
 * Claims: statements about policies and models, each with the query that answers it, and what a
 * results file says of them.
 *
 *   claims_read -> claims_answer -> claims_put_*; plans/claims.yaml is such a file
 *
 * A claim's query is SQL over temp.answer and temp.paired (store_report.c), or the file's own
 * tables. Its rows are answers, or what else can be drawn with replacement: columns subject, task,
 * item, then the numbers of the claim's statistic. Rows of a subject (a model, a policy of a model)
 * are summed up and make one value:
 *
 *   rate               a, b            sum a / sum b
 *   ratio              a, b, c, d      (sum a / sum b) / (sum c / sum d)
 *   relative-accuracy  a, c            mean over tasks of sum a / sum c
 *   gap                policy, role, right, unique, layers: see below
 *
 * with a percentile interval by stats_bootstrap() over items, tasks being strata and items of one
 * parent staying together. A claim's subjects share its error: each interval has 1 - 0.05 / n. That
 * of a relative accuracy is widened to what Tango's bounds of the paired loss leave open, as
 * without changed answers no draw has any; where no draw differs, other statistics have no
 * interval.
 *
 * gap: how much higher policies of role `claimed` are in relative accuracy than the frontier of
 * those of role `rival` or `vanilla` at the same unique experts a layer, mean over them. Relative
 * accuracy is that to `vanilla`, which every subject has once; the frontier goes straight from one
 * rival that no rival beats to the next. Beyond the rival with the most experts its accuracy
 * stands; one claimed with fewer experts than all rivals counts by how much it is better than the
 * rival with the fewest, or as 0: it can be better there, not worse. Policies that have not all
 * rows of the subject are left out.
 */
#ifndef RESULTS_CLAIMS_H
#define RESULTS_CLAIMS_H

#include <stdbool.h>

#include "results/results.h"

enum claim_statistic { CLAIM_RATE, CLAIM_RATIO, CLAIM_RELATIVE_ACCURACY, CLAIM_GAP };

/* What the value must be for the claim to hold. */
enum claim_expect {
    CLAIM_ABOVE,   /* x: the interval lies above it */
    CLAIM_BELOW,   /* x: below it */
    CLAIM_ABOUT,   /* x: not farther from it than `within` */
    CLAIM_EXACTLY, /* x, in every row: a rule that one row can break */
};

enum claim_verdict { CLAIM_SUPPORTED, CLAIM_REFUTED, CLAIM_NOT_TESTABLE, CLAIM_ILL_POSED };
const char *claim_verdict_name(enum claim_verdict v); /* "not testable here", ... */

struct claim {
    int64_t id;
    const char *text, *metric, *query;
    const char *needs; /* what results must have for the query to find anything */
    enum claim_statistic statistic;
    enum claim_expect expect;
    double x, within;
    bool is_some; /* holds if some subject shows it; else every one must */
    /* Or NULL. The first two decide the verdict, whatever the query finds. */
    const char *ill_posed, *not_testable, *note;
};

struct claims {
    struct claim *items; /* (n) in the file's order */
    size_t n;
};

/* Parse a file's text; name is for messages. Texts lie in the arena. ST_INVALID names claim and
 * key: an unknown one, one missing, a value of another kind or out of range, an id given twice. */
MUST_CHECK enum status claims_read(const char *text, size_t len, const char *name,
                                   struct arena *arena, struct claims *ret, struct error *err);

struct claim_case {
    const char *subject;
    size_t n_items;    /* rows */
    double value;      /* NaN: not defined */
    double low, high;  /* NaN: no interval */
    double resolution; /* difference from x that four of five such samples would show; NaN: none */
    enum claim_verdict verdict; /* CLAIM_NOT_TESTABLE: open */
};

struct claim_answer {
    const struct claim *claim;
    enum claim_verdict verdict;
    const char *why;
    struct claim_case *cases; /* (n) in the order of their first rows */
    size_t n;
};

/*
 * Ask all claims of what store_cover() chose: ret (claims->n), in the arena. ST_INVALID: a query
 * is not one, would write, or has other columns; claim and fault are named.
 */
MUST_CHECK enum status claims_answer(const struct claims *claims, struct store *s, int64_t n_draws,
                                     uint64_t seed, struct arena *arena, struct claim_answer **ret,
                                     struct error *err);

/* For a terminal; as CSV, a row for each case, and for each claim without cases; as HTML. */
void claims_put_text(const struct claim_answer *a, size_t n, struct buf *ret);
void claims_put_csv(const struct claim_answer *a, size_t n, struct buf *ret);
void claims_put_html(const struct claim_answer *a, size_t n, struct buf *ret);

/* ---- between claims.c and the store ----------------------------------------------------- */

enum { CLAIM_MAX_NUMBERS = 4 };

struct claim_row {
    const char *subject, *task, *item;
    const char *policy, *role; /* of a gap */
    double x[CLAIM_MAX_NUMBERS];
};

/* Run a query with 3 + n_texts text columns and then n_numbers numbers; ret (n) in the arena. */
MUST_CHECK enum status store_claim_rows(struct store *s, const char *sql, int n_texts,
                                        int n_numbers, struct arena *arena, struct claim_row **ret,
                                        size_t *ret_n, struct error *err);

#endif
