/*
 * The router of a layer in one launch (router.h): a cluster of 16 blocks a segment.
 *
 *   1. block b takes the squares of rows b, b + 16, ...; their factors go to all blocks
 *   2. block b multiplies its slice of d with the experts' rows; the sums of token t go to block
 *      t % 16, which adds the slices in their order
 *   3. warp t / 16 of that block has the token's scores in registers: natural order, votes; the
 *      votes go to all blocks
 *   4. every block elects the same coreset
 *   5. the token's warp chooses its experts; what it chose goes to all blocks, each of which then
 *      knows where in the worklist its tokens' pairs are; block 0 makes the statistics
 *
 * The product. A slice is 1/16 of d, rounded up to 16. An element of x after the norm is split into
 * three bf16 that add up to it (24 bits), the router's weights are bf16: every product is exact,
 * and tensor cores add them in f32, one sum a slice for each of the three. This is f32
 * arithmetic at a third of the tensor cores' rate, still several times that of multiply-adds.
 * A token is a column of the tensor cores' product: its sums do not depend on its neighbours.
 *
 *     z = s[0] + s[1] + ... + s[15],   s = (high + middle) + low
 */
#include "kernels/cuda/router.h"

#include "kernels/cuda/cluster.cuh"
#include "kernels/cuda/route.cuh"
#include "kernels/cuda/row.cuh"
#include "kernels/cuda/sm90.cuh"

enum {
    N_BLOCKS = 16,
    THREADS = 256,
    N_WARPS = THREADS / WARP,
    CHUNK = 32, /* tokens that are multiplied at once */
    N_SPLIT = 3,
    ROWS = CHUNK / N_WARPS /* of a chunk that a warp makes ready */
};

/* Elements of d in a slice. */
static __host__ __device__ inline int slice_of(int d)
{
    return ((d + N_BLOCKS - 1) / N_BLOCKS + 15) / 16 * 16;
}

/* Shared rows of bf16 are 16 bytes longer, so that eight of them lie in different banks. */
static __host__ __device__ inline int row_stride(int slice)
{
    return slice + 8;
}

/* ---- product ----------------------------------------------------------------------------- */

/* Split four elements into three bf16 each, to places `stride` elements apart. */
static __device__ __forceinline__ uint2 split_store(float4 h, uint16_t *to, int stride)
{
    uint2 first = make_uint2(0, 0);

#pragma unroll
    for (int s = 0; s < N_SPLIT; s++) {
        uint2 part = make_uint2(pack_bf16(h.x, h.y), pack_bf16(h.z, h.w));

        *(uint2 *)(to + (size_t)s * (size_t)stride) = part;
        if (s == 0)
            first = part;
        h.x = __fsub_rn(h.x, __uint_as_float(part.x << 16));
        h.y = __fsub_rn(h.y, __uint_as_float(part.x & 0xffff0000u));
        h.z = __fsub_rn(h.z, __uint_as_float(part.y << 16));
        h.w = __fsub_rn(h.w, __uint_as_float(part.y & 0xffff0000u));
    }
    return first;
}

/* Start copying a slice of the experts' rows: w (n_exp, d) from column `from`, what lies beyond d
 * or n_exp is 0. */
static __device__ __forceinline__ void load_experts(const uint16_t *w, int n_exp, int d, int from,
                                                    int slice, uint16_t *to)
{
    int per_row = slice / 8, rows = (n_exp + 15) / 16 * 16;

    for (int i = (int)threadIdx.x; i < rows * per_row; i += THREADS) {
        int e = i / per_row, k = i % per_row * 8;
        bool is_there = e < n_exp && from + k < d;

        async_copy16(to + e * row_stride(slice) + k,
                     is_there ? w + (size_t)e * (size_t)d + (size_t)(from + k) : w, is_there);
    }
    async_commit();
}

/*
 * A warp's part of a slice's product for CHUNK tokens: token octet warp % 4, every other 16 experts
 * from warp / 4 on. put(token, expert, sum). x: N_SPLIT planes of CHUNK rows.
 */
template <int TILES, class Put>
static __device__ __forceinline__ void multiply(const uint16_t *w, const uint16_t *x, int n_exp,
                                                int slice, Put put)
{
    int lane = (int)threadIdx.x % WARP, warp = (int)threadIdx.x / WARP, stride = row_stride(slice);
    int n_tiles = (n_exp + 15) / 16, octet = warp % 4, col = lane / 4, pair = lane % 4 * 2;
    const uint16_t *b = x + (octet * 8 + col) * stride + pair;
    float acc[TILES][N_SPLIT][4] = {};

    for (int k = 0; k < slice; k += 16) {
        uint32_t of_x[N_SPLIT][2];

#pragma unroll
        for (int s = 0; s < N_SPLIT; s++) {
            of_x[s][0] = *(const uint32_t *)(b + s * CHUNK * stride + k);
            of_x[s][1] = *(const uint32_t *)(b + s * CHUNK * stride + k + 8);
        }
#pragma unroll
        for (int i = 0; i < TILES; i++) {
            int tile = warp / 4 + 2 * i;

            if (tile < n_tiles) {
                const uint16_t *a = w + (tile * 16 + col) * stride + pair + k;
                uint4 of_w =
                    make_uint4(*(const uint32_t *)a, *(const uint32_t *)(a + 8 * stride),
                               *(const uint32_t *)(a + 8), *(const uint32_t *)(a + 8 * stride + 8));

#pragma unroll
                for (int s = 0; s < N_SPLIT; s++)
                    mma_bf16(acc[i][s], of_w, of_x[s][0], of_x[s][1]);
            }
        }
    }
#pragma unroll
    for (int i = 0; i < TILES; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int e = (warp / 4 + 2 * i) * 16 + col + j / 2 * 8, t = octet * 8 + pair + j % 2;

            if (e < n_exp)
                put(t, e, __fadd_rn(__fadd_rn(acc[i][0][j], acc[i][1][j]), acc[i][2][j]));
        }
}

