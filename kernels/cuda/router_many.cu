/*
 * The router of many tokens (router.h), first of a few launches: a block has a few of them and all
 * experts. Tokens know nothing of each other here; what they elect and where they are listed is
 * route.cu's and worklist.cu's.
 *
 *   1. rows     a warp has an octet of tokens and some slices of their rows (row.cuh), in registers
 *   2. squares  of the slices; with them all warps know their tokens' factors
 *   3. parts    of the normed rows (router_product.cuh) to shared memory, as B of wgmma.cuh: a row
 *               a token and part; and from there h to memory
 *   4. product  a warpgroup multiplies a quarter of the slices with EXPERTS experts at a time; the
 *               quarters' sums are added in shared memory. A slice's weights are under way while
 *               those of the one before are multiplied
 *   5. tokens   a warp a token: scores, then its slots where there is no coreset, else its votes
 *               (route_token.cuh)
 *
 * Rows of up to 2,048 elements come by two octets a block, of up to 4,096 by one.
 *
 * The op's product is steps 1, 3 and 4 alone.
 */
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/route_token.cuh"
#include "kernels/cuda/router.h"
#include "kernels/cuda/router_product.cuh"
#include "kernels/cuda/wgmma.cuh"

enum {
    WARPS = 16,
    THREADS = WARPS * WARP,
    QUARTERS = 4, /* warpgroups */
    QUARTER_SLICES = ROW_SLICES / QUARTERS,
    EXPERTS = 64,                     /* that are multiplied at once: 16 a warp of a warpgroup */
    SUM_ROW = EXPERTS + 4,            /* a token's sums: few lanes of a store meet in a bank */
    ROW_STEPS = WGMMA_ROW_BYTES / 32, /* of 16 columns, of a row of B */
    MAX_WIDTH = 4096,
    SLICE_BYTES = 6144 /* of parts */
};

/* How a block divides rows of OCTETS octets of tokens. */
template <int OCTETS> struct shape {
    static constexpr int tokens = OCTETS * 8;
    static constexpr int slices = 2 * OCTETS;          /* of a warp */
    static constexpr int groups = ROW_SLICES / slices; /* of slices */
    static constexpr int steps = 8 / OCTETS;           /* of 16 columns, of a slice, at most */
    static constexpr int rows = N_SPLIT * tokens;      /* of B */
};

static_assert(QUARTER_SLICES == 8, "sums of two fours of slices");
static_assert(shape<1>::steps * 16 * ROW_SLICES == MAX_WIDTH, "the widest rows");
static_assert(shape<1>::steps / ROW_STEPS * shape<1>::rows * WGMMA_ROW_BYTES == SLICE_BYTES, "");
static_assert(shape<2>::steps / ROW_STEPS * shape<2>::rows * WGMMA_ROW_BYTES == SLICE_BYTES, "");

/* Shared memory of a block; offsets in bytes. Parts are in front. */
struct layout {
    int norm;    /* (d) f32; with squares until there are parts */
    int squares; /* (groups, tokens) f64 */
    int sums;    /* (QUARTERS, tokens, SUM_ROW) f32; with logits from then on */
    int logits;  /* (tokens, n_exp) f32 */
    int scores;  /* the same; from here on in place of parts, once they are multiplied */
    int rooms;   /* a struct route_room a warp */
    int groups;  /* groups_room() a warp */
    int bytes;
};

struct many_args {
    struct router_call c;
    struct layout l;
    int steps; /* of 16 columns, of a slice */
    double inverse_d;
    float *ret_z; /* of the product alone */
};

/* Which part of the work a warp has: of rows and parts, and of the product. */
struct part {
    int octet, group; /* of slices */
    int quarter, tile, lane;
};

/* What a lane has of the rows: columns 4 (lane % 4) .. of each 16 of its token. */
template <int OCTETS> struct rows {
    float4 x[shape<OCTETS>::slices][shape<OCTETS>::steps];
};

/* Weights of a slice. */
template <int OCTETS> struct weights {
    uint4 of[shape<OCTETS>::steps];
};

template <int OCTETS> static __device__ __forceinline__ struct part part_of_warp(void)
{
    const int warp = (int)threadIdx.x / WARP;

    return { warp % OCTETS, warp / OCTETS, warp / 4, warp % 4, (int)threadIdx.x % WARP };
}

