/*
 * A whole forward pass: kernels/forward.h.
 *
 *   norm     x = embed(ids); xb = norm(x)                             fused.cu
 *   for each layer
 *     qkv    q, key, value = xb times the three                       gemm.cu
 *     heads  norm a head, RoPE, to the caches                         fused.cu
 *     attn   yb = attention; of few tokens with heads' work           attention*.cu
 *     o      x += yb Wo                                               gemm.cu
 *     route  xb = norm(x), scores, slots, list of experts             router.cu, router_many.cu
 *     moe    x += experts(xb), of few tokens left to the norm         moe.cu
 *     norm   xb = norm(x), at the end of the rows asked for           fused.cu
 *   head     logits = xb times the head, or proposals                 head.cu, gemm.cu, pick.cu
 *
 * xb, yb: bf16, what products take; x, h: f32. Kernels that fetch weights may start while the one
 * before them ends (sm90.cuh).
 *
 * Mode fast, from GEMM_FAST_MIN tokens on: products by gemm_fast.cu, of activations that norm and
 * attention leave in tiles; qkv does the work of heads, experts that of the norm after them, the
 * head proposes however many rows there are.
 *
 * What a forward needs of the host is laid out in one block ("meta"), which the first kernel
 * fetches; the last one, or the head, delivers the statistics of all layers (mailbox.h). Kernels
 * find everything that changes from step to step there: ids, positions, caches, lengths, voters,
 * coresets. What does not is in their arguments (struct forward_key: numbers of tokens, settings of
 * routing, places in memory), and as long as that stays the same the kernels are replayed as one
 * CUDA graph. A key is recorded while it runs for the second time: what is run once, a cache
 * refresh of a prompt's length, is not worth it.
 */
#include "kernels/cuda/forward.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "base/trace.h"
#include "kernels/cuda/forward_impl.h"
#include "kernels/cuda/fused.h"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/gemm_fast.h"
#include "kernels/cuda/mailbox.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/router.h"

/* What was enqueued since the mark before is `part` of layer l. */
#define MARK(f, part, l, err)                                                                      \
    do {                                                                                           \
        enum status st_ = profile_mark((f)->profile, (part), (l), (err));                          \
        if (st_)                                                                                   \
            return st_;                                                                            \
    } while (0)

/* ---- the kernels ------------------------------------------------------------------------- */

/* Do so many tokens go through gemm_fast.h? Their activations then lie in f->tiled. */
static bool is_tiled(const struct forward *f, int n_tok)
{
    return f->tiled && n_tok >= GEMM_FAST_MIN;
}

/* Products of what lies in f->tiled, or a->x. */
static enum status multiply(struct forward *f, const struct gemm_args *a, struct error *err)
{
    struct cuda *c = f->c;

    if (is_tiled(f, a->n_tok))
        CUDA_TRY(c, gemm_fast_launch(a, f->tiled, c->stream), err);
    else
        CUDA_TRY(c, gemm_launch(a, true, c->stream), err);
    return ST_OK;
}

/* So many bytes of results, from the first on. */
static struct mailbox_delivery delivery(const struct forward *f, size_t bytes)
{
    return (struct mailbox_delivery){ .dev = f->results.dev,
                                      .host = f->host_results,
                                      .bytes = bytes,
                                      .number = f->meta.dev,
                                      .host_done = (uint32_t *)(void *)f->host_done,
                                      .n_blocks = f->delivered };
}

/* Proposals of the head's products; where they are posted, with the other results. */
static enum status propose(struct forward *f, const struct gemm_args *head, struct error *err)
{
    struct pick *ret = (struct pick *)(void *)((char *)f->results.dev + f->picks_at);
    const struct mailbox_delivery rest = delivery(f, f->picks_at);
    struct cuda *c = f->c;

