/*
 * The router of a layer in one launch (router.h): a cluster of ROUTER_BLOCKS a segment. What costs
 * time is the way from block to block, so there are as few as can be, and they are messages
 * (cluster.cuh). A block's part of the product lies in its registers before the kernel ahead is
 * done, if that leaves room: weights are packed in the order in which the tensor cores take them
 * (router_pack_launch()), so that a load asks for 512 bytes and nothing waits for it.
 *
 *   1. squares  a warp has eight tokens of a slice of x in registers; the sums of its squares go to
 *               who needs the rows' factors
 *   2. product  of what is in registers; sums of tokens 8 o + 2 p, 8 o + 2 p + 1 of a chunk go to
 *               block 4 o + p
 *   3. scores   votes go to all blocks                                          router_route.cuh
 *   4. coreset  every block elects the same one                                 router_elect.cuh
 *   5. slots    what a token chose goes to all blocks: then each knows where in the worklist its
 *               tokens' pairs are
 *
 * Few experts, up to 64: block 4 o + p has octet o of the tokens, slices 8 p to 8 p + 7, one a
 * warp, and all experts; the sums of its slices are added before they are sent.
 *
 * Many: block b has slices 2 b and 2 b + 1 and all tokens and experts. Each warp splits an octet of
 * a slice for all; then each warpgroup multiplies 128 experts by wgmma.cuh, which gives the bits
 * that mma.sync does.
 */
#include "kernels/cuda/router.h"

#include "kernels/cuda/pack.h"
#include "kernels/cuda/router_brief.cuh"
#include "kernels/cuda/wgmma.cuh"

enum {
    MAX_STEPS = 4, /* of 16 columns, of a slice: registers */
    MAX_WIDTH = MAX_STEPS * 16 * ROW_SLICES,
    OCTETS = ROUTER_CHUNK / 8,
    SPLIT_ROWS = N_SPLIT * ROUTER_CHUNK, /* of a slice: its parts of all tokens */
    WGMMA_ALIGN = 1024
};

static_assert(MAX_STEPS * 16 * 2 == WGMMA_ROW_BYTES, "a row of B is a token's slice");

/* ---- what lies where --------------------------------------------------------------------- */

static int take(int *at, size_t bytes)
{
    int from = *at;

    *at += (int)((bytes + 15) / 16 * 16);
    return from;
}

/* Bytes of the product's stage. Few: (slices of the block, rows, 8) f32, two that take turns. Many:
 * (2, SPLIT_ROWS) rows of wgmma.cuh's B. */
static __host__ __device__ inline int stage_bytes(bool is_few, int rows)
{
    return is_few ? 2 * 8 * rows * 8 * 4 : 2 * SPLIT_ROWS * WGMMA_ROW_BYTES;
}

/* Kernels for what settings and tokens there are: router_route.cuh, router_brief.cuh. */
enum kind { ANY, USUAL, BRIEF };

static enum kind kind_of(const struct router_call *c)
{
    return is_brief(&c->route.p, c->max_tok) ? BRIEF : is_usual(&c->route.p) ? USUAL : ANY;
}

