/* Cache policies and their table. */
#include "engine/forward_plan.h"

#include <string.h>

/*
 * What follows was made for models whose positions see the whole canvas. With a block-causal mask
 * the canvas ends, for all of them, with the block, and nothing that is kept goes stale: they are
 * exact there, and do more work than `block`.
 */
static struct forward_plan plan_none(const struct canvas_view *v)
{
    return (struct forward_plan){ .first = 0, .n_tok = v->n_visible, .n_kv = v->n_visible };
}

/*
 * Prefix cache: a whole-canvas forward on entering a block, which also decodes one step; after it
 * the block and everything behind it, over keys and values of what is before the block as they
 * were then.
 *
 * Source: arXiv:2505.22618 (Fast-dLLM), section 3.2, prefix cache.
 */
static struct forward_plan plan_prefix(const struct canvas_view *v)
{
    struct forward_plan p = plan_none(v);

    p.is_refresh = v->step == 0;
    if (!p.is_refresh) {
        p.first = v->block_start;
        p.n_tok = v->n_visible - v->block_start;
    }
    return p;
}

/*
 * Dual cache: a whole-canvas forward on entering a block, which also decodes one step; after it
 * only the block's positions, over keys and values of everything around it as they were then
 * (those of later, masked positions go stale with the block's progress: an approximation).
 *
 * Source: arXiv:2505.22618 (Fast-dLLM), section 3.2, DualCache.
 */
static struct forward_plan plan_dual(const struct canvas_view *v)
{
    struct forward_plan p = plan_none(v);

    if (v->step > 0) {
        p.first = v->block_start;
        p.n_tok = v->block_end - v->block_start;
    } else {
        p.is_refresh = true;
    }
    return p;
}

/*
 * Vicinity refresh: the dual cache, but with prefix_look positions before the block and after_look
 * behind it recomputed too, and only once the first cache_warmup forwards of the sequence have been
 * without a cache.
 *
 * Source: dInfer (arXiv:2510.08666), VicinityCacheIteration. There the stored cache stays as the
 * last whole-canvas forward left it, and a window's keys and values count for its own forward only.
 * Here they are written over the stored ones, which comes to the same: the window stays where it is
 * until the block ends, and then the whole canvas is stored anew.
 * Settled here: the whole-canvas forward that fills the cache and the window's forward are two
 * steps; there they are one iteration, whose second half also runs when the first has committed
 * all that was masked.
 */
static struct forward_plan plan_vicinity(const struct canvas_view *v)
{
    struct forward_plan p = plan_none(v);
    int before = v->block_start, after = v->n_visible - v->block_end;

    if (v->forward < v->cache_warmup)
        return p;
    p.is_refresh = v->step == 0 || v->forward == v->cache_warmup;
    if (!p.is_refresh) {
        before = before < v->prefix_look ? before : v->prefix_look;
        after = after < v->after_look ? after : v->after_look;
        p.first = v->block_start - before;
        p.n_tok = v->block_end + after - p.first;
    }
    return p;
}

/*
 * Block cache of block-causal models: only the block, over what is kept of all positions before it.
 * Nothing later enters into these, so they stay as they are once a block has its last tokens. The
 * forward that made a block complete still read masks; its tokens therefore go through the model
 * once more, beside those of the next block's first step (the prompt beside the first block's):
 * that is one forward, and none for the last block.
 *
 * Source: LLaDA2.0 report (arXiv:2512.15745) and SGLang, which run a forward of its own for that;
 * dInfer (BlockDiffusionRunner), which joins the two.
 */
static struct forward_plan plan_block(const struct canvas_view *v)
{
    return (struct forward_plan){ .first = v->n_final,
                                  .n_tok = v->block_end - v->n_final,
                                  .n_kv = v->block_end,
                                  .is_refresh = v->n_final < v->block_start,
                                  .is_merged = v->n_final < v->block_start };
}

enum cache_id { CACHE_NONE, CACHE_PREFIX, CACHE_DUAL, CACHE_VICINITY, CACHE_BLOCK, N_CACHES };

static const struct engine_choice choices[N_CACHES + 1] = {
    [CACHE_NONE] = { "none", "every position that counts through the model at every step (exact)",
                     "arXiv:2502.09992 (LLaDA), generate.py" },
    [CACHE_PREFIX] = { "prefix",
                       "whole canvas at block entry, then from the block on (approximate)",
                       "arXiv:2505.22618 (Fast-dLLM), prefix cache" },
    [CACHE_DUAL] = { "dual", "whole canvas at block entry, then only the block (approximate)",
                     "arXiv:2505.22618 (Fast-dLLM), DualCache" },
    [CACHE_VICINITY] = { "vicinity",
                         "after a warm-up, dual with the block's neighbours (approximate)",
                         "arXiv:2510.08666 (dInfer), vicinity KV-cache refresh" },
    [CACHE_BLOCK] = { "block",
                      "only the block, over finished blocks; of block-causal models (exact)",
                      "LLaDA2.0 (SGLang, dInfer), KV cache of block diffusion" },
};

static const struct cache_policy policies[N_CACHES] = {
    [CACHE_NONE] = { .about = &choices[CACHE_NONE], .plan = plan_none },
    [CACHE_PREFIX] = { .about = &choices[CACHE_PREFIX], .plan = plan_prefix },
    [CACHE_DUAL] = { .about = &choices[CACHE_DUAL], .plan = plan_dual },
    [CACHE_VICINITY] = { .about = &choices[CACHE_VICINITY],
                         .reads = DECODE_BIT(DECODE_PREFIX_LOOK) | DECODE_BIT(DECODE_AFTER_LOOK) |
                                  DECODE_BIT(DECODE_CACHE_WARMUP),
                         .plan = plan_vicinity },
    [CACHE_BLOCK] = { .about = &choices[CACHE_BLOCK], .is_causal_only = true, .plan = plan_block },
};

const struct engine_choice *engine_caches(void)
{
    return choices;
}

const struct cache_policy *cache_policy_find(const char *name)
{
    for (int i = 0; i < N_CACHES; i++)
        if (strcmp(policies[i].about->name, name) == 0)
            return &policies[i];
    return NULL;
}
