/*
 * The forward pass, over the op table.
 *
 *   x = embed(ids)
 *   for each layer:  h = norm(x);  q, k, v = h Wq, h Wk, h Wv;  q, k = norm a head, then RoPE;
 *                    k, v to the caches at their positions;  x += attention(q, caches) Wo
 *                    h = norm(x);  scores = router(h);  x += experts that route chose, and shared
 *                    ones (h); where there is no router, those alone: a dense layer
 *   logits = norm(rows asked for) Whead
 *
 * All in f32. Tokens of all items lie one after the other; every op but attention, the caches
 * and routing sees them as one batch.
 *
 * Sources: the model class LLaDAMoEModelLM (inclusionAI/LLaDA-MoE-7B-A1B), which leaves the
 * chosen router probabilities as they are and applies no attention mask; LLaDA2MoeModelLM
 * (inclusionAI/LLaDA2.0-mini), which divides them by their sum, and whose mask is block-causal.
 */
#include "engine/model.h"

#include <assert.h>
#include <string.h>

#include "base/trace.h"
#include "engine/model_impl.h"
#include "engine/selection.h"

/* ---- what is asked for ------------------------------------------------------------------- */

static enum status check_route(const struct model *m, const struct route_params *r, int i,
                               struct error *err)
{
    int most = m->c.n_exp < KERNEL_MAX_TOP_K ? m->c.n_exp : KERNEL_MAX_TOP_K;

    if (r->n_exp != m->c.n_exp)
        return error_set(err, ST_INVALID, "item %d routes over %d experts, the model has %d", i,
                         r->n_exp, m->c.n_exp);
    if (r->top_k < 1 || r->top_k > most || r->top_k_base < 1 || r->top_k_base > most)
        return error_set(err, ST_INVALID,
                         "item %d: need 1 <= top_k %d <= %d and 1 <= top_k_base "
                         "%d <= %d",
                         i, r->top_k, most, r->top_k_base, most);
    return ST_OK;
}

static enum status check_item(const struct model *m, const struct forward_item *it, int i,
                              struct error *err)
{
    int max_canvas = m->opts.max_canvas;

    assert(it->cache->m == m);
    if (it->n_tok < 1 || it->n_tok > max_canvas)
        return error_set(err, ST_INVALID, "item %d: need 1 <= n_tok %d <= max_canvas %d", i,
                         it->n_tok, max_canvas);
    if (it->n_kv < 1 || it->n_kv > max_canvas)
        return error_set(err, ST_INVALID, "item %d: need 1 <= n_kv %d <= max_canvas %d", i,
                         it->n_kv, max_canvas);
    if (it->logits_row < 0 || it->n_logits < 0 || it->n_logits > it->n_tok - it->logits_row)
        return error_set(err, ST_INVALID,
                         "item %d: rows %d and %d more are not within its %d "
                         "tokens",
                         i, it->logits_row, it->n_logits, it->n_tok);
    for (int t = 0; t < it->n_tok; t++) {
        if (it->ids[t] < 0 || it->ids[t] >= m->c.n_vocab)
            return error_set(err, ST_INVALID,
                             "item %d: id %d of token %d is not within the "
                             "vocabulary of %d",
                             i, (int)it->ids[t], t, m->c.n_vocab);
        if (it->positions[t] <= (t ? it->positions[t - 1] : -1) || it->positions[t] >= max_canvas)
            return error_set(err, ST_INVALID,
                             "item %d: position %d of token %d is not ascending "
                             "within max_canvas %d",
                             i, (int)it->positions[t], t, max_canvas);
    }
    if (it->n_plain < 0 || it->n_plain > it->n_tok)
        return error_set(err, ST_INVALID, "item %d: %d of its %d tokens are routed as they are", i,
                         it->n_plain, it->n_tok);
    return check_route(m, it->route, i, err);
}

