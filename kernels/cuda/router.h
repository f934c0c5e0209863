/*
 * The router of a layer in one launch, or in a few for many tokens: norm, product, scores, routing,
 * worklist, for a forward that is to be fast. It gives the same bits as the ops rms_norm, router
 * and route after each other. The op's product is here, too.
 */
#ifndef KERNELS_CUDA_ROUTER_H
#define KERNELS_CUDA_ROUTER_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/cuda/route_call.h"
#include "kernels/cuda/worklist.h"
#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    ROUTER_MAX_TOKENS = 128, /* of a segment */
    ROUTER_MAX_EXPERTS = 256,
    ROUTER_BLOCKS = 16,             /* of a cluster */
    ROUTER_MAX_SHARED = 227 * 1024, /* bytes a block may have */
    ROUTER_AT_ONCE = 16,            /* segments, of more router_many_launch() is faster */
};

/* Device memory throughout; x, norm_w and router_packed are aligned to 16 bytes. */
struct router_call {
    struct route_call route; /* as route_launch() would get it; router_launch() neither reads nor
                              * writes its scores, working space and importance */
    int max_tok;             /* tokens of a segment at most */
    enum router_score score;
    const float *x;      /* (n_row, d) */
    const float *norm_w; /* (d) */
    float eps;
    int d;
    const void *router_packed; /* (n_exp, d) bf16, by router_pack_launch() */
    uint16_t *ret_h;      /* (n_row, pack_row_elems(d)) bf16: x after the norm, zeros beyond d */
    bool is_placed;       /* by router_many_launch(): ret_h in the order of moe_args.is_placed */
    bool leaves_count;    /* it leaves the statistics to worklist_launch() */
    float *ret_scores;    /* (n_row, n_exp) or NULL */
    struct worklist list; /* of one segment that begins at row 0: what the experts run by, top_k
                           * + n_shared slots a token; n_active NULL: not wanted */
    int n_shared;         /* experts that every token goes to, beside those chosen: worklist.h */
};

/*
 * The router's weights in the order in which they are read: (ROW_SLICES, tiles of 16
 * experts, steps of 16 columns of a slice, lanes) 16 bytes each, what a lane has of a step's
 * weights (router_product.cuh), zeros beyond n_exp and d.
 */
size_t router_pack_bytes(int n_exp, int d);

/* Enqueue: rows (n_exp, d) bf16 to ret. */
cudaError_t router_pack_launch(const void *rows, int n_exp, int d, void *ret, cudaStream_t stream);

/* Clusters of these kernels that the current device can run at a time. Without one (a GPU cut in
 * pieces has too few multiprocessors beside each other) nothing here runs. */
cudaError_t router_check(int *ret_n_clusters);

/* Whether one launch can do it; else router_many_launch() or the ops do. n_groups: of tokens, of
 * n_segs segments with tokens. */
bool router_fits(const struct route_params *p, int d, int max_tok, int n_segs, int n_groups);

/* Enqueue. is_early: may start before the kernel ahead of it is done, as kernels/cuda/sm90.cuh
 * says. */
cudaError_t router_launch(const struct router_call *c, bool is_early, cudaStream_t stream);

/* Whether router_many_launch() can do it: of up to ROUTER_MAX_EXPERTS experts. */
bool router_many_fits(const struct route_params *p, int d);

/* The same for any number of tokens, in a few launches: c's working space is used, its scores are
 * ret_scores, which must be there; no list is made. Early starts as above. */
cudaError_t router_many_launch(const struct router_call *c, cudaStream_t stream);

/* Whether router_product_launch() can do it. */
bool router_product_fits(int d);

/* The product alone, for the op: ret_z (n_tok, n_exp) = x (n_tok, d) times the router's weights
 * transposed, the same bits. */
cudaError_t router_product_launch(const float *x, const void *router_packed, int n_tok, int n_exp,
                                  int d, float *ret_z, cudaStream_t stream);

/* Scores ret_s (n_tok, n_exp) of the logits z beside them. n_tok > 0. */
cudaError_t router_scores_launch(const float *z, int n_tok, int n_exp, enum router_score score,
                                 float *ret_s, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
