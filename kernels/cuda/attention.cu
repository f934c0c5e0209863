/*
 * Attention: attention.h.
 *
 * A block of 4 warps takes one key/value head and up to ATTN_QUERIES of the queries that use it:
 * (token, query head) pairs of consecutive tokens. For a span of keys
 *
 *     scores   warp w: all queries by keys 16 w .. 16 w + 15, from fragments of q in shared memory
 *     softmax  each row's largest score over the warps, p = 2^(s - largest), sums in warp order
 *     output   warp w: all queries by columns D/4 w .. of the values, p as fragments
 *
 * and joined with the spans before: m' = max(m, m_s), l' = l 2^(m - m') + l_s 2^(m_s - m'), the
 * output like l (Milakov and Gimelshein, arXiv:1805.02867). Scores are in units of log 2.
 *
 * Where there are too few (tile, head) pairs for the machine, each span gets a block of its own; it
 * leaves its part in global memory, and the last of a pair to arrive joins them in order. Which
 * block that is does not reach the result.
 */
#include "kernels/cuda/attention.h"

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sm90.cuh"

#define THREADS 128
#define N_M (ATTN_QUERIES / 16)

/* What a block leaves for the one that joins: its threads' sums, then each row's m and l. */
template <int D> struct part {
    float o[N_M * D / 4 / 8 * 4][THREADS];
    float m[ATTN_QUERIES], l[ATTN_QUERIES];
};

template <int D> struct smem {
    static constexpr int k_stride = D + 16, v_stride = D + 4; /* floats: lanes hit all banks */
    float k[ATTN_KEYS][k_stride];
    float v[ATTN_KEYS][v_stride];
    uint4 q[2][N_M][D / 16][32];         /* upper and lower parts, fragments */
    uint4 p[2][N_M][ATTN_KEYS / 16][32]; /* the same */
    float max[4][ATTN_QUERIES], sum[4][ATTN_QUERIES];
    int limit[ATTN_QUERIES]; /* keys that a query sees */
    int is_last;
};

/* (v0, v1) as upper parts, and what is left of them. */
static __device__ __forceinline__ uint32_t split_bf16(float v0, float v1, uint32_t *ret_lower)
{
    uint32_t upper = pack_bf16(v0, v1);

    *ret_lower =
        pack_bf16(v0 - __uint_as_float(upper << 16), v1 - __uint_as_float(upper & 0xffff0000u));
    return upper;
}

/* c += (a_up + a_low) (b_up + b_low) less the product of the lower parts. */
static __device__ __forceinline__ void mma_split(float c[4], const uint4 &a_up, const uint4 &a_low,
                                                 const uint32_t b_up[2], const uint32_t b_low[2])
{
    mma_bf16(c, a_low, b_up[0], b_up[1]);
    mma_bf16(c, a_up, b_low[0], b_low[1]);
    mma_bf16(c, a_up, b_up[0], b_up[1]);
}

struct tile {
    struct attn_segment seg;
    int first, n; /* pairs of the segment's head: token first / group, ... */
    int group, kv_head;
};

/* Element offset of query i of the tile in q. */
static __device__ __forceinline__ size_t query_row(const struct attention_args &a,
                                                   const struct tile &t, int i)
{
    int pair = t.first + i;

    return (size_t)(t.seg.row + pair / t.group) * a.n_head + t.kv_head * t.group + pair % t.group;
}

