/* What a call of a forward pass needs, laid out for the device: kernels/cuda/forward_impl.h. */
#include <stdatomic.h>
#include <string.h>

#include "base/size.h"
#include "kernels/cuda/forward_impl.h"
#include "kernels/cuda/pack.h"

/* ---- memory ------------------------------------------------------------------------------ */

static enum status room_reserve(struct cuda *c, struct forward_room *r, size_t bytes,
                                struct error *err)
{
    size_t cap = r->cap ? r->cap : 1 << 12;
    void *p = NULL;
    enum status st;

    if (bytes <= r->cap)
        return ST_OK;
    while (cap < bytes)
        if (!size_mul(cap, 2, &cap))
            return error_set(err, ST_NOMEM, "out of memory: %zu bytes of a GPU", bytes);
    CUDA_TRY(c, cudaStreamSynchronize(c->stream), err);
    CUDA_TRY(c, cudaFree(r->dev), err);
    *r = (struct forward_room){ NULL, 0 };
    st = cuda_malloc(c, cap, &p, err);
    if (st)
        return st;
    *r = (struct forward_room){ p, cap };
    CUDA_TRY(c, cudaMemsetAsync(p, 0, cap, c->stream), err);
    return ST_OK;
}

/* The same with pinned memory beside it. */
static enum status room_reserve_both(struct cuda *c, struct forward_room *r, char **host,
                                     size_t bytes, struct error *err)
{
    size_t before = r->cap;
    enum status st = room_reserve(c, r, bytes, err);
    void *p = NULL;

    if (st || (r->cap == before && *host))
        return st;
    CUDA_TRY(c, cudaFreeHost(*host), err);
    *host = NULL;
    if (cudaMallocHost(&p, r->cap) != cudaSuccess) {
        (void)cudaGetLastError();
        return error_set(err, ST_NOMEM, "out of memory: %zu bytes that a GPU can read", r->cap);
    }
    *host = p;
    return ST_OK;
}

/* A place of count elements at *at of a block, aligned to 256 bytes; moves *at behind it. Sizes are
 * those of buffers that exist already, or a few of them. */
static size_t take(size_t *at, size_t count, size_t size)
{
    size_t here = *at;

    *at = (here + count * size + 255) / 256 * 256;
    return here;
}

/* At least what the experts of any layer work in for n_tok tokens, and the bytes of their list. */
static void measure_experts(const struct forward *f, int n_tok, size_t *work, size_t *list)
{
    const struct experts *first = f->layers[0].experts, *last = f->layers[f->m.n_layer - 1].experts;

    /* layers of a kind are alike: dense ones come first */
    for (const struct experts *e = first; e; e = e == last ? NULL : last) {
        const struct moe_weights w = cuda_experts_run(f->c, e, n_tok);
        const int n_slots = (e->n_exp ? f->key.stride : 0) + w.n_exp - e->n_exp;
        const size_t n_work = moe_work_place(NULL, n_tok, n_slots, &w, NULL);
        const size_t n_list = worklist_bytes(n_tok, n_slots, w.n_exp);

        *work = n_work > *work ? n_work : *work;
        *list = n_list > *list ? n_list : *list;
    }
}

/* ---- sets -------------------------------------------------------------------------------- */

static bool same_params(const struct route_params *a, const struct route_params *b)
{
    return a->n_exp == b->n_exp && a->top_k == b->top_k && a->top_k_base == b->top_k_base &&
           a->renorm == b->renorm && a->scale == b->scale && a->n_group == b->n_group &&
           a->topk_group == b->topk_group && a->keep == b->keep && a->keep_p == b->keep_p &&
           a->is_keep_p_of_top_k == b->is_keep_p_of_top_k && a->tail == b->tail &&
           a->protect == b->protect && a->size == b->size && a->warm == b->warm &&
           a->n_core == b->n_core && a->core_p == b->core_p && a->floor == b->floor &&
           a->elect == b->elect && a->vote == b->vote && a->mask == b->mask &&
           a->is_mask_ungrouped == b->is_mask_ungrouped && a->is_vote_normed == b->is_vote_normed &&
           a->is_joint == b->is_joint && a->is_lagged == b->is_lagged &&
           a->is_truncated == b->is_truncated && a->inside == b->inside &&
           a->is_guard_drop == b->is_guard_drop && a->is_renormed == b->is_renormed;
}

