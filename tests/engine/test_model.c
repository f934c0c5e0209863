/*
 * The forward pass against vectors of stock transformers (tests/vectors/model/README.md), on
 * every backend of the build that this machine runs and whose memory is the host's.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/model_impl.h"
#include "model_vectors.h"
#include "tests/base/fail_malloc.h"

enum { N_VOCAB = 288, N_EXP = 8, N_LAYER = 2, D_MODEL = 64 };

static const int lengths[] = { 5, 32, 33, 70 };

TestSuite(model, .init = keep_no_hashes);

/* Rows of backend memory in host memory; free() them. */
static float *fetch(struct model *m, const float *p, size_t n)
{
    struct kernels *k = model_kernels(m);
    float *host = calloc(n, sizeof(*host));
    struct error err = { 0 };

    cr_assert(host);
    cr_assert_eq(k->ops->download(k, host, p, n * sizeof(*host), &err), ST_OK, "%s", err.text);
    return host;
}

static void check_logits(const char *name, const char *backend, int n)
{
    struct safetensors *v = vectors_open(name);
    struct model *m = vector_model(name, backend, 1);
    struct forward_item item;
    struct canvas c;
    char what[100];
    float *logits;

    if (m) {
        struct kv_cache *cache = new_cache(m);

        snprintf(what, sizeof(what), "L%d.tokens", n);
        canvas_get(v, what, &c);
        item = whole_canvas(m, cache, &c);
        logits = fetch(m, run_forward(m, &item, 1).logits, (size_t)n * N_VOCAB);
        snprintf(what, sizeof(what), "%s on %s, L=%d", name, backend, n);
        assert_rows(logits, vector_get(v, NULL, "L%d.logits", n), (size_t)n, N_VOCAB,
                    backend_tolerance(backend), what);
        free(logits);
        kv_cache_free(cache);
    }
    model_close(m);
    safetensors_close(v);
}

Test(model, logits_agree_with_transformers)
{
    FOR_EACH_BACKEND(b)
    {
        for (size_t i = 0; i < 4 && !backend_rounds(b); i++)
            check_logits("tiny-bf16", b->name, lengths[i]);
        check_logits("tiny-f32", b->name, 5);
        check_logits("tiny-f32", b->name, 33);
    }
}

/* What is left in the workspace after 0, 1 and 2 layers. */
static void check_stages(struct model *m, const struct safetensors *v, int n, double tol)
{
    struct kv_cache *cache = new_cache(m);
    struct forward_item item;
    struct canvas c;
    char what[100];

    snprintf(what, sizeof(what), "L%d.tokens", n);
    canvas_get(v, what, &c);
    item = whole_canvas(m, cache, &c);
    item.n_logits = 0;
    for (int l = 0; l <= N_LAYER; l++) {
        float *x, *scores;

        m->c.n_layer = l;
        (void)run_forward(m, &item, 1);
        x = fetch(m, m->x, (size_t)n * D_MODEL);
        if (l == 0) {
            assert_rows(x, vector_get(v, NULL, "L%d.embed", n), (size_t)n, D_MODEL, 0, "embed");
        } else {
            scores = fetch(m, m->scores, (size_t)n * N_EXP);
            snprintf(what, sizeof(what), "L%d.layer%d", n, l - 1);
            assert_rows(x, vector_get(v, NULL, "%s", what), (size_t)n, D_MODEL, tol, what);
            snprintf(what, sizeof(what), "L%d.scores%d", n, l - 1);
            assert_rows(scores, vector_get(v, NULL, "%s", what), (size_t)n, N_EXP, tol, what);
            free(scores);
        }
        free(x);
    }
    m->c.n_layer = N_LAYER;
    kv_cache_free(cache);
}

Test(model, every_stage_agrees_with_transformers)
{
    FOR_EACH_BACKEND(b)
    {
        struct safetensors *v = vectors_open("tiny-bf16");
        struct model *m = vector_model("tiny-bf16", b->name, 1);

        for (size_t i = 0; m && i < 4 && !backend_rounds(b); i++)
            check_stages(m, v, lengths[i], backend_tolerance(b->name));
        model_close(m);
        safetensors_close(v);
    }
}

/* A token run alone over the full cache of its canvas: tokens_per_expert are then its experts,
 * and its logits have the bits of the run of all. */
