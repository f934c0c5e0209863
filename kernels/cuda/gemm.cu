/*
 * Projections: gemm.h.
 *
 * Two kernels, the same bits. gemm_split.cu and gemm_pair.cu have two more, of few tokens and as
 * many rows as a device's blocks can take at once.
 *
 * few_tokens: up to 32 tokens, up to 8 stretches of columns (K = 2048). What counts is the stream
 * of weights (few.cuh). A unit is a slice. 24 pieces, 192 KB, are under way in each SM. The first
 * unit's are asked for before the kernel waits for the one that makes the activations, the others
 * once these are on their way: behind 192 KB of weights whatever somebody waits for comes late, the
 * end of the kernel ahead as well.
 *
 * many_tokens: tiles of 64 MT rows by 16 NT tokens, columns in steps of 64 through a ring of
 * STEPS steps in shared memory, activations laid there as fragments. 8 warps, 4 by 2.
 */
#include "kernels/cuda/gemm.h"

#include "kernels/cuda/few.cuh"
#include "kernels/cuda/gemm_pair.h"
#include "kernels/cuda/gemm_split.h"
#include "kernels/cuda/gemm_unit.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/sm90.cuh"

#define THREADS 256

static __device__ __forceinline__ void put(float *y, float v, bool is_added)
{
    *y = is_added ? *y + v : v;
}

/* ---- few tokens --------------------------------------------------------------------------- */

/* Grid: any number of blocks. k_tiles <= SLICE_WARPS, n_tok <= 8 NT. f32 sums. */
template <int NT>
__global__ void __launch_bounds__(FEW_THREADS, 1)
    few_tokens(const __grid_constant__ struct gemm_args a, int n_units, int k_tiles)
{
    extern __shared__ __align__(128) char smem[];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    char *ring = smem + warp * FEW_RING * PACK_SLICE_BYTES;
    float *sums = (float *)(smem + SLICE_WARPS * FEW_RING * PACK_SLICE_BYTES);
    uint64_t *full = (uint64_t *)(sums + 2 * few_sums(NT)) + warp * FEW_RING;
    const bool is_active = warp < k_tiles;
    const uint64_t policy = policy_evict_first();
    uint4 b[8][NT];

    /* the block's i-th unit, i < FEW_RING */
    auto fetch = [&](int i) {
        const int u = blockIdx.x + i * gridDim.x;

        if (is_active && u < n_units)
            few_fetch(ring + i * PACK_SLICE_BYTES, find_unit(a, u, PACK_SLICE_ROWS, k_tiles).w,
                      warp, &full[i], policy);
    };

    grid_release();
    if (lane == 0) {
        for (int i = 0; i < FEW_RING; i++)
            barrier_init(&full[i], 1);
        barrier_init_fence();
        fetch(0);
    }
    __syncwarp();
    grid_wait();
    few_activations<NT>(a, k_tiles, warp, lane, b);
    if (lane == 0)
        for (int i = 1; i < FEW_RING; i++)
            fetch(i);
    __syncwarp();
    for (int u = blockIdx.x, i = 0; u < n_units; u += gridDim.x, i++) {
        float *red = sums + (i & 1) * few_sums(NT);
        const int slot = i % FEW_RING;

        if (is_active) {
            char *piece = ring + slot * PACK_SLICE_BYTES;
            const int next = u + FEW_RING * gridDim.x;
            float acc[NT][4];

            barrier_wait(&full[slot], i / FEW_RING & 1);
            slice_multiply((const uint4 *)piece + lane, b, acc);
            __syncwarp(); /* all lanes have read the piece */
            if (lane == 0 && next < n_units)
                few_fetch(piece, find_unit(a, next, PACK_SLICE_ROWS, k_tiles).w, warp, &full[slot],
                          policy);
            slice_store(red + warp * slice_sums(NT), acc);
        }
        __syncthreads();
        {
            const struct gemm_unit unit = find_unit(a, u, PACK_SLICE_ROWS, k_tiles);
            const int row = threadIdx.x % 16;

#pragma unroll
            for (int j = 0; j < (NT + 1) / 2; j++) {
                const int t = threadIdx.x / 16 + j * 16;

                if (t < a.n_tok && row < unit.n_rows)
                    put(unit.y + (size_t)t * unit.rows + row, slice_sum<NT>(red, k_tiles, t, row),
                        a.is_added);
            }
        } /* sums are written again two units later, after the next __syncthreads() */
    }
}

/* ---- many tokens -------------------------------------------------------------------------- */

#define STEP_K 64 /* columns of a step: 4 k16 */
#define STEPS 4   /* steps under way */

/* Bytes of a step: weights, then activations. */
static constexpr __host__ __device__ int many_w_bytes(int mt)
{
    return 4 * mt * 16 * STEP_K * 2;
}

static constexpr __host__ __device__ int many_x_bytes(int nt)
{
    return 16 * nt * STEP_K * 2;
}

