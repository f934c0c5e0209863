/*
 * The experts of a layer in one kernel: moe.h.
 *
 * A unit of work is up to R row tiles of one expert's matrix, with all their columns, for a chunk
 * of up to CHUNK of its pairs. Units are numbered: first all of gate/up, expert after expert, then
 * all of down; block b takes units b, b + grid, ... Each weight tile is fetched by a unit once, so
 * it is read once but for experts with more pairs than a chunk, whose units follow each other.
 *
 *      fetch weights      ring of tiles, 32 KB each    ]
 *      fetch activations  ring of rows' stretches      ] -> 8 warps multiply -> h or results, count
 *
 * Down units need h of their expert from all blocks: each block counts the units it has stored in
 * work.ready of the expert, and whoever fetches h waits for that count. Weights wait for nobody:
 * their stream runs on over the ends of units and from gate/up to down, and because all of the
 * first come before any of the second, what is waited for was long done in all but the smallest
 * layers. All blocks have to be resident for that: one an SM. Counting has a warp of its own, since
 * a fence takes microseconds while memory is busy.
 *
 * Where a layer has few tokens, the block that stores the last results for a row tile of y (counted
 * in work.ready, too) sums them when its units are done; else a second kernel does. The sums and
 * their order are the same.
 *
 * A stage of activations is CHUNK rows of 512 bytes (PACK_K columns). Warp w multiplies slice w % 4
 * of each tile by octets w / 4, w / 4 + 2, ... of the chunk's pairs.
 */
#include "kernels/cuda/moe.h"

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/sm90.cuh"

/* Warps that multiply; then one each that fetches weights, fetches activations, counts. */
#define N_MULTIPLY 8
#define WARP_WEIGHTS N_MULTIPLY
#define WARP_ROWS (N_MULTIPLY + 1)
#define WARP_COUNT (N_MULTIPLY + 2)
#define THREADS ((N_MULTIPLY + 3) * 32)

#define SLICES (PACK_ROWS / PACK_SLICE_ROWS)
/* Of an activation row's stretch in shared memory: the 4 lanes of a row and those of the next row
 * read different banks. */
#define ROW_BYTES (PACK_K * 2 + 64)
/* More weights under way make activations wait: with 5 tiles a layer takes 3 to 5 us longer. */
#define WEIGHT_STAGES 2
#define ROW_STAGES 3      /* at most */
#define UNITS_STORED 2    /* units of a block that may be stored and not counted yet */
#define SUMMED_TOKENS 128 /* up to so many, and slots, the last block sums */
#define SUMMED_SLOTS 1024
#define ALIGN 128

/* A product of the layer. */
struct product {
    const char *weights; /* packed, expert after expert */
    size_t expert_bytes;
    int row_tiles, k_tiles;
    const uint16_t *rows; /* activations, of k_tiles * PACK_K */
};

struct kernel_args {
    struct moe_args moe;
    struct product gate_up, down;
    int row_stages;
    int h_row; /* elements */
    bool is_summed;
};

/* One unit: tiles [row_tile, row_tile + n_tiles) for pairs [pair, pair + n_pairs) of an expert. */
struct unit {
    bool is_down;
    int active; /* which of the active experts */
    int row_tile, n_tiles, pair, n_pairs;
};

/* Head of the shared memory; the rings follow. */
struct shared {
    uint64_t weights_full[WEIGHT_STAGES], weights_empty[WEIGHT_STAGES];
    uint64_t rows_full[ROW_STAGES], rows_empty[ROW_STAGES];
    uint64_t stored[UNITS_STORED], counted[UNITS_STORED];
    int n_active, n_chunks; /* n_chunks: of all experts */
    uint32_t *ready;        /* this launch's counts: of active experts, of row tiles */
    uint32_t *old_ready;
    int n_to_sum;                  /* row tiles that this block has to sum: to_sum */
    int token_pairs[SUMMED_SLOTS]; /* where the last block sums */
    float pair_weights[SUMMED_SLOTS];
    int lists[1]; /* experts (n_exp), offsets (n_exp + 1), first_chunk (n_exp + 1), to_sum (row
                   * tiles of down) */
};

