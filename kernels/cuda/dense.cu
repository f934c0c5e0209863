/*
 * Ops of single rows: embedding, norm, RoPE, cache, router, measures of rows.
 *
 * They are bound by launches, not by work: a forward that is to be fast joins them with what
 * follows (forward.cu) and uses the same functions of row.cuh, hence gives the same bits.
 */
#include "kernels/cuda/cuda.h"

#include "kernels/cuda/router.h"
#include "kernels/cuda/row.cuh"

enum { THREADS = 256, WARPS = THREADS / WARP_LANES };

static const size_t max_grid = 65535;

static int blocks_of(size_t n, size_t per_block)
{
    size_t blocks = (n + per_block - 1) / per_block;

    return (int)(blocks < max_grid ? blocks : max_grid); /* kernels loop over the rest */
}

/* Which warp of the grid this is, and how many there are. */
static __device__ __forceinline__ size_t grid_warp(void)
{
    return (size_t)blockIdx.x * WARPS + threadIdx.x / WARP_LANES;
}

static __device__ __forceinline__ size_t grid_warps(void)
{
    return (size_t)gridDim.x * WARPS;
}

/* ---- copies ------------------------------------------------------------------------------ */

/* y (n_tok, d) f32, a block a token. */
template <enum dtype T>
static __global__ void embed_kernel(const void *table, const int32_t *ids, int n_tok, int d,
                                    float *y)
{
    for (int t = blockIdx.x; t < n_tok; t += gridDim.x)
        for (int i = threadIdx.x; i < d; i += THREADS)
            y[(size_t)t * d + i] = element<T>(table, (size_t)ids[t] * d + i);
}

/* Launch the variant of a kernel for a type of weights. */
#define LAUNCH_TYPED(kernel, type, blocks, stream, ...)                                            \
    do {                                                                                           \
        switch (type) {                                                                            \
        case DT_F32: kernel<DT_F32><<<blocks, THREADS, 0, stream>>>(__VA_ARGS__); break;           \
        case DT_BF16: kernel<DT_BF16><<<blocks, THREADS, 0, stream>>>(__VA_ARGS__); break;         \
        case DT_F16: kernel<DT_F16><<<blocks, THREADS, 0, stream>>>(__VA_ARGS__); break;           \
        }                                                                                          \
    } while (0)

enum status cuda_embed(struct kernels *k, const struct weight *table, const int32_t *ids, int n_tok,
                       float *ret_x, struct error *err)
{
    struct cuda *c = (struct cuda *)k;
    size_t bytes = (size_t)n_tok * sizeof(*ids);
    const void *rows = NULL, *dev_ids = NULL;
    enum status st = cuda_weight_rows(table, &rows, err);

    if (!st)
        st = cuda_room(c, cuda_slot(bytes), err);
    if (!st)
        st = cuda_put(c, ids, bytes, &dev_ids, err);
    if (st || n_tok == 0)
        return st;
    LAUNCH_TYPED(embed_kernel, table->dtype, blocks_of((size_t)n_tok, 1), c->stream, rows,
                 (const int32_t *)dev_ids, n_tok, (int)table->cols, ret_x);
    CUDA_LAUNCHED(c, "embed", err);
    return ST_OK;
}

/* rows (n_tok, width) to rows slots[t] of cache, a block a row. */
static __global__ void kv_store_kernel(const float *rows, const int32_t *slots, int n_tok,
                                       int width, float *cache)
{
    for (int t = blockIdx.x; t < n_tok; t += gridDim.x)
        for (int i = threadIdx.x; i < width; i += THREADS)
            cache[(size_t)slots[t] * width + i] = rows[(size_t)t * width + i];
}

