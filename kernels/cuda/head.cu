/*
 * The head that proposes: gemm.h, gemm_pick_launch().
 *
 * As few_tokens (gemm.cu), but for two things. Sums of a slice end in each token's best row, and in
 * the largest of 16 rows with the sum of the exponentials of all below it, which goes to memory; a
 * second kernel puts these together in the order of slices, and posts what it comes to to the host
 * (mailbox.h). All else that the host is owed it delivers meanwhile.
 *
 * And slices are dealt while the kernel runs: some multiprocessors read a tenth slower than others,
 * and with a share that is fixed the whole would take as long as they do. A block begins with
 * slices of its own; one thread then takes number after number from a counter, an iteration ahead
 * of when it is fetched. Who had a slice is in no result: the best row is the best in any order.
 */
#include "kernels/cuda/gemm.h"

#include "kernels/cuda/few.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/mailbox.cuh"
#include "kernels/cuda/pick_state.cuh"

#define MAX_BLOCKS 256
#define AHEAD (FEW_RING + 1) /* slices that a block knows the numbers of */
#define N_NUMBERS 8          /* of slices at hand; a power of two of at least AHEAD + 2 */
#define TILE_SLICES (PACK_ROWS / PACK_SLICE_ROWS)

/* Memory of gemm_pick_bytes(). */
struct head_work {
    int *n_taken;              /* slices beyond each block's first AHEAD; 0 between launches */
    struct pick_state *bests;  /* (FEW_TOKENS, MAX_BLOCKS), without sums */
    float *maxima;             /* (FEW_TOKENS, MAX_BLOCKS) of bests; -infinity: none */
    struct pick_slice *slices; /* (FEW_TOKENS, n_slices) */
};

static int count_slices(int n_vocab)
{
    return (n_vocab + PACK_SLICE_ROWS - 1) / PACK_SLICE_ROWS;
}

/* Grid: any number of blocks up to MAX_BLOCKS. k_tiles <= SLICE_WARPS, n_tok <= 8 NT. */
template <int NT>
static __global__ void __launch_bounds__(FEW_THREADS, 1)
    head_kernel(const __grid_constant__ struct gemm_args a, int n_slices, int k_tiles,
                const struct gemm_pick_row *rows, const struct head_work work)
{
    extern __shared__ __align__(128) char smem[];
    __shared__ int numbers[N_NUMBERS]; /* of the slice of iteration i: i % N_NUMBERS */
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = threadIdx.x % 16;
    char *ring = smem + warp * FEW_RING * PACK_SLICE_BYTES;
    float *sums = (float *)(smem + SLICE_WARPS * FEW_RING * PACK_SLICE_BYTES);
    uint64_t *full = (uint64_t *)(sums + 2 * few_sums(NT)) + warp * FEW_RING;
    const bool is_active = warp < k_tiles;
    const uint64_t policy = policy_evict_first();
    const char *const w = (const char *)a.parts[0].w;
    struct pick_state state[(NT + 1) / 2]; /* of token threadIdx.x / 16 + 16 i, row x % 16 */
    uint4 b[8][NT];

    auto fetch = [&](int slot, int slice) {
        few_fetch(ring + slot * PACK_SLICE_BYTES,
                  w + (size_t)(slice / TILE_SLICES) * k_tiles * PACK_TILE_BYTES +
                      slice % TILE_SLICES * PACK_SLICE_BYTES,
                  warp, &full[slot], policy);
    };

#pragma unroll
    for (int i = 0; i < (NT + 1) / 2; i++)
        state[i] = pick_none();
    if (lane == 0) {
        for (int i = 0; i < FEW_RING; i++)
            barrier_init(&full[i], 1);
        barrier_init_fence();
        for (int i = 0; i < FEW_RING && is_active; i++) {
            const int slice = blockIdx.x + i * gridDim.x;

            if (slice < n_slices)
                fetch(i, slice);
        }
    }
    if (threadIdx.x < AHEAD)
        numbers[threadIdx.x] = blockIdx.x + threadIdx.x * gridDim.x;
    __syncthreads();
    grid_wait();
    grid_release(); /* all before is complete: struct mailbox_delivery */
    few_activations<NT>(a, k_tiles, warp, lane, b);
    for (int i = 0;; i++) {
        const int slice = numbers[i % N_NUMBERS], slot = i % FEW_RING;
        float *red = sums + (i & 1) * few_sums(NT);
        int taken = 0;

        if (slice >= n_slices)
            break;
        if (threadIdx.x == FEW_THREADS - 1) /* it is there before the products are */
            taken = atomicAdd(work.n_taken, 1);
        if (is_active) {
            const int next = numbers[(i + FEW_RING) % N_NUMBERS];
            float acc[NT][4];

            barrier_wait(&full[slot], i / FEW_RING & 1);
            slice_multiply((const uint4 *)(ring + slot * PACK_SLICE_BYTES) + lane, b, acc);
            __syncwarp(); /* all lanes have read the piece */
            if (lane == 0 && next < n_slices)
                fetch(slot, next);
            slice_store(red + warp * slice_sums(NT), acc);
        }
        if (threadIdx.x == FEW_THREADS - 1)
            numbers[(i + AHEAD) % N_NUMBERS] = AHEAD * gridDim.x + taken;
        __syncthreads();
#pragma unroll
        for (int j = 0; j < (NT + 1) / 2; j++) {
            const int t = threadIdx.x / 16 + j * 16, id = slice * PACK_SLICE_ROWS + row;
            const float v = t < a.n_tok ? slice_sum<NT>(red, k_tiles, t, row) : 0;
            const bool is_number = t < a.n_tok && id < a.parts[0].rows && !isnan(v);
            const struct pick_slice s = pick_sum_slice(v, is_number);

            if (row == 0 && t < a.n_tok)
                work.slices[(size_t)t * n_slices + slice] = s;
            if (is_number) {
                if (state[j].max_id < 0 || v > state[j].max ||
                    (v == state[j].max && id < state[j].max_id)) {
                    state[j].max = v;
                    state[j].max_id = id;
                }
                pick_try(&state[j], v, id, rows[t]);
            }
        } /* sums are written again two slices later, after the next __syncthreads() */
    }
#pragma unroll
    for (int j = 0; j < (NT + 1) / 2; j++) {
        const int t = threadIdx.x / 16 + j * 16;

        for (int mask = 8; mask; mask /= 2)
            state[j] = pick_join_best(state[j], pick_of_lane(state[j], mask));
        if (row == 0 && t < a.n_tok) {
            work.bests[t * MAX_BLOCKS + blockIdx.x] = state[j];
            work.maxima[t * MAX_BLOCKS + blockIdx.x] =
                state[j].max_id < 0 ? -INFINITY : state[j].max;
        }
    }
}

