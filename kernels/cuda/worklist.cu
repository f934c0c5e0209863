/* Worklists of given ids: worklist.h. */
#include "kernels/cuda/worklist.h"

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/route_count.cuh"
#include "kernels/cuda/sm90.cuh"
#include "kernels/route.h"

enum {
    TOKENS = WARP, /* that a block lists: bits of a word */
    THREADS = 1024,
    N_WARPS = THREADS / WARP
};

size_t worklist_bytes(int n_tok, int top_k, int n_exp)
{
    return ((size_t)n_tok * (size_t)top_k * 3 + (size_t)n_exp * 2 + 2) * 4;
}

struct worklist worklist_place(void *mem, int n_tok, int top_k, int n_exp)
{
    size_t n_pairs = (size_t)n_tok * (size_t)top_k;
    struct worklist ret;

    ret.n_active = (int32_t *)mem;
    ret.experts = ret.n_active + 1;
    ret.offsets = ret.experts + n_exp;
    ret.tokens = ret.offsets + n_exp + 1;
    ret.weights = (float *)(ret.tokens + n_pairs);
    ret.token_pairs = (int32_t *)(ret.weights + n_pairs);
    return ret;
}

struct list_args {
    const int32_t *ids;
    const float *weights;
    const uint8_t *wanted;
    int n_tok, top_k, n_exp, n_shared;
    struct worklist list;
    int n_blocks; /* that list; the others count */
};

/* Shared memory of a block; tokens are bits, its own by their number there. */
struct tally {
    int count[KERNEL_MAX_EXPERTS]; /* pairs of all tokens */
    int next[KERNEL_MAX_EXPERTS];  /* of those before the block's own; then where its own begin */
    uint32_t own[KERNEL_MAX_EXPERTS];
    int32_t ids[TOKENS * KERNEL_MAX_TOP_K]; /* of its own */
    int pairs_of[N_WARPS], active_of[N_WARPS];
};

/* Exclusive sums over the experts, a thread each: pairs, and experts with any. All threads. */
static __device__ void scan_experts(struct tally *s, int n, int n_exp, int *ret_pairs,
                                    int *ret_active, int *ret_n_pairs, int *ret_n_active)
{
    const unsigned active = __ballot_sync(ALL_LANES, n > 0);
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    int sum = n;

    for (int d = 1; d < WARP; d *= 2) {
        const int below = __shfl_up_sync(ALL_LANES, sum, d);

        if (lane >= d)
            sum += below;
    }
    if (lane == WARP - 1) {
        s->pairs_of[warp] = sum;
        s->active_of[warp] = __popc(active);
    }
    __syncthreads();
    *ret_pairs = sum - n;
    *ret_active = __popc(active & ((1u << lane) - 1));
    *ret_n_pairs = *ret_n_active = 0;
    for (int i = 0; i * WARP < n_exp; i++) {
        *ret_pairs += i < warp ? s->pairs_of[i] : 0;
        *ret_active += i < warp ? s->active_of[i] : 0;
        *ret_n_pairs += s->pairs_of[i];
        *ret_n_active += s->active_of[i];
    }
}

static __device__ __forceinline__ bool is_wanted(const struct list_args &a, int t)
{
    return !a.wanted || __ldcg(a.wanted + t);
}

/* Four of a token's ids from slot s on, -1 beyond the last. */
static __device__ __forceinline__ int4 read_ids(const struct list_args &a, const int32_t *ids,
                                                int s)
{
    if (a.top_k % 4 == 0 && (uintptr_t)a.ids % 16 == 0)
        return __ldcg((const int4 *)(ids + s));
    return make_int4(__ldcg(ids + s), s + 1 < a.top_k ? __ldcg(ids + s + 1) : -1,
                     s + 2 < a.top_k ? __ldcg(ids + s + 2) : -1,
                     s + 3 < a.top_k ? __ldcg(ids + s + 3) : -1);
}

/* Pairs of up to FEW experts: a warp turns the sets of 32 tokens into those of experts. */
static __device__ __forceinline__ void count_few(const struct list_args &a, struct tally *s)
{
    const int lane = threadIdx.x % WARP;
    int count[FEW / WARP] = {}, before[FEW / WARP] = {};

#pragma unroll 2
    for (int chunk = threadIdx.x / WARP; chunk * TOKENS < a.n_tok; chunk += N_WARPS) {
        const int t = chunk * TOKENS + lane;
        uint64_t set = 0;

        for (int i = 0; t < a.n_tok && i < a.top_k && is_wanted(a, t); i += 4) {
            const int4 v = read_ids(a, a.ids + (size_t)t * a.top_k, i);
            const int32_t ids[4] = { v.x, v.y, v.z, v.w };

#pragma unroll
            for (int j = 0; j < 4; j++)
                set |= (unsigned)ids[j] < (unsigned)a.n_exp ? 1ull << ids[j] : 0;
        }
#pragma unroll
        for (int w = 0; w < FEW / WARP; w++) {
            const uint32_t tokens = transpose((uint32_t)(set >> w * WARP));

            count[w] += __popc(tokens);
            before[w] += chunk < (int)blockIdx.x ? __popc(tokens) : 0;
            if (chunk == (int)blockIdx.x)
                s->own[w * WARP + lane] = tokens;
        }
    }
#pragma unroll
    for (int w = 0; w < FEW / WARP; w++) {
        atomicAdd(&s->count[w * WARP + lane], count[w]);
        atomicAdd(&s->next[w * WARP + lane], before[w]);
    }
}

