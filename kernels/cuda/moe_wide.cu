/*
 * The experts of a layer for many tokens: moe.h.
 *
 * Weights are the A operand of wgmma, in registers, from the fragments of pack.h as they are; pairs
 * are the columns, up to max_pairs() at once. A unit of work is 128 rows (two row tiles) of one
 * expert's matrix, all their columns, for a chunk of its pairs. All units of gate/up come before
 * those of down; blocks take the next one when they have fetched the last.
 *
 *      weights and units   a warp: bulk copies       ] ring of half tiles         ]
 *      rows                two warps: async copies,  ] ring of 64 columns each    ] -> multiply
 *                          of h tensor copies
 *      counting            one lane
 *
 * Two warpgroups multiply, each one of the row tiles. What they made goes out by way of the place
 * of the last weights, so that whole sectors are written.
 *
 * wgmma takes the columns of a fragment in another order than pack.h has them: in each 32 columns,
 * register i's halves (0, 1) of lane t stand for column 8 t + 4 s + 2 (i >> 1), wgmma's B operand
 * has them at 16 s + 8 (i >> 1) + 2 t. So rows of activations are kept in that order, x by a kernel
 * that goes before, unless it comes so, h as it is made: place() below.
 *
 * A unit of down needs h of its chunk from all blocks: they count what they have stored of it. Who
 * waits for a chunk has taken his unit after all of gate/up were taken, by blocks that run.
 */
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/moe_wide_plan.cuh"
#include "kernels/cuda/tensor_map.cuh"
#include "kernels/cuda/wgmma.cuh"

#define STEP_K 64  /* columns of a step of rows */
#define PART_K 128 /* columns of a part: half a tile */
#define PART_STEPS (PART_K / STEP_K)
#define TILE_PARTS (PACK_K / PART_K)
#define PART_BYTES (PACK_TILE_BYTES / TILE_PARTS)
#define PART_SLICE_BYTES (PACK_SLICE_BYTES / TILE_PARTS)
#define RING_BYTES (224 << 10) /* rows, then parts */
#define UNITS 4                /* under way */
#define BOX 32                 /* pairs whose h is copied at a time */
#define BOX_BYTES (BOX * STEP_K * 2)

/* What a mode has of its own. */
template <bool IS_FAST> struct mode {
    static constexpr int pairs = max_pairs<IS_FAST>();
    static constexpr int sums = pairs / 2;        /* of a lane */
    static constexpr int parts = IS_FAST ? 6 : 8; /* of weights under way */
    static constexpr int rows_bytes = RING_BYTES - parts * PART_BYTES;
    static constexpr int step_bytes = pairs * STEP_K * 2;
    static constexpr int steps = rows_bytes / step_bytes; /* under way */

    static_assert(parts % GROUP == 0, "a warpgroup has places of its own");
};

#define MAX_PARTS 8
#define MAX_STEPS (mode<false>::steps)

/* Warps: the first warpgroup fetches, the others multiply. */
#define WARP_WEIGHTS 0
#define WARP_ROWS 1 /* and the next */
#define ROW_WARPS 2
#define WARP_COUNT 3
#define N_MULTIPLY (GROUP * 4)
#define THREADS ((4 + N_MULTIPLY) * 32)
#define FETCH_REGISTERS 88
#define MULTIPLY_REGISTERS 208

#define ALIGN 1024

struct shared {
    uint64_t part_full[MAX_PARTS], part_empty[MAX_PARTS];
    uint64_t rows_full[MAX_STEPS], rows_empty[MAX_STEPS];
    uint64_t unit_full[UNITS], unit_empty[UNITS], stored[UNITS];
    int4 units[UNITS];
};

/* Place of a column in its row of activations; of even columns and the next alike. */
static __device__ __forceinline__ int place(int col)
{
    return col / 32 * 32 + col % 8 / 2 * 8 + col % 32 / 8 * 2 + col % 2;
}

static __device__ __forceinline__ void add_release(uint32_t *p, uint32_t v)
{
    asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
}

static __device__ __forceinline__ float quick_swiglu(float gate, float up)
{
    return __fdividef(gate, 1 + __expf(-gate)) * up;
}

/* ---- fetching ----------------------------------------------------------------------------- */

