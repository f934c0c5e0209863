/* A cache policy that forgets the clean pass, to see that tests notice. */
#ifndef TESTS_ENGINE_PLAN_UNCLEAN_H
#define TESTS_ENGINE_PLAN_UNCLEAN_H

#include "engine/forward_plan.h"

/* As policy `block`, but a finished block's tokens do not go through the model once more. */
static inline struct forward_plan plan_unclean(const struct canvas_view *v)
{
    int first = v->forward ? v->block_start : 0;

    return (struct forward_plan){ .first = first,
                                  .n_tok = v->block_end - first,
                                  .n_kv = v->block_end,
                                  .is_refresh = first < v->block_start };
}

#endif