static enum status check_items(const struct model *m, const struct forward_item *items, int n_items,
                               int *ret_n_tok, struct error *err)
{
    int64_t n_tok = 0, n_rows = 0;

    if (n_items < 1 || n_items > m->opts.max_batch)
        return error_set(err, ST_INVALID, "need 1 <= n_items %d <= max_batch %d", n_items,
                         m->opts.max_batch);
    for (int i = 0; i < n_items; i++) {
        enum status st = check_item(m, &items[i], i, err);

        if (st)
            return st;
        for (int j = 0; j < i; j++)
            assert(items[j].cache != items[i].cache);
        n_tok += items[i].n_tok;
        n_rows += items[i].n_logits;
    }
    if (n_rows > m->max_rows)
        return error_set(err, ST_INVALID,
                         "logits of %lld positions are asked for, the model was "
                         "opened for max_batch %d of max_block %d",
                         (long long)n_rows, m->opts.max_batch, m->opts.max_block);
    *ret_n_tok = (int)n_tok; /* at most max_batch * max_canvas */
    return ST_OK;
}

/* Lay the items' tokens one after the other. */
static void gather(struct model *m, const struct forward_item *items, int n_items)
{
    int row = 0;

    for (int i = 0; i < n_items; i++) {
        size_t bytes = (size_t)items[i].n_tok * sizeof(int32_t);

        memcpy(m->ids + row, items[i].ids, bytes);
        memcpy(m->positions + row, items[i].positions, bytes);
        m->segs[i] = (struct segment){ .row = row, .n_tok = items[i].n_tok };
        row += items[i].n_tok;
    }
}

/* ---- layers ------------------------------------------------------------------------------ */

/* Part `part` of layer l is enqueued. */
static enum status mark(struct model *m, enum profile_part part, int l, struct error *err)
{
    return profile_mark(m->timing, part, l, err);
}

/* m->q, m->key, m->value of layer l from m->h. */
static enum status project_qkv(struct model *m, int l, const struct forward_layer *w, int n_tok,
                               struct error *err)
{
    const struct kernel_ops *ops = m->k->ops;
    const struct model_config *c = &m->c;
    float eps = (float)c->rms_eps;
    enum status st;

    st = ops->matmul(m->k, m->h, w->q, n_tok, m->q, err);
    if (!st)
        st = ops->matmul(m->k, m->h, w->k, n_tok, m->key, err);
    if (!st)
        st = ops->matmul(m->k, m->h, w->v, n_tok, m->value, err);
    if (!st)
        st = mark(m, PROFILE_QKV, l, err);
    if (!st)
        st = ops->rms_norm(m->k, m->q, w->q_norm, eps, n_tok * c->n_head, m->q, err);
    if (!st)
        st = ops->rms_norm(m->k, m->key, w->k_norm, eps, n_tok * c->n_kv_head, m->key, err);
    if (!st)
        st = ops->rope(m->k, m->q, m->positions, n_tok, c->n_head, c->d_head, c->d_rot,
                       c->rope_theta, err);
    if (!st)
        st = ops->rope(m->k, m->key, m->positions, n_tok, c->n_kv_head, c->d_head, c->d_rot,
                       c->rope_theta, err);
    return st;
}

/* Of attention: 0 where every position sees every other. */
static int mask_block_of(const struct model *m, const struct forward_item *it)
{
    return m->c.mask_block && it->mask_block ? it->mask_block : m->c.mask_block;
}

/* Keys and values of this forward to layer l of the items' caches; what attention reads there. */
static enum status store_kv(struct model *m, int l, const struct forward_item *items, int n_items,
                            struct error *err)
{
    const struct kernel_ops *ops = m->k->ops;
    int width = m->c.n_kv_head * m->c.d_head;
    enum status st = ST_OK;

    for (int i = 0; i < n_items && !st; i++) {
        const struct segment *s = &m->segs[i];
        const int32_t *slots = m->positions + s->row;
        size_t from = (size_t)s->row * (size_t)width, to = (size_t)l * kv_layer_size(m);
        float *keys = items[i].cache->keys + to, *values = items[i].cache->values + to;

        st = ops->kv_store(m->k, m->key + from, slots, s->n_tok, width, keys, err);
        if (!st)
            st = ops->kv_store(m->k, m->value + from, slots, s->n_tok, width, values, err);
        m->attn_segs[i] = (struct attn_segment){
            .row = s->row,
            .n_tok = s->n_tok,
            .keys = keys,
            .values = values,
            .n_kv = items[i].n_kv,
            .mask_block = mask_block_of(m, &items[i]),
        };
    }
    return st;
}