template <int N> static struct router_args args_for(const struct router_call *c)
{
    struct router_args a = {};
    const struct route_params *p = &c->route.p;
    const bool is_few = N == 2, is_short = kind_of(c) == BRIEF;
    size_t n_exp = (size_t)p->n_exp, n = (size_t)c->max_tok;
    size_t chunks = (n + ROUTER_CHUNK - 1) / ROUTER_CHUNK, of_votes;
    struct layout *l = &a.l;
    int at = 0, route;

    a.c = *c;
    a.rows = (p->n_exp + 15) / 16 * 16;
    a.steps = row_slice(c->d) / 16;
    a.inverse_d = 1.0 / c->d;
    a.has_votes = (p->size == SIZE_FIXED || p->size == SIZE_TOP_P) && p->elect == ELECT_VOTES;
    (void)take(&at, N_BARRIERS * sizeof(uint64_t)); /* the barriers come first */
    l->before = take(&at, n_exp);
    l->logits = take(&at, chunks * (is_few ? 4 : ROUTER_BLOCKS) * (size_t)a.rows * 8);
    of_votes = is_usual(p) ? (size_t)p->top_k * sizeof(uint2)
                           : (is_few ? N * WARP : (size_t)OWN) * sizeof(float);
    l->votes = take(&at, a.has_votes ? n * of_votes : 0);
    l->tallies = take(&at, a.has_votes && is_usual(p) ? ROUTER_MAX_EXPERTS * sizeof(uint2) : 0);
    l->divisors = take(&at, a.has_votes && p->is_vote_normed ? n * sizeof(double) : 0);
    l->warm = take(&at, p->warm ? n * 2 * sizeof(uint32_t) : 0);
    l->sums = take(&at, is_few ? 0 : ROUTER_MAX_EXPERTS * (sizeof(double) + sizeof(uint32_t)));
    l->choices = take(&at, n * (is_short ? sizeof(uint4) : choice_stride<N>() * sizeof(uint32_t)));
    l->facts = take(&at, n * (is_short ? 2 * sizeof(uint4) : (N_FACTS + N) * sizeof(uint32_t)));
    l->list =
        take(&at, ((chunks + 1) * N * WARP * (is_few ? N_WARPS : 1) + N_WARPS) * sizeof(uint32_t));
    route = at;
    l->squares = take(&at, chunks * (is_few ? (size_t)ROW_SLICES : (size_t)OCTETS * ROUTER_BLOCKS) *
                               8 * sizeof(double));
    l->halves = take(&at, is_few ? 0 : ROUTER_CHUNK * sizeof(double));
    if (!is_few)
        at = (at + WGMMA_ALIGN - 1) / WGMMA_ALIGN * WGMMA_ALIGN;
    l->stage = take(&at, (size_t)stage_bytes(is_few, a.rows));
    l->bytes = at;
    at = is_few ? at : route; /* of many: in place of what the product took */
    l->election = take(&at, sizeof(struct election_room));
    l->rooms = take(&at, N_WARPS * sizeof(struct route_room));
    l->groups = take(&at, (size_t)(N_WARPS * groups_room(p)));
    l->scores =
        take(&at, is_few || is_short ? 0 : 2 * N_WARPS * ROUTER_MAX_EXPERTS * sizeof(float));
    l->brief = take(&at, is_short ? sizeof(struct brief_room) : 0);
    l->bytes = l->bytes > at ? l->bytes : at;
    return a;
}

static struct router_args args_of(const struct router_call *c)
{
    return c->route.p.n_exp <= FEW ? args_for<2>(c) : args_for<8>(c);
}

/* ---- norm -------------------------------------------------------------------------------- */

/* A warp's part of x: eight tokens of a chunk, a slice of columns. Lane 4 g + q has token g, and of
 * each step of 16 columns the four from 4 q on. */
struct part {
    int octet, slice;
    const float *from; /* the lane's first column of its token of chunk 0 */
    uint16_t *h;
    int n_from, n_h; /* steps that there are, of x and of h */
    float4 x[MAX_STEPS];
};

static __device__ __forceinline__ int first_column(const struct scene &s, const struct part &p)
{
    return p.slice * s.a.steps * 16 + s.lane % 4 * 4;
}

static __device__ __forceinline__ int token(const struct scene &s, const struct part &p, int chunk)
{
    return chunk * ROUTER_CHUNK + p.octet * 8 + s.lane / 4;
}

/* Steps of 16 columns that begin before the n-th, of the part's. */
static __device__ __forceinline__ int steps_before(const struct scene &s, int k, int n)
{
    return min(s.a.steps, (n - k + 15) / 16);
}

/* Where the part lies, before it is waited for. */
static __device__ __forceinline__ void place_part(const struct scene &s, struct part *p)
{
    const struct router_call &c = s.a.c;
    const int k = first_column(s, *p), row = s.u.row + token(s, *p, 0);
    const int ld = (int)pack_row_elems(c.d);

    p->from = c.x + (size_t)row * (size_t)c.d + (size_t)k;
    p->h = c.ret_h + (size_t)row * (size_t)ld + (size_t)k;
    p->n_from = k < c.d ? steps_before(s, k, c.d) : 0;
    p->n_h = k < ld ? steps_before(s, k, ld) : 0;
    if (token(s, *p, 0) < s.u.n_tok && p->n_from)
        prefetch(p->from); /* finds the pages in time */
}

static __device__ __forceinline__ void load_x(const struct scene &s, int chunk, struct part *p)
{
    const float *from = p->from + (size_t)(chunk * ROUTER_CHUNK) * (size_t)s.a.c.d;
    const int n = token(s, *p, chunk) < s.u.n_tok ? p->n_from : 0;

#pragma unroll
    for (int j = 0; j < MAX_STEPS; j++) {
        p->x[j] = make_float4(0, 0, 0, 0);
        if (j < n)
            p->x[j] = __ldcg((const float4 *)(from + j * 16));
    }
}

