/* cpu ops of the dense part of a layer: embedding, norm, projection, RoPE, cache. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/cpu.h"
#include "kernels/dtype.h"

/* Elements that make a unit worth handing to another thread. */
enum { UNIT_ELEMENTS = 16384 };

/* Rows of d elements a unit shall have. */
static int rows_per_unit(size_t d)
{
    return d >= UNIT_ELEMENTS ? 1 : (int)(UNIT_ELEMENTS / d);
}

/* Rows [*first, *end) of unit number `unit`. */
static void unit_rows(int unit, int per_unit, int n_rows, int *first, int *end)
{
    *first = unit * per_unit;
    *end = n_rows - *first < per_unit ? n_rows : *first + per_unit;
}

static int n_units_of(int n_rows, int per_unit)
{
    return n_rows / per_unit + (n_rows % per_unit != 0);
}

struct embed_job {
    const struct weight *table;
    const int32_t *ids;
    int n_tok, per_unit;
    float *ret;
};

static void embed_unit(void *arg, int unit, int thread)
{
    const struct embed_job *j = arg;
    const struct host_matrix *m = &j->table->m;
    size_t d = (size_t)m->cols;
    int t, end;

    (void)thread;
    for (unit_rows(unit, j->per_unit, j->n_tok, &t, &end); t < end; t++) {
        float *ret = j->ret + (size_t)t * d;

        if (j->table->vec)
            memcpy(ret, j->table->vec, d * sizeof(*ret));
        else if (j->table->packed.data)
            packed_row(j->table->packed.data, m->cols, j->ids[t], ret);
        else
            dtype_to_f32(host_row(m, j->ids[t]), m->dtype, d, ret);
    }
}

enum status cpu_embed(struct kernels *k, const struct weight *table, const int32_t *ids, int n_tok,
                      float *ret_x, struct error *err)
{
    struct cpu *c = (struct cpu *)k;
    int per_unit = rows_per_unit((size_t)table->m.cols);
    struct embed_job j = { table, ids, n_tok, per_unit, ret_x };

    (void)err;
    pool_run(c->pool, embed_unit, &j, n_units_of(n_tok, per_unit));
    return ST_OK;
}

struct norm_job {
    const struct inner *inner;
    const float *x, *w;
    size_t d;
    float eps;
    int n_rows, per_unit;
    float *ret;
};

static void norm_unit(void *arg, int unit, int thread)
{
    const struct norm_job *j = arg;
    int r, end;

    (void)thread;
    for (unit_rows(unit, j->per_unit, j->n_rows, &r, &end); r < end; r++)
        j->inner->rms_norm(j->x + (size_t)r * j->d, j->w, j->d, j->eps, j->ret + (size_t)r * j->d);
}

enum status cpu_rms_norm(struct kernels *k, const float *x, const struct weight *w, float eps,
                         int n_rows, float *ret_y, struct error *err)
{
    struct cpu *c = (struct cpu *)k;
    size_t d = (size_t)w->m.cols;
    int per_unit = rows_per_unit(d);
    struct norm_job j = { c->inner, x, w->vec, d, eps, n_rows, per_unit, ret_y };

    (void)err;
    pool_run(c->pool, norm_unit, &j, n_units_of(n_rows, per_unit));
    return ST_OK;
}

struct pack_job {
    const struct cpu *cpu;
    const float *x;
    int n_tok, per_unit;
    size_t cols;
    float *ret;
};

static void pack_unit(void *arg, int unit, int thread)
{
    const struct pack_job *j = arg;
    size_t padded = cpu_padded(j->cpu, j->cols);
    int t, end;

    (void)thread;
    for (unit_rows(unit, j->per_unit, j->n_tok, &t, &end); t < end; t++)
        j->cpu->inner->pack(j->x + (size_t)t * j->cols, j->cols, j->ret + (size_t)t * padded);
}

void cpu_pack(struct cpu *c, const float *x, int n_tok, size_t cols, float *ret)
{
    int per_unit = rows_per_unit(cols);
    struct pack_job j = { c, x, n_tok, per_unit, cols, ret };

    pool_run(c->pool, pack_unit, &j, n_units_of(n_tok, per_unit));
}

static void angles_unit(void *arg, int unit, int thread)
{
    const struct rope_angles *a = arg;
    int half = a->d_rot / 2;
    float *c = a->cosines + (size_t)unit * (size_t)half;
    float *s = a->sines + (size_t)unit * (size_t)half;

    (void)thread;
    for (int i = 0; i < half; i++) {
        double angle = a->positions[unit] * a->freqs[i];

        c[i] = (float)cos(angle);
        s[i] = (float)sin(angle);
    }
}

