/* The small kernels of a forward: fused.h. */
#include "kernels/cuda/fused.h"

#include "kernels/cuda/cluster.cuh"
#include "kernels/cuda/gemm_tile.cuh"
#include "kernels/cuda/heads.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sm90.cuh"

/* ---- norm -------------------------------------------------------------------------------- */

#define NORM_THREADS 256
#define NORM_COLS (NORM_THREADS * 4)
#define NORM_FEW 32   /* rows that clusters share */
#define NORM_BLOCKS 4 /* of a cluster: one for each quarter of a sum of squares */
#define NORM_SLOTS 9  /* results of a row read at once: of eight experts and a shared one */

static __device__ __forceinline__ float4 read_quad(const float *row, int k, int d)
{
    if (d % 4 == 0)
        return k < d ? *(const float4 *)(row + k) : make_float4(0, 0, 0, 0);
    return make_float4(k < d ? row[k] : 0, k + 1 < d ? row[k + 1] : 0, k + 2 < d ? row[k + 2] : 0,
                       k + 3 < d ? row[k + 3] : 0);
}

static __device__ __forceinline__ float4 read_quad(const uint16_t *row, int k, int d)
{
    return make_float4(
        k < d ? element<DT_BF16>(row, k) : 0, k + 1 < d ? element<DT_BF16>(row, k + 1) : 0,
        k + 2 < d ? element<DT_BF16>(row, k + 2) : 0, k + 3 < d ? element<DT_BF16>(row, k + 3) : 0);
}

static __device__ __forceinline__ void write_quad(float *row, int k, int d, const float4 &v)
{
    if (d % 4 == 0) {
        if (k < d)
            *(float4 *)(row + k) = v;
        return;
    }
    if (k < d)
        row[k] = v.x;
    if (k + 1 < d)
        row[k + 1] = v.y;
    if (k + 2 < d)
        row[k + 2] = v.z;
    if (k + 3 < d)
        row[k + 3] = v.w;
}

/* Pairs of a row, from some slot on, and their weights. */
struct norm_slots {
    int32_t pairs[NORM_SLOTS];
    float weights[NORM_SLOTS];
};

static __device__ __forceinline__ void read_slots(const struct moe_sum &a, int row, int from,
                                                  struct norm_slots *ret)
{
    const int32_t *pairs = a.token_pairs + (size_t)row * a.top_k + from;

#pragma unroll
    for (int i = 0; i < NORM_SLOTS; i++)
        ret->pairs[i] = from + i < a.top_k ? __ldcg(pairs + i) : -1;
#pragma unroll
    for (int i = 0; i < NORM_SLOTS; i++)
        ret->weights[i] = __ldcg(a.weights + max(ret->pairs[i], 0));
}

/* sums += what the slots' pairs came to, of four columns from each of k on. All are under way
 * together; without a pair, some other's. */
template <int N>
static __device__ __forceinline__ void add_slots(const struct moe_sum &a,
                                                 const struct norm_slots &slots, const int (&k)[N],
                                                 float4 (&sums)[N])
{
    float4 v[N][NORM_SLOTS];

#pragma unroll
    for (int j = 0; j < N; j++)
#pragma unroll
        for (int i = 0; i < NORM_SLOTS; i++)
            v[j][i] =
                __ldcg((const float4 *)(a.results + (size_t)max(slots.pairs[i], 0) * a.ld + k[j]));
#pragma unroll
    for (int j = 0; j < N; j++)
#pragma unroll
        for (int i = 0; i < NORM_SLOTS; i++)
            if (slots.pairs[i] >= 0) {
                const float w = slots.weights[i];

                sums[j].x = fmaf(w, v[j][i].x, sums[j].x);
                sums[j].y = fmaf(w, v[j][i].y, sums[j].y);
                sums[j].z = fmaf(w, v[j][i].z, sums[j].z);
                sums[j].w = fmaf(w, v[j][i].w, sums[j].w);
            }
}

