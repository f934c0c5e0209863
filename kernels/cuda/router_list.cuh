/*
 * The end of the router in one launch (router.cu): from what all tokens chose to the list that the
 * experts run by, and the statistics.
 */
#ifndef KERNELS_CUDA_ROUTER_LIST_CUH
#define KERNELS_CUDA_ROUTER_LIST_CUH

#include "kernels/cuda/router_elect.cuh"

/* ---- worklist ---------------------------------------------------------------------------- */

/* How many pairs, and in the upper half of the word how many experts with any. */
static __device__ __forceinline__ int pairs_of(uint32_t tally)
{
    return (int)(tally & 0xffff);
}

static __device__ __forceinline__ int active_of(uint32_t tally)
{
    return (int)(tally >> 16);
}

/* What all tokens chose: of each expert which tokens have it, and how many pairs there are before
 * its own. Of few experts each warp that needs it finds out; of many half of the warps do, and
 * those that need it, each token's first, wait for them. */
struct census {
    uint32_t *masks;  /* (chunks, experts): tokens, by bit */
    uint32_t *before; /* (experts) tallies, of many from the first of 32 on */
    uint32_t words;   /* lane i: the tally of the experts before 32 i */
    uint32_t total;
};

enum { CENSUS_WARPS = N_WARPS / 2 };

/* Which of those that find out the warp is, CENSUS_WARPS or more: none. Of teams of four the second
 * and the last have to do something else. */
static __device__ __forceinline__ int finder(const struct scene &s)
{
    if (s.n_team < 4)
        return s.warp;
    return s.member % 2 ? (int)CENSUS_WARPS : s.member / 2 * s.n_teams + s.team;
}

static __device__ __forceinline__ bool needs_census(const struct scene &s)
{
    return finder(s) < CENSUS_WARPS || s.member == 0;
}

/* Sums over the lanes up to each. */
template <int N, int LANES>
static __device__ __forceinline__ void sum_up(const struct scene &s, uint32_t (&v)[N])
{
#pragma unroll
    for (int w = 1; w < LANES; w *= 2)
#pragma unroll
        for (int i = 0; i < N; i++) {
            const uint32_t lower = __shfl_up_sync(ALL_LANES, v[i], (unsigned)w);

            v[i] += s.lane >= w ? lower : 0;
        }
}

/* Of few experts, by each warp for itself. */
static __device__ __forceinline__ void take_small_census(const struct scene &s, struct census *ret)
{
    const int chunks = (s.u.n_tok + WARP - 1) / WARP;
    const uint2 *choices = (const uint2 *)(s.shared + s.a.l.choices);
    uint32_t tally[2] = { 0, 0 }, sum[2], lower;

    ret->before = (uint32_t *)(s.shared + s.a.l.list) + s.warp * (chunks + 1) * FEW;
    ret->masks = ret->before + FEW;
#pragma unroll 1
    for (int from = 0; from < s.u.n_tok; from += WARP) {
        const int t = from + s.lane;
        const uint2 set = t < s.u.n_tok ? choices[t] : make_uint2(0, 0);
        const uint32_t of[2] = { transpose(set.x), transpose(set.y) };

#pragma unroll
        for (int i = 0; i < 2; i++) {
            ret->masks[from * 2 + i * WARP + s.lane] = of[i];
            tally[i] += (uint32_t)__popc(of[i]);
        }
    }
#pragma unroll
    for (int i = 0; i < 2; i++)
        sum[i] = tally[i] |= (uint32_t)(tally[i] > 0) << 16;
    sum_up<2, WARP>(s, sum);
    lower = __shfl_sync(ALL_LANES, sum[0], WARP - 1);
    ret->before[s.lane] = sum[0] - tally[0];
    ret->before[s.lane + WARP] = lower + sum[1] - tally[1];
    ret->total = lower + __shfl_sync(ALL_LANES, sum[1], WARP - 1);
    __syncwarp();
}

