/*
 * checkkern --bench: the ops at the widths of LLaDA-MoE-7B-A1B, against what the machine can do.
 *
 * The machine's limits are measured first, by the same number of threads: reading a buffer
 * larger than any cache, and independent multiply-adds in the widest vectors. An op is then
 * called on weights that rotate through more memory than the caches hold; 3 calls warm up, the
 * median of at least 10 counts. Bytes are those an op has to move at least once, weights
 * mostly.
 */
#include "check.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "kernels/dtype.h"

enum { D_MODEL = 2048, D_FF = 1024, N_EXP = 64, TOP_K = 8, N_HEAD = 16, D_HEAD = 128 };
enum { N_VOCAB = 157184, N_TOK = 32, N_KV = 1024 };
enum { N_WARM = 3, N_SAMPLES = 11, MAX_COPIES = 64 };

static const size_t beyond_caches = (size_t)256 << 20;

/* ---- what the machine can do ---- */

typedef uint64_t words __attribute__((vector_size(64)));

struct limit_job {
    pthread_t id;
    const words *data;
    size_t n;
    long rounds;
    double ret; /* keeps the work from being thrown away */
};

static void *read_slice(void *arg)
{
    struct limit_job *j = arg;
    words sum[4] = { 0 };

    for (size_t i = 0; i + 4 <= j->n; i += 4)
        for (size_t l = 0; l < 4; l++)
            sum[l] += j->data[i + l];
    j->ret = (double)(sum[0] + sum[1] + sum[2] + sum[3])[0];
    return NULL;
}

/* 12 chains of multiply-adds on vectors of `bytes`: more than the 8 to 10 that two units of latency
 * 4 to 5 need, and what AVX2 has registers for. */
#define FMA_LOOP(name, attributes, bytes, fma)                                                     \
    attributes static float name(long rounds)                                                      \
    {                                                                                              \
        typedef float v __attribute__((vector_size(bytes)));                                       \
        v a[12], x = { 0 }, y = { 0 };                                                             \
        float sum = 0;                                                                             \
        x += 0.999f;                                                                               \
        y += 1e-3f;                                                                                \
        for (int i = 0; i < 12; i++)                                                               \
            a[i] = y * (float)i;                                                                   \
        for (long r = 0; r < rounds; r++) {                                                        \
            a[0] = fma(a[0], x, y), a[1] = fma(a[1], x, y), a[2] = fma(a[2], x, y);                \
            a[3] = fma(a[3], x, y), a[4] = fma(a[4], x, y), a[5] = fma(a[5], x, y);                \
            a[6] = fma(a[6], x, y), a[7] = fma(a[7], x, y), a[8] = fma(a[8], x, y);                \
            a[9] = fma(a[9], x, y), a[10] = fma(a[10], x, y), a[11] = fma(a[11], x, y);            \
        }                                                                                          \
        for (int i = 0; i < 12; i++)                                                               \
            sum += a[i][0];                                                                        \
        return sum;                                                                                \
    }

#define PLAIN_FMA(a, b, c) ((a) * (b) + (c))
FMA_LOOP(fma_plain, , 16, PLAIN_FMA)

#if defined(__x86_64__)
#include <immintrin.h>
#define FMA_256(a, b, c) (v) _mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c))
#define FMA_512(a, b, c) (v) _mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c))
FMA_LOOP(fma_avx2, __attribute__((target("avx2,fma"))), 32, FMA_256)
FMA_LOOP(fma_avx512, __attribute__((target("avx512f"))), 64, FMA_512)
#endif

/* Runs the widest loop; returns flops a round. */
static int multiply_add(long rounds, float *ret)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) {
        *ret = fma_avx512(rounds);
        return 12 * 16 * 2;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        *ret = fma_avx2(rounds);
        return 12 * 8 * 2;
    }
#endif
    *ret = fma_plain(rounds);
    return 12 * 4 * 2;
}

