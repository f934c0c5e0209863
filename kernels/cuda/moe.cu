/* Experts: what the ways of running them have in common, and which is taken. moe.h */
#include "kernels/cuda/moe.h"

#include "kernels/cuda/gemm_tile.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/moe_impl.cuh"
#include "kernels/cuda/row.cuh"

#define SUM_THREADS 256

#define SUM_SLOTS 8 /* whose results are under way together */

/* Up to n <= 4 columns of y, which sum becomes. */
static __device__ __forceinline__ void store_sums(const struct moe_args &a, size_t at, int n,
                                                  float sum[4])
{
    if (a.weights.d_model % 4 == 0) {
        if (a.residual) {
            const float4 r = *(const float4 *)(a.residual + at);

            sum[0] = r.x + sum[0];
            sum[1] = r.y + sum[1];
            sum[2] = r.z + sum[2];
            sum[3] = r.w + sum[3];
        }
        *(float4 *)(a.y + at) = make_float4(sum[0], sum[1], sum[2], sum[3]);
        return;
    }
#pragma unroll
    for (int j = 0; j < 4; j++)
        if (j < n)
            a.y[at + j] = a.residual ? a.residual[at + j] + sum[j] : sum[j];
}

#define NORM_COLS 8 /* of a thread */

/* The norm of the block's row, of which a thread has columns col .. in y, to tiles. Sums as
 * fused_norm_launch()'s. All threads. */
static __device__ __forceinline__ void norm_row(const struct moe_args &a, int col,
                                                const float (&y)[NORM_COLS])
{
    __shared__ __align__(16) float row[SUM_THREADS * NORM_COLS];
    __shared__ double quarter[4];
    const int d_model = a.weights.d_model, warp = threadIdx.x / WARP_LANES;
    float factor;

    *(float4 *)(row + col) = make_float4(y[0], y[1], y[2], y[3]);
    *(float4 *)(row + col + 4) = make_float4(y[4], y[5], y[6], y[7]);
    __syncthreads();
    if (warp < 4) {
        const double q = row_quarter_squares(row, d_model, warp, threadIdx.x % WARP_LANES);

        if (threadIdx.x % WARP_LANES == 0)
            quarter[warp] = q;
    }
    __syncthreads();
    factor = rms_factor(add_quarters(quarter), d_model, a.norm.eps);
    if (col >= d_model)
        return;
#pragma unroll
    for (int j = 0; j < NORM_COLS; j += 2) {
        const float2 w = *(const float2 *)(a.norm.w + col + j);

        *tile_pair(a.norm.tiled, tile_octets(a.norm.n_rows), a.norm.first + blockIdx.x, col + j) =
            pack_bf16(rms_apply(y[j], factor, w.x), rms_apply(y[j + 1], factor, w.y));
    }
}

bool moe_can_norm(const struct moe_weights *w, int n_tok)
{
    return n_tok > MOE_FEW_TOKENS && w->d_model % PACK_K == 0 &&
           w->d_model <= SUM_THREADS * NORM_COLS;
}

/* Grid (tokens, parts of d_model). A thread sums the columns of 16 bytes of results, in f32.
 * HAS_NORM: one part. */
