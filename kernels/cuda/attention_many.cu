/*
 * Attention of many queries: attention_many.h.
 *
 * A block takes one key/value head and up to ATTN_QUERIES of the queries that use it, and goes
 * through their spans of keys, multiplied as attention.cuh has it, by mma.sync: a warp has an octet
 * of a span's keys, then an eighth of the values' columns, for both row tiles. Nothing is fetched
 * before the kernel ahead is done, so keys and values are asked for at once, those of the next span
 * while this one is worked on.
 */
#include "kernels/cuda/attention_many.h"

#include <math.h>

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/gemm_tile.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sm90.cuh"

#define MANY_WARPS N_OCTETS
#define MANY_THREADS (32 * MANY_WARPS)
#define MANY_BLOCKS 2 /* of a multiprocessor */

template <int D> struct many_smem {
    static constexpr int k_stride = D + 16, v_stride = D + 4; /* floats: lanes hit all banks */
    float k[ATTN_KEYS][k_stride];
    float v[ATTN_KEYS][v_stride];
    uint4 q[2][N_TILES][D / 16][32]; /* upper and lower parts, a lane's fragments of 16 columns */
    uint4 p[2][N_TILES][ATTN_KEYS / 16][32]; /* the same, fragments */
    float max[ATTN_QUERIES][N_OCTETS], sum[ATTN_QUERIES][N_OCTETS];
};

/* Whom a block works for; n of its rows. */
struct many_tile {
    struct attn_segment seg;
    int first, n;               /* pairs of the segment's head: token first / group, ... */
    const float *keys, *values; /* the head's first */
};

/* A lane's row of the block's, or the last one. */
struct many_row {
    int token, head, limit;
};

/* Ask for a head's keys, or values, [0, ATTN_KEYS) of a span; zeros where there are none. By all
 * threads; async_wait() and a barrier before they are read. */
template <int D, int STRIDE>
static __device__ __forceinline__ void fetch_rows(const float *from, size_t stride, int n, int d,
                                                  float (*to)[STRIDE])
{
    constexpr int AT_A_TIME = MANY_THREADS / (D / 4);

    if (d % 4 == 0) {
        const int first = threadIdx.x / (D / 4), col = threadIdx.x % (D / 4) * 4;
        const float *at = from + first * stride + col;

#pragma unroll
        for (int row = first; row < ATTN_KEYS; row += AT_A_TIME, at += AT_A_TIME * stride) {
            const bool is_there = row < n && col < d;

            async_copy16(&to[row][col], is_there ? at : from, is_there);
        }
    } else {
#pragma unroll 1
        for (int i = threadIdx.x; i < ATTN_KEYS * D; i += MANY_THREADS)
            to[i / D][i % D] = i / D < n && i % D < d ? from[i / D * stride + i % D] : 0;
    }
    async_commit();
}

static __device__ __forceinline__ struct many_row find_row(const struct attention_args &a,
                                                           const struct many_tile &t, int group)
{
    const int pair = t.first + min((int)(threadIdx.x % 32), t.n - 1), token = pair / group;
    struct many_row r = { t.seg.row + token, (int)blockIdx.y * group + pair - token * group,
                          t.seg.n_kv };

    if (t.seg.mask_block) {
        const int block = a.positions[r.token] / t.seg.mask_block;

        r.limit = (int)min((int64_t)r.limit, ((int64_t)block + 1) * t.seg.mask_block);
    }
    return r;
}

/* Queries times log2(e) / sqrt(d_head) as fragments: a warp brings four rows; a lane has four
 * columns in a row of each 16, as of the keys. */
