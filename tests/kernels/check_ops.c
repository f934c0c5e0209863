/* checkkern: the cases of each op. */
#include "check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/dtype.h"

static const char *const regime_names[N_REGIMES] = { "uniform", "ties", "wide", "dominant" };

static enum regime choose_regime(struct check *c)
{
    return (enum regime)rng_below(&c->rng, N_REGIMES);
}

static enum dtype choose_dtype(struct check *c)
{
    return (enum dtype)rng_below(&c->rng, 3);
}

#define SHAPE(c, ...) snprintf((c)->shape, sizeof((c)->shape), __VA_ARGS__)

/* n ids below limit. */
static int32_t *random_ids(struct rng *r, size_t n, int limit)
{
    int32_t *ids = must_alloc(n, sizeof(*ids));

    for (size_t i = 0; i < n; i++)
        ids[i] = (int32_t)rng_below(r, (uint64_t)limit);
    return ids;
}

static double norm(const float *x, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    return sqrt(sum);
}

static double largest(const float *x, size_t n)
{
    double max = 0;

    for (size_t i = 0; i < n; i++)
        max = fmax(max, fabs((double)x[i]));
    return max;
}

static double row_norm(const struct host_matrix *m, int64_t r)
{
    double sum = 0;

    for (int64_t i = 0; i < m->cols; i++) {
        double w = dtype_get(m->data, m->dtype, (size_t)(r * m->cols + i));

        sum += w * w;
    }
    return sqrt(sum);
}

/* ---- embed, kv_store, add: copies and one rounding, so bit for bit ---- */

static void check_embed(struct check *c, int i)
{
    int n_vocab = CHOOSE(&c->rng, 1, 2, 100), d = CHOOSE(&c->rng, 1, 7, 16, 33, 2048);
    int n_tok = CHOOSE(&c->rng, 1, 3, 33);
    enum dtype t = choose_dtype(c);
    enum regime regime = choose_regime(c);
    struct host_matrix m = random_matrix(&c->rng, t, n_vocab, d, regime, 1);
    int32_t *ids = random_ids(&c->rng, (size_t)n_tok, n_vocab);
    size_t n = (size_t)n_tok * (size_t)d;
    const struct side *sides[] = { &c->ref, &c->new };
    float *out[2];
    struct error err;

    (void)i;
    SHAPE(c, "n_tok %d d %d %s", n_tok, d, dtype_name(t));
    for (int s = 0; s < 2; s++) {
        struct buffer y = buffer_new(sides[s], NULL, n);

        check_status(
            sides[s]->ops->embed(sides[s]->k, load_weight(sides[s], &m), ids, n_tok, y.data, &err),
            &err);
        out[s] = buffer_take(c, &y);
        buffer_free(&y);
    }
    compare_bits(c, "x", out[1], out[0], n);
    free(out[0]);
    free(out[1]);
    free(ids);
    free((void *)m.data);
}

static void check_kv_store(struct check *c, int i)
{
    int capacity = CHOOSE(&c->rng, 5, 40), width = CHOOSE(&c->rng, 1, 7, 64, 2048);
    int n_tok = 1 + (int)rng_below(&c->rng, (uint64_t)capacity), at = 0;
    float *rows = random_floats(&c->rng, (size_t)n_tok * (size_t)width, choose_regime(c), 1);
    int32_t *slots = must_alloc((size_t)n_tok, sizeof(*slots));
    size_t n = (size_t)capacity * (size_t)width;
    const struct side *sides[] = { &c->ref, &c->new };
    float *out[2];
    struct error err;

    (void)i;
    SHAPE(c, "n_tok %d width %d capacity %d", n_tok, width, capacity);
    for (int slot = capacity - 1; slot >= 0; slot--) /* distinct, in no simple order */
        if (rng_below(&c->rng, (uint64_t)slot + 1) < (uint64_t)(n_tok - at))
            slots[at++] = slot;
    for (int s = 0; s < 2; s++) {
        struct buffer x = buffer_new(sides[s], rows, (size_t)n_tok * (size_t)width);
        struct buffer cache = buffer_new(sides[s], NULL, n);

        check_status(
            sides[s]->ops->kv_store(sides[s]->k, x.data, slots, n_tok, width, cache.data, &err),
            &err);
        out[s] = buffer_take(c, &cache);
        buffer_free(&x);
        buffer_free(&cache);
    }
    compare_bits(c, "cache", out[1], out[0], n);
    free(out[0]);
    free(out[1]);
    free(rows);
    free(slots);
}

