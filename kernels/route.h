/*
 * Routing: how tokens are given experts. Part of kernels/kernels.h, which includes it.
 *
 * One pipeline stands for every selection policy; engine/selector.h turns a policy's name and the
 * model's own routing into its settings. All zero but the model's own is that routing unchanged.
 *
 *   1. natural   each token's experts in order of their keys (score plus the model's bias), within
 *                the model's groups: its natural top-k is what vanilla runs
 *   2. keep      how many of its slots a token uses: all, or by its own scores
 *   3. coreset   the experts that a group of tokens shares: each voter's first `warm` experts, and
 *                elected ones up to a size
 *   4. outside   a slot outside the coreset goes to the token's best expert inside it, or is empty
 *   5. weights   of the slots left, as the model was trained or divided by their sum
 *
 * Larger keys, votes and scores come first, ties go to the lower id. Votes and masses are summed in
 * f64 in token order, so that every backend elects the same experts for the same scores. Scores
 * that are NaN or -inf are never chosen and never vote. A slot that cannot be filled gets id -1
 * and weight 0; no expert outside the coreset is ever run.
 *
 * A group of tokens is a segment (one sequence of the forward), a run of `group` tokens of it, or
 * all segments of the call with is_joint. In a group without a voter all tokens vote. The first
 * n_plain tokens of a segment belong to no group: they run their natural experts, with the model's
 * own weights, and count only in the statistics.
 *
 * Groups of experts (LLaDA2.x) are n_exp / n_group neighbours. A group counts as its two largest
 * keys together, the topk_group best are kept. With INSIDE_MEMBERS, a group of two or more members
 * goes before one of a single member, which is worth its key.
 *
 * Sources: arXiv:2602.00879 (DES), 2511.02237 (OEA), 2605.30876 (dMoE), 2602.07265 (XShare),
 * 2602.16052 (MoE-Spec), 2402.14800 (NAEE), 2410.06270 (MC-MoE). docs/selectors.md says which
 * policy takes what from them, and how we settled what they leave open.
 */
#ifndef KERNELS_ROUTE_H
#define KERNELS_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

enum { KERNEL_MAX_EXPERTS = 1024, KERNEL_MAX_TOP_K = 64 };

struct weight;

/* Slots that a token uses, of its top_k natural experts. */
enum route_keep {
    KEEP_ALL,
    KEEP_TOP_P, /* the fewest whose scores reach share p of the sum, at least one */
    KEEP_TAIL,  /* experts i .. top_k are left out where their scores are below share `tail` of
                 * those of 1 .. top_k; never the first */
};

enum route_size {
    SIZE_NONE,  /* no coreset: every expert may run */
    SIZE_UNION, /* the warm-up set alone */
    SIZE_FIXED, /* filled up to n_core experts */
    SIZE_TOP_P, /* the best-voted, while the votes before them are at most share p of all; at least
                 * `floor` */
};

/* What experts are elected by. */
enum route_elect {
    ELECT_VOTES,
    ELECT_MASS,   /* one after the other, which adds most to the scores that voters keep in their
                   * top_k best inside: a greedy maximum, not a proven one */
    ELECT_RANDOM, /* by a hash of the segment's key, the group and the id */
    ELECT_STATIC, /* by route_input.popularity */
};

/* What a voter gives to each of its first `mask` experts. Who has no vote at all comes after those
 * who have one. */
enum route_vote {
    VOTE_PROB,   /* the score */
    VOTE_BIASED, /* the key: score plus the model's bias */
    VOTE_LOGIT,  /* the score before softmax or sigmoid */
    VOTE_RANK,   /* mask for the first, one less for each that follows, 1 for the last */
    VOTE_COUNT,  /* 1 */
};

/* The limit of groups inside a coreset. */
enum route_inside {
    INSIDE_NATURAL, /* a token keeps the groups of its natural order */
    INSIDE_MEMBERS, /* it keeps those that are best by their members in the coreset */
    INSIDE_LIFTED,  /* there is none */
};

