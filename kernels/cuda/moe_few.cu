/*
 * The experts of a layer for few tokens in one kernel: moe.h.
 *
 * A unit of work is a row tile of one expert's matrix with all its columns, for all of the expert's
 * pairs. Each weight is fetched once.
 *
 *      fetch weights      ring of tiles, 32 KB each    ]
 *      fetch activations  ring of rows' stretches      ] -> 8 warps multiply -> h or results, count
 *
 * Units are numbered: those of gate/up, expert after expert, then those of down. Block b takes unit
 * b and then, each time, the next that nobody has: some multiprocessors read slower than others,
 * and would be waited for at the end. Who fetches weights takes, ahead of time, and tells the other
 * warps. Results do not depend on who takes what.
 *
 * Down units need h of their expert from all blocks: each block counts the units it has stored in
 * work.ready of the expert, and whoever fetches h waits for that count. Weights wait for nobody:
 * their stream runs on over the ends of units and from gate/up to down, and because all of the
 * first come before any of the second, what is waited for was long done in all but the smallest
 * layers. All blocks have to be resident for that: one an SM. Counting has a warp of its own, since
 * a fence takes microseconds while memory is busy.
 *
 * The block that stores the last results for a row tile of y (counted in work.ready, too) sums them
 * when its units are done, unless that is left to the next kernel (struct moe_sum), which waits for
 * neither count nor sum.
 *
 * A stage of activations is MOE_FEW_TOKENS rows of 512 bytes (PACK_K columns). Warp w multiplies
 * slice w % 4 of each tile by octets w / 4 and w / 4 + 2 of the expert's pairs.
 */
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/moe_impl.cuh"

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
#define STAGE_BYTES (MOE_FEW_TOKENS * ROW_BYTES)
/* More weights under way make activations wait: with 5 tiles a layer takes 3 to 5 us longer. */
#define WEIGHT_STAGES 2
#define ROW_STAGES 3
#define UNITS_STORED 2    /* units of a block that may be stored and not counted yet */
#define UNITS_TOLD 8      /* more than the warps of a block are ever apart: find_unit() */
#define SUMMED_SLOTS 1024 /* up to so many the last block sums */
#define SUMMED_AT_ONCE 9  /* results of a token: of eight experts and a shared one */
#define OCTETS (MOE_FEW_TOKENS / 16) /* of a warp */
#define ALIGN 128

struct kernel_args {
    struct moe_args moe;
    struct moe_product gate_up, down;
    int h_row, result_row; /* elements */
    bool is_summed;
};

/* One unit: a row tile, for all pairs of an expert. */
struct unit {
    bool is_down;
    int active; /* which of the active experts */
    int row_tile, pair, n_pairs;
};

/* Head of the shared memory; the rings follow. */
struct shared {
    uint64_t weights_full[WEIGHT_STAGES], weights_empty[WEIGHT_STAGES];
    uint64_t rows_full[ROW_STAGES], rows_empty[ROW_STAGES];
    uint64_t stored[UNITS_STORED], counted[UNITS_STORED];
    uint64_t told[UNITS_TOLD];
    int numbers[UNITS_TOLD]; /* of units */
    int n_active;
    uint32_t *ready; /* this launch's counts: units of active experts, units of row tiles, taken */
    uint32_t *old_ready;
    int n_to_sum;                  /* row tiles that this block has to sum: to_sum */
    int token_pairs[SUMMED_SLOTS]; /* where the last block sums */
    float pair_weights[SUMMED_SLOTS];
    uint8_t tokens[SUMMED_SLOTS]; /* of the first pairs */
    int lists[1]; /* experts (n_exp), offsets (n_exp + 1), to_sum (row tiles of down) */
};

