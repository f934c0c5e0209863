/*
 * Which experts a layer runs and for whom: what routing leaves in device memory for the experts'
 * kernels (moe.h). A pair is one token at one of its experts. Pairs are numbered by expert, then by
 * token: a token's pairs in ascending number are its experts in ascending id, the order in which
 * their results are summed.
 *
 * Shared experts are listed like the others: their ids follow those of the routed ones, and every
 * token has a pair of weight 1 with each of them, in slots behind its own. To who runs the list
 * there are just as many more experts, and slots a token.
 */
#ifndef KERNELS_CUDA_WORKLIST_H
#define KERNELS_CUDA_WORKLIST_H

#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/cuda/route_call.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Device memory throughout, for n_tok tokens of top_k slots and n_exp experts, shared ones
 * included in both; n_pairs <= n_tok * top_k and n_active are known on the device only. */
struct worklist {
    int32_t *n_active;    /* (1) experts that any token goes to */
    int32_t *experts;     /* (n_exp) their ids, ascending; n_active of them */
    int32_t *offsets;     /* (n_exp + 1) pairs of experts[i]: [offsets[i], offsets[i + 1]) */
    int32_t *tokens;      /* (n_tok * top_k) of a pair; ascending within an expert */
    float *weights;       /* (n_tok * top_k) of a pair */
    int32_t *token_pairs; /* (n_tok, top_k) pairs of a token, ascending; -1: an empty slot */
};

/* Bytes of a list, and a list laid out in them; mem aligned to 16 bytes. */
size_t worklist_bytes(int n_tok, int top_k, int n_exp);
struct worklist worklist_place(void *mem, int n_tok, int top_k, int n_exp);

/*
 * Make the list of ids and weights (n_tok, top_k) in device memory, and n_shared experts for every
 * token, placed for top_k + n_shared slots and n_exp + n_shared experts. A slot with an id outside
 * 0 .. n_exp - 1 is empty. The ids of one token differ. n_exp <= KERNEL_MAX_EXPERTS,
 * top_k <= KERNEL_MAX_TOP_K. wanted:
 * (n_tok), all slots of a token of 0 count as empty; NULL: there is none. counted: whose statistics
 * are made in the same launch; NULL: nobody's.
 */
cudaError_t worklist_launch(const int32_t *ids, const float *weights, const uint8_t *wanted,
                            int n_tok, int top_k, int n_exp, int n_shared, struct worklist list,
                            const struct route_call *counted, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
