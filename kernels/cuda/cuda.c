/* The cuda backend: lifecycle, memory, host arguments and results, table. */
#include "kernels/cuda/cuda.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "kernels/cuda/forward.h"
#include "kernels/cuda/router.h"

enum {
    NEEDED_MAJOR = 9, /* the build has code for compute capability 9.0a alone */
    NEEDED_MINOR = 0,
    SCRATCH_MIN = 1 << 20,
    ROOM_MIN = 1 << 20,
    SMALL_UPLOAD = 64 << 10, /* through the room, not the loader's chunks */
    MIN_DELIVERIES = 64,
};

_Static_assert(CUDART_VERSION >= 12000, "Hopper's own instructions need CUDA 12");

/* ---- errors ------------------------------------------------------------------------------ */

enum status cuda_fail(const struct cuda *c, cudaError_t rc, const char *what, struct error *err)
{
    if (rc == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError(); /* it does not stick: the next call may succeed */
        return error_set(err, ST_NOMEM, "GPU '%s' is out of memory (%s)", c->name, what);
    }
    return error_set(err, ST_DEVICE, "GPU '%s' failed or is lost: %s: %s (%s)", c->name,
                     cudaGetErrorName(rc), cudaGetErrorString(rc), what);
}

/* ---- open and close ---------------------------------------------------------------------- */

/* Is there a GPU, and a driver that this program can talk to? */
static enum status find_gpu(struct error *err)
{
    int n = 0, driver = 0, runtime = CUDART_VERSION;
    cudaError_t rc = cudaGetDeviceCount(&n);

    if (rc == cudaSuccess && n > 0)
        return ST_OK;
    (void)cudaGetLastError();
    if (rc == cudaErrorInsufficientDriver) {
        if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0)
            return error_set(err, ST_NOT_FOUND, "no NVIDIA driver");
        return error_set(err, ST_NOT_FOUND,
                         "the NVIDIA driver is for CUDA %d.%d, this program needs one for %d.%d",
                         driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    }
    if (rc == cudaSuccess || rc == cudaErrorNoDevice)
        return error_set(err, ST_NOT_FOUND, "no NVIDIA GPU");
    return error_set(err, ST_DEVICE, "cannot look for GPUs: %s: %s", cudaGetErrorName(rc),
                     cudaGetErrorString(rc));
}

/* The first GPU that the process sees (CUDA_VISIBLE_DEVICES chooses), which every thread uses
 * unless told otherwise. */
static enum status open_gpu(struct cuda *c, struct error *err)
{
    struct cudaDeviceProp p;
    int n_clusters = 0;

    CUDA_TRY(c, cudaGetDeviceProperties(&p, 0), err);
    snprintf(c->name, sizeof(c->name), "%s", p.name);
    if (p.major != NEEDED_MAJOR || p.minor != NEEDED_MINOR)
        return error_set(err, ST_NOT_FOUND,
                         "GPU '%s' has compute capability %d.%d, this build has code for %d.%d "
                         "alone",
                         p.name, p.major, p.minor, NEEDED_MAJOR, NEEDED_MINOR);
    c->n_sm = p.multiProcessorCount;
    c->max_shared = p.sharedMemPerBlockOptin;
    c->l2_bytes = (size_t)p.l2CacheSize;
    snprintf(c->description, sizeof(c->description), "%s, compute %d.%d, %.1f GiB%s", p.name,
             p.major, p.minor, (double)p.totalGlobalMem / 0x1p30,
             c->is_fast ? ", numeric mode fast" : "");
    CUDA_TRY(c, cudaSetDevice(0), err);
    CUDA_TRY(c, router_check(&n_clusters), err);
    if (!n_clusters)
        return error_set(err, ST_UNSUPPORTED,
                         "GPU '%s', of %d multiprocessors, cannot run the router's %d blocks at a "
                         "time",
                         p.name, p.multiProcessorCount, (int)ROUTER_BLOCKS);
    CUDA_TRY(c, cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking), err);
    return ST_OK;
}

