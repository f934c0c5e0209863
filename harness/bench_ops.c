/*
 * bench: the operations of a forward one by one, at the widths of a model.
 *
 * Weights are random bf16, as many copies of a small one as do not fit any cache, and taken in
 * turn. What has no weights worth the name is timed as it runs inside a forward: in the caches.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "harness/bench.h"
#include "harness/bench_weights.h"
#include "kernels/kernels.h"

enum { MAX_COPIES = 64, N_KEYS = 1024 };

struct ops_job {
    struct bench *b;
    const struct model_info *m;
    const struct kernel_ops *ops;
    struct kernels *k;
    struct rng rng;
    struct random_weights random;

    int n_tok;
    float *x, *y, *logits, *scores, *w, *keys; /* backend memory */
    int32_t *route_ids;                        /* likewise */
    int32_t *ids, *positions;                  /* (n_tok) */
    struct weight *weights[MAX_COPIES];
    int n_copies;
    struct experts *experts, *dense; /* the latter: of a layer without routing */
    struct weight *bias;             /* of the router, or NULL */
    struct pick *picks;
    struct route_params route;
    int32_t *counts;
};

/* ---- operations ----------------------------------------------------------------------------- */

static struct weight *copy_of(const struct ops_job *j, int n)
{
    return j->weights[n % j->n_copies];
}

static enum status run_embed(void *arg, int n, struct error *err)
{
    struct ops_job *j = arg;

    return j->ops->embed(j->k, copy_of(j, n), j->ids, j->n_tok, j->y, err);
}

static enum status run_matmul(void *arg, int n, struct error *err)
{
    struct ops_job *j = arg;

    return j->ops->matmul(j->k, j->x, copy_of(j, n), j->n_tok, j->logits, err);
}

static enum status run_router(void *arg, int n, struct error *err)
{
    struct ops_job *j = arg;

    return j->ops->router(j->k, j->x, copy_of(j, n), j->n_tok,
                          j->m->routing.is_sigmoid ? ROUTER_SIGMOID : ROUTER_SOFTMAX, j->scores,
                          NULL, err);
}

static enum status run_norm(void *arg, int n, struct error *err)
{
    struct ops_job *j = arg;

    return j->ops->rms_norm(j->k, j->x, copy_of(j, n), 1e-5f, j->n_tok, j->y, err);
}

static enum status run_rope(void *arg, int n, struct error *err)
{
    struct ops_job *j = arg;

    (void)n;
    return j->ops->rope(j->k, j->y, j->positions, j->n_tok, j->m->n_head, j->m->d_head,
                        j->m->d_head / 2 * 2, 50000, err);
}

static enum status run_attention(void *arg, int n, struct error *err)
{
    struct ops_job *j = arg;
    size_t width = (size_t)j->m->n_kv_head * (size_t)j->m->d_head;
    const struct attn_segment s = { 0, j->n_tok, j->keys, j->keys + N_KEYS * width, N_KEYS, 0 };

    (void)n;
    return j->ops->attention(j->k, j->x, j->positions, &s, 1, j->m->n_head, j->m->n_kv_head,
                             j->m->d_head, j->y, err);
}

static enum status run_add(void *arg, int n, struct error *err)
{
    struct ops_job *j = arg;

    (void)n;
    return j->ops->add(j->k, j->y, j->x, (size_t)j->n_tok * (size_t)j->m->d_model, err);
}

static enum status run_route(void *arg, int n, struct error *err)
{
    struct ops_job *j = arg;
    struct route_stats stats;
    const struct route_segment seg = { .n_tok = j->n_tok,
                                       .stats = &stats,
                                       .tokens_per_expert = j->counts };

    (void)n;
    return j->ops->route(j->k, &j->route,
                         &(struct route_input){ .scores = j->scores, .bias = j->bias }, &seg, 1,
                         &(struct route_output){ j->route_ids, j->w, j->m->top_k }, err);
}

static enum status run_moe(void *arg, int n, struct error *err)
{
    struct ops_job *j = arg;

    (void)n;
    return j->ops->moe(j->k, j->x, j->experts, j->route_ids, j->w, j->n_tok, j->m->top_k, j->y,
                       err);
}

static enum status run_dense(void *arg, int n, struct error *err)
{
    struct ops_job *j = arg;

    (void)n;
    return j->ops->moe(j->k, j->x, j->dense, NULL, NULL, j->n_tok, 0, j->y, err);
}