static void check_tokens_alone(struct model *m, const struct safetensors *v, int n)
{
    struct kv_cache *cache = new_cache(m);
    struct forward_item item;
    struct canvas c;
    char name[40];
    float *all;

    snprintf(name, sizeof(name), "L%d.tokens", n);
    canvas_get(v, name, &c);
    item = whole_canvas(m, cache, &c);
    all = fetch(m, run_forward(m, &item, 1).logits, (size_t)n * N_VOCAB);
    for (int t = 0; t < n; t++) {
        struct forward_result r;
        float *one;

        item.ids = &c.ids[t];
        item.positions = &c.positions[t];
        item.n_tok = item.n_logits = 1;
        r = run_forward(m, &item, 1);
        one = fetch(m, r.logits, N_VOCAB);
        cr_assert_eq(memcmp(one, all + (size_t)t * N_VOCAB, N_VOCAB * sizeof(float)), 0,
                     "L=%d: token %d alone has other bits", n, t);
        free(one);
        for (int l = 0; l < N_LAYER; l++) {
            const float *ids = vector_get(v, NULL, "L%d.ids%d", n, l) + 2 * t;

            cr_assert_eq(r.stats[l].n_unique, 2);
            for (int e = 0; e < N_EXP; e++)
                cr_assert_eq(r.tokens_per_expert[l * N_EXP + e],
                             e == (int)ids[0] || e == (int)ids[1],
                             "L=%d token %d layer %d expert %d", n, t, l, e);
        }
    }
    free(all);
    kv_cache_free(cache);
}

Test(model, every_token_goes_to_the_experts_of_transformers)
{
    FOR_EACH_BACKEND(b)
    {
        struct safetensors *v = vectors_open("tiny-bf16");
        struct model *m = vector_model("tiny-bf16", b->name, 1);

        for (size_t i = 0; m && i < 4 && !backend_rounds(b); i++)
            check_tokens_alone(m, v, lengths[i]);
        model_close(m);
        safetensors_close(v);
    }
}

Test(model, statistics_of_the_models_own_routing_lose_nothing)
{
    struct safetensors *v = vectors_open("tiny-bf16");
    struct model *m = vector_model("tiny-bf16", "ref", 1);
    struct kv_cache *cache = new_cache(m);
    struct forward_item item;
    struct forward_result r;
    struct canvas c;

    canvas_get(v, "L33.tokens", &c);
    item = whole_canvas(m, cache, &c);
    r = run_forward(m, &item, 1);
    for (int l = 0; l < N_LAYER; l++) {
        int32_t sum = 0;
        int n_unique = 0;

        for (int e = 0; e < N_EXP; e++) {
            sum += r.tokens_per_expert[l * N_EXP + e];
            n_unique += r.tokens_per_expert[l * N_EXP + e] > 0;
        }
        cr_assert_eq(sum, 33 * 2);
        cr_assert_eq(r.stats[l].n_unique, n_unique);
        cr_assert_eq(r.stats[l].n_rerouted, 0);
        cr_assert_eq(r.stats[l].n_lost_top1, 0);
        cr_assert_float_eq(r.stats[l].kept_mass, 1, 1e-12);
    }
    kv_cache_free(cache);
    model_close(m);
    safetensors_close(v);
}

enum { N_ITEMS = 4 };

/* What an item gives, alone or among others. */
struct outcome {
    float *logits;
    struct route_stats stats[N_LAYER];
    int32_t counts[N_LAYER * N_EXP];
};

static void keep(struct model *m, const struct forward_result *r, int i, size_t first_row,
                 size_t n_rows, struct outcome *ret)
{
    ret->logits = fetch(m, r->logits + first_row * N_VOCAB, n_rows * N_VOCAB);
    memcpy(ret->stats, r->stats + i * N_LAYER, sizeof(ret->stats));
    memcpy(ret->counts, r->tokens_per_expert + i * N_LAYER * N_EXP, sizeof(ret->counts));
}

static void assert_same(const struct outcome *a, const struct outcome *b, size_t n_rows, int i)
{
    cr_assert_eq(memcmp(a->logits, b->logits, n_rows * N_VOCAB * sizeof(float)), 0,
                 "logits of item %d differ", i);
    cr_assert_eq(memcmp(a->counts, b->counts, sizeof(a->counts)), 0, "experts of item %d differ",
                 i);
    for (int l = 0; l < N_LAYER; l++) {
        cr_assert_eq(a->stats[l].n_unique, b->stats[l].n_unique);
        cr_assert_eq(a->stats[l].n_rerouted, b->stats[l].n_rerouted);
        cr_assert_eq(a->stats[l].n_lost_top1, b->stats[l].n_lost_top1);
        cr_assert_eq(a->stats[l].kept_mass, b->stats[l].kept_mass);
    }
}

/* Four sequences of different lengths; routing differs in the third, so that there are three
 * runs of routing, and the second has rows in the middle only. */
