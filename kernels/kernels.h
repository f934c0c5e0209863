/*
 * Kernels: every operation of a forward pass, as one table that each backend fills.
 *
 * `ref` defines the results (plain loops, f64 sums, -ffp-contract=off); the others are held
 * against it by tests/checkkern. A missing op is NULL: the engine refuses the run, nothing
 * falls back. Sizes are checked once, by the caller (engine/), not by each backend.
 *
 * Conventions. Activations are f32, row-major, last dimension fastest, in backend memory (on
 * ref and cpu that is host memory). Weights are handed over once as host matrices and kept in
 * whatever form the backend likes. Letters: n_tok tokens of one forward (several sequences
 * lie one after the other), n_exp routed experts, n_head query heads, n_kv_head key/value
 * heads, d_head, d_model, d_ff (width of an expert), n_vocab.
 *
 * Activations beside bf16 weights: ref and cpu multiply them as f32, but for cpu on AMX, which
 * takes them as two bf16 each (2^-17 of an activation is lost, sums are in f32), and on
 * "avx512bf16", which rounds them to one (2^-8). Router scores are products in f32 everywhere.
 * kernels/cpu/inner.h has the orders of the sums.
 *
 * Batch invariance: the result of a row never depends on which other rows are in the call
 * (one accumulation order per op, whatever n_tok is, and whatever the number of threads).
 *
 * NaN never crashes an op and never wins: route() skips scores that are NaN or -inf (a slot it
 * cannot fill gets id -1 and weight 0), pick() skips NaN logits, which count nothing in the
 * softmax either. Elsewhere NaN goes in and NaN comes out.
 *
 * Memory: ops allocate only when a call is larger than every call before it (working space grows
 * to the next power of two), so a steady state allocates nothing. One thread uses a backend at
 * a time; several backends may be open.
 *
 * Errors: ops return ST_OK, ST_NOMEM or ST_DEVICE. On a GPU an op only enqueues; sync()
 * reports later faults.
 */
#ifndef KERNELS_KERNELS_H
#define KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "kernels/route.h"