static __host__ __device__ size_t head_bytes(const struct kernel_args &a)
{
    const size_t n_ints = 2 * (size_t)a.moe.weights.n_exp + 1 + (size_t)a.down.row_tiles;

    return (sizeof(struct shared) + n_ints * sizeof(int) + ALIGN - 1) / ALIGN * ALIGN;
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

/* ---- units -------------------------------------------------------------------------------- */

static __device__ __forceinline__ const int *list_offsets(const struct kernel_args &a,
                                                          const struct shared *s)
{
    return s->lists + a.moe.weights.n_exp;
}

static __device__ __forceinline__ int *list_to_sum(const struct kernel_args &a, struct shared *s)
{
    return s->lists + 2 * a.moe.weights.n_exp + 1;
}

/* The unit of that number; false after the last. */
static __device__ __forceinline__ bool
number_unit(const struct kernel_args &a, const struct shared *s, int number, struct unit *ret)
{
    const int n_gate_up = s->n_active * a.gate_up.row_tiles;
    int tiles = a.gate_up.row_tiles;

    ret->is_down = number >= n_gate_up;
    if (ret->is_down) {
        number -= n_gate_up;
        tiles = a.down.row_tiles;
        if (number >= s->n_active * tiles)
            return false;
    }
    ret->active = number / tiles;
    ret->row_tile = number % tiles;
    ret->pair = list_offsets(a, s)[ret->active];
    ret->n_pairs = list_offsets(a, s)[ret->active + 1] - ret->pair;
    return true;
}

/*
 * The block's n-th unit, once it is taken; false after the last. While unit n is multiplied, the
 * first tile of unit n + WEIGHT_STAGES waits for room at most, and unit n - UNITS_STORED for being
 * counted.
 */
static __device__ __forceinline__ bool find_unit(const struct kernel_args &a, struct shared *s,
                                                 int n, struct unit *ret)
{
    static_assert(WEIGHT_STAGES + UNITS_STORED < UNITS_TOLD, "a number is read before the next");

    barrier_wait(&s->told[n % UNITS_TOLD], n / UNITS_TOLD & 1);
    return number_unit(a, s, s->numbers[n % UNITS_TOLD], ret);
}

/* Tell the number of the block's n-th unit. One lane. */
static __device__ __forceinline__ void tell_unit(struct shared *s, int n, int number)
{
    s->numbers[n % UNITS_TOLD] = number;
    barrier_arrive(&s->told[n % UNITS_TOLD]);
}

/* The list goes to shared memory. What there usually is of it is asked for at once. The warps that
 * multiply. */
static __device__ void read_list(const struct kernel_args &a, struct shared *s)
{
    const int n_exp = a.moe.weights.n_exp, n = N_MULTIPLY * 32, i = threadIdx.x;
    const int n_pairs = min(a.moe.n_tok * a.moe.top_k, SUMMED_SLOTS);
    const int32_t *const tokens = a.moe.list.tokens;
    int *experts = s->lists, *offsets = experts + n_exp;
    const int n_active = i == 0 ? __ldcg(a.moe.list.n_active) : 0;
    const int expert = i < n_exp ? __ldcg(a.moe.list.experts + i) : 0;
    const int offset = i <= n_exp ? __ldcg(a.moe.list.offsets + i) : 0;
    const int more = i + n <= n_exp ? __ldcg(a.moe.list.offsets + i + n) : 0;
    const int token = i < n_pairs ? __ldcg(tokens + i) : 0;
    const int another = i + n < n_pairs ? __ldcg(tokens + i + n) : 0;

    if (i == 0)
        s->n_active = n_active;
    if (i < n_exp)
        experts[i] = expert;
    if (i <= n_exp)
        offsets[i] = offset;
    if (i + n <= n_exp)
        offsets[i + n] = more;
    if (i < n_pairs)
        s->tokens[i] = (uint8_t)token;
    if (i + n < n_pairs)
        s->tokens[i + n] = (uint8_t)another;
    for (int k = i + n; k < n_exp; k += n)
        experts[k] = __ldcg(a.moe.list.experts + k);
    for (int k = i + 2 * n; k <= n_exp; k += n)
        offsets[k] = __ldcg(a.moe.list.offsets + k);
    for (int k = i + 2 * n; k < n_pairs; k += n)
        s->tokens[k] = (uint8_t)__ldcg(tokens + k);
}

/* What only the sum needs of it, later. One warp. */
static __device__ void read_slots(const struct kernel_args &a, struct shared *s)
{
#pragma unroll 4
    for (int i = threadIdx.x % 32; a.is_summed && i < a.moe.n_tok * a.moe.top_k; i += 32) {
        s->token_pairs[i] = __ldcg(a.moe.list.token_pairs + i);
        s->pair_weights[i] = __ldcg(a.moe.list.weights + i);
    }
}

/* The token of a pair. */
static __device__ __forceinline__ int pair_token(const struct kernel_args &a,
                                                 const struct shared *s, int pair)
{
    return pair < SUMMED_SLOTS ? s->tokens[pair] : __ldcg(a.moe.list.tokens + pair);
}

/* ---- fetching ----------------------------------------------------------------------------- */

static __device__ __forceinline__ const char *unit_weights(const struct moe_product &p, int expert,
                                                           int row_tile)
{
    return p.weights + expert * p.expert_bytes + row_tile * p.row_bytes;
}

static __device__ __forceinline__ void fetch_tile(struct shared *s, char *ring, int slot,
                                                  const char *tile, uint64_t policy)
{
    barrier_expect(&s->weights_full[slot], PACK_TILE_BYTES);
    bulk_copy(ring + slot * PACK_TILE_BYTES, tile, PACK_TILE_BYTES, &s->weights_full[slot], policy);
}

/* While the list is being read: fill the ring from the block's first unit, if it is one of gate/up.
 * Returns the number of tiles. One lane. */
static __device__ int fetch_first(const struct kernel_args &a, struct shared *s, char *ring)
{
    const struct moe_product &p = a.gate_up;
    const int i = blockIdx.x / p.row_tiles, at = min(i, a.moe.weights.n_exp - 1);
    const int n_active = __ldcg(a.moe.list.n_active), expert = __ldcg(a.moe.list.experts + at);
    const uint64_t policy = policy_evict_first();
    int n = 0;

    if (i < n_active)
        for (; n < WEIGHT_STAGES && n < p.k_tiles; n++)
            fetch_tile(s, ring, n,
                       unit_weights(p, expert, blockIdx.x % p.row_tiles) +
                           (size_t)n * PACK_TILE_BYTES,
                       policy);
    return n;
}

/* Take units and fetch their weights, but for the n_first tiles that are there. One lane. */
static __device__ void fetch_weights(const struct kernel_args &a, struct shared *s, char *ring,
                                     int n_first)
{
    const uint64_t policy = policy_evict_first();
    uint32_t *n_taken = s->ready + a.moe.weights.n_exp + a.down.row_tiles;
    int number = blockIdx.x, next, slot = 0;
    uint32_t turn = 1;
    struct unit u;

    for (int n = 0;; n++, number = next) {
        tell_unit(s, n, number);
        if (!number_unit(a, s, number, &u))
            break;
        next = (int)(gridDim.x + atomicAdd(n_taken, 1)); /* known when this one is fetched */

        const struct moe_product &p = u.is_down ? a.down : a.gate_up;
        const char *w = unit_weights(p, s->lists[u.active], u.row_tile);

        for (int k = 0; k < p.k_tiles; k++) {
            if (n > 0 || k >= n_first) {
                barrier_wait(&s->weights_empty[slot], turn);
                fetch_tile(s, ring, slot, w + (size_t)k * PACK_TILE_BYTES, policy);
            }
            if (++slot == WEIGHT_STAGES) {
                slot = 0;
                turn ^= 1;
            }
        }
    }
}

/* One warp: a row's stretch is 16 bytes of each lane. (Bulk copies of 512 bytes take too long
 * each.) */
static __device__ void fetch_rows(const struct kernel_args &a, struct shared *s, char *ring)
{
    const int lane = threadIdx.x % 32;
    struct unit u;
    int slot = 0, known = -1; /* known: the last expert whose h is complete */
    uint32_t turn = 1;

    for (int n = 0; find_unit(a, s, n, &u); n++) {
        const struct moe_product &p = u.is_down ? a.down : a.gate_up;
        const size_t row = (size_t)p.k_tiles * PACK_K;
        const int at = u.pair + min(lane, u.n_pairs - 1);
        const int pair_row = u.is_down ? at : pair_token(a, s, at);

        if (u.is_down && u.active != known) {
            known = u.active;
            while (load_acquire(s->ready + known) != (uint32_t)a.gate_up.row_tiles) {
            }
        }
        for (int k = 0; k < p.k_tiles; k++) {
            char *to = ring + slot * STAGE_BYTES + lane * 16;
            const uint16_t *from = p.rows + k * PACK_K + lane * 8;

            barrier_wait(&s->rows_empty[slot], turn);
#pragma unroll 8
            for (int j = 0; j < u.n_pairs; j++)
                async_copy16(to + j * ROW_BYTES, from + row * __shfl_sync(~0u, pair_row, j), true);
            arrive_when_copied(&s->rows_full[slot]);
            if (++slot == ROW_STAGES) {
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
            const int row = slice * PACK_SLICE_ROWS + g;
            float *y = a.moe.work.results + (size_t)(pair + at) * a.result_row + row;

            if (row < a.result_row)
                __stcg(y, c[i]);
            if (row + 8 < a.result_row)
                __stcg(y + 8, c[2 + i]);
        } else {
            const int col = slice * 8 + g;

            if (col < a.moe.weights.d_ff)
                a.moe.work.h[(size_t)(pair + at) * a.h_row + col] =
                    (uint16_t)pack_bf16(swiglu(c[i], c[2 + i]), 0);
        }
    }
}

/* y of a slice's 16 columns for every second octet of tokens: 4 lanes a token. What a token needs
 * is read at once; without a pair, some other's. */
static __device__ void sum_slice(const struct kernel_args &a, const struct shared *s, int slice,
                                 int half)
{
    const int d_model = a.moe.weights.d_model, lane = threadIdx.x % 32, top_k = a.moe.top_k;
    const size_t col = slice * PACK_SLICE_ROWS + lane % 4 * 4;

    if (col >= d_model)
        return;
#pragma unroll 1 /* registers */
    for (int t = half * 8 + lane / 4; t < a.moe.n_tok; t += 16) {
        const size_t at = t * (size_t)d_model + col;
        float4 sum = make_float4(0, 0, 0, 0), r = sum;

        if (a.moe.residual)
            r = *(const float4 *)(a.moe.residual + at);
        for (int first = 0; first < top_k; first += SUMMED_AT_ONCE) {
            int pairs[SUMMED_AT_ONCE];
            float4 v[SUMMED_AT_ONCE];

#pragma unroll
            for (int i = 0; i < SUMMED_AT_ONCE; i++) {
                pairs[i] = first + i < top_k ? s->token_pairs[t * top_k + first + i] : -1;
                v[i] = __ldcg((const float4 *)(a.moe.work.results +
                                               (size_t)max(pairs[i], 0) * a.result_row + col));
            }
#pragma unroll
            for (int i = 0; i < SUMMED_AT_ONCE; i++)
                if (pairs[i] >= 0) {
                    const float w = s->pair_weights[pairs[i]];

                    sum.x = fmaf(w, v[i].x, sum.x);
                    sum.y = fmaf(w, v[i].y, sum.y);
                    sum.z = fmaf(w, v[i].z, sum.z);
                    sum.w = fmaf(w, v[i].w, sum.w);
                }
        }
        if (a.moe.residual)
            sum = make_float4(r.x + sum.x, r.y + sum.y, r.z + sum.z, r.w + sum.w);
        *(float4 *)(a.moe.y + at) = sum;
    }
}

/* Count what the block has stored. One lane. */
static __device__ void count_units(const struct kernel_args &a, struct shared *s)
{
    struct unit u;
    int n_to_sum = 0;

    for (int n = 0; find_unit(a, s, n, &u); n++) {
        barrier_wait(&s->stored[n % UNITS_STORED], n / UNITS_STORED & 1);
        if (!u.is_down)
            (void)add_acq_rel(s->ready + u.active, 1);
        else if (a.is_summed && add_acq_rel(s->ready + a.moe.weights.n_exp + u.row_tile, 1) + 1 ==
                                    (uint32_t)s->n_active)
            list_to_sum(a, s)[n_to_sum++] = u.row_tile;
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
static __device__ void multiply_units(const struct kernel_args &a, struct shared *s,
                                      const char *weights, const char *rows)
{
    const int warp = threadIdx.x / 32, half = warp / SLICES, lane = threadIdx.x % 32;
    const char *my_weights = weights + warp % SLICES * PACK_SLICE_BYTES;
    const char *my_rows = rows + half * 8 * ROW_BYTES;
    struct unit u;
    int weight_slot = 0, row_slot = 0;
    uint32_t weight_turn = 0, row_turn = 0;

    for (int n_units = 0; find_unit(a, s, n_units, &u); n_units++) {
        const int n_octets = ((u.n_pairs + 7) / 8 - half + 1) / 2;
        const int k_tiles = u.is_down ? a.down.k_tiles : a.gate_up.k_tiles;
        float sum[OCTETS][4] = {};

        for (int k = 0; k < k_tiles; k++) {
            barrier_wait(&s->rows_full[row_slot], row_turn);
            barrier_wait(&s->weights_full[weight_slot], weight_turn);
            multiply_octets<OCTETS>(n_octets, my_weights + weight_slot * PACK_TILE_BYTES,
                                    my_rows + row_slot * STAGE_BYTES, sum);
            __syncwarp();
            if (lane == 0) {
                barrier_arrive(&s->weights_empty[weight_slot]);
                barrier_arrive(&s->rows_empty[row_slot]);
            }
            if (++weight_slot == WEIGHT_STAGES) {
                weight_slot = 0;
                weight_turn ^= 1;
            }
            if (++row_slot == ROW_STAGES) {
                row_slot = 0;
                row_turn ^= 1;
            }
        }
#pragma unroll
        for (int n = 0; n < OCTETS; n++) {
            const int at = (n * 2 + half) * 8;

            if (n < n_octets)
                store_octet(a, u.is_down, u.row_tile * SLICES + warp % SLICES, u.pair + at,
                            u.n_pairs - at, sum[n]);
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

/* What needs the list and the counts alone; returns fetch_first()'s. All threads. */
static __device__ __forceinline__ int begin(const struct kernel_args &a, struct shared *s,
                                            char *weights, int n_counts)
{
    if (threadIdx.x == THREADS - 1)
        take_counts(a, s, n_counts);
    if (threadIdx.x < N_MULTIPLY * 32)
        read_list(a, s);
    return threadIdx.x == WARP_WEIGHTS * 32 ? fetch_first(a, s, weights) : 0;
}

/* Grid: at most as many blocks as are resident together. Sums in f32. */
static __global__ void __launch_bounds__(THREADS, 1)
    experts_kernel(const __grid_constant__ struct kernel_args a, int n_counts)
{
    extern __shared__ __align__(ALIGN) char memory[];
    struct shared *s = (struct shared *)memory;
    char *weights = memory + head_bytes(a);
    char *rows = weights + WEIGHT_STAGES * PACK_TILE_BYTES;
    const int warp = threadIdx.x / 32;
    int n_first = 0;

    if (threadIdx.x == WARP_WEIGHTS * 32) { /* who uses them first */
        for (int i = 0; i < WEIGHT_STAGES; i++) {
            barrier_init(&s->weights_full[i], 1);
            barrier_init(&s->weights_empty[i], N_MULTIPLY);
        }
        for (int i = 0; i < ROW_STAGES; i++) {
            barrier_init(&s->rows_full[i], 32);
            barrier_init(&s->rows_empty[i], N_MULTIPLY);
        }
        for (int i = 0; i < UNITS_TOLD; i++)
            barrier_init(&s->told[i], 1);
        for (int i = 0; i < UNITS_STORED; i++) {
            barrier_init(&s->stored[i], N_MULTIPLY);
            barrier_init(&s->counted[i], 1);
        }
        barrier_init_fence();
    }
    if (a.moe.is_list_old)
        n_first = begin(a, s, weights, n_counts);
    grid_wait();
    grid_release(); /* the list is there: struct moe_sum */
    if (!a.moe.is_list_old)
        n_first = begin(a, s, weights, n_counts);
    __syncthreads();
    if (blockIdx.x == 0 && warp == WARP_COUNT)
        for (int i = threadIdx.x % 32; i < n_counts; i += 32)
            s->old_ready[i] = 0;
    if (warp == WARP_WEIGHTS) {
        if (threadIdx.x % 32 == 0)
            fetch_weights(a, s, weights, n_first);
        __syncwarp();
    } else if (warp == WARP_ROWS) {
        fetch_rows(a, s, rows);
    } else if (warp == WARP_COUNT) {
        read_slots(a, s);
        if (threadIdx.x % 32 == 0)
            count_units(a, s);
        __syncwarp();
    } else {
        multiply_units(a, s, weights, rows);
    }
    if (a.is_summed)
        sum_last(a, s);
    if (a.is_summed && s->n_active == 0)
        store_nothing(a.moe);
}

/* ---- launching ---------------------------------------------------------------------------- */

/* Of struct shared's ready. */
static int n_counts(int n_exp, int d_model)
{
    return n_exp + (int)pack_row_tiles(d_model) + 1;
}

size_t moe_ready_words(int n_exp, int d_model)
{
    return 2 * (size_t)n_counts(n_exp, d_model) + 1;
}

cudaError_t moe_few_launch(const struct moe_args *moe, bool is_early, cudaStream_t stream)
{
    const struct moe_weights *w = &moe->weights;
    struct kernel_args a = {};
    int n_sm = 0;
    cudaError_t rc = count_sms(&n_sm);
    size_t bytes;

    a.moe = *moe;
    a.gate_up = moe_product(w->gate_up, pack_pair_rows(w->d_ff), w->d_model, moe->x);
    a.down = moe_down(w, moe->work.h);
    a.h_row = (int)pack_row_elems(w->d_ff);
    a.result_row = moe_result_row(w->d_model);
    a.is_summed = !moe->is_left && moe->n_tok * moe->top_k <= SUMMED_SLOTS && w->d_model % 4 == 0;
    bytes = head_bytes(a) + WEIGHT_STAGES * PACK_TILE_BYTES + ROW_STAGES * STAGE_BYTES;
    if (!rc)
        rc = allow_shared(experts_kernel, bytes);
    if (!rc)
        rc = launch_kernel(experts_kernel, dim3((unsigned)n_sm), THREADS, bytes, is_early, stream,
                           a, n_counts(w->n_exp, w->d_model));
    return rc || a.is_summed || moe->is_left ? rc : moe_sum_launch(moe, false, stream);
}
