/*
 * The shipped models (models/mini-*): the trainer's logits, and the same tokens whatever runs them.
 *
 * Vectors: tests/vectors/mini/README.md. Generations are of word problems of mini-gsm8k, with the
 * defaults of each model's generation_config.json unless a test says otherwise.
 */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"
#include "model_vectors.h"

enum { N_PROMPT = 8, MAX_PROMPT = 96, GEN = 64, BLOCK = 32, N_VOCAB = 800, TOP_K = 8 };

static const char *const names[] = { "mini-e64", "mini-e16", "mini2-e64" };

enum { N_NAMES = sizeof(names) / sizeof(names[0]) };

/*
 * What is held against ref. A choice may differ where it hung on less than epsilon: of a router, by
 * how much of its own score the last expert taken is above the first one left out; of the decoder,
 * by which probability a proposal is above the threshold or the best token above the next. Two bf16
 * parts of an activation leave out 2^-17 of it in each product of backend cpu (docs/speed.md);
 * cuda, and cpu where it is asked to, round it to one, 2^-9, and six layers add that up.
 */
static const struct other {
    const char *backend, *isa;
    double epsilon;
} reference = { "ref", NULL, 0 },
  others[] = { { "cpu", NULL, 1e-4 }, { "cpu", "avx512bf16", 0.05 }, { "cuda", NULL, 0.05 } };

enum { N_OTHERS = sizeof(others) / sizeof(others[0]) };

static const struct other *const cpu = &others[0];

TestSuite(mini, .init = keep_no_hashes);

static void model_path(const char *name, char *ret, size_t size)
{
    cr_assert_not_null(getenv("DESBENCH_SOURCE"), "DESBENCH_SOURCE is not set");
    cr_assert_lt(snprintf(ret, size, "%s/models/%s", getenv("DESBENCH_SOURCE"), name), (int)size);
}

static struct safetensors *open_vectors(const char *name)
{
    struct safetensors *s = NULL;
    struct error err = { 0 };
    char path[4200];

    snprintf(path, sizeof(path), "%s/vectors/mini/%s.safetensors", getenv("DESBENCH_TESTS"), name);
    cr_assert_eq(safetensors_open_file(path, &s, &err), ST_OK, "%s", err.text);
    return s;
}

/* Whether that may fail so: ref is always there, others if built and if the machine has them. */
static bool may_lack(const struct other *on, enum status st)
{
    if (on == &reference)
        return false;
    return !kernel_backend_find(on->backend) || st == ST_UNSUPPORTED || st == ST_DEVICE;
}

/* NULL where this machine cannot run the backend. */
static struct model *open_model(const char *name, const struct other *on)
{
    struct error err = { 0 };
    struct model *m = NULL;
    char path[4200];
    struct engine_options o = { .model_dir = path,
                                .load_format = "safetensors",
                                .backend = on->backend,
                                .isa = on->isa,
                                .n_threads = 1,
                                .max_canvas = MAX_PROMPT + GEN,
                                .max_batch = 2 };
    enum status st;

    model_path(name, path, sizeof(path));
    st = model_open(&o, &m, &err);
    cr_assert(st == ST_OK || may_lack(on, st), "%s: %s", on->backend, err.text);
    return m;
}

static float *fetch(struct model *m, const float *p, size_t n)
{
    struct kernels *k = model_kernels(m);
    float *host = calloc(n, sizeof(*host));
    struct error err = { 0 };

    cr_assert(host);
    cr_assert_eq(k->ops->download(k, host, p, n * sizeof(*host), &err), ST_OK, "%s", err.text);
    return host;
}

/* ---- logits ----------------------------------------------------------------------------- */

