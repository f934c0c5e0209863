/*
 * What a block of attention (attention.cu) has in shared memory, and how queries, keys and values
 * get there: as wgmma takes them (wgmma.cuh), upper and lower parts.
 *
 *     queries   32 lines of 64 columns, for each 64 columns
 *     keys      64 lines likewise; of 16 keys the even ones first (key_line())
 *     values    64 lines likewise; of 16 columns the even ones first
 *     p         32 lines of 64 keys
 *
 * so that the thread that has a product's rows g and g + 8 has neighbouring keys, or columns.
 *
 * Raw ones, as products give them, are normed and turned on their way, four rows a warp: keys and
 * values of the segment's own positions come from there, not from the cache.
 */
#ifndef KERNELS_CUDA_ATTENTION_SPAN_CUH
#define KERNELS_CUDA_ATTENTION_SPAN_CUH

#include <limits.h>

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/wgmma.cuh"

#define RAW_TOKENS 64 /* of a segment: two a lane */
#define WARP_ROWS (32 / HEAD_LANES)
#define FEW_WARPS 16
#define KEY_WARPS 8   /* warps from here on fetch keys, and bring own ones */
#define JOIN_WARPS 8  /* warps from here on join */
#define JOIN_SPANS 16 /* that are joined at once */

/* What does not hang on a step's numbers. */
struct few_plan {
    int n_rows;           /* share_of() the blocks */
    int group;            /* queries' heads that share keys */
    uint32_t group_share; /* 2^20 / group, rounded up */
    float scale;
    double inverse_d;
};

/* What a block works on; n of its rows. */
struct tile {
    int first, n;               /* pairs of the segment's head: token first / group, ... */
    int row, n_tok, n_kv;       /* the segment's */
    const float *keys, *values; /* the head's first */
};

/* Positions of a segment's tokens lane and lane + 32; beyond them INT_MAX. */
struct own_positions {
    int at[RAW_TOKENS / 32];
};

/* Tokens [first, first + n) are at those of a span's keys that have a bit in mask. */
struct own_keys {
    int first, n;
    uint32_t mask[ATTN_KEYS / 32];
};

static __device__ __forceinline__ int position_of(const struct own_positions &p, int token)
{
    const int low = __shfl_sync(~0u, p.at[0], token % 32);
    const int high = __shfl_sync(~0u, p.at[1], token % 32);

    return token < 32 ? low : high;
}

static __device__ __forceinline__ int count_below(const struct own_positions &p, int position)
{
    return __popc(__ballot_sync(~0u, p.at[0] < position)) +
           __popc(__ballot_sync(~0u, p.at[1] < position));
}

/* Which of keys [key, key + n) are the segment's own? */
static __device__ __forceinline__ struct own_keys find_own(const struct own_positions &p, int key,
                                                           uint32_t n)
{
    struct own_keys ret;
    uint32_t bits[ATTN_KEYS / 32] = {};

#pragma unroll
    for (int j = 0; j < RAW_TOKENS / 32; j++) {
        const uint32_t at = (uint32_t)p.at[j] - (uint32_t)key, bit = at < n ? 1u << at % 32 : 0;

        bits[0] |= at < 32 ? bit : 0;
        bits[1] |= at < 32 ? 0 : bit;
    }
    static_assert(ATTN_KEYS == 64, "two words");
    ret.mask[0] = __reduce_or_sync(~0u, bits[0]);
    ret.mask[1] = __reduce_or_sync(~0u, bits[1]);
    ret.first = count_below(p, key);
    ret.n = __popc(ret.mask[0]) + __popc(ret.mask[1]);
    return ret;
}

/* Aligned to 1024. */
template <int D> struct few_smem {
    static constexpr int halves = D / 64;
    uint4 q[halves][2][ATTN_QUERIES * 8];
    uint4 k[2][halves][ATTN_KEYS * 8];
    uint4 v[2][halves][ATTN_KEYS * 8];
    uint4 p[2][ATTN_QUERIES * 8];
    float scores[ATTN_QUERIES][ATTN_KEYS + 4];
    float2 factors[FEW_WARPS - JOIN_WARPS][JOIN_SPANS][2];
    struct query rows[ATTN_QUERIES];
    struct own_keys own; /* of the span under way */
    uint64_t sent[2]; /* barriers: all spans' largest scores and sums for this block, and outputs */
};

