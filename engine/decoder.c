/* Decoders: the rules and their table. Confidence is pick.prob; ties go to the lower position. */
#include "engine/decoder.h"

#include <assert.h>
#include <string.h>

/* Best proposal among masked rows not yet chosen, or -1. skip_mask_best leaves out the rows
 * whose largest logit is the mask token's. */
static int best_row(const struct decode_block *b, const bool *chosen, bool skip_mask_best)
{
    int best = -1;

    for (int i = 0; i < b->n; i++) {
        if (!b->is_masked[i] || chosen[i] || (skip_mask_best && b->picks[i].is_mask_best))
            continue;
        if (best < 0 || b->picks[i].prob > b->picks[best].prob)
            best = i;
    }
    return best;
}

/*
 * Low-confidence remasking: the most confident floor(n / S) positions, one more in each of the
 * first n mod S steps, n being the masks at block entry and S the steps of a block. With more
 * steps than masks the block is complete before the schedule is; the rest of it is not run.
 *
 * Source: arXiv:2502.09992, generate.py (remasking = low_confidence).
 * Settled here: the mask token is never proposed (there it may be, which wastes the step).
 */
static int commit_low_confidence(const struct decode_block *b, bool *ret_commit)
{
    int want = b->n_masked_start / b->n_steps + (b->step < b->n_masked_start % b->n_steps);
    int n = 0, row;

    memset(ret_commit, 0, (size_t)b->n * sizeof(*ret_commit));
    while (n < want && (row = best_row(b, ret_commit, false)) >= 0) {
        ret_commit[row] = true;
        n++;
    }
    assert(n);
    return n;
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
static int commit_threshold(const struct decode_block *b, bool *ret_commit)
{
    int n = 0, best;
    float thr;

    memset(ret_commit, 0, (size_t)b->n * sizeof(*ret_commit));
    best = best_row(b, ret_commit, true);
    if (best < 0) {
        best = best_row(b, ret_commit, false);
        assert(best >= 0);
        ret_commit[best] = true;
        return 1;
    }
    thr = b->picks[best].prob - 1e-5F; /* >= -1e-5: the lower clamp never acts */
    if (thr > b->threshold)
        thr = b->threshold;
    for (int i = 0; i < b->n; i++)
        if (b->is_masked[i] && !b->picks[i].is_mask_best && b->picks[i].prob >= thr) {
            ret_commit[i] = true;
            n++;
        }
    return n;
}

enum decoder_id { DECODER_LOW_CONFIDENCE, DECODER_THRESHOLD, N_DECODERS };

static const struct engine_choice choices[N_DECODERS + 1] = {
    [DECODER_LOW_CONFIDENCE] = { "low-confidence",
                                 "a fixed number of the most confident positions each step",
                                 "arXiv:2502.09992 (LLaDA), generate.py" },
    [DECODER_THRESHOLD] = { "threshold", "all positions above a confidence, at least the best one",
                            "arXiv:2510.08666 (dInfer), threshold decoder" },
};

static const struct decoder decoders[N_DECODERS] = {
    [DECODER_LOW_CONFIDENCE] = { .about = &choices[DECODER_LOW_CONFIDENCE],
                                 .has_steps = true,
                                 .commit = commit_low_confidence },
    [DECODER_THRESHOLD] = { .about = &choices[DECODER_THRESHOLD],
                            .has_threshold = true,
                            .commit = commit_threshold },
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