/* Both sequences of the fixed batch in one forward. */
static void check_logits(const char *name, const struct other *on)
{
    struct safetensors *v = open_vectors(name);
    struct model *m = open_model(name, on);
    struct kv_cache *cache[2] = { NULL, NULL };
    struct forward_item item[2];
    struct canvas c[2];
    float *logits;
    char what[100];

    for (int i = 0; m && i < 2; i++) {
        snprintf(what, sizeof(what), "batch%d.tokens", i);
        canvas_get(v, what, &c[i]);
        cache[i] = new_cache(m);
        item[i] = whole_canvas(m, cache[i], &c[i]);
    }
    if (m) {
        size_t n[2] = { (size_t)c[0].n, (size_t)c[1].n };

        logits = fetch(m, run_forward(m, item, 2).logits, (n[0] + n[1]) * N_VOCAB);
        for (size_t i = 0; i < 2; i++) {
            snprintf(what, sizeof(what), "%s on %s, sequence %zu", name, on->backend, i);
            assert_rows(logits + i * n[0] * N_VOCAB, vector_get(v, NULL, "batch%zu.logits", i),
                        n[i], N_VOCAB, 1e-4, what);
        }
        free(logits);
    }
    kv_cache_free(cache[0]);
    kv_cache_free(cache[1]);
    model_close(m);
    safetensors_close(v);
}

Test(mini, logits_are_those_of_the_trainer_in_fp32)
{
    for (size_t i = 0; i < N_NAMES; i++) {
        check_logits(names[i], &reference);
        check_logits(names[i], cpu);
    }
}

/* ---- generations ------------------------------------------------------------------------ */

static struct engine *open_engine(const char *name, const struct other *on, int max_batch)
{
    struct error err = { 0 };
    struct engine *e = NULL;
    char path[4200];
    struct engine_options o = { .model_dir = path,
                                .load_format = "safetensors",
                                .backend = on->backend,
                                .isa = on->isa,
                                .n_threads = 1,
                                .max_canvas = MAX_PROMPT + GEN,
                                .max_batch = max_batch,
                                .max_block = BLOCK };
    enum status st;

    model_path(name, path, sizeof(path));
    st = engine_open(&o, &e, &err);
    cr_assert(st == ST_OK || may_lack(on, st), "%s: %s", on->backend, err.text);
    return e;
}

static size_t prompt_get(const struct safetensors *v, int i, int32_t ret[MAX_PROMPT])
{
    size_t n;
    const float *ids = vector_get(v, &n, "prompt%d", i);

    cr_assert_leq(n, MAX_PROMPT);
    for (size_t k = 0; k < n; k++)
        ret[k] = (int32_t)ids[k];
    return n;
}

/* threshold 0: the model's. */
static struct sequence *start_at(struct engine *e, const struct safetensors *v, int i,
                                 int gen_length, const char *cache, double threshold)
{
    struct decode_options o = { .selector = "vanilla" };
    struct sequence *s = NULL;
    struct error err = { 0 };
    int32_t prompt[MAX_PROMPT];
    size_t n = prompt_get(v, i, prompt);

    engine_decode_defaults(e, &o);
    o.selector = "vanilla";
    o.gen_length = gen_length;
    o.is_eos_early_stop = true;
    if (cache)
        o.cache = cache;
    if (threshold > 0)
        o.threshold = threshold;
    cr_assert_eq(sequence_start(e, &o, prompt, n, &s, &err), ST_OK, "%s", err.text);
    return s;
}

static struct sequence *start(struct engine *e, const struct safetensors *v, int i)
{
    return start_at(e, v, i, GEN, NULL, 0);
}

/* Until all of n are done. */
static void run(struct engine *e, struct sequence **s, size_t n)
{
    struct error err = { 0 };

    for (bool is_done = false; !is_done;) {
        is_done = true;
        for (size_t i = 0; i < n; i++)
            is_done &= sequence_is_done(s[i]);
        if (!is_done)
            cr_assert_eq(engine_step(e, s, n, &err), ST_OK, "%s", err.text);
    }
}

