/*
 * What a block of attention (attention.cu) has in shared memory, and how queries, keys and values
 * get there.
 *
 * Raw ones, as products give them, are normed and turned on their way, four rows a warp: keys and
 * values of the segment's own positions come from there, not from the cache.
 */
#ifndef KERNELS_CUDA_ATTENTION_CUH
#define KERNELS_CUDA_ATTENTION_CUH

#include <limits.h>
#include <math.h>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/gemm_tile.cuh"
#include "kernels/cuda/heads.cuh"
#include "kernels/cuda/sm90.cuh"

#define N_TILES (ATTN_QUERIES / 16)
#define N_OCTETS (ATTN_KEYS / 8)
#define RAW_TOKENS 64 /* of a segment: two a lane */
#define WARP_ROWS (32 / HEAD_LANES)
#define QUERY_WARPS (ATTN_QUERIES / WARP_ROWS) /* that bring queries */

/* Threads of a block whose warps have m row tiles. */
static __host__ __device__ constexpr int threads_of(int m)
{
    return 32 * N_OCTETS * (N_TILES / m);
}

/* What a block works on; n of its rows. */
struct tile {
    int first, n;               /* pairs of the segment's head: token first / group, ... */
    int row, n_tok, n_kv;       /* the segment's */
    const float *keys, *values; /* the head's first */
};

/* A row of a block: whose token it is, of all rows, which head, and how many keys it sees. */
struct query {
    int token, head, position, limit;
};

template <int D> struct smem {
    static constexpr int k_stride = D + 16, v_stride = D + 4; /* floats: lanes hit all banks */
    float k[ATTN_KEYS][k_stride];
    float v[ATTN_KEYS][v_stride];
    uint4 q[2][N_TILES][D / 16][32];         /* upper and lower parts: query_at() */
    uint4 p[2][N_TILES][ATTN_KEYS / 16][32]; /* the same, fragments */
    float max[ATTN_QUERIES][N_OCTETS], sum[ATTN_QUERIES][N_OCTETS];
    float norm[2][D]; /* of raw queries, and keys; aligned to 16 */
    struct query rows[ATTN_QUERIES];
    struct tile tile;
    uint64_t sent; /* barrier: all spans' results for this block have come */
};

/* A lane's fragment of queries. Its registers 1 and 2 have changed places, so that a row's four
 * elements are in one piece, and lanes of odd steps, so that those who write them hit all banks. */
template <int D>
static __device__ __forceinline__ uint4 *query_at(struct smem<D> *s, int part, int tile, int step,
                                                  int lane)
{
    return &s->q[part][tile][step][lane ^ step % 2 * 4];
}

/* (v0, v1) as upper parts, and what is left of them. */
static __device__ __forceinline__ uint32_t split_bf16(float v0, float v1, uint32_t *ret_lower)
{
    uint32_t upper = pack_bf16(v0, v1);

    *ret_lower =
        pack_bf16(v0 - __uint_as_float(upper << 16), v1 - __uint_as_float(upper & 0xffff0000u));
    return upper;
}

/* A lane's pair first + lane, or the last one. */
static __device__ __forceinline__ struct query find_query(const struct attention_args &a,
                                                          const struct tile &t, int mask_block)
{
    const int group = a.n_head / a.n_kv_head;
    const int pair = t.first + min((int)(threadIdx.x % 32), t.n - 1);
    struct query q = { t.row + pair / group, (int)blockIdx.y * group + pair % group, 0, t.n_kv };

    q.position = a.positions[q.token];
    if (mask_block)
        q.limit = (int)min((int64_t)q.limit, ((int64_t)(q.position / mask_block) + 1) * mask_block);
    return q;
}

/* ---- arithmetic ---------------------------------------------------------------------------- */

/* main + cross += (a_up + a_low) (b_up + b_low) less the product of the lower parts. */
static __device__ __forceinline__ void mma_split(float main[4], float cross[4], const uint4 &a_up,
                                                 const uint4 &a_low, const uint32_t b_up[2],
                                                 const uint32_t b_low[2])
{
    mma_bf16(main, a_up, b_up[0], b_up[1]);
    mma_bf16(cross, a_low, b_up[0], b_up[1]);
    mma_bf16(cross, a_up, b_low[0], b_low[1]);
}

