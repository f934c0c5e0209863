/*
 * checkkern --bench: the ops at the widths of LLaDA-MoE-7B-A1B, against what the machine can do.
 *
 * The machine's limits are measured first, by the same number of threads (kernels/limits.h). An op
 * is then called on weights that rotate through more memory than the caches hold; 3 calls warm up,
 * the median of at least 10 counts. Bytes are those an op has to move at least once, weights
 * mostly.
 */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "kernels/dtype.h"
#include "kernels/limits.h"

enum { D_MODEL = 2048, D_FF = 1024, N_EXP = 64, TOP_K = 8, N_HEAD = 16, D_HEAD = 128 };
enum { N_VOCAB = 157184, N_TOK = 32, N_KV = 1024 };
enum { N_WARM = 3, N_SAMPLES = 11, MAX_COPIES = 64 };

static const size_t beyond_caches = (size_t)256 << 20;

/* ---- the ops ---- */

struct bench_state {
    const struct side *s;
    struct rng rng;
    double bytes_per_s, flops_per_s;
    void *block; /* random bf16 values that weights are filled with */
    size_t block_bytes;

    /* Arguments of the running op, set up by its bench_* function. */
    struct weight *weights[MAX_COPIES];
    int n_copies;
    struct experts *experts;
    float *x, *y, *z;
    int32_t *ids;
    int n_tok;
    struct route_params route;
    struct attn_segment attn;
    struct pick_params pick;
    struct pick picks[N_TOK];
    struct route_stats stats;
    int32_t counts[N_EXP];
};

typedef enum status (*bench_fn)(struct bench_state *b, int call, struct error *err);

static int compare_ns(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static void time_op(struct bench_state *b, const char *op, const char *shape, bench_fn fn,
                    double bytes, double flops)
{
    int64_t ns[N_SAMPLES];
    struct error err;
    double s;

    for (int i = -N_WARM; i < N_SAMPLES; i++) {
        int64_t start = clock_mono_ns();

        check_status(fn(b, i + N_WARM, &err), &err);
        check_status(b->s->ops->sync(b->s->k, &err), &err);
        if (i >= 0)
            ns[i] = clock_mono_ns() - start;
    }
    qsort(ns, N_SAMPLES, sizeof(ns[0]), compare_ns);
    s = (double)ns[N_SAMPLES / 2] * 1e-9;
    printf("%-10s %-26s %9.1f %9.1f %9.1f %8.2f %4.0f%% %9.2f %4.0f%%\n", op, shape, s * 1e6,
           (double)ns[0] * 1e-3, (double)ns[N_SAMPLES - 1] * 1e-3, bytes / s * 1e-9,
           100 * bytes / s / b->bytes_per_s, flops / s * 1e-9, 100 * flops / s / b->flops_per_s);
    fflush(stdout);
}

/* A bf16 matrix filled from the block; kept until the program ends, as the backend borrows it. */
static struct host_matrix big_matrix(struct bench_state *b, int64_t rows, int64_t cols)
{
    size_t bytes = (size_t)rows * (size_t)cols * 2;
    char *data = malloc(bytes);

    if (!data)
        die("out of memory: %zu bytes", bytes);
    for (size_t at = 0; at < bytes; at += b->block_bytes)
        memcpy(data + at, b->block, bytes - at < b->block_bytes ? bytes - at : b->block_bytes);
    return (struct host_matrix){ data, DT_BF16, rows, cols };
}

static void load_copies(struct bench_state *b, int64_t rows, int64_t cols)
{
    size_t bytes = (size_t)rows * (size_t)cols * 2;
    size_t n = beyond_caches / bytes + 1;

    b->n_copies = n > MAX_COPIES ? MAX_COPIES : (int)n;
    for (int i = 0; i < b->n_copies; i++) {
        struct host_matrix m = big_matrix(b, rows, cols);

        b->weights[i] = load_weight(b->s, &m);
    }
}

static struct weight *next_copy(const struct bench_state *b, int call)
{
    return b->weights[call % b->n_copies];
}

static enum status call_matmul(struct bench_state *b, int call, struct error *err)
{
    return b->s->ops->matmul(b->s->k, b->x, next_copy(b, call), b->n_tok, b->y, err);
}

static void bench_matmul(struct bench_state *b)
{
    static const struct {
        int64_t rows;
        int n_tok;
    } cases[] = {
        { D_MODEL, 1 }, { D_MODEL, 32 }, { D_MODEL, 128 }, { N_VOCAB, 1 }, { N_VOCAB, 32 }
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        double weights = (double)cases[i].rows * D_MODEL;
        char shape[64];

        if (i == 0 || cases[i].rows != cases[i - 1].rows)
            load_copies(b, cases[i].rows, D_MODEL);
        b->n_tok = cases[i].n_tok;
        snprintf(shape, sizeof(shape), "%d x %d -> %lld", b->n_tok, (int)D_MODEL,
                 (long long)cases[i].rows);
        time_op(b, "matmul", shape, call_matmul, 2 * weights, 2 * weights * b->n_tok);
    }
}

static enum status call_moe(struct bench_state *b, int call, struct error *err)
{
    (void)call;
    return b->s->ops->moe(b->s->k, b->x, b->experts, b->ids, b->z, b->n_tok, TOP_K, b->y, err);
}

static void bench_moe(struct bench_state *b)
{
    static const struct {
        int n_tok, n_used;
    } cases[] = { { 1, 8 }, { 32, 64 }, { 32, 25 }, { 32, 16 }, { 128, 64 } };
    struct host_matrix gate[N_EXP], up[N_EXP], down[N_EXP];
    struct error err;

    for (int e = 0; e < N_EXP; e++) {
        gate[e] = big_matrix(b, D_FF, D_MODEL);
        up[e] = big_matrix(b, D_FF, D_MODEL);
        down[e] = big_matrix(b, D_MODEL, D_FF);
    }
    check_status(b->s->ops->experts_load(b->s->k, N_EXP, 0, gate, up, down, &b->experts, &err),
                 &err);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const double per_expert = 3.0 * D_MODEL * D_FF;
        int n_used = cases[i].n_used;
        bool used[N_EXP] = { false };
        int n_unique = 0;
        char shape[64];

        b->n_tok = cases[i].n_tok;
        for (int t = 0; t < b->n_tok; t++) { /* top_k distinct ones of the first n_used */
            int32_t *ids = b->ids + t * TOP_K;
            int n = 0;

            for (int e = 0; e < n_used; e++) {
                if ((int)rng_below(&b->rng, (uint64_t)(n_used - e)) >= TOP_K - n)
                    continue;
                ids[n++] = e;
                n_unique += !used[e];
                used[e] = true;
            }
        }
        snprintf(shape, sizeof(shape), "%d tok, %d of %d experts", b->n_tok, n_unique, (int)N_EXP);
        time_op(b, "moe", shape, call_moe, 2 * per_expert * n_unique,
                2 * per_expert * TOP_K * b->n_tok);
    }
}

