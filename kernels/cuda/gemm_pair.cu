/*
 * Projections of few tokens to many rows: gemm_pair.h.
 *
 * A cluster of two blocks makes SLICES slices, each block by half of the columns, so that it reads
 * half of the activations. Warp w multiplies stretch w / GROUPS of the block's by slices
 * OWN (w % GROUPS) .. of the cluster's: the first in registers, the others in shared memory. The
 * first block adds its stretches up and sends the sums to the second, which goes on adding.
 *
 * There is room for all weights, which are asked for at once: they come while the kernels ahead
 * end.
 */
#include "kernels/cuda/gemm_pair.h"

#include "kernels/cuda/cluster.cuh"
#include "kernels/cuda/few.cuh"
#include "kernels/cuda/gemm_unit.cuh"
#include "kernels/cuda/launch.cuh"

#define BLOCKS 2
#define GROUPS 2                         /* warps that share a stretch */
#define OWN 3                            /* slices of a warp */
#define SLICES (GROUPS * OWN)            /* of a cluster */
#define STRETCHES (SLICE_WARPS / BLOCKS) /* of a block */
#define STEPS (PACK_K / 32)              /* of 32 columns, of a stretch */
/* Bytes from token to token of a block's activations: two whose columns are read together lie in
 * different banks. */
#define X_PITCH (STRETCHES * PACK_K * 2 + 64)

/* A load is a chunk of a slice, not the first, for all warps: of each chunk all slices'. */
#define CHUNK_STEPS 2 /* of 32 columns */
#define CHUNKS (STEPS / CHUNK_STEPS)
#define CHUNK_BYTES (PACK_SLICE_BYTES / CHUNKS)
#define LOADS ((OWN - 1) * CHUNKS)

#define WARP_X 0       /* fetches activations */
#define WARP_WEIGHTS 1 /* fetches weights */

/*
 * Shared memory of a block.
 *   kept      (SLICE_WARPS, OWN - 1) slices' stretches; then each warp's sums, (OWN, NT, 32) of 16
 *             bytes as mma_bf16() leaves them
 *   x         (8 NT) tokens' activations, X_PITCH apart
 *   part      (SLICES, NT, 32) of 16 bytes: what the first block's stretches come to
 *   barriers  of a load each; of x, of part
 */
#define KEPT_BYTES (SLICE_WARPS * (OWN - 1) * PACK_SLICE_BYTES)

static constexpr __host__ __device__ int pair_bytes(int nt)
{
    return KEPT_BYTES + 8 * nt * X_PITCH + SLICES * nt * 512 + (LOADS + 2) * 8;
}

struct pair_shared {
    char *kept, *x;
    uint4 *part;
    uint64_t *full, *x_full, *received;
};

/* Where a block's lies. */
static __device__ __forceinline__ struct pair_shared find_shared(int nt)
{
    struct pair_shared ret;

    ret.kept = dynamic_shared();
    ret.x = ret.kept + KEPT_BYTES;
    ret.part = (uint4 *)(ret.x + 8 * nt * X_PITCH);
    ret.full = (uint64_t *)(ret.part + SLICES * nt * 32);
    ret.x_full = ret.full + LOADS;
    ret.received = ret.x_full + 1;
    return ret;
}

/* Ask for load i of the block whose cluster's first slice is `first`. One lane. */
static __device__ void fetch_load(const struct gemm_args &a, const struct pair_shared &s, int i,
                                  int first, int n_units, int k_tiles, int from, int n_stretches)
{
    const uint64_t policy = policy_evict_first();
    const int slice = i % (OWN - 1) + 1, chunk = i / (OWN - 1);
    int n = 0;

    for (int g = 0; g < GROUPS; g++)
        n += first + g * OWN + slice < n_units;
    barrier_expect(&s.full[i], (uint32_t)(n * n_stretches * CHUNK_BYTES));
    for (int g = 0; g < n; g++) {
        const char *w = find_unit(a, first + g * OWN + slice, PACK_SLICE_ROWS, k_tiles).w +
                        (size_t)from * PACK_TILE_BYTES + chunk * CHUNK_BYTES;

        for (int t = 0; t < n_stretches; t++)
            bulk_copy(s.kept + ((t * GROUPS + g) * (OWN - 1) + slice - 1) * PACK_SLICE_BYTES +
                          chunk * CHUNK_BYTES,
                      w + (size_t)t * PACK_TILE_BYTES, CHUNK_BYTES, &s.full[i], policy);
    }
}