bool forward_same_sets(const struct forward_set *a, const struct forward_set *b, int n)
{
    for (int i = 0; i < n; i++)
        if (!same_params(&a[i].p, &b[i].p) || a[i].n_seqs != b[i].n_seqs ||
            a[i].n_tok != b[i].n_tok || a[i].n_groups != b[i].n_groups ||
            a[i].max_tok != b[i].max_tok || a[i].has_plain != b[i].has_plain)
            return false;
    return true;
}

/* Can a sequence be routed by the set's call? Either all share coresets, or none does. */
static bool fits_set(const struct forward_set *set, const struct forward_seq *s)
{
    if (set->joint != s->joint || (s->route->is_joint && !s->joint))
        return false;
    return same_params(&set->p, s->route) &&
           (s->route->elect != ELECT_STATIC || set->popularity == s->popularity);
}

static void make_sets(struct forward *f, const struct forward_call *call)
{
    struct forward_key *k = &f->key;

    k->n_sets = 0;
    for (int i = 0; i < call->n_seqs; i++) {
        const struct forward_seq *s = &call->seqs[i];
        int set = 0;

        while (set < k->n_sets && !fits_set(&f->sets[set], s))
            set++;
        if (set == k->n_sets)
            f->sets[k->n_sets++] = (struct forward_set){ .p = *s->route,
                                                         .popularity = s->popularity,
                                                         .joint = s->joint };
        f->set_of[i] = set;
        f->sets[set].n_seqs++;
        if (s->n_tok > f->sets[set].max_tok)
            f->sets[set].max_tok = s->n_tok;
        if (s->n_plain)
            f->sets[set].has_plain = true;
    }
}

/* The segments that set number `set` routes at MoE layer l, in f->segs; returns how many. */
static int set_segments(struct forward *f, const struct forward_call *call, int set, int l)
{
    int n = 0;

    for (int i = 0; i < call->n_seqs; i++)
        if (f->set_of[i] == set)
            f->segs[n++] = call->routing[(size_t)l * (size_t)call->n_seqs + (size_t)i];
    return n;
}

/* ---- sizes ------------------------------------------------------------------------------- */

/* Keys count as a power of two, or as a multiple of KEYS_STEP, so that a growing cache does not
 * make a graph a step. */
static int kv_bucket(int n_kv)
{
    enum { KEYS_STEP = 8 * ATTN_KEYS };
    int n = ATTN_KEYS;

    if (n_kv > KEYS_STEP)
        return n_kv > INT32_MAX - KEYS_STEP ? n_kv : (n_kv + KEYS_STEP - 1) / KEYS_STEP * KEYS_STEP;
    while (n < n_kv)
        n *= 2;
    return n;
}

/* Few rows that get logits count as a multiple of 8, so that a graph serves several steps of a
 * block; the head takes as long. */
static int row_bucket(const struct forward_model *m, int n_rows)
{
    const int n = (n_rows + 7) / 8 * 8;

    return n_rows > 64 || n > m->max_rows || n > m->max_tok ? n_rows : n;
}

/* Does row t of the logits of a sequence go through the head? Left out where the number of rows
 * makes no other graph. */
static bool is_wanted(const struct forward_key *k, const struct forward_seq *s, int t)
{
    return !k->has_gaps || !s->pick->is_wanted || s->pick->is_wanted[t];
}

