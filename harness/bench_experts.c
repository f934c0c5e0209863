/*
 * bench: a layer of experts on a GPU, by how many distinct ones the tokens go to, and its router by
 * what selects experts.
 *
 * Where tokens go is made up (kernels/devices.h), so that the number is exact; weights are random,
 * of several layers in turn. Beside the experts stands a kernel that reads the same weights and
 * nothing else: what no kernel can be much faster than. The dense twin is a layer that is as wide
 * as the experts of a token and has no router.
 */
#include <stdlib.h>
#include <string.h>

#include "harness/bench.h"
#include "harness/ranges.h"
#include "kernels/kernels.h"

/* As routed by each selector of the papers' tables, and between; those that a shape allows. */
static const int numbers[] = { 256, 163, 84, 64, 59, 38, 25, 16, 8 };

static const double skew = 0.7; /* the busiest of 64 experts has 5 times the mean */

/* A result with samples of its own; samples_ns (n) to be filled in. */
static enum status add_result(struct bench *b, const char *name, const char *shape, int n,
                              double bytes, double flops, struct bench_result **ret,
                              struct error *err)
{
    struct bench_result *r = &b->results[b->n_results];
    enum status st;

    if (b->n_results == BENCH_MAX_RESULTS)
        return error_set(err, ST_INTERNAL, "more than %d things to time", (int)BENCH_MAX_RESULTS);
    *r = (struct bench_result){ .name = name, .shape = shape, .bytes = bytes, .flops = flops };
    st = bench_samples(b, r, (size_t)n, err);
    if (st)
        return st;
    r->n_samples = n;
    b->n_results++;
    *ret = r;
    return ST_OK;
}

/* A part of the layer that is timed, at this shape. */
static enum status add_part(struct bench *b, const char *name, const char *shape, double bytes,
                            double flops, int n_active, int64_t **ret_ns, struct error *err)
{
    struct bench_result *r = NULL;
    enum status st = add_result(b, name, shape, (int)options_int(b->c, OPT_BENCH_REPEATS), bytes,
                                flops, &r, err);

    if (st)
        return st;
    r->n_unique = n_active;
    *ret_ns = r->samples_ns;
    return ST_OK;
}

/* The experts alone, the router with a coreset of just these experts alone, and both after each
 * other; then the model's own routing. */
static enum status time_point(struct bench *b, const struct gpu_experts *e, const char *twin,
                              struct error *err)
{
    /* of a model without weights nothing tells how wide they are: bf16, as the kernel takes them */
    double bytes = 3.0 * e->d_model * e->d_ff * 2 * e->n_active;
    double flops = 6.0 * e->d_model * e->d_ff * e->n_tok * e->top_k;
    double of_router = 2.0 * e->d_model * e->n_exp; /* bytes, and flops a token */
    struct route_params route = { .n_exp = e->n_exp,
                                  .top_k = e->top_k,
                                  .top_k_base = e->top_k,
                                  .scale = 1,
                                  .size = SIZE_FIXED,
                                  .n_core = e->n_active,
                                  .mask = e->top_k };
    uint64_t seed = (uint64_t)options_int(b->c, OPT_DUMMY_SEED);
    int n = (int)options_int(b->c, OPT_BENCH_REPEATS);
    struct gpu_layer_samples voted = { 0 }, plain = { 0 };
    const char *shape = arena_printf(&b->arena, "%d tokens, %d of %d experts%s%s", e->n_tok,
                                     e->n_active, e->n_exp, twin, e->is_fast ? ", fast" : "");
    enum status st = shape ? ST_OK : error_set(err, ST_NOMEM, "out of memory");

    if (!st)
        st = add_part(b, "read", shape, bytes, 0, e->n_active, &voted.read_ns, err);
    if (!st)
        st = add_part(b, "experts", shape, bytes, flops, e->n_active, &voted.experts_ns, err);
    if (*twin) /* it has no router */
        return st ? st : gpu_layer_time(e, NULL, seed, n, &voted, err);
    if (!st)
        st = add_part(b, "router, des-vote", shape, of_router, of_router * e->n_tok, e->n_active,
                      &voted.router_ns, err);
    if (!st)
        st = add_part(b, "layer, des-vote", shape, bytes + of_router, flops + of_router * e->n_tok,
                      e->n_active, &voted.layer_ns, err);
    if (!st)
        st = add_part(b, "router", shape, of_router, of_router * e->n_tok, e->n_active,
                      &plain.router_ns, err);
    if (!st)
        st = add_part(b, "layer", shape, bytes + of_router, flops + of_router * e->n_tok,
                      e->n_active, &plain.layer_ns, err);
    if (!st)
        st = gpu_layer_time(e, &route, seed, n, &voted, err);
    route.size = SIZE_NONE;
    if (!st)
        st = gpu_layer_time(e, &route, seed, n, &plain, err);
    if (!st && (voted.n_active != e->n_active || plain.n_active != e->n_active))
        return error_set(err, ST_INTERNAL, "the router took %.2f and %.2f experts instead of %d",
                         voted.n_active, plain.n_active, e->n_active);
    return st;
}

/* Can so many experts be active? */
static bool is_possible(const struct gpu_experts *x)
{
    return x->n_active >= x->top_k && x->n_active <= x->n_exp && x->n_active <= x->n_tok * x->top_k;
}