    if (f->is_posted) {
        CUDA_TRY(c,
                 gemm_pick_launch(head, f->pick_rows, f->pick_work, &rest, forward_posted(f), true,
                                  c->stream),
                 err);
    } else if (!is_tiled(f, head->n_tok)) {
        CUDA_TRY(c, gemm_launch(head, true, c->stream), err);
        CUDA_TRY(c,
                 pick_launch(head->parts[0].y, head->n_tok, f->m.n_vocab, f->pick_rows, ret, true,
                             c->stream),
                 err);
    } else {
        CUDA_TRY(
            c,
            gemm_fast_pick_launch(head, f->tiled, f->pick_rows, f->fast_pick_work, ret, c->stream),
            err);
    }
    return ST_OK;
}

static enum status run_attention(struct forward *f, int l, struct error *err)
{
    const struct forward_model *m = &f->m;
    const struct forward_layer *w = &f->layers[l];
    const void **packed = f->packed + 4 * (size_t)l;
    struct cuda *c = f->c;
    const int n_tok = f->key.n_tok, q = m->n_head * m->d_head, kv = m->n_kv_head * m->d_head;
    const struct gemm_args qkv = {
        .parts = { { packed[0], m->q, q }, { packed[1], m->key, kv }, { packed[2], m->value, kv } },
        .n_parts = 3,
        .cols = m->d_model,
        .x = f->xb,
        .n_tok = n_tok
    };
    const struct gemm_args o = { .parts = { { packed[3], m->x, m->d_model } },
                                 .n_parts = 1,
                                 .cols = q,
                                 .x = f->yb,
                                 .n_tok = n_tok,
                                 .is_added = true };
    const struct fused_qk heads = { .q = m->q,
                                    .key = m->key,
                                    .value = m->value,
                                    .q_norm = w->q_norm->dev_rows,
                                    .k_norm = w->k_norm->dev_rows,
                                    .eps = m->rms_eps,
                                    .turns = f->turns,
                                    .positions = f->positions,
                                    .seqs = f->seqs,
                                    .segs = f->attn,
                                    .kv_offset = (size_t)l * m->kv_layer_size,
                                    .n_tok = n_tok,
                                    .n_head = m->n_head,
                                    .n_kv_head = m->n_kv_head,
                                    .d_head = m->d_head,
                                    .d_rot = m->d_rot };
    const bool is_headed = is_tiled(f, n_tok) && gemm_fast_heads_fit(m->d_head, m->d_rot);
    struct attention_args attention = forward_attention(f);
    enum status st;

    attention.kv_offset = heads.kv_offset;
    attention.raw = (struct attention_raw){ .key = m->key,
                                            .value = m->value,
                                            .q_norm = heads.q_norm,
                                            .k_norm = heads.k_norm,
                                            .turns = f->turns,
                                            .d_rot = m->d_rot,
                                            .eps = m->rms_eps };
    attention.is_raw = !is_tiled(f, n_tok) && attention_takes_raw(&attention);
    if (is_headed) {
        CUDA_TRY(c, gemm_fast_heads_launch(&qkv, f->tiled, &heads, c->stream), err);
        MARK(f, PROFILE_QKV, l, err);
    } else {
        st = multiply(f, &qkv, err);
        if (st)
            return st;
        MARK(f, PROFILE_QKV, l, err);
    }
    if (!is_headed && !attention.is_raw) {
        CUDA_TRY(c, fused_qk_launch(&heads, c->stream), err);
        MARK(f, PROFILE_HEADS, l, err);
    }
    if (is_tiled(f, n_tok) && q % PACK_K == 0 && m->d_head % 2 == 0) {
        attention.y_bf16 = NULL;
        attention.y_tiled = f->tiled;
        attention.n_tok = n_tok;
    }
    CUDA_TRY(c, attention_launch(&attention, true, c->stream), err);
    MARK(f, PROFILE_ATTENTION, l, err);
    if (is_tiled(f, n_tok) && attention.y_bf16) /* columns beyond q are zeros there */
        CUDA_TRY(c, gemm_fast_tile_rounded(f->yb, n_tok, q, f->tiled, c->stream), err);
    st = multiply(f, &o, err);
    return st ? st : profile_mark(f->profile, PROFILE_O, l, err);
}

