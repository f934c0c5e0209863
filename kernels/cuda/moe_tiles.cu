/*
 * Experts for any number of tokens: a kernel for each product, and one that sums.
 *
 * A unit of work is 64 rows of one expert's matrix for up to 64 of its pairs. Blocks take units in
 * turn (unit = block, + grid, ...); the units of one expert's row tile follow each other, so that
 * what is read twice is read at the same time. In a block one warp fetches: a stage is a tile of
 * weights (32 KB) and the pairs' activations for its 256 columns, a row each. Eight warps multiply:
 * warp w takes slice w % 4 for octets of pairs w / 4, w / 4 + 2, ...
 */
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/moe.cuh"
#include "kernels/route.h"

#define THREADS 288
#define N_MULTIPLY 8 /* warps; the next one fetches */
#define CHUNK 64     /* pairs of a unit */
#define OCTETS (CHUNK / 8 / 2)
#define ROW_BYTES                                                                                  \
    (PACK_K * 2 + 64) /* of an activation row in shared memory: 4 lanes of each of                 \
                       * two neighbouring rows fall in different banks */
#define STAGE_BYTES (PACK_TILE_BYTES + CHUNK * ROW_BYTES)
#define STAGES 3
#define SHARED_BYTES (STAGES * STAGE_BYTES)

struct tiles_args {
    struct worklist list;
    const char *weights; /* packed, expert after expert */
    size_t expert_bytes;
    int row_tiles, k_tiles;
    const uint16_t *x; /* rows of k_tiles * PACK_K */
    bool is_gate_up;   /* rows of x are tokens, and the result is h; else pairs, and results */
    uint16_t *h;       /* (n_pairs, h_row) */
    int h_row, d_ff;
    float *results; /* (n_pairs, d_model) */
    int d_model;
};

/* A unit: pairs [pair, pair + n_pairs) and rows of tile row_tile of an expert. */
struct tiles_unit {
    int expert, row_tile, pair, n_pairs;
};

/* Where units of each active expert begin. */
struct tiles_index {
    int n_active, n_units;
    int first[KERNEL_MAX_EXPERTS + 1];
};

static __device__ __forceinline__ int n_chunks(int n_pairs)
{
    return (n_pairs + CHUNK - 1) / CHUNK;
}

/* One warp makes it. */
static __device__ void index_units(const struct tiles_args &a, struct tiles_index *ret)
{
    const int lane = threadIdx.x % 32, n = __ldcg(a.list.n_active), each = (n + 31) / 32;
    int sum = 0, from;

    for (int i = lane * each; i < n && i < (lane + 1) * each; i++)
        sum += n_chunks(__ldcg(a.list.offsets + i + 1) - __ldcg(a.list.offsets + i)) * a.row_tiles;
    from = sum;
    for (int d = 1; d < 32; d *= 2) {
        int below = __shfl_up_sync(~0u, from, d);

        if (lane >= d)
            from += below;
    }
    if (lane == 31) {
        ret->n_active = n;
        ret->n_units = from;
        ret->first[n] = from;
    }
    from -= sum;
    for (int i = lane * each; i < n && i < (lane + 1) * each; i++) {
        ret->first[i] = from;
        from += n_chunks(__ldcg(a.list.offsets + i + 1) - __ldcg(a.list.offsets + i)) * a.row_tiles;
    }
}

/* *active: index of the expert of the last unit asked for; units are asked for in order. */
static __device__ __forceinline__ struct tiles_unit
find_unit(const struct tiles_args &a, const struct tiles_index &index, int unit, int *active)
{
    struct tiles_unit ret;
    int from, to, chunk, chunks;

    while (unit >= index.first[*active + 1])
        ++*active;
    from = __ldcg(a.list.offsets + *active);
    to = __ldcg(a.list.offsets + *active + 1);
    chunks = n_chunks(to - from);
    unit -= index.first[*active];
    chunk = unit % chunks;
    ret.row_tile = unit / chunks;
    ret.expert = __ldcg(a.list.experts + *active);
    ret.pair = from + chunk * CHUNK;
    ret.n_pairs = min(CHUNK, to - ret.pair);
    return ret;
}

