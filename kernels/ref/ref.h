/*
 * The reference backend: the definition of every op.
 *
 * Plain loops in the order the formulas are written, sums in f64, rounded to f32 once at the
 * end. No SIMD, no threads, no BLAS, built with -ffp-contract=off. It is meant to be read and
 * compared against, not to be fast.
 */
#ifndef KERNELS_REF_REF_H
#define KERNELS_REF_REF_H

#include "kernels/host.h"
#include "kernels/kernels.h"

struct ref {
    struct host_kernels host; /* first: the ops get a pointer to its base */
    struct scratch scratch;
};

extern const struct kernel_ops ref_ops;

/* ref_dense.c */
enum status ref_embed(struct kernels *k, const struct weight *table, const int32_t *ids, int n_tok,
                      float *ret_x, struct error *err);
enum status ref_rms_norm(struct kernels *k, const float *x, const struct weight *w, float eps,
                         int n_rows, float *ret_y, struct error *err);
enum status ref_matmul(struct kernels *k, const float *x, const struct weight *w, int n_tok,
                       float *ret_y, struct error *err);
enum status ref_rope(struct kernels *k, float *x, const int32_t *positions, int n_tok, int n_head,
                     int d_head, int d_rot, double theta, struct error *err);
enum status ref_kv_store(struct kernels *k, const float *rows, const int32_t *slots, int n_tok,
                         int width, float *cache, struct error *err);
enum status ref_attention(struct kernels *k, const float *q, const int32_t *positions,
                          const struct attn_segment *segs, int n_segs, int n_head, int n_kv_head,
                          int d_head, float *ret_y, struct error *err);
enum status ref_add(struct kernels *k, float *x, const float *y, size_t n, struct error *err);

/* ref_moe.c */
enum status ref_router(struct kernels *k, const float *x, const struct weight *w, int n_tok,
                       enum router_score score, float *ret_s, float *ret_z, struct error *err);
enum status ref_l1_norm(struct kernels *k, const float *x, int n_rows, int d, float *ret,
                        struct error *err);
enum status ref_route(struct kernels *k, const struct route_params *p, const struct route_input *in,
                      const struct route_segment *segs, int n_segs, const struct route_output *out,
                      struct error *err);
enum status ref_rel_error(struct kernels *k, const float *a, const float *b,
                          const struct segment *segs, int n_segs, int d, double *ret,
                          struct error *err);
enum status ref_moe(struct kernels *k, const float *x, const struct experts *e, const int32_t *ids,
                    const float *w, int n_tok, int top_k, float *ret_y, struct error *err);

/* ref_pick.c */
enum status ref_pick(struct kernels *k, const float *logits, int n_rows, int n_vocab,
                     const struct pick_params *p, struct pick *ret, struct error *err);

enum status ref_bias_logits(struct kernels *k, float *logits, int n_vocab,
                            const struct logit_bias *bias, int n, struct error *err);
enum status ref_expect(struct kernels *k, const float *logits, int n_rows,
                       const struct weight *table, float scale, float *ret_y, struct error *err);

#endif
