/*
 * Copies of boxes of a matrix in device memory to shared memory, as wgmma takes them for B
 * (wgmma.cuh). A map says how the matrix lies; it is made on the host, by the driver, and passed as
 * __grid_constant__.
 */
#ifndef KERNELS_CUDA_TENSOR_MAP_CUH
#define KERNELS_CUDA_TENSOR_MAP_CUH

#include <cuda.h>
#include <cuda_runtime.h>
#include <stdint.h>

#include "kernels/cuda/sm90.cuh"

#define MAP_COLS 64 /* of a box: 128 bytes */

/* Of (n_rows, cols) bf16 at p; p and rows are aligned to 16 bytes. A box is n_box rows, at most
 * 256. */
static inline cudaError_t map_rows(const void *p, int64_t n_rows, int64_t cols, int n_box,
                                   CUtensorMap *ret)
{
    typedef CUresult (*encode_fn)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *,
                                  const cuuint64_t *, const cuuint64_t *, const cuuint32_t *,
                                  const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle,
                                  CUtensorMapL2promotion, CUtensorMapFloatOOBfill);
    const cuuint64_t dims[2] = { (cuuint64_t)cols, (cuuint64_t)n_rows };
    const cuuint64_t strides[1] = { (cuuint64_t)cols * sizeof(uint16_t) };
    const cuuint32_t box[2] = { MAP_COLS, (cuuint32_t)n_box }, steps[2] = { 1, 1 };
    cudaDriverEntryPointQueryResult found;
    void *encode = NULL;
    cudaError_t rc = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &encode, 12000,
                                                      cudaEnableDefault, &found);

    if (rc != cudaSuccess || !encode)
        return rc != cudaSuccess ? rc : cudaErrorSymbolNotFound;
    return ((encode_fn)encode)(ret, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, (void *)p, dims, strides,
                               box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                               CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                               CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS
               ? cudaSuccess
               : cudaErrorInvalidValue;
}

/* Copy the box from (row, col) on to dst, aligned to 1024; rows that are not there are zeros.
 * Completes on b. */
static __device__ __forceinline__ void tensor_copy(void *dst, const CUtensorMap *map, int col,
                                                   int row, uint64_t *b)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1, {%2, %3}], [%4];" ::"r"(shared_addr(dst)),
                 "l"(map), "r"(col), "r"(row), "r"(shared_addr(b))
                 : "memory");
}

#endif
