/*
 * Routing that is made up: which experts tokens go to, so that their number is exact. For
 * measuring, where a router's own choice would give some other number.
 */
#ifndef KERNELS_DEAL_H
#define KERNELS_DEAL_H

#include <stdint.h>

#include "base/rng.h"
#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

struct deal {
    int n_exp, top_k, n_tok;
    int n_active;            /* distinct experts that the tokens go to */
    int n_group, topk_group; /* all of them within topk_group of n_group groups; 0: no groups */
    double skew;             /* the i-th favourite is taken in proportion to i^-skew */
};

/* The most that n_active can be; the least is top_k. */
int deal_max_active(const struct deal *d);

/* ret (n_tok, top_k): experts of each token, all different, n_active of them in all. ST_INVALID
 * where that many cannot be; ST_NOMEM. */
MUST_CHECK enum status deal_experts(const struct deal *d, struct rng *rng, int32_t *ret,
                                    struct error *err);

#ifdef __cplusplus
}
#endif

#endif