static bool is_same(const struct generation *a, const struct generation *b)
{
    return a->n_positions == b->n_positions && a->n_forwards == b->n_forwards &&
           memcmp(a->tokens, b->tokens, a->n_positions * sizeof(*a->tokens)) == 0 &&
           memcmp(a->commit_step, b->commit_step, a->n_positions * sizeof(*a->commit_step)) == 0;
}

Test(mini, tokens_are_the_same_in_two_runs_and_in_a_batch)
{
    for (size_t k = 0; k < N_NAMES; k++) {
        struct safetensors *v = open_vectors(names[k]);
        struct engine *e = open_engine(names[k], cpu, 2 * N_PROMPT + 1);
        struct sequence *alone[N_PROMPT], *together[N_PROMPT], *again;
        size_t n_ended = 0;

        for (int i = 0; e && i < N_PROMPT; i++) {
            alone[i] = start(e, v, i);
            run(e, &alone[i], 1);
            together[i] = start(e, v, i);
            n_ended += sequence_result(alone[i])->stop == STOP_EOS;
        }
        if (e) {
            run(e, together, N_PROMPT);
            again = start(e, v, 0);
            run(e, &again, 1);
            cr_assert(is_same(sequence_result(alone[0]), sequence_result(again)));
            sequence_free(again);
            cr_assert_gt(n_ended, 0, "%s ends none of its answers", names[k]);
        }
        for (int i = 0; e && i < N_PROMPT; i++) {
            cr_assert(is_same(sequence_result(alone[i]), sequence_result(together[i])),
                      "%s, prompt %d", names[k], i);
            sequence_free(alone[i]);
            sequence_free(together[i]);
        }
        engine_close(e);
        safetensors_close(v);
    }
}

Test(mini, an_exact_block_cache_changes_no_token)
{
    struct safetensors *v = open_vectors("mini2-e64");
    struct engine *e = open_engine("mini2-e64", cpu, 2);
    int n_tok[2] = { 0, 0 };

    for (int i = 0; e && i < N_PROMPT; i++) {
        struct sequence *s[2] = { start_at(e, v, i, GEN, "block", 0),
                                  start_at(e, v, i, GEN, "none", 0) };
        const struct generation *g[2] = { sequence_result(s[0]), sequence_result(s[1]) };

        run(e, &s[0], 1);
        run(e, &s[1], 1);
        cr_assert(is_same(g[0], g[1]), "prompt %d", i);
        for (size_t f = 0; f < g[0]->n_forwards; f++) {
            n_tok[0] += g[0]->forwards[f].n_tok;
            n_tok[1] += g[1]->forwards[f].n_tok;
        }
        sequence_free(s[0]);
        sequence_free(s[1]);
    }
    cr_assert(!e || n_tok[0] < n_tok[1], "%d tokens of %d", n_tok[0], n_tok[1]);
    engine_close(e);
    safetensors_close(v);
}

/* ---- ref against cpu -------------------------------------------------------------------- */

enum { N_LAYER = 6, MAX_EXP = 64 };

/* What the routers said in one forward, and whom they chose. */
struct routing {
    float scores[N_LAYER][MAX_PROMPT + GEN][MAX_EXP];
    int32_t experts[N_LAYER][MAX_PROMPT + GEN][TOP_K]; /* ascending */
};

static enum status see_layer(void *arg, int item, const struct layer_view *v, struct error *err)
{
    struct routing *r = arg;

    (void)item;
    (void)err;
    cr_assert(v->layer < N_LAYER && v->n_tok <= MAX_PROMPT + GEN && v->n_exp <= MAX_EXP &&
              v->n_slot == TOP_K);
    for (size_t t = 0; t < (size_t)v->n_tok; t++) {
        memcpy(r->scores[v->layer][t], v->scores + t * (size_t)v->n_exp,
               (size_t)v->n_exp * sizeof(float));
        memcpy(r->experts[v->layer][t], v->experts + t * TOP_K, TOP_K * sizeof(int32_t));
    }
    return ST_OK;
}

