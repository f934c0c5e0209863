/*
 * Attention: attention.h. Of many queries: attention_many.cu.
 *
 * A cluster of up to 8 blocks takes one key/value head and up to ATTN_QUERIES of the queries that
 * use it: (token, query head) pairs of consecutive tokens. Its spans of ATTN_KEYS keys go round. A
 * block does, for a span,
 *
 *     warps 0 .. 7     bring queries
 *     warps 8 .. 15    fetch keys and values, and bring own ones
 *     warps 12 .. 15   scores = keys by queries, to shared memory
 *     all warps        softmax of two queries each: p = 2^(s - largest), sums in octet order
 *     warps 0 .. 7     output = columns of the values by p (warps 0 .. 3 of up to 64 columns)
 *
 * the other way round than usual, so that 32 queries are the narrow side of wgmma. What a span
 * gives is sent to the blocks by rows, and then warps 8 .. 15 of each block join all spans, in
 * order, for its share of the rows: m' = max(m, m_s), l' = l 2^(m - m') + l_s 2^(m_s - m'), the
 * output like l (Milakov and Gimelshein, arXiv:1805.02867). Scores are in units of log 2.
 *
 * Of its first span a block fetches what nobody is about to write before the kernel waits for the
 * one that does. Each block has a multiprocessor for itself: two on one, which the machine likes to
 * do with clusters, take twice as long to multiply.
 *
 * Raw queries, keys and values (attention_span.cuh) are for few queries alone. The first tile's
 * blocks write keys and values to the cache.
 */
#include "kernels/cuda/attention.h"

#include "kernels/cuda/attention_many.h"
#include "kernels/cuda/attention_span.cuh"
#include "kernels/cuda/cluster.cuh"
#include "kernels/cuda/launch.cuh"

#define MIN_CLUSTER 2 /* messages are for clusters: a block alone has none to send to */
#define MAX_CLUSTER 8
#define SCORE_WARPS 12 /* warps from here on make scores */

/* Rows that each of n blocks joins, at most; even. */
static __host__ __device__ constexpr int share_of(int n)
{
    return (ATTN_QUERIES / 2 + n - 1) / n * 2;
}

/*
 * What the spans of a cluster give of n_rows rows, one block's share, behind everything else. Of
 * each span: outputs, not yet divided, (pairs of rows, pairs of columns, 2, 2), then each row's
 * largest score and sum.
 */
template <int D> static __host__ __device__ constexpr int kept_floats(int n_rows)
{
    return n_rows * (D + 2);
}

/* ---- a span -------------------------------------------------------------------------------- */

/* Scores of the span: warps SCORE_WARPS .. alone. */
template <int D> static __device__ __forceinline__ void few_scores(struct few_smem<D> *s)
{
    const int lane = threadIdx.x % 32, key = threadIdx.x / 32 % 4 * 16 + lane / 4 * 2;
    float c[16], cross[16]; /* as attention.cuh has them */

    wgmma_begin();
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
        const int at = k % 4 * WGMMA_STEP;
        const uint64_t up = wgmma_operand(shared_addr(s->k[0][k / 4])) + at;
        const uint64_t low = wgmma_operand(shared_addr(s->k[1][k / 4])) + at;
        const uint64_t q_up = wgmma_operand(shared_addr(s->q[k / 4][0])) + at;
        const uint64_t q_low = wgmma_operand(shared_addr(s->q[k / 4][1])) + at;

        wgmma_shared(c, up, q_up, k > 0);
        wgmma_shared(cross, up, q_low, k > 0);
        wgmma_shared(cross, low, q_up, 1);
    }
    wgmma_commit();
    wgmma_wait<0>();
#pragma unroll
    for (int n = 0; n < 4; n++)
#pragma unroll
        for (int i = 0; i < 2; i++) { /* query 8 n + 2 t + i; keys g and g + 8 of the lines */
            const int j = 4 * n + i;

            *(float2 *)&s->scores[n * 8 + lane % 4 * 2 + i][key] =
                make_float2(c[j] + cross[j], c[j + 2] + cross[j + 2]);
        }
}

