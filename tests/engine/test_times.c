/* Times of a forward's parts: there for every layer, and nothing else knows that they were taken.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/engine.h"

enum { BLOCK = 16, PREFIX = 12, N_SEQ = 3 };

static struct engine *open_on(const char *backend)
{
    char dir[4200];
    struct engine_options o = { .model_dir = dir,
                                .load_format = "safetensors",
                                .backend = backend,
                                .n_threads = 1,
                                .max_canvas = PREFIX + 2 * BLOCK,
                                .max_batch = N_SEQ,
                                .max_block = BLOCK };
    struct engine *e = NULL;
    struct error err = { 0 };

    cr_assert_not_null(getenv("DESBENCH_TESTS"), "DESBENCH_TESTS is not set");
    snprintf(dir, sizeof(dir), "%s/vectors/model/tiny-bf16", getenv("DESBENCH_TESTS"));
    cr_assert_eq(engine_open(&o, &e, &err), ST_OK, "%s", err.text);
    return e;
}

static struct sequence *start(struct engine *e, const char *selector, uint64_t seed)
{
    struct decode_options o = { .decoder = "low-confidence",
                                .cache = "dual",
                                .selector = selector,
                                .gen_length = 2 * BLOCK,
                                .block_length = BLOCK,
                                .steps = 8,
                                .temperature = 1,
                                .seed = seed };
    int32_t prompt[PREFIX];
    struct sequence *s = NULL;
    struct error err = { 0 };

    for (int i = 0; i < PREFIX; i++)
        prompt[i] = (i * 7 + (int)seed) % 256;
    cr_assert_eq(sequence_start(e, &o, prompt, PREFIX, &s, &err), ST_OK, "%s", err.text);
    return s;
}

static bool is_done(struct sequence *const *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!sequence_is_done(s[i]))
            return false;
    return true;
}

static void step(struct engine *e, struct sequence *const *s, size_t n, bool is_timed)
{
    struct error err = { 0 };

    if (is_timed)
        cr_assert_eq(engine_time_next(e, &err), ST_OK, "%s", err.text);
    cr_assert_eq(engine_step(e, s, n, &err), ST_OK, "%s", err.text);
}

static const struct part_time *find(const struct engine *e, const char *part, int layer)
{
    const struct step_times x = engine_step_times(e);
    const struct part_time *t = x.parts, *found = NULL;

    for (size_t i = 0; i < x.n_parts; i++)
        if (strcmp(t[i].part, part) == 0 && t[i].layer == layer) {
            cr_assert_null(found, "'%s' of layer %d is there twice", part, layer);
            found = &t[i];
        }
    return found;
}

Test(times, every_part_of_every_layer_has_one)
{
    static const char *const of_layer[] = {
        "norm", "qkv", "heads", "attention", "o", "route", "moe"
    };
    static const char *const backends[] = { "ref", "cpu" };

    for (size_t b = 0; b < 2; b++) {
        struct engine *e = open_on(backends[b]);
        const struct model_info *info = engine_info(e);
        struct sequence *s = start(e, "vanilla", 1);
        const struct generation *g = sequence_result(s);

        cr_assert_eq(engine_step_times(e).n_parts, 0);
        step(e, &s, 1, false);
        cr_assert_eq(engine_step_times(e).n_parts, 0);
        step(e, &s, 1, true);
        cr_assert_eq(engine_step_times(e).n_parts, 7 * (size_t)info->n_layer + 2);
        cr_assert_eq(engine_step_times(e).n_tok, BLOCK);
        for (int l = 0; l < info->n_layer; l++)
            for (size_t p = 0; p < 7; p++) {
                const struct part_time *t = find(e, of_layer[p], l);
                bool is_moe = strcmp(of_layer[p], "moe") == 0;

                cr_assert(t && t->ns >= 0, "%s: '%s' of layer %d", backends[b], of_layer[p], l);
                cr_assert_eq(t->n_unique, is_moe ? g->layers[info->n_layer + l].n_unique : 0);
            }
        cr_assert(find(e, "embed", -1) && find(e, "head", -1));
        cr_assert_null(find(e, "moe", -1));
        sequence_free(s);
        engine_close(e);
    }
}

Test(times, experts_of_a_batch_are_counted_once)
{
    struct engine *e = open_on("ref");
    const struct model_info *info = engine_info(e);
    struct sequence *s[N_SEQ];

    for (uint64_t i = 0; i < N_SEQ; i++)
        s[i] = start(e, "vanilla", i);
    step(e, s, N_SEQ, true);
    for (int l = 0; l < info->n_layer; l++) {
        const struct part_time *t = find(e, "moe", l);
        int n = 0;

        for (int x = 0; x < info->n_exp; x++) {
            int n_tok = 0;

            for (size_t i = 0; i < N_SEQ; i++)
                n_tok += sequence_result(s[i])->tokens_per_expert[l * info->n_exp + x];
            n += n_tok > 0;
        }
        cr_assert_eq(t->n_unique, n);
    }
    for (size_t i = 0; i < N_SEQ; i++)
        sequence_free(s[i]);
    engine_close(e);
}

/* dmoe: a coreset that the next forward runs by, too. */
Test(times, nothing_else_changes)
{
    static const char *const selectors[] = { "vanilla", "des-vote:beta=0.5", "dmoe" };

    for (size_t i = 0; i < sizeof(selectors) / sizeof(selectors[0]); i++) {
        struct engine *e = open_on("cpu");
        struct sequence *plain = start(e, selectors[i], 5), *timed = start(e, selectors[i], 5);
        const struct generation *a, *b;
        size_t n;

        while (!is_done(&plain, 1))
            step(e, &plain, 1, false);
        while (!is_done(&timed, 1))
            step(e, &timed, 1, true);
        a = sequence_result(plain);
        b = sequence_result(timed);
        cr_assert_eq(a->n_forwards, b->n_forwards);
        cr_assert_eq(memcmp(a->tokens, b->tokens, a->n_positions * sizeof(*a->tokens)), 0);
        cr_assert_eq(memcmp(a->commit_step, b->commit_step, a->n_positions * sizeof(int32_t)), 0);
        n = a->n_forwards * (size_t)a->n_moe_layer;
        for (size_t k = 0; k < n; k++) {
            struct layer_record x = a->layers[k], y = b->layers[k];

            cr_assert(x.n_unique == y.n_unique && x.n_core == y.n_core &&
                          x.n_rerouted == y.n_rerouted && x.kept_mass == y.kept_mass,
                      "%s: layer record %zu", selectors[i], k);
        }
        sequence_free(plain);
        sequence_free(timed);
        engine_close(e);
    }
}

