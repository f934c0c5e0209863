/*
 * Cache policies: which canvas positions go through a forward, and how much of the key/value
 * cache they see. A policy is a pure function of where in the canvas decoding stands; the cache
 * itself does what the plan says (engine/model.h).
 */
#ifndef ENGINE_FORWARD_PLAN_H
#define ENGINE_FORWARD_PLAN_H

#include <stdbool.h>

#include "engine/decode_fields.h"
#include "engine/engine.h"

/* Where a sequence stands before a forward. */
struct canvas_view {
    int n_visible; /* positions that the block's see: of a block-causal model up to its end */
    int n_final; /* positions from 0 whose keys and values in the cache are of the tokens that they
                  * have kept since; with cache `block` */
    int block_start, block_end;                /* canvas positions of the current block */
    int step;                                  /* forwards of this block so far */
    int forward;                               /* forwards of the sequence so far */
    int prefix_look, after_look, cache_warmup; /* of struct decode_options */
};

/* Positions [first, first + n_tok), holding the block's masked ones, attend to [0, n_kv). */
struct forward_plan {
    int first, n_tok, n_kv;
    bool is_refresh; /* fills the cache that later forwards of the block read */
    bool is_merged;  /* two in one: the tokens before the block alone do, those of the block are a
                      * step like any other */
};

/* The first plan of a sequence (step 0 of block 0) covers all that is visible: what a cache held
 * before is never read. */
struct cache_policy {
    const struct engine_choice *about;
    unsigned reads;      /* DECODE_BITs of the settings that it reads */
    bool is_causal_only; /* for block-causal models */
    struct forward_plan (*plan)(const struct canvas_view *v);
};

/* By name, or NULL. */
const struct cache_policy *cache_policy_find(const char *name);

#endif