static enum status call_attention(struct bench_state *b, int call, struct error *err)
{
    (void)call;
    return b->s->ops->attention(b->s->k, b->x, b->ids, &b->attn, 1, N_HEAD, N_HEAD, D_HEAD, b->y,
                                err);
}

static void bench_attention(struct bench_state *b)
{
    b->attn = (struct attn_segment){ 0, N_TOK, b->z, b->z + (size_t)N_KV * D_MODEL, N_KV, 0 };
    time_op(b, "attention", "32 tok, 1024 keys", call_attention, 8.0 * N_KV * D_MODEL,
            4.0 * N_TOK * N_KV * D_MODEL);
}

static enum status call_rms_norm(struct bench_state *b, int call, struct error *err)
{
    return b->s->ops->rms_norm(b->s->k, b->x, next_copy(b, call), 1e-5f, N_TOK, b->y, err);
}

static void bench_rms_norm(struct bench_state *b)
{
    load_copies(b, 1, D_MODEL);
    time_op(b, "rms_norm", "32 x 2048", call_rms_norm, 8.0 * N_TOK * D_MODEL,
            4.0 * N_TOK * D_MODEL);
}

static enum status call_rope(struct bench_state *b, int call, struct error *err)
{
    (void)call;
    return b->s->ops->rope(b->s->k, b->x, b->ids, N_TOK, N_HEAD, D_HEAD, D_HEAD, 50000, err);
}

static void bench_rope(struct bench_state *b)
{
    time_op(b, "rope", "32 x 16 heads of 128", call_rope, 8.0 * N_TOK * D_MODEL,
            3.0 * N_TOK * D_MODEL);
}

static enum status call_add(struct bench_state *b, int call, struct error *err)
{
    (void)call;
    return b->s->ops->add(b->s->k, b->y, b->x, (size_t)N_TOK * D_MODEL, err);
}

static void bench_add(struct bench_state *b)
{
    time_op(b, "add", "32 x 2048", call_add, 12.0 * N_TOK * D_MODEL, 1.0 * N_TOK * D_MODEL);
}

static enum status call_embed(struct bench_state *b, int call, struct error *err)
{
    return b->s->ops->embed(b->s->k, next_copy(b, call), b->ids, N_TOK, b->y, err);
}

static void bench_embed(struct bench_state *b)
{
    load_copies(b, N_VOCAB, D_MODEL);
    time_op(b, "embed", "32 of 157184", call_embed, 6.0 * N_TOK * D_MODEL, 0);
}

static enum status call_kv_store(struct bench_state *b, int call, struct error *err)
{
    (void)call;
    return b->s->ops->kv_store(b->s->k, b->x, b->ids, N_TOK, D_MODEL, b->z, err);
}

static void bench_kv_store(struct bench_state *b)
{
    time_op(b, "kv_store", "32 x 2048", call_kv_store, 8.0 * N_TOK * D_MODEL, 0);
}