static void check_add(struct check *c, int i)
{
    int n = CHOOSE(&c->rng, 1, 3, 16, 17, 1000, 16384, 16385, 65537);
    float *x = random_floats(&c->rng, (size_t)n, choose_regime(c), 1);
    float *y = random_floats(&c->rng, (size_t)n, choose_regime(c), 1e3f);
    const struct side *sides[] = { &c->ref, &c->new };
    float *out[2];
    struct error err;

    (void)i;
    SHAPE(c, "n %d", n);
    for (int s = 0; s < 2; s++) {
        struct buffer bx = buffer_new(sides[s], x, (size_t)n);
        struct buffer by = buffer_new(sides[s], y, (size_t)n);

        check_status(sides[s]->ops->add(sides[s]->k, bx.data, by.data, (size_t)n, &err), &err);
        out[s] = buffer_take(c, &bx);
        buffer_free(&bx);
        buffer_free(&by);
    }
    compare_bits(c, "x", out[1], out[0], (size_t)n);
    free(out[0]);
    free(out[1]);
    free(x);
    free(y);
}

/* ---- rms_norm ---- */

static float *run_rms_norm(struct check *c, const struct side *s, const float *x,
                           const struct host_matrix *w, float eps, int n_rows, bool in_place)
{
    size_t n = (size_t)n_rows * (size_t)w->cols;
    struct buffer bx = buffer_new(s, x, n), by = buffer_new(s, NULL, n);
    struct error err;
    float *out;

    check_status(s->ops->rms_norm(s->k, bx.data, load_weight(s, w), eps, n_rows,
                                  in_place ? bx.data : by.data, &err),
                 &err);
    out = buffer_take(c, in_place ? &bx : &by);
    buffer_free(&bx);
    buffer_free(&by);
    return out;
}

static void check_rms_norm(struct check *c, int i)
{
    int d = CHOOSE(&c->rng, 1, 3, 15, 16, 17, 31, 33, 128, 1000, 2048, 8192);
    int n_rows = CHOOSE(&c->rng, 1, 3, 33);
    enum regime regime = choose_regime(c);
    float scale = i % 3 == 0 ? 1e30f : i % 3 == 1 ? 1 : 1e-25f; /* squares leave f32 */
    float eps = i % 2 ? 1e-6f : 1e-5f;
    struct host_matrix w = random_matrix(&c->rng, choose_dtype(c), 1, d, regime, 1);
    size_t n = (size_t)n_rows * (size_t)d;
    float *x = random_floats(&c->rng, n, regime, scale), *ref, *new, *other;
    size_t row = rng_below(&c->rng, (uint64_t)n_rows) * (size_t)d;

    SHAPE(c, "n_rows %d d %d %s scale %g", n_rows, d, regime_names[regime], (double)scale);
    ref = run_rms_norm(c, &c->ref, x, &w, eps, n_rows, false);
    new = run_rms_norm(c, &c->new, x, &w, eps, n_rows, false);
    compare_floats(c, "y", new, ref, n, NULL, 1);
    other = run_rms_norm(c, &c->other, x, &w, eps, n_rows, true);
    compare_bits(c, "one thread, in place", new, other, n);
    free(other);
    other = run_rms_norm(c, &c->new, x + row, &w, eps, 1, false);
    compare_bits(c, "a row alone", new + row, other, (size_t)d);
    free(ref);
    free(new);
    free(other);
    free(x);
    free((void *)w.data);
}

