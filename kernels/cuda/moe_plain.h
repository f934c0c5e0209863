/* Experts that are not bf16: f32 multiply-adds, made to be right, not fast. */
#ifndef KERNELS_CUDA_MOE_PLAIN_H
#define KERNELS_CUDA_MOE_PLAIN_H

#include <cuda_runtime_api.h>

#include "kernels/cuda/worklist.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * y (n_tok, d_model) = sum over a token's experts, ascending, of weight * down(silu(gate x) * up
 * x). Device memory throughout.
 *
 *   x        (n_tok, d_model) f32
 *   experts  of each expert gate and up (d_ff, d_model), then down (d_model, d_ff), f32
 *   h        (n_tok * top_k, d_ff) f32, working space
 *
 * Sums of a product: 32 lanes take every 32nd column, then a tree over the lanes. A token's result
 * does not depend on the others.
 */
cudaError_t moe_plain_launch(const float *x, const float *experts, int d_model, int d_ff,
                             const struct worklist *list, int n_tok, int top_k, float *h, float *y,
                             cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