static void check_batch(const char *backend)
{
    struct model *m = vector_model("tiny-bf16", backend, N_ITEMS);
    struct safetensors *v = vectors_open("tiny-bf16");
    struct forward_item items[N_ITEMS];
    struct outcome alone[N_ITEMS], batch[N_ITEMS];
    struct canvas c[N_ITEMS];
    struct route_params wide;
    struct forward_result r;
    size_t row = 0;

    if (!m) {
        safetensors_close(v);
        return;
    }
    wide = *model_route(m);
    wide.top_k = 5;
    for (int i = 0; i < N_ITEMS; i++) {
        char name[40];

        snprintf(name, sizeof(name), "L%d.tokens", lengths[i]);
        canvas_get(v, name, &c[i]);
        items[i] = whole_canvas(m, new_cache(m), &c[i]);
    }
    items[1].logits_row = 7;
    items[1].n_logits = 20;
    items[2].route = &wide;
    for (int i = 0; i < N_ITEMS; i++) {
        r = run_forward(m, &items[i], 1);
        keep(m, &r, 0, 0, (size_t)items[i].n_logits, &alone[i]);
    }
    r = run_forward(m, items, N_ITEMS);
    for (int i = 0; i < N_ITEMS; i++) {
        keep(m, &r, i, row, (size_t)items[i].n_logits, &batch[i]);
        row += (size_t)items[i].n_logits;
        assert_same(&alone[i], &batch[i], (size_t)items[i].n_logits, i);
    }
    cr_assert_gt(batch[2].stats[0].n_rerouted, 0);
    cr_assert_gt(batch[2].stats[0].kept_mass, 1);
    for (int i = 0; i < N_ITEMS; i++) {
        free(alone[i].logits);
        free(batch[i].logits);
        kv_cache_free(items[i].cache);
    }
    model_close(m);
    safetensors_close(v);
}

Test(model, a_sequence_has_the_same_bits_alone_and_in_a_batch)
{
    FOR_EACH_BACKEND(b) check_batch(b->name);
}

/* Blocks over the keys and values that earlier forwards left, as a cache does it. */
static void check_partial(const char *backend)
{
    struct model *m = vector_model("tiny-bf16", backend, 1);
    struct safetensors *v = vectors_open("tiny-bf16");
    struct forward_item item;
    struct canvas whole, block;
    struct kv_cache *cache;

    if (m) {
        cache = new_cache(m);
        canvas_get(v, "L70.tokens", &whole);
        item = whole_canvas(m, cache, &whole);
        (void)run_forward(m, &item, 1);
        for (int i = 0; i < 3; i++) {
            char name[40];
            float *logits;

            snprintf(name, sizeof(name), "partial%d.tokens", i);
            canvas_get(v, name, &block);
            item.ids = block.ids;
            item.positions = whole.positions + 32;
            item.n_tok = item.n_logits = block.n;
            item.n_kv = i < 2 ? 70 : 64;
            logits = fetch(m, run_forward(m, &item, 1).logits, (size_t)block.n * N_VOCAB);
            assert_rows(logits, vector_get(v, NULL, "partial%d.logits", i), (size_t)block.n,
                        N_VOCAB, backend_tolerance(backend), name);
            free(logits);
        }
        kv_cache_free(cache);
    }
    model_close(m);
    safetensors_close(v);
}

Test(model, a_block_over_stale_keys_and_values_agrees_with_the_formulas)
{
    FOR_EACH_BACKEND(b)
    {
        if (!backend_rounds(b))
            check_partial(b->name);
    }
}

Test(model, a_block_over_fresh_keys_and_values_equals_the_whole)
{
    struct safetensors *v = vectors_open("tiny-bf16");
    struct model *m = vector_model("tiny-bf16", "ref", 1);
    struct kv_cache *cache = new_cache(m);
    struct forward_item item;
    struct canvas c;
    float *all, *part;

    canvas_get(v, "L70.tokens", &c);
    item = whole_canvas(m, cache, &c);
    all = fetch(m, run_forward(m, &item, 1).logits, 70 * N_VOCAB);
    item.ids += 32;
    item.positions += 32;
    item.n_tok = 32;
    item.logits_row = 3;
    item.n_logits = 5;
    part = fetch(m, run_forward(m, &item, 1).logits, 5 * N_VOCAB);
    cr_assert_eq(memcmp(part, all + 35 * N_VOCAB, 5 * N_VOCAB * sizeof(float)), 0);
    free(all);
    free(part);
    kv_cache_free(cache);
    model_close(m);
    safetensors_close(v);
}