/* A span of which a row sees no key changes nothing of it. */
static __device__ __forceinline__ bool is_seen(float span_m, float span_l)
{
    return span_m != -INFINITY || span_l != 0; /* the latter: NaN */
}

/* What a row of sums so far, and of a span, are multiplied by when they are joined; the row's new
 * largest score and sum. */
static __device__ __forceinline__ void join_row(float *m, float *l, float span_m, float span_l,
                                                float *ret_before, float *ret_span)
{
    const float max = fmaxf(*m, span_m);

    *ret_before = *m == max ? 1 : exp2f(*m - max);
    *ret_span = span_m == max ? 1 : exp2f(span_m - max);
    *l = __fmaf_rn(span_l, *ret_span, __fmul_rn(*l, *ret_before));
    *m = max;
}

static __device__ __forceinline__ float join_value(float o, float span, float before, float now)
{
    return __fmaf_rn(span, now, __fmul_rn(o, before));
}

/* An output, of the sum of p. */
static __device__ __forceinline__ float attention_value(float o, float l)
{
    return l == 0 ? 0 : __fdiv_rn(o, l); /* no key: 0; a NaN stays one */
}

/* Two neighbouring outputs of a query, from col on. */
static __device__ __forceinline__ void put_pair(const struct attention_args &a,
                                                const struct query &q, int col, float v0, float v1)
{
    if (a.y) {
        float *y = a.y + ((size_t)q.token * a.n_head + q.head) * a.d_head + col;

        if (col < a.d_head)
            y[0] = v0;
        if (col + 1 < a.d_head)
            y[1] = v1;
    }
    if (a.y_bf16) {
        uint16_t *y = a.y_bf16 + (size_t)q.token * a.ld + q.head * a.d_head + col;
        uint32_t pair = pack_bf16(v0, v1);

        if (a.d_head % 2 == 0) {
            if (col < a.d_head)
                *(uint32_t *)y = pair;
        } else {
            if (col < a.d_head)
                y[0] = (uint16_t)pair;
            if (col + 1 < a.d_head)
                y[1] = (uint16_t)(pair >> 16);
        }
    }
    if (a.y_tiled && col < a.d_head)
        *tile_pair(a.y_tiled, tile_octets(a.n_tok), q.token, q.head * a.d_head + col) =
            pack_bf16(v0, v1);
}

/* ---- keys and values ---------------------------------------------------------------------- */

/* Positions of a segment's tokens lane and lane + 32; beyond them INT_MAX. */
struct own_positions {
    int at[RAW_TOKENS / 32];
};

/* Tokens [first, first + n) are at those of a span's keys that have a bit in mask. */
struct own_keys {
    int first, n;
    uint32_t mask[ATTN_KEYS / 32];
};

static __device__ __forceinline__ struct own_positions
read_positions(const struct attention_args &a, const struct tile &t)
{
    const int lane = threadIdx.x % 32;
    struct own_positions ret;

#pragma unroll
    for (int i = 0; i < RAW_TOKENS / 32; i++)
        ret.at[i] = lane + 32 * i < t.n_tok ? a.positions[t.row + lane + 32 * i] : INT_MAX;
    return ret;
}

static __device__ __forceinline__ int position_of(const struct own_positions &p, int token)
{
    const int low = __shfl_sync(~0u, p.at[0], token % 32);
    const int high = __shfl_sync(~0u, p.at[1], token % 32);

    return token < 32 ? low : high;
}

static __device__ __forceinline__ int count_below(const struct own_positions &p, int position)
{
    return __popc(__ballot_sync(~0u, p.at[0] < position)) +
           __popc(__ballot_sync(~0u, p.at[1] < position));
}