/* ---- matmul, router ---- */

static float *run_matmul(struct check *c, const struct side *s, const float *x,
                         const struct host_matrix *w, int n_tok)
{
    struct buffer bx = buffer_new(s, x, (size_t)n_tok * (size_t)w->cols);
    struct buffer by = buffer_new(s, NULL, (size_t)n_tok * (size_t)w->rows);
    struct error err;
    float *out;

    check_status(s->ops->matmul(s->k, bx.data, load_weight(s, w), n_tok, by.data, &err), &err);
    out = buffer_take(c, &by);
    buffer_free(&bx);
    buffer_free(&by);
    return out;
}

static void check_matmul(struct check *c, int i)
{
    int n_tok = CHOOSE(&c->rng, 1, 2, 3, 4, 5, 6, 7, 13, 32, 33, 50);
    int rows = CHOOSE(&c->rng, 1, 3, 4, 5, 16, 17, 63, 64, 65, 200);
    int cols = CHOOSE(&c->rng, 1, 3, 8, 15, 16, 17, 31, 32, 33, 64, 100, 257);
    enum dtype t = (enum dtype)(i % 3);
    enum regime regime = choose_regime(c);
    struct host_matrix w;
    float *x, *ref, *new, *other;
    double *unit;
    size_t n, row;

    if (i < 3) { /* the widths of a real layer, more tokens than one block takes */
        n_tok = 65;
        rows = 130;
        cols = 2048;
    }
    w = random_matrix(&c->rng, t, rows, cols, regime, 1);
    x = random_floats(&c->rng, (size_t)n_tok * (size_t)cols, regime, i % 5 ? 1 : 1e12f);
    n = (size_t)n_tok * (size_t)rows;
    row = rng_below(&c->rng, (uint64_t)n_tok);
    SHAPE(c, "n_tok %d rows %d cols %d %s %s", n_tok, rows, cols, dtype_name(t),
          regime_names[regime]);
    unit = must_alloc(n, sizeof(*unit));
    for (size_t j = 0; j < n; j++)
        unit[j] = norm(x + j / (size_t)rows * (size_t)cols, (size_t)cols) *
                  row_norm(&w, (int64_t)(j % (size_t)rows));
    ref = run_matmul(c, &c->ref, x, &w, n_tok);
    new = run_matmul(c, &c->new, x, &w, n_tok);
    compare_floats(c, "y", new, ref, n, unit, 1);
    other = run_matmul(c, &c->other, x, &w, n_tok);
    compare_bits(c, "one thread", new, other, n);
    free(other);
    other = run_matmul(c, &c->new, x + row * (size_t)cols, &w, 1);
    compare_bits(c, "a token alone", new + row *(size_t)rows, other, (size_t)rows);
    free(ref);
    free(new);
    free(other);
    free(unit);
    free(x);
    free((void *)w.data);
}

static float *run_router(struct check *c, const struct side *s, const float *x,
                         const struct host_matrix *w, int n_tok, enum router_score score)
{
    struct buffer bx = buffer_new(s, x, (size_t)n_tok * (size_t)w->cols);
    struct buffer by = buffer_new(s, NULL, (size_t)n_tok * (size_t)w->rows);
    struct error err;
    float *out;

    check_status(s->ops->router(s->k, bx.data, load_weight(s, w), n_tok, score, by.data, &err),
                 &err);
    out = buffer_take(c, &by);
    buffer_free(&bx);
    buffer_free(&by);
    return out;
}

