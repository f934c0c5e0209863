/* Keys and values of one sequence in backend memory. */
#include <stdlib.h>

#include "base/size.h"
#include "engine/model_impl.h"

enum status kv_cache_new(struct model *m, struct kv_cache **ret, struct error *err)
{
    const struct kernel_ops *ops = m->k->ops;
    struct kv_cache *c = calloc(1, sizeof(*c));
    void *keys = NULL, *values = NULL;
    size_t bytes = 0;
    enum status st;

    if (!c)
        return error_set(err, ST_NOMEM, "out of memory for a key/value cache");
    c->m = m;
    if (!size_mul(kv_layer_size(m), (size_t)m->c.n_layer * sizeof(float), &bytes))
        st = error_set(err, ST_NOMEM,
                       "a key/value cache of %d positions does not fit an address "
                       "space",
                       m->opts.max_canvas);
    else
        st = ops->alloc(m->k, bytes, &keys, err);
    if (!st)
        st = ops->alloc(m->k, bytes, &values, err);
    c->keys = keys;
    c->values = values;
    if (st)
        kv_cache_free(c);
    else
        *ret = c;
    return st;
}

void kv_cache_free(struct kv_cache *c)
{
    if (!c)
        return;
    c->m->k->ops->free(c->m->k, c->keys);
    c->m->k->ops->free(c->m->k, c->values);
    free(c);
}
