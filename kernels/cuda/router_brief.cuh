/*
 * What the router in one launch (router.cu) does with up to 32 tokens where the settings are usual,
 * once the product's sums have come: scores, orders, slots, list. The election between them is
 * router_elect.cuh's.
 *
 * A block has two tokens, each a team of four warps, which have different things to do:
 *
 *   member 0  orders its token's experts, tells all blocks what it chose, sees to the statistics
 *   member 1  its slots' weights; its pairs
 *   2 and 3   of both tokens: from what all tokens chose to where pairs are listed
 *
 * What a token does alone a single warp does: a second one on the same scheduler takes time of it.
 * But of many experts all threads make scores and keys, a thread an expert for both tokens, and a
 * warp finds what a group of 32 is worth to them.
 */
#ifndef KERNELS_CUDA_ROUTER_BRIEF_CUH
#define KERNELS_CUDA_ROUTER_BRIEF_CUH

#include "kernels/cuda/router_list.cuh"

enum {
    TOKENS = 2, /* of a block */
    BEST = 8,   /* top_k at most */
    GROUPS = ROUTER_MAX_EXPERTS / WARP,
    NO_EXPERT = 0x7fffffff,
    LISTED = 120 /* experts counted against each other at most */
};

/* A token's first experts, or those that it runs. */
struct alignas(16) brief_pick {
    int32_t order[BEST]; /* best first, then NO_EXPERT */
    int32_t id[BEST];    /* ascending */
    float score[BEST];
    uint8_t ids[BEST]; /* the same as id */
    int n;
};

struct alignas(16) brief_room {
    struct brief_pick natural[TOKENS], chosen[TOKENS];
    uint64_t worth[TOKENS][GROUPS];
    uint32_t least[TOKENS][GROUPS]; /* so many keys of a group as are needed are not less */
    uint32_t kept[TOKENS];          /* groups of the natural order: kept_groups() */
    uint32_t key[TOKENS][ROUTER_MAX_EXPERTS];
    float score[TOKENS][ROUTER_MAX_EXPERTS];
    uint32_t tokens[ROUTER_MAX_EXPERTS]; /* that chose an expert, by bit */
    uint32_t before[ROUTER_MAX_EXPERTS]; /* tallies (router_list.cuh), from the first of 32 on */
    uint32_t totals[GROUPS];
    alignas(8) uint8_t is_natural[ROUTER_MAX_EXPERTS];
};

static bool is_brief(const struct route_params *p, int max_tok)
{
    return is_usual(p) && max_tok <= ROUTER_CHUNK && p->top_k <= BEST;
}

/* Biases of the block's tokens with the thread's expert. */
static __device__ __forceinline__ void load_biases(const struct scene &s, float (&ret)[TOKENS])
{
    const struct route_call &c = s.a.c.route;
    const int e = (int)threadIdx.x;

#pragma unroll
    for (int t = 0; t < TOKENS; t++) {
        const int row = 2 * s.rank + t;

        ret[t] = c.bias && e < s.p.n_exp && row < s.u.n_tok
                     ? c.bias[(size_t)(s.u.row + row) * (size_t)c.bias_stride + (size_t)e]
                     : 0.0f;
    }
}

/* ---- scores ------------------------------------------------------------------------------- */

/* Of few experts: the token's keys, its scores to room. Member 0. */
static __device__ __forceinline__ void score_token(const struct scene &s, const float (&bias)[2],
                                                   struct brief_room *b, uint32_t (&key)[2])
{
    const int n_exp = s.p.n_exp;
    float z[2], score[2];

    read_scores<2>(s, z, score);
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const int e = i * WARP + s.lane;

        b->score[s.team][e] = score[i];
        key[i] = e < n_exp ? order_of(__fadd_rn(score[i], bias[i])) : 0;
        if (s.a.c.ret_scores && e < n_exp)
            s.a.c.ret_scores[(size_t)(s.u.row + s.t_mine) * (size_t)n_exp + (size_t)e] = score[i];
    }
}

/* Of many: the keys of both tokens with the thread's expert, their scores to room. All threads. */
static __device__ __forceinline__ void score_expert(const struct scene &s,
                                                    const float (&bias)[TOKENS],
                                                    struct brief_room *b, uint32_t (&key)[TOKENS])
{
    const int e = (int)threadIdx.x, n_exp = s.p.n_exp;
    const float2 *from = (const float2 *)(s.shared + s.a.l.logits) + e;
    const bool is_there = e < n_exp, is_alone = s.a.c.score == ROUTER_SIGMOID;
    float score[TOKENS] = { 0, 0 };

