/*
 * Routing by launches after each other, for the op `route` and for many tokens:
 *
 *   vote     a warp a token: its votes and its warm-up set            skipped without a coreset
 *   hear     a block 32 experts and a group of tokens: the votes' sums, in their order
 *   elect    a block a group of tokens: the coreset                   skipped without a coreset
 *   choose   a warp a token: slots, weights, what it adds to the statistics
 *   count    a block a segment: the statistics (route_count.cuh)
 *
 * Votes and masses are added by one thread an expert, over tokens in their order: no atomics, so
 * the same bits as the reference; kept masses, a statistic, in runs of 128 tokens. Scores are read
 * three times at most; they are a few kilobytes a token and come from the L2 cache.
 *
 * Source of the design: kernels/route.h; one warp a token with the experts in registers is what
 * vLLM's and llama.cpp's top-k kernels do, too.
 */
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/route_call.h"
#include "kernels/cuda/route_count.cuh"
#include "kernels/cuda/route_token.cuh"
#include "kernels/cuda/sm90.cuh"

enum {
    WARPS = 4,
    HEAR_THREADS = 256,
    HEARD = 128, /* tokens whose votes come at once */
    ELECT_THREADS = 512
};

static __device__ __forceinline__ const float *row_of(const float *rows, const struct route_call &c,
                                                      int row)
{
    return rows + (size_t)row * (size_t)c.p.n_exp;
}

/* This warp's share of the block's dynamic shared memory, of `bytes` a warp. */
static __device__ __forceinline__ void *warp_room(int bytes)
{
    extern __shared__ __align__(16) char block_room[];

    return block_room + (size_t)(threadIdx.x / WARP) * (size_t)bytes;
}

/* ---- vote -------------------------------------------------------------------------------- */

template <int N>
static __global__ void __launch_bounds__(WARPS *WARP) vote_kernel(const struct route_call c)
{
    __shared__ struct route_room rooms[WARPS];
    const int i = (int)(blockIdx.x * WARPS + threadIdx.x / WARP), lane = (int)threadIdx.x % WARP;
    struct route_token<N> t;
    float logit[N] = {};
    int row;

    grid_release();
    grid_wait();
    if (i >= c.n_tok)
        return;
    row = c.tokens[i].row;
    read_token<N>(c, row, &t, warp_room(groups_room(&c.p)));
#pragma unroll
    for (int k = 0; k < N; k++)
        if (c.p.vote == VOTE_LOGIT && k * WARP + lane < c.p.n_exp)
            logit[k] = row_of(c.logits, c, row)[k * WARP + lane];
    cast_votes<N>(c, i, t, logit, &rooms[threadIdx.x / WARP]);
}

/* ---- hear -------------------------------------------------------------------------------- */

/* sum and the votes of n tokens for the lane's expert, one after the other. A vote that is none is
 * added as 0, which changes no sum that began with 0. */
template <bool IS_NORMED>
static __device__ __forceinline__ double add_votes(const float (*votes)[WARP],
                                                   const double *divisors, int n, int lane,
                                                   double sum, bool *is_voted)
{
#pragma unroll 16
    for (int i = 0; i < n; i++) {
        const float vote = votes[i][lane];
        double v = (double)vote;

        if (IS_NORMED && vote == vote)
            v = divisors[i] > 0 ? v / divisors[i] : 0;
        *is_voted |= v == v;
        sum = __dadd_rn(sum, v == v ? v : 0.0);
    }
    return sum;
}

/* Sums of the votes of a group's tokens, and who is in any of their warm-up sets. Grid (groups,
 * words): a block has 32 experts; the first warp adds, a lane an expert, what all have fetched. */
