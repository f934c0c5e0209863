/*
 * Two runs on the same items: what is compared, whether it may be, and what comes out. The door of
 * results/ for the verbs `compare`, `gate` and `baseline`.
 *
 *   store_answers / baseline_read -> answer_set -> compare_sets -> comparison -> compare_*_put
 *
 * Everything handed out lives in the arena that was given.
 */
#ifndef RESULTS_COMPARE_H
#define RESULTS_COMPARE_H

#include "results/results.h"

/* ---- answers ---------------------------------------------------------------------------- */

/* One stored answer without its texts. */
struct answer_row {
    int64_t sample_id; /* 0: of a baseline file */
    size_t cell;       /* index into the set's cells */
    const char *task, *task_id;
    int sample_idx;
    const char *item_sha256, *reference_sha256, *prompt_sha256, *tokens_sha256;
    const char *verdict, *checker_version;
    const char *judge_mode; /* "": graded without running anything */
    bool is_passed;
    int64_t n_tokens_before_eos, n_forwards, n_layer_forwards, sum_unique, sum_expert_bytes;
    int64_t total_ns;
};

/* The answers of one setting: cells of a run that differ in nothing but the task. */
struct answer_set {
    const char *source; /* the file they come from, for messages */
    const char *run_id, *started, *status, *validity, *version, *git_commit;
    const char *label;      /* the selector, and what else tells it from the run's other settings */
    struct cell_row *cells; /* (n_cells) a task each */
    const char **cell_keys; /* (n_cells) */
    const char **run_ids;   /* (n_cells) the runs that the cells are of; NULL: all of run_id */
    double *seconds;        /* (n_cells) generating took, all answers; 0: not known */
    size_t n_cells;
    struct answer_row *rows; /* (n_rows) by task, item id and sample_idx */
    size_t n_rows;
};

/* The settings of a run, in the order of their first samples. ST_NOT_FOUND: no such run. */
MUST_CHECK enum status store_answer_sets(struct store *s, const char *source, const char *run_id,
                                         struct arena *arena, struct answer_set **ret,
                                         size_t *ret_n, struct error *err);

/*
 * The settings of all cells of a file, whatever the run: each cell as the newest valid run has it
 * that has any of it and is done. Run, time, version and commit of a setting are its first cell's.
 * ST_NOT_FOUND: there is no such run.
 */
MUST_CHECK enum status store_newest_sets(struct store *s, const char *source, struct arena *arena,
                                         struct answer_set **ret, size_t *ret_n, struct error *err);

/* The selector of sets[at], and of decoder, cache, backend, numeric mode, model, block and
 * generation length what is not the same in all n. In the arena; NULL: out of memory. */
const char *answer_set_label(const struct answer_set *const *sets, size_t n, size_t at,
                             struct arena *arena);

/* Same selector, decoder, cache, block length and temperature: the same place in a sweep, whatever
 * weights, program or backend it ran on. */
bool answer_sets_match(const struct answer_set *a, const struct answer_set *b);

/*
 * Keep the answers to the named tasks (separated by commas) only. ST_INVALID names a task that the
 * set has not.
 */
MUST_CHECK enum status answer_set_keep_tasks(struct answer_set *s, const char *tasks,
                                             struct error *err);

/* ---- baseline files --------------------------------------------------------------------- */

/*
 * A baseline file: JSON that holds of one setting of one run what a gate needs: cells, and of each
 * answer the item's id, verdict and the hashes of item, reference, prompt and tokens. Format:
 * results/baseline.c. The cells' datasets are read from the store. ST_MISMATCH: answers to a task
 * that several checkers graded, or `internal` verdicts.
 */
MUST_CHECK enum status baseline_write(struct store *s, const struct answer_set *set,
                                      struct buf *ret, struct error *err);

/* ST_INVALID names file, member and value; the cells must have the keys that they say. */
MUST_CHECK enum status baseline_read(const char *path, struct arena *arena, struct answer_set *ret,
                                     struct error *err);

/* Is the file one, by its first bytes? False too where it cannot be read. */
bool baseline_is_file(const char *path);

/* Store a baseline file's run with its cells and answers, which have no texts, tokens or timings.
 * ST_INVALID: the run is there already. */
MUST_CHECK enum status baseline_store(struct store *s, const char *path, struct answer_set *ret,
                                      struct arena *arena, struct error *err);

/* ---- comparing -------------------------------------------------------------------------- */

struct compare_pair {
    const struct answer_row *base, *cand;
    size_t task;
    int64_t cluster; /* equal: may depend on each other */
};

