/*
 * Making matrices up on the device.
 */
#ifndef KERNELS_CUDA_MADE_H
#define KERNELS_CUDA_MADE_H

#include <cuda_runtime_api.h>

#include "kernels/made.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ret: rows * cols bf16 in device memory, row-major, aligned to 16 bytes. */
cudaError_t made_launch(const struct made_matrix *m, void *ret, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
