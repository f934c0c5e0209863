/*
 * Experts dealt to tokens: engine_deal_experts().
 *
 * Routing chooses by scores plus a bias (kernels/route.h), so a bias for each token that is larger
 * than any score settles the choice; it has no part in weights. Scores are probabilities: at most 1
 * each, and so a group of experts without one that was dealt is worth at most 2.
 */
#include "kernels/deal.h"
#include "engine/model_impl.h"
#include "engine/sequence.h"

static const float more_than_scores = 4;
static const double skew = 0.7;

enum status model_deal(struct model *m, int n_unique, int n_tok, struct error *err)
{
    const size_t n_rows = (size_t)m->max_tok, n_exp = (size_t)m->c.n_exp;
    const size_t top_k = (size_t)m->route.top_k;
    const struct deal d = { .n_exp = m->c.n_exp,
                            .top_k = m->route.top_k,
                            .n_tok = n_tok,
                            .n_active = n_unique,
                            .n_group = m->route.n_group,
                            .topk_group = m->route.topk_group,
                            .skew = skew };
    struct host_matrix bias = { .dtype = DT_F32, .rows = m->max_tok, .cols = m->c.n_exp };
    struct weight *w = NULL;
    struct rng rng;
    int32_t *ids;
    float *rows;
    enum status st;

    m->dealt = NULL;
    if (n_unique == 0)
        return ST_OK;
    /* backends borrow it: it stays as long as the model */
    rows = arena_array(&m->arena, n_rows * n_exp, sizeof(*rows));
    ids = arena_array(&m->arena, (size_t)n_tok * top_k, sizeof(*ids));
    if (!rows || !ids)
        return error_set(err, ST_NOMEM, "out of memory dealing experts to %d tokens", n_tok);
    rng_seed(&rng, (uint64_t)n_unique);
    st = deal_experts(&d, &rng, ids, err);
    if (st)
        return st;
    for (size_t r = 0; r < n_rows; r++)
        for (size_t i = 0; i < top_k; i++)
            rows[r * n_exp + (size_t)ids[r % (size_t)n_tok * top_k + i]] = more_than_scores;
    bias.data = rows;
    st = m->k->ops->weight_load(m->k, &bias, &w, err);
    if (!st)
        m->dealt = w;
    return st;
}

enum status engine_deal_experts(struct engine *e, int n_unique, int n_tok, struct error *err)
{
    if (!e->model)
        return error_set(err, ST_UNSUPPORTED, "model '%s' was opened for text only", e->info->name);
    return model_deal(e->model, n_unique, n_tok, err);
}