Test(model, a_changed_token_changes_the_logits_of_all_positions)
{
    struct safetensors *v = vectors_open("tiny-bf16");
    struct model *m = vector_model("tiny-bf16", "ref", 1);
    struct kv_cache *cache = new_cache(m);
    struct forward_item item;
    struct canvas c;
    float *before, *after;

    canvas_get(v, "L33.tokens", &c);
    for (int changed = 0; changed < 33; changed += 16) {
        item = whole_canvas(m, cache, &c);
        before = fetch(m, run_forward(m, &item, 1).logits, 33 * N_VOCAB);
        c.ids[changed] = (c.ids[changed] + 1) % 256;
        after = fetch(m, run_forward(m, &item, 1).logits, 33 * N_VOCAB);
        for (size_t t = 0; t < 33; t++)
            cr_assert_neq(
                memcmp(before + t * N_VOCAB, after + t * N_VOCAB, N_VOCAB * sizeof(float)), 0,
                "token %d does not reach position %zu", changed, t);
        free(before);
        free(after);
    }
    kv_cache_free(cache);
    model_close(m);
    safetensors_close(v);
}

Test(model, a_forward_allocates_nothing)
{
    FOR_EACH_BACKEND(b)
    {
        struct safetensors *v = vectors_open("tiny-bf16");
        struct model *m = vector_model("tiny-bf16", b->name, 1);
        struct forward_item item;
        struct forward_result r;
        struct canvas c;
        struct error err;
        long count;

        if (m) {
            struct kv_cache *cache = new_cache(m);

            canvas_get(v, "L33.tokens", &c);
            item = whole_canvas(m, cache, &c);
            (void)run_forward(m, &item, 1);
            count = fail_malloc_count();
            for (int i = 0; i < 2; i++)
                cr_assert_eq(model_forward(m, &item, 1, &r, &err), ST_OK);
            if (strcmp(b->name, "cuda") == 0) /* its driver allocates as it likes */
                count = fail_malloc_count();
            cr_assert_eq(fail_malloc_count(), count, "%s: %ld allocations in two forwards", b->name,
                         fail_malloc_count() - count);
            kv_cache_free(cache);
        }
        model_close(m);
        safetensors_close(v);
    }
}

/* One thing wrong with an otherwise good item of 5 tokens. */
enum wrong {
    NO_TOKENS,
    TOO_MANY_TOKENS,
    ID_TOO_LARGE,
    ID_NEGATIVE,
    POSITION_TOO_LARGE,
    POSITION_NEGATIVE,
    POSITION_TWICE,
    NO_KEYS,
    TOO_MANY_KEYS,
    ROWS_BEYOND,
    ROWS_NEGATIVE,
    ROUTE_OTHER_EXPERTS,
    ROUTE_NO_EXPERT,
    ROUTE_TOO_MANY,
    N_WRONG
};

Test(model, items_that_make_no_sense_are_refused)
{
    struct model *m = vector_model("tiny-bf16", "ref", 1);
    struct kv_cache *cache = new_cache(m);

    for (int w = 0; w < N_WRONG; w++) {
        struct canvas c = { .ids = { 1, 2, 3, 4, 5 }, .positions = { 0, 1, 2, 3, 4 }, .n = 5 };
        struct route_params route = *model_route(m);
        struct forward_item item = whole_canvas(m, cache, &c);
        struct forward_result r = { 0 };
        struct error err = { 0 };

        item.route = &route;
        switch ((enum wrong)w) {
        case NO_TOKENS: item.n_tok = 0; break;
        case TOO_MANY_TOKENS: item.n_tok = VECTOR_MAX_TOK + 1; break;
        case ID_TOO_LARGE: c.ids[2] = N_VOCAB; break;
        case ID_NEGATIVE: c.ids[2] = -1; break;
        case POSITION_TOO_LARGE: c.positions[4] = VECTOR_MAX_TOK; break;
        case POSITION_NEGATIVE: c.positions[0] = -1; break;
        case POSITION_TWICE: c.positions[3] = 2; break;
        case NO_KEYS: item.n_kv = 0; break;
        case TOO_MANY_KEYS: item.n_kv = VECTOR_MAX_TOK + 1; break;
        case ROWS_BEYOND: item.logits_row = 1; break;
        case ROWS_NEGATIVE: item.logits_row = -1; break;
        case ROUTE_OTHER_EXPERTS: route.n_exp = 4; break;
        case ROUTE_NO_EXPERT: route.top_k = 0; break;
        case ROUTE_TOO_MANY: route.top_k = 9; break;
        case N_WRONG: break;
        }
        cr_expect_eq(model_forward(m, &item, 1, &r, &err), ST_INVALID, "case %d", w);
        cr_expect_null(r.logits);
    }
    kv_cache_free(cache);
    model_close(m);
}
