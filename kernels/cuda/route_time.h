/*
 * The router of layers that are timed: layers of different random weights, whose tokens go where
 * they are told to, by a bias of each token's own.
 */
#ifndef KERNELS_CUDA_ROUTE_TIME_H
#define KERNELS_CUDA_ROUTE_TIME_H

#include <cuda_runtime_api.h>
#include <stdint.h>

#include "kernels/cuda/router.h"
#include "kernels/devices.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { TIMED_LAYERS = GPU_TIMED_LAYERS };

struct timed_router {
    bool is_at_once; /* one launch a layer, else a few */
    struct router_call layers[TIMED_LAYERS];
    const uint16_t *h;                   /* (n_tok, pack_row_elems(d_model)) x after the norm */
    bool is_placed;                      /* h: moe_args.is_placed */
    struct worklist lists[TIMED_LAYERS]; /* where they went */
    uint16_t *rows;                      /* (n_exp, d_model) a layer's weights, to be packed */
    void *dev;                           /* all of it */
};

/* n_tok tokens of d_model, routed by p, softmax scores. ids: (TIMED_LAYERS, n_tok, top_k), host
 * memory, each token's natural experts, ascending or not. Waits for the device. */
cudaError_t timed_router_open(struct timed_router *r, const struct route_params *p, int d_model,
                              int n_tok, const int32_t *ids, uint64_t seed, cudaStream_t stream);

void timed_router_close(struct timed_router *r);

/* Enqueue layer i, from x to the list of who goes where. */
cudaError_t timed_router_launch(const struct timed_router *r, int i, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