static void *multiply_add_job(void *arg)
{
    struct limit_job *j = arg;
    float sum;

    j->n = (size_t)multiply_add(j->rounds, &sum);
    j->ret = (double)sum;
    return NULL;
}

/* Seconds that n_threads take, the best of a few tries. */
static double time_threads(void *(*fn)(void *), struct limit_job *jobs, int n_threads)
{
    double best = 0;

    for (int i = 0; i < 5; i++) {
        int64_t start = clock_mono_ns();
        double s;

        for (int t = 0; t < n_threads; t++)
            if (pthread_create(&jobs[t].id, NULL, fn, &jobs[t]))
                die("cannot start a thread");
        for (int t = 0; t < n_threads; t++)
            pthread_join(jobs[t].id, NULL);
        s = (double)(clock_mono_ns() - start) * 1e-9;
        if (i == 0 || s < best)
            best = s;
    }
    return best;
}

static void measure_limits(int n_threads, double *bytes_per_s, double *flops_per_s)
{
    struct limit_job *jobs = must_alloc((size_t)n_threads, sizeof(*jobs));
    size_t n = 2 * beyond_caches / sizeof(words) / (size_t)n_threads;
    words *data = aligned_alloc(64, n * (size_t)n_threads * sizeof(*data));

    if (!data)
        die("out of memory");
    memset(data, 1, n * (size_t)n_threads * sizeof(*data));
    for (int t = 0; t < n_threads; t++)
        jobs[t] = (struct limit_job){ .data = data + (size_t)t * n, .n = n, .rounds = 10000000 };
    *bytes_per_s =
        (double)(n * (size_t)n_threads * sizeof(*data)) / time_threads(read_slice, jobs, n_threads);
    *flops_per_s = time_threads(multiply_add_job, jobs, n_threads);
    *flops_per_s = (double)jobs[0].n * (double)jobs[0].rounds * (double)n_threads / *flops_per_s;
    free(data);
    free(jobs);
}

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
    struct segment seg;
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
    check_status(b->s->ops->experts_load(b->s->k, N_EXP, gate, up, down, &b->experts, &err), &err);
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
    return b->s->ops->router(b->s->k, b->x, next_copy(b, call), N_TOK, ROUTER_SOFTMAX, b->y, err);
}

static void bench_router(struct bench_state *b)
{
    load_copies(b, N_EXP, D_MODEL);
    time_op(b, "router", "32 x 2048 -> 64", call_router, 2.0 * N_EXP * D_MODEL,
            2.0 * N_TOK * N_EXP * D_MODEL);
}

static enum status call_route(struct bench_state *b, int call, struct error *err)
{
    const struct route_params p = { N_EXP, TOP_K, TOP_K, false, 1 };

    (void)call;
    return b->s->ops->route(b->s->k, b->x, &p, &b->seg, 1, N_TOK, b->ids, b->y, &b->stats,
                            b->counts, err);
}

static void bench_route(struct bench_state *b)
{
    b->seg = (struct segment){ 0, N_TOK };
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
    struct host_matrix block;

    rng_seed(&b.rng, seed);
    block = random_matrix(&b.rng, DT_BF16, 1, (int64_t)b.block_bytes / 2, REGIME_UNIFORM, 0.02f);
    b.block = (void *)block.data;
    b.x = device_floats(&b, (size_t)128 * D_MODEL);
    b.y = device_floats(&b, (size_t)N_TOK * N_VOCAB);
    b.z = device_floats(&b, (size_t)N_TOK * N_VOCAB);
    b.ids = must_alloc((size_t)128 * TOP_K, sizeof(*b.ids));
    for (int i = 0; i < N_TOK; i++)
        b.ids[i] = i * 17;
    measure_limits(n_threads, &b.bytes_per_s, &b.flops_per_s);
    printf("backend %s (%s); this machine reads %.1f GB/s and does %.0f GFLOP/s in f32\n",
           s->ops->name, s->ops->describe(s->k), b.bytes_per_s * 1e-9, b.flops_per_s * 1e-9);
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