Test(times, what_timing_takes_is_in_no_time_of_a_sequence)
{
    struct engine *e = open_on("ref");
    struct sequence *s;
    const struct generation *g;
    struct timespec from, to;
    int64_t all_ns, steps_ns = 0, parts_ns = 0;
    bool is_timed = false;

    clock_gettime(CLOCK_MONOTONIC, &from);
    s = start(e, "vanilla", 1);
    g = sequence_result(s);
    for (; !sequence_is_done(s); is_timed = true) {
        struct step_times t;
        int64_t sum_ns = 0;

        step(e, &s, 1, is_timed);
        t = engine_step_times(e);
        for (size_t i = 0; i < t.n_parts && is_timed; i++)
            sum_ns += t.parts[i].ns;
        cr_assert_leq(sum_ns, t.took_ns);
        parts_ns += sum_ns;
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    all_ns = (to.tv_sec - from.tv_sec) * 1000000000 + to.tv_nsec - from.tv_nsec;
    for (size_t f = 0; f < g->n_forwards; f++)
        steps_ns += g->forwards[f].wall_ns;
    cr_assert_gt(parts_ns, 0);
    cr_assert_leq(steps_ns + parts_ns, all_ns);
    cr_assert_leq(g->total_ns + parts_ns, all_ns);
    sequence_free(s);
    engine_close(e);
}
