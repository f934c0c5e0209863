/* The two ends of a forward: mailbox.h. */
#include "kernels/cuda/mailbox.h"

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mailbox.cuh"
#include "kernels/cuda/sm90.cuh"

#define THREADS 256
#define MAX_BLOCKS 64

static unsigned count_blocks(int64_t n)
{
    const int64_t blocks = (n + THREADS - 1) / THREADS;

    return (unsigned)(blocks < 1 ? 1 : blocks < MAX_BLOCKS ? blocks : MAX_BLOCKS);
}

/*
 * A thread copies every so many pieces of 16 bytes.
 *
 * There is no grid_release(): the next kernel starts when all blocks have ended, and each thread
 * has made sure by then that the others see what it wrote.
 */
static __global__ void __launch_bounds__(THREADS)
    fetch_kernel(const uint4 *host, uint4 *dev, int64_t n)
{
    grid_wait();
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n;
         i += (int64_t)gridDim.x * THREADS)
        dev[i] = __ldcv(host + i);
    __threadfence();
}

/* The same the other way. */
static __global__ void __launch_bounds__(THREADS)
    deliver_kernel(const __grid_constant__ struct mailbox_delivery d)
{
    grid_release();
    grid_wait();
    mailbox_copy(d, blockIdx.x, gridDim.x);
}

static int64_t count_pieces(size_t bytes)
{
    return (int64_t)((bytes + MAILBOX_ALIGN - 1) / MAILBOX_ALIGN);
}

cudaError_t mailbox_fetch(const void *host, void *dev, size_t bytes, cudaStream_t stream)
{
    const int64_t n = count_pieces(bytes);

    return launch_kernel(fetch_kernel, dim3(count_blocks(n)), THREADS, 0, false, stream,
                         (const uint4 *)host, (uint4 *)dev, n);
}

cudaError_t mailbox_deliver(const struct mailbox_delivery *d, cudaStream_t stream)
{
    return launch_kernel(deliver_kernel, dim3(count_blocks(count_pieces(d->bytes))), THREADS, 0,
                         true, stream, *d);
}
