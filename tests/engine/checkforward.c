/*
 * checkforward: a backend's own forward pass against its ops one by one. They are to give the same
 * bits: logits, statistics, and what the caches hold.
 *
 * Small models of made-up weights and several shapes; ragged batches, caches that grow and are
 * refreshed, every kind of routing that goes another way through the pass, experts dealt to tokens.
 * Each forward runs four times as one (in the backend's ways to run it: first, recorded, replayed),
 * once with marks, and once op by op, as it does when somebody looks on. Then 32 sequences alone,
 * in batches of 8 and all at once (checkforward_batches.c). Exits 77 where the backend does not
 * open.
 *
 * Numeric mode fast promises the same of one call; what it gives is held against mode invariant.
 *
 * Usage: checkforward --shapes DIR [--backend NAME] [--numeric fast] [--seed N] [--forwards N]
 *                     [--shape N] [--canvas N]: one shape alone, shorter sequences
 *                     [--runs N]: how often each forward runs as one
 *                     [--batches N]: forwards of 32 sequences; 0: none
 *        checkforward --shapes DIR --bench SHAPE [--layers N]: times of a step of 32 tokens
 */
#include "checkforward.h"

#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "bits.h"

enum { MAX_BATCH = 4, MAX_BLOCK = 64 };

#define MODES_APART 1e-4 /* 1 - cosine of logits in numeric modes fast and invariant */

static int n_picked;    /* forwards that proposed themselves */
static long n_rows;     /* of logits held against mode invariant */
static double farthest; /* 1 - cosine, of any */

void check(enum status st, const struct error *err)
{
    if (!st)
        return;
    fprintf(stderr, "checkforward: %s\n", err->text);
    exit(1);
}

void *must_alloc(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size);

    if (!p) {
        fprintf(stderr, "checkforward: out of memory\n");
        exit(1);
    }
    return p;
}

float *must_alloc_floats(struct kernels *k, size_t n)
{
    struct error err = { 0 };
    void *p = NULL;

    check(k->ops->alloc(k, n * sizeof(float), &p, &err), &err);
    return p;
}

int between(struct checkforward *c, int first, int last)
{
    return first + (int)rng_below(&c->rng, (uint64_t)(last - first + 1));
}

/* ---- models ------------------------------------------------------------------------------ */

static struct model *open_model(const struct checkforward *c, const char *name,
                                const char *const *overrides, size_t n_overrides, bool is_fast,
                                int max_batch, int max_canvas, int max_block)
{
    char dir[4200];
    const struct engine_options o = { .model_dir = dir,
                                      .load_format = "dummy",
                                      .dummy_seed = 7,
                                      .backend = c->backend,
                                      .is_fast = is_fast,
                                      .max_canvas = max_canvas,
                                      .max_batch = max_batch,
                                      .max_block = max_block,
                                      .overrides = overrides,
                                      .n_overrides = n_overrides };
    struct model *m = NULL;
    struct error err = { 0 };

    snprintf(dir, sizeof(dir), "%s/%s", c->shapes, name);
    check(model_open(&o, &m, &err), &err);
    return m;
}

enum { MAX_OVERRIDES = 8 };

static const struct {
    const char *name;
    const char *overrides[MAX_OVERRIDES];
} shapes_checked[N_SHAPES] = {
    { "tiny-llada-moe", { NULL } },
    { "tiny-llada-moe",
      { "hidden_size=256", "expert_intermediate_size=40", "num_experts=16", "vocab_size=800" } },
    { "tiny-llada-moe",
      { "hidden_size=512", "num_key_value_heads=2", "expert_intermediate_size=256",
        "num_experts=64", "num_experts_per_tok=8" } },
    { "tiny-llada-moe",
      { "hidden_size=320", "num_attention_heads=5", "num_key_value_heads=5", "num_experts=24" } },
    { "tiny-llada2", { NULL } },
    { "tiny-llada2",
      { "hidden_size=512", "num_attention_heads=8", "head_dim=64", "num_experts=64",
        "num_experts_per_tok=8", "n_group=8", "topk_group=4", "intermediate_size=300" } },
    { "llada2.0-mini", { "num_hidden_layers=2" } },
    /* heads that attention leaves to a kernel of their own */
    { "tiny-llada2", { "head_dim=20" } },
    { "tiny-llada-moe", { "hidden_size=72" } },
};