    if (is_there) {
        float of[TOKENS][ROUTER_BLOCKS];

#pragma unroll
        for (int i = 0; i < ROUTER_BLOCKS; i++) {
            const float2 v = from[i * s.a.rows];

            of[0][i] = v.x;
            of[1][i] = v.y;
        }
#pragma unroll
        for (int t = 0; t < TOKENS; t++)
            score[t] = is_alone ? sigmoid(tree_sum(of[t])) : tree_sum(of[t]);
    }
    if (!is_alone) {
#pragma unroll
        for (int t = 0; t < TOKENS; t++)
            b->score[t][e] = score[t];
        __syncthreads();
        if (s.member == 0) {
            float z[GROUPS], of[GROUPS];

#pragma unroll
            for (int i = 0; i < GROUPS; i++)
                z[i] = b->score[s.team][i * WARP + s.lane];
            softmax<GROUPS>(n_exp, z, of);
#pragma unroll
            for (int i = 0; i < GROUPS; i++)
                b->score[s.team][i * WARP + s.lane] = of[i];
        }
        __syncthreads();
    }
#pragma unroll
    for (int t = 0; t < TOKENS; t++) {
        const int row = 2 * s.rank + t;

        if (is_alone)
            b->score[t][e] = score[t];
        else
            score[t] = b->score[t][e];
        if (s.a.c.ret_scores && is_there && row < s.u.n_tok)
            s.a.c.ret_scores[(size_t)(s.u.row + row) * (size_t)n_exp + (size_t)e] = score[t];
        key[t] = is_there ? order_of(__fadd_rn(score[t], bias[t])) : 0;
    }
}

/* ---- orders ------------------------------------------------------------------------------- */

static __device__ __forceinline__ bool has_limit(const struct route_params &p)
{
    return p.n_group && p.topk_group < p.n_group;
}

/* The threads' keys to room, with what their groups are worth, for n_kept groups in which the best
 * are looked for; 0: not in the set. All threads; ends synchronised. */
static __device__ __forceinline__ void
share_keys(const struct scene &s, const uint32_t (&key)[TOKENS], int n_kept, struct brief_room *b)
{
    uint32_t first[TOKENS], second[TOKENS];

#pragma unroll
    for (int t = 0; t < TOKENS; t++) {
        b->key[t][threadIdx.x] = key[t];
        first[t] = __reduce_max_sync(ALL_LANES, key[t]);
    }
#pragma unroll
    for (int t = 0; t < TOKENS; t++) {
        const bool is_first = key[t] == first[t];
        const uint32_t which = __ballot_sync(ALL_LANES, is_first);

        second[t] = __reduce_max_sync(ALL_LANES, is_first ? 0 : key[t]);
        second[t] = which & (which - 1) ? first[t] : second[t];
    }
    if (s.lane < TOKENS) {
        const uint32_t one = s.lane ? first[1] : first[0], two = s.lane ? second[1] : second[0];

        b->worth[s.lane][s.warp] = group_worth(one, two);
        b->least[s.lane][s.warp] = n_kept >= s.p.top_k ? one : 2 * n_kept >= s.p.top_k ? two : 0;
    }
    __syncthreads();
}

/* Bit 4 i: group i is one of the topk_group best. One warp. */
static __device__ __forceinline__ uint32_t kept_groups(const struct scene &s, const uint64_t *worth)
{
    const int g = s.lane / 4;
    const uint64_t mine = worth[g];
    int n_before = 0;

#pragma unroll
    for (int half = 0; half < GROUPS; half += 4) { /* ties to the lower id */
        const int h = half + s.lane % 4;
        const bool is_before = worth[h] > mine || (worth[h] == mine && h < g);

        n_before += __popc(__ballot_sync(ALL_LANES, is_before) >> (s.lane & 28) & 0xf);
    }
    return __ballot_sync(ALL_LANES, n_before < s.p.topk_group);
}

/* What follows from the first n of an order, which are there. One warp; ends synchronised. */
static __device__ __forceinline__ void finish_pick(const float *score, int n,
                                                   struct brief_pick *ret)
{
    const int lane = (int)threadIdx.x % WARP;
    int mine, slot = 0;

