/*
 * A proposal (kernels.h, op `pick`) made of states of some of a row's logits, which are joined:
 * by a head that never writes them, and of logits that are there. Both give the same bits.
 */
#ifndef KERNELS_CUDA_PICK_STATE_CUH
#define KERNELS_CUDA_PICK_STATE_CUH

#include "kernels/cuda/gemm.h"
#include "kernels/cuda/pick.cuh"
#include "kernels/cuda/sm90.cuh"

/* What some logits of a row come to. */
struct pick_state {
    double sum;       /* of exp(logit - max) */
    struct best best; /* that may be proposed, by logit and noise */
    float best_logit;
    float max;
    int32_t max_id; /* -1: no logit that is a number */
};

static __device__ __forceinline__ struct pick_state pick_none(void)
{
    struct pick_state s = { 0, { 0, -1 }, 0, 0, -1 };

    return s;
}

/* exp(v - max), 1 for the largest even if it is infinite. */
static __device__ __forceinline__ double pick_share(float v, float max)
{
    return v == max ? 1 : exp((double)v - (double)max);
}

/* Less its sum: v, which is a number, may be the token to propose. */
static __device__ __forceinline__ void pick_try(struct pick_state *s, float v, int32_t id,
                                                const struct gemm_pick_row &row)
{
    struct best one = { (double)v, id };

    if (id == row.mask_id || id == row.banned_id)
        return;
    if (row.temperature > 0)
        one.score +=
            __dmul_rn(row.temperature, token_noise(row_key(row.seed, row.draw, row.position), id));
    if (better(s->best, one).id == id) {
        s->best = one;
        s->best_logit = v;
    }
}

/* One more logit; ids ascend. */
static __device__ __forceinline__ void pick_add(struct pick_state *s, float v, int32_t id,
                                                const struct gemm_pick_row &row)
{
    if (isnan(v))
        return;
    if (s->max_id < 0 || v > s->max) {
        s->sum = s->max_id < 0 ? 1 : s->sum * pick_share(s->max, v) + 1;
        s->max = v;
        s->max_id = id;
    } else {
        s->sum += pick_share(v, s->max);
    }
    pick_try(s, v, id, row);
}

/* The same of both, less the sum, which is a's; a and b may change places. */
static __device__ __forceinline__ struct pick_state pick_join_best(const struct pick_state &a,
                                                                   const struct pick_state &b)
{
    struct pick_state s = a;

    if (a.max_id < 0 || (b.max_id >= 0 && b.max > a.max)) {
        s.max = b.max;
        s.max_id = b.max_id;
    } else if (b.max_id >= 0 && b.max == a.max) {
        s.max_id = min(a.max_id, b.max_id);
    }
    s.best = better(a.best, b.best);
    s.best_logit = s.best.id == a.best.id ? a.best_logit : b.best_logit;
    return s;
}

/* The same of both; a and b may change places. */
static __device__ __forceinline__ struct pick_state pick_join(const struct pick_state &a,
                                                              const struct pick_state &b)
{
    struct pick_state s = pick_join_best(a, b);

    if (a.max_id < 0)
        s.sum = b.sum;
    else if (b.max_id >= 0)
        s.sum = __dadd_rn(__dmul_rn(a.sum, pick_share(a.max, s.max)),
                          __dmul_rn(b.sum, pick_share(b.max, s.max)));
    return s;
}

/* Of the lane `mask` away. */
static __device__ __forceinline__ struct pick_state pick_of_lane(const struct pick_state &s,
                                                                 int mask)
{
    struct pick_state r;

    r.sum = __shfl_xor_sync(~0u, s.sum, mask);
    r.best.score = __shfl_xor_sync(~0u, s.best.score, mask);
    r.best.id = __shfl_xor_sync(~0u, s.best.id, mask);
    r.best_logit = __shfl_xor_sync(~0u, s.best_logit, mask);
    r.max = __shfl_xor_sync(~0u, s.max, mask);
    r.max_id = __shfl_xor_sync(~0u, s.max_id, mask);
    return r;
}