static constexpr __host__ __device__ int many_bytes(int mt, int nt)
{
    return STEPS * (many_w_bytes(mt) + many_x_bytes(nt)) + STEPS * 8;
}

/*
 * Activations of a step to shared memory, as fragments: (2 NT octets, 2 k32, 32 lanes) of 16 bytes.
 * Eight threads take the 128 bytes of a token.
 */
template <int NT>
static __device__ __forceinline__ void copy_step(const struct gemm_args &a, char *dst, int first,
                                                 int step, size_t ld)
{
#pragma unroll
    for (int i = 0; i < 16 * NT * 8 / THREADS; i++) {
        int at = i * THREADS + threadIdx.x, token = at / 8, piece = at % 8;
        bool is_there = first + token < a.n_tok;
        const uint16_t *src =
            a.x + (size_t)(is_there ? first + token : 0) * ld + (size_t)step * STEP_K + piece * 8;

        async_copy16(dst + ((token / 8 * 2 + piece / 4) * 32 + token % 8 * 4 + piece % 4) * 16, src,
                     is_there);
    }
}

/* Grid: (row tiles of 64 MT rows, token tiles of 16 NT). Warp: 16 MT rows, 8 NT tokens. f32 sums.
 */
template <int MT, int NT>
__global__ void __launch_bounds__(THREADS, 1)
    many_tokens(const __grid_constant__ struct gemm_args a, int k_tiles)
{
    extern __shared__ __align__(128) char smem[];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int warp_m = warp % 4, warp_n = warp / 4, first = blockIdx.y * 16 * NT;
    const int n_steps = k_tiles * (PACK_K / STEP_K);
    const size_t ld = (size_t)k_tiles * PACK_K;
    char *xs = smem + STEPS * many_w_bytes(MT);
    uint64_t *full = (uint64_t *)(smem + STEPS * (many_w_bytes(MT) + many_x_bytes(NT)));
    const struct gemm_unit unit = find_unit(a, blockIdx.x, 64 * MT, k_tiles);
    const int n_slices = (unit.n_rows + PACK_SLICE_ROWS - 1) / PACK_SLICE_ROWS;
    const uint64_t policy = policy_evict_first();
    float acc[MT][NT][4], total[MT][NT][4];

    /* weights of a step: 2 KB of each slice that there is */
    auto fetch = [&](int step) {
        char *dst = smem + step % STEPS * many_w_bytes(MT);

        barrier_expect(&full[step % STEPS], (uint32_t)n_slices * (STEP_K * 32));
        for (int i = 0; i < n_slices; i++) /* tile i / 4 below, slice i % 4 of it */
            bulk_copy(dst + i * STEP_K * 32,
                      unit.w + ((size_t)(i / 4) * k_tiles + step / 4) * PACK_TILE_BYTES +
                          i % 4 * PACK_SLICE_BYTES + step % 4 * (STEP_K * 32),
                      STEP_K * 32, &full[step % STEPS], policy);
    };

    grid_release();
    if (threadIdx.x == 0) {
        for (int i = 0; i < STEPS; i++)
            barrier_init(&full[i], 1);
        barrier_init_fence();
        for (int i = 0; i < STEPS - 1 && i < n_steps; i++)
            fetch(i);
    }
    __syncthreads();
    grid_wait();
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int n = 0; n < NT; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                acc[m][n][i] = total[m][n][i] = 0;
    for (int i = 0; i < STEPS - 1; i++) {
        if (i < n_steps)
            copy_step<NT>(a, xs + i * many_x_bytes(NT), first, i, ld);
        async_commit();
    }
    for (int step = 0; step < n_steps; step++) {
        const int slot = step % STEPS, ahead = step + STEPS - 1;

        async_wait<STEPS - 2>();
        __syncthreads(); /* this step's activations are there, the step before is used up */
        if (ahead < n_steps) {
            if (threadIdx.x == 0)
                fetch(ahead);
            copy_step<NT>(a, xs + ahead % STEPS * many_x_bytes(NT), first, ahead, ld);
        }
        async_commit();
        barrier_wait(&full[slot], step / STEPS & 1);
#pragma unroll
        for (int k = 0; k < STEP_K / 32; k++) {
            const char *w = smem + slot * many_w_bytes(MT) + warp_m * MT * STEP_K * 32;
            const char *x = xs + slot * many_x_bytes(NT) + warp_n * NT * 1024;
            uint4 wf[MT][2];

#pragma unroll
            for (int m = 0; m < MT; m++)
#pragma unroll
                for (int s = 0; s < 2; s++)
                    wf[m][s] =
                        *(const uint4 *)(w + m * STEP_K * 32 + (2 * k + s) * 512 + lane * 16);
#pragma unroll
            for (int n = 0; n < NT; n++) {
                uint4 xf = *(const uint4 *)(x + (n * 2 + k) * 512 + lane * 16);

#pragma unroll
                for (int m = 0; m < MT; m++) {
                    mma_bf16(acc[m][n], wf[m][0], xf.x, xf.y);
                    mma_bf16(acc[m][n], wf[m][1], xf.z, xf.w);
                }
            }
        }
        if (step % 4 == 3) /* the end of a stretch */
#pragma unroll
            for (int m = 0; m < MT; m++)
#pragma unroll
                for (int n = 0; n < NT; n++)
#pragma unroll
                    for (int i = 0; i < 4; i++) {
                        total[m][n][i] += acc[m][n][i];
                        acc[m][n][i] = 0;
                    }
    }
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int n = 0; n < NT; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int row = (warp_m * MT + m) * 16 + lane / 4 + i / 2 * 8;
                int token = first + (warp_n * NT + n) * 8 + lane % 4 * 2 + i % 2;

                if (row < unit.n_rows && token < a.n_tok)
                    put(unit.y + (size_t)token * unit.rows + row, total[m][n][i], a.is_added);
            }
}