    if (lane >= n && lane < BEST)
        ret->order[lane] = NO_EXPERT;
    __syncwarp();
    mine = lane < n ? ret->order[lane] : 0;
#pragma unroll
    for (int i = 0; i < BEST; i += 4) {
        const int4 o = *(const int4 *)(ret->order + i);

        slot += (o.x < mine) + (o.y < mine) + (o.z < mine) + (o.w < mine);
    }
    if (lane < n) {
        ret->id[slot] = mine;
        ret->ids[slot] = (uint8_t)mine;
        ret->score[slot] = score[mine];
    }
    if (lane == 0)
        ret->n = n;
    __syncwarp();
}

/* The best of the lanes' keys, of which as many as are wanted, if there are, are no less than
 * `least`. One warp; ends synchronised. */
template <int N>
static __device__ __forceinline__ void pick_above(const struct scene &s, const uint32_t (&key)[N],
                                                  uint32_t least, const float *score,
                                                  struct brief_pick *ret)
{
    const int top_k = s.p.top_k;
    uint32_t *list = (uint32_t *)s.room->few;
    uint8_t *ids = (uint8_t *)s.room->most;
    int n = 0, n_pairs = 0, n_taken;

    least = max(__reduce_min_sync(ALL_LANES, least), 1u);
#pragma unroll
    for (int i = 0; i < N; i++) {
        const bool is_few = key[i] >= least;
        const uint32_t word = __ballot_sync(ALL_LANES, is_few);
        const int at = n + __popc(word & ((1u << s.lane) - 1));

        if (is_few && at < LISTED) {
            list[at] = key[i];
            ids[at] = (uint8_t)(i * WARP + s.lane);
        }
        n += __popc(word);
    }
    n_taken = min(n, top_k);
    if (n <= LISTED) {
        if (s.lane < 8)
            list[n + s.lane] = 0;
        __syncwarp();
#pragma unroll 1
        for (int at = s.lane; at - s.lane < n; at += WARP) {
            const int n_above = count_above(list, n, at < n ? list[at] : ~0u);

            n_pairs += n_above;
            if (at < n && n_above < n_taken)
                ret->order[n_above] = ids[at];
        }
        /* each pair was counted once, but for those of equal ones */
        n_pairs = __reduce_add_sync(ALL_LANES, n_pairs);
    }
    if (n > LISTED || 2 * n_pairs != n * (n - 1))
        (void)select_any<N>(keys_of(key), (1u << N) - 1, top_k, &n_taken, ret->order, s.room);
    finish_pick(score, n_taken, ret);
}

/* Of few experts. */
static __device__ __forceinline__ void pick_best(const struct scene &s, const uint32_t (&key)[2],
                                                 const float *score, struct brief_pick *ret)
{
    uint32_t best = max(key[0], key[1]); /* of a quad then; there are as many as BEST */

    best = max(best, __shfl_xor_sync(ALL_LANES, best, 1));
    best = max(best, __shfl_xor_sync(ALL_LANES, best, 2));
    pick_above<2>(s, key, best, score, ret);
}

/* Of many: of the token's keys in room within groups. */
static __device__ __forceinline__ void pick_best(const struct scene &s, const struct brief_room *b,
                                                 uint32_t kept, struct brief_pick *ret)
{
    const int at = s.lane % GROUPS;
    uint32_t key[GROUPS];

#pragma unroll
    for (int i = 0; i < GROUPS; i++)
        key[i] = kept >> 4 * i & 1 ? b->key[s.team][i * WARP + s.lane] : 0;
    pick_above<GROUPS>(s, key, kept >> 4 * at & 1 ? b->least[s.team][at] : ~0u, b->score[s.team],
                       ret);
}

/* Up to n more of those keys, of all groups. One warp. Out of line: it is rare. */
static __device__ __noinline__ void pick_more(const uint32_t *key, const float *score, int n,
                                              struct route_room *room, struct brief_pick *ret)
{
    const int lane = (int)threadIdx.x % WARP;
    struct route_keys<GROUPS> keys;
    uint32_t set = (1u << GROUPS) - 1;
    int n_more;