static __host__ __device__ size_t head_bytes(const struct kernel_args &a)
{
    const size_t n_ints = 3 * (size_t)a.moe.weights.n_exp + 2 + (size_t)a.down.row_tiles;

    return (sizeof(struct shared) + n_ints * sizeof(int) + ALIGN - 1) / ALIGN * ALIGN;
}

static __device__ __forceinline__ void barrier_arrive(uint64_t *b)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_addr(b)) : "memory");
}

static __device__ __forceinline__ uint32_t load_acquire(const uint32_t *p)
{
    uint32_t ret;

    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(ret) : "l"(p) : "memory");
    return ret;
}

static __device__ __forceinline__ uint32_t add_acq_rel(uint32_t *p, uint32_t v)
{
    uint32_t ret;

    asm volatile("atom.acq_rel.gpu.global.add.u32 %0, [%1], %2;"
                 : "=r"(ret)
                 : "l"(p), "r"(v)
                 : "memory");
    return ret;
}

/* The lane arrives once its async_copy16() so far are done. */
static __device__ __forceinline__ void arrive_when_copied(uint64_t *b)
{
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(shared_addr(b))
                 : "memory");
}

static __device__ __forceinline__ uint16_t swiglu(float gate, float up)
{
    return (uint16_t)pack_bf16(gate / (1 + expf(-gate)) * up, 0);
}

/* ---- units -------------------------------------------------------------------------------- */

/* Where a block is in its units. */
struct walk {
    int unit;   /* the next one */
    int active; /* its expert is this one or a later one */
};

static __device__ __forceinline__ const int *list_offsets(const struct kernel_args &a,
                                                          const struct shared *s)
{
    return s->lists + a.moe.weights.n_exp;
}

static __device__ __forceinline__ const int *list_first_chunk(const struct kernel_args &a,
                                                              const struct shared *s)
{
    return s->lists + 2 * a.moe.weights.n_exp + 1;
}

static __device__ __forceinline__ int *list_to_sum(const struct kernel_args &a, struct shared *s)
{
    return s->lists + 3 * a.moe.weights.n_exp + 2;
}

/* Row tiles in groups of R, rounded up. */
template <int R> static __device__ __forceinline__ int n_groups(const struct product &p)
{
    return (p.row_tiles + R - 1) / R;
}

/* The block's next unit; false after the last. */
template <int CHUNK, int R>
static __device__ __forceinline__ bool
next_unit(const struct kernel_args &a, const struct shared *s, struct walk *w, struct unit *ret)
{
    const int *offsets = list_offsets(a, s), *first_chunk = list_first_chunk(a, s);
    const int n_gate_up = s->n_chunks * n_groups<R>(a.gate_up);
    const bool is_down = w->unit >= n_gate_up;
    const int groups = is_down ? n_groups<R>(a.down) : n_groups<R>(a.gate_up);
    int i = is_down ? w->unit - n_gate_up : w->unit, chunks, chunk;

    if (i >= s->n_chunks * groups)
        return false;
    if (is_down && w->unit - (int)gridDim.x < n_gate_up)
        w->active = 0;
    while (i >= first_chunk[w->active + 1] * groups)
        w->active++;
    i -= first_chunk[w->active] * groups;
    chunks = first_chunk[w->active + 1] - first_chunk[w->active];
    chunk = i % chunks;
    ret->is_down = is_down;
    ret->active = w->active;
    ret->row_tile = i / chunks * R;
    ret->n_tiles = min(R, (is_down ? a.down.row_tiles : a.gate_up.row_tiles) - ret->row_tile);
    ret->pair = offsets[w->active] + chunk * CHUNK;
    ret->n_pairs = min(CHUNK, offsets[w->active + 1] - ret->pair);
    w->unit += gridDim.x;
    return true;
}

/* Counts in ready[] of an expert once its h is complete. */
template <int R>
static __device__ __forceinline__ uint32_t n_ready(const struct kernel_args &a,
                                                   const struct shared *s, int active)
{
    const int *first_chunk = list_first_chunk(a, s);

    return (uint32_t)((first_chunk[active + 1] - first_chunk[active]) * n_groups<R>(a.gate_up));
}