template <int OCTETS>
static __device__ __forceinline__ int tokens_of_block(const struct many_args &a)
{
    return min((int)shape<OCTETS>::tokens,
               a.c.route.n_tok - (int)blockIdx.x * shape<OCTETS>::tokens);
}

/* Row of the block's token t. */
template <int OCTETS>
static __device__ __forceinline__ size_t row_of(const struct many_args &a, int t)
{
    const int i = (int)blockIdx.x * shape<OCTETS>::tokens + t;

    return (size_t)(a.ret_z ? i : a.c.route.tokens[i].row);
}

/* ---- rows -------------------------------------------------------------------------------- */

template <int OCTETS>
static __device__ __forceinline__ void load_rows(const struct many_args &a, const struct part &p,
                                                 struct rows<OCTETS> *ret)
{
    using S = shape<OCTETS>;
    const int t = p.octet * 8 + p.lane / 4, first = p.group * S::slices * a.steps * 16;
    const bool is_there = t < tokens_of_block<OCTETS>(a);
    const float *from = a.c.x + (is_there ? row_of<OCTETS>(a, t) : 0) * (size_t)a.c.d;

    grid_wait();
#pragma unroll
    for (int i = 0; i < S::slices; i++)
#pragma unroll
        for (int j = 0; j < S::steps; j++) {
            const int k = first + (i * a.steps + j) * 16 + p.lane % 4 * 4;

            ret->x[i][j] = is_there && j < a.steps && k < a.c.d ? __ldcg((const float4 *)(from + k))
                                                                : make_float4(0, 0, 0, 0);
        }
}

/* The sum over the warp's slices, a balanced tree. */
template <int OCTETS>
static __device__ __forceinline__ void sum_squares(const struct many_args &a, const struct part &p,
                                                   const struct rows<OCTETS> &r, double *ret)
{
    using S = shape<OCTETS>;
    double slice[S::slices];

#pragma unroll
    for (int i = 0; i < S::slices; i++) {
        double sum[4] = { 0, 0, 0, 0 };

#pragma unroll
        for (int j = 0; j < S::steps; j++)
            if (j < a.steps)
                add_squares(sum, r.x[i][j]);
        slice[i] = quad_sum(add_four(sum));
    }
#pragma unroll
    for (int i = 0; i < S::slices; i += 2)
        slice[i / 2] = slice[i] + slice[i + 1];
    if (p.lane % 4 == 0)
        ret[p.group * S::tokens + p.octet * 8 + p.lane / 4] =
            S::slices == 4 ? slice[0] + slice[1] : slice[0];
}

/* The factor of the lane's row, of what the groups have of its squares. */
template <int OCTETS>
static __device__ __forceinline__ float find_factor(const struct many_args &a, const struct part &p,
                                                    const double *squares)
{
    using S = shape<OCTETS>;
    const double *of = squares + p.octet * 8 + p.lane % 8;
    double quarter[QUARTERS];

#pragma unroll
    for (int i = 0; i < QUARTERS; i++)
        quarter[i] = OCTETS == 2 ? of[2 * i * S::tokens] + of[(2 * i + 1) * S::tokens]
                                 : (of[4 * i * S::tokens] + of[(4 * i + 1) * S::tokens]) +
                                       (of[(4 * i + 2) * S::tokens] + of[(4 * i + 3) * S::tokens]);
    return __shfl_sync(ALL_LANES, rms_factor_of(add_quarters(quarter), a.inverse_d, a.c.eps),
                       p.lane / 4);
}

/* ---- parts ------------------------------------------------------------------------------- */

/* Piece `piece` of B's row `row` of a slice's step. */
template <int OCTETS>
static __device__ __forceinline__ char *part_at(int slice, int step, int row, int piece)
{
    return dynamic_shared() + slice * SLICE_BYTES +
           step / ROW_STEPS * shape<OCTETS>::rows * WGMMA_ROW_BYTES +
           wgmma_piece(row, step % ROW_STEPS * 2 + piece);
}