    for (int i = 0; i < ret->n; i++)
        if (ret->id[i] % WARP == lane)
            set &= ~(1u << ret->id[i] / WARP);
#pragma unroll
    for (int i = 0; i < GROUPS; i++)
        keys.of[i] = key[i * WARP + lane];
    (void)select_any<GROUPS>(keys, set, n, &n_more, ret->order + ret->n, room);
    finish_pick(score, ret->n + n_more, ret);
}

/* ---- messages ----------------------------------------------------------------------------- */

/* A token's votes to all blocks. One warp. */
static __device__ __forceinline__ void send_votes(const struct scene &s, bool is_voter,
                                                  const struct brief_pick &natural)
{
    const int top_k = s.p.top_k, k = s.lane % BEST;
    uint2 *to = (uint2 *)(s.shared + s.a.l.votes) + s.t_mine * top_k + k, v;

    v = is_voter && k < natural.n
            ? make_uint2((uint32_t)natural.id[k], __float_as_uint(natural.score[k]))
            : make_uint2((uint32_t)NO_VOTE, 0);
    if (k < top_k)
#pragma unroll
        for (int i = 0; i < ROUTER_BLOCKS; i += WARP / BEST)
            cluster_send(to, (unsigned)(i + s.lane / BEST), s.barriers + VOTES, v);
}

/* A set of experts: their ids in bytes, and how many. */
static __device__ __forceinline__ uint4 pick_message(const struct brief_pick &p)
{
    const uint2 ids = *(const uint2 *)p.ids;

    return make_uint4(ids.x, ids.y, (uint32_t)p.n, 0);
}

static __device__ __forceinline__ int message_id(const uint4 &m, int i)
{
    return (int)((i < 4 ? m.x : m.y) >> i % 4 * 8 & 255);
}

/* What a token chose to all blocks. One warp. */
static __device__ __forceinline__ void send_pick(const struct scene &s,
                                                 const struct brief_pick &chosen)
{
    if (s.lane < ROUTER_BLOCKS)
        cluster_send((uint4 *)(s.shared + s.a.l.choices) + s.t_mine, (unsigned)s.lane,
                     s.barriers + CHOICES, pick_message(chosen));
}

/* Sum of its scores, as sum_slots(). */
static __device__ __forceinline__ double sum_pick(const struct brief_pick &p)
{
    double sum = 0;

#pragma unroll
    for (int i = 0; i < BEST; i++)
        sum = __dadd_rn(sum, i < p.n ? (double)p.score[i] : 0.0);
    return sum;
}

/* What a token comes to in the statistics, to the last block. One warp. */
static __device__ __forceinline__ void send_pick_facts(const struct scene &s,
                                                       const struct brief_pick &natural,
                                                       const struct brief_pick &chosen)
{
    const int mine = s.lane < chosen.n ? chosen.id[s.lane % BEST] : -1;
    bool is_natural = mine < 0;
    double kept = 1; /* also of what has no mass */
    uint64_t bits;
    int n_off;
    uint4 fact;

#pragma unroll
    for (int i = 0; i < BEST; i++)
        is_natural |= natural.order[i] == mine;
    n_off = __popc(__ballot_sync(ALL_LANES, !is_natural));
    const bool has_top1 = __any_sync(ALL_LANES, natural.order[0] == mine);

    if (n_off || natural.n != chosen.n) {
        const double natural_mass = sum_pick(natural), mass = sum_pick(chosen);

        if (natural_mass > 0)
            kept = mass / natural_mass;
    }
    bits = (uint64_t)__double_as_longlong(kept);
    fact = s.lane ? pick_message(natural)
                  : make_uint4((uint32_t)bits, (uint32_t)(bits >> 32), (uint32_t)n_off,
                               (uint32_t)!has_top1);
    if (s.lane < 2)
        cluster_send((uint4 *)(s.shared + s.a.l.facts) + 2 * s.t_mine + s.lane, ROUTER_BLOCKS - 1,
                     s.barriers + FACTS, fact);
}

/* Bytes of them of a segment. */
static __device__ __forceinline__ uint32_t brief_choice_bytes(const struct scene &s)
{
    return (uint32_t)(s.u.n_tok * (int)sizeof(uint4));
}

static __device__ __forceinline__ uint32_t brief_fact_bytes(const struct scene &s)
{
    return s.p.size == SIZE_NONE ? 0 : 2 * brief_choice_bytes(s);
}

