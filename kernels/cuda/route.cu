/*
 * The op `route`: four launches, each after the other's results.
 *
 *   vote     a warp a token: its votes and its warm-up set            skipped where none are asked
 *   elect    a block a group of tokens: the coreset                   skipped without a coreset
 *   choose   a warp a token: slots, weights, what it adds to the statistics
 *   count    a block a segment: the statistics
 *
 * Votes and masses are added by one thread an expert (a segment), over tokens in their order: no
 * atomics, so the same bits as the reference. Scores are read three times at most; they are a
 * few kilobytes a token and come from the L2 cache.
 *
 * Source of the design: kernels/route.h; one warp a token with the experts in registers is what
 * vLLM's and llama.cpp's top-k kernels do, too.
 */
#include "kernels/cuda/route.cuh"
#include "kernels/cuda/route_call.h"

enum { WARPS = 4, ELECT_THREADS = 512, COUNT_THREADS = 256 };

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
    struct route_room *room = &rooms[threadIdx.x / WARP];
    int i = (int)(blockIdx.x * WARPS + threadIdx.x / WARP), lane = (int)threadIdx.x % WARP, n;
    struct route_token<N> t;
    int row;

    if (i >= c.n_tok || !c.tokens[i].is_voter)
        return;
    row = c.tokens[i].row;
    read_token<N>(c, row, &t, warp_room(groups_room(&c.p)));
    if (c.p.warm) {
        uint32_t words[N];

        set_words<N>(select_best<N>(t.order, t.natural, c.p.warm, &n, NULL, room), words);
#pragma unroll
        for (int w = 0; w < N; w++)
            if (w < c.n_words && lane == 0)
                c.warm[(size_t)i * (size_t)c.n_words + (size_t)w] = words[w];
    }
    if (c.p.elect == ELECT_VOTES && c.p.size != SIZE_UNION) {
        float logit[N] = {}, votes[N];
        double divisor;

#pragma unroll
        for (int k = 0; k < N; k++)
            if (c.p.vote == VOTE_LOGIT && k * WARP + lane < c.p.n_exp)
                logit[k] = row_of(c.logits, c, row)[k * WARP + lane];
        divisor = token_votes<N>(c.p, t, logit, 0, -1, votes, room);

#pragma unroll
        for (int k = 0; k < N; k++)
            if (k * WARP + lane < c.p.n_exp)
                c.votes[(size_t)i * (size_t)c.p.n_exp + (size_t)(k * WARP + lane)] = votes[k];
        if (lane == 0)
            c.divisor[i] = divisor;
    }
}

/* ---- elect ------------------------------------------------------------------------------- */

