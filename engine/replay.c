/* Replaying: recorded scores to the op that routes. */
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "engine/engine.h"
#include "engine/popularity.h"
#include "engine/selection.h"

/* Memory of the backend that grows with the tokens of a forward. */
enum { SCORES, IMPORTANCE, IDS, WEIGHTS, N_PARTS };

struct replay {
    struct replay_model m;
    struct selector selector;
    struct route_params own, route;
    struct popularity *list;
    const double *popularity; /* (n_layer, n_exp) or NULL */

    struct kernels *k;
    struct weight **bias; /* (n_layer) or NULL */
    void *parts[N_PARTS];
    size_t cap_tok;
    uint8_t *cores[2]; /* (n_layer, n_exp), of this forward and the one before; lagged only */
    bool has_core, has_forward;

    struct replay_forward f;
    struct selection how; /* of the forward under way */
    uint8_t *voters;      /* (cap_tok) */
    int32_t *experts;     /* (cap_tok, top_k) both */
    float *weights;
    int32_t *counts; /* (n_exp) */
};

static enum status no_memory(struct error *err)
{
    return error_set(err, ST_NOMEM, "out of memory replaying");
}

/* ---- what a selector reads -------------------------------------------------------------- */

static bool has_votes(const struct route_params *p)
{
    return (p->size == SIZE_FIXED || p->size == SIZE_TOP_P) && p->elect == ELECT_VOTES;
}

/* Why the scores known of a token are too few, or NULL. */
static const char *why_all(const struct route_params *p, int n_known)
{
    if (p->size == SIZE_NONE)
        return NULL;
    if (!p->is_truncated)
        return "gives slots outside the coreset to any expert inside it";
    if (p->elect == ELECT_MASS && p->size == SIZE_FIXED)
        return "elects experts by what tokens would keep of them";
    if (has_votes(p) && p->mask > n_known)
        return "lets tokens vote for more experts than that";
    if (p->warm > n_known)
        return "keeps more of each token's first experts than that";
    return NULL;
}

static enum status check_known(const struct replay *r, const char *selector, struct error *err)
{
    const struct replay_model *m = &r->m;
    const char *why = m->n_known < m->n_exp ? why_all(&r->route, m->n_known) : NULL;

    if (has_votes(&r->route) && r->route.vote == VOTE_LOGIT)
        return error_set(err, ST_UNSUPPORTED,
                         "selector '%s' votes by what the router says before its softmax or "
                         "sigmoid, which is not in the trace",
                         selector);
    if (r->route.protect > 0 && !m->has_importance)
        return error_set(err, ST_UNSUPPORTED,
                         "selector '%s' reads the importance of tokens, which is not in the trace",
                         selector);
    if (why)
        return error_set(err, ST_UNSUPPORTED,
                         "selector '%s' needs all %d scores of a token, the trace has the %d "
                         "largest: it %s",
                         selector, m->n_exp, m->n_known, why);
    return ST_OK;
}

/* ---- opening ---------------------------------------------------------------------------- */

static enum status load_bias(struct replay *r, struct error *err)
{
    size_t n_exp = (size_t)r->m.n_exp;
    enum status st = ST_OK;

    if (!r->m.bias)
        return ST_OK;
    r->bias = calloc((size_t)r->m.n_layer, sizeof(*r->bias));
    if (!r->bias)
        return no_memory(err);
    for (int l = 0; l < r->m.n_layer && !st; l++) {
        const struct host_matrix b = {
            .data = r->m.bias + (size_t)l * n_exp, .dtype = DT_F32, .rows = 1, .cols = r->m.n_exp
        };

        st = r->k->ops->weight_load(r->k, &b, &r->bias[l], err);
    }
    return st;
}

static enum status read_popularity(struct replay *r, struct error *err)
{
    struct model_info info = { .name = "the trace's",
                               .n_moe_layer = r->m.n_layer,
                               .n_exp = r->m.n_exp };
    const struct selector *s = &r->selector;

