/* checkkern: matrices that a backend makes up itself (kernels/made.h), against those that it is
 * handed: bit for bit. */
#include "check.h"

#include <stdlib.h>

#include "kernels/made.h"

static struct made_matrix random_made(struct check *c, int64_t rows, int64_t cols)
{
    return (struct made_matrix){ .rows = rows,
                                 .cols = cols,
                                 .stream = rng_u64(&c->rng),
                                 .first = (int64_t)rng_below(&c->rng, (uint64_t)1 << 33),
                                 .scale = (float)(rng_uniform(&c->rng) * 0x1p-16) };
}

/* The same in host memory; data is the caller's to free. */
static struct host_matrix host_of(const struct made_matrix *m)
{
    const size_t n = (size_t)m->rows * (size_t)m->cols;
    uint16_t *data = must_alloc(n, sizeof(*data));

    for (size_t i = 0; i < n; i++)
        data[i] = made_value(m->stream, m->first + (int64_t)i, m->scale);
    return (struct host_matrix){ data, DT_BF16, m->rows, m->cols };
}

/* Rows as they are kept. */
static void check_rows(struct check *c)
{
    const struct side *s = &c->new;
    const struct made_matrix m =
        random_made(c, CHOOSE(&c->rng, 2, 3, 100, 1000), CHOOSE(&c->rng, 1, 7, 8, 33, 2048));
    const struct host_matrix host = host_of(&m);
    const size_t n = (size_t)m.rows * (size_t)m.cols;
    int32_t *ids = must_alloc((size_t)m.rows, sizeof(*ids));
    struct weight *w[2] = { load_weight(s, &host), NULL };
    float *out[2];
    struct error err;

    SHAPE(c, "%d rows of %d", (int)m.rows, (int)m.cols);
    check_status(s->ops->weight_make(s->k, &m, &w[1], &err), &err);
    for (int r = 0; r < (int)m.rows; r++)
        ids[r] = r;
    for (int i = 0; i < 2; i++) {
        struct buffer y = buffer_new(s, NULL, n);

        check_status(s->ops->embed(s->k, w[i], ids, (int)m.rows, y.data, &err), &err);
        out[i] = buffer_take(c, &y);
        buffer_free(&y);
    }
    compare_bits(c, "rows", out[1], out[0], n);
    free(out[0]);
    free(out[1]);
    free(ids);
    free((void *)host.data);
}

/* Experts by what they make of tokens. */
static void check_experts(struct check *c)
{
    enum { N_TOK = 5, TOP_K = 2, N_EXP = 6, N_SHARED = 1, N = N_EXP + N_SHARED };
    const struct side *s = &c->new;
    const int d_model = CHOOSE(&c->rng, 2, 64, 65, 256), d_ff = CHOOSE(&c->rng, 2, 31, 64, 96);
    struct made_matrix made[3][N];
    struct host_matrix host[3][N];
    int32_t ids[N_TOK * TOP_K];
    float *x = random_floats(&c->rng, (size_t)N_TOK * (size_t)d_model, REGIME_UNIFORM, 1);
    float *weights = random_floats(&c->rng, N_TOK * TOP_K, REGIME_UNIFORM, 1);
    struct experts *e[2];
    float *out[2];
    struct error err;

    SHAPE(c, "experts, d_model %d d_ff %d", d_model, d_ff);
    for (int j = 0; j < 3; j++)
        for (int i = 0; i < N; i++) {
            made[j][i] = random_made(c, j < 2 ? d_ff : d_model, j < 2 ? d_model : d_ff);
            made[j][i].scale *= 64; /* results far from 0 */
            host[j][i] = host_of(&made[j][i]);
        }
    for (int t = 0; t < N_TOK; t++)
        for (int k = 0; k < TOP_K; k++)
            ids[t * TOP_K + k] = (t + k * 3) % N_EXP;
    check_status(
        s->ops->experts_load(s->k, N_EXP, N_SHARED, host[0], host[1], host[2], &e[0], &err), &err);
    check_status(
        s->ops->experts_make(s->k, N_EXP, N_SHARED, made[0], made[1], made[2], &e[1], &err), &err);
    for (int i = 0; i < 2; i++) {
        struct buffer in = buffer_new(s, x, (size_t)N_TOK * (size_t)d_model);
        struct buffer w = buffer_new(s, weights, N_TOK * TOP_K);
        struct buffer y = buffer_new(s, NULL, (size_t)N_TOK * (size_t)d_model);
        struct buffer which = buffer_new(s, (const float *)(const void *)ids, N_TOK * TOP_K);

        check_status(s->ops->moe(s->k, in.data, e[i], (const int32_t *)(const void *)which.data,
                                 w.data, N_TOK, TOP_K, y.data, &err),
                     &err);
        out[i] = buffer_take(c, &y);
        buffer_free(&in);
        buffer_free(&w);
        buffer_free(&y);
        buffer_free(&which);
    }
    compare_bits(c, "y", out[1], out[0], (size_t)N_TOK * (size_t)d_model);
    for (int j = 0; j < 3; j++)
        for (int i = 0; i < N; i++)
            free((void *)host[j][i].data);
    free(out[0]);
    free(out[1]);
    free(x);
    free(weights);
}

void check_made(struct check *c, int i)
{
    if (i % 2)
        check_experts(c);
    else
        check_rows(c);
}
