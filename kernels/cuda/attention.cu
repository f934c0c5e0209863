/*
 * Attention: attention.h.
 *
 * A block takes one key/value head and up to ATTN_QUERIES of the queries that use it: (token, query
 * head) pairs of consecutive tokens, 16 a row tile. A warp does, of M row tiles, for a span of keys
 *
 *     scores   octet w: queries by keys 8 w .. 8 w + 7, from fragments of q in shared memory
 *     softmax  each row's largest score over the octets, p = 2^(s - largest), sums in octet order
 *     output   octet w: queries by columns D/8 w .. of the values, p as fragments
 *
 * and joins them with the spans before: m' = max(m, m_s), l' = l 2^(m - m') + l_s 2^(m_s - m'), the
 * output like l (Milakov and Gimelshein, arXiv:1805.02867). Scores are in units of log 2. M is 1
 * (16 warps).
 *
 * Where there are enough (tile, head) pairs for the machine, attention_many.cu has them. Else a
 * cluster of up to 8 blocks takes one: its spans go round, what they give is sent to the blocks by
 * rows, and then each block joins all spans, in order, for its share of the rows. Of its first span
 * a block fetches what nobody is about to write before the kernel waits for the one that does. Each
 * block has a multiprocessor for itself: two on one, which the machine likes to do with clusters,
 * take twice as long to multiply.
 *
 * Raw queries, keys and values (attention.cuh) are for few queries alone. The first tile's blocks
 * write keys and values to the cache.
 */
#include "kernels/cuda/attention.h"

#include <math.h>

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/attention_many.h"
#include "kernels/cuda/cluster.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sm90.cuh"

#define MIN_CLUSTER 2 /* messages are for clusters: a block alone has none to send to */
#define MAX_CLUSTER 8

/* Rows that each of n blocks joins, at most. */
static __host__ __device__ constexpr int share_of(int n)
{
    return (ATTN_QUERIES + n - 1) / n;
}

/*
 * What the spans of a cluster give of n_rows rows, one block's share, behind everything else: of
 * each span the rows' outputs, not yet divided, side by side, a lane's columns together; then each
 * row's largest score and sum.
 */
template <int D> static __host__ __device__ constexpr int kept_floats(int n_rows)
{
    return (n_rows * (D + 2) + 3) / 4 * 4; /* aligned to 16 bytes */
}

/* ---- a span -------------------------------------------------------------------------------- */

/* Sums of a thread: rows (its first tile + m) 16 + lane / 4 + 8 h for (m, h), columns of its warp.
 */
template <int D, int M> struct sums {
    static constexpr int n_n = D / N_OCTETS / 8; /* column octets of a warp */
    float o[M][n_n][4];
    float m[M][2], l[M][2];
};

/* A thread's row (m, h) of the block's. */
template <int M> static __device__ __forceinline__ int row_of(int m, int h)
{
    return (threadIdx.x / 32 / N_OCTETS * M + m) * 16 + h * 8 + threadIdx.x % 32 / 4;
}

static __device__ __forceinline__ void read_octets(const float *from, float (&ret)[N_OCTETS])
{
#pragma unroll
    for (int i = 0; i < N_OCTETS; i += 4)
        *(float4 *)&ret[i] = *(const float4 *)(from + i);
}

/* What the span of keys gives by itself. Its keys and values are in s, and all threads know. */
template <int D, int M>
static __device__ __forceinline__ void attend_span(struct smem<D> *s, int key,
                                                   struct sums<D, M> *ret)
{
    const int octet = threadIdx.x / 32 % N_OCTETS, tile = threadIdx.x / 32 / N_OCTETS * M;
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    float c[M][4], cross[M][4]; /* scores: (row, key of the warp) */

#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            c[m][i] = cross[m][i] = 0;
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
        float4 x = *(const float4 *)&s->k[octet * 8 + g][k * 16 + t * 4];
        uint32_t up[2], low[2];

        up[0] = split_bf16(x.x, x.y, &low[0]);
        up[1] = split_bf16(x.z, x.w, &low[1]);
#pragma unroll
        for (int m = 0; m < M; m++) {
            const uint4 a = *query_at(s, 0, tile + m, k, lane);
            const uint4 b = *query_at(s, 1, tile + m, k, lane);

            mma_split(c[m], cross[m], make_uint4(a.x, a.z, a.y, a.w),
                      make_uint4(b.x, b.z, b.y, b.w), up, low);
        }
    }
    /* the largest of each row */
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int row = row_of<M>(m, h), limit = s->rows[row].limit;
            float max;

