/*
 * Batches: a sequence is the same, bit for bit, whatever runs beside it and on how many threads.
 *
 * 32 sequences that have little in common are generated one at a time on one thread, and then in
 * batches of 32, of 8, and of 5 that change as they go: who is done leaves, the next one enters.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"

enum { N_SEQ = 32, MAX_PROMPT = 24, MAX_GEN = 48, BLOCK = 16 };

static struct engine *open_on(const char *backend, const char *isa, int n_threads)
{
    char dir[4200];
    struct engine_options o = { .model_dir = dir,
                                .load_format = "safetensors",
                                .backend = backend,
                                .isa = isa,
                                .n_threads = n_threads,
                                .max_canvas = MAX_PROMPT + MAX_GEN + BLOCK, /* of whole blocks */
                                .max_batch = N_SEQ,
                                .max_block = BLOCK };
    struct engine *e = NULL;
    struct error err = { 0 };
    enum status st;

    cr_assert_not_null(getenv("DESBENCH_TESTS"), "DESBENCH_TESTS is not set");
    snprintf(dir, sizeof(dir), "%s/vectors/model/tiny-bf16", getenv("DESBENCH_TESTS"));
    st = engine_open(&o, &e, &err);
    cr_assert(st == ST_OK || st == ST_UNSUPPORTED, "%s: %s", isa ? isa : backend, err.text);
    return e;
}

/* Sequence number i: its prompt, decoder, cache, selector, length, temperature and seed. */
static struct sequence *start(struct engine *e, int i)
{
    static const char *const caches[] = { "none", "prefix", "dual", "vicinity" };
    int32_t prompt[MAX_PROMPT];
    size_t n = (size_t)(i * 7 % MAX_PROMPT) + 1;
    struct decode_options o = { .decoder = i % 7 == 3   ? "block-diffusion"
                                           : i % 7 == 5 ? "edit"
                                           : i % 3      ? "threshold"
                                                        : "low-confidence",
                                .cache = caches[i % 4],
                                .selector = i % 5 ? "vanilla" : "topk:k=1",
                                .gen_length = BLOCK * (1 + i % 3),
                                .block_length = BLOCK,
                                .steps = 6 * (1 + i % 3),
                                .threshold = 0.03,
                                .edit_threshold = 0.3,
                                .max_post_steps = 2,
                                .top_k = i % 7 == 3 ? 8 : 0,
                                .top_p = 0.9,
                                .prefix_look = 5,
                                .after_look = 3,
                                .cache_warmup = 2,
                                .temperature = i % 2 ? 0.8 : 0,
                                .seed = (uint64_t)i / 8,
                                .is_eos_early_stop = true };
    struct sequence *s = NULL;
    struct error err = { 0 };

    for (size_t k = 0; k < n; k++)
        prompt[k] = (int32_t)((size_t)i * 37 + k * 11) % 256;
    cr_assert_eq(sequence_start(e, &o, prompt, n, &s, &err), ST_OK, "%s", err.text);
    return s;
}

static void step(struct engine *e, struct sequence *const *s, size_t n)
{
    struct error err = { 0 };

    cr_assert_eq(engine_step(e, s, n, &err), ST_OK, "%s", err.text);
}

static void assert_same(const struct sequence *sa, const struct sequence *sb, const char *what,
                        int i)
{
    const struct generation *a = sequence_result(sa), *b = sequence_result(sb);
    size_t n_layers = a->n_forwards * (size_t)a->n_moe_layer;

    cr_assert(sequence_is_done(sa) && sequence_is_done(sb));
    cr_assert_eq(a->n_positions, b->n_positions);
    cr_assert_eq(a->n_forwards, b->n_forwards, "%s: sequence %d", what, i);
    for (size_t k = 0; k < a->n_positions; k++)
        cr_assert(a->tokens[k] == b->tokens[k] && a->commit_step[k] == b->commit_step[k],
                  "%s: sequence %d, position %zu", what, i, k);
    for (size_t k = 0; k < n_layers; k++) /* kept_mass: sums of the router's scores, in f64 */
        cr_assert(a->layers[k].n_unique == b->layers[k].n_unique &&
                      memcmp(&a->layers[k].kept_mass, &b->layers[k].kept_mass,
                             sizeof(a->layers[k].kept_mass)) == 0,
                  "%s: sequence %d, layer record %zu", what, i, k);
    cr_assert_eq(memcmp(a->tokens_per_expert, b->tokens_per_expert,
                        n_layers * (size_t)a->n_exp * sizeof(uint16_t)),
                 0);
}

