/*
 * The end of the router in one launch (router.cu): from what all tokens chose to the list that the
 * experts run by, and the statistics. Every warp counts for itself what it needs.
 */
#ifndef KERNELS_CUDA_ROUTER_LIST_CUH
#define KERNELS_CUDA_ROUTER_LIST_CUH

#include "kernels/cuda/router_route.cuh"

/* ---- worklist ---------------------------------------------------------------------------- */

/* What all tokens chose, as every warp sees it. Lane l has word l % N of the sets: 32 experts. */
struct census {
    const uint32_t *choices; /* (n_tok, choice_stride()) */
    int n_pairs, n_active;   /* in all */
    int pairs_before;        /* in the words before */
    int active_before;
    uint32_t active; /* experts of the word */
};

template <int N>
static __device__ __forceinline__ void take_census(const struct scene &s, struct census *ret)
{
    const int word = s.lane % N;
    int n_pairs = 0, n_active;

    ret->choices = (const uint32_t *)(s.shared + s.a.l.choices);
    ret->active = 0;
#pragma unroll 2
    for (int t = s.lane / N; t < s.u.n_tok; t += WARP / N) {
        const uint32_t set = ret->choices[t * choice_stride<N>() + word];

        n_pairs += __popc(set);
        ret->active |= set;
    }
#pragma unroll
    for (int i = N; i < WARP; i *= 2) {
        n_pairs += __shfl_xor_sync(ALL_LANES, n_pairs, i);
        ret->active |= __shfl_xor_sync(ALL_LANES, ret->active, i);
    }
    ret->n_pairs = n_pairs;
    ret->n_active = n_active = __popc(ret->active);
#pragma unroll
    for (int i = 1; i < N; i *= 2) {
        const int pairs = __shfl_up_sync(ALL_LANES, ret->n_pairs, (unsigned)i);
        const int active = __shfl_up_sync(ALL_LANES, ret->n_active, (unsigned)i);

        ret->n_pairs += word >= i ? pairs : 0;
        ret->n_active += word >= i ? active : 0;
    }
    ret->pairs_before = ret->n_pairs - n_pairs;
    ret->active_before = ret->n_active - n_active;
    ret->n_pairs = __shfl_sync(ALL_LANES, ret->n_pairs, N - 1);
    ret->n_active = __shfl_sync(ALL_LANES, ret->n_active, N - 1);
}

/* The pairs of a token, whose slots are in room. Lanes are eight slots by four shares of the
 * tokens, each of whom is asked which experts it has before the slot's, and, before the token,
 * whether it has the same. */
template <int N>
static __device__ __forceinline__ void list_pairs(const struct scene &s, const struct census &all,
                                                  int n_slots)
{
    const struct router_call &c = s.a.c;
    const int top_k = s.p.top_k, stride = top_k + c.n_shared;

#pragma unroll 1
    for (int from = 0; from < stride; from += 8) {
        const int slot = from + s.lane % 8, e = slot < n_slots ? s.room->id[slot] : 0;
        const uint32_t below = (1u << e % WARP) - 1;
        int pair = 0, before;

#pragma unroll 8
        for (int t = s.lane / 8; t < s.u.n_tok; t += WARP / 8) {
            const uint32_t set = all.choices[t * choice_stride<N>() + e / WARP];

            pair += __popc(set & below) + (int)(t < s.t_mine && (set >> e % WARP & 1));
        }
        pair += __shfl_xor_sync(ALL_LANES, pair, 8);
        pair += __shfl_xor_sync(ALL_LANES, pair, 16);
        before = __shfl_sync(ALL_LANES, all.pairs_before, e / WARP);
        pair = slot < n_slots ? before + pair
               : slot < top_k ? -1
                              : all.n_pairs + (slot - top_k) * s.u.n_tok + s.t_mine;
        if (s.lane >= 8 || slot >= stride)
            continue;
        if (pair >= 0) {
            c.list.tokens[pair] = s.t_mine;
            c.list.weights[pair] = slot < top_k ? s.room->score[slot] : 1;
        }
        c.list.token_pairs[s.t_mine * stride + slot] = pair;
    }
}

/* Experts, taken in turn by the warps of all blocks, first by those without a token's list to make.
 * Their counts and, in the first block, the end of the list. */