/* Can one launch a set route its tokens, and is that faster than a few? */
static bool is_routed_at_once(const struct forward *f)
{
    if (f->key.n_seqs > ROUTER_AT_ONCE)
        return false;
    for (int i = 0; i < f->key.n_sets; i++) {
        const struct forward_set *s = &f->sets[i];

        if (s->has_plain || !router_fits(&s->p, f->m.d_model, s->max_tok, s->n_seqs, s->n_groups))
            return false;
    }
    return true;
}

/* Can a few launches a set? */
static bool is_routed_by_rows(const struct forward *f)
{
    for (int i = 0; i < f->key.n_sets; i++)
        if (!router_many_fits(&f->sets[i].p, f->m.d_model))
            return false;
    return true;
}

/* Do all of the layer's experts' launches take xb in the order of moe_args.is_placed, and does its
 * router leave it so? */
static bool is_placed(const struct forward *f, const struct forward_layer *w)
{
    const int n_last = f->key.n_tok % FORWARD_MOE_TOKENS;

    return w->router && !is_routed_at_once(f) && is_routed_by_rows(f) &&
           (n_last ? n_last : FORWARD_MOE_TOKENS) > MOE_FEW_TOKENS;
}

/* The call whose statistics are left to the list of MoE layer l; NULL: those of all are made before
 * it. */
static const struct route_call *counted_late(const struct forward *f, int l)
{
    return l >= 0 && f->key.n_sets == 1 && !is_routed_at_once(f) && is_routed_by_rows(f)
               ? &f->calls[l * f->m.max_seqs]
               : NULL;
}

/* Slots of all tokens at MoE layer l, and xb, by launches of each set. list: of the only set's only
 * sequence, who is routed at once, or none. */
static enum status route(struct forward *f, int l, bool is_at_once, struct worklist list,
                         struct error *err)
{
    const struct forward_model *m = &f->m;
    const struct forward_layer *w = forward_moe_layer(f, l);

    for (int i = 0; i < f->key.n_sets; i++) {
        const struct router_call call = { .route = f->calls[l * m->max_seqs + i],
                                          .max_tok = f->sets[i].max_tok,
                                          .score = m->score,
                                          .x = m->x,
                                          .norm_w = w->norm_ffn->dev_rows,
                                          .eps = m->rms_eps,
                                          .d = m->d_model,
                                          .router_packed = w->router->dev_router,
                                          .ret_h = f->xb,
                                          .is_placed = is_placed(f, w),
                                          .leaves_count = counted_late(f, l) != NULL,
                                          .ret_scores = is_at_once ? NULL : m->scores,
                                          .list = list,
                                          .n_shared = w->experts->n_shared };

        if (is_at_once)
            CUDA_TRY(f->c, router_launch(&call, true, f->c->stream), err);
        else
            CUDA_TRY(f->c, router_many_launch(&call, f->c->stream), err);
    }
    return ST_OK;
}

/* xb = norm(x), and m->h if a router reads it. */
static cudaError_t norm_ffn(const struct forward *f, const struct forward_layer *w)
{
    const struct fused_norm norm = { .x = f->m.x,
                                     .w = w->norm_ffn->dev_rows,
                                     .eps = f->m.rms_eps,
                                     .n_rows = f->key.n_tok,
                                     .d = f->m.d_model,
                                     .ret_h = w->router ? f->m.h : NULL,
                                     .ret_bf16 = f->xb,
                                     .ld = f->ld_x };

    return fused_norm_launch(&norm, f->c->stream);
}

/* The same by the ops' kernels. */
static enum status route_by_ops(struct forward *f, int l, struct error *err)
{
    const struct forward_model *m = &f->m;
    const struct forward_layer *w = forward_moe_layer(f, l);
    const struct forward_key *k = &f->key;
    struct cuda *c = f->c;
    enum status st;

    CUDA_TRY(c, norm_ffn(f, w), err);
    st = cuda_router(&c->base, m->h, w->router, k->n_tok, m->score, m->scores,
                     k->has_logits ? m->router_logits : NULL, err);
    if (!st && k->has_importance)
        st = cuda_l1_norm(&c->base, m->h, k->n_tok, m->d_model, m->importance, err);
    if (st)
        return st;
    for (int i = 0; i < k->n_sets; i++)
        CUDA_TRY(c, route_launch(&f->calls[l * m->max_seqs + i], c->stream), err);
    return ST_OK;
}