/* Parts of the warp's slices, HAS_NORM: after the norm; zeros in steps that there are not. */
template <int OCTETS, bool HAS_NORM>
static __device__ __forceinline__ void make_parts(const struct many_args &a, const struct part &p,
                                                  const struct rows<OCTETS> &r, float factor)
{
    using S = shape<OCTETS>;
    const float *norm = (const float *)(dynamic_shared() + a.l.norm);
    const int row = p.octet * 8 + p.lane / 4;

#pragma unroll
    for (int i = 0; i < S::slices; i++)
#pragma unroll
        for (int j = 0; j < S::steps; j++) {
            const int slice = p.group * S::slices + i;
            const int k = (slice * a.steps + j) * 16 + p.lane % 4 * 4;
            float4 v = r.x[i][j];
            uint2 part[N_SPLIT];

            if (HAS_NORM && j < a.steps && k < a.c.d) {
                const float4 w = *(const float4 *)(norm + k);

                v = make_float4(rms_apply(v.x, factor, w.x), rms_apply(v.y, factor, w.y),
                                rms_apply(v.z, factor, w.z), rms_apply(v.w, factor, w.w));
            }
            split_four(v, part);
#pragma unroll
            for (int s = 0; s < N_SPLIT; s++) {
                char *to = part_at<OCTETS>(slice, j, s * S::tokens + row, 0);
                char *next = part_at<OCTETS>(slice, j, s * S::tokens + row, 1);

                *(uint32_t *)(to + p.lane % 4 * 4) = part[s].x;
                *(uint32_t *)(next + p.lane % 4 * 4) = part[s].y;
            }
        }
}

/* h of the warpgroup's slices: their largest parts. Those of a step lie in two pieces: word q has
 * columns 4 q, 4 q + 1, or the two after them. A thread has a token and a piece of every so many 32
 * columns. */
template <int OCTETS>
static __device__ __forceinline__ void write_h(const struct many_args &a, const struct part &p)
{
    using S = shape<OCTETS>;
    constexpr int AT_ONCE = THREADS / QUARTERS / (S::tokens * 4); /* of 32 columns */
    const int ld = (int)pack_row_elems(a.c.d), tid = (int)threadIdx.x % (THREADS / QUARTERS);
    const int piece = tid % 4, t = tid / 4 % S::tokens, first = p.quarter * QUARTER_SLICES;
    int k = first * a.steps * 16 + piece * 8, slice = first, step = 0;
    uint16_t *h;

    if (t >= tokens_of_block<OCTETS>(a))
        return;
    h = a.c.ret_h + row_of<OCTETS>(a, t) * (size_t)ld;
    for (int i = tid / 4 / S::tokens, add = i * 2; i < QUARTER_SLICES * a.steps / 2;
         i += AT_ONCE, add = AT_ONCE * 2) {
        uint4 v[2], to;

        k += add * 16;
        step += add;
        for (; step >= a.steps; step -= a.steps)
            slice++;
        if (k >= ld)
            break;
#pragma unroll
        for (int j = 0; j < 2; j++) {
            const int more = a.c.is_placed ? j : piece / 2;
            const bool is_next = step + more >= a.steps; /* of one step */

            v[j] = *(const uint4 *)part_at<OCTETS>(slice + is_next, is_next ? 0 : step + more, t,
                                                   a.c.is_placed ? piece % 2 : j);
        }
        if (a.c.is_placed) /* columns 2 piece, 2 piece + 1 of every eight */
            to = piece / 2 ? make_uint4(v[0].y, v[0].w, v[1].y, v[1].w)
                           : make_uint4(v[0].x, v[0].z, v[1].x, v[1].z);
        else
            to = piece % 2 ? make_uint4(v[0].z, v[1].z, v[0].w, v[1].w)
                           : make_uint4(v[0].x, v[1].x, v[0].y, v[1].y);
        *(uint4 *)(h + k) = to;
    }
}

/* ---- product ----------------------------------------------------------------------------- */

/* Not before the parts are made, which take all registers. */
static __device__ __forceinline__ uint4 load_late(const uint4 *p)
{
    uint4 v;

    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p)
                 : "memory");
    return v;
}

/* Of the quarter's i-th slice and the warp's 16 of the experts from `from` on. */
template <int OCTETS>
static __device__ __forceinline__ void load_weights(const struct many_args &a, const struct part &p,
                                                    int from, int i, struct weights<OCTETS> *ret)
{
    const int tiles = (a.c.route.p.n_exp + 15) / 16, tile = from / 16 + p.tile;
    const int unit = ((p.quarter * QUARTER_SLICES + i) * tiles + tile) * a.steps; /* of a step */
    const uint4 *w = (const uint4 *)a.c.router_packed + (unit * WARP + p.lane);

#pragma unroll
    for (int j = 0; j < shape<OCTETS>::steps; j++) {
        ret->of[j] = make_uint4(0, 0, 0, 0);
        if (j < a.steps && tile < tiles)
            ret->of[j] = load_late(w + j * WARP);
    }
}

