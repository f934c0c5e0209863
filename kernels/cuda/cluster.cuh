/*
 * Blocks of one cluster: their barrier in two steps, and messages. A message goes to a place in
 * another block's shared memory and counts its bytes on a barrier there, which is over once all
 * that it expects has come: a way of half the length of a store and a barrier of the cluster. A
 * block must not end before it has received what it expects.
 */
#ifndef KERNELS_CUDA_CLUSTER_CUH
#define KERNELS_CUDA_CLUSTER_CUH

#include <cuda_runtime.h>

#include "kernels/cuda/sm90.cuh"

/* Nothing that was written is seen for it, but barriers that barrier_init_fence() came after. */
static __device__ __forceinline__ void cluster_arrive_relaxed(void)
{
    asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}

static __device__ __forceinline__ void cluster_wait(void)
{
    asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

/* Send v to where `to` is in block `rank`, for the barrier that lies there where `barrier` is here.
 * Aligned to its size. */
static __device__ __forceinline__ void cluster_send(uint32_t *to, unsigned rank, uint64_t *barrier,
                                                    uint32_t v)
{
    asm volatile(
        "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.b32 [%0], %1, [%2];" ::"r"(
            cluster_addr(to, rank)),
        "r"(v), "r"(cluster_addr(barrier, rank))
        : "memory");
}

static __device__ __forceinline__ void cluster_send(uint2 *to, unsigned rank, uint64_t *barrier,
                                                    uint2 v)
{
    asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.b32 "
                 "[%0], {%1, %2}, [%3];" ::"r"(cluster_addr(to, rank)),
                 "r"(v.x), "r"(v.y), "r"(cluster_addr(barrier, rank))
                 : "memory");
}

static __device__ __forceinline__ void cluster_send(uint4 *to, unsigned rank, uint64_t *barrier,
                                                    uint4 v)
{
    asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 "
                 "[%0], {%1, %2, %3, %4}, [%5];" ::"r"(cluster_addr(to, rank)),
                 "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w), "r"(cluster_addr(barrier, rank))
                 : "memory");
}

/* The same to addresses that cluster_addr() made. */
static __device__ __forceinline__ void cluster_send_to(uint32_t to, uint32_t barrier, uint4 v)
{
    asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 "
                 "[%0], {%1, %2, %3, %4}, [%5];" ::"r"(to),
                 "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w), "r"(barrier)
                 : "memory");
}

static __device__ __forceinline__ void cluster_send(double *to, unsigned rank, uint64_t *barrier,
                                                    double v)
{
    const uint64_t bits = (uint64_t)__double_as_longlong(v);

    cluster_send((uint2 *)to, rank, barrier, make_uint2((uint32_t)bits, (uint32_t)(bits >> 32)));
}

/* Wait for all that a barrier expects. Of its first use only. */
static __device__ __forceinline__ void cluster_receive(uint64_t *barrier)
{
    uint32_t is_over;

    do {
        asm volatile("{\n"
                     ".reg .pred p;\n"
                     "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], 0;\n"
                     "selp.u32 %0, 1, 0, p;\n"
                     "}\n"
                     : "=r"(is_over)
                     : "r"(shared_addr(barrier))
                     : "memory");
    } while (!is_over);
}

/* This block's dynamic shared memory, aligned to 1024 as wgmma.cuh wants it. */
static __device__ __forceinline__ char *dynamic_shared(void)
{
    extern __shared__ __align__(1024) char dynamic_block_room[];

    return dynamic_block_room;
}

#endif
