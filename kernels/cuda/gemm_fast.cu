/*
 * Projections for many tokens: gemm_fast.h.
 *
 * Weights are the A operand of wgmma, in registers, from the fragments of pack.h as they are; N
 * tokens are the columns. A unit of work is 128 rows (two row tiles, a warpgroup each) of a matrix,
 * all their columns, for N tokens; each block goes through a share of them. One lane of a third
 * warpgroup fetches steps of 64 columns into a ring, units ahead of those that multiply.
 *
 * Tiles of activations. An atom is 8 tokens by 64 columns, 1,024 bytes, as wgmma takes B
 * (wgmma.cuh); atoms lie octet by octet of tokens, and so for each step of 64 columns: what a unit
 * needs of a step is one run. wgmma takes the columns of a fragment in another order than pack.h
 * has them: in each 32 columns, register i of lane t in fragment s stands for columns 8 t + 4 s +
 * 2 (i >> 1) and the next, wgmma's B operand has them at 16 s + 8 (i >> 1) + 2 t.
 */
#include "kernels/cuda/gemm_fast.h"

#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/pick_state.cuh"
#include "kernels/cuda/sm90.cuh"
#include "kernels/cuda/wgmma.cuh"

#define ALIGN 1024

/* ---- tiles -------------------------------------------------------------------------------- */

#define TILE_THREADS 256
#define OCTET 8
#define STEP_K 64 /* columns of a step */
#define ATOM_BYTES (OCTET * STEP_K * 2)

static __host__ __device__ int64_t tiled_tokens(int n_tok)
{
    return ((int64_t)n_tok + GEMM_FAST_ALIGN - 1) / GEMM_FAST_ALIGN * GEMM_FAST_ALIGN;
}

/* Columns col .. col + 7 of a token; zeros where there are none. ld: of a row in elements. */
static __device__ __forceinline__ uint4 load8(const uint16_t *x, int64_t token, int col, int cols)
{
    (void)cols;
    return __ldcg((const uint4 *)(x + token * pack_row_elems(cols) + col));
}

static __device__ __forceinline__ uint4 load8(const float *x, int64_t token, int col, int cols)
{
    const float *from = x + token * cols + col;
    float v[8];

    if (cols % 4 == 0 && col + 8 <= cols) {
        const float4 lo = __ldcg((const float4 *)from), hi = __ldcg((const float4 *)from + 1);

        return make_uint4(pack_bf16(lo.x, lo.y), pack_bf16(lo.z, lo.w), pack_bf16(hi.x, hi.y),
                          pack_bf16(hi.z, hi.w));
    }
#pragma unroll
    for (int i = 0; i < 8; i++)
        v[i] = col + i < cols ? from[i] : 0;
    return make_uint4(pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]),
                      pack_bf16(v[6], v[7]));
}

/* Any grid. A thread makes 32 columns of a token: 8 lanes a row of atoms, 4 of these at a time. */
template <typename T>
static __global__ void __launch_bounds__(TILE_THREADS)
    tile_kernel(const T *x, int n_tok, int cols, char *ret)
{
    const int64_t n_octets = tiled_tokens(n_tok) / OCTET;
    const int n_groups = (int)(pack_row_elems(cols) / 32);
    const int64_t n = n_octets * n_groups * OCTET;

    grid_release();
    grid_wait();
    for (int64_t i = (int64_t)blockIdx.x * TILE_THREADS + threadIdx.x; i < n;
         i += (int64_t)gridDim.x * TILE_THREADS) {
        const int in_octet = (int)(i % OCTET), group = (int)(i / OCTET % n_groups);
        const int64_t octet = i / OCTET / n_groups, token = octet * OCTET + in_octet;
        char *atom = ret + ((group / 2) * n_octets + octet) * ATOM_BYTES;
        uint4 v[4] = {};

        if (token < n_tok)
#pragma unroll
            for (int t = 0; t < 4; t++)
                v[t] = load8(x, token, group * 32 + t * 8, cols);
        /* the words j of the four are the pair of columns that B has side by side */
        *(uint4 *)(atom + wgmma_piece(in_octet, group % 2 * 4)) =
            make_uint4(v[0].x, v[1].x, v[2].x, v[3].x);
        *(uint4 *)(atom + wgmma_piece(in_octet, group % 2 * 4 + 1)) =
            make_uint4(v[0].y, v[1].y, v[2].y, v[3].y);
        *(uint4 *)(atom + wgmma_piece(in_octet, group % 2 * 4 + 2)) =
            make_uint4(v[0].z, v[1].z, v[2].z, v[3].z);
        *(uint4 *)(atom + wgmma_piece(in_octet, group % 2 * 4 + 3)) =
            make_uint4(v[0].w, v[1].w, v[2].w, v[3].w);
    }
}

