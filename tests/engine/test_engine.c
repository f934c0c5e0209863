/* The engine as its callers see it: real checkpoints, every backend of the build. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/engine.h"
#include "engine/sequence.h"
#include "kernels/kernels.h"
#include "tests/base/fail_malloc.h"

static char dir_bf16[4096], dir_f32[4096], dir_llada2[4096];

static void setup(void)
{
    const char *tests = getenv("DESBENCH_TESTS");

    cr_assert_not_null(tests, "DESBENCH_TESTS is not set");
    snprintf(dir_bf16, sizeof(dir_bf16), "%s/vectors/model/tiny-bf16", tests);
    snprintf(dir_f32, sizeof(dir_f32), "%s/vectors/model/tiny-f32", tests);
    snprintf(dir_llada2, sizeof(dir_llada2), "%s/vectors/model/llada2/usual-bf16", tests);
}

TestSuite(engine, .init = setup);

static struct engine_options options_of(const char *dir, const char *backend)
{
    return (struct engine_options){ .model_dir = dir,
                                    .load_format = "safetensors",
                                    .backend = backend,
                                    .n_threads = 1,
                                    .max_canvas = 96,
                                    .max_batch = 3,
                                    .max_block = 32 };
}

/* NULL where the backend cannot run on this machine. */
static struct engine *open_on(const char *dir, const char *backend)
{
    struct engine_options o = options_of(dir, backend);
    struct engine *e = NULL;
    struct error err = { 0 };
    enum status st = engine_open(&o, &e, &err);

    cr_assert(st == ST_OK || st == ST_UNSUPPORTED || st == ST_DEVICE, "%s: %s", backend, err.text);
    return e;
}

static struct engine *open_text(const char *dir)
{
    struct engine_options o = { .model_dir = dir, .is_text_only = true };
    struct engine *e = NULL;
    struct error err = { 0 };

    cr_assert_eq(engine_open(&o, &e, &err), ST_OK, "%s", err.text);
    return e;
}

static struct sequence *start(struct engine *e, const struct decode_options *o,
                              const int32_t *prompt, size_t n)
{
    struct sequence *s = NULL;
    struct error err = { 0 };

    cr_assert_eq(sequence_start(e, o, prompt, n, &s, &err), ST_OK, "%s", err.text);
    return s;
}

static void run(struct engine *e, struct sequence **s, size_t n)
{
    struct error err = { 0 };

    for (int i = 0; i < 200; i++) {
        bool is_done = true;

        for (size_t j = 0; j < n; j++)
            is_done &= sequence_is_done(s[j]);
        if (is_done)
            return;
        cr_assert_eq(engine_step(e, s, n, &err), ST_OK, "%s", err.text);
    }
    cr_assert_fail("not done after 200 steps");
}

static void three_options(struct decode_options o[3])
{
    for (int i = 0; i < 3; i++)
        o[i] = (struct decode_options){ .decoder = "threshold",
                                        .cache = "none",
                                        .selector = "vanilla",
                                        .gen_length = 32,
                                        .block_length = 16,
                                        .threshold = 0.03,
                                        .is_eos_early_stop = true };
    o[0].cache = "dual";
    o[1].decoder = "low-confidence";
    o[1].steps = 10;
    o[1].selector = "topk:k=1";
    o[2].temperature = 0.8;
    o[2].seed = 5;
}

static const int32_t prompts[3][7] = { { 10, 20, 30, 40, 50, 60, 70 }, { 99, 98, 97 }, { 5 } };
static const size_t prompt_lens[3] = { 7, 3, 1 };

/* ---- text ------------------------------------------------------------------------------- */