/* ---- operands ------------------------------------------------------------------------------ */

/* Places are addresses of shared memory: what is written at them is computed from few of them. */

static __device__ __forceinline__ void shared_put(uint32_t to, uint32_t v)
{
    asm volatile("st.shared.b32 [%0], %1;" ::"r"(to), "r"(v) : "memory");
}

static __device__ __forceinline__ void shared_put(uint32_t to, uint2 v)
{
    asm volatile("st.shared.v2.b32 [%0], {%1, %2};" ::"r"(to), "r"(v.x), "r"(v.y) : "memory");
}

static __device__ __forceinline__ void shared_put(uint32_t to, float4 v)
{
    asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(to), "f"(v.x), "f"(v.y), "f"(v.z),
                 "f"(v.w)
                 : "memory");
}

static __device__ __forceinline__ float4 shared_get(uint32_t from)
{
    float4 v;

    asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
                 : "r"(from)
                 : "memory");
    return v;
}

static __device__ __forceinline__ uint32_t piece_at(const uint4 *lines, int line, int piece)
{
    return shared_addr(lines) + (uint32_t)wgmma_piece(line, piece);
}

static __device__ __forceinline__ int key_line(int key)
{
    return (key & ~15) | (key % 16 / 2) | (key % 2 * 8);
}

/* Four columns of queries or keys become operands; low: bytes to the lower parts. */
static __device__ __forceinline__ void put_quad(uint32_t to, int low, float4 x)
{
    uint2 u, l;

    u.x = split_bf16(x.x, x.y, &l.x);
    u.y = split_bf16(x.z, x.w, &l.y);
    shared_put(to, u);
    shared_put(to + low, l);
}

/* The same of values, whose odd columns lie a piece further. */
static __device__ __forceinline__ void put_value_quad(uint32_t to, int low, float4 x)
{
    uint32_t l;

    shared_put(to, split_bf16(x.x, x.z, &l));
    shared_put(to + low, l);
    shared_put(to ^ 16, split_bf16(x.y, x.w, &l));
    shared_put((to ^ 16) + low, l);
}

/* ---- keys and values ----------------------------------------------------------------------- */

/*
 * A warp of KEY_WARPS .. has keys w, w + 8, ... and their values, a lane a quad of each, or of
 * every other one. They come in f32 to the lines that their parts will take, quad 8 i + j to piece
 * j of array i.
 */
template <int D> struct fetched {
    static constexpr int n = ATTN_KEYS / 8 * D / 128; /* of a lane */
    static constexpr int step = ATTN_KEYS / n;        /* keys from one to the next */
    static constexpr int low = few_smem<D>::halves * ATTN_KEYS * WGMMA_ROW_BYTES;

    static __device__ __forceinline__ int quad(void)
    {
        return threadIdx.x % (D / 4);
    }

    static __device__ __forceinline__ int row(void)
    {
        return threadIdx.x / 32 % 8 + threadIdx.x % 32 / (D / 4) * 8;
    }
};

/* Places of a lane's quads: of its first key and the next, and of its first value. */
struct places {
    uint32_t k[2], v;
};

template <int D> static __device__ __forceinline__ uint32_t key_place(const struct places &p, int i)
{
    return D == 128 ? p.k[i % 2] + i / 2 * 16 * WGMMA_ROW_BYTES : p.k[0] + i * 16 * WGMMA_ROW_BYTES;
}

template <int D>
static __device__ __forceinline__ uint32_t value_place(const struct places &p, int i)
{
    return p.v + i * fetched<D>::step * WGMMA_ROW_BYTES;
}

/* Of quads in f32. */
template <int D> static __device__ __forceinline__ struct places raw_places(struct few_smem<D> *s)
{
    const int quad = fetched<D>::quad(), row = fetched<D>::row(), from = quad / 8 * ATTN_KEYS * 8;

    return { { piece_at(s->k[0][0] + from, key_line(row), quad % 8),
               piece_at(s->k[0][0] + from, key_line(row + 8), quad % 8) },
             piece_at(s->v[0][0] + from, row, quad % 8) };
}