static enum status time_experts(struct bench *b, struct error *err)
{
    const struct model_info *m = b->info;
    struct gpu_experts x = { .n_exp = m->n_exp,
                             .top_k = m->top_k,
                             .d_model = m->d_model,
                             .d_ff = m->d_ff,
                             .n_tok = (int)options_int(b->c, OPT_BENCH_TOKENS),
                             .skew = skew,
                             .is_fast = strcmp(options_text(b->c, OPT_NUMERIC), "fast") == 0 };
    const char *text = options_text(b->c, OPT_BENCH_UNIQUE);
    const char *const *asked = NULL;
    size_t n_asked = 0;
    enum status st = text ? ranges_expand(text, &b->arena, &asked, &n_asked, err) : ST_OK;

    for (size_t i = 0; i < n_asked && !st; i++) {
        x.n_active = (int)strtol(asked[i], NULL, 10); /* options_parse() has checked them */
        st = is_possible(&x)
                 ? time_point(b, &x, "", err)
                 : error_set(err, ST_INVALID,
                             "--unique %d: %d tokens with %d experts each go to %d to "
                             "%d of %d",
                             x.n_active, x.n_tok, x.top_k, x.top_k,
                             x.n_tok * x.top_k < x.n_exp ? x.n_tok * x.top_k : x.n_exp, x.n_exp);
    }
    if (text)
        return st;
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]) && !st; i++) {
        x.n_active = numbers[i];
        if (is_possible(&x))
            st = time_point(b, &x, "", err);
    }
    x.n_exp = x.n_active = x.top_k;
    return st ? st : time_point(b, &x, ", a dense twin", err);
}

/* ---- the router alone ---------------------------------------------------------------------- */

static const int token_numbers[] = { 16, 32, 64, 128 };

/* The model's own routing, and what policies put on top of it, at two fifths of the experts. */
static enum status time_routers(struct bench *b, struct error *err)
{
    static const struct {
        const char *name;
        struct route_params p; /* of the coreset alone */
    } policies[] = {
        { "vanilla", { 0 } },
        { "des-seq", { .size = SIZE_UNION, .warm = 1 } },
        { "des-vote", { .size = SIZE_FIXED } },
        { "dmoe", { .size = SIZE_TOP_P, .core_p = 0.6 } },
        { "xshare", { .size = SIZE_FIXED, .warm = 1, .mask = KERNEL_MAX_EXPERTS } },
    };
    const size_t n_policies = sizeof(policies) / sizeof(policies[0]);
    const size_t n_tokens = sizeof(token_numbers) / sizeof(token_numbers[0]);
    const struct model_info *m = b->info;
    const double bytes = 2.0 * m->d_model * m->n_exp;
    const bool is_given = options_is_given(b->c, OPT_BENCH_TOKENS);
    enum status st = ST_OK;

    for (size_t i = 0; i < (is_given ? 1 : n_tokens) * n_policies && !st; i++) {
        const struct route_params *p = &policies[i % n_policies].p;
        struct gpu_experts x = { .n_exp = m->n_exp,
                                 .top_k = m->top_k,
                                 .d_model = m->d_model,
                                 .d_ff = m->d_ff,
                                 .n_tok = is_given ? (int)options_int(b->c, OPT_BENCH_TOKENS)
                                                   : token_numbers[i / n_policies],
                                 .skew = skew };
        struct route_params route = *p;
        struct gpu_layer_samples samples = { 0 };
        const char *shape;

        route.n_exp = m->n_exp;
        route.top_k = route.top_k_base = m->top_k;
        route.renorm = m->routing.is_renormed;
        route.scale = m->routing.scale;
        route.n_group = m->routing.n_group;
        route.topk_group = m->routing.topk_group;
        route.mask = p->mask ? m->n_exp : m->top_k;
        route.n_core = m->n_exp * 2 / 5 > 1 ? m->n_exp * 2 / 5 : 1;
        x.n_active = x.n_tok * x.top_k < x.n_exp ? x.n_tok * x.top_k : x.n_exp;
        shape = arena_printf(&b->arena, "%d tokens, %d experts, top %d", x.n_tok, x.n_exp, x.top_k);
        if (!shape)
            return error_set(err, ST_NOMEM, "out of memory");
        st = add_part(b, policies[i % n_policies].name, shape, bytes, bytes * x.n_tok, 0,
                      &samples.router_ns, err);
        if (!st)
            st = gpu_layer_time(&x, &route, (uint64_t)options_int(b->c, OPT_DUMMY_SEED),
                                (int)options_int(b->c, OPT_BENCH_REPEATS), &samples, err);
        if (!st)
            b->results[b->n_results - 1].n_unique = samples.n_active;
    }
    return st;
}

/* ---- both ---------------------------------------------------------------------------------- */

enum status bench_experts(struct bench *b, const struct engine_options *o, struct error *err)
{
    struct engine_options text_only = *o;
    const struct kernel_params params = { 0 };
    const struct kernel_ops *ops = kernel_backend_find("cuda");
    struct kernels *k = NULL;
    struct engine *e = NULL;
    enum status st;

    if (o->backend && strcmp(o->backend, "cuda") != 0)
        return error_set(err, ST_INVALID, "`bench %s` runs on backend 'cuda', not on '%s'", b->what,
                         o->backend);
    if (!ops)
        return error_set(err, ST_UNSUPPORTED, "backend 'cuda' is not part of this build");
    text_only.is_text_only = true;
    st = engine_open(&text_only, &e, err);
    if (st)
        return st;
    b->info = engine_info(e);
    st = ops->open(&params, &k, err);
    if (!st) {
        b->backend = ops->name;
        b->details = ops->describe(k);
        st = bench_limits(b, err);
    }
    if (!st)
        st = strcmp(b->what, "route") == 0 ? time_routers(b, err) : time_experts(b, err);
    if (!st)
        st = bench_print(b, err);
    ops->close(k);
    engine_close(e);
    return st;
}
