/*
 * Experts for few tokens: one kernel in which each block owns 16 rows ("a slice") of every active
 * expert's matrices, so that each reads its share of the weights as one unbroken stream.
 *
 *      block c:   gate/up slice c of expert 0, 1, 2 ... then   down slice c of expert 0, 1, 2 ...
 *                 -> 8 columns of h, to global memory              -> 16 columns of y, kept here
 *
 * A down slice needs the whole h of its expert, from all blocks: they count themselves in
 * work.ready of it. As all first products come before all second ones, that count is full long
 * before it is asked for, and no block stands still in between; nor does the weights' stream, which
 * runs ahead through the ring. Where gate/up has fewer slices than there are blocks, its experts
 * are dealt to groups of blocks. Since a block sums all experts of its columns, in ascending order,
 * nothing is left to combine.
 *
 * Warps. One fetches: a stage of the ring is one stretch of a slice (16 rows by 256 columns, 8 KB).
 * Up to eight multiply: stage i is warp i % n_multiply's, for all of the expert's pairs, and so is
 * its place in the ring: who waits there has seen every turn of it. The stretches' sums go
 * through shared memory to the last warp, which adds them in order and makes h, or adds to y. x
 * lies in shared memory as a whole; h is read from the second-level cache.
 *
 * All blocks wait for each other, so all must be resident: at most one an SM.
 */
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/moe.cuh"

#define MAX_MULTIPLY 8
#define SUM_WARP 8
#define FETCH_WARP 9
#define THREADS 320
#define MAX_TOKENS MOE_SLICE_TOKENS
#define MAX_PAIRS 256
#define MAX_ACTIVE 256
#define MAX_STRETCHES 8 /* of a slice */
#define MAX_STAGES 24
#define MIN_STAGES 4
#define N_PARTS 2   /* experts whose stretches' sums are under way */
#define Y_STRIDE 20 /* floats of a token's 16 columns: spreads the tokens over the banks */
#define X_PAD 64    /* bytes: rows that follow each other start in different halves of the banks */

struct slices_args {
    struct moe_args moe;
    int n_multiply, n_stages;         /* n_stages: a multiple of n_multiply */
    int x_bytes;                      /* of a row in shared memory */
    int n_octets;                     /* the most that an expert may have */
    size_t gate_up_bytes, down_bytes; /* of an expert */
    int gate_up_stretches, down_stretches;
    int gate_up_slices; /* <= grid */
    int h_row;
};

/* Shared memory beside the ring, the stretches' sums and x, which follow it. */
struct slices_shared {
    uint64_t full[MAX_STAGES], empty[MAX_STAGES];
    uint64_t part_full[N_PARTS];
    uint64_t x_full;
    uint32_t n_summed; /* items whose stretches' sums were taken */
    int n_active;
    int experts[MAX_ACTIVE];
    int offsets[MAX_ACTIVE + 1];
    int tokens[MAX_PAIRS];
    float weights[MAX_PAIRS];
    float y[MAX_TOKENS * Y_STRIDE];
};

#define SHARED_HEAD ((sizeof(struct slices_shared) + 127) / 128 * 128)

/* Where a block's work lies. */
struct slices_place {
    char *ring;
    float4 *parts; /* (N_PARTS, MAX_STRETCHES, n_octets, 32) sums of a stretch, of each lane */
    char *x;       /* (n_tok) rows */
    int slice;     /* of down */
    int gate_up_slice, first, step; /* of gate/up, for experts first, first + step, ... */
    int n_first;                    /* how many those are */
};

static size_t part_bytes(int n_octets)
{
    return (size_t)N_PARTS * MAX_STRETCHES * n_octets * 32 * sizeof(float4);
}

static __device__ __forceinline__ uint32_t load_acquire(const uint32_t *p)
{
    uint32_t ret;

    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(ret) : "l"(p) : "memory");
    return ret;
}

/* Item's stretches' sums may be written: those that lay there were taken. */
static __device__ __forceinline__ void wait_for_part(const struct slices_shared *s, int item)
{
    uint32_t n_summed;

    do {
        asm volatile("ld.acquire.cta.shared::cta.u32 %0, [%1];"
                     : "=r"(n_summed)
                     : "r"(shared_addr(&s->n_summed))
                     : "memory");
    } while ((int)n_summed <= item - N_PARTS);
}

