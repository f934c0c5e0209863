/* Decoders on recorded proposals: rules, ties, corners. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/rng.h"
#include "engine/decoder.h"

enum { N = 8 };

/* A block written as proposals: 'm' prefers the mask, '-' is already committed. */
struct block {
    struct decode_block b;
    struct pick picks[N];
    bool masked[N];
};

static void block_init(struct block *k, const char *rows, const float *prob)
{
    memset(k, 0, sizeof(*k));
    k->b = (struct decode_block){ .picks = k->picks, .is_masked = k->masked };
    k->b.n = (int)strlen(rows);
    for (int i = 0; i < k->b.n; i++) {
        k->masked[i] = rows[i] != '-';
        k->picks[i] = (struct pick){ i + 100, prob[i], rows[i] == 'm' };
        k->b.n_masked_start += k->masked[i];
    }
}

/* The commits as text, 'x' for committed. */
static const char *commit(const char *decoder, const struct block *k)
{
    static char text[N + 1];
    bool c[N];
    int n = decoder_find(decoder)->commit(&k->b, c), found = 0;

    memset(text, 0, sizeof(text));
    for (int i = 0; i < k->b.n; i++) {
        text[i] = c[i] ? 'x' : '.';
        found += c[i];
    }
    cr_assert_eq(n, found, "returned %d, set %d", n, found);
    return text;
}

static const char *threshold(const char *rows, const float *prob, double t)
{
    struct block k;

    block_init(&k, rows, prob);
    k.b.threshold = (float)t;
    return commit("threshold", &k);
}

Test(decoder, threshold_commits_all_above)
{
    cr_assert_str_eq(threshold("....", (float[]){ 0.9F, 0.3F, 0.95F, 0.79F }, 0.8), "x.x.");
}

Test(decoder, threshold_commits_the_best_when_none_is_above)
{
    cr_assert_str_eq(threshold("....", (float[]){ 0.1F, 0.3F, 0.2F, 0.25F }, 0.8), ".x..");
}

Test(decoder, threshold_commits_what_is_within_1e_5_of_the_best)
{
    cr_assert_str_eq(threshold("....", (float[]){ 0.3F, 0.3F, 0.299995F, 0.29998F }, 0.8), "xxx.");
}

Test(decoder, threshold_admits_a_confidence_exactly_equal)
{
    cr_assert_str_eq(threshold("...", (float[]){ 0.99F, 0.5F, 0.4999999F }, 0.5), "xx.");
    /* compared in f32, where 0.9 is 0.9f, although 0.9f < 0.9 */
    cr_assert_str_eq(threshold("...", (float[]){ 0.99F, 0.9F, 0.89999F }, 0.9), "xx.");
}

Test(decoder, threshold_of_one_still_commits_certain_rows_together)
{
    cr_assert_str_eq(threshold("...", (float[]){ 1.0F, 0.999F, 1.0F }, 1.0), "x.x");
}

Test(decoder, threshold_of_zero_commits_all_that_do_not_prefer_the_mask)
{
    cr_assert_str_eq(threshold(".m.-", (float[]){ 0.0F, 0.9F, 0.1F, 0.9F }, 0.0), "x.x.");
}

Test(decoder, threshold_passes_over_rows_that_prefer_the_mask)
{
    cr_assert_str_eq(threshold("m..", (float[]){ 0.45F, 0.2F, 0.3F }, 0.4), "..x");
}

Test(decoder, threshold_commits_one_when_every_row_prefers_the_mask)
{
    cr_assert_str_eq(threshold("mmm", (float[]){ 0.2F, 0.4F, 0.4F }, 0.1), ".x.");
    cr_assert_str_eq(threshold("-m-", (float[]){ 0.9F, 0.0F, 0.9F }, 0.1), ".x.");
}

Test(decoder, committed_rows_are_never_chosen)
{
    cr_assert_str_eq(threshold("-..-", (float[]){ 1.0F, 0.3F, 0.4F, 1.0F }, 0.9), "..x.");
}

