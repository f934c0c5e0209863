/* What a device's memory can do: gpu_memory_rates() of kernels/devices.h. */
#include "kernels/devices.h"

#include <cuda_runtime.h>

enum { THREADS = 512, BLOCKS_PER_SM = 4, N_TRIES = 7 };

static const size_t buffer_bytes = (size_t)2 << 30; /* far beyond any cache of the device */

/* Read n pieces of 16 bytes, four under way in each thread; ret: never written, for nobody to
 * leave the reading out. */
static __global__ void read_kernel(const uint4 *p, size_t n, uint32_t *ret)
{
    const size_t step = (size_t)gridDim.x * THREADS;
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    uint32_t x = 1;

    for (; i + 3 * step < n; i += 4 * step) {
        uint4 a = __ldcs(p + i), b = __ldcs(p + i + step);
        uint4 c = __ldcs(p + i + 2 * step), d = __ldcs(p + i + 3 * step);

        x *= (a.x ^ a.y ^ a.z ^ a.w) | (b.x ^ b.y ^ b.z ^ b.w) | (c.x ^ c.y ^ c.z ^ c.w) |
             (d.x ^ d.y ^ d.z ^ d.w) | 1;
    }
    if (x == 0) /* odd numbers only */
        *ret = x;
}

/* Values of no pattern: memory and links are slower on them than on zeros. */
static __global__ void fill_kernel(uint4 *p, size_t n)
{
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < n;
         i += (size_t)gridDim.x * THREADS) {
        uint32_t x = (uint32_t)i * 2654435761u;

        p[i] = make_uint4(x, x ^ x >> 13, x * 2246822519u, x + 374761393u);
    }
}

struct run {
    uint4 *data;
    cudaStream_t stream;
    cudaEvent_t start, end;
};

/* One pass; its time. */
static cudaError_t pass(const struct run *r, bool is_copy, int n_blocks, float *ret_ms)
{
    const size_t n = buffer_bytes / sizeof(uint4);
    cudaError_t rc = cudaEventRecord(r->start, r->stream);

    if (rc == cudaSuccess && is_copy)
        rc = cudaMemcpyAsync(r->data + n / 2, r->data, buffer_bytes / 2, cudaMemcpyDeviceToDevice,
                             r->stream);
    if (rc == cudaSuccess && !is_copy) {
        read_kernel<<<n_blocks, THREADS, 0, r->stream>>>(r->data, n, (uint32_t *)r->data);
        rc = cudaGetLastError();
    }
    if (rc == cudaSuccess)
        rc = cudaEventRecord(r->end, r->stream);
    if (rc == cudaSuccess)
        rc = cudaEventSynchronize(r->end);
    return rc == cudaSuccess ? cudaEventElapsedTime(ret_ms, r->start, r->end) : rc;
}

static cudaError_t measure(struct run *r, double *ret_read, double *ret_copy)
{
    float best[2] = { 0, 0 };
    int device = 0, n_sm = 0;
    cudaError_t rc = cudaGetDevice(&device);

    if (rc == cudaSuccess)
        rc = cudaDeviceGetAttribute(&n_sm, cudaDevAttrMultiProcessorCount, device);
    if (rc == cudaSuccess)
        rc = cudaStreamCreateWithFlags(&r->stream, cudaStreamNonBlocking);
    if (rc == cudaSuccess)
        rc = cudaEventCreate(&r->start);
    if (rc == cudaSuccess)
        rc = cudaEventCreate(&r->end);
    if (rc == cudaSuccess)
        rc = cudaMalloc((void **)&r->data, buffer_bytes);
    if (rc != cudaSuccess)
        return rc;
    fill_kernel<<<n_sm * BLOCKS_PER_SM, THREADS, 0, r->stream>>>(r->data,
                                                                 buffer_bytes / sizeof(uint4));
    rc = cudaGetLastError();
    for (int i = 0; i < 2 * N_TRIES && rc == cudaSuccess; i++) {
        float ms = 0;

        rc = pass(r, i % 2, n_sm * BLOCKS_PER_SM, &ms);
        if (i > 1 && (best[i % 2] == 0 || ms < best[i % 2])) /* the first of each warms up */
            best[i % 2] = ms;
    }
    if (rc == cudaSuccess) {
        *ret_read = (double)buffer_bytes / best[0] * 1e3;
        *ret_copy = (double)buffer_bytes / best[1] * 1e3; /* half read, half written */
    }
    return rc;
}

enum status gpu_memory_rates(double *ret_read, double *ret_copy, struct error *err)
{
    struct run r = {};
    cudaError_t rc = measure(&r, ret_read, ret_copy);

    (void)cudaFree(r.data);
    if (r.start)
        (void)cudaEventDestroy(r.start);
    if (r.end)
        (void)cudaEventDestroy(r.end);
    if (r.stream)
        (void)cudaStreamDestroy(r.stream);
    if (rc != cudaSuccess)
        return error_set(err, rc == cudaErrorMemoryAllocation ? ST_NOMEM : ST_DEVICE,
                         "cannot measure the memory of the GPU: %s", cudaGetErrorString(rc));
    return ST_OK;
}
