/*
 * The cuda backend: one GPU of compute capability 9.0 (Hopper) and one stream, on which every op
 * enqueues its work in order. C and device code (.cu) both include this.
 *
 * Weights. A matrix lies row-major on the device until matmul() first wants it in packed tiles
 * (kernels/cuda/pack.h); the rows then go, unless embed() or router() reads them, too. bf16
 * matrices are multiplied by tensor cores beside activations rounded to bf16, sums in f32; other
 * types by plain f32 multiply-adds. The router's product is one of f32 always (router.cu).
 *
 * Host arguments and results. What an op gets in host memory is read before it returns: copied to
 * pinned memory, from there to the device in stream order. What it owes to host memory is copied to
 * pinned memory in stream order and delivered by the next sync. Both kinds of pinned memory are
 * taken from one block that is empty again after each sync ("room"):
 *
 *      cuda_room(c, cuda_slot(a) + cuda_slot(b), err)      may wait, then nothing below does
 *      cuda_put(c, ids, a, &dev_ids, err)                  dev_ids: valid for the op's own launches
 *      launch<<<..., c->stream>>>(dev_ids, dev_result)
 *      cuda_get(c, dev_result, b, &host, err)              host: filled once the stream got there
 *      cuda_deliver(c, ret, host, b, err)                  memcpy(ret, host, b) at the next sync
 *
 * Errors. A failed call is ST_NOMEM where memory ran out, else ST_DEVICE; after most of the latter
 * the process cannot use the GPU any more, so they are reported and never retried.
 */
#ifndef KERNELS_CUDA_CUDA_H
#define KERNELS_CUDA_CUDA_H

#include <cuda_runtime_api.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/cuda/moe.h"
#include "kernels/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A matrix on the device. */
struct weight {
    int64_t rows, cols;
    enum dtype dtype;   /* of dev_rows: as it was handed over, but f32 for a vector (rows 1) */
    void *dev_rows;     /* (rows, cols) row-major, aligned to 256 bytes; NULL once only packed */
    void *dev_packed;   /* tiles of a bf16 matrix, or NULL: cuda_weight_packed() makes them */
    void *dev_router;   /* the same for router.h, or NULL: cuda_weight_router() makes it */
    bool is_read_plain; /* embed() or a router's op reads dev_rows: they stay */
    struct weight *next;
};

/* The experts of one layer on the device, shared ones behind those that are routed. */
struct experts {
    int n_exp, n_shared;
    int64_t d_model, d_ff;
    enum dtype dtype;
    void *dev;                 /* all of it: experts.c */
    struct moe_weights packed; /* of bf16 experts */
    uint32_t *dev_ready;       /* (moe_ready_words()) zeros: moe.h; of few tokens */
    struct experts *next;
};

/* Device memory that the running op works in. */
struct cuda_scratch {
    void *dev;
    size_t cap;
};

/* A result that waits for the next sync. */
struct cuda_delivery {
    void *dst;
    const void *src; /* pinned */
    size_t bytes;
};

/* Pinned memory for host arguments and results, and the arguments' device side. */
struct cuda_room {
    char *host, *dev; /* cap bytes each */
    size_t cap, used;
    struct cuda_delivery *deliveries; /* (max_deliveries), n_deliveries of them waiting */
    size_t n_deliveries, max_deliveries;
};

/* Large uploads: one chunk is filled while the other travels. */
enum { CUDA_CHUNKS = 2, CUDA_CHUNK_BYTES = 16 << 20 };

struct cuda_loader {
    void *chunks[CUDA_CHUNKS];        /* pinned; NULL until the first large upload */
    cudaEvent_t is_free[CUDA_CHUNKS]; /* the chunk has left */
    int next;
};

/* Events of a profile: marks.c. */
struct cuda_marks {
    cudaEvent_t *events; /* (max), n of them made */
    int n, max;
};

struct cuda {
    struct kernels base; /* first: the ops get a pointer to it */
    cudaStream_t stream;
    int n_sm;
    size_t max_shared; /* bytes of shared memory that a block may ask for */
    size_t l2_bytes;
    bool is_fast; /* KERNEL_FAST */
    struct cuda_scratch scratch;
    struct cuda_room room;
    struct cuda_loader loader;
    struct cuda_marks marks;
    struct weight *weights;
    struct experts *experts;
    struct forward *forwards; /* kernels/cuda/forward.h */
    char name[256];           /* of the GPU */
    char description[320];    /* the name, its compute capability and memory */
};