#pragma unroll
            for (int i = 0; i < 2; i++) {
                float *v = &c[m][2 * h + i];

                *v = key + octet * 8 + t * 2 + i < limit ? *v + cross[m][2 * h + i] : -INFINITY;
            }
            max = fmaxf(c[m][2 * h], c[m][2 * h + 1]);
            max = fmaxf(max, __shfl_xor_sync(~0u, max, 1));
            max = fmaxf(max, __shfl_xor_sync(~0u, max, 2));
            if (t == 0)
                s->max[row][octet] = max;
        }
    __syncthreads();
#pragma unroll
    for (int m = 0; m < M; m++) {
        uint32_t up[2], low[2];

#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int row = row_of<M>(m, h);
            float all[N_OCTETS], max, sum = 0;

            read_octets(s->max[row], all);
            max = all[0];
#pragma unroll
            for (int w = 1; w < N_OCTETS; w++)
                max = fmaxf(max, all[w]);
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
                s->sum[row][octet] = sum;
        }
        /* half a fragment: keys 8 (octet % 2) .. of the 16 */
        ((uint2 *)&s->p[0][tile + m][octet / 2][lane])[octet % 2] = make_uint2(up[0], up[1]);
        ((uint2 *)&s->p[1][tile + m][octet / 2][lane])[octet % 2] = make_uint2(low[0], low[1]);
    }
    __syncthreads();
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float all[N_OCTETS], sum;

            read_octets(s->sum[row_of<M>(m, h)], all);
            sum = all[0];
#pragma unroll
            for (int w = 1; w < N_OCTETS; w++)
                sum += all[w];
            ret->l[m][h] = sum;
        }
#pragma unroll
    for (int n = 0; n < sums<D, M>::n_n; n++) {
        float o[M][4], rest[M][4];

#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                o[m][i] = rest[m][i] = 0;
#pragma unroll
        for (int k = 0; k < ATTN_KEYS / 16; k++) {
            const float *v = &s->v[k * 16 + t * 2][octet * (D / N_OCTETS) + n * 8 + g];
            const int stride = smem<D>::v_stride;
            uint32_t up[2], low[2];

            up[0] = split_bf16(v[0], v[stride], &low[0]);
            up[1] = split_bf16(v[8 * stride], v[9 * stride], &low[1]);
#pragma unroll
            for (int m = 0; m < M; m++)
                mma_split(o[m], rest[m], s->p[0][tile + m][k][lane], s->p[1][tile + m][k][lane], up,
                          low);
        }
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                ret->o[m][n][i] = o[m][i] + rest[m][i];
    }
}

/* ---- results ------------------------------------------------------------------------------- */

/* A lane's columns of a row, which are columns i and i + 1 of each octet, together. */
template <int N>
static __device__ __forceinline__ void send_columns(float *to, unsigned rank, uint64_t *barrier,
                                                    const float (&o)[N][4], int i)
{
    static_assert(N == 1 || N == 2, "one message");

    if (N == 2)
        cluster_send((uint4 *)to, rank, barrier,
                     make_uint4(__float_as_uint(o[0][i]), __float_as_uint(o[0][i + 1]),
                                __float_as_uint(o[N - 1][i]), __float_as_uint(o[N - 1][i + 1])));
    else
        cluster_send((uint2 *)to, rank, barrier,
                     make_uint2(__float_as_uint(o[0][i]), __float_as_uint(o[0][i + 1])));
}

template <int N>
static __device__ __forceinline__ void read_columns(const float *from, float (&ret)[N][2])
{
    if (N == 2)
        *(float4 *)ret = *(const float4 *)from;
    else
        *(float2 *)ret = *(const float2 *)from;
}