    if (!s->file)
        return ST_OK;
    if (r->m.weights_sha256 && strlen(r->m.weights_sha256) < sizeof(info.weights_sha256))
        memcpy(info.weights_sha256, r->m.weights_sha256, strlen(r->m.weights_sha256));
    return popularity_get(&r->list, s->file, s->file_len, &info, &r->popularity, err);
}

static enum status open_backend(struct replay *r, struct error *err)
{
    const struct kernel_params params = { .n_threads = 1 };
    size_t n;
    enum status st = kernel_backends[0]->open(&params, &r->k, err);

    if (!st)
        st = load_bias(r, err);
    if (!size_mul((size_t)r->m.n_layer, (size_t)r->m.n_exp, &n))
        return no_memory(err);
    for (int i = 0; i < 2 && r->route.is_lagged && !st; i++) {
        void *core = NULL;

        st = r->k->ops->alloc(r->k, n, &core, err);
        r->cores[i] = core;
    }
    return st;
}

enum status replay_new(const struct replay_model *m, const char *selector, struct replay **ret,
                       struct error *err)
{
    struct replay *r = calloc(1, sizeof(*r));
    enum status st;

    if (!r)
        return no_memory(err);
    r->m = *m;
    r->own = (struct route_params){ .n_exp = m->n_exp,
                                    .top_k = m->top_k,
                                    .top_k_base = m->top_k,
                                    .renorm = m->routing.is_renormed,
                                    .scale = m->routing.scale,
                                    .n_group = m->routing.n_group,
                                    .topk_group = m->routing.topk_group };
    r->counts = calloc((size_t)m->n_exp, sizeof(*r->counts));
    st = r->counts ? selector_parse(selector, &r->selector, err) : no_memory(err);
    if (!st)
        st = selector_route(&r->selector, &r->own, &r->route, err);
    if (!st)
        st = check_known(r, selector, err);
    if (!st)
        st = read_popularity(r, err);
    if (!st)
        st = open_backend(r, err);
    r->selector.file = NULL; /* the caller's text ends here */
    if (st)
        replay_free(r);
    else
        *ret = r;
    return st;
}

void replay_free(struct replay *r)
{
    if (!r)
        return;
    if (r->k) {
        for (int i = 0; i < N_PARTS; i++)
            r->k->ops->free(r->k, r->parts[i]);
        for (int i = 0; i < 2; i++)
            r->k->ops->free(r->k, r->cores[i]);
        r->k->ops->close(r->k);
    }
    popularity_free(r->list);
    free(r->bias);
    free(r->voters);
    free(r->experts);
    free(r->weights);
    free(r->counts);
    free(r);
}

/* ---- a forward -------------------------------------------------------------------------- */

static enum status grow(struct replay *r, size_t n_tok, struct error *err)
{
    const size_t width[N_PARTS] = { [SCORES] = (size_t)r->m.n_exp,
                                    [IMPORTANCE] = 1,
                                    [IDS] = (size_t)r->m.top_k,
                                    [WEIGHTS] = (size_t)r->m.top_k };
    size_t n_slots, bytes;
    enum status st = ST_OK;

    if (n_tok <= r->cap_tok)
        return ST_OK;
    if (!size_mul(n_tok, (size_t)r->m.top_k, &n_slots))
        return no_memory(err);
    r->cap_tok = 0;
    for (int i = 0; i < N_PARTS && !st; i++) {
        r->k->ops->free(r->k, r->parts[i]);
        r->parts[i] = NULL;
        if (!size_mul(n_tok, width[i] * 4, &bytes))
            return no_memory(err);
        st = r->k->ops->alloc(r->k, bytes, &r->parts[i], err);
    }
    if (st)
        return st;
    free(r->voters);
    free(r->experts);
    free(r->weights);
    r->voters = calloc(n_tok, 1);
    r->experts = calloc(n_slots, sizeof(*r->experts));
    r->weights = calloc(n_slots, sizeof(*r->weights));
    if (!r->voters || !r->experts || !r->weights)
        return no_memory(err);
    r->cap_tok = n_tok;
    return ST_OK;
}

