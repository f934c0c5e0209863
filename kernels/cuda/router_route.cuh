/*
 * What the router in one launch (router.cu) does once the product's sums have come: scores, a
 * token's order, slots; the coreset is router_elect.cuh, the worklist and statistics are
 * router_list.cuh. Parts of it are route.cuh's, as the op's are.
 *
 * A token is a team's: where there are few tokens, four warps or two, which know the same of it and
 * share the work. Only the coreset is elected by a whole block, the same one in each. What others
 * have to know goes by messages (cluster.cuh), one barrier for each kind.
 *
 * The code runs once, and what is not in the instruction cache is waited for. So there is a kernel
 * for the usual settings, where all that they leave out is gone (settings()).
 */
#ifndef KERNELS_CUDA_ROUTER_ROUTE_CUH
#define KERNELS_CUDA_ROUTER_ROUTE_CUH

#include "kernels/cuda/route.cuh"
#include "kernels/cuda/router.h"
#include "kernels/cuda/router_product.cuh"

enum {
    N_WARPS = ROUTER_THREADS / WARP,
    MAX_CHUNKS = ROUTER_MAX_TOKENS / ROUTER_CHUNK,
    OWN = ROUTER_MAX_EXPERTS / ROUTER_BLOCKS, /* experts whose votes a block sums, of many */
    TEAMS_MAX = N_WARPS / 2,                  /* of more than one warp: barriers 1 to this */
};

/* Barriers of messages. */
enum {
    SQUARES,                       /* of the rows, one a chunk */
    LOGITS = SQUARES + MAX_CHUNKS, /* one a chunk */
    VOTES = LOGITS + MAX_CHUNKS,
    SUMS, /* of votes */
    CHOICES,
    FACTS,
    N_BARRIERS
};

/* Shared memory of a block; offsets in bytes. */
struct layout {
    int before;   /* (n_exp) the coreset to run by, where it is an earlier one */
    int squares;  /* (chunks, octets of this block, sources, 8) f64, messages */
    int halves;   /* (OCTETS, 8) f64: sums of squares on their way, of many */
    int stage;    /* of the product */
    int election; /* a struct election_room */
    int rooms;    /* a struct route_room a warp */
    int scores;   /* (2, teams, ROUTER_MAX_EXPERTS) f32: scores, logits; of many */
    int groups;   /* groups_room() a warp */
    int brief;    /* a struct brief_room */
    int votes;    /* (n_tok, experts of this block) f32, NaN: none; in the usual kernel
                   * (n_tok, top_k) experts and scores; messages */
    int tallies;  /* (ROUTER_MAX_EXPERTS) pairs of words: sums of votes, of the usual kernel */
    int divisors; /* (n_tok) f64, messages */
    int warm;     /* (n_tok, words) messages */
    int sums;     /* (ROUTER_MAX_EXPERTS) f64, then as many words, messages */
    int choices;  /* (n_tok, choice_stride()) words, messages: the sets of chosen experts */
    int list;   /* of few experts for each warp, of many after the tallies of the warps: tallies of
                 * experts (N * WARP), and (chunks, N * WARP) masks */
    int facts;  /* (n_tok, N_FACTS + N) words, messages to the last block */
    int logits; /* (chunks, sources, rows) pairs of f32, messages */
    int bytes;
};

struct router_args {
    struct router_call c;
    struct layout l;
    int rows;  /* experts, up to 16 */
    int steps; /* of 16 columns, of a slice */
    double inverse_d;
    bool has_votes;
};

/* Where a token says what it did, for the statistics: the share of its mass that it kept (f64),
 * its slots off the natural ones, whether its first is lost; then its natural set. */
enum { N_FACTS = 4 };

/* N: experts of a lane, 2 or 8. Of few experts a block has the votes for all, of many for OWN. */
template <int N> static __host__ __device__ constexpr bool is_few()
{
    return N == 2;
}

/* 16-byte messages, and few of the lanes that read a column of words meet in a bank. */
template <int N> static __host__ __device__ constexpr int choice_stride()
{
    return N == 2 ? 2 : N + 4;
}

/* What a block knows, and a warp of its token. */
struct scene {
    const struct router_args &a;
    const struct route_params p;
    const bool is_usual;
    const int depth; /* how much of a token's order is looked at */
    char *shared;
    uint64_t *barriers;
    struct route_call_segment u;
    int unit, rank, warp, lane;
    int team, n_teams;  /* token of the block, and how many it has at most */
    int n_team, member; /* warps of the team, and which of them this is */
    int t_mine;         /* the token in the segment */
    bool is_mine;       /* there is one */
    struct route_room *room;
    void *groups;
};