/* sum[n] += the stage's stretch, for this warp's first N octets. */
template <int N>
static __device__ __forceinline__ void multiply_stage(const char *stage, int slice, int half,
                                                      float sum[OCTETS][4])
{
    const int lane = threadIdx.x % 32;
    const uint4 *w = (const uint4 *)(stage + slice * PACK_SLICE_BYTES) + lane;
    const char *x = stage + PACK_TILE_BYTES + (half * 8 + lane / 4) * ROW_BYTES + lane % 4 * 16;
    float c[N][4] = {};

#pragma unroll 4
    for (int p = 0; p < PACK_K / 32; p++) {
        const uint4 a0 = w[p * 64], a1 = w[p * 64 + 32];

#pragma unroll
        for (int n = 0; n < N; n++) {
            const uint4 b = *(const uint4 *)(x + n * 16 * ROW_BYTES + p * 64);

            mma_bf16(c[n], a0, b.x, b.y);
            mma_bf16(c[n], a1, b.z, b.w);
        }
    }
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            sum[n][i] += c[n][i];
}

/* Registers c of a lane (g, t): rows g and g + 8 of the slice, pairs 2 t and 2 t + 1 of the octet.
 */
static __device__ __forceinline__ void store_octet(const struct tiles_args &a, int row_tile,
                                                   int slice, int pair, int n_pairs,
                                                   const float c[4])
{
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;

#pragma unroll
    for (int i = 0; i < 2; i++) {
        const int at = 2 * t + i;

        if (at >= n_pairs)
            break;
        if (a.is_gate_up) {
            const int col = (row_tile * (PACK_ROWS / PACK_SLICE_ROWS) + slice) * 8 + g;

            if (col < a.d_ff)
                a.h[(size_t)(pair + at) * a.h_row + col] = swiglu(c[i], c[2 + i]);
        } else {
            const int row = row_tile * PACK_ROWS + slice * PACK_SLICE_ROWS + g;
            float *y = a.results + (size_t)(pair + at) * a.d_model + row;

            if (row < a.d_model)
                y[0] = c[i];
            if (row + 8 < a.d_model)
                y[8] = c[2 + i];
        }
    }
}

static __device__ void fetch_units(const struct tiles_args &a, const struct tiles_index &index,
                                   char *ring, uint64_t *full, uint64_t *empty)
{
    const int lane = threadIdx.x % 32;
    const uint64_t once = policy_evict_first(), often = policy_evict_normal();
    int active = 0, n_staged = 0;

    for (int unit = blockIdx.x; unit < index.n_units; unit += gridDim.x) {
        const struct tiles_unit u = find_unit(a, index, unit, &active);
        const char *w = a.weights + u.expert * a.expert_bytes +
                        (size_t)u.row_tile * a.k_tiles * PACK_TILE_BYTES;
        const uint16_t *rows[CHUNK / 32];

        for (int i = 0; i < CHUNK / 32; i++) {
            const int at = u.pair + min(i * 32 + lane, u.n_pairs - 1);

            rows[i] =
                a.x + (size_t)(a.is_gate_up ? __ldcg(a.list.tokens + at) : at) * a.k_tiles * PACK_K;
        }
        for (int k = 0; k < a.k_tiles; k++, n_staged++) {
            const int slot = n_staged % STAGES;
            char *stage = ring + slot * STAGE_BYTES;

            barrier_wait(&empty[slot], (n_staged / STAGES & 1) ^ 1);
            if (lane == 0) {
                barrier_expect(&full[slot], PACK_TILE_BYTES + u.n_pairs * PACK_K * 2);
                bulk_copy(stage, w + (size_t)k * PACK_TILE_BYTES, PACK_TILE_BYTES, &full[slot],
                          once);
            }
            __syncwarp();
            for (int i = 0; i < CHUNK / 32; i++)
                if (i * 32 + lane < u.n_pairs)
                    bulk_copy(stage + PACK_TILE_BYTES + (i * 32 + lane) * ROW_BYTES,
                              rows[i] + k * PACK_K, PACK_K * 2, &full[slot], often);
        }
    }
}

static __device__ void multiply_units(const struct tiles_args &a, const struct tiles_index &index,
                                      const char *ring, uint64_t *full, uint64_t *empty)
{
    const int warp = threadIdx.x / 32, slice = warp % 4, half = warp / 4;
    int active = 0, n_staged = 0;

    for (int unit = blockIdx.x; unit < index.n_units; unit += gridDim.x) {
        const struct tiles_unit u = find_unit(a, index, unit, &active);
        const int n_octets = ((u.n_pairs + 7) / 8 - half + 1) / 2; /* of this warp */
        float sum[OCTETS][4] = {};

        for (int k = 0; k < a.k_tiles; k++, n_staged++) {
            const int slot = n_staged % STAGES;
            const char *stage = ring + slot * STAGE_BYTES;

            barrier_wait(&full[slot], n_staged / STAGES & 1);
            switch (n_octets) {
            case 1: multiply_stage<1>(stage, slice, half, sum); break;
            case 2: multiply_stage<2>(stage, slice, half, sum); break;
            case 3: multiply_stage<3>(stage, slice, half, sum); break;
            case 4: multiply_stage<4>(stage, slice, half, sum); break;
            default: break;
            }
            __syncwarp();
            if (threadIdx.x % 32 == 0)
                barrier_arrive(&empty[slot]);
        }
#pragma unroll
        for (int n = 0; n < OCTETS; n++)
            if (n < n_octets) {
                const int at = (n * 2 + half) * 8;

                store_octet(a, u.row_tile, slice, u.pair + at, u.n_pairs - at, sum[n]);
            }
    }
}

