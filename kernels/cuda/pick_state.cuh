/*
 * A proposal (kernels.h, op `pick`) from logits that are never written: states of some of a row's
 * logits, which are joined.
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

/* One more logit; ids ascend. */
static __device__ __forceinline__ void pick_add(struct pick_state *s, float v, int32_t id,
                                                const struct gemm_pick_row &row)
{
    struct best one = { (double)v, id };

    if (isnan(v))
        return;
    if (s->max_id < 0 || v > s->max) {
        s->sum = s->max_id < 0 ? 1 : s->sum * pick_share(s->max, v) + 1;
        s->max = v;
        s->max_id = id;
    } else {
        s->sum += pick_share(v, s->max);
    }
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

/* The same of both; a and b may change places. */
static __device__ __forceinline__ struct pick_state pick_join(const struct pick_state &a,
                                                              const struct pick_state &b)
{
    struct pick_state s = a.max_id < 0 ? b : a;

    if (a.max_id >= 0 && b.max_id >= 0) {
        s.max = fmaxf(a.max, b.max);
        s.max_id = a.max == b.max ? min(a.max_id, b.max_id) : a.max == s.max ? a.max_id : b.max_id;
        s.sum = __dadd_rn(__dmul_rn(a.sum, pick_share(a.max, s.max)),
                          __dmul_rn(b.sum, pick_share(b.max, s.max)));
    }
    s.best = better(a.best, b.best);
    s.best_logit = s.best.id == a.best.id ? a.best_logit : b.best_logit;
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

/* A warp a row t: its states, parts[i * stride + t], and the proposal they come to. */
static __global__ void pick_rows(const struct pick_state *parts, int n_parts, int stride,
                                 int n_vocab, const struct gemm_pick_row *rows, struct pick *ret)
{
    const int t = blockIdx.x;
    struct pick_state s = pick_none();

    grid_release();
    grid_wait();
    for (int i = threadIdx.x; i < n_parts; i += 32)
        s = pick_join(s, parts[(size_t)i * stride + t]);
    for (int mask = 16; mask; mask /= 2)
        s = pick_join(s, pick_of_lane(s, mask));
    if (threadIdx.x == 0) {
        const int32_t mask_id = rows[t].mask_id, banned_id = rows[t].banned_id;
        struct pick p = { 0, 0, s.max_id >= 0 && s.max_id == mask_id };

        if (s.best.id >= 0) {
            p.id = s.best.id;
            p.prob = (float)(pick_share(s.best_logit, s.max) / s.sum);
        } else { /* nothing but NaN: the lowest id that may be proposed */
            while (p.id < n_vocab && (p.id == mask_id || p.id == banned_id))
                p.id++;
            p.id = p.id < n_vocab ? p.id : -1;
        }
        ret[t] = p;
    }
}

#endif