/* What a row's span is joined by. */
struct row_sums {
    float m, l;
};

/* Softmax of the warp's queries, 2 warp and the next, half a warp each: p. Sums are those of
 * octets, of lanes 2 i. */
template <int D>
static __device__ __forceinline__ struct row_sums few_softmax(struct few_smem<D> *s, int key)
{
    const int i = threadIdx.x % 16, row = threadIdx.x / 16;
    const int limit = s->rows[row].limit - key - i * 4;
    float4 v = *(const float4 *)&s->scores[row][i * 4];
    struct row_sums ret;
    uint2 up, low;

    v.x = 0 < limit ? v.x : -INFINITY;
    v.y = 1 < limit ? v.y : -INFINITY;
    v.z = 2 < limit ? v.z : -INFINITY;
    v.w = 3 < limit ? v.w : -INFINITY;
    ret.m = fmaxf(fmaxf(v.x, v.y), fmaxf(v.z, v.w));
#pragma unroll
    for (int o = 1; o < 16; o *= 2)
        ret.m = fmaxf(ret.m, __shfl_xor_sync(~0u, ret.m, o));
    v.x = v.x == -INFINITY ? 0 : exp2f(v.x - ret.m);
    v.y = v.y == -INFINITY ? 0 : exp2f(v.y - ret.m);
    v.z = v.z == -INFINITY ? 0 : exp2f(v.z - ret.m);
    v.w = v.w == -INFINITY ? 0 : exp2f(v.w - ret.m);
    up.x = split_bf16(v.x, v.y, &low.x);
    up.y = split_bf16(v.z, v.w, &low.y);
    shared_put(piece_at(s->p[0], row, i / 2) + i % 2 * 8, up);
    shared_put(piece_at(s->p[1], row, i / 2) + i % 2 * 8, low);
    ret.l = (v.x + v.y) + (v.z + v.w);
    ret.l += __shfl_xor_sync(~0u, ret.l, 1);
    return ret;
}

/* The sum over a row's octets. */
static __device__ __forceinline__ float add_octets(float octet)
{
    float sum = __shfl_sync(~0u, octet, 0, 16);

#pragma unroll
    for (int i = 1; i < N_OCTETS; i++)
        sum += __shfl_sync(~0u, octet, 2 * i, 16);
    return sum;
}

/* A fragment of 16 columns by 16 keys. */
static __device__ __forceinline__ uint4 load_values(uint32_t p)
{
    uint4 r;

    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r.x), "=r"(r.y), "=r"(r.z), "=r"(r.w)
                 : "r"(p)
                 : "memory");
    return r;
}

/* The warp's 16 columns of values, all keys. */
template <int D> struct value_tiles {
    uint4 up[ATTN_KEYS / 16], low[ATTN_KEYS / 16];
};

template <int D>
static __device__ __forceinline__ void load_value_tiles(struct few_smem<D> *s,
                                                        struct value_tiles<D> *ret)
{
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

#pragma unroll
    for (int k = 0; k < ATTN_KEYS / 16; k++) {
        const int line = k * 16 + lane / 16 * 8 + lane % 8, piece = warp % 4 * 2 + lane / 8 % 2;

        ret->up[k] = load_values(piece_at(s->v[0][warp / 4], line, piece));
        ret->low[k] = load_values(piece_at(s->v[1][warp / 4], line, piece));
    }
}

