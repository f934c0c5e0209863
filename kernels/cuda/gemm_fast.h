/*
 * Projections for many tokens, numeric mode `fast`: the products of gemm.h by wgmma.
 *
 * Numbers. A sum is one chain over ascending columns inside the tensor cores, in f32; gemm.h's is
 * made of stretches. The same launch gives the same bits each time.
 *
 * Activations lie in tiles, so that one plain copy fetches what a block multiplies at a time:
 * gemm_fast_tile() makes them of rows.
 */
#ifndef KERNELS_CUDA_GEMM_FAST_H
#define KERNELS_CUDA_GEMM_FAST_H

#include "kernels/cuda/fused.h"
#include "kernels/cuda/gemm.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    GEMM_FAST_MIN = 128,  /* of fewer tokens gemm_launch() is as fast */
    GEMM_FAST_ALIGN = 256 /* tiles are made for whole multiples of so many tokens */
};

/* Bytes of n_tok tokens of cols columns in tiles. */
size_t gemm_fast_tiled_bytes(int n_tok, int cols);

/* Tiles of x (n_tok, cols) f32, rounded to bf16 to nearest even; of rows that are bf16 already,
 * (n_tok, pack_row_elems(cols)). ret is aligned to 1024. */
cudaError_t gemm_fast_tile(const float *x, int n_tok, int cols, void *ret, cudaStream_t stream);
cudaError_t gemm_fast_tile_rounded(const uint16_t *x, int n_tok, int cols, void *ret,
                                   cudaStream_t stream);

/* Enqueue the products: gemm_launch(), but for tiled instead of a->x. */
cudaError_t gemm_fast_launch(const struct gemm_args *a, const void *tiled, cudaStream_t stream);

/* The same for queries, keys and values, which then go where fused_qk_launch() puts them, in its
 * bits, and nowhere else: neither parts[].y nor key and value are touched. */
bool gemm_fast_heads_fit(int d_head, int d_rot);
cudaError_t gemm_fast_heads_launch(const struct gemm_args *a, const void *tiled,
                                   const struct fused_qk *heads, cudaStream_t stream);

/* The products with one matrix reduced to proposals: gemm_pick_launch(), for any number of tokens;
 * of the softmax, the terms are taken and summed in f32, 32 to 64 of them at a time, then in f64.
 * work: gemm_fast_pick_bytes(). */
size_t gemm_fast_pick_bytes(int n_tok);
cudaError_t gemm_fast_pick_launch(const struct gemm_args *a, const void *tiled,
                                  const struct gemm_pick_row *rows, void *work, struct pick *ret,
                                  cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