/* Rows of logits that go through the head. */
static int count_rows(const struct forward_key *k, const struct forward_call *call)
{
    int n = 0;

    for (int i = 0; i < call->n_seqs; i++)
        for (int t = 0; t < call->seqs[i].n_logits; t++)
            n += is_wanted(k, &call->seqs[i], t);
    return n;
}

static void measure_call(struct forward *f, const struct forward_call *call)
{
    struct forward_key *k = &f->key;

    memset(k, 0, sizeof(*k));
    k->n_tok = call->n_tok;
    k->n_seqs = call->n_seqs;
    k->logits = call->logits;
    k->bias = call->bias ? call->bias->dev_rows : NULL;
    for (int i = 0; i < call->n_seqs; i++) {
        const struct forward_seq *s = &call->seqs[i];
        const int slots = s->n_plain && s->route->top_k_base > s->route->top_k
                              ? s->route->top_k_base
                              : s->route->top_k;

        k->max_tok = s->n_tok > k->max_tok ? s->n_tok : k->max_tok;
        k->max_kv = s->n_kv > k->max_kv ? s->n_kv : k->max_kv;
        k->stride = slots > k->stride ? slots : k->stride;
        k->has_logits = k->has_logits || s->route->vote == VOTE_LOGIT;
        k->has_importance = k->has_importance || s->route->protect > 0;
    }
    k->max_kv = kv_bucket(k->max_kv);
    k->is_picked = true;
    for (int i = 0; i < call->n_seqs; i++)
        k->is_picked = k->is_picked && (call->seqs[i].pick || !call->seqs[i].n_logits);
    k->has_gaps = k->is_picked && k->n_tok > FORWARD_GRAPH_TOKENS;
    k->n_rows = count_rows(k, call);
    if (!k->n_rows && k->has_gaps) { /* of none wanted, all: who gets no proposals gets logits */
        k->has_gaps = false;
        k->n_rows = count_rows(k, call);
    }
    k->n_rows = row_bucket(&f->m, k->n_rows);
    k->is_picked = k->is_picked && k->n_rows;
    make_sets(f, call);
}

/* Bytes of a layer's routing: arguments and results of all sets, working space of the largest. */
static void measure_routing(struct forward *f, const struct forward_call *call,
                            struct route_call_size *ret)
{
    *ret = (struct route_call_size){ 0 };
    for (int i = 0; i < f->key.n_sets; i++) {
        struct forward_set *s = &f->sets[i];
        struct route_call_size size = { 0 };
        int n = set_segments(f, call, i, 0);

        s->n_groups = route_call_groups(f->segs, n, &s->n_tok);
        route_call_measure(&s->p, s->n_tok, n, s->n_groups, &size);
        s->args = (size.args + 255) / 256 * 256;
        s->own = size.own;
        s->results = (size.results + 255) / 256 * 256;
        ret->args += s->args;
        ret->own += s->own;
        ret->results += s->results;
        ret->work = size.work > ret->work ? size.work : ret->work;
    }
}

struct attention_args forward_attention(const struct forward *f)
{
    return (struct attention_args){
        .q = f->m.q,
        .positions = f->positions,
        .segs = f->attn,
        .n_segs = f->key.n_seqs,
        .n_head = f->m.n_head,
        .n_kv_head = f->m.n_kv_head,
        .d_head = f->m.d_head,
        .max_tok = f->key.max_tok,
        .max_kv = f->key.max_kv,
        .y_bf16 = f->yb,
        .ld = f->ld_y,
    };
}

/* ---- the meta block ---------------------------------------------------------------------- */

/* Where its parts lie, and its size. */
struct meta {
    size_t number, ids, positions, seqs, rows, wanted, pick_rows, attn, routing, own, bytes;
};