/* A place in a ring of N, and how often it was gone round. */
template <int N> struct place_in {
    int slot;
    uint32_t turn;

    __device__ __forceinline__ void next(void)
    {
        if (++slot == N) {
            slot = 0;
            turn ^= 1;
        }
    }
};

/* The next unit for one of those who share it; all lanes of the warp. */
static __device__ __forceinline__ struct unit next_unit(struct shared *s,
                                                        const struct place_in<UNITS> &at)
{
    int4 v;

    barrier_wait(&s->unit_full[at.slot], at.turn);
    v = s->units[at.slot];
    return { v.x, v.y, v.z, v.w };
}

/* Take units and fetch their weights, a slice of a part by each of four lanes: one lane alone takes
 * 40 ns for each. All lanes of the warp. */
template <bool IS_FAST>
static __device__ void fetch_weights(const struct wide_args &a, struct shared *s, char *ring)
{
    enum { SLICES = PACK_ROWS / PACK_SLICE_ROWS };
    const uint64_t once = policy_evict_first();
    const uint32_t n_units = __ldcg(a.plan.counts + 1);
    const int lane = threadIdx.x % 32;
    struct place_in<mode<IS_FAST>::parts> part = {
        0, 1
    };
    struct place_in<UNITS> at = {
        0, 1
    };
    uint32_t taken = lane == 0 ? atomicAdd(a.plan.counts, 1) : 0;

    for (;;) {
        taken = __shfl_sync(~0u, taken, 0);

        const int4 v = taken < n_units ? __ldcg(a.plan.units + taken) : make_int4(-1, 0, 0, 0);

        barrier_wait(&s->unit_empty[at.slot], at.turn);
        if (lane == 0) {
            s->units[at.slot] = v;
            barrier_arrive(&s->unit_full[at.slot]);
        }
        at.next();
        if (v.x < 0)
            return;
        if (lane == 0)
            taken = atomicAdd(a.plan.counts, 1);

        const struct moe_product &p = v.w & CHUNK_DOWN ? a.down : a.gate_up;
        const int row_tile = v.z / 65536 * GROUP, n_tiles = min(GROUP, p.row_tiles - row_tile);
        const char *w = p.weights + v.x * p.expert_bytes + row_tile * p.row_bytes +
                        lane % SLICES * PACK_SLICE_BYTES;

        for (int k = 0; k < p.k_tiles * TILE_PARTS; k++)
            for (int r = 0; r < GROUP; r++) {
                char *to = ring + part.slot * PART_BYTES + lane % SLICES * PART_SLICE_BYTES;
                const char *from = w + r * p.row_bytes +
                                   (size_t)(k / TILE_PARTS) * PACK_TILE_BYTES +
                                   k % TILE_PARTS * PART_SLICE_BYTES;
                uint64_t *full = &s->part_full[part.slot];

                barrier_wait(&s->part_empty[part.slot], part.turn);
                part.next();
                if (lane == 0 && r < n_tiles)
                    barrier_expect(full, PART_BYTES);
                else if (lane == 0)
                    barrier_arrive(full); /* what is there is multiplied, and not stored */
                __syncwarp();
                if (r >= n_tiles || lane >= SLICES)
                    continue;
                if (v.w & CHUNK_SHARED)
                    bulk_copy(to, from, PART_SLICE_BYTES, full);
                else
                    bulk_copy(to, from, PART_SLICE_BYTES, full, once);
            }
    }
}

/* Until h of the unit's chunk is there. */
static __device__ __forceinline__ void wait_for_h(const struct wide_args &a, const struct unit &u)
{
    const uint32_t *count = a.plan.counts + 2 + (u.chunk & CHUNK_MASK);

    while (load_acquire(count) != (uint32_t)n_groups(a.gate_up)) {
    }
    asm volatile("fence.proxy.async.global;" ::: "memory"); /* copies read it */
}

/* Step k of h of a unit, a box a lane: one lane alone takes 0.3 us for eight. All lanes of the
 * warp. */
static __device__ __forceinline__ void copy_h(const CUtensorMap *h, const struct unit &u, int k,
                                              char *to, uint64_t *full)
{
    const int n_boxes = (u.pairs_group % 65536 + BOX - 1) / BOX, lane = threadIdx.x % 32;

    if (lane == 0)
        barrier_expect(full, (uint32_t)(n_boxes * BOX_BYTES));
    else
        barrier_arrive(full);
    __syncwarp();
    if (lane < n_boxes)
        tensor_copy(to + lane * BOX_BYTES, h, k * STEP_K, u.pair + lane * BOX, full);
}

