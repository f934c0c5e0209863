/* Decoders on recorded proposals: rules, ties, corners. */
#include <criterion/criterion.h>
#include <string.h>

#include "base/rng.h"
#include "engine/decoder.h"

enum { N = 8 };

/* A block written as proposals: 'm' prefers the mask, '-' is already committed. */
struct block {
    struct decode_block b;
    struct decode_rule rule;
    struct pick picks[N];
    int32_t ids[N];
    bool masked[N];
};

static void block_init(struct block *k, const char *rows, const float *prob)
{
    memset(k, 0, sizeof(*k));
    k->b = (struct decode_block){
        .rule = &k->rule, .picks = k->picks, .is_masked = k->masked, .ids = k->ids
    };
    k->b.n = (int)strlen(rows);
    for (int i = 0; i < k->b.n; i++) {
        k->masked[i] = rows[i] != '-';
        k->picks[i] = (struct pick){ i + 100, prob[i], rows[i] == 'm' };
        k->b.n_masked_start += k->masked[i];
    }
}

/* What is taken as text: 'x' for committed, 'e' for replaced. */
static const char *decide(const char *decoder, const struct block *k, struct decode_outcome *ret)
{
    static char text[N + 1];
    bool take[N];
    int n_committed = 0, n_edited = 0;

    *ret = decoder_decide(decoder_find(decoder), &k->b, take);
    memset(text, 0, sizeof(text));
    for (int i = 0; i < k->b.n; i++) {
        text[i] = !take[i] ? '.' : k->masked[i] ? 'x' : 'e';
        n_committed += text[i] == 'x';
        n_edited += text[i] == 'e';
    }
    cr_assert_eq(ret->n_committed, n_committed, "%s", text);
    cr_assert_eq(ret->n_edited, n_edited, "%s", text);
    return text;
}

static const char *commit(const char *decoder, const struct block *k)
{
    struct decode_outcome r;
    const char *text = decide(decoder, k, &r);
    int n_masked = 0;

    for (int i = 0; i < k->b.n; i++)
        n_masked += k->masked[i];
    cr_assert_eq(r.is_complete, r.n_committed == n_masked, "%s", text);
    return text;
}

static const char *threshold(const char *rows, const float *prob, double t)
{
    struct block k;

    block_init(&k, rows, prob);
    k.rule.threshold = (float)t;
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
    k.rule.n_steps = 3;
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
    k.rule.n_steps = 2; /* 5 masks: 3, 2 */
    cr_assert_str_eq(commit("low-confidence", &k), "..x...xx");
}

Test(decoder, low_confidence_with_more_steps_than_masks_takes_one_a_step)
{
    struct block k;

    block_init(&k, "....", (float[]){ 0.1F, 0.4F, 0.3F, 0.2F });
    k.rule.n_steps = 10;
    k.b.step = 3;
    k.masked[0] = k.masked[1] = k.masked[3] = false;
    cr_assert_str_eq(commit("low-confidence", &k), "..x.");
}

Test(decoder, low_confidence_ties_go_to_the_lower_position)
{
    struct block k;

    block_init(&k, "......", (float[]){ 0.2F, 0.5F, 0.5F, 0.5F, 0.2F, 0.2F });
    k.rule.n_steps = 3;
    cr_assert_str_eq(commit("low-confidence", &k), ".xx...");
    k.rule.n_steps = 1;
    cr_assert_str_eq(commit("low-confidence", &k), "xxxxxx");
}

Test(decoder, low_confidence_takes_rows_that_prefer_the_mask_by_their_confidence)
{
    struct block k;

    block_init(&k, "m.m.", (float[]){ 0.4F, 0.2F, 0.3F, 0.1F });
    k.rule.n_steps = 2;
    cr_assert_str_eq(commit("low-confidence", &k), "x.x.");
}

/* ---- factor ---------------------------------------------------------------------------------- */