/* ---- list --------------------------------------------------------------------------------- */

enum {
    COUNTERS = N_WARPS / 2 * WARP, /* threads of members 2 and 3 */
    COUNTING = TEAMS_MAX + 1,      /* named barriers: of these; of these and members 1 */
    COUNTED = TEAMS_MAX + 2
};

/* What all tokens chose, into room. Members 2 and 3. */
template <int N>
static __device__ __forceinline__ void count_choices(const struct scene &s, struct brief_room *b)
{
    constexpr int EACH = N * WARP > COUNTERS ? N * WARP / COUNTERS : 1; /* experts of a thread */
    const int i = (int)threadIdx.x - COUNTERS, t = i / 4, k = i % 4 * 2;
    uint32_t tally[EACH], sum[EACH];

#pragma unroll
    for (int h = 0; h < EACH; h++)
        b->tokens[h * COUNTERS + i] = 0;
    named_barrier(COUNTING, COUNTERS);
    cluster_receive(s.barriers + CHOICES);
    if (t < s.u.n_tok) {
        const uint4 m = ((const uint4 *)(s.shared + s.a.l.choices))[t];

        if (k < (int)m.z)
            atomicOr(b->tokens + message_id(m, k), 1u << t);
        if (k + 1 < (int)m.z)
            atomicOr(b->tokens + message_id(m, k + 1), 1u << t);
    }
    named_barrier(COUNTING, COUNTERS);
    if (i >= N * WARP)
        return;
#pragma unroll
    for (int h = 0; h < EACH; h++) { /* experts i, COUNTERS + i, ... */
        tally[h] = (uint32_t)__popc(b->tokens[h * COUNTERS + i]);
        tally[h] |= (uint32_t)(tally[h] > 0) << 16;
        sum[h] = tally[h];
    }
    sum_up<EACH, WARP>(s, sum);
#pragma unroll
    for (int h = 0; h < EACH; h++) {
        b->before[h * COUNTERS + i] = sum[h] - tally[h];
        if (s.lane == WARP - 1)
            b->totals[h * (COUNTERS / WARP) + i / WARP] = sum[h];
    }
}

/* The tally of all experts before e; e = N * WARP: of all. */
template <int N>
static __device__ __forceinline__ uint32_t brief_before(const struct brief_room *b, int e)
{
    uint32_t sum = e < N * WARP ? b->before[e] : 0;

#pragma unroll
    for (int i = 0; i < N; i++)
        sum += i < e / WARP ? b->totals[i] : 0;
    return sum;
}

/* A lane's slot of its token: nothing from slot chosen.n on. */
struct brief_slot {
    int id;
    float w;
};

/* The token's slots. Member 1. */
static __device__ __forceinline__ struct brief_slot list_slots(const struct scene &s,
                                                               const struct brief_pick &chosen)
{
    const struct route_output &out = s.a.c.route.out;
    const int t = s.t_mine;
    const double sum = s.p.renorm ? sum_pick(chosen) : 0;
    const bool has_slot = s.lane < chosen.n;
    const int id = has_slot ? chosen.id[s.lane % BEST] : 0;
    const float w = has_slot ? slot_weight(s.p, chosen.score[s.lane % BEST], sum) : 0;

#pragma unroll 1
    for (int i = s.lane; i < out.stride; i += WARP) {
        const size_t at = (size_t)(s.u.row + t) * (size_t)out.stride + (size_t)i;

        out.ids[at] = i < chosen.n ? id : -1;
        out.w[at] = i < chosen.n ? w : 0;
    }
    return { id, w };
}

/* The token's pairs, once all choices are counted. Member 1. */
template <int N>
static __device__ __forceinline__ void list_pairs(const struct scene &s, const struct brief_room *b,
                                                  const struct brief_pick &chosen,
                                                  const struct brief_slot &mine)
{
    const struct router_call &c = s.a.c;
    const int top_k = s.p.top_k, stride = top_k + c.n_shared, t = s.t_mine;

    if (!c.list.n_active)
        return;
#pragma unroll 1
    for (int slot = s.lane; slot < stride; slot += WARP) {
        int pair = -1;

        if (slot < chosen.n)
            pair = pairs_of(brief_before<N>(b, mine.id)) +
                   __popc(b->tokens[mine.id] & ((1u << t) - 1));
        else if (slot >= top_k)
            pair = pairs_of(brief_before<N>(b, N * WARP)) + (slot - top_k) * s.u.n_tok + t;
        if (pair >= 0) {
            c.list.tokens[pair] = t;
            c.list.weights[pair] = slot < top_k ? mine.w : 1;
        }
        c.list.token_pairs[t * stride + slot] = pair;
    }
}