struct model *must_open(const struct checkforward *c, int shape, bool is_fast, int max_batch,
                        int max_block)
{
    const char *const *o = shapes_checked[shape].overrides;
    size_t n = 0;

    while (n < MAX_OVERRIDES && o[n])
        n++;
    return open_model(c, shapes_checked[shape].name, o, n, is_fast, max_batch, MAX_CANVAS,
                      max_block);
}

uint8_t *random_cores(struct checkforward *c, struct model *m)
{
    const struct model_info *info = model_get_info(m);
    const size_t n = (size_t)info->n_moe_layer * (size_t)info->n_exp;
    struct kernels *k = model_kernels(m);
    uint8_t *cores = must_alloc(n, 1);
    struct error err = { 0 };
    void *p = NULL;

    for (size_t e = 0; e < n; e++)
        cores[e] = between(c, 0, 2) != 0;
    check(k->ops->alloc(k, n, &p, &err), &err);
    check(k->ops->upload(k, p, cores, n, &err), &err);
    check(k->ops->sync(k, &err), &err);
    free(cores);
    return p;
}

/* ---- a forward --------------------------------------------------------------------------- */

struct batch {
    int n;
    struct kv_cache *caches[MAX_BATCH], *plain_caches[MAX_BATCH]; /* the latter in mode fast */
    struct forward_item items[MAX_BATCH];
    struct route_params routes[MAX_BATCH];
    int32_t ids[MAX_BATCH][MAX_CANVAS], positions[MAX_BATCH][MAX_CANVAS];
    uint8_t voters[MAX_BATCH][MAX_CANVAS];
    uint8_t *cores[MAX_BATCH][2]; /* backend memory, (n_layer, n_exp) */
    double *popularity;           /* (n_layer, n_exp) */
};

struct route_params random_route(struct checkforward *c, const struct model *m)
{
    struct route_params p = *model_route(m);

    switch (between(c, 0, 9)) {
    case 0:
    case 1: break;
    case 2:
        p.size = SIZE_UNION;
        p.warm = 1;
        break;
    case 3:
        p.keep = KEEP_TOP_P;
        p.keep_p = 0.7;
        p.protect = 0.2;
        break;
    case 4:
        p.size = SIZE_TOP_P;
        p.core_p = 0.5;
        p.mask = p.top_k;
        break;
    case 5: p.top_k = between(c, 1, p.top_k); break;
    default:
        p.size = SIZE_FIXED;
        p.n_core = between(c, p.top_k, p.n_exp);
        p.mask = p.top_k;
        p.elect = (enum route_elect)between(c, ELECT_VOTES, ELECT_STATIC);
        p.vote = (enum route_vote)between(c, VOTE_PROB, VOTE_COUNT);
        p.is_joint = between(c, 0, 3) == 0;
        p.is_lagged = !p.is_joint && between(c, 0, 3) == 0;
        p.is_truncated = between(c, 0, 3) == 0;
        p.inside = (enum route_inside)between(c, INSIDE_NATURAL, INSIDE_LIFTED);
        p.is_guard_drop = between(c, 0, 3) == 0;
        break;
    }
    return p;
}

