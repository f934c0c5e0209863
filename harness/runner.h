/*
 * Runner: carries every sample of a plan from prompt to stored verdict.
 *
 *   prompt -> ids -> sequence (engine slot) -> text -> extraction -> program -> judge -> store
 *                                                   \-> answer -----> grade --------/
 *
 * One thread drives the engine; judge workers run programs meanwhile. A sample is written in
 * one transaction when its verdict is known, so that whatever stops the run, the store holds
 * whole samples only.
 */
#ifndef HARNESS_RUNNER_H
#define HARNESS_RUNNER_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "engine/engine.h"
#include "harness/judge/judge.h"
#include "harness/plan.h"
#include "results/results.h"

enum { RUNNER_MAX_SLOTS = 256 };

/* Where a run stands in a series of them, for progress; zeroed: it is alone. */
struct runner_series {
    size_t n_samples_before, n_samples_after; /* of other runs: carried out, and to come */
    size_t n_cells_before, n_cells_after;     /* likewise; those before may be of earlier days */
    double n_positions_after;
};

struct runner_options {
    const struct plan *plan;
    struct engine *engine;
    struct judge *judge; /* NULL when no task of the plan has code */
    struct store *store;
    const char *run_id;
    bool is_resumed; /* leave out what the run has in the store */
    uint64_t seed;
    unsigned compat;  /* of enum task_compat */
    int n_slots;      /* sequences in flight, <= RUNNER_MAX_SLOTS and the engine's max_batch */
    int kernel_times; /* one of so many steps is timed part by part; 0: none */
    struct runner_series series;
    const char *progress; /* "auto", "always", "never" */
    bool is_quiet;
    const volatile sig_atomic_t *n_stops; /* 1: finish what is being judged; 2: drop it */
};

/* Of this process alone, but for n_kept. */
struct runner_totals {
    size_t n_kept; /* samples that a resumed run had before */
    size_t n_stored, n_passed, n_internal;
    int64_t n_tokens_before_eos; /* of all samples generated */
    int64_t step_ns;             /* spent in forwards and commits, however many samples at once */
    int64_t wall_ns;
};

/* A sample's own seed: from the run's seed, the item and the repetition, not from its turn. */
uint64_t runner_seed(uint64_t seed, const char *task, const char *id, int idx);

/* The cells of a plan as they are stored, in its order: (n_cells) rows in the arena. */
MUST_CHECK enum status runner_cells(const struct plan *p, const struct engine *e, struct arena *a,
                                    struct cell_row **ret, struct error *err);

/* An item of a task as it is stored; it points into *facts, which is filled. */
struct item_row runner_item(const struct plan_task *t, size_t item, struct task_item *facts);

/*
 * ST_INTERRUPTED when stopped by request (everything judged by then is stored); any other
 * failure names the sample. *ret is valid in every case.
 */
MUST_CHECK enum status runner_run(const struct runner_options *opts, struct runner_totals *ret,
                                  struct error *err);

#endif
