/*
 * What backends in host memory (ref, cpu) share: buffers, weights as borrowed matrices, scratch.
 */
#ifndef KERNELS_HOST_H
#define KERNELS_HOST_H

#include <stddef.h>

#include "base/status.h"
#include "kernels/kernels.h"

/* Memory straight from the system, for what is large and stays: on huge pages where it can be, so
 * that reading it through does not wait for address translation. data NULL: none. */
struct pages {
    void *data; /* zeroed, aligned to 64 bytes */
    size_t bytes;
};

MUST_CHECK enum status pages_new(size_t bytes, struct pages *ret, struct error *err);
void pages_release(struct pages *p);

/* A matrix as it was handed over. */
struct weight {
    struct host_matrix m;
    float *vec;          /* f32 copy of a vector (rows 1), else NULL; aligned to 64 bytes */
    struct pages packed; /* the backend's own form of it, if any; m.data may then be gone */
    struct weight *next;
};

struct experts {
    int n_exp, n_shared;
    int64_t d_model, d_ff;
    struct host_matrix *gate, *up, *down; /* (n_exp + n_shared) each; one block, starting at gate */
    struct pages packed;                  /* as in struct weight */
    struct experts *next;
};

/* First member of the backend's own struct. */
struct host_kernels {
    struct kernels base;
    struct weight *weights;
    struct experts *experts;
};

/* Free all weights; the struct itself stays the backend's. */
void host_release(struct host_kernels *h);

/* Entries of the op table. */
enum status host_alloc(struct kernels *k, size_t bytes, void **ret, struct error *err);
void host_free(struct kernels *k, void *p);
enum status host_upload(struct kernels *k, void *dst, const void *src, size_t bytes,
                        struct error *err);
enum status host_download(struct kernels *k, void *dst, const void *src, size_t bytes,
                          struct error *err);
enum status host_sync(struct kernels *k, struct error *err);
enum status host_weight_load(struct kernels *k, const struct host_matrix *m, struct weight **ret,
                             struct error *err);
enum status host_experts_load(struct kernels *k, int n_exp, int n_shared,
                              const struct host_matrix *gate, const struct host_matrix *up,
                              const struct host_matrix *down, struct experts **ret,
                              struct error *err);

/* Row r of a matrix in its own type. */
static inline const void *host_row(const struct host_matrix *m, int64_t r)
{
    return (const char *)m->data + (size_t)r * (size_t)m->cols * dtype_size(m->dtype);
}

/* What routing adds to the scores of a row: route_input.bias. */
static inline const float *host_bias(const struct weight *bias, int row)
{
    return bias->vec ? bias->vec : host_row(&bias->m, row);
}

/*
 * Working memory of a backend, kept between calls. It grows to the next power of two when a
 * call needs more than any call before it, so a steady state allocates nothing.
 */
struct scratch {
    void *data; /* aligned to 64 bytes */
    size_t cap;
};

/* Make data at least bytes long; what it held is lost. ST_NOMEM leaves it as it was. */
MUST_CHECK enum status scratch_reserve(struct scratch *s, size_t bytes, struct error *err);
void scratch_release(struct scratch *s);

#endif
