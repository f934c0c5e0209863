/* Observing a forward: scores and routes of each layer, copied to the host and shown. */
#include <stdlib.h>

#include "base/size.h"
#include "engine/model_impl.h"

struct observing {
    struct model_observer observer;
    float *scores;    /* (max_tok, n_exp) */
    int32_t *experts; /* (max_tok, slots of a token) both */
    float *weights;
    float *importance; /* (max_tok) */
};

void observing_free(struct observing *o)
{
    if (!o)
        return;
    free(o->scores);
    free(o->experts);
    free(o->weights);
    free(o->importance);
    free(o);
}

static struct observing *observing_new(const struct model *m, const struct model_observer *observer)
{
    size_t n_exp = (size_t)m->c.n_exp, n_tok = (size_t)m->max_tok, n_scores, n_slots;
    struct observing *o;

    if (!size_mul(n_tok, n_exp, &n_scores) ||
        !size_mul(n_tok, n_exp < KERNEL_MAX_TOP_K ? n_exp : KERNEL_MAX_TOP_K, &n_slots))
        return NULL;
    o = calloc(1, sizeof(*o));
    if (!o)
        return NULL;
    o->observer = *observer;
    o->scores = calloc(n_scores, sizeof(*o->scores));
    o->experts = calloc(n_slots, sizeof(*o->experts));
    o->weights = calloc(n_slots, sizeof(*o->weights));
    o->importance = calloc(n_tok, sizeof(*o->importance));
    if (o->scores && o->experts && o->weights && o->importance)
        return o;
    observing_free(o);
    return NULL;
}

enum status model_observe(struct model *m, const struct model_observer *observer, struct error *err)
{
    struct observing *o = NULL;

    if (observer) {
        o = observing_new(m, observer);
        if (!o)
            return error_set(err, ST_NOMEM, "out of memory to observe a model");
    }
    observing_free(m->observing);
    m->observing = o;
    return ST_OK;
}

enum status observing_tell(struct model *m, int l, int first, int end, int n_slot,
                           struct error *err)
{
    const struct kernel_ops *ops = m->k->ops;
    const struct observing *o = m->observing;
    size_t n_exp = (size_t)m->c.n_exp, row = (size_t)m->segs[first].row;
    size_t n_tok = (size_t)(m->segs[end - 1].row + m->segs[end - 1].n_tok) - row;
    size_t n_slots = n_tok * (size_t)n_slot;
    enum status st;

    st =
        ops->download(m->k, o->scores, m->scores + row * n_exp, n_tok * n_exp * sizeof(float), err);
    if (!st)
        st = ops->download(m->k, o->experts, m->route_ids, n_slots * sizeof(int32_t), err);
    if (!st)
        st = ops->download(m->k, o->weights, m->route_w, n_slots * sizeof(float), err);
    if (!st)
        st = ops->download(m->k, o->importance, m->importance + row, n_tok * sizeof(float), err);
    if (!st)
        st = ops->sync(m->k, err);
    for (int i = first; i < end && !st; i++) {
        const struct segment *s = &m->segs[i];
        size_t at = (size_t)s->row - row;
        struct layer_view v = {
            .layer = l,
            .n_tok = s->n_tok,
            .n_exp = m->c.n_exp,
            .n_slot = n_slot,
            .ids = m->ids + s->row,
            .positions = m->positions + s->row,
            .scores = o->scores + at * n_exp,
            .importance = o->importance + at,
            .experts = o->experts + at * (size_t)n_slot,
            .weights = o->weights + at * (size_t)n_slot,
        };

        st = o->observer.layer(o->observer.arg, i, &v, err);
    }
    return st;
}