/* Tokens, their places and who looks at which cache. */
static void fill_meta(struct forward *f, const struct forward_call *call, const struct meta *at)
{
    const size_t n_tok = (size_t)call->n_tok;
    char *host = f->host_meta, *dev = f->meta.dev;
    struct attn_segment *attn = (struct attn_segment *)(void *)(host + at->attn);
    int32_t *seqs = (int32_t *)(void *)(host + at->seqs);
    int32_t *rows = (int32_t *)(void *)(host + at->rows);
    struct gemm_pick_row *picks = (struct gemm_pick_row *)(void *)(host + at->pick_rows);
    int row = 0;

    memcpy(host + at->number, &f->number, sizeof(f->number));
    if (f->key.has_gaps)
        memset(host + at->wanted, 0, n_tok);
    memcpy(host + at->ids, call->ids, n_tok * sizeof(int32_t));
    memcpy(host + at->positions, call->positions, n_tok * sizeof(int32_t));
    for (int i = 0; i < call->n_seqs; i++) {
        const struct forward_seq *s = &call->seqs[i];

        attn[i] = (struct attn_segment){ .row = s->row,
                                         .n_tok = s->n_tok,
                                         .keys = s->keys,
                                         .values = s->values,
                                         .n_kv = s->n_kv,
                                         .mask_block = s->mask_block };
        for (int t = 0; t < s->n_tok; t++)
            seqs[s->row + t] = i;
        for (int t = 0; t < s->n_logits; t++) {
            if (!is_wanted(&f->key, s, t))
                continue;
            rows[row] = s->row + s->logits_row + t;
            if (f->key.has_gaps)
                host[at->wanted + (size_t)rows[row]] = 1;
            if (f->key.is_picked)
                picks[row] = (struct gemm_pick_row){ .temperature = s->pick->temperature,
                                                     .seed = s->pick->seed,
                                                     .draw = s->pick->draw,
                                                     .position = s->pick->positions[t],
                                                     .mask_id = s->pick->mask_id,
                                                     .banned_id = s->pick->banned_id };
            row++;
        }
    }
    for (; row > 0 && row < f->key.n_rows; row++) { /* the last one again, for nobody */
        rows[row] = rows[row - 1];
        if (f->key.is_picked)
            picks[row] = picks[row - 1];
    }
    f->ids = (const int32_t *)(void *)(dev + at->ids);
    f->positions = (const int32_t *)(void *)(dev + at->positions);
    f->seqs = (const int32_t *)(void *)(dev + at->seqs);
    f->rows = (const int32_t *)(void *)(dev + at->rows);
    f->wanted = (const uint8_t *)(dev + at->wanted);
    f->pick_rows = (const struct gemm_pick_row *)(void *)(dev + at->pick_rows);
    f->attn = (const struct attn_segment *)(void *)(dev + at->attn);
}

/* The routing of one MoE layer and set: arguments of the first layer's lie at `in` of meta, a later
 * one's own at `own`; the first layer's results at `out`; `size` is a layer's. */
static void plan_routing(struct forward *f, const struct forward_call *call, int l, int set,
                         size_t in, size_t own, size_t out, const struct route_call_size *size)
{
    const struct forward_set *s = &f->sets[set];
    struct route_call *r = &f->calls[l * f->m.max_seqs + set];
    const double *popularity =
        s->popularity ? s->popularity + (size_t)l * (size_t)f->m.n_exp : NULL;
    int n = set_segments(f, call, set, l);

    if (l)
        route_call_repeat(&f->calls[set], f->segs, popularity, f->host_meta + in,
                          f->host_meta + own, s->own, (size_t)l * size->results, r);
    else
        route_call_plan(&s->p, f->segs, n, popularity, f->host_meta + in, (char *)f->meta.dev + in,
                        (char *)f->results.dev + out, f->work.dev, r);
    r->scores = f->m.scores;
    r->logits = f->m.router_logits;
    r->importance = f->m.importance;
    route_call_set_bias(r, call->bias ? call->bias : forward_moe_layer(f, l)->router_bias);
    r->out = (struct route_output){ f->m.route_ids, f->m.route_w, f->key.stride };
}