/* ROW_WARPS warps, this is number `warp`: rows 4 warp .. 4 warp + 3 of every 4 ROW_WARPS, 8 lanes a
 * row. */
template <bool IS_FAST>
static __device__ void fetch_rows(const struct wide_args &a, const CUtensorMap *h, struct shared *s,
                                  char *ring, int warp)
{
    enum { AT_ONCE = 4 * ROW_WARPS, EACH = mode<IS_FAST>::pairs / AT_ONCE, BATCH = 8 };
    const int lane = threadIdx.x % 32, first = lane / 8 + warp * 4;
    struct place_in<mode<IS_FAST>::steps> step = {
        0, 1
    };
    struct place_in<UNITS> at = {
        0, 0
    };

    for (;;) {
        const struct unit u = next_unit(s, at);

        __syncwarp();
        if (lane == 0)
            barrier_arrive(&s->unit_empty[at.slot]);
        at.next();
        if (u.expert < 0)
            return;

        const bool is_down = u.chunk & CHUNK_DOWN;
        const struct moe_product &p = is_down ? a.down : a.gate_up;
        const int n_pairs = u.pairs_group % 65536,
                  n_mine = (n_pairs - first + AT_ONCE - 1) / AT_ONCE;
        const uint16_t *from = p.rows + lane % 8 * 8;
        uint32_t rows[EACH]; /* where they are, in elements */

#pragma unroll
        for (int i = 0; i < EACH; i++) {
            const int pair = u.pair + i * AT_ONCE + first;

            rows[i] = i >= n_mine || is_down ? 0 : __ldcg(a.moe.list.tokens + pair);
            rows[i] *= (uint32_t)p.k_tiles * PACK_K;
        }
        if (is_down) {
            wait_for_h(a, u);
            for (int k = 0; k < p.k_tiles * (PACK_K / STEP_K); k++) {
                uint64_t *full = &s->rows_full[step.slot];

                barrier_wait(&s->rows_empty[step.slot], step.turn);
                if (warp == 0)
                    copy_h(h, u, k, ring + step.slot * mode<IS_FAST>::step_bytes, full);
                else
                    barrier_arrive(full);
                step.next();
            }
            continue;
        }
        for (int k = 0; k < p.k_tiles * (PACK_K / STEP_K); k++) {
            char *to = ring + step.slot * mode<IS_FAST>::step_bytes + wgmma_piece(first, lane % 8);

            barrier_wait(&s->rows_empty[step.slot], step.turn);
#pragma unroll
            for (int b = 0; b < EACH; b += BATCH)
                if (b * AT_ONCE < n_pairs)
#pragma unroll
                    for (int i = b; i < b + BATCH; i++)
                        if (i < n_mine)
                            async_copy16(to + i * AT_ONCE * WGMMA_ROW_BYTES, from + rows[i], true);
            arrive_when_copied(&s->rows_full[step.slot]);
            from += STEP_K;
            step.next();
        }
    }
}

/* Count what is stored of h. One lane. */
static __device__ void count_units(const struct wide_args &a, struct shared *s)
{
    struct place_in<UNITS> at = {
        0, 0
    };

    for (;;) {
        const struct unit u = next_unit(s, at);

        if (u.expert < 0)
            return;
        barrier_wait(&s->stored[at.slot], at.turn);
        if (!(u.chunk & CHUNK_DOWN))
            add_release(a.plan.counts + 2 + (u.chunk & CHUNK_MASK), 1);
        barrier_arrive(&s->unit_empty[at.slot]);
        at.next();
    }
}

/* ---- multiplying -------------------------------------------------------------------------- */

/* Where a warp that multiplies is in the rings. */
template <bool IS_FAST> struct feed {
    char *weights;
    const char *rows;
    int slice; /* of a row tile, the warp's */
    struct place_in<mode<IS_FAST>::parts> part;
    struct place_in<mode<IS_FAST>::steps> step;

    __device__ __forceinline__ char *part_at(void) const
    {
        return weights + part.slot * PART_BYTES;
    }
};

