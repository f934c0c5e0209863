/*
 * Routing on the device: what the op's kernels (route.cu) and the fused one (router.cu) share.
 *
 * A warp takes a token; how it holds experts and sets of them: route_set.cuh. Sums are in f64, in
 * the order that kernels/route.h asks for, by operations that the compiler may not contract.
 */
#ifndef KERNELS_CUDA_ROUTE_CUH
#define KERNELS_CUDA_ROUTE_CUH

#include "kernels/cuda/route_call.h"
#include "kernels/cuda/route_set.cuh"

template <int N> struct route_token {
    float score[N];
    uint32_t order[N]; /* of the keys */
    uint32_t valid;    /* set: can be chosen */
    uint32_t natural;  /* set: in the natural order, which is that of the kept groups */
};

/* The set's ids and scores, ascending, to room; returns how many. Ends with __syncwarp(). */
template <int N>
static __device__ __forceinline__ int list_set(const float (&score)[N], uint32_t set,
                                               struct route_room *room)
{
    int lane = (int)threadIdx.x % WARP, n = 0;

    __syncwarp();
#pragma unroll
    for (int i = 0; i < N; i++) {
        uint32_t word = __ballot_sync(ALL_LANES, set >> i & 1);

        if (set >> i & 1) {
            int at = n + __popc(word & ((1u << lane) - 1));

            room->id[at] = i * WARP + lane;
            room->score[at] = score[i];
        }
        n += __popc(word);
    }
    __syncwarp();
    return n;
}

/* f64 sum of room's first n scores, in their order. Eight are fetched at once; adding 0 changes no
 * sum that began with 0. */
static __device__ __forceinline__ double sum_slots(const struct route_room *room, int n)
{
    double sum = 0;

#pragma unroll 1
    for (int from = 0; from < n; from += 8) {
        float score[8];

#pragma unroll
        for (int i = 0; i < 8; i++)
            score[i] = from + i < n ? room->score[from + i] : 0.0f;
#pragma unroll
        for (int i = 0; i < 8; i++)
            sum = __dadd_rn(sum, (double)score[i]);
    }
    return sum;
}

/* f64 sum of a set's values by ascending id; any number of them. */
template <int N>
static __device__ __forceinline__ double sum_set(const float (&value)[N], uint32_t set)
{
    double sum = 0;

#pragma unroll
    for (int i = 0; i < N; i++) {
        uint32_t word = __ballot_sync(ALL_LANES, set >> i & 1);

        while (word) {
            int from = __ffs((int)word) - 1;

            word &= word - 1;
            sum = __dadd_rn(sum, (double)__shfl_sync(ALL_LANES, value[i], from));
        }
    }
    return sum;
}

/* What a group of experts counts as: more members first (0, 1, more), then the sum of its two
 * largest keys. */
static __device__ __forceinline__ uint64_t group_worth(uint32_t first, uint32_t second)
{
    if (second)
        return 2ull << 32 | order_of(__fadd_rn(key_of(first), key_of(second)));
    return first ? 1ull << 32 | first : 0;
}

/* Bytes of shared memory that a warp needs for limit_groups(). */
static __host__ __device__ inline int groups_room(const struct route_params *p)
{
    if (!p->n_group || (p->n_exp == p->n_group * WARP && p->n_group <= 8))
        return 0;
    return (p->n_group * 8 + p->n_exp * 4 + 15) / 16 * 16;
}

/* limit_groups() for groups of any size. */
template <int N>
static __device__ __noinline__ uint32_t limit_any_groups(int n_exp, int n_group, int topk_group,
                                                         const struct route_keys<N> key,
                                                         uint32_t set, void *room)
{
    int lane = (int)threadIdx.x % WARP, size = n_exp / n_group;
    uint64_t *worth = (uint64_t *)room;
    uint32_t *keys = (uint32_t *)(worth + n_group);

    __syncwarp();
#pragma unroll
    for (int i = 0; i < N; i++)
        if (i * WARP + lane < n_exp)
            keys[i * WARP + lane] = set >> i & 1 ? key.of[i] : 0;
    __syncwarp();
    for (int g = lane; g < n_group; g += WARP) {
        uint32_t first = 0, second = 0;

        for (int e = g * size; e < (g + 1) * size; e++) {
            uint32_t lower = min(keys[e], first);

            first = max(keys[e], first);
            second = max(lower, second);
        }
        worth[g] = group_worth(first, second);
    }
    __syncwarp();
    for (int g = lane; g < n_group; g += WARP) { /* kept groups: marked in place of their keys */
        uint64_t of = worth[g];
        int n_before = 0;

        for (int h = 0; h < n_group; h++)
            n_before += worth[h] > of || (worth[h] == of && h < g);
        keys[g * size] = n_before < topk_group;
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < N; i++) {
        int e = i * WARP + lane;

        if (e < n_exp && !keys[e / size * size])
            set &= ~(1u << i);
    }
    __syncwarp();
    return set;
}

