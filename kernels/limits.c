/* The ceilings of this machine, measured. */
#include "kernels/limits.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "kernels/host.h"
#include "kernels/kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { TRIES = 5, MAX_THREADS = 1024, N_STREAMS = 16, CHAINS = 12 };
static const size_t buffer_bytes = (size_t)256 << 20, stream_bytes = 8 << 10;
static const long rounds = 400000;

struct job {
    pthread_t id;
    void *(*run)(void *);
    const char *data; /* reading */
    size_t n;
    bool is_streams;
    double flops, ret; /* flops done; ret keeps the work from being thrown away */
};

typedef uint64_t words __attribute__((vector_size(64)));

/* N_STREAMS parts at once; while a part is read, the same place one round of parts ahead is
 * fetched. */
static uint64_t read_streams(const char *p, size_t n)
{
    const size_t step = N_STREAMS * stream_bytes;
    words sum[2] = { 0 };

    for (size_t at = 0; at + step <= n; at += step)
        for (size_t o = 0; o < stream_bytes; o += 128)
            for (size_t s = 0; s < N_STREAMS; s++) {
                const char *q = p + at + s * stream_bytes + o;

                __builtin_prefetch(q + step, 0, 2); /* beyond the end: no harm */
                __builtin_prefetch(q + step + 64, 0, 2);
                sum[0] += ((const words *)q)[0];
                sum[1] += ((const words *)q)[1];
            }
    return (sum[0] + sum[1])[0];
}

static uint64_t read_through(const char *p, size_t n)
{
    const words *w = (const words *)p;
    words sum[4] = { 0 };

    for (size_t i = 0; i + 4 <= n / sizeof(words); i += 4)
        for (size_t l = 0; l < 4; l++)
            sum[l] += w[i + l];
    return (sum[0] + sum[1] + sum[2] + sum[3])[0];
}

static void *read_job(void *arg)
{
    struct job *j = arg;

    j->ret = (double)(j->is_streams ? read_streams(j->data, j->n) : read_through(j->data, j->n));
    return NULL;
}

/* CHAINS independent multiply-adds a round on vectors of `bytes`: more than the 8 to 10 that two
 * units of latency 4 to 5 need, and what AVX2 has registers for. */
#define FMA_LOOP(name, attributes, bytes, fma)                                                     \
    attributes static void *name(void *arg)                                                        \
    {                                                                                              \
        typedef float v __attribute__((vector_size(bytes)));                                       \
        struct job *j = arg;                                                                       \
        v a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, x = { 0 }, y = { 0 };                  \
        x += 0.999f;                                                                               \
        y += 1e-3f;                                                                                \
        a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = a8 = a9 = a10 = a11 = y;                           \
        for (long r = 0; r < 10 * rounds; r++) {                                                   \
            a0 = fma(a0, x, y), a1 = fma(a1, x, y), a2 = fma(a2, x, y), a3 = fma(a3, x, y);        \
            a4 = fma(a4, x, y), a5 = fma(a5, x, y), a6 = fma(a6, x, y), a7 = fma(a7, x, y);        \
            a8 = fma(a8, x, y), a9 = fma(a9, x, y), a10 = fma(a10, x, y), a11 = fma(a11, x, y);    \
            __asm__ volatile("" : "+" REGISTER(x)); /* every round anew */                         \
        }                                                                                          \
        a0 += a1 + a2 + a3 + a4 + a5 + a6 + a7 + a8 + a9 + a10 + a11;                              \
        j->ret = (double)a0[0];                                                                    \
        j->flops = 10.0 * (double)rounds * CHAINS * 2 * (bytes) / 4;                               \
        return NULL;                                                                               \
    }

#define PLAIN_FMA(a, b, c) ((a) * (b) + (c))
#if defined(__x86_64__)
#define REGISTER(x) "x"(x)
#else
#define REGISTER(x) "w"(x)
#endif
FMA_LOOP(fma_plain, , 16, PLAIN_FMA)

#if defined(__x86_64__)

#define FMA_256(a, b, c) (v) _mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c))
FMA_LOOP(fma_avx2, __attribute__((target("avx2,fma"))), 32, FMA_256)
#undef REGISTER
#define REGISTER(x) "v"(x)
#define FMA_512(a, b, c) (v) _mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c))
FMA_LOOP(fma_avx512, __attribute__((target("avx512f"))), 64, FMA_512)

__attribute__((target("avx512f,avx512bf16"))) static void *dot_avx512(void *arg)
{
    struct job *j = arg;
    __m512bh x = (__m512bh)_mm512_set1_epi16(0x3c00);
    __m512 a[CHAINS];

#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++)
        a[i] = _mm512_setzero_ps();
    for (long r = 0; r < 4 * rounds; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++)
            a[i] = _mm512_dpbf16_ps(a[i], x, x);
    }
#pragma GCC unroll 12
    for (int i = 1; i < CHAINS; i++)
        a[0] = _mm512_add_ps(a[0], a[i]);
    j->ret = (double)_mm512_reduce_add_ps(a[0]);
    j->flops = 4.0 * (double)rounds * CHAINS * 64;
    return NULL;
}

