/*
 * Projections for many tokens: gemm_fast.h.
 *
 * Weights are the A operand of wgmma, in registers, from the fragments of pack.h as they are; N
 * tokens are the columns. A unit of work is 128 rows (two row tiles, a warpgroup each) of a matrix,
 * all their columns, for N tokens; each block goes through a share of them. One lane of a third
 * warpgroup fetches steps of 64 columns into a ring, units ahead of those that multiply.
 *
 * (Two blocks of a cluster that fetch each half of the activations for both, by a copy to both,
 * gain nothing in q, k, v and o and 4 % in the head. Who tells the other block that a step is used
 * up must not do so with .release.cluster: that waits for all that the thread has written, and a
 * step then takes 1.1 us however small it is.)
 */
#include "kernels/cuda/gemm_fast.h"

#include "kernels/cuda/fused.h"
#include "kernels/cuda/gemm_tile.cuh"
#include "kernels/cuda/heads.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/pick_state.cuh"
#include "kernels/cuda/sm90.cuh"
#include "kernels/cuda/wgmma.cuh"

#define ALIGN 1024
#define OCTET TILE_OCTET
#define STEP_K TILE_COLS /* columns of a step */
#define ATOM_BYTES TILE_ATOM_BYTES

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

enum epilogue { STORE, PICK, HEADS }; /* what becomes of the sums */

#define PICK_PARTS (MULTIPLY_THREADS / AT_ONCE) /* threads of a token */
#define PICK_ROWS (UNIT_ROWS / PICK_PARTS)      /* of a unit, one thread's */
#define GROUP 128                               /* threads of a warpgroup */

static constexpr __host__ __device__ int step_bytes(int n)
{
    return W_BYTES + n * STEP_K * 2;
}

/* Sums that go through shared memory, of AT_ONCE tokens. Floats of a token, of a unit or of what a
 * warpgroup has of it: lanes hit all banks. */
#define AT_ONCE 64
#define UNIT_STRIDE (UNIT_ROWS + 4)
#define GROUP_STRIDE (PACK_ROWS + 4)

static constexpr __host__ __device__ int through_bytes(enum epilogue to)
{
    return to == STORE ? 0 : (to == PICK ? UNIT_TILES * GROUP_STRIDE : UNIT_STRIDE) * AT_ONCE * 4;
}

static constexpr __host__ __device__ int shared_bytes(int n, enum epilogue to)
{
    return STEPS * step_bytes(n) + through_bytes(to) + 2 * STEPS * 8;
}

static_assert(shared_bytes(256, PICK) <= 227 << 10, "what a block may have");
static_assert(shared_bytes(256, HEADS) <= 227 << 10, "what a block may have");

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
    int part, row; /* of the matrix the first is */
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
    ret.part = part;
    ret.row = u * UNIT_ROWS;
    ret.n_rows = min(UNIT_ROWS, p->rows - u * UNIT_ROWS);
    return ret;
}

/* A block's units: (unit, token tile), one after the other. */
struct walk {
    int unit, token_tile, end, step; /* PICK: units to end, of one token tile; else both, flat */
};