static enum status run_pick(void *arg, int n, struct error *err)
{
    struct ops_job *j = arg;
    const struct pick_params p = {
        .mask_id = j->m->mask_id, .banned_id = -1, .draw = (uint64_t)n, .positions = j->positions
    };

    return j->ops->pick(j->k, j->logits, j->n_tok, j->m->n_vocab, &p, j->picks, err);
}

/* ---- weights -------------------------------------------------------------------------------- */

static enum status load_copies(struct ops_job *j, int64_t rows, int64_t cols, struct error *err)
{
    size_t n = BENCH_BEYOND_CACHES / ((size_t)rows * (size_t)cols * 2) + 1;
    enum status st = ST_OK;

    j->n_copies = 0;
    for (size_t i = 0; i < n && i < MAX_COPIES && !st; i++) {
        struct host_matrix m = { 0 };

        st = random_matrix(&j->random, rows, cols, &m, err);
        if (!st)
            st = j->ops->weight_load(j->k, &m, &j->weights[i], err);
        if (!random_matrix_is_kept(&j->random, &m)) /* else it has to stay as long as the program */
            free((void *)m.data);
        j->n_copies += !st;
    }
    return st;
}

/* A bias for routers that have one: of any such model. */
static enum status load_bias(struct ops_job *j, struct error *err)
{
    float *values = arena_array(&j->b->arena, (size_t)j->m->n_exp, sizeof(*values));
    const struct host_matrix m = { values, DT_F32, 1, j->m->n_exp };

    if (!values)
        return error_set(err, ST_NOMEM, "out of memory for a bias of %d", j->m->n_exp);
    for (int e = 0; e < j->m->n_exp; e++)
        values[e] = (float)(0.4 * rng_uniform(&j->rng) - 0.2);
    return j->ops->weight_load(j->k, &m, &j->bias, err);
}

static enum status make_buffers(struct ops_job *j, struct error *err)
{
    const struct model_info *m = j->m;
    size_t n = (size_t)j->n_tok, width = (size_t)m->n_head * (size_t)m->d_head;
    size_t kv = (size_t)m->n_kv_head * (size_t)m->d_head, n_logits;
    size_t widest = width > (size_t)m->d_model ? width : (size_t)m->d_model;
    const struct {
        void **ret;
        size_t n;
    } list[] = {
        { (void **)&j->x, n * widest },
        { (void **)&j->y, n * widest },
        { (void **)&j->logits, n * (size_t)m->n_vocab },
        { (void **)&j->scores, n * (size_t)m->n_exp },
        { (void **)&j->w, n * (size_t)m->top_k },
        { (void **)&j->route_ids, n * (size_t)m->top_k },
        { (void **)&j->keys, 2 * N_KEYS * kv },
    };
    enum status st;
    float *values;

    n_logits = 2 * N_KEYS * kv > n * widest ? 2 * N_KEYS * kv : n * widest;
    values = arena_array(&j->b->arena, n_logits, sizeof(*values));
    j->ids = arena_array(&j->b->arena, n, sizeof(*j->ids));
    j->positions = arena_array(&j->b->arena, n, sizeof(*j->positions));
    j->picks = arena_array(&j->b->arena, n, sizeof(*j->picks));
    j->counts = arena_array(&j->b->arena, (size_t)m->n_exp, sizeof(*j->counts));
    if (!values || !j->ids || !j->positions || !j->picks || !j->counts)
        return error_set(err, ST_NOMEM, "out of memory for %d tokens", j->n_tok);
    for (size_t i = 0; i < n_logits; i++)
        values[i] = (float)(2 * rng_uniform(&j->rng) - 1);
    for (int t = 0; t < j->n_tok; t++) {
        j->ids[t] = (int32_t)rng_below(&j->rng, (uint64_t)m->n_vocab);
        j->positions[t] = t;
    }
    st = random_weights_init(&j->random, j->k, &j->rng, &j->b->arena, err);
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]) && !st; i++)
        st = j->ops->alloc(j->k, list[i].n * 4, list[i].ret, err);
    if (!st)
        st = j->ops->upload(j->k, j->x, values, n * widest * sizeof(*values), err);
    if (!st)
        st = j->ops->upload(j->k, j->keys, values, 2 * N_KEYS * kv * sizeof(*values), err);
    return st;
}

