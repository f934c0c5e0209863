/* Making matrices up on the device. */
#include "kernels/cuda/made.h"

#define THREADS 256
#define RUN 8 /* elements of a thread: 16 bytes */

/* ret (n) aligned to 16 bytes, n a multiple of RUN or the rest one by one. */
static __global__ void __launch_bounds__(THREADS)
    made_kernel(const struct made_matrix m, int64_t n, uint16_t *ret)
{
    const int64_t stride = (int64_t)gridDim.x * THREADS * RUN;

    for (int64_t i = ((int64_t)blockIdx.x * THREADS + threadIdx.x) * RUN; i < n; i += stride) {
        uint32_t v[RUN / 2];

        if (i + RUN > n) {
            for (int64_t k = i; k < n; k++)
                ret[k] = made_value(m.stream, m.first + k, m.scale);
            return;
        }
#pragma unroll
        for (int k = 0; k < RUN / 2; k++)
            v[k] = made_value(m.stream, m.first + i + 2 * k, m.scale) |
                   (uint32_t)made_value(m.stream, m.first + i + 2 * k + 1, m.scale) << 16;
        *(uint4 *)(ret + i) = make_uint4(v[0], v[1], v[2], v[3]);
    }
}

cudaError_t made_launch(const struct made_matrix *m, void *ret, cudaStream_t stream)
{
    const int64_t n = m->rows * m->cols, n_blocks = (n / RUN + THREADS) / THREADS;

    made_kernel<<<(unsigned)(n_blocks < 65536 ? n_blocks : 65536), THREADS, 0, stream>>>(
        *m, n, (uint16_t *)ret);
    return cudaGetLastError();
}