static __device__ __forceinline__ void tell_summed(struct slices_shared *s, int n)
{
    asm volatile("st.release.cta.shared::cta.u32 [%0], %1;" ::"r"(shared_addr(&s->n_summed)), "r"(n)
                 : "memory");
}

static __device__ __forceinline__ void add_release(uint32_t *p, uint32_t v)
{
    asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
}

static __device__ void fetch(const struct slices_args &a, struct slices_shared *s,
                             const struct slices_place &p)
{
    const int lane = threadIdx.x % 32, n_active = s->n_active;
    const int n_gate_up = p.n_first * a.gate_up_stretches;
    const int n_stages = n_gate_up + n_active * a.down_stretches;
    const uint64_t once = policy_evict_first(), often = policy_evict_normal();

    for (int i = 0; i < n_stages; i++) {
        const int slot = i % a.n_stages;

        if (n_gate_up && i == min(a.n_stages, n_stages - 1)) {
            /* the ring is full, and x comes next: the first weights are under way by now */
            for (int t = lane; t < a.moe.n_tok; t += 32)
                bulk_copy(p.x + t * a.x_bytes, a.moe.x + (size_t)t * a.gate_up_stretches * PACK_K,
                          a.gate_up_stretches * PACK_K * 2, &s->x_full, often);
        }
        if (lane == 0) {
            const char *w;

            if (i < n_gate_up) {
                const int e = s->experts[p.first + i / a.gate_up_stretches * p.step];

                w = (const char *)a.moe.weights.gate_up + e * a.gate_up_bytes +
                    (size_t)(p.gate_up_slice / 4 * a.gate_up_stretches + i % a.gate_up_stretches) *
                        PACK_TILE_BYTES +
                    p.gate_up_slice % 4 * PACK_SLICE_BYTES;
            } else {
                const int j = i - n_gate_up, e = s->experts[j / a.down_stretches];

                w = (const char *)a.moe.weights.down + e * a.down_bytes +
                    (size_t)(p.slice / 4 * a.down_stretches + j % a.down_stretches) *
                        PACK_TILE_BYTES +
                    p.slice % 4 * PACK_SLICE_BYTES;
            }
            barrier_wait(&s->empty[slot], (i / a.n_stages & 1) ^ 1);
            barrier_expect(&s->full[slot], PACK_SLICE_BYTES);
            bulk_copy(p.ring + slot * PACK_SLICE_BYTES, w, PACK_SLICE_BYTES, &s->full[slot], once);
        }
        __syncwarp();
    }
}

/* What lane (g, t) holds of a stretch for octets o, o + 1 .. o + N - 1 of an expert. */
template <int N, bool IS_GATE_UP>
static __device__ __forceinline__ void
load_columns(const struct slices_args &a, const struct slices_shared *s,
             const struct slices_place &p, int pair, int end, int stretch, uint4 b[N][8])
{
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;

#pragma unroll
    for (int n = 0; n < N; n++) {
        const int at = pair + n * 8 + g;
        const bool is_there = at < end;
        const uint4 *from;

        if (IS_GATE_UP)
            from = (const uint4 *)(p.x + (is_there ? s->tokens[at] : 0) * a.x_bytes +
                                   stretch * PACK_K * 2) +
                   t;
        else
            from = (const uint4 *)(a.moe.work.h + (size_t)at * a.h_row + stretch * PACK_K) + t;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            if (IS_GATE_UP)
                b[n][i] = from[i * 4];
            else
                b[n][i] = is_there ? __ldcg(from + i * 4) : make_uint4(0, 0, 0, 0);
        }
    }
}

template <int N>
static __device__ __forceinline__ void multiply(const uint4 *w, const uint4 b[N][8], float4 *part)
{
    float c[N][4] = {};

#ifndef MOE_ABLATE
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const uint4 a0 = w[i * 64], a1 = w[i * 64 + 32];

#pragma unroll
        for (int n = 0; n < N; n++) {
            mma_bf16(c[n], a0, b[n][i].x, b[n][i].y);
            mma_bf16(c[n], a1, b[n][i].z, b[n][i].w);
        }
    }
#endif
#pragma unroll
    for (int n = 0; n < N; n++)
        part[n * 32] = make_float4(c[n][0], c[n][1], c[n][2], c[n][3]);
}

