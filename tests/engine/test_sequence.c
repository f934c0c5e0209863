/* Sequences over a made-up model: records, the end of an answer, refusals. */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/engine/fake_run.h"

/* ---- records --------------------------------------------------------------------------------- */

Test(sequence, records_agree_with_each_other)
{
    struct fake_settings f = fake_defaults();
    struct decode_options o[3];
    struct engine *e = engine_of(&f);
    struct sequence *s[3];

    three_options(o);
    for (int i = 0; i < 3; i++)
        s[i] = start(e, &o[i], prompt5, 5);
    run(e, s, 3);
    for (int i = 0; i < 3; i++) {
        const struct generation *g = sequence_result(s[i]);
        int block = 0, step = 0, masked = o[i].block_length, per_forward[64] = { 0 };
        int64_t sum = 0;

        cr_assert(g->n_prompt == 5 && g->n_positions == (size_t)o[i].gen_length);
        cr_assert(g->n_moe_layer == FAKE_N_LAYER && g->n_exp == FAKE_N_EXP);
        for (size_t p = 0; p < g->n_positions; p++) {
            cr_assert(g->commit_step[p] >= 0 && (size_t)g->commit_step[p] < g->n_forwards);
            cr_assert_eq(g->forwards[g->commit_step[p]].block, (int)p / o[i].block_length);
            per_forward[g->commit_step[p]]++;
        }
        for (size_t k = 0; k < g->n_forwards; k++) {
            const struct forward_record *r = &g->forwards[k];

            cr_assert(r->block == block && r->step == step && r->n_masked_before == masked,
                      "forward %zu", k);
            cr_assert_eq(r->n_committed, per_forward[k]);
            cr_assert_geq(r->n_committed, 1);
            cr_assert_gt(r->wall_ns, 0);
            sum += r->wall_ns;
            step++;
            masked -= r->n_committed;
            if (!masked) {
                masked = o[i].block_length;
                step = 0;
                block++;
            }
        }
        cr_assert_eq(block, o[i].gen_length / o[i].block_length);
        cr_assert(0 < g->first_block_ns && g->first_block_ns < g->total_ns);
        cr_assert_leq(sum, g->total_ns);
        sequence_free(s[i]);
    }
    engine_close(e);
}

Test(sequence, routing_records_are_the_sequences_own)
{
    struct fake_settings f = fake_defaults();
    struct decode_options o = options();
    struct engine *e = engine_of(&f);
    struct sequence *s[2];

    s[0] = start(e, &o, prompt5, 5);
    o.cache = "dual";
    s[1] = start(e, &o, prompt5, 2);
    run(e, s, 2);
    for (int i = 0; i < 2; i++) {
        const struct generation *g = sequence_result(s[i]);

        for (size_t k = 0; k < g->n_forwards; k++)
            for (int l = 0; l < FAKE_N_LAYER; l++) {
                size_t at = k * FAKE_N_LAYER + (size_t)l;
                const struct layer_record *r = &g->layers[at];
                int n_tok = g->forwards[k].n_tok;

                cr_assert_eq(r->n_unique, l + n_tok % 3);
                cr_assert_eq(r->n_rerouted, n_tok);
                cr_assert_eq(r->expert_bytes, r->n_unique * FAKE_EXPERT_BYTES);
                cr_assert_eq(r->kept_mass, 0.5);
                for (int x = 0; x < FAKE_N_EXP; x++)
                    cr_assert_eq(g->tokens_per_expert[at * FAKE_N_EXP + (size_t)x],
                                 n_tok * 100 + l * 10 + x);
            }
        sequence_free(s[i]);
    }
    engine_close(e);
}

/* ---- the end of an answer -------------------------------------------------------------------- */

Test(sequence, early_stop_fills_with_eos_after_the_block_and_keeps_its_tail)
{
    struct fake_settings f = fake_defaults();
    struct decode_options o = options();
    const struct generation *g;
    struct sequence *s;
    struct engine *e;

    f.eos_from = 16; /* position 11 of what is generated: in the second block */
    o.decoder = "low-confidence";
    e = engine_of(&f);
    s = start(e, &o, prompt5, 5);
    run(e, &s, 1);
    g = sequence_result(s);
    cr_assert_eq(g->stop, STOP_EOS);
    cr_assert(g->n_before_eos >= 8 && g->n_before_eos <= 15, "%zu", g->n_before_eos);
    cr_assert_eq(g->n_forwards, 16);
    cr_assert_eq(g->forwards[15].block, 1);
    for (size_t i = 0; i < 16; i++)
        cr_assert_neq(g->commit_step[i], -1, "position %zu was decoded", i);
    for (size_t i = 16; i < 24; i++) {
        cr_assert_eq(g->tokens[i], f.eos_id);
        cr_assert_eq(g->commit_step[i], -1);
    }
    cr_assert_eq(g->tokens[g->n_before_eos], f.eos_id);
    sequence_free(s);
    engine_close(e);
}

