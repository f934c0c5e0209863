/*
 * The small kernels of a forward: several ops of rows joined, the same bits as one by one (row.cuh
 * has the sums). Each may start early and lets the next do so (sm90.cuh). Device memory throughout.
 */
#ifndef KERNELS_CUDA_FUSED_H
#define KERNELS_CUDA_FUSED_H

#include <cuda_runtime_api.h>
#include <stdint.h>

#include "kernels/cuda/moe.h"
#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { FUSED_MAX_WIDTH = 8192 }; /* of a row that is normalised */

/* Rows normalised: of a table by ids; or of x, with what the layer's experts left to be added. */
struct fused_norm {
    const uint16_t *table; /* (n_vocab, d) bf16, or NULL */
    const int32_t *ids;    /* (n_rows), with table */
    const float *x;        /* (n, d), without */
    struct moe_sum sum;  /* of moe_launch(), if that is the launch before; results NULL: nothing */
    float *ret_x;        /* (n, d) the rows before the norm; may be x; NULL: not wanted */
    const int32_t *rows; /* (n_rows): result i is of row rows[i]; NULL: of row i */
    const float *w;      /* (d) */
    float eps;
    int n_rows, d;
    float *ret_h;       /* (n_rows, d), or NULL */
    uint16_t *ret_bf16; /* (n_rows, ld) rounded, zeros beyond d; or NULL */
    int ld;
    void *ret_tiled; /* the same in tiles for gemm_fast.h, of n_rows; or NULL */
};

cudaError_t fused_norm_launch(const struct fused_norm *a, cudaStream_t stream);

/* Norm of each head and RoPE of queries, in place, and of keys; keys and values to the caches. */
struct fused_qk {
    float *q;                     /* (n_tok, n_head, d_head) */
    const float *key, *value;     /* (n_tok, n_kv_head, d_head) */
    const float *q_norm, *k_norm; /* (d_head) */
    float eps;
    const float *turns;              /* (max_position, 2, d_rot / 2) cosines, then sines */
    const int32_t *positions;        /* (n_tok) */
    const int32_t *seqs;             /* (n_tok) whose token it is */
    const struct attn_segment *segs; /* their caches */
    size_t kv_offset;                /* elements from their begin to the layer's */
    int n_tok, n_head, n_kv_head, d_head, d_rot;
};

cudaError_t fused_qk_launch(const struct fused_qk *a, cudaStream_t stream);

/* ret (n_position, 2, d_rot / 2): cosines, then sines, of rope(). */
cudaError_t fused_turns_launch(int n_position, int d_rot, double theta, float *ret,
                               cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
