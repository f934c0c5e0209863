/*
 * Routing facts: what a router does with the tokens of one block in one forward, added up.
 *
 * A sample is one MoE layer of one forward: the n_tok tokens of the block under way, masked and
 * committed ones alike, with their router scores over all experts and the experts that ran. Means
 * are over samples unless they say otherwise. Pure arithmetic: no engine, no clock.
 */
#ifndef HARNESS_ROUTING_FACTS_H
#define HARNESS_ROUTING_FACTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

/* Sizes of coreset that the two votes are compared at, as parts of the experts: 1/8, 1/4, 3/8 ...
 */
enum { ROUTING_N_CORES = 5, ROUTING_CORE_PARTS = 8 };

/* How far the coreset elected by router weight (DES-Vote) is from that elected by count. */
struct vote_gap {
    int64_t n_samples;    /* those whose tokens voted for more experts than the coreset holds */
    double sum_differs;   /* share of the coreset by weight that the count does not elect */
    double sum_mass_lost; /* share of the weight voted for the coreset by weight that the other
                           * one does not get */
};

struct layer_facts {
    int64_t n_samples, n_tok; /* n_tok: over samples */
    double sum_unique, sum_unique2;
    double sum_top1, sum_topk; /* over tokens: share of the token's score mass on its best expert,
                                * on its best top_k */
    int64_t *load;             /* (n_exp) tokens that ran on each expert */
    int64_t n_pairs;           /* samples with one before them in the same block */
    double sum_overlap;        /* over pairs: experts run in both over those run in either */
    struct vote_gap votes[ROUTING_N_CORES];
};

struct routing_facts {
    int n_layer, n_exp, top_k;
    struct layer_facts *layers; /* (n_layer) */
    /* workspace */
    bool *ran_before;             /* (n_layer, n_exp) experts run by the block's last forward */
    double *by_weight, *by_count; /* (n_exp) votes */
    int32_t *weight_order, *count_order; /* (n_exp) experts by votes, most first */
    bool *is_best;                       /* (n_exp) */
};

/* ST_NOMEM. Freed by routing_facts_free(), which accepts NULL. */
MUST_CHECK enum status routing_facts_new(int n_layer, int n_exp, int top_k,
                                         struct routing_facts **ret, struct error *err);
void routing_facts_free(struct routing_facts *f);

/*
 * Add a sample of a layer. scores (n_tok, n_exp), >= 0; experts (n_tok, n_slot), -1: none.
 * is_first: no forward of this block came before. A token's votes go to its best top_k experts by
 * score; ties, here and in elections, go to the lower id; sums are in f64 in token order.
 *
 * Source of the two elections: arXiv:2602.00879, section 4.2 (weights; counts are its "naive
 * uniform voting").
 */
void routing_facts_add(struct routing_facts *f, int layer, bool is_first, int n_tok, int n_slot,
                       const float *scores, const int32_t *experts);

/* Coreset size number i for so many experts: (i + 1) * n_exp / 8, rounded down. */
int routing_core_size(int i, int n_exp);

/* Distinct experts that n_tok tokens choose on average if each takes top_k of n_exp uniformly:
 * M (1 - (1 - K/M)^N) (arXiv:2602.00879). */
double routing_uniform(int n_tok, int n_exp, int top_k);

#endif