/* The lane's weights of step j of the part. */
template <bool IS_FAST>
static __device__ __forceinline__ void load_weights(const struct feed<IS_FAST> *f, int j,
                                                    uint4 (&w)[STEP_K / 16])
{
    const uint4 *from = (const uint4 *)(f->part_at() + f->slice * PART_SLICE_BYTES) +
                        j * (STEP_K / 16) * 32 + threadIdx.x % 32;

#pragma unroll
    for (int i = 0; i < STEP_K / 16; i++)
        w[i] = from[i * 32];
}

/* c += the weights w of step J of the part times N columns, or c = these. Meanwhile those of the
 * next step are loaded; waiting for its rows is for afterwards, when these here are given back. */
template <bool IS_FAST, int N, int J, int C>
static __device__ __forceinline__ void
multiply_step(struct shared *s, struct feed<IS_FAST> *f, const uint4 (&w)[STEP_K / 16],
              uint4 (&next)[STEP_K / 16], bool is_new, float (&c)[C])
{
    const uint64_t b =
        wgmma_operand(shared_addr(f->rows + f->step.slot * mode<IS_FAST>::step_bytes));

    barrier_wait(&s->rows_full[f->step.slot], f->step.turn);
    wgmma_shared_fence();
    wgmma_begin();
#pragma unroll
    for (int i = 0; i < STEP_K / 16; i++)
        wgmma<N>(c, w[i], b + i * WGMMA_STEP, !is_new || i > 0);
    wgmma_commit();
    if (J + 1 < PART_STEPS)
        load_weights(f, J + 1, next);
    wgmma_wait<0>();
    if (threadIdx.x % 32 == 0)
        barrier_arrive(&s->rows_empty[f->step.slot]);
    f->step.next();
}

/* c += a slice's part times N columns, or c = that. */
template <bool IS_FAST, int N, int C>
static __device__ __forceinline__ void multiply_part(struct shared *s, struct feed<IS_FAST> *f,
                                                     bool is_new, float (&c)[C])
{
    uint4 w0[STEP_K / 16], w1[STEP_K / 16];

    static_assert(PART_STEPS == 2, "steps of a part");
    barrier_wait(&s->part_full[f->part.slot], f->part.turn);
    load_weights(f, 0, w0);
    multiply_step<IS_FAST, N, 0>(s, f, w0, w1, is_new, c);
    multiply_step<IS_FAST, N, 1>(s, f, w1, w0, false, c);
}

/* The part's place may be filled again. */
template <bool IS_FAST>
static __device__ __forceinline__ void release_part(struct shared *s, struct feed<IS_FAST> *f)
{
    if (threadIdx.x % 32 == 0)
        barrier_arrive(&s->part_empty[f->part.slot]);
    for (int i = 0; i < GROUP; i++)
        f->part.next();
}

/* sum = a slice's rows times N columns. The last part stays for who stores them. */
template <bool IS_FAST, int N, int C>
static __device__ __forceinline__ void multiply(struct shared *s, struct feed<IS_FAST> *f,
                                                int k_tiles, float (&sum)[C])
{
    if constexpr (IS_FAST) {
        for (int k = 0; k < k_tiles * TILE_PARTS; k++) {
            if (k > 0)
                release_part(s, f);
            multiply_part<IS_FAST, N>(s, f, k == 0, sum);
        }
    } else { /* tile by tile */
#pragma unroll
        for (int i = 0; i < N / 2; i++)
            sum[i] = 0;
        for (int k = 0; k < k_tiles; k++) {
            float c[N / 2];

            for (int i = 0; i < TILE_PARTS; i++) {
                if (k > 0 || i > 0)
                    release_part(s, f);
                multiply_part<IS_FAST, N>(s, f, i == 0, c);
            }
#pragma unroll
            for (int i = 0; i < N / 2; i++)
                sum[i] += c[i];
        }
    }
}

/* All threads of the warpgroup. */
static __device__ __forceinline__ void group_barrier(void)
{
    named_barrier(1 + threadIdx.x / 128, 128);
}

/* Four 8 x 8 matrices of 16 bits, two to a lane as mma has them, turned round: lane 8 i + r gives
 * where row r of matrix i goes, 16 bytes of shared memory. */