/* Half of the lanes keep the first KEPT groups of twice as many, half the others: each hands over
 * what the lane that differs in bit `lane_bit` keeps, and has the two largest keys of both then. */
template <int KEPT, int N>
static __device__ __forceinline__ void share_groups(uint32_t (&first)[N], uint32_t (&second)[N],
                                                    int lane_bit)
{
    const bool is_upper = (int)threadIdx.x & lane_bit;

#pragma unroll
    for (int i = 0; i < KEPT; i++) {
        const uint32_t sent = is_upper ? first[i] : first[i + KEPT];
        const uint32_t next = is_upper ? second[i] : second[i + KEPT];
        const uint32_t mine = is_upper ? first[i + KEPT] : first[i];
        const uint32_t mine_next = is_upper ? second[i + KEPT] : second[i];
        const uint32_t other = __shfl_xor_sync(ALL_LANES, sent, lane_bit);
        const uint32_t other_next = __shfl_xor_sync(ALL_LANES, next, lane_bit);

        first[i] = max(mine, other);
        second[i] = max(min(mine, other), max(mine_next, other_next));
    }
}

/* limit_groups() where group i lies in the lanes' i-th experts, as in LLaDA2.x. The lanes share the
 * groups out, so that lanes 4 i to 4 i + 3 know what group i is worth. */
template <int N>
static __device__ __forceinline__ uint32_t limit_rows(const struct route_params &p,
                                                      const uint32_t (&key)[N], uint32_t set)
{
    constexpr int GROUPS = 8;
    const int lane = (int)threadIdx.x % WARP, mine_at = lane / 4, at = lane & 28;
    uint32_t first[GROUPS], second[GROUPS] = {}, kept, ret = 0;
    int n_before = 0;
    uint64_t mine;

#pragma unroll
    for (int i = 0; i < GROUPS; i++)
        first[i] = i < N && (set >> i & 1) ? key[i % N] : 0;
    share_groups<4>(first, second, 16);
    share_groups<2>(first, second, 8);
    share_groups<1>(first, second, 4);
#pragma unroll
    for (int w = 1; w <= 2; w *= 2) {
        const uint32_t other = __shfl_xor_sync(ALL_LANES, first[0], w);
        const uint32_t next = __shfl_xor_sync(ALL_LANES, second[0], w);

        second[0] = max(min(first[0], other), max(second[0], next));
        first[0] = max(first[0], other);
    }
    mine = group_worth(first[0], second[0]);
#pragma unroll
    for (int half = 0; half < GROUPS; half += 4) { /* ties to the lower id */
        const int h = half + lane % 4;
        const uint64_t other = __shfl_sync(ALL_LANES, mine, 4 * h);
        const bool is_before = other > mine || (other == mine && h < mine_at);

        n_before += __popc(__ballot_sync(ALL_LANES, is_before) >> at & 0xf);
    }
    kept = __ballot_sync(ALL_LANES, n_before < p.topk_group);
#pragma unroll
    for (int i = 0; i < N; i++)
        ret |= (kept >> 4 * i & 1) << i;
    return set & ret;
}

/* What a set leaves within the topk_group best groups. room: groups_room() bytes, aligned to 8. */
template <int N>
static __device__ __forceinline__ uint32_t limit_groups(const struct route_params &p,
                                                        const uint32_t (&key)[N], uint32_t set,
                                                        void *room)
{
    if (p.topk_group >= p.n_group)
        return set;
    if constexpr (N <= 8) {
        if (p.n_exp == p.n_group * WARP)
            return limit_rows<N>(p, key, set);
    }
    return limit_any_groups<N>(p.n_exp, p.n_group, p.topk_group, keys_of(key), set, room);
}

/* What is added to a row's scores. */
template <int N>
static __device__ __forceinline__ void load_bias(const struct route_call &c, int row,
                                                 float (&ret)[N])
{
    const float *bias = c.bias + (size_t)row * (size_t)c.bias_stride;

#pragma unroll
    for (int i = 0; i < N; i++) {
        int e = i * WARP + (int)threadIdx.x % WARP;

        ret[i] = c.bias && e < c.p.n_exp ? bias[e] : 0.0f;
    }
}

