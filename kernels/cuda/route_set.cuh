/*
 * A token's experts in a warp: keys, sets, and the best of a set.
 *
 * Lane l holds experts l, l + 32, ...: N of them, N * 32 >= n_exp, and a set of experts is a word a
 * lane, bit i for expert i * 32 + l. Keys are held as unsigned numbers of the same order
 * (order_of); 0 stands for what is never chosen.
 */
#ifndef KERNELS_CUDA_ROUTE_SET_CUH
#define KERNELS_CUDA_ROUTE_SET_CUH

#include <cuda_runtime.h>
#include <stdint.h>

#include "kernels/route.h"

static constexpr unsigned ALL_LANES = 0xffffffffu;
static constexpr int WARP = 32;

/* A float as a number of the same order, -0 as 0; 0 for NaN and -inf. */
static __device__ __forceinline__ uint32_t order_of(float key)
{
    uint32_t u = __float_as_uint(key);

    if (!(key > -INFINITY))
        return 0;
    if (key == 0.0f)
        return 0x80000000u;
    return u >> 31 ? ~u : u | 0x80000000u;
}

/* Back, of what is not 0. */
static __device__ __forceinline__ float key_of(uint32_t order)
{
    return __uint_as_float(order >> 31 ? order & 0x7fffffffu : ~order);
}

enum { FEW = 64 };

/* A warp's shared memory, read 16 bytes at a time. */
struct alignas(16) route_room {
    int32_t order[KERNEL_MAX_TOP_K]; /* a token's first experts, best first */
    int32_t id[KERNEL_MAX_TOP_K];    /* its slots */
    float score[KERNEL_MAX_TOP_K];
    uint64_t few[FEW]; /* of select_best() */
    uint32_t most[WARP];
};

/* select_best() in n rounds, each finding the best that is left. Out of line: it is rare, and code
 * that is not run costs time to step over. */
template <int N> struct route_keys {
    uint32_t of[N];
};

template <int N>
static __device__ __noinline__ uint32_t select_by_rounds(const struct route_keys<N> keys,
                                                         uint32_t set, int n, int *ret_n,
                                                         int32_t *order)
{
    const uint32_t(&key)[N] = keys.of;
    int lane = (int)threadIdx.x % WARP, count = 0;
    uint32_t taken = 0;

    for (; count < n; count++) {
        uint32_t best = 0, most, id;
        int at = 0;

#pragma unroll
        for (int i = 0; i < N; i++)
            if ((set >> i & 1) && key[i] > best) {
                best = key[i];
                at = i;
            }
        most = __reduce_max_sync(ALL_LANES, best);
        if (!most)
            break;
        id = best == most ? (uint32_t)(at * WARP + lane) : ~0u;
        if (__reduce_min_sync(ALL_LANES, id) == id && best == most) {
            if (order)
                order[count] = (int32_t)id;
            taken |= 1u << at;
            set &= ~(1u << at);
        }
    }
    *ret_n = count;
    return taken;
}

template <int N>
static __device__ __forceinline__ struct route_keys<N> keys_of(const uint32_t (&key)[N]) {
    struct route_keys<N> ret;

#pragma unroll
    for (int i = 0; i < N; i++)
        ret.of[i] = key[i];
    return ret;
}

/*
 * select_best() of any keys. At least n keys are as large as the n-th largest of the lanes' own
 * largest. Those that are, few as a rule, are listed and counted against each other.
 */
