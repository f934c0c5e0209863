/*
 * The coreset in the router of one launch (router.cu): votes to all blocks, each of which elects.
 *
 * In the usual kernel a vote is a score of the token's first experts. Such scores are summed as
 * whole numbers of 2^-46, by atomics of any order: as long as they are 2^-23 to 1, all sums in f64
 * that the reference has on its way are exact, so that this gives the same. Where one is not, they
 * are summed in its order.
 */
#ifndef KERNELS_CUDA_ROUTER_ELECT_CUH
#define KERNELS_CUDA_ROUTER_ELECT_CUH

#include "kernels/cuda/router_route.cuh"

/* ---- ballots ----------------------------------------------------------------------------- */

enum { NO_VOTE = -1 };

/* A usual token's votes, experts and their scores, to all blocks. */
template <int N>
static __device__ __forceinline__ void send_scores(const struct scene &s, bool is_voter,
                                                   const struct route_token<N> &t,
                                                   const struct natural<N> &natural)
{
    const int top_k = s.p.top_k, n = is_voter ? natural.n : 0;
    uint2 *to = (uint2 *)(s.shared + s.a.l.votes) + s.t_mine * top_k;

    (void)list_set<N>(t.score, natural.first, s.room);
#pragma unroll 1
    for (int k = s.lane % 8; k < top_k; k += 8) {
        const uint2 v = k < n
                            ? make_uint2((uint32_t)s.room->id[k], __float_as_uint(s.room->score[k]))
                            : make_uint2((uint32_t)NO_VOTE, 0);

#pragma unroll 1
        for (int b = s.member * 4 + s.lane / 8; b < ROUTER_BLOCKS; b += s.n_team * 4)
            cluster_send(to + k, (unsigned)b, s.barriers + VOTES, v);
    }
}