Test(sequence, an_eos_committed_early_does_not_stop_an_unfinished_block)
{
    struct fake_settings f = fake_defaults();
    struct decode_options o = options();
    const struct generation *g;
    struct sequence *s;
    struct engine *e;
    bool has_eos = false;

    f.eos_from = 11; /* the end of the first block: EOS is committed before what precedes it */
    f.scale = 30;
    o.decoder = "low-confidence";
    e = engine_of(&f);
    s = start(e, &o, prompt5, 5);
    g = sequence_result(s);
    for (int step = 0; step < 7; step++) {
        cr_assert_eq(engine_step(e, &s, 1, NULL), ST_OK);
        for (int i = 0; i < 8; i++)
            has_eos |= g->tokens[i] == f.eos_id;
        cr_assert_not(sequence_is_done(s), "step %d", step);
    }
    cr_assert(has_eos);
    cr_assert_eq(engine_step(e, &s, 1, NULL), ST_OK);
    cr_assert(sequence_is_done(s));
    for (int i = 0; i < 8; i++)
        cr_assert_neq(g->tokens[i], f.mask_id);
    sequence_free(s);
    engine_close(e);
}

Test(sequence, an_eos_anywhere_in_a_block_stops_after_it)
{
    for (int pos = 5; pos < 5 + 16; pos++) { /* EOS from here to the end of the canvas */
        struct fake_settings f = fake_defaults();
        struct decode_options o = options();
        const struct generation *g;
        struct sequence *s;
        struct engine *e;

        f.eos_from = pos;
        f.scale = 30;
        e = engine_of(&f);
        s = start(e, &o, prompt5, 5);
        run(e, &s, 1);
        g = sequence_result(s);
        cr_assert_eq((int)g->n_before_eos, pos - 5);
        cr_assert_eq(g->forwards[g->n_forwards - 1].block, (pos - 5) / 8);
        sequence_free(s);
        engine_close(e);
    }
}

Test(sequence, without_early_stop_every_block_is_denoised)
{
    struct fake_settings f = fake_defaults();
    struct decode_options o = options();
    struct sequence *s;
    struct engine *e;

    f.eos_from = 11;
    o.is_eos_early_stop = false;
    e = engine_of(&f);
    s = start(e, &o, prompt5, 5);
    run(e, &s, 1);
    for (size_t i = 0; i < 24; i++)
        cr_assert_neq(sequence_result(s)->commit_step[i], -1);
    cr_assert_eq(sequence_result(s)->stop, STOP_EOS);
    cr_assert_eq(sequence_result(s)->n_before_eos, 6);
    sequence_free(s);
    engine_close(e);
}

Test(sequence, an_answer_without_eos_was_cut_by_its_length)
{
    struct fake_settings f = fake_defaults();
    struct decode_options o = options();
    struct engine *e = engine_of(&f);
    struct sequence *s = start(e, &o, prompt5, 5);

    run(e, &s, 1);
    cr_assert_eq(sequence_result(s)->stop, STOP_LENGTH);
    cr_assert_eq(sequence_result(s)->n_before_eos, 24);
    sequence_free(s);
    engine_close(e);
}

Test(sequence, eos_in_the_prompt_stops_nothing)
{
    static const int32_t prompt[] = { 10, 10, 10 };
    struct fake_settings f = fake_defaults();
    struct decode_options o = options();
    struct engine *e = engine_of(&f);
    struct sequence *s = start(e, &o, prompt, 3);

    run(e, &s, 1);
    cr_assert_eq(sequence_result(s)->stop, STOP_LENGTH);
    sequence_free(s);
    engine_close(e);
}

Test(sequence, the_other_token_that_ends_an_answer_counts_as_eos)
{
    struct fake_settings f = fake_defaults();
    struct decode_options o = options();
    const struct generation *g;
    struct sequence *s;
    struct engine *e = engine_of(&f);
    int32_t end;

    s = start(e, &o, prompt5, 5);
    run(e, &s, 1);
    end = sequence_result(s)->tokens[3]; /* a token that the first block holds */
    sequence_free(s);
    e->answer_end_id = end;
    s = start(e, &o, prompt5, 5);
    run(e, &s, 1);
    g = sequence_result(s);
    cr_assert_eq(g->stop, STOP_EOS);
    cr_assert_leq(g->n_before_eos, 3);
    cr_assert_eq(g->tokens[g->n_before_eos], end);
    for (size_t i = 8; i < 24; i++)
        cr_assert_eq(g->tokens[i], f.eos_id);
    sequence_free(s);
    engine_close(e);
}