/* The list goes to shared memory. All threads. */
template <int CHUNK> static __device__ void read_list(const struct kernel_args &a, struct shared *s)
{
    const int n_exp = a.moe.weights.n_exp, lane = threadIdx.x % 32;
    int *experts = s->lists, *offsets = experts + n_exp, *first = offsets + n_exp + 1;

    for (int i = threadIdx.x; i < n_exp; i += THREADS)
        experts[i] = __ldcg(a.moe.list.experts + i);
    for (int i = threadIdx.x; i <= n_exp; i += THREADS) {
        offsets[i] = __ldcg(a.moe.list.offsets + i);
        first[i] = i; /* where an expert cannot have more than a chunk */
    }
    if (threadIdx.x == 0)
        s->n_active = s->n_chunks = __ldcg(a.moe.list.n_active);
    for (int i = threadIdx.x; a.is_summed && i < a.moe.n_tok * a.moe.top_k; i += THREADS) {
        s->token_pairs[i] = __ldcg(a.moe.list.token_pairs + i);
        s->pair_weights[i] = __ldcg(a.moe.list.weights + i);
    }
    __syncthreads();
    if (a.moe.n_tok <= CHUNK)
        return;
    if (threadIdx.x < 32) {
        const int n = s->n_active, each = (n + 31) / 32, to = min(n, (lane + 1) * each);
        int sum = 0, at;

        for (int i = lane * each; i < to; i++)
            sum += (offsets[i + 1] - offsets[i] + CHUNK - 1) / CHUNK;
        at = sum;
        for (int d = 1; d < 32; d *= 2) {
            int below = __shfl_up_sync(~0u, at, d);

            if (lane >= d)
                at += below;
        }
        if (lane == 31) {
            s->n_chunks = at;
            first[n] = at;
        }
        at -= sum;
        for (int i = lane * each; i < to; i++) {
            first[i] = at;
            at += (offsets[i + 1] - offsets[i] + CHUNK - 1) / CHUNK;
        }
    }
    __syncthreads();
}

/* ---- fetching ----------------------------------------------------------------------------- */

/* One lane. */
template <int CHUNK, int R>
static __device__ void fetch_weights(const struct kernel_args &a, struct shared *s, char *ring)
{
    const uint64_t policy = policy_evict_first();
    struct walk walk = { (int)blockIdx.x, 0 };
    struct unit u;
    int slot = 0;
    uint32_t turn = 1;

    while (next_unit<CHUNK, R>(a, s, &walk, &u)) {
        const struct product &p = u.is_down ? a.down : a.gate_up;
        const char *w = p.weights + s->lists[u.active] * p.expert_bytes +
                        (size_t)u.row_tile * p.k_tiles * PACK_TILE_BYTES;

        for (int k = 0; k < p.k_tiles; k++)
            for (int r = 0; r < u.n_tiles; r++) {
                barrier_wait(&s->weights_empty[slot], turn);
                barrier_expect(&s->weights_full[slot], PACK_TILE_BYTES);
                bulk_copy(ring + slot * PACK_TILE_BYTES,
                          w + (size_t)(r * p.k_tiles + k) * PACK_TILE_BYTES, PACK_TILE_BYTES,
                          &s->weights_full[slot], policy);
                if (++slot == WEIGHT_STAGES) {
                    slot = 0;
                    turn ^= 1;
                }
            }
    }
}

/* One warp: a row's stretch is 16 bytes of each lane. (Bulk copies of 512 bytes take too long
 * each.) */
template <int CHUNK, int R>
static __device__ void fetch_rows(const struct kernel_args &a, struct shared *s, char *ring)
{
    const int lane = threadIdx.x % 32;
    struct walk walk = { (int)blockIdx.x, 0 };
    struct unit u;
    int slot = 0, known = -1; /* known: the last expert whose h is complete */
    uint32_t turn = 1;

    while (next_unit<CHUNK, R>(a, s, &walk, &u)) {
        const struct product &p = u.is_down ? a.down : a.gate_up;
        const size_t row = (size_t)p.k_tiles * PACK_K;
        int rows[CHUNK / 32]; /* of pairs lane, 32 + lane, ... */

#pragma unroll
        for (int i = 0; i < CHUNK / 32; i++) {
            const int at = u.pair + min(i * 32 + lane, u.n_pairs - 1);

            rows[i] = u.is_down ? at : __ldcg(a.moe.list.tokens + at);
        }
        if (u.is_down && u.active != known) {
            known = u.active;
            while (load_acquire(s->ready + known) != n_ready<R>(a, s, known)) {
            }
        }
        for (int k = 0; k < p.k_tiles; k++) {
            char *to = ring + slot * (CHUNK * ROW_BYTES) + lane * 16;
            const uint16_t *from = p.rows + k * PACK_K + lane * 8;

            barrier_wait(&s->rows_empty[slot], turn);
#pragma unroll
            for (int i = 0; i < CHUNK / 32; i++) {
                const int n = min(32, u.n_pairs - i * 32);

#pragma unroll 8
                for (int j = 0; j < n; j++)
                    async_copy16(to + (i * 32 + j) * ROW_BYTES,
                                 from + row * __shfl_sync(~0u, rows[i], j), true);
            }
            arrive_when_copied(&s->rows_full[slot]);
            if (++slot == a.row_stages) {
                slot = 0;
                turn ^= 1;
            }
        }
    }
}

