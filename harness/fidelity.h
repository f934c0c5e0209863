/*
 * What the files of the verb `fidelity` share: what selectors do to single forwards, in sums that
 * tables and intervals are made of.
 */
#ifndef HARNESS_FIDELITY_H
#define HARNESS_FIDELITY_H

#include "base/arena.h"
#include "base/status.h"
#include "engine/engine.h"
#include "harness/options.h"

/* Quarters of a block that is still masked, before a forward: (0, 1/4], (1/4, 1/2], ... */
enum { FIDELITY_BUCKETS = 4 };

/* Sums over forwards, all of them numbers so that they can be drawn again (results/stats.h). */
enum {
    FID_POSITIONS,
    FID_KL,
    FID_DELTA_P,
    FID_SAME,
    FID_FLIPS,
    FID_LAYERS, /* layers of forwards */
    FID_ERROR,  /* sum of their output errors */
    FID_UNIQUE, /* experts that ran */
    N_FID
};

/* An item: sums by bucket, and by layer (of these the last three). */
struct fidelity_item {
    int task;
    double buckets[FIDELITY_BUCKETS][N_FID];
    double *layers; /* (n_layer, N_FID) */
};

struct fidelity_selector {
    const char *name;            /* canonical */
    struct fidelity_item *items; /* (n_items) those of a task together */
    struct fidelity_kl {
        float kl;
        uint8_t task, bucket;
    } * kls; /* (n_kls) of every position */
    size_t n_kls, cap_kls;
};

struct fidelity {
    const struct options *c;
    struct arena arena;
    const char **tasks; /* (n_tasks) */
    size_t *task_end;   /* (n_tasks) item one past the task's last */
    size_t n_tasks, n_items;
    int n_layer;
    struct fidelity_selector *selectors;
    size_t n_selectors;
    const char **cell_keys; /* (n_tasks, n_selectors) as a run of them would be stored */
    int64_t n_forwards, n_refresh;
    const char *weights_sha256;
};

/* Is --results given: shall stored scores stand beside? */
static inline bool fidelity_has_results(const struct fidelity *f)
{
    return f->c->values[OPT_RESULTS].source == SOURCE_COMMAND_LINE;
}

/* Before hours of work: can the file that --results names, if any, be read? As store_open(). */
MUST_CHECK enum status fidelity_check_results(const struct fidelity *f, struct error *err);

/* Scores over the tasks compared, of runs that are stored in the file that --results names. */
struct fidelity_scores {
    double *scores;       /* (n_selectors) share of the same items; NaN: not stored for all tasks */
    size_t n_items;       /* of all tasks */
    size_t n_other_cells; /* of these selectors and weights under other settings: not counted */
};
MUST_CHECK enum status fidelity_read_scores(struct fidelity *f, struct fidelity_scores *ret,
                                            struct error *err);

/* Print all of it. With --results, also how scores go with divergence over the selectors. */
MUST_CHECK enum status fidelity_print(struct fidelity *f, struct error *err);

#endif