/* By the warps that need it. */
template <int N>
static __device__ __forceinline__ void take_census(const struct scene &s, struct census *ret)
{
    const uint32_t *choices = (const uint32_t *)(s.shared + s.a.l.choices);
    uint32_t *totals = (uint32_t *)(s.shared + s.a.l.list), tally, sum[1];

    if (is_few<N>()) {
        take_small_census(s, ret);
        return;
    }
    ret->before = totals + N_WARPS;
    ret->masks = ret->before + N * WARP;
#pragma unroll 1
    for (int word = finder(s); word < N && finder(s) < CENSUS_WARPS; word += CENSUS_WARPS) {
        tally = 0;
#pragma unroll 1
        for (int from = 0; from < s.u.n_tok; from += WARP) {
            const int t = from + s.lane;
            const uint32_t tokens =
                transpose(t < s.u.n_tok ? choices[t * choice_stride<N>() + word] : 0);

            ret->masks[from * N + word * WARP + s.lane] = tokens;
            tally += (uint32_t)__popc(tokens);
        }
        tally |= (uint32_t)(tally > 0) << 16;
        sum[0] = tally;
        sum_up<1, WARP>(s, sum);
        ret->before[word * WARP + s.lane] = sum[0] - tally;
        if (s.lane == WARP - 1)
            totals[word] = sum[0];
    }
    named_barrier(TEAMS_MAX + 1, max((int)CENSUS_WARPS, s.n_teams) * WARP);
    tally = s.lane < N ? totals[s.lane] : 0;
    sum[0] = tally;
    sum_up<1, N>(s, sum);
    ret->words = sum[0] - tally;
    ret->total = __shfl_sync(ALL_LANES, sum[0], N - 1);
}

/* The tally of all experts before each lane's. */
template <int N>
static __device__ __forceinline__ uint32_t tally_before(const struct census &all, int e)
{
    return all.before[e] + (is_few<N>() ? 0 : __shfl_sync(ALL_LANES, all.words, e / WARP));
}

/* The pairs of a token, whose slots are in room. */
template <int N>
static __device__ __forceinline__ void list_pairs(const struct scene &s, const struct census &all,
                                                  int n_slots)
{
    const struct router_call &c = s.a.c;
    const int top_k = s.p.top_k, stride = top_k + c.n_shared;

#pragma unroll 1
    for (int from = 0; from < stride; from += WARP) {
        const int slot = from + s.lane, e = slot < n_slots ? s.room->id[slot] : 0;
        const uint32_t *masks = all.masks + e, below = (1u << s.t_mine % WARP) - 1;
        int pair = pairs_of(tally_before<N>(all, e));

#pragma unroll 1
        for (int i = 0; i < s.t_mine / WARP; i++, masks += N * WARP)
            pair += __popc(*masks);
        pair += __popc(*masks & below);
        pair = slot < n_slots ? pair
               : slot < top_k ? -1
                              : pairs_of(all.total) + (slot - top_k) * s.u.n_tok + s.t_mine;
        if (slot >= stride)
            continue;
        if (pair >= 0) {
            c.list.tokens[pair] = s.t_mine;
            c.list.weights[pair] = slot < top_k ? s.room->score[slot] : 1;
        }
        c.list.token_pairs[s.t_mine * stride + slot] = pair;
    }
}

/* Counts and list of the block's share of the experts, and in the first block the list's end. By a
 * warp: a lane's expert e has n tokens (is_mine: it is the lane that writes them), the experts
 * ahead of it have tallies `before`, all together `all`. */
static __device__ __forceinline__ void list_share(const struct scene &s, bool is_mine, int e, int n,
                                                  uint32_t before, uint32_t all)
{
    const struct router_call &c = s.a.c;
    const int n_exp = s.p.n_exp;

    if (is_mine && e < n_exp) {
        c.route.tokens_per_expert[(size_t)s.unit * (size_t)n_exp + (size_t)e] = n;
        if (c.list.n_active && n > 0) {
            c.list.experts[active_of(before)] = e;
            c.list.offsets[active_of(before)] = pairs_of(before);
        }
    }
    if (!c.list.n_active || s.rank)
        return;
#pragma unroll 1
    for (int i = s.lane; i <= c.n_shared; i += WARP) {
        c.list.offsets[active_of(all) + i] = pairs_of(all) + i * s.u.n_tok;
        if (i < c.n_shared)
            c.list.experts[active_of(all) + i] = n_exp + i;
    }
    if (s.lane == 0)
        *c.list.n_active = active_of(all) + c.n_shared;
}

/* The block's share of the experts. One warp. */
template <int N>
static __device__ __forceinline__ void list_experts(const struct scene &s, const struct census &all)
{
    constexpr int EACH = N * WARP / ROUTER_BLOCKS;
    const int e = s.rank * EACH + s.lane % EACH;
    const uint32_t before = tally_before<N>(all, e);
    int n = 0;

#pragma unroll 1
    for (int from = 0; from < s.u.n_tok; from += WARP)
        n += __popc(all.masks[from * N + e]);
    list_share(s, s.lane < EACH, e, n, before, all.total);
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
    r.n_unique = active_of(all.total);
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
