/*
 * Shared by the tests of results/: a scratch folder, rows that can be stored as they are, and
 * telemetry from a seed.
 */
#ifndef TESTS_RESULTS_FIXTURE_H
#define TESTS_RESULTS_FIXTURE_H

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/rng.h"
#include "results/internal.h"

#define HEX64(c)                                                                                   \
    c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c  \
        c c c c c c c c c c c c c c c c c

struct scratch {
    char dir[256], path[300]; /* path: a results file in dir, not made yet */
};

static inline void scratch_open(struct scratch *x)
{
    const char *tmp = getenv("TMPDIR");

    snprintf(x->dir, sizeof(x->dir), "%s/desbench-test-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    cr_assert_not_null(mkdtemp(x->dir), "cannot make %s", x->dir);
    snprintf(x->path, sizeof(x->path), "%s/r.sqlite", x->dir);
}

static inline void scratch_close(struct scratch *x)
{
    char command[400];

    snprintf(command, sizeof(command), "rm -rf '%s'", x->dir);
    cr_assert_eq(system(command), 0);
}

static inline struct run_row a_run(const char *run_id)
{
    return (struct run_row){
        .run_id = run_id,
        .started = "2026-11-22T06:51:19Z",
        .command = "desbench run -m 'a b'",
        .config_json = "{\"limit\": {\"value\": 3, \"from\": \"command line\"}}",
        .config_sha256 = HEX64("1"),
        .version = "0.1.0",
        .git_commit = "412fe1d",
        .git_dirty = true,
        .build_flags = "-O2",
        .compiler = "gcc 12.2.0",
        .env_json = "{\"host\": \"h\", \"cpu_model\": \"C\", \"gpus\": [{\"name\": \"G\"}]}",
        .sandbox_level = "full",
        .judge_mode = "one-process",
        .python_version = "3.11.2",
    };
}

static inline struct dataset_row a_dataset(void)
{
    return (struct dataset_row){ .name = "humaneval",
                                 .sha256 = HEX64("d"),
                                 .licence = "MIT",
                                 .source = "https://example.org",
                                 .n_items = 164 };
}

static inline struct cell_row a_cell(const char *selector)
{
    return (struct cell_row){
        .task = "humaneval",
        .dataset_sha256 = HEX64("d"),
        .prompt_form = "chat-oc",
        .prompt_sha256 = HEX64("8"),
        .model = "mini",
        .architecture = "LLaDAMoEModelLM",
        .load_format = "safetensors",
        .weights_sha256 = HEX64("2"),
        .config_sha256 = HEX64("3"),
        .tokenizer_sha256 = HEX64("4"),
        .template_sha256 = HEX64("5"),
        .selector = selector,
        .budget = "",
        .decoder = "threshold:threshold=0.95",
        .cache = "dual",
        .backend = "ref",
        .numeric_mode = "invariant",
        .gen_length = 256,
        .block_length = 32,
        .engine_results_version = 1,
        .temperature = 0,
        .n_layer = 3,
        .n_moe_layer = 2,
        .n_exp = 8,
        .top_k = 2,
        .expert_bytes = 1536,
        .weight_bytes = 123456,
    };
}

static inline struct sample_row a_sample(const char *run_id, const char *key, const char *task_id,
                                         int sample_idx)
{
    static const int32_t tokens[] = { 1, 70000, 0, 156892, 156892 };
    static const struct telemetry_forward forwards[] = {
        { .block = 0,
          .step = 0,
          .n_tok = 5,
          .n_masked_before = 4,
          .n_committed = 3,
          .is_cache_refresh = true,
          .wall_ns = 1000 },
        { .block = 0,
          .step = 1,
          .n_tok = 2,
          .n_masked_before = 1,
          .n_committed = 1,
          .n_edited = 2,
          .wall_ns = 500 },
    };
    static const struct telemetry_layer layers[] = {
        { .n_unique = 4,
          .n_rerouted = 1,
          .n_natural = 6,
          .n_core = 5,
          .kept_mass = 0.75f,
          .output_error = 0.125f,
          .expert_bytes = 4 * 1536 },
        { .n_unique = 3,
          .n_lost_top1 = 2,
          .n_natural = 5,
          .kept_mass = 1.0f,
          .expert_bytes = 3 * 1536 },
        { .n_unique = 2, .n_natural = 3, .kept_mass = 1.0f, .expert_bytes = 2 * 1536 },
        { .n_unique = 1, .n_natural = 2, .kept_mass = 0.5f, .expert_bytes = 1536 },
    };
    static const uint16_t loads[] = {
        3, 0, 0, 4, 0, 2, 0, 1, /* forward 0 layer 0 */
        0, 5, 0, 0, 4, 0, 0, 1, /*           layer 1 */
        2, 0, 0, 0, 0, 0, 0, 2, /* forward 1 */
        0, 0, 0, 0, 4, 0, 0, 0,
    };
    static const int32_t commit_step[] = { 0, 1, 0, 0, -1 };

    return (struct sample_row){
        .run_id = run_id,
        .cell_key = key,
        .item = { .dataset_sha256 = HEX64("d"),
                  .task_id = task_id,
                  .item_sha256 = HEX64("a"),
                  .reference_sha256 = HEX64("b"),
                  .subject = "Algebra",
                  .level = 4 },
        .sample_idx = sample_idx,
        .seed = -7,
        .prompt = "def f():\n    \"\"\"caf\xc3\xa9\"\"\"\n",
        .prompt_sha256 = HEX64("6"),
        .raw_output = "    return 1\n",
        .raw_output_len = 13,
        .extracted = "def f():\n    return 1\n",
        .extraction_method = "fence",
        .stop_reason = "eos",
        .tokens = tokens,
        .n_tokens_blob = 5,
        .tokens_sha256 = HEX64("7"),
        .n_prompt = 9,
        .n_gen_positions = 5,
        .n_tokens_before_eos = 3,
        .n_tokens_after_stop = 1,
        .n_forwards = 2,
        .n_forwards_cache = 1,
        .queue_ns = 10,
        .first_block_ns = 1500,
        .total_ns = 2000,
        .telemetry = { .has_output_error = true,
                       .n_forwards = 2,
                       .n_layer = 2,
                       .n_exp = 8,
                       .n_positions = 5,
                       .forwards = forwards,
                       .layers = layers,
                       .tokens_per_expert = loads,
                       .commit_step = commit_step },
        .verdict = { .checker_version = "code-1",
                     .verdict = "pass",
                     .is_passed = true,
                     .attempts = 1,
                     .judge_mode = "one-process",
                     .sandbox_level = "full",
                     .details = "",
                     .stdout_tail = "hi",
                     .also_json = "{\"strict\": true}",
                     .cpu_ns = 17000000,
                     .wall_ns = 18000000,
                     .max_rss_bytes = 9 << 20 },
    };
}

/* Everything a sample points at, stored; the cell's key in key. */
static inline struct store *store_with_run(const char *path, const char *run_id, char key[65])
{
    struct error err = { 0 };
    struct store *s = NULL;
    struct run_row run = a_run(run_id);
    struct dataset_row dataset = a_dataset();
    struct cell_row cell = a_cell("vanilla");

    cr_assert_eq(store_open(path, STORE_WRITE, &s, &err), ST_OK, "%s", err.text);
    cr_assert_eq(store_begin_run(s, &run, &err), ST_OK, "%s", err.text);
    cr_assert_eq(store_put_dataset(s, &dataset, &err), ST_OK, "%s", err.text);
    cr_assert_eq(store_put_cell(s, &cell, key, &err), ST_OK, "%s", err.text);
    return s;
}

/* Plausible telemetry of the given size, in arena: about a third of the experts run. */
static inline struct telemetry random_telemetry(struct arena *arena, uint64_t seed, int n_forwards,
                                                int n_layer, int n_exp, int n_positions)
{
    struct rng rng;
    size_t rows = (size_t)n_forwards * (size_t)n_layer;
    struct telemetry_forward *f = arena_array(arena, (size_t)n_forwards, sizeof(*f));
    struct telemetry_layer *l = arena_array(arena, rows, sizeof(*l));
    uint16_t *loads = arena_array(arena, rows * (size_t)n_exp, sizeof(*loads));
    int32_t *commit = arena_array(arena, (size_t)n_positions, sizeof(*commit));

    rng_seed(&rng, seed);
    for (int i = 0; i < n_forwards; i++)
        f[i] = (struct telemetry_forward){ i / 8,
                                           i % 8,
                                           32,
                                           (int)rng_below(&rng, 33),
                                           (int)rng_below(&rng, 5),
                                           i % 3,
                                           i % 8 == 0,
                                           (int64_t)rng_below(&rng, 30000000) };
    for (size_t i = 0; i < rows; i++) {
        int unique = 0;
        for (int e = 0; e < n_exp; e++) {
            uint64_t draw = rng_below(&rng, 9);
            loads[i * (size_t)n_exp + (size_t)e] = (uint16_t)(draw < 3 ? draw * draw + 1 : 0);
            unique += draw < 3;
        }
        l[i] = (struct telemetry_layer){ .n_unique = unique,
                                         .n_rerouted = (int)rng_below(&rng, 100),
                                         .n_lost_top1 = (int)rng_below(&rng, 9),
                                         .n_natural = unique + (int)rng_below(&rng, 5),
                                         .n_core = (int)rng_below(&rng, 9),
                                         .kept_mass = (float)rng_uniform(&rng),
                                         .output_error = seed % 2 ? (float)rng_uniform(&rng) : 0,
                                         .expert_bytes = (int64_t)unique * 6291456 };
    }
    for (int i = 0; i < n_positions; i++)
        commit[i] = (int32_t)rng_below(&rng, (uint64_t)n_forwards + 1) - 1;
    return (struct telemetry){ n_forwards, n_layer, n_exp, n_positions, seed % 2,
                               f,          l,       loads, commit };
}

static inline bool is_same_telemetry(const struct telemetry *a, const struct telemetry *b)
{
    size_t rows = (size_t)a->n_forwards * (size_t)a->n_layer;

    if (a->n_forwards != b->n_forwards || a->n_layer != b->n_layer || a->n_exp != b->n_exp ||
        a->n_positions != b->n_positions || a->has_output_error != b->has_output_error)
        return false;
    for (int i = 0; i < a->n_forwards; i++) {
        const struct telemetry_forward *x = &a->forwards[i], *y = &b->forwards[i];
        if (x->block != y->block || x->step != y->step || x->n_tok != y->n_tok ||
            x->n_masked_before != y->n_masked_before || x->n_committed != y->n_committed ||
            x->n_edited != y->n_edited || x->is_cache_refresh != y->is_cache_refresh ||
            x->wall_ns != y->wall_ns)
            return false;
    }
    for (size_t i = 0; i < rows; i++) {
        const struct telemetry_layer *x = &a->layers[i], *y = &b->layers[i];
        if (x->n_unique != y->n_unique || x->n_rerouted != y->n_rerouted ||
            x->n_natural != y->n_natural || x->n_core != y->n_core ||
            memcmp(&x->output_error, &y->output_error, sizeof(float)) != 0 ||
            x->n_lost_top1 != y->n_lost_top1 || x->expert_bytes != y->expert_bytes ||
            memcmp(&x->kept_mass, &y->kept_mass, sizeof(float)) != 0) /* NaN counts as itself */
            return false;
    }
    for (size_t i = 0; i < rows * (size_t)a->n_exp; i++)
        if (a->tokens_per_expert[i] != b->tokens_per_expert[i])
            return false;
    for (int i = 0; i < a->n_positions; i++)
        if (a->commit_step[i] != b->commit_step[i])
            return false;
    return true;
}

#endif