template <int N>
static __device__ __noinline__ uint32_t select_any(const struct route_keys<N> keys, uint32_t set,
                                                   int n, int *ret_n, int32_t *order,
                                                   struct route_room *room)
{
    const uint32_t(&key)[N] = keys.of;
    int lane = (int)threadIdx.x % WARP, n_above = 0, n_few = 0, n_taken;
    uint32_t best = 0, least, taken = 0;
    uint64_t last = 0;

#pragma unroll
    for (int i = 0; i < N; i++)
        if (set >> i & 1)
            best = max(best, key[i]);
    __syncwarp();
    room->most[lane] = best;
    __syncwarp();
#pragma unroll
    for (int i = 0; i < WARP; i += 4) {
        uint4 others = *(const uint4 *)(room->most + i);

        n_above += (others.x > best) + (others.y > best) + (others.z > best) + (others.w > best);
    }
    least = __reduce_min_sync(ALL_LANES, n_above < n ? best : ~0u);
#pragma unroll
    for (int i = 0; i < N; i++) {
        bool is_few = (set >> i & 1) && key[i] && key[i] >= least;
        uint32_t word = __ballot_sync(ALL_LANES, is_few);
        int at = n_few + __popc(word & ((1u << lane) - 1));

        if (is_few && at < FEW) /* larger where the id is lower */
            room->few[at] = (uint64_t)key[i] << 32 | (uint32_t) ~(i * WARP + lane);
        n_few += __popc(word);
    }
    if (n > WARP || n_few > FEW)
        return select_by_rounds<N>(keys, set, n, ret_n, order);
    __syncwarp();
    n_taken = min(n, n_few);
    for (int from = 0; from < n_few; from += WARP) {
        uint64_t mine = from + lane < n_few ? room->few[from + lane] : 0;
        int rank = 0;

#pragma unroll 4
        for (int i = 0; i < n_few; i++)
            rank += room->few[i] > mine;
        if (mine && rank < n_taken) {
            if (order)
                order[rank] = (int32_t) ~(uint32_t)mine;
            if (rank == n_taken - 1)
                last = mine;
        }
    }
    { /* what the last one that is taken is */
        uint32_t owner = __ballot_sync(ALL_LANES, last != 0);
        int from = owner ? __ffs((int)owner) - 1 : 0;

        last = __shfl_sync(ALL_LANES, last, from);
    }
#pragma unroll
    for (int i = 0; i < N; i++)
        if ((set >> i & 1) && key[i] && n_taken &&
            ((uint64_t)key[i] << 32 | (uint32_t) ~(i * WARP + lane)) >= last)
            taken |= 1u << i;
    *ret_n = n_taken;
    return taken;
}

/* How many of a list, a multiple of eight long, are more than a key. */
static __device__ __forceinline__ int count_above(const uint32_t *list, int n, uint32_t key)
{
    int ret = 0;

#pragma unroll 1
    for (int i = 0; i < n; i += 8) {
        const uint4 a = *(const uint4 *)(list + i), b = *(const uint4 *)(list + i + 4);

        ret += (a.x > key) + (a.y > key) + (a.z > key) + (a.w > key);
        ret += (b.x > key) + (b.y > key) + (b.z > key) + (b.w > key);
    }
    return ret;
}

/*
 * The n largest of a set, ties to the lower id. *ret_n: how many there are. `order`, unless NULL,
 * gets the ids, best first; it is shared memory of the warp with room for n, to be read after
 * __syncwarp().
 *
 * Eight quads of lanes have at least eight keys as large as the least of the quads' largest. Those
 * that are, some twenty as a rule, are listed and counted against each other. Where keys are equal
 * or those are many, or more are asked for, select_any() does it.
 */
template <int N>
static __device__ __forceinline__ uint32_t select_best(const uint32_t (&key)[N], uint32_t set,
                                                       int n, int *ret_n, int32_t *order,
                                                       struct route_room *room)
{
    const int lane = (int)threadIdx.x % WARP;
    uint32_t *list = (uint32_t *)room->few;
    uint16_t *ids = (uint16_t *)room->most;
    uint32_t in_set[N], best = 0, least, last = 0, taken = 0;
    int n_few = 0, n_pairs = 0, n_taken;

