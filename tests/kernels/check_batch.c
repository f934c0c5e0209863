/*
 * checkkern: the same bits whatever else is in the batch.
 *
 * One layer and the head are run for 32 sequences at once, for 8 of them and for each alone, with
 * several threads, two and one, and what every op made of a token is compared bit for bit. The
 * sequences differ in tokens, in what their caches hold and in where they stand.
 */
#include "check.h"

#include <stdlib.h>
#include <string.h>

enum {
    N_SEQ = 32,
    N_FEW = 8,
    MAX_TOK = 9, /* of a sequence */
    CAPACITY = 48,
    D_MODEL = 192,
    N_HEAD = 6,
    N_KV_HEAD = 2,
    D_HEAD = 32,
    WIDTH_Q = N_HEAD * D_HEAD,
    WIDTH_KV = N_KV_HEAD * D_HEAD,
    D_FF = 80,
    N_EXP = 12,
    TOP_K = 3,
    N_VOCAB = 300
};

/* What is compared: by its op, with so many floats a token. */
enum stage {
    STAGE_EMBED,
    STAGE_NORM,
    STAGE_MATMUL,
    STAGE_ROPE,
    STAGE_KV_STORE,
    STAGE_ATTENTION,
    STAGE_ADD,
    STAGE_ROUTER,
    STAGE_ROUTE_IDS,
    STAGE_ROUTE,
    STAGE_MOE,
    STAGE_HEAD,
    STAGE_PICK_ID,
    STAGE_PICK,
    N_STAGES
};

static const struct {
    const char *op;
    size_t width;
} stages[N_STAGES] = {
    [STAGE_EMBED] = { "embed", D_MODEL },
    [STAGE_NORM] = { "rms_norm", D_MODEL },
    [STAGE_MATMUL] = { "matmul", WIDTH_Q },
    [STAGE_ROPE] = { "rope", WIDTH_Q },
    [STAGE_KV_STORE] = { "kv_store", WIDTH_KV },
    [STAGE_ATTENTION] = { "attention", WIDTH_Q },
    [STAGE_ADD] = { "add", D_MODEL },
    [STAGE_ROUTER] = { "router", N_EXP },
    [STAGE_ROUTE_IDS] = { "route, ids", TOP_K },
    [STAGE_ROUTE] = { "route", TOP_K },
    [STAGE_MOE] = { "moe", D_MODEL },
    [STAGE_HEAD] = { "matmul of the head", N_VOCAB },
    [STAGE_PICK_ID] = { "pick, id", 1 },
    [STAGE_PICK] = { "pick", 1 },
};

enum weight_id { W_EMBED, W_NORM, W_Q, W_K, W_O, W_ROUTER, W_HEAD, N_WEIGHTS };

static const struct {
    int rows, cols;
} weight_shapes[N_WEIGHTS] = {
    [W_EMBED] = { N_VOCAB, D_MODEL }, [W_NORM] = { 1, D_MODEL },    [W_Q] = { WIDTH_Q, D_MODEL },
    [W_K] = { WIDTH_KV, D_MODEL },    [W_O] = { D_MODEL, WIDTH_Q }, [W_ROUTER] = { N_EXP, D_MODEL },
    [W_HEAD] = { N_VOCAB, D_MODEL },
};

/* What does not depend on a batch, in host memory. */
struct layer_case {
    struct host_matrix w[N_WEIGHTS], gate[N_EXP + 1], up[N_EXP + 1], down[N_EXP + 1];
    int n_shared; /* 0 or 1 */
    enum router_score score;
    double temperature;
    struct {
        int n_tok, n_kv;
        int32_t ids[MAX_TOK], positions[MAX_TOK];
        float *cache; /* (CAPACITY, WIDTH_KV): keys, and values too */
    } seqs[N_SEQ];
};

/* Its weights on a backend. */
struct loaded {
    const struct side *side;
    struct weight *w[N_WEIGHTS];
    struct experts *experts;
};

