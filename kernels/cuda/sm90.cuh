/*
 * The machine instructions that kernels here are built on, one function each (PTX ISA 8.0, sm_90).
 *
 * Programmatic dependent launch: a kernel launched with the attribute may start while the one
 * before it still runs. It may then read what nobody writes (weights), what mailbox_fetch() brought
 * (mailbox.h: nothing starts before it is done), after the experts their list (moe.h, struct
 * moe_sum) or after the head's products what was complete before these (head.cu), and calls
 * grid_wait() before anything else; that waits until all kernels before are complete and their
 * writes are seen.
 * Every kernel that may start early calls it, in every block, so that waiting for one means waiting
 * for all before. grid_release(): the next kernel may start now; it says nothing about results.
 */
#ifndef KERNELS_CUDA_SM90_CUH
#define KERNELS_CUDA_SM90_CUH

#include <cuda_runtime.h>
#include <stdint.h>

static __device__ __forceinline__ void grid_wait(void)
{
    asm volatile("griddepcontrol.wait;" ::: "memory");
}

static __device__ __forceinline__ void grid_release(void)
{
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

static __device__ __forceinline__ uint32_t shared_addr(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

static __device__ __forceinline__ void barrier_init(uint64_t *b, int n_arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_addr(b)), "r"(n_arrivals)
                 : "memory");
}

/* After barrier_init(), before copies complete on them. */
static __device__ __forceinline__ void barrier_init_fence(void)
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

static __device__ __forceinline__ void barrier_expect(uint64_t *b, uint32_t bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_addr(b)),
                 "r"(bytes)
                 : "memory");
}

/* Wait for the phase of that parity to be over. */
static __device__ __forceinline__ void barrier_wait(uint64_t *b, uint32_t parity)
{
    uint32_t addr = shared_addr(b), is_over;

    do {
        asm volatile("{\n"
                     ".reg .pred p;\n"
                     "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
                     "selp.u32 %0, 1, 0, p;\n"
                     "}\n"
                     : "=r"(is_over)
                     : "r"(addr), "r"(parity)
                     : "memory");
    } while (!is_over);
}

/* A barrier of n threads, whole warps; id 1 .. 15. */
static __device__ __forceinline__ void named_barrier(int id, int n)
{
    asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(n) : "memory");
}

/* The same without waiting. */
static __device__ __forceinline__ void named_barrier_arrive(int id, int n)
{
    asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(n) : "memory");
}

/* Have the address of global memory at hand: its line comes to the second-level cache. */
static __device__ __forceinline__ void prefetch(const void *p)
{
    asm volatile("prefetch.global.L2 [%0];" ::"l"(p));
}

/* Weights are read once: they leave the second-level cache first. */
static __device__ __forceinline__ uint64_t policy_evict_first(void)
{
    uint64_t policy;

    asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    return policy;
}

/* Copy bytes (a multiple of 16) of global memory to shared, both aligned to 16; completes on b. */
static __device__ __forceinline__ void bulk_copy(void *dst, const void *src, uint32_t bytes,
                                                 uint64_t *b, uint64_t policy)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
                 "[%0], [%1], %2, [%3], %4;" ::"r"(shared_addr(dst)),
                 "l"(src), "r"(bytes), "r"(shared_addr(b)), "l"(policy)
                 : "memory");
}

/* The same for what may be read again. */
static __device__ __forceinline__ void bulk_copy(void *dst, const void *src, uint32_t bytes,
                                                 uint64_t *b)
{
    asm volatile(
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, "
        "[%3];" ::"r"(shared_addr(dst)),
        "l"(src), "r"(bytes), "r"(shared_addr(b))
        : "memory");
}

/* 16 bytes, or 16 zeros if !is_there; src must be valid in either case. */
static __device__ __forceinline__ void async_copy16(void *dst, const void *src, bool is_there)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_addr(dst)), "l"(src),
                 "r"(is_there ? 16 : 0)
                 : "memory");
}

/* 4 bytes. */
static __device__ __forceinline__ void async_copy4(void *dst, const void *src)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(shared_addr(dst)), "l"(src)
                 : "memory");
}

static __device__ __forceinline__ void async_commit(void)
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

template <int N> static __device__ __forceinline__ void async_wait(void)
{
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

/* Two values rounded to bf16, to nearest even; lo in the lower half. */
static __device__ __forceinline__ uint32_t pack_bf16(float lo, float hi)
{
    uint32_t ret;

    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(ret) : "f"(hi), "f"(lo));
    return ret;
}

/* c += A (16 x 16) B (16 x 8), bf16 in, f32 sums. */
static __device__ __forceinline__ void mma_bf16(float c[4], const uint4 &a, uint32_t b0,
                                                uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1));
}

/* Blocks of a cluster: which one this is, and an address in the shared memory of another of them
 * (cluster.cuh has the rest). */
static __device__ __forceinline__ uint32_t cluster_rank(void)
{
    uint32_t r;

    asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(r));
    return r;
}

static __device__ __forceinline__ uint32_t cluster_addr(const void *p, uint32_t rank)
{
    uint32_t ret;

    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(ret) : "r"(shared_addr(p)), "r"(rank));
    return ret;
}

#endif