/* What the span gives by itself goes to the blocks whose rows they are: warps of 64 columns. */
template <int D>
static __device__ __forceinline__ void few_output(struct few_smem<D> *s, int span, int n_rows)
{
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int inverse = (1024 + n_rows - 1) / n_rows; /* row / n_rows == row * inverse / 1024 */
    float *kept = (float *)(s + 1) + span * kept_floats<D>(n_rows) + (warp * 8 + lane / 4) * 4;
    const uint64_t p = wgmma_operand(shared_addr(s->p[0]));
    const uint64_t p_low = wgmma_operand(shared_addr(s->p[1]));
    float o[16], cross[16];
    struct value_tiles<D> v;
    uint32_t to[4];

    load_value_tiles<D>(s, &v);
    wgmma_begin();
#pragma unroll
    for (int k = 0; k < ATTN_KEYS / 16; k++) {
        wgmma<32>(o, v.up[k], p + k * WGMMA_STEP, k > 0);
        wgmma<32>(cross, v.up[k], p_low + k * WGMMA_STEP, k > 0);
        wgmma<32>(cross, v.low[k], p + k * WGMMA_STEP, 1);
    }
    wgmma_commit();
#pragma unroll
    for (int n = 0; n < 4; n++) {
        const int row = n * 8 + lane % 4 * 2;

        to[n] = cluster_addr(s, (unsigned)(row * inverse / 1024));
    }
    wgmma_wait<0>();
    for (int i = 0; i < 16; i++)
        o[i] += cross[i];
#pragma unroll
    for (int n = 0; n < 4; n++) {
        const int row = n * 8 + lane % 4 * 2, at = row - row * inverse / 1024 * n_rows;

        cluster_send_to(to[n] + shared_addr(kept + at * D) - shared_addr(s),
                        to[n] + shared_addr(&s->sent[1]) - shared_addr(s),
                        make_uint4(__float_as_uint(o[4 * n]), __float_as_uint(o[4 * n + 2]),
                                   __float_as_uint(o[4 * n + 1]), __float_as_uint(o[4 * n + 3])));
    }
}

/* What a row is joined by: of span, to the block whose row it is. One lane of half a warp. */
template <int D>
static __device__ __forceinline__ void send_row_sums(struct few_smem<D> *s, int span, int n_rows,
                                                     struct row_sums r)
{
    const int row = threadIdx.x / 16, rank = row / n_rows, at = row - rank * n_rows;
    float *kept = (float *)(s + 1) + span * kept_floats<D>(n_rows) + n_rows * D;

    cluster_send((uint2 *)(kept + 2 * at), (unsigned)rank, &s->sent[0],
                 make_uint2(__float_as_uint(r.m), __float_as_uint(r.l)));
}

/* ---- joining ------------------------------------------------------------------------------- */

/*
 * Join what n spans gave of this block's share of the rows, two at a time, as join_row() and
 * join_value() say. Half a warp finds out what a row's sums are multiplied by, a span a lane; then
 * a thread has two columns of both rows. Warps JOIN_WARPS .. alone.
 */
