/*
 * checkforward: a sequence gets the same bits alone and in any batch.
 *
 * 32 sequences of different lengths and ways of routing, each alone, in batches of 8, and all at
 * once, with caches of their own for each. First whole canvases, then queries at their ends; every
 * other of these wants proposals. All of it is done as often as the command line says.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "checkforward.h"

enum { N_SEQ = 32, N_WAYS = 3, MAX_ROWS = 32, N_WHOLE_RUNS = 4 };

static const int batch_sizes[N_WAYS] = { 1, 8, N_SEQ };

struct sequences {
    struct kv_cache *caches[N_WAYS][N_SEQ];
    struct forward_item items[N_SEQ];
    struct route_params routes[N_SEQ];
    int32_t ids[N_SEQ][MAX_CANVAS], positions[N_SEQ][MAX_CANVAS];
    uint8_t voters[N_SEQ][MAX_CANVAS];
    uint8_t *cores[N_SEQ];
    double *popularity;
    struct pick_params params[N_SEQ];
    /* What each gave alone; logits of one after the other's, in backend memory. */
    float *logits;
    struct route_stats *stats; /* (N_SEQ, n_moe_layer) */
    int32_t *counts;           /* (N_SEQ, n_moe_layer, n_exp) */
    struct pick picks[N_SEQ][MAX_ROWS];
    bool is_picked[N_SEQ];
};

/* Forward number `number` of all sequences: whole canvases first. */
static void random_sequences(struct checkforward *c, struct model *m, struct sequences *s,
                             int number)
{
    const struct model_info *info = model_get_info(m);
    const bool is_same = between(c, 0, 1);

    for (int i = 0; i < N_SEQ; i++) {
        struct forward_item *it = &s->items[i];
        int n_kv = number ? it->n_kv : between(c, MIN_CANVAS, c->canvas);
        int n_tok = !number ? n_kv : is_same ? 32 : between(c, 1, 40);
        int first = n_kv - n_tok;

        s->routes[i] = random_route(c, m);
        s->routes[i].is_joint = false; /* a coreset of all is another in each batch */
        for (int t = 0; t < n_tok; t++) {
            s->ids[i][t] = between(c, 0, info->n_vocab - 1);
            s->positions[i][t] = first + t;
            s->voters[i][t] = between(c, 0, 2) == 0;
        }
        *it = (struct forward_item){
            .ids = s->ids[i],
            .positions = s->positions[i],
            .n_tok = n_tok,
            .n_kv = n_kv,
            .n_logits = n_tok < MAX_ROWS ? n_tok : MAX_ROWS,
            .route = &s->routes[i],
            .group = between(c, 0, 3) ? 0 : between(c, 1, n_tok),
            .is_voter = between(c, 0, 1) ? s->voters[i] : NULL,
            .key = rng_below(&c->rng, UINT64_MAX),
            .cores_before = s->routes[i].is_lagged ? s->cores[i] : NULL,
            .popularity = s->popularity,
        };
        it->logits_row = n_tok - it->n_logits;
        s->params[i] = (struct pick_params){ .mask_id = info->mask_id,
                                             .banned_id = between(c, 0, 3) ? -1 : info->eos_id,
                                             .temperature = between(c, 0, 1) ? 0 : 0.8,
                                             .seed = rng_below(&c->rng, UINT64_MAX),
                                             .draw = (uint64_t)number,
                                             .positions = it->positions + it->logits_row };
        it->pick = number % 2 ? &s->params[i] : NULL;
    }
}

/* What differs first, or NULL. */
static const char *compare_picks(const struct pick *a, const struct pick *b, int n, size_t *ret_at)
{
    for (int t = 0; t < n; t++) {
        *ret_at = (size_t)t;
        if (a[t].id != b[t].id || a[t].is_mask_best != b[t].is_mask_best)
            return "proposals";
        if (memcmp(&a[t].prob, &b[t].prob, sizeof(a[t].prob)) != 0)
            return "probabilities of proposals";
    }
    return NULL;
}

/* Sequences [first, first + n) in one forward, with caches number `way`, against what they gave
 * alone; or, where is_first, to be that. Returns what differs, or NULL. */
