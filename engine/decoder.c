/* Decoders: the rules and their table. Confidence is pick.prob; ties go to the lower position. */
#include "engine/decoder.h"

#include <assert.h>
#include <string.h>

/* Best proposal among masked rows not yet taken, or -1. skip_mask_best leaves out the rows whose
 * largest logit is the mask token's. */
static int best_row(const struct decode_block *b, const bool *taken, bool skip_mask_best)
{
    int best = -1;

    for (int i = 0; i < b->n; i++) {
        if (!b->is_masked[i] || taken[i] || (skip_mask_best && b->picks[i].is_mask_best))
            continue;
        if (best < 0 || b->picks[i].prob > b->picks[best].prob)
            best = i;
    }
    return best;
}

/* Take up to want more masked rows, the most confident first. */
static void take_best(const struct decode_block *b, int want, bool *ret_take)
{
    int row;

    for (; want > 0 && (row = best_row(b, ret_take, false)) >= 0; want--)
        ret_take[row] = true;
}

/* n things in n_steps parts: what part number i gets, the remainder going to the first ones. */
static int share(int n, int n_steps, int i)
{
    return n / n_steps + (i < n % n_steps);
}

/*
 * Low-confidence remasking: the most confident floor(n / S) positions, one more in each of the
 * first n mod S steps, n being the masks at block entry and S the steps of a block. With more
 * steps than masks the block is complete before the schedule is; the rest of it is not run.
 *
 * Source: arXiv:2502.09992, generate.py (remasking = low_confidence).
 * Settled here: the mask token is never proposed (there it may be, which wastes the step).
 */
static void choose_low_confidence(const struct decode_block *b, bool *ret_take)
{
    take_best(b, share(b->n_masked_start, b->rule->n_steps, b->step), ret_take);
}

/*
 * Threshold: every proposal at least as confident as the threshold, and in any case those within
 * 1e-5 of the best. Rows that would rather stay masked are no candidates.
 *
 * Source: dInfer, get_transfer_index_threshold: clamp(max - 1e-5, -1000, threshold), compared in
 * f32 as there (so 0.9 admits a confidence of 0.9f, which is below 0.9).
 * Settled here: with no candidate dInfer commits nothing and its loop spins; this commits the
 * best proposal other than the mask.
 */
static void choose_threshold(const struct decode_block *b, bool *ret_take)
{
    int best = best_row(b, ret_take, true);
    float thr;

    if (best < 0) {
        take_best(b, 1, ret_take);
        return;
    }
    thr = b->picks[best].prob - 1e-5F; /* >= -1e-5: the lower clamp never acts */
    if (thr > b->rule->threshold)
        thr = b->rule->threshold;
    for (int i = 0; i < b->n; i++)
        if (b->is_masked[i] && !b->picks[i].is_mask_best && b->picks[i].prob >= thr)
            ret_take[i] = true;
}

/*
 * Factor: of the confidences c_1 >= c_2 >= ... the longest beginning whose n-th has
 * (n + 1) (1 - c_n) <= factor, at least one. The last one goes along with those before it.
 *
 * Source: Fast-dLLM (arXiv:2505.22618), generate.py, get_transfer_index_dynamic: the index m of the
 * first below its bound, 0-based and that of the last if there is none, is how many are committed;
 * one more where it is 0 or the last. So a last one below its bound is committed as well.
 * Settled here: ties go to the lower position; the mask token is never proposed.
 */
static void choose_factor(const struct decode_block *b, bool *ret_take)
{
    int n = 0, m = 0, row;

    for (int i = 0; i < b->n; i++)
        n += b->is_masked[i];
    while (m < n - 1) { /* ret_take holds the m best */
        row = best_row(b, ret_take, false);
        if (m > 0 && (double)b->picks[row].prob < 1 - b->rule->factor / (m + 2))
            break;
        ret_take[row] = true;
        m++;
    }
    if (m == n - 1)
        take_best(b, 1, ret_take);
}

/*
 * Hierarchy: every proposal above the threshold; the best of each run of neighbouring masks, if it
 * is above the lower threshold; and the best of all. Equally good ones of a run go together.
 *
 * Source: dInfer, hierarchy decoder (get_transfer_index_hierarchy_fast_v2), both bounds strict.
 * Settled here: of several that are best of all the lowest is meant; the mask token is never
 * proposed.
 */
