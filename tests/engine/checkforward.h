/* What the parts of checkforward share. */
#ifndef TESTS_ENGINE_CHECKFORWARD_H
#define TESTS_ENGINE_CHECKFORWARD_H

#include "base/rng.h"
#include "engine/model.h"

enum { MIN_CANVAS = 65, MAX_CANVAS = 330, N_SHAPES = 9 };

/* As the command line says. */
struct checkforward {
    const char *shapes, *backend;
    bool is_fast;   /* numeric mode */
    int canvas;     /* positions of a sequence */
    int n_forwards; /* of a shape, one by one */
    int n_batches;  /* of a shape, in batches */
    int n_runs;     /* of a forward as one */
    struct rng rng;
};

/* Ends the program where st is not ST_OK. */
void check(enum status st, const struct error *err);
void *must_alloc(size_t n, size_t size);               /* zeroed */
float *must_alloc_floats(struct kernels *k, size_t n); /* backend memory, zeroed */
int between(struct checkforward *c, int first, int last);

/* Shape number `shape` with weights that are made up. */
struct model *must_open(const struct checkforward *c, int shape, bool is_fast, int max_batch,
                        int max_block);

/* One of the ways that routing takes. */
struct route_params random_route(struct checkforward *c, const struct model *m);

/* Coresets as a forward before may have left them, (n_moe_layer, n_exp) in backend memory. */
uint8_t *random_cores(struct checkforward *c, struct model *m);

/* What differs first of statistics (n_stats) and counts (n_stats, n_exp), or NULL. */
const char *compare_routing(const struct route_stats *a, const struct route_stats *b,
                            const int32_t *counts_a, const int32_t *counts_b, size_t n_stats,
                            int n_exp, size_t *ret_at);

/*
 * Sequences alone, in batches of 8 and of 32: the same logits, proposals and statistics, bit for
 * bit, c->n_runs times over. Returns how many forwards are not.
 */
int check_batches(struct checkforward *c, int shape);

#endif