Test(engine, text_needs_no_weights)
{
    struct engine *e = open_text(dir_bf16);
    struct engine_message msg = { "user", "hi", 2 };
    struct arena a = { 0 };
    struct buf text = { 0 };
    int32_t *ids;
    size_t n;

    cr_assert_str_eq(engine_info(e)->architecture, "LLaDAMoEModelLM");
    cr_assert_str_eq(engine_info(e)->name, "tiny-bf16");
    cr_assert_null(engine_info(e)->backend);
    cr_assert_eq(e->answer_end_id, 260, "<|role_end|> of the tokenizer ends an answer");
    cr_assert_eq(engine_chat(e, &msg, 1, &text, NULL), ST_OK);
    cr_assert_not_null(strstr(buf_str(&text), "<role>HUMAN</role>hi<|role_end|>"));
    cr_assert_eq(engine_tokenize(e, buf_str(&text), text.len, &a, &ids, &n, NULL), ST_OK);
    buf_clear(&text);
    cr_assert_eq(engine_detokenize(e, ids, n, true, &text, NULL), ST_OK);
    cr_assert_not_null(strstr(buf_str(&text), "HUMANhi"), "%s", buf_str(&text));
    buf_release(&text);
    arena_release(&a);
    engine_close(e);
}

Test(engine, without_weights_options_are_checked_and_sequences_refused)
{
    struct engine *e = open_text(dir_bf16);
    struct decode_options o[3];
    struct sequence *s = NULL;
    struct error err = { 0 };

    three_options(o);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(engine_check_decode(e, &o[i], 0, NULL), ST_OK);
    cr_assert_eq(sequence_start(e, &o[0], prompts[0], 7, &s, &err), ST_UNSUPPORTED);
    cr_assert(strstr(err.text, "text only"), "%s", err.text);
    o[0].selector = "topk:k=3";
    cr_assert_eq(engine_check_decode(e, &o[0], 0, &err), ST_INVALID);
    cr_assert(strstr(err.text, "top-k 2"), "%s", err.text);
    o[0].selector = "vanilla"; /* max_position_embeddings is 256 */
    o[0].gen_length = 256;
    cr_assert_eq(engine_check_decode(e, &o[0], 0, &err), ST_OK);
    cr_assert_eq(engine_check_decode(e, &o[0], 1, &err), ST_INVALID);
    engine_close(e);
}

Test(engine, a_text_only_engine_knows_what_a_whole_one_does)
{
    struct engine_options o = options_of(dir_f32, "ref");
    struct engine *e = open_on(dir_f32, "ref"), *text = NULL;
    const struct model_info *m = engine_info(e), *p;

    o.is_text_only = true;
    cr_assert_eq(engine_open(&o, &text, NULL), ST_OK);
    p = engine_info(text);
    cr_assert_str_eq(p->architecture, m->architecture);
    cr_assert_str_eq(p->config_sha256, m->config_sha256);
    cr_assert_str_eq(p->tokenizer_sha256, m->tokenizer_sha256);
    cr_assert(p->mask_id == m->mask_id && p->eos_id == m->eos_id && p->n_params == m->n_params);
    cr_assert(p->mask_id == 257 && p->eos_id == 256 && p->n_vocab == 288);
    cr_assert(p->weight_bytes == 0 && !p->backend);
    engine_close(text);
    engine_close(e);
}

Test(engine, a_folder_that_is_not_there_is_named)
{
    static const bool is_text_only[] = { false, true };

    for (int i = 0; i < 2; i++) {
        struct engine_options o = options_of("/nonexistent/model", "ref");
        struct engine *e = NULL;
        struct error err = { 0 };

        o.is_text_only = is_text_only[i];
        cr_assert_eq(engine_open(&o, &e, &err), ST_NOT_FOUND);
        cr_assert(strstr(err.text, "/nonexistent/model"), "%s", err.text);
        cr_assert_null(e);
    }
}

static enum status try_open(void *arg, struct error *err)
{
    struct engine *e = NULL;
    enum status st = engine_open(arg, &e, err);

    cr_expect_eq(st == ST_OK, e != NULL);
    engine_close(e);
    return st;
}

