/*
 * Projections of few rows: gemm_split.h.
 *
 * A cluster of BLOCKS makes a row tile, each of its blocks a slice. What takes time is the way of
 * the activations to the multiprocessors, so a block multiplies all rows of the tile by a part of
 * the columns, and reads but these of each token. Its weights are in registers before the
 * activations are there. The sums of each stretch go to the block whose rows they are, which adds
 * them in order.
 */
#include "kernels/cuda/gemm_split.h"

#include "kernels/cuda/cluster.cuh"
#include "kernels/cuda/few.cuh"
#include "kernels/cuda/gemm_unit.cuh"
#include "kernels/cuda/launch.cuh"

#define BLOCKS (PACK_ROWS / PACK_SLICE_ROWS)
#define STRETCHES (SLICE_WARPS / BLOCKS)   /* of a block */
#define STEPS (PACK_K / 32)                /* of 32 columns, of a stretch */
#define FETCHERS (FEW_THREADS / STRETCHES) /* threads that fetch a stretch, and multiply it */

/*
 * Shared memory of a block, in 16 bytes.
 *   x     (STRETCHES, STEPS, NT, 32) fragments of activations
 *   sums  (SLICE_WARPS, NT, 32): of all stretches, as mma_bf16() leaves them
 *   full  the barrier of sums
 */
static constexpr __host__ __device__ int split_bytes(int nt)
{
    return (STRETCHES * STEPS + SLICE_WARPS) * nt * 512 + 16;
}

/* Where a lane's fragment of a step and octet lies in x: lanes of odd steps change places, so that
 * the 128 bytes of a token that eight threads fetch go to different banks. */
static __device__ __forceinline__ int fragment_at(int step, int octet, int n_octets, int lane)
{
    return (step * n_octets + octet) * 32 + (lane ^ (step & 1) * 4);
}

/* A stretch of all tokens to x, zeros where there is none: two commits, a half of the columns
 * each. from: the stretch of token 0; ld: bytes from token to token. */
template <int NT>
static __device__ __forceinline__ void fetch_stretch(const uint16_t *from, uint32_t ld, int n_tok,
                                                     uint4 *x)
{
    /* threads take pieces of 16 bytes of so many tokens, and so many times 64 columns, at a time */
    constexpr int n_tokens = 8 * NT < FETCHERS / 8 ? 8 * NT : FETCHERS / 8;
    constexpr int n_groups = FETCHERS / 8 / n_tokens;
    const int piece = threadIdx.x % 8, first = threadIdx.x % FETCHERS / 8 % n_tokens;
    const int group = threadIdx.x % FETCHERS / 8 / n_tokens;
    const char *const columns = (const char *)(from + group * 64 + piece * 8);
    uint4 *const to =
        x + fragment_at(group * 2 + piece / 4, first / 8, NT, first % 8 * 4 + piece % 4);

#pragma unroll
    for (int g = 0; g < STEPS / 2; g += n_groups) {
#pragma unroll
        for (int t = 0; t < 8 * NT; t += n_tokens)
            async_copy16(to + (g * 2 * NT + t / 8) * 32,
                         columns + (uint32_t)min(first + t, n_tok - 1) * ld + g * 128,
                         first + t < n_tok);
        if (g + n_groups == STEPS / 4)
            async_commit();
    }
    async_commit();
}

/* Grid: (row tiles, 1, BLOCKS), in clusters of BLOCKS. k_tiles <= SLICE_WARPS, n_tok <= 8 NT.
 * Warp w has slice w % BLOCKS of stretch w / BLOCKS of the block's; in the end, rows 8 (w % 2) ..
 * of the block's slice for the tokens of octet w / 2. f32 sums. */