static enum status make_angles(struct cpu *c, const int32_t *positions, int n_tok, int d_rot,
                               double theta, struct error *err)
{
    struct rope_angles *a = &c->angles;
    size_t n = (size_t)n_tok, h = (size_t)d_rot / 2;
    enum status st = ST_OK;

    if (a->n_tok == n_tok && a->d_rot == d_rot && a->theta == theta &&
        memcmp(a->positions, positions, n * sizeof(*positions)) == 0)
        return ST_OK;
    a->n_tok = 0;
    for (int pass = 0; pass < 2 && !st; pass++) { /* once to add up, once to place */
        struct layout l = { pass ? a->memory.data : NULL, 0 };

        a->positions = layout_take(&l, n, sizeof(*a->positions));
        a->freqs = layout_take(&l, h, sizeof(*a->freqs));
        a->cosines = layout_take(&l, n * h, sizeof(*a->cosines));
        a->sines = layout_take(&l, n * h, sizeof(*a->sines));
        if (!pass)
            st = scratch_reserve(&a->memory, l.used, err);
    }
    if (st)
        return st;
    memcpy(a->positions, positions, n * sizeof(*positions));
    for (int i = 0; i < d_rot / 2; i++)
        a->freqs[i] = pow(theta, -2.0 * i / d_rot);
    a->n_tok = n_tok;
    a->d_rot = d_rot;
    a->theta = theta;
    pool_run(c->pool, angles_unit, a, n_tok);
    return ST_OK;
}

struct rope_job {
    const struct inner *inner;
    const struct rope_angles *angles;
    float *x;
    int n_tok, n_head, d_head, per_unit;
};

static void rope_unit(void *arg, int unit, int thread)
{
    const struct rope_job *j = arg;
    size_t half = (size_t)j->angles->d_rot / 2;
    int t, end;

    (void)thread;
    for (unit_rows(unit, j->per_unit, j->n_tok, &t, &end); t < end; t++) {
        float *x = j->x + (size_t)t * (size_t)j->n_head * (size_t)j->d_head;
        const float *c = j->angles->cosines + (size_t)t * half;
        const float *s = j->angles->sines + (size_t)t * half;

        for (int h = 0; h < j->n_head; h++, x += j->d_head)
            j->inner->rotate(x, c, s, half);
    }
}

enum status cpu_rope(struct kernels *k, float *x, const int32_t *positions, int n_tok, int n_head,
                     int d_head, int d_rot, double theta, struct error *err)
{
    struct cpu *c = (struct cpu *)k;
    int per_unit = rows_per_unit((size_t)n_head * (size_t)d_head);
    struct rope_job j = { c->inner, &c->angles, x, n_tok, n_head, d_head, per_unit };
    enum status st = make_angles(c, positions, n_tok, d_rot, theta, err);

    if (st)
        return st;
    pool_run(c->pool, rope_unit, &j, n_units_of(n_tok, per_unit));
    return ST_OK;
}

enum status cpu_kv_store(struct kernels *k, const float *rows, const int32_t *slots, int n_tok,
                         int width, float *cache, struct error *err)
{
    size_t n = (size_t)width;

    (void)k;
    (void)err;
    for (int t = 0; t < n_tok; t++) /* one copy of 8 KB a token: not worth a thread */
        memcpy(cache + (size_t)slots[t] * n, rows + (size_t)t * n, n * sizeof(*rows));
    return ST_OK;
}

struct add_job {
    const struct inner *inner;
    float *x;
    const float *y;
    size_t n;
};

static void add_unit(void *arg, int unit, int thread)
{
    const struct add_job *j = arg;
    size_t first = (size_t)unit * UNIT_ELEMENTS, left = j->n - first;

    (void)thread;
    j->inner->add(j->x + first, j->y + first, left < UNIT_ELEMENTS ? left : UNIT_ELEMENTS);
}

enum status cpu_add(struct kernels *k, float *x, const float *y, size_t n, struct error *err)
{
    struct cpu *c = (struct cpu *)k;
    struct add_job j = { c->inner, x, y, n };

    (void)err;
    pool_run(c->pool, add_unit, &j, (int)((n + UNIT_ELEMENTS - 1) / UNIT_ELEMENTS));
    return ST_OK;
}
