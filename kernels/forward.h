/*
 * A whole forward pass as one op, for backends that gain by seeing all of it: the optional ops
 * `forward_new` and `forward` of kernels/kernels.h.
 *
 * What it computes is what engine/model.c says over the other ops, and the bits are theirs; in
 * KERNEL_FAST the probability of a proposal may differ in its last bits.
 */
#ifndef KERNELS_FORWARD_H
#define KERNELS_FORWARD_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "kernels/profile.h"

/* Weights of a layer, of the backend they are given to. */
struct forward_layer {
    struct weight *norm_in, *q, *k, *v, *o, *q_norm, *k_norm, *norm_ffn;
    struct weight *router;      /* NULL: a dense layer, which has no routing */
    struct weight *router_bias; /* vector (n_exp) f32: route_input.bias; NULL: none */
    struct experts *experts;    /* routed and shared ones; of a dense layer one that is shared */
};

/* A model and the largest forward it will be asked for. */
struct forward_model {
    int n_layer, d_model, n_head, n_kv_head, d_head, d_rot, n_exp, n_vocab;
    int n_moe_layer; /* layers with a router; what goes by layer below counts these alone */
    float rms_eps;
    double rope_theta;
    enum router_score score;
    struct weight *embed, *norm_out, *head;
    const struct forward_layer *layers; /* (n_layer), read during the call alone */
    size_t kv_layer_size;               /* elements of one layer of a sequence's keys, or values */
    int max_position;                   /* positions are below it */
    int max_tok, max_rows, max_seqs; /* of one forward: tokens, rows that get logits, sequences */

    /* Workspace that the forward may use, backend memory, f32. */
    float *x, *h, *y;       /* (max_tok, d_model); y: or the width of q, if that is more */
    float *q, *key, *value; /* (max_tok, widths) */
    float *scores, *router_logits, *importance;
    int32_t *route_ids; /* (max_tok, slots) */
    float *route_w;
};

/* A forward of one sequence; what is not said to be backend memory is host memory. */
struct forward_seq {
    int row, n_tok;           /* its tokens among all */
    int n_kv;                 /* positions it attends to */
    int mask_block;           /* of attention */
    float *keys, *values;     /* its cache, (n_layer, max_position, n_kv_head, d_head), backend */
    int logits_row, n_logits; /* rows of the sequence that get logits */
    const struct pick_params *pick; /* with ret_picks: proposals (n_logits) would do instead; or */
    struct pick *ret_picks;         /* NULL both */
    const struct route_params *route;
    int n_plain;              /* as its route_segments have it */
    const double *popularity; /* (n_moe_layer, n_exp) or NULL */
    int joint;                /* sequences of the same number other than 0 share coresets */
};

struct forward_call {
    const int32_t *ids, *positions; /* (n_tok) */
    int n_tok, n_seqs;
    const struct forward_seq *seqs;      /* (n_seqs), rows ascending and without gaps */
    const struct route_segment *routing; /* (n_moe_layer, n_seqs): what route() would get; results
                                          * go where it says */
    const struct weight *bias; /* (n_tok, n_exp) what routing adds to scores for choosing, at every
                                * layer, instead of the layers' own; or NULL */
    struct profile *profile;   /* NULL, or to be begun and given a mark after each part */
    float *logits;             /* (rows, n_vocab), backend memory */
    bool *ret_is_picked;       /* true: proposals were given, logits were not written */
};

#endif
