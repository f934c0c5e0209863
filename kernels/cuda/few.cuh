/*
 * Up to 32 tokens times many slices of packed weights (slice.cuh), for kernels that stream these.
 *
 * Warp w owns stretch w of every slice of its block: it fetches 8 KB pieces into a ring of its own,
 * waits for nobody else's, and holds the activations of its stretch in registers, for all slices.
 */
#ifndef KERNELS_CUDA_FEW_CUH
#define KERNELS_CUDA_FEW_CUH

#include "kernels/cuda/gemm.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/slice.cuh"
#include "kernels/cuda/sm90.cuh"

#define FEW_THREADS (32 * SLICE_WARPS)
#define FEW_TOKENS 32
#define FEW_RING 3 /* pieces under way for each warp */

/* Sums of a slice, of all warps and NT token octets. */
static constexpr __host__ __device__ int few_sums(int nt)
{
    return SLICE_WARPS * slice_sums(nt);
}

/*
 * Shared memory.
 *   ring  (SLICE_WARPS, FEW_RING) pieces of PACK_SLICE_BYTES
 *   sums  (2, few_sums(NT)) f32
 *   full  (SLICE_WARPS, FEW_RING) barriers
 */
static constexpr __host__ __device__ int few_bytes(int nt)
{
    return SLICE_WARPS * FEW_RING * PACK_SLICE_BYTES + 2 * few_sums(nt) * 4 +
           SLICE_WARPS * FEW_RING * 8;
}

static_assert(few_bytes(FEW_TOKENS / 8) <= 227 << 10, "what a block may have");

/* Have a warp's piece of a slice brought to its ring. */
static __device__ __forceinline__ void few_fetch(void *to, const char *slice, int warp,
                                                 uint64_t *full, uint64_t policy)
{
    barrier_expect(full, PACK_SLICE_BYTES);
    bulk_copy(to, slice + (size_t)warp * PACK_TILE_BYTES, PACK_SLICE_BYTES, full, policy);
}

/* A warp's activations: its stretch of all tokens, zeros where there is none. */
template <int NT>
static __device__ __forceinline__ void few_activations(const struct gemm_args &a, int k_tiles,
                                                       int warp, int lane, uint4 (&b)[8][NT])
{
    const uint16_t *x = a.x + warp * PACK_K + lane % 4 * 8;
    const size_t ld = (size_t)k_tiles * PACK_K;

#pragma unroll
    for (int n = 0; n < NT; n++) {
        const int token = n * 8 + lane / 4;

#pragma unroll
        for (int k = 0; k < 8; k++)
            b[k][n] = warp < k_tiles && token < a.n_tok
                          ? __ldcg((const uint4 *)(x + token * ld + k * 32))
                          : make_uint4(0, 0, 0, 0);
    }
}

#endif