/* Five of the eight tiles, as inner_amx.c uses them, but without its loads. */
__attribute__((target("amx-tile,amx-bf16"))) static void *dot_amx(void *arg)
{
    struct job *j = arg;
    uint8_t config[64] = { 1 }, data[1024] = { 0 };

    for (int i = 0; i < 8; i++) {
        config[16 + 2 * i] = 64;
        config[48 + i] = 16;
    }
    __asm__ volatile("" : : "r"(config), "r"(data) : "memory");
    _tile_loadconfig(config);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, data, 64);
    _tile_loadd(5, data, 64);
    for (long r = 0; r < rounds / 4; r++) {
        _tile_dpbf16ps(0, 4, 5);
        _tile_dpbf16ps(1, 4, 5);
        _tile_dpbf16ps(2, 4, 5);
        _tile_dpbf16ps(3, 4, 5);
    }
    _tile_release();
    j->flops = (double)(rounds / 4) * 4 * 16 * 16 * 32 * 2;
    return NULL;
}

#endif

static const struct {
    const char *isa;
    void *(*run)(void *);
} loops[] = {
    { "generic", fma_plain },
#if defined(__x86_64__)
    { "avx2", fma_avx2 },         { "avx512", fma_avx512 },
    { "avx512bf16", dot_avx512 }, { "amx", dot_amx },
#endif
};

enum { N_LOOPS = sizeof(loops) / sizeof(loops[0]) };
_Static_assert((int)N_LOOPS <= (int)LIMIT_MAX_ISAS, "callers have room for that many");

/* The backend knows, and asks the system for what has to be asked for. */
static enum status try_isa(const char *isa, struct error *err)
{
    const struct kernel_params params = { .n_threads = 1, .isa = isa };
    const struct kernel_ops *ops = kernel_backend_find("cpu");
    struct kernels *k = NULL;
    enum status st = ops->open(&params, &k, err);

    ops->close(k);
    return st;
}

int limit_isas(const char *ret[LIMIT_MAX_ISAS])
{
    int n = 0;

    for (int i = 0; i < N_LOOPS; i++)
        if (try_isa(loops[i].isa, NULL) == ST_OK)
            ret[n++] = loops[i].isa;
    return n;
}

/* Seconds that the jobs take side by side, the best of a few tries; the last is the caller's. */
static enum status time_jobs(struct job *jobs, int n, double *ret, struct error *err)
{
    double best = 0;

    for (int i = 0; i < TRIES; i++) {
        int64_t start = clock_mono_ns();
        int started = 0, rc = 0;
        double s;

        while (started < n - 1 && !rc) {
            rc = pthread_create(&jobs[started].id, NULL, jobs[started].run, &jobs[started]);
            started += !rc;
        }
        if (!rc)
            jobs[n - 1].run(&jobs[n - 1]);
        for (int t = 0; t < started; t++)
            pthread_join(jobs[t].id, NULL);
        if (rc)
            return error_set(err, ST_NOMEM, "cannot start %d threads: %s", n, strerror(rc));
        s = (double)(clock_mono_ns() - start) * 1e-9;
        best = i == 0 || s < best ? s : best;
    }
    *ret = best;
    return ST_OK;
}

static enum status jobs_new(int n_threads, struct job **ret, struct error *err)
{
    if (n_threads < 1 || n_threads > MAX_THREADS)
        return error_set(err, ST_INVALID, "need 1 <= threads %d <= %d", n_threads,
                         (int)MAX_THREADS);
    *ret = calloc((size_t)n_threads, sizeof(**ret));
    return *ret ? ST_OK : error_set(err, ST_NOMEM, "out of memory measuring this machine");
}

enum status limit_read_rate(int n_threads, double *ret, struct error *err)
{
    struct pages buffer = { 0 };
    struct job *jobs = NULL;
    double best = 0;
    enum status st = jobs_new(n_threads, &jobs, err);

    if (!st)
        st = pages_new(buffer_bytes, &buffer, err);
    if (!st)
        memset(buffer.data, 1, buffer_bytes);
    for (int way = 0; way < 2 && !st; way++) {
        size_t n = buffer_bytes / (size_t)n_threads / (N_STREAMS * stream_bytes) * N_STREAMS *
                   stream_bytes;
        double s;

        for (int t = 0; t < n_threads; t++)
            jobs[t] = (struct job){ .run = read_job,
                                    .data = (const char *)buffer.data + (size_t)t * n,
                                    .n = n,
                                    .is_streams = way };
        st = time_jobs(jobs, n_threads, &s, err);
        if (!st && (double)n * n_threads / s > best)
            best = (double)n * n_threads / s;
    }
    pages_release(&buffer);
    free(jobs);
    if (!st)
        *ret = best;
    return st;
}

enum status limit_arithmetic(const char *isa, int n_threads, double *ret, struct error *err)
{
    struct job *jobs = NULL;
    double s = 0;
    int i = 0;
    enum status st;

    while (i < N_LOOPS && strcmp(loops[i].isa, isa) != 0)
        i++;
    if (i == N_LOOPS)
        return error_set(err, ST_INVALID, "backend 'cpu' has no instruction set '%s'", isa);
    st = try_isa(isa, err);
    if (!st)
        st = jobs_new(n_threads, &jobs, err);
    if (st)
        return st;
    for (int t = 0; t < n_threads; t++)
        jobs[t].run = loops[i].run;
    st = time_jobs(jobs, n_threads, &s, err);
    if (!st)
        *ret = jobs[0].flops * n_threads / s;
    free(jobs);
    return st;
}