size_t gemm_fast_tiled_bytes(int n_tok, int cols)
{
    return (size_t)tiled_tokens(n_tok) * (size_t)pack_row_elems(cols) * 2;
}

template <typename T>
static cudaError_t launch_tile(const T *x, int n_tok, int cols, void *ret, cudaStream_t stream)
{
    const int64_t n = tiled_tokens(n_tok) * (pack_row_elems(cols) / 32);
    const int64_t n_blocks = (n + TILE_THREADS - 1) / TILE_THREADS;

    if (!n_tok)
        return cudaSuccess;
    return launch_kernel(tile_kernel<T>, dim3((unsigned)(n_blocks < 65536 ? n_blocks : 65536)),
                         TILE_THREADS, 0, true, stream, x, n_tok, cols, (char *)ret);
}

cudaError_t gemm_fast_tile(const float *x, int n_tok, int cols, void *ret, cudaStream_t stream)
{
    return launch_tile(x, n_tok, cols, ret, stream);
}

cudaError_t gemm_fast_tile_rounded(const uint16_t *x, int n_tok, int cols, void *ret,
                                   cudaStream_t stream)
{
    return launch_tile(x, n_tok, cols, ret, stream);
}

/* ---- products ----------------------------------------------------------------------------- */

#define UNIT_TILES 2 /* row tiles of a unit */
#define UNIT_ROWS (UNIT_TILES * PACK_ROWS)
#define STEPS 4 /* under way */
#define MULTIPLY_THREADS (UNIT_TILES * 128)
#define THREADS (MULTIPLY_THREADS + 128)
#define MULTIPLY_WARPS (MULTIPLY_THREADS / 32)
#define MULTIPLY_REGISTERS 232
#define FETCH_REGISTERS 40

#define PIECE_BYTES (STEP_K * PACK_SLICE_ROWS * 2) /* a slice's columns of a step */
#define W_BYTES (UNIT_ROWS * STEP_K * 2)

#define PICK_TOKENS 64 /* whose logits lie in shared memory at a time */
#define PICK_PARTS (MULTIPLY_THREADS / PICK_TOKENS) /* threads of a token */
#define PICK_ROWS (UNIT_ROWS / PICK_PARTS)          /* of a unit, one thread's */

static constexpr __host__ __device__ int step_bytes(int n)
{
    return W_BYTES + n * STEP_K * 2;
}

static constexpr __host__ __device__ int shared_bytes(int n, bool is_pick)
{
    return STEPS * step_bytes(n) + (is_pick ? UNIT_ROWS * PICK_TOKENS * 4 : 0) + 2 * STEPS * 8;
}

static_assert(shared_bytes(256, true) <= 227 << 10, "what a block may have");

/* Which units a block goes through. */
struct fast_plan {
    const char *x; /* tiles */
    int64_t n_octets;
    int n_steps;       /* of a unit */
    int n_token_tiles; /* of N tokens */
    int n_units;       /* of rows, of all parts */
    int n_groups;      /* blocks that share a token tile; PICK alone */
};

struct fast_pick {
    const struct gemm_pick_row *rows;
    struct pick_state *states; /* (n_groups * PICK_PARTS, n_octets * OCTET) */
};

struct unit_rows {
    const char *w; /* row tiles */
    float *y;      /* of token 0 and the first row */
    int rows;      /* of the matrix: the stride of tokens */
    int n_rows;    /* that there are */
};

