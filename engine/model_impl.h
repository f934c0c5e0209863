/*
 * Inside of a model, shared by model_open.c (weights, workspace), model.c (forward pass),
 * kv_cache.c and observe.c.
 */
#ifndef ENGINE_MODEL_IMPL_H
#define ENGINE_MODEL_IMPL_H

#include "base/arena.h"
#include "engine/config.h"
#include "engine/model.h"
#include "engine/tokenizer.h"
#include "engine/weights.h"
#include "kernels/forward.h"

/* The workspace in backend memory. */
enum {
    BUFFER_X,
    BUFFER_H,
    BUFFER_Q,
    BUFFER_KEY,
    BUFFER_VALUE,
    BUFFER_Y,
    BUFFER_SCORES,
    BUFFER_ROUTE_IDS,
    BUFFER_ROUTE_W,
    BUFFER_LOGITS,
    BUFFER_ROUTER_LOGITS,
    BUFFER_IMPORTANCE,
    BUFFER_PLAIN_IDS,
    BUFFER_PLAIN_W,
    BUFFER_PLAIN_Y,
    N_BUFFERS
};

struct model {
    struct arena arena; /* host memory of everything below */
    struct engine_options opts;
    struct model_config c;
    struct model_info info;
    struct route_params route; /* the model's own */
    float *router_bias;        /* (n_moe_layer, n_exp) in host memory, or NULL */

    struct tokenizer *tokenizer;
    struct weights *weights;
    struct kernels *k;

    struct weight *embed, *norm_out, *head;
    struct forward_layer *layers; /* (n_layer), on the backend; owned by it */
    struct forward *forward;      /* the backend's own pass, or NULL: op by op */

    struct weight *dealt; /* (max_tok, n_exp) what makes routing follow model_deal(); NULL: none */

    /* Workspace in backend memory: buffers, by name */
    int max_tok, max_rows; /* max_batch * max_canvas; max_batch * max_block */
    void *buffers[N_BUFFERS];
    float *x; /* (max_tok, d_model) the residual stream */
    float *h; /* (max_tok, d_model) normalised */
    float *q, *key, *value;
    float *y;      /* (max_tok, max of d_model and q's width) of attention, of a projection */
    float *scores; /* (max_tok, n_exp) */
    int32_t *route_ids;
    float *route_w;       /* (max_tok, slots of a token) both */
    float *logits;        /* (max_rows, n_vocab) */
    float *router_logits; /* (max_tok, n_exp) */
    float *importance;    /* (max_tok) */
    /* with is_diagnosed: the model's own routing and what its experts give */
    int32_t *plain_ids;
    float *plain_w, *plain_y;

    /* Workspace in host memory */
    int32_t *ids, *positions;         /* (max_tok) all items one after the other */
    struct segment *segs;             /* (max_batch) tokens of each item */
    struct route_segment *route_segs; /* (max_batch); (n_moe_layer, max_batch) with forward */
    struct attn_segment *attn_segs;
    struct forward_seq *seqs;       /* (max_batch) */
    struct route_stats *stats;      /* (n_items, n_moe_layer) */
    int32_t *counts;                /* the same times n_exp */
    double *errors_by_layer;        /* (n_moe_layer, n_items), with is_diagnosed */
    double *errors;                 /* as the stats */
    struct route_stats plain_stats; /* of the model's own routing: not used */
    int32_t *plain_counts;          /* (n_exp) */

    struct observing *observing; /* NULL: nobody looks on */
    struct profile *profile;     /* of model_time(); NULL before the first */
    struct profile *timing;      /* the same while a forward is timed, else NULL */
};

/*
 * Tell the observer about items [first, end) of MoE layer l: their routes begin at m->route_ids and
 * m->route_w, n_slot a token. Waits for the backend.
 */
MUST_CHECK enum status observing_tell(struct model *m, int l, int first, int end, int n_slot,
                                      struct error *err);
void observing_free(struct observing *o); /* accepts NULL */

struct kv_cache {
    struct model *m;
    float *keys, *values; /* (n_layer, max_canvas, n_kv_head, d_head) */
};

/* Elements of keys (and of values) in one layer. */
static inline size_t kv_layer_size(const struct model *m)
{
    return (size_t)m->opts.max_canvas * (size_t)m->c.n_kv_head * (size_t)m->c.d_head;
}

#endif