template <int D>
static __device__ __forceinline__ void
put_rows(const struct attention_args &a, const struct many_tile &t, const struct many_row &lane_row,
         float scale, struct many_smem<D> *s)
{
    const int row = query_row(threadIdx.x / 32);
    const int token = __shfl_sync(~0u, lane_row.token, row);
    const int head = __shfl_sync(~0u, lane_row.head, row);
    const float *from = a.q + ((size_t)token * a.n_head + head) * a.d_head;
    float4 v[quads_of<D>];

#pragma unroll
    for (int j = 0; j < quads_of<D>; j++) {
        v[j] = make_float4(0, 0, 0, 0);
        if (row < t.n)
            v[j] = head_read(from, quad_col(j), a.d_head);
    }
#pragma unroll
    for (int j = 0; j < quads_of<D>; j++) {
        const int quad = threadIdx.x % HEAD_LANES + j * HEAD_LANES;
        const int step = quad / 4, lane = (row % 8 * 4 + quad % 4) ^ step % 2 * 4;
        uint2 up, low;

        up.x = split_bf16(v[j].x * scale, v[j].y * scale, &low.x);
        up.y = split_bf16(v[j].z * scale, v[j].w * scale, &low.y);
        ((uint2 *)&s->q[0][row / 16][step][lane])[row / 8 % 2] = up;
        ((uint2 *)&s->q[1][row / 16][step][lane])[row / 8 % 2] = low;
    }
}

/* What attention.cuh says of products, of all tiles: products that add to the same sums are far
 * from each other. */
static __device__ __forceinline__ void
mma_split_all(float (&main)[N_TILES][4], float (&cross)[N_TILES][4], const uint4 (&a_up)[N_TILES],
              const uint4 (&a_low)[N_TILES], const uint32_t (&b_up)[2], const uint32_t (&b_low)[2])
{
#pragma unroll
    for (int m = 0; m < N_TILES; m++)
        mma_bf16(cross[m], a_low[m], b_up[0], b_up[1]);
#pragma unroll
    for (int m = 0; m < N_TILES; m++)
        mma_bf16(main[m], a_up[m], b_up[0], b_up[1]);
#pragma unroll
    for (int m = 0; m < N_TILES; m++)
        mma_bf16(cross[m], a_up[m], b_low[0], b_low[1]);
}

static __device__ __forceinline__ uint4 swap_middle(const uint4 &v)
{
    return make_uint4(v.x, v.z, v.y, v.w);
}

/* Scores of both row tiles (row lane / 4 + 8 h) with the warp's keys, and the largest of each row.
 * limits: of the lane's rows. */
template <int D>
static __device__ __forceinline__ void
score(struct many_smem<D> *s, const int (&limits)[N_TILES][2], int key, float (&c)[N_TILES][4])
{
    const int octet = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    float cross[N_TILES][4];

#pragma unroll
    for (int m = 0; m < N_TILES; m++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            c[m][i] = cross[m][i] = 0;
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
        const float4 x = *(const float4 *)&s->k[octet * 8 + g][k * 16 + t * 4];
        uint32_t up[2], low[2];
        uint4 q_up[N_TILES], q_low[N_TILES];

        up[0] = split_bf16(x.x, x.y, &low[0]);
        up[1] = split_bf16(x.z, x.w, &low[1]);
#pragma unroll
        for (int m = 0; m < N_TILES; m++) {
            q_up[m] = swap_middle(s->q[0][m][k][lane ^ k % 2 * 4]);
            q_low[m] = swap_middle(s->q[1][m][k][lane ^ k % 2 * 4]);
        }
        mma_split_all(c, cross, q_up, q_low, up, low);
    }
#pragma unroll
    for (int m = 0; m < N_TILES; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float max;

#pragma unroll
            for (int i = 0; i < 2; i++) {
                float *v = &c[m][2 * h + i];

                *v = key + octet * 8 + t * 2 + i < limits[m][h] ? *v + cross[m][2 * h + i]
                                                                : -INFINITY;
            }
            max = fmaxf(c[m][2 * h], c[m][2 * h + 1]);
            max = fmaxf(max, __shfl_xor_sync(~0u, max, 1));
            max = fmaxf(max, __shfl_xor_sync(~0u, max, 2));
            if (t == 0)
                s->max[m * 16 + h * 8 + g][octet] = max;
        }
}

static __device__ __forceinline__ void read_octets(const float *from, float (&ret)[N_OCTETS])
{
#pragma unroll
    for (int i = 0; i < N_OCTETS; i += 4)
        *(float4 *)&ret[i] = *(const float4 *)(from + i);
}

