/*
 * What goes before the experts of many tokens (moe_wide.cu): their units of work in the order in
 * which these are taken, counts at zero, and x in the order of columns that wgmma wants.
 */
#ifndef KERNELS_CUDA_MOE_WIDE_PLAN_CUH
#define KERNELS_CUDA_MOE_WIDE_PLAN_CUH

#include "kernels/cuda/moe_impl.cuh"
#include "kernels/route.h"

#define GROUP 2 /* row tiles of a unit, a warpgroup each */
#define PREPARE_THREADS 256
#define PLAN_BLOCKS 16

/* Pairs of a chunk at most. */
template <bool IS_FAST> static constexpr __host__ __device__ int max_pairs(void)
{
    return IS_FAST ? 256 : 128;
}

/* One unit: row tiles from GROUP * row_group for n_pairs pairs of an expert. */
struct unit {
    int expert; /* -1: there are no more */
    int pair;
    int pairs_group; /* n_pairs + 65536 row_group */
    int chunk;       /* its number, + CHUNK_DOWN, + CHUNK_SHARED if other chunks use its weights */
};

#define CHUNK_DOWN (1 << 30)
#define CHUNK_SHARED (1 << 29)
#define CHUNK_MASK (CHUNK_SHARED - 1)

static_assert(sizeof(struct unit) == sizeof(int4), "units are read as int4");

/* In device memory; made by prepare_kernel(). */
struct plan {
    uint32_t *counts; /* taken units, all units, then ready[] of each chunk */
    int4 *units;
    uint16_t *x; /* activations in place() */
};

struct wide_args {
    struct moe_args moe;
    struct moe_product gate_up, down;
    struct plan plan;
    int h_row, result_row;
};

static __host__ __device__ int n_groups(const struct moe_product &p)
{
    return (p.row_tiles + GROUP - 1) / GROUP;
}

template <bool IS_FAST> static __device__ __forceinline__ int n_chunks(int n_pairs)
{
    return (n_pairs + max_pairs<IS_FAST>() - 1) / max_pairs<IS_FAST>();
}

#define MAX_ACTIVE (KERNEL_MAX_EXPERTS + 1)

struct prepared {
    int pairs[MAX_ACTIVE];     /* of active expert i */
    int sorted[MAX_ACTIVE];    /* the same, the most first */
    int ranked[MAX_ACTIVE];    /* which experts these are */
    int order[MAX_ACTIVE];     /* active experts as they come */
    int first[MAX_ACTIVE + 1]; /* chunk of order[i] */
};

/* From those of most pairs first to an order in which experts of many pairs, which are bound by
 * products, and of few, whose weights are what takes time, come evenly: after each of them the mean
 * so far is about that of all. One thread. */
static __device__ void mix_experts(struct prepared *s, int n)
{
    int lo = 0, hi = n - 1, sum = 0, all = 0;

    for (int i = 0; i < n; i++)
        all += s->sorted[i];
    for (int i = 0; i < n; i++) {
        const int from = (int64_t)sum * n > (int64_t)all * i ? hi-- : lo++;

        s->order[i] = s->ranked[from];
        sum += s->sorted[from];
    }
}

/* The experts' order and the numbers of their chunks. All threads of the block. */
template <bool IS_FAST>
static __device__ void order_experts(const struct wide_args &a, struct prepared *s, int n)
{
    const int lane = threadIdx.x % 32;

    for (int i = threadIdx.x; i < n; i += PREPARE_THREADS)
        s->pairs[i] = __ldcg(a.moe.list.offsets + i + 1) - __ldcg(a.moe.list.offsets + i);
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += PREPARE_THREADS) {
        const int mine = s->pairs[i];
        int rank = 0;

        for (int j = 0; j < n; j++)
            rank += s->pairs[j] > mine || (s->pairs[j] == mine && j < i);
        s->ranked[rank] = i;
        s->sorted[rank] = mine;
    }
    __syncthreads();
    if (threadIdx.x == 0)
        mix_experts(s, n);
    __syncthreads();
    if (threadIdx.x < 32) {
        int sum = 0;

        for (int from = 0; from <= n; from += 32) {
            const int i = from + lane, mine = i < n ? n_chunks<IS_FAST>(s->pairs[s->order[i]]) : 0;
            int at = mine;

            for (int d = 1; d < 32; d *= 2) {
                const int below = __shfl_up_sync(~0u, at, d);

                if (lane >= d)
                    at += below;
            }
            if (i <= n)
                s->first[i] = sum + at - mine;
            sum += __shfl_sync(~0u, at, 31);
        }
    }
    __syncthreads();
}