/* A sequence's place in a model: the same forwards again, one by one. */
struct player {
    struct model *model;
    struct kv_cache *cache;
    struct routing routing;       /* of the last forward */
    float *logits;                /* likewise, of the block: (BLOCK, N_VOCAB) */
    float bias[N_LAYER][MAX_EXP]; /* added to scores for choosing */
};

/* Biases of a model's routers, from its weights: model layer i + n_dense has those of layer i. */
static void bias_get(const char *name, float ret[N_LAYER][MAX_EXP])
{
    struct safetensors *w = NULL;
    struct error err = { 0 };
    char path[4200], tensor[100];
    int n = 0;

    model_path(name, path, sizeof(path));
    cr_assert_eq(safetensors_open_dir(path, &w, &err), ST_OK, "%s", err.text);
    for (int i = 0; i < N_LAYER; i++) {
        const struct tensor *t;

        snprintf(tensor, sizeof(tensor), "model.layers.%d.mlp.gate.expert_bias", i);
        t = safetensors_find(w, tensor);
        if (t) {
            cr_assert_eq(t->dtype, DT_F32);
            cr_assert_leq(t->bytes, sizeof(ret[n]));
            memcpy(ret[n++], t->data, t->bytes);
        }
    }
    safetensors_close(w);
}

/* NULL where this machine cannot run the backend. */
static struct player *player_new(const char *name, const struct other *on)
{
    struct player *p = calloc(1, sizeof(*p));

    cr_assert(p);
    p->model = open_model(name, on);
    if (!p->model) {
        free(p);
        return NULL;
    }
    p->cache = new_cache(p->model);
    bias_get(name, p->bias);
    return p;
}

static void player_free(struct player *p)
{
    if (!p)
        return;
    free(p->logits);
    kv_cache_free(p->cache);
    model_close(p->model);
    free(p);
}

/* Positions [first, first + n_tok) of a canvas of n, logits of the block at `block`. */
static void play(struct player *p, const int32_t *canvas, int n, int first, int n_tok, int block)
{
    struct model_observer o = { .layer = see_layer, .arg = &p->routing };
    int32_t positions[MAX_PROMPT + GEN];
    struct forward_item item = { .cache = p->cache,
                                 .ids = canvas + first,
                                 .positions = positions,
                                 .n_tok = n_tok,
                                 .n_kv = n,
                                 .logits_row = block - first,
                                 .n_logits = BLOCK,
                                 .route = model_route(p->model) };

    for (int i = 0; i < n_tok; i++)
        positions[i] = first + i;
    cr_assert_eq(model_observe(p->model, &o, NULL), ST_OK);
    free(p->logits);
    p->logits = fetch(p->model, run_forward(p->model, &item, 1).logits, (size_t)BLOCK * N_VOCAB);
}

/* By how much of itself the last of the n largest values is above the next one; n < MAX_EXP. */
static double cut_margin(const double *values, int n_values, int n)
{
    double best[MAX_EXP];

    for (int k = 0; k <= n; k++)
        best[k] = -INFINITY;
    for (int i = 0; i < n_values; i++) {
        double v = values[i];

        for (int k = 0; k <= n; k++)
            if (v > best[k]) {
                double tmp = best[k];

                best[k] = v;
                v = tmp;
            }
    }
    return (best[n - 1] - best[n]) / best[n - 1];
}

/* By how much of its own score the last expert taken is above the first one left out; with groups,
 * the last group's two largest above the next one's, if that is less. */
