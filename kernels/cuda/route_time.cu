/* Routers to be timed: route_time.h. */
#include "kernels/cuda/route_time.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

extern "C" {
#include "base/rng.h"
}
#include "kernels/cuda/moe.h"
#include "kernels/cuda/pack.h"

/* A score is 1 at most: what is dealt comes before all others. */
#define DEALT 4.0f

/* Hands out the parts of one block; base NULL: it only measures. */
struct parts {
    char *base;
    size_t at;
};

static void *take(struct parts *p, size_t bytes)
{
    void *ret = p->base ? p->base + p->at : NULL;

    p->at += (bytes + 255) / 256 * 256;
    return ret;
}

/* Device memory of all layers; returns its bytes. args: what a call takes from the host. */
static size_t lay_out(struct timed_router *r, const struct route_params *p, int d_model, int n_tok,
                      const struct route_call_size *size, char *base, void **ret_args,
                      void **ret_work, void **ret_results)
{
    const size_t d = (size_t)d_model, n = (size_t)n_tok, n_exp = (size_t)p->n_exp;
    const size_t n_slots = n * (size_t)p->top_k;
    struct parts parts = { base, 0 };
    struct router_call shared = {};

    *ret_args = take(&parts, size->args);
    *ret_work = take(&parts, size->work);
    *ret_results = take(&parts, size->results);
    shared.x = (const float *)take(&parts, n * d * sizeof(float));
    shared.norm_w = (const float *)take(&parts, d * sizeof(float));
    shared.ret_h = (uint16_t *)take(&parts, n * (size_t)pack_row_elems(d_model) * 2);
    shared.ret_scores = (float *)take(&parts, n * n_exp * sizeof(float));
    shared.route.out.ids = (int32_t *)take(&parts, n_slots * sizeof(int32_t));
    shared.route.out.w = (float *)take(&parts, n_slots * sizeof(float));
    r->h = shared.ret_h;
    r->rows = (uint16_t *)take(&parts, n_exp * d * sizeof(uint16_t));
    for (int i = 0; i < TIMED_LAYERS; i++) {
        struct router_call *c = &r->layers[i];

        *c = shared;
        c->router_packed = take(&parts, router_pack_bytes(p->n_exp, d_model));
        c->route.bias = (const float *)take(&parts, n * n_exp * sizeof(float));
        c->list = worklist_place(take(&parts, worklist_bytes(n_tok, p->top_k, p->n_exp)), n_tok,
                                 p->top_k, p->n_exp);
        r->lists[i] = c->list;
    }
    return parts.at;
}

/* Host memory that what is sent is made in. */
struct scratch {
    float *f32; /* (n_tok, d_model) or (n_tok, n_exp) or (d_model) */
    uint16_t *bf16;
    char *args;
};

static cudaError_t send(const void *dev, const void *host, size_t bytes, cudaStream_t stream)
{
    cudaError_t rc = cudaMemcpyAsync((void *)dev, host, bytes, cudaMemcpyHostToDevice, stream);

    return rc ? rc : cudaStreamSynchronize(stream); /* host is made anew */
}

