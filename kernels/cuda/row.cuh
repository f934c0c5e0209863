/*
 * What a warp does with a row, for every kernel that needs it: ops and the kernels that join
 * several of them are to give the same bits, so each sum has one order, written here.
 *
 * An order is: which lane adds which elements (always in ascending order), then a butterfly over
 * the lanes, after which all of them hold the sum. It depends on the length of the row alone.
 *
 *   row_l1       element i belongs to lane (i / 4) % 32, sums in f64
 *   row_dot      element i belongs to lane (i / 8) % 32, multiply-adds in f32
 *   row_softmax  element i belongs to lane i % 32, sum in f64
 *
 * Sums that several blocks share, of squares and of the router's product, go by slices: a row is
 * ROW_SLICES slices of row_slice() elements, the last ones short or empty. The slices' sums are
 * added as a balanced tree, neighbours first. In a slice of squares, element i belongs to lane
 * (i / 4) % 4, which has one sum in f64 for each i % 4.
 */
#ifndef KERNELS_CUDA_ROW_CUH
#define KERNELS_CUDA_ROW_CUH

#include <cuda_fp16.h>
#include <stdint.h>

#include "kernels/kernels.h"

static constexpr int WARP_LANES = 32;
static constexpr int ROW_SLICES = 32;

/* Elements of a slice: a multiple of 16. */
static __host__ __device__ inline int row_slice(int d)
{
    return (d + 16 * ROW_SLICES - 1) / (16 * ROW_SLICES) * 16;
}

static __device__ __forceinline__ double warp_sum(double v)
{
#pragma unroll
    for (int o = WARP_LANES / 2; o; o /= 2)
        v += __shfl_xor_sync(0xffffffffu, v, o);
    return v;
}

static __device__ __forceinline__ float warp_sum(float v)
{
#pragma unroll
    for (int o = WARP_LANES / 2; o; o /= 2)
        v = __fadd_rn(v, __shfl_xor_sync(0xffffffffu, v, o));
    return v;
}

/* The largest that is not NaN; -inf if there is none. */
static __device__ __forceinline__ float warp_max(float v)
{
#pragma unroll
    for (int o = WARP_LANES / 2; o; o /= 2)
        v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, o));
    return v;
}

/* Element i of an array of weights, as dtype_get(). */
template <enum dtype T> static __device__ __forceinline__ float element(const void *p, size_t i)
{
    if (T == DT_F32)
        return ((const float *)p)[i];
    if (T == DT_BF16)
        return __uint_as_float((uint32_t)((const uint16_t *)p)[i] << 16);
    return __half2float(((const __half *)p)[i]);
}