template <int D>
static __device__ __forceinline__ void few_join(const struct attention_args &a,
                                                const struct tile &t, struct few_smem<D> *s,
                                                int n_spans, int n_rows)
{
    constexpr int warps = D / 64; /* for two rows */
    const int joiner = threadIdx.x / 32 - JOIN_WARPS, lane = threadIdx.x % 32;
    const int i = lane % JOIN_SPANS, h = lane / JOIN_SPANS, chunk = joiner % warps * 32 + lane;
    const int first_row = (int)cluster_rank() * n_rows, n_mine = min(n_rows, t.n - first_row);
    float2(*const factors)[2] = s->factors[joiner];

    for (int at = joiner / warps * 2; at < n_mine; at += (FEW_WARPS - JOIN_WARPS) / warps * 2) {
        const float *kept = (const float *)(s + 1);
        float o[2][2] = { { 0, 0 }, { 0, 0 } };
        float m = -INFINITY, l = 0; /* of row at + h */

        for (int span = 0; span < n_spans; span += JOIN_SPANS) {
            const int n = min(JOIN_SPANS, n_spans - span);
            float2 row = make_float2(-INFINITY, 0);
            float max, before, now;
            uint32_t seen;

            cluster_receive(&s->sent[0]);
            if (i < n)
                row = *(const float2 *)(kept + (span + i) * kept_floats<D>(n_rows) + n_rows * D +
                                        2 * (at + h));
            seen = __ballot_sync(~0u, is_seen(row.x, row.y));
            max = row.x;
#pragma unroll
            for (int d = 1; d < JOIN_SPANS; d *= 2) {
                const float other = __shfl_up_sync(~0u, max, d, JOIN_SPANS);

                if (i >= d)
                    max = fmaxf(max, other);
            }
            max = fmaxf(max, m);
            before = __shfl_up_sync(~0u, max, 1, JOIN_SPANS);
            before = i ? before : m;
            before = before == max ? 1 : exp2f(before - max);
            now = row.x == max ? 1 : exp2f(row.x - max);
            factors[i][h] = make_float2(before, now);
            m = __shfl_sync(~0u, max, JOIN_SPANS - 1, JOIN_SPANS);
#pragma unroll 4
            for (int k = 0; k < n; k++) {
                const float b = __shfl_sync(~0u, before, k, JOIN_SPANS);
                const float f = __shfl_sync(~0u, now, k, JOIN_SPANS);
                const float add = __shfl_sync(~0u, row.y, k, JOIN_SPANS);

                l = seen >> (h * JOIN_SPANS + k) & 1 ? join_value(l, add, b, f) : l;
            }
            __syncwarp();
            cluster_receive(&s->sent[1]);
#pragma unroll
            for (int k0 = 0; k0 < JOIN_SPANS; k0 += 4) {
                float4 f[4], v[4];

                if (k0 >= n)
                    break;
#pragma unroll
                for (int k = 0; k < 4; k++) { /* beyond n: the last one again, not seen */
                    const int from = span + min(k0 + k, n - 1);

                    f[k] = *(const float4 *)factors[k0 + k];
                    v[k] = *(const float4 *)(kept + from * kept_floats<D>(n_rows) + at * D +
                                             chunk * 4);
                }
#pragma unroll
                for (int k = 0; k < 4; k++) {
                    if (seen >> (k0 + k) & 1) {
                        o[0][0] = join_value(o[0][0], v[k].x, f[k].x, f[k].y);
                        o[0][1] = join_value(o[0][1], v[k].y, f[k].x, f[k].y);
                    }
                    if (seen >> (JOIN_SPANS + k0 + k) & 1) {
                        o[1][0] = join_value(o[1][0], v[k].z, f[k].z, f[k].w);
                        o[1][1] = join_value(o[1][1], v[k].w, f[k].z, f[k].w);
                    }
                }
            }
            __syncwarp(); /* factors are used up */
        }
#pragma unroll
        for (int r = 0; r < 2; r++) {
            const float sum = __shfl_sync(~0u, l, r * JOIN_SPANS);

            if (at + r < n_mine)
                put_pair(a, s->rows[first_row + at + r], chunk * 2, attention_value(o[r][0], sum),
                         attention_value(o[r][1], sum));
        }
    }
    cluster_receive(&s->sent[0]); /* also where the rows are nobody's */
    cluster_receive(&s->sent[1]);
}

/* ---- the kernel ---------------------------------------------------------------------------- */

/*
 * Positions of a segment's tokens lane and lane + 32, and of the lane's query. Where there is one
 * segment its first row is 0, more often than not: so they are asked for before it is known.
 */
struct few_positions {
    struct own_positions own;
    int query;
};

template <bool IS_RAW>
static __device__ __forceinline__ struct few_positions few_read(const int32_t *positions, int n_tok,
                                                                int token)
{
    const int lane = threadIdx.x % 32;
    struct few_positions ret;

#pragma unroll
    for (int i = 0; i < RAW_TOKENS / 32; i++)
        ret.own.at[i] = IS_RAW && lane + 32 * i < n_tok ? positions[lane + 32 * i] : INT_MAX;
    ret.query = token < n_tok ? positions[token] : 0;
    return ret;
}

static __device__ __forceinline__ int cluster_id(void)
{
    int r;

    asm("mov.u32 %0, %%clusterid.z;" : "=r"(r));
    return r;
}

/* Grid: (query tiles of a segment, key/value heads, segments times n_blocks), in clusters of
 * n_blocks. */
