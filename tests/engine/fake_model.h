/*
 * A made-up model behind engine/model.h, to test decoding without weights.
 *
 * Logits are a hash of everything a real model's would depend on: the position, and the cached
 * "keys" of the first n_kv positions. A key is a hash of the token and of all tokens at the time
 * of its forward, so a stale cache gives other logits than a fresh one. Of a block-causal model
 * both end with the position's block. tools/make_decoder_vectors.py computes the same numbers.
 */
#ifndef TESTS_ENGINE_FAKE_MODEL_H
#define TESTS_ENGINE_FAKE_MODEL_H

#include "engine/model.h"

struct fake_settings {
    int n_vocab, max_canvas, max_batch, max_block;
    int32_t mask_id, eos_id;
    uint64_t seed;
    double scale;      /* logits lie within 0 .. scale */
    int levels;        /* 0: 24 bits fine; else so many steps: ties within a row */
    bool is_twin;      /* positions 2i and 2i + 1 get the same logits: ties between rows */
    int mask_every;    /* 0: never; else about one position in so many prefers the mask */
    int mask_block;    /* 0: every position sees every other; else block-causal */
    int eos_from;      /* canvas positions from here on prefer EOS, those before never do */
    bool is_nan;       /* logits are NaN */
    bool has_no_pick;  /* a backend without the op */
    int fail_forwards; /* so many forwards fail first */
    int fail_caches;   /* kv_cache_new fails after so many; -1: never */
};

/* What the last forward was asked for. */
struct fake_item {
    int first, n_tok, n_kv, logits_row, n_logits, top_k;
};

struct fake_settings fake_defaults(void);
struct model *fake_model_new(const struct fake_settings *s); /* NULL: out of memory */

int fake_live_caches(void);
extern struct fake_item fake_last[16];
extern int fake_n_last, fake_n_forwards;

/* What the last pick was asked for. */
struct fake_pick {
    int n_rows, first; /* first: canvas position of the first row */
    struct pick_params params;
};
extern struct fake_pick fake_last_pick;

enum { FAKE_N_LAYER = 2, FAKE_N_EXP = 4, FAKE_EXPERT_BYTES = 100 };

#endif