static const char *factor(const char *rows, const float *prob, double f)
{
    struct block k;

    block_init(&k, rows, prob);
    k.rule.factor = f;
    return commit("factor", &k);
}

Test(decoder, factor_commits_the_longest_beginning_that_is_sure_enough)
{
    /* bounds for f = 1: of the 2nd 1 - 1/3, of the 3rd 1 - 1/4, of the 4th 1 - 1/5 */
    cr_assert_str_eq(factor(".....", (float[]){ 0.2F, 0.9F, 0.7F, 0.74F, 0.1F }, 1), ".x.x.");
    cr_assert_str_eq(factor(".....", (float[]){ 0.76F, 0.9F, 0.7F, 0.8F, 0.1F }, 1), "xx.x.");
}

Test(decoder, factor_commits_one_when_the_second_is_not_sure)
{
    cr_assert_str_eq(factor("....", (float[]){ 0.1F, 0.3F, 0.2F, 0.2F }, 1), ".x..");
    /* exactly at its bound it is not below it */
    cr_assert_str_eq(factor("....", (float[]){ 0.5F, 0.5F, 0.1F, 0.1F }, 1.5), "xx..");
}

Test(decoder, factor_takes_the_last_along_with_all_others)
{
    cr_assert_str_eq(factor("...", (float[]){ 0.99F, 0.01F, 0.98F }, 1), "xxx");
    cr_assert_str_eq(factor("-..-", (float[]){ 1, 0.3F, 0.01F, 1 }, 1), ".xx.");
    cr_assert_str_eq(factor("-.--", (float[]){ 1, 0.01F, 1, 1 }, 1), ".x..");
}

Test(decoder, factor_zero_and_ties)
{
    cr_assert_str_eq(factor("....", (float[]){ 0.5F, 1, 1, 0.5F }, 0), ".xx.");
    cr_assert_str_eq(factor("....", (float[]){ 0.5F, 0.5F, 0.5F, 0.5F }, 1), "x...");
    cr_assert_str_eq(factor("mmm.", (float[]){ 0.5F, 0.6F, 0.5F, 0.1F }, 0), ".x..");
}

/* ---- hierarchy ------------------------------------------------------------------------------- */

static const char *hierarchy(const char *rows, const float *prob, double high, double low)
{
    struct block k;

    block_init(&k, rows, prob);
    k.rule.threshold = (float)high;
    k.rule.low_threshold = (float)low;
    return commit("hierarchy", &k);
}

Test(decoder, hierarchy_commits_the_best_of_each_run)
{
    cr_assert_str_eq(
        hierarchy("..-...-.", (float[]){ .7F, .8F, 1, .65F, .3F, .7F, 1, .5F }, 0.9, 0.6),
        ".x...x..");
}

Test(decoder, hierarchy_commits_all_above_the_threshold)
{
    cr_assert_str_eq(
        hierarchy("........", (float[]){ .95F, .8F, .91F, .9F, 1, .3F, .7F, .5F }, 0.9, 0.6),
        "x.x.x...");
}

Test(decoder, hierarchy_commits_the_best_of_all_when_none_is_above_the_lower)
{
    cr_assert_str_eq(hierarchy("..-.", (float[]){ .3F, .5F, 1, .5F }, 0.9, 0.6), ".x..");
    cr_assert_str_eq(hierarchy("..-.", (float[]){ .3F, .5F, 1, .6F }, 0.9, 0.6), "...x");
}

Test(decoder, hierarchy_takes_equals_of_a_run_together)
{
    cr_assert_str_eq(hierarchy("...-..", (float[]){ .7F, .7F, .6F, 1, .65F, .65F }, 0.9, 0.6),
                     "xx..xx");
    cr_assert_str_eq(hierarchy("....", (float[]){ .5F, .5F, .5F, .5F }, 0.9, 0.6), "x...");
}