#ifdef __cplusplus /* device code */
extern "C" {
#endif

enum dtype { DT_F32, DT_BF16, DT_F16 };

/* Bytes of one element. */
size_t dtype_size(enum dtype t);
const char *dtype_name(enum dtype t); /* "f32", "bf16", "f16" */
/* ret[i] = element i, for n elements. */
void dtype_to_f32(const void *data, enum dtype t, size_t n, float *ret);

/* A matrix (rows, cols) in host memory, row-major, little-endian, any alignment that suits
 * dtype. A vector has rows 1. Borrowed: must stay mapped until the backend is closed. */
struct host_matrix {
    const void *data;
    enum dtype dtype;
    int64_t rows, cols;
};

/* A matrix as the backend keeps it; made by weight_load(), freed with the backend. Opaque. */
struct weight;

/* The experts of one layer as the backend keeps them; made by experts_load(). Opaque. */
struct experts;

/* A model's forward pass as the backend has prepared it, and a call of it: kernels/forward.h. */
struct forward;
struct forward_model;
struct forward_call;

/* A matrix that is made up: kernels/made.h. */
struct made_matrix;

struct kernels {
    const struct kernel_ops *ops; /* each backend embeds this struct first */
};

/*
 * Arithmetic. KERNEL_INVARIANT: a row's result does not depend on the other rows of the call, as
 * said above. KERNEL_FAST: where a call has many rows, an op may sum in another order, and round
 * what a product takes to the weights' type. The same call still gives the same bits, but a
 * sequence's depend on what else is in the batch.
 */
enum kernel_numeric { KERNEL_INVARIANT, KERNEL_FAST };

struct kernel_params {
    int n_threads;    /* 0: as many as the process may run on */
    bool is_unpinned; /* cpu: threads may move between processors. Else each but the caller's stays
                       * on one, where there is one for each */
    const char *isa;  /* cpu: "generic", "avx2", "avx512", "avx512bf16", "amx"; NULL: the best this
                       * machine has of those that take activations as f32: all but avx512bf16 */
    enum kernel_numeric numeric; /* KERNEL_FAST: only of a backend that has it */
};

/* What a model and its largest forward measure, for a plan of memory. */
struct kernel_sizes {
    int n_layer, d_model, n_head, n_kv_head, d_head, d_ff, n_exp, n_vocab;
    int n_shared;                  /* experts of every token, of each layer with routed ones */
    int n_dense_layer, d_ff_dense; /* of n_layer: so many have one expert of that width instead */
    int max_slots;                 /* routed experts of a token, as a rule */
    int max_tok, max_seqs, max_kv; /* of one forward: tokens, sequences, positions of one */
};

enum router_score { ROUTER_SOFTMAX, ROUTER_SIGMOID };

/* Tokens [row, row + n_tok) of a forward that belong to one sequence. */
struct segment {
    int row, n_tok;
};

/*
 * One sequence's share of an attention call: its queries are rows [row, row + n_tok) of q and
 * its keys and values the first n_kv positions of one layer's cache.
 */
struct attn_segment {
    int row, n_tok;
    const float *keys, *values; /* (n_kv, n_kv_head, d_head), backend memory */
    int n_kv;
    int mask_block; /* 0: every query sees every key. B > 0: key j is seen by query position p
                     * iff j / B <= p / B (block-causal, LLaDA2.x) */
};

/* How one token is proposed at a position, from its logits. */
struct pick_params {
    int32_t mask_id;    /* never proposed */
    int32_t banned_id;  /* never proposed either (-1: none); keeps its share of the softmax */
    double temperature; /* 0: argmax. > 0: Gumbel noise in f64, arXiv:2502.09992 generate.py */
    uint64_t seed;      /* of the sequence */
    uint64_t draw;      /* counts draws of the sequence: one number a forward */
    const int32_t *positions; /* (n_rows) canvas positions; with seed, draw and the token id they
                               * key the noise, so it does not depend on the batch */
    /* With a temperature: draw as LLaDA2.x does, of what top-k (0: all) and top-p (1: all) leave,
     * at the probability which the token has there: kernels/filter.h */
    bool is_filtered;
    int top_k;
    double top_p;
    const bool *is_wanted; /* (n_rows): a whole forward may leave the other rows' proposals as
                            * they are; NULL: all are wanted */
};

/* A proposal: the best token other than mask and banned (ties: lowest id) and what it is worth.
 * Where every such logit is NaN, it is the lowest such id with prob 0. Host memory. */
struct pick {
    int32_t id;
    float prob;        /* softmax probability of id, over all logits, without noise or ban; or as
                        * is_filtered has it */
    bool is_mask_best; /* the mask token's logit was the largest: dInfer's rule skips the row */
};

/* What is added to one logit. Host memory. */
struct logit_bias {
    int32_t row, id;
    float value;
};

struct kernel_ops {
    const char *name; /* "ref", "cpu", "cuda": stored with every result */
    const char *help; /* one line for `ls backends` and doctor */
    bool has_fast;    /* KERNEL_FAST, too */

    /* Open the backend; *ret is freed by close (which accepts NULL) together with all its
     * weights. ST_UNSUPPORTED if the CPU cannot run it, ST_NOT_FOUND if the device that it is
     * for, or its driver, is not there. */
    enum status (*open)(const struct kernel_params *params, struct kernels **ret,
                        struct error *err);
    void (*close)(struct kernels *k);
    /* What it runs on, e.g. "avx512f, 2 threads"; borrowed, valid until close. */
    const char *(*describe)(const struct kernels *k);
    /* Which of the backend's own arithmetics, where it has several whose bits differ: of "cpu" the
     * instruction set. NULL where there is one. Stored with every result; static text. */
    const char *(*isa)(const struct kernels *k);

    /* NULL where backend memory is the host's. Else, in bytes, what a model takes of it besides
     * weights, caches and what is asked for by alloc(), about, and what is left of it now. Errors
     * as from open(). */
    enum status (*memory)(const struct kernel_params *params, const struct kernel_sizes *m,
                          size_t *ret_own, size_t *ret_available, struct error *err);

    /* Backend memory, zeroed, aligned to 64 bytes; free accepts NULL. */
    enum status (*alloc)(struct kernels *k, size_t bytes, void **ret, struct error *err);
    void (*free)(struct kernels *k, void *p);
    enum status (*upload)(struct kernels *k, void *dst, const void *src, size_t bytes,
                          struct error *err);
    enum status (*download)(struct kernels *k, void *dst, const void *src, size_t bytes,
                            struct error *err);
    enum status (*sync)(struct kernels *k, struct error *err);

    /* Keep a matrix or vector. The host data may be borrowed until close. */
    enum status (*weight_load)(struct kernels *k, const struct host_matrix *m, struct weight **ret,
                               struct error *err);
    /* Keep a layer's experts: gate and up (d_ff, d_model), down (d_model, d_ff), n_exp + n_shared
     * of each, all of one dtype. The first n_exp are routed, the others shared: every token goes
     * through them. n_exp 0 and n_shared 1 is a dense layer; not both are 0, n_exp + n_shared is at
     * most KERNEL_MAX_EXPERTS + 1. The arrays are read only during the call; the data they point to
     * is borrowed. ST_UNSUPPORTED: the backend has no shared experts. */
    enum status (*experts_load)(struct kernels *k, int n_exp, int n_shared,
                                const struct host_matrix *gate, const struct host_matrix *up,
                                const struct host_matrix *down, struct experts **ret,
                                struct error *err);

    /* Optional, both or none: the same of bf16 matrices of two rows or more, or experts, that are
     * made up; which is faster than to make them in host memory. */
    enum status (*weight_make)(struct kernels *k, const struct made_matrix *m, struct weight **ret,
                               struct error *err);
    enum status (*experts_make)(struct kernels *k, int n_exp, int n_shared,
                                const struct made_matrix *gate, const struct made_matrix *up,
                                const struct made_matrix *down, struct experts **ret,
                                struct error *err);

    /* Whether weights like m, and experts, are still read from the host's data after they were
     * loaded. If not, the data may be taken away. NULL: always. */
    bool (*keeps_host)(const struct kernels *k, const struct host_matrix *m);

    /* ret_x[t] = table[ids[t]]. ids (n_tok) i32 in host memory, each within the table. */
    enum status (*embed)(struct kernels *k, const struct weight *table, const int32_t *ids,
                         int n_tok, float *ret_x, struct error *err);

    /* ret_y[r] = x[r] / sqrt(mean(x[r]^2) + eps) * w, each row of length d = columns of w.
     * ret_y may be x. The q/k norm of one head is the same op with n_rows = n_tok * n_head. */
    enum status (*rms_norm)(struct kernels *k, const float *x, const struct weight *w, float eps,
                            int n_rows, float *ret_y, struct error *err);

    /* ret_y (n_tok, rows of w) = x (n_tok, cols of w) times w transposed. */
    enum status (*matmul)(struct kernels *k, const float *x, const struct weight *w, int n_tok,
                          float *ret_y, struct error *err);

    /* Rotate x (n_tok, n_head, d_head) in place: pairs (j, j + d_rot/2) for j < d_rot/2 by angle
     * positions[t] * theta^(-2j/d_rot); dims >= d_rot pass. positions (n_tok) host memory.
     * cos and sin are taken in f64 of the f64 angle and rounded to f32. */
    enum status (*rope)(struct kernels *k, float *x, const int32_t *positions, int n_tok,
                        int n_head, int d_head, int d_rot, double theta, struct error *err);

    /* Copy rows (n_tok, width) to rows slots[t] of a cache (capacity, width). slots in host
     * memory. */
    enum status (*kv_store)(struct kernels *k, const float *rows, const int32_t *slots, int n_tok,
                            int width, float *cache, struct error *err);

    /* ret_y (n_tok, n_head, d_head) = softmax(q k^T / sqrt(d_head)) v per head; query head h uses
     * key/value head h / (n_head / n_kv_head). positions (n_tok) host memory, for mask_block. */
    enum status (*attention)(struct kernels *k, const float *q, const int32_t *positions,
                             const struct attn_segment *segs, int n_segs, int n_head, int n_kv_head,
                             int d_head, float *ret_y, struct error *err);

    /* x += y, n elements. */
    enum status (*add)(struct kernels *k, float *x, const float *y, size_t n, struct error *err);

    /* Router scores ret_s (n_tok, n_exp): softmax over experts, or sigmoid, of x w^T, in f32 or
     * better throughout. ret_z, unless NULL: x w^T itself, rounded to f32. */
    enum status (*router)(struct kernels *k, const float *x, const struct weight *w, int n_tok,
                          enum router_score score, float *ret_s, float *ret_z, struct error *err);

    /* ret (n_rows) = sum of |x| over each row of length d; summed in f64, rounded to f32. */
    enum status (*l1_norm)(struct kernels *k, const float *x, int n_rows, int d, float *ret,
                           struct error *err);

    /* Choose experts for the rows of the segments, which do not overlap: kernels/route.h. */
    enum status (*route)(struct kernels *k, const struct route_params *p,
                         const struct route_input *in, const struct route_segment *segs, int n_segs,
                         const struct route_output *out, struct error *err);

    /* ret_y (n_tok, d_model) = sum over slots of w * down(silu(gate x) * up x), only chosen
     * experts are read; a slot with id -1 is skipped. ids (n_tok, top_k) name routed experts alone;
     * shared ones then count for every token, with weight 1. Sums run in ascending expert id, so
     * that shared ones come last. top_k 0: those alone, ids and w are NULL. */
    enum status (*moe)(struct kernels *k, const float *x, const struct experts *e,
                       const int32_t *ids, const float *w, int n_tok, int top_k, float *ret_y,
                       struct error *err);

    /* ret[s], host memory: |a - b| / |b| over the rows of segment s, of length d, as one vector;
     * Euclidean, summed in f64. 0 where both are 0, infinite where b alone is. */
    enum status (*rel_error)(struct kernels *k, const float *a, const float *b,
                             const struct segment *segs, int n_segs, int d, double *ret,
                             struct error *err);

    /* One proposal a row from logits (n_rows, n_vocab). ret (n_rows), host memory: waits. */
    enum status (*pick)(struct kernels *k, const float *logits, int n_rows, int n_vocab,
                        const struct pick_params *p, struct pick *ret, struct error *err);

    /* Optional, both or none, of a backend whose ops only enqueue: moments of what is enqueued, for
     * kernels/profile.h. mark: number i, 0 first, then one after the other. read_marks: after
     * sync(), ret_ns[j] (n) = nanoseconds from mark j to mark j + 1. */
    enum status (*mark)(struct kernels *k, int i, struct error *err);
    enum status (*read_marks)(struct kernels *k, int n, int64_t *ret_ns, struct error *err);

    /* logits (n_rows, n_vocab) at (row, id) += value, for n different places, within both. */
    enum status (*bias_logits)(struct kernels *k, float *logits, int n_vocab,
                               const struct logit_bias *bias, int n, struct error *err);

    /* ret_y (n_rows, columns of table) = scale times the expected row of the table (n_vocab rows)
     * under the softmax of each row of logits (n_rows, n_vocab), over all of them. Finite logits.
     */
    enum status (*expect)(struct kernels *k, const float *logits, int n_rows,
                          const struct weight *table, float scale, float *ret_y, struct error *err);

    /* Optional, both or none: a whole forward pass, faster than its ops one by one and of the same
     * bits. new: prepare for a model, whose weights and workspace stay as they are until close;
     * *ret is freed with the backend, and is NULL where the model is not one it can take. forward
     * waits for its results. */
    enum status (*forward_new)(struct kernels *k, const struct forward_model *m,
                               struct forward **ret, struct error *err);
    enum status (*forward)(struct kernels *k, struct forward *f, const struct forward_call *call,
                           struct error *err);
};

/* Backends of this build, the reference first, NULL last. */
extern const struct kernel_ops *const kernel_backends[];

/* Has the backend what the parameters ask for? ST_INVALID says what it has not. */
MUST_CHECK enum status kernel_check_params(const struct kernel_ops *ops,
                                           const struct kernel_params *params, struct error *err);

/* By name, or NULL. */
const struct kernel_ops *kernel_backend_find(const char *name);

/* The fastest that opens on this machine: the last of the table that does. One for a GPU does not
 * where there is none. */
const struct kernel_ops *kernel_backend_best(void);

#ifdef __cplusplus
}
#endif

#endif
