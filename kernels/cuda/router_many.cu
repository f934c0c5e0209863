/*
 * The router of many tokens (router.h), first of a few launches: a block has TOKENS of them and all
 * experts. Tokens know nothing of each other here; what they elect and where they are listed is
 * route.cu's and worklist.cu's.
 *
 *   1. squares  warp w has slices SLICES w to SLICES w + SLICES - 1 of the rows (row.cuh). Rows are
 *               read again for the product, from the first-level cache
 *   2. product  of the same slices with EXPERTS experts at a time (router_product.cuh); the warps'
 *               sums are added in shared memory
 *   3. tokens   a warp a token: scores, then its slots where there is no coreset, else its votes
 *               (route_token.cuh)
 *
 * The op's product is step 2 alone.
 */
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/route_token.cuh"
#include "kernels/cuda/router.h"
#include "kernels/cuda/router_product.cuh"

enum {
    OCTETS = 2,
    TOKENS = OCTETS * 8,
    TILES = 4,
    EXPERTS = TILES * 16, /* that are multiplied at once */
    WARPS = ROUTER_THREADS / WARP,
    SLICES = ROW_SLICES / WARPS, /* of a warp */
    SUM_ROW = EXPERTS + 4        /* a token's sums: few lanes of a store meet in a bank */
};

static_assert(SLICES == 4, "sums of two pairs of slices");

/* Shared memory of a block; offsets in bytes. */
struct layout {
    int sums;   /* (WARPS, TOKENS, SUM_ROW) f32 */
    int logits; /* (TOKENS, n_exp) f32 */
    int scores; /* the same */
    int rooms;  /* a struct route_room a warp */
    int groups; /* groups_room() a warp */
    int bytes;
};

struct many_args {
    struct router_call c;
    struct layout l;
    int steps;    /* of 16 columns, of a slice */
    float *ret_z; /* of the product alone */
};

/* What a lane has of the block's tokens: of octet o token 8 o + lane / 4. */
struct rows {
    const float *x[OCTETS]; /* from the lane's first column on; NULL: there is no such token */
    uint16_t *h[OCTETS];
    float factor[OCTETS];
};

/* A step of 16 columns on its way. */
struct step {
    uint4 w[TILES];
    float4 x[OCTETS], norm;
};