/* What the four sums of a lane come to. */
static __device__ __forceinline__ double add_four(const double (&sum)[4])
{
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* Add the squares of four elements. Products of two f32 are exact in f64. */
static __device__ __forceinline__ void add_squares(double (&sum)[4], float4 v)
{
    sum[0] = fma((double)v.x, (double)v.x, sum[0]);
    sum[1] = fma((double)v.y, (double)v.y, sum[1]);
    sum[2] = fma((double)v.z, (double)v.z, sum[2]);
    sum[3] = fma((double)v.w, (double)v.w, sum[3]);
}

/* The sum over four neighbouring lanes. */
static __device__ __forceinline__ double quad_sum(double v)
{
    v += __shfl_xor_sync(0xffffffffu, v, 1);
    return v + __shfl_xor_sync(0xffffffffu, v, 2);
}

/* What slices 8 i .. 8 i + 7 of x (d) add to the sum of its squares: a quarter of them. */
static __device__ __forceinline__ double row_quarter_squares(const float *x, int d, int i, int lane)
{
    const bool by_four = d % 4 == 0 && (uintptr_t)x % 16 == 0;
    const int cols = row_slice(d), from = (8 * i + lane / 4) * cols;
    double sum[4] = { 0, 0, 0, 0 }, quarter;

    if (8 * i * cols >= d)
        return 0;
    for (int k = from + lane % 4 * 4; k < min(from + cols, d); k += 16) {
        float4 v;

        if (by_four) {
            v = *(const float4 *)(x + k);
        } else {
            v.x = x[k];
            v.y = k + 1 < d ? x[k + 1] : 0;
            v.z = k + 2 < d ? x[k + 2] : 0;
            v.w = k + 3 < d ? x[k + 3] : 0;
        }
        add_squares(sum, v);
    }
    quarter = quad_sum(add_four(sum));
#pragma unroll
    for (int o = 4; o < WARP_LANES; o *= 2)
        quarter += __shfl_xor_sync(0xffffffffu, quarter, o);
    return quarter;
}

static __device__ __forceinline__ double add_quarters(const double (&quarter)[4])
{
    return (quarter[0] + quarter[1]) + (quarter[2] + quarter[3]);
}

/* Sum of the squares of x (d). */
static __device__ __forceinline__ double row_sum_squares(const float *x, int d, int lane)
{
    double quarter[4];

#pragma unroll
    for (int i = 0; i < 4; i++)
        quarter[i] = row_quarter_squares(x, d, i, lane);
    return add_quarters(quarter);
}

/* What rms_norm() multiplies a row by, from the sum of its squares. */
static __device__ __forceinline__ float rms_factor_of(double sum_squares, double inverse_d,
                                                      float eps)
{
    return (float)rsqrt(fma(sum_squares, inverse_d, (double)eps));
}

static __device__ __forceinline__ float rms_factor(double sum_squares, int d, float eps)
{
    return rms_factor_of(sum_squares, 1.0 / d, eps);
}

/* An element of a normalised row. */
static __device__ __forceinline__ float rms_apply(float x, float factor, float w)
{
    return __fmul_rn(__fmul_rn(x, factor), w);
}

static __device__ __forceinline__ double row_l1(const float *x, int d, int lane)
{
    double sum = 0;

    for (int i = 4 * lane; i < d; i += 4 * WARP_LANES)
        for (int j = i; j < i + 4 && j < d; j++)
            sum += fabs((double)x[j]);
    return warp_sum(sum);
}

/* x (d) times w (d), f32 multiply-adds: the router's product. */
template <enum dtype T>
static __device__ __forceinline__ float row_dot(const float *x, const void *w, size_t at, int d,
                                                int lane)
{
    float sum = 0;

    for (int i = 8 * lane; i < d; i += 8 * WARP_LANES)
        for (int j = i; j < i + 8 && j < d; j++)
            sum = __fmaf_rn(x[j], element<T>(w, at + (size_t)j), sum);
    return warp_sum(sum);
}

/* Router scores ret (n) of the logits z (n). NaN anywhere makes all of them NaN. */
static __device__ __forceinline__ void row_softmax(const float *z, int n, int lane, float *ret)
{
    float max = -INFINITY, total;
    double sum = 0;

    for (int i = lane; i < n; i += WARP_LANES)
        max = fmaxf(max, z[i]);
    max = warp_max(max);
    for (int i = lane; i < n; i += WARP_LANES)
        sum += (double)expf(__fsub_rn(z[i], max));
    total = (float)warp_sum(sum);
    for (int i = lane; i < n; i += WARP_LANES)
        ret[i] = __fdiv_rn(expf(__fsub_rn(z[i], max)), total);
}

static __device__ __forceinline__ float sigmoid(float z)
{
    return __fdiv_rn(1.0f, __fadd_rn(1.0f, expf(-z)));
}

/* Cosine and sine that rope() turns pair j at a position by. */
static __device__ __forceinline__ void rope_angle(int32_t position, int j, int d_rot, double theta,
                                                  float *ret_cos, float *ret_sin)
{
    double s, c;

    sincos(position * pow(theta, -2.0 * j / d_rot), &s, &c);
    *ret_cos = (float)c;
    *ret_sin = (float)s;
}

/* Turn the pair (a, b). */
static __device__ __forceinline__ void rope_turn(float a, float b, float cos, float sin,
                                                 float *ret_a, float *ret_b)
{
    *ret_a = __fmaf_rn(a, cos, -__fmul_rn(b, sin));
    *ret_b = __fmaf_rn(b, cos, __fmul_rn(a, sin));
}

#endif