static __device__ __forceinline__ void store_turned(void *p, uint32_t m0, uint32_t m1, uint32_t m2,
                                                    uint32_t m3)
{
    asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
                     shared_addr(p)),
                 "r"(m0), "r"(m1), "r"(m2), "r"(m3)
                 : "memory");
}

/* h of a pair: silu(gate) up, of what a lane has of an octet. */
template <bool IS_FAST> static __device__ __forceinline__ uint32_t h_of(const float *c)
{
    return IS_FAST ? pack_bf16(quick_swiglu(c[0], c[2]), quick_swiglu(c[1], c[3]))
                   : pack_bf16(swiglu(c[0], c[2]), swiglu(c[1], c[3]));
}

#define H_STAGE_BYTES (PACK_ROWS / 2 * 2) /* what a row tile has of a row of h */

/*
 * Rows of h. Sums: gate in 4 n and 4 n + 1, up in 4 n + 2 and 4 n + 3. By way of stage: of a pair
 * the 8 columns of warp w are piece w of its row, piece p at p ^ pair / 2 % 4, and place() takes
 * two columns of each. All threads of the warpgroup.
 */
template <bool IS_FAST, int C>
static __device__ __forceinline__ void store_h(const struct wide_args &a, char *stage, int row_tile,
                                               int pair, int n_pairs, const float (&c)[C])
{
    const int thread = threadIdx.x % 128, warp = thread / 32, lane = thread % 32, word = thread % 4;
    char *mine = stage + lane * H_STAGE_BYTES + (warp ^ lane / 2 % 4) * 16;
    uint16_t *to =
        a.moe.work.h + (size_t)pair * a.h_row + row_tile * (PACK_ROWS / 2) + place(word * 2);

#pragma unroll
    for (int n = 0; n < C / 4; n += 4)
        if (n * 8 < n_pairs)
            store_turned(mine + n * 8 * H_STAGE_BYTES, h_of<IS_FAST>(c + 4 * n),
                         h_of<IS_FAST>(c + 4 * n + 4), h_of<IS_FAST>(c + 4 * n + 8),
                         h_of<IS_FAST>(c + 4 * n + 12));
    group_barrier();
    for (int r = thread / 4; r < n_pairs; r += 32) {
        const char *from = stage + r * H_STAGE_BYTES + word * 4;
        const int turn = r / 2 % 4;

        *(uint4 *)(to + (size_t)r * a.h_row) = make_uint4(
            *(const uint32_t *)(from + turn * 16), *(const uint32_t *)(from + (turn ^ 1) * 16),
            *(const uint32_t *)(from + (turn ^ 2) * 16),
            *(const uint32_t *)(from + (turn ^ 3) * 16));
    }
}

/* Results in bf16, by way of stage, where rows lie as wgmma_piece() says, as many at a time as
 * there is room for. All threads of the warpgroup. */
template <int C>
static __device__ __forceinline__ void store_rounded(const struct wide_args &a, char *stage,
                                                     int row_tile, int pair, int n_pairs,
                                                     const float (&c)[C])
{
    enum { ROOM = PART_BYTES / WGMMA_ROW_BYTES };
    const int thread = threadIdx.x % 128, warp = thread / 32, lane = thread % 32,
              piece = thread % 8;
    char *mine = stage + wgmma_piece(lane / 16 * 8 + lane % 8, warp * 2 + lane / 8 % 2);
    const int col = row_tile * PACK_ROWS + piece * 8;
    uint16_t *to = (uint16_t *)a.moe.work.results + (size_t)pair * a.result_row + col;

#pragma unroll
    for (int first = 0; first < C * 2; first += ROOM) {
        if (first >= n_pairs)
            break;
        if (first > 0)
            group_barrier();
#pragma unroll
        for (int i = first / 2; i < C && i < (first + ROOM) / 2; i += 8)
            if (i * 2 < n_pairs)
                store_turned(mine + (i * 2 - first) * WGMMA_ROW_BYTES, pack_bf16(c[i], c[i + 1]),
                             pack_bf16(c[i + 2], c[i + 3]), pack_bf16(c[i + 4], c[i + 5]),
                             pack_bf16(c[i + 6], c[i + 7]));
        group_barrier();
        if (col < a.result_row)
            for (int r = thread / 8; r < min(n_pairs - first, ROOM); r += 16)
                *(uint4 *)(to + (size_t)(first + r) * a.result_row) =
                    *(const uint4 *)(stage + wgmma_piece(r, piece));
    }
}

