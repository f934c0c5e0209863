/* Buffers, weights and scratch of the backends in host memory. */
#include "kernels/host.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/size.h"
#include "kernels/dtype.h"

enum { ALIGNMENT = 64, SCRATCH_MIN = 4096, HUGE_PAGE = 2 << 20 };

/* bytes (at least 1) rounded up to the alignment, or NULL. */
static void *aligned_new(size_t bytes)
{
    if (bytes > SIZE_MAX - ALIGNMENT)
        return NULL;
    return aligned_alloc(ALIGNMENT, bytes ? (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT
                                          : (size_t)ALIGNMENT);
}

enum status pages_new(size_t bytes, struct pages *ret, struct error *err)
{
    void *p;

    if (bytes < HUGE_PAGE) {
        p = aligned_new(bytes);
        if (p)
            memset(p, 0, bytes);
    } else {
        p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        p = p == MAP_FAILED ? NULL : p;
        if (p)
            (void)madvise(p, bytes, MADV_HUGEPAGE); /* a wish */
    }
    if (!p)
        return error_set(err, ST_NOMEM, "out of memory: %zu bytes", bytes);
    *ret = (struct pages){ p, bytes };
    return ST_OK;
}

void pages_release(struct pages *p)
{
    if (p->bytes < HUGE_PAGE)
        free(p->data);
    else
        munmap(p->data, p->bytes);
    *p = (struct pages){ NULL, 0 };
}

void host_release(struct host_kernels *h)
{
    while (h->weights) {
        struct weight *w = h->weights;

        h->weights = w->next;
        pages_release(&w->packed);
        free(w->vec);
        free(w);
    }
    while (h->experts) {
        struct experts *e = h->experts;

        h->experts = e->next;
        pages_release(&e->packed);
        free(e->gate);
        free(e);
    }
}

enum status host_alloc(struct kernels *k, size_t bytes, void **ret, struct error *err)
{
    void *p = aligned_new(bytes);

    (void)k;
    if (!p)
        return error_set(err, ST_NOMEM, "out of memory: %zu bytes", bytes);
    memset(p, 0, bytes);
    *ret = p;
    return ST_OK;
}

void host_free(struct kernels *k, void *p)
{
    (void)k;
    free(p);
}

enum status host_upload(struct kernels *k, void *dst, const void *src, size_t bytes,
                        struct error *err)
{
    (void)k;
    (void)err;
    if (bytes)
        memcpy(dst, src, bytes);
    return ST_OK;
}

enum status host_download(struct kernels *k, void *dst, const void *src, size_t bytes,
                          struct error *err)
{
    return host_upload(k, dst, src, bytes, err);
}

enum status host_sync(struct kernels *k, struct error *err)
{
    (void)k;
    (void)err;
    return ST_OK;
}

enum status host_weight_load(struct kernels *k, const struct host_matrix *m, struct weight **ret,
                             struct error *err)
{
    struct host_kernels *h = (struct host_kernels *)k;
    struct weight *w = calloc(1, sizeof(*w));

    assert(m->rows >= 1 && m->cols >= 1);
    if (!w)
        return error_set(err, ST_NOMEM, "out of memory keeping a weight");
    w->m = *m;
    if (m->rows == 1) {
        w->vec = aligned_new((size_t)m->cols * sizeof(*w->vec));
        if (!w->vec) {
            free(w);
            return error_set(err, ST_NOMEM, "out of memory keeping a vector of %lld",
                             (long long)m->cols);
        }
        dtype_to_f32(m->data, m->dtype, (size_t)m->cols, w->vec);
    }
    w->next = h->weights;
    h->weights = w;
    *ret = w;
    return ST_OK;
}

enum status host_experts_load(struct kernels *k, int n_exp, int n_shared,
                              const struct host_matrix *gate, const struct host_matrix *up,
                              const struct host_matrix *down, struct experts **ret,
                              struct error *err)
{
    struct host_kernels *h = (struct host_kernels *)k;
    struct experts *e = calloc(1, sizeof(*e));
    size_t n = (size_t)n_exp + (size_t)n_shared;

    assert(n_exp >= 0 && n_exp <= KERNEL_MAX_EXPERTS);
    assert(n_shared >= 0 && n >= 1 && n <= KERNEL_MAX_EXPERTS + 1);
    if (e)
        e->gate = malloc(3 * n * sizeof(*e->gate));
    if (!e || !e->gate) {
        free(e);
        return error_set(err, ST_NOMEM, "out of memory keeping %zu experts", n);
    }
    e->n_exp = n_exp;
    e->n_shared = n_shared;
    e->d_ff = gate[0].rows;
    e->d_model = gate[0].cols;
    e->up = e->gate + n;
    e->down = e->up + n;
    for (size_t i = 0; i < n; i++) {
        assert(gate[i].rows == e->d_ff && gate[i].cols == e->d_model);
        assert(up[i].rows == e->d_ff && up[i].cols == e->d_model);
        assert(down[i].rows == e->d_model && down[i].cols == e->d_ff);
        e->gate[i] = gate[i];
        e->up[i] = up[i];
        e->down[i] = down[i];
    }
    e->next = h->experts;
    h->experts = e;
    *ret = e;
    return ST_OK;
}

enum status scratch_reserve(struct scratch *s, size_t bytes, struct error *err)
{
    size_t cap = s->cap > SCRATCH_MIN ? s->cap : SCRATCH_MIN;
    void *p;

    if (bytes <= s->cap)
        return ST_OK;
    while (cap < bytes)
        if (!size_mul(cap, 2, &cap))
            return error_set(err, ST_NOMEM, "out of memory: %zu bytes of scratch", bytes);
    p = aligned_new(cap);
    if (!p)
        return error_set(err, ST_NOMEM, "out of memory: %zu bytes of scratch", cap);
    free(s->data);
    s->data = p;
    s->cap = cap;
    return ST_OK;
}

void scratch_release(struct scratch *s)
{
    free(s->data);
    s->data = NULL;
    s->cap = 0;
}
