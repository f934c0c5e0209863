/* checkkern: cases of routing, with any settings of its pipeline, and of measures of rows. */
#include "check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SEGS = 3 };

static double share(struct rng *r)
{
    return (double)rng_below(r, 21) / 20;
}

static int up_to(struct rng *r, int most)
{
    return 1 + (int)rng_below(r, (uint64_t)most);
}

/* A third of the cases has no coreset. */
static struct route_params choose_params(struct rng *r, int i, bool is_small)
{
    int n_exp =
        is_small ? CHOOSE(r, 1, 2, 8, 17, 64) : CHOOSE(r, 1, 2, 8, 17, 64, 256, KERNEL_MAX_EXPERTS);
    int most = n_exp < KERNEL_MAX_TOP_K ? n_exp : KERNEL_MAX_TOP_K, few = most < 8 ? most : 8;
    struct route_params p = {
        .n_exp = n_exp,
        .top_k = up_to(r, i % 4 ? few : most),
        .top_k_base = up_to(r, few),
        .renorm = i % 2,
        .scale = i % 2 ? 2.5f : 1,
        .keep = CHOOSE(r, KEEP_ALL, KEEP_ALL, KEEP_TOP_P, KEEP_TAIL),
        .keep_p = share(r),
        .is_keep_p_of_top_k = rng_below(r, 2),
        .tail = share(r),
        .protect = rng_below(r, 2) ? share(r) : 0,
        .size = i % 3 ? CHOOSE(r, SIZE_UNION, SIZE_FIXED, SIZE_FIXED, SIZE_TOP_P) : SIZE_NONE,
        .warm = CHOOSE(r, 0, 0, 1, 2, 3),
        .n_core = up_to(r, rng_below(r, 2) ? n_exp : few),
        .core_p = share(r),
        .floor = CHOOSE(r, 0, 1, 16),
        .elect = CHOOSE(r, ELECT_VOTES, ELECT_VOTES, ELECT_VOTES, ELECT_MASS, ELECT_RANDOM,
                        ELECT_STATIC),
        .vote = CHOOSE(r, VOTE_PROB, VOTE_BIASED, VOTE_LOGIT, VOTE_RANK, VOTE_COUNT),
        .mask = CHOOSE(r, few, 1, n_exp),
        .is_mask_ungrouped = rng_below(r, 2),
        .is_joint = i % 7 == 0,
        .is_lagged = i % 7 == 1,
        .is_truncated = rng_below(r, 4) == 0,
        .inside = CHOOSE(r, INSIDE_NATURAL, INSIDE_MEMBERS, INSIDE_LIFTED),
        .is_guard_drop = rng_below(r, 2),
        .is_renormed = rng_below(r, 4) == 0,
    };

    p.is_vote_normed = p.vote <= VOTE_BIASED && rng_below(r, 2);
    if (p.size == SIZE_TOP_P) {
        p.elect = ELECT_VOTES;
        if (p.vote == VOTE_LOGIT)
            p.vote = VOTE_PROB;
    }
    if (n_exp % 8 == 0 && rng_below(r, 2)) {
        p.n_group = 8;
        p.topk_group = up_to(r, 8);
    }
    if (i % 8 == 3) { /* LLaDA2.x */
        p.n_exp = 256;
        p.top_k = p.top_k_base = 8;
        p.renorm = true;
        p.scale = 2.5f;
        p.n_group = 8;
        p.topk_group = 4;
        p.mask = p.mask > 256 ? 256 : p.mask;
        p.n_core = p.n_core > 256 ? 38 : p.n_core;
    }
    return p;
}

/* Inputs of a case in host memory. */
struct route_case {
    struct route_params p;
    struct route_segment segs[MAX_SEGS];
    int n_segs, n_tok, stride;
    float *scores, *logits, *importance, *bias; /* bias (n_tok + 1, n_exp) */
    double *popularity;
    uint8_t *is_voter, *cores; /* (n_tok), (n_segs, n_exp) */
};

static struct route_case make_case(struct check *c, int i)
{
    struct route_case x = { .p = choose_params(&c->rng, i, c->is_small),
                            .n_segs = CHOOSE(&c->rng, 1, 2, 3) };
    size_t n_exp = (size_t)x.p.n_exp, n_scores, n_tok;
    enum regime regime = choose_regime(c);