/* Do the experts of layer l take the norm of the next one along? */
static bool takes_norm(const struct forward *f, int l)
{
    const int n_tok = f->key.n_tok, n_last = n_tok % FORWARD_MOE_TOKENS;

    return l + 1 < f->m.n_layer && is_tiled(f, n_tok) &&
           moe_can_norm(&f->layers[l].experts->packed, n_last ? n_last : FORWARD_MOE_TOKENS);
}

/* The list of a dense layer of n_tok few tokens. */
static struct worklist dense_list(const struct forward *f, const struct moe_weights *w, int n_tok)
{
    return worklist_place(f->dense_lists + (size_t)(n_tok - 1) * f->dense_list_bytes, n_tok,
                          w->n_exp, w->n_exp);
}

/* x += experts(xb) of layer l; of few tokens their sum is left to the norm that follows. has_list:
 * f->list is that of all tokens; else it is made here, of the slots of routed experts where there
 * are any. */
static enum status run_experts(struct forward *f, int l, bool has_list, struct moe_sum *ret_left,
                               struct error *err)
{
    const struct forward_model *m = &f->m;
    const struct experts *e = f->layers[l].experts;
    const struct forward_key *k = &f->key;
    const int n_routed = e->n_exp ? k->stride : 0;
    const bool is_for_few = k->has_gaps && l + 1 == m->n_layer; /* nobody reads the others' rows */
    struct cuda *c = f->c;

    for (int t = 0; t < k->n_tok; t += FORWARD_MOE_TOKENS) {
        const size_t row = (size_t)t, slot = row * (size_t)n_routed;
        const size_t at = row * (size_t)m->d_model;
        struct moe_args a = { .n_tok = k->n_tok - t,
                              .is_fast = c->is_fast,
                              .x = f->xb + row * (size_t)f->ld_x,
                              .is_placed = is_placed(f, &f->layers[l]),
                              .residual = m->x + at,
                              .y = m->x + at,
                              .is_left = k->n_tok <= MOE_FEW_TOKENS };

        if (a.n_tok > FORWARD_MOE_TOKENS)
            a.n_tok = FORWARD_MOE_TOKENS;
        a.weights = cuda_experts_run(c, e, a.n_tok);
        a.top_k = n_routed + a.weights.n_exp - e->n_exp;
        a.is_list_old = !e->n_exp && a.is_left;
        if (takes_norm(f, l))
            a.norm = (struct moe_norm){ .w = f->layers[l + 1].norm_in->dev_rows,
                                        .eps = m->rms_eps,
                                        .tiled = f->tiled,
                                        .first = t,
                                        .n_rows = k->n_tok };
        moe_work_place(f->moe.dev, a.n_tok, a.top_k, &a.weights, &a.work);
        a.work.ready = e->dev_ready;
        a.list = a.is_list_old ? dense_list(f, &a.weights, a.n_tok)
                               : worklist_place(f->list.dev, a.n_tok, a.top_k, a.weights.n_exp);
        if (!has_list && !a.is_list_old)
            CUDA_TRY(c,
                     worklist_launch(
                         m->route_ids + slot, m->route_w + slot, is_for_few ? f->wanted + t : NULL,
                         a.n_tok, n_routed, e->n_exp, a.weights.n_exp - e->n_exp, a.list,
                         t == 0 ? counted_late(f, l - (m->n_layer - m->n_moe_layer)) : NULL,
                         c->stream),
                     err);
        MARK(f, e->n_exp ? PROFILE_ROUTE : PROFILE_MOE, l, err);
        CUDA_TRY(c, moe_launch(&a, true, c->stream), err);
        if (a.is_left)
            *ret_left = moe_left(&a);
        MARK(f, PROFILE_MOE, l, err);
    }
    return ST_OK;
}

/* x += what the layer's experts make of norm(x), or what is left of that. */
static enum status run_ffn(struct forward *f, int l, struct moe_sum *ret_left, struct error *err)
{
    const struct forward_layer *w = &f->layers[l];
    const struct experts *e = w->experts;
    const struct forward_key *k = &f->key;
    const int moe_layer = l - (f->m.n_layer - f->m.n_moe_layer);
    const bool is_at_once = w->router && is_routed_at_once(f);
    const bool has_list = is_at_once && k->n_seqs == 1;
    struct worklist list = { 0 };
    enum status st = ST_OK;

