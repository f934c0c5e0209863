/* Worklists of given ids: worklist.h. */
#include "kernels/cuda/worklist.h"

#include "kernels/route.h"

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
 * Every block counts all pairs; then each warp of the grid lists the pairs of some experts, going
 * through the slots in order. Integer atomics only, and their order is not seen.
 */
static __global__ void __launch_bounds__(THREADS)
    worklist_kernel(const int32_t *ids, const float *weights, int n_tok, int top_k, int n_exp,
                    int n_shared, struct worklist list)
{
    __shared__ int count[KERNEL_MAX_EXPERTS], first[KERNEL_MAX_EXPERTS];
    const int n_slots = n_tok * top_k, lane = threadIdx.x % 32, e = threadIdx.x;
    const int stride = top_k + n_shared;
    int n_pairs, n_active, n = 0, rank;

    for (int i = threadIdx.x; i < n_exp; i += THREADS)
        count[i] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < n_slots; i += THREADS)
        if ((unsigned)ids[i] < (unsigned)n_exp)
            atomicAdd(&count[ids[i]], 1);
    __syncthreads();
    if (e < n_exp)
        n = count[e];
    {
        int from = scan_block(n, &n_pairs);

        rank = scan_block(n > 0, &n_active);
        if (e < n_exp)
            first[e] = from;
    }
    if (blockIdx.x == 0) {
        if (n > 0) {
            list.experts[rank] = e;
            list.offsets[rank] = first[e];
        }
        if (e == 0) {
            *list.n_active = n_active + n_shared;
            list.offsets[n_active] = n_pairs;
        }
        for (int i = threadIdx.x; i < n_shared; i += THREADS) {
            list.experts[n_active + i] = n_exp + i;
            list.offsets[n_active + i + 1] = n_pairs + (i + 1) * n_tok;
        }
        for (int i = threadIdx.x; i < n_shared * n_tok; i += THREADS) {
            const int t = i % n_tok;

            list.tokens[n_pairs + i] = t;
            list.weights[n_pairs + i] = 1;
            list.token_pairs[t * stride + top_k + i / n_tok] = n_pairs + i;
        }
        for (int t = threadIdx.x; t < n_tok; t += THREADS) {
            int n_there = 0;

            for (int s = 0; s < top_k; s++)
                n_there += (unsigned)ids[t * top_k + s] < (unsigned)n_exp;
            for (int s = n_there; s < top_k; s++)
                list.token_pairs[t * stride + s] = -1;
        }
    }
    __syncthreads();
    for (int x = blockIdx.x * N_WARPS + threadIdx.x / 32; x < n_exp; x += gridDim.x * N_WARPS) {
        int pair = first[x];

        for (int from = 0; from < n_slots && count[x] > 0; from += 32) {
            const int i = from + lane;
            const bool is_mine = i < n_slots && ids[i] == x;
            const unsigned all = __ballot_sync(~0u, is_mine);

            if (is_mine) {
                const int at = pair + __popc(all & ((1u << lane) - 1)), t = i / top_k;
                int n_below = 0;

                for (int s = 0; s < top_k; s++)
                    n_below += (unsigned)ids[t * top_k + s] < (unsigned)x;
                list.tokens[at] = t;
                list.weights[at] = weights[i];
                list.token_pairs[t * stride + n_below] = at;
            }
            pair += __popc(all);
        }
    }
}

cudaError_t worklist_launch(const int32_t *ids, const float *weights, int n_tok, int top_k,
                            int n_exp, int n_shared, struct worklist list, cudaStream_t stream)
{
    const int n_blocks = n_exp ? (n_exp + N_WARPS - 1) / N_WARPS : 1;

    worklist_kernel<<<n_blocks, THREADS, 0, stream>>>(ids, weights, n_tok, top_k, n_exp, n_shared,
                                                      list);
    return cudaGetLastError();
}