/* x += attention(norm(x)) Wo */
static enum status run_attention(struct model *m, int l, const struct forward_item *items,
                                 int n_items, int n_tok, struct error *err)
{
    const struct kernel_ops *ops = m->k->ops;
    const struct forward_layer *w = &m->layers[l];
    const struct model_config *c = &m->c;
    enum status st;

    st = ops->rms_norm(m->k, m->x, w->norm_in, (float)c->rms_eps, n_tok, m->h, err);
    if (!st)
        st = mark(m, PROFILE_NORM, l, err);
    if (!st)
        st = project_qkv(m, l, w, n_tok, err);
    if (!st)
        st = store_kv(m, l, items, n_items, err);
    if (!st)
        st = mark(m, PROFILE_HEADS, l, err);
    if (!st)
        st = ops->attention(m->k, m->q, m->positions, m->attn_segs, n_items, c->n_head,
                            c->n_kv_head, c->d_head, m->y, err);
    if (!st)
        st = mark(m, PROFILE_ATTENTION, l, err);
    if (!st)
        st = ops->matmul(m->k, m->y, w->o, n_tok, m->h, err);
    if (!st)
        st = ops->add(m->k, m->x, m->h, (size_t)n_tok * (size_t)c->d_model, err);
    return st ? st : mark(m, PROFILE_O, l, err);
}

/* What routing reads at MoE layer l, whose weights are w, for an item. */
static struct route_input route_input_of(const struct model *m, int l,
                                         const struct forward_layer *w,
                                         const struct forward_item *it)
{
    size_t at = (size_t)l * (size_t)m->c.n_exp;

    return (struct route_input){ .scores = m->scores,
                                 .logits = m->router_logits,
                                 .bias = m->dealt ? m->dealt : w->router_bias,
                                 .importance = m->importance,
                                 .popularity = it->popularity ? it->popularity + at : NULL };
}

static struct route_segment route_segment_of(struct model *m, int l,
                                             const struct forward_item *items, int i)
{
    size_t n_exp = (size_t)m->c.n_exp, core = (size_t)l * n_exp;
    size_t at = (size_t)i * (size_t)m->info.n_moe_layer + (size_t)l;
    const struct forward_item *it = &items[i];

    return (struct route_segment){ .row = m->segs[i].row,
                                   .n_tok = m->segs[i].n_tok,
                                   .n_plain = it->n_plain,
                                   .group = it->group,
                                   .is_voter = it->is_voter,
                                   .key = selection_layer_key(it->key, l),
                                   .core_before = it->cores_before ? it->cores_before + core : NULL,
                                   .ret_core = it->ret_cores ? it->ret_cores + core : NULL,
                                   .stats = &m->stats[at],
                                   .tokens_per_expert = m->counts + at * n_exp };
}

/* Experts of all items' tokens: m->route_ids, m->route_w, of stride slots. */
static enum status route_items(struct model *m, int l, const struct forward_layer *w,
                               const struct forward_item *items, int n_items, int stride,
                               struct error *err)
{
    const struct route_output out = { m->route_ids, m->route_w, stride };
    enum status st = ST_OK;

    for (int i = 0; i < n_items && !st; i++) {
        const struct route_input in = route_input_of(m, l, w, &items[i]);
        int joint = items[i].joint, n = 0;
        bool is_done = false;

        for (int j = 0; j < i; j++)
            is_done = is_done || (joint && items[j].joint == joint);
        if (is_done)
            continue;
        for (int j = i; j < n_items; j++)
            if (j == i || (joint && items[j].joint == joint))
                m->route_segs[n++] = route_segment_of(m, l, items, j);
        st = m->k->ops->route(m->k, items[i].route, &in, m->route_segs, n, &out, err);
    }
    return st;
}