    if (has_list)
        list =
            worklist_place(f->list.dev, k->n_tok, k->stride + e->n_shared, e->n_exp + e->n_shared);
    if (!w->router) {
        CUDA_TRY(f->c, norm_ffn(f, w), err);
    } else if (is_at_once || is_routed_by_rows(f)) {
        st = route(f, moe_layer, is_at_once, list, err);
    } else {
        st = route_by_ops(f, moe_layer, err);
    }
    return st ? st : run_experts(f, l, has_list, ret_left, err);
}

/* Rows to where the products that follow look for them. */
static enum status normalise(struct forward *f, struct fused_norm *norm, struct error *err)
{
    bool tiled = is_tiled(f, norm->n_rows);

    norm->ret_bf16 = tiled ? NULL : f->xb;
    norm->ret_tiled = tiled ? f->tiled : NULL;
    CUDA_TRY(f->c, fused_norm_launch(norm, f->c->stream), err);
    return ST_OK;
}

static enum status enqueue(struct forward *f, struct error *err)
{
    const struct forward_model *m = &f->m;
    struct fused_norm norm = { .table = m->embed->dev_rows,
                               .ids = f->ids,
                               .x = m->x,
                               .ret_x = m->x,
                               .w = f->layers[0].norm_in->dev_rows,
                               .eps = m->rms_eps,
                               .n_rows = f->key.n_tok,
                               .d = m->d_model,
                               .ld = f->ld_x };
    const struct gemm_args head = {
        .parts = { { f->packed_head, (float *)f->key.logits, m->n_vocab } },
        .n_parts = 1,
        .cols = m->d_model,
        .x = f->xb,
        .n_tok = f->key.n_rows,
    };
    struct cuda *c = f->c;
    enum status st = ST_OK;

    CUDA_TRY(c, mailbox_fetch(f->host_meta, f->meta.dev, f->meta_bytes, c->stream), err);
    if (f->profile)
        st = profile_begin(f->profile, err);
    if (!st)
        st = normalise(f, &norm, err);
    if (st)
        return st;
    MARK(f, PROFILE_EMBED, -1, err);
    norm.table = NULL;
    for (int l = 0; l < m->n_layer; l++) {
        trace_push("layer", l);
        st = run_attention(f, l, err);
        if (!st)
            st = run_ffn(f, l, &norm.sum, err);
        trace_pop();
        if (st)
            return st;
        if (takes_norm(f, l))
            continue;
        norm.ret_x = norm.sum.results && l + 1 < m->n_layer ? m->x : NULL;
        norm.w = (l + 1 < m->n_layer ? f->layers[l + 1].norm_in : m->norm_out)->dev_rows;
        if (l + 1 == m->n_layer) {
            norm.rows = f->rows;
            norm.n_rows = f->key.n_rows;
        }
        st = normalise(f, &norm, err);
        if (st)
            return st;
        if (l + 1 < m->n_layer)
            MARK(f, PROFILE_NORM, l + 1, err);
    }
    st = f->key.is_picked ? propose(f, &head, err) : multiply(f, &head, err);
    if (!st)
        st = profile_mark(f->profile, PROFILE_HEAD, -1, err);
    if (st)
        return st;
    if (!f->is_posted) {
        const struct mailbox_delivery all = delivery(f, f->result_bytes);

        CUDA_TRY(c, mailbox_deliver(&all, c->stream), err);
    }
    return ST_OK;
}

/* ---- graphs ------------------------------------------------------------------------------ */

static bool is_of_call(const struct forward *f, const struct forward_graph *g)
{
    return g->last_used && memcmp(&g->key, &f->key, sizeof(f->key)) == 0 &&
           forward_same_sets(g->sets, f->sets, f->key.n_sets);
}

/* The graph of the call's key, or the one that was not used for longest, to become it. */
static struct forward_graph *find_graph(struct forward *f)
{
    struct forward_graph *oldest = &f->graphs[0];

