/*
 * bench: the experts of a layer on a GPU, by how many distinct ones the tokens go to.
 *
 * The routing is made up (kernels/devices.h), so that the number is exact; weights are random, of
 * several layers in turn. Beside the experts stands a kernel that reads the same weights and
 * nothing else: what no kernel can be much faster than.
 */
#include <string.h>

#include "harness/bench.h"
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

    if (b->n_results == BENCH_MAX_RESULTS)
        return error_set(err, ST_INTERNAL, "more than %d things to time", (int)BENCH_MAX_RESULTS);
    *r = (struct bench_result){ .name = name,
                                .shape = shape,
                                .bytes = bytes,
                                .flops = flops,
                                .samples_ns = arena_array(&b->arena, (size_t)n, sizeof(int64_t)),
                                .n_samples = n };
    if (!r->samples_ns)
        return error_set(err, ST_NOMEM, "out of memory keeping %d samples", n);
    b->n_results++;
    *ret = r;
    return ST_OK;
}

static enum status time_point(struct bench *b, const struct gpu_experts *e, struct error *err)
{
    /* of a model without weights nothing tells how wide they are: bf16, as the kernel takes them */
    double bytes = 3.0 * e->d_model * e->d_ff * 2 * e->n_active;
    double flops = 6.0 * e->d_model * e->d_ff * e->n_tok * e->top_k;
    struct bench_result *experts = NULL, *read = NULL;
    int n = (int)options_int(b->c, OPT_BENCH_REPEATS);
    const char *shape =
        arena_printf(&b->arena, "%d tokens, %d of %d experts", e->n_tok, e->n_active, e->n_exp);
    enum status st;

    if (!shape)
        return error_set(err, ST_NOMEM, "out of memory");
    st = add_result(b, "read", shape, n, bytes, 0, &read, err);
    if (!st)
        st = add_result(b, "experts", shape, n, bytes, flops, &experts, err);
    if (!st)
        st = gpu_experts_time(e, (uint64_t)options_int(b->c, OPT_DUMMY_SEED), n,
                              experts->samples_ns, read->samples_ns, err);
    if (!st)
        read->n_unique = experts->n_unique = e->n_active;
    return st;
}

enum status bench_experts(struct bench *b, const struct engine_options *o, struct error *err)
{
    struct engine_options text_only = *o;
    const struct kernel_params params = { 0 };
    const struct kernel_ops *ops = kernel_backend_find("cuda");
    struct kernels *k = NULL;
    struct engine *e = NULL;
    enum status st;

    if (o->backend && strcmp(o->backend, "cuda") != 0)
        return error_set(err, ST_INVALID, "`bench moe` runs on backend 'cuda', not on '%s'",
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
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]) && !st; i++) {
        const struct model_info *m = b->info;
        struct gpu_experts x = { .n_exp = m->n_exp,
                                 .top_k = m->top_k,
                                 .d_model = m->d_model,
                                 .d_ff = m->d_ff,
                                 .n_tok = (int)options_int(b->c, OPT_BENCH_TOKENS),
                                 .n_active = numbers[i],
                                 .skew = skew };

        if (x.n_active >= x.top_k && x.n_active <= x.n_exp && x.n_active <= x.n_tok * x.top_k)
            st = time_point(b, &x, err);
    }
    if (!st)
        st = bench_print(b, err);
    ops->close(k);
    engine_close(e);
    return st;
}