static enum status make_room(struct forward *f, size_t work, struct error *err)
{
    struct forward_key *k = &f->key;
    size_t moe = 0, list = 0;
    struct cuda *c = f->c;
    enum status st;

    if (k->n_tok >= FORWARD_MOE_TOKENS)
        measure_experts(f, FORWARD_MOE_TOKENS, &moe, &list);
    measure_experts(f, k->n_tok % FORWARD_MOE_TOKENS, &moe, &list);
    st = room_reserve_both(c, &f->meta, &f->host_meta, f->meta_bytes, err);
    if (!st)
        st = room_reserve_both(c, &f->results, &f->host_results, f->result_bytes, err);
    if (!st)
        st = room_reserve(c, &f->work, work, err);
    if (!st)
        st = room_reserve(c, &f->moe, moe, err);
    if (!st)
        st = room_reserve(c, &f->list, list, err);
    k->host_meta = f->host_meta;
    k->host_results = f->host_results;
    k->meta = f->meta.dev;
    k->results = f->results.dev;
    k->work = f->work.dev;
    k->moe = f->moe.dev;
    k->list = f->list.dev;
    return st;
}

enum status forward_prepare(struct forward *f, const struct forward_call *call, struct error *err)
{
    const size_t n_tok = (size_t)call->n_tok, n_layer = (size_t)f->m.n_moe_layer;
    struct forward_key *k = &f->key;
    struct route_call_size size;
    struct meta at = { 0 };
    enum status st;

    measure_call(f, call);
    measure_routing(f, call, &size);
    f->number += f->number == UINT32_MAX ? 2 : 1; /* never 0 */
    at.number = take(&at.bytes, 1, sizeof(f->number));
    at.ids = take(&at.bytes, n_tok, sizeof(int32_t));
    at.positions = take(&at.bytes, n_tok, sizeof(int32_t));
    at.seqs = take(&at.bytes, n_tok, sizeof(int32_t));
    at.rows = take(&at.bytes, (size_t)k->n_rows, sizeof(int32_t));
    at.wanted = take(&at.bytes, k->has_gaps ? n_tok : 0, 1);
    at.pick_rows =
        take(&at.bytes, k->is_picked ? (size_t)k->n_rows : 0, sizeof(struct gemm_pick_row));
    at.attn = take(&at.bytes, (size_t)k->n_seqs, sizeof(struct attn_segment));
    at.routing = take(&at.bytes, 1, size.args);
    at.own = take(&at.bytes, n_layer, size.own); /* the first layer's lie with the rest */
    f->meta_bytes = at.bytes;
    f->result_bytes = n_layer * size.results;
    f->is_posted = k->is_picked && gemm_pick_fits(k->n_rows, f->m.d_model);
    f->picks_at = take(&f->result_bytes, k->is_picked ? (size_t)k->n_rows : 0,
                       f->is_posted ? sizeof(struct mailbox_pick) : sizeof(struct pick));
    st = make_room(f, size.work, err);
    if (st)
        return st;
    fill_meta(f, call, &at);
    if (f->is_posted)
        memset(forward_posted(f), 0, (size_t)k->n_rows * sizeof(struct mailbox_pick));
    for (size_t l = 0; l < n_layer; l++) {
        size_t in = at.routing, own = at.own + l * size.own, out = 0;

        for (int i = 0; i < k->n_sets; i++) {
            plan_routing(f, call, (int)l, i, in, own, out, &size);
            in += f->sets[i].args;
            own += f->sets[i].own;
            out += f->sets[i].results;
        }
    }
    return ST_OK;
}

/* ---- results ----------------------------------------------------------------------------- */

static uint64_t read_word(const struct mailbox_pick *p, int i)
{
    return __atomic_load_n(&p->words[i], __ATOMIC_ACQUIRE);
}