/* How far m->y is from what the model's own routing gives. */
static enum status compare_plain(struct model *m, int l, const struct forward_layer *w, int n_items,
                                 int n_tok, struct error *err)
{
    const struct kernel_ops *ops = m->k->ops;
    const struct route_input in = { .scores = m->scores, .bias = w->router_bias };
    const struct route_output out = { m->plain_ids, m->plain_w, m->route.top_k };
    const struct route_segment all = { .n_tok = n_tok,
                                       .stats = &m->plain_stats,
                                       .tokens_per_expert = m->plain_counts };
    enum status st;

    st = ops->route(m->k, &m->route, &in, &all, 1, &out, err);
    if (!st)
        st = ops->moe(m->k, m->h, w->experts, m->plain_ids, m->plain_w, n_tok, m->route.top_k,
                      m->plain_y, err);
    if (!st)
        st = ops->rel_error(m->k, m->y, m->plain_y, m->segs, n_items, m->c.d_model,
                            m->errors_by_layer + (size_t)l * (size_t)n_items, err);
    return st;
}

/* y = experts(h) of layer l, MoE layer at_moe */
static enum status run_experts(struct model *m, int l, int at_moe, const struct forward_item *items,
                               int n_items, int n_tok, struct error *err)
{
    const struct kernel_ops *ops = m->k->ops;
    const struct forward_layer *w = &m->layers[l];
    bool has_logits = false, has_importance = m->observing;
    int stride = 0;
    enum status st;

    for (int i = 0; i < n_items; i++) {
        const struct route_params *r = items[i].route;

        stride = r->top_k > stride ? r->top_k : stride;
        if (items[i].n_plain && r->top_k_base > stride)
            stride = r->top_k_base;
        has_logits = has_logits || r->vote == VOTE_LOGIT;
        has_importance = has_importance || r->protect > 0;
    }
    st = ops->router(m->k, m->h, w->router, n_tok, m->c.score, m->scores,
                     has_logits ? m->router_logits : NULL, err);
    if (!st && has_importance)
        st = ops->l1_norm(m->k, m->h, n_tok, m->c.d_model, m->importance, err);
    if (!st)
        st = route_items(m, at_moe, w, items, n_items, stride, err);
    if (!st)
        st = mark(m, PROFILE_ROUTE, l, err);
    if (!st)
        st = ops->moe(m->k, m->h, w->experts, m->route_ids, m->route_w, n_tok, stride, m->y, err);
    if (!st && m->observing && !m->timing)
        st = observing_tell(m, at_moe, 0, n_items, stride, err);
    if (!st && m->opts.is_diagnosed && !m->timing)
        st = compare_plain(m, at_moe, w, n_items, n_tok, err);
    return st;
}

/* x += experts(norm(x)); *at_moe counts MoE layers. */
static enum status run_ffn(struct model *m, int l, int *at_moe, const struct forward_item *items,
                           int n_items, int n_tok, struct error *err)
{
    const struct kernel_ops *ops = m->k->ops;
    const struct forward_layer *w = &m->layers[l];
    const struct model_config *c = &m->c;
    enum status st;

    st = ops->rms_norm(m->k, m->x, w->norm_ffn, (float)c->rms_eps, n_tok, m->h, err);
    if (!st && w->router)
        st = run_experts(m, l, (*at_moe)++, items, n_items, n_tok, err);
    else if (!st)
        st = ops->moe(m->k, m->h, w->experts, NULL, NULL, n_tok, 0, m->y, err);
    if (!st)
        st = ops->add(m->k, m->x, m->y, (size_t)n_tok * (size_t)c->d_model, err);
    return st ? st : mark(m, PROFILE_MOE, l, err);
}

/* m->logits of the rows that are asked for. */
static enum status run_head(struct model *m, const struct forward_item *items, int n_items,
                            struct error *err)
{
    const struct kernel_ops *ops = m->k->ops;
    size_t width = (size_t)m->c.d_model;
    enum status st = ST_OK;
    int n_rows = 0;

