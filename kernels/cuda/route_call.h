/*
 * One call of the op `route` as the device sees it: what route_call.c lays out on the host and
 * route.cu runs. Tokens are numbered over the segments, in their order, whatever their rows are, so
 * that a group of tokens is a range of them, with is_joint too.
 */
#ifndef KERNELS_CUDA_ROUTE_CALL_H
#define KERNELS_CUDA_ROUTE_CALL_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/route.h"

#ifdef __cplusplus
extern "C" {
#endif

struct route_call_token {
    int32_t row, segment, group; /* group -1: a plain one */
    int32_t is_voter;            /* with the rule that all vote where none would */
};

struct route_call_segment {
    int32_t row, n_tok, first; /* first: number of its first token */
    int32_t n_plain, n_protected;
    int32_t first_group, n_groups; /* 0 groups: no tokens, or plain ones alone */
};

/* Tokens that share a coreset, in one segment; with is_joint all of them elect the same. */
struct route_call_group {
    int32_t first, n_tok; /* who votes */
    int32_t segment, number;
    uint64_t key;
    const uint8_t *core_before; /* NULL: run by what is elected */
    uint8_t *ret_core;          /* NULL: not wanted, or a later group's */
};

/* Device memory throughout. */
struct route_call {
    struct route_params p;
    const float *scores, *logits, *importance;
    const float *bias; /* of row r: bias + r * bias_stride; NULL: none */
    int bias_stride;   /* n_exp, or 0: one of all rows */
    struct route_output out;
    int n_tok, n_segs, n_groups;
    const struct route_call_token *tokens;
    const struct route_call_segment *segs;
    const struct route_call_group *groups;
    const double *popularity; /* (n_exp) */
    /* Results, (n_segs) and (n_segs, n_exp). */
    struct route_stats *stats;
    int32_t *tokens_per_expert;
    /* Working space; words: sets of experts, 32 to a word, n_words of them. */
    int n_words;
    float *votes;                /* (n_tok, n_exp) NaN: none */
    double *divisor;             /* (n_tok) of votes */
    uint32_t *warm;              /* (n_tok, n_words) */
    double *sums;                /* (n_groups, n_exp) of votes */
    uint32_t *heard, *all_warm;  /* (n_groups, n_words) who has votes, is in a warm-up set */
    uint32_t *core;              /* (n_groups, n_words) */
    uint32_t *natural;           /* (n_tok, n_words) natural top_k_base */
    uint32_t *chosen;            /* (n_tok, n_words) */
    double *kept;                /* (n_tok) share of the natural mass */
    int32_t *counts;             /* (n_tok, 2) slots off the natural top-k; 1: first expert lost */
    struct route_margin *margin; /* (n_tok), of each group with is_joint; ELECT_MASS */
};

/* ELECT_MASS: the member that an expert outside has to beat in a token's order. */
struct route_margin {
    double score;
    uint32_t order; /* of its key; 0: a slot is free */
    int32_t id;
};

/* Bytes of arguments, of results and of working space, multiples of 16; SIZE_MAX: more than can be
 * counted. own: of arguments, the last ones, which other layers have others of. */
struct route_call_size {
    size_t args, own, results, work;
};

/* Sizes for segments whose tokens are n_tok in all. n_groups: of all of them. */
void route_call_measure(const struct route_params *p, int n_tok, int n_segs, int n_groups,
                        struct route_call_size *ret);

/* Groups of tokens of the segments, and their tokens. */
int route_call_groups(const struct route_segment *segs, int n_segs, int *ret_n_tok);

/* Fill host_args with what the device reads, and ret with the places it will lie at: dev_args,
 * dev_results and dev_work, as large as measured and aligned to 16 bytes. Scores, bias and so on
 * are the caller's to fill in. */
void route_call_plan(const struct route_params *p, const struct route_segment *segs, int n_segs,
                     const double *popularity, void *host_args, void *dev_args, void *dev_results,
                     void *dev_work, struct route_call *ret);

/*
 * The same call for another layer, whose segments differ in keys and coresets alone. host_args:
 * what `first` was laid out in; host_own: where the layer's own arguments, own_bytes, lie, as far
 * behind it as on the device; to_results: bytes from first's results to this one's.
 */
void route_call_repeat(const struct route_call *first, const struct route_segment *segs,
                       const double *popularity, const char *host_args, char *host_own,
                       size_t own_bytes, size_t to_results, struct route_call *ret);

/* Fill in the bias: route_input.bias. */
void route_call_set_bias(struct route_call *c, const struct weight *bias);

/* Point c's results at a copy of what dev_results held. */
void route_call_read(struct route_call *c, const void *host_results);

/* Enqueue. */
cudaError_t route_launch(const struct route_call *c, cudaStream_t stream);

/* What is left to do once each token has cast its votes, or chosen its slots where there is no
 * coreset: route_token.cuh. is_counted: the statistics, too. */
cudaError_t route_voted_launch(const struct route_call *c, bool is_counted, cudaStream_t stream);

#ifdef __cplusplus
}
#endif

#endif
