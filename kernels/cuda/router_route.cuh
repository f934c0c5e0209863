/*
 * What the router in one launch (router.cu) does once the product's sums have come: scores, votes,
 * coreset, slots, worklist, statistics. Parts of it are route.cuh's, as the op's are.
 *
 * Everything is a warp's: token 32 (w / 2) + 2 b + w % 2 of the segment is that of warp w of block
 * b, from its scores to its pairs. Only the coreset is elected by a whole block, the same one in
 * each. What others have to know goes by messages (cluster.cuh), one barrier for each kind.
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
    int squares;  /* (chunks, octets of this block, ROW_SLICES, 8) f64, messages */
    int stage;    /* of the product */
    int election; /* a struct election_room */
    int rooms;    /* two of struct route_room a warp */
    int groups;   /* groups_room() a warp */
    int votes;    /* (n_tok, experts of this block) f32, messages; NaN: none */
    int divisors; /* (n_tok) f64, messages */
    int warm;     /* (n_tok, words) messages */
    int sums;     /* (ROUTER_MAX_EXPERTS) f64, then as many words, messages */
    int choices;  /* (n_tok, choice_stride()) words, messages: the sets of chosen experts */
    int facts;    /* (n_tok, N_FACTS + N) words, messages to the last block */
    int logits;   /* (chunks, sources, rows) pairs of f32, messages */
    int bytes;
};