/* Where sums of a row's squares come in, of the lane's token, and how many of them: of few experts
 * one a slice, of many one a block. */
template <int N> static __host__ __device__ constexpr int square_sources()
{
    return is_few<N>() ? (int)ROW_SLICES : (int)ROUTER_BLOCKS;
}

template <int N>
static __device__ __forceinline__ double *squares_of(const struct scene &s, int chunk,
                                                     const struct part &p, int source)
{
    const int octet = is_few<N>() ? 0 : p.octet, octets = is_few<N>() ? 1 : (int)OCTETS;

    return (double *)(s.shared + s.a.l.squares) +
           ((chunk * octets + octet) * square_sources<N>() + source) * 8 + s.lane / 4;
}

/* The sums of a part's squares to the blocks that need them. All threads. */
template <int N>
static __device__ __forceinline__ void send_squares(const struct scene &s, int chunk,
                                                    const struct part &p)
{
    double sum[4] = { 0, 0, 0, 0 }, all;

#pragma unroll
    for (int j = 0; j < MAX_STEPS; j++)
        add_squares(sum, p.x[j]);
    all = quad_sum(add_four(sum));
    if (is_few<N>()) {
        cluster_send(squares_of<N>(s, chunk, p, p.slice), (unsigned)(p.octet * 4 + s.lane % 4),
                     s.barriers + SQUARES + chunk, all);
    } else { /* both slices' at once */
        double *half = (double *)(s.shared + s.a.l.halves) + p.octet * 8 + s.lane / 4;

        if (p.slice % 2 && s.lane % 4 == 0)
            *half = all;
        __syncthreads();
        if (p.slice % 2 == 0) {
            all += *half;
#pragma unroll
            for (int i = 0; i < 4; i++)
                cluster_send(squares_of<N>(s, chunk, p, s.rank), (unsigned)(s.lane % 4 * 4 + i),
                             s.barriers + SQUARES + chunk, all);
        }
    }
}

/* The factor of the lane's token. */
template <int N>
static __device__ __forceinline__ float receive_factor(const struct scene &s, int chunk,
                                                       const struct part &p)
{
    constexpr int EACH = square_sources<N>() / 4;
    const double *from = squares_of<N>(s, chunk, p, s.lane % 4 * EACH);
    double v[8] = { 0, 0, 0, 0, 0, 0, 0, 0 };

    cluster_receive(s.barriers + SQUARES + chunk);
#pragma unroll
    for (int i = 0; i < EACH; i++)
        v[i] = from[i * 8];
    v[0] = (v[0] + v[1]) + (v[2] + v[3]);
    if (EACH == 8)
        v[0] += (v[4] + v[5]) + (v[6] + v[7]);
    return rms_factor_of(quad_sum(v[0]), s.a.inverse_d, s.a.c.eps);
}

/* A step of the part after the norm, split; what the experts take goes to memory. */
static __device__ __forceinline__ void make_step(const struct scene &s, int chunk,
                                                 const struct part &p, int step, float factor,
                                                 const float4 &w, uint2 (&ret)[N_SPLIT])
{
    const float4 x = p.x[step];

    split_four(make_float4(rms_apply(x.x, factor, w.x), rms_apply(x.y, factor, w.y),
                           rms_apply(x.z, factor, w.z), rms_apply(x.w, factor, w.w)),
               ret);
    if (token(s, p, chunk) < s.u.n_tok && step < p.n_h)
        *(uint2 *)(p.h + (size_t)(chunk * ROUTER_CHUNK) * (size_t)pack_row_elems(s.a.c.d) +
                   step * 16) = ret[0];
}

/* ---- product ----------------------------------------------------------------------------- */

/* A block's weights of the router, spread over its lanes; and the norm's. */
template <int N> struct weights {
    static constexpr int TILES = is_few<N>() ? 4 : 2;  /* of 16 experts, a warp */
    static constexpr int SLICES = is_few<N>() ? 1 : 2; /* that they are multiplied with */
    uint4 of[SLICES][TILES][MAX_STEPS];
    float4 norm[MAX_STEPS];
};