/* Items of the batch: queries at the end of what a sequence knows, or the whole canvas. */
static void random_items(struct checkforward *c, struct model *m, struct batch *b, bool is_first)
{
    static const int lengths[] = { 1, 2, 7, 8, 9, 16, 31, 32, 33, 40, 64, 65 };
    const struct model_info *info = model_get_info(m);
    bool is_same = between(c, 0, 1), is_whole = is_first || between(c, 0, 5) == 0;
    int n_tok = lengths[between(c, 0, sizeof(lengths) / sizeof(lengths[0]) - 1)];

    b->n = between(c, 1, MAX_BATCH);
    for (int i = 0; i < b->n; i++) {
        struct forward_item *it = &b->items[i];
        int first, n;

        if (!is_same)
            n_tok = lengths[between(c, 0, sizeof(lengths) / sizeof(lengths[0]) - 1)];
        n = is_whole ? c->canvas : n_tok;
        first = is_whole ? 0 : between(c, 0, c->canvas - n);
        b->routes[i] = i && is_same ? b->routes[0] : random_route(c, m);
        for (int t = 0; t < n; t++) {
            b->ids[i][t] = between(c, 0, info->n_vocab - 1);
            b->positions[i][t] = first + t;
            b->voters[i][t] = between(c, 0, 2) == 0;
        }
        *it = (struct forward_item){
            .cache = b->caches[i],
            .ids = b->ids[i],
            .positions = b->positions[i],
            .n_tok = n,
            .n_kv = is_whole ? c->canvas : between(c, first + n, c->canvas),
            .n_logits = between(c, 0, n < 64 ? n : 64),
            .route = &b->routes[i],
            .group = b->routes[i].is_joint || between(c, 0, 3) ? 0 : between(c, 1, n),
            .n_plain = between(c, 0, 4) ? 0 : between(c, 1, n),
            .is_voter = between(c, 0, 1) ? b->voters[i] : NULL,
            .key = rng_below(&c->rng, UINT64_MAX),
            .cores_before = b->routes[i].is_lagged && between(c, 0, 1) ? b->cores[i][0] : NULL,
            .ret_cores = between(c, 0, 1) ? b->cores[i][1] : NULL,
            .popularity = b->popularity,
            .joint = b->routes[i].is_joint ? 1 + (is_same ? 0 : i) : 0,
        };
        it->logits_row = between(c, 0, n - it->n_logits);
    }
}

/* What a forward gives: logits in backend memory, the rest in the host's. */
struct outcome {
    size_t n_logits, n_stats;
    float *logits; /* the model's */
    struct route_stats *stats;
    int32_t *counts; /* (n_stats, n_exp) */
};

static void outcome_free(struct outcome *o)
{
    free(o->stats);
    free(o->counts);
}

static struct outcome run(struct model *m, struct batch *b)
{
    const struct model_info *info = model_get_info(m);
    struct forward_result r;
    struct outcome o = { 0 };
    struct error err = { 0 };
    size_t n_counts;

    check(model_forward(m, b->items, b->n, &r, &err), &err);
    for (int i = 0; i < b->n; i++)
        o.n_logits += (size_t)b->items[i].n_logits * (size_t)info->n_vocab;
    o.n_stats = (size_t)b->n * (size_t)info->n_moe_layer;
    n_counts = o.n_stats * (size_t)info->n_exp;
    o.logits = r.logits;
    o.stats = must_alloc(o.n_stats, sizeof(*o.stats));
    o.counts = must_alloc(n_counts, sizeof(*o.counts));
    memcpy(o.stats, r.stats, o.n_stats * sizeof(*o.stats));
    memcpy(o.counts, r.tokens_per_expert, n_counts * sizeof(*o.counts));
    return o;
}

/* The forward once more, with marks, into the logits that it had before. */
static void time_again(struct model *m, struct batch *b)
{
    const struct model_info *info = model_get_info(m);
    int *unique = must_alloc((size_t)info->n_layer, sizeof(*unique)), n_tok = 0;
    const struct profile *p = NULL;
    struct error err = { 0 };

    check(model_time(m, b->items, b->n, &p, &n_tok, unique, &err), &err);
    for (int l = 0; l < info->n_layer; l++)
        if (profile_ns(p, PROFILE_QKV, l) <= 0 || profile_ns(p, PROFILE_MOE, l) <= 0)
            check(error_set(&err, ST_INTERNAL, "layer %d took no time", l), &err);
    free(unique);
}

const char *compare_routing(const struct route_stats *a, const struct route_stats *b,
                            const int32_t *counts_a, const int32_t *counts_b, size_t n_stats,
                            int n_exp, size_t *ret_at)
{
    for (size_t i = 0; i < n_stats; i++) {
        const struct route_stats *x = &a[i], *y = &b[i];

        *ret_at = i;
        if (x->n_unique != y->n_unique || x->n_natural != y->n_natural || x->n_core != y->n_core ||
            x->n_rerouted != y->n_rerouted || x->n_lost_top1 != y->n_lost_top1 ||
            memcmp(&x->kept_mass, &y->kept_mass, sizeof(x->kept_mass)) != 0)
            return "statistics";
    }
    for (*ret_at = 0; *ret_at < n_stats * (size_t)n_exp; ++*ret_at)
        if (counts_a[*ret_at] != counts_b[*ret_at])
            return "tokens of an expert";
    return NULL;
}