/* Of their upper parts. */
template <int D> static __device__ __forceinline__ struct places part_places(struct few_smem<D> *s)
{
    const int quad = fetched<D>::quad(), row = fetched<D>::row(), from = quad / 16 * ATTN_KEYS * 8;
    const int piece = quad % 16 / 2, at = quad % 2 * 8;

    return { { piece_at(s->k[0][0] + from, key_line(row), piece) + at,
               piece_at(s->k[0][0] + from, key_line(row + 8), piece) + at },
             piece_at(s->v[0][0] + from, row, quad % 16 / 4 * 2) + quad % 4 * 4 };
}

/* Of a lane's keys, the i-th: has it a bit in mask? */
template <int D> static __device__ __forceinline__ bool has_bit(const uint32_t mask[2], int i)
{
    const int at = i * fetched<D>::step;

    return (at < 32 ? mask[0] : mask[1]) >> (at % 32 + fetched<D>::row()) & 1;
}

static __device__ __forceinline__ void ask(uint32_t to, const float *from, bool is_there)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
                 "r"(is_there ? 16 : 0)
                 : "memory");
}

/* IS_RAW: d is a multiple of 4. */
template <bool IS_RAW>
static __device__ __forceinline__ void ask_quad(uint32_t to, const float *from, int col, int d)
{
    if (IS_RAW || d % 4 == 0)
        ask(to, col < d ? from : from - col, col < d);
    else
        shared_put(to, head_read(from - col, col, d));
}

/* Keys of a span that come from the cache. */
struct fetched_keys {
    uint32_t bits[ATTN_KEYS / 32];
};

static __device__ __forceinline__ struct fetched_keys find_fetched(const struct own_keys &own,
                                                                   int n)
{
    struct fetched_keys ret = { { ~0u, n > 32 ? ~0u : 0 } };

    if (n < 32)
        ret.bits[0] = (1u << n) - 1;
    else if (n < 64 && n > 32)
        ret.bits[1] = (1u << (n - 32)) - 1;
    ret.bits[0] &= ~own.mask[0];
    ret.bits[1] &= ~own.mask[1];
    return ret;
}

/* Ask for the keys from key on that have a bit in mask, and their values; zeros for others, which
 * are zeros in parts as well, but for own ones. */
template <int D, bool IS_RAW>
static __device__ __forceinline__ void
few_fetch(const struct attention_args &a, const struct tile &t, int key, const uint32_t mask[2],
          const struct own_keys &own, struct few_smem<D> *s)
{
    using f = struct fetched<D>;
    const int stride = a.n_kv_head * a.d_head, col = f::quad() * 4;
    const size_t from = (size_t)(uint32_t)(key + f::row()) * (uint32_t)stride + col;
    const struct places to = raw_places<D>(s);
    const float *keys = t.keys + from, *values = t.values + from;

    if ((mask[0] & mask[1]) == ~0u && col < a.d_head) {
#pragma unroll
        for (int i = 0; i < f::n; i++) {
            ask_quad<IS_RAW>(key_place<D>(to, i), keys, col, a.d_head);
            ask_quad<IS_RAW>(value_place<D>(to, i), values, col, a.d_head);
            keys += f::step * stride;
            values += f::step * stride;
        }
    } else {
#pragma unroll
        for (int i = 0; i < f::n; i++) {
            if (has_bit<D>(mask, i)) {
                ask_quad<IS_RAW>(key_place<D>(to, i), keys, col, a.d_head);
                ask_quad<IS_RAW>(value_place<D>(to, i), values, col, a.d_head);
            } else if (!IS_RAW || !has_bit<D>(own.mask, i)) {
                shared_put(key_place<D>(to, i), make_float4(0, 0, 0, 0));
                shared_put(value_place<D>(to, i), make_float4(0, 0, 0, 0));
            }
            keys += f::step * stride;
            values += f::step * stride;
        }
    }
    async_commit();
}