/* One stage: a stretch of a slice, for the pairs [pair, end) of its expert. */
template <bool IS_GATE_UP>
static __device__ __forceinline__ void
multiply_stage(const struct slices_args &a, struct slices_shared *s, const struct slices_place &p,
               int i, int item, int pair, int end, int stretch)
{
    const int lane = threadIdx.x % 32, slot = i % a.n_stages, buf = item % N_PARTS;
    const uint4 *w = (const uint4 *)(p.ring + slot * PACK_SLICE_BYTES) + lane;
    float4 *part = p.parts + (buf * MAX_STRETCHES + stretch) * a.n_octets * 32 + lane;
    bool is_waiting = true;

    for (; pair < end; pair += 16, part += 64) {
        if (pair + 8 < end) {
            uint4 b[2][8];

            load_columns<2, IS_GATE_UP>(a, s, p, pair, end, stretch, b);
            if (is_waiting) {
                wait_for_part(s, item);
                barrier_wait(&s->full[slot], i / a.n_stages & 1);
            }
            multiply<2>(w, b, part);
        } else {
            uint4 b[1][8];

            load_columns<1, IS_GATE_UP>(a, s, p, pair, end, stretch, b);
            if (is_waiting) {
                wait_for_part(s, item);
                barrier_wait(&s->full[slot], i / a.n_stages & 1);
            }
            multiply<1>(w, b, part);
        }
        is_waiting = false;
    }
    __syncwarp();
    if (lane == 0) {
        const int n_stretches = IS_GATE_UP ? a.gate_up_stretches : a.down_stretches;

        barrier_arrive(&s->empty[slot]);
        /* the last stretch arrives for those that the slice does not have, too */
        barrier_arrive(&s->part_full[buf],
                       stretch == n_stretches - 1 ? MAX_STRETCHES - n_stretches + 1 : 1);
    }
}

static __device__ void multiply_all(const struct slices_args &a, struct slices_shared *s,
                                    const struct slices_place &p)
{
    const int n_gate_up = p.n_first * a.gate_up_stretches;
    const int n_stages = n_gate_up + s->n_active * a.down_stretches;
    int i = threadIdx.x / 32;

    if (i < n_gate_up)
        barrier_wait(&s->x_full, 0);
    for (; i < n_gate_up; i += a.n_multiply) {
        const int item = i / a.gate_up_stretches, e = p.first + item * p.step;

        multiply_stage<true>(a, s, p, i, item, s->offsets[e], s->offsets[e + 1],
                             i % a.gate_up_stretches);
    }
    for (; i < n_stages; i += a.n_multiply) {
        const int e = (i - n_gate_up) / a.down_stretches;

        while (load_acquire(a.moe.work.ready + e) < (uint32_t)a.gate_up_slices) {
        }
        multiply_stage<false>(a, s, p, i, p.n_first + e, s->offsets[e], s->offsets[e + 1],
                              (i - n_gate_up) % a.down_stretches);
    }
}

/* The sum over n stretches of one octet: gate or row g (x, y: pairs 2 t and 2 t + 1), up or row
 * g + 8 (z, w). */
static __device__ __forceinline__ float4 sum_parts(const float4 *part, int n, int stride)
{
    float4 sum = part[0];

#pragma unroll 4
    for (int i = 1; i < n; i++) {
        const float4 v = part[i * stride];

        sum.x += v.x;
        sum.y += v.y;
        sum.z += v.z;
        sum.w += v.w;
    }
    return sum;
}