enum status cuda_kv_store(struct kernels *k, const float *rows, const int32_t *slots, int n_tok,
                          int width, float *cache, struct error *err)
{
    struct cuda *c = (struct cuda *)k;
    size_t bytes = (size_t)n_tok * sizeof(*slots);
    const void *dev_slots = NULL;
    enum status st = cuda_room(c, cuda_slot(bytes), err);

    if (!st)
        st = cuda_put(c, slots, bytes, &dev_slots, err);
    if (st || n_tok == 0)
        return st;
    kv_store_kernel<<<blocks_of((size_t)n_tok, 1), THREADS, 0, c->stream>>>(
        rows, (const int32_t *)dev_slots, n_tok, width, cache);
    CUDA_LAUNCHED(c, "kv_store", err);
    return ST_OK;
}

static __global__ void add_kernel(float *x, const float *y, size_t n)
{
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < n;
         i += (size_t)gridDim.x * THREADS)
        x[i] = __fadd_rn(x[i], y[i]);
}

enum status cuda_add(struct kernels *k, float *x, const float *y, size_t n, struct error *err)
{
    struct cuda *c = (struct cuda *)k;

    if (n == 0)
        return ST_OK;
    add_kernel<<<blocks_of(n, THREADS), THREADS, 0, c->stream>>>(x, y, n);
    CUDA_LAUNCHED(c, "add", err);
    return ST_OK;
}

/* ---- norm and RoPE ----------------------------------------------------------------------- */

/* y (n_rows, d), a warp a row; y may be x: a lane writes only what it alone reads then. */
static __global__ void rms_norm_kernel(const float *x, const float *w, float eps, int n_rows, int d,
                                       float *y)
{
    int lane = threadIdx.x % WARP_LANES;

    for (size_t r = grid_warp(); r < (size_t)n_rows; r += grid_warps()) {
        float factor = rms_factor(row_sum_squares(x + r * d, d, lane), d, eps);

        for (int i = lane; i < d; i += WARP_LANES)
            y[r * d + i] = rms_apply(x[r * d + i], factor, w[i]);
    }
}

enum status cuda_rms_norm(struct kernels *k, const float *x, const struct weight *w, float eps,
                          int n_rows, float *ret_y, struct error *err)
{
    struct cuda *c = (struct cuda *)k;

    if (n_rows == 0)
        return ST_OK;
    rms_norm_kernel<<<blocks_of((size_t)n_rows, WARPS), THREADS, 0, c->stream>>>(
        x, (const float *)w->dev_rows, eps, n_rows, (int)w->cols, ret_y);
    CUDA_LAUNCHED(c, "rms_norm", err);
    return ST_OK;
}

/* x (n_tok, n_head, d_head) in place, a block a token. Shared: d_rot floats, the cosines and sines
 * of its position. */
static __global__ void rope_kernel(float *x, const int32_t *positions, int n_tok, int n_head,
                                   int d_head, int d_rot, double theta)
{
    extern __shared__ float cosines[];
    int half = d_rot / 2;
    float *sines = cosines + half;

    for (int t = blockIdx.x; t < n_tok; t += gridDim.x) {
        for (int j = threadIdx.x; j < half; j += THREADS)
            rope_angle(positions[t], j, d_rot, theta, &cosines[j], &sines[j]);
        __syncthreads();
        for (int i = threadIdx.x; i < n_head * half; i += THREADS) {
            float *v = x + ((size_t)t * n_head + i / half) * d_head + i % half;

            rope_turn(v[0], v[half], cosines[i % half], sines[i % half], &v[0], &v[half]);
        }
        __syncthreads(); /* before the next token's angles */
    }
}