/* ---- settings ---------------------------------------------------------------------------- */

/* What the usual kernel takes: the model's own routing, or a coreset of a given size elected by
 * router scores, each token voting for as many experts as it runs. */
static bool is_usual(const struct route_params *p)
{
    bool is_voted = p->size == SIZE_FIXED && !p->warm && p->elect == ELECT_VOTES &&
                    p->vote == VOTE_PROB && p->mask == p->top_k && !p->is_vote_normed &&
                    !p->is_mask_ungrouped && !p->is_truncated;

    return p->top_k_base == p->top_k && p->keep == KEEP_ALL && !p->is_renormed &&
           (p->size == SIZE_NONE || is_voted) &&
           (!p->n_group || (p->n_exp > FEW && !groups_room(p)));
}

/* The settings, as far as they are known here. */
template <int N, bool IS_USUAL>
static __device__ __forceinline__ struct route_params settings(const struct route_params &p)
{
    struct route_params ret = p;

    if (IS_USUAL) {
        ret.top_k_base = ret.mask = p.top_k;
        ret.keep = KEEP_ALL;
        ret.size = p.size == SIZE_NONE ? SIZE_NONE : SIZE_FIXED;
        ret.warm = 0;
        ret.elect = ELECT_VOTES;
        ret.vote = VOTE_PROB;
        ret.is_vote_normed = ret.is_mask_ungrouped = ret.is_truncated = ret.is_renormed = false;
        ret.n_group = is_few<N>() ? 0 : p.n_group;
    }
    return ret;
}

/* Meet the warps of the team. */
static __device__ __forceinline__ void team_sync(const struct scene &s)
{
    if (s.n_team > 1)
        named_barrier(s.team + 1, s.n_team * WARP);
    else
        __syncwarp();
}

/* ---- scores ------------------------------------------------------------------------------ */

/* The token's logit with expert e. */
template <int N> static __device__ __forceinline__ float read_logit(const struct scene &s, int e)
{
    constexpr int SOURCES = is_few<N>() ? 4 : (int)ROUTER_BLOCKS;
    const float *from =
        (const float *)(s.shared + s.a.l.logits) + s.team / 2 * SOURCES * s.a.rows * 2 + s.team % 2;
    float of[SOURCES];

    if (e >= s.p.n_exp)
        return 0;
#pragma unroll
    for (int b = 0; b < SOURCES; b++)
        of[b] = from[(b * s.a.rows + e) * 2];
    return tree_sum(of);
}

/* Softmax of the logits z, as row_softmax() has it. */
template <int N>
static __device__ __forceinline__ void softmax(int n_exp, const float (&z)[N], float (&ret)[N])
{
    const int lane = (int)threadIdx.x % WARP;
    uint32_t most = 0;
    double sum = 0;
    float max, total;

#pragma unroll
    for (int i = 0; i < N; i++)
        if (i * WARP + lane < n_exp)
            most = umax(most, order_of(z[i]));
    most = __reduce_max_sync(ALL_LANES, most);
    max = most ? key_of(most) : -INFINITY;
#pragma unroll
    for (int i = 0; i < N; i++)
        if (i * WARP + lane < n_exp) {
            ret[i] = expf(__fsub_rn(z[i], max));
            sum += (double)ret[i];
        }
    total = (float)warp_sum(sum);
#pragma unroll
    for (int i = 0; i < N; i++)
        ret[i] = i * WARP + lane < n_exp ? __fdiv_rn(ret[i], total) : 0.0f;
}

/* The token's scores and logits, once these have come; logits are not there of many experts that
 * are scored by themselves in the usual kernel, where nobody reads them. Of many experts a warp of
 * the team has its share. */
template <int N>
static __device__ __forceinline__ void read_scores(const struct scene &s, float (&z)[N],
                                                   float (&ret)[N])
{
    const bool is_alone = s.a.c.score == ROUTER_SIGMOID;

    if constexpr (is_few<N>()) {
#pragma unroll
        for (int i = 0; i < N; i++)
            z[i] = read_logit<N>(s, i * WARP + s.lane);
#pragma unroll
        for (int i = 0; i < N; i++)
            if (is_alone)
                ret[i] = sigmoid(z[i]);
    } else {
        float *scores = (float *)(s.shared + s.a.l.scores) + s.team * ROUTER_MAX_EXPERTS;
        float *logits = scores + N_WARPS * ROUTER_MAX_EXPERTS;
        const bool has_logits = !is_alone || !s.is_usual;

#pragma unroll 1
        for (int i = s.member; i < N; i += s.n_team) {
            const float of = read_logit<N>(s, i * WARP + s.lane);

            if (is_alone)
                scores[i * WARP + s.lane] = sigmoid(of);
            if (has_logits)
                logits[i * WARP + s.lane] = of;
        }
        team_sync(s);
#pragma unroll
        for (int i = 0; i < N; i++) {
            if (has_logits)
                z[i] = logits[i * WARP + s.lane];
            if (is_alone)
                ret[i] = scores[i * WARP + s.lane];
        }
    }
    if (!is_alone)
        softmax<N>(s.p.n_exp, z, ret);
}