/* Keys and natural order of a token whose scores are in place. */
template <int N>
static __device__ __forceinline__ void make_keys(const struct route_params &p,
                                                 const float (&bias)[N], struct route_token<N> *t,
                                                 void *groups)
{
    int lane = (int)threadIdx.x % WARP;

    t->valid = 0;
#pragma unroll
    for (int i = 0; i < N; i++) { /* adding 0 changes no order */
        t->order[i] = i * WARP + lane < p.n_exp ? order_of(__fadd_rn(t->score[i], bias[i])) : 0;
        t->valid |= (uint32_t)(t->order[i] != 0) << i;
    }
    t->natural = p.n_group ? limit_groups<N>(p, t->order, t->valid, groups) : t->valid;
}

template <int N>
static __device__ __forceinline__ void read_token(const struct route_call &c, int row,
                                                  struct route_token<N> *t, void *groups)
{
    const float *scores = c.scores + (size_t)row * (size_t)c.p.n_exp;
    float bias[N];

#pragma unroll
    for (int i = 0; i < N; i++) {
        int e = i * WARP + (int)threadIdx.x % WARP;

        t->score[i] = e < c.p.n_exp ? scores[e] : 0.0f;
    }
    load_bias<N>(c, row, bias);
    make_keys<N>(c.p, bias, t, groups);
}

/* How much of a token's order is looked at. */
static __device__ __forceinline__ int natural_depth(const struct route_params &p)
{
    int n = max(p.top_k, p.top_k_base);

    return min(n, p.n_exp);
}

/* ---- votes ------------------------------------------------------------------------------- */

/*
 * What a token gives to each of its experts: ret[i], NaN: no vote. Returns what they are to be
 * divided by in f64 where they are. logit: its logits, read for VOTE_LOGIT. first: its n_first
 * naturally best experts, which spares looking for as many.
 */
template <int N>
static __device__ __forceinline__ double
token_votes(const struct route_params &p, const struct route_token<N> &t, const float (&logit)[N],
            uint32_t first, int n_first, float (&ret)[N], struct route_room *room)
{
    int n;
    uint32_t set = p.is_mask_ungrouped ? t.valid : t.natural;

    if (p.vote == VOTE_RANK) { /* one by one, each worth one less */
        uint32_t left = set;

#pragma unroll
        for (int i = 0; i < N; i++)
            ret[i] = 0;
        for (int r = 0; r < p.mask; r++) {
            uint32_t one = select_by_rounds<N>(keys_of(t.order), left, 1, &n, NULL);

            if (!n)
                break;
            left &= ~one;
#pragma unroll
            for (int i = 0; i < N; i++)
                if (one >> i & 1)
                    ret[i] = (float)(p.mask - r);
        }
        set &= ~left;
    } else {
        if (p.mask == n_first && !(p.is_mask_ungrouped && p.n_group))
            set = first;
        else if (p.mask < p.n_exp)
            set = select_best<N>(t.order, set, p.mask, &n, NULL, room);
#pragma unroll
        for (int i = 0; i < N; i++)
            ret[i] = p.vote == VOTE_COUNT    ? 1
                     : p.vote == VOTE_BIASED ? key_of(t.order[i])
                     : p.vote == VOTE_LOGIT  ? logit[i]
                                             : t.score[i];
    }
    double sum = p.is_vote_normed ? sum_set<N>(ret, set) : 1;

#pragma unroll
    for (int i = 0; i < N; i++)
        if (!(set >> i & 1))
            ret[i] = NAN;
    return sum;
}

/* A vote as it is added; NaN: none. */
static __device__ __forceinline__ double vote_value(const struct route_params &p, float vote,
                                                    double divisor)
{
    if (!p.is_vote_normed || vote != vote)
        return (double)vote;
    return divisor > 0 ? (double)vote / divisor : 0;
}

static __device__ __forceinline__ uint64_t splitmix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

/* route_hash() of kernels/route_hash.h. */
static __device__ __forceinline__ double route_hash_of(uint64_t key, int group, int expert)
{
    uint64_t x = splitmix(key + (uint64_t)group * 0x9e3779b97f4a7c15ull);

    return (double)(splitmix(x + (uint64_t)expert) >> 11) * 0x1p-53;
}

/* ---- elections, by a whole block --------------------------------------------------------- */