/* Each of the sequences in batches of n, which stay together. */
static void check_batches(struct engine *e, struct sequence *const *alone, int n, const char *what)
{
    struct sequence *s[N_SEQ];

    for (int first = 0; first < N_SEQ; first += n) {
        bool is_done = false;

        for (int i = 0; i < n; i++)
            s[i] = start(e, first + i);
        while (!is_done) {
            step(e, s, (size_t)n);
            is_done = true;
            for (int i = 0; i < n; i++)
                is_done &= sequence_is_done(s[i]);
        }
        for (int i = 0; i < n; i++) {
            assert_same(alone[first + i], s[i], what, first + i);
            sequence_free(s[i]);
        }
    }
}

/* Up to 5 at once, at most one entering a step, in the place of one that left. */
static void check_changing(struct engine *e, struct sequence *const *alone, const char *what)
{
    struct sequence *s[5] = { 0 };
    int who[5] = { 0 }, next = 0, n_done = 0, n_mixed = 0;

    while (n_done < N_SEQ) {
        struct sequence *batch[5];
        bool has_entered = false, is_mixed = false;
        size_t n = 0;

        for (int k = 0; k < 5; k++) {
            if (!s[k] && !has_entered && next < N_SEQ) {
                who[k] = next;
                s[k] = start(e, next++);
                has_entered = true;
            }
            if (s[k])
                batch[n++] = s[k];
        }
        for (size_t k = 1; k < n; k++)
            is_mixed |=
                sequence_result(batch[k])->n_forwards != sequence_result(batch[0])->n_forwards;
        n_mixed += is_mixed;
        step(e, batch, n);
        for (int k = 0; k < 5; k++)
            if (s[k] && sequence_is_done(s[k])) {
                assert_same(alone[who[k]], s[k], what, who[k]);
                sequence_free(s[k]);
                s[k] = NULL;
                n_done++;
            }
    }
    cr_assert_gt(n_mixed, 20, "sequences were at the same step nearly always");
}

static void check(const char *backend, const char *isa)
{
    struct engine *first = open_on(backend, isa, 1);
    struct sequence *alone[N_SEQ];
    const char *what = isa ? isa : backend;

    if (!first) {
        cr_log_info("skipped: this machine has no %s", what);
        return;
    }
    for (int i = 0; i < N_SEQ; i++) {
        alone[i] = start(first, i);
        while (!sequence_is_done(alone[i]))
            step(first, &alone[i], 1);
    }
    for (int n_threads = 1; n_threads <= (isa ? 2 : 1); n_threads++) { /* ref has one */
        struct engine *e = open_on(backend, isa, n_threads);

        check_batches(e, alone, 32, what);
        check_batches(e, alone, 8, what);
        if (n_threads > 1)
            check_batches(e, alone, 1, what);
        check_changing(e, alone, what);
        engine_close(e);
    }
    for (int i = 0; i < N_SEQ; i++)
        sequence_free(alone[i]);
    engine_close(first);
}

Test(batch, changes_nothing_on_ref)
{
    check("ref", NULL);
}

Test(batch, changes_nothing_on_generic)
{
    check("cpu", "generic");
}

Test(batch, changes_nothing_on_avx2)
{
    check("cpu", "avx2");
}

Test(batch, changes_nothing_on_avx512)
{
    check("cpu", "avx512");
}

Test(batch, changes_nothing_on_avx512bf16)
{
    check("cpu", "avx512bf16");
}

Test(batch, changes_nothing_on_amx)
{
    check("cpu", "amx");
}