static double router_margin(const struct player *p, int layer, int token)
{
    const struct model_info *info = model_get_info(p->model);
    const struct model_routing *r = &info->routing;
    int n_group = r->n_group ? r->n_group : 1, size = info->n_exp / n_group;
    double biased[MAX_EXP], left[MAX_EXP], sum[MAX_EXP], margin = INFINITY;
    int n_left = 0;

    for (int e = 0; e < info->n_exp; e++)
        biased[e] = (double)p->routing.scores[layer][token][e] + (double)p->bias[layer][e];
    for (int g = 0; g < n_group; g++) {
        double first = -INFINITY, second = -INFINITY;

        for (int e = g * size; e < (g + 1) * size; e++) {
            second = fmax(second, fmin(first, biased[e]));
            first = fmax(first, biased[e]);
        }
        sum[g] = first + second;
    }
    if (r->n_group)
        margin = cut_margin(sum, n_group, r->topk_group);
    for (int g = 0; g < n_group; g++) {
        int n_above = 0;

        for (int o = 0; o < n_group; o++)
            n_above += sum[o] > sum[g];
        for (int e = g * size; (!r->n_group || n_above < r->topk_group) && e < (g + 1) * size; e++)
            left[n_left++] = biased[e];
    }
    return fmin(margin, cut_margin(left, n_left, TOP_K));
}

/*
 * Where two players' routers first chose otherwise in the forward they have just run: the layer,
 * or -1, and the largest margin, by the first one's scores, of a token whose experts differ there.
 * Behind that layer tokens are not the same any more.
 */
static int find_other_choice(const struct player *a, const struct player *b, int n_tok,
                             double *ret_margin)
{
    *ret_margin = 0;
    for (int l = 0; l < N_LAYER; l++) {
        bool is_other = false;

        for (int t = 0; t < n_tok; t++)
            if (memcmp(a->routing.experts[l][t], b->routing.experts[l][t],
                       sizeof(a->routing.experts[l][t]))) {
                is_other = true;
                *ret_margin = fmax(*ret_margin, router_margin(a, l, t));
            }
        if (is_other)
            return l;
    }
    return -1;
}

static void propose(const struct player *p, struct pick ret[BLOCK])
{
    struct kernels *k = model_kernels(p->model);
    struct pick_params params = { .mask_id = model_get_info(p->model)->mask_id, .banned_id = -1 };
    size_t size = (size_t)BLOCK * N_VOCAB * sizeof(float);
    struct error err = { 0 };
    void *dev = NULL;

    cr_assert_eq(k->ops->alloc(k, size, &dev, &err), ST_OK, "%s", err.text);
    cr_assert_eq(k->ops->upload(k, dev, p->logits, size, &err), ST_OK, "%s", err.text);
    cr_assert_eq(k->ops->pick(k, dev, BLOCK, N_VOCAB, &params, ret, &err), ST_OK, "%s", err.text);
    k->ops->free(k, dev);
}

/*
 * How close the threshold decoder's decision on one row of the block was: the probability that
 * separates it from the cut, the proposal from the next token, or it from the mask, which would
 * have taken it out.
 */
static double decoder_margin(const struct player *p, const int32_t *block, int row,
                             double threshold)
{
    int32_t mask_id = model_get_info(p->model)->mask_id;
    const float *logits = p->logits + (size_t)row * N_VOCAB;
    struct pick picks[BLOCK];
    double best = 0, second = 0, mask, own, margin;

    propose(p, picks);
    for (int i = 0; i < BLOCK; i++)
        if (block[i] == mask_id && !picks[i].is_mask_best)
            best = fmax(best, (double)picks[i].prob);
    own = (double)picks[row].prob;
    for (int i = 0; i < N_VOCAB; i++)
        if (i != mask_id && i != picks[row].id)
            second = fmax(second, own * exp((double)logits[i] - (double)logits[picks[row].id]));
    mask = own * exp((double)logits[mask_id] - (double)logits[picks[row].id]);
    margin = fabs(own - fmin(best - 1e-5, threshold));
    return fmin(margin, fmin(own - second, fabs(own - mask)));
}

/* The first forward after which two sequences are not the same, and the choice that parted them. */
struct parting {
    int forward, position; /* -1: they did not part */
    const char *choice; /* "router", in this forward or the one that filled its cache; "decoder" */
    double margin;      /* of that choice, on backend ref */
};