static void case_new(struct check *c, int i, struct layer_case *ret)
{
    enum dtype t = (enum dtype)(i % 3), experts = takes_experts(c, t, 0) ? t : DT_BF16;

    ret->score = i % 2 ? ROUTER_SIGMOID : ROUTER_SOFTMAX;
    ret->temperature = i % 2 ? 0.7 : 0;
    for (int w = 0; w < N_WEIGHTS; w++)
        ret->w[w] = random_matrix(&c->rng, t, weight_shapes[w].rows, weight_shapes[w].cols,
                                  REGIME_UNIFORM, 0.25F);
    ret->n_shared = i % 2 && takes_experts(c, experts, 1);
    for (int e = 0; e < N_EXP + 1; e++) {
        ret->gate[e] = random_matrix(&c->rng, experts, D_FF, D_MODEL, REGIME_UNIFORM, 0.5F);
        ret->up[e] = random_matrix(&c->rng, experts, D_FF, D_MODEL, REGIME_UNIFORM, 0.5F);
        ret->down[e] = random_matrix(&c->rng, experts, D_MODEL, D_FF, REGIME_UNIFORM, 0.5F);
    }
    for (int s = 0; s < N_SEQ; s++) {
        int n_tok = 1 + (int)rng_below(&c->rng, MAX_TOK);
        int first = (int)rng_below(&c->rng, CAPACITY - MAX_TOK);

        ret->seqs[s].n_tok = n_tok;
        ret->seqs[s].n_kv = first + n_tok + (int)rng_below(&c->rng, 4); /* some lie behind */
        if (ret->seqs[s].n_kv > CAPACITY)
            ret->seqs[s].n_kv = CAPACITY;
        for (int k = 0; k < n_tok; k++) {
            ret->seqs[s].ids[k] = (int32_t)rng_below(&c->rng, N_VOCAB);
            ret->seqs[s].positions[k] = first + k;
        }
        ret->seqs[s].cache = random_floats(&c->rng, (size_t)CAPACITY * WIDTH_KV, REGIME_UNIFORM, 1);
    }
}

static void case_free(struct layer_case *l)
{
    for (int w = 0; w < N_WEIGHTS; w++)
        free((void *)l->w[w].data);
    for (int e = 0; e < N_EXP + 1; e++) {
        free((void *)l->gate[e].data);
        free((void *)l->up[e].data);
        free((void *)l->down[e].data);
    }
    for (int s = 0; s < N_SEQ; s++)
        free(l->seqs[s].cache);
}

static struct loaded load(const struct side *s, const struct layer_case *l)
{
    struct loaded ret = { .side = s };
    struct error err;

    for (int w = 0; w < N_WEIGHTS; w++)
        ret.w[w] = load_weight(s, &l->w[w]);
    check_status(
        s->ops->experts_load(s->k, N_EXP, l->n_shared, l->gate, l->up, l->down, &ret.experts, &err),
        &err);
    return ret;
}

/* A run of some sequences. */
struct run {
    const struct loaded *l;
    int n_seqs, n_tok;
    int32_t *ids, *positions; /* (n_tok) */
    struct segment segs[N_SEQ];
    struct attn_segment attn_segs[N_SEQ];
    struct buffer keys[N_SEQ], values[N_SEQ];
    struct buffer out[N_STAGES];
    struct buffer key;             /* (n_tok, WIDTH_KV) */
    float *host[N_STAGES];         /* (n_tok, width) what out held after its op */
    int32_t counts[N_SEQ * N_EXP]; /* tokens of each expert */
};

static void run_open(const struct loaded *w, const struct layer_case *l, int first, int n_seqs,
                     struct run *r)
{
    *r = (struct run){ .l = w, .n_seqs = n_seqs };
    r->ids = must_alloc((size_t)n_seqs * MAX_TOK, sizeof(*r->ids));
    r->positions = must_alloc((size_t)n_seqs * MAX_TOK, sizeof(*r->positions));
    for (int s = 0; s < n_seqs; s++) {
        int n = l->seqs[first + s].n_tok;
        size_t bytes = (size_t)n * sizeof(int32_t), cells = (size_t)CAPACITY * WIDTH_KV;

        memcpy(r->ids + r->n_tok, l->seqs[first + s].ids, bytes);
        memcpy(r->positions + r->n_tok, l->seqs[first + s].positions, bytes);
        r->keys[s] = buffer_new(w->side, l->seqs[first + s].cache, cells);
        r->values[s] = buffer_new(w->side, l->seqs[first + s].cache, cells);
        r->segs[s] = (struct segment){ r->n_tok, n };
        r->attn_segs[s] = (struct attn_segment){ .row = r->n_tok,
                                                 .n_tok = n,
                                                 .keys = r->keys[s].data,
                                                 .values = r->values[s].data,
                                                 .n_kv = l->seqs[first + s].n_kv };
        r->n_tok += n;
    }
    for (int i = 0; i < N_STAGES; i++)
        r->out[i] = buffer_new(w->side, NULL, (size_t)r->n_tok * stages[i].width);
    r->key = buffer_new(w->side, NULL, (size_t)r->n_tok * WIDTH_KV);
}