/* Keys [key, key + ATTN_KEYS) of the head and their values; zeros where there are none. */
template <int D>
static __device__ __forceinline__ void load_keys(const struct attention_args &a,
                                                 const struct tile &t, int key, struct smem<D> *s)
{
    const size_t stride = (size_t)a.n_kv_head * a.d_head;
    const size_t from = a.kv_offset + (size_t)key * stride + (size_t)t.kv_head * a.d_head;
    const int n = min(ATTN_KEYS, t.seg.n_kv - key);

    if (a.d_head % 4 == 0) {
        for (int i = threadIdx.x; i < ATTN_KEYS * (D / 4); i += THREADS) {
            int row = i / (D / 4), col = i % (D / 4) * 4;
            bool is_there = row < n && col < a.d_head;
            size_t at = is_there ? from + (size_t)row * stride + col : 0;

            async_copy16(&s->k[row][col], t.seg.keys + at, is_there);
            async_copy16(&s->v[row][col], t.seg.values + at, is_there);
        }
        async_commit();
        async_wait<0>();
    } else {
        for (int i = threadIdx.x; i < ATTN_KEYS * D; i += THREADS) {
            int row = i / D, col = i % D;
            bool is_there = row < n && col < a.d_head;
            size_t at = from + (size_t)row * stride + col;

            s->k[row][col] = is_there ? t.seg.keys[at] : 0;
            s->v[row][col] = is_there ? t.seg.values[at] : 0;
        }
    }
}

/* The queries, times log2(e) / sqrt(d_head), as fragments; columns in the order of load_keys'
 * lanes: a lane has four in a row of each 16. */
template <int D>
static __device__ __forceinline__ void load_queries(const struct attention_args &a,
                                                    const struct tile &t, struct smem<D> *s)
{
    const float scale = (float)(1.4426950408889634 / sqrt((double)a.d_head));

    for (int i = threadIdx.x; i < N_M * (D / 16) * 32; i += THREADS) {
        int lane = i % 32, k = i / 32 % (D / 16), m = i / 32 / (D / 16);
        uint32_t up[2][2], low[2][2]; /* rows g and g + 8, columns 0 1 and 2 3 */

        for (int half = 0; half < 2; half++) {
            int row = m * 16 + half * 8 + lane / 4, col = k * 16 + lane % 4 * 4;
            float v[4];

            for (int j = 0; j < 4; j++)
                v[j] = row < t.n && col + j < a.d_head
                           ? a.q[query_row(a, t, row) * a.d_head + col + j] * scale
                           : 0;
            for (int j = 0; j < 2; j++)
                up[half][j] = split_bf16(v[2 * j], v[2 * j + 1], &low[half][j]);
        }
        s->q[0][m][k][lane] = make_uint4(up[0][0], up[1][0], up[0][1], up[1][1]);
        s->q[1][m][k][lane] = make_uint4(low[0][0], low[1][0], low[0][1], low[1][1]);
    }
}

/* Running sums of a thread: rows m 16 + lane / 4 + 8 h for (m, h). */
template <int D> struct running {
    static constexpr int n_n = D / 4 / 8; /* column octets of a warp */
    float o[N_M][n_n][4];
    float m[N_M][2], l[N_M][2];
};

template <int D> static __device__ __forceinline__ void running_init(struct running<D> *r)
{
#pragma unroll
    for (int m = 0; m < N_M; m++) {
        r->m[m][0] = r->m[m][1] = -INFINITY;
        r->l[m][0] = r->l[m][1] = 0;
#pragma unroll
        for (int n = 0; n < running<D>::n_n; n++)
            r->o[m][n][0] = r->o[m][n][1] = r->o[m][n][2] = r->o[m][n][3] = 0;
    }
}

/* Join a span: its output, largest score and sum. A span that a row does not see changes nothing of
 * it. */
template <int D>
static __device__ __forceinline__ void join(struct running<D> *r, const struct running<D> &s)
{
#pragma unroll
    for (int m = 0; m < N_M; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float ms = s.m[m][h], max = fmaxf(r->m[m][h], ms);
            float before = r->m[m][h] == max ? 1 : exp2f(r->m[m][h] - max);
            float now = ms == max ? 1 : exp2f(ms - max);

            if (ms == -INFINITY)
                continue;
            r->m[m][h] = max;
            r->l[m][h] = __fmaf_rn(s.l[m][h], now, __fmul_rn(r->l[m][h], before));
#pragma unroll
            for (int n = 0; n < running<D>::n_n; n++)
#pragma unroll
                for (int i = 0; i < 2; i++)
                    r->o[m][n][2 * h + i] = __fmaf_rn(s.o[m][n][2 * h + i], now,
                                                      __fmul_rn(r->o[m][n][2 * h + i], before));
        }
}

