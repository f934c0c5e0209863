/*
 * Attention: attention.h.
 *
 * A block of 8 warps takes one key/value head and up to ATTN_QUERIES of the queries that use it:
 * (token, query head) pairs of consecutive tokens. For a span of keys
 *
 *     scores   warp w: all queries by keys 8 w .. 8 w + 7, from fragments of q in shared memory
 *     softmax  each row's largest score over the warps, p = 2^(s - largest), sums in warp order
 *     output   warp w: all queries by columns D/8 w .. of the values, p as fragments
 *
 * and joined with the spans before: m' = max(m, m_s), l' = l 2^(m - m') + l_s 2^(m_s - m'), the
 * output like l (Milakov and Gimelshein, arXiv:1805.02867). Scores are in units of log 2.
 *
 * Where there are too few (tile, head) pairs for the machine, a cluster of up to 8 blocks takes
 * one: its spans go round, what they give is sent to the blocks by rows, and then each block joins
 * all spans, in order, for its share of the rows. Spans without a position of the segment's own are
 * fetched before the kernel waits for the one that writes those.
 */
#include "kernels/cuda/attention.h"

#include "kernels/cuda/cluster.cuh"
#include "kernels/cuda/gemm_tile.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sm90.cuh"

#define THREADS 256
#define N_WARPS 8
#define N_M (ATTN_QUERIES / 16)
#define MAX_CLUSTER 8

template <int D> struct smem {
    static constexpr int k_stride = D + 16, v_stride = D + 4; /* floats: lanes hit all banks */
    float k[ATTN_KEYS][k_stride];
    float v[ATTN_KEYS][v_stride];
    uint4 q[2][N_M][D / 16][32];         /* upper and lower parts, fragments */
    uint4 p[2][N_M][ATTN_KEYS / 16][32]; /* the same */
    float max[N_WARPS][ATTN_QUERIES], sum[N_WARPS][ATTN_QUERIES];
    uint64_t row[ATTN_QUERIES]; /* of a query: (token, head) in q and y */
    int limit[ATTN_QUERIES];    /* keys that it sees */
    int end;                    /* keys that any sees */
};

/* (v0, v1) as upper parts, and what is left of them. */
static __device__ __forceinline__ uint32_t split_bf16(float v0, float v1, uint32_t *ret_lower)
{
    uint32_t upper = pack_bf16(v0, v1);

    *ret_lower =
        pack_bf16(v0 - __uint_as_float(upper << 16), v1 - __uint_as_float(upper & 0xffff0000u));
    return upper;
}

/* main + cross += (a_up + a_low) (b_up + b_low) less the product of the lower parts. */
static __device__ __forceinline__ void mma_split(float main[4], float cross[4], const uint4 &a_up,
                                                 const uint4 &a_low, const uint32_t b_up[2],
                                                 const uint32_t b_low[2])
{
    mma_bf16(main, a_up, b_up[0], b_up[1]);
    mma_bf16(cross, a_low, b_up[0], b_up[1]);
    mma_bf16(cross, a_up, b_low[0], b_low[1]);
}

/*
 * What the spans of a cluster give of n_rows rows, one block's share, behind everything else: of
 * each span the rows' outputs, not yet divided, D + 8 apart so that lanes that store fragments hit
 * all banks; then their largest scores; then their sums.
 */
template <int D> static __host__ __device__ constexpr int kept_floats(int n_rows)
{
    return n_rows * (D + 8 + 2);
}

struct tile {
    struct attn_segment seg;
    int first, n; /* pairs of the segment's head: token first / group, ... */
    int kv_head;
    size_t keys; /* element of the head's first key, or value */
};

/* Ask for keys [key, key + ATTN_KEYS) of the head and their values; zeros where there are none. By
 * all threads, who have used up the span before; async_wait() and a barrier before they are read.
 * (Bulk copies of 512 bytes take too long each.) */