/* Quads of the row's x, from each of k on, += their sums; first: the row's slots from 0 on. */
template <int N>
static __device__ __forceinline__ void add_sums(const struct moe_sum &a, int row, const int *k,
                                                int d, const struct norm_slots &first, float4 *x)
{
    float4 sums[N];
    int at[N];

#pragma unroll
    for (int j = 0; j < N; j++) {
        at[j] = k[j] < d ? k[j] : 0;
        sums[j] = make_float4(0, 0, 0, 0);
    }
    add_slots(a, first, at, sums);
#pragma unroll 1
    for (int from = NORM_SLOTS; from < a.top_k; from += NORM_SLOTS) {
        struct norm_slots more;

        read_slots(a, row, from, &more);
        add_slots(a, more, at, sums);
    }
#pragma unroll
    for (int j = 0; j < N; j++)
        if (k[j] < d)
            x[j] = make_float4(x[j].x + sums[j].x, x[j].y + sums[j].y, x[j].z + sums[j].z,
                               x[j].w + sums[j].w);
}

/* Threads of a block where so many share a row. A cluster has half of the quads of a block. */
static constexpr __host__ __device__ int norm_threads(int blocks)
{
    return blocks > 1 ? NORM_THREADS / 2 : NORM_THREADS;
}

/* Blocks that a multiprocessor has registers for, at least; 0: whatever it takes. */
static constexpr int norm_at_once(int quads, bool has_sum, int blocks)
{
    return blocks > 1 && quads == 1 ? 768 / norm_threads(blocks) : has_sum;
}

/*
 * BLOCKS a row, 1, or a cluster that shares it: each has some quarters of its sum of squares
 * (row.cuh), and tells the others. A thread has every so-manieth four elements of its block's.
 * Shared: the row.
 *
 * Clusters are for few rows. Their blocks find room beside those of the experts, so that the kernel
 * is there when these end, and leave room for those of the product that follows: for 80 registers.
 */
template <int QUADS, bool HAS_SUM, int BLOCKS>
static __global__ void __launch_bounds__(norm_threads(BLOCKS), norm_at_once(QUADS, HAS_SUM, BLOCKS))
    norm_kernel(const __grid_constant__ struct fused_norm a)
{
    constexpr int n_threads = norm_threads(BLOCKS), n_quarters = 4 / BLOCKS; /* of a block */
    constexpr int at_once = QUADS < 2 ? QUADS : 2;
    extern __shared__ __align__(16) float row[];
    __shared__ __align__(16) double quarter[4];
    __shared__ uint64_t received; /* the quarters */
    const int i = blockIdx.x, lane = threadIdx.x % WARP_LANES, warp = threadIdx.x / WARP_LANES;
    const int rank = BLOCKS > 1 ? (int)cluster_rank() : 0;
    const int cols = BLOCKS > 1 ? n_quarters * 8 * row_slice(a.d) : max(a.d, a.ld);
    const int end = (rank + 1) * cols, d = min(a.d, end); /* of the block's */
    float4 w[QUADS], v[QUADS];
    struct norm_slots slots;
    int k[QUADS], at;
    float factor;
    size_t from;

    grid_release();
    if (BLOCKS > 1) {
        if (threadIdx.x == 0) {
            barrier_init(&received, 1);
            barrier_init_fence();
        }
        __syncwarp();
        if (threadIdx.x == 0)
            barrier_expect(&received, sizeof(quarter));
        cluster_arrive_relaxed();
    }
    at = a.rows ? a.rows[i] : i;
    from = (size_t)at * a.d;
#pragma unroll
    for (int j = 0; j < QUADS; j++) {
        k[j] = rank * cols + (j * n_threads + threadIdx.x) * 4;
        w[j] = read_quad(a.w, k[j], d);
    }
    if (HAS_SUM) /* moe.h: the list is there, results are not */
        read_slots(a.sum, at, 0, &slots);
    if (BLOCKS > 1)
        cluster_wait(); /* all blocks' barriers are there */
    grid_wait();
    if (a.table) {
        const uint16_t *of_table = a.table + (size_t)a.ids[i] * a.d;

#pragma unroll
        for (int j = 0; j < QUADS; j++)
            v[j] = read_quad(of_table, k[j], d);
    } else {
#pragma unroll
        for (int j = 0; j < QUADS; j++)
            v[j] = read_quad(a.x + from, k[j], d);
    }
    if constexpr (HAS_SUM)
#pragma unroll
        for (int j = 0; j < QUADS; j += at_once)
            add_sums<at_once>(a.sum, at, k + j, d, slots, v + j);
#pragma unroll
    for (int j = 0; j < QUADS; j++) {
        if (a.ret_x)
            write_quad(a.ret_x + from, k[j], d, v[j]);
        write_quad(row, k[j], d, v[j]);
    }
    __syncthreads();
    if (warp < n_quarters) {
        const int which = rank * n_quarters + warp;
        const double q = row_quarter_squares(row, a.d, which, lane);

        if (BLOCKS > 1 && lane < BLOCKS)
            cluster_send(&quarter[which], (unsigned)lane, &received, q);
        else if (BLOCKS == 1 && lane == 0)
            quarter[which] = q;
    }
    if (BLOCKS > 1)
        cluster_receive(&received);
    else
        __syncthreads();
    factor = rms_factor(add_quarters(quarter), a.d, a.eps);
#pragma unroll
    for (int j = 0; j < QUADS; j++) {
        v[j] = make_float4(rms_apply(v[j].x, factor, w[j].x), rms_apply(v[j].y, factor, w[j].y),
                           rms_apply(v[j].z, factor, w[j].z), rms_apply(v[j].w, factor, w[j].w));
        if (a.ret_h)
            write_quad(a.ret_h + (size_t)i * a.d, k[j], d, v[j]);
        if (k[j] < min(a.ld, end)) { /* ld: a multiple of 256; beyond d w is 0 */
            const uint32_t lo = pack_bf16(v[j].x, v[j].y), hi = pack_bf16(v[j].z, v[j].w);

            if (a.ret_bf16)
                *(uint2 *)(a.ret_bf16 + (size_t)i * a.ld + k[j]) = make_uint2(lo, hi);
            if (a.ret_tiled) {
                *tile_pair(a.ret_tiled, tile_octets(a.n_rows), i, k[j]) = lo;
                *tile_pair(a.ret_tiled, tile_octets(a.n_rows), i, k[j] + 2) = hi;
            }
        }
    }
}