/* ---- multiplying -------------------------------------------------------------------------- */

/* sum[n] += one stretch of a slice times the warp's first N octets. */
template <int N>
static __device__ __forceinline__ void multiply_stretch(const char *slice, const char *rows,
                                                        float (*sum)[4])
{
    const int lane = threadIdx.x % 32;
    const uint4 *w = (const uint4 *)slice + lane;
    const char *x = rows + lane / 4 * ROW_BYTES + lane % 4 * 16;
    float c[N][4] = {};

#pragma unroll 4
    for (int p = 0; p < PACK_K / 32; p++) {
        const uint4 a0 = w[p * 64], a1 = w[p * 64 + 32];

#pragma unroll
        for (int n = 0; n < N; n++) {
            const uint4 b = *(const uint4 *)(x + n * 16 * ROW_BYTES + p * 64);

            mma_bf16(c[n], a0, b.x, b.y);
            mma_bf16(c[n], a1, b.z, b.w);
        }
    }
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            sum[n][i] += c[n][i];
}

/* The same for n octets, n <= N, known at run time. */
template <int N>
static __device__ __forceinline__ void multiply_octets(int n, const char *slice, const char *rows,
                                                       float (*sum)[4])
{
    if constexpr (N > 1) {
        if (n < N) {
            multiply_octets<N - 1>(n, slice, rows, sum);
            return;
        }
    } else if (n < 1) {
        return;
    }
    multiply_stretch<N>(slice, rows, sum);
}

/* Sums c of lane (g, t): rows g and g + 8 of the slice, pairs 2 t and 2 t + 1 of the octet. */
static __device__ __forceinline__ void store_octet(const struct kernel_args &a, bool is_down,
                                                   int slice, int pair, int n_pairs,
                                                   const float c[4])
{
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;

#pragma unroll
    for (int i = 0; i < 2; i++) {
        const int at = 2 * t + i;

        if (at >= n_pairs)
            break;
        if (is_down) {
            const int d_model = a.moe.weights.d_model, row = slice * PACK_SLICE_ROWS + g;
            float *y = a.moe.work.results + (size_t)(pair + at) * d_model + row;

            if (row < d_model)
                __stcg(y, c[i]);
            if (row + 8 < d_model)
                __stcg(y + 8, c[2 + i]);
        } else {
            const int col = slice * 8 + g;

            if (col < a.moe.weights.d_ff)
                a.moe.work.h[(size_t)(pair + at) * a.h_row + col] = swiglu(c[i], c[2 + i]);
        }
    }
}

/* y of a slice's 16 columns for every second octet of tokens: 4 lanes a token. */
static __device__ void sum_slice(const struct kernel_args &a, const struct shared *s, int slice,
                                 int half)
{
    const int d_model = a.moe.weights.d_model, lane = threadIdx.x % 32, top_k = a.moe.top_k;
    const size_t col = slice * PACK_SLICE_ROWS + lane % 4 * 4;

    if (col >= d_model)
        return;
#pragma unroll 2
    for (int t = half * 8 + lane / 4; t < a.moe.n_tok; t += 16) {
        const size_t at = t * (size_t)d_model + col;
        float4 sum = make_float4(0, 0, 0, 0);

#pragma unroll 8
        for (int i = 0; i < top_k; i++) {
            const int pair = s->token_pairs[t * top_k + i];

            if (pair >= 0) {
                const float w = s->pair_weights[pair];
                const float4 v =
                    __ldcg((const float4 *)(a.moe.work.results + (size_t)pair * d_model + col));

                sum.x = fmaf(w, v.x, sum.x);
                sum.y = fmaf(w, v.y, sum.y);
                sum.z = fmaf(w, v.z, sum.z);
                sum.w = fmaf(w, v.w, sum.w);
            }
        }
        if (a.moe.residual) {
            const float4 r = *(const float4 *)(a.moe.residual + at);

            sum = make_float4(r.x + sum.x, r.y + sum.y, r.z + sum.z, r.w + sum.w);
        }
        *(float4 *)(a.moe.y + at) = sum;
    }
}