/* ---- the op's product -------------------------------------------------------------------- */

static int padded(int n_exp)
{
    return (n_exp + 15) / 16 * 16;
}

static size_t product_shared(int n_exp, int d)
{
    int rows = padded(n_exp < ROUTER_MAX_EXPERTS ? n_exp : (int)ROUTER_MAX_EXPERTS);

    return (size_t)(rows + N_SPLIT * CHUNK) * (size_t)row_stride(slice_of(d)) * sizeof(uint16_t) +
           (size_t)(CHUNK * rows) * sizeof(float);
}

/* A cluster: CHUNK tokens and ROUTER_MAX_EXPERTS experts. Block b has a slice; token t's sums go to
 * block t % N_BLOCKS: (N_BLOCKS, 2, n_exp) f32. */
static __global__ void __launch_bounds__(THREADS)
    product_kernel(const float *x, const uint16_t *router_w, int n_tok, int n_exp, int d, float *z)
{
    int slice = slice_of(d), stride = row_stride(slice), rank = (int)cluster_rank();
    int first = (int)blockIdx.x / N_BLOCKS * CHUNK, from_exp = (int)blockIdx.y * ROUTER_MAX_EXPERTS;
    int n = min(n_exp - from_exp, (int)ROUTER_MAX_EXPERTS), tid = (int)threadIdx.x;
    int lane = tid % WARP, warp = tid / WARP, rows = (n + 15) / 16 * 16;
    float *slices = (float *)dynamic_shared();
    uint16_t *w = (uint16_t *)(slices + CHUNK * rows), *xs = w + rows * stride;

    cluster_arrive();
    load_experts(router_w + (size_t)from_exp * (size_t)d, n, d, rank * slice, slice, w);
    for (int r = warp; r < CHUNK; r += N_WARPS)
        for (int k = lane * 4; k < slice; k += 4 * WARP) {
            int at = rank * slice + k;
            float4 h = make_float4(0, 0, 0, 0);

            if (first + r < n_tok && at < d)
                h = *(const float4 *)(x + (size_t)(first + r) * (size_t)d + (size_t)at);
            split_store(h, xs + r * stride + k, CHUNK * stride);
        }
    async_wait<0>();
    __syncthreads();
    cluster_wait();
    multiply<8>(w, xs, n, slice, [&](int t, int e, float sum) {
        cluster_peer(slices, (unsigned)(t % N_BLOCKS))[(rank * 2 + t / N_BLOCKS) * n + e] = sum;
    });
    cluster_arrive();
    cluster_wait();
    for (int i = tid; i < 2 * n; i += THREADS) {
        int t = first + i / n * N_BLOCKS + rank, e = i % n;
        float sum = slices[i];

        for (int b = 1; b < N_BLOCKS; b++)
            sum = __fadd_rn(sum, slices[b * 2 * n + i]);
        if (t < n_tok)
            z[(size_t)t * (size_t)n_exp + (size_t)(from_exp + e)] = sum;
    }
}

/* ---- one launch -------------------------------------------------------------------------- */

/* What a token tells all blocks. */
struct choice {
    uint32_t chosen[ROUTER_MAX_EXPERTS / 32], natural[ROUTER_MAX_EXPERTS / 32];
    double kept;
    int n_rerouted, is_lost;
};

/* Shared memory of a block; offsets in bytes. What others send after the product, or is made then,
 * lies where the product's operands lay: nobody sends before all have done their part of it. */
struct layout {
    int w;        /* (n_exp up to 16, slice) bf16 */
    int election; /* in its place */
    int room;     /* a struct route_room a warp */
    int groups;   /* groups_room() a warp */
    int columns;  /* (n_exp, 4) the tokens of an expert, one a bit */
    int places;   /* (n_exp + 1) its first pair; then four sums a warp */
    int x;        /* (N_SPLIT, CHUNK, slice) bf16 */
    int divisors; /* in its place: (n_tok) f64 from all */
    int warm;     /* (n_tok, words) from all */
    int choices;  /* (n_tok) from all */
    int slices;   /* (N_BLOCKS, tokens of this block, n_exp) f32 from all */
    int votes;    /* (n_tok, n_exp) f32 from all, NaN: none */
    int factor;   /* (n_tok) f32 from all */
    int bytes;
};

struct router_args {
    struct router_call c;
    struct layout l;
    int n_words, slice;
    bool has_votes;
};

static int take(int *at, size_t bytes)
{
    int from = *at;

    *at += (int)((bytes + 15) / 16 * 16);
    return from;
}