enum status cuda_rope(struct kernels *k, float *x, const int32_t *positions, int n_tok, int n_head,
                      int d_head, int d_rot, double theta, struct error *err)
{
    struct cuda *c = (struct cuda *)k;
    size_t bytes = (size_t)n_tok * sizeof(*positions), shared = (size_t)d_rot * sizeof(float);
    const void *dev_positions = NULL;
    enum status st = cuda_room(c, cuda_slot(bytes), err);

    if (!st)
        st = cuda_put(c, positions, bytes, &dev_positions, err);
    if (st || n_tok == 0 || d_rot < 2)
        return st;
    rope_kernel<<<blocks_of((size_t)n_tok, 1), THREADS, shared, c->stream>>>(
        x, (const int32_t *)dev_positions, n_tok, n_head, d_head, d_rot, theta);
    CUDA_LAUNCHED(c, "rope", err);
    return ST_OK;
}

/* ---- products of rows -------------------------------------------------------------------- */

/* y (n_tok, n_row) = x (n_tok, d) times w (n_row, d) transposed, a warp an element; neighbours in
 * a block share the row of w. */
template <enum dtype T>
static __global__ void product_kernel(const float *x, const void *w, int n_tok, int n_row, int d,
                                      float *y)
{
    size_t n = (size_t)n_tok * n_row;
    int lane = threadIdx.x % WARP_LANES;

    for (size_t i = grid_warp(); i < n; i += grid_warps()) {
        size_t t = i % n_tok, r = i / n_tok;
        float sum = row_dot<T>(x + t * d, w, r * d, d, lane);

        if (lane == 0)
            y[t * n_row + r] = sum;
    }
}

enum status cuda_matmul_plain(struct cuda *c, const float *x, const struct weight *w, int n_tok,
                              float *ret_y, struct error *err)
{
    const void *rows = NULL;
    enum status st = cuda_weight_rows(w, &rows, err);

    if (st || n_tok == 0)
        return st;
    LAUNCH_TYPED(product_kernel, w->dtype, blocks_of((size_t)n_tok * (size_t)w->rows, WARPS),
                 c->stream, x, rows, n_tok, (int)w->rows, (int)w->cols, ret_y);
    CUDA_LAUNCHED(c, "product of rows", err);
    return ST_OK;
}

/* Scores s (n_tok, n_exp) of the logits z beside them, a warp a token. */
static __global__ void softmax_kernel(const float *z, int n_tok, int n_exp, float *s)
{
    for (size_t t = grid_warp(); t < (size_t)n_tok; t += grid_warps())
        row_softmax(z + t * n_exp, n_exp, threadIdx.x % WARP_LANES, s + t * n_exp);
}

static __global__ void sigmoid_kernel(const float *z, size_t n, float *s)
{
    for (size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x; i < n;
         i += (size_t)gridDim.x * THREADS)
        s[i] = sigmoid(z[i]);
}

cudaError_t router_scores_launch(const float *z, int n_tok, int n_exp, enum router_score score,
                                 float *ret_s, cudaStream_t stream)
{
    const size_t n = (size_t)n_tok * (size_t)n_exp;

    if (score == ROUTER_SOFTMAX)
        softmax_kernel<<<blocks_of((size_t)n_tok, WARPS), THREADS, 0, stream>>>(z, n_tok, n_exp,
                                                                                ret_s);
    else
        sigmoid_kernel<<<blocks_of(n, THREADS), THREADS, 0, stream>>>(z, n, ret_s);
    return cudaGetLastError();
}

enum status cuda_router(struct kernels *k, const float *x, const struct weight *w, int n_tok,
                        enum router_score score, float *ret_s, float *ret_z, struct error *err)
{
    struct cuda *c = (struct cuda *)k;
    size_t n = (size_t)n_tok * (size_t)w->rows;
    const bool is_split = w->dtype == DT_BF16 && router_product_fits((int)w->cols);
    void *z = ret_z;
    enum status st = ST_OK;