/* Of any number of experts. */
static __device__ __forceinline__ void count_any(const struct list_args &a, struct tally *s)
{
    const int first = blockIdx.x * TOKENS * a.top_k, end = first + TOKENS * a.top_k;

#pragma unroll 8
    for (int i = threadIdx.x; i < a.n_tok * a.top_k; i += THREADS) {
        const int32_t id = __ldcg(a.ids + i);

        if ((unsigned)id >= (unsigned)a.n_exp || (a.wanted && !is_wanted(a, i / a.top_k)))
            continue;
        atomicAdd(&s->count[id], 1);
        if (i < first)
            atomicAdd(&s->next[id], 1);
        else if (i < end)
            atomicOr(&s->own[id], 1u << (i - first) / a.top_k);
    }
}

/* Shared experts: every token has a pair with each. */
static __device__ void list_shared(const struct list_args &a, int first, int n_own, int n_pairs)
{
    for (int i = threadIdx.x; i < a.n_shared * n_own; i += THREADS) {
        const int t = first + i % n_own, at = n_pairs + i / n_own * a.n_tok + t;

        a.list.tokens[at] = t;
        a.list.weights[at] = 1;
        a.list.token_pairs[t * (a.top_k + a.n_shared) + a.top_k + i / n_own] = at;
    }
}

/* Where slot i of the block's own lies. */
static __device__ __forceinline__ void list_slot(const struct list_args &a, const struct tally *s,
                                                 int first, int i, float weight)
{
    const int own = i / a.top_k, t = first + own;
    const int32_t x = s->ids[i], *mine = s->ids + own * a.top_k;
    int32_t *pairs = a.list.token_pairs + (size_t)t * (a.top_k + a.n_shared);
    int n_below = 0, at;

    if ((unsigned)x >= (unsigned)a.n_exp) { /* empty slots come last */
        for (int j = 0; j < i % a.top_k; j++)
            n_below += (unsigned)mine[j] >= (unsigned)a.n_exp;
        pairs[a.top_k - 1 - n_below] = -1;
        return;
    }
    for (int j = 0; j < a.top_k; j++)
        n_below += (unsigned)mine[j] < (unsigned)x;
    at = s->next[x] + __popc(s->own[x] & ((1u << own) - 1));
    a.list.tokens[at] = t;
    a.list.weights[at] = weight;
    pairs[n_below] = at;
}

/*
 * Every block counts all pairs, and those of tokens before its own TOKENS; then it knows where its
 * own go. Integer atomics only, and their order is not seen.
 */
static __device__ void list_tokens(const struct list_args &a)
{
    __shared__ struct tally s;
    const int e = threadIdx.x, first = blockIdx.x * TOKENS, n_own = min(TOKENS, a.n_tok - first);
    const size_t slot = (size_t)first * a.top_k;
    int n_pairs, n_active, n, rank, from;
    float weight = 0; /* of slot e of its own */

    for (int i = e; i < max(a.n_exp, (int)FEW); i += THREADS)
        s.count[i] = s.next[i] = (int)(s.own[i] = 0);
    __syncthreads();
    grid_wait();
    for (int i = e; i < n_own * a.top_k; i += THREADS)
        s.ids[i] = is_wanted(a, first + i / a.top_k) ? __ldcg(a.ids + slot + i) : -1;
    if (e < n_own * a.top_k)
        weight = __ldcg(a.weights + slot + e);
    if (a.n_exp <= FEW)
        count_few(a, &s);
    else
        count_any(a, &s);
    __syncthreads();
    n = e < a.n_exp ? s.count[e] : 0;
    scan_experts(&s, n, a.n_exp, &from, &rank, &n_pairs, &n_active);
    if (e < a.n_exp)
        s.next[e] += from;
    if (blockIdx.x == 0) {
        if (n > 0) {
            a.list.experts[rank] = e;
            a.list.offsets[rank] = from;
        }
        if (e == 0) {
            *a.list.n_active = n_active + a.n_shared;
            a.list.offsets[n_active] = n_pairs;
        }
        for (int i = e; i < a.n_shared; i += THREADS) {
            a.list.experts[n_active + i] = a.n_exp + i;
            a.list.offsets[n_active + i + 1] = n_pairs + (i + 1) * a.n_tok;
        }
    }
    list_shared(a, first, n_own, n_pairs);
    __syncthreads();
    for (int i = e; i < n_own * a.top_k; i += THREADS)
        list_slot(a, &s, first, i, i == e ? weight : a.weights[slot + i]);
}

/* Grid: blocks that list TOKENS each, and one for each segment of `counted`. */
static __global__ void __launch_bounds__(THREADS, 1)
    worklist_kernel(const __grid_constant__ struct list_args a,
                    const __grid_constant__ struct route_call counted)
{
    grid_release();
    if ((int)blockIdx.x < a.n_blocks)
        list_tokens(a);
    else
        count_segment(counted, (int)blockIdx.x - a.n_blocks);
}

cudaError_t worklist_launch(const int32_t *ids, const float *weights, const uint8_t *wanted,
                            int n_tok, int top_k, int n_exp, int n_shared, struct worklist list,
                            const struct route_call *counted, cudaStream_t stream)
{
    static_assert((int)THREADS == (int)COUNT_THREADS, "a block counts, too");
    static_assert((int)THREADS >= (int)KERNEL_MAX_EXPERTS, "a thread an expert");
    const struct route_call nobody = {};
    struct list_args a;

    a.ids = ids;
    a.weights = weights;
    a.wanted = wanted;
    a.n_tok = n_tok;
    a.top_k = top_k;
    a.n_exp = n_exp;
    a.n_shared = n_shared;
    a.list = list;
    a.n_blocks = n_tok ? (n_tok + TOKENS - 1) / TOKENS : 1;
    return launch_kernel(worklist_kernel,
                         dim3((unsigned)(a.n_blocks + (counted ? counted->n_segs : 0))), THREADS, 0,
                         true, stream, a, counted ? *counted : nobody);
}