Test(engine, an_open_survives_every_failing_allocation)
{
    const struct {
        const char *what, *dir;
        bool is_text_only;
    } opens[] = { { "all", dir_f32, false },
                  { "text", dir_f32, true },
                  { "LLaDA2.x", dir_llada2, false } };

    for (int i = 0; i < 3; i++) {
        struct engine_options o = options_of(opens[i].dir, "ref");
        struct fail_sweep s = { .what = opens[i].what, .f = try_open, .arg = &o };

        o.is_text_only = opens[i].is_text_only;
        cr_expect_gt(fail_malloc_sweep(&s), 100);
    }
}

static enum status try_generate(void *arg, struct error *err)
{
    struct engine *e = arg;
    struct engine_message msg = { "user", "hi e\u0301", 6 };
    struct decode_options o[3];
    struct sequence *s = NULL;
    struct arena arena = { 0 };
    struct buf text = { 0 };
    int32_t *ids = NULL;
    size_t n = 0;
    enum status st = engine_chat(e, &msg, 1, &text, err);

    three_options(o);
    if (!st)
        st = engine_tokenize(e, buf_str(&text), text.len, &arena, &ids, &n, err);
    if (!st)
        st = sequence_start(e, &o[0], ids, n, &s, err);
    while (!st && !sequence_is_done(s))
        st = engine_step(e, &s, 1, err);
    buf_clear(&text);
    if (!st)
        st = engine_detokenize(e, sequence_result(s)->tokens, sequence_result(s)->n_positions, true,
                               &text, err);
    sequence_free(s);
    arena_release(&arena);
    buf_release(&text);
    return st;
}

Test(engine, a_generation_survives_every_failing_allocation)
{
    for (const struct kernel_ops *const *b = kernel_backends; *b; b++) {
        struct engine *e = open_on(dir_f32, (*b)->name);
        struct fail_sweep s = { .what = (*b)->name, .f = try_generate, .arg = e };

        if (!e)
            continue;
        cr_expect_gt(fail_malloc_sweep(&s), 5);
        engine_close(e);
    }
}

/* Policies of every kind; one that ends in "file=" goes on with a file of counts. */
static const char *const policies[] = { "topp:p=0.4",
                                        "naee:tail=0.3",
                                        "mc-moe:tail=0.3,protect=0.2",
                                        "des-seq:k0=1",
                                        "des-vote:m=3,voters=masked,prefill=on",
                                        "dmoe:p=0.5,floor=2",
                                        "xshare:m=3",
                                        "moe-spec:m=3",
                                        "random:m=3",
                                        "static:m=3,file=",
                                        "previous-step:m=3",
                                        "oracle-mass:m=3" };
enum { N_POLICIES = sizeof(policies) / sizeof(policies[0]) };

struct rivalry {
    struct engine *e;
    char selectors[N_POLICIES][64];
    float *scratch;
    size_t first, n; /* of the selectors: rivals of one sequence */
};

/* A sequence under the first of them, with all of them as rivals. */
static enum status try_policies(void *arg, struct error *err)
{
    struct rivalry *x = arg;
    struct rival *rivals[N_POLICIES] = { NULL };
    struct decode_options o[3];
    struct sequence *s = NULL;
    enum status st;

    three_options(o);
    o[0].selector = x->selectors[x->first];
    st = sequence_start(x->e, &o[0], prompts[0], prompt_lens[0], &s, err);
    for (size_t i = 0; i < x->n && !st; i++) {
        o[0].selector = x->selectors[x->first + i];
        st = rival_new(x->e, &o[0], prompt_lens[0], &rivals[i], err);
    }
    for (int i = 0; i < 6 && !st && !sequence_is_done(s); i++)
        st = engine_step_rivals(x->e, s, rivals, x->n, x->scratch, err);
    for (size_t i = 0; i < x->n; i++)
        rival_free(rivals[i]);
    sequence_free(s);
    return st;
}

/* Counts of the tiny model's experts, in a new file. */
static void write_counts(char *path, const struct model_info *m)
{
    int fd = mkstemp(path);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;

    cr_assert_not_null(f);
    fprintf(f, "{\"format\": \"desbench popularity 1\", \"tokens\": [");
    for (int l = 0; l < m->n_moe_layer; l++)
        for (int e = 0; e < m->n_exp; e++)
            fprintf(f, "%s%d%s",
                    e   ? ", "
                    : l ? ", ["
                        : "[",
                    (7 * e + l) % 11, e + 1 == m->n_exp ? "]" : "");
    fprintf(f, "]}");
    cr_assert_eq(fclose(f), 0);
}