static struct router_args args_of(const struct router_call *c)
{
    struct router_args a = {};
    size_t n_exp = (size_t)c->route.p.n_exp, rows = (size_t)padded(c->route.p.n_exp),
           n = (size_t)c->max_tok;
    struct layout *l = &a.l;
    int at = 0, stride, end;

    a.c = *c;
    a.n_words = (c->route.p.n_exp + 31) / 32;
    a.slice = slice_of(c->d);
    a.has_votes = (c->route.p.size == SIZE_FIXED || c->route.p.size == SIZE_TOP_P) &&
                  c->route.p.elect == ELECT_VOTES;
    stride = row_stride(a.slice) * 2;
    l->election = take(&at, sizeof(struct election_room));
    l->room = take(&at, N_WARPS * sizeof(struct route_room));
    l->groups = take(&at, (size_t)(N_WARPS * groups_room(&c->route.p)));
    l->columns = take(&at, n_exp * 4 * sizeof(uint32_t));
    l->places = take(&at, (n_exp + 1 + 4 * N_WARPS) * sizeof(int));
    end = at;
    at = 0;
    l->w = take(&at, rows * (size_t)stride);
    at = l->x = at > end ? at : end;
    l->divisors = take(&at, n * sizeof(double));
    l->warm = take(&at, n * (size_t)a.n_words * sizeof(uint32_t));
    l->choices = take(&at, n * sizeof(struct choice));
    end = at;
    at = l->x;
    take(&at, (size_t)(N_SPLIT * CHUNK * stride));
    at = at > end ? at : end;
    l->slices = take(&at, N_BLOCKS * ((n + N_BLOCKS - 1) / N_BLOCKS) * n_exp * sizeof(float));
    l->votes = take(&at, a.has_votes ? n * n_exp * sizeof(float) : 0);
    l->factor = take(&at, n * sizeof(float));
    l->bytes = at;
    return a;
}

/* x, or x + y, at elements from `at` on; 0 beyond d. */
static __device__ __forceinline__ float4 read_four(const struct router_call &c, int row, int at)
{
    size_t from = (size_t)row * (size_t)c.d + (size_t)at;
    float4 v = make_float4(0, 0, 0, 0);

    if (at < c.d) {
        v = *(const float4 *)(c.x + from);
        if (c.y) {
            float4 y = *(const float4 *)(c.y + from);

            v = make_float4(__fadd_rn(v.x, y.x), __fadd_rn(v.y, y.y), __fadd_rn(v.z, y.z),
                            __fadd_rn(v.w, y.w));
        }
    }
    return v;
}

/* row_sum_squares() of row.cuh of x, or of x + y: loads first, BATCH at a time. */
template <bool HAS_Y>
static __device__ __forceinline__ double sum_squares(const struct router_call &c, int row, int lane)
{
    const int BATCH = 16;
    const float *x = c.x + (size_t)row * (size_t)c.d, *y = c.y + (size_t)row * (size_t)c.d;
    double sum[4] = { 0, 0, 0, 0 };

    for (int from = 4 * lane; from < c.d; from += BATCH * 4 * WARP) {
        float4 v[BATCH], add[BATCH];

#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            int at = from + i * 4 * WARP;

            v[i] = at < c.d ? *(const float4 *)(x + at) : make_float4(0, 0, 0, 0);
            if (HAS_Y)
                add[i] = at < c.d ? *(const float4 *)(y + at) : make_float4(0, 0, 0, 0);
        }
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            if (HAS_Y)
                v[i] = make_float4(__fadd_rn(v[i].x, add[i].x), __fadd_rn(v[i].y, add[i].y),
                                   __fadd_rn(v[i].z, add[i].z), __fadd_rn(v[i].w, add[i].w));
            sum[0] = fma((double)v[i].x, (double)v[i].x, sum[0]);
            sum[1] = fma((double)v[i].y, (double)v[i].y, sum[1]);
            sum[2] = fma((double)v[i].z, (double)v[i].z, sum[2]);
            sum[3] = fma((double)v[i].w, (double)v[i].w, sum[3]);
        }
    }
    return warp_sum(add_four(sum));
}

/* Scores of the logits z, as row_softmax() and sigmoid() have them. */
template <int N>
static __device__ __forceinline__ void score_logits(enum router_score kind, int n_exp,
                                                    const float (&z)[N], float (&ret)[N])
{
    int lane = (int)threadIdx.x % WARP;
    float max = -INFINITY, total;
    double sum = 0;

    if (kind == ROUTER_SIGMOID) {
#pragma unroll
        for (int i = 0; i < N; i++)
            ret[i] = sigmoid(z[i]);
        return;
    }
#pragma unroll
    for (int i = 0; i < N; i++)
        if (i * WARP + lane < n_exp)
            max = fmaxf(max, z[i]);
    max = warp_max(max);
#pragma unroll
    for (int i = 0; i < N; i++)
        if (i * WARP + lane < n_exp) {
            ret[i] = expf(__fsub_rn(z[i], max));
            sum += (double)ret[i];
        }
    total = (float)warp_sum(sum);
#pragma unroll
    for (int i = 0; i < N; i++)
        ret[i] = i * WARP + lane < n_exp ? __fdiv_rn(ret[i], total) : 0.0f;
}

