/* checkkern: making inputs, guarding outputs, comparing. */
#include "check.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/dtype.h"

enum { N_GUARD = 64, MAX_SHOWN = 20 };

static const uint32_t poison_bits = 0x7fc0dead; /* a NaN: reading it spoils results, too */

void die(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fputs("checkkern: ", stderr);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
    exit(2);
}

void *must_alloc(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size);

    if (!p)
        die("out of memory: %zu times %zu bytes", count, size);
    return p;
}

int choose_int(struct rng *r, const int *values, size_t n)
{
    return values[rng_below(r, n)];
}

const char *const regime_names[N_REGIMES] = { "uniform", "ties", "wide", "dominant" };

enum regime choose_regime(struct check *c)
{
    return (enum regime)rng_below(&c->rng, N_REGIMES);
}

enum dtype choose_dtype(struct check *c)
{
    return (enum dtype)rng_below(&c->rng, 3);
}

bool takes_experts(const struct check *c, enum dtype t, int n_shared)
{
    static const float one[1] = { 1 };
    const struct host_matrix m[3] = { { one, t, 1, 1 }, { one, t, 1, 1 }, { one, t, 1, 1 } };
    struct experts *e = NULL;
    struct error err;
    enum status st = c->new.ops->experts_load(c->new.k, 1, n_shared, m, m, m, &e, &err);

    if (st != ST_UNSUPPORTED)
        check_status(st, &err);
    return st == ST_OK;
}

float *reference_x(const struct check *c, const float *x, size_t n, enum dtype t)
{
    float *ret = must_alloc(n, sizeof(*ret));

    for (size_t i = 0; i < n; i++)
        ret[i] = c->is_x_rounded && t == DT_BF16 ? bf16_to_f32(f32_to_bf16(x[i])) : x[i];
    return ret;
}

/* n ids below limit. */
int32_t *random_ids(struct rng *r, size_t n, int limit)
{
    int32_t *ids = must_alloc(n, sizeof(*ids));

    for (size_t i = 0; i < n; i++)
        ids[i] = (int32_t)rng_below(r, (uint64_t)limit);
    return ids;
}

double norm(const float *x, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    return sqrt(sum);
}

double largest(const float *x, size_t n)
{
    double max = 0;

    for (size_t i = 0; i < n; i++)
        max = fmax(max, fabs((double)x[i]));
    return max;
}

double row_norm(const struct host_matrix *m, int64_t r)
{
    double sum = 0;

    for (int64_t i = 0; i < m->cols; i++) {
        double w = dtype_get(m->data, m->dtype, (size_t)(r * m->cols + i));

        sum += w * w;
    }
    return sqrt(sum);
}

float *random_floats(struct rng *r, size_t n, enum regime regime, float scale)
{
    float *x = must_alloc(n, sizeof(*x));

    for (size_t i = 0; i < n; i++) {
        double u = 2 * rng_uniform(r) - 1;

        switch (regime) {
        case REGIME_UNIFORM: break;
        case REGIME_TIES: u = nearbyint(u * 2) / 2; break;
        case REGIME_WIDE: u = copysign(exp2(-40 * rng_uniform(r)), u); break;
        case REGIME_DOMINANT: u *= 1e-3; break;
        case N_REGIMES: break;
        }
        x[i] = (float)u * scale;
    }
    if (regime == REGIME_DOMINANT && n)
        x[rng_below(r, n)] = scale;
    return x;
}

struct host_matrix random_matrix(struct rng *r, enum dtype t, int64_t rows, int64_t cols,
                                 enum regime regime, float scale)
{
    size_t n = (size_t)rows * (size_t)cols;
    float *x = random_floats(r, n, regime, scale);
    void *data = must_alloc(n, dtype_size(t));

    dtype_from_f32(x, t, n, data);
    free(x);
    return (struct host_matrix){ data, t, rows, cols };
}

void check_status(enum status st, const struct error *err)
{
    if (st)
        die("backend failed: %s: %s", status_name(st), err->text);
}

struct weight *load_weight(const struct side *s, const struct host_matrix *m)
{
    struct error err;
    struct weight *w = NULL;