Test(engine, every_selector_survives_every_failing_allocation)
{
    char path[] = "/tmp/desbench-counts-XXXXXX";
    struct engine_options o = options_of(dir_f32, "ref");
    struct rivalry x = { .n = 1 };
    struct error err = { 0 };

    o.is_diagnosed = true;
    cr_assert_eq(engine_open(&o, &x.e, &err), ST_OK, "%s", err.text);
    write_counts(path, engine_info(x.e));
    x.scratch = calloc(16 * (size_t)engine_info(x.e)->n_vocab, sizeof(*x.scratch));
    for (size_t i = 0; i < N_POLICIES; i++) {
        struct fail_sweep s = { .what = x.selectors[i], .f = try_policies, .arg = &x };

        snprintf(x.selectors[i], sizeof(x.selectors[i]), "%s%s", policies[i],
                 strstr(policies[i], "file=") ? path : "");
        x.first = i;
        cr_expect_gt(fail_malloc_sweep(&s), 5, "%s", x.selectors[i]);
    }
    x.first = 0;
    x.n = N_POLICIES;
    cr_expect_gt(
        fail_malloc_sweep(&(struct fail_sweep){ .what = "all", .f = try_policies, .arg = &x }),
        5 * N_POLICIES);
    free(x.scratch);
    engine_close(x.e);
    cr_expect_eq(unlink(path), 0);
}

/* Counts are read once in an engine's life: a new engine each time. */
static enum status try_counts(void *selector, struct error *err)
{
    struct engine_options opts = options_of(dir_f32, "ref");
    struct engine *e = NULL;
    struct decode_options o[3];
    struct sequence *s = NULL;
    enum status st = engine_open(&opts, &e, err);

    three_options(o);
    o[0].selector = selector;
    if (!st)
        st = sequence_start(e, &o[0], prompts[0], prompt_lens[0], &s, err);
    sequence_free(s);
    engine_close(e);
    return st;
}

Test(engine, counts_are_read_whole_or_not_at_all)
{
    char path[] = "/tmp/desbench-counts-XXXXXX", selector[64];
    struct engine *e = open_text(dir_f32);
    struct fail_sweep s = { .what = selector, .f = try_counts, .arg = selector };

    write_counts(path, engine_info(e));
    engine_close(e);
    snprintf(selector, sizeof(selector), "static:m=3,file=%s", path);
    cr_expect_gt(fail_malloc_sweep(&s), 100);
    cr_expect_eq(unlink(path), 0);
}

/* ---- defaults --------------------------------------------------------------------------- */

/* The tiny model with a generation_config.json of its own. */
static enum status open_with_config(const char *text, struct decode_options *ret, struct error *err)
{
    static const char *const names[] = { "config.json", "tokenizer.json" };
    char dir[] = "/tmp/desbench-test-XXXXXX", from[8192], to[64];
    struct engine_options o = { .model_dir = dir, .is_text_only = true };
    struct engine *e = NULL;
    enum status st;

    cr_assert_not_null(mkdtemp(dir));
    for (int i = 0; i < 2; i++) {
        snprintf(from, sizeof(from), "%s/%s", dir_f32, names[i]);
        snprintf(to, sizeof(to), "%s/%s", dir, names[i]);
        cr_assert_eq(symlink(from, to), 0);
    }
    snprintf(to, sizeof(to), "%s/generation_config.json", dir);
    cr_assert_eq(file_write_atomic(to, text, strlen(text), NULL), ST_OK);
    st = engine_open(&o, &e, err);
    if (!st)
        engine_decode_defaults(e, ret);
    engine_close(e);
    unlink(to);
    for (int i = 0; i < 2; i++) {
        snprintf(to, sizeof(to), "%s/%s", dir, names[i]);
        unlink(to);
    }
    rmdir(dir);
    return st;
}