/* What a span gives goes to the blocks whose rows they are. */
template <int D, int M>
static __device__ __forceinline__ void send(struct smem<D> *s, int span, int n_rows,
                                            const struct sums<D, M> &r)
{
    const int octet = threadIdx.x / 32 % N_OCTETS, lane = threadIdx.x % 32;
    const int inverse = (1024 + n_rows - 1) / n_rows; /* row / n_rows == row * inverse / 1024 */
    float *kept = (float *)(s + 1) + span * kept_floats<D>(n_rows);

#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int row = row_of<M>(m, h), rank = row * inverse / 1024, at = row - rank * n_rows;
            float *to = kept + at * D + (octet * 4 + lane % 4) * 2 * sums<D, M>::n_n;

            send_columns(to, (unsigned)rank, &s->sent, r.o[m], 2 * h);
            if (octet == 0 && lane % 4 == 0)
                cluster_send((uint2 *)(kept + n_rows * D + 2 * at), (unsigned)rank, &s->sent,
                             make_uint2(__float_as_uint(r.m[m][h]), __float_as_uint(r.l[m][h])));
        }
}

/* Join what n spans gave of this block's share of the rows. A warp has a row at a time, a thread
 * the columns of a lane that sent them. */
template <int D, int M>
static __device__ __forceinline__ void join_sent(const struct attention_args &a,
                                                 const struct tile &t, const struct smem<D> *s,
                                                 int n_spans, int n_rows)
{
    const int first = (int)cluster_rank() * n_rows, n_mine = min(n_rows, t.n - first);
    const int lane = threadIdx.x % 32;

    for (int at = threadIdx.x / 32; at < n_mine; at += threads_of(M) / 32) {
        const struct query q = s->rows[first + at];
        const float *from = (const float *)(s + 1);
        float o[sums<D, M>::n_n][2], m = -INFINITY, l = 0;

#pragma unroll
        for (int n = 0; n < sums<D, M>::n_n; n++)
            o[n][0] = o[n][1] = 0;
#pragma unroll 2
        for (int span = 0; span < n_spans; span++, from += kept_floats<D>(n_rows)) {
            const float2 of_row = *(const float2 *)(from + n_rows * D + 2 * at);
            float v[sums<D, M>::n_n][2], before, now;

            read_columns(from + at * D + lane * 2 * sums<D, M>::n_n, v);
            if (!is_seen(of_row.x, of_row.y))
                continue;
            join_row(&m, &l, of_row.x, of_row.y, &before, &now);
#pragma unroll
            for (int n = 0; n < sums<D, M>::n_n; n++)
#pragma unroll
                for (int i = 0; i < 2; i++)
                    o[n][i] = join_value(o[n][i], v[n][i], before, now);
        }
#pragma unroll
        for (int n = 0; n < sums<D, M>::n_n; n++)
            put_pair(a, q, lane / 4 * (D / N_OCTETS) + n * 8 + lane % 4 * 2,
                     attention_value(o[n][0], l), attention_value(o[n][1], l));
    }
}

/*
 * Grid: (query tiles of a segment, key/value heads, segments times n_blocks), in clusters of
 * n_blocks that send each other what spans give.
 */