static void check_router(struct check *c, int i)
{
    int n_tok = CHOOSE(&c->rng, 1, 2, 7, 32, 33), n_exp = CHOOSE(&c->rng, 1, 3, 8, 17, 64, 256);
    int d = CHOOSE(&c->rng, 1, 16, 33, 128);
    enum router_score score = i % 2 ? ROUTER_SIGMOID : ROUTER_SOFTMAX;
    enum regime regime = choose_regime(c);
    struct host_matrix w =
        random_matrix(&c->rng, choose_dtype(c), n_exp, d, regime, i % 7 ? 1 : 30);
    float *x = random_floats(&c->rng, (size_t)n_tok * (size_t)d, regime, 1), *ref, *new, *other;
    size_t n = (size_t)n_tok * (size_t)n_exp, row = rng_below(&c->rng, (uint64_t)n_tok);
    double *unit = must_alloc((size_t)n_tok, sizeof(*unit)), widest = 0;

    SHAPE(c, "n_tok %d n_exp %d d %d %s %s", n_tok, n_exp, d, score ? "sigmoid" : "softmax",
          regime_names[regime]);
    for (int e = 0; e < n_exp; e++)
        widest = fmax(widest, row_norm(&w, e));
    for (int t = 0; t < n_tok; t++)
        unit[t] = 1 + widest * norm(x + (size_t)t * (size_t)d, (size_t)d);
    ref = run_router(c, &c->ref, x, &w, n_tok, score);
    new = run_router(c, &c->new, x, &w, n_tok, score);
    compare_floats(c, "s", new, ref, n, unit, (size_t)n_exp);
    other = run_router(c, &c->other, x, &w, n_tok, score);
    compare_bits(c, "one thread", new, other, n);
    free(other);
    other = run_router(c, &c->new, x + row * (size_t)d, &w, 1, score);
    compare_bits(c, "a token alone", new + row *(size_t)n_exp, other, (size_t)n_exp);
    free(ref);
    free(new);
    free(other);
    free(unit);
    free(x);
    free((void *)w.data);
}

/* ---- rope ---- */

static float *run_rope(struct check *c, const struct side *s, const float *x,
                       const int32_t *positions, int n_tok, int n_head, int d_head, int d_rot,
                       double theta)
{
    struct buffer b = buffer_new(s, x, (size_t)n_tok * (size_t)n_head * (size_t)d_head);
    struct error err;
    float *out;

    check_status(s->ops->rope(s->k, b.data, positions, n_tok, n_head, d_head, d_rot, theta, &err),
                 &err);
    out = buffer_take(c, &b);
    buffer_free(&b);
    return out;
}

static void check_rope(struct check *c, int i)
{
    int n_tok = CHOOSE(&c->rng, 1, 3, 8, 9, 33), n_head = CHOOSE(&c->rng, 1, 3, 16);
    int d_head = CHOOSE(&c->rng, 2, 6, 32, 64, 128), d_rot = i % 2 ? d_head : d_head / 4 * 2;
    double theta = i % 3 ? 50000 : 600000;
    size_t per_tok = (size_t)n_head * (size_t)d_head, n = (size_t)n_tok * per_tok;
    int32_t *positions = random_ids(&c->rng, (size_t)n_tok, 32768);
    enum regime regime = choose_regime(c);
    float *x = random_floats(&c->rng, n, regime, 1), *ref, *new, *other;
    size_t row = rng_below(&c->rng, (uint64_t)n_tok);
    double unit = largest(x, n);

    SHAPE(c, "n_tok %d n_head %d d_head %d d_rot %d %s", n_tok, n_head, d_head, d_rot,
          regime_names[regime]);
    ref = run_rope(c, &c->ref, x, positions, n_tok, n_head, d_head, d_rot, theta);
    new = run_rope(c, &c->new, x, positions, n_tok, n_head, d_head, d_rot, theta);
    compare_floats(c, "x", new, ref, n, &unit, n);
    other = run_rope(c, &c->other, x, positions, n_tok, n_head, d_head, d_rot, theta);
    compare_bits(c, "one thread", new, other, n);
    free(other);
    other =
        run_rope(c, &c->new, x + row * per_tok, positions + row, 1, n_head, d_head, d_rot, theta);
    compare_bits(c, "a token alone", new + row *per_tok, other, per_tok);
    free(ref);
    free(new);
    free(other);
    free(x);
    free(positions);
}

/* ---- attention ---- */

enum { MAX_SEGS = 4 };