/* p of the warp's keys, half a fragment, and its sums. */
template <int D>
static __device__ __forceinline__ void soften(struct many_smem<D> *s, float (&c)[N_TILES][4],
                                              float (&ret_m)[N_TILES][2])
{
    const int octet = threadIdx.x / 32, lane = threadIdx.x % 32;

#pragma unroll
    for (int m = 0; m < N_TILES; m++) {
        uint32_t up[2], low[2];

#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int row = m * 16 + h * 8 + lane / 4;
            float all[N_OCTETS], max, sum = 0;

            read_octets(s->max[row], all);
            max = all[0];
#pragma unroll
            for (int w = 1; w < N_OCTETS; w++)
                max = fmaxf(max, all[w]);
            ret_m[m][h] = max;
#pragma unroll
            for (int i = 0; i < 2; i++) {
                float *v = &c[m][2 * h + i];

                *v = *v == -INFINITY ? 0 : exp2f(*v - max);
                sum += *v;
            }
            up[h] = split_bf16(c[m][2 * h], c[m][2 * h + 1], &low[h]);
            sum += __shfl_xor_sync(~0u, sum, 1);
            sum += __shfl_xor_sync(~0u, sum, 2);
            if (lane % 4 == 0)
                s->sum[row][octet] = sum;
        }
        ((uint2 *)&s->p[0][m][octet / 2][lane])[octet % 2] = make_uint2(up[0], up[1]);
        ((uint2 *)&s->p[1][m][octet / 2][lane])[octet % 2] = make_uint2(low[0], low[1]);
    }
}

/* What the lane's rows come to, columns of its warp. */
template <int D> struct many_sums {
    static constexpr int n_n = D / MANY_WARPS / 8; /* octets of columns */
    float o[N_TILES][n_n][4], m[N_TILES][2], l[N_TILES][2];
};