/* Unit u of the plan. */
static __device__ struct unit make_unit(const struct wide_args &a, const struct prepared *s, int n,
                                        int u)
{
    const int n_gate_up = s->first[n] * n_groups(a.gate_up);
    const bool is_down = u >= n_gate_up;
    const int groups = is_down ? n_groups(a.down) : n_groups(a.gate_up);
    int lo = 0, hi = n - 1, e, chunks, chunk, n_pairs, each;
    struct unit ret;

    u -= is_down ? n_gate_up : 0;
    while (lo < hi) {
        const int mid = (lo + hi + 1) / 2;

        if (s->first[mid] * groups <= u)
            lo = mid;
        else
            hi = mid - 1;
    }
    e = s->order[lo];
    u -= s->first[lo] * groups;
    chunks = s->first[lo + 1] - s->first[lo];
    chunk = u % chunks;
    n_pairs = s->pairs[e];
    each = ((n_pairs + chunks - 1) / chunks + 7) / 8 * 8; /* a chunk at most */
    ret.expert = __ldcg(a.moe.list.experts + e);
    ret.pair = __ldcg(a.moe.list.offsets + e) + chunk * each;
    ret.pairs_group = max(0, min(each, n_pairs - chunk * each)) + u / chunks * 65536;
    ret.chunk = (s->first[lo] + chunk) + is_down * CHUNK_DOWN + (chunks > 1) * CHUNK_SHARED;
    return ret;
}

/* x in its order: thread `first` of n. */
static __device__ void place_x(const struct wide_args &a, int first, int n)
{
    const int n_parts = a.moe.n_tok * a.gate_up.k_tiles * (PACK_K / 32);

    for (int i = first; i < n_parts; i += n) {
        const uint4 *from = (const uint4 *)a.moe.x + (size_t)i * 4;
        uint4 *to = (uint4 *)a.plan.x + (size_t)i * 4;
        const uint4 v0 = from[0], v1 = from[1], v2 = from[2], v3 = from[3];

        to[0] = make_uint4(v0.x, v1.x, v2.x, v3.x);
        to[1] = make_uint4(v0.y, v1.y, v2.y, v3.y);
        to[2] = make_uint4(v0.z, v1.z, v2.z, v3.z);
        to[3] = make_uint4(v0.w, v1.w, v2.w, v3.w);
    }
}

/* The first PLAN_BLOCKS blocks make units and counts, the others, any number, x. */
template <bool IS_FAST>
static __global__ void __launch_bounds__(PREPARE_THREADS)
    prepare_kernel(const __grid_constant__ struct wide_args a)
{
    __shared__ struct prepared s;
    const int first = blockIdx.x * PREPARE_THREADS + threadIdx.x;
    const int step = PLAN_BLOCKS * PREPARE_THREADS;
    int n, n_units;

    grid_release();
    grid_wait();
    if (first >= step) {
        place_x(a, first - step, gridDim.x * PREPARE_THREADS - step);
        return;
    }
    n = __ldcg(a.moe.list.n_active);
    order_experts<IS_FAST>(a, &s, n);
    n_units = s.first[n] * (n_groups(a.gate_up) + n_groups(a.down));
    for (int i = first; i < n_units; i += step) {
        const struct unit u = make_unit(a, &s, n, i);

        a.plan.units[i] = make_int4(u.expert, u.pair, u.pairs_group, u.chunk);
    }
    for (int i = first; i < s.first[n] + 2; i += step)
        a.plan.counts[i] = i == 1 ? (uint32_t)n_units : 0;
}

static size_t aligned(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

/* Lay the plan out; returns its bytes. */
static size_t place_plan(char *mem, int n_tok, int top_k, const struct moe_weights *w,
                         struct plan *ret)
{
    const struct moe_product gate_up = moe_product(NULL, pack_pair_rows(w->d_ff), w->d_model, NULL);
    const struct moe_product down = moe_product(NULL, w->d_model, w->d_ff, NULL);
    const size_t chunks = (size_t)n_tok * (size_t)top_k / max_pairs<false>() + (size_t)w->n_exp;
    const size_t counts = aligned((chunks + 2) * sizeof(uint32_t));
    const size_t units =
        aligned(chunks * (size_t)(n_groups(gate_up) + n_groups(down)) * sizeof(int4));

    ret->counts = (uint32_t *)mem;
    ret->units = (int4 *)(mem + counts);
    ret->x = (uint16_t *)(mem + counts + units);
    return counts + units + aligned((size_t)n_tok * (size_t)pack_row_elems(w->d_model) * 2);
}

#endif