static void cuda_close(struct kernels *k)
{
    struct cuda *c = (struct cuda *)k;

    if (!c)
        return;
    /* errors were reported when they happened; what cannot be freed now goes with the process */
    if (c->stream)
        (void)cudaStreamSynchronize(c->stream);
    cuda_forwards_free(c->forwards);
    cuda_marks_free(&c->marks);
    cuda_weights_free(c->weights);
    while (c->experts) {
        struct experts *e = c->experts;

        c->experts = e->next;
        (void)cudaFree(e->dev);
        free(e);
    }
    for (int i = 0; i < CUDA_CHUNKS; i++) {
        (void)cudaFreeHost(c->loader.chunks[i]);
        if (c->loader.is_free[i])
            (void)cudaEventDestroy(c->loader.is_free[i]);
    }
    (void)cudaFreeHost(c->room.host);
    (void)cudaFree(c->room.dev);
    free(c->room.deliveries);
    (void)cudaFree(c->scratch.dev);
    if (c->stream)
        (void)cudaStreamDestroy(c->stream);
    free(c);
}

static enum status cuda_open(const struct kernel_params *params, struct kernels **ret,
                             struct error *err)
{
    struct cuda *c;
    enum status st = find_gpu(err);

    if (st)
        return st;
    c = calloc(1, sizeof(*c));
    if (!c)
        return error_set(err, ST_NOMEM, "out of memory opening backend 'cuda'");
    c->base.ops = &cuda_ops;
    c->is_fast = params->numeric == KERNEL_FAST; /* threads are of no use to it */
    st = open_gpu(c, err);
    if (!st)
        st = cuda_room(c, 0, err);
    if (st) {
        cuda_close(&c->base);
        return st;
    }
    *ret = &c->base;
    return ST_OK;
}

static const char *cuda_describe(const struct kernels *k)
{
    return ((const struct cuda *)k)->description;
}

/* ---- device memory ----------------------------------------------------------------------- */

enum status cuda_malloc(struct cuda *c, size_t bytes, void **ret, struct error *err)
{
    void *p = NULL;
    cudaError_t rc = cudaMalloc(&p, bytes ? bytes : 1);

    if (rc == cudaErrorMemoryAllocation) {
        (void)cudaGetLastError();
        return error_set(err, ST_NOMEM, "GPU '%s' is out of memory: %zu bytes", c->name, bytes);
    }
    if (rc != cudaSuccess)
        return cuda_fail(c, rc, "cudaMalloc", err);
    *ret = p;
    return ST_OK;
}

static enum status cuda_alloc(struct kernels *k, size_t bytes, void **ret, struct error *err)
{
    struct cuda *c = (struct cuda *)k;
    cudaError_t rc;
    void *p = NULL;
    enum status st = cuda_malloc(c, bytes, &p, err);

    if (st)
        return st;
    rc = cudaMemsetAsync(p, 0, bytes, c->stream);
    if (rc != cudaSuccess) {
        (void)cudaFree(p);
        return cuda_fail(c, rc, "cudaMemsetAsync", err);
    }
    *ret = p;
    return ST_OK;
}

static void cuda_free(struct kernels *k, void *p)
{
    (void)k;
    (void)cudaFree(p); /* waits for what still uses it; faults show at the next op */
}

/* The next power of two that holds bytes, from least; false if there is none. */
static bool grown(size_t least, size_t bytes, size_t *ret)
{
    size_t cap = least;

    while (cap < bytes)
        if (!size_mul(cap, 2, &cap))
            return false;
    *ret = cap;
    return true;
}

enum status cuda_scratch_take(struct cuda *c, size_t bytes, void **ret, struct error *err)
{
    struct cuda_scratch *s = &c->scratch;
    size_t cap = 0;

    if (bytes > s->cap) {
        enum status st;

        if (!grown(s->cap > SCRATCH_MIN ? s->cap : SCRATCH_MIN, bytes, &cap))
            return error_set(err, ST_NOMEM, "GPU '%s' is out of memory: %zu bytes of scratch",
                             c->name, bytes);
        CUDA_TRY(c, cudaStreamSynchronize(c->stream), err);
        CUDA_TRY(c, cudaFree(s->dev), err);
        *s = (struct cuda_scratch){ NULL, 0 };
        st = cuda_malloc(c, cap, &s->dev, err);
        if (st)
            return st;
        s->cap = cap;
    }
    *ret = s->dev;
    return ST_OK;
}

