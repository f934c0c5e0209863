#include "model_vectors.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

bool backend_opens(const struct kernel_ops *ops)
{
    struct kernels *k = NULL;
    enum status st = ops->open(&(struct kernel_params){ .n_threads = 1 }, &k, NULL);

    ops->close(k);
    cr_assert(st == ST_OK || strcmp(ops->name, "ref") != 0);
    return st == ST_OK;
}

bool backend_rounds(const struct kernel_ops *ops)
{
    return strcmp(ops->name, "cuda") == 0;
}

double backend_tolerance(const char *backend)
{
    return strcmp(backend, "ref") == 0 ? 1e-5 : 1e-4;
}

void keep_no_hashes(void)
{
    setenv("XDG_CACHE_HOME", "/proc/nowhere", 1);
}

struct kv_cache *new_cache(struct model *m)
{
    struct kv_cache *c = NULL;
    struct error err = { 0 };

    cr_assert_eq(kv_cache_new(m, &c, &err), ST_OK, "%s", err.text);
    return c;
}

void vector_path(const char *name, char *ret, size_t size)
{
    const char *base = getenv("DESBENCH_TESTS");

    cr_assert(base, "DESBENCH_TESTS is not set");
    cr_assert_lt(snprintf(ret, size, "%s/vectors/model/%s", base, name), (int)size);
}

struct model *vector_model(const char *name, const char *backend, int max_batch)
{
    struct error err = { 0 };
    struct model *m = NULL;
    char path[512];
    enum status st;
    struct engine_options o = { .model_dir = path,
                                .backend = backend,
                                .n_threads = 2,
                                .max_canvas = VECTOR_MAX_TOK,
                                .max_batch = max_batch };

    vector_path(name, path, sizeof(path));
    st = model_open(&o, &m, &err);
    if (st == ST_UNSUPPORTED && strcmp(backend, "ref") != 0) {
        cr_log_info("backend %s: %s", backend, err.text);
        return NULL;
    }
    cr_assert_eq(st, ST_OK, "%s", err.text);
    return m;
}

struct safetensors *vectors_open(const char *name)
{
    struct safetensors *s = NULL;
    struct error err = { 0 };
    char path[512], file[100];

    snprintf(file, sizeof(file), "%s.safetensors", name);
    vector_path(file, path, sizeof(path));
    cr_assert_eq(safetensors_open_file(path, &s, &err), ST_OK, "%s", err.text);
    return s;
}

const float *vector_get(const struct safetensors *s, size_t *ret_n, const char *fmt, ...)
{
    const struct tensor *t;
    char name[100];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(name, sizeof(name), fmt, ap);
    va_end(ap);
    t = safetensors_find(s, name);
    cr_assert(t, "no vector '%s'", name);
    cr_assert_eq(t->dtype, DT_F32);
    if (ret_n)
        *ret_n = t->bytes / sizeof(float);
    return t->data;
}

void canvas_get(const struct safetensors *s, const char *name, struct canvas *ret)
{
    size_t n;
    const float *ids = vector_get(s, &n, "%s", name);

    cr_assert_leq(n, VECTOR_MAX_TOK);
    ret->n = (int)n;
    for (int i = 0; i < ret->n; i++) {
        ret->ids[i] = (int32_t)ids[i];
        ret->positions[i] = i;
    }
}

struct forward_item whole_canvas(struct model *m, struct kv_cache *cache, const struct canvas *c)
{
    return (struct forward_item){ .cache = cache,
                                  .ids = c->ids,
                                  .positions = c->positions,
                                  .n_tok = c->n,
                                  .n_kv = c->n,
                                  .n_logits = c->n,
                                  .route = model_route(m) };
}

struct forward_result run_forward(struct model *m, const struct forward_item *items, int n_items)
{
    struct forward_result r = { 0 };
    struct error err = { 0 };

    cr_assert_eq(model_forward(m, items, n_items, &r, &err), ST_OK, "%s", err.text);
    return r;
}

void assert_rows(const float *got, const float *want, size_t n_rows, size_t n_cols, double tol,
                 const char *what)
{
    for (size_t r = 0; r < n_rows; r++, got += n_cols, want += n_cols) {
        double max = 0;

        for (size_t i = 0; i < n_cols; i++)
            max = fmax(max, fabs((double)want[i]));
        for (size_t i = 0; i < n_cols; i++)
            cr_assert(fabs((double)got[i] - (double)want[i]) <= tol * max,
                      "%s row %zu column %zu: %.9g, expected %.9g (largest of the row %g)", what, r,
                      i, (double)got[i], (double)want[i], max);
    }
}