static __global__ void __launch_bounds__(HEAR_THREADS) hear_kernel(const struct route_call c)
{
    __shared__ float votes[2][HEARD][WARP];
    __shared__ double divisors[2][HEARD];
    const int tid = (int)threadIdx.x, lane = tid % WARP, word = (int)blockIdx.y;
    const int e = word * WARP + lane;
    const size_t n_exp = (size_t)c.p.n_exp, n_words = (size_t)c.n_words;
    const size_t at = (size_t)blockIdx.x * n_words + (size_t)word;
    struct route_call_group g;
    __shared__ uint32_t warm;
    bool is_voted = false;
    double sum = 0;
    int n_rounds;

    grid_release();
    grid_wait();
    g = c.groups[blockIdx.x];
    if (tid == 0)
        warm = 0;
    __syncthreads();
    if (c.p.warm) {
        uint32_t mine = 0;

        for (int i = tid; i < g.n_tok; i += HEAR_THREADS)
            mine |= c.warm[(size_t)(g.first + i) * n_words + (size_t)word];
        atomicOr(&warm, __reduce_or_sync(ALL_LANES, mine));
    }
    n_rounds = route_has_votes(&c.p) ? (g.n_tok + HEARD - 1) / HEARD : 0;
    for (int r = 0; r <= n_rounds; r++) {
        const int from = r * HEARD, n_before = min((int)HEARD, g.n_tok - from + HEARD);

        for (int i = tid / WARP; r < n_rounds && i < min((int)HEARD, g.n_tok - from);
             i += HEAR_THREADS / WARP) {
            const size_t t = (size_t)(g.first + from + i);

            if (e < c.p.n_exp)
                async_copy4(&votes[r % 2][i][lane], c.votes + t * n_exp + (size_t)e);
            if (c.p.is_vote_normed && lane == 0)
                divisors[r % 2][i] = c.divisor[t];
        }
        async_commit();
        if (r && tid < WARP && e < c.p.n_exp) {
            const float(*of)[WARP] = votes[(r - 1) % 2];

            if (c.p.is_vote_normed)
                sum = add_votes<true>(of, divisors[(r - 1) % 2], n_before, lane, sum, &is_voted);
            else
                sum = add_votes<false>(of, NULL, n_before, lane, sum, &is_voted);
        }
        async_wait<0>();
        __syncthreads();
    }
    if (tid < WARP) {
        const uint32_t heard = __ballot_sync(ALL_LANES, is_voted);

        if (e < c.p.n_exp && n_rounds)
            c.sums[(size_t)blockIdx.x * n_exp + (size_t)e] = sum;
        if (lane == 0) {
            c.heard[at] = heard;
            c.all_warm[at] = warm;
        }
    }
}

/* ---- elect ------------------------------------------------------------------------------- */

/* This block's, of all tokens: with is_joint several blocks elect by the same ones. */
static __device__ __forceinline__ struct route_margin *margins_of(const struct route_call &c)
{
    return c.margin + (c.p.is_joint ? (size_t)blockIdx.x * (size_t)c.n_tok : 0);
}

/* ELECT_MASS, a token: the worst of its top_k best members. */
template <int N>
static __device__ void find_margin(const struct route_call &c, int i, const struct election_room *x,
                                   void *groups, struct route_room *room)
{
    int lane = (int)threadIdx.x % WARP, row = c.tokens[i].row, n;
    uint32_t core = 0, first;
    struct route_token<N> t;
    struct route_margin m = { 0, 0, 0 };

    read_token<N>(c, row, &t, groups);
#pragma unroll
    for (int k = 0; k < N; k++)
        if (k * WARP + lane < c.p.n_exp && x->core[k * WARP + lane])
            core |= 1u << k;
    first = select_best<N>(t.order, t.natural & core, c.p.top_k, &n, NULL, room);
    if (n == c.p.top_k) { /* the worst of them: the smallest key, ties to the higher id */
        uint32_t least = ~0u;
        unsigned id = 0;

#pragma unroll
        for (int k = 0; k < N; k++)
            if (first >> k & 1)
                least = min(least, t.order[k]);
        least = __reduce_min_sync(ALL_LANES, least);
#pragma unroll
        for (int k = 0; k < N; k++)
            if ((first >> k & 1) && t.order[k] == least)
                id = (unsigned)(k * WARP + lane);
        m.id = (int32_t)__reduce_max_sync(ALL_LANES, id);
        m.order = least;
        m.score = (double)row_of(c.scores, c, c.tokens[i].row)[m.id];
    }
    { /* what is in its natural order, for the sums */
        uint32_t words[N];

        set_words<N>(t.natural, words);
#pragma unroll
        for (int w = 0; w < N; w++)
            if (w < c.n_words && lane == 0)
                c.natural[(size_t)i * (size_t)c.n_words + (size_t)w] = words[w];
    }
    if (lane == 0)
        margins_of(c)[i] = m;
}

