/*
 * Ops on logits for decoders: a bias, and the expected row of a table under each row's softmax.
 * kernels.h says the rules, ref_pick.c is their definition.
 *
 * expect: of up to MAX_ROWS rows at a time
 *
 *   total    a block a row: the largest logit, and the sum of the softmax over it, f64
 *   part     a block THREADS columns of the table, CHUNK rows of it and ROWS rows of logits: shares
 *            of the softmax in shared memory, one column a thread, sums in f32
 *   whole    an element a thread: the chunks' sums, in order, f64
 *
 * The table is read once for each ROWS rows of logits. It is plain multiply-adds: about as much
 * work as the head without its tensor cores, and only done with iteration smoothing.
 */
#include "kernels/cuda/cuda.h"

#include "kernels/cuda/row.cuh"

enum { THREADS = 128, WARPS = THREADS / WARP_LANES, CHUNK = 1024, ROWS = 8, MAX_ROWS = 32 };

static __global__ void bias_kernel(float *logits, int n_vocab, const struct logit_bias *bias, int n)
{
    int i = blockIdx.x * THREADS + threadIdx.x;

    if (i < n)
        logits[(size_t)bias[i].row * n_vocab + bias[i].id] += bias[i].value;
}

enum status cuda_bias_logits(struct kernels *k, float *logits, int n_vocab,
                             const struct logit_bias *bias, int n, struct error *err)
{
    struct cuda *c = (struct cuda *)k;
    size_t bytes = (size_t)n * sizeof(*bias);
    const void *dev = NULL;
    enum status st = cuda_room(c, cuda_slot(bytes), err);

    if (!st)
        st = cuda_put(c, bias, bytes, &dev, err);
    if (st || n == 0)
        return st;
    bias_kernel<<<(n + THREADS - 1) / THREADS, THREADS, 0, c->stream>>>(
        logits, n_vocab, (const struct logit_bias *)dev, n);
    CUDA_LAUNCHED(c, "bias_logits", err);
    return ST_OK;
}

/* What the softmax of a row is taken by. */
struct row_total {
    double sum;
    float max;
};

/* ret (n_rows) of logits (n_rows, n_vocab), a block a row. */
static __global__ void __launch_bounds__(THREADS)
    total_kernel(const float *logits, int n_vocab, struct row_total *ret)
{
    __shared__ float tops[WARPS];
    __shared__ double sums[WARPS];
    const float *l = logits + (size_t)blockIdx.x * n_vocab;
    int warp = threadIdx.x / WARP_LANES;
    float max = -INFINITY;
    double sum = 0;

    for (int v = threadIdx.x; v < n_vocab; v += THREADS)
        max = fmaxf(max, l[v]);
    max = warp_max(max);
    if (threadIdx.x % WARP_LANES == 0)
        tops[warp] = max;
    __syncthreads();
    for (int i = 0; i < WARPS; i++)
        max = fmaxf(max, tops[i]);
    for (int v = threadIdx.x; v < n_vocab; v += THREADS)
        sum += (double)expf(__fsub_rn(l[v], max));
    sum = warp_sum(sum);
    if (threadIdx.x % WARP_LANES == 0)
        sums[warp] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        sum = 0;
        for (int i = 0; i < WARPS; i++)
            sum += sums[i];
        ret[blockIdx.x].sum = sum;
        ret[blockIdx.x].max = max;
    }
}