/* What the span of keys gives by itself. Its keys and values are in s, and all threads know. */
template <int D>
static __device__ __forceinline__ void attend_span(struct smem<D> *s, int key,
                                                   struct running<D> *ret)
{
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    float c[N_M][2][4]; /* scores: (row, key octet of the warp) */

#pragma unroll
    for (int m = 0; m < N_M; m++)
#pragma unroll
        for (int n = 0; n < 2; n++)
            c[m][n][0] = c[m][n][1] = c[m][n][2] = c[m][n][3] = 0;
#pragma unroll 4
    for (int k = 0; k < D / 16; k++) {
#pragma unroll
        for (int n = 0; n < 2; n++) {
            float4 x = *(const float4 *)&s->k[warp * 16 + n * 8 + g][k * 16 + t * 4];
            uint32_t up[2], low[2];

            up[0] = split_bf16(x.x, x.y, &low[0]);
            up[1] = split_bf16(x.z, x.w, &low[1]);
#pragma unroll
            for (int m = 0; m < N_M; m++)
                mma_split(c[m][n], s->q[0][m][k][lane], s->q[1][m][k][lane], up, low);
        }
    }
    /* the largest of each row */
#pragma unroll
    for (int m = 0; m < N_M; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int row = m * 16 + h * 8 + g, limit = s->limit[row];
            float max = -INFINITY;

#pragma unroll
            for (int n = 0; n < 2; n++)
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    float *v = &c[m][n][2 * h + i];

                    if (key + warp * 16 + n * 8 + t * 2 + i >= limit)
                        *v = -INFINITY;
                    max = fmaxf(max, *v);
                }
            max = fmaxf(max, __shfl_xor_sync(~0u, max, 1));
            max = fmaxf(max, __shfl_xor_sync(~0u, max, 2));
            if (t == 0)
                s->max[warp][row] = max;
        }
    __syncthreads();
#pragma unroll
    for (int m = 0; m < N_M; m++) {
        uint32_t up[2][2], low[2][2]; /* (row half, key octet) */

#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int row = m * 16 + h * 8 + g;
            float max =
                fmaxf(fmaxf(s->max[0][row], s->max[1][row]), fmaxf(s->max[2][row], s->max[3][row]));
            float sum = 0;

            ret->m[m][h] = max;
#pragma unroll
            for (int n = 0; n < 2; n++) {
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    float *v = &c[m][n][2 * h + i];

                    *v = *v == -INFINITY ? 0 : exp2f(*v - max);
                    sum += *v;
                }
                up[h][n] = split_bf16(c[m][n][2 * h], c[m][n][2 * h + 1], &low[h][n]);
            }
            sum += __shfl_xor_sync(~0u, sum, 1);
            sum += __shfl_xor_sync(~0u, sum, 2);
            if (t == 0)
                s->sum[warp][row] = sum;
        }
        s->p[0][m][warp][lane] = make_uint4(up[0][0], up[1][0], up[0][1], up[1][1]);
        s->p[1][m][warp][lane] = make_uint4(low[0][0], low[1][0], low[0][1], low[1][1]);
    }
    __syncthreads();
#pragma unroll
    for (int m = 0; m < N_M; m++) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int row = m * 16 + h * 8 + g;

            ret->l[m][h] = s->sum[0][row] + s->sum[1][row] + s->sum[2][row] + s->sum[3][row];
        }
#pragma unroll
        for (int n = 0; n < running<D>::n_n; n++)
            ret->o[m][n][0] = ret->o[m][n][1] = ret->o[m][n][2] = ret->o[m][n][3] = 0;
    }
#pragma unroll
    for (int k = 0; k < ATTN_KEYS / 16; k++) {
#pragma unroll
        for (int n = 0; n < running<D>::n_n; n++) {
            const float *v = &s->v[k * 16 + t * 2][warp * (D / 4) + n * 8 + g];
            const int stride = smem<D>::v_stride;
            uint32_t up[2], low[2];

            up[0] = split_bf16(v[0], v[stride], &low[0]);
            up[1] = split_bf16(v[8 * stride], v[9 * stride], &low[1]);
#pragma unroll
            for (int m = 0; m < N_M; m++)
                mma_split(ret->o[m][n], s->p[0][m][k][lane], s->p[1][m][k][lane], up, low);
        }
    }
}

