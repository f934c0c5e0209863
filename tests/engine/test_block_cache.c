/* The cache of finished blocks: exact on a block-causal model, and what its forwards hold. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "engine/sequence_impl.h"
#include "tests/base/fail_malloc.h"
#include "tests/engine/fake_run.h"
#include "tests/engine/plan_unclean.h"

enum { BLOCK = 32, GEN = 96, MAX_PROMPT = 95 };

static const int prompt_lengths[] = { 0, 1, 31, 32, 33, 64, 95 };
enum { N_PROMPTS = sizeof(prompt_lengths) / sizeof(prompt_lengths[0]) };

static struct engine *causal_engine(void)
{
    struct fake_settings f = fake_defaults();

    f.mask_block = BLOCK;
    f.max_canvas = f.max_block = 192;
    return engine_of(&f);
}

static struct decode_options causal_options(const char *decoder)
{
    return (struct decode_options){ .decoder = decoder,
                                    .cache = "block",
                                    .selector = "vanilla",
                                    .gen_length = GEN,
                                    .block_length = BLOCK,
                                    .threshold = 0.5,
                                    .low_threshold = 0.4,
                                    .factor = 1,
                                    .credit_alpha = 0.7,
                                    .credit_decay = 0.8,
                                    .credit_boost = 0.2,
                                    .edit_threshold = 0.75,
                                    .max_post_steps = 4 };
}

static void fill_prompt(int32_t *prompt)
{
    for (int i = 0; i < MAX_PROMPT; i++)
        prompt[i] = (i * 7 + 3) % 10;
}

/* Decode under a policy of caches; a copy of the answer. */
static void decode_with(struct engine *e, const struct decode_options *o,
                        const struct cache_policy *policy, int n_prompt, int32_t *ret_tokens,
                        int *ret_forwards)
{
    int32_t prompt[MAX_PROMPT];
    struct sequence *s;

    fill_prompt(prompt);
    s = start(e, o, prompt, (size_t)n_prompt);
    s->setup.cache = policy;
    for (int i = 0; i < 2000 && !sequence_is_done(s); i++)
        cr_assert_eq(engine_step(e, &s, 1, NULL), ST_OK);
    cr_assert(sequence_is_done(s));
    memcpy(ret_tokens, sequence_result(s)->tokens, GEN * sizeof(*ret_tokens));
    *ret_forwards = (int)sequence_result(s)->n_forwards;
    sequence_free(s);
}

static bool is_same_answer(const char *decoder, const struct cache_policy *policy, int n_prompt)
{
    struct engine *e = causal_engine();
    struct decode_options o = causal_options(decoder);
    int32_t plain[GEN], cached[GEN];
    int n_plain, n_cached;

    decode_with(e, &o, cache_policy_find("none"), n_prompt, plain, &n_plain);
    decode_with(e, &o, policy, n_prompt, cached, &n_cached);
    engine_close(e);
    return n_plain == n_cached && memcmp(plain, cached, sizeof(plain)) == 0;
}

Test(block_cache, answers_are_those_without_a_cache_whatever_the_prompt)
{
    for (const struct engine_choice *d = engine_decoders(); d->name; d++)
        for (int i = 0; i < N_PROMPTS; i++)
            cr_assert(is_same_answer(d->name, cache_policy_find("block"), prompt_lengths[i]),
                      "%s, %d prompt tokens", d->name, prompt_lengths[i]);
}

Test(block_cache, caches_that_are_approximate_elsewhere_are_exact_here)
{
    static const char *const names[] = { "prefix", "dual", "vicinity" };

    for (int k = 0; k < 3; k++)
        for (int i = 0; i < N_PROMPTS; i++)
            cr_assert(is_same_answer("threshold", cache_policy_find(names[k]), prompt_lengths[i]),
                      "%s, %d prompt tokens", names[k], prompt_lengths[i]);
}

Test(block_cache, without_the_clean_pass_answers_differ)
{
    const struct cache_policy unclean = { .about = cache_policy_find("block")->about,
                                          .plan = plan_unclean };

    for (int i = 0; i < N_PROMPTS; i++)
        cr_assert_not(is_same_answer("block-diffusion", &unclean, prompt_lengths[i]),
                      "%d prompt tokens", prompt_lengths[i]);
}

Test(block_cache, a_forward_holds_the_block_and_at_first_what_is_not_cached_yet)
{
    struct engine *e = causal_engine();
    struct decode_options o = causal_options("block-diffusion");
    int32_t prompt[MAX_PROMPT];

    fill_prompt(prompt);
    for (int i = 0; i < N_PROMPTS; i++) {
        struct sequence *s = start(e, &o, prompt, (size_t)prompt_lengths[i]);
        const struct generation *g = sequence_result(s);
        int first = prompt_lengths[i] / BLOCK * BLOCK, n_refresh = 0;

        while (!sequence_is_done(s)) {
            const struct forward_record *f;
            int begin, from;

            cr_assert_eq(engine_step(e, &s, 1, NULL), ST_OK);
            f = &g->forwards[g->n_forwards - 1];
            begin = first + f->block * BLOCK;
            from = f->step ? begin : f->block ? begin - BLOCK : 0;
            cr_assert_eq(fake_last[0].first, from);
            cr_assert_eq(fake_last[0].n_tok, begin + BLOCK - from);
            cr_assert_eq(fake_last[0].n_kv, begin + BLOCK);
            cr_assert_eq(f->is_cache_refresh, from < begin);
            n_refresh += f->is_cache_refresh;
        }
        /* a forward a step: the clean passes, and the prompt's, are part of others */
        cr_assert_eq(g->forwards[g->n_forwards - 1].block,
                     (prompt_lengths[i] + GEN - 1) / BLOCK - first / BLOCK);
        cr_assert_eq(g->n_forwards_cache, (size_t)n_refresh);
        cr_assert_eq(n_refresh, g->forwards[g->n_forwards - 1].block + (first > 0));
        sequence_free(s);
    }
    engine_close(e);
}

