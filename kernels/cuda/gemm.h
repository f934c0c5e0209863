/*
 * Projections on the GPU: y = x W^T over packed weights (pack.h), mode `invariant`.
 *
 * One order of sums whatever the number of tokens: inside a stretch of PACK_K columns one chain of
 * mma.sync over ascending k16 steps, from zero, in f32; then the stretches' sums in ascending
 * order, in f32. A token is one column of the products, so its result does not depend on the
 * others.
 *
 * Activations are bf16 rows of pack_row_elems(cols) elements, zeros beyond cols; gemm_round() makes
 * them of f32.
 */
#ifndef KERNELS_CUDA_GEMM_H
#define KERNELS_CUDA_GEMM_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/cuda/mailbox.h"
#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { GEMM_MAX_PARTS = 3 };

/* A packed matrix and where its products go. */
struct gemm_part {
    const void *w; /* packed, (rows, cols) */
    float *y;      /* (n_tok, rows) */
    int rows;
};

/* Products of the same activations with up to three matrices of the same columns. */
struct gemm_args {
    struct gemm_part parts[GEMM_MAX_PARTS];
    int n_parts;
    int cols;
    const uint16_t *x; /* (n_tok, pack_row_elems(cols)) bf16, aligned to 16 bytes */
    int n_tok;
    bool is_added; /* y += x W^T, else y = */
};

/* Bytes of what gemm_round() makes. */
size_t gemm_rounded_bytes(int n_tok, int cols);

/* ret (n_tok, pack_row_elems(cols)) = x (n_tok, cols) rounded to nearest even. */
cudaError_t gemm_round(const float *x, int n_tok, int cols, uint16_t *ret, cudaStream_t stream);

/*
 * Enqueue the products. is_early: the kernel may start while the one before it in the stream still
 * runs, and fetch weights (sm90.cuh, programmatic dependent launch).
 */
cudaError_t gemm_launch(const struct gemm_args *a, bool is_early, cudaStream_t stream);

/* How a token is proposed from a row of products: struct pick_params, for one row. */
struct gemm_pick_row {
    double temperature;
    uint64_t seed, draw;
    int32_t position, mask_id, banned_id;
};

/* A proposal a row of logits (n_rows, n_vocab), as the op `pick`; all device memory. pick.cu */
cudaError_t pick_launch(const float *logits, int n_rows, int n_vocab,
                        const struct gemm_pick_row *rows, struct pick *ret, bool is_early,
                        cudaStream_t stream);

/*
 * The products of up to 32 tokens with one matrix, a vocabulary's, reduced to a proposal each
 * (kernels.h, op `pick`) while they are made; they are not written, parts[0].y is not read. The
 * bits are those of pick_launch(): both sum in the order of rows (pick_state.cuh). head.cu
 *
 * rows (n_tok) is device memory, work gemm_pick_bytes() of it, zeros before the first call and
 * nobody else's. ret (n_tok) is pinned memory: each proposal is posted there under the number of
 * *more, a delivery of what was complete before this launch, which goes along.
 */
bool gemm_pick_fits(int n_tok, int cols);
size_t gemm_pick_bytes(int n_vocab);
cudaError_t gemm_pick_launch(const struct gemm_args *a, const struct gemm_pick_row *rows,
                             void *work, const struct mailbox_delivery *more,
                             struct mailbox_pick *ret, bool is_early, cudaStream_t stream);

#ifdef __cplusplus
}
#endif
#endif