/* What a lane has of a product: of octet o tokens 2 (lane % 4) and the next, of experts lane / 4
 * and the eighth after it. */
template <int OCTETS> struct sums {
    float of[OCTETS][4];
};

template <int OCTETS>
static __device__ __forceinline__ struct sums<OCTETS>
multiply_slice(const struct many_args &a, int slice, const struct weights<OCTETS> &w) {
    using S = shape<OCTETS>;
    float acc[S::rows / 2] = {};
    struct sums<OCTETS> ret;

    wgmma_begin();
#pragma unroll
    for (int j = 0; j < S::steps; j++) {
        const uint64_t b = wgmma_operand(shared_addr(dynamic_shared()) + slice * SLICE_BYTES +
                                         j / ROW_STEPS * S::rows * WGMMA_ROW_BYTES);

        wgmma<S::rows>(acc, w.of[j], b + j % ROW_STEPS * WGMMA_STEP, j > 0);
    }
    wgmma_commit();
    wgmma_wait<0>();
#pragma unroll
    for (int o = 0; o < OCTETS; o++)
#pragma unroll
        for (int c = 0; c < 4; c++)
            ret.of[o][c] = __fadd_rn(__fadd_rn(acc[4 * o + c], acc[4 * (OCTETS + o) + c]),
                                     acc[4 * (2 * OCTETS + o) + c]);
    return ret;
}

template <int OCTETS>
static __device__ __forceinline__ struct sums<OCTETS> add(const struct sums<OCTETS> &a,
                                                          const struct sums<OCTETS> &b) {
    struct sums<OCTETS> ret;

#pragma unroll
    for (int o = 0; o < OCTETS; o++)
#pragma unroll
        for (int c = 0; c < 4; c++)
            ret.of[o][c] = __fadd_rn(a.of[o][c], b.of[o][c]);
    return ret;
}

/* The sums over the quarter's slices, a balanced tree. w: weights of the first two. */
template <int OCTETS>
static __device__ __forceinline__ struct sums<OCTETS>
multiply_slices(const struct many_args &a, const struct part &p, int from,
                struct weights<OCTETS> (&w)[2]) {
    struct sums<OCTETS> two, four, ret;

#pragma unroll 1
    for (int i = 0; i < QUARTER_SLICES; i += 2) {
        struct sums<OCTETS> of[2];

#pragma unroll
        for (int j = 0; j < 2; j++) {
            of[j] = multiply_slice<OCTETS>(a, p.quarter * QUARTER_SLICES + i + j, w[j]);
            if (i + 2 < QUARTER_SLICES)
                load_weights<OCTETS>(a, p, from, i + 2 + j, &w[j]);
        }
        of[0] = add<OCTETS>(of[0], of[1]);
        if (i % 4 == 0) {
            two = of[0];
        } else {
            ret = add<OCTETS>(two, of[0]);
            if (i == 2)
                four = ret;
            else
                ret = add<OCTETS>(four, ret);
        }
    }
    return ret;
}

/* The first weights of a pass. */
template <int OCTETS>
static __device__ __forceinline__ void begin_weights(const struct many_args &a,
                                                     const struct part &p, int from,
                                                     struct weights<OCTETS> (&w)[2])
{
    load_weights<OCTETS>(a, p, from, 0, &w[0]);
    load_weights<OCTETS>(a, p, from, 1, &w[1]);
}

/* Logits of the block's tokens to z (tokens, n_exp), of parts that are there; w: after
 * begin_weights() of 0. All threads; ends synchronised. */
template <int OCTETS>
static __device__ __forceinline__ void multiply(const struct many_args &a, const struct part &p,
                                                struct weights<OCTETS> (&w)[2], float *z)
{
    using S = shape<OCTETS>;
    const int tid = (int)threadIdx.x, n_exp = a.c.route.p.n_exp;
    float *all = (float *)(dynamic_shared() + a.l.sums);
    float *to = all + (p.quarter * S::tokens + p.lane % 4 * 2) * SUM_ROW + p.tile * 16 + p.lane / 4;

#pragma unroll 1
    for (int from = 0; from < n_exp; from += EXPERTS) {
        struct sums<OCTETS> sum;

        if (from)
            begin_weights<OCTETS>(a, p, from, w);
        sum = multiply_slices<OCTETS>(a, p, from, w);
#pragma unroll
        for (int o = 0; o < OCTETS; o++)
#pragma unroll
            for (int c = 0; c < 4; c++)
                to[(o * 8 + c % 2) * SUM_ROW + c / 2 * 8] = sum.of[o][c];
        __syncthreads();
#pragma unroll
        for (int i = 0; i < S::tokens * EXPERTS; i += THREADS) {
            const int t = (i + tid) / EXPERTS, e = (i + tid) % EXPERTS;
            float of[QUARTERS];

#pragma unroll
            for (int q = 0; q < QUARTERS; q++)
                of[q] = all[(q * S::tokens + t) * SUM_ROW + e];
            if (from + e < n_exp && t < tokens_of_block<OCTETS>(a))
                z[(size_t)t * (size_t)n_exp + (size_t)(from + e)] = tree_sum(of);
        }
        __syncthreads();
    }
}