/* The block's share of the experts. One warp. */
template <int N>
static __device__ __forceinline__ void list_counted(const struct scene &s,
                                                    const struct brief_room *b)
{
    constexpr int EACH = N * WARP / ROUTER_BLOCKS;
    const int e = s.rank * EACH + s.lane % EACH;

    list_share(s, s.lane < EACH, e, __popc(b->tokens[e]), brief_before<N>(b, e),
               brief_before<N>(b, N * WARP));
}

/* Statistics. One warp of the last block. core: NULL without one: then tokens chose what is
 * natural. */
template <int N>
static __device__ __forceinline__ void count_picks(const struct scene &s, struct brief_room *b,
                                                   const uint8_t *core)
{
    const uint4 *choices = (const uint4 *)(s.shared + s.a.l.choices);
    const uint4 *facts = (const uint4 *)(s.shared + s.a.l.facts);
    const int n_tok = s.u.n_tok;
    struct route_stats r = { 0, 0, 0, 0, 0, 0 };

    r.n_unique = active_of(brief_before<N>(b, N * WARP));
    if (!core) {
        r.n_natural = r.n_unique;
        r.n_lost_top1 =
            __popc(__ballot_sync(ALL_LANES, s.lane < n_tok && !choices[s.lane % WARP].z));
        r.kept_mass = n_tok > 0;
    } else if (n_tok) {
        const bool is_there = s.lane < n_tok;
        uint4 fact = make_uint4(0, 0, 0, 0), natural = fact;
        uint2 *seen = (uint2 *)b->is_natural + s.lane, any;

        *seen = make_uint2(0, 0);
        __syncwarp();
        cluster_receive(s.barriers + FACTS);
        if (is_there) {
            fact = facts[2 * s.lane];
            natural = facts[2 * s.lane + 1];
        }
#pragma unroll
        for (int i = 0; i < BEST; i++)
            if (i < (int)natural.z)
                b->is_natural[message_id(natural, i)] = 1;
        __syncwarp();
        any = *seen;
        r.n_natural = __reduce_add_sync(ALL_LANES, __popc(any.x) + __popc(any.y));
#pragma unroll
        for (int i = 0; i < N; i++) {
            const int e = i * WARP + s.lane;

            r.n_core += __popc(__ballot_sync(ALL_LANES, e < s.p.n_exp && core[e]));
        }
        r.n_rerouted = __reduce_add_sync(ALL_LANES, (int)fact.z);
        r.n_lost_top1 = __reduce_add_sync(ALL_LANES, (int)fact.w);
#pragma unroll 1
        for (int from = 0; from < n_tok; from += 8) {
            double v[8];

#pragma unroll
            for (int i = 0; i < 8; i++)
                v[i] = from + i < n_tok ? __hiloint2double((int)facts[2 * (from + i)].y,
                                                           (int)facts[2 * (from + i)].x)
                                        : 0.0;
#pragma unroll
            for (int i = 0; i < 8; i++)
                r.kept_mass = __dadd_rn(r.kept_mass, v[i]);
        }
        r.kept_mass = r.kept_mass / n_tok;
    }
    if (s.lane == 0)
        s.a.c.route.stats[s.unit] = r;
}

/* ---- all of it ---------------------------------------------------------------------------- */

/* The groups that there are, as kept_groups() has them. */
static __device__ __forceinline__ uint32_t all_groups(const struct scene &s)
{
    return ~0u >> (ROUTER_MAX_EXPERTS - s.p.n_exp) / WARP * 4;
}

/* Those from which a token takes its slots inside a coreset. */
static __device__ __forceinline__ uint32_t kept_inside(const struct scene &s,
                                                       const struct brief_room *b)
{
    if (s.p.inside == INSIDE_NATURAL)
        return b->kept[s.team];
    return s.p.inside == INSIDE_MEMBERS && has_limit(s.p) ? kept_groups(s, b->worth[s.team])
                                                          : all_groups(s);
}

