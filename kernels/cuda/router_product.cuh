/*
 * The router's product, as the op and the router of many tokens have it (router_many.cu), and the
 * router in one launch (router.cu): which sums there are, so that all give the same bits.
 *
 * An element of x after the norm is split into three bf16 that add up to it (24 bits), the router's
 * weights are bf16: every product is exact, and tensor cores add them in f32, one sum a slice of
 * the row (row.cuh) for each of the three. This is f32 arithmetic at a third of the tensor cores'
 * rate, still several times that of multiply-adds. A token is a column of the tensor cores'
 * product: its sums do not depend on its neighbours.
 *
 *     a slice: s = (high + middle) + low      z = tree(s[0], s[1], ... s[31])
 *
 * The tensor cores take 16 columns at a time, a step. Lane 4 g + q has of a step the four columns
 * from 4 q on: of token g of eight, and of experts g and g + 8 of sixteen.
 */
#ifndef KERNELS_CUDA_ROUTER_PRODUCT_CUH
#define KERNELS_CUDA_ROUTER_PRODUCT_CUH

#include <cuda_runtime.h>
#include <stdint.h>

#include "kernels/cuda/cluster.cuh"
#include "kernels/cuda/router.h"
#include "kernels/cuda/row.cuh"
#include "kernels/cuda/sm90.cuh"

enum {
    ROUTER_THREADS = 256,
    ROUTER_CHUNK = 32, /* tokens that are multiplied at once: four octets */
    N_SPLIT = 3,
};

/* The parts of four columns, largest first. */
static __device__ __forceinline__ void split_four(float4 h, uint2 (&ret)[N_SPLIT])
{
#pragma unroll
    for (int s = 0; s < N_SPLIT; s++) {
        ret[s] = make_uint2(pack_bf16(h.x, h.y), pack_bf16(h.z, h.w));
        h.x = __fsub_rn(h.x, __uint_as_float(ret[s].x << 16));
        h.y = __fsub_rn(h.y, __uint_as_float(ret[s].x & 0xffff0000u));
        h.z = __fsub_rn(h.z, __uint_as_float(ret[s].y << 16));
        h.w = __fsub_rn(h.w, __uint_as_float(ret[s].y & 0xffff0000u));
    }
}

/* What a slice comes to. */
static __device__ __forceinline__ float slice_sum(const float (&acc)[N_SPLIT][4], int i)
{
    return __fadd_rn(__fadd_rn(acc[0][i], acc[1][i]), acc[2][i]);
}

/* The balanced tree over N sums, a power of two. */
template <int N> static __device__ __forceinline__ float tree_sum(const float (&v)[N])
{
    if constexpr (N == 1) {
        return v[0];
    } else {
        float sum[N / 2];

#pragma unroll
        for (int i = 0; i < N / 2; i++)
            sum[i] = __fadd_rn(v[2 * i], v[2 * i + 1]);
        return tree_sum(sum);
    }
}

/* Launch clusters of ROUTER_BLOCKS, which the backend made sure there is room for (router_check()).
 */
template <class... Params, class... Args>
static cudaError_t router_cluster_launch(void (*kernel)(Params...), dim3 grid, size_t shared,
                                         bool is_early, cudaStream_t stream, Args... args)
{
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute attrs[2] = {};
    cudaError_t rc =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);

    if (rc == cudaSuccess)
        rc = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
    if (rc != cudaSuccess)
        return rc;
    attrs[0].id = cudaLaunchAttributeClusterDimension;
    attrs[0].val.clusterDim.x = ROUTER_BLOCKS;
    attrs[0].val.clusterDim.y = attrs[0].val.clusterDim.z = 1;
    attrs[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attrs[1].val.programmaticStreamSerializationAllowed = 1;
    config.gridDim = grid;
    config.blockDim = dim3(ROUTER_THREADS);
    config.dynamicSmemBytes = shared;
    config.stream = stream;
    config.attrs = attrs;
    config.numAttrs = is_early ? 2 : 1;
    return cudaLaunchKernelEx(&config, kernel, static_cast<Params>(args)...);
}

#endif