static __device__ __forceinline__ struct unit_rows find_rows(const struct gemm_args &a, int u,
                                                             int n_steps)
{
    int part = 0, n = (a.parts[0].rows + UNIT_ROWS - 1) / UNIT_ROWS;
    struct unit_rows ret;

#pragma unroll
    for (int i = 1; i < GEMM_MAX_PARTS; i++)
        if (part == i - 1 && i < a.n_parts && u >= n) {
            u -= n;
            part = i;
            n = (a.parts[i].rows + UNIT_ROWS - 1) / UNIT_ROWS;
        }
    const struct gemm_part *p = &a.parts[part];

    ret.w = (const char *)p->w +
            (int64_t)u * UNIT_TILES * (n_steps / (PACK_K / STEP_K)) * PACK_TILE_BYTES;
    ret.y = p->y + (int64_t)u * UNIT_ROWS;
    ret.rows = p->rows;
    ret.n_rows = min(UNIT_ROWS, p->rows - u * UNIT_ROWS);
    return ret;
}

/* A block's units: (unit, token tile), one after the other. */
struct walk {
    int unit, token_tile, end, step; /* PICK: units to end, of one token tile; else pairs, flat */
};

template <bool PICK> static __device__ __forceinline__ struct walk walk_begin(const fast_plan &p)
{
    struct walk w;

    if (PICK) {
        const int group = blockIdx.x / p.n_token_tiles;

        w.token_tile = blockIdx.x % p.n_token_tiles;
        w.unit = (int)((int64_t)p.n_units * group / p.n_groups);
        w.end = (int)((int64_t)p.n_units * (group + 1) / p.n_groups);
        w.step = 0;
    } else {
        w.step = blockIdx.x;
        w.end = p.n_units * p.n_token_tiles;
        w.unit = w.step / p.n_token_tiles;
        w.token_tile = w.step % p.n_token_tiles;
    }
    return w;
}

template <bool PICK> static __device__ __forceinline__ bool walk_is_over(const struct walk &w)
{
    return PICK ? w.unit >= w.end : w.step >= w.end;
}

template <bool PICK>
static __device__ __forceinline__ void walk_next(const fast_plan &p, struct walk *w)
{
    if (PICK) {
        w->unit++;
    } else { /* neighbours in the grid share rows */
        w->step += gridDim.x;
        w->unit = w->step / p.n_token_tiles;
        w->token_tile = w->step % p.n_token_tiles;
    }
}

static __device__ __forceinline__ void barrier_arrive(uint64_t *b)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_addr(b)) : "memory");
}

/* One lane: everything of every step. */
template <int N, bool PICK>
static __device__ void fetch_steps(const struct gemm_args &a, const struct fast_plan &p, char *ring,
                                   uint64_t *full, uint64_t *empty)
{
    int at = 0;

    for (struct walk w = walk_begin<PICK>(p); !walk_is_over<PICK>(w); walk_next<PICK>(p, &w)) {
        const struct unit_rows rows = find_rows(a, w.unit, p.n_steps);
        const int n_tiles = (rows.n_rows + PACK_ROWS - 1) / PACK_ROWS;
        const int64_t tile_row = (int64_t)(p.n_steps / (PACK_K / STEP_K)) * PACK_TILE_BYTES;
        const char *x = p.x + (int64_t)w.token_tile * (N / OCTET) * ATOM_BYTES;

        for (int k = 0; k < p.n_steps; k++, at++) {
            const int slot = at % STEPS;
            char *to = ring + slot * step_bytes(N);
            const char *from = rows.w + (int64_t)(k / (PACK_K / STEP_K)) * PACK_TILE_BYTES +
                               k % (PACK_K / STEP_K) * PIECE_BYTES;

            barrier_wait(&empty[slot], (at / STEPS & 1) ^ 1);
            barrier_expect(&full[slot], (uint32_t)(n_tiles * 4 * PIECE_BYTES + N * STEP_K * 2));
            bulk_copy(to + W_BYTES, x + k * p.n_octets * ATOM_BYTES, N * STEP_K * 2, &full[slot]);
            for (int i = 0; i < n_tiles * 4; i++)
                bulk_copy(to + i * PIECE_BYTES, from + i / 4 * tile_row + i % 4 * PACK_SLICE_BYTES,
                          PIECE_BYTES, &full[slot]);
        }
    }
}