/* Count what the block has stored. One lane. */
template <int CHUNK, int R>
static __device__ void count_units(const struct kernel_args &a, struct shared *s)
{
    struct walk walk = { (int)blockIdx.x, 0 };
    struct unit u;
    int n_to_sum = 0, n = 0;

    for (; next_unit<CHUNK, R>(a, s, &walk, &u); n++) {
        barrier_wait(&s->stored[n % UNITS_STORED], n / UNITS_STORED & 1);
        if (!u.is_down) {
            (void)add_acq_rel(s->ready + u.active, 1);
        } else if (a.is_summed) {
            for (int r = 0; r < u.n_tiles; r++)
                if (add_acq_rel(s->ready + a.moe.weights.n_exp + u.row_tile + r, 1) ==
                    (uint32_t)s->n_chunks - 1)
                    list_to_sum(a, s)[n_to_sum++] = u.row_tile + r;
        }
        barrier_arrive(&s->counted[n % UNITS_STORED]);
    }
    s->n_to_sum = n_to_sum;
}

/* The row tiles whose last results this block has stored. All threads. */
static __device__ void sum_last(const struct kernel_args &a, struct shared *s)
{
    const int warp = threadIdx.x / 32;

    __syncthreads();
    for (int i = 0; i < s->n_to_sum && warp < N_MULTIPLY; i++)
        sum_slice(a, s, list_to_sum(a, s)[i] * SLICES + warp % SLICES, warp / SLICES);
}

/* Eight warps. */
template <int CHUNK, int R>
static __device__ void multiply_units(const struct kernel_args &a, struct shared *s,
                                      const char *weights, const char *rows)
{
    enum { OCTETS = CHUNK / 16, AT_ONCE = OCTETS < 4 ? OCTETS : 4 };
    const int warp = threadIdx.x / 32, half = warp / SLICES, lane = threadIdx.x % 32;
    const char *my_weights = weights + warp % SLICES * PACK_SLICE_BYTES;
    const char *my_rows = rows + half * 8 * ROW_BYTES;
    struct walk walk = { (int)blockIdx.x, 0 };
    struct unit u;
    int weight_slot = 0, row_slot = 0;
    uint32_t weight_turn = 0, row_turn = 0;

    for (int n_units = 0; next_unit<CHUNK, R>(a, s, &walk, &u); n_units++) {
        const int n_octets = ((u.n_pairs + 7) / 8 - half + 1) / 2; /* of this warp */
        const int k_tiles = u.is_down ? a.down.k_tiles : a.gate_up.k_tiles;
        float sum[R][OCTETS][4] = {};

        for (int k = 0; k < k_tiles; k++) {
            barrier_wait(&s->rows_full[row_slot], row_turn);
#pragma unroll
            for (int r = 0; r < R; r++) {
                if (r < u.n_tiles) {
                    barrier_wait(&s->weights_full[weight_slot], weight_turn);
#pragma unroll
                    for (int n = 0; n < OCTETS; n += AT_ONCE)
                        multiply_octets<AT_ONCE>(min(n_octets - n, (int)AT_ONCE),
                                                 my_weights + weight_slot * PACK_TILE_BYTES,
                                                 my_rows + row_slot * (CHUNK * ROW_BYTES) +
                                                     n * 16 * ROW_BYTES,
                                                 sum[r] + n);
                    __syncwarp();
                    if (lane == 0)
                        barrier_arrive(&s->weights_empty[weight_slot]);
                    if (++weight_slot == WEIGHT_STAGES) {
                        weight_slot = 0;
                        weight_turn ^= 1;
                    }
                }
            }
            if (lane == 0)
                barrier_arrive(&s->rows_empty[row_slot]);
            if (++row_slot == a.row_stages) {
                row_slot = 0;
                row_turn ^= 1;
            }
        }
#pragma unroll
        for (int r = 0; r < R; r++) {
            const int slice = (u.row_tile + r) * SLICES + warp % SLICES;

            if (r < u.n_tiles) {
#pragma unroll
                for (int n = 0; n < OCTETS; n++) {
                    const int at = (n * 2 + half) * 8;

                    if (n < n_octets)
                        store_octet(a, u.is_down, slice, u.pair + at, u.n_pairs - at, sum[r][n]);
                }
            }
        }
        if (n_units >= UNITS_STORED)
            barrier_wait(&s->counted[n_units % UNITS_STORED], (n_units / UNITS_STORED & 1) ^ 1);
        __syncwarp();
        if (lane == 0)
            barrier_arrive(&s->stored[n_units % UNITS_STORED]);
    }
}