Test(engine, defaults_come_from_generation_config)
{
    struct decode_options d;
    struct error err = { 0 };

    cr_assert_eq(open_with_config("{\"cache\": \"dual\", \"gen_length\": 48,"
                                  "\"eos_token_id\": 256}",
                                  &d, &err),
                 ST_OK, "%s", err.text);
    cr_assert_str_eq(d.cache, "dual"); /* although the engine is closed: the string is static */
    cr_assert_eq(d.gen_length, 48);
}

Test(engine, a_broken_generation_config_fails_the_open)
{
    struct decode_options d;
    struct error err = { 0 };

    cr_assert_eq(open_with_config("{\"gen_length\": \"48\"}", &d, &err), ST_INVALID);
    cr_assert(strstr(err.text, "generation_config.json") && strstr(err.text, "gen_length"), "%s",
              err.text);
}

/* ---- against the independent forward pass and loop -------------------------------------- */

static void check_generation(struct engine *e, const json_t *c, const char *cache,
                             const char *backend)
{
    const char *name = json_string_value(json_object_get(c, "name"));
    const json_t *p = json_object_get(c, "prompt"), *tokens = json_object_get(c, "tokens");
    const json_t *when = json_object_get(c, "commit_step");
    struct decode_options o = { .selector = "vanilla" };
    const struct generation *g;
    struct sequence *s;
    int32_t ids[64];

    o.decoder = json_string_value(json_object_get(c, "decoder"));
    o.cache = cache ? cache : json_string_value(json_object_get(c, "cache"));
    o.gen_length = (int)json_integer_value(json_object_get(c, "gen_length"));
    o.block_length = (int)json_integer_value(json_object_get(c, "block_length"));
    o.steps = (int)json_integer_value(json_object_get(c, "steps"));
    o.prefix_look = (int)json_integer_value(json_object_get(c, "prefix_look"));
    o.after_look = (int)json_integer_value(json_object_get(c, "after_look"));
    o.cache_warmup = (int)json_integer_value(json_object_get(c, "cache_warmup"));
    o.threshold = json_real_value(json_object_get(c, "threshold"));
    o.edit_threshold = json_real_value(json_object_get(c, "edit_threshold"));
    o.low_threshold = json_real_value(json_object_get(c, "low_threshold"));
    o.factor = json_real_value(json_object_get(c, "factor"));
    o.max_post_steps = (int)json_integer_value(json_object_get(c, "max_post_steps"));
    o.credit_alpha = json_real_value(json_object_get(c, "credit_alpha"));
    o.credit_decay = json_real_value(json_object_get(c, "credit_decay"));
    o.credit_boost = json_real_value(json_object_get(c, "credit_boost"));
    o.smoothing = json_real_value(json_object_get(c, "smoothing"));
    o.smoothing_init = json_real_value(json_object_get(c, "smoothing_init"));
    o.smoothing_growth = json_real_value(json_object_get(c, "smoothing_growth"));
    o.smoothing_decay = json_real_value(json_object_get(c, "smoothing_decay"));
    o.temperature = json_real_value(json_object_get(c, "temperature"));
    o.top_k = (int)json_integer_value(json_object_get(c, "top_k"));
    o.top_p = json_real_value(json_object_get(c, "top_p"));
    o.seed = (uint64_t)json_integer_value(json_object_get(c, "seed"));
    o.is_eos_early_stop = json_is_true(json_object_get(c, "eos_early_stop"));
    for (size_t i = 0; i < json_array_size(p); i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(p, i));
    s = start(e, &o, ids, json_array_size(p));
    run(e, &s, 1);
    g = sequence_result(s);
    cr_assert_eq(g->n_positions, json_array_size(tokens), "%s", name);
    for (size_t i = 0; i < g->n_positions; i++) {
        cr_assert_eq(g->tokens[i], json_integer_value(json_array_get(tokens, i)),
                     "%s on %s: token %zu is %d", name, backend, i, g->tokens[i]);
        cr_assert_eq(g->commit_step[i], json_integer_value(json_array_get(when, i)),
                     "%s on %s: position %zu committed at %d", name, backend, i, g->commit_step[i]);
    }
    sequence_free(s);
}