static uint16_t to_bf16(float v)
{
    uint32_t u;

    memcpy(&u, &v, sizeof(u));
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

/* Weights of a layer's router, and what brings each token to its experts. */
static cudaError_t fill_layer(const struct router_call *c, uint16_t *rows, const int32_t *ids,
                              int n_tok, struct rng *rng, struct scratch *s, cudaStream_t stream)
{
    const size_t n_exp = (size_t)c->route.p.n_exp, n_w = n_exp * (size_t)c->d;
    const size_t top_k = (size_t)c->route.p.top_k, n_bias = (size_t)n_tok * n_exp;
    const float scale = sqrtf(12.0f / (float)c->d);
    cudaError_t rc;

    for (size_t i = 0; i < n_w; i++)
        s->bf16[i] = to_bf16(scale * (float)(rng_uniform(rng) - 0.5));
    rc = send(rows, s->bf16, n_w * sizeof(*s->bf16), stream);
    if (!rc)
        rc = router_pack_launch(rows, c->route.p.n_exp, c->d, (void *)c->router_packed, stream);
    if (rc)
        return rc;
    memset(s->f32, 0, n_bias * sizeof(*s->f32));
    for (size_t t = 0; t < (size_t)n_tok; t++)
        for (size_t k = 0; k < top_k; k++)
            s->f32[t * n_exp + (size_t)ids[t * top_k + k]] = DEALT;
    return send(c->route.bias, s->f32, n_bias * sizeof(*s->f32), stream);
}

static cudaError_t fill(const struct timed_router *r, const int32_t *ids, int n_tok, uint64_t seed,
                        struct scratch *s, cudaStream_t stream)
{
    const struct router_call *first = &r->layers[0];
    const size_t d = (size_t)first->d, n_x = (size_t)n_tok * d;
    const size_t n_slots = (size_t)n_tok * (size_t)first->route.p.top_k;
    struct rng rng;
    cudaError_t rc;

    rng_seed(&rng, seed);
    for (size_t i = 0; i < d; i++)
        s->f32[i] = (float)(0.5 + rng_uniform(&rng));
    rc = send(first->norm_w, s->f32, d * sizeof(*s->f32), stream);
    for (size_t i = 0; i < n_x; i++)
        s->f32[i] = (float)rng_normal(&rng);
    if (!rc)
        rc = send(first->x, s->f32, n_x * sizeof(*s->f32), stream);
    for (int i = 0; i < TIMED_LAYERS && !rc; i++)
        rc = fill_layer(&r->layers[i], r->rows, ids + (size_t)i * n_slots, n_tok, &rng, s, stream);
    return rc;
}

cudaError_t timed_router_open(struct timed_router *r, const struct route_params *p, int d_model,
                              int n_tok, const int32_t *ids, uint64_t seed, cudaStream_t stream)
{
    const size_t n = (size_t)n_tok, d = (size_t)d_model, n_exp = (size_t)p->n_exp;
    struct route_segment seg = {};
    struct route_call_size size;
    struct route_call call = {};
    struct scratch s = {};
    void *args, *work, *results;
    cudaError_t rc = cudaErrorMemoryAllocation;

    memset(r, 0, sizeof(*r));
    seg.n_tok = n_tok;
    route_call_measure(p, n_tok, 1, 1, &size);
    s.f32 = (float *)malloc((n + 1) * (d > n_exp ? d : n_exp) * sizeof(*s.f32));
    s.bf16 = (uint16_t *)malloc(n_exp * d * sizeof(*s.bf16));
    s.args = (char *)malloc(size.args);
    if (s.f32 && s.bf16 && s.args)
        rc =
            cudaMalloc(&r->dev, lay_out(r, p, d_model, n_tok, &size, NULL, &args, &work, &results));
    if (!rc) {
        (void)lay_out(r, p, d_model, n_tok, &size, (char *)r->dev, &args, &work, &results);
        route_call_plan(p, &seg, 1, NULL, s.args, args, results, work, &call);
        rc = send(args, s.args, size.args, stream);
    }
    r->is_at_once = router_fits(p, d_model, n_tok, 1, 1);
    r->is_placed = !r->is_at_once && n_tok > MOE_FEW_TOKENS;
    for (int i = 0; i < TIMED_LAYERS; i++) {
        struct router_call *c = &r->layers[i];
        const struct route_output out = { c->route.out.ids, c->route.out.w, p->top_k };
        const float *bias = c->route.bias;

        c->route = call;
        c->route.out = out;
        c->route.bias = bias;
        c->route.bias_stride = p->n_exp;
        c->route.scores = c->ret_scores;
        c->max_tok = n_tok;
        c->score = ROUTER_SOFTMAX;
        c->eps = 1e-5f;
        c->d = d_model;
        c->is_placed = r->is_placed;
        c->leaves_count = true;
        if (r->is_at_once)
            c->ret_scores = NULL; /* nobody asks for them */
    }
    if (!rc)
        rc = fill(r, ids, n_tok, seed, &s, stream);
    free(s.f32);
    free(s.bf16);
    free(s.args);
    return rc;
}

void timed_router_close(struct timed_router *r)
{
    (void)cudaFree(r->dev);
    memset(r, 0, sizeof(*r));
}

cudaError_t timed_router_launch(const struct timed_router *r, int i, cudaStream_t stream)
{
    const struct router_call *c = &r->layers[i];
    cudaError_t rc;

    if (r->is_at_once)
        return router_launch(c, true, stream);
    rc = router_many_launch(c, stream);
    return rc ? rc
              : worklist_launch(c->route.out.ids, c->route.out.w, NULL, c->max_tok,
                                c->route.p.top_k, c->route.p.n_exp, 0, c->list, &c->route, stream);
}