/* What expert e adds to the scores that the group's voters keep. */
static __device__ double sum_gains(const struct route_call &c, const struct route_call_group &g,
                                   int e)
{
    double sum = 0;

#pragma unroll 4
    for (int i = g.first; i < g.first + g.n_tok; i++) {
        const struct route_margin m = margins_of(c)[i];
        float score, key;
        uint32_t order;

        if (!c.tokens[i].is_voter ||
            !(c.natural[(size_t)i * (size_t)c.n_words + (size_t)(e / 32)] >> (e % 32) & 1))
            continue;
        score = row_of(c.scores, c, c.tokens[i].row)[e];
        key = c.bias
                  ? __fadd_rn(score,
                              c.bias[(size_t)c.tokens[i].row * (size_t)c.bias_stride + (size_t)e])
                  : score;
        order = order_of(key);
        if (!m.order)
            sum = __dadd_rn(sum, (double)score);
        else if (order > m.order || (order == m.order && e < m.id))
            sum = __dadd_rn(sum, __dsub_rn((double)score, m.score));
    }
    return sum;
}

/* One by one, what adds most. */
template <int N>
static __device__ void elect_by_mass(const struct route_call &c, const struct route_call_group &g,
                                     struct election_room *x, void *groups, struct route_room *room)
{
    int tid = (int)threadIdx.x, n_core = 0;

    __syncthreads();
    for (int e = 0; e < c.p.n_exp; e++)
        n_core += x->core[e];
    for (; n_core < c.p.n_core; n_core++) {
        for (int i = g.first + tid / WARP; i < g.first + g.n_tok; i += ELECT_THREADS / WARP)
            if (c.tokens[i].is_voter)
                find_margin<N>(c, i, x, groups, room);
        __syncthreads();
        for (int e = tid; e < c.p.n_exp; e += ELECT_THREADS)
            if (!x->core[e])
                x->v[e] = sum_gains(c, g, e);
        __syncthreads();
        if (tid == 0) {
            int best = best_outside(x, x->core, c.p.n_exp);

            if (best >= 0)
                x->core[best] = 1;
        }
        __syncthreads();
    }
}

template <int N>
static __global__ void __launch_bounds__(ELECT_THREADS) elect_kernel(const struct route_call c)
{
    __shared__ struct election_room x;
    __shared__ struct route_room rooms[ELECT_THREADS / WARP];
    const bool has_votes = route_has_votes(&c.p);
    const size_t at = (size_t)blockIdx.x;
    const int tid = (int)threadIdx.x;
    struct route_call_group g;

    grid_release();
    grid_wait();
    g = c.groups[blockIdx.x];
    for (int e = tid; e < c.p.n_exp; e += ELECT_THREADS) {
        const size_t word = at * (size_t)c.n_words + (size_t)(e / WARP);

        x.v[e] = has_votes ? c.sums[at * (size_t)c.p.n_exp + (size_t)e] : 0;
        x.has_vote[e] = c.p.elect != ELECT_VOTES || (c.heard[word] >> (e % WARP) & 1);
        x.core[e] = c.all_warm[word] >> (e % WARP) & 1;
        if (c.p.elect == ELECT_STATIC)
            x.v[e] = c.popularity[e];
        if (c.p.elect == ELECT_RANDOM)
            x.v[e] = route_hash_of(g.key, g.number, e);
        rank_later(c.p, &x, e);
    }
    if (c.p.size == SIZE_FIXED && c.p.elect == ELECT_MASS)
        elect_by_mass<N>(c, g, &x, warp_room(groups_room(&c.p)), &rooms[tid / WARP]);
    else if (c.p.size != SIZE_UNION)
        elect_by_votes(c.p, &x);
    else
        __syncthreads();
    for (int e = tid; e < c.n_words * 32; e += ELECT_THREADS) {
        bool is_elected = e < c.p.n_exp && x.core[e], is_core = is_elected;
        uint32_t word;

        if (e < c.p.n_exp && g.core_before)
            is_core = g.core_before[e];
        if (e < c.p.n_exp && g.ret_core)
            g.ret_core[e] = is_elected;
        word = __ballot_sync(ALL_LANES, is_core);
        if (e % 32 == 0)
            c.core[(size_t)blockIdx.x * (size_t)c.n_words + (size_t)(e / 32)] = word;
    }
}