    for (int i = 0; i < FORWARD_GRAPHS; i++) {
        if (is_of_call(f, &f->graphs[i]))
            return &f->graphs[i];
        if (f->graphs[i].last_used < oldest->last_used)
            oldest = &f->graphs[i];
    }
    return oldest;
}

static enum status record(struct forward *f, struct forward_graph *g, struct error *err)
{
    struct cuda *c = f->c;
    cudaGraph_t graph = NULL;
    cudaError_t rc;
    enum status st;

    CUDA_TRY(c, cudaStreamBeginCapture(c->stream, cudaStreamCaptureModeThreadLocal), err);
    st = enqueue(f, err);
    rc = cudaStreamEndCapture(c->stream, &graph);
    if (!st && rc == cudaSuccess)
        rc = cudaGraphInstantiate(&g->exec, graph, 0);
    if (graph)
        (void)cudaGraphDestroy(graph);
    return !st && rc != cudaSuccess ? cuda_fail(c, rc, "recording a forward", err) : st;
}

/* The call's key for the first time: enqueue its kernels, which also lets ops take the scratch they
 * need, and remember it. */
static enum status run_first(struct forward *f, struct forward_graph *g, struct error *err)
{
    struct cuda *c = f->c;
    enum status st;

    if (g->exec)
        CUDA_TRY(c, cudaGraphExecDestroy(g->exec), err);
    g->exec = NULL;
    g->last_used = 0;
    st = enqueue(f, err);
    if (st)
        return st;
    f->key.scratch = c->scratch.dev;
    g->key = f->key;
    memcpy(g->sets, f->sets, (size_t)f->key.n_sets * sizeof(*f->sets));
    g->last_used = ++f->n_calls;
    return ST_OK;
}

/* For the second time: enqueue them again, and record them while they run. */
static enum status run_second(struct forward *f, struct forward_graph *g, struct error *err)
{
    struct cuda *c = f->c;
    enum status st = enqueue(f, err);

    if (!st)
        st = record(f, g, err);
    if (st)
        return st;
    CUDA_TRY(c, cudaGraphUpload(g->exec, c->stream), err);
    return ST_OK;
}

/* The kernels of a call that was run before, with marks between them. */
static enum status run_timed(struct forward *f, struct error *err)
{
    struct cuda *c = f->c;
    enum status st;

    if (f->timed.exec)
        CUDA_TRY(c, cudaGraphExecDestroy(f->timed.exec), err);
    f->timed.exec = NULL;
    st = record(f, &f->timed, err);
    if (st)
        return st;
    CUDA_TRY(c, cudaGraphLaunch(f->timed.exec, c->stream), err);
    return ST_OK;
}

static enum status run(struct forward *f, struct error *err)
{
    struct cuda *c = f->c;
    struct forward_graph *g;

    if (f->key.n_tok > FORWARD_GRAPH_TOKENS)
        return enqueue(f, err);
    if (f->profile)
        return run_timed(f, err);
    f->key.scratch = c->scratch.dev;
    g = find_graph(f);
    if (!is_of_call(f, g))
        return run_first(f, g, err);
    g->last_used = ++f->n_calls;
    if (!g->exec)
        return run_second(f, g, err);
    CUDA_TRY(c, cudaGraphLaunch(g->exec, c->stream), err);
    return ST_OK;
}

enum status cuda_forward(struct kernels *k, struct forward *f, const struct forward_call *call,
                         struct error *err)
{
    enum status st = forward_prepare(f, call, err);

    f->profile = call->profile;
    if (st)
        return st;
    st = run(f, err);
    if (!st && f->profile) /* marks, too */
        st = cuda_sync(k, err);
    return st ? st : forward_take(f, call, err);
}

/* ---- lifecycle --------------------------------------------------------------------------- */

static bool is_bf16(const struct weight *w)
{
    return w->dtype == DT_BF16;
}