Test(decoder, low_confidence_gives_the_remainder_to_the_first_steps)
{
    float prob[N] = { 0.1F, 0.2F, 0.3F, 0.4F, 0.5F, 0.6F, 0.7F, 0.8F };
    static const char *const want[] = { ".....xxx", "..xxx...", "xx......" };
    struct block k;

    block_init(&k, "........", prob); /* 8 masks in 3 steps: 3, 3, 2 */
    k.b.n_steps = 3;
    for (k.b.step = 0; k.b.step < 3; k.b.step++) {
        const char *got = commit("low-confidence", &k);

        cr_assert_str_eq(got, want[k.b.step]);
        for (int i = 0; i < N; i++)
            k.masked[i] &= got[i] != 'x';
    }
}

Test(decoder, low_confidence_counts_the_masks_at_block_entry)
{
    struct block k;

    block_init(&k, "--...-..", (float[N]){ 0, 0, 0.3F, 0.2F, 0.1F, 0, 0.4F, 0.5F });
    k.b.n_steps = 2; /* 5 masks: 3, 2 */
    cr_assert_str_eq(commit("low-confidence", &k), "..x...xx");
}

Test(decoder, low_confidence_with_more_steps_than_masks_takes_one_a_step)
{
    struct block k;

    block_init(&k, "....", (float[]){ 0.1F, 0.4F, 0.3F, 0.2F });
    k.b.n_steps = 10;
    k.b.step = 3;
    k.masked[0] = k.masked[1] = k.masked[3] = false;
    cr_assert_str_eq(commit("low-confidence", &k), "..x.");
}

Test(decoder, low_confidence_ties_go_to_the_lower_position)
{
    struct block k;

    block_init(&k, "......", (float[]){ 0.2F, 0.5F, 0.5F, 0.5F, 0.2F, 0.2F });
    k.b.n_steps = 3;
    cr_assert_str_eq(commit("low-confidence", &k), ".xx...");
    k.b.n_steps = 1;
    cr_assert_str_eq(commit("low-confidence", &k), "xxxxxx");
}

Test(decoder, low_confidence_takes_rows_that_prefer_the_mask_by_their_confidence)
{
    struct block k;

    block_init(&k, "m.m.", (float[]){ 0.4F, 0.2F, 0.3F, 0.1F });
    k.b.n_steps = 2;
    cr_assert_str_eq(commit("low-confidence", &k), "x.x.");
}

/* Whatever the proposals: at least one commit, masked rows only, and none that is less
 * confident than a candidate left behind. */
Test(decoder, commits_are_masked_and_the_most_confident)
{
    static const char *const names[] = { "threshold", "low-confidence" };
    struct rng r;

    rng_seed(&r, 20261122);
    for (int round = 0; round < 20000; round++) {
        const struct decoder *d = decoder_find(names[round % 2]);
        bool c[N], skips;
        struct block k;
        float prob[N], least = 2;
        char rows[N + 1] = "";
        int n = 1 + (int)rng_below(&r, N), free_rows = 0, got;

        for (int i = 0; i < n; i++) {
            rows[i] = ".m-"[rng_below(&r, 3)];
            prob[i] = (float)rng_below(&r, 5) / 4;
        }
        rows[rng_below(&r, (uint64_t)n)] = '.';
        block_init(&k, rows, prob);
        k.b.threshold = (float)rng_below(&r, 5) / 4;
        k.b.n_steps = 1 + (int)rng_below(&r, (uint64_t)k.b.n_masked_start);
        got = d->commit(&k.b, c);
        cr_assert_geq(got, 1);
        skips = d->has_threshold;
        for (int i = 0; i < n; i++) {
            free_rows += rows[i] == '.';
            if (c[i]) {
                cr_assert_neq(rows[i], '-', "round %d commits a committed row", round);
                least = prob[i] < least ? prob[i] : least;
            }
        }
        for (int i = 0; i < n; i++)
            if (!c[i] && rows[i] != '-' && !(skips && rows[i] == 'm'))
                cr_assert_leq(prob[i], least, "round %d leaves a better row behind", round);
        if (skips)
            cr_assert_leq(got, free_rows);
    }
}

Test(decoder, every_listed_decoder_is_found_and_described)
{
    int n = 0;

    for (const struct engine_choice *c = engine_decoders(); c->name; c++, n++) {
        cr_assert_not_null(decoder_find(c->name));
        cr_assert_eq(decoder_find(c->name)->about, c);
        cr_assert(strlen(c->help) > 10 && strlen(c->source) > 5);
    }
    cr_assert_eq(n, 2);
    cr_assert_null(decoder_find("thresh"));
}