/* Where the value of a lane's i-th key comes from, which is an own one. */
template <int D>
static __device__ __forceinline__ const float *
own_value(const struct attention_args &a, const struct tile &t, const struct own_keys &own, int i)
{
    const uint64_t mask = (uint64_t)own.mask[1] << 32 | own.mask[0];
    const int at = fetched<D>::row() + i * fetched<D>::step;
    const int token = t.row + own.first + __popcll(mask & (((uint64_t)1 << at) - 1));

    return a.raw.value +
           (size_t)(uint32_t)(token * a.n_kv_head + (int)blockIdx.y) * (uint32_t)a.d_head +
           fetched<D>::quad() * 4;
}

/* Ask for the values of own keys. */
template <int D>
static __device__ __forceinline__ void
few_fetch_own(const struct attention_args &a, const struct tile &t, const struct own_keys &own,
              struct few_smem<D> *s)
{
    using f = struct fetched<D>;
    const struct places to = raw_places<D>(s);

#pragma unroll 1
    for (int i = 0; i < f::n; i++)
        if (has_bit<D>(own.mask, i))
            ask_quad<true>(value_place<D>(to, i), own_value<D>(a, t, own, i), f::quad() * 4,
                           a.d_head);
    async_commit();
}

/* Keys and values that this warp has asked for become operands. */
template <int D>
static __device__ __forceinline__ void split_fetched(const uint32_t mask[2], struct few_smem<D> *s)
{
    using f = struct fetched<D>;
    const struct places from = raw_places<D>(s), to = part_places<D>(s);

#pragma unroll
    for (int part = 0; part < f::n; part += 4) {
        float4 x[4];

#pragma unroll
        for (int i = 0; i < 4; i++)
            if (has_bit<D>(mask, part + i))
                x[i] = shared_get(key_place<D>(from, part + i));
        __syncwarp();
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (has_bit<D>(mask, part + i))
                put_quad(key_place<D>(to, part + i), f::low, x[i]);
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (has_bit<D>(mask, part + i))
                x[i] = shared_get(value_place<D>(from, part + i));
        __syncwarp();
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (has_bit<D>(mask, part + i))
                put_value_quad(value_place<D>(to, part + i), f::low, x[i]);
    }
}

/* So do own values, by warps 0 .. 7. */
template <int D>
static __device__ __forceinline__ void split_own_values(const struct own_keys &own,
                                                        struct few_smem<D> *s)
{
    using f = struct fetched<D>;
    const struct places from = raw_places<D>(s), to = part_places<D>(s);

#pragma unroll
    for (int part = 0; part < f::n; part += 4) {
        float4 x[4];

        if (!(D == 128 ? own.mask[part / 4] : own.mask[0] | own.mask[1]))
            continue;
#pragma unroll
        for (int i = 0; i < 4; i++)
            x[i] = shared_get(value_place<D>(from, part + i));
        __syncwarp();
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (has_bit<D>(own.mask, part + i))
                put_value_quad(value_place<D>(to, part + i), f::low, x[i]);
    }
}

/* Own values go to the cache, by the same warps. */
template <int D>
static __device__ __forceinline__ void store_own_values(const struct attention_args &a,
                                                        const struct tile &t, int key,
                                                        const struct own_keys &own)
{
    using f = struct fetched<D>;
    const int col = f::quad() * 4, stride = a.n_kv_head * a.d_head;
    float *cache = (float *)t.values + (size_t)(uint32_t)(key + f::row()) * (uint32_t)stride + col;

#pragma unroll 1
    for (int i = 0; i < f::n; i++) {
        if (has_bit<D>(own.mask, i) && col < a.d_head) /* caches are made of writable memory */
            *(float4 *)cache = __ldcg((const float4 *)own_value<D>(a, t, own, i));
        cache += f::step * stride;
    }
}

/* ---- rows ---------------------------------------------------------------------------------- */

/* Of queries a warp has row i and three at a distance of 4: their lines lie in different banks. */
static __device__ __forceinline__ int few_query_row(int warp)
{
    return warp / 4 * 16 + warp % 4 + threadIdx.x % 32 / HEAD_LANES * 4;
}

/* A lane's quads of a row become operands; half, low: bytes to the next 64 columns, and to the
 * lower parts. */