/* What a warp has laid in its shared memory, to the same place of every block. */
template <class T> static __device__ __forceinline__ void send_all(const T *mine, T *to)
{
    const int n = (int)sizeof(T) / 4;

    __syncwarp();
#pragma unroll
    for (unsigned b = 0; b < N_BLOCKS; b++) {
        uint32_t *peer = (uint32_t *)cluster_peer(to, b);

#pragma unroll
        for (int i = 0; i < n; i += WARP)
            if (i + (int)threadIdx.x % WARP < n)
                peer[i + (int)threadIdx.x % WARP] =
                    ((const uint32_t *)mine)[i + (int)threadIdx.x % WARP];
    }
    __syncwarp();
}

/* A token's votes and warm-up set to all. */
template <int N>
static __device__ __forceinline__ void
send_ballot(const struct router_args &a, char *shared, int t_mine, bool is_voter,
            const struct route_token<N> &t, const float (&z)[N], uint32_t first, int n_first,
            uint32_t warm, struct route_room *room)
{
    int lane = (int)threadIdx.x % WARP, n_exp = a.c.route.p.n_exp;

    if (a.has_votes) {
        float votes[N], *to = (float *)(shared + a.l.votes) + t_mine * n_exp;
        double divisor = token_votes<N>(a.c.route.p, t, z, first, n_first, votes, room);

#pragma unroll
        for (unsigned b = 0; b < N_BLOCKS; b++) {
            float *peer = cluster_peer(to, b);

#pragma unroll
            for (int i = 0; i < N; i++)
                if (i * WARP + lane < n_exp)
                    peer[i * WARP + lane] = is_voter ? votes[i] : NAN;
        }
        if (a.c.route.p.is_vote_normed && lane < N_BLOCKS)
            *cluster_peer((double *)(shared + a.l.divisors) + t_mine, (unsigned)lane) = divisor;
    }
    if (a.c.route.p.warm) {
        uint32_t words[N];

        set_words<N>(is_voter ? warm : 0, words);
        if (lane < N_BLOCKS) {
            uint32_t *peer =
                cluster_peer((uint32_t *)(shared + a.l.warm) + t_mine * a.n_words, (unsigned)lane);

#pragma unroll
            for (int i = 0; i < N; i++)
                if (i < a.n_words)
                    peer[i] = words[i];
        }
    }
}

/* Everybody's votes, summed in token order, into x. */
static __device__ __forceinline__ void hear_voters(const struct router_args &a,
                                                   const struct route_call_group *g, int n_tok,
                                                   const char *shared, struct election_room *x)
{
    const float *votes = (const float *)(shared + a.l.votes);
    const double *divisors = (const double *)(shared + a.l.divisors);
    const uint32_t *warm = (const uint32_t *)(shared + a.l.warm);
    const struct route_params &p = a.c.route.p;

    for (int e = (int)threadIdx.x; e < p.n_exp; e += THREADS) {
        bool is_warm = false, is_voted = false;
        double sum = 0;

        if (a.has_votes && !p.is_vote_normed) {
            for (int from = 0; from < n_tok; from += 16) {
                float v[16];

#pragma unroll
                for (int i = 0; i < 16; i++)
                    v[i] = from + i < n_tok ? votes[(from + i) * p.n_exp + e] : NAN;
#pragma unroll
                for (int i = 0; i < 16; i++) {
                    is_voted |= v[i] == v[i];
                    /* adding 0 changes no sum */
                    sum = __dadd_rn(sum, (double)(v[i] == v[i] ? v[i] : 0.0f));
                }
            }
        } else if (a.has_votes) {
            for (int t = 0; t < n_tok; t++) {
                double v = vote_value(p, votes[t * p.n_exp + e], divisors[t]);

                is_voted |= v == v;
                sum = __dadd_rn(sum, v == v ? v : 0.0);
            }
        }
        for (int t = 0; p.warm && t < n_tok; t++)
            is_warm |= warm[t * a.n_words + e / 32] >> (e % 32) & 1;
        x->v[e] = sum;
        x->has_vote[e] = is_voted;
        x->core[e] = is_warm;
        if (p.elect != ELECT_VOTES)
            x->has_vote[e] = 1;
        if (p.elect == ELECT_STATIC)
            x->v[e] = a.c.route.popularity[e];
        if (p.elect == ELECT_RANDOM)
            x->v[e] = route_hash_of(g->key, g->number, e);
        rank_later(p, x, e);
    }
}

/* elect_by_votes() where it is short: SIZE_FIXED, at most 64 experts. Four threads an expert, a
 * quarter of the others each. */
static __device__ __forceinline__ void elect_few(const struct route_params &p,
                                                 struct election_room *x)
{
    int tid = (int)threadIdx.x, e = tid / 4, n = 0, n_warm = 0;
    bool is_warm = tid < p.n_exp && x->core[tid]; /* by who wrote it */
    bool is_nan = tid < p.n_exp && x->v[tid] != x->v[tid];
    uint64_t mine;

    if (tid >= p.n_exp && tid < 64)
        x->key[tid] = 0;
    if (__syncthreads_or(is_nan)) {
        elect_by_votes(p, x);
        return;
    }
    if (p.warm)
        n_warm = __syncthreads_count(is_warm);
    mine = x->key[e];
#pragma unroll
    for (int i = 0; i < 16; i++) {
        int f = tid % 4 * 16 + (i + tid) % 16;

        n += x->key[f] + (f < e) > mine;
    }
    n += __shfl_xor_sync(ALL_LANES, n, 1);
    n += __shfl_xor_sync(ALL_LANES, n, 2);
    if (tid % 4 == 0 && mine && n < p.n_core - n_warm)
        x->core[e] = 1;
    __syncthreads();
}