/* Only what the kernels take: bf16 throughout (vectors are f32 on the device anyway). */
static bool can_take(const struct forward_model *m)
{
    bool can = is_bf16(m->embed) && is_bf16(m->head) && m->d_head <= ATTN_MAX_D_HEAD &&
               m->d_model <= FUSED_MAX_WIDTH;

    for (int l = 0; l < m->n_layer && can; l++) {
        const struct forward_layer *w = &m->layers[l];

        can = is_bf16(w->q) && is_bf16(w->k) && is_bf16(w->v) && is_bf16(w->o) &&
              (!w->router || is_bf16(w->router)) && w->experts->dtype == DT_BF16;
    }
    return can;
}

static enum status prepare_weights(struct forward *f, struct error *err)
{
    const void *rows = NULL;
    enum status st = cuda_weight_rows(f->m.embed, &rows, err);

    for (int l = 0; l < f->m.n_layer && !st; l++) {
        const struct forward_layer *w = &f->layers[l];
        struct weight *const list[] = { w->q, w->k, w->v, w->o };

        if (w->router)
            st = cuda_weight_router(f->c, w->router, err);
        for (int i = 0; i < 4 && !st; i++)
            st = cuda_weight_packed(f->c, list[i], &f->packed[4 * l + i], err);
    }
    return st ? st : cuda_weight_packed(f->c, f->m.head, &f->packed_head, err);
}

/* Lists of a dense layer, should there be one. */
static enum status make_dense_lists(struct forward *f, struct error *err)
{
    const struct experts *e = f->layers[0].experts; /* dense layers come first */
    const struct moe_weights w = cuda_experts_run(f->c, e, MOE_FEW_TOKENS);
    struct cuda *c = f->c;
    void *lists = NULL;
    enum status st;

    if (e->n_exp)
        return ST_OK;
    f->dense_list_bytes = (worklist_bytes(MOE_FEW_TOKENS, w.n_exp, w.n_exp) + 15) / 16 * 16;
    st = cuda_malloc(c, MOE_FEW_TOKENS * f->dense_list_bytes, &lists, err);
    f->dense_lists = lists;
    for (int n = 1; !st && n <= MOE_FEW_TOKENS; n++)
        CUDA_TRY(c,
                 worklist_launch(NULL, NULL, NULL, n, 0, 0, w.n_exp, dense_list(f, &w, n), NULL,
                                 c->stream),
                 err);
    return st;
}

static enum status make_buffers(struct forward *f, struct error *err)
{
    const struct forward_model *m = &f->m;
    struct cuda *c = f->c;
    size_t n_turns = (size_t)m->max_position * (size_t)(m->d_rot / 2) * 2;
    size_t yb_bytes = gemm_rounded_bytes(m->max_tok, m->n_head * m->d_head);
    void *turns = NULL, *xb = NULL, *yb = NULL, *delivered = NULL, *done = NULL;
    enum status st;

    f->ld_x = (int)pack_row_elems(m->d_model);
    f->ld_y = (int)pack_row_elems(m->n_head * m->d_head);
    st = cuda_malloc(c, n_turns * sizeof(float), &turns, err);
    f->turns = turns;
    if (!st)
        st = cuda_malloc(c, sizeof(*f->delivered), &delivered, err);
    f->delivered = delivered;
    if (!st)
        st = cuda_malloc(c, gemm_rounded_bytes(m->max_tok, m->d_model), &xb, err);
    f->xb = xb;
    if (!st)
        st = cuda_malloc(c, yb_bytes, &yb, err);
    f->yb = yb;
    if (!st)
        st = cuda_malloc(c, gemm_pick_bytes(m->n_vocab), &f->pick_work, err);
    if (!st && c->is_fast)
        st = cuda_malloc(c, gemm_fast_pick_bytes(m->max_rows), &f->fast_pick_work, err);
    if (!st && c->is_fast)
        st =
            cuda_malloc(c, gemm_fast_tiled_bytes(m->max_tok, f->ld_x > f->ld_y ? f->ld_x : f->ld_y),
                        &f->tiled, err);
    if (!st)
        st = make_dense_lists(f, err);
    if (st)
        return st;
    if (cudaMallocHost(&done, sizeof(*f->host_done)) != cudaSuccess) {
        (void)cudaGetLastError();
        return error_set(err, ST_NOMEM, "out of memory: %zu bytes that a GPU can write",
                         sizeof(*f->host_done));
    }
    f->host_done = done;
    atomic_init(f->host_done, 0);
    CUDA_TRY(c, cudaMemsetAsync(f->delivered, 0, sizeof(*f->delivered), c->stream), err);
    CUDA_TRY(c, cudaMemsetAsync(f->pick_work, 0, gemm_pick_bytes(m->n_vocab), c->stream), err);
    /* attention leaves what is beyond its columns as it is */
    CUDA_TRY(c, cudaMemsetAsync(yb, 0, yb_bytes, c->stream), err);
    CUDA_TRY(c, fused_turns_launch(m->max_position, m->d_rot, m->rope_theta, f->turns, c->stream),
             err);
    return cuda_sync(&c->base, err);
}