    check_status(s->ops->weight_load(s->k, m, &w, &err), &err);
    return w;
}

struct buffer buffer_new(const struct side *s, const float *src, size_t n)
{
    struct buffer b = { .side = s, .n = n };
    uint32_t *image = must_alloc(n + 2 * N_GUARD, sizeof(*image));
    size_t bytes = (n + 2 * N_GUARD) * sizeof(*image);
    struct error err;
    void *p = NULL;

    for (size_t i = 0; i < n + 2 * N_GUARD; i++)
        image[i] = poison_bits;
    if (src)
        memcpy(image + N_GUARD, src, n * sizeof(*src));
    check_status(s->ops->alloc(s->k, bytes, &p, &err), &err);
    check_status(s->ops->upload(s->k, p, image, bytes, &err), &err);
    free(image);
    b.base = p;
    b.data = b.base + N_GUARD; /* 256 bytes on: as aligned as alloc() promises */
    return b;
}

float *buffer_take(struct check *c, struct buffer *b)
{
    size_t bytes = (b->n + 2 * N_GUARD) * sizeof(float);
    uint32_t *image = must_alloc(1, bytes);
    float *ret = must_alloc(b->n, sizeof(*ret));
    struct error err;

    check_status(b->side->ops->sync(b->side->k, &err), &err);
    check_status(b->side->ops->download(b->side->k, image, b->base, bytes, &err), &err);
    for (size_t i = 0; i < N_GUARD; i++) {
        if (image[i] != poison_bits)
            fail(c, "wrote %zu floats before the output", N_GUARD - i);
        if (image[N_GUARD + b->n + i] != poison_bits)
            fail(c, "wrote %zu floats past the output", i + 1);
    }
    memcpy(ret, image + N_GUARD, b->n * sizeof(*ret));
    free(image);
    return ret;
}

void buffer_free(struct buffer *b)
{
    b->side->ops->free(b->side->k, b->base);
}

void fail(struct check *c, const char *fmt, ...)
{
    va_list ap;

    c->n_failed++;
    if (c->n_failed > MAX_SHOWN)
        return;
    printf("FAIL %s seed %llu %s: ", c->tol->op, (unsigned long long)c->case_seed, c->shape);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    if (c->n_failed == MAX_SHOWN)
        puts("... further failures are only counted");
}

static bool same_kind(float a, float b)
{
    if (isnan(a) || isnan(b))
        return isnan(a) && isnan(b);
    return !isinf(a) && !isinf(b);
}

void compare_floats(struct check *c, const char *what, const float *new, const float *ref, size_t n,
                    const double *unit, size_t per_unit)
{
    for (size_t i = 0; i < n; i++) {
        double u = unit ? unit[i / per_unit] : 1;
        double bound = c->tol->abs * u + c->tol->rel * fabs((double)ref[i]);
        double error = fabs((double)new[i] - ref[i]);

        if (new[i] == ref[i] || (isnan(new[i]) && isnan(ref[i])))
            continue;
        if (!same_kind(new[i], ref[i]) || !(error <= bound)) {
            fail(c, "%s[%zu]: %.9g, ref %.9g, off by %.3g where %.3g is allowed", what, i,
                 (double)new[i], (double)ref[i], error, bound);
            return;
        }
        if (error / bound > c->worst)
            c->worst = error / bound;
    }
}

void compare_ints(struct check *c, const char *what, const int32_t *new, const int32_t *ref,
                  size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (new[i] != ref[i]) {
            fail(c, "%s[%zu]: %d, ref %d", what, i, (int)new[i], (int)ref[i]);
            return;
        }
    }
}

void compare_bits(struct check *c, const char *what, const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (memcmp(&a[i], &b[i], sizeof(a[i])) != 0 && !(isnan(a[i]) && isnan(b[i]))) {
            fail(c, "%s: [%zu] changes from %.9g to %.9g", what, i, (double)a[i], (double)b[i]);
            return;
        }
    }
}

void spoil(struct rng *r, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        switch (rng_below(r, 16)) {
        case 0: x[i] = NAN; break;
        case 1: x[i] = -INFINITY; break;
        case 2: x[i] = x[0]; break;
        default: break;
        }
    }
}