/* Which of keys [key, key + n) are the segment's own? */
static __device__ __forceinline__ struct own_keys find_own(const struct own_positions &p, int key,
                                                           int n)
{
    struct own_keys ret;

    ret.first = count_below(p, key);
    ret.n = count_below(p, key + n) - ret.first;
#pragma unroll
    for (int i = 0; i < ATTN_KEYS / 32; i++) {
        uint32_t bits = 0;

#pragma unroll
        for (int j = 0; j < RAW_TOKENS / 32; j++)
            if (p.at[j] >= key && p.at[j] < key + n && (p.at[j] - key) / 32 == i)
                bits |= 1u << (p.at[j] - key) % 32;
        ret.mask[i] = __reduce_or_sync(~0u, bits);
    }
    return ret;
}

static __device__ __forceinline__ bool is_own(const struct own_keys &own, int key)
{
    return (key < 32 ? own.mask[0] : own.mask[1]) >> key % 32 & 1;
}

/* Ask for keys [key, key + ATTN_KEYS) of the head and their values, but for own ones; zeros where
 * there are none. By all threads, who have used up the span before; async_wait() and a barrier
 * before they are read. (Bulk copies of 512 bytes take too long each.) */
template <int D, int M>
static __device__ __forceinline__ void span_fetch(const struct attention_args &a,
                                                  const struct tile &t, int key, int n,
                                                  const struct own_keys &own, struct smem<D> *s)
{
    const size_t stride = (size_t)a.n_kv_head * a.d_head, from = (size_t)key * stride;

    if (a.d_head % 4 == 0) {
        const int first = threadIdx.x / (D / 4), col = threadIdx.x % (D / 4) * 4;

#pragma unroll 4
        for (int row = first; row < ATTN_KEYS; row += threads_of(M) / (D / 4)) {
            const bool is_there = row < n && col < a.d_head;
            const size_t at = is_there ? from + (size_t)row * stride + col : 0;

            if (is_own(own, row))
                continue;
            async_copy16(&s->k[row][col], t.keys + at, is_there);
            async_copy16(&s->v[row][col], t.values + at, is_there);
        }
        async_commit();
        return;
    }
    for (int i = threadIdx.x; i < ATTN_KEYS * D; i += threads_of(M)) {
        const int row = i / D, col = i % D;
        const bool is_there = row < n && col < a.d_head;
        const size_t at = from + (size_t)row * stride + col;

        s->k[row][col] = is_there ? t.keys[at] : 0;
        s->v[row][col] = is_there ? t.values[at] : 0;
    }
}

/* Own keys and values of the span, which nobody changes meanwhile, to the cache. */
template <int D, int M>
static __device__ __forceinline__ void
store_own(const struct attention_args &a, const struct tile &t, int key, const struct own_keys &own,
          const struct smem<D> *s)
{
    const int col = threadIdx.x % (D / 4) * 4;

    if (col >= a.d_head)
        return;
#pragma unroll 1
    for (int row = threadIdx.x / (D / 4); row < ATTN_KEYS; row += threads_of(M) / (D / 4)) {
        const size_t at = (size_t)(key + row) * a.n_kv_head * a.d_head + col;

        if (!is_own(own, row))
            continue;
        /* caches are made of writable memory */
        *(float4 *)(t.keys + at) = *(const float4 *)&s->k[row][col];
        *(float4 *)(t.values + at) = *(const float4 *)&s->v[row][col];
    }
}

/* ---- rows: queries, and raw keys ----------------------------------------------------------- */

template <int D> static constexpr int quads_of = D / HEAD_STEP;

/* Where the lane's quad j of a row begins. */
static __device__ __forceinline__ int quad_col(int j)
{
    return threadIdx.x % HEAD_LANES * 4 + j * HEAD_STEP;
}

/* Norm a row by w in shared memory. */
template <int D>
static __device__ __forceinline__ void norm_row(float4 (&v)[quads_of<D>], const float *w,
                                                double inverse_d, float eps)
{
    const float factor = head_factor(v, inverse_d, eps);

    __syncwarp(); /* w is not read before, which would take registers */
#pragma unroll
    for (int j = 0; j < quads_of<D>; j++)
        v[j] = head_norm_quad(v[j], factor, *(const float4 *)(w + quad_col(j)));
}