template <int D, bool IS_RAW>
__global__ void __launch_bounds__(FEW_WARPS * 32, 1)
    few_kernel(const __grid_constant__ struct attention_args a, int n_blocks,
               const __grid_constant__ struct few_plan plan)
{
    struct few_smem<D> *const s = (struct few_smem<D> *)dynamic_shared();
    const int rank = (int)cluster_rank(), first = (int)blockIdx.x * ATTN_QUERIES;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, n_rows = plan.n_rows;
    const struct attn_segment seg = a.segs[n_blocks == (int)gridDim.z ? 0 : cluster_id()];
    const int pair = first + lane;
    const int token = (int)((uint32_t)pair * plan.group_share >> 20);
    struct few_positions at;
    struct own_keys own = {};
    int n_spans, q_head;

    grid_release();
    if (a.n_segs == 1)
        at = few_read<IS_RAW>(a.positions, a.max_tok, token);
    const struct tile t = { first,
                            min(ATTN_QUERIES, seg.n_tok * plan.group - first),
                            seg.row,
                            seg.n_tok,
                            seg.n_kv,
                            seg.keys + a.kv_offset + (size_t)blockIdx.y * a.d_head,
                            seg.values + a.kv_offset + (size_t)blockIdx.y * a.d_head };
    if (t.n <= 0) { /* all blocks of the cluster alike */
        grid_wait();
        return;
    }
    if (a.n_segs != 1 || t.row || (IS_RAW && t.n_tok != a.max_tok))
        at = few_read<IS_RAW>(a.positions + t.row, t.n_tok, token);
    if (rank * ATTN_KEYS < t.n_kv) { /* keys and values as soon as can be */
        const int key = rank * ATTN_KEYS, n_keys = min(ATTN_KEYS, t.n_kv - key);

        if (warp >= KEY_WARPS) {
            if (IS_RAW)
                own = find_own(at.own, key, n_keys);
            if (!IS_RAW && key + ATTN_KEYS > a.positions[t.row] &&
                key <= a.positions[t.row + t.n_tok - 1]) /* they ascend */
                grid_wait();
            few_fetch<D, IS_RAW>(a, t, key, find_fetched(own, n_keys).bits, own, s);
        }
    }
    {
        struct query q = { t.row + token, (int)blockIdx.y * plan.group + pair - token * plan.group,
                           at.query, 0 };

        if (lane < t.n && seg.mask_block)
            q.limit =
                (int)min((uint32_t)t.n_kv, ((uint32_t)q.position / (uint32_t)seg.mask_block + 1) *
                                               (uint32_t)seg.mask_block);
        else if (lane < t.n)
            q.limit = t.n_kv;
        q_head = q.token * a.n_head + q.head;
        n_spans = (__reduce_max_sync(~0u, max(q.limit, 0)) + ATTN_KEYS - 1) / ATTN_KEYS;
        if (warp == 0)
            s->rows[lane] = q;
    }
    if (threadIdx.x == 32) {
        barrier_init(&s->sent[0], 1);
        barrier_init(&s->sent[1], 1);
        barrier_init_fence();
    }
    __syncwarp();
    if (threadIdx.x == 32) {
        const int n = n_spans * max(0, min(n_rows, ATTN_QUERIES - rank * n_rows));

        barrier_expect(&s->sent[0], (uint32_t)n * 2 * sizeof(float));
        barrier_expect(&s->sent[1], (uint32_t)n * D * sizeof(float));
    }
    __syncwarp();
    cluster_arrive_relaxed(); /* all blocks are there before anything is sent */
    for (int span = rank; span < n_spans; span += n_blocks) {
        const int key = span * ATTN_KEYS, n_keys = min(ATTN_KEYS, t.n_kv - key);
        const bool is_first = span == rank, is_stored = blockIdx.x == 0;
        struct late_key<D> late;
        struct row_sums sums;

        late = {};
        if (warp < KEY_WARPS) {
            if (is_first)
                bring_queries<D, IS_RAW>(a, t, plan, at.query, q_head, s);
        } else {
            struct fetched_keys mask;

            if (IS_RAW && !is_first)
                own = find_own(at.own, key, n_keys);
            if (IS_RAW && threadIdx.x == KEY_WARPS * 32)
                s->own = own;
            mask = find_fetched(own, n_keys);
            if (!is_first)
                few_fetch<D, IS_RAW>(a, t, key, mask.bits, own, s);
            if (IS_RAW) {
                int unseen = RAW_TOKENS;

                if (span == 0 && is_stored) /* the first block of all has them written */
                    unseen = count_below(at.own, min(t.n_kv, n_spans * ATTN_KEYS));
                bring_keys<D>(a, t, plan, at.own, own, unseen, key, is_stored, mask.bits, s, &late);
            } else {
                async_wait<0>();
                split_fetched<D>(mask.bits, s);
            }
        }
        wgmma_shared_fence();
        __syncthreads(); /* operands */
        if (IS_RAW && warp < KEY_WARPS)
            own = s->own;
        if (IS_RAW)
            store_key<D>(late, a.d_head);
        if (warp >= SCORE_WARPS)
            few_scores<D>(s);
        else if (IS_RAW && own.n && warp < KEY_WARPS)
            split_own_values<D>(own, s);
        __syncthreads(); /* scores, and own values */
        sums = few_softmax<D>(s, key);
        wgmma_shared_fence();
        if (is_first)
            cluster_wait();
        __syncthreads(); /* p */
        if (warp < D / 16)
            few_output<D>(s, span, n_rows);
        sums.l = add_octets(sums.l);
        if (lane % 16 == 0)
            send_row_sums<D>(s, span, n_rows, sums);
        if (IS_RAW && is_stored && own.n && warp < KEY_WARPS)
            store_own_values<D>(a, t, key, own);
        if (span + n_blocks < n_spans)
            __syncthreads(); /* values, and p */
    }
    if (rank >= n_spans) {
        grid_wait();
        async_wait<0>();
        cluster_wait();
        __syncthreads(); /* its barriers are made */
    }
    if (warp >= JOIN_WARPS)
        few_join<D>(a, t, s, n_spans, n_rows);
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

    return sizeof(struct few_smem<D>) + kept > alone ? sizeof(struct few_smem<D>) + kept : alone;
}

