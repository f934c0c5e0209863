/*
 * What attention of few queries (attention.cu) and of many (attention_many.cu) share: names of
 * sizes, and all that decides about bits.
 *
 * Products are those of (a_up + a_low) (b_up + b_low) less that of the lower parts, a being
 * queries, or p: 16 columns (keys) after 16, ups go to one sum, and a_low b_up, then a_up b_low, to
 * another, which is added in the end.
 */
#ifndef KERNELS_CUDA_ATTENTION_CUH
#define KERNELS_CUDA_ATTENTION_CUH

#include <math.h>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/gemm_tile.cuh"
#include "kernels/cuda/heads.cuh"
#include "kernels/cuda/sm90.cuh"

#define N_TILES (ATTN_QUERIES / 16)
#define N_OCTETS (ATTN_KEYS / 8)

template <int D> static constexpr int quads_of = D / HEAD_STEP;

/* Where the lane's quad j of a row begins. */
static __device__ __forceinline__ int quad_col(int j)
{
    return threadIdx.x % HEAD_LANES * 4 + j * HEAD_STEP;
}

/* Of queries a warp has rows of g and of g + 8, and both that follow. */
static __device__ __forceinline__ int query_row(int warp)
{
    const int i = threadIdx.x % 32 / HEAD_LANES;

    return warp / 4 * 16 + warp % 4 * 2 + i / 2 + i % 2 * 8;
}

/* A row of a block: whose token it is, of all rows, which head, and how many keys it sees. */
struct query {
    int token, head, position, limit;
};

/* (v0, v1) as upper parts, and what is left of them. */
static __device__ __forceinline__ uint32_t split_bf16(float v0, float v1, uint32_t *ret_lower)
{
    uint32_t upper = pack_bf16(v0, v1);

    *ret_lower =
        pack_bf16(v0 - __uint_as_float(upper << 16), v1 - __uint_as_float(upper & 0xffff0000u));
    return upper;
}

/* ---- arithmetic ---------------------------------------------------------------------------- */

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

#endif
