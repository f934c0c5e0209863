/*
 * Attention of so many queries that blocks need not share any (attention.h): the same bits.
 */
#ifndef KERNELS_CUDA_ATTENTION_MANY_H
#define KERNELS_CUDA_ATTENTION_MANY_H

#include "kernels/cuda/attention.h"

#ifdef __cplusplus
extern "C" {
#endif

/* attention_launch() for any sizes, but not for raw queries. */
cudaError_t attention_many_launch(const struct attention_args *a, bool is_early,
                                  cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