static __device__ void sum_all(const struct slices_args &a, struct slices_shared *s,
                               const struct slices_place &p)
{
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, stride = a.n_octets * 32;
    const int d_model = a.moe.weights.d_model;
    int item = 0;

    for (int i = lane; i < a.moe.n_tok * Y_STRIDE; i += 32)
        s->y[i] = 0;
    for (; item < p.n_first; item++) {
        const int e = p.first + item * p.step, end = s->offsets[e + 1], buf = item % N_PARTS;
        const float4 *part = p.parts + buf * MAX_STRETCHES * stride + lane;

        barrier_wait(&s->part_full[buf], item / N_PARTS & 1);
        for (int pair = s->offsets[e]; pair < end; pair += 8, part += 32) {
            const float4 c = sum_parts(part, a.gate_up_stretches, stride);
            uint16_t *h = a.moe.work.h + (size_t)(pair + 2 * t) * a.h_row + p.gate_up_slice * 8 + g;

            if (pair + 2 * t < end)
                h[0] = swiglu(c.x, c.z);
            if (pair + 2 * t + 1 < end)
                h[a.h_row] = swiglu(c.y, c.w);
        }
        __syncwarp();
        if (lane == 0) {
            tell_summed(s, item + 1);
            __threadfence();
            add_release(a.moe.work.ready + e, 1);
        }
    }
    for (int e = 0; e < s->n_active; e++, item++) {
        const int end = s->offsets[e + 1], buf = item % N_PARTS;
        const float4 *part = p.parts + buf * MAX_STRETCHES * stride + lane;

        barrier_wait(&s->part_full[buf], item / N_PARTS & 1);
        for (int pair = s->offsets[e]; pair < end; pair += 8, part += 32) {
            const float4 c = sum_parts(part, a.down_stretches, stride);

#pragma unroll
            for (int i = 0; i < 2; i++) {
                const int at = pair + 2 * t + i;

                if (at < end) {
                    float *y = s->y + s->tokens[at] * Y_STRIDE + g;
                    const float weight = s->weights[at];

                    y[0] = fmaf(weight, i ? c.y : c.x, y[0]);
                    y[8] = fmaf(weight, i ? c.w : c.z, y[8]);
                }
            }
        }
        __syncwarp(); /* the next expert's pairs are other lanes' */
        if (lane == 0)
            tell_summed(s, item + 1);
    }
    __syncwarp();
    for (int i = lane; i < a.moe.n_tok * 16; i += 32) {
        const size_t at = (size_t)(i / 16) * d_model + p.slice * 16 + i % 16;
        const float sum = s->y[i / 16 * Y_STRIDE + i % 16];

        a.moe.y[at] = a.moe.residual ? a.moe.residual[at] + sum : sum;
    }
}

/* The last block to come here has seen all others pass every count: they are for the next launch.
 */
static __device__ void reset_counts(const struct slices_args &a)
{
    uint32_t *n_done = a.moe.work.ready + a.moe.weights.n_exp;
    const int lane = threadIdx.x % 32;
    uint32_t n = 0;

    __syncthreads();
    if (threadIdx.x / 32)
        return;
    if (lane == 0) {
        n = atomicAdd(n_done, 1);
    }
    if (__shfl_sync(~0u, n, 0) != gridDim.x - 1)
        return;
    for (int i = lane; i <= a.moe.weights.n_exp; i += 32)
        a.moe.work.ready[i] = 0;
}

/*
 * Grid: a block for each 16 columns of y, all resident. Sums in f32.
 * Dynamic shared memory: struct slices_shared, the ring, the stretches' sums, x.
 */
static __global__ void __launch_bounds__(THREADS, 1)
    slices_kernel(const __grid_constant__ struct slices_args a)
{
    extern __shared__ __align__(128) char shared[];
    struct slices_shared *s = (struct slices_shared *)shared;
    const int warp = threadIdx.x / 32, n_pairs = a.moe.n_tok * a.moe.top_k;
    struct slices_place p;

    grid_release();
    p.ring = shared + SHARED_HEAD;
    p.parts = (float4 *)(p.ring + a.n_stages * PACK_SLICE_BYTES);
    p.x = (char *)(p.parts + N_PARTS * MAX_STRETCHES * a.n_octets * 32);
    if (threadIdx.x == 0) {
        for (int i = 0; i < a.n_stages; i++) {
            barrier_init(&s->full[i], 1);
            barrier_init(&s->empty[i], 1);
        }
        for (int i = 0; i < N_PARTS; i++) {
            barrier_init(&s->part_full[i], MAX_STRETCHES);
        }
        s->n_summed = 0;
        barrier_init(&s->x_full, 1);
        barrier_init_fence();
        barrier_expect(&s->x_full, a.moe.n_tok * a.gate_up_stretches * PACK_K * 2);
    }
    grid_wait();
    if (threadIdx.x == 0)
        s->n_active = __ldcg(a.moe.list.n_active);
    for (int i = threadIdx.x; i < a.moe.weights.n_exp && i < MAX_ACTIVE; i += THREADS) {
        s->experts[i] = __ldcg(a.moe.list.experts + i);
        s->offsets[i] = __ldcg(a.moe.list.offsets + i);
    }
    if (threadIdx.x == 0)
        s->offsets[a.moe.weights.n_exp] = __ldcg(a.moe.list.offsets + a.moe.weights.n_exp);
    for (int i = threadIdx.x; i < n_pairs; i += THREADS) {
        s->tokens[i] = __ldcg(a.moe.list.tokens + i);
        s->weights[i] = __ldcg(a.moe.list.weights + i);
    }
    __syncthreads();
    p.slice = blockIdx.x;
    p.step = gridDim.x / a.gate_up_slices;
    p.first = blockIdx.x / a.gate_up_slices;
    p.gate_up_slice = blockIdx.x % a.gate_up_slices;
    p.n_first = p.first < p.step && p.first < s->n_active
                    ? (s->n_active - p.first + p.step - 1) / p.step
                    : 0;
    if (warp == FETCH_WARP)
        fetch(a, s, p);
    else if (warp == SUM_WARP)
        sum_all(a, s, p);
    else if (warp < a.n_multiply)
        multiply_all(a, s, p);
    reset_counts(a);
}