enum status replay_begin(struct replay *r, const struct replay_forward *f, struct error *err)
{
    struct selection_view v;
    enum status st = grow(r, (size_t)f->n_tok, err);

    if (st)
        return st;
    /* what the forward before left */
    r->has_core = r->has_forward && selection_keeps_core(&r->selector, &r->route,
                                                         r->f.is_cache_refresh, r->f.is_merged);
    if (r->has_core) {
        uint8_t *elected = r->cores[0];

        r->cores[0] = r->cores[1];
        r->cores[1] = elected;
    }
    if (f->step == 0 || f->forward == 0)
        r->has_core = false;
    r->f = *f;
    r->has_forward = true;
    v = (struct selection_view){ .seed = f->seed,
                                 .forward = (uint64_t)f->forward,
                                 .is_refresh = f->is_cache_refresh,
                                 .is_merged = f->is_merged,
                                 .block_start = f->block_start,
                                 .block_length = f->block_length,
                                 .n_tok = f->n_tok,
                                 .ids = f->ids,
                                 .positions = f->positions,
                                 .mask_id = r->m.mask_id };
    r->how = selection_of(&r->selector, &r->own, &r->route, &v, r->voters);
    return ST_OK;
}

enum status replay_route(struct replay *r, int layer, const float *scores, const float *importance,
                         struct replay_layer *ret, struct error *err)
{
    const struct kernel_ops *ops = r->k->ops;
    size_t n_tok = (size_t)r->f.n_tok, n_exp = (size_t)r->m.n_exp, at = (size_t)layer * n_exp;
    int n_slot =
        r->how.n_plain && r->m.top_k > r->how.route->top_k ? r->m.top_k : r->how.route->top_k;
    size_t n_slots = n_tok * (size_t)n_slot;
    const struct route_input in = { .scores = r->parts[SCORES],
                                    .bias = r->bias ? r->bias[layer] : NULL,
                                    .importance = r->parts[IMPORTANCE],
                                    .popularity = r->popularity ? r->popularity + at : NULL };
    const struct route_output out = { r->parts[IDS], r->parts[WEIGHTS], n_slot };
    struct route_stats stats = { 0 };
    const struct route_segment seg = {
        .n_tok = r->f.n_tok,
        .n_plain = r->how.n_plain,
        .group = r->how.group,
        .is_voter = r->how.is_voter,
        .key = selection_layer_key(r->how.key, layer),
        .core_before = r->has_core ? r->cores[1] + at : NULL,
        .ret_core = r->cores[0] ? r->cores[0] + at : NULL,
        .stats = &stats,
        .tokens_per_expert = r->counts,
    };
    enum status st;

    st = ops->upload(r->k, r->parts[SCORES], scores, n_tok * n_exp * sizeof(float), err);
    if (!st && importance)
        st = ops->upload(r->k, r->parts[IMPORTANCE], importance, n_tok * sizeof(float), err);
    if (!st)
        st = ops->route(r->k, r->how.route, &in, &seg, 1, &out, err);
    if (!st)
        st = ops->download(r->k, r->experts, r->parts[IDS], n_slots * sizeof(int32_t), err);
    if (!st)
        st = ops->download(r->k, r->weights, r->parts[WEIGHTS], n_slots * sizeof(float), err);
    if (!st)
        st = ops->sync(r->k, err);
    if (st)
        return st;
    *ret = (struct replay_layer){ .n_unique = stats.n_unique,
                                  .n_natural = stats.n_natural,
                                  .n_core = stats.n_core,
                                  .n_rerouted = stats.n_rerouted,
                                  .n_lost_top1 = stats.n_lost_top1,
                                  .kept_mass = stats.kept_mass,
                                  .n_slot = n_slot,
                                  .experts = r->experts,
                                  .weights = r->weights,
                                  .tokens_per_expert = r->counts };
    return ST_OK;
}