static void choose_hierarchy(const struct decode_block *b, bool *ret_take)
{
    int end;

    ret_take[best_row(b, ret_take, false)] = true;
    for (int from = 0; from < b->n; from = end) {
        float most = b->rule->low_threshold;

        for (end = from; end < b->n && b->is_masked[end]; end++)
            most = b->picks[end].prob > most ? b->picks[end].prob : most;
        for (int i = from; i < end; i++)
            if (b->picks[i].prob > b->rule->threshold ||
                (b->picks[i].prob > b->rule->low_threshold && b->picks[i].prob == most))
                ret_take[i] = true;
        end += end == from;
    }
}

/* All masked rows more confident than the threshold, if they are at least n; else the best n. */
static void take_above(const struct decode_block *b, int n, bool *ret_take)
{
    int n_above = 0;

    for (int i = 0; i < b->n; i++) {
        ret_take[i] = b->is_masked[i] && b->picks[i].prob > b->rule->threshold;
        n_above += ret_take[i];
    }
    take_best(b, n - n_above, ret_take); /* those above are the best */
}

/*
 * Block diffusion: all proposals above the threshold, if these are at least as many as the schedule
 * wants of this step, else as many of the best as it wants: floor(B / steps), one more in each of
 * the first B mod steps, B being the block's length.
 *
 * Source: LLaDA2.0, modeling_llada2_moe.py, generate().
 * Settled here, where it differs from that: (1) the mask token is never proposed, and at least one
 * position is committed, so a block is complete after B forwards whatever `steps` is; there a step
 * may be wasted, and masks may stay. (2) Ties go to the lower position. (3) Early stop, when asked
 * for, comes as soon as no mask is left before the first end of an answer; there only in the step
 * that commits it, else at the end of the block. The text is the same. (4) Without early stop all
 * blocks are denoised; there an answer always ends with the block that holds its EOS.
 */
static void choose_block_diffusion(const struct decode_block *b, bool *ret_take)
{
    int n = share(b->n, b->rule->n_steps, b->step);

    take_above(b, n > 1 ? n : 1, ret_take);
}

/*
 * Edit: masks as block diffusion commits them with a schedule of one; and tokens that are there
 * already give way to another one that is proposed above the edit threshold, the prompt's excepted.
 * A block without masks goes on until nothing is edited, at most max_post_steps forwards.
 *
 * Source: LLaDA2.1, modeling_llada2_moe.py, generate(): mask-to-token and token-to-token.
 * Settled here: the mask token is never proposed, so no token turns into a mask; ties go to the
 * lower position.
 */
static void choose_edit(const struct decode_block *b, bool *ret_take)
{
    take_above(b, 1, ret_take);
    for (int i = b->first; i < b->n; i++)
        if (!b->is_masked[i] && b->picks[i].id != b->ids[i] &&
            b->picks[i].prob > b->rule->edit_threshold)
            ret_take[i] = true;
}

/* ---- the table -------------------------------------------------------------------------- */

enum decoder_id {
    DECODER_LOW_CONFIDENCE,
    DECODER_THRESHOLD,
    DECODER_FACTOR,
    DECODER_HIERARCHY,
    DECODER_CREDIT,
    DECODER_BLOCK_DIFFUSION,
    DECODER_EDIT,
    N_DECODERS
};

static const struct engine_choice choices[N_DECODERS + 1] = {
    [DECODER_LOW_CONFIDENCE] = { "low-confidence",
                                 "a fixed number of the most confident positions each step",
                                 "arXiv:2502.09992 (LLaDA), generate.py" },
    [DECODER_THRESHOLD] = { "threshold", "all positions above a confidence, at least the best one",
                            "arXiv:2510.08666 (dInfer), threshold decoder" },
    [DECODER_FACTOR] = { "factor",
                         "as many of the best as are sure enough to be committed together",
                         "arXiv:2505.22618 (Fast-dLLM), factor-based decoding" },
    [DECODER_HIERARCHY] = { "hierarchy",
                            "all positions above a confidence, and the best of each run of masks "
                            "above a lower one",
                            "arXiv:2510.08666 (dInfer), hierarchy decoder" },
    [DECODER_CREDIT] = { "credit", "threshold, of logits raised by what was proposed before",
                         "arXiv:2510.08666 (dInfer), credit decoder" },
    [DECODER_BLOCK_DIFFUSION] = { "block-diffusion",
                                  "all positions above a confidence, at least as many as scheduled",
                                  "LLaDA2.0 (modeling_llada2_moe.py), generate()" },
    [DECODER_EDIT] = { "edit",
                       "block-diffusion that may replace tokens again while it is at a block",
                       "LLaDA2.1 (modeling_llada2_moe.py), generate()" },
};

