/* The denoising step: batches, what a forward is asked for, faults, allocations. */
#include <criterion/criterion.h>
#include <limits.h>
#include <string.h>

#include "tests/base/fail_malloc.h"
#include "tests/engine/fake_run.h"

/* ---- independence of the batch --------------------------------------------------------------- */

Test(step, a_batch_gives_each_sequence_what_it_gets_alone)
{
    static const int32_t prompts[3][9] = { { 1, 2, 3 }, { 4, 5, 6, 7, 8, 9, 0, 1, 2 }, { 3 } };
    static const size_t lens[3] = { 3, 9, 1 };
    struct fake_settings f = fake_defaults();
    struct engine *e = engine_of(&f);
    struct decode_options o[3];
    struct sequence *alone, *batch[3];

    three_options(o);
    for (int i = 0; i < 3; i++)
        batch[i] = start(e, &o[i], prompts[i], lens[i]);
    run(e, batch, 3);
    for (int i = 0; i < 3; i++) {
        alone = start(e, &o[i], prompts[i], lens[i]);
        run(e, &alone, 1);
        assert_same(sequence_result(alone), sequence_result(batch[i]));
        sequence_free(alone);
    }
    for (int i = 0; i < 3; i++)
        sequence_free(batch[i]);
    engine_close(e);
}

Test(step, sequences_may_join_and_leave_between_steps)
{
    struct fake_settings f = fake_defaults();
    struct engine *e = engine_of(&f);
    struct decode_options o[3];
    struct sequence *late, *alone, *both[2];

    three_options(o);
    both[0] = start(e, &o[0], prompt5, 5);
    for (int i = 0; i < 9; i++) /* into its second block, or further */
        cr_assert_eq(engine_step(e, both, 1, NULL), ST_OK);
    both[1] = late = start(e, &o[2], prompt5, 2);
    run(e, both, 2);
    sequence_free(both[0]);
    alone = start(e, &o[2], prompt5, 2);
    run(e, &alone, 1);
    assert_same(sequence_result(alone), sequence_result(late));
    sequence_free(alone);
    sequence_free(late);
    engine_close(e);
}

Test(step, a_used_cache_changes_nothing)
{
    struct fake_settings f = fake_defaults();
    struct decode_options o = options();
    struct sequence *first, *again;
    struct engine *e;

    f.max_batch = 1;
    o.cache = "dual";
    e = engine_of(&f);
    for (int round = 0; round < 2; round++) {
        struct engine *fresh = engine_of(&f);

        first = start(fresh, &o, prompt5, 4);
        run(fresh, &first, 1);
        again = start(e, &o, prompt5 + round, 5U - (unsigned)round);
        run(e, &again, 1);
        if (round == 0) { /* leave another canvas in the cache */
            sequence_free(again);
        } else {
            sequence_free(again);
            again = start(e, &o, prompt5, 4);
            run(e, &again, 1);
            assert_same(sequence_result(first), sequence_result(again));
            sequence_free(again);
        }
        sequence_free(first);
        engine_close(fresh);
    }
    engine_close(e);
}

Test(step, the_same_seed_gives_the_same_tokens_and_another_does_not)
{
    struct fake_settings f = fake_defaults();
    struct engine *e = engine_of(&f);
    struct decode_options o = options();
    struct sequence *s[3];
    bool differs = false;

    o.temperature = 1;
    for (unsigned i = 0; i < 3; i++) {
        o.seed = i == 2 ? 2 : 1;
        s[i] = start(e, &o, prompt5, 5);
    }
    run(e, s, 3);
    assert_same(sequence_result(s[0]), sequence_result(s[1]));
    for (size_t i = 0; i < 24; i++)
        differs |= sequence_result(s[0])->tokens[i] != sequence_result(s[2])->tokens[i];
    cr_assert(differs);
    for (int i = 0; i < 3; i++)
        sequence_free(s[i]);
    engine_close(e);
}

Test(step, the_seed_is_nothing_to_greedy_decoding)
{
    struct fake_settings f = fake_defaults();
    struct engine *e = engine_of(&f);
    struct decode_options o = options();
    struct sequence *s[2];

    for (unsigned i = 0; i < 2; i++) {
        o.seed = i;
        s[i] = start(e, &o, prompt5, 5);
    }
    run(e, s, 2);
    assert_same(sequence_result(s[0]), sequence_result(s[1]));
    sequence_free(s[0]);
    sequence_free(s[1]);
    engine_close(e);
}

