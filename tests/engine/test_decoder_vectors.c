/*
 * Decoders and cache policies against the loops of tools/make_decoder_vectors.py.
 *
 * Corners of the originals, and who looks at them. A name in quotes is a case of tests/vectors/
 * decoder/, here of its decoder's file, or of a checkpoint's (tiny-f32, llada2: test_engine.c).
 *
 *   sampling of LLaDA: noise in f64, confidence without it   kernels/test_pick.c, test_ref.c
 *   sampling of LLaDA2.x: top-k, top-p, ties, its confidence kernels/test_pick.c; "..., sampled"
 *   a schedule that does not divide                          "steps do not divide the block"
 *   more steps than masks, one step                          "more steps than positions", "one ..."
 *   never the mask; a block that proposes nothing else       "... prefer(red) the mask ...";
 *                                                            test_decoder.c, each decoder
 *   bounds: inclusive in threshold, credit; else strict      test_decoder.c: exactly_equal, strict
 *   ties of confidences, of tokens: the lower one            "rows tie", "tokens tie"
 *   factor: none, all but the last, the last                 test_decoder.c: factor_
 *   hierarchy: runs, equals of a run, the best of all        test_decoder.c: hierarchy_
 *   credit: fades, grows, of raw logits, anew each block    "two forwards", "no decay", "no boost",
 *                                                            "none of the old", "plain": 3 blocks
 *   smoothing: its share grows to a bound, the threshold     tiny-f32: "..., smoothing, ..."
 *     falls; with caches; without a threshold
 *   edit: while masks are left, and after; its bounded steps "always edits, a few forwards";
 *                                                            test_decoder.c: edit_
 *   edit never touches the prompt of a shared block          test_decoder.c; "EOS and a mask in the
 *                                                            prompt"
 *   the prompt's tail in the first block, of every length    "a prompt of ..."; test_block_cache.c
 *   the clean pass: needed, merged, not after a last edit    test_clean_pass.c, test_block_cache.c
 *   a refresh that completes its block: no forward more      tiny-f32: "threshold, dual cache"
 *   caches: exact on a block-causal model                    "block-causal, ..." and block cache
 *   vicinity: warm-up within, to the end of, beyond a block  "vicinity, warm-up ..."
 *   an end with masks before it waits                        "EOS before masks waits for them";
 *                                                            test_sequence.c
 *   what is behind an end is no part of the answer           test_sequence.c: early_stop, anywhere
 *   no early stop; an end in the prompt, behind the answer   "EOS, but no ...", "EOS behind ..."
 */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/engine/fake_run.h"

static int64_t get_int(const json_t *c, const char *key)
{
    cr_assert(json_is_integer(json_object_get(c, key)), "%s", key);
    return json_integer_value(json_object_get(c, key));
}

/* Absent: the option is not read. */
static double get_real(const json_t *c, const char *key)
{
    const json_t *v = json_object_get(c, key);

    cr_assert(!v || json_is_number(v), "%s", key);
    return v ? json_number_value(v) : 0;
}

static const char *get_str(const json_t *c, const char *key)
{
    cr_assert(json_is_string(json_object_get(c, key)), "%s", key);
    return json_string_value(json_object_get(c, key));
}

