/* The tiny checkpoints of tests/vectors/model and the values to expect from them. */
#ifndef TESTS_ENGINE_MODEL_VECTORS_H
#define TESTS_ENGINE_MODEL_VECTORS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/model.h"
#include "engine/safetensors.h"

enum { VECTOR_MAX_TOK = 70 };

/* Those that open on this machine. */
#define FOR_EACH_BACKEND(b)                                                                        \
    for (const struct kernel_ops *const *list_ = kernel_backends, *b; (b = *list_); list_++)       \
        if (backend_opens(b))
bool backend_opens(const struct kernel_ops *ops);

/* cuda rounds activations beside bf16 weights to bf16, so that a router may choose otherwise: those
 * models of it are for test_mini.c, which looks whether the choice was close. */
bool backend_rounds(const struct kernel_ops *ops);

/* Of values of stock transformers, in f32: ref sums in f64. */
double backend_tolerance(const char *backend);

/* For test suites: no hash of weights goes to the user's cache. */
void keep_no_hashes(void);

/* tests/vectors/model/NAME into ret. */
void vector_path(const char *name, char *ret, size_t size);

/* Open tests/vectors/model/NAME on a backend; NULL if this machine cannot run the backend. */
struct model *vector_model(const char *name, const char *backend, int max_batch);

/* Open tests/vectors/model/NAME.safetensors; closed by safetensors_close(). */
struct safetensors *vectors_open(const char *name);

/* Values of a tensor whose name is printed by fmt; *ret_n may be NULL. */
const float *vector_get(const struct safetensors *s, size_t *ret_n, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Token ids of a tensor, and positions 0, 1, ... */
struct canvas {
    int32_t ids[VECTOR_MAX_TOK], positions[VECTOR_MAX_TOK];
    int n;
};
void canvas_get(const struct safetensors *s, const char *name, struct canvas *ret);

/* Owned by the caller. */
struct kv_cache *new_cache(struct model *m);

/* The whole canvas, logits of all rows. */
struct forward_item whole_canvas(struct model *m, struct kv_cache *cache, const struct canvas *c);

/* model_forward() that must succeed. */
struct forward_result run_forward(struct model *m, const struct forward_item *items, int n_items);

/* Each row of n_cols: |got - want| <= tol times the row's largest |want|. */
void assert_rows(const float *got, const float *want, size_t n_rows, size_t n_cols, double tol,
                 const char *what);

#endif