/* A step's products. The step before is under way meanwhile, with weights of its own. */
template <int N>
static __device__ __forceinline__ void multiply_step(const char *ring, uint64_t *full,
                                                     uint64_t *empty, int *at, bool is_first,
                                                     uint4 (&w)[STEP_K / 16], float (&c)[N / 2])
{
    const int slot = *at % STEPS;
    const char *step = ring + slot * step_bytes(N);
    const uint4 *from = (const uint4 *)(step + threadIdx.x / 32 * PIECE_BYTES) + threadIdx.x % 32;
    const uint64_t b = wgmma_operand(shared_addr(step + W_BYTES));

    barrier_wait(&full[slot], *at / STEPS & 1);
#pragma unroll
    for (int i = 0; i < STEP_K / 16; i++)
        w[i] = from[i * 32];
    wgmma_begin();
#pragma unroll
    for (int i = 0; i < STEP_K / 16; i++)
        wgmma<N>(c, w[i], b + i * WGMMA_STEP, !is_first || i > 0);
    wgmma_commit();
    wgmma_wait<1>();
    if (!is_first && threadIdx.x % 32 == 0)
        barrier_arrive(&empty[(*at - 1) % STEPS]);
    (*at)++;
}

template <int N>
static __device__ __forceinline__ void store_unit(const struct gemm_args &a,
                                                  const struct unit_rows &rows, int first,
                                                  const float (&c)[N / 2])
{
    const int lane = threadIdx.x % 32;
    const int row = threadIdx.x / 32 * PACK_SLICE_ROWS + lane / 4;

#pragma unroll
    for (int n = 0; n < N / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int r = row + i / 2 * 8, token = first + n * 8 + lane % 4 * 2 + i % 2;
            float *y = rows.y + (int64_t)token * rows.rows + r;

            if (r < rows.n_rows && token < a.n_tok)
                *y = a.is_added ? *y + c[4 * n + i] : c[4 * n + i];
        }
}

/* Threads that multiply wait for each other. */
static __device__ __forceinline__ void multiply_sync(void)
{
    asm volatile("bar.sync 1, %0;" ::"n"(MULTIPLY_THREADS) : "memory");
}

/* Where the logit of (row, token) lies: what a store writes, and what a load reads, hits all banks.
 */
static __device__ __forceinline__ int logit_at(int row, int token)
{
    return row * PICK_TOKENS + (token ^ (row & 3) * 8);
}

/* PICK_ROWS more logits of a token, from row `row` of the unit on, which is id. */
static __device__ __forceinline__ void pick_add_rows(struct pick_state *s, const float *logits,
                                                     int row, int n_rows, int token, int32_t id,
                                                     const struct gemm_pick_row &by)
{
    float max = -INFINITY, sum = 0;
    int32_t max_id = -1;

    for (int i = 0; i < n_rows; i++) {
        const float v = logits[logit_at(row + i, token)];
        struct best one = { (double)v, id + i };

        if (isnan(v))
            continue;
        if (max_id < 0 || v > max) {
            max = v;
            max_id = id + i;
        }
        if (id + i == by.mask_id || id + i == by.banned_id)
            continue;
        if (by.temperature > 0)
            one.score += __dmul_rn(by.temperature,
                                   token_noise(row_key(by.seed, by.draw, by.position), id + i));
        if (better(s->best, one).id == one.id) {
            s->best = one;
            s->best_logit = v;
        }
    }
    if (max_id < 0)
        return;
    if (s->max_id < 0 || max > s->max) {
        s->sum = s->max_id < 0 ? 0 : s->sum * (double)__expf(s->max - max);
        s->max = max;
        s->max_id = max_id;
    }
    for (int i = 0; i < n_rows; i++) {
        const float v = logits[logit_at(row + i, token)];

        sum += isnan(v) ? 0 : v == s->max ? 1 : __expf(v - s->max);
    }
    s->sum += sum;
}

/* The logits of a unit into the states of its tokens: 64 tokens at a time go through shared memory,
 * PICK_PARTS threads each. */