#define JOIN_BESTS 128 /* threads that look at bests */
#define JOIN_THREADS (PICK_JOIN_THREADS + JOIN_BESTS)
#define MAX_COPY 32    /* blocks that deliver, at most */
#define JOIN_BARRIER 1 /* of the threads that look at bests */

struct join_shared {
    struct pick_state bests[JOIN_BESTS / 32];
    double share; /* of the best of bests, which is the first one then */
    double sums[JOIN_THREADS / 32];
};

/* The largest logit of a token, of what blocks have. A warp. */
static __device__ __forceinline__ float join_max(const float *maxima, int n_blocks)
{
    float v[MAX_BLOCKS / 32], max = -INFINITY;

#pragma unroll
    for (int k = 0; k < MAX_BLOCKS / 32; k++) {
        const int i = k * 32 + threadIdx.x % 32;

        v[k] = i < n_blocks ? __ldcg(maxima + i) : -INFINITY;
    }
#pragma unroll
    for (int k = 0; k < MAX_BLOCKS / 32; k++)
        max = fmaxf(max, v[k]);
#pragma unroll
    for (int mask = 16; mask; mask /= 2)
        max = fmaxf(max, __shfl_xor_sync(~0u, max, mask));
    return max;
}

/* A thread's part of the softmax's sum, in the order of pick_state.cuh. PICK_JOIN_THREADS. */
static __device__ __forceinline__ double join_sum(const struct pick_slice *slices, int n_slices,
                                                  const float *maxima, int n_blocks)
{
    enum { AT_ONCE = 20 }; /* slices under way for each thread: all of the usual vocabularies */
    const struct pick_slice none = { -INFINITY, 0 };
    struct pick_slice mine[AT_ONCE];
    double sum = 0;
    float max;

    auto load = [&](int first) {
#pragma unroll
        for (int k = 0; k < AT_ONCE; k++) {
            const int i = first + k * PICK_JOIN_THREADS + threadIdx.x;

            mine[k] = i < n_slices ? slices[i] : none;
        }
    };

    load(0);
    max = join_max(maxima, n_blocks);
    for (int first = 0;;) {
#pragma unroll
        for (int k = 0; k < AT_ONCE; k++)
            sum = pick_add_slice(sum, mine[k], max);
        first += AT_ONCE * PICK_JOIN_THREADS;
        if (first >= n_slices)
            break;
        load(first);
    }
    return sum;
}

/* The best of the blocks' bests, and its part of the sum, to s->bests[0] and s->share. The
 * JOIN_BESTS threads behind the others. */
static __device__ __forceinline__ void join_best(const struct pick_state *bests, int n_blocks,
                                                 struct join_shared *s)
{
    const int first = threadIdx.x - PICK_JOIN_THREADS;
    struct pick_state best = pick_none();

#pragma unroll
    for (int k = 0; k < MAX_BLOCKS / JOIN_BESTS; k++) {
        const int i = first + k * JOIN_BESTS;

        if (i < n_blocks)
            best = pick_join_best(best, bests[i]);
    }
    for (int mask = 16; mask; mask /= 2)
        best = pick_join_best(best, pick_of_lane(best, mask));
    if (first % 32 == 0)
        s->bests[first / 32] = best;
    named_barrier(JOIN_BARRIER, JOIN_BESTS);
    if (first)
        return;
    for (int k = 1; k < JOIN_BESTS / 32; k++)
        best = pick_join_best(best, s->bests[k]);
    s->bests[0] = best;
    s->share = pick_best_share(best);
}