Test(engine, generates_what_the_formulas_in_f64_generate)
{
    char path[4200];
    json_t *all, *c;
    size_t i;

    snprintf(path, sizeof(path), "%s/vectors/decoder/tiny-f32.json", getenv("DESBENCH_TESTS"));
    all = json_load_file(path, 0, NULL);
    cr_assert_geq(json_array_size(all), 10);
    for (const struct kernel_ops *const *b = kernel_backends; *b; b++) {
        struct engine *e = open_on(dir_f32, (*b)->name);

        if (!e)
            continue;
        json_array_foreach(all, i, c) check_generation(e, c, NULL, (*b)->name);
        engine_close(e);
    }
    json_decref(all);
}

/* LLaDA2.x with every cache: all are exact there. Not on cuda, which rounds activations. */
Test(engine, generates_what_stock_transformers_generates, .timeout = 120)
{
    char path[4200];
    json_t *all, *c;
    size_t i;

    snprintf(path, sizeof(path), "%s/vectors/decoder/llada2.json", getenv("DESBENCH_TESTS"));
    all = json_load_file(path, 0, NULL);
    cr_assert_geq(json_array_size(all), 10);
    for (const struct kernel_ops *const *b = kernel_backends; *b; b++) {
        bool is_rounded = strcmp((*b)->name, "cuda") == 0;
        struct engine *e = is_rounded ? NULL : open_on(dir_llada2, (*b)->name);

        if (!e)
            continue;
        for (const struct engine_choice *k = engine_caches(); k->name; k++)
            json_array_foreach(all, i, c) check_generation(e, c, k->name, (*b)->name);
        engine_close(e);
    }
    json_decref(all);
}

/* ---- batches ---------------------------------------------------------------------------- */

static void assert_same(const struct generation *a, const struct generation *b)
{
    size_t n_layers = a->n_forwards * (size_t)a->n_moe_layer;

    cr_assert_eq(a->n_forwards, b->n_forwards);
    cr_assert_eq(a->n_positions, b->n_positions);
    for (size_t i = 0; i < a->n_positions; i++) {
        cr_assert_eq(a->tokens[i], b->tokens[i], "token %zu", i);
        cr_assert_eq(a->commit_step[i], b->commit_step[i], "commit step of %zu", i);
    }
    for (size_t i = 0; i < n_layers; i++) {
        cr_assert_eq(a->layers[i].n_unique, b->layers[i].n_unique);
        cr_assert_eq(a->layers[i].n_rerouted, b->layers[i].n_rerouted);
        cr_assert_eq(a->layers[i].kept_mass, b->layers[i].kept_mass);
    }
    cr_assert_eq(memcmp(a->tokens_per_expert, b->tokens_per_expert,
                        n_layers * (size_t)a->n_exp * sizeof(uint16_t)),
                 0);
}

Test(engine, a_sequence_alone_and_in_a_batch_of_three_is_the_same)
{
    for (const struct kernel_ops *const *b = kernel_backends; *b; b++) {
        struct engine *e = open_on(dir_bf16, (*b)->name), *single;
        struct decode_options o[3];
        struct sequence *batch[3];

        if (!e)
            continue;
        single = open_on(dir_bf16, (*b)->name);
        three_options(o);
        for (int i = 0; i < 3; i++)
            batch[i] = start(e, &o[i], prompts[i], prompt_lens[i]);
        run(e, batch, 3);
        for (int i = 0; i < 3; i++) {
            struct sequence *alone = start(single, &o[i], prompts[i], prompt_lens[i]);

            run(single, &alone, 1);
            assert_same(sequence_result(alone), sequence_result(batch[i]));
            sequence_free(alone);
            sequence_free(batch[i]);
        }
        engine_close(single);
        engine_close(e);
    }
}