/* What differs first from the logits want (backend memory), or NULL. The model's are gone then. */
static const char *compare_logits(struct model *m, const struct outcome *o, const float *want,
                                  size_t *ret_at)
{
    struct error err = { 0 };

    check(bits_take(model_kernels(m), o->logits, want, o->n_logits, ret_at, &err), &err);
    return *ret_at < o->n_logits ? "logits" : NULL;
}

static enum status look_on(void *arg, int item, const struct layer_view *v, struct error *err)
{
    (void)arg;
    (void)item;
    (void)v;
    (void)err;
    return ST_OK;
}

/* The logits, in host memory. */
static float *must_download(struct model *m, const struct outcome *o)
{
    struct kernels *k = model_kernels(m);
    float *ret = must_alloc(o->n_logits, sizeof(*ret));
    struct error err = { 0 };

    check(k->ops->download(k, ret, o->logits, o->n_logits * sizeof(*ret), &err), &err);
    return ret;
}

/* n logits of the two modes: how far apart do their rows point? */
static void compare_rows(const float *a, const float *b, size_t n, size_t n_vocab)
{
    for (size_t i = 0; i < n; i += n_vocab) {
        double aa = 0, bb = 0, ab = 0, apart;

        for (size_t j = i; j < i + n_vocab; j++) {
            aa += (double)a[j] * (double)a[j];
            bb += (double)b[j] * (double)b[j];
            ab += (double)a[j] * (double)b[j];
        }
        apart = 1 - ab / sqrt(aa * bb);
        n_rows++;
        farthest = apart <= farthest ? farthest : apart; /* NaN is farthest */
    }
}

/*
 * The modes against each other: a canvas, then queries at the end of it. All experts run for each
 * token, so that no choice hangs on a hair; models that have more than a token can take are left
 * out. One layer's experts of mode fast are 2e-3 of their norm off.
 */
static void compare_modes(struct checkforward *c, struct model *m, struct model *plain,
                          struct batch *b)
{
    const struct model_info *info = model_get_info(m);

    if (info->n_exp > KERNEL_MAX_TOP_K)
        return;
    for (int k = 0; k < 2; k++) {
        struct outcome fast, slow;
        float *x, *y;

        random_items(c, m, b, k == 0);
        for (int i = 0; i < b->n; i++) {
            b->routes[i] = *model_route(m);
            b->routes[i].top_k = info->n_exp;
            b->routes[i].n_group = 0;
            b->items[i].joint = b->items[i].group = 0;
            b->items[i].n_plain = 0; /* they would choose experts as the model does */
            b->items[i].cores_before = NULL;
            b->items[i].ret_cores = NULL;
        }
        fast = run(m, b);
        for (int i = 0; i < b->n; i++)
            b->items[i].cache = b->plain_caches[i];
        slow = run(plain, b);
        x = must_download(m, &fast);
        y = must_download(plain, &slow);
        compare_rows(y, x, slow.n_logits, (size_t)info->n_vocab);
        free(x);
        free(y);
        outcome_free(&fast);
        outcome_free(&slow);
    }
}

/* want: backend memory for as many logits as the model can make. */
static int check_forward(const struct checkforward *c, struct model *m, struct batch *b,
                         float *want, int shape, int number)
{
    const struct model_observer observer = { .layer = look_on };
    const int n_exp = model_get_info(m)->n_exp;
    struct outcome ops;
    struct error err = { 0 };
    int n_failed = 0;

    check(model_observe(m, &observer, &err), &err);
    ops = run(m, b);
    check(bits_copy(model_kernels(m), want, ops.logits, ops.n_logits, &err), &err);
    check(model_observe(m, NULL, &err), &err);
    for (int i = 0; i <= c->n_runs; i++) {
        const char *what = NULL, *of_logits;
        size_t at = 0, logits_at = 0;

        if (i < c->n_runs) {
            struct outcome whole = run(m, b);

            what = compare_routing(ops.stats, whole.stats, ops.counts, whole.counts, ops.n_stats,
                                   n_exp, &at);
            outcome_free(&whole);
        } else {
            time_again(m, b);
        }
        of_logits = compare_logits(m, &ops, want, &logits_at);
        if (!what) {
            what = of_logits;
            at = logits_at;
        }
        n_failed += what != NULL;
        if (what)
            printf("shape %d forward %d run %d (%d sequences, first: %d tokens, %d keys): %s "
                   "differ at %zu\n",
                   shape, number, i, b->n, b->items[0].n_tok, b->items[0].n_kv, what, at);
    }
    outcome_free(&ops);
    return n_failed;
}