template <int D>
static __device__ __forceinline__ void span_fetch(const struct attention_args &a,
                                                  const struct tile &t, int key, struct smem<D> *s)
{
    const size_t stride = (size_t)a.n_kv_head * a.d_head;
    const size_t from = t.keys + (size_t)key * stride;
    const int n = max(0, min(ATTN_KEYS, t.seg.n_kv - key));

    if (a.d_head % 4 == 0) {
#pragma unroll 4
        for (int i = threadIdx.x; i < ATTN_KEYS * D / 4; i += THREADS) {
            const int row = i / (D / 4), col = i % (D / 4) * 4;
            const bool is_there = row < n && col < a.d_head;
            const size_t at = is_there ? from + (size_t)row * stride + col : 0;

            async_copy16(&s->k[row][col], t.seg.keys + at, is_there);
            async_copy16(&s->v[row][col], t.seg.values + at, is_there);
        }
        async_commit();
        return;
    }
    for (int i = threadIdx.x; i < ATTN_KEYS * D; i += THREADS) {
        const int row = i / D, col = i % D;
        const bool is_there = row < n && col < a.d_head;
        const size_t at = from + (size_t)row * stride + col;

        s->k[row][col] = is_there ? t.seg.keys[at] : 0;
        s->v[row][col] = is_there ? t.seg.values[at] : 0;
    }
}

/* The queries, times log2(e) / sqrt(d_head), as fragments; a lane has four columns in a row of each
 * 16, as of the keys. */
template <int D>
static __device__ __forceinline__ void load_queries(const struct attention_args &a,
                                                    const struct tile &t, struct smem<D> *s)
{
    const float scale = (float)(1.4426950408889634 / sqrt((double)a.d_head));
    constexpr int n = N_M * (D / 16) * 32 / THREADS; /* fragments of a thread */
    float4 v[n][2];

#pragma unroll
    for (int i = 0; i < n; i++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int at = i * THREADS + threadIdx.x, lane = at % 32, k = at / 32 % (D / 16);
            const int row = at / 32 / (D / 16) * 16 + half * 8 + lane / 4;
            const int col = k * 16 + lane % 4 * 4;
            const float *q = a.q + s->row[row] * a.d_head + col;

            v[i][half] = make_float4(0, 0, 0, 0);
            if (row < t.n && a.d_head % 4 == 0 && col < a.d_head) {
                v[i][half] = __ldcg((const float4 *)q);
            } else if (row < t.n) {
                v[i][half].x = col < a.d_head ? q[0] : 0;
                v[i][half].y = col + 1 < a.d_head ? q[1] : 0;
                v[i][half].z = col + 2 < a.d_head ? q[2] : 0;
                v[i][half].w = col + 3 < a.d_head ? q[3] : 0;
            }
        }
#pragma unroll
    for (int i = 0; i < n; i++) {
        const int at = i * THREADS + threadIdx.x;
        uint32_t up[2][2], low[2][2]; /* rows g and g + 8, columns 0 1 and 2 3 */

#pragma unroll
        for (int half = 0; half < 2; half++) {
            up[half][0] = split_bf16(v[i][half].x * scale, v[i][half].y * scale, &low[half][0]);
            up[half][1] = split_bf16(v[i][half].z * scale, v[i][half].w * scale, &low[half][1]);
        }
        (&s->q[0][0][0][0])[at] = make_uint4(up[0][0], up[1][0], up[0][1], up[1][1]);
        (&s->q[1][0][0][0])[at] = make_uint4(low[0][0], low[1][0], low[0][1], low[1][1]);
    }
}

/* Sums of a thread: rows m 16 + lane / 4 + 8 h for (m, h), columns of its warp. */
template <int D> struct sums {
    static constexpr int n_n = D / N_WARPS / 8; /* column octets of a warp */
    float o[N_M][n_n][4];
    float m[N_M][2], l[N_M][2];
};

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