/* Without any expert nobody sums. All threads. */
static __device__ void store_nothing(const struct moe_args &a)
{
    const int n = a.n_tok * a.weights.d_model;

    for (int i = blockIdx.x * THREADS + threadIdx.x; i < n; i += gridDim.x * THREADS)
        a.y[i] = a.residual ? a.residual[i] : 0;
}

/*
 * Find this launch's counts. There are two sets that launches take in turn: the one that the launch
 * before used is cleared, for the next. Which launch it is, blocks know by their numbers as they
 * come, 0 .. 2 grid - 1 for two launches. One thread.
 */
static __device__ void take_counts(const struct kernel_args &a, struct shared *s, int n_counts)
{
    uint32_t *number = a.moe.work.ready + 2 * n_counts;
    const bool is_second = atomicInc(number, 2 * gridDim.x - 1) >= gridDim.x;

    s->ready = a.moe.work.ready + is_second * n_counts;
    s->old_ready = a.moe.work.ready + !is_second * n_counts;
}

/* Grid: at most as many blocks as are resident together. Sums in f32. */
template <int CHUNK, int R>
static __global__ void __launch_bounds__(THREADS, 1)
    experts_kernel(const __grid_constant__ struct kernel_args a, int n_counts)
{
    extern __shared__ __align__(ALIGN) char memory[];
    struct shared *s = (struct shared *)memory;
    char *weights = memory + head_bytes(a);
    char *rows = weights + WEIGHT_STAGES * PACK_TILE_BYTES;
    const int warp = threadIdx.x / 32;

    grid_release();
    if (threadIdx.x == 0) {
        for (int i = 0; i < WEIGHT_STAGES; i++) {
            barrier_init(&s->weights_full[i], 1);
            barrier_init(&s->weights_empty[i], N_MULTIPLY);
        }
        for (int i = 0; i < ROW_STAGES; i++) {
            barrier_init(&s->rows_full[i], 32);
            barrier_init(&s->rows_empty[i], N_MULTIPLY);
        }
        for (int i = 0; i < UNITS_STORED; i++) {
            barrier_init(&s->stored[i], N_MULTIPLY);
            barrier_init(&s->counted[i], 1);
        }
        barrier_init_fence();
    }
    grid_wait();
    if (threadIdx.x == THREADS - 1)
        take_counts(a, s, n_counts);
    read_list<CHUNK>(a, s);
    if (blockIdx.x == 0 && warp == WARP_COUNT)
        for (int i = threadIdx.x % 32; i < n_counts; i += 32)
            s->old_ready[i] = 0;
    if (warp == WARP_WEIGHTS) {
        if (threadIdx.x % 32 == 0)
            fetch_weights<CHUNK, R>(a, s, weights);
        __syncwarp();
    } else if (warp == WARP_ROWS) {
        fetch_rows<CHUNK, R>(a, s, rows);
    } else if (warp == WARP_COUNT) {
        if (threadIdx.x % 32 == 0)
            count_units<CHUNK, R>(a, s);
        __syncwarp();
    } else {
        multiply_units<CHUNK, R>(a, s, weights, rows);
    }
    if (a.is_summed)
        sum_last(a, s);
    if (a.is_summed && s->n_active == 0)
        store_nothing(a.moe);
}