static bool is_delivered(const struct forward *f)
{
    return atomic_load_explicit(f->host_done, memory_order_acquire) == f->number;
}

static bool are_posted(const struct forward *f)
{
    const struct mailbox_pick *p = forward_posted(f);

    for (int i = f->is_posted ? f->key.n_rows : 0; i-- > 0;)
        for (int j = 0; j < MAILBOX_PICK_WORDS; j++)
            if (read_word(&p[i], j) >> 32 != f->number)
                return false;
    return true;
}

/* Wait on the spot: a forward is short, and the next one waits for its results. A fault shows when
 * the stream is asked for it. No `pause`: a virtual machine's processor may be taken away from who
 * pauses too often. */
static enum status await(struct forward *f, bool (*are_there)(const struct forward *),
                         struct error *err)
{
    enum { LOOKS = 1 << 20 }; /* between two questions: about a millisecond */
    struct cuda *c = f->c;

    for (int i = 1; !are_there(f); i++) {
        cudaError_t rc;

        if (i % LOOKS)
            continue;
        rc = cudaStreamQuery(c->stream);
        if (rc == cudaSuccess) { /* all has run: they are there, or never will be */
            if (are_there(f))
                break;
            return error_set(err, ST_INTERNAL, "GPU '%s': a forward left no results", c->name);
        }
        if (rc != cudaErrorNotReady)
            return cuda_fail(c, rc, "a forward", err);
        (void)cudaGetLastError(); /* not ready is no fault */
        i = 0;
    }
    return ST_OK;
}

static void take_stats(struct forward *f, const struct forward_call *call)
{
    const size_t n_exp = (size_t)f->m.n_exp;
    const char *dev = f->results.dev;

    for (int l = 0; l < f->m.n_moe_layer; l++)
        for (int i = 0; i < f->key.n_sets; i++) {
            const struct route_call *c = &f->calls[l * f->m.max_seqs + i];
            const char *stats = f->host_results + ((const char *)c->stats - dev);
            const char *counts = f->host_results + ((const char *)c->tokens_per_expert - dev);
            size_t n = (size_t)set_segments(f, call, i, l), bytes = n_exp * sizeof(int32_t);

            for (size_t s = 0; s < n; s++) {
                memcpy(f->segs[s].stats, stats + s * sizeof(*c->stats), sizeof(*c->stats));
                memcpy(f->segs[s].tokens_per_expert, counts + s * bytes, bytes);
            }
        }
}

/* Proposal i. */
static struct pick read_pick(const struct forward *f, int i)
{
    const struct pick *picks = (const struct pick *)(void *)(f->host_results + f->picks_at);
    uint32_t values[MAILBOX_PICK_WORDS];
    struct pick p;

    if (!f->is_posted)
        return picks[i];
    for (int j = 0; j < MAILBOX_PICK_WORDS; j++)
        values[j] = (uint32_t)read_word(forward_posted(f) + i, j);
    p = (struct pick){ .id = (int32_t)values[0], .is_mask_best = values[2] };
    memcpy(&p.prob, &values[1], sizeof(p.prob));
    return p;
}

static void take_picks(struct forward *f, const struct forward_call *call)
{
    int n = 0;

    *call->ret_is_picked = f->key.is_picked;
    for (int i = 0; i < call->n_seqs && f->key.is_picked; i++)
        for (int t = 0; t < call->seqs[i].n_logits; t++)
            if (is_wanted(&f->key, &call->seqs[i], t))
                call->seqs[i].ret_picks[t] = read_pick(f, n++);
}

enum status forward_take(struct forward *f, const struct forward_call *call, struct error *err)
{
    enum status st = await(f, is_delivered, err);

    if (st)
        return st;
    take_stats(f, call); /* while the last proposals are made */
    st = await(f, are_posted, err);
    if (st)
        return st;
    take_picks(f, call);
    cuda_settle(f->c);
    return ST_OK;
}