/* The block's stretch t times the warp's slices; sums go to kept, where this lane alone reads. */
template <int NT>
static __device__ __forceinline__ void multiply(const struct pair_shared &s, int t,
                                                const uint4 (&w)[2 * STEPS])
{
    uint4 *const kept =
        (uint4 *)(s.kept + threadIdx.x / 32 * (OWN - 1) * PACK_SLICE_BYTES) + threadIdx.x % 32;
    const int lane = threadIdx.x % 32;
    const char *const x = s.x + lane / 4 * X_PITCH + t * PACK_K * 2 + lane % 4 * 16;
    float acc[OWN][NT][4];

#pragma unroll
    for (int j = 0; j < OWN; j++)
#pragma unroll
        for (int n = 0; n < NT; n++)
            acc[j][n][0] = acc[j][n][1] = acc[j][n][2] = acc[j][n][3] = 0;
    barrier_wait(s.x_full, 0);
#pragma unroll
    for (int k = 0; k < STEPS; k++) {
        uint4 b[NT];

        if (k % CHUNK_STEPS == 0)
#pragma unroll
            for (int j = 1; j < OWN; j++)
                barrier_wait(&s.full[k / CHUNK_STEPS * (OWN - 1) + j - 1], 0);
#pragma unroll
        for (int n = 0; n < NT; n++)
            b[n] = *(const uint4 *)(x + n * 8 * X_PITCH + k * 64);
#pragma unroll
        for (int j = 0; j < OWN; j++) {
            const uint4 *const at = kept + (j - 1) * (PACK_SLICE_BYTES / 16);
            const uint4 a0 = j ? at[2 * k * 32] : w[2 * k];
            const uint4 a1 = j ? at[(2 * k + 1) * 32] : w[2 * k + 1];

#pragma unroll
            for (int n = 0; n < NT; n++)
                mma_bf16(acc[j][n], a0, b[n].x, b[n].y);
#pragma unroll
            for (int n = 0; n < NT; n++)
                mma_bf16(acc[j][n], a1, b[n].z, b[n].w);
        }
    }
#pragma unroll
    for (int j = 0; j < OWN; j++)
#pragma unroll
        for (int n = 0; n < NT; n++)
            kept[(j * NT + n) * 32] =
                make_uint4(__float_as_uint(acc[j][n][0]), __float_as_uint(acc[j][n][1]),
                           __float_as_uint(acc[j][n][2]), __float_as_uint(acc[j][n][3]));
}

/* v += what the block's stretches come to, four sums of a lane: number `at` of (SLICES, NT, 32). */
template <int NT>
static __device__ __forceinline__ float4 add_stretches(const struct pair_shared &s, int at,
                                                       int n_stretches, float4 v)
{
    const int slice = at / (NT * 32);
    const char *from = s.kept + slice / OWN * (OWN - 1) * PACK_SLICE_BYTES +
                       (slice % OWN * NT * 32 + at % (NT * 32)) * 16;

#pragma unroll
    for (int t = 0; t < STRETCHES; t++)
        if (t < n_stretches) {
            const float4 sum = *(const float4 *)(from + t * GROUPS * (OWN - 1) * PACK_SLICE_BYTES);

            v = make_float4(v.x + sum.x, v.y + sum.y, v.z + sum.z, v.w + sum.w);
        }
    return v;
}

/* Sums number `at` to their rows and tokens. */
template <int NT>
static __device__ __forceinline__ void put_sums(const struct gemm_args &a, int at, int first,
                                                int n_units, int k_tiles, float4 v)
{
    const int unit_number = first + at / (NT * 32), lane = at % 32;
    const int row = lane / 4, token = at / 32 % NT * 8 + lane % 4 * 2;
    const float values[4] = { v.x, v.y, v.z, v.w };

    if (unit_number >= n_units)
        return;
    const struct gemm_unit unit = find_unit(a, unit_number, PACK_SLICE_ROWS, k_tiles);
    float *const y = unit.y + (size_t)token * unit.rows + row;

#pragma unroll
    for (int i = 0; i < 4; i++)
        if (row + i / 2 * 8 < unit.n_rows && token + i % 2 < a.n_tok) {
            float *const to = y + (size_t)(i % 2) * unit.rows + i / 2 * 8;

            *to = a.is_added ? *to + values[i] : values[i];
        }
}

/* Grid: (clusters, 1, BLOCKS), in clusters of BLOCKS. k_tiles <= SLICE_WARPS, n_tok <= 8 NT. f32
 * sums. */