/* ---- host arguments and results ---------------------------------------------------------- */

void cuda_settle(struct cuda *c)
{
    struct cuda_room *r = &c->room;

    for (size_t i = 0; i < r->n_deliveries; i++)
        memcpy(r->deliveries[i].dst, r->deliveries[i].src, r->deliveries[i].bytes);
    r->n_deliveries = 0;
    r->used = 0;
}

enum status cuda_sync(struct kernels *k, struct error *err)
{
    struct cuda *c = (struct cuda *)k;
    cudaError_t rc = cudaStreamSynchronize(c->stream);

    if (rc != cudaSuccess) {
        c->room.n_deliveries = 0; /* nothing is delivered after a fault */
        return cuda_fail(c, rc, "cudaStreamSynchronize", err);
    }
    cuda_settle(c);
    return ST_OK;
}

enum status cuda_room(struct cuda *c, size_t bytes, struct error *err)
{
    struct cuda_room *r = &c->room;
    void *host = NULL, *dev = NULL;
    size_t cap = 0;
    enum status st;

    if (r->host && bytes <= r->cap - r->used)
        return ST_OK;
    st = cuda_sync(&c->base, err);
    if (st || (r->host && bytes <= r->cap))
        return st;
    if (!grown(r->cap > ROOM_MIN ? r->cap : ROOM_MIN, bytes, &cap))
        return error_set(err, ST_NOMEM, "out of memory: %zu bytes for arguments of a GPU", bytes);
    CUDA_TRY(c, cudaFreeHost(r->host), err);
    r->host = NULL;
    CUDA_TRY(c, cudaFree(r->dev), err);
    r->dev = NULL;
    r->cap = 0;
    st = cuda_malloc(c, cap, &dev, err);
    if (st)
        return st;
    if (cudaMallocHost(&host, cap) != cudaSuccess) {
        (void)cudaGetLastError();
        (void)cudaFree(dev);
        return error_set(err, ST_NOMEM, "out of memory: %zu bytes that a GPU can read", cap);
    }
    r->host = host;
    r->dev = dev;
    r->cap = cap;
    return ST_OK;
}

enum status cuda_put(struct cuda *c, const void *src, size_t bytes, const void **ret_dev,
                     struct error *err)
{
    struct cuda_room *r = &c->room;
    size_t at = r->used;

    assert(cuda_slot(bytes) <= r->cap - r->used); /* cuda_room() */
    if (bytes) {
        if (src != r->host + at)
            memcpy(r->host + at, src, bytes);
        CUDA_TRY(
            c, cudaMemcpyAsync(r->dev + at, r->host + at, bytes, cudaMemcpyHostToDevice, c->stream),
            err);
    }
    r->used += cuda_slot(bytes);
    *ret_dev = r->dev + at;
    return ST_OK;
}

enum status cuda_get(struct cuda *c, const void *dev, size_t bytes, const void **ret,
                     struct error *err)
{
    struct cuda_room *r = &c->room;
    size_t at = r->used;

    assert(cuda_slot(bytes) <= r->cap - r->used);
    if (bytes)
        CUDA_TRY(c, cudaMemcpyAsync(r->host + at, dev, bytes, cudaMemcpyDeviceToHost, c->stream),
                 err);
    r->used += cuda_slot(bytes);
    *ret = r->host + at;
    return ST_OK;
}

enum status cuda_deliver(struct cuda *c, void *dst, const void *src, size_t bytes,
                         struct error *err)
{
    struct cuda_room *r = &c->room;

    if (r->n_deliveries == r->max_deliveries) {
        size_t max = r->max_deliveries ? 2 * r->max_deliveries : (size_t)MIN_DELIVERIES, size;
        struct cuda_delivery *p = NULL;

        if (size_mul(max, sizeof(*p), &size))
            p = realloc(r->deliveries, size);
        if (!p)
            return error_set(err, ST_NOMEM, "out of memory for %zu results of a GPU", max);
        r->deliveries = p;
        r->max_deliveries = max;
    }
    r->deliveries[r->n_deliveries++] = (struct cuda_delivery){ dst, src, bytes };
    return ST_OK;
}