/* A ragged batch in host memory. */
struct attention_case {
    int n_segs, n_tok, n_head, n_kv_head, d_head;
    struct attn_segment segs[MAX_SEGS]; /* keys and values are set by each run */
    int capacity[MAX_SEGS];             /* positions of the cache; those past n_kv are NaN */
    float *keys[MAX_SEGS], *values[MAX_SEGS];
    int32_t *positions;
    float *q;
};

static float *run_attention(struct check *c, const struct side *s, const struct attention_case *a)
{
    size_t n = (size_t)a->n_tok * (size_t)a->n_head * (size_t)a->d_head;
    size_t width = (size_t)a->n_kv_head * (size_t)a->d_head;
    struct buffer q = buffer_new(s, a->q, n), y = buffer_new(s, NULL, n);
    struct buffer keys[MAX_SEGS], values[MAX_SEGS];
    struct attn_segment segs[MAX_SEGS];
    struct error err;
    float *out;

    for (int i = 0; i < a->n_segs; i++) {
        keys[i] = buffer_new(s, a->keys[i], (size_t)a->capacity[i] * width);
        values[i] = buffer_new(s, a->values[i], (size_t)a->capacity[i] * width);
        segs[i] = a->segs[i];
        segs[i].keys = keys[i].data;
        segs[i].values = values[i].data;
    }
    check_status(s->ops->attention(s->k, q.data, a->positions, segs, a->n_segs, a->n_head,
                                   a->n_kv_head, a->d_head, y.data, &err),
                 &err);
    out = buffer_take(c, &y);
    for (int i = 0; i < a->n_segs; i++) {
        buffer_free(&keys[i]);
        buffer_free(&values[i]);
    }
    buffer_free(&q);
    buffer_free(&y);
    return out;
}

static void attention_case_new(struct check *c, int i, struct attention_case *a)
{
    static const int heads[][2] = { { 1, 1 }, { 4, 4 }, { 8, 2 }, { 6, 1 }, { 40, 1 }, { 16, 4 } };
    size_t which = rng_below(&c->rng, sizeof(heads) / sizeof(heads[0])), width;
    enum regime regime = choose_regime(c);

    a->n_head = heads[which][0];
    a->n_kv_head = heads[which][1];
    a->d_head = CHOOSE(&c->rng, 1, 4, 12, 16, 33, 64, 100, 128);
    a->n_segs = CHOOSE(&c->rng, 1, 2, 3, 4);
    a->n_tok = 0;
    width = (size_t)a->n_kv_head * (size_t)a->d_head;
    for (int s = 0; s < a->n_segs; s++) {
        struct attn_segment *seg = &a->segs[s];

        seg->n_tok = i == 0 ? 200 : CHOOSE(&c->rng, 1, 3, 5, 32, 33, 40);
        seg->n_kv = seg->n_tok + CHOOSE(&c->rng, 0, 1, 24, 31, 32, 61, 130);
        seg->mask_block = CHOOSE(&c->rng, 0, 0, 1, 4, 32);
        seg->row = a->n_tok;
        a->n_tok += seg->n_tok;
        a->capacity[s] = seg->n_kv + 3;
        a->keys[s] = random_floats(&c->rng, (size_t)a->capacity[s] * width, regime, 2);
        a->values[s] = random_floats(&c->rng, (size_t)a->capacity[s] * width, regime, 1);
        for (size_t j = (size_t)seg->n_kv * width; j < (size_t)a->capacity[s] * width; j++)
            a->keys[s][j] = a->values[s][j] = NAN;
    }
    a->q =
        random_floats(&c->rng, (size_t)a->n_tok * (size_t)a->n_head * (size_t)a->d_head, regime, 2);
    a->positions = must_alloc((size_t)a->n_tok, sizeof(*a->positions));
    for (int s = 0; s < a->n_segs; s++) /* the last n_tok of n_kv, as in decoding with a cache */
        for (int t = 0; t < a->segs[s].n_tok; t++)
            a->positions[a->segs[s].row + t] = a->segs[s].n_kv - a->segs[s].n_tok + t;
    SHAPE(c, "n_segs %d n_tok %d n_head %d n_kv_head %d d_head %d first: n_kv %d block %d %s",
          a->n_segs, a->n_tok, a->n_head, a->n_kv_head, a->d_head, a->segs[0].n_kv,
          a->segs[0].mask_block, regime_names[regime]);
}

