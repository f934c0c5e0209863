/*
 * What a candidate keeps of a baseline's accuracy, and how many fewer experts it reads for it: over
 * the tasks of a model, or over several models together.
 *
 *   store_cell_pairs (a task of a model each) -> relative_answer (n) -> relative_estimate
 */
#ifndef RESULTS_RELATIVE_H
#define RESULTS_RELATIVE_H

#include "results/results.h"

/* Unique experts, summed over layers of forwards; of these, forwards that filled no cache. */
struct relative_cost {
    double unique, layers, block_unique, block_layers;
};

/* The answers of baseline and candidate to one item. */
struct relative_answer {
    const char *task, *task_id;
    size_t model; /* 0, 1, ... as the caller counts them */
    bool is_base_right, is_cand_right;
    const char *cand_run; /* that made the candidate's answer */
    struct relative_cost base, cand;
};

/*
 * The answers that two cells of a file have to the same items, graded by the same rules, appended
 * to
 * (*n) of a list in the arena: of each cell, the done and valid run with most items, of these the
 * newest. None may be found.
 */
struct relative_list {
    struct relative_answer *answers;
    size_t n, cap;
};
MUST_CHECK enum status store_cell_pairs(struct store *s, const char *base_key, const char *cand_key,
                                        size_t model, struct arena *arena,
                                        struct relative_list *list, struct error *err);

struct relative {
    int64_t n, a, b, c, d; /* answers; both right, only the baseline, only the candidate, none */
    double deff;           /* design effect of answers to one item, as in compare_sets() */
    /* Mean over the tasks of each model of candidate / baseline; bootstrap, 95 %. */
    double accuracy, accuracy_low, accuracy_high;
    /* All right answers, candidate / baseline; score bounds, each at 1 - alpha / 2. Other than
     * drawing items again, they are not sure of more than so many items can show where no verdict
     * changed. */
    double kept, kept_low, kept_high;
    /* 1 - candidate / baseline of unique experts a layer and forward, mean over models; bootstrap,
     * 95 %. Of all forwards, and of those that filled no cache, where [1] is 1 - alpha. NaN: not
     * measured. */
    double saved, saved_low, saved_high;
    double saved_block, saved_block_low[2], saved_block_high[2];
};

/* 0 < alpha <= 0.05. Draws whole items, within tasks, with everything that was answered of them by
 * any model. ST_NOMEM. */
MUST_CHECK enum status relative_estimate(const struct relative_answer *x, size_t n, double alpha,
                                         int64_t n_draws, uint64_t seed, struct relative *ret,
                                         struct error *err);

/* Is at least `keep` of the accuracy kept and at least `save` of the experts in a block saved?
 * YES: both bounds at alpha say so; NO: one of them excludes it. */
enum relative_answers { RELATIVE_YES, RELATIVE_NO, RELATIVE_OPEN };
enum relative_answers relative_decide(const struct relative *r, double keep, double save);

#endif