template <int D>
static __device__ __forceinline__ void part_put(struct part<D> *p, const struct running<D> &r)
{
    const int lane = threadIdx.x % 32;

#pragma unroll
    for (int m = 0; m < N_M; m++) {
#pragma unroll
        for (int n = 0; n < running<D>::n_n; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                __stcg(&p->o[(m * running<D>::n_n + n) * 4 + i][threadIdx.x], r.o[m][n][i]);
        if (threadIdx.x < 32 && lane % 4 == 0)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                __stcg(&p->m[m * 16 + h * 8 + lane / 4], r.m[m][h]);
                __stcg(&p->l[m * 16 + h * 8 + lane / 4], r.l[m][h]);
            }
    }
}

template <int D>
static __device__ __forceinline__ void part_get(const struct part<D> *p, struct running<D> *ret)
{
    const int lane = threadIdx.x % 32;

#pragma unroll
    for (int m = 0; m < N_M; m++) {
#pragma unroll
        for (int n = 0; n < running<D>::n_n; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                ret->o[m][n][i] = __ldcg(&p->o[(m * running<D>::n_n + n) * 4 + i][threadIdx.x]);
#pragma unroll
        for (int h = 0; h < 2; h++) {
            ret->m[m][h] = __ldcg(&p->m[m * 16 + h * 8 + lane / 4]);
            ret->l[m][h] = __ldcg(&p->l[m * 16 + h * 8 + lane / 4]);
        }
    }
}

template <int D>
static __device__ __forceinline__ void write_rows(const struct attention_args &a,
                                                  const struct tile &t, const struct running<D> &r)
{
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

#pragma unroll
    for (int m = 0; m < N_M; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int i = m * 16 + h * 8 + lane / 4;
            const size_t row = i < t.n ? query_row(a, t, i) : 0;

#pragma unroll
            for (int n = 0; n < running<D>::n_n; n++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    const int col = warp * (D / 4) + n * 8 + lane % 4 * 2 + e;
                    float v = r.l[m][h] == 0 ? 0 : __fdiv_rn(r.o[m][n][2 * h + e], r.l[m][h]);

                    if (i >= t.n || col >= a.d_head)
                        continue;
                    if (a.y)
                        a.y[row * a.d_head + col] = v;
                    if (a.y_bf16)
                        a.y_bf16[row / a.n_head * a.ld + row % a.n_head * a.d_head + col] =
                            (uint16_t)pack_bf16(v, 0);
                }
        }
}

/*
 * Grid: (query tiles of a segment, key/value heads, segments times spans). n_spans 1: a block goes
 * through all of its spans, else it takes one and is counted in arrived[tile, head].
 */
template <int D>
__global__ void __launch_bounds__(THREADS, 2)
    attention_kernel(const __grid_constant__ struct attention_args a, int n_spans,
                     unsigned *arrived, struct part<D> *parts)
{
    extern __shared__ __align__(128) char raw[];
    struct smem<D> *s = (struct smem<D> *)raw;
    const int n_tiles = gridDim.x, seg = blockIdx.z / n_spans, span = blockIdx.z % n_spans;
    const int pair = (seg * n_tiles + blockIdx.x) * gridDim.y + blockIdx.y;
    struct running<D> sum, now;
    struct tile t;
    int end = 0, n_mine;

    grid_release();
    grid_wait();
    t.seg = a.segs[seg];
    t.group = a.n_head / a.n_kv_head;
    t.kv_head = blockIdx.y;
    t.first = blockIdx.x * ATTN_QUERIES;
    t.n = min(ATTN_QUERIES, t.seg.n_tok * t.group - t.first);
    if (t.n <= 0)
        return;
    for (int i = threadIdx.x; i < ATTN_QUERIES; i += THREADS) {
        int limit = i < t.n ? t.seg.n_kv : 0;

        if (i < t.n && t.seg.mask_block) {
            int64_t block = a.positions[t.seg.row + (t.first + i) / t.group] / t.seg.mask_block;

            limit = (int)min((int64_t)limit, (block + 1) * t.seg.mask_block);
        }
        s->limit[i] = limit;
    }
    __syncthreads();
    for (int i = 0; i < t.n; i++)
        end = max(end, s->limit[i]);
    n_mine = max(1, (end + ATTN_KEYS - 1) / ATTN_KEYS); /* spans that any of the tile sees */
    if (n_spans > 1 && span >= n_mine)
        return;
    load_queries<D>(a, t, s);
    running_init(&sum);
    for (int i = n_spans > 1 ? span : 0; i < (n_spans > 1 ? span + 1 : n_mine); i++) {
        load_keys<D>(a, t, i * ATTN_KEYS, s);
        __syncthreads();
        attend_span<D>(s, i * ATTN_KEYS, &now);
        if (n_spans == 1)
            join(&sum, now);
        __syncthreads(); /* keys and values are used up */
    }
    if (n_spans > 1 && n_mine > 1) {
        part_put(&parts[(size_t)pair * n_spans + span], now);
        __threadfence();
        __syncthreads();
        if (threadIdx.x == 0) {
            s->is_last = atomicAdd(&arrived[pair], 1) == n_mine - 1;
            if (s->is_last)
                arrived[pair] = 0;
        }
        __syncthreads();
        if (!s->is_last)
            return;
        __threadfence();
        for (int i = 0; i < n_mine; i++) {
            part_get(&parts[(size_t)pair * n_spans + i], &now);
            join(&sum, now);
        }
    } else if (n_spans > 1) {
        join(&sum, now);
    }
    write_rows<D>(a, t, sum);
}

/* ---- launching ---------------------------------------------------------------------------- */

/* Pairs of (tile, head) that fill a machine without splitting keys. */
enum { ENOUGH_PAIRS = 132 };

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
    int n = (a->max_kv + ATTN_KEYS - 1) / ATTN_KEYS;

    return count_pairs(a) >= ENOUGH_PAIRS || n < 1 ? 1 : n;
}

