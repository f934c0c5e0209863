#include "tests/engine/fake_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "engine/tokenizer.h"

struct fake_kernels {
    struct kernels k;
    struct kernel_ops ops;
};

struct model {
    struct fake_settings set;
    struct fake_kernels kernels;
    struct model_info info;
    struct engine_options opts;
    struct route_params route;
    struct model_observer observer;
    float *logits;
    struct route_stats *stats;
    int32_t *counts;
};

struct kv_cache {
    uint64_t *ids, *keys;
};

struct fake_item fake_last[16];
struct fake_pick fake_last_pick;
int fake_n_last, fake_n_forwards;
static int live_caches;

int fake_live_caches(void)
{
    return live_caches;
}

static uint64_t mix(uint64_t h, uint64_t x)
{
    h ^= x;
    return splitmix64(&h);
}

/* Argmax and softmax in f64; Gumbel noise keyed by seed, draw, position and token. */
static enum status fake_pick(struct kernels *k, const float *logits, int n_rows, int n_vocab,
                             const struct pick_params *p, struct pick *ret, struct error *err)
{
    (void)k;
    (void)err;
    fake_last_pick = (struct fake_pick){ n_rows, p->positions[0], *p };
    for (int r = 0; r < n_rows; r++) {
        const float *l = logits + (size_t)r * (size_t)n_vocab;
        double max = -INFINITY, sum = 0, best_score = -INFINITY;
        int best = -1, top = 0;

        for (int v = 0; v < n_vocab; v++)
            if (l[v] > max) {
                max = l[v];
                top = v;
            }
        for (int v = 0; v < n_vocab; v++) {
            uint64_t key = mix(mix(mix(p->seed, p->draw), (uint64_t)p->positions[r]), (uint64_t)v);
            double u = ((double)(key >> 11) + 0.5) * 0x1p-53, score = l[v];

            sum += exp(l[v] - max);
            if (p->temperature > 0)
                score -= p->temperature * log(-log(u));
            if (v != p->mask_id && v != p->banned_id && (best < 0 || score > best_score)) {
                best = v;
                best_score = score;
            }
        }
        ret[r] = (struct pick){ best, (float)(exp(l[best] - max) / sum), top == p->mask_id };
    }
    return ST_OK;
}

static enum status fake_bias(struct kernels *k, float *logits, int n_vocab,
                             const struct logit_bias *bias, int n, struct error *err)
{
    (void)k;
    (void)err;
    for (int i = 0; i < n; i++)
        logits[bias[i].row * n_vocab + bias[i].id] += bias[i].value;
    return ST_OK;
}

struct fake_settings fake_defaults(void)
{
    return (struct fake_settings){ .n_vocab = 12,
                                   .max_canvas = 64,
                                   .max_batch = 4,
                                   .max_block = 64,
                                   .mask_id = 11,
                                   .eos_id = 10,
                                   .seed = 1,
                                   .scale = 8,
                                   .eos_from = 1000,
                                   .fail_caches = -1 };
}

struct model *fake_model_new(const struct fake_settings *s)
{
    struct model *m = calloc(1, sizeof(*m));
    size_t rows = (size_t)s->max_canvas * (size_t)s->max_batch;

    if (!m)
        return NULL;
    m->set = *s;
    m->kernels.ops = (struct kernel_ops){ .name = "fake",
                                          .pick = s->has_no_pick ? NULL : fake_pick,
                                          .bias_logits = fake_bias };
    m->kernels.k.ops = &m->kernels.ops;
    m->opts = (struct engine_options){ .max_canvas = s->max_canvas,
                                       .max_batch = s->max_batch,
                                       .max_block = s->max_block };
    m->info = (struct model_info){ .name = "made-up",
                                   .architecture = "Fake",
                                   .n_moe_layer = FAKE_N_LAYER,
                                   .n_exp = FAKE_N_EXP,
                                   .n_vocab = s->n_vocab,
                                   .mask_block = s->mask_block,
                                   .mask_id = s->mask_id,
                                   .eos_id = s->eos_id,
                                   .expert_bytes = FAKE_EXPERT_BYTES };
    m->route =
        (struct route_params){ .n_exp = FAKE_N_EXP, .top_k = 3, .top_k_base = 3, .scale = 1 };
    m->logits = calloc(rows * (size_t)s->n_vocab, sizeof(float));
    m->stats = calloc((size_t)s->max_batch * FAKE_N_LAYER, sizeof(*m->stats));
    m->counts = calloc((size_t)s->max_batch * FAKE_N_LAYER * FAKE_N_EXP, sizeof(*m->counts));
    if (!m->logits || !m->stats || !m->counts) {
        model_close(m);
        return NULL;
    }
    fake_n_forwards = 0;
    return m;
}

void model_close(struct model *m)
{
    if (!m)
        return;
    free(m->counts);
    free(m->stats);
    free(m->logits);
    free(m);
}

const struct model_info *model_get_info(const struct model *m)
{
    return &m->info;
}

const struct tokenizer *model_tokenizer(const struct model *m)
{
    (void)m;
    return NULL;
}

void tokenizer_close(struct tokenizer *t)
{
    (void)t;
}

struct kernels *model_kernels(struct model *m)
{
    return &m->kernels.k;
}

const struct engine_options *model_options(const struct model *m)
{
    return &m->opts;
}

const struct weight *model_embedding(const struct model *m)
{
    (void)m;
    return NULL;
}

const struct route_params *model_route(const struct model *m)
{
    return &m->route;
}

