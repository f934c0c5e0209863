/*
 * Tiles of activations for gemm_fast.h, for the kernels that make them.
 *
 * An atom is 8 tokens by 64 columns, 1,024 bytes, as wgmma takes B (wgmma.cuh); atoms lie octet by
 * octet of tokens, and so for each step of 64 columns: what a block needs of a step is one run.
 * wgmma takes the columns of a fragment in another order than pack.h has them: in each 32 columns,
 * register i of lane t in fragment s stands for columns 8 t + 4 s + 2 (i >> 1) and the next,
 * wgmma's B operand has them at 16 s + 8 (i >> 1) + 2 t.
 */
#ifndef KERNELS_CUDA_GEMM_TILE_CUH
#define KERNELS_CUDA_GEMM_TILE_CUH

#include <stdint.h>

#include "kernels/cuda/gemm_fast.h"
#include "kernels/cuda/wgmma.cuh"

#define TILE_OCTET 8
#define TILE_COLS 64
#define TILE_ATOM_BYTES (TILE_OCTET * TILE_COLS * 2)

/* Octets of tokens that there is room for. */
static __host__ __device__ __forceinline__ int64_t tile_octets(int n_tok)
{
    return ((int64_t)n_tok + GEMM_FAST_ALIGN - 1) / GEMM_FAST_ALIGN *
           (GEMM_FAST_ALIGN / TILE_OCTET);
}

/* Where columns col, which is even, and col + 1 of a token lie. */
static __device__ __forceinline__ uint32_t *tile_pair(void *tiled, int64_t n_octets, int64_t token,
                                                      int col)
{
    char *atom =
        (char *)tiled + (col / TILE_COLS * n_octets + token / TILE_OCTET) * TILE_ATOM_BYTES;
    const int piece = col % TILE_COLS / 32 * 4 + col % 8 / 2;

    return (uint32_t *)(atom + wgmma_piece((int)(token % TILE_OCTET), piece)) + col % 32 / 8;
}

#endif