/* ---- rounding ----------------------------------------------------------------------------- */

/* A thread makes 8 elements of a row. */
static __global__ void round_rows(const float *x, int n_tok, int cols, int ld, uint4 *ret)
{
    const int64_t n = (int64_t)n_tok * (ld / 8);

    grid_release();
    grid_wait();
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n;
         i += (int64_t)gridDim.x * THREADS) {
        const int64_t token = i / (ld / 8);
        const int col = (int)(i % (ld / 8)) * 8;
        uint32_t v[4];

#pragma unroll
        for (int j = 0; j < 4; j++) {
            float lo = col + 2 * j < cols ? x[token * cols + col + 2 * j] : 0;
            float hi = col + 2 * j + 1 < cols ? x[token * cols + col + 2 * j + 1] : 0;

            v[j] = pack_bf16(lo, hi);
        }
        ret[i] = make_uint4(v[0], v[1], v[2], v[3]);
    }
}

size_t gemm_rounded_bytes(int n_tok, int cols)
{
    return (size_t)n_tok * (size_t)pack_row_elems(cols) * 2;
}

cudaError_t gemm_round(const float *x, int n_tok, int cols, uint16_t *ret, cudaStream_t stream)
{
    const int ld = (int)pack_row_elems(cols);
    const int64_t n_blocks = ((int64_t)n_tok * (ld / 8) + THREADS - 1) / THREADS;

    if (!n_tok)
        return cudaSuccess;
    return launch_kernel(round_rows, dim3((unsigned)(n_blocks < 4096 ? n_blocks : 4096)), THREADS,
                         0, true, stream, x, n_tok, cols, ld, (uint4 *)ret);
}

/* ---- launching ---------------------------------------------------------------------------- */

template <int NT>
static cudaError_t launch_few(const struct gemm_args *a, int k_tiles, int n_sm, bool is_early,
                              cudaStream_t stream)
{
    const int n_units = count_units(a, PACK_SLICE_ROWS);
    cudaError_t rc = allow_shared(few_tokens<NT>, few_bytes(NT));

    if (rc != cudaSuccess)
        return rc;
    return launch_kernel(few_tokens<NT>, dim3(min(n_units, n_sm)), FEW_THREADS, few_bytes(NT),
                         is_early, stream, *a, n_units, k_tiles);
}

template <int MT, int NT>
static cudaError_t launch_many(const struct gemm_args *a, int k_tiles, bool is_early,
                               cudaStream_t stream)
{
    const dim3 grid(count_units(a, 64 * MT), (a->n_tok + 16 * NT - 1) / (16 * NT));
    cudaError_t rc = allow_shared(many_tokens<MT, NT>, many_bytes(MT, NT));

    if (rc != cudaSuccess)
        return rc;
    return launch_kernel(many_tokens<MT, NT>, grid, THREADS, many_bytes(MT, NT), is_early, stream,
                         *a, k_tiles);
}

cudaError_t gemm_launch(const struct gemm_args *a, bool is_early, cudaStream_t stream)
{
    const int k_tiles = (int)pack_k_tiles(a->cols);
    int n_sm = 0;
    cudaError_t rc = count_sms(&n_sm);

    if (rc != cudaSuccess || !a->n_tok)
        return rc;
    if (gemm_split_fits(a, n_sm))
        return gemm_split_launch(a, is_early, stream);
    if (gemm_pair_fits(a, n_sm))
        return gemm_pair_launch(a, is_early, stream);
    if (k_tiles <= SLICE_WARPS && a->n_tok <= FEW_TOKENS) {
        if (a->n_tok <= 8)
            return launch_few<1>(a, k_tiles, n_sm, is_early, stream);
        if (a->n_tok <= 16)
            return launch_few<2>(a, k_tiles, n_sm, is_early, stream);
        return launch_few<4>(a, k_tiles, n_sm, is_early, stream);
    }
    if (a->n_tok <= 64)
        return launch_many<1, 4>(a, k_tiles, is_early, stream);
    if (count_units(a, 128) * ((a->n_tok + 127) / 128) < n_sm)
        return launch_many<1, 8>(a, k_tiles, is_early, stream);
    return launch_many<2, 8>(a, k_tiles, is_early, stream);
}
