/* Experts that are dealt to tokens for a measurement: the number in each layer is exact. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"

enum { N_EXP = 32, TOP_K = 4, BLOCK = 16, PREFIX = 20 };

static const char *const backends[] = { "ref", "cpu" };

static struct engine *open_on(const char *backend, int max_batch)
{
    static const char *const overrides[] = { "num_experts=32", "num_experts_per_tok=4" };
    char dir[4200];
    struct engine_options o = { .model_dir = dir,
                                .load_format = "dummy",
                                .backend = backend,
                                .n_threads = 1,
                                .max_canvas = PREFIX + BLOCK,
                                .max_batch = max_batch,
                                .max_block = BLOCK,
                                .overrides = overrides,
                                .n_overrides = 2 };
    struct engine *e = NULL;
    struct error err = { 0 };

    cr_assert_not_null(getenv("DESBENCH_TESTS"), "DESBENCH_TESTS is not set");
    snprintf(dir, sizeof(dir), "%s/vectors/model/tiny-bf16", getenv("DESBENCH_TESTS"));
    cr_assert_eq(engine_open(&o, &e, &err), ST_OK, "%s", err.text);
    return e;
}

static void deal(struct engine *e, int n_unique)
{
    struct error err = { 0 };

    cr_assert_eq(engine_deal_experts(e, n_unique, BLOCK, &err), ST_OK, "%s", err.text);
}

/* Decode to the end: after a forward that fills the cache, steps of one block each. */
static struct sequence *decode(struct engine *e, const char *selector, uint64_t seed)
{
    struct decode_options o = { .decoder = "low-confidence",
                                .cache = "dual",
                                .selector = selector,
                                .gen_length = BLOCK,
                                .block_length = BLOCK,
                                .steps = 4,
                                .temperature = 1,
                                .seed = seed };
    int32_t prompt[PREFIX];
    struct sequence *s = NULL;
    struct error err = { 0 };

    for (int i = 0; i < PREFIX; i++)
        prompt[i] = i * 7 % 256;
    cr_assert_eq(sequence_start(e, &o, prompt, PREFIX, &s, &err), ST_OK, "%s", err.text);
    while (!sequence_is_done(s))
        cr_assert_eq(engine_step(e, &s, 1, &err), ST_OK, "%s", err.text);
    return s;
}

/* Every layer of every forward ran n experts. */
static void assert_unique(const struct sequence *s, int n, const char *what)
{
    const struct generation *g = sequence_result(s);

    cr_assert_geq(g->n_forwards, 4);
    for (size_t i = 0; i < g->n_forwards * (size_t)g->n_moe_layer; i++)
        cr_assert_eq(g->layers[i].n_unique, n, "%s: layer record %zu ran %d experts, not %d", what,
                     i, g->layers[i].n_unique, n);
}

Test(deal, every_layer_runs_exactly_as_many_experts)
{
    static const int numbers[] = { 4, 5, 17, 31, 32 };

    for (size_t b = 0; b < 2; b++) {
        struct engine *e = open_on(backends[b], 1);

        for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
            struct sequence *s;

            deal(e, numbers[i]);
            s = decode(e, "vanilla", i);
            assert_unique(s, numbers[i], backends[b]);
            sequence_free(s);
        }
        engine_close(e);
    }
}

Test(deal, a_selector_elects_among_what_is_dealt)
{
    for (size_t b = 0; b < 2; b++) {
        struct engine *e = open_on(backends[b], 1);
        struct sequence *s;
        const struct generation *g;

        deal(e, 9);
        s = decode(e, "des-vote:m=9", 1);
        assert_unique(s, 9, "des-vote:m=9");
        sequence_free(s);
        s = decode(e, "des-vote:m=6", 1);
        g = sequence_result(s);
        for (size_t i = 0; i < g->n_forwards * (size_t)g->n_moe_layer; i++)
            if (g->layers[i].n_core)
                cr_assert(g->layers[i].n_core == 6 && g->layers[i].n_unique <= 6);
        sequence_free(s);
        engine_close(e);
    }
}

Test(deal, ends_when_it_is_told_to)
{
    struct engine *e = open_on("cpu", 2);
    struct sequence *before = decode(e, "vanilla", 7), *after;
    const struct generation *a, *b;

    deal(e, 5);
    after = decode(e, "vanilla", 7);
    assert_unique(after, 5, "dealt");
    sequence_free(after);
    deal(e, 0);
    after = decode(e, "vanilla", 7);
    a = sequence_result(before);
    b = sequence_result(after);
    cr_assert_eq(memcmp(a->tokens, b->tokens, a->n_positions * sizeof(*a->tokens)), 0);
    for (size_t i = 0; i < a->n_forwards * (size_t)a->n_moe_layer; i++)
        cr_assert_eq(a->layers[i].n_unique, b->layers[i].n_unique);
    sequence_free(before);
    sequence_free(after);
    engine_close(e);
}

Test(deal, numbers_that_a_block_cannot_have_are_refused)
{
    static const int bad[] = { 3, 33, -1 };
    struct engine *e = open_on("ref", 1);

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct error err = { 0 };

        cr_assert_eq(engine_deal_experts(e, bad[i], BLOCK, &err), ST_INVALID);
        cr_assert_not_null(strstr(err.text, "of 32 experts"), "%s", err.text);
    }
    engine_close(e);
}