static const char *check_part(struct model *m, struct sequences *s, int way, int first, int n,
                              bool is_first, size_t *ret_at)
{
    const struct model_info *info = model_get_info(m);
    const size_t n_layer = (size_t)info->n_moe_layer, n_vocab = (size_t)info->n_vocab;
    struct forward_item items[N_SEQ];
    struct pick picks[N_SEQ][MAX_ROWS];
    const size_t n_stats = (size_t)n * n_layer, n_counts = n_stats * (size_t)info->n_exp;
    struct route_stats *stats = s->stats + (size_t)first * n_layer;
    int32_t *counts = s->counts + (size_t)first * n_layer * (size_t)info->n_exp;
    struct kernels *k = model_kernels(m);
    size_t before = 0, n_logits = 0;
    struct forward_result r;
    struct error err = { 0 };
    const char *what;

    memset(picks, 0, sizeof(picks));
    for (int i = 0; i < first + n; i++) {
        size_t count = (size_t)s->items[i].n_logits * n_vocab;

        if (i < first) {
            before += count;
            continue;
        }
        n_logits += count;
        items[i - first] = s->items[i];
        items[i - first].cache = s->caches[way][i];
        items[i - first].ret_picks = s->items[i].pick ? picks[i - first] : NULL;
    }
    check(model_forward(m, items, n, &r, &err), &err);
    if (is_first) {
        memcpy(stats, r.stats, n_stats * sizeof(*stats));
        memcpy(counts, r.tokens_per_expert, n_counts * sizeof(*counts));
        memcpy(s->picks[first], picks, (size_t)n * sizeof(picks[0]));
        s->is_picked[first] = r.is_picked;
        if (!r.is_picked)
            check(bits_copy(k, s->logits + before, r.logits, n_logits, &err), &err);
    }
    what =
        compare_routing(r.stats, stats, r.tokens_per_expert, counts, n_stats, info->n_exp, ret_at);
    for (int i = 0; i < n && !what; i++) {
        if (r.is_picked != s->is_picked[first + i])
            return "ways to propose";
        what = compare_picks(picks[i], s->picks[first + i], items[i].n_logits, ret_at);
    }
    if (!r.is_picked) {
        size_t at = 0;

        check(bits_take(k, r.logits, s->logits + before, n_logits, &at, &err), &err);
        if (!what && at < n_logits) {
            what = "logits";
            *ret_at = at;
        }
    }
    return what;
}

/* All sequences in every way, over and over. */
static int check_ways(const struct checkforward *c, struct model *m, struct sequences *s, int shape,
                      int number)
{
    int n_failed = 0, n_runs = !number && c->n_runs > N_WHOLE_RUNS ? N_WHOLE_RUNS : c->n_runs;

    for (int run = 0; run < n_runs; run++)
        for (int way = 0; way < N_WAYS; way++)
            for (int i = 0; i < N_SEQ; i += batch_sizes[way]) {
                bool is_first = run == 0 && way == 0;
                size_t at = 0;
                const char *what = check_part(m, s, way, i, batch_sizes[way], is_first, &at);

                if (what && ++n_failed <= 20)
                    printf(
                        "shape %d forward %d run %d, sequence %d and on of %d at once (first: %d "
                        "tokens, %d keys): %s differ at %zu from those of each alone\n",
                        shape, number, run, i, batch_sizes[way], s->items[i].n_tok,
                        s->items[i].n_kv, what, at);
            }
    return n_failed;
}

int check_batches(struct checkforward *c, int shape)
{
    struct sequences *s = must_alloc(1, sizeof(*s));
    struct model *m = must_open(c, shape, c->is_fast, N_SEQ, MAX_ROWS);
    const struct model_info *info = model_get_info(m);
    const size_t n = (size_t)info->n_moe_layer * (size_t)info->n_exp;
    struct kernels *k = model_kernels(m);
    struct error err = { 0 };
    int n_failed = 0;

    s->logits = must_alloc_floats(k, (size_t)N_SEQ * MAX_ROWS * (size_t)info->n_vocab);
    s->stats = must_alloc((size_t)N_SEQ * (size_t)info->n_moe_layer, sizeof(*s->stats));
    s->counts = must_alloc(N_SEQ * n, sizeof(*s->counts));
    s->popularity = must_alloc(n, sizeof(double));
    for (size_t i = 0; i < n; i++)
        s->popularity[i] = rng_uniform(&c->rng);
    for (int i = 0; i < N_SEQ; i++) {
        s->cores[i] = random_cores(c, m);
        for (int way = 0; way < N_WAYS; way++)
            check(kv_cache_new(m, &s->caches[way][i], &err), &err);
    }
    for (int number = 0; number < c->n_batches; number++) {
        random_sequences(c, m, s, number);
        n_failed += check_ways(c, m, s, shape, number);
    }
    for (int i = 0; i < N_SEQ; i++) {
        k->ops->free(k, s->cores[i]);
        for (int way = 0; way < N_WAYS; way++)
            kv_cache_free(s->caches[way][i]);
    }
    k->ops->free(k, s->logits);
    free(s->stats);
    free(s->counts);
    free(s->popularity);
    free(s);
    model_close(m);
    return n_failed;
}