/* Of one task, or of all of them together. */
struct compare_task {
    const char *task;   /* "all": pooled */
    int64_t n;          /* pairs */
    int64_t a, b, c, d; /* both right, only base, only cand, both wrong */
    int64_t n_same;     /* pairs of equal tokens */
    int64_t n_noise;    /* of these, with different verdicts: the judge's own noise */
    double deff;        /* design effect of the clusters; n, b, c over it enter the bounds */
    struct stats_gate gate;
    struct stats_mcnemar mcnemar;
    double delta_low, delta_high; /* Tango's two-sided 95 % of (c - b) / n */
    double p_worse_holm;          /* gate.p_worse, Holm over the tasks: the guard of each task */
};

enum compare_rate_id {
    RATE_UNIQUE,       /* unique experts of a layer in a forward */
    RATE_EXPERT_BYTES, /* expert bytes read by a forward */
    RATE_FORWARDS,     /* forwards of an answer */
    RATE_TOKENS,       /* tokens before end-of-text of a forward */
    RATE_SECONDS,      /* of an answer, as the runs took them */
    N_RATES
};
struct compare_rate {
    const char *name;
    double base, cand, ratio, low, high; /* NaN: not measured; low, high of ratio, 95 % */
};

struct comparison {
    const struct answer_set *base, *cand;
    struct compare_pair *pairs;
    size_t n_pairs, n_tasks;
    struct compare_task *tasks; /* (n_tasks) by name */
    struct compare_task all;
    bool is_identical; /* all tokens equal */
    bool is_too_few;   /* fewer than 5 changes: McNemar can never tell */
    double margin;
    enum stats_outcome outcome;
    double p_worse_holm, p_not_inferior_holm; /* over the comparisons of one gate */
    double rel, rel_low, rel_high; /* relative accuracy, mean over tasks of cand / base, 95 % */
    struct compare_rate rates[N_RATES];
    uint64_t seed;
    int64_t n_draws;
    struct buf mismatches; /* lines: what differs that may not; released by compare_release() */
    size_t n_left_out;     /* answers of one side alone, or of `internal` verdicts */
};

struct compare_options {
    double margin;       /* 0 < margin < 1 */
    bool allow_mismatch; /* compare what both have; the differences stand in mismatches */
    bool has_intervals;  /* bootstrap relative accuracy and rates */
    bool is_fixed_suite; /* the outcome is a fact of these items: no inference */
    uint64_t seed;
    int64_t n_draws;
};

/*
 * Pair and count. ST_MISMATCH: other tasks, items, references, prompts, numbers of answers or
 * checkers; all kinds are named, with an example each. ST_INTERNAL: `internal` verdicts, unless
 * mismatches are allowed.
 *
 * The pooled loss weighs every item the same, so tasks weigh by their items; its bounds are those
 * of the pooled counts, which for fixed task sizes err on the safe side, over the design effect of
 * clusters: HumanEval Pro's item N with HumanEval/N, and the answers to one item. The effect is
 * estimated (at least 1) from 10 changed items on; with fewer, answers of a cluster count as equal.
 */
MUST_CHECK enum status compare_sets(const struct answer_set *base, const struct answer_set *cand,
                                    const struct compare_options *o, struct arena *arena,
                                    struct comparison *ret, struct error *err);
void compare_release(struct comparison *c);

/* Correct the outcomes of several candidates held against one baseline, by Holm. */
MUST_CHECK enum status compare_correct(struct comparison *const *c, size_t n, struct error *err);

/* ---- where two answers part ------------------------------------------------------------- */

/* The first denoising step after which two answers to a prompt were not alike. Positions count
 * generated tokens from 0; forwards from 0. */
struct compare_parting {
    bool is_known; /* both have tokens and steps */
    int32_t forward, block, step;
    int32_t position;               /* the first that differs then */
    int32_t base_token, cand_token; /* what it holds after that step; -1: still a mask */
};
/* NULL stores: not known. */
MUST_CHECK enum status compare_part(struct store *base, struct store *cand,
                                    const struct compare_pair *p, struct arena *arena,
                                    struct compare_parting *ret, struct error *err);

/* ---- keeping and telling ---------------------------------------------------------------- */

/* A row in the table `comparison` for each task and one for all. `made`: now, UTC. */
MUST_CHECK enum status store_put_comparison(struct store *s, const struct comparison *c,
                                            const char *made, struct error *err);

/*
 * JUnit XML: a suite "gate" with a case a comparison, and for each comparison a suite a task with a
 * case an item. Cases are failures only of comparisons that is_failed (n) says the gate stopped at,
 * so that a viewer is red when the exit code is: the gate's own case, and the items lost.
 */
void compare_put_junit(const struct comparison *const *c, size_t n, const bool *is_failed,
                       struct buf *ret);

#endif