/* The y-th tile of a warp. Of many, four warps have four beside each other: 64 experts. */
template <int N> static __device__ __forceinline__ int tile_of(int warp, int y)
{
    return is_few<N>() ? y : (warp / 4 * weights<N>::TILES + y) * 4 + warp % 4;
}

template <int N>
static __device__ __forceinline__ void load_weights(const struct router_args &a,
                                                    struct weights<N> *ret)
{
    const int rank = (int)cluster_rank(), tid = (int)threadIdx.x, warp = tid / WARP;
    const int tiles = a.rows / 16;
    const uint4 *w = (const uint4 *)a.c.router_packed + tid % WARP;

#pragma unroll
    for (int i = 0; i < weights<N>::SLICES; i++) {
        const int slice = is_few<N>() ? rank % 4 * 8 + warp : 2 * rank + i;

#pragma unroll
        for (int y = 0; y < weights<N>::TILES; y++)
#pragma unroll
            for (int j = 0; j < MAX_STEPS; j++) {
                ret->of[i][y][j] = make_uint4(0, 0, 0, 0);
                if (j < a.steps && tile_of<N>(warp, y) < tiles)
                    ret->of[i][y][j] =
                        __ldg(w + ((slice * tiles + tile_of<N>(warp, y)) * a.steps + j) * WARP);
            }
    }
}

static __device__ __forceinline__ void load_norm(const struct scene &s, const struct part &p,
                                                 float4 (&ret)[MAX_STEPS])
{
    const float *w = s.a.c.norm_w + first_column(s, p);

#pragma unroll
    for (int j = 0; j < MAX_STEPS; j++) {
        ret[j] = make_float4(0, 0, 0, 0);
        if (j < p.n_from)
            ret[j] = __ldg((const float4 *)(w + j * 16));
    }
}

/* Two tokens' sums with an expert to the block of the tokens. */
static __device__ __forceinline__ void send_logits(const struct scene &s, int chunk, int source,
                                                   int sources, int e, unsigned to, float first,
                                                   float second)
{
    uint2 *at = (uint2 *)(s.shared + s.a.l.logits) + (chunk * sources + source) * s.a.rows + e;

    cluster_send(at, to, s.barriers + LOGITS + chunk,
                 make_uint2(__float_as_uint(first), __float_as_uint(second)));
}

/* Of many: two tokens' sums with experts e and e + 8. With its neighbour's, which has e ^ 1, a lane
 * sends those of two experts beside each other. Whole warps. */
static __device__ __forceinline__ void send_logits_of_two(const struct scene &s, int chunk, int e,
                                                          unsigned to, const float (&sum)[4])
{
    const bool is_odd = e & 1;
    const float first = __shfl_xor_sync(ALL_LANES, is_odd ? sum[0] : sum[2], 4);
    const float second = __shfl_xor_sync(ALL_LANES, is_odd ? sum[1] : sum[3], 4);
    uint2 *at = (uint2 *)(s.shared + s.a.l.logits) + (chunk * ROUTER_BLOCKS + s.rank) * s.a.rows +
                (is_odd ? e + 7 : e);
    const uint4 v = is_odd ? make_uint4(__float_as_uint(first), __float_as_uint(second),
                                        __float_as_uint(sum[2]), __float_as_uint(sum[3]))
                           : make_uint4(__float_as_uint(sum[0]), __float_as_uint(sum[1]),
                                        __float_as_uint(first), __float_as_uint(second));

    cluster_send((uint4 *)at, to, s.barriers + LOGITS + chunk, v);
}

/* What a slice comes to: sum i of octet o, from the sums of wgmma.cuh. */
static __device__ __forceinline__ float octet_sum(const float (&acc)[SPLIT_ROWS / 2], int o, int i)
{
    const int at = 4 * o + i;

    return __fadd_rn(__fadd_rn(acc[at], acc[at + 4 * OCTETS]), acc[at + 8 * OCTETS]);
}

