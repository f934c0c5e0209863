/* checkkern: cases of the mixture of experts and of picking tokens. */
#include "check.h"

#include <math.h>
#include <stdlib.h>

#include "kernels/dtype.h"

/* ---- router ---- */

/* ret_z: backend memory, or NULL. */
static float *run_router(struct check *c, const struct side *s, const float *x,
                         const struct host_matrix *w, int n_tok, enum router_score score,
                         float *ret_z)
{
    struct buffer bx = buffer_new(s, x, (size_t)n_tok * (size_t)w->cols);
    struct buffer by = buffer_new(s, NULL, (size_t)n_tok * (size_t)w->rows);
    struct error err;
    float *out;

    check_status(
        s->ops->router(s->k, bx.data, load_weight(s, w), n_tok, score, by.data, ret_z, &err), &err);
    out = buffer_take(c, &by);
    buffer_free(&bx);
    buffer_free(&by);
    return out;
}

void check_router(struct check *c, int i)
{
    int n_tok = CHOOSE(&c->rng, 1, 2, 7, 32, 33), n_exp = CHOOSE(&c->rng, 1, 3, 8, 17, 64, 256);
    int d = CHOOSE(&c->rng, 1, 16, 33, 128, 2048);
    enum router_score score = i % 2 ? ROUTER_SIGMOID : ROUTER_SOFTMAX;
    enum regime regime = choose_regime(c);
    struct host_matrix w;
    double *unit, widest = 0;
    float *x, *z, *ref, *new, *other;
    struct buffer bz;
    size_t n, row;

    if (c->is_small)
        n_tok = n_tok < 7 ? n_tok : 7, n_exp = n_exp < 17 ? n_exp : 17, d = d < 128 ? d : 128;
    else if (i == 1) /* LLaDA2.0-flash's */
        n_tok = 32, n_exp = 256, d = 4096;
    w = random_matrix(&c->rng, choose_dtype(c), n_exp, d, regime, i % 7 ? 1 : 30);
    x = random_floats(&c->rng, (size_t)n_tok * (size_t)d, regime, 1);
    n = (size_t)n_tok * (size_t)n_exp;
    row = rng_below(&c->rng, (uint64_t)n_tok);
    unit = must_alloc((size_t)n_tok, sizeof(*unit));
    SHAPE(c, "n_tok %d n_exp %d d %d %s %s", n_tok, n_exp, d, score ? "sigmoid" : "softmax",
          regime_names[regime]);
    for (int e = 0; e < n_exp; e++)
        widest = fmax(widest, row_norm(&w, e));
    for (int t = 0; t < n_tok; t++)
        unit[t] = 1 + widest * norm(x + (size_t)t * (size_t)d, (size_t)d);
    ref = run_router(c, &c->ref, x, &w, n_tok, score, NULL);
    bz = buffer_new(&c->new, NULL, n);
    new = run_router(c, &c->new, x, &w, n_tok, score, bz.data);
    compare_floats(c, "s", new, ref, n, unit, (size_t)n_exp);
    z = buffer_take(c, &bz);
    for (size_t j = 0; score == ROUTER_SIGMOID && j < n; j++)
        z[j] = (float)(1 / (1 + exp(-(double)z[j])));
    if (score == ROUTER_SIGMOID) /* the scores are those of the logits it tells */
        compare_floats(c, "z", z, new, n, NULL, 1);
    buffer_free(&bz);
    free(z);
    other = run_router(c, &c->other, x, &w, n_tok, score, NULL);
    compare_bits(c, "one thread", new, other, n);
    free(other);
    other = run_router(c, &c->new, x + row * (size_t)d, &w, 1, score, NULL);
    compare_bits(c, "a token alone", new + row *(size_t)n_exp, other, (size_t)n_exp);
    free(ref);
    free(new);
    free(other);
    free(unit);
    free(x);
    free((void *)w.data);
}

/* ---- moe ---- */

struct moe_case {
    int n_tok, top_k, n_exp, n_shared, d_model, d_ff;
    struct host_matrix *gate, *up, *down; /* (n_exp + n_shared) */
    int32_t *ids;
    float *w, *x;
};

