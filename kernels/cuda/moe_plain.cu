/* Experts by f32 multiply-adds: moe_plain.h. A warp takes one element of h, or of y. */
#include "kernels/cuda/moe_plain.h"

#define WARPS 8

static __device__ float dot(const float *a, const float *b, int n)
{
    float sum = 0;

    for (int i = threadIdx.x % 32; i < n; i += 32)
        sum = fmaf(a[i], b[i], sum);
    for (int d = 16; d > 0; d /= 2)
        sum += __shfl_xor_sync(~0u, sum, d);
    return sum;
}

/* Grid (d_ff / WARPS, pairs that there may be). */
static __global__ void plain_h_kernel(const float *x, const float *experts, int d_model, int d_ff,
                                      struct worklist list, float *h)
{
    const int f = blockIdx.x * WARPS + threadIdx.x / 32, n_active = *list.n_active;
    const size_t n = (size_t)d_ff * d_model;

    if (f >= d_ff)
        return;
    for (int i = 0; i < n_active; i++) {
        const float *gate = experts + list.experts[i] * 3 * n + (size_t)f * d_model;

        for (int p = list.offsets[i] + blockIdx.y; p < list.offsets[i + 1]; p += gridDim.y) {
            const float *row = x + (size_t)list.tokens[p] * d_model;
            const float g = dot(gate, row, d_model), u = dot(gate + n, row, d_model);

            if (threadIdx.x % 32 == 0)
                h[(size_t)p * d_ff + f] = g / (1 + expf(-g)) * u;
        }
    }
}

/* Which active expert a pair is of. */
static __device__ int expert_of(const struct worklist &list, int pair)
{
    int lo = 0, hi = *list.n_active - 1;

    while (lo < hi) {
        const int mid = (lo + hi + 1) / 2;

        if (list.offsets[mid] <= pair)
            lo = mid;
        else
            hi = mid - 1;
    }
    return list.experts[lo];
}

/* Grid (d_model / WARPS, n_tok). */
static __global__ void plain_y_kernel(const float *experts, int d_model, int d_ff,
                                      struct worklist list, int top_k, const float *h, float *y)
{
    const int d = blockIdx.x * WARPS + threadIdx.x / 32;
    const size_t n = (size_t)d_ff * d_model;
    float sum = 0;

    if (d >= d_model)
        return;
    for (int s = 0; s < top_k; s++) {
        const int pair = list.token_pairs[(size_t)blockIdx.y * top_k + s];

        if (pair < 0)
            continue;
        sum = fmaf(list.weights[pair],
                   dot(experts + expert_of(list, pair) * 3 * n + 2 * n + (size_t)d * d_ff,
                       h + (size_t)pair * d_ff, d_ff),
                   sum);
    }
    if (threadIdx.x % 32 == 0)
        y[(size_t)blockIdx.y * d_model + d] = sum;
}

cudaError_t moe_plain_launch(const float *x, const float *experts, int d_model, int d_ff,
                             const struct worklist *list, int n_tok, int top_k, float *h, float *y,
                             cudaStream_t stream)
{
    const unsigned ff_blocks = (unsigned)((d_ff + WARPS - 1) / WARPS);
    const unsigned model_blocks = (unsigned)((d_model + WARPS - 1) / WARPS);
    cudaError_t rc;

    plain_h_kernel<<<dim3(ff_blocks, n_tok < 64 ? (unsigned)n_tok : 64), WARPS * 32, 0, stream>>>(
        x, experts, d_model, d_ff, *list, h);
    rc = cudaGetLastError();
    if (rc != cudaSuccess)
        return rc;
    plain_y_kernel<<<dim3(model_blocks, (unsigned)n_tok), WARPS * 32, 0, stream>>>(
        experts, d_model, d_ff, *list, top_k, h, y);
    return cudaGetLastError();
}