/* What a token chose is known: all that follows from it. core: NULL without one. */
template <int N>
static __device__ __forceinline__ void
finish_brief(const struct scene &s, struct brief_room *b, const struct brief_pick &natural,
             const struct brief_pick &chosen, const uint8_t *core)
{
    const bool is_lister = s.member == 1 && s.is_mine;
    struct brief_slot mine = { 0, 0 };

    if (s.member == 0 && s.is_mine) {
        send_pick(s, chosen);
        named_barrier_arrive(s.team + 1, 2 * WARP);
        if (core)
            send_pick_facts(s, natural, chosen);
    }
    if (is_lister) {
        named_barrier(s.team + 1, 2 * WARP);
        mine = list_slots(s, chosen);
    } else if (s.member > 1) {
        count_choices<N>(s, b);
    }
    if (s.member > 0)
        named_barrier(COUNTED, COUNTERS + TOKENS * WARP);
    if (is_lister)
        list_pairs<N>(s, b, chosen, mine);
    if (s.warp == N_WARPS / 2)
        list_counted<N>(s, b);
    if (s.warp == N_WARPS - 1 && s.rank == ROUTER_BLOCKS - 1)
        count_picks<N>(s, b, core);
    cluster_receive(s.barriers + CHOICES); /* no block ends before */
}

/* Of few experts, once the logits have come. All threads; bias: member 0's. */
static __device__ __forceinline__ void route_few(const struct scene &s, const float (&bias)[2],
                                                 bool is_voter, const struct route_call_group &g)
{
    struct brief_room *b = (struct brief_room *)(s.shared + s.a.l.brief);
    struct brief_pick *natural = b->natural + s.team, *chosen = natural;
    const bool is_first = s.is_mine && s.member == 0, has_core = s.p.size != SIZE_NONE;
    const uint8_t *core = NULL;
    uint32_t key[2];

    if (is_first) {
        score_token(s, bias, b, key);
        pick_best(s, key, b->score[s.team], natural);
        if (has_core)
            send_votes(s, is_voter, *natural);
    }
    if (has_core) {
        core = elect<2>(s, g);
        chosen = b->chosen + s.team;
        if (is_first) {
#pragma unroll
            for (int i = 0; i < 2; i++)
                key[i] = key[i] && core[i * WARP + s.lane] ? key[i] : 0;
            pick_best(s, key, b->score[s.team], chosen);
        }
    }
    finish_brief<2>(s, b, *natural, *chosen, core);
}

/* Of many; bias: of both tokens with the thread's expert. */
static __device__ __forceinline__ void route_many(const struct scene &s,
                                                  const float (&bias)[TOKENS], bool is_voter,
                                                  const struct route_call_group &g)
{
    struct brief_room *b = (struct brief_room *)(s.shared + s.a.l.brief);
    struct brief_pick *natural = b->natural + s.team, *chosen = natural;
    const int e = (int)threadIdx.x, n_words = (s.p.n_exp + WARP - 1) / WARP;
    const bool is_first = s.is_mine && s.member == 0, has_core = s.p.size != SIZE_NONE;
    const int n_kept = has_limit(s.p) ? s.p.topk_group : n_words;
    const uint8_t *core = NULL;
    uint32_t key[TOKENS];

    score_expert(s, bias, b, key);
    share_keys(s, key, n_kept, b);
    if (is_first) {
        const uint32_t kept = has_limit(s.p) ? kept_groups(s, b->worth[s.team]) : all_groups(s);

        pick_best(s, b, kept, natural);
        if (has_core) {
            send_votes(s, is_voter, *natural);
            if (s.lane == 0)
                b->kept[s.team] = kept;
        }
    }
    if (has_core) {
        core = elect<GROUPS>(s, g);
        chosen = b->chosen + s.team;
#pragma unroll
        for (int t = 0; t < TOKENS; t++)
            key[t] = e < s.p.n_exp && core[e] ? key[t] : 0;
        share_keys(s, key, n_kept, b);
        if (is_first) {
            pick_best(s, b, kept_inside(s, b), chosen);
            if (chosen->n < s.p.top_k && s.p.n_group && !s.p.is_guard_drop)
                pick_more(b->key[s.team], b->score[s.team], s.p.top_k - chosen->n, s.room, chosen);
        }
    }
    finish_brief<GROUPS>(s, b, *natural, *chosen, core);
}

#endif