template <int N>
static __device__ __forceinline__ void
pick_unit(const struct gemm_args &a, const struct fast_pick &pick, float *logits, int first,
          int unit, int n_rows, const float (&c)[N / 2], struct pick_state (&states)[N / 64])
{
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int part = threadIdx.x / PICK_TOKENS, token = threadIdx.x % PICK_TOKENS;

#pragma unroll
    for (int r = 0; r < N / PICK_TOKENS; r++) {
        multiply_sync(); /* those before were read */
#pragma unroll
        for (int n = 0; n < PICK_TOKENS / 8; n++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const int row = warp * PACK_SLICE_ROWS + lane / 4 + h * 8;
                const int i = 4 * (r * (PICK_TOKENS / 8) + n) + 2 * h;

                *(float2 *)(logits + logit_at(row, n * 8 + lane % 4 * 2)) =
                    make_float2(c[i], c[i + 1]);
            }
        multiply_sync();
        if (first + r * PICK_TOKENS + token < a.n_tok)
            pick_add_rows(&states[r], logits, part * PICK_ROWS,
                          max(0, min(PICK_ROWS, n_rows - part * PICK_ROWS)), token,
                          unit * UNIT_ROWS + part * PICK_ROWS,
                          pick.rows[first + r * PICK_TOKENS + token]);
    }
}

/* Any grid; PICK: n_groups blocks a token tile. A warpgroup has a row tile of each unit. f32 sums.
 */
template <int N, bool PICK>
static __global__ void __launch_bounds__(THREADS, 1)
    fast_kernel(const __grid_constant__ struct gemm_args a,
                const __grid_constant__ struct fast_plan p,
                const __grid_constant__ struct fast_pick pick)
{
    extern __shared__ __align__(ALIGN) char ring[];
    float *logits = (float *)(ring + STEPS * step_bytes(N));
    uint64_t *full = (uint64_t *)((char *)logits + (PICK ? UNIT_ROWS * PICK_TOKENS * 4 : 0));
    uint64_t *empty = full + STEPS;

    grid_release();
    if (threadIdx.x == 0) {
        for (int i = 0; i < STEPS; i++) {
            barrier_init(&full[i], 1);
            barrier_init(&empty[i], MULTIPLY_WARPS);
        }
        barrier_init_fence();
    }
    __syncthreads();
    grid_wait();
    if (threadIdx.x >= MULTIPLY_THREADS) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(FETCH_REGISTERS));
        if (threadIdx.x == MULTIPLY_THREADS)
            fetch_steps<N, PICK>(a, p, ring, full, empty);
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(MULTIPLY_REGISTERS));

        struct pick_state states[N / 64];
        struct walk w = walk_begin<PICK>(p);
        const int first_of_picks = w.token_tile * N;
        int at = 0;

#pragma unroll
        for (int r = 0; r < N / 64; r++)
            states[r] = pick_none();
        for (; !walk_is_over<PICK>(w); walk_next<PICK>(p, &w)) {
            const struct unit_rows rows = find_rows(a, w.unit, p.n_steps);
            uint4 w0[STEP_K / 16], w1[STEP_K / 16];
            float c[N / 2];

            for (int k = 0; k < p.n_steps; k += 2) {
                multiply_step<N>(ring, full, empty, &at, k == 0, w0, c);
                multiply_step<N>(ring, full, empty, &at, false, w1, c);
            }
            wgmma_wait<0>();
            if (threadIdx.x % 32 == 0)
                barrier_arrive(&empty[(at - 1) % STEPS]);
            if (PICK)
                pick_unit<N>(a, pick, logits, w.token_tile * N, w.unit, rows.n_rows, c, states);
            else
                store_unit<N>(a, rows, w.token_tile * N, c);
        }
        if (PICK) {
            const int part = threadIdx.x / PICK_TOKENS, token = threadIdx.x % PICK_TOKENS;
            const int row = blockIdx.x / p.n_token_tiles * PICK_PARTS + part;

#pragma unroll
            for (int r = 0; r < N / 64; r++)
                pick.states[row * (p.n_octets * OCTET) + first_of_picks + r * PICK_TOKENS + token] =
                    states[r];
        }
    }
}

/* ---- launching ---------------------------------------------------------------------------- */

enum { MAX_BLOCKS = 256 }; /* that share the tokens of a vocabulary's products */

static int count_units(const struct gemm_args *a)
{
    int n = 0;

    for (int i = 0; i < a->n_parts; i++)
        n += (a->parts[i].rows + UNIT_ROWS - 1) / UNIT_ROWS;
    return n;
}

static struct fast_plan make_plan(const struct gemm_args *a, const void *tiled, int n)
{
    struct fast_plan p;