template <int NT>
__global__ void __launch_bounds__(FEW_THREADS, 2)
    split_tokens(const __grid_constant__ struct gemm_args a, int k_tiles)
{
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, rank = (int)cluster_rank();
    const int own = warp / BLOCKS, stretch = rank * STRETCHES + own, slice = warp % BLOCKS;
    uint4 *const x = (uint4 *)dynamic_shared() + own * STEPS * NT * 32;
    uint4 *const sums = (uint4 *)dynamic_shared() + STRETCHES * STEPS * NT * 32;
    uint64_t *const full = (uint64_t *)(sums + SLICE_WARPS * NT * 32);
    const struct gemm_unit unit = find_unit(a, blockIdx.x, PACK_ROWS, k_tiles);
    const bool is_active = stretch < k_tiles;
    const int octet = warp / 2, half = warp % 2, token = octet * 8 + lane % 4 * 2;
    const int row = rank * PACK_SLICE_ROWS + half * 8 + lane / 4;
    float *const y = unit.y + (size_t)token * unit.rows + row;
    uint4 w[2 * STEPS];
    float old[2] = { 0, 0 };
    bool is_there[2];

    grid_release();
    if (is_active) {
        const uint4 *weights =
            (const uint4 *)(unit.w + (size_t)stretch * PACK_TILE_BYTES + slice * PACK_SLICE_BYTES) +
            lane;

#pragma unroll
        for (int i = 0; i < 2 * STEPS; i++)
            w[i] = __ldcs(weights + i * 32);
    }
    if (threadIdx.x == 0) {
        barrier_init(full, 1);
        barrier_init_fence();
    }
    __syncwarp();
    if (threadIdx.x == 0)
        barrier_expect(full, (uint32_t)k_tiles * NT * 512);
    cluster_arrive_relaxed();
    grid_wait();
    if (is_active)
        fetch_stretch<NT>(a.x + stretch * PACK_K, (uint32_t)k_tiles * PACK_K * 2, a.n_tok, x);
#pragma unroll
    for (int i = 0; i < 2; i++) {
        is_there[i] = octet < NT && row < unit.n_rows && token + i < a.n_tok;
        if (a.is_added && is_there[i])
            old[i] = __ldcg(y + (size_t)i * unit.rows);
    }
    cluster_wait(); /* all blocks' barriers are there */
    if (is_active) {
        float acc[NT][4];

#pragma unroll
        for (int n = 0; n < NT; n++)
            acc[n][0] = acc[n][1] = acc[n][2] = acc[n][3] = 0;
#pragma unroll
        for (int k = 0; k < STEPS; k++) {
            uint4 b[NT];

            if (k == 0)
                async_wait<1>();
            if (k == STEPS / 2)
                async_wait<0>();
            if (k % (STEPS / 2) == 0) {
                static_assert(STRETCHES == 2, "barriers, whose numbers are best constants");
                if (own)
                    named_barrier(2, FETCHERS);
                else
                    named_barrier(1, FETCHERS);
            }
#pragma unroll
            for (int n = 0; n < NT; n++)
                b[n] = x[fragment_at(k, n, NT, lane)];
#pragma unroll
            for (int n = 0; n < NT; n++)
                mma_bf16(acc[n], w[2 * k], b[n].x, b[n].y);
#pragma unroll
            for (int n = 0; n < NT; n++)
                mma_bf16(acc[n], w[2 * k + 1], b[n].z, b[n].w);
        }
#pragma unroll
        for (int n = 0; n < NT; n++)
            cluster_send(sums + (stretch * NT + n) * 32 + lane, slice, full,
                         make_uint4(__float_as_uint(acc[n][0]), __float_as_uint(acc[n][1]),
                                    __float_as_uint(acc[n][2]), __float_as_uint(acc[n][3])));
    }
    cluster_receive(full);
    if (octet < NT) {
        float2 v = make_float2(0, 0);

#pragma unroll
        for (int s = 0; s < SLICE_WARPS; s++)
            if (s < k_tiles) {
                const float4 *of_stretch = (const float4 *)sums + (s * NT + octet) * 32 + lane;
                const float2 part = ((const float2 *)of_stretch)[half];

                v.x += part.x;
                v.y += part.y;
            }
        if (is_there[0])
            y[0] = a.is_added ? old[0] + v.x : v.x;
        if (is_there[1])
            y[unit.rows] = a.is_added ? old[1] + v.y : v.y;
    }
}

/* ---- launching ---------------------------------------------------------------------------- */

template <int NT>
static cudaError_t launch(const struct gemm_args *a, bool is_early, cudaStream_t stream)
{
    const dim3 grid((unsigned)count_units(a, PACK_ROWS), 1, BLOCKS);
    cudaError_t rc = allow_shared(split_tokens<NT>, split_bytes(NT));

    if (rc != cudaSuccess)
        return rc;
    return launch_clusters(split_tokens<NT>, grid, BLOCKS, FEW_THREADS, split_bytes(NT), is_early,
                           stream, *a, (int)pack_k_tiles(a->cols));
}

bool gemm_split_fits(const struct gemm_args *a, int n_sm)
{
    return a->n_tok <= FEW_TOKENS && pack_k_tiles(a->cols) <= SLICE_WARPS &&
           count_units(a, PACK_ROWS) * BLOCKS <= 2 * n_sm;
}

cudaError_t gemm_split_launch(const struct gemm_args *a, bool is_early, cudaStream_t stream)
{
    return a->n_tok <= 8    ? launch<1>(a, is_early, stream)
           : a->n_tok <= 16 ? launch<2>(a, is_early, stream)
                            : launch<4>(a, is_early, stream);
}