struct election_room {
    double v[KERNEL_MAX_EXPERTS];      /* votes, or what else experts are ranked by */
    double sorted[KERNEL_MAX_EXPERTS]; /* by rank; then sums of the first */
    uint64_t key[KERNEL_MAX_EXPERTS];  /* larger goes first; 0: is not ranked */
    uint8_t has_vote[KERNEL_MAX_EXPERTS];
    uint8_t core[KERNEL_MAX_EXPERTS]; /* in: the warm-up set; out: the coreset */
    int n_taken;
};

/* A sum of votes as a number of the same order, above 0; NaN has no place. */
static __device__ __forceinline__ uint64_t order_of_votes(double v)
{
    uint64_t u = (uint64_t)__double_as_longlong(v == 0 ? 0.0 : v);

    return u >> 63 ? ~u : u | 1ull << 63;
}

/* How many go before expert e, ties to the lower id. SHARE neighbouring lanes ask for one e, all
 * of a warp take part; each looks at every SHARE-th expert. */
template <int SHARE>
static __device__ __forceinline__ int count_before(const uint64_t *key, int n_exp, int e)
{
    uint64_t mine = e < n_exp ? key[e] : 0;
    int n = 0;

#pragma unroll 8
    for (int f = (int)threadIdx.x % SHARE; f < n_exp; f += SHARE) {
        uint64_t other = key[f];

        n += other > mine || (other == mine && f < e);
    }
#pragma unroll
    for (int i = 1; i < SHARE; i *= 2)
        n += __shfl_xor_sync(ALL_LANES, n, i);
    return n;
}

/* The reference's own walk, for one thread: where a vote is NaN there is no order to rank by. */
static __device__ int best_outside(const struct election_room *x, const uint8_t *set, int n_exp)
{
    int best = -1;

    for (int e = 0; e < n_exp; e++)
        if (!set[e] && (best < 0 || x->has_vote[e] > x->has_vote[best] ||
                        (x->has_vote[e] == x->has_vote[best] && x->v[e] > x->v[best])))
            best = e;
    return best;
}

static __device__ __noinline__ void elect_walking(int size, int n_exp, int n_core, double core_p,
                                                  int floor, struct election_room *x)
{
    uint8_t *taken = (uint8_t *)x->sorted;
    double total = 0, sum = 0;
    int n = 0, best;

    if (size == SIZE_FIXED) {
        for (int e = 0; e < n_exp; e++)
            n += x->core[e];
        for (; n < n_core; n++) {
            best = best_outside(x, x->core, n_exp);
            if (best < 0)
                break;
            x->core[best] = 1;
        }
        return;
    }
    for (int e = 0; e < n_exp; e++)
        taken[e] = 0;
    while ((best = best_outside(x, taken, n_exp)) >= 0) {
        taken[best] = 1;
        total = __dadd_rn(total, x->v[best]);
    }
    for (int e = 0; e < n_exp; e++)
        taken[e] = 0;
    while ((best = best_outside(x, taken, n_exp)) >= 0) {
        if (n && n >= floor && sum > __dmul_rn(core_p, total))
            break;
        taken[best] = 1;
        x->core[best] = 1;
        sum = __dadd_rn(sum, x->v[best]);
        n++;
    }
}

/* An expert's place in the ranking: x->key of its v, has_vote and core. */
static __device__ __forceinline__ void rank_later(const struct route_params &p,
                                                  struct election_room *x, int e)
{
    x->key[e] = x->core[e] && p.size == SIZE_FIXED ? 0
                : x->has_vote[e]                   ? order_of_votes(x->v[e]) + 1
                                                   : 1;
}

/*
 * Fill x->core up to the size asked for; SIZE_FIXED or SIZE_TOP_P. Called by all threads of the
 * block, at least 256, once x is written, rank_later() too, and not yet synchronised; ends
 * synchronised.
 */
static __device__ __forceinline__ void elect_by_votes(const struct route_params &p,
                                                      struct election_room *x)
{
    const int SHARE = 4;
    int tid = (int)threadIdx.x, n_threads = (int)blockDim.x, n_exp = p.n_exp, n_warm = 0, n_taken;
    int per_round = n_threads / SHARE, n_rounds = (n_exp + per_round - 1) / per_round;
    bool is_nan = false;