    p.x = (const char *)tiled;
    p.n_octets = tiled_tokens(a->n_tok) / OCTET;
    p.n_steps = (int)pack_k_tiles(a->cols) * (PACK_K / STEP_K);
    p.n_token_tiles = (a->n_tok + n - 1) / n;
    p.n_units = count_units(a);
    p.n_groups = 1;
    return p;
}

template <int N>
static cudaError_t launch_products(const struct gemm_args *a, const void *tiled, int n_sm,
                                   cudaStream_t stream)
{
    const struct fast_plan p = make_plan(a, tiled, N);
    const int64_t n = (int64_t)p.n_units * p.n_token_tiles;
    cudaError_t rc = allow_shared(fast_kernel<N, false>, shared_bytes(N, false));

    if (rc != cudaSuccess)
        return rc;
    return launch_kernel(fast_kernel<N, false>, dim3((unsigned)(n < n_sm ? n : n_sm)), THREADS,
                         shared_bytes(N, false), true, stream, *a, p, fast_pick{});
}

/* Time of the products in units of a token's, if a tile has n tokens. */
static int64_t cost(const struct gemm_args *a, int n, int n_sm)
{
    const int64_t n_tiles = (int64_t)count_units(a) * ((a->n_tok + n - 1) / n);

    return (n_tiles + n_sm - 1) / n_sm * n;
}

cudaError_t gemm_fast_launch(const struct gemm_args *a, const void *tiled, cudaStream_t stream)
{
    int n_sm = 0;
    cudaError_t rc = count_sms(&n_sm);

    if (rc != cudaSuccess || !a->n_tok)
        return rc;
    if (cost(a, 256, n_sm) <= cost(a, 128, n_sm) && cost(a, 256, n_sm) <= cost(a, 64, n_sm))
        return launch_products<256>(a, tiled, n_sm, stream);
    if (cost(a, 128, n_sm) <= cost(a, 64, n_sm))
        return launch_products<128>(a, tiled, n_sm, stream);
    return launch_products<64>(a, tiled, n_sm, stream);
}

size_t gemm_fast_pick_bytes(int n_tok)
{
    const size_t n = (size_t)tiled_tokens(n_tok), least = (size_t)MAX_BLOCKS * GEMM_FAST_ALIGN;

    return (n > least ? n : least) * PICK_PARTS * sizeof(struct pick_state);
}

template <int N>
static cudaError_t launch_pick(const struct gemm_args *a, const void *tiled, int n_sm,
                               const struct gemm_pick_row *rows, void *work, struct pick *ret,
                               cudaStream_t stream)
{
    const struct fast_pick pick = { rows, (struct pick_state *)work };
    struct fast_plan p = make_plan(a, tiled, N);
    cudaError_t rc = allow_shared(fast_kernel<N, true>, shared_bytes(N, true));

    p.n_groups = min(n_sm, (int)MAX_BLOCKS) / p.n_token_tiles;
    p.n_groups = max(1, min(p.n_groups, p.n_units));
    if (rc == cudaSuccess)
        rc = launch_kernel(fast_kernel<N, true>, dim3((unsigned)(p.n_groups * p.n_token_tiles)),
                           THREADS, shared_bytes(N, true), true, stream, *a, p, pick);
    if (rc != cudaSuccess)
        return rc;
    return launch_kernel(pick_rows, dim3((unsigned)a->n_tok), 32, 0, true, stream, pick.states,
                         p.n_groups * PICK_PARTS, (int)(p.n_octets * OCTET), a->parts[0].rows, rows,
                         ret);
}

cudaError_t gemm_fast_pick_launch(const struct gemm_args *a, const void *tiled,
                                  const struct gemm_pick_row *rows, void *work, struct pick *ret,
                                  cudaStream_t stream)
{
    int n_sm = 0;
    cudaError_t rc = count_sms(&n_sm);

    if (rc != cudaSuccess || !a->n_tok)
        return rc;
    return a->n_tok <= 64    ? launch_pick<64>(a, tiled, n_sm, rows, work, ret, stream)
           : a->n_tok <= 128 ? launch_pick<128>(a, tiled, n_sm, rows, work, ret, stream)
                             : launch_pick<256>(a, tiled, n_sm, rows, work, ret, stream);
}