/* Grid: any number of blocks. f32 sums. */
static __global__ void __launch_bounds__(THREADS, 1)
    tiles_kernel(const __grid_constant__ struct tiles_args a)
{
    extern __shared__ __align__(128) char ring[];
    __shared__ struct tiles_index index;
    __shared__ uint64_t full[STAGES], empty[STAGES];

    grid_release();
    if (threadIdx.x == 0) {
        for (int i = 0; i < STAGES; i++) {
            barrier_init(&full[i], 1);
            barrier_init(&empty[i], N_MULTIPLY);
        }
        barrier_init_fence();
    }
    grid_wait();
    if (threadIdx.x / 32 == N_MULTIPLY)
        index_units(a, &index);
    __syncthreads();
    if (threadIdx.x / 32 == N_MULTIPLY)
        fetch_units(a, index, ring, full, empty);
    else
        multiply_units(a, index, ring, full, empty);
}

#define SUM_THREADS 256

/* Grid (tokens, parts of d_model); a thread sums one column. */
static __global__ void __launch_bounds__(SUM_THREADS)
    sum_kernel(const __grid_constant__ struct moe_args a)
{
    const int d = blockIdx.y * SUM_THREADS + threadIdx.x, d_model = a.weights.d_model;
    const size_t at = (size_t)blockIdx.x * d_model + d;
    float sum = 0;

    grid_release();
    grid_wait();
    if (d >= d_model)
        return;
    for (int s = 0; s < a.top_k; s++) {
        const int pair = __ldcg(a.list.token_pairs + (size_t)blockIdx.x * a.top_k + s);

        if (pair < 0)
            break;
        sum = fmaf(__ldcg(a.list.weights + pair),
                   __ldcg(a.work.results + (size_t)pair * d_model + d), sum);
    }
    a.y[at] = a.residual ? a.residual[at] + sum : sum;
}

cudaError_t moe_tiles_launch(const struct moe_args *a, int n_sm, bool is_early, cudaStream_t stream)
{
    const struct moe_weights *w = &a->weights;
    const int h_row = (int)pack_row_elems(w->d_ff);
    struct tiles_args gate_up = {}, down;
    cudaError_t rc = allow_shared(tiles_kernel, SHARED_BYTES);

    gate_up.list = a->list;
    gate_up.weights = (const char *)w->gate_up;
    gate_up.expert_bytes = moe_gate_up_bytes(*w);
    gate_up.row_tiles = (int)pack_row_tiles(pack_pair_rows(w->d_ff));
    gate_up.k_tiles = (int)pack_k_tiles(w->d_model);
    gate_up.x = a->x;
    gate_up.is_gate_up = true;
    gate_up.h = a->work.h;
    gate_up.h_row = h_row;
    gate_up.d_ff = w->d_ff;
    gate_up.results = a->work.results;
    gate_up.d_model = w->d_model;
    down = gate_up;
    down.weights = (const char *)w->down;
    down.expert_bytes = moe_down_bytes(*w);
    down.row_tiles = (int)pack_row_tiles(w->d_model);
    down.k_tiles = (int)pack_k_tiles(w->d_ff);
    down.x = a->work.h;
    down.is_gate_up = false;
    if (!rc)
        rc = launch_kernel(tiles_kernel, dim3((unsigned)n_sm), THREADS, SHARED_BYTES, is_early,
                           stream, gate_up);
    if (!rc)
        rc = launch_kernel(tiles_kernel, dim3((unsigned)n_sm), THREADS, SHARED_BYTES, true, stream,
                           down);
    if (!rc)
        rc = launch_kernel(
            sum_kernel,
            dim3((unsigned)a->n_tok, (unsigned)((w->d_model + SUM_THREADS - 1) / SUM_THREADS)),
            SUM_THREADS, 0, true, stream, *a);
    return rc;
}
