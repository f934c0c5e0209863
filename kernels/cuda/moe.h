/*
 * The routed experts of a layer: y = sum over a token's experts of weight * down(silu(gate x) * up
 * x), only experts of the list are read, and each of their bytes once.
 *
 * Numbers. Activations and h = silu(gate x) * up x are bf16, products are taken by tensor cores,
 * sums are f32. Every product has one order of its sum: stretches of PACK_K columns, in each the
 * fragments one after the other, and the stretches' sums added in ascending order. A token's
 * experts are added in ascending id by fused multiply-adds, from 0. Nothing of this depends on the
 * other tokens, on how many experts run or on which of the two ways below is taken.
 *
 *   slices   few tokens (<= MOE_SLICE_TOKENS) and shapes that fit: one kernel. Each SM owns 16 rows
 * of every expert's products tiles    any: a kernel for each product and one that sums, tiles of 64
 * rows by 64 tokens
 */
#ifndef KERNELS_CUDA_MOE_H
#define KERNELS_CUDA_MOE_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/cuda/worklist.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { MOE_SLICE_TOKENS = 32 };

/* The experts of a layer, packed (pack.h), expert after expert. */
struct moe_weights {
    int n_exp, d_model, d_ff;
    const void *gate_up; /* pack_elems(pack_pair_rows(d_ff), d_model) bf16 each */
    const void *down;    /* pack_elems(d_model, d_ff) bf16 each */
};

/* Working space in device memory. */
struct moe_work {
    uint16_t *h;     /* (n_tok * top_k, pack_row_elems(d_ff)) bf16 */
    float *results;  /* (n_tok * top_k, d_model), of pairs; MOE_TILES only */
    uint32_t *ready; /* (n_exp + 1) zeros; a launch leaves zeros. MOE_SLICES only */
};

struct moe_args {
    struct moe_weights weights;
    struct moe_work work;
    struct worklist list;
    int n_tok, top_k;
    const uint16_t *x;     /* (n_tok, pack_row_elems(d_model)) bf16, zeros past d_model */
    const float *residual; /* (n_tok, d_model), added to the sum; NULL: none */
    float *y;              /* (n_tok, d_model); may be residual */
};

enum moe_way { MOE_AUTO, MOE_SLICES, MOE_TILES };

/* What moe_launch() with MOE_AUTO takes. */
enum moe_way moe_choose(const struct moe_args *a, int n_sm);

/*
 * Enqueue the layer. is_early: start the first kernel before the one ahead of it on the stream is
 * complete (programmatic dependent launch). cudaErrorInvalidValue if way does not take the shape.
 */
cudaError_t moe_launch(const struct moe_args *a, enum moe_way way, bool is_early,
                       cudaStream_t stream);

/* ret_x (n_tok, pack_row_elems(d)) bf16 = x (n_tok, d) f32, rounded to nearest even; zeros past d.
 */
cudaError_t moe_round_launch(const float *x, int n_tok, int d, uint16_t *ret_x,
                             cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