static void run_close(struct run *r)
{
    for (int s = 0; s < r->n_seqs; s++) {
        buffer_free(&r->keys[s]);
        buffer_free(&r->values[s]);
    }
    for (int i = 0; i < N_STAGES; i++) {
        buffer_free(&r->out[i]);
        free(r->host[i]);
    }
    buffer_free(&r->key);
    free(r->ids);
    free(r->positions);
}

static void keep(struct check *c, struct run *r, enum stage stage)
{
    r->host[stage] = buffer_take(c, &r->out[stage]);
}

/* The first half of a layer: out[STAGE_ADD] = x + attention. */
static void run_attention(struct check *c, struct run *r)
{
    const struct kernel_ops *ops = r->l->side->ops;
    struct kernels *k = r->l->side->k;
    struct buffer *o = r->out;
    struct error err;
    int n = r->n_tok;

    check_status(ops->embed(k, r->l->w[W_EMBED], r->ids, n, o[STAGE_EMBED].data, &err), &err);
    keep(c, r, STAGE_EMBED);
    check_status(
        ops->rms_norm(k, o[STAGE_EMBED].data, r->l->w[W_NORM], 1e-5F, n, o[STAGE_NORM].data, &err),
        &err);
    keep(c, r, STAGE_NORM);
    check_status(ops->matmul(k, o[STAGE_NORM].data, r->l->w[W_Q], n, o[STAGE_MATMUL].data, &err),
                 &err);
    keep(c, r, STAGE_MATMUL);
    check_status(
        ops->rope(k, o[STAGE_MATMUL].data, r->positions, n, N_HEAD, D_HEAD, D_HEAD, 50000, &err),
        &err);
    r->host[STAGE_ROPE] = buffer_take(c, &o[STAGE_MATMUL]); /* it works in place */
    check_status(ops->matmul(k, o[STAGE_NORM].data, r->l->w[W_K], n, r->key.data, &err), &err);
    r->host[STAGE_KV_STORE] = must_alloc((size_t)n * WIDTH_KV, sizeof(float));
    for (int s = 0; s < r->n_seqs; s++) {
        const struct segment *g = &r->segs[s];
        const int32_t *slots = r->positions + g->row;
        float *rows = r->key.data + (size_t)g->row * WIDTH_KV, *cache;

        check_status(ops->kv_store(k, rows, slots, g->n_tok, WIDTH_KV, r->keys[s].data, &err),
                     &err);
        check_status(ops->kv_store(k, rows, slots, g->n_tok, WIDTH_KV, r->values[s].data, &err),
                     &err);
        cache = buffer_take(c, &r->keys[s]);
        memcpy(r->host[STAGE_KV_STORE] + (size_t)g->row * WIDTH_KV,
               cache + (size_t)slots[0] * WIDTH_KV, (size_t)g->n_tok * WIDTH_KV * sizeof(float));
        free(cache);
    }
    check_status(ops->attention(k, o[STAGE_MATMUL].data, r->positions, r->attn_segs, r->n_seqs,
                                N_HEAD, N_KV_HEAD, D_HEAD, o[STAGE_ATTENTION].data, &err),
                 &err);
    keep(c, r, STAGE_ATTENTION);
    check_status(ops->matmul(k, o[STAGE_ATTENTION].data, r->l->w[W_O], n, o[STAGE_ADD].data, &err),
                 &err);
    check_status(ops->add(k, o[STAGE_ADD].data, o[STAGE_EMBED].data, (size_t)n * D_MODEL, &err),
                 &err);
    keep(c, r, STAGE_ADD);
}