static float *run_moe(struct check *c, const struct side *s, const struct moe_case *m)
{
    size_t n = (size_t)m->n_tok * (size_t)m->d_model;
    size_t n_pairs = (size_t)m->n_tok * (size_t)m->top_k;
    struct buffer x = buffer_new(s, m->x, n), y = buffer_new(s, NULL, n);
    struct buffer w = buffer_new(s, m->w, n_pairs);
    struct buffer ids = buffer_new(s, (const float *)m->ids, n_pairs); /* copied as bytes */
    struct experts *e = NULL;
    struct error err;
    float *out;

    check_status(
        s->ops->experts_load(s->k, m->n_exp, m->n_shared, m->gate, m->up, m->down, &e, &err), &err);
    check_status(s->ops->moe(s->k, x.data, e, m->top_k ? (const int32_t *)ids.data : NULL,
                             m->top_k ? w.data : NULL, m->n_tok, m->top_k, y.data, &err),
                 &err);
    out = buffer_take(c, &y);
    buffer_free(&x);
    buffer_free(&y);
    buffer_free(&w);
    buffer_free(&ids);
    return out;
}

/* What an error of one unit in every dot product and in h amounts to in the output, the largest
 * of a token's: sum of |w| |down| (|x| |gate| |u| + |silu(g)| |x| |up| + |h|). */
static double moe_unit(const struct moe_case *m, int t)
{
    size_t d = (size_t)m->d_model;
    const float *x = m->x + (size_t)t * d;
    double *sum = must_alloc(d, sizeof(*sum)), max = 0, x_norm = norm(x, d);

    for (int i = 0; i < m->top_k + m->n_shared; i++) {
        bool is_shared = i >= m->top_k;
        int id = is_shared ? m->n_exp + i - m->top_k : m->ids[t * m->top_k + i];
        double weight = is_shared ? 1 : fabs((double)m->w[t * m->top_k + i]);

        for (int f = 0; id >= 0 && f < m->d_ff; f++) {
            const struct host_matrix *g = &m->gate[id], *u = &m->up[id], *o = &m->down[id];
            double gx = 0, ux = 0, silu, h;

            for (size_t j = 0; j < d; j++) {
                gx += (double)x[j] * dtype_get(g->data, g->dtype, (size_t)f * d + j);
                ux += (double)x[j] * dtype_get(u->data, u->dtype, (size_t)f * d + j);
            }
            silu = fabs(gx / (1 + exp(-gx)));
            h = x_norm * (row_norm(g, f) * fabs(ux) + silu * row_norm(u, f)) + silu * fabs(ux);
            for (size_t j = 0; j < d; j++)
                sum[j] +=
                    weight * h *
                    fabs((double)dtype_get(o->data, o->dtype, j * (size_t)m->d_ff + (size_t)f));
        }
    }
    for (size_t j = 0; j < d; j++)
        max = fmax(max, sum[j]);
    free(sum);
    return max;
}

/* top_k distinct ids in ascending order a token, from n_used of the experts; some slots empty. */
static void random_routing(struct check *c, struct moe_case *m, int n_used)
{
    for (int t = 0; t < m->n_tok; t++) {
        int32_t *ids = m->ids + t * m->top_k;
        int n = 0, want = m->top_k < n_used ? m->top_k : n_used;

        for (int e = 0; e < n_used; e++)
            if ((int)rng_below(&c->rng, (uint64_t)(n_used - e)) < want - n)
                ids[n++] = e * (m->n_exp / n_used);
        if (n && rng_below(&c->rng, 4) == 0)
            n--;
        while (n < m->top_k)
            ids[n++] = -1;
    }
}