/* Results in f32. */
template <int C>
static __device__ __forceinline__ void store_results(const struct wide_args &a, int row_tile,
                                                     int pair, int n_pairs, const float (&c)[C])
{
    const int warp = threadIdx.x / 32 % 4, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const int col = row_tile * PACK_ROWS + warp * PACK_SLICE_ROWS + g;
    float *to = (float *)a.moe.work.results + (size_t)(pair + 2 * t) * a.result_row + col;

#pragma unroll
    for (int n = 0; n < C / 4; n++)
        if (n * 8 < n_pairs) {
#pragma unroll
            for (int i = 0; i < 4; i++)
                if (n * 8 + 2 * t + i % 2 < n_pairs && col + i / 2 * 8 < a.result_row)
                    __stcg(to + (size_t)(n * 8 + i % 2) * a.result_row + i / 2 * 8, c[4 * n + i]);
        }
}

/* The warps that multiply. */
template <bool IS_FAST>
static __device__ __forceinline__ void multiply_units(const struct wide_args &a, struct shared *s,
                                                      char *ring, int warp)
{
    const int group = warp / 4;
    struct feed<IS_FAST> f = {
        ring + mode<IS_FAST>::rows_bytes, ring, warp % 4, { group, 0 },
        {
            0, 0
        }
    };
    struct place_in<UNITS> at = {
        0, 0
    };

    for (;;) {
        const struct unit u = next_unit(s, at);

        if (u.expert < 0)
            return;

        const bool is_down = u.chunk & CHUNK_DOWN;
        const int row_tiles = is_down ? a.down.row_tiles : a.gate_up.row_tiles;
        const int k_tiles = is_down ? a.down.k_tiles : a.gate_up.k_tiles;
        const int row_tile = u.pairs_group / 65536 * GROUP + group;
        const int n_pairs = u.pairs_group % 65536;
        float sum[mode<IS_FAST>::sums];

        if constexpr (IS_FAST) {
            switch ((n_pairs + 31) / 32) {
            case 0:
            case 1: multiply<IS_FAST, 32>(s, &f, k_tiles, sum); break;
            case 2: multiply<IS_FAST, 64>(s, &f, k_tiles, sum); break;
            case 3: multiply<IS_FAST, 96>(s, &f, k_tiles, sum); break;
            case 4: multiply<IS_FAST, 128>(s, &f, k_tiles, sum); break;
            case 5: multiply<IS_FAST, 160>(s, &f, k_tiles, sum); break;
            case 6: multiply<IS_FAST, 192>(s, &f, k_tiles, sum); break;
            case 7: multiply<IS_FAST, 224>(s, &f, k_tiles, sum); break;
            default: multiply<IS_FAST, 256>(s, &f, k_tiles, sum); break;
            }
        } else {
            switch ((n_pairs + 31) / 32) {
            case 0:
            case 1: multiply<IS_FAST, 32>(s, &f, k_tiles, sum); break;
            case 2: multiply<IS_FAST, 64>(s, &f, k_tiles, sum); break;
            case 3: multiply<IS_FAST, 96>(s, &f, k_tiles, sum); break;
            default: multiply<IS_FAST, 128>(s, &f, k_tiles, sum); break;
            }
        }
        if (row_tile < row_tiles) {
            char *stage = f.part_at();

            group_barrier(); /* its weights are loaded */
            if (!is_down)
                store_h<IS_FAST>(a, stage, row_tile, u.pair, n_pairs, sum);
            else if (IS_FAST)
                store_rounded(a, stage, row_tile, u.pair, n_pairs, sum);
            else
                store_results(a, row_tile, u.pair, n_pairs, sum);
        }
        asm volatile("fence.proxy.async;" ::: "memory"); /* h is read, stage is written by copies */
        __syncwarp();
        release_part(s, &f);
        if (threadIdx.x % 32 == 0) {
            barrier_arrive(&s->stored[at.slot]);
            barrier_arrive(&s->unit_empty[at.slot]);
        }
        at.next();
    }
}