/* ---- what a forward is asked for ------------------------------------------------------------- */

Test(step, dual_cache_runs_the_canvas_once_a_block_and_then_the_block)
{
    struct fake_settings f = fake_defaults();
    struct decode_options o = options();
    const struct generation *g;
    struct sequence *s;
    struct engine *e = engine_of(&f);
    size_t refreshes = 0;

    o.cache = "dual";
    o.selector = "topk:k=2";
    s = start(e, &o, prompt5, 5);
    g = sequence_result(s);
    while (!sequence_is_done(s)) {
        const struct forward_record *r;
        const struct fake_item *it = &fake_last[0];

        cr_assert_eq(engine_step(e, &s, 1, NULL), ST_OK);
        r = &g->forwards[g->n_forwards - 1];
        cr_assert_eq(fake_n_last, 1);
        cr_assert_eq(it->top_k, 2);
        cr_assert_eq(it->n_kv, 29);
        cr_assert_eq(r->is_cache_refresh, r->step == 0);
        cr_assert_eq(it->first, r->step == 0 ? 0 : 5 + 8 * r->block);
        cr_assert_eq(it->n_tok, r->step == 0 ? 29 : 8);
        cr_assert_eq(r->n_tok, it->n_tok);
        cr_assert_leq(it->n_logits, 8);
        cr_assert_geq(it->n_logits, r->n_masked_before);
        refreshes += r->is_cache_refresh;
    }
    cr_assert_eq(refreshes, 3);
    cr_assert_eq(g->n_forwards_cache, 3);
    sequence_free(s);
    engine_close(e);
}

Test(step, prefix_cache_runs_from_the_block_on)
{
    struct fake_settings f = fake_defaults();
    struct decode_options o = options();
    struct engine *e = engine_of(&f);
    struct sequence *s;

    o.cache = "prefix";
    s = start(e, &o, prompt5, 5);
    while (!sequence_is_done(s)) {
        const struct generation *g = sequence_result(s);
        int first;

        cr_assert_eq(engine_step(e, &s, 1, NULL), ST_OK);
        first =
            g->forwards[g->n_forwards - 1].step ? 5 + 8 * g->forwards[g->n_forwards - 1].block : 0;
        cr_assert(fake_last[0].first == first && fake_last[0].n_tok == 29 - first);
        cr_assert_eq(fake_last[0].n_kv, 29);
    }
    cr_assert_eq(sequence_result(s)->n_forwards_cache, 3);
    sequence_free(s);
    engine_close(e);
}

Test(step, a_vicinity_is_cut_at_the_canvas_even_where_it_is_huge)
{
    struct fake_settings f = fake_defaults();
    struct decode_options o = options();
    struct engine *e = engine_of(&f);
    struct sequence *s;

    o.cache = "vicinity";
    o.prefix_look = o.after_look = INT_MAX;
    o.cache_warmup = 1;
    s = start(e, &o, prompt5, 5);
    while (!sequence_is_done(s)) {
        cr_assert_eq(engine_step(e, &s, 1, NULL), ST_OK);
        cr_assert(fake_last[0].first == 0 && fake_last[0].n_tok == 29 && fake_last[0].n_kv == 29);
    }
    sequence_free(s);
    engine_close(e);
}

Test(step, a_pick_is_keyed_by_seed_forward_and_canvas_position)
{
    struct fake_settings f = fake_defaults();
    struct decode_options o = options();
    struct engine *e = engine_of(&f);
    struct sequence *s;
    uint64_t draw = 0;

    o.temperature = 0.5;
    o.seed = 99;
    s = start(e, &o, prompt5, 5);
    while (!sequence_is_done(s)) {
        const struct pick_params *p = &fake_last_pick.params;

        cr_assert_eq(engine_step(e, &s, 1, NULL), ST_OK);
        cr_assert(p->seed == 99 && p->draw == draw && p->temperature == 0.5);
        cr_assert(p->mask_id == f.mask_id && p->banned_id == -1);
        cr_assert_eq(fake_last_pick.first, fake_last[0].logits_row);
        cr_assert_eq(fake_last_pick.n_rows, fake_last[0].n_logits);
        draw++;
    }
    sequence_free(s);
    engine_close(e);
}