Test(engine, steps_allocate_nothing)
{
    for (const struct kernel_ops *const *b = kernel_backends; *b; b++) {
        struct engine *e = open_on(dir_bf16, (*b)->name);
        struct decode_options o[3];
        struct sequence *s[3];
        long before;

        if (!e)
            continue;
        three_options(o);
        o[1].cache = "prefix";
        o[2].cache = "vicinity";
        o[2].prefix_look = o[2].after_look = 4;
        o[2].cache_warmup = 1;
        for (int i = 0; i < 3; i++)
            s[i] = start(e, &o[i], prompts[i], prompt_lens[i]);
        cr_assert_eq(engine_step(e, s, 3, NULL), ST_OK); /* scratch of the backend grows */
        before = fail_malloc_count();
        run(e, s, 3); /* to the end: all caches, refreshes, blocks */
        cr_assert_eq(fail_malloc_count(), before, "%s allocates %ld times in steps", (*b)->name,
                     fail_malloc_count() - before);
        for (int i = 0; i < 3; i++)
            sequence_free(s[i]);
        engine_close(e);
    }
}

/* ---- observing -------------------------------------------------------------------------- */

enum { N_EXP = 8, N_SEEN = 64 };

/* What an observer can check by itself; counts of experts beside those of the records. */
struct looker {
    struct engine *e;
    int n_calls, n_slot;
    uint16_t counts[N_SEEN][16][N_EXP]; /* forward, layer, expert of the one sequence */
};

static enum status look(void *arg, const struct sequence *s, const struct layer_view *v,
                        struct error *err)
{
    struct looker *x = arg;
    size_t f = sequence_result(s)->n_forwards;

    (void)err;
    cr_assert(f < N_SEEN && v->layer < 16 && v->n_exp == N_EXP && v->n_slot == x->n_slot);
    for (int t = 0; t < v->n_tok; t++) {
        const float *score = v->scores + t * v->n_exp;
        double sum = 0;

        cr_assert_eq(v->positions[t], v->positions[0] + t);
        for (int i = 0; i < v->n_exp; i++)
            sum += score[i];
        cr_assert_float_eq(sum, 1, 1e-5, "a softmax over all experts");
        for (int k = 0; k < v->n_slot; k++) {
            int id = v->experts[t * v->n_slot + k];
            int n_better = 0;

            for (int i = 0; i < v->n_exp; i++)
                n_better += score[i] > score[id];
            cr_assert_lt(n_better, v->n_slot, "not among the best");
            cr_assert_eq(v->weights[t * v->n_slot + k], score[id], "not renormalised, scale 1");
            x->counts[f][v->layer][id]++;
        }
    }
    x->n_calls++;
    return ST_OK;
}

Test(engine, an_observer_sees_the_scores_and_routes_that_are_recorded_and_changes_nothing)
{
    static const char *const selectors[] = { "vanilla", "topk:k=1" };

    for (const struct kernel_ops *const *b = kernel_backends; *b; b++) {
        struct engine *e = open_on(dir_bf16, (*b)->name);

        for (int k = 0; e && k < 2; k++) {
            static struct looker x;
            struct engine_observer o = { look, &x };
            struct decode_options opts[3];
            struct sequence *unseen, *s;
            const struct generation *g;
            size_t n_layer;
            long before;

            x = (struct looker){ .e = e, .n_slot = 2 - k };
            three_options(opts);
            opts[0].selector = selectors[k];
            unseen = start(e, &opts[0], prompts[0], prompt_lens[0]);
            run(e, &unseen, 1);
            cr_assert_eq(engine_observe(e, &o, NULL), ST_OK);
            s = start(e, &opts[0], prompts[0], prompt_lens[0]);
            before = fail_malloc_count();
            run(e, &s, 1);
            cr_assert_eq(fail_malloc_count(), before, "observed steps allocate nothing either");
            assert_same(sequence_result(unseen), sequence_result(s));
            g = sequence_result(s);
            n_layer = (size_t)g->n_moe_layer;
            cr_assert_eq(g->n_exp, N_EXP);
            cr_assert_eq(x.n_calls, (int)(g->n_forwards * n_layer));
            for (size_t f = 0; f < g->n_forwards; f++)
                for (size_t l = 0; l < n_layer; l++)
                    for (size_t i = 0; i < N_EXP; i++)
                        cr_assert_eq(x.counts[f][l][i],
                                     g->tokens_per_expert[(f * n_layer + l) * N_EXP + i]);
            cr_assert_eq(engine_observe(e, NULL, NULL), ST_OK);
            sequence_free(unseen);
            sequence_free(s);
        }
        engine_close(e);
    }
}