/* parts (n_chunks, n_rows, d); grid (columns, chunks, groups of ROWS rows). */
template <enum dtype T>
static __global__ void __launch_bounds__(THREADS)
    part_kernel(const float *logits, const struct row_total *totals, const void *table, int n_rows,
                int n_vocab, int d, float *parts)
{
    __shared__ float shares[CHUNK][ROWS];
    int col = blockIdx.x * THREADS + threadIdx.x, from = blockIdx.y * CHUNK;
    int row = blockIdx.z * ROWS, n = min(CHUNK, n_vocab - from);
    float sums[ROWS];

    for (int i = threadIdx.x; i < CHUNK * ROWS; i += THREADS) {
        int v = i % CHUNK, r = i / CHUNK;
        bool is_there = v < n && row + r < n_rows;

        shares[v][r] = is_there ? expf(__fsub_rn(logits[(size_t)(row + r) * n_vocab + from + v],
                                                 totals[row + r].max))
                                : 0;
    }
    __syncthreads();
    if (col >= d)
        return;
#pragma unroll
    for (int r = 0; r < ROWS; r++)
        sums[r] = 0;
    for (int v = 0; v < n; v++) {
        float t = element<T>(table, (size_t)(from + v) * d + col);

#pragma unroll
        for (int r = 0; r < ROWS; r++)
            sums[r] = __fmaf_rn(shares[v][r], t, sums[r]);
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++)
        if (row + r < n_rows)
            parts[((size_t)blockIdx.y * n_rows + row + r) * d + col] = sums[r];
}

/* y (n_rows, d); grid (columns, rows). */
static __global__ void __launch_bounds__(THREADS)
    whole_kernel(const float *parts, const struct row_total *totals, int n_chunks, int d,
                 float scale, float *y)
{
    int col = blockIdx.x * THREADS + threadIdx.x, row = blockIdx.y;
    double sum = 0;

    if (col >= d)
        return;
    for (int i = 0; i < n_chunks; i++)
        sum += (double)parts[((size_t)i * gridDim.y + row) * d + col];
    y[(size_t)row * d + col] = (float)((double)scale * (sum / totals[row].sum));
}

enum status cuda_expect(struct kernels *k, const float *logits, int n_rows,
                        const struct weight *table, float scale, float *ret_y, struct error *err)
{
    struct cuda *c = (struct cuda *)k;
    int n_vocab = (int)table->rows, d = (int)table->cols;
    int n_cols = (d + THREADS - 1) / THREADS, n_chunks = (n_vocab + CHUNK - 1) / CHUNK;
    int most = n_rows < MAX_ROWS ? n_rows : MAX_ROWS;
    size_t totals_bytes = (MAX_ROWS * sizeof(struct row_total) + 255) / 256 * 256;
    const void *rows = NULL;
    void *work = NULL;
    enum status st = cuda_weight_rows(table, &rows, err);

    if (!st)
        st = cuda_scratch_take(
            c, totals_bytes + (size_t)n_chunks * (size_t)most * (size_t)d * sizeof(float), &work,
            err);
    for (int at = 0, n; at < n_rows && !st; at += n) {
        const float *l = logits + (size_t)at * n_vocab;
        struct row_total *totals = (struct row_total *)work;
        float *parts = (float *)((char *)work + totals_bytes);
        dim3 grid;

        n = n_rows - at < MAX_ROWS ? n_rows - at : MAX_ROWS;
        grid = dim3(n_cols, n_chunks, (n + ROWS - 1) / ROWS);
        total_kernel<<<n, THREADS, 0, c->stream>>>(l, n_vocab, totals);
        CUDA_LAUNCHED(c, "expect, total", err);
        switch (table->dtype) {
        case DT_F32:
            part_kernel<DT_F32>
                <<<grid, THREADS, 0, c->stream>>>(l, totals, rows, n, n_vocab, d, parts);
            break;
        case DT_BF16:
            part_kernel<DT_BF16>
                <<<grid, THREADS, 0, c->stream>>>(l, totals, rows, n, n_vocab, d, parts);
            break;
        case DT_F16:
            part_kernel<DT_F16>
                <<<grid, THREADS, 0, c->stream>>>(l, totals, rows, n, n_vocab, d, parts);
            break;
        }
        CUDA_LAUNCHED(c, "expect, part", err);
        whole_kernel<<<dim3(n_cols, n), THREADS, 0, c->stream>>>(parts, totals, n_chunks, d, scale,
                                                                 ret_y + (size_t)at * d);
        CUDA_LAUNCHED(c, "expect, whole", err);
    }
    return st;
}