/* Stages of the ring that shared memory has room for. */
static int count_stages(const struct moe_args *a, size_t max_shared)
{
    const size_t x = (size_t)a->n_tok * (pack_row_elems(a->weights.d_model) * 2 + X_PAD);
    const size_t rest = SHARED_HEAD + part_bytes((a->n_tok + 7) / 8) + x;

    if (rest >= max_shared)
        return 0;
    return (int)((max_shared - rest) / PACK_SLICE_BYTES);
}

static cudaError_t max_shared(int *ret)
{
    int device = 0;
    cudaError_t rc = cudaGetDevice(&device);

    return rc ? rc : cudaDeviceGetAttribute(ret, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
}

bool moe_slices_fit(const struct moe_args *a, int n_sm)
{
    const struct moe_weights *w = &a->weights;
    int bytes = 0;

    return a->n_tok <= MAX_TOKENS && a->n_tok * a->top_k <= MAX_PAIRS && w->n_exp <= MAX_ACTIVE &&
           w->d_model % PACK_SLICE_ROWS == 0 && w->d_model / PACK_SLICE_ROWS <= n_sm &&
           pack_pair_rows(w->d_ff) <= w->d_model && pack_k_tiles(w->d_model) <= MAX_STRETCHES &&
           pack_k_tiles(w->d_ff) <= MAX_STRETCHES && !max_shared(&bytes) &&
           count_stages(a, (size_t)bytes) >= MIN_STAGES;
}

cudaError_t moe_slices_launch(const struct moe_args *a, bool is_early, cudaStream_t stream)
{
    const struct moe_weights *w = &a->weights;
    struct slices_args args = {};
    size_t shared;
    int bytes = 0;
    cudaError_t rc = max_shared(&bytes);

    args.moe = *a;
    args.n_stages = count_stages(a, (size_t)bytes);
    args.n_multiply = args.n_stages < MAX_MULTIPLY ? args.n_stages : MAX_MULTIPLY;
    args.n_stages -= args.n_stages % args.n_multiply;
    if (args.n_stages > MAX_STAGES)
        args.n_stages = MAX_STAGES;
    args.gate_up_stretches = (int)pack_k_tiles(w->d_model);
    args.down_stretches = (int)pack_k_tiles(w->d_ff);
    args.x_bytes = args.gate_up_stretches * PACK_K * 2 + X_PAD;
    args.n_octets = (a->n_tok + 7) / 8;
    args.gate_up_bytes = moe_gate_up_bytes(*w);
    args.down_bytes = moe_down_bytes(*w);
    args.gate_up_slices = (int)(pack_pair_rows(w->d_ff) / PACK_SLICE_ROWS);
    args.h_row = (int)pack_row_elems(w->d_ff);
    shared = SHARED_HEAD + args.n_stages * (size_t)PACK_SLICE_BYTES + part_bytes(args.n_octets) +
             (size_t)a->n_tok * args.x_bytes;
    if (!rc)
        rc = allow_shared(slices_kernel, shared);
    return rc ? rc
              : launch_kernel(slices_kernel, dim3((unsigned)(w->d_model / PACK_SLICE_ROWS)),
                              THREADS, shared, is_early, stream, args);
}