/* The other half, the head and a pick of each token. */
static void run_experts(struct check *c, struct run *r, const struct layer_case *l)
{
    const struct kernel_ops *ops = r->l->side->ops;
    struct kernels *k = r->l->side->k;
    struct buffer *o = r->out;
    const struct route_params route = { .n_exp = N_EXP,
                                        .top_k = TOP_K,
                                        .top_k_base = TOP_K,
                                        .renorm = l->score == ROUTER_SIGMOID,
                                        .scale = 2.5F };
    const struct pick_params params = { .mask_id = 7,
                                        .banned_id = -1,
                                        .temperature = l->temperature,
                                        .seed = c->case_seed,
                                        .draw = 3,
                                        .positions = r->positions };
    struct pick *picks = must_alloc((size_t)r->n_tok, sizeof(*picks));
    const struct route_input in = { .scores = o[STAGE_ROUTER].data };
    const struct route_output out = { (int32_t *)o[STAGE_ROUTE_IDS].data, o[STAGE_ROUTE].data,
                                      TOP_K };
    struct route_segment segs[N_SEQ];
    struct route_stats stats[N_SEQ];
    struct error err;
    int n = r->n_tok;

    check_status(ops->router(k, o[STAGE_ADD].data, r->l->w[W_ROUTER], n, l->score,
                             o[STAGE_ROUTER].data, NULL, &err),
                 &err);
    keep(c, r, STAGE_ROUTER);
    for (int s = 0; s < r->n_seqs; s++)
        segs[s] = (struct route_segment){ .row = r->segs[s].row,
                                          .n_tok = r->segs[s].n_tok,
                                          .stats = &stats[s],
                                          .tokens_per_expert = r->counts + s * N_EXP };
    check_status(ops->route(k, &route, &in, segs, r->n_seqs, &out, &err), &err);
    keep(c, r, STAGE_ROUTE_IDS);
    keep(c, r, STAGE_ROUTE);
    check_status(ops->moe(k, o[STAGE_ADD].data, r->l->experts,
                          (const int32_t *)o[STAGE_ROUTE_IDS].data, o[STAGE_ROUTE].data, n, TOP_K,
                          o[STAGE_MOE].data, &err),
                 &err);
    keep(c, r, STAGE_MOE);
    check_status(ops->matmul(k, o[STAGE_MOE].data, r->l->w[W_HEAD], n, o[STAGE_HEAD].data, &err),
                 &err);
    keep(c, r, STAGE_HEAD);
    check_status(ops->pick(k, o[STAGE_HEAD].data, n, N_VOCAB, &params, picks, &err), &err);
    r->host[STAGE_PICK_ID] = must_alloc((size_t)n, sizeof(float));
    r->host[STAGE_PICK] = must_alloc((size_t)n, sizeof(float));
    for (int t = 0; t < n; t++) {
        r->host[STAGE_PICK_ID][t] = (float)picks[t].id;
        r->host[STAGE_PICK][t] = picks[t].prob;
    }
    free(picks);
}

static void run_layer(struct check *c, const struct loaded *w, const struct layer_case *l,
                      int first, int n_seqs, struct run *ret)
{
    run_open(w, l, first, n_seqs, ret);
    run_attention(c, ret);
    run_experts(c, ret, l);
}

/* Sequences [first, first + n_seqs) by themselves, against their rows in a run of all. */
static void compare_part(struct check *c, const struct run *all, const struct loaded *w,
                         const struct layer_case *l, int first, int n_seqs)
{
    size_t row = (size_t)all->segs[first].row;
    struct run part;

    SHAPE(c, "sequences %d to %d of %d tokens, %s", first, first + n_seqs - 1, all->n_tok,
          w->side->ops->describe(w->side->k));
    run_layer(c, w, l, first, n_seqs, &part);
    for (int i = 0; i < N_STAGES; i++)
        compare_bits(c, stages[i].op, part.host[i], all->host[i] + row * stages[i].width,
                     (size_t)part.n_tok * stages[i].width);
    compare_ints(c, "tokens_per_expert", part.counts, all->counts + first * N_EXP,
                 (size_t)n_seqs * N_EXP);
    run_close(&part);
}

void check_batch(struct check *c, int i)
{
    const struct side *sides[] = { &c->new, &c->two, &c->other };
    struct layer_case l;
    struct loaded w[3];
    struct run all;

    case_new(c, i, &l);
    for (int s = 0; s < 3; s++)
        w[s] = load(sides[s], &l);
    run_layer(c, &w[0], &l, 0, N_SEQ, &all);
    for (int s = 0; s < 3; s++) {
        compare_part(c, &all, &w[s], &l, 0, N_SEQ);
        for (int first = 0; first < N_SEQ; first += N_FEW)
            compare_part(c, &all, &w[s], &l, first, N_FEW);
        for (int first = 0; first < N_SEQ; first++)
            compare_part(c, &all, &w[s], &l, first, 1);
    }
    run_close(&all);
    case_free(&l);
}