extern const struct kernel_ops cuda_ops;

/* Turn a CUDA error into a status and a message that says what failed. */
enum status cuda_fail(const struct cuda *c, cudaError_t rc, const char *what, struct error *err);

/* Return from an op if a CUDA call fails. */
#define CUDA_TRY(c, call, err)                                                                     \
    do {                                                                                           \
        cudaError_t rc_ = (call);                                                                  \
        if (rc_ != cudaSuccess)                                                                    \
            return cuda_fail((c), rc_, #call, (err));                                              \
    } while (0)

/* After each launch. */
#define CUDA_LAUNCHED(c, kernel, err)                                                              \
    do {                                                                                           \
        cudaError_t rc_ = cudaGetLastError();                                                      \
        if (rc_ != cudaSuccess)                                                                    \
            return cuda_fail((c), rc_, kernel, (err));                                             \
    } while (0)

/* Device memory, not cleared; cudaFree() it. ST_NOMEM with the number of bytes. */
MUST_CHECK enum status cuda_malloc(struct cuda *c, size_t bytes, void **ret, struct error *err);

/* bytes of device memory for the running op alone, aligned to 256; what they hold is of no use.
 * The next op may write there: stream order keeps them apart. */
MUST_CHECK enum status cuda_scratch_take(struct cuda *c, size_t bytes, void **ret,
                                         struct error *err);

/* Bytes of room that a part takes. */
static inline size_t cuda_slot(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

/* Room for parts of bytes in all; called once an op, before the first part. */
MUST_CHECK enum status cuda_room(struct cuda *c, size_t bytes, struct error *err);

/* A host argument's copy on the device, for the launches of this op; bytes >= 0. src may be the
 * place itself that the next part takes, c->room.host + c->room.used: nothing is copied then, and
 * the part will lie at c->room.dev + c->room.used. */
MUST_CHECK enum status cuda_put(struct cuda *c, const void *src, size_t bytes, const void **ret_dev,
                                struct error *err);

/* Copy device memory to *ret, pinned memory that is filled when the stream gets there and read by
 * deliveries. */
MUST_CHECK enum status cuda_get(struct cuda *c, const void *dev, size_t bytes, const void **ret,
                                struct error *err);

/* At the next sync copy bytes from src, within what cuda_get() gave, to dst. */
MUST_CHECK enum status cuda_deliver(struct cuda *c, void *dst, const void *src, size_t bytes,
                                    struct error *err);

/* Enqueue a copy of any size to the device; src is read before it returns. */
MUST_CHECK enum status cuda_send(struct cuda *c, void *dev, const void *src, size_t bytes,
                                 struct error *err);

/* Entries of the op table: cuda.c. */
enum status cuda_upload(struct kernels *k, void *dst, const void *src, size_t bytes,
                        struct error *err);
enum status cuda_download(struct kernels *k, void *dst, const void *src, size_t bytes,
                          struct error *err);
enum status cuda_sync(struct kernels *k, struct error *err);

/* All that was enqueued is known to be done: what a sync does then. */
void cuda_settle(struct cuda *c);

/* memory.c: the first is cuda_memory()'s *ret_own, which needs no GPU. */
MUST_CHECK enum status cuda_own_memory(const struct kernel_sizes *m, enum kernel_numeric numeric,
                                       size_t *ret, struct error *err);
enum status cuda_memory(const struct kernel_params *params, const struct kernel_sizes *m,
                        size_t *ret_own, size_t *ret_available, struct error *err);

/* marks.c */
enum status cuda_mark(struct kernels *k, int i, struct error *err);
enum status cuda_read_marks(struct kernels *k, int n, int64_t *ret_ns, struct error *err);
void cuda_marks_free(struct cuda_marks *m);

/* load.c */
enum status cuda_weight_load(struct kernels *k, const struct host_matrix *m, struct weight **ret,
                             struct error *err);
enum status cuda_weight_make(struct kernels *k, const struct made_matrix *m, struct weight **ret,
                             struct error *err);
void cuda_weights_free(struct weight *list);
/* A weight's rows, row-major in its dtype; from now on they stay. ST_UNSUPPORTED if they went when
 * it was packed. */
MUST_CHECK enum status cuda_weight_rows(const struct weight *w, const void **ret,
                                        struct error *err);

/* A bf16 matrix in packed tiles (kernels/cuda/pack.h), made at the first call, which waits. */
MUST_CHECK enum status cuda_weight_packed(struct cuda *c, const struct weight *w, const void **ret,
                                          struct error *err);

/* Make a router's dev_router, of bf16, beside the rows, which stay. Waits. */
MUST_CHECK enum status cuda_weight_router(struct cuda *c, const struct weight *w,
                                          struct error *err);

/* ops.c */
enum status cuda_matmul(struct kernels *k, const float *x, const struct weight *w, int n_tok,
                        float *ret_y, struct error *err);
enum status cuda_attention(struct kernels *k, const float *q, const int32_t *positions,
                           const struct attn_segment *segs, int n_segs, int n_head, int n_kv_head,
                           int d_head, float *ret_y, struct error *err);

/* dense.cu */
enum status cuda_embed(struct kernels *k, const struct weight *table, const int32_t *ids, int n_tok,
                       float *ret_x, struct error *err);
enum status cuda_rms_norm(struct kernels *k, const float *x, const struct weight *w, float eps,
                          int n_rows, float *ret_y, struct error *err);
enum status cuda_rope(struct kernels *k, float *x, const int32_t *positions, int n_tok, int n_head,
                      int d_head, int d_rot, double theta, struct error *err);
enum status cuda_kv_store(struct kernels *k, const float *rows, const int32_t *slots, int n_tok,
                          int width, float *cache, struct error *err);
enum status cuda_add(struct kernels *k, float *x, const float *y, size_t n, struct error *err);
enum status cuda_router(struct kernels *k, const float *x, const struct weight *w, int n_tok,
                        enum router_score score, float *ret_s, float *ret_z, struct error *err);
enum status cuda_l1_norm(struct kernels *k, const float *x, int n_rows, int d, float *ret,
                         struct error *err);
enum status cuda_rel_error(struct kernels *k, const float *a, const float *b,
                           const struct segment *segs, int n_segs, int d, double *ret,
                           struct error *err);
/* As matmul(), by f32 multiply-adds over the rows, whatever the weight's type. */
enum status cuda_matmul_plain(struct cuda *c, const float *x, const struct weight *w, int n_tok,
                              float *ret_y, struct error *err);

/* route.c */
enum status cuda_route(struct kernels *k, const struct route_params *p,
                       const struct route_input *in, const struct route_segment *segs, int n_segs,
                       const struct route_output *out, struct error *err);

/* experts.c */
enum status cuda_experts_load(struct kernels *k, int n_exp, int n_shared,
                              const struct host_matrix *gate, const struct host_matrix *up,
                              const struct host_matrix *down, struct experts **ret,
                              struct error *err);
enum status cuda_experts_make(struct kernels *k, int n_exp, int n_shared,
                              const struct made_matrix *gate, const struct made_matrix *up,
                              const struct made_matrix *down, struct experts **ret,
                              struct error *err);
enum status cuda_moe(struct kernels *k, const float *x, const struct experts *e, const int32_t *ids,
                     const float *w, int n_tok, int top_k, float *ret_y, struct error *err);

/* What a launch for n_tok tokens runs of e: a dense layer is cut (moe.h), but for many tokens in
 * mode fast, which need no more units of work and would have as many results to write. All behind
 * the n_exp that are routed are experts of every token. */
struct moe_weights cuda_experts_run(const struct cuda *c, const struct experts *e, int n_tok);

/* pick.cu */
enum status cuda_bias_logits(struct kernels *k, float *logits, int n_vocab,
                             const struct logit_bias *bias, int n, struct error *err);
enum status cuda_expect(struct kernels *k, const float *logits, int n_rows,
                        const struct weight *table, float scale, float *ret_y, struct error *err);
enum status cuda_pick(struct kernels *k, const float *logits, int n_rows, int n_vocab,
                      const struct pick_params *p, struct pick *ret, struct error *err);

#ifdef __cplusplus
}
#endif

#endif