template <int D, int M, bool IS_RAW>
__global__ void __maxnreg__(M == 2    ? 128
                            : D == 64 ? 96
                                      : 72)
    attention_kernel(const __grid_constant__ struct attention_args a, int n_blocks, float scale,
                     double inverse_d)
{
    constexpr int N_WARPS = threads_of(M) / 32;
    extern __shared__ __align__(128) char raw[];
    struct smem<D> *s = (struct smem<D> *)raw;
    const int first = blockIdx.x * ATTN_QUERIES, rank = blockIdx.z % n_blocks;
    const int warp = threadIdx.x / 32;
    const int n_rows = share_of(n_blocks);
    const struct attn_segment *seg = &a.segs[blockIdx.z / n_blocks];
    struct own_positions positions;
    struct own_keys own = {};
    struct query q;
    struct sums<D, M> now;
    bool has_waited = false;
    int n_spans;
    const struct tile &t = s->tile;

    grid_release();
    const struct tile t0 = { first,
                             min(ATTN_QUERIES, seg->n_tok * (a.n_head / a.n_kv_head) - first),
                             seg->row,
                             seg->n_tok,
                             seg->n_kv,
                             seg->keys + a.kv_offset + (size_t)blockIdx.y * a.d_head,
                             seg->values + a.kv_offset + (size_t)blockIdx.y * a.d_head };
    if (t0.n <= 0) { /* all blocks of the cluster alike */
        grid_wait();
        return;
    }
    if (IS_RAW)
        positions = read_positions(a, t0);
    q = find_query(a, t0, seg->mask_block);
    n_spans = (__reduce_max_sync(~0u, max(q.limit, 0)) + ATTN_KEYS - 1) / ATTN_KEYS;
    if (threadIdx.x < ATTN_QUERIES)
        s->rows[threadIdx.x] = q;
    if (threadIdx.x == 0)
        s->tile = t0;
    if (IS_RAW && threadIdx.x < 2 * D / 4) {
        const int i = threadIdx.x / (D / 4), col = threadIdx.x % (D / 4) * 4;

        *(float4 *)&s->norm[i][col] = head_read(i ? a.raw.k_norm : a.raw.q_norm, col, a.d_head);
    }
    if (threadIdx.x == 0) {
        barrier_init(&s->sent, 1);
        barrier_init_fence();
        barrier_expect(&s->sent,
                       (uint32_t)(n_spans * max(0, min(n_rows, ATTN_QUERIES - rank * n_rows))) *
                           (D + 2) * sizeof(float));
    }
    __syncthreads();
    cluster_arrive_relaxed(); /* all blocks are there before anything is sent */
    for (int span = rank; span < n_spans; span += n_blocks) {
        const int key = span * ATTN_KEYS, n_keys = min(ATTN_KEYS, t.n_kv - key);
        const bool is_first = span == rank;
        int job = is_first ? warp : QUERY_WARPS + warp, n_jobs = QUERY_WARPS;
        int unseen = RAW_TOKENS;

        if (IS_RAW) {
            own = find_own(positions, key, n_keys);
            if (span == 0 && t.first == 0) /* the first block of all has them written */
                unseen = count_below(positions, min(t.n_kv, n_spans * ATTN_KEYS));
            n_jobs += (own.n + max(0, t.n_tok - unseen) + WARP_ROWS - 1) / WARP_ROWS;
        } else if (is_first && key + ATTN_KEYS > a.positions[t.row] &&
                   key <= a.positions[t.row + t.n_tok - 1]) { /* they ascend */
            grid_wait();
            has_waited = true;
        }
        span_fetch<D, M>(a, t, key, n_keys, own, s);
        for (; job < n_jobs || !has_waited; job += N_WARPS) {
            struct head_turns<quads_of<D>> turns;
            float4 v[quads_of<D>];
            const float *from = a.q;
            struct row_job r = {};

            if (job < QUERY_WARPS) {
                r = query_job(a, t, s, job);
            } else if (IS_RAW) {
                r = key_job(a, t, positions, own, unseen, key, job - QUERY_WARPS);
                from = a.raw.key;
            }
            if (IS_RAW)
                turns = head_read_turns<quads_of<D>>(a.raw.turns + (size_t)r.position * a.raw.d_rot,
                                                     a.raw.d_rot);
            if (!has_waited)
                grid_wait();
            has_waited = true;
            if (job >= n_jobs)
                break;
#pragma unroll
            for (int j = 0; j < quads_of<D>; j++) {
                v[j] = make_float4(0, 0, 0, 0);
                if (r.is_there)
                    v[j] = head_read(from + r.from, quad_col(j), a.d_head);
            }
            if (IS_RAW) {
                if (job >= QUERY_WARPS)
                    fetch_value<D>(a, r, s);
                norm_row<D>(v, s->norm[job < QUERY_WARPS ? 0 : 1], inverse_d, a.raw.eps);
                head_turn(v, turns, a.raw.d_rot);
            }
            if (job < QUERY_WARPS)
                put_queries<D>(s, query_row(job), scale, v);
            else if (IS_RAW)
                put_key<D>(a, t, key_job(a, t, positions, own, unseen, key, job - QUERY_WARPS), s,
                           v);
        }
        if (is_first) /* while keys come */
            cluster_wait();
        async_wait<0>();
        __syncthreads();                 /* also what threads wrote themselves */
        attend_span<D, M>(s, key, &now); /* its barriers: keys are used up */
        send(s, span, n_rows, now);
        if (IS_RAW && t.first == 0 && own.n)
            store_own<D, M>(a, t, key, find_own(positions, key, n_keys), s);
        if (span + n_blocks < n_spans)
            __syncthreads(); /* values, too */
    }
    if (!has_waited)
        grid_wait();
    if (rank >= n_spans)
        cluster_wait();
    cluster_receive(&s->sent);
    join_sent<D, M>(a, t, s, n_spans, n_rows);
}

