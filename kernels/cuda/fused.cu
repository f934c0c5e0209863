/* The small kernels of a forward: fused.h. */
#include "kernels/cuda/fused.h"

#include "kernels/cuda/gemm_tile.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/row.cuh"
#include "kernels/cuda/sm90.cuh"

/* ---- norm -------------------------------------------------------------------------------- */

#define NORM_THREADS 256

/* A block a row. Shared: the row, d floats. */
static __global__ void __launch_bounds__(NORM_THREADS)
    norm_kernel(const __grid_constant__ struct fused_norm a)
{
    extern __shared__ __align__(16) float row[];
    __shared__ float factor;
    const int i = blockIdx.x, lane = threadIdx.x % WARP_LANES;
    size_t from;

    grid_release();
    grid_wait();
    from = (size_t)(a.rows ? a.rows[i] : i) * a.d;
    for (int k = threadIdx.x; k < a.d; k += NORM_THREADS) {
        float v = a.table ? element<DT_BF16>(a.table, (size_t)a.ids[i] * a.d + k) : a.x[from + k];

        if (a.y)
            v = __fadd_rn(v, a.y[from + k]);
        row[k] = v;
        if (a.table || (a.y && !a.rows))
            a.x[from + k] = v;
    }
    __syncthreads();
    if (threadIdx.x < WARP_LANES) {
        float f = rms_factor(row_sum_squares(row, a.d, lane), a.d, a.eps);

        if (lane == 0)
            factor = f;
    }
    __syncthreads();
    if (a.ret_h)
        for (int k = threadIdx.x; k < a.d; k += NORM_THREADS)
            a.ret_h[(size_t)i * a.d + k] = rms_apply(row[k], factor, a.w[k]);
    if (a.ret_bf16 || a.ret_tiled) {
        uint32_t *out = (uint32_t *)(a.ret_bf16 + (size_t)i * a.ld); /* ld: a multiple of 256 */

        for (int k = threadIdx.x; k < a.ld / 2; k += NORM_THREADS) {
            float lo = 2 * k < a.d ? rms_apply(row[2 * k], factor, a.w[2 * k]) : 0;
            float hi = 2 * k + 1 < a.d ? rms_apply(row[2 * k + 1], factor, a.w[2 * k + 1]) : 0;

            if (a.ret_bf16)
                out[k] = pack_bf16(lo, hi);
            if (a.ret_tiled)
                *tile_pair(a.ret_tiled, tile_octets(a.n_rows), i, 2 * k) = pack_bf16(lo, hi);
        }
    }
}

cudaError_t fused_norm_launch(const struct fused_norm *a, cudaStream_t stream)
{
    const size_t shared = (size_t)a->d * sizeof(float);
    cudaError_t rc = cudaSuccess;

    if (!a->n_rows)
        return cudaSuccess;
    if (shared > 40 << 10)
        rc = allow_shared(norm_kernel, shared);
    return rc == cudaSuccess
               ? launch_kernel(norm_kernel, dim3(a->n_rows), NORM_THREADS, shared, true, stream, *a)
               : rc;
}

/* ---- heads ------------------------------------------------------------------------------- */

#define QK_WARPS 4
#define QK_MAX_D_HEAD 256

/* Grid: (token, QK_WARPS heads): the queries', the keys', the values'. A warp a head. */
static __global__ void __launch_bounds__(QK_WARPS *WARP_LANES)
    qk_kernel(const __grid_constant__ struct fused_qk a)
{
    __shared__ float rows[QK_WARPS][QK_MAX_D_HEAD];
    const int lane = threadIdx.x % WARP_LANES, t = blockIdx.x;
    const int head = blockIdx.y * QK_WARPS + threadIdx.x / WARP_LANES;
    float *row = rows[threadIdx.x / WARP_LANES];
    const int kv = head < a.n_head ? 0 : (head - a.n_head) % a.n_kv_head;
    const int half = a.d_rot / 2;

    grid_release();
    grid_wait();
    if (head >= a.n_head + 2 * a.n_kv_head)
        return;
    const struct attn_segment *seg = &a.segs[a.seqs[t]];
    const size_t slot = a.kv_offset + ((size_t)a.positions[t] * a.n_kv_head + kv) * a.d_head;
    const size_t own = ((size_t)t * a.n_kv_head + kv) * a.d_head;

    if (head >= a.n_head + a.n_kv_head) {
        float *to = (float *)seg->values + slot; /* caches are made of writable memory */

        for (int i = lane; i < a.d_head; i += WARP_LANES)
            to[i] = a.value[own + i];
        return;
    }
    const bool is_query = head < a.n_head;
    float *q = a.q + ((size_t)t * a.n_head + head) * a.d_head;
    const float *from = is_query ? q : a.key + own;
    const float *w = is_query ? a.q_norm : a.k_norm;
    const float *turn = a.turns + (size_t)a.positions[t] * 2 * half;
    float *to = is_query ? q : (float *)seg->keys + slot;
    float factor;

    for (int i = lane; i < a.d_head; i += WARP_LANES)
        row[i] = from[i];
    __syncwarp();
    factor = rms_factor(row_sum_squares(row, a.d_head, lane), a.d_head, a.eps);
    for (int i = lane; i < half; i += WARP_LANES) {
        float v0 = rms_apply(row[i], factor, w[i]);
        float v1 = rms_apply(row[i + half], factor, w[i + half]);

        rope_turn(v0, v1, turn[i], turn[half + i], &v0, &v1);
        to[i] = v0;
        to[i + half] = v1;
    }
    for (int i = 2 * half + lane; i < a.d_head; i += WARP_LANES)
        to[i] = rms_apply(row[i], factor, w[i]);
}

cudaError_t fused_qk_launch(const struct fused_qk *a, cudaStream_t stream)
{
    const int n_heads = a->n_head + 2 * a->n_kv_head;

    if (a->d_head > QK_MAX_D_HEAD)
        return cudaErrorInvalidValue;
    if (!a->n_tok)
        return cudaSuccess;
    return launch_kernel(qk_kernel, dim3(a->n_tok, (n_heads + QK_WARPS - 1) / QK_WARPS),
                         QK_WARPS * WARP_LANES, 0, true, stream, *a);
}

static __global__ void turns_kernel(int d_rot, double theta, float *ret)
{
    const int half = d_rot / 2;
    float *out = ret + (size_t)blockIdx.x * 2 * half;

    for (int j = threadIdx.x; j < half; j += blockDim.x)
        rope_angle((int32_t)blockIdx.x, j, d_rot, theta, &out[j], &out[half + j]);
}

cudaError_t fused_turns_launch(int n_position, int d_rot, double theta, float *ret,
                               cudaStream_t stream)
{
    turns_kernel<<<n_position, 64, 0, stream>>>(d_rot, theta, ret);
    return cudaGetLastError();
}
