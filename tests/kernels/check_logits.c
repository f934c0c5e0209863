/* checkkern: cases of what decoders do to logits, and make of them. */
#include <stdlib.h>

#include "tests/kernels/check.h"

void check_bias_logits(struct check *c, int i)
{
    enum { MAX_BIAS = 600 };
    int n_rows = CHOOSE(&c->rng, 1, 3, 9), n_vocab = CHOOSE(&c->rng, 1, 17, 1000, 5003);
    size_t n = (size_t)n_rows * (size_t)n_vocab;
    float *l = random_floats(&c->rng, n, choose_regime(c), 10);
    struct logit_bias *bias = must_alloc(MAX_BIAS, sizeof(*bias));
    const struct side *sides[] = { &c->ref, &c->new };
    struct error err;
    float *out[2];
    int n_bias = 0;

    for (size_t at = rng_below(&c->rng, n); i % 5 && at < n && n_bias < MAX_BIAS;
         at += 1 + rng_below(&c->rng, 50))
        bias[n_bias++] = (struct logit_bias){ .row = (int32_t)(at / (size_t)n_vocab),
                                              .id = (int32_t)(at % (size_t)n_vocab),
                                              .value = (float)rng_below(&c->rng, 1000) / 128 };
    SHAPE(c, "n_rows %d n_vocab %d, %d biases", n_rows, n_vocab, n_bias);
    for (int s = 0; s < 2; s++) {
        struct buffer b = buffer_new(sides[s], l, n);

        check_status(sides[s]->ops->bias_logits(sides[s]->k, b.data, n_vocab, bias, n_bias, &err),
                     &err);
        out[s] = buffer_take(c, &b);
        buffer_free(&b);
    }
    compare_bits(c, "logits", out[1], out[0], n);
    free(out[0]);
    free(out[1]);
    free(bias);
    free(l);
}

static float *run_expect(struct check *c, const struct side *s, const float *l, int n_rows,
                         const struct host_matrix *m, float scale)
{
    struct buffer bl = buffer_new(s, l, (size_t)n_rows * (size_t)m->rows);
    struct buffer by = buffer_new(s, NULL, (size_t)n_rows * (size_t)m->cols);
    struct error err;
    float *y;

    check_status(s->ops->expect(s->k, bl.data, n_rows, load_weight(s, m), scale, by.data, &err),
                 &err);
    y = buffer_take(c, &by);
    buffer_free(&bl);
    buffer_free(&by);
    return y;
}

void check_expect(struct check *c, int i)
{
    int n_rows = CHOOSE(&c->rng, 1, 3, 8, 9, 32, 33),
        n_vocab = CHOOSE(&c->rng, 2, 31, 32, 1024, 2051);
    int d = CHOOSE(&c->rng, 1, 16, 33, 128, 129);
    enum dtype t = choose_dtype(c);
    enum regime regime = choose_regime(c);
    struct host_matrix m = random_matrix(&c->rng, t, n_vocab, d, regime, 1);
    size_t row = rng_below(&c->rng, (uint64_t)n_rows), n = (size_t)n_rows * (size_t)d;
    float *l = random_floats(&c->rng, (size_t)n_rows * (size_t)n_vocab, choose_regime(c),
                             (float)CHOOSE(&c->rng, 1, 10, 1000));
    float scale = i % 2 ? 0.3F : 1;
    float *ref = run_expect(c, &c->ref, l, n_rows, &m, scale);
    float *new = run_expect(c, &c->new, l, n_rows, &m, scale);
    float *other = run_expect(c, &c->other, l, n_rows, &m, scale);
    float *alone = run_expect(c, &c->new, l + row * (size_t)n_vocab, 1, &m, scale);
    double unit = 0;

    SHAPE(c, "n_rows %d n_vocab %d d %d %s %s", n_rows, n_vocab, d, dtype_name(t),
          regime_names[regime]);
    for (int64_t r = 0; r < m.rows; r++) /* what is averaged */
        unit = row_norm(&m, r) > unit ? row_norm(&m, r) : unit;
    for (int r = 0; r < n_rows; r++)
        compare_floats(c, "y", new + (size_t)r *(size_t)d, ref + (size_t)r * (size_t)d, (size_t)d,
                       &unit, (size_t)d);
    compare_bits(c, "y with one thread", other, new, n);
    compare_bits(c, "y of a row alone", alone, new + row *(size_t)d, (size_t)d);
    free(ref);
    free(new);
    free(other);
    free(alone);
    free(l);
    free((void *)m.data);
}