struct router_args {
    struct router_call c;
    struct layout l;
    int rows;  /* experts, up to 16 */
    int steps; /* of 16 columns, of a slice */
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

/* What a block knows and a warp's token of it. */
struct scene {
    const struct router_args &a;
    char *shared;
    uint64_t *barriers;
    struct route_call_segment u;
    int unit, rank, warp, lane;
    int t_mine;   /* token of this warp */
    bool is_mine; /* there is one */
    struct route_room *room, *other;
    void *groups;
};

/* ---- scores ------------------------------------------------------------------------------ */

/* The token's logits, once they have come. */
template <int N> static __device__ __forceinline__ void read_logits(const struct scene &s, float *z)
{
    constexpr int SOURCES = is_few<N>() ? 4 : (int)ROUTER_BLOCKS;
    const float *from =
        (const float *)(s.shared + s.a.l.logits) + s.warp / 2 * SOURCES * s.a.rows * 2 + s.warp % 2;

#pragma unroll
    for (int i = 0; i < N; i++) {
        const int e = i * WARP + s.lane;
        float of[SOURCES];

        z[i] = 0;
        if (e >= s.a.c.route.p.n_exp)
            continue;
#pragma unroll
        for (int b = 0; b < SOURCES; b++)
            of[b] = from[(b * s.a.rows + e) * 2];
        z[i] = tree_sum(of);
    }
}

/* Scores of the logits z, as row_softmax() and sigmoid() have them. */
template <int N>
static __device__ __forceinline__ void score_logits(enum router_score kind, int n_exp,
                                                    const float (&z)[N], float (&ret)[N])
{
    const int lane = (int)threadIdx.x % WARP;
    uint32_t most = 0;
    double sum = 0;
    float max, total;

    if (kind == ROUTER_SIGMOID) {
#pragma unroll
        for (int i = 0; i < N; i++)
            ret[i] = sigmoid(z[i]);
        return;
    }
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

/* ---- votes ------------------------------------------------------------------------------- */

/* A token's votes, warm-up set and divisor to those who sum them. */
template <int N>
static __device__ __forceinline__ void
send_ballot(const struct scene &s, bool is_voter, const struct route_token<N> &t,
            const float (&z)[N], uint32_t first, int n_first, uint32_t warm)
{
    const struct route_params &p = s.a.c.route.p;
    uint64_t *barrier = s.barriers + VOTES;

    if (s.a.has_votes) {
        uint32_t *to = (uint32_t *)(s.shared + s.a.l.votes);
        float votes[N];
        double divisor = token_votes<N>(p, t, z, first, n_first, votes, s.room);

#pragma unroll
        for (int i = 0; i < N; i++)
            votes[i] = is_voter ? votes[i] : NAN;
        if (is_few<N>()) {
            uint2 *row = (uint2 *)to + s.t_mine * WARP + s.lane;

#pragma unroll
            for (int b = 0; b < ROUTER_BLOCKS; b++)
                cluster_send(row, (unsigned)(s.rank + b) % ROUTER_BLOCKS, barrier,
                             make_uint2(__float_as_uint(votes[0]), __float_as_uint(votes[N - 1])));
        } else {
#pragma unroll
            for (int i = 0; i < N; i++)
                cluster_send(to + s.t_mine * OWN + s.lane % OWN, (unsigned)(2 * i + s.lane / OWN),
                             barrier, __float_as_uint(votes[i]));
        }
        if (p.is_vote_normed && s.lane < ROUTER_BLOCKS)
            cluster_send((double *)(s.shared + s.a.l.divisors) + s.t_mine, (unsigned)s.lane,
                         barrier, divisor);
    }
    if (p.warm) {
        uint32_t *to = (uint32_t *)(s.shared + s.a.l.warm), words[N], mine = 0;

        set_words<N>(is_voter ? warm : 0, words);
        if (is_few<N>()) {
            if (s.lane < ROUTER_BLOCKS)
                cluster_send((uint2 *)to + s.t_mine, (unsigned)s.lane, barrier,
                             make_uint2(words[0], words[N - 1]));
        } else {
#pragma unroll
            for (int i = 0; i < N; i++)
                if (s.lane / 2 == i)
                    mine = words[i] >> s.lane % 2 * OWN & ((1u << OWN) - 1);
            if (s.lane < ROUTER_BLOCKS)
                cluster_send(to + s.t_mine, (unsigned)s.lane, barrier, mine);
        }
    }
}

/* Bytes that the ballots of a segment are for a block. */
template <int N>
static __device__ __forceinline__ uint32_t ballot_bytes(const struct router_args &a, int n_tok)
{
    const struct route_params &p = a.c.route.p;
    const int votes = a.has_votes ? (is_few<N>() ? N * WARP : (int)OWN) * 4 : 0;
    const int divisor = a.has_votes && p.is_vote_normed ? 8 : 0;

    return (uint32_t)(n_tok * (votes + divisor + (p.warm ? is_few<N>() ? 8 : 4 : 0)));
}

/* A column of ballots: the votes for an expert, summed in token order. NaN is no vote. */
static __device__ __forceinline__ double sum_votes(const struct scene &s, const float *column,
                                                   int stride, bool *ret_is_voted)
{
    const double *divisors = (const double *)(s.shared + s.a.l.divisors);
    const struct route_params &p = s.a.c.route.p;
    bool is_voted = false;
    double sum = 0;

    if (!p.is_vote_normed) {
        for (int from = 0; from < s.u.n_tok; from += 16) {
            float v[16];

#pragma unroll
            for (int i = 0; i < 16; i++)
                v[i] = from + i < s.u.n_tok ? column[(from + i) * stride] : NAN;
#pragma unroll
            for (int i = 0; i < 16; i++) {
                is_voted |= v[i] == v[i];
                /* adding 0 changes no sum */
                sum = __dadd_rn(sum, (double)(v[i] == v[i] ? v[i] : 0.0f));
            }
        }
    } else {
        for (int t = 0; t < s.u.n_tok; t++) {
            const double v = vote_value(p, column[t * stride], divisors[t]);

            is_voted |= v == v;
            sum = __dadd_rn(sum, v == v ? v : 0.0);
        }
    }
    *ret_is_voted = is_voted;
    return sum;
}

/* What a block says of an expert: v is NaN's only where votes were infinite. */
static __device__ __forceinline__ void take_expert(const struct scene &s,
                                                   const struct route_call_group &g, int e,
                                                   double v, bool is_voted, bool is_warm,
                                                   struct election_room *x)
{
    const struct route_params &p = s.a.c.route.p;

    x->v[e] = v;
    x->has_vote[e] = is_voted;
    x->core[e] = is_warm;
    if (p.elect != ELECT_VOTES)
        x->has_vote[e] = 1;
    if (p.elect == ELECT_STATIC)
        x->v[e] = s.a.c.route.popularity[e];
    if (p.elect == ELECT_RANDOM)
        x->v[e] = route_hash_of(g.key, g.number, e);
    rank_later(p, x, e);
}

/* Of few experts, the one whose votes this thread sums: neighbours read neighbours. */
static __device__ __forceinline__ int few_expert(void)
{
    return (int)threadIdx.x % 2 * WARP + (int)threadIdx.x / 2;
}

/* All votes, once they have come, into x. */
template <int N>
static __device__ __forceinline__ void
hear_voters(const struct scene &s, const struct route_call_group &g, struct election_room *x)
{
    const float *votes = (const float *)(s.shared + s.a.l.votes);
    const uint32_t *warm = (const uint32_t *)(s.shared + s.a.l.warm);
    const struct route_params &p = s.a.c.route.p;
    const int tid = (int)threadIdx.x;
    bool is_voted = false, is_warm = false;
    double sum = 0;

    cluster_receive(s.barriers + VOTES);
    if (is_few<N>()) {
        const int e = few_expert();

        if (tid >= N * WARP)
            return;
        if (e >= p.n_exp) {
            x->key[e] = 0;
            return;
        }
        if (s.a.has_votes)
            sum = sum_votes(s, votes + tid, N * WARP, &is_voted);
        for (int t = 0; p.warm && t < s.u.n_tok; t++)
            is_warm |= warm[t * N + e / WARP] >> (e % WARP) & 1;
        take_expert(s, g, e, sum, is_voted, is_warm, x);
        return;
    }
    { /* the first warp sums, twice each; all tell all */
        double *sums = (double *)(s.shared + s.a.l.sums);
        uint32_t *marks = (uint32_t *)(sums + ROUTER_MAX_EXPERTS);

        if (s.warp == 0) {
            const int e = s.rank * OWN + s.lane % OWN;

            if (s.a.has_votes)
                sum = sum_votes(s, votes + s.lane % OWN, OWN, &is_voted);
            for (int t = 0; p.warm && t < s.u.n_tok; t++)
                is_warm |= warm[t] >> (s.lane % OWN) & 1;
#pragma unroll
            for (int b = 0; b < ROUTER_BLOCKS / 2; b++) {
                const unsigned to = (unsigned)(2 * b + s.lane / OWN);

                cluster_send(sums + e, to, s.barriers + SUMS, sum);
                cluster_send(marks + e, to, s.barriers + SUMS,
                             (uint32_t)is_voted | (uint32_t)is_warm << 1);
            }
        }
        cluster_receive(s.barriers + SUMS);
        if (tid < p.n_exp)
            take_expert(s, g, tid, sums[tid], marks[tid] & 1, marks[tid] >> 1 & 1, x);
    }
}

/* elect_by_votes() where it is short: SIZE_FIXED, at most 64 experts. Four threads an expert, a
 * quarter of the others each. */
static __device__ __forceinline__ void elect_few(const struct route_params &p,
                                                 struct election_room *x)
{
    int tid = (int)threadIdx.x, e = tid / 4, n = 0, n_warm = 0, wrote = few_expert();
    bool is_there = tid < FEW && wrote < p.n_exp, is_warm = is_there && x->core[wrote];
    bool is_nan = is_there && x->v[wrote] != x->v[wrote];
    uint64_t mine;

    if (p.warm)
        n_warm = __syncthreads_count(is_warm);
    if (__syncthreads_or(is_nan)) {
        elect_by_votes(p, x);
        return;
    }
    mine = x->key[e];
#pragma unroll
    for (int i = 0; i < 16; i++) {
        int f = tid % 4 * 16 + (i + tid) % 16;

        n += x->key[f] + (f < e) > mine;
    }
    n += __shfl_xor_sync(ALL_LANES, n, 1);
    n += __shfl_xor_sync(ALL_LANES, n, 2);
    if (tid % 4 == 0 && mine && n < p.n_core - n_warm)
        x->core[e] = 1;
    __syncthreads();
}

/* The block's coreset: its set of members, as a lane has it. All threads. */
template <int N>
static __device__ __forceinline__ const uint8_t *elect(const struct scene &s,
                                                       const struct route_call_group &g)
{
    const struct route_params &p = s.a.c.route.p;
    struct election_room *x = (struct election_room *)(s.shared + s.a.l.election);
    const bool is_last = s.u.n_tok && s.rank == 0 && g.ret_core;

    hear_voters<N>(s, g, x);
    if (is_few<N>() && p.size == SIZE_FIXED) {
        elect_few(p, x);
    } else {
        __syncthreads();
        if (p.size != SIZE_UNION)
            elect_by_votes(p, x);
    }
    if (is_last)
        for (int e = (int)threadIdx.x; e < p.n_exp; e += ROUTER_THREADS)
            g.ret_core[e] = x->core[e];
    return s.u.n_tok && g.core_before ? (const uint8_t *)(s.shared + s.a.l.before) : x->core;
}

/* ---- slots ------------------------------------------------------------------------------- */

/* A token's natural order. */
template <int N> struct natural {
    int n;          /* experts that are known of it, room->order */
    uint32_t first; /* their set */
    int rank[2];    /* of few experts: places of all */
};

template <int N>
static __device__ __forceinline__ void
rank_token(const struct scene &s, const struct route_token<N> &t, struct natural<N> *ret)
{
    const struct route_params &p = s.a.c.route.p;

    if (is_few<N>()) {
        rank_all(reinterpret_cast<const uint32_t(&)[2]>(t.order), t.natural, s.room, ret->rank);
#pragma unroll
        for (int i = 0; i < 2; i++)
            if (ret->rank[i] < KERNEL_MAX_TOP_K)
                s.room->order[ret->rank[i]] = i * WARP + s.lane;
        ret->n = min(natural_depth(p), __reduce_add_sync(ALL_LANES, __popc(t.natural)));
        ret->first = (uint32_t)(ret->rank[0] < ret->n) | (uint32_t)(ret->rank[1] < ret->n) << 1;
    } else {
        ret->first =
            select_best<N>(t.order, t.natural, natural_depth(p), &ret->n, s.room->order, s.room);
    }
    __syncwarp();
}

template <int N>
static __device__ __forceinline__ void vote(const struct scene &s, bool is_voter,
                                            const struct route_token<N> &t, const float (&z)[N],
                                            const struct natural<N> &natural)
{
    const struct route_params &p = s.a.c.route.p;
    uint32_t warm = 0;
    int n;

    if (p.warm > natural_depth(p))
        warm = select_best<N>(t.order, t.natural, p.warm, &n, NULL, s.room);
    else if (p.warm)
        warm = set_of_first(s.room->order, min(natural.n, p.warm));
    send_ballot<N>(s, is_voter, t, z, natural.first, natural_depth(p), warm);
}

/* The experts that a token runs. core: NULL without a coreset. */
template <int N>
static __device__ __forceinline__ uint32_t choose(const struct scene &s,
                                                  const struct route_token<N> &t,
                                                  const struct natural<N> &natural,
                                                  const uint8_t *core)
{
    const struct route_params &p = s.a.c.route.p;
    int n = p.keep == KEEP_ALL ? p.top_k : slots_used<N>(p, t, natural.n, s.room);
    uint32_t members = 0, first;

    if (core)
#pragma unroll
        for (int i = 0; i < N; i++)
            if (i * WARP + s.lane < p.n_exp)
                members |= (uint32_t)core[i * WARP + s.lane] << i;
    if (!core || p.is_truncated) {
        first = natural.n <= n ? natural.first : set_of_first(s.room->order, n);
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

/* A token's slots, and to the last block what it comes to in the statistics. Returns how many
 * there are, in room, and the sum of their scores. */
template <int N>
static __device__ __forceinline__ int
fill_slots(const struct scene &s, const struct route_token<N> &t, const struct natural<N> &natural,
           uint32_t chosen, double *ret_sum)
{
    const struct route_params &p = s.a.c.route.p;
    const struct route_output &out = s.a.c.route.out;
    uint32_t base =
        natural.n <= p.top_k_base ? natural.first : set_of_first(s.room->order, p.top_k_base);
    int first = natural.n ? s.room->order[0] : -1;
    int n_slots = list_set<N>(t.score, chosen, s.room), n_natural = n_slots;
    double sum, natural_mass;
    uint32_t words[N], fact;

    if (__any_sync(ALL_LANES, chosen != base)) {
        n_natural = list_set<N>(t.score, base, s.other);
        sum = sum_slots(s.room, n_slots);
        natural_mass = sum_slots(s.other, n_natural);
    } else {
        natural_mass = sum = sum_slots(s.room, n_slots);
    }
    for (int i = s.lane; i < out.stride; i += WARP) {
        size_t at = (size_t)(s.u.row + s.t_mine) * (size_t)out.stride + (size_t)i;

        out.ids[at] = i < n_slots ? s.room->id[i] : -1;
        out.w[at] = i < n_slots ? slot_weight(p, s.room->score[i], sum) : 0;
    }
    {
        const int n_off = __reduce_add_sync(ALL_LANES, __popc(chosen & ~base));
        const bool has_top1 = __any_sync(ALL_LANES, first >= 0 && first % WARP == s.lane &&
                                                        (chosen >> (first / WARP) & 1));
        const uint64_t kept =
            (uint64_t)__double_as_longlong(natural_mass > 0 ? sum / natural_mass : 1);

        fact = s.lane == 0   ? (uint32_t)kept
               : s.lane == 1 ? (uint32_t)(kept >> 32)
               : s.lane == 2 ? (uint32_t)n_off
                             : (uint32_t)!has_top1;
    }
    set_words<N>(base, words);
#pragma unroll
    for (int i = 0; i < N; i++)
        if (s.lane == N_FACTS + i)
            fact = words[i];
    if (s.lane < N_FACTS + N)
        cluster_send((uint32_t *)(s.shared + s.a.l.facts) + s.t_mine * (N_FACTS + N) + s.lane,
                     ROUTER_BLOCKS - 1, s.barriers + FACTS, fact);
    *ret_sum = sum;
    return n_slots;
}

/* ---- worklist ---------------------------------------------------------------------------- */

/* What all tokens chose, as every warp sees it: lanes are tokens. */
template <int N> struct census {
    const uint32_t *choices; /* (n_tok, choice_stride()) */
    int n_tok;
    int pairs[N]; /* of 32 experts */
    uint32_t active[N];
};

template <int N>
static __device__ __forceinline__ void take_census(const struct scene &s, struct census<N> *ret)
{
    ret->choices = (const uint32_t *)(s.shared + s.a.l.choices);
    ret->n_tok = s.u.n_tok;
#pragma unroll
    for (int i = 0; i < N; i++) {
        int n = 0;
        uint32_t any = 0;

        for (int t = s.lane; t < s.u.n_tok; t += WARP) {
            const uint32_t word = ret->choices[t * choice_stride<N>() + i];

            n += __popc(word);
            any |= word;
        }
        ret->pairs[i] = __reduce_add_sync(ALL_LANES, n);
        ret->active[i] = __reduce_or_sync(ALL_LANES, any);
    }
}

/* The pair of token t with expert e, or where it would be. */
template <int N>
static __device__ __forceinline__ int find_pair(const struct census<N> &all, int e, int t)
{
    int n = 0, before = 0;

#pragma unroll
    for (int i = 0; i < N; i++)
        before += i < e / WARP ? all.pairs[i] : 0;
    for (int i = (int)threadIdx.x % WARP; i < all.n_tok; i += WARP) {
        const uint32_t word = all.choices[i * choice_stride<N>() + e / WARP];

        n += __popc(word & ((1u << e % WARP) - 1)) + (i < t && (word >> e % WARP & 1));
    }
    return before + __reduce_add_sync(ALL_LANES, n);
}

template <int N> static __device__ __forceinline__ int sum_pairs(const struct census<N> &all)
{
    int n = 0;

#pragma unroll
    for (int i = 0; i < N; i++)
        n += all.pairs[i];
    return n;
}

/* Experts, taken in turn by the warps of all blocks, the last warps first: they have no token where
 * there are few. Their counts and, in the first block, the end of the list. */
template <int N>
static __device__ __forceinline__ void list_experts(const struct scene &s,
                                                    const struct census<N> &all)
{
    const struct router_call &c = s.a.c;
    const int n_exp = c.route.p.n_exp;
    int n_active = 0;

    for (int e = (N_WARPS - 1 - s.warp) * ROUTER_BLOCKS + s.rank; e < n_exp;
         e += N_WARPS * ROUTER_BLOCKS) {
        const int from = find_pair(all, e, 0), to = find_pair(all, e, ROUTER_MAX_TOKENS);
        int at = 0;

#pragma unroll
        for (int i = 0; i < N; i++)
            at += i < e / WARP    ? __popc(all.active[i])
                  : i == e / WARP ? __popc(all.active[i] & ((1u << e % WARP) - 1))
                                  : 0;
        if (s.lane == 0) {
            c.route.tokens_per_expert[(size_t)s.unit * (size_t)n_exp + (size_t)e] = to - from;
            if (c.list.n_active && to > from) {
                c.list.experts[at] = e;
                c.list.offsets[at] = from;
            }
        }
    }
    if (!c.list.n_active || s.rank || s.warp != N_WARPS - 1)
        return;
#pragma unroll
    for (int i = 0; i < N; i++)
        n_active += __popc(all.active[i]);
    for (int i = s.lane; i <= c.n_shared; i += WARP) {
        c.list.offsets[n_active + i] = sum_pairs(all) + i * s.u.n_tok;
        if (i < c.n_shared)
            c.list.experts[n_active + i] = n_exp + i;
    }
    if (s.lane == 0)
        *c.list.n_active = n_active + c.n_shared;
}

/* The pairs of a token, whose slots are in room. */
template <int N>
static __device__ __forceinline__ void
list_pairs(const struct scene &s, const struct census<N> &all, int n_slots, double sum)
{
    const struct router_call &c = s.a.c;
    const int top_k = c.route.p.top_k, stride = top_k + c.n_shared;

    for (int from = 0; from < stride; from += WARP) {
        const int slot = from + s.lane;
        int pair = -1;

#pragma unroll 4
        for (int i = from; i < min(n_slots, from + WARP); i++) {
            const int at = find_pair(all, s.room->id[i], s.t_mine);

            pair = i == slot ? at : pair;
        }
        if (slot >= top_k)
            pair = sum_pairs(all) + (slot - top_k) * s.u.n_tok + s.t_mine;
        if (slot >= stride)
            continue;
        if (pair >= 0) {
            c.list.tokens[pair] = s.t_mine;
            c.list.weights[pair] =
                slot < top_k ? slot_weight(c.route.p, s.room->score[slot], sum) : 1;
        }
        c.list.token_pairs[s.t_mine * stride + slot] = pair;
    }
}

/* ---- statistics -------------------------------------------------------------------------- */

/* By one warp of the last block, once all tokens have told. core: NULL without one. */
template <int N>
static __device__ __forceinline__ void count(const struct scene &s, const struct census<N> &all,
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

        for (int t = s.lane; t < s.u.n_tok; t += WARP)
            any |= facts[t * each + N_FACTS + i];
        r.n_natural += __popc(__reduce_or_sync(ALL_LANES, any));
        r.n_unique += __popc(all.active[i]);
        r.n_core += __popc(
            __ballot_sync(ALL_LANES, core && s.u.n_tok && e < s.a.c.route.p.n_exp && core[e]));
    }
    for (int t = s.lane; t < s.u.n_tok; t += WARP) {
        r.n_rerouted += (int)facts[t * each + 2];
        r.n_lost_top1 += (int)facts[t * each + 3];
    }
    r.n_rerouted = __reduce_add_sync(ALL_LANES, r.n_rerouted);
    r.n_lost_top1 = __reduce_add_sync(ALL_LANES, r.n_lost_top1);
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