/* ---- kernels ----------------------------------------------------------------------------- */

/* z (n_tok, n_exp) of rows x (n_tok, d): grid (blocks of tokens). */
template <int OCTETS>
static __global__ void __launch_bounds__(THREADS, 1)
    product_kernel(const __grid_constant__ struct many_args a)
{
    const struct part p = part_of_warp<OCTETS>();
    struct weights<OCTETS> w[2];
    struct rows<OCTETS> r;

    grid_release();
    load_rows<OCTETS>(a, p, &r);
    make_parts<OCTETS, false>(a, p, r, 1);
    begin_weights<OCTETS>(a, p, 0, w);
    wgmma_shared_fence();
    __syncthreads();
    multiply<OCTETS>(
        a, p, w, a.ret_z + (size_t)blockIdx.x * shape<OCTETS>::tokens * (size_t)a.c.route.p.n_exp);
}

/* What token i of the call does of itself, of its logits z. A warp. */
template <int N>
static __device__ __forceinline__ void route_one(const struct many_args &a, int i, const float *z,
                                                 float *s, struct route_room *room, void *groups)
{
    const struct route_call &c = a.c.route;
    const int lane = (int)threadIdx.x % WARP, n_exp = c.p.n_exp, row = c.tokens[i].row;
    float bias[N], logit[N];
    struct route_token<N> t;

    load_bias<N>(c, row, bias);
    if (a.c.score == ROUTER_SOFTMAX)
        row_softmax(z, n_exp, lane, s);
#pragma unroll
    for (int k = 0; k < N; k++) {
        const int e = k * WARP + lane;

        logit[k] = e < n_exp ? z[e] : 0;
        t.score[k] = e >= n_exp ? 0 : a.c.score == ROUTER_SOFTMAX ? s[e] : sigmoid(logit[k]);
        if (e < n_exp && a.c.ret_scores)
            a.c.ret_scores[(size_t)row * (size_t)n_exp + (size_t)e] = t.score[k];
    }
    make_keys<N>(c.p, bias, &t, groups);
    if (c.p.size == SIZE_NONE)
        choose_slots<N>(c, i, t, groups, room);
    else
        cast_votes<N>(c, i, t, logit, room);
}

/* Grid (blocks of tokens). */
template <int OCTETS, int N>
static __global__ void __launch_bounds__(THREADS, 1)
    many_kernel(const __grid_constant__ struct many_args a)
{
    const struct part p = part_of_warp<OCTETS>();
    const int t = (int)threadIdx.x / WARP, n_exp = a.c.route.p.n_exp;
    float *z = (float *)(dynamic_shared() + a.l.logits),
          *norm = (float *)(dynamic_shared() + a.l.norm);
    double *squares = (double *)(dynamic_shared() + a.l.squares);
    struct weights<OCTETS> w[2];
    struct rows<OCTETS> r;

    grid_release();
    for (int k = (int)threadIdx.x * 4; k < a.c.d; k += THREADS * 4)
        *(float4 *)(norm + k) = __ldg((const float4 *)(a.c.norm_w + k));
    load_rows<OCTETS>(a, p, &r);
    sum_squares<OCTETS>(a, p, r, squares);
    __syncthreads();
    make_parts<OCTETS, true>(a, p, r, find_factor<OCTETS>(a, p, squares));
    begin_weights<OCTETS>(a, p, 0, w);
    wgmma_shared_fence();
    __syncthreads();
    write_h<OCTETS>(a, p);
    multiply<OCTETS>(a, p, w, z);
    if (t < tokens_of_block<OCTETS>(a))
        route_one<N>(a, (int)blockIdx.x * shape<OCTETS>::tokens + t, z + t * n_exp,
                     (float *)(dynamic_shared() + a.l.scores) + t * n_exp,
                     (struct route_room *)(dynamic_shared() + a.l.rooms) + t,
                     dynamic_shared() + a.l.groups + t * groups_room(&a.c.route.p));
}