/* Weights are read once by a block: rows stay in the first-level cache. */
static __device__ __forceinline__ uint2 load_weights(const uint16_t *p)
{
    uint2 v;

    asm("ld.global.nc.L1::no_allocate.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(p));
    return v;
}

/* ---- norm -------------------------------------------------------------------------------- */

/* Sums of the squares of the warp's slices. */
static __device__ __forceinline__ void sum_squares(const struct many_args &a, const struct rows &r,
                                                   int warp, int lane, double (*ret)[TOKENS])
{
    const int cols = a.steps * 16, first = warp * SLICES * cols;
    double slice[OCTETS][SLICES];

#pragma unroll
    for (int i = 0; i < SLICES; i++)
#pragma unroll
        for (int o = 0; o < OCTETS; o++) {
            double sum[4] = { 0, 0, 0, 0 };

#pragma unroll 4
            for (int j = 0; j < a.steps; j++) {
                const int k = first + i * cols + j * 16;

                if (r.x[o] && k + lane % 4 * 4 < a.c.d)
                    add_squares(sum, *(const float4 *)(r.x[o] + k));
            }
            slice[o][i] = quad_sum(add_four(sum));
        }
#pragma unroll
    for (int o = 0; o < OCTETS; o++)
        if (lane % 4 == 0)
            ret[warp][o * 8 + lane / 4] = (slice[o][0] + slice[o][1]) + (slice[o][2] + slice[o][3]);
}

/* A row's factor, of what the warps have of its squares. */
static __device__ __forceinline__ float factor_of(const struct many_args &a,
                                                  const double (*squares)[TOKENS], int t)
{
    double quarter[4];

#pragma unroll
    for (int i = 0; i < 4; i++)
        quarter[i] = squares[2 * i][t] + squares[2 * i + 1][t];
    return rms_factor(add_quarters(quarter), a.c.d, a.c.eps);
}

/* ---- product ----------------------------------------------------------------------------- */

/* Columns from k on: of experts from `from` on, and of the block's tokens. */
template <bool HAS_NORM>
static __device__ __forceinline__ void load_step(const struct many_args &a, const struct rows &r,
                                                 int from, int k, int lane, struct step *ret)
{
    const int at = k + lane % 4 * 4, n_exp = a.c.route.p.n_exp, d = a.c.d;
    const uint16_t *w = (const uint16_t *)a.c.router_w;

#pragma unroll
    for (int y = 0; y < TILES; y++) {
        const int e = from + y * 16 + lane / 4;
        const uint16_t *p = w + (size_t)e * (size_t)d + (size_t)at;
        uint2 upper = make_uint2(0, 0), lower = make_uint2(0, 0);

        if (e < n_exp && at < d)
            upper = load_weights(p);
        if (e + 8 < n_exp && at < d)
            lower = load_weights(p + 8 * (size_t)d);
        ret->w[y] = make_uint4(upper.x, lower.x, upper.y, lower.y);
    }
#pragma unroll
    for (int o = 0; o < OCTETS; o++)
        ret->x[o] = r.x[o] && at < d ? *(const float4 *)(r.x[o] + k) : make_float4(0, 0, 0, 0);
    if (HAS_NORM)
        ret->norm = at < d ? __ldg((const float4 *)(a.c.norm_w + at)) : make_float4(0, 0, 0, 0);
}

/* Sums of a slice's products, added to acc; what experts take goes to memory if has_h. */
template <bool HAS_NORM>
static __device__ __forceinline__ void
multiply_slice(const struct many_args &a, const struct rows &r, int from, int lane, bool has_h,
               int *k, struct step *next, float (&acc)[OCTETS][TILES][N_SPLIT][4])
{
#pragma unroll 1
    for (int j = 0; j < a.steps; j++, *k += 16) {
        const struct step now = *next;

        load_step<HAS_NORM>(a, r, from, *k + 16, lane, next);
#pragma unroll
        for (int o = 0; o < OCTETS; o++) {
            float4 v = now.x[o];
            uint2 part[N_SPLIT];

            if (HAS_NORM)
                v = make_float4(rms_apply(v.x, r.factor[o], now.norm.x),
                                rms_apply(v.y, r.factor[o], now.norm.y),
                                rms_apply(v.z, r.factor[o], now.norm.z),
                                rms_apply(v.w, r.factor[o], now.norm.w));
            split_four(v, part);
            if (HAS_NORM && has_h && r.h[o] && *k + lane % 4 * 4 < (int)pack_row_elems(a.c.d))
                *(uint2 *)(r.h[o] + *k) = part[0];
#pragma unroll
            for (int s = 0; s < N_SPLIT; s++)
#pragma unroll
                for (int y = 0; y < TILES; y++)
                    mma_bf16(acc[o][y][s], now.w[y], part[s].x, part[s].y);
        }
    }
}

/* The warp's slices of experts from `from` on, to its part of `sums`. */
template <bool HAS_NORM>
static __device__ __forceinline__ void multiply(const struct many_args &a, const struct rows &r,
                                                int from, int warp, int lane, float *sums)
{
    float *to = sums + (warp * TOKENS + lane % 4 * 2) * SUM_ROW + lane / 4;
    int k = warp * SLICES * a.steps * 16;
    struct step next;

    load_step<HAS_NORM>(a, r, from, k, lane, &next);
#pragma unroll 1
    for (int pair = 0; pair < SLICES / 2; pair++) {
        float sum[OCTETS][TILES][4];

#pragma unroll
        for (int i = 0; i < 2; i++) {
            float acc[OCTETS][TILES][N_SPLIT][4] = {};

            multiply_slice<HAS_NORM>(a, r, from, lane, from == 0, &k, &next, acc);
#pragma unroll
            for (int o = 0; o < OCTETS; o++)
#pragma unroll
                for (int y = 0; y < TILES; y++)
#pragma unroll
                    for (int c = 0; c < 4; c++)
                        sum[o][y][c] = i ? __fadd_rn(sum[o][y][c], slice_sum(acc[o][y], c))
                                         : slice_sum(acc[o][y], c);
        }
#pragma unroll
        for (int o = 0; o < OCTETS; o++)
#pragma unroll
            for (int y = 0; y < TILES; y++)
#pragma unroll
                for (int c = 0; c < 4;
                     c++) { /* token 2 (lane % 4) + c % 2, expert .. + c / 2 * 8 */
                    float *at = to + (o * 8 + c % 2) * SUM_ROW + y * 16 + c / 2 * 8;

                    *at = pair ? __fadd_rn(*at, sum[o][y][c]) : sum[o][y][c];
                }
    }
}

/* Logits of all experts to z (TOKENS, n_exp). All threads; ends synchronised. */
template <bool HAS_NORM>
static __device__ __forceinline__ void multiply_all(const struct many_args &a, const struct rows &r,
                                                    float *sums, float *z)
{
    const int tid = (int)threadIdx.x, n_exp = a.c.route.p.n_exp;

#pragma unroll 1
    for (int from = 0; from < n_exp; from += EXPERTS) {
        multiply<HAS_NORM>(a, r, from, tid / WARP, tid % WARP, sums);
        __syncthreads();
#pragma unroll
        for (int i = 0; i < TOKENS * EXPERTS; i += ROUTER_THREADS) {
            const int t = (i + tid) / EXPERTS, e = (i + tid) % EXPERTS;
            float of[WARPS];

#pragma unroll
            for (int w = 0; w < WARPS; w++)
                of[w] = sums[(w * TOKENS + t) * SUM_ROW + e];
            if (from + e < n_exp)
                z[t * n_exp + from + e] = tree_sum(of);
        }
        __syncthreads();
    }
}

/* ---- kernels ----------------------------------------------------------------------------- */

/* z (n_tok, n_exp) of rows x (n_tok, d): grid (blocks of TOKENS). */
static __global__ void __launch_bounds__(ROUTER_THREADS, 1)
    product_kernel(const __grid_constant__ struct many_args a)
{
    const int first = (int)blockIdx.x * TOKENS, lane = (int)threadIdx.x % WARP;
    const int n_exp = a.c.route.p.n_exp, n = min((int)TOKENS, a.c.route.n_tok - first) * n_exp;
    float *z = (float *)(dynamic_shared() + a.l.logits);
    struct rows r = {};

    grid_release();
    grid_wait();
#pragma unroll
    for (int o = 0; o < OCTETS; o++) {
        const int t = first + o * 8 + lane / 4;

        if (t < a.c.route.n_tok)
            r.x[o] = a.c.x + (size_t)t * (size_t)a.c.d + lane % 4 * 4;
    }
    multiply_all<false>(a, r, (float *)(dynamic_shared() + a.l.sums), z);
    for (int i = (int)threadIdx.x; i < n; i += ROUTER_THREADS)
        a.ret_z[(size_t)first * (size_t)n_exp + (size_t)i] = z[i];
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

template <int N>
static __global__ void __launch_bounds__(ROUTER_THREADS, 1)
    many_kernel(const __grid_constant__ struct many_args a)
{
    __shared__ double squares[WARPS][TOKENS];
    const struct route_call &c = a.c.route;
    const int first = (int)blockIdx.x * TOKENS, lane = (int)threadIdx.x % WARP;
    const int warp = (int)threadIdx.x / WARP;
    char *shared = dynamic_shared();
    float *z = (float *)(shared + a.l.logits), *s = (float *)(shared + a.l.scores);
    struct rows r = {};

    grid_release();
    grid_wait();
#pragma unroll
    for (int o = 0; o < OCTETS; o++) {
        const int i = first + o * 8 + lane / 4;

        if (i < c.n_tok) {
            const size_t row = (size_t)c.tokens[i].row;

            r.x[o] = a.c.x + row * (size_t)a.c.d + lane % 4 * 4;
            r.h[o] = a.c.ret_h + row * (size_t)pack_row_elems(a.c.d) + lane % 4 * 4;
        }
    }
    sum_squares(a, r, warp, lane, squares);
    __syncthreads();
#pragma unroll
    for (int o = 0; o < OCTETS; o++)
        r.factor[o] = factor_of(a, squares, o * 8 + lane / 4);
    multiply_all<true>(a, r, (float *)(shared + a.l.sums), z);
#pragma unroll 1
    for (int t = warp; t < TOKENS && first + t < c.n_tok; t += WARPS)
        route_one<N>(a, first + t, z + t * c.p.n_exp, s + t * c.p.n_exp,
                     (struct route_room *)(shared + a.l.rooms) + warp,
                     shared + a.l.groups + warp * groups_room(&c.p));
}

/* ---- launches ---------------------------------------------------------------------------- */

static int take(int *at, size_t bytes)
{
    const int from = *at;

    *at += (int)((bytes + 15) / 16 * 16);
    return from;
}

static struct many_args args_of(const struct router_call *c)
{
    const size_t n_exp = (size_t)c->route.p.n_exp;
    struct many_args a = {};
    int at = 0;

    a.c = *c;
    a.steps = row_slice(c->d) / 16;
    a.l.sums = take(&at, WARPS * TOKENS * SUM_ROW * sizeof(float));
    a.l.logits = take(&at, TOKENS * n_exp * sizeof(float));
    a.l.scores = take(&at, TOKENS * n_exp * sizeof(float));
    a.l.rooms = take(&at, WARPS * sizeof(struct route_room));
    a.l.groups = take(&at, (size_t)(WARPS * groups_room(&c->route.p)));
    a.l.bytes = at;
    return a;
}

static cudaError_t launch(void (*kernel)(struct many_args), const struct many_args &a,
                          cudaStream_t stream)
{
    cudaError_t rc = allow_shared(kernel, (size_t)a.l.bytes);

    return rc ? rc
              : launch_kernel(kernel, dim3((unsigned)((a.c.route.n_tok + TOKENS - 1) / TOKENS)),
                              ROUTER_THREADS, (size_t)a.l.bytes, true, stream, a);
}

bool router_product_fits(int d)
{
    return d % 8 == 0;
}

bool router_many_fits(const struct route_params *p, int d)
{
    struct router_call c = {};

    c.route.p = *p;
    c.d = d;
    return router_product_fits(d) && !(p->protect > 0 && p->keep != KEEP_ALL) &&
           args_of(&c).l.bytes + 1024 <= ROUTER_MAX_SHARED; /* squares, too */
}

cudaError_t router_product_launch(const float *x, const void *router_w, int n_tok, int n_exp, int d,
                                  float *ret_z, cudaStream_t stream)
{
    struct router_call c = {};
    struct many_args a;

    if (!n_tok)
        return cudaSuccess;
    c.route.p.n_exp = n_exp;
    c.route.n_tok = n_tok;
    c.x = x;
    c.d = d;
    c.router_w = router_w;
    a = args_of(&c);
    a.ret_z = ret_z;
    return launch(product_kernel, a, stream);
}

cudaError_t router_many_launch(const struct router_call *c, cudaStream_t stream)
{
    const struct many_args a = args_of(c);
    cudaError_t rc = cudaSuccess;

    if (c->route.n_tok)
        rc = launch(c->route.n_words <= 2   ? many_kernel<2>
                    : c->route.n_words <= 8 ? many_kernel<8>
                                            : many_kernel<32>,
                    a, stream);
    return rc ? rc : route_voted_launch(&c->route, stream);
}
