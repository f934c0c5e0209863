/*
 * Random weights on a backend, for what the verb `bench` times.
 */
#ifndef HARNESS_BENCH_WEIGHTS_H
#define HARNESS_BENCH_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/rng.h"
#include "base/status.h"
#include "kernels/kernels.h"

/* What does not fit any cache. */
#define BENCH_BEYOND_CACHES ((size_t)256 << 20)

struct random_weights {
    struct kernels *k;
    uint16_t *block; /* random bf16 that matrices are filled with */
    size_t n_block;
};

/* The block lives in the arena. */
MUST_CHECK enum status random_weights_init(struct random_weights *w, struct kernels *k,
                                           struct rng *rng, struct arena *a, struct error *err);

/* A host matrix; its data is to be freed once it is loaded, unless the backend keeps it. */
MUST_CHECK enum status random_matrix(const struct random_weights *w, int64_t rows, int64_t cols,
                                     struct host_matrix *ret, struct error *err);
bool random_matrix_is_kept(const struct random_weights *w, const struct host_matrix *m);

/* One layer's experts, all from the same three matrices: they are copies, but none shares memory
 * where the backend makes its own. */
MUST_CHECK enum status random_experts(const struct random_weights *w, int n_exp, int n_shared,
                                      int64_t d_model, int64_t d_ff, struct experts **ret,
                                      struct error *err);

#endif