/* Of a probability in mode fast. The softmax's sums, in two orders, differ by 2e-6; where few of
 * many rows are wanted, their product can be that of few tokens while all rows' is that of many:
 * sums over stretches and over all columns, which the tensor cores cut off rather than round. */
#define FAST_PICK_ERROR 3e-5F

/* Proposals of the forward itself against those of the op from its logits. */
static int check_picks(struct checkforward *c, struct model *m, struct batch *b, int shape,
                       int number)
{
    const struct model_info *info = model_get_info(m);
    struct kernels *k = model_kernels(m);
    struct pick_params params[MAX_BATCH];
    struct pick whole[MAX_BATCH][64], ops[64];
    bool wanted[MAX_BATCH][64];
    struct forward_result r;
    struct error err = { 0 };
    size_t row = 0;
    int n_failed = 0;

    for (int i = 0; i < b->n; i++) {
        struct forward_item *it = &b->items[i];

        params[i] = (struct pick_params){ .mask_id = info->mask_id,
                                          .banned_id = between(c, 0, 3) ? -1 : info->eos_id,
                                          .temperature = between(c, 0, 1) ? 0 : 0.8,
                                          .seed = rng_below(&c->rng, UINT64_MAX),
                                          .draw = (uint64_t)number,
                                          .positions = it->positions + it->logits_row,
                                          .is_wanted = wanted[i] };
        for (int t = 0; t < it->n_logits; t++)
            wanted[i][t] = between(c, 0, 2) != 0;
        it->pick = &params[i];
        it->ret_picks = whole[i];
    }
    check(model_forward(m, b->items, b->n, &r, &err), &err);
    for (int i = 0; i < b->n; i++)
        b->items[i].pick = NULL;
    if (!r.is_picked)
        return 0;
    n_picked++;
    check(model_forward(m, b->items, b->n, &r, &err), &err);
    for (int i = 0; i < b->n; i++) {
        int n = b->items[i].n_logits;

        check(k->ops->pick(k, r.logits + row * (size_t)info->n_vocab, n, info->n_vocab, &params[i],
                           ops, &err),
              &err);
        row += (size_t)n;
        for (int t = 0; t < n; t++) {
            float a = whole[i][t].prob, o = ops[t].prob, off = a > o ? a - o : o - a;

            if (!wanted[i][t])
                continue;
            if (whole[i][t].id == ops[t].id && whole[i][t].is_mask_best == ops[t].is_mask_best &&
                off <= (c->is_fast ? FAST_PICK_ERROR * o : 0))
                continue;
            printf("shape %d forward %d sequence %d row %d: proposed %d (%.9g), by the op %d "
                   "(%.9g)\n",
                   shape, number, i, t, whole[i][t].id, (double)a, ops[t].id, (double)o);
            n_failed++;
        }
    }
    return n_failed;
}

