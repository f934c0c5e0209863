/* checkkern: cases of the dense part of a layer. */
#include "check.h"

#include <math.h>
#include <stdlib.h>

/* ---- embed, kv_store, add: copies and one rounding, so bit for bit ---- */

void check_embed(struct check *c, int i)
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

void check_kv_store(struct check *c, int i)
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

void check_add(struct check *c, int i)
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

void check_rms_norm(struct check *c, int i)
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

/* ---- matmul ---- */

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

void check_matmul(struct check *c, int i)
{
    int n_tok = CHOOSE(&c->rng, 1, 2, 3, 4, 5, 6, 7, 13, 32, 33, 50);
    int rows = CHOOSE(&c->rng, 1, 3, 4, 5, 16, 17, 63, 64, 65, 200);
    int cols = CHOOSE(&c->rng, 1, 3, 8, 15, 16, 17, 31, 32, 33, 64, 100, 257);
    enum dtype t = (enum dtype)(i % 3);
    enum regime regime = choose_regime(c);
    struct host_matrix w;
    float *x, *ref_x, *ref, *new, *other;
    double *unit;
    size_t n, row;

    if (i < 3) { /* the widths of a real layer, more tokens than one block takes */
        n_tok = 65;
        rows = 130;
        cols = 2048;
    } else if (i % 24 == 13) { /* rows of q, k and v together, of few tokens */
        rows = CHOOSE(&c->rng, 4225, 5000, 6333);
        cols = CHOOSE(&c->rng, 257, 600, 1100);
    } else if (i % 4 == 3) { /* so many that other ways may be taken, in mode fast alone */
        n_tok = CHOOSE(&c->rng, 127, 128, 129, 200, 257, 300);
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
    if (t == DT_BF16)
        c->tol = c->tol_bf16;
    /* a single row is a vector, which backends keep as f32 */
    ref_x = reference_x(c, x, (size_t)n_tok * (size_t)cols, rows > 1 ? t : DT_F32);
    ref = run_matmul(c, &c->ref, ref_x, &w, n_tok);
    new = run_matmul(c, &c->new, x, &w, n_tok);
    compare_floats(c, "y", new, ref, n, unit, 1);
    other = run_matmul(c, &c->other, x, &w, n_tok);
    compare_bits(c, "one thread", new, other, n);
    free(other);
    other = run_matmul(c, &c->new, x + row * (size_t)cols, &w, 1);
    if (!c->is_fast)
        compare_bits(c, "a token alone", new + row *(size_t)rows, other, (size_t)rows);
    free(ref_x);
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

void check_rope(struct check *c, int i)
{
    int n_tok = CHOOSE(&c->rng, 1, 3, 8, 9, 33), n_head = CHOOSE(&c->rng, 1, 3, 16);
    int d_head = i % 8 == 2 ? 128 : CHOOSE(&c->rng, 2, 6, 32, 64, 128);
    int d_rot = i % 2 ? d_head : d_head / 4 * 2; /* half is LLaDA2.x's, of 128 */
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
    if (i % 8 == 1) { /* LLaDA2.x: mini, flash */
        a->n_head = i % 16 == 1 ? 16 : 32;
        a->n_kv_head = 4;
        a->d_head = 128;
    }
    a->n_tok = 0;
    width = (size_t)a->n_kv_head * (size_t)a->d_head;
    for (int s = 0; s < a->n_segs; s++) {
        struct attn_segment *seg = &a->segs[s];

        seg->n_tok = i == 0 ? 200 : CHOOSE(&c->rng, 1, 3, 5, 32, 33, 40);
        seg->n_kv = seg->n_tok + CHOOSE(&c->rng, 0, 1, 24, 31, 32, 61, 130);
        seg->mask_block = CHOOSE(&c->rng, 0, 0, 1, 4, 32);
        if (i % 8 == 1)
            seg->mask_block = 32;
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

void check_attention(struct check *c, int i)
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
