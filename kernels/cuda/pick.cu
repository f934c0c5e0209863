/* One proposal a row of logits: kernels.h says the rules, ref_pick.c is their definition. */
#include "kernels/cuda/cuda.h"

#include "kernels/cuda/gemm.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/pick_state.cuh"
#include "kernels/cuda/row.cuh"
#include "kernels/cuda/sm90.cuh"

enum { THREADS = PICK_JOIN_THREADS, WARPS = THREADS / WARP_LANES, MAX_GRID = 65535 };

/* Thread t's part of the row's sum: slices t, t + THREADS, ... Sixteen threads take sixteen of them
 * in turn, and thread i of these keeps slice i. A warp stays together. */
static __device__ double sum_slices(const float *l, int n_vocab, float max)
{
    const int lane = threadIdx.x % PACK_SLICE_ROWS, in_warp = threadIdx.x % 32;
    const int64_t n_slices = ((int64_t)n_vocab + PACK_SLICE_ROWS - 1) / PACK_SLICE_ROWS;
    double sum = 0;

    for (int64_t mine = threadIdx.x; mine - in_warp < n_slices; mine += THREADS)
#pragma unroll 4
        for (int i = 0; i < PACK_SLICE_ROWS; i++) {
            const int64_t id = (mine - lane + i) * PACK_SLICE_ROWS + lane;
            const float v = id < n_vocab ? l[id] : 0;
            const struct pick_slice s = pick_sum_slice(v, id < n_vocab && !isnan(v));

            if (i == lane && mine < n_slices)
                sum = pick_add_slice(sum, s, max);
        }
    return sum;
}

/* ret (n_rows) from logits (n_rows, n_vocab), a block a row. */
static __global__ void __launch_bounds__(THREADS)
    pick_kernel(const float *logits, int n_rows, int n_vocab, const struct gemm_pick_row *rows,
                struct pick *ret)
{
    __shared__ struct pick_state bests[PICK_JOIN_WARPS];
    __shared__ double sums[PICK_JOIN_WARPS];

    grid_release();
    grid_wait();
    for (int r = blockIdx.x; r < n_rows; r += gridDim.x) {
        const float *l = logits + (size_t)r * n_vocab;
        const struct gemm_pick_row row = rows[r];
        struct pick_state s = pick_none();

#pragma unroll 4
        for (int32_t i = threadIdx.x; i < n_vocab; i += THREADS) {
            const float v = l[i];

            if (isnan(v))
                continue;
            if (s.max_id < 0 || v > s.max) {
                s.max = v;
                s.max_id = i;
            }
            pick_try(&s, v, i, row);
        }
        s = pick_join_block(s, bests);
        s.sum = pick_sum_block(sum_slices(l, n_vocab, s.max), sums);
        if (threadIdx.x == 0)
            ret[r] = pick_of(s, pick_best_share(s), n_vocab, row);
        __syncthreads(); /* before the next row's parts */
    }
}

/* ---- sampling as kernels/filter.h has it ---- */

/* The best of all threads of a block, for all of them. parts: (WARPS), shared. */
static __device__ struct best block_best(struct best v, struct best *parts)
{
    for (int o = WARP_LANES / 2; o; o /= 2) {
        struct best other;

        other.score = __shfl_xor_sync(0xffffffffu, v.score, o);
        other.id = __shfl_xor_sync(0xffffffffu, v.id, o);
        v = better(v, other);
    }
    if (threadIdx.x % WARP_LANES == 0)
        parts[threadIdx.x / WARP_LANES] = v;
    __syncthreads();
    v = parts[0];
    for (int i = 1; i < WARPS; i++)
        v = better(v, parts[i]);
    __syncthreads(); /* all have read */
    return v;
}

enum { DIGIT_BITS = 8, N_DIGITS = 1 << DIGIT_BITS };

/* What a digit's tokens come to. */
struct filter_room {
    unsigned long long units[N_DIGITS];
    unsigned int counts[N_DIGITS];
    unsigned long long total, before;
    uint64_t prefix; /* of the key that is looked for: digits found so far */
    uint64_t least;  /* tokens of this key, or a larger one, are left */
    bool is_found;
};

/* Best first: larger keys, by the logit and then the lower id. No NaN. */
static __device__ __forceinline__ uint64_t filter_key(float l, int32_t id)
{
    uint32_t bits = __float_as_uint(l == 0 ? 0.0f : l); /* of both zeros */

    bits ^= bits >> 31 ? 0xffffffffu : 0x80000000u;
    return (uint64_t)bits << 32 | (0xffffffffu - (uint32_t)id);
}

/* As kernels/filter.h. */
static __device__ __forceinline__ double filter_share_of(float l, float max, double temperature)
{
    double x = l == max ? 0 : ((double)l - (double)max) / temperature;

    return x > -28.5 ? exp(x) : 0;
}