template <int QUADS, int BLOCKS>
static cudaError_t launch_norm(const struct fused_norm *a, cudaStream_t stream)
{
    const auto kernel =
        a->sum.results ? norm_kernel<QUADS, true, BLOCKS> : norm_kernel<QUADS, false, BLOCKS>;
    const size_t shared = (size_t)a->d * sizeof(float);
    cudaError_t rc = allow_shared(kernel, shared);

    if (rc != cudaSuccess)
        return rc;
    return launch_clusters(kernel, dim3((unsigned)a->n_rows, 1, BLOCKS), BLOCKS,
                           norm_threads(BLOCKS), shared, true, stream, *a);
}

cudaError_t fused_norm_launch(const struct fused_norm *a, cudaStream_t stream)
{
    static_assert(FUSED_MAX_WIDTH == 8 * NORM_COLS, "the widest kernel");

    if (a->d > FUSED_MAX_WIDTH)
        return cudaErrorInvalidValue;
    if (!a->n_rows)
        return cudaSuccess;
    if (a->n_rows <= NORM_FEW && a->d % 4 == 0) /* else a quarter of a row is not aligned */
        return a->d <= 2 * NORM_COLS   ? launch_norm<1, NORM_BLOCKS>(a, stream)
               : a->d <= 4 * NORM_COLS ? launch_norm<2, NORM_BLOCKS>(a, stream)
                                       : launch_norm<4, NORM_BLOCKS>(a, stream);
    return a->d <= 2 * NORM_COLS   ? launch_norm<2, 1>(a, stream)
           : a->d <= 4 * NORM_COLS ? launch_norm<4, 1>(a, stream)
                                   : launch_norm<8, 1>(a, stream);
}

/* ---- heads ------------------------------------------------------------------------------- */

#define QK_THREADS 128
#define QK_ROWS (QK_THREADS / HEAD_LANES)
#define QK_QUADS 4
#define QK_MAX_D_HEAD (QK_QUADS * HEAD_STEP)

