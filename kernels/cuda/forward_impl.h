/*
 * Inside of a forward pass, shared by forward.c, which runs it, and forward_call.c, which lays out
 * what a call needs.
 */
#ifndef KERNELS_CUDA_FORWARD_IMPL_H
#define KERNELS_CUDA_FORWARD_IMPL_H

#include "kernels/cuda/attention.h"
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/forward.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/mailbox.h"
#include "kernels/cuda/moe.h"
#include "kernels/cuda/route_call.h"

enum {
    FORWARD_GRAPHS = 64,
    FORWARD_GRAPH_TOKENS = 1024, /* of more, a forward is not bound by launches */
    FORWARD_MOE_TOKENS = 4096,   /* that experts take at once: what their results take is bounded */
};

/* Device memory that grows; all of it is zeroed when it is made. */
struct forward_room {
    void *dev;
    size_t cap;
};

/* Sequences that are routed by one call a layer. */
struct forward_set {
    struct route_params p;
    const double *popularity; /* (n_moe_layer, n_exp), host memory; NULL: none */
    int joint;
    int n_seqs, n_tok, n_groups, max_tok;
    bool has_plain;            /* tokens that the model routes alone */
    size_t args, own, results; /* bytes a layer: struct route_call_size */
};

/* All that the kernels' arguments are made of, with the sets' settings. No padding counts: it is
 * cleared before it is filled. */
struct forward_key {
    int n_tok, n_seqs, n_sets, stride;
    int n_rows;          /* that get logits, rounded up */
    int max_tok, max_kv; /* of a sequence; max_kv rounded up */
    bool has_gaps;       /* rows that nobody wants are left out of n_rows */
    bool has_logits, has_importance;
    bool is_picked; /* proposals instead of logits */
    const void *meta, *results, *work, *moe, *list, *scratch, *logits, *bias;
    const void *host_meta, *host_results;
};

struct forward_graph {
    struct forward_key key;
    struct forward_set *sets; /* (max_seqs), n_sets of them used */
    cudaGraphExec_t exec;     /* NULL: seen once, not recorded */
    uint64_t last_used;       /* 0: free */
};

struct forward {
    struct forward_model m;
    struct forward_layer *layers; /* (n_layer) */
    struct cuda *c;
    const void **packed; /* (n_layer, 4) q, k, v, o */
    const void *packed_head;
    float *turns;      /* of RoPE: fused.h */
    uint16_t *xb, *yb; /* (max_tok, ld_x) and (max_tok, ld_y): what products take, bf16 */
    int ld_x, ld_y;
    void *tiled; /* xb, or yb, as gemm_fast_launch() takes it; NULL: not in mode fast */
    /* Lists of a dense layer of few tokens, of 1 token first; all dense layers are alike. Made at
     * open: nothing of a call changes them. NULL: no dense layers */
    char *dense_lists;
    size_t dense_list_bytes; /* from one to the next */

    struct forward_room meta, results, work, moe, list;
    char *host_meta, *host_results; /* pinned, as large as meta and results */
    _Atomic uint32_t *host_done;    /* pinned: the call whose results are there, but posted ones */
    uint32_t *delivered;            /* of mailbox.h's deliveries, on the device */

    /* Of the call under way; (max_seqs) but where said. */
    struct forward_key key;
    uint32_t number; /* of the call, beginning with 1; and so at the begin of meta */
    size_t meta_bytes, result_bytes;
    struct forward_set *sets;
    int *set_of;                                  /* of a sequence */
    struct route_segment *segs;                   /* of one call of routing */
    struct route_call *calls;                     /* (n_moe_layer, max_seqs) */
    const int32_t *ids, *positions, *seqs, *rows; /* in meta */
    const uint8_t *wanted;                 /* in meta, (n_tok): is it one of rows? With has_gaps */
    const struct gemm_pick_row *pick_rows; /* in meta, (n_rows); with is_picked */
    size_t picks_at;                       /* of proposals in results; with is_picked */
    bool is_posted;                        /* the head posts them itself: mailbox.h */
    void *pick_work, *fast_pick_work;      /* the latter NULL: not in mode fast */
    const struct attn_segment *attn;       /* in meta, (n_seqs) */

    struct profile *profile; /* of the call under way; NULL: it is not timed */

    struct forward_graph graphs[FORWARD_GRAPHS];
    struct forward_graph timed; /* with marks: of the last call that was timed */
    uint64_t n_calls;
    struct forward *next;
};

/* Where proposals are posted. */
static inline struct mailbox_pick *forward_posted(const struct forward *f)
{
    return (struct mailbox_pick *)(void *)(f->host_results + f->picks_at);
}

/* Layers without a router come first: MoE layer l is the l-th of the others. */
static inline const struct forward_layer *forward_moe_layer(const struct forward *f, int l)
{
    return &f->layers[f->m.n_layer - f->m.n_moe_layer + l];
}

/* Make room for the call, fill the meta block and plan the routing of each layer. */
MUST_CHECK enum status forward_prepare(struct forward *f, const struct forward_call *call,
                                       struct error *err);

/* Wait for the call's results, and bring them where it wants them. */
MUST_CHECK enum status forward_take(struct forward *f, const struct forward_call *call,
                                    struct error *err);

/* Are two lists of n sets the same to the kernels? */
bool forward_same_sets(const struct forward_set *a, const struct forward_set *b, int n);

/* Attention of the call, without the layer. */
struct attention_args forward_attention(const struct forward *f);

#endif