/* Statistics that tokens add to, by one warp. */
static __device__ __forceinline__ void count_tokens(const struct router_args &a,
                                                    const struct route_call_segment &u,
                                                    const struct choice *choices,
                                                    struct route_stats *ret) /* device memory */
{
    int lane = (int)threadIdx.x % WARP, n_rerouted = 0, n_lost = 0;
    double kept = 0;

    for (int t = lane; t < u.n_tok; t += WARP) {
        n_rerouted += choices[t].n_rerouted;
        n_lost += choices[t].is_lost;
    }
    n_rerouted = __reduce_add_sync(ALL_LANES, n_rerouted);
    n_lost = __reduce_add_sync(ALL_LANES, n_lost);
    for (int from = 0; from < u.n_tok; from += 8) {
        double v[8];

#pragma unroll
        for (int i = 0; i < 8; i++)
            v[i] = from + i < u.n_tok ? choices[from + i].kept : 0.0;
#pragma unroll
        for (int i = 0; i < 8; i++)
            kept = __dadd_rn(kept, v[i]);
    }
    if (lane == 0) {
        ret->n_rerouted = n_rerouted;
        ret->n_lost_top1 = n_lost;
        ret->kept_mass = u.n_tok ? kept / u.n_tok : 0;
    }
}

/*
 * After all have told what they chose: places of the experts' pairs and, in block 0, the head of
 * the worklist and the statistics. A thread an expert.
 */
static __device__ __forceinline__ void count_experts(const struct router_args &a,
                                                     const struct route_call_segment &u, int unit,
                                                     int rank, char *shared, const uint8_t *core)
{
    const struct choice *choices = (const struct choice *)(shared + a.l.choices);
    uint32_t *columns = (uint32_t *)(shared + a.l.columns);
    int *places = (int *)(shared + a.l.places);
    int e = (int)threadIdx.x, lane = e % WARP, warp = e / WARP, n = 0, word = e / 32;
    int n_exp = a.c.route.p.n_exp, n_before, n_active_before = 0;
    uint32_t active, any = 0;
    int *pairs = places + a.c.route.p.n_exp + 1, *actives = pairs + N_WARPS,
        *naturals = actives + N_WARPS;
    int *members = naturals + N_WARPS;

    if (e < n_exp)
        for (int from = 0; from < u.n_tok; from += 32) {
            uint32_t column = 0;

#pragma unroll 8
            for (int t = from; t < min(from + 32, u.n_tok); t++) {
                column |= (choices[t].chosen[word] >> lane & 1) << (t - from);
                any |= choices[t].natural[word] >> lane & 1;
            }
            columns[e * 4 + from / 32] = column;
            n += __popc(column);
        }
    active = __ballot_sync(ALL_LANES, n > 0);
    n_before = n;
#pragma unroll
    for (int d = 1; d < WARP; d *= 2) {
        int below = __shfl_up_sync(ALL_LANES, n_before, (unsigned)d);

        if (lane >= d)
            n_before += below;
    }
    if (lane == WARP - 1)
        pairs[warp] = n_before;
    n_before -= n;
    {
        bool is_core = a.c.route.p.size != SIZE_NONE && u.n_tok && e < n_exp && core[e];
        uint32_t all_natural = __ballot_sync(ALL_LANES, any != 0);
        uint32_t all_core = __ballot_sync(ALL_LANES, is_core);

        if (lane == 0) {
            actives[warp] = __popc(active);
            naturals[warp] = __popc(all_natural);
            members[warp] = __popc(all_core);
        }
    }
    __syncthreads();
    for (int i = 0; i < warp; i++) {
        n_before += pairs[i];
        n_active_before += actives[i];
    }
    if (e < n_exp)
        places[e] = n_before;
    if (rank == 0) {
        int at = n_active_before + __popc(active & ((1u << lane) - 1));

        if (e < n_exp)
            a.c.route.tokens_per_expert[(size_t)unit * (size_t)n_exp + (size_t)e] = n;
        if (a.c.list.n_active && n > 0) {
            a.c.list.experts[at] = e;
            a.c.list.offsets[at] = n_before;
        }
        if (e == THREADS - 1) { /* of the last warp, all others are before it */
            struct route_stats *r = &a.c.route.stats[unit];
            int n_natural = 0, n_core = 0;

            for (int i = 0; i < N_WARPS; i++) {
                n_natural += naturals[i];
                n_core += members[i];
            }
            r->n_unique = at + (n > 0);
            r->n_natural = n_natural;
            r->n_core = n_core;
            if (a.c.list.n_active) {
                int n_active = at + (n > 0);

                *a.c.list.n_active = n_active + a.c.n_shared;
                a.c.list.offsets[n_active] = n_before + n;
                for (int i = 0; i < a.c.n_shared; i++) {
                    a.c.list.experts[n_active + i] = n_exp + i;
                    a.c.list.offsets[n_active + i + 1] = n_before + n + (i + 1) * u.n_tok;
                }
            }
        }
    }
    if (e == THREADS - 1)
        places[n_exp] = n_before + n;
    __syncthreads();
}