    for (int i = 0; i < n_items && !st; i++) {
        size_t row = (size_t)m->segs[i].row + (size_t)items[i].logits_row;

        if (items[i].n_logits)
            st = ops->rms_norm(m->k, m->x + row * width, m->norm_out, (float)m->c.rms_eps,
                               items[i].n_logits, m->h + (size_t)n_rows * width, err);
        n_rows += items[i].n_logits;
    }
    if (!st && n_rows)
        st = ops->matmul(m->k, m->h, m->head, n_rows, m->logits, err);
    return st ? st : mark(m, PROFILE_HEAD, -1, err);
}

/* (n_moe_layer, n_items) as the op wrote them to (n_items, n_moe_layer). */
static void transpose_errors(struct model *m, int n_items)
{
    size_t n_layer = (size_t)m->info.n_moe_layer, n = (size_t)n_items;

    for (size_t l = 0; l < n_layer; l++)
        for (size_t i = 0; i < n; i++)
            m->errors[i * n_layer + l] = m->errors_by_layer[l * n + i];
}

/* ---- the pass ---------------------------------------------------------------------------- */

/* As the backend does it in one. */
static enum status run_whole(struct model *m, const struct forward_item *items, int n_items,
                             int n_tok, bool *ret_is_picked, struct error *err)
{
    const struct forward_call call = { .ids = m->ids,
                                       .positions = m->positions,
                                       .n_tok = n_tok,
                                       .n_seqs = n_items,
                                       .seqs = m->seqs,
                                       .routing = m->route_segs,
                                       .bias = m->dealt,
                                       .profile = m->timing,
                                       .logits = m->logits,
                                       .ret_is_picked = ret_is_picked };

    for (int i = 0; i < n_items; i++)
        m->seqs[i] = (struct forward_seq){ .row = m->segs[i].row,
                                           .n_tok = m->segs[i].n_tok,
                                           .n_kv = items[i].n_kv,
                                           .mask_block = mask_block_of(m, &items[i]),
                                           .keys = items[i].cache->keys,
                                           .values = items[i].cache->values,
                                           .logits_row = items[i].logits_row,
                                           .n_logits = items[i].n_logits,
                                           .pick = items[i].pick,
                                           .ret_picks = items[i].ret_picks,
                                           .route = items[i].route,
                                           .n_plain = items[i].n_plain,
                                           .popularity = items[i].popularity,
                                           .joint = items[i].joint };
    for (int l = 0; l < m->info.n_moe_layer; l++)
        for (int i = 0; i < n_items; i++)
            m->route_segs[l * n_items + i] = route_segment_of(m, l, items, i);
    return m->k->ops->forward(m->k, m->forward, &call, err);
}

/* What items add to their embeddings, a run of tokens at a time. */
static enum status add_to_embeddings(struct model *m, const struct forward_item *items, int n_items,
                                     struct error *err)
{
    size_t d = (size_t)m->c.d_model;
    enum status st = ST_OK;

    for (int i = 0; i < n_items; i++) {
        const struct forward_item *it = &items[i];
        float *x = m->x + ((size_t)m->segs[i].row + (size_t)it->added_row) * d;

        for (int r = 0, n; it->added && r < it->n_added && !st; r += n + 1) {
            for (n = 0; r + n < it->n_added && it->is_added[r + n]; n++)
                ;
            if (n)
                st = m->k->ops->add(m->k, x + (size_t)r * d, it->added + (size_t)r * d,
                                    (size_t)n * d, err);
        }
    }
    return st;
}

static bool adds_to_embeddings(const struct forward_item *items, int n_items)
{
    bool has_any = false;

    for (int i = 0; i < n_items; i++)
        has_any |= items[i].added != NULL;
    return has_any;
}