/* ---- the sum as a kernel of its own -------------------------------------------------------- */

#define SUM_THREADS 256

/* Grid (tokens, parts of d_model); a thread sums one column. */
static __global__ void __launch_bounds__(SUM_THREADS)
    sum_kernel(const __grid_constant__ struct moe_args a)
{
    const int col = blockIdx.y * SUM_THREADS + threadIdx.x, d_model = a.weights.d_model;
    const size_t at = (size_t)blockIdx.x * d_model + col;
    float sum = 0;

    grid_release();
    grid_wait();
    if (col >= d_model)
        return;
    for (int i = 0; i < a.top_k; i++) {
        const int pair = __ldcg(a.list.token_pairs + (size_t)blockIdx.x * a.top_k + i);

        if (pair >= 0)
            sum = fmaf(__ldcg(a.list.weights + pair),
                       __ldcg(a.work.results + (size_t)pair * d_model + col), sum);
    }
    a.y[at] = a.residual ? a.residual[at] + sum : sum;
}

/* ---- launching ---------------------------------------------------------------------------- */

static int n_counts(int n_exp, int d_model)
{
    return n_exp + (int)pack_row_tiles(d_model);
}

size_t moe_ready_words(int n_exp, int d_model)
{
    return 2 * (size_t)n_counts(n_exp, d_model) + 1;
}

template <int CHUNK, int R>
static cudaError_t launch(struct kernel_args *a, int row_stages, bool is_early, cudaStream_t stream)
{
    const size_t bytes =
        head_bytes(*a) + WEIGHT_STAGES * PACK_TILE_BYTES + (size_t)row_stages * CHUNK * ROW_BYTES;
    int n_sm = 0;
    cudaError_t rc = count_sms(&n_sm);

    a->row_stages = row_stages;
    if (!rc)
        rc = allow_shared(experts_kernel<CHUNK, R>, bytes);
    return rc ? rc
              : launch_kernel(experts_kernel<CHUNK, R>, dim3((unsigned)n_sm), THREADS, bytes,
                              is_early, stream, *a,
                              n_counts(a->moe.weights.n_exp, a->moe.weights.d_model));
}

cudaError_t moe_launch(const struct moe_args *moe, bool is_early, cudaStream_t stream)
{
    const struct moe_weights *w = &moe->weights;
    struct kernel_args a = {};
    cudaError_t rc = cudaSuccess;

    if (moe->n_tok == 0)
        return rc;
    a.moe = *moe;
    a.h_row = (int)pack_row_elems(w->d_ff);
    a.is_summed = moe->n_tok <= SUMMED_TOKENS && moe->n_tok * moe->top_k <= SUMMED_SLOTS &&
                  w->d_model % 4 == 0;
    a.gate_up.weights = (const char *)w->gate_up;
    a.gate_up.expert_bytes = (size_t)pack_elems(pack_pair_rows(w->d_ff), w->d_model) * 2;
    a.gate_up.row_tiles = (int)pack_row_tiles(pack_pair_rows(w->d_ff));
    a.gate_up.k_tiles = (int)pack_k_tiles(w->d_model);
    a.gate_up.rows = moe->x;
    a.down.weights = (const char *)w->down;
    a.down.expert_bytes = (size_t)pack_elems(w->d_model, w->d_ff) * 2;
    a.down.row_tiles = (int)pack_row_tiles(w->d_model);
    a.down.k_tiles = (int)pack_k_tiles(w->d_ff);
    a.down.rows = moe->work.h;
    if (w->d_ff % PACK_K) { /* columns that nobody writes are multiplied by zeros */
        rc = cudaMemsetAsync(moe->work.h, 0, (size_t)moe->n_tok * moe->top_k * a.h_row * 2, stream);
        is_early = false;
    }
    if (!rc)
        rc = moe->n_tok <= 32 ? launch<32, 1>(&a, ROW_STAGES, is_early, stream)
                              : launch<128, 2>(&a, ROW_STAGES - 1, is_early, stream);
    if (!rc && !a.is_summed)
        rc = launch_kernel(
            sum_kernel,
            dim3((unsigned)moe->n_tok, (unsigned)((w->d_model + SUM_THREADS - 1) / SUM_THREADS)),
            SUM_THREADS, 0, true, stream, *moe);
    return rc;
}
