/* Worklists of given ids: worklist.h. */
#include "kernels/cuda/worklist.h"

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/sm90.cuh"
#include "kernels/route.h"

#define TOKENS 16 /* that a block lists */
#define THREADS 1024
#define N_WARPS (THREADS / 32)

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

/* Exclusive sum over the block of one number a thread; *ret_total: all of them. */
static __device__ int scan_block(int v, int *ret_total)
{
    __shared__ int of_warp[N_WARPS];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int sum = v, base = 0;

    for (int d = 1; d < 32; d *= 2) {
        int below = __shfl_up_sync(~0u, sum, d);

        if (lane >= d)
            sum += below;
    }
    __syncthreads(); /* of_warp may still be read by the call before */
    if (lane == 31)
        of_warp[warp] = sum;
    __syncthreads();
    *ret_total = 0;
    for (int i = 0; i < N_WARPS; i++) {
        if (i < warp)
            base += of_warp[i];
        *ret_total += of_warp[i];
    }
    return base + sum - v;
}

/*
 * Every block counts all pairs, and those of tokens before its own TOKENS; then it knows where its
 * own go. Integer atomics only, and their order is not seen.
 */
static __global__ void __launch_bounds__(THREADS)
    worklist_kernel(const int32_t *ids, const float *weights, int n_tok, int top_k, int n_exp,
                    int n_shared, struct worklist list)
{
    __shared__ int count[KERNEL_MAX_EXPERTS], next[KERNEL_MAX_EXPERTS];
    __shared__ int32_t own[TOKENS * KERNEL_MAX_TOP_K];
    const int n_slots = n_tok * top_k, e = threadIdx.x, stride = top_k + n_shared;
    const int first = blockIdx.x * TOKENS, n_own = min(TOKENS, n_tok - first);
    int n_pairs, n_active, n = 0, rank, from;

    grid_release();
    for (int i = threadIdx.x; i < n_exp; i += THREADS)
        count[i] = next[i] = 0;
    __syncthreads();
    grid_wait();
#pragma unroll 8
    for (int i = threadIdx.x; i < n_slots; i += THREADS) {
        const int32_t id = ids[i];

        if ((unsigned)id < (unsigned)n_exp) {
            atomicAdd(&count[id], 1);
            if (i < first * top_k)
                atomicAdd(&next[id], 1);
        }
    }
    for (int i = threadIdx.x; i < n_own * top_k; i += THREADS)
        own[i] = ids[first * top_k + i];
    __syncthreads();
    if (e < n_exp)
        n = count[e];
    from = scan_block(n, &n_pairs);
    rank = scan_block(n > 0, &n_active);
    if (e < n_exp)
        next[e] += from;
    if (blockIdx.x == 0) {
        if (n > 0) {
            list.experts[rank] = e;
            list.offsets[rank] = from;
        }
        if (e == 0) {
            *list.n_active = n_active + n_shared;
            list.offsets[n_active] = n_pairs;
        }
        for (int i = threadIdx.x; i < n_shared; i += THREADS) {
            list.experts[n_active + i] = n_exp + i;
            list.offsets[n_active + i + 1] = n_pairs + (i + 1) * n_tok;
        }
    }
    for (int i = threadIdx.x; i < n_shared * n_own; i += THREADS) {
        const int t = first + i % n_own, at = n_pairs + i / n_own * n_tok + t;

        list.tokens[at] = t;
        list.weights[at] = 1;
        list.token_pairs[t * stride + top_k + i / n_own] = at;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < n_own * top_k; i += THREADS) {
        const int32_t x = own[i], *mine = own + i / top_k * top_k;
        const int t = first + i / top_k;
        int n_below = 0, at;

        if ((unsigned)x >= (unsigned)n_exp) { /* empty slots come last */
            for (int s = 0; s < i % top_k; s++)
                n_below += (unsigned)mine[s] >= (unsigned)n_exp;
            list.token_pairs[t * stride + top_k - 1 - n_below] = -1;
            continue;
        }
        at = next[x];
        for (int j = 0; j < i / top_k * top_k; j++)
            at += own[j] == x;
        for (int s = 0; s < top_k; s++)
            n_below += (unsigned)mine[s] < (unsigned)x;
        list.tokens[at] = t;
        list.weights[at] = weights[first * top_k + i];
        list.token_pairs[t * stride + n_below] = at;
    }
}

cudaError_t worklist_launch(const int32_t *ids, const float *weights, int n_tok, int top_k,
                            int n_exp, int n_shared, struct worklist list, cudaStream_t stream)
{
    const int n_blocks = n_tok ? (n_tok + TOKENS - 1) / TOKENS : 1;

    return launch_kernel(worklist_kernel, dim3((unsigned)n_blocks), THREADS, 0, true, stream, ids,
                         weights, n_tok, top_k, n_exp, n_shared, list);
}