/* The pairs of a token, whose slots are in room. */
static __device__ __forceinline__ void list_pairs(const struct router_args &a, const char *shared,
                                                  int t_mine, int n_tok,
                                                  const struct route_room *room, int n_slots,
                                                  double sum)
{
    const uint32_t *columns = (const uint32_t *)(shared + a.l.columns);
    const int *places = (const int *)(shared + a.l.places);
    int top_k = a.c.route.p.top_k, stride = top_k + a.c.n_shared;

    for (int s = (int)threadIdx.x % WARP; s < stride; s += WARP) {
        int pair = -1;

        if (s < n_slots) {
            int e = room->id[s];

            pair = places[e];
            for (int i = 0; i < t_mine / 32; i++)
                pair += __popc(columns[e * 4 + i]);
            pair += __popc(columns[e * 4 + t_mine / 32] & ((1u << (t_mine % 32)) - 1));
            a.c.list.tokens[pair] = t_mine;
            a.c.list.weights[pair] = slot_weight(a.c.route.p, room->score[s], sum);
        } else if (s >= top_k) {
            pair = places[a.c.route.p.n_exp] + (s - top_k) * n_tok + t_mine;
            a.c.list.tokens[pair] = t_mine;
            a.c.list.weights[pair] = 1;
        }
        a.c.list.token_pairs[t_mine * stride + s] = pair;
    }
}