template <bool IS_BF16, bool HAS_NORM>
static __global__ void __launch_bounds__(SUM_THREADS)
    sum_kernel(const __grid_constant__ struct moe_args a, int result_row)
{
    constexpr int COLS = IS_BF16 ? 8 : 4;
    const int d_model = a.weights.d_model;
    const int col = (blockIdx.y * SUM_THREADS + threadIdx.x) * COLS;
    const size_t at = (size_t)blockIdx.x * d_model + col;
    const int32_t *pairs = a.list.token_pairs + (size_t)blockIdx.x * a.top_k;
    const char *results = (const char *)a.work.results + (size_t)(col / COLS) * 16;
    const size_t row_bytes = (size_t)result_row * (16 / COLS);
    float sum[COLS] = {};

    grid_release();
    grid_wait();
    if (!HAS_NORM && col >= d_model)
        return;
    for (int from = 0; from < a.top_k && col < d_model; from += SUM_SLOTS) {
        int pair[SUM_SLOTS];
        float w[SUM_SLOTS];
        uint4 v[SUM_SLOTS];

#pragma unroll
        for (int i = 0; i < SUM_SLOTS; i++)
            pair[i] = from + i < a.top_k ? __ldcg(pairs + from + i) : -1;
#pragma unroll
        for (int i = 0; i < SUM_SLOTS; i++) {
            const int p = max(pair[i], 0);

            w[i] = __ldcg(a.list.weights + p);
            v[i] = __ldcg((const uint4 *)(results + (size_t)p * row_bytes));
        }
#pragma unroll
        for (int i = 0; i < SUM_SLOTS; i++) {
            const uint32_t words[4] = { v[i].x, v[i].y, v[i].z, v[i].w };

#pragma unroll
            for (int j = 0; j < COLS; j++) {
                const uint32_t bits = !IS_BF16 ? words[j]
                                      : j % 2  ? words[j / 2] & 0xffff0000u
                                               : words[j / 2] << 16;

                const float more = fmaf(w[i], __uint_as_float(bits), sum[j]);

                sum[j] = pair[i] < 0 ? sum[j] : more;
            }
        }
    }
#pragma unroll
    for (int j = 0; j < COLS; j += 4)
        if (col + j < d_model)
            store_sums(a, at + j, min(4, d_model - col - j), sum + j);
    if constexpr (HAS_NORM)
        norm_row(a, col, sum);
}

cudaError_t moe_sum_launch(const struct moe_args *a, bool is_bf16, cudaStream_t stream)
{
    const int d_model = a->weights.d_model, part = SUM_THREADS * (is_bf16 ? 8 : 4);
    const dim3 grid((unsigned)a->n_tok, (unsigned)((d_model + part - 1) / part));

    return launch_kernel(!is_bf16        ? sum_kernel<false, false>
                         : a->norm.tiled ? sum_kernel<true, true>
                                         : sum_kernel<true, false>,
                         grid, SUM_THREADS, 0, true, stream, *a, moe_result_row(d_model));
}

struct moe_weights moe_cut(const struct moe_weights *w)
{
    struct moe_weights ret = *w;

    for (int d_ff = MOE_PART; d_ff > 0 && !ret.is_cut; d_ff -= PACK_K)
        if (w->d_ff >= d_ff && w->d_ff % d_ff == 0 && w->d_ff / d_ff <= MOE_PARTS) {
            ret.n_exp = w->d_ff / d_ff;
            ret.d_ff = d_ff;
            ret.is_cut = true;
        }
    return ret;
}

struct moe_sum moe_left(const struct moe_args *a)
{
    struct moe_sum ret;

    ret.results = a->work.results;
    ret.ld = moe_result_row(a->weights.d_model);
    ret.token_pairs = a->list.token_pairs;
    ret.weights = a->list.weights;
    ret.top_k = a->top_k;
    return ret;
}

static size_t aligned(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

size_t moe_work_place(char *mem, int n_tok, int top_k, const struct moe_weights *w,
                      struct moe_work *ret)
{
    const size_t n_pairs = (size_t)n_tok * (size_t)top_k;
    const size_t h = aligned(n_pairs * (size_t)pack_row_elems(w->d_ff) * sizeof(uint16_t));
    const size_t results = aligned(n_pairs * (size_t)moe_result_row(w->d_model) * sizeof(float));

    if (mem) {
        ret->h = (uint16_t *)mem;
        ret->results = (float *)(mem + h);
        ret->plan = mem + h + results;
    }
    return h + results + moe_plan_bytes(n_tok, top_k, w);
}

cudaError_t moe_launch(const struct moe_args *a, bool is_early, cudaStream_t stream)
{
    const struct moe_weights *w = &a->weights;
    cudaError_t rc = cudaSuccess;

    if (a->n_tok == 0)
        return rc;
    if (w->d_ff % PACK_K) { /* columns that nobody writes are multiplied by zeros */
        rc = cudaMemsetAsync(a->work.h, 0,
                             (size_t)a->n_tok * a->top_k * (size_t)pack_row_elems(w->d_ff) * 2,
                             stream);
        is_early = false;
    }
    if (rc)
        return rc;
    return a->n_tok <= MOE_FEW_TOKENS ? moe_few_launch(a, is_early, stream)
                                      : moe_wide_launch(a, is_early, stream);
}
