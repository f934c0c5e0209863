/*
 * Launching kernels: with their shared memory, and early where that is asked for (sm90.cuh,
 * programmatic dependent launch).
 */
#ifndef KERNELS_CUDA_LAUNCH_CUH
#define KERNELS_CUDA_LAUNCH_CUH

#include <cuda_runtime.h>
#include <stddef.h>

template <typename... Params, typename... Args>
static cudaError_t launch_kernel(void (*kernel)(Params...), dim3 grid, int n_threads, size_t smem,
                                 bool is_early, cudaStream_t stream, Args... args)
{
    cudaLaunchAttribute attr = {};
    cudaLaunchConfig_t config = {};

    attr.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attr.val.programmaticStreamSerializationAllowed = 1;
    config.gridDim = grid;
    config.blockDim = dim3((unsigned)n_threads);
    config.dynamicSmemBytes = smem;
    config.stream = stream;
    config.attrs = &attr;
    config.numAttrs = is_early ? 1 : 0;
    return cudaLaunchKernelEx(&config, kernel, static_cast<Params>(args)...);
}

/* Dynamic shared memory beyond 48 KB has to be allowed, once for each kernel and device. */
template <typename Kernel> static cudaError_t allow_shared(Kernel *kernel, size_t bytes)
{
    return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
}

/* Multiprocessors of the current device. */
static inline cudaError_t count_sms(int *ret)
{
    int device = 0;
    cudaError_t rc = cudaGetDevice(&device);

    return rc == cudaSuccess ? cudaDeviceGetAttribute(ret, cudaDevAttrMultiProcessorCount, device)
                             : rc;
}

#endif