Test(step, without_a_cache_every_forward_is_the_canvas)
{
    struct fake_settings f = fake_defaults();
    struct decode_options o = options();
    struct engine *e = engine_of(&f);
    struct sequence *s = start(e, &o, prompt5, 5);

    while (!sequence_is_done(s)) {
        cr_assert_eq(engine_step(e, &s, 1, NULL), ST_OK);
        cr_assert(fake_last[0].first == 0 && fake_last[0].n_tok == 29 && fake_last[0].n_kv == 29);
    }
    cr_assert_eq(sequence_result(s)->n_forwards_cache, 0);
    sequence_free(s);
    engine_close(e);
}

Test(step, one_step_is_one_forward_for_all)
{
    struct fake_settings f = fake_defaults();
    struct decode_options o = options();
    struct engine *e = engine_of(&f);
    struct sequence *s[3];

    for (int i = 0; i < 3; i++)
        s[i] = start(e, &o, prompt5, 1 + (size_t)i);
    cr_assert_eq(engine_step(e, s, 3, NULL), ST_OK);
    cr_assert(fake_n_forwards == 1 && fake_n_last == 3);
    for (int i = 0; i < 3; i++)
        cr_assert_eq(fake_last[i].n_tok, 25 + i);
    for (int i = 0; i < 3; i++)
        sequence_free(s[i]);
    engine_close(e);
}

Test(step, a_step_of_finished_sequences_runs_nothing)
{
    struct fake_settings f = fake_defaults();
    struct decode_options o = options();
    struct engine *e = engine_of(&f);
    struct sequence *s = start(e, &o, prompt5, 5);
    int n;

    run(e, &s, 1);
    n = fake_n_forwards;
    cr_assert_eq(engine_step(e, &s, 1, NULL), ST_OK);
    cr_assert_eq(engine_step(e, NULL, 0, NULL), ST_OK);
    cr_assert_eq(fake_n_forwards, n);
    sequence_free(s);
    engine_close(e);
}

/* ---- faults ---------------------------------------------------------------------------------- */

Test(step, a_failed_forward_moves_nothing_and_can_be_tried_again)
{
    struct fake_settings f = fake_defaults();
    struct decode_options o = options();
    struct engine *e = engine_of(&f), *broken;
    struct sequence *good, *s;
    struct error err = { 0 };

    good = start(e, &o, prompt5, 5);
    run(e, &good, 1);
    f.fail_forwards = 3;
    broken = engine_of(&f);
    s = start(broken, &o, prompt5, 5);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(engine_step(broken, &s, 1, &err), ST_DEVICE);
        cr_assert_eq(sequence_result(s)->n_forwards, 0);
        cr_assert_eq(sequence_result(s)->tokens[0], f.mask_id);
    }
    run(broken, &s, 1);
    assert_same(sequence_result(good), sequence_result(s));
    sequence_free(s);
    sequence_free(good);
    engine_close(broken);
    engine_close(e);
}

Test(step, logits_that_are_not_finite_are_an_error_and_no_endless_loop)
{
    struct fake_settings f = fake_defaults();
    struct decode_options o = options();
    struct sequence *s;
    struct engine *e;
    struct error err = { 0 };

    f.is_nan = true;
    e = engine_of(&f);
    s = start(e, &o, prompt5, 5);
    cr_assert_eq(engine_step(e, &s, 1, &err), ST_INVALID);
    cr_assert(strstr(err.text, "not finite") && strstr(err.text, "position 5"), "%s", err.text);
    cr_assert_eq(sequence_result(s)->n_forwards, 0);
    sequence_free(s);
    engine_close(e);
}

Test(step, a_sequence_twice_or_of_another_engine_is_an_internal_error)
{
    struct fake_settings f = fake_defaults();
    struct decode_options o = options();
    struct engine *a = engine_of(&f), *b = engine_of(&f);
    struct sequence *s[2];

    s[0] = s[1] = start(a, &o, prompt5, 5);
    cr_assert_eq(engine_step(a, s, 2, NULL), ST_INTERNAL);
    cr_assert_eq(engine_step(b, s, 1, NULL), ST_INTERNAL);
    cr_assert_eq(sequence_result(s[0])->n_forwards, 0);
    sequence_free(s[0]);
    engine_close(a);
    engine_close(b);
}

/* ---- observing ------------------------------------------------------------------------------- */

struct told {
    struct sequence *seqs[4];
    int n, fail_at; /* fail_at: the call that fails; -1: none does */
    int order[64];  /* 10 * layer + index of the sequence */
};

static enum status hear(void *arg, const struct sequence *s, const struct layer_view *v,
                        struct error *err)
{
    struct told *t = arg;
    const struct generation *g = sequence_result(s);
    const struct forward_record *f = &g->forwards[g->n_forwards];
    int i = 0;

