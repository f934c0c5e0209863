/*
 * Selection: how one forward of a sequence is routed, given its selector and where it stands. What
 * decoding (sequence.c) and the replay of recorded scores (replay.c) have in common.
 */
#ifndef ENGINE_SELECTION_H
#define ENGINE_SELECTION_H

#include "engine/selector.h"

/* A forward, as routing sees it. */
struct selection_view {
    uint64_t seed;    /* of the sequence */
    uint64_t forward; /* forwards of the sequence before this one */
    bool is_refresh;  /* it fills a cache */
    bool is_merged;   /* with its tokens before the block alone: the block's are a step */
    int block_start, block_length;
    int n_tok;
    const int32_t *ids, *positions; /* (n_tok) */
    int32_t mask_id;
};

/* What a forward_item, or a route_segment, has of it. */
struct selection {
    const struct route_params *route;
    int n_plain, group;
    const uint8_t *is_voter; /* (n_tok) or NULL */
    uint64_t key;
};

/*
 * own is the model's routing, route the same as the selector changes it (selector_route()); one of
 * them is what is returned. voters (n_tok) is written where selection_has_voters().
 */
struct selection selection_of(const struct selector *s, const struct route_params *own,
                              const struct route_params *route, const struct selection_view *v,
                              uint8_t *voters);

/* Do only some tokens of a forward vote? */
bool selection_has_voters(const struct selector *s);

/* The key of a layer of a forward of that key. */
uint64_t selection_layer_key(uint64_t key, int layer);

/* Does the coreset that this forward elected serve the block's next one? route: as the selector
 * changes it. */
bool selection_keeps_core(const struct selector *s, const struct route_params *route,
                          bool is_refresh, bool is_merged);

#endif
