/*
 * Inside of cpu's routing: what its tokens (cpu_route.c) and its elections (cpu_coreset.c) share.
 */
#ifndef KERNELS_CPU_CPU_ROUTE_H
#define KERNELS_CPU_CPU_ROUTE_H

#include "kernels/host.h"
#include "kernels/kernels.h"

/* One call of the op. */
struct router_call {
    const struct route_params *p;
    const struct route_input *in;
    int depth; /* places of a token's order that are found */
    struct scratch *scratch;
};

struct token {
    const float *score;
    const float *key;         /* score plus bias; what is NaN or -inf is never chosen */
    const float *natural_key; /* the same, -inf outside the kept groups */
    int n;                    /* of order: depth, or fewer where fewer can be chosen */
    int32_t order[KERNEL_MAX_EXPERTS];
    float key_room[KERNEL_MAX_EXPERTS], limited[KERNEL_MAX_EXPERTS];
};

/* The n largest keys in best-first order, ties to the lower id; NaN and -inf left out. Returns how
 * many there are. */
int route_best(const float *key, int n_exp, int n, int32_t *ret);

/* Set the keys of all but the best groups to -inf; none is NaN. */
void route_limit_groups(const struct route_params *p, float *key);

/* A row's keys: its scores, or in room. */
const float *route_keys(const struct router_call *c, int row, float *room);

void route_token_read(const struct router_call *c, int row, struct token *ret);

/* Room in scratch for the elections of a call. */
MUST_CHECK enum status cpu_elect_reserve(const struct router_call *c,
                                         const struct route_segment *segs, int n_segs,
                                         struct error *err);

/* The coreset that the tokens of n_segs segments share: ret_core (n_exp), 1: member. number: of the
 * group of tokens in its segment. */
void cpu_elect(const struct router_call *c, const struct route_segment *segs, int n_segs,
               int number, uint8_t *ret_core);

#endif