/* Four rows that a warp brings, the lane's being one of them: a query's, or one of an own key. */
struct row_job {
    bool is_there;
    int row; /* of queries, or of the span's keys; such keys as no query sees: -1 */
    int position;
    size_t from; /* element of a.q, or of raw.key and raw.value */
};

/* Of queries a warp has rows of g and of g + 8, and both that follow. */
static __device__ __forceinline__ int query_row(int warp)
{
    const int i = threadIdx.x % 32 / HEAD_LANES;

    return warp / 4 * 16 + warp % 4 * 2 + i / 2 + i % 2 * 8;
}

template <int D>
static __device__ __forceinline__ struct row_job
query_job(const struct attention_args &a, const struct tile &t, const struct smem<D> *s, int warp)
{
    const int row = query_row(warp);
    const struct query q = s->rows[row];

    return { row < t.n, row, q.position, ((size_t)q.token * a.n_head + q.head) * a.d_head };
}

/* Own keys 4 i .. of the span; behind them, tokens from `unseen` on. */
static __device__ __forceinline__ struct row_job
key_job(const struct attention_args &a, const struct tile &t, const struct own_positions &p,
        const struct own_keys &own, int unseen, int key, int i)
{
    const int at = i * WARP_ROWS + threadIdx.x % 32 / HEAD_LANES;
    const int token = at < own.n ? own.first + at : unseen + at - own.n;
    const int position = position_of(p, token);
    const bool is_there = token < t.n_tok;

    return { is_there, at < own.n ? position - key : -1, is_there ? position : 0,
             ((size_t)(t.row + token) * a.n_kv_head + blockIdx.y) * a.d_head };
}

/* A row of queries, times log2(e) / sqrt(d_head), to its fragments; a lane of these has four
 * columns in a row of each 16, as of the keys. */
template <int D>
static __device__ __forceinline__ void put_queries(struct smem<D> *s, int row, float scale,
                                                   const float4 (&v)[quads_of<D>])
{
#pragma unroll
    for (int j = 0; j < quads_of<D>; j++) {
        const int quad = threadIdx.x % HEAD_LANES + j * HEAD_LANES;
        const int step = quad / 4, lane = row % 8 * 4 + quad % 4;
        uint2 up, low;

        up.x = split_bf16(v[j].x * scale, v[j].y * scale, &low.x);
        up.y = split_bf16(v[j].z * scale, v[j].w * scale, &low.y);
        ((uint2 *)query_at(s, 0, row / 16, step, lane))[row / 8 % 2] = up;
        ((uint2 *)query_at(s, 1, row / 16, step, lane))[row / 8 % 2] = low;
    }
}

/* An own key to the span, or what nobody sees to the cache. */
template <int D>
static __device__ __forceinline__ void put_key(const struct attention_args &a, const struct tile &t,
                                               const struct row_job &job, struct smem<D> *s,
                                               const float4 (&v)[quads_of<D>])
{
    const size_t to = (size_t)job.position * a.n_kv_head * a.d_head;

#pragma unroll
    for (int j = 0; j < quads_of<D>; j++) {
        const int col = quad_col(j);

        if (job.is_there && job.row >= 0) {
            *(float4 *)&s->k[job.row][col] = v[j];
        } else if (job.is_there && col < a.d_head) {
            *(float4 *)(t.keys + to + col) = v[j];
            *(float4 *)(t.values + to + col) = head_read(a.raw.value + job.from, col, a.d_head);
        }
    }
}

/* Ask for the value of an own key. */
template <int D>
static __device__ __forceinline__ void fetch_value(const struct attention_args &a,
                                                   const struct row_job &job, struct smem<D> *s)
{
#pragma unroll
    for (int j = 0; j < quads_of<D>; j++) {
        const int col = quad_col(j);

        if (job.is_there && job.row >= 0)
            async_copy16(&s->v[job.row][col], a.raw.value + job.from + (col < a.d_head ? col : 0),
                         col < a.d_head);
    }
    async_commit();
}

#endif