template <int NT>
__global__ void __launch_bounds__(FEW_THREADS, 1)
    pair_tokens(const __grid_constant__ struct gemm_args a, int n_units, int k_tiles)
{
    const struct pair_shared s = find_shared(NT);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, rank = (int)cluster_rank();
    const int from = rank * STRETCHES, n_stretches = max(0, min(k_tiles - from, STRETCHES));
    const int first = blockIdx.x * SLICES, own = warp / GROUPS;
    const bool is_active = own < n_stretches;
    uint4 w[2 * STEPS];

    grid_release();
    if (threadIdx.x == 0) {
        for (int i = 0; i < LOADS; i++)
            barrier_init(&s.full[i], 1);
        barrier_init(s.x_full, 1);
        barrier_init(s.received, 1);
        barrier_init_fence();
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        barrier_expect(s.x_full, (uint32_t)(a.n_tok * n_stretches * PACK_K * 2));
        if (rank == BLOCKS - 1)
            barrier_expect(s.received, SLICES * NT * 512);
    }
    cluster_arrive_relaxed();
    if (is_active) { /* without a slice, some other's */
        const int unit = min(first + warp % GROUPS * OWN, n_units - 1);
        const uint4 *const weights =
            (const uint4 *)(find_unit(a, unit, PACK_SLICE_ROWS, k_tiles).w +
                            (size_t)(from + own) * PACK_TILE_BYTES) +
            lane;

#pragma unroll
        for (int i = 0; i < 2 * STEPS; i++)
            w[i] = __ldcs(weights + i * 32);
    }
    cluster_wait();       /* both blocks' barriers are there */
    if (warp == WARP_X) { /* the others wait for what it fetches */
        grid_wait();
        if (lane < a.n_tok && n_stretches)
            bulk_copy(s.x + lane * X_PITCH, a.x + ((size_t)lane * k_tiles + from) * PACK_K,
                      (uint32_t)(n_stretches * PACK_K * 2), s.x_full);
    } else if (warp == WARP_WEIGHTS && lane == 0) {
        for (int i = 0; i < LOADS; i++)
            fetch_load(a, s, i, first, n_units, k_tiles, from, n_stretches);
    }
    __syncwarp();
    if (is_active)
        multiply<NT>(s, own, w);
    __syncthreads();
    if (rank == BLOCKS - 1)
        cluster_receive(s.received);
#pragma unroll
    for (int at = threadIdx.x; at < SLICES * NT * 32; at += FEW_THREADS) {
        float4 v = rank ? ((const float4 *)s.part)[at] : make_float4(0, 0, 0, 0);

        v = add_stretches<NT>(s, at, n_stretches, v);
        if (rank == BLOCKS - 1)
            put_sums<NT>(a, at, first, n_units, k_tiles, v);
        else
            cluster_send(s.part + at, BLOCKS - 1, s.received,
                         make_uint4(__float_as_uint(v.x), __float_as_uint(v.y),
                                    __float_as_uint(v.z), __float_as_uint(v.w)));
    }
}

/* ---- launching ---------------------------------------------------------------------------- */

template <int NT>
static cudaError_t launch(const struct gemm_args *a, bool is_early, cudaStream_t stream)
{
    const int n_units = count_units(a, PACK_SLICE_ROWS);
    const dim3 grid((unsigned)((n_units + SLICES - 1) / SLICES), 1, BLOCKS);
    cudaError_t rc = allow_shared(pair_tokens<NT>, pair_bytes(NT));

    if (rc != cudaSuccess)
        return rc;
    return launch_clusters(pair_tokens<NT>, grid, BLOCKS, FEW_THREADS, pair_bytes(NT), is_early,
                           stream, *a, n_units, (int)pack_k_tiles(a->cols));
}

bool gemm_pair_fits(const struct gemm_args *a, int n_sm)
{
    return a->n_tok <= FEW_TOKENS && pack_k_tiles(a->cols) <= SLICE_WARPS &&
           count_units(a, PACK_SLICE_ROWS) <= n_sm / BLOCKS * SLICES;
}

cudaError_t gemm_pair_launch(const struct gemm_args *a, bool is_early, cudaStream_t stream)
{
    return a->n_tok <= 8    ? launch<1>(a, is_early, stream)
           : a->n_tok <= 16 ? launch<2>(a, is_early, stream)
                            : launch<4>(a, is_early, stream);
}