template <enum epilogue TO>
static __device__ __forceinline__ struct walk walk_begin(const fast_plan &p)
{
    struct walk w;

    if (TO == PICK) {
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

template <enum epilogue TO>
static __device__ __forceinline__ bool walk_is_over(const struct walk &w)
{
    return TO == PICK ? w.unit >= w.end : w.step >= w.end;
}

template <enum epilogue TO>
static __device__ __forceinline__ void walk_next(const fast_plan &p, struct walk *w)
{
    if (TO == PICK) {
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
template <int N, enum epilogue TO>
static __device__ void fetch_steps(const struct gemm_args &a, const struct fast_plan &p, char *ring,
                                   uint64_t *full, uint64_t *empty)
{
    int at = 0;

    for (struct walk w = walk_begin<TO>(p); !walk_is_over<TO>(w); walk_next<TO>(p, &w)) {
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

/* Half of the thread's sums at a time: what they are added to is read before any is written. */
template <int N>
static __device__ __forceinline__ void store_unit(const struct gemm_args &a,
                                                  const struct unit_rows &rows, int first,
                                                  const float (&c)[N / 2])
{
    constexpr int READ_AHEAD = N / 4;
    const int lane = threadIdx.x % 32;
    const int row = threadIdx.x / 32 * PACK_SLICE_ROWS + lane / 4;

#pragma unroll
    for (int from = 0; from < N / 2; from += READ_AHEAD) {
        float before[READ_AHEAD] = {};

        if (a.is_added)
#pragma unroll
            for (int j = 0; j < READ_AHEAD; j++) {
                const int i = from + j, r = row + i / 2 % 2 * 8;
                const int token = first + i / 4 * 8 + lane % 4 * 2 + i % 2;

                if (r < rows.n_rows && token < a.n_tok)
                    before[j] = rows.y[(int64_t)token * rows.rows + r];
            }
#pragma unroll
        for (int j = 0; j < READ_AHEAD; j++) {
            const int i = from + j, r = row + i / 2 % 2 * 8;
            const int token = first + i / 4 * 8 + lane % 4 * 2 + i % 2;

            if (r < rows.n_rows && token < a.n_tok)
                rows.y[(int64_t)token * rows.rows + r] = a.is_added ? before[j] + c[i] : c[i];
        }
    }
}

/* Threads that multiply wait for each other. */
static __device__ __forceinline__ void multiply_sync(void)
{
    asm volatile("bar.sync 1, %0;" ::"n"(MULTIPLY_THREADS) : "memory");
}

/* Those of a warpgroup. */
static __device__ __forceinline__ void group_sync(void)
{
    named_barrier(2 + threadIdx.x / GROUP, GROUP);
}

/* The thread's sums of AT_ONCE tokens from number r AT_ONCE on to shared memory; to: of the first
 * token and the warp's first row. */
template <int N>
static __device__ __forceinline__ void put_through(float *to, int stride, int r,
                                                   const float (&c)[N / 2])
{
    const int lane = threadIdx.x % 32;

#pragma unroll
    for (int j = 0; j < AT_ONCE / 2; j++) {
        const int token = j / 4 * 8 + lane % 4 * 2 + j % 2, row = lane / 4 + j / 2 % 2 * 8;

        to[token * stride + row] = c[r * (AT_ONCE / 2) + j];
    }
}

static __device__ __forceinline__ bool is_among(int32_t id, int32_t first, int n)
{
    return (uint32_t)(id - first) < (uint32_t)n;
}

/* A struct pick_state less what can be told from the rest; registers are short. */
struct few_state {
    double sum, score;
    float max;
    int32_t max_id, id;
};

static __device__ __forceinline__ struct pick_state pick_whole(const struct few_state &s,
                                                               float best_logit)
{
    struct pick_state ret = { s.sum, { s.score, s.id }, best_logit, s.max, s.max_id };

    return ret;
}

/* The logit that the noise was added to: exact, once it is an f32. */
static __device__ __forceinline__ float best_logit(const struct few_state &s,
                                                   const struct gemm_pick_row &by)
{
    if (by.temperature <= 0 || s.id < 0)
        return (float)s.score;
    return (float)(s.score - __dmul_rn(by.temperature,
                                       token_noise(row_key(by.seed, by.draw, by.position), s.id)));
}

/* May all of PICK_ROWS tokens from id on be proposed, and is there no noise? Nearly always. */
static __device__ __forceinline__ bool is_plain(const struct gemm_pick_row &by, int32_t id)
{
    return !(by.temperature > 0) && !is_among(by.mask_id, id, PICK_ROWS) &&
           !is_among(by.banned_id, id, PICK_ROWS);
}

/* n_rows more logits of a token; the first is id's. Where they are PICK_ROWS numbers and plain, a
 * few instructions each. */
static __device__ __forceinline__ void pick_add_rows(struct few_state *s, const float *logits,
                                                     int n_rows, int32_t id, bool plain,
                                                     const struct gemm_pick_row &by)
{
    float v[PICK_ROWS], max[2] = { -INFINITY, -INFINITY }, sum[2] = { 0, 0 };
    struct pick_state other;
    int at = 0;

#pragma unroll
    for (int i = 0; i < PICK_ROWS; i += 4)
        *(float4 *)&v[i] = *(const float4 *)(logits + i);
#pragma unroll
    for (int i = 0; i < PICK_ROWS; i++)
        max[i % 2] = fmaxf(max[i % 2], v[i]);
    max[0] = fmaxf(max[0], max[1]);
    max[1] = s->max_id < 0 ? max[0] : fmaxf(s->max, max[0]); /* of all so far */
#pragma unroll
    for (int i = PICK_ROWS - 1; i >= 0; i--) {
        sum[i % 2] += __expf(v[i] - max[1]);
        at = v[i] == max[0] ? i : at;
    }
    sum[0] += sum[1]; /* NaN: one of them is, or infinite */
    if (n_rows != PICK_ROWS || !plain || isnan(sum[0])) {
        other = pick_none();
#pragma unroll 1
        for (int i = 0; i < n_rows; i++)
            pick_add(&other, logits[i], id + i, by);
        other = pick_join(pick_whole(*s, 0), other);
        *s = { other.sum, other.best.score, other.max, other.max_id, other.best.id };
        return;
    }
    if (s->max_id < 0 || max[0] > s->max) {
        s->sum = s->max_id < 0 ? 0 : s->sum * pick_share(s->max, max[1]);
        s->max = max[1];
        s->max_id = id + at;
    }
    s->sum += sum[0];
    if (s->id < 0 || (double)max[0] > s->score) { /* ids ascend */
        s->score = (double)max[0];
        s->id = id + at;
    }
}

/* The logits of a unit into the states of its tokens: AT_ONCE tokens at a time go through shared
 * memory. A warpgroup keeps to its own rows: it need not wait for the other. */
template <int N>
static __device__ __forceinline__ void
pick_unit(const struct gemm_args &a, const struct fast_pick &pick, float *through, int first,
          int unit, int n_rows, const float (&c)[N / 2], struct few_state (&states)[N / 64])
{
    const int group = threadIdx.x / GROUP, warp = threadIdx.x % GROUP / 32;
    const int part = threadIdx.x / AT_ONCE, token = threadIdx.x % AT_ONCE;
    const int32_t id = unit * UNIT_ROWS + part * PICK_ROWS;
    float *logits = through + group * AT_ONCE * GROUP_STRIDE;

#pragma unroll
    for (int r = 0; r < N / AT_ONCE; r++) {
        const struct gemm_pick_row &by = pick.rows[min(first + r * AT_ONCE + token, a.n_tok - 1)];
        const bool plain = is_plain(by, id); /* asked for while others write */

        group_sync(); /* those before were read */
        put_through<N>(logits + warp * PACK_SLICE_ROWS, GROUP_STRIDE, r, c);
        group_sync();
        if (first + r * AT_ONCE + token < a.n_tok)
            pick_add_rows(&states[r], logits + token * GROUP_STRIDE + part * PICK_ROWS % PACK_ROWS,
                          max(0, min(PICK_ROWS, n_rows - part * PICK_ROWS)), id, plain, by);
    }
}

/* ---- heads -------------------------------------------------------------------------------- */

#define WARP_TOKENS                                                                                \
    (AT_ONCE / MULTIPLY_WARPS) /* in a row, of those that go through shared memory */
#define TURNED 4               /* that a warp norms and turns at a time */

/* Where a token's rows of a part go: queries, keys or values. */
static __device__ __forceinline__ float *head_at(const struct fused_qk &h, int part, int token,
                                                 int32_t position)
{
    const struct attn_segment *seg;

    if (part == 0)
        return h.q + (size_t)token * h.n_head * h.d_head;
    seg = &h.segs[h.seqs[token]];
    return (float *)(part == 1 ? seg->keys : seg->values) + h.kv_offset +
           (size_t)position * h.n_kv_head * h.d_head; /* caches are made of writable memory */
}

/* Of a token that the warp is to bring where it goes: a lane knows one of a unit's. */
struct head_token {
    int32_t position;
    float *to; /* the unit's first row; NULL: there is no such token */
};

/* Lane l: token l % WARP_TOKENS of the warp's, of the AT_ONCE that come as number l / WARP_TOKENS.
 */
static __device__ __forceinline__ struct head_token
find_token(const struct fused_qk &h, int first, int n_tok, const struct unit_rows &rows)
{
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int token =
        first + lane / WARP_TOKENS * AT_ONCE + warp * WARP_TOKENS + lane % WARP_TOKENS;
    struct head_token ret = { 0, NULL };

    if (token < n_tok) {
        ret.position = h.positions[token];
        ret.to = head_at(h, rows.part, token, ret.position) + rows.row;
    }
    return ret;
}

/* What each of TURNED sums comes to over lanes that share a row (32, or 16), in the order of
 * head_sum_squares(): neighbours first. Of sum j, for the lanes l with l % 4 == j. */
static __device__ __forceinline__ double add_lanes(const double (&sums)[TURNED], int lanes)
{
    const bool odd = threadIdx.x & 1, upper = threadIdx.x & 2;
    const double mine0 = odd ? sums[1] : sums[0], mine1 = odd ? sums[3] : sums[2];
    const double sum0 = mine0 + __shfl_xor_sync(~0u, odd ? sums[0] : sums[1], 1);
    const double sum1 = mine1 + __shfl_xor_sync(~0u, odd ? sums[2] : sums[3], 1);
    double sum = (upper ? sum1 : sum0) + __shfl_xor_sync(~0u, upper ? sum0 : sum1, 2);

    static_assert(TURNED == 4, "two steps leave one sum a lane");
#pragma unroll
    for (int o = 4; o <= 16; o *= 2)
        if (o < lanes)
            sum += __shfl_xor_sync(~0u, sum, o);
    return sum;
}

/* rope_turn() of one of a pair; sin: negative for the first of it. */
static __device__ __forceinline__ float turn_half(float v, float other, float cos, float sin)
{
    return __fmaf_rn(v, cos, __fmul_rn(other, sin));
}

/*
 * TURNED tokens' rows of a unit, four of each a lane, which are one head of 128 or two of 64: what
 * qk_kernel (fused.cu) makes of them, in its orders of sums.
 */
static __device__ __forceinline__ void turn_heads(const struct fused_qk &h, bool is_query,
                                                  const int32_t (&positions)[TURNED],
                                                  float4 (&v)[TURNED])
{
    const int lanes = h.d_head / 4, dim = threadIdx.x % 32 % lanes * 4, half = h.d_rot / 2;
    const float4 w = *(const float4 *)((is_query ? h.q_norm : h.k_norm) + dim);
    float4 cos[TURNED], sin[TURNED];
    double sums[TURNED];
    float factor;

#pragma unroll
    for (int j = 0; j < TURNED; j++) {
        const float *turn = h.turns + (size_t)positions[j] * 2 * half + (dim & (half - 1));

        cos[j] = __ldg((const float4 *)turn);
        sin[j] = __ldg((const float4 *)(turn + half));
    }
#pragma unroll
    for (int j = 0; j < TURNED; j++) {
        double squares[4] = { 0, 0, 0, 0 };

        add_squares(squares, v[j]);
        sums[j] = add_four(squares);
    }
    factor = rms_factor_of(add_lanes(sums, lanes), lanes == 32 ? 1.0 / 128 : 1.0 / 64, h.eps);
#pragma unroll
    for (int j = 0; j < TURNED; j++)
        v[j] = head_norm_quad(v[j], __shfl_sync(~0u, factor, (threadIdx.x & 16) + j), w);
#pragma unroll
    for (int j = 0; j < TURNED; j++) {
        const float4 other = make_float4(
            __shfl_xor_sync(~0u, v[j].x, half / 4), __shfl_xor_sync(~0u, v[j].y, half / 4),
            __shfl_xor_sync(~0u, v[j].z, half / 4), __shfl_xor_sync(~0u, v[j].w, half / 4));
        const float sign = dim < half ? -1 : 1;

        const float4 turned = make_float4(turn_half(v[j].x, other.x, cos[j].x, sign * sin[j].x),
                                          turn_half(v[j].y, other.y, cos[j].y, sign * sin[j].y),
                                          turn_half(v[j].z, other.z, cos[j].z, sign * sin[j].z),
                                          turn_half(v[j].w, other.w, cos[j].w, sign * sin[j].w));

        v[j].x = dim < h.d_rot ? turned.x : v[j].x;
        v[j].y = dim < h.d_rot ? turned.y : v[j].y;
        v[j].z = dim < h.d_rot ? turned.z : v[j].z;
        v[j].w = dim < h.d_rot ? turned.w : v[j].w;
    }
}

/* The rows of a unit to queries or caches: AT_ONCE tokens go through shared memory, a warp takes
 * TURNED after the other; all of what these need is under way together. tokens: find_token(). */
template <int N>
static __device__ __forceinline__ void
heads_unit(const struct fused_qk &h, float *through, const struct head_token &tokens,
           const struct unit_rows &rows, const float (&c)[N / 2])
{
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;

#pragma unroll
    for (int r = 0; r < N / AT_ONCE; r++) {
        multiply_sync(); /* those before were read */
        put_through<N>(through + warp * PACK_SLICE_ROWS, UNIT_STRIDE, r, c);
        multiply_sync();
#pragma unroll 1
        for (int i = 0; i < WARP_TOKENS; i += TURNED) {
            int32_t positions[TURNED];
            float4 v[TURNED];

#pragma unroll
            for (int j = 0; j < TURNED; j++) {
                positions[j] = __shfl_sync(~0u, tokens.position, r * WARP_TOKENS + i + j);
                v[j] = *(const float4 *)(through + (warp * WARP_TOKENS + i + j) * UNIT_STRIDE +
                                         lane * 4);
            }
            if (rows.part < 2)
                turn_heads(h, rows.part == 0, positions, v);
#pragma unroll
            for (int j = 0; j < TURNED; j++) {
                float *to = (float *)__shfl_sync(~0u, (unsigned long long)tokens.to,
                                                 r * WARP_TOKENS + i + j);

                if (to && lane * 4 < rows.n_rows)
                    *(float4 *)(to + lane * 4) = v[j];
            }
        }
    }
}

/* Any grid; PICK: n_groups blocks a token tile. A warpgroup has a row tile of
 * each unit. f32 sums.
 */
template <int N, enum epilogue TO>
static __global__ void __launch_bounds__(THREADS, 1)
    fast_kernel(const __grid_constant__ struct gemm_args a,
                const __grid_constant__ struct fast_plan p,
                const __grid_constant__ struct fast_pick pick,
                const __grid_constant__ struct fused_qk heads)
{
    extern __shared__ __align__(ALIGN) char ring[];
    float *through = (float *)(ring + STEPS * step_bytes(N));
    uint64_t *full = (uint64_t *)((char *)through + through_bytes(TO));
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
            fetch_steps<N, TO>(a, p, ring, full, empty);
        __syncwarp();
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(MULTIPLY_REGISTERS));

        struct few_state states[N / 64];
        struct walk w = walk_begin<TO>(p);
        const int first_of_picks = w.token_tile * N;
        int at = 0;

#pragma unroll
        for (int r = 0; r < N / 64; r++)
            states[r] = { 0, 0, 0, -1, -1 };
        for (; !walk_is_over<TO>(w); walk_next<TO>(p, &w)) {
            const struct unit_rows rows = find_rows(a, w.unit, p.n_steps);
            uint4 w0[STEP_K / 16], w1[STEP_K / 16];
            struct head_token tokens = {};
            float c[N / 2];

            if (TO == HEADS) /* long before they are needed */
                tokens = find_token(heads, w.token_tile * N, a.n_tok, rows);
            for (int k = 0; k < p.n_steps; k += 2) {
                multiply_step<N>(ring, full, empty, &at, k == 0, w0, c);
                multiply_step<N>(ring, full, empty, &at, false, w1, c);
            }
            wgmma_wait<0>();
            if (threadIdx.x % 32 == 0)
                barrier_arrive(&empty[(at - 1) % STEPS]);
            if (TO == PICK)
                pick_unit<N>(a, pick, through, w.token_tile * N, w.unit, rows.n_rows, c, states);
            else if (TO == HEADS)
                heads_unit<N>(heads, through, tokens, rows, c);
            else
                store_unit<N>(a, rows, w.token_tile * N, c);
        }
        if (TO == PICK) {
            const int part = threadIdx.x / AT_ONCE, token = threadIdx.x % AT_ONCE;
            const int row = blockIdx.x / p.n_token_tiles * PICK_PARTS + part;

#pragma unroll
            for (int r = 0; r < N / 64; r++) {
                const int t = first_of_picks + r * AT_ONCE + token;

                if (t < a.n_tok)
                    pick.states[row * (p.n_octets * OCTET) + t] =
                        pick_whole(states[r], best_logit(states[r], pick.rows[t]));
            }
        }
    }
}

/* ---- launching ---------------------------------------------------------------------------- */

enum { MAX_GROUPS = 256 }; /* blocks that share the tokens of a vocabulary's products */

static struct fast_plan make_plan(const struct gemm_args *a, const void *tiled, int n)
{
    struct fast_plan p;
    int n_units = 0;

    for (int i = 0; i < a->n_parts; i++)
        n_units += (a->parts[i].rows + UNIT_ROWS - 1) / UNIT_ROWS;
    p.x = (const char *)tiled;
    p.n_octets = tile_octets(a->n_tok);
    p.n_steps = (int)pack_k_tiles(a->cols) * (PACK_K / STEP_K);
    p.n_token_tiles = (a->n_tok + n - 1) / n;
    p.n_units = n_units;
    p.n_groups = 1;
    return p;
}

template <int N, enum epilogue TO>
static cudaError_t launch_products(const struct gemm_args *a, const void *tiled, int n_sm,
                                   const struct fused_qk &heads, cudaStream_t stream)
{
    const struct fast_plan p = make_plan(a, tiled, N);
    const int64_t n = (int64_t)p.n_units * p.n_token_tiles;
    const dim3 grid((unsigned)(n < n_sm ? n : n_sm));
    cudaError_t rc = allow_shared(fast_kernel<N, TO>, shared_bytes(N, TO));

    if (rc != cudaSuccess)
        return rc;
    return launch_kernel(fast_kernel<N, TO>, grid, THREADS, shared_bytes(N, TO), true, stream, *a,
                         p, fast_pick{}, heads);
}

/* Time of the products by tiles of n tokens, each of which takes `unit`: both as measured. */
static int64_t cost(const struct gemm_args *a, int n, int unit, int n_sm)
{
    const struct fast_plan p = make_plan(a, NULL, n);
    const int64_t n_tiles = (int64_t)p.n_units * p.n_token_tiles;

    return (n_tiles + n_sm - 1) / n_sm * unit;
}

template <enum epilogue TO>
static cudaError_t launch_best(const struct gemm_args *a, const void *tiled,
                               const struct fused_qk &heads, cudaStream_t stream)
{
    int64_t costs[3];
    int n_sm = 0;
    cudaError_t rc = count_sms(&n_sm);

    if (rc != cudaSuccess || !a->n_tok)
        return rc;
    costs[0] = cost(a, 256, 27, n_sm);
    costs[1] = cost(a, 128, 18, n_sm);
    costs[2] = cost(a, 64, 15, n_sm);
    if (costs[0] <= costs[1] && costs[0] <= costs[2])
        return launch_products<256, TO>(a, tiled, n_sm, heads, stream);
    if (costs[1] <= costs[2])
        return launch_products<128, TO>(a, tiled, n_sm, heads, stream);
    return launch_products<64, TO>(a, tiled, n_sm, heads, stream);
}

cudaError_t gemm_fast_launch(const struct gemm_args *a, const void *tiled, cudaStream_t stream)
{
    return launch_best<STORE>(a, tiled, fused_qk{}, stream);
}

bool gemm_fast_heads_fit(int d_head, int d_rot)
{
    const int lanes = d_rot / 8; /* to the other of a pair */

    return (d_head == 64 || d_head == 128) && d_rot % 8 == 0 && lanes && !(lanes & (lanes - 1));
}

cudaError_t gemm_fast_heads_launch(const struct gemm_args *a, const void *tiled,
                                   const struct fused_qk *heads, cudaStream_t stream)
{
    if (a->n_parts != 3 || !gemm_fast_heads_fit(heads->d_head, heads->d_rot))
        return cudaErrorInvalidValue;
    return launch_best<HEADS>(a, tiled, *heads, stream);
}

size_t gemm_fast_pick_bytes(int n_tok)
{
    const size_t n = (size_t)tile_octets(n_tok) * OCTET,
                 least = (size_t)MAX_GROUPS * GEMM_FAST_ALIGN;

    return (n > least ? n : least) * PICK_PARTS * sizeof(struct pick_state);
}

/* A warp a row t: its states, parts[i * stride + t], and the proposal they come to. */
static __global__ void pick_rows(const struct pick_state *parts, int n_parts, int stride,
                                 int n_vocab, const struct gemm_pick_row *rows, struct pick *ret)
{
    const int t = blockIdx.x;
    struct pick_state s = pick_none();

    grid_release();
    grid_wait();
    for (int i = threadIdx.x; i < n_parts; i += 32)
        s = pick_join(s, parts[(size_t)i * stride + t]);
    for (int mask = 16; mask; mask /= 2)
        s = pick_join(s, pick_of_lane(s, mask));
    if (threadIdx.x == 0)
        ret[t] = pick_of(s, pick_best_share(s), n_vocab, rows[t]);
}

template <int N>
static cudaError_t launch_pick(const struct gemm_args *a, const void *tiled, int n_sm,
                               const struct gemm_pick_row *rows, void *work, struct pick *ret,
                               cudaStream_t stream)
{
    const struct fast_pick pick = { rows, (struct pick_state *)work };
    struct fast_plan p = make_plan(a, tiled, N);
    cudaError_t rc = allow_shared(fast_kernel<N, PICK>, shared_bytes(N, PICK));

    p.n_groups = min(n_sm, (int)MAX_GROUPS) / p.n_token_tiles;
    p.n_groups = max(1, min(p.n_groups, p.n_units));
    if (rc == cudaSuccess)
        rc = launch_kernel(fast_kernel<N, PICK>, dim3((unsigned)(p.n_groups * p.n_token_tiles)),
                           THREADS, shared_bytes(N, PICK), true, stream, *a, p, pick, fused_qk{});
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
