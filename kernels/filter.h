/*
 * Sampling as LLaDA2.x does it: a token is drawn from the softmax of logits / temperature, of which
 * top-k and then top-p leave the best tokens.
 *
 *   1. weights   exp((logit - largest) / temperature); the largest, even if infinite, weighs 1
 *   2. top-k     the k largest logits stay, and those that equal the last of them
 *   3. top-p     of what is left, best first, those before which the weights come to at most share
 *                p of all of them; so always the best, and the one by which p is passed
 *   4. draw      one of what is left, in proportion to its weight: that of the largest logit +
 *                temperature * noise (kernels/gumbel.h), which comes to the same
 *   5. worth     its weight over that of all that are left
 *
 * Best first is by the logit, then the lower id. Sums are of whole numbers, weights in units of
 * 2^-40 (to the nearest), so that their order does not matter and each backend keeps the same
 * tokens.
 *
 * Source: LLaDA2.0 and 2.1, modeling_llada2_moe.py, _sample_with_temperature_topk_topp() and what
 * it calls; there the sums are in f32, and equal logits come in any order under top-p.
 * Settled here: the mask token, and a banned one, take part in 1-3 and keep their share, but are
 * not drawn. Where nothing else is left, the best other token is proposed, and worth nothing.
 */
#ifndef KERNELS_FILTER_H
#define KERNELS_FILTER_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#define FILTER_UNIT 0x1p40
#define FILTER_LEAST (-28.5) /* exp() of less is no unit */

/* Weight of a logit that is not NaN, 0 .. 1. */
static inline double filter_share(float logit, float max, double temperature)
{
    double x = logit == max ? 0 : ((double)logit - max) / temperature;

    return x > FILTER_LEAST ? exp(x) : 0;
}

static inline uint64_t filter_units(double share)
{
    return (uint64_t)(share * FILTER_UNIT + 0.5);
}

/* Does top-p keep a token before which the weights come to this? */
static inline bool filter_keeps(uint64_t before, uint64_t total, double top_p)
{
    return (double)before <= top_p * (double)total;
}

/* What a token is worth that is left. */
static inline float filter_worth(double share, uint64_t left)
{
    return (float)(share * FILTER_UNIT / (double)left);
}

#endif