/* Few experts: the warp's slice with all of them, then the sum over the block's slices. */
static __device__ __forceinline__ void multiply(const struct scene &s, int chunk,
                                                const struct part &p, const struct weights<2> &w,
                                                float factor)
{
    constexpr int TILES = weights<2>::TILES;
    float *sums = (float *)(s.shared + s.a.l.stage) + chunk % 2 * (8 * s.a.rows * 8);
    float acc[TILES][N_SPLIT][4] = {};

#pragma unroll
    for (int j = 0; j < MAX_STEPS; j++) {
        uint2 b[N_SPLIT];

        make_step(s, chunk, p, j, factor, w.norm[j], b);
#pragma unroll
        for (int i = 0; i < N_SPLIT; i++)
#pragma unroll
            for (int y = 0; y < TILES; y++)
                mma_bf16(acc[y][i], w.of[0][y][j], b[i].x, b[i].y);
    }
#pragma unroll
    for (int y = 0; y < TILES; y++)
        if (y * 16 < s.a.rows) {
            float *to = sums + (s.warp * s.a.rows + y * 16 + s.lane / 4) * 8 + s.lane % 4 * 2;

            *(float2 *)to = make_float2(slice_sum(acc[y], 0), slice_sum(acc[y], 1));
            *(float2 *)(to + 64) = make_float2(slice_sum(acc[y], 2), slice_sum(acc[y], 3));
        }
    __syncthreads();
#pragma unroll 1
    for (int i = (int)threadIdx.x; i < s.a.rows * 4; i += ROUTER_THREADS) {
        float first[N_WARPS], second[N_WARPS];

#pragma unroll
        for (int b = 0; b < N_WARPS; b++) {
            const float2 v = ((const float2 *)sums)[b * s.a.rows * 4 + i];

            first[b] = v.x;
            second[b] = v.y;
        }
        send_logits(s, chunk, s.rank % 4, 4, i / 4, (unsigned)(p.octet * 4 + i % 4),
                    tree_sum(first), tree_sum(second));
    }
}

/* Many experts: all parts of the block's slices with the warpgroup's experts. */
static __device__ __forceinline__ void multiply(const struct scene &s, int chunk,
                                                const struct part &p, const struct weights<8> &w,
                                                float factor)
{
    constexpr int TILES = weights<8>::TILES, SLICES = weights<8>::SLICES, ACC = SPLIT_ROWS / 2;
    char *stage = s.shared + s.a.l.stage,
         *rows = stage + p.slice % 2 * SPLIT_ROWS * WGMMA_ROW_BYTES;
    const int row = p.octet * 8 + s.lane / 4;

    __syncthreads(); /* the chunk before is read */
#pragma unroll
    for (int j = 0; j < MAX_STEPS; j++) {
        uint2 b[N_SPLIT];

        make_step(s, chunk, p, j, factor, w.norm[j], b);
#pragma unroll
        for (int i = 0; i < N_SPLIT; i++) {
            char *to = rows + s.lane % 4 * 4;

            *(uint32_t *)(to + wgmma_piece(i * ROUTER_CHUNK + row, 2 * j)) = b[i].x;
            *(uint32_t *)(to + wgmma_piece(i * ROUTER_CHUNK + row, 2 * j + 1)) = b[i].y;
        }
    }
    wgmma_shared_fence();
    __syncthreads();
#pragma unroll
    for (int y = 0; y < TILES; y++) {
        const int tile = tile_of<8>(s.warp, y);
        float acc[SLICES][ACC];

        if (tile / 4 * 64 >= s.a.rows) /* of the warpgroup */
            return;
        wgmma_begin();
#pragma unroll
        for (int z = 0; z < SLICES; z++) {
            const uint64_t b = wgmma_operand(shared_addr(stage + z * SPLIT_ROWS * WGMMA_ROW_BYTES));

#pragma unroll
            for (int j = 0; j < MAX_STEPS; j++)
                wgmma<SPLIT_ROWS>(acc[z], w.of[z][y][j], b + j * WGMMA_STEP, j > 0);
        }
        wgmma_commit();
        wgmma_wait<0>();
#pragma unroll
        for (int o = 0; o < OCTETS; o++) {
            float sum[4];

#pragma unroll
            for (int i = 0; i < 4; i++)
                sum[i] = __fadd_rn(octet_sum(acc[0], o, i), octet_sum(acc[1], o, i));
            if (tile * 16 < s.a.rows)
                send_logits_of_two(s, chunk, tile * 16 + s.lane / 4, (unsigned)(o * 4 + s.lane % 4),
                                   sum);
        }
    }
}

/* ---- kernel ------------------------------------------------------------------------------ */

/* Make the barriers and say what they wait for. They are made one after the other by a warp,
 * so each has some. */