    for (int e = tid; e < n_exp; e += n_threads) /* by who wrote it */
        is_nan = is_nan || x->v[e] != x->v[e];
    if (tid == 0)
        x->n_taken = n_exp;
    is_nan = __syncthreads_or(is_nan);
    if (p.warm && p.size == SIZE_FIXED)
        for (int from = 0; from < n_exp; from += n_threads)
            n_warm += __syncthreads_count(from + tid < n_exp && x->core[from + tid]);
    if (is_nan) {
        if (tid == 0)
            elect_walking(p.size, n_exp, p.n_core, p.core_p, p.floor, x);
        __syncthreads();
        return;
    }
    n_taken = p.n_core - n_warm;
    if (p.size == SIZE_TOP_P) {
        double enough;

        for (int i = 0; i < n_rounds; i++) {
            int e = i * per_round + tid / SHARE, n = count_before<SHARE>(x->key, n_exp, e);

            if (e < n_exp && tid % SHARE == 0)
                x->sorted[n] = x->v[e];
        }
        __syncthreads();
        if (tid == 0) {
            double sum = 0;

#pragma unroll 8
            for (int i = 0; i < n_exp; i++)
                x->sorted[i] = sum = __dadd_rn(sum, x->sorted[i]);
        }
        __syncthreads();
        enough = __dmul_rn(p.core_p, x->sorted[n_exp - 1]);
        for (int i = tid; i < n_exp; i += n_threads) /* sorted[i]: of the first i + 1 */
            if (i + 1 >= p.floor && x->sorted[i] > enough)
                atomicMin(&x->n_taken, i + 1);
        __syncthreads();
        n_taken = x->n_taken;
    }
    for (int i = 0; i < n_rounds; i++) {
        int e = i * per_round + tid / SHARE, n = count_before<SHARE>(x->key, n_exp, e);

        if (e < n_exp && tid % SHARE == 0 && x->key[e] && n < n_taken)
            x->core[e] = 1;
    }
    __syncthreads();
}

/* ---- slots ------------------------------------------------------------------------------- */

/* Slots that a token uses of its natural ones, whose order is in room; n_natural: how many of
 * top_k there are. */
template <int N>
static __device__ __forceinline__ int slots_used(const struct route_params &p,
                                                 const struct route_token<N> &t, int n_natural,
                                                 struct route_room *room)
{
    double total, sum = 0;
    int n;

    n_natural = min(n_natural, p.top_k);
    if (p.keep == KEEP_TOP_P && !p.is_keep_p_of_top_k)
        total = sum_set<N>(t.score, t.valid);
    else
        total = sum_set<N>(t.score, set_of_first(room->order, n_natural));
    for (n = 0; n < n_natural; n++) {
        int e = room->order[n];
        float mine = 0;

        if (p.keep == KEEP_TAIL && n + 1 >= p.top_k)
            return p.top_k;
#pragma unroll
        for (int i = 0; i < N; i++)
            if (e / WARP == i)
                mine = t.score[i];
        sum = __dadd_rn(sum, (double)__shfl_sync(ALL_LANES, mine, e % WARP));
        if (p.keep == KEEP_TOP_P ? sum >= __dmul_rn(p.keep_p, total)
                                 : __dsub_rn(total, sum) < __dmul_rn(p.tail, total))
            return n + 1;
    }
    return p.keep == KEEP_TOP_P ? n : p.top_k;
}

/* Up to n experts that a token runs inside a coreset, its slots going to the best there. */
template <int N>
static __device__ __forceinline__ uint32_t choose_inside(const struct route_params &p,
                                                         const struct route_token<N> &t,
                                                         uint32_t core, int n, void *groups,
                                                         struct route_room *room)
{
    uint32_t rest = t.valid & core, set = rest, chosen;
    int n_chosen;

    if (p.inside == INSIDE_NATURAL)
        set = t.natural & core;
    else if (p.inside == INSIDE_MEMBERS && p.n_group)
        set = limit_groups<N>(p, t.order, rest, groups);
    chosen = select_best<N>(t.order, set, n, &n_chosen, NULL, room);
    if (!p.is_guard_drop && p.n_group && n_chosen < n)
        chosen |= select_best<N>(t.order, rest & ~chosen, n - n_chosen, &n_chosen, NULL, room);
    return chosen;
}

/* Weight of a slot from its score and the sum over the slots. */
static __device__ __forceinline__ float slot_weight(const struct route_params &p, float score,
                                                    double sum)
{
    if (!p.renorm && !p.is_renormed)
        return __fmul_rn(score, p.scale); /* rounded once, as the product in f64 would be */
    /* 1e-20 as LLaDA2's own code has it */
    return (float)__dmul_rn((double)score / __dadd_rn(sum, 1e-20), (double)p.scale);
}

#endif