    x.stride = (x.p.top_k > x.p.top_k_base ? x.p.top_k : x.p.top_k_base) + CHOOSE(&c->rng, 0, 0, 3);
    for (int s = 0; s < x.n_segs; s++) {
        x.segs[s] = (struct route_segment){ .row = x.n_tok,
                                            .n_tok = c->is_small ? CHOOSE(&c->rng, 0, 1, 5)
                                                                 : CHOOSE(&c->rng, 0, 1, 5, 32),
                                            .key = rng_u64(&c->rng) };
        if (!x.p.is_joint)
            x.segs[s].group = CHOOSE(&c->rng, 0, 0, 1, 4);
        if (x.segs[s].n_tok && rng_below(&c->rng, 3) == 0)
            x.segs[s].n_plain = (int)rng_below(&c->rng, (uint64_t)x.segs[s].n_tok + 1);
        x.n_tok += x.segs[s].n_tok;
    }
    n_tok = (size_t)x.n_tok;
    n_scores = n_tok * n_exp;
    x.scores = random_floats(&c->rng, n_scores, regime, 1);
    x.logits = random_floats(&c->rng, n_scores, regime, 1);
    x.importance = random_floats(&c->rng, n_tok, regime, 1);
    x.bias = random_floats(&c->rng, (n_tok + 1) * n_exp, REGIME_UNIFORM, 0.1F);
    x.popularity = must_alloc(n_exp, sizeof(double));
    x.is_voter = must_alloc(n_tok + 1, 1);
    x.cores = must_alloc((size_t)x.n_segs * n_exp, 1);
    for (size_t j = 0; j < n_scores; j++)
        x.scores[j] = fabsf(x.scores[j]);
    if (i % 5 == 0) {
        spoil(&c->rng, x.scores, n_scores);
        spoil(&c->rng, x.logits, n_scores);
    }
    for (size_t e = 0; e < n_exp; e++)
        x.popularity[e] = (double)rng_below(&c->rng, 10);
    for (size_t t = 0; t < n_tok; t++)
        x.is_voter[t] = rng_below(&c->rng, 3) == 0;
    for (size_t e = 0; e < (size_t)x.n_segs * n_exp; e++)
        x.cores[e] = rng_below(&c->rng, 2) == 0;
    if (i % 2)
        for (int s = 0; s < x.n_segs; s++)
            x.segs[s].is_voter = x.is_voter + x.segs[s].row;
    SHAPE(c, "n_tok %d segs %d n_exp %d top_k %d base %d groups %d size %d elect %d vote %d %s%s",
          x.n_tok, x.n_segs, x.p.n_exp, x.p.top_k, x.p.top_k_base, x.p.n_group, x.p.size, x.p.elect,
          x.p.vote, regime_names[regime], i % 5 ? "" : " with NaN");
    return x;
}

static void case_free(struct route_case *x)
{
    free(x->scores);
    free(x->logits);
    free(x->importance);
    free(x->bias);
    free(x->popularity);
    free(x->is_voter);
    free(x->cores);
}

struct routed {
    struct route_stats stats[MAX_SEGS];
    int32_t *counts, *ids, *cores; /* cores: one a byte */
    float *w;
};

static struct routed run_route(struct check *c, const struct side *side, const struct route_case *x,
                               int n_bias)
{
    size_t n_exp = (size_t)x->p.n_exp, n_scores = (size_t)x->n_tok * n_exp;
    size_t n_slots = (size_t)x->n_tok * (size_t)x->stride, n_cores = (size_t)x->n_segs * n_exp;
    struct buffer scores = buffer_new(side, x->scores, n_scores);
    struct buffer logits = buffer_new(side, x->logits, n_scores);
    struct buffer importance = buffer_new(side, x->importance, (size_t)x->n_tok);
    struct buffer ids = buffer_new(side, NULL, n_slots), w = buffer_new(side, NULL, n_slots);
    const struct host_matrix bias = { x->bias, DT_F32, n_bias, x->p.n_exp };
    const struct route_input in = { .scores = scores.data,
                                    .logits = logits.data,
                                    .importance = importance.data,
                                    .popularity = x->popularity,
                                    .bias = n_bias ? load_weight(side, &bias) : NULL };
    const struct route_output out = { (int32_t *)ids.data, w.data, x->stride };
    struct route_segment segs[MAX_SEGS];
    uint8_t *host_cores = must_alloc(n_cores, 1);
    struct routed r = { .counts = must_alloc(n_cores, sizeof(int32_t)),
                        .cores = must_alloc(n_cores, sizeof(int32_t)) };
    struct error err;
    void *cores, *elected;

    check_status(side->ops->alloc(side->k, n_cores, &cores, &err), &err);
    check_status(side->ops->alloc(side->k, n_cores, &elected, &err), &err);
    check_status(side->ops->upload(side->k, cores, x->cores, n_cores, &err), &err);
    for (int s = 0; s < x->n_segs; s++) {
        segs[s] = x->segs[s];
        segs[s].core_before = s ? (const uint8_t *)cores + (size_t)s * n_exp : NULL;
        segs[s].ret_core = (uint8_t *)elected + (size_t)s * n_exp;
        segs[s].stats = &r.stats[s];
        segs[s].tokens_per_expert = r.counts + (size_t)s * n_exp;
    }
    check_status(side->ops->route(side->k, &x->p, &in, segs, x->n_segs, &out, &err), &err);
    check_status(side->ops->sync(side->k, &err), &err);
    check_status(side->ops->download(side->k, host_cores, elected, n_cores, &err), &err);
    for (size_t j = 0; j < n_cores; j++)
        r.cores[j] = host_cores[j];
    r.ids = (int32_t *)buffer_take(c, &ids);
    r.w = buffer_take(c, &w);
    side->ops->free(side->k, cores);
    side->ops->free(side->k, elected);
    free(host_cores);
    buffer_free(&scores);
    buffer_free(&logits);
    buffer_free(&importance);
    buffer_free(&ids);
    buffer_free(&w);
    return r;
}

