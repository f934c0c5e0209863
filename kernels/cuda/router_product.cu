/*
 * The router's product alone, for the op: router_product.cuh.
 *
 * A cluster has ROUTER_CHUNK tokens and ROUTER_MAX_EXPERTS experts, each of its blocks two slices
 * of the row. The sums of tokens 8 o + 2 p and 8 o + 2 p + 1 go to block 4 o + p.
 */
#include "kernels/cuda/router_product.cuh"

#include "kernels/cuda/cluster.cuh"
#include "kernels/cuda/router.h"

enum {
    STEPS = 4, /* of 16 columns, that are made ready at once */
    OCTETS = ROUTER_CHUNK / 8,
    TILES = 2, /* of 16 experts, a warp */
};

/* Parts (STEPS, OCTETS, N_SPLIT, lanes) of x; then what the blocks send: (ROUTER_BLOCKS, experts)
 * pairs of sums. */
static constexpr size_t PART_BYTES = (size_t)STEPS * OCTETS * N_SPLIT * WARP_LANES * sizeof(uint2);
static constexpr size_t SENT_BYTES = (size_t)ROUTER_BLOCKS * ROUTER_MAX_EXPERTS * sizeof(float2);

/* Parts of columns from `from` on, of the chunk's tokens: warp w makes octet w % 4. */
static __device__ __forceinline__ void make_parts(const float *x, int n_tok, int d, int from,
                                                  int to, uint2 *parts)
{
    const int lane = (int)threadIdx.x % WARP_LANES, warp = (int)threadIdx.x / WARP_LANES;
    const int octet = warp % OCTETS, t = octet * 8 + lane / 4;

    for (int j = warp / OCTETS; j < STEPS; j += ROUTER_THREADS / WARP_LANES / OCTETS) {
        const int at = from + j * 16 + lane % 4 * 4;
        float4 v = make_float4(0, 0, 0, 0);
        uint2 part[N_SPLIT];

        if (t < n_tok && at < min(to, d))
            v = *(const float4 *)(x + (size_t)t * (size_t)d + (size_t)at);
        split_four(v, part);
#pragma unroll
        for (int s = 0; s < N_SPLIT; s++)
            parts[((j * OCTETS + octet) * N_SPLIT + s) * WARP_LANES + lane] = part[s];
    }
}

static __global__ void __launch_bounds__(ROUTER_THREADS)
    product_kernel(const float *x, const uint16_t *router_w, int n_tok, int n_exp, int d, float *z)
{
    const int rank = (int)cluster_rank(), tid = (int)threadIdx.x, cols = row_slice(d);
    const int lane = tid % WARP_LANES, warp = tid / WARP_LANES;
    const int first = (int)blockIdx.x / ROUTER_BLOCKS * ROUTER_CHUNK;
    const int from_exp = (int)blockIdx.y * ROUTER_MAX_EXPERTS;
    const int n = min(n_exp - from_exp, (int)ROUTER_MAX_EXPERTS);
    const uint16_t *w = router_w + (size_t)from_exp * (size_t)d;
    uint2 *parts = (uint2 *)dynamic_shared();
    float2 *sent = (float2 *)(dynamic_shared() + PART_BYTES);
    float sum[OCTETS][TILES][4];

    cluster_arrive(); /* all blocks run before anything is sent */
    for (int i = 0; i < 2; i++) {
        const int begin = (2 * rank + i) * cols;
        float acc[OCTETS][TILES][N_SPLIT][4] = {};

        for (int k = begin; k < begin + cols; k += STEPS * 16) {
            uint4 of_w[STEPS][TILES];

#pragma unroll
            for (int j = 0; j < STEPS; j++)
#pragma unroll
                for (int y = 0; y < TILES; y++)
                    of_w[j][y] = k + 16 * j < begin + cols
                                     ? expert_step(w, n, d, (warp * TILES + y) * 16, k + 16 * j)
                                     : make_uint4(0, 0, 0, 0);
            __syncthreads();
            make_parts(x + (size_t)first * (size_t)d, n_tok - first, d, k, begin + cols, parts);
            __syncthreads();
#pragma unroll
            for (int j = 0; j < STEPS; j++)
#pragma unroll
                for (int o = 0; o < OCTETS; o++)
#pragma unroll
                    for (int s = 0; s < N_SPLIT; s++) {
                        const uint2 b = parts[((j * OCTETS + o) * N_SPLIT + s) * WARP_LANES + lane];

#pragma unroll
                        for (int y = 0; y < TILES; y++)
                            mma_bf16(acc[o][y][s], of_w[j][y], b.x, b.y);
                    }
        }
#pragma unroll
        for (int o = 0; o < OCTETS; o++)
#pragma unroll
            for (int y = 0; y < TILES; y++)
#pragma unroll
                for (int j = 0; j < 4; j++)
                    sum[o][y][j] = i ? __fadd_rn(sum[o][y][j], slice_sum(acc[o][y], j))
                                     : slice_sum(acc[o][y], j);
    }
    cluster_wait();
#pragma unroll
    for (int o = 0; o < OCTETS; o++)
#pragma unroll
        for (int y = 0; y < TILES; y++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const int e = (warp * TILES + y) * 16 + h * 8 + lane / 4;

                *cluster_peer(sent + rank * ROUTER_MAX_EXPERTS + e, (unsigned)(4 * o + lane % 4)) =
                    make_float2(sum[o][y][2 * h], sum[o][y][2 * h + 1]);
            }
    cluster_arrive();
    cluster_wait();
    for (int i = tid; i < 2 * n; i += ROUTER_THREADS) {
        const int t = first + 2 * rank + i / n, e = i % n;
        float of[ROUTER_BLOCKS];

#pragma unroll
        for (int b = 0; b < ROUTER_BLOCKS; b++) {
            const float2 v = sent[b * ROUTER_MAX_EXPERTS + e];

            of[b] = i / n ? v.y : v.x;
        }
        if (t < n_tok)
            z[(size_t)t * (size_t)n_exp + (size_t)(from_exp + e)] = tree_sum(of);
    }
}

bool router_product_fits(int d)
{
    return d % 8 == 0;
}

cudaError_t router_product_launch(const float *x, const void *router_w, int n_tok, int n_exp, int d,
                                  float *ret_z, cudaStream_t stream)
{
    const dim3 grid((unsigned)((n_tok + ROUTER_CHUNK - 1) / ROUTER_CHUNK * ROUTER_BLOCKS),
                    (unsigned)((n_exp + ROUTER_MAX_EXPERTS - 1) / ROUTER_MAX_EXPERTS));

    if (!n_tok)
        return cudaSuccess;
    return router_cluster_launch(product_kernel, grid, PART_BYTES + SENT_BYTES, false, stream, x,
                                 (const uint16_t *)router_w, n_tok, n_exp, d, ret_z);
}
