/*
 * Making packed weights (pack.h) on the device.
 *
 * Errors are those of the launch; the kernels run in order on the stream.
 */
#ifndef KERNELS_CUDA_PACK_CUH
#define KERNELS_CUDA_PACK_CUH

#include <cuda_runtime.h>

#include "kernels/cuda/pack.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Pack n_rows rows of a matrix, row-major bf16 in device memory, that are rows [row0, row0 +
 * n_rows) of the matrix.
 *
 *   src      (n_rows, cols) bf16 device memory: the rows themselves
 *   row0     a multiple of PACK_ROWS
 *   n_rows   a multiple of PACK_ROWS, but for the last rows of the matrix, which end a tile
 *            with zeros
 *   dst      pack_elems(rows of the whole matrix, cols) bf16, aligned to 128 bytes
 */
cudaError_t pack_rows_launch(const void *src, int64_t row0, int64_t n_rows, int64_t cols, void *dst,
                             cudaStream_t stream);

/* Pack gate and up, (d_ff, d_model) bf16 each in device memory, together:
 * dst pack_elems(pack_pair_rows(d_ff), d_model) bf16, aligned to 128 bytes. */
cudaError_t pack_pair_launch(const void *gate, const void *up, int64_t d_ff, int64_t d_model,
                             void *dst, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
