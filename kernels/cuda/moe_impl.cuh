/* What the kernels of moe.h share. */
#ifndef KERNELS_CUDA_MOE_IMPL_CUH
#define KERNELS_CUDA_MOE_IMPL_CUH

#include "kernels/cuda/moe.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/sm90.cuh"

#define MOE_RESULT_COLS 8 /* a row of results is a multiple of: 16 bytes of bf16 */

/* A product of the layer. */
struct moe_product {
    const char *weights; /* packed */
    size_t expert_bytes; /* from one expert to the next */
    size_t row_bytes;    /* from one row tile to the next */
    int row_tiles, k_tiles;
    const uint16_t *rows; /* activations, of k_tiles * PACK_K */
};

static inline struct moe_product moe_product(const void *weights, int64_t rows, int64_t cols,
                                             const uint16_t *activations)
{
    struct moe_product p;

    p.weights = (const char *)weights;
    p.expert_bytes = (size_t)pack_elems(rows, cols) * 2;
    p.row_tiles = (int)pack_row_tiles(rows);
    p.k_tiles = (int)pack_k_tiles(cols);
    p.row_bytes = (size_t)p.k_tiles * PACK_TILE_BYTES;
    p.rows = activations;
    return p;
}

/* The one of down, beside h. */
static inline struct moe_product moe_down(const struct moe_weights *w, const uint16_t *h)
{
    struct moe_product p = moe_product(w->down, w->d_model, w->d_ff, h);

    if (w->is_cut) { /* parts of a row tile lie side by side */
        p.expert_bytes = p.row_bytes;
        p.row_bytes *= w->n_exp;
    }
    return p;
}

/* Elements of a row of results. */
static inline int moe_result_row(int d_model)
{
    return (d_model + MOE_RESULT_COLS - 1) / MOE_RESULT_COLS * MOE_RESULT_COLS;
}

static __device__ __forceinline__ void barrier_arrive(uint64_t *b)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_addr(b)) : "memory");
}

static __device__ __forceinline__ uint32_t load_acquire(const uint32_t *p)
{
    uint32_t ret;

    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(ret) : "l"(p) : "memory");
    return ret;
}

/* The lane arrives once its async_copy16() so far are done. */
static __device__ __forceinline__ void arrive_when_copied(uint64_t *b)
{
    asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(shared_addr(b))
                 : "memory");
}

static __device__ __forceinline__ float swiglu(float gate, float up)
{
    return gate / (1 + expf(-gate)) * up;
}

#ifdef __cplusplus
extern "C" {
#endif

/* y = residual + the weighted sum of each token's results, (pairs, moe_result_row()) bf16 or f32 in
 * work.results. */
cudaError_t moe_sum_launch(const struct moe_args *a, bool is_bf16, cudaStream_t stream);

/* Layers of many tokens, moe_wide.cu; of at most MOE_FEW_TOKENS, moe_few.cu. */
cudaError_t moe_wide_launch(const struct moe_args *a, bool is_early, cudaStream_t stream);
cudaError_t moe_few_launch(const struct moe_args *a, bool is_early, cudaStream_t stream);

/* Bytes of moe_work.plan, of moe_work.ready. */
size_t moe_plan_bytes(int n_tok, int top_k, const struct moe_weights *w);

#ifdef __cplusplus
}
#endif

#endif