template <int D>
static __device__ __forceinline__ void put_row(uint4 *lines, int half, int low, int line,
                                               const float4 (&v)[quads_of<D>])
{
    const int quad = threadIdx.x % HEAD_LANES;
    const uint32_t to = piece_at(lines, line, quad / 2) + quad % 2 * 8;

#pragma unroll
    for (int j = 0; j < quads_of<D>; j++) /* 8 quads are 4 pieces */
        put_quad((to + j / 2 * half) ^ j % 2 * 64, low, v[j]);
}

/* An own key on its way to the cache, which is no hurry; to: NULL if there is none. */
template <int D> struct late_key {
    float4 x[quads_of<D>];
    float *to;
};

template <int D>
static __device__ __forceinline__ void store_key(const struct late_key<D> &k, int d)
{
#pragma unroll
    for (int j = 0; j < quads_of<D>; j++)
        if (k.to && quad_col(j) < d)
            *(float4 *)(k.to + quad_col(j)) = k.x[j];
}

/* Four rows that a warp brings, the lane's being one of them: a query's, or one of an own key. */
struct row_job {
    bool is_there;
    int row; /* of queries, or of the span's keys; such keys as no query sees: -1 */
    int position;
    size_t from; /* element of a.q, or of raw.key and raw.value */
};

/* Own keys 4 i .. of the span; behind them, tokens from `unseen` on. */
static __device__ __forceinline__ struct row_job
key_job(const struct attention_args &a, const struct tile &t, const struct own_positions &p,
        const struct own_keys &own, int unseen, int key, int i)
{
    const int at = i * WARP_ROWS + threadIdx.x % 32 / HEAD_LANES;
    const int token = at < own.n ? own.first + at : unseen + at - own.n;
    const int position = position_of(p, token);
    const bool is_there = token < t.n_tok;

    return { is_there, at < own.n ? position - key : -1, is_there ? position : 0,
             ((size_t)(t.row + token) * a.n_kv_head + blockIdx.y) * a.d_head };
}

/* Norm a row and turn it. */
template <int D>
static __device__ __forceinline__ void
make_row(const struct attention_args &a, const struct few_plan &plan,
         const struct head_turns<quads_of<D>> &turns, const float4 (&w)[quads_of<D>],
         float4 (&x)[quads_of<D>])
{
    const float factor = head_factor(x, plan.inverse_d, a.raw.eps);

#pragma unroll
    for (int j = 0; j < quads_of<D>; j++)
        x[j] = head_norm_quad(x[j], factor, w[j]);
    head_turn(x, turns, a.raw.d_rot);
}

/* What nobody writes; asked for here, whatever follows. */
static __device__ __forceinline__ float4 read_constant(const float *p)
{
    float4 v;

    asm volatile("ld.global.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
                 : "l"(p)
                 : "memory");
    return v;
}

/* head_read_turns() at a position. */
template <int D>
static __device__ __forceinline__ struct head_turns<quads_of<D>>
read_turns(const struct attention_raw &raw, int position) {
    const int half = raw.d_rot / 2; /* a power of two */
    const float *const p = raw.turns + (size_t)(uint32_t)position * (uint32_t)raw.d_rot;
    struct head_turns<quads_of<D>> ret;

#pragma unroll
    for (int j = 0; j < quads_of<D> / 2; j++) {
        ret.cos[j] = ret.sin[j] = make_float4(0, 0, 0, 0);
        if (quad_col(j) < raw.d_rot) {
            ret.cos[j] = read_constant(p + (quad_col(j) & (half - 1)));
            ret.sin[j] = read_constant(p + half + (quad_col(j) & (half - 1)));
        }
    }
    return ret;
}

/* A lane's quads of a row of weights, or of raw ones. */
template <int D>
static __device__ __forceinline__ void read_weights(const float *w, int d,
                                                    float4 (&ret)[quads_of<D>])
{
#pragma unroll
    for (int j = 0; j < quads_of<D>; j++)
        ret[j] = quad_col(j) < d ? read_constant(w + quad_col(j)) : make_float4(0, 0, 0, 0);
}

template <int D>
static __device__ __forceinline__ void read_raw(const float *row, int d, bool is_there,
                                                float4 (&ret)[quads_of<D>])
{
#pragma unroll
    for (int j = 0; j < quads_of<D>; j++)
        ret[j] = is_there && quad_col(j) < d ? __ldcg((const float4 *)(row + quad_col(j)))
                                             : make_float4(0, 0, 0, 0);
}

