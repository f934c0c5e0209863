/* Selection: which routing a forward gets, who votes, what chance draws from. */
#include "engine/selection.h"

#include "base/rng.h"

bool selection_has_voters(const struct selector *s)
{
    return (int)s->v[SEL_VOTERS] != VOTERS_ALL;
}

/* Positions of the block, or its masked ones. */
static void find_voters(const struct selector *s, const struct selection_view *v, uint8_t *voters)
{
    bool is_block = (int)s->v[SEL_VOTERS] == VOTERS_BLOCK;

    for (int i = 0; i < v->n_tok; i++) {
        int at = v->positions[i] - v->block_start;

        voters[i] = at >= 0 && at < v->block_length && (is_block || v->ids[i] == v->mask_id);
    }
}

/* Under prefill=off, does the selector apply to what is no prefill of this forward? */
static bool is_split(const struct selector *s, bool is_merged)
{
    return is_merged && (int)s->v[SEL_PREFILL] == PREFILL_OFF && selector_reads(s, SEL_PREFILL);
}

/* Tokens before the block. */
static int count_before(const struct selection_view *v)
{
    int n = 0;

    while (n < v->n_tok && v->positions[n] < v->block_start)
        n++;
    return n;
}

struct selection selection_of(const struct selector *s, const struct route_params *own,
                              const struct route_params *route, const struct selection_view *v,
                              uint8_t *voters)
{
    uint64_t key = v->seed ^ (uint64_t)s->v[SEL_SEED] << 32;
    struct selection ret = { .route = route };

    if (is_split(s, v->is_merged))
        ret.n_plain = count_before(v);
    else if (v->is_refresh && (int)s->v[SEL_PREFILL] == PREFILL_OFF)
        ret.route = own;
    if (v->is_refresh && (int)s->v[SEL_PREFILL] == PREFILL_BLOCKS)
        ret.group = v->block_length;
    if (selection_has_voters(s)) {
        find_voters(s, v, voters);
        ret.is_voter = voters;
    }
    key = splitmix64(&key) + v->forward;
    ret.key = splitmix64(&key);
    return ret;
}

uint64_t selection_layer_key(uint64_t key, int layer)
{
    uint64_t x = key + (uint64_t)layer;

    return splitmix64(&x);
}

bool selection_keeps_core(const struct selector *s, const struct route_params *route,
                          bool is_refresh, bool is_merged)
{
    return route->is_lagged && (!is_refresh || is_split(s, is_merged));
}