/* Canvas position where the block of an answer's position begins. */
static int block_start(const struct model *m, int n_prompt, int position)
{
    int grid = model_get_info(m)->mask_block;

    return grid ? (n_prompt + position) / grid * grid : n_prompt + position / BLOCK * BLOCK;
}

/*
 * Find it by running that forward, and with a dual cache the one that filled it, on ref and on the
 * other one. What comes first in the computation decides: as long as all routers chose alike, later
 * numbers differ by rounding alone.
 */
static struct parting find_parting(const char *name, const struct other *on,
                                   const struct sequence *sa, const struct sequence *sb,
                                   const int32_t *prompt, size_t n_prompt, double threshold)
{
    const struct generation *a = sequence_result(sa), *b = sequence_result(sb);
    struct parting ret = { .forward = -1, .position = -1 };
    struct player *p[2];
    int32_t canvas[MAX_PROMPT + GEN];
    int n = (int)(n_prompt + a->n_positions), start, refresh;
    bool is_exact; /* the cache: a forward without it has the same numbers */

    for (int i = 0; i < (int)a->n_positions; i++) {
        int at = a->commit_step[i], bt = b->commit_step[i];
        int first = at < 0 ? bt : bt < 0 || at < bt ? at : bt;

        if (first >= 0 && (ret.forward < 0 || first < ret.forward) &&
            (at != bt || a->tokens[i] != b->tokens[i])) {
            ret.forward = first;
            ret.position = i;
        }
    }
    if (ret.forward < 0)
        return ret;
    p[0] = player_new(name, &reference);
    p[1] = player_new(name, on);
    start = block_start(p[0]->model, (int)n_prompt, ret.position);
    is_exact = model_get_info(p[0]->model)->mask_block;
    if (is_exact)
        n = start + BLOCK;
    refresh = ret.forward;
    while (!is_exact && refresh > 0 && !a->forwards[refresh].is_cache_refresh &&
           a->n_forwards_cache)
        refresh--;
    memcpy(canvas, prompt, n_prompt * sizeof(*canvas));
    for (int f = refresh;; f = ret.forward) {
        bool is_step = f > refresh; /* on a cache: the block alone */
        int first = is_step ? start : 0, n_tok = is_step ? BLOCK : n;

        for (size_t i = 0; i < a->n_positions && (int)(n_prompt + i) < n; i++)
            canvas[n_prompt + i] = a->commit_step[i] >= 0 && a->commit_step[i] < f
                                       ? a->tokens[i]
                                       : model_get_info(p[0]->model)->mask_id;
        play(p[0], canvas, n, first, n_tok, start);
        play(p[1], canvas, n, first, n_tok, start);
        if (find_other_choice(p[0], p[1], n_tok, &ret.margin) >= 0) {
            ret.choice = "router";
            break;
        }
        if (f == ret.forward) {
            ret.choice = "decoder";
            ret.margin = decoder_margin(p[0], canvas + start, (int)n_prompt + ret.position - start,
                                        threshold);
            break;
        }
    }
    player_free(p[0]);
    player_free(p[1]);
    return ret;
}

/* Decode a block of one prompt on ref and on another; false where there is no such. */
static bool decode_both(const char *name, const struct other *on, int i, const char *cache,
                        double threshold_ref, double threshold_other, struct parting *ret)
{
    struct safetensors *v = open_vectors(name);
    struct engine *e[2] = { open_engine(name, &reference, 1), open_engine(name, on, 1) };
    double threshold[2] = { threshold_ref, threshold_other };
    bool has_other = e[1];
    struct sequence *s[2];
    int32_t prompt[MAX_PROMPT];
    size_t n = prompt_get(v, i, prompt);

    for (int k = 0; has_other && k < 2; k++) {
        s[k] = start_at(e[k], v, i, BLOCK, cache, threshold[k]);
        run(e[k], &s[k], 1);
    }
    if (has_other) {
        *ret = find_parting(name, on, s[0], s[1], prompt, n, threshold_ref);
        if (ret->forward >= 0)
            cr_log_info("%s on %s, prompt %d, cache %s: forward %d differs at position %d by the "
                        "%s's choice, margin %.2g",
                        name, on->isa ? on->isa : on->backend, i, cache, ret->forward,
                        ret->position, ret->choice, ret->margin);
        sequence_free(s[0]);
        sequence_free(s[1]);
    }
    engine_close(e[0]);
    engine_close(e[1]);
    safetensors_close(v);
    return has_other;
}