struct route_params {
    /* 1. The model's own routing. */
    int n_exp;      /* 1 .. KERNEL_MAX_EXPERTS */
    int top_k;      /* slots of a token, 1 .. min(n_exp, KERNEL_MAX_TOP_K) */
    int top_k_base; /* the model's own: what is natural, and what statistics count against */
    bool renorm;    /* divide the chosen scores by their sum (LLaDA2.x yes, LLaDA-MoE no) */
    float scale;    /* multiplies each weight after that (LLaDA-MoE 1, LLaDA2.x 2.5) */
    int n_group, topk_group; /* 0: no groups. n_group divides n_exp */

    /* 2. Slots of a token. */
    enum route_keep keep;
    double keep_p;           /* KEEP_TOP_P */
    bool is_keep_p_of_top_k; /* p is a share of the top_k scores, else of all n_exp */
    double tail;             /* KEEP_TAIL */
    double protect; /* share of a segment's tokens but the plain ones, rounded down, that keep all
                     * slots: those of largest importance */

    /* 3. The coreset. */
    enum route_size size;
    int warm;   /* each voter's first experts that are in whatever the votes, even beyond n_core */
    int n_core; /* SIZE_FIXED, 1 .. n_exp */
    double core_p; /* SIZE_TOP_P */
    int floor;
    enum route_elect elect;
    enum route_vote vote;
    int mask;               /* experts that a voter votes for, 1 .. n_exp */
    bool is_mask_ungrouped; /* its first experts without the limit of groups */
    bool is_vote_normed;    /* its votes are divided by their sum */
    bool is_joint;          /* one coreset for all segments of the call; their group must be 0 */
    bool is_lagged;         /* a segment runs by the coreset elected at its forward before */

    /* 4. and 5. Slots and weights. */
    bool is_truncated; /* a slot outside the coreset is empty, else it goes to the best inside */
    enum route_inside inside;
    bool is_guard_drop; /* slots for which the kept groups hold too few members stay empty, else
                         * they go to members in other groups */
    bool is_renormed;   /* weights are divided by their sum whatever renorm says */
};

/* What a call routes. Rows are tokens of the forward; memory of the backend but where said. */
struct route_input {
    const float *scores;       /* (n_row, n_exp) */
    const float *logits;       /* the same before softmax or sigmoid; read for VOTE_LOGIT */
    const struct weight *bias; /* NULL: none; vector (n_exp), of all rows; or (n_row, n_exp) */
    const float *importance;   /* (n_row), read where protect > 0 */
    const double *popularity;  /* (n_exp) host memory, finite, read for ELECT_STATIC */
};

/* What routing did in one layer of one forward, for the tokens of one segment. */
struct route_stats {
    int n_unique;     /* distinct experts executed */
    int n_natural;    /* distinct experts that the natural top-k would have executed */
    int n_core;       /* members of the coreset, of all groups together; 0: there was none */
    int n_rerouted;   /* (token, slot) pairs on an expert outside the token's natural top-k */
    int n_lost_top1;  /* tokens whose natural first expert is not executed for them */
    double kept_mass; /* mean over tokens of (score mass of its experts / of its natural top-k) */
};

/* Rows [row, row + n_tok) of one sequence. Pointers are to host memory but where said. */
struct route_segment {
    int row, n_tok;
    int n_plain;             /* of its tokens, the first so many are routed by the model alone */
    int group;               /* tokens that share a coreset, counted from those on; 0: all */
    const uint8_t *is_voter; /* (n_tok); NULL: every token votes */
    uint64_t key;            /* ELECT_RANDOM: names the draw. Joint: that of the first segment */
    /* Coresets, (n_exp), 1: member; backend memory. */
    const uint8_t
        *core_before;  /* is_lagged: elected at the forward before; NULL: run by this one's */
    uint8_t *ret_core; /* elected now, for the last group; untouched without
                        * tokens; or NULL */
    struct route_stats *stats;
    int32_t *tokens_per_expert; /* (n_exp) */
};

/* Slots of the rows: ids ascending within a row, then -1. Rows of no segment are not written. */
struct route_output {
    int32_t *ids; /* (n_row, stride) */
    float *w;     /* beside them */
    int stride;   /* at least top_k, and top_k_base where there are plain tokens */
};

#endif