template <int N>
static __global__ void __launch_bounds__(THREADS, 1)
    router_kernel(const __grid_constant__ struct router_args a)
{
    const struct router_call &c = a.c;
    char *shared = dynamic_shared();
    int tid = (int)threadIdx.x, lane = tid % WARP, warp = tid / WARP, n_exp = c.route.p.n_exp;
    int unit = (int)blockIdx.x / N_BLOCKS, rank = (int)cluster_rank();
    int from = rank * a.slice, stride = row_stride(a.slice);
    int t_mine = warp * N_BLOCKS + rank; /* the token of this warp */
    uint16_t *w = (uint16_t *)(shared + a.l.w), *xs = (uint16_t *)(shared + a.l.x);
    float *slices = (float *)(shared + a.l.slices), *factor = (float *)(shared + a.l.factor);
    struct election_room *x = (struct election_room *)(shared + a.l.election);
    struct route_room *room = (struct route_room *)(shared + a.l.room) + warp;
    struct choice *choices = (struct choice *)(shared + a.l.choices);
    void *groups = shared + a.l.groups + warp * groups_room(&c.route.p);
    const struct route_call_segment u = c.route.segs[unit];
    bool is_mine = t_mine < u.n_tok;
    int n_natural = 0, n_slots = 0, stay = (c.max_tok + N_BLOCKS - 1) / N_BLOCKS;
    float4 norm_w = make_float4(0, 0, 0, 0), next[ROWS];
    constexpr bool IS_RANKED = N == 2;
    struct route_token<N> t;
    int ranks[2] = { 0, 0 };
    uint32_t first_set = 0;
    double sum = 0;

    cluster_arrive(); /* all blocks run before anything is sent */
    load_experts((const uint16_t *)c.router_w, n_exp, c.d, from, a.slice, w);
    if (lane * 4 < a.slice && from + lane * 4 < c.d)
        norm_w = *(const float4 *)(c.norm_w + from + lane * 4);
    grid_wait();

    /* 1. Factors of the norm. Beside them, this block's columns of the first tokens. */
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        int r = warp * ROWS + i;

        next[i] = make_float4(0, 0, 0, 0);
        if (r < u.n_tok && lane * 4 < a.slice)
            next[i] = read_four(c, u.row + r, from + lane * 4);
    }
    {
        float mine = 0;

        if (is_mine)
            mine = rms_factor(c.y ? sum_squares<true>(c, u.row + t_mine, lane)
                                  : sum_squares<false>(c, u.row + t_mine, lane),
                              c.d, c.eps);
        cluster_wait();
        if (is_mine && lane < N_BLOCKS)
            *cluster_peer(factor + t_mine, (unsigned)lane) = mine;
    }
    cluster_arrive();
    async_wait<0>();
    cluster_wait();

    /* 2. Product. */
    for (int first = 0; first < u.n_tok; first += CHUNK) {
        for (int k = lane * 4; k < a.slice; k += 4 * WARP) {
            if (first || k >= 4 * WARP) { /* not fetched ahead */
                if (k >= 4 * WARP && from + k < c.d)
                    norm_w = *(const float4 *)(c.norm_w + from + k);
#pragma unroll
                for (int i = 0; i < ROWS; i++)
                    if (first + warp * ROWS + i < u.n_tok)
                        next[i] = read_four(c, u.row + first + warp * ROWS + i, from + k);
            }
#pragma unroll
            for (int i = 0; i < ROWS; i++) {
                int r = warp * ROWS + i;
                uint16_t *to = xs + r * stride + k;
                float4 h = make_float4(0, 0, 0, 0);

                if (first + r < u.n_tok) {
                    size_t row = (size_t)(u.row + first + r);
                    float f = factor[first + r];

                    if (c.y && from + k < c.d)
                        *(float4 *)(c.x + row * (size_t)c.d + (size_t)(from + k)) = next[i];
                    if (from + k < c.d)
                        h = make_float4(
                            rms_apply(next[i].x, f, norm_w.x), rms_apply(next[i].y, f, norm_w.y),
                            rms_apply(next[i].z, f, norm_w.z), rms_apply(next[i].w, f, norm_w.w));
                    *(uint2 *)(c.ret_h + row * (size_t)(N_BLOCKS * a.slice) + (size_t)(from + k)) =
                        split_store(h, to, CHUNK * stride);
                } else {
                    split_store(h, to, CHUNK * stride);
                }
            }
        }
        if (a.slice > 4 * WARP && lane * 4 < c.d - from) /* back to the first columns */
            norm_w = *(const float4 *)(c.norm_w + from + lane * 4);
        __syncthreads();
        multiply<N <= 2 ? 2 : 8>(w, xs, n_exp, a.slice, [&](int r, int e, float v) {
            int of = first + r;

            if (of < u.n_tok)
                cluster_peer(slices,
                             (unsigned)(of % N_BLOCKS))[(rank * stay + of / N_BLOCKS) * n_exp + e] =
                    v;
        });
        __syncthreads();
    }
    cluster_arrive();
    cluster_wait();
    grid_release();

    /* 3. Scores, natural order, votes. */
    if (is_mine) {
        float z[N];

#pragma unroll
        for (int i = 0; i < N; i++) {
            int e = i * WARP + lane;

            z[i] = 0;
            if (e < n_exp) {
                z[i] = slices[warp * n_exp + e];
#pragma unroll
                for (int s = 1; s < N_BLOCKS; s++)
                    z[i] = __fadd_rn(z[i], slices[(s * stay + warp) * n_exp + e]);
            }
        }
        score_logits<N>(c.score, n_exp, z, t.score);
        if (c.ret_scores)
#pragma unroll
            for (int i = 0; i < N; i++)
                if (i * WARP + lane < n_exp)
                    c.ret_scores[(size_t)(u.row + t_mine) * (size_t)n_exp +
                                 (size_t)(i * WARP + lane)] = t.score[i];
        read_keys<N>(c.route.p, bias_of(c.route, u.row + t_mine), &t, groups);
        if (IS_RANKED) {
            rank_all(reinterpret_cast<const uint32_t(&)[2]>(t.order), t.natural, room, ranks);
#pragma unroll
            for (int i = 0; i < 2; i++)
                if (ranks[i] < KERNEL_MAX_TOP_K)
                    room->order[ranks[i]] = i * WARP + lane;
            n_natural =
                min(natural_depth(c.route.p), __reduce_add_sync(ALL_LANES, __popc(t.natural)));
            first_set = (uint32_t)(ranks[0] < n_natural) | (uint32_t)(ranks[1] < n_natural) << 1;
        } else {
            first_set = select_best<N>(t.order, t.natural, natural_depth(c.route.p), &n_natural,
                                       room->order, room);
        }
        __syncwarp();
        if (a.has_votes || (c.route.p.size != SIZE_NONE && c.route.p.warm)) {
            uint32_t warm = 0;
            int n;

            if (c.route.p.warm > natural_depth(c.route.p))
                warm = select_best<N>(t.order, t.natural, c.route.p.warm, &n, NULL, room);
            else if (c.route.p.warm)
                warm = set_of_first(room->order, min(n_natural, c.route.p.warm));
            send_ballot<N>(a, shared, t_mine, c.route.tokens[u.first + t_mine].is_voter, t, z,
                           first_set, natural_depth(c.route.p), warm, room);
        }
    }

    /* 4. The coreset. */
    if (c.route.p.size != SIZE_NONE) {
        const struct route_call_group *g = &c.route.groups[u.first_group];
        const uint8_t *core_before = u.n_tok ? g->core_before : NULL;
        uint8_t *ret_core = u.n_tok && rank == 0 ? g->ret_core : NULL;

        cluster_arrive();
        cluster_wait();
        hear_voters(a, g, u.n_tok, shared, x);
        if (c.route.p.size == SIZE_UNION)
            __syncthreads();
        else if (N == 2 && c.route.p.size == SIZE_FIXED)
            elect_few(c.route.p, x);
        else
            elect_by_votes(c.route.p, x);
        if (ret_core)
            for (int e = tid; e < n_exp; e += THREADS)
                ret_core[e] = x->core[e];
        if (core_before) {
            __syncthreads();
            for (int e = tid; e < n_exp; e += THREADS)
                x->core[e] = core_before[e];
            __syncthreads();
        }
    }

    /* 5. Slots. */
    if (is_mine) {
        uint32_t natural, chosen, core = 0, words[N];
        double natural_mass;
        int n = c.route.p.top_k, n_rerouted;
        struct choice *mine = (struct choice *)room->few; /* free once all is selected */

        if (c.route.p.keep != KEEP_ALL)
            n = slots_used<N>(c.route.p, t, n_natural, room);
        if (c.route.p.size != SIZE_NONE) {
#pragma unroll
            for (int i = 0; i < N; i++)
                if (i * WARP + lane < n_exp)
                    core |= (uint32_t)x->core[i * WARP + lane] << i;
        }
        natural = n_natural <= c.route.p.top_k_base
                      ? first_set
                      : set_of_first(room->order, c.route.p.top_k_base);
        if (c.route.p.size == SIZE_NONE || c.route.p.is_truncated) {
            chosen = n_natural <= n ? first_set : set_of_first(room->order, n);
            if (c.route.p.size != SIZE_NONE)
                chosen &= core;
        } else if (IS_RANKED && !c.route.p.n_group) {
            chosen = first_of_ranked(ranks, core, n);
        } else {
            chosen = choose_inside<N>(c.route.p, t, core, n, groups, room);
        }
        n_slots = list_set<N>(t.score, natural, room);
        sum = natural_mass = sum_slots(room, n_slots);
        if (__any_sync(ALL_LANES, chosen != natural)) {
            n_slots = list_set<N>(t.score, chosen, room);
            sum = sum_slots(room, n_slots);
        }
        n_rerouted = __reduce_add_sync(ALL_LANES, __popc(chosen & ~natural));
        {
            int first = n_natural ? room->order[0] : -1;
            bool has_top1 = __any_sync(ALL_LANES, first >= 0 && first % WARP == lane &&
                                                      (chosen >> (first / WARP) & 1));

            __syncwarp();
            if (lane == 0) {
                mine->kept = natural_mass > 0 ? sum / natural_mass : 1;
                mine->n_rerouted = n_rerouted;
                mine->is_lost = !has_top1;
            }
        }
        set_words<N>(chosen, words);
#pragma unroll
        for (int i = 0; i < N; i++)
            if (lane == i)
                mine->chosen[i] = words[i];
        set_words<N>(natural, words);
#pragma unroll
        for (int i = 0; i < N; i++)
            if (lane == i)
                mine->natural[i] = words[i];
        send_all(mine, choices + t_mine);
    }
    cluster_arrive();
    if (is_mine) {
        for (int s = lane; s < c.route.out.stride; s += WARP) {
            size_t at = (size_t)(u.row + t_mine) * (size_t)c.route.out.stride + (size_t)s;

            c.route.out.ids[at] = s < n_slots ? room->id[s] : -1;
            c.route.out.w[at] = s < n_slots ? slot_weight(c.route.p, room->score[s], sum) : 0;
        }
    }
    cluster_wait();
    if (rank == 0 || c.list.n_active)
        count_experts(a, u, unit, rank, shared, x->core);
    if (rank == N_BLOCKS - 1 && warp == N_WARPS - 1)
        count_tokens(a, u, choices, &c.route.stats[unit]);
    if (is_mine && c.list.n_active)
        list_pairs(a, shared, t_mine, u.n_tok, room, n_slots, sum);
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
           d <= ROUTER_MAX_WIDTH && !is_greedy && !(p->protect > 0 && p->keep != KEEP_ALL) &&
           !p->is_joint && n_groups == n_segs && args_of(&c).l.bytes <= ROUTER_MAX_SHARED;
}

