/*
 * checkkern: what its files share.
 *
 * A case is made from the seed, run on the reference and on the backend under test and compared.
 * The same case is run with another number of threads and, row by row, on its own: there the
 * bits have to be the same.
 */
#ifndef TESTS_KERNELS_CHECK_H
#define TESTS_KERNELS_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/rng.h"
#include "kernels/kernels.h"

/* One backend that runs cases. */
struct side {
    const struct kernel_ops *ops;
    struct kernels *k;
};

struct check {
    struct side ref, new;
    struct side two, other; /* the backend under test with two threads, with one */
    bool is_fast;           /* numeric mode fast: a row's bits may depend on the others */
    struct rng rng;         /* of the running case */
    uint64_t case_seed;
    const struct tolerance *tol;      /* of the running op */
    const struct tolerance *tol_bf16; /* with bf16 weights, where that differs */
    bool is_x_rounded; /* the backend rounds x beside bf16 weights to bf16: the reference gets it
                        * rounded, so that the sums alone are compared */
    bool is_small;     /* no shapes that take a sanitizer long */
    char shape[256];   /* of the running case, for messages */
    long n_cases, n_failed;
    double worst; /* largest error over its bound, of the op */
};

struct tolerance {
    const char *op;
    double abs, rel; /* |new - ref| <= abs * unit + rel * |ref|; the unit is the row's reason */
    const char *reason;
};

/* Inputs: in [-1, 1]; few distinct values; magnitudes from 2^-40 to 1; one far above the rest. */
enum regime { REGIME_UNIFORM, REGIME_TIES, REGIME_WIDE, REGIME_DOMINANT, N_REGIMES };
extern const char *const regime_names[N_REGIMES];

/* Stop with a message: memory, or a backend that refused. */
_Noreturn void die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Host memory that is never missing. */
void *must_alloc(size_t count, size_t size);

/* One of the n ints given. */
int choose_int(struct rng *r, const int *values, size_t n);
#define CHOOSE(r, ...)                                                                             \
    choose_int(r, (const int[]){ __VA_ARGS__ }, sizeof((const int[]){ __VA_ARGS__ }) / sizeof(int))

enum regime choose_regime(struct check *c);
enum dtype choose_dtype(struct check *c);

/* Whether the backend under test keeps experts of that type, so many of them shared: some keep bf16
 * alone, or routed ones. */
bool takes_experts(const struct check *c, enum dtype t, int n_shared);

/* x (n) as the reference is to get it beside weights of type t; the caller's. */
float *reference_x(const struct check *c, const float *x, size_t n, enum dtype t);

/* n ids below limit. */
int32_t *random_ids(struct rng *r, size_t n, int limit);

/* Euclidean norm, largest magnitude, norm of a row of a matrix. */
double norm(const float *x, size_t n);
double largest(const float *x, size_t n);
double row_norm(const struct host_matrix *m, int64_t r);

/* n floats of a regime, of magnitude about scale. */
float *random_floats(struct rng *r, size_t n, enum regime regime, float scale);

/* Make some of n floats NaN, -inf, or equal to the first. */
void spoil(struct rng *r, float *x, size_t n);

/* A host matrix of random weights; data is the caller's to free. */
struct host_matrix random_matrix(struct rng *r, enum dtype t, int64_t rows, int64_t cols,
                                 enum regime regime, float scale);

struct weight *load_weight(const struct side *s, const struct host_matrix *m);

/* Backend copy of n floats (NULL: n floats of poison) between guards; freed with buffer_free. */
struct buffer {
    const struct side *side;
    float *base, *data;
    size_t n;
};

struct buffer buffer_new(const struct side *s, const float *src, size_t n);
/* Its contents as host memory (the caller's); counts a failure if a guard was written to. */
float *buffer_take(struct check *c, struct buffer *b);
void buffer_free(struct buffer *b);

void check_status(enum status st, const struct error *err);

/* Compare n floats. unit: magnitude that tol->abs is a multiple of, one for each run of
 * `per_unit` elements (NULL: 1). */
void compare_floats(struct check *c, const char *what, const float *new, const float *ref, size_t n,
                    const double *unit, size_t per_unit);
void compare_ints(struct check *c, const char *what, const int32_t *new, const int32_t *ref,
                  size_t n);
void compare_bits(struct check *c, const char *what, const float *a, const float *b, size_t n);
void fail(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Describe the running case. */
#define SHAPE(c, ...) snprintf((c)->shape, sizeof((c)->shape), __VA_ARGS__)

/* One case of an op, number i: check_dense.c, check_moe.c and check_route.c. check_batch(): of all
 * of them. */
void check_embed(struct check *c, int i);
void check_rms_norm(struct check *c, int i);
void check_matmul(struct check *c, int i);
void check_rope(struct check *c, int i);
void check_kv_store(struct check *c, int i);
void check_attention(struct check *c, int i);
void check_add(struct check *c, int i);
void check_router(struct check *c, int i);
void check_route(struct check *c, int i);
void check_l1_norm(struct check *c, int i);
void check_rel_error(struct check *c, int i);
void check_moe(struct check *c, int i);
void check_pick(struct check *c, int i);
void check_bias_logits(struct check *c, int i); /* check_logits.c both */
void check_expect(struct check *c, int i);
void check_made(struct check *c, int i); /* check_made.c: of weights that are made up */
void check_batch(struct check *c, int i);

/* Time the ops at the widths of LLaDA-MoE and print a table. op NULL: all. */
void bench(const struct side *s, const char *op, int n_threads, uint64_t seed);

#endif