/* ---- slots ------------------------------------------------------------------------------- */

/* A token's natural order. */
template <int N> struct natural {
    int n;          /* experts that are known of it, room->order */
    uint32_t first; /* their set */
    int rank[2];    /* of few experts: places of all */
};

/* Ranks of a set's keys, larger first, ties to the lower id; 64 for what is not in it. Every key is
 * counted against every other, a part of them by each warp of the team. */
static __device__ __forceinline__ void rank_few(const struct scene &s, const uint32_t (&key)[2],
                                                uint32_t set, int (&ret)[2])
{
    const int share = FEW / s.n_team, from = s.member * share;
    const uint32_t k0 = set & 1 ? key[0] : 0, k1 = set & 2 ? key[1] : 0;
    const int n =
        __popc(__ballot_sync(ALL_LANES, k0 != 0)) + __popc(__ballot_sync(ALL_LANES, k1 != 0));
    uint32_t *keys = (uint32_t *)s.room->few;
    uint2 *counts = (uint2 *)s.room->few + WARP;
    int n0 = 0, n1 = 0;

    keys[s.lane] = k0;
    keys[s.lane + WARP] = k1;
    __syncwarp();
#pragma unroll 1
    for (int f = from; f < from + share; f += 16) {
#pragma unroll
        for (int i = 0; i < 16; i += 4) {
            const uint4 o = *(const uint4 *)(keys + f + i);

            n0 += (o.x > k0) + (o.y > k0) + (o.z > k0) + (o.w > k0);
            n1 += (o.x > k1) + (o.y > k1) + (o.z > k1) + (o.w > k1);
        }
    }
    if (s.n_team > 1) { /* what each counted */
        counts[s.lane] = make_uint2((uint32_t)n0, (uint32_t)n1);
        team_sync(s);
        n0 = n1 = 0;
#pragma unroll
        for (int m = 0; m < N_WARPS / 2; m++) {
            const struct route_room *of = s.room + (m - s.member) * s.n_teams;
            uint2 c = make_uint2(0, 0);

            if (m < s.n_team)
                c = ((const uint2 *)of->few + WARP)[s.lane];
            n0 += (int)c.x;
            n1 += (int)c.y;
        }
    }
    /* each pair of keys was counted once, but for those of equal ones */
    if (2 * __reduce_add_sync(ALL_LANES, (k0 ? n0 : 0) + (k1 ? n1 : 0)) != n * (n - 1))
#pragma unroll 1
        for (int i = 0; i < FEW; i++) {
            n0 += keys[i] == k0 && i < s.lane;
            n1 += keys[i] == k1 && i < s.lane + WARP;
        }
    ret[0] = k0 ? n0 : (int)FEW;
    ret[1] = k1 ? n1 : (int)FEW;
}

template <int N>
static __device__ __forceinline__ void
rank_token(const struct scene &s, const struct route_token<N> &t, struct natural<N> *ret)
{
    if (is_few<N>()) {
        rank_few(s, reinterpret_cast<const uint32_t(&)[2]>(t.order), t.natural, ret->rank);
#pragma unroll
        for (int i = 0; i < 2; i++)
            if (ret->rank[i] < KERNEL_MAX_TOP_K)
                s.room->order[ret->rank[i]] = i * WARP + s.lane;
        ret->n = min(s.depth, __popc(__ballot_sync(ALL_LANES, t.natural & 1)) +
                                  __popc(__ballot_sync(ALL_LANES, t.natural & 2)));
        ret->first = (uint32_t)(ret->rank[0] < ret->n) | (uint32_t)(ret->rank[1] < ret->n) << 1;
    } else {
        ret->first = select_best<N>(t.order, t.natural, s.depth, &ret->n, s.room->order, s.room);
    }
    __syncwarp();
}

