/*
 * Model: weights on a backend and one forward pass over a ragged batch of sequences.
 *
 * A model is a list of layers over the op table (kernels/kernels.h); families differ in data
 * (router score, norms, RoPE span, mask kind, shared or dense layers), not in code. Layers without
 * routed experts come first and route nothing: "MoE layer" l is the l-th of the others, and what
 * has n_moe_layer rows goes by that number.
 *
 * Every sequence owns a key/value cache indexed by canvas position. A forward writes the keys
 * and values of its tokens at their positions and lets them attend to the first n_kv positions,
 * so decoding without a cache (all positions every time) and with one (only some positions) are
 * the same call.
 */
#ifndef ENGINE_MODEL_H
#define ENGINE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "engine/engine.h"
#include "kernels/kernels.h"
#include "kernels/profile.h"

struct model;
struct kv_cache;

/* Keys and values of one sequence: (n_layer, max_canvas, n_kv_head, d_head) f32 each, in backend
 * memory of the model's kernels. Freed before the model. */
MUST_CHECK enum status kv_cache_new(struct model *m, struct kv_cache **ret, struct error *err);
void kv_cache_free(struct kv_cache *c); /* accepts NULL */

/* One sequence's part of a forward. */
struct forward_item {
    struct kv_cache *cache;
    const int32_t *ids;       /* (n_tok) tokens, the mask token included */
    const int32_t *positions; /* (n_tok) canvas positions, ascending, < max_canvas */
    int n_tok;
    int n_kv;                 /* cache positions attended to, after this forward's are written */
    int mask_block;           /* of a block-causal model, the length of its blocks in this forward;
                               * 0: as it was trained */
    int logits_row, n_logits; /* rows [logits_row, + n_logits) of this item get logits */

    /* Routing: what a route_segment has (kernels/route.h), for all layers. */
    const struct route_params *route;
    int n_plain, group;
    const uint8_t *is_voter; /* (n_tok) or NULL */
    uint64_t key;            /* of the sequence and the forward; layers draw apart */
    /* (n_moe_layer, n_exp) backend memory, or NULL */
    const uint8_t *cores_before;
    uint8_t *ret_cores;
    const double *popularity; /* (n_moe_layer, n_exp), or NULL */
    /* Both or neither: the forward may propose itself, and then leaves logits out. (n_logits), and
     * what pick() is to know of them. */
    const struct pick_params *pick;
    struct pick *ret_picks;
    /* Added to the embeddings of tokens [added_row, + n_added), where is_added: (n_added, d_model)
     * backend memory; NULL: nothing is. */
    const float *added;
    const bool *is_added; /* (n_added) */
    int added_row, n_added;
    int joint; /* with route->is_joint: items of the same number, which have the same settings,
                * share their coresets. 0: shared with none */
};

struct forward_result {
    float *logits;              /* (sum of n_logits, n_vocab) backend memory, owned by the model,
                                 * valid until the next forward; items one after the other */
    struct route_stats *stats;  /* (n_items, n_moe_layer) host memory, owned by the model */
    int32_t *tokens_per_expert; /* (n_items, n_moe_layer, n_exp) host memory, owned by the model */
    double *output_errors;      /* (n_items, n_moe_layer) likewise; NULL unless opened with
                                 * is_diagnosed: |y - y0| / |y0| of what the experts add to an item's
                                 * tokens, y0 being the same under the model's own routing */
    bool is_picked;             /* no logits, but proposals where the items wanted them: all did,
                                 * and the backend can */
};

/*
 * All sequences' tokens through all layers. In total n_tok <= max_batch * max_canvas and
 * n_logits <= max_batch * max_block of the options the model was opened with; n_items <=
 * max_batch, each with a cache of its own. Items, their ids included, are checked: ST_INVALID,
 * nothing is written. Results are complete on return, also on a GPU. Allocates nothing.
 */
MUST_CHECK enum status model_forward(struct model *m, const struct forward_item *items, int n_items,
                                     struct forward_result *ret, struct error *err);

/*
 * Run the forward before once more, of the same items, and time its parts; its results are the
 * same, and where they were. *ret is the model's, valid until the next call. *ret_n_tok: tokens of
 * all items; ret_unique (n_layer): distinct experts that ran in each layer, 0 in a dense one.
 */
MUST_CHECK enum status model_time(struct model *m, const struct forward_item *items, int n_items,
                                  const struct profile **ret, int *ret_n_tok, int *ret_unique,
                                  struct error *err);

/* Told of each layer and item of a forward; item: its index. engine_observe() has the rules. */
struct model_observer {
    enum status (*layer)(void *arg, int item, const struct layer_view *v, struct error *err);
    void *arg;
};
/* NULL: nobody. ST_NOMEM: then as before. */
MUST_CHECK enum status model_observe(struct model *m, const struct model_observer *o,
                                     struct error *err);

/* engine_deal_experts() */
MUST_CHECK enum status model_deal(struct model *m, int n_unique, int n_tok, struct error *err);

MUST_CHECK enum status model_open(const struct engine_options *opts, struct model **ret,
                                  struct error *err);
void model_close(struct model *m); /* accepts NULL */

/* What a text-only engine knows: config.json and tokenizer.json only, without weights; ret's
 * strings live in arena. Fields that need weights or a backend are zero or NULL. */
MUST_CHECK enum status model_peek(const struct engine_options *opts, struct arena *arena,
                                  struct model_info *ret, struct error *err);

const struct model_info *model_get_info(const struct model *m);
struct kernels *model_kernels(struct model *m);

/* As opened, with max_block resolved; its strings are copies that live as long as the model. */
const struct engine_options *model_options(const struct model *m);

/* The model's own routing: what the selector `vanilla` is. */
const struct route_params *model_route(const struct model *m);

/* (n_vocab, d_model) what tokens are embedded as. */
const struct weight *model_embedding(const struct model *m);

struct tokenizer;
const struct tokenizer *model_tokenizer(const struct model *m);

#endif