Test(decoder, hierarchy_bounds_are_strict)
{
    cr_assert_str_eq(hierarchy(".-.-.", (float[]){ .5F, 1, .75F, 1, .875F }, 0.75, 0.5), "..x.x");
    /* a lower bound above the upper one is no bound less */
    cr_assert_str_eq(hierarchy("..", (float[]){ .5F, .4F }, 0.3, 0.9), "xx");
}

/* ---- block-diffusion --------------------------------------------------------------------------
 */

static const char *block_diffusion(const char *rows, const float *prob, double t, int n_steps,
                                   int step)
{
    struct block k;

    block_init(&k, rows, prob);
    k.rule.threshold = (float)t;
    k.rule.n_steps = n_steps;
    k.b.step = step;
    return commit("block-diffusion", &k);
}

Test(decoder, block_diffusion_commits_all_above_when_they_are_enough)
{
    float p[] = { 0.96F, 0.3F, 0.97F, 0.5F };

    cr_assert_str_eq(block_diffusion("....", p, 0.95, 4, 0), "x.x.");
    cr_assert_str_eq(block_diffusion("....", p, 0.95, 2, 0), "x.x.");
}

Test(decoder, block_diffusion_commits_the_scheduled_number_when_fewer_are_above)
{
    float p[] = { 0.96F, 0.3F, 0.97F, 0.5F };

    cr_assert_str_eq(block_diffusion("....", p, 0.98, 4, 0), "..x.");
    cr_assert_str_eq(block_diffusion("....", p, 0.95, 1, 0), "xxxx");
    cr_assert_str_eq(block_diffusion("....", p, 0.95, 3, 0), "x.x."); /* 2, 1, 1 */
    cr_assert_str_eq(block_diffusion("..-.", p, 0.95, 3, 1), "x...");
    cr_assert_str_eq(block_diffusion("--.-", p, 0.99, 1, 0), "..x."); /* as many as there are */
}

Test(decoder, block_diffusion_schedules_by_the_length_of_the_block)
{
    /* 8 rows in 3 steps: 3, 3, 2, whatever is masked of them */
    float p[] = { 0.8F, 0.7F, 0.6F, 0.5F, 0.4F, 0.3F, 0.2F, 0.1F };

    cr_assert_str_eq(block_diffusion("---.....", p, 0.95, 3, 0), "...xxx..");
    cr_assert_str_eq(block_diffusion("........", p, 0.95, 3, 2), "xx......");
    cr_assert_str_eq(block_diffusion("........", p, 0.95, 100, 50), "x.......");
}

Test(decoder, block_diffusion_is_strict_and_ties_go_to_the_lower_position)
{
    cr_assert_str_eq(block_diffusion("....", (float[]){ 0.5F, 0.75F, 0.75F, 0.75F }, 0.75, 4, 0),
                     ".x..");
    cr_assert_str_eq(block_diffusion("....", (float[]){ 1, 1, 1, 1 }, 1, 4, 0), "x...");
    cr_assert_str_eq(block_diffusion("....", (float[]){ 0, 0, 0, 0 }, 0, 2, 0), "xx..");
}

Test(decoder, block_diffusion_commits_where_every_row_prefers_the_mask)
{
    cr_assert_str_eq(block_diffusion("mmm", (float[]){ 0.2F, 0.4F, 0.4F }, 0.9, 3, 0), ".x.");
    cr_assert_str_eq(block_diffusion("mm.", (float[]){ 0.2F, 0.4F, 0.3F }, 0.35, 3, 0), ".x.");
}

/* ---- edit -------------------------------------------------------------------------------------
 */

/* A block for `edit`: 'p' is the prompt's, '-' a token that is proposed again, 'o' another one. */
static const char *edit(const char *rows, const float *prob, double t, double t_edit, int n_post,
                        int max_post, bool is_complete)
{
    struct decode_outcome r;
    struct block k;
    const char *text;

    block_init(&k, rows, prob);
    k.b.n_masked_start = 0;
    for (int i = 0; i < k.b.n; i++) {
        k.masked[i] = rows[i] == '.' || rows[i] == 'm';
        k.ids[i] = rows[i] == '-' ? k.picks[i].id : 7;
        k.b.first += rows[i] == 'p';
    }
    k.rule.threshold = (float)t;
    k.rule.edit_threshold = (float)t_edit;
    k.rule.max_post_steps = max_post;
    k.b.n_post = n_post;
    text = decide("edit", &k, &r);
    cr_assert_eq(r.is_complete, is_complete, "%s gives %s", rows, text);
    return text;
}

