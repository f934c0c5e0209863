/*
 * The statistics of a call's segments, once their tokens have chosen: route.cu has a kernel for
 * them, worklist.cu takes them along.
 */
#ifndef KERNELS_CUDA_ROUTE_COUNT_CUH
#define KERNELS_CUDA_ROUTE_COUNT_CUH

#include "kernels/cuda/route.cuh"
#include "kernels/cuda/sm90.cuh"

enum {
    COUNT_THREADS = 1024,
    RUN = 128, /* tokens whose masses are added one after the other */
    RUNS = 16  /* that are added at once */
};

/* Of one segment, by a block of COUNT_THREADS, which calls grid_wait(). Sets are counted by atomics
 * on whole numbers, whose order does not matter; of the masses kept, runs of RUN tokens are added
 * in their order, and so are the runs. */
static __device__ void count_segment(const struct route_call &c, int segment)
{
    enum { AT_ONCE = RUNS * RUN, EACH = AT_ONCE / COUNT_THREADS, WORDS = 2 };
    __shared__ double kept[RUNS][RUN + 1];
    __shared__ int n_runs[KERNEL_MAX_EXPERTS], totals[2];
    __shared__ uint32_t natural[KERNEL_MAX_EXPERTS / WARP];
    const int tid = (int)threadIdx.x;
    struct route_call_segment s;
    struct route_stats r = { 0, 0, 0, 0, 0, 0 };
    int n_rerouted = 0, n_lost = 0;

    if (tid < 2)
        totals[tid] = 0;
    for (int e = tid; e < c.n_words * WARP; e += COUNT_THREADS)
        n_runs[e] = 0;
    for (int w = tid; w < c.n_words; w += COUNT_THREADS)
        natural[w] = 0;
    grid_wait();
    s = c.segs[segment];
    for (int from = 0; from < s.n_tok; from += AT_ONCE) {
        const int n = min((int)AT_ONCE, s.n_tok - from);

        __syncthreads();
#pragma unroll
        for (int j = 0; j < EACH; j++) {
            const int i = j * COUNT_THREADS + tid;

            if (i < n) {
                const int2 counts = ((const int2 *)c.counts)[s.first + from + i];

                kept[i / RUN][i % RUN] = c.kept[s.first + from + i];
                n_rerouted += counts.x;
                n_lost += counts.y;
            }
        }
        for (int w = 0; w < c.n_words; w += WORDS) {
            uint32_t chosen[EACH][WORDS], first[WORDS] = {};

#pragma unroll
            for (int j = 0; j < EACH; j++)
#pragma unroll
                for (int k = 0; k < WORDS; k++) {
                    const int i = j * COUNT_THREADS + tid;
                    const size_t at =
                        (size_t)(s.first + from + i) * (size_t)c.n_words + (size_t)(w + k);
                    const bool is_there = i < n && w + k < c.n_words;

                    chosen[j][k] = is_there ? c.chosen[at] : 0;
                    first[k] |= is_there ? c.natural[at] : 0;
                }
#pragma unroll
            for (int k = 0; k < WORDS; k++) {
                first[k] = __reduce_or_sync(ALL_LANES, first[k]);
                if (first[k] && tid % WARP == 0)
                    atomicOr(&natural[w + k], first[k]);
#pragma unroll
                for (int j = 0; j < EACH; j++)
                    for (uint32_t left = chosen[j][k]; left; left &= left - 1)
                        atomicAdd(&n_runs[(w + k) * WARP + __ffs((int)left) - 1], 1);
            }
        }
        __syncthreads();
        if (tid < WARP) {
            double sum = 0;

            if (tid < RUNS)
#pragma unroll 16
                for (int i = 0; i < min((int)RUN, n - tid * RUN); i++)
                    sum = __dadd_rn(sum, kept[tid][i]);
            for (int i = 0; i < RUNS; i++)
                r.kept_mass = __dadd_rn(r.kept_mass, __shfl_sync(ALL_LANES, sum, i));
        }
    }
    n_rerouted = __reduce_add_sync(ALL_LANES, n_rerouted);
    n_lost = __reduce_add_sync(ALL_LANES, n_lost);
    if (tid % WARP == 0) {
        atomicAdd(&totals[0], n_rerouted);
        atomicAdd(&totals[1], n_lost);
    }
    __syncthreads();
    for (int from = 0; from < c.n_words * WARP; from += COUNT_THREADS) {
        const int e = from + tid;
        const bool is_there = e < c.p.n_exp;
        const int n = is_there ? n_runs[e] : 0;
        uint32_t is_core = 0;

        for (int g = s.first_group;
             is_there && c.p.size != SIZE_NONE && g < s.first_group + s.n_groups; g++)
            is_core |= c.core[(size_t)g * (size_t)c.n_words + (size_t)(e / 32)] >> (e % 32) & 1;
        if (is_there)
            c.tokens_per_expert[(size_t)segment * (size_t)c.p.n_exp + (size_t)e] = n;
        r.n_unique += __syncthreads_count(n);
        r.n_natural += __syncthreads_count(is_there && (natural[e / 32] >> (e % 32) & 1));
        r.n_core += __syncthreads_count((int)is_core);
    }
    if (tid == 0) {
        r.n_rerouted = totals[0];
        r.n_lost_top1 = totals[1];
        if (s.n_tok)
            r.kept_mass = r.kept_mass / s.n_tok;
        c.stats[segment] = r;
    }
}

#endif