/* Expert e's votes over the group's voters, and whether any has it in its warm-up set. */
static __device__ __forceinline__ void hear_voters(const struct route_call &c,
                                                   const struct route_call_group &g, int e,
                                                   bool has_votes, struct election_room *x)
{
    double sum = 0;
    bool is_voted = false, is_warm = false;

#pragma unroll 8
    for (int i = g.first; i < g.first + g.n_tok; i++) {
        if (!c.tokens[i].is_voter)
            continue;
        if (c.p.warm)
            is_warm |= c.warm[(size_t)i * (size_t)c.n_words + (size_t)(e / 32)] >> (e % 32) & 1;
        if (has_votes) {
            double v =
                vote_value(c.p, c.votes[(size_t)i * (size_t)c.p.n_exp + (size_t)e], c.divisor[i]);

            if (v == v) {
                sum = __dadd_rn(sum, v);
                is_voted = true;
            }
        }
    }
    x->v[e] = sum;
    x->has_vote[e] = is_voted;
    x->core[e] = is_warm;
}

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
    const struct route_call_group g = c.groups[blockIdx.x];
    bool has_votes = c.p.elect == ELECT_VOTES && c.p.size != SIZE_UNION;
    int tid = (int)threadIdx.x;

    for (int e = tid; e < c.p.n_exp; e += ELECT_THREADS) {
        hear_voters(c, g, e, has_votes, &x);
        if (c.p.elect != ELECT_VOTES)
            x.has_vote[e] = 1;
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

/* Is row among the segment's tokens of largest importance, ties to the lower row? */
static __device__ bool is_protected(const struct route_call &c, const struct route_call_segment &s,
                                    int row)
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

template <int N>
static __global__ void __launch_bounds__(WARPS *WARP) choose_kernel(const struct route_call c)
{
    __shared__ struct route_room rooms[WARPS];
    struct route_room *room = &rooms[threadIdx.x / WARP];
    int i = (int)(blockIdx.x * WARPS + threadIdx.x / WARP), lane = (int)threadIdx.x % WARP;
    void *groups = warp_room(groups_room(&c.p));
    int n_natural, n = c.p.top_k, n_slots, n_rerouted;
    struct route_call_token at;
    struct route_token<N> t;
    uint32_t natural, chosen, words[N];
    double sum, natural_mass;
    bool is_plain;

    if (i >= c.n_tok)
        return;
    at = c.tokens[i];
    is_plain = at.group < 0;
    read_token<N>(c, at.row, &t, groups);
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
        size_t to = (size_t)at.row * (size_t)c.out.stride + (size_t)s;

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
        int first = n_natural ? room->order[0] : -1;
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

/* ---- count ------------------------------------------------------------------------------- */

static __global__ void __launch_bounds__(COUNT_THREADS) count_kernel(const struct route_call c)
{
    const struct route_call_segment s = c.segs[blockIdx.x];
    struct route_stats r = { 0, 0, 0, 0, 0, 0 };
    int tid = (int)threadIdx.x, n_rerouted = 0, n_lost = 0;
    int n_exp = (c.p.n_exp + COUNT_THREADS - 1) / COUNT_THREADS * COUNT_THREADS;
    __shared__ int sums[2];

    if (tid < 2)
        sums[tid] = 0;
    for (int e = tid; e < n_exp; e += COUNT_THREADS) {
        uint32_t any = 0, is_core = 0;
        int n = 0;

        if (e < c.p.n_exp) {
#pragma unroll 8
            for (int i = s.first; i < s.first + s.n_tok; i++) {
                size_t at = (size_t)i * (size_t)c.n_words + (size_t)(e / 32);

                any |= c.natural[at] >> (e % 32) & 1;
                n += c.chosen[at] >> (e % 32) & 1;
            }
            for (int g = s.first_group; c.p.size != SIZE_NONE && g < s.first_group + s.n_groups;
                 g++)
                is_core |= c.core[(size_t)g * (size_t)c.n_words + (size_t)(e / 32)] >> (e % 32) & 1;
            c.tokens_per_expert[(size_t)blockIdx.x * (size_t)c.p.n_exp + (size_t)e] = n;
        }
        r.n_unique += __syncthreads_count(n);
        r.n_natural += __syncthreads_count((int)any);
        r.n_core += __syncthreads_count((int)is_core);
    }
    for (int i = s.first + tid; i < s.first + s.n_tok; i += COUNT_THREADS) {
        n_rerouted += c.counts[2 * i];
        n_lost += c.counts[2 * i + 1];
    }
    atomicAdd(&sums[0], n_rerouted); /* whole numbers: their order does not matter */
    atomicAdd(&sums[1], n_lost);
    __syncthreads();
    if (tid == 0) {
        r.n_rerouted = sums[0];
        r.n_lost_top1 = sums[1];
#pragma unroll 8
        for (int i = s.first; i < s.first + s.n_tok; i++)
            r.kept_mass = __dadd_rn(r.kept_mass, c.kept[i]);
        if (s.n_tok)
            r.kept_mass = r.kept_mass / s.n_tok;
        c.stats[blockIdx.x] = r;
    }
}

/* ---- launches ---------------------------------------------------------------------------- */

template <class Kernel>
static cudaError_t start(Kernel *kernel, int n_blocks, int n_threads, int shared_bytes,
                         const struct route_call &c, cudaStream_t stream)
{
    cudaLaunchConfig_t config = {};
    cudaError_t rc = cudaSuccess;

    config.gridDim = dim3((unsigned)n_blocks);
    config.blockDim = dim3((unsigned)n_threads);
    config.dynamicSmemBytes = (size_t)shared_bytes;
    config.stream = stream;
    if (shared_bytes > 16 * 1024) /* with what is declared, 48 KB are free to use */
        rc =
            cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
    return rc == cudaSuccess ? cudaLaunchKernelEx(&config, kernel, c) : rc;
}

template <int N> static cudaError_t launch(const struct route_call &c, cudaStream_t stream)
{
    int n_blocks = (c.n_tok + WARPS - 1) / WARPS, room = groups_room(&c.p);
    bool is_greedy = c.p.size == SIZE_FIXED && c.p.elect == ELECT_MASS;
    cudaError_t rc = cudaSuccess;

    if (c.n_groups && c.p.size != SIZE_NONE) {
        rc = start(vote_kernel<N>, n_blocks, WARPS * WARP, WARPS * room, c, stream);
        if (rc == cudaSuccess)
            rc = start(elect_kernel<N>, c.n_groups, ELECT_THREADS,
                       is_greedy ? ELECT_THREADS / WARP * room : 0, c, stream);
    }
    if (rc == cudaSuccess && c.n_tok)
        rc = start(choose_kernel<N>, n_blocks, WARPS * WARP, WARPS * room, c, stream);
    if (rc == cudaSuccess)
        rc = start(count_kernel, c.n_segs, COUNT_THREADS, 0, c, stream);
    return rc;
}

cudaError_t route_launch(const struct route_call *c, cudaStream_t stream)
{
    if (!c->n_segs)
        return cudaSuccess;
    if (c->n_words <= 2)
        return launch<2>(*c, stream);
    if (c->n_words <= 8)
        return launch<8>(*c, stream);
    return launch<32>(*c, stream);
}