/* Queries become operands: four rows a warp of the first. q_position, q_head: of query `lane`;
 * which head of all tokens'. */
template <int D, bool IS_RAW>
static __device__ __forceinline__ void
bring_queries(const struct attention_args &a, const struct tile &t, const struct few_plan &plan,
              int q_position, int q_head, struct few_smem<D> *s)
{
    const int row = few_query_row(threadIdx.x / 32);
    const int position = __shfl_sync(~0u, q_position, row);
    const int head = __shfl_sync(~0u, q_head, row);
    const float *const from = a.q + (size_t)(uint32_t)head * (uint32_t)a.d_head;
    float4 x[quads_of<D>];

    if (IS_RAW) {
        const struct head_turns<quads_of<D>> turns = read_turns<D>(a.raw, position);
        float4 w[quads_of<D>];

        read_weights<D>(a.raw.q_norm, a.d_head, w);
        grid_wait();
        read_raw<D>(from, a.d_head, row < t.n, x);
        make_row<D>(a, plan, turns, w, x);
    } else {
        grid_wait();
#pragma unroll
        for (int j = 0; j < quads_of<D>; j++)
            x[j] = row < t.n ? head_read(from, quad_col(j), a.d_head) : make_float4(0, 0, 0, 0);
    }
#pragma unroll
    for (int j = 0; j < quads_of<D>; j++)
        x[j] = make_float4(x[j].x * plan.scale, x[j].y * plan.scale, x[j].z * plan.scale,
                           x[j].w * plan.scale);
    put_row<D>(s->q[0][0], sizeof(s->q[0]), sizeof(s->q[0][0]), row, x);
}

/* Keys that were fetched, and own ones, become operands; values of own ones are asked for. Tokens
 * from `unseen` on go to the cache alone. */
template <int D>
static __device__ __forceinline__ void
bring_keys(const struct attention_args &a, const struct tile &t, const struct few_plan &plan,
           const struct own_positions &p, const struct own_keys &own, int unseen, int key,
           bool is_stored, const uint32_t mask[2], struct few_smem<D> *s, struct late_key<D> *late)
{
    bool has_own = own.n > 0; /* whose values are to be asked for */
    const int n_jobs = (own.n + max(0, t.n_tok - unseen) + WARP_ROWS - 1) / WARP_ROWS;

    late->to = NULL;
    for (int job = threadIdx.x / 32 - KEY_WARPS; job < n_jobs || has_own;
         job += FEW_WARPS - KEY_WARPS) {
        const struct row_job r = key_job(a, t, p, own, unseen, key, job);
        const struct head_turns<quads_of<D>> turns = read_turns<D>(a.raw, r.position);
        float4 w[quads_of<D>];

        read_weights<D>(a.raw.k_norm, a.d_head, w);
        grid_wait();
        store_key<D>(*late, a.d_head);
        read_raw<D>(a.raw.key + r.from, a.d_head, r.is_there, late->x);
        late->to = NULL;
        if (has_own)
            few_fetch_own<D>(a, t, own, s);
        has_own = false;
        make_row<D>(a, plan, turns, w, late->x);
        if (r.is_there && r.row >= 0)
            put_row<D>(s->k[0][0], sizeof(s->k[0][0]), sizeof(s->k[0]), key_line(r.row), late->x);
        if (r.is_there && (is_stored || r.row < 0)) /* caches are made of writable memory */
            late->to =
                (float *)t.keys + (size_t)(uint32_t)(r.position * a.n_kv_head) * (uint32_t)a.d_head;
        if (r.is_there && r.row < 0) /* nobody else has the value */
#pragma unroll
            for (int j = 0; j < quads_of<D>; j++)
                if (quad_col(j) < a.d_head)
                    *(float4 *)(late->to + (t.values - t.keys) + quad_col(j)) =
                        __ldcg((const float4 *)(a.raw.value + r.from + quad_col(j)));
    }
    async_wait<0>();
    if (mask[0] | mask[1])
        split_fetched<D>(mask, s);
}

#endif
