/*
 * What a token does of itself when it is routed, by a warp: it casts its votes, and it chooses its
 * slots. For the op's kernels (route.cu) and the router of many tokens (router_many.cu).
 */
#ifndef KERNELS_CUDA_ROUTE_TOKEN_CUH
#define KERNELS_CUDA_ROUTE_TOKEN_CUH

#include "kernels/cuda/route.cuh"

/* Are there votes to be summed? */
static __host__ __device__ inline bool route_has_votes(const struct route_params *p)
{
    return p->elect == ELECT_VOTES && (p->size == SIZE_FIXED || p->size == SIZE_TOP_P);
}

/* Votes and warm-up set of token i of the call; who does not vote has none. logit: read for
 * VOTE_LOGIT. */
template <int N>
static __device__ __forceinline__ void cast_votes(const struct route_call &c, int i,
                                                  const struct route_token<N> &t,
                                                  const float (&logit)[N], struct route_room *room)
{
    const bool is_voter = c.tokens[i].is_voter;
    const int lane = (int)threadIdx.x % WARP;

    if (c.p.warm) {
        uint32_t words[N] = {};
        int n;

        if (is_voter)
            set_words<N>(select_best<N>(t.order, t.natural, c.p.warm, &n, NULL, room), words);
#pragma unroll
        for (int w = 0; w < N; w++)
            if (w < c.n_words && lane == 0)
                c.warm[(size_t)i * (size_t)c.n_words + (size_t)w] = words[w];
    }
    if (route_has_votes(&c.p)) {
        double divisor = 1;
        float votes[N];

#pragma unroll
        for (int k = 0; k < N; k++)
            votes[k] = NAN;
        if (is_voter)
            divisor = token_votes<N>(c.p, t, logit, 0, -1, votes, room);
#pragma unroll
        for (int k = 0; k < N; k++)
            if (k * WARP + lane < c.p.n_exp)
                c.votes[(size_t)i * (size_t)c.p.n_exp + (size_t)(k * WARP + lane)] = votes[k];
        if (lane == 0)
            c.divisor[i] = divisor;
    }
}

/* Is row among the segment's tokens of largest importance, ties to the lower row? */
static __device__ __forceinline__ bool is_protected(const struct route_call &c,
                                                    const struct route_call_segment &s, int row)
{
    float mine;
    int n_before = 0;

    if (!s.n_protected)
        return false;
    mine = c.importance[row];
    for (int r = s.row + s.n_plain + (int)threadIdx.x % WARP; r < s.row + s.n_tok; r += WARP)
        n_before += c.importance[r] > mine || (c.importance[r] == mine && r < row);
    return __reduce_add_sync(ALL_LANES, n_before) < s.n_protected;
}

/* Slots of token i, and what they add to the statistics. */
template <int N>
static __device__ __forceinline__ void choose_slots(const struct route_call &c, int i,
                                                    const struct route_token<N> &t, void *groups,
                                                    struct route_room *room)
{
    const struct route_call_token at = c.tokens[i];
    const bool is_plain = at.group < 0;
    const int lane = (int)threadIdx.x % WARP;
    int n_natural, n = c.p.top_k, n_slots, n_rerouted;
    uint32_t natural, chosen, words[N];
    double sum, natural_mass;

    select_best<N>(t.order, t.natural, natural_depth(c.p), &n_natural, room->order, room);
    __syncwarp();
    natural = set_of_first(room->order, min(n_natural, c.p.top_k_base));
    if (is_plain)
        n = c.p.top_k_base;
    else if (c.p.keep != KEEP_ALL && !is_protected(c, c.segs[at.segment], at.row))
        n = slots_used<N>(c.p, t, n_natural, room);
    if (c.p.size == SIZE_NONE || c.p.is_truncated || is_plain) {
        chosen = set_of_first(room->order, min(n_natural, n));
        if (c.p.size != SIZE_NONE && !is_plain)
            chosen &= set_read<N>(c.core + (size_t)at.group * (size_t)c.n_words, c.n_words);
    } else {
        chosen = choose_inside<N>(
            c.p, t, set_read<N>(c.core + (size_t)at.group * (size_t)c.n_words, c.n_words), n,
            groups, room);
    }
    natural_mass = sum_slots(room, list_set<N>(t.score, natural, room));
    n_slots = list_set<N>(t.score, chosen, room);
    sum = sum_slots(room, n_slots);
    for (int s = lane; s < c.out.stride; s += WARP) {
        const size_t to = (size_t)at.row * (size_t)c.out.stride + (size_t)s;

        c.out.ids[to] = s < n_slots ? room->id[s] : -1;
        if (s >= n_slots)
            c.out.w[to] = 0;
        else if (is_plain && !c.p.renorm) /* whatever is_renormed says */
            c.out.w[to] = __fmul_rn(room->score[s], c.p.scale);
        else
            c.out.w[to] = slot_weight(c.p, room->score[s], sum);
    }
    n_rerouted = __reduce_add_sync(ALL_LANES, __popc(chosen & ~natural));
    {
        const int first = n_natural ? room->order[0] : -1;
        bool has_top1 = first >= 0 && first % WARP == lane && (chosen >> (first / WARP) & 1);

        has_top1 = __any_sync(ALL_LANES, has_top1);
        if (lane == 0) {
            c.counts[2 * i] = n_rerouted;
            c.counts[2 * i + 1] = !has_top1;
            c.kept[i] = natural_mass > 0 ? sum / natural_mass : 1;
        }
    }
    set_words<N>(natural, words);
#pragma unroll
    for (int w = 0; w < N; w++)
        if (w < c.n_words && lane == 0)
            c.natural[(size_t)i * (size_t)c.n_words + (size_t)w] = words[w];
    set_words<N>(chosen, words);
#pragma unroll
    for (int w = 0; w < N; w++)
        if (w < c.n_words && lane == 0)
            c.chosen[(size_t)i * (size_t)c.n_words + (size_t)w] = words[w];
}

#endif