static void check_attention(struct check *c, int i)
{
    struct attention_case a = { 0 }, alone;
    float *ref, *new, *other;
    size_t per_tok, n, t;
    double *unit;
    int s = 0;

    attention_case_new(c, i, &a);
    per_tok = (size_t)a.n_head * (size_t)a.d_head;
    n = (size_t)a.n_tok * per_tok;
    unit = must_alloc((size_t)a.n_tok, sizeof(*unit));
    for (int g = 0; g < a.n_segs; g++) {
        size_t n_seen = (size_t)a.segs[g].n_kv * (size_t)a.n_kv_head * (size_t)a.d_head;
        double v = largest(a.values[g], n_seen), k = largest(a.keys[g], n_seen);

        for (int j = a.segs[g].row; j < a.segs[g].row + a.segs[g].n_tok; j++)
            unit[j] = v * (1 + k * largest(a.q + (size_t)j * per_tok, per_tok) * sqrt(a.d_head));
    }
    ref = run_attention(c, &c->ref, &a);
    new = run_attention(c, &c->new, &a);
    compare_floats(c, "y", new, ref, n, unit, per_tok);
    other = run_attention(c, &c->other, &a);
    compare_bits(c, "one thread", new, other, n);
    free(other);

    t = rng_below(&c->rng, (uint64_t)a.n_tok); /* one token, its sequence cut behind its block */
    while (t >= (size_t)(a.segs[s].row + a.segs[s].n_tok))
        s++;
    alone = a;
    alone.n_segs = 1;
    alone.n_tok = 1;
    alone.keys[0] = a.keys[s];
    alone.values[0] = a.values[s];
    alone.capacity[0] = a.capacity[s];
    alone.segs[0] = a.segs[s];
    alone.segs[0].row = 0;
    alone.segs[0].n_tok = 1;
    alone.positions = a.positions + t;
    alone.q = a.q + t * per_tok;
    if (a.segs[s].mask_block) {
        int end = (a.positions[t] / a.segs[s].mask_block + 1) * a.segs[s].mask_block;

        if (end < alone.segs[0].n_kv)
            alone.segs[0].n_kv = end;
    }
    other = run_attention(c, &c->new, &alone);
    compare_bits(c, "a token alone", new + t *per_tok, other, per_tok);

    for (int g = 0; g < a.n_segs; g++) {
        free(a.keys[g]);
        free(a.values[g]);
    }
    free(a.q);
    free(a.positions);
    free(ref);
    free(new);
    free(other);
    free(unit);
}

/* ---- route ---- */

static void spoil(struct rng *r, float *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        switch (rng_below(r, 16)) {
        case 0: x[i] = NAN; break;
        case 1: x[i] = -INFINITY; break;
        case 2: x[i] = x[0]; break;
        default: break;
        }
    }
}

