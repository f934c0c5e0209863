/* Weights on the device. */
#include "kernels/cuda/cuda.h"

#include <assert.h>
#include <stdlib.h>

#include "base/size.h"
#include "kernels/cuda/made.h"
#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/router.h"
#include "kernels/dtype.h"

/* Bytes of a matrix; false if they do not fit. */
static bool matrix_bytes(const struct host_matrix *m, size_t *ret)
{
    size_t n;

    return size_mul((size_t)m->rows, (size_t)m->cols, &n) && size_mul(n, dtype_size(m->dtype), ret);
}

/* A vector becomes f32 on the way. */
static enum status send_vector(struct cuda *c, const struct host_matrix *m, struct weight *w,
                               struct error *err)
{
    size_t n = (size_t)m->cols;
    float *vec = malloc(n * sizeof(*vec));
    enum status st;

    if (!vec)
        return error_set(err, ST_NOMEM, "out of memory loading a vector of %zu", n);
    dtype_to_f32(m->data, m->dtype, n, vec);
    w->dtype = DT_F32;
    st = cuda_malloc(c, n * sizeof(*vec), &w->dev_rows, err);
    if (!st)
        st = cuda_send(c, w->dev_rows, vec, n * sizeof(*vec), err);
    free(vec);
    return st;
}

/* Memory for w's rows. */
static enum status take_rows(struct cuda *c, struct weight *w, size_t *ret_bytes, struct error *err)
{
    const struct host_matrix m = { .dtype = w->dtype, .rows = w->rows, .cols = w->cols };

    if (!matrix_bytes(&m, ret_bytes))
        return error_set(err, ST_NOMEM, "a matrix of %lld times %lld does not fit an address space",
                         (long long)w->rows, (long long)w->cols);
    return cuda_malloc(c, *ret_bytes, &w->dev_rows, err);
}

static struct weight *new_weight(int64_t rows, int64_t cols, enum dtype t, struct error *err)
{
    struct weight *w = calloc(1, sizeof(*w));

    assert(rows >= 1 && cols >= 1);
    if (!w) {
        (void)error_set(err, ST_NOMEM, "out of memory keeping a weight");
        return NULL;
    }
    w->rows = rows;
    w->cols = cols;
    w->dtype = t;
    return w;
}

/* Hand it over, unless filling it failed. */
static enum status keep(struct cuda *c, struct weight *w, enum status st, struct weight **ret)
{
    if (st) {
        cuda_weights_free(w);
        return st;
    }
    w->next = c->weights;
    c->weights = w;
    *ret = w;
    return ST_OK;
}

enum status cuda_weight_load(struct kernels *k, const struct host_matrix *m, struct weight **ret,
                             struct error *err)
{
    struct cuda *c = (struct cuda *)k;
    struct weight *w = new_weight(m->rows, m->cols, m->dtype, err);
    size_t bytes = 0;
    enum status st;

    if (!w)
        return ST_NOMEM;
    if (m->rows == 1)
        return keep(c, w, send_vector(c, m, w, err), ret);
    st = take_rows(c, w, &bytes, err);
    if (!st)
        st = cuda_send(c, w->dev_rows, m->data, bytes, err);
    return keep(c, w, st, ret);
}

enum status cuda_weight_make(struct kernels *k, const struct made_matrix *m, struct weight **ret,
                             struct error *err)
{
    struct cuda *c = (struct cuda *)k;
    struct weight *w = new_weight(m->rows, m->cols, DT_BF16, err);
    size_t bytes = 0;
    enum status st;

    if (!w)
        return ST_NOMEM;
    st = take_rows(c, w, &bytes, err);
    if (!st) {
        cudaError_t rc = made_launch(m, w->dev_rows, c->stream);

        st = rc == cudaSuccess ? ST_OK : cuda_fail(c, rc, "making a matrix up", err);
    }
    return keep(c, w, st, ret);
}

enum status cuda_weight_rows(const struct weight *w, const void **ret, struct error *err)
{
    if (!w->dev_rows)
        return error_set(err, ST_UNSUPPORTED,
                         "a matrix of %lld times %lld was multiplied by before it was read by rows",
                         (long long)w->rows, (long long)w->cols);
    ((struct weight *)w)->is_read_plain = true; /* made by calloc(): const is the caller's view */
    *ret = w->dev_rows;
    return ST_OK;
}

/* Pack w's rows, which go unless they were read. */
static enum status pack(struct cuda *c, struct weight *w, struct error *err)
{
    size_t bytes = (size_t)pack_elems(w->rows, w->cols) * sizeof(uint16_t);
    void *dev = NULL;
    enum status st = cuda_malloc(c, bytes, &dev, err);
    cudaError_t rc;

    if (st)
        return st;
    rc = pack_rows_launch(w->dev_rows, 0, w->rows, w->cols, dev, c->stream);
    if (rc == cudaSuccess)
        rc = cudaStreamSynchronize(c->stream);
    if (rc != cudaSuccess) {
        (void)cudaFree(dev);
        return cuda_fail(c, rc, "packing a matrix", err);
    }
    w->dev_packed = dev;
    if (!w->is_read_plain) {
        (void)cudaFree(w->dev_rows); /* nothing is under way */
        w->dev_rows = NULL;
    }
    return ST_OK;
}

enum status cuda_weight_packed(struct cuda *c, const struct weight *w, const void **ret,
                               struct error *err)
{
    enum status st = ST_OK;

    assert(w->dtype == DT_BF16);
    if (!w->dev_packed)
        st = pack(c, (struct weight *)w, err); /* made by calloc(): const is the caller's view */
    if (!st)
        *ret = w->dev_packed;
    return st;
}

enum status cuda_weight_router(struct cuda *c, const struct weight *w, struct error *err)
{
    const int n_exp = (int)w->rows, d = (int)w->cols;
    const void *rows = NULL;
    void *dev = NULL;
    enum status st = cuda_weight_rows(w, &rows, err);
    cudaError_t rc;

    assert(w->dtype == DT_BF16);
    if (st || w->dev_router)
        return st;
    st = cuda_malloc(c, router_pack_bytes(n_exp, d), &dev, err);
    if (st)
        return st;
    rc = router_pack_launch(rows, n_exp, d, dev, c->stream);
    if (rc == cudaSuccess)
        rc = cudaStreamSynchronize(c->stream);
    if (rc != cudaSuccess) {
        (void)cudaFree(dev);
        return cuda_fail(c, rc, "packing a router", err);
    }
    ((struct weight *)w)->dev_router = dev; /* made by calloc(): const is the caller's view */
    return ST_OK;
}

void cuda_weights_free(struct weight *list)
{
    while (list) {
        struct weight *w = list;

        list = w->next;
        (void)cudaFree(w->dev_rows);
        (void)cudaFree(w->dev_packed);
        (void)cudaFree(w->dev_router);
        free(w);
    }
}