template <int D>
static __device__ __forceinline__ void join(struct sums<D> *r, const struct sums<D> &s)
{
#pragma unroll
    for (int m = 0; m < N_M; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float before, now;

            if (!is_seen(s.m[m][h], s.l[m][h]))
                continue;
            join_row(&r->m[m][h], &r->l[m][h], s.m[m][h], s.l[m][h], &before, &now);
#pragma unroll
            for (int n = 0; n < sums<D>::n_n; n++)
#pragma unroll
                for (int i = 2 * h; i < 2 * h + 2; i++)
                    r->o[m][n][i] = join_value(r->o[m][n][i], s.o[m][n][i], before, now);
        }
}

/* What the span of keys gives by itself. Its keys and values are in s, and all threads know. */
template <int D>
static __device__ __forceinline__ void attend_span(struct smem<D> *s, int key, struct sums<D> *ret)
{
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    float c[N_M][4], cross[N_M][4]; /* scores: (row, key of the warp) */

#pragma unroll
    for (int m = 0; m < N_M; m++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            c[m][i] = cross[m][i] = 0;
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
        float4 x = *(const float4 *)&s->k[warp * 8 + g][k * 16 + t * 4];
        uint32_t up[2], low[2];

        up[0] = split_bf16(x.x, x.y, &low[0]);
        up[1] = split_bf16(x.z, x.w, &low[1]);
#pragma unroll
        for (int m = 0; m < N_M; m++)
            mma_split(c[m], cross[m], s->q[0][m][k][lane], s->q[1][m][k][lane], up, low);
    }
    /* the largest of each row */
#pragma unroll
    for (int m = 0; m < N_M; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int row = m * 16 + h * 8 + g, limit = s->limit[row];
            float max;

#pragma unroll
            for (int i = 0; i < 2; i++) {
                float *v = &c[m][2 * h + i];

                *v = key + warp * 8 + t * 2 + i < limit ? *v + cross[m][2 * h + i] : -INFINITY;
            }
            max = fmaxf(c[m][2 * h], c[m][2 * h + 1]);
            max = fmaxf(max, __shfl_xor_sync(~0u, max, 1));
            max = fmaxf(max, __shfl_xor_sync(~0u, max, 2));
            if (t == 0)
                s->max[warp][row] = max;
        }
    __syncthreads();
#pragma unroll
    for (int m = 0; m < N_M; m++) {
        uint32_t up[2], low[2];

#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int row = m * 16 + h * 8 + g;
            float max = s->max[0][row], sum = 0;

#pragma unroll
            for (int w = 1; w < N_WARPS; w++)
                max = fmaxf(max, s->max[w][row]);
            ret->m[m][h] = max;
#pragma unroll
            for (int i = 0; i < 2; i++) {
                float *v = &c[m][2 * h + i];

                *v = *v == -INFINITY ? 0 : exp2f(*v - max);
                sum += *v;
            }
            up[h] = split_bf16(c[m][2 * h], c[m][2 * h + 1], &low[h]);
            sum += __shfl_xor_sync(~0u, sum, 1);
            sum += __shfl_xor_sync(~0u, sum, 2);
            if (t == 0)
                s->sum[warp][row] = sum;
        }
        /* half a fragment: keys 8 (warp % 2) .. of the 16 */
        ((uint2 *)&s->p[0][m][warp / 2][lane])[warp % 2] = make_uint2(up[0], up[1]);
        ((uint2 *)&s->p[1][m][warp / 2][lane])[warp % 2] = make_uint2(low[0], low[1]);
    }
    __syncthreads();
#pragma unroll
    for (int m = 0; m < N_M; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int row = m * 16 + h * 8 + g;
            float sum = s->sum[0][row];

#pragma unroll
            for (int w = 1; w < N_WARPS; w++)
                sum += s->sum[w][row];
            ret->l[m][h] = sum;
        }