Test(decoder, edit_commits_masks_and_replaces_tokens_in_one_step)
{
    float p[] = { 0.99F, 0.95F, 0.99F, 0.3F, 0.8F };

    cr_assert_str_eq(edit("-o...", p, 0.9, 0.9, 0, 16, false), ".ex..");
    cr_assert_str_eq(edit("oo...", p, 0.75, 0.97, 0, 16, false), "e.x.x");
}

Test(decoder, edit_commits_the_best_mask_when_none_is_sure)
{
    cr_assert_str_eq(edit("-o..", (float[]){ 1, 0.2F, 0.1F, 0.3F }, 0.9, 0.9, 0, 16, false),
                     "...x");
}

Test(decoder, edit_never_touches_the_prompt)
{
    cr_assert_str_eq(edit("ppoo", (float[]){ 1, 1, 1, 0.5F }, 0.9, 0.9, 0, 16, false), "..e.");
}

Test(decoder, edit_thresholds_are_strict_and_an_edit_threshold_of_one_is_never_passed)
{
    cr_assert_str_eq(edit("o.", (float[]){ 0.75F, 0.75F }, 0.75, 0.75, 0, 16, false), ".x");
    cr_assert_str_eq(edit("oo.", (float[]){ 1, 1, 1 }, 0.5, 1, 0, 16, false), "..x");
    cr_assert_str_eq(edit("o-.", (float[]){ 0.1F, 0.1F, 1 }, 0.5, 0, 0, 16, false), "e.x");
}

Test(decoder, edit_is_complete_when_nothing_was_masked_and_nothing_is_edited)
{
    float p[] = { 0.9F, 0.9F, 0.9F };

    cr_assert_str_eq(edit("-o-", p, 0.5, 0.95, 0, 16, true), "...");
    cr_assert_str_eq(edit("-o-", p, 0.5, 0.5, 0, 16, false), ".e.");
    cr_assert_str_eq(edit("-o-", p, 0.5, 0.5, 14, 16, false), ".e.");
    cr_assert_str_eq(edit("-o-", p, 0.5, 0.5, 15, 16, true), ".e."); /* the 16th such forward */
    cr_assert_str_eq(edit("-.-", p, 0.5, 0.5, 0, 16, false), ".x.");
    cr_assert_str_eq(edit("-.-", p, 0.5, 0.5, 0, 0, true), ".x."); /* no forward without masks */
}

/* ---- all ---------------------------------------------------------------------------------------
 */

/* Whatever the proposals: at least one commit, masked rows only, and none that is less
 * confident than a candidate left behind. */
Test(decoder, commits_are_masked_and_the_most_confident)
{
    static const char *const names[] = { "threshold", "low-confidence", "factor", "block-diffusion",
                                         "edit" };
    struct rng r;

    rng_seed(&r, 20261122);
    for (int round = 0; round < 20000; round++) {
        const struct decoder *d = decoder_find(names[round % 5]);
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
        k.rule.threshold = (float)rng_below(&r, 5) / 4;
        k.rule.edit_threshold = 1;
        k.rule.factor = (double)rng_below(&r, 5) / 2;
        k.rule.n_steps = 1 + (int)rng_below(&r, (uint64_t)k.b.n_masked_start);
        got = decoder_decide(d, &k.b, c).n_committed;
        cr_assert_geq(got, 1);
        skips = strcmp(d->about->name, "threshold") == 0;
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
    cr_assert_eq(n, 7);
    cr_assert_null(decoder_find("thresh"));
}