static size_t part_bytes(const struct attention_args *a)
{
    return a->d_head <= 64 ? sizeof(struct part<64>) : sizeof(struct part<128>);
}

size_t attention_zeroed_bytes(const struct attention_args *a)
{
    (void)a; /* one size, so that calls of different shapes can follow each other */
    return (ENOUGH_PAIRS * sizeof(unsigned) + 127) / 128 * 128;
}

size_t attention_scratch_bytes(const struct attention_args *a)
{
    int n = count_spans(a);

    return attention_zeroed_bytes(a) +
           (n > 1 ? (size_t)count_pairs(a) * (size_t)n * part_bytes(a) : 0);
}

template <int D>
static cudaError_t launch(const struct attention_args *a, bool is_early, cudaStream_t stream)
{
    const int n_spans = count_spans(a);
    const dim3 grid(count_tiles(a), a->n_kv_head, a->n_segs * n_spans);
    cudaError_t rc = allow_shared(attention_kernel<D>, sizeof(struct smem<D>));

    if (rc != cudaSuccess)
        return rc;
    return launch_kernel(attention_kernel<D>, grid, THREADS, sizeof(struct smem<D>), is_early,
                         stream, *a, n_spans, (unsigned *)a->scratch,
                         (struct part<D> *)((char *)a->scratch + attention_zeroed_bytes(a)));
}

cudaError_t attention_launch(const struct attention_args *a, bool is_early, cudaStream_t stream)
{
    if (a->d_head > ATTN_MAX_D_HEAD)
        return cudaErrorInvalidValue;
    if (!a->n_segs || !a->max_tok)
        return cudaSuccess;
    return a->d_head <= 64 ? launch<64>(a, is_early, stream) : launch<128>(a, is_early, stream);
}
