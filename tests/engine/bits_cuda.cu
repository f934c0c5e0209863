/* Comparing floats in a GPU's memory: bits.h. */
#include "bits_cuda.h"

#include <limits.h>
#include <stdint.h>

enum { THREADS = 256, GRID = 1024 };

/* The least i where got is NaN or not want, if it is below *first; got becomes NaN. Any number of
 * threads; they touch neighbours at a time. */
static __global__ void __launch_bounds__(THREADS)
    take(uint32_t *got, const uint32_t *want, size_t n, unsigned long long *first)
{
    const size_t stride = (size_t)gridDim.x * THREADS;
    unsigned long long at = ULLONG_MAX;

    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += stride) {
        if (at == ULLONG_MAX && (got[i] != want[i] || isnan(__uint_as_float(got[i]))))
            at = i;
        got[i] = UINT32_MAX;
    }
    if (at != ULLONG_MAX)
        atomicMin(first, at);
}

static const char *said(cudaError_t rc)
{
    return rc == cudaSuccess ? NULL : cudaGetErrorString(rc);
}

const char *bits_cuda_copy(float *to, const float *from, size_t n)
{
    cudaError_t rc = cudaMemcpy(to, from, n * sizeof(*to), cudaMemcpyDeviceToDevice);

    return said(rc == cudaSuccess ? cudaDeviceSynchronize()
                                  : rc); /* such a copy may return early */
}

const char *bits_cuda_take(float *got, const float *want, size_t n, size_t *ret_at)
{
    static unsigned long long *dev_first; /* lives as long as the program */
    unsigned long long first = ULLONG_MAX;
    cudaError_t rc = cudaSuccess;

    if (!dev_first)
        rc = cudaMalloc((void **)&dev_first, sizeof(*dev_first));
    if (rc == cudaSuccess)
        rc = cudaMemcpy(dev_first, &first, sizeof(first), cudaMemcpyHostToDevice);
    if (rc == cudaSuccess) {
        take<<<GRID, THREADS>>>((uint32_t *)got, (const uint32_t *)want, n, dev_first);
        rc = cudaGetLastError();
    }
    if (rc == cudaSuccess) /* waits for the kernel */
        rc = cudaMemcpy(&first, dev_first, sizeof(first), cudaMemcpyDeviceToHost);
    *ret_at = first == ULLONG_MAX ? n : (size_t)first;
    return said(rc);
}