/* ---- launches ---------------------------------------------------------------------------- */

static int take(int *at, size_t bytes)
{
    const int from = *at;

    *at += (int)((bytes + 15) / 16 * 16);
    return from;
}

/* Octets of tokens of a block, for rows that there is a kernel for. */
static int octets_of(int d)
{
    return row_slice(d) / 16 <= shape<2>::steps ? 2 : 1;
}

/* has_routes: beside the product. */
static struct many_args args_of(const struct router_call *c, bool has_routes)
{
    const size_t n_exp = (size_t)c->route.p.n_exp, parts = (size_t)ROW_SLICES * SLICE_BYTES;
    const size_t tokens = (size_t)octets_of(c->d) * 8;
    struct many_args a = {};
    int at = (int)parts, early = (int)parts, late = 0;

    a.c = *c;
    a.steps = row_slice(c->d) / 16;
    a.inverse_d = 1.0 / c->d;
    a.l.sums = take(&at, QUARTERS * tokens * SUM_ROW * sizeof(float));
    if (has_routes) {
        a.l.logits = take(&at, tokens * n_exp * sizeof(float));
        a.l.norm = take(&early, (size_t)c->d * sizeof(float));
        a.l.squares = take(&early, (size_t)WARPS * tokens * sizeof(double));
        a.l.scores = take(&late, tokens * n_exp * sizeof(float));
        a.l.rooms = take(&late, tokens * sizeof(struct route_room));
        a.l.groups = take(&late, tokens * (size_t)groups_room(&c->route.p));
    }
    a.l.bytes = at > early ? at : early;
    if (late > (int)parts)
        a.l.bytes = ROUTER_MAX_SHARED + 1;
    return a;
}

static cudaError_t launch(void (*kernel)(struct many_args), const struct many_args &a,
                          cudaStream_t stream)
{
    const int tokens = octets_of(a.c.d) * 8;
    cudaError_t rc = allow_shared(kernel, (size_t)a.l.bytes);

    return rc ? rc
              : launch_kernel(kernel, dim3((unsigned)((a.c.route.n_tok + tokens - 1) / tokens)),
                              THREADS, (size_t)a.l.bytes, true, stream, a);
}

bool router_product_fits(int d)
{
    return d % 8 == 0 && d <= MAX_WIDTH;
}

bool router_many_fits(const struct route_params *p, int d)
{
    struct router_call c = {};

    c.route.p = *p;
    c.d = d;
    return p->n_exp <= ROUTER_MAX_EXPERTS && router_product_fits(d) &&
           !(p->protect > 0 && p->keep != KEEP_ALL) &&
           args_of(&c, true).l.bytes <= ROUTER_MAX_SHARED;
}

cudaError_t router_product_launch(const float *x, const void *router_packed, int n_tok, int n_exp,
                                  int d, float *ret_z, cudaStream_t stream)
{
    struct router_call c = {};
    struct many_args a;

    if (!n_tok)
        return cudaSuccess;
    c.route.p.n_exp = n_exp;
    c.route.n_tok = n_tok;
    c.x = x;
    c.d = d;
    c.router_packed = router_packed;
    a = args_of(&c, false);
    a.ret_z = ret_z;
    return launch(octets_of(d) == 2 ? product_kernel<2> : product_kernel<1>, a, stream);
}

template <int OCTETS> static cudaError_t launch_many(const struct many_args &a, cudaStream_t stream)
{
    static_assert((int)ROUTER_MAX_EXPERTS <= 8 * WARP, "the larger kernel's words");
    return launch(a.c.route.n_words <= 2 ? many_kernel<OCTETS, 2> : many_kernel<OCTETS, 8>, a,
                  stream);
}

cudaError_t router_many_launch(const struct router_call *c, cudaStream_t stream)
{
    const struct many_args a = args_of(c, true);
    cudaError_t rc = cudaSuccess;

    if (c->route.n_tok)
        rc = octets_of(c->d) == 2 ? launch_many<2>(a, stream) : launch_many<1>(a, stream);
    return rc ? rc : route_voted_launch(&c->route, !c->leaves_count, stream);
}