static __device__ __forceinline__ unsigned long long filter_units_of(double share)
{
    return (unsigned long long)__dadd_rn(__dmul_rn(share, 0x1p40), 0.5);
}

/* The weights of what is left, for all threads of the block. */
static __device__ unsigned long long sum_left(const float *l, int n_vocab, float max,
                                              double temperature, struct filter_room *room)
{
    const uint64_t least = room->least;
    unsigned long long sum = 0;

    __syncthreads(); /* all have read the last total */
    if (threadIdx.x == 0)
        room->total = 0;
    __syncthreads();
    for (int32_t i = threadIdx.x; i < n_vocab; i += THREADS)
        if (!isnan(l[i]) && filter_key(l[i], i) >= least)
            sum += filter_units_of(filter_share_of(l[i], max, temperature));
    for (int o = WARP_LANES / 2; o; o /= 2)
        sum += __shfl_xor_sync(0xffffffffu, sum, o);
    if (threadIdx.x % WARP_LANES == 0)
        atomicAdd(&room->total, sum); /* whole numbers: their order does not matter */
    __syncthreads();
    return room->total;
}

/* The digit of the last token that is left: with top-k that of the k-th, else of the last before
 * which there is no more than share p. Moves room->before up to it. */
static __device__ int cut_digit(struct filter_room *room, unsigned int k, double top_p,
                                unsigned long long total)
{
    const double most = __dmul_rn(top_p, (double)total);
    int digit = -1;

    for (int d = N_DIGITS - 1; d >= 0; d--) {
        unsigned long long next = room->before;

        if (!room->counts[d])
            continue;
        if (digit >= 0) {
            next += k ? room->counts[digit] : room->units[digit];
            if (k ? next >= k : !((double)next <= most))
                break;
        }
        room->before = next;
        digit = d;
    }
    return digit;
}

/*
 * Cut what is left more: behind the k-th best and those that equal it, or by top-p, total being
 * the weights of what is left. Digit by digit from the top: tokens that share the digits found so
 * far are counted by their next one.
 */
static __device__ void cut_more(const float *l, int n_vocab, float max, double temperature,
                                unsigned int k, double top_p, unsigned long long total,
                                struct filter_room *room)
{
    const uint64_t least = room->least;
    const int tid = (int)threadIdx.x;
    uint64_t prefix = 0;

    __syncthreads(); /* all have read what is left */
    if (tid == 0) {
        room->before = 0;
        room->is_found = false;
    }
    for (int shift = 64 - DIGIT_BITS; shift >= (k ? 32 : 0); shift -= DIGIT_BITS) {
        if (tid < N_DIGITS) {
            room->units[tid] = 0;
            room->counts[tid] = 0;
        }
        __syncthreads();
        if (room->is_found)
            break;
        for (int32_t i = tid; i < n_vocab; i += THREADS) {
            uint64_t key = isnan(l[i]) ? 0 : filter_key(l[i], i);
            int digit = (int)(key >> shift) & (N_DIGITS - 1);

            if (isnan(l[i]) || key < least ||
                (shift < 64 - DIGIT_BITS && key >> (shift + DIGIT_BITS) != prefix))
                continue;
            atomicAdd(&room->counts[digit], 1u);
            if (!k)
                atomicAdd(&room->units[digit],
                          filter_units_of(filter_share_of(l[i], max, temperature)));
        }
        __syncthreads();
        if (tid == 0) {
            int digit = cut_digit(room, k, top_p, total);

            room->is_found = !k && room->counts[digit] == 1;
            room->prefix = prefix << DIGIT_BITS | (uint64_t)digit;
            if (room->prefix << shift > least)
                room->least = room->prefix << shift;
        }
        __syncthreads();
        prefix = room->prefix;
    }
    __syncthreads();
}

