/* Cache policies and their table. */
#include "engine/forward_plan.h"

#include <string.h>

static struct forward_plan plan_none(const struct canvas_view *v)
{
    return (struct forward_plan){ .first = 0, .n_tok = v->n_canvas, .n_kv = v->n_canvas };
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

enum cache_id { CACHE_NONE, CACHE_DUAL, N_CACHES };

static const struct engine_choice choices[N_CACHES + 1] = {
    [CACHE_NONE] = { "none", "every position through the model at every step (exact)",
                     "arXiv:2502.09992 (LLaDA), generate.py" },
    [CACHE_DUAL] = { "dual", "whole canvas at block entry, then only the block (approximate)",
                     "arXiv:2505.22618 (Fast-dLLM), DualCache" },
};

static const struct cache_policy policies[N_CACHES] = {
    [CACHE_NONE] = { &choices[CACHE_NONE], plan_none },
    [CACHE_DUAL] = { &choices[CACHE_DUAL], plan_dual },
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