/* Of each model: without a cache, and with its own. */
static const char *const caches[N_NAMES][2] = { { "none", "dual" },
                                                { "none", "dual" },
                                                { "none", "block" } };

Test(mini, backends_part_from_ref_only_where_a_choice_was_close)
{
    for (const struct other *on = others; on < others + N_OTHERS; on++)
        for (int k = 0; k < 4 * N_NAMES; k++) {
            const char *name = names[k / 4];
            struct parting p;
            int i = k % 4;

            if (decode_both(name, on, i, caches[k / 4][i % 2], 0.95, 0.95, &p) && p.forward >= 0)
                cr_expect_lt(p.margin, on->epsilon,
                             "%s on %s, prompt %d: the %s's choice was not close: %g", name,
                             on->backend, i, p.choice, p.margin);
        }
}

/* Proposals of ref and cpu for the first forward of a prompt, and the first row of the block that
 * is not the prompt's; false where there is no cpu. */
static bool propose_both(const char *name, int i, struct pick ret[2][BLOCK], int *ret_first)
{
    struct safetensors *v = open_vectors(name);
    struct player *p[2] = { player_new(name, &reference), player_new(name, cpu) };
    int32_t canvas[MAX_PROMPT + GEN];
    int n = (int)prompt_get(v, i, canvas), first = block_start(p[0]->model, n, 0);
    bool has_cpu = p[1];

    for (int k = n; k < first + BLOCK; k++)
        canvas[k] = model_get_info(p[0]->model)->mask_id;
    for (int k = 0; has_cpu && k < 2; k++) {
        play(p[k], canvas, first + BLOCK, 0, first + BLOCK, first);
        propose(p[k], ret[k]);
    }
    *ret_first = n - first;
    player_free(p[0]);
    player_free(p[1]);
    safetensors_close(v);
    return has_cpu;
}

/*
 * A prompt and a row of its first forward that a threshold about the row's probability decides on,
 * the best one being well above. is_other: where the two backends' probabilities differ. -1: there
 * is none.
 */
static int find_row(const char *name, bool is_other, int *ret_prompt, struct pick ret[2][BLOCK])
{
    int first;

    for (int i = 1; i < N_PROMPT && propose_both(name, i, ret, &first); i++) {
        double best = 0;

        for (int k = first; k < BLOCK; k++)
            best = fmax(best, (double)ret[0][k].prob);
        for (int k = first; k < BLOCK; k++)
            if (!ret[0][k].is_mask_best && !ret[1][k].is_mask_best &&
                ret[0][k].id == ret[1][k].id && (double)ret[0][k].prob < best - 0.05 &&
                (!is_other || ret[0][k].prob != ret[1][k].prob)) {
                *ret_prompt = i;
                return k;
            }
    }
    return -1;
}

/* With the threshold between what the two make of one proposal they must part, and closely. */
Test(mini, a_threshold_between_two_backends_parts_them_by_a_close_choice)
{
    for (size_t k = 0; k < N_NAMES; k++) {
        struct pick picks[2][BLOCK];
        struct parting p;
        double threshold;
        int i, row = find_row(names[k], true, &i, picks);
        bool is_block = strcmp(caches[k][1], "block") == 0;

        if (row < 0) {
            cr_log_info("%s: backends ref and cpu propose alike", names[k]);
            continue;
        }
        /* The decoder of a block-causal model takes what is above it, the other what it is, too. */
        threshold = (double)(is_block ? fminf(picks[0][row].prob, picks[1][row].prob)
                                      : fmaxf(picks[0][row].prob, picks[1][row].prob));
        cr_assert(decode_both(names[k], cpu, i, caches[k][1], threshold, threshold, &p));
        cr_assert_eq(p.forward, 0);
        cr_expect_lt(p.margin, cpu->epsilon, "%s: %s, %g", names[k], p.choice, p.margin);
    }
}

