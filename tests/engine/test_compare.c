/* Rivals: what they see of a sequence's forwards, and that the sequence does not see them. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"

static char dir[4096];
static struct engine *e;
static struct decode_options d;
static float *scratch;
static const int32_t prompt[] = { 3, 1, 4, 1, 5, 9, 2 };
enum { N_PROMPT = 7, N_GEN = 16, N_BLOCK = 8 };

static void set_up(void)
{
    const char *tests = getenv("DESBENCH_TESTS");
    struct error err = { 0 };

    cr_assert_not_null(tests, "DESBENCH_TESTS is not set");
    snprintf(dir, sizeof(dir), "%s/vectors/model/tiny-bf16", tests);
    const struct engine_options o = { .model_dir = dir,
                                      .load_format = "safetensors",
                                      .backend = "ref",
                                      .max_canvas = 64,
                                      .max_batch = 1,
                                      .max_block = N_BLOCK,
                                      .is_diagnosed = true };

    cr_assert_eq(engine_open(&o, &e, &err), ST_OK, "%s", err.text);
    engine_decode_defaults(e, &d);
    d.decoder = "low-confidence";
    d.selector = "vanilla";
    d.cache = "dual";
    d.gen_length = N_GEN;
    d.block_length = N_BLOCK;
    d.steps = 8;
    scratch = calloc((size_t)N_BLOCK * (size_t)engine_info(e)->n_vocab, sizeof(*scratch));
    cr_assert_not_null(scratch);
}

static void tear_down(void)
{
    free(scratch);
    engine_close(e);
}

TestSuite(compare, .init = set_up, .fini = tear_down);

static struct sequence *started(void)
{
    struct sequence *s = NULL;
    struct error err = { 0 };

    cr_assert_eq(sequence_start(e, &d, prompt, N_PROMPT, &s, &err), ST_OK, "%s", err.text);
    return s;
}

static struct rival *a_rival(const char *selector)
{
    struct decode_options o = d;
    struct rival *r = NULL;
    struct error err = { 0 };

    o.selector = selector;
    cr_assert_eq(rival_new(e, &o, N_PROMPT, &r, &err), ST_OK, "%s", err.text);
    return r;
}

Test(compare, the_same_selector_sees_the_same)
{
    static const char *const same[] = { "vanilla", "des-vote:beta=1", "topk:k=2" };
    struct rival *r[3];
    struct sequence *s = started();
    struct error err = { 0 };

    for (int i = 0; i < 3; i++)
        r[i] = a_rival(same[i]);
    while (!sequence_is_done(s)) {
        cr_assert_eq(engine_step_rivals(e, s, r, 3, scratch, &err), ST_OK, "%s", err.text);
        for (int i = 0; i < 3; i++) {
            const struct rival_view *v = rival_result(r[i]);
            const struct generation *g = sequence_result(s);

            cr_assert_eq(v->n_positions, g->forwards[g->n_forwards - 1].n_masked_before);
            for (int k = 0; k < v->n_positions; k++)
                cr_assert(v->positions[k].kl == 0 && v->positions[k].delta_p == 0 &&
                          v->positions[k].is_same_token && !v->positions[k].is_flip);
            for (int l = 0; l < engine_info(e)->n_moe_layer; l++) {
                cr_assert_eq(v->output_errors[l], 0);
                cr_assert_eq(
                    v->layers[l].n_unique,
                    g->layers[(g->n_forwards - 1) * (size_t)g->n_moe_layer + (size_t)l].n_unique);
            }
        }
    }
    for (int i = 0; i < 3; i++)
        rival_free(r[i]);
    sequence_free(s);
}

Test(compare, a_smaller_budget_shows_and_changes_nothing_of_the_sequence)
{
    static const char *const caches[] = { "none", "prefix", "dual", "vicinity" };

    for (int c = 0; c < 4; c++) {
        int32_t tokens[N_GEN];
        struct sequence *s;
        struct rival *r[2];
        struct error err = { 0 };
        double kl = 0, error = 0, least = 0;

        d.cache = caches[c];
        s = started();
        while (!sequence_is_done(s))
            cr_assert_eq(engine_step(e, &s, 1, &err), ST_OK, "%s", err.text);
        memcpy(tokens, sequence_result(s)->tokens, sizeof(tokens));
        sequence_free(s);

        s = started();
        r[0] = a_rival("topk:k=1,prefill=on");
        r[1] = a_rival("previous-step:m=2");
        while (!sequence_is_done(s)) {
            cr_assert_eq(engine_step_rivals(e, s, r, 2, scratch, &err), ST_OK, "%s", err.text);
            for (int i = 0; i < 2; i++) {
                const struct rival_view *v = rival_result(r[i]);

                for (int k = 0; k < v->n_positions; k++) {
                    cr_assert(isfinite(v->positions[k].kl));
                    least = v->positions[k].kl < least ? v->positions[k].kl : least;
                    kl += v->positions[k].kl;
                }
                error += v->output_errors[0];
            }
        }
        cr_expect_arr_eq(sequence_result(s)->tokens, tokens, sizeof(tokens), "cache %s", caches[c]);
        cr_expect(kl > 0 && error > 0 && least >= 0, "%g %g %g", kl, error, least);
        rival_free(r[0]);
        rival_free(r[1]);
        sequence_free(s);
    }
}