static void free_buffers(struct ops_job *j)
{
    void *const list[] = { j->x, j->y, j->logits, j->scores, j->w, j->route_ids, j->keys };

    for (size_t i = 0; j->k && i < sizeof(list) / sizeof(list[0]); i++)
        j->ops->free(j->k, list[i]);
}

/* ---- cases ---------------------------------------------------------------------------------- */

static enum status time_one(struct ops_job *j, const char *name, const char *shape, bench_fn fn,
                            double bytes, double flops, bool is_f32, struct error *err)
{
    struct bench_result *r = NULL;
    enum status st = bench_time(j->b, name, shape, NULL, fn, j, &r, err);

    if (st)
        return st;
    r->bytes = bytes;
    r->flops = flops;
    r->is_f32 = is_f32;
    return ST_OK;
}

/* An op with a weight of (rows, cols). */
static enum status time_weight(struct ops_job *j, const char *name, bench_fn fn, int64_t rows,
                               bool is_f32, struct error *err)
{
    double n = (double)rows * j->m->d_model;
    char shape[80];
    enum status st = load_copies(j, rows, j->m->d_model, err);

    snprintf(shape, sizeof(shape), "%d x %d -> %lld", j->n_tok, j->m->d_model, (long long)rows);
    if (st)
        return st;
    return time_one(j, name, shape, fn, 2 * n, 2 * n * j->n_tok, is_f32, err);
}

/* Experts that the routing of `scores` chose last. */
static int count_unique(const struct ops_job *j)
{
    int n = 0;

    for (int e = 0; e < j->m->n_exp; e++)
        n += j->counts[e] > 0;
    return n;
}

static struct route_params plain_route(const struct ops_job *j)
{
    const struct model_routing *r = &j->m->routing;

    return (struct route_params){ .n_exp = j->m->n_exp,
                                  .top_k = j->m->top_k,
                                  .top_k_base = j->m->top_k,
                                  .renorm = r->is_renormed,
                                  .scale = r->scale,
                                  .n_group = r->n_group,
                                  .topk_group = r->topk_group };
}

/* The model's own routing, then what policies put on top of it, at two fifths of the experts. */
static enum status time_route(struct ops_job *j, struct error *err)
{
    static const struct {
        const char *name;
        struct route_params p; /* of the coreset alone */
    } policies[] = {
        { "route", { 0 } },
        { "route, des-seq", { .size = SIZE_UNION, .warm = 1 } },
        { "route, des-vote", { .size = SIZE_FIXED } },
        { "route, dmoe", { .size = SIZE_TOP_P, .core_p = 0.6 } },
        { "route, xshare", { .size = SIZE_FIXED, .warm = 1, .mask = KERNEL_MAX_EXPERTS } },
        { "route, oracle-mass", { .size = SIZE_FIXED, .elect = ELECT_MASS } },
    };
    enum status st = ST_OK;
    char shape[80];

    for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]) && !st; i++) {
        const struct route_params *p = &policies[i].p;

        j->route = plain_route(j);
        j->route.size = p->size;
        j->route.elect = p->elect;
        j->route.warm = p->warm;
        j->route.core_p = p->core_p;
        j->route.mask = p->mask ? j->m->n_exp : j->m->top_k;
        j->route.n_core = j->m->n_exp * 2 / 5 > 1 ? j->m->n_exp * 2 / 5 : 1;
        snprintf(shape, sizeof(shape), "%d x %d, top %d", j->n_tok, j->m->n_exp, j->m->top_k);
        st = time_one(j, policies[i].name, shape, run_route, 0, 0, true, err);
    }
    j->route = plain_route(j);
    return st;
}

static enum status time_moe(struct ops_job *j, struct error *err)
{
    const struct model_info *m = j->m;
    double each = 6.0 * m->d_model * m->d_ff;
    char shape[80];
    int n_tok = j->n_tok;
    enum status st =
        random_experts(&j->random, m->n_exp, m->n_shared, m->d_model, m->d_ff, &j->experts, err);

    for (int i = 0; i < 2 && !st; i++) { /* all tokens, one token */
        j->n_tok = i ? 1 : n_tok;
        st = run_route(j, 0, err);
        snprintf(shape, sizeof(shape), "%d tokens, %d of %d experts%s", j->n_tok, count_unique(j),
                 m->n_exp, m->n_shared ? ", 1 shared" : "");
        if (!st)
            st = time_one(j, "moe", shape, run_moe, each * (count_unique(j) + m->n_shared),
                          each * (m->top_k + m->n_shared) * j->n_tok, false, err);
    }
    j->n_tok = n_tok;
    return st;
}