void check_moe(struct check *c, int i)
{
    struct moe_case m = {
        .n_tok = CHOOSE(&c->rng, 1, 2, 7, 32, 33, 50),
        .n_exp = CHOOSE(&c->rng, 1, 3, 8, 64),
        .d_model = CHOOSE(&c->rng, 1, 3, 17, 32, 64, 65, 100),
        .d_ff = CHOOSE(&c->rng, 1, 5, 31, 32, 33, 64, 96),
        .top_k = CHOOSE(&c->rng, 1, 2, 8),
    };
    enum regime regime = choose_regime(c);
    enum dtype t = (enum dtype)(i % 3);
    int n_used = 1 + (int)rng_below(&c->rng, (uint64_t)m.n_exp);
    size_t d, n, n_pairs, row;
    struct moe_case alone, rounded;
    float *ref, *new, *other;
    double *unit;

    if (!takes_experts(c, t, 0))
        t = DT_BF16;
    if (i % 4 == 1 && takes_experts(c, t, 2))
        m.n_shared = 1 + i / 4 % 2;
    if (c->is_small) {
        m.n_tok = 1 + m.n_tok % 9, m.n_exp = m.n_exp < 8 ? m.n_exp : 8;
        m.top_k = m.top_k < 2 ? m.top_k : 2, n_used = 1 + n_used % m.n_exp;
    } else if (i % 8 == 0) /* one expert for all: more pairs than a block takes */
        m.n_tok = i % 16 ? 301 : 101, n_used = 1, m.top_k = 1;
    if (i % 8 == 4 && t == DT_BF16) /* many tokens, results in whole lines of a cache */
        m.n_tok = c->is_small ? 40 : 300, m.d_model = 256 * (1 + i / 8 % 2);
    if (i == 2 && !c->is_small) /* the widths of a real layer */
        m.n_tok = 9, m.n_exp = 3, n_used = 2, m.top_k = 2, m.d_model = 2048, m.d_ff = 1024;
    if (i == 9 && m.n_shared && !c->is_small) /* and of one of LLaDA2.0-mini's */
        m.n_tok = 5, m.n_exp = 9, n_used = 9, m.top_k = 8, m.d_model = 2048, m.d_ff = 512;
    if (i % 8 == 5 && m.n_shared) /* a dense layer, narrow or not, more tokens than a block */
        m.n_tok = i % 16 == 5 ? 65 : m.n_tok, m.n_exp = 0, m.n_shared = 1, m.top_k = n_used = 0;
    if (i % 8 == 5 && m.n_shared && i % 32 < 16) /* a token alone may go through parts of it */
        m.d_ff = 1536;
    n = (size_t)m.n_exp + (size_t)m.n_shared;
    d = (size_t)m.d_model;
    n_pairs = (size_t)m.n_tok * (size_t)m.top_k;
    m.gate = must_alloc(n, sizeof(*m.gate));
    m.up = must_alloc(n, sizeof(*m.up));
    m.down = must_alloc(n, sizeof(*m.down));
    for (size_t e = 0; e < n; e++) {
        m.gate[e] = random_matrix(&c->rng, t, m.d_ff, m.d_model, regime, 1);
        m.up[e] = random_matrix(&c->rng, t, m.d_ff, m.d_model, regime, 1);
        m.down[e] = random_matrix(&c->rng, t, m.d_model, m.d_ff, regime, 1);
    }
    m.x = random_floats(&c->rng, (size_t)m.n_tok * d, regime, i % 5 ? 2 : 100);
    m.w = random_floats(&c->rng, n_pairs, REGIME_UNIFORM, 1);
    m.ids = must_alloc(n_pairs, sizeof(*m.ids));
    random_routing(c, &m, n_used);
    SHAPE(c, "n_tok %d n_exp %d of %d and %d top_k %d d_model %d d_ff %d %s %s", m.n_tok, n_used,
          m.n_exp, m.n_shared, m.top_k, m.d_model, m.d_ff, dtype_name(t), regime_names[regime]);
    unit = must_alloc((size_t)m.n_tok, sizeof(*unit));
    for (int j = 0; j < m.n_tok; j++)
        unit[j] = moe_unit(&m, j);

    if (t == DT_BF16)
        c->tol = c->tol_bf16;
    rounded = m;
    rounded.x = reference_x(c, m.x, (size_t)m.n_tok * d, t);
    ref = run_moe(c, &c->ref, &rounded);
    free(rounded.x);
    new = run_moe(c, &c->new, &m);
    compare_floats(c, "y", new, ref, (size_t)m.n_tok * d, unit, d);
    other = run_moe(c, &c->other, &m);
    compare_bits(c, "one thread", new, other, (size_t)m.n_tok * d);
    free(other);
    row = rng_below(&c->rng, (uint64_t)m.n_tok);
    alone = m;
    alone.n_tok = 1;
    alone.x = m.x + row * d;
    alone.w = m.w + row * (size_t)m.top_k;
    alone.ids = m.ids + row * (size_t)m.top_k;
    other = run_moe(c, &c->new, &alone);
    if (!c->is_fast)
        compare_bits(c, "a token alone", new + row *d, other, d);

    for (size_t e = 0; e < n; e++) {
        free((void *)m.gate[e].data);
        free((void *)m.up[e].data);
        free((void *)m.down[e].data);
    }
    free(m.gate);
    free(m.up);
    free(m.down);
    free(m.x);
    free(m.w);
    free(m.ids);
    free(ref);
    free(new);
    free(other);
    free(unit);
}