Test(sequence, the_prompt_and_a_mask_in_it_stay)
{
    static const int32_t prompt[] = { 3, 11, 4 };
    struct fake_settings f = fake_defaults();
    struct decode_options o = options();
    struct engine *e = engine_of(&f);
    struct sequence *s = start(e, &o, prompt, 3);
    const int32_t *canvas = sequence_result(s)->tokens - 3;

    run(e, &s, 1);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(canvas[i], prompt[i]);
    for (size_t i = 0; i < 24; i++)
        cr_assert_neq(sequence_result(s)->tokens[i], f.mask_id);
    sequence_free(s);
    engine_close(e);
}

/* ---- temperature ----------------------------------------------------------------------------- */

Test(sequence, a_temperature_set_between_steps_holds_from_the_next_on)
{
    struct fake_settings f = fake_defaults();
    struct decode_options o = options();
    struct engine *e = engine_of(&f);
    struct sequence *greedy = start(e, &o, prompt5, 5), *drawn, *set;
    bool is_other = false;

    o.temperature = 3;
    drawn = start(e, &o, prompt5, 5);
    set = start(e, &o, prompt5, 5);
    sequence_set_temperature(set, 0);
    run(e, &greedy, 1);
    run(e, &drawn, 1);
    run(e, &set, 1);
    for (size_t i = 0; i < 24; i++) {
        cr_assert_eq(sequence_result(set)->tokens[i], sequence_result(greedy)->tokens[i]);
        is_other |= sequence_result(drawn)->tokens[i] != sequence_result(greedy)->tokens[i];
    }
    cr_assert(is_other);
    sequence_free(greedy);
    sequence_free(drawn);
    sequence_free(set);
    engine_close(e);
}

/* ---- refusals -------------------------------------------------------------------------------- */

Test(sequence, a_prompt_that_does_not_fit_names_both_numbers)
{
    struct fake_settings f = fake_defaults();
    struct decode_options o = options();
    struct engine *e = engine_of(&f);
    struct sequence *s = NULL;
    struct error err = { 0 };
    int32_t prompt[41] = { 0 };

    cr_assert_eq(sequence_start(e, &o, prompt, 41, &s, &err), ST_INVALID);
    cr_assert(strstr(err.text, "41") && strstr(err.text, "40"), "%s", err.text);
    cr_assert_null(s);
    s = start(e, &o, prompt, 40);
    run(e, &s, 1);
    sequence_free(s);
    engine_close(e);
}

Test(sequence, a_token_outside_the_vocabulary_is_refused_by_place_and_value)
{
    static const int32_t prompts[2][3] = { { 1, 12, 2 }, { 1, -1, 2 } };
    struct fake_settings f = fake_defaults();
    struct decode_options o = options();
    struct engine *e = engine_of(&f);

    for (int i = 0; i < 2; i++) {
        struct sequence *s = NULL;
        struct error err = { 0 };

        cr_assert_eq(sequence_start(e, &o, prompts[i], 3, &s, &err), ST_INVALID);
        cr_assert(strstr(err.text, "token 1 is") && strstr(err.text, "0 .. 11"), "%s", err.text);
    }
    engine_close(e);
}

Test(sequence, no_more_sequences_than_the_engine_was_opened_for)
{
    struct fake_settings f = fake_defaults();
    struct decode_options o = options();
    struct engine *e = engine_of(&f);
    struct sequence *s[4], *more = NULL;
    struct error err = { 0 };

    for (int i = 0; i < 4; i++)
        s[i] = start(e, &o, prompt5, 5);
    cr_assert_eq(sequence_start(e, &o, prompt5, 5, &more, &err), ST_INVALID);
    cr_assert(strstr(err.text, "4"), "%s", err.text);
    sequence_free(s[1]);
    s[1] = start(e, &o, prompt5, 5);
    run(e, s, 4);
    for (int i = 0; i < 4; i++)
        sequence_free(s[i]);
    engine_close(e);
    cr_assert_eq(fake_live_caches(), 0);
}

Test(sequence, an_engine_that_cannot_decode_is_refused)
{
    struct fake_settings f = fake_defaults();
    struct engine *e = NULL;
    struct model *m;
    struct error err = { 0 };

    f.has_no_pick = true;
    m = fake_model_new(&f);
    cr_assert_eq(engine_new(m, &e, &err), ST_UNSUPPORTED);
    cr_assert(strstr(err.text, "pick"), "%s", err.text);
    model_close(m);
    f = fake_defaults();
    f.max_canvas = 70000;
    m = fake_model_new(&f);
    cr_assert_eq(engine_new(m, &e, &err), ST_INVALID);
    cr_assert(strstr(err.text, "70000"), "%s", err.text);
    model_close(m);
    f = fake_defaults();
    f.fail_caches = 2;
    m = fake_model_new(&f);
    cr_assert_eq(engine_new(m, &e, &err), ST_NOMEM);
    cr_assert_str_eq(err.text, "no room for a cache");
    cr_assert_eq(fake_live_caches(), 0);
    model_close(m);
    cr_assert_null(e);
}
