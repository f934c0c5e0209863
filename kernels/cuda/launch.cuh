/*
 * Launching kernels: with their shared memory, and early where that is asked for (sm90.cuh,
 * programmatic dependent launch).
 */
#ifndef KERNELS_CUDA_LAUNCH_CUH
#define KERNELS_CUDA_LAUNCH_CUH

#include <cuda_runtime.h>
#include <stddef.h>

/* How many clusters of so many blocks run at once; 0 if none does. */
template <typename... Params>
static int count_clusters(void (*kernel)(Params...), int cluster, int n_threads, size_t smem)
{
    cudaLaunchAttribute attr = {};
    cudaLaunchConfig_t config = {};
    int n = 0;

    attr.id = cudaLaunchAttributeClusterDimension;
    attr.val.clusterDim.x = 1;
    attr.val.clusterDim.y = 1;
    attr.val.clusterDim.z = (unsigned)cluster;
    config.gridDim = dim3(1, 1, (unsigned)cluster);
    config.blockDim = dim3((unsigned)n_threads);
    config.dynamicSmemBytes = smem;
    config.attrs = &attr;
    config.numAttrs = 1;
    if (cudaOccupancyMaxActiveClusters(&n, kernel, &config) == cudaSuccess)
        return n;
    (void)cudaGetLastError(); /* the size is not to be had */
    return 0;
}

/* Launch a kernel in clusters of so many blocks of the grid's z. */
template <typename... Params, typename... Args>
static cudaError_t launch_clusters(void (*kernel)(Params...), dim3 grid, int cluster, int n_threads,
                                   size_t smem, bool is_early, cudaStream_t stream, Args... args)
{
    cudaLaunchAttribute attrs[2] = {};
    cudaLaunchConfig_t config = {};

    attrs[0].id = cudaLaunchAttributeClusterDimension;
    attrs[0].val.clusterDim.x = 1;
    attrs[0].val.clusterDim.y = 1;
    attrs[0].val.clusterDim.z = (unsigned)cluster;
    attrs[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attrs[1].val.programmaticStreamSerializationAllowed = 1;
    config.gridDim = grid;
    config.blockDim = dim3((unsigned)n_threads);
    config.dynamicSmemBytes = smem;
    config.stream = stream;
    config.attrs = attrs;
    config.numAttrs = is_early ? 2 : 1;
    return cudaLaunchKernelEx(&config, kernel, static_cast<Params>(args)...);
}

template <typename... Params, typename... Args>
static cudaError_t launch_kernel(void (*kernel)(Params...), dim3 grid, int n_threads, size_t smem,
                                 bool is_early, cudaStream_t stream, Args... args)
{
    return launch_clusters(kernel, grid, 1, n_threads, smem, is_early, stream, args...);
}

/*
 * Dynamic shared memory beyond 48 KB has to be allowed, once for each kernel and device. Kernels
 * that start early find room beside this one only if the multiprocessor's memory was dealt so:
 * as much of it as there can be becomes shared memory.
 */
template <typename Kernel> static cudaError_t allow_shared(Kernel *kernel, size_t bytes)
{
    cudaError_t rc =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);

    return rc == cudaSuccess
               ? cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                      cudaSharedmemCarveoutMaxShared)
               : rc;
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