/* Turn a normed row that head_turn() cannot: through shared memory, element by element. */
static __device__ __forceinline__ void turn_any(float4 (&v)[QK_QUADS], float *row,
                                                const float *turn, int half)
{
    const int lane = threadIdx.x % HEAD_LANES;

#pragma unroll
    for (int j = 0; j < QK_QUADS; j++)
        *(float4 *)(row + lane * 4 + j * HEAD_STEP) = v[j];
    __syncwarp();
    for (int i = lane; i < half; i += HEAD_LANES)
        rope_turn(row[i], row[i + half], turn[i], turn[half + i], &row[i], &row[i + half]);
    __syncwarp();
#pragma unroll
    for (int j = 0; j < QK_QUADS; j++)
        v[j] = *(const float4 *)(row + lane * 4 + j * HEAD_STEP);
}

/* Grid: (token, QK_ROWS heads): the queries', the keys', the values', HEAD_LANES threads each. What
 * nobody writes, norms and turns, is read before the wait. */
static __global__ void __launch_bounds__(QK_THREADS)
    qk_kernel(const __grid_constant__ struct fused_qk a)
{
    __shared__ __align__(16) float rows[QK_ROWS][QK_MAX_D_HEAD];
    const int lane = threadIdx.x % HEAD_LANES, t = blockIdx.x;
    const int n_heads = a.n_head + 2 * a.n_kv_head;
    const int head = min((int)(blockIdx.y * QK_ROWS + threadIdx.x / HEAD_LANES), n_heads - 1);
    const bool is_query = head < a.n_head, is_value = head >= a.n_head + a.n_kv_head;
    const bool is_turned = head_can_turn(a.d_head, a.d_rot);
    const float *norm = is_query ? a.q_norm : a.k_norm;
    const int kv = is_query ? 0 : (head - a.n_head) % a.n_kv_head;
    const size_t own = ((size_t)t * a.n_kv_head + kv) * a.d_head;
    const int32_t position = a.positions[t];
    const struct attn_segment *seg = &a.segs[a.seqs[t]];
    const size_t slot = a.kv_offset + ((size_t)position * a.n_kv_head + kv) * a.d_head;
    const float *turn = a.turns + (size_t)position * (a.d_rot / 2 * 2);
    float *q = a.q + ((size_t)t * a.n_head + head) * a.d_head;
    const float *from = is_query ? q : is_value ? a.value + own : a.key + own;
    /* caches are made of writable memory */
    float *to = is_query ? q : (float *)(is_value ? seg->values : seg->keys) + slot;
    const double inverse_d = 1.0 / a.d_head;
    struct head_turns<QK_QUADS> turns = {
    };
    float4 w[QK_QUADS], raw[QK_QUADS], v[QK_QUADS];
    float factor;

    grid_release();
#pragma unroll
    for (int j = 0; j < QK_QUADS; j++)
        w[j] = head_read(norm, lane * 4 + j * HEAD_STEP, a.d_head);
    if (is_turned)
        turns = head_read_turns<QK_QUADS>(turn, a.d_rot);
    grid_wait();
#pragma unroll
    for (int j = 0; j < QK_QUADS; j++)
        v[j] = raw[j] = head_read(from, lane * 4 + j * HEAD_STEP, a.d_head);
    factor = head_factor(v, inverse_d, a.eps);
#pragma unroll
    for (int j = 0; j < QK_QUADS; j++)
        v[j] = head_norm_quad(v[j], factor, w[j]);
    if (is_turned)
        head_turn(v, turns, a.d_rot);
    else
        turn_any(v, rows[threadIdx.x / HEAD_LANES], turn, a.d_rot / 2);
    if (blockIdx.y * QK_ROWS + threadIdx.x / HEAD_LANES >= n_heads)
        return;
#pragma unroll
    for (int j = 0; j < QK_QUADS; j++) {
        if (is_value)
            v[j] = raw[j];
        write_quad(to, lane * 4 + j * HEAD_STEP, a.d_head, v[j]);
    }
}

cudaError_t fused_qk_launch(const struct fused_qk *a, cudaStream_t stream)
{
    const int n_heads = a->n_head + 2 * a->n_kv_head;

    if (a->d_head > QK_MAX_D_HEAD)
        return cudaErrorInvalidValue;
    if (!a->n_tok)
        return cudaSuccess;
    return launch_kernel(qk_kernel, dim3(a->n_tok, (n_heads + QK_ROWS - 1) / QK_ROWS), QK_THREADS,
                         0, true, stream, *a);
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