/*
 * A block a token: what n_blocks blocks and all slices say of it. Blocks from n_tok on deliver what
 * is more, which needs no wait: they start once every block of the kernel ahead has waited.
 */
static __global__ void __launch_bounds__(JOIN_THREADS)
    head_join(const struct head_work work, int n_blocks, int n_slices, int n_vocab, int n_tok,
              const struct gemm_pick_row *rows,
              const __grid_constant__ struct mailbox_delivery more, struct mailbox_pick *ret)
{
    __shared__ struct join_shared s;
    const int t = blockIdx.x;

    grid_release();
    if (t >= n_tok) {
        mailbox_copy(more, t - n_tok, gridDim.x - n_tok);
        grid_wait();
        return;
    }

    const struct gemm_pick_row row = rows[t];
    const uint32_t number = *more.number;
    double sum = 0;

    grid_wait();
    if (threadIdx.x < PICK_JOIN_THREADS)
        sum = join_sum(work.slices + (size_t)t * n_slices, n_slices, work.maxima + t * MAX_BLOCKS,
                       n_blocks);
    else
        join_best(work.bests + t * MAX_BLOCKS, n_blocks, &s);
    if (t == 0 && threadIdx.x == 0)
        *work.n_taken = 0;
    sum = pick_sum_block(sum, s.sums);
    if (threadIdx.x == 0) {
        struct pick_state best = s.bests[0];

        best.sum = sum;
        mailbox_put(&ret[t], number, pick_of(best, s.share, n_vocab, row));
    }
}

bool gemm_pick_fits(int n_tok, int cols)
{
    return n_tok <= FEW_TOKENS && pack_k_tiles(cols) <= SLICE_WARPS;
}

/* Bytes of head_work; ret may be NULL. */
static size_t place_work(void *at, int n_vocab, struct head_work *ret)
{
    const size_t bests = 256, maxima = bests + MAX_BLOCKS * FEW_TOKENS * sizeof(struct pick_state);
    const size_t slices = maxima + MAX_BLOCKS * FEW_TOKENS * sizeof(float);
    char *p = (char *)at;

    if (ret) {
        ret->n_taken = (int *)p;
        ret->bests = (struct pick_state *)(p + bests);
        ret->maxima = (float *)(p + maxima);
        ret->slices = (struct pick_slice *)(p + slices);
    }
    return slices + (size_t)FEW_TOKENS * count_slices(n_vocab) * sizeof(struct pick_slice);
}

size_t gemm_pick_bytes(int n_vocab)
{
    return place_work(NULL, n_vocab, NULL);
}

template <int NT>
static cudaError_t launch(const struct gemm_args *a, int n_blocks, const struct gemm_pick_row *rows,
                          const struct head_work *work, bool is_early, cudaStream_t stream)
{
    cudaError_t rc = allow_shared(head_kernel<NT>, few_bytes(NT));

    if (rc != cudaSuccess)
        return rc;
    return launch_kernel(head_kernel<NT>, dim3(n_blocks), FEW_THREADS, few_bytes(NT), is_early,
                         stream, *a, count_slices(a->parts[0].rows), (int)pack_k_tiles(a->cols),
                         rows, *work);
}

cudaError_t gemm_pick_launch(const struct gemm_args *a, const struct gemm_pick_row *rows,
                             void *work, const struct mailbox_delivery *more,
                             struct mailbox_pick *ret, bool is_early, cudaStream_t stream)
{
    const int n_slices = count_slices(a->parts[0].rows);
    const size_t a_block = JOIN_THREADS * MAILBOX_ALIGN; /* bytes that it copies at once */
    struct head_work w;
    int n_blocks = 0, n_copy = (int)min((more->bytes + a_block - 1) / a_block, (size_t)MAX_COPY);
    cudaError_t rc = count_sms(&n_blocks);

    if (rc != cudaSuccess || !a->n_tok)
        return rc;
    if (!gemm_pick_fits(a->n_tok, a->cols))
        return cudaErrorInvalidValue;
    place_work(work, a->parts[0].rows, &w);
    n_blocks = min(min(n_blocks, MAX_BLOCKS), n_slices);
    n_copy = max(n_copy, 1);
    rc = a->n_tok <= 8    ? launch<1>(a, n_blocks, rows, &w, is_early, stream)
         : a->n_tok <= 16 ? launch<2>(a, n_blocks, rows, &w, is_early, stream)
                          : launch<4>(a, n_blocks, rows, &w, is_early, stream);
    if (rc != cudaSuccess)
        return rc;
    return launch_kernel(head_join, dim3(a->n_tok + n_copy), JOIN_THREADS, 0, true, stream, w,
                         n_blocks, n_slices, a->parts[0].rows, a->n_tok, rows, *more, ret);
}