template <int N, enum kind KIND>
static __device__ __forceinline__ void expect_messages(const struct scene &s)
{
    const int i = s.warp + s.lane * N_WARPS, n_tok = s.u.n_tok;
    uint32_t bytes = (uint32_t)((is_few<N>() ? 4 : (int)ROUTER_BLOCKS) * s.a.rows * 8);

    if (i >= N_BARRIERS)
        return;
    if (i < LOGITS)
        bytes = (uint32_t)((is_few<N>() ? 1 : (int)OCTETS) * square_sources<N>() * 8 * 8);
    else if (i == VOTES)
        bytes = ballot_bytes<N>(s);
    else if (i == SUMS)
        bytes = ROUTER_MAX_EXPERTS * (s.is_usual ? 1 : 12);
    else if (i == CHOICES)
        bytes = KIND == BRIEF ? brief_choice_bytes(s) : (uint32_t)(n_tok * N * 4);
    else if (i == FACTS)
        bytes = KIND == BRIEF ? brief_fact_bytes(s) : (uint32_t)(n_tok * (N_FACTS + N) * 4);
    barrier_init(s.barriers + i, 1);
    barrier_init_fence();
    barrier_expect(s.barriers + i, bytes);
}

/* All threads, once the logits have come. */
template <int N>
static __device__ __forceinline__ void route_tokens(const struct scene &s, const float (&bias)[N],
                                                    bool is_voter, const struct route_call_group &g)
{
    const struct router_call &c = s.a.c;
    const struct route_call_segment &u = s.u;
    const int n_exp = s.p.n_exp;
    const bool has_core = s.p.size != SIZE_NONE;
    const uint8_t *core = NULL;
    struct route_token<N> t;
    struct natural<N> natural = {
    };
    struct census all;
    uint32_t chosen = 0;
    float z[N];

    if (s.is_mine) {
        read_scores<N>(s, z, t.score);
        if (c.ret_scores && s.member == 0)
#pragma unroll
            for (int i = 0; i < N; i++)
                if (i * WARP + s.lane < n_exp)
                    c.ret_scores[(size_t)(u.row + s.t_mine) * (size_t)n_exp +
                                 (size_t)(i * WARP + s.lane)] = t.score[i];
        make_keys<N>(s.p, bias, &t, s.groups);
        rank_token<N>(s, t, &natural);
        if (has_core && (s.a.has_votes || s.p.warm))
            vote<N>(s, is_voter, t, z, natural);
    }
    if (has_core)
        core = elect<N>(s, g);
    if (s.is_mine) { /* the first goes on to the list while the second has slots, the last facts */
        chosen = choose<N>(s, t, natural, core);
        if (s.member == 0)
            send_choice<N>(s, chosen);
        if (s.member == (s.n_team > 1)) {
            struct route_room *room = s.room - s.member * s.n_teams;
            const int n = fill_slots<N>(s, t, chosen, room);

            if (s.n_team > 1)
                named_barrier_arrive(s.team + 1, 2 * WARP);
            put_slots(s, n, room);
        }
        if (s.member == s.n_team - 1 && s.n_team > 1)
            send_facts<N>(s, t, natural, chosen);
    }
    cluster_receive(s.barriers + CHOICES);
    if (!needs_census(s))
        return;
    take_census<N>(s, &all);
    if (s.is_mine && s.member == 0) {
        if (s.n_team > 1)
            named_barrier(s.team + 1, 2 * WARP);
        if (c.list.n_active)
            list_pairs<N>(s, all, __reduce_add_sync(ALL_LANES, __popc(chosen)));
        if (s.n_team == 1)
            send_facts<N>(s, t, natural, chosen);
    }
    if (finder(s) == CENSUS_WARPS - 2)
        list_experts<N>(s, all);
    if (s.rank == ROUTER_BLOCKS - 1 && finder(s) == CENSUS_WARPS - 1)
        count<N>(s, all, core);
}