/* The layer without routed experts of a model that has one. */
static enum status time_dense(struct ops_job *j, struct error *err)
{
    double each = 6.0 * j->m->d_model * j->m->d_ff_dense;
    enum status st;
    char shape[80];

    if (!j->m->d_ff_dense)
        return ST_OK;
    st = random_experts(&j->random, 0, 1, j->m->d_model, j->m->d_ff_dense, &j->dense, err);
    snprintf(shape, sizeof(shape), "%d x %d -> %d", j->n_tok, j->m->d_model, j->m->d_ff_dense);
    return st ? st
              : time_one(j, "dense layer", shape, run_dense, each, each * j->n_tok, false, err);
}

static enum status time_all(struct ops_job *j, struct error *err)
{
    const struct model_info *m = j->m;
    double d = m->d_model, heads = (double)m->n_head * m->d_head;
    char rows[80], keys[80];
    enum status st;

    snprintf(rows, sizeof(rows), "%d x %d", j->n_tok, m->d_model);
    snprintf(keys, sizeof(keys), "%d x %d heads, %d keys", j->n_tok, m->n_head, (int)N_KEYS);
    st = time_weight(j, "matmul", run_matmul, (int64_t)heads, false, err);
    if (!st)
        st = time_weight(j, "router", run_router, m->n_exp, true, err);
    if (!st) /* scores are the router's now */
        st = time_route(j, err);
    if (!st)
        st = time_moe(j, err);
    if (!st)
        st = time_dense(j, err);
    if (!st)
        st = time_one(j, "attention", keys, run_attention, 0, 4 * heads * j->n_tok * N_KEYS, true,
                      err);
    if (!st)
        st = time_one(j, "rope", rows, run_rope, 0, 3 * heads * j->n_tok, true, err);
    if (!st)
        st = time_one(j, "add", rows, run_add, 0, d * j->n_tok, true, err);
    if (!st)
        st = load_copies(j, 1, m->d_model, err);
    if (!st)
        st = time_one(j, "rms_norm", rows, run_norm, 0, 4 * d * j->n_tok, true, err);
    if (!st)
        st = time_weight(j, "head", run_matmul, m->n_vocab, false, err);
    if (!st)
        st = time_one(j, "embed", rows, run_embed, 2 * d * j->n_tok, 0, true, err);
    if (!st)
        st = time_one(j, "pick", rows, run_pick, 4.0 * m->n_vocab * j->n_tok, 0, true, err);
    return st;
}

enum status bench_ops(struct bench *b, const struct engine_options *o, struct error *err)
{
    struct engine_options text_only = *o;
    const struct kernel_params params = { .n_threads = o->n_threads,
                                          .is_unpinned = o->is_unpinned,
                                          .isa = o->isa,
                                          .numeric = o->is_fast ? KERNEL_FAST : KERNEL_INVARIANT };
    struct ops_job j = { .b = b, .n_tok = (int)options_int(b->c, OPT_BENCH_TOKENS) };
    struct engine *e = NULL;
    enum status st;

    text_only.is_text_only = true;
    rng_seed(&j.rng, o->dummy_seed);
    j.ops = o->backend ? kernel_backend_find(o->backend) : kernel_backend_best();
    if (!j.ops)
        return error_set(err, ST_INVALID, "backend '%s' is not part of this build",
                         o->backend ? o->backend : "");
    st = kernel_check_params(j.ops, &params, err);
    if (!st)
        st = engine_open(&text_only, &e, err);
    if (st)
        return st;
    b->info = j.m = engine_info(e);
    st = j.ops->open(&params, &j.k, err);
    if (!st) {
        b->backend = j.ops->name;
        b->details = j.ops->describe(j.k);
        st = bench_limits(b, err);
    }
    if (!st)
        st = make_buffers(&j, err);
    if (!st && j.m->routing.is_sigmoid)
        st = load_bias(&j, err);
    if (!st)
        st = time_all(&j, err);
    if (!st)
        st = bench_print(b, err);
    free_buffers(&j);
    j.ops->close(j.k);
    engine_close(e);
    return st;
}
