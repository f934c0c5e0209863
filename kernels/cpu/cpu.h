/*
 * The cpu backend: SIMD and threads.
 *
 * Each op cuts its work into units that a pool of threads takes one after the other. A unit owns
 * what it writes, so nothing is added up across threads, and every sum runs in an order that
 * depends on the shapes of the model alone (inner.h): a row gets the same bits whatever the
 * number of tokens, its neighbours and the number of threads.
 *
 * bf16 matrices are copied once, into panels (packed.h); other weights stay as they lie in the
 * checkpoint. A panel goes through the caches once a call and is used for all tokens meanwhile;
 * while a thread works on one, it fetches the next. Activations are prepared once a call (inner.h).
 */
#ifndef KERNELS_CPU_CPU_H
#define KERNELS_CPU_CPU_H

#include "kernels/cpu/inner.h"
#include "kernels/cpu/packed.h"
#include "kernels/cpu/pool.h"
#include "kernels/host.h"
#include "kernels/kernels.h"

/* Cosines and sines of a rope() call: every layer turns queries and keys by the same ones. */
struct rope_angles {
    struct scratch memory;
    int n_tok, d_rot; /* n_tok 0: none */
    double theta;
    int32_t *positions;     /* (n_tok) */
    double *freqs;          /* (d_rot / 2) */
    float *cosines, *sines; /* (n_tok, d_rot / 2) */
};

struct cpu {
    struct host_kernels host; /* first: the ops get a pointer to its base */
    const struct inner *inner;
    struct pool *pool;
    struct scratch scratch; /* of the running op */
    struct rope_angles angles;
    char description[64];
};

extern const struct kernel_ops cpu_ops;

/* Floats of a packed row of n columns. */
static inline size_t cpu_padded(const struct cpu *c, size_t n)
{
    size_t step = 2 * (size_t)c->inner->lanes;

    return (n + step - 1) / step * step;
}

/*
 * Hands out parts of one scratch block: called once with base NULL to add up the bytes, once
 * with the block to place them. Parts are aligned to 64 bytes.
 */
struct layout {
    char *base;
    size_t used;
};

void *layout_take(struct layout *l, size_t count, size_t size);

/* x (n_tok, cols) brought into packed rows of cpu_padded() floats. */
void cpu_pack(struct cpu *c, const float *x, int n_tok, size_t cols, float *ret);

/* Bytes of a token's prepared activations of that many columns. */
static inline size_t cpu_prepared(const struct cpu *c, size_t cols)
{
    return packed_steps((int64_t)cols) * c->inner->gemm.step_bytes;
}

/* cpu_load.c */
enum status cpu_weight_load(struct kernels *k, const struct host_matrix *m, struct weight **ret,
                            struct error *err);
enum status cpu_experts_load(struct kernels *k, int n_exp, int n_shared,
                             const struct host_matrix *gate, const struct host_matrix *up,
                             const struct host_matrix *down, struct experts **ret,
                             struct error *err);
bool cpu_keeps_host(const struct kernels *k, const struct host_matrix *m);

/* Where the packed experts of a layer lie: an expert's gate and up, panels of 16 hidden units, an
 * even number of them; its down; bytes of an expert. */
static inline size_t experts_hidden_bytes(const struct experts *e)
{
    return 2 * packed_panels(e->d_ff) * packed_steps(e->d_model) * STEP_BYTES;
}

static inline size_t experts_each_bytes(const struct experts *e)
{
    return experts_hidden_bytes(e) + packed_bytes(e->d_model, e->d_ff);
}

/* cpu_matmul.c: as the op, but with f32 products whatever the instruction set. */
enum status cpu_matmul_f32(struct kernels *k, const float *x, const struct weight *w, int n_tok,
                           float *ret_y, struct error *err);

/* cpu_dense.c */
enum status cpu_embed(struct kernels *k, const struct weight *table, const int32_t *ids, int n_tok,
                      float *ret_x, struct error *err);
enum status cpu_rms_norm(struct kernels *k, const float *x, const struct weight *w, float eps,
                         int n_rows, float *ret_y, struct error *err);
enum status cpu_matmul(struct kernels *k, const float *x, const struct weight *w, int n_tok,
                       float *ret_y, struct error *err);
enum status cpu_rope(struct kernels *k, float *x, const int32_t *positions, int n_tok, int n_head,
                     int d_head, int d_rot, double theta, struct error *err);
enum status cpu_kv_store(struct kernels *k, const float *rows, const int32_t *slots, int n_tok,
                         int width, float *cache, struct error *err);
enum status cpu_add(struct kernels *k, float *x, const float *y, size_t n, struct error *err);

/* cpu_attention.c */
enum status cpu_attention(struct kernels *k, const float *q, const int32_t *positions,
                          const struct attn_segment *segs, int n_segs, int n_head, int n_kv_head,
                          int d_head, float *ret_y, struct error *err);

/* cpu_route.c */
enum status cpu_router(struct kernels *k, const float *x, const struct weight *w, int n_tok,
                       enum router_score score, float *ret_s, float *ret_z, struct error *err);
enum status cpu_l1_norm(struct kernels *k, const float *x, int n_rows, int d, float *ret,
                        struct error *err);
enum status cpu_route(struct kernels *k, const struct route_params *p, const struct route_input *in,
                      const struct route_segment *segs, int n_segs, const struct route_output *out,
                      struct error *err);

/* cpu_moe.c */
enum status cpu_rel_error(struct kernels *k, const float *a, const float *b,
                          const struct segment *segs, int n_segs, int d, double *ret,
                          struct error *err);
enum status cpu_moe(struct kernels *k, const float *x, const struct experts *e, const int32_t *ids,
                    const float *w, int n_tok, int top_k, float *ret_y, struct error *err);

/* cpu_pick.c */
enum status cpu_pick(struct kernels *k, const float *logits, int n_rows, int n_vocab,
                     const struct pick_params *p, struct pick *ret, struct error *err);

enum status cpu_bias_logits(struct kernels *k, float *logits, int n_vocab,
                            const struct logit_bias *bias, int n, struct error *err);

/* cpu_expect.c */
enum status cpu_expect(struct kernels *k, const float *logits, int n_rows,
                       const struct weight *table, float scale, float *ret_y, struct error *err);

#endif