static void check_route(struct check *c, int i)
{
    int n_exp = CHOOSE(&c->rng, 1, 2, 8, 17, 64, 256, KERNEL_MAX_EXPERTS);
    int most = n_exp < KERNEL_MAX_TOP_K ? n_exp : KERNEL_MAX_TOP_K;
    struct route_params p = {
        .n_exp = n_exp,
        .top_k = 1 + (int)rng_below(&c->rng, (uint64_t)(i % 4 ? (most < 8 ? most : 8) : most)),
        .top_k_base = 1 + (int)rng_below(&c->rng, (uint64_t)(most < 8 ? most : 8)),
        .renorm = i % 2,
        .scale = i % 2 ? 2.5f : 1,
    };
    struct segment segs[3];
    int n_segs = CHOOSE(&c->rng, 1, 2, 3), n_tok = 0;
    enum regime regime = choose_regime(c);
    const struct side *sides[] = { &c->ref, &c->new };
    struct route_stats stats[2][3];
    int32_t *counts[2], *ids[2];
    float *w[2], *scores;
    size_t n_pairs, n_scores;
    struct error err;

    for (int s = 0; s < n_segs; s++) {
        segs[s] = (struct segment){ n_tok, CHOOSE(&c->rng, 0, 1, 5, 32) };
        n_tok += segs[s].n_tok;
    }
    n_scores = (size_t)n_tok * (size_t)n_exp;
    n_pairs = (size_t)n_tok * (size_t)p.top_k;
    scores = random_floats(&c->rng, n_scores, regime, 1);
    for (size_t j = 0; j < n_scores; j++)
        scores[j] = fabsf(scores[j]);
    if (i % 5 == 0)
        spoil(&c->rng, scores, n_scores);
    SHAPE(c, "n_tok %d n_exp %d top_k %d base %d %s%s", n_tok, n_exp, p.top_k, p.top_k_base,
          regime_names[regime], i % 5 ? "" : " with NaN");
    for (int s = 0; s < 2; s++) {
        struct buffer bs = buffer_new(sides[s], scores, n_scores);
        struct buffer bi = buffer_new(sides[s], NULL, n_pairs);
        struct buffer bw = buffer_new(sides[s], NULL, n_pairs);

        counts[s] = must_alloc((size_t)n_segs * (size_t)n_exp, sizeof(**counts));
        check_status(sides[s]->ops->route(sides[s]->k, bs.data, &p, segs, n_segs, n_tok,
                                          (int32_t *)bi.data, bw.data, stats[s], counts[s], &err),
                     &err);
        ids[s] = (int32_t *)buffer_take(c, &bi);
        w[s] = buffer_take(c, &bw);
        buffer_free(&bs);
        buffer_free(&bi);
        buffer_free(&bw);
    }
    compare_ints(c, "ids", ids[1], ids[0], n_pairs);
    compare_ints(c, "tokens_per_expert", counts[1], counts[0], (size_t)n_segs * (size_t)n_exp);
    compare_floats(c, "w", w[1], w[0], n_pairs, NULL, 1);
    for (int s = 0; s < n_segs; s++) {
        compare_ints(c, "n_unique", &stats[1][s].n_unique, &stats[0][s].n_unique, 1);
        compare_ints(c, "n_rerouted", &stats[1][s].n_rerouted, &stats[0][s].n_rerouted, 1);
        compare_ints(c, "n_lost_top1", &stats[1][s].n_lost_top1, &stats[0][s].n_lost_top1, 1);
        compare_floats(c, "kept_mass", &(float){ (float)stats[1][s].kept_mass },
                       &(float){ (float)stats[0][s].kept_mass }, 1, NULL, 1);
    }
    for (int s = 0; s < 2; s++) {
        free(ids[s]);
        free(w[s]);
        free(counts[s]);
    }
    free(scores);
}

/* ---- moe ---- */

struct moe_case {
    int n_tok, top_k, n_exp, d_model, d_ff;
    struct host_matrix *gate, *up, *down; /* (n_exp) */
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

