/*
 * Norm and RoPE of heads, for all kernels that do them; the bits are those of the ops.
 *
 * A row, the queries or keys of a head at one position, is shared by HEAD_LANES neighbouring lanes:
 * lane l has its quads (four neighbouring elements) l, l + HEAD_LANES, ...; what is beyond d_head
 * is zero. So it is turned without leaving the lane, or, where less than a quarter of 128 elements
 * is turned with as many, by exchanges between lanes.
 */
#ifndef KERNELS_CUDA_HEADS_CUH
#define KERNELS_CUDA_HEADS_CUH

#include "kernels/cuda/row.cuh"

static constexpr int HEAD_LANES = 8;
static constexpr int HEAD_STEP = 4 * HEAD_LANES; /* elements from a quad of a lane to its next */

/* Can head_turn() turn such rows? */
static __host__ __device__ inline bool head_can_turn(int d_head, int d_rot)
{
    const int n = d_rot / 8; /* quads turned with as many */

    return d_head % 4 == 0 && d_rot % 8 == 0 && n && !(n & (n - 1));
}

/* Elements k .. k + 3 of a row of d in global memory, past the first-level cache. */
static __device__ __forceinline__ float4 head_read(const float *row, int k, int d)
{
    if (d % 4 == 0)
        return k < d ? __ldcg((const float4 *)(row + k)) : make_float4(0, 0, 0, 0);
    return make_float4(k < d ? __ldcg(row + k) : 0, k + 1 < d ? __ldcg(row + k + 1) : 0,
                       k + 2 < d ? __ldcg(row + k + 2) : 0, k + 3 < d ? __ldcg(row + k + 3) : 0);
}

static __device__ __forceinline__ float4 head_norm_quad(float4 v, float factor, float4 w)
{
    return make_float4(rms_apply(v.x, factor, w.x), rms_apply(v.y, factor, w.y),
                       rms_apply(v.z, factor, w.z), rms_apply(v.w, factor, w.w));
}

/* Turn four pairs (a, b). */
static __device__ __forceinline__ void head_turn_quads(float4 *a, float4 *b, float4 cos, float4 sin)
{
    rope_turn(a->x, b->x, cos.x, sin.x, &a->x, &b->x);
    rope_turn(a->y, b->y, cos.y, sin.y, &a->y, &b->y);
    rope_turn(a->z, b->z, cos.z, sin.z, &a->z, &b->z);
    rope_turn(a->w, b->w, cos.w, sin.w, &a->w, &b->w);
}

/* Turns of a lane's quads at a position: cosines and sines. */
template <int QUADS> struct head_turns {
    float4 cos[QUADS / 2], sin[QUADS / 2];
};

/* turn: cosines, then sines, of the row's position (fused.h). */
template <int QUADS>
static __device__ __forceinline__ struct head_turns<QUADS> head_read_turns(const float *turn,
                                                                           int d_rot) {
    const int lane = threadIdx.x % HEAD_LANES, half = d_rot / 2; /* a power of two */
    struct head_turns<QUADS> ret;

#pragma unroll
    for (int j = 0; j < QUADS / 2; j++) {
        const int k = lane * 4 + j * HEAD_STEP;

        ret.cos[j] = ret.sin[j] = make_float4(0, 0, 0, 0);
        if (k < 2 * half) {
            ret.cos[j] = __ldg((const float4 *)(turn + (k & (half - 1))));
            ret.sin[j] = __ldg((const float4 *)(turn + half + (k & (half - 1))));
        }
    }
    return ret;
}

/* Sum of a row's squares, as row_sum_squares() adds them: four quads are a slice. */
template <int QUADS>
static __device__ __forceinline__ double head_sum_squares(const float4 (&v)[QUADS])
{
    double sum[QUADS];

#pragma unroll
    for (int j = 0; j < QUADS; j++) {
        double squares[4] = { 0, 0, 0, 0 };

        add_squares(squares, v[j]);
        sum[j] = quad_sum(add_four(squares));
        sum[j] += __shfl_xor_sync(0xffffffffu, sum[j], 4);
    }
#pragma unroll
    for (int n = 1; n < QUADS; n *= 2)
#pragma unroll
        for (int j = 0; j < QUADS; j += 2 * n)
            sum[j] += sum[j + n];
    return sum[0];
}

/* What the norm multiplies the row by; inverse_d: 1.0 / d_head. By all lanes of a warp. */
template <int QUADS>
static __device__ __forceinline__ float head_factor(const float4 (&v)[QUADS], double inverse_d,
                                                    float eps)
{
    return rms_factor_of(head_sum_squares(v), inverse_d, eps);
}

/* Turn a normed row; head_can_turn(). By all lanes of a warp. */
template <int QUADS>
static __device__ __forceinline__ void head_turn(float4 (&v)[QUADS],
                                                 const struct head_turns<QUADS> &c, int d_rot)
{
    const int lane = threadIdx.x % HEAD_LANES, n = d_rot / 8; /* quads to the other of a pair */

    if (n < HEAD_LANES) {
        float4 other = make_float4(
            __shfl_xor_sync(0xffffffffu, v[0].x, n), __shfl_xor_sync(0xffffffffu, v[0].y, n),
            __shfl_xor_sync(0xffffffffu, v[0].z, n), __shfl_xor_sync(0xffffffffu, v[0].w, n));

        if (lane < n)
            head_turn_quads(&v[0], &other, c.cos[0], c.sin[0]);
        else if (lane < 2 * n)
            head_turn_quads(&other, &v[0], c.cos[0], c.sin[0]);
    } else if (n == HEAD_LANES) {
        head_turn_quads(&v[0], &v[1], c.cos[0], c.sin[0]);
    } else if (QUADS == 4) {
        head_turn_quads(&v[0], &v[QUADS / 2], c.cos[0], c.sin[0]);
        head_turn_quads(&v[1], &v[QUADS - 1], c.cos[QUADS / 2 - 1], c.sin[QUADS / 2 - 1]);
    }
}

#endif