    if (n_tok == 0)
        return ST_OK;
    if (!z)
        st = cuda_scratch_take(c, n * sizeof(*ret_s), &z, err);
    if (!st && is_split)
        st = cuda_weight_router(c, w, err);
    if (st)
        return st;
    if (is_split) {
        CUDA_TRY(c,
                 router_product_launch(x, w->dev_router, n_tok, (int)w->rows, (int)w->cols,
                                       (float *)z, c->stream),
                 err);
    } else {
        st = cuda_matmul_plain(c, x, w, n_tok, (float *)z, err);
        if (st)
            return st;
    }
    CUDA_TRY(c,
             router_scores_launch((const float *)z, n_tok, (int)w->rows, score, ret_s, c->stream),
             err);
    return ST_OK;
}

/* ---- measures ---------------------------------------------------------------------------- */

/* ret (n_rows), a warp a row. */
static __global__ void l1_norm_kernel(const float *x, int n_rows, int d, float *ret)
{
    int lane = threadIdx.x % WARP_LANES;

    for (size_t r = grid_warp(); r < (size_t)n_rows; r += grid_warps()) {
        double sum = row_l1(x + r * d, d, lane);

        if (lane == 0)
            ret[r] = (float)sum;
    }
}

enum status cuda_l1_norm(struct kernels *k, const float *x, int n_rows, int d, float *ret,
                         struct error *err)
{
    struct cuda *c = (struct cuda *)k;

    if (n_rows == 0)
        return ST_OK;
    l1_norm_kernel<<<blocks_of((size_t)n_rows, WARPS), THREADS, 0, c->stream>>>(x, n_rows, d, ret);
    CUDA_LAUNCHED(c, "l1_norm", err);
    return ST_OK;
}

/* The sum of v over a block, at thread 0: butterflies, then the warps in order. */
static __device__ double block_sum(double v)
{
    __shared__ double sums[WARPS];
    double sum = 0;

    v = warp_sum(v);
    __syncthreads(); /* sums may still be read from the call before */
    if (threadIdx.x % WARP_LANES == 0)
        sums[threadIdx.x / WARP_LANES] = v;
    __syncthreads();
    for (int i = 0; i < WARPS; i++)
        sum += sums[i];
    return sum;
}

/* ret (n_segs), a block a segment; a thread adds every THREADS-th element. */
static __global__ void rel_error_kernel(const float *a, const float *b, const struct segment *segs,
                                        int n_segs, int d, double *ret)
{
    for (int s = blockIdx.x; s < n_segs; s += gridDim.x) {
        size_t from = (size_t)segs[s].row * d, end = from + (size_t)segs[s].n_tok * d;
        double diff = 0, norm = 0;

        for (size_t i = from + threadIdx.x; i < end; i += THREADS) {
            double e = (double)a[i] - (double)b[i];

            diff = fma(e, e, diff);
            norm = fma((double)b[i], (double)b[i], norm);
        }
        diff = block_sum(diff);
        norm = block_sum(norm);
        if (threadIdx.x == 0)
            ret[s] = diff == 0 ? 0 : sqrt(diff) / sqrt(norm);
    }
}

enum status cuda_rel_error(struct kernels *k, const float *a, const float *b,
                           const struct segment *segs, int n_segs, int d, double *ret,
                           struct error *err)
{
    struct cuda *c = (struct cuda *)k;
    size_t in = (size_t)n_segs * sizeof(*segs), out = (size_t)n_segs * sizeof(*ret);
    const void *dev_segs = NULL, *host = NULL;
    void *dev = NULL;
    enum status st = cuda_room(c, cuda_slot(in) + cuda_slot(out), err);

    if (!st)
        st = cuda_scratch_take(c, out, &dev, err);
    if (!st)
        st = cuda_put(c, segs, in, &dev_segs, err);
    if (st || n_segs == 0)
        return st;
    rel_error_kernel<<<blocks_of((size_t)n_segs, 1), THREADS, 0, c->stream>>>(
        a, b, (const struct segment *)dev_segs, n_segs, d, (double *)dev);
    CUDA_LAUNCHED(c, "rel_error", err);
    st = cuda_get(c, dev, out, &host, err);
    return st ? st : cuda_deliver(c, ret, host, out, err);
}