/* Any grid. Sums in f32. h: boxes of BOX pairs. */
template <bool IS_FAST>
static __global__ void __launch_bounds__(THREADS, 1)
    wide_kernel(const __grid_constant__ struct wide_args a, const __grid_constant__ CUtensorMap h)
{
    extern __shared__ __align__(ALIGN) char ring[]; /* rows, tiles, then the rest */
    struct shared *s = (struct shared *)(ring + RING_BYTES);
    const int warp = threadIdx.x / 32;

    grid_release();
    if (threadIdx.x == 0) {
        for (int i = 0; i < MAX_PARTS; i++) {
            barrier_init(&s->part_full[i], 1);
            barrier_init(&s->part_empty[i], N_MULTIPLY / GROUP);
        }
        for (int i = 0; i < MAX_STEPS; i++) {
            barrier_init(&s->rows_full[i], ROW_WARPS * 32);
            barrier_init(&s->rows_empty[i], N_MULTIPLY);
        }
        for (int i = 0; i < UNITS; i++) {
            barrier_init(&s->unit_full[i], 1);
            barrier_init(&s->unit_empty[i], N_MULTIPLY + ROW_WARPS + 1);
            barrier_init(&s->stored[i], N_MULTIPLY);
        }
        barrier_init_fence();
    }
    __syncthreads();
    grid_wait();
    if (warp < 4) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(FETCH_REGISTERS));
        if (warp == WARP_WEIGHTS) {
            fetch_weights<IS_FAST>(a, s, ring + mode<IS_FAST>::rows_bytes);
        } else if (warp == WARP_COUNT) {
            if (threadIdx.x % 32 == 0)
                count_units(a, s);
        } else {
            fetch_rows<IS_FAST>(a, &h, s, ring, warp - WARP_ROWS);
        }
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(MULTIPLY_REGISTERS));
        multiply_units<IS_FAST>(a, s, ring, warp - 4);
    }
}

/* ---- launching ---------------------------------------------------------------------------- */

size_t moe_plan_bytes(int n_tok, int top_k, const struct moe_weights *w)
{
    struct plan plan;

    return place_plan(NULL, n_tok, top_k, w, &plan);
}

template <bool IS_FAST>
static cudaError_t launch(const struct wide_args *a, bool is_early, cudaStream_t stream)
{
    const size_t bytes = RING_BYTES + sizeof(struct shared);
    const int n_parts = a->moe.is_placed ? 0 : a->moe.n_tok * a->gate_up.k_tiles * (PACK_K / 32);
    int n_sm = 0, n_place = (n_parts + PREPARE_THREADS - 1) / PREPARE_THREADS;
    CUtensorMap h;
    cudaError_t rc = count_sms(&n_sm);

    n_place = n_place < n_sm * 8 ? n_place : n_sm * 8;
    if (!rc)
        rc = launch_kernel(prepare_kernel<IS_FAST>, dim3((unsigned)(PLAN_BLOCKS + n_place)),
                           PREPARE_THREADS, 0, is_early, stream, *a);
    if (!rc)
        rc = map_rows(a->down.rows, (int64_t)a->moe.n_tok * a->moe.top_k, a->down.k_tiles * PACK_K,
                      BOX, &h);
    if (!rc)
        rc = allow_shared(wide_kernel<IS_FAST>, bytes);
    if (!rc)
        rc = launch_kernel(wide_kernel<IS_FAST>, dim3((unsigned)n_sm), THREADS, bytes, true, stream,
                           *a, h);
    return rc ? rc : moe_sum_launch(&a->moe, IS_FAST, stream);
}

cudaError_t moe_wide_launch(const struct moe_args *moe, bool is_early, cudaStream_t stream)
{
    const struct moe_weights *w = &moe->weights;
    struct wide_args a = {};

    a.moe = *moe;
    (void)place_plan((char *)moe->work.plan, moe->n_tok, moe->top_k, w, &a.plan);
    a.gate_up = moe_product(w->gate_up, pack_pair_rows(w->d_ff), w->d_model,
                            moe->is_placed ? moe->x : a.plan.x);
    a.down = moe_down(w, moe->work.h);
    a.h_row = (int)pack_row_elems(w->d_ff);
    a.result_row = moe_result_row(w->d_model);
    return moe->is_fast ? launch<true>(&a, is_early, stream) : launch<false>(&a, is_early, stream);
}
