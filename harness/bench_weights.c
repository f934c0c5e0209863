/* Random weights: bench_weights.h. */
#include "harness/bench_weights.h"

#include <stdlib.h>
#include <string.h>

enum status random_weights_init(struct random_weights *w, struct kernels *k, struct rng *rng,
                                struct arena *a, struct error *err)
{
    const size_t n = (size_t)1 << 16;
    uint16_t *block = arena_array(a, n, sizeof(*block));

    if (!block)
        return error_set(err, ST_NOMEM, "out of memory for random weights");
    for (size_t i = 0; i < n; i++) /* +-0.01 .. 0.02: 0x3c23 is 0.00995 */
        block[i] = (uint16_t)(0x3c23 + rng_below(rng, 0x80) + rng_below(rng, 2) * 0x8000);
    *w = (struct random_weights){ k, block, n };
    return ST_OK;
}

enum status random_matrix(const struct random_weights *w, int64_t rows, int64_t cols,
                          struct host_matrix *ret, struct error *err)
{
    size_t n = (size_t)rows * (size_t)cols;
    uint16_t *data = malloc(n * sizeof(*data));

    if (!data)
        return error_set(err, ST_NOMEM, "out of memory for a matrix of %lld by %lld",
                         (long long)rows, (long long)cols);
    for (size_t at = 0; at < n; at += w->n_block)
        memcpy(data + at, w->block, (n - at < w->n_block ? n - at : w->n_block) * sizeof(*data));
    *ret = (struct host_matrix){ data, DT_BF16, rows, cols };
    return ST_OK;
}

bool random_matrix_is_kept(const struct random_weights *w, const struct host_matrix *m)
{
    return !w->k->ops->keeps_host || w->k->ops->keeps_host(w->k, m);
}

enum status random_experts(const struct random_weights *w, int n_exp, int n_shared, int64_t d_model,
                           int64_t d_ff, struct experts **ret, struct error *err)
{
    size_t n = (size_t)n_exp + (size_t)n_shared;
    struct host_matrix *m = calloc(3 * n, sizeof(*m)), one[3] = { 0 };
    enum status st = m ? ST_OK : error_set(err, ST_NOMEM, "out of memory for %zu experts", n);

    for (size_t i = 0; i < 3 && !st; i++) {
        st = random_matrix(w, i < 2 ? d_ff : d_model, i < 2 ? d_model : d_ff, &one[i], err);
        for (size_t e = 0; e < n; e++)
            m[i * n + e] = one[i];
    }
    if (!st)
        st = w->k->ops->experts_load(w->k, n_exp, n_shared, m, m + n, m + 2 * n, ret, err);
    for (int i = 0; i < 3; i++)
        if (!random_matrix_is_kept(w, &one[i]))
            free((void *)one[i].data);
    free(m);
    return st;
}