/* ---- choose ------------------------------------------------------------------------------ */

template <int N>
static __global__ void __launch_bounds__(WARPS *WARP) choose_kernel(const struct route_call c)
{
    __shared__ struct route_room rooms[WARPS];
    const int i = (int)(blockIdx.x * WARPS + threadIdx.x / WARP);
    void *groups = warp_room(groups_room(&c.p));
    struct route_token<N> t;

    grid_release();
    grid_wait();
    if (i >= c.n_tok)
        return;
    read_token<N>(c, c.tokens[i].row, &t, groups);
    choose_slots<N>(c, i, t, groups, &rooms[threadIdx.x / WARP]);
}

/* ---- count ------------------------------------------------------------------------------- */

/* Grid (segments). */
static __global__ void __launch_bounds__(COUNT_THREADS) count_kernel(const struct route_call c)
{
    grid_release();
    count_segment(c, (int)blockIdx.x);
}

/* ---- launches ---------------------------------------------------------------------------- */

/* shared_bytes: beside what a kernel declares. */
static cudaError_t start(void (*kernel)(struct route_call), dim3 grid, int n_threads,
                         int shared_bytes, const struct route_call &c, cudaStream_t stream)
{
    cudaError_t rc = cudaSuccess;

    if (shared_bytes)
        rc = allow_shared(kernel, (size_t)shared_bytes);
    return rc ? rc : launch_kernel(kernel, grid, n_threads, (size_t)shared_bytes, true, stream, c);
}

/* How many words of a set of experts a lane has at most, as the kernels' N; which of them. */
#define OF_WORDS(kernel, n_words)                                                                  \
    ((n_words) <= 2 ? kernel<2> : (n_words) <= 8 ? kernel<8> : kernel<32>)

static dim3 warps_for(const struct route_call *c)
{
    return dim3((unsigned)((c->n_tok + WARPS - 1) / WARPS));
}

/* The coreset, of votes that are cast. */
static cudaError_t elect(const struct route_call *c, cudaStream_t stream)
{
    const bool is_greedy = c->p.size == SIZE_FIXED && c->p.elect == ELECT_MASS;
    const int room = is_greedy ? ELECT_THREADS / WARP * groups_room(&c->p) : 0;
    cudaError_t rc = start(hear_kernel, dim3((unsigned)c->n_groups, (unsigned)c->n_words),
                           HEAR_THREADS, 0, *c, stream);

    return rc ? rc
              : start(OF_WORDS(elect_kernel, c->n_words), dim3((unsigned)c->n_groups),
                      ELECT_THREADS, room, *c, stream);
}

static cudaError_t count(const struct route_call *c, cudaStream_t stream)
{
    return start(count_kernel, dim3((unsigned)c->n_segs), COUNT_THREADS, 0, *c, stream);
}

static cudaError_t choose(const struct route_call *c, cudaStream_t stream)
{
    return start(OF_WORDS(choose_kernel, c->n_words), warps_for(c), WARPS * WARP,
                 WARPS * groups_room(&c->p), *c, stream);
}

cudaError_t route_launch(const struct route_call *c, cudaStream_t stream)
{
    cudaError_t rc = cudaSuccess;

    if (!c->n_segs)
        return rc;
    if (c->n_groups && c->p.size != SIZE_NONE) {
        rc = start(OF_WORDS(vote_kernel, c->n_words), warps_for(c), WARPS * WARP,
                   WARPS * groups_room(&c->p), *c, stream);
        if (!rc)
            rc = elect(c, stream);
    }
    if (!rc && c->n_tok)
        rc = choose(c, stream);
    return rc ? rc : count(c, stream);
}

cudaError_t route_voted_launch(const struct route_call *c, bool is_counted, cudaStream_t stream)
{
    cudaError_t rc = cudaSuccess;

    if (!c->n_segs)
        return rc;
    if (c->n_tok && c->p.size != SIZE_NONE) {
        if (c->n_groups)
            rc = elect(c, stream);
        if (!rc)
            rc = choose(c, stream);
    }
    return rc || !is_counted ? rc : count(c, stream);
}