static enum status loader_open(struct cuda *c, struct error *err)
{
    struct cuda_loader *l = &c->loader;

    for (int i = 0; i < CUDA_CHUNKS; i++) {
        if (!l->is_free[i])
            CUDA_TRY(c, cudaEventCreateWithFlags(&l->is_free[i], cudaEventDisableTiming), err);
        if (!l->chunks[i] && cudaMallocHost(&l->chunks[i], CUDA_CHUNK_BYTES) != cudaSuccess) {
            (void)cudaGetLastError();
            return error_set(err, ST_NOMEM, "out of memory: %d bytes that a GPU can read",
                             (int)CUDA_CHUNK_BYTES);
        }
    }
    return ST_OK;
}

enum status cuda_send(struct cuda *c, void *dev, const void *src, size_t bytes, struct error *err)
{
    struct cuda_loader *l = &c->loader;
    enum status st;

    if (bytes <= SMALL_UPLOAD) {
        size_t at;

        st = cuda_room(c, cuda_slot(bytes), err);
        if (st || !bytes)
            return st;
        at = c->room.used;
        c->room.used += cuda_slot(bytes);
        memcpy(c->room.host + at, src, bytes);
        CUDA_TRY(c,
                 cudaMemcpyAsync(dev, c->room.host + at, bytes, cudaMemcpyHostToDevice, c->stream),
                 err);
        return ST_OK;
    }
    st = loader_open(c, err);
    if (st)
        return st;
    for (size_t at = 0; at < bytes;) {
        size_t n = bytes - at < CUDA_CHUNK_BYTES ? bytes - at : (size_t)CUDA_CHUNK_BYTES;
        int i = l->next;

        CUDA_TRY(c, cudaEventSynchronize(l->is_free[i]), err);
        memcpy(l->chunks[i], (const char *)src + at, n);
        CUDA_TRY(
            c,
            cudaMemcpyAsync((char *)dev + at, l->chunks[i], n, cudaMemcpyHostToDevice, c->stream),
            err);
        CUDA_TRY(c, cudaEventRecord(l->is_free[i], c->stream), err);
        l->next = (i + 1) % CUDA_CHUNKS;
        at += n;
    }
    return ST_OK;
}

enum status cuda_upload(struct kernels *k, void *dst, const void *src, size_t bytes,
                        struct error *err)
{
    return cuda_send((struct cuda *)k, dst, src, bytes, err);
}

enum status cuda_download(struct kernels *k, void *dst, const void *src, size_t bytes,
                          struct error *err)
{
    struct cuda *c = (struct cuda *)k;

    if (bytes)
        CUDA_TRY(c, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToHost, c->stream), err);
    return cuda_sync(k, err);
}

/* Every weight is copied. */
static bool cuda_keeps_host(const struct kernels *k, const struct host_matrix *m)
{
    (void)k;
    (void)m;
    return false;
}

const struct kernel_ops cuda_ops = {
    .name = "cuda",
    .help = "an NVIDIA Hopper GPU: bf16 tensor cores, f32 sums",
    .has_fast = true,
    .open = cuda_open,
    .close = cuda_close,
    .describe = cuda_describe,
    .memory = cuda_memory,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .upload = cuda_upload,
    .download = cuda_download,
    .sync = cuda_sync,
    .weight_load = cuda_weight_load,
    .experts_load = cuda_experts_load,
    .weight_make = cuda_weight_make,
    .experts_make = cuda_experts_make,
    .keeps_host = cuda_keeps_host,
    .embed = cuda_embed,
    .rms_norm = cuda_rms_norm,
    .matmul = cuda_matmul,
    .rope = cuda_rope,
    .kv_store = cuda_kv_store,
    .attention = cuda_attention,
    .add = cuda_add,
    .router = cuda_router,
    .l1_norm = cuda_l1_norm,
    .moe = cuda_moe,
    .route = cuda_route,
    .rel_error = cuda_rel_error,
    .pick = cuda_pick,
    .bias_logits = cuda_bias_logits,
    .expect = cuda_expect,
    .mark = cuda_mark,
    .read_marks = cuda_read_marks,
    .forward_new = cuda_forward_new,
    .forward = cuda_forward,
};