template <int N, enum kind KIND>
static __global__ void __launch_bounds__(ROUTER_THREADS, 1)
    router_kernel(const __grid_constant__ struct router_args a)
{
    const struct router_call &c = a.c;
    char *shared = dynamic_shared();
    const int warp = (int)threadIdx.x / WARP, rank = (int)cluster_rank();
    const int unit = (int)blockIdx.x / ROUTER_BLOCKS;
    const struct route_call_segment u = c.route.segs[unit];

    /* What nobody writes, while the kernel ahead still runs. */
    grid_release();
    struct weights<N> w;
    load_weights(a, &w);

    constexpr bool IS_USUAL = KIND != ANY;
    const int log_teams = KIND == BRIEF || u.n_tok <= ROUTER_CHUNK ? 1
                          : u.n_tok <= 2 * ROUTER_CHUNK            ? 2
                                                                   : 3;
    const int team = warp & ((1 << log_teams) - 1), t_mine = team / 2 * 32 + 2 * rank + team % 2;
    const struct scene s = { .a = a,
                             .p = settings<N, IS_USUAL>(c.route.p),
                             .is_usual = IS_USUAL,
                             .depth = IS_USUAL ? c.route.p.top_k : natural_depth(c.route.p),
                             .shared = shared,
                             .barriers = (uint64_t *)(void *)shared,
                             .u = u,
                             .unit = unit,
                             .rank = rank,
                             .warp = warp,
                             .lane = (int)threadIdx.x % WARP,
                             .team = team,
                             .n_teams = 1 << log_teams,
                             .n_team = N_WARPS >> log_teams,
                             .member = warp >> log_teams,
                             .t_mine = t_mine,
                             .is_mine = t_mine < u.n_tok,
                             .room = (struct route_room *)(shared + a.l.rooms) + warp,
                             .groups = shared + a.l.groups + warp * groups_room(&c.route.p) };
    const int n_exp = c.route.p.n_exp, n_chunks = (u.n_tok + ROUTER_CHUNK - 1) / ROUTER_CHUNK;
    const bool has_core = s.p.size != SIZE_NONE;
    struct route_call_group g = {};
    struct part now, next;
    bool is_voter = false;
    float bias[KIND == BRIEF ? 2 : N] = {};

    expect_messages<N, KIND>(s);
    clear_tallies(s);
    cluster_arrive_relaxed(); /* all blocks are there before anything is sent */
    now.octet = is_few<N>() ? rank / 4 : warp % 4;
    now.slice = is_few<N>() ? rank % 4 * 8 + warp : 2 * rank + warp / 4;
    place_part(s, &now);
    next = now;
    load_norm(s, now, w.norm);
    if (has_core && u.n_tok)
        g = c.route.groups[u.first_group];
    if (s.is_mine) {
        is_voter = c.route.tokens[u.first + t_mine].is_voter;
        if constexpr (KIND != BRIEF || is_few<N>())
            load_bias<N>(c.route, u.row + t_mine, bias);
    }
    if constexpr (KIND == BRIEF && !is_few<N>())
        load_biases(s, bias);
    grid_wait();

    if (n_chunks)
        load_x(s, 0, &now);
    __syncthreads();
    cluster_wait();
    if (n_chunks)
        send_squares<N>(s, 0, now);
#pragma unroll 1
    for (int e = (int)threadIdx.x; g.core_before && e < n_exp; e += ROUTER_THREADS)
        (shared + a.l.before)[e] = (char)g.core_before[e];
#pragma unroll 1
    for (int chunk = 0; chunk < n_chunks; chunk++) {
        const bool has_more = KIND != BRIEF && chunk + 1 < n_chunks;

        if (has_more)
            load_x(s, chunk + 1, &next);
        multiply(s, chunk, now, w, receive_factor<N>(s, chunk, now));
        now = next;
        if (has_more)
            send_squares<N>(s, chunk + 1, now);
    }

    /* after this nobody reads what the product was made of: other things come in its place */
#pragma unroll 1
    for (int chunk = 0; chunk < n_chunks; chunk++)
        cluster_receive(s.barriers + LOGITS + chunk);
    if constexpr (KIND == BRIEF && is_few<N>())
        route_few(s, bias, is_voter, g);
    else if constexpr (KIND == BRIEF)
        route_many(s, bias, is_voter, g);
    else
        route_tokens<N>(s, bias, is_voter, g);
}

/* ---- packing ------------------------------------------------------------------------------ */

static int row_tiles(int n_exp)
{
    return (n_exp + 15) / 16;
}

size_t router_pack_bytes(int n_exp, int d)
{
    return (size_t)row_tiles(n_exp) * ROW_SLICES * (size_t)(row_slice(d) / 16) * WARP * 16;
}

