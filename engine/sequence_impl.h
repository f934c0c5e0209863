/*
 * Inside of a sequence, shared by sequence.c, which decodes, and compare.c, which looks at the same
 * forward under other selectors.
 */
#ifndef ENGINE_SEQUENCE_IMPL_H
#define ENGINE_SEQUENCE_IMPL_H

#include "engine/credit.h"
#include "engine/sequence.h"

struct sequence {
    struct engine *engine;
    struct kv_cache *cache; /* NULL: of sequence_make() */
    struct arena arena;     /* of every array below */
    struct decode_setup setup;
    int n_prompt, n_canvas, block_length;
    int first_block; /* canvas position of the first block */
    int prefix_look, after_look, cache_warmup;
    double temperature, top_p;
    int top_k;
    uint64_t seed;
    bool is_eos_early_stop, is_done;
    int64_t start_ns;

    int32_t *canvas; /* (n_canvas) prompt, then what is generated */

    /* Selection of experts. */
    const char *joint;        /* canonical selector, where sequences share coresets; else NULL */
    const double *popularity; /* the engine's; NULL: not asked for */
    uint8_t *is_voter;        /* (n_canvas) of the forward under way; NULL: all vote */
    uint8_t *cores[2];        /* (n_moe_layer, n_exp) of this forward and the one before, in backend
                               * memory; NULL: not asked for */
    bool has_core;            /* of the forward before */

    /* The block under way. */
    int block, step, n_masked, n_masked_start;
    int n_post;            /* forwards of it that found no mask */
    int n_final;           /* struct canvas_view */
    int row_first, n_rows; /* rows that get logits: from the first masked to the last; of a decoder
                            * that edits all but the prompt's */
    struct pick *picks;    /* (block_length) */
    struct pick_params pick; /* of the step under way */
    bool *is_masked;         /* (block_length) */
    bool *is_taken;          /* (block_length) proposals of the step under way that are taken */
    struct decode_outcome outcome;

    /* Of the forward before, and of the one under way. */
    struct credit credit[2];   /* of a decoder that has credit; else zero */
    struct logit_bias *biases; /* (block_length squared) */
    float *smooth[2];          /* (block_length, d_model) backend memory; NULL: no smoothing */
    bool *is_smooth;           /* (block_length) rows of the former that hold */

    struct generation result; /* its arrays, writable: */
    int32_t *commit_step; /* (n_canvas - n_prompt): also of what is denoised behind the answer */
    struct forward_record *forwards;
    struct layer_record *layers;
    uint16_t *tokens_per_expert;
};

/* sequence_start(), but without a cache: it cannot be stepped by itself. */
MUST_CHECK enum status sequence_make(struct engine *e, const struct decode_options *opts,
                                     const int32_t *prompt, size_t n_prompt, struct sequence **ret,
                                     struct error *err);

/*
 * A step in parts, in this order. plan: what goes through the model next, and its record; pick:
 * proposals from the logits of the rows asked for; record: routing of item number `item`; decide:
 * which proposals the decoder takes; commit: take them; end: the forward counts, and its block may.
 */
void step_plan(struct sequence *s, struct forward_item *ret);
MUST_CHECK enum status step_pick(struct sequence *s, float *logits, struct error *err);
void step_record(struct sequence *s, const struct forward_result *r, int item);
void step_decide(struct sequence *s);
void step_commit(struct sequence *s);
void step_end(struct sequence *s, int64_t start_ns, int64_t now_ns);

/* With is_timed: time the forward of the n active sequences, whose clocks stand still meanwhile, as
 * does *start_ns. After the forward, before anything changes. */
MUST_CHECK enum status step_time(struct engine *e, int n, int64_t *start_ns, struct error *err);

/* step_logits.c: the logits are wanted themselves, not proposals alone. */
bool step_wants_logits(const struct sequence *s);
struct pick_params step_pick_params(const struct sequence *s);
/* Whatever the weights hold, a decoder only sees probabilities and tokens. */
MUST_CHECK enum status step_check_picks(const struct sequence *s, struct error *err);
/* What the decoder goes by in this step. */
struct decode_rule step_rule(const struct sequence *s);
/* Part of end: what was made of the logits holds from now on; of block entry: nothing does. */
void step_keep_logits(struct sequence *s);
void step_forget_logits(struct sequence *s);
MUST_CHECK enum status sequence_alloc_credit(struct sequence *s, struct error *err);
MUST_CHECK enum status sequence_alloc_smoothing(struct sequence *s, struct error *err);

/* Canvas position of the block under way. */
int sequence_block_start(const struct sequence *s);

/* Coresets elected by forward f stay for the next, where the selector wants them; part of end. */
void step_keep_core(struct sequence *s, const struct forward_record *f);

#endif