/* And where they part for another reason than rounding, nothing is called close. */
Test(mini, a_parting_that_no_close_choice_explains_is_seen)
{
    for (size_t k = 0; k < N_NAMES; k++) {
        struct pick picks[2][BLOCK];
        struct parting p;
        double own;
        int i, row = find_row(names[k], false, &i, picks);

        if (row < 0) {
            cr_log_info("%s: there is no backend cpu, or no row", names[k]);
            continue;
        }
        own = (double)picks[0][row].prob;
        cr_assert(decode_both(names[k], cpu, i, caches[k][1], own + 0.01, own - 0.01, &p));
        cr_assert_eq(p.forward, 0);
        cr_expect_str_eq(p.choice, "decoder");
        cr_expect_gt(p.margin, cpu->epsilon);
    }
}

/* The same in a forward on a dual cache, which takes the one that filled it to run again. */
Test(mini, a_parting_on_a_cache_is_found)
{
    struct parting p;

    if (!decode_both("mini-e16", cpu, 1, "dual", 0.95, 0.9, &p))
        cr_skip_test("backend cpu is not available");
    cr_expect_eq(p.forward, 1);
    cr_expect_str_eq(p.choice, "decoder");
    cr_expect(p.margin > cpu->epsilon && p.margin < 0.05,
              "a probability of 0.9 to 0.95, not %g away", p.margin);
}

/*
 * On half-revealed canvases: routers that choose otherwise, if any, were close, and up to them no
 * score is off by half of epsilon, which is then neither too strict nor without a reason.
 */
static void check_routers(const char *name, const struct other *on)
{
    struct safetensors *v = open_vectors(name);
    struct player *p[2] = { player_new(name, &reference), player_new(name, on) };
    int n_exp = model_get_info(p[0]->model)->n_exp;

    for (int i = 0; p[1] && i < 4; i++) {
        int32_t canvas[MAX_PROMPT + GEN];
        int n = (int)prompt_get(v, i, canvas) + BLOCK, other;
        double margin, off = 0;

        for (int j = 0; j < BLOCK; j++)
            canvas[n - BLOCK + j] =
                j < BLOCK / 2 ? canvas[j + 5] : model_get_info(p[0]->model)->mask_id;
        play(p[0], canvas, n, 0, n, n - BLOCK);
        play(p[1], canvas, n, 0, n, n - BLOCK);
        other = find_other_choice(p[0], p[1], n, &margin);
        for (int l = 0; l <= (other < 0 ? N_LAYER - 1 : other); l++)
            for (int t = 0; t < n; t++)
                for (int e = 0; e < n_exp; e++) {
                    double a = (double)p[0]->routing.scores[l][t][e];
                    double b = (double)p[1]->routing.scores[l][t][e];

                    off = fmax(off, fabs(a - b) / a);
                }
        cr_log_info("%s on %s, canvas %d: scores off by at most %.2g; layer %d, margin %.2g", name,
                    on->isa ? on->isa : on->backend, i, off, other, margin);
        cr_expect_lt(off, on->epsilon / 2, "%s on %s, canvas %d: %g", name, on->backend, i, off);
        cr_expect_lt(margin, on->epsilon, "%s on %s, canvas %d, layer %d: %g", name, on->backend, i,
                     other, margin);
    }
    player_free(p[0]);
    player_free(p[1]);
    safetensors_close(v);
}

Test(mini, routers_choose_otherwise_only_where_scores_were_close)
{
    for (const struct other *on = others; on < others + N_OTHERS; on++)
        for (size_t k = 0; k < N_NAMES; k++)
            check_routers(names[k], on);
}