/* ---- launching ---------------------------------------------------------------------------- */

/* Pairs of (tile, head) that keep a machine busy without splitting keys; shared memory of a block
 * that has a multiprocessor alone, but for kernels that start early, and of any block. */
enum { ENOUGH_PAIRS = 96, ALONE_SHARED = 114 << 10, MAX_SHARED = 226 << 10 };

static int count_tiles(const struct attention_args *a)
{
    return (a->max_tok * (a->n_head / a->n_kv_head) + ATTN_QUERIES - 1) / ATTN_QUERIES;
}

static int count_pairs(const struct attention_args *a)
{
    return count_tiles(a) * a->n_kv_head * a->n_segs;
}

static int count_spans(const struct attention_args *a)
{
    return (a->max_kv + ATTN_KEYS - 1) / ATTN_KEYS;
}

/* Shared memory of a block of a cluster of n. */
template <int D> static size_t cluster_shared(int n_spans, int n)
{
    const size_t kept = (size_t)n_spans * kept_floats<D>(share_of(n)) * sizeof(float);
    const size_t alone = ALONE_SHARED;

    return sizeof(struct smem<D>) + kept > alone ? sizeof(struct smem<D>) + kept : alone;
}

/* Blocks that share the spans of each pair; 0: one goes through all of them. Clusters of as many as
 * have spans, at least two, if all run at once, a block a multiprocessor: two share what they
 * multiply with. */
template <int D, bool IS_RAW> static int find_cluster(const struct attention_args *a)
{
    const int n_pairs = count_pairs(a), n_spans = count_spans(a);

    if (n_pairs >= ENOUGH_PAIRS ||
        allow_shared(attention_kernel<D, 1, IS_RAW>, MAX_SHARED) != cudaSuccess)
        return 0;
    for (int n = max(MIN_CLUSTER, min(n_spans, MAX_CLUSTER)); n >= MIN_CLUSTER; n--) {
        const size_t shared = cluster_shared<D>(n_spans, n);

        if (shared > MAX_SHARED)
            break; /* smaller ones need more */
        if (count_clusters(attention_kernel<D, 1, IS_RAW>, n, threads_of(1), shared) >= n_pairs)
            return n;
    }
    return 0;
}

template <int D, int M, bool IS_RAW>
static cudaError_t launch(const struct attention_args *a, int n_blocks, size_t shared,
                          bool is_early, cudaStream_t stream)
{
    const dim3 grid(count_tiles(a), a->n_kv_head, a->n_segs * n_blocks);
    const float scale = (float)(1.4426950408889634 / sqrt((double)a->d_head));
    cudaError_t rc = allow_shared(attention_kernel<D, M, IS_RAW>, MAX_SHARED);

    if (rc != cudaSuccess)
        return rc;
    return launch_clusters(attention_kernel<D, M, IS_RAW>, grid, n_blocks, threads_of(M), shared,
                           is_early, stream, *a, n_blocks, scale, 1.0 / a->d_head);
}

template <int D>
static cudaError_t launch_best(const struct attention_args *a, bool is_early, cudaStream_t stream)
{
    const int n = a->is_raw ? find_cluster<D, true>(a) : find_cluster<D, false>(a);

    if (n)
        return a->is_raw ? launch<D, 1, true>(a, n, cluster_shared<D>(count_spans(a), n), is_early,
                                              stream)
                         : launch<D, 1, false>(a, n, cluster_shared<D>(count_spans(a), n), is_early,
                                               stream);
    return attention_many_launch(a, is_early, stream);
}

bool attention_takes_raw(const struct attention_args *a)
{
    if (a->max_tok > RAW_TOKENS || a->d_head > ATTN_MAX_D_HEAD ||
        !head_can_turn(a->d_head, a->raw.d_rot))
        return false;
    return a->d_head <= 64 ? find_cluster<64, true>(a) : find_cluster<128, true>(a);
}

cudaError_t attention_launch(const struct attention_args *a, bool is_early, cudaStream_t stream)
{
    if (a->d_head > ATTN_MAX_D_HEAD || (a->is_raw && !attention_takes_raw(a)))
        return cudaErrorInvalidValue;
    if (!a->n_segs || !a->max_tok)
        return cudaSuccess;
    return a->d_head <= 64 ? launch_best<64>(a, is_early, stream)
                           : launch_best<128>(a, is_early, stream);
}