static int check_shape(struct checkforward *c, int shape)
{
    struct batch *b = must_alloc(1, sizeof(*b));
    struct model *m = must_open(c, shape, c->is_fast, MAX_BATCH, MAX_BLOCK);
    struct model *plain = c->is_fast ? must_open(c, shape, false, MAX_BATCH, MAX_BLOCK) : NULL;
    const struct model_info *info = model_get_info(m);
    struct kernels *k = model_kernels(m);
    const size_t n = (size_t)info->n_moe_layer * (size_t)info->n_exp;
    float *want = must_alloc_floats(k, (size_t)MAX_BATCH * MAX_BLOCK * (size_t)info->n_vocab);
    struct error err = { 0 };
    int n_failed = 0;

    b->popularity = must_alloc(n, sizeof(double));
    for (size_t i = 0; i < n; i++)
        b->popularity[i] = rng_uniform(&c->rng);
    for (int i = 0; i < MAX_BATCH; i++) {
        check(kv_cache_new(m, &b->caches[i], &err), &err);
        if (plain)
            check(kv_cache_new(plain, &b->plain_caches[i], &err), &err);
        for (int j = 0; j < 2; j++)
            b->cores[i][j] = random_cores(c, m);
    }
    if (plain)
        compare_modes(c, m, plain, b);
    for (int i = 0; i < c->n_forwards; i++) {
        const struct route_params *own = model_route(m);
        int n_grouped = own->n_group ? info->n_exp / own->n_group * own->topk_group : info->n_exp;
        int n_dealt = i % 4 == 3 ? between(c, own->top_k, n_grouped) : 0;

        check(model_deal(m, n_dealt, MAX_CANVAS, &err), &err);
        random_items(c, m, b, i == 0);
        n_failed += check_forward(c, m, b, want, shape, i);
        n_failed += check_picks(c, m, b, shape, i);
    }
    for (int i = 0; i < MAX_BATCH; i++) {
        kv_cache_free(b->caches[i]);
        kv_cache_free(b->plain_caches[i]);
        for (int j = 0; j < 2; j++)
            k->ops->free(k, b->cores[i][j]);
    }
    k->ops->free(k, want);
    free(b->popularity);
    free(b);
    model_close(m);
    model_close(plain);
    return n_failed;
}

/* ---- times ------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

enum { PREFIX = 256, N_STEP = 32, N_SAMPLES = 21 };

/* A step of N_STEP tokens behind PREFIX cached ones, at several sizes of the coreset; 0: none,
 * below: none, but so many experts for each token, so that all are run. */
static void bench(struct checkforward *c, const char *name, const char *layers)
{
    static const int sizes[] = { 0, -24, -16, 38, 25, 16, 8 };
    const int n_layer = layers ? (int)strtol(layers, NULL, 10) : 0;
    const char *overrides[2];
    char number[64], kinds[256] = "moe_layer_freq=[1";
    struct model *m;
    struct error err = { 0 };
    const struct model_info *info;
    struct kv_cache *cache = NULL;
    struct forward_result r;
    int32_t ids[PREFIX + N_STEP], positions[PREFIX + N_STEP];
    int64_t start = clock_mono_ns(), samples[N_SAMPLES];
    struct forward_item it;

    snprintf(number, sizeof(number), "num_hidden_layers=%d", n_layer);
    for (int l = 1; l < n_layer && l < 64; l++)
        strcat(kinds, ",1");
    strcat(kinds, "]");
    overrides[0] = number;
    overrides[1] = kinds;
    m = open_model(c, name, overrides, layers ? 2 : 0, c->is_fast, 1, PREFIX + N_STEP, N_STEP);
    info = model_get_info(m);
    printf("%s, %s, %d layers: open %.1f s\n", name, info->backend_details, info->n_layer,
           (double)(clock_mono_ns() - start) * 1e-9);
    check(kv_cache_new(m, &cache, &err), &err);
    for (int t = 0; t < PREFIX + N_STEP; t++) {
        ids[t] = between(c, 0, info->n_vocab - 1);
        positions[t] = t;
    }
    it = (struct forward_item){ .cache = cache,
                                .ids = ids,
                                .positions = positions,
                                .n_tok = PREFIX + N_STEP,
                                .n_kv = PREFIX + N_STEP,
                                .n_logits = N_STEP,
                                .route = model_route(m) };
    for (int i = 0; i < 3; i++) {
        start = clock_mono_ns();
        check(model_forward(m, &it, 1, &r, &err), &err);
        printf("prefill of %d: %.0f us\n", it.n_tok, (double)(clock_mono_ns() - start) * 1e-3);
    }
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        struct route_params p = *model_route(m);
        double unique = 0;

        if (sizes[s] > p.n_exp)
            continue;
        if (sizes[s] < 0)
            p.top_k = -sizes[s];
        if (sizes[s] > 0) {
            p.size = SIZE_FIXED;
            p.n_core = sizes[s];
            p.mask = p.top_k;
        }
        it.route = &p;
        it.ids = ids + PREFIX;
        it.positions = positions + PREFIX;
        it.n_tok = N_STEP;
        for (int i = -3; i < N_SAMPLES; i++) {
            start = clock_mono_ns();
            check(model_forward(m, &it, 1, &r, &err), &err);
            if (i >= 0)
                samples[i] = clock_mono_ns() - start;
        }
        for (int l = 0; l < info->n_moe_layer; l++)
            unique += r.stats[l].n_unique;
        qsort(samples, N_SAMPLES, sizeof(*samples), by_value);
        printf("core %2d, U %.1f: median %.1f us, min %.1f, max %.1f\n", sizes[s],
               unique / info->n_moe_layer, (double)samples[N_SAMPLES / 2] * 1e-3,
               (double)samples[0] * 1e-3, (double)samples[N_SAMPLES - 1] * 1e-3);
    }
    kv_cache_free(cache);
    model_close(m);
}