/* A token's votes, warm-up set and divisor to those who sum them. */
template <int N>
static __device__ __forceinline__ void
send_ballot(const struct scene &s, bool is_voter, const struct route_token<N> &t,
            const float (&z)[N], uint32_t first, int n_first, uint32_t warm)
{
    const struct route_params &p = s.p;
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

#pragma unroll 4
            for (int b = s.member; b < ROUTER_BLOCKS; b += s.n_team)
                cluster_send(row, (unsigned)(s.rank + b) % ROUTER_BLOCKS, barrier,
                             make_uint2(__float_as_uint(votes[0]), __float_as_uint(votes[N - 1])));
        } else {
#pragma unroll
            for (int i = 0; i < N; i++)
                if (i % s.n_team == s.member)
                    cluster_send(to + s.t_mine * OWN + s.lane % OWN,
                                 (unsigned)(2 * i + s.lane / OWN), barrier,
                                 __float_as_uint(votes[i]));
        }
        if (p.is_vote_normed && s.member == 0 && s.lane < ROUTER_BLOCKS)
            cluster_send((double *)(s.shared + s.a.l.divisors) + s.t_mine, (unsigned)s.lane,
                         barrier, divisor);
    }
    if (p.warm && s.member == 0) {
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

template <int N>
static __device__ __forceinline__ void vote(const struct scene &s, bool is_voter,
                                            const struct route_token<N> &t, const float (&z)[N],
                                            const struct natural<N> &natural)
{
    const struct route_params &p = s.p;
    uint32_t warm = 0;
    int n;

    if (s.is_usual) {
        send_scores<N>(s, is_voter, t, natural);
        return;
    }
    if (p.warm > s.depth)
        warm = select_best<N>(t.order, t.natural, p.warm, &n, NULL, s.room);
    else if (p.warm)
        warm = set_of_first(s.room->order, min(natural.n, p.warm));
    send_ballot<N>(s, is_voter, t, z, natural.first, s.depth, warm);
}

/* Bytes that the ballots of a segment are for a block. */
template <int N> static __device__ __forceinline__ uint32_t ballot_bytes(const struct scene &s)
{
    const struct route_params &p = s.p;
    const int votes = s.is_usual ? p.top_k * 8 : (is_few<N>() ? N * WARP : (int)OWN) * 4;
    const int divisor = p.is_vote_normed ? 8 : 0;
    const int warm = p.warm ? is_few<N>() ? 8 : 4 : 0;

    return (uint32_t)(s.u.n_tok * ((s.a.has_votes ? votes + divisor : 0) + warm));
}

/* ---- elections of any kind ---------------------------------------------------------------- */

/* A column of ballots: the votes for an expert, summed in token order. NaN is no vote. */
static __device__ __forceinline__ double sum_votes(const struct scene &s, const float *column,
                                                   int stride, bool *ret_is_voted)
{
    const double *divisors = (const double *)(s.shared + s.a.l.divisors);
    const struct route_params &p = s.p;
    bool is_voted = false;
    double sum = 0;

    if (!p.is_vote_normed) {
#pragma unroll 1
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
#pragma unroll 1
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
    const struct route_params &p = s.p;

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
    const struct route_params &p = s.p;
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
        else
            x->key[tid] = 0;
    }
}

/* elect_by_votes() where it is short: SIZE_FIXED, at most 64 experts. Four threads an expert, every
 * fourth of the others each. */
static __device__ __forceinline__ void elect_few(const struct route_params &p,
                                                 struct election_room *x)
{
    int tid = (int)threadIdx.x, e = tid / 4, n = 0, n_warm = 0, wrote = few_expert();
    bool is_there = tid < FEW && wrote < p.n_exp, is_warm = is_there && x->core[wrote];
    bool is_nan = is_there && x->v[wrote] != x->v[wrote];
    const uint64_t *others = x->key + tid % 4;
    uint64_t mine;

    if (p.warm)
        n_warm = __syncthreads_count(is_warm);
    if (__syncthreads_or(is_nan)) {
        if (tid == 0)
            elect_walking(p.size, p.n_exp, p.n_core, p.core_p, p.floor, x);
        __syncthreads();
        return;
    }
    mine = x->key[e];
#pragma unroll
    for (int i = 0; i < FEW / 4; i++) { /* ties to the lower id */
        uint64_t other = others[4 * i];

        n += other > mine || (other == mine && 4 * i + tid % 4 < e);
    }
    n += __shfl_xor_sync(ALL_LANES, n, 1);
    n += __shfl_xor_sync(ALL_LANES, n, 2);
    if (tid % 4 == 0 && mine && n < p.n_core - n_warm)
        x->core[e] = 1;
    __syncthreads();
}

/* Count the keys before the thread's expert's, ties to the lower id. */
static __device__ __noinline__ int count_before_mine(const uint64_t *key, int n_exp)
{
    const int e = (int)threadIdx.x;
    const uint64_t mine = key[e];
    int n = 0;

#pragma unroll 4
    for (int f = 0; f < n_exp; f++)
        n += key[f] > mine || (key[f] == mine && f < e);
    return n;
}

/* The same for more of them: a thread an expert. Votes differ as a rule in their upper half: what
 * comes before is counted by that, and where two experts find themselves in one place, anew. All
 * threads have keys. */
static __device__ __forceinline__ void elect_many(const struct route_params &p,
                                                  struct election_room *x)
{
    const int e = (int)threadIdx.x;
    const bool is_there = e < p.n_exp, is_warm = is_there && x->core[e];
    const bool is_nan = is_there && x->v[e] != x->v[e];
    const uint64_t mine = x->key[e];
    /* without a vote, by id: less than any vote has, as even -INFINITY's is more than that */
    const uint32_t upper = mine == 1 ? (uint32_t)(ROUTER_MAX_EXPERTS - e) : (uint32_t)(mine >> 32);
    uint32_t *uppers = (uint32_t *)x->sorted, *places = uppers + ROUTER_MAX_EXPERTS;
    int n = 0, n_warm = 0;

    if (p.warm)
        n_warm = __syncthreads_count(is_warm);
    uppers[e] = upper;
    if (__syncthreads_or(is_nan)) {
        if (e == 0)
            elect_walking(p.size, p.n_exp, p.n_core, p.core_p, p.floor, x);
        __syncthreads();
        return;
    }
#pragma unroll 1
    for (int from = 0; from < p.n_exp; from += WARP)
#pragma unroll
        for (int i = 0; i < WARP; i += 4) {
            const uint4 o = *(const uint4 *)(uppers + from + i);

            n += (int)(o.x > upper) + (int)(o.y > upper) + (int)(o.z > upper) + (int)(o.w > upper);
        }
    if (upper)
        places[n] = (uint32_t)e;
    __syncthreads();
    if (__syncthreads_or(upper && places[n] != (uint32_t)e))
        n = count_before_mine(x->key, p.n_exp);
    if (mine && n < p.n_core - n_warm)
        x->core[e] = 1;
    __syncthreads();
}

/* ---- usual elections --------------------------------------------------------------------- */

/* Sums of votes in 2^-46: the lower 24 bits and what is above them, neither of which overflows. */
enum { SUM_BITS = 24, LEAST_VOTE = 104 << 23, MOST_VOTE = 127 << 23 };

static __device__ __forceinline__ uint2 *tallies(const struct scene &s)
{
    return (uint2 *)(s.shared + s.a.l.tallies);
}

/* Before anything is added; all threads, which meet before that. */
static __device__ __forceinline__ void clear_tallies(const struct scene &s)
{
    if (s.is_usual && s.a.has_votes)
        tallies(s)[threadIdx.x] = make_uint2(0, 0);
}

/* Votes as the reference sums them, and its election. Out of line: it is rare. */
static __device__ __noinline__ void elect_in_order(const struct route_params &p, const uint2 *votes,
                                                   int n_votes, struct election_room *x)
{
    const int e = (int)threadIdx.x;
    double sum = 0;
    bool is_voted = false;

    for (int i = 0; i < n_votes; i++)
        if (votes[i].x == (uint32_t)e) {
            sum = __dadd_rn(sum, (double)__uint_as_float(votes[i].y));
            is_voted = true;
        }
    x->v[e] = sum;
    x->has_vote[e] = is_voted;
    x->core[e] = 0;
    if (e < p.n_exp)
        rank_later(p, x, e);
    else
        x->key[e] = 0;
    elect_by_votes(p, x);
}

/* Few: x->core of keys that differ, four threads an expert, every fourth pair of the others each.
 */
static __device__ __forceinline__ void elect_few_keys(int n_core, struct election_room *x)
{
    const int tid = (int)threadIdx.x, e = tid / 4;
    const ulonglong2 *others = (const ulonglong2 *)x->key + tid % 4;
    const uint64_t mine = x->key[e];
    int n = 0;

#pragma unroll
    for (int i = 0; i < FEW / 8; i++) {
        const ulonglong2 o = others[4 * i];

        n += (int)(o.x > mine) + (int)(o.y > mine);
    }
    n += __shfl_xor_sync(ALL_LANES, n, 1);
    n += __shfl_xor_sync(ALL_LANES, n, 2);
    if (tid % 4 == 0)
        x->core[e] = mine && n < n_core;
    __syncthreads();
}

/* Many: a block finds out about its OWN experts, four a warp, eight lanes each, and tells all. */
static __device__ __forceinline__ void elect_many_keys(const struct scene &s, int n_core,
                                                       struct election_room *x)
{
    const int at = s.lane / 8 * 8, from = s.rank * OWN + s.warp * 4;

    if (s.warp < OWN / 4) {
        const uint64_t mine = x->key[from + s.lane / 8];
        uint32_t n = 0, core;

#pragma unroll
        for (int i = 0; i < ROUTER_MAX_EXPERTS / 8; i++)
            n += x->key[8 * i + s.lane % 8] > mine;
        n = __reduce_add_sync(ALL_LANES, n << at); /* each of the four sums is below 256 */
        core = mine && (int)(n >> at & 255) < n_core ? 1u << at : 0;
        core = __reduce_or_sync(ALL_LANES, core);
        if (s.lane < ROUTER_BLOCKS)
            cluster_send((uint32_t *)(x->core + from), (unsigned)s.lane, s.barriers + SUMS, core);
    }
    cluster_receive(s.barriers + SUMS);
}

/* All threads; ends synchronised. */
template <int N>
static __device__ __forceinline__ void elect_by_scores(const struct scene &s,
                                                       struct election_room *x)
{
    const uint2 *votes = (const uint2 *)(s.shared + s.a.l.votes);
    const int n_votes = s.u.n_tok * s.p.top_k, e = (int)threadIdx.x;
    uint32_t *sums = (uint32_t *)tallies(s);
    bool is_odd = false;

    cluster_receive(s.barriers + VOTES);
#pragma unroll 1
    for (int i = e; i < n_votes; i += ROUTER_THREADS) {
        const uint2 v = votes[i];
        const int shift = (int)(v.y >> 23) - (LEAST_VOTE >> 23);
        const uint32_t mantissa = (v.y & 0x7fffff) | 0x800000;

        if ((int)v.x == NO_VOTE)
            continue;
        is_odd |= v.y - LEAST_VOTE > MOST_VOTE - LEAST_VOTE;
        atomicAdd(sums + 2 * v.x, mantissa << (shift & 31) & ((1u << SUM_BITS) - 1));
        atomicAdd(sums + 2 * v.x + 1, mantissa >> ((SUM_BITS - shift) & 31));
    }
    if (__syncthreads_or(is_odd)) {
        elect_in_order(s.a.c.route.p, votes, n_votes, x);
        return;
    }
    if (e < N * WARP) { /* ties to the lower id */
        const uint64_t sum = ((uint64_t)sums[2 * e + 1] << SUM_BITS) + sums[2 * e];

        x->key[e] = e < s.p.n_exp ? sum << 9 | (uint32_t)(ROUTER_MAX_EXPERTS - e) : 0;
    }
    __syncthreads();
    if (is_few<N>())
        elect_few_keys(s.p.n_core, x);
    else
        elect_many_keys(s, s.p.n_core, x);
}

/* ---- coreset ----------------------------------------------------------------------------- */

/* The block's coreset: its set of members, as a lane has it. All threads. */
template <int N>
static __device__ __forceinline__ const uint8_t *elect(const struct scene &s,
                                                       const struct route_call_group &g)
{
    const struct route_params &p = s.p;
    struct election_room *x = (struct election_room *)(s.shared + s.a.l.election);
    const bool is_last = s.u.n_tok && s.rank == 0 && g.ret_core;

    if (s.is_usual) {
        elect_by_scores<N>(s, x);
    } else {
        hear_voters<N>(s, g, x);
        if (is_few<N>() && p.size == SIZE_FIXED) {
            elect_few(p, x);
        } else if (p.size == SIZE_FIXED) {
            elect_many(p, x);
        } else {
            __syncthreads();
            if (p.size != SIZE_UNION)
                elect_by_votes(p, x);
        }
    }
    if (is_last)
#pragma unroll 1
        for (int e = (int)threadIdx.x; e < p.n_exp; e += ROUTER_THREADS)
            g.ret_core[e] = x->core[e];
    return s.u.n_tok && g.core_before ? (const uint8_t *)(s.shared + s.a.l.before) : x->core;
}

#endif
