/* Blocks of one cluster: their barrier in two steps, and each other's shared memory as a pointer.
 */
#ifndef KERNELS_CUDA_CLUSTER_CUH
#define KERNELS_CUDA_CLUSTER_CUH

#include <cuda_runtime.h>

#include "kernels/cuda/sm90.cuh"

/* What was written before arriving, to any block's shared memory, is seen after waiting. */
static __device__ __forceinline__ void cluster_arrive(void)
{
    asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
}

static __device__ __forceinline__ void cluster_wait(void)
{
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

/* The same place in a block's shared memory. */
template <class T> static __device__ __forceinline__ T *cluster_peer(T *p, unsigned rank)
{
    T *ret;

    asm("mapa.u64 %0, %1, %2;" : "=l"(ret) : "l"(p), "r"(rank));
    return ret;
}

/* This block's dynamic shared memory, aligned to 16. */
static __device__ __forceinline__ char *dynamic_shared(void)
{
    extern __shared__ __align__(16) char dynamic_block_room[];

    return dynamic_block_room;
}

#endif