    if (n > WARP / 4)
        return select_any<N>(keys_of(key), set, n, ret_n, order, room);
#pragma unroll
    for (int i = 0; i < N; i++) {
        in_set[i] = set >> i & 1 ? key[i] : 0;
        best = max(best, in_set[i]);
    }
    best = max(best, __shfl_xor_sync(ALL_LANES, best, 1));
    best = max(best, __shfl_xor_sync(ALL_LANES, best, 2));
    least = max(__reduce_min_sync(ALL_LANES, best), 1u);
    __syncwarp();
#pragma unroll
    for (int i = 0; i < N; i++) {
        const bool is_few = in_set[i] >= least;
        const uint32_t word = __ballot_sync(ALL_LANES, is_few);
        const int at = n_few + __popc(word & ((1u << lane) - 1));

        if (is_few && at < FEW) {
            list[at] = in_set[i];
            ids[at] = (uint16_t)(i * WARP + lane);
        }
        n_few += __popc(word);
    }
    if (n_few > FEW)
        return select_any<N>(keys_of(key), set, n, ret_n, order, room);
    if (lane < 8)
        list[n_few + lane] = 0;
    __syncwarp();
    n_taken = min(n, n_few);
#pragma unroll 1
    for (int at = lane; at - lane < n_few; at += WARP) {
        const uint32_t mine = at < n_few ? list[at] : ~0u;
        const int n_above = count_above(list, n_few, mine);

        n_pairs += n_above;
        if (at < n_few && n_above < n_taken) {
            if (order)
                order[n_above] = ids[at];
            if (n_above == n_taken - 1)
                last = mine;
        }
    }
    /* each pair was counted once, but for those of equal ones */
    if (2 * __reduce_add_sync(ALL_LANES, n_pairs) != n_few * (n_few - 1))
        return select_any<N>(keys_of(key), set, n, ret_n, order, room);
    last = __reduce_max_sync(ALL_LANES, last);
#pragma unroll
    for (int i = 0; i < N; i++)
        taken |= (uint32_t)(last && in_set[i] >= last) << i;
    *ret_n = n_taken;
    return taken;
}

/* The n best of those of a set that have ranks. */
static __device__ __forceinline__ uint32_t first_of_ranked(const int (&rank)[2], uint32_t set,
                                                           int n)
{
    bool is_0 = (set & 1) && rank[0] < 2 * WARP, is_1 = (set & 2) && rank[1] < 2 * WARP;
    uint64_t bit0 = is_0 ? 1ull << rank[0] : 0, bit1 = is_1 ? 1ull << rank[1] : 0;
    uint64_t bits = bit0 | bit1;
    uint32_t low = __reduce_or_sync(ALL_LANES, (uint32_t)bits);
    uint32_t high = __reduce_or_sync(ALL_LANES, (uint32_t)(bits >> 32));

    bits = (uint64_t)high << 32 | low;
    return (uint32_t)(is_0 && __popcll(bits & (bit0 - 1)) < n) |
           (uint32_t)(is_1 && __popcll(bits & (bit1 - 1)) < n) << 1;
}

/* The set of the first n of an order. */
static __device__ __forceinline__ uint32_t set_of_first(const int32_t *order, int n)
{
    uint32_t set = 0;

    for (int r = 0; r < n; r++)
        if (order[r] % WARP == (int)threadIdx.x % WARP)
            set |= 1u << (order[r] / WARP);
    return set;
}

/* A set as words of bits by id, word i of experts 32 i ...: all lanes get all. */
template <int N> static __device__ __forceinline__ void set_words(uint32_t set, uint32_t (&ret)[N])
{
#pragma unroll
    for (int i = 0; i < N; i++)
        ret[i] = __ballot_sync(ALL_LANES, set >> i & 1);
}

/* A matrix of 32 x 32 bits, a row a lane: bit i of lane k becomes bit k of lane i. */
static __device__ __forceinline__ uint32_t transpose(uint32_t row)
{
    const int lane = (int)threadIdx.x % WARP;
    uint32_t lower = 0xffff; /* columns that stay in the lanes without bit w */

#pragma unroll
    for (int w = WARP / 2; w; w /= 2) {
        const uint32_t other = __shfl_xor_sync(ALL_LANES, row, w);

        row = lane & w ? (row & ~lower) | (other >> w & lower)
                       : (row & lower) | (other << w & ~lower);
        lower ^= lower << w / 2;
    }
    return row;
}

/* Back: this lane's part of such words. */
template <int N> static __device__ __forceinline__ uint32_t set_read(const uint32_t *words, int n)
{
    uint32_t set = 0;

#pragma unroll
    for (int i = 0; i < N; i++)
        if (i < n)
            set |= (words[i] >> (threadIdx.x % WARP) & 1) << i;
    return set;
}

#endif