#pragma unroll
    for (int n = 0; n < sums<D>::n_n; n++) {
        float o[N_M][4], rest[N_M][4];

#pragma unroll
        for (int m = 0; m < N_M; m++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                o[m][i] = rest[m][i] = 0;
#pragma unroll
        for (int k = 0; k < ATTN_KEYS / 16; k++) {
            const float *v = &s->v[k * 16 + t * 2][warp * (D / N_WARPS) + n * 8 + g];
            const int stride = smem<D>::v_stride;
            uint32_t up[2], low[2];

            up[0] = split_bf16(v[0], v[stride], &low[0]);
            up[1] = split_bf16(v[8 * stride], v[9 * stride], &low[1]);
#pragma unroll
            for (int m = 0; m < N_M; m++)
                mma_split(o[m], rest[m], s->p[0][m][k][lane], s->p[1][m][k][lane], up, low);
        }
#pragma unroll
        for (int m = 0; m < N_M; m++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                ret->o[m][n][i] = o[m][i] + rest[m][i];
    }
}

/* What a span gives goes to the blocks whose rows they are. */
template <int D>
static __device__ __forceinline__ void send(struct smem<D> *s, int span, int n_blocks,
                                            const struct sums<D> &r)
{
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, n_rows = ATTN_QUERIES / n_blocks;

#pragma unroll
    for (int m = 0; m < N_M; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int row = m * 16 + h * 8 + lane / 4, at = row % n_rows;
            float *to = cluster_peer((float *)(s + 1), (unsigned)(row / n_rows)) +
                        span * kept_floats<D>(n_rows);

#pragma unroll
            for (int n = 0; n < sums<D>::n_n; n++)
                *(float2 *)(to + at * (D + 8) + warp * (D / N_WARPS) + n * 8 + lane % 4 * 2) =
                    make_float2(r.o[m][n][2 * h], r.o[m][n][2 * h + 1]);
            if (warp == 0 && lane % 4 == 0) {
                to[n_rows * (D + 8) + at] = r.m[m][h];
                to[n_rows * (D + 9) + at] = r.l[m][h];
            }
        }
}

/* Two neighbouring outputs of a query, from col on. */
static __device__ __forceinline__ void put_pair(const struct attention_args &a, uint64_t row,
                                                int col, float v0, float v1, float l)
{
    /* no key: 0; a NaN stays one */
    v0 = l == 0 ? 0 : __fdiv_rn(v0, l);
    v1 = l == 0 ? 0 : __fdiv_rn(v1, l);
    if (a.y) {
        float *y = a.y + row * a.d_head + col;

        if (col < a.d_head)
            y[0] = v0;
        if (col + 1 < a.d_head)
            y[1] = v1;
    }
    if (a.y_bf16) {
        uint16_t *y = a.y_bf16 + row / a.n_head * a.ld + row % a.n_head * a.d_head + col;
        uint32_t pair = pack_bf16(v0, v1);

        if (col < a.d_head)
            y[0] = (uint16_t)pair;
        if (col + 1 < a.d_head)
            y[1] = (uint16_t)(pair >> 16);
    }
    if (a.y_tiled && col < a.d_head)
        *tile_pair(a.y_tiled, tile_octets(a.n_tok), (int64_t)(row / a.n_head),
                   (int)(row % a.n_head) * a.d_head + col) = pack_bf16(v0, v1);
}

template <int D>
static __device__ __forceinline__ void write_rows(const struct attention_args &a,
                                                  const struct tile &t, const struct smem<D> *s,
                                                  const struct sums<D> &r)
{
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

#pragma unroll
    for (int m = 0; m < N_M; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int i = m * 16 + h * 8 + lane / 4;

#pragma unroll
            for (int n = 0; n < sums<D>::n_n; n++)
                if (i < t.n)
                    put_pair(a, s->row[i], warp * (D / N_WARPS) + n * 8 + lane % 4 * 2,
                             r.o[m][n][2 * h], r.o[m][n][2 * h + 1], r.l[m][h]);
        }
}

/* Join what n spans gave of this block's share of the rows. A thread has two columns of a row at a
 * time. */
template <int D>
static __device__ __forceinline__ void join_sent(const struct attention_args &a,
                                                 const struct tile &t, const struct smem<D> *s,
                                                 int n_spans, int n_blocks)
{
    const int n_rows = ATTN_QUERIES / n_blocks, first = (int)cluster_rank() * n_rows;

    for (int i = threadIdx.x; i < n_rows * (D / 2); i += THREADS) {
        const int at = i / (D / 2), col = i % (D / 2) * 2;
        const float *from = (const float *)(s + 1);
        float2 o = make_float2(0, 0);
        float m = -INFINITY, l = 0;

#pragma unroll 4
        for (int span = 0; span < n_spans; span++, from += kept_floats<D>(n_rows)) {
            const float2 v = *(const float2 *)(from + at * (D + 8) + col);
            const float span_m = from[n_rows * (D + 8) + at], span_l = from[n_rows * (D + 9) + at];
            float before, now;

            if (!is_seen(span_m, span_l))
                continue;
            join_row(&m, &l, span_m, span_l, &before, &now);
            o.x = join_value(o.x, v.x, before, now);
            o.y = join_value(o.y, v.y, before, now);
        }
        if (first + at < t.n)
            put_pair(a, s->row[first + at], col, o.x, o.y, l);
    }
}

/*
 * Grid: (query tiles of a segment, key/value heads, segments times n_blocks), in clusters of
 * n_blocks. n_blocks 1: a block goes through all spans and keeps none.
 */
template <int D>
__global__ void __launch_bounds__(THREADS, 2)
    attention_kernel(const __grid_constant__ struct attention_args a, int n_blocks)
{
    extern __shared__ __align__(128) char raw[];
    struct smem<D> *s = (struct smem<D> *)raw;
    const int group = a.n_head / a.n_kv_head, rank = blockIdx.z % n_blocks;
    struct sums<D> sum, now;
    bool is_fetched = false;
    int n_spans, n_done = 0;
    struct tile t;

    grid_release();
    t.seg = a.segs[blockIdx.z / n_blocks];
    t.kv_head = blockIdx.y;
    t.first = blockIdx.x * ATTN_QUERIES;
    t.n = min(ATTN_QUERIES, t.seg.n_tok * group - t.first);
    t.keys = a.kv_offset + (size_t)t.kv_head * a.d_head;
    if (t.n <= 0) { /* all blocks of the cluster alike */
        grid_wait();
        return;
    }
    cluster_arrive(); /* all blocks run before anything is sent */
    if (threadIdx.x < 32) {
        const int pair = t.first + min((int)threadIdx.x, t.n - 1);
        int limit = t.seg.n_kv, end;

        if (t.seg.mask_block) {
            int64_t block = a.positions[t.seg.row + pair / group] / t.seg.mask_block;

            limit = (int)min((int64_t)limit, (block + 1) * t.seg.mask_block);
        }
        end = (int)__reduce_max_sync(~0u, (unsigned)max(limit, 0));
        s->limit[threadIdx.x] = limit;
        s->row[threadIdx.x] =
            (uint64_t)(t.seg.row + pair / group) * a.n_head + t.kv_head * group + pair % group;
        if (threadIdx.x == 0)
            s->end = end;
    }
    __syncthreads();
    n_spans = (s->end + ATTN_KEYS - 1) / ATTN_KEYS;
    if (rank < n_spans) {
        const int key = rank * ATTN_KEYS;

        /* positions ascend: are the segment's own all outside? */
        if (key + ATTN_KEYS <= a.positions[t.seg.row] ||
            key > a.positions[t.seg.row + t.seg.n_tok - 1]) {
            span_fetch<D>(a, t, key, s);
            is_fetched = true;
        }
    }
    grid_wait();
    if (rank < n_spans && !is_fetched)
        span_fetch<D>(a, t, rank * ATTN_KEYS, s);
    load_queries<D>(a, t, s);
    cluster_wait();
#pragma unroll
    for (int m = 0; m < N_M; m++) {
        sum.m[m][0] = sum.m[m][1] = -INFINITY;
        sum.l[m][0] = sum.l[m][1] = 0;
#pragma unroll
        for (int n = 0; n < sums<D>::n_n; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                sum.o[m][n][i] = 0;
    }
    for (int span = rank; span < n_spans; span += n_blocks, n_done++) {
        if (n_done)
            span_fetch<D>(a, t, span * ATTN_KEYS, s);
        async_wait<0>();
        __syncthreads();                           /* also what threads wrote themselves */
        attend_span<D>(s, span * ATTN_KEYS, &now); /* its barriers: keys are used up */
        if (n_blocks == 1)
            join(&sum, now);
        else
            send(s, span, n_blocks, now);
        __syncthreads(); /* values, too */
    }
    if (n_blocks == 1) {
        write_rows<D>(a, t, s, sum);
        return;
    }
    cluster_arrive();
    cluster_wait();
    join_sent<D>(a, t, s, n_spans, n_blocks);
}

/* ---- launching ---------------------------------------------------------------------------- */

/* Pairs of (tile, head) that keep a machine busy without splitting keys, and clusters that run at
 * once where a block has a multiprocessor alone: of 8 blocks, and of 4. */
enum {
    ENOUGH_PAIRS = 96,
    FULL_8 = 15,
    FULL_4 = 30,
    HALF_SHARED = 113 << 10,
    MAX_SHARED = 226 << 10
};

/* Shared memory of a block of n that share n_spans. */
template <int D> static size_t shared_bytes(int n_spans, int n)
{
    return sizeof(struct smem<D>) +
           (n > 1 ? n_spans * kept_floats<D>(ATTN_QUERIES / n) * sizeof(float) : 0);
}

/* Blocks that share the spans of each of n_pairs. */
template <int D> static int count_blocks(int n_pairs, int n_spans)
{
    int n = 1;

    if (n_pairs >= ENOUGH_PAIRS || shared_bytes<D>(n_spans, MAX_CLUSTER) > MAX_SHARED)
        return 1;
    while (n < n_spans && n < MAX_CLUSTER)
        n *= 2;
    if (n == MAX_CLUSTER && n_pairs > FULL_8 && n_pairs <= FULL_4 &&
        shared_bytes<D>(n_spans, n) > HALF_SHARED && shared_bytes<D>(n_spans, 4) <= MAX_SHARED)
        return 4;
    return n;
}

template <int D>
static cudaError_t launch(const struct attention_args *a, bool is_early, cudaStream_t stream)
{
    const int group = a->n_head / a->n_kv_head;
    const int n_tiles = (a->max_tok * group + ATTN_QUERIES - 1) / ATTN_QUERIES;
    const int n_spans = (a->max_kv + ATTN_KEYS - 1) / ATTN_KEYS;
    const int n_blocks = count_blocks<D>(n_tiles * a->n_kv_head * a->n_segs, n_spans);
    const dim3 grid(n_tiles, a->n_kv_head, a->n_segs * n_blocks);
    cudaError_t rc = allow_shared(attention_kernel<D>, MAX_SHARED);

    if (rc != cudaSuccess)
        return rc;
    return launch_clusters(attention_kernel<D>, grid, n_blocks, THREADS,
                           shared_bytes<D>(n_spans, n_blocks), is_early, stream, *a, n_blocks);
}

cudaError_t attention_launch(const struct attention_args *a, bool is_early, cudaStream_t stream)
{
    if (a->d_head > ATTN_MAX_D_HEAD)
        return cudaErrorInvalidValue;
    if (!a->n_segs || !a->max_tok)
        return cudaSuccess;
    return a->d_head <= 64 ? launch<64>(a, is_early, stream) : launch<128>(a, is_early, stream);
}