/* Op by op. */
static enum status run_ops(struct model *m, const struct forward_item *items, int n_items,
                           int n_tok, struct error *err)
{
    const struct kernel_ops *ops = m->k->ops;
    enum status st = m->timing ? profile_begin(m->timing, err) : ST_OK;
    int at_moe = 0;

    if (!st)
        st = ops->embed(m->k, m->embed, m->ids, n_tok, m->x, err);
    if (!st)
        st = add_to_embeddings(m, items, n_items, err);
    if (!st)
        st = mark(m, PROFILE_EMBED, -1, err);
    for (int l = 0; l < m->c.n_layer && !st; l++) {
        trace_push("layer", l);
        st = run_attention(m, l, items, n_items, n_tok, err);
        if (!st)
            st = run_ffn(m, l, &at_moe, items, n_items, n_tok, err);
        trace_pop();
    }
    if (!st)
        st = run_head(m, items, n_items, err);
    return st ? st : ops->sync(m->k, err);
}

/* Either way. Who looks on, or compares, wants what is between the ops. */
static enum status run(struct model *m, const struct forward_item *items, int n_items, int n_tok,
                       bool *ret_is_picked, struct error *err)
{
    *ret_is_picked = false;
    gather(m, items, n_items);
    if (m->forward && !m->observing && !m->opts.is_diagnosed && !adds_to_embeddings(items, n_items))
        return run_whole(m, items, n_items, n_tok, ret_is_picked, err);
    return run_ops(m, items, n_items, n_tok, err);
}

enum status model_forward(struct model *m, const struct forward_item *items, int n_items,
                          struct forward_result *ret, struct error *err)
{
    bool is_picked;
    int n_tok = 0;
    enum status st = check_items(m, items, n_items, &n_tok, err);

    if (st)
        return st;
    trace_push("forward", n_tok);
    st = run(m, items, n_items, n_tok, &is_picked, err);
    trace_pop();
    if (st)
        return st;
    if (m->opts.is_diagnosed)
        transpose_errors(m, n_items);
    *ret = (struct forward_result){ .logits = is_picked ? NULL : m->logits,
                                    .is_picked = is_picked,
                                    .stats = m->stats,
                                    .tokens_per_expert = m->counts,
                                    .output_errors = m->opts.is_diagnosed ? m->errors : NULL };
    return ST_OK;
}

/* Distinct experts that a forward of the items ran in MoE layer l. */
static int count_unique(const struct model *m, int l, int n_items)
{
    size_t n_exp = (size_t)m->c.n_exp, n_layer = (size_t)m->info.n_moe_layer;
    int n = 0;

    for (size_t e = 0; e < n_exp; e++) {
        bool is_used = false;

        for (size_t i = 0; i < (size_t)n_items; i++)
            is_used = is_used || m->counts[(i * n_layer + (size_t)l) * n_exp + e] > 0;
        n += is_used;
    }
    return n;
}

enum status model_time(struct model *m, const struct forward_item *items, int n_items,
                       const struct profile **ret, int *ret_n_tok, int *ret_unique,
                       struct error *err)
{
    bool is_picked;
    int n_tok = 0, at_moe = 0;
    enum status st = check_items(m, items, n_items, &n_tok, err);

    if (!st && !m->profile)
        st = profile_new(m->k, m->c.n_layer, &m->profile, err);
    if (st)
        return st;
    m->timing = m->profile;
    trace_push("timed forward", n_tok);
    st = run(m, items, n_items, n_tok, &is_picked, err);
    trace_pop();
    m->timing = NULL;
    if (!st)
        st = profile_end(m->profile, err);
    if (st)
        return st;
    for (int l = 0; l < m->c.n_layer; l++)
        ret_unique[l] = m->layers[l].router ? count_unique(m, at_moe++, n_items) : 0;
    *ret = m->profile;
    *ret_n_tok = n_tok;
    return ST_OK;
}

/* ---- facts ------------------------------------------------------------------------------- */

const struct model_info *model_get_info(const struct model *m)
{
    return &m->info;
}

struct kernels *model_kernels(struct model *m)
{
    return m->k;
}

const struct engine_options *model_options(const struct model *m)
{
    return &m->opts;
}

const struct weight *model_embedding(const struct model *m)
{
    return m->embed;
}

const struct route_params *model_route(const struct model *m)
{
    return &m->route;
}

const struct tokenizer *model_tokenizer(const struct model *m)
{
    return m->tokenizer;
}
