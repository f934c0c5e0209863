/*
 * A slice of packed weights (pack.h), 16 rows with up to 8 stretches of PACK_K columns, times few
 * tokens: the sums of gemm.h, for every kernel that makes them. Warp w of 8 multiplies stretch w,
 * whose activations it holds in registers; the stretches' sums meet in shared memory.
 */
#ifndef KERNELS_CUDA_SLICE_CUH
#define KERNELS_CUDA_SLICE_CUH

#include "kernels/cuda/pack.h"
#include "kernels/cuda/sm90.cuh"

#define SLICE_WARPS 8

/* Floats of a stretch's sums of NT token octets. */
static constexpr __host__ __device__ int slice_sums(int nt)
{
    return 8 * nt * PACK_SLICE_ROWS;
}

/* Where the sum of a (token, row) of a slice lies: tokens are 16 apart, with the halves of every
 * other two changed places, so that no more than two lanes of a store share a bank. */
static __device__ __forceinline__ int slice_sum_at(int token, int row)
{
    return token * PACK_SLICE_ROWS + (row ^ (token & 2) * 4);
}

/* ret = a piece, one stretch, times NT octets of tokens. piece: the lane's of the first fragment.
 * b: of each 32 columns and octet the lane's 8 columns 8 (lane % 4) .. of token lane / 4. */
template <int NT>
static __device__ __forceinline__ void slice_multiply(const uint4 *piece, const uint4 (&b)[8][NT],
                                                      float (&ret)[NT][4])
{
#pragma unroll
    for (int n = 0; n < NT; n++)
        ret[n][0] = ret[n][1] = ret[n][2] = ret[n][3] = 0;
#pragma unroll
    for (int k = 0; k < 8; k++) {
        const uint4 a0 = piece[2 * k * 32], a1 = piece[(2 * k + 1) * 32];

#pragma unroll
        for (int n = 0; n < NT; n++)
            mma_bf16(ret[n], a0, b[k][n].x, b[k][n].y);
#pragma unroll
        for (int n = 0; n < NT; n++)
            mma_bf16(ret[n], a1, b[k][n].z, b[k][n].w);
    }
}

/* The warp's sums to `to`, its slice_sums(NT). */
template <int NT>
static __device__ __forceinline__ void slice_store(float *to, const float (&sums)[NT][4])
{
    const int lane = threadIdx.x % 32;

#pragma unroll
    for (int n = 0; n < NT; n++) {
        const int token = n * 8 + lane % 4 * 2, row = lane / 4;

        to[slice_sum_at(token, row)] = sums[n][0];
        to[slice_sum_at(token + 1, row)] = sums[n][1];
        to[slice_sum_at(token, row + 8)] = sums[n][2];
        to[slice_sum_at(token + 1, row + 8)] = sums[n][3];
    }
}

/* The sum over k_tiles stretches. */
template <int NT>
static __device__ __forceinline__ float slice_sum(const float *sums, int k_tiles, int token,
                                                  int row)
{
    float v = 0;

#pragma unroll
    for (int w = 0; w < SLICE_WARPS; w++) /* what is not there is not added, but read */
        v = w < k_tiles ? v + sums[w * slice_sums(NT) + slice_sum_at(token, row)] : v;
    return v;
}

#endif
