/*
 * Decoders: which proposals of one forward pass a block takes.
 *
 * A decoder sees one block through its proposals (kernels pick) and says which positions take
 * theirs now: masked ones are committed, others, where it edits, replaced. It is a pure function:
 * no model, no clock, no state beyond its arguments, so it is tested on recorded proposals. Adding
 * one is adding a row to the table in decoder.c.
 */
#ifndef ENGINE_DECODER_H
#define ENGINE_DECODER_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/decode_fields.h"
#include "engine/engine.h"
#include "kernels/kernels.h"

/* What struct decode_options say to decoders, as they compute with it. */
struct decode_rule {
    int n_steps; /* scheduled forwards of a block */
    float threshold, low_threshold, edit_threshold;
    double factor;
    int max_post_steps;
    double credit_alpha, credit_decay, credit_boost; /* engine/credit.h */
    double smoothing, smoothing_init, smoothing_growth, smoothing_decay;
};

/* A block as a forward pass found it, and what is proposed. */
struct decode_block {
    const struct decode_rule *rule;
    const struct pick *picks; /* (n) proposals, prob within [0, 1]; read where masked, and by
                               * decoders that edit from row `first` on */
    const bool *is_masked;    /* (n) */
    const int32_t *ids;       /* (n) tokens; read by decoders that edit */
    int n;                    /* positions of the block, at least one of them generated */
    int first;                /* generated ones begin here: those before it are the prompt's */
    int n_masked_start;       /* masked positions when the block was entered */
    int step;                 /* forwards of this block before this one */
    int n_post;               /* those among them that found no mask */
};

struct decoder {
    const struct engine_choice *about;
    unsigned reads;         /* DECODE_BITs of the settings that it reads */
    bool is_steps_of_block; /* `steps` are those of a block, not of all */
    bool is_on_grid;  /* blocks lie on multiples of their length, whatever the model's mask: the end
                       * of the prompt shares a block with the first generated tokens */
    bool is_filtered; /* with a temperature, samples of what top-k and top-p leave, and goes by the
                       * probability which the token has there: kernels/filter.h */
    bool has_credit;  /* logits are raised by what was proposed before: engine/credit.h */
    bool has_edits;   /* proposals are wanted everywhere, and may replace tokens */
    bool is_cut;      /* with early stop, an answer is over once no mask is left before its end */
    /* Set ret_take (n): with a mask in the block, at least one masked row; without has_edits,
     * masked rows only; never one of the prompt's. */
    void (*choose)(const struct decode_block *b, bool *ret_take);
};

/* By name, or NULL. */
const struct decoder *decoder_find(const char *name);

/* What a forward does to its block. */
struct decode_outcome {
    int n_committed, n_edited;
    bool is_complete; /* no mask is left, and no edit to come */
};

/* Apply a decoder: ret_take (n) as choose() sets it. */
struct decode_outcome decoder_decide(const struct decoder *d, const struct decode_block *b,
                                     bool *ret_take);

#endif
