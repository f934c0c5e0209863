/*
 * Expert selectors: which experts a token may be routed to.
 *
 * A policy is a row of settings of one routing pipeline; text names a policy and overrides its
 * fields: "vanilla", "topk:k=4". Parsing gives a struct selector, which together with the
 * model's own routing becomes the struct route_params of a forward. Adding a policy is adding a
 * row to the table in selector.c, and, where it needs a new setting, a field.
 */
#ifndef ENGINE_SELECTOR_H
#define ENGINE_SELECTOR_H

#include "base/buf.h"
#include "base/status.h"
#include "engine/engine.h"
#include "kernels/kernels.h"

struct selector_policy; /* a row of the table */

/* Settings, independent of any model. */
struct selector {
    const struct selector_policy *policy;
    int k; /* experts a token is routed to; 0: as many as the model's own routing */
};

/*
 * Parse NAME[:field=value,...]. ST_INVALID: an unknown policy (the message lists the known
 * ones), a field that the policy does not have, one given twice, not a number, or out of range,
 * or a needed one that is missing.
 */
MUST_CHECK enum status selector_parse(const char *text, struct selector *ret, struct error *err);

/* The model's own routing as the selector changes it. ST_INVALID: a setting that does not fit
 * the model, with the limit named. `vanilla` returns *model unchanged. */
MUST_CHECK enum status selector_route(const struct selector *s, const struct route_params *model,
                                      struct route_params *ret, struct error *err);

/* Append the one text that stands for these settings: every field of the policy, in table
 * order. Parsing it gives the same settings. */
void selector_put(const struct selector *s, struct buf *ret);

#endif