/* The best token's part of a row's sum. */
static __device__ __forceinline__ double pick_best_share(const struct pick_state &s)
{
    return s.best.id < 0 ? 0 : pick_share(s.best_logit, s.max);
}

/* What all logits of a row come to; share: pick_best_share()'s. */
static __device__ __forceinline__ struct pick pick_of(const struct pick_state &s, double share,
                                                      int n_vocab, const struct gemm_pick_row &row)
{
    struct pick p = { 0, 0, s.max_id >= 0 && s.max_id == row.mask_id };

    if (s.best.id >= 0) {
        p.id = s.best.id;
        p.prob = (float)(share / s.sum);
        return p;
    }
    while (p.id < n_vocab && (p.id == row.mask_id || p.id == row.banned_id))
        p.id++; /* nothing but NaN: the lowest id that may be proposed */
    p.id = p.id < n_vocab ? p.id : -1;
    return p;
}

/*
 * The order of sums of a softmax: 16 rows, a slice, in f32, a lane each; slices in f64, thread i of
 * PICK_JOIN_THREADS every PICK_JOIN_THREADS-th from i on, butterflies, the warps in order.
 */
#define PICK_JOIN_THREADS 512
#define PICK_JOIN_WARPS (PICK_JOIN_THREADS / 32)

/* What a slice's logits of a token come to. */
struct pick_slice {
    float max; /* -infinity: there is none */
    float sum; /* of exp(logit - max) */
};

/* As pick_share(). */
static __device__ __forceinline__ float pick_share_f32(float v, float max)
{
    return v == max ? 1 : expf(__fsub_rn(v, max));
}

/* Of 16 lanes: a logit each, or what is not there or not a number. */
static __device__ __forceinline__ struct pick_slice pick_sum_slice(float v, bool is_number)
{
    struct pick_slice s = { is_number ? v : -INFINITY, 0 };

#pragma unroll
    for (int mask = 8; mask; mask /= 2)
        s.max = fmaxf(s.max, __shfl_xor_sync(~0u, s.max, mask));
    s.sum = is_number ? pick_share_f32(v, s.max) : 0;
#pragma unroll
    for (int mask = 8; mask; mask /= 2)
        s.sum += __shfl_xor_sync(~0u, s.sum, mask);
    return s;
}

/* sum, and a slice more of a row whose largest logit is max. */
static __device__ __forceinline__ double pick_add_slice(double sum, const struct pick_slice &s,
                                                        float max)
{
    return fma((double)s.sum, (double)pick_share_f32(s.max, max), sum);
}

/* What the threads of a block of PICK_JOIN_THREADS have, less sums, for all of them.
 * parts: (PICK_JOIN_WARPS), shared. */
static __device__ __forceinline__ struct pick_state pick_join_block(struct pick_state s,
                                                                    struct pick_state *parts)
{
    for (int mask = 16; mask; mask /= 2)
        s = pick_join_best(s, pick_of_lane(s, mask));
    if (threadIdx.x % 32 == 0)
        parts[threadIdx.x / 32] = s;
    __syncthreads();
    s = parts[0];
    for (int i = 1; i < PICK_JOIN_WARPS; i++)
        s = pick_join_best(s, parts[i]);
    return s;
}

/* The sum of their sums, for thread 0. parts: likewise. */
static __device__ __forceinline__ double pick_sum_block(double sum, double *parts)
{
    for (int mask = 16; mask; mask /= 2)
        sum += __shfl_xor_sync(~0u, sum, mask);
    if (threadIdx.x % 32 == 0)
        parts[threadIdx.x / 32] = sum;
    __syncthreads();
    sum = 0;
    for (int i = 0; threadIdx.x == 0 && i < PICK_JOIN_WARPS; i++)
        sum += parts[i];
    return sum;
}

#endif
