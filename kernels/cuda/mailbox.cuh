/* Delivering from within a kernel: mailbox.h. */
#ifndef KERNELS_CUDA_MAILBOX_CUH
#define KERNELS_CUDA_MAILBOX_CUH

#include "kernels/cuda/mailbox.h"
#include "kernels/kernels.h"

/* Block `block` of n_blocks makes its share of a delivery; the last one to end says that it is
 * there. All threads. */
static __device__ __forceinline__ void mailbox_copy(const struct mailbox_delivery &d, int block,
                                                    int n_blocks)
{
    const int64_t n = (int64_t)((d.bytes + MAILBOX_ALIGN - 1) / MAILBOX_ALIGN);
    const uint4 *from = (const uint4 *)d.dev;
    uint4 *to = (uint4 *)d.host;

    for (int64_t i = (int64_t)block * blockDim.x + threadIdx.x; i < n;
         i += (int64_t)n_blocks * blockDim.x)
        to[i] = __ldcg(from + i);
    __threadfence_system();
    __syncthreads();
    if (threadIdx.x == 0 && (n_blocks == 1 || atomicAdd(d.n_blocks, 1) ==
                                                  (unsigned)n_blocks - 1)) { /* all have written */
        if (n_blocks > 1) {
            *d.n_blocks = 0;
            __threadfence_system();
        }
        *(volatile uint32_t *)d.host_done = *d.number;
    }
}

/* One thread. */
static __device__ __forceinline__ void mailbox_put(struct mailbox_pick *to, uint32_t number,
                                                   const struct pick &p)
{
    const uint32_t values[MAILBOX_PICK_WORDS] = { (uint32_t)p.id, __float_as_uint(p.prob),
                                                  p.is_mask_best };

#pragma unroll
    for (int i = 0; i < MAILBOX_PICK_WORDS; i++)
        *(volatile uint64_t *)&to->words[i] = (uint64_t)number << 32 | values[i];
}

#endif