enum status model_observe(struct model *m, const struct model_observer *o, struct error *err)
{
    (void)err;
    m->observer = o ? *o : (struct model_observer){ 0 };
    return ST_OK;
}

/* Layer by layer, as the real forward does. */
static enum status tell(const struct model *m, const struct forward_item *items, int n_items,
                        struct error *err)
{
    enum status st = ST_OK;

    for (int l = 0; l < FAKE_N_LAYER && m->observer.layer && !st; l++)
        for (int i = 0; i < n_items && !st; i++) {
            struct layer_view v = { .layer = l,
                                    .n_tok = items[i].n_tok,
                                    .n_exp = FAKE_N_EXP,
                                    .ids = items[i].ids,
                                    .positions = items[i].positions };

            st = m->observer.layer(m->observer.arg, i, &v, err);
        }
    return st;
}

enum status kv_cache_new(struct model *m, struct kv_cache **ret, struct error *err)
{
    struct kv_cache *c;

    if (live_caches == m->set.fail_caches)
        return error_set(err, ST_NOMEM, "no room for a cache");
    c = calloc(1, sizeof(*c));
    if (c) {
        c->ids = calloc((size_t)m->set.max_canvas, sizeof(*c->ids));
        c->keys = calloc((size_t)m->set.max_canvas, sizeof(*c->keys));
    }
    if (!c || !c->ids || !c->keys) {
        if (c) {
            free(c->ids);
            free(c->keys);
        }
        free(c);
        return error_set(err, ST_NOMEM, "out of memory");
    }
    live_caches++;
    *ret = c;
    return ST_OK;
}

void kv_cache_free(struct kv_cache *c)
{
    if (!c)
        return;
    live_caches--;
    free(c->ids);
    free(c->keys);
    free(c);
}

static void row_logits(const struct fake_settings *s, uint64_t ctx, int pos, float *ret)
{
    uint64_t at = mix(ctx, (uint64_t)(s->is_twin ? pos / 2 : pos));

    for (int v = 0; v < s->n_vocab; v++) {
        uint64_t bits = mix(at, (uint64_t)v) >> 40;

        if (s->levels)
            bits = (bits * (uint64_t)s->levels >> 24) * ((1U << 24) / (uint64_t)s->levels);
        ret[v] = (float)((double)bits * 0x1p-24 * s->scale);
    }
    if (s->mask_every && mix(s->seed, (uint64_t)pos) % (uint64_t)s->mask_every == 0)
        ret[s->mask_id] = (float)s->scale;
    ret[s->eos_id] = pos >= s->eos_from ? (float)s->scale : 0;
    if (s->is_nan)
        ret[0] = NAN;
}

/* Nobody times the fake. */
enum status model_time(struct model *m, const struct forward_item *items, int n_items,
                       const struct profile **ret, int *ret_n_tok, int *ret_unique,
                       struct error *err)
{
    (void)m;
    (void)items;
    (void)n_items;
    (void)ret;
    (void)ret_n_tok;
    (void)ret_unique;
    return error_set(err, ST_UNSUPPORTED, "a fake takes no time");
}

/* Where what a position sees ends, of n_kv positions. */
static int visible_end(int pos, int block, int n_kv)
{
    int end = block ? (pos / block + 1) * block : n_kv;

    return end < n_kv ? end : n_kv;
}

enum status model_forward(struct model *m, const struct forward_item *items, int n_items,
                          struct forward_result *ret, struct error *err)
{
    size_t row = 0, n = 0;

    fake_n_last = 0;
    for (int i = 0; i < n_items; i++) {
        const struct forward_item *it = &items[i];
        struct kv_cache *c = it->cache;
        int block = m->set.mask_block && it->mask_block ? it->mask_block : m->set.mask_block;

        fake_last[fake_n_last++] =
            (struct fake_item){ it->positions[0], it->n_tok,    it->n_kv,
                                it->logits_row,   it->n_logits, it->route->top_k };
        for (int t = 0; t < it->n_tok; t++)
            c->ids[it->positions[t]] = (uint64_t)it->ids[t];
        for (int t = 0; t < it->n_tok; t++) {
            int pos = it->positions[t];
            uint64_t ctx = m->set.seed;

            for (int p = 0; p < visible_end(pos, block, it->n_kv); p++)
                ctx = mix(ctx, c->ids[p]);
            c->keys[pos] = mix(ctx, (uint64_t)pos);
        }
        for (int r = 0; r < it->n_logits; r++) {
            int pos = it->positions[it->logits_row + r];
            uint64_t seen = m->set.seed;

            for (int p = 0; p < visible_end(pos, block, it->n_kv); p++)
                seen = mix(seen, c->keys[p]);
            row_logits(&m->set, seen, pos, m->logits + row++ * (size_t)m->set.n_vocab);
        }
        for (int l = 0; l < FAKE_N_LAYER; l++) {
            m->stats[n] = (struct route_stats){ .n_unique = l + it->n_tok % 3,
                                                .n_rerouted = it->n_tok,
                                                .n_lost_top1 = it->n_logits,
                                                .kept_mass = 0.5 };
            for (int e = 0; e < FAKE_N_EXP; e++)
                m->counts[n * FAKE_N_EXP + (size_t)e] = it->n_tok * 100 + l * 10 + e;
            n++;
        }
    }
    fake_n_forwards++;
    if (m->set.fail_forwards > 0) { /* after the caches were written, as on a real device */
        m->set.fail_forwards--;
        return error_set(err, ST_DEVICE, "made-up fault");
    }
    *ret = (struct forward_result){ m->logits, m->stats, m->counts, NULL, false };
    return tell(m, items, n_items, err);
}