Test(engine, without_weights_there_is_nothing_to_observe)
{
    struct engine *e = open_text(dir_bf16);
    struct engine_observer o = { look, NULL };
    struct error err = { 0 };

    cr_assert_eq(engine_observe(e, &o, &err), ST_UNSUPPORTED);
    cr_assert(strstr(err.text, "text only"), "%s", err.text);
    engine_close(e);
}

/* ---- selectors and records -------------------------------------------------------------- */

static struct sequence *run_selector(struct engine *e, const char *selector)
{
    struct decode_options o[3];
    struct sequence *s;

    three_options(o);
    o[0].selector = selector;
    s = start(e, &o[0], prompts[0], prompt_lens[0]);
    run(e, &s, 1);
    return s;
}

Test(engine, topk_at_the_models_own_k_is_vanilla_bit_for_bit)
{
    struct engine *e = open_on(dir_bf16, "ref");
    struct sequence *a = run_selector(e, "vanilla"), *b = run_selector(e, "topk:k=2");

    assert_same(sequence_result(a), sequence_result(b));
    sequence_free(a);
    sequence_free(b);
    engine_close(e);
}

Test(engine, expert_counts_add_up)
{
    static const char *const selectors[] = { "vanilla", "topk:k=1" };
    struct engine *e = open_on(dir_bf16, "ref");

    for (int k = 0; k < 2; k++) {
        struct sequence *s = run_selector(e, selectors[k]);
        const struct generation *g = sequence_result(s);
        int top_k = k ? 1 : engine_info(e)->top_k;

        cr_assert(g->n_moe_layer == 2 && g->n_exp == 8);
        for (size_t i = 0; i < g->n_forwards * 2; i++) {
            const struct layer_record *r = &g->layers[i];
            int sum = 0, used = 0;

            for (size_t x = 0; x < 8; x++) {
                sum += g->tokens_per_expert[i * 8 + x];
                used += g->tokens_per_expert[i * 8 + x] > 0;
            }
            cr_assert_eq(sum, g->forwards[i / 2].n_tok * top_k);
            cr_assert_eq(r->n_unique, used);
            cr_assert_eq(r->expert_bytes, used * engine_info(e)->expert_bytes);
            cr_assert_eq(r->n_lost_top1, 0);
            cr_assert_eq(r->n_rerouted, 0);
            if (k)
                cr_assert(r->kept_mass > 0.5 && r->kept_mass < 1, "%g", r->kept_mass);
            else
                cr_assert_float_eq(r->kept_mass, 1, 1e-6);
        }
        sequence_free(s);
    }
    cr_assert_eq(engine_info(e)->expert_bytes, 3 * 64 * 32 * 2);
    engine_close(e);
}

Test(engine, the_seed_alone_decides_a_sampled_sequence)
{
    struct engine *e = open_on(dir_bf16, "ref");
    struct decode_options o[3];
    struct sequence *s[3];
    bool differs = false;

    three_options(o);
    for (int i = 0; i < 3; i++) {
        o[2].seed = i == 2 ? 6 : 5;
        s[i] = start(e, &o[2], prompts[0], 7);
    }
    run(e, s, 3);
    assert_same(sequence_result(s[0]), sequence_result(s[1]));
    for (size_t i = 0; i < 32; i++)
        differs |= sequence_result(s[0])->tokens[i] != sequence_result(s[2])->tokens[i];
    cr_assert(differs);
    for (int i = 0; i < 3; i++)
        sequence_free(s[i]);
    engine_close(e);
}