static enum status call_router(struct bench_state *b, int call, struct error *err)
{
    return b->s->ops->router(b->s->k, b->x, next_copy(b, call), N_TOK, ROUTER_SOFTMAX, b->y, NULL,
                             err);
}

static void bench_router(struct bench_state *b)
{
    load_copies(b, N_EXP, D_MODEL);
    time_op(b, "router", "32 x 2048 -> 64", call_router, 2.0 * N_EXP * D_MODEL,
            2.0 * N_TOK * N_EXP * D_MODEL);
}

static enum status call_route(struct bench_state *b, int call, struct error *err)
{
    const struct route_segment seg = { .n_tok = N_TOK,
                                       .stats = &b->stats,
                                       .tokens_per_expert = b->counts };

    (void)call;
    return b->s->ops->route(b->s->k, &b->route, &(struct route_input){ .scores = b->x }, &seg, 1,
                            &(struct route_output){ b->ids, b->y, TOP_K }, err);
}

static void bench_route(struct bench_state *b)
{
    b->route =
        (struct route_params){ .n_exp = N_EXP, .top_k = TOP_K, .top_k_base = TOP_K, .scale = 1 };
    time_op(b, "route", "32 x 64, top 8", call_route, 4.0 * N_TOK * N_EXP, 0);
}

static enum status call_pick(struct bench_state *b, int call, struct error *err)
{
    b->pick.draw = (uint64_t)call;
    return b->s->ops->pick(b->s->k, b->z, N_TOK, N_VOCAB, &b->pick, b->picks, err);
}

static void bench_pick(struct bench_state *b)
{
    b->pick = (struct pick_params){ .mask_id = 156895, .banned_id = -1, .positions = b->ids };
    time_op(b, "pick", "32 x 157184", call_pick, 4.0 * N_TOK * N_VOCAB, 0);
    b->pick.temperature = 1;
    time_op(b, "pick", "32 x 157184, temperature 1", call_pick, 4.0 * N_TOK * N_VOCAB, 0);
}

static const struct {
    const char *op;
    void (*run)(struct bench_state *b);
} benches[] = {
    { "matmul", bench_matmul },     { "moe", bench_moe },     { "attention", bench_attention },
    { "router", bench_router },     { "route", bench_route }, { "rms_norm", bench_rms_norm },
    { "rope", bench_rope },         { "add", bench_add },     { "embed", bench_embed },
    { "kv_store", bench_kv_store }, { "pick", bench_pick },
};

/* n random floats in backend memory. */
static float *device_floats(struct bench_state *b, size_t n)
{
    float *host = random_floats(&b->rng, n, REGIME_UNIFORM, 1);
    struct error err;
    void *p = NULL;

    check_status(b->s->ops->alloc(b->s->k, n * sizeof(*host), &p, &err), &err);
    check_status(b->s->ops->upload(b->s->k, p, host, n * sizeof(*host), &err), &err);
    free(host);
    return p;
}

void bench(const struct side *s, const char *op, int n_threads, uint64_t seed)
{
    struct bench_state b = { .s = s, .block_bytes = 4 << 20 };
    const char *isas[LIMIT_MAX_ISAS];
    struct host_matrix block;
    struct error err;
    int n_isas;

    rng_seed(&b.rng, seed);
    block = random_matrix(&b.rng, DT_BF16, 1, (int64_t)b.block_bytes / 2, REGIME_UNIFORM, 0.02f);
    b.block = (void *)block.data;
    b.x = device_floats(&b, (size_t)128 * D_MODEL);
    b.y = device_floats(&b, (size_t)N_TOK * N_VOCAB);
    b.z = device_floats(&b, (size_t)N_TOK * N_VOCAB);
    b.ids = must_alloc((size_t)128 * TOP_K, sizeof(*b.ids));
    for (int i = 0; i < N_TOK; i++)
        b.ids[i] = i * 17;
    n_isas = limit_isas(isas);
    check_status(limit_read_rate(n_threads, &b.bytes_per_s, &err), &err);
    for (int i = 0; i < n_isas; i++) {
        double rate = 0;

        check_status(limit_arithmetic(isas[i], n_threads, &rate, &err), &err);
        if (rate > b.flops_per_s)
            b.flops_per_s = rate;
    }
    printf("backend %s (%s); this machine reads %.1f GB/s and does %.0f GFLOP/s\n", s->ops->name,
           s->ops->describe(s->k), b.bytes_per_s * 1e-9, b.flops_per_s * 1e-9);
    printf("%-10s %-26s %9s %9s %9s %8s %5s %9s %5s\n", "op", "shape", "median us", "min", "max",
           "GB/s", "", "GFLOP/s", "");
    for (size_t i = 0; i < sizeof(benches) / sizeof(benches[0]); i++)
        if (!op || !strcmp(op, benches[i].op))
            benches[i].run(&b);
    s->ops->free(s->k, b.x);
    s->ops->free(s->k, b.y);
    s->ops->free(s->k, b.z);
    free(b.ids);
    free(b.block);
}
