/*
 * Projections of up to 32 tokens to many rows, by pairs of blocks that share the columns: gemm.h's
 * products and bits. A block fetches all of its weights without waiting for the kernel whose
 * results it multiplies.
 */
#ifndef KERNELS_CUDA_GEMM_PAIR_H
#define KERNELS_CUDA_GEMM_PAIR_H

#include "kernels/cuda/gemm.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Whether it can, and a device of n_sm multiprocessors has room for all blocks at a time. */
bool gemm_pair_fits(const struct gemm_args *a, int n_sm);

/* As gemm_launch(). */
cudaError_t gemm_pair_launch(const struct gemm_args *a, bool is_early, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