/* ---- main -------------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "shapes", required_argument, NULL, 's' },   { "backend", required_argument, NULL, 'b' },
        { "numeric", required_argument, NULL, 'f' },  { "seed", required_argument, NULL, 'r' },
        { "forwards", required_argument, NULL, 'n' }, { "bench", required_argument, NULL, 't' },
        { "layers", required_argument, NULL, 'l' },   { "canvas", required_argument, NULL, 'c' },
        { "shape", required_argument, NULL, 'o' },    { "runs", required_argument, NULL, 'u' },
        { "batches", required_argument, NULL, 'B' },  { NULL, 0, NULL, 0 },
    };
    struct checkforward c = {
        .backend = "cuda", .canvas = MAX_CANVAS, .n_forwards = 12, .n_runs = 4, .n_batches = 3
    };
    const char *timed = NULL, *layers = NULL;
    unsigned long seed = 1;
    int n_failed = 0, only = -1, o;
    const struct kernel_params params = { .n_threads = 1 };
    const struct kernel_ops *ops;
    struct kernels *k = NULL;
    struct error err = { 0 };

    while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (o) {
        case 's': c.shapes = optarg; break;
        case 'b': c.backend = optarg; break;
        case 'f':
            c.is_fast = strcmp(optarg, "fast") == 0;
            if (!c.is_fast && strcmp(optarg, "invariant") != 0)
                return 2;
            break;
        case 'r': seed = strtoul(optarg, NULL, 10); break;
        case 'n': c.n_forwards = (int)strtol(optarg, NULL, 10); break;
        case 't': timed = optarg; break;
        case 'l': layers = optarg; break;
        case 'o': only = (int)strtol(optarg, NULL, 10); break;
        case 'u': c.n_runs = (int)strtol(optarg, NULL, 10); break;
        case 'c': c.canvas = (int)strtol(optarg, NULL, 10); break;
        case 'B': c.n_batches = (int)strtol(optarg, NULL, 10); break;
        default: return 2;
        }
    }
    if (!c.shapes || c.n_forwards < 0 || c.n_batches < 0 || c.n_runs < 1 || c.canvas < MIN_CANVAS ||
        c.canvas > MAX_CANVAS || only >= N_SHAPES)
        return 2;
    ops = kernel_backend_find(c.backend);
    if (!ops || ops->open(&params, &k, &err)) {
        fprintf(stderr, "skipped: %s\n", ops ? err.text : "the backend is not part of this build");
        return 77;
    }
    ops->close(k);
    rng_seed(&c.rng, seed);
    if (timed) {
        bench(&c, timed, layers);
        return 0;
    }
    for (int i = 0; i < N_SHAPES; i++) {
        if (only >= 0 && only != i)
            continue;
        if (c.n_forwards)
            n_failed += check_shape(&c, i);
        if (c.n_batches && !c.is_fast) /* which does not promise it */
            n_failed += check_batches(&c, i);
    }
    printf("%d shapes of %d forwards, %d with proposals, and %d of 32 sequences, %d runs each, "
           "seed %lu: %d failed\n",
           only < 0 ? (int)N_SHAPES : 1, c.n_forwards, n_picked, c.is_fast ? 0 : c.n_batches,
           c.n_runs, seed, n_failed);
    if (c.is_fast) {
        printf("%ld rows of logits, 1 - cosine to mode invariant %.1e at most\n", n_rows, farthest);
        n_failed += !(n_rows && farthest <= MODES_APART);
    }
    return n_failed != 0;
}