static void routed_free(struct routed *r)
{
    free(r->counts);
    free(r->cores);
    free(r->ids);
    free(r->w);
}

void check_route(struct check *c, int i)
{
    struct route_case x = make_case(c, i);
    int n_bias = CHOOSE(&c->rng, 0, 1, x.n_tok); /* rows: none, one of all, each its own */
    size_t n_slots = (size_t)x.n_tok * (size_t)x.stride;
    size_t n_cores = (size_t)x.n_segs * (size_t)x.p.n_exp;
    struct routed ref = run_route(c, &c->ref, &x, n_bias);
    struct routed new = run_route(c, &c->new, &x, n_bias);

    compare_ints(c, "ids", new.ids, ref.ids, n_slots);
    compare_floats(c, "w", new.w, ref.w, n_slots, NULL, 1);
    compare_ints(c, "tokens_per_expert", new.counts, ref.counts, n_cores);
    compare_ints(c, "cores", new.cores, ref.cores, n_cores);
    for (int s = 0; s < x.n_segs; s++) {
        const struct route_stats *a = &new.stats[s], *b = &ref.stats[s];

        compare_ints(c, "n_unique", &a->n_unique, &b->n_unique, 1);
        compare_ints(c, "n_natural", &a->n_natural, &b->n_natural, 1);
        compare_ints(c, "n_core", &a->n_core, &b->n_core, 1);
        compare_ints(c, "n_rerouted", &a->n_rerouted, &b->n_rerouted, 1);
        compare_ints(c, "n_lost_top1", &a->n_lost_top1, &b->n_lost_top1, 1);
        compare_floats(c, "kept_mass", &(float){ (float)a->kept_mass },
                       &(float){ (float)b->kept_mass }, 1, NULL, 1);
    }
    routed_free(&ref);
    routed_free(&new);
    case_free(&x);
}

/* ---- measures of rows ---- */

void check_l1_norm(struct check *c, int i)
{
    int n_rows = CHOOSE(&c->rng, 1, 2, 33), d = CHOOSE(&c->rng, 1, 7, 64, 2048);
    size_t n = (size_t)n_rows * (size_t)d;
    enum regime regime = choose_regime(c);
    float *x = random_floats(&c->rng, n, regime, 1), *out[2];
    const struct side *sides[] = { &c->ref, &c->new };
    struct error err;

    (void)i;
    SHAPE(c, "n_rows %d d %d %s", n_rows, d, regime_names[regime]);
    for (int s = 0; s < 2; s++) {
        struct buffer bx = buffer_new(sides[s], x, n);
        struct buffer by = buffer_new(sides[s], NULL, (size_t)n_rows);

        check_status(sides[s]->ops->l1_norm(sides[s]->k, bx.data, n_rows, d, by.data, &err), &err);
        out[s] = buffer_take(c, &by);
        buffer_free(&bx);
        buffer_free(&by);
    }
    compare_floats(c, "l1_norm", out[1], out[0], (size_t)n_rows, NULL, 1);
    free(out[0]);
    free(out[1]);
    free(x);
}

void check_rel_error(struct check *c, int i)
{
    int d = CHOOSE(&c->rng, 1, 7, 64), n_segs = CHOOSE(&c->rng, 1, 3), n_rows = 0;
    const struct side *sides[] = { &c->ref, &c->new };
    struct segment segs[MAX_SEGS];
    double out[2][MAX_SEGS];
    float *a, *b;
    struct error err;
    size_t n;

    for (int s = 0; s < n_segs; s++) {
        segs[s] = (struct segment){ n_rows, CHOOSE(&c->rng, 0, 1, 9) };
        n_rows += segs[s].n_tok;
    }
    n = (size_t)n_rows * (size_t)d;
    a = random_floats(&c->rng, n, choose_regime(c), 1);
    b = random_floats(&c->rng, n, choose_regime(c), 1);
    if (i % 4 == 0 && n)
        memcpy(a, b, n * sizeof(*a)); /* the error is 0 */
    if (i % 4 == 1)
        memset(b, 0, n * sizeof(*b)); /* and infinite */
    SHAPE(c, "n_segs %d rows %d d %d", n_segs, n_rows, d);
    for (int s = 0; s < 2; s++) {
        struct buffer ba = buffer_new(sides[s], a, n), bb = buffer_new(sides[s], b, n);

        check_status(
            sides[s]->ops->rel_error(sides[s]->k, ba.data, bb.data, segs, n_segs, d, out[s], &err),
            &err);
        check_status(sides[s]->ops->sync(sides[s]->k, &err), &err);
        buffer_free(&ba);
        buffer_free(&bb);
    }
    for (int s = 0; s < n_segs; s++)
        compare_floats(c, "rel_error", &(float){ (float)out[1][s] }, &(float){ (float)out[0][s] },
                       1, NULL, 1);
    free(a);
    free(b);
}