/* ret (n_rows) from logits (n_rows, n_vocab), a block a row, with temperatures. top_k 0: all. */
static __global__ void __launch_bounds__(THREADS)
    sample_kernel(const float *logits, int n_rows, int n_vocab, const struct gemm_pick_row *rows,
                  int top_k, double top_p, struct pick *ret)
{
    __shared__ struct best parts[WARPS];
    __shared__ struct filter_room room;

    for (int r = blockIdx.x; r < n_rows; r += gridDim.x) {
        const float *l = logits + (size_t)r * n_vocab;
        const struct gemm_pick_row row = rows[r];
        const uint64_t key = row_key(row.seed, row.draw, row.position);
        struct best all = { 0, -1 }, first = { 0, -1 }, best = { 0, -1 };
        unsigned long long units = 0;
        unsigned int n = 0;
        float max;

        if (threadIdx.x == 0)
            room.least = 0;
        for (int32_t i = threadIdx.x; i < n_vocab; i += THREADS) {
            struct best one = { (double)l[i], i };

            if (isnan(l[i]))
                continue;
            n++;
            all = better(all, one);
            if (i != row.mask_id && i != row.banned_id)
                first = better(first, one);
        }
        all = block_best(all, parts);
        first = block_best(first, parts);
        max = all.id < 0 ? 0 : l[all.id];
        if (threadIdx.x == 0)
            room.counts[0] = 0;
        __syncthreads();
        atomicAdd(&room.counts[0], n);
        __syncthreads();
        n = room.counts[0];
        if (first.id >= 0) {
            if (top_k > 0 && (unsigned int)top_k < n)
                cut_more(l, n_vocab, max, row.temperature, (unsigned int)top_k, 1, 0, &room);
            units = sum_left(l, n_vocab, max, row.temperature, &room);
            if (top_p < 1) {
                cut_more(l, n_vocab, max, row.temperature, 0, top_p, units, &room);
                units = sum_left(l, n_vocab, max, row.temperature, &room);
            }
        }
        for (int32_t i = threadIdx.x; first.id >= 0 && i < n_vocab; i += THREADS) {
            struct best one = { (double)l[i], i };

            if (isnan(l[i]) || i == row.mask_id || i == row.banned_id ||
                filter_key(l[i], i) < room.least)
                continue;
            one.score += __dmul_rn(row.temperature, token_noise(key, i));
            best = better(best, one);
        }
        best = block_best(best, parts);
        if (threadIdx.x == 0) {
            struct pick p = { first.id, 0, all.id >= 0 && all.id == row.mask_id };

            if (best.id >= 0) {
                p.id = best.id;
                p.prob =
                    (float)(__dmul_rn(filter_share_of(l[best.id], max, row.temperature), 0x1p40) /
                            (double)units);
            } else if (first.id < 0) { /* nothing but NaN: the lowest id that may be proposed */
                p.id = 0;
                while (p.id < n_vocab && (p.id == row.mask_id || p.id == row.banned_id))
                    p.id++;
                p.id = p.id < n_vocab ? p.id : -1;
            }
            ret[r] = p;
        }
        __syncthreads(); /* before the next row's */
    }
}

static cudaError_t sample_launch(const float *logits, int n_rows, int n_vocab,
                                 const struct gemm_pick_row *rows, const struct pick_params *p,
                                 struct pick *ret, cudaStream_t stream)
{
    return launch_kernel(sample_kernel, dim3((unsigned)(n_rows < MAX_GRID ? n_rows : MAX_GRID)),
                         THREADS, 0, false, stream, logits, n_rows, n_vocab, rows, p->top_k,
                         p->top_p, ret);
}

cudaError_t pick_launch(const float *logits, int n_rows, int n_vocab,
                        const struct gemm_pick_row *rows, struct pick *ret, bool is_early,
                        cudaStream_t stream)
{
    if (!n_rows)
        return cudaSuccess;
    return launch_kernel(pick_kernel, dim3((unsigned)(n_rows < MAX_GRID ? n_rows : MAX_GRID)),
                         THREADS, 0, is_early, stream, logits, n_rows, n_vocab, rows, ret);
}

enum status cuda_pick(struct kernels *k, const float *logits, int n_rows, int n_vocab,
                      const struct pick_params *p, struct pick *ret, struct error *err)
{
    struct cuda *c = (struct cuda *)k;
    const size_t in = (size_t)n_rows * sizeof(struct gemm_pick_row);
    const size_t out = (size_t)n_rows * sizeof(*ret);
    const void *rows = NULL, *host = NULL;
    struct gemm_pick_row *fill;
    void *dev = NULL;
    enum status st = cuda_room(c, cuda_slot(in) + cuda_slot(out), err);

    if (!st)
        st = cuda_scratch_take(c, out, &dev, err);
    if (st || n_rows == 0)
        return st;
    fill = (struct gemm_pick_row *)(void *)(c->room.host + c->room.used);
    for (int i = 0; i < n_rows; i++) {
        fill[i].temperature = p->temperature;
        fill[i].seed = p->seed;
        fill[i].draw = p->draw;
        fill[i].position = p->temperature > 0 ? p->positions[i] : 0;
        fill[i].mask_id = p->mask_id;
        fill[i].banned_id = p->banned_id;
    }
    st = cuda_put(c, fill, in, &rows, err);
    if (st)
        return st;
    if (p->is_filtered && p->temperature > 0)
        CUDA_TRY(c,
                 sample_launch(logits, n_rows, n_vocab, (const struct gemm_pick_row *)rows, p,
                               (struct pick *)dev, c->stream),
                 err);
    else
        CUDA_TRY(c,
                 pick_launch(logits, n_rows, n_vocab, (const struct gemm_pick_row *)rows,
                             (struct pick *)dev, false, c->stream),
                 err);
    st = cuda_get(c, dev, out, &host, err);
    if (!st)
        st = cuda_deliver(c, ret, host, out, err);
    return st ? st : cuda_sync(k, err);
}
