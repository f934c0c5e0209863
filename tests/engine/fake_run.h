/* Short hands to run sequences on the made-up model; failures fail the test. */
#ifndef TESTS_ENGINE_FAKE_RUN_H
#define TESTS_ENGINE_FAKE_RUN_H

#include <criterion/criterion.h>

#include "engine/sequence.h"
#include "tests/engine/fake_model.h"

static const int32_t prompt5[] = { 1, 2, 3, 4, 5 };

static inline struct engine *engine_of(const struct fake_settings *f)
{
    struct engine *e = NULL;
    struct error err = { 0 };

    cr_assert_eq(engine_new(fake_model_new(f), &e, &err), ST_OK, "%s", err.text);
    return e;
}

static inline struct decode_options options(void)
{
    return (struct decode_options){ .decoder = "threshold",
                                    .cache = "none",
                                    .selector = "vanilla",
                                    .gen_length = 24,
                                    .block_length = 8,
                                    .threshold = 0.5,
                                    .is_eos_early_stop = true };
}

static inline struct sequence *start(struct engine *e, const struct decode_options *o,
                                     const int32_t *prompt, size_t n)
{
    struct sequence *s = NULL;
    struct error err = { 0 };

    cr_assert_eq(sequence_start(e, o, prompt, n, &s, &err), ST_OK, "%s", err.text);
    return s;
}

/* Step until all are done. */
static inline void run(struct engine *e, struct sequence **s, size_t n)
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

static inline void assert_same(const struct generation *a, const struct generation *b)
{
    cr_assert_eq(a->n_positions, b->n_positions);
    cr_assert_eq(a->n_forwards, b->n_forwards);
    cr_assert_eq(a->n_before_eos, b->n_before_eos);
    cr_assert_eq(a->stop, b->stop);
    for (size_t i = 0; i < a->n_positions; i++) {
        cr_assert_eq(a->tokens[i], b->tokens[i], "token %zu", i);
        cr_assert_eq(a->commit_step[i], b->commit_step[i], "commit step of %zu", i);
    }
}

/* Options of three sequences that have little in common. */
static inline void three_options(struct decode_options o[3])
{
    for (int i = 0; i < 3; i++)
        o[i] = options();
    o[0].cache = "dual";
    o[0].seed = 7;
    o[0].temperature = 1;
    o[1].decoder = "low-confidence";
    o[1].gen_length = 32;
    o[1].block_length = 16;
    o[1].steps = 14;
    o[1].selector = "topk:k=2";
    o[2].temperature = 0.7;
    o[2].seed = 8;
}

#endif