Test(block_cache, an_edit_that_ends_by_itself_leaves_nothing_to_clean)
{
    struct engine *e = causal_engine();
    struct decode_options o = causal_options("edit");
    int n_clean = 0, n_merged = 0;
    int32_t prompt[MAX_PROMPT];
    struct sequence *s;

    fill_prompt(prompt);
    o.edit_threshold = 0.3;
    s = start(e, &o, prompt, 40);
    while (!sequence_is_done(s)) {
        const struct generation *g = sequence_result(s);
        const struct forward_record *f, *before;

        cr_assert_eq(engine_step(e, &s, 1, NULL), ST_OK);
        f = &g->forwards[g->n_forwards - 1];
        before = f - 1;
        if (f->step || !f->block)
            continue;
        if (before->n_masked_before == 0 && before->n_edited == 0) {
            cr_assert(fake_last[0].n_tok == BLOCK && !f->is_cache_refresh);
            n_clean++;
        } else {
            cr_assert(fake_last[0].n_tok == 2 * BLOCK && f->is_cache_refresh);
            n_merged++;
        }
    }
    cr_assert(n_clean + n_merged == 3, "%d and %d", n_clean, n_merged);
    cr_assert_gt(n_merged, 0);
    sequence_free(s);
    o.edit_threshold = 1; /* never */
    s = start(e, &o, prompt, 40);
    while (!sequence_is_done(s)) {
        const struct generation *g = sequence_result(s);

        cr_assert_eq(engine_step(e, &s, 1, NULL), ST_OK);
        if (g->n_forwards > 1)
            cr_assert_eq(fake_last[0].n_tok, BLOCK);
    }
    sequence_free(s);
    engine_close(e);
}

Test(block_cache, the_cache_of_another_sequence_does_not_show)
{
    struct engine *e = causal_engine(), *fresh = causal_engine();
    struct decode_options o = causal_options("block-diffusion");
    const struct cache_policy *policy = cache_policy_find("block");
    int32_t first[GEN], again[GEN];
    int n;

    decode_with(fresh, &o, policy, 33, first, &n);
    decode_with(e, &o, policy, 95, again, &n);
    decode_with(e, &o, policy, 33, again, &n);
    cr_assert_eq(memcmp(first, again, sizeof(first)), 0);
    engine_close(e);
    engine_close(fresh);
}

Test(block_cache, a_failed_step_can_be_tried_again)
{
    struct engine *e = causal_engine(), *broken;
    struct decode_options o = causal_options("edit");
    struct fake_settings f = fake_defaults();
    struct sequence *good, *s;
    int32_t prompt[MAX_PROMPT];

    f.mask_block = BLOCK;
    f.max_canvas = f.max_block = 192;
    f.fail_forwards = 3;
    broken = engine_of(&f);
    fill_prompt(prompt);
    good = start(e, &o, prompt, 33);
    s = start(broken, &o, prompt, 33);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(engine_step(broken, &s, 1, NULL), ST_DEVICE);
    for (int i = 0; i < 2000 && !(sequence_is_done(s) && sequence_is_done(good)); i++) {
        cr_assert_eq(engine_step(e, &good, 1, NULL), ST_OK);
        cr_assert_eq(engine_step(broken, &s, 1, NULL), ST_OK);
    }
    assert_same(sequence_result(good), sequence_result(s));
    sequence_free(s);
    sequence_free(good);
    engine_close(broken);
    engine_close(e);
}

Test(block_cache, steps_of_no_decoder_allocate)
{
    struct engine *e = causal_engine();
    int32_t prompt[MAX_PROMPT];

    fill_prompt(prompt);
    for (const struct engine_choice *d = engine_decoders(); d->name; d++) {
        struct decode_options o = causal_options(d->name);
        struct sequence *s = start(e, &o, prompt, 33);
        long before = fail_malloc_count();

        while (!sequence_is_done(s))
            cr_assert_eq(engine_step(e, &s, 1, NULL), ST_OK);
        cr_assert_eq(fail_malloc_count(), before, "%s", d->name);
        sequence_free(s);
    }
    engine_close(e);
}

Test(block_cache, a_bidirectional_model_has_none)
{
    struct fake_settings f = fake_defaults();
    struct engine *e = engine_of(&f);
    struct decode_options o = options();
    struct error err = { 0 };

    o.cache = "block";
    cr_assert_eq(engine_check_decode(e, &o, 0, &err), ST_UNSUPPORTED);
    cr_assert(strstr(err.text, "'block'"), "%s", err.text);
    engine_close(e);
}