/* p times the span's values, joined with the spans before. max: of the span. */
template <int D>
static __device__ __forceinline__ void
add_span(const struct many_smem<D> *s, const float (&max)[N_TILES][2], struct many_sums<D> *r)
{
    const int octet = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    constexpr int stride = many_smem<D>::v_stride, n_n = many_sums<D>::n_n;
    float o[n_n][N_TILES][4], rest[n_n][N_TILES][4];
    float before[N_TILES][2], now[N_TILES][2];
    bool seen[N_TILES][2];

#pragma unroll
    for (int n = 0; n < n_n; n++)
#pragma unroll
        for (int m = 0; m < N_TILES; m++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                o[n][m][i] = rest[n][m][i] = 0;
#pragma unroll
    for (int k = 0; k < ATTN_KEYS / 16; k++) {
        uint32_t up[n_n][2], low[n_n][2];
        uint4 p_up[N_TILES], p_low[N_TILES];

#pragma unroll
        for (int m = 0; m < N_TILES; m++) {
            p_up[m] = s->p[0][m][k][lane];
            p_low[m] = s->p[1][m][k][lane];
        }
#pragma unroll
        for (int n = 0; n < n_n; n++) {
            const float *v = &s->v[k * 16 + t * 2][octet * (D / MANY_WARPS) + n * 8 + g];

            up[n][0] = split_bf16(v[0], v[stride], &low[n][0]);
            up[n][1] = split_bf16(v[8 * stride], v[9 * stride], &low[n][1]);
        }
#pragma unroll
        for (int n = 0; n < n_n; n++)
            mma_split_all(o[n], rest[n], p_up, p_low, up[n], low[n]);
    }
#pragma unroll
    for (int m = 0; m < N_TILES; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float all[N_OCTETS], sum;

            read_octets(s->sum[m * 16 + h * 8 + g], all);
            sum = all[0];
#pragma unroll
            for (int w = 1; w < N_OCTETS; w++)
                sum += all[w];
            float row_max = r->m[m][h], row_sum = r->l[m][h];

            seen[m][h] = is_seen(max[m][h], sum);
            join_row(&row_max, &row_sum, max[m][h], sum, &before[m][h], &now[m][h]);
            r->m[m][h] = seen[m][h] ? row_max : r->m[m][h];
            r->l[m][h] = seen[m][h] ? row_sum : r->l[m][h];
        }
#pragma unroll
    for (int n = 0; n < n_n; n++)
#pragma unroll
        for (int m = 0; m < N_TILES; m++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float *to = &r->o[m][n][i];

                *to = seen[m][i / 2] ? join_value(*to, o[n][m][i] + rest[n][m][i], before[m][i / 2],
                                                  now[m][i / 2])
                                     : *to;
            }
}

/*
 * attention_value() of each, by one reciprocal. With r = 1 / l rounded, and q = v r, which is
 * within a unit of the last place, q + (v - q l) r rounded once is v / l rounded (Markstein, IBM J.
 * Res. Dev. 34, 1990), where nothing is out of range on the way; else by division. l is 0, at least
 * 1, or NaN.
 */
template <int N> static __device__ __forceinline__ void divide_row(float (&v)[N], float l)
{
    const float r = __frcp_rn(l);
    float least = INFINITY, most = 0; /* a NaN comes through either way */

#pragma unroll
    for (int i = 0; i < N; i++) {
        least = fminf(least, fabsf(v[i]));
        most = fmaxf(most, fabsf(v[i]));
    }
    if (l < 0x1p60f && least > 0x1p-60f && most < 0x1p60f) {
#pragma unroll
        for (int i = 0; i < N; i++) {
            const float q = __fmul_rn(v[i], r);

            v[i] = __fmaf_rn(__fmaf_rn(-q, l, v[i]), r, q);
        }
        return;
    }
#pragma unroll
    for (int i = 0; i < N; i++)
        v[i] = attention_value(v[i], l);
}

/* Outputs of the lane's rows. IS_TILED: in tiles and nowhere else, d_head is a multiple of 16. */
template <int D, bool IS_TILED>
static __device__ __forceinline__ void
write_rows(const struct attention_args &a, const struct many_tile &t,
           const struct many_row &lane_row, const struct many_sums<D> &r)
{
    const int lane = threadIdx.x % 32;
    const int col = threadIdx.x / 32 * (D / MANY_WARPS) + lane % 4 * 2;

#pragma unroll
    for (int m = 0; m < N_TILES; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int row = m * 16 + h * 8 + lane / 4;
            const struct query q = { __shfl_sync(~0u, lane_row.token, row),
                                     __shfl_sync(~0u, lane_row.head, row), 0, 0 };
            float v[2 * many_sums<D>::n_n];
            uint32_t pairs[many_sums<D>::n_n];

#pragma unroll
            for (int n = 0; n < many_sums<D>::n_n; n++) {
                v[2 * n] = r.o[m][n][2 * h];
                v[2 * n + 1] = r.o[m][n][2 * h + 1];
            }
            divide_row(v, r.l[m][h]);
#pragma unroll
            for (int n = 0; n < many_sums<D>::n_n; n++) {
                pairs[n] = pack_bf16(v[2 * n], v[2 * n + 1]);
                if (!IS_TILED && row < t.n)
                    put_pair(a, q, col + n * 8, v[2 * n], v[2 * n + 1]);
            }
            if (IS_TILED && row < t.n && col < a.d_head) {
                uint32_t *to =
                    tile_pair(a.y_tiled, tile_octets(a.n_tok), q.token, q.head * a.d_head + col);

                if (many_sums<D>::n_n == 2)
                    *(uint2 *)to = make_uint2(pairs[0], pairs[many_sums<D>::n_n - 1]);
                else
                    *to = pairs[0];
            }
        }
}

/* Grid: (query tiles of a segment, key/value heads, segments). group: query heads of one of them.
 */
template <int D, bool IS_TILED>
__global__ void __launch_bounds__(MANY_THREADS, MANY_BLOCKS)
    attention_many_kernel(const __grid_constant__ struct attention_args a, int group, float scale)
{
    extern __shared__ __align__(16) char raw[];
    struct many_smem<D> *s = (struct many_smem<D> *)raw;
    const size_t stride = (size_t)a.n_kv_head * a.d_head;
    const size_t at = a.kv_offset + (size_t)blockIdx.y * a.d_head;
    struct many_sums<D> sums;
    int limits[N_TILES][2], n_spans;
    struct many_tile t;

    grid_release();
    t.seg = a.segs[blockIdx.z];
    t.first = blockIdx.x * ATTN_QUERIES;
    t.n = min(ATTN_QUERIES, t.seg.n_tok * group - t.first);
    t.keys = t.seg.keys + at;
    t.values = t.seg.values + at;
    grid_wait();
    if (t.n <= 0)
        return;
    fetch_rows<D>(t.keys, stride, t.seg.n_kv, a.d_head, s->k);
    fetch_rows<D>(t.values, stride, t.seg.n_kv, a.d_head, s->v);
    const struct many_row row = find_row(a, t, group);

    put_rows<D>(a, t, row, scale, s);
    n_spans = (__reduce_max_sync(~0u, max(row.limit, 0)) + ATTN_KEYS - 1) / ATTN_KEYS;
#pragma unroll
    for (int m = 0; m < N_TILES; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            limits[m][h] = __shfl_sync(~0u, row.limit, m * 16 + h * 8 + threadIdx.x % 32 / 4);
            sums.m[m][h] = -INFINITY;
            sums.l[m][h] = 0;
#pragma unroll
            for (int n = 0; n < many_sums<D>::n_n; n++)
                sums.o[m][n][2 * h] = sums.o[m][n][2 * h + 1] = 0;
        }
#pragma unroll 1
    for (int span = 0; span < n_spans; span++) {
        const int key = span * ATTN_KEYS, next = key + ATTN_KEYS;
        const bool is_last = span + 1 == n_spans;
        float c[N_TILES][4], max[N_TILES][2];

        async_wait<1>();
        __syncthreads();
        score(s, limits, key, c);
        __syncthreads(); /* keys are used up */
        if (!is_last)
            fetch_rows<D>(t.keys + next * stride, stride, t.seg.n_kv - next, a.d_head, s->k);
        soften(s, c, max);
        if (is_last)
            async_wait<0>();
        else
            async_wait<1>();
        __syncthreads();
        add_span(s, max, &sums);
        if (is_last)
            break;
        __syncthreads(); /* values, too */
        fetch_rows<D>(t.values + next * stride, stride, t.seg.n_kv - next, a.d_head, s->v);
    }
    write_rows<D, IS_TILED>(a, t, row, sums);
}

template <int D, bool IS_TILED>
static cudaError_t launch(const struct attention_args *a, bool is_early, cudaStream_t stream)
{
    const int group = a->n_head / a->n_kv_head;
    const dim3 grid((a->max_tok * group + ATTN_QUERIES - 1) / ATTN_QUERIES, a->n_kv_head,
                    a->n_segs);
    const float scale = (float)(1.4426950408889634 / sqrt((double)a->d_head));
    cudaError_t rc = allow_shared(attention_many_kernel<D, IS_TILED>, sizeof(struct many_smem<D>));

    if (rc != cudaSuccess)
        return rc;
    return launch_kernel(attention_many_kernel<D, IS_TILED>, grid, MANY_THREADS,
                         sizeof(struct many_smem<D>), is_early, stream, *a, group, scale);
}

template <int D>
static cudaError_t launch_either(const struct attention_args *a, bool is_early, cudaStream_t stream)
{
    return a->y_tiled && !a->y && !a->y_bf16 && a->d_head % 16 == 0
               ? launch<D, true>(a, is_early, stream)
               : launch<D, false>(a, is_early, stream);
}

cudaError_t attention_many_launch(const struct attention_args *a, bool is_early,
                                  cudaStream_t stream)
{
    return a->d_head <= 64 ? launch_either<64>(a, is_early, stream)
                           : launch_either<128>(a, is_early, stream);
}