    check_status(s->ops->experts_load(s->k, m->n_exp, m->gate, m->up, m->down, &e, &err), &err);
    check_status(s->ops->moe(s->k, x.data, e, (const int32_t *)ids.data, w.data, m->n_tok, m->top_k,
                             y.data, &err),
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

    for (int i = 0; i < m->top_k; i++) {
        int id = m->ids[t * m->top_k + i];
        double weight = fabs((double)m->w[t * m->top_k + i]);

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

static void check_moe(struct check *c, int i)
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
    size_t d, n_pairs, row;
    struct moe_case alone;
    float *ref, *new, *other;
    double *unit;

    if (i % 8 == 0) /* one expert for all: more pairs than a block takes */
        m.n_tok = 101, n_used = 1, m.top_k = 1;
    d = (size_t)m.d_model;
    n_pairs = (size_t)m.n_tok * (size_t)m.top_k;
    m.gate = must_alloc((size_t)m.n_exp, sizeof(*m.gate));
    m.up = must_alloc((size_t)m.n_exp, sizeof(*m.up));
    m.down = must_alloc((size_t)m.n_exp, sizeof(*m.down));
    for (int e = 0; e < m.n_exp; e++) {
        m.gate[e] = random_matrix(&c->rng, t, m.d_ff, m.d_model, regime, 1);
        m.up[e] = random_matrix(&c->rng, t, m.d_ff, m.d_model, regime, 1);
        m.down[e] = random_matrix(&c->rng, t, m.d_model, m.d_ff, regime, 1);
    }
    m.x = random_floats(&c->rng, (size_t)m.n_tok * d, regime, i % 5 ? 2 : 100);
    m.w = random_floats(&c->rng, n_pairs, REGIME_UNIFORM, 1);
    m.ids = must_alloc(n_pairs, sizeof(*m.ids));
    random_routing(c, &m, n_used);
    SHAPE(c, "n_tok %d n_exp %d of %d top_k %d d_model %d d_ff %d %s %s", m.n_tok, n_used, m.n_exp,
          m.top_k, m.d_model, m.d_ff, dtype_name(t), regime_names[regime]);
    unit = must_alloc((size_t)m.n_tok, sizeof(*unit));
    for (int j = 0; j < m.n_tok; j++)
        unit[j] = moe_unit(&m, j);

    ref = run_moe(c, &c->ref, &m);
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
    compare_bits(c, "a token alone", new + row *d, other, d);

    for (int e = 0; e < m.n_exp; e++) {
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

static void check_pick(struct check *c, int i)
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
    };
    struct pick ref[MAX_ROWS], new[MAX_ROWS], other[MAX_ROWS];

    if (i % 4 == 0)
        spoil(&c->rng, l, n);
    if (i % 6 == 0) /* the special tokens on top */
        for (size_t r = 0; r < (size_t)n_rows; r++)
            l[r * (size_t)n_vocab + (size_t)p.mask_id] = 2000;
    SHAPE(c, "n_rows %d n_vocab %d mask %d ban %d temperature %g %s%s", n_rows, n_vocab, p.mask_id,
          p.banned_id, p.temperature, regime_names[regime], i % 4 ? "" : " with NaN");
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

const struct op_check op_checks[] = {
    { { "embed", 0, 0, "a copy, exact widening" }, 30, check_embed },
    { { "rms_norm", 1e-37, 5e-7, "f64 sum; f32 roundings of 1/rms and two products" },
      90,
      check_rms_norm },
    { { "matmul", 1e-6, 0, "f32 sums of up to 2048 products; unit: |x| |w|, by Cauchy-Schwarz" },
      240,
      check_matmul },
    { { "rope", 3e-7, 0, "two f32 products and a sum; unit: max |x|" }, 60, check_rope },
    { { "kv_store", 0, 0, "a copy" }, 30, check_kv_store },
    { { "attention", 3e-7, 0,
        "f32 scores and sums, exp to an ulp; unit: max |v| (1 + bound of the scores)" },
      90,
      check_attention },
    { { "add", 0, 0, "one correct rounding" }, 30, check_add },
    { { "router", 2e-7, 5e-7, "f32 sums under exp; unit: 1 + |x| max |w|" }, 90, check_router },
    { { "route", 0, 1e-7, "ids and counts exact; weights in f64, one rounding" },
      120,
      check_route },
    { { "moe", 4e-7, 0, "f32 sums, exp to an ulp; unit: first-order effect of such errors" },
      120,
      check_moe },
    { { "pick", 1e-37, 5e-7, "ids exact; f32 exp summed in f64" }, 200, check_pick },
    { { NULL, 0, 0, NULL }, 0, NULL },
};
