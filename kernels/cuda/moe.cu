/* The experts of a layer: which way, and what stands around the products. moe.h. */
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/moe.cuh"

enum { ROUND_THREADS = 256 };

/* A thread rounds 2 columns. */
static __global__ void round_kernel(const float *x, int n_tok, int d, int d_pad, uint32_t *ret_x)
{
    const int64_t n = (int64_t)n_tok * (d_pad / 2);

    for (int64_t i = (int64_t)blockIdx.x * ROUND_THREADS + threadIdx.x; i < n;
         i += (int64_t)gridDim.x * ROUND_THREADS) {
        const int64_t t = i / (d_pad / 2), c = i % (d_pad / 2) * 2;

        ret_x[i] = pack_bf16(c < d ? x[t * d + c] : 0, c + 1 < d ? x[t * d + c + 1] : 0);
    }
}

cudaError_t moe_round_launch(const float *x, int n_tok, int d, uint16_t *ret_x, cudaStream_t stream)
{
    int64_t n_blocks = ((int64_t)n_tok * pack_row_elems(d) / 2 + ROUND_THREADS - 1) / ROUND_THREADS;

    round_kernel<<<(unsigned)(n_blocks < 4096 ? n_blocks : 4096), ROUND_THREADS, 0, stream>>>(
        x, n_tok, d, (int)pack_row_elems(d), (uint32_t *)ret_x);
    return cudaGetLastError();
}

size_t moe_ready_words(int n_exp, int d_model)
{
    return (size_t)n_exp + (size_t)pack_row_tiles(d_model) + 1;
}

cudaError_t moe_launch(const struct moe_args *a, bool is_early, cudaStream_t stream)
{
    const int d_ff = a->weights.d_ff;
    const size_t h_bytes = (size_t)a->n_tok * a->top_k * pack_row_elems(d_ff) * 2;
    int n_sm = 0;
    cudaError_t rc = count_sms(&n_sm);

    if (!rc && d_ff % PACK_K) { /* columns that nobody writes are multiplied by zeros */
        rc = cudaMemsetAsync(a->work.h, 0, h_bytes, stream);
        is_early = false;
    }
    return rc ? rc : moe_tiles_launch(a, n_sm, is_early, stream);
}