size_t router_row_elems(int d)
{
    return (size_t)N_BLOCKS * (size_t)slice_of(d);
}

/* Launch clusters of N_BLOCKS. */
template <class... Params, class... Args>
static cudaError_t launch_clusters(void (*kernel)(Params...), dim3 grid, size_t shared,
                                   bool is_early, cudaStream_t stream, Args... args)
{
    cudaLaunchConfig_t config = {};
    cudaLaunchAttribute attrs[2] = {};
    cudaError_t rc =
        cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1);

    if (rc == cudaSuccess)
        rc = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
    if (rc != cudaSuccess)
        return rc;
    attrs[0].id = cudaLaunchAttributeClusterDimension;
    attrs[0].val.clusterDim.x = N_BLOCKS;
    attrs[0].val.clusterDim.y = attrs[0].val.clusterDim.z = 1;
    attrs[1].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attrs[1].val.programmaticStreamSerializationAllowed = 1;
    config.gridDim = grid;
    config.blockDim = dim3(THREADS);
    config.dynamicSmemBytes = shared;
    config.stream = stream;
    config.attrs = attrs;
    config.numAttrs = is_early ? 2 : 1;
    return cudaLaunchKernelEx(&config, kernel, static_cast<Params>(args)...);
}

cudaError_t router_launch(const struct router_call *c, bool is_early, cudaStream_t stream)
{
    struct router_args a = args_of(c);
    dim3 grid((unsigned)(c->route.n_segs * N_BLOCKS));

    if (!c->route.n_segs)
        return cudaSuccess;
    return launch_clusters(c->route.p.n_exp <= 64 ? router_kernel<2> : router_kernel<8>, grid,
                           (size_t)a.l.bytes, is_early, stream, a);
}

bool router_product_fits(int n_exp, int d)
{
    return d % 8 == 0 && d <= ROUTER_MAX_WIDTH && product_shared(n_exp, d) <= ROUTER_MAX_SHARED;
}

cudaError_t router_product_launch(const float *x, const void *router_w, int n_tok, int n_exp, int d,
                                  float *ret_z, cudaStream_t stream)
{
    dim3 grid((unsigned)((n_tok + CHUNK - 1) / CHUNK * N_BLOCKS),
              (unsigned)((n_exp + ROUTER_MAX_EXPERTS - 1) / ROUTER_MAX_EXPERTS));

    if (!n_tok)
        return cudaSuccess;
    return launch_clusters(product_kernel, grid, product_shared(n_exp, d), false, stream, x,
                           (const uint16_t *)router_w, n_tok, n_exp, d, ret_z);
}
