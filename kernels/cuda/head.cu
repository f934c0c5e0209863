/*
 * The head that proposes: gemm.h, gemm_pick_launch().
 *
 * As few_tokens (gemm.cu), but for two things. Sums of a slice end in each token's best row, and in
 * the largest of 16 rows with the sum of the exponentials of all below it, which goes to memory; a
 * second kernel puts these together in the order of slices.
 *
 * And slices are dealt while the kernel runs: some multiprocessors read a tenth slower than others,
 * and with a share that is fixed the whole would take as long as they do. A block begins with
 * slices of its own; one thread then takes number after number from a counter, an iteration ahead
 * of when it is fetched. Who had a slice is in no result: the best row is the best in any order.
 */
#include "kernels/cuda/gemm.h"

#include "kernels/cuda/few.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/pick_state.cuh"

#define MAX_BLOCKS 256
#define AHEAD (FEW_RING + 1) /* slices that a block knows the numbers of */
#define N_NUMBERS 8          /* of slices at hand; a power of two of at least AHEAD + 2 */
#define TILE_SLICES (PACK_ROWS / PACK_SLICE_ROWS)

/* Memory of gemm_pick_bytes(). */
struct head_work {
    int *n_taken;              /* slices beyond each block's first AHEAD; 0 between launches */
    struct pick_state *bests;  /* (MAX_BLOCKS, FEW_TOKENS), without sums */
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
    grid_release();
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
        if (row == 0 && t < a.n_tok)
            work.bests[blockIdx.x * FEW_TOKENS + t] = state[j];
    }
}

/* A block a token: what n_blocks blocks and all slices say of it, in the order of pick_state.cuh.
 */
static __global__ void __launch_bounds__(PICK_JOIN_THREADS)
    head_join(const struct head_work work, int n_blocks, int n_slices, int n_vocab,
              const struct gemm_pick_row *rows, struct pick *ret)
{
    enum { AT_ONCE = 20 }; /* slices under way for each thread: all of the usual vocabularies */
    __shared__ struct pick_state bests[MAX_BLOCKS / 32];
    __shared__ double sums[PICK_JOIN_WARPS];
    const int t = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const struct pick_slice *slices = work.slices + (size_t)t * n_slices;
    const struct pick_slice none = { -INFINITY, 0 };
    struct pick_slice mine[AT_ONCE];
    struct pick_state s = pick_none();
    double sum = 0;

    auto load = [&](int first) {
#pragma unroll
        for (int k = 0; k < AT_ONCE; k++) {
            const int i = first + k * PICK_JOIN_THREADS + threadIdx.x;

            mine[k] = i < n_slices ? slices[i] : none;
        }
    };

    grid_release();
    grid_wait();
    if (threadIdx.x < n_blocks)
        s = work.bests[threadIdx.x * FEW_TOKENS + t];
    load(0);
    if (t == 0 && threadIdx.x == 0)
        *work.n_taken = 0;
    if (warp < MAX_BLOCKS / 32) {
        for (int mask = 16; mask; mask /= 2)
            s = pick_join_best(s, pick_of_lane(s, mask));
        if (lane == 0)
            bests[warp] = s;
    }
    __syncthreads();
    s = bests[0];
    for (int i = 1; i * 32 < n_blocks; i++)
        s = pick_join_best(s, bests[i]);
    for (int first = 0;;) {
#pragma unroll
        for (int k = 0; k < AT_ONCE; k++)
            sum = pick_add_slice(sum, mine[k], s.max);
        first += AT_ONCE * PICK_JOIN_THREADS;
        if (first >= n_slices)
            break;
        load(first);
    }
    s.sum = pick_sum_block(sum, sums);
    if (threadIdx.x == 0)
        ret[t] = pick_of(s, n_vocab, rows[t]);
}

bool gemm_pick_fits(int n_tok, int cols)
{
    return n_tok <= FEW_TOKENS && pack_k_tiles(cols) <= SLICE_WARPS;
}

/* Bytes of head_work; ret may be NULL. */
static size_t place_work(void *at, int n_vocab, struct head_work *ret)
{
    const size_t bests = 256, slices = bests + MAX_BLOCKS * FEW_TOKENS * sizeof(struct pick_state);
    char *p = (char *)at;

    if (ret) {
        ret->n_taken = (int *)p;
        ret->bests = (struct pick_state *)(p + bests);
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
                             void *work, struct pick *ret, bool is_early, cudaStream_t stream)
{
    const int n_slices = count_slices(a->parts[0].rows);
    struct head_work w;
    int n_blocks = 0;
    cudaError_t rc = count_sms(&n_blocks);

    static_assert(MAX_BLOCKS <= PICK_JOIN_THREADS, "a thread a block");
    if (rc != cudaSuccess || !a->n_tok)
        return rc;
    if (!gemm_pick_fits(a->n_tok, a->cols))
        return cudaErrorInvalidValue;
    place_work(work, a->parts[0].rows, &w);
    n_blocks = min(min(n_blocks, MAX_BLOCKS), n_slices);
    rc = a->n_tok <= 8    ? launch<1>(a, n_blocks, rows, &w, is_early, stream)
         : a->n_tok <= 16 ? launch<2>(a, n_blocks, rows, &w, is_early, stream)
                          : launch<4>(a, n_blocks, rows, &w, is_early, stream);
    if (rc != cudaSuccess)
        return rc;
    return launch_kernel(head_join, dim3(a->n_tok), PICK_JOIN_THREADS, 0, true, stream, w, n_blocks,
                         n_slices, a->parts[0].rows, rows, ret);
}
