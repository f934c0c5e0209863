/*
 * Attention on the GPU: queries of a block over the keys and values of its cache, ragged batches.
 *
 * Products run on tensor cores with every f32 operand as a sum of two bf16, without the product of
 * the two lower parts: 2^-16 of an operand is lost, sums are in f32. Keys come in spans of
 * ATTN_KEYS from the first on; the softmax of each is taken by itself, and the spans are joined in
 * ascending order, so the bits depend neither on how spans are dealt to blocks nor on other
 * queries.
 */
#ifndef KERNELS_CUDA_ATTENTION_H
#define KERNELS_CUDA_ATTENTION_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { ATTN_KEYS = 64, ATTN_QUERIES = 32, ATTN_MAX_D_HEAD = 128 };

/* Queries, keys and values as products gave them, and what is to be done to them: norm of each head
 * and RoPE, as fused_qk_launch() does, then keys and values to the caches. */
struct attention_raw {
    const float *key, *value;     /* (n_tok, n_kv_head, d_head) of all rows */
    const float *q_norm, *k_norm; /* (d_head) */
    const float *turns;           /* (max_position, 2, d_rot / 2) cosines, then sines */
    int d_rot;
    float eps;
};

/* All pointers are to device memory. */
struct attention_args {
    const float *q;                  /* (n_tok, n_head, d_head) */
    const int32_t *positions;        /* (n_tok) of all rows */
    const struct attn_segment *segs; /* (n_segs) */
    int n_segs, n_head, n_kv_head, d_head;
    int max_tok, max_kv; /* of any segment, at most; the device's own numbers count */
    size_t kv_offset;    /* elements beyond each segment's keys and values: the layer's */

    bool is_raw; /* q, raw.key and raw.value are to be normed and turned; caches have others' */
    struct attention_raw raw;

    float *y;         /* (n_tok, n_head, d_head), or NULL */
    uint16_t *y_bf16; /* the same rounded, rows of ld elements; NULL: not wanted */
    int ld;
    void *y_tiled; /* the same in tiles for gemm_fast.h, of n_tok rows; d_head even; or NULL */
    int n_tok;     /* with y_tiled: of all rows */
};

/* Is it worth while, and possible, to leave norm and RoPE to attention? Of few tokens, each block
 * of which takes the keys of its own anyway. */
bool attention_takes_raw(const struct attention_args *a);

/*
 * cudaErrorInvalidValue: a d_head beyond ATTN_MAX_D_HEAD; is_raw where attention_takes_raw() says
 * no. is_early: the kernel may start while the one before it in the stream still runs, and fetch
 * keys and values of positions other than the segments' own: nobody may be about to write these,
 * nor positions and segs.
 */
cudaError_t attention_launch(const struct attention_args *a, bool is_early, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
