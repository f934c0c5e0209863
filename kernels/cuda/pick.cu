/* One proposal a row of logits: kernels.h says the rules, ref_pick.c is their definition. */
#include "kernels/cuda/cuda.h"

#include "kernels/cuda/gemm.h"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/pick.cuh"
#include "kernels/cuda/row.cuh"
#include "kernels/cuda/sm90.cuh"

enum { THREADS = 1024, WARPS = THREADS / WARP_LANES, MAX_GRID = 65535 };

/* The best of all threads of a block, for all of them. parts: (WARPS), shared. */
static __device__ struct best block_best(struct best v, struct best *parts)
{
    for (int o = WARP_LANES / 2; o; o /= 2) {
        struct best other;

        other.score = __shfl_xor_sync(0xffffffffu, v.score, o);
        other.id = __shfl_xor_sync(0xffffffffu, v.id, o);
        v = better(v, other);
    }
    if (threadIdx.x % WARP_LANES == 0)
        parts[threadIdx.x / WARP_LANES] = v;
    __syncthreads();
    v = parts[0];
    for (int i = 1; i < WARPS; i++)
        v = better(v, parts[i]);
    __syncthreads(); /* all have read */
    return v;
}

/* What a logit counts in the softmax: 1 for the largest even if it is infinite, NaN nothing. */
static __device__ __forceinline__ float soft(float l, float max)
{
    if (isnan(l))
        return 0;
    return l == max ? 1 : expf(__fsub_rn(l, max));
}

/* ret (n_rows) from logits (n_rows, n_vocab), a block a row. The softmax is summed in f64: each
 * thread every THREADS-th token, butterflies, the warps in order. */
static __global__ void __launch_bounds__(THREADS)
    pick_kernel(const float *logits, int n_rows, int n_vocab, const struct gemm_pick_row *rows,
                struct pick *ret)
{
    __shared__ struct best parts[WARPS];
    __shared__ double sums[WARPS];

    grid_release();
    grid_wait();
    for (int r = blockIdx.x; r < n_rows; r += gridDim.x) {
        const float *l = logits + (size_t)r * n_vocab;
        const struct gemm_pick_row row = rows[r];
        const uint64_t key = row.temperature > 0 ? row_key(row.seed, row.draw, row.position) : 0;
        struct best all = { 0, -1 }, best = { 0, -1 };
        double sum = 0;
        float max;

        for (int32_t i = threadIdx.x; i < n_vocab; i += THREADS) {
            struct best one = { (double)l[i], i };

            if (isnan(l[i]))
                continue;
            all = better(all, one);
            if (i == row.mask_id || i == row.banned_id)
                continue;
            if (row.temperature > 0)
                one.score += __dmul_rn(row.temperature, token_noise(key, i));
            best = better(best, one);
        }
        all = block_best(all, parts);
        best = block_best(best, parts);
        max = all.id < 0 ? 0 : l[all.id];
        for (int32_t i = threadIdx.x; best.id >= 0 && i < n_vocab; i += THREADS)
            sum += (double)soft(l[i], max);
        sum = warp_sum(sum);
        if (threadIdx.x % WARP_LANES == 0)
            sums[threadIdx.x / WARP_LANES] = sum;
        __syncthreads();
        if (threadIdx.x == 0) {
            struct pick p = { 0, 0, all.id >= 0 && all.id == row.mask_id };

            sum = 0;
            for (int i = 0; i < WARPS; i++)
                sum += sums[i];
            if (best.id >= 0) {
                double own = l[best.id] == max ? 1 : exp((double)l[best.id] - (double)max);

                p.id = best.id;
                p.prob = (float)(own / sum);
            } else { /* nothing but NaN: the lowest id that may be proposed */
                while (p.id < n_vocab && (p.id == row.mask_id || p.id == row.banned_id))
                    p.id++;
                p.id = p.id < n_vocab ? p.id : -1;
            }
            ret[r] = p;
        }
        __syncthreads(); /* before the next row's sums */
    }
}

cudaError_t pick_launch(const float *logits, int n_rows, int n_vocab,
                        const struct gemm_pick_row *rows, struct pick *ret, bool is_early,
                        cudaStream_t stream)
{
    if (!n_rows)
        return cudaSuccess;
    return launch_kernel(pick_kernel, dim3((unsigned)(n_rows < MAX_GRID ? n_rows : MAX_GRID)),
                         THREADS, 0, is_early, stream, logits, n_rows, n_vocab, rows, ret);
}

enum status cuda_pick(struct kernels *k, const float *logits, int n_rows, int n_vocab,
                      const struct pick_params *p, struct pick *ret, struct error *err)
{
    struct cuda *c = (struct cuda *)k;
    const size_t in = (size_t)n_rows * sizeof(struct gemm_pick_row);
    const size_t out = (size_t)n_rows * sizeof(*ret);
    const void *rows = NULL, *host = NULL;
    struct gemm_pick_row *fill;
    void *dev = NULL;
    enum status st = cuda_room(c, cuda_slot(in) + cuda_slot(out), err);

    if (!st)
        st = cuda_scratch_take(c, out, &dev, err);
    if (st || n_rows == 0)
        return st;
    fill = (struct gemm_pick_row *)(void *)(c->room.host + c->room.used);
    for (int i = 0; i < n_rows; i++) {
        fill[i].temperature = p->temperature;
        fill[i].seed = p->seed;
        fill[i].draw = p->draw;
        fill[i].position = p->temperature > 0 ? p->positions[i] : 0;
        fill[i].mask_id = p->mask_id;
        fill[i].banned_id = p->banned_id;
    }
    st = cuda_put(c, fill, in, &rows, err);
    if (st)
        return st;
    CUDA_TRY(c,
             pick_launch(logits, n_rows, n_vocab, (const struct gemm_pick_row *)rows,
                         (struct pick *)dev, false, c->stream),
             err);
    st = cuda_get(c, dev, out, &host, err);
    if (!st)
        st = cuda_deliver(c, ret, host, out, err);
    return st ? st : cuda_sync(k, err);
}
