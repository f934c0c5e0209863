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

/* Experts that a layer would read for so many answers of a cell decoded side by side. */
struct batch_union {
    const char *cell_key;
    int batch;
    int64_t n_layers, sum; /* layers of forwards, and over them the experts of all answers */
};
/* What the forwards of the covered answers did. */
struct forward_facts {
    struct layer_use *layers; /* (n_layers) by cell key, then layer */
    struct commit_count *commits;
    struct batch_union *unions; /* by cell key, then batch: 1, 2, 4, 8, 16 */
    size_t n_layers, n_commits, n_unions;
};

/* All that is covered, without `internal` verdicts. Rows lie in the arena; those of samples (n) by
 * sample_id. */
MUST_CHECK enum status store_sample_facts(struct store *s, struct arena *arena,
                                          struct sample_facts **ret, size_t *ret_n,
                                          struct error *err);
/*
 * The unions are of the forwards of a block, those that fill a cache left out, of the first 64
 * answers: dealt to as many places as the batch has, each place decoding its answers one after
 * another, until the first one has none left.
 */
MUST_CHECK enum status store_forward_facts(struct store *s, struct arena *arena,
                                           struct forward_facts *ret, struct error *err);

/* Times of a part of the forwards of a cell (all layers), and what energy its windows took. */
struct part_sum {
    const char *cell_key, *name;
    int max_tok;
    int64_t n_forwards, n_tok, n_unique, ns;
};
struct energy_sum {
    const char *cell_key;
    int64_t n_committed;
    double joules;
};
struct measured_facts {
    struct part_sum *parts; /* by cell key, size, name */
    struct energy_sum *energies;
    size_t n_parts, n_energies;
};
MUST_CHECK enum status store_measured_facts(struct store *s, struct arena *arena,
                                            struct measured_facts *ret, struct error *err);

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
    size_t n_facts;
    struct forward_facts forwards;
    struct measured_facts measured;
};

struct report_value {
    double value, low, high; /* NaN: not known */
    const char *method;      /* of the interval: "wilson-95", "bootstrap-95"; "": none */
};

/* What a policy costs: the other axis of a frontier. */
enum report_cost {
    COST_UNIQUE,  /* unique experts of a layer and forward */
    COST_BYTES,   /* expert bytes of an answer */
    COST_SECONDS, /* of a forward */
    N_COSTS
};

/* Sums over answers, and what follows. */
struct report_tally {
    int64_t n_items, n_samples, n_passed, max_per_item, n_internal;
    int64_t n_tokens, n_forwards, n_layer_forwards, sum_unique, sum_bytes;
    int64_t sum_ns;                                /* of answers, each from its start to its end */
    int64_t n_committed, n_commit_forwards;        /* of stored telemetry */
    double sum_score;                              /* over items, of their share of right answers */
    double seconds;                                /* generating took; 0: not known */
    double gen_p50, gen_p95, judge_p50, judge_p95; /* seconds of an answer; NaN: not known */
    struct report_value score;
};

/* A paired test against what differs in the selector alone and is vanilla. */
struct report_mark {
    int64_t lost, gained; /* items that vanilla alone, or this alone, has right */
    double p;             /* two-sided, Holm over the tests of its kind in the group; NaN: none */
};

struct report_cell {
    size_t policy, cell; /* index into the policy's set */
    struct report_tally t;
    struct report_mark mark;
};

struct report_policy {
    const struct answer_set *set;
    const struct report_source *source;
    const char *name; /* of it among those of its model */
    size_t group;     /* policies of a group answered the same items with the same model */
    size_t color;     /* policies of one name before ':' have one */
    struct report_tally t;
    struct report_mark mark;
    struct report_value costs[N_COSTS], forwards; /* an answer */
    double frontier[N_COSTS];  /* probability that none of its group beats it; NaN: it is alone */
    bool is_on_front[N_COSTS]; /* none does in the sample itself */
};

/* Policies first .. first + n - 1. */
struct report_group {
    const char *title; /* its model, and what else tells it from other groups */
    size_t first, n;
};

/* A line through the policies of a group that differ in the selector alone: seconds of a forward by
 * unique experts. */
struct report_fit {
    size_t policy; /* the first of them */
    size_t n;
    struct report_value slope, intercept; /* seconds an expert of each layer; seconds */
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
    struct report_policy *policies; /* (n_policies) by group */
    size_t n_policies;
    struct report_group *groups;
    size_t n_groups;
    struct report_fit *fits;
    size_t n_fits;
    struct roofline *rooflines; /* of bench records */
    size_t n_rooflines;
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

/* Of its groups, once tallies are there: intervals and frontiers, marks, fits (report_groups.c). */
MUST_CHECK enum status report_compare_groups(struct report *r, struct error *err);

/* Do two policies of one group differ in the selector alone? */
bool report_is_sibling(const struct report_policy *a, const struct report_policy *b);
/* The sibling that is vanilla; NULL: there is none, or it is one itself. */
const struct report_policy *report_vanilla(const struct report *r, const struct report_policy *p);
bool report_is_internal(const struct answer_row *a); /* the judge failed on it */

/* Room for n more elements at the end of a heap array. */
bool report_grow(void **array, size_t n, size_t n_more, size_t size);

/* The cell_row of a cell. */
const struct cell_row *report_cell_row(const struct report *r, const struct report_cell *c);

/* Rates of a tally; NaN where they were not measured. */
double report_cost(const struct report_tally *t, enum report_cost cost);
double report_unique(const struct report_tally *t);
double report_tok_per_s(const struct report_tally *t);
double report_tok_per_forward(const struct report_tally *t);
double report_forwards(const struct report_tally *t); /* an answer */
double report_bytes_per_commit(const struct report_tally *t);
double report_bytes_per_right(const struct report_tally *t);

/* Machine and results of a record of `bench --json`. */
struct roofline {
    const char *title; /* "cpu (amx, 2 threads), llada-moe-7b-a1b" */
    double read_rate;  /* bytes a second */
    struct roofline_peak {
        const char *name; /* of the instruction set */
        double rate;      /* operations a second */
    } * peaks;
    struct roofline_point {
        const char *name, *shape;
        double bytes, flops, median_ns, min_ns, max_ns;
    } * points;
    size_t n_peaks, n_points;
};

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