/* Blocks that share the spans of each pair; 0: one goes through all of them. Clusters of as many as
 * have spans, at least two, if all run at once, a block a multiprocessor: two share what they
 * multiply with. */
template <int D, bool IS_RAW> static int find_cluster(const struct attention_args *a)
{
    const int n_pairs = count_pairs(a), n_spans = count_spans(a);

    if (n_pairs >= ENOUGH_PAIRS || allow_shared(few_kernel<D, IS_RAW>, MAX_SHARED) != cudaSuccess)
        return 0;
    for (int n = max(MIN_CLUSTER, min(n_spans, MAX_CLUSTER)); n >= MIN_CLUSTER; n--) {
        const size_t shared = cluster_shared<D>(n_spans, n);

        if (shared > MAX_SHARED)
            break; /* smaller ones need more */
        if (count_clusters(few_kernel<D, IS_RAW>, n, FEW_WARPS * 32, shared) >= n_pairs)
            return n;
    }
    return 0;
}

static float scale_of(const struct attention_args *a)
{
    return (float)(1.4426950408889634 / sqrt((double)a->d_head));
}

template <int D, bool IS_RAW>
static cudaError_t launch_few(const struct attention_args *a, int n_blocks, bool is_early,
                              cudaStream_t stream)
{
    const dim3 grid(count_tiles(a), a->n_kv_head, a->n_segs * n_blocks);
    const int group = a->n_head / a->n_kv_head;
    const struct few_plan plan = { share_of(n_blocks), group, (1u << 20) / (unsigned)group + 1,
                                   scale_of(a), 1.0 / a->d_head };

    return launch_clusters(few_kernel<D, IS_RAW>, grid, n_blocks, FEW_WARPS * 32,
                           cluster_shared<D>(count_spans(a), n_blocks), is_early, stream, *a,
                           n_blocks, plan);
}

template <int D>
static cudaError_t launch_best(const struct attention_args *a, bool is_early, cudaStream_t stream)
{
    const int n = a->is_raw ? find_cluster<D, true>(a) : find_cluster<D, false>(a);

    if (!n)
        return attention_many_launch(a, is_early, stream);
    return a->is_raw ? launch_few<D, true>(a, n, is_early, stream)
                     : launch_few<D, false>(a, n, is_early, stream);
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