template <int N>
static __device__ __forceinline__ void list_experts(const struct scene &s, const struct census &all)
{
    const struct router_call &c = s.a.c;
    const int n_exp = s.p.n_exp, turn = (s.warp + N_WARPS - 2) % N_WARPS;

#pragma unroll 1
    for (int e = turn * ROUTER_BLOCKS + s.rank; e < n_exp; e += N_WARPS * ROUTER_BLOCKS) {
        const int word = e / WARP, before = __shfl_sync(ALL_LANES, all.pairs_before, word);
        const int rank = __shfl_sync(ALL_LANES, all.active_before, word);
        const uint32_t active = __shfl_sync(ALL_LANES, all.active, word);
        const uint32_t below = (1u << e % WARP) - 1;
        int from = 0, n = 0;

#pragma unroll 1
        for (int t = s.lane; t < s.u.n_tok; t += WARP) {
            const uint32_t set = all.choices[t * choice_stride<N>() + word];

            from += __popc(set & below);
            n += (int)(set >> e % WARP & 1);
        }
        from = before + __reduce_add_sync(ALL_LANES, from);
        n = __reduce_add_sync(ALL_LANES, n);
        if (s.lane == 0) {
            c.route.tokens_per_expert[(size_t)s.unit * (size_t)n_exp + (size_t)e] = n;
            if (c.list.n_active && n > 0) {
                c.list.experts[rank + __popc(active & below)] = e;
                c.list.offsets[rank + __popc(active & below)] = from;
            }
        }
    }
    if (!c.list.n_active || s.rank || turn)
        return;
#pragma unroll 1
    for (int i = s.lane; i <= c.n_shared; i += WARP) {
        c.list.offsets[all.n_active + i] = all.n_pairs + i * s.u.n_tok;
        if (i < c.n_shared)
            c.list.experts[all.n_active + i] = n_exp + i;
    }
    if (s.lane == 0)
        *c.list.n_active = all.n_active + c.n_shared;
}

/* ---- statistics -------------------------------------------------------------------------- */

/* By one warp of the last block, once all tokens have told. core: NULL without one. */
template <int N>
static __device__ __forceinline__ void count(const struct scene &s, const struct census &all,
                                             const uint8_t *core)
{
    const uint32_t *facts = (const uint32_t *)(s.shared + s.a.l.facts);
    struct route_stats r = { 0, 0, 0, 0, 0, 0 };
    const int each = N_FACTS + N;

    cluster_receive(s.barriers + FACTS);
#pragma unroll
    for (int i = 0; i < N; i++) {
        const int e = i * WARP + s.lane;
        uint32_t any = 0;

#pragma unroll 1
        for (int t = s.lane; t < s.u.n_tok; t += WARP)
            any |= facts[t * each + N_FACTS + i];
        r.n_natural += __popc(__reduce_or_sync(ALL_LANES, any));
        r.n_core += __popc(__ballot_sync(ALL_LANES, core && s.u.n_tok && e < s.p.n_exp && core[e]));
    }
#pragma unroll 1
    for (int t = s.lane; t < s.u.n_tok; t += WARP) {
        r.n_rerouted += (int)facts[t * each + 2];
        r.n_lost_top1 += (int)facts[t * each + 3];
    }
    r.n_unique = all.n_active;
    r.n_rerouted = __reduce_add_sync(ALL_LANES, r.n_rerouted);
    r.n_lost_top1 = __reduce_add_sync(ALL_LANES, r.n_lost_top1);
#pragma unroll 1
    for (int from = 0; from < s.u.n_tok; from += 8) {
        double v[8];

#pragma unroll
        for (int i = 0; i < 8; i++)
            v[i] = from + i < s.u.n_tok ? __hiloint2double((int)facts[(from + i) * each + 1],
                                                           (int)facts[(from + i) * each])
                                        : 0.0;
#pragma unroll
        for (int i = 0; i < 8; i++)
            r.kept_mass = __dadd_rn(r.kept_mass, v[i]);
    }
    if (s.u.n_tok)
        r.kept_mass = r.kept_mass / s.u.n_tok;
    if (s.lane == 0)
        s.a.c.route.stats[s.unit] = r;
}

#endif
