/* What the files behind results/report.h share. */
#ifndef RESULTS_REPORT_IMPL_H
#define RESULTS_REPORT_IMPL_H

#include "results/claims.h"
#include "results/csv_out.h"
#include "results/report.h"

/* ---- what the store adds to answers ----------------------------------------------------- */

/* Of a sample. */
struct sample_facts {
    int64_t sample_id, judge_ns; /* 0: graded without running anything */
    int level;                   /* of its item; 0: none */
};
/* A layer of a cell, summed over forwards. */
struct layer_use {
    const char *cell_key;
    int layer;
    int64_t n_forwards, n_unique, n_rerouted, n_lost_top1;
    double kept_mass; /* mean over forwards */
};
/* Forwards of a cell that committed so many positions. */
struct commit_count {
    const char *cell_key;
    int64_t n_committed, n_forwards;
};

/* Say which cells of which runs the calls below and claims_answer() read, until the store is
 * closed: those of the sets. Kept in tables of the connection, temp.covered and temp.answer. */
MUST_CHECK enum status store_cover(struct store *s, const struct answer_set *sets, size_t n,
                                   struct error *err);

/* All that is covered, without `internal` verdicts; by sample_id; by cell key, then layer; by cell
 * key, then n_committed. (n) rows in the arena. */
MUST_CHECK enum status store_sample_facts(struct store *s, struct arena *arena,
                                          struct sample_facts **ret, size_t *ret_n,
                                          struct error *err);
MUST_CHECK enum status store_layer_uses(struct store *s, struct arena *arena,
                                        struct layer_use **ret, size_t *ret_n, struct error *err);
MUST_CHECK enum status store_commit_counts(struct store *s, struct arena *arena,
                                           struct commit_count **ret, size_t *ret_n,
                                           struct error *err);

/* ---- the numbers ------------------------------------------------------------------------ */

struct report_run {
    struct run_row row;
    struct run_summary summary;
    const char *source;          /* the file */
    const struct cell_row *cell; /* the first of its cells */
};

/* What one call of report_add() read. */
struct report_source {
    struct sample_facts *facts; /* (n_facts) by sample_id */
    struct layer_use *layers;
    struct commit_count *commits;
    size_t n_facts, n_layers, n_commits;
};

struct report_value {
    double value, low, high; /* NaN: not known */
    const char *method;      /* of the interval: "wilson-95", "bootstrap-95"; "": none */
};

/* Sums over answers, and what follows. */
struct report_tally {
    int64_t n_items, n_samples, n_passed, max_per_item, n_internal;
    int64_t n_tokens, n_forwards, n_layer_forwards, sum_unique, sum_bytes;
    int64_t n_committed, n_commit_forwards;        /* of stored telemetry */
    double sum_score;                              /* over items, of their share of right answers */
    double seconds;                                /* generating took; 0: not known */
    double gen_p50, gen_p95, judge_p50, judge_p95; /* seconds of an answer; NaN: not known */
    struct report_value score;
};

struct report_cell {
    size_t policy, cell; /* index into the policy's set */
    struct report_tally t;
};

struct report_policy {
    const struct answer_set *set;
    const struct report_source *source;
    const char *name; /* of it alone */
    size_t group;     /* policies of a group answered the same items with the same model */
    struct report_tally t;
    struct report_value unique, forwards; /* a layer and forward; an answer */
    double frontier;  /* probability that no policy of its group beats it; NaN: it is alone */
    bool is_on_front; /* none does in the sample itself */
};

/* Answers to items of one level. */
struct report_class {
    size_t policy, cell;
    int level;
    int64_t n_items;
    struct report_value score;
};

struct report {
    struct report_options options;
    struct arena arena;
    struct {
        struct report_run **p; /* (n) */
        size_t n;
    } runs;
    struct report_policy *policies;
    size_t n_policies, n_groups;
    struct report_cell *cells;
    size_t n_cells;
    struct report_class *classes;
    size_t n_classes;
    struct claims claims;
    struct claim_answer *answers; /* (claims.n) */
    struct report_file *files;
    size_t n_files;
};

/* Fill in cells, groups, intervals and classes. */
MUST_CHECK enum status report_compute(struct report *r, struct error *err);

/* The cell_row of a cell. */
const struct cell_row *report_cell_row(const struct report *r, const struct report_cell *c);

/* Rates of a tally; NaN where they were not measured. */
double report_unique(const struct report_tally *t);
double report_tok_per_s(const struct report_tally *t);
double report_tok_per_forward(const struct report_tally *t);
double report_forwards(const struct report_tally *t); /* an answer */
double report_bytes_per_commit(const struct report_tally *t);
double report_bytes_per_right(const struct report_tally *t);

/* ---- the texts -------------------------------------------------------------------------- */

/* A figure: drawing without its <svg> element, data, and words. */
struct figure {
    const char *id, *title, *note; /* id: name of the files; note: what it shows and how */
    double height;                 /* FIGURE_WIDTH units wide; 0: there is nothing to show */
    struct buf body, csv;
};
enum { FIGURE_WIDTH = 400 };

/* All figures that have data, (n) in the arena; released by figures_release(). */
MUST_CHECK enum status report_draw(struct report *r, struct figure **ret, size_t *ret_n,
                                   struct error *err);
void figures_release(struct figure *f, size_t n);

/* The page, with figures in it, and the tables as CSV. */
void report_put_page(const struct report *r, const struct figure *f, size_t n, struct buf *ret);
void report_put_cells(const struct report *r, struct buf *ret_csv);
void report_put_runs(const struct report *r, struct buf *ret_csv);

extern const char figure_style[]; /* CSS of what is drawn */

#endif