/* ---- pick ---- */

static void run_pick(const struct side *s, const float *l, int n_rows, int n_vocab,
                     const struct pick_params *p, struct pick *ret)
{
    struct buffer b = buffer_new(s, l, (size_t)n_rows * (size_t)n_vocab);
    struct error err;

    check_status(s->ops->pick(s->k, b.data, n_rows, n_vocab, p, ret, &err), &err);
    buffer_free(&b);
}

void check_pick(struct check *c, int i)
{
    enum { MAX_ROWS = 9 };
    int n_rows = CHOOSE(&c->rng, 1, 3, MAX_ROWS);
    int n_vocab = CHOOSE(&c->rng, 3, 15, 16, 17, 31, 33, 1000, 5003);
    int32_t *positions = random_ids(&c->rng, MAX_ROWS, 8192);
    enum regime regime = choose_regime(c);
    size_t n = (size_t)n_rows * (size_t)n_vocab, row;
    float *l = random_floats(&c->rng, n, regime, (float)CHOOSE(&c->rng, 1, 10, 1000));
    struct pick_params p = {
        .mask_id = (int32_t)rng_below(&c->rng, (uint64_t)n_vocab),
        .banned_id = (int32_t)rng_below(&c->rng, (uint64_t)n_vocab + 1) - 1,
        .temperature = i % 3 ? 0.25 * (i % 7) : 0,
        .seed = rng_u64(&c->rng),
        .draw = rng_below(&c->rng, 100),
        .positions = positions,
        .is_filtered = i % 2,
        .top_k = CHOOSE(&c->rng, 0, 0, 1, 2, 40, 5003),
        .top_p = CHOOSE(&c->rng, 0, 30, 90, 99, 100, 100) / 100.0,
    };
    struct pick ref[MAX_ROWS], new[MAX_ROWS], other[MAX_ROWS];

    if (i % 4 == 0)
        spoil(&c->rng, l, n);
    if (i % 6 == 0) /* the special tokens on top */
        for (size_t r = 0; r < (size_t)n_rows; r++)
            l[r * (size_t)n_vocab + (size_t)p.mask_id] = 2000;
    SHAPE(c, "n_rows %d n_vocab %d mask %d ban %d temperature %g%s top_k %d top_p %g %s%s", n_rows,
          n_vocab, p.mask_id, p.banned_id, p.temperature, p.is_filtered ? " filtered," : "",
          p.top_k, p.top_p, regime_names[regime], i % 4 ? "" : " with NaN");
    run_pick(&c->ref, l, n_rows, n_vocab, &p, ref);
    run_pick(&c->new, l, n_rows, n_vocab, &p, new);
    run_pick(&c->other, l, n_rows, n_vocab, &p, other);
    for (int r = 0; r < n_rows; r++) {
        compare_ints(c, "id", &new[r].id, &ref[r].id, 1);
        compare_ints(c, "is_mask_best", &(int32_t){ new[r].is_mask_best },
                     &(int32_t){ ref[r].is_mask_best }, 1);
        compare_floats(c, "prob", &new[r].prob, &ref[r].prob, 1, NULL, 1);
        compare_ints(c, "id with one thread", &other[r].id, &new[r].id, 1);
        compare_bits(c, "prob with one thread", &other[r].prob, &new[r].prob, 1);
    }
    row = rng_below(&c->rng, (uint64_t)n_rows);
    p.positions = positions + row;
    run_pick(&c->new, l + row * (size_t)n_vocab, 1, n_vocab, &p, other);
    compare_ints(c, "id of a row alone", &other[0].id, &new[row].id, 1);
    compare_bits(c, "prob of a row alone", &other[0].prob, &new[row].prob, 1);
    free(l);
    free(positions);
}
