/*
 * The routed experts of a layer: y = sum over a token's experts of weight * down(silu(gate x) * up
 * x). Only experts of the list are read, and each of their bytes once.
 *
 * Numbers. Activations and h = silu(gate x) * up x are bf16, products are taken by tensor cores,
 * sums are f32. Every product has one order of its sum: stretches of PACK_K columns, in each the
 * fragments one after the other, and the stretches' sums added in ascending order. A token's
 * experts are added in ascending id by fused multiply-adds, from 0. Nothing of this depends on the
 * other tokens or on how many experts run.
 *
 * Two kernels: few tokens (moe_few.cu) are multiplied by mma.sync, many (moe_wide.cu) by wgmma. An
 * H100 gives the same bits either way, which checkkern ("a token alone") holds it to.
 *
 * Mode fast, many tokens: a product's sum is one chain over all columns; the logistic function is
 * the hardware's, a few units in the last place off; results of pairs are rounded to bf16 before
 * they are summed. A layer's result is then off by 2e-3 of its norm, half of which is h's rounding
 * in either mode. The same launch gives the same bits.
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

/* The experts of a layer, packed (pack.h), expert after expert. */
struct moe_weights {
    int n_exp, d_model, d_ff;
    const void *gate_up; /* pack_elems(pack_pair_rows(d_ff), d_model) bf16 each */
    const void *down;    /* pack_elems(d_model, d_ff) bf16 each */
    bool is_cut;         /* parts of one expert: moe_cut() */
};

/*
 * The only expert of a dense layer as up to MOE_PARTS of equal width, for each of which every token
 * is listed with weight 1. A row tile of down with all columns is a unit of work; whole, 2,048 rows
 * would be 32 units, for 132 multiprocessors. Parts are as wide as can be, in steps of PACK_K, up
 * to MOE_PART; where no such width divides d_ff, the expert stays whole.
 */
enum { MOE_PARTS = 9, MOE_PART = 1024 };
struct moe_weights moe_cut(const struct moe_weights *w);

/* Working space in device memory. Launches that share it follow each other on one stream, and are
 * of one shape and device. */
struct moe_work {
    uint16_t *h;     /* (n_tok * top_k, pack_row_elems(d_ff)) bf16 */
    float *results;  /* of pairs; rows of moe_result_row(d_model) f32 or bf16 */
    void *plan;      /* of many tokens */
    uint32_t *ready; /* (moe_ready_words()) zeros before the first launch, then its own */
};

/* Lay all but `ready` out at mem, aligned to 256 bytes; returns the bytes it takes. mem NULL: only
 * that. */
size_t moe_work_place(char *mem, int n_tok, int top_k, const struct moe_weights *w,
                      struct moe_work *ret);

enum { MOE_FEW_TOKENS = 32 }; /* up to so many are few */

/*
 * What a layer ends in: row t of y = that of the residual + the sum over slots, ascending, of
 * weight * result, by fused multiply-adds from 0. Of few tokens it may be left to whoever reads y
 * (moe_args.is_left), which then may read all but the results before grid_wait() (sm90.cuh) if it
 * is the next launch: that starts once the one before the experts is complete.
 */
struct moe_sum {
    const float *results; /* of pairs, rows of ld f32, aligned to 16 bytes */
    int ld;
    const int32_t *token_pairs; /* (n_tok, top_k): worklist.h */
    const float *weights;       /* of pairs */
    int top_k;
};

/* What comes after the layer, done while its rows are at hand: fused_norm_launch() of y. */
struct moe_norm {
    const float *w; /* (d_model) */
    float eps;
    void *tiled;       /* of rows, for gemm_fast.h; NULL: no norm */
    int first, n_rows; /* y's row 0 is row `first` of so many */
};

struct moe_args {
    struct moe_weights weights;
    struct moe_work work;
    struct worklist list;
    int n_tok, top_k;
    bool is_fast;          /* kernels.h, KERNEL_FAST: other orders of sums will do */
    bool is_list_old;      /* the list is not the launches' ahead, and who had work.ready last is
                            * complete: both may be used before those end. Of few tokens */
    const uint16_t *x;     /* (n_tok, pack_row_elems(d_model)) bf16: gemm_round() */
    bool is_placed;        /* x is in the order of moe_wide.cu's place(); of many tokens */
    const float *residual; /* (n_tok, d_model), added to the sum; NULL: none */
    float *y;              /* (n_tok, d_model); may be residual */
    bool is_left;          /* y is not written: moe_left(). Of at most MOE_FEW_TOKENS */
    struct moe_norm norm;  /* where moe_can_norm() */
};

/* What is to be summed after moe_launch() of a with is_left. */
struct moe_sum moe_left(const struct moe_args *a);

/* Can a launch of so many tokens in mode fast take a norm along? */
bool moe_can_norm(const struct moe_weights *w, int n_tok);

/* Words of moe_work.ready. */
size_t moe_ready_words(int n_exp, int d_model);

/*
 * Enqueue the layer. is_early: start the first kernel before the one ahead of it on the stream is
 * complete (programmatic dependent launch).
 */
cudaError_t moe_launch(const struct moe_args *a, bool is_early, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