    while (t->seqs[i] != s)
        i++;
    cr_assert_eq(v->n_tok, f->n_tok);
    cr_assert_eq(f->n_committed, 0, "nothing is committed yet");
    if (t->n == t->fail_at)
        return error_set(err, ST_IO, "the observer has had enough");
    t->order[t->n++ % 64] = 10 * v->layer + i;
    return ST_OK;
}

Test(step, an_observer_is_told_each_layer_of_each_sequence_that_moves)
{
    static const int expected[] = { 1, 2, 11, 12 };
    struct fake_settings f = fake_defaults();
    struct decode_options o = options();
    struct told t = { .fail_at = -1 };
    struct engine_observer observer = { hear, &t };
    struct engine *e = engine_of(&f);

    for (int i = 0; i < 3; i++)
        t.seqs[i] = start(e, &o, prompt5, 5);
    run(e, t.seqs, 1); /* the first is done, and not told of */
    cr_assert_eq(engine_observe(e, &observer, NULL), ST_OK);
    cr_assert_eq(engine_step(e, t.seqs, 3, NULL), ST_OK);
    cr_assert_eq(t.n, 4);
    for (int i = 0; i < 4; i++)
        cr_assert_eq(t.order[i], expected[i], "call %d", i);
    cr_assert_eq(engine_observe(e, NULL, NULL), ST_OK);
    cr_assert_eq(engine_step(e, t.seqs, 3, NULL), ST_OK);
    cr_assert_eq(t.n, 4, "nobody looks on any more");
    for (int i = 0; i < 3; i++)
        sequence_free(t.seqs[i]);
    engine_close(e);
}

Test(step, an_observer_that_fails_moves_nothing)
{
    struct fake_settings f = fake_defaults();
    struct decode_options o = options();
    struct told t = { .fail_at = 1 };
    struct engine_observer observer = { hear, &t };
    struct engine *e = engine_of(&f);
    struct sequence *alone;
    struct error err = { 0 };

    alone = start(e, &o, prompt5, 5);
    run(e, &alone, 1);
    t.seqs[0] = start(e, &o, prompt5, 5);
    cr_assert_eq(engine_observe(e, &observer, NULL), ST_OK);
    cr_assert_eq(engine_step(e, t.seqs, 1, &err), ST_IO);
    cr_assert(strstr(err.text, "had enough"), "%s", err.text);
    cr_assert_eq(sequence_result(t.seqs[0])->n_forwards, 0);
    t.fail_at = -1;
    run(e, t.seqs, 1);
    assert_same(sequence_result(alone), sequence_result(t.seqs[0]));
    sequence_free(alone);
    sequence_free(t.seqs[0]);
    engine_close(e);
}

/* ---- allocations ----------------------------------------------------------------------------- */

Test(step, steps_allocate_nothing)
{
    struct fake_settings f = fake_defaults();
    struct decode_options o[3];
    struct engine *e = engine_of(&f);
    struct sequence *s[3];
    long before = fail_malloc_count();

    three_options(o);
    for (int i = 0; i < 3; i++)
        s[i] = start(e, &o[i], prompt5, 5);
    cr_assert_gt(fail_malloc_count(), before, "allocations are not counted");
    before = fail_malloc_count();
    run(e, s, 3); /* all blocks, refreshes and ends */
    cr_assert_eq(fail_malloc_count(), before, "%ld allocations in steps",
                 fail_malloc_count() - before);
    for (int i = 0; i < 3; i++)
        sequence_free(s[i]);
    engine_close(e);
}

static enum status try_start(void *arg, struct error *err)
{
    struct decode_options o = options();
    struct model *m = fake_model_new(arg);
    struct engine *e = NULL;
    struct sequence *s = NULL;
    enum status st;

    if (!m)
        return error_set(err, ST_NOMEM, "fake model");
    st = engine_new(m, &e, err);
    if (st)
        model_close(m);
    else
        st = sequence_start(e, &o, prompt5, 5, &s, err);
    sequence_free(s);
    engine_close(e);
    cr_expect_eq(fake_live_caches(), 0);
    return st;
}

Test(step, every_failing_allocation_is_reported)
{
    struct fake_settings f = fake_defaults();
    struct fail_sweep s = { .what = "sequence_start", .f = try_start, .arg = &f };

    cr_expect_gt(fail_malloc_sweep(&s), 5);
}