/* The experts that a token runs. core: NULL without a coreset. */
template <int N>
static __device__ __forceinline__ uint32_t choose(const struct scene &s,
                                                  const struct route_token<N> &t,
                                                  const struct natural<N> &natural,
                                                  const uint8_t *core)
{
    const struct route_params &p = s.p;
    int n = p.keep == KEEP_ALL ? p.top_k : slots_used<N>(p, t, natural.n, s.room);
    uint32_t members = 0, first;

    if (core)
#pragma unroll
        for (int i = 0; i < N; i++)
            if (i * WARP + s.lane < p.n_exp)
                members |= (uint32_t)core[i * WARP + s.lane] << i;
    if (!core || p.is_truncated) {
        first = s.is_usual || natural.n <= n ? natural.first : set_of_first(s.room->order, n);
        return core ? first & members : first;
    }
    if (is_few<N>() && !p.n_group)
        return first_of_ranked(natural.rank, members, n);
    return choose_inside<N>(p, t, members, n, s.groups, s.room);
}

/* What a token chose to all blocks. */
template <int N>
static __device__ __forceinline__ void send_choice(const struct scene &s, uint32_t chosen)
{
    uint32_t words[N];
    uint32_t *to = (uint32_t *)(s.shared + s.a.l.choices) + s.t_mine * choice_stride<N>();

    set_words<N>(chosen, words);
    if (s.lane >= ROUTER_BLOCKS)
        return;
    if (is_few<N>()) {
        cluster_send((uint2 *)to, (unsigned)s.lane, s.barriers + CHOICES,
                     make_uint2(words[0], words[N - 1]));
    } else {
#pragma unroll
        for (int i = 0; i + 3 < N; i += 4)
            cluster_send((uint4 *)to + i / 4, (unsigned)s.lane, s.barriers + CHOICES,
                         make_uint4(words[i], words[i + 1], words[i + 2], words[i + 3]));
    }
}

/* A token's slots and their weights to room. Returns how many there are. */
template <int N>
static __device__ __forceinline__ int fill_slots(const struct scene &s,
                                                 const struct route_token<N> &t, uint32_t chosen,
                                                 struct route_room *room)
{
    const int n = list_set<N>(t.score, chosen, room);
    const double sum = s.p.renorm || s.p.is_renormed ? sum_slots(room, n) : 0;

    __syncwarp();
#pragma unroll 1
    for (int i = s.lane; i < n; i += WARP)
        room->score[i] = slot_weight(s.p, room->score[i], sum);
    __syncwarp();
    return n;
}

/* What is in room to where the host finds it. */
static __device__ __forceinline__ void put_slots(const struct scene &s, int n,
                                                 const struct route_room *room)
{
    const struct route_output &out = s.a.c.route.out;

#pragma unroll 1
    for (int i = s.lane; i < out.stride; i += WARP) {
        const size_t at = (size_t)(s.u.row + s.t_mine) * (size_t)out.stride + (size_t)i;

        out.ids[at] = i < n ? room->id[i] : -1;
        out.w[at] = i < n ? room->score[i] : 0;
    }
}

/* What a token comes to in the statistics, to the last block. Takes room. */
template <int N>
static __device__ __forceinline__ void send_facts(const struct scene &s,
                                                  const struct route_token<N> &t,
                                                  const struct natural<N> &natural, uint32_t chosen)
{
    const uint32_t base = s.is_usual || natural.n <= s.p.top_k_base
                              ? natural.first
                              : set_of_first(s.room->order, s.p.top_k_base);
    const int first = natural.n ? s.room->order[0] : -1;
    const int n_off = __reduce_add_sync(ALL_LANES, __popc(chosen & ~base));
    const bool has_top1 = __any_sync(ALL_LANES, first >= 0 && first % WARP == s.lane &&
                                                    (chosen >> (first / WARP) & 1));
    uint32_t words[N], fact;
    uint64_t bits;
    double kept = 1; /* also of what has no mass */

    if (__any_sync(ALL_LANES, chosen != base)) {
        const double natural_mass = sum_slots(s.room, list_set<N>(t.score, base, s.room));
        const double mass = sum_slots(s.room, list_set<N>(t.score, chosen, s.room));

        if (natural_mass > 0)
            kept = mass / natural_mass;
    }
    bits = (uint64_t)__double_as_longlong(kept);
    fact = s.lane == 0   ? (uint32_t)bits
           : s.lane == 1 ? (uint32_t)(bits >> 32)
           : s.lane == 2 ? (uint32_t)n_off
                         : (uint32_t)!has_top1;
    set_words<N>(base, words);
#pragma unroll
    for (int i = 0; i < N; i++)
        if (s.lane == N_FACTS + i)
            fact = words[i];
    if (s.lane < N_FACTS + N)
        cluster_send((uint32_t *)(s.shared + s.a.l.facts) + s.t_mine * (N_FACTS + N) + s.lane,
                     ROUTER_BLOCKS - 1, s.barriers + FACTS, fact);
}

#endif