/* A warp a step of a tile. */
static __global__ void pack_kernel(const uint16_t *rows, int n_exp, int d, uint2 *ret)
{
    const int steps = row_slice(d) / 16, tiles = (n_exp + 15) / 16, lane = (int)threadIdx.x % WARP;
    const int unit = (int)(blockIdx.x * (blockDim.x / WARP) + threadIdx.x / WARP);
    const int j = unit % steps, y = unit / steps % tiles, slice = unit / steps / tiles;
    const int e = y * 16 + lane / 4, k = (slice * steps + j) * 16 + lane % 4 * 4;
    uint32_t of[2][4] = {}; /* of experts e and e + 8, four columns */

    if (slice >= ROW_SLICES)
        return;
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
        for (int c = 0; c < 4; c++)
            if (e + 8 * i < n_exp && k + c < d)
                of[i][c] = rows[(size_t)(e + 8 * i) * (size_t)d + (size_t)(k + c)];
    ret += 2 * (unit * WARP + lane);
    ret[0] = make_uint2(of[0][0] | of[0][1] << 16, of[1][0] | of[1][1] << 16);
    ret[1] = make_uint2(of[0][2] | of[0][3] << 16, of[1][2] | of[1][3] << 16);
}

cudaError_t router_pack_launch(const void *rows, int n_exp, int d, void *ret, cudaStream_t stream)
{
    const int units = row_tiles(n_exp) * ROW_SLICES * (row_slice(d) / 16);
    cudaLaunchConfig_t config = {};

    config.gridDim = dim3((unsigned)((units + N_WARPS - 1) / N_WARPS));
    config.blockDim = dim3(ROUTER_THREADS);
    config.stream = stream;
    return cudaLaunchKernelEx(&config, pack_kernel, (const uint16_t *)rows, n_exp, d, (uint2 *)ret);
}

/* ---- launches ---------------------------------------------------------------------------- */

bool router_fits(const struct route_params *p, int d, int max_tok, int n_segs, int n_groups)
{
    bool is_greedy = p->size == SIZE_FIXED && p->elect == ELECT_MASS;
    struct router_call c = {};

    c.route.p = *p;
    c.d = d;
    c.max_tok = max_tok;
    return p->n_exp <= ROUTER_MAX_EXPERTS && max_tok <= ROUTER_MAX_TOKENS && d % 8 == 0 &&
           d <= MAX_WIDTH && !is_greedy && !(p->protect > 0 && p->keep != KEEP_ALL) &&
           !p->is_joint && n_groups == n_segs && args_of(&c).l.bytes <= ROUTER_MAX_SHARED;
}

template <int N> static void (*kernel_of(enum kind kind))(struct router_args)
{
    return kind == ANY     ? router_kernel<N, ANY>
           : kind == USUAL ? router_kernel<N, USUAL>
                           : router_kernel<N, BRIEF>;
}

cudaError_t router_launch(const struct router_call *c, bool is_early, cudaStream_t stream)
{
    struct router_args a = args_of(c);
    dim3 grid((unsigned)(c->route.n_segs * ROUTER_BLOCKS));

    if (!c->route.n_segs)
        return cudaSuccess;
    return router_cluster_launch(c->route.p.n_exp <= FEW ? kernel_of<2>(kind_of(c))
                                                         : kernel_of<8>(kind_of(c)),
                                 grid, (size_t)a.l.bytes, is_early, stream, a);
}

template <int N> static cudaError_t count_clusters(int *ret)
{
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute attr = {};
    cudaError_t rc = cudaFuncSetAttribute(router_kernel<N, ANY>,
                                          cudaFuncAttributeNonPortableClusterSizeAllowed, 1);

    if (rc == cudaSuccess)
        rc =
            cudaFuncSetAttribute(router_kernel<N, ANY>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                 (int)ROUTER_MAX_SHARED);
    attr.id = cudaLaunchAttributeClusterDimension;
    attr.val.clusterDim.x = ROUTER_BLOCKS;
    attr.val.clusterDim.y = attr.val.clusterDim.z = 1;
    config.gridDim = dim3(ROUTER_BLOCKS);
    config.blockDim = dim3(ROUTER_THREADS);
    config.dynamicSmemBytes = ROUTER_MAX_SHARED;
    config.attrs = &attr;
    config.numAttrs = 1;
    return rc == cudaSuccess ? cudaOccupancyMaxActiveClusters(ret, router_kernel<N, ANY>, &config)
                             : rc;
}

cudaError_t router_check(int *ret_n_clusters)
{
    int few = 0, many = 0;
    cudaError_t rc = count_clusters<2>(&few);

    if (rc == cudaSuccess)
        rc = count_clusters<8>(&many);
    if (rc == cudaSuccess)
        *ret_n_clusters = few < many ? few : many;
    return rc;
}
