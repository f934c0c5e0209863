/* What the experts' kernels share: moe.h. */
#ifndef KERNELS_CUDA_MOE_CUH
#define KERNELS_CUDA_MOE_CUH

#include "kernels/cuda/moe.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/sm90.cuh"

cudaError_t moe_tiles_launch(const struct moe_args *a, int n_sm, bool is_early,
                             cudaStream_t stream);

/* Bytes of an expert's packed matrices. */
PACK_FN size_t moe_gate_up_bytes(const struct moe_weights &w)
{
    return (size_t)pack_elems(pack_pair_rows(w.d_ff), w.d_model) * 2;
}

PACK_FN size_t moe_down_bytes(const struct moe_weights &w)
{
    return (size_t)pack_elems(w.d_model, w.d_ff) * 2;
}

static __device__ __forceinline__ void barrier_arrive(uint64_t *b, uint32_t count = 1)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0], %1;" ::"r"(shared_addr(b)), "r"(count)
                 : "memory");
}

/* Activations are read by many blocks. */
static __device__ __forceinline__ uint64_t policy_evict_normal(void)
{
    uint64_t policy;

    asm volatile("createpolicy.fractional.L2::evict_normal.b64 %0, 1.0;" : "=l"(policy));
    return policy;
}

/* One value of h. */
static __device__ __forceinline__ uint16_t swiglu(float gate, float up)
{
    return (uint16_t)pack_bf16(gate / (1 + expf(-gate)) * up, 0);
}

#endif