static enum status make_lists(struct forward *f, const struct forward_model *m, struct error *err)
{
    size_t n_layer = (size_t)m->n_layer, n_seqs = (size_t)m->max_seqs, n_calls = 0;
    bool is_ok = size_mul(n_layer, n_seqs, &n_calls);

    f->layers = calloc(n_layer, sizeof(*f->layers));
    f->packed = calloc(n_layer, 4 * sizeof(*f->packed));
    f->sets = calloc(n_seqs, sizeof(*f->sets));
    f->set_of = calloc(n_seqs, sizeof(*f->set_of));
    f->segs = calloc(n_seqs, sizeof(*f->segs));
    f->calls = calloc(n_calls, sizeof(*f->calls));
    is_ok = is_ok && f->layers && f->packed && f->sets && f->set_of && f->segs && f->calls;
    for (int i = 0; i < FORWARD_GRAPHS; i++) {
        f->graphs[i].sets = calloc(n_seqs, sizeof(*f->sets));
        is_ok = is_ok && f->graphs[i].sets;
    }
    if (!is_ok)
        return error_set(err, ST_NOMEM, "out of memory preparing a forward pass");
    memcpy(f->layers, m->layers, n_layer * sizeof(*f->layers));
    f->m.layers = f->layers;
    return ST_OK;
}

enum status cuda_forward_new(struct kernels *k, const struct forward_model *m, struct forward **ret,
                             struct error *err)
{
    struct cuda *c = (struct cuda *)k;
    struct forward *f;
    enum status st;

    *ret = NULL;
    if (!can_take(m))
        return ST_OK;
    f = calloc(1, sizeof(*f));
    if (!f)
        return error_set(err, ST_NOMEM, "out of memory preparing a forward pass");
    f->c = c;
    f->m = *m;
    st = make_lists(f, m, err);
    if (!st)
        st = prepare_weights(f, err);
    if (!st)
        st = make_buffers(f, err);
    if (st) {
        cuda_forwards_free(f);
        return st;
    }
    f->next = c->forwards;
    c->forwards = f;
    *ret = f;
    return ST_OK;
}

void cuda_forwards_free(struct forward *list)
{
    while (list) {
        struct forward *f = list;
        void *const dev[] = {
            f->meta.dev,       f->results.dev, f->work.dev,   f->moe.dev, f->list.dev,
            f->turns,          f->xb,          f->yb,         f->tiled,   f->pick_work,
            f->fast_pick_work, f->delivered,   f->dense_lists
        };

        list = f->next;
        if (f->timed.exec)
            (void)cudaGraphExecDestroy(f->timed.exec);
        for (int i = 0; i < FORWARD_GRAPHS; i++) {
            if (f->graphs[i].exec)
                (void)cudaGraphExecDestroy(f->graphs[i].exec);
            free(f->graphs[i].sets);
        }
        for (size_t i = 0; i < sizeof(dev) / sizeof(dev[0]); i++)
            (void)cudaFree(dev[i]);
        (void)cudaFreeHost(f->host_meta);
        (void)cudaFreeHost(f->host_results);
        (void)cudaFreeHost((void *)f->host_done);
        free(f->layers);
        free(f->packed);
        free(f->sets);
        free(f->set_of);
        free(f->segs);
        free(f->calls);
        free(f);
    }
}