static void check_vector(const json_t *c)
{
    const char *name = get_str(c, "name");
    struct fake_settings f = fake_defaults();
    struct decode_options o = options();
    const json_t *prompt = json_object_get(c, "prompt"), *fwd = json_object_get(c, "forwards");
    const json_t *tokens = json_object_get(c, "tokens"), *steps = json_object_get(c, "commit_step");
    const struct generation *g;
    struct sequence *s;
    struct engine *e;
    int32_t ids[16];

    f.n_vocab = (int)get_int(c, "n_vocab");
    f.mask_id = (int32_t)get_int(c, "mask_id");
    f.eos_id = (int32_t)get_int(c, "eos_id");
    f.seed = (uint64_t)get_int(c, "seed");
    f.scale = json_number_value(json_object_get(c, "scale"));
    f.levels = (int)get_int(c, "levels");
    f.is_twin = json_is_true(json_object_get(c, "is_twin"));
    f.mask_every = (int)get_int(c, "mask_every");
    f.eos_from = (int)get_int(c, "eos_from");
    o.decoder = get_str(c, "decoder");
    o.cache = get_str(c, "cache");
    o.gen_length = (int)get_int(c, "gen_length");
    o.block_length = (int)get_int(c, "block_length");
    o.steps = (int)get_int(c, "steps");
    o.prefix_look = (int)get_int(c, "prefix_look");
    o.after_look = (int)get_int(c, "after_look");
    o.cache_warmup = (int)get_int(c, "cache_warmup");
    o.threshold = get_real(c, "threshold");
    o.low_threshold = get_real(c, "low_threshold");
    o.factor = get_real(c, "factor");
    o.edit_threshold = get_real(c, "edit_threshold");
    o.max_post_steps = (int)get_real(c, "max_post_steps");
    o.credit_alpha = get_real(c, "credit_alpha");
    o.credit_decay = get_real(c, "credit_decay");
    o.credit_boost = get_real(c, "credit_boost");
    f.mask_block = (int)get_real(c, "mask_block");
    o.is_eos_early_stop = json_is_true(json_object_get(c, "eos_early_stop"));
    for (size_t i = 0; i < json_array_size(prompt); i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(prompt, i));

    e = engine_of(&f);
    s = start(e, &o, ids, json_array_size(prompt));
    run(e, &s, 1);
    g = sequence_result(s);
    cr_assert_eq(g->n_positions, json_array_size(tokens), "%s", name);
    cr_assert_eq(g->n_forwards, json_array_size(fwd), "%s: %zu forwards", name, g->n_forwards);
    for (size_t i = 0; i < g->n_positions; i++) {
        cr_assert_eq(g->tokens[i], json_integer_value(json_array_get(tokens, i)),
                     "%s: token %zu is %d", name, i, g->tokens[i]);
        cr_assert_eq(g->commit_step[i], json_integer_value(json_array_get(steps, i)),
                     "%s: position %zu committed at %d", name, i, g->commit_step[i]);
    }
    for (size_t i = 0; i < g->n_forwards; i++) {
        const json_t *pair = json_array_get(fwd, i);

        cr_assert_eq(g->forwards[i].n_tok, json_integer_value(json_array_get(pair, 0)),
                     "%s: forward %zu has %d tokens", name, i, g->forwards[i].n_tok);
        cr_assert_eq(g->forwards[i].n_committed, json_integer_value(json_array_get(pair, 1)),
                     "%s: forward %zu commits %d", name, i, g->forwards[i].n_committed);
        cr_assert_eq(g->forwards[i].is_cache_refresh, json_integer_value(json_array_get(pair, 2)),
                     "%s: forward %zu", name, i);
        cr_assert_eq(g->forwards[i].n_edited, json_integer_value(json_array_get(pair, 3)),
                     "%s: forward %zu edits %d", name, i, g->forwards[i].n_edited);
    }
    sequence_free(s);
    engine_close(e);
}

static void check_vectors(const char *file)
{
    const char *tests = getenv("DESBENCH_TESTS");
    char path[4096];
    json_error_t je;
    json_t *all, *c;
    size_t i;

    cr_assert_not_null(tests, "DESBENCH_TESTS is not set");
    snprintf(path, sizeof(path), "%s/vectors/decoder/%s", tests, file);
    all = json_load_file(path, 0, &je);
    cr_assert_not_null(all, "%s: %s", path, je.text);
    cr_assert_geq(json_array_size(all), 10);
    json_array_foreach(all, i, c) check_vector(c);
    json_decref(all);
}

Test(decoder_vectors, low_confidence_matches_the_independent_loop)
{
    check_vectors("low-confidence.json");
}

Test(decoder_vectors, threshold_matches_the_independent_loop)
{
    check_vectors("threshold.json");
}

Test(decoder_vectors, factor_matches_the_independent_loop)
{
    check_vectors("factor.json");
}

Test(decoder_vectors, hierarchy_matches_the_independent_loop)
{
    check_vectors("hierarchy.json");
}

Test(decoder_vectors, credit_matches_the_independent_loop)
{
    check_vectors("credit.json");
}

Test(decoder_vectors, block_diffusion_matches_the_independent_loop)
{
    check_vectors("block-diffusion.json");
}

Test(decoder_vectors, edit_matches_the_independent_loop)
{
    check_vectors("edit.json");
}