static const struct decoder decoders[N_DECODERS] = {
    [DECODER_LOW_CONFIDENCE] = { .about = &choices[DECODER_LOW_CONFIDENCE],
                                 .reads = DECODE_BIT(DECODE_STEPS),
                                 .choose = choose_low_confidence },
    [DECODER_THRESHOLD] = { .about = &choices[DECODER_THRESHOLD],
                            .reads = DECODE_BIT(DECODE_THRESHOLD),
                            .choose = choose_threshold },
    [DECODER_FACTOR] = { .about = &choices[DECODER_FACTOR],
                         .reads = DECODE_BIT(DECODE_FACTOR),
                         .choose = choose_factor },
    [DECODER_HIERARCHY] = { .about = &choices[DECODER_HIERARCHY],
                            .reads =
                                DECODE_BIT(DECODE_THRESHOLD) | DECODE_BIT(DECODE_LOW_THRESHOLD),
                            .choose = choose_hierarchy },
    [DECODER_CREDIT] = { .about = &choices[DECODER_CREDIT],
                         .reads = DECODE_BIT(DECODE_THRESHOLD) | DECODE_BIT(DECODE_CREDIT_ALPHA) |
                                  DECODE_BIT(DECODE_CREDIT_DECAY) | DECODE_BIT(DECODE_CREDIT_BOOST),
                         .has_credit = true,
                         .choose = choose_threshold },
    [DECODER_BLOCK_DIFFUSION] = { .about = &choices[DECODER_BLOCK_DIFFUSION],
                                  .reads = DECODE_BIT(DECODE_STEPS) | DECODE_BIT(DECODE_THRESHOLD),
                                  .is_steps_of_block = true,
                                  .is_on_grid = true,
                                  .is_filtered = true,
                                  .is_cut = true,
                                  .choose = choose_block_diffusion },
    [DECODER_EDIT] = { .about = &choices[DECODER_EDIT],
                       .reads = DECODE_BIT(DECODE_THRESHOLD) | DECODE_BIT(DECODE_EDIT_THRESHOLD) |
                                DECODE_BIT(DECODE_MAX_POST_STEPS),
                       .is_on_grid = true,
                       .is_filtered = true,
                       .has_edits = true,
                       .choose = choose_edit },
};

const struct engine_choice *engine_decoders(void)
{
    return choices;
}

const struct decoder *decoder_find(const char *name)
{
    for (int i = 0; i < N_DECODERS; i++)
        if (strcmp(decoders[i].about->name, name) == 0)
            return &decoders[i];
    return NULL;
}

struct decode_outcome decoder_decide(const struct decoder *d, const struct decode_block *b,
                                     bool *ret_take)
{
    struct decode_outcome r = { 0 };
    int n_masked = 0, n_post;

    memset(ret_take, 0, (size_t)b->n * sizeof(*ret_take));
    d->choose(b, ret_take);
    for (int i = 0; i < b->n; i++) {
        n_masked += b->is_masked[i];
        r.n_committed += ret_take[i] && b->is_masked[i];
        r.n_edited += ret_take[i] && !b->is_masked[i];
        assert(!ret_take[i] || i >= b->first);
    }
    assert(!n_masked || r.n_committed);
    assert(!r.n_edited || d->has_edits);
    n_post = b->n_post + !n_masked;
    r.is_complete = n_masked == r.n_committed && (!d->has_edits || (!n_masked && !r.n_edited) ||
                                                  n_post >= b->rule->max_post_steps);
    return r;
}
